"""The vocabulary of the spine: levels, discs, segments, roots, a patient's own column, and how they are written.

Purpose: wherever a vertebra or a disc is meant, the value is a `Level` or a `Disc`, never a bare string or int. What a
person or a model wrote becomes one of these in one place, `parsing` and `mentions`.

How the odd vertebrae are counted, before any class:

- **T13** is an additional vertebra below T12 that bears ribs. It stands between T12 and L1 in the order, and its VerSe
  label is 28, out of sequence. A spine may also end its thorax at **T11**: T12 is then missing, and T11 meets L1.
- **L6** is an additional vertebra without ribs below L5 and above the sacrum.
- **A lumbarised S1** (the first piece of the sacrum, grown free) is counted as L6, because it is a mobile vertebra with
  a disc below it; the first piece that is still fused is then S1, and the lumbosacral disc is L6/S1. A **sacralised
  L5** that is fully fused is counted as sacrum: the spine then has four lumbar vertebrae and the disc L4/S1.
- These are the names when one counts regions by ribs, as VerSe does. Counting down from C2, or up from the sacrum, may
  name the same bone otherwise; `Spine` states its convention and translates (see `spine`). Where the field of view
  holds nothing to count from, the name is not determinable (see `numbering`).

The trap: text order and VerSe label order are not anatomical order, and which vertebrae are neighbours depends on the
patient. Compare `Level` values, never their texts, and measure distance with `Spine.distance`.
"""

from spinemed.anatomy.labels import LABEL_MAPS, LabelMap
from spinemed.anatomy.levels import LEVELS, Level, Region
from spinemed.anatomy.mentions import find_levels
from spinemed.anatomy.numbering import Numbering, determinable, number_view
from spinemed.anatomy.parsing import parse_disc, parse_level, parse_levels, parse_root, parse_segment, read
from spinemed.anatomy.readings import Ambiguous, LevelRange, Mention, Reading, describe, resolve
from spinemed.anatomy.roots import ROOTS, Root
from spinemed.anatomy.segments import DISCS, SEGMENTS, Disc, Segment
from spinemed.anatomy.spine import REGULAR, CountingConvention, Spine

__all__ = [
    "DISCS",
    "LABEL_MAPS",
    "LEVELS",
    "REGULAR",
    "ROOTS",
    "SEGMENTS",
    "Ambiguous",
    "CountingConvention",
    "Disc",
    "LabelMap",
    "Level",
    "LevelRange",
    "Mention",
    "Numbering",
    "Reading",
    "Region",
    "Root",
    "Segment",
    "Spine",
    "describe",
    "determinable",
    "find_levels",
    "number_view",
    "parse_disc",
    "parse_level",
    "parse_levels",
    "parse_root",
    "parse_segment",
    "read",
    "resolve",
]
