"""Pictures of one case: reference and prediction side by side, the scan beneath them where there is one.

Convention: left two panels sagittal (anterior left, head up), right two coronal (the patient's right on the left, head
up). The sagittal panel is one layer of voxels, the one nearest to the middle of the reference's vertebrae; the coronal
panel looks through the whole volume and shows at each place the vertebra with the most voxels behind it, on the maximum
of the scan. Each level has one colour in all panels, so that a shift is a change of colours.

Trap: in scoliosis no single layer meets every vertebra: one that is missing in the sagittal panel may be there in the
coronal one.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.drawing import INK, draw
from bench.verse.plots import colour_of
from spinemed.labelling import LabelMask, vertebra_of_label
from spinemed.volume import WINDOWS, Volume, grid_difference, reorient_volume, resample_like, to_uint8

__all__ = ["case_picture"]

_MARGIN_MM = 12.0
_DARK = "#12171b"


def case_picture(reference: LabelMask | None, prediction: LabelMask | None, image: Volume | None = None) -> bytes:
    """One picture of four panels, as PNG.

    Args:
        reference: Its grid and middle are taken; one of the two masks must be given.
        prediction: On any grid; turned or resampled onto the reference's for the picture only.
        image: The CT; left out where it lies on another grid that cannot be turned onto the reference's.
    """
    base = (reference or prediction).volume  # type: ignore[union-attr]
    turned = reorient_volume(base, "LPI")
    masks = [_onto(None if mask is None else mask.volume, turned) for mask in (reference, prediction)]
    box = _box([mask for mask in masks if mask is not None], turned.spacing_mm)
    masks = [None if mask is None else mask[box] for mask in masks]
    scan = None if image is None else _scan(image, turned, box)
    middle = _middle(masks[0] if reference is not None else masks[1])
    # Windowed after the cut: a whole volume as floats would be several times the file.
    layer_of_scan, through_scan = (None, None) if scan is None else (_grey(scan[middle]), _grey(scan.max(axis=1)))
    panels: list[tuple[str, NDArray[Any] | None, NDArray[Any] | None, float]] = []
    right, posterior, inferior = turned.spacing_mm
    for name, mask in zip(("reference", "prediction"), masks, strict=True):
        layer = None if mask is None else mask[middle].T
        panels.append((f"{name}\nsagittal", layer, layer_of_scan, inferior / posterior))
    for name, mask in zip(("reference", "prediction"), masks, strict=True):
        through = None if mask is None else _looking_through(mask)
        panels.append((f"{name}\ncoronal", through, through_scan, inferior / right))
    return _painted(panels, turned.spacing_mm, next(mask for mask in masks if mask is not None).shape)


def _onto(volume: Volume | None, grid: Volume) -> NDArray[Any] | None:
    if volume is None:
        return None
    turned = reorient_volume(volume, grid.codes)
    if grid_difference(turned, grid) is None:
        return turned.data
    return resample_like(volume, grid, fill=0).data


def _scan(image: Volume, grid: Volume, box: tuple[slice, ...]) -> NDArray[Any] | None:
    turned = reorient_volume(image, grid.codes)
    return turned.data[box] if grid_difference(turned, grid) is None else None


def _grey(layer: NDArray[Any]) -> NDArray[np.uint8]:
    return to_uint8(layer, WINDOWS["bone"]).T


def _box(masks: list[NDArray[Any]], spacing: tuple[float, float, float]) -> tuple[slice, ...]:
    """The part of the volume that holds labels, with a margin; all of it where there are none."""
    held = np.zeros(masks[0].shape, dtype=bool)
    for mask in masks:
        held |= mask > 0
    if not held.any():
        return (slice(None),) * 3
    box = []
    for axis, side in enumerate(spacing):
        places = np.flatnonzero(held.any(axis=tuple(other for other in range(3) if other != axis)))
        margin = round(_MARGIN_MM / side)
        box.append(slice(max(0, int(places[0]) - margin), min(held.shape[axis], int(places[-1]) + margin + 1)))
    return tuple(box)


def _middle(mask: NDArray[Any] | None) -> int:
    """The right-left layer nearest to the mean of the labels' centres."""
    if mask is None or not mask.any():
        return 0 if mask is None else mask.shape[0] // 2
    centres = []
    for label in np.unique(mask[mask > 0]):
        if vertebra_of_label(int(label)) is not None:
            counts = (mask == label).sum(axis=(1, 2))
            centres.append(float((counts * np.arange(counts.size)).sum() / counts.sum()))
    return round(float(np.mean(centres))) if centres else mask.shape[0] // 2


