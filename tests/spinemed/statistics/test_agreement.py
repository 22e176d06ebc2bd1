"""Coefficients of agreement: published worked examples, scikit-learn, statsmodels, and what must not matter."""

import itertools
import math
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spinemed.statistics import Clusters
from spinemed.statistics.agreement import (
    Ratings,
    bland_altman,
    cohen_kappa,
    fleiss_kappa,
    gwet_ac,
    icc,
    krippendorff_alpha,
    prevalence,
    raw_agreement,
    weight_matrix,
)

FEW = 200


def rng():
    return np.random.default_rng(0)


def single(units):
    return Clusters.of([str(number) for number in range(units)])


def column(text):
    return [None if sign == "*" else int(sign) for sign in text.split()]


# Krippendorff 2011, section E: four observers, twelve units, ratings missing.
OBSERVERS = [
    column("1 2 3 3 2 1 4 1 2 * * *"),
    column("1 2 3 3 2 2 4 1 2 5 * 3"),
    column("* 3 3 3 2 3 4 2 2 5 1 *"),
    column("1 2 3 3 2 4 4 1 2 5 1 *"),
]
WORKED = list(zip(*OBSERVERS, strict=True))
# Shrout and Fleiss 1979, table 2: six targets, four judges.
JUDGES = [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]]
CATEGORICAL = {
    "raw": lambda table, clusters, resamples: raw_agreement(table, clusters, rng(), resamples=resamples),
    "fleiss": lambda table, clusters, resamples: fleiss_kappa(table, clusters, rng(), resamples=resamples),
    "ac1": lambda table, clusters, resamples: gwet_ac(table, clusters, rng(), resamples=resamples),
    "alpha": lambda table, clusters, resamples: krippendorff_alpha(table, clusters, rng(), resamples=resamples),
}


@pytest.mark.parametrize(("metric", "published"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849)])
def test_alpha_is_that_of_the_published_example_with_missing_ratings(metric, published):
    found = krippendorff_alpha(WORKED, single(12), rng(), metric=metric, resamples=FEW)
    assert found.value == pytest.approx(published, abs=0.0005)
    assert (found.n, found.raters) == (11, 4)  # the unit that one observer rated takes no part
    assert found.low < found.value < found.high


def test_agreement_of_several_raters_with_missing_ratings_is_as_published():
    """Gwet's handbook works the same twelve units: AC1 0.77544, Fleiss 0.76117, raw agreement 0.81818."""
    assert gwet_ac(WORKED, single(12), rng(), resamples=FEW).value == pytest.approx(0.77544, abs=5e-6)
    assert fleiss_kappa(WORKED, single(12), rng(), resamples=FEW).value == pytest.approx(0.76117, abs=5e-6)
    assert raw_agreement(WORKED, single(12), rng(), resamples=FEW).value == pytest.approx(9 / 11)


def test_kappa_collapses_where_one_category_is_rare_and_ac1_does_not():
    """Gwet 2002: 118, 5, 2 and 0 of 125 units; kappa is below zero although 94 % agree."""
    pairs = [("no", "no")] * 118 + [("no", "yes")] * 5 + [("yes", "no")] * 2
    units = single(len(pairs))
    kappa = cohen_kappa(*zip(*pairs, strict=True), units, rng(), resamples=FEW)
    assert kappa.value == pytest.approx(-0.0234, abs=5e-5)
    assert gwet_ac(pairs, units, rng(), resamples=FEW).value == pytest.approx(0.9408, abs=5e-5)
    assert raw_agreement(pairs, units, rng()).value == pytest.approx(118 / 125)
    assert prevalence(pairs) == {"no": 243 / 250, "yes": 7 / 250}


