"""Public names of a package that are loaded when first used, so that importing the package costs nothing.

Convention: the package lists its names in `__all__`, imports them under `TYPE_CHECKING` for type checks, and says here
which module holds which; a test compares the three.

The trap: a name that is also a module's of the same package gives the module once that was imported. Name them apart.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

__all__ = ["lazy_names"]


def lazy_names(package: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """The `__getattr__` of a package (PEP 562).

    Args:
        package: Its `__name__`.
        homes: Module of the package → its public names, separated by spaces.
    """
    home_of = {name: module for module, names in homes.items() for name in names.split()}

    def get(name: str) -> Any:
        if name not in home_of:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(f"{package}.{home_of[name]}"), name)

    return get
