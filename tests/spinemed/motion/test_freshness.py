"""After an update, no compiled function of the fit goes on with another module's old code."""

from __future__ import annotations

import ast
from importlib import import_module
from pathlib import Path

import pytest

from spinemed.compiled import source_digest

PACKAGE = "spinemed.motion."
KERNELS = {PACKAGE + name for name in ("camera_kernels", "frames", "kernels", "linear", "solver", "tiles")}


def borrowed(module: str) -> set[str]:
    """Modules of compiled code whose code a module's functions hold: by its imports, and theirs."""
    tree = ast.parse(Path(str(import_module(module).__file__)).read_text(encoding="utf-8"))
    own = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module in KERNELS}
    return own.union(*(borrowed(name) for name in own))


@pytest.mark.parametrize("module", sorted(KERNELS))
def test_kept_code_is_compared_with_the_files_of_what_it_calls(module: str) -> None:
    compiled = [
        found
        for found in vars(import_module(module)).values()
        if hasattr(found, "py_func") and found.py_func.__module__ == module
    ]
    assert compiled
    for function in compiled:
        plain = function._cache._impl.locator.get_source_stamp()
        callees = borrowed(module)
        wanted = (plain, source_digest(*callees)) if callees else plain
        assert function._cache._cache_file._source_stamp == wanted, function
