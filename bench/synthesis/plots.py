"""The plots of a synthesis report, and pictures of single vertebrae.

Convention: PNG, the same bytes every time (:mod:`bench.drawing`); levels head to foot from left to right; a picture is
the middle sagittal layer, front to the left, up is up. Grey or black: healthy; blue: synthetic; red: the body as it is.
A mark without an interval is hollow and has no bar.

Trap: the middle layer may look right where the sides are wrong; Dice and RHDR see them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.drawing import BLUE, GREY, INK, ORANGE, SOFT, VERMILION, draw, mark
from bench.synthesis.records import SummaryRow, VertebraScore
from bench.synthesis.scoring import HIGH_HU, LOW_HU, Healthy, Judged
from spinemed.volume import Volume, resample_like

__all__ = ["layer_picture", "levels_plot", "losses_plot"]

Slice = NDArray[Any]


def levels_plot(rows: Sequence[SummaryRow]) -> bytes:
    """Dice, RHDR and the error of the height loss by level."""
    names = [row.key for row in rows]
    parts = (("dice", "Dice", BLUE), ("rhdr_percent", "RHDR, % of the height", ORANGE),
             ("loss_mae_capped", "height loss error (capped, misses counted), points", VERMILION))  # fmt: skip

    def paint(figure: Any) -> None:
        panels = figure.subplots(len(parts), 1, sharex=True)
        for axes, (name, title, colour) in zip(panels, parts, strict=True):
            for place, row in enumerate(rows):
                if name in row.values:
                    mark(axes, place, row.values[name], colour)
            if name != "dice":
                axes.set_ylim(bottom=0)
            axes.set_title(title, fontsize=9.5, loc="left", color=INK)
        panels[-1].set_xticks(range(len(rows)), names)
        panels[-1].set_xlim(-0.6, max(len(rows), 6) - 0.4)

    return draw((max(6.4, 0.42 * len(rows) + 1.2), 5.4), paint)


def losses_plot(vertebrae: Sequence[VertebraScore]) -> bytes:
    """Height loss against the healthy body and against the synthesis, third by third."""
    pairs = [(one.truth, one.found) for one in vertebrae if one.truth is not None and one.found is not None]
    colours = (("anterior", BLUE), ("middle", ORANGE), ("posterior", VERMILION))

    def paint(figure: Any) -> None:
        axes = figure.subplots()
        for third, (name, colour) in enumerate(colours):
            x, y = [truth[third] for truth, _ in pairs], [found[third] for _, found in pairs]
            axes.plot(x, y, "o", color=colour, ms=3.5, alpha=0.7, label=name)
        low, high = axes.get_xlim()
        axes.plot([low, high], [low, high], color=GREY, lw=0.9, ls="--")
        for border in (20, 25, 40):
            axes.axhline(border, color=SOFT, lw=0.6, ls=":")
            axes.axvline(border, color=SOFT, lw=0.6, ls=":")
        axes.set_xlabel("loss against the healthy body, %")
        axes.set_ylabel("loss against the synthesis, %")
        axes.legend(fontsize=8.5, loc="upper left")

    return draw((5.2, 4.2), paint)


def layer_picture(healthy: Healthy, judged: Judged) -> bytes:
    """The middle sagittal layer: outlines on the healthy picture, and the synthetic picture where there is one."""
    there = np.flatnonzero(healthy.body.any(axis=(1, 2)))
    k = int(there[len(there) // 2])
    spacing = np.linalg.norm(np.asarray(healthy.grid.affine)[:3, :3], axis=0)
    now = _now(healthy)
    own, made, held = (np.asarray(mask[k]) for mask in (healthy.body, judged.body, now))
    cut = _window(own | made | held)
    pictures: list[tuple[str, Slice | None]] = [("healthy", None if healthy.image is None else healthy.image[k])]
    if judged.image is not None:
        pictures.append(("synthetic", judged.image[k]))
    ratio = float(spacing[2] / spacing[1])

    def paint(figure: Any) -> None:
        panels = figure.subplots(1, len(pictures), squeeze=False)[0]
        for axes, (title, values) in zip(panels, pictures, strict=True):
            if values is None:
                axes.imshow(_turned(np.where(own, 0.82, 1.0), cut), cmap="gray", vmin=0, vmax=1, aspect=ratio)
            else:
                axes.imshow(_turned(values, cut), cmap="gray", vmin=LOW_HU, vmax=HIGH_HU, aspect=ratio)
            line = "black" if values is None else "white"
            for mask, colour in ((own, line), (held, VERMILION), (made, BLUE)):
                if mask is held and np.array_equal(own, held):
                    continue
                if mask[cut].any():
                    axes.contour(_turned(mask.astype(float), cut), levels=[0.5], colors=[colour], linewidths=1.4)
            axes.set_title(title, fontsize=9, loc="left", color=INK)
            axes.axis("off")

    return draw((3.0 * len(pictures), 3.2), paint, dpi=110)


def _now(healthy: Healthy) -> NDArray[np.bool_]:
    if healthy.now is healthy.body:
        return healthy.body
    volume = Volume(healthy.now.astype(np.float32), healthy.now_affine, "a.u.")
    return np.asarray(resample_like(volume, healthy.grid, fill=0.0).data) >= 0.5


def _window(mask: NDArray[np.bool_]) -> tuple[slice, slice]:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    margin = 10
    return (
        slice(max(0, int(rows[0]) - margin), int(rows[-1]) + margin),
        slice(max(0, int(columns[0]) - margin), int(columns[-1]) + margin),
    )


def _turned(values: Slice, cut: tuple[slice, slice]) -> Slice:
    """(anterior, up) as a picture: rows from above, the front to the left."""
    return np.asarray(values[cut].T[::-1, ::-1])
