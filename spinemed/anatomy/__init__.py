"""The vocabulary of the spine: levels, discs, segments, regions.

Purpose: wherever a vertebra or a disc is meant, the value is a `Level` or a `Disc`, never a bare string or int.

How the odd vertebrae are counted, before any class:

- **T13** is an additional vertebra below T12 that bears ribs. It stands between T12 and L1 in the order, and its VerSe
  label is 28, out of sequence.
- **L6** is an additional vertebra without ribs below L5 and above the sacrum.
- **A lumbarised S1** (the first piece of the sacrum, grown free) is counted as L6, because it is a mobile vertebra with
  a disc below it; the first piece that is still fused is then S1, and the lumbosacral disc is L6/S1. A **sacralised L5**
  is counted as part of the sacrum when it is fully fused: the spine then has four lumbar vertebrae and the disc L4/S1.

The trap: text order and VerSe label order are not anatomical order. Compare `Level` values, never their texts.
"""

from spinemed.anatomy.levels import LEVELS, Level, Region
from spinemed.anatomy.segments import DISCS, SEGMENTS, Disc, Segment

__all__ = ["DISCS", "LEVELS", "SEGMENTS", "Disc", "Level", "Region", "Segment"]
