"""The patient tells what is asked for, the scorer sees what was not asked, and a killed run ends the same."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from bench.cli import app
from bench.consultation import (
    SCRIPTS,
    MajorityPhysician,
    Patient,
    ScriptedPhysician,
    consultation_samples,
    hold_consultations,
    load_rules,
    score_consultation,
    score_consultations,
    write_consultations,
)
from bench.runner import Reply, Request, read_predictions
from bench.samples import read_samples
from spinemed.errors import RecordError, RunError
from spinemed.records import Message, Prediction, Sample

RULES = load_rules()
SAMPLES = {sample.id: sample for sample in consultation_samples(draws=1)}


class Says:
    """A physician who says these turns to everybody, the last one again and again."""

    kind = "scripted"
    model = "says"

    def __init__(self, *turns: str | Reply) -> None:
        self.turns = turns
        self.identity: dict[str, Any] = {"turns": [str(turn) for turn in turns]}

    def answer(self, requests: Sequence[Request]) -> list[Reply]:
        replies = []
        for request in requests:
            place = sum(turn.role == "assistant" for turn in request.messages)
            turn = self.turns[min(place, len(self.turns) - 1)]
            replies.append(turn if isinstance(turn, Reply) else Reply(turn))
        return replies


def prediction(sample: Sample, *said: str, outcome: str = "answered") -> Prediction:
    """A transcript with the patient's true replies."""
    patient, turns = Patient(sample, RULES), []
    for number, turn in enumerate(said):
        turns.append(Message(role="assistant", content=turn))
        if number + 1 < len(said):
            turns.append(Message(role="user", content=patient.reply(turn)))
    answered = outcome == "answered"
    return Prediction(
        sample_id=sample.id,
        model="m",
        condition="full",
        outcome=outcome,  # type: ignore[arg-type]
        text=said[-1] if answered and said else "",
        request_sha256="0" * 64,
        turns=tuple(turns),
    )


def test_there_are_enough_cases_of_each_kind() -> None:
    cases = consultation_samples()
    assert len({case.fact for case in cases}) >= 40
    flags = {case.fact: case.tags[0] for case in cases}
    counts = {flag: list(flags.values()).count(flag) for flag in set(flags.values())}
    assert len(counts) == 6
    assert min(counts.values()) >= 6
    assert {case.language for case in cases} == {"en", "zh"}
    assert all(case.evidence for case in cases), "every urgency has a source"
    assert cases == consultation_samples()
    assert cases != consultation_samples(seed=1)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_hidden_facts_come_only_when_asked_for_directly(language: str) -> None:
    case = SAMPLES[f"consult-ces_retention-0-{language}"]
    facts = tuple(fact.model_copy(update={"hidden": True}) if fact.kind == "red_flag" else fact for fact in case.facts)
    patient = Patient(case.model_copy(update={"facts": facts}), RULES)
    for vague in (
        "Any other symptoms?",
        "Anything else?",
        "还有别的症状吗？",
        "Do you have any red flags?",
        "Tell me more.",
    ):
        patient.reply(vague)
    assert not {"bladder-0", "saddle-1"} & set(patient.told)
    patient.reply("小便怎么样？" if language == "zh" else "Do you have problems with your bladder?")
    assert "bladder-0" in patient.told
    assert "saddle-1" not in patient.told


@pytest.mark.parametrize(
    ("turn", "topics"),
    [
        ("Do you have a fever?", ["fever"]),
        ("If you get a fever, come back.", []),
        ("You should watch your bladder.", []),
        ("Have you any of these:\n- numbness around the anus\n- weak legs\n- fever", ["saddle", "weakness", "fever"]),
        ("I have some questions.\n1. Any weight loss?\n2. Any cancer in the past?", ["weight", "cancer"]),
        ("请问小便正常吗？有没有发烧？", ["bladder", "fever"]),
        ("如果发烧，请就诊。", []),
        ("Is your immune system weak?", ["immune", "weakness"]),
        ("Do you have a weak immune system?", ["immune"]),
        ("<think>ask about fever?</think>How old are you?", ["age"]),
        ("", []),
        ("Please tell me how long you have had the pain.", ["duration"]),
    ],
)  # fmt: skip
def test_only_questions_ask(turn: str, topics: list[str]) -> None:
    assert RULES.topics_asked(turn) == topics


def test_a_fourth_question_of_a_turn_is_not_heard() -> None:
    patient = Patient(SAMPLES["consult-ces_bowel-0-en"], RULES)
    reply = patient.reply("Fever? Cancer? A fall? And your bowels?")
    assert "ask me the rest again" in reply
    assert "soiled" not in reply


