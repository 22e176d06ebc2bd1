"""The plots of a motion report: angle error and coverage per level, error per point.

Convention: PNG, the same bytes every time (:mod:`bench.drawing`); head to foot from left to right, or from top to
bottom. A mark without an interval is hollow and has no bar.

Trap: directions share no scale: a flexion of 10 degrees and an axial rotation of 10 degrees are not alike, so each has
a panel of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bench.drawing import BLUE, GREY, INK, SOFT, VERMILION, draw, mark
from bench.motion.groups import REGION_ROWS
from bench.motion.records import LevelScore, PointScore
from spinemed.motion.conventions import DIRECTIONS
from spinemed.motion.dataset.predictions import POINT_NAMES
from spinemed.motion.keypoints import SPINE_CHAIN, SPINETRACK_37

__all__ = ["coverage_plot", "levels_plot", "points_plot"]


def _segments(levels: Sequence[LevelScore], direction: str) -> list[LevelScore]:
    return [one for one in levels if one.direction == direction and one.segment not in REGION_ROWS]


def _sum_words(one: LevelScore) -> str:
    slope = "" if one.slope is None else f" (slope {one.slope:.2f})"
    return f"{one.segment} -" if one.mae_deg.value is None else f"{one.segment} {one.mae_deg.value:.1f}°{slope}"


def levels_plot(levels: Sequence[LevelScore]) -> bytes:
    """Mean absolute angle error per segment, one panel per direction, with the sums of regions written out."""

    def paint(figure: Any) -> None:
        panels = figure.subplots(3, 1, sharex=True)
        for axes, direction in zip(panels, DIRECTIONS, strict=True):
            own = _segments(levels, direction)
            for place, one in enumerate(own):
                mark(axes, place, one.mae_deg, BLUE)
            axes.set_ylim(bottom=0)
            axes.set_ylabel("degrees")
            sums = {one.segment: one for one in levels if one.direction == direction and one.segment in REGION_ROWS}
            words = ", ".join(_sum_words(sums[name]) for name in ("cervical", "thoracic", "lumbar") if name in sums)
            axes.set_title(
                f"{direction.replace('_', ' ')}" + (f" · whole region: {words}" if words else ""), fontsize=9.5,
                loc="left", color=INK,
            )  # fmt: skip
            for place, one in enumerate(own):
                if one.segment in ("C7/T1", "T12/L1"):  # regions go by the upper vertebra
                    axes.axvline(place + 0.5, color=GREY, lw=0.8, ls=":")
        names = [one.segment for one in _segments(levels, DIRECTIONS[0])]
        panels[-1].set_xticks(range(len(names)), names, rotation=90, fontsize=8.5)

    return draw((8.4, 6.4), paint)


def coverage_plot(levels: Sequence[LevelScore]) -> bytes:
    """Share of frames whose true angle lies in the stated 50 % and 90 % intervals, per segment and direction."""

    def paint(figure: Any) -> None:
        panels = figure.subplots(3, 1, sharex=True)
        for axes, direction in zip(panels, DIRECTIONS, strict=True):
            own = _segments(levels, direction)
            for nominal, colour in ((90, BLUE), (50, VERMILION)):
                axes.axhline(nominal, color=colour, lw=0.9, ls="--")
                for place, one in enumerate(own):
                    mark(axes, place, one.coverage90 if nominal == 90 else one.coverage50, colour, factor=100.0)
            axes.set_ylim(0, 103)
            axes.set_ylabel("% of frames")
            axes.set_title(direction.replace("_", " "), fontsize=9.5, loc="left", color=INK)
        names = [one.segment for one in _segments(levels, DIRECTIONS[0])]
        panels[-1].set_xticks(range(len(names)), names, rotation=90, fontsize=8.5)
        panels[0].text(
            0.995, 1.04, "dashed: nominal 90 % (blue) and 50 % (red)", transform=panels[0].transAxes, ha="right",
            fontsize=8.5, color=SOFT,
        )  # fmt: skip

    return draw((8.4, 5.6), paint)


def points_plot(points: Sequence[PointScore]) -> bytes:
    """Mean distance per point: filled blue in the world, hollow-edged orange after alignment; spine first."""
    known = {one.name: one for one in points}
    chain = [SPINETRACK_37[number] for number in reversed(SPINE_CHAIN)]
    order = [name for name in (*chain, *POINT_NAMES[len(SPINETRACK_37) :], *SPINETRACK_37) if name in known]
    order = list(dict.fromkeys(order))

    def paint(figure: Any) -> None:
        axes = figure.subplots()
        for place, name in enumerate(order):
            mark(axes, place, known[name].error_mm, BLUE, flat=True)
            mark(axes, place, known[name].aligned_mm, VERMILION, flat=True)
        axes.set_yticks(range(len(order)), [name.replace("_", " ") for name in order], fontsize=8.5)
        axes.set_ylim(len(order) - 0.4, -0.6)
        axes.set_xlim(left=0)
        axes.set_xlabel("mm (blue: in the world; red: after the best similarity)")
        axes.grid(axis="y", visible=True)

    return draw((6.8, max(2.4, 0.185 * len(order) + 0.8)), paint)
