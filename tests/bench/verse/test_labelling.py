"""Strict scoring of labels: what a user reads off one scan."""

from __future__ import annotations

import numpy as np
import pytest

from bench.verse.labelling import EDGE_MM, LabellingScore, score_labelling
from bench.verse.numbering import admissible_numberings, steps_between
from spinemed.anatomy import REGULAR, Level, Spine
from spinemed.labelling import CentroidSet, LabelMask
from spinemed.volume import reorient_volume

SPINE = REGULAR.between(Level.C2, Level.L5)
LUMBAR = REGULAR.between(Level.T11, Level.L5)


def column(levels: tuple[Level, ...], step_mm: float = 25.0, top_mm: float = 0.0) -> CentroidSet:
    return CentroidSet.of({level: (0.0, 0.0, top_mm - step_mm * at) for at, level in enumerate(levels)})


def called(centroids: CentroidSet, names: dict[Level, Level]) -> CentroidSet:
    return CentroidSet.of({names.get(level, level): point for level, point in centroids.items()})


def shifted(centroids: CentroidSet, steps: int, spine: Spine = REGULAR) -> CentroidSet:
    return CentroidSet.of({spine.shift(level, steps): point for level, point in centroids.items()})


def rates(score: LabellingScore) -> tuple[float, float, float]:
    return score.precision, score.recall, score.f1


def volume(height_mm: int, *, top_mm: float = 10.0) -> LabelMask:
    """A 1 mm grid whose head face lies at `top_mm` + 0.5."""
    affine = np.eye(4)
    affine[:3, 3] = (-10, -10, top_mm - height_mm + 1)
    return LabelMask(np.zeros((21, 21, height_mm), np.uint8), affine)


def test_the_truth_scores_one() -> None:
    score = score_labelling(column(SPINE), column(SPINE))
    assert rates(score) == (1.0, 1.0, 1.0)
    assert score.hits == score.predicted == len(SPINE)
    assert (score.shift, score.missed, score.wrong, score.extra, score.runs) == (None, (), (), (), ())
    assert score.matched_mm == score.hits_mm == score.penalised_mm == 0.0


@pytest.mark.parametrize("steps", [-2, -1, 1, 2])
@pytest.mark.parametrize("step_mm", [17.0, 25.0, 34.0])
def test_a_shift_of_the_whole_spine_is_one_event(steps: int, step_mm: float) -> None:
    levels = REGULAR.between(Level.C4, Level.L3)
    score = score_labelling(column(levels, step_mm), shifted(column(levels, step_mm), steps))
    assert score.shift == steps
    assert score.shift_text == f"shift {steps:+d}"
    assert score.recall == 0.0
    assert len(score.wrong) == len(levels)
    assert [(run.first, run.last, run.offset) for run in score.runs] == [(Level.C4, Level.L3, steps)]


def test_a_shift_onto_names_the_spine_does_not_have() -> None:
    reference = column(LUMBAR)
    prediction = called(reference, dict(zip(LUMBAR, (Level.T12, Level.T13, *LUMBAR[3:], Level.L6), strict=True)))
    score = score_labelling(reference, prediction)
    assert [one.offset for one in score.levels] == [1, 1, 1, 1, 1, 1, 1]
    assert score.shift == 1


def test_one_vertebra_that_breaks_ranks_does_not_hide_a_shift_but_a_third_does() -> None:
    names = {level: REGULAR.shift(level, 1) for level in SPINE[:10]}
    reference = column(SPINE[:10])
    most = called(reference, {**names, SPINE[9]: Level.L4})
    assert score_labelling(reference, most).shift == 1
    fewer = called(reference, {**names, SPINE[9]: Level.L4, SPINE[8]: Level.L3, SPINE[7]: Level.L2})
    assert score_labelling(reference, fewer).shift is None


def test_a_single_vertebra_with_a_wrong_name_is_no_shift_of_the_spine() -> None:
    reference = column((Level.L3,))
    score = score_labelling(reference, called(reference, {Level.L3: Level.L4}))
    assert (score.shift, score.wrong[0].offset) == (None, 1)


