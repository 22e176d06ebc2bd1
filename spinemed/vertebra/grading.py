"""Grades of height loss with what is known of their doubt: Genant's SQ, the extended SQ, shape, and "look again".

The grade is read from the largest of the anterior, middle and posterior loss, at the published borders
(:data:`spinemed.measure.GENANT_BORDERS`). The probability of each grade comes from that third's 95 % interval, taken
as normal; where the interval crosses a border the record says "look again".

The rule is defined for T4 to L4. T1 to T3, T13, L5 and L6 are graded and flagged; above T1 nothing is graded.

The traps: height loss is not a fracture. Bodies are short or wedged by nature, growth and wear, and no rule here tells
those apart, nor a fresh fracture from an old one, nor a benign from a malignant one. And the largest of three doubtful
losses is on average a little too large.
"""

from __future__ import annotations

from itertools import pairwise
from math import erf, sqrt
from typing import Literal

from pydantic import Field

from spinemed.anatomy import LABEL_MAPS, Level, Region
from spinemed.measure import GENANT_BORDERS, GenantGrade, GenantShape, genant_grade, genant_shape
from spinemed.records import Record
from spinemed.vertebra.beside import Beside
from spinemed.vertebra.reference import Reference
from spinemed.vertebra.rhlv import HeightLoss, Quality, ThirdLoss

__all__ = [
    "ESQ_BORDERS",
    "TRAINED_ON",
    "ExtendedGrade",
    "GradeReport",
    "GradedVertebra",
    "LossRecord",
    "esq_grade",
    "grade_probabilities",
    "grade_vertebra",
    "not_graded",
]

ExtendedGrade = Literal["below mild", "mild", "moderate", "moderately severe", "severe", "collapsed"]

ESQ_BORDERS = (20.0, 25.0, 33.0, 40.0, 67.0)
"""Least loss in percent of mild, moderate, moderately severe, severe and collapsed."""
_EXTENDED: tuple[ExtendedGrade, ...] = (
    "below mild", "mild", "moderate", "moderately severe", "severe", "collapsed"
)  # fmt: skip
_FIRST, _LAST = Level.T4, Level.L4
_NORMAL_95 = 1.96

NOT_A_FRACTURE = "height loss alone is not a fracture"
RULE = "Genant's borders on the largest of three losses"
TRAINED_ON = (
    "nothing: rules. The standard deviations of estimated heights were set on phantoms of seeds 501 and 601, those of "
    "reading a mask on phantoms of seeds 41 and 451; no patient"
)


def esq_grade(loss_percent: float) -> ExtendedGrade:
    """Extended semiquantitative grade of the largest loss, in half-open bands like Genant's.

    Source: extended SQ as in Ann Transl Med 2020.02.23 (minimal below 20 %, mild to 25, moderate to 33, moderately
    severe to 40, severe to 67, collapsed above). Its "minimal" needs a reader who sees a fracture; a loss below 20 %
    is called "below mild" here.
    """
    return _EXTENDED[sum(loss_percent >= border for border in ESQ_BORDERS)]


def grade_probabilities(third: ThirdLoss) -> tuple[float, float, float, float]:
    """Probability of grades 0, 1, 2 and 3 if the loss is normal about its value with the interval's width."""
    sd = max((third.high - third.low) / (2 * _NORMAL_95), 1e-9)
    below = [0.0, *((1 + erf((border - third.percent) / (sd * sqrt(2)))) / 2 for border in GENANT_BORDERS), 1.0]
    shares = [b - a for a, b in pairwise(below)]
    return shares[0], shares[1], shares[2], shares[3]


class LossRecord(Record):
    """Loss of one third in percent with its 95 % interval, its height and the healthy one in mm."""

    percent: float
    """Height lost, of the healthy height."""
    low: float
    """Lower bound of the 95 % interval, in percent."""
    high: float
    """Upper bound of the 95 % interval, in percent."""
    height_mm: float
    """Height as measured."""
    reference_mm: float
    """Healthy height that it is compared with."""


