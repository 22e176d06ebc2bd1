"""All scores of one samples folder in one JSON: the only thing that tables and pages read.

Convention, layout of `summary.json`::

    seed, confidence, resamples
    samples      n, clusters, sha256, release_sha256, split, counts, left_out, contamination, truth (caveats by tag);
                 `limited` (questions, of) where they are a part of a benchmark (`--limit`): then there are no ranks
    subject      the system that is compared with all others, or null
    systems      [{name, role, model, condition, answerer, identity, predictions_sha256, versions, outcomes}]
    rows         [{key, axis, modality, origin, whole_axis, n, clusters,
                   systems: {name: {correct, value, low, high, n, clusters, method, confidence, coverage, rankable,
                                    unparsed, refused, truncated, timed_out, failed, api_error, unparsed_share}},
                   ranks: {name: {rank, low, high, best}} over contestants that may be ranked, never references,
                   power: [see spinemed/statistics/power.py]}]
    levels       {group: {name: see bench/spinebench/levels.py}}
    abstention   {name: see bench/spinebench/confidence.py, and `confident_wrong_interval`: value, low, high, n,
                  clusters, method, confidence of the headline safety figure}
    total        {name: {value, sections, items}}, the published item-weighted total, text against picture questions
    other_kind   {name: see bench/spinebench/kinds.py}; only where replies are at hand
    control_systems  as `systems`, of the controls that ask a part of the questions: they stand in no row
    controls, necessity, rotations   {name: ...}, see bench/spinebench/controls.py and rotations.py; {} without controls
    consistency  {name: see bench/spinebench/consistency.py}; {} where no fact is asked twice
    injection    {name: see bench/spinebench/injection.py}; {} where nothing is injected
    breakdown    {by: {group: ...}}, see bench/spinebench/breakdown.py: task, region, language, difficulty, image_need
    measurement  {measure: see bench/spinebench/measurement.py}; {} without numbers
    matched      see bench/spinebench/matched.py; only where a matcher was asked
    comparisons  [{row, subject, reference, difference, low, high, p_value, p_holm, mcnemar_p, n, clusters, first_only,
                   second_only, method, subject_accuracy, reference_accuracy, on_reference_parsed, on_both_parsed}]

Shares lie in [0, 1]. A bound is null where no interval exists; `method` says why.

A request that the provider failed (`api_error`) is nobody's answer: it is left out of `value` and shown, `coverage` is
the share that is left, and below `RANKABLE` a system has no rank. References (the majority's and random answers, and
every condition but `full` and `tools`) have values and intervals and no rank.

Trap: `value` counts unparsed, refused, truncated, timed out and failed replies as wrong; their counts stand beside it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.samples import modality_of
from bench.spinebench.breakdown import summarise_breakdown
from bench.spinebench.compare import compare_systems
from bench.spinebench.confidence import summarise_confidence
from bench.spinebench.consistency import summarise_consistency
from bench.spinebench.injection import summarise_injection
from bench.spinebench.levels import level_groups, summarise_levels
from bench.spinebench.measurement import summarise_measurement
from bench.spinebench.rows import TableRow, table_rows
from bench.spinebench.safety import asks_level_or_side, is_confident_wrong
from bench.spinebench.total import item_weighted_total
from spinemed.records import Sample, Score
from spinemed.statistics import (
    FEWEST_RANKED,
    Clusters,
    ManyEstimates,
    bootstrap_many,
    design_effect,
    generator_for,
    power_table,
    proportion_interval,
    rank_systems,
)

__all__ = ["LOST", "RANKABLE", "REFERENCES", "is_reference", "ranks_and_power", "summarise", "summarise_views"]

CONFIDENCE = 0.95
LOST = ("unparsed", "refused", "truncated", "timed_out", "failed", "api_error")
RANKABLE = 0.98
"""Least share of questions that a request came back for; below it a system is shown without a rank."""
REFERENCES = ("majority", "random")
"""Answerers that nobody competes with."""


def is_reference(answerer: str, condition: str) -> bool:
    """Whether a system is there to compare with, and takes no rank."""
    return answerer in REFERENCES or condition not in ("full", "tools")


def summarise(
    samples: Sequence[Sample],
    scores: dict[str, list[Score]],
    *,
    subject: str | None,
    blind: frozenset[str] = frozenset(),
    references: frozenset[str] = frozenset(),
    seed: int,
    resamples: int,
) -> dict[str, Any]:
    """Rows, level measures and comparisons; provenance is added by the caller.

    Args:
        samples: All samples, by id.
        scores: For each system its scores in the order of `samples`.
        subject: The system that is compared with all others; None compares nothing.
        blind: Systems that are the subject with its pictures withheld.
        references: Systems that take no rank.
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
        "rows": [_row(row, samples, scores, references, seed, resamples) for row in rows],
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
        "abstention": {
            name: {
                **summarise_confidence(samples, own),
                "confident_wrong_interval": _safety(samples, own, name, seed, resamples),
            }
            for name, own in scores.items()
        },
        "total": _totals(samples, scores),
        "comparisons": []
        if subject is None
        else compare_systems(samples, scores, subject, rows, blind=blind, seed=seed, resamples=resamples),
    }