def test_counting_from_the_sacrum_past_a_missing_t12_shifts_the_thorax_only() -> None:
    spine = Spine(thoracic=11, lumbar=5)
    levels = spine.between(Level.T8, Level.L5)
    reference = column(levels)
    prediction = CentroidSet.of(dict(zip(REGULAR.between(Level.T9, Level.L5), reference.points.values, strict=True)))
    score = score_labelling(reference, prediction)
    assert score.hits == 5
    assert [(run.first, run.last, run.offset) for run in score.runs] == [(Level.T8, Level.T11, 1)]
    assert score.shift is None


def test_steps_go_by_the_reference_s_own_column() -> None:
    assert steps_between(SPINE, Level.T11, Level.L1) == 2
    missing = (Level.T10, Level.T11, Level.L1, Level.L2)
    assert steps_between(missing, Level.T11, Level.L1) == 1
    assert steps_between(missing, Level.L1, Level.T12) == -1
    extra = (Level.T12, Level.T13, Level.L1)
    assert steps_between(extra, Level.L1, Level.T12) == -2
    assert steps_between(SPINE, Level.L5, Level.L6) == 1
    assert steps_between(SPINE, Level.L1, Level.T13) == -1


def test_a_reference_whose_labels_contradict_each_other_is_scored_all_the_same() -> None:
    """T13 without T12 occurs in no spine, but a reference may have lost one mask."""
    reference = column((Level.T11, Level.T13, Level.L1, Level.L2))
    score = score_labelling(reference, shifted(reference, 1, Spine(13, 5)), field_of_view=volume(200))
    assert [one.offset for one in score.levels] == [1, 1, 1, 1]
    assert admissible_numberings(reference.levels) == ({level: level for level in reference.levels},)


def test_two_swapped_levels_are_two_wrong_ones() -> None:
    reference = column(SPINE)
    score = score_labelling(reference, called(reference, {Level.L2: Level.L3, Level.L3: Level.L2}))
    assert [(one.level, one.called, one.offset) for one in score.wrong] == [
        (Level.L2, Level.L3, 1),
        (Level.L3, Level.L2, -1),
    ]
    assert score.recall == score.precision == (len(SPINE) - 2) / len(SPINE)
    assert score.shift is None


def test_nearest_among_all_reference_vertebrae_not_only_the_common_ones() -> None:
    """In the neck a label that lies on its neighbour is nearer than 20 mm to its own place, and still wrong."""
    reference = column((Level.C3, Level.C4, Level.C5), 17.0)
    score = score_labelling(reference, CentroidSet.of({Level.C4: reference[Level.C5]}))
    assert score.hits == 0
    assert score.missed == (Level.C3, Level.C4)
    assert [(one.level, one.called) for one in score.wrong] == [(Level.C5, Level.C4)]


def test_twenty_millimetres_are_too_far() -> None:
    reference = column((Level.L3,))
    for distance, hits in ((19.999, 1), (20.0, 0)):
        prediction = CentroidSet.of({Level.L3: reference[Level.L3] + np.array([distance, 0, 0])})
        score = score_labelling(reference, prediction)
        assert score.hits == hits
        assert score.matched_mm == pytest.approx(distance)
        assert len(score.extra) == 1 - hits


def test_missed_and_extra_are_told_apart() -> None:
    reference = column(SPINE)
    kept = {level: point for level, point in reference.items() if level is not Level.T5}
    score = score_labelling(reference, CentroidSet.of({**kept, Level.L6: (0.0, 0.0, 400.0)}))
    assert score.missed == (Level.T5,)
    assert [(one.level, one.excuse) for one in score.extra] == [(Level.L6, "")]
    assert score.recall == (len(SPINE) - 1) / len(SPINE)
    assert score.precision == (len(SPINE) - 1) / len(SPINE)


