"""From a CT to named, segmented vertebrae: locate → tell kinds → name → segment, coarse to fine.

Convention: detections are world points (RAS+ mm) from head to foot; the mask comes back on the CT's own grid with
VerSe's numbers. Names come from :mod:`spinemed.labelling.assignment`: when no naming reaches its bound, the answer is
"not determinable", the mask numbers the vertebrae 1 … n from the top instead of naming them, and the likeliest namings
stand beside it with their probabilities.

The trap: the networks' confidence is learned from its training data; on other data it is no probability of being right.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from spinemed.anatomy import Level
from spinemed.errors import VolumeError
from spinemed.geometry import (
    VoxelPoints,
    WorldPoints,
    resample_to_grid,
    resample_to_spacing,
    voxel_to_world,
    world_to_voxel,
)
from spinemed.labelling.assignment import AssignmentModel, Assignments, Kind, assign_levels, likelihood_of_kinds
from spinemed.labelling.networks import (
    KINDS,
    OFFSET_MM,
    LocatorConfig,
    NamerConfig,
    SegmenterConfig,
    load_networks,
    normalise,
)
from spinemed.volume import Volume, reorient_volume

if TYPE_CHECKING:
    from torch import nn

__all__ = [
    "AIR_HU",
    "Detection",
    "Grid",
    "LabelResult",
    "Labeller",
    "canonical",
    "canonical_grids",
    "gap_weights",
    "hint_map",
    "locate",
    "segment",
    "tell_kinds",
]

AIR_HU = -1000.0
# The next four were set on 44 phantoms, none of those that the results are measured on. On 32 of them no body centre's
# peak was below 0.4; of other places one reached 0.48 and the rest 0.28, vertebrae that the field of view cuts aside.
_PEAK = 0.3  # of a bump of height 1; what else is no vertebra is left out by the namer
_FLOOR = 3e-4  # smallest probability of a kind that the naming believes in
_MISSED = 0.003  # how often a vertebra is missed
_SPURIOUS = 2e-5  # how often a detection is no vertebra
_NEAR_MM = 8.0  # two detections closer than this are one; neighbouring cervical centres lie some 15 mm apart
_ACROSS = (0.35, 0.7, 1.0)  # share of a distance that counts there: no two vertebrae lie side by side
_FALSE = 0.5  # a place that the namer takes for no vertebra with more than this is left out
_TRUSTED_MM = 6.0  # up to here a peak of the heat and the namer's centre are two estimates of one place
_BATCH = 16


class Grid(NamedTuple):
    """A CT on a network's grid.

    Attributes:
        hu: float32, RAS+.
        affine: 4x4.
    """

    hu: np.ndarray
    affine: np.ndarray


@dataclass(frozen=True)
class Detection:
    """One vertebra found.

    Attributes:
        centre_mm: (3,) body centre in world millimetres.
        score: Height of the heat map there, 0 … about 1.
        kinds: Probability of each kind.
    """

    centre_mm: np.ndarray
    score: float
    kinds: dict[Kind, float]


@dataclass(frozen=True)
class LabelResult:
    """What the labeller says about one CT.

    Attributes:
        detections: Head to foot; the sacrum, when found, is the last.
        assignments: Posterior over namings; None when nothing was found.
        levels: One per detection: its level when determinable, else None (also for a false detection).
        numbers: One per detection: its number in the mask; 0 for what the mask leaves out (sacrum, false detections).
        mask: On the CT's grid, uint8: VerSe numbers when named; else 1 … n from the top; the sacrum is left out.
        determinable: Whether the numbering was decided.
        named: Whether the mask's numbers are names: determinable, or the likeliest naming was asked for.
        about: What the model was trained on.
    """

    detections: tuple[Detection, ...]
    assignments: Assignments | None
    levels: tuple[Level | None, ...]
    numbers: tuple[int, ...]
    mask: Volume
    determinable: bool
    named: bool
    about: dict[str, Any]


def canonical(volume: Volume, spacing_mm: float) -> Grid:
    """CT → (array, affine) in RAS+ at an isotropic spacing, smoothed first where voxels grow by more than half.

    Returns:
        float32 HU and the 4x4 affine. An oblique grid keeps its directions: RAS+ to the nearest axes.
    """
    from scipy.ndimage import gaussian_filter

    turned = reorient_volume(volume, "RAS")
    data = np.asarray(turned.data, dtype=np.float32)
    # A Gaussian of half the ratio less one half voxel keeps what the new grid can carry.
    sigma = [max(0.0, 0.5 * spacing_mm / old - 0.5) for old in turned.spacing_mm]
    if max(sigma) > 0.25:
        data = gaussian_filter(data, sigma, mode="nearest")
    out, affine = resample_to_spacing(data, turned.affine, spacing_mm, order=1, fill=AIR_HU)
    return Grid(out, affine)


def canonical_grids(volume: Volume, spacings_mm: Sequence[float]) -> list[Grid]:
    """The CT at several spacings, in their order. All but the finest are made from the finest, which is much faster."""
    finest = canonical(volume, min(spacings_mm))
    small = Volume(finest.hu, finest.affine, volume.unit, volume.source)
    return [finest if spacing == min(spacings_mm) else canonical(small, spacing) for spacing in spacings_mm]


def hint_map(shape: Sequence[int] | np.ndarray, centre_vox: np.ndarray, sigma_vox: float) -> np.ndarray:
    """A bump of height 1 at a voxel position. float32 of the given shape."""
    axes = [
        np.exp(-0.5 * ((np.arange(n, dtype=np.float32) - c) / sigma_vox) ** 2)
        for n, c in zip(shape, centre_vox, strict=True)
    ]
    return (axes[0][:, None, None] * axes[1][None, :, None] * axes[2][None, None, :]).astype(np.float32)


def gap_weights(
    centres_mm: np.ndarray,
    kinds: Sequence[Mapping[Kind, float]] = (),
    *,
    spread: float = 0.14,
    error_mm: float = 2.0,
    missed: float = _MISSED,
    floor: float = 1e-5,
) -> np.ndarray:
    """Log-weights for 0, 1, 2 or 3 vertebrae missed between neighbouring detections, from their distance.

    A gap with k missed vertebrae is expected to be (k + 1) times the usual one there; it is normally distributed around
    that. The usual one is the mean of two medians, of up to three gaps above and below: gaps grow from head to foot, so
    that one side alone would be off by a third at the ends of a long row. Between C1 and C2 nothing can be missed,
    however far apart they are. Weights are normalised over k.

    Args:
        centres_mm: (n, 3), head to foot.
        kinds: What was seen of each detection; empty where that is not known.
        spread: Standard deviation of a gap relative to its expectation.
        error_mm: Standard deviation that the error of the centres adds.
        missed: How often a vertebra is missed, before looking at the distance.
        floor: Smallest weight.

    Returns:
        (n - 1, 4).
    """
    gaps = np.linalg.norm(np.diff(centres_mm, axis=0), axis=1)
    out = np.empty((len(gaps), 4))
    steps = np.arange(1, 5)
    for at, gap in enumerate(gaps):
        sides = [side for side in (gaps[max(0, at - 3) : at], gaps[at + 1 : at + 4]) if len(side)]
        usual = np.mean([np.median(side) for side in sides]) if sides else gap
        deviation = np.hypot(spread * steps * usual, error_mm)
        weights = np.exp(-0.5 * ((gap - steps * usual) / deviation) ** 2) / deviation * missed ** (steps - 1.0)
        if kinds and kinds[at].get(Kind.C1, 0.0) > 0.5 and kinds[at + 1].get(Kind.C2, 0.0) > 0.5:
            weights = np.array([1.0, 0.0, 0.0, 0.0])
        weights = np.maximum(weights / max(weights.sum(), 1e-30), floor)
        out[at] = np.log(weights / weights.sum())
    return out


class Labeller:
    """The trained pipeline.

    Args:
        folder: A model folder.
        model: Priors of the naming.
        device: "cpu" or "cuda".

    Raises:
        ModelError: as :func:`load_networks`.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        model: AssignmentModel | None = None,
        device: Literal["cpu", "cuda"] = "cpu",
    ) -> None:
        self.config, self._networks, self.about = load_networks(folder, device)
        self.model = model or AssignmentModel(false=_SPURIOUS)
        self.device = device

    def label(self, image: Volume, *, likeliest: bool = False) -> LabelResult:
        """Locate, name and segment the vertebrae of one CT.

        Args:
            image: In Hounsfield units.
            likeliest: Number the mask by the likeliest naming also where the numbering is not decided.

        Raises:
            VolumeError: the image is not in Hounsfield units.
        """
        if image.unit != "HU":
            raise VolumeError(
                f"the image is in '{image.unit}', not in Hounsfield units",
                file=image.source or None,
                field="unit",
                cure="read CT with unit='HU'; this labeller knows no other modality",
            )
        told, nets = self.config, self._networks
        coarse, middle, fine = canonical_grids(
            image, (told.locator.spacing_mm, told.namer.spacing_mm, told.segmenter.spacing_mm)
        )
        places = locate(coarse, nets.locator, told.locator, self.device)
        detections = tell_kinds(middle, places, nets.namer, told.namer, self.device)
        if not detections:
            empty = Volume(np.zeros(image.shape, dtype=np.uint8), image.affine, "label")
            return LabelResult((), None, (), (), empty, False, False, self.about)
        centres = np.stack([found.centre_mm for found in detections])
        kinds = [found.kinds for found in detections]
        scores = likelihood_of_kinds(kinds, floor=_FLOOR)
        assignments = assign_levels(scores, self.model, skip=gap_weights(centres, kinds))
        determinable = assignments.determinable
        best = assignments.best.levels
        levels = tuple(best) if determinable else (None,) * len(detections)
        named = determinable or likeliest
        numbers = _numbers(best, named)
        mask = segment(image, fine, detections, numbers, nets.segmenter, told.segmenter, self.device)
        return LabelResult(detections, assignments, levels, numbers, mask, determinable, named, self.about)


