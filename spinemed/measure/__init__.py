"""Measure a spine: heights, angles, slip, discs and canal, from landmarks or from label masks, in mm and degrees.

Two ways in, one set of formulas:

- **Landmarks**: make an :class:`Endplate` of the points and call :func:`cobb_deg`, :func:`lordosis_deg`,
  :func:`kyphosis_deg`, :func:`listhesis`, :func:`pelvic_parameters`, :func:`sva_mm`, or one of the length functions.
- **Masks**: :func:`measure_masks` measures everything a mask holds; :func:`fit_body` fits one body.

Grades from a number (:func:`genant_grade`, :func:`meyerding_grade`) are pure functions in `grades`.

World points are RAS+ mm (see :mod:`spinemed.geometry`). The trap: a value without a flag is no diagnosis, and one from
a supine scan is not a standing one. Research use only.
"""

from spinemed.measure.alignment import ANGLES, NamedAngle
from spinemed.measure.arch import Separated, separate_body
from spinemed.measure.body import Body, fit_body
from spinemed.measure.canal import Section, canal_section, foramen_section
from spinemed.measure.discs import DiscSpace, Sacrum, fit_sacrum, measure_disc_space
from spinemed.measure.endplates import (
    Endplate,
    PelvicParameters,
    Slip,
    cobb_deg,
    inclination_deg,
    kyphosis_deg,
    listhesis,
    lordosis_deg,
    pelvic_parameters,
    sva_mm,
    wedge_deg,
)
from spinemed.measure.field import BodyFrame
from spinemed.measure.grades import (
    GENANT_BORDERS,
    MEYERDING_BORDERS,
    GenantGrade,
    GenantShape,
    MeyerdingGrade,
    SlipDirection,
    genant_grade,
    genant_shape,
    height_loss_percent,
    meyerding_grade,
    slip_direction,
)
from spinemed.measure.landmarks import body_heights, canal_from_points, disc_heights, distance_mm
from spinemed.measure.loss import HeightLosses, body_field, height_losses
from spinemed.measure.masks import measure_masks
from spinemed.measure.records import (
    AlignmentAngle,
    CanalSection,
    CoronalCurve,
    DiscMeasurement,
    EndplateRecord,
    Flag,
    Frame,
    Heights,
    SlipRecord,
    SpineMeasurements,
    VertebraMeasurement,
)

__all__ = [
    "ANGLES",
    "GENANT_BORDERS",
    "MEYERDING_BORDERS",
    "AlignmentAngle",
    "Body",
    "BodyFrame",
    "CanalSection",
    "CoronalCurve",
    "DiscMeasurement",
    "DiscSpace",
    "Endplate",
    "EndplateRecord",
    "Flag",
    "Frame",
    "GenantGrade",
    "GenantShape",
    "HeightLosses",
    "Heights",
    "MeyerdingGrade",
    "NamedAngle",
    "PelvicParameters",
    "Sacrum",
    "Section",
    "Separated",
    "Slip",
    "SlipDirection",
    "SlipRecord",
    "SpineMeasurements",
    "VertebraMeasurement",
    "body_field",
    "body_heights",
    "canal_from_points",
    "canal_section",
    "cobb_deg",
    "disc_heights",
    "distance_mm",
    "fit_body",
    "fit_sacrum",
    "foramen_section",
    "genant_grade",
    "genant_shape",
    "height_loss_percent",
    "height_losses",
    "inclination_deg",
    "kyphosis_deg",
    "listhesis",
    "lordosis_deg",
    "measure_disc_space",
    "measure_masks",
    "meyerding_grade",
    "pelvic_parameters",
    "separate_body",
    "slip_direction",
    "sva_mm",
    "wedge_deg",
]
