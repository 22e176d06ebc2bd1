"""The truth of live questions by other roads than the one that made them: masks, landmarks, pictures, papers."""

from __future__ import annotations

import io
import math
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from bench.live import LiveConfig, make_case
from bench.live.case import Case
from bench.live.findings import fracture_of, height_recipe, height_view
from bench.live.flat import FlatView
from bench.live.levels import decidable_view, level_recipe
from bench.live.planning import RULES, ask_band, ask_total, missing_recipe, vignettes
from bench.live.sides import lateral_herniation, sided
from bench.live.solid import View, draw_solid
from bench.live.solids import SLIP_POINTS, angle_of, slip_of
from spinemed.anatomy import LABEL_MAPS, Disc, Level
from spinemed.marks import COLOURS
from spinemed.phantom.pathology import healthy_twin
from spinemed.phantom.sagittal.scene import Scene
from spinemed.records import Sample, content_hash

CONFIG = LiveConfig(seed=3)
SACRUM = Level.S1.verse_label
HERNIATED: dict[str, object] = {"herniation_share": 1.0}


def pixels(case: Case, sample: Sample) -> NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(case.pictures[sample.images[0]])).convert("RGB"))


def pointed_at(picture: NDArray[np.uint8], view: FlatView) -> Level:
    """What an arrow points at, read from its pixels and the label mask alone."""
    rows, columns = np.nonzero(np.abs(picture.astype(int) - COLOURS["yellow"]).sum(axis=2) < 60)
    tip = columns.min() if view.draw.mirrored else columns.max()
    row = round(float(np.median(rows[columns == tip])))
    step = -1 if view.draw.mirrored else 1
    line = view.image.levels[row, tip::step]
    return LABEL_MAPS["verse"].to_level(int(line[line > 0][0]))


def test_an_arrow_points_at_the_vertebra_that_the_mask_names() -> None:
    seen = 0
    for number in range(8):
        case = Case(CONFIG, number, "level")
        level_recipe(case)
        view = decidable_view(Case(CONFIG, number, "level"))
        for sample in case.samples:
            if "marked_vertebra" in sample.tags:
                assert pointed_at(pixels(case, sample), view).value == sample.answer
                seen += 1
            elif "live_level_choice" in sample.tags:
                chosen = next(option.text for option in sample.options if option.key == sample.answer)
                assert pointed_at(pixels(case, sample), view).value == chosen
                seen += 1
            elif "live_count" in sample.tags:
                mask = view.image.levels
                cut = {*mask[0], *mask[-1], *mask[:, 0], *mask[:, -1]}
                whole = [n for n in np.unique(mask) if n not in {0, SACRUM, *cut}]
                assert sample.answer == str(len(whole))
                seen += 1
    assert seen >= 8


def wall_heights(view: FlatView, place: int) -> NDArray[np.float64]:
    """Height of the front and the back wall of a body, from its corners in the picture."""
    corners = np.array(view.whole[place].corners_px)
    return np.asarray(np.linalg.norm(corners[[0, 1]] - corners[[3, 2]], axis=1))


def test_height_loss_and_canal_are_those_of_corners_and_walls() -> None:
    wedges = 0
    for number in range(6):
        case = Case(CONFIG, number, "height")
        height_recipe(case)
        loss, canal = case.samples
        view = height_view(Case(CONFIG, number, "height"))
        assert loss.evidence == (f"sha256:{content_hash(view.draw)}",)
        place = [x.level for x in view.whole].index(loss.levels[0])
        beside = (wall_heights(view, place - 1) + wall_heights(view, place + 1)) / 2
        ends = 100 * (1 - wall_heights(view, place) / beside)
        broken = fracture_of(view)
        assert broken is not None
        if broken.fracture == "wedge":
            assert float(loss.answer) == pytest.approx(ends.max(), abs=2.0)
            wedges += 1
        scene = Scene(view.draw)
        station = 2 * [v.level for v in view.draw.vertebrae].index(canal.levels[0])
        deep = np.linalg.norm(scene.canal_back[station] - scene.back_walls[station]) * view.draw.spacing_mm
        assert float(canal.answer) == pytest.approx(deep, abs=0.1)
    assert wedges


