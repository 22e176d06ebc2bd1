"""Train the vertebra labeller from folders in VerSe's layout: first where vertebrae are, then which voxels are one.

Convention: every CT is brought to each network's own grid once (`outputs/prepared`); crops are then a pure function of
the seed and the crop's number, so a resumed run sees what an uninterrupted one would have seen. Training itself is
:func:`train.trainer.fit`: several processes and GPUs through accelerate, complete checkpoints only.

Trap: VerSe leaves the sacrum (26) unlabelled. Without it the locator cannot learn the lower anchor and says so in
`about.json`; phantoms written with their sacrum carry it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import Field
from torch import nn
from torch.utils.data import Dataset

from spinemed.anatomy import Level, Region
from spinemed.config import Config, ConfigPath
from spinemed.errors import ReadError
from spinemed.geometry import VoxelPoints, WorldPoints, resample_to_grid, voxel_to_world, world_to_voxel
from spinemed.labelling.assignment import KIND_OF, Kind
from spinemed.labelling.dataset import VerseCase, read_case_centroids, read_verse_folder
from spinemed.labelling.inference import AIR_HU, canonical, crop_around, hint_map
from spinemed.labelling.masks import read_label_mask
from spinemed.labelling.networks import (
    KINDS,
    LabellerConfig,
    LocatorConfig,
    SegmenterConfig,
    build_locator,
    build_segmenter,
    normalise,
    save_networks,
)
from spinemed.records import content_hash
from spinemed.run import Run, open_run
from spinemed.tables import file_sha256
from spinemed.volume import Volume, read_nifti, require_same_grid
from train.trainer import Schedule, fit, set_determinism

__all__ = ["LabellingConfig", "LocatorCrops", "SegmenterCrops", "run_labelling"]

_SACRUM = 26
_S1_HEIGHT_MM = 30.0  # the part of the sacrum that its landmark is taken from


class LabellingConfig(Config):
    """`spinemed train labelling`."""

    data: tuple[ConfigPath, ...] = Field(min_length=1)
    """Folders in VerSe's layout, each with CT, masks and centroids."""
    origin: str = Field(min_length=1)
    """What the data are, in a few words ("phantoms, family a, seed 1"); stands wherever the model answers."""
    networks: LabellerConfig = LabellerConfig()
    """Both networks."""
    locator: Schedule
    """Training of the coarse network."""
    segmenter: Schedule
    """Training of the fine network."""
    jitter_mm: float = Field(default=3.0, ge=0)
    """Spread of the error put on the segmenter's hint, per axis: about what the locator leaves."""
    seed: int = 0
    """Of weights and crops."""
    threads: int = Field(default=2, ge=1)
    """CPU threads of torch. Results repeat for the same number only."""


@dataclass(frozen=True)
class _Prepared:
    """One case on one grid: HU (float16), labels (uint8), centres in voxels and their VerSe numbers."""

    name: str
    hu: np.ndarray
    labels: np.ndarray
    centres_vox: np.ndarray
    numbers: np.ndarray


def run_labelling(config: LabellingConfig, out: str | os.PathLike[str]) -> Path:
    """Train both networks; resumes when `out` holds an unfinished run of the same config.

    Returns:
        The model folder, `out/outputs/model`.

    Raises:
        ReadError, VolumeError, RunError: a case cannot be read, or the run folder belongs to something else.
    """
    with open_run(out, command="train labelling", config=config) as run:
        cases = [case for folder in config.data for case in read_verse_folder(folder)]
        _require_complete(cases, config)
        hashes = {
            case.name: [file_sha256(path) for path in (case.image, case.mask, case.centroids) if path is not None]
            for case in cases
        }
        spacings = (config.networks.locator.spacing_mm, config.networks.segmenter.spacing_mm)
        prepared = run.step(
            "prepared",
            key={"cases": hashes, "spacings_mm": spacings},
            work=lambda folder: _prepare(cases, spacings, run, folder),
        )
        key = {
            "config": content_hash(config.model_dump(mode="json", exclude={"data"})),
            "cases": hashes,
        }
        return run.step(
            "model", key=key, work=lambda folder: _train(config, run, prepared, key, folder), kind="labeller"
        )


