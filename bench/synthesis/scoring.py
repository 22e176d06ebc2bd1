"""One vertebra: the synthetic body and picture against the healthy ones, and the height loss that each leads to.

Convention: all volumes are turned to right, anterior, superior first; a synthesis on another grid is brought on to the
reference's. The body's own axes are those of the reference's grid, as in a straightened crop.

Degenerate cases: a healthy body whose height loss cannot be measured has no loss values, with an error of the part
"height loss"; a synthesis on which it cannot be measured counts as the worst there. Without a layer of more than
400 mm² there is no RHDR, PSNR or SSIM.

Trap: losses need endplates. A synthesis that is a blob has a Dice and no loss.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from bench.faults import error_fields
from bench.synthesis.files import VertebraFiles
from bench.synthesis.metrics import CAP_POINTS, METRICS, PSNR_CAP_DB
from bench.synthesis.records import VertebraError
from spinemed.errors import SpineMedError, VolumeError
from spinemed.measure import genant_grade
from spinemed.metrics.pictures import psnr, rhdr, ssim
from spinemed.vertebra.rhlv import height_loss
from spinemed.volume import Volume, read_mask, read_nifti, reorient_volume, resample_like, same_grid

__all__ = ["Healthy", "Judged", "judge", "read_healthy", "worst_values"]

Array = NDArray[np.float64]
Thirds = tuple[float, float, float]

LOW_HU, HIGH_HU = -300.0, 800.0
_LEAST_MM2 = 400.0
_MIDDLE = 0.8


@dataclass(frozen=True, eq=False)
class Healthy:
    """The reference of one vertebra, turned to right, anterior, superior.

    Attributes:
        grid: The healthy body's volume.
        body: (R, A, S) The healthy body.
        now: The body as it is, with its grid.
        image: (R, A, S) HU, None without a picture.
        truth: Height losses in percent of the body as it is, anterior to posterior; None where not measurable.
        why: Why not.
    """

    grid: Volume
    body: NDArray[np.bool_]
    now: NDArray[np.bool_]
    now_affine: Array
    image: NDArray[np.float32] | None
    truth: Thirds | None
    why: SpineMedError | None


@dataclass(frozen=True, eq=False)
class Judged:
    """What became of one synthesis; `body` and `image` lie on the reference's grid."""

    values: dict[str, float]
    found: Thirds | None
    layers: int
    resampled: bool
    errors: tuple[VertebraError, ...]
    body: NDArray[np.bool_]
    image: NDArray[np.float32] | None
    sha256: str


def read_healthy(files: VertebraFiles) -> Healthy:
    """Read the reference of one vertebra.

    Raises:
        ReadError, VolumeError: a file cannot be used, a mask is empty, or the picture lies on another grid.
    """
    grid = _mask(files.body)
    body = np.asarray(grid.data) > 0
    image = None
    if files.image is not None:
        picture = reorient_volume(read_nifti(files.image, unit="HU"), "RAS")
        if not same_grid(picture, grid):
            raise VolumeError("lies on another grid than its body", file=files.image, cure="cut both alike")
        image = np.asarray(picture.data, np.float32)
    held = grid if files.now is None else _mask(files.now)
    now, affine = np.asarray(held.data) > 0, np.asarray(held.affine)
    truth: Thirds | None = None
    why: SpineMedError | None = None
    try:
        truth = (0.0, 0.0, 0.0) if files.now is None else _losses(now, affine, body, np.asarray(grid.affine))
        if files.now is None:
            _losses(now, affine, body, affine)  # whether it has endplates
    except VolumeError as error:
        truth, why = None, error
    return Healthy(grid, body, now, affine, image, truth, why)


def _mask(path: Path) -> Volume:
    volume = reorient_volume(read_mask(path), "RAS")
    if not (np.asarray(volume.data) > 0).any():
        raise VolumeError("the mask is empty", file=path, cure="give the body of this vertebra")
    labels = np.unique(np.asarray(volume.data))
    if np.count_nonzero(labels) > 1:
        raise VolumeError(
            f"holds {np.count_nonzero(labels)} labels, where one body is to be", file=path,
            cure="give the body of this vertebra alone (a _label crop holds its neighbours too)",
        )  # fmt: skip
    return volume


def _losses(now: NDArray[np.bool_], affine: Array, healthy: NDArray[np.bool_], grid: Array) -> Thirds:
    axes = grid[:3, :3] / np.linalg.norm(grid[:3, :3], axis=0)
    thirds = height_loss(now, affine, healthy, grid, anterior_hint=axes[:, 1], up_hint=axes[:, 2]).thirds
    return thirds[0].percent, thirds[1].percent, thirds[2].percent