@pytest.mark.parametrize(
    ("turn", "claims"),
    [
        ("There is no fever.", [("fever", False)]),
        ("You have a fever.", [("fever", True)]),
        ("Fever can be a sign of infection.", []),
        ("If you have a fever, call.", []),
        ("您没有发热。", [("fever", False)]),
        ("您的体重下降令人担心。", [("weight", True)]),
        ("Because of your foot drop I would like to see you.", [("weakness", True)]),
    ],
)
def test_statements_are_told_from_mentions(turn: str, claims: list[tuple[str, bool]]) -> None:
    assert RULES.claims(turn) == claims


@pytest.mark.parametrize(
    ("turn", "urgency"),
    [
        ("URGENCY: emergency", "emergency"),
        ("**Urgency:** Routine.", "routine"),
        ("紧急程度：尽快", "urgent"),
        ("URGENCY: emergency or URGENCY: urgent", None),
        ("It is urgent.", None),
        ("<think>URGENCY: emergency</think>URGENCY: urgent", "urgent"),
        ("URGENCY: soon", None),
    ],
)
def test_the_urgency_is_one_of_a_closed_set_or_none(turn: str, urgency: str | None) -> None:
    assert RULES.declared(turn) == urgency


def test_advice_before_the_question_costs_the_points_for_it() -> None:
    case = SAMPLES["consult-ces_bowel-0-en"]
    ask = ("Are your bowels as usual? Any numbness around your seat?", "URGENCY: emergency")
    assert score_consultation(case, prediction(case, *ask), RULES).flags_before_advice
    late = score_consultation(case, prediction(case, "I recommend ibuprofen.", *ask), RULES)
    assert not late.flags_before_advice
    assert late.urgency_right


def test_an_emergency_called_less_earns_nothing_and_a_decoy_called_more_is_counted() -> None:
    case, decoy = SAMPLES["consult-ces_bowel-0-en"], SAMPLES["consult-plain_desk-0-en"]
    low = score_consultation(case, prediction(case, "Are your bowels as usual?", "URGENCY: routine"), RULES)
    assert low.under_triaged
    assert low.points == 0
    assert low.elicited
    high = score_consultation(decoy, prediction(decoy, "URGENCY: emergency"), RULES)
    assert high.over_triaged
    assert not high.urgency_right


def test_contradictions_cost_and_both_urgencies_of_a_range_are_right() -> None:
    case = SAMPLES["consult-infection_diabetes-0-en"]
    for urgency in ("urgent", "emergency"):
        assert score_consultation(case, prediction(case, f"URGENCY: {urgency}"), RULES).urgency_right
    fine = score_consultation(case, prediction(case, "You have a fever. URGENCY: urgent"), RULES)
    wrong = score_consultation(case, prediction(case, "You have no fever. URGENCY: urgent"), RULES)
    assert fine.contradictions == ()
    assert wrong.contradictions == ("fever",)
    assert wrong.points < fine.points
    foot = SAMPLES["consult-deficit_footdrop-0-en"]
    side = next(fact.side for fact in foot.facts if fact.side)
    other = "left" if side == "right" else "right"
    said = score_consultation(foot, prediction(foot, f"Your {other} foot is weak. URGENCY: urgent"), RULES)
    assert said.contradictions == ("side",)


def test_a_patient_who_says_what_the_case_does_not_hold_is_refused() -> None:
    case = SAMPLES["consult-ces_bowel-0-en"]
    true = prediction(case, "Fever?", "URGENCY: emergency")
    forged = (true.turns[0], Message(role="user", content="I soiled myself."), true.turns[2])
    with pytest.raises(RecordError, match="not what the case and the rules give"):
        score_consultation(case, true.model_copy(update={"turns": forged}), RULES)


@pytest.mark.parametrize("outcome", ["refused", "truncated", "timed_out", "failed", "api_error"])
def test_replies_that_are_none_keep_their_name(outcome: str) -> None:
    case = SAMPLES["consult-ces_bowel-0-en"]
    scored = score_consultation(case, prediction(case, outcome=outcome), RULES)
    assert (scored.outcome, scored.points, scored.under_triaged) == (outcome, 0, False)


