"""Two-dimensional phantoms for questions: drawn until they fit, with points to mark and the heights that a reader sees.

Convention: a `FlatView` is one draw with its picture. The column is stated beside the picture (`live_column`), because
a sacrum alone does not say how many lumbar vertebrae lie above it; with it, every level is decided by counting up.

Trap: a phantom knows its height before a fracture and a reader does not: `seen_loss_percent` measures against the
neighbours in the picture, as the question asks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from bench.live.case import Case
from spinemed.anatomy import Level, Spine
from spinemed.errors import SpineMedError
from spinemed.phantom import PhantomConfig, PhantomDraw, draw_phantom, render_phantom
from spinemed.phantom.sagittal.records import PhantomImage, VertebraTruth

__all__ = ["FlatView", "draw_flat", "spine_of_draw"]

_ATTEMPTS = 400
Fits = Callable[["FlatView"], bool]


def spine_of_draw(draw: PhantomDraw) -> Spine:
    """The column of a draw."""
    names = [level for level in draw.levels if level is not Level.S1]
    thoracic = sum(level.value.startswith("T") for level in names)
    return Spine(thoracic, sum(level.value.startswith("L") for level in names))


@dataclass
class FlatView:
    """One draw."""

    draw: PhantomDraw

    @cached_property
    def image(self) -> PhantomImage:
        """The picture and its truth."""
        return render_phantom(self.draw)

    @cached_property
    def spine(self) -> Spine:
        """The column."""
        return spine_of_draw(self.draw)

    @cached_property
    def whole(self) -> tuple[VertebraTruth, ...]:
        """Presacral vertebrae wholly in the picture, head to foot, with room for a mark in front of them."""
        return tuple(x for x in self.image.vertebrae if x.fully_visible and x.level is not Level.S1)

    @property
    def sacrum_seen(self) -> bool:
        """Whether S1 is wholly in the picture."""
        return any(x.level is Level.S1 and x.fully_visible for x in self.image.vertebrae)

    def at(self, level: Level) -> VertebraTruth:
        """The truth of a level in view.

        Raises:
            SpineMedError: It is not in the picture.
        """
        found = self.image.vertebra(level)
        if found is None:
            raise SpineMedError(f"{level} is not in the picture", field="level", cure="mark a vertebra in view")
        return found

    def reach_px(self, level: Level) -> float:
        """How far before its centre an arrow at a body must stop."""
        one = self.at(level)
        return max(abs(corner[0] - one.centre_px[0]) for corner in one.corners_px) + 3.0

    def disc_point(self, upper: Level, lower: Level) -> tuple[float, float]:
        """The middle of the disc between two neighbours."""
        above, below = self.at(upper).corners_px, self.at(lower).corners_px
        points = np.array([above[2], above[3], below[0], below[1]])
        return float(points[:, 0].mean()), float(points[:, 1].mean())

    def room_before_px(self, level: Level) -> float:
        """Pixels between a body's front and the edge of the picture on that side."""
        one = self.at(level)
        front = [one.corners_px[0][0], one.corners_px[3][0]]
        return self.draw.size_px[1] - 1 - max(front) if self.draw.mirrored else min(front)

    def seen_loss_percent(self, level: Level) -> float | None:
        """The largest of three losses of height against the mean of both neighbours; None without two whole ones."""
        names = [x.level for x in self.whole]
        if level not in names or not 0 < names.index(level) < len(names) - 1:
            return None
        place = names.index(level)
        above, one, below = (np.array(self.whole[k].heights_mm) for k in (place - 1, place, place + 1))
        return float(100.0 * (1.0 - one / ((above + below) / 2.0)).max())

    def healthy_neighbours(self, level: Level) -> bool:
        """Whether neither neighbour is fractured."""
        names = [x.level for x in self.whole]
        place = names.index(level)
        beside = [self.whole[k] for k in (place - 1, place + 1) if 0 <= k < len(self.whole)]
        return all(x.fracture is None for x in beside)


def draw_flat(case: Case, fits: Fits, **config: Any) -> FlatView:
    """The first draw of a case that fits.

    Args:
        case: Gives the seed.
        fits: What the picture must show.
        config: Fields of `PhantomConfig`.

    Raises:
        SpineMedError: None of many draws fits.
    """
    side = case.config.size.flat_px
    settings = PhantomConfig(family=case.config.family, size_px=(side, side), **config)
    for attempt in range(_ATTEMPTS):
        view = FlatView(draw_phantom(case.phantom_seed, attempt, settings))
        if fits(view):
            return view
    raise SpineMedError(
        f"none of {_ATTEMPTS} phantoms of case {case.number} fits recipe {case.recipe}",
        field="mix",
        cure="take another seed",
    )
