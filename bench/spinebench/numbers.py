"""How far a measured number is off: answered minus true, in the unit of the sample.

Convention: both numbers stand in the unit of the sample (the extractor turns centimetres into millimetres and reads no
other unit), so their difference has it, too. A number is right within the sample's tolerance; without a tolerance it
must be equal. The bound itself is within, up to a rounding of 1e-9.

No error is defined, and None is returned, where the truth or the answer is "not determinable", or nothing was read.

Trap: an answer without an error is not an error of 0; how many there are stands beside every mean.
"""

from __future__ import annotations

from spinemed.records import NOT_DETERMINABLE, Sample

__all__ = ["is_number_right", "measure_of", "number_error"]

_ROUNDING = 1e-9


def number_error(sample: Sample, parsed: str | None) -> float | None:
    """Answered minus true in the sample's unit; None where no error is defined."""
    if sample.answer_kind != "number" or parsed is None or NOT_DETERMINABLE in (parsed, sample.answer):
        return None
    return round(float(parsed) - float(sample.answer), 9)


def is_number_right(sample: Sample, parsed: str | None) -> bool:
    """Whether a number is within the tolerance of the truth, or says that there is none where there is none."""
    error = number_error(sample, parsed)
    if error is None:
        return parsed is not None and parsed == sample.answer
    return abs(error) <= (sample.tolerance or 0.0) + _ROUNDING


def measure_of(sample: Sample) -> str:
    """What is measured: the tag `measure:cobb` and the like, else the unit, else `count`."""
    tag = next((tag for tag in sample.tags if tag.startswith(("measure:", "measurement:"))), "")
    return tag.partition(":")[2] or sample.unit or "count"
