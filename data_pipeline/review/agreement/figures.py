"""The dashboard's figures: agreement by task, pair, group and week for each thing that reviewers decide.

Convention: a unit is one item with all its decisions that two or more people judged in its present round; the case is
its group of content (patient, document), over which intervals are clustered. Overall, by task and by week raters are
exchangeable (Fleiss, AC1/AC2, alpha); a pair of persons or groups has two columns (Cohen, ICC, Bland-Altman as well).

Trap: ICC(2,1) and Cohen's kappa are of two persons; pooled over changing pairs they would mean nothing, so the rows of
tasks and weeks do not have them.
"""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from spinemed.statistics import Clusters, generator_for
from spinemed.statistics.agreement import (
    Agreement,
    bland_altman,
    cohen_kappa,
    fleiss_kappa,
    gwet_ac,
    icc,
    krippendorff_alpha,
    prevalence,
    raw_agreement,
)

__all__ = [
    "ASPECTS",
    "BY",
    "RESAMPLES",
    "GoldWeek",
    "Judgement",
    "Row",
    "agreement_rows",
    "gold_weeks",
    "ordered_scale",
]

BY: tuple[str, ...] = ("all", "task", "week", "group", "pair")
ASPECTS: tuple[str, ...] = ("decision", "key", "level", "side", "urgency", "grade", "measurement")
URGENCY: tuple[str, ...] = ("routine", "urgent", "emergency")
CLOSED: dict[str, tuple[str, ...]] = {
    "decision": ("approved", "edited", "rejected"),
    "side": ("left", "right", "both"),
}
"""Scales without an order that are known whole."""
RESAMPLES = 1_000
"""Bootstrap samples of the dashboard; each coefficient on the page costs milliseconds."""
_ASIDE = frozenset({"not assessable", "not determinable"})
_ROMAN = {"I": 1, "II": 2, "III": 3, "IV": 4, "V": 5, "VI": 6}


@dataclass(frozen=True)
class Judgement:
    """What one person decided about one item that has all its decisions."""

    item: int
    case: str
    task: str
    answer_kind: str
    scale: tuple[str, ...]
    """The closed set of a category answer."""
    reviewer: str
    group: str
    week: str
    """ISO week of the decision, e.g. `2026-W47`."""
    verdict: str
    answer_key: str
    levels: str
    side: str
    urgency: str
    seconds: float


@dataclass(frozen=True)
class Row:
    """One line of the dashboard: agreement on one aspect within one part of the work."""

    by: str
    part: str
    """Task, week, `A / B` for pairs and groups, or `all`."""
    aspect: str
    units: int
    coefficients: tuple[Agreement, ...]
    prevalence: dict[str, float] = field(default_factory=dict)
    """Share of each category among all ratings, the commonest first; empty for measurements."""
    limits: dict[str, Any] = field(default_factory=dict)
    """Bland-Altman of a pair's measurements; empty otherwise."""


@dataclass(frozen=True)
class GoldWeek:
    """How often one person's decisions on gold items were right in one week."""

    reviewer: str
    week: str
    right: int
    judged: int


def ordered_scale(categories: Sequence[str]) -> tuple[str, ...]:
    """The grades of a closed set in order, or nothing where the set has none.

    Ascending whole numbers or Roman numerals are grades (Pfirrmann, Genant, Meyerding, counts); `not assessable` and
    `not determinable` stand beside a scale, not on it. `none, 1, 2, 3` of Modic types is no scale.
    """
    grades = tuple(name for name in categories if name not in _ASIDE)
    numbers = [int(name) if name.isascii() and name.isdigit() else _ROMAN.get(name) for name in grades]
    known = [number for number in numbers if number is not None]
    ascending = all(left < right for left, right in itertools.pairwise(known))
    return grades if len(grades) > 1 and len(known) == len(grades) and ascending else ()


def _value(one: Judgement, aspect: str) -> Any:
    """What a person said about an aspect, or None where the aspect does not apply to the item or was not answered."""
    if aspect == "decision":
        return one.verdict
    if one.verdict == "rejected":
        return None  # who rejects an item has no answer to it
    if aspect == "key":
        return one.answer_key if one.answer_key and one.answer_kind not in ("text", "number") else None
    if aspect == "grade":
        return one.answer_key if one.answer_key in ordered_scale(one.scale) else None
    if aspect == "measurement":
        return _number(one.answer_key) if one.answer_kind == "number" else None
    return {"level": one.levels, "side": one.side, "urgency": one.urgency}[aspect] or None


