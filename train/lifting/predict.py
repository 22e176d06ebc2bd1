"""Predictions of a data set or of keypoint files, as the folder that `spinemed motion evaluate` reads.

Convention: one NPZ per clip (`spinemed.motion.dataset.predictions`), beside `about.json`, which says how they were
made. Methods of one view answer 61 points in the world, the root placed by the clip's camera: "lifter", "linear",
"linear_window", "rest". "refine" gives refined pixels of all views, and keypoints triangulated from these where there
are two views. "triangulate" and "views" need no trained run.

The trap: detections of a user's own detector enter as files, `--detections` for a data set's clips and `--keypoints`
for a clip of one's own; running the detector, and its weights, are the user's.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from spinemed.errors import ModelError, RunError
from spinemed.motion.cameras import Camera, read_calibration
from spinemed.motion.conventions import MotionError
from spinemed.motion.dataset.predictions import MotionPrediction, prediction_file, read_prediction, write_prediction
from spinemed.motion.dataset.read import read_dataset
from spinemed.motion.dataset.records import SPLITS, SimulatedClip
from spinemed.motion.keypoints import SPINETRACK_37
from spinemed.motion.triangulate import triangulate
from spinemed.tables import atomic_folder, write_json
from train.lifting.inputs import POINTS, Look, normalise, seen_by, to_world

__all__ = ["METHODS", "lift_dataset", "lift_keypoints"]

METHODS = ("lifter", "linear", "linear_window", "rest", "refine", "triangulate", "views")

_Answer = Callable[[Look], NDArray[np.floating]]
_NOTE = "Research use only. Learned and tried on simulated motion; no evidence about people."


def _method(method: str, run: Path | None) -> tuple[_Answer | None, dict[str, Any]]:
    """How a view is answered (None for methods of several views), and what is said about it.

    Raises:
        RunError: no such method, or one that needs a trained run has none.
        ModelError: the run is damaged.
    """
    if method not in METHODS:
        raise RunError(f"{method!r} is no method", field="--method", cure=f"use one of {', '.join(METHODS)}")
    about: dict[str, Any] = {"method": method, "note": _NOTE}
    if method in ("triangulate", "views"):
        return None, about
    if run is None:
        raise RunError(
            f"the method {method!r} was learned", field="RUN", cure="give the folder of a `spinemed train lifter` run"
        )
    outputs = run / "outputs" if (run / "outputs").is_dir() else run
    if not (outputs / "model").is_dir():
        raise ModelError("holds no finished lifter", file=run, cure="give the run folder of `spinemed train lifter`")
    if method == "refine":
        return None, {**about, "prior": "prior.safetensors of the run"}
    if method == "lifter":
        from train.lifting.networks import apply_lifter, load_lifter

        network, told = load_lifter(outputs / "model")
        flip = bool(told.get("flip", True))
        return (
            lambda look: apply_lifter(network, look.features, np.array([0, len(look.features)]), flip=flip),
            {**about, "model": told},
        )
    from train.lifting.baselines import lay_in, load_baselines

    body, linear = load_baselines(outputs / "baselines")
    if method == "rest":
        return lambda look: lay_in(body, look.features), about
    return lambda look: linear[method](look.features, np.array([0, len(look.features)])), about


def lift_dataset(
    data: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    run: str | os.PathLike[str] | None = None,
    method: str = "lifter",
    split: str | None = "test",
    view: int = 0,
    source: Literal["detected", "exact"] = "detected",
    detections: str | os.PathLike[str] | None = None,
) -> dict[str, Any]:
    """Predict the clips of a data set.

    Args:
        data: Folder of the data set.
        out: Folder to write; must not hold anything.
        run: Run folder of `spinemed train lifter`, for learned methods.
        method: See the module's docstring.
        split: Which clips; None takes all.
        view: Number of the view that methods of one view see.
        source: Whether the data set's detections or its exact projections are seen.
        detections: Folder of predictions whose pixels and confidences take the place of the data set's own.

    Returns:
        What `about.json` says: counts of written clips, and each clip that could not be predicted with the reason.

    Raises:
        RunError, ReadError, ModelError: folder, method, or run unusable.
        MotionError: no clip, none that could be predicted, or a view that is not there.
    """
    answer, about = _method(method, None if run is None else Path(run))
    prior = _prior(method, run)
    if split is not None and split not in SPLITS:
        raise MotionError(f"{split!r} is no split", field="--split", cure=f"use one of {', '.join(SPLITS)}, or all")
    target = _free(out)
    clips = read_dataset(data)
    failed: dict[str, str] = {}
    written = 0
    with atomic_folder(target) as partial:
        for clip in clips.iterate(split):
            try:
                pixels, confidence = _detections(clip, source, detections)
                if answer is not None:
                    made = _one_view(clip, answer, pixels, confidence, view)
                elif prior is not None:
                    made = _refined(clip, prior, pixels, confidence)
                else:
                    from train.lifting.views import reconstruct

                    made = reconstruct(clip, pixels, confidence, fitted=method == "views")
            except MotionError as error:
                failed[clip.clip_id] = str(error)
                continue
            write_prediction(partial, clip.clip_id, made)
            written += 1
        if not written:
            if not failed:
                raise MotionError(
                    f"holds no clip in the split {split!r}", file=clips.folder, field="split",
                    cure="use another split, or simulate more subjects",
                )  # fmt: skip
            reason = next(iter(failed.values()))
            raise MotionError(f"nothing could be predicted: {reason}", file=clips.folder, cure="mend what it names")
        about |= {"split": split, "written": written, "failed": failed}
        about["source"] = source if detections is None else "files"
        if answer is not None:
            about["view"] = view
        write_json(partial / "about.json", about)
    return about


def lift_keypoints(
    keypoints: str | os.PathLike[str],
    calibration: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    run: str | os.PathLike[str],
    method: str = "lifter",
    camera: str | None = None,
    layout: str | None = None,
) -> dict[str, Any]:
    """Predict one clip from a detector's keypoint file (`spinemed.motion.io.keypoints`) and a calibration.

    Args:
        keypoints: File or folder with the 37 keypoints of SpineTrack.
        calibration: TOML with the camera.
        out: Folder to write; must not hold anything. The prediction is named after the keypoint file.
        run: Run folder of `spinemed train lifter`.
        method: A method of one view, or "refine".
        camera: Name; may be left out where the calibration has one camera.
        layout: As for `read_keypoints`.

    Raises:
        RunError, ReadError, ModelError, MotionError: what is missing or does not fit, other keypoints among it.
    """
    from spinemed.motion.io.keypoints import read_keypoints, to_spinetrack

    answer, about = _method(method, Path(run))
    prior = _prior(method, run)
    if answer is None and prior is None:
        raise RunError(
            f"the method {method!r} needs several views", field="--method", cure="use `spinemed motion fit` for these"
        )
    found = read_keypoints(keypoints, layout=layout, kind="2d")
    missing = [name for name in SPINETRACK_37 if name not in found.names]
    if missing:
        raise MotionError(
            f"{len(missing)} of the 37 keypoints that a lifter sees are not in the layout {found.layout}: "
            f"{', '.join(missing[:3])} ...", file=keypoints, field="names",
            cure="detect with a model of SpineTrack's 37 keypoints",
        )  # fmt: skip
    clip = to_spinetrack(found)
    cameras = {one.name: one for one in read_calibration(calibration)}
    if camera is None and len(cameras) > 1:
        raise MotionError(
            f"holds {len(cameras)} cameras", file=calibration, field="--camera",
            cure=f"say which: {', '.join(cameras)}",
        )  # fmt: skip
    name = next(iter(cameras)) if camera is None else camera
    if name not in cameras:
        raise MotionError(
            f"has no camera {name!r}", file=calibration, field="--camera", cure=f"use one of {', '.join(cameras)}"
        )
    own = cameras[name]
    target = _free(out)
    title = Path(keypoints).stem
    if prior is not None:
        made = _refine_views((own,), prior, clip.points[None], clip.confidence[None])
    else:
        assert answer is not None
        made = _answered(own, answer, clip.points, clip.confidence)
    with atomic_folder(target) as partial:
        write_prediction(partial, title, made)
        about |= {"written": 1, "camera": name, "flags": [f"{flag.name}: {flag.message}" for flag in clip.flags]}
        write_json(partial / "about.json", about)
    return about


def _free(out: str | os.PathLike[str]) -> Path:
    target = Path(out)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise RunError("is there already and not empty", file=target, cure="give a new folder as --out")
    return target


def _prior(method: str, run: str | os.PathLike[str] | None) -> Any:
    if method != "refine" or run is None:
        return None
    from train.lifting.pose_prior import load_pose_prior

    root = Path(run)
    return load_pose_prior((root / "outputs" if (root / "outputs").is_dir() else root) / "baselines")


def _detections(
    clip: SimulatedClip, source: str, folder: str | os.PathLike[str] | None
) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
    """Pixels and confidences of all views: the data set's own, or those of a detector's files."""
    if folder is None:
        return seen_by(clip, source)
    path = prediction_file(folder, clip.clip_id)
    told = read_prediction(path) if path.is_file() else None
    if told is None or told.pixels is None:
        raise MotionError("has no detections", file=path, field="pixels", cure="write pixels [V, T, K, 2] with names")
    missing = [name for name in SPINETRACK_37 if name not in told.names]
    if missing:
        raise MotionError(f"lacks {len(missing)} of 37 keypoints", file=path, field="names", cure="name all of them")
    if told.pixels.shape[:2] != (len(clip.cameras), clip.frames):
        raise MotionError(
            f"{told.pixels.shape[:2]} views and frames, the clip has {(len(clip.cameras), clip.frames)}", file=path,
            field="pixels", cure="give every view and frame; NaN where nothing was seen",
        )  # fmt: skip
    order = [told.names.index(name) for name in SPINETRACK_37]
    return told.pixels[:, :, order], None if told.confidence is None else told.confidence[:, :, order]


def _one_view(
    clip: SimulatedClip, answer: _Answer, pixels: NDArray[np.float64], confidence: NDArray[np.float64] | None, view: int
) -> MotionPrediction:
    if not 0 <= view < len(clip.cameras):
        raise MotionError(
            f"clip {clip.clip_id} has no view {view}", field="--view", cure=f"use 0 to {len(clip.cameras) - 1}"
        )
    return _answered(clip.cameras[view], answer, pixels[view], None if confidence is None else confidence[view])


def _answered(
    camera: Camera, answer: _Answer, pixels: NDArray[np.float64], confidence: NDArray[np.float64] | None
) -> MotionPrediction:
    look = normalise(camera, pixels, confidence)
    return MotionPrediction(names=POINTS, points_mm=to_world(camera, look, np.asarray(answer(look), dtype=np.float64)))


def _refined(
    clip: SimulatedClip, prior: Any, pixels: NDArray[np.float64], confidence: NDArray[np.float64] | None
) -> MotionPrediction:
    return _refine_views(clip.cameras, prior, pixels, confidence)


def _refine_views(
    cameras: tuple[Camera, ...], prior: Any, pixels: NDArray[np.float64], confidence: NDArray[np.float64] | None
) -> MotionPrediction:
    from train.lifting.pose_prior import refine

    views = [
        refine(prior, camera, pixels[v], None if confidence is None else confidence[v])
        for v, camera in enumerate(cameras)
    ]
    at, sure = np.stack([view[0] for view in views]), np.stack([view[1] for view in views])
    points = triangulate(cameras, at, sure).points_mm if len(cameras) > 1 else None
    return MotionPrediction(names=SPINETRACK_37, points_mm=points, pixels=at, confidence=sure)
