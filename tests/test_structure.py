"""The tree read from its sources: names are listed and there, imports run one way, examples use what is public."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

PACKAGES = ("spinemed", "data_pipeline", "train", "bench")


@cache
def sources(root: Path) -> dict[str, Path]:
    """File of every module by its dotted name; a package by its own."""
    found = {}
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    assert len(found) > 400, "the walk found too few modules to prove anything"
    return found


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_bytes())


def listed(path: Path) -> list[str] | None:
    """`__all__` of a module, or None."""
    for node in tree_of(path).body:
        if isinstance(node, ast.Assign) and any(getattr(target, "id", "") == "__all__" for target in node.targets):
            return [str(name) for name in ast.literal_eval(node.value)]
    return None


def defined(path: Path) -> set[str]:
    """Names at a module's top level, imported ones and those under an `if` as well."""

    def names(body: list[ast.stmt]) -> Iterator[str]:
        for node in body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                yield node.name
            elif isinstance(node, ast.Import | ast.ImportFrom):
                yield from ((alias.asname or alias.name).split(".")[0] for alias in node.names)
            elif isinstance(node, ast.Assign | ast.AnnAssign):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                for target in targets:
                    yield from (each.id for each in ast.walk(target) if isinstance(each, ast.Name))
            elif isinstance(node, ast.If | ast.Try | ast.With):
                yield from names([*node.body, *getattr(node, "orelse", [])])

    return set(names(tree_of(path).body))


def lazily(path: Path) -> dict[str, str]:
    """Name → module of what a package loads when asked, by its `lazy_names`."""
    for node in tree_of(path).body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call):
            called = node.value.func
            if isinstance(called, ast.Name) and called.id == "lazy_names":
                homes = ast.literal_eval(node.value.args[1])
                return {name: module for module, names in homes.items() for name in names.split()}
    return {}


def imported(path: Path, *, inside_functions: bool) -> Iterator[ast.Import | ast.ImportFrom]:
    """Imports that run when the module is imported, or all of them; never those for type checks alone."""

    def walk(node: ast.AST) -> Iterator[ast.Import | ast.ImportFrom]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import | ast.ImportFrom):
                yield child
            elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
                continue
            elif inside_functions or not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
                yield from walk(child)

    yield from walk(tree_of(path))


@cache
def from_imports(root: Path) -> list[tuple[str, ast.ImportFrom]]:
    """(importing module, import) of everything that our modules take from each other, inside functions too."""
    return [
        (name, node)
        for name, path in sources(root).items()
        for node in imported(path, inside_functions=True)
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in PACKAGES
    ]


def arrows(root: Path) -> dict[str, set[str]]:
    """Which of our modules each module imports when it is imported."""
    known = sources(root)
    found: dict[str, set[str]] = {}
    for name, path in known.items():
        to = found.setdefault(name, set())
        for node in imported(path, inside_functions=False):
            if isinstance(node, ast.Import):
                to |= {alias.name for alias in node.names}
            elif node.module is not None:
                to |= {
                    full if (full := f"{node.module}.{alias.name}") in known else node.module for alias in node.names
                }
        # The `__init__` of every package on the way runs first, unless the importing module lies in that package.
        to |= {".".join(parts[:end]) for each in to if (parts := each.split(".")) for end in range(1, len(parts))}
        found[name] = {each for each in to & known.keys() if not f"{name}.".startswith(f"{each}.")}
    return found


def test_no_import_runs_in_a_circle(root: Path) -> None:
    graph = arrows(root)
    done: set[str] = set()
    for start in graph:
        trail: list[str] = []
        stack: list[tuple[str, Iterator[str]]] = []

        def enter(name: str, trail: list[str] = trail, stack: list[tuple[str, Iterator[str]]] = stack) -> None:
            trail.append(name)
            stack.append((name, iter(sorted(graph[name]))))

        if start not in done:
            enter(start)
        while stack:
            name, rest = stack[-1]
            following = next((each for each in rest if each not in done), None)
            if following is None:
                done.add(name)
                trail.pop()
                stack.pop()
                continue
            assert following not in trail, " -> ".join([*trail[trail.index(following) :], following])
            enter(following)
    assert len(done) == len(graph)


def test_a_package_lists_its_names_and_each_is_where_it_says(root: Path) -> None:
    known, checked = sources(root), 0
    for package, path in known.items():
        names = listed(path) if path.name == "__init__.py" else None
        if names is None:
            continue
        homes = lazily(path)
        assert len(names) == len(set(names)), package
        assert set(names) <= defined(path), f"{package}: {sorted(set(names) - defined(path))} are not there"
        if homes:
            assert set(homes) == set(names), f"{package}: __all__ and lazy_names differ"
        for name, module in homes.items():
            home = known[f"{package}.{module}"]
            assert name in (listed(home) or defined(home)), f"{package}.{module} has no public {name}"
            assert f"{package}.{name}" not in known, f"{package}.{name} is a module and a name"
        checked += len(names)
    assert checked > 300


def test_a_package_whose_modules_others_use_lists_names(root: Path) -> None:
    """A stranger finds what a room offers in its `__init__`; a room that others only pass through lists nothing."""
    known, silent = sources(root), []
    uses = {(name, str(node.module)) for name, node in from_imports(root)}
    for package, path in known.items():
        if path.name != "__init__.py" or listed(path) is not None or package in PACKAGES:
            continue
        inside = f"{package}."
        users = {name for name, module in uses if module.startswith(inside) and not f"{name}.".startswith(inside)}
        if len(users) > 2:
            silent.append(f"{package}: used by {', '.join(sorted(users)[:4])}")
    assert silent == []


def test_no_module_reaches_for_a_private_name_of_another(root: Path) -> None:
    reached = [
        f"{name}: {node.module}.{alias.name}"
        for name, node in from_imports(root)
        for alias in node.names
        if alias.name.startswith("_") and not alias.name.startswith("__")
    ]
    assert reached == []


def test_examples_in_pages_import_public_names_only(root: Path) -> None:
    known, checked = sources(root), 0
    pages = [root / "README.md", *(page for place in PACKAGES for page in sorted((root / place).rglob("README.md")))]
    for page in [*pages, *sorted((root / "docs").rglob("*.md"))]:
        for block in re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
            for node in ast.walk(ast.parse(block)):
                if not isinstance(node, ast.ImportFrom) or (node.module or "").split(".")[0] not in PACKAGES:
                    continue
                assert node.module in known, f"{page}: no module {node.module}"
                public = listed(known[node.module]) or []
                for alias in node.names:
                    if f"{node.module}.{alias.name}" not in known:
                        assert alias.name in public, f"{page}: {node.module}.{alias.name} is not listed as public"
                        checked += 1
    assert checked > 40


@pytest.mark.parametrize("package", PACKAGES)
def test_a_folder_holds_few_enough_modules_to_be_read(root: Path, package: str) -> None:
    crowded = {
        str(folder.relative_to(root)): number
        for folder in {path.parent for path in (root / package).rglob("*.py")}
        if (number := len(list(folder.glob("*.py")))) > 40
    }
    assert crowded == {}
