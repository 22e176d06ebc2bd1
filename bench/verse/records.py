"""The records of an evaluation: one per vertebra, one per case, one per row of a summary, and the file of them all.

Convention: a vertebra record stands for one vertebra of the reference. Values that could not be taken are None and say
why in `outcome` or in the case's errors; a value that counts a miss is a field of its own (`..._penalised_mm`), so that
a mean over misses and a mean over matches can never be mixed up. Paths in here are relative to the folder they came
from, and nothing holds a clock time: equal inputs give equal bytes.

Trap: `dice` of a missed vertebra is 0 and belongs into every mean; `hd_mm` of a missed vertebra is None and belongs
into none. Means over surface distances must therefore say which of the two they are ("matched" or "penalised").
"""

from __future__ import annotations

import os
from typing import Literal

from bench.estimates import Estimate
from bench.faults import FoundError
from bench.scorefiles import SCORES_FILE, read_scores_file
from spinemed.anatomy import Level, Region
from spinemed.records import Record
from spinemed.tables import write_json

__all__ = [
    "SCORES_FILE",
    "Anomaly",
    "CaseError",
    "CaseResult",
    "CaseScore",
    "Confusion",
    "ExtraLevel",
    "Mode",
    "Outcome",
    "Scores",
    "Settings",
    "ShiftRun",
    "Status",
    "SummaryRow",
    "Task",
    "VertebraScore",
    "WrongLevel",
    "anomalies_of",
    "read_scores",
    "view_of",
    "write_scores",
]

Mode = Literal["strict", "compat"]
Task = Literal["both", "labelling", "segmentation"]
Anomaly = Literal["T13", "L6", "no T12"]
Outcome = Literal["matched", "missed", "no prediction", "unusable prediction"]
Status = Literal["scored", "no prediction", "unusable prediction", "unusable reference"]


class Settings(Record):
    """What decides the numbers of an evaluation."""

    mode: Mode = "strict"
    """`strict`: the rules of this package. `compat`: labelling by the published code's rule, warts and all."""
    task: Task = "both"
    """What is scored: labelling, segmentation, or both."""
    tolerance_mm: float = 1.0
    """Tolerance of the surface Dice."""
    hd_penalty_mm: float = 100.0
    """Surface distance that a miss counts as, and that no match exceeds, in the penalised mean."""
    resample: bool = False
    """Whether a prediction on another grid is resampled (nearest voxel, 0 outside) instead of refused."""
    centroids: Literal["file", "mask"] = "file"
    """Where reference centres come from: the data set's centroid files, or the estimator on the reference mask."""
    labels: str = "verse"
    """Label scheme of the predictions, see `spinemed.labelling.SCHEMES`, or `nnunet`."""
    reference_labels: str = "verse"
    """Label scheme of the reference masks."""


class CaseError(FoundError):
    """Why a case, or one half of it, could not be scored."""

    part: Literal["reference", "prediction", "pair"]
    """Whose fault it is. A faulty prediction counts as missed; a faulty reference leaves the case out, and says so."""
    concerns: Literal["everything", "labelling", "segmentation"] = "everything"
    """Which half cannot be scored for it."""


class VertebraScore(Record):
    """One vertebra of the reference."""

    case: str
    """Name of the scan."""
    patient: str
    """Patient or phantom: the cluster that intervals resample."""
    level: Level
    """Which vertebra."""
    region: Region
    """Region that the vertebra lies in."""
    anomaly: tuple[Anomaly, ...] = ()
    """Of the spine it belongs to."""
    at_edge: bool = False
    """Its reference mask touches a face of the volume."""
    outcome: Outcome
    """`matched`: the prediction holds this level. The other three count as missed."""

    dice: float | None = None
    """0 where missed; None without segmentation."""
    dice_any_name: float | None = None
    """Dice with whatever vertebra of the prediction covers most of it: the outline without the name. 0 if none does."""
    iou: float | None = None
    """Voxels in both masks over voxels in either; 0 where missed."""
    nsd: float | None = None
    """Surface Dice at `tolerance_mm`."""
    hd_mm: float | None = None
    """Hausdorff distance; None where missed."""
    hd_penalised_mm: float | None = None
    """Hausdorff distance, a miss counting as the penalty, which no match exceeds."""
    hd95_pooled_mm: float | None = None
    """95th percentile of the distances of both directions together."""
    hd95_directed_mm: float | None = None
    """The larger of the two directions' 95th percentiles."""
    hd_largest_mm: float | None = None
    """Hausdorff distance to the largest predicted component alone: without islands."""
    assd_mm: float | None = None
    """Mean of the distances of both directions together."""
    masd_mm: float | None = None
    """Mean of the two directions' means."""
    volume_reference_mm3: float | None = None
    """Volume of the reference mask."""
    volume_prediction_mm3: float | None = None
    """Volume of the predicted mask of this level."""
    components: int | None = None
    """26-connected pieces of the prediction."""
    covered_by: str | None = None
    """What the prediction calls most of this vertebra's voxels: a level, "sacrum", "coccyx" or "background"."""

    identified: bool | None = None
    """None without labelling."""
    identified_admissible: bool | None = None
    """The same under the best of the numberings that the field of view admits; equal where it decides them."""
    called: Level | None = None
    """The level that the prediction gives to the centre that belongs to this vertebra; None if nothing does."""
    offset: int | None = None
    """Steps from the true level to `called` in this spine, positive towards the feet."""
    localisation_mm: float | None = None
    """From the reference centre to the predicted centre of the same level; None where that level is not predicted."""
    localisation_penalised_mm: float | None = None
    """The same, a miss counting as 1000 mm."""


