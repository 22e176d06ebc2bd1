"""Two systems on the same samples, and the power of a benchmark: from files alone.

Convention: rows are those of the table (axis by modality by origin) and one over all questions, which is printed last
and is in no correction, because it repeats the others. Questions on which a request of either system failed are left
out of both, and `left_out` counts them; `not_asked_of_both` counts those that one of two conditions does not ask. A
model with and without tools is compared like any two; `calls` tells what each called. `gap` is the smallest difference
that the row's questions see with a power of 80 %, at the discordance and with the design effect of these two systems.

Trap: the row over all questions averages axes that measure different things; read the rows.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from bench.runner.conditions import Questions
from bench.runner.predict import Predictions, read_predictions
from bench.samples import read_samples
from bench.spinebench.rows import table_rows
from bench.spinebench.score import SUMMARY_FILE, check_predictions, judge
from spinemed.errors import ReadError
from spinemed.records import Sample, Score
from spinemed.statistics import (
    FEWEST_RANKED,
    Clusters,
    generator_for,
    holm,
    kish_design_effect,
    mcnemar_exact,
    paired_difference,
    paired_gap,
    power_table,
)
from spinemed.tables import parse_json, read_manifest

__all__ = ["compare_pair", "power_of_samples", "power_of_scores"]

ALL = "all questions"


def compare_pair(
    samples: str | os.PathLike[str],
    first: str | os.PathLike[str],
    second: str | os.PathLike[str],
    *,
    seed: int = 0,
    resamples: int = 10_000,
    by: Literal["table", "kind"] = "table",
) -> dict[str, Any]:
    """First minus second on every row, with interval, tests and the gap that could have been seen.

    Args:
        samples: Samples folder.
        first, second: Predictions folders, or bare `predictions.jsonl` files.
        seed: Seed of bootstrap and tests.
        resamples: Bootstrap samples.
        by: Rows of the table, or kinds of question: measurements, each finding that is asked about, else the task.

    Raises:
        ReadError: A folder is unfinished or damaged.
        RecordError: Predictions are missing, are too many, belong to other samples, or both are one system.
    """
    listed, about = read_samples(samples)
    systems = [read_predictions(first), read_predictions(second)]
    questions = Questions(listed, samples)
    check_predictions(systems, questions, about)
    asked = [questions.under(system.manifest["condition"]).by_id for system in systems]
    left_out = len(listed)
    listed = [sample for sample in listed if all(sample.id in own for own in asked)]
    left_out -= len(listed)
    scores = [
        [judge(own[sample.id], system.by_sample[sample.id]) for sample in listed]
        for own, system in zip(asked, systems, strict=True)
    ]
    rows = [(row.key, list(row.members), not row.whole_axis) for row in table_rows(listed)]
    if by == "kind":
        kinds: dict[str, list[int]] = {}
        for place, sample in enumerate(listed):
            kinds.setdefault(_kind(sample), []).append(place)
        rows = [(kind, members, True) for kind, members in sorted(kinds.items())]
    elif len(rows) > 1:
        rows.append((ALL, list(range(len(listed))), False))
    names = [system.name for system in systems]
    found = [_row(key, members, listed, scores, names, seed, resamples) for key, members, _ in rows]
    counted = [one["p_value"] if own else None for one, (_, _, own) in zip(found, rows, strict=True)]
    for one, corrected in zip(found, holm(counted), strict=True):
        one["p_holm"] = corrected
    return {
        "first": names[0],
        "second": names[1],
        "samples_sha256": about["sha256"],
        "not_asked_of_both": left_out,
        "calls": [_calls(system) for system in systems],
        "seed": seed,
        "resamples": resamples,
        "confidence": 0.95,
        "rows": found,
    }


def _kind(sample: Sample) -> str:
    if sample.answer_kind == "number":
        return "measurement"
    finding = next((tag for tag in sample.tags if tag.startswith("finding:")), "")
    return finding.partition(":")[2] or sample.task


def _calls(system: Predictions) -> dict[str, Any]:
    """How much a system used the functions it was offered."""
    made = [one.calls for one in system.by_sample.values()]
    names = Counter(call.name for calls in made for call in calls)
    return {
        "condition": system.manifest["condition"],
        "calls": names.total(),
        "samples_with_a_call": sum(bool(calls) for calls in made),
        "refused_or_failed": sum(not call.ok for calls in made for call in calls),
        "by_tool": dict(sorted(names.items())),
    }


def _row(
    key: str,
    members: Sequence[int],
    samples: Sequence[Sample],
    scores: Sequence[Sequence[Score]],
    names: Sequence[str],
    seed: int,
    resamples: int,
) -> dict[str, Any]:
    kept = [place for place in members if all(own[place].outcome != "api_error" for own in scores)]
    left, right = (np.array([float(own[place].correct) for place in kept]) for own in scores)
    clusters = Clusters.of([samples[place].cluster for place in kept])
    rng = generator_for(seed, "pair", key, *names)
    result = paired_difference(left, right, clusters, rng, resamples=resamples, fewest=FEWEST_RANKED)
    gap = None
    if kept and (discordant := (result.first_only + result.second_only) / len(kept)) > 0:
        gap = paired_gap(len(kept) / _pair_effect(left - right, clusters), discordant)
    return {
        "row": key,
        **result.as_dict(),
        "left_out": len(members) - len(kept),
        "first_accuracy": float(left.mean()) if kept else None,
        "second_accuracy": float(right.mean()) if kept else None,
        "mcnemar_p": mcnemar_exact(left, right, clusters) if kept and clusters.single else None,
        "gap": gap,
    }


def _pair_effect(delta: np.ndarray[Any, np.dtype[np.float64]], clusters: Clusters) -> float:
    """Variance of the mean difference over that of as many independent questions; at least 1."""
    spread = float(delta.var())
    if clusters.count < 2 or spread == 0:
        return 1.0
    residual = clusters.sums(delta) - float(delta.mean()) * clusters.sizes
    variance = clusters.count / (clusters.count - 1) * float((residual**2).sum()) / clusters.size**2
    return max(1.0, variance / (spread / clusters.size))


def power_of_scores(
    scores: str | os.PathLike[str], *, power: float = 0.8, alpha: float = 0.05
) -> list[tuple[str, dict[str, Any]]]:
    """The power table of each row of a scores folder, with the design effects that its systems showed.

    Raises:
        ReadError: No scores folder, or one of an older version.
    """
    folder = Path(scores)
    read_manifest(folder, "scores", verify=True)
    summary = parse_json((folder / SUMMARY_FILE).read_bytes())
    found = []
    for row in summary["rows"]:
        if "power" not in row:
            raise ReadError("holds no power table", file=folder / SUMMARY_FILE, cure="score the predictions again")
        if row["power"]:
            basis = row["power"][0]
            table = power_table(
                row["n"], row["clusters"], basis["design_effect"], share=basis["share"], power=power, alpha=alpha
            )
            found += [(row["key"], one.as_dict()) for one in table]
    return found


def power_of_samples(
    samples: str | os.PathLike[str], *, icc: float, share: float = 0.7, power: float = 0.8, alpha: float = 0.05
) -> list[tuple[str, dict[str, Any]]]:
    """The power table of each row of a samples folder at an assumed correlation within spines.

    Raises:
        ReadError, RecordError: The folder is damaged.
    """
    listed, _ = read_samples(samples)
    found = []
    for row in table_rows(listed):
        clusters = Clusters.of([listed[place].cluster for place in row.members])
        effect = kish_design_effect(clusters, icc)
        table = power_table(clusters.size, clusters.count, effect, share=share, power=power, alpha=alpha)
        found += [(row.key, one.as_dict()) for one in table]
    return found
