"""Volumes and their masks to studies: sagittal layers through the vertebral bodies, with a mark in each body.

Convention: one study is one picture. The layer is hung with anterior on the left and the head up, pixels are square,
and the picture is padded to a square canvas. A level is named only when the picture itself decides it (C2 or the
sacrum in view); otherwise its mark carries None, whatever number the mask has.

Trap: a vertebra's mask holds its arch and spinous process. The mark must sit in the body, so the part lying in front is
taken, and a layer that shows only the process of a vertebra (its body cut off by the field) gives no mark.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from data_pipeline.readers.files import pack, parse
from data_pipeline.readers.reading import Reading, read_options, short_id
from data_pipeline.sandbox import Answer, Limits
from spinemed.anatomy import LABEL_MAPS, Level, Region, Spine, number_view
from spinemed.errors import LevelError, ReadError, SpineMedError
from spinemed.geometry import WorldPoints, label_centroids_mm
from spinemed.labelling.facts import facts_from_levels
from spinemed.marks import png_bytes
from spinemed.records import Finding, ImageBlob, LevelMark, Source, Study
from spinemed.tables import file_sha256, read_jsonl
from spinemed.volume import (
    SliceImage,
    Volume,
    midsagittal_position_mm,
    read_mask,
    read_nifti,
    require_same_grid,
    slice_image,
)

__all__ = ["NiftiOptions", "NiftiStudy", "read_nifti_source", "render_picture"]

_SMALLEST_BODY = 0.5
"""Share of the median body area in the layer below which a part is a process or a cut-off body."""


class NiftiStudy(BaseModel):
    """One volume of a `nifti` source."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    image: str
    """File of the volume, relative to the source's path."""
    modality: Literal["CT", "MR"]
    """Decides the window and which questions can be asked."""
    group: str
    """Patient or template: nothing of one group crosses splits."""
    truth: Literal["phantom", "expert_mask", "model_mask", "template", "none"]
    """Where the marks come from; `phantom` for a computed volume with the mask it was painted from."""
    no_anchor_in_view: bool = False
    """For a volume without marks: stated by a person who looked that C2, the last rib and the sacrum are out of view.
    Without that statement nobody knows whether the picture decides the numbering, and the study is left out."""
    mask: str | None = None
    """Vertebra labels on the same grid."""
    label_map: str | None = None
    """`verse`, `tptbox`, `totalsegmentator`, ...; absent when the mask's numbers are mere instances."""
    instances: tuple[int, ...] = ()
    """For a mask of instances: the labels that are vertebrae, in any order."""
    bodies: str | None = None
    """Mask of subregions on the same grid, to tell bodies from arches."""
    body_labels: tuple[int, ...] = (49, 50)
    """Labels of the vertebral body in `bodies`."""
    disc_points: str | None = None
    """Volume with one labelled point per disc: label n lies on top of vertebra n, counted as in VerSe."""
    mask_facts: bool = False
    """State the levels, counts and numbering anomalies that the picture decides, read from the mask, as findings."""
    findings: str | None = None
    """Findings on the volume, a JSON Lines file of `Finding`; those on a vertebra or disc that a picture shows and
    names go with that picture, the others are counted."""
    body_offset_mm: float = 0.0
    """How far in front of the disc points the bodies lie."""
    layers: int = Field(default=1, ge=1, le=64)
    """How many neighbouring sagittal layers become pictures, around the middle of the spine."""
    pixel_mm: float | None = Field(default=None, gt=0)
    """Edge of a pixel; by default the whole layer just fits the canvas."""
    canvas_px: int = Field(default=128, ge=32, le=2048)
    """Edge of the square picture."""
    fields_mm: tuple[tuple[float, float], ...] = ()
    """Parts of the layer as (start, height) from its upper edge, each a picture of its own; by default the whole."""
    caveats: tuple[str, ...] = ()
    """What is doubtful about it; shown with every item."""

    @model_validator(mode="after")
    def _coherent(self) -> NiftiStudy:
        if self.mask is not None and self.label_map is None and not self.instances:
            raise ValueError("a mask needs `label_map`, or `instances` when its numbers are no levels")
        if self.label_map is not None and self.label_map not in LABEL_MAPS:
            raise ValueError(f"label_map '{self.label_map}' is unknown; use one of {', '.join(LABEL_MAPS)}")
        if self.truth == "none" and (self.mask or self.disc_points):
            raise ValueError("truth is 'none' but marks are given")
        if self.truth != "none" and self.no_anchor_in_view:
            raise ValueError("no_anchor_in_view is stated although marks are given, which decide it")
        if self.truth != "none" and not (self.mask or self.disc_points):
            raise ValueError(f"truth is '{self.truth}' but neither `mask` nor `disc_points` is given")
        if self.mask_facts and (self.mask is None or self.label_map is None):
            raise ValueError("mask_facts needs a mask with a `label_map`")
        return self


