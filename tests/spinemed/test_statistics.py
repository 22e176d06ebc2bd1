"""What a reader of a results table could complain about: intervals too narrow, differences that are not there."""

from __future__ import annotations

import time

import numpy as np
import pytest
from scipy.stats import binomtest
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.proportion import proportion_confint

from spinemed.statistics import (
    Clusters,
    bootstrap_means,
    generator_for,
    holm,
    macro_interval,
    mcnemar_exact,
    mean_interval,
    paired_difference,
    proportion_interval,
    sign_flip_p_value,
    wilson_interval,
)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def each_alone(n: int) -> Clusters:
    return Clusters.of([f"p{number:05d}" for number in range(n)])


def grouped(clusters: int, size: int) -> Clusters:
    return Clusters.of([f"p{number:05d}" for number in range(clusters) for _ in range(size)])


def clustered_answers(
    generator: np.random.Generator, clusters: int, size: int, mean: float, spread: float
) -> np.ndarray:
    """0/1 answers whose chance differs from spine to spine: beta with this mean and intra-cluster correlation."""
    scale = (1 - spread) / spread
    chance = generator.beta(mean * scale, (1 - mean) * scale, size=clusters)
    return (generator.random((clusters, size)) < chance[:, None]).astype(float).ravel()


# --- clusters ---


def test_the_grouping_does_not_depend_on_row_order() -> None:
    forward = Clusters.of(["b", "a", "b"])
    backward = Clusters.of(["b", "b", "a"])
    assert forward.ids == backward.ids == ("a", "b")
    assert forward.sizes.tolist() == [1, 2]
    assert forward.sums([1, 5, 2]).tolist() == [5, 3]


def test_a_missing_value_is_refused_instead_of_averaged() -> None:
    with pytest.raises(ValueError, match="shape"):
        Clusters.of(["a", "b"]).sums([1])
    with pytest.raises(ValueError, match="finite"):
        Clusters.of(["a", "b"]).sums([1, float("nan")])


# --- intervals ---


@pytest.mark.parametrize(("successes", "n"), [(0, 10), (10, 10), (426, 487), (1, 3)])
def test_wilson_equals_statsmodels_and_stays_in_range(successes: int, n: int) -> None:
    low, high = wilson_interval(successes, n)
    assert (low, high) == pytest.approx(proportion_confint(successes, n, method="wilson"), abs=1e-12)
    assert 0 <= low <= successes / n <= high <= 1


def test_wilson_reproduces_a_published_interval() -> None:
    # 426 of 487 right: 84.2 to 90.1 percent.
    low, high = wilson_interval(426, 487)
    assert (round(100 * low, 1), round(100 * high, 1)) == (84.2, 90.1)


def test_questions_that_share_no_spine_get_wilson() -> None:
    interval = proportion_interval([1] * 30 + [0] * 20, each_alone(50), rng())
    assert interval.method == "wilson"
    assert (interval.low, interval.high) == wilson_interval(30, 50)


def test_one_spine_gives_a_value_but_no_interval() -> None:
    interval = proportion_interval([1, 1, 0, 1], Clusters.of(["p"] * 4), rng())
    assert (interval.value, interval.low, interval.high) == (0.75, None, None)
    assert (interval.n, interval.clusters, interval.method) == (4, 1, "one cluster")


def test_no_question_gives_no_value() -> None:
    interval = proportion_interval([], Clusters.of([]), rng())
    assert (interval.value, interval.low, interval.n, interval.method) == (None, None, 0, "empty")


@pytest.mark.parametrize("answer", [0, 1])
def test_all_wrong_or_all_right_is_never_certain(answer: int) -> None:
    interval = proportion_interval([answer] * 60, grouped(20, 3), rng())
    assert interval.method == "wilson on clusters"
    assert (interval.low, interval.high) == wilson_interval(20 * answer, 20)
    assert interval.high is not None
    assert interval.low is not None
    assert interval.high - interval.low > 0.1


