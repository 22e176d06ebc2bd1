"""A description says what one image shows of a phantom, and never a grade that it cannot show."""

import numpy as np
import pytest
from pydantic import ValidationError

from spinemed.anatomy import CountingConvention, Disc, Level
from spinemed.errors import LevelError, SpineMedError
from spinemed.phantom.pathology.config import PathologyConfig
from spinemed.phantom.pathology.describe import describe
from spinemed.phantom.pathology.draw import draw_pathologies
from spinemed.phantom.pathology.findings import FieldOfView, Measurement, SpineDescription, SpineFinding
from spinemed.phantom.pathology.records import (
    Cage,
    CanalStenosis,
    DiscDegeneration,
    ForaminalStenosis,
    Fracture,
    Herniation,
    Mimic,
    ModicChange,
    Screws,
    Slip,
)
from spinemed.phantom.pathology.views import draw_field, rsna_rows, study_findings
from spinemed.phantom.spine.config import SpineConfig
from spinemed.phantom.spine.draw import draw_spine
from spinemed.records import Finding
from spinemed.tables import read_records, write_records

L34, L45, L51 = Disc(Level.L3, Level.L4), Disc(Level.L4, Level.L5), Disc(Level.L5, Level.S1)
MR: dict = {"modality": "MR", "sequences": ("T1", "T2")}
LUMBAR = FieldOfView(levels=(Level.T12, Level.L1, Level.L2, Level.L3, Level.L4, Level.L5, Level.S1), ribs_visible=False)


@pytest.fixture(scope="module")
def spine():
    pathologies = (
        Fracture(
            level=Level.T12, shape="wedge", anterior_loss_percent=38, middle_loss_percent=24, posterior_loss_percent=2
        ),
        Fracture(
            level=Level.T8, shape="wedge", anterior_loss_percent=5, middle_loss_percent=3, posterior_loss_percent=0
        ),
        Slip(level=Level.L4, percent=33.3),
        DiscDegeneration(disc=L45, pfirrmann=4, height_loss_percent=40),
        Herniation(
            disc=L51, type="extrusion", zone="subarticular", side="left", depth_mm=6, base_mm=5, migration_mm=-7
        ),
        CanalStenosis(disc=L45, schizas="C", area_loss_percent=72),
        ForaminalStenosis(disc=L51, side="right", lee=2, area_loss_percent=60),
        ModicChange(disc=L45, type=2, height_mm=8),
        Mimic(level=Level.L1, type="short_height"),
    )
    return draw_spine(20, 1, SpineConfig(variant_shares={})).model_copy(update={"pathologies": pathologies})


def only(description, kind, **wanted):
    (found,) = [f for f in description.of(kind) if all(getattr(f, name) == value for name, value in wanted.items())]
    return found


def test_a_fracture_has_its_grade_and_losses_in_thin_ct(spine):
    finding = only(describe(spine, modality="CT", slice_thickness_mm=1.0), "fracture", level=Level.T12)
    assert (finding.category, finding.grade, finding.scheme, finding.status) == (
        "wedge",
        "2",
        "Genant 1993",
        "assessable",
    )
    assert finding.amount("anterior_loss") == 38
    assert finding.amount("height_loss") == 38
    assert 5 < finding.amount("height_lost") < 12
    with pytest.raises(SpineMedError, match="no cobb was measured"):
        finding.amount("cobb")


def test_three_millimetre_ct_cannot_carry_a_loss_of_five_percent(spine):
    thick = only(describe(spine, modality="CT", slice_thickness_mm=3.0), "fracture", level=Level.T8)
    assert thick.status == "not_assessable"
    assert "slices 3 mm thick" in thick.reason
    assert thick.grade is None
    assert not thick.measurements
    thin = only(describe(spine, modality="CT", slice_thickness_mm=0.8), "fracture", level=Level.T8)
    assert thin.grade == "0"


def test_genant_is_silent_outside_t4_to_l4():
    fracture = Fracture(
        level=Level.L5, shape="wedge", anterior_loss_percent=30, middle_loss_percent=20, posterior_loss_percent=0
    )
    broken = draw_spine(20, 1, SpineConfig(variant_shares={})).model_copy(update={"pathologies": (fracture,)})
    finding = only(describe(broken, modality="CT"), "fracture")
    assert finding.status == "assessable"
    assert finding.grade is None
    assert finding.amount("height_loss") == 30