def test_icc_is_that_of_shrout_and_fleiss():
    found = icc(JUDGES, single(6), rng(), resamples=FEW)
    assert found.value == pytest.approx(0.29, abs=0.005)
    # Mean squares printed beside the table: BMS 11.24, JMS 32.49, EMS 1.02.
    bms, jms, ems = 11.24, 32.49, 1.02
    assert found.value == pytest.approx((bms - ems) / (bms + 3 * ems + 4 * (jms - ems) / 6), abs=5e-4)
    moved = icc([[value + 1e6 for value in row] for row in JUDGES], single(6), rng(), resamples=FEW)
    assert moved.value == pytest.approx(found.value, abs=1e-6)


def test_an_icc_that_is_high_can_hide_a_bias_which_bland_altman_shows():
    heights = np.random.default_rng(3).normal(25, 6, size=40)
    second = heights + 1.5 + np.random.default_rng(4).normal(0, 0.3, size=40)
    found = bland_altman(heights, second, single(40), rng(), resamples=500)
    differences = second - heights
    assert found.bias.value == pytest.approx(differences.mean())
    assert found.sd == pytest.approx(differences.std(ddof=1))
    assert found.lower.value == pytest.approx(differences.mean() - 1.959964 * differences.std(ddof=1))
    assert found.upper.low < found.upper.value < found.upper.high
    assert found.bias.low < 1.5 < found.bias.high
    table = np.stack([heights, second], axis=1)
    assert icc(table, single(40), rng(), resamples=FEW).value > 0.9


@pytest.mark.parametrize("weights", ["nominal", "linear", "quadratic"])
def test_cohen_is_that_of_scikit_learn(weights):
    from sklearn.metrics import cohen_kappa_score

    draws = np.random.default_rng(5)
    first = draws.integers(0, 5, 80)
    second = np.clip(first + draws.integers(-1, 2, 80), 0, 4)
    found = cohen_kappa(first, second, single(80), rng(), weights=weights, categories=range(6), resamples=FEW)
    theirs = cohen_kappa_score(first, second, labels=list(range(6)), weights=None if weights == "nominal" else weights)
    assert found.value == pytest.approx(theirs, abs=1e-12)


def test_fleiss_is_that_of_statsmodels():
    from statsmodels.stats.inter_rater import aggregate_raters
    from statsmodels.stats.inter_rater import fleiss_kappa as theirs

    table = np.random.default_rng(6).integers(0, 4, size=(50, 5))
    table[:, 1] = table[:, 0]
    found = fleiss_kappa(table, single(50), rng(), resamples=FEW)
    assert found.value == pytest.approx(theirs(aggregate_raters(table)[0]), abs=1e-12)


def test_weighted_agreement_counts_a_near_miss_for_more():
    scale = ["I", "II", "III", "IV", "V"]
    near = [("I", "II"), ("II", "II"), ("III", "III"), ("IV", "V"), ("V", "V"), ("I", "I")] * 3
    far = [("I", "V"), ("II", "II"), ("III", "III"), ("IV", "I"), ("V", "V"), ("I", "I")] * 3
    units = single(len(near))

    def both(pairs):
        kappa = cohen_kappa(
            *zip(*pairs, strict=True), units, rng(), weights="quadratic", categories=scale, resamples=FEW
        )
        ac2 = gwet_ac(pairs, units, rng(), weights="quadratic", categories=scale, resamples=FEW)
        return kappa.value, ac2.value

    assert all(left > right for left, right in zip(both(near), both(far), strict=True))


def test_ac2_is_its_definition_written_out():
    table = np.random.default_rng(7).integers(0, 4, size=(30, 3)).tolist()
    table[0] = [0, None, None]
    table[1] = [1, 2, None]
    credit = weight_matrix(4, "linear")
    shares, agreeing = np.zeros(4), []
    for row in table:
        rated = [value for value in row if value is not None]
        shares += np.bincount(rated, minlength=4) / len(rated)
        pairs = list(itertools.permutations(rated, 2))
        if pairs:
            agreeing.append(np.mean([credit[left, right] for left, right in pairs]))
    shares /= len(table)
    chance = credit.sum() / 12 * np.sum(shares * (1 - shares))
    found = gwet_ac(table, single(30), rng(), weights="linear", categories=range(4), resamples=FEW)
    assert found.value == pytest.approx((np.mean(agreeing) - chance) / (1 - chance))


