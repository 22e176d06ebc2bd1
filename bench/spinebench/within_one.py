"""Within one level: the named vertebra is the marked one or its neighbour in the patient's own column.

Convention: None where the truth is no level (categories, options, not determinable): such items have no neighbours and
do not enter the share. A level item whose reply has no distance from the truth (unparsed, not determinable, a vertebra
this patient lacks) is not within one.

Trap: one level off is still the wrong level for surgery; this share stands beside the exact one and never replaces it.
"""

from __future__ import annotations

from bench.spinebench.offsets import has_level_truth, offset_levels
from spinemed.records import Sample

__all__ = ["is_within_one"]


def is_within_one(sample: Sample, parsed: str | None) -> bool | None:
    """Whether the answer is at most one level off; None where the sample has no level to be near to."""
    if not has_level_truth(sample):
        return None
    offset = offset_levels(sample, parsed)
    return offset is not None and abs(offset) <= 1
