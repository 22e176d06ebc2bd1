"""Many systems on one samples folder: every share with its interval, ranks, comparisons, levels and confidence.

Convention: `leaderboard.json` holds for each row of the table (axis by modality by origin, and each axis as a whole)
lists in the order of `systems`: value, low, high, method, rank and its interval, the difference from the leader of the
row with interval, p and p corrected by Holm over all rows and systems; for each level group the shares, the macro mean,
the mean distance and the breakdown by true level; for each measure the errors in units; for each system its counts, its
total and its confidence figures. All systems share the bootstrap draws of a row, so ranks and differences are paired.

Requests that failed (`api_error`) count as wrong here, so that all systems have the same questions; a system with less
than `RANKABLE` of its requests answered is listed with its values and takes no part in ranks and comparisons.

References (the majority's and random answers, blind runs) are listed with values and intervals and take no part either.

Trap: differences from the leader are chosen by looking at the scores; Holm over all of them pays for that in part only.
The leader of a row may differ from that of the next.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.folders import whole_folder
from bench.samples import modality_of, read_samples
from bench.spinebench.abstention import is_undecidable
from bench.spinebench.brier import brier_score
from bench.spinebench.calibration import calibration_error
from bench.spinebench.confusion import anatomical
from bench.spinebench.distance import chance_level
from bench.spinebench.levels import level_groups
from bench.spinebench.numbers import measure_of
from bench.spinebench.offsets import has_level_truth
from bench.spinebench.risk_coverage import accuracy_at_coverage, risk_coverage
from bench.spinebench.rows import table_rows
from bench.spinebench.safety import CONFIDENT, asks_level_or_side
from bench.spinebench.summary import LOST, RANKABLE, is_reference
from bench.spinebench.total import item_weighted_total
from bench.spinebench.verdicts import NONE, OUTCOMES, System, judge_files
from spinemed.records import NOT_DETERMINABLE, Sample
from spinemed.statistics import (
    Clusters,
    ManyEstimates,
    bootstrap_macro,
    bootstrap_many,
    design_effect,
    generator_for,
    holm,
    power_table,
    proportion_bounds,
    rank_systems,
    sign_flip_many,
)
from spinemed.tables import write_json, write_manifest

__all__ = ["LEADERBOARD_FILE", "rank_predictions", "summarise_many"]

LEADERBOARD_FILE = "leaderboard.json"


def rank_predictions(
    samples: str | os.PathLike[str],
    predictions: Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    *,
    seed: int = 0,
    resamples: int = 10_000,
    workers: int = 1,
) -> dict[str, Any]:
    """Score many predictions folders against one samples folder and write the leaderboard folder.

    Args:
        samples: Samples folder.
        predictions: Predictions folders, or bare `predictions.jsonl` files; their order is the table's.
        out: Folder to write; an earlier one is replaced.
        seed: Seed of bootstrap and tests.
        resamples: Bootstrap samples and sign patterns.
        workers: Processes that read and judge.

    Raises:
        ReadError: A folder is unfinished or damaged, or `out` holds something else.
        RecordError: Predictions are missing, are too many, belong to other samples, or systems cannot be told apart.
    """
    listed, about = read_samples(samples)
    systems = judge_files(samples, predictions, workers=workers)
    summary = {
        "samples_sha256": about["sha256"],
        **summarise_many(listed, systems, seed=seed, resamples=resamples),
    }
    if about.get("limited"):
        summary["limited"] = about["limited"]
        for row in summary["rows"]:  # a part of a benchmark ranks nobody
            row |= {name: [None] * len(row[name]) for name in ("rank", "rank_low", "rank_high")}
    with whole_folder(Path(out), "leaderboard") as partial:
        write_json(partial / LEADERBOARD_FILE, summary)
        write_manifest(partial, "leaderboard", samples_sha256=about["sha256"])
    return summary


def summarise_many(
    samples: Sequence[Sample], systems: Sequence[System], *, seed: int, resamples: int
) -> dict[str, Any]:
    """The leaderboard of judged systems; the layout stands in the module's docstring."""
    verdicts = np.stack([system.verdicts for system in systems], axis=1)
    correct = verdicts["correct"]
    answered = (verdicts["outcome"] != OUTCOMES.index("api_error")).mean(axis=0)
    counted = np.flatnonzero(answered >= RANKABLE)
    contestant = np.array([not is_reference(system.answerer, system.condition) for system in systems])
    ranked = counted[contestant[counted]]
    cluster_of = [sample.cluster for sample in samples]
    rows = []
    for row in table_rows(samples):
        places = np.array(row.members)
        clusters = Clusters.of([cluster_of[place] for place in row.members])
        rng = generator_for(seed, "leaderboard", row.key)
        own = _row(correct[places].astype(np.float64), clusters, ranked, counted, rng, resamples)
        rows.append(
            {
                "key": row.key, "axis": row.axis, "modality": row.modality, "origin": row.origin,
                "whole_axis": row.whole_axis, "n": places.size, "clusters": clusters.count, **own,
            }
        )  # fmt: skip
    tested = [(one, at) for one in rows if not one["whole_axis"] for at in range(len(systems))]
    p_values = [one["p_value"][at] for one, at in tested]
    for (one, at), corrected in zip(tested, holm(p_values), strict=True):
        one["p_holm"][at] = corrected
    return {
        "seed": seed,
        "resamples": resamples,
        "confidence": 0.95,
        "systems": [
            {
                "name": system.name, "model": system.model, "condition": system.condition,
                "coverage": float(answered[at]), "rankable": bool(answered[at] >= RANKABLE),
                "reference": not bool(contestant[at]),
                "outcomes": _outcomes(system),
            }
            for at, system in enumerate(systems)
        ],
        "rows": rows,
        "levels": _levels(samples, verdicts, cluster_of, seed, resamples),
        "total": _totals(samples, correct),
        "measurement": _measurement(samples, verdicts),
        "abstention": _confidence(samples, systems),
    }  # fmt: skip


