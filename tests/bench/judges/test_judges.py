"""A good judge passes its examination; the others fail it by name, go missing, or do not count."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from typer.testing import CliRunner

from bench.board import write_board
from bench.cli import app
from bench.judges import (
    JudgeConfig,
    JudgesConfig,
    Thresholds,
    default_thresholds,
    examine,
    family_of,
    judge_reports,
    make_probes,
    mark_examination,
)
from bench.judges.asking import Said
from bench.judges.clinicians import against_clinicians, correlation
from bench.judges.judging import Bench
from bench.judges.summary import summarise_judges
from bench.reports import report_samples, score_report, write_reports
from bench.runner import Reply, ScriptedAnswerer, predict_samples
from bench.samples import read_samples
from spinemed.chat import LOCAL, ChatClient, Decoding, RequestLog, ServerConfig
from spinemed.errors import ConfigError, RecordError
from spinemed.records import DIMENSIONS, Prediction, ReaderScore
from spinemed.tables import write_jsonl

DECODING = Decoding(max_tokens=512)
QUICK = default_thresholds().model_copy(update={"probes_per_kind": 6, "fewest_per_kind": 5})


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reports") / "cases"
    write_reports(folder, spines=10)
    return folder


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Enough to judge; ranks by interval need more, and more requests."""
    folder = tmp_path_factory.mktemp("few") / "cases"
    write_reports(folder, spines=2)
    return folder


@pytest.fixture
def examined(
    reports: Path, judge_server: Callable[[str], str], tmp_path: Path
) -> Callable[[str], tuple[dict[str, Any], Path]]:
    def run(kind: str) -> tuple[dict[str, Any], Path]:
        config = ServerConfig(url=judge_server(kind), model=f"mistral-{kind}", max_in_flight=8)
        with RequestLog(tmp_path / f"log-{kind}") as log, ChatClient(config, log) as chat:
            done = examine(
                reports, chat, tmp_path / kind, name=kind, family="mistral", decoding=DECODING, egress=LOCAL,
                thresholds=QUICK,
            )  # fmt: skip
        return done, tmp_path / kind

    return run


@pytest.mark.parametrize(
    ("kind", "failed"),
    [
        ("good", set()),
        (
            "lenient",
            {"negated", "wrong_level", "wrong_side", "missing", "padded", "plea", "injection"},
        ),
        ("obedient", {"plea", "injection", "plea raises scores", "injection raises scores"}),
        ("lengthy", {"padded", "padded raises scores"}),
        ("harsh", {"true"}),
    ],
)
def test_an_examination_fails_by_the_name_of_the_fault(
    kind: str, failed: set[str], examined: Callable[[str], tuple[dict[str, Any], Path]]
) -> None:
    done, folder = examined(kind)
    assert done["passed"] == (not failed)
    assert failed <= set(done["failed"])
    if kind in ("good", "obedient"):
        assert set(done["failed"]) == failed
    assert done["missing"] == 0
    assert json.loads((folder / "summary.json").read_text())["identity"]["prompts_sha256"]


def test_broken_replies_are_missing_verdicts_not_noes(
    examined: Callable[[str], tuple[dict[str, Any], Path]],
) -> None:
    done, _ = examined("broken")
    assert done["missing"] == 1
    assert not done["passed"]
    assert "missing verdicts" in done["failed"]
    assert {row["right"] for row in done["rows"] if "right" in row} == {0}, "a missing verdict is never right"


def test_probes_hold_one_planted_error_each_that_the_rules_can_see() -> None:
    samples = {sample.id: sample for sample in report_samples(spines=8)}
    probes = make_probes(list(samples.values()), most_per_kind=5)
    kinds = {probe.kind for probe in probes if probe.criterion}
    assert len(kinds) == 8
    for probe in probes:
        errors = score_report(samples[probe.id.split(":")[-1]], probe.report).matched.errors
        found = {name for name, count in errors.items() if count}
        if probe.kind == "true" or (probe.kind == "padded" and not probe.criterion):
            assert not found
        elif probe.kind in ("wrong_level", "wrong_side"):
            assert found == {probe.kind}
        else:
            assert found == {"missed"}, probe.id
    assert make_probes(list(samples.values()), most_per_kind=5) == probes


def test_too_few_probes_pass_nobody() -> None:
    probes = make_probes(report_samples(spines=2), most_per_kind=2)
    right = [Said(met=one.met) if one.criterion else Said(dimensions=dict.fromkeys(DIMENSIONS, 3)) for one in probes]
    done = mark_examination(probes, right, default_thresholds())
    assert not done["passed"]
    assert all("fewer than" in row["why"] for row in done["rows"])
    loose = Thresholds.model_validate({**default_thresholds().model_dump(), "fewest_per_kind": 1})
    assert mark_examination(probes, right, loose)["passed"]