def test_a_cluster_interval_is_wider_than_one_that_ignores_clusters() -> None:
    values = np.repeat(([1, 1, 0, 0, 1, 0, 1, 1, 0, 1] * 4), 5)
    clustered = proportion_interval(values, grouped(40, 5), rng())
    low, high = wilson_interval(int(values.sum()), values.size)
    assert clustered.method == "cluster bootstrap"
    assert clustered.high is not None
    assert clustered.low is not None
    assert clustered.high - clustered.low > 1.8 * (high - low)


def test_same_seed_same_interval_and_row_order_does_not_matter() -> None:
    spines = [f"p{number}" for number in range(30) for _ in range(3)]
    values = clustered_answers(rng(1), 30, 3, 0.6, 0.3)
    order = rng(2).permutation(90)
    first = proportion_interval(values, Clusters.of(spines), rng(7))
    again = proportion_interval(values, Clusters.of(spines), rng(7))
    shuffled = proportion_interval(values[order], Clusters.of([spines[place] for place in order]), rng(7))
    assert first == again == shuffled


def test_the_fast_bootstrap_agrees_with_drawing_clusters_one_by_one() -> None:
    clusters = Clusters.of([f"p{number}" for number in range(36) for _ in range(1 + number % 3)])
    values = rng(3).random(clusters.size)
    slow_rng, slow = rng(5), []
    for _ in range(4_000):
        drawn = slow_rng.integers(0, clusters.count, clusters.count)
        members = np.concatenate([np.flatnonzero(clusters.index == place) for place in drawn])
        slow.append(values[members].mean())
    binary = (values > 0.5).astype(float)  # few kinds of clusters: the multinomial road
    slow_rng, slow_binary = rng(5), []
    for _ in range(4_000):
        drawn = slow_rng.integers(0, clusters.count, clusters.count)
        members = np.concatenate([np.flatnonzero(clusters.index == place) for place in drawn])
        slow_binary.append(binary[members].mean())
    for sample, plain in ((values, slow), (binary, slow_binary)):
        fast = bootstrap_means(sample, clusters, rng())
        assert fast.shape == (10_000,)
        assert fast.mean() == pytest.approx(np.mean(plain), abs=0.01)
        assert fast.std() == pytest.approx(np.std(plain), rel=0.06)


def test_ten_thousand_resamples_of_five_hundred_spines_take_less_than_half_a_second() -> None:
    clusters = grouped(500, 4)
    values = rng().random(2_000)  # every cluster of its own kind: the slow road
    started = time.process_time()  # the work itself, whatever else runs on the machine
    bootstrap_means(values, clusters, rng())
    assert time.process_time() - started < 0.5


def _coverage(trials: int, clusters: int, size: int, mean: float, spread: float, resamples: int) -> float:
    spines = grouped(clusters, size)
    hits = 0
    for trial in range(trials):
        generator = rng(trial)
        values = clustered_answers(generator, clusters, size, mean, spread)
        interval = proportion_interval(values, spines, generator, resamples=resamples)
        assert interval.low is not None
        assert interval.high is not None
        hits += interval.low <= mean <= interval.high
    return hits / trials


@pytest.mark.parametrize(
    ("clusters", "size", "mean", "spread"),
    [(15, 4, 0.6, 0.3), (40, 5, 0.7, 0.5), (25, 1, 0.9, 0.2)],
)
def test_the_95_percent_interval_holds_the_truth_95_times_in_100(
    clusters: int, size: int, mean: float, spread: float
) -> None:
    assert 0.92 <= _coverage(600, clusters, size, mean, spread, 1_000) <= 0.98


def test_with_almost_every_answer_right_the_interval_is_rather_too_wide_than_too_narrow() -> None:
    assert _coverage(600, 60, 3, 0.95, 0.2, 1_000) >= 0.93