def _outcomes(system: System) -> dict[str, int]:
    counts = np.bincount(system.verdicts["outcome"], minlength=len(OUTCOMES))
    return {name: int(counts[OUTCOMES.index(name)]) for name in ("parsed", *LOST)}


def _numbers(values: NDArray[Any]) -> list[float | None]:
    return [None if math.isnan(value) else float(value) for value in values]


def _interval(table: NDArray[np.float64], many: ManyEstimates) -> dict[str, Any]:
    low, high, methods = proportion_bounds(table, many)
    return {"value": _numbers(many.values), "low": _numbers(low), "high": _numbers(high), "method": methods}


def _row(
    table: NDArray[np.float64],
    clusters: Clusters,
    ranked: NDArray[np.int64],
    counted: NDArray[np.int64],
    rng: np.random.Generator,
    resamples: int,
) -> dict[str, Any]:
    many = bootstrap_many(table, clusters, rng, resamples=resamples)
    systems = table.shape[1]
    found = _interval(table, many)
    empty: list[Any] = [None] * systems
    found |= {
        name: list(empty)
        for name in ("rank", "rank_low", "rank_high", "best", "difference", "difference_low", "difference_high",
                     "p_value", "p_holm")
    }  # fmt: skip
    found["leader"], found["power"] = None, []
    if counted.size:
        effects = [effect for column in table[:, counted].T if (effect := design_effect(column, clusters)) is not None]
        effect = max(1.0, float(np.median(effects))) if effects else 1.0
        share = min(0.95, max(0.05, float(np.median(many.values[counted]))))
        found["power"] = [one.as_dict() for one in power_table(clusters.size, clusters.count, effect, share=share)]
    if not ranked.size:
        return found
    part = ManyEstimates(many.values[ranked], many.estimates[:, ranked], many.sums[:, ranked], clusters, many.fewest)
    ranks = rank_systems(part)
    leader = int(np.argmax(part.values))
    low, high = part.difference_bounds(leader)
    p_values = sign_flip_many(part.sums - part.sums[:, [leader]], rng, resamples=resamples)
    for name, values in (
        ("rank_low", ranks.low), ("rank_high", ranks.high), ("best", ranks.best),
        ("difference", part.values - part.values[leader]), ("difference_low", low), ("difference_high", high),
        ("p_value", p_values),
    ):  # fmt: skip
        for at, value in zip(ranked, _numbers(values), strict=True):
            if at != ranked[leader] or name.startswith(("rank", "best")):
                found[name][at] = value
    for at, rank in zip(ranked, ranks.rank, strict=True):
        found["rank"][at] = int(rank)
    found["leader"] = int(ranked[leader])
    return found


def _levels(
    samples: Sequence[Sample],
    verdicts: NDArray[np.void],
    cluster_of: Sequence[str],
    seed: int,
    resamples: int,
) -> dict[str, Any]:
    found = {}
    for group, members in level_groups(samples).items():
        told = [place for place in members if has_level_truth(samples[place])]
        if not told:
            continue
        own = verdicts[told]
        clusters = Clusters.of([cluster_of[place] for place in told])
        truth = [samples[place].answer for place in told]
        names = anatomical(set(truth))
        classes = np.array([names.index(answer) for answer in truth])
        correct = own["correct"].astype(np.float64)
        offsets = own["offset"].astype(np.int64)
        known = offsets != NONE
        counted = known.sum(axis=0)
        with np.errstate(invalid="ignore"):
            distance = np.where(known, np.abs(offsets), 0).sum(axis=0) / np.where(counted, counted, np.nan)
        shares = {"exact": correct, "within_one": (own["within_one"] == 1) * 1.0, "region": (own["region"] == 1) * 1.0}
        # The three shares side by side, so that one set of draws serves them all.
        together = np.concatenate(list(shares.values()), axis=1)
        rng = generator_for(seed, "leaderboard", "levels", group)
        many = bootstrap_many(together, clusters, rng, resamples=resamples)
        low, high, methods = proportion_bounds(together, many)
        width = correct.shape[1]
        entry: dict[str, Any] = {"n": len(told), "clusters": clusters.count, "distinct_levels": len(names)}
        for number, name in enumerate(shares):
            part = slice(number * width, (number + 1) * width)
            entry[name] = {
                "value": _numbers(many.values[part]), "low": _numbers(low[part]), "high": _numbers(high[part]),
                "method": methods[part],
            }  # fmt: skip
        macro = bootstrap_macro(correct, classes, clusters, rng, resamples=resamples)
        macro_low, macro_high = macro.bounds()
        entry["macro"] = {
            "value": _numbers(macro.values), "low": _numbers(macro_low), "high": _numbers(macro_high)
        }  # fmt: skip
        entry["mean_distance_levels"] = _numbers(distance)
        entry["without_distance"] = (len(told) - counted).tolist()
        chance = chance_level([samples[place] for place in told])
        entry["chance"] = {"frequencies": chance.frequencies, "majority": chance.majority}
        entry["per_level"] = [
            _one_level(name, np.flatnonzero(classes == number), correct, clusters, seed, group, resamples)
            for number, name in enumerate(names)
        ]
        found[group] = entry
    return found


