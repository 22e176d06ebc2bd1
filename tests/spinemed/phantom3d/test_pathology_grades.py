"""Each grade is given by its published definition, and only where the image can show it."""

import pytest

from spinemed.errors import SpineMedError
from spinemed.measure.grades import genant_grade, meyerding_grade
from spinemed.phantom.pathology.grades import (
    assessable,
    axial_zone,
    disc_displacement,
    endplate_circumference_mm,
    lee_foraminal_grade,
    migration_zone,
    modic_type,
    pfirrmann_grade,
    rsna_canal_grade,
    rsna_foraminal_grade,
    rsna_subarticular_grade,
    schizas_grade,
)


@pytest.mark.parametrize(
    ("percent", "grade"),
    [(0, "0"), (0.1, "I"), (25, "I"), (25.1, "II"), (50, "II"), (75, "III"), (100, "IV"), (100.1, "V"), (-30, "0")],
)
def test_meyerding_borders_belong_to_the_lower_grade(percent, grade):
    assert meyerding_grade(percent) == grade


@pytest.mark.parametrize(("loss", "grade"), [(19.9, 0), (20, 1), (24.9, 1), (25, 2), (39.9, 2), (40, 3), (5, 0)])
def test_genant_bands_are_half_open(loss, grade):
    assert genant_grade(loss, 0.0, 3.0) == grade


@pytest.mark.parametrize(
    ("structure", "distinction", "collapsed", "grade"),
    [
        ("homogeneous_bright", "clear", False, 1),
        ("inhomogeneous", "clear", False, 2),
        ("gray", "unclear", False, 3),
        ("gray_to_black", "lost", False, 4),
        ("black", "lost", False, 4),
        ("black", "lost", True, 5),
    ],
)
def test_pfirrmann(structure, distinction, collapsed, grade):
    found = pfirrmann_grade(sequences=["T2"], structure=structure, distinction=distinction, collapsed=collapsed)
    assert found == grade


def test_pfirrmann_is_refused_without_t2_and_for_what_is_no_grade():
    with pytest.raises(SpineMedError, match="T2 only"):
        pfirrmann_grade(sequences=["T1", "STIR"], structure="black", distinction="lost")
    with pytest.raises(SpineMedError, match="no Pfirrmann grade"):
        pfirrmann_grade(sequences=["T2"], structure="homogeneous_bright", distinction="lost")


@pytest.mark.parametrize(
    ("t1", "t2", "kind"),
    [
        ("low", "high", 1),
        ("high", "intermediate", 2),
        ("high", "high", 2),
        ("low", "low", 3),
        ("intermediate", "intermediate", 0),
    ],
)
def test_modic(t1, t2, kind):
    assert modic_type(t1, t2) == kind


def test_modic_needs_both_sequences():
    for pair in ((None, "high"), ("low", None)):
        with pytest.raises(SpineMedError, match="T1 and T2"):
            modic_type(*pair)
    with pytest.raises(SpineMedError, match="no Modic type"):
        modic_type("high", "low")


def test_displaced_disc_is_named_by_arc_base_dome_and_continuity():
    assert disc_displacement(arc_deg=0, base_mm=0, dome_mm=0) == "normal"
    assert disc_displacement(arc_deg=95, base_mm=30, dome_mm=30) == "bulge"
    assert disc_displacement(arc_deg=90, base_mm=30, dome_mm=30) == "protrusion"
    assert disc_displacement(arc_deg=40, base_mm=10, dome_mm=10) == "protrusion"
    assert disc_displacement(arc_deg=40, base_mm=10, dome_mm=10.1) == "extrusion"
    assert disc_displacement(arc_deg=40, base_mm=10, dome_mm=8, beyond_disc_level=True) == "extrusion"
    assert disc_displacement(arc_deg=40, base_mm=10, dome_mm=8, continuous=False) == "sequestration"


def test_the_two_editions_differ_over_a_third_of_the_circumference():
    # 95° is a bulge since 2014 and was a broad-based herniation in 2001.
    assert disc_displacement(arc_deg=95, base_mm=30, dome_mm=30, edition=2001) == "protrusion"
    assert disc_displacement(arc_deg=200, base_mm=60, dome_mm=60, edition=2001) == "bulge"


def test_zones_run_from_the_midline_outwards_on_both_sides():
    borders = {"facet_mm": 6.0, "pedicle_inner_mm": 12.0, "pedicle_outer_mm": 24.0}
    assert [axial_zone(x, **borders) for x in (0, 6, -8, 12, 18, -24, 25)] == [
        "central",
        "central",
        "subarticular",
        "subarticular",
        "foraminal",
        "foraminal",
        "extraforaminal",
    ]
    with pytest.raises(SpineMedError, match="do not rise"):
        axial_zone(3.0, facet_mm=6.0, pedicle_inner_mm=5.0, pedicle_outer_mm=7.0)


def test_a_fragment_passes_the_pedicle_from_its_near_edge():
    sizes = {"disc_height_mm": 8.0, "pedicle_below_endplate_mm": 3.0, "pedicle_height_mm": 14.0}
    assert [migration_zone(z, **sizes) for z in (-3, -6, -12, -25)] == [
        "disc",
        "suprapedicular",
        "pedicular",
        "infrapedicular",
    ]
    assert [migration_zone(z, **sizes) for z in (6, 12, 25)] == ["infrapedicular", "pedicular", "suprapedicular"]