@pytest.mark.acceptance
@pytest.mark.parametrize("clusters", [10, 20, 50, 200])
@pytest.mark.parametrize("size", [2, 8])
@pytest.mark.parametrize("mean", [0.3, 0.6, 0.85])
@pytest.mark.parametrize("spread", [0.1, 0.5])
def test_coverage_over_the_whole_grid(clusters: int, size: int, mean: float, spread: float) -> None:
    # With few spines or hardly a wrong answer the interval is wide by intention: no upper limit there.
    highest = 0.985 if clusters >= 50 and mean <= 0.85 else 1.0
    assert 0.92 <= _coverage(4_000, clusters, size, mean, spread, 2_000) <= highest


def test_a_mean_without_variance_has_no_interval() -> None:
    interval = mean_interval([2.5] * 16, grouped(8, 2), rng())
    assert (interval.value, interval.low, interval.method) == (2.5, None, "no variance")
    few = mean_interval([1.0, 2.0, 3.0, 4.0], grouped(2, 2), rng())
    assert (few.value, few.low, few.method) == (2.5, None, "fewer than 6 clusters")


def test_a_few_spines_get_the_interval_of_so_many_questions() -> None:
    interval = proportion_interval([1, 1, 0, 1] * 4, grouped(4, 4), rng())
    assert interval.method == "wilson on clusters"
    assert (interval.low, interval.high) == wilson_interval(3, 4)


def test_a_mean_interval_matches_the_normal_theory_on_many_spines() -> None:
    values = rng(4).normal(3.0, 2.0, 400)
    interval = mean_interval(values, each_alone(400), rng())
    half = 1.96 * values.std(ddof=1) / 20
    assert interval.low == pytest.approx(values.mean() - half, abs=0.03)
    assert interval.high == pytest.approx(values.mean() + half, abs=0.03)


def test_macro_weighs_a_rare_level_as_much_as_a_common_one() -> None:
    # 90 questions on L1 all right, 10 on T9 all wrong: micro 0.9, macro 0.5.
    values, levels = [1] * 89 + [0] + [0] * 9 + [1], [0] * 90 + [7] * 10
    interval = macro_interval(values, levels, each_alone(100), rng())
    assert interval.value == pytest.approx((89 / 90 + 1 / 10) / 2)
    assert interval.low is not None
    assert interval.high is not None
    assert interval.low < interval.value < interval.high


def test_a_constant_answer_gets_no_macro_interval_of_width_zero() -> None:
    interval = macro_interval([1] * 50 + [0] * 50, [0] * 50 + [1] * 50, each_alone(100), rng())
    assert (interval.value, interval.low, interval.high) == (0.5, None, None)
    assert interval.method == "no variance within classes"


# --- paired ---


def test_the_paired_test_on_lone_questions_is_mcnemar() -> None:
    first, second = [1] * 14 + [0] * 3 + [1] * 40, [0] * 14 + [1] * 3 + [1] * 40
    result = paired_difference(first, second, each_alone(57), rng())
    assert (result.first_only, result.second_only) == (14, 3)
    assert result.difference == pytest.approx(11 / 57)
    assert result.p_value == pytest.approx(binomtest(3, 17).pvalue)
    assert mcnemar_exact(first, second) == pytest.approx(float(mcnemar([[40, 14], [3, 0]], exact=True).pvalue))
    assert result.p_value == pytest.approx(mcnemar_exact(first, second))


def test_the_sign_flip_test_equals_counting_every_pattern() -> None:
    differences = np.array([3, -1, 2, 2, -1, 4, 1])
    patterns = np.array(np.meshgrid(*[[-1, 1]] * 7)).reshape(7, -1).T
    sums = patterns @ np.abs(differences)
    expected = float(np.mean(np.abs(sums) >= abs(differences.sum())))
    assert sign_flip_p_value(differences, rng()) == pytest.approx(expected, abs=1e-12)
    sampled = sign_flip_p_value(differences * 0.37, rng(), resamples=20_000)
    assert sampled == pytest.approx(expected, abs=0.01)


