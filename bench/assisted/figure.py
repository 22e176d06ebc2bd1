"""The gain of tools as a figure: with minus without, in points, by kind of question and fault of the mask.

Convention: points are paired differences, bars their 95 % intervals over spines; zero is a line. Trap: without an
interval (fewer than 20 spines) a point stands alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

__all__ = ["draw_gain"]

_COLOURS = ("#1f5f8b", "#c05a2b", "#4b8b3b", "#7a5195")


def draw_gain(found: Sequence[dict[str, Any]], path: Path) -> None:
    """Draw the gains against the same model without tools.

    Args:
        found: What `bench tools` wrote of each model.
        path: PNG.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, 2, sharey=True, squeeze=False)[0]
    for panel, kind in zip(panels, ("fracture", "measurement"), strict=True):
        ticks: list[str] = []
        for number, facts in enumerate(found):
            rows = [row for row in facts["rows"] if row["row"] == kind and row["against"] == "without tools"]
            named = False
            ticks = [f"{row['masks'].replace('_', ' ')}\nDice {row['dice']:.2f}" for row in rows]
            for place, row in enumerate(rows):
                if row["difference"] is None:
                    continue  # no question of this kind was answered in both arms
                at, value = place + 0.14 * number, 100 * row["difference"]
                if row["low"] is not None:
                    panel.plot([at, at], [100 * row["low"], 100 * row["high"]], color=_COLOURS[number % 4], lw=2)
                panel.plot([at], [value], "o", color=_COLOURS[number % 4], label=None if named else facts["model"])
                named = True
                panel.annotate(f"{value:+.0f}", (at, value), xytext=(7, 3), textcoords="offset points", fontsize=9)
        panel.axhline(0, color="#555555", lw=0.8)
        panel.set_xticks(range(len(ticks)), ticks, fontsize=8)
        one = next((row for row in found[0]["rows"] if row["row"] == kind), None)
        told = f"{one['n']} questions, {one['clusters']} spines" if one else "none asked"
        panel.set_title(f"{kind}: {told}", fontsize=10)
        panel.margins(x=0.12)
    panels[0].set_ylabel("gain of tools, points (95 % interval)")
    if panels[0].get_legend_handles_labels()[0]:
        panels[0].legend(loc="best", fontsize=8, frameon=False)
    figure.suptitle("The same model with minus without tools; computed phantoms", fontsize=11)
    figure.savefig(path, dpi=110, metadata={"Software": None})
