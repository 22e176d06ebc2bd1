"""Judges beside clinicians: correlation, weighted kappa and mean difference by dimension, and the readers' ceiling.

Convention: a judge's score of an output is paired with each reader's score of the same output (`case_id` and `system`
of arm `model`); correlation and difference are taken against the mean of the readers, kappa (quadratic weights, scale 1
to 5) over the pairs. The ceiling does the same with each reader against the other readers and averages over readers.
Clusters are cases.

Trap: where one side gives every output the same score there is no correlation: `no variance` is said and nothing is
averaged. Two readers' kappa over pairs is a mean over persons who come and go, not of one pair of persons.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

import numpy as np

from spinemed.records import DIMENSIONS, ReaderScore
from spinemed.statistics import Clusters, generator_for
from spinemed.statistics.agreement import cohen_kappa

__all__ = ["against_clinicians", "correlation"]

Output = tuple[str, str]
"""Sample and system."""


def correlation(first: Sequence[float], second: Sequence[float]) -> tuple[float | None, str]:
    """Pearson's r and, where there is none, why: `fewer than 3 outputs`, `no variance` on one side or both."""
    if len(first) != len(second):
        raise ValueError("as many scores on one side as on the other")
    if len(first) < 3:
        return None, "fewer than 3 outputs"
    left, right = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    flat = [name for name, side in (("first", left), ("second", right)) if np.ptp(side) == 0]
    if flat:
        return None, "no variance in " + ("both" if len(flat) == 2 else f"the {flat[0]}")
    return float(np.corrcoef(left, right)[0, 1]), ""


def against_clinicians(
    judge: Mapping[Output, Mapping[str, int]], readers: Sequence[ReaderScore], *, seed: int, resamples: int
) -> dict[str, Any]:
    """One judge against the readers, dimension by dimension.

    Args:
        judge: The judge's scores of each output.
        readers: All readings.
        seed: Of the bootstrap.
        resamples: Bootstrap samples.

    Returns:
        `outputs` that both scored, and for each dimension `judge` and `ceiling` with `correlation`, `why`, `kappa` (as
        `value/low/high/.../reason`) and `difference`.
    """
    read: dict[Output, dict[str, ReaderScore]] = {}
    for one in readers:
        if one.arm == "model":
            read.setdefault((one.case_id, one.system), {})[one.reader] = one
    both = sorted(output for output in read if judge.get(output))
    return {
        "outputs": len(both),
        "readers": len({reader for output in both for reader in read[output]}),
        "dimensions": {
            name: {
                "judge": _one(
                    [
                        (output, judge[output][name], [r.dimensions[name] for r in read[output].values()])
                        for output in both
                    ],
                    seed,
                    resamples,
                ),
                "ceiling": _ceiling(name, {output: read[output] for output in both}, seed, resamples),
            }
            for name in DIMENSIONS
        },
    }


def _one(rows: Sequence[tuple[Output, int, list[int]]], seed: int, resamples: int) -> dict[str, Any]:
    own = [float(score) for _, score, _ in rows]
    means = [fmean(others) for _, _, others in rows]
    value, why = correlation(own, means)
    pairs = [(output[0], score, other) for output, score, others in rows for other in others]
    kappa = cohen_kappa(
        [score for _, score, _ in pairs],
        [other for _, _, other in pairs],
        Clusters.of([case for case, _, _ in pairs]),
        generator_for(seed, "clinicians"),
        weights="quadratic",
        categories=(1, 2, 3, 4, 5),
        resamples=resamples,
    )
    return {
        "outputs": len(rows),
        "correlation": value,
        "why": why,
        "kappa": kappa.as_dict(),
        "difference": fmean(a - b for a, b in zip(own, means, strict=True)) if rows else None,
    }


def _ceiling(name: str, read: Mapping[Output, Mapping[str, ReaderScore]], seed: int, resamples: int) -> dict[str, Any]:
    """Each reader against the others, and the mean over readers of what exists."""
    found = {}
    for reader in sorted({reader for readers in read.values() for reader in readers}):
        rows = []
        for output, readers in read.items():
            others = [one.dimensions[name] for who, one in readers.items() if who != reader]
            if reader in readers and others:
                rows.append((output, readers[reader].dimensions[name], others))
        if rows:
            found[reader] = _one(rows, seed, resamples)
    values = [one["correlation"] for one in found.values() if one["correlation"] is not None]
    kappas = [one["kappa"]["value"] for one in found.values() if one["kappa"]["value"] is not None]
    return {
        "readers": found,
        "correlation": fmean(values) if values else None,
        "kappa": fmean(kappas) if kappas else None,
        "why": "" if values else ("; ".join(sorted({one["why"] for one in found.values()})) or "fewer than 2 readers"),
    }
