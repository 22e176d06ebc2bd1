"""From a CT to named, segmented vertebrae: locate → tell kinds → name → segment, coarse to fine.

Convention: detections are world points (RAS+ mm) from head to foot; the mask comes back on the CT's own grid with
VerSe's numbers. Names come from :mod:`spinemed.labelling.assignment`: when no naming reaches its bound, the answer is
"not determinable", the mask numbers the vertebrae 1 … n from the top instead of naming them, and the likeliest namings
stand beside it with their probabilities.

The trap: the networks' confidence is learned from its training data; on other data it is no probability of being right.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from spinemed.anatomy import Level
from spinemed.errors import VolumeError
from spinemed.geometry import (
    VoxelPoints,
    WorldPoints,
    resample_to_grid,
    voxel_to_world,
    world_to_voxel,
)
from spinemed.labelling.assignment import AssignmentModel, Assignments, Kind, assign_levels, likelihood_of_kinds
from spinemed.labelling.gaps import gap_weights
from spinemed.labelling.grids import Grid, box_on, canonical_grids, crop_around, hint_map
from spinemed.labelling.networks import (
    KINDS,
    OFFSET_MM,
    LocatorConfig,
    NamerConfig,
    SegmenterConfig,
    load_networks,
    normalise,
)
from spinemed.volume import Volume

if TYPE_CHECKING:
    from torch import nn

__all__ = [
    "Detection",
    "LabelResult",
    "Labeller",
    "locate",
    "name_row",
    "segment",
    "tell_kinds",
]

# What follows was set on 196 phantoms, none of those that the results are measured on. On 32 of them no body centre's
# peak was below 0.4; of other places one reached 0.48 and the rest 0.28, vertebrae that the field of view cuts aside.
# On 122 of them the namer gave "no vertebra" at most 0.03 at 2,228 vertebrae, and mostly 0.05 to 0.5 at places beside;
# on 90 more at most 0.05 at 1,191, and the 20 places where it gave more than 0.1 were no vertebrae.
_PEAK = 0.3  # of a bump of height 1; what else is no vertebra is left out by the namer
_FLOOR = 3e-4  # smallest probability of a kind, or of none, that the naming believes in
_SPURIOUS = 0.005  # how often a detection is no vertebra, before the namer's word
_NEAR_MM = 6.0  # two peaks closer than this are one; neighbouring cervical centres lie 11 mm apart and more
# Two places whose centres, as the namer tells them, are closer than this are one vertebra of that kind: about half of
# what parts two there. There is one C1 and one C2; of places of different kinds the smaller bound holds.
_ONE_MM = {Kind.C1: 5.5, Kind.C2: 5.5, Kind.CERVICAL: 5.5, Kind.RIBS: 9.0, Kind.LUMBAR: 14.0, Kind.SACRUM: 14.0}
_SAME_MM = {**_ONE_MM, Kind.C1: 18.0, Kind.C2: 11.0}
_BELOW_MM = 25.0  # a last lumbar body may lie lower than a steep sacrum's landmark, but not by more
_ACROSS = (0.26, 0.55, 1.0)  # share of a distance that counts there: no two vertebrae lie side by side
_FALSE = 0.1  # a place that the namer takes for no vertebra with more than this is left out
_DOUBTED = 0.05  # from here on a place does not tell what distance is usual there
_GAPING = 0.9  # a gap that would hold a missed vertebra with more than this is looked at again,
_GAPING_MISSED = 0.1  # if this share were missed: from 1.7 times the usual gap on,
_SURE = 0.9  # for what is found there must be of one kind with this
_TRUSTED_MM = 6.0  # up to here a peak of the heat and the namer's centre are two estimates of one place
# Nearer to the upper or lower end of the image a body is not wholly in view, and its kind is not believed: the arch of
# a cut fifth lumbar vertebra was told as a sacrum at 0.999; sacra and C1 that are in view lie 22 mm inside.
_CUT_MM = 10.0
_BATCH = 16


@dataclass(frozen=True)
class Detection:
    """One vertebra found.

    Attributes:
        centre_mm: (3,) body centre in world millimetres.
        score: Height of the heat map there, 0 … about 1.
        kinds: Probability of each kind, if it is a vertebra.
        nothing: Probability that it is none, as the namer says.
    """

    centre_mm: np.ndarray
    score: float
    kinds: dict[Kind, float]
    nothing: float = 0.0


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
        assignments = name_row(detections, self.model)
        determinable = assignments.determinable
        best = assignments.best.levels
        levels = tuple(best) if determinable else (None,) * len(detections)
        named = determinable or likeliest
        numbers = _numbers(best, named)
        mask = segment(image, fine, detections, numbers, nets.segmenter, told.segmenter, self.device)
        return LabelResult(detections, assignments, levels, numbers, mask, determinable, named, self.about)


def name_row(detections: Sequence[Detection], model: AssignmentModel) -> Assignments:
    """The posterior over namings of a row of detections, from what the namer said of each and from their distances."""
    seen = [{kind: share * (1 - found.nothing) for kind, share in found.kinds.items()} for found in detections]
    nothing = np.log([max(found.nothing, _FLOOR) for found in detections])
    return assign_levels(likelihood_of_kinds(seen, floor=_FLOOR), model, skip=_gaps(detections), nothing=nothing)


def _gaps(row: Sequence[Detection], **more: float) -> np.ndarray:
    centres = np.stack([one.centre_mm for one in row])
    return gap_weights(centres, [one.kinds for one in row], sure=[one.nothing <= _DOUBTED for one in row], **more)


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
    out: a vertebra whose centre is not in view is not named. Then it is asked again at what remains. Where a gap in the
    row is as wide as if a vertebra had been missed, its middle (or its thirds) are looked at in the same way. A body at
    the upper or lower end of the image may be of any kind.
    """
    asked = _Asked(normalise(grid.hu), grid, namer, config, device)
    row = _order(_settled(asked, places, ()))
    gaps = [
        (row[at].centre_mm + (row[at + 1].centre_mm - row[at].centre_mm) * step / (count + 1), 0.0)
        for at, count in _gaping(row)
        for step in range(1, count + 1)
    ]
    filled = [one for one in _settled(asked, gaps, row) if one.nothing <= _DOUBTED and max(one.kinds.values()) >= _SURE]
    return _order((*row, *filled)) if filled else row