tables = st.integers(2, 4).flatmap(
    lambda raters: st.lists(
        st.lists(st.sampled_from(["a", "b", "c", None]), min_size=raters, max_size=raters), min_size=1, max_size=12
    )
)


@settings(max_examples=60, deadline=None)
@given(table=tables, order=st.permutations(["a", "b", "c"]), turn=st.integers(1, 3))
def test_names_of_raters_and_of_categories_do_not_matter(table, order, turn):
    renamed = dict(zip("abc", order, strict=True))
    other = [[renamed.get(row[(place + turn) % len(row)]) for place in range(len(row))] for row in table]
    for coefficient in CATEGORICAL.values():
        one, two = (coefficient(which, single(len(table)), 20) for which in (table, other))
        assert one.reason == two.reason
        assert one.value == pytest.approx(two.value) if one.value is not None else two.value is None
        assert one.value is None or (one.value <= 1 + 1e-9 and math.isfinite(one.value))


@settings(max_examples=40, deadline=None)
@given(
    values=st.lists(st.tuples(st.integers(-50, 50), st.integers(-50, 50)), min_size=2, max_size=15),
    shift=st.integers(-1000, 1000),
)
def test_the_origin_of_a_measurement_does_not_matter(values, shift):
    units = single(len(values))
    moved = [(left + shift, right + shift) for left, right in values]
    for coefficient in (
        lambda table: icc(table, units, rng(), resamples=20),
        lambda table: krippendorff_alpha(table, units, rng(), metric="interval", resamples=20),
    ):
        one, two = coefficient(values), coefficient(moved)
        assert one.reason == two.reason
        assert one.value == pytest.approx(two.value, abs=1e-6) if one.value is not None else two.value is None


@pytest.mark.parametrize("name", CATEGORICAL)
@pytest.mark.parametrize(
    ("table", "reason"),
    [
        ([], "no unit"),
        ([[None, None]], "no unit"),
        ([["a", None], ["b", None]], "one rater"),
        ([["a", None], [None, "b"]], "no overlap"),
    ],
)
def test_no_value_without_two_raters_of_one_unit(name, table, reason):
    found = CATEGORICAL[name](table, single(len(table)), 20)
    assert (found.value, found.low, found.high, found.reason) == (None, None, None, reason)


def test_one_category_leaves_kappa_undefined_and_says_so():
    table = [["a", "a"]] * 8
    for found in (
        cohen_kappa(*zip(*table, strict=True), single(8), rng()),
        fleiss_kappa(table, single(8), rng()),
        krippendorff_alpha(table, single(8), rng()),
        gwet_ac(table, single(8), rng()),
    ):
        assert (found.value, found.reason) == (None, "one category")
    # On a scale that has two categories AC1 knows that nobody guessed; an interval still cannot be had.
    known = gwet_ac(table, single(8), rng(), categories=["a", "b"])
    assert (known.value, known.low, known.reason) == (1.0, None, "same in every resample")


def test_degenerate_measurements_are_named():
    assert icc([[1.0, 1.0]] * 8, single(8), rng()).reason == "no variance"
    assert icc([[1.0, 2.0]], single(1), rng()).reason == "fewer than 2 units"
    assert icc([[1.0, None], [2.0, None]], single(2), rng()).reason == "one rater"
    assert icc([[1.0, 2.0, None], [2.0, None, 1.0]], single(2), rng()).reason == "no overlap"
    assert krippendorff_alpha([[1, 1]] * 8, single(8), rng(), metric="interval").reason == "no variance"
    assert bland_altman([1.0], [2.0], single(1), rng()).reason == "fewer than 2 units"
    same = bland_altman([1.0] * 8, [2.0] * 8, single(8), rng())
    assert (same.bias.value, same.bias.low, same.bias.method) == (1.0, None, "no variance")
    assert (same.lower.value, same.upper.value) == (1.0, 1.0)


