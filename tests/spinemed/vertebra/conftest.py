"""A spine of plain blocks for the commands: small, quick to fit, and broken where a test wants it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from spinemed.cli import main
from spinemed.volume import Volume, write_nifti

Affine = NDArray[np.float64]


def block_mask(
    labels: Sequence[int] = (18, 19, 20, 21, 22, 23, 24),
    *,
    wedges: dict[int, float] | None = None,
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0),
) -> tuple[NDArray[np.uint8], Affine]:
    """Bodies of 42 x 32 x 25 mm on top of each other, 33 mm apart, each with a ring behind; RAS.

    Args:
        labels: VerSe's numbers, head to foot.
        wedges: By label, the share of its height that the front has lost.
        spacing: Voxel sizes, mm.
    """
    size = (60.0, 84.0, 33.0 * len(labels) + 14.0)
    shape = tuple(round(side / step) for side, step in zip(size, spacing, strict=True))
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = (-30.0, -60.0, 0.0)
    places = [affine[k, 3] + spacing[k] * np.arange(shape[k]) for k in range(3)]
    x, y, z = np.meshgrid(*places, indexing="ij", sparse=True)
    mask = np.zeros(shape, np.uint8)
    for at, label in enumerate(reversed(labels)):
        middle = 7.0 + 33.0 * at + 16.5
        lost = 25.0 * (wedges or {}).get(label, 0.0)
        top = middle + 12.5 - lost * np.clip((y + 16) / 32, 0, 1)
        body = ((x / 21) ** 2 + (y / 16) ** 2 <= 1) & (z >= middle - 12.5) & (z <= top)
        outer = (x / 16) ** 2 + ((y + 25) / 14) ** 2 <= 1
        inner = (x / 11) ** 2 + ((y + 25) / 9) ** 2 <= 1
        ring = outer & ~inner & (np.abs(z - middle - 3) <= 6)
        spine = (np.abs(x) <= 3) & (y < -36) & (y > -54) & (np.abs(z - middle) <= 5)
        mask[body | ring | spine] = label
    return mask, affine


@pytest.fixture(scope="session")
def blocks() -> Callable[..., tuple[NDArray[np.uint8], Affine]]:
    """:func:`block_mask`."""
    return block_mask


@pytest.fixture
def save(tmp_path: Path) -> Callable[..., Path]:
    """Write an array as a mask (or, with `unit`, an image) into the test's folder."""

    def write(name: str, data: NDArray[np.generic], affine: Affine, unit: str = "label") -> Path:
        path = tmp_path / name
        write_nifti(Volume(data, affine, unit), path)  # type: ignore[arg-type]
        return path

    return write


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run `spinemed vertebra ...` in this process: exit code, standard output, standard error."""

    def run(*arguments: str | Path) -> tuple[int, str, str]:
        capsys.readouterr()
        code = 0
        try:
            main(["vertebra", *map(str, arguments)])
        except SystemExit as end:
            code = int(end.code or 0)
        told = capsys.readouterr()
        return code, told.out, told.err

    return run
