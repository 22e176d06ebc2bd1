"""Faces blanked in volumes that include the head: the surface from the chin up, nothing of the spine or skull base.

Convention: the volume is turned to RAS. Rays from the front find the skin in every column; the air before it and the
tissue down to a depth behind it are set to the darkest value, from the chin upwards, only in front of a frontal plane
that lies before the spine and the skull base. That plane rests on the mask's C1 and C2; without a mask the status is
`unknown`. The chin is where the front of the body springs forward above the neck.

Trap: whether a face can still be recognised is a judgement. The result is always `review`: a person looks at the
picture before and after and signs for its bytes.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_pipeline.deidentify.status import DeidRecord, Status, array_hash
from spinemed.volume import Volume, reorient_volume

__all__ = ["FaceResult", "before_after", "blank_face"]

DEPTH_MM = 22.0
"""How deep behind the skin is blanked: lips, nose and brows are no deeper."""
GUARD_MM = 12.0
"""How far before the front of C1 and C2 nothing is touched."""
_SPRING_MM = 12.0
_ABOVE_C2_MM = 15.0


@dataclass(frozen=True)
class FaceResult:
    """The volume without its face, where it was blanked, and the record for the sign-off."""

    volume: Volume
    blanked: NDArray[np.bool_]
    """In the grid of `volume`."""
    record: DeidRecord


def blank_face(
    image: Volume, mask: Volume | None, upper: Collection[int], protected: Collection[int], *, id_: str
) -> FaceResult:
    """Blank the facial surface of a volume.

    Args:
        image: CT (HU) or MR.
        mask: Labels on the same grid; None where there is none.
        upper: Labels of C1 and C2 (and the occiput, if labelled): the spine's front and the head's place.
        protected: Labels of everything that must stay: vertebrae, canal, cord, skull base.
        id_: Id for the record.

    Returns:
        Status `clean` where C1 and C2 lie so near the upper edge that no face can be in view, or the mask shows that
        the volume ends below the neck; `review` after blanking, for the sign-off; `unknown` without a mask.
    """
    turned = reorient_volume(image, "RAS")
    data = np.array(turned.data, copy=True)
    blanked = np.zeros(data.shape, np.bool_)
    status: Status = "unknown"
    why: tuple[str, ...] = ("no mask that shows where the head begins",)
    if mask is not None:
        labels = reorient_volume(mask, "RAS").data
        status, why, blanked = _blank(data, labels, turned, upper, protected)
        if blanked.any():
            data[blanked] = data.min()
    result = replace(turned, data=data)
    record = DeidRecord(
        id=id_,
        kind="face",
        status=status,
        method=f"facial surface, {DEPTH_MM:g} mm deep, {GUARD_MM:g} mm before C1-C2 kept",
        result_sha256=array_hash(data),
        counts={"voxels": int(blanked.sum())} if blanked.any() else {},
        open_points=why,
    )
    return FaceResult(result, blanked, record)


def _blank(
    data: NDArray[Any],
    labels: NDArray[Any],
    volume: Volume,
    upper: Collection[int],
    protected: Collection[int],
) -> tuple[Status, tuple[str, ...], NDArray[np.bool_]]:
    nothing = np.zeros(data.shape, np.bool_)
    _, step_y, step_z = (float(np.linalg.norm(volume.affine[:3, axis])) for axis in range(3))
    spine = np.isin(labels, list(upper))
    if not spine.any():
        if np.isin(labels, list(protected)).any():
            return "clean", (), nothing  # a spine without C1 and C2 in view
        return "unknown", ("the mask shows no vertebra",), nothing
    rows = np.nonzero(spine.any(axis=(0, 1)))[0]
    top = data.shape[2] - 1
    if (top - rows.max()) * step_z < 1 and (rows.max() - rows.min()) * step_z < _ABOVE_C2_MM:
        return "clean", (), nothing  # the field ends within C1 and C2
    tissue = data > _air_level(data, volume.unit)
    # The first tissue from the front, in every column of (x, z).
    flipped = tissue[:, ::-1, :]
    any_tissue = flipped.any(axis=1)
    front = data.shape[1] - 1 - flipped.argmax(axis=1)
    front = np.where(any_tissue, front, -1)
    guard = int(np.nonzero(spine.any(axis=(0, 2)))[0].max() + np.ceil(GUARD_MM / step_y))
    chin = _chin(front, rows, step_y, step_z)
    # A nostril or an open mouth must not lead the ray inside: the skin is where its neighbourhood is.
    skin = _closed(front, max(1, round(8.0 / step_z)))
    y = np.arange(data.shape[1])[None, :, None]
    shell = (y > (skin - np.ceil(DEPTH_MM / step_y))[:, None, :]) & (y > guard)
    shell[:, :, : max(0, chin)] = False
    keep = _grown(np.isin(labels, list({*upper, *protected})), 3)
    shell &= ~keep
    if not shell.any():
        return "review", ("nothing lies before the spine: a person must look",), nothing
    return "review", ("face blanked: compare before and after",), shell


def _air_level(data: NDArray[Any], unit: str) -> float:
    if unit == "HU":
        return -300.0
    return 0.12 * float(np.percentile(data, 99))


def _chin(front: NDArray[Any], rows: NDArray[np.intp], step_y: float, step_z: float) -> int:
    """The layer of the chin, with a margin below it: where the profile's front springs forward, from the neck up."""
    columns = front.shape[0]
    middle = slice(columns // 3, max(columns // 3 + 1, 2 * columns // 3))
    profile = front[middle].max(axis=0).astype(float)
    low = max(0, int(rows.min() - 60 / step_z))  # the chin lies at most a few vertebrae below C2
    neck = profile[low]
    for layer in range(low, len(profile)):
        neck = min(neck, profile[layer]) if profile[layer] >= 0 else neck
        if neck >= 0 and (profile[layer] - neck) * step_y >= _SPRING_MM:
            return layer - int(np.ceil(6 / step_z))
    return low


def _closed(front: NDArray[Any], radius: int) -> NDArray[Any]:
    from scipy.ndimage import grey_closing

    size = 2 * radius + 1
    return np.asarray(grey_closing(front, size=(size, size), mode="nearest"))


def _grown(region: NDArray[np.bool_], voxels: int) -> NDArray[np.bool_]:
    from scipy.ndimage import binary_dilation

    return np.asarray(binary_dilation(region, iterations=voxels), dtype=np.bool_)


def before_after(before: Volume, after: Volume) -> NDArray[np.uint8]:
    """One grey picture for the sign-off: the middle sagittal layer, and a view on the surface from the front.

    Returns:
        (H, W) with before on the left and after on the right, head up.
    """
    panels = []
    for volume in (reorient_volume(before, "RAS"), after):
        data = volume.data.astype(float)
        low, high = np.percentile(before.data, [1, 99.5])
        grey = np.clip((data - low) / max(high - low, 1e-9), 0, 1)
        middle = grey[data.shape[0] // 2].T[::-1, ::-1]
        tissue = data > _air_level(before.data, before.unit)
        depth = np.where(tissue.any(axis=1), tissue[:, ::-1].argmax(axis=1), data.shape[1]) / data.shape[1]
        shade = np.clip(1 - depth, 0, 1).T[::-1, ::-1]
        panels += [middle, shade]
    return np.round(255 * np.concatenate(panels, axis=1)).astype(np.uint8)