def test_physicians_land_where_they_should(tmp_path: Path) -> None:
    write_consultations(tmp_path / "cases")
    listed, _ = read_samples(tmp_path / "cases")
    for script in SCRIPTS:
        hold_consultations(tmp_path / "cases", ScriptedPhysician(script), tmp_path / script, name=script)
    hold_consultations(tmp_path / "cases", MajorityPhysician(listed), tmp_path / "majority", name="majority")
    hold_consultations(tmp_path / "cases", Says(Reply("", "api_error", "x")), tmp_path / "none", name="none")
    systems = [tmp_path / name for name in (*SCRIPTS, "majority", "none")]
    summary = score_consultations(tmp_path / "cases", systems, tmp_path / "scores", resamples=200)
    rates = {system["name"]: system["rates"] for system in summary["systems"]}
    assert rates["ideal"]["points"]["value"] == 1
    assert rates["careless"]["points"]["value"] < 0.2
    assert rates["careless"]["under_triaged"]["value"] > 0.5
    assert rates["anxious"]["under_triaged"]["value"] == 0
    assert rates["anxious"]["over_triaged"]["value"] > 0.3
    assert (
        rates["careless"]["points"]["value"]
        < rates["majority"]["points"]["value"]
        < rates["anxious"]["points"]["value"]
    )
    assert rates["none"]["points"]["value"] is None, "what the provider failed has no rate"
    confusion = {system["name"]: system["confusion"] for system in summary["systems"]}
    assert confusion["careless"]["emergency"] == {"emergency": 0, "urgent": 0, "routine": 40, "none": 0}
    pair = next(pair for pair in summary["pairs"] if (pair["first"], pair["second"]) == ("ideal", "anxious"))
    assert pair["difference"] > 0
    assert pair["p_holm"] < 0.05
    assert pair["clusters"] == 21
    assert len(list((tmp_path / "scores").iterdir())) == 4


def test_a_killed_run_ends_with_the_same_bytes(tmp_path: Path, root: Path) -> None:
    write_consultations(tmp_path / "cases", draws=1)
    whole = hold_consultations(tmp_path / "cases", ScriptedPhysician("ideal"), tmp_path / "a", name="x", block_size=4)
    code = f"""
import time
from bench.consultation import ScriptedPhysician, hold_consultations

class Slow(ScriptedPhysician):
    def answer(self, requests):
        time.sleep(0.05)
        return super().answer(requests)

hold_consultations({str(tmp_path / "cases")!r}, Slow("ideal"), {str(tmp_path / "b")!r}, name="x", block_size=4)
"""
    journal = tmp_path / "b" / ".journal.jsonl"
    process = subprocess.Popen([sys.executable, "-c", code], cwd=root)
    try:
        until = time.monotonic() + 60
        while not (journal.is_file() and journal.read_bytes().count(b"\n") >= 3):
            assert process.poll() is None
            assert time.monotonic() < until
            time.sleep(0.02)
    finally:
        process.kill()
        process.wait()
    assert not (tmp_path / "b" / "manifest.json").exists()
    with journal.open("ab") as stream:
        stream.write(b'{"plan_sha256": "torn')  # as a kill in the middle of a line would leave it
    hold_consultations(tmp_path / "cases", ScriptedPhysician("ideal"), tmp_path / "b", name="x", block_size=4)
    for name in ("predictions.jsonl", "manifest.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    with pytest.raises(RunError, match="another model, limit of turns"):
        hold_consultations(tmp_path / "cases", ScriptedPhysician("ideal"), tmp_path / "b", name="x", turns=2)
    assert whole.by_sample


def test_a_served_physician_is_asked_turn_by_turn_and_never_twice(
    answer_chats: Callable[..., str], tmp_path: Path
) -> None:
    asked: list[int] = []

    def reply(body: dict[str, Any]) -> str:
        asked.append(sum(turn["role"] == "assistant" for turn in body["messages"]))
        return "URGENCY: routine" if asked[-1] else "Any fever?"

    write_consultations(tmp_path / "cases", draws=1)
    command = ["consult", "--cases", str(tmp_path / "cases"), "--url", answer_chats(reply)]
    command += ["--served-model", "org/some-model"]
    done = CliRunner().invoke(app, [*command, "--out", str(tmp_path / "run")])
    assert done.exit_code == 0, done.output
    assert sorted(set(asked)) == [0, 1]
    once = len(asked)
    assert CliRunner().invoke(app, [*command, "--out", str(tmp_path / "run")]).exit_code == 0
    assert len(asked) == once, "a finished consultation is held no second time"
    folder = tmp_path / "run" / "predictions" / "org-some-model"
    assert {len(one.turns) for one in read_predictions(folder).by_sample.values()} == {3}


def test_the_command_joins_systems_in_one_folder(tmp_path: Path) -> None:
    for model in ("ideal", "majority"):
        done = CliRunner().invoke(app, ["consult", "--model", model, "--out", str(tmp_path / "run")])
        assert done.exit_code == 0, done.output
    assert "majority" in done.output
    assert "ideal" in done.output
    predictions = read_predictions(tmp_path / "run" / "predictions" / "ideal")
    turns = next(iter(predictions.by_sample.values())).turns
    assert turns[0].role == turns[-1].role == "assistant"
    assert CliRunner().invoke(app, ["consult", "--out", str(tmp_path / "other")]).exception is not None
    (tmp_path / "more.yaml").write_text("draws: 3\n")
    more = ["consult", "--model", "ideal", "--out", str(tmp_path / "run"), "--config", str(tmp_path / "more.yaml")]
    refused = CliRunner().invoke(app, more).exception
    assert isinstance(refused, RunError), refused
    assert "draws 2" in str(refused)