class _Asked(NamedTuple):
    """Whom to ask about what: the normalised picture, its grid, the network."""

    pixels: np.ndarray
    grid: Grid
    namer: nn.Module
    config: NamerConfig
    device: str


def _gaping(row: Sequence[Detection]) -> list[tuple[int, int]]:
    """Gaps that may hold missed vertebrae: after which detection, and how many most likely."""
    if len(row) < 2:
        return []
    weights = np.exp(_gaps(row, missed=_GAPING_MISSED))
    found = []
    for at in range(len(row) - 1):
        # C3 lies up to 1.7 times as far below C2 as C4 below C3: that gap is wide without anything in it.
        shares = weights[at, at + 1] / weights[at, at + 1].sum()
        if 1 - shares[0] > _GAPING and row[at].kinds[Kind.C2] <= 0.5:
            found.append((at, 1 + int(np.argmax(shares[1:]))))
    return found


def _settled(asked: _Asked, places: Sequence[tuple[np.ndarray, float]], known: Sequence[Detection]) -> list[Detection]:
    """Places moved to the centres that the namer points to, less what is none and what is `known`."""
    affine, edge = asked.grid.affine, np.array(asked.grid.hu.shape) - 1
    told, rows = _ask(asked, [centre for centre, _ in places])
    taken = [(one.centre_mm, max(one.kinds, key=lambda kind: one.kinds[kind])) for one in known]
    moved = []
    # Strongest first, so that of two that point to one centre the stronger is kept.
    for at in sorted(range(len(places)), key=lambda at: (-places[at][1], at)):
        inside = world_to_voxel(WorldPoints(told[at][None]), affine).values[0]
        if rows[at, 0] > _FALSE or not ((inside >= 0) & (inside <= edge)).all():
            continue
        kind = KINDS[int(np.argmax(rows[at, 1:]))]
        if any(_one(told[at], kind, *other) for other in taken):
            continue
        taken.append((told[at], kind))
        way = told[at] - places[at][0]
        part = 0.5 if np.linalg.norm(way) <= _TRUSTED_MM else 1.0
        moved.append((places[at][0] + part * way, places[at][1]))
    _, rows = _ask(asked, [centre for centre, _ in moved])
    found = []
    for (centre, score), answer in zip(moved, rows, strict=True):
        if answer[0] <= _FALSE:
            share = answer[1:] / answer[1:].sum()
            if _cut(centre, asked.grid):
                share = np.full(len(KINDS), 1 / len(KINDS))
            kinds = dict(zip(KINDS, map(float, share), strict=True))
            found.append(Detection(centre, score, kinds, float(answer[0])))
    return found


