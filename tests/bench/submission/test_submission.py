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
from bench.submission import open_round, read_submission, reveal_round, validate_submission, verify_round
from bench.submission.limit import limit_samples
from bench.submission.rounds import COMMITMENT, REVEAL, SECRET
from spinemed.errors import ConfigError, ReadError, RecordError, RunError, SpineMedError
from spinemed.tables import write_jsonl, write_manifest

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
