"""Folders in, scores out: every case counted, bad files named, the same bytes again."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.verse import evaluate as module
from bench.verse.evaluate import evaluate_case, evaluate_folder
from bench.verse.records import Scores, Settings, read_scores
from bench.verse.wording import event_rows
from spinemed.anatomy import Level
from spinemed.errors import ReadError, RecordError, VolumeError
from spinemed.geometry import reorient
from spinemed.labelling import LabelMask, write_centroids
from spinemed.metrics import compare_labels
from spinemed.volume import Volume, read_mask, write_nifti

FEW = 100  # bootstrap samples: intervals are not the matter here
GOOD: dict[str, Any] = {}


def run(reference: Path, prediction: Path, out: Path | None = None, **more: Any) -> Scores:
    return evaluate_folder(reference, prediction, out, resamples=FEW, **more)


def test_a_perfect_prediction_scores_one_everywhere(folders: Callable[..., tuple[Path, Path]], tmp_path: Path) -> None:
    scores = run(*folders({"sub-a": GOOD, "sub-b": GOOD}), tmp_path / "out", page=False)
    assert scores.failed == ()
    assert len(scores.vertebrae) == 14
    for vertebra in scores.vertebrae:
        assert (vertebra.dice, vertebra.iou, vertebra.nsd, vertebra.hd_mm, vertebra.assd_mm) == (1, 1, 1, 0, 0)
        assert vertebra.identified
        assert vertebra.offset == 0
        assert vertebra.covered_by == vertebra.level
    row = scores.row("vertebra").values
    assert (row["dice"].value, row["identified"].value, row["hd_penalised_mm"].value) == (1, 1, 0)
    assert read_scores(tmp_path / "out") == scores


def test_a_missing_prediction_counts_as_missed(folders: Callable[..., tuple[Path, Path]]) -> None:
    scores = run(*folders({"sub-a": GOOD, "sub-b": None}))
    row = scores.row("vertebra").values
    assert row["dice"].value == pytest.approx(0.5)
    assert row["identified"].value == pytest.approx(0.5)
    assert row["hd_penalised_mm"].value == pytest.approx(50)
    assert row["localisation_penalised_mm"].value == pytest.approx(500, abs=3)
    assert row["dice_matched"].value == 1
    assert row["dice_matched"].n == 7
    assert [case.case for case in scores.failed] == ["sub-b"]
    assert scores.counts["no_prediction"] == 1
    assert scores.counts["vertebrae_missed"] == 7


def test_an_empty_prediction_scores_zero(folders: Callable[..., tuple[Path, Path]], spine: Any, save: Any) -> None:
    reference, prediction = folders({"sub-a": None, "sub-b": GOOD})
    save(prediction / "sub-a.nii.gz", np.zeros_like(spine()))
    scores = run(reference, prediction)
    own = [vertebra for vertebra in scores.vertebrae if vertebra.case == "sub-a"]
    assert {(v.dice, v.iou, v.nsd, v.identified, v.outcome) for v in own} == {(0, 0, 0, False, "missed")}
    assert {v.hd_mm for v in own} == {None}
    assert scores.cases[0].means["identified"] == 0


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def no_nifti(path: Path) -> None:
    path.write_bytes(gzip.compress(b"not a mask", mtime=0))


def changed(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        import nibabel as nib

        volume = read_mask(path)
        image = nib.Nifti1Image(change(np.array(volume.data)), volume.affine)
        image.set_sform(volume.affine, code=1)
        nib.save(image, path)

    return write


def with_value(value: float) -> Callable[[np.ndarray], np.ndarray]:
    def change(data: np.ndarray) -> np.ndarray:
        other = data.astype(np.float32)
        other[0, 0, 0] = value
        return other

    return change


FAULTS = {
    "cut short": (cut_short, "ReadError", "truncated or damaged gzip"),
    "no NIfTI": (no_nifti, "ReadError", "not a NIfTI file"),
    "negative": (changed(with_value(-1024)), "VolumeError", "negative"),
    "NaN": (changed(with_value(np.nan)), "VolumeError", "not integers"),
    "probabilities": (changed(with_value(0.4)), "VolumeError", "not integers"),
    "unknown label": (changed(with_value(77)), "VolumeError", "label 77"),
    "other grid": (changed(lambda data: data[:, :, 2:]), "VolumeError", "another grid"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_prediction_is_named_and_missed_and_the_others_are_scored(
    folders: Callable[..., tuple[Path, Path]], fault: str
) -> None:
    spoil, kind, words = FAULTS[fault]
    reference, prediction = folders({"sub-a": GOOD, "sub-b": GOOD, "sub-c": GOOD})
    spoil(prediction / "sub-b.nii.gz")
    scores = run(reference, prediction)
    (case,) = scores.failed
    (error,) = case.errors
    assert (case.case, case.status, error.kind) == ("sub-b", "unusable prediction", kind)
    assert words in error.text
    assert error.file == "PREDICTION/sub-b.nii.gz"
    assert error.cure
    by_case = {one.case: one.means["dice"] for one in scores.cases}
    assert by_case == {"sub-a": 1, "sub-b": 0, "sub-c": 1}
    assert {v.outcome for v in scores.vertebrae if v.case == "sub-b"} == {"unusable prediction"}


@pytest.mark.parametrize("fault", ["cut short", "no NIfTI", "negative", "NaN", "unknown label"])
def test_a_faulty_reference_is_named_and_left_out(folders: Callable[..., tuple[Path, Path]], fault: str) -> None:
    spoil, kind, words = FAULTS[fault]
    reference, prediction = folders({"sub-a": GOOD, "sub-b": GOOD})
    spoil(reference / "derivatives" / "sub-b" / "sub-b_seg-vert_msk.nii.gz")
    scores = run(reference, prediction)
    (case,) = scores.failed
    assert (case.status, case.errors[0].kind, case.errors[0].part) == ("unusable reference", kind, "reference")
    assert words in case.errors[0].text
    assert scores.row("vertebra").values["dice"].value == 1
    assert scores.row("vertebra").scans == 1
    assert scores.counts["unusable_reference"] == 1


def test_a_missing_centroid_file_is_named_and_the_masks_are_scored(folders: Callable[..., tuple[Path, Path]]) -> None:
    reference, prediction = folders({"sub-a": GOOD, "sub-b": GOOD})
    (reference / "derivatives" / "sub-b" / "sub-b_seg-subreg_ctd.json").unlink()
    scores = run(reference, prediction)
    (case,) = scores.failed
    assert (case.status, case.errors[0].concerns) == ("scored", "labelling")
    assert "no centroid file" in case.errors[0].text
    row = scores.row("vertebra").values
    assert (row["dice"].n, row["identified"].n) == (14, 7)


def test_a_folder_without_any_centroid_file_says_what_to_do(folders: Callable[..., tuple[Path, Path]]) -> None:
    reference, prediction = folders({"sub-a": GOOD})
    (reference / "derivatives" / "sub-a" / "sub-a_seg-subreg_ctd.json").unlink()
    with pytest.raises(ReadError, match="--centroids mask"):
        run(reference, prediction)
    scores = run(reference, prediction, settings=Settings(centroids="mask"))
    assert scores.row("vertebra").values["identified"].value == 1
    assert any("estimated from the reference masks" in warning for warning in scores.warnings)
    scores = run(reference, prediction, settings=Settings(task="segmentation"))
    assert scores.row("vertebra").values["dice"].value == 1
    assert scores.row("vertebra").values["identified"].n == 0


def test_a_faulty_predicted_centroid_file_spoils_labelling_alone(folders: Callable[..., tuple[Path, Path]]) -> None:
    reference, prediction = folders({"sub-a": GOOD})
    (prediction / "sub-a_ctd.json").write_text("[{")
    (case,) = run(reference, prediction).failed
    assert case.errors[0].concerns == "labelling"
    assert case.means["dice"] == 1
    assert case.means["identified"] == 0


@pytest.mark.parametrize("codes", ["RAS", "PIR", "ASL"])
def test_another_orientation_of_the_same_grid_is_turned_and_counted(
    folders: Callable[..., tuple[Path, Path]], spine: Any, save: Any, affine: np.ndarray, codes: str
) -> None:
    reference, prediction = folders({"sub-a": {"shift": 1}})
    straight = run(reference, prediction)
    data, turned = reorient(spine(shift=1), affine, codes)
    save(prediction / "sub-a.nii.gz", np.ascontiguousarray(data), turned)
    scores = run(reference, prediction)
    assert scores.failed == ()
    assert scores.counts["reoriented"] == 1
    assert f"turned from {codes} to LPS" in scores.cases[0].notes[0]
    for before, after in zip(straight.vertebrae, scores.vertebrae):
        assert after.model_dump(exclude={"localisation_mm", "localisation_penalised_mm"}) == before.model_dump(
            exclude={"localisation_mm", "localisation_penalised_mm"}
        )
        assert after.localisation_mm == pytest.approx(before.localisation_mm, abs=1e-6)


def test_resampling_is_done_only_when_asked_for(
    folders: Callable[..., tuple[Path, Path]], spine: Any, save: Any, affine: np.ndarray
) -> None:
    reference, prediction = folders({"sub-a": None})
    fine = affine.copy()
    fine[:3, :3] /= 2
    fine[:3, 3] -= affine[:3, :3].sum(axis=1) / 4  # the same outer faces
    doubled = spine().repeat(2, 0).repeat(2, 1).repeat(2, 2)
    save(prediction / "sub-a.nii.gz", doubled, fine)
    (case,) = run(reference, prediction).failed
    assert "evaluate with --resample" in case.errors[0].text
    scores = run(reference, prediction, settings=Settings(resample=True))
    assert scores.failed == ()
    assert scores.cases[0].resampled
    assert scores.row("vertebra").values["dice"].value == 1
    assert {each.prediction for each in scores.cases[0].confusion} <= {v.level for v in scores.vertebrae} | {
        "background"
    }


def test_a_shift_is_one_event_and_no_hit(folders: Callable[..., tuple[Path, Path]], shifted: Any) -> None:
    names = shifted((Level.T12, Level.L1, Level.L2), 1)
    reference, prediction = folders({"sub-a": {"calls": names}}, levels=tuple(names))
    (case,) = run(reference, prediction).cases
    assert (case.shift, case.hits, case.means["identified"], case.means["dice"]) == (1, 0, 0, 0)
    assert case.means["dice_any_name"] == 1
    assert [(one.level, one.called, one.offset) for one in case.wrong_levels] == [
        (Level.T12, Level.L1, 1),
        (Level.L1, Level.L2, 1),
        (Level.L2, Level.L3, 1),
    ]


def test_outlines_under_another_name_are_seen_without_centres_too(
    folders: Callable[..., tuple[Path, Path]], shifted: Any
) -> None:
    levels = (Level.T12, Level.L1, Level.L2)
    merged = {Level.L2: Level.L1}  # both outlined as L1: one centre cannot tell, the voxels do
    reference, prediction = folders({"sub-a": {"calls": shifted(levels, 1)}, "sub-b": {"calls": merged}}, levels=levels)
    whole, part = run(reference, prediction, settings=Settings(task="segmentation")).cases
    assert (whole.shift, part.shift) == (1, None)
    assert [(one.level, one.called, one.offset) for one in part.wrong_outlines] == [(Level.L2, Level.L1, -1)]
    (event,) = event_rows([part])
    assert event["detail"] == "L2 outlined as L1 (-1)"


def test_a_view_without_an_anchor_is_also_judged_by_the_best_numbering_it_admits(
    folders: Callable[..., tuple[Path, Path]], shifted: Any
) -> None:
    levels = (Level.T5, Level.T6, Level.T7, Level.T8)
    (case,) = run(*folders({"sub-a": {"calls": shifted(levels, 1)}}, levels=levels)).cases
    assert case.admissible_numberings is not None
    assert case.admissible_numberings > 1
    assert (case.hits, case.hits_admissible) == (0, 4)
    assert (case.means["identified"], case.means["identified_admissible"]) == (0, 1)


def test_each_quantity_is_the_one_its_name_says(spine: Any, affine: np.ndarray) -> None:
    mask = spine()
    other = spine(shift=1, grow=2)
    other[5:15, :8][other[5:15, :8] == Level.L3.verse_label] = 0
    other[12:15][other[12:15] == Level.L3.verse_label] = 0
    other[1:4, 1:5, 1:5] = Level.L3.verse_label  # an island, 6 % of one border and 3 % of both
    settings = Settings(tolerance_mm=3.5, task="segmentation")
    result = evaluate_case(LabelMask(mask, affine), LabelMask(other, affine), settings=settings)
    compared = compare_labels(mask, other, (3.0, 3.0, 3.0), tolerance_mm=3.5)
    assert compared.per_label[Level.L3.verse_label].hd_mm > 50
    for vertebra in result.vertebrae:
        one = compared.per_label[vertebra.level.verse_label]
        assert (vertebra.dice, vertebra.iou, vertebra.nsd) == (one.dice, one.iou, one.surface_dice)
        assert (vertebra.hd_mm, vertebra.hd_largest_mm) == (one.hd_mm, one.hd_largest_mm)
        assert (vertebra.hd95_pooled_mm, vertebra.hd95_directed_mm) == (one.hd95_pooled_mm, one.hd95_max_mm)
        assert (vertebra.assd_mm, vertebra.masd_mm) == (one.assd_mm, one.masd_mm)
        assert (vertebra.volume_reference_mm3, vertebra.components) == (
            one.reference_volume_mm3,
            one.prediction_components,
        )
        # The fields must differ here, or a mixed-up pair would go unseen.
        assert len({one.dice, one.iou, one.surface_dice}) == 3
    island = next(vertebra for vertebra in result.vertebrae if vertebra.level is Level.L3)
    assert island.hd_mm != island.hd_largest_mm
    assert island.hd95_pooled_mm != island.hd95_directed_mm
    assert island.assd_mm != island.masd_mm
    assert island.components == 2


def test_an_outline_given_to_background_or_sacrum_has_no_dice_under_any_name(spine: Any, affine: np.ndarray) -> None:
    mask = spine()
    gone = np.where(mask == Level.L4.verse_label, 0, mask).astype(np.uint8)
    fused = np.where(mask == Level.L5.verse_label, 26, gone).astype(np.uint8)
    result = evaluate_case(LabelMask(mask, affine), LabelMask(fused, affine))
    by_level = {vertebra.level: vertebra for vertebra in result.vertebrae}
    assert (by_level[Level.L4].covered_by, by_level[Level.L4].dice_any_name) == ("background", 0)
    assert (by_level[Level.L5].covered_by, by_level[Level.L5].dice_any_name) == ("sacrum", 0)
    assert by_level[Level.L3].dice_any_name == 1


def test_a_vertebra_at_a_face_of_the_volume_is_marked(spine: Any, affine: np.ndarray) -> None:
    low = affine.copy()
    low[:3, 3] += 13 * affine[:3, 2]
    cut = LabelMask(spine()[:, :, 13:], low)
    result = evaluate_case(cut, cut)
    assert [vertebra.level for vertebra in result.vertebrae if vertebra.at_edge] == [Level.L5]


def test_precision_counts_what_was_predicted_and_is_not_there(folders: Callable[..., tuple[Path, Path]], spine: Any,
                                                              save: Any) -> None:  # fmt: skip
    reference, prediction = folders({"sub-a": {"calls": {Level.L2: None}}})
    mask = spine(calls={Level.L2: None})
    mask[5:15, 18:26, 60:66] = Level.T4.verse_label  # in the middle of the volume, where nothing excuses it
    save(prediction / "sub-a.nii.gz", mask)
    (case,) = run(reference, prediction).cases
    assert (case.hits, case.predicted, case.precision) == (6, 7, pytest.approx(6 / 7))
    assert case.f1 == pytest.approx(2 * 6 / (7 + 7))
    row = run(reference, prediction).row("scan").values
    assert (row["precision"].value, row["f1"].value) == (case.precision, case.f1)


@pytest.mark.parametrize("codes", ["LPS", "PIR"])
def test_a_volume_that_must_hold_the_sacrum_decides_the_numbering(
    spine: Any, centres: Any, affine: np.ndarray, codes: str
) -> None:
    levels = (Level.L3, Level.L4, Level.L5)
    found = []
    for below in (0, 10):  # voxels of 3 mm under the crop: VerSe labels no sacrum, but 76 mm below L5 it must be there
        lower = affine.copy()
        lower[:3, 3] -= below * affine[:3, 2]
        mask = np.pad(spine(levels), ((0, 0), (0, 0), (below, 0)))
        turned = LabelMask(*reorient(mask, lower, codes))
        found.append(evaluate_case(turned, turned, centroids=centres(levels)).case.admissible_numberings)
    assert found[0] > 1
    assert found[1] == 1


def test_a_folder_of_one_mask_a_structure_is_a_prediction_and_all_its_files_count(
    folders: Callable[..., tuple[Path, Path]], spine: Any, save: Any, tmp_path: Path
) -> None:
    reference, prediction = folders({"sub-a": None})
    mask = spine()
    for label in np.unique(mask[mask > 0]):
        name = Level.from_verse(int(label))
        save(prediction / "sub-a" / f"vertebrae_{name}.nii.gz", (mask == label).astype(np.uint8))
    first = run(reference, prediction, tmp_path / "out", page=False)
    assert first.row("vertebra").values["dice"].value == 1
    save(prediction / "sub-a" / "vertebrae_L3.nii.gz", np.zeros_like(mask))
    second = run(reference, prediction, tmp_path / "out", page=False)
    assert second.cases[0].inputs_sha256 != first.cases[0].inputs_sha256
    assert [v.level for v in second.vertebrae if v.outcome == "missed"] == [Level.L3]


def test_swapped_and_duplicated_levels_are_seen(folders: Callable[..., tuple[Path, Path]]) -> None:
    swap = {Level.L2: Level.L3, Level.L3: Level.L2}
    twice = {Level.L2: Level.L3}
    swapped, doubled = run(*folders({"sub-a": {"calls": swap}, "sub-b": {"calls": twice}})).cases
    assert [(one.level, one.offset) for one in swapped.wrong_levels] == [(Level.L2, 1), (Level.L3, -1)]
    assert swapped.shift is None
    by_pair = {(one.reference, one.prediction): one.voxels for one in doubled.confusion}
    assert by_pair["L2", "L3"] == by_pair["L3", "L3"]
    assert ("L2", "L2") not in by_pair


def test_strangers_are_named_and_nothing_matching_is_an_error(
    folders: Callable[..., tuple[Path, Path]], spine: Any, save: Any, tmp_path: Path
) -> None:
    reference, prediction = folders({"sub-a": GOOD})
    save(prediction / "other" / "sub-x.nii.gz", spine())
    assert run(reference, prediction).unmatched_predictions == ("other/sub-x.nii.gz",)
    (prediction / "sub-a.nii.gz").unlink()
    with pytest.raises(ReadError, match="no prediction for any of the 1 cases"):
        run(reference, prediction, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_sacrum_and_coccyx_are_counted_and_not_scored(
    folders: Callable[..., tuple[Path, Path]], spine: Any, save: Any
) -> None:
    reference, prediction = folders({"sub-a": GOOD})
    mask = spine()
    mask[5:8, 5:8, :5] = 26
    save(prediction / "sub-a.nii.gz", mask)
    scores = run(reference, prediction)
    assert scores.cases[0].unscored_labels == {"sacrum": 45}
    assert scores.row("vertebra").values["dice"].value == 1
    assert scores.cases[0].extra == ()


def test_centroids_alone_are_scored_as_labelling(
    folders: Callable[..., tuple[Path, Path]], spine: Any, centres: Any, affine: np.ndarray
) -> None:
    reference, prediction = folders({"sub-a": None, "sub-b": None})
    write_centroids(prediction / "sub-a_ctd.json", centres(), LabelMask(spine(), affine), direction="PIR")
    shutil.move(prediction / "sub-a_ctd.json", prediction / "sub-a_seg-subreg_ctd.json")
    scores = run(reference, prediction, settings=Settings(task="labelling"))
    assert [case.status for case in scores.cases] == ["scored", "no prediction"]
    assert scores.row("vertebra").values["identified"].value == 0.5
    assert scores.row("vertebra").values["localisation_mm"].value == pytest.approx(0, abs=0.01)
    assert scores.row("vertebra").values["dice"].n == 0


def test_compat_gives_the_published_numbers_with_a_warning_per_defect(
    folders: Callable[..., tuple[Path, Path]], shifted: Any
) -> None:
    names = shifted((Level.L1, Level.L2, Level.L3), 1)
    reference, prediction = folders({"sub-a": {"calls": names}}, levels=tuple(names))
    scores = run(reference, prediction, settings=Settings(mode="compat"))
    (case,) = scores.cases
    assert case.official_dice == 1  # blind to labels, as published
    assert scores.row("scan").values["official_dice"].value == 1
    assert scores.row("vertebra").values["dice"].value == 0
    assert (case.precision, case.f1) == (None, None)
    assert any("Dice ignores labels" in warning for warning in case.compat_warnings)
    assert any("extra labels ignored" in warning for warning in scores.warnings)


def test_two_runs_two_places_and_two_processes_give_the_same_bytes(
    folders: Callable[..., tuple[Path, Path]], tmp_path: Path
) -> None:
    reference, prediction = folders({"sub-a": {"shift": 1}, "sub-b": GOOD, "sub-c": None})
    cut_short(prediction / "sub-b.nii.gz")
    run(reference, prediction, tmp_path / "one", published=True)
    shutil.copytree(reference, tmp_path / "else where" / "reference")
    shutil.copytree(prediction, tmp_path / "else where" / "prediction")
    moved = tmp_path / "else where"
    run(moved / "reference", moved / "prediction", tmp_path / "two", workers=2, published=True)
    for name in ("scores.json", "report.html"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    assert str(tmp_path) not in (tmp_path / "one" / "scores.json").read_text()
    assert str(tmp_path) not in (tmp_path / "one" / "report.html").read_text()


def test_a_killed_run_goes_on_and_scores_nothing_twice(
    folders: Callable[..., tuple[Path, Path]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reference, prediction = folders({name: {"shift": 1} for name in ("sub-a", "sub-b", "sub-c")})
    whole = run(reference, prediction, tmp_path / "whole", page=False)

    def stop(done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(reference, prediction, tmp_path / "out", page=False, advance=stop)
    assert not (tmp_path / "out" / "scores.json").exists()
    scored, real = [], module.score_job
    monkeypatch.setattr(module, "score_job", lambda job, key: scored.append(job.case.name) or real(job, key))
    run(reference, prediction, tmp_path / "out", page=False)
    assert scored == ["sub-c"]
    assert (tmp_path / "out" / "scores.json").read_bytes() == (tmp_path / "whole" / "scores.json").read_bytes()
    with pytest.raises(KeyboardInterrupt):
        run(reference, prediction, tmp_path / "out", page=False, settings=Settings(tolerance_mm=3), advance=stop)
    assert not (tmp_path / "out" / "scores.json").exists()  # the old one is not left for the new one's
    run(reference, prediction, tmp_path / "out", page=False)
    scored.clear()
    # Other bytes in, or other settings: scored again. Cases that are gone leave nothing behind.
    shutil.copy(reference / "derivatives" / "sub-a" / "sub-a_seg-vert_msk.nii.gz", prediction / "sub-a.nii.gz")
    assert run(reference, prediction, tmp_path / "out", page=False) != whole
    assert scored == ["sub-a"]
    shutil.rmtree(reference / "derivatives" / "sub-b")
    (tmp_path / "out" / "cases" / ".sub-b.json.x1y2.tmp").write_text("{")
    run(reference, prediction, tmp_path / "out", page=False, settings=Settings(tolerance_mm=2))
    assert scored == ["sub-a", "sub-a", "sub-c"]
    assert sorted(path.name for path in (tmp_path / "out" / "cases").iterdir()) == ["sub-a.json", "sub-c.json"]


def test_one_case_from_python(
    tmp_path: Path, case: Any, save: Any, spine: Any, centres: Any, affine: np.ndarray
) -> None:
    reference = case(tmp_path / "reference", "sub-a")
    prediction = save(tmp_path / "pred.nii.gz", spine(shift=1))
    result = evaluate_case(reference, prediction, centroids=centres())
    assert [vertebra.identified for vertebra in result.vertebrae] == [True] * 7
    assert 0.7 < result.case.means["dice"] < 1
    assert result.vertebrae[0].localisation_mm == pytest.approx(3, abs=2)
    assert evaluate_case(reference, LabelMask(spine(), affine)).case.means["localisation_mm"] == 0
    small = write_other_grid(tmp_path / "small.nii.gz", spine(), affine)
    with pytest.raises(VolumeError, match="another grid"):
        evaluate_case(reference, small)
    with pytest.raises(ReadError, match="cannot be read"):
        evaluate_case(reference, tmp_path / "absent.nii.gz")


def write_other_grid(path: Path, mask: np.ndarray, affine: np.ndarray) -> Path:
    write_nifti(Volume(mask[:, :, :-3], affine, "label"), path)
    return path


def test_a_file_that_holds_no_scores_is_refused(tmp_path: Path) -> None:
    (tmp_path / "scores.json").write_text(json.dumps({"kind": "verse scores"}))
    with pytest.raises(RecordError, match="field 'version'"):
        read_scores(tmp_path)
    with pytest.raises(ReadError, match="cannot be read"):
        read_scores(tmp_path / "absent.json")