def test_a_mimic_is_listed_and_is_no_fracture(spine):
    description = describe(spine, modality="CT")
    assert only(description, "mimic").category == "short_height"
    assert Level.L1 not in {finding.level for finding in description.of("fracture")}
    at_l1 = [f for f in study_findings(description) if f.level == Level.L1 and f.kind == "fracture"]
    assert [(f.value, f.amount) for f in at_l1] == [("none", 0.0)]


def test_mr_grades_and_ct_does_not(spine):
    mr, ct = describe(spine, **MR), describe(spine, modality="CT")
    for kind, disc, grade in (
        ("disc_degeneration", L45, "IV"),
        ("modic", L45, "2"),
        ("canal_stenosis", L45, "C"),
        ("foraminal_stenosis", L51, "2"),
    ):
        assert only(mr, kind, disc=disc).grade == grade
        hidden = only(ct, kind, disc=disc)
        assert hidden.status == "not_assessable"
        assert hidden.grade is None
        assert hidden.reason
    assert only(ct, "disc_height").amount("height_loss") == 40  # the height is seen where the signal is not
    assert only(mr, "canal_stenosis").rsna == "severe"


def test_one_sequence_decides_what_can_be_graded(spine):
    t1 = describe(spine, modality="MR", sequences=("T1",), plane="sagittal")
    assert only(t1, "disc_degeneration").status == "not_assessable"
    assert only(t1, "modic").status == "not_assessable"
    assert only(t1, "foraminal_stenosis").grade == "2"
    t2_axial = describe(spine, modality="MR", sequences=("T2",), plane="axial")
    assert only(t2_axial, "canal_stenosis").grade == "C"
    assert only(t2_axial, "foraminal_stenosis").status == "not_assessable"


def test_a_slip_has_direction_grade_and_length(spine):
    finding = only(describe(spine, modality="XR"), "slip")
    assert (finding.category, finding.subtype, finding.grade, finding.disc) == (
        "anterolisthesis",
        "degenerative",
        "II",
        L45,
    )
    assert finding.amount("slip") == pytest.approx(33.3)
    depth = next(v.body.upper_depth_mm for v in spine.vertebrae if v.level == Level.L5)
    assert finding.amount("slip_length") == pytest.approx(0.333 * depth, abs=0.01)
    back = spine.model_copy(update={"pathologies": (Slip(level=Level.L3, percent=12, direction="posterior"),)})
    finding = only(describe(back, modality="XR"), "slip")
    assert (finding.category, finding.grade) == ("retrolisthesis", None)


def test_a_herniation_keeps_side_zone_and_migration(spine):
    finding = only(describe(spine, **MR), "herniation")
    assert (finding.category, finding.side, finding.zone) == ("extrusion", "left", "subarticular")
    assert finding.amount("migration") == -7
    assert only(describe(spine, modality="XR"), "herniation").status == "not_assessable"


def test_what_is_outside_the_image_has_no_grade(spine):
    description = describe(spine, modality="CT", field=LUMBAR)
    outside = only(description, "fracture", level=Level.T8)
    assert outside.status == "outside"
    assert "T8 outside" in outside.reason
    assert outside.grade is None
    assert only(description, "fracture", level=Level.T12).status == "assessable"
    assert Level.T8 not in {finding.level for finding in study_findings(description)}


def test_an_artefact_hides_its_levels(spine):
    field = LUMBAR.model_copy(update={"artefact_levels": (Level.L5,)})
    description = describe(spine, **MR, field=field)
    assert only(description, "canal_stenosis").reason == "artefact at L5"
    assert only(description, "fracture", level=Level.T12).status == "assessable"


def test_metal_hides_the_discs_beside_it_in_mr_but_not_the_heights_in_ct(spine):
    screws = Screws(levels=(Level.L3, Level.L4), diameter_mm=5)
    metal = spine.model_copy(update={"pathologies": (*spine.pathologies, screws, Cage(disc=L34))})
    mr = describe(metal, **MR)
    assert "metal artefact at L4" in only(mr, "disc_degeneration", disc=L45).reason
    assert only(mr, "herniation").status == "assessable"  # L5/S1 is further away
    ct = describe(metal, modality="CT")
    assert [finding.level for finding in ct.of("screws")] == [Level.L3, Level.L4]
    assert only(ct, "disc_height").status == "assessable"


