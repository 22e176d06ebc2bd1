"""Pseudo-healthy vertebrae: what a synthesiser is given, what it gives back, and what is done with that.

Every synthesiser, trained or not, sees a straightened spine and answers with the body that each vertebra should have,
on the voxels of that vertebra's crop. From there the loss of height follows (:func:`synthesis_loss`), and the way back
into the patient (:func:`synthesis_overlay`), as a layer of its own: nothing of the patient's mask is written over.

Convention: a body is the share of each voxel in it, the surface at 0.5, on `crop`'s voxels (right, anterior, along the
spine upwards). A crop that the caller left out of `straight` cannot be a neighbour: straighten all levels.

The trap: a synthesis is an expectation, not a finding. Its heights scatter as healthy vertebrae do; `sd_mm` says by how
much where that was measured, and a synthesis whose flags begin with "reference unreliable" carries no grade.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from spinemed.anatomy import LABEL_MAPS, Level
from spinemed.errors import VolumeError
from spinemed.vertebra.rhlv import HeightLoss, Quality, height_loss
from spinemed.vertebra.straighten import StraightCrop, Straightened

if TYPE_CHECKING:
    from spinemed.labelling.masks import LabelMask

__all__ = [
    "UNRELIABLE",
    "Overlay",
    "Synthesis",
    "Synthesiser",
    "read_synthesiser",
    "synthesis_loss",
    "synthesis_overlay",
    "wanted_levels",
]

UNRELIABLE = "reference unreliable"
"""How a flag begins that forbids a grade."""


@dataclass(frozen=True, eq=False)
class Synthesis:
    """One vertebra as it should be.

    Attributes:
        level: Which.
        crop: The crop it was made in; its voxels are those of `body` and `image`.
        body: (R, A, S) float32, share of each voxel in the pseudo-healthy body, the surface at 0.5.
        image: (R, A, S) float32 pseudo-healthy HU, None where the synthesiser makes masks only.
        flags: What limits it.
        made_by: Which synthesiser, and what it was trained on.
        sd_mm: Standard deviation of its heights by third (anterior, middle, posterior), 0 where it was not measured.
    """

    level: Level
    crop: StraightCrop
    body: NDArray[np.float32]
    image: NDArray[np.float32] | None
    flags: tuple[str, ...]
    made_by: str
    sd_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)


@runtime_checkable
class Synthesiser(Protocol):
    """Makes pseudo-healthy vertebrae."""

    @property
    def name(self) -> str:
        """What it says it is, with what it was trained on."""

    @property
    def needs_image(self) -> bool:
        """Whether crops must carry HU."""

    def synthesise(self, straight: Straightened, levels: Sequence[Level] | None = None) -> dict[Level, Synthesis]:
        """The vertebrae as they should be.

        Args:
            straight: The straightened spine, with the neighbours' crops too.
            levels: Which; all in `straight` whose crop holds a body if not given.

        Raises:
            VolumeError: a level without a crop, no other body to learn from, or no image where one is needed.
        """


def wanted_levels(straight: Straightened, levels: Sequence[Level] | None) -> list[Level]:
    """The levels to make, checked; without `levels`, all whose crop holds a body (a cut one may lie outside its crop).

    Raises:
        VolumeError: a level without a crop, or one crop only.
    """
    whole = [level for level, crop in straight.crops.items() if (crop.body >= 0.5).any()]
    wanted = whole if levels is None else list(levels)
    for level in wanted:
        if level not in straight.crops:
            raise VolumeError(
                f"{level} was not straightened", field="levels",
                cure=f"use levels among {', '.join(map(str, straight.crops))}",
            )  # fmt: skip
        if len(straight.crops) < 2:
            raise VolumeError(
                f"no other body tells what {level} should be", field="mask", cure="give a mask with several vertebrae"
            )
    return wanted


def read_synthesiser(folder: str | os.PathLike[str]) -> Synthesiser:
    """A synthesiser from a folder that `spinemed train synthesis` wrote.

    Raises:
        ModelError: a file is missing, damaged, or of another config.
    """
    from spinemed.vertebra.synthesis.store import load_synthesiser

    return load_synthesiser(folder)


def synthesis_loss(straight: Straightened, synthesis: Synthesis) -> HeightLoss:
    """Robust height loss of the patient's body against its synthesis, both read in the crop along the synthesis's axis.

    Both lie in the same straight space, so that what straightening does to lengths they share.

    Args:
        straight: Where the crop comes from.
        synthesis: What the body should be.

    Raises:
        VolumeError: an empty body, a synthesis without endplates, or two bodies that do not lie on each other.
    """
    crop = synthesis.crop
    if straight.crops.get(synthesis.level) is not crop:
        raise VolumeError(
            f"the synthesis of {synthesis.level} was made in another crop", field="synthesis",
            cure="synthesise in the straightened spine that is measured",
        )  # fmt: skip
    quality: Quality = "unreliable" if any(flag.startswith(UNRELIABLE) for flag in synthesis.flags) else "estimated"
    axes = crop.affine[:3, :3]
    return height_loss(
        crop.body >= 0.5, crop.affine, synthesis.body >= 0.5,
        anterior_hint=axes[:, 1], up_hint=axes[:, 2], reference_sd_mm=synthesis.sd_mm, quality=quality,
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class Overlay:
    """A synthesis in the patient's grid, beside the patient's mask.

    Attributes:
        body: float32 share of each voxel in the synthetic body, inside `box` of the grid; outside there is nothing.
        box: Where it lies.
        overlap_mm3: By neighbour, how much of it the synthetic body takes; neighbours that it leaves alone are absent.
    """

    body: NDArray[np.float32]
    box: tuple[slice, slice, slice]
    overlap_mm3: dict[Level, float] = field(default_factory=dict)

    def on(self, shape: tuple[int, int, int]) -> NDArray[np.uint8]:
        """1 in the synthetic body on a whole grid, 0 elsewhere."""
        whole = np.zeros(shape, dtype=np.uint8)
        whole[self.box] = self.body >= 0.5
        return whole


def synthesis_overlay(straight: Straightened, synthesis: Synthesis, mask: LabelMask) -> Overlay:
    """Bring a synthesis back into the patient, and count what it takes of the other vertebrae.

    Args:
        straight: Where the crop comes from.
        synthesis: The body.
        mask: The patient's vertebrae; only its grid and labels are read.

    Raises:
        VolumeError: nothing to bring back, a place outside the grid, or a bend too sharp.
    """
    values, box = straight.to_patient(synthesis.crop, synthesis.body, mask.volume)
    body: NDArray[Any] = values.astype(np.float32)
    verse = LABEL_MAPS["verse"]
    numbers = np.where(body >= 0.5, np.asarray(mask.data[box]), 0)
    voxel = abs(float(np.linalg.det(mask.affine[:3, :3])))
    counts = np.bincount(numbers.ravel().astype(np.int64), minlength=256)
    taken = {
        level: float(counts[verse.to_label(level)]) * voxel
        for level in mask.levels
        if level is not synthesis.level and counts[verse.to_label(level)]
    }
    return Overlay(body, box, taken)