def _numbers(best: Sequence[Level | None], named: bool) -> tuple[int, ...]:
    """The mask's number of each detection; 0 leaves it out."""
    from spinemed.anatomy import LABEL_MAPS

    numbers: list[int] = []
    running = 0
    for level in best:
        if level is None or level is Level.S1:
            numbers.append(0)
        elif named:
            numbers.append(LABEL_MAPS["verse"].to_label(level))
        else:
            running += 1
            numbers.append(running)
    return tuple(numbers)


def locate(
    grid: Grid, locator: nn.Module, config: LocatorConfig, device: str = "cpu"
) -> list[tuple[np.ndarray, float]]:
    """Places that look like a body centre (or the sacrum's), strongest first: world millimetres and height of the heat.

    Places nearer to each other than two body centres can be count once.
    """
    import torch
    from monai.inferers import sliding_window_inference

    pixels = torch.from_numpy(normalise(grid.hu))[None, None].to(device)
    with torch.no_grad():
        out = sliding_window_inference(
            pixels, config.window_vox, 1, locator, overlap=0.25, mode="gaussian", padding_mode="constant", cval=-1.0
        )[0]
    return _peaks(out[0].cpu().numpy(), grid.affine, config.spacing_mm)


def _peaks(heat: np.ndarray, affine: np.ndarray, spacing_mm: float) -> list[tuple[np.ndarray, float]]:
    from scipy.ndimage import maximum_filter

    top = maximum_filter(heat, size=3, mode="constant", cval=-np.inf)
    places = np.argwhere((heat == top) & (heat > _PEAK))
    places = places[np.argsort(-heat[tuple(places.T)], kind="stable")]
    kept: list[np.ndarray] = []
    found: list[tuple[np.ndarray, float]] = []
    for place in places:
        if any(np.linalg.norm((place - other) * _ACROSS) * spacing_mm < _NEAR_MM for other in kept):
            continue
        kept.append(place)
        low, high = np.maximum(place - 2, 0), np.minimum(place + 3, heat.shape)
        near = np.clip(heat[low[0] : high[0], low[1] : high[1], low[2] : high[2]], 0, None)
        index = np.stack(np.meshgrid(*(np.arange(a, b) for a, b in zip(low, high, strict=True)), indexing="ij"), -1)
        fine = (index * near[..., None]).reshape(-1, 3).sum(0) / near.sum()
        found.append((voxel_to_world(VoxelPoints(fine[None]), affine).values[0], float(heat[tuple(place)])))
    return found


