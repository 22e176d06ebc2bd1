"""Everything about levels for one group of questions and one system.

Convention: a group is (vertebra or disc, modality, origin). Exact, within-one and region are shares over the questions
whose truth is a level; questions whose truth is "not determinable" are counted beside them, as are answers "not
determinable" where the level could be told.

Trap: a high within-one share on a short field of view is cheap: read it beside the number of distinct levels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from bench.samples import modality_of
from bench.spinebench.confusion import confusion_matrix
from bench.spinebench.distance import chance_level, level_distance
from bench.spinebench.macro import macro_over_levels, per_level
from bench.spinebench.offsets import has_level_truth, offset_histogram
from spinemed.records import NOT_DETERMINABLE, Sample, Score
from spinemed.statistics import FEWEST_RANKED, Clusters, generator_for, proportion_interval

__all__ = ["level_groups", "summarise_levels"]


def level_groups(samples: Sequence[Sample]) -> dict[str, list[int]]:
    """Positions of the level questions, by `level/image/phantom` and so on."""
    groups: dict[str, list[int]] = {}
    for place, sample in enumerate(samples):
        if sample.answer_kind in ("level", "disc"):
            groups.setdefault(f"{sample.answer_kind}/{modality_of(sample)}/{sample.origin}", []).append(place)
    return dict(sorted(groups.items()))


def summarise_levels(
    samples: Sequence[Sample], scores: Sequence[Score], *, seed: int, key: tuple[str, ...], resamples: int
) -> dict[str, Any]:
    """Level measures of one system on one group; intervals are clustered.

    Args:
        samples: The samples of the group.
        scores: The system's scores of the same samples.
        seed: Seed of the run.
        key: Group and system, for the random streams.
        resamples: Bootstrap samples.
    """
    told = [(sample, score) for sample, score in zip(samples, scores) if has_level_truth(sample)]
    untold = [(sample, score) for sample, score in zip(samples, scores) if not has_level_truth(sample)]
    clusters = Clusters.of([sample.cluster for sample, _ in told])

    def share(name: str, values: list[float]) -> dict[str, Any]:
        return proportion_interval(
            values, clusters, generator_for(seed, *key, name), resamples=resamples, fewest=FEWEST_RANKED
        ).as_dict()

    return {
        "n": len(told),
        "clusters": clusters.count,
        "distinct_levels": len({sample.answer for sample, _ in told}),
        "exact": share("exact", [float(score.correct) for _, score in told]),
        "within_one": share("within one", [float(bool(score.within_one)) for _, score in told]),
        "region": share("region", [float(bool(score.region_correct)) for _, score in told]),
        "macro": macro_over_levels(told, seed=seed, key=key, resamples=resamples),
        "per_level": per_level(told, seed=seed, key=key, resamples=resamples),
        "distance": asdict(level_distance([score for _, score in told])),
        "chance": asdict(chance_level([sample for sample, _ in told])),
        "offsets": offset_histogram(score for _, score in told),
        "confusion": confusion_matrix([(sample, score) for sample, score in zip(samples, scores)]),
        "called_not_determinable": sum(score.parsed == NOT_DETERMINABLE for _, score in told),
        "not_determinable": {"n": len(untold), "correct": sum(score.correct for _, score in untold)},
    }
