"""Submissions that are whole pass, faults are named, and a round cannot be bent after it opened."""

from __future__ import annotations

import json
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from bench.run import BenchConfig, questions_of
from bench.runner import ScriptedAnswerer, predict_samples
from bench.samples import read_samples
from bench.spinebench.score import score_predictions
from bench.submission import (
    collect_answers,
    open_round,
    publish_questions,
    read_submission,
    reveal_round,
    validate_submission,
    verify_round,
)
from bench.submission.limit import limit_samples
from bench.submission.rounds import COMMITMENT, REVEAL, SECRET
from spinemed.errors import ConfigError, ReadError, RecordError, RunError, SpineMedError
from spinemed.records import CaseFact, Prediction, Question, RubricItem, Score
from spinemed.tables import read_jsonl, write_jsonl, write_manifest

GOOD: dict[str, Any] = {
    "name": "Reader", "model": "reader-7b", "revision": "c0ffee", "organisation": "A clinic",
    "contact": "a@example.org",
    "licence": "Apache-2.0", "training_data": [{"name": "VerSe", "kind": "real", "licence": "CC-BY-SA-4.0"}],
    "phantoms": {"used": True, "families": ["a"]}, "seen_questions": False, "predictions": ["full"],
}  # fmt: skip


@pytest.fixture
def submission(tmp_path: Path, samples_folder: Path) -> Path:
    """A good one."""
    folder = tmp_path / "submission"
    predict_samples(
        samples_folder, ScriptedAnswerer({}, default="L1", name="reader-7b"), folder / "full", name="reader"
    )
    (folder / "submission.yaml").write_text(yaml.safe_dump(GOOD, sort_keys=False))
    return folder


def declare(folder: Path, **changes: Any) -> None:
    (folder / "submission.yaml").write_text(yaml.safe_dump(GOOD | changes, sort_keys=False))


def test_a_whole_submission_passes(submission: Path, samples_folder: Path, spinemed: Callable[..., Any]) -> None:
    found = validate_submission(submission, samples_folder)
    assert (found["system"], found["conditions"], found["unrankable"], found["apart"]) == ("Reader", ["full"], [], [])
    done = spinemed("bench", "validate", submission, "--samples", samples_folder)
    assert done.returncode == 0, done.stderr
    assert f"Reader: {found['questions']} questions under full" in done.stdout


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"licence": "free for all"}, r"submission\.yaml:6:.*licence.*SPDX"),
        ({"phantoms": {"used": True}}, r"phantoms.*families must name"),
        ({"phantoms": {"used": False, "families": ["a"]}}, "no phantom was used"),
        ({"training_data": []}, "training_data"),
        ({"predictions": ["../elsewhere"]}, "leaves the submission folder"),
        ({"seen_questions": None}, "seen_questions"),
        ({"colour": "red"}, "colour"),
        ({"model": "another"}, "answers of 'reader-7b', and 'another' is declared"),
        ({"predictions": ["full", "full"]}, "two files answer under one condition"),
    ],
)
def test_faults_are_named(changes: dict[str, Any], message: str, submission: Path, samples_folder: Path) -> None:
    declare(submission, **changes)
    with pytest.raises(SpineMedError, match=message):
        validate_submission(submission, samples_folder)


def test_all_faults_of_a_declaration_come_at_once(submission: Path) -> None:
    declare(submission, licence="?", training_data=[])
    with pytest.raises(ConfigError) as caught:
        read_submission(submission)
    assert len(str(caught.value).splitlines()) == 2


def test_a_missing_or_torn_prediction_is_named(submission: Path, samples_folder: Path) -> None:
    lines = (submission / "full" / "predictions.jsonl").read_text().splitlines()
    declare(submission, predictions=["part.jsonl"])
    (submission / "part.jsonl").write_text("\n".join(lines[1:]))
    with pytest.raises(RecordError, match=r"1 samples have no prediction: test-spine-000-level"):
        validate_submission(submission, samples_folder)
    (submission / "part.jsonl").write_text("\n".join([lines[0], lines[1][:40], *lines[2:]]))
    with pytest.raises(ReadError, match=r"part\.jsonl:2:"):
        validate_submission(submission, samples_folder)


