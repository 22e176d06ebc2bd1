"""Reports are read as written by hand, facts decide the points, and every kind of error is told apart."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from bench.cli import app
from bench.reports import (
    dimension_total,
    read_report,
    report_samples,
    rubric_score,
    score_report,
    score_reports,
    unsafe_advice,
    write_reports,
)
from bench.runner import Reply, ScriptedAnswerer, predict_samples
from bench.samples import read_samples
from spinemed.anatomy import Disc, Level
from spinemed.errors import RecordError
from spinemed.records import DIMENSIONS, CaseFact, RubricItem, Sample

Claimed = set[tuple[str, str | None, str | None, str | None, bool]]
SAMPLES = report_samples(spines=6)


def written(text: str) -> Claimed:
    """The claims of one line of the table."""
    found: Claimed = set()
    for part in filter(None, (piece.strip() for piece in text.split(";"))):
        head, *rest = part.lstrip("-").split()
        finding, place = head.split("@")
        side = next((word for word in rest if word in ("left", "right")), None)
        grade = next((word[1:] for word in rest if word.startswith("=")), None)
        found.add((finding, None if place == "?" else place, side, grade, not part.startswith("-")))
    return found


def test_sentences_written_by_hand_are_read_as_listed(capsys: pytest.CaptureFixture[str]) -> None:
    lines = (Path(__file__).parent / "handwritten.txt").read_text(encoding="utf-8").splitlines()
    rows = [line.split("|||") for line in lines if "|||" in line and not line.startswith("#")]
    wrong = []
    for text, expected in rows:
        claims = read_report(text.strip().replace("\\n", "\n"))
        got = {(c.finding, c.place and str(c.place), c.side, c.grade, c.present) for c in claims}
        if got != written(expected):
            wrong.append(f"{text.strip()}: {sorted(map(str, got))}")
    with capsys.disabled():
        print(f"\n{len(rows) - len(wrong)} of {len(rows)} sentences read as listed; not read:", *wrong, sep="\n  ")
    assert len(rows) >= 190
    assert len(wrong) <= 2


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.id)
def test_the_reference_report_earns_everything(sample: Sample) -> None:
    read = score_report(sample, sample.answer)
    assert read.points == 1
    assert not any(read.matched.errors.values())
    assert len(read.parts) == 6


def test_pictures_need_only_what_a_midsagittal_slice_shows(tmp_path: Path) -> None:
    write_reports(tmp_path / "cases", spines=2, form="pictures")
    listed, _ = read_samples(tmp_path / "cases")
    for sample in listed:
        assert len(sample.images) == 2
        assert score_report(sample, sample.answer).points == 1
        needed = [fact for fact in sample.facts if fact.needed]
        assert not any(fact.side or fact.topic in ("foraminal_stenosis", "lesion", "schmorl") for fact in needed)
        assert " | " not in sample.messages[0].content, "the record is not told"
    again = tmp_path / "again"
    write_reports(again, spines=2, form="pictures")
    for name in ("samples.jsonl", "manifest.json"):
        assert (again / name).read_bytes() == (tmp_path / "cases" / name).read_bytes()


def case(*facts: CaseFact) -> Sample:
    made: dict[str, Any] = SAMPLES[0].model_dump()
    return Sample.model_validate({**made, "facts": facts, "rubric": (), "tags": ("spine:12T5L",)})


FRACTURE = CaseFact(id="f", kind="imaging", text="-", topic="fracture", level=Level.L1, grade="Genant 2", needed=True)
DISC = CaseFact(
    id="h", kind="imaging", text="-", topic="herniation", disc=Disc.from_text("L4/5"), side="left", needed=True
)


@pytest.mark.parametrize(
    ("text", "errors"),
    [
        ("L1: wedge fracture, Genant 2. L4/5: disc herniation, left.", {}),
        ("L2: wedge fracture, Genant 2. L4/5: disc herniation, left.", {"wrong_level": 1}),
        ("L1: wedge fracture, Genant 2. L4/5: disc herniation, right.", {"wrong_side": 1}),
        ("L1: wedge fracture, Genant 3. L4/5: disc herniation, left.", {"wrong_grade": 1}),
        ("L4/5: disc herniation, left.", {"missed": 1}),
        ("No fracture of L1. L4/5: disc herniation, left.", {"missed": 1}),
        ("L1 fracture. No fracture of L1. L4/5: disc herniation, left.", {"missed": 1}),
        ("L1 fracture. L3 fracture. L4/5: disc herniation, left.", {"invented": 1}),
        ("L1 fracture. L4/5: disc herniation, left. Slip at L5/S1.", {"invented": 1}),
        ("A fracture. L4/5: disc herniation.", {"missed": 1}),
        ("L1、L4椎体骨折。L3/4椎间盘向左突出。", {"invented": 1, "wrong_level": 1}),
        ("", {"missed": 2}),
    ],
)
def test_every_error_has_its_own_name(text: str, errors: dict[str, int]) -> None:
    found = score_report(case(FRACTURE, DISC), text).matched.errors
    assert {name: count for name, count in found.items() if count} == errors


def test_a_true_fact_that_is_not_needed_is_neither_missed_nor_invented() -> None:
    extra = FRACTURE.model_copy(update={"id": "x", "level": Level.T8, "grade": None, "needed": None})
    with_it = score_report(case(FRACTURE, extra), "L1 fracture, Genant 2. T8 fracture.").matched
    without = score_report(case(FRACTURE, extra), "L1 fracture, Genant 2.").matched
    assert not any(with_it.errors.values())
    assert not any(without.errors.values())


def test_both_sides_are_two_facts() -> None:
    left = DISC.model_copy(update={"id": "l", "topic": "foraminal_stenosis", "grade": "Lee 1"})
    right = left.model_copy(update={"id": "r", "side": "right", "grade": "Lee 3"})
    text = "L4/5: left foraminal stenosis, Lee 1. L4/5: right foraminal stenosis, Lee 3."
    assert not any(score_report(case(left, right), text).matched.errors.values())
    one = score_report(case(left, right), "L4/5: left foraminal stenosis, Lee 1.").matched.errors
    assert (one["missed"], one["wrong_side"]) == (1, 0)
    swapped = score_report(case(left, right), text.replace("Lee 1", "Lee 0").replace("Lee 3", "Lee 1")).matched.errors
    assert swapped["wrong_grade"] == 2


def test_a_score_lies_between_nothing_and_all() -> None:
    rubric = (
        RubricItem(id="a", points=5, criterion="-"),
        RubricItem(id="b", points=5, criterion="-"),
        RubricItem(id="c", points=-8, criterion="-", error="unsafe"),
    )
    assert rubric_score(rubric, ["a", "b"]) == 1
    assert rubric_score(rubric, ["a"]) == 0.5
    assert rubric_score(rubric, ["a", "b", "c"]) == pytest.approx(0.2)
    assert rubric_score(rubric, ["c"]) == 0
    with pytest.raises(ValueError, match="positive points"):
        rubric_score(rubric[2:], [])


@pytest.mark.parametrize(
    ("text", "rules"),
    [
        ("We recommend lumbar disc replacement.", ["disc_replacement_in_slip"]),
        ("Disc replacement is not recommended.", []),
        ("I recommend gabapentin.", ["anticonvulsant_for_pain"]),
        ("Do not prescribe pregabalin.", []),
        ("If pain persists, start gabapentin.", []),
        ("建议加巴喷丁。", ["anticonvulsant_for_pain"]),
        ("A residual below 200 mL excludes a cauda equina syndrome.", ["low_residual_reassures"]),
        ("Start antibiotics before cultures.", ["antibiotics_first"]),
    ],
)
def test_unsafe_advice_is_found_by_words_and_not_where_it_is_denied(text: str, rules: list[str]) -> None:
    assert unsafe_advice(text, ["slip"]) == rules


def test_ten_dimensions_come_to_one_number_by_sections() -> None:
    assert dimension_total(dict.fromkeys(DIMENSIONS, 5)) == 100
    assert dimension_total(dict.fromkeys(DIMENSIONS, 1)) == 20
    # One section of four dimensions weighs as much as one of a single dimension.
    assert dimension_total({**dict.fromkeys(DIMENSIONS, 5), "diagnosis": 1}) == pytest.approx(84)
    assert dimension_total({**dict.fromkeys(DIMENSIONS, 5), "coverage": 1}) == pytest.approx(96)
    assert dimension_total({"diagnosis": 3}) is None
    with pytest.raises(ValueError, match="1 to 5"):
        dimension_total({"diagnosis": 6})


def test_systems_are_ranked_by_what_they_state(tmp_path: Path) -> None:
    write_reports(tmp_path / "cases", spines=8)
    listed, _ = read_samples(tmp_path / "cases")
    truth = {sample.id: sample.answer for sample in listed}
    shifted = {name: re.sub(r"\bL4/5\b", "L3/4", text) for name, text in truth.items()}
    for name, script in (("truth", truth), ("shifted", shifted), ("silent", {})):
        silent = Reply("", "refused", "x") if name == "silent" else ""
        answerer = ScriptedAnswerer(script, default=silent, name=name)
        predict_samples(tmp_path / "cases", answerer, tmp_path / name, name=name)
    systems = [tmp_path / name for name in ("truth", "shifted", "silent")]
    summary = score_reports(tmp_path / "cases", systems, tmp_path / "scores", resamples=200)
    rates = {system["name"]: system["rates"] for system in summary["systems"]}
    assert rates["truth"]["points"]["value"] == 1
    assert 0.3 < rates["shifted"]["points"]["value"] < 1
    assert rates["silent"]["points"]["value"] == 0
    assert rates["truth"]["points"]["clusters"] == 8
    errors = {system["name"]: system["errors"] for system in summary["systems"]}
    assert not any(errors["truth"].values())
    assert errors["shifted"]["wrong_level"] > 0
    assert next(system for system in summary["systems"] if system["name"] == "shifted")["moved"]["L4/5>L3/4"] > 0
    assert {file.name for file in (tmp_path / "scores").iterdir()} >= {"reports.jsonl", "scores.jsonl", "summary.json"}


def test_answers_to_another_set_of_the_same_ids_are_refused(tmp_path: Path) -> None:
    write_reports(tmp_path / "cases", spines=1)
    said = {sample.id: sample.answer for sample in read_samples(tmp_path / "cases")[0]}
    predict_samples(tmp_path / "cases", ScriptedAnswerer(said), tmp_path / "p", name="p")
    manifest = json.loads((tmp_path / "p" / "manifest.json").read_text())
    manifest["samples_sha256"] = "0" * 64  # what a changed generator leaves: the same ids, other cases
    (tmp_path / "p" / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(RecordError, match="another samples folder"):
        score_reports(tmp_path / "cases", [tmp_path / "p"], tmp_path / "scores", resamples=100)


def test_a_control_is_no_contestant(tmp_path: Path) -> None:
    write_reports(tmp_path / "cases", spines=1)
    predict_samples(tmp_path / "cases", ScriptedAnswerer({}, default="-"), tmp_path / "b", name="b", condition="blind")
    with pytest.raises(RecordError, match=r"b answered under blind, and only full is compared here"):
        score_reports(tmp_path / "cases", [tmp_path / "b"], tmp_path / "scores", resamples=100)
    assert not (tmp_path / "scores").exists()


def test_the_commands_make_and_score(tmp_path: Path) -> None:
    runner = CliRunner()
    made = runner.invoke(app, ["reports", "--out", str(tmp_path / "s"), "--spines", "2"])
    assert made.exit_code == 0, made.output
    listed, _ = read_samples(tmp_path / "s")
    predict_samples(
        tmp_path / "s", ScriptedAnswerer({one.id: one.answer for one in listed}), tmp_path / "p", name="truth"
    )
    command = ["facts", "--samples", str(tmp_path / "s"), "--predictions", str(tmp_path / "p")]
    scored = runner.invoke(app, [*command, "--out", str(tmp_path / "o"), "--resamples", "100"])
    assert scored.exit_code == 0, scored.output
    assert "1.00" in scored.output
