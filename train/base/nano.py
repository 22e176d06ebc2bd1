"""A nano vision-language model from a config: Qwen3-VL architecture, a few million parameters, tokenizer of its own.

Convention: everything follows from the config and its seed; the same config gives the same bytes on the same machine.
The result is an ordinary checkpoint folder: transformers and vLLM load it with their stock classes.

Traps: the text rotary sections must add up to half the head size, or positions in the picture are lost silently; and
the head size stays at 32 or more, which is the least that vLLM accepts.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path
from typing import Any

from pydantic import Field, model_validator

from spinemed.config import Config, ConfigPath
from spinemed.errors import ReadError

__all__ = ["NanoConfig", "NanoText", "NanoVision", "build_model", "build_processor", "build_tokenizer", "read_texts"]

SPECIAL_TOKENS = (
    "<|pad|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
)


class NanoVision(Config):
    """Size of the vision encoder."""

    patch_px: int = Field(default=8, ge=2)
    """Edge of one patch in pixels."""
    merge: int = Field(default=2, ge=1)
    """Patches per edge that become one token: 128 px with patch 8 and merge 2 are 64 tokens."""
    hidden: int = Field(default=192, ge=16)
    """Width."""
    depth: int = Field(default=5, ge=1)
    """Blocks."""
    heads: int = Field(default=6, ge=1)
    """Attention heads; the width divided by them is a multiple of 4."""
    mlp: int = Field(default=512, ge=16)
    """Width of the feed-forward part."""
    deepstack: tuple[int, ...] = (2,)
    """Blocks whose features enter the first text layers as well."""
    image_px: int = Field(default=128, ge=16)
    """Edge of the square picture that the position table is made for."""
    min_px: int = Field(default=128, ge=16)
    """Pictures with a smaller area than this square are enlarged."""
    max_px: int = Field(default=128, ge=16)
    """Pictures with a larger area than this square are reduced."""

    @model_validator(mode="after")
    def _fits(self) -> NanoVision:
        if self.hidden % self.heads or (self.hidden // self.heads) % 4:
            raise ValueError("vision hidden / heads must be a multiple of 4")
        if self.image_px % (self.patch_px * self.merge):
            raise ValueError("image_px must be a multiple of patch_px * merge")
        if any(not 0 <= block < self.depth for block in self.deepstack):
            raise ValueError("deepstack names a block that is not there")
        return self


class NanoText(Config):
    """Size of the language model."""

    hidden: int = Field(default=192, ge=16)
    """Width."""
    layers: int = Field(default=4, ge=1)
    """Decoder layers."""
    heads: int = Field(default=6, ge=1)
    """Query heads."""
    kv_heads: int = Field(default=2, ge=1)
    """Key and value heads; divides `heads`."""
    head_dim: int = Field(default=32, ge=32)
    """Size of one head."""
    mlp: int = Field(default=512, ge=16)
    """Width of the feed-forward part."""
    max_tokens: int = Field(default=2048, ge=64)
    """Longest sequence."""
    vocabulary: int = Field(default=1536, ge=320)
    """Largest number of tokens; 256 of them are bytes."""

    @model_validator(mode="after")
    def _fits(self) -> NanoText:
        if self.heads % self.kv_heads:
            raise ValueError("heads must be a multiple of kv_heads")
        return self


class NanoConfig(Config):
    """A nano model before any training."""

    seed: int = 0
    """Seed of the initial weights."""
    init_std: float = Field(default=0.05, gt=0)
    """Spread of the initial weights. 0.02, usual for wide models, learns several times slower at this width."""
    vision: NanoVision = NanoVision()
    """Vision encoder."""
    text: NanoText = NanoText()
    """Language model."""
    tokenizer_texts: tuple[ConfigPath, ...] = ()
    """Text, XML or CNXML files from which the tokenizer learns its merges."""


def read_texts(paths: Iterable[Path]) -> list[str]:
    """Plain text of text and XML files.

    Raises:
        ReadError: A file is missing or broken.
    """
    from lxml import etree

    texts = []
    for path in paths:
        try:
            if path.suffix in (".xml", ".cnxml"):
                parser = etree.XMLParser(resolve_entities=False, no_network=True)
                texts.append(" ".join(etree.parse(path, parser).getroot().itertext()))
            else:
                texts.append(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, etree.XMLSyntaxError) as error:
            raise ReadError(
                f"cannot be read as text ({str(error).splitlines()[0]})", file=path, cure="check tokenizer_texts"
            ) from error
    return texts


def build_tokenizer(texts: Iterable[str], *, vocabulary: int, max_tokens: int) -> Any:
    """Train a byte-level BPE tokenizer in which every vertebral level is one token.

    Any text can be encoded, because all 256 bytes are tokens. The same texts give the same tokenizer.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    from spinemed.anatomy import Level

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    levels = [str(level.value) for level in Level if len(level.value) <= 3]
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary - len(levels),
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(list(texts), trainer)
    # Levels are ordinary tokens, not special ones: they stay in decoded answers.
    tokenizer.add_tokens([AddedToken(level, single_word=True, normalized=False) for level in levels])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<|pad|>",
        eos_token="<|im_end|>",
        additional_special_tokens=[token for token in SPECIAL_TOKENS if token not in ("<|pad|>", "<|im_end|>")],
        model_max_length=max_tokens,
        clean_up_tokenization_spaces=False,
    )


