"""The three parts of a vision-language model: image encoder, projector, language model; and what trains in each.

Convention: a weight belongs to the projector when a module on its path has a projector's name, else to the vision part
when one has an image encoder's name, else to the language part. The names are those that transformers' classes use, so
one table covers the families; PEFT puts prefixes and suffixes around a path but leaves these names in it.

Trap: Qwen's projector (`merger`) lies inside `visual`. Freezing `visual` freezes both; here they are two parts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from spinemed.errors import ConfigError, ModelError
from train.config import PARTS, LoraSettings, Part, PartRates

__all__ = ["adapter_targets", "count_parameters", "empty_tensors", "freeze", "part_of", "parts_of", "rate_groups"]

PROJECTORS = frozenset(
    {
        "merger",
        "deepstack_merger_list",
        "multi_modal_projector",
        "connector",
        "aligner",
        "mm_projector",
        "modality_projection",
    }
)
ENCODERS = frozenset(
    {"visual", "vision_tower", "vision_model", "vision_encoder", "image_encoder", "vision_embed_tokens"}
)


def part_of(name: str) -> Part:
    """The part that a parameter or module belongs to, by its dotted name."""
    path = set(name.split("."))
    if path & PROJECTORS:
        return "projector"
    return "vision" if path & ENCODERS else "language"


def parts_of(model: nn.Module) -> dict[Part, list[str]]:
    """Names of the parameters of each part.

    Raises:
        ModelError: The model has no parameter in a part, so its family names its parts in a way unknown here.
    """
    found: dict[Part, list[str]] = {part: [] for part in PARTS}
    for name, _ in model.named_parameters():
        found[part_of(name)].append(name)
    if empty := [part for part in PARTS if not found[part]]:
        raise ModelError(
            f"{type(model).__name__}: no weights are known as its {' and '.join(empty)}",
            field="parts",
            cure="use a family of the tested list (train/README.md), or add its module names to train/parts.py",
        )
    return found


def freeze(model: nn.Module, parts: PartRates) -> None:
    """For full fine-tuning: let the weights of the parts that train move, and no others."""
    for part, names in parts_of(model).items():
        moves = parts.rate(part, 1.0) is not None
        for name in names:
            model.get_parameter(name).requires_grad_(moves)


def adapter_targets(model: nn.Module, parts: PartRates, lora: LoraSettings) -> str:
    """Regular expression on the names of the linear layers that get adapters.

    The output layer of the language model is left out; `modules_to_save` trains it whole.

    Raises:
        ConfigError: `lora.targets` is no regular expression, or names no linear layer.
        ModelError: A part that trains has no linear layer.
    """
    linear = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    if lora.targets is not None:
        try:
            pattern = re.compile(lora.targets)
        except re.error as error:
            raise ConfigError(
                f"is no regular expression ({error})", field="lora.targets", cure="mend the expression"
            ) from error
        if not any(pattern.fullmatch(name) for name in linear):
            raise ConfigError(
                f"names no linear layer of the base (it has e.g. {linear[0]})",
                field="lora.targets",
                cure="write a regular expression that matches whole module names of this model",
            )
        return lora.targets
    ask: Any = getattr(model, "get_output_embeddings", None)
    output = None if ask is None else ask()
    chosen: list[str] = []
    for part in PARTS:
        if parts.rate(part, 1.0) is None:
            continue
        own = [name for name in linear if part_of(name) == part and model.get_submodule(name) is not output]
        if not own:
            raise ModelError(
                f"{type(model).__name__}: its {part} has no linear layer for an adapter",
                field=f"parts.{part}",
                cure="freeze this part, or use method full",
            )
        chosen += own
    return _expression(chosen)


def _expression(names: Iterable[str]) -> str:
    """One expression for names of layers that differ in their numbers only: `layers.0.q` and `layers.1.q`, say."""
    shapes = sorted({re.sub(r"(?<=\\\.)\d+(?=\\\.|$)", r"\\d+", re.escape(name)) for name in names})
    return "|".join(shapes)


def rate_groups(
    model: nn.Module, parts: PartRates, *, rate: float, weight_decay: float, decays: Iterable[str]
) -> list[dict[str, Any]]:
    """Optimiser groups: by part's learning rate, and by whether weight decay applies.

    Args:
        model: With `requires_grad` set.
        parts: Rates.
        rate: Of parts that say `train`.
        weight_decay: Of the parameters that decay.
        decays: Names of the parameters that decay: weights of linear layers, not biases and norms.

    Raises:
        ModelError: Nothing trains.
    """
    decaying = set(decays)
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, weight in model.named_parameters():
        if not weight.requires_grad:
            continue
        # A module of a frozen part that `modules_to_save` names trains at the common rate.
        own = parts.rate(part_of(name), rate) or rate
        groups.setdefault((own, weight_decay if name in decaying else 0.0), []).append(weight)
    if not groups:
        raise ModelError("no weight of the model trains", field="parts", cure="let a part train")
    return [{"params": weights, "lr": own, "weight_decay": decay} for (own, decay), weights in groups.items()]


def count_parameters(model: nn.Module, parts: Iterable[Part] = PARTS) -> dict[Part, tuple[int, int]]:
    """Of each part: weights that train, and all. Under ZeRO-3 a shard's owner is not asked: full sizes are counted."""
    found: dict[Part, list[int]] = {part: [0, 0] for part in parts}
    for name, weight in model.named_parameters():
        size = int(getattr(weight, "ds_numel", weight.numel()))
        place = found[part_of(name)]
        place[0] += size if weight.requires_grad else 0
        place[1] += size
    return {part: (trained, total) for part, (trained, total) in found.items()}


def empty_tensors(state: dict[str, torch.Tensor]) -> list[str]:
    """Names of tensors that hold nothing but zeros, or nothing at all."""
    return [name for name, tensor in state.items() if tensor.numel() == 0 or not bool(tensor.any())]
