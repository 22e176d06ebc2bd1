"""Many processes: one gradient whatever shares the work, engines that are what was asked for, no waiting for ever."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file
from transformers import TrainingArguments

from spinemed.config import dump_config
from spinemed.errors import ConfigError, RunError
from train.checkpoints import check_world, mark_complete
from train.config import TrainConfig
from train.engines import check_engine, engine_arguments, one_gpu, read_deepspeed
from train.parts import part_of
from train.trainer import _agreed

Crew = Callable[..., list[int]]
EVERYTHING = {"vision": "train", "projector": "train", "language": "train"}


def job(base: Path, release: Path, folder: Path, **stage: Any) -> Path:
    schedule = {
        "steps": 10, "batch_size": 2, "global_batch_size": 4, "learning_rate": 0.003, "warmup_steps": 1,
        "save_every": 20, "log_every": 1, **stage.pop("schedule", {}),
    }  # fmt: skip
    own = {"name": "sft", "mixture": [{"release": "main"}], "schedule": schedule, "max_tokens": 96, **stage}
    config = TrainConfig.model_validate(
        {"base": base, "releases": {"main": release}, "stages": [own], "threads": 1, "logs": {"tensorboard": False}}
    )
    file = folder / "job.yaml"
    file.write_text(dump_config(config))
    return file


def zero(folder: Path, stage: int) -> Path:
    file = folder / f"zero{stage}.json"
    file.write_text(json.dumps({"zero_optimization": {"stage": stage}}))
    return file


def events(out: Path, name: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (out / "journal.jsonl").read_text().splitlines()]
    return [line for line in lines if line["event"] == name]


def steps(out: Path) -> list[tuple[float, float]]:
    return [(line["loss"], line["grad_norm"]) for line in events(out, "metrics") if "loss" in line]


@pytest.mark.parametrize(("weights", "first", "count"), [("float32", 1e-5, 10), ("float64", 1e-6, 1)])
def test_four_by_one_is_one_by_four_is_two_processes(
    micro_base: Path, micro_release: Path, tmp_path: Path, crew: Crew, weights: str, first: float, count: int
) -> None:
    config = job(micro_base, micro_release, tmp_path, method="full", parts=EVERYTHING, schedule={"steps": count})
    found = {}
    for name, size, world in (("4x1", 4, 1), ("1x4", 1, 1), ("two", 1 if count == 1 else 2, 2)):
        out = tmp_path / name
        crew(config, out, world=world, overrides=[f"stages.0.schedule.batch_size={size}", f"weights={weights}"])
        found[name] = steps(out)
        assert len(found[name]) == count
        wrapped = "DistributedDataParallel" if world == 2 else "Qwen3VLForConditionalGeneration"
        assert events(out, "engine")[0]["engine"] == wrapped
    for name, other in found.items():
        assert other[0] == pytest.approx(found["4x1"][0], rel=first), name
        assert [loss for loss, _ in other] == pytest.approx([loss for loss, _ in found["4x1"]], rel=1e-4), name


@pytest.mark.parametrize("stage", [2, 3])
def test_zero_shards_and_says_so_and_saves_whole_weights(
    micro_base: Path, micro_release: Path, tmp_path: Path, crew: Crew, stage: int
) -> None:
    config = job(micro_base, micro_release, tmp_path, schedule={"steps": 4, "save_every": 2})
    engine = f"stages.0.deepspeed={zero(tmp_path, stage)}"
    # Batches of one row: in most steps one process has a picture and the other has none.
    single = "stages.0.schedule.batch_size=1"
    crew(config, tmp_path / "ddp", overrides=[single])
    crew(config, tmp_path / "zero", overrides=[single, engine], seconds=90)
    told = events(tmp_path / "zero", "engine")[0]
    assert (told["engine"], told["zero"], told["processes"]) == ("DeepSpeedEngine", stage, 2)
    for (loss, norm), (other, other_norm) in zip(steps(tmp_path / "ddp"), steps(tmp_path / "zero"), strict=True):
        assert (other, other_norm) == pytest.approx((loss, norm), rel=1e-4)
    for name in ("adapter/adapter_model.safetensors", "model/model.safetensors"):
        mine, theirs = (load_file(tmp_path / run / "outputs" / name) for run in ("ddp", "zero"))
        assert mine.keys() == theirs.keys()
        for key, tensor in mine.items():
            assert torch.allclose(theirs[key], tensor, atol=1e-4), key
            assert "lora_B" not in key or bool(theirs[key].any()), key

    if stage == 3:
        return  # goes on alike; the full figures test it

    # Killed between two checkpoints, it goes on to the same digits; shares fit the same number of processes only.
    whole = steps(tmp_path / "zero")
    shutil.rmtree(tmp_path / "zero" / "outputs")
    shutil.rmtree(tmp_path / "zero" / "scratch" / "sft" / "checkpoint-4")
    (tmp_path / "zero" / "journal.jsonl").unlink()
    shutil.copytree(tmp_path / "zero", tmp_path / "fewer")
    crew(config, tmp_path / "zero", overrides=[single, engine])
    assert events(tmp_path / "zero", "resumed")[0]["checkpoint"] == "checkpoint-2"
    assert steps(tmp_path / "zero") == whole[2:]
    crew(config, tmp_path / "fewer", world=1, overrides=[single, engine], fails=True)
    assert "ZeRO shares work among processes" in (tmp_path / "fewer.log").read_text()


def test_stages_of_different_engines_follow_each_other(
    micro_base: Path, micro_release: Path, tmp_path: Path, crew: Crew
) -> None:
    one = job(
        micro_base, micro_release, tmp_path, method="full", parts=EVERYTHING, deepspeed=zero(tmp_path, 3),
        packing="packed", schedule={"steps": 2, "batch_size": 1, "global_batch_size": 2},
    )  # fmt: skip
    values = yaml.safe_load(one.read_text())
    first = values["stages"][0]
    second = {**first, "name": "next", "deepspeed": None, "packing": "grouped"}
    (tmp_path / "two.yaml").write_text(yaml.safe_dump({**values, "stages": [first, second]}))
    crew(tmp_path / "two.yaml", tmp_path / "run", seconds=90)
    told = [(line["stage"], line["engine"], line["zero"]) for line in events(tmp_path / "run", "engine")]
    assert told == [("sft", "DeepSpeedEngine", 3), ("next", "DistributedDataParallel", 0)]
    assert "packed = alone" in events(tmp_path / "run", "packing")[0]["reason"]
    before, between, after = (
        load_file(folder / "model.safetensors")
        for folder in (micro_base, tmp_path / "run" / "outputs" / "sft_model", tmp_path / "run" / "outputs" / "model")
    )
    assert before.keys() == between.keys() == after.keys()
    for one_stage, next_stage in ((before, between), (between, after)):
        assert {part_of(name) for name, tensor in one_stage.items() if not torch.equal(tensor, next_stage[name])} == {
            "vision", "projector", "language",
        }  # fmt: skip


def test_a_checkpoint_of_two_processes_goes_on_in_one(
    micro_base: Path, micro_release: Path, tmp_path: Path, crew: Crew, root: Path
) -> None:
    config = job(micro_base, micro_release, tmp_path, schedule={"steps": 6, "save_every": 2})
    # Started as on a cluster; the other tests fork their processes to save time.
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "spinemed"]
    done = subprocess.run(
        [*launch, "train", "run", str(config), "--out", str(tmp_path / "two")],
        cwd=root, capture_output=True, text=True, timeout=180, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    assert events(tmp_path / "two", "engine")[0]["engine"] == "DistributedDataParallel"
    whole = steps(tmp_path / "two")
    # As a kill after the checkpoint of step 4 would leave it.
    shutil.rmtree(tmp_path / "two" / "outputs")
    shutil.rmtree(tmp_path / "two" / "scratch" / "sft" / "checkpoint-6")
    (tmp_path / "two" / "journal.jsonl").unlink()
    crew(config, tmp_path / "two", world=1)
    assert events(tmp_path / "two", "resumed")[0]["checkpoint"] == "checkpoint-4"
    for (loss, norm), (other, other_norm) in zip(whole[4:], steps(tmp_path / "two"), strict=True):
        assert (other, other_norm) == pytest.approx((loss, norm), rel=1e-4)
    ledger = [json.loads(line) for line in (tmp_path / "two" / "ledger.jsonl").read_text().splitlines()]
    assert [(line["processes"], line["from_step"]) for line in ledger] == [(2, 0), (1, 4)]


def test_rows_that_cannot_be_shared_end_the_job_in_every_process(
    micro_base: Path, micro_release: Path, tmp_path: Path, crew: Crew
) -> None:
    config = job(micro_base, micro_release, tmp_path)
    crew(config, tmp_path / "run", overrides=["stages.0.schedule.batch_size=4"], fails=True, seconds=60)
    assert "cannot be shared by 2 processes" in (tmp_path / "run.log").read_text()


def test_shares_of_an_optimiser_fit_the_processes_that_wrote_them(tmp_path: Path) -> None:
    mark_complete(tmp_path, 4, world=2, zero=2)
    check_world(tmp_path, world=2, zero=2)
    for world, stage in ((1, 2), (4, 2), (2, 3), (2, 0)):
        with pytest.raises(RunError, match="was written by 2 processes under ZeRO-2"):
            check_world(tmp_path, world=world, zero=stage)
    mark_complete(tmp_path, 4, world=2, zero=0)
    check_world(tmp_path, world=1, zero=0)
    with pytest.raises(RunError, match="2 processes without ZeRO"):
        check_world(tmp_path, world=2, zero=2)


def test_all_processes_go_on_from_the_checkpoint_of_the_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def told(what: list[Any], src: int) -> None:
        what[0] = "checkpoint-4"

    assert _agreed(None, tmp_path) is None
    monkeypatch.setattr("train.trainer.process_count", lambda: 2)
    monkeypatch.setattr(torch.distributed, "broadcast_object_list", told)
    with pytest.raises(RunError, match="this one does not see it"):
        _agreed(tmp_path / "checkpoint-2", tmp_path)
    (tmp_path / "checkpoint-4").mkdir()
    mark_complete(tmp_path / "checkpoint-4", 4)
    assert _agreed(tmp_path / "checkpoint-2", tmp_path) == tmp_path / "checkpoint-4"


def test_another_engine_than_was_asked_for_is_named() -> None:
    with pytest.raises(RunError, match="DeepSpeed with ZeRO-2 was asked for, and Linear came up"):
        check_engine(torch.nn.Linear(1, 1), 2)
    with pytest.raises(RunError, match="no wrapper for one process was asked for, and DataParallel came up"):
        check_engine(torch.nn.DataParallel(torch.nn.Linear(1, 1)), 0)
    assert check_engine(torch.nn.Linear(1, 1), 0) == {"engine": "Linear", "zero": 0, "processes": 1}


def test_the_config_alone_names_the_number_format(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")  # as `accelerate launch --mixed_precision bf16` leaves it
    engine, _ = engine_arguments(None)
    assert TrainingArguments(output_dir=str(tmp_path), bf16=False, **engine).mixed_precision == "no"


def test_a_process_alone_draws_the_planned_rows_on_a_machine_of_many_gpus(tmp_path: Path) -> None:
    arguments = TrainingArguments(output_dir=str(tmp_path), per_device_train_batch_size=4, use_cpu=True)
    assert one_gpu(arguments) == 0
    arguments._n_gpu = 8
    assert arguments.train_batch_size == 32  # what transformers would draw
    assert one_gpu(arguments) == 7
    assert arguments.train_batch_size == 4


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"zero_optimization": {"stage": 4}}, "no ZeRO stage of 1, 2 or 3"),
        ({"zero_optimization": {"stage": 2}, "gradient_clipping": 3.0}, "said by the stage's schedule"),
        ({"zero_optimization": {"stage": 2}, "optimizer": {"type": "AdamW"}}, "said by the stage's schedule"),
        ([], "no ZeRO stage"),
    ],
)
def test_deepspeed_files_that_say_too_much_are_refused(tmp_path: Path, values: Any, message: str) -> None:
    file = tmp_path / "ds.json"
    file.write_text(json.dumps(values))
    with pytest.raises(ConfigError, match=message):
        read_deepspeed(file)


def test_offload_without_a_gpu_is_refused_before_it_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    file = tmp_path / "ds.json"
    file.write_text(json.dumps({"zero_optimization": {"stage": 3, "offload_optimizer": {"device": "cpu"}}}))
    monkeypatch.setenv("LOCAL_RANK", "0")
    with pytest.raises(ConfigError, match="does not end"):
        engine_arguments(file)
    monkeypatch.delenv("LOCAL_RANK")
    with pytest.raises(ConfigError, match="started alone"):
        engine_arguments(file)
