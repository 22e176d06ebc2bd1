"""The quantities of a summary: where each is read from a vertebra record, and how it is written.

Convention: a quantity is a share (printed in percent), a coefficient, or millimetres; `better` says which way is up.
Quantities over all vertebrae count a miss (0, not identified, or the penalty); quantities "matched only" leave misses
out and have a smaller n.

Trap: a matched-only mean improves when hard vertebrae are not found at all. Read it beside the number of misses.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from bench.verse.records import VertebraScore

__all__ = ["METRICS", "RANKED", "Metric", "metric"]


@dataclass(frozen=True)
class Metric:
    """One quantity.

    Attributes:
        name: Its key in summaries.
        title: How people call it.
        unit: "%" for shares, "" for coefficients, "mm".
        better: Whether higher or lower values are better.
        counts_misses: Whether a missed vertebra has a value.
        read: Its value for one vertebra; None where there is none.
    """

    name: str
    title: str
    unit: Literal["%", "", "mm"]
    better: Literal["higher", "lower"]
    counts_misses: bool
    read: Callable[[VertebraScore], float | None]


def _field(name: str) -> Callable[[VertebraScore], float | None]:
    def read(vertebra: VertebraScore) -> float | None:
        value = getattr(vertebra, name)
        return None if value is None else float(value)

    return read


def _matched(name: str) -> Callable[[VertebraScore], float | None]:
    field = _field(name)
    return lambda vertebra: field(vertebra) if vertebra.outcome == "matched" else None


METRICS: tuple[Metric, ...] = (
    Metric("identified", "identified", "%", "higher", True, _field("identified")),
    Metric("identified_admissible", "identified, where the view admits other numberings by the best of them", "%",
           "higher", True, _field("identified_admissible")),
    Metric("localisation_penalised_mm", "localisation error, misses penalised", "mm", "lower", True,
           _field("localisation_penalised_mm")),
    Metric("localisation_mm", "localisation error, matched only", "mm", "lower", False, _field("localisation_mm")),
    Metric("dice", "Dice", "", "higher", True, _field("dice")),
    Metric("dice_matched", "Dice, matched only", "", "higher", False, _matched("dice")),
    Metric("dice_any_name", "Dice whatever the name", "", "higher", True, _field("dice_any_name")),
    Metric("iou", "IoU", "", "higher", True, _field("iou")),
    Metric("nsd", "surface Dice", "", "higher", True, _field("nsd")),
    Metric("hd_penalised_mm", "Hausdorff, capped, misses penalised", "mm", "lower", True, _field("hd_penalised_mm")),
    Metric("hd_mm", "Hausdorff, matched only", "mm", "lower", False, _field("hd_mm")),
    Metric("hd95_pooled_mm", "HD95 (pooled), matched only", "mm", "lower", False, _field("hd95_pooled_mm")),
    Metric("hd95_directed_mm", "HD95 (larger direction), matched only", "mm", "lower", False,
           _field("hd95_directed_mm")),
    Metric("hd_largest_mm", "Hausdorff without islands, matched only", "mm", "lower", False, _field("hd_largest_mm")),
    Metric("assd_mm", "ASSD, matched only", "mm", "lower", False, _field("assd_mm")),
    Metric("masd_mm", "MASD, matched only", "mm", "lower", False, _field("masd_mm")),
)  # fmt: skip
"""Every quantity, in the order of tables."""

RANKED = ("identified", "localisation_penalised_mm", "dice", "hd_penalised_mm")
"""The four that the challenge reported; each counts misses, so that no algorithm gains by leaving vertebrae out."""

_BY_NAME = {each.name: each for each in METRICS}


def metric(name: str) -> Metric:
    """A quantity by name. A KeyError if there is none."""
    return _BY_NAME[name]