def test_a_second_name_for_a_vertebra_is_extra() -> None:
    reference = column(LUMBAR)
    prediction = CentroidSet.of({**dict(reference.items()), Level.L6: reference[Level.L5] + np.array([0, 0, -5.0])})
    score = score_labelling(reference, prediction)
    assert score.recall == 1.0
    assert [(one.level, one.nearest) for one in score.extra] == [(Level.L6, Level.L5)]
    assert score.precision == len(LUMBAR) / (len(LUMBAR) + 1)


def test_empty_predictions_and_empty_references() -> None:
    nothing, reference = CentroidSet.of({}), column(LUMBAR)
    empty = score_labelling(reference, nothing)
    assert rates(empty) == (0.0, 0.0, 0.0)
    assert (empty.missed, empty.matched_mm, empty.penalised_mm) == (LUMBAR, None, 1000.0)
    assert rates(score_labelling(nothing, reference)) == (0.0, 0.0, 0.0)
    assert rates(score_labelling(nothing, nothing)) == (1.0, 1.0, 1.0)


def test_localisation_error_with_and_without_penalty() -> None:
    reference = column((Level.L1, Level.L2, Level.L3, Level.L4), 40.0)
    prediction = CentroidSet.of(
        {
            Level.L1: reference[Level.L1] + np.array([3.0, 4.0, 0.0]),
            Level.L2: reference[Level.L2] + np.array([0.0, 0.0, 1.0]),
            Level.L3: reference[Level.L3] + np.array([30.0, 0.0, 0.0]),
        }
    )
    score = score_labelling(reference, prediction)
    assert score.hits_mm == pytest.approx((5 + 1) / 2)
    assert score.matched_mm == pytest.approx((5 + 1 + 30) / 3)
    assert score.penalised_mm == pytest.approx((5 + 1 + 30 + 1000) / 4)
    assert [one.penalised_mm for one in score.levels] == pytest.approx([5, 1, 30, 1000])


def test_a_cut_vertebra_at_the_edge_is_excused_and_counted() -> None:
    reference = column(REGULAR.between(Level.T12, Level.L4))
    cut = CentroidSet.of({**dict(reference.items()), Level.T11: (0.0, 0.0, 24.0), Level.L5: (0.0, 0.0, -124.0)})
    view = volume(170, top_mm=30.0)  # faces at +30.5 and -139.5
    score = score_labelling(reference, cut, field_of_view=view)
    assert rates(score) == (1.0, 1.0, 1.0)
    assert [(one.level, one.excuse) for one in score.excused] == [
        (Level.T11, "cut at the edge"),
        (Level.L5, "cut at the edge"),
    ]
    assert score.predicted == 5
    assert score_labelling(reference, cut).precision == 5 / 7  # nothing is excused where the view is not known
    far = score_labelling(reference, cut, field_of_view=volume(400, top_mm=130.0))
    assert (far.excused, far.precision) == ((), 5 / 7)


@pytest.mark.parametrize(
    ("levels", "name", "excused"),
    [
        (("L1", "L2", "L3"), "T12", True),
        (("L1", "L2", "L3"), "T13", True),  # what lies above is out of view: the patient may have it
        (("L1", "L2", "L3"), "T11", True),
        (("L1", "L2", "L3"), "T10", False),
        (("T11", "T12", "L1"), "T9", False),
        (("T11", "T12", "L1"), "T10", True),
    ],
)
def test_only_a_name_that_may_follow_is_excused(levels: tuple[str, ...], name: str, excused: bool) -> None:
    reference = column(tuple(map(Level, levels)))
    prediction = CentroidSet.of({**dict(reference.items()), Level(name): (0.0, 0.0, 25.0)})
    score = score_labelling(reference, prediction, field_of_view=volume(120, top_mm=30.0))
    assert bool(score.excused) is excused


def test_the_edge_is_found_in_any_orientation() -> None:
    """The same scan with its axes turned and flipped excuses the same vertebra."""
    reference = column(REGULAR.between(Level.T12, Level.L4))
    prediction = CentroidSet.of({**dict(reference.items()), Level.T11: (0.0, 0.0, 24.0)})
    view = volume(170, top_mm=30.0)
    for codes in ("RAS", "PIR", "LPS", "SRA", "ILP"):
        assert score_labelling(reference, prediction, field_of_view=reorient_volume(view.volume, codes)).excused


