"""Published sizes, alignment and density of the human spine, each number with its source and its mark."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spinemed.lazy import lazy_names

if TYPE_CHECKING:
    from spinemed.phantom.tables.morphometry import alignment, size, trabecular_hu

__all__ = ["alignment", "size", "trabecular_hu"]

__getattr__ = lazy_names(
    __name__,
    {
        "morphometry": "alignment size trabecular_hu",
    },
)