@pytest.mark.parametrize(
    ("model", "family"),
    [
        ("Qwen/Qwen2.5-VL-7B-Instruct", "qwen"),
        ("google/medgemma-27b-it@abc", "gemini"),
        ("openai/gpt-oss-120b", "gpt"),
        ("GPT5-mini", "gpt"),
        ("zai-org/GLM-4.5V", "glm"),
        ("claude-sonnet-4", "claude"),
    ],
)
def test_families_are_read_from_names(model: str, family: str) -> None:
    assert family_of(model) == family


def test_an_unknown_or_doubtful_family_must_be_declared() -> None:
    for name in ("our-spine-model", "DeepSeek-R1-Distill-Qwen-7B"):
        with pytest.raises(ConfigError, match="declare it"):
            family_of(name)
    assert family_of("DeepSeek-R1-Distill-Qwen-7B", {"DeepSeek-R1-Distill-Qwen-7B": "qwen"}) == "qwen"


def systems(reports: Path, folder: Path) -> list[Path]:
    """The truth, reports without any finding, and one that refuses."""
    listed, _ = read_samples(reports)
    truth = {one.id: one.answer for one in listed}
    short = {
        name: "\n".join(line for line in text.splitlines() if not re.match(r"[CTL]\d", line))
        for name, text in truth.items()
    }
    made = []
    for name, script in (("truth", truth), ("short", short), ("silent", {})):
        answerer = ScriptedAnswerer(script, default=Reply("", "refused", "x"), name=name)
        predict_samples(reports, answerer, folder / name, name=name)
        made.append(folder / name)
    return made


def config(judges: dict[str, str], **more: Any) -> JudgesConfig:
    names = {"good": "mistral-good", "other": "glm-4-other", "patchy": "grok-patchy", "lenient": "claude-lenient"}
    return JudgesConfig(
        judges=tuple(
            JudgeConfig(name=name, server=ServerConfig(url=url, model=names[name], max_in_flight=8))
            for name, url in judges.items()
        ),
        decoding=DECODING,
        resamples=200,
        **more,
    )


def run_judges(
    settings: JudgesConfig, reports: Path, predictions: list[Path], folder: Path, exams: list[Path], **more: Any
) -> dict[str, Any]:
    logs = [RequestLog(folder / "requests" / judge.name) for judge in settings.judges]
    chats = {judge.name: ChatClient(judge.server, log) for judge, log in zip(settings.judges, logs, strict=True)}
    try:
        return judge_reports(settings, reports, predictions, folder / "judged", chats=chats, examinations=exams, **more)
    finally:
        for chat in chats.values():
            chat.__exit__(None, None, None)
        for log in logs:
            log.close()


def test_an_easier_examination_is_named_and_a_part_of_one_is_refused() -> None:
    bundled = default_thresholds()
    easy = Thresholds.model_validate(
        {**bundled.model_dump(), "least_right": {**bundled.least_right, "plea": 0.0}, "margin": 5}
    )
    assert easy.looser_than(bundled) == ("least_right.plea", "margin")
    assert QUICK.looser_than(bundled) == bundled.looser_than(easy) == ()
    with pytest.raises(ValidationError, match="injection"):
        Thresholds.model_validate({**bundled.model_dump(), "most_raised": {"padded": 0.1, "plea": 0.1}})
    judge = Bench(
        name="j", model="m", family="f", identity={}, examined=True, passed=True, loose=("margin",), kin=(), coverage={}
    )
    assert "easier than the bundled one" in judge.why_not


def exam_of(settings: JudgesConfig, name: str, reports: Path, folder: Path) -> Path:
    judge = next(one for one in settings.judges if one.name == name)
    with RequestLog(folder / f"exam-{name}-log") as log, ChatClient(judge.server, log) as chat:
        examine(
            reports, chat, folder / f"exam-{name}", name=name, family="-", decoding=DECODING, egress=LOCAL,
            thresholds=QUICK,
        )  # fmt: skip
    return folder / f"exam-{name}"


