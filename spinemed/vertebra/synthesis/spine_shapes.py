"""What the shape completer sees of a straightened spine: the shapes of the other bodies, and the heights they suggest.

Convention: slots are the three whole bodies above and the three below, by place in the spine, nearest last above and
nearest first below (-3, -2, -1, 1, 2, 3). The target's own body is never among them, nor do its heights count in the
expected course: what the completer answers does not change when the target does.

The trap: a vertebra that the mask lacks altogether would make its neighbours look nearer than they are; such gaps count
as empty slots for that reason.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from spinemed.anatomy import Level
from spinemed.errors import LevelError, VolumeError
from spinemed.measure import Body, fit_body
from spinemed.vertebra.norms import NORM_LEVELS
from spinemed.vertebra.reference import BodyHeights, LevelCurve, Reference
from spinemed.vertebra.straighten import StraightCrop, Straightened
from spinemed.vertebra.synthesis.neighbours import CUT
from spinemed.vertebra.synthesis.shape import LENGTH, describe_body

__all__ = ["SLOTS", "Context", "SpineShapes", "context_of", "describe_spine", "fit_crop"]

Array = NDArray[np.float64]

SLOTS = (-3, -2, -1, 1, 2, 3)
_COURSE = LevelCurve(name="level curve without the target", own_posterior=False)


@dataclass(frozen=True, eq=False)
class SpineShapes:
    """The bodies of one spine that can tell of others.

    Attributes:
        shapes: (LENGTH,) float32 by level, head to foot.
        heights: Thirds and reading error, by level.
        left_out: Why each other level is not among them.
        order: All levels of the spine, head to foot, told or not.
    """

    shapes: dict[Level, NDArray[np.float32]] = field(default_factory=dict)
    heights: dict[Level, BodyHeights] = field(default_factory=dict)
    left_out: dict[Level, str] = field(default_factory=dict)
    order: tuple[Level, ...] = ()


@dataclass(frozen=True, eq=False)
class Context:
    """What is known of one target without itself.

    Attributes:
        level: The target.
        shapes: (6, LENGTH) float32, 0 in an empty slot.
        thirds: (6, 3) float32 heights, mm.
        levels: (6,) int64 place in `NORM_LEVELS`, -1 in an empty slot.
        reference: Heights that the course of the other bodies leads to expect.
    """

    level: Level
    shapes: NDArray[np.float32]
    thirds: NDArray[np.float32]
    levels: NDArray[np.int64]
    reference: Reference

    @property
    def course(self) -> NDArray[np.float32]:
        """(6,) expected thirds (mm) and their sd."""
        return np.array([*self.reference.thirds, *self.reference.sd_mm], dtype=np.float32)


def fit_crop(crop: StraightCrop) -> Body:
    """The body of a crop fitted, with the crop's own directions as hints.

    Raises:
        VolumeError: no body, or one without endplates.
    """
    axes = crop.affine[:3, :3]
    return fit_body(crop.body >= 0.5, crop.affine, anterior_hint=axes[:, 1], up_hint=axes[:, 2])


def describe_spine(straight: Straightened) -> SpineShapes:
    """Shapes of all whole bodies from T1 to L6 of a straightened spine."""
    found = SpineShapes(order=tuple(sorted(straight.crops)))
    for level in found.order:
        crop = straight.crops[level]
        if level not in NORM_LEVELS:
            continue
        if CUT in crop.flags:
            found.left_out[level] = CUT
            continue
        try:
            body = fit_crop(crop)
            heights = BodyHeights.of(level, body)
            found.shapes[level] = describe_body(body)
            found.heights[level] = heights
        except VolumeError as error:
            found.left_out[level] = error.problem
    return found


def context_of(spine: SpineShapes, level: Level) -> Context:
    """What the others tell of a target.

    Raises:
        LevelError: a level above T1 or below L6.
        VolumeError: no other body.
    """
    if level not in NORM_LEVELS:
        raise LevelError(f"{level} has no shape to be expected", field="level", cure="use a level from T1 to L6")
    others = [each for other, each in spine.heights.items() if other is not level]
    reference = _COURSE.estimate(level, others)
    shapes = np.zeros((len(SLOTS), LENGTH), dtype=np.float32)
    thirds = np.zeros((len(SLOTS), 3), dtype=np.float32)
    levels = np.full(len(SLOTS), -1, dtype=np.int64)
    line = _with_gaps(spine.order)
    at = line.index(level)
    for slot, away in enumerate(SLOTS):
        place = at + away
        other = line[place] if 0 <= place < len(line) else None
        if other is not None and other in spine.shapes:
            shapes[slot], thirds[slot] = spine.shapes[other], spine.heights[other].thirds
            levels[slot] = NORM_LEVELS.index(other)
    return Context(level, shapes, thirds, levels, reference)


def _with_gaps(order: tuple[Level, ...]) -> list[Level]:
    """The levels from the first to the last, with those that the mask lacks between them; rare ones only if present."""
    rare = {Level.T13, Level.L6}
    first, last = min(order), max(order)
    usual = [level for level in Level if first <= level <= last and level not in rare]
    if Level.L1 in order and Level.T13 not in order and Level.T12 not in order and Level.T11 in order:
        usual.remove(Level.T12)  # eleven thoracic vertebrae
    return sorted({*usual, *order})
