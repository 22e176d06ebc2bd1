"""The house rules that no single room can check: arrows between packages, documentation, the wheel."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest
import yaml

PACKAGES = ("spinemed", "data_pipeline", "train", "bench")


def modules(root: Path) -> list[Path]:
    found = [path for package in PACKAGES for path in sorted((root / package).rglob("*.py"))]
    assert len(found) > 40, "the walk found too few modules to prove anything"
    return found


def imported(path: Path) -> set[str]:
    """Top-level names of everything a module imports, inside functions too."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names.add(node.module.split(".")[0])
    return names


def test_imports_point_to_spinemed_only(root: Path) -> None:
    wrong = []
    for path in modules(root):
        room = path.relative_to(root).parts[0]
        wrong += [
            f"{path.relative_to(root)} imports {name}" for name in imported(path) & set(PACKAGES[1:]) if name != room
        ]
    assert wrong == []


def test_every_module_says_what_it_is_for(root: Path) -> None:
    silent = [
        str(path.relative_to(root)) for path in modules(root) if not ast.get_docstring(ast.parse(path.read_bytes()))
    ]
    assert silent == []


def test_no_file_has_become_two_rooms(root: Path) -> None:
    beside = [p for place in ("benchmarks", "examples", "tests") for p in sorted((root / place).rglob("*.py"))]
    own = [*modules(root), *(p for p in beside if not any(part.startswith(".") for part in p.relative_to(root).parts))]
    long = {str(p.relative_to(root)): n for p in own if (n := len(p.read_text().splitlines())) > 520}
    assert long == {}


def test_no_module_takes_a_standard_library_name(root: Path) -> None:
    taken = [
        path.name
        for package in PACKAGES
        for path in (root / package).glob("*.py")
        if path.stem in sys.stdlib_module_names
    ]
    assert [name for name in taken if not name.startswith("__")] == []


def test_every_package_has_a_readme_of_one_screen(root: Path) -> None:
    rooms = sorted({path.parent for path in modules(root) if path.name == "__init__.py"})
    assert len(rooms) >= 8
    for room in rooms:
        if len(list(room.glob("*.py"))) < 3:
            continue
        page = room / "README.md"
        assert page.is_file(), f"{room.relative_to(root)} has no README.md"
        assert len(page.read_text().splitlines()) <= 70, f"{page} is longer than a screen"


def test_tests_have_no_packages_and_import_nothing_from_each_other(root: Path) -> None:
    assert list((root / "tests").rglob("__init__.py")) == []


@pytest.mark.parametrize("name", ["torchvision", "torchaudio", "vllm", "timm", "pymupdf", "litellm"])
def test_base_and_test_installs_stay_free_of(root: Path, name: str) -> None:
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["test"]]
    assert not [line for line in wanted if re.match(rf"{name}\b", line, re.IGNORECASE)]


def test_every_config_says_how_it_is_launched_and_uses_known_fields(root: Path) -> None:
    configs = sorted((root / "configs").glob("*.yaml"))
    assert len(configs) >= 5
    for path in configs:
        text = path.read_text()
        assert text.startswith("#"), f"{path.name} has no launch line on top"
        assert isinstance(yaml.safe_load(text), dict)


def test_every_command_stands_in_a_readme(root: Path) -> None:
    """Commands are collected from the running program, so a new one cannot be forgotten."""
    pages = "\n".join(page.read_text() for page in root.rglob("README.md") if ".venv" not in page.parts)
    asked = subprocess.run(
        [sys.executable, "-m", "spinemed", "--help"], capture_output=True, text=True, cwd=root, check=True
    ).stdout
    applications = re.findall(r"^  ([a-z]+)  +\S", asked.split("Options")[0], re.MULTILINE)
    assert len(applications) >= 7
    for application in applications:
        assert f"spinemed {application}" in pages, f"`spinemed {application}` stands in no README"


def pages(root: Path) -> list[Path]:
    """Every README of the house."""
    found = [
        root / "README.md",
        *(p for place in (*PACKAGES, "samples") for p in sorted((root / place).rglob("README.md"))),
    ]
    assert len(found) >= 12
    return found


def test_python_in_readmes_runs(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)
    blocks = [
        (page, block)
        for page in pages(root)
        for block in re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
    ]
    assert len(blocks) >= 4
    for page, block in blocks:
        exec(compile(block, str(page), "exec"), {"tmp_path": tmp_path})


def test_commands_and_options_in_readmes_and_configs_exist(root: Path) -> None:
    """Every `spinemed A B --option` that is written down is known to the program."""
    import typer

    from spinemed.cli import app

    group = typer.main.get_command(app)
    written = set()
    for page in [*pages(root), *sorted((root / "configs").glob("*.yaml"))]:
        written |= set(re.findall(r"spinemed ([a-z]+(?: [a-z]+)?[^`\n#|\\]*)", page.read_text()))
    checked = 0
    for line in sorted(written):
        words = line.split()
        command = group.get_command(None, words[0])  # type: ignore[attr-defined]
        if command is None:
            continue  # prose, such as "spinemed and"
        for word in words[1:]:
            if not hasattr(command, "commands") or not re.fullmatch(r"[a-z]+(-[a-z]+)*", word):
                break
            assert word in command.commands, f"`spinemed {line}`: no command {word}"
            command = command.commands[word]
        known = {option for parameter in command.params for option in parameter.opts} | {"--help"}
        for word in words:
            if word.startswith("--"):
                assert word.rstrip(".,;:)") in known, f"`spinemed {line}`: no option {word}"
                checked += 1
    assert checked >= 15, "the walk found too few options to prove anything"


def test_results_page_is_what_the_recorded_figures_say(results: ModuleType) -> None:
    assert len(list(results.FIGURES.glob("*.json"))) >= 10
    assert results.PAGE.read_text(encoding="utf-8") == results.render()
