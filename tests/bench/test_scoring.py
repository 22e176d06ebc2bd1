"""Scores that can be checked by hand, and files that never lose a question."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.runner import MajorityAnswerer, RandomAnswerer, Reply, ScriptedAnswerer, predict_samples
from bench.samples import read_samples
from bench.spinebench import judge, score_predictions
from bench.spinebench.confusion import anatomical, confusion_matrix
from bench.spinebench.rows import table_rows
from spinemed.errors import ReadError, RecordError
from spinemed.records import Message, Prediction, Sample, Score
from spinemed.statistics import Clusters, wilson_interval
from spinemed.tables import read_jsonl

Make = Callable[..., Any]


def ask(answer: str, kind: str = "level", **more: Any) -> Sample:
    return Sample(
        id=more.pop("id", "q"),
        axis="level_identification",
        task="level",
        messages=(Message(role="user", content="?"),),
        images=(),
        answer=answer,
        answer_kind=kind,  # type: ignore[arg-type]
        cluster=more.pop("cluster", "p"),
        origin="phantom",
        source_id="s",
        **more,
    )


def said(text: str, sample: Sample, outcome: str = "answered") -> Score:
    return judge(
        sample,
        Prediction(
            sample_id=sample.id,
            model="m",
            condition="full",
            outcome=outcome,  # type: ignore[arg-type]
            text=text,
            request_sha256="0" * 64,
        ),
    )


# --- one question ---


@pytest.mark.parametrize(
    ("truth", "reply", "tags", "correct", "within_one", "region", "offset"),
    [
        ("L3", "L3", (), True, True, True, 0),
        ("L3", "L4", (), False, True, True, 1),
        ("L3", "L1", (), False, False, True, -2),
        ("T12", "L1", (), False, True, False, 1),
        ("T12", "L1", ("spine:13T5L",), False, False, False, 2),
        ("T11", "L1", ("spine:11T5L",), False, True, False, 1),
        ("T13", "L1", (), False, True, False, 1),
        ("L5", "S1", ("spine:12T6L",), False, False, False, 2),
        ("L6", "L5", (), False, True, True, -1),
        ("C2", "S1", (), False, False, False, 23),
        ("L3", "T13", (), False, False, False, None),
        ("L3", "not determinable", (), False, False, False, None),
        ("L3", "no idea", (), False, False, False, None),
        ("not determinable", "not determinable", (), True, None, None, None),
        ("not determinable", "L3", (), False, None, None, None),
    ],
)
def test_a_level_is_scored_in_the_patients_own_column(
    truth: str, reply: str, tags: tuple[str, ...], correct: bool, within_one: bool, region: bool, offset: int | None
) -> None:
    score = said(reply, ask(truth, tags=tags))
    assert (score.correct, score.within_one, score.region_correct, score.offset_levels) == (
        correct,
        within_one,
        region,
        offset,
    )


def test_discs_are_measured_against_discs() -> None:
    score = said("L5/S1", ask("L4/5", "disc"))
    assert (score.correct, score.within_one, score.region_correct, score.offset_levels) == (False, True, True, 1)
    assert said("L4", ask("L4/5", "disc")).outcome == "unparsed"
    for own in ("L6/S1", "T13/L1", "L4/S1", "T11/L1"):  # a right answer is always within one
        score = said(own, ask(own, "disc"))
        assert (score.correct, score.within_one, score.offset_levels) == (True, True, 0)


@pytest.mark.parametrize("outcome", ["refused", "timed_out", "failed"])
def test_what_was_not_answered_is_wrong_and_says_why(outcome: str) -> None:
    score = said("L3", ask("L3"), outcome)
    assert (score.outcome, score.parsed, score.correct, score.within_one) == (outcome, None, False, False)


def test_other_kinds_have_no_neighbours() -> None:
    score = said("wedge", ask("wedge", "category", categories=("none", "wedge")))
    assert (score.correct, score.within_one, score.region_correct) == (True, None, None)


# --- many questions ---


def test_confusion_is_in_anatomical_order_and_rows_add_up() -> None:
    assert anatomical({"L1", "T13", "T2", "T12", "not determinable", "C7"}) == [
        "C7",
        "T2",
        "T12",
        "T13",
        "L1",
        "not determinable",
    ]
    pairs = [(ask(truth), said(reply, ask(truth))) for truth, reply in (("L1", "T12"), ("L1", "L1"), ("T12", "what?"))]
    matrix = confusion_matrix(pairs)
    assert matrix == {
        "truth": ["T12", "L1"],
        "answers": ["T12", "L1", "no answer"],
        "counts": [[0, 0, 1], [1, 1, 0]],
    }


def test_every_question_stands_in_exactly_one_finest_row(samples_folder: Path) -> None:
    samples, _ = read_samples(samples_folder)
    rows = table_rows(samples)
    finest = [place for row in rows if not row.whole_axis for place in row.members]
    assert sorted(finest) == list(range(len(samples)))
    assert [row.key for row in rows] == [
        "level_identification/image/phantom",
        "pathology",
        "pathology/image/phantom",
        "pathology/text/real",
        "surgical_planning/text/phantom",
    ]


@pytest.fixture(scope="module")
def answered(samples_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Predictions of five systems: `after` right on 3 of 4 spines, `before` in prose that is often unreadable."""
    folder = tmp_path_factory.mktemp("answered")
    samples, _ = read_samples(samples_folder)
    after, before, blind = {}, {}, {}
    for number, sample in enumerate(samples):
        spine = int(sample.cluster.rsplit("-", 1)[1])
        wrong = {"level": "T10" if sample.answer != "T10" else "T11", "levels": "L1-L3", "option": "D"}
        wrong["category"] = "none" if sample.answer != "none" else "wedge"
        after[sample.id] = sample.answer if spine % 4 else wrong[sample.answer_kind]
        before[sample.id] = "I see a spine." if number % 2 else (sample.answer if spine % 5 == 0 else "L1")
        blind[sample.id] = "L1" if sample.images else after[sample.id]
    first = samples[0].id
    before[first] = Reply(outcome="timed_out", detail="after 60 s")
    for name, script, model, condition in (
        ("before", before, "base", "full"),
        ("after", after, "tuned", "full"),
        ("blind", blind, "tuned", "blind"),
    ):
        answerer = ScriptedAnswerer(script, name=model)
        predict_samples(samples_folder, answerer, folder / name, name=name, condition=condition)  # type: ignore[arg-type]
    predict_samples(samples_folder, MajorityAnswerer(samples), folder / "majority", name="majority")
    predict_samples(samples_folder, RandomAnswerer(samples, seed=0), folder / "random", name="random")
    return folder


