"""`packing: packed` from a config to a model: the losses of padded batches, from workers and from features as well."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from spinemed.errors import RecordError
from train.config import TrainConfig
from train.packing import Bins
from train.run import run_training
from train.trainer import _of_worker

QUICK = {"learning_rate": 0.01, "warmup_steps": 1, "save_every": 4, "log_every": 1}


def job(base: Path, release: Path, stage: dict[str, Any], **more: Any) -> dict[str, Any]:
    own = {"name": "sft", "mixture": [{"release": "main"}], "max_tokens": 96, **stage}
    return {"base": str(base), "releases": {"main": str(release)}, "stages": [own], "threads": 1, **more}


def packed(**more: Any) -> dict[str, Any]:
    """Bins of which one holds all 24 rows."""
    return {"packing": "packed", "bin_tokens": 4096, "schedule": {**QUICK, "steps": 3, "batch_size": 1}, **more}


def events(out: Path, kind: str) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in (out / "journal.jsonl").read_text().splitlines()]
    return [event for event in found if event["event"] == kind]


def losses(out: Path) -> list[float]:
    return [event["loss"] for event in events(out, "metrics") if "loss" in event]


@pytest.fixture(scope="module")
def plain(micro_base: Path, micro_release: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("packed") / "run"
    run_training(TrainConfig.model_validate(job(micro_base, micro_release, packed())), out)
    return out


def test_packed_training_is_padded_training(plain: Path, micro_base: Path, micro_release: Path, tmp_path: Path) -> None:
    padded = {"packing": "padded", "schedule": {**QUICK, "steps": 3, "batch_size": 24}}
    run_training(TrainConfig.model_validate(job(micro_base, micro_release, padded)), tmp_path / "run")
    assert losses(plain) == pytest.approx(losses(tmp_path / "run"), abs=1e-4)
    assert losses(plain)[0] == pytest.approx(losses(tmp_path / "run")[0], abs=1e-5)
    (found,) = events(plain, "packing")
    assert "packed = alone" in found["reason"]
    bins = Bins.from_json(json.loads((plain / "plans" / "sft.json").read_bytes())["bins"])
    assert [sorted(rows) for rows in bins.rows] == [list(range(24))] * 3


def test_workers_make_the_same_bins(plain: Path, micro_base: Path, micro_release: Path, tmp_path: Path) -> None:
    run_training(TrainConfig.model_validate(job(micro_base, micro_release, packed(), workers=1)), tmp_path / "run")
    assert losses(tmp_path / "run") == losses(plain)


def test_a_row_that_a_worker_cannot_lay_out_is_named_in_one_line() -> None:
    class Broken(torch.utils.data.Dataset[Any]):
        def __len__(self) -> int:
            return 1

        def __getitem__(self, place: int) -> Any:
            raise RecordError("cannot be laid out", field="row-3", cure="run verify")

    with pytest.raises(RecordError) as caught:
        list(torch.utils.data.DataLoader(Broken(), num_workers=1))
    assert str(_of_worker(caught.value)) == "field 'row-3': cannot be laid out. Cure: run verify"
    own = RecordError("is short", file="rows.jsonl", cure="mend it")
    assert _of_worker(own) is own


def test_features_give_the_same_losses_from_the_command_line(
    plain: Path, micro_base: Path, micro_release: Path, tmp_path: Path, spinemed: Callable[..., Any]
) -> None:
    config = tmp_path / "job.yaml"
    stage = packed(feature_cache={"folder": str(tmp_path / "features")})
    config.write_text(yaml.safe_dump(job(micro_base, micro_release, stage)))
    done: subprocess.CompletedProcess[str] = spinemed("train", "run", config, "--out", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert losses(tmp_path / "run") == pytest.approx(losses(plain), abs=1e-5)
    (found,) = events(tmp_path / "run", "features")
    assert found["pictures"] == found["computed"] == 16
    assert list((tmp_path / "features").rglob("*.safetensors"))
    assert (tmp_path / "run" / "outputs" / "model" / "config.json").is_file()