def test_an_interval_needs_cases_and_not_only_units():
    table = [["a", "b"], ["a", "a"], ["b", "b"]] * 20
    assert fleiss_kappa(table, Clusters.of(["one"] * 60), rng()).reason == "one cluster"
    assert fleiss_kappa(table, Clusters.of(["one", "two"] * 30), rng()).reason == "fewer than 6 clusters"


def test_a_rare_category_gives_no_interval_rather_than_a_lucky_one():
    table = [["a", "a"]] * 29 + [["b", "b"]]
    found = fleiss_kappa(table, single(30), rng(), resamples=500)
    assert (found.value, found.low) == (1.0, None)
    assert re.fullmatch(r"undefined in \d+ of 500 resamples", found.reason)


def test_units_of_one_case_widen_the_interval():
    draws = np.random.default_rng(8)
    truth = np.repeat(draws.integers(0, 2, 30), 6)
    hard = np.repeat(draws.random(30) < 0.4, 6)
    table = [[int(t), int(1 - t if h else t)] for t, h in zip(truth, hard, strict=True)]
    cases = Clusters.of([str(number // 6) for number in range(180)])
    wide, narrow = (fleiss_kappa(table, units, rng(), resamples=1000) for units in (cases, single(180)))
    assert wide.value == narrow.value
    assert wide.high - wide.low > 1.7 * (narrow.high - narrow.low)


def test_same_seed_same_interval():
    one, two = (gwet_ac(WORKED, single(12), np.random.default_rng(4), resamples=FEW) for _ in range(2))
    assert one == two


@pytest.mark.parametrize("coefficient", ["kappa", "icc"])
def test_intervals_hold_the_truth_as_often_as_they_say(coefficient):
    """Forty cases of three units; the difficulty (or the raters' difference) belongs to the case."""
    draws = np.random.default_rng(9)
    held, trials = 0, 150

    def data(cases):
        if coefficient == "kappa":
            truth = draws.integers(0, 2, size=(cases, 3))
            wrong = draws.random((cases, 1)) * 0.4
            rated = [np.where(draws.random((cases, 3)) < wrong, 1 - truth, truth) for _ in range(2)]
        else:
            truth = draws.normal(0, 2, size=(cases, 1)) + draws.normal(0, 1, size=(cases, 3))
            rated = [truth + draws.normal(0, 0.7, (cases, 1)) + draws.normal(0, 0.7, (cases, 3)) for _ in range(2)]
        return np.stack([column.ravel() for column in rated], axis=1), Clusters.of(
            [str(number // 3) for number in range(3 * cases)]
        )

    def value(table, clusters, resamples):
        if coefficient == "kappa":
            return cohen_kappa(table[:, 0], table[:, 1], clusters, draws, resamples=resamples)
        return icc(table, clusters, draws, resamples=resamples)

    true = value(*data(20_000), 2).value
    for _ in range(trials):
        found = value(*data(40), 300)
        held += found.low <= true <= found.high
    assert 0.88 <= held / trials <= 0.99


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: Ratings.of([["a"], ["a", "b"]]), "one column per rater"),
        (lambda: Ratings.of([["a", "z"]], ["a", "b"]), "not of the scale"),
        (lambda: Ratings.of([["a", 1]]), "no order"),
        (lambda: Ratings.of([["a", "a"]], ["a", "a"]), "twice"),
        (lambda: cohen_kappa([1], [1], single(1), rng(), weights="quadratic"), "need `categories`"),
        (lambda: gwet_ac([[1, 1]], single(1), rng(), weights="linear"), "needs `categories`"),
        (lambda: krippendorff_alpha([[1, 1]], single(1), rng(), metric="ratio"), "none of nominal"),
        (lambda: weight_matrix(3, "cubic"), "none of nominal"),
        (lambda: icc([[1.0, math.inf]], single(1), rng()), "finite"),
        (lambda: fleiss_kappa([[1, 1]], single(2), rng()), "cluster id each"),
    ],
)
def test_inputs_that_cannot_be_meant_are_refused(call, says):
    with pytest.raises(ValueError, match=says):
        call()