def test_an_unseen_finding_cannot_carry_a_grade():
    base = {"kind": "fracture", "levels": (Level.L1,), "category": "wedge"}
    with pytest.raises(ValidationError, match="no grade and no measurement"):
        SpineFinding(**base, status="outside", reason="cut", grade="2")
    loss = Measurement(name="height_loss", value=30, unit="percent")
    with pytest.raises(ValidationError, match="no grade and no measurement"):
        SpineFinding(**base, status="not_assessable", reason="thick", measurements=(loss,))
    with pytest.raises(ValidationError, match="a reason"):
        SpineFinding(**base, status="not_assessable")


# --- numbering and views ---------------------------------------------------------------------------------------------


def test_numbers_are_undecided_without_an_anchor(spine):
    field = FieldOfView(levels=(Level.T8, Level.T9, Level.T10, Level.T11, Level.T12), ribs_visible=False)
    description = describe(spine, modality="MR", sequences=("T1",), field=field)
    assert not description.numbering_determinable
    assert description.counted_from is None
    assert set(description.undecided_levels) == set(field.levels)
    finding = only(description, "fracture", level=Level.T12)
    assert finding.status == "assessable"  # it is seen, only its name is not known
    assert not finding.numbered
    assert all(found.level is None for found in study_findings(description))
    whole = describe(spine, modality="CT")
    assert whole.numbering_determinable
    assert whole.counted_from is CountingConvention.FROM_LAST_RIB


@pytest.mark.parametrize("kind", ["whole", "no_anchor", "artefact", "level_outside"])
def test_a_view_of_a_kind_leaves_that_undecided(spine, kind):
    for seed in range(25):
        field = draw_field(spine, kind, np.random.default_rng(seed), modality="CT")
        description = describe(spine, modality="CT", field=field)
        assert description.numbering_determinable is not (kind == "no_anchor") or kind == "level_outside"
        reasons = [finding.reason for finding in description.findings]
        assert any("artefact" in reason for reason in reasons) == (kind == "artefact")
        if kind == "level_outside":
            assert any(f.status == "outside" for f in description.findings if f.source is not None)


def test_only_a_pathological_level_can_be_left_out(spine):
    healthy = spine.model_copy(update={"pathologies": ()})
    with pytest.raises(SpineMedError, match="draw a pathology"):
        draw_field(healthy, "level_outside", np.random.default_rng(0))


def test_a_view_with_a_gap_is_refused(spine):
    with pytest.raises(LevelError, match="gap"):
        describe(spine, modality="CT", field=FieldOfView(levels=(Level.L1, Level.L3)))


# --- alignment, rows, round trip -------------------------------------------------------------------------------------


def test_alignment_belongs_to_a_posture(spine):
    standing, lying = describe(spine, modality="XR"), describe(spine, modality="CT")
    for description, posture in ((standing, "standing"), (lying, "supine")):
        pelvis = {f.category: f.amount(f.category) for f in description.of("pelvic")}
        assert pelvis["pelvic_incidence"] == pytest.approx(pelvis["pelvic_tilt"] + pelvis["sacral_slope"], abs=0.02)
        assert pelvis["pelvic_incidence"] == pytest.approx(spine.person.pelvic_incidence_deg, abs=0.01)
        assert {f.subtype for f in description.of("alignment")} == {posture}
    lordosis = [only(d, "alignment", category="lordosis_l1_s1").amount("lordosis_l1_s1") for d in (standing, lying)]
    assert lordosis[0] > lordosis[1]
    assert only(standing, "alignment", category="sagittal_vertical_axis").status == "assessable"
    assert only(lying, "alignment", category="sagittal_vertical_axis").status == "not_assessable"


def test_hips_outside_leave_incidence_unmeasured(spine):
    field = LUMBAR.model_copy(update={"hips_visible": False})
    found = {f.category: f.status for f in describe(spine, modality="XR", field=field).of("pelvic")}
    assert found == {
        "pelvic_incidence": "not_assessable",
        "pelvic_tilt": "not_assessable",
        "sacral_slope": "assessable",
    }


