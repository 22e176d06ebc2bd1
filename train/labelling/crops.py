"""Cases of VerSe-layout folders on the labeller's own grids, and the crops that its three networks learn from.

Convention: every CT is brought to each network's grid once (:func:`prepare_cases`); number k of a set of crops is a
pure function of the seed and k, so that a resumed run, or one of several processes, sees what it should.

Trap: a vertebra that the field of view cuts is background in VerSe's masks, and in the networks' targets with it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from spinemed.anatomy import LABEL_MAPS, Level, Region
from spinemed.errors import ReadError
from spinemed.geometry import VoxelPoints, WorldPoints, resample_to_grid, voxel_to_world, world_to_voxel
from spinemed.labelling.assignment import KIND_OF, Kind
from spinemed.labelling.dataset import VerseCase, read_case_centroids
from spinemed.labelling.grids import AIR_HU, canonical_grids, crop_around, hint_map
from spinemed.labelling.masks import SACRUM, LabelMask, read_label_mask
from spinemed.labelling.networks import KINDS, OFFSET_MM, LocatorConfig, NamerConfig, SegmenterConfig, normalise
from spinemed.volume import Volume, read_nifti, require_same_grid

__all__ = ["LocatorCrops", "NamerCrops", "PreparedCase", "SegmenterCrops", "load_cases", "prepare_cases"]

_S1_HEIGHT_MM = 30.0  # the part of the sacrum that its landmark is taken from
_ELSEWHERE = 0.25  # share of the namer's crops that are centred beside a vertebra or between two
_SHARES = {Kind.RIBS: 2.0, Kind.LUMBAR: 2.0}  # of the namer's crops; 1 for the other kinds
_APART_MM = 14.0  # from every body centre, for a place to count as no vertebra


@dataclass(frozen=True)
class PreparedCase:
    """One case on one grid: HU (float16), labels (uint8), centres in voxels and their VerSe numbers."""

    name: str
    hu: np.ndarray
    labels: np.ndarray
    centres_vox: np.ndarray
    numbers: np.ndarray


def prepare_cases(
    cases: Sequence[VerseCase], spacings_mm: Sequence[float], folder: Path, advance: Callable[[int], None]
) -> dict[str, Any]:
    """Write each case once per spacing. Returns how many there are, and how many show a sacrum.

    Raises:
        ReadError, VolumeError: a case has no CT or mask, cannot be read, or its mask lies on another grid.
    """
    sacra = 0
    for case in cases:
        image, mask = _read_pair(case)
        centroids = read_case_centroids(case, mask=mask, derive=True)
        named = [(level, point) for level, point in centroids.items() if _is_vertebra(level)]
        numbers = [LABEL_MAPS["verse"].to_label(level) for level, _ in named]
        points = [point for _, point in named]
        sacrum = _sacral_landmark(mask.volume)
        if sacrum is not None:
            numbers.append(SACRUM)
            points.append(sacrum)
            sacra += 1
        for at, (hu, affine) in enumerate(canonical_grids(image, spacings_mm)):
            labels = resample_to_grid(mask.data, mask.affine, hu.shape, affine, order=0, fill=0)
            centres = world_to_voxel(WorldPoints(np.array(points)), affine).values if points else np.zeros((0, 3))
            np.savez(
                folder / f"{case.name}_{at}.npz",
                hu=np.clip(hu, -1024, 3071).astype(np.float16),
                labels=labels.astype(np.uint8),
                centres_vox=centres,
                numbers=np.array(numbers, dtype=np.int16),
            )
        advance(1)
    return {"cases": len(cases), "with_sacrum": sacra}


def _read_pair(case: VerseCase) -> tuple[Volume, LabelMask]:
    if case.image is None or case.mask is None:
        missing = "CT" if case.image is None else "mask"
        raise ReadError(
            f"case {case.name} has no {missing}", file=case.mask or case.image, cure="complete it or take it out"
        )
    image, mask = read_nifti(case.image, unit="HU"), read_label_mask(case.mask)
    require_same_grid(image, mask.volume)
    return image, mask


def _is_vertebra(level: Level) -> bool:
    return level.region in (Region.CERVICAL, Region.THORACIC, Region.LUMBAR)


def _sacral_landmark(labels: Volume) -> np.ndarray | None:
    """Middle of the sacrum's uppermost 30 mm; None where the mask holds no sacrum."""
    places = np.argwhere(labels.data == SACRUM)
    if len(places) == 0:
        return None
    world = voxel_to_world(VoxelPoints(places.astype(np.float64)), labels.affine).values
    top = world[world[:, 2] > world[:, 2].max() - _S1_HEIGHT_MM]
    return np.asarray(top.mean(axis=0))


def load_cases(folder: Path, grid: int) -> list[PreparedCase]:
    """The prepared cases on one grid, by name."""
    cases = []
    for path in sorted(folder.glob(f"*_{grid}.npz")):
        with np.load(path) as held:
            cases.append(PreparedCase(path.stem[:-2], held["hu"], held["labels"], held["centres_vox"], held["numbers"]))
    return cases


