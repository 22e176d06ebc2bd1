"""From nothing to a base model: nano weights, dense warm-up from masks, then captions in the base's own wording.

Convention: a base has seen marked phantoms of its own seeds and its own captions (`templates/captions.yaml`), never a
question, an option list or a fracture name. What it can be asked is what fine-tuning adds.

Trap: phantom seeds of a base must differ from those of every release that is later scored; nothing here can check it.
"""

from __future__ import annotations

import os
import resource
from pathlib import Path
from typing import Any

from pydantic import Field

from spinemed.config import Config
from spinemed.phantom import PhantomConfig
from spinemed.records import content_hash
from spinemed.run import Run, open_run, versions
from train.base.nano import NanoConfig, build_model, build_processor, read_texts
from train.base.phantoms import Example, Examples, make_scenes
from train.merge import Precision, save_checkpoint
from train.trainer import Schedule

__all__ = ["WarmupConfig", "WarmupPhantoms", "run_warmup", "warmup_key"]


class WarmupPhantoms(Config):
    """The spines a base is made from."""

    count: int = Field(default=6000, ge=1)
    """Phantoms to train on."""
    seed: int = Field(default=900000, ge=0)
    """Their seed; keep it apart from every release's."""
    held_out: int = Field(default=300, ge=1)
    """Phantoms to measure on."""
    held_out_seed: int = Field(default=990000, ge=0)
    """Their seed."""
    fractured_share: float = Field(default=0.5, ge=0, le=1)
    """How often the mark goes to a fractured body, where there is one."""
    draw: PhantomConfig = PhantomConfig()
    """What kind of phantoms."""


class WarmupConfig(Config):
    """`spinemed train warmup`."""

    nano: NanoConfig = NanoConfig()
    """The model before training."""
    phantoms: WarmupPhantoms = WarmupPhantoms()
    """What it sees."""
    dense: Schedule
    """Stage one: the vision encoder learns masks and marks."""
    captions: Schedule
    """Stage two: all weights learn to describe marked pictures."""
    seed: int = 0
    """Of marks, wordings and heads."""
    threads: int = Field(default=2, ge=1)
    """CPU threads of torch. Results repeat for the same number only."""
    precision: Precision = "float16"
    """Number format of the saved weights."""


def run_warmup(config: WarmupConfig, out: str | os.PathLike[str]) -> Path:
    """Make a base; resumes when `out` holds an unfinished run of the same config.

    Returns:
        The checkpoint folder, `out/outputs/model`.

    Raises:
        ReadError, RunError: An input is missing, or the run folder belongs to something else.
    """
    with open_run(out, command="train warmup", config=config) as run:
        key = warmup_key(config)
        dense = run.step("dense", key=key, work=lambda folder: _dense(config, run, folder))
        return run.step("model", key=key, work=lambda folder: _captions(config, run, dense, folder), kind="checkpoint")


def warmup_key(config: WarmupConfig) -> dict[str, str]:
    """What a base follows from: the config and the content, not the place, of the tokenizer's texts."""
    return {
        "config": content_hash(config.model_dump(mode="json", exclude={"nano": {"tokenizer_texts"}})),
        "texts": content_hash(read_texts(config.nano.tokenizer_texts)),
    }


def _scenes(config: WarmupConfig, run: Run, *, held_out: bool) -> Examples:
    told = config.phantoms
    count, seed = (told.held_out, told.held_out_seed) if held_out else (told.count, told.seed)
    with run.progress("phantoms", count) as advance:
        scenes = make_scenes(count, seed=seed, config=told.draw, processes=config.threads, advance=advance)
    return Examples(scenes, seed=config.seed + (1 if held_out else 0), fractured_share=told.fractured_share)


