"""Answerers whose scores theory gives: perfect, random, always B, blind, one level off; and metrics of confidence."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from bench.spinebench.abstention import abstention_rates
from bench.spinebench.brier import brier_score
from bench.spinebench.calibration import calibration_bins, calibration_error
from bench.spinebench.confidence import summarise_confidence
from bench.spinebench.distance import chance_level, level_distance
from bench.spinebench.kinds import kind_confusion
from bench.spinebench.published import check_row, published_spinebench
from bench.spinebench.risk_coverage import accuracy_at_coverage, risk_coverage
from bench.spinebench.safety import confident_wrong
from bench.spinebench.score import judge
from bench.spinebench.summary import summarise
from bench.spinebench.total import item_weighted_total, plain_mean
from spinemed.anatomy import REGULAR, Level
from spinemed.records import NOT_DETERMINABLE, Message, Option, Prediction, Sample, Score

LEVELS = [Level(name) for name in ("T11", "T12", "L1", "L2", "L3", "L4", "L5")]


def ask(name: str, answer: str, kind: str, cluster: str, **more: Any) -> Sample:
    facts: dict[str, Any] = {"axis": "level_identification", "task": "level", "origin": "phantom"} | more
    return Sample(
        id=name, messages=(Message(role="user", content="?"),), images=(), answer=answer, answer_kind=kind,
        cluster=cluster, source_id="s", **facts,
    )  # fmt: skip


def questions(spines: int) -> list[Sample]:
    """Two level questions and two of four options for each spine; truths are balanced over the spines."""
    made = []
    options = tuple(Option(key=key, text=f"finding {key}") for key in "ABCD")
    for spine in range(spines):
        cluster = f"p{spine:04d}"
        for part in range(2):
            level = LEVELS[(spine + 3 * part) % len(LEVELS)]
            made.append(ask(f"{cluster}-l{part}", str(level), "level", cluster))
            made.append(
                ask(
                    f"{cluster}-o{part}", "ABCD"[(spine + part) % 4], "option", cluster, options=options,
                    axis="pathology", task="multiple_choice",
                )
            )  # fmt: skip
    return sorted(made, key=lambda sample: sample.id)


def said(sample: Sample, text: str, outcome: str = "answered") -> Prediction:
    return Prediction(
        sample_id=sample.id, model="m", condition="full", outcome=outcome,  # type: ignore[arg-type]
        text=text if outcome == "answered" else "", request_sha256="0" * 64,
    )  # fmt: skip


def scored(samples: list[Sample], texts: list[str]) -> list[Score]:
    return [judge(sample, said(sample, text)) for sample, text in zip(samples, texts, strict=True)]


def test_answerers_land_where_theory_says() -> None:
    samples = questions(140)
    rng = np.random.default_rng(2)

    def guess(sample: Sample) -> str:
        return str(rng.choice([str(level) for level in LEVELS] if sample.answer_kind == "level" else list("ABCD")))

    def beside(sample: Sample) -> str:
        if sample.answer_kind == "option":
            return "ABCD"[("ABCD".index(sample.answer) + 1) % 4]
        return str(REGULAR.shift(Level(sample.answer), 1))

    texts = {
        "perfect": [sample.answer for sample in samples],
        "random": [guess(sample) for sample in samples],
        "always B": ["L1" if sample.answer_kind == "level" else "B" for sample in samples],
        "blind": ["The picture was withheld." for _ in samples],
        "one off": [beside(sample) for sample in samples],
    }
    scores = {name: scored(samples, said) for name, said in texts.items()}
    summary = summarise(samples, scores, subject="perfect", seed=0, resamples=800)
    rows = {row["key"]: row for row in summary["rows"]}
    level, option = rows["level_identification/text/phantom"], rows["pathology/text/phantom"]
    for row, chance in ((level, 1 / 7), (option, 1 / 4)):
        own = row["systems"]
        assert own["perfect"]["value"] == own["perfect"]["high"] == 1
        assert 0.95 < own["perfect"]["low"] < 1  # never certain
        assert own["random"]["low"] < chance < own["random"]["high"]
        assert own["always B"]["value"] == pytest.approx(chance)
        assert (own["blind"]["value"], own["blind"]["unparsed"]) == (0, row["n"])
        assert own["one off"]["value"] == 0
        ranks = row["ranks"]
        assert ranks["perfect"] == {"rank": 1, "low": 1, "high": 1, "best": 1}
        assert ranks["blind"]["rank"] == ranks["one off"]["rank"] == 4
        assert {ranks[name]["high"] for name in ("random", "always B")} == {3}
    found = summary["levels"]["level/text/phantom"]
    assert found["one off"]["within_one"]["value"] == 1
    assert found["one off"]["distance"] == {
        "mean_levels": 1, "signed_mean_levels": 1, "n": level["n"], "without": 0,
    }  # fmt: skip
    assert found["one off"]["region"]["value"] == pytest.approx(5 / 7)  # T12 becomes L1, L5 becomes S1
    assert found["perfect"]["chance"]["frequencies"] == pytest.approx(1 / 7)
    assert found["blind"]["distance"]["without"] == level["n"]
    differences = {one["reference"]: one for one in summary["comparisons"] if one["row"] == option["key"]}
    assert all(one["low"] > 0 and one["p_holm"] < 0.001 for one in differences.values())
    assert [row["paired_gap"] for row in option["power"]] == sorted(row["paired_gap"] for row in option["power"])
    assert summary["total"]["always B"]["value"] == pytest.approx(100 * (1 / 7 + 1 / 4) / 2)


def test_no_interval_and_no_rank_interval_below_twenty_spines() -> None:
    samples = questions(19)
    summary = summarise(samples, {"a": scored(samples, ["L3"] * len(samples))}, subject=None, seed=0, resamples=100)
    for row in summary["rows"]:
        own = row["systems"]["a"]
        assert (own["low"], own["high"], own["method"]) == (None, None, "fewer than 20 clusters")
        assert row["ranks"]["a"]["low"] is None


def test_requests_that_failed_are_left_out_and_shown_and_too_many_bar_from_ranks() -> None:
    samples = questions(50)
    kept = scored(samples, [sample.answer for sample in samples])
    lost = [judge(sample, said(sample, "", "api_error")) for sample in samples]
    cut = [judge(sample, said(sample, "", "truncated")) for sample in samples]
    few = [lost[place] if place < 3 else kept[place] for place in range(len(samples))]
    many = [lost[place] if place % 2 else kept[place] for place in range(len(samples))]
    summary = summarise(
        samples, {"few": few, "many": many, "cut": cut}, subject="few", seed=0, resamples=100
    )  # fmt: skip
    row = summary["rows"][0]
    assert row["systems"]["few"]["value"] == row["systems"]["many"]["value"] == 1
    assert row["systems"]["few"]["api_error"] == 2
    assert row["systems"]["few"]["n"] == row["n"] - 2
    assert (row["systems"]["few"]["rankable"], row["systems"]["many"]["rankable"]) == (True, False)
    assert set(row["ranks"]) == {"few", "cut"}
    assert (row["systems"]["cut"]["value"], row["systems"]["cut"]["truncated"]) == (0, row["n"])
    paired = next(one for one in summary["comparisons"] if one["row"] == row["key"] and one["reference"] == "cut")
    assert paired["n"] == row["n"] - 2


# --- confidence ---


def test_risk_falls_with_confidence_and_ties_enter_together() -> None:
    correct = [True, True, False, True, False]
    curve = risk_coverage(correct, [True] * 5, [0.9, 0.9, 0.9, 0.5, 0.1])
    assert curve.coverage.tolist() == [0.6, 0.8, 1.0]
    assert curve.risk.tolist() == pytest.approx([1 / 3, 1 / 4, 2 / 5])
    assert accuracy_at_coverage(curve, 0.7) == pytest.approx(3 / 4)
    assert accuracy_at_coverage(curve) == pytest.approx(3 / 5)
    silent = risk_coverage(correct, [True, False, False, False, False], [math.nan] * 5)
    assert (silent.reached, silent.area) == (0.2, 0.0)
    assert accuracy_at_coverage(silent) is None
    assert risk_coverage([], [], []).area is None
    assert risk_coverage(correct, [False] * 5, [0.5] * 5).reached == 0


def test_brier_and_calibration_of_known_answerers() -> None:
    assert brier_score([1, 0], [0.5, 0.5]) == 0.25
    assert brier_score([1, 0], [0.0, 1.0]) == 1
    assert brier_score([1], [math.nan]) is None
    with pytest.raises(ValueError, match="between 0 and 1"):
        brier_score([1], [1.2])
    rng = np.random.default_rng(0)
    sure = rng.random(20_000)
    assert calibration_error(rng.random(20_000) < sure, sure) < 0.02
    assert calibration_error(np.zeros(100), np.full(100, 0.9)) == pytest.approx(0.9)
    bins = calibration_bins([1, 0, 1, 1], [0.9, 0.9, 0.9, 0.2], bins=2)
    assert [one.n for one in bins] == [1, 3]  # equal confidences are never parted
    assert calibration_error([1], [math.nan]) is None


def test_false_answers_needless_refusals_and_the_confident_wrong_level() -> None:
    decidable = [ask(f"d{n}", "L3", "level", f"p{n}") for n in range(4)]
    undecidable = [ask(f"u{n}", NOT_DETERMINABLE, "level", f"q{n}") for n in range(2)]
    samples = [*decidable, *undecidable]
    texts = [
        "L3 (confidence: 90%)",
        "L4 (confidence: 90%)",
        "L4 (confidence: 30%)",
        "cannot be determined",
        "L3",
        "not determinable",
    ]
    scores = scored(samples, texts)
    rates = abstention_rates(samples, scores)
    assert (rates.false_answer, rates.needless_refusal) == (0.5, 0.25)
    safety = confident_wrong(samples, scores)
    # L4 at 90 %, and L3 without a confidence where nothing can be told; L4 at 30 % warned its reader.
    assert (safety.n, safety.confident, safety.wrong_any) == (6, pytest.approx(2 / 6), pytest.approx(3 / 6))
    found = summarise_confidence(samples, scores)
    assert found["stated"] == 3
    assert found["reached"] == pytest.approx(5 / 6)
    assert found["accuracy_at_90"] is None
    assert found["brier"] == pytest.approx((0.01 + 0.81 + 0.09) / 3)
    assert abstention_rates([], []).false_answer is None


def test_a_side_among_options_counts_for_safety_and_a_finding_does_not() -> None:
    sides = tuple(Option(key=key, text=text) for key, text in zip("ABC", ("left", "right", "not determinable")))
    side = ask("s", "C", "option", "p", options=sides, axis="pathology")
    finding = ask("f", "fracture", "category", "p", categories=("fracture", "none"), axis="pathology")
    scores = scored([side, finding], ["B", "none"])
    assert confident_wrong([side, finding], scores).confident == 1
    sided = ask("t", "A", "option", "p", options=sides, axis="pathology")
    assert confident_wrong([sided], scored([sided], ["C"])).wrong_any == 0


# --- levels ---


def test_distance_needs_a_distance_and_chance_is_exact() -> None:
    samples = [ask(f"q{n}", level, "level", "p") for n, level in enumerate(("T12", "L1", "L1", "L1"))]
    scores = scored(samples, ["L2", "T12", "what?", "L1"])
    distance = level_distance(scores)
    assert (distance.mean_levels, distance.signed_mean_levels, distance.n, distance.without) == (1, 1 / 3, 3, 1)
    assert chance_level(samples).frequencies == pytest.approx((1 + 9) / 16)
    assert chance_level(samples).majority == 0.75
    assert chance_level([]).majority is None
    assert level_distance([]).mean_levels is None


def test_a_disc_for_a_vertebra_is_counted_and_stays_unparsed() -> None:
    vertebra, disc = ask("v", "L4", "level", "p"), ask("d", "L4/5", "disc", "p")
    replies = [
        (vertebra, "L4/5", "unparsed"),
        (vertebra, "L1/2", "unparsed"),
        (vertebra, "I see nothing", "unparsed"),
        (disc, "L5 vertebra", "unparsed"),
        (disc, "L4/5", "parsed"),
    ]
    triples = [(sample, said(sample, text), judge(sample, said(sample, text))) for sample, text, _ in replies]
    assert [score.outcome for _, _, score in triples] == [outcome for _, _, outcome in replies]
    found = kind_confusion(triples)
    assert (found.disc_for_vertebra, found.disc_for_vertebra_holds) == (2, 1)
    assert (found.vertebra_for_disc, found.vertebra_for_disc_holds) == (1, 1)


# --- published figures ---


def test_the_published_totals_follow_from_the_counts_except_where_named() -> None:
    main, ablation = published_spinebench().tables
    checks = {row.name: check_row(row) for row in main.rows}
    printed = {row.name: row.values["total"] for row in main.rows}
    assert {name for name, check in checks.items() if check.faults} == {
        "GPT5", "Medgemma-27B", "Qwen2.5-VL-7B", "SpineGPT",
    }  # fmt: skip
    for name in ("Gemini-2.5-Pro", "GPT5-mini", "GPT5", "GLM-4.5V", "Qwen2.5-VL-72B", "SpineGPT"):
        assert checks[name].total == pytest.approx(printed[name], abs=0.015)
    assert checks["Medgemma-27B"].total == pytest.approx(80.49, abs=0.005)
    assert "plain mean" in checks["Qwen2.5-VL-7B"].faults[0]
    assert checks["SpineGPT"].qa == pytest.approx(87.47, abs=0.005)  # printed as 87.89
    assert {row.name for row in ablation.rows if check_row(row).faults} == {
        "general medical only", "spine subset only", "full curriculum",
    }  # fmt: skip
    assert "but one of 294 (text)" in check_row(ablation.rows[1]).faults[0]


def test_a_total_needs_all_its_sections() -> None:
    items = {"text": 294, "image": 193, "report": 87}
    whole = item_weighted_total({"text": 89.46, "image": 84.46, "report": 87.24}, items)
    assert whole == pytest.approx(87.44, abs=0.01)
    assert item_weighted_total({"text": 89.46, "image": None, "report": 87.24}, items) is None
    assert item_weighted_total({"text": 50.0, "image": None}, {"text": 3, "image": 0}) == 50
    assert item_weighted_total({}, {}) is None
    with pytest.raises(ValueError, match="between 0 and 100"):
        item_weighted_total({"text": 120.0}, {"text": 1})
    assert plain_mean({"text": 50.0, "image": None}) is None