SYSTEMS = ("before", "after", "blind", "majority", "random")


def score_all(samples: Path, answered: Path, out: Path, **options: Any) -> dict[str, Any]:
    return score_predictions(samples, [answered / name for name in SYSTEMS], out, resamples=500, **options)


def test_the_summary_holds_what_the_replies_were(samples_folder: Path, answered: Path, tmp_path: Path) -> None:
    summary = score_all(samples_folder, answered, tmp_path / "scores")
    assert json.loads((tmp_path / "scores" / "summary.json").read_text()) == summary
    assert summary["subject"] == "after"
    assert {system["name"]: system["role"] for system in summary["systems"]} == {
        "before": "base",
        "after": "subject",
        "blind": "blind",
        "majority": "majority",
        "random": "random",
    }
    rows = {row["key"]: row for row in summary["rows"]}
    level = rows["level_identification/image/phantom"]
    assert (level["n"], level["clusters"]) == (40, 40)
    after = level["systems"]["after"]
    assert (after["correct"], after["value"], after["method"]) == (30, 0.75, "wilson")
    assert (after["low"], after["high"]) == wilson_interval(30, 40)
    before = level["systems"]["before"]
    assert before["unparsed"] + before["timed_out"] > 0
    assert before["unparsed_share"] == before["unparsed"] / 40
    assert level["systems"]["majority"]["correct"] == 5
    pathology = rows["pathology"]
    assert (pathology["n"], pathology["clusters"], pathology["origin"]) == (60, 40, "phantom + real")
    assert pathology["systems"]["after"]["method"] == "cluster bootstrap"

    scores = list(read_jsonl(tmp_path / "scores" / "scores.jsonl", Score))
    assert len(scores) == 5 * 120
    right = sum(score.correct for score in scores if (score.model, score.condition) == ("tuned", "full"))
    assert right == sum(row["systems"]["after"]["correct"] for row in summary["rows"] if not row["whole_axis"])


