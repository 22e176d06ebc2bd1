"""Several algorithms on the same scans: paired tests between all of them, and a point ranking.

Convention: the unit of a test is the scan (or, if asked for, the patient: the mean of a patient's scans); an
algorithm's value there is its scan mean, with misses counted. Two tests are given for each pair and quantity:

- Wilcoxon's signed-rank test, two-sided, on the differences; zero differences are left out (Wilcoxon's own way) and
  tied ones get their mean rank. Exact up to 1000 differences, ties or not: the distribution of the rank sum over all
  signs is counted out. Above that scipy's normal approximation.
- the cluster sign-flip test of :mod:`spinemed.statistics`, which keeps scans of one patient together.

p values are corrected by Holm over all pairs and quantities of one comparison.

The ranking gives a point for each significant win, that is: corrected p below `alpha` and the rank sum on the winner's
side. An algorithm's points in a quantity are divided by the number of its opponents; its score is their weighted mean,
between 0 and 1. Ties in score share a rank. The challenge ranked by points of this kind, but the organisers' own
ranking code was never published: **this does not claim to reproduce it**, and weights, test and alpha are settings.

Trap: all algorithms must have been scored on the same scans under the same settings; anything else is refused, because
a test that silently drops the scans of one side compares nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bench.verse.metrics import RANKED, metric
from bench.verse.records import Scores
from spinemed.config import Config
from spinemed.errors import RecordError
from spinemed.records import Record
from spinemed.statistics import Clusters, generator_for, holm, sign_flip_p_value

__all__ = ["Comparison", "PairTest", "Rank", "RankingRules", "SignedRank", "compare_scores", "rank", "signed_rank"]


_EXACT = 1000


@dataclass(frozen=True)
class SignedRank:
    """Wilcoxon's signed-rank test of paired differences.

    Attributes:
        positive: Sum of the ranks of positive differences.
        negative: Sum of the ranks of negative differences.
        n: Differences that are not zero.
        p_value: Two-sided; 1 where no difference is left.
    """

    positive: float
    negative: float
    n: int
    p_value: float


def signed_rank(differences: ArrayLike) -> SignedRank:
    """Wilcoxon's signed-rank test (Biometrics Bulletin 1, 80, 1945), two-sided, zeros left out.

    Args:
        differences: One finite number per unit, shape (n,). Sizes that agree to 12 digits are ties.

    Raises:
        ValueError: A value that is not finite, or another shape.
    """
    from scipy.stats import rankdata, wilcoxon

    delta = np.asarray(differences, dtype=np.float64)
    if delta.ndim != 1 or not np.isfinite(delta).all():
        raise ValueError("differences must be a flat sequence of finite numbers")
    largest = float(np.abs(delta).max(initial=0.0))
    if largest > 0:
        # Rounding noise would break ties, and make an exact test of what is none.
        delta = np.round(delta / largest, 12)
    delta = delta[delta != 0]
    if delta.size == 0:
        return SignedRank(0.0, 0.0, 0, 1.0)
    ranks = rankdata(np.abs(delta))
    if delta.size <= _EXACT:
        # Mean ranks are multiples of one half; doubled they are whole, and whole totals are counted out exactly.
        p_value = sign_flip_p_value(2 * ranks * np.sign(delta), np.random.default_rng(0))
    else:
        p_value = float(wilcoxon(delta, method="asymptotic").pvalue)
    return SignedRank(float(ranks[delta > 0].sum()), float(ranks[delta < 0].sum()), int(delta.size), min(1.0, p_value))


class RankingRules(Config):
    """How wins become points."""

    weights: dict[str, float] = {
        "identified": 1.0,
        "localisation_penalised_mm": 1.0,
        "dice": 2.0,
        "hd_penalised_mm": 2.0,
    }
    """Weight of each quantity. Segmentation above labelling, as the challenge is said to have done."""
    test: Literal["wilcoxon", "sign-flip"] = "wilcoxon"
    """Wilcoxon's signed-rank test as the challenge used it, or the clustered sign-flip test."""
    alpha: float = 0.05
    """A win counts where the corrected p lies below it."""
    unit: Literal["scan", "patient"] = "scan"
    """What is paired: scans, as in the challenge, or patients' means."""
    correction: Literal["holm", "none"] = "holm"
    """Correction over all pairs and quantities."""


