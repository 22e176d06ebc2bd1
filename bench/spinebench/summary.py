"""All scores of one samples folder in one JSON: the only thing that tables and pages read.

Convention, layout of `summary.json`::

    seed, confidence, resamples
    samples      n, clusters, sha256, release_sha256, split, counts, left_out, contamination, truth (caveats by tag)
    subject      the system that is compared with all others, or null
    systems      [{name, role, model, condition, answerer, identity, predictions_sha256, versions, outcomes}]
    rows         [{key, axis, modality, origin, whole_axis, n, clusters,
                   systems: {name: {correct, value, low, high, n, clusters, method, confidence,
                                    unparsed, refused, timed_out, failed, unparsed_share}}}]
    levels       {group: {name: see bench/spinebench/levels.py}}
    comparisons  [{row, subject, reference, difference, low, high, p_value, p_holm, mcnemar_p, n, clusters, first_only,
                   second_only, method, subject_accuracy, reference_accuracy, on_reference_parsed, on_both_parsed}]

Shares lie in [0, 1]. A bound is null where no interval exists; `method` says why.

Trap: `value` counts unparsed, refused, timed out and failed replies as wrong; their counts stand beside it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from bench.spinebench.compare import compare_systems
from bench.spinebench.levels import level_groups, summarise_levels
from bench.spinebench.rows import TableRow, table_rows
from spinemed.records import Sample, Score
from spinemed.statistics import Clusters, generator_for, proportion_interval

__all__ = ["summarise"]

CONFIDENCE = 0.95
_LOST = ("unparsed", "refused", "timed_out", "failed")


def summarise(
    samples: Sequence[Sample],
    scores: dict[str, list[Score]],
    *,
    subject: str | None,
    blind: frozenset[str] = frozenset(),
    seed: int,
    resamples: int,
) -> dict[str, Any]:
    """Rows, level measures and comparisons; provenance is added by the caller.

    Args:
        samples: All samples, by id.
        scores: For each system its scores in the order of `samples`.
        subject: The system that is compared with all others; None compares nothing.
        blind: Systems that are the subject with its pictures withheld.
        seed: Seed of bootstrap and tests.
        resamples: Bootstrap samples.
    """
    rows = table_rows(samples)
    groups = level_groups(samples)
    return {
        "seed": seed,
        "confidence": CONFIDENCE,
        "resamples": resamples,
        "subject": subject,
        "rows": [_row(row, samples, scores, seed, resamples) for row in rows],
        "levels": {
            group: {
                name: summarise_levels(
                    [samples[place] for place in places],
                    [own[place] for place in places],
                    seed=seed,
                    key=("levels", group, name),
                    resamples=resamples,
                )
                for name, own in scores.items()
            }
            for group, places in groups.items()
        },
        "comparisons": []
        if subject is None
        else compare_systems(samples, scores, subject, rows, blind=blind, seed=seed, resamples=resamples),
    }


def _row(
    row: TableRow, samples: Sequence[Sample], scores: dict[str, list[Score]], seed: int, resamples: int
) -> dict[str, Any]:
    clusters = Clusters.of([samples[place].cluster for place in row.members])
    systems = {}
    for name, own in scores.items():
        members = [own[place] for place in row.members]
        interval = proportion_interval(
            [float(score.correct) for score in members],
            clusters,
            generator_for(seed, "row", row.key, name),
            confidence=CONFIDENCE,
            resamples=resamples,
        )
        outcomes = Counter[str](score.outcome for score in members)
        systems[name] = {
            "correct": sum(score.correct for score in members),
            **interval.as_dict(),
            **{outcome: outcomes[outcome] for outcome in _LOST},
            "unparsed_share": outcomes["unparsed"] / len(members),
        }
    return {
        "key": row.key,
        "axis": row.axis,
        "modality": row.modality,
        "origin": row.origin,
        "whole_axis": row.whole_axis,
        "n": len(row.members),
        "clusters": clusters.count,
        "systems": systems,
    }
