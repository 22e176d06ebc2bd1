"""What the commands write: the contracts of their JSON files.

Convention: file names stand without folders; percentages as percent in robust mode and as shares in paper mode, as
published. Every file says what it was made from (hashes) and that it is for research only.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from spinemed import __version__
from spinemed.anatomy import Level
from spinemed.records import Record
from spinemed.vertebra.grading import LossRecord
from spinemed.vertebra.rhlv import HeightLoss, Quality, ThirdLoss

__all__ = [
    "CaseRecord",
    "CropRecord",
    "FileFact",
    "LossFile",
    "Mode",
    "PaperLoss",
    "RobustLoss",
    "StraightFile",
    "SynthesisFile",
    "SyntheticBody",
    "loss_record",
    "robust_loss",
]

Mode = Literal["robust", "paper"]
Use = Literal["research use only"]


class FileFact(Record):
    """A file that went in: its name without folders, and the hash of its bytes."""

    name: str
    """File name without folders."""
    sha256: str
    """Hash of its bytes."""


class CaseRecord(Record):
    """What became of one scan (`cases/NAME.COMMAND.json`); written last, so that a killed run goes on from there.

    Attributes:
        key: Hash of everything that went in, the code included.
        status: "done", or "failed" with the error.
        files: What was written, relative to the output folder, with hashes.
    """

    case: str
    """Name of the scan."""
    command: str
    """The verb that was run, such as `straighten`."""
    key: str
    status: Literal["done", "failed"]
    inputs: dict[str, FileFact]
    """Files that went in, by what they are."""
    files: dict[str, str] = Field(default_factory=dict)
    error: str | None = None
    """What was wrong, in one sentence; None where nothing was."""
    error_kind: str | None = None
    """Name of the error's class."""
    version: str = __version__
    """Of SpineMed."""
    use: Use = "research use only"
    """Always: research use only."""


class CropRecord(Record):
    """One straightened vertebra.

    Attributes:
        level, label: Which, and its number in VerSe's masks.
        start_mm: Curve coordinates (right, anterior, along) of the first voxel; None in paper mode.
        affine: Voxel to world, exact in the middle of the body only.
        files: What was written of it.
        flags: What limits it.
    """

    level: Level | None
    label: int
    start_mm: tuple[float, float, float] | None
    affine: tuple[tuple[float, ...], ...]
    files: dict[str, str]
    flags: tuple[str, ...] = ()


class StraightFile(Record):
    """`<stem>_straight.json`: the crops of one scan and the curve they were laid along."""

    case: str
    """Name of the scan."""
    mode: Mode
    """`paper` for the published rule, else ours."""
    spacing_mm: float
    """Edge of a voxel of the crops."""
    curve_points_mm: tuple[tuple[float, float, float], ...] | None
    """World points of the curve, from below upwards; None in paper mode."""
    curve_sha256: str | None
    """Hash of the curve; None in paper mode."""
    crops: tuple[CropRecord, ...]
    """One entry a vertebra, head to foot."""
    inputs: dict[str, FileFact]
    """Files that went in, by what they are."""
    flags: tuple[str, ...] = ()
    """Doubts, shown first."""
    version: str = __version__
    """Of SpineMed."""
    use: Use = "research use only"
    """Always: research use only."""


class PaperLoss(Record):
    """RHLV by the published rule; shares, not percent."""

    whole: float
    """Over the whole body."""
    anterior: float
    """Over the anterior third."""
    middle: float
    """Over the middle third."""
    posterior: float
    """Over the posterior third."""
    lowest_over_tallest: float
    """Lowest height of the body over its tallest."""


class RobustLoss(Record):
    """Height loss in percent with 95 % intervals."""

    anterior: LossRecord
    """Of the anterior third."""
    middle: LossRecord
    """Of the middle third."""
    posterior: LossRecord
    """Of the posterior third."""
    layer_mm: float
    """Distance of the voxel layers along the body."""
    reference: Quality
    """How far the healthy heights can be relied on."""
    gradable: bool
    """Whether a grade may be read: fine enough layers and a usable reference."""


class LossFile(Record):
    """What `spinemed vertebra rhlv --json` prints: one vertebra against its synthetic twin."""

    case: str
    """Name of the scan."""
    level: Level | None
    """Which vertebra; None where its number has no name."""
    label: int
    """Its number in the mask."""
    mode: Mode
    """`robust` for ours, `paper` for the published rule."""
    paper: PaperLoss | None = None
    """Loss by the published rule."""
    robust: RobustLoss | None = None
    """Loss by our own measurement, with intervals."""
    inputs: dict[str, FileFact]
    """Files that went in, by what they are."""
    flags: tuple[str, ...] = ()
    """Doubts, shown first."""
    version: str = __version__
    """Of SpineMed."""
    use: Use = "research use only"
    """Always: research use only."""


class SyntheticBody(Record):
    """One synthetic vertebra.

    Attributes:
        loss: The patient's body against it; None where that could not be measured (a flag says why).
        overlap_mm3: By neighbour, what the synthetic body takes of it in the patient's grid. It is counted and left:
            the overlay never changes the mask.
    """

    level: Level
    """Which vertebra."""
    label: int
    """Its number in the mask."""
    files: dict[str, str]
    """Files that were written, by what they are."""
    loss: RobustLoss | None
    volume_mm3: float
    """Of the synthetic body."""
    patient_volume_mm3: float
    """Of the patient's body."""
    overlap_mm3: dict[str, float]
    flags: tuple[str, ...] = ()
    """Doubts, shown first."""


class SynthesisFile(Record):
    """`<stem>_synthesis.json`: the synthetic vertebrae of one scan."""

    case: str
    """Name of the scan."""
    made_by: str
    """What made the bodies, in its own words."""
    bodies: tuple[SyntheticBody, ...]
    """One entry a vertebra, head to foot."""
    inputs: dict[str, FileFact]
    """Files that went in, by what they are."""
    flags: tuple[str, ...] = ()
    """Doubts, shown first."""
    version: str = __version__
    """Of SpineMed."""
    use: Use = "research use only"
    """Always: research use only."""


def loss_record(third: ThirdLoss) -> LossRecord:
    """A third's loss, rounded for a file."""
    return LossRecord(
        percent=round(third.percent, 2), low=round(third.low, 2), high=round(third.high, 2),
        height_mm=round(third.height_mm, 3), reference_mm=round(third.reference_mm, 3),
    )  # fmt: skip


def robust_loss(loss: HeightLoss) -> RobustLoss:
    """A height loss for a file."""
    anterior, middle, posterior = (loss_record(third) for third in loss.thirds)
    return RobustLoss(
        anterior=anterior, middle=middle, posterior=posterior, layer_mm=round(loss.layer_mm, 3),
        reference=loss.reference, gradable=loss.gradable,
    )  # fmt: skip
