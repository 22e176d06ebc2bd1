"""The page of one graded scan: one HTML file that loads nothing and runs nothing.

Convention: every value reaches the page through the template's escaping; no clock time and no folder stands on it, so
that equal inputs give equal bytes. Doubts come first: those of the files on top, those of a vertebra in its row before
its numbers, each written out once below the table.

The trap: colour alone says nothing here; every grade is also written.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from spinemed import __version__
from spinemed.marks import png_bytes
from spinemed.measure import GENANT_BORDERS
from spinemed.vertebra.case import GradedCase
from spinemed.vertebra.grading import GradedVertebra, LossRecord
from spinemed.vertebra.maps import SCALE, map_png
from spinemed.vertebra.notes import Notes
from spinemed.vertebra.picture import Midsagittal

__all__ = ["render_case"]

_TEMPLATES = Path(__file__).resolve().parent / "templates"
_NAMES = {0: "none", 1: "mild", 2: "moderate", 3: "severe"}
_LEFT, _RIGHT, _WIDE = -20.0, 70.0, 120.0
"""Ends of the small interval bars in percent, and their length in pixels."""


def render_case(case: GradedCase) -> str:
    """The page as text."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader([_TEMPLATES]), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip
    vertebrae = case.report.vertebrae
    notes = Notes(vertebrae)
    return environment.get_template("report.html.j2").render(
        case=case,
        report=case.report,
        title=f"Vertebral heights: {case.name}",
        version=__version__,
        counts=_counts(vertebrae),
        found=[_finding(each) for each in vertebrae if each.grade is not None and each.grade >= 1],
        common=notes.common,
        notes=notes.rows,
        rows=[_row(each, notes) for each in vertebrae],
        measured=[each for each in vertebrae if each.anterior is not None],
        ticks=[{"x": round(_place(border), 1), "text": f"{border:g}"} for border in GENANT_BORDERS],
        zero=round(_place(0.0), 1),
        maps=[_map(case, each) for each in vertebrae if each.level in case.maps],
        scale=_scale(),
        picture=None if case.picture is None else _picture(case.picture, vertebrae),
        inputs=sorted(case.inputs.items()),
    )


def _counts(vertebrae: Sequence[GradedVertebra]) -> dict[str, int]:
    return {
        "all": len(vertebrae),
        "measured": sum(each.anterior is not None for each in vertebrae),
        "graded": sum(each.grade is not None for each in vertebrae),
        "again": sum(each.look_again for each in vertebrae),
    }


def _finding(each: GradedVertebra) -> dict[str, Any]:
    largest = max((third for third in _thirds(each) if third is not None), key=lambda third: third.percent)
    return {
        "level": str(each.level), "grade": each.grade, "name": _NAMES[each.grade or 0], "shape": each.shape,
        "percent": _percent(largest.percent), "bounds": _bounds(largest), "again": each.look_again,
    }  # fmt: skip


def _thirds(each: GradedVertebra) -> tuple[LossRecord | None, LossRecord | None, LossRecord | None]:
    return each.anterior, each.middle, each.posterior


def _whole(value: float) -> str:
    """A whole number with a true minus sign, and no minus before zero."""
    return f"{round(value)}".replace("-", "−")


def _percent(value: float) -> str:
    return f"{_whole(value)} %"


def _bounds(third: LossRecord) -> str:
    return f"{_whole(third.low)} to {_whole(third.high)} %"


def _place(percent: float) -> float:
    return (min(max(percent, _LEFT), _RIGHT) - _LEFT) / (_RIGHT - _LEFT) * _WIDE


def _row(each: GradedVertebra, notes: Notes) -> dict[str, Any]:
    largest = max((third.percent for third in _thirds(each) if third is not None), default=None)
    return {
        "level": str(each.level), "label": each.label, "doubts": notes.of(each), "again": each.look_again,
        "grade": each.grade, "name": None if each.grade is None else _NAMES[each.grade],
        "extended": each.extended, "shape": each.shape,
        "chances": [f"{round(100 * share)}" for share in each.probabilities or ()] if _doubtful(each) else None,
        "thirds": [None if third is None else _third(third, third.percent == largest) for third in _thirds(each)],
        "beside": [
            _beside(each.wedge_deg, "°"), _beside(each.local_kyphosis_deg, "°"), _beside(each.retropulsion_mm, " mm"),
            _beside(each.canal_compromise_percent, " %"),
        ],
        "unmeasured": "; ".join(each.unmeasured),
    }  # fmt: skip


def _doubtful(each: GradedVertebra) -> bool:
    return each.probabilities is not None and max(each.probabilities) < 0.99


def _beside(value: float | None, unit: str) -> str:
    if value is None:
        return "–"
    text = f"{value + 0.0:.1f}".replace("-", "−") if unit == " mm" else _whole(value)
    return text + unit


def _third(third: LossRecord, largest: bool) -> dict[str, Any]:
    return {
        "percent": _percent(third.percent), "bounds": _bounds(third), "largest": largest,
        "heights": f"{third.height_mm:.1f} of {third.reference_mm:.1f} mm",
        "x": round(_place(third.percent), 1), "low": round(_place(third.low), 1), "high": round(_place(third.high), 1),
    }  # fmt: skip


def _inside(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode('ascii')}"


def _map(case: GradedCase, each: GradedVertebra) -> dict[str, Any]:
    shown = case.maps[each.level]
    return {
        "level": str(each.level), "grade": each.grade, "src": _inside(map_png(shown)),
        "thirds": [_whole(third.percent) for third in _thirds(each) if third is not None],
        "width": round(2.5 * float(shown.x_mm[-1] - shown.x_mm[0])), "kind": shown.kind,
    }  # fmt: skip


def _scale() -> dict[str, Any]:
    low, high = SCALE[0][0], SCALE[-1][0]
    return {
        "stops": [
            {"at": f"{100 * (at - low) / (high - low):.1f}%", "colour": "#{:02x}{:02x}{:02x}".format(*colour)}
            for at, colour in SCALE
        ],
        "ticks": [
            {"at": f"{100 * (at - low) / (high - low):.1f}", "text": f"{at:g}".replace("-", "−")}
            for at in (-20, 0, *GENANT_BORDERS, 60)
        ],
    }


def _picture(picture: Midsagittal, vertebrae: Sequence[GradedVertebra]) -> dict[str, Any]:
    records = {each.level: each for each in vertebrae}
    bodies = []
    high, wide = picture.pixels.shape[:2]
    letters = round(max(0.035 * wide, 6.0), 1)
    for outline in picture.outlines:
        record = records.get(outline.level)
        grade = None if record is None else record.grade
        left = min(x for x, _ in outline.points)
        bodies.append({
            "level": str(outline.level), "grade": "none" if grade is None else str(grade),
            "points": " ".join(f"{x:g},{y:g}" for x, y in outline.points),
            "x": round(left - 0.4 * letters, 1), "y": round(outline.middle[1] + 0.35 * letters, 1),
            "text": f"{outline.level} {'–' if grade is None else grade}"
            + ("?" if record is not None and record.look_again else ""),
        })  # fmt: skip
    return {
        "src": _inside(png_bytes(picture.pixels)), "width": wide, "height": high, "bodies": bodies,
        "behind": picture.behind, "letters": letters, "bar": round(50 / picture.pixel_mm, 1),
        "sideways": f"{picture.sideways_mm:.0f}",
    }  # fmt: skip