def tell_kinds(
    grid: Grid,
    places: Sequence[tuple[np.ndarray, float]],
    namer: nn.Module,
    config: NamerConfig,
    device: str = "cpu",
) -> tuple[Detection, ...]:
    """What kind of vertebra lies at each place, and where exactly, head to foot; what is no vertebra is left out.

    Asked twice. First each place is moved towards the body centre that the namer points to (half of a small way: the
    mean of two estimates), places that point to the same centre become one, and what points out of the image is left
    out: a vertebra whose centre is not in view is not named. Then it is asked again at what remains.
    """
    pixels = normalise(grid.hu)
    told, rows = _ask(pixels, grid.affine, [centre for centre, _ in places], namer, config, device)
    kept: list[int] = []
    # Strongest first, so that of two that point to one centre the stronger is kept.
    for at in sorted(range(len(places)), key=lambda at: (-places[at][1], at)):
        inside = world_to_voxel(WorldPoints(told[at][None]), grid.affine).values[0]
        seen = rows[at, 0] <= _FALSE and (inside >= 0).all() and (inside <= np.array(grid.hu.shape) - 1).all()
        if seen and all(np.linalg.norm((told[at] - told[other]) * _ACROSS) >= _NEAR_MM for other in kept):
            kept.append(at)
    moved = []
    for at in kept:
        way = told[at] - places[at][0]
        part = 0.5 if np.linalg.norm(way) <= _TRUSTED_MM else 1.0
        moved.append((places[at][0] + part * way, places[at][1]))
    _, rows = _ask(pixels, grid.affine, [centre for centre, _ in moved], namer, config, device)
    row = []
    for (centre, score), answer in zip(moved, rows, strict=True):
        if answer[0] <= _FALSE:
            share = answer[1:] / answer[1:].sum()
            row.append(Detection(centre, score, dict(zip(KINDS, map(float, share), strict=True))))
    return _order(row)


