"""Sizes of a vision-language model, without its weights: parameters, and the arithmetic that one step costs.

Convention: a shape is read from a checkpoint's `config.json`, or taken from the table of known bases, so that a job can
be planned on a machine that holds no weights. One multiply-add counts as two operations (FLOP); the vision tower and
the language model are always counted apart.

Sources: a linear layer costs 2 operations a weight and token forward and twice that backward (Kaplan et al. 2020,
arXiv 2001.08361, section 2.1); attention costs 4 * width a pair of tokens forward, half of it where the mask is causal
(Korthikanti et al. 2022, arXiv 2205.05198, appendix A). Work that gradient checkpointing does a second time is counted
nowhere: that is what MFU means (Chowdhery et al. 2022, arXiv 2204.02311, appendix B).

Trap: a LoRA step still goes back through every frozen layer above the first adapter: it saves the weights' gradients,
one third of the step, not two.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from spinemed.errors import ModelError
from spinemed.tables import parse_json

__all__ = ["KNOWN_SHAPES", "ModelShape", "TextShape", "VisionShape", "known_shape", "read_shape", "step_flops"]

Part = Literal["vision", "projector", "language"]


@dataclass(frozen=True)
class TextShape:
    """The language model."""

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    mlp: int
    vocabulary: int
    tied: bool
    """Whether input and output embedding are one matrix."""
    qkv_bias: bool
    qk_norm: bool
    max_tokens: int

    @property
    def layer_linear(self) -> int:
        """Weights of one layer's linear maps."""
        attention = self.hidden * self.head_dim * (2 * self.heads + 2 * self.kv_heads)
        return attention + 3 * self.hidden * self.mlp

    @property
    def linear(self) -> int:
        """Weights that every token is multiplied with: layers and output embedding."""
        return self.layers * self.layer_linear + self.hidden * self.vocabulary

    @property
    def parameters(self) -> int:
        """All weights."""
        bias = self.head_dim * (self.heads + 2 * self.kv_heads) if self.qkv_bias else 0
        norms = 2 * self.hidden + (2 * self.head_dim if self.qk_norm else 0)
        embeddings = self.hidden * self.vocabulary * (1 if self.tied else 2)
        return self.layers * (self.layer_linear + bias + norms) + self.hidden + embeddings


@dataclass(frozen=True)
class VisionShape:
    """The vision tower with its projector(s)."""

    hidden: int
    depth: int
    heads: int
    mlp: int
    gated: bool
    """Three matrices in the feed-forward part (Qwen2.5-VL) instead of two with biases (Qwen3-VL)."""
    patch_px: int
    merge: int
    """Patches per edge that become one token."""
    temporal: int
    out_hidden: int
    window_px: int
    """Edge of an attention window; 0 where every block sees the whole picture."""
    full_blocks: int
    """Blocks that see the whole picture."""
    positions: int
    """Rows of the learned position table; 0 without one."""
    mergers: int
    """Projectors: one, and one more for each deep-stack block."""

    @property
    def block_linear(self) -> int:
        """Weights of one block's linear maps."""
        return 4 * self.hidden**2 + (3 if self.gated else 2) * self.hidden * self.mlp

    @property
    def merger_linear(self) -> int:
        """Weights of one projector's linear maps."""
        wide = self.hidden * self.merge**2
        return wide * wide + wide * self.out_hidden

    @property
    def patch_values(self) -> int:
        """Numbers in one patch."""
        return 3 * self.temporal * self.patch_px**2

    @property
    def tower_parameters(self) -> int:
        """All weights without the projectors."""
        biases = 4 * self.hidden + (2 * self.mlp + self.hidden if self.gated else self.mlp + self.hidden)
        norms = 2 * self.hidden * (1 if self.gated else 2)
        patch = self.patch_values * self.hidden + (0 if self.gated else self.hidden)
        return self.depth * (self.block_linear + biases + norms) + patch + self.positions * self.hidden

    @property
    def projector_parameters(self) -> int:
        """All weights of the projectors."""
        wide = self.hidden * self.merge**2
        first = self.hidden if self.gated else 2 * self.hidden
        rest = 2 * wide  # deep-stack projectors normalise after joining the patches
        return self.mergers * (self.merger_linear + wide + self.out_hidden) + first + (self.mergers - 1) * rest