def _cut(centre: np.ndarray, grid: Grid) -> bool:
    """Whether a body there is cut by the upper or the lower end of the image."""
    at = world_to_voxel(WorldPoints(centre[None]), grid.affine).values[0, 2]
    inside = min(at, grid.hu.shape[2] - 1 - at) * float(np.linalg.norm(grid.affine[:3, 2]))
    cut: bool = inside < _CUT_MM
    return cut


def _one(centre: np.ndarray, kind: Kind, other: np.ndarray, others: Kind) -> bool:
    """Whether two places point to one vertebra."""
    near = _SAME_MM[kind] if kind == others else min(_ONE_MM[kind], _ONE_MM[others])
    return float(np.linalg.norm((centre - other) * _ACROSS)) < near


def _ask(asked: _Asked, centres: Sequence[np.ndarray]) -> tuple[list[np.ndarray], np.ndarray]:
    """Where each body centre lies (world mm), and the probabilities of "no vertebra" and each kind, (n, 1 + kinds).

    Each crop is shown as it is and mirrored left to right, and the answers are averaged.
    """
    import torch

    config, affine = asked.config, asked.grid.affine
    crops, middles = [], []
    for centre in centres:
        at = world_to_voxel(WorldPoints(centre[None]), affine).values[0]
        crop, start = crop_around(asked.pixels, at, config.window_vox, 0.0)
        crops.append(crop)
        middles.append(start + (np.array(config.window_vox) - 1) / 2)
    kinds = 1 + len(KINDS)
    shares = [np.zeros((0, kinds))]
    voxels = [np.zeros((0, 3))]
    unmirror = torch.tensor([-1.0, 1.0, 1.0], device=asked.device)
    with torch.no_grad():
        for low in range(0, len(crops), _BATCH):
            some = torch.from_numpy(np.stack(crops[low : low + _BATCH])[:, None]).to(asked.device)
            here, there = asked.namer(some), asked.namer(some.flip(2))
            told = torch.softmax(here[:, :kinds], dim=1) + torch.softmax(there[:, :kinds], dim=1)
            off = here[:, kinds:] + there[:, kinds:] * unmirror
            shares.append((told / 2).cpu().numpy().astype(np.float64))
            voxels.append(off.cpu().numpy().astype(np.float64) / 2 * OFFSET_MM / config.spacing_mm)
    if not crops:
        return [], shares[0]
    places = voxel_to_world(VoxelPoints(np.stack(middles) + np.concatenate(voxels)), affine).values
    return list(places), np.concatenate(shares)


def _order(found: Sequence[Detection]) -> tuple[Detection, ...]:
    """Head to foot: along +z, which no spine in a scanner runs against for more than a disc.

    There is one sacrum, and it is the last: of all detections that look like one the strongest stays, and nothing that
    lies well below it.
    """
    row = sorted(found, key=lambda detection: -detection.centre_mm[2])
    sacral = [detection for detection in row if detection.kinds[Kind.SACRUM] > 0.5]
    if not sacral:
        return tuple(row)
    best = max(sacral, key=lambda detection: detection.score)
    lowest = best.centre_mm[2] - _BELOW_MM
    return (*(one for one in row if one.kinds[Kind.SACRUM] <= 0.5 and one.centre_mm[2] > lowest), best)


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
        box = box_on(image, place, told.window_vox)
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