def _ask(
    pixels: np.ndarray,
    affine: np.ndarray,
    centres: Sequence[np.ndarray],
    namer: nn.Module,
    config: NamerConfig,
    device: str,
) -> tuple[list[np.ndarray], np.ndarray]:
    """Where each body centre lies (world mm), and the probabilities of "no vertebra" and each kind, (n, 1 + kinds).

    Each crop is shown as it is and mirrored left to right, and the answers are averaged.
    """
    import torch

    crops, middles = [], []
    for centre in centres:
        at = world_to_voxel(WorldPoints(centre[None]), affine).values[0]
        crop, start = crop_around(pixels, at, config.window_vox, 0.0)
        crops.append(crop)
        middles.append(start + (np.array(config.window_vox) - 1) / 2)
    shares: list[np.ndarray] = [np.zeros((0, 1 + len(KINDS)))]
    places: list[np.ndarray] = []
    unmirror = torch.tensor([-1.0, 1.0, 1.0], device=device)
    with torch.no_grad():
        for low in range(0, len(crops), _BATCH):
            some = torch.from_numpy(np.stack(crops[low : low + _BATCH])[:, None]).to(device)
            here, there = namer(some), namer(some.flip(2))
            kinds = 1 + len(KINDS)
            told = torch.softmax(here[:, :kinds], dim=1) + torch.softmax(there[:, :kinds], dim=1)
            off = here[:, kinds:] + there[:, kinds:] * unmirror
            shares.append((told / 2).cpu().numpy().astype(np.float64))
            voxels = off.cpu().numpy().astype(np.float64) / 2 * OFFSET_MM / config.spacing_mm
            places += list(voxel_to_world(VoxelPoints(np.stack(middles[low : low + _BATCH]) + voxels), affine).values)
    return places, np.concatenate(shares)


