"""Strips of a clip: reference and prediction in a few frames, from the side and from behind, and the error over time.

Convention: drawn on the reference body's own axes (right: from its left to its right hip, levelled; up: the world's),
around its mid-sacrum, in mm. Grey is the reference, blue the prediction; the worst frame is among those shown, framed
in red. What is not predicted is not drawn.

Trap: a prediction metres away lies outside its panel; the curve of the error below shows it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.drawing import BLUE, GREY, INK, SOFT, VERMILION, draw
from bench.motion.groups import REGION_ROWS, edges
from bench.motion.scoring import reference_points
from spinemed.metrics.motion import seen_points
from spinemed.motion.dataset import SEGMENTS, SimulatedClip
from spinemed.motion.dataset.predictions import POINT_NAMES

__all__ = ["angle_strip", "clip_strip"]

_FRAMES = 6


def clip_strip(clip: SimulatedClip, predicted: NDArray[np.float64]) -> bytes:
    """The strip of one clip as PNG.

    Args:
        clip: The reference.
        predicted: [T, 61, 3].
    """
    reference = reference_points(clip)
    distance = np.sqrt(((predicted - reference) ** 2).sum(axis=-1))
    there = np.isfinite(distance)
    count = there.sum(axis=1)
    error = np.where(count > 0, np.where(there, distance, 0.0).sum(axis=1) / np.maximum(count, 1), np.nan)
    worst = int(np.nanargmax(error)) if np.isfinite(error).any() else 0
    even = np.linspace(0, clip.frames - 1, min(_FRAMES, clip.frames)).round().astype(int)
    nearest = int(np.abs(even - worst).argmin())
    shown = [worst if i == nearest else int(frame) for i, frame in enumerate(even)]
    side, behind, reach = _views(reference, predicted)
    lines = edges(tuple(bool(one) for one in np.isfinite(reference[0]).all(axis=-1)))

    def paint(figure: Any) -> None:
        from matplotlib.patches import Rectangle

        rows = figure.subplots(3, 1, height_ratios=(4, 4, 1))
        for axes, title, views in zip(rows, ("from the right", "from behind"), (side, behind)):
            # One panel for all frames: a panel each would take ten times as long to lay out.
            (left, right), (foot, head) = reach
            for column, frame in enumerate(shown):
                shift = np.array([column * (right - left), 0.0])
                _figure(axes, views[0][frame] + shift, lines, GREY, 1.6)
                _figure(axes, views[1][frame] + shift, lines, BLUE, 1.2)
                place = (left + shift[0], foot)
                words = f"{frame / clip.rate_hz:.2f} s"
                axes.text(
                    place[0] + 0.5 * (right - left), head, words, fontsize=8.5, color=INK, ha="center", va="bottom"
                )
                if frame == worst:
                    axes.add_patch(Rectangle(place, right - left, head - foot, fill=False, edgecolor=VERMILION))
            axes.text(
                left - 30.0, 0.5 * (foot + head), title, fontsize=8, color=SOFT, rotation=90, ha="right", va="center"
            )
            axes.set_aspect("equal")
            axes.set_xlim(left - 90.0, left + len(shown) * (right - left) + 20.0)
            axes.set_ylim(foot - 10.0, head + 10.0)
            axes.axis("off")
        axes = rows[2]
        axes.plot(np.arange(clip.frames) / clip.rate_hz, error, color=BLUE, lw=1.1)
        for frame in shown:
            axes.axvline(frame / clip.rate_hz, color=VERMILION if frame == worst else GREY, lw=0.7, ls=":")
        axes.set_ylim(bottom=0)
        axes.set_xlim(0, max(clip.frames - 1, 1) / clip.rate_hz)
        axes.set_xlabel("s", fontsize=8.5)
        axes.set_ylabel("error, mm", fontsize=8.5)
        axes.tick_params(labelsize=8)

    return draw((9.6, 6.8), paint, dpi=110)


def _figure(axes: Any, points: NDArray[np.float64], lines: list[tuple[int, int]], colour: str, width: float) -> None:
    from matplotlib.collections import LineCollection

    ends = points[np.array(lines, dtype=np.int64).reshape(-1, 2)]
    drawn = ends[np.isfinite(ends).all(axis=(1, 2))]
    axes.add_collection(LineCollection(list(drawn), colors=colour, linewidths=width, capstyle="round"))
    kept = points[seen_points(points)]
    axes.plot(kept[:, 0], kept[:, 1], ".", color=colour, ms=2.2)


def _views(
    reference: NDArray[np.float64], predicted: NDArray[np.float64]
) -> tuple[tuple[NDArray[np.float64], ...], tuple[NDArray[np.float64], ...], tuple[tuple[float, float], ...]]:
    """Both bodies [T, 61, 2] from the right and from behind, and the panels' limits."""
    left, right = (reference[:, POINT_NAMES.index(name)] for name in ("left_hip", "right_hip"))
    across = (right - left) * np.array([1.0, 1.0, 0.0])
    length = np.linalg.norm(across, axis=-1, keepdims=True)
    across = np.where(length > 0, across / np.maximum(length, 1e-9), np.array([1.0, 0.0, 0.0]))
    forward = np.stack([-across[:, 1], across[:, 0], np.zeros(len(across))], axis=-1)
    root = reference[:, POINT_NAMES.index("hip")]
    found = []
    for axis in (forward, across):
        pair = []
        for points in (reference, predicted):
            moved = points - root[:, None]
            pair.append(np.stack([np.einsum("tki,ti->tk", moved, axis), moved[..., 2]], axis=-1))
        found.append(tuple(pair))
    own = np.concatenate([pair[0][seen_points(pair[0])] for pair in found])
    low, high = own.min(axis=0) - 80.0, own.max(axis=0) + 80.0
    return found[0], found[1], ((float(low[0]), float(high[0])), (float(low[1]), float(high[1])))


def angle_strip(clip: SimulatedClip, predicted: NDArray[np.float64]) -> bytes:
    """Flexion of the three regions over time, for predictions that hold angles and no points.

    Args:
        clip: The reference.
        predicted: [T, 25, 3] in the order of `SEGMENTS`.
    """
    assert predicted.shape[1] == len(SEGMENTS)
    time = np.arange(clip.frames) / clip.rate_hz

    def paint(figure: Any) -> None:
        panels = figure.subplots(1, 3, sharex=True)
        for axes, (name, rows) in zip(panels, REGION_ROWS.items(), strict=True):
            axes.plot(time, clip.angles_deg[:, rows, 0].sum(axis=1), color=GREY, lw=1.6)
            axes.plot(time, predicted[:, rows, 0].sum(axis=1), color=BLUE, lw=1.2)
            axes.set_title(f"{name} flexion, degrees", fontsize=9, loc="left", color=INK)
            axes.set_xlabel("s", fontsize=8.5)
            axes.tick_params(labelsize=8)

    return draw((9.6, 2.6), paint, dpi=110)
