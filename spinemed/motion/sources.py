"""One recorded clip, whatever its format: markers in millimetres for the fit, with the doubts of reading it.

Convention: the suffix tells the format; a folder is the keypoints of several cameras, whose calibration must be given.
Triangulated points carry the covariance that their pixels' noise leaves. Names stay as in the file; `place_names` says
where they sit on the body.

The trap: what no table knows is left out of the fit, and counted: look at `Placement.left_out` before you trust a fit.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spinemed.config import Config
from spinemed.errors import ReadError
from spinemed.motion.checks import Flag
from spinemed.motion.conventions import MotionError
from spinemed.motion.io.clips import MarkerClip
from spinemed.motion.keypoints import SPINETRACK_37, keypoint_markers, laboratory_markers
from spinemed.motion.model import BodyModel, MarkerSet
from spinemed.motion.tables import read_table

__all__ = [
    "KINDS",
    "MarkerNames",
    "Placement",
    "Source",
    "covariance_with",
    "needs_limbs",
    "place_names",
    "read_source",
]

KINDS = {
    ".c3d": "markers (C3D)", ".trc": "markers (TRC)", ".bvh": "joints (BVH)", ".amc": "joints (ASF/AMC)",
    ".npy": "keypoints", ".npz": "keypoints", ".json": "keypoints", ".parquet": "keypoints",
}  # fmt: skip
"""What a suffix means; a folder holds the keypoints of several cameras."""

_CLUSTER_SD_MM = 100.0
_LABORATORY_SD_MM = 20.0
_KEYPOINT_SD_MM = 0.0


class MarkerNames(Config):
    """What the markers of a laboratory are called, and which it has of its own."""

    rename: dict[str, str] = {}
    """Name in the file: name in our tables (spinemed/motion/tables/markers.csv) or of a SpineTrack keypoint."""
    clusters: dict[str, str] = {}
    """Markers whose place no table knows: name in the file, and the body that carries it, such as right_thigh."""
    leave_out: list[str] = []
    """Markers of the file that are not to be used."""


@dataclass(frozen=True)
class Source:
    """A clip to be fitted.

    Attributes:
        names: K markers as in the file.
        points_mm: [T, K, 3] on our axes, NaN where missing.
        rate_hz: Frames per second.
        kind: What was read.
        covariance_mm2: [T, K, 3, 3] of triangulated points, else None.
        frame_ids: [T] as in the file.
        flags: Doubts of reading.
        facts: What else is worth a line in the report.
        file: Where it came from.
    """

    names: tuple[str, ...]
    points_mm: NDArray[np.float64]
    rate_hz: float
    kind: str
    file: str
    covariance_mm2: NDArray[np.float64] | None = None
    frame_ids: tuple[int, ...] = ()
    flags: tuple[Flag, ...] = ()
    facts: dict[str, float | int | str] = field(default_factory=dict)


@dataclass(frozen=True)
class Placement:
    """Where a source's markers sit.

    Attributes:
        index: [M] which markers of the source are used.
        markers: [M] their places on the model.
        sd_mm: How far each may sit from there, by name.
        left_out: Reason by name of the file, for all others.
    """

    index: tuple[int, ...]
    markers: MarkerSet
    sd_mm: dict[str, float]
    left_out: dict[str, str]


def read_source(
    path: str | os.PathLike[str],
    *,
    cameras: str | os.PathLike[str] | None = None,
    unit: str | None = None,
    up: str | None = None,
    rate_hz: float | None = None,
    layout: str | None = None,
    subject: str | None = None,
    skeleton: str | os.PathLike[str] | None = None,
) -> Source:
    """Read a clip.

    Args:
        path: A file of one of `KINDS`, or a folder with the keypoints of each camera.
        cameras: Calibration TOML of Pose2Sim's layout, for a folder.
        unit: "mm", "cm" or "m" overrides what the file says.
        up: "y" or "z" overrides what the file says.
        rate_hz: Frames per second where the file does not say; refused where it says otherwise.
        layout: Of keypoints, see `io.keypoints.LAYOUTS`.
        subject: Of a C3D file with several.
        skeleton: The ASF file of an AMC.

    Raises:
        ReadError, MotionError: see the readers in `io`; a kind that holds no points; one camera alone; no rate; an
            argument that means nothing for this kind of file.
    """
    source = Path(path)
    suffix = source.suffix.lower()
    if source.is_dir():
        return _views(source, cameras, unit, up, rate_hz, layout)
    if cameras is not None:
        raise MotionError(
            "a calibration is given for a single file", file=path, field="cameras",
            cure="give the folder with one keypoint file per camera, named after the cameras",
        )  # fmt: skip
    if suffix in (".mot", ".sto"):
        raise ReadError(
            "holds angles, and a fit needs points", file=path, cure="give the markers that these angles came from"
        )
    if suffix not in KINDS:
        raise ReadError(
            f"{suffix or 'no suffix'} is no kind of clip",
            file=path,
            cure=f"give one of {', '.join(KINDS)}, or a folder",
        )
    _only_where_meant(source, suffix, layout, subject, skeleton)
    if suffix in (".c3d", ".trc", ".bvh", ".amc"):
        clip = _markers(source, suffix, unit, up, rate_hz, subject, skeleton)
        numbers = tuple(range(clip.first_frame, clip.first_frame + clip.frames))
        return Source(
            clip.names, clip.points_mm, clip.rate_hz, KINDS[suffix], os.fspath(path), None, numbers, clip.flags,
            {"unit": clip.unit, "up": clip.up},
        )  # fmt: skip
    from spinemed.motion.io.keypoints import read_keypoints

    keypoints = read_keypoints(path, layout=layout, unit=unit, up=up or "z", rate_hz=rate_hz)
    if keypoints.flat:
        raise MotionError(
            "keypoints of 1 camera cannot tell depth", file=path, field="cameras",
            cure="give a folder with the keypoints of two or more calibrated cameras, or use a lifter",
        )  # fmt: skip
    return Source(
        keypoints.names, keypoints.points, _rate(keypoints.rate_hz, path), KINDS[suffix], os.fspath(path), None,
        keypoints.frame_ids or tuple(range(len(keypoints.points))), keypoints.flags, {"layout": keypoints.layout},
    )  # fmt: skip


def _only_where_meant(
    source: Path, suffix: str, layout: str | None, subject: str | None, skeleton: str | os.PathLike[str] | None
) -> None:
    """Refuse what would be ignored, so that nobody believes that it was heeded."""
    for name, given, meant in (
        ("layout", layout, (".npy", ".npz", ".json", ".parquet")), ("subject", subject, (".c3d",)),
        ("skeleton", skeleton, (".amc",)),
    ):  # fmt: skip
        if given is not None and suffix not in meant:
            raise MotionError(
                f"means nothing for {KINDS[suffix]}", file=source, field=name,
                cure=f"leave it out; it belongs to {', '.join(meant)}",
            )  # fmt: skip


def _markers(
    source: Path, suffix: str, unit: str | None, up: str | None, rate_hz: float | None, subject: str | None,
    skeleton: str | os.PathLike[str] | None,
) -> MarkerClip:  # fmt: skip
    if suffix == ".c3d":
        from spinemed.motion.io.c3d import read_c3d

        clip = read_c3d(source, unit=unit, up=up, subject=subject)
    elif suffix == ".trc":
        from spinemed.motion.io.trc import read_trc

        clip = read_trc(source, unit=unit, up=up or "y")
    elif suffix == ".bvh":
        from spinemed.motion.io.skeletons import read_bvh

        clip = read_bvh(source, unit=unit, up=up or "y").markers()
    else:
        from spinemed.motion.io.skeletons import read_amc

        if skeleton is None:
            raise MotionError(
                "an AMC file needs its ASF file", file=source, field="skeleton", cure="give it with --skeleton"
            )
        return read_amc(source, skeleton, rate_hz=rate_hz, up=up or "y").markers()
    if rate_hz is not None and not abs(rate_hz / clip.rate_hz - 1) <= 0.01:  # so that NaN is refused as well
        raise MotionError(
            f"{rate_hz:g} frames per second are given and the file says {clip.rate_hz:g}", file=source, field="rate_hz",
            cure="leave the rate out, or mend the file",
        )  # fmt: skip
    return clip


def _views(
    folder: Path, cameras: str | os.PathLike[str] | None, unit: str | None, up: str | None, rate_hz: float | None,
    layout: str | None,
) -> Source:  # fmt: skip
    from spinemed.motion.cameras import read_calibration
    from spinemed.motion.io.views import find_views, read_views
    from spinemed.motion.triangulate import triangulate

    if cameras is None:
        raise MotionError(
            "a folder of keypoints needs the calibration of its cameras", file=folder, field="cameras",
            cure="give the TOML file with --cameras; a single person's OpenPose folder is one camera's",
        )  # fmt: skip
    rig = read_calibration(cameras, unit=unit or "m", up=up or "z")
    views = read_views(find_views(folder, rig), rig, layout=layout)
    found = triangulate(views.cameras, views.pixels, views.confidence)
    flags = list(views.flags)
    if found.disagreeing:
        flags.append(
            Flag("cameras_disagree", f"no two cameras agree on {found.disagreeing} points; they count as missing")
        )
    facts: dict[str, float | int | str] = {
        "cameras": len(views.cameras), "unseen_points": found.unseen, "disagreeing_points": found.disagreeing,
        "pixel_noise_px": round(found.sigma_px, 3),
    }  # fmt: skip
    return Source(
        views.names, found.points_mm, _rate(rate_hz or views.rate_hz, folder), "keypoints of cameras",
        os.fspath(folder), found.covariance_mm2, views.frame_ids, tuple(flags), facts,
    )  # fmt: skip


def _rate(rate_hz: float | None, path: str | os.PathLike[str]) -> float:
    if rate_hz is None:
        raise MotionError(
            "does not say how many frames a second has", file=path, field="rate_hz", cure="give it with --rate"
        )
    return float(rate_hz)


def _known_names() -> tuple[set[str], set[str]]:
    """Names of keypoints on the body, and of usual laboratory markers."""
    return set(SPINETRACK_37), {row["name"] for row in read_table("markers")}


def needs_limbs(names: Sequence[str], plan: MarkerNames) -> bool:
    """Whether any of the named markers sits on a limb, so that the body must have them."""
    rows = {row["name"]: row["body"] for table in ("markers", "keypoints") for row in read_table(table)}
    bodies = [plan.clusters.get(name) or rows.get(plan.rename.get(name, name), "") for name in names]
    return any(body.startswith(("left_", "right_")) for body in bodies)


def place_names(source: Source, model: BodyModel, plan: MarkerNames, sd_mm: float | None = None) -> Placement:
    """Where the markers of a source sit on a model.

    Names of the laboratory table may sit `sd_mm` (None: 20 mm) from their place, keypoints none at all (or `sd_mm`),
    clusters 100 mm from the middle of their body. A marker that no frame shows is left out.

    Raises:
        MotionError: a plan that names what the clip or the model lacks, two markers of one name, or fewer than three
            known markers.
    """
    keypoints, laboratory = _known_names()
    for given, what in (
        (plan.rename, "rename"),
        (plan.clusters, "clusters"),
        (dict.fromkeys(plan.leave_out), "leave_out"),
    ):
        for name in given:
            if name not in source.names:
                raise MotionError(
                    f"the clip has no marker {name!r}", file=source.file, field=f"{what}.{name}",
                    cure=f"use names among {', '.join(source.names)}",
                )  # fmt: skip
    seen = np.asarray(np.isfinite(source.points_mm).all(axis=-1).any(axis=0))
    index, names, body = [], [], []
    local: list[NDArray[np.float64]] = []
    sd: dict[str, float] = {}
    left: dict[str, str] = {}
    for number, own in enumerate(source.names):
        name = plan.rename.get(own, own)
        if own in plan.leave_out:
            left[own] = "left out by the plan"
        elif not seen[number]:
            left[own] = "never seen"
        elif own in plan.clusters:
            index.append(number)
            names.append(own)
            body.append(model.body(plan.clusters[own]))
            local.append(_middle(model, body[-1]))
            sd[own] = _CLUSTER_SD_MM
        elif name in keypoints or name in laboratory:
            placed = keypoint_markers(model, [name]) if name in keypoints else laboratory_markers(model, [name])
            index.append(number)
            names.append(name)
            body.append(int(placed.body[0]))
            local.append(placed.local_mm[0])
            usual = _KEYPOINT_SD_MM if name in keypoints else _LABORATORY_SD_MM
            sd[name] = usual if sd_mm is None else sd_mm
        else:
            left[own] = "no table knows the name"
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise MotionError(
            f"two markers of the clip are called {twice[0]!r}", file=source.file, field=twice[0],
            cure="leave one of them out",
        )  # fmt: skip
    if len(names) < 3:
        raise MotionError(
            f"{len(names)} of {len(source.names)} markers are known ({', '.join(source.names[:8])} ...)",
            file=source.file, field="names", cure="name them with --names FILE.yaml (rename, clusters)",
        )  # fmt: skip
    markers = MarkerSet(tuple(names), np.array(body, dtype=np.int64), np.array(local, dtype=np.float64))
    return Placement(tuple(index), markers, sd, left)


def _middle(model: BodyModel, body: int) -> NDArray[np.float64]:
    """Halfway to the next joint, where there is one."""
    below = np.flatnonzero(model.parent == body)
    return np.asarray(model.offset_mm[below].mean(axis=0) / 2 if len(below) else np.zeros(3))


def covariance_with(source: Source, index: Sequence[int], sigma_mm: float) -> NDArray[np.float64] | None:
    """[T, M, 3, 3] of triangulated points, with the skin's and the detector's own `sigma_mm` on each axis added."""
    if source.covariance_mm2 is None:
        return None
    own = source.covariance_mm2[:, list(index)]
    return np.asarray(np.where(np.isfinite(own), own, 0.0) + sigma_mm**2 * np.eye(3))
