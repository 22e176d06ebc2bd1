"""The report's plots as PNG, the same bytes every time.

Convention: functions take records and give PNG bytes on a white ground; colours are those colour-blind readers can tell
apart (Okabe and Ito). A mark without an interval is drawn hollow and without a bar, never with a bar of width zero.

Trap: matplotlib writes dates and reads `$` as mathematics unless told not to; a data set may be called `$`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from bench.drawing import BLUE, GREY, INK, VERMILION, draw
from bench.verse.metrics import metric
from bench.verse.records import SummaryRow, VertebraScore
from spinemed.anatomy import LEVELS, Level

__all__ = ["colour_of", "confusion_plot", "levels_plot", "offsets_plot"]


def levels_plot(rows: Sequence[SummaryRow], quantities: Sequence[str]) -> bytes:
    """Quantities by level, one panel each, head to foot from left to right.

    Args:
        rows: The summary rows by level, head to foot.
        quantities: Names of what to draw.
    """
    names = [row.key for row in rows]

    def paint(figure: Any) -> None:
        panels = figure.subplots(len(quantities) + 1, 1, sharex=True, squeeze=False)[:, 0]
        for axes, name in zip(panels, quantities):
            quantity = metric(name)
            factor = 100.0 if quantity.unit == "%" else 1.0
            for place, row in enumerate(rows):
                one = row.values[name]
                if one.value is None:
                    continue
                bounded = one.low is not None and one.high is not None
                if one.low is not None and one.high is not None:
                    bar = [factor * one.low, factor * one.high]
                    axes.plot([place, place], bar, color=BLUE, linewidth=2, alpha=0.55)
                fill = BLUE if bounded else "white"
                axes.plot([place], [factor * one.value], "o", color=BLUE, markersize=5.5, markerfacecolor=fill)
            axes.set_title(f"{quantity.title}{f', {quantity.unit}' if quantity.unit else ''}", loc="left", fontsize=10)
            if quantity.unit == "mm":
                axes.set_ylim(bottom=0)
            else:
                axes.set_ylim(-0.04 * factor, 1.04 * factor)
        last = panels[-1]
        found = np.array([row.vertebrae - row.missed for row in rows])
        missed = np.array([row.missed for row in rows])
        last.bar(range(len(rows)), found, color=GREY, width=0.65, label="found")
        last.bar(range(len(rows)), missed, bottom=found, color=VERMILION, width=0.65, label="missed")
        last.set_title("vertebrae", loc="left", fontsize=10)
        last.yaxis.get_major_locator().set_params(integer=True)
        last.legend(ncols=2, loc="lower right", bbox_to_anchor=(1.0, 0.98), fontsize=9, borderaxespad=0)
        last.set_xticks(range(len(rows)), names)
        last.set_xlim(-0.6, max(len(rows), 6) - 0.4)

    return draw((max(6.4, 0.42 * len(rows) + 1.2), 1.75 * (len(quantities) + 1)), paint)


def confusion_plot(vertebrae: Sequence[VertebraScore]) -> bytes:
    """Reference level against the level it was called, counted in vertebrae.

    The level it was called is the one that most of its voxels were given, or without segmentation the one of the
    nearest predicted centre; "none" is background or nothing near.
    """
    called = [called_name(vertebra) for vertebra in vertebrae]
    rows = sorted({vertebra.level for vertebra in vertebrae})
    levels = {level.value: level.ordinal for level in LEVELS} | {"sacrum": len(LEVELS), "coccyx": len(LEVELS) + 1}
    columns = [*sorted({*(level.value for level in rows), *called} - {"none"}, key=lambda name: levels[name]), "none"]
    grid = np.zeros((len(rows), len(columns)), dtype=int)
    for vertebra, name in zip(vertebrae, called, strict=True):
        grid[rows.index(vertebra.level), columns.index(name)] += 1

    def paint(figure: Any) -> None:
        axes = figure.subplots()
        share = grid / np.maximum(grid.sum(axis=1, keepdims=True), 1)
        axes.imshow(share, cmap="Blues", vmin=0, vmax=1.15, aspect="equal")
        axes.grid(visible=False)
        for (row, column), count in np.ndenumerate(grid):
            if count:
                dark = share[row, column] > 0.6
                axes.text(column, row, str(count), ha="center", va="center", fontsize=8, color="white" if dark else INK)
        from matplotlib.patches import Rectangle

        for row, level in enumerate(rows):
            place = (columns.index(level.value) - 0.5, row - 0.5)
            axes.add_patch(Rectangle(place, 1, 1, fill=False, edgecolor=VERMILION, linewidth=1.2))
        axes.set_xticks(range(len(columns)), columns, rotation=90 if len(columns) > 14 else 0, fontsize=9)
        axes.set_yticks(range(len(rows)), [level.value for level in rows], fontsize=9)
        axes.set_xlabel("called")
        axes.set_ylabel("reference")
        for edge in axes.spines.values():
            edge.set_visible(False)

    side = 0.33
    return draw((max(4.0, side * len(columns) + 1.3), max(3.0, side * len(rows) + 1.3)), paint)


def called_name(vertebra: VertebraScore) -> str:
    """What the prediction called a vertebra: by most of its voxels, or without masks by the centre at its place."""
    if vertebra.dice is None:
        return "none" if vertebra.called is None else vertebra.called.value
    return "none" if vertebra.covered_by in (None, "background") else str(vertebra.covered_by)


def offsets_plot(vertebrae: Sequence[VertebraScore]) -> bytes:
    """How many levels off the vertebrae were called; without those that were called nothing."""
    offsets = [vertebra.offset for vertebra in vertebrae if vertebra.offset is not None]
    reach = max(2, *(abs(offset) for offset in offsets)) if offsets else 2
    counts = {offset: offsets.count(offset) for offset in range(-reach, reach + 1)}

    def paint(figure: Any) -> None:
        axes = figure.subplots()
        colours = [BLUE if offset == 0 else VERMILION for offset in counts]
        bars = axes.bar(list(counts), list(counts.values()), color=colours, width=0.7)
        axes.bar_label(bars, labels=[str(count) if count else "" for count in counts.values()], fontsize=9)
        axes.set_xticks(list(counts), [f"{offset:+d}" if offset else "0" for offset in counts])
        axes.set_xlabel("levels off (+ towards the feet)")
        axes.set_ylabel("vertebrae")
        axes.yaxis.get_major_locator().set_params(integer=True)
        axes.margins(y=0.12)

    return draw((6.0, 2.8), paint)


PALETTE = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442")


def colour_of(level: Level) -> str:
    """One colour per level, the same in every picture; neighbours differ."""
    return PALETTE[LEVELS.index(level) % len(PALETTE)]
