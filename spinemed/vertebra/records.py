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
    sha256: str


class CaseRecord(Record):
    """What became of one scan (`cases/NAME.COMMAND.json`); written last, so that a killed run goes on from there.

    Attributes:
        key: Hash of everything that went in, the code included.
        status: "done", or "failed" with the error.
        files: What was written, relative to the output folder, with hashes.
    """

    case: str
    command: str
    key: str
    status: Literal["done", "failed"]
    inputs: dict[str, FileFact]
    files: dict[str, str] = Field(default_factory=dict)
    error: str | None = None
    error_kind: str | None = None
    version: str = __version__
    use: Use = "research use only"


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
    mode: Mode
    spacing_mm: float
    curve_points_mm: tuple[tuple[float, float, float], ...] | None
    """World points of the curve, from below upwards; None in paper mode."""
    curve_sha256: str | None
    crops: tuple[CropRecord, ...]
    inputs: dict[str, FileFact]
    flags: tuple[str, ...] = ()
    version: str = __version__
    use: Use = "research use only"


class PaperLoss(Record):
    """RHLV by the published rule; shares, not percent."""

    whole: float
    anterior: float
    middle: float
    posterior: float
    lowest_over_tallest: float


class RobustLoss(Record):
    """Height loss in percent with 95 % intervals."""

    anterior: LossRecord
    middle: LossRecord
    posterior: LossRecord
    layer_mm: float
    reference: Quality
    gradable: bool
    """Whether a grade may be read: fine enough layers and a usable reference."""


class LossFile(Record):
    """What `spinemed vertebra rhlv --json` prints: one vertebra against its synthetic twin."""

    case: str
    level: Level | None
    label: int
    mode: Mode
    paper: PaperLoss | None = None
    robust: RobustLoss | None = None
    inputs: dict[str, FileFact]
    flags: tuple[str, ...] = ()
    version: str = __version__
    use: Use = "research use only"


class SyntheticBody(Record):
    """One synthetic vertebra.

    Attributes:
        loss: The patient's body against it; None where that could not be measured (a flag says why).
        overlap_mm3: By neighbour, what the synthetic body takes of it in the patient's grid. It is counted and left:
            the overlay never changes the mask.
    """

    level: Level
    label: int
    files: dict[str, str]
    loss: RobustLoss | None
    volume_mm3: float
    patient_volume_mm3: float
    overlap_mm3: dict[str, float]
    flags: tuple[str, ...] = ()


class SynthesisFile(Record):
    """`<stem>_synthesis.json`: the synthetic vertebrae of one scan."""

    case: str
    made_by: str
    bodies: tuple[SyntheticBody, ...]
    inputs: dict[str, FileFact]
    flags: tuple[str, ...] = ()
    version: str = __version__
    use: Use = "research use only"


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