def _order(found: Sequence[Detection]) -> tuple[Detection, ...]:
    """Head to foot: along +z, which no spine in a scanner runs against for more than a disc.

    There is one sacrum, and nothing below it: of all detections that look like one the strongest stays.
    """
    row = sorted(found, key=lambda detection: -detection.centre_mm[2])
    sacral = [at for at, detection in enumerate(row) if detection.kinds[Kind.SACRUM] > 0.5]
    if sacral:
        best = max(sacral, key=lambda at: row[at].score)
        row = [one for at, one in enumerate(row) if at == best or (at < best and at not in sacral)]
    return tuple(row)


def segment(
    image: Volume,
    fine_grid: Grid,
    detections: Sequence[Detection],
    numbers: Sequence[int],
    segmenter: nn.Module,
    config: SegmenterConfig,
    device: str = "cpu",
) -> Volume:
    """One mask on the image's grid: each voxel goes to the vertebra that claims it most, if any claims it above 1/2.

    Only the piece of each claim that is connected to its largest part is kept.
    """
    import torch
    from scipy.ndimage import label as components

    told = config
    affine = fine_grid.affine
    grid = normalise(fine_grid.hu)
    mask = np.zeros(image.shape, dtype=np.uint8)
    strongest = np.full(image.shape, 0.5, dtype=np.float32)
    for detection, number in zip(detections, numbers, strict=True):
        if number == 0:
            continue
        centre = world_to_voxel(WorldPoints(detection.centre_mm[None]), affine).values[0]
        crop, start = crop_around(grid, centre, told.window_vox, told.centre_back_mm / told.spacing_mm)
        hint = hint_map(told.window_vox, centre - start, told.hint_sigma_mm / told.spacing_mm)
        with torch.no_grad():
            pair = torch.from_numpy(np.stack([crop, hint]))[None].to(device)
            claim = torch.sigmoid(segmenter(pair))[0, 0].cpu().numpy()
        place = affine.copy()
        place[:3, 3] += affine[:3, :3] @ start
        box = _box_on(image, place, told.window_vox)
        if box is None:
            continue
        own = image.affine.copy()
        own[:3, 3] += image.affine[:3, :3] @ np.array([side.start for side in box])
        fine = resample_to_grid(claim, place, [side.stop - side.start for side in box], own, order=1, fill=0.0)
        pieces, count = components(fine > 0.5)
        if count == 0:
            continue
        largest = 1 + int(np.argmax(np.bincount(pieces.ravel())[1:]))
        wins = (pieces == largest) & (fine > strongest[box])
        strongest[box][wins] = fine[wins]
        mask[box][wins] = number
    return Volume(mask, image.affine, "label", image.source)


def crop_around(
    grid: np.ndarray, centre_vox: np.ndarray, window: Sequence[int] | np.ndarray, back_vox: float
) -> tuple[np.ndarray, np.ndarray]:
    """A window whose middle lies `back_vox` behind a centre, padded with air; and its first voxel's index."""
    middle = np.asarray(centre_vox, dtype=np.float64) - [0.0, back_vox, 0.0]
    start = np.round(middle - (np.asarray(window) - 1) / 2).astype(int)
    out = np.full(tuple(window), normalise(np.array(AIR_HU)), dtype=np.float32)
    low, high = np.maximum(start, 0), np.minimum(start + window, grid.shape)
    if (high > low).all():
        inner = tuple(slice(a - s, b - s) for a, b, s in zip(low, high, start, strict=True))
        out[inner] = grid[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
    return out, start


def _box_on(image: Volume, affine: np.ndarray, window: Sequence[int]) -> tuple[slice, slice, slice] | None:
    """The part of the image's grid that a window covers; None where it lies outside."""
    corners = np.array([[i, j, k] for i in (0, window[0] - 1) for j in (0, window[1] - 1) for k in (0, window[2] - 1)])
    world = corners @ affine[:3, :3].T + affine[:3, 3]
    inside = world_to_voxel(WorldPoints(world), image.affine).values
    low = np.maximum(np.floor(inside.min(axis=0)).astype(int), 0)
    high = np.minimum(np.ceil(inside.max(axis=0)).astype(int) + 1, image.shape)
    if (high <= low).any():
        return None
    a, b, c = (slice(int(x), int(y)) for x, y in zip(low, high, strict=True))
    return a, b, c