class GradedVertebra(Record):
    """One vertebra as graded, or the reason why not.

    Attributes:
        level, label: Which, and its number in VerSe's masks.
        anterior, middle, posterior: Losses; None where nothing could be measured.
        grade, probabilities: Genant's, and the probability of each of the four; None without a grade.
        extended: Extended SQ.
        shape: "none" below grade 1.
        look_again: The interval of the largest loss crosses a border.
        reference, reference_by: Where the healthy heights come from.
        layer_mm: Distance of the voxel layers along the body.
        wedge_deg, local_kyphosis_deg, retropulsion_mm, canal_compromise_percent: What stands beside the grade, as
            defined in :mod:`spinemed.vertebra.beside`; None where not measurable, for a reason in `unmeasured`.
        flags: Shown first.
    """

    level: Level
    label: int
    anterior: LossRecord | None = None
    middle: LossRecord | None = None
    posterior: LossRecord | None = None
    grade: GenantGrade | None = None
    probabilities: tuple[float, float, float, float] | None = None
    extended: ExtendedGrade | None = None
    shape: GenantShape | None = None
    look_again: bool = False
    reference: Quality | None = None
    reference_by: str = ""
    layer_mm: float | None = None
    wedge_deg: float | None = None
    local_kyphosis_deg: float | None = None
    retropulsion_mm: float | None = None
    canal_compromise_percent: float | None = None
    unmeasured: tuple[str, ...] = ()
    """What could not be measured beside the grade, and why."""
    flags: tuple[str, ...] = ()


class GradeReport(Record):
    """All vertebrae of one mask, head to foot: the contents of `grades.json`.

    `trained_on` says what the grader that made it was trained or set on.
    """

    vertebrae: tuple[GradedVertebra, ...]
    """One entry a vertebra, head to foot."""
    rule: str = RULE
    """By which rule grades were given."""
    trained_on: str = TRAINED_ON
    """What the grader was set or trained on."""
    note: str = NOT_A_FRACTURE
    """What a grade is not."""
    source: str = ""
    """The file of the mask."""
    sha256: str = ""
    """Hash of that file."""
    flags: tuple[str, ...] = Field(default=())
    """Doubts about the whole scan, shown first."""
    use: Literal["research use only"] = "research use only"
    """Always: research use only."""


def grade_vertebra(
    level: Level, loss: HeightLoss, reference: Reference | str = "given", beside: Beside | None = None
) -> GradedVertebra:
    """Grade one vertebra from its losses.

    There is no grade where layers are more than 1.5 mm apart along the body, where the reference is unreliable, and
    above T1; losses and intervals are kept.

    Args:
        level: Which vertebra.
        loss: Its losses.
        reference: What the healthy heights were taken from: an estimated one, or a word for a given one.
        beside: What else was measured of it.
    """
    largest, flags = loss.largest, list(loss.flags)
    by = reference if isinstance(reference, str) else reference.method
    outside = not _FIRST <= level <= _LAST or level is Level.T13
    if outside:
        flags.append(f"{level} lies outside T4 to L4, for which Genant's grades are defined")
    gradable = loss.gradable and level.region in (Region.THORACIC, Region.LUMBAR)
    anterior, middle, posterior = (_record(third) for third in loss.thirds)
    more = beside or Beside(unmeasured=("only height losses were given",))
    record = GradedVertebra(
        level=level, label=LABEL_MAPS["verse"].to_label(level), anterior=anterior, middle=middle, posterior=posterior,
        reference=loss.reference, reference_by=by, layer_mm=round(loss.layer_mm, 3), flags=tuple(flags),
        wedge_deg=_rounded(more.wedge_deg), local_kyphosis_deg=_rounded(more.local_kyphosis_deg),
        retropulsion_mm=_rounded(more.retropulsion_mm),
        canal_compromise_percent=_rounded(more.canal_compromise_percent), unmeasured=more.unmeasured,
    )  # fmt: skip
    if not gradable:
        return record
    crossed = [border for border in GENANT_BORDERS if largest.low < border <= largest.high]
    if crossed:
        flags.append("look again: the interval of the largest loss crosses " + _percents(crossed))
    percents = [third.percent for third in loss.thirds]
    first, second, third, last = (round(share, 4) for share in grade_probabilities(largest))
    return record.model_copy(
        update={
            "grade": genant_grade(*percents),
            "probabilities": (first, second, third, last),
            "extended": esq_grade(largest.percent),
            "shape": genant_shape(percents),
            "look_again": bool(crossed),
            "flags": tuple(flags),
        }
    )


def not_graded(level: Level, reason: str) -> GradedVertebra:
    """The record of a vertebra that could not be measured."""
    return GradedVertebra(level=level, label=LABEL_MAPS["verse"].to_label(level), flags=(f"not measured: {reason}",))


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)


def _percents(borders: list[float]) -> str:
    return " and ".join(f"{border:g} %" for border in borders)


def _record(third: ThirdLoss) -> LossRecord:
    return LossRecord(
        percent=round(third.percent, 2), low=round(third.low, 2), high=round(third.high, 2),
        height_mm=round(third.height_mm, 3), reference_mm=round(third.reference_mm, 3),
    )  # fmt: skip
