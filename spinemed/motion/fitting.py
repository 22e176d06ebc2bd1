"""Fit one recorded clip and write what was found: angles, points, doubts, residuals, a prediction for the benchmark.

Convention: `fit_clip` is the whole way from a `sources.Source` to a `ClipFit`; `write_clip_fit` makes the folder whole
or not at all; `read_clip_fit` reads back what a page or a figure needs. Names and units stand in the columns' names.

The trap: the angles of single levels are what the rhythm makes of a few markers. Their standard deviations say so, and
only where rhythm and proportions are right; `flags` come first in the report for a reason.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spinemed import __version__
from spinemed.errors import ReadError, RunError
from spinemed.motion.alignment import Alignment
from spinemed.motion.checks import Flag
from spinemed.motion.conventions import DIRECTIONS, MotionError
from spinemed.motion.curves import sagittal_curves_deg, trunk_angles_deg
from spinemed.motion.exchange import mend_exchanges
from spinemed.motion.fit import FitOptions, MotionFit, fit_motion
from spinemed.motion.keypoints import SPINETRACK_37, centroid_markers, keypoint_markers
from spinemed.motion.model import SCALE_GROUPS, BodyModel, build_model
from spinemed.motion.rhythm import REGIONS, build_rhythm
from spinemed.motion.sources import MarkerNames, Placement, Source, covariance_with, needs_limbs, place_names
from spinemed.tables import (
    atomic_folder,
    atomic_write,
    file_sha256,
    parse_json,
    read_manifest,
    write_json,
    write_manifest,
    write_text,
)

__all__ = ["ClipFit", "StoredFit", "fit_clip", "read_clip_fit", "write_clip_fit"]

KIND = "motion-fit"
_ITERATIONS = 60
_TOLERANCE = 1e-3


@dataclass(frozen=True)
class ClipFit:
    """A clip and its fit.

    Attributes:
        clip_id: Its name.
        source: What was read; `placement` where its markers sit.
        fit: What was found. `fit.model` is the subject.
        flags: Doubts of reading and of fitting.
        settings: What was asked for.
    """

    clip_id: str
    source: Source
    placement: Placement
    fit: MotionFit
    flags: tuple[Flag, ...]
    settings: dict[str, Any]


@dataclass(frozen=True)
class StoredFit:
    """A fit read back from its folder.

    Attributes:
        model: The subject; q [T, n] its poses.
        rate_hz, clip_id: Of the clip.
        angle_sd_deg: [T, 25, 3], or None.
        points_mm: [T, M, 3] the markers that were used, as seen (exchanged labels put back); `names` [M],
            `body` [M] which bodies carry them.
        report: `fit.json`.
    """

    model: BodyModel
    q: NDArray[np.float64]
    rate_hz: float
    clip_id: str
    angle_sd_deg: NDArray[np.float64] | None
    points_mm: NDArray[np.float64]
    names: tuple[str, ...]
    body: NDArray[np.int64]
    report: dict[str, Any]


def fit_clip(
    source: Source,
    *,
    sex: str = "male",
    stature_mm: float | None = None,
    pelvic_incidence_deg: float | None = None,
    rhythm: str = "rom",
    names: MarkerNames | None = None,
    sigma_mm: float = 5.0,
    marker_sd_mm: float | None = None,
    scale: bool = True,
    mend: bool = True,
    posterior: bool = True,
    clip_id: str | None = None,
) -> ClipFit:
    """Fit a clip.

    Args:
        source: The clip.
        sex, stature_mm, pelvic_incidence_deg: Of the subject; None takes the average.
        rhythm: How a region's motion is shared, see `rhythm.build_rhythm`.
        names: What the markers are called.
        sigma_mm: Noise of a marker on each axis, skin included.
        marker_sd_mm: How far markers may sit from the table; None: see `sources.place_names`.
        scale: Whether proportions follow the clip.
        mend: Whether labels that two markers exchange now and then are put back, and flagged.
        posterior: Whether to compute standard deviations.
        clip_id: Its name; None takes the file's.

    Raises:
        MotionError: a `marker_sd_mm` below 0 or not finite; see `sources.place_names` and `fit.fit_motion`; the file is
            named.
    """
    if marker_sd_mm is not None and not (np.isfinite(marker_sd_mm) and marker_sd_mm >= 0):
        raise MotionError(
            f"markers cannot sit {marker_sd_mm} mm from the table", file=source.file, field="marker_sd_mm",
            cure="give millimetres, 0 to hold them",
        )  # fmt: skip
    plan = names or MarkerNames()
    alignment = Alignment() if pelvic_incidence_deg is None else Alignment(pelvic_incidence_deg=pelvic_incidence_deg)
    model = build_model(sex, stature_mm, alignment, limbs=needs_limbs(source.names, plan))
    placement = place_names(source, model, plan, marker_sd_mm)
    index = list(placement.index)
    points, flags = source.points_mm[:, index], list(source.flags)
    try:
        if mend:
            points, exchanged = mend_exchanges(points, placement.markers)
            flags += exchanged
        fit = fit_motion(
            points, model, placement.markers, rate_hz=source.rate_hz,
            covariance_mm2=covariance_with(source, index, sigma_mm),
            options=FitOptions(
                rhythm=build_rhythm(rhythm), sigma_mm=sigma_mm, scale="all" if scale else "none",
                marker_sd_mm=placement.sd_mm, posterior=posterior, iterations=_ITERATIONS, tolerance=_TOLERANCE,
            ),
        )  # fmt: skip
    except MotionError as error:
        raise MotionError(error.problem, file=source.file, field=error.field, cure=error.cure) from error
    unknown = tuple(name for name, reason in placement.left_out.items() if reason.startswith("no table"))
    if unknown:
        flags.append(
            Flag("markers_unused", f"{len(unknown)} of {len(source.names)} markers have no known place", unknown)
        )
    said = {(flag.name, flag.markers) for flag in flags}
    flags += [flag for flag in fit.flags if (flag.name, flag.markers) not in said]
    settings = {
        "sex": sex, "stature_mm": model.stature_mm, "pelvic_incidence_deg": alignment.pelvic_incidence_deg,
        "rhythm": rhythm, "sigma_mm": sigma_mm, "marker_sd_mm": marker_sd_mm, "scale": scale, "mend": mend,
        "names": plan.model_dump(),
    }  # fmt: skip
    return ClipFit(clip_id or Path(source.file).stem, source, placement, fit, tuple(flags), settings)


def write_clip_fit(found: ClipFit, out: str | os.PathLike[str]) -> Path:
    """Write the folder of a fit: fit.json, angles.parquet, angles.mot, points.parquet, markers.csv, poses.npz,
    prediction/<clip_id>.npz. Equal fits give equal bytes.

    Raises:
        RunError: if something else stands there.
    """  # fmt: skip
    from spinemed.motion.dataset.predictions import MotionPrediction, write_prediction
    from spinemed.motion.io.mot import write_mot
    from spinemed.motion.io.osim import osim_names, osim_values

    folder = Path(out)
    _check_free(folder)
    fit, source = found.fit, found.source
    time = np.arange(len(fit.q)) / fit.rate_hz
    frames = source.frame_ids or tuple(range(len(fit.q)))
    centroids, keypoints = centroid_markers(fit.model), keypoint_markers(fit.model)
    middle, surface = fit.points_mm(centroids), fit.points_mm(keypoints)
    with atomic_folder(folder) as part:
        _write_parquet(part / "angles.parquet", {"frame": frames, "time_s": time, **_angle_columns(fit)})
        columns: dict[str, Any] = {"frame": frames, "time_s": time}
        for names, points in ((centroids.names, middle), (keypoints.names, surface)):
            for k, name in enumerate(names):
                columns |= {f"{name}_{axis}_mm": points[:, k, i] for i, axis in enumerate("xyz")}
        _write_parquet(part / "points.parquet", columns)
        own = osim_names(fit.model)
        write_mot(part / "angles.mot", own, osim_values(fit.model, fit.q, own), time, title=found.clip_id)
        write_text(part / "markers.csv", _marker_table(found))
        seen = _seen(found)
        arrays: dict[str, Any] = {
            "q": fit.q,
            "points_mm": seen,
            "names": np.array(fit.markers.names, dtype=np.str_),
            "body": fit.markers.body,
        }
        if fit.angle_sd_deg is not None:
            arrays["angle_sd_deg"] = fit.angle_sd_deg
        with atomic_write(part / "poses.npz") as stream:
            np.savez(stream, **arrays)
        at = [list(SPINETRACK_37).index(name) for name in keypoints.names]
        placed = np.full((len(fit.q), len(SPINETRACK_37), 3), np.nan)
        placed[:, at] = surface
        write_prediction(
            part / "prediction", found.clip_id,
            MotionPrediction(
                names=(*SPINETRACK_37, *centroids.names[1:]),
                points_mm=np.concatenate([placed, middle[:, 1:]], axis=1), angles_deg=fit.angles_deg,
                segments=tuple(str(segment) for segment in fit.model.segments), angles_sd_deg=fit.angle_sd_deg,
            ),
        )  # fmt: skip
        write_json(part / "fit.json", report_of(found))
        write_manifest(part, KIND, version=__version__)
    return folder


def report_of(found: ClipFit) -> dict[str, Any]:
    """What `fit.json` holds: flags first, then residuals, proportions, ranges of motion, and how it was made."""
    fit, source = found.fit, found.source
    rms = fit.rms_mm
    every = fit.residual_mm[np.isfinite(fit.residual_mm)]
    regional = fit.regional_deg
    curves = sagittal_curves_deg(fit.model, fit.q)
    return {
        "research_use_only": "Not for diagnosis. Angles of single levels are what a prior makes of a few markers.",
        "flags": [{"name": f.name, "message": f.message, "markers": list(f.markers)} for f in found.flags],
        "clip_id": found.clip_id,
        "kind": source.kind,
        "source": {"name": Path(source.file).name, "sha256": _hash(source.file), **source.facts},
        "frames": len(fit.q),
        "rate_hz": fit.rate_hz,
        "settings": found.settings,
        "marker_rms_mm": {name: _number(value) for name, value in rms.items()},
        "rms_mm": _number(float(np.sqrt((every**2).mean()))),
        "markers_left_out": found.placement.left_out,
        "scale": None if fit.scaling is None else {k: _number(v, 4) for k, v in fit.scaling.factors.items()},
        "scale_log_sd": None if fit.scaling is None else {k: _number(v, 4) for k, v in fit.scaling.sd.items()},
        "regions_deg": {
            region.value: {
                direction: {
                    "from": _number(regional[:, r, d].min()), "to": _number(regional[:, r, d].max()),
                    "mean_sd": None if fit.regional_sd_deg is None else _number(fit.regional_sd_deg[:, r, d].mean()),
                }
                for d, direction in enumerate(DIRECTIONS)
            }
            for r, region in enumerate(REGIONS)
        },
        "curves_deg": {name: {"from": _number(v.min()), "to": _number(v.max())} for name, v in curves.items()},
        "search": {
            "converged": fit.converged, "iterations": fit.iterations, "clamped_frames": fit.clamped,
            "beyond_limit_share": _number(fit.beyond_limit, 6), "modes": fit.modes,
        },
        "body": {
            "sex": fit.model.sex, "stature_mm": fit.model.stature_mm, "limbs": fit.model.size > fit.model.spine.stop,
            "alignment": vars(fit.model.alignment), "scale": list(fit.model.scale),
        },
        "spinemed": __version__,
    }  # fmt: skip


def _angle_columns(fit: MotionFit) -> dict[str, NDArray[np.float64]]:
    columns = {}
    angles, spread = fit.angles_deg, fit.angle_sd_deg
    for s, segment in enumerate(fit.model.segments):
        for d, direction in enumerate(DIRECTIONS):
            columns[f"{segment}.{direction}_deg"] = angles[:, s, d]
            if spread is not None:
                columns[f"{segment}.{direction}_sd_deg"] = spread[:, s, d]
    for name, values in sagittal_curves_deg(fit.model, fit.q).items():
        columns[f"{name}_deg"] = values
    if fit.model.size > fit.model.spine.stop:
        for d, direction in enumerate(DIRECTIONS):
            columns[f"trunk.{direction}_deg"] = trunk_angles_deg(fit.model, fit.q)[:, d]
    return columns


def _marker_table(found: ClipFit) -> str:
    """One row per marker of the file: body, share of frames that show it, RMS residual, where it ended up."""
    fit = found.fit
    rows = ["name,body,seen_share,rms_mm,moved_mm,why_left_out"]
    rms = fit.rms_mm
    used = {found.source.names[i]: k for k, i in enumerate(found.placement.index)}
    seen = np.isfinite(found.source.points_mm).all(axis=-1).mean(axis=0)
    table = found.placement.markers.local_mm
    moved = np.linalg.norm(fit.markers.local_mm - table * _growth(fit)[:, None], axis=1)
    for i, name in enumerate(found.source.names):
        cell = f'"{name}"' if "," in name else name
        if name in used:
            k = used[name]
            own = fit.markers.names[k]
            value = "" if np.isnan(rms[own]) else f"{rms[own]:.3f}"
            rows.append(f"{cell},{fit.model.bodies[fit.markers.body[k]]},{seen[i]:.4f},{value},{moved[k]:.1f},")
        else:
            rows.append(f"{cell},,{seen[i]:.4f},,,{found.placement.left_out[name]}")
    return "\n".join(rows) + "\n"


def _growth(fit: MotionFit) -> NDArray[np.float64]:
    """[M] by how much the subject's body of each marker is larger than the table's."""
    return np.asarray([fit.model.scale[int(fit.model.group[b])] for b in fit.markers.body])


def _seen(found: ClipFit) -> NDArray[np.float64]:
    """[T, M, 3] markers as fitted, with exchanged labels put back."""
    points = found.source.points_mm[:, list(found.placement.index)]
    return mend_exchanges(points, found.placement.markers)[0] if found.settings["mend"] else points


def _number(value: float, digits: int = 3) -> float | None:
    return round(float(value), digits) if np.isfinite(value) else None


def _hash(file: str) -> str | None:
    return file_sha256(file) if Path(file).is_file() else None


def _write_parquet(path: Path, columns: dict[str, Any]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with atomic_write(path) as stream:
        pq.write_table(
            pa.table({name: np.asarray(values) for name, values in columns.items()}), stream, compression="zstd"
        )


def _check_free(folder: Path) -> None:
    """Refuse a folder that is not an earlier fit: it would be replaced whole."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    try:
        read_manifest(folder, KIND)
    except ReadError as error:
        raise RunError(
            "something else than a fit stands here", file=folder, field="out", cure="give a new folder"
        ) from error


def read_clip_fit(folder: str | os.PathLike[str]) -> StoredFit:
    """Read a fit back.

    Raises:
        ReadError: no such folder, an unfinished or damaged one, or one of another version.
    """
    root = Path(folder)
    read_manifest(root, KIND, verify=True)
    report = parse_json((root / "fit.json").read_bytes())
    body = report["body"]
    model = build_model(body["sex"], body["stature_mm"], Alignment(**body["alignment"]), limbs=body["limbs"])
    subject = model.scaled(dict(zip(SCALE_GROUPS, body["scale"], strict=True)))
    with np.load(root / "poses.npz", allow_pickle=False) as stored:
        arrays = {name: stored[name] for name in stored.files}
    missing = [name for name in ("q", "points_mm", "names", "body") if name not in arrays]
    if missing:
        raise ReadError(
            f"has no {', '.join(missing)}: another version wrote it", file=root / "poses.npz", cure="fit the clip again"
        )
    return StoredFit(
        subject, arrays["q"], float(report["rate_hz"]), report["clip_id"], arrays.get("angle_sd_deg"),
        arrays["points_mm"], tuple(arrays["names"].tolist()), arrays["body"], report,
    )  # fmt: skip