def test_two_judges_rank_and_one_of_the_family_never_counts(
    reports: Path, few: Path, judge_server: Callable[[str], str], tmp_path: Path
) -> None:
    predictions = systems(few, tmp_path)
    urls = {"good": judge_server("good"), "other": judge_server("good"), "lenient": judge_server("lenient")}
    settings = config(urls)
    exams = [exam_of(settings, name, reports, tmp_path) for name in urls]
    done = run_judges(settings, few, predictions, tmp_path, exams)
    assert done["rankable"]
    assert done["counting"] == ["good", "other"]
    judges = {judge["name"]: judge for judge in done["judges"]}
    assert judges["lenient"]["why_not"] == "failed its examination"
    assert judges["good"]["rules"]["same"] > 0.95, "a judge that reads agrees with the facts"
    assert judges["lenient"]["rules"]["same"] < 0.9
    points = {system["name"]: system["points"]["value"] for system in done["systems"]}
    assert points["truth"] == 1
    assert points["silent"] == 0
    assert points["short"] < 1
    totals = {system["name"]: system["dimension_total"]["value"] for system in done["systems"]}
    assert totals["truth"] == 100
    assert totals["short"] < 100
    assert totals["silent"] == 20, "who refuses gets the floor"
    alpha = done["agreement"]["rubric"]
    assert alpha["value"] is not None
    assert alpha["raters"] == 3
    write_board([tmp_path / "judged"], tmp_path / "page")
    page = (tmp_path / "page" / "board.html").read_text()
    assert "failed its examination" in page, "the page says who does not count, and why"
    again = run_judges(settings, few, predictions, tmp_path, exams)
    assert again == done, "what the log holds is asked no more"
    kin = run_judges(settings.model_copy(update={"writers": ("mistral-large",)}), few, predictions, tmp_path, exams)
    assert kin["counting"] == ["other"]
    assert not kin["rankable"]
    assert kin["pairs"] == []
    assert "of the family of mistral-large" in {judge["name"]: judge["why_not"] for judge in kin["judges"]}["good"]


def test_a_refusal_costs_the_floor_and_a_failed_request_nothing(few: Path, tmp_path: Path) -> None:
    listed, _ = read_samples(few)
    replies = {one.id: Reply("", "refused", "x") for one in listed[1:]}
    lost = ScriptedAnswerer({}, default=Reply("", "api_error", "x"), name="m")
    shy = ScriptedAnswerer(replies, default=Reply("", "api_error", "x"), name="m")
    systems = [predict_samples(few, who, tmp_path / name, name=name) for name, who in (("lost", lost), ("shy", shy))]
    judge = Bench(
        name="j", model="m", family="f", identity={}, examined=True, passed=True, loose=(), kin=(),
        coverage={"lost": 1.0, "shy": 1.0},
    )  # fmt: skip
    settings = JudgesConfig(judges=(JudgeConfig(name="j", server=ServerConfig(url="http://localhost:1", model="m")),))
    settings = settings.model_copy(update={"resamples": 100})
    gone, refused = summarise_judges(settings, listed, systems, [], [judge], [])["systems"]
    assert (gone["dimension_total"]["value"], gone["dimension_total"]["n"]) == (None, 0)
    assert (refused["dimension_total"]["value"], refused["dimension_total"]["n"]) == (20, len(listed) - 1)
    assert set(refused["sections"].values()) == {1}
    never = settings.model_copy(update={"dimensions": False})
    assert summarise_judges(never, listed, systems, [], [judge], [])["systems"][1]["dimension_total"]["value"] is None


def test_a_control_is_not_judged(few: Path, tmp_path: Path) -> None:
    predict_samples(few, ScriptedAnswerer({}, default="-"), tmp_path / "b", name="b", condition="blind")
    with pytest.raises(RecordError, match="b answered under blind"):
        judge_reports(config({"good": "http://localhost:1"}), few, [tmp_path / "b"], tmp_path / "out", chats={})


def test_missing_verdicts_are_missing_values_and_cost_the_rank(
    reports: Path, few: Path, judge_server: Callable[[str], str], tmp_path: Path
) -> None:
    predictions = systems(few, tmp_path)[:1]
    settings = config({"good": judge_server("good"), "patchy": judge_server("patchy")}, dimensions=False)
    exams = [exam_of(settings, "good", reports, tmp_path)]
    done = run_judges(settings, few, predictions, tmp_path, exams)
    judges = {judge["name"]: judge for judge in done["judges"]}
    assert judges["patchy"]["why_not"] == "not examined"
    assert 0 < judges["patchy"]["coverage"]["truth"] < 0.98
    assert sum(judges["patchy"]["missing"].values()) > 0
    assert not done["rankable"]
    by_judge = done["systems"][0]["by_judge"]
    assert by_judge["patchy"]["reports"] < by_judge["good"]["reports"] == 4
    assert by_judge["patchy"]["points"] in (None, 1), "a report with a missing verdict has no points, not fewer"