def judge(healthy: Healthy, files: VertebraFiles, *, with_image: bool, roots: dict[str, str]) -> Judged:
    """Score one synthesis.

    Args:
        healthy: The reference.
        files: The synthesis.
        with_image: Whether the method makes pictures: a missing one then counts as the worst.
        roots: What stands for folders in errors.

    Raises:
        ReadError, VolumeError: a file cannot be used, or the mask is empty.
    """
    made = _mask(files.body)
    resampled = not same_grid(made, healthy.grid)
    share = np.asarray(_on(_plain(made), healthy.grid, 0.0).data) if resampled else (np.asarray(made.data) > 0)
    body = np.asarray(share >= 0.5, dtype=bool)
    picture = None
    if files.image is not None and healthy.image is not None:
        volume = reorient_volume(read_nifti(files.image, unit="HU"), "RAS")
        volume = volume if same_grid(volume, healthy.grid) else _on(volume, healthy.grid, -1024.0)
        picture = np.asarray(volume.data, np.float32)
    values = _overlap(body, healthy.body)
    layers = _layers(healthy.body, np.asarray(healthy.grid.affine))
    if layers:
        height = rhdr(body[layers], healthy.body[layers], along=2, layers=0).value
        if height is not None:
            values["rhdr_percent"] = min(height, 100.0)
    if with_image and healthy.image is not None:
        if picture is None:
            values |= worst_values(("image",))
        elif layers:
            values |= _pictures(picture, healthy, layers)
    errors: list[VertebraError] = []
    found: Thirds | None = None
    if healthy.truth is not None:
        try:
            # The synthesis is read as it was written, not as it was brought on to another grid.
            found = _losses(healthy.now, healthy.now_affine, np.asarray(made.data) > 0, np.asarray(made.affine))
        except VolumeError as error:
            values |= worst_values(("loss",))
            errors.append(VertebraError.model_validate({"part": "height loss", **error_fields(error, roots)}))
        else:
            values |= _loss_values(healthy.truth, found)
    return Judged(values, found, len(layers), resampled, tuple(errors), body, picture, made.sha256)


def _plain(mask: Volume) -> Volume:
    """A mask as shares, so that it is resampled between the voxels."""
    return Volume((np.asarray(mask.data) > 0).astype(np.float32), mask.affine, "a.u.", mask.source)


def _on(volume: Volume, grid: Volume, fill: float) -> Volume:
    data = np.asarray(volume.data, np.float32)
    return resample_like(Volume(data, volume.affine, volume.unit, volume.source), grid, fill=fill)


def worst_values(families: tuple[str, ...]) -> dict[str, float]:
    """What a missing synthesis counts as in some families."""
    return {each.name: each.worst for each in METRICS if each.family in families and each.worst is not None}


def _overlap(made: NDArray[np.bool_], own: NDArray[np.bool_]) -> dict[str, float]:
    a, b, both = int(made.sum()), int(own.sum()), int((made & own).sum())
    return {
        "dice": 2 * both / (a + b), "iou": both / (a + b - both),
        "volume_error_percent": min(100 * abs(a - b) / b, 100.0),
    }  # fmt: skip


def _layers(body: NDArray[np.bool_], affine: Array) -> list[int]:
    """Sagittal layers in the middle four fifths of the body's width that show more than 400 mm² of it."""
    there = np.flatnonzero(body.any(axis=(1, 2)))
    middle, half = (there[0] + there[-1]) / 2, _MIDDLE * (there[-1] - there[0] + 1) / 2
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    area = body.sum(axis=(1, 2)) * float(spacing[1] * spacing[2])
    return [int(k) for k in there if abs(k - middle) <= half and area[k] > _LEAST_MM2]


def _pictures(made: NDArray[np.float32], healthy: Healthy, layers: list[int]) -> dict[str, float]:
    assert healthy.image is not None
    columns: dict[str, list[float]] = {"psnr_db": [], "psnr_target_db": [], "ssim": [], "ssim_target": []}
    for k in layers:
        a, b = (np.clip(np.asarray(values[k], np.float64), LOW_HU, HIGH_HU) for values in (made, healthy.image))
        rows = np.flatnonzero(healthy.body[k].any(axis=0))
        target = np.zeros(a.shape, dtype=bool)
        target[:, rows[0] : rows[-1] + 1] = True
        for name, mask in (("", None), ("_target", target)):
            ratio = psnr(a, b, data_range=HIGH_HU - LOW_HU, mask=mask)
            columns[f"psnr{name}_db"].append(PSNR_CAP_DB if ratio.value is None else min(ratio.value, PSNR_CAP_DB))
            alike = ssim(a, b, data_range=HIGH_HU - LOW_HU, mask=mask).value
            if alike is not None:
                columns[f"ssim{name}"].append(alike)
    return {name: fmean(values) for name, values in columns.items() if values}


def _loss_values(truth: Thirds, found: Thirds) -> dict[str, float]:
    errors = [b - a for a, b in zip(truth, found, strict=True)]
    apart = dict(zip(("loss_anterior", "loss_middle", "loss_posterior"), map(abs, errors), strict=True))
    return {
        "loss_mae_capped": fmean(min(abs(error), CAP_POINTS) for error in errors),
        "loss_mae": fmean(map(abs, errors)), "loss_bias": fmean(errors), **apart,
        "same_grade": float(genant_grade(*truth) == genant_grade(*found)),
    }  # fmt: skip
