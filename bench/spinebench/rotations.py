"""Circular evaluation: the same question with its options moved on, right in all turns or only on average.

Convention, layout of one system::

    {n, clusters, turns: all that were asked, incomplete: questions of which a turn is missing,
     single, mean, strict: intervals (value, low, high, n, clusters, method),
     positions: {letter: {chosen, share, truth_share, right_when_there}}, position_bias}

over the option questions of which every turn was asked and answered by the provider (a question of k options has k: the
question itself and `rotated_1` to `rotated_<k-1>`). `strict` is right in all turns, `mean` the share of turns that are
right, `single` the question as it stands. `position_bias` is half the summed distance of the shares of chosen letters
from those an answerer would have that picks each place alike (total variation: 0 none, 1 - 1/k always the same letter).

What theory expects of k options: perfect 1 and 1; uniform guessing strict k^-k, mean 1/k, bias near 0; always one
letter strict 0, mean exactly 1/k, bias 1 - 1/k.

Degenerate cases: no complete question gives None, and the layout without figures.

Trap: an unreadable reply is no choice of a place; it lowers strict and mean and is in no position's share.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from bench.runner.conditions import rotation_of
from spinemed.records import Sample, Score
from spinemed.statistics import FEWEST_RANKED, Clusters, generator_for, mean_interval, proportion_interval

__all__ = ["summarise_rotations"]


def summarise_rotations(
    samples: Sequence[Sample],
    full: Mapping[str, Score],
    turned: Mapping[str, Mapping[str, tuple[Sample, Score]]],
    *,
    seed: int,
    key: tuple[str, ...],
    resamples: int,
) -> dict[str, Any] | None:
    """Strict and mean score and position bias of one system; None where it answered no turn.

    Args:
        samples: All samples, as they stand.
        full: Scores of the questions as they stand, by sample.
        turned: For each `rotated_N` the question as asked with its score, by sample.
        seed: Seed of the bootstrap.
        key: For the random streams.
        resamples: Bootstrap samples.
    """
    turns = {rotation_of(condition): scores for condition, scores in turned.items()}
    if not turns:
        return None
    complete: list[tuple[Sample, list[tuple[Sample, Score]]]] = []
    incomplete = 0
    for sample in samples:
        if sample.answer_kind != "option" or not any(sample.id in scores for scores in turns.values()):
            continue
        wanted = range(1, len(sample.options))
        held = [(sample, full[sample.id]), *(turns[n][sample.id] for n in wanted if sample.id in turns.get(n, {}))]
        if len(held) == len(sample.options) and all(score.outcome != "api_error" for _, score in held):
            complete.append((sample, held))
        else:
            incomplete += 1
    clusters = Clusters.of([sample.cluster for sample, _ in complete])
    fewest = {"resamples": resamples, "fewest": FEWEST_RANKED}
    single = [float(held[0][1].correct) for _, held in complete]
    mean = [sum(score.correct for _, score in held) / len(held) for _, held in complete]
    strict = [float(all(score.correct for _, score in held)) for _, held in complete]
    return {
        "n": len(complete),
        "clusters": clusters.count,
        "turns": sorted(turns),
        "incomplete": incomplete,
        "single": proportion_interval(single, clusters, generator_for(seed, *key, "single"), **fewest).as_dict(),
        "mean": mean_interval(mean, clusters, generator_for(seed, *key, "mean"), **fewest).as_dict(),
        "strict": proportion_interval(strict, clusters, generator_for(seed, *key, "strict"), **fewest).as_dict(),
        **_positions([pair for _, held in complete for pair in held]),
    }


def _positions(asked: Sequence[tuple[Sample, Score]]) -> dict[str, Any]:
    chosen, truth, right = Counter[str](), Counter[str](), Counter[str]()
    even: defaultdict[str, float] = defaultdict(float)
    for sample, score in asked:
        keys = [option.key for option in sample.options]
        truth[sample.answer] += 1
        right[sample.answer] += score.correct
        if score.parsed in keys:
            chosen[str(score.parsed)] += 1
            for letter in keys:
                even[letter] += 1 / len(keys)
    total = chosen.total()
    letters = sorted({*truth, *even})
    return {
        "positions": {
            letter: {
                "chosen": chosen[letter],
                "share": chosen[letter] / total if total else None,
                "truth_share": truth[letter] / len(asked),
                "right_when_there": right[letter] / truth[letter] if truth[letter] else None,
            }
            for letter in letters
        },
        "position_bias": sum(abs(chosen[letter] - even[letter]) for letter in letters) / (2 * total) if total else None,
    }
