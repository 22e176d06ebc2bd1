"""Figures of the benchmarks as PNG, the same bytes every time.

Convention: PNG on a white ground; colours are those colour-blind readers can tell apart (Okabe and Ito).

Trap: matplotlib writes dates and reads `$` as mathematics unless told not to; a data set may be called `$`.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from bench.estimates import Estimate
from spinemed.plotstyle import INK, PLOT_STYLE, RULE

__all__ = ["BLUE", "GREY", "INK", "ORANGE", "RULE", "SOFT", "VERMILION", "draw", "mark"]

SOFT = "#56626b"
BLUE, ORANGE, GREY, VERMILION = "#0072b2", "#e69f00", "#808488", "#d55e00"
_STYLE = {**PLOT_STYLE, "font.size": 10}


@contextmanager
def _drawing() -> Iterator[None]:
    import matplotlib

    with matplotlib.rc_context(_STYLE):
        yield


def draw(size: tuple[float, float], paint: Callable[[Any], None], *, dpi: int = 150) -> bytes:
    """A figure of that size in inches, painted by a function, as PNG bytes."""
    with _drawing():
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasAgg(figure)
        paint(figure)
        stream = io.BytesIO()
        figure.savefig(stream, format="png", dpi=dpi, facecolor="white", metadata={"Software": None})
    return stream.getvalue()


def mark(axes: Any, place: float, one: Estimate, colour: str, *, factor: float = 1.0, flat: bool = False) -> None:
    """A mean with its interval as a dot with a bar; hollow and without a bar where there is no interval.

    Args:
        axes: Where to.
        place: Along the other axis.
        one: The mean; nothing is drawn if it has no value.
        colour: Of dot and bar.
        factor: 100 shows shares in percent.
        flat: Values run along x instead of y.
    """
    if one.value is None:
        return
    at = factor * one.value
    bounds = None if one.low is None or one.high is None else ([at - factor * one.low], [factor * one.high - at])
    face = "white" if bounds is None else colour
    kind = {"fmt": "o", "color": colour, "markerfacecolor": face, "markersize": 4.5, "elinewidth": 1.3}
    if flat:
        axes.errorbar([at], [place], xerr=bounds, **kind)
    else:
        axes.errorbar([place], [at], yerr=bounds, **kind)
