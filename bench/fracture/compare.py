"""Several graders on the same vertebrae: paired differences, clustered by patient, corrected over all tests.

Convention: a difference is first minus second in one quantity, over all vertebrae of the reference (what a grader
leaves ungraded counts against it as in :mod:`bench.fracture.metrics`). Its interval computes both quantities on the
same bootstrap samples of whole patients. The p value asks whether the two graders could be exchanged: their grades are
swapped for whole patients at random, and the difference as observed is ranked among such (a permutation test; the
observed arrangement is counted among them, so p is never 0: Phipson and Smyth 2010, doi 10.2202/1544-6115.1585). Holm
corrects over all pairs and quantities.

Degenerate cases: fewer than six patients: no interval, and p cannot fall below 0.05; equal grades throughout:
difference 0, no interval ("no variance"), p 1.

Trap: a test over vertebrae instead of patients declares differences that come from one patient with many fractures.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from bench import scorefiles
from bench.fracture.aggregate import FEWEST_PATIENTS
from bench.fracture.metrics import TABLED, confusion, metric, table_values
from bench.fracture.records import GradedPair, Scores, read_scores
from bench.paired import winner_of
from spinemed.errors import RecordError
from spinemed.records import Record
from spinemed.run import make_folder
from spinemed.statistics import Clusters, generator_for, holm
from spinemed.statistics.intervals import cluster_draws, percentile_bounds
from spinemed.tables import write_json, write_text

__all__ = [
    "COMPARISON_FILE",
    "DEFAULT_QUANTITIES",
    "QUANTITIES",
    "Comparison",
    "PairTest",
    "compare_scores",
    "read_entries",
    "write_comparison",
]

Array = NDArray[np.float64]

COMPARISON_FILE = "comparison.json"
_PAGE_FILE = "comparison.html"
QUANTITIES = (*TABLED, "accuracy", "graded", "sensitivity", "specificity", "false_positive", "sensitivity_2",
              "specificity_2")  # fmt: skip
"""What can be tested: everything that the table of counts determines."""
DEFAULT_QUANTITIES = ("macro_f1", "kappa", "accuracy", "sensitivity", "specificity", "sensitivity_2", "specificity_2")


class PairTest(Record):
    """Two graders in one quantity."""

    quantity: str
    """What is compared."""
    first: str
    """The first of the two."""
    second: str
    """The second of the two."""
    vertebrae: int
    """How many vertebrae."""
    patients: int
    """How many patients or phantoms."""
    first_value: float | None
    """Of the first."""
    second_value: float | None
    """Of the second."""
    difference: float | None
    """First minus second, in the quantity's own unit."""
    low: float | None
    """Lower bound of the 95 % interval."""
    high: float | None
    """Upper bound of the 95 % interval."""
    method: str
    """How the interval was made, or why there is none."""
    p: float | None
    """Of the paired test, before correction."""
    corrected_p: float | None = None
    """After Holm's correction over all tests of the file."""
    winner: str | None = None
    """The better one if the corrected p lies below alpha."""


class Comparison(Record):
    """What `spinemed fracture compare` writes."""

    kind: Literal["fracture comparison"] = "fracture comparison"
    """What file or record this is."""
    names: tuple[str, ...]
    """The methods, in the order given."""
    vertebrae: int
    """How many vertebrae."""
    patients: int
    """How many patients or phantoms."""
    alpha: float
    """A test counts where its corrected p lies below it."""
    seed: int
    """Of the resampling."""
    resamples: int
    """Bootstrap resamples of each interval."""
    tests: tuple[PairTest, ...]
    """All pairs in all quantities."""


def read_entries(paths: Sequence[str | os.PathLike[str]]) -> dict[str, Scores]:
    """Scores by the grader's name; graders of one name are told apart by their folder.

    Raises:
        ReadError, RecordError: A file cannot be used, or one is given twice.
    """
    return scorefiles.read_entries(paths, read_scores)


def compare_scores(
    entries: Mapping[str, Scores],
    *,
    quantities: Sequence[str] | None = None,
    alpha: float = 0.05,
    seed: int = 0,
    resamples: int = 10_000,
) -> Comparison:
    """All pairs of graders in all quantities, tested.

    Args:
        entries: Scores by the grader's name, two or more.
        quantities: Among `QUANTITIES`; `DEFAULT_QUANTITIES` unless given.
        alpha: A win needs a corrected p below this.
        seed, resamples: Of intervals and tests.

    Raises:
        RecordError: Fewer than two graders, other vertebrae among them, or an unknown quantity.
    """
    _require_comparable(entries)
    chosen = tuple(dict.fromkeys(quantities if quantities is not None else DEFAULT_QUANTITIES))
    for name in chosen:
        if name not in QUANTITIES:
            raise RecordError(
                f"'{name}' cannot be tested", field="--quantities", cure=f"use some of {', '.join(QUANTITIES)}"
            )
    first = next(iter(entries.values()))
    clusters = Clusters.of([pair.patient for pair in _ordered(first)])
    tables = {name: confusion(_ordered(scores), clusters.index, clusters.count) for name, scores in entries.items()}
    tests = [
        test
        for one, other in combinations(entries, 2)
        for test in _pair(one, other, tables, chosen, clusters, seed, resamples)
    ]
    corrected = holm([test.p for test in tests])
    return Comparison(
        names=tuple(entries), vertebrae=len(first.vertebrae), patients=clusters.count, alpha=alpha, seed=seed,
        resamples=resamples, tests=tuple(_decided(test, p, alpha) for test, p in zip(tests, corrected, strict=True)),
    )  # fmt: skip


def _ordered(scores: Scores) -> list[GradedPair]:
    return sorted(scores.vertebrae, key=lambda pair: (pair.case, pair.level))


