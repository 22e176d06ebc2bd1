"""Multi-frame (enhanced) CT and MR: frames with their own place and scale, to one volume.

Convention: a frame's attributes come from its per-frame functional groups, else from the shared ones, else from the
data set (PS3.3 C.7.6.16). Frames are sorted by their place along the normal, as slices are; several stacks (echoes,
times) at one place are refused, not averaged.

Trap: old multi-frame objects hold no functional groups and no place for each frame. They are cine films, not volumes.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from spinemed.errors import ReadError, VolumeError
from spinemed.volume import Volume
from spinemed.volume.nifti import rescale

__all__ = ["read_frames"]

_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_MOST_FRAMES = 4096


def read_frames(folder: Path, series_uid: str) -> Volume:
    """The volume of a multi-frame object.

    Args:
        folder: Holds the file.
        series_uid: Its series; exactly one file must have it.

    Raises:
        ReadError: No such file, or an attribute is missing.
        VolumeError: Several files or stacks, uneven places, different orientations.
    """
    from pydicom import dcmread

    found = []
    for file in sorted(path for path in folder.iterdir() if path.is_file()):
        content = file.read_bytes()
        if content[128:132] == b"DICM":
            header = dcmread(file)
            if str(header.get("SeriesInstanceUID", "")) == series_uid:
                found.append((file, hashlib.sha256(content).hexdigest(), header))
    if len(found) != 1:
        raise VolumeError(
            f"{len(found)} multi-frame files in one series",
            file=folder,
            cure="put each object into a series of its own",
        )
    file, digest, header = found[0]
    count = int(header.NumberOfFrames)
    per_frame = header.get("PerFrameFunctionalGroupsSequence")
    if per_frame is None or len(per_frame) != count or count > _MOST_FRAMES:
        raise ReadError(
            "frames without a place of their own",
            file=file,
            field="PerFrameFunctionalGroupsSequence",
            cure="export single images",
        )
    shared = (header.get("SharedFunctionalGroupsSequence") or [None])[0]
    places, cosines, pixels, scales = [], [], [], []
    for group in per_frame:
        places.append(_value(group, shared, header, "PlanePositionSequence", "ImagePositionPatient", 3, file))
        cosines.append(_value(group, shared, header, "PlaneOrientationSequence", "ImageOrientationPatient", 6, file))
        pixels.append(_value(group, shared, header, "PixelMeasuresSequence", "PixelSpacing", 2, file))
        scales.append(_scale(group, shared, header))
    if not (np.allclose(cosines, cosines[0], atol=1e-4) and np.allclose(pixels, pixels[0], rtol=1e-4)):
        raise VolumeError("frames of different orientation or pixel size", file=file, cure="export one stack at a time")
    along_row, down_column = cosines[0][:3], cosines[0][3:]
    normal = np.cross(along_row, down_column)
    order = np.argsort([place @ normal for place in places], kind="stable")
    step = _step([places[k] for k in order], normal, shared, per_frame[0], file)
    raw = np.asarray(header.pixel_array)
    planes = [rescale(raw[k], *scales[k]).T for k in order]
    kind = np.result_type(*{plane.dtype for plane in planes})
    affine = np.eye(4)
    affine[:3, 0] = along_row * pixels[0][1]
    affine[:3, 1] = down_column * pixels[0][0]
    affine[:3, 2], affine[:3, 3] = step, places[order[0]]
    modality = str(header.get("Modality", ""))
    meta = {"format": "DICOM", "modality": modality, "series_uid": series_uid, "flags": ("a multi-frame object",)}
    data = np.stack(planes, axis=2).astype(kind, copy=False)
    return Volume(data, _LPS_TO_RAS @ affine, "HU" if modality == "CT" else "a.u.", str(folder), digest, meta)


def _value(group: Any, shared: Any, header: Any, sequence: str, name: str, count: int, file: Path) -> Any:
    for holder in (group, shared):
        items = None if holder is None else holder.get(sequence)
        if items and items[0].get(name) is not None:
            values = np.asarray(items[0].get(name), dtype=float)
            if values.shape == (count,) and np.isfinite(values).all():
                return values
    values = header.get(name)
    if values is not None and len(values) == count:
        return np.asarray(values, dtype=float)
    raise ReadError("the attribute is missing for a frame", file=file, field=name, cure="export the object again")


def _scale(group: Any, shared: Any, header: Any) -> tuple[float, float]:
    for holder in (group, shared):
        items = None if holder is None else holder.get("PixelValueTransformationSequence")
        if items:
            return float(items[0].RescaleSlope), float(items[0].RescaleIntercept)
    return float(header.get("RescaleSlope", 1) or 1), float(header.get("RescaleIntercept", 0) or 0)


def _step(places: list[Any], normal: Any, shared: Any, group: Any, file: Path) -> Any:
    if len(places) == 1:
        for holder in (group, shared):
            items = None if holder is None else holder.get("PixelMeasuresSequence")
            if items and items[0].get("SliceThickness"):
                return normal * float(items[0].SliceThickness)
        raise VolumeError("a single frame without a thickness", file=file, cure="export the whole stack")
    gaps = np.diff([place @ normal for place in places])
    usual = float(np.median(gaps))
    if usual <= 1e-3:
        raise VolumeError(
            "several frames at one place", file=file, cure="split echoes and times into series of their own"
        )
    if (np.abs(gaps - usual) > 0.1 * usual).any():
        raise VolumeError("frames missing or unevenly spaced", file=file, cure="export the whole stack")
    return (places[-1] - places[0]) / (len(places) - 1)
