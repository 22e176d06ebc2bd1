"""Copies of exact masks with the faults of a segmentation: what tools would be given outside of a phantom.

Convention: one fault a copy, drawn from the seed and the cluster's name. `eroded` and `dilated`: every vertebra loses
or gains one voxel all round. `boundary`: its surface is moved by smooth noise of 1 voxel standard deviation, correlated
over 3 voxels. `level_off`: all numbers of a spine are one too high or one too low. Each draw is a line of
`masks.jsonl` beside the copies, with the mean Dice against the exact mask.

Trap: real networks make several of these faults at once and others besides; a copy bounds no network.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from spinemed.errors import ReadError
from spinemed.statistics import generator_for
from spinemed.tables import atomic_folder, file_sha256, write_text
from spinemed.volume import Volume, read_mask, write_nifti

__all__ = ["KINDS", "MaskKind", "degraded", "write_masks"]

MaskKind = Literal["exact", "boundary", "eroded", "dilated", "level_off"]
KINDS: tuple[MaskKind, ...] = ("exact", "boundary", "eroded", "dilated", "level_off")
"""What can be wrong with the masks that a caller gets: nothing, their border, their size, or every name."""
_NOISE_SD, _NOISE_REACH = 1.0, 3.0
_RECORD = "masks.jsonl"
Labels = NDArray[Any]


def degraded(labels: Labels, kind: MaskKind, rng: np.random.Generator) -> tuple[Labels, dict[str, Any]]:
    """A mask with one fault, and what was drawn.

    Args:
        labels: (I, J, K) numbers of vertebrae, 0 outside; isotropic voxels.
        kind: The fault.
        rng: Draws it.
    """
    if kind == "exact":
        return labels.copy(), {}
    if kind == "level_off":
        step = 1 if rng.random() < 0.5 else -1
        return np.where(labels > 0, labels.astype(np.int64) + step, 0).astype(labels.dtype), {"step": step}
    from scipy import ndimage

    shift: Any = {"eroded": -1.0, "dilated": 1.0}.get(kind)
    drawn: dict[str, Any] = {}
    if shift is None:
        noise = ndimage.gaussian_filter(rng.standard_normal(labels.shape), _NOISE_REACH)
        shift = noise * (_NOISE_SD / noise.std())
        drawn = {"sd_voxels": _NOISE_SD, "reach_voxels": _NOISE_REACH}
    best = np.zeros(labels.shape)
    made = np.zeros_like(labels)
    for number in np.unique(labels[labels > 0]):
        inside = labels == number
        # Signed distance to the surface between voxels, in voxels: positive inside.
        signed = ndimage.distance_transform_edt(inside) - ndimage.distance_transform_edt(~inside)
        signed += np.where(inside, -0.5, 0.5) + shift
        wins = signed > best
        made[wins], best[wins] = number, signed[wins]
    return made, drawn


def write_masks(source: str | os.PathLike[str], out: str | os.PathLike[str], kind: MaskKind, *, seed: int) -> Path:
    """Copy a folder of masks by cluster with one fault; a finished copy is left as it is.

    Args:
        source: `volumes/` of a samples folder: CLUSTER/NAME.nii.gz.
        out: Folder for the copies; its `images/` is what tools are given.
        kind: The fault.
        seed: Of the draws.

    Returns:
        The folder that tools are given.

    Raises:
        ReadError: There are no masks.
    """
    root, target = Path(source), Path(out)
    paths = sorted(root.glob("*/*.nii.gz"))
    if not paths:
        raise ReadError(
            "holds no masks", file=root, cure="make the questions with `volumes: true` and the mix `volume`"
        )
    if (target / _RECORD).is_file():
        return target / "images"
    with atomic_folder(target) as partial:
        lines = []
        for path in paths:
            cluster = path.parent.name
            home = partial / "images" / cluster
            home.mkdir(parents=True, exist_ok=True)
            told: dict[str, Any] = {"cluster": cluster, "file": path.name, "kind": kind, "seed": seed, "dice": 1.0}
            if kind == "exact":
                shutil.copyfile(path, home / path.name)
            else:
                mask = read_mask(path)
                made, drawn = degraded(mask.data, kind, generator_for(seed, "mask", kind, cluster))
                write_nifti(Volume(made, mask.affine, "label"), home / path.name)
                told |= {"dice": round(_dice(mask.data, made), 4), **drawn}
            lines.append(json.dumps({**told, "sha256": file_sha256(home / path.name)}, sort_keys=True))
        write_text(partial / _RECORD, "\n".join(lines) + "\n")
    return target / "images"


def mean_dice(folder: str | os.PathLike[str]) -> float:
    """Mean Dice of the copies that :func:`write_masks` wrote, against the exact masks."""
    lines = (Path(folder) / _RECORD).read_text(encoding="utf-8").splitlines()
    return float(np.mean([json.loads(line)["dice"] for line in lines]))


def _dice(first: Labels, second: Labels) -> float:
    """Mean over the numbers of the first."""
    found = []
    for number in np.unique(first[first > 0]):
        one, other = first == number, second == number
        found.append(2.0 * np.count_nonzero(one & other) / (np.count_nonzero(one) + np.count_nonzero(other)))
    return float(np.mean(found))