def test_rsna_rows_grade_what_is_healthy_and_what_is_hidden(spine):
    rows = {(row.condition, str(row.disc)): row.grade for row in rsna_rows(describe(spine, **MR), spine)}
    assert len(rows) == 25
    assert rows["spinal_canal_stenosis", "L4/5"] == "severe"
    assert rows["right_neural_foraminal_narrowing", "L5/S1"] == "moderate"
    assert rows["left_neural_foraminal_narrowing", "L5/S1"] == "normal_mild"
    # An extrusion of 6 mm in the left recess of a canal some 17 mm deep.
    assert rows["left_subarticular_stenosis", "L5/S1"] == "moderate"
    assert rows["right_subarticular_stenosis", "L5/S1"] == "normal_mild"
    sagittal = {row.condition: row.grade for row in rsna_rows(describe(spine, **MR, plane="sagittal"), spine)}
    assert sagittal["left_subarticular_stenosis"] == "not assessable"
    assert {row.grade for row in rsna_rows(describe(spine, modality="CT"), spine)} == {"not assessable"}
    upper = FieldOfView(levels=(Level.T11, Level.T12, Level.L1, Level.L2), ribs_visible=False)
    grades = [row.grade for row in rsna_rows(describe(spine, **MR, field=upper), spine)]
    assert grades == ["normal_mild"] * 5 + ["outside the image"] * 20
    with pytest.raises(SpineMedError, match="another spine"):
        rsna_rows(describe(spine, **MR), draw_spine(20, 2))


@pytest.mark.parametrize("index", range(6))
def test_any_description_reads_back_as_it_was(index):
    drawn = draw_pathologies(draw_spine(9, index), PathologyConfig(), np.random.default_rng(index))
    for image in ({"modality": "CT", "slice_thickness_mm": 3.0}, MR, {"modality": "XR", "plane": "frontal"}):
        description = describe(drawn, **image)
        assert SpineDescription.model_validate_json(description.model_dump_json()) == description
        assert set(description.visible) <= set(description.findings)


# --- discs reach a study ---------------------------------------------------------------------------------------------


def test_what_a_disc_has_reaches_the_study_with_grade_side_and_amount(spine):
    found = {(f.kind, str(f.disc)): f for f in study_findings(describe(spine, **MR)) if f.disc is not None}
    assert {kind for kind, _ in found} == {
        "slip",
        "disc_degeneration",
        "disc_height",
        "herniation",
        "canal_stenosis",
        "foraminal_stenosis",
        "modic",
    }
    worn = found["disc_degeneration", "L4/5"]
    assert (worn.grade, worn.scheme, worn.level) == ("IV", "Pfirrmann 2001", None)
    herniation = found["herniation", "L5/S1"]
    assert (herniation.value, herniation.side, herniation.amount, herniation.unit) == (
        "extrusion subarticular",
        "left",
        6.0,
        "mm",
    )
    canal = found["canal_stenosis", "L4/5"]
    assert (canal.value, canal.grade, canal.amount) == ("severe", "C", 72.0)
    assert (found["slip", "L4/5"].grade, found["slip", "L4/5"].unit) == ("II", "percent of the endplate below")
    assert found["modic", "L4/5"].grade == "2"


def test_a_disc_grade_that_ct_cannot_show_does_not_reach_the_study(spine):
    shown = {f.kind for f in study_findings(describe(spine, modality="CT")) if f.disc is not None}
    assert shown == {"slip", "disc_height", "herniation"}


def test_a_disc_without_an_anchor_has_no_name_in_the_study(spine):
    field = FieldOfView(levels=(Level.L3, Level.L4, Level.L5), ribs_visible=False)
    found = [f for f in study_findings(describe(spine, **MR, field=field)) if f.kind == "disc_degeneration"]
    assert [(f.disc, f.level, f.grade) for f in found] == [(None, None, "IV")]


def test_a_study_with_disc_findings_survives_its_table(spine, tmp_path):
    findings = study_findings(describe(spine, **MR))
    write_records(tmp_path / "findings.parquet", Finding, findings)
    assert tuple(read_records(tmp_path / "findings.parquet", Finding)) == findings


def test_a_finding_of_a_vertebra_is_written_as_before_there_were_discs():
    plain = Finding(kind="fracture", level=Level.L1, value="wedge", amount=32.0, unit="percent").model_dump(mode="json")
    assert plain == {"kind": "fracture", "level": "L1", "value": "wedge", "amount": 32.0, "unit": "percent"}


def test_a_thin_axial_stack_beside_the_sacrum_names_nothing(spine):
    two = FieldOfView(levels=(Level.L5, Level.S1), ribs_visible=False)
    axial: dict = {**MR, "plane": "axial"}
    assert describe(spine, **axial, field=two).counted_from is CountingConvention.FROM_SACRUM
    unseen = describe(spine, **axial, field=two.model_copy(update={"ends_visible": False}))
    assert (unseen.numbering_determinable, unseen.counted_from) == (False, None)
    assert unseen.undecided_levels == (Level.L5, Level.S1)
    assert not any(finding.numbered for finding in unseen.visible)
