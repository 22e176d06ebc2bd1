"""Facts read off a mask are stated only where the field of view decides them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from spinemed.anatomy import REGULAR, Level, Spine
from spinemed.labelling import LabelMask, read_label_mask
from spinemed.labelling.facts import facts_from_levels, facts_from_mask
from spinemed.records import NOT_DETERMINABLE, Finding

UNKNOWN = NOT_DETERMINABLE


def columns(findings: tuple[Finding, ...]) -> tuple[str, str, str]:
    """Thoracic, lumbar and presacral count."""
    found = {finding.kind: finding.value for finding in findings}
    return found["thoracic_count"], found["lumbar_count"], found["presacral_count"]


def counts(findings: tuple[Finding, ...]) -> dict[str, float | None]:
    return {finding.value: finding.amount for finding in findings if finding.kind == "level_count"}


def view(spine: Spine, top: Level, *, sacrum: bool, ribs: bool = True) -> tuple[Finding, ...]:
    levels = spine.between(top, spine.presacral[-1])
    return facts_from_levels(dict.fromkeys(levels, True), sacrum_in_view=sacrum, ribs_visible=ribs)


@pytest.mark.parametrize(
    ("spine", "top", "sacrum", "expected"),
    [
        (REGULAR, Level.C2, True, ("usual", "usual", "24")),
        (REGULAR, Level.C2, False, ("usual", UNKNOWN, UNKNOWN)),
        (REGULAR, Level.T9, True, (UNKNOWN, "usual", UNKNOWN)),
        (REGULAR, Level.L1, True, (UNKNOWN, UNKNOWN, UNKNOWN)),  # the last rib is not in view
        (Spine(13, 5), Level.C2, True, ("T13", "usual", "25")),
        (Spine(13, 5), Level.T9, True, (UNKNOWN, "usual", UNKNOWN)),  # whoever counts upwards calls it T12
        (Spine(12, 6), Level.T11, True, (UNKNOWN, "L6", UNKNOWN)),
        (Spine(12, 6), Level.L1, True, (UNKNOWN, UNKNOWN, UNKNOWN)),
        (Spine(11, 5), Level.C2, False, ("no T12", UNKNOWN, UNKNOWN)),
        (Spine(12, 4), Level.C2, True, ("usual", "no L5", "23")),
    ],
)
def test_anomalies_need_their_field_of_view(
    spine: Spine, top: Level, sacrum: bool, expected: tuple[str, str, str]
) -> None:
    assert columns(view(spine, top, sacrum=sacrum)) == expected


def test_without_ribs_in_the_picture_only_the_whole_column_can_be_counted() -> None:
    assert columns(view(Spine(13, 5), Level.C2, sacrum=True, ribs=False)) == (UNKNOWN, UNKNOWN, "25")
    assert columns(view(REGULAR, Level.T9, sacrum=True, ribs=False)) == (UNKNOWN, UNKNOWN, UNKNOWN)


def test_a_crop_without_an_anchor_counts_vertebrae_and_names_none() -> None:
    levels = {Level.L2: False, Level.L3: True, Level.L4: True}
    found = facts_from_levels(levels, sacrum_in_view=False, ribs_visible=True)
    assert counts(found) == {"all": 2.0}
    assert [(f.level, f.value) for f in found if f.kind == "vertebra"] == [
        (None, "cut"),
        (None, "whole"),
        (None, "whole"),
    ]
    assert columns(found) == (UNKNOWN, UNKNOWN, UNKNOWN)


def test_a_missing_vertebra_in_the_mask_stops_the_count() -> None:
    levels = dict.fromkeys((Level.T12, Level.L1, Level.L3, Level.L4, Level.L5), True)
    found = facts_from_levels(levels, sacrum_in_view=True, ribs_visible=True)
    assert columns(found) == (UNKNOWN, UNKNOWN, UNKNOWN)
    assert counts(found) == {"all": 5.0}


def test_the_bundled_ct_mask(samples: Path) -> None:
    mask = read_label_mask(
        samples / "ct/totalsegmentator_lumbar/example_seg_fast_force_split.nii.gz", scheme="totalsegmentator"
    )
    found = facts_from_mask(mask)
    assert [(f.level, f.value) for f in found if f.kind == "vertebra"] == [
        (Level.T11, "cut"),
        (Level.T12, "cut"),
        *((level, "whole") for level in REGULAR.between(Level.L1, Level.L5)),
    ]
    assert counts(found) == {"all": 5.0, "cervical": 0.0, "thoracic": 0.0, "lumbar": 5.0}
    assert columns(found) == (UNKNOWN, "usual", UNKNOWN)


def test_an_empty_mask_says_nothing_about_names() -> None:
    found = facts_from_mask(LabelMask(np.zeros((4, 4, 4), np.uint8), np.eye(4)))
    assert counts(found) == {"all": 0.0}
    assert columns(found) == (UNKNOWN, UNKNOWN, UNKNOWN)
