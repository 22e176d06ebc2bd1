"""One case: two masks (and centres) to the records of its vertebrae.

Convention: the reference's grid is the one that counts. A prediction that is the same grid with permuted or flipped
axes is turned onto it and the case says so; any other grid is refused, unless resampling was asked for (nearest voxel,
0 outside, which can bring no new label). Spacing goes with the array axes as they are. Vertebrae are C1 to L6 with T13;
sacrum, coccyx and what else a tool labels is counted and not scored.

Who is at fault decides what follows. A prediction that cannot be used counts as absent: all its vertebrae are missed. A
reference that cannot be used leaves nothing to score. Either way the case carries a named error.

Trap: equal shapes are no equal grids, and equal grids may have different shapes (another axis order).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from bench.faults import error_fields
from bench.verse.aggregate import scan_means
from bench.verse.compat import CompatScore, CompatWarning, compat_dice, compat_score, dice_warnings
from bench.verse.labelling import LabellingScore, LevelScore, score_labelling
from bench.verse.numbering import admissible_numberings, steps_between
from bench.verse.records import (
    CaseError,
    CaseResult,
    CaseScore,
    Confusion,
    ExtraLevel,
    Outcome,
    Settings,
    ShiftRun,
    Status,
    VertebraScore,
    WrongLevel,
    anomalies_of,
    view_of,
)
from spinemed.anatomy import Level, Region
from spinemed.errors import SpineMedError, VolumeError
from spinemed.geometry import WorldPoints, world_to_voxel
from spinemed.labelling import CentroidSet, LabelMask, body_centroids, labels_at_border, vertebra_of_label
from spinemed.metrics import LabelComparison, compare_labels
from spinemed.volume import grid_difference, reorient_volume, resample_like

__all__ = ["Aligned", "Inputs", "align", "as_error", "score_case", "structure_name"]

_SACRUM, _COCCYX = 26, 27
_LEVELS = {level.value: level for level in Level if level.region in (Region.CERVICAL, Region.THORACIC, Region.LUMBAR)}
_SACRUM_BELOW_MM = 55.0
"""From the centre of the last lumbar body to the lower end of S1, at least: half a body, a disc, and S1."""


@dataclass(frozen=True, eq=False)
class Inputs:
    """What one case is scored from, read and in world millimetres.

    Attributes:
        case: Name.
        patient: Cluster of intervals.
        reference: Mask; None where it cannot be used.
        centroids: Reference centres; None where labelling is not scored.
        prediction: Mask; None where there is none, or none that can be used.
        predicted_centroids: Predicted centres; by default estimated from the predicted mask.
        errors: What went wrong in reading.
    """

    case: str
    patient: str
    reference: LabelMask | None
    centroids: CentroidSet | None
    prediction: LabelMask | None
    predicted_centroids: CentroidSet | None = None
    errors: tuple[CaseError, ...] = ()


@dataclass(frozen=True, eq=False)
class Aligned:
    """A prediction on the reference's grid."""

    mask: LabelMask
    how: Literal["same", "reoriented", "resampled"]
    notes: tuple[str, ...] = ()


def align(reference: LabelMask, prediction: LabelMask, *, resample: bool = False) -> Aligned:
    """Bring a prediction onto the reference's grid.

    Args:
        reference: The mask whose grid counts.
        prediction: Any mask.
        resample: Resample a truly different grid instead of refusing it.

    Raises:
        VolumeError: The grids differ by more than axis order and direction, and resampling was not asked for.
    """
    if grid_difference(reference.volume, prediction.volume) is None:
        return Aligned(prediction, "same")
    turned = reorient_volume(prediction.volume, reference.volume.codes)
    difference = grid_difference(turned, reference.volume)
    if difference is None:
        note = f"the prediction was turned from {prediction.volume.codes} to {reference.volume.codes}"
        return Aligned(_like(prediction, turned.data, turned.affine), "reoriented", (note,))
    if not resample:
        raise VolumeError(
            f"the prediction lies on another grid than the reference: {difference}",
            file=prediction.source or None,
            field="affine",
            cure="write predictions on the grid of the scan, or evaluate with --resample",
        )
    moved = resample_like(prediction.volume, reference.volume, fill=0)
    result = _like(prediction, moved.data, reference.affine)
    lost = sorted(set(prediction.levels) - set(result.levels))
    notes = [f"the prediction was resampled onto the reference ({difference})"]
    if lost:
        notes.append(f"resampling left no voxel of {', '.join(lost)}")
    return Aligned(result, "resampled", tuple(notes))


def _like(mask: LabelMask, data: Any, affine: Any) -> LabelMask:
    # The voxels are counted anew: resampling changes them.
    return replace(mask, data=data, affine=affine, counts={})


