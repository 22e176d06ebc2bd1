"""What a stage will need before it starts: memory of one GPU, hours by GPU type, disk.

Convention: sizes are decimal gigabytes (10^9 bytes), as GPUs are sold; every figure is a sum of parts that are printed
beside it. Where the formulas come from:

- weights, gradients, optimiser: Rajbhandari et al. 2020 (ZeRO, arXiv 1910.02054), section 3.1: 2 + 2 + 12 bytes a
  parameter for bfloat16 with a float32 master copy and Adam, split over the processes by ZeRO stage as in section 5;
  4 + 4 + 8 where the weights themselves are float32
- 4-bit base: 4.127 bits a weight (Dettmers et al. 2023, arXiv 2305.14314, section 3)
- activations: Korthikanti et al. 2022 (arXiv 2205.05198), section 4, without the score matrix, which fused attention
  does not keep, and with the three matrices of a gated feed-forward part; with checkpointing one input a layer and one
  layer in full
- hours: operations of :func:`train.shapes.step_flops` over dense peak times an assumed MFU

Trap: these are predictions. The assumed MFU (30 % with pictures, 40 % without: what good public runs reach) decides the
hours, and a fragmented allocator decides whether the last tenth of a GPU can be used.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from train.config import PARTS, Stage, TrainConfig
from train.shapes import ModelShape, step_flops

__all__ = [
    "GPUS",
    "MFU_IMAGES",
    "MFU_TEXT",
    "DeepSpeedFacts",
    "Gpu",
    "Load",
    "deepspeed_facts",
    "disk_bytes",
    "feature_bytes",
    "hours",
    "memory_bytes",
    "trained_parameters",
]

MFU_IMAGES = 0.30
MFU_TEXT = 0.40
_CONTEXT_BYTES = 1.5e9  # CUDA context, cuBLAS and NCCL buffers
_CHECKPOINTS_KEPT = 2
_WIDTH = {"float64": 8, "float32": 4, "bfloat16": 2, "float16": 2}


@dataclass(frozen=True)
class Gpu:
    """A GPU type, by its data sheet."""

    name: str
    memory_gb: float
    peak_tflops: float
    """Dense bfloat16."""


GPUS = (
    Gpu("A100-80", 80, 312.0),
    Gpu("H100-80", 80, 989.4),
    Gpu("H200-141", 141, 989.4),
    Gpu("L40S-48", 48, 362.0),
)


@dataclass(frozen=True)
class Load:
    """What goes through a model, summed over conversations."""

    rows: int = 0
    tokens: int = 0
    answers: int = 0
    squares: int = 0
    """Of the lengths."""
    images: int = 0
    patches: int = 0
    patch_squares: int = 0


@dataclass(frozen=True)
class DeepSpeedFacts:
    """What of DeepSpeed's JSON decides memory. Plain DDP is stage 0."""

    stage: int = 0
    bf16: bool = False
    offload_optimizer: bool = False
    offload_weights: bool = False


def deepspeed_facts(path: Path | None) -> DeepSpeedFacts:
    """The facts of a DeepSpeed file; None is DDP.

    Raises:
        ConfigError: As :func:`train.engines.read_deepspeed`.
    """
    if path is None:
        return DeepSpeedFacts()
    from train.engines import read_deepspeed

    values = read_deepspeed(path)
    zero = values["zero_optimization"]

    def off(name: str) -> bool:
        target: Any = zero.get(name)
        return isinstance(target, dict) and target.get("device", "none") != "none"

    precision = values.get("bf16")
    enabled = isinstance(precision, dict) and precision.get("enabled") in (True, "auto")
    return DeepSpeedFacts(int(zero["stage"]), enabled, off("offload_optimizer"), off("offload_param"))


def trained_parameters(shape: ModelShape, stage: Stage) -> int:
    """Weights that move: of the parts that train, or of the adapters on their linear layers.

    Adapters of rank r on a map from m to n have r (m + n) weights; DoRA adds one magnitude for each of n.
    """
    parts = {part for part in PARTS if getattr(stage.parts, part) != "frozen"}
    if stage.method == "full":
        return sum(shape.parameters(part) for part in parts)
    text, vision, rank = shape.text, shape.vision, stage.lora.rank
    wide = vision.hidden * vision.merge**2
    maps: list[tuple[int, int, int]] = []  # how many, from, to
    if "language" in parts:
        query, key = text.heads * text.head_dim, text.kv_heads * text.head_dim
        maps += [(text.layers, text.hidden, query), (2 * text.layers, text.hidden, key)]
        maps += [(text.layers, query, text.hidden), (2 * text.layers, text.hidden, text.mlp)]
        maps += [(text.layers, text.mlp, text.hidden)]
    if "vision" in parts:
        maps += [(vision.depth, vision.hidden, 3 * vision.hidden), (vision.depth, vision.hidden, vision.hidden)]
        maps += [((2 if vision.gated else 1) * vision.depth, vision.hidden, vision.mlp)]
        maps += [(vision.depth, vision.mlp, vision.hidden)]
    if "projector" in parts:
        maps += [(vision.mergers, wide, wide), (vision.mergers, wide, vision.out_hidden)]
    extra = 1 if stage.method == "dora" else 0
    return sum(count * (rank * (start + end) + extra * end) for count, start, end in maps)


