"""The slice generator: a pseudo-healthy vertebra with its HU, from the CT around it.

Every vertebra is hidden in its band and made once from its surroundings as they are. Then, neighbours first: each
target is made again between the made neighbours instead of the patient's, so that a broken neighbour does not lower it.
Sagittal and coronal slices of a vertebra go through the network in batches, each under its own attention map, and are
averaged; where one plane has no slice the other stands alone. The body is stretched to the restored height (SHRM, the
median over slices of both planes) and laid where the patient's body lies, three quarters of what it gains above it.

Convention: HU come back as HU, outside the body the patient's own, moved apart by what the body gained.

The trap: a crop that ends within 20 mm above or below its target leaves the generator little to go by; a flag says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from spinemed.anatomy import Level
from spinemed.errors import ModelError, VolumeError
from spinemed.vertebra.estimated import UPPER_SHARE
from spinemed.vertebra.straighten import Straightened
from spinemed.vertebra.synthesis.interface import Synthesis, wanted_levels
from spinemed.vertebra.synthesis.neighbours import CUT
from spinemed.vertebra.synthesis.slices import (
    ROW_SHARE,
    NetCrop,
    Piece,
    extent,
    hide_target,
    net_crop,
    rows_at,
    to_patient_crop,
)
from spinemed.vertebra.synthesis.store import CURE, Card

if TYPE_CHECKING:
    from spinemed.vertebra.synthesis.generator_net import GeneratorConfig, GeneratorNets

__all__ = ["Made", "SliceGenerator", "load_generator"]

Array = NDArray[np.float64]
Picture = NDArray[np.float32]

_FARTHEST_RATIO = 0.95
_MOST_STRETCHED = 1.3
_BATCH = 32


@dataclass(frozen=True, eq=False)
class Made:
    """A vertebra as the networks made it, in band coordinates.

    Attributes:
        image: (R, A, band) -1 … 1.
        body: (R, A, band) share of each voxel in the body.
        height: Restored height, in rows.
        low, high: Rows of the band between which the body lies.
    """

    image: Picture
    body: Picture
    height: float
    low: float
    high: float


@dataclass(frozen=True, eq=False)
class SliceGenerator:
    """A trained generator.

    Attributes:
        nets: The networks, in evaluation mode.
        config: Their config.
        name: What it is and learned from.
        rounds: 2: neighbours first; 1: each vertebra from its surroundings as they are.
        batch: Slices that go through the network together.
        needs_image: True.
    """

    nets: GeneratorNets
    config: GeneratorConfig
    name: str
    rounds: int = 2
    batch: int = _BATCH
    needs_image: bool = True

    def synthesise(self, straight: Straightened, levels: Sequence[Level] | None = None) -> dict[Level, Synthesis]:
        """See :class:`~spinemed.vertebra.synthesis.interface.Synthesiser`."""
        from spinemed.vertebra.synthesis.generator_net import to_unit

        wanted = wanted_levels(straight, levels)
        order = sorted(straight.crops)
        near = {each for level in wanted for each in _beside(order, level)} | set(wanted)
        usable = [
            level for level in order if level in near and (level in wanted or CUT not in straight.crops[level].flags)
        ]
        crops = {level: net_crop(straight, level, self.config) for level in usable}
        units = {level: to_unit(crop.image) for level, crop in crops.items()}
        made = {level: self._make(crops[level], *_around(crops[level], units[level], {})) for level in usable}
        if self.rounds > 1:
            again = {}
            for level in wanted:
                others = {each: made[each] for each in _beside(order, level) if each in made}
                again[level] = self._make(crops[level], *_around(crops[level], units[level], others))
            made = again
        return {level: self._given(straight, crops[level], made[level]) for level in wanted}

    def _make(self, crop: NetCrop, above: list[Piece], below: list[Piece]) -> Made:
        """Both planes of one vertebra through the networks."""
        surroundings = hide_target(above, below, self.config)
        band = self.config.band_vox
        first = (self.config.slice_vox[1] - band) // 2
        total = np.zeros((*surroundings.shape[:2], band), dtype=np.float32)
        body, weight = np.zeros_like(total), np.zeros_like(total)
        heights: list[Array] = []
        for plane in (0, 1):
            low, high = crop.sides[plane]
            middle, half = (low + high) / 2, max((high - low) / 2, 1e-6)
            places = np.arange(max(0, int(np.ceil(low))), min(surroundings.shape[plane] - 1, int(high)) + 1)
            ratio = np.abs(places - middle) / half
            places, ratio = places[ratio <= _FARTHEST_RATIO], ratio[ratio <= _FARTHEST_RATIO]
            if not len(places):
                continue
            slices = np.moveaxis(np.take(surroundings, places, axis=plane), plane, 0)
            image, bodies, height = self.forward(slices, ratio, plane)
            where = (places,) if plane == 0 else (slice(None), places)
            rows = slice(first, first + band)
            total[where] += np.moveaxis(image[:, :, rows], 0, plane)
            body[where] += np.moveaxis(bodies[:, :, rows], 0, plane)
            weight[where] += 1
            heights.append(height[ratio <= 0.5] if (ratio <= 0.5).any() else height)
        if not heights:
            raise VolumeError(f"{crop.level} is too thin for a slice", field="mask", cure="give a whole body")
        count = np.maximum(weight, np.float32(1))
        share: Picture = (body / count).astype(np.float32)
        if not (share >= 0.5).any():
            raise VolumeError(
                f"the generator sees no body for {crop.level}", field="image", cure="check that the image is a CT in HU"
            )
        low, high = extent(share, 2, ROW_SHARE)
        restored = float(np.median(np.concatenate(heights))) / self.config.spacing_mm
        # What is drawn and what is restored differ by little; a stretch beyond a third would be no restoration.
        restored = float(np.clip(restored, (high - low) / _MOST_STRETCHED, (high - low) * _MOST_STRETCHED))
        return Made((total / count).astype(np.float32), share, restored, low, high)

    def forward(self, slices: Picture, ratio: Array, plane: int) -> tuple[Picture, Picture, Array]:
        """Slices of one plane through classifier and generator, in batches: images, bodies, heights (mm)."""
        import torch

        from spinemed.vertebra.synthesis.generator_net import healthy_attention

        found: list[tuple[torch.Tensor, ...]] = []
        for start in range(0, len(slices), self.batch):
            masked = torch.from_numpy(np.ascontiguousarray(slices[start : start + self.batch]))[:, None]
            attention = healthy_attention(self.nets.classifier, masked)
            far = torch.from_numpy(ratio[start : start + self.batch].astype(np.float32))
            with torch.no_grad():
                out = self.nets.generator(masked, far, torch.full_like(far, float(plane)), attention)
            found.append((out[2], out[3], out[5]))
        image, body, height = (torch.cat(each).numpy() for each in zip(*found, strict=True))
        return image[:, 0], body[:, 0], height.astype(np.float64)

    def _given(self, straight: Straightened, crop: NetCrop, made: Made) -> Synthesis:
        """A made vertebra in its place in the patient's crop."""
        from spinemed.vertebra.synthesis.generator_net import from_unit

        own = straight.crops[crop.level]
        gained = made.height - (crop.high - crop.low)
        top, bottom = crop.high + UPPER_SHARE * gained, crop.low - (1 - UPPER_SHARE) * gained
        rows = np.arange(crop.body.shape[2], dtype=np.float64)
        # Rows of the target come from the band, stretched to the restored height; all others from the patient.
        source = made.low + (rows - bottom) * (made.high - made.low) / (top - bottom)
        inside = (rows >= bottom) & (rows <= top)
        reach = (source >= 0) & (source <= made.body.shape[2] - 1)  # rims beyond the area's threshold belong to it
        body = np.where(reach, rows_at(made.body, source), 0.0).astype(np.float32)
        moved = np.where(rows > top, rows - (top - crop.high), rows - (bottom - crop.low))
        image = from_unit(rows_at(made.image, source))
        outside = rows_at(crop.image, moved)
        shown = np.where(inside, body, 0.0)
        mixed = np.where(inside, shown * image + (1 - shown) * outside, outside).astype(np.float32)
        flags = own.flags
        upper_room = crop.body.shape[2] - 1 - crop.high
        if min(upper_room, crop.low) * self.config.spacing_mm < 20.0:
            flags = (*flags, "the crop ends close to the target: little to go by")
        spacing = straight.spacing_mm
        given = to_patient_crop(body, own, spacing, self.config)
        assert own.image is not None
        picture = to_patient_crop(mixed, own, spacing, self.config)
        known = to_patient_crop(np.ones_like(mixed), own, spacing, self.config) > 0.999
        picture = np.where(known, picture, own.image).astype(np.float32)
        return Synthesis(crop.level, own, given, picture, flags, self.name)


