"""What a reader study says: the readers' ceiling, the systems, and whether the doctored controls were found.

Convention: the ceiling of a dimension is how far a reader agrees with the other readers of the same outputs: a judge
that agrees with readers as well as they do with each other can do no better. Intervals are clustered by case.

Trap: a dimension on which all outputs get one grade has no agreement and no correlation; it is named, not averaged.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from spinemed.records import DIMENSIONS, ReaderScore
from spinemed.statistics import Clusters, Interval, generator_for, mean_interval, proportion_interval
from spinemed.statistics.agreement import Agreement, gwet_ac, krippendorff_alpha, raw_agreement

__all__ = ["Against", "Ceiling", "Controls", "StudySummary", "SystemRow", "summarise"]

RESAMPLES = 1_000


@dataclass(frozen=True)
class Ceiling:
    """Agreement of all readers on one dimension, from 1 to 5."""

    dimension: str
    raw: Agreement
    ac2: Agreement
    alpha: Agreement
    """Ordinal."""


@dataclass(frozen=True)
class Against:
    """One reader against the mean of the others, over outputs that others read too and all dimensions."""

    reader: str
    group: str
    outputs: int
    difference: Interval
    """Mean of own grade less the others' mean: below zero is stricter."""
    correlation: float | None
    reason: str
    """Why there is no correlation: `no overlap`, `no variance`."""


@dataclass(frozen=True)
class Controls:
    """Doctored outputs: of the readings, how many named the planted kind of error, another kind, or none."""

    readings: int
    found: Interval
    another: int
    missed: int
    would_sign: Interval
    by_reader: dict[str, tuple[int, int]]
    """Found and read."""


@dataclass(frozen=True)
class SystemRow:
    """One system (or the reference, or the doctored control) over all its outputs."""

    system: str
    arm: str
    readings: int
    mean: Interval
    """Of the ten dimensions."""
    would_sign: Interval
    errors: dict[str, int]


@dataclass(frozen=True)
class StudySummary:
    """All of it."""

    cases: int
    outputs: int
    readers: int
    readings: int
    ceiling: tuple[Ceiling, ...]
    against: tuple[Against, ...]
    systems: tuple[SystemRow, ...]
    controls: Controls | None

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


def summarise(
    scores: Iterable[ReaderScore],
    planted: Mapping[str, tuple[str, ...]],
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> StudySummary:
    """Summarise a study.

    Args:
        scores: One for each reading.
        planted: Kinds of error planted in each doctored output, by its id.
        seed: Of the bootstrap.
        resamples: Bootstrap samples.
    """
    rows = sorted(scores, key=lambda one: (one.case_id, one.output_id, one.reader))
    readings: dict[str, list[ReaderScore]] = defaultdict(list)
    for one in rows:
        readings[one.output_id].append(one)
    several = [of_output for of_output in readings.values() if len(of_output) > 1]
    return StudySummary(
        cases=len({one.case_id for one in rows}),
        outputs=len(readings),
        readers=len({one.reader for one in rows}),
        readings=len(rows),
        ceiling=tuple(_ceiling(name, several, seed, resamples) for name in DIMENSIONS),
        against=tuple(_against(name, rows, readings, seed, resamples) for name in sorted({one.reader for one in rows})),
        systems=tuple(
            _system(system, arm, [one for one in rows if (one.system, one.arm) == (system, arm)], seed, resamples)
            for arm, system in sorted({(one.arm, one.system) for one in rows}, key=lambda one: (one[0] != "model", one))
        ),
        controls=_controls([one for one in rows if one.arm == "doctored"], planted, seed, resamples),
    )


def _ceiling(name: str, several: list[list[ReaderScore]], seed: int, resamples: int) -> Ceiling:
    width = max((len(of_output) for of_output in several), default=0)
    table = [
        [*(one.dimensions[name] for one in of_output), *[None] * (width - len(of_output))] for of_output in several
    ]
    clusters = Clusters.of([of_output[0].case_id for of_output in several])

    def draw(what: str) -> np.random.Generator:
        return generator_for(seed, "ceiling", name, what)

    grades = (1, 2, 3, 4, 5)
    return Ceiling(
        name,
        raw_agreement(table, clusters, draw("raw"), resamples=resamples),
        gwet_ac(table, clusters, draw("ac2"), weights="quadratic", categories=grades, resamples=resamples),
        krippendorff_alpha(table, clusters, draw("alpha"), metric="ordinal", categories=grades, resamples=resamples),
    )


def _against(
    reader: str, rows: list[ReaderScore], readings: Mapping[str, list[ReaderScore]], seed: int, resamples: int
) -> Against:
    own, others, cases = [], [], []
    group = next(one.group for one in rows if one.reader == reader)
    for one in rows:
        beside = [other for other in readings[one.output_id] if other.reader != reader]
        if one.reader != reader or not beside:
            continue
        own.append([one.dimensions[name] for name in DIMENSIONS])
        others.append([np.mean([other.dimensions[name] for other in beside]) for name in DIMENSIONS])
        cases.append(one.case_id)
    if not own:
        nothing = Interval(None, None, None, 0, 0, "empty")
        return Against(reader, group, 0, nothing, None, "no overlap")
    left, right = np.array(own, dtype=float), np.array(others, dtype=float)
    difference = mean_interval(
        (left - right).mean(axis=1), Clusters.of(cases), generator_for(seed, "against", reader), resamples=resamples
    )
    flat = np.ptp(left) == 0 or np.ptp(right) == 0
    correlation = None if flat else float(np.corrcoef(left.ravel(), right.ravel())[0, 1])
    return Against(reader, group, len(own), difference, correlation, "no variance" if flat else "")


def _system(system: str, arm: str, rows: list[ReaderScore], seed: int, resamples: int) -> SystemRow:
    clusters = Clusters.of([one.case_id for one in rows])
    means = [float(np.mean(list(one.dimensions.values()))) for one in rows]
    errors: dict[str, int] = defaultdict(int)
    for one in rows:
        for kind, number in one.errors.items():
            errors[kind] += number
    return SystemRow(
        system,
        arm,
        len(rows),
        mean_interval(means, clusters, generator_for(seed, "mean", arm, system), resamples=resamples),
        proportion_interval(
            [float(one.would_sign) for one in rows], clusters, generator_for(seed, "sign", arm, system),
            resamples=resamples,
        ),
        dict(sorted(errors.items())),
    )  # fmt: skip


def _controls(
    rows: list[ReaderScore], planted: Mapping[str, tuple[str, ...]], seed: int, resamples: int
) -> Controls | None:
    if not rows:
        return None
    found = [any(one.errors.get(kind, 0) > 0 for kind in planted[one.output_id]) for one in rows]
    another = [not hit and any(one.errors.values()) for one, hit in zip(rows, found, strict=True)]
    clusters = Clusters.of([one.case_id for one in rows])
    by_reader: dict[str, tuple[int, int]] = {}
    for one, hit in zip(rows, found, strict=True):
        right, read = by_reader.get(one.reader, (0, 0))
        by_reader[one.reader] = (right + hit, read + 1)
    return Controls(
        len(rows),
        proportion_interval([float(hit) for hit in found], clusters, generator_for(seed, "found"), resamples=resamples),
        sum(another),
        len(rows) - sum(found) - sum(another),
        proportion_interval(
            [float(one.would_sign) for one in rows], clusters, generator_for(seed, "sign"), resamples=resamples
        ),
        dict(sorted(by_reader.items())),
    )
