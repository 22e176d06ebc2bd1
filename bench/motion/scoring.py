"""One clip: what is read, every value, and the small tables from which points, levels and pictures are pooled.

Convention: points are spread onto 61 columns (`POINT_NAMES`), angles onto 25 segments, whatever order a file has. A
group of points is scored in a clip if the file names all of its members; single NaN among them are misses.

Trap: scores in `values` are means over a clip's frames and points. Means over clips weigh every clip alike, long or
short; intervals and tests are made of these.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.faults import error_fields
from bench.motion.checks import check_frames, check_radians, check_size, swapped_sides
from bench.motion.groups import GROUPS, LENGTHS, LIMITS_DEG, PICTURE_GROUPS, REGION_ROWS, SIGMAS, Group
from bench.motion.records import ClipError, ClipFlag, ClipScore, Settings
from spinemed.errors import SpineMedError
from spinemed.metrics.keypoints import oks, picture_area_px2
from spinemed.metrics.motion import (
    AngleErrors,
    angle_errors,
    auc,
    covered,
    jitter,
    mean_of,
    pck,
    pose_errors,
    range_violations,
    seen_points,
    segment_variation_percent,
)
from spinemed.motion.conventions import DIRECTIONS
from spinemed.motion.dataset import SEGMENTS, SimulatedClip
from spinemed.motion.dataset.predictions import POINT_NAMES, MotionPrediction, prediction_file, read_prediction
from spinemed.motion.keypoints import SPINETRACK_37
from spinemed.tables import file_sha256

__all__ = [
    "ClipResult",
    "PictureTable",
    "clip_without_reference",
    "reference_points",
    "score_clip",
    "spread_angles",
    "spread_points",
]

NOMINAL = (0.5, 0.9)


@dataclass(frozen=True, eq=False)
class PictureTable:
    """Pictures of one clip and group: similarity, what predictions are sorted by, and whether there is one."""

    oks: NDArray[np.float64]
    score: NDArray[np.float64]
    detected: NDArray[np.bool_]


@dataclass(eq=False)
class ClipResult:
    """A clip's record and its tables.

    Attributes:
        score: The record.
        named: [61] points that the file names.
        labelled: [61] frames in which the reference has the point; `seen` those with a distance.
        error_mm, aligned_mm: [61] mean distances; NaN without any. `aligned_with` names the group per point.
        angles: Errors of the 25 segments and 3 regional sums [28, 3]; None without predicted angles.
        angles_labelled: [25, 3]; `segments_named` [25] segments that the file names.
        inside: Hits and number of angles with a stated deviation, [25, 3] each, for 50 and 90 %.
        picture_named, picture_labelled, picture_seen: [37] the same three in pictures.
        pictures: Per group of `PICTURE_GROUPS`; for a clip without predictions, pictures without one.
        families, groups: What the file predicts.
    """

    score: ClipScore
    named: NDArray[np.bool_]
    labelled: NDArray[np.int64]
    seen: NDArray[np.int64]
    error_mm: NDArray[np.float64]
    aligned_mm: NDArray[np.float64]
    aligned_with: dict[int, str] = field(default_factory=dict)
    angles: AngleErrors | None = None
    angles_labelled: NDArray[np.int64] = field(default_factory=lambda: np.zeros((len(SEGMENTS), 3), dtype=np.int64))
    segments_named: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(len(SEGMENTS), dtype=np.bool_))
    inside: dict[float, tuple[NDArray[np.int64], NDArray[np.int64]]] = field(default_factory=dict)
    pictures: dict[str, PictureTable] = field(default_factory=dict)
    picture_named: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(len(SPINETRACK_37), dtype=np.bool_))
    picture_labelled: NDArray[np.int64] = field(default_factory=lambda: np.zeros(len(SPINETRACK_37), dtype=np.int64))
    picture_seen: NDArray[np.int64] = field(default_factory=lambda: np.zeros(len(SPINETRACK_37), dtype=np.int64))
    families: set[str] = field(default_factory=set)
    groups: set[str] = field(default_factory=set)


def reference_points(clip: SimulatedClip) -> NDArray[np.float64]:
    """[T, 61, 3] keypoints and centroids of a clip, in the order of `POINT_NAMES`."""
    return np.concatenate([clip.keypoints_mm, clip.centroids_mm], axis=1).astype(np.float64)


def spread_points(prediction: MotionPrediction) -> NDArray[np.float64]:
    """[T, 61, 3] predicted points, NaN in columns that the file does not name."""
    points = np.full((prediction.frames, len(POINT_NAMES), 3), np.nan)
    if prediction.points_mm is not None:
        points[:, [POINT_NAMES.index(name) for name in prediction.names]] = prediction.points_mm
    return points


def score_clip(
    clip: SimulatedClip, folder: Path, settings: Settings, *, roots: Mapping[str, str] | None = None
) -> ClipResult:
    """Score the prediction of a clip; its errors become part of the record.

    Args:
        clip: The reference.
        folder: Of the predictions.
        settings: Norm factors.
        roots: From folder to what stands for it in records.
    """
    path = prediction_file(folder, clip.clip_id)
    if not path.exists():
        return _unscored(clip, "no prediction")
    try:
        prediction = read_prediction(path)
        check_frames(prediction, clip, path)
        result = _scored(clip, prediction, settings, path)
    except SpineMedError as error:
        found = ClipError.model_validate({"part": "prediction", **error_fields(error, roots)})
        return _unscored(clip, "unusable prediction", (found,))
    return result


def clip_without_reference(
    row: Mapping[str, object], error: SpineMedError, roots: Mapping[str, str] | None = None
) -> ClipResult:
    """The record of a clip whose own arrays cannot be read; it is left out of every mean, and says so."""
    found = ClipError.model_validate({"part": "reference", **error_fields(error, roots)})
    names = ("subject", "motion", "split", "rhythm", "frames", "rate_hz")
    score = ClipScore.model_validate(
        {"clip": row["clip_id"], "status": "unusable reference", "errors": (found,)} | {k: row[k] for k in names}
    )
    none = np.zeros(len(POINT_NAMES), dtype=np.int64)
    nothing = np.full(len(POINT_NAMES), np.nan)
    return ClipResult(score, none.astype(bool), none, none, nothing, nothing)


def _record(clip: SimulatedClip, **fields: object) -> ClipScore:
    return ClipScore.model_validate(
        {
            "clip": clip.clip_id, "subject": clip.subject, "motion": clip.motion, "split": clip.split,
            "rhythm": clip.rhythm, "frames": clip.frames, "rate_hz": clip.rate_hz, **fields,
        }
    )  # fmt: skip


def _unscored(clip: SimulatedClip, status: str, errors: tuple[ClipError, ...] = ()) -> ClipResult:
    reference = reference_points(clip)
    labelled = seen_points(reference).sum(axis=0)
    columns = len(POINT_NAMES)
    nothing = np.full(columns, np.nan)
    return ClipResult(
        _record(clip, status=status, errors=errors), np.zeros(columns, dtype=bool), labelled,
        np.zeros(columns, dtype=np.int64), nothing, nothing,
        angles_labelled=np.isfinite(clip.angles_deg).sum(axis=0), pictures=_pictures(clip, None),
        picture_labelled=_picture_counts(clip),
    )  # fmt: skip


def _scored(clip: SimulatedClip, prediction: MotionPrediction, settings: Settings, path: Path) -> ClipResult:
    reference, predicted = reference_points(clip), spread_points(prediction)
    flags: list[ClipFlag | None] = []
    values: dict[str, float | None] = {}
    result = _unscored(clip, "scored")
    if prediction.points_mm is not None:
        flags += [check_size(predicted, reference, path), swapped_sides(predicted, reference)]
        result.named = np.isin(np.array(POINT_NAMES), prediction.names)
        values |= _points(result, predicted, reference, clip.rate_hz, settings)
        values |= _lengths(result, predicted, reference)
        result.families.add("points")
    if prediction.angles_deg is not None:
        angles, sd = (spread_angles(prediction, name) for name in ("angles_deg", "angles_sd_deg"))
        truth = clip.angles_deg.astype(np.float64)
        check_radians(angles, truth, path)
        named = np.isin(np.array(SEGMENTS), prediction.segments)
        values |= _angles(result, angles, sd, truth, named)
        result.segments_named = named
        result.families.add("angles")
    if prediction.pixels is not None and clip.pixels is not None:
        result.pictures = _pictures(clip, prediction)
        values |= _picture_values(result, clip, prediction, settings)
        result.families.add("pictures")
    flags += _silent(prediction)
    result.score = _record(
        clip, status="scored", flags=tuple(flag for flag in flags if flag is not None),
        values={key: value for key, value in values.items() if value is not None and np.isfinite(value)},
        prediction_sha256=file_sha256(path),
    )  # fmt: skip
    return result


def _silent(prediction: MotionPrediction) -> list[ClipFlag]:
    """A flag for each array without a single number; `check_frames` refuses a file where all are."""
    arrays = {"points_mm": prediction.points_mm, "angles_deg": prediction.angles_deg, "pixels": prediction.pixels}
    return [
        ClipFlag(name="nothing_predicted", text=f"{name} holds no number: all are NaN and count as missed")
        for name, array in arrays.items()
        if array is not None and not np.isfinite(array).any()
    ]


# --- points ----------------------------------------------------------------------------------------------------------


def _points(
    result: ClipResult, predicted: NDArray[np.float64], reference: NDArray[np.float64], rate_hz: float,
    settings: Settings,
) -> dict[str, float | None]:  # fmt: skip
    values: dict[str, float | None] = {}
    plain = np.sqrt(((predicted - reference) ** 2).sum(axis=-1))
    there = np.isfinite(plain)
    result.seen = there.sum(axis=0)
    count = np.maximum(result.seen, 1)
    result.error_mm = np.where(result.seen > 0, np.where(there, plain, 0.0).sum(axis=0) / count, np.nan)
    result.aligned_mm = np.full(len(POINT_NAMES), np.nan)
    for group in GROUPS:
        if not result.named[group.members].all():
            continue
        result.groups.add(group.name)
        values |= _group(result, group, predicted, reference, rate_hz, settings)
    return values


def _group(
    result: ClipResult, group: Group, predicted: NDArray[np.float64], reference: NDArray[np.float64], rate_hz: float,
    settings: Settings,
) -> dict[str, float | None]:  # fmt: skip
    left, right = predicted[:, group.members], reference[:, group.members]
    found = pose_errors(left, right, root=group.root)
    restless = jitter(left, right, rate_hz)
    free = np.array([int(column) not in result.aligned_with for column in group.members])
    there = np.isfinite(found.aligned_mm)
    n = there.sum(axis=0)
    means = np.where(n > 0, np.where(there, found.aligned_mm, 0.0).sum(axis=0) / np.maximum(n, 1), np.nan)
    result.aligned_mm[group.members[free]] = means[free]  # the widest group that holds a point decides
    result.aligned_with |= {int(column): group.name for column in group.members[free]}
    acceleration, jerk = restless.acceleration.value, restless.jerk.value
    values = {
        "mpjpe_mm": found.mpjpe.value,
        "mpjpe_capped_mm": found.capped.value,
        "root_mpjpe_mm": found.root_mpjpe.value,
        "n_mpjpe_mm": found.n_mpjpe.value,
        "p_mpjpe_mm": found.p_mpjpe.value,
        "pck50": pck(found.plain_mm, found.labelled, 50.0),
        "pck150": pck(found.plain_mm, found.labelled, 150.0),
        "auc150": auc(found.plain_mm, found.labelled, settings.norm_mm),
        "acceleration_m_s2": None if acceleration is None else acceleration / 1000.0,
        "jerk_m_s3": None if jerk is None else jerk / 1000.0,
    }
    return {f"{group.name}/{name}": value for name, value in values.items()}


def _lengths(
    result: ClipResult, predicted: NDArray[np.float64], reference: NDArray[np.float64]
) -> dict[str, float | None]:
    values: dict[str, float | None] = {}
    for name, pairs in LENGTHS.items():
        own = pairs[result.named[pairs].all(axis=1)]
        found = segment_variation_percent(predicted, own)
        kept = np.isfinite(found)
        if kept.any():
            truth = segment_variation_percent(reference, own)
            values[f"{name}/length_cv_percent"] = float(found[kept].mean())
            values[f"{name}/length_cv_reference_percent"] = float(truth[kept].mean())
    return values


# --- angles ----------------------------------------------------------------------------------------------------------


def spread_angles(prediction: MotionPrediction, name: str) -> NDArray[np.float64]:
    """[T, 25, 3] in the order of `SEGMENTS`, NaN where not given."""
    found = np.full((prediction.frames, len(SEGMENTS), len(DIRECTIONS)), np.nan)
    given = getattr(prediction, name)
    if given is not None:
        found[:, [SEGMENTS.index(segment) for segment in prediction.segments]] = given
    return found


def _with_regions(angles: NDArray[np.float64]) -> NDArray[np.float64]:
    """[T, 28, 3]: segments, then the sums of lumbar, thoracic and cervical; NaN where a part is absent."""
    sums = [angles[:, rows].sum(axis=1, keepdims=True) for rows in REGION_ROWS.values()]
    return np.concatenate([angles, *sums], axis=1)


def _angles(
    result: ClipResult, angles: NDArray[np.float64], sd: NDArray[np.float64], truth: NDArray[np.float64],
    named: NDArray[np.bool_],
) -> dict[str, float | None]:  # fmt: skip
    result.angles = found = angle_errors(_with_regions(angles), _with_regions(truth))
    for nominal in NOMINAL:
        inside, stated_here = covered(angles - truth, sd, nominal)
        result.inside[nominal] = (inside.sum(axis=0), stated_here.sum(axis=0))
    values: dict[str, float | None] = {}
    for group, rows in {"all": np.arange(len(SEGMENTS)), **REGION_ROWS}.items():
        if not named[rows].all():
            continue
        part = found.mean_abs_deg[rows]
        if np.isfinite(part).any():
            values[f"{group}/angle_mae_deg"] = float(np.nanmean(part))
            for column, direction in enumerate(DIRECTIONS):
                if np.isfinite(part[:, column]).any():
                    values[f"{group}/{direction}_mae_deg"] = float(np.nanmean(part[:, column]))
        for nominal, (hits, stated) in result.inside.items():
            if stated[rows].any():
                values[f"{group}/coverage{100 * nominal:.0f}"] = float(hits[rows].sum() / stated[rows].sum())
    values["all/beyond_limits"] = range_violations(angles, *LIMITS_DEG).share
    if np.isfinite(angles).any():
        values["all/beyond_limits_reference"] = range_violations(truth, *LIMITS_DEG).share
    return values


# --- pictures --------------------------------------------------------------------------------------------------------


def _flat(pixels: NDArray[np.generic]) -> NDArray[np.float64]:
    """[V, T, K, ...] as one row per picture."""
    return np.asarray(pixels, dtype=np.float64).reshape(pixels.shape[0] * pixels.shape[1], *pixels.shape[2:])


def _spread_pixels(prediction: MotionPrediction) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Pixels [V T, 37, 2] and confidence [V T, 37] in the published order; centroids have no rule and are left."""
    assert prediction.pixels is not None
    pixels = np.full((*prediction.pixels.shape[:2], len(SPINETRACK_37), 2), np.nan)
    confidence = np.full(pixels.shape[:3], np.nan)
    for place, name in enumerate(prediction.names):
        if name in SPINETRACK_37:
            column = SPINETRACK_37.index(name)
            pixels[:, :, column] = prediction.pixels[:, :, place]
            confidence[:, :, column] = 1.0 if prediction.confidence is None else prediction.confidence[:, :, place]
    return _flat(pixels), _flat(confidence)


