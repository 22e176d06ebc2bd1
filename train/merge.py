"""A LoRA adapter folded into its base: one plain checkpoint folder.

Convention: merging happens in float32 whatever the files hold; the requested precision is applied once, on writing.
Trap: half precision rounds. Scores of a merged float16 folder are its own, not the adapter's.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

from spinemed.errors import ModelError
from spinemed.tables import atomic_folder, write_text
from spinemed.vlm.load import base_of, is_adapter, load_model
from spinemed.vlm.processor import load_processor, save_processor
from train.card import CARD, CardFacts, card_facts, licence_of, model_card, writers

__all__ = ["merge_adapter", "save_checkpoint"]

Precision = Literal["float32", "bfloat16", "float16"]


def save_checkpoint(model: Any, processor: Any, folder: Path, *, precision: Precision, about: str | CardFacts) -> None:
    """Write a plain checkpoint folder: weights in one precision, processor, card.

    Args:
        model: The model.
        processor: Its processor.
        folder: To write into; made where it is not there.
        precision: Number format of the weights.
        about: Facts for the card, or one sentence for a model of our own making.
    """
    import torch

    folder.mkdir(parents=True, exist_ok=True)
    model = model.to(getattr(torch, precision))
    model.save_pretrained(folder, max_shard_size="5GB")
    save_processor(processor, folder)
    facts = CardFacts(made=about, licence="apache-2.0") if isinstance(about, str) else about
    write_text(folder / CARD, model_card(facts.model_copy(update={"versions": writers()})))
    for path in folder.iterdir():
        path.chmod(0o644)  # safetensors writes files that only the owner can read


def merge_adapter(adapter: str | os.PathLike[str], out: str | os.PathLike[str], *, precision: Precision) -> Path:
    """Fold an adapter into its base and write the result to `out`, whole or not at all.

    Raises:
        ModelError: `adapter` is no adapter folder, its base is gone, or `out` exists.
    """
    source, target = Path(adapter), Path(out)
    if not is_adapter(source):
        raise ModelError("holds no adapter_config.json", file=source, cure="give the adapter folder of a LoRA run")
    if target.exists():
        raise ModelError("already exists", file=target, cure="give a folder that does not exist")
    model = load_model(source)
    own = source if (source / "processor_config.json").is_file() else base_of(source)
    about = f"A LoRA adapter merged into its base `{base_of(source).name}`, in {precision}."
    told = card_facts(source) or CardFacts(made="", licence=licence_of(base_of(source)), base=base_of(source).name)
    facts = told.model_copy(update={"made": " ".join(filter(None, (told.made, about)))})
    with atomic_folder(target) as partial:
        save_checkpoint(model, load_processor(own), partial, precision=precision, about=facts)
    return target
