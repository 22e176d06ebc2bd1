"""Right: the reply's canonical answer is the canonical answer of the sample, or a number within its tolerance.

Convention: both sides are canonical texts (`L3`, `L4/5`, `T12-L2`, `wedge`, `B`, `not determinable`), so equality of
texts is equality of answers; numbers have a rule of their own in `numbers.py`. A reply that was not parsed, refused,
timed out or failed is wrong.

Trap: "not determinable" is right only where it is the truth; it is never half a point elsewhere.
"""

from __future__ import annotations

from bench.spinebench.numbers import is_number_right
from spinemed.records import Sample

__all__ = ["is_exact"]


def is_exact(sample: Sample, parsed: str | None) -> bool:
    """Whether the parsed answer is the sample's answer. None (nothing parsed) is wrong."""
    if sample.answer_kind == "number":
        return is_number_right(sample, parsed)
    return parsed is not None and parsed == sample.answer