class ShiftRun(Record):
    """Neighbouring vertebrae, all called the same number of levels too low (positive) or too high."""

    first: Level
    """Uppermost vertebra of the run."""
    last: Level
    """Lowest vertebra of the run."""
    offset: int
    """Levels too low (positive) or too high."""
    vertebrae: int
    """How many vertebrae the run holds."""


class WrongLevel(Record):
    """A vertebra that the prediction found and called by another name."""

    level: Level
    """Its true level."""
    called: Level
    """What the prediction calls it."""
    offset: int
    """Steps from the true level, positive towards the feet."""
    distance_mm: float | None = None
    """Between the two centres."""


class ExtraLevel(Record):
    """A level in the prediction that the reference does not have."""

    level: Level
    """What the prediction calls it."""
    nearest: Level | None = None
    """The nearest vertebra of the reference."""
    distance_mm: float | None = None
    """To that vertebra's centre."""
    excuse: str = ""
    """Why it is counted and not held against the prediction; empty if it is."""


class Confusion(Record):
    """Voxels that are one thing in the reference and one thing in the prediction."""

    reference: str
    """A level, "sacrum", "coccyx" or "background"."""
    prediction: str
    """The same of the prediction."""
    voxels: int
    """How many."""


class CaseScore(Record):
    """One scan."""

    case: str
    """Name of the scan."""
    patient: str
    """Patient or phantom: the cluster that intervals resample."""
    status: Status
    """What became of it."""
    levels: tuple[Level, ...] = ()
    """Levels of the reference, head to foot."""
    field_of_view: str = ""
    """Regions that the reference shows, as one word."""
    anomaly: tuple[Anomaly, ...] = ()
    """Anomalies of number in the spine."""
    errors: tuple[CaseError, ...] = ()
    """Why it, or a part of it, could not be scored."""
    notes: tuple[str, ...] = ()
    """What was done to the files before scoring, and what looked doubtful in them."""
    reference: str | None = None
    """Mask file, relative to the reference folder."""
    image: str | None = None
    """Image file, where there is one."""
    prediction: str | None = None
    """Mask file, relative to the prediction folder."""
    inputs_sha256: dict[str, str] = {}
    """Hash of every file read, by what it is."""
    reoriented: bool = False
    """Whether the prediction's axes had to be turned."""
    resampled: bool = False
    """Whether the prediction lay on another grid and was brought on to the reference's."""
    unscored_labels: dict[str, int] = {}
    """Predicted labels that are no vertebra, by their number in the prediction's own map, and their voxels: counted,
    not scored."""

    hits: int | None = None
    """Vertebrae identified."""
    predicted: int | None = None
    """Levels predicted, without those excused at the edge."""
    precision: float | None = None
    """Hits over predicted levels."""
    recall: float | None = None
    """Hits over levels of the reference."""
    f1: float | None = None
    """Harmonic mean of precision and recall."""
    official_dice: float | None = None
    """`compat` only: the published Dice, of all foreground whatever its label."""
    compat_warnings: tuple[str, ...] = ()
    """`compat` only: the published rule's defects that change this case."""
    shift: int | None = None
    """The found vertebrae are called this many levels too low (positive) or too high: one event, not many. By their
    centres; where labelling is not scored, by their outlines."""
    runs: tuple[ShiftRun, ...] = ()
    """Neighbouring vertebrae that are called the same number of levels off."""
    admissible_numberings: int | None = None
    """How many numberings the field of view admits; 1 where it decides them."""
    hits_admissible: int | None = None
    """Hits under the best of them."""
    wrong_levels: tuple[WrongLevel, ...] = ()
    """Centres that the prediction has and calls by another name."""
    wrong_outlines: tuple[WrongLevel, ...] = ()
    """Vertebrae most of whose voxels the prediction gave to another level, whatever became of the centres."""
    missed: tuple[Level, ...] = ()
    """Levels of the reference that the prediction lacks."""
    extra: tuple[ExtraLevel, ...] = ()
    """Levels of the prediction that the reference lacks."""
    confusion: tuple[Confusion, ...] = ()
    """Voxels by what they are in either mask."""
    means: dict[str, float] = {}
    """Scan means of the summary's metrics; a metric without a value is absent."""

    @property
    def failed(self) -> bool:
        """Whether the command's exit code must tell of this case."""
        return self.status != "scored" or bool(self.errors)


