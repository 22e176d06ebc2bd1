"""Vertebrae to a summary: groups, intervals over patients, calibration.

Convention: shares are means over vertebrae with intervals that resample patients (:mod:`bench.estimates`); quantities
of the table (macro means, F1, kappa) are computed anew on every bootstrap sample of whole patients. Below
`FEWEST_PATIENTS` patients there is no interval, and none for the F1 of a grade that fewer patients have. A grade that a
sample did not draw is left out of that sample's macro mean. Groups that do not hold all grades have fewer quantities.

Trap: macro F1 of a group without grade 3 is a mean over three grades; the row's confusion says which there are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from bench.estimates import Estimate, estimate_columns
from bench.fracture.metrics import METRICS, TABLED, confusion, table_values
from bench.fracture.records import Bin, Calibration, GradedPair, SummaryRow
from bench.fracture.reference import GRADES
from spinemed.statistics import Clusters, generator_for
from spinemed.statistics.intervals import FEWEST_CLUSTERS, cluster_draws, percentile_bounds

__all__ = ["FEWEST_PATIENTS", "GROUPS", "calibrate", "summarise", "table_draws"]

Array = NDArray[np.float64]

FEWEST_PATIENTS = FEWEST_CLUSTERS
_BINS = 10
_BROKEN = {True: "within 2 points of a border", False: "farther away"}


def _neighbourhood(pair: GradedPair) -> str:
    own = "fractured" if pair.grade else "grade 0"
    return f"{own}, {'beside a fracture' if pair.neighbour_broken else 'not beside one'}"


GROUPS: tuple[tuple[str, Callable[[GradedPair], str | None]], ...] = (
    ("all", lambda pair: "all"),
    ("split", lambda pair: pair.split or None),
    ("region", lambda pair: str(pair.level.region)),
    ("level", lambda pair: str(pair.level)),
    ("shape", lambda pair: pair.shape if pair.grade and pair.shape != "none" else None),
    ("neighbourhood", _neighbourhood),
    ("border", lambda pair: None if pair.near_border is None else _BROKEN[pair.near_border]),
    ("mimic", lambda pair: pair.mimic or None),
    ("mimics", lambda pair: None if pair.grade else "mimics of a fracture" if pair.mimic else "other grade 0"),
)
"""What a summary is split by: name, and the key of a vertebra (None: in no group)."""
_WITH_TABLE = ("all", "split", "region", "border")
"""Groups in which quantities of single grades mean something: those that hold all grades."""
_EVERYWHERE = ("accuracy", "within_one", "graded", "sensitivity", "specificity", "false_positive", "shape")


def summarise(pairs: Sequence[GradedPair], *, seed: int, resamples: int) -> tuple[SummaryRow, ...]:
    """The rows of the summary, levels head to foot."""
    rows = []
    for by, key_of in GROUPS:
        groups: dict[str, list[GradedPair]] = {}
        for pair in sorted(pairs, key=lambda one: one.level):
            key = key_of(pair)
            if key is not None:
                groups.setdefault(key, []).append(pair)
        for key in groups if by in ("level", "region") else sorted(groups):
            rows.append(_row(by, key, groups[key], seed, resamples))
    return tuple(rows)


def _row(by: str, key: str, pairs: list[GradedPair], seed: int, resamples: int) -> SummaryRow:
    shares = {
        each.name: [each.read(pair) for pair in pairs]
        for each in METRICS
        if each.read is not None and (by in _WITH_TABLE or each.name in _EVERYWHERE)
    }
    values = estimate_columns(
        {name: column for name, column in shares.items() if any(value is not None for value in column)},
        [pair.patient for pair in pairs], key=("fracture summary", by, key), seed=seed, shares=set(shares),
        resamples=resamples, fewest=FEWEST_PATIENTS, unit="patients",
    )  # fmt: skip
    if by in _WITH_TABLE:
        values |= _tabled(pairs, generator_for(seed, "fracture table", by, key), resamples)
    counts = confusion(pairs)[0].astype(int).tolist()
    return SummaryRow(
        by=by, key=key, vertebrae=len(pairs), fractured=sum(pair.grade >= 1 for pair in pairs),
        not_graded=sum(pair.predicted is None for pair in pairs), cases=len({pair.case for pair in pairs}),
        patients=len({pair.patient for pair in pairs}), confusion=tuple(tuple(line) for line in counts),
        values={each.name: values[each.name] for each in METRICS if each.name in values},
    )  # fmt: skip


def table_draws(tables: Array, rng: np.random.Generator, resamples: int) -> dict[str, Array]:
    """Quantities of the table on bootstrap samples of whole patients.

    Args:
        tables: (patients, K, 4, 5) counts of K graders on the same vertebrae.
        rng: Of the draws.
        resamples: How many.

    Returns:
        (resamples, K) each; NaN where one does not exist in a sample.
    """
    flat, shape = tables.reshape(len(tables), -1), (-1, *tables.shape[1:])
    draws = cluster_draws(len(tables), rng, resamples)
    parts = [table_values((one @ flat).reshape(shape)) for one in draws]
    return {name: np.concatenate([part[name] for part in parts]) for name in TABLED}


def _tabled(pairs: list[GradedPair], rng: np.random.Generator, resamples: int) -> dict[str, Estimate]:
    clusters = Clusters.of([pair.patient for pair in pairs])
    tables = confusion(pairs, clusters.index, clusters.count)
    whole = table_values(tables.sum(axis=0))
    enough = clusters.count >= FEWEST_PATIENTS
    drawn = table_draws(tables[:, None], rng, resamples) if enough else {}
    found = {}
    for name in TABLED:
        value = float(whole[name])
        if not np.isfinite(value):
            continue
        patients = clusters.count
        if name.startswith("f1_"):
            patients = int((tables[:, int(name[-1])].sum(axis=-1) > 0).sum())
        low = high = None
        method = f"fewer than {FEWEST_PATIENTS} patients"
        if enough and patients >= FEWEST_PATIENTS:
            estimates = drawn[name][np.isfinite(drawn[name])]
            if len(estimates) and np.ptp(estimates) > 0:
                low, high = percentile_bounds(estimates, clusters.count)
                method = "cluster bootstrap"
            else:
                method = "no variance"
        found[name] = Estimate(
            value=value, low=low, high=high, n=len(pairs), clusters=clusters.count, method=method
        )  # fmt: skip
    return found


def calibrate(pairs: Sequence[GradedPair], *, seed: int, resamples: int) -> Calibration | None:
    """Brier scores and reliability of stated probabilities; None where there are none."""
    stated = [(pair, pair.probabilities) for pair in pairs if pair.probabilities is not None]
    if not stated:
        return None
    owners = [pair.patient for pair, _ in stated]
    broken = np.array([float(pair.grade >= 1) for pair, _ in stated])
    chance = np.array([1.0 - shares[0] for _, shares in stated])
    table = np.array([shares for _, shares in stated])
    truth = np.array([[float(pair.grade == g) for g in GRADES] for pair, _ in stated])
    place = np.minimum((chance * _BINS).astype(int), _BINS - 1)
    columns: dict[str, list[float | None]] = {
        "brier": ((table - truth) ** 2).sum(axis=1).tolist(), "brier_fracture": ((chance - broken) ** 2).tolist(),
    }  # fmt: skip
    for i in range(_BINS):
        columns[f"bin {i}"] = [float(b) if p == i else None for b, p in zip(broken, place, strict=True)]
    found = estimate_columns(
        columns, owners, key=("fracture calibration",), seed=seed, shares={f"bin {i}" for i in range(_BINS)},
        resamples=resamples, fewest=FEWEST_PATIENTS, unit="patients",
    )  # fmt: skip
    bins = []
    for i in range(_BINS):
        own = place == i
        bins.append(
            Bin(
                low=i / _BINS, high=(i + 1) / _BINS, n=int(own.sum()),
                stated=float(chance[own].mean()) if own.any() else None, found=found[f"bin {i}"],
            )
        )  # fmt: skip
    gaps = [(b.n, abs(b.stated - b.found.value)) for b in bins if b.stated is not None and b.found.value is not None]
    share = float(broken.mean())
    return Calibration(
        n=len(stated), left_out=len(pairs) - len(stated), brier=found["brier"], brier_fracture=found["brier_fracture"],
        brier_share=share * (1 - share), expected_error=sum(n * gap for n, gap in gaps) / len(stated), bins=tuple(bins),
    )  # fmt: skip
