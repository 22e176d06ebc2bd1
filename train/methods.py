"""How a stage learns: adapters of one kind or another, or weights themselves; and the kernels it runs with.

Convention: the model comes back with what trains marked by `requires_grad`, adapters drawn from the job's seed.

Trap: what is absent changes speed, never results, and is journalled: FlashAttention, Liger kernels.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import torch

from spinemed.errors import ConfigError, MissingPartError
from spinemed.run import Run
from spinemed.vlm.load import load_model, peft_calls
from train.config import Stage, TrainConfig
from train.parts import ENCODERS, PROJECTORS, adapter_targets, freeze

__all__ = ["build_model", "liger_kernels"]


def build_model(config: TrainConfig, stage: Stage, base: Path, run: Run) -> Any:
    """The model of a stage with adapters put on, or with the weights chosen that move.

    Raises:
        ConfigError, MissingPartError: The method cannot be used here, or its settings do not fit the base.
        ModelError: The base cannot be loaded, or its parts are unknown.
    """
    from transformers import set_seed

    from train.packing.attention import flash_attention_reason

    attention = None if config.attention == "auto" else config.attention
    reason = flash_attention_reason()
    if attention == "flash_attention_2" and reason is not None:
        raise ConfigError(f"cannot be used here: {reason}", field="attention", cure="write auto")
    if config.attention == "auto" and config.weights == "bfloat16":
        if reason is None:
            attention = "flash_attention_2"
        else:
            run.journal("absent", stage=stage.name, package="flash-attn", reason=reason, effect="sdpa is used")
    model = load_model(
        base,
        precision=config.weights,
        attention=attention,
        quantization=_four_bits(stage) if stage.method == "qlora" else None,
        revision=config.base_revision if base == config.base else None,
    )
    set_seed(config.seed)
    if stage.method == "full":
        freeze(model, stage.parts)
        return model
    return _adapted(model, stage)


def _four_bits(stage: Stage) -> Any:
    if not torch.cuda.is_available():
        raise ConfigError(
            "qlora needs a CUDA GPU: 4-bit products exist there only",
            field=f"stages.{stage.name}.method",
            cure="use lora here",
        )
    if importlib.util.find_spec("bitsandbytes") is None:
        raise MissingPartError("method qlora", "bitsandbytes")
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16, llm_int8_skip_modules=sorted({*ENCODERS, *PROJECTORS, "lm_head"}),
    )  # fmt: skip


def _adapted(model: Any, stage: Stage) -> Any:
    from peft import LoraConfig, get_peft_model

    lora = stage.lora
    targets = adapter_targets(model, stage.parts, lora)
    names = {name for name, _ in model.named_modules()}
    for wanted in lora.modules_to_save:
        hits = [name for name in names if name == wanted or name.endswith(f".{wanted}")]
        if not hits:
            raise ConfigError(
                f"names no module of {type(model).__name__}", field="lora.modules_to_save", cure="check the name"
            )
        tied = getattr(model.config.get_text_config(), "tie_word_embeddings", False) or model.config.tie_word_embeddings
        ends = (model.get_input_embeddings(), model.get_output_embeddings())
        if tied and any(model.get_submodule(name) in ends for name in hits):
            raise ConfigError(
                f"{wanted} shares its weights with the other embedding, and a copy would part them",
                field="lora.modules_to_save",
                cure="leave it out, or use method full",
            )
    settings = LoraConfig(
        r=lora.rank, lora_alpha=lora.alpha, lora_dropout=lora.dropout, target_modules=targets, task_type=None,
        use_dora=stage.method == "dora", use_rslora=stage.method == "rslora",
        modules_to_save=list(lora.modules_to_save) or None,
    )  # fmt: skip
    with peft_calls():
        if stage.method == "qlora":
            from peft import prepare_model_for_kbit_training

            model = prepare_model_for_kbit_training(
                model, use_gradient_checkpointing=stage.gradient_checkpointing,
                gradient_checkpointing_kwargs={"use_reentrant": False},
            )  # fmt: skip
        return get_peft_model(model, settings)


def liger_kernels(config: TrainConfig, run: Run) -> bool:
    """Whether Liger kernels are used; why not is journalled."""
    if config.liger == "off":
        return False
    from transformers.utils import is_liger_kernel_available

    reason = None
    if not torch.cuda.is_available():
        reason = "no CUDA device"
    elif not is_liger_kernel_available():
        reason = "the package liger-kernel is not installed"
    if reason is not None:
        run.journal("absent", package="liger-kernel", reason=reason, effect="torch's own kernels are used")
    return reason is None