def _looking_through(mask: NDArray[Any]) -> NDArray[Any]:
    """Per coronal pixel the label with the most voxels along the ray; (I, R)."""
    best = np.zeros((mask.shape[0], mask.shape[2]), dtype=np.int32)
    label_of = np.zeros_like(best)
    for label in np.unique(mask):
        if label:
            depth = (mask == label).sum(axis=1)
            ahead = depth > best
            best[ahead], label_of[ahead] = depth[ahead], int(label)
    return label_of.T


def _painted(
    panels: list[tuple[str, NDArray[Any] | None, NDArray[Any] | None, float]],
    spacing: tuple[float, float, float],
    shape: tuple[int, ...],
) -> bytes:
    right_mm, posterior_mm, inferior_mm = (count * side for count, side in zip(shape, spacing, strict=True))
    # Bounded from both sides: a long narrow spine and a single vertebra both give a picture one can look at.
    height = 5.2
    widths = [max(1.0, min(4.2, (height - 0.6) * across / inferior_mm)) for across in (posterior_mm, right_mm)]
    total = 2 * sum(widths) + 0.4

    def paint(figure: Any) -> None:
        axes = figure.subplots(1, 4, width_ratios=[widths[0], widths[0], widths[1], widths[1]])
        for place, (title, labels, grey, aspect) in zip(axes, panels, strict=True):
            place.set_title(title, fontsize=9, color=INK)
            place.set_xticks([])
            place.set_yticks([])
            place.grid(visible=False)
            place.set_facecolor(_DARK)
            for edge in place.spines.values():
                edge.set_visible(False)
            extent = next(other for _, other, _, _ in panels if other is not None).shape
            if grey is not None:
                place.imshow(grey, cmap="gray", vmin=0, vmax=255, aspect=aspect, interpolation="nearest")
            if labels is None:
                place.text(0.5, 0.5, "no prediction" if "pred" in title else "no reference", color="white", fontsize=9,
                           ha="center", va="center", transform=place.transAxes)  # fmt: skip
                if grey is None:
                    place.imshow(np.zeros(extent), cmap="gray", vmin=0, vmax=1, aspect=aspect, alpha=0)
                continue
            _overlay(place, labels, aspect, opaque=grey is None)

    return draw((max(5.0, total), height), paint, dpi=110)


def _overlay(place: Any, labels: NDArray[Any], aspect: float, *, opaque: bool) -> None:
    from matplotlib.colors import to_rgb
    from scipy.ndimage import distance_transform_edt

    padded = tuple(size + 2 for size in labels.shape)
    colours = np.zeros((*labels.shape, 4))
    names = []
    for label in np.unique(labels):
        level = vertebra_of_label(int(label))
        if not label:
            continue
        held = labels == label
        edge = held & ~_inside(held)
        colour = to_rgb("#9aa2a8" if level is None else colour_of(level))
        colours[held] = (*colour, 0.75 if opaque else 0.32)
        colours[edge] = (*colour, 1.0)
        if level is not None:
            # Where the shape is thickest: in the body, and not between body and process.
            row, column = np.unravel_index(int(distance_transform_edt(np.pad(held, 1)).argmax()), padded)
            names.append((float(column) - 1, float(row) - 1, level.value))
    place.imshow(colours, aspect=aspect, interpolation="nearest")
    for x, y, name in names:
        place.text(
            x, y, name, color="white", fontsize=7.5, fontweight="bold", ha="center", va="center", clip_on=True,
            bbox={"boxstyle": "round,pad=0.12", "facecolor": _DARK, "edgecolor": "none", "alpha": 0.6},
        )  # fmt: skip


def _inside(held: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Pixels whose four neighbours are held too."""
    padded = np.pad(held, 1)
    inner: NDArray[np.bool_] = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return inner
