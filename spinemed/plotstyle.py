"""How figures look: one style for the plots of every application, as settings of matplotlib.

Convention: light rules, no frame, ink instead of black; whoever draws sets the size of the type.

Trap: matplotlib reads `$` as mathematics unless told not to; a data set may be called `$`.
"""

from __future__ import annotations

from typing import Any

__all__ = ["INK", "PLOT_STYLE", "RULE"]

INK, RULE = "#1a2228", "#d9dcd8"
PLOT_STYLE: dict[str, Any] = {
    "font.family": "DejaVu Sans",
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