def _pictures(clip: SimulatedClip, prediction: MotionPrediction | None) -> dict[str, PictureTable]:
    if clip.pixels is None:
        return {}
    reference = _flat(clip.pixels)
    area = picture_area_px2(reference)
    if prediction is None:
        predicted, score = np.full_like(reference, np.nan), np.zeros(len(reference))
    else:
        predicted, confidence = _spread_pixels(prediction)
        there = seen_points(predicted) & np.isfinite(confidence)
        # One score for the whole person, as COCO has it; a prediction without confidence sorts last.
        score = np.where(there, confidence, 0.0).sum(axis=1) / np.maximum(there.sum(axis=1), 1)
    tables = {}
    for group in PICTURE_GROUPS:
        columns = group.members
        likeness = oks(predicted[:, columns], reference[:, columns], area, SIGMAS[columns])
        detected = seen_points(predicted[:, columns]).any(axis=1)
        tables[group.name] = PictureTable(likeness, score, np.asarray(detected, dtype=np.bool_))
    return tables


def _picture_counts(clip: SimulatedClip) -> NDArray[np.int64]:
    """[37] pictures in which the reference has the point."""
    if clip.pixels is None:
        return np.zeros(len(SPINETRACK_37), dtype=np.int64)
    return np.asarray(seen_points(_flat(clip.pixels)).sum(axis=0))


def _picture_values(
    result: ClipResult, clip: SimulatedClip, prediction: MotionPrediction, settings: Settings
) -> dict[str, float | None]:
    assert clip.pixels is not None
    reference = _flat(clip.pixels)
    predicted, _ = _spread_pixels(prediction)
    error = np.sqrt(((predicted - reference) ** 2).sum(axis=-1))
    labelled = seen_points(reference)
    result.picture_named = np.isin(np.array(SPINETRACK_37), prediction.names)
    result.picture_seen = np.isfinite(error).sum(axis=0)
    values: dict[str, float | None] = {}
    for group in PICTURE_GROUPS:
        columns = group.members
        if not result.picture_named[columns].all():
            continue
        part, known = error[:, columns], labelled[:, columns]
        likeness = result.pictures[group.name].oks
        judged = np.isfinite(likeness)
        values[f"{group.name}/picture_error_px"] = mean_of(part, known).value
        values[f"{group.name}/auc30"] = auc(part, known, settings.norm_px)
        values[f"{group.name}/oks"] = float(likeness[judged].mean()) if judged.any() else None
    return values
