"""Compiled code that is thrown away when a file it took code from has changed.

Convention: numba keeps a compiled function until the file that defines it changes. A function that calls compiled
functions of other modules, or uses their constants, has them built in: after an update of the callee's file alone it
would go on with the old code. `fresh` adds the callees' files to what a kept function is compared with.

The trap: name every module whose code ends up inside, callees of callees as well. Numba offers no public way; where its
inside is arranged otherwise functions stay as they are, and the tests say so.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

__all__ = ["fresh", "source_digest"]


def source_digest(*modules: str) -> str:
    """SHA-256 over the source files of modules, in the order of their full names."""
    found = [find_spec(name) for name in sorted(set(modules))]
    return hashlib.sha256(
        b"".join(Path(spec.origin).read_bytes() for spec in found if spec is not None and spec.origin is not None)
    ).hexdigest()


def fresh(compile_: Callable[..., Any], *callees: str) -> Callable[[Callable[..., Any]], Any]:
    """Let a decorator of numba's (with cache=True) look at further files.

    Args:
        compile_: As `numba.njit(cache=True)` gives it.
        callees: Full names of the modules whose code the decorated functions hold.

    Returns:
        The decorator.
    """
    digest = source_digest(*callees)

    def decorate(function: Callable[..., Any]) -> Any:
        compiled = compile_(function)
        kept = getattr(getattr(compiled, "_cache", None), "_cache_file", None)
        if kept is not None and hasattr(kept, "_source_stamp"):
            kept._source_stamp = (kept._source_stamp, digest)
        return compiled

    return decorate
