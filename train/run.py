"""The recipe of a training job: releases and a base in, a merged model out, stage after stage.

    base ─▶ stage 1 ─▶ adapter ─▶ merged ─▶ stage 2 ─▶ … ─▶ outputs/model

Each part is a function elsewhere; this module is the recipe. It is the same for one process and for many: the first one
keeps the run folder and says which stage is next, the others compute along.

Convention: `outputs/` holds no times and no number of processes. Both stand in `ledger.jsonl` beside it, one line for
each finished stage, and in the journal.

Trap: fine-tuning starts from the base in float32 even when its files are in half precision, because updates of a small
learning rate vanish in half precision.
"""

from __future__ import annotations

import datetime
import json
import os
import time
from pathlib import Path
from typing import Any

from spinemed.config import load_config
from spinemed.errors import RunError
from spinemed.records import content_hash
from spinemed.run import Run, open_run
from spinemed.tables import MANIFEST, parse_json, read_manifest
from train.config import Stage, TrainConfig

__all__ = ["base_identity", "existing_base", "resume", "run_training"]

LEDGER = "ledger.jsonl"


def run_training(config: TrainConfig, out: str | os.PathLike[str]) -> Path:
    """Train all stages; resumes when `out` holds an unfinished run of the same config.

    Returns:
        The folder of the whole model: `out/outputs/model`. With adapters, `out/outputs/adapter` lies beside it. What
        earlier stages made is called `NAME_adapter` and `NAME_model`.

    Raises:
        ConfigError, ModelError, ReadError, RecordError, RunError: An input is wrong; nothing half-written is left in
            `outputs/`.
    """
    from train.crowd import Crowd, SilentRun

    crowd = Crowd()
    if not crowd.first:
        follow(config, SilentRun(Path(out)), crowd)
        return Path(out) / "outputs" / "model"
    with open_run(out, command="train run", config=config) as run:
        if crowd.many:
            run.journal("processes", count=crowd.count)
        base = config.base
        for number in range(len(config.stages)):
            base = _stage(config, number, base, run, crowd)
        from train.report import write_report

        write_report(run.folder)
        crowd.tell(("", ""))
    crowd.meet()
    return base


def resume(folder: str | os.PathLike[str]) -> Path:
    """Go on with a run, from the config that it keeps.

    Raises:
        RunError: The folder holds no run.
    """
    file = Path(folder) / "config.yaml"
    if not file.is_file():
        raise RunError("holds no run", file=folder, cure="start it with `spinemed train run CONFIG --out FOLDER`")
    return run_training(load_config(file, TrainConfig), folder)


def follow(config: TrainConfig, run: Run, crowd: Any) -> None:
    """What the other processes do: train the stages that the first one names."""
    from train.stages import train_stage

    while True:
        number, told = crowd.hear()
        if not number:
            break
        about = json.loads(told)
        train_stage(config, config.stages[int(number)], Path(about["base"]), run, about["key"], None)
    crowd.meet()


def _stage(config: TrainConfig, number: int, base: Path, run: Run, crowd: Any) -> Path:
    """One stage; returns the folder of its whole model."""
    from spinemed.vlm.load import checkpoint_hash, load_model
    from spinemed.vlm.processor import load_processor
    from train.card import facts_before
    from train.checkpoints import claim_checkpoints
    from train.merge import save_checkpoint
    from train.stages import about_stage, stage_key, train_stage

    stage = config.stages[number]
    last = number == len(config.stages) - 1
    releases = {
        share.release: str(read_manifest(config.releases[share.release], "release")["sha256"])
        for share in stage.mixture
    }
    hashed = checkpoint_hash(existing_base(base))
    before = facts_before(base, hashed, {name: config.releases[name] for name in releases})
    key = stage_key(config, stage, hashed, releases)
    digest = content_hash(key)
    made_from = {**_provenance(releases), "base_sha256": base_identity(base)}
    spent = {"seconds": 0.0, "from_step": 0}

    def work(folder: Path) -> dict[str, Any]:
        from train.checkpoints import newest_checkpoint

        checkpoints = claim_checkpoints(run, stage.name, digest)
        newest = newest_checkpoint(checkpoints)
        spent["from_step"] = 0 if newest is None else int(newest.name.rpartition("-")[2])
        crowd.tell((str(number), json.dumps({"base": str(base), "key": digest})))
        start = time.monotonic()
        facts = train_stage(config, stage, base, run, digest, folder, before)
        spent["seconds"] = time.monotonic() - start
        return {**made_from, **facts}

    if stage.method == "full":
        made = run.step("model" if last else f"{stage.name}_model", key=key, work=work, kind="checkpoint")
        _enter(run, stage, made, spent, crowd.count)
        return made
    adapter = run.step("adapter" if last else f"{stage.name}_adapter", key=key, work=work, kind="adapter")
    _enter(run, stage, adapter, spent, crowd.count)

    def fold(folder: Path) -> dict[str, Any]:
        about = read_manifest(adapter, "adapter")
        told = about_stage(config, stage, before, steps=int(about["steps"]), rows=about["rows"], key=digest)
        revision = config.base_revision if base == config.base else None
        merged = load_model(adapter, revision=revision)
        save_checkpoint(merged, load_processor(adapter), folder, precision=config.precision, about=told)
        return {**made_from, "steps": about["steps"], "adapter_sha256": about["sha256"]}

    return run.step(
        "model" if last else f"{stage.name}_model", key={**key, "merged": True}, work=fold, kind="checkpoint"
    )


def existing_base(base: Path) -> Path:
    """The folder of a base.

    Raises:
        ModelError: It is not there.
    """
    from spinemed.errors import ModelError

    if not base.is_dir():
        raise ModelError("no such checkpoint folder", file=base, cure="check the path; hub names are not fetched")
    return base


def base_identity(base: Path) -> str:
    """The hash by which a withdrawal finds what was trained from a model: its manifest's, where it has one."""
    from spinemed.vlm.load import checkpoint_hash

    file = base / MANIFEST
    if file.is_file():
        return str(parse_json(file.read_bytes()).get("sha256", ""))
    return checkpoint_hash(base)


def _provenance(releases: dict[str, str]) -> dict[str, Any]:
    """Hashes of the releases; a single one under the name that a withdrawal looks for as well."""
    only = {"release_sha256": next(iter(releases.values()))} if len(releases) == 1 else {}
    return {"releases": releases, **only}


def _enter(run: Run, stage: Stage, made: Path, spent: dict[str, float], processes: int) -> None:
    """One line in the ledger for a stage that was trained now; none for one that was kept."""
    if not spent["seconds"]:
        return
    facts = parse_json((made / MANIFEST).read_bytes())
    line = {
        "stage": stage.name,
        "method": stage.method,
        "rows": facts["rows"],
        "steps": facts["steps"],
        "tokens": facts["tokens"],
        "packing": facts["packing"],
        "plan_sha256": facts["plan_sha256"],
        "releases": facts["releases"],
        "base_sha256": facts["base_sha256"],
        "made_sha256": facts["sha256"],
        "made": made.name,
        "processes": processes,
        "from_step": spent["from_step"],
        "seconds": round(spent["seconds"], 3),
        "finished": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }
    with open(run.folder / LEDGER, "a", encoding="utf-8") as stream:
        stream.write(json.dumps(line, sort_keys=True, ensure_ascii=False) + "\n")
        stream.flush()
        os.fsync(stream.fileno())
