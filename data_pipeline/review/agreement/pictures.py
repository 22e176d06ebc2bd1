"""The dashboard's figures as PNG, drawn on the server: the same numbers give the same bytes.

Convention: white ground, colours that colour-blind readers can tell apart (Okabe and Ito), a shape for each coefficient
besides its colour. A hollow mark has no interval.

Trap: matplotlib reads `$` as mathematics and writes its version into the file unless told not to; a task may be named
by a stranger.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from data_pipeline.review.agreement.figures import GoldWeek, Row
from spinemed.plotstyle import INK, PLOT_STYLE

__all__ = ["draw_agreement", "draw_gold", "draw_times"]

MARKS = (
    ("#0072b2", "o"), ("#d55e00", "s"), ("#009e73", "^"), ("#cc79a7", "D"), ("#e69f00", "v"), ("#56b4e9", "P"),
    ("#808488", "X"), ("#000000", "*"),
)  # fmt: skip
_STYLE = {**PLOT_STYLE, "font.size": 9}
_LOCK = threading.Lock()
"""matplotlib's settings belong to the process; two pages at once must not mix theirs."""
_MOST = 40
"""Rows of one figure; the page and the CSV hold the others."""


def _draw(size: tuple[float, float], paint: Callable[[Any], None]) -> bytes:
    import matplotlib

    with _LOCK, matplotlib.rc_context(_STYLE):
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasAgg(figure)
        paint(figure)
        stream = io.BytesIO()
        figure.savefig(stream, format="png", dpi=130, facecolor="white", metadata={"Software": None})
    return stream.getvalue()


def draw_agreement(rows: Sequence[Row], *, x_label: str, units: str) -> bytes:
    """Coefficients with their intervals, one line of marks for each row.

    Args:
        rows: Of one `by` and one aspect; the first forty are drawn and the figure says so.
        x_label: Under the axis.
        units: Word for the number beside a part, e.g. `items`.
    """
    shown = list(rows[:_MOST])
    names = list(dict.fromkeys(one.name for row in shown for one in row.coefficients))

    def paint(figure: Any) -> None:
        axes = figure.subplots()
        for place, row in enumerate(shown):
            for one in row.coefficients:
                if one.value is None:
                    continue
                number = names.index(one.name)
                colour, shape = MARKS[number % len(MARKS)]
                at = place + (number - (len(names) - 1) / 2) * 0.8 / max(len(names), 1)
                bounds = None
                if one.low is not None and one.high is not None:
                    bounds = ([max(one.value - one.low, 0)], [max(one.high - one.value, 0)])
                axes.errorbar(
                    [one.value], [at], xerr=bounds, fmt=shape, color=colour, elinewidth=1.2, markersize=5,
                    markerfacecolor=colour if bounds else "white",
                )  # fmt: skip
        axes.set_yticks(range(len(shown)), [f"{row.part}\n{row.units} {units}" for row in shown])
        axes.set_ylim(max(len(shown), 1) - 0.5, -0.5)
        lows = [one.value if one.low is None else one.low for row in shown for one in row.coefficients
                if one.value is not None]  # fmt: skip
        axes.set_xlim(min([0.0, *lows]) - 0.02, 1.02)
        axes.axvline(0, color=INK, linewidth=0.6)
        axes.grid(axis="y", visible=False)
        axes.set_xlabel(x_label if len(rows) <= _MOST else f"{x_label} ({_MOST} / {len(rows)})")
        handles = [
            axes.plot([], [], shape, color=colour, label=name)[0]
            for name, (colour, shape) in zip(names, _cycled(len(names)), strict=True)
        ]
        if handles:
            figure.legend(handles=handles, loc="outside lower center", ncols=3)

    return _draw((7.5, 1.4 + 0.62 * max(len(shown), 1)), paint)


def draw_gold(weeks: Sequence[GoldWeek], *, y_label: str) -> bytes:
    """Share of right decisions on gold items by week, one line for each person; the dot's size is the number judged."""
    every = sorted({one.week for one in weeks})
    people = sorted({one.reviewer for one in weeks})

    def paint(figure: Any) -> None:
        axes = figure.subplots()
        for person, (colour, shape) in zip(people, _cycled(len(people)), strict=True):
            mine = [one for one in weeks if one.reviewer == person]
            beside = 0.06 * (people.index(person) - (len(people) - 1) / 2)  # or equal lines would hide each other
            places = [every.index(one.week) + beside for one in mine]
            shares = [100 * one.right / one.judged for one in mine]
            axes.plot(places, shares, color=colour, linewidth=1.1, marker=shape, markersize=4, label=person)
        axes.set_xticks(range(len(every)), every)
        axes.set_ylim(-3, 103)
        axes.set_ylabel(y_label)
        if people:
            figure.legend(loc="outside right upper")

    return _draw((7.5, 3.2), paint)


def draw_times(times: Mapping[str, Sequence[float]], *, x_label: str) -> bytes:
    """Seconds for each item by task: median, quartiles, and whiskers at the 5th and 95th percentile."""
    names = [name for name, values in sorted(times.items()) if len(values)]

    def paint(figure: Any) -> None:
        axes = figure.subplots()
        if names:
            axes.boxplot(
                [list(times[name]) for name in names],
                orientation="horizontal", whis=(5, 95), showfliers=False, medianprops={"color": MARKS[1][0]},
                boxprops={"color": INK}, whiskerprops={"color": INK}, capprops={"color": INK},
                tick_labels=[f"{name} ({len(times[name])})" for name in names],
            )  # fmt: skip
            axes.set_xlim(left=0)
            axes.set_ylim(len(names) + 0.5, 0.5)
        axes.set_xlabel(x_label)

    return _draw((7.5, 1.0 + 0.4 * max(len(names), 1)), paint)


def _cycled(count: int) -> list[tuple[str, str]]:
    return [MARKS[number % len(MARKS)] for number in range(count)]
