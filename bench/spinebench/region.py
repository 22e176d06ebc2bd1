"""Right region: cervical, thoracic, lumbar, sacral or coccygeal, by the name of the vertebra.

Convention: a disc belongs to the region of its upper vertebra. None where the truth is no level; a reply that names no
level is not in the right region.

Trap: at the junctions a neighbour is in another region (T12 and L1), so a model can be within one level and in the
wrong region, and the other way round.
"""

from __future__ import annotations

from bench.spinebench.offsets import has_level_truth
from spinemed.anatomy import Disc, Level, Region
from spinemed.records import NOT_DETERMINABLE, Sample

__all__ = ["is_region_right", "region_of"]


def region_of(sample: Sample, answer: str) -> Region:
    """Region of a canonical level or disc text, read as the sample's answer kind says."""
    return Disc.from_text(answer).region if sample.answer_kind == "disc" else Level(answer).region


def is_region_right(sample: Sample, parsed: str | None) -> bool | None:
    """Whether the region is right; None where the sample has no level."""
    if not has_level_truth(sample):
        return None
    if parsed is None or parsed == NOT_DETERMINABLE:
        return False
    return region_of(sample, parsed) is region_of(sample, sample.answer)
