"""Views of a phantom: fields that leave something undecided, and descriptions in the form that others read.

Convention: `draw_field` draws a field of view of a kind; `study_findings` and `rsna_rows` translate a description. The
trap: a view without an anchor still shows pathology. Only the *names* of its levels are undecidable, so its findings
keep their status and lose their level when they become a study's findings.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeGuard

import numpy as np

from spinemed.anatomy import Disc, Level, number_view
from spinemed.errors import SpineMedError
from spinemed.phantom.pathology.describe import View, spine_of, view_of, whole_field
from spinemed.phantom.pathology.findings import FieldOfView, SpineDescription, SpineFinding
from spinemed.phantom.pathology.grades import FindingKind, Modality, assessable, rsna_subarticular_grade
from spinemed.phantom.pathology.records import Herniation, Pathology, Side
from spinemed.records import Finding, Record

if TYPE_CHECKING:
    from spinemed.phantom.spine.records import SpinePhantom

__all__ = ["RsnaCondition", "RsnaRow", "ViewKind", "draw_field", "rsna_rows", "study_findings"]

ViewKind = Literal["whole", "no_anchor", "artefact", "level_outside"]
RsnaCondition = Literal[
    "spinal_canal_stenosis",
    "left_neural_foraminal_narrowing",
    "right_neural_foraminal_narrowing",
    "left_subarticular_stenosis",
    "right_subarticular_stenosis",
]
_LEAST_LEVELS = 4
_OF_DISCS = (
    "slip",
    "disc_degeneration",
    "disc_height",
    "herniation",
    "canal_stenosis",
    "foraminal_stenosis",
    "modic",
)
_PERCENT_OF: dict[str, str] = {
    "fracture": "percent of the healthy height",
    "disc_height": "percent of the healthy height",
    "slip": "percent of the endplate below",
    "canal_stenosis": "percent of the healthy area",
    "foraminal_stenosis": "percent of the healthy area",
}
"""What a percentage is a share of."""
_MAIN: dict[str, str] = {
    "fracture": "height_loss",
    "schmorl": "depth",
    "osteophyte": "length",
    "lesion": "diameter",
    "slip": "slip",
    "disc_height": "height_loss",
    "herniation": "depth",
    "canal_stenosis": "area_loss",
    "foraminal_stenosis": "area_loss",
    "modic": "height",
}
"""The measurement that stands for a finding where there is room for one."""


def draw_field(
    spine: SpinePhantom, kind: ViewKind, rng: np.random.Generator, *, modality: Modality = "CT"
) -> FieldOfView:
    """A field of view of a kind.

    Args:
        spine: The phantom.
        kind: "whole"; "no_anchor": neither the upper neck, nor ribs, nor the sacrum to count from; "artefact": one to
            three levels hidden, a pathological one among them if there is one; "level_outside": the field ends before
            a pathological level.
        rng: The only source of randomness.
        modality: Decides what a whole field shows besides vertebrae.

    Raises:
        SpineMedError: "level_outside" of a spine without pathology, or whose pathology leaves no field.
    """
    whole = whole_field(spine, modality)
    order = list(whole.levels)
    if kind == "whole":
        return whole
    if kind == "no_anchor":
        inner = [level for level in order if level > Level.C2 and level is not Level.S1]
        count = int(rng.integers(_LEAST_LEVELS, min(10, len(inner)) + 1))
        start = int(rng.integers(0, len(inner) - count + 1))
        field = FieldOfView(levels=tuple(inner[start : start + count]), ribs_visible=False, hips_visible=False)
        assert not number_view(field.levels, spine_of(spine)).anchors
        return field
    touched = sorted({level for item in spine.pathologies for level in _levels(item)} & set(order))
    if kind == "artefact":
        middle = order.index(touched[int(rng.integers(len(touched)))]) if touched else int(rng.integers(len(order)))
        reach = int(rng.integers(0, 2))
        hidden = tuple(order[max(middle - reach, 0) : middle + reach + 1])
        return whole.model_copy(update={"artefact_levels": hidden})
    fields = []
    for level in touched:
        at = order.index(level)
        above, below = order[:at], order[at + 1 :]
        fields += [part for part in (above, below) if len(part) >= _LEAST_LEVELS]
    if not fields:
        raise SpineMedError(
            "no pathological level can be left out of the image", field="kind", cure="draw a pathology into the spine"
        )
    levels = tuple(fields[int(rng.integers(len(fields)))])
    low = Level.S1 in levels
    return FieldOfView(levels=levels, ribs_visible=whole.ribs_visible, hips_visible=whole.hips_visible and low)


def _levels(item: Pathology) -> tuple[Level, ...]:
    disc: Disc | None = getattr(item, "disc", None)
    if disc is not None:
        return disc.upper, disc.lower
    return getattr(item, "levels", None) or (item.level,)  # type: ignore[union-attr]


def study_findings(description: SpineDescription) -> tuple[Finding, ...]:
    """The findings of vertebrae and discs as a study carries them (`spinemed.records.Finding`).

    Only what the image shows; a level or disc whose name is undecidable is left out of the finding, not guessed. Where
    fractures can be seen at all, every whole vertebra from C2 down without one is listed as "none" with a loss of 0;
    discs are listed with what they have. The value of a stenosis is its RSNA grade. Alignment, scoliosis, transition
    and implants have no place in that record and are not translated.
    """
    found = [
        Finding(kind="modality", value=description.modality),
        Finding(kind="plane", value=description.plane),
        Finding(kind="level_count", value=f"{description.thoracic} thoracic, {description.lumbar} lumbar"),
    ]
    found += [_study_finding(finding) for finding in description.visible if _belongs(finding)]
    if assessable("fracture", modality=description.modality, sequences=description.sequences, plane=description.plane):
        broken = {finding.level for finding in description.of("fracture")}
        hidden = broken | set(description.field.artefact_levels)
        whole = [level for level in description.field.levels if Level.C2 <= level < Level.S1 and level not in hidden]
        found += [
            Finding(
                kind="fracture",
                level=None if level in description.undecided_levels else level,
                value="none",
                amount=0.0,
                unit=_PERCENT_OF["fracture"],
            )
            for level in whole
        ]
    return tuple(found)


def _belongs(finding: SpineFinding) -> bool:
    if finding.kind in _OF_DISCS:
        return finding.disc is not None
    return finding.kind in ("fracture", "schmorl", "osteophyte", "lesion", "mimic") and finding.level is not None


def _study_finding(finding: SpineFinding) -> Finding:
    main = next((one for one in finding.measurements if one.name == _MAIN.get(finding.kind)), None)
    value = finding.rsna or finding.category
    if finding.kind in ("osteophyte", "herniation"):
        value = f"{finding.category} {finding.subtype or finding.zone}"
    unit = ""
    if main is not None:
        unit = _PERCENT_OF[finding.kind] if main.unit == "percent" else main.unit
    return Finding(
        kind=finding.kind,  # type: ignore[arg-type]
        level=finding.level if finding.numbered else None,
        disc=finding.disc if finding.numbered else None,
        side=finding.side,
        value=value,
        grade=finding.grade,
        scheme=finding.scheme or None if finding.grade is not None else None,
        amount=None if main is None else main.value,
        unit=unit,
    )


class RsnaRow(Record):
    """One row of the RSNA 2024 lumbar layout."""

    condition: RsnaCondition
    """Which stenosis."""
    disc: Disc
    """At which disc."""
    grade: Literal["normal_mild", "moderate", "severe", "not assessable", "outside the image"]
    """In that set's words, or why there is none."""


