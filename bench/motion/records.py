"""What `scores.json` of the motion benchmark holds: clips, points, levels, pictures, and a summary with intervals.

Convention: values are named "group/quantity" (`metrics`). A clip that lacks a value lacks the key. Nothing holds a
clock time or an absolute path: equal inputs give equal bytes.

Trap: a clip without a usable prediction has the worst value in quantities that count misses and none in the others.
"""

from __future__ import annotations

import os
from typing import Literal

from bench.estimates import Estimate
from bench.faults import FoundError
from bench.scorefiles import SCORES_FILE, find_row, read_scores_file
from spinemed.records import Record
from spinemed.tables import write_json

__all__ = [
    "SCORES_FILE",
    "ClipError",
    "ClipFlag",
    "ClipScore",
    "LevelScore",
    "PictureScore",
    "PointScore",
    "Scores",
    "Settings",
    "Status",
    "SummaryRow",
    "read_scores",
    "write_scores",
]

Status = Literal["scored", "no prediction", "unusable prediction", "unusable reference"]


class Settings(Record):
    """What decides the numbers of an evaluation."""

    split: Literal["all", "train", "val", "test"] = "all"
    """Which clips of the reference are scored."""
    norm_px: float = 30.0
    """Norm factor of the AUC in pictures: the default of MMPose's metric; SIMSPINE states none."""
    norm_mm: float = 150.0
    """Norm factor of the AUC in space."""


class ClipError(FoundError):
    """Why a clip, or one half of it, could not be scored."""

    part: Literal["reference", "prediction"]
    """Whose fault it is."""


class ClipFlag(Record):
    """A doubt about a clip that was scored all the same."""

    name: str
    """Short name of the doubt."""
    text: str
    """What it means for the numbers."""


class ClipScore(Record):
    """One clip of the reference."""

    clip: str
    """Name of the clip."""
    subject: str
    """Whose motion it is: the cluster of intervals."""
    motion: str
    """Which motion is performed."""
    split: str
    """Split of the data set that it belongs to; empty where none is stated."""
    rhythm: str
    """How its flexion is shared among the levels."""
    frames: int
    """How many frames."""
    rate_hz: float
    """Frames per second."""
    status: Status
    """What became of it."""
    errors: tuple[ClipError, ...] = ()
    """Why it, or a part of it, could not be scored."""
    flags: tuple[ClipFlag, ...] = ()
    """Doubts, shown first."""
    values: dict[str, float] = {}
    """Quantities by name."""
    labelled: dict[str, int] = {}
    """Per family: how many points, angles or points in pictures the reference gives, of those the method names."""
    missed: dict[str, int] = {}
    """Per family: how many of them are not predicted."""
    prediction_sha256: str | None = None
    """Hash of the file that was scored."""


class PointScore(Record):
    """One point over all clips."""

    name: str
    """The keypoint or centre."""
    clips: int
    """Clips with a distance."""
    n: int
    """Frames with a distance."""
    missed: int
    """Frames without a prediction."""
    error_mm: Estimate
    """Mean over clips of the mean distance in the world."""
    aligned_mm: Estimate
    """The same after the similarity of `aligned_with`."""
    aligned_with: str | None
    """The group whose points decided the similarity."""


class LevelScore(Record):
    """One segment, or a region's sum of segments, in one direction over all clips."""

    segment: str
    """Such as "L4/5", or "lumbar", "thoracic", "cervical" for the sum."""
    direction: str
    """Flexion, bending or rotation."""
    n: int
    """Frames with an angle."""
    missed: int
    """Frames without a prediction."""
    mae_deg: Estimate
    """Mean absolute error."""
    bias_deg: Estimate
    """Mean of predicted minus true."""
    slope: float | None
    """Recovered over true motion about each clip's means; None where the reference moves less than 1 degree rms."""
    coverage50: Estimate
    """Share of true angles inside the stated 50 % interval."""
    coverage90: Estimate
    """Share of true angles inside the stated 90 % interval."""


class PictureScore(Record):
    """COCO's average precision and recall of a group over all pictures; misses counted."""

    group: str
    """Group of points."""
    ap: float | None
    """Average precision over OKS thresholds from 0.5 to 0.95."""
    ap50: float | None
    """Average precision at 0.5."""
    ap75: float | None
    """Average precision at 0.75."""
    ar: float | None
    """Average recall over the same thresholds."""
    pictures: int
    """How many pictures."""
    undetected: int
    """Of these, how many have no prediction."""
    left_out: int
    """Pictures without a labelled point of the group."""


class SummaryRow(Record):
    """All quantities over some clips."""

    by: str
    """What the group is made by."""
    key: str
    """Which group."""
    clips: int
    """How many clips."""
    missed: int
    """Clips without a usable prediction."""
    subjects: int
    """How many subjects."""
    frames: int
    """How many frames."""
    values: dict[str, Estimate]
    """Quantities by name."""


class Scores(Record):
    """The whole file."""

    kind: Literal["motion scores"] = "motion scores"
    """What file or record this is."""
    version: str
    """Of SpineMed."""
    name: str
    """Of the method."""
    settings: Settings
    """What decides the numbers."""
    seed: int
    """Of the resampling."""
    resamples: int
    """Bootstrap resamples of each interval."""
    origin: str
    """What the reference is, in words; a simulated one says so."""
    reference_sha256: dict[str, str]
    """Hash of the reference."""
    families: tuple[str, ...]
    """What the method predicts: points, pictures, angles."""
    groups: tuple[str, ...]
    """Groups of points all of which the method names."""
    groups_left_out: dict[str, int]
    """Other groups, and how many of their points the method never names."""
    counts: dict[str, int]
    """What happened how often."""
    summary: tuple[SummaryRow, ...]
    """All quantities by group."""
    points: tuple[PointScore, ...]
    """One entry a point."""
    levels: tuple[LevelScore, ...]
    """One entry a segment and direction."""
    pictures: tuple[PictureScore, ...]
    """One entry a group of points."""
    clips: tuple[ClipScore, ...]
    """One entry a clip."""
    unmatched_predictions: tuple[str, ...] = ()
    """Files of the prediction that belong to nothing in the reference."""
    warnings: tuple[str, ...] = ()
    """What a reader of the numbers must know."""

    @property
    def failed(self) -> list[ClipScore]:
        """Clips that were not scored from both files."""
        return [clip for clip in self.clips if clip.status != "scored"]

    def row(self, by: str = "all", key: str = "all") -> SummaryRow:
        """A row of the summary.

        Raises:
            KeyError: There is none.
        """
        return find_row(self.summary, by, key)


def write_scores(path: str | os.PathLike[str], scores: Scores) -> None:
    """Write `scores.json`, whole or not at all."""
    write_json(path, scores.model_dump(mode="json"))


def read_scores(path: str | os.PathLike[str]) -> Scores:
    """Read a `scores.json`, or the folder it lies in.

    Raises:
        ReadError: There is none, or it is no JSON.
        RecordError: It is not what `spinemed motion evaluate` of this version writes.
    """
    return read_scores_file(path, Scores, "spinemed motion evaluate")
