"""Asking: every sample once, pictures really withheld, and a kill that costs one block at most."""

from __future__ import annotations

import io
import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from bench.runner import (
    MajorityAnswerer,
    RandomAnswerer,
    Reply,
    Request,
    ScriptedAnswerer,
    grey_picture,
    predict_samples,
    read_predictions,
)
from bench.samples import read_samples
from bench.spinebench.exact import is_exact
from spinemed.errors import ModelError, ReadError, RecordError, RunError
from spinemed.records import Message, Prediction, Sample


def test_every_sample_is_asked_once_with_its_own_pictures(samples_folder: Path, tmp_path: Path) -> None:
    samples, _ = read_samples(samples_folder)
    answerer = ScriptedAnswerer({samples[0].id: "L1"}, default="L2")
    done = predict_samples(samples_folder, answerer, tmp_path / "p", name="one", block_size=7)
    assert sorted(request.sample_id for request in answerer.asked) == [sample.id for sample in samples]
    assert list(done.by_sample) == [sample.id for sample in samples]
    assert done.by_sample[samples[0].id].text == "L1"
    for request in answerer.asked:
        sample = next(sample for sample in samples if sample.id == request.sample_id)
        assert request.messages == sample.messages
        assert request.images == tuple((samples_folder / path).read_bytes() for path in sample.images)


def test_blind_sends_the_same_words_and_none_of_the_pixels(samples_folder: Path, tmp_path: Path) -> None:
    full, blind = ScriptedAnswerer({}, default="L1"), ScriptedAnswerer({}, default="L1")
    seen = predict_samples(samples_folder, full, tmp_path / "full", name="full")
    unseen = predict_samples(samples_folder, blind, tmp_path / "blind", name="blind", condition="blind")
    originals = {data for request in full.asked for data in request.images}
    assert originals
    sent: set[bytes] = set()
    for one, other in zip(full.asked, blind.asked):
        assert one.messages == other.messages
        assert len(one.images) == len(other.images)
        sent.update(other.images)
        for before, after in zip(one.images, other.images):
            with Image.open(io.BytesIO(before)) as old, Image.open(io.BytesIO(after)) as new:
                assert old.size == new.size
                assert old.mode == new.mode
                assert new.getextrema() == (128, 128)
    assert not originals & sent
    assert len(sent) == 1  # nothing about the picture is left, not even by way of its file
    assert {one.condition for one in unseen.by_sample.values()} == {"blind"}
    for name, prediction in seen.by_sample.items():
        has_picture = any(request.sample_id == name and request.images for request in full.asked)
        assert (prediction.request_sha256 != unseen.by_sample[name].request_sha256) == has_picture


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "1"])
def test_grey_pictures_of_every_mode(mode: str) -> None:
    stream = io.BytesIO()
    Image.new(mode, (5, 9)).save(stream, format="PNG")
    with Image.open(io.BytesIO(grey_picture(stream.getvalue()))) as grey:
        assert grey.size == (5, 9)
        assert grey.convert("L").getextrema() == (128, 128)


def test_a_broken_picture_is_an_error_not_a_blank() -> None:
    with pytest.raises(ReadError, match="no readable picture"):
        grey_picture(b"nothing")