class CaseResult(Record):
    """What is kept per case, so that a killed evaluation goes on where it stopped."""

    key: str
    """Hash of inputs, settings and code version."""
    case: CaseScore
    """The scan."""
    vertebrae: tuple[VertebraScore, ...]
    """Its vertebrae."""


class SummaryRow(Record):
    """All metrics over one group of vertebrae or scans."""

    by: str
    """What the group is made by."""
    key: str
    """Which group."""
    vertebrae: int
    """How many vertebrae."""
    missed: int
    """Of these, how many the prediction lacks."""
    scans: int
    """How many scans."""
    patients: int
    """How many patients or phantoms."""
    values: dict[str, Estimate]
    """Quantities by name."""


class Scores(Record):
    """`scores.json`."""

    kind: Literal["verse scores"] = "verse scores"
    """What file or record this is."""
    version: str
    """Of SpineMed."""
    name: str
    """Name of the method."""
    settings: Settings
    """What decides the numbers."""
    seed: int
    """Of the resampling."""
    resamples: int
    """Bootstrap resamples of each interval."""
    warnings: tuple[str, ...] = ()
    """What a reader of the numbers must know."""
    unmatched_predictions: tuple[str, ...] = ()
    """Files in the prediction folder that belong to no case of the reference."""
    counts: dict[str, int]
    """What happened how often: files, misses, extras, shifts."""
    summary: tuple[SummaryRow, ...]
    """All quantities by group."""
    cases: tuple[CaseScore, ...]
    """One entry a scan."""
    vertebrae: tuple[VertebraScore, ...]
    """One entry a vertebra of the reference."""

    def row(self, by: str, key: str = "all") -> SummaryRow:
        """One row of the summary. A KeyError if there is none."""
        for one in self.summary:
            if (one.by, one.key) == (by, key):
                return one
        raise KeyError(f"the summary has no row {by} / {key}")

    @property
    def failed(self) -> tuple[CaseScore, ...]:
        """The cases that were not scored from both files as they are."""
        return tuple(case for case in self.cases if case.failed)


def anomalies_of(levels: tuple[Level, ...]) -> tuple[Anomaly, ...]:
    """What is irregular about the column that these levels of one scan come from.

    T12 counts as missing where T11 and L1 are in view without it; a scan that ends above is not anomalous.
    """
    present, found = set(levels), []
    if Level.T13 in present:
        found.append("T13")
    if Level.L6 in present:
        found.append("L6")
    if {Level.T11, Level.L1} <= present and Level.T12 not in present:
        found.append("no T12")
    return tuple(found)  # type: ignore[arg-type]


def view_of(levels: tuple[Level, ...]) -> str:
    """The field of view by the regions whose vertebrae are in it, e.g. "thoracic + lumbar"."""
    regions = sorted({level.region for level in levels})
    return " + ".join(region.value for region in regions) or "none"


def write_scores(path: str | os.PathLike[str], scores: Scores) -> None:
    """Write `scores.json`, atomically; equal scores give equal bytes."""
    write_json(path, scores.model_dump(mode="json"))


def read_scores(path: str | os.PathLike[str]) -> Scores:
    """Read `scores.json`, or the one in a folder.

    Raises:
        ReadError: The file is missing or no JSON.
        RecordError: It is no file of scores, or one of another version; the field is named.
    """
    return read_scores_file(path, Scores, "spinemed verse evaluate")