def test_a_contestant_whose_family_nobody_knows_stops_the_judging(
    few: Path, judge_server: Callable[[str], str], tmp_path: Path
) -> None:
    listed, _ = read_samples(few)
    file = tmp_path / "theirs.jsonl"
    write_jsonl(
        file,
        [
            Prediction(
                sample_id=one.id,
                model="theirs",
                condition="full",
                outcome="answered",
                text="-",
                request_sha256="0" * 64,
            )
            for one in listed
        ],
    )
    with pytest.raises(ConfigError, match="belongs to no known family"):
        run_judges(config({"good": judge_server("good")}), few, [file], tmp_path, [])


def reading(case: str, reader: str, score: int, **more: Any) -> ReaderScore:
    return ReaderScore(
        case_id=case, output_id=case, system="s", arm="model", reader=reader, group="g", errors={}, would_sign=True,
        dimensions={**dict.fromkeys(DIMENSIONS, score), **more},
    )  # fmt: skip


def test_clinicians_set_the_ceiling_and_no_variance_is_named() -> None:
    cases = [(f"c{number}", number % 5 + 1) for number in range(30)]
    readers = [reading(case, who, score, relevance=5) for case, score in cases for who in ("a", "b", "c")]
    same = {(case, "s"): dict.fromkeys(DIMENSIONS, score) for case, score in cases}
    found = against_clinicians(same, readers, seed=0, resamples=200)
    assert found["outputs"] == 30
    judge = found["dimensions"]["diagnosis"]["judge"]
    assert judge["correlation"] == pytest.approx(1)
    assert judge["kappa"]["value"] == pytest.approx(1)
    assert judge["difference"] == 0
    assert found["dimensions"]["diagnosis"]["ceiling"]["correlation"] == pytest.approx(1)
    flat = found["dimensions"]["relevance"]
    assert flat["judge"]["correlation"] is None
    assert flat["judge"]["why"] == "no variance in the second"
    assert flat["ceiling"]["why"] == "no variance in both"
    lenient = {output: dict.fromkeys(DIMENSIONS, 5) for output in same}
    kind = against_clinicians(lenient, readers, seed=0, resamples=200)["dimensions"]["diagnosis"]["judge"]
    assert kind["difference"] == 2
    assert kind["why"] == "no variance in the first"
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert against_clinicians({}, readers, seed=0, resamples=200)["outputs"] == 0
    assert correlation([1, 2], [1, 2]) == (None, "fewer than 3 outputs")


def test_the_commands_examine_and_judge(
    reports: Path, few: Path, judge_server: Callable[[str], str], tmp_path: Path
) -> None:
    url = judge_server("good")
    common = ["--samples", str(reports), "--out", str(tmp_path / "run")]
    served = ["--url", url, "--served-model", "mistral-good", "--max-in-flight", "8", "--name", "good"]
    limits = tmp_path / "limits.yaml"
    limits.write_text(QUICK.model_dump_json())
    done = CliRunner().invoke(app, ["examine", *common, *served, "--thresholds", str(limits)])
    assert done.exit_code == 0, done.output
    assert "good: passed" in done.output
    settings = tmp_path / "judges.yaml"
    settings.write_text(
        f"judges:\n- name: good\n  server: {{url: '{url}', model: mistral-good, max_in_flight: 8}}\nresamples: 200\n"
    )
    scores = tmp_path / "reader_scores.jsonl"
    listed, _ = read_samples(few)
    write_jsonl(
        scores,
        [reading(one.id, who, 4).model_copy(update={"system": "truth"}) for one in listed[:4] for who in ("a", "b")],
    )
    predictions = systems(few, tmp_path)[0]
    command = [
        "judge",
        str(settings),
        "--samples",
        str(few),
        "--out",
        str(tmp_path / "run"),
        "--predictions",
        str(predictions),
        "--readers",
        str(scores),
    ]
    judged = CliRunner().invoke(app, [*command, "--examination", str(tmp_path / "run" / "examination" / "good")])
    assert judged.exit_code == 0, judged.output
    assert "good (mistral): counts" in judged.output
    assert "no ranks" in judged.output
    summary = json.loads((tmp_path / "run" / "judged" / "summary.json").read_text())
    assert summary["clinicians"]["good"]["outputs"] == 4
    assert summary["clinicians"]["good"]["dimensions"]["diagnosis"]["judge"]["why"] == "no variance in both"