class NiftiOptions(BaseModel):
    """Options of a `nifti` source."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    studies: tuple[NiftiStudy, ...] = Field(min_length=1)
    """The volumes, in order."""
    limits: Limits = Limits(cpu_s=600, wall_s=900, memory_mib=8192)
    """What the parser of one volume and its masks may use."""


def read_nifti_source(source: Source, root: Path) -> Reading:
    """Read all volumes of a source.

    Raises:
        SourceError: The options are wrong.
        ReadError: A file is missing, truncated or no NIfTI.
        VolumeError: A mask lies on another grid than its image, or a volume is unusable.
    """
    options = read_options(source, NiftiOptions)
    reading = Reading(source.id)
    for study in options.studies:
        values = {"root": str(root), "study": study.model_dump(mode="json")}
        reading.add(
            parse(source, "data_pipeline.readers.nifti:parse_study", values, options.limits, root / study.image)
        )
    return reading


def parse_study(source: dict[str, Any], root: str, study: dict[str, Any]) -> Answer:
    """One volume with its masks: what the sandbox runs."""
    entry = Source.model_validate(source)
    reading = Reading(entry.id)
    told = NiftiStudy.model_validate(study)
    try:
        _read_study(entry, Path(root), told, reading)
    except SpineMedError as error:
        error.file = error.file or told.image  # what goes wrong later, with its picture, is this file's fault too
        raise
    return pack(reading)


def _read_study(source: Source, root: Path, entry: NiftiStudy, reading: Reading) -> None:
    image = read_nifti(root / entry.image, unit="HU" if entry.modality == "CT" else "a.u.")
    mask = bodies = points = None
    if entry.mask is not None:
        mask = read_mask(root / entry.mask)
        require_same_grid(image, mask)
    if entry.bodies is not None:
        bodies = read_mask(root / entry.bodies)
        require_same_grid(image, bodies)
    if entry.disc_points is not None:
        points = read_mask(root / entry.disc_points)
        require_same_grid(image, points)
    labels = _vertebra_labels(entry, mask)
    stated = () if entry.findings is None else tuple(read_jsonl(root / entry.findings, Finding))
    for layer in _layers(entry, image, mask, points, labels):
        if entry.truth == "none" and not entry.no_anchor_in_view:
            reading.drop("study", f"{entry.image}@{layer}", "no mask, and nobody stated that no anchor is in view")
            continue
        whole = slice_image(image, "sagittal", index=layer)
        for field in entry.fields_mm or (None,):
            provenance = {
                "reader": "nifti",
                "image": {"file": entry.image, "sha256": file_sha256(root / entry.image)},
                "mask": _named(root, entry.mask),
                "bodies": _named(root, entry.bodies),
                "disc_points": _named(root, entry.disc_points),
                "plane": "sagittal",
                "layer": layer,
                "position_mm": round(whole.position_mm, 4),
                "modality": entry.modality,
                "pixel_mm": entry.pixel_mm,
                "canvas_px": entry.canvas_px,
                "field_mm": None if field is None else list(field),
            }
            if entry.findings is not None:
                provenance["findings"] = _named(root, entry.findings)
            picture, shown, offset = _picture(image, provenance)
            found = _marks(entry, shown, mask, bodies, points, labels, layer, offset, picture.shape)
            if found is None:
                reading.drop("study", f"{entry.image}@{layer}", "no vertebral body in this layer")
                continue
            marks, decided, sacrum, named = found
            data = png_bytes(picture)
            blob = ImageBlob(
                sha256=_sha(data), bytes=data, format="png", width_px=picture.shape[1], height_px=picture.shape[0]
            )
            findings = [Finding(kind="modality", value=entry.modality), Finding(kind="plane", value="sagittal")]
            if entry.mask_facts:
                # One sagittal layer shows no ribs, so it decides less than the volume it was taken from.
                findings += facts_from_levels(named, sacrum_in_view=sacrum, ribs_visible=False)
            findings += _shown(stated, marks, f"{entry.image}@{layer}", reading)
            text = json.dumps(provenance, sort_keys=True)
            caveats = (*entry.caveats, *image.flags)
            if not decided:
                caveats = (*caveats, "no anchor (C2 or sacrum) in view: the numbering is not determinable")
            elif sacrum:
                caveats = (*caveats, "counted up from the sacrum, which supposes the usual number of vertebrae")
            reading.images.append(blob)
            reading.studies.append(
                Study(
                    id=short_id("study", source.id, blob.sha256, text),
                    source_id=source.id,
                    group_id=f"{source.id}:{entry.group}",
                    origin=source.origin,
                    modality=entry.modality,
                    plane="sagittal",
                    image_sha256=blob.sha256,
                    width_px=blob.width_px,
                    height_px=blob.height_px,
                    spacing_mm=round(shown.pixel_mm, 6),
                    marks=marks,
                    numbering_determinable=decided,
                    findings=tuple(findings),
                    truth=entry.truth,
                    provenance=text,
                    caveats=caveats,
                )
            )
            reading.keep("study")


def _shown(
    stated: tuple[Finding, ...], marks: tuple[LevelMark, ...], layer: str, reading: Reading
) -> list[Finding]:  # fmt: skip
    """The findings on what a picture shows whole and names; the others are dropped and counted."""
    whole = {mark.level for mark in marks if mark.fully_visible and mark.level is not None}
    found = []
    for finding in stated:
        places = {finding.level} if finding.disc is None else {finding.disc.upper, finding.disc.lower} - {Level.S1}
        if places <= whole:
            found.append(finding)
        else:
            reading.drop("finding", f"{layer}: {finding.kind}", "its level is not whole, or not named, in this picture")
    return found


def _sha(data: bytes) -> str:
    import hashlib

    return hashlib.sha256(data).hexdigest()


def _named(root: Path, name: str | None) -> dict[str, str] | None:
    return None if name is None else {"file": name, "sha256": file_sha256(root / name)}


def render_picture(root: Path, provenance: dict[str, Any]) -> bytes:
    """Make the picture of a study again from its provenance: the same bytes when file and code are the same.

    Raises:
        ReadError: The volume is missing or its bytes have changed.
    """
    facts = provenance["image"]
    path = root / facts["file"]
    if file_sha256(path) != facts["sha256"]:
        raise ReadError("differs from the hash in the study's provenance", file=path, cure="fetch the file again")
    image = read_nifti(path, unit="HU" if provenance["modality"] == "CT" else "a.u.")
    return png_bytes(_picture(image, provenance)[0])


def _picture(image: Volume, facts: dict[str, Any]) -> tuple[NDArray[np.uint8], SliceImage, tuple[int, int]]:
    """The padded picture, the layer it shows, and how many rows and columns the layer is shifted in it."""
    layer, canvas, field = facts["layer"], facts["canvas_px"], facts["field_mm"]
    shown = slice_image(image, "sagittal", index=layer)
    height_mm = shown.pixels.shape[0] * shown.pixel_mm if field is None else field[1]
    width_mm = shown.pixels.shape[1] * shown.pixel_mm
    pixel = facts["pixel_mm"] or max(height_mm, width_mm) / canvas
    shown = slice_image(image, "sagittal", index=layer, pixel_mm=pixel)
    first = 0 if field is None else round(field[0] / pixel)
    last = shown.pixels.shape[0] if field is None else first + round(field[1] / pixel)
    part = shown.pixels[first : min(last, shown.pixels.shape[0])]
    # A layer is never cut silently: the canvas is what the config asked for, and it must hold the layer.
    rows, columns = part.shape
    if rows > canvas + 1 or columns > canvas + 1:
        raise ReadError(
            f"a layer of {rows} x {columns} pixels does not fit the canvas of {canvas}",
            file=image.source,
            field="canvas_px",
            cure="enlarge canvas_px or pixel_mm, or leave pixel_mm out",
        )
    part = part[:canvas, :canvas]
    top, left = (canvas - part.shape[0]) // 2, (canvas - part.shape[1]) // 2
    picture = np.zeros((canvas, canvas), np.uint8)
    picture[top : top + part.shape[0], left : left + part.shape[1]] = part
    return picture, shown, (top - first, left)


def _vertebra_labels(entry: NiftiStudy, mask: Volume | None) -> dict[int, Level | None]:
    """Label to level for the vertebrae in the mask; None for instances without a level."""
    if mask is None:
        return {}
    present = [int(label) for label in np.unique(mask.data) if label]
    if entry.label_map is None:
        return {label: None for label in present if label in entry.instances}
    table = LABEL_MAPS[entry.label_map]
    found: dict[int, Level | None] = {}
    for label in present:
        try:
            level = table.to_level(label)
        except LevelError:
            continue  # organs and whole regions; a mask of everything is usual
        if level.region in (Region.CERVICAL, Region.THORACIC, Region.LUMBAR):
            found[label] = level
    return found


def _sacrum_labels(entry: NiftiStudy) -> list[int]:
    if entry.label_map is None:
        return []
    table = LABEL_MAPS[entry.label_map]
    whole = [label for label, region in table.regions.items() if region is Region.SACRAL]
    return whole + [label for level, label in table.labels.items() if level.region is Region.SACRAL]


def _layers(
    entry: NiftiStudy, image: Volume, mask: Volume | None, points: Volume | None, labels: dict[int, Level | None]
) -> list[int]:
    """Neighbouring layers around the middle of the spine, by index."""
    guide = mask if mask is not None and labels else points
    if guide is None:
        middle = slice_image(image, "sagittal").index
    else:
        place = midsagittal_position_mm(guide, list(labels) or None)
        middle = slice_image(image, "sagittal", position_mm=place).index
    first = middle - (entry.layers - 1) // 2
    axis = next(a for a, code in enumerate(image.codes) if code in "RL")
    return [layer for layer in range(first, first + entry.layers) if 0 <= layer < image.shape[axis]]


Found = tuple[tuple[LevelMark, ...], bool, bool, dict[Level, bool]]


def _marks(
    entry: NiftiStudy,
    shown: SliceImage,
    mask: Volume | None,
    bodies: Volume | None,
    points: Volume | None,
    labels: dict[int, Level | None],
    layer: int,
    offset: tuple[int, int],
    size: tuple[int, int],
) -> Found | None:
    """Marks of the bodies in the picture, whether it decides their names, whether the sacrum is in it, and the mask's
    own names with whether each body is wholly in the picture."""
    places: list[tuple[Level | None, float, float, bool]] = []
    sacrum = False
    if points is not None:
        places = _places_from_discs(entry, shown, points, layer)
    elif mask is not None:
        labelled = slice_image(mask, "sagittal", index=layer, pixel_mm=shown.pixel_mm).pixels
        cut = None if bodies is None else slice_image(bodies, "sagittal", index=layer, pixel_mm=shown.pixel_mm).pixels
        places = _places_from_mask(labelled, cut, entry, labels)
        rows = np.nonzero(np.isin(labelled, _sacrum_labels(entry)).any(axis=1))[0] + offset[0]
        sacrum = bool(((rows >= 0) & (rows < size[0])).sum() >= 2)
    else:
        return (), False, False, {}
    seen = []
    for level, row, column, whole in places:
        y, x = row + offset[0], column + offset[1]
        if 0 <= y < size[0] and 0 <= x < size[1]:
            edge = 0.02 * size[0]
            seen.append((level, x, y, whole and edge < y < size[0] - edge))
    if not seen:
        return None
    seen.sort(key=lambda place: place[2])
    named = [level for level, *_ in seen if level is not None]
    decided: set[Level] = set()
    if named and len(named) == len(seen):
        spine = Spine.of([*named, *([Level.S1] if sacrum else [])])
        visible = [*named, *([Level.S1] if sacrum else [])]
        try:
            view = number_view(visible, spine)
            decided = {level for level in named if level not in view.undecided}
        except LevelError:
            decided = set()  # a gap between the labels: no count leads across it
    marks = tuple(
        LevelMark(level=level if level in decided else None, x_px=round(x, 2), y_px=round(y, 2), fully_visible=whole)
        for level, x, y, whole in seen
    )
    return marks, bool(decided), sacrum, {level: whole for level, _, _, whole in seen if level is not None}


def _places_from_mask(
    labelled: NDArray[Any], cut: NDArray[Any] | None, entry: NiftiStudy, labels: dict[int, Level | None]
) -> list[tuple[Level | None, float, float, bool]]:
    """Row and column of each body in a layer of labels: the part of a vertebra that lies in front."""
    from scipy import ndimage

    found: list[tuple[int, float, float, bool, int]] = []
    for label in labels:
        region = labelled == label
        if cut is not None:
            region &= np.isin(cut, entry.body_labels)
        parts, number = ndimage.label(region)
        if not number:
            continue
        sizes = ndimage.sum_labels(region, parts, range(1, number + 1))
        large = [part + 1 for part in range(number) if sizes[part] >= 0.4 * sizes.max()]
        front = min(large, key=lambda part: float(np.nonzero(parts == part)[1].mean()))  # anterior is on the left
        rows, columns = np.nonzero(parts == front)
        whole = rows.min() > 0 and rows.max() < labelled.shape[0] - 1
        found.append((label, float(rows.mean()), float(columns.mean()), bool(whole), len(rows)))
    if not found:
        return []
    usual = float(np.median([place[4] for place in found]))
    return [
        (labels[label], row, column, whole)
        for label, row, column, whole, area in found
        if area >= _SMALLEST_BODY * usual
    ]


def _places_from_discs(
    entry: NiftiStudy, shown: SliceImage, points: Volume, layer: int
) -> list[tuple[Level | None, float, float, bool]]:
    """Bodies half-way between neighbouring disc points, moved forward by `body_offset_mm`."""
    centres = label_centroids_mm(points.data, points.affine)
    places: list[tuple[Level | None, float, float, bool]] = []
    for label, upper in centres.items():
        lower = centres.get(label + 1)
        if lower is None:
            continue
        middle = (upper + lower) / 2 + np.array([0.0, entry.body_offset_mm, 0.0])
        row, column, _ = shown.to_pixels(WorldPoints(middle[None, :]))[0]
        places.append((Level.from_verse(label), float(row), float(column), True))
    return places
