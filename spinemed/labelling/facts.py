"""What a vertebra mask says about a spine, as findings for the question writers: levels, counts, anomalies, cuts.

Convention: a fact is stated only where the field of view decides it, by the rule of
:func:`spinemed.anatomy.number_view`; otherwise the finding says "not determinable", although the mask has a number.

=================  ====================================================================================================
kind               meaning
=================  ====================================================================================================
`vertebra`         one per vertebra in view: `level`, and `value` "whole" or "cut" (it touches the head or foot face).
                   `level` is None where the field of view does not decide its name
`level_count`      vertebrae wholly in view: `value` "all", "cervical", "thoracic" or "lumbar", `amount` their number. A
                   region's count is there only if the names of all vertebrae in view are decided
`thoracic_count`   "usual", "T13" or "no T12", if ribs can be seen and the thorax is in view from C2 to L1; else
                   "not determinable"
`lumbar_count`     "usual", "L6" or "no L5", if ribs can be seen and the lumbar spine is in view from the last thoracic
                   vertebra to the sacrum; else "not determinable"
`presacral_count`  `value` "22" to "26" (24 is usual), if all is in view from C2 to the sacrum; else "not determinable"
=================  ====================================================================================================

Trap: counting up from the sacrum supposes twelve thoracic vertebrae. A mask from T9 to the sacrum that names a T13 is
right because its annotator saw more than the crop; whoever sees the crop alone cannot know.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from spinemed.anatomy import Level, Region, Spine, number_view
from spinemed.errors import LevelError
from spinemed.labelling.masks import LabelMask, labels_at_border, vertebra_of_label
from spinemed.records import NOT_DETERMINABLE, Finding

__all__ = ["USUAL", "decided_levels", "facts_from_levels", "facts_from_mask"]

USUAL = "usual"
_UNIT = "vertebrae in view"


def facts_from_mask(mask: LabelMask, *, ribs_visible: bool = True) -> tuple[Finding, ...]:
    """The facts of a three-dimensional mask, head to foot; see the module docstring.

    Args:
        mask: The vertebrae, and the sacrum where the tool labels it (VerSe does not: then it is not in view here).
        ribs_visible: Whether whoever answers can see which vertebrae bear ribs: yes in a CT volume, no in a single
            sagittal layer.
    """
    faces = labels_at_border(mask)
    cut = {vertebra_of_label(label) for label, side in faces.items() if side in "IS"}
    return facts_from_levels(
        {level: level not in cut for level in mask.levels}, sacrum_in_view=mask.has_sacrum, ribs_visible=ribs_visible
    )


def facts_from_levels(
    visible: Mapping[Level, bool], *, sacrum_in_view: bool, ribs_visible: bool
) -> tuple[Finding, ...]:
    """The facts of a field of view, given by its vertebrae.

    Args:
        visible: Each vertebra in view (by the patient's own name), and whether it is wholly in view.
        sacrum_in_view: Whether the sacrum can be seen below them.
        ribs_visible: Whether ribs can be seen.
    """
    levels = tuple(sorted(visible))
    decided = decided_levels(levels, sacrum_in_view=sacrum_in_view, ribs_visible=ribs_visible)
    findings = [
        Finding(kind="vertebra", level=level if level in decided else None, value="whole" if visible[level] else "cut")
        for level in levels
    ]
    whole = [level for level in levels if visible[level]]
    findings.append(Finding(kind="level_count", value="all", amount=float(len(whole)), unit=_UNIT))
    if levels and decided == set(levels):
        for region in (Region.CERVICAL, Region.THORACIC, Region.LUMBAR):
            number = sum(level.region is region for level in whole)
            findings.append(Finding(kind="level_count", value=region.value, amount=float(number), unit=_UNIT))
    findings += _anomalies(levels, sacrum_in_view, ribs_visible)
    return tuple(findings)


def decided_levels(levels: Iterable[Level], *, sacrum_in_view: bool, ribs_visible: bool) -> set[Level]:
    """The vertebrae whose names the field of view decides; none where a vertebra between two others is missing."""
    own = sorted(levels)
    shown = [*own, *([Level.S1] if sacrum_in_view else [])]
    if not own:
        return set()
    try:
        view = number_view(shown, Spine.of(shown), ribs_visible=ribs_visible)
    except LevelError:  # a gap: no count leads across it
        return set()
    return {level for level in own if level not in view.undecided}


def _anomalies(levels: tuple[Level, ...], sacrum: bool, ribs: bool) -> list[Finding]:
    """Whether thorax, lumbar spine and the whole column have their usual numbers of vertebrae."""
    thoracic = lumbar = presacral = NOT_DETERMINABLE
    shown = [*levels, *([Level.S1] if sacrum else [])]
    spine = _column(shown)
    if spine is not None:
        last, low = spine.presacral[6 + spine.thoracic], spine.presacral[-1]  # C7 is the seventh in every column
        present = set(levels)
        if ribs and {Level.C2, last, Level.L1} <= present:
            thoracic = {11: "no T12", 12: USUAL, 13: "T13"}[spine.thoracic]
        if ribs and sacrum and {last, Level.L1, low} <= present:
            lumbar = {4: "no L5", 5: USUAL, 6: "L6"}[spine.lumbar]
        if sacrum and {Level.C2, low} <= present:
            presacral = str(len(spine.presacral))
    return [
        Finding(kind="thoracic_count", value=thoracic),
        Finding(kind="lumbar_count", value=lumbar),
        Finding(kind="presacral_count", value=presacral),
    ]


def _column(shown: list[Level]) -> Spine | None:
    """The spine of an unbroken row of vertebrae; None where one is missing between two others."""
    try:
        spine = Spine.of(shown)
        number_view(shown, spine)
    except LevelError:
        return None
    return spine if shown else None