def test_comparisons_are_paired_corrected_and_restricted(samples_folder: Path, answered: Path, tmp_path: Path) -> None:
    summary = score_all(samples_folder, answered, tmp_path / "scores")
    found = {(one["row"], one["reference"]): one for one in summary["comparisons"]}
    text_rows = [row["key"] for row in summary["rows"] if row["modality"] == "text"]
    assert len(text_rows) == 2
    assert len(found) == 4 * len(summary["rows"]) - len(text_rows)
    assert not any((key, "blind") in found for key in text_rows)  # the same question: no test is spent on it
    majority = found["level_identification/image/phantom", "majority"]
    assert majority["difference"] == pytest.approx((30 - 5) / 40)
    assert majority["low"] > 0
    assert majority["p_value"] == pytest.approx(majority["mcnemar_p"])
    assert majority["p_holm"] >= majority["p_value"]
    base = found["level_identification/image/phantom", "before"]
    read = base["on_reference_parsed"]
    assert read["n"] < base["n"]
    assert read["n"] + summary["rows"][0]["systems"]["before"]["unparsed"] + 1 >= 40
    assert read["difference"] == pytest.approx(read["subject_accuracy"] - read["reference_accuracy"])


def test_level_measures(samples_folder: Path, answered: Path, tmp_path: Path) -> None:
    levels = score_all(samples_folder, answered, tmp_path / "scores")["levels"]["level/image/phantom"]["after"]
    assert (levels["n"], levels["distinct_levels"]) == (40, 8)
    assert sum(levels["offsets"].values()) == 40
    assert levels["offsets"]["0"] == 30
    assert [row["level"] for row in levels["per_level"]] == ["T10", "T11", "T12", "L1", "L2", "L3", "L4", "L5"]
    assert sum(map(sum, levels["confusion"]["counts"])) == 40
    shares = [row["value"] for row in levels["per_level"]]
    assert levels["macro"]["value"] == pytest.approx(sum(shares) / 8)
    assert levels["within_one"]["value"] >= levels["exact"]["value"]


def test_scoring_again_gives_the_same_bytes_wherever_it_runs(
    samples_folder: Path, answered: Path, tmp_path: Path
) -> None:
    score_all(samples_folder, answered, tmp_path / "one")
    score_all(samples_folder, answered, tmp_path / "deep" / "two")
    score_all(samples_folder, answered, tmp_path / "one")  # over an earlier result
    first = {path.relative_to(tmp_path / "one"): path.read_bytes() for path in (tmp_path / "one").rglob("*.*")}
    second = {
        path.relative_to(tmp_path / "deep" / "two"): path.read_bytes()
        for path in (tmp_path / "deep" / "two").rglob("*.*")
    }
    assert first == second
    score_all(samples_folder, answered, tmp_path / "seed", seed=1)
    assert (tmp_path / "seed" / "summary.json").read_bytes() != (tmp_path / "one" / "summary.json").read_bytes()
    assert (tmp_path / "seed" / "scores.jsonl").read_bytes() == (tmp_path / "one" / "scores.jsonl").read_bytes()


def test_examples_show_right_wrong_and_unread_with_their_pictures(
    samples_folder: Path, answered: Path, tmp_path: Path
) -> None:
    score_all(samples_folder, answered, tmp_path / "scores", subject="before")
    examples = json.loads((tmp_path / "scores" / "examples.json").read_text())
    assert {example["verdict"] for example in examples} == {"right", "wrong", "unread"}
    for example in examples:
        own = next(reply for reply in example["replies"] if reply["system"] == "before")
        assert (own["parsed"] is None) == (example["verdict"] == "unread")
        assert own["correct"] == (example["verdict"] == "right")
        assert all((tmp_path / "scores" / path).is_file() for path in example["images"])


# --- files that are not whole ---


