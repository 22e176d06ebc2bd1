"""What a frozen vision tower says of each picture, computed once and read back in every epoch and for every question.

Convention: a picture's features lie under a hash of its bytes, the size it is brought to, the tower's weights and the
processor's settings. Files are safetensors, written whole or not at all, read through memory maps; whoever finds a
picture in them need not decode it. Features keep the tower's number format, so training on them is training on what
the tower would have said: losses agree to 1e-5.

Trap: nothing may move in front of the features. Training on a tower that learns, or that carries adapters, would go on
reading what it said before; such a model is refused.
"""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from spinemed.errors import ConfigError, ModelError, ReadError
from spinemed.tables import write_bytes
from spinemed.vlm.layout import Encoded, Layout, bring_to, open_picture
from train.packing.measured import MeasuredRows

__all__ = ["FeatureRows", "FeatureStore", "FrozenTower", "Picture", "feature_call", "pictures_of"]

FEATURES = "image_features"
"""Name under which features travel in :attr:`Encoded.vision`: (tokens, 1 + deep-stack levels, width)."""


@dataclass(frozen=True)
class Picture:
    """A picture as the processor will see it.

    Attributes:
        key: Hash of bytes and size.
        data: The encoded bytes.
        size: Width and height to which it is brought.
        tokens: Tokens that it makes.
    """

    key: str
    data: bytes
    size: tuple[int, int]
    tokens: int


def picture_key(data: bytes, size: tuple[int, int]) -> str:
    """Hash of a picture's bytes and of the size to which it is brought."""
    return hashlib.sha256(hashlib.sha256(data).digest() + f"{size[0]}x{size[1]}".encode()).hexdigest()


def pictures_of(rows: MeasuredRows) -> dict[str, Picture]:
    """Every picture of the rows once, by key, in the order of first use."""
    found: dict[str, Picture] = {}
    for number, row in enumerate(rows.kept):
        measured = rows.measured(number)
        for image, size, tokens in zip(row.images, measured.sizes, measured.tokens, strict=True):
            key = picture_key(image.bytes, size)
            if key not in found:
                found[key] = Picture(key, image.bytes, size, tokens)
    return found