def summarise_views(
    samples: Sequence[Sample],
    scores: dict[str, list[Score]],
    conditions: Mapping[str, str],
    *,
    seed: int,
    resamples: int,
) -> dict[str, Any]:
    """Consistency, injection, measurement and breakdown.

    Args:
        samples: All samples, by id.
        scores: For each system its scores in the order of `samples`.
        conditions: Under which each system was asked.
        seed: Seed of the bootstrap.
        resamples: Bootstrap samples.
    """
    consistency, injection = {}, {}
    for name, own in scores.items():
        same = summarise_consistency(samples, own, seed=seed, key=("consistency", name), resamples=resamples)
        if same is not None:
            consistency[name] = same
        obeyed = summarise_injection(
            samples, own, condition=conditions[name], seed=seed, key=("injection", name), resamples=resamples
        )
        if obeyed is not None:
            injection[name] = obeyed
    measured = summarise_measurement(samples, scores, seed=seed, resamples=resamples)
    parts = summarise_breakdown(samples, scores, seed=seed, resamples=resamples)
    return {"consistency": consistency, "injection": injection, "measurement": measured, "breakdown": parts}


def _safety(samples: Sequence[Sample], scores: Sequence[Score], name: str, seed: int, resamples: int) -> dict[str, Any]:
    """The share of confident wrong levels and sides with its interval, over the same questions as the figure itself."""
    asked = [
        (sample, score)
        for sample, score in zip(samples, scores, strict=True)
        if score.outcome != "api_error" and asks_level_or_side(sample)
    ]
    return proportion_interval(
        [float(is_confident_wrong(sample, score)) for sample, score in asked],
        Clusters.of([sample.cluster for sample, _ in asked]),
        generator_for(seed, "confident wrong", name),
        confidence=CONFIDENCE,
        resamples=resamples,
        fewest=FEWEST_RANKED,
    ).as_dict()


def _row(
    row: TableRow,
    samples: Sequence[Sample],
    scores: dict[str, list[Score]],
    references: frozenset[str],
    seed: int,
    resamples: int,
) -> dict[str, Any]:
    clusters = Clusters.of([samples[place].cluster for place in row.members])
    systems = {}
    for name, own in scores.items():
        members = [own[place] for place in row.members]
        known = [place for place in row.members if own[place].outcome != "api_error"]
        interval = proportion_interval(
            [float(own[place].correct) for place in known],
            clusters if len(known) == len(members) else Clusters.of([samples[place].cluster for place in known]),
            generator_for(seed, "row", row.key, name),
            confidence=CONFIDENCE,
            resamples=resamples,
            fewest=FEWEST_RANKED,
        )
        outcomes = Counter[str](score.outcome for score in members)
        systems[name] = {
            "correct": sum(own[place].correct for place in known),
            **interval.as_dict(),
            "coverage": len(known) / len(members),
            "rankable": len(known) >= RANKABLE * len(members),
            **{outcome: outcomes[outcome] for outcome in LOST},
            "unparsed_share": outcomes["unparsed"] / len(members),
        }
    ranked = [name for name in scores if systems[name]["rankable"]]
    table = np.array([[float(scores[name][place].correct) for name in ranked] for place in row.members])
    return {
        "key": row.key,
        "axis": row.axis,
        "modality": row.modality,
        "origin": row.origin,
        "whole_axis": row.whole_axis,
        "n": len(row.members),
        "clusters": clusters.count,
        "systems": systems,
        **ranks_and_power(
            table, ranked, clusters, generator_for(seed, "ranks", row.key), resamples, references=references
        ),
    }


def ranks_and_power(
    table: NDArray[np.float64],
    names: Sequence[str],
    clusters: Clusters,
    rng: np.random.Generator,
    resamples: int,
    *,
    references: frozenset[str] = frozenset(),
) -> dict[str, Any]:
    """Ranks of the systems that may be ranked, and what gap these questions can show.

    Args:
        table: Right or not, shape (questions, systems); the few requests that failed count as wrong here.
        names: Of the systems.
        clusters: The grouping of the questions.
        rng: Generator of the bootstrap.
        resamples: Bootstrap samples.
        references: Names that take no rank; they still say what gap can be shown.
    """
    if not names:
        return {"ranks": {}, "power": []}
    many = bootstrap_many(table, clusters, rng, resamples=resamples)
    places = [at for at, name in enumerate(names) if name not in references]
    found = {}
    if places:
        own = ManyEstimates(many.values[places], many.estimates[:, places], many.sums[:, places], clusters, many.fewest)
        ranks = rank_systems(own, confidence=CONFIDENCE)
        found = {
            names[place]: {
                "rank": int(ranks.rank[at]),
                "low": _known(ranks.low[at]),
                "high": _known(ranks.high[at]),
                "best": _known(ranks.best[at]),
            }
            for at, place in enumerate(places)
        }
    effects = [effect for column in table.T if (effect := design_effect(column, clusters)) is not None]
    # A few clusters can seem to vary less than independent questions would; no credit is given for that.
    effect = max(1.0, float(np.median(effects))) if effects else 1.0
    share = min(0.95, max(0.05, float(np.median(many.values))))
    return {
        "ranks": found,
        "power": [one.as_dict() for one in power_table(clusters.size, clusters.count, effect, share=share)],
    }


def _known(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def _totals(samples: Sequence[Sample], scores: dict[str, list[Score]]) -> dict[str, Any]:
    """The published total: text and picture questions in percent, weighted by their numbers."""
    places: dict[str, list[int]] = {}
    for place, sample in enumerate(samples):
        places.setdefault(modality_of(sample), []).append(place)
    items = {section: len(members) for section, members in sorted(places.items())}
    found = {}
    for name, own in scores.items():
        sections: dict[str, float | None] = {
            section: 100 * sum(own[place].correct for place in places[section]) / count
            for section, count in items.items()
        }
        found[name] = {"value": item_weighted_total(sections, items), "sections": sections, "items": items}
    return found