@pytest.mark.parametrize(
    ("loss", "schizas", "rsna"),
    [(0, "A", "normal_mild"), (33, "A", "normal_mild"), (34, "B", "moderate"), (66, "B", "moderate"),
     (67, "C", "severe"), (85, "C", "severe"), (86, "D", "severe")],
)  # fmt: skip
def test_central_stenosis(loss, schizas, rsna):
    assert schizas_grade(loss) == schizas
    assert rsna_canal_grade(schizas) == rsna


@pytest.mark.parametrize(
    ("loss", "lee", "rsna"),
    [(0, 0, "normal_mild"), (20, 1, "normal_mild"), (50, 2, "moderate"), (75, 3, "severe"), (100, 3, "severe")],
)
def test_foraminal_stenosis(loss, lee, rsna):
    assert lee_foraminal_grade(loss) == lee
    assert rsna_foraminal_grade(lee) == rsna


def test_an_area_loss_is_a_percentage():
    with pytest.raises(SpineMedError, match="0 to 100"):
        schizas_grade(101)
    with pytest.raises(SpineMedError, match="0 to 100"):
        lee_foraminal_grade(float("nan"))


def test_circumference_of_a_circle():
    assert endplate_circumference_mm(20, 20) == pytest.approx(62.832, abs=0.001)


@pytest.mark.parametrize(
    ("kind", "image", "possible"),
    [
        ("disc_degeneration", {"modality": "MR", "sequences": ["T2"]}, True),
        ("disc_degeneration", {"modality": "MR", "sequences": ["T1"]}, False),
        ("disc_degeneration", {"modality": "CT"}, False),
        ("modic", {"modality": "MR", "sequences": ["T1", "T2"]}, True),
        ("modic", {"modality": "MR", "sequences": ["T2", "STIR"]}, False),
        ("modic", {"modality": "CT"}, False),
        ("canal_stenosis", {"modality": "MR", "sequences": ["T2"], "plane": "axial"}, True),
        ("canal_stenosis", {"modality": "MR", "sequences": ["T2"], "plane": "sagittal"}, False),
        ("foraminal_stenosis", {"modality": "MR", "sequences": ["T1"], "plane": "sagittal"}, True),
        ("foraminal_stenosis", {"modality": "MR", "sequences": ["STIR"], "plane": "sagittal"}, False),
        ("foraminal_stenosis", {"modality": "MR", "sequences": ["T1"], "plane": "axial"}, False),
        ("herniation", {"modality": "XR", "plane": "lateral"}, False),
        ("herniation", {"modality": "CT"}, True),
        ("fracture", {"modality": "XR", "plane": "frontal"}, False),
        ("fracture", {"modality": "XR", "plane": "lateral"}, True),
        ("scoliosis", {"modality": "XR", "plane": "lateral"}, False),
        ("scoliosis", {"modality": "XR", "plane": "frontal"}, True),
        ("lesion", {"modality": "XR", "plane": "lateral", "subtype": "lytic"}, False),
        ("lesion", {"modality": "XR", "plane": "lateral", "subtype": "blastic"}, True),
        ("cage", {"modality": "XR", "plane": "lateral", "subtype": "peek"}, False),
        ("osteophyte", {"modality": "XR", "plane": "lateral", "subtype": "left"}, False),
        ("osteophyte", {"modality": "XR", "plane": "frontal", "subtype": "anterior"}, False),
        ("schmorl", {"modality": "XR", "plane": "frontal"}, False),
        ("transition", {"modality": "XR", "plane": "frontal"}, True),
        ("transition", {"modality": "XR", "plane": "lateral"}, False),
    ],
)
def test_what_an_image_can_show(kind, image, possible):
    verdict = assessable(kind, **image)
    assert bool(verdict) is possible
    assert bool(verdict.reason) is not possible


def test_thick_slices_hide_a_small_loss_only_across_them():
    five_percent = 0.05 * 27.0
    thick = assessable("fracture", modality="CT", slice_thickness_mm=3.0, size_mm=five_percent)
    assert not thick
    assert "3 mm thick" in thick.reason
    assert assessable("fracture", modality="CT", slice_thickness_mm=1.0, size_mm=five_percent)
    assert assessable("fracture", modality="CT", slice_thickness_mm=3.0, size_mm=0.25 * 27.0)
    sagittal = {"modality": "MR", "sequences": ["T1"], "plane": "sagittal"}
    assert assessable("fracture", **sagittal, slice_thickness_mm=3.0, size_mm=five_percent)


def test_sequences_belong_to_mr():
    with pytest.raises(SpineMedError, match="needs its sequences"):
        assessable("fracture", modality="MR")
    with pytest.raises(SpineMedError, match="no sequences"):
        assessable("fracture", modality="CT", sequences=["T1"])


def test_subarticular_grade_follows_what_fills_the_recess():
    assert [rsna_subarticular_grade(loss) for loss in (0, 19.9, 20, 39.9, 40, 100)] == [
        "normal_mild",
        "normal_mild",
        "moderate",
        "moderate",
        "severe",
        "severe",
    ]
    with pytest.raises(SpineMedError):
        rsna_subarticular_grade(101)