class FrozenTower:
    """The vision half of a model, as a function of pictures.

    Args:
        model: A transformers vision-language model, with or without adapters on its language part.
        processor: Its processor.

    Attributes:
        sha256: Hash of weights and settings: what features depend on besides the picture.
        width: Numbers of one feature.
        levels: 1, and one more for each deep-stack level.
        dtype: Number format of features.

    Raises:
        ModelError: The tower or projector trains or carries adapters, or the model takes no features.
    """

    def __init__(self, model: Any, processor: Any) -> None:
        base = model.get_base_model() if hasattr(model, "get_base_model") else model
        inner = getattr(base, "model", base)
        if "mm_encoder_outputs" not in inspect.signature(inner.forward).parameters or not hasattr(
            processor, "image_token_id"
        ):
            raise ModelError(
                f"{type(base).__name__} takes no features that were computed before",
                field="feature_cache",
                cure="leave feature_cache out for this model",
            )
        self.model, self.processor = base, processor
        outside = {name: value for name, value in base.named_parameters() if not _speaks(name)}
        moving = [name for name, value in outside.items() if value.requires_grad or "lora_" in name]
        if moving:
            raise ModelError(
                f"the vision tower or projector trains ({moving[0]} and {len(moving) - 1} more)",
                field="feature_cache",
                cure="freeze vision and projector, or leave feature_cache out",
            )
        digest = hashlib.sha256()
        for name, value in sorted(outside.items()):
            digest.update(f"{name.replace('.base_layer', '')} {value.dtype} {tuple(value.shape)}".encode())
            digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
        settings = processor.image_processor.to_dict()
        digest.update(json.dumps(settings, sort_keys=True, default=str).encode())
        self.sha256 = digest.hexdigest()
        probe, _ = self._run([Image.new("RGB", (64, 64))])
        self.levels, self.width = int(probe.shape[1]), int(probe.shape[2])
        self.dtype = probe.dtype

    def bytes_for(self, tokens: int) -> int:
        """Bytes of the features of so many picture tokens."""
        return tokens * self.levels * self.width * self.dtype.itemsize

    def features(self, pictures: Sequence[Picture]) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Features (tokens, levels, width) and grid (3,) of each picture, on the CPU.

        Raises:
            ReadError: A picture cannot be decoded.
        """
        opened = [open_picture(picture.data, picture.key) for picture in pictures]
        sized = [bring_to(image, picture.size) for image, picture in zip(opened, pictures, strict=True)]
        made, grids = self._run(sized)
        parts = made.split([picture.tokens for picture in pictures])
        return [(part.contiguous(), grid) for part, grid in zip(parts, grids, strict=True)]

    def _run(self, images: Sequence[Any]) -> tuple[torch.Tensor, torch.Tensor]:
        inputs = self.processor.image_processor(images=list(images), return_tensors="pt")
        device = next(self.model.parameters()).device
        was_training = self.model.training
        self.model.eval()
        try:
            with torch.no_grad():
                out = self.model.get_image_features(
                    inputs["pixel_values"].to(device), inputs["image_grid_thw"].to(device), return_dict=True
                )
        finally:
            self.model.train(was_training)
        self.output = type(out)
        levels = [torch.cat(tuple(out.pooler_output))]
        levels += [torch.cat(tuple(level)) for level in getattr(out, "deepstack_features", None) or ()]
        return torch.stack(levels, dim=1).cpu(), inputs["image_grid_thw"]


def _speaks(name: str) -> bool:
    """Whether a weight belongs to the language model."""
    return "language_model" in name or "lm_head" in name


class FeatureStore:
    """Features on disk.

    Args:
        folder: Shared by any number of runs; features of other towers in it are left alone.
        tower_sha256: Of :class:`FrozenTower`.

    Raises:
        ReadError: A file in the folder is damaged.
    """

    def __init__(self, folder: Path, tower_sha256: str) -> None:
        self.folder = folder / tower_sha256[:32]
        self._where: dict[str, Path] = {}
        self._open: dict[Path, Any] = {}
        self.refresh()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": {}}  # memory maps do not travel to another process

    def __contains__(self, key: str) -> bool:
        return key in self._where

    def __len__(self) -> int:
        return len(self._where)

    def refresh(self) -> None:
        """Find what other processes have written meanwhile."""
        known = set(self._where.values())
        for file in sorted(self.folder.glob("*.safetensors")):
            if file not in known:
                self._where.update(dict.fromkeys(self._keys(file), file))

    def _keys(self, file: Path) -> Iterator[str]:
        names = set(self._map(file).keys())
        return (name for name in names if not name.endswith(".grid"))

    def _map(self, file: Path) -> Any:
        from safetensors import SafetensorError, safe_open

        if file not in self._open:
            try:
                self._open[file] = safe_open(str(file), framework="pt").__enter__()
            except (OSError, SafetensorError) as error:
                raise ReadError(
                    f"is no file of features ({str(error)[:120]})", file=file, cure="remove it; it is computed again"
                ) from error
        return self._open[file]

    def get(self, key: str) -> tuple[torch.Tensor, torch.Tensor]:
        """Features (tokens, levels, width) and grid (3,) of a picture.

        Raises:
            KeyError: It is not there.
        """
        shard = self._map(self._where[key])
        return shard.get_tensor(key), shard.get_tensor(key + ".grid")

    def fill(
        self,
        tower: FrozenTower,
        pictures: Iterable[Picture],
        *,
        limit_bytes: int,
        batch_tokens: int = 4096,
        shard_bytes: int = 256_000_000,
    ) -> dict[str, int]:
        """Compute what is missing, one file after another: what a killed process finished is kept.

        Args:
            tower: Computes.
            pictures: All that will be asked for; of several processes, each gives its own part.
            limit_bytes: Disk for the features of these pictures.
            batch_tokens: Picture tokens that go through the tower together.
            shard_bytes: Size of one file.

        Returns:
            `computed` and `reused` pictures, `bytes` of all of them.

        Raises:
            ConfigError: They need more disk than the limit.
        """
        wanted = {picture.key: picture for picture in pictures}
        size = sum(tower.bytes_for(picture.tokens) for picture in wanted.values())
        if size > limit_bytes:
            raise ConfigError(
                f"{len(wanted)} pictures need {size / 1e9:.3g} GB of features, the limit is {limit_bytes / 1e9:.3g}",
                field="feature_cache.limit_gb",
                cure="raise it, lower max_pixels, or leave feature_cache out",
            )
        missing = [picture for key, picture in wanted.items() if key not in self]
        shard: dict[str, torch.Tensor] = {}
        weight = 0
        for batch in _batches(missing, batch_tokens):
            for picture, (features, grid) in zip(batch, tower.features(batch), strict=True):
                shard[picture.key], shard[picture.key + ".grid"] = features, grid
                weight += features.numel() * features.element_size()
            if weight >= shard_bytes:
                self._write(shard)
                shard, weight = {}, 0
        if shard:
            self._write(shard)
        return {"computed": len(missing), "reused": len(wanted) - len(missing), "bytes": size}

    def _write(self, shard: dict[str, torch.Tensor]) -> None:
        from safetensors.torch import save

        name = hashlib.sha256("".join(sorted(shard)).encode()).hexdigest()[:32]
        file = self.folder / f"{name}.safetensors"
        write_bytes(file, save(shard))
        self._where.update({key: file for key in shard if not key.endswith(".grid")})


def _batches(pictures: Sequence[Picture], tokens: int) -> Iterator[list[Picture]]:
    batch: list[Picture] = []
    held = 0
    for picture in pictures:
        if batch and held + picture.tokens > tokens:
            yield batch
            batch, held = [], 0
        batch.append(picture)
        held += picture.tokens
    if batch:
        yield batch


class FeatureRows:
    """Measured rows whose pictures come from a store, undecoded.

    Args:
        rows: Measured.
        store: Filled with :func:`pictures_of` them.
    """

    def __init__(self, rows: MeasuredRows, store: FeatureStore) -> None:
        self.rows, self.store = rows, store
        self.layout: Layout = rows.layout
        self.lengths = rows.lengths

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, number: int) -> Encoded:
        row, measured = self.rows.kept[number], self.rows.measured(number)
        text = self.layout.encode_text(row.messages, measured.tokens)
        if not row.images:
            return text
        found = [
            self.store.get(picture_key(image.bytes, size))
            for image, size in zip(row.images, measured.sizes, strict=True)
        ]
        vision = {
            FEATURES: torch.cat([features for features, _ in found]),
            "image_grid_thw": torch.stack([grid for _, grid in found]),
        }
        return Encoded(text.input_ids, text.labels, text.sequence, vision)


def feature_call(batch: dict[str, Any], output: type[Any]) -> dict[str, Any]:
    """A collated batch, padded or packed, with features handed over as the model takes them.

    Args:
        batch: As collated from :class:`FeatureRows`; changed in place. Without pictures it stays as it is.
        output: :attr:`FrozenTower.output`, the class of what the tower returns.
    """
    features = batch.pop(FEATURES, None)
    if features is None:
        return batch
    levels = features.unbind(1)
    about: dict[str, Any] = {"pooler_output": (levels[0].contiguous(),)}
    if len(levels) > 1:
        about["deepstack_features"] = [(level.contiguous(),) for level in levels[1:]]
    batch["mm_encoder_outputs"] = {"image": output(**about)}
    return batch