def _number(text: str) -> float | None:
    try:
        number = float(text.split()[0]) if text.split() else math.nan
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def agreement_rows(
    judgements: Iterable[Judgement], *, by: str, aspect: str, seed: int = 0, resamples: int = RESAMPLES
) -> list[Row]:
    """Agreement on one aspect, one row for each part of the work.

    Args:
        judgements: Of items with all their decisions only; the caller answers for that.
        by: One of :data:`BY`.
        aspect: One of :data:`ASPECTS`.
        seed: Of the bootstrap; each row has its own stream.
        resamples: Bootstrap samples.

    Returns:
        Rows sorted by part; grades on several scales give one row for each scale.

    Raises:
        ValueError: Another `by` or `aspect`.
    """
    if by not in BY or aspect not in ASPECTS:
        raise ValueError(f"by is one of {BY} and aspect one of {ASPECTS}, found {by!r} and {aspect!r}")
    items: dict[int, list[Judgement]] = defaultdict(list)
    for one in judgements:
        items[one.item].append(one)
    parts: dict[tuple[str, tuple[str, ...]], list[tuple[str, list[Any]]]] = defaultdict(list)
    for _, of_item in sorted(items.items()):
        of_item.sort(key=lambda one: one.reviewer)
        scale = ordered_scale(of_item[0].scale) if aspect == "grade" else ()
        for part, ratings in _parts(of_item, by, aspect):
            parts[part, scale].append((of_item[0].case, ratings))
    rows = []
    for (part, scale), units in sorted(parts.items()):
        name = f"{part} ({scale[0]} to {scale[-1]})" if scale else part
        found = _row(by, name, aspect, units, scale, seed, resamples)
        if found is not None:
            rows.append(found)
    return rows


def _parts(of_item: list[Judgement], by: str, aspect: str) -> Iterable[tuple[str, list[Any]]]:
    """Where an item counts, and its ratings there in columns."""
    if by in ("all", "task", "week"):
        part = {"all": "all", "task": of_item[0].task, "week": max(one.week for one in of_item)}[by]
        yield part, [_value(one, aspect) for one in of_item]
        return
    for left, right in itertools.combinations(of_item, 2):
        names = [(one.reviewer if by == "pair" else one.group or "no group") for one in (left, right)]
        first, second = (left, right) if names[0] <= names[1] else (right, left)
        yield " / ".join(sorted(names)), [_value(first, aspect), _value(second, aspect)]


def _row(
    by: str,
    part: str,
    aspect: str,
    units: list[tuple[str, list[Any]]],
    scale: tuple[str, ...],
    seed: int,
    resamples: int,
) -> Row | None:
    rated = [(case, ratings) for case, ratings in units if sum(value is not None for value in ratings) >= 2]
    if not rated:
        return None
    width = max(len(ratings) for _, ratings in rated)
    table = [[*ratings, *[None] * (width - len(ratings))] for _, ratings in rated]
    clusters = Clusters.of([case for case, _ in rated])
    columns: tuple[list[Any], list[Any]] | None = None
    # Two persons, or two different groups, are two columns; two people of one group are exchangeable.
    if by in ("pair", "group") and len(set(part.split(" (")[0].split(" / "))) == 2:
        columns = [ratings[0] for ratings in table], [ratings[1] for ratings in table]

    def draw(name: str) -> np.random.Generator:
        return generator_for(seed, by, part, aspect, name)

    if aspect == "measurement":
        return _measured(by, part, aspect, table, columns, clusters, draw, resamples)
    order = scale or (URGENCY if aspect == "urgency" else ())
    known = order or CLOSED.get(aspect, ())  # AC1 depends on the size of the scale, also where a part was never used
    found = [
        raw_agreement(table, clusters, draw("raw"), resamples=resamples),
        fleiss_kappa(table, clusters, draw("fleiss"), resamples=resamples),
        gwet_ac(table, clusters, draw("ac1"), categories=known or None, resamples=resamples),
        krippendorff_alpha(table, clusters, draw("alpha"), resamples=resamples),
    ]
    if columns:
        found.insert(1, cohen_kappa(*columns, clusters, draw("cohen"), resamples=resamples))
    if order:
        found.append(gwet_ac(table, clusters, draw("ac2"), weights="quadratic", categories=order, resamples=resamples))
        found.append(
            krippendorff_alpha(
                table, clusters, draw("ordinal"), metric="ordinal", categories=order, resamples=resamples
            )
        )
        if columns:
            found.append(
                cohen_kappa(
                    *columns, clusters, draw("weighted"), weights="quadratic", categories=order, resamples=resamples
                )
            )
    shares = sorted(prevalence(table).items(), key=lambda one: (-one[1], one[0]))
    return Row(by, part, aspect, len(rated), tuple(found), dict(shares))


def _measured(
    by: str,
    part: str,
    aspect: str,
    table: list[list[Any]],
    columns: tuple[list[Any], list[Any]] | None,
    clusters: Clusters,
    draw: Callable[[str], np.random.Generator],
    resamples: int,
) -> Row:
    found = [krippendorff_alpha(table, clusters, draw("interval"), metric="interval", resamples=resamples)]
    limits: dict[str, Any] = {}
    if columns:
        found.append(icc(table, clusters, draw("icc"), resamples=resamples))
        limits = bland_altman(*columns, clusters, draw("limits"), resamples=resamples).as_dict()
    return Row(by, part, aspect, len(table), tuple(found), {}, limits)


def gold_weeks(marks: Iterable[tuple[str, str, bool]]) -> list[GoldWeek]:
    """Decisions on gold items by person and week, from (reviewer, week, right), sorted."""
    counted: dict[tuple[str, str], list[bool]] = defaultdict(list)
    for reviewer, week, right in marks:
        counted[reviewer, week].append(right)
    return [GoldWeek(reviewer, week, sum(marks), len(marks)) for (reviewer, week), marks in sorted(counted.items())]
