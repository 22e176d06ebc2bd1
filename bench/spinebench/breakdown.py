"""Shares of right answers by what questions have in common: task, region, language, difficulty, need of the picture.

Convention, layout: {by: {group: {n, clusters, systems: {name: interval}}}} with `by` one of `BY`. `region` is that of
the true level, or of the levels that a question is about where they lie in one region; questions without are in no
group of it. Intervals are clustered; requests that failed (`api_error`) are left out of their system.

Trap: groups overlap between the `by`s and are many; nothing here is corrected for looking at all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from spinemed.anatomy import Disc, Level
from spinemed.errors import LevelError
from spinemed.records import NOT_DETERMINABLE, Sample, Score
from spinemed.statistics import FEWEST_RANKED, Clusters, generator_for, proportion_interval

__all__ = ["BY", "region_of", "summarise_breakdown"]


def region_of(sample: Sample) -> str:
    """The region that a question is about; empty where there is none, or several."""
    try:
        if sample.answer != NOT_DETERMINABLE and sample.answer_kind == "level":
            return Level(sample.answer).region.value
        if sample.answer != NOT_DETERMINABLE and sample.answer_kind == "disc":
            return Disc.from_text(sample.answer).region.value
    except (LevelError, ValueError):
        return ""
    regions = {level.region.value for level in sample.levels}
    return regions.pop() if len(regions) == 1 else ""


BY: Mapping[str, Callable[[Sample], str]] = {
    "task": lambda sample: sample.task,
    "region": region_of,
    "language": lambda sample: sample.language,
    "difficulty": lambda sample: sample.difficulty,
    "image_need": lambda sample: sample.image_need,
}


def summarise_breakdown(
    samples: Sequence[Sample], scores: Mapping[str, Sequence[Score]], *, seed: int, resamples: int
) -> dict[str, Any]:
    """All groups of all systems; see the module for the layout. A `by` with fewer than two groups is left out.

    Args:
        samples: All samples, by id.
        scores: For each system its scores in the order of `samples`.
        seed: Seed of the bootstrap.
        resamples: Bootstrap samples.
    """
    found: dict[str, Any] = {}
    for by, group_of in BY.items():
        groups: dict[str, list[int]] = {}
        for place, sample in enumerate(samples):
            if group := group_of(sample):
                groups.setdefault(group, []).append(place)
        if len(groups) < 2:
            continue
        found[by] = {
            group: {
                "n": len(places),
                "clusters": len({samples[place].cluster for place in places}),
                "systems": {
                    name: _share(samples, own, places, seed, (by, group, name), resamples)
                    for name, own in scores.items()
                },
            }
            for group, places in sorted(groups.items())
        }
    return found


def _share(
    samples: Sequence[Sample],
    scores: Sequence[Score],
    places: Sequence[int],
    seed: int,
    key: tuple[str, ...],
    resamples: int,
) -> dict[str, Any]:
    known = [place for place in places if scores[place].outcome != "api_error"]
    clusters = Clusters.of([samples[place].cluster for place in known])
    rng = generator_for(seed, "breakdown", *key)
    values = [float(scores[place].correct) for place in known]
    return proportion_interval(values, clusters, rng, resamples=resamples, fewest=FEWEST_RANKED).as_dict()
