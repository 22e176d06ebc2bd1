"""Fine-tuning: exact loss, nothing cut, adapters that reload, a killed run that ends as if it had not been killed."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from unittest.mock import ANY

import numpy as np
import pytest
import torch
import yaml
from pydantic import ValidationError

from spinemed.config import dump_config
from spinemed.errors import ConfigError, ReadError, RecordError
from spinemed.records import ReleaseRow
from spinemed.tables import read_records, write_manifest, write_records
from spinemed.vlm.layout import Layout
from spinemed.vlm.load import load_model, load_pair
from train.config import TrainConfig
from train.merge import merge_adapter
from train.plan import plan_order
from train.rows import Planned, TrainingRows, read_release
from train.run import resume, run_training
from train.trainer import answer_loss, multiplies_bfloat16, newest_checkpoint

QUICK = {"steps": 4, "batch_size": 4, "learning_rate": 0.01, "warmup_steps": 1, "save_every": 2, "log_every": 1}


EVERYTHING = {"vision": "train", "projector": "train", "language": "train"}


def _config(base: Path, release: Path, stage: dict[str, object] | None = None, **more: object) -> TrainConfig:
    own = {"name": "sft", "mixture": [{"release": "main"}], "schedule": QUICK, "max_tokens": 96, **(stage or {})}
    values = {"base": base, "releases": {"main": release}, "stages": [own], "threads": 1, **more}
    return TrainConfig.model_validate(values)


def _metrics(out: Path) -> list[dict[str, float]]:
    events = [json.loads(line) for line in (out / "journal.jsonl").read_text().splitlines()]
    return [event for event in events if event["event"] == "metrics" and "loss" in event]


def _batch(base: Path, release: Path, count: int) -> tuple[object, Layout, list[object]]:
    model, processor = load_pair(base)
    layout = Layout(processor, max_tokens=200)
    data = TrainingRows(read_release(release, "train")[0], layout)
    return model, layout, [data[number] for number in range(count)]


def test_four_times_one_row_is_one_time_four_rows(micro_base: Path, micro_release: Path) -> None:
    gradients = []
    for size in (4, 1):
        model, layout, rows = _batch(micro_base, micro_release, 4)
        total = sum(row.answer_tokens for row in rows)  # type: ignore[attr-defined]
        loss = 0.0
        for start in range(0, 4, size):
            batch = layout.collate(rows[start : start + size], training=True)  # type: ignore[arg-type]
            labels = batch.pop("labels")
            part = answer_loss(model(**batch), labels, total)  # type: ignore[operator]
            part.backward()
            loss += float(part.detach())
        gradients.append(torch.cat([w.grad.flatten() for w in model.parameters() if w.grad is not None]))  # type: ignore[attr-defined]
        gradients.append(torch.tensor([loss]))
    assert torch.allclose(gradients[0], gradients[2], atol=1e-5)
    assert torch.allclose(gradients[1], gradients[3], atol=1e-5)
    assert float(gradients[0].abs().max()) > 1e-3


def test_loss_counts_answer_tokens_only() -> None:
    logits = torch.zeros(1, 4, 5)
    logits[0, 1, 2] = 3.0
    labels = torch.tensor([[-100, -100, 2, -100]])
    expected = torch.nn.functional.cross_entropy(logits[0, 1:2], torch.tensor([2]))
    assert torch.allclose(answer_loss({"logits": logits}, labels), expected)
    assert torch.allclose(answer_loss({"logits": logits}, labels, 4), expected / 4)


def test_plan_uses_rows_equally_and_repeats() -> None:
    lengths = np.arange(10) + 3
    order = plan_order(lengths, batch_size=4, batches=5, seed=1)
    assert sorted(np.bincount(order, minlength=10)) == [2] * 10
    assert (order == plan_order(lengths, batch_size=4, batches=5, seed=1)).all()
    assert (order != plan_order(lengths, batch_size=4, batches=5, seed=2)).any()
    assert [Planned("abcdefghij", order)[place] for place in range(3)] == ["abcdefghij"[n] for n in order[:3]]


def test_long_rows_are_counted_and_left_whole(micro_base: Path, micro_release: Path) -> None:
    _, processor = load_pair(micro_base)
    rows, _ = read_release(micro_release, "train")
    everything = TrainingRows(rows, Layout(processor, max_tokens=250))
    limit = max(everything.lengths) - 1
    fewer = TrainingRows(rows, Layout(processor, max_tokens=limit), cache_mb=0)
    assert not everything.dropped
    assert fewer.dropped["too_long"] == sum(length > limit for length in everything.lengths) > 0
    kept = [row.id for row in everything.kept]
    for number, row in enumerate(fewer.kept):
        assert torch.equal(fewer[number].input_ids, everything[kept.index(row.id)].input_ids)
        assert fewer[number].vision.keys() == everything[kept.index(row.id)].vision.keys()


def test_lora_adapter_reloads_and_merges_to_the_same_loss(
    micro_base: Path, micro_release: Path, tmp_path: Path
) -> None:
    whole = run_training(_config(micro_base, micro_release), tmp_path / "run")
    adapter = whole.parent / "adapter"
    assert not Path(json.loads((adapter / "adapter_config.json").read_text())["base_model_name_or_path"]).is_absolute()
    merged = merge_adapter(adapter, tmp_path / "merged", precision="float32")
    _, layout, rows = _batch(micro_base, micro_release, 6)
    batch = layout.collate(rows, training=True)  # type: ignore[arg-type]
    labels = batch.pop("labels")
    with torch.inference_mode():
        losses = [
            float(answer_loss(model(**batch), labels))
            for model in (load_model(adapter, merge=False), load_model(adapter), load_model(merged), load_model(whole))
        ]
        untrained = float(answer_loss(load_model(micro_base)(**batch), labels))
    assert losses == pytest.approx([losses[0]] * 4, abs=1e-5)
    assert abs(losses[0] - untrained) > 1e-2
    half = merge_adapter(adapter, tmp_path / "half", precision="bfloat16")
    assert next(load_model(half, precision="auto").parameters()).dtype == torch.bfloat16


def test_inputs_that_are_wrong_name_file_and_cure(micro_base: Path, micro_release: Path, tmp_path: Path) -> None:
    broken = tmp_path / "release"
    shutil.copytree(micro_release, broken)
    file = broken / "data" / "train.parquet"
    file.write_bytes(file.read_bytes()[:-200])
    with pytest.raises(ReadError, match=r"train\.parquet"):
        run_training(_config(micro_base, broken), tmp_path / "a")
    write_manifest(broken, "release")  # the manifest now vouches for the truncated file
    with pytest.raises(ReadError, match="not a complete Parquet file"):
        run_training(_config(micro_base, broken), tmp_path / "b")
    with pytest.raises(RecordError, match="no row can be trained on"):
        run_training(_config(micro_base, micro_release, {"max_tokens": 16}), tmp_path / "c")
    with pytest.raises(ConfigError, match=r"lora\.targets"):
        run_training(_config(micro_base, micro_release, {"lora": {"targets": "no_such_layer"}}), tmp_path / "d")
    for name in "abcd":
        assert list((tmp_path / name / "outputs").glob("[!.]*")) == []


def test_truncated_release_is_one_line_and_exit_code_2(
    micro_base: Path, micro_release: Path, tmp_path: Path, spinemed: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    broken = tmp_path / "release"
    shutil.copytree(micro_release, broken)
    file = broken / "data" / "train.parquet"
    file.write_bytes(file.read_bytes()[:-200])
    write_manifest(broken, "release")
    config = tmp_path / "sft.yaml"
    stage = {"name": "sft", "mixture": [{"release": "main"}], "schedule": QUICK}
    config.write_text(yaml.safe_dump({"base": str(micro_base), "releases": {"main": "release"}, "stages": [stage]}))
    done = spinemed("train", "run", config, "--out", tmp_path / "run")
    assert done.returncode == 2
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1
    assert str(file) in lines[0]
    assert "Cure:" in lines[0]
    assert list((tmp_path / "run" / "outputs").iterdir()) == []


def test_bfloat16_is_used_only_where_the_processor_has_it(tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("the GPU decides")
    file = tmp_path / "cpuinfo"
    file.write_text("flags : fpu avx2 avx512f avx512_bf16\n")
    assert multiplies_bfloat16(file)
    file.write_text("flags : fpu avx2 avx512f\n")
    assert not multiplies_bfloat16(file)
    assert not multiplies_bfloat16(tmp_path / "absent")


def test_half_written_checkpoint_does_not_count(tmp_path: Path) -> None:
    for step in (2, 4):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        (folder / "weights").write_bytes(b"x" * 10)
        (folder / "complete.json").write_text(json.dumps({"step": step, "bytes": {"weights": 10}}))
    (tmp_path / "checkpoint-4" / "weights").write_bytes(b"x" * 9)
    (tmp_path / "checkpoint-6").mkdir()
    assert newest_checkpoint(tmp_path) == tmp_path / "checkpoint-2"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-2"]


def test_a_kill_in_the_middle_of_a_checkpoint_leaves_the_one_before_and_changes_nothing(
    micro_base: Path, micro_release: Path, tmp_path: Path, crew: Callable[..., list[int]]
) -> None:
    schedule = {
        "steps": 6, "batch_size": 4, "global_batch_size": 8, "learning_rate": 0.01, "warmup_steps": 2,
        "save_every": 2, "log_every": 1,
    }  # fmt: skip
    config = tmp_path / "run.yaml"
    stage = {"lora": {"rank": 4, "dropout": 0.1}, "schedule": schedule}
    config.write_text(dump_config(_config(micro_base, micro_release, stage)))
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    crew(config, whole, world=1)
    assert crew(config, killed, world=1, kill_at=4) == [-signal.SIGKILL]
    left = killed / "scratch" / "sft"
    assert (left / "checkpoint-4" / "adapter_model.safetensors").is_file()
    assert not (left / "checkpoint-4" / "complete.json").exists()
    assert not (killed / "outputs" / "adapter").exists()
    assert newest_checkpoint(left, clean=False) == left / "checkpoint-2"

    resume(killed)
    assert '"resumed", "stage": "sft", "checkpoint": "checkpoint-2"' in (killed / "journal.jsonl").read_text()
    assert _metrics(killed)[-3:] == [{**event, "time": ANY} for event in _metrics(whole)[-3:]]
    for name in ("adapter/adapter_model.safetensors", "adapter/manifest.json", "model/model.safetensors"):
        assert (whole / "outputs" / name).read_bytes() == (killed / "outputs" / name).read_bytes(), name


def test_another_release_at_the_same_place_is_trained_from_the_start(
    micro_base: Path, micro_release: Path, tmp_path: Path
) -> None:
    release = tmp_path / "release"
    shutil.copytree(micro_release, release)
    config = _config(micro_base, release)
    run_training(config, tmp_path / "run")
    rows = list(read_records(release / "data" / "train.parquet", ReleaseRow))
    write_records(release / "data" / "train.parquet", ReleaseRow, rows[: len(rows) // 2])
    write_manifest(release, "release")
    again, fresh = run_training(config, tmp_path / "run"), run_training(config, tmp_path / "fresh")
    for name in ("model.safetensors", "manifest.json"):
        assert (again / name).read_bytes() == (fresh / name).read_bytes(), name


def test_held_out_splits_are_refused(micro_base: Path, micro_release: Path) -> None:
    with pytest.raises(ValidationError, match="split"):
        _config(micro_base, micro_release, split="test")


def test_first_losses_are_pinned(micro_base: Path, micro_release: Path, tmp_path: Path) -> None:
    # These are the losses of the first version of this trainer. A change that moves them changes what is learned.
    for method, losses in (
        ("lora", [5.674976825714111, 5.697695255279541, 5.777834892272949, 5.489255428314209]),
        ("full", [5.674976825714111, 5.697695255279541, 5.6985578536987305, 5.050731658935547]),
    ):
        schedule = {**QUICK, "steps": 12}
        parts = EVERYTHING if method == "full" else {"language": "train"}
        out = tmp_path / method
        run_training(_config(micro_base, micro_release, {"method": method, "parts": parts, "schedule": schedule}), out)
        assert [event["loss"] for event in _metrics(out)][:4] == pytest.approx(losses, rel=1e-5)