def test_a_link_out_of_the_submission_is_refused(submission: Path, tmp_path: Path, samples_folder: Path) -> None:
    shutil.move(submission / "full", tmp_path / "elsewhere")
    (submission / "full").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match="link that leaves"):
        validate_submission(submission, samples_folder)


def tagged(samples: Path, out: Path, tag: str) -> Path:
    """The same questions, from a generator of that family."""
    listed, about = read_samples(samples)
    shutil.copytree(samples, out)
    write_jsonl(out / "samples.jsonl", [sample.model_copy(update={"tags": (tag,)}) for sample in listed])
    facts = {name: value for name, value in about.items() if name not in ("kind", "files", "sha256")}
    write_manifest(out, "samples", **facts)
    return out


@pytest.mark.parametrize(
    ("phantoms", "apart"),
    [
        ({"used": True, "families": ["a"]}, ["a"]), ({"used": True, "families": ["b"]}, []),
        ({"used": True, "families": ["any"]}, ["a"]), ({"used": False}, []),
    ],
)  # fmt: skip
def test_who_learned_from_the_generator_ranks_apart(
    phantoms: dict[str, Any], apart: list[str], samples_folder: Path, tmp_path: Path
) -> None:
    made = tagged(samples_folder, tmp_path / "samples", "family:a")
    folder = tmp_path / "submission"
    predict_samples(made, ScriptedAnswerer({}, default="L1", name="reader-7b"), folder / "full", name="reader")
    declare(folder, phantoms=phantoms)
    assert validate_submission(folder, made)["apart"] == apart


# --- a part of the questions ------------------------------------------------------------------------------------------


def test_a_part_is_marked_and_cannot_be_ranked(samples_folder: Path, tmp_path: Path) -> None:
    small = limit_samples(samples_folder, tmp_path / "small", limit=7)
    limit_samples(samples_folder, tmp_path / "large", limit=20)
    whole = len(read_samples(samples_folder)[0])
    assert small["limited"]["of"] == whole
    assert [small["limited"]["questions"], small["samples"]] == [7, 7]
    few = {sample.id for sample in read_samples(tmp_path / "small")[0]}
    assert few < {sample.id for sample in read_samples(tmp_path / "large")[0]}
    folder = tmp_path / "submission"
    predict_samples(
        tmp_path / "small", ScriptedAnswerer({}, default="L1", name="reader-7b"), folder / "full", name="reader"
    )
    declare(folder)
    assert validate_submission(folder, tmp_path / "small")["unrankable"] == [
        "the samples are a part of a benchmark (--limit)"
    ]
    assert limit_samples(samples_folder, tmp_path / "small", limit=7) == small
    with pytest.raises(ReadError, match="other samples"):
        limit_samples(samples_folder, tmp_path / "small", limit=8)


# --- rounds ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def round_(tmp_path: Path, samples_folder: Path) -> Path:
    """An opened and revealed round."""
    (tmp_path / "live.yaml").write_text("seed: 0\n")
    open_round(tmp_path / "live.yaml", tmp_path / "round", day="2026-01-31", seed=5)
    reveal_round(tmp_path / "round", samples_folder)
    return tmp_path / "round"


def test_a_round_shows_nothing_before_and_all_after(tmp_path: Path, round_: Path, samples_folder: Path) -> None:
    published = json.loads((round_ / COMMITMENT).read_text())
    assert set(published) == {"commitment", "config_sha256", "date", "formula"}
    assert stat.S_IMODE((round_ / SECRET).stat().st_mode) == 0o600
    (round_ / SECRET).unlink()  # whoever verifies has only what was published
    found = verify_round(round_, tmp_path / "live.yaml", samples=samples_folder, remake=False)
    assert found["commitment"] == published["commitment"]
    with pytest.raises(RunError, match="holds a round already"):
        open_round(tmp_path / "live.yaml", round_)


