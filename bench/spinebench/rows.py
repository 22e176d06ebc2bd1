"""The rows of a results table: axis by modality (text, image) by origin (real, phantom).

Convention: every question stands in exactly one finest row. Where an axis has several of them, a row for the axis as a
whole stands above. There is no row over all axes: a mean of naming vertebrae and of planning operations measures
neither.

Trap: phantoms are never averaged with patients silently; the axis row says `phantom + real` when it holds both.
"""

from __future__ import annotations

import typing
from collections.abc import Sequence
from dataclasses import dataclass

from bench.samples import modality_of
from spinemed.records import Axis, Sample

__all__ = ["TableRow", "table_rows"]

AXES: tuple[str, ...] = typing.get_args(Axis)


@dataclass(frozen=True)
class TableRow:
    """One row and the positions of its samples."""

    axis: str
    modality: str
    """`image`, `text`, or both joined by ` + `."""
    origin: str
    """`phantom`, `real`, or both joined by ` + `."""
    members: tuple[int, ...]
    """Positions in the list of samples."""
    whole_axis: bool
    """True for the row over several finest rows."""

    @property
    def key(self) -> str:
        """Stable name: `axis/modality/origin`, or the axis alone for the row over all of it."""
        return self.axis if self.whole_axis else f"{self.axis}/{self.modality}/{self.origin}"


def table_rows(samples: Sequence[Sample]) -> list[TableRow]:
    """All rows that hold a sample, by axis, images before text, phantoms before real ones."""
    rows = []
    for axis in AXES:
        finest: dict[tuple[str, str], list[int]] = {}
        for place, sample in enumerate(samples):
            if sample.axis == axis:
                finest.setdefault((modality_of(sample), sample.origin), []).append(place)
        if len(finest) > 1:
            modality = " + ".join(sorted({modality for modality, _ in finest}))
            origin = " + ".join(sorted({origin for _, origin in finest}))
            every = tuple(sorted(place for members in finest.values() for place in members))
            rows.append(TableRow(axis, modality, origin, every, whole_axis=True))
        for (modality, origin), members in sorted(finest.items()):
            rows.append(TableRow(axis, modality, origin, tuple(members), whole_axis=False))
    return rows
