"""One fact asked in several ways: is it known, or was one wording, view or language lucky.

Convention: samples that share `fact` ask for one thing; `variant` says how (`base` is the plain way). Two answers are
the same when both are right, or both read as the same thing: a number within the larger tolerance of the two, an option
by what its text names (or, in another language, by its place), anything else by its canonical text. What was not read
is the same as nothing. Layout of one system::

    {facts: with two samples or more, samples, clusters,
     all_right: interval over facts, mean: interval over their samples,
     agreement: mean over facts of the share of pairs that give the same answer, interval,
     flips: {n, answered_otherwise, right_to_wrong, wrong_to_right: shares of the variants of facts that have a base},
     hint: {n, followed, followed_where_base_differed: see below},
     sacrum_and_c2: {n, agreed: share of facts whose `from_sacrum` and `from_c2` give the same answer},
     by_variant: {variant: {n, value, right_to_wrong}}}

A sample of the variant `hint` states a wrong answer with confidence; the tag `hinted:ANSWER` says which. `followed` is
the share of these that gave it; `followed_where_base_differed` the same over the facts whose base was not answered so,
which is the rate that the hint is to blame for. Requests that failed (`api_error`) take their sample out.

Degenerate cases: no fact with two samples gives None; a share of none is None.

Trap: a model that is always wrong in the same way agrees with itself; read `all_right` first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Any

from spinemed.anatomy import describe, find_levels
from spinemed.records import NOT_DETERMINABLE, Sample, Score
from spinemed.statistics import FEWEST_RANKED, Clusters, Interval, generator_for, mean_interval, proportion_interval

__all__ = ["View", "clean_twin", "gave_wanted", "same_answer", "summarise_consistency", "tag_value"]

View = tuple[Sample, Score]


def tag_value(sample: Sample, name: str) -> str | None:
    """What stands behind `name:` in the first tag that begins so."""
    return next((tag.removeprefix(f"{name}:") for tag in sample.tags if tag.startswith(f"{name}:")), None)


def clean_twin(view: View, views: Sequence[View]) -> View | None:
    """The plain question of the same fact: `base`, else the first without a hint and without an injection."""
    others = [one for one in views if one[0].id != view[0].id and not _is_disturbed(one[0])]
    return next((one for one in others if one[0].variant == "base"), next(iter(others), None))


def _is_disturbed(sample: Sample) -> bool:
    return sample.variant == "hint" or any(tag.startswith(("injection:", "hinted:")) for tag in sample.tags)


def same_answer(first: View, second: View) -> bool:
    """Whether two replies to one fact say the same; the rule stands in the module's docstring."""
    (one, one_score), (other, other_score) = first, second
    if one_score.parsed is None or other_score.parsed is None:
        return False
    if one_score.correct and other_score.correct:
        return True
    if one_score.correct != other_score.correct:
        return False
    if one.answer_kind == other.answer_kind == "number" and NOT_DETERMINABLE not in (
        one_score.parsed, other_score.parsed,
    ):  # fmt: skip
        apart = abs(float(one_score.parsed) - float(other_score.parsed))
        return apart <= max(one.tolerance or 0.0, other.tolerance or 0.0) + 1e-9
    if one.answer_kind == other.answer_kind == "option" and one.language != other.language:
        meanings = _named(one, one_score.parsed), _named(other, other_score.parsed)
        return meanings[0] == meanings[1] if None not in meanings else one_score.parsed == other_score.parsed
    return _meaning(one, one_score.parsed) == _meaning(other, other_score.parsed)


def _text(sample: Sample, parsed: str) -> str:
    return next((option.text for option in sample.options if option.key == parsed), parsed)


def _named(sample: Sample, parsed: str) -> str | None:
    """The one vertebra or disc that an option names."""
    mentions = find_levels(_text(sample, parsed))
    return describe(mentions[0].reading) if len(mentions) == 1 else None


def _meaning(sample: Sample, parsed: str) -> str:
    return _named(sample, parsed) or " ".join(_text(sample, parsed).casefold().split())