def inclination(view: View, level: Level, plate: str) -> float:
    """Of an endplate in the picture, degrees; positive where the front is higher."""
    own = view.points[level]
    front, back = np.array(own[f"{plate}_anterior"]), np.array(own[f"{plate}_posterior"])
    rise, run = back[1] - front[1], abs(front[0] - back[0])
    return math.degrees(math.atan2(rise, run))


def test_angles_and_slips_are_those_of_the_points_in_the_picture() -> None:
    standing = draw_solid(Case(CONFIG, 1, "alignment")).radiograph("lateral")
    drawn = inclination(standing, Level.L1, "upper") - inclination(standing, Level.S1, "upper")
    assert angle_of(standing, "lordosis_l1_s1") == pytest.approx(drawn, abs=2.0)
    assert angle_of(standing, "sacral_slope") == pytest.approx(-inclination(standing, Level.S1, "upper"), abs=2.0)

    slipped = draw_solid(
        Case(CONFIG, 2, "slip"),
        lambda one: (found := slip_of(one)) is not None and found.percent > 10,
        pathology={"slip_share": 1.0, "posterior_slip_share": 0.0},
    )
    slip = slip_of(slipped.spine)
    assert slip is not None
    view = slipped.mr("T2")
    lower = view.points[slipped.column.shift(slip.level, 1)]
    front, back = np.array(lower["upper_anterior"]), np.array(lower["upper_posterior"])
    corner = np.array(view.points[slip.level]["lower_posterior"])
    along = (front - back) / np.linalg.norm(front - back)
    measured = 100 * float((corner - back) @ along) / float(np.linalg.norm(front - back))
    assert slip.percent == pytest.approx(measured, abs=3.0)


def test_the_measuring_tool_gets_the_slip_from_the_masks_beside_the_question() -> None:
    from spinemed.measure import measure_masks

    case = make_case(CONFIG, 12, "slip")
    question = case.samples[0]
    assert "volume" in question.tags
    assert {path.split("/")[1] for path in case.volumes} == {question.cluster}
    masks = {path.rsplit("/", 1)[1]: volume for path, volume in case.volumes.items()}
    found = measure_masks(masks["vertebrae.nii.gz"], bodies=masks["bodies.nii.gz"])
    slip = found.disc(Disc(*question.levels))
    assert slip is not None
    assert slip.slip is not None
    assert slip.slip.percent is not None
    assert abs(slip.slip.percent) == pytest.approx(float(question.answer), abs=SLIP_POINTS)


