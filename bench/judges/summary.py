"""The numbers of a judging: which judges count, points of systems, agreement between judges and with clinicians.

Convention: `summary.json` of kind `judges`::

    {"kind": "judges", "samples", "clusters", "prompts_sha256",
     "judges": [{"name", "model", "family", "counts", "why_not", "examined", "passed", "kin",
                 "coverage": {system: share}, "missing": {reason: count},
                 "rules": {"items", "same", "kappa"}}],          verdicts beside those that the facts give
     "counting": [names], "rankable", "why_not",
     "agreement": {"rubric": {...}, "dimensions": {dimension: {...}}},   Krippendorff's alpha, nominal and ordinal
     "systems": [{"name", "model", "judged", "points": {value, low, high, n, clusters, method},
                  "dimension_total": {...}, "sections": {section: mean},
                  "by_judge": {judge: {"reports", "points", "dimension_total"}}, "errors": {error: share}}],
     "pairs": [...], "clinicians": {judge: {...}}}

Points of a report are the mean over counting judges, where all of them answered every item. With no counting judge the
points are None. A reply that is none (refused, truncated, timed out, failed) has 0 points, 1 in each section and the
floor of `dimension_total`, 20; one that the provider failed (`api_error`) is left out. `by_judge` is over the reports
that the judge read.

Trap: `agreement` is among all judges that were asked; the counting ones may agree better, or be one.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any

from bench.estimates import estimate_columns
from bench.judges.asking import prompts_sha256
from bench.judges.clinicians import against_clinicians
from bench.points import Pointed, pairs_of_points
from bench.reports.dimensions import TOTAL_FLOOR, dimension_total, section_means
from bench.reports.scoring import derive_rubric, rubric_score, score_report
from bench.runner import Predictions
from spinemed.records import DIMENSIONS, REPORT_SECTIONS, ReaderScore, RubricItem, Sample
from spinemed.statistics import FEWEST_RANKED, Clusters, generator_for
from spinemed.statistics.agreement import cohen_kappa, krippendorff_alpha

if TYPE_CHECKING:
    from bench.judges.judging import Bench, JudgesConfig, Verdict

__all__ = ["summarise_judges"]

FEWEST_JUDGES = 2
Key = tuple[str, str, str]
"""Judge, system, sample."""


def summarise_judges(
    config: JudgesConfig,
    samples: Sequence[Sample],
    systems: Sequence[Predictions],
    verdicts: Sequence[Verdict],
    benches: Sequence[Bench],
    readers: Sequence[ReaderScore],
) -> dict[str, Any]:
    """Everything that a judging says; see the layout above."""
    rubrics = {sample.id: sample.rubric or derive_rubric(sample.facts) for sample in samples}
    given: dict[Key, dict[str, int]] = defaultdict(dict)
    for one in verdicts:
        if one.value is not None:
            given[one.judge, one.system, one.sample_id][one.item] = one.value
    counting = [bench.name for bench in benches if not bench.why_not]
    rankable = len(counting) >= FEWEST_JUDGES
    points = {key: _points(rubrics[key[2]], values) for key, values in given.items()}
    rows = [_system(system, samples, points, given, counting, config) for system in systems]
    pointed = {
        system.name: [
            Pointed(sample.id, sample.cluster, _mean_points(system, sample, points, counting)) for sample in samples
        ]
        for system in systems
    }
    by_rule = {
        (system.name, sample.id): set(score_report(sample, system.by_sample[sample.id].text).met)
        for system in systems
        for sample in samples
        if system.by_sample[sample.id].outcome == "answered"
    }
    return {
        "kind": "judges",
        "samples": len(samples),
        "clusters": len({sample.cluster for sample in samples}),
        "seed": config.seed,
        "prompts_sha256": prompts_sha256(),
        "judges": [_judge(bench, samples, verdicts, by_rule, config) for bench in benches],
        "counting": counting,
        "rankable": rankable,
        "why_not": "" if rankable else f"{len(counting)} judges count, {FEWEST_JUDGES} are needed",
        "agreement": _agreement(samples, verdicts, benches, config),
        "systems": rows,
        "pairs": pairs_of_points(pointed, seed=config.seed, resamples=config.resamples, topic="judges")
        if rankable
        else [],
        "clinicians": {
            bench.name: against_clinicians(
                {
                    (key[2], key[1]): {name: values[name] for name in DIMENSIONS}
                    for key, values in given.items()
                    if key[0] == bench.name and set(DIMENSIONS) <= set(values)
                },
                readers,
                seed=config.seed,
                resamples=config.resamples,
            )
            for bench in benches
        }
        if readers
        else {},
    }


def _points(rubric: Sequence[RubricItem], values: dict[str, int]) -> float | None:
    """Points of a report by one judge; None where an item has no verdict."""
    if any(item.id not in values for item in rubric):
        return None
    return rubric_score(rubric, [item.id for item in rubric if values[item.id]])


def _mean_points(
    system: Predictions, sample: Sample, points: dict[Key, float | None], counting: Sequence[str]
) -> float | None:
    """Mean over counting judges; 0 for a reply that is none, None where the provider or a judge failed."""
    outcome = system.by_sample[sample.id].outcome
    if outcome == "api_error" or not counting:
        return None
    if outcome != "answered":
        return 0.0
    found = [points.get((judge, system.name, sample.id)) for judge in counting]
    told = [value for value in found if value is not None]
    return fmean(told) if len(told) == len(counting) else None


def _judge(
    bench: Bench,
    samples: Sequence[Sample],
    verdicts: Sequence[Verdict],
    by_rule: dict[tuple[str, str], set[str]],
    config: JudgesConfig,
) -> dict[str, Any]:
    own = [one for one in verdicts if one.judge == bench.name]
    clusters = {sample.id: sample.cluster for sample in samples}
    both = [
        (clusters[one.sample_id], one.value, int(one.item in by_rule[one.system, one.sample_id]))
        for one in own
        if one.value is not None and one.item not in DIMENSIONS
    ]
    kappa = cohen_kappa(
        [first for _, first, _ in both],
        [second for _, _, second in both],
        Clusters.of([cluster for cluster, _, _ in both]),
        generator_for(config.seed, "rules", bench.name),
        resamples=config.resamples,
    )
    return {
        "name": bench.name,
        "model": bench.model,
        "family": bench.family,
        "counts": not bench.why_not,
        "why_not": bench.why_not,
        "examined": bench.examined,
        "passed": bench.passed,
        "kin": list(bench.kin),
        "coverage": bench.coverage,
        "missing": dict(sorted(Counter(one.missing for one in own if one.value is None).items())),
        "rules": {
            "items": len(both),
            "same": fmean(first == second for _, first, second in both) if both else None,
            "kappa": kappa.as_dict(),
        },
    }


def _agreement(
    samples: Sequence[Sample], verdicts: Sequence[Verdict], benches: Sequence[Bench], config: JudgesConfig
) -> dict[str, Any]:
    names = [bench.name for bench in benches]
    clusters = {sample.id: sample.cluster for sample in samples}
    table: dict[tuple[str, str, str], dict[str, int]] = defaultdict(dict)
    for one in verdicts:
        if one.value is not None:
            table[one.item, one.system, one.sample_id][one.judge] = one.value
    rubric = sorted(key for key in table if key[0] not in DIMENSIONS)
    found = {"rubric": _alpha(rubric, table, names, clusters, config, "nominal"), "dimensions": {}}
    for dimension in DIMENSIONS:
        rows = sorted(key for key in table if key[0] == dimension)
        found["dimensions"][dimension] = _alpha(rows, table, names, clusters, config, "ordinal")
    return found


def _alpha(
    rows: Sequence[tuple[str, str, str]],
    table: dict[tuple[str, str, str], dict[str, int]],
    names: Sequence[str],
    clusters: dict[str, str],
    config: JudgesConfig,
    metric: Any,
) -> dict[str, Any]:
    return krippendorff_alpha(
        [[table[key].get(name) for name in names] for key in rows],
        Clusters.of([clusters[key[2]] for key in rows]),
        generator_for(config.seed, "alpha", metric),
        metric=metric,
        categories=(0, 1) if metric == "nominal" else (1, 2, 3, 4, 5),
        resamples=config.resamples,
    ).as_dict()


def _system(
    system: Predictions,
    samples: Sequence[Sample],
    points: dict[Key, float | None],
    given: dict[Key, dict[str, int]],
    counting: Sequence[str],
    config: JudgesConfig,
) -> dict[str, Any]:
    means = [_mean_points(system, sample, points, counting) for sample in samples]
    totals: list[float | None] = []
    sections: dict[str, list[float]] = defaultdict(list)
    errors: dict[str, list[float]] = defaultdict(list)
    for sample in samples:
        if config.dimensions and counting and system.by_sample[sample.id].outcome not in ("answered", "api_error"):
            totals.append(TOTAL_FLOOR)  # as with points: who refuses a hard case must not gain by it
            for section in REPORT_SECTIONS:
                sections[section] += [1.0] * len(counting)
            continue
        told = [given.get((judge, system.name, sample.id), {}) for judge in counting]
        scores = [{name: values[name] for name in DIMENSIONS if name in values} for values in told]
        found = [dimension_total(one) for one in scores]
        whole = [value for value in found if value is not None]
        totals.append(fmean(whole) if whole and len(whole) == len(counting) else None)
        for one in scores:
            for section, mean in (section_means(one) or {}).items():
                sections[section].append(mean)
        for values in told:
            for item, value in values.items():
                if item.startswith("error:"):
                    errors[item.removeprefix("error:")].append(value)
    estimates = estimate_columns(
        {"points": means, "dimension_total": totals},
        [sample.cluster for sample in samples],
        key=("judges", system.name),
        seed=config.seed,
        resamples=config.resamples,
        fewest=FEWEST_RANKED,
        unit="spines",
    )
    judges = sorted({judge for judge, name, _ in given if name == system.name})
    return {
        "name": system.name,
        "model": system.manifest["model"],
        "judged": sum(value is not None for value in means),
        "points": estimates["points"].model_dump(),
        "dimension_total": estimates["dimension_total"].model_dump(),
        "sections": {name: fmean(values) for name, values in sorted(sections.items())},
        "errors": {name: fmean(values) for name, values in sorted(errors.items())},
        "by_judge": {judge: _by_judge(judge, system, samples, points, given) for judge in judges},
    }


def _by_judge(
    judge: str,
    system: Predictions,
    samples: Sequence[Sample],
    points: dict[Key, float | None],
    given: dict[Key, dict[str, int]],
) -> dict[str, Any]:
    own = [points.get((judge, system.name, sample.id)) for sample in samples]
    told = [value for value in own if value is not None]
    totals = []
    for sample in samples:
        values = given.get((judge, system.name, sample.id), {})
        total = dimension_total({name: values[name] for name in DIMENSIONS if name in values})
        if total is not None:
            totals.append(total)
    return {
        "reports": len(told),
        "points": fmean(told) if told else None,
        "dimension_total": fmean(totals) if totals else None,
    }
