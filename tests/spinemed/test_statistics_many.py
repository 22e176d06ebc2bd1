"""Many systems at once, ranks and power: what a leaderboard's reader could complain about."""

from __future__ import annotations

import numpy as np
import pytest

from spinemed.statistics import (
    Clusters,
    bootstrap_macro,
    bootstrap_many,
    design_effect,
    kish_design_effect,
    macro_interval,
    mcnemar_exact,
    paired_gap,
    power_table,
    proportion_interval,
    rank_systems,
    sign_flip_many,
    sign_flip_p_value,
    unpaired_gap,
    wilson_interval,
    wilson_of,
)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def grouped(clusters: int, size: int) -> Clusters:
    return Clusters.of([f"p{number:05d}" for number in range(clusters) for _ in range(size)])


def test_bounds_of_many_are_those_of_each_alone() -> None:
    clusters = grouped(60, 5)
    values = (rng(1).random((300, 4)) < [0.3, 0.5, 0.7, 0.9]).astype(float)
    low, high = bootstrap_many(values, clusters, rng(2), resamples=8_000).bounds()
    for column in range(4):
        alone = proportion_interval(values[:, column], clusters, rng(3))
        assert alone.low is not None
        assert alone.high is not None
        assert (low[column], high[column]) == pytest.approx((alone.low, alone.high), abs=0.012)


def test_row_order_and_other_systems_change_no_bound() -> None:
    clusters = Clusters.of([f"p{number}" for number in range(30) for _ in range(3)])
    values = rng(1).random((90, 3))
    order = rng(4).permutation(90)
    names = [clusters.ids[place] for place in clusters.index]
    shuffled = Clusters.of([names[place] for place in order])
    first = bootstrap_many(values, clusters, rng(2), resamples=300)
    second = bootstrap_many(values[order], shuffled, rng(2), resamples=300)
    one = bootstrap_many(values[:, :1], clusters, rng(2), resamples=300)
    assert np.allclose(first.estimates, second.estimates)
    assert np.allclose(first.estimates[:, :1], one.estimates)


def test_differences_are_paired() -> None:
    clusters = grouped(40, 3)
    base = (rng(1).random(120) < 0.5).astype(float)
    better = np.maximum(base, (rng(2).random(120) < 0.2).astype(float))
    low, high = bootstrap_many(np.stack([base, better], axis=1), clusters, rng(), resamples=2_000).difference_bounds(0)
    assert low[0] == high[0] == 0
    assert 0 < low[1] < (better - base).mean() < high[1]


def test_ranks_share_ties_and_cover_what_cannot_be_told_apart() -> None:
    clusters = grouped(100, 2)
    values = np.zeros((200, 4))
    values[:, 0] = 1
    values[::2, 1], values[1::2, 2] = 1, 1
    ranks = rank_systems(bootstrap_many(values, clusters, rng(), resamples=500))
    assert ranks.rank.tolist() == [1, 2, 2, 4]
    assert (ranks.low[0], ranks.high[0], ranks.best[0]) == (1, 1, 1)
    assert (ranks.low[3], ranks.high[3]) == (4, 4)
    close = (rng(1).random((200, 2)) < 0.6).astype(float)
    close_ranks = rank_systems(bootstrap_many(close, clusters, rng(), resamples=500))
    assert close_ranks.low.tolist() == [1, 1]
    assert close_ranks.high.tolist() == [2, 2]


def test_macro_means_of_many_are_those_of_each_alone() -> None:
    clusters = grouped(60, 4)
    classes = np.arange(240) % 5
    values = (rng(1).random((240, 3)) < 0.2 + 0.12 * classes[:, None]).astype(float)
    many = bootstrap_macro(values, classes, clusters, rng(2), resamples=6_000)
    low, high = many.bounds()
    for column in range(3):
        alone = macro_interval(values[:, column], classes, clusters, rng(3))
        assert alone.low is not None
        assert alone.high is not None
        assert many.values[column] == pytest.approx(alone.value)
        assert (low[column], high[column]) == pytest.approx((alone.low, alone.high), abs=0.012)
    with pytest.raises(ValueError, match="questions need finite values"):
        bootstrap_macro(np.empty((0, 2)), [], Clusters.of([]), rng())