def build_processor(config: NanoConfig, texts: Iterable[str]) -> Any:
    """Tokenizer, picture processor and chat template together."""
    from spinemed.vlm.processor import ImageOnlyQwen3VLProcessor, build_image_processor

    vision = config.vision
    images = build_image_processor(
        patch_size=vision.patch_px,
        merge_size=vision.merge,
        temporal_patch_size=2,
        min_pixels=vision.min_px**2,
        max_pixels=vision.max_px**2,
    )
    tokenizer = build_tokenizer(texts, vocabulary=config.text.vocabulary, max_tokens=config.text.max_tokens)
    template = files("train").joinpath("templates/chat_template.jinja").read_text(encoding="utf-8")
    return ImageOnlyQwen3VLProcessor(images, tokenizer, chat_template=template)


def build_model(config: NanoConfig, processor: Any) -> Any:
    """A `Qwen3VLForConditionalGeneration` with weights drawn from the config's seed."""
    import torch
    from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration, set_seed

    vision, text, tokenizer = config.vision, config.text, processor.tokenizer
    half = text.head_dim // 2
    # Temporal, height and width each get a share of the rotary frequencies; a still picture needs little of the first.
    height = half // 3
    made = Qwen3VLConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": text.hidden,
            "intermediate_size": text.mlp,
            "num_hidden_layers": text.layers,
            "num_attention_heads": text.heads,
            "num_key_value_heads": text.kv_heads,
            "head_dim": text.head_dim,
            "max_position_embeddings": text.max_tokens,
            "initializer_range": config.init_std,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 10000.0,
                "mrope_section": [half - 2 * height, height, height],
                "mrope_interleaved": True,
            },
            "tie_word_embeddings": True,
            "pad_token_id": tokenizer.pad_token_id,
        },
        vision_config={
            "hidden_size": vision.hidden,
            "out_hidden_size": text.hidden,
            "intermediate_size": vision.mlp,
            "depth": vision.depth,
            "num_heads": vision.heads,
            "patch_size": vision.patch_px,
            "spatial_merge_size": vision.merge,
            "temporal_patch_size": 2,
            "num_position_embeddings": (vision.image_px // vision.patch_px) ** 2,
            "deepstack_visual_indexes": list(vision.deepstack),
            "initializer_range": config.init_std,
        },
        image_token_id=processor.image_token_id,
        video_token_id=processor.video_token_id,
        vision_start_token_id=processor.vision_start_token_id,
        vision_end_token_id=processor.vision_end_token_id,
        tie_word_embeddings=True,
    )
    set_seed(config.seed)
    model = Qwen3VLForConditionalGeneration(made).to(torch.float32)
    generation = model.generation_config
    generation.eos_token_id = tokenizer.eos_token_id
    generation.pad_token_id = tokenizer.pad_token_id
    generation.do_sample = False
    return model
