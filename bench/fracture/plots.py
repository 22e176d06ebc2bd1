"""The plots of a fracture report: grades against each other, levels, reliability.

Convention: PNG, the same bytes every time (:mod:`bench.drawing`); levels head to foot from left to right. A mark
without an interval is hollow and has no bar.

Trap: a share of three fractures at one level is three vertebrae; the counts stand below the marks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from bench.drawing import BLUE, GREY, INK, SOFT, VERMILION, draw, mark
from bench.fracture.records import Calibration, SummaryRow

__all__ = ["confusion_plot", "levels_plot", "reliability_plot"]


def confusion_plot(row: SummaryRow) -> bytes:
    """Read grade against predicted grade; shade by the share of the read grade, counts written."""
    counts = np.array(row.confusion)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)

    def paint(figure: Any) -> None:
        axes = figure.subplots()
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
        for i, j in np.ndindex(*counts.shape):
            colour = "white" if shares[i, j] > 0.55 else INK
            axes.text(j, i, str(counts[i, j]), ha="center", va="center", color=colour, fontsize=11)
        axes.set_xticks(range(5), ["0", "1", "2", "3", "not\ngraded"])
        axes.set_yticks(range(4), [f"{g}  (n={counts[g].sum()})" for g in range(4)])
        axes.set_xlabel("predicted grade")
        axes.set_ylabel("read grade")
        axes.grid(visible=False)

    return draw((5.2, 3.6), paint)


def levels_plot(rows: Sequence[SummaryRow]) -> bytes:
    """Sensitivity and false positives by level, and how many vertebrae there are."""
    names = [row.key for row in rows]

    def paint(figure: Any) -> None:
        panels = figure.subplots(3, 1, sharex=True, height_ratios=(2, 2, 1.3))
        parts = (("sensitivity", BLUE, "fractures (grade 1 and more) graded 1 and more, %"),
                 ("false_positive", VERMILION, "grade 0 graded 1 and more, %"))  # fmt: skip
        for axes, (name, colour, title) in zip(panels, parts):
            for place, row in enumerate(rows):
                if name in row.values:
                    mark(axes, place, row.values[name], colour, factor=100.0)
            axes.set_ylim(-4, 104)
            axes.set_title(title, fontsize=9.5, loc="left", color=INK)
        last = panels[2]
        broken = np.array([row.fractured for row in rows])
        whole = np.array([row.vertebrae for row in rows]) - broken
        last.bar(range(len(rows)), whole, color=GREY, width=0.65, label="grade 0")
        last.bar(range(len(rows)), broken, bottom=whole, color=BLUE, width=0.65, label="grade 1 and more")
        last.set_title("vertebrae", fontsize=9.5, loc="left", color=INK)
        last.yaxis.get_major_locator().set_params(integer=True)
        last.legend(ncols=2, loc="lower right", bbox_to_anchor=(1.0, 0.98), fontsize=8.5, borderaxespad=0)
        last.set_xticks(range(len(rows)), names)
        last.set_xlim(-0.6, max(len(rows), 6) - 0.4)

    return draw((max(6.4, 0.42 * len(rows) + 1.2), 5.4), paint)


def reliability_plot(calibration: Calibration) -> bytes:
    """Stated probability of a fracture against the share that was read as one, with the counts of each bin."""

    def paint(figure: Any) -> None:
        axes, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        axes.plot([0, 1], [0, 1], color=GREY, lw=0.9, ls="--")
        for one in calibration.bins:
            if one.stated is not None:
                mark(axes, one.stated, one.found, BLUE)
        axes.set_ylim(-0.04, 1.04)
        axes.set_xlim(-0.02, 1.02)
        axes.set_ylabel("read as fractured")
        axes.text(0.98, 0.03, "dashed: honest", transform=axes.transAxes, ha="right", fontsize=8.5, color=SOFT)
        middles = [(one.low + one.high) / 2 for one in calibration.bins]
        below.bar(middles, [one.n for one in calibration.bins], width=0.085, color=GREY)
        below.set_ylabel("vertebrae")
        below.set_xlabel("stated probability of grade 1 and more")

    return draw((5.2, 4.4), paint)