class PairTest(Record):
    """Two algorithms in one quantity."""

    metric: str
    """What is compared."""
    first: str
    """The first of the two."""
    second: str
    """The second of the two."""
    n: int
    """Scans or patients that both were scored on."""
    patients: int
    """How many patients or phantoms."""
    first_mean: float
    """Mean of the first."""
    second_mean: float
    """Mean of the second."""
    difference: float
    """First minus second, in the quantity's own unit."""
    rank_sums: tuple[float, float]
    """Of the differences in favour of the first and of the second (by value, not by merit)."""
    wilcoxon_p: float
    """Of Wilcoxon's signed-rank test."""
    sign_flip_p: float
    """Of the sign-flip test clustered by patient."""
    corrected_p: float
    """Of the test that the rules chose, after correction."""
    winner: str | None
    """The better one if the corrected p is below alpha."""


class Rank(Record):
    """One algorithm's place."""

    name: str
    """Name of the method."""
    rank: int
    """1 is best; equals share a place."""
    score: float
    """Weighted points, from 0 to 1."""
    points: dict[str, float]
    """Wins per opponent, by quantity."""


class Comparison(Record):
    """What `spinemed verse compare` writes."""

    kind: Literal["verse comparison"] = "verse comparison"
    """What file or record this is."""
    rules: dict[str, object]
    """The rules of the ranking."""
    names: tuple[str, ...]
    """The methods, in the order given."""
    scans: int
    """Scans that all were scored on."""
    tests: tuple[PairTest, ...]
    """All pairs in all quantities."""
    ranking: tuple[Rank, ...]
    """Places, best first."""
    note: str = (
        "A point per significant win, normalised by the number of opponents. The organisers' own ranking code was "
        "never published; this does not claim to reproduce it."
    )
    """What a reader must know beside it."""


def compare_scores(entries: Mapping[str, Scores], rules: RankingRules | None = None, *, seed: int = 0) -> Comparison:
    """All pairs of algorithms, tested and ranked.

    Args:
        entries: Scores by the algorithm's name.
        rules: Weights, test, alpha, unit, correction.
        seed: Seed of the sign-flip test.

    Raises:
        RecordError: Fewer than two, an unknown quantity, other scans, or other settings among them.
    """
    rules = rules or RankingRules()
    names = tuple(entries)
    _require_comparable(entries, rules)
    tables = {name: _units(entries[name], rules) for name in names}
    found = []
    for quantity in rules.weights:
        # A task that none of them was scored in has no column; one that only some have was refused above.
        if not all(quantity in row for table in tables.values() for row in table.values()):
            continue
        for first, second in combinations(names, 2):
            found.append(_pair(quantity, first, second, tables, entries, rules, seed))
    if not found:
        raise RecordError(
            "none of the ranked quantities was scored in all of them",
            field="weights",
            cure=f"give weights to some of {', '.join(RANKED)} that every scores.json holds",
        )
    chosen = [test.wilcoxon_p if rules.test == "wilcoxon" else test.sign_flip_p for test in found]
    corrected = holm(chosen) if rules.correction == "holm" else chosen
    tests = [_decided(test, float(p or 0.0), rules.alpha) for test, p in zip(found, corrected, strict=True)]
    scans = len(next(iter(entries.values())).cases)
    return Comparison(
        rules=rules.model_dump(mode="json"),
        names=names,
        scans=scans,
        tests=tuple(tests),
        ranking=rank(names, [(test.metric, test.first, test.second, test.winner) for test in tests], rules.weights),
    )


def rank(
    names: Sequence[str], outcomes: Sequence[tuple[str, str, str, str | None]], weights: Mapping[str, float]
) -> tuple[Rank, ...]:
    """The point ranking from decided pairs.

    Args:
        names: The algorithms, two or more.
        outcomes: (quantity, first, second, winner or None) for each pair.
        weights: Of the quantities; those without an outcome count for nothing.

    Returns:
        Best first; equal scores share a rank and stand in the order of `names`.
    """
    quantities = [quantity for quantity in weights if any(outcome[0] == quantity for outcome in outcomes)]
    total = sum(weights[quantity] for quantity in quantities)
    rows = []
    for name in names:
        points = {
            quantity: sum(outcome[0] == quantity and outcome[3] == name for outcome in outcomes) / (len(names) - 1)
            for quantity in quantities
        }
        rows.append((sum(weights[quantity] * points[quantity] for quantity in quantities) / total, name, points))
    rows.sort(key=lambda row: -row[0])
    return tuple(
        Rank(name=name, rank=1 + sum(other[0] > score + 1e-12 for other in rows), score=score, points=points)
        for score, name, points in rows
    )