def _require_complete(cases: Sequence[VerseCase], config: LabellingConfig) -> None:
    if not cases:
        raise ReadError("holds no case in VerSe's layout", file=config.data[0], cure="give folders with CT and masks")
    for case in cases:
        if case.image is None or case.mask is None:
            missing = "CT" if case.image is None else "mask"
            raise ReadError(
                f"case {case.name} has no {missing}", file=case.mask or case.image, cure="complete it or take it out"
            )


def _prepare(cases: Sequence[VerseCase], spacings_mm: Sequence[float], run: Run, folder: Path) -> dict[str, Any]:
    sacra = 0
    with run.progress("prepared", len(cases)) as advance:
        for case in cases:
            if case.image is None or case.mask is None:  # refused above
                continue
            image, mask = read_nifti(case.image, unit="HU"), read_label_mask(case.mask)
            labels = Volume(mask.data, mask.affine, "label", mask.source)
            require_same_grid(image, labels)
            centroids = read_case_centroids(case, mask=mask, derive=True)
            from spinemed.anatomy import LABEL_MAPS

            numbers = [LABEL_MAPS["verse"].to_label(level) for level in centroids.levels if _is_vertebra(level)]
            points = [
                point
                for level, point in zip(centroids.levels, centroids.points.values, strict=True)
                if _is_vertebra(level)
            ]
            sacrum = _sacral_landmark(labels)
            if sacrum is not None:
                numbers.append(_SACRUM)
                points.append(sacrum)
                sacra += 1
            for at, spacing in enumerate(spacings_mm):
                hu, affine = canonical(image, spacing)
                on_grid = resample_to_grid(labels.data, labels.affine, hu.shape, affine, order=0, fill=0)
                centres = world_to_voxel(WorldPoints(np.array(points)), affine).values if points else np.zeros((0, 3))
                np.savez(
                    folder / f"{case.name}_{at}.npz",
                    hu=np.clip(hu, -1024, 3071).astype(np.float16),
                    labels=on_grid.astype(np.uint8),
                    centres_vox=centres,
                    numbers=np.array(numbers, dtype=np.int16),
                )
            advance(1)
    return {"cases": len(cases), "with_sacrum": sacra}


def _is_vertebra(level: Level) -> bool:
    return level.region in (Region.CERVICAL, Region.THORACIC, Region.LUMBAR)


def _sacral_landmark(labels: Volume) -> np.ndarray | None:
    """Middle of the sacrum's uppermost 30 mm; None where the mask holds no sacrum."""
    places = np.argwhere(labels.data == _SACRUM)
    if len(places) == 0:
        return None
    world = voxel_to_world(VoxelPoints(places.astype(np.float64)), labels.affine).values
    top = world[world[:, 2] > world[:, 2].max() - _S1_HEIGHT_MM]
    return np.asarray(top.mean(axis=0))


def _load(folder: Path, grid: int) -> list[_Prepared]:
    cases = []
    for path in sorted(folder.glob(f"*_{grid}.npz")):
        with np.load(path) as held:
            cases.append(_Prepared(path.stem[:-2], held["hu"], held["labels"], held["centres_vox"], held["numbers"]))
    return cases


