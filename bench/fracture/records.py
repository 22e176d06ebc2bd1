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


class GradedPair(Record):
    """One vertebra of the reference with what the grader says."""

    case: str
    patient: str
    level: Level
    split: str
    grade: GenantGrade
    shape: Shape | None = None
    loss_percent: float | None = None
    near_border: bool | None = None
    """Whether the true loss lies within `NEAR_POINTS` of 20, 25 or 40 %; None where it is not known."""
    mimic: str = ""
    neighbour_broken: bool = False
    outcome: Outcome
    """`refused`: listed without a grade. `not listed`: the case has a prediction without this level."""
    predicted: GenantGrade | None = None
    predicted_shape: Shape | None = None
    predicted_loss_percent: float | None = None
    probabilities: tuple[float, float, float, float] | None = None
    look_again: bool = False
    reason: str = ""


class SummaryRow(Record):
    """All quantities over some vertebrae."""

    by: str
    key: str
    vertebrae: int
    fractured: int
    not_graded: int
    cases: int
    patients: int
    confusion: tuple[tuple[int, int, int, int, int], ...]
    """Read grade by predicted grade; the last column is "not graded"."""
    values: dict[str, Estimate]


class Bin(Record):
    """Vertebrae whose stated probability of a fracture lies in [low, high), the last bin with its end."""

    low: float
    high: float
    n: int
    stated: float | None
    found: Estimate


class Calibration(Record):
    """How honest stated probabilities are, over graded vertebrae that have them."""

    n: int
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


class Scores(Record):
    """`scores.json`."""

    kind: Literal["fracture scores"] = "fracture scores"
    version: str
    name: str
    settings: Settings
    seed: int
    resamples: int
    reference_sha256: str
    trained_on: tuple[str, ...] = ()
    """What the grader says it was set or trained on."""
    counts: dict[str, int]
    summary: tuple[SummaryRow, ...]
    calibration: Calibration | None = None
    vertebrae: tuple[GradedPair, ...]
    errors: tuple[CaseError, ...] = ()
    unmatched_predictions: tuple[str, ...] = ()
    extra: dict[str, tuple[Level, ...]] = {}
    """Levels graded by the prediction that the reference does not rate, by case: counted, not scored."""
    warnings: tuple[str, ...] = ()

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
