"""What a server loads, from what a run left: a merged folder, or an adapter beside its base.

Convention: `merged` is one Hugging Face folder that transformers and vLLM load with their stock classes. `vllm-lora` is
an adapter for vLLM's multi-LoRA serving, which adapts the language model and nothing else: an adapter that needs more
is refused, with the reason, because a server would drop the rest without a word.

What vLLM does with an adapter is known here from its issues (16364, 23796, 17660) and was not run: it needs an
environment of its own. That transformers and PEFT load what is written, with equal logits, is tested.

Trap: Qwen2.5-VL's vision tower has layers named `gate_proj` too. The exported adapter therefore names every adapted
layer by its full path; a list of last names would reach into the tower.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

from spinemed.errors import ModelError
from spinemed.tables import atomic_folder, parse_json, write_json, write_text
from spinemed.vlm.load import base_of, is_adapter
from train.card import CARD, CardFacts, card_facts, licence_of, model_card, writers
from train.merge import Precision, merge_adapter, save_checkpoint

__all__ = ["FORMS", "Form", "check_servable", "export_model"]

Form = Literal["merged", "vllm-lora"]
FORMS: tuple[Form, ...] = ("merged", "vllm-lora")

_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
_LANGUAGE = ".language_model."
_MERGE = "serve a merged folder instead: `spinemed train export ... --form merged`"


def export_model(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    form: Form = "merged",
    precision: Precision = "bfloat16",
) -> tuple[Path, str]:
    """Write a model or an adapter for serving, whole or not at all.

    Args:
        source: Adapter or model folder of a run.
        out: Folder to write.
        form: One of :data:`FORMS`.
        precision: Number format of a merged folder.

    Returns:
        The folder, and the command line that serves it.

    Raises:
        ModelError: `source` is neither, `out` exists, or the adapter cannot be served beside its base.
    """
    folder, target = Path(source), Path(out)
    if target.exists():
        raise ModelError("already exists", file=target, cure="give a folder that does not exist")
    if form == "vllm-lora":
        settings, keys = check_servable(folder)
        _write_adapter(folder, target, settings, keys)
        rank = next(rank for rank in _RANKS if rank >= settings["r"])
        line = (
            f"vllm serve {base_of(folder)} --enable-lora --max-lora-rank {rank} --lora-modules {target.name}={target}"
        )
        return target, line
    if is_adapter(folder):
        merge_adapter(folder, target, precision=precision)
    else:
        from spinemed.vlm.load import load_pair

        model, processor = load_pair(folder)
        with atomic_folder(target) as partial:
            told = card_facts(folder) or CardFacts(made=f"`{folder.name}`.", licence=licence_of(folder))
            facts = told.model_copy(update={"made": f"{told.made} Written in {precision}."})
            save_checkpoint(model, processor, partial, precision=precision, about=facts)
    return target, f"vllm serve {target}"


def check_servable(adapter: Path) -> tuple[dict[str, Any], list[str]]:
    """The settings and tensor names of an adapter that vLLM can serve beside its base.

    Raises:
        ModelError: It is no adapter, is empty, or needs what vLLM's multi-LoRA does not do; the reason is said.
    """
    from safetensors import SafetensorError, safe_open

    file = adapter / "adapter_config.json"
    if not is_adapter(adapter):
        raise ModelError("holds no adapter_config.json", file=adapter, cure="give the adapter folder of a LoRA run")
    try:
        settings = dict(parse_json(file.read_bytes()))
    except ValueError as error:
        raise ModelError("is not JSON", file=file, cure="train the adapter again") from error
    for field, reason in (
        ("use_dora", "weight-decomposed adapters (DoRA) are not served by vLLM"),
        ("modules_to_save", "modules trained whole beside the adapter are not served by vLLM's multi-LoRA"),
        ("rank_pattern", "one rank for every layer is needed"),
        ("alpha_pattern", "one scale for every layer is needed"),
    ):
        if settings.get(field):
            raise ModelError(reason, file=file, field=field, cure=_MERGE)
    if settings.get("bias", "none") != "none":
        raise ModelError("trained biases are not served by vLLM's multi-LoRA", file=file, field="bias", cure=_MERGE)
    rank = settings.get("r")
    if not isinstance(rank, int) or not 1 <= rank <= _RANKS[-1]:
        raise ModelError(f"rank {rank} is not served; vLLM goes up to {_RANKS[-1]}", file=file, field="r", cure=_MERGE)

    weights = adapter / "adapter_model.safetensors"
    try:
        with safe_open(weights, "pt") as stream:
            keys = sorted(stream.keys())
            moved = any(bool(stream.get_tensor(key).any()) for key in keys if ".lora_B." in key)
    except (OSError, SafetensorError) as error:
        raise ModelError(
            f"cannot be read ({type(error).__name__})", file=weights, cure="train the adapter again"
        ) from error
    if not keys or not moved:
        raise ModelError(
            "holds no update: it is empty, or all of it is zero", file=weights, cure="train the adapter again"
        )
    outside = [key for key in keys if _LANGUAGE not in key or ".visual." in key]
    if outside:
        raise ModelError(
            f"{len(outside)} of {len(keys)} tensors adapt other parts than the language model, e.g. "
            f"{_module(outside[0])}; vLLM would leave them out without a word",
            file=weights, cure=_MERGE,
        )  # fmt: skip
    return settings, keys


def _module(key: str) -> str:
    """The adapted layer's path in the model."""
    return key.removeprefix("base_model.model.").split(".lora_")[0]


def _write_adapter(source: Path, target: Path, settings: dict[str, Any], keys: list[str]) -> None:
    base = base_of(source)
    with atomic_folder(target) as partial:
        plain = {
            **settings,
            "target_modules": sorted({_module(key) for key in keys}),
            "base_model_name_or_path": os.path.relpath(base, target.resolve()),
            "inference_mode": True,
        }
        write_json(partial / "adapter_config.json", plain)
        (partial / "adapter_model.safetensors").write_bytes((source / "adapter_model.safetensors").read_bytes())
        told = card_facts(source) or CardFacts(made="", licence=licence_of(base), base=base.name)
        made = f"A LoRA adapter of the language model of `{base.name}`, for vLLM's multi-LoRA."
        facts = told.model_copy(update={"made": " ".join(filter(None, (told.made, made))), "versions": writers()})
        write_text(partial / CARD, model_card(facts, adapter=True))
