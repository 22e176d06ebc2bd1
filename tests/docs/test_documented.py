"""Nothing public is undocumented: commands, options, config fields, records, public names; and README commands run."""

from __future__ import annotations

import ast
import functools
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from spinemed.cli import app
from spinemed.documentation import BashBlock, bash_blocks, texts_in_source

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("spinemed", "data_pipeline", "train", "bench")
MODELS = {("pydantic", "BaseModel"), ("spinemed.config", "Config"), ("spinemed.records.base", "Record")}
PLACEHOLDER = re.compile(r"(?<![\w/.-])[A-Z][A-Z_]{2,}(?![\w/])|\.\.\.|<[a-z ]+>|\[-|\$|\b[A-Z]/")
"""What marks a form that a reader fills in: words in capitals, an ellipsis, an option in brackets, a variable."""


# --- commands --------------------------------------------------------------------------------------------------------


def commands(command: Any, path: tuple[str, ...] = ("spinemed",)) -> Iterator[tuple[str, Any]]:
    """Every command of the program with its full name, groups left out."""
    if hasattr(command, "list_commands"):
        for name in command.list_commands(None):
            yield from commands(command.get_command(None, name), (*path, name))
    else:
        yield " ".join(path), command


@functools.cache
def program() -> tuple[tuple[str, Any], ...]:
    found = tuple(commands(typer.main.get_command(app)))
    assert len(found) > 60, "the walk found too few commands to prove anything"
    return found


def test_every_command_and_every_option_has_help() -> None:
    silent = [name for name, command in program() if not (command.help or "").strip()]
    silent += [
        f"{name} {parameter.opts[0]}"
        for name, command in program()
        for parameter in command.params
        if parameter.name != "help" and not (getattr(parameter, "help", None) or "").strip()
    ]
    assert silent == []


def readmes() -> list[Path]:
    """The pages that are written by hand: READMEs of all rooms, and the pages beside them."""
    found = [ROOT / "README.md"]
    for place in (*PACKAGES, "samples", "configs", "examples"):
        found += sorted((ROOT / place).rglob("README.md"))
    return found


def pages() -> list[Path]:
    return [*readmes(), *(page for place in ("docs", "bench/docs", "data_pipeline/docs")
                          for page in sorted((ROOT / place).rglob("*.md")))]  # fmt: skip


def test_every_command_stands_on_a_page() -> None:
    """Whole, as `spinemed train run`, or in a list of one application's verbs, as `spinemed train verify` / `run`."""
    written = "\n".join(page.read_text(encoding="utf-8") for page in pages())
    lists = re.findall(r"`spinemed ([a-z]+) [a-z-]+`((?: / `[a-z-]+`)+)", written)
    listed = {f"spinemed {application} {verb}" for application, tail in lists for verb in re.findall(r"`(\S+)`", tail)}
    absent = [name for name, _ in program() if name not in listed and not re.search(rf"{name}(?![a-z-])", written)]
    assert absent == []


# --- fields ----------------------------------------------------------------------------------------------------------


@functools.cache
def modules() -> dict[str, tuple[Path, ast.Module]]:
    found = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
            found[name] = (path, ast.parse(path.read_bytes()))
    assert len(found) > 300
    return found


@functools.cache
def imported(module: str) -> dict[str, tuple[str, str]]:
    """Names that a module takes from others, at any depth: name to (module, name there)."""
    if module not in modules():
        return {}
    return {
        alias.asname or alias.name: (node.module, alias.name)
        for node in ast.walk(modules()[module][1])
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
    }


@functools.cache
def roots(module: str, name: str) -> frozenset[tuple[str, str]]:
    """Which of `MODELS` a class descends from, followed through imports."""
    if (module, name) in MODELS:
        return frozenset({(module, name)})
    if module not in modules():
        return frozenset()
    for node in modules()[module][1].body:
        if isinstance(node, ast.ClassDef) and node.name == name:
            bases = [base.value if isinstance(base, ast.Subscript) else base for base in node.bases]
            return frozenset().union(*(roots(module, base.id) for base in bases if isinstance(base, ast.Name)))
    return roots(*imported(module)[name]) if name in imported(module) else frozenset()


def test_every_field_of_a_config_and_of_a_record_says_what_it_holds() -> None:
    silent, configs, records = [], 0, 0
    for module, (path, tree) in modules().items():
        classes = [node.name for node in tree.body if isinstance(node, ast.ClassDef)]
        if not any(roots(module, name) for name in classes):
            continue
        for field in texts_in_source(path.read_text(encoding="utf-8")):
            top = field.owner.split(".")[0]
            kinds = roots(module, top)
            public = not top.startswith("_")
            if ("spinemed.config", "Config") in kinds:
                configs += 1
            elif kinds and public and not module.startswith(ASKED_ELSEWHERE):
                records += 1
            else:
                continue
            if not field.text and not _above(module, top, field.name):
                silent.append(f"{path.relative_to(ROOT)}:{field.line} {field.owner}.{field.name}")
    assert configs > 500, "the walk found too few config fields to prove anything"
    assert records > 1000, "the walk found too few record fields to prove anything"
    assert silent == []


ASKED_ELSEWHERE = ("data_pipeline.review.", "data_pipeline.writers.schemas")
"""A form of the web application is explained on its page, and what a language model fills in is said in its prompt."""


