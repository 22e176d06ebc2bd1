"""Supervised fine-tuning: a release and a base model in, an adapter or a whole model out.

The line is straight: read the release, lay every row out, plan the order, train, save, merge. Each part is a function
elsewhere; this module is the recipe.

Trap: fine-tuning starts from the base in float32 even when its files are in half precision, because updates of a small
learning rate vanish in half precision.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from spinemed.config import Config, ConfigPath
from spinemed.errors import ConfigError, RecordError
from spinemed.records import content_hash
from spinemed.run import Run, open_run
from spinemed.tables import MANIFEST, file_sha256, write_json, write_text
from train.merge import Precision, save_checkpoint
from train.trainer import Schedule

__all__ = ["LoraSettings", "SftConfig", "checkpoint_hash", "run_sft"]

LANGUAGE_LINEAR = r".*language_model\..*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)"


class LoraSettings(Config):
    """Low-rank adapters (Hu et al. 2021)."""

    rank: int = Field(default=16, ge=1)
    """Rank of each update."""
    alpha: int = Field(default=32, ge=1)
    """Updates are scaled by alpha / rank."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout before the adapter."""
    targets: str = LANGUAGE_LINEAR
    """Regular expression on module names. The default leaves the vision encoder as it is."""


class SftConfig(Config):
    """`spinemed train sft`."""

    base: ConfigPath
    """Checkpoint folder to start from."""
    release: ConfigPath
    """Release folder."""
    split: Literal["train"] = "train"
    """Which rows to train on. The other splits are held out, and may hold what may only be evaluated on."""
    method: Literal["lora", "full"] = "lora"
    """Adapters on the language model, or all weights."""
    lora: LoraSettings = LoraSettings()
    """Settings of `method: lora`."""
    freeze_vision: bool = False
    """For `method: full`: leave the vision encoder as it is."""
    schedule: Schedule
    """Steps and rates."""
    seed: int = 0
    """Of adapter weights, row order and dropout."""
    threads: int = Field(default=2, ge=1)
    """CPU threads of torch. Results repeat for the same number only."""
    max_tokens: int = Field(default=1024, ge=16)
    """Longer rows are left out and counted."""
    cache_mb: int = Field(default=1200, ge=0)
    """Picture tensors kept in memory."""
    precision: Precision = "float32"
    """Number format of the saved whole model."""

    @model_validator(mode="after")
    def _method_fits(self) -> SftConfig:
        if self.freeze_vision and self.method == "lora":
            raise ValueError("freeze_vision belongs to method full; adapters follow lora.targets")
        return self


def checkpoint_hash(folder: Path) -> str:
    """Hash over the files that make up a checkpoint: configs, tokenizer, template, weights. Not its manifest."""
    kept = (".json", ".jinja", ".safetensors", ".txt", ".model")
    files = [path for path in sorted(folder.iterdir()) if path.suffix in kept and path.name != MANIFEST]
    return content_hash({path.name: file_sha256(path) for path in files if path.is_file()})