def test_a_cut_neck_vertebra_is_excused_although_it_lies_within_reach_of_the_next() -> None:
    """In the neck the visible rest of a cut vertebra lies nearer than 20 mm to the first annotated one."""
    reference = column(REGULAR.between(Level.C4, Level.C7), 17.0)
    view = volume(90, top_mm=20.0)
    cut = CentroidSet.of({**dict(reference.items()), Level.C3: (0.0, 0.0, 14.0)})
    score = score_labelling(reference, cut, field_of_view=view)
    assert (score.precision, [one.level for one in score.excused]) == (1.0, [Level.C3])
    second_name = CentroidSet.of({**dict(reference.items()), Level.C3: (0.0, 0.0, 5.0)})
    assert score_labelling(reference, second_name, field_of_view=view).excused == ()


def test_an_extra_inside_the_volume_or_between_vertebrae_is_not_excused() -> None:
    reference = column(REGULAR.between(Level.T12, Level.L4), 60.0)
    prediction = CentroidSet.of({**dict(reference.items()), Level.L5: (0.0, 0.0, -210.0)})  # between L3 and L4
    score = score_labelling(reference, prediction, field_of_view=volume(265, top_mm=10.0), edge_mm=EDGE_MM)
    assert [(one.level, one.excuse) for one in score.extra] == [(Level.L5, "")]


def test_a_level_listed_without_coordinates_is_neither_missed_nor_held_against_a_prediction() -> None:
    reference = column(LUMBAR[:-1])
    listed = CentroidSet(reference.levels, reference.points, missing=(Level.L5,))
    prediction = CentroidSet.of({**dict(reference.items()), Level.L5: (0.0, 0.0, -155.0)})
    score = score_labelling(listed, prediction)
    assert rates(score) == (1.0, 1.0, 1.0)
    assert score.excused[0].excuse == "listed without coordinates"
    assert score_labelling(listed, reference).recall == 1.0


def test_a_crop_without_an_anchor_is_judged_by_what_it_admits() -> None:
    levels = REGULAR.between(Level.L2, Level.L4)
    admitted = admissible_numberings(levels)
    assert {tuple(names.values()) for names in admitted} == {
        (Level.L2, Level.L3, Level.L4),
        (Level.L1, Level.L2, Level.L3),
        (Level.L3, Level.L4, Level.L5),
    }
    reference = column(levels)
    score = score_labelling(reference, shifted(reference, 1), admissible=admitted)
    assert (score.recall, score.shift) == (0.0, 1)  # the plain score stays
    assert score.admissible is not None
    assert (score.admissible.score.recall, score.admissible.score.shift) == (1.0, None)
    assert score.admissible.names[Level.L2] is Level.L3
    wrong = score_labelling(reference, shifted(reference, 2), admissible=admitted)
    assert wrong.admissible is not None
    assert wrong.admissible.score.recall == 0.0


def test_an_anchor_admits_one_numbering() -> None:
    for levels, sacrum in (
        (REGULAR.between(Level.T11, Level.L2), False),  # the last rib and the vertebra below it
        (REGULAR.between(Level.C2, Level.C6), False),
        (REGULAR.between(Level.L2, Level.L5), True),
    ):
        assert len(admissible_numberings(levels, sacrum_in_view=sacrum)) == 1
    assert len(admissible_numberings(REGULAR.between(Level.L2, Level.L5))) > 1
    assert len(admissible_numberings(REGULAR.between(Level.T5, Level.T8))) == 3
    # Without ribs in the picture a lumbar vertebra may be the last thoracic one.
    without = admissible_numberings(REGULAR.between(Level.L1, Level.L3), ribs_visible=False)
    assert Level.T12 in {names[Level.L1] for names in without}
    assert all(
        names[Level.L1].region == "lumbar" for names in admissible_numberings(REGULAR.between(Level.L1, Level.L3))
    )