def structure_name(label: int) -> str:
    """A VerSe label in words: a level, "sacrum", "coccyx" or "background"."""
    level = vertebra_of_label(label)
    if level is not None:
        return level.value
    return {0: "background", _SACRUM: "sacrum", _COCCYX: "coccyx"}[label]


def as_error(
    error: SpineMedError,
    part: Literal["reference", "prediction", "pair"],
    *,
    concerns: Literal["everything", "labelling", "segmentation"] = "everything",
    roots: Mapping[str, str] | None = None,
) -> CaseError:
    """An error as a record, with folders written by what they are: the same data elsewhere give the same bytes.

    Args:
        error: What was raised.
        part: Whose fault it is.
        concerns: What cannot be scored because of it.
        roots: From folder to what stands for it.
    """
    return CaseError.model_validate({"part": part, "concerns": concerns, **error_fields(error, roots)})


def score_case(inputs: Inputs, settings: Settings, *, roots: Mapping[str, str] | None = None) -> CaseResult:
    """Score one case. Errors of its files become part of the result; see the module docstring.

    Args:
        inputs: What was read, with the errors met in reading.
        settings: How to score.
        roots: As for :func:`as_error`.

    Returns:
        The case and its vertebrae; the key is empty.
    """
    errors = list(inputs.errors)
    needed = inputs.centroids if settings.task == "labelling" else inputs.reference
    if needed is None:
        lost = CaseScore(case=inputs.case, patient=inputs.patient, status="unusable reference", errors=tuple(errors))
        return CaseResult(key="", case=lost, vertebrae=())

    prediction, aligned = inputs.prediction, None
    if inputs.reference is not None and prediction is not None and settings.task != "labelling":
        try:
            aligned = align(inputs.reference, prediction, resample=settings.resample)
        except VolumeError as error:
            errors.append(as_error(error, "pair", roots=roots))
            prediction = None
    unusable = any(error.part != "reference" and error.concerns == "everything" for error in errors)
    predicted = None if unusable else _predicted_centroids(inputs, prediction, settings)
    status: Status = "scored"
    if unusable:
        status = "unusable prediction"
    elif prediction is None and (predicted is None or settings.task != "labelling"):
        status = "no prediction"

    comparison = None
    if inputs.reference is not None and settings.task != "labelling":
        comparison = _compare(inputs.reference, aligned, settings)
    labelled, official = None, None
    if inputs.centroids is not None and settings.task != "segmentation":
        predicted = CentroidSet.of({}) if predicted is None else predicted
        labelled = _label(inputs.centroids, predicted, inputs.reference)
        if settings.mode == "compat":
            official = compat_score(inputs.centroids, predicted, grid=inputs.reference)
    levels = _levels(inputs, settings)
    anomaly = anomalies_of(levels)
    edges = {} if inputs.reference is None else labels_at_border(inputs.reference)
    scored = {} if labelled is None else {one.level: one for one in labelled.levels}
    vertebrae = tuple(
        VertebraScore(
            case=inputs.case,
            patient=inputs.patient,
            level=level,
            region=level.region,
            anomaly=anomaly,
            at_edge=level.verse_label in edges,
            outcome=_outcome(status, level, comparison, scored.get(level)),
            **_segmented(level, comparison, settings),
            **_named(level, scored.get(level), labelled, official),
        )
        for level in levels
    )
    case = CaseScore(
        case=inputs.case,
        patient=inputs.patient,
        status=status,
        levels=levels,
        field_of_view=view_of(levels),
        anomaly=anomaly,
        errors=tuple(errors),
        notes=_notes(inputs, aligned, levels, settings),
        reoriented=aligned is not None and aligned.how == "reoriented",
        resampled=aligned is not None and aligned.how == "resampled",
        unscored_labels=_unscored(prediction),
        confusion=() if comparison is None else _confusion(comparison),
        means=scan_means(vertebrae),
        **_events(labelled),
    )
    case = case.model_copy(update=_outlines(levels, vertebrae, labelled is not None))
    if settings.mode == "compat":
        case = case.model_copy(update=_official(inputs, aligned, comparison, official))
    return CaseResult(key="", case=case, vertebrae=vertebrae)


def _official(
    inputs: Inputs, aligned: Aligned | None, comparison: LabelComparison | None, official: CompatScore | None
) -> dict[str, Any]:
    """What the published code reports of a case; it knows no precision."""
    warnings: list[CompatWarning] = []
    facts: dict[str, Any] = {"precision": None, "f1": None}
    if official is not None:
        facts |= {"hits": official.hits, "recall": official.rate}
        warnings += official.warnings
    if comparison is not None and inputs.reference is not None:
        data = inputs.reference.data
        other = np.zeros_like(data) if aligned is None else aligned.mask.data
        per_label = [one.dice for one in comparison.per_label.values() if one.reference_voxels and one.dice is not None]
        facts["official_dice"] = compat_dice(data, other)
        warnings += dice_warnings(data, other, per_label)
    return facts | {"compat_warnings": tuple(str(warning) for warning in warnings)}


