"""One HTML page that needs nothing else: a moving spine in 3D, the curve of each level, lordosis and kyphosis.

Convention: `templates/view.html` draws; this module packs what it draws: 16-bit integers in base64 (places in steps of
the clip's extent over 65,000, angles in hundredths, curves in tenths of a degree). Equal scenes give equal bytes.

The trap: a long clip is thinned to `most_frames`; the page says so, and its angles are those of the frames shown.
"""

from __future__ import annotations

import base64
import html
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spinemed import __version__
from spinemed.motion.conventions import DIRECTIONS, SIGNS
from spinemed.motion.scene import Scene
from spinemed.tables import write_text

__all__ = ["render_page", "write_page"]

_TEMPLATE = Path(__file__).resolve().parent / "templates" / "view.html"
_LABELS = {
    "lordosis_l1_s1": "Lordosis L1-S1", "kyphosis_t4_t12": "Kyphosis T4-T12", "lordosis_c2_c7": "Lordosis C2-C7",
}  # fmt: skip
_GONE = -32768


def write_page(scene: Scene, out: str | os.PathLike[str], *, most_frames: int = 1500) -> None:
    """Write the page of a scene, whole or not at all."""
    write_text(out, render_page(scene, most_frames=most_frames))


def render_page(scene: Scene, *, most_frames: int = 1500) -> str:
    """The page of a scene as text. Clips longer than `most_frames` are thinned evenly, and the page says so."""
    frames = len(scene.q)
    step = -(-frames // most_frames)
    rows = np.arange(0, frames, step)
    note = f"{frames} frames at {scene.rate_hz:g} Hz"
    note += f"; one frame in {step} is shown." if step > 1 else "; all are shown."
    note += (
        f" SpineMed {__version__}. Red dots are measured markers."
        if scene.seen_mm is not None
        else f" SpineMed {__version__}."
    )
    data = json.dumps(
        _data(scene, rows, step), ensure_ascii=True, separators=(",", ":"), sort_keys=True, allow_nan=False
    )
    parts = {
        "TITLE": html.escape(scene.title), "SUBTITLE": html.escape(scene.subtitle), "FLAGS": _flags(scene),
        "NOTE": html.escape(note), "DATA": data.replace("<", "\\u003c"),
    }  # fmt: skip
    pieces = _TEMPLATE.read_text(encoding="utf-8").split("@@")  # text, name, text, name, ..., text
    return "".join(parts[piece] if k % 2 else piece for k, piece in enumerate(pieces))


def _flags(scene: Scene) -> str:
    if not scene.flags:
        return ""
    lines = []
    for flag in scene.flags:
        whom = ", ".join(flag.markers[:12]) + (f" and {len(flag.markers) - 12} more" if len(flag.markers) > 12 else "")
        text = html.escape(flag.message + (f" ({whom})" if whom else ""))
        lines.append(f"<li><b>{html.escape(flag.name.replace('_', ' '))}</b>: {text}</li>")
    return f'<div class="flags"><b>Doubts</b><ul>{"".join(lines)}</ul></div>'


def _data(scene: Scene, rows: NDArray[np.int64], step: int) -> dict[str, Any]:
    from scipy.spatial.transform import Rotation

    model, placement = scene.model, scene.placement
    origins, turns = placement.origins_mm[rows][:, :25], placement.rotations[rows][:, 1:25]
    dots, edges = scene.frame_mm()
    dots = dots[rows]
    everything = [origins.reshape(-1, 3), dots.reshape(-1, 3)]
    seen = None if scene.seen_mm is None else scene.seen_mm[rows]
    if seen is not None:
        shown = seen[np.isfinite(seen).all(axis=-1)]
        # A marker far away from the body must not coarsen the steps of all others: it is not shown.
        reach = np.concatenate(everything)
        shown = shown[((shown > reach.min(axis=0) - 1000) & (shown < reach.max(axis=0) + 1000)).all(axis=1)]
        everything.append(shown)
    cloud = np.concatenate(everything)
    low, high = cloud.min(axis=0), cloud.max(axis=0)
    middle, gauge = (low + high) / 2, float(max((high - low).max(), 1.0)) / 65000.0
    quaternions = Rotation.from_matrix(turns.reshape(-1, 3, 3)).as_quat()[:, [3, 0, 1, 2]]
    quaternions *= np.where(quaternions[:, :1] < 0, -1.0, 1.0)
    follow = placement.origins_mm[rows, 0]
    tall = float(np.ptp(np.concatenate([dots, origins], axis=1)[..., 2], axis=1).max())
    across = np.linalg.norm((np.concatenate([dots, origins], axis=1) - follow[:, None])[..., :2], axis=-1).max()
    upper = float(np.median(np.concatenate([dots, origins], axis=1)[..., 2].max(axis=1) - follow[:, 2]))
    lower = float(np.median(np.concatenate([dots, origins], axis=1)[..., 2].min(axis=1) - follow[:, 2]))
    data: dict[str, Any] = {
        "frames": len(rows), "rate": scene.rate_hz / step,
        "levels": [str(vertebra.level) for vertebra in model.vertebrae],
        "levelRegions": [vertebra.level.region.value for vertebra in model.vertebrae],
        "segments": [str(segment) for segment in model.segments],
        "segmentRegions": [segment.region.value for segment in model.segments],
        "segmentUpper": [k if k < 24 else -1 for k in range(25)], "segmentLower": [k - 1 for k in range(25)],
        "directions": [
            {"name": name.replace("_", " ").capitalize(), "short": name.split("_")[0], "positive": SIGNS[name][2]}
            for name in DIRECTIONS
        ],
        "limits": np.round(scene.limits_deg, 2).tolist(),
        "shapes": np.round(scene.shapes_mm, 2).tolist(),
        "points": dots.shape[1], "edges": [list(edge) for edge in edges],
        "step_mm": gauge, "origin_mm": middle.tolist(),
        "place": _pack((origins - middle) / gauge), "dots": _pack((dots - middle) / gauge),
        "turn": _pack(quaternions * 32767.0), "angles": _pack(scene.angles_deg[rows] * 100.0),
        "curves": [
            {"label": _LABELS[name], "values": _pack(values[rows] * 10.0)} for name, values in scene.curves_deg.items()
        ],
        "floor_mm": float(dots[..., 2].min()), "middle_mm": np.median(follow, axis=0).tolist(),
        "spine_mm": float(np.linalg.norm(origins[:, 24] - origins[:, 1], axis=-1).max()),
        "above_mm": (upper + lower) / 2, "tall_mm": 1.12 * tall, "wide_mm": max(2.1 * float(across), 0.6 * tall),
    }  # fmt: skip
    if scene.angle_sd_deg is not None:
        data["sd"] = _pack(np.minimum(scene.angle_sd_deg[rows] * 100.0, 32000.0))
    if seen is not None:
        values = (seen - middle) / gauge
        far = ~(np.abs(values) <= 32767).all(axis=-1)
        data["markers"] = seen.shape[1]
        data["seen"] = _pack(np.where(far[..., None], _GONE, values))
    return data


def _pack(values: NDArray[np.float64]) -> str:
    """Whole numbers in 16 bits, little-endian, base64."""
    whole = np.rint(values)
    if not (np.abs(whole) <= 32768).all():
        raise ValueError("a value does not fit 16 bits")
    return base64.b64encode(whole.astype("<i2").tobytes()).decode("ascii")