class LocatorCrops(Dataset[dict[str, torch.Tensor]]):
    """Crops for the coarse network; number k is always the same crop.

    Args:
        cases: Prepared cases on the locator's grid.
        config: Its settings.
        count: Length.
        seed: With the crop's number, all that decides it.
    """

    def __init__(self, cases: Sequence[PreparedCase], config: LocatorConfig, count: int, seed: int) -> None:
        self.cases, self.config, self.count, self.seed = cases, config, count, seed

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
        hu, heat, bone = _augment(random, hu, heat, (labels > 0).astype(np.float32))
        return {
            "pixels": torch.from_numpy(hu)[None],
            "heat": torch.from_numpy(heat),
            "bone": torch.from_numpy(bone),
        }


class NamerCrops(Dataset[dict[str, torch.Tensor]]):
    """Crops around body centres: what kind is there, and how far off the centre is; number k is always the same crop.

    Rib-bearing and lumbar vertebrae are drawn twice as often as the other kinds, for telling those two apart is hard,
    and among them the last of the one and the first of the other much more often than the rest: whether a last rib is
    one decides every name below the neck. Between kinds drawn equally often the scores are likelihoods, which is
    what the naming of the row takes; against the others they are off by a factor of two, far less than what is seen.
    The crops are turned, scaled, shifted and cut at all sides as if the field of view ended there.

    Args:
        cases: Prepared cases on the namer's grid.
        config: Its settings.
        count: Length.
        seed: With the crop's number, all that decides it.
        jitter_mm: Spread of the centre's error, per axis.
    """

    def __init__(
        self, cases: Sequence[PreparedCase], config: NamerConfig, count: int, seed: int, jitter_mm: float
    ) -> None:
        self.cases, self.config, self.count, self.seed, self.jitter_mm = cases, config, count, seed, jitter_mm
        # Per kind, which vertebra of which case, and its weight.
        self.places: dict[Kind, list[tuple[int, int, float]]] = {}
        for number, case in enumerate(cases):
            order = np.argsort(-case.centres_vox[:, 2], kind="stable")
            kinds = [_kind_of_number(int(case.numbers[at])) for at in order]
            for step, (at, kind) in enumerate(zip(order, kinds, strict=True)):
                beside = {kinds[one] for one in (step - 1, step + 1) if 0 <= one < len(kinds)}
                weight = 8.0 if {kind, *beside} >= {Kind.RIBS, Kind.LUMBAR} else 3.0 if beside - {kind} else 1.0
                self.places.setdefault(kind, []).append((number, int(at), weight))
        self.present = sorted(self.places, key=KINDS.index)
        shares = np.array([_SHARES.get(kind, 1.0) for kind in self.present])
        self.shares = shares / shares.sum()
        self.weights = {kind: np.array([weight for *_, weight in told]) for kind, told in self.places.items()}

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        random = np.random.default_rng([self.seed, 3, index])
        kind = self.present[int(random.choice(len(self.present), p=self.shares))]
        weights = self.weights[kind]
        number, at, _ = self.places[kind][int(random.choice(len(weights), p=weights / weights.sum()))]
        case, spacing = self.cases[number], self.config.spacing_mm
        place = case.centres_vox[at] + self._error(random) / spacing
        if random.random() < _ELSEWHERE:
            beside = _beside(case, case.centres_vox[at], spacing, random)
            place = place if beside is None else beside
        away = np.linalg.norm(case.centres_vox - place, axis=1) * spacing
        nearest = int(np.argmin(away))  # far off a cervical centre its neighbour's may be nearer
        real = away[nearest] < _APART_MM
        turn = _turn(random)
        hu = _shade(random, _turned(case.hu, place, self.config, turn, random))
        offset = np.linalg.solve(turn, case.centres_vox[nearest] - place) * spacing / OFFSET_MM
        return {
            "pixels": torch.from_numpy(hu)[None],
            "kind": torch.tensor(1 + KINDS.index(_kind_of_number(int(case.numbers[nearest]))) if real else 0),
            "offset": torch.from_numpy((offset if real else np.zeros(3)).astype(np.float32)),
        }

    def _error(self, random: np.random.Generator) -> np.ndarray:
        """Of a centre, in mm: mostly small, sometimes as large as that of a peak between two vertebrae."""
        if random.random() < 0.7:
            return random.normal(0, self.jitter_mm, 3)
        return random.uniform(-1, 1, 3) * (8.0, 8.0, 7.0)


def _kind_of_number(number: int) -> Kind:
    return Kind.SACRUM if number == SACRUM else KIND_OF[LABEL_MAPS["verse"].to_level(number)]