def _levels(inputs: Inputs, settings: Settings) -> tuple[Level, ...]:
    """Vertebrae that are scored: those of the mask, of the centres, or of both."""
    found: set[Level] = set()
    if inputs.reference is not None and settings.task != "labelling":
        found |= set(inputs.reference.levels)
    if inputs.centroids is not None and settings.task != "segmentation":
        found |= set(inputs.centroids.levels)
    return tuple(sorted(found))


def _predicted_centroids(inputs: Inputs, prediction: LabelMask | None, settings: Settings) -> CentroidSet | None:
    if settings.task == "segmentation" or inputs.centroids is None:
        return None
    broken = any(error.part == "prediction" and error.concerns == "labelling" for error in inputs.errors)
    if broken or inputs.predicted_centroids is not None or prediction is None:
        return inputs.predicted_centroids
    return body_centroids(prediction)


def _compare(reference: LabelMask, aligned: Aligned | None, settings: Settings) -> LabelComparison:
    data = reference.data
    other = np.zeros_like(data) if aligned is None else aligned.mask.data
    wanted = set(reference.levels) | set(() if aligned is None else aligned.mask.levels)
    return compare_labels(
        data,
        other,
        reference.spacing_mm,
        labels=sorted(level.verse_label for level in wanted),
        tolerance_mm=settings.tolerance_mm,
        penalty_mm=settings.hd_penalty_mm,
    )


def _label(centroids: CentroidSet, predicted: CentroidSet, reference: LabelMask | None) -> LabellingScore:
    numberings = admissible_numberings(centroids.levels, sacrum_in_view=_sacrum_in_view(centroids, reference))
    return score_labelling(centroids, predicted, field_of_view=reference, admissible=numberings)


def _sacrum_in_view(centroids: CentroidSet, reference: LabelMask | None) -> bool:
    """Whether the volume reaches so far below the last lumbar vertebra that S1 must be in it.

    VerSe labels no sacrum, so the mask alone does not tell.
    """
    if reference is None:
        return False
    if reference.has_sacrum:
        return True
    if not centroids.levels or centroids.levels[-1] < Level.L4:
        return False
    axis, code = next((axis, code) for axis, code in enumerate(reference.volume.codes) if code in "IS")
    place = float(world_to_voxel(WorldPoints(centroids[centroids.levels[-1]]), reference.affine).values[0, axis])
    below = reference.shape[axis] - 0.5 - place if code == "I" else place + 0.5
    return below * reference.spacing_mm[axis] > _SACRUM_BELOW_MM


def _outcome(status: Status, level: Level, comparison: LabelComparison | None, scored: LevelScore | None) -> Outcome:
    if status == "no prediction" or status == "unusable prediction":
        return status
    one = None if comparison is None else comparison.per_label.get(level.verse_label)
    if one is not None and one.reference_voxels:
        return "matched" if one.status == "scored" else "missed"
    return "matched" if scored is not None and scored.distance_mm is not None else "missed"


def _segmented(level: Level, comparison: LabelComparison | None, settings: Settings) -> dict[str, Any]:
    one = None if comparison is None else comparison.per_label.get(level.verse_label)
    if comparison is None or one is None or not one.reference_voxels:
        return {}
    called = comparison.called(level.verse_label)
    return {
        "dice": one.dice,
        "dice_any_name": _dice_with(comparison, level.verse_label, called or 0),
        "iou": one.iou,
        "nsd": one.surface_dice,
        "hd_mm": one.hd_mm,
        "hd_penalised_mm": one.penalised("hd_mm"),
        "hd95_pooled_mm": one.hd95_pooled_mm,
        "hd95_directed_mm": one.hd95_max_mm,
        "hd_largest_mm": one.hd_largest_mm,
        "assd_mm": one.assd_mm,
        "masd_mm": one.masd_mm,
        "volume_reference_mm3": one.reference_volume_mm3,
        "volume_prediction_mm3": one.prediction_volume_mm3,
        "components": one.prediction_components,
        "covered_by": structure_name(called or 0),
    }


def _dice_with(comparison: LabelComparison, label: int, called: int) -> float:
    """Dice of a reference label with the vertebra it was called; 0 for background and what is no vertebra."""
    if vertebra_of_label(called) is None:
        return 0.0
    row, column = (comparison.confusion_labels.index(each) for each in (label, called))
    total = comparison.confusion[row].sum() + comparison.confusion[:, column].sum()
    return float(2 * comparison.confusion[row, column] / total)