@pytest.mark.parametrize(
    ("name", "value"), [("seed", 6), ("salt", "00"), ("date", "2026-02-01"), ("commitment", "0" * 64), ("seed", None)]
)
def test_a_round_that_was_bent_is_refused(name: str, value: Any, tmp_path: Path, round_: Path) -> None:
    reveal = json.loads((round_ / REVEAL).read_text())
    (round_ / REVEAL).write_text(json.dumps(reveal | {name: value}))
    with pytest.raises(RunError):
        verify_round(round_, tmp_path / "live.yaml", remake=False)


def test_another_config_or_other_questions_are_refused(tmp_path: Path, round_: Path, samples_folder: Path) -> None:
    limit_samples(samples_folder, tmp_path / "part", limit=3)
    with pytest.raises(RunError, match="samples_sha256"):
        verify_round(round_, tmp_path / "live.yaml", samples=tmp_path / "part", remake=False)
    (tmp_path / "live.yaml").write_text("seed: 0 # changed\n")
    with pytest.raises(RunError, match="is not the config"):
        verify_round(round_, tmp_path / "live.yaml", remake=False)


def test_equal_seeds_do_not_show(tmp_path: Path) -> None:
    (tmp_path / "live.yaml").write_text("seed: 0\n")
    first = open_round(tmp_path / "live.yaml", tmp_path / "one", day="2026-01-31", seed=5)
    second = open_round(tmp_path / "live.yaml", tmp_path / "two", day="2026-01-31", seed=5)
    assert first["commitment"] != second["commitment"]
    with pytest.raises(ConfigError, match="is no date"):
        open_round(tmp_path / "live.yaml", tmp_path / "three", day="31.1.2026")


def test_a_limited_run_asks_a_marked_part(samples_folder: Path, tmp_path: Path, spinemed: Callable[..., Any]) -> None:
    config = BenchConfig(samples=samples_folder, limit=5)
    asked = questions_of(config, tmp_path / "outputs" / "samples")
    listed, about = read_samples(asked)
    assert len(listed) == 5
    assert about["limited"]["of"] == len(read_samples(samples_folder)[0])
    assert questions_of(config, tmp_path / "outputs" / "samples") == asked
    done = spinemed("bench", "run", "--help")
    assert "--limit" in done.stdout


# --- questions without truth -----------------------------------------------------------------------------------------

PRIVATE = "private-918273645"


@pytest.fixture
def secret_samples(samples_folder: Path, tmp_path: Path) -> Path:
    """The same questions, each field that no contestant may see marked."""
    listed, about = read_samples(samples_folder)
    fact = CaseFact(id=PRIVATE, kind="history", text=PRIVATE)
    rubric = RubricItem(id=PRIVATE, points=5, criterion=PRIVATE)
    marked = [
        sample.model_copy(
            update={
                "id": f"{PRIVATE}-{sample.id}", "cluster": f"{PRIVATE}-{sample.cluster}", "source_id": PRIVATE,
                "tags": (f"family:{PRIVATE}", *sample.tags), "evidence": (PRIVATE,), "fact": PRIVATE,
                "variant": PRIVATE, "licence": PRIVATE, "facts": (fact,), "rubric": (rubric,),
                "difficulty": "medium", "image_need": "helpful",
            }
        )
        for sample in listed
    ]  # fmt: skip
    folder = tmp_path / "operator" / "samples"
    shutil.copytree(samples_folder, folder)
    write_jsonl(folder / "samples.jsonl", marked)
    facts = {name: value for name, value in about.items() if name not in ("kind", "files", "sha256")}
    write_manifest(folder, "samples", **(facts | {"seed": 918273645, "config": PRIVATE}))
    return folder


