"""Held-out questions: no answer in view, no leakage unnoticed, nothing dropped without a reason."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.samples import read_samples, spine_of, write_samples
from spinemed.anatomy import Level
from spinemed.errors import ReadError, RecordError
from spinemed.records import Message

Make = Callable[..., Any]


def test_only_the_test_split_is_asked_and_no_answer_is_in_view(samples_folder: Path) -> None:
    samples, manifest = read_samples(samples_folder)
    assert manifest["split"] == "test"
    assert manifest["samples"] == len(samples) == 120
    assert all(sample.id.startswith("test") for sample in samples)
    for sample in samples:
        assert sample.messages[-1].role == "user"
        assert all(message.role != "assistant" for message in sample.messages)
        assert sample.licence
        assert sample.evidence
        assert sample.language == "en"
        for path in sample.images:
            assert (samples_folder / path).stat().st_size > 0
    assert manifest["counts"] == {
        "level_identification/image/phantom": 40,
        "pathology/image/phantom": 40,
        "pathology/text/real": 20,
        "surgical_planning/text/phantom": 20,
    }


def test_earlier_turns_stay_and_only_the_answer_goes(tmp_path: Path, make_row: Make, write_release: Make) -> None:
    talk = (
        Message(role="system", content="Be brief."),
        Message(role="user", content="<image>Is this a spine?"),
        Message(role="assistant", content="Yes."),
        Message(role="user", content="Which vertebra is marked?"),
        Message(role="assistant", content="L3"),
    )
    one = make_row("a", "<image>?", "L3", "level").model_copy(update={"messages": talk})
    write_samples(write_release(tmp_path / "release", test=[one]), tmp_path / "samples")
    (sample,), _ = read_samples(tmp_path / "samples")
    assert sample.messages == talk[:-1]


def test_a_row_that_ends_with_a_question_is_refused(tmp_path: Path, make_row: Make, write_release: Make) -> None:
    one = make_row("a", "?", "L3", "level")
    one = one.model_copy(update={"messages": (*one.messages, Message(role="user", content="Sure?"))})
    with pytest.raises(RecordError, match="the last message must be the assistant's answer") as caught:
        write_samples(write_release(tmp_path / "release", test=[one]), tmp_path / "samples")
    assert "test.parquet:1" in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"answer": "L33"}, "answer 'L33' is neither a vertebra like L3"),
        ({"answer": "Th7"}, "answer 'Th7' is neither a vertebra like L3"),
        ({"answer": "L4"}, "the last message says 'L3' and the answer is 'L4'"),
        ({"answer": "A", "answer_kind": "option"}, "not among the option keys"),
    ],
)
def test_a_row_whose_answer_cannot_be_scored_is_named(
    tmp_path: Path, make_row: Make, write_release: Make, change: dict[str, str], message: str
) -> None:
    rows = [make_row("a", "?", "L2", "level"), make_row("b", "?", "L3", "level").model_copy(update=change)]
    with pytest.raises(RecordError, match=rf"test\.parquet:2: field 'ReleaseRow': .*{message}"):
        write_samples(write_release(tmp_path / "release", test=rows), tmp_path / "samples")
    assert not (tmp_path / "samples").exists()


def test_free_text_answers_are_left_out_and_counted(tmp_path: Path, make_row: Make, write_release: Make) -> None:
    rows = [make_row("a", "?", "L3", "level"), make_row("b", "Why?", "Because.", "text", task="open")]
    manifest = write_samples(write_release(tmp_path / "release", test=rows), tmp_path / "samples")
    assert manifest["samples"] == 1
    assert manifest["left_out"] == {"free-text answer, which no rule can score": 1}


def test_nothing_to_ask_is_an_error(tmp_path: Path, write_release: Make) -> None:
    with pytest.raises(RecordError, match="holds no question"):
        write_samples(write_release(tmp_path / "release"), tmp_path / "samples")
    assert [path.name for path in tmp_path.iterdir()] == ["release"]


@pytest.mark.parametrize(
    ("held_out", "field"), [({"name": "same"}, "id"), ({"name": "other", "group_id": "group-same"}, "group_id")]
)
def test_an_id_or_a_patient_in_both_splits_stops_everything(
    tmp_path: Path, make_row: Make, write_release: Make, held_out: dict[str, str], field: str
) -> None:
    name = held_out.pop("name")
    release = write_release(
        tmp_path / "release",
        train=[make_row("same", "Old?", "L1", "level", split="train")],
        test=[make_row(name, "New?", "L3", "level", **held_out)],
    )
    with pytest.raises(RecordError, match="also in training") as caught:
        write_samples(release, tmp_path / "samples")
    assert caught.value.field == field


def test_shared_pictures_and_questions_are_counted(tmp_path: Path, make_row: Make, write_release: Make) -> None:
    shared = make_row("t0", "<image>Which?", "L1", "level", split="train")
    release = write_release(
        tmp_path / "release",
        train=[
            shared,
            make_row("t1", "What is  a FACET joint?", "B", "category", split="train", categories=("B", "C")),
            make_row("t2", "Where is the dens?", "C2", "level", split="train"),
        ],
        test=[
            make_row("s0", "<image>Which?", "L2", "level", images=shared.images),
            make_row("s1", "what is a facet joint", "C", "category", categories=("B", "C")),
            make_row("s2", "Where is the dens?", "C2", "level"),
            make_row("s3", "<image>Which?", "L1", "level"),
        ],
    )
    found = write_samples(release, tmp_path / "samples")["contamination"]
    assert found == {
        "train_rows": 3,
        "same_picture": 1,
        "same_question": 2,
        "same_question_and_answer": 1,
        "ids": ["s0", "s1", "s2"],
    }


def test_the_same_command_again_changes_nothing_and_another_release_is_refused(
    tmp_path: Path, make_rows: Make, write_release: Make
) -> None:
    release = write_release(tmp_path / "release", test=make_rows("test", 4))
    first = write_samples(release, tmp_path / "samples")
    stamp = (tmp_path / "samples" / "samples.jsonl").stat().st_mtime_ns
    assert write_samples(release, tmp_path / "samples") == first
    assert (tmp_path / "samples" / "samples.jsonl").stat().st_mtime_ns == stamp
    again = write_samples(release, tmp_path / "elsewhere")
    assert again == first
    other = write_release(tmp_path / "other", test=make_rows("test", 5))
    with pytest.raises(ReadError, match="another release"):
        write_samples(other, tmp_path / "samples")


def test_a_truncated_release_is_one_clear_error(tmp_path: Path, make_rows: Make, write_release: Make) -> None:
    release = write_release(tmp_path / "release", test=make_rows("test", 4))
    table = release / "data" / "test.parquet"
    table.write_bytes(table.read_bytes()[:-200])
    with pytest.raises(ReadError, match=r"test\.parquet: differs from its manifest"):
        write_samples(release, tmp_path / "samples")


def test_a_changed_samples_file_is_refused(tmp_path: Path, make_rows: Make, write_release: Make) -> None:
    write_samples(write_release(tmp_path / "release", test=make_rows("test", 4)), tmp_path / "samples")
    file = tmp_path / "samples" / "samples.jsonl"
    lines = file.read_text().splitlines()
    changed = json.loads(lines[0])
    changed["answer"] = {"T10": "T11"}.get(changed["answer"], "T10")
    file.write_text("\n".join([json.dumps(changed, separators=(",", ":")), *lines[1:]]) + "\n")
    with pytest.raises(ReadError, match="differs from its manifest"):
        read_samples(tmp_path / "samples")


def test_the_patients_own_spine_is_known_from_tag_or_levels(samples_folder: Path) -> None:
    sample = read_samples(samples_folder)[0][0]
    assert spine_of(sample).is_regular
    assert spine_of(sample.model_copy(update={"tags": ("spine:13T5L",)})).thoracic == 13
    assert spine_of(sample.model_copy(update={"answer": "L6"})).lumbar == 6
    # A question about L5 may name its neighbours alone; L5 is there all the same.
    assert spine_of(sample.model_copy(update={"levels": (Level.L4, Level.S1)})).is_regular
    disc = sample.model_copy(update={"answer_kind": "disc", "levels": ()})
    assert spine_of(disc.model_copy(update={"answer": "L6/S1"})).lumbar == 6
    assert spine_of(disc.model_copy(update={"answer": "L4/S1"})).lumbar == 4
    assert spine_of(disc.model_copy(update={"answer": "C7/T1"})).is_regular
    with pytest.raises(RecordError, match="unknown tag"):
        spine_of(sample.model_copy(update={"tags": ("spine:odd",)}))
    with pytest.raises(RecordError, match="thoracic"):
        spine_of(sample.model_copy(update={"tags": ("spine:15T5L",)}))