def run_sft(config: SftConfig, out: str | os.PathLike[str]) -> Path:
    """Fine-tune; resumes when `out` holds an unfinished run of the same config.

    Returns:
        The folder of the whole model: `out/outputs/model`. With LoRA, `out/outputs/adapter` lies beside it.

    Raises:
        ConfigError, ModelError, ReadError, RecordError, RunError: An input is wrong; nothing half-written is left in
            `outputs/`.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ConfigError(
            "several processes were started, and this version trains in one",
            field="WORLD_SIZE",
            cure="start it without torchrun or accelerate; schedule.accumulation gives larger batches",
        )
    with open_run(out, command="train sft", config=config) as run:
        return _run_sft(config, run)


def _run_sft(config: SftConfig, run: Run) -> Path:
    from spinemed.vlm.layout import Layout
    from spinemed.vlm.load import load_pair
    from train.plan import plan_order
    from train.rows import Planned, TrainingRows, read_release
    from train.trainer import fit, set_determinism

    rows, release_hash = read_release(config.release, config.split)
    model, processor = load_pair(config.base)
    key = {
        "config": content_hash(config.model_dump(mode="json", exclude={"base", "release"})),
        "base": checkpoint_hash(config.base),
        "release": release_hash,
    }

    def train(folder: Path) -> dict[str, Any]:
        set_determinism(config.seed, config.threads)
        layout = Layout(processor, max_tokens=config.max_tokens)
        data = TrainingRows(rows, layout, cache_mb=config.cache_mb)
        run.journal("rows", read=len(rows), kept=len(data), dropped=dict(data.dropped))
        if not len(data):
            raise RecordError(
                f"no row can be trained on: {dict(data.dropped)}",
                file=config.release / "data" / f"{config.split}.parquet",
                field="messages",
                cure="raise max_tokens, or release other rows",
            )
        schedule = config.schedule
        order = plan_order(
            data.lengths,
            batch_size=schedule.batch_size,
            batches=schedule.steps * schedule.accumulation,
            seed=config.seed,
        )
        trained = _prepare(model, config)
        facts = fit(
            run,
            "sft",
            model=trained,
            data=Planned(data, order),
            collate=lambda items: layout.collate(items, training=True),
            schedule=schedule,
            seed=config.seed,
            key=content_hash(key),
        )
        about = {
            "rows": {"read": len(rows), "kept": len(data), "dropped": dict(sorted(data.dropped.items()))},
            "steps": schedule.steps,
            "base_sha256": key["base"],
            "release_sha256": release_hash,
            **facts,
        }
        if config.method == "full":
            save_checkpoint(trained, processor, folder, precision=config.precision, about=_about(config))
        else:
            _save_adapter(trained, processor, folder, run.outputs / "adapter", config)
        return about

    if config.method == "full":
        return run.step("model", key=key, work=train, kind="checkpoint")
    adapter = run.step("adapter", key=key, work=train, kind="adapter")

    def fold(folder: Path) -> dict[str, Any]:
        from spinemed.vlm.load import load_model

        merged = load_model(adapter)
        save_checkpoint(merged, processor, folder, precision=config.precision, about=_about(config))
        return {"base_sha256": key["base"], "release_sha256": release_hash, "steps": config.schedule.steps}

    return run.step("model", key={**key, "precision": config.precision}, work=fold, kind="checkpoint")


def _about(config: SftConfig) -> str:
    return (
        f"`{config.base.name}`, fine-tuned on a SpineMed release ({config.method}, {config.schedule.steps} steps of "
        f"{config.schedule.batch_size * config.schedule.accumulation} rows, seed {config.seed})."
    )


def _prepare(model: Any, config: SftConfig) -> Any:
    """Put adapters on, or choose which weights move."""
    if config.method == "full":
        model.requires_grad_(True)
        if config.freeze_vision:
            model.model.visual.requires_grad_(False)
        return model
    from peft import LoraConfig, get_peft_model

    from spinemed.vlm.load import peft_calls

    lora = config.lora
    settings = LoraConfig(
        r=lora.rank, lora_alpha=lora.alpha, lora_dropout=lora.dropout, target_modules=lora.targets, task_type=None
    )
    try:
        with peft_calls():
            return get_peft_model(model, settings)
    except ValueError as error:
        raise ConfigError(
            f"names no linear layer of the base ({str(error).splitlines()[0][:120]})",
            field="lora.targets",
            cure="write a regular expression that matches module names of this model",
        ) from error


def _save_adapter(model: Any, processor: Any, folder: Path, final: Path, config: SftConfig) -> None:
    from spinemed.vlm.processor import save_processor

    model.save_pretrained(folder)
    file = folder / "adapter_config.json"
    settings = json.loads(file.read_bytes())
    # A relative path keeps the run folder free of machine names and movable together with its base.
    settings["base_model_name_or_path"] = os.path.relpath(config.base, final)
    write_json(file, settings)
    save_processor(processor, folder)
    write_text(folder / "README.md", f"{_about(config)}\n\nFor research use only: not a medical device.\n")
    for path in folder.iterdir():
        path.chmod(0o644)