def _require_comparable(entries: Mapping[str, Scores], rules: RankingRules) -> None:
    if len(entries) < 2:
        raise RecordError("a comparison needs two or more algorithms", field="SCORES", cure="give another scores.json")
    unknown = [name for name in rules.weights if name not in RANKED]
    if unknown or not rules.weights or min(rules.weights.values()) < 0 or sum(rules.weights.values()) <= 0:
        raise RecordError(
            f"the weights {rules.weights} cannot rank",
            field="weights",
            cure=f"give weights of 0 or more, one of them above 0, to some of {', '.join(RANKED)}",
        )
    empty = [name for name, scores in entries.items() if not scores.vertebrae]
    if empty:
        raise RecordError(f"'{empty[0]}' holds no scored vertebra", cure="see the errors in its report")
    (first, reference), *others = entries.items()
    scored = {case.case for case in reference.cases if case.status != "unusable reference"}
    for name, scores in others:
        own = {case.case for case in scores.cases if case.status != "unusable reference"}
        if own != scored:
            odd = sorted(own ^ scored)
            raise RecordError(
                f"'{name}' and '{first}' were not scored on the same scans, e.g. {', '.join(odd[:3])} "
                f"({len(odd)} in one of the two only)",
                field="cases",
                cure="evaluate both against the same reference folder; absent predictions count as misses there",
            )
        differing = [
            field
            for field in type(scores.settings).model_fields
            if field != "labels" and getattr(scores.settings, field) != getattr(reference.settings, field)
        ]
        if differing:
            raise RecordError(
                f"'{name}' and '{first}' were scored with other settings ({', '.join(differing)})",
                field="settings",
                cure="evaluate both with the same options",
            )


def _units(scores: Scores, rules: RankingRules) -> dict[str, dict[str, float]]:
    """Values of the ranked quantities by scan or patient."""
    scans = {case.case: case for case in scores.cases if case.means}
    if rules.unit == "scan":
        return {
            name: {key: case.means[key] for key in rules.weights if key in case.means} for name, case in scans.items()
        }
    grouped: dict[str, list[dict[str, float]]] = {}
    for case in scans.values():
        grouped.setdefault(case.patient, []).append(case.means)
    return {
        patient: {
            key: float(np.mean([means[key] for means in rows]))
            for key in rules.weights
            if all(key in means for means in rows)
        }
        for patient, rows in grouped.items()
    }


def _pair(
    quantity: str,
    first: str,
    second: str,
    tables: Mapping[str, Mapping[str, Mapping[str, float]]],
    entries: Mapping[str, Scores],
    rules: RankingRules,
    seed: int,
) -> PairTest:
    units = sorted(tables[first])
    left = np.array([tables[first][unit][quantity] for unit in units])
    right = np.array([tables[second][unit][quantity] for unit in units])
    patients = _patients(units, entries[first], rules)
    delta: NDArray[np.float64] = left - right
    tested = signed_rank(delta)
    flipped = sign_flip_p_value(patients.sums(delta), generator_for(seed, "verse compare", quantity, first, second))
    return PairTest(
        metric=quantity,
        first=first,
        second=second,
        n=len(units),
        patients=patients.count,
        first_mean=float(left.mean()),
        second_mean=float(right.mean()),
        difference=float(delta.mean()),
        rank_sums=(tested.positive, tested.negative),
        wilcoxon_p=tested.p_value,
        sign_flip_p=flipped,
        corrected_p=1.0,
        winner=None,
    )


def _patients(units: Sequence[str], scores: Scores, rules: RankingRules) -> Clusters:
    if rules.unit == "patient":
        return Clusters.of(list(units))
    patient = {case.case: case.patient for case in scores.cases}
    return Clusters.of([patient[unit] for unit in units])


def _decided(test: PairTest, corrected: float, alpha: float) -> PairTest:
    winner = None
    positive, negative = test.rank_sums
    if corrected < alpha and positive != negative:
        ahead = (positive > negative) == (metric(test.metric).better == "higher")
        winner = test.first if ahead else test.second
    return test.model_copy(update={"corrected_p": corrected, "winner": winner})