def _require_comparable(entries: Mapping[str, Scores]) -> None:
    if len(entries) < 2:
        raise RecordError("a comparison needs two or more graders", field="SCORES", cure="give another scores.json")
    (first, reference), *others = entries.items()

    def keys(scores: Scores) -> list[tuple[str, str, int]]:
        return [(pair.case, pair.level, pair.grade) for pair in _ordered(scores)]

    for name, scores in others:
        if keys(scores) != keys(reference):
            raise RecordError(
                f"'{name}' and '{first}' were not scored on the same vertebrae", field="vertebrae",
                cure="evaluate both against the same reference and split; what is not graded counts as wrong there",
            )  # fmt: skip


def _all_values(counts: Array) -> dict[str, Array]:
    """Everything that counts (..., 4, 5) determine, among `QUANTITIES`."""
    right = np.trace(counts[..., :4], axis1=-2, axis2=-1)
    total, graded = counts.sum(axis=(-2, -1)), counts[..., :4].sum(axis=(-2, -1))

    def share(part: Array, whole: Array) -> Array:
        return np.divide(part, whole, out=np.full(whole.shape, np.nan), where=whole > 0)

    read = counts.sum(axis=-1)
    low, low2 = read[..., 0], read[..., :2].sum(axis=-1)
    found = table_values(counts)
    found |= {"accuracy": share(right, total), "graded": share(graded, total)}
    found["sensitivity"] = share(counts[..., 1:, 1:4].sum(axis=(-2, -1)), read[..., 1:].sum(axis=-1))
    found["specificity"] = share(counts[..., 0, 0], low)
    found["false_positive"] = share(counts[..., 0, 1:4].sum(axis=-1), low)
    found["sensitivity_2"] = share(counts[..., 2:, 2:4].sum(axis=(-2, -1)), read[..., 2:].sum(axis=-1))
    found["specificity_2"] = share(counts[..., :2, :2].sum(axis=(-2, -1)), low2)
    return found


def _pair(
    first: str,
    second: str,
    tables: Mapping[str, Array],
    chosen: Sequence[str],
    clusters: Clusters,
    seed: int,
    resamples: int,
) -> list[PairTest]:
    both = np.stack([tables[first], tables[second]], axis=1)
    whole = _all_values(both.sum(axis=0))
    rng = generator_for(seed, "fracture compare", first, second)
    drawn = _bootstrap(both, rng, resamples)
    swapped = _swaps(both, rng, resamples)
    found = []
    for name in chosen:
        one, other = (float(value) if np.isfinite(value) else None for value in whole[name])
        difference = None if one is None or other is None else one - other
        low = high = p = None
        method = "no value" if difference is None else f"fewer than {FEWEST_PATIENTS} patients"
        if difference is not None:
            deltas = np.abs(swapped[name])
            # What only rounding makes smaller is as large.
            hits = int((deltas[np.isfinite(deltas)] >= abs(difference) - 1e-12).sum())
            p = (hits + 1) / (int(np.isfinite(deltas).sum()) + 1)
            estimates = drawn[name][np.isfinite(drawn[name])]
            if clusters.count >= FEWEST_PATIENTS and len(estimates):
                method = "no variance"
                if np.ptp(estimates) > 0:
                    low, high = percentile_bounds(estimates, clusters.count)
                    method = "cluster bootstrap"
        found.append(
            PairTest(
                quantity=name, first=first, second=second, vertebrae=clusters.size, patients=clusters.count,
                first_value=one, second_value=other, difference=difference, low=low, high=high, method=method, p=p,
            )
        )  # fmt: skip
    return found


def _bootstrap(both: Array, rng: np.random.Generator, resamples: int) -> dict[str, Array]:
    """Differences on bootstrap samples of patients; (patients, 2, 4, 5) counts of both graders."""
    flat = both.reshape(len(both), -1)
    parts = []
    for draws in cluster_draws(len(both), rng, resamples):
        values = _all_values((draws @ flat).reshape(-1, 2, 4, 5))
        parts.append({name: value[:, 0] - value[:, 1] for name, value in values.items()})
    return {name: np.concatenate([part[name] for part in parts]) for name in QUANTITIES}


def _swaps(both: Array, rng: np.random.Generator, resamples: int) -> dict[str, Array]:
    """Differences where the two graders' grades of whole patients are exchanged at random."""
    total, gap = both.sum(axis=(0, 1)).reshape(-1), (both[:, 0] - both[:, 1]).reshape(len(both), -1)
    parts = []
    for start in range(0, resamples, 1_000):
        signs = rng.integers(0, 2, size=(min(1_000, resamples - start), len(both))) * 2.0 - 1.0
        change = signs @ gap
        pair = np.stack([total + change, total - change], axis=1).reshape(-1, 2, 4, 5) / 2.0
        values = _all_values(pair)
        parts.append({name: value[:, 0] - value[:, 1] for name, value in values.items()})
    return {name: np.concatenate([part[name] for part in parts]) for name in QUANTITIES}


def _decided(test: PairTest, corrected: float | None, alpha: float) -> PairTest:
    better = metric(test.quantity).better
    winner = winner_of(test.first, test.second, test.difference, corrected, better=better, alpha=alpha)
    return test.model_copy(update={"corrected_p": corrected, "winner": winner})


def write_comparison(out: str | os.PathLike[str], comparison: Comparison) -> None:
    """Write `comparison.json` and `comparison.html`.

    Raises:
        RunError: The folder cannot be made.
    """
    from bench.fracture.report import comparison_page

    folder = make_folder(out)
    write_json(folder / COMPARISON_FILE, comparison.model_dump(mode="json"))
    write_text(folder / _PAGE_FILE, comparison_page(comparison))