class LocatorCrops(Dataset[dict[str, torch.Tensor]]):
    """Crops for the coarse network; number k is always the same crop.

    Args:
        cases: Prepared cases on the locator's grid.
        config: Its settings.
        count: Length.
        seed: With the crop's number, all that decides it.
    """

    def __init__(self, cases: Sequence[_Prepared], config: LocatorConfig, count: int, seed: int) -> None:
        self.cases, self.config, self.count, self.seed = cases, config, count, seed
        from spinemed.labelling.masks import vertebra_of_label

        # Index of the locator's class for every VerSe number: 0 background, then kinds.
        self.kinds = np.zeros(256, dtype=np.int64)
        for number in range(1, 29):
            level = vertebra_of_label(number)
            if level is not None:
                self.kinds[number] = 1 + KINDS.index(KIND_OF[level])
        self.kinds[_SACRUM] = 1 + KINDS.index(Kind.SACRUM)

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        random = np.random.default_rng([self.seed, 1, index])
        case = self.cases[int(random.integers(len(self.cases)))]
        window = np.array(self.config.window_vox)
        if len(case.centres_vox) and random.random() < 0.9:
            middle = case.centres_vox[int(random.integers(len(case.centres_vox)))] + random.normal(0, window / 8)
        else:
            middle = random.uniform(0, case.hu.shape)
        hu, start = crop_around(normalise(case.hu.astype(np.float32)), middle, window, 0.0)
        labels = _crop(case.labels, start, window)
        heat = np.zeros(tuple(window), dtype=np.float32)
        sigma = self.config.heat_sigma_mm / self.config.spacing_mm
        for centre in case.centres_vox:
            at = centre - start
            if (at > -3 * sigma).all() and (at < window + 3 * sigma).all():
                np.maximum(heat, hint_map(window, at, sigma), out=heat)
        kinds = self.kinds[labels]
        hu, heat, kinds = _augment(random, hu, heat, kinds)
        return {
            "pixels": torch.from_numpy(hu)[None],
            "heat": torch.from_numpy(heat),
            "kinds": torch.from_numpy(kinds),
        }


class SegmenterCrops(Dataset[dict[str, torch.Tensor]]):
    """Crops for the fine network, one vertebra each; number k is always the same crop. Arguments as LocatorCrops."""

    def __init__(
        self, cases: Sequence[_Prepared], config: SegmenterConfig, count: int, seed: int, jitter_mm: float
    ) -> None:
        self.cases = [case for case in cases if (case.numbers != _SACRUM).any()]
        self.config, self.count, self.seed, self.jitter_mm = config, count, seed, jitter_mm

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        random = np.random.default_rng([self.seed, 2, index])
        case = self.cases[int(random.integers(len(self.cases)))]
        choices = np.flatnonzero(case.numbers != _SACRUM)
        at = int(choices[int(random.integers(len(choices)))])
        told, window = self.config, np.array(self.config.window_vox)
        centre = case.centres_vox[at] + random.normal(0, self.jitter_mm / told.spacing_mm, 3)
        back = told.centre_back_mm / told.spacing_mm
        # Only the crop's own voxels are normalised: a whole case per crop would cost more than the network.
        low = np.maximum(np.floor(centre - [0, back, 0] - window).astype(int), 0)
        high = np.minimum(np.ceil(centre - [0, back, 0] + window).astype(int) + 1, case.hu.shape)
        part = tuple(slice(a, max(a, b)) for a, b in zip(low, high, strict=True))
        hu, start = crop_around(normalise(case.hu[part].astype(np.float32)), centre - low, told.window_vox, back)
        labels = _crop(case.labels, start + low, window)
        hint = hint_map(window, centre - low - start, told.hint_sigma_mm / told.spacing_mm)
        hu, hint, target = _augment(random, hu, hint, (labels == case.numbers[at]).astype(np.float32))
        return {"pixels": torch.from_numpy(np.stack([hu, hint])), "target": torch.from_numpy(target)[None]}


