"""Summaries, tests, ranking and matrix on numbers that can be worked out by hand."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from bench.verse.aggregate import FEWEST_PATIENTS, counts_of, scan_means, summarise
from bench.verse.matrix import MatrixConfig, build_matrix, difference_interval
from bench.verse.published import own_values, published_table
from bench.verse.ranking import RankingRules, compare_scores, rank, signed_rank
from bench.verse.records import (
    CaseScore,
    Scores,
    Settings,
    SummaryRow,
    VertebraScore,
    anomalies_of,
    view_of,
    write_scores,
)
from spinemed.anatomy import LEVELS, Level
from spinemed.cli import main
from spinemed.config import load_config
from spinemed.errors import ConfigError, RecordError
from spinemed.statistics import Clusters, mean_interval


def vertebra(case: str, level: Level, dice: float | None, *, patient: str | None = None, **more: Any) -> VertebraScore:
    """A vertebra with that Dice; None is a miss."""
    missed = dice is None
    facts: dict[str, Any] = {
        "case": case,
        "patient": patient or case,
        "level": level,
        "region": level.region,
        "outcome": "missed" if missed else "matched",
        "dice": 0.0 if missed else dice,
        "hd_mm": None if missed else 4.0,
        "hd_penalised_mm": 100.0 if missed else 4.0,
        "identified": not missed,
        "localisation_mm": None if missed else 2.0,
        "localisation_penalised_mm": 1000.0 if missed else 2.0,
    }
    return VertebraScore(**(facts | more))


def scores_of(name: str, vertebrae: Sequence[VertebraScore], *, resamples: int = 200, **settings: Any) -> Scores:
    """Scores as an evaluation would assemble them."""
    grouped: dict[str, list[VertebraScore]] = {}
    for each in vertebrae:
        grouped.setdefault(each.case, []).append(each)
    cases = []
    for case, own in grouped.items():
        levels = tuple(each.level for each in own)
        cases.append(
            CaseScore(case=case, patient=own[0].patient, status="scored", levels=levels, field_of_view=view_of(levels),
                      anomaly=anomalies_of(levels), means=scan_means(own))
        )  # fmt: skip
    return Scores(
        version="0", name=name, settings=Settings(**settings), seed=0, resamples=resamples,
        counts=counts_of(cases, vertebrae),
        summary=summarise(cases, vertebrae, resamples=resamples), cases=tuple(cases), vertebrae=tuple(vertebrae),
    )  # fmt: skip


def dices(name: str, values: Sequence[float | None], *, prefix: str = "s", **more: Any) -> Scores:
    """One scan of one L1 per value."""
    return scores_of(name, [vertebra(f"{prefix}{n:03d}", Level.L1, value) for n, value in enumerate(values)], **more)


def row_of(scores: Scores, by: str, key: str = "all") -> SummaryRow:
    return scores.row(by, key)


# --- aggregation -----------------------------------------------------------------------------------------------------


def test_pooled_and_scan_means_differ_and_misses_count() -> None:
    scores = scores_of(
        "a",
        [vertebra("one", Level.L1, 0.9), vertebra("two", Level.L1, 0.6), vertebra("two", Level.L2, None),
         vertebra("two", Level.T12, 0.3)],
    )  # fmt: skip
    pooled, scan = row_of(scores, "vertebra"), row_of(scores, "scan")
    assert pooled.values["dice"].value == pytest.approx((0.9 + 0.6 + 0 + 0.3) / 4)
    assert scan.values["dice"].value == pytest.approx((0.9 + 0.3) / 2)
    assert pooled.values["dice_matched"].value == pytest.approx(0.6)
    assert (pooled.values["dice_matched"].n, pooled.values["hd_mm"].n, pooled.missed) == (3, 3, 1)
    assert pooled.values["hd_penalised_mm"].value == pytest.approx((3 * 4 + 100) / 4)
    assert row_of(scores, "region", "lumbar").values["dice"].value == pytest.approx(0.5)
    assert row_of(scores, "level", "L1").values["dice"].value == pytest.approx(0.75)
    assert row_of(scores, "field of view", "thoracic + lumbar").scans == 1
    assert [row.key for row in scores.summary if row.by == "level"] == ["T12", "L1", "L2"]


@pytest.mark.parametrize(
    ("levels", "expected"),
    [
        ((Level.T11, Level.T12, Level.L1), ()),
        ((Level.T12, Level.T13, Level.L1), ("T13",)),
        ((Level.L5, Level.L6), ("L6",)),
        ((Level.T11, Level.L1), ("no T12",)),
        ((Level.T10, Level.T11), ()),
        ((Level.T11, Level.L1, Level.L6), ("L6", "no T12")),
    ],
)
def test_anomalies_are_read_off_the_levels(levels: tuple[Level, ...], expected: tuple[str, ...]) -> None:
    assert anomalies_of(levels) == expected


def test_anomalous_spines_have_rows_of_their_own() -> None:
    plain = vertebra("one", Level.L1, 0.8)
    odd = [vertebra("two", level, 0.4, anomaly=("T13", "L6")) for level in (Level.T13, Level.L6)]
    scores = scores_of("a", [plain, *odd])
    assert row_of(scores, "anomaly", "none").vertebrae == 1
    for key in ("any", "T13", "L6"):
        assert row_of(scores, "anomaly", key).vertebrae == 2


def test_intervals_resample_patients_and_need_twenty() -> None:
    rng = np.random.default_rng(0)
    values = rng.uniform(0.5, 1, 40)
    # Twenty patients with two scans each, whose scans agree: half as much is known as 40 scans suggest.
    paired = [vertebra(f"s{n}", Level.L1, float(values[n // 2]), patient=f"p{n // 2}") for n in range(40)]
    alone = [vertebra(f"s{n}", Level.L1, float(values[n // 2])) for n in range(40)]
    few, many = (row_of(scores_of("a", each, resamples=4000), "vertebra").values["dice"] for each in (paired, alone))
    assert (few.clusters, many.clusters) == (20, 40)
    assert few.value == many.value
    assert None not in (few.low, few.high, many.low, many.high)
    assert few.high - few.low > 1.3 * (many.high - many.low)  # type: ignore[operator]
    less = row_of(scores_of("a", paired[:-2]), "vertebra").values["dice"]
    assert (less.low, less.high, less.method) == (None, None, f"fewer than {FEWEST_PATIENTS} patients")


def test_intervals_are_those_of_the_statistics_room() -> None:
    rng = np.random.default_rng(4)
    values = rng.uniform(0.2, 1, 90)
    patients = [f"p{n % 30:02d}" for n in range(90)]
    own = row_of(
        scores_of(
            "a",
            [vertebra(f"s{n}", Level.L1, float(v), patient=patients[n]) for n, v in enumerate(values)],
            resamples=20_000,
        ),
        "vertebra",
    ).values["dice"]
    room = mean_interval(values, Clusters.of(patients), np.random.default_rng(9), resamples=20_000)
    assert own.value == pytest.approx(room.value)
    assert own.low == pytest.approx(room.low, abs=0.003)
    assert own.high == pytest.approx(room.high, abs=0.003)


def test_a_share_of_all_right_has_an_interval_all_the_same() -> None:
    one = row_of(dices("a", [0.9] * 25), "vertebra")
    assert one.values["identified"].value == 1
    assert one.values["identified"].low == pytest.approx(0.867, abs=0.001)  # Wilson, 25 of 25
    assert (one.values["dice"].low, one.values["dice"].method) == (None, "no variance")


def test_an_unusable_reference_is_counted_and_in_no_mean() -> None:
    good = [vertebra("one", Level.L1, 0.9)]
    lost = CaseScore(case="two", patient="two", status="unusable reference")
    case = CaseScore(case="one", patient="one", status="scored", levels=(Level.L1,), means=scan_means(good))
    summary = summarise([case, lost], good)
    assert {row.scans for row in summary} == {1}
    assert counts_of([case, lost], good)["unusable_reference"] == 1


# --- tests and ranking -----------------------------------------------------------------------------------------------


def test_signed_ranks_by_hand() -> None:
    # Ranks of |d|: 1 2 3 4 5; the negative one has rank 2. All 32 sign patterns are equally likely. Negative rank sums
    # of 0, 1 and 2 have one pattern each, and so have the mirrored ones: 6 of 32 are as extreme.
    result = signed_rank([1.0, -2.0, 3.0, 4.0, 5.0])
    assert (result.positive, result.negative, result.n) == (13, 2, 5)
    assert result.p_value == pytest.approx(6 / 32)
    assert signed_rank([0.0, 0.0]).p_value == 1
    # The zero is left out; 1 and -1 share rank 1.5. Negative sums up to 1.5: none, or either tied one; doubled: 6 of 8.
    tied = signed_rank([0.0, 1.0, -1.0, 3.0])
    assert (tied.positive, tied.negative, tied.n, tied.p_value) == (4.5, 1.5, 3, 0.75)


@pytest.mark.parametrize("n", [6, 12, 40])
def test_signed_ranks_agree_with_scipy_where_both_are_exact(n: int) -> None:
    from scipy.stats import wilcoxon

    delta = np.random.default_rng(n).normal(0.3, 1, n)
    assert signed_rank(delta).p_value == pytest.approx(wilcoxon(delta, method="exact").pvalue, rel=1e-9)


def test_signed_ranks_with_ties_count_every_sign_pattern() -> None:
    delta = np.array([1, 1, 2, -2, 3, -1, 2.0])
    ranks = np.array([2, 2, 5, 5, 7, 2, 5.0])
    observed = abs(float((ranks * np.sign(delta)).sum()))
    sums = [abs(float((ranks * signs).sum())) for signs in itertools.product((-1, 1), repeat=7)]
    assert signed_rank(delta).p_value == pytest.approx(np.mean([total >= observed for total in sums]))
    # Rounding noise neither breaks a tie nor makes a difference of nothing.
    assert signed_rank(delta + 1e-16).p_value == signed_rank(delta).p_value


def test_points_by_hand() -> None:
    # a beats b and c in Dice, b beats c in Dice; c beats a in identification. Weights 2 and 1.
    outcomes: list[tuple[str, str, str, str | None]] = [
        ("dice", "a", "b", "a"), ("dice", "a", "c", "a"), ("dice", "b", "c", "b"),
        ("identified", "a", "b", None), ("identified", "a", "c", "c"), ("identified", "b", "c", None),
    ]  # fmt: skip
    first, second, third = rank(("c", "b", "a"), outcomes, {"dice": 2.0, "identified": 1.0})
    assert (first.name, first.rank, first.points) == ("a", 1, {"dice": 1.0, "identified": 0.0})
    assert first.score == pytest.approx(2 * 1 / 3)
    assert (second.name, second.score) == ("b", pytest.approx(2 * 0.5 / 3))
    assert (third.name, third.score) == ("c", pytest.approx(0.5 / 3))
    tied = rank(
        ("a", "b", "c"), [("dice", "a", "b", None), ("dice", "a", "c", "a"), ("dice", "b", "c", "b")], {"dice": 1}
    )
    assert [(one.name, one.rank) for one in tied] == [("a", 1), ("b", 1), ("c", 3)]


def test_comparison_corrects_by_holm_over_all_tests_and_finds_the_better() -> None:
    rng = np.random.default_rng(0)
    base = rng.uniform(0.5, 0.8, 12)
    entries = {
        "low": dices("low", base.tolist()),
        "same": dices("same", (base + rng.normal(0, 0.02, 12)).tolist()),
        "high": dices("high", (base + rng.uniform(0.05, 0.15, 12)).tolist()),
    }
    found = compare_scores(entries, RankingRules(weights={"dice": 1.0}))
    raw = {(test.first, test.second): test.wilcoxon_p for test in found.tests}
    assert raw["low", "high"] == pytest.approx(2 / 2**12)  # all twelve differences one way
    ordered = sorted(raw.values())
    by_hand = [3 * ordered[0], max(3 * ordered[0], 2 * ordered[1])]
    by_hand.append(max(by_hand[-1], ordered[2]))
    assert sorted(test.corrected_p for test in found.tests) == pytest.approx([min(1.0, p) for p in by_hand])
    assert [(one.name, one.rank) for one in found.ranking] == [("high", 1), ("low", 2), ("same", 2)]
    assert found.ranking[0].score == 1
    assert "does not claim to reproduce" in found.note


def test_lower_is_better_for_distances() -> None:
    near, far = (
        [vertebra(f"s{n}", Level.L1, 0.9, hd_mm=mm, hd_penalised_mm=mm + n / 9) for n in range(8)] for mm in (2.0, 9.0)
    )
    found = compare_scores(
        {"far": scores_of("far", far), "near": scores_of("near", near)}, RankingRules(weights={"hd_penalised_mm": 1.0})
    )
    assert found.tests[0].difference == pytest.approx(7)
    assert found.tests[0].winner == "near"


def test_patients_can_be_the_unit() -> None:
    left = [vertebra(f"s{n}", Level.L1, 0.6 + n / 100, patient=f"p{n // 2}") for n in range(12)]
    right = [vertebra(f"s{n}", Level.L1, 0.5 + n / 90, patient=f"p{n // 2}") for n in range(12)]
    entries = {"a": scores_of("a", left), "b": scores_of("b", right)}
    by_scan = compare_scores(entries, RankingRules(weights={"dice": 1.0})).tests[0]
    by_patient = compare_scores(entries, RankingRules(weights={"dice": 1.0}, unit="patient")).tests[0]
    assert (by_scan.n, by_patient.n, by_scan.patients) == (12, 6, 6)
    assert by_patient.wilcoxon_p == pytest.approx(2 / 2**6)
    # Kept together by patient, the scans cannot reach a smaller p than their patients can.
    assert by_scan.wilcoxon_p < by_patient.wilcoxon_p <= by_scan.sign_flip_p + 0.01


def test_what_cannot_be_compared_is_refused() -> None:
    one = dices("one", [0.5, 0.6])
    with pytest.raises(RecordError, match="not scored on the same scans, e.g. s002"):
        compare_scores({"one": one, "two": dices("two", [0.5, 0.6, 0.7])})
    with pytest.raises(RecordError, match="other settings .tolerance_mm"):
        compare_scores({"one": one, "two": dices("two", [0.5, 0.6], tolerance_mm=3.0)})
    with pytest.raises(RecordError, match="'none' holds no scored vertebra"):
        compare_scores({"one": one, "none": scores_of("none", [])})
    with pytest.raises(RecordError, match="two or more"):
        compare_scores({"one": one})
    with pytest.raises(RecordError, match="cannot rank"):
        compare_scores({"one": one, "two": one}, RankingRules(weights={"assd_mm": 1.0}))


# --- matrix ----------------------------------------------------------------------------------------------------------


def matrix_files(folder: Path, patients: int = 24) -> Path:
    """Two algorithms on two data sets of different patients; each loses 0.2 Dice away from home."""
    rng = np.random.default_rng(3)
    for algorithm, data_set, mean in (("x", "one", 0.9), ("x", "two", 0.7), ("y", "one", 0.6), ("y", "two", 0.8)):
        values = (mean + rng.normal(0, 0.02, patients)).tolist()
        made = [
            vertebra(f"{data_set}{n:03d}", Level.L1, value, hd_penalised_mm=10 * (1 - value))
            for n, value in enumerate(values)
        ]
        write_scores(folder / f"{algorithm}-{data_set}" / "scores.json", scores_of(algorithm, made))
    config = folder / "matrix.yaml"
    config.write_text(
        "title: Across\ndata_sets: [one, two]\nresamples: 2000\nmetrics: [dice, hd_penalised_mm]\nalgorithms:\n"
        "  - {name: x, trained_on: one, scores: {one: x-one, two: x-two/scores.json}}\n"
        "  - {name: y, trained_on: two, scores: {one: y-one, two: y-two}}\n"
    )
    return config


def test_matrix_gives_cells_drops_and_gaps(tmp_path: Path) -> None:
    matrix = build_matrix(load_config(matrix_files(tmp_path), MatrixConfig))
    assert {(cell.algorithm, cell.tested_on): round(cell.values["dice"].value or 0, 1) for cell in matrix.cells} == {
        ("x", "one"): 0.9, ("x", "two"): 0.7, ("y", "one"): 0.6, ("y", "two"): 0.8,
    }  # fmt: skip
    for drop in (one for one in matrix.drops if one.metric == "dice"):
        assert drop.pairing == "unpaired"
        assert drop.patients == (24, 24)
        assert drop.drop == pytest.approx(0.2, abs=0.03)
        assert drop.low is not None
        assert drop.high is not None
        assert 0.15 < drop.low < drop.drop < drop.high < 0.25
    # Lower is better in millimetres, and a drop is a loss all the same.
    for drop in (one for one in matrix.drops if one.metric == "hd_penalised_mm"):
        assert drop.away_value > drop.home_value
        assert drop.drop == pytest.approx(2, abs=0.3)
        assert drop.low is not None
        assert drop.high is not None
        assert drop.low < drop.drop < drop.high
    gaps = {(gap.data_set, gap.native): gap for gap in matrix.gaps if gap.metric == "dice"}
    assert gaps["one", "x"].advantage == pytest.approx(0.3, abs=0.03)
    assert gaps["two", "y"].advantage == pytest.approx(0.1, abs=0.03)
    assert gaps["one", "x"].patients == 24
    distances = {gap.data_set: gap for gap in matrix.gaps if gap.metric == "hd_penalised_mm"}
    assert distances["one"].advantage == pytest.approx(3, abs=0.3)


def test_pairing_is_found_and_narrows_the_interval() -> None:
    rng = np.random.default_rng(0)
    patients = [f"p{n}" for n in range(30)]
    first = rng.uniform(0, 1, 30)
    second = first - 0.1 + rng.normal(0, 0.01, 30)
    widths = {}
    strangers = [f"q{n}" for n in range(30)]
    for others in (patients, strangers, [*patients[:15], *strangers[15:]]):
        low, high, pairing, _ = difference_interval(
            first.tolist(), patients, second.tolist(), others, np.random.default_rng(1), resamples=2000
        )
        assert low is not None
        assert high is not None
        assert low < first.mean() - second.mean() < high
        widths[pairing] = high - low
    assert list(widths) == ["paired by patient", "unpaired", "joint draw"]
    assert widths["paired by patient"] < 0.1 * widths["unpaired"]
    assert widths["paired by patient"] < widths["joint draw"] < widths["unpaired"]


def test_unpaired_intervals_cover_the_truth() -> None:
    rng = np.random.default_rng(5)
    hits = 0
    for trial in range(200):
        left, right = rng.normal(0.8, 0.1, 25), rng.normal(0.7, 0.2, 40)
        low, high, _, _ = difference_interval(
            left.tolist(), [f"a{n}" for n in range(25)], right.tolist(), [f"b{n}" for n in range(40)],
            np.random.default_rng(trial), resamples=400,
        )  # fmt: skip
        assert low is not None
        assert high is not None
        hits += low <= 0.1 <= high
    assert hits >= 182  # 95 % of 200 less 2.6 standard deviations


def test_few_patients_give_no_interval_and_the_page_says_so(tmp_path: Path) -> None:
    config = matrix_files(tmp_path, patients=6)
    with pytest.raises(SystemExit) as stopped:
        main(["verse", "matrix", str(config), "--out", str(tmp_path / "out"), "--set", "seed=4"])
    assert not stopped.value.code
    stored = json.loads((tmp_path / "out" / "matrix.json").read_bytes())
    assert stored["seed"] == 4
    assert {drop["low"] for drop in stored["drops"]} == {None}
    page = (tmp_path / "out" / "matrix.html").read_text()
    assert "fewer than 20 patients in one of the two" in page
    assert "Across" in page
    assert (tmp_path / "out" / "matrix.png").read_bytes().startswith(b"\x89PNG")


def test_a_wrong_matrix_config_is_refused_by_line(tmp_path: Path) -> None:
    config = matrix_files(tmp_path)
    text = config.read_text()
    for wrong, words in (
        (text.replace("trained_on: one", "traind_on: one"), "did you mean 'trained_on'"),
        (text.replace("metrics: [dice", "metrics: [dise"), "'dise' is no quantity"),
        (text.replace("scores: {one: y-one", "scores: {three: y-one"), "none of data_sets"),
    ):
        config.write_text(wrong)
        with pytest.raises(ConfigError, match=words):
            load_config(config, MatrixConfig)
    config.write_text(text)
    write_scores(tmp_path / "y-one" / "scores.json", dices("y", [0.5] * 3, prefix="one"))
    with pytest.raises(ConfigError, match="other scans of 'one'"):
        build_matrix(load_config(config, MatrixConfig))


# --- published -------------------------------------------------------------------------------------------------------


def test_the_published_table_is_complete_and_named_by_its_source() -> None:
    table = published_table()
    assert table.doi == "10.5220/0008975201240133"
    assert len(table.rows) == 11
    best = table.rows[0]
    assert (best.team, best.score) == ("Payer C.", 0.691)
    assert (best.hidden.id_percent, best.hidden.d_mm, best.hidden.dice, best.hidden.hd_mm) == (94.25, 4.80, 0.898, 7.34)
    assert table.rows[9].public.id_percent is None  # Brown took no part in labelling
    assert "never published" in table.note
    with pytest.raises(ValidationError):
        table.rows[0].score = 1.0  # type: ignore[misc]


def test_own_values_stand_in_the_published_units() -> None:
    own = own_values(dices("a", [0.9, None]))
    assert (own.id_percent, own.d_mm, own.dice, own.hd_mm) == (50, 501, 0.45, 52)


def test_levels_keep_their_order_in_a_summary() -> None:
    some = [level for level in LEVELS if level.region.value in ("thoracic", "lumbar")]
    scores = scores_of("a", [vertebra("one", level, 0.5) for level in reversed(some)])
    assert [row.key for row in scores.summary if row.by == "level"] == [level.value for level in some]
    assert [row.key for row in scores.summary if row.by == "region"] == ["thoracic", "lumbar"]