def _named(
    level: Level, one: LevelScore | None, labelled: LabellingScore | None, official: CompatScore | None
) -> dict[str, Any]:
    if one is None or labelled is None:
        return {}
    admissible = one.identified
    if official is not None:
        one = replace(one, identified=level in official.identified)
    if labelled.admissible is not None:
        name = labelled.admissible.names[level]
        admissible = next(other.identified for other in labelled.admissible.score.levels if other.level is name)
    return {
        "identified": one.identified,
        "identified_admissible": admissible,
        "called": one.called,
        "offset": one.offset,
        "localisation_mm": one.distance_mm,
        "localisation_penalised_mm": one.penalised_mm,
    }


def _events(labelled: LabellingScore | None) -> dict[str, Any]:
    """The labelling part of a case."""
    if labelled is None:
        return {}
    return {
        "hits": labelled.hits,
        "predicted": labelled.predicted,
        "precision": labelled.precision,
        "recall": labelled.recall,
        "f1": labelled.f1,
        "shift": labelled.shift,
        "runs": tuple(ShiftRun(**vars(run)) for run in labelled.runs),
        "admissible_numberings": 1 if labelled.admissible is None else labelled.admissible.numberings,
        "hits_admissible": labelled.hits if labelled.admissible is None else labelled.admissible.score.hits,
        "wrong_levels": tuple(
            WrongLevel(level=one.level, called=one.called, offset=one.offset, distance_mm=one.called_mm)
            for one in labelled.wrong
            if one.called is not None and one.offset is not None
        ),
        "missed": labelled.missed,
        "extra": tuple(
            ExtraLevel(level=one.level, nearest=one.nearest, distance_mm=one.distance_mm, excuse=one.excuse)
            for one in labelled.extra
        ),
    }


def _outlines(levels: tuple[Level, ...], vertebrae: tuple[VertebraScore, ...], labelled: bool) -> dict[str, Any]:
    """Vertebrae that were outlined under another name, and, where no centres tell, the shift of all of them."""
    wrong, offsets = [], []
    for vertebra in vertebrae:
        called = _LEVELS.get(vertebra.covered_by or "")
        if called is None:
            continue
        offset = steps_between(levels, vertebra.level, called)
        offsets.append(offset)
        if called is not vertebra.level:
            wrong.append(WrongLevel(level=vertebra.level, called=called, offset=offset))
    found: dict[str, Any] = {"wrong_outlines": tuple(wrong)}
    return found if labelled else found | {"shift": _shift(offsets)}


def _shift(offsets: list[int]) -> int | None:
    """The offset that 80 % of two or more vertebrae share, as for centres; None if that is 0 or there is none."""
    common = max(set(offsets), key=offsets.count, default=0)
    whole = len(offsets) >= 2 and offsets.count(common) >= 0.8 * len(offsets)
    return common if whole and common else None


def _unscored(prediction: LabelMask | None) -> dict[str, int]:
    if prediction is None:
        return {}
    own = {structure_name(label): count for label, count in prediction.counts.items() if not vertebra_of_label(label)}
    return own | {f"label {label}": count for label, count in prediction.ignored.items()}


def _confusion(comparison: LabelComparison) -> tuple[Confusion, ...]:
    names = [structure_name(label) for label in comparison.confusion_labels]
    return tuple(
        Confusion(reference=names[row], prediction=names[column], voxels=int(count))
        for (row, column), count in np.ndenumerate(comparison.confusion)
        if count and (row or column)
    )


def _notes(inputs: Inputs, aligned: Aligned | None, levels: tuple[Level, ...], settings: Settings) -> tuple[str, ...]:
    notes = [f"reference: {flag}" for flag in (() if inputs.reference is None else inputs.reference.flags)]
    notes += [f"reference centres: {flag}" for flag in (() if inputs.centroids is None else inputs.centroids.flags)]
    notes += [f"prediction: {flag}" for flag in (() if inputs.prediction is None else inputs.prediction.flags)]
    if inputs.predicted_centroids is not None:
        notes += [f"predicted centres: {flag}" for flag in inputs.predicted_centroids.flags]
    notes += () if aligned is None else aligned.notes
    if settings.task == "both" and inputs.reference is not None and inputs.centroids is not None:
        lone = [level for level in levels if level not in inputs.centroids]
        if lone:
            notes.append(f"no reference centre, so labelling is not scored: {', '.join(lone)}")
        lone = [level for level in levels if level not in inputs.reference.levels]
        if lone:
            notes.append(f"no voxel in the reference mask, so segmentation is not scored: {', '.join(lone)}")
    return tuple(dict.fromkeys(notes))
