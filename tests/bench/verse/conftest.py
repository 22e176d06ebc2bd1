"""Small spines as NIfTI folders in VerSe's layout: bodies with a process behind, 3 mm voxels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spinemed.anatomy import LEVELS, Level
from spinemed.geometry import VoxelPoints, voxel_to_world
from spinemed.labelling import CentroidSet, LabelMask, write_centroids
from spinemed.volume import Volume, write_nifti

AFFINE = np.array([[-3.0, 0, 0, 30], [0, -3.0, 0, 40], [0, 0, 3.0, -500], [0, 0, 0, 1]])  # LPS
LUMBAR = (Level.T11, Level.T12, Level.L1, Level.L2, Level.L3, Level.L4, Level.L5)
_STEP = 10  # voxels from one body to the next: 30 mm


def spine_array(
    levels: Sequence[Level] = LUMBAR, *, calls: dict[Level, Level | None] | None = None, grow: int = 0, shift: int = 0
) -> np.ndarray:
    """Labels (20, 28, n): the levels from head (high index) to foot.

    Args:
        levels: What is there, head to foot.
        calls: Names to give instead; None leaves a vertebra out.
        grow: Voxels by which each body is larger in front.
        shift: Voxels by which all lies further back.
    """
    size = _STEP * len(levels) + 20
    mask = np.zeros((20, 28, size), dtype=np.uint8)
    for place, level in enumerate(levels):
        name = (calls or {}).get(level, level)
        if name is None:
            continue
        middle = size - 15 - _STEP * place
        mask[5:15, 6 - grow + shift : 14 + shift, middle - 4 : middle + 4] = name.verse_label
        mask[9:11, 14 + shift : 23 + shift, middle - 2 : middle + 1] = name.verse_label
    return mask


def body_centres(levels: Sequence[Level] = LUMBAR) -> CentroidSet:
    """World mm of the bodies of :func:`spine_array`."""
    size = _STEP * len(levels) + 20
    points = {
        level: voxel_to_world(VoxelPoints([9.5, 9.5, size - 15.5 - _STEP * place]), AFFINE).values[0]
        for place, level in enumerate(levels)
    }
    return CentroidSet.of(points)


def save_mask(path: Path, mask: np.ndarray, affine: np.ndarray = AFFINE) -> Path:
    write_nifti(Volume(mask, affine, "label"), path)
    return path


def save_case(root: Path, name: str, levels: Sequence[Level] = LUMBAR, *, image: bool = False) -> Path:
    """A reference case in the subject layout; returns its mask."""
    mask = spine_array(levels)
    folder = root / "derivatives" / name
    path = save_mask(folder / f"{name}_seg-vert_msk.nii.gz", mask)
    write_centroids(folder / f"{name}_seg-subreg_ctd.json", body_centres(levels), LabelMask(mask, AFFINE))
    if image:
        grey = np.where(mask > 0, 400, -50).astype(np.int16)
        write_nifti(Volume(grey, AFFINE, "HU"), root / "rawdata" / name / f"{name}_ct.nii.gz")
    return path


@pytest.fixture(scope="session")
def spine() -> Callable[..., np.ndarray]:
    return spine_array


@pytest.fixture(scope="session")
def centres() -> Callable[..., CentroidSet]:
    return body_centres


@pytest.fixture(scope="session")
def save() -> Callable[..., Path]:
    return save_mask


@pytest.fixture(scope="session")
def case() -> Callable[..., Path]:
    return save_case


@pytest.fixture(scope="session")
def affine() -> np.ndarray:
    return AFFINE


@pytest.fixture(scope="session")
def shifted() -> Callable[[Sequence[Level], int], dict[Level, Level | None]]:
    """Names that are all some levels off."""

    def names(levels: Sequence[Level], steps: int) -> dict[Level, Level | None]:
        regular = [level for level in LEVELS if level not in (Level.T13, Level.L6)]
        return {level: regular[regular.index(level) + steps] for level in levels}

    return names


@pytest.fixture
def folders(tmp_path: Path) -> Callable[..., tuple[Path, Path]]:
    """Write several cases at once: name -> keywords of `spine_array` for the prediction, or None for no prediction."""

    def write(cases: dict[str, dict[str, Any] | None], levels: Sequence[Level] = LUMBAR) -> tuple[Path, Path]:
        reference, prediction = tmp_path / "reference", tmp_path / "prediction"
        prediction.mkdir()
        for name, how in cases.items():
            save_case(reference, name, levels)
            if how is not None:
                save_mask(prediction / f"{name}.nii.gz", spine_array(levels, **how))
        return reference, prediction

    return write