def test_a_convex_side_is_where_the_apex_lies_and_a_flip_carries_the_letter_along() -> None:
    solid = draw_solid(
        Case(CONFIG, 4, "side"), lambda one: len(one.scoliosis) == 1, scoliosis_share=1.0, cobb_deg=(25.0, 45.0)
    )
    curve, view = solid.spine.scoliosis[0], solid.radiograph("frontal", "full")
    ends = [np.array(view.body(level)) for level in (curve.upper_end, curve.lower_end)]
    apex = np.array(view.body(curve.apex))
    share = (apex[1] - ends[0][1]) / (ends[1][1] - ends[0][1])
    on_line = ends[0][0] + share * (ends[1][0] - ends[0][0])
    towards_left_of_picture = apex[0] < on_line  # where the patient's right is
    assert next(iter(view.description.of("scoliosis"))).category == (
        "convex_right" if towards_left_of_picture else "convex_left"
    )
    plain, flipped = (sided(view.picture, "R", flipped=flip) for flip in (False, True))
    columns = view.picture.shape[1]
    changed = np.abs(flipped[:, ::-1].astype(int) - plain).sum(axis=2) > 0
    # Turned back, the flipped picture differs only in the letter itself, in the corner where "R" belongs.
    assert changed.any()
    assert changed[:, columns // 3 :].sum() == 0


def test_a_herniation_lies_on_the_side_where_the_picture_differs_from_the_healthy_one() -> None:
    solid, twin = (
        draw_solid(Case(CONFIG, 5, "side"), lambda one: lateral_herniation(one) is not None, pathology=HERNIATED)
        for _ in range(2)
    )
    found = lateral_herniation(solid.spine)
    assert found is not None
    twin.spine = healthy_twin(twin.spine)
    differs = np.abs(solid.axial(found.disc).picture.astype(float) - twin.axial(found.disc).picture)
    weight = np.where(differs > 40, differs, 0.0).sum(axis=0)
    centre = float((weight * np.arange(len(weight))).sum() / weight.sum())
    assert (centre > len(weight) / 2) == (found.side == "left")  # the patient's left is on the picture's right


WORKED = [
    # Worked examples of the papers' rules, by hand.
    ("TLICS 2005", {"morphology": "burst", "ligaments": "indeterminate", "neurology": "intact"}, 4, "either"),
    ("TLICS 2005", {"morphology": "distraction", "ligaments": "injured", "neurology": "incomplete"}, 10, "operative"),
    ("TL AOSIS 2016", {"morphology": "A3", "neurology": "N0", "modifier": "M1"}, 4, "either"),
    ("TL AOSIS 2016", {"morphology": "A1", "neurology": "NX", "modifier": "none"}, 4, "either"),
    ("TL AOSIS 2016", {"morphology": "B2", "neurology": "N3", "modifier": "none"}, 10, "surgery"),
    (
        "SLIC 2007",
        {"morphology": "burst", "discoligamentous": "indeterminate", "neurology": "incomplete",
         "ongoing_compression": "yes"},
        7, "operative",
    ),
    (
        "SINS 2010",
        {"location": "junctional", "pain": "mechanical", "lesion": "lytic", "alignment": "new_deformity",
         "body": "collapse_above_half", "posterolateral": "unilateral"},
        14, "unstable",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("name", "told", "total", "band"), WORKED)
def test_planning_questions_give_the_worked_examples(name: str, told: dict[str, str], total: int, band: str) -> None:
    rule = next(rule for rule in RULES if rule.name == name)
    case = Case(CONFIG, 0, "planning")
    ask_total(case, rule, dict(told))
    ask_band(case, rule, dict(told), rule.score(**told), next(iter(rule.items)))
    number, choice = case.samples
    assert number.answer == str(total)
    said = next(option.text for option in choice.options if option.key == choice.answer)
    assert said == next(one.statement for one in rule.bands if one.name == band)
    words = vignettes()[name]
    assert all(words[item][answer] in number.messages[0].content for item, answer in told.items())


def test_a_missing_input_that_decides_is_what_must_be_asked() -> None:
    named = 0
    for number in range(30):
        case = Case(CONFIG, number, "missing")
        missing_recipe(case)
        sample = case.samples[0]
        rule = next(rule for rule in RULES if f"rule:{rule.name}" in sample.tags)
        missing = next(tag.removeprefix("ask:") for tag in sample.tags if tag.startswith("ask:"))
        told = vignettes()[rule.name][missing]
        text = sample.messages[0].content.split("\n")[0]
        assert not any(words in text for answer, words in told.items() if answer != "ask")
        if sample.answer_kind == "option":
            chosen = next(option.text for option in sample.options if option.key == sample.answer)
            assert told["ask"] in chosen
            named += 1
        else:
            assert sample.answer == "not determinable"
    assert named >= 10


def test_every_rule_has_words_for_every_answer_a_vignette_may_give() -> None:
    for rule in RULES:
        for item, answers in rule.items.items():
            given = set(vignettes()[rule.name][item]) - {"ask"}
            assert given
            assert given <= set(answers)


def test_real_levels_are_those_of_the_other_published_label(samples: Path) -> None:
    """PAM50's discs name the questions; its levels along the cord, another file, must agree."""
    from bench.live.real import real_recipe
    from spinemed.volume import read_mask, reorient_volume

    mask = reorient_volume(read_mask(samples / "mr/pam50_small/PAM50_small_levels.nii.gz"), "RAS").data
    seen = set()
    for number in range(4):
        case = Case(CONFIG, number, "real")
        real_recipe(case)
        for sample in case.samples[:2]:
            picture = pixels(case, sample)
            rows, _ = np.nonzero(np.abs(picture.astype(int) - COLOURS["cyan"]).sum(axis=2) < 60)
            slice_ = round(mask.shape[2] - 1 - (rows.min() + rows.max()) / 2 / 8)  # 2 mm slices, a quarter mm a pixel
            found = np.unique(mask[:, :, slice_])
            assert Level(sample.answer).ordinal == int(found[found > 0].max())
            seen.add(sample.answer)
    assert len(seen) >= 4
