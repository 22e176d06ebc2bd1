"""Blocks for vertebrae: a healthy body, the same broken, and whatever a test makes of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from spinemed.anatomy import LABEL_MAPS, Level
from spinemed.volume import Volume, write_nifti

SHAPE = (58, 44, 44)


def block(top: float = 0.0, wedge: float = 0.0, *, spacing: float = 1.0) -> NDArray[np.bool_]:
    """A body 44 x 32 x 26 mm in the middle of a crop; its top is lower by `top` mm, in front by `wedge` more."""
    shape = [round(n / spacing) for n in SHAPE]
    x, y, z = (
        spacing * (axis - (n - 1) / 2) for axis, n in zip(np.meshgrid(*map(np.arange, shape), indexing="ij"), shape)
    )
    share = (y + 16) / 32
    solid = ((x / 22) ** 4 + (y / 16) ** 4 <= 1) & (z >= -13) & (z <= 13 - top - wedge * share)
    return np.asarray(solid)


def affine(spacing: float = 1.0, shift: float = 0.0) -> NDArray[np.float64]:
    """Centred on the origin, whatever the spacing."""
    matrix = np.diag([spacing, spacing, spacing, 1.0])
    matrix[:3, 3] = [-spacing * (round(n / spacing) - 1) / 2 + shift for n in SHAPE]
    return matrix


def picture(body: NDArray[np.bool_], seed: int) -> NDArray[np.int16]:
    """HU: bone in soft tissue, with noise."""
    noise = np.random.default_rng(seed).normal(0, 40, body.shape)
    return np.rint(np.where(body, 350, 40) + noise).astype(np.int16)


@pytest.fixture(scope="session")
def blocks() -> Callable[..., NDArray[np.bool_]]:
    return block


@pytest.fixture(scope="session")
def put() -> Callable[..., Path]:
    """Write one file of one vertebra."""

    def write(
        folder: Path, case: str, level: Level, what: str, data: NDArray[np.generic], spacing: float = 1.0, **more: float
    ) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        number = LABEL_MAPS["verse"].to_label(level)
        if data.dtype == bool:
            volume = Volume((data * np.uint8(number)).astype(np.uint8), affine(spacing, **more), "label")
        else:
            volume = Volume(data, affine(spacing, **more), "HU")
        path = folder / f"{case}_{number}_{what}.nii.gz"
        write_nifti(volume, path)
        return path

    return write


@pytest.fixture(scope="session")
def spine_folders(tmp_path_factory: pytest.TempPathFactory, put: Callable[..., Path]) -> tuple[Path, Path]:
    """Seven patients with L1 healthy and L2 broken by 30 %; the method makes L1 1 mm too tall, L2 4 mm too short."""
    root = tmp_path_factory.mktemp("synthesis")
    truth, made = root / "ref", root / "made"
    rows = ["case,level,grade,shape"]
    for patient in range(7):
        case = f"p{patient:02d}"
        healthy = block()
        put(truth, case, Level.L1, "vb", healthy)
        put(truth, case, Level.L1, "ct", picture(healthy, patient))
        put(made, case, Level.L1, "body", block(-1.0 - 0.1 * patient))
        put(made, case, Level.L1, "synthetic-ct", picture(healthy, 100 + patient))
        put(truth, case, Level.L2, "vb", healthy)
        put(truth, case, Level.L2, "now", block(7.8))
        put(truth, case, Level.L2, "ct", picture(healthy, patient))
        put(made, case, Level.L2, "body", block(4.0))
        put(made, case, Level.L2, "synthetic-ct", picture(healthy, 200 + patient))
        rows += [f"{case},L1,0,", f"{case},L2,2,crush"]
    (truth / "grades.csv").write_text("\n".join(rows) + "\n")
    return truth, made