def test_a_win_that_comes_from_one_spine_is_no_win() -> None:
    first, second = [1] * 12 + [0, 1, 0, 1], [0] * 12 + [0, 1, 0, 1]
    lucky = Clusters.of(["p1"] * 12 + ["p2", "p3", "p4", "p5"])
    assert mcnemar_exact(first, second) < 0.001
    assert paired_difference(first, second, lucky, rng()).p_value == 1.0


def test_equal_systems_differ_by_nothing_but_not_with_certainty() -> None:
    result = paired_difference([1, 0] * 20, [1, 0] * 20, each_alone(40), rng())
    bound = wilson_interval(0, 40)[1]
    assert (result.difference, result.p_value) == (0, 1)
    assert (result.low, result.high) == pytest.approx((-bound, bound))


@pytest.mark.parametrize("sign", [1, -1])
def test_winning_every_question_leaves_room_for_a_loss_unseen(sign: int) -> None:
    winner, loser = [1] * 30, [0] * 30
    pair = (winner, loser) if sign == 1 else (loser, winner)
    result = paired_difference(*pair, each_alone(30), rng())
    assert result.difference == sign
    assert result.low is not None
    assert result.high is not None
    assert result.high - result.low > 0.1


@pytest.mark.parametrize("wins", [1, 2, 3, 4, 5, 6, 8, 12])
@pytest.mark.parametrize("size", [1, 3])
def test_interval_and_test_agree_on_a_few_wins(wins: int, size: int) -> None:
    clusters = grouped(200, size)
    first = np.zeros(200 * size)
    first[: wins * size : size] = 1  # one question won on each of so many spines, none lost
    result = paired_difference(first, np.zeros(200 * size), clusters, rng())
    assert result.low is not None
    assert result.p_value is not None
    assert (result.low > 0) == (result.p_value < 0.05)


@pytest.mark.parametrize("spines", [1, 2, 5])
def test_a_handful_of_spines_gives_no_paired_interval(spines: int) -> None:
    result = paired_difference([1] * spines * 4, [0] * spines * 4, grouped(spines, 4), rng())
    assert (result.low, result.high) == (None, None)
    assert result.p_value is not None
    assert result.p_value > 0.05
    assert "cluster" in result.method


def test_the_paired_interval_covers_and_the_test_keeps_its_level() -> None:
    clusters, covered, rejected, trials = grouped(40, 4), 0, 0, 400
    for trial in range(trials):
        generator = rng(trial)
        shared = clustered_answers(generator, 40, 4, 0.5, 0.4)
        # Two systems that agree on most questions and err independently on the rest: the true difference is 0.
        first = np.where(generator.random(160) < 0.3, generator.random(160) < 0.5, shared).astype(float)
        second = np.where(generator.random(160) < 0.3, generator.random(160) < 0.5, shared).astype(float)
        result = paired_difference(first, second, clusters, generator, resamples=1_000)
        assert result.low is not None
        assert result.high is not None
        assert result.p_value is not None
        covered += result.low <= 0 <= result.high
        rejected += result.p_value < 0.05
    assert 0.92 <= covered / trials <= 0.98
    assert rejected / trials <= 0.075


def test_many_thousand_discordant_questions_still_have_a_p_value() -> None:
    first, second = np.ones(6_000), np.zeros(6_000)
    result = paired_difference(first, second, grouped(3_000, 2), rng(), resamples=100)
    assert result.p_value is not None
    assert 0 <= result.p_value < 1e-100


def test_holm_multiplies_and_leaves_absent_tests_out() -> None:
    assert holm([0.01, None, 0.04, 0.03]) == pytest.approx([0.03, None, 0.06, 0.06])
    assert holm([]) == []
    assert holm([None]) == [None]


def test_streams_differ_by_key_and_agree_by_seed() -> None:
    def numbers(seed: int, *key: str) -> list[float]:
        return list(generator_for(seed, *key).random(3))

    assert numbers(0, "row", "a") == numbers(0, "row", "a")
    assert (
        len({tuple(numbers(*args)) for args in ((0, "row", "a"), (0, "row", "b"), (1, "row", "a"), (0, "rowa"))}) == 4
    )
