"""What `scores.json` of the fracture benchmark holds: vertebrae, cases, a summary with intervals, calibration.

Convention: one record per graded vertebra of the reference, whatever the grader said. A quantity that does not exist in
a row is absent there. Nothing holds a clock time or an absolute path: equal inputs give equal bytes.

Trap: `predicted` None is no grade 0: see `outcome` and `reason`.
"""

from __future__ import annotations

import os
from typing import Literal

from bench.estimates import Estimate
from bench.faults import FoundError
from bench.fracture.reference import Shape, Split
from bench.scorefiles import SCORES_FILE, find_row, read_scores_file
from spinemed.anatomy import Level
from spinemed.measure import GenantGrade
from spinemed.records import Record
from spinemed.tables import write_json

__all__ = [
    "NEAR_POINTS",
    "SCORES_FILE",
    "Bin",
    "Calibration",
    "CaseError",
    "GradedPair",
    "Outcome",
    "Scores",
    "Settings",
    "SummaryRow",
    "read_scores",
    "write_scores",
]

NEAR_POINTS = 2.0
"""A true loss this near to a border between grades makes the grade a matter of reading error."""

Outcome = Literal["graded", "refused", "not listed", "no prediction", "unusable prediction"]


class Settings(Record):
    """What decides the numbers of an evaluation."""

    split: Split = "all"
    """Which vertebrae of the reference are scored."""


class CaseError(FoundError):
    """Why the prediction of a case could not be used."""

    case: str
    """Name of the scan."""


class GradedPair(Record):
    """One vertebra of the reference with what the grader says."""

    case: str
    """Name of the scan."""
    patient: str
    """Patient or phantom: the cluster that intervals resample."""
    level: Level
    """Which vertebra."""
    split: str
    """Split of the data set that it belongs to; empty where none is stated."""
    grade: GenantGrade
    """Grade as it was read."""
    shape: Shape | None = None
    """Shape as it was read."""
    loss_percent: float | None = None
    """Largest of the three losses of height, where it is known (phantoms)."""
    near_border: bool | None = None
    """Whether the true loss lies within `NEAR_POINTS` of 20, 25 or 40 %; None where it is not known."""
    mimic: str = ""
    """What makes this body look broken that is not; empty for all others."""
    neighbour_broken: bool = False
    """Whether the vertebra above or below is fractured."""
    outcome: Outcome
    """`refused`: listed without a grade. `not listed`: the case has a prediction without this level."""
    predicted: GenantGrade | None = None
    """Grade of the grader."""
    predicted_shape: Shape | None = None
    """Shape of the grader."""
    predicted_loss_percent: float | None = None
    """Largest of the three losses that it found."""
    probabilities: tuple[float, float, float, float] | None = None
    """Its probabilities of grades 0 to 3, where it states them."""
    look_again: bool = False
    """The grader asks for a second look."""
    reason: str = ""
    """Why; empty where nothing needs one."""


class SummaryRow(Record):
    """All quantities over some vertebrae."""

    by: str
    """What the group is made by."""
    key: str
    """Which group."""
    vertebrae: int
    """How many vertebrae."""
    fractured: int
    """Of these, grade 1 or more as read."""
    not_graded: int
    """Of these, without a grade of the grader."""
    cases: int
    """How many scans."""
    patients: int
    """How many patients or phantoms."""
    confusion: tuple[tuple[int, int, int, int, int], ...]
    """Read grade by predicted grade; the last column is "not graded"."""
    values: dict[str, Estimate]
    """Quantities by name."""


class Bin(Record):
    """Vertebrae whose stated probability of a fracture lies in [low, high), the last bin with its end."""

    low: float
    """Lower end of the bin."""
    high: float
    """Upper end of the bin."""
    n: int
    """Vertebrae in it."""
    stated: float | None
    """Their mean stated probability."""
    found: Estimate
    """Their share of fractures."""


class Calibration(Record):
    """How honest stated probabilities are, over graded vertebrae that have them."""

    n: int
    """Graded vertebrae with probabilities."""
    left_out: int
    """Vertebrae without probabilities."""
    brier: Estimate
    """Mean over vertebrae of the sum over the four grades of (p - 1[grade])²: 0 to 2 (Brier 1950)."""
    brier_fracture: Estimate
    """The same of "grade 1 or more" alone: 0 to 1."""
    brier_share: float
    """`brier_fracture` of one who always states the reference's share of fractures."""
    expected_error: float
    """Mean over bins, weighted by their vertebrae, of |stated - found|."""
    bins: tuple[Bin, ...]
    """Ten equal bins of the stated probability of a fracture."""


class Scores(Record):
    """`scores.json`."""

    kind: Literal["fracture scores"] = "fracture scores"
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
    reference_sha256: str
    """Hash of the reference."""
    trained_on: tuple[str, ...] = ()
    """What the grader says it was set or trained on."""
    counts: dict[str, int]
    """What happened how often."""
    summary: tuple[SummaryRow, ...]
    """All quantities by group."""
    calibration: Calibration | None = None
    """How honest the stated probabilities are; None where there are none."""
    vertebrae: tuple[GradedPair, ...]
    """One entry a vertebra of the reference."""
    errors: tuple[CaseError, ...] = ()
    """Why predictions of scans could not be used."""
    unmatched_predictions: tuple[str, ...] = ()
    """Files of the prediction that belong to nothing in the reference."""
    extra: dict[str, tuple[Level, ...]] = {}
    """Levels graded by the prediction that the reference does not rate, by case: counted, not scored."""
    warnings: tuple[str, ...] = ()
    """What a reader of the numbers must know."""

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
        RecordError: It is not what `spinemed fracture evaluate` of this version writes.
    """
    return read_scores_file(path, Scores, "spinemed fracture evaluate")
