"""Decorators for compiled functions: typed, and compiled again when a file they took code from has changed.

Convention: `njit`, `intrinsic` and `register_jitable` are numba's own, with types: what is decorated keeps its
signature for type checks. Numba keeps a compiled function until the file that defines it changes. A function that
calls compiled functions of other modules, or uses their constants, has them built in: after an update of the callee's
file alone it would go on with the old code. `fresh` adds the callees' files to what a kept function is compared with.

The trap: name every module whose code ends up inside, callees of callees as well. Numba offers no public way; where its
inside is arranged otherwise functions stay as they are, and the tests say so.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, TypeVar

import numba
import numba.extending

__all__ = ["fresh", "intrinsic", "njit", "register_jitable", "source_digest"]

Function = TypeVar("Function", bound=Callable[..., Any])


def njit(
    *,
    cache: bool,
    nogil: bool = False,
    inline: Literal["never", "always"] = "never",
    fastmath: bool | Collection[str] = False,
) -> Callable[[Function], Function]:
    """`numba.njit` with the options that this library uses: a function compiled for the types it is called with."""
    decorator: Callable[[Function], Function] = numba.njit(cache=cache, nogil=nogil, inline=inline, fastmath=fastmath)
    return decorator


def register_jitable(function: Function) -> Function:
    """`numba.extending.register_jitable`: a plain function that compiled ones may call too."""
    registered: Function = numba.extending.register_jitable(function)
    return registered


def intrinsic(function: Callable[..., Any]) -> Callable[..., Any]:
    """`numba.extending.intrinsic`: a function whose machine code is written out. Its callers omit `typing`."""
    written: Callable[..., Any] = numba.extending.intrinsic(function)
    return written


def source_digest(*modules: str) -> str:
    """SHA-256 over the source files of modules, in the order of their full names."""
    found = [find_spec(name) for name in sorted(set(modules))]
    return hashlib.sha256(
        b"".join(Path(spec.origin).read_bytes() for spec in found if spec is not None and spec.origin is not None)
    ).hexdigest()


def fresh(compile_: Callable[[Function], Function], *callees: str) -> Callable[[Function], Function]:
    """Let a decorator that keeps what it compiled look at further files.

    Args:
        compile_: As `njit(cache=True)` gives it.
        callees: Full names of the modules whose code the decorated functions hold.

    Returns:
        The decorator.
    """
    digest = source_digest(*callees)

    def decorate(function: Function) -> Function:
        compiled = compile_(function)
        kept = getattr(getattr(compiled, "_cache", None), "_cache_file", None)
        if kept is not None and hasattr(kept, "_source_stamp"):
            kept._source_stamp = (kept._source_stamp, digest)
        return compiled

    return decorate