def test_few_clusters_have_no_bounds_and_no_rank_interval() -> None:
    many = bootstrap_many(rng().random((38, 2)), grouped(19, 2), rng(), resamples=50)
    assert np.isnan(many.bounds()[0]).all()
    ranks = rank_systems(many)
    assert sorted(ranks.rank.tolist()) == [1, 2]
    assert np.isnan(ranks.low).all()
    assert np.isnan(bootstrap_many(np.empty((0, 2)), Clusters.of([]), rng()).values).all()


def test_many_sign_flips_agree_with_counting_them_out() -> None:
    totals = rng(5).integers(-2, 3, size=(30, 3)).astype(float)
    totals[:, 2] = 0
    sampled = sign_flip_many(totals, rng(6), resamples=20_000)
    for column in range(3):
        assert sampled[column] == pytest.approx(sign_flip_p_value(totals[:, column], rng()), abs=0.012)
    assert sampled[2] == 1


def test_wilson_and_mcnemar_are_refused_where_questions_share_a_spine() -> None:
    shared = grouped(30, 2)
    values = np.ones(60)
    with pytest.raises(ValueError, match="60 questions of 30 clusters are not independent"):
        wilson_of(values, shared)
    with pytest.raises(ValueError, match="not independent"):
        mcnemar_exact(values, values, shared)
    alone = grouped(60, 1)
    assert wilson_of(values, alone) == wilson_interval(60, 60)
    assert mcnemar_exact(values, 1 - values, alone) < 1e-6


def test_power_reproduces_the_known_gaps_of_487_questions() -> None:
    assert [round(100 * (paired_gap(487, part) or 0), 1) for part in (0.1, 0.2, 0.3)] == [4.0, 5.7, 6.9]
    assert round(100 * (unpaired_gap(487, 0.7) or 0), 1) == 8.2
    assert paired_gap(10, 0.1) is None  # the gap would have to exceed the discordance
    assert paired_gap(0, 0.1) is None
    with pytest.raises(ValueError, match="discordant"):
        paired_gap(100, 0)


def test_a_test_of_that_power_finds_the_gap_that_often() -> None:
    gap = paired_gap(400, 0.2)
    assert gap is not None
    generator, found = rng(1), 0
    for _ in range(400):
        drawn = generator.multinomial(400, [(0.2 + gap) / 2, (0.2 - gap) / 2, 0.8])
        totals = np.concatenate([np.ones(drawn[0]), -np.ones(drawn[1])])
        found += sign_flip_p_value(totals, generator) < 0.05
    assert 0.72 < found / 400 < 0.88


def test_the_design_effect_is_that_of_the_formula() -> None:
    assert kish_design_effect(grouped(50, 4), 0.25) == pytest.approx(1 + 3 * 0.25)
    assert kish_design_effect(Clusters.of(["a", "b", "b", "b"]), 1) == pytest.approx((1 + 9) / 4)
    clusters = grouped(4_000, 5)
    chance = rng(1).beta(2.1, 0.9, size=4_000)  # mean 0.7, correlation 0.25
    values = (rng(2).random((4_000, 5)) < chance[:, None]).astype(float).ravel()
    assert design_effect(values, clusters) == pytest.approx(1 + 4 * 0.25, rel=0.05)
    assert design_effect(np.ones(20_000), clusters) is None
    rows = power_table(1_000, 200, 2.0)
    assert rows[0].effective_n == 500
    assert rows[0].paired_gap == paired_gap(500, 0.1)
    with pytest.raises(ValueError, match="impossible"):
        power_table(10, 5, 0)


@pytest.mark.parametrize("share", [0.2, 0.6, 0.9])
def test_intervals_cover_on_clustered_answers(share: float) -> None:
    generator, covered, draws = rng(9), 0, 150
    sizes = 1 + np.arange(200) % 3
    clusters = Clusters.of([f"p{at:03d}" for at in range(200) for _ in range(sizes[at])])
    for _ in range(draws):
        chance = generator.beta(share * 4, (1 - share) * 4, size=200)  # correlation 0.2
        values = (generator.random(clusters.size) < chance[clusters.index]).astype(float)
        own = proportion_interval(values, clusters, generator, resamples=500)
        assert own.low is not None
        assert own.high is not None
        covered += own.low <= share <= own.high
    assert covered / draws > 0.89
