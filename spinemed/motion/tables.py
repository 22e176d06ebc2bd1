"""The packaged tables of the motion model, read once: sizes, ranges, rhythms, keypoints, each row with its source.

Convention: one CSV per subject under `tables/`; `mark` says how sure a row is: (a) read or measured in a public
source, (b) quoted from memory of the literature, (d) derived by arithmetic from rows marked (a). The trap: lengths
are those of the reference adult of `sexes.csv`; the model scales them by stature.
"""

from __future__ import annotations

import csv
from functools import cache
from itertools import pairwise
from pathlib import Path

from spinemed.anatomy import REGULAR, Level, Segment

__all__ = ["MOBILE_SEGMENTS", "read_table", "regular_segments"]

FOLDER = Path(__file__).resolve().parent / "tables"


@cache
def read_table(name: str) -> tuple[dict[str, str], ...]:
    """The rows of `tables/<name>.csv`, as text."""
    with open(FOLDER / f"{name}.csv", encoding="utf-8", newline="") as stream:
        return tuple(csv.DictReader(stream))


def regular_segments() -> tuple[Segment, ...]:
    """The 25 mobile segments of a regular spine, caudal to cranial: L5/S1 first, C0/1 last."""
    order = (Level.C0, *REGULAR.presacral, Level.S1)
    return tuple(Segment(upper, lower) for upper, lower in pairwise(order))[::-1]


MOBILE_SEGMENTS = regular_segments()
