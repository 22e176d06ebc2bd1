"""Pictures of a moving spine: strips of moments, and the picture of the sign table.

Convention: matplotlib without a display; PNG without dates, so equal scenes give equal bytes with one matplotlib. Right
is the person's right in views from behind; in views from the right, forward is to the right of the picture.

The trap: every moment is turned to the pelvis' heading and placed by its pelvis: a strip shows posture, not path.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from spinemed.motion.rotations import elementary
from spinemed.motion.scene import Scene
from spinemed.tables import atomic_write

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["COLOURS", "draw_spine", "headed_blocks", "save_figure", "write_strip"]

COLOURS = {"lumbar": "#2b6cd4", "thoracic": "#1f9d6b", "cervical": "#d9762b"}
_FACES = ((0, 1, 2, 3), (4, 5, 6, 7), (0, 1, 5, 4), (1, 2, 6, 5), (2, 3, 7, 6), (3, 0, 4, 7), (8, 9, 10))
_VIEWS = {"right": (1, 2, 0, 1.0), "behind": (0, 2, 1, -1.0), "above": (0, 1, 2, 1.0)}
"""What lies across, upwards and towards the viewer, and the sign of the last."""
_LABELS = {"lordosis_l1_s1": "L1-S1 lordosis", "kyphosis_t4_t12": "T4-T12 kyphosis", "lordosis_c2_c7": "C2-C7 lordosis"}


def headed_blocks(scene: Scene, rows: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Blocks [R, 24, 11, 3] and frame points [R, P, 3] of some frames, the pelvis at the origin and facing +y."""
    origin = scene.placement.origins_mm[rows, 0]
    turn = np.stack([elementary(2, -float(scene.q[row, 3])) for row in rows])
    blocks = scene.blocks_mm(rows) - origin[:, None, None]
    points = scene.frame_mm()[0][rows] - origin[:, None]
    return np.einsum("rij,rvkj->rvki", turn, blocks), np.einsum("rij,rpj->rpi", turn, points)


def draw_spine(
    axes: Axes, blocks: NDArray[np.float64], regions: list[str], view: str, *, colour: str | None = None,
    alpha: float = 1.0,
) -> None:  # fmt: skip
    """Draw the 24 vertebrae [24, 11, 3] of one moment, seen from the "right", from "behind" or from "above"."""
    from matplotlib.collections import PolyCollection
    from matplotlib.colors import to_rgb

    across, up, deep, near = _VIEWS[view]
    faces, depths, colours = [], [], []
    for corners, region in zip(blocks, regions, strict=True):
        base = np.array(to_rgb(colour or COLOURS[region]))
        for number, face in enumerate(_FACES):
            own = corners[list(face)]
            faces.append(own[:, [across, up]])
            depths.append(near * float(own[:, deep].mean()))
            tone = (0.75, 1.15, 0.9, 1.0, 0.9, 1.0, 0.6)[number]
            colours.append((*np.clip(base * tone, 0, 1), alpha))
    order = np.argsort(depths, kind="stable")
    axes.add_collection(
        PolyCollection(
            [faces[i] for i in order], facecolors=[colours[i] for i in order], edgecolors=(1, 1, 1, 0.5 * alpha),
            linewidths=0.3,
        )
    )  # fmt: skip


def write_strip(scene: Scene, out: str | os.PathLike[str], *, count: int = 8) -> None:
    """Write a strip: `count` moments from the right and from behind, and the curves with these moments marked."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib.figure import Figure

    frames = len(scene.q)
    rows = np.unique(np.linspace(0, frames - 1, min(count, frames)).round().astype(np.int64))
    blocks, points = headed_blocks(scene, rows)
    edges = scene.frame_mm()[1]
    regions = [vertebra.level.region.value for vertebra in scene.model.vertebrae]
    low, high = blocks.min(axis=(0, 1, 2)) - 60, blocks.max(axis=(0, 1, 2)) + 60
    low[2] = min(low[2], -140.0)
    tall = high[2] - low[2]
    width = max(1.5 * len(rows), 7.0)
    column = width / len(rows)
    figure = Figure(figsize=(width, 2 * column * tall / max(high[:2] - low[:2]) + 3.2), layout="constrained")
    grid = figure.add_gridspec(3, len(rows), height_ratios=[tall, tall, 0.55 * tall])
    for number, row in enumerate(rows):
        for line, (view, axis) in enumerate((("right", 1), ("behind", 0))):
            axes = figure.add_subplot(grid[line, number])
            for a, b in edges:
                axes.plot(points[number, [a, b], axis], points[number, [a, b], 2], color="#aab4c0", lw=0.8, zorder=0)
            draw_spine(axes, blocks[number], regions, view)
            middle = (low[axis] + high[axis]) / 2
            reach = max(high[:2] - low[:2]) / 2
            axes.set(xlim=(middle - reach, middle + reach), ylim=(low[2], high[2]), aspect="equal")
            axes.set_axis_off()
            if line == 0:
                axes.set_title(f"{row / scene.rate_hz:.2f} s", fontsize=9)
    _curves(scene, figure.add_subplot(grid[2, :]), rows)
    doubts = f"Doubts: {', '.join(flag.name.replace('_', ' ') for flag in scene.flags)}. " if scene.flags else ""
    title = (
        f"{scene.title}: from the right, from behind. {scene.subtitle}\n{doubts}Research use only, not for diagnosis."
    )
    figure.suptitle(title, fontsize=9, x=0.01, ha="left")
    save_figure(figure, out)


def _curves(scene: Scene, axes: Axes, rows: NDArray[np.int64]) -> None:
    time = np.arange(len(scene.q)) / scene.rate_hz
    for (name, values), colour in zip(scene.curves_deg.items(), ("#2b6cd4", "#1f9d6b", "#d9762b"), strict=True):
        axes.plot(time, values, color=colour, lw=1.4, label=_LABELS[name])
        axes.plot(time[rows], values[rows], "o", color=colour, ms=3)
    axes.set_xlabel("seconds", fontsize=8)
    axes.set_ylabel("degrees", fontsize=8)
    axes.tick_params(labelsize=8)
    axes.margins(x=0.01)
    axes.legend(fontsize=8, ncols=3, frameon=False, loc="lower left", bbox_to_anchor=(0.0, 1.0), borderaxespad=0.1)
    axes.spines[["top", "right"]].set_visible(False)


def save_figure(figure: Figure, out: str | os.PathLike[str], dpi: int = 100) -> None:
    """Write a figure as PNG, whole or not at all, without dates."""
    no_dates: Any = {"Software": None}
    with atomic_write(out) as stream:
        figure.savefig(stream, format="png", dpi=dpi, facecolor="white", metadata=no_dates)