def _dense(config: WarmupConfig, run: Run, folder: Path) -> dict[str, Any]:
    import torch
    from PIL import Image
    from safetensors.torch import save_file

    from train.base.dense import DenseModel, dense_targets
    from train.rows import Planned
    from train.trainer import fit, set_determinism

    examples, held_out = _scenes(config, run, held_out=False), _scenes(config, run, held_out=True)
    set_determinism(config.seed, config.threads)
    vision = config.nano.vision
    processor = build_processor(config.nano, read_texts(config.nano.tokenizer_texts))
    model = build_model(config.nano, processor)
    set_determinism(config.seed, config.threads)
    dense = DenseModel(model.model.visual, config.nano.text.hidden, vision.merge)

    def collate(items: list[Example]) -> dict[str, torch.Tensor]:
        pictures = processor.image_processor([Image.fromarray(item.picture) for item in items], return_tensors="pt")
        targets = dense_targets(items, vision.patch_px, vision.merge)
        return {
            "pixel_values": pictures["pixel_values"],
            "image_grid_thw": pictures["image_grid_thw"],
            "patches": targets.patches,
            "fractures": targets.fractures,
            "level": targets.level,
            "shape": targets.shape,
            "losses": targets.losses,
        }

    total = config.dense.steps * config.dense.batch_size * config.dense.accumulation
    facts = fit(
        run,
        "dense",
        model=dense,
        data=Planned(examples, range(total)),
        collate=collate,
        schedule=config.dense,
        seed=config.seed,
        key=content_hash(warmup_key(config)),
        loss=None,
    )
    dense.eval()
    parts: dict[str, list[float]] = {}
    with torch.inference_mode():
        for start in range(0, config.phantoms.held_out, 16):
            stop = min(start + 16, config.phantoms.held_out)
            for name, value in dense(**collate([held_out[number] for number in range(start, stop)])).items():
                parts.setdefault(name, []).append(float(value))
    measured = {f"held_out_{name}": round(sum(values) / len(values), 4) for name, values in parts.items()}
    weights = {name: value.contiguous() for name, value in model.model.visual.state_dict().items()}
    save_file(weights, folder / "weights.safetensors")
    (folder / "weights.safetensors").chmod(0o644)
    return {**facts, **measured}


def _captions(config: WarmupConfig, run: Run, dense: Path, folder: Path) -> dict[str, Any]:
    from PIL import Image
    from safetensors.torch import load_file

    from spinemed.vlm.layout import Encoded, Layout
    from train.rows import Planned
    from train.trainer import fit, set_determinism

    examples, held_out = _scenes(config, run, held_out=False), _scenes(config, run, held_out=True)
    set_determinism(config.seed, config.threads)
    processor = build_processor(config.nano, read_texts(config.nano.tokenizer_texts))
    model = build_model(config.nano, processor)
    model.model.visual.load_state_dict(load_file(dense / "weights.safetensors"))
    layout = Layout(processor, max_tokens=config.nano.text.max_tokens)

    def collate(items: list[Example]) -> dict[str, Any]:
        made = [layout.encode(item.messages, [Image.fromarray(item.picture)], training=True) for item in items]
        kept = [item for item in made if isinstance(item, Encoded)]
        if len(kept) != len(made):
            raise ValueError("a caption does not fit into nano.text.max_tokens")
        return layout.collate(kept, training=True)

    total = config.captions.steps * config.captions.batch_size * config.captions.accumulation
    # Numbers go on where the dense stage ended, so that captions come with marks not seen before.
    first = config.dense.steps * config.dense.batch_size * config.dense.accumulation
    facts = fit(
        run,
        "captions",
        model=model,
        data=Planned(examples, range(first, first + total)),
        collate=collate,
        schedule=config.captions,
        seed=config.seed,
        key=content_hash(warmup_key(config)),
    )
    save_checkpoint(model, processor, folder, precision=config.precision, about=_about(config))
    measured = _measure(folder, held_out, config.phantoms.held_out)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    run.journal("cost", peak_memory_mib=peak, versions=versions())
    return {**facts, **measured, "parameters": sum(weight.numel() for weight in model.parameters())}


def _measure(folder: Path, held_out: Examples, count: int) -> dict[str, float]:
    """Share of held-out pictures whose caption is right to the letter, by kind of caption, from the saved files."""
    from PIL import Image

    from spinemed.vlm.answer import Request, VlmAnswerer

    examples = [held_out[number] for number in range(count)]
    requests = [Request(item.messages[:1], (Image.fromarray(item.picture),)) for item in examples]
    replies = VlmAnswerer(folder, batch_size=16, max_new_tokens=96).answer(requests)
    kinds: dict[str, list[bool]] = {}
    for item, reply in zip(examples, replies):
        prompt = item.messages[0].content
        name = next(name for name, kind in held_out.captions.items() if prompt in kind["prompts"])
        kinds.setdefault(name, []).append(reply.text == item.messages[1].content)
    return {f"held_out_{name}_exact": round(sum(right) / len(right), 4) for name, right in sorted(kinds.items())}


def _about(config: WarmupConfig) -> str:
    return (
        f"A nano vision-language base (Qwen3-VL architecture), warmed up on {config.phantoms.count} computed phantom "
        f"spines of seed {config.phantoms.seed} for {config.dense.steps} dense and {config.captions.steps} caption "
        "steps. It has seen no patient and no question."
    )