def _bare(answered: Path, folder: Path, change: Callable[[list[str]], list[str]]) -> Path:
    lines = (answered / "after" / "predictions.jsonl").read_text().splitlines()
    file = folder / "theirs.jsonl"
    file.write_text("\n".join(change(lines)) + "\n")
    return file


def test_a_missing_or_unknown_sample_is_named_never_dropped(
    samples_folder: Path, answered: Path, tmp_path: Path
) -> None:
    missing = _bare(answered, tmp_path, lambda lines: lines[2:])
    first = [sample.id for sample in read_samples(samples_folder)[0]][:2]
    with pytest.raises(RecordError, match=f"2 samples have no prediction: {first[0]}, {first[1]}"):
        score_predictions(samples_folder, [missing], tmp_path / "out")
    extra = _bare(
        answered, tmp_path, lambda lines: [*lines, lines[0].replace(json.loads(lines[0])["sample_id"], "stranger")]
    )
    with pytest.raises(RecordError, match="1 samples are predicted but unknown: stranger"):
        score_predictions(samples_folder, [extra], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_bare_complete_file_scores_like_its_folder(samples_folder: Path, answered: Path, tmp_path: Path) -> None:
    bare = _bare(answered, tmp_path, lambda lines: lines[::-1])
    outside = score_predictions(samples_folder, [bare], tmp_path / "a", resamples=200)
    inside = score_predictions(samples_folder, [answered / "after"], tmp_path / "b", resamples=200)
    assert [row["systems"]["theirs"]["value"] for row in outside["rows"]] == [
        row["systems"]["after"]["value"] for row in inside["rows"]
    ]
    assert outside["systems"][0]["answerer"] == "external"


def test_systems_that_cannot_be_told_apart_are_refused(samples_folder: Path, answered: Path, tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="same name"):
        score_predictions(samples_folder, [answered / "after", answered / "after"], tmp_path / "out")
    predict_samples(samples_folder, ScriptedAnswerer({}, name="third"), tmp_path / "other", name="other")
    with pytest.raises(RecordError, match="several models could be the subject: before, other"):
        score_predictions(samples_folder, [answered / "before", tmp_path / "other"], tmp_path / "out")
    with pytest.raises(RecordError, match="no system is called 'nobody'"):
        score_predictions(samples_folder, [answered / "after"], tmp_path / "out", subject="nobody")


def test_predictions_for_other_samples_are_refused(
    samples_folder: Path, answered: Path, tmp_path: Path, make_rows: Make, write_release: Make
) -> None:
    from bench.samples import write_samples

    rows = [row.model_copy(update={"tags": ("other",)}) for row in make_rows("test", 40)]
    write_samples(write_release(tmp_path / "release", test=rows), tmp_path / "samples")
    with pytest.raises(RecordError, match="same ids, other content"):
        score_predictions(tmp_path / "samples", [answered / "after"], tmp_path / "out")


def test_a_folder_that_holds_something_else_is_not_overwritten(
    samples_folder: Path, answered: Path, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("years of work")
    with pytest.raises(ReadError, match="holds files that are no scores"):
        score_predictions(samples_folder, [answered / "after"], tmp_path / "out", resamples=100)
    assert (tmp_path / "out" / "thesis.txt").read_text() == "years of work"


def test_one_spine_is_reported_without_an_interval(tmp_path: Path, make_row: Make, write_release: Make) -> None:
    from bench.samples import write_samples

    rows = [make_row(f"r{n}", f"<image>{n}?", "L3", "level", origin="real", group_id="patient") for n in range(4)]
    write_samples(write_release(tmp_path / "release", test=rows), tmp_path / "samples")
    predict_samples(tmp_path / "samples", ScriptedAnswerer({"r0": "L3"}, default="L4"), tmp_path / "p", name="p")
    summary = score_predictions(tmp_path / "samples", [tmp_path / "p"], tmp_path / "out")
    own = summary["rows"][0]["systems"]["p"]
    assert (own["value"], own["low"], own["high"], own["n"], own["clusters"]) == (0.25, None, None, 4, 1)
    assert own["method"] == "one cluster"
    assert Clusters.of(["patient"] * 4).count == 1