def _one_level(
    name: str,
    places: NDArray[np.int64],
    correct: NDArray[np.float64],
    clusters: Clusters,
    seed: int,
    group: str,
    resamples: int,
) -> dict[str, Any]:
    own = Clusters.of([clusters.ids[at] for at in clusters.index[places]])
    rng = generator_for(seed, "leaderboard", "level", group, name)
    many = bootstrap_many(correct[places], own, rng, resamples=resamples)
    return {"level": name, "n": places.size, "clusters": own.count, **_interval(correct[places], many)}


def _measurement(samples: Sequence[Sample], verdicts: NDArray[np.void]) -> dict[str, Any]:
    """Errors in units, measure by measure, over the questions that got a number; intervals stand in `score`.

    `within_tolerance` is over the questions that have a true number, as in `score`.
    """
    places: dict[str, list[int]] = {}
    for place, sample in enumerate(samples):
        if sample.answer_kind == "number":
            places.setdefault(f"{measure_of(sample)} ({sample.unit or 'count'})", []).append(place)
    found = {}
    for measure, members in sorted(places.items()):
        errors = np.ma.masked_invalid(verdicts["error"][members])
        told = [place for place in members if samples[place].answer != NOT_DETERMINABLE]
        found[measure] = {
            "n": len(members),
            "answered": errors.count(axis=0).tolist(),
            "mean_absolute_error": np.ma.abs(errors).mean(axis=0).tolist(),
            "median_absolute_error": np.ma.median(np.ma.abs(errors), axis=0).tolist(),
            "bias": errors.mean(axis=0).tolist(),
            "within_tolerance": [_share(verdicts["correct"][told][:, at]) for at in range(verdicts.shape[1])],
        }
    return found


def _totals(samples: Sequence[Sample], correct: NDArray[np.bool_]) -> dict[str, Any]:
    sections = np.array([modality_of(sample) for sample in samples])
    items = {str(section): int((sections == section).sum()) for section in np.unique(sections)}
    shares = {section: 100 * correct[sections == section].mean(axis=0) for section in items}
    return {
        "items": items,
        "sections": {section: [float(value) for value in values] for section, values in shares.items()},
        "value": [
            item_weighted_total({section: float(values[at]) for section, values in shares.items()}, items)
            for at in range(correct.shape[1])
        ],
    }


def _confidence(samples: Sequence[Sample], systems: Sequence[System]) -> list[dict[str, Any]]:
    undecidable = np.array([is_undecidable(sample) for sample in samples])
    levels = np.array([asks_level_or_side(sample) for sample in samples])
    parsed, failed = OUTCOMES.index("parsed"), OUTCOMES.index("api_error")
    found = []
    for system in systems:
        own = system.verdicts
        known = own["outcome"] != failed
        read = own["outcome"] == parsed
        correct, gave_up = own["correct"], own["abstained"]
        stated = own["confidence"].astype(np.float64)
        answered = read & (correct | ~gave_up)
        wrong = read & ~correct & ~gave_up & levels
        curve = risk_coverage(correct[known], answered[known], stated[known])
        sure = np.where(answered, stated, np.nan)[known]
        open_, closed = undecidable & known, ~undecidable & known
        found.append(
            {
                "undecidable": int(open_.sum()),
                "decidable": int(closed.sum()),
                "false_answer": _share((read & ~gave_up)[open_]),
                "needless_refusal": _share(gave_up[closed]),
                "confident_wrong": _share((wrong & (np.isnan(stated) | (stated >= CONFIDENT - 1e-6)))[levels & known]),
                "wrong_level_or_side": _share(wrong[levels & known]),
                "stated": int(np.count_nonzero(~np.isnan(sure))),
                "brier": brier_score(correct[known], sure),
                "calibration_error": calibration_error(correct[known], sure),
                "reached": curve.reached,
                "accuracy_at_90": accuracy_at_coverage(curve),
                "risk_area": curve.area,
            }
        )
    return found


def _share(values: NDArray[np.bool_]) -> float | None:
    return float(values.mean()) if values.size else None
