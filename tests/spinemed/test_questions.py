"""Questions with answers by rule: what is asked, what is right, what is offered as wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spinemed.anatomy import REGULAR, Level, Spine
from spinemed.errors import ConfigError
from spinemed.questions import (
    NOT_ASSESSABLE,
    QuestionDraft,
    as_options,
    choice_question,
    construct,
    disc_question,
    disc_text,
    edge_question,
    fracture_question,
    load_templates,
    marked_construct_question,
    neighbour_question,
    neighbouring_constructs,
    neighbouring_levels,
    other_texts,
    overlapping,
    pfirrmann_question,
    question_messages,
    stated_construct_question,
    vertebra_question,
)
from spinemed.records import NOT_DETERMINABLE, Finding, LevelMark, Study

TEMPLATES = load_templates()


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def study(levels: list[Level | None], *, determinable: bool = True, modality: str = "CT") -> Study:
    marks = [LevelMark(level=level, x_px=10, y_px=10 + 10 * n) for n, level in enumerate(levels)]
    return Study(
        id="s",
        source_id="a",
        group_id="g",
        origin="phantom",
        modality=modality,
        plane="sagittal",
        image_sha256="0" * 64,
        width_px=64,
        height_px=64,
        spacing_mm=3,
        marks=tuple(marks),
        numbering_determinable=determinable,
        findings=(Finding(kind="fracture", level=Level.L1, value="wedge"),),
        truth="phantom",
        provenance="{}",
    )


def right(question: QuestionDraft | None) -> str:
    assert question is not None
    if question.answer_kind != "option":
        return question.answer
    return next(option.text for option in question.options if option.key == question.answer)


def test_marked_vertebra_is_named_or_not_determinable() -> None:
    assert right(vertebra_question(study([Level.T12, Level.L1]), 1, TEMPLATES, rng())) == "L1"
    assert right(vertebra_question(study([None, None], determinable=False), 1, TEMPLATES, rng())) == NOT_DETERMINABLE


def test_marked_disc_has_the_name_of_its_neighbours() -> None:
    assert right(disc_question(study([Level.T12, Level.L1, Level.L2]), 0, TEMPLATES, rng())) == "T12/L1"
    assert right(disc_question(study([Level.L4, Level.L5]), 0, TEMPLATES, rng())) == "L4/5"
    assert disc_question(study([Level.L4, Level.L5]), 1, TEMPLATES, rng()) is None
    assert right(disc_question(study([None, None], determinable=False), 0, TEMPLATES, rng())) == NOT_DETERMINABLE


def test_no_disc_between_atlas_and_axis() -> None:
    assert disc_text(Level.C1, Level.C2) is None
    assert disc_text(Level.L4, Level.S1) == "L4/S1"
    assert disc_text(Level.L1, Level.L3) is None


def test_edge_of_a_picture_without_anchor_is_not_determinable() -> None:
    assert right(edge_question(study([], determinable=False), "lowest", TEMPLATES, rng())) == NOT_DETERMINABLE
    assert right(edge_question(study([Level.L3, Level.L4]), "lowest", TEMPLATES, rng())) == "L4"
    assert right(edge_question(study([Level.L3, Level.L4]), "highest", TEMPLATES, rng())) == "L3"


def test_the_next_vertebra_with_a_name_is_not_the_edge() -> None:
    seen = study([None, Level.L3, Level.L4])
    assert edge_question(seen, "highest", TEMPLATES, rng()) is None
    assert right(edge_question(seen, "lowest", TEMPLATES, rng())) == "L4"
    assert edge_question(study([]), "lowest", TEMPLATES, rng()) is None


@pytest.mark.parametrize(
    ("spine", "level", "below"),
    [
        (REGULAR, Level.L5, "S1"),
        (Spine(lumbar=6), Level.L5, "L6"),
        (Spine(lumbar=4), Level.L4, "S1"),
        (Spine(thoracic=13), Level.T12, "T13"),
        (Spine(thoracic=11), Level.T11, "L1"),
        (REGULAR, Level.C7, "T1"),
    ],
)
def test_neighbour_follows_the_patients_own_numbering(spine: Spine, level: Level, below: str) -> None:
    assert right(neighbour_question(spine, level, "below", TEMPLATES, rng())) == below
    assert right(neighbour_question(spine, level, "below", TEMPLATES, rng(), choices=True)) == below


def test_nothing_is_asked_beyond_the_ends() -> None:
    assert neighbour_question(REGULAR, Level.C1, "above", TEMPLATES, rng()) is None
    assert stated_construct_question(REGULAR, Level.C1, TEMPLATES, rng()) is None
    assert stated_construct_question(REGULAR, Level.S1, TEMPLATES, rng()) is None


@given(st.sampled_from(REGULAR.presacral), st.integers(0, 99))
def test_offered_levels_are_neighbours_in_order_and_never_the_one_asked_about(level: Level, seed: int) -> None:
    question = neighbour_question(REGULAR, level, "below", TEMPLATES, rng(seed), choices=True)
    assert question is not None
    texts = [option.text for option in question.options]
    assert len(set(texts)) == 4
    assert level.value not in texts
    offered = [Level(text) for text in texts]
    assert offered == sorted(offered)
    assert max(REGULAR.distance(Level(right(question)), other) for other in offered) <= 4


@given(st.sampled_from(REGULAR.presacral), st.integers(1, 5), st.integers(0, 99))
def test_neighbouring_levels_are_distinct_and_never_the_answer(level: Level, number: int, seed: int) -> None:
    found = neighbouring_levels(REGULAR, level, number, rng(seed))
    assert len(set(found)) == len(found) == number
    assert level not in found


@given(st.sampled_from(REGULAR.presacral[1:]), st.integers(0, 99))
def test_wrong_constructs_are_wrong(level: Level, seed: int) -> None:
    wrong = neighbouring_constructs(REGULAR, level, 3, rng(seed))
    assert construct(REGULAR, level) not in wrong
    assert len(set(wrong)) == len(wrong) == 3


@pytest.mark.parametrize(
    ("spine", "level", "expected"),
    [(REGULAR, Level.L1, "T12-L2"), (REGULAR, Level.L5, "L4-S1"), (Spine(lumbar=6), Level.L5, "L4-L6")],
)
def test_construct_spans_one_above_to_one_below(spine: Spine, level: Level, expected: str) -> None:
    assert right(stated_construct_question(spine, level, TEMPLATES, rng())) == expected
    assert right(stated_construct_question(spine, level, TEMPLATES, rng(), choices=True)) == expected
    marked = marked_construct_question(study([level]), 0, spine, fractured=True, templates=TEMPLATES, rng=rng())
    assert right(marked) == expected


def test_construct_without_anchor_is_not_determinable() -> None:
    question = marked_construct_question(
        study([None], determinable=False), 0, REGULAR, fractured=False, templates=TEMPLATES, rng=rng()
    )
    assert right(question) == NOT_DETERMINABLE


def test_a_grade_that_the_picture_cannot_show_is_not_assessable() -> None:
    assert right(pfirrmann_question(study([Level.L3, Level.L4]), 0, TEMPLATES, rng())) == NOT_ASSESSABLE
    assert pfirrmann_question(study([Level.L3, Level.L4], modality="MR"), 0, TEMPLATES, rng()) is None


def test_fracture_question_lists_its_categories() -> None:
    question = fracture_question(study([Level.L1]), 0, "wedge", TEMPLATES, rng())
    assert question.answer in question.categories
    assert all(category in question.text for category in question.categories)


def test_choice_question_needs_two_wrong_options() -> None:
    template = TEMPLATES["definition_term"]
    common = {"axis": "pathology", "answer": "kyphosis", "rng": rng(), "passage": "a curve"}
    assert choice_question(template, distractors=["lordosis"], **common) is None
    assert choice_question(template, distractors=["Kyphosis", "lordosis"], **common) is None
    assert right(choice_question(template, distractors=["lordosis", "scoliosis"], **common)) == "kyphosis"


def test_printed_options_keep_their_printed_order() -> None:
    printed = ["seven", "twelve", "five", "nine"]
    question = choice_question(
        TEMPLATES["exercise"],
        axis="pathology",
        answer="five",
        distractors=["seven", "twelve", "nine"],
        rng=rng(),
        passage="How many lumbar vertebrae are there?",
        order=printed,
    )
    assert question is not None
    assert [option.text for option in question.options] == printed
    assert question.answer == "C"


def test_overlapping_names_are_told_from_different_conditions() -> None:
    assert overlapping("Scoliosis", "Adolescent idiopathic scoliosis")
    assert overlapping("Herniated Disk", "Intervertebral disc disease")
    assert overlapping("Spinal Cord Injury", "Spinal Cord Injuries")
    assert not overlapping("Osteoporosis", "Ankylosing spondylitis")


def test_other_texts_leaves_out_the_answer_and_repeats() -> None:
    pool = ["Back Pain", "back pain", "Osteoporosis", "Scoliosis"]
    assert sorted(other_texts("osteoporosis", pool, 5, rng())) == ["Back Pain", "Scoliosis"]


def test_every_wording_is_a_question_and_states_the_form_of_the_answer() -> None:
    for template in TEMPLATES.values():
        assert template.ask.startswith("Answer with")
        if template.name != "exercise":
            assert all("?" in wording for wording in template.wordings), template.name


def test_source_text_cannot_pose_as_a_picture_or_a_field() -> None:
    text = TEMPLATES["definition_term"].fill(0, {"passage": "an <image> of $level", "level": "L1"})
    assert "<image>" not in text
    assert "$level" in text
    assert as_options(["<image>"])[0].text == "< image >"


def test_a_missing_value_is_an_error() -> None:
    with pytest.raises(ConfigError, match="asks for \\$level"):
        TEMPLATES["neighbour"].fill(0, {"direction": "above"})


def test_bad_template_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text("mine: {wording: [Why?], ask: Answer with a word.}")
    with pytest.raises(ConfigError, match="mine"):
        load_templates(tmp_path)


def test_messages_put_pictures_first_and_options_last() -> None:
    user, assistant = question_messages("Which?", as_options(["one", "two"]), "B", images=2)
    assert user.content.splitlines() == ["<image>", "<image>", "Which?", "A. one", "B. two"]
    assert (assistant.role, assistant.content) == ("assistant", "B")


def test_same_seed_same_question() -> None:
    one = [vertebra_question(study([Level.L1]), 0, TEMPLATES, rng(n)).text for n in range(20)]
    two = [vertebra_question(study([Level.L1]), 0, TEMPLATES, rng(n)).text for n in range(20)]
    assert one == two
    assert len(set(one)) > 1
