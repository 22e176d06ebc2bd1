"""Reference of the library: one page a package, with the names that its `__all__` lists.

Convention: sources are read, not imported. A package without `__all__` has no public names and gets no page; modules
that lie directly in `spinemed/` have one page together.
"""

from __future__ import annotations

import ast
import functools
from pathlib import Path

from links import PACKAGES, ROOT


def public_names(path: Path) -> list[str]:
    """What a module's `__all__` lists; empty where it has none."""
    for node in ast.parse(path.read_bytes()).body:
        if isinstance(node, ast.Assign) and any(getattr(one, "id", "") == "__all__" for one in node.targets):
            return list(ast.literal_eval(node.value))
    return []


def api_modules() -> dict[str, list[str]]:
    """Packages with public names, and the single modules of `spinemed/`: dotted name to names."""
    found = {}
    files = [path for room in PACKAGES for path in sorted((ROOT / room).rglob("__init__.py"))]
    files += sorted((ROOT / "spinemed").glob("[a-z]*.py"))
    for path in files:
        names = public_names(path)
        if names:
            found[".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")] = names
    return found


def api_pages() -> dict[str, str]:
    """The pages of the API reference: path in the site to Markdown."""
    modules = api_modules()
    pages = {}
    rows = []
    for name, names in modules.items():
        parts = [f"# {name}\n", f"::: {name}", "    options:", "      show_root_heading: false",
                 "      show_root_toc_entry: false", "      members: false\n"]  # fmt: skip
        for one in names:
            constant = _one_of_several(name, one)
            parts.append(f"::: {name}.{one}" if constant is None else constant)
        pages[f"api/{name}.md"] = "\n".join(parts) + "\n"
        rows.append(f"| [`{name}`]({name}.md) | {_first_line(name)} | {len(names)} |")
    pages["api/index.md"] = (
        "# Python API\n\nThe public names of every package, from the docstrings of the sources. What is not listed "
        "is nobody's to rely on. Everything under `spinemed` may be imported by anybody; `data_pipeline`, `train` and "
        "`bench` import `spinemed` and never each other.\n\n| module | what it is | names |\n| --- | --- | --- |\n"
        + "\n".join(rows)
        + "\n"
    )
    return pages


@functools.cache
def _parsed(name: str) -> ast.Module:
    place = ROOT.joinpath(*name.split("."))
    package = place / "__init__.py"
    return ast.parse((package if package.is_file() else place.with_suffix(".py")).read_bytes())


def _first_line(name: str) -> str:
    text = ast.get_docstring(_parsed(name)) or ""
    return text.split("\n\n")[0].replace("\n", " ").replace("|", "\\|")


def _one_of_several(package: str, name: str) -> str | None:
    """A constant that is assigned together with others (`A, B = ...`), which the reader of sources does not see."""
    module = _parsed(package)
    for node in ast.walk(module):  # names that are loaded late are imported for type checks alone
        if isinstance(node, ast.ImportFrom) and node.module and any(one.name == name for one in node.names):
            module = _parsed(node.module)
            break
    for node in module.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Tuple):
            names = [getattr(one, "id", "") for one in node.targets[0].elts]
            if name in names and isinstance(node.value, ast.Tuple):
                value = ast.unparse(node.value.elts[names.index(name)])
                return f"## `{name}`\n\n```python\n{name} = {value}\n```\n"
    return None