def _crop(labels: np.ndarray, start: np.ndarray, window: np.ndarray) -> np.ndarray:
    out = np.zeros(tuple(window), dtype=labels.dtype)
    low, high = np.maximum(start, 0), np.minimum(start + window, labels.shape)
    if (high > low).all():
        inner = tuple(slice(a - s, b - s) for a, b, s in zip(low, high, start, strict=True))
        out[inner] = labels[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
    return out


def _augment(random: np.random.Generator, hu: np.ndarray, *maps: np.ndarray) -> tuple[np.ndarray, ...]:
    """Mirror left and right, and change brightness, contrast and noise a little. Air stays air."""
    if random.random() < 0.5:
        hu, maps = hu[::-1], tuple(one[::-1] for one in maps)
    gain, shift = random.uniform(0.85, 1.2), random.normal(0, 0.04)
    noise = random.normal(0, random.uniform(0, 0.06), hu.shape).astype(np.float32)
    floor = float(normalise(np.array(AIR_HU)))
    changed = np.where(hu > floor, (hu + 1 / 3) * gain - 1 / 3 + shift + noise, hu).astype(np.float32)
    return (np.ascontiguousarray(np.clip(changed, -1.0, 1.0)), *(np.ascontiguousarray(one) for one in maps))


class _Locating(nn.Module):
    """The coarse network with its loss: squared error of the heat map, cross-entropy of kinds."""

    def __init__(self, config: LocatorConfig) -> None:
        super().__init__()
        self.network = build_locator(config)
        # Background outnumbers bone some ten to one.
        self.register_buffer("weights", torch.tensor([0.2] + [1.0] * len(KINDS)), persistent=False)

    def forward(self, pixels: torch.Tensor, heat: torch.Tensor, kinds: torch.Tensor) -> dict[str, torch.Tensor]:
        out = self.network(pixels)
        near = ((out[:, 0] - heat) ** 2 * (1 + 20 * heat)).mean()
        named = nn.functional.cross_entropy(out[:, 1:], kinds, weight=self.get_buffer("weights"))
        return {"loss": 10 * near + named}


class _Segmenting(nn.Module):
    """The fine network with its loss: Dice and cross-entropy in equal parts."""

    def __init__(self, config: SegmenterConfig) -> None:
        super().__init__()
        from monai.losses import DiceCELoss

        self.network = build_segmenter(config)
        self.loss = DiceCELoss(sigmoid=True)

    def forward(self, pixels: torch.Tensor, target: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"loss": self.loss(self.network(pixels), target)}


def _collate(items: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    return {name: torch.stack([item[name] for item in items]) for name in items[0]}


def _train(config: LabellingConfig, run: Run, prepared: Path, key: dict[str, Any], folder: Path) -> dict[str, Any]:
    told, facts = config.networks, {}
    digest = content_hash(key)
    set_determinism(config.seed, config.threads)
    locating = _Locating(told.locator)
    cases = _load(prepared, 0)
    with_sacrum = sum(bool((case.numbers == _SACRUM).any()) for case in cases)
    crops: Dataset[Any] = LocatorCrops(cases, told.locator, _length(config.locator), config.seed)
    facts["locator"] = fit(
        run,
        "locator",
        model=locating,
        data=crops,
        collate=_collate,
        schedule=config.locator,
        seed=config.seed,
        key=digest,
        loss=None,
    )
    set_determinism(config.seed, config.threads)
    segmenting = _Segmenting(told.segmenter)
    crops = SegmenterCrops(_load(prepared, 1), told.segmenter, _length(config.segmenter), config.seed, config.jitter_mm)
    facts["segmenter"] = fit(
        run,
        "segmenter",
        model=segmenting,
        data=crops,
        collate=_collate,
        schedule=config.segmenter,
        seed=config.seed,
        key=digest,
        loss=None,
    )
    about = {
        "origin": config.origin,
        "cases": len(cases),
        "cases_with_sacrum": with_sacrum,
        "data_sha256": content_hash(key["cases"]),
        "note": "Research use only. What was learned from phantoms is no evidence about patients.",
    }
    save_networks(folder, told, locating.network, segmenting.network, about)
    return {**facts, "cases": len(cases)}


def _length(schedule: Schedule) -> int:
    return schedule.steps * schedule.batch_size * schedule.accumulation