def test_a_picture_that_was_swapped_is_not_asked_about(samples_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(samples_folder, tmp_path / "samples")
    first, second, *_ = sorted((tmp_path / "samples" / "images").iterdir(), key=lambda path: path.stat().st_size)
    data = first.read_bytes()
    second.write_bytes(data + b"\0" * (second.stat().st_size - len(data)))
    with pytest.raises(ReadError, match="not the picture it is named after"):
        predict_samples(tmp_path / "samples", ScriptedAnswerer({}), tmp_path / "p", name="p")
    assert not (tmp_path / "p" / "predictions.jsonl").exists()


def test_outcomes_are_kept_apart_and_only_answers_have_text(samples_folder: Path, tmp_path: Path) -> None:
    names = [sample.id for sample in read_samples(samples_folder)[0]][:3]
    script = {
        names[0]: Reply(outcome="refused", detail="policy"),
        names[1]: Reply("half an ans", outcome="timed_out", detail="after 30 s"),
        names[2]: Reply(outcome="failed", detail="connection reset"),
    }
    done = predict_samples(samples_folder, ScriptedAnswerer(script, default="L1"), tmp_path / "p", name="p").by_sample
    assert [done[name].outcome for name in names] == ["refused", "timed_out", "failed"]
    assert [done[name].text for name in names] == ["", "", ""]
    assert [done[name].detail for name in names] == ["policy", "after 30 s", "connection reset"]


def test_the_majority_baseline_is_the_best_constant_answer(samples_folder: Path, tmp_path: Path) -> None:
    samples, _ = read_samples(samples_folder)
    done = predict_samples(samples_folder, MajorityAnswerer(samples), tmp_path / "p", name="m").by_sample
    for axis, images in (("level_identification", True), ("pathology", True), ("pathology", False)):
        group = [sample for sample in samples if sample.axis == axis and bool(sample.images) == images]
        said = {done[sample.id].text for sample in group}
        assert len(said) == 1
        right = sum(sample.answer == next(iter(said)) for sample in group)
        assert right == max(sum(sample.answer == answer for sample in group) for answer in {s.answer for s in group})


def test_the_majority_baseline_of_numbers_is_right_within_most_tolerances(samples_folder: Path) -> None:
    one = read_samples(samples_folder)[0][0].model_copy(
        update={"answer_kind": "number", "options": (), "categories": (), "images": (), "task": "measurement"}
    )

    def measured(number: int, answer: str, unit: str, tolerance: float) -> Sample:
        update = {"id": f"n{number}", "answer": answer, "unit": unit, "tolerance": tolerance}
        return one.model_copy(update={**update, "tags": (f"measure:{unit}",)})

    angles = [measured(number, answer, "deg", 5.0) for number, answer in enumerate(("10", "19", "41.5", "41.5"))]
    angles += [measured(9, "15", "deg", 5.0)]
    depths = [measured(20, "12", "mm", 1.5), measured(21, "not determinable", "mm", 1.5)]
    asked = [Request(sample.id, sample.messages, ()) for sample in [*angles, *depths]]
    replies = [reply.text for reply in MajorityAnswerer([*angles, *depths]).answer(asked)]
    right = [is_exact(sample, reply) for sample, reply in zip([*angles, *depths], replies, strict=True)]
    assert right[:5] == [True, True, False, False, True]  # any number from 14 to 15 is right three times, 41.5 twice
    assert sum(right[5:]) == 1
    drawn = RandomAnswerer([*angles, *depths], seed=0).answer(asked)
    assert {reply.text for reply in drawn[5:]} <= {"12", "not determinable"}


def test_the_majority_baseline_is_no_worse_in_the_row_of_phantoms_because_patients_are_asked_too() -> None:
    def sample(name: str, answer: str, origin: str) -> Sample:
        return Sample(
            id=name,
            axis="level_identification",
            task="level",
            messages=(Message(role="user", content="Which vertebra?"),),
            images=(),
            answer=answer,
            answer_kind="level",
            cluster=name,
            origin=origin,  # type: ignore[arg-type]
            source_id="s",
        )

    phantoms = [sample(f"p{n}", level, "phantom") for n, level in enumerate(["T10", "T10", "L1"])]
    patients = [sample(f"r{n}", "L1", "real") for n in range(4)]
    asked = [Request(one.id, one.messages) for one in phantoms]
    replies = MajorityAnswerer([*phantoms, *patients]).answer(asked)
    assert [reply.text for reply in replies] == ["T10"] * 3


def test_the_random_baseline_is_legal_seeded_and_about_uniform(samples_folder: Path) -> None:
    samples, _ = read_samples(samples_folder)
    requests = [Request(sample.id, sample.messages) for sample in samples]
    texts = [reply.text for reply in RandomAnswerer(samples, seed=0).answer(requests)]
    assert texts == [reply.text for reply in RandomAnswerer(reversed(samples), seed=0).answer(requests)]
    assert texts != [reply.text for reply in RandomAnswerer(samples, seed=1).answer(requests)]
    for sample, text in zip(samples, texts):
        if sample.categories:
            assert text in sample.categories
        if sample.options:
            assert text in {option.key for option in sample.options}
    drawn = [
        reply.text
        for seed in range(30)
        for reply, sample in zip(RandomAnswerer(samples, seed=seed).answer(requests), samples)
        if sample.axis == "level_identification"
    ]
    counts = [drawn.count(level) for level in sorted(set(drawn))]
    assert len(counts) == 8
    assert min(counts) > 0.7 * max(counts)


# --- killed and resumed ---

SLOW = """
import sys
from bench.runner import ScriptedAnswerer, predict_samples
from bench.samples import read_samples
from bench.spinebench.exact import is_exact
samples, _ = read_samples(sys.argv[1])
script = {sample.id: f"reply to {sample.id}" for sample in samples}
answerer = ScriptedAnswerer(script, seconds=float(sys.argv[3]))
predict_samples(sys.argv[1], answerer, sys.argv[2], name="slow", block_size=5)
"""


def test_a_run_killed_with_nine_resumes_without_asking_again(samples_folder: Path, tmp_path: Path) -> None:
    samples, _ = read_samples(samples_folder)
    script = {sample.id: f"reply to {sample.id}" for sample in samples}
    journal = tmp_path / "killed" / ".journal.jsonl"
    child = subprocess.Popen([sys.executable, "-c", SLOW, samples_folder, tmp_path / "killed", "0.01"])
    deadline = time.monotonic() + 60
    while not (journal.is_file() and journal.read_bytes().count(b"\n") >= 6):
        assert time.monotonic() < deadline
        assert child.poll() is None, "the child ended before it could be killed"
        time.sleep(0.005)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert not (tmp_path / "killed" / "predictions.jsonl").exists()
    with open(journal, "ab") as stream:  # and the kill tore the last line
        stream.write(b'{"plan_sha256":"0')
    lines = [json.loads(line) for line in journal.read_bytes().splitlines()[:-1]]
    answered = {one["sample_id"] for line in lines for one in line["predictions"]}
    assert 25 <= len(answered) < len(samples)

    second = ScriptedAnswerer(script)
    steps: list[int] = []
    resumed = predict_samples(
        samples_folder, second, tmp_path / "killed", name="slow", block_size=5, advance=steps.append
    )
    assert {request.sample_id for request in second.asked} == set(script) - answered
    assert sum(steps) == len(samples)
    predict_samples(samples_folder, ScriptedAnswerer(script), tmp_path / "whole", name="slow", block_size=5)
    for name in ("predictions.jsonl", "manifest.json"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()

    third = ScriptedAnswerer(script)
    again = predict_samples(samples_folder, third, tmp_path / "killed", name="slow", block_size=5)
    assert not third.asked
    assert again.by_sample == resumed.by_sample


@pytest.mark.parametrize(
    "other", [{"answerer": ScriptedAnswerer({}, default="L2")}, {"condition": "blind"}, {"block_size": 8}]
)
@pytest.mark.parametrize("finished", [True, False])
def test_another_job_in_the_same_folder_is_refused(
    samples_folder: Path, tmp_path: Path, other: dict[str, object], finished: bool
) -> None:
    job: dict[str, object] = {"answerer": ScriptedAnswerer({}, default="L1"), "name": "p", "block_size": 16}
    predict_samples(samples_folder, out=tmp_path / "p", **job)  # type: ignore[arg-type]
    if not finished:
        (tmp_path / "p" / "manifest.json").unlink()
        (tmp_path / "p" / "predictions.jsonl").unlink()
    before = sorted(path.name for path in (tmp_path / "p").iterdir())
    with pytest.raises(RunError, match="another model, condition"):
        predict_samples(samples_folder, out=tmp_path / "p", **{**job, **other})  # type: ignore[arg-type]
    assert sorted(path.name for path in (tmp_path / "p").iterdir()) == before


def test_a_folder_with_other_files_is_not_taken_over(samples_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(RunError, match=r"no predictions \(thesis.txt\)"):
        predict_samples(samples_folder, ScriptedAnswerer({}), tmp_path, name="p")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_two_processes_never_answer_into_one_folder(samples_folder: Path, tmp_path: Path) -> None:
    child = subprocess.Popen([sys.executable, "-c", SLOW, samples_folder, tmp_path / "p", "0.05"])
    try:
        deadline = time.monotonic() + 60
        while not (tmp_path / "p" / ".journal.jsonl").is_file():
            assert time.monotonic() < deadline
            time.sleep(0.005)
        with pytest.raises(RunError, match="another process"):
            predict_samples(samples_folder, ScriptedAnswerer({}), tmp_path / "p", name="p")
    finally:
        child.kill()
        child.wait()


def test_a_truncated_predictions_file_is_refused(samples_folder: Path, tmp_path: Path) -> None:
    predict_samples(samples_folder, ScriptedAnswerer({}, default="L1"), tmp_path / "p", name="p")
    file = tmp_path / "p" / "predictions.jsonl"
    file.write_bytes(file.read_bytes()[:-40])
    with pytest.raises(ReadError, match=r"predictions\.jsonl: differs from its manifest"):
        read_predictions(tmp_path / "p")
    (tmp_path / "p" / "manifest.json").unlink()
    with pytest.raises(ReadError, match="no finished predictions"):
        read_predictions(tmp_path / "p")
    with pytest.raises(ReadError, match="is not JSON"):
        read_predictions(file)


def test_a_bare_file_from_elsewhere_is_read_and_checked(samples_folder: Path, tmp_path: Path) -> None:
    predict_samples(samples_folder, ScriptedAnswerer({}, default="L1"), tmp_path / "mine", name="p")
    file = tmp_path / "mine" / "predictions.jsonl"
    assert read_predictions(file).name == "mine"
    lines = file.read_text().splitlines()
    (tmp_path / "twice.jsonl").write_text("\n".join([*lines, lines[0]]) + "\n")
    with pytest.raises(RecordError, match="answered twice"):
        read_predictions(tmp_path / "twice.jsonl")
    (tmp_path / "mixed.jsonl").write_text("\n".join([lines[0], lines[1].replace('"full"', '"blind"')]) + "\n")
    with pytest.raises(RecordError, match="one file holds one model"):
        read_predictions(tmp_path / "mixed.jsonl")


def test_a_folder_that_is_no_checkpoint_is_one_clear_error(samples_folder: Path, tmp_path: Path) -> None:
    from bench.runner import LocalAnswerer

    with pytest.raises(ModelError, match="no checkpoint folder"):
        LocalAnswerer(tmp_path)


def test_a_local_checkpoint_answers_every_sample_and_the_same_twice(samples_folder: Path, tmp_path: Path) -> None:
    from bench.runner import LocalAnswerer
    from train.base.nano import NanoConfig, NanoText, NanoVision, build_model, build_processor
    from train.merge import save_checkpoint

    config = NanoConfig(
        seed=3,
        vision=NanoVision(
            patch_px=8, hidden=16, depth=1, heads=1, mlp=32, deepstack=(0,), image_px=32, min_px=32, max_px=32
        ),
        text=NanoText(hidden=32, layers=1, heads=1, kv_heads=1, mlp=32, max_tokens=128, vocabulary=400),
    )
    processor = build_processor(config, ["Which vertebra is marked? Answer with the level."])
    save_checkpoint(build_model(config, processor), processor, tmp_path / "nano", precision="float32", about="A test.")

    def ask(out: str, condition: str) -> dict[str, Prediction]:
        answerer = LocalAnswerer(tmp_path / "nano", batch_size=8, max_new_tokens=4)
        done = predict_samples(
            samples_folder,
            answerer,
            tmp_path / out,
            name="nano",
            condition=condition,  # type: ignore[arg-type]
            block_size=32,
        )
        assert {one.model for one in done.by_sample.values()} == {f"nano@{answerer.sha256[:12]}"}
        return done.by_sample

    full, blind = ask("one", "full"), ask("blind", "blind")
    assert ask("two", "full") == full
    assert {one.outcome for one in full.values()} == {"answered"}
    for sample in read_samples(samples_folder)[0]:
        if not sample.images:
            assert full[sample.id].text == blind[sample.id].text

    before = LocalAnswerer(tmp_path / "nano").sha256
    (tmp_path / "nano" / "README.md").write_text("another page")
    assert LocalAnswerer(tmp_path / "nano").sha256 == before
    weights = tmp_path / "nano" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\1")
    assert LocalAnswerer(tmp_path / "nano").sha256 != before