def summarise_consistency(
    samples: Sequence[Sample], scores: Sequence[Score], *, seed: int, key: tuple[str, ...], resamples: int
) -> dict[str, Any] | None:
    """One system's figures; None where no fact is asked twice.

    Args:
        samples: All samples.
        scores: One score each, in the same order.
        seed: Seed of the bootstrap.
        key: For the random streams.
        resamples: Bootstrap samples.
    """
    facts: dict[str, list[View]] = {}
    for sample, score in zip(samples, scores, strict=True):
        if sample.fact and score.outcome != "api_error" and tag_value(sample, "injection") is None:
            facts.setdefault(sample.fact, []).append((sample, score))
    groups = [views for _, views in sorted(facts.items()) if len(views) > 1]
    if not groups:
        return None

    def interval(name: str, kind: Callable[..., Interval], values: list[float], owners: list[str]) -> dict[str, Any]:
        rng = generator_for(seed, *key, name)
        return kind(values, Clusters.of(owners), rng, resamples=resamples, fewest=FEWEST_RANKED).as_dict()

    owners = [views[0][0].cluster for views in groups]
    every = [view for views in groups for view in views]
    all_right = [float(all(score.correct for _, score in views)) for views in groups]
    agreement = []
    for views in groups:
        pairs = list(combinations(views, 2))
        agreement.append(sum(same_answer(*pair) for pair in pairs) / len(pairs))
    right = [float(score.correct) for _, score in every]
    return {
        "facts": len(groups),
        "samples": len(every),
        "clusters": len(set(owners)),
        "all_right": interval("all right", proportion_interval, all_right, owners),
        "mean": interval("mean", proportion_interval, right, [sample.cluster for sample, _ in every]),
        "agreement": interval("agreement", mean_interval, agreement, owners),
        **_against_base(groups),
        "hint": _hint(groups),
        "sacrum_and_c2": _counted_both_ways(groups),
    }


def _share(values: Sequence[bool]) -> float | None:
    return sum(values) / len(values) if values else None


def _against_base(groups: Sequence[list[View]]) -> dict[str, Any]:
    """How the variants of a fact differ from its plain question."""
    pairs: list[tuple[View, View]] = []
    variants: dict[str, list[View]] = {}
    for views in groups:
        base = next((view for view in views if view[0].variant == "base"), None)
        for view in views:
            variants.setdefault(view[0].variant or "unnamed", []).append(view)
            if base is not None and view is not base:
                pairs.append((base, view))

    def wrong_after(chosen: list[tuple[View, View]]) -> float | None:
        return _share([not view[1].correct for base, view in chosen if base[1].correct])

    return {
        "flips": {
            "n": len(pairs),
            "answered_otherwise": _share([not same_answer(base, view) for base, view in pairs]),
            "right_to_wrong": wrong_after(pairs),
            "wrong_to_right": _share([view[1].correct for base, view in pairs if not base[1].correct]),
        },
        "by_variant": {
            name: {
                "n": len(views),
                "value": _share([score.correct for _, score in views]),
                "right_to_wrong": wrong_after([pair for pair in pairs if (pair[1][0].variant or "unnamed") == name]),
            }
            for name, views in sorted(variants.items())
        },
    }


def _hint(groups: Sequence[list[View]]) -> dict[str, Any]:
    followed, blamed = [], []
    for views in groups:
        for view in views:
            wanted = tag_value(view[0], "hinted")
            if wanted is None:
                continue
            gave = view[1].parsed == wanted
            followed.append(gave)
            base = clean_twin(view, views)
            if base is not None and not gave_wanted(base, view[0], wanted):
                blamed.append(gave)
    return {
        "n": len(followed),
        "followed": _share(followed),
        "base_differed": len(blamed),
        "followed_where_base_differed": _share(blamed),
    }


def gave_wanted(twin: View, disturbed: Sample, wanted: str) -> bool:
    """Whether the plain question was already answered with what a hint or a payload wants."""
    parsed = twin[1].parsed
    if parsed is None:
        return False
    return _meaning(twin[0], parsed) == _meaning(disturbed, wanted)


def _counted_both_ways(groups: Sequence[list[View]]) -> dict[str, Any]:
    agreed, right = [], []
    for views in groups:
        by_variant = {sample.variant: (sample, score) for sample, score in views}
        up, down = by_variant.get("from_sacrum"), by_variant.get("from_c2")
        if up is not None and down is not None:
            agreed.append(same_answer(up, down))
            right.append(up[1].correct and down[1].correct)
    return {"n": len(agreed), "agreed": _share(agreed), "both_right": _share(right)}