def _above(module: str, name: str, field: str) -> bool:
    """Whether a class above documents a field that a class below narrows."""
    for node in modules()[module][1].body if module in modules() else ():
        if isinstance(node, ast.ClassDef) and node.name == name:
            for base in node.bases:
                if isinstance(base, ast.Name):
                    home, own = imported(module).get(base.id, (module, base.id))
                    texts = texts_in_source(modules()[home][0].read_text("utf-8")) if home in modules() else []
                    if any(one.owner == own and one.name == field and one.text for one in texts):
                        return True
    return False


# --- names -----------------------------------------------------------------------------------------------------------


def listed(tree: ast.Module) -> list[str]:
    """The names in `__all__`."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "__all__" for t in node.targets):
            return [element.value for element in ast.walk(node.value) if isinstance(element, ast.Constant)]
    return []


def told(module: str, name: str) -> bool:
    """Whether a public name is documented where it is defined: a docstring, or a string under an assignment."""
    body = modules()[module][1].body
    for place, node in enumerate(body):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and node.name == name:
            return ast.get_docstring(node) is not None
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if any(
            isinstance(part, ast.Name) and part.id == name for target in targets if target for part in ast.walk(target)
        ):
            below = body[place + 1] if place + 1 < len(body) else None
            return isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant)
    if name in imported(module):
        home, own = imported(module)[name]
        if f"{home}.{own}" in modules():
            return ast.get_docstring(modules()[f"{home}.{own}"][1]) is not None
        return home not in modules() or told(home, own)
    return f"{module}.{name}" in modules()


def test_every_name_that_a_package_exports_is_documented() -> None:
    silent, count = [], 0
    for module, (path, tree) in modules().items():
        if path.name == "__init__.py":
            for name in listed(tree):
                count += 1
                if not name.startswith("__") and not told(module, name):
                    silent.append(f"{module}.{name}")
    assert count > 500, "the walk found too few names to prove anything"
    assert silent == []


# --- README commands -------------------------------------------------------------------------------------------------


def blocks() -> list[tuple[str, BashBlock]]:
    return [
        (f"{page.relative_to(ROOT)}:{block.line}", block)
        for page in readmes()
        for block in bash_blocks(page.read_text(encoding="utf-8"))
    ]


FAST = [(place, block) for place, block in blocks() if not block.installs and not block.takes_minutes]


def test_every_bash_block_can_be_pasted() -> None:
    """Complete commands only: a block with a placeholder is no `bash` block, and what takes minutes says so."""
    assert len(blocks()) >= 6
    for place, block in blocks():
        assert not PLACEHOLDER.search(re.sub(r"'[^']*'", "", "\n".join(block.commands))), f"{place}: a placeholder"


def test_a_command_that_is_complete_stands_in_a_bash_block() -> None:
    """So that it is run. Plain fences and indented lines are for forms with placeholders."""
    forms = 0
    for page in readmes():
        if ROOT / "samples" in page.parents:
            continue  # how a sample was made, which is a record
        text = re.sub(r"^```\w.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
        groups = re.findall(r"^```\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
        groups += re.findall(
            r"(?:^    \S.*\n)+", re.sub(r"^```\n.*?^```", "", text, flags=re.DOTALL | re.MULTILINE), re.M
        )
        for group in groups:
            bare = re.sub(r"'[^']*'|\s#.*", "", group)
            if re.search(r"^\s*spinemed [a-z]", bare, re.MULTILINE):
                assert PLACEHOLDER.search(bare), f"{page.relative_to(ROOT)}: make it a bash block:\n{group}"
                forms += 1
    assert forms >= 10


def test_what_an_installation_block_names_is_there() -> None:
    """Its make targets and extras exist; that they work, acceptance proves from a bare clone."""
    targets = set(re.findall(r"^([a-z][\w-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    known = re.compile(r"spinemed |make |pip install |python3? -m venv |\. |\S+ -m venv |git clone |cd ")
    found = 0
    for place, block in blocks():
        if not block.installs:
            continue
        for line in block.commands:
            assert known.match(line), f"{place}: {line}"
            found += 1
            if line.startswith("make "):
                assert line.split()[1] in targets, f"{place}: the Makefile has no {line.split()[1]}"
            for extras in re.findall(r"\[([\w,]+)\]", line if line.startswith("pip ") else ""):
                assert set(extras.split(",")) <= set(project["optional-dependencies"]), f"{place}: {line}"
    assert found >= 4


@pytest.mark.parametrize(("place", "block"), FAST, ids=[place for place, _ in FAST])
def test_readme_commands_run(place: str, block: BashBlock, tmp_path: Path) -> None:
    for name in ("samples", "configs", "examples"):
        (tmp_path / name).symlink_to(ROOT / name)
    shell = shutil.which("bash")
    assert shell is not None
    here = str(Path(sys.executable).parent)
    done = subprocess.run(
        [shell, "-euo", "pipefail", "-c", block.text],
        cwd=tmp_path, capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL, check=False,
        env={**os.environ, "PATH": f"{here}{os.pathsep}{os.environ['PATH']}"},
    )  # fmt: skip
    assert done.returncode == 0, f"{place}\n{done.stdout[-1500:]}\n{done.stderr[-1500:]}"
