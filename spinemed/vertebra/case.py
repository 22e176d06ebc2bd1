"""One scan graded, with all that its page shows: records, fitted bodies, height-loss maps, the midsagittal picture.

Convention: `grades.json` holds a :class:`GradeReport`; `report.html` is drawn from a :class:`GradedCase` and nothing
else. What is doubtful about the files themselves stands in the report's flags, first.

The trap: a map is drawn for every body that has expected heights, also where the reference is unreliable or the layers
too coarse and no grade is given; the page says so beside it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from spinemed.anatomy import Level
from spinemed.errors import VolumeError
from spinemed.measure import Body
from spinemed.tables import write_json, write_text
from spinemed.vertebra.estimated import UPPER_SHARE
from spinemed.vertebra.files import Scan, read_scan
from spinemed.vertebra.grading import GradedVertebra, GradeReport
from spinemed.vertebra.maps import HeightMap, estimated_map, lateral_shape
from spinemed.vertebra.norms import Sex
from spinemed.vertebra.picture import Midsagittal, midsagittal
from spinemed.vertebra.records import FileFact
from spinemed.vertebra.spine import grade_spine, spine_bodies

__all__ = ["GRADES_FILE", "REPORT_FILE", "GradedCase", "case_maps", "grade_case", "write_case"]

GRADES_FILE, REPORT_FILE = "grades.json", "report.html"


@dataclass(frozen=True, eq=False)
class GradedCase:
    """What is known of one scan.

    Attributes:
        name: Of the scan.
        report: What `grades.json` holds.
        maps: By level, for every body with expected heights.
        picture: The midsagittal layer; None where no body was fitted.
        inputs: The files, by what they are.
    """

    name: str
    report: GradeReport
    maps: dict[Level, HeightMap]
    picture: Midsagittal | None
    inputs: dict[str, FileFact]


def grade_case(scan: Scan, inputs: dict[str, FileFact], *, scheme: str = "verse", sex: Sex | None = None) -> GradedCase:
    """Grade every vertebra of a scan from T1 to L6.

    Raises:
        ReadError, VolumeError: a file that cannot be used, no vertebra from T1 to L6, other grids.
    """
    loaded = read_scan(scan, scheme=scheme)
    found = spine_bodies(loaded.mask, loaded.bodies)
    report = grade_spine(loaded.mask, loaded.bodies, sex=sex, numbered=loaded.numbered, found=found)
    report = report.model_copy(update={"source": scan.mask.name, "flags": (*loaded.flags, *report.flags)})
    picture = midsagittal(loaded, found.bodies) if found.bodies else None
    return GradedCase(scan.name, report, case_maps(report, found.bodies), picture, inputs)


def case_maps(report: GradeReport, bodies: dict[Level, Body]) -> dict[Level, HeightMap]:
    """Height-loss maps against the expected heights of a report, along the axes that its losses are read along."""
    maps = {}
    for each in report.vertebrae:
        thirds = (each.anterior, each.middle, each.posterior)
        if any(third is None for third in thirds) or each.level not in bodies:
            continue
        expected = tuple(third.reference_mm for third in thirds if third is not None)
        shape = lateral_shape(body for level, body in bodies.items() if level is not each.level)
        body = bodies[each.level]
        try:
            maps[each.level] = estimated_map(
                body, (expected[0], expected[1], expected[2]), shape, back_deg=_back_deg(each, body)
            )
        except VolumeError:
            continue  # no column stands along its axis: the table has its losses all the same
    return maps


def _back_deg(record: GradedVertebra, body: Body) -> float:
    """How far the axis of the losses leans to the back: see :mod:`spinemed.vertebra.estimated`."""
    assert record.anterior is not None
    assert record.posterior is not None
    own = body.heights_of_thirds_mm()
    reach = 2 * body.depth_mm * 2 / 3
    expected = np.arctan((record.anterior.reference_mm - record.posterior.reference_mm) / reach)
    return float((UPPER_SHARE - 0.5) * np.degrees(2 * (expected - np.arctan((own[0] - own[2]) / reach))))


def write_case(case: GradedCase, folder: Path) -> None:
    """Write `grades.json` and `report.html`."""
    from spinemed.vertebra.page import render_case

    write_text(folder / REPORT_FILE, render_case(case))
    write_json(folder / GRADES_FILE, case.report.model_dump(mode="json"))