@dataclass(frozen=True)
class ModelShape:
    """A vision-language model."""

    name: str
    family: str
    """`model_type` of the config, e.g. `qwen2_5_vl`."""
    text: TextShape
    vision: VisionShape

    def parameters(self, part: Part | None = None) -> int:
        """Weights of one part, or of all."""
        parts = {
            "language": self.text.parameters,
            "vision": self.vision.tower_parameters,
            "projector": self.vision.projector_parameters,
        }
        return sum(parts.values()) if part is None else parts[part]

    def image_tokens(self, width_px: int, height_px: int) -> int:
        """Tokens of a picture whose edges already are multiples of patch times merge."""
        edge = self.vision.patch_px * self.vision.merge
        return (width_px // edge) * (height_px // edge)


def step_flops(
    shape: ModelShape,
    *,
    tokens: int,
    squares: int,
    patches: int,
    patch_squares: int,
    trained: frozenset[str] = frozenset({"language"}),
    full: bool = True,
) -> tuple[float, float]:
    """Operations of forward and backward over a batch: (language, vision and projector).

    Args:
        shape: The model.
        tokens: Real tokens; padding is work too, but none that anybody wants.
        squares: Sum over conversations of their length squared.
        patches: Picture patches.
        patch_squares: Sum over pictures of their patches squared.
        trained: Parts with any trained weight: a tower below the lowest trained weight only goes forward.
        full: All weights of the trained parts move; with adapters the weights' gradients, a third, are not computed.

    Returns:
        Operations (FLOP) of the language model and of tower and projector.
    """
    text, vision = shape.text, shape.vision
    attention = 2 * text.layers * text.heads * text.head_dim * squares  # causal: half of 4 * width a pair
    weights = 2 * text.linear * tokens
    # Backward: activations' gradients cost what forward costs, weights' gradients as much again.
    language = weights * (3 if full and "language" in trained else 2) + attention * 3

    window = (vision.window_px // vision.patch_px) ** 2
    windowed = (vision.depth - vision.full_blocks) * min(window * patches, patch_squares)
    pairs = vision.full_blocks * patch_squares + windowed
    tower = 2 * vision.depth * vision.block_linear * patches
    first = 2 * vision.patch_values * vision.hidden * patches  # of patches, which get no gradient
    seen = 4 * vision.hidden * pairs
    projector = 2 * vision.mergers * vision.merger_linear * (patches // vision.merge**2)
    backward_tower = "vision" in trained
    backward_projector = backward_tower or "projector" in trained
    factor = 3 if full else 2
    picture = tower * (factor if backward_tower else 1) + seen * (3 if backward_tower else 1)
    picture += projector * (factor if backward_projector else 1)
    picture += first * (2 if backward_tower and full else 1)
    return float(language), float(picture)


def read_shape(folder: Path) -> ModelShape:
    """The shape of a checkpoint folder, from its `config.json` alone.

    Raises:
        ModelError: There is no config, or its family is not one whose sizes are known here.
    """
    file = folder / "config.json"
    try:
        values = parse_json(file.read_bytes())
    except OSError as error:
        raise ModelError("cannot be read", file=file, cure="give a checkpoint folder") from error
    except ValueError as error:
        raise ModelError("is not JSON", file=file, cure="copy the checkpoint again") from error
    try:
        return shape_of(values, folder.name)
    except KeyError as error:
        raise ModelError(f"lacks the field {error}", file=file, cure="copy the checkpoint again") from error


def shape_of(values: dict[str, Any], name: str) -> ModelShape:
    """The shape that a `config.json` describes.

    Raises:
        ModelError: An unknown family.
        KeyError: A field is absent.
    """
    family = str(values.get("model_type"))
    if family not in ("qwen2_5_vl", "qwen3_vl"):
        raise ModelError(
            f"is of the family '{family}', whose sizes are not known",
            file=name,
            cure="plan with a Qwen2.5-VL or Qwen3-VL checkpoint; training itself does not need the sizes",
        )
    # Qwen2.5-VL's published configs keep the language model's fields at the top.
    text, vision = values.get("text_config", values), values["vision_config"]
    gated = family == "qwen2_5_vl"
    heads, depth = text["num_attention_heads"], vision["depth"]
    deep = len(vision.get("deepstack_visual_indexes", ()))
    tied = values.get("tie_word_embeddings", text.get("tie_word_embeddings", False))
    return ModelShape(
        name=name,
        family=family,
        text=TextShape(
            hidden=text["hidden_size"],
            layers=text["num_hidden_layers"],
            heads=heads,
            kv_heads=text["num_key_value_heads"],
            head_dim=text.get("head_dim") or text["hidden_size"] // heads,
            mlp=text["intermediate_size"],
            vocabulary=text.get("vocab_size", values.get("vocab_size")),
            tied=bool(tied),
            qkv_bias=gated,
            qk_norm=not gated,
            max_tokens=text["max_position_embeddings"],
        ),
        vision=VisionShape(
            hidden=vision["hidden_size"],
            depth=depth,
            heads=vision["num_heads"],
            mlp=vision["intermediate_size"],
            gated=gated,
            patch_px=vision["patch_size"],
            merge=vision["spatial_merge_size"],
            temporal=vision["temporal_patch_size"],
            out_hidden=vision["out_hidden_size"],
            window_px=vision["window_size"] if gated else 0,
            full_blocks=len(vision["fullatt_block_indexes"]) if gated else depth,
            positions=0 if gated else vision["num_position_embeddings"],
            mergers=1 + deep,
        ),
    )


_QWEN25 = TextShape(
    hidden=3584, layers=28, heads=28, kv_heads=4, head_dim=128, mlp=18944, vocabulary=152064, tied=False,
    qkv_bias=True, qk_norm=False, max_tokens=128000,
)  # fmt: skip
_TOWER25 = VisionShape(
    hidden=1280, depth=32, heads=16, mlp=3420, gated=True, patch_px=14, merge=2, temporal=2, out_hidden=3584,
    window_px=112, full_blocks=4, positions=0, mergers=1,
)  # fmt: skip
_QWEN3 = TextShape(
    hidden=4096, layers=36, heads=32, kv_heads=8, head_dim=128, mlp=12288, vocabulary=151936, tied=False,
    qkv_bias=False, qk_norm=True, max_tokens=262144,
)  # fmt: skip
_TOWER3 = VisionShape(
    hidden=1152, depth=27, heads=16, mlp=4304, gated=False, patch_px=16, merge=2, temporal=2, out_hidden=4096,
    window_px=0, full_blocks=27, positions=2304, mergers=4,
)  # fmt: skip

KNOWN_SHAPES: dict[str, ModelShape] = {
    shape.name: shape
    for shape in (
        ModelShape(
            "Qwen2.5-VL-3B-Instruct",
            "qwen2_5_vl",
            replace(_QWEN25, hidden=2048, layers=36, heads=16, kv_heads=2, mlp=11008, vocabulary=151936, tied=True),
            replace(_TOWER25, out_hidden=2048),
        ),
        ModelShape("Qwen2.5-VL-7B-Instruct", "qwen2_5_vl", _QWEN25, _TOWER25),
        ModelShape(
            "Qwen2.5-VL-32B-Instruct",
            "qwen2_5_vl",
            replace(_QWEN25, hidden=5120, layers=64, heads=40, kv_heads=8, mlp=27648),
            replace(_TOWER25, mlp=3456, out_hidden=5120),
        ),
        ModelShape("Qwen3-VL-8B-Instruct", "qwen3_vl", _QWEN3, _TOWER3),
    )
}
"""Bases whose sizes are known without their files. Parameter counts agree with the published ones: 3.75, 8.29, 33.45
and 8.77 billion."""


def known_shape(base: Path) -> ModelShape:
    """The shape of a base: from its `config.json` where the folder is there, from the table by its name otherwise.

    Raises:
        ModelError: Neither is there.
    """
    if (base / "config.json").is_file():
        return read_shape(base)
    if base.name in KNOWN_SHAPES:
        return KNOWN_SHAPES[base.name]
    raise ModelError(
        "is no checkpoint folder, and its name is none of the known bases",
        file=base,
        field="base",
        cure="give the folder of the base, or one of these names: " + ", ".join(KNOWN_SHAPES),
    )