def _beside(
    case: PreparedCase, centre: np.ndarray, spacing_mm: float, random: np.random.Generator
) -> np.ndarray | None:
    """A place between two vertebrae, or beside, behind or in front of one; None where that comes near to another one.

    Not above the highest or below the lowest vertebra: there a cut one may lie, which has no centre to keep away from.
    """
    side = random.choice([-1.0, 1.0])
    if random.random() < 0.5 and len(case.centres_vox) > 1:
        other = case.centres_vox[int(np.argsort(np.abs(case.centres_vox[:, 2] - centre[2]))[1])]
        return np.asarray(
            centre + random.uniform(0.35, 0.65) * (other - centre) + random.normal(0, 2.0, 3) / spacing_mm
        )
    away = [
        (0.0, -random.uniform(22, 50), 0.0),
        (side * random.uniform(16, 55), random.uniform(-35, 10), 0.0),
        (side * random.uniform(0, 40), random.uniform(22, 70), 0.0),
    ][int(random.integers(3))]
    place = centre + (np.array(away) + random.normal(0, 6.0, 3)) / spacing_mm
    bones = case.centres_vox[case.numbers != SACRUM]
    if len(bones) == 0 or not bones[:, 2].min() - 1 <= place[2] <= bones[:, 2].max() + 1:
        return None
    return None if (np.linalg.norm(case.centres_vox - place, axis=1) * spacing_mm < _APART_MM).any() else place


def _turn(random: np.random.Generator) -> np.ndarray:
    """A turn by some degrees, a scaling by some per cent and, in half of all cases, a mirroring left to right. 3x3."""
    from scipy.spatial.transform import Rotation

    turn = Rotation.from_euler("xyz", random.normal(0, (10.0, 6.0, 6.0)), degrees=True).as_matrix()
    return np.asarray(turn * np.exp(random.normal(0, 0.04)) * random.choice([[-1.0, 1.0, 1.0], [1.0, 1.0, 1.0]]))


def _turned(
    grid: np.ndarray, centre: np.ndarray, config: NamerConfig, turn: np.ndarray, random: np.random.Generator
) -> np.ndarray:
    """A normalised crop around a centre, its axes as `turn` says, cut at some sides."""
    from scipy.ndimage import map_coordinates

    window = np.array(config.window_vox)
    axes = [np.arange(n) - (n - 1) / 2 for n in window]
    offsets = np.stack(np.meshgrid(*axes, indexing="ij")).reshape(3, -1)
    at = turn @ offsets + centre[:, None]
    low = np.clip(np.floor(at.min(axis=1)).astype(int) - 1, 0, np.array(grid.shape) - 1)
    high = np.clip(np.ceil(at.max(axis=1)).astype(int) + 2, low + 1, grid.shape)
    part = normalise(grid[tuple(slice(a, b) for a, b in zip(low, high, strict=True))].astype(np.float32))
    air = float(normalise(np.array(AIR_HU)))
    hu = map_coordinates(part, at - low[:, None], order=1, mode="constant", cval=air).reshape(tuple(window))
    for axis, nearest_mm in enumerate((36.0, 25.0, 11.0)):
        for side in (-1, 1):
            if random.random() < (0.15, 0.15, 0.2)[axis]:
                keep = random.uniform(nearest_mm, 50.0) / config.spacing_mm
                hu[tuple(side * axes[axis] > keep if one == axis else slice(None) for one in range(3))] = air
    return np.asarray(hu, dtype=np.float32)


class SegmenterCrops(Dataset[dict[str, torch.Tensor]]):
    """Crops for the fine network, one vertebra each; number k is always the same crop. Arguments as LocatorCrops."""

    def __init__(
        self, cases: Sequence[PreparedCase], config: SegmenterConfig, count: int, seed: int, jitter_mm: float
    ) -> None:
        self.cases = [case for case in cases if (case.numbers != SACRUM).any()]
        self.config, self.count, self.seed, self.jitter_mm = config, count, seed, jitter_mm

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        random = np.random.default_rng([self.seed, 2, index])
        case = self.cases[int(random.integers(len(self.cases)))]
        choices = np.flatnonzero(case.numbers != SACRUM)
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
    """Mirror left and right in half of all cases, and change how the CT looks a little."""
    if random.random() < 0.5:
        hu, maps = hu[::-1], tuple(one[::-1] for one in maps)
    return (_shade(random, hu), *(np.ascontiguousarray(one) for one in maps))


def _shade(random: np.random.Generator, hu: np.ndarray) -> np.ndarray:
    """Brightness, contrast and noise, a little changed. Air stays air."""
    gain, shift = random.uniform(0.85, 1.2), random.normal(0, 0.04)
    noise = random.normal(0, random.uniform(0, 0.06), hu.shape).astype(np.float32)
    floor = float(normalise(np.array(AIR_HU)))
    changed = np.where(hu > floor, (hu + 1 / 3) * gain - 1 / 3 + shift + noise, hu).astype(np.float32)
    return np.ascontiguousarray(np.clip(changed, -1.0, 1.0))