def _beside(order: list[Level], level: Level) -> list[Level]:
    at = order.index(level)
    return [order[n] for n in (at - 1, at + 1) if 0 <= n < len(order)]


def _around(crop: NetCrop, unit: Picture, made: dict[Level, Made]) -> tuple[list[Piece], list[Piece]]:
    """What lies above and below a target: the patient's rows, or made neighbours in their place."""
    end = float(unit.shape[2] - 1)
    above, below = [Piece(unit, crop.high, end)], [Piece(unit, crop.low, 0.0)]
    for level, each in made.items():
        if level not in crop.others:
            continue
        low, high = extent(crop.others[level], 2, ROW_SHARE)
        half = (each.height - (each.high - each.low)) / 2
        if level < crop.level and low >= crop.high:
            above = [
                Piece(unit, crop.high, low),
                Piece(_stretched(each, half), each.low - half, each.high + half),
                Piece(unit, high, max(high, end)),
            ]
        elif level > crop.level and high <= crop.low:
            below = [
                Piece(unit, crop.low, high),
                Piece(_stretched(each, half), each.high + half, each.low - half),
                Piece(unit, low, min(low, 0.0)),
            ]
    return above, below


def _stretched(made: Made, half: float) -> Picture:
    """A made vertebra's rows with its height restored, about the same middle."""
    rows = np.arange(made.image.shape[2], dtype=np.float64)
    middle = (made.low + made.high) / 2
    factor = (made.high - made.low) / (made.high - made.low + 2 * half)
    return rows_at(made.image, middle + (rows - middle) * factor)


def load_generator(folder: Path, card: Card) -> SliceGenerator:
    """A generator from its folder.

    Raises:
        ModelError: a file is missing or does not fit the config.
    """
    from pydantic import ValidationError
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from spinemed.vertebra.synthesis.generator_net import FractureClassifier, Generator, GeneratorConfig, GeneratorNets

    try:
        config = GeneratorConfig.model_validate_json((folder / "config.json").read_bytes())
    except (OSError, ValidationError) as error:
        raise ModelError("is missing or damaged", file=folder / "config.json", cure=CURE) from error
    nets = GeneratorNets(Generator(config), FractureClassifier(config))
    for name, network in vars(nets).items():
        path = folder / f"{name}.safetensors"
        try:
            network.load_state_dict(load_file(path))
        except (OSError, SafetensorError, RuntimeError) as error:
            raise ModelError("is missing or of another config", file=path, cure=CURE) from error
        network.eval()
    return SliceGenerator(nets, config, card.name)
