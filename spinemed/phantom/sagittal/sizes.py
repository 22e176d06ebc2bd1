"""Sizes of vertebrae, discs and canal that phantoms are drawn around, in millimetres, and what each is taken from.

Convention: one `LevelSize` per vertebra from C3 to L5, means over both sexes; a phantom scales all of them by one
body-size factor and varies each a little. The trap: the published series do not define heights alike (label extents
on CT are some 10 % above caliper heights, dry bones some 10 % below), so rows from different series are brought to
one definition here and only the rows named *verified* carry the authority of their source.

Sources
    - L1-L5 heights: meta-analysis of Bonczar 2024 (18 studies, 1,481 people), verified.
    - T11-T12 heights: dry-bone posterior heights of Panjabi scaled to the living, wedge ratio .944 and .950 of
      CTSpinoPelvic1K (738 people); the ratios are verified, the heights approximate.
    - T1-T10 and cervical heights, all endplate depths except L5: Panjabi's series as commonly quoted, approximate.
    - L5 depth: 196 people on CT (IJSS 15:1072), verified.
    - Canal depth T11-L5: Panjabi, verified; above, approximate.
    - Lumbar disc mid-heights: Shin 2024 (700 people), verified; thoracic 2.7 mm (T4-5) rising to 5.4 mm (T10-11)
      on CT (128 people), verified at its ends, linear between.
    - Spinous processes: approximate.
"""

from __future__ import annotations

from typing import NamedTuple

from spinemed.anatomy import Level

__all__ = ["FOLLOWS", "SACRUM_DEPTHS_MM", "SACRUM_LENGTHS_MM", "SEGMENT_LORDOSIS_DEG", "SIZES", "LevelSize", "size_of"]


class LevelSize(NamedTuple):
    """Mean sizes of one vertebra and of the disc below it, in mm (droop in degrees below the endplate's line)."""

    anterior: float
    posterior: float
    depth: float
    canal: float
    disc: float
    spinous_length: float
    spinous_height: float
    spinous_droop: float


_ROWS: dict[str, tuple[float, ...]] = {
    # level: anterior, posterior, depth, canal, disc below, spinous length, height, droop
    "C3": (12.2, 12.4, 15.4, 16.2, 4.1, 15, 7, 25),
    "C4": (12.0, 12.4, 15.6, 17.7, 4.1, 15, 7, 25),
    "C5": (11.8, 12.4, 16.6, 17.4, 4.1, 15, 7, 25),
    "C6": (12.0, 12.4, 17.5, 18.1, 4.2, 19, 8, 25),
    "C7": (13.4, 14.0, 17.6, 15.2, 4.3, 28, 10, 22),
    "T1": (14.8, 15.5, 19.1, 16.4, 3.6, 30, 10, 25),
    "T2": (16.4, 17.2, 20.6, 15.5, 3.0, 30, 10, 32),
    "T3": (16.5, 17.3, 23.0, 15.8, 2.8, 30, 10, 40),
    "T4": (16.8, 17.8, 23.9, 16.0, 2.7, 30, 10, 46),
    "T5": (16.8, 17.8, 25.1, 16.1, 3.15, 31, 10, 52),
    "T6": (17.9, 19.1, 26.5, 16.4, 3.6, 32, 10, 56),
    "T7": (18.7, 20.0, 28.0, 15.8, 4.05, 32, 10, 57),
    "T8": (19.3, 20.6, 28.7, 15.9, 4.5, 31, 10, 55),
    "T9": (20.0, 21.2, 30.2, 15.7, 4.95, 30, 11, 50),
    "T10": (20.9, 22.2, 31.1, 15.5, 5.4, 28, 12, 42),
    "T11": (22.1, 23.4, 31.9, 16.0, 5.5, 26, 14, 30),
    "T12": (23.6, 24.8, 33.1, 18.1, 5.6, 25, 17, 20),
    "L1": (24.5, 26.6, 34.4, 19.0, 6.6, 27, 20, 12),
    "L2": (25.8, 27.0, 34.8, 18.2, 7.9, 28, 21, 10),
    "L3": (26.8, 26.7, 35.0, 17.5, 8.8, 29, 21, 9),
    "L4": (26.9, 25.8, 35.1, 18.6, 9.3, 27, 20, 9),
    "L5": (27.4, 24.1, 35.5, 19.7, 8.1, 21, 15, 14),
}

#: Mean sizes by level, from cranial to caudal.
SIZES: dict[Level, LevelSize] = {Level(name): LevelSize(*row) for name, row in _ROWS.items()}

#: A supernumerary vertebra takes the sizes of the one named here (approximate).
FOLLOWS: dict[Level, Level] = {Level("T13"): Level("T12"), Level("L6"): Level("L5")}

#: Segmental angle between a vertebra and the one below it, degrees, lordosis positive. Lumbar values are the usual
#: shares of a 50 degree lordosis, kyphosis 3 to 4 degrees a level between T2 and T11 (approximate).
SEGMENT_LORDOSIS_DEG: dict[Level, float] = {
    **{Level(f"C{i}"): 2.0 for i in range(3, 8)},
    Level("T1"): -2.0,
    **{Level(f"T{i}"): -3.6 for i in range(2, 11)},
    Level("T11"): -1.5,
    Level("T12"): 0.5,
    Level("T13"): 1.0,
    Level("L1"): 4.0,
    Level("L2"): 7.0,
    Level("L3"): 9.0,
    Level("L4"): 14.0,
    Level("L5"): 16.0,
    Level("L6"): 16.0,
}

#: Lengths of S1 to S5 and the coccyx along the sacral curve, and depths at the six borders and the tip (approximate).
SACRUM_LENGTHS_MM: tuple[float, ...] = (29.0, 24.0, 20.0, 17.0, 15.0, 24.0)
SACRUM_DEPTHS_MM: tuple[float, ...] = (33.0, 24.0, 17.5, 13.5, 11.0, 8.0, 4.0)


def size_of(level: Level) -> LevelSize:
    """Mean sizes of `level`; L6 and T13 borrow those of their cranial neighbour.

    Raises:
        KeyError: The level has no body that a phantom draws (C1, C2, S2 and below).
    """
    return SIZES[FOLLOWS.get(level, level)]