def test_published_questions_hold_no_truth_in_any_byte(
    secret_samples: Path, tmp_path: Path, spinemed: Callable[..., Any]
) -> None:
    public = tmp_path / "public"
    done = spinemed("bench", "round", "publish", secret_samples, "--out", public)
    assert done.returncode == 0, done.stderr
    listed, about = read_samples(secret_samples)
    files = [path for path in public.rglob("*") if path.is_file()]
    together = b"\n".join(str(path.relative_to(public)).encode() + path.read_bytes() for path in files)
    for word in (PRIVATE, "918273645", about["sha256"], about["release_sha256"]):
        assert word.encode() not in together
    named = ("answer", "facts", "rubric", "tolerance", "tags", "evidence", "levels", "cluster", "seed", "source_id",
             "origin", "fact", "variant", "difficulty", "image_need", "licence")  # fmt: skip
    for name in named:
        assert f'"{name}":'.encode() not in together
    by_words = {(one.messages, one.images): one for one in read_jsonl(public / "questions.jsonl", Question)}
    assert len(list(read_jsonl(public / "questions.jsonl", Question))) == len(listed)
    for sample in listed:
        asked = by_words[sample.messages, sample.images]
        assert (asked.options, asked.categories, asked.unit) == (sample.options, sample.categories, sample.unit)
        assert all((public / path).read_bytes() == (secret_samples / path).read_bytes() for path in sample.images)
    key = secret_samples.parent / "key.jsonl"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    again = tmp_path / "again"
    publish_questions(secret_samples, again)
    assert (again / "manifest.json").read_bytes() == (public / "manifest.json").read_bytes()


def test_collected_answers_score_as_if_asked_here(
    secret_samples: Path, tmp_path: Path, spinemed: Callable[..., Any]
) -> None:
    listed, _ = read_samples(secret_samples)
    truth = {sample.id: sample.answer for sample in listed[::2]}
    here = tmp_path / "here"
    asked = predict_samples(
        secret_samples, ScriptedAnswerer(truth, default="L1", name="reader-7b"), here, name="reader"
    )
    publish_questions(secret_samples, tmp_path / "public")
    key = secret_samples.parent / "key.jsonl"
    ids = {line["sample_id"]: line["question_id"] for line in map(json.loads, key.read_text().splitlines())}
    given = [one.model_copy(update={"sample_id": ids[name]}) for name, one in asked.by_sample.items()]
    file = tmp_path / "reader.jsonl"
    write_jsonl(file, given)
    done = spinemed(
        "bench", "round", "collect", "--predictions", file, "--key", key, "--samples", secret_samples,
        "--out", tmp_path / "there",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for name in ("here", "there"):
        score_predictions(secret_samples, [tmp_path / name], tmp_path / f"scores-{name}", resamples=100)
    rows = [list(read_jsonl(tmp_path / f"scores-{name}" / "scores.jsonl", Score)) for name in ("here", "there")]
    assert rows[0] == rows[1]
    assert 0 < sum(score.correct for score in rows[0]) < len(rows[0])


def test_answers_that_do_not_fit_the_questions_are_refused(
    secret_samples: Path, samples_folder: Path, tmp_path: Path
) -> None:
    publish_questions(secret_samples, tmp_path / "public")
    with pytest.raises(ReadError, match="is the key of other samples"):
        publish_questions(samples_folder, tmp_path / "other", key=secret_samples.parent / "key.jsonl")
    with pytest.raises(ReadError, match="would be published"):
        publish_questions(secret_samples, tmp_path / "other", key=tmp_path / "other" / "key.jsonl")
    asked = [one.id for one in read_jsonl(tmp_path / "public" / "questions.jsonl", Question)]
    answers = [
        Prediction(
            sample_id=name, model="m", condition="full", outcome="answered", text="L1", request_sha256="0" * 64
        )
        for name in asked
    ]  # fmt: skip
    write_jsonl(tmp_path / "part.jsonl", answers[1:])
    with pytest.raises(RecordError, match="lacks 1 questions"):
        collect_answers(tmp_path / "part.jsonl", secret_samples, tmp_path / "out")
    with pytest.raises(RecordError, match="not the key of these samples"):
        collect_answers(
            tmp_path / "part.jsonl", samples_folder, tmp_path / "out", key=secret_samples.parent / "key.jsonl"
        )
    write_jsonl(tmp_path / "turned.jsonl", [one.model_copy(update={"condition": "rotated_1"}) for one in answers])
    with pytest.raises(RecordError, match="answers under rotated_1"):
        collect_answers(tmp_path / "turned.jsonl", secret_samples, tmp_path / "out")
    assert not (tmp_path / "out").exists()
