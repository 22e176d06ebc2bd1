"""Plots of what systems say about their own certainty, of controls and of turned options.

Convention: as in `plots.py`; a system keeps one colour and marker on the page. Risk–coverage: answers by falling stated
confidence, the share wrong among those kept. Calibration: share right against stated confidence, dots as large as their
bins.

Trap: a system that states no confidence has no curve; it is named in the caption's table and not drawn as zero.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bench.board.plots import INK, RULE, Plot, draw_plot, style_of
from bench.board.wording import condition_title

__all__ = ["calibration_plot", "control_plot", "position_plot", "risk_plot"]

_LINES = ("-", "--", ":", "-.")
_PALETTE = ("subject", "other", "majority", "blind", "base", "random")
"""Styles by place: on these plots every system is a contestant."""


def _style(number: int) -> tuple[str, str]:
    return style_of(_PALETTE[number % len(_PALETTE)])


def risk_plot(systems: Sequence[tuple[str, str, Mapping[str, Any]]], name: str) -> Plot:
    """Share wrong against coverage, for (system, role, abstention figures)."""

    def paint(figure: Any, axes: Any) -> None:
        for number, (system, _, own) in enumerate(systems):
            coverage, risk = zip(*own["curve"], strict=True)
            colour, marker = _style(number)
            # The end is marked, because one confidence for all gives one point and no line.
            axes.step(
                [100 * one for one in coverage], [100 * one for one in risk], where="post", color=colour, linewidth=2,
                linestyle=_LINES[number % 4], marker=marker, markevery=[-1], markersize=7, label=system,
            )  # fmt: skip
        axes.axvline(90, color=INK, linewidth=0.8, linestyle=":")
        axes.set_xlim(0, 102)
        axes.set_ylim(-0.4, None)
        axes.set_xlabel("coverage: questions answered, % (dotted: 90 %)")
        axes.set_ylabel("wrong among them, %")
        figure.legend(loc="outside upper center", ncols=min(3, len(systems)))

    return draw_plot(name, (5.6, 3.9), paint)


def calibration_plot(systems: Sequence[tuple[str, str, Mapping[str, Any]]], name: str) -> Plot:
    """Share right against stated confidence, for (system, role, abstention figures)."""

    def paint(figure: Any, axes: Any) -> None:
        axes.plot([0, 100], [0, 100], color=RULE, linewidth=1.2)
        for number, (system, _, own) in enumerate(systems):
            bins = [one for one in own["calibration"] if one["n"]]
            colour, marker = _style(number)
            most = max(one["n"] for one in bins)
            axes.plot(
                [100 * one["confidence"] for one in bins], [100 * one["correct"] for one in bins], color=colour,
                linewidth=1.2, linestyle=_LINES[number % 4],
            )  # fmt: skip
            axes.scatter(
                [100 * one["confidence"] for one in bins], [100 * one["correct"] for one in bins], color=colour,
                marker=marker, s=[18 + 110 * one["n"] / most for one in bins], label=system, alpha=0.85,
            )  # fmt: skip
        axes.set_xlim(-2, 102)
        axes.set_ylim(-3, 106)
        axes.set_xlabel("stated confidence, %")
        axes.set_ylabel("right, %")
        figure.legend(loc="outside upper center", ncols=min(3, len(systems)))

    return draw_plot(name, (5.6, 3.9), paint)


def control_plot(controls: Mapping[str, Mapping[str, Mapping[str, Any]]], name: str) -> Plot:
    """The question itself and each control of each system: one band per control, with intervals."""
    rows = [
        (system, condition, own)
        for system, held in controls.items()
        for condition, own in held.items()
        if not condition.startswith("rotated_") and own["value"] is not None
    ]
    colours = (style_of("subject")[0], style_of("other")[0])

    def paint(figure: Any, axes: Any) -> None:
        for number, (_, _, own) in enumerate(rows):
            for shift, colour, marker, one in (
                (-0.14, colours[0], "o", own["full"]), (0.14, colours[1], "D", own)
            ):  # fmt: skip
                if one["low"] is not None:
                    axes.plot(
                        [100 * one["low"], 100 * one["high"]], [number + shift] * 2, color=colour, linewidth=2.4,
                        alpha=0.55,
                    )  # fmt: skip
                label = ("the question itself" if shift < 0 else "under the control") if not number else None
                axes.plot(
                    [100 * one["value"]], [number + shift], color=colour, marker=marker, markersize=7, linestyle="none",
                    label=label,
                )  # fmt: skip
            if own.get("chance") is not None:
                axes.plot(
                    [100 * own["chance"]] * 2, [number - 0.36, number + 0.36], color=INK, linewidth=1, linestyle=":"
                )
        axes.set_yticks(range(len(rows)), [f"{system}\n{condition_title(condition)}" for system, condition, _ in rows])
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_xlim(-2, 102)
        axes.set_xlabel("right, % (dotted: a uniform guess)")
        axes.grid(visible=False, axis="y")
        figure.legend(loc="outside upper center", ncols=2)

    return draw_plot(name, (7.4, 1.1 + 0.62 * len(rows)), paint)


def position_plot(rotations: Mapping[str, Mapping[str, Any]], name: str) -> Plot:
    """How often each place was chosen, for each system with turned options."""
    letters = sorted({letter for own in rotations.values() for letter in own["positions"]})
    width = 0.82 / len(rotations)

    def paint(figure: Any, axes: Any) -> None:
        for place, (system, own) in enumerate(rotations.items()):
            heights = [100 * (own["positions"].get(letter, {}).get("share") or 0) for letter in letters]
            where = [number + (place - (len(rotations) - 1) / 2) * width for number in range(len(letters))]
            axes.bar(where, heights, width=0.92 * width, color=_style(place)[0], label=system)
        axes.set_xticks(range(len(letters)), letters)
        axes.set_ylabel("chosen, %")
        axes.set_xlabel("place of the option")
        axes.grid(visible=False, axis="x")
        figure.legend(loc="outside upper center", ncols=min(4, len(rotations)))

    return draw_plot(name, (5.6, 3.3), paint)
