"""Looking a job through: faults named by file and line, predictions that can be recounted, shipped configs."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image

from spinemed.config import load_config
from spinemed.errors import ConfigError, ModelError, ReadError, RecordError
from spinemed.overlap import letters
from spinemed.records import Message, Sample
from spinemed.tables import write_jsonl, write_manifest
from train.config import TrainConfig
from train.verify.job import verify
from train.verify.rows import PictureCheck, RowFaults

STAGE = {"name": "one", "mixture": [{"release": "only"}], "schedule": {"epochs": 2, "batch_size": 4}, "max_tokens": 120}


def _config(base: Path, release: Path, stage: dict[str, Any] | None = None, **more: Any) -> TrainConfig:
    values = {"base": base, "releases": {"only": release}, "stages": [{**STAGE, **(stage or {})}], **more}
    return TrainConfig.model_validate(values)


def _spoiled(release: Path, folder: Path, spoil: Callable[[list[dict[str, Any]]], None]) -> Path:
    """A copy of a release whose rows were changed, with a manifest that vouches for them."""
    shutil.copytree(release, folder)
    file = folder / "data" / "train.parquet"
    table = pq.read_table(file)
    rows = table.to_pylist()
    spoil(rows)
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), file)
    write_manifest(folder, "release")
    return folder


def _jpeg() -> bytes:
    stream = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 255, (48, 48, 3), dtype=np.uint8)
    Image.fromarray(noise).save(stream, "JPEG", quality=90)
    return stream.getvalue()


def _put(row: dict[str, Any], data: bytes) -> None:
    row["images"] = [{"bytes": data, "path": hashlib.sha256(data).hexdigest() + ".jpg"}]


def _answer(row: dict[str, Any], text: str) -> None:
    row["answer"] = row["messages"][-1]["content"] = text


def _no_tables(data: bytes) -> bytes:
    """A JPEG whose decoding tables are gone; header size and end mark are kept."""
    at = data.index(b"\xff\xc4")
    return data[: at + 4] + bytes(200) + data[at + 204 :]


def _broken_png() -> bytes:
    """A PNG whose pixels were changed behind a sound header, without their checksum."""
    stream = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (48, 48), dtype=np.uint8)).save(stream, "PNG")
    data = bytearray(stream.getvalue())
    data[len(data) // 2] ^= 0xFF
    return bytes(data)


FAULTS: dict[str, tuple[Callable[[dict[str, Any]], None], str, str]] = {
    "missing image": (lambda row: row.update(images=[]), "missing image", "1 <image> placeholders for 0 images"),
    "picture of no bytes": (lambda row: _put(row, b""), "missing image", "no bytes"),
    "truncated jpeg": (lambda row: _put(row, _jpeg()[:-40]), "corrupt image", "picture 1 of row row-3"),
    "corrupt jpeg": (lambda row: _put(row, _no_tables(_jpeg())), "corrupt image", "picture 1 of row row-3"),
    "other bytes": (lambda row: row["images"][0].update(path="0" * 64 + ".png"), "hash", "has the hash"),
    "unknown role": (lambda row: row["messages"][0].update(role="doctor"), "unknown role", "'doctor'"),
    "empty answer": (lambda row: _answer(row, ""), "empty answer", "answer is empty"),
    "blank answer": (lambda row: _answer(row, "  \n"), "empty answer", "spaces only"),
    "wrong level": (lambda row: row.update(levels=["L9"]), "wrong level", "L9"),
    "wrong answer level": (
        lambda row: (_answer(row, "L9"), row.update(answer_kind="level"))[0], "wrong level", "neither a vertebra",
    ),
    "repeated id": (lambda row: row.update(id="row-0"), "repeated id", "row-0"),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_is_named_by_file_and_line(name: str, micro_base: Path, micro_release: Path, tmp_path: Path) -> None:
    spoil, reason, said = FAULTS[name]
    release = _spoiled(micro_release, tmp_path / "release", lambda rows: spoil(rows[3]))
    with pytest.raises(RowFaults) as caught:
        verify(_config(micro_base, release))
    assert len(caught.value.faults) == 1
    line = str(caught.value)
    assert line.startswith(f"{release / 'data' / 'train.parquet'}:4: {reason}")
    assert said in line
    assert "Cure:" in line


def test_all_faults_come_together_and_a_sound_release_has_none(
    micro_base: Path, micro_release: Path, tmp_path: Path
) -> None:
    found = verify(_config(micro_base, micro_release))
    assert found.read == {"only": 24}
    assert found.notes == []
    assert "Which vertebra is marked?" in found.prompt
    assert "tokens with loss:]]T11" in found.prompt

    def spoil(rows: list[dict[str, Any]]) -> None:
        rows[0]["messages"][0]["role"] = "doctor"
        _answer(rows[9], "")
        _put(rows[21], b"no picture")

    release = _spoiled(micro_release, tmp_path / "release", spoil)
    with pytest.raises(RowFaults) as caught:
        verify(_config(micro_base, release))
    assert [fault.line for fault in caught.value.faults] == [1, 10, 22]
    assert len(str(caught.value).splitlines()) == 3


def test_slices_of_a_patient_bring_their_places_into_the_prompt(
    micro_base: Path, micro_release: Path, tmp_path: Path
) -> None:
    from spinemed.vlm.series import slices_of
    from spinemed.volume import Volume
    from train.rows import read_release

    volume = Volume(np.random.default_rng(0).random((3, 32, 32)), np.diag([4.0, 1.0, 1.0, 1.0]))
    (slice_,) = slices_of(volume, sequence="T2w", most=1)
    release = _spoiled(micro_release, tmp_path / "release", lambda rows: _put(rows[0], slice_.png))
    prompt = verify(_config(micro_base, release)).prompt
    assert f"Series A (id {slice_.place.series}): T2w, sagittal, 1 of 3 slices\nR 0.0 mm: " in prompt
    rows, _ = read_release(release, "train")
    assert rows[0].messages[0].content.startswith("Series A (id ")
    assert rows[1].messages[0].content.startswith("<image>")


def test_headers_find_what_is_cut_short_and_pixels_find_the_rest() -> None:
    whole = _jpeg()
    headers, pixels = PictureCheck(pixels=False), PictureCheck(pixels=True)
    assert headers("a", whole) == pixels("a", whole) == (48, 48)
    assert "end mark" in str(headers("b", whole[:-40]))
    assert headers("c", _broken_png()) == (48, 48)
    assert isinstance(pixels("c", _broken_png()), str)


def test_rows_that_are_too_long_or_speak_of_no_level_are_noted_by_line(
    micro_base: Path, micro_release: Path, tmp_path: Path
) -> None:
    def spoil(rows: list[dict[str, Any]]) -> None:
        _answer(rows[5], "the next one " * 60)
        _answer(rows[8], "There is a fracture of L9.")

    release = _spoiled(micro_release, tmp_path / "release", spoil)
    found = verify(_config(micro_base, release))
    assert [(note.reason, note.line) for note in found.notes] == [("too_long", 6), ("unknown_level", 9)]
    assert "more than 120" in found.notes[0].detail
    assert found.stages[0]["dropped"] == {"too_long": 1}
    assert found.stages[0]["rows"] == 23


@pytest.mark.parametrize("shared", ["id", "group", "picture", "question"])
def test_the_benchmark_is_found_among_the_rows(
    shared: str, micro_base: Path, micro_release: Path, tmp_path: Path
) -> None:
    rows = pq.read_table(micro_release / "data" / "train.parquet").to_pylist()
    image = rows[3]["images"][0]["path"]
    samples = tmp_path / "samples"
    (samples / "images").mkdir(parents=True)
    (samples / "images" / image).write_bytes(rows[3]["images"][0]["bytes"])
    asked = "<image>\nWhich level is this?" if shared == "picture" else "Another question?"
    if shared == "question":
        asked = rows[2]["messages"][0]["content"].upper() + " !"
    sample = Sample(
        id="row-3" if shared == "id" else "sample-1", axis="level_identification", task="level",
        messages=(Message(role="user", content=asked),), images=(f"images/{image}",) if shared == "picture" else (),
        answer="L1", answer_kind="level", cluster="spine-3" if shared == "group" else "another", origin="phantom",
        source_id="test",
    )  # fmt: skip
    write_jsonl(samples / "samples.jsonl", [sample])
    write_manifest(samples, "samples")
    with pytest.raises(RowFaults) as caught:
        verify(_config(micro_base, micro_release, benchmarks=[samples]))
    lines = {fault.line for fault in caught.value.faults}
    assert {fault.reason for fault in caught.value.faults} == {"leak"}
    expected = {letters(row["messages"][0]["content"]): set() for row in rows}
    for number, row in enumerate(rows, 1):
        expected[letters(row["messages"][0]["content"])].add(number)
    assert lines == (expected[letters(asked)] if shared == "question" else {4})


def test_another_copy_of_a_picture_leaks_and_shared_words_are_noted(
    micro_base: Path, micro_release: Path, tmp_path: Path
) -> None:
    words = "name the vertebra below the one that bears the last pair of ribs in this adult spine"
    rows = pq.read_table(micro_release / "data" / "train.parquet").to_pylist()
    samples = tmp_path / "samples"
    (samples / "images").mkdir(parents=True)
    with Image.open(io.BytesIO(rows[3]["images"][0]["bytes"])) as picture:
        picture.save(samples / "images" / "copy.png", "PNG", compress_level=0)  # other bytes, the same pixels
    common = {"axis": "level_identification", "task": "level", "answer": "L1", "answer_kind": "level",
              "cluster": "other", "origin": "phantom", "source_id": "test"}  # fmt: skip
    texts = [("s-1", words, ()), ("s-2", "<image>\nAnother question?", ("images/copy.png",))]
    made = [
        Sample(id=name, messages=(Message(role="user", content=text),), images=shown, **common)  # type: ignore[arg-type]
        for name, text, shown in texts
    ]
    write_jsonl(samples / "samples.jsonl", made)
    write_manifest(samples, "samples")

    def spoil(rows: list[dict[str, Any]]) -> None:
        rows[8]["messages"][0]["content"] = f"Please {words}, if you can."

    release = _spoiled(micro_release, tmp_path / "release", spoil)
    with pytest.raises(RowFaults) as caught:
        verify(_config(micro_base, release, benchmarks=[samples]))
    assert [(fault.reason, fault.line) for fault in caught.value.faults] == [("leak", 4)]
    write_jsonl(samples / "samples.jsonl", made[:1])
    write_manifest(samples, "samples")
    found = verify(_config(micro_base, release, benchmarks=[samples]))
    assert [(note.reason, note.line) for note in found.notes] == [("resembles", 9)]
    assert "runs of 13 words" in found.notes[0].detail


def test_changed_files_and_foreign_folders_are_refused(micro_base: Path, micro_release: Path, tmp_path: Path) -> None:
    release = tmp_path / "release"
    shutil.copytree(micro_release, release)
    file = release / "data" / "train.parquet"
    data = bytearray(file.read_bytes())
    data[100] ^= 1
    file.write_bytes(bytes(data))
    with pytest.raises(ReadError, match="differs from its manifest"):
        verify(_config(micro_base, release))
    with pytest.raises(ModelError, match="no such checkpoint"):
        verify(_config(tmp_path / "absent", micro_release))
    with pytest.raises(ModelError, match=r"Qwen2\.5-VL-7B-Instruct"):
        verify(_config(tmp_path / "absent", micro_release), dry_run=True)


def test_settings_that_cannot_work_name_their_field(micro_base: Path, micro_release: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"stages\.0\.max_tokens"):
        verify(_config(micro_base, micro_release, {"max_tokens": 300}), dry_run=True)
    zero = tmp_path / "zero.json"
    for values, said in (
        ({"zero_optimization": {"stage": 7}}, "no ZeRO stage"),
        ({"zero_optimization": {"stage": 2, "offload_param": {"device": "cpu"}}}, "needs ZeRO stage 3"),
    ):
        zero.write_text(json.dumps(values))
        with pytest.raises(ConfigError, match=said):
            verify(_config(micro_base, micro_release, {"deepspeed": zero}), dry_run=True)
    with pytest.raises(ConfigError, match=r"absent\.json"):
        verify(_config(micro_base, micro_release, {"deepspeed": tmp_path / "absent.json"}), dry_run=True)


def test_lengths_fill_and_steps_agree_with_the_rows_laid_out(micro_base: Path, micro_release: Path) -> None:
    from spinemed.vlm.layout import Encoded, Layout
    from spinemed.vlm.processor import load_processor
    from train.rows import read_release

    layout = Layout(load_processor(micro_base), max_tokens=120)
    rows, _ = read_release(micro_release, "train")
    made = [layout.encode(row.messages, [image.bytes for image in row.images], training=True) for row in rows]
    lengths = [row.length for row in made if isinstance(row, Encoded)]
    answers = sum(row.answer_tokens for row in made if isinstance(row, Encoded))
    (facts,) = verify(_config(micro_base, micro_release)).stages
    assert facts["tokens_a_pass"] == sum(lengths)
    assert facts["answer_tokens_a_pass"] == answers
    assert facts["longest"] == max(lengths)
    assert facts["steps"] == 12  # 24 rows in batches of 4, twice
    assert sum(count for _, _, count in facts["histogram"]) == 24
    assert facts["fill_percent"] + facts["padding_percent"] == pytest.approx(100, abs=0.11)

    packed = {"packing": "packed", "schedule": {"epochs": 1, "batch_size": 1}, "bin_tokens": 256}
    found = verify(_config(micro_base, micro_release, packed))
    bins = found.stages[0]["batches"]
    assert found.stages[0]["fill_percent"] == pytest.approx(100 * sum(lengths) / (bins * 256), abs=0.06)
    assert found.stages[0]["steps"] == bins
    assert any("packed = alone within" in line for line in found.said)


def test_families_without_header_lengths_are_laid_out_instead(
    micro_base: Path, micro_release: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = verify(_config(micro_base, micro_release)).stages[0]
    monkeypatch.setattr("spinemed.vlm.layout.Layout.measure", None)
    monkeypatch.delattr("transformers.models.qwen3_vl.processing_qwen3_vl.Qwen3VLProcessor._get_num_multimodal_tokens")
    assert verify(_config(micro_base, micro_release)).stages[0] == measured


def test_a_share_of_the_mixture_is_counted_as_it_is_drawn(micro_base: Path, micro_release: Path) -> None:
    half = _config(micro_base, micro_release, {"mixture": [{"release": "only", "weight": 0.5}]})
    assert verify(half).stages[0]["rows_a_pass"] == 12
    twice = _config(micro_base, micro_release, {"mixture": [{"release": "only", "weight": 2}]})
    assert verify(twice).stages[0]["steps"] == 24
    none = _config(micro_base, micro_release, {"mixture": [{"release": "only", "tasks": ["report"]}]})
    with pytest.raises(RecordError, match="share 1 of stage one names no row"):
        verify(none)
    with pytest.raises(RecordError, match="no row to train on: {'too_long': 24}"):
        verify(_config(micro_base, micro_release, {"max_tokens": 16}))


def test_a_curriculum_is_planned_as_the_run_orders_it(micro_base: Path, micro_release: Path, tmp_path: Path) -> None:
    def number(rows: list[dict[str, Any]]) -> None:
        for place, row in enumerate(rows):
            row["tags"] = [f"difficulty:{place % 3}"]  # 2 is every text: rows of one kind come together

    def padding(curriculum: str) -> float:
        stage = {"packing": "padded", "curriculum": curriculum, "schedule": {"epochs": 1, "batch_size": 4}}
        return float(verify(_config(micro_base, tagged, stage)).stages[0]["padding_percent"])

    tagged = _spoiled(micro_release, tmp_path / "tagged", number)
    assert padding("length") < padding("difficulty") < padding("none")


def test_what_the_run_would_refuse_is_said_before(micro_base: Path, micro_release: Path, tmp_path: Path) -> None:
    with pytest.raises(RowFaults, match=r"train\.parquet:1: schema: stage one is ordered by difficulty") as caught:
        verify(_config(micro_base, micro_release, {"curriculum": "difficulty"}))
    assert len(caught.value.faults) == 24
    spoil = _spoiled(
        micro_release, tmp_path / "words", lambda rows: [row.update(tags=["difficulty:hard"]) for row in rows]
    )
    with pytest.raises(RowFaults, match="has no tag difficulty:N"):
        verify(_config(micro_base, spoil, {"curriculum": "difficulty"}))
    remarks = verify(_config(micro_base, micro_release), processes=3).said
    assert any("cannot be trained by 3 processes" in line for line in remarks)
    assert not any("cannot be trained" in line for line in verify(_config(micro_base, micro_release), processes=1).said)


@pytest.mark.parametrize(
    "file", sorted((Path(__file__).parents[2] / "configs" / "train").glob("*.yaml")), ids=lambda path: path.stem
)
def test_shipped_configs_pass_a_dry_run(file: Path) -> None:
    config = load_config(file, TrainConfig)
    found = verify(config, dry_run=True)
    assert [facts["name"] for facts in found.stages] == [stage.name for stage in config.stages]
    assert all(facts["memory_total_gb"] > 0 for facts in found.stages)
    assert any(gpu["fits"] for facts in found.stages for gpu in facts["gpus"].values())


def test_the_command_prints_one_line_a_fault_and_leaves_with_2(
    micro_base: Path,
    micro_release: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from spinemed.cli import main

    release = _spoiled(micro_release, tmp_path / "release", lambda rows: [_answer(rows[4], ""), _answer(rows[6], "")])
    file = tmp_path / "job.yaml"
    file.write_text(yaml.safe_dump({"base": str(micro_base), "releases": {"only": "release"}, "stages": [STAGE]}))
    with pytest.raises(SystemExit) as left:
        main(["train", "verify", str(file)])
    assert left.value.code == 2
    lines = capsys.readouterr().err.strip().splitlines()[-2:]
    for line, number in zip(lines, (5, 7), strict=True):
        assert f"{release / 'data' / 'train.parquet'}:{number}: empty answer" in line
        assert "Cure:" in line


def test_plan_prints_what_it_writes(micro_base: Path, micro_release: Path, tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from train.cli import app

    file, written = tmp_path / "job.yaml", tmp_path / "plan.json"
    values = {"base": str(micro_base), "releases": {"only": str(micro_release)}, "stages": [STAGE]}
    file.write_text(yaml.safe_dump(values))
    done = CliRunner().invoke(app, ["plan", str(file), "--gpus", "1", "--json", str(written)])
    assert done.exit_code == 0, done.output
    (facts,) = json.loads(written.read_text())["stages"]
    assert f"{facts['tokens']:,}" in done.output
    assert facts["steps"] == 12
    assert "disk of stage one: checkpoints" in done.output
