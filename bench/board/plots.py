"""The board's plots, as SVG for the page and PNG for papers, the same bytes every time.

Convention: a plot takes numbers from `summary.json` and gives a :class:`Plot`. In the SVG, text and lines take the
page's own colours (so that they can be read on a dark page) and its own font; series keep fixed colours that colour-
blind readers can tell apart (Okabe and Ito), and each has a marker of its own besides.

Trap: matplotlib writes dates, random ids and `$`-mathematics into files unless told not to; a system may be called `$`.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from bench.board.wording import row_title
from bench.spinebench.confusion import NO_ANSWER
from spinemed.records import NOT_DETERMINABLE

__all__ = [
    "INK", "RULE", "Plot", "accuracy_plot", "confusion_plot", "draw_plot", "offset_plot", "per_level_plot",
    "role_class", "style_of",
]  # fmt: skip

INK, RULE = "#010203", "#c0c1c2"
"""Stand-ins that become the page's text and rule colours in the SVG."""
_STYLES = {
    "subject": ("#0072b2", "o"),
    "base": ("#e69f00", "s"),
    "blind": ("#cc79a7", "D"),
    "majority": ("#009e73", "^"),
    "random": ("#808488", "v"),
    "other": ("#d55e00", "P"),
}
_STATIC = {
    "figure.dpi": 100,
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "svg.fonttype": "none",
    "svg.hashsalt": "spinemed",
    "text.parse_math": False,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": RULE,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.facecolor": "none",
    "axes.grid": True,
    "figure.facecolor": "none",
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "legend.frameon": False,
}


@dataclass(frozen=True)
class Plot:
    """One picture in two forms."""

    name: str
    """File name without ending."""
    svg: str
    """An `<svg>` element to stand in a page; its ids start with the name."""
    png: bytes


def style_of(role: str) -> tuple[str, str]:
    """Colour and marker of a role."""
    return _STYLES.get(role, _STYLES["other"])


def role_class(role: str) -> str:
    """The role whose colour is used: the role itself, or `other`."""
    return role if role in _STYLES else "other"


@contextmanager
def _drawing() -> Iterator[None]:
    import matplotlib

    matplotlib.use("Agg")
    with matplotlib.rc_context(_STATIC), warnings.catch_warnings():
        # A name in a script that the PNG's font lacks is drawn as boxes there; the page uses the reader's own fonts.
        warnings.filterwarnings("ignore", message="Glyph", category=UserWarning)
        yield


def draw_plot(name: str, size: tuple[float, float], paint: Callable[[Any, Any], None]) -> Plot:
    """A plot of that size in inches, painted by a function of figure and axes."""
    with _drawing():
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        paint(figure, axes)
        svg, png = io.StringIO(), io.BytesIO()
        figure.savefig(svg, format="svg", metadata={"Date": None, "Creator": None})
        figure.savefig(png, format="png", dpi=160, facecolor="white", metadata={"Software": None})
    return Plot(name, _for_page(svg.getvalue(), name), png.getvalue())


def _for_page(svg: str, name: str) -> str:
    """Only the `<svg>` element, with ids of its own and the page's colours and font."""
    svg = svg[svg.index("<svg") :].strip()
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    # Only inside tags: a name that looks like one of these stays as it is written.
    svg = re.sub(r"<[^>]*>", lambda tag: _for_page_tag(tag[0], name), svg)
    return re.sub(
        r'(<svg [^>]*?) ?width="[^"]*"', r"\1", re.sub(r'(<svg [^>]*?) ?height="[^"]*"', r"\1", svg, count=1), count=1
    )


def _for_page_tag(tag: str, name: str) -> str:
    tag = re.sub(r'(\bid=")', rf"\g<1>{name}-", tag)
    tag = re.sub(r'((?:xlink:)?href="#|url\(#)', rf"\g<1>{name}-", tag)
    tag = re.sub(r"font: ((?:\d+ )?[\d.]+px) [^;\"]+", r"font: \1 var(--sans)", tag)
    for role, (colour, _) in _STYLES.items():
        tag = tag.replace(colour, f"var(--c-{role})")
    return tag.replace(INK, "currentColor").replace(RULE, "var(--rule)")


def accuracy_plot(summary: dict[str, Any], name: str) -> Plot:
    """Share right with its interval: one band per finest row, one mark per system."""
    rows = [row for row in summary["rows"] if not row["whole_axis"]]
    systems = summary["systems"]
    step = 1.0 / (len(systems) + 1.2)

    def paint(figure: Any, axes: Any) -> None:
        for place, system in enumerate(systems):
            colour, marker = style_of(system["role"])
            for number, row in enumerate(rows):
                own = row["systems"][system["name"]]
                y = number + (place - (len(systems) - 1) / 2) * step
                if own["low"] is not None:
                    axes.plot([100 * own["low"], 100 * own["high"]], [y, y], color=colour, linewidth=2.4, alpha=0.55)
                axes.plot(
                    [100 * own["value"]],
                    [y],
                    color=colour,
                    marker=marker,
                    markersize=7,
                    linestyle="none",
                    label=system["name"] if number == 0 else None,
                )
        for edge in range(1, len(rows)):
            axes.axhline(edge - 0.5, color=RULE, linewidth=0.8)
        axes.set_yticks(
            range(len(rows)), [f"{row_title(row)}\n(n {row['n']}, {row['clusters']} clusters)" for row in rows]
        )
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_xlim(-2, 102)
        axes.set_xlabel("right, % (bar: 95 % interval)")
        axes.grid(visible=False, axis="y")
        figure.legend(loc="outside upper center", ncols=min(5, len(systems)))

    return draw_plot(name, (9.2, 0.9 + len(rows) * max(0.75, 0.19 * len(systems))), paint)


