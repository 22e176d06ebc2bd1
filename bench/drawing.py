"""Figures of the benchmarks as PNG, the same bytes every time.

Convention: PNG on a white ground; colours are those colour-blind readers can tell apart (Okabe and Ito).

Trap: matplotlib writes dates and reads `$` as mathematics unless told not to; a data set may be called `$`.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["BLUE", "GREY", "INK", "ORANGE", "RULE", "SOFT", "VERMILION", "draw"]

INK, SOFT, RULE = "#1a2228", "#56626b", "#d9dcd8"
BLUE, ORANGE, GREY, VERMILION = "#0072b2", "#e69f00", "#808488", "#d55e00"
_STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "text.parse_math": False,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": RULE,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": "#e6e8e5",
    "grid.linewidth": 0.7,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "legend.frameon": False,
}


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