def memory_bytes(
    shape: ModelShape,
    config: TrainConfig,
    stage: Stage,
    *,
    processes: int,
    picture_share: float,
    answer_share: float,
) -> dict[str, float]:
    """Bytes on one GPU at the largest batch of a stage, by what they are for.

    Args:
        shape: The base.
        config: For the number format of the weights.
        stage: The stage.
        processes: GPUs that train together.
        picture_share: Part of the tokens that stand for pictures.
        answer_share: Part of the tokens that carry loss; packed rows are multiplied out to logits there only.
    """
    zero = deepspeed_facts(stage.deepspeed)
    width = _WIDTH[config.weights]
    half = zero.bf16 or width == 2
    narrow = 2 if half or stage.schedule.autocast != "none" else width
    everything, moving = shape.parameters(), trained_parameters(shape, stage)
    if stage.method == "qlora":
        linear = shape.text.layers * shape.text.layer_linear
        weights = linear * 4.127 / 8 + (everything - linear) * 2 + moving * width
    else:
        adapters = moving if stage.method != "full" else 0
        weights = (everything + adapters) * (2 if half else width)
    gradients = float(moving * (2 if half else width))
    # DeepSpeed keeps a float32 copy beside bfloat16 weights; plain AdamW keeps its two moments in the weights' format.
    optimiser = float(moving * (12 if zero.bf16 else 2 * width))
    if zero.stage >= 1:
        optimiser /= processes
    if zero.stage >= 2:
        gradients /= processes
    if zero.stage >= 3:
        weights /= processes
    places = (stage.bin_tokens or stage.max_tokens) * stage.schedule.batch_size
    scored = places * (answer_share if stage.packing == "packed" else 1.0)
    return {
        "weights": 0.0 if zero.offload_weights else weights,
        "gradients": gradients,
        "optimiser": 0.0 if zero.offload_optimizer else optimiser,
        "activations": _activations(shape, stage, places, narrow, picture_share),
        # Logits and their gradient in the model's format, and once more in float32 for the softmax.
        "logits": scored * shape.text.vocabulary * (2.0 * narrow + 4.0),
        "context": _CONTEXT_BYTES,
    }


def _activations(shape: ModelShape, stage: Stage, places: int, width: int, picture_share: float) -> float:
    text, vision = shape.text, shape.vision
    query, key = text.heads * text.head_dim, text.kv_heads * text.head_dim
    layer = 4 * text.hidden + 2 * query + 2 * key + 3 * text.mlp  # numbers kept for one token
    kept = text.hidden * text.layers + layer if stage.gradient_checkpointing else layer * text.layers
    total = float(places * kept * width)
    patches = places * picture_share * vision.merge**2
    block = 8 * vision.hidden + (3 if vision.gated else 2) * vision.mlp
    if stage.parts.vision == "frozen":
        return total + patches * block * width  # one block at a time, nothing is kept
    kept = vision.hidden * vision.depth + block if stage.gradient_checkpointing else block * vision.depth
    return total + patches * kept * width


def hours(shape: ModelShape, stage: Stage, load: Load, gpu: Gpu, *, processes: int) -> float:
    """Hours of `processes` GPUs for a load, at the assumed MFU."""
    parts = frozenset(part for part in PARTS if getattr(stage.parts, part) != "frozen")
    language, vision = step_flops(
        shape,
        tokens=load.tokens,
        squares=load.squares,
        patches=load.patches,
        patch_squares=load.patch_squares,
        trained=parts,
        full=stage.method == "full",
    )
    assumed = MFU_IMAGES if load.patches else MFU_TEXT
    return (language + vision) / (gpu.peak_tflops * 1e12 * assumed * processes) / 3600


def feature_bytes(shape: ModelShape, image_tokens: int, width: int = 2) -> int:
    """Bytes of the cached features of pictures with so many tokens together: one vector a token and projector."""
    return image_tokens * shape.vision.out_hidden * shape.vision.mergers * width


def disk_bytes(
    shape: ModelShape, config: TrainConfig, stage: Stage, *, image_tokens: int, distinct: bool = True
) -> dict[str, float]:
    """Bytes that a stage leaves on disk: checkpoints while it runs, the model it ends with, cached features.

    Args:
        shape: The base.
        config: For the format of the saved model.
        stage: The stage.
        image_tokens: Tokens of all different pictures together.
        distinct: False where `image_tokens` is not known; the cache is then left out.
    """
    moving, everything = trained_parameters(shape, stage), shape.parameters()
    width = _WIDTH[config.weights]
    # A checkpoint holds what moves and its optimiser's state; with full training the frozen parts as well.
    state = 12 if deepspeed_facts(stage.deepspeed).bf16 else 2 * width
    kept = everything if stage.method == "full" else moving
    found = {
        "checkpoints": _CHECKPOINTS_KEPT * (kept * width + moving * state),
        "model": everything * _WIDTH[config.precision],
    }
    if stage.feature_cache is not None and distinct:
        found["features"] = feature_bytes(shape, image_tokens, min(width, 4))
    return {name: float(value) for name, value in found.items()}