def confusion_plot(matrix: dict[str, Any], name: str) -> Plot:
    """True level against answer: counts, shaded by the share of their row."""
    truth, answers, counts = matrix["truth"], matrix["answers"], matrix["counts"]
    short = {NOT_DETERMINABLE: "n.d.", NO_ANSWER: "none"}
    colour = _STYLES["subject"][0]
    size = (1.3 + 0.42 * len(answers), 1.1 + 0.42 * len(truth))
    letters = 9.5 * max(1.0, size[0] / 6)  # the page scales every plot to one width

    def paint(figure: Any, axes: Any) -> None:
        from matplotlib.patches import Rectangle

        axes.grid(visible=False)
        for number, row in enumerate(counts):
            for place, count in enumerate(row):
                right = truth[number] == answers[place]
                if right:
                    axes.add_patch(
                        Rectangle((place - 0.5, number - 0.5), 1, 1, fill=False, edgecolor=INK, linewidth=0.9)
                    )
                if count:
                    share = count / sum(row)
                    box = Rectangle((place - 0.5, number - 0.5), 1, 1, facecolor=colour, alpha=0.12 + 0.88 * share)
                    axes.add_patch(box)
                    ink = "white" if share > 0.4 else INK
                    axes.text(place, number, str(count), ha="center", va="center", fontsize=0.9 * letters, color=ink)
        axes.set_xticks(range(len(answers)), [short.get(name, name) for name in answers], fontsize=0.9 * letters)
        axes.set_yticks(range(len(truth)), [short.get(name, name) for name in truth], fontsize=0.9 * letters)
        axes.set_xlim(-0.5, len(answers) - 0.5)
        axes.set_ylim(len(truth) - 0.5, -0.5)
        axes.set_aspect("equal")
        axes.set_xlabel("answer", fontsize=letters)
        axes.set_ylabel("true level", fontsize=letters)

    return draw_plot(name, size, paint)


def per_level_plot(rows: Sequence[dict[str, Any]], name: str) -> Plot:
    """Share right for each true level, head to foot, with its interval."""
    colour, marker = _STYLES["subject"]

    def paint(figure: Any, axes: Any) -> None:
        for place, row in enumerate(rows):
            if row["low"] is not None:
                axes.plot(
                    [place, place], [100 * row["low"], 100 * row["high"]], color=colour, linewidth=2.4, alpha=0.55
                )
            axes.plot([place], [100 * row["value"]], color=colour, marker=marker, markersize=7)
        axes.set_xticks(range(len(rows)), [f"{row['level']}\n{row['n']}" for row in rows], fontsize=9)
        axes.set_xlim(-0.6, len(rows) - 0.4)
        axes.set_ylim(-3, 103)
        axes.set_ylabel("exactly right, %")
        axes.set_xlabel("true level, and its number of questions")
        axes.grid(visible=False, axis="x")

    return draw_plot(name, (max(5.6, 1.2 + 0.46 * len(rows)), 3.3), paint)


def offset_plot(histograms: Sequence[tuple[str, str, dict[str, int]]], name: str) -> Plot:
    """How many levels off: bars by offset for each (system, role, histogram), no answer last."""
    far = 4
    numbers = [int(key) for _, _, histogram in histograms for key in histogram if key != "none"]
    lowest, highest = min([-1, *numbers]), max([1, *numbers])

    def label(key: str) -> str:
        if key == "none":
            return key
        number = int(key)
        if abs(number) > far:
            return f"≤ −{far + 1}" if number < 0 else f"≥ +{far + 1}"
        return f"{number:+d}".replace("-", "−") if number else "0"

    keep = list(dict.fromkeys(label(str(number)) for number in range(lowest, highest + 1)))
    keep += ["none"] if any("none" in histogram for _, _, histogram in histograms) else []

    def paint(figure: Any, axes: Any) -> None:
        width = 0.82 / len(histograms)
        for place, (system, role, histogram) in enumerate(histograms):
            total = sum(histogram.values())
            heights = dict.fromkeys(keep, 0.0)
            for key, count in histogram.items():
                heights[label(key)] += 100 * count / total
            where = [number + (place - (len(histograms) - 1) / 2) * width for number in range(len(keep))]
            axes.bar(where, list(heights.values()), width=0.92 * width, color=style_of(role)[0], label=system)
        axes.set_xticks(range(len(keep)), keep)
        axes.set_ylabel("questions, %")
        axes.set_xlabel("levels off (positive: too low in the body)")
        axes.grid(visible=False, axis="x")
        if len(histograms) > 1:
            figure.legend(loc="outside upper center", ncols=len(histograms))

    return draw_plot(name, (max(5.6, 1.2 + 0.46 * len(keep)), 3.3), paint)