def rsna_rows(description: SpineDescription, spine: SpinePhantom) -> tuple[RsnaRow, ...]:
    """The set's five conditions at the last five lumbar discs; normal_mild where an image shows that nothing is wrong.

    Subarticular stenosis comes from herniations in that zone alone: worn facets and ligaments that narrow a recess are
    not drawn. Like the canal it is read from axial T2.

    Raises:
        SpineMedError: the description is of another spine.
    """
    view = view_of(description, spine)
    rows = []
    for shape in spine.discs[-5:]:
        rows += [_rsna_row(description, view, shape.disc, side) for side in (None, *_SIDES)]
        rows += [_recess_row(view, shape.disc, side) for side in _SIDES]
    return tuple(rows)


def _rsna_row(description: SpineDescription, view: View, disc: Disc, side: Side | None) -> RsnaRow:
    kind: FindingKind = "canal_stenosis" if side is None else "foraminal_stenosis"
    there = [finding for finding in description.of(kind) if finding.disc == disc and finding.side == side]
    # A healthy place is graded by whether the image could show a stenosis there.
    finding = there[0] if there else view.finding(kind, disc, "none", side=side, rsna="normal_mild")
    return _row(_CONDITION[side], disc, finding)


def _recess_row(view: View, disc: Disc, side: Side) -> RsnaRow:
    depth = max((one.depth_mm for one in view.spine.pathologies if _in_recess(one, disc, side)), default=0.0)
    canal = next(v.arch.canal_depth_mm for v in view.spine.vertebrae if v.level is disc.upper)
    grade = rsna_subarticular_grade(min(100.0 * depth / canal, 100.0))
    finding = view.finding("canal_stenosis", disc, "subarticular", side=side, rsna=grade)
    return _row("left_subarticular_stenosis" if side == "left" else "right_subarticular_stenosis", disc, finding)


def _in_recess(item: Pathology, disc: Disc, side: Side) -> TypeGuard[Herniation]:
    return isinstance(item, Herniation) and (item.disc, item.side, item.zone) == (disc, side, "subarticular")


def _row(condition: RsnaCondition, disc: Disc, finding: SpineFinding) -> RsnaRow:
    if finding.status == "outside":
        return RsnaRow(condition=condition, disc=disc, grade="outside the image")
    return RsnaRow(condition=condition, disc=disc, grade=finding.rsna or "not assessable")


_SIDES: tuple[Side, Side] = ("left", "right")
_CONDITION: dict[Side | None, RsnaCondition] = {
    None: "spinal_canal_stenosis",
    "left": "left_neural_foraminal_narrowing",
    "right": "right_neural_foraminal_narrowing",
}
