"""Which series belong to an item and may be seen by whom, what their vertebrae are called, and new versions of that.

Convention: a series is known by its handle, a hash; paths stay on the server. Who may see an item may see the series
that its studies were taken from, and nobody else: a reviewer the own queue, an adjudicator what is disputed, a data
manager and an auditor all. Levels are those of the latest correction, else those of the mask that was imported.

Trap: a correction is replayed from the imported mask, step by step, so that the column (T13, L6) stays known. What
comes out is compared with what was stored; a difference is an error, never shown.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import false, or_, select
from sqlalchemy.orm import Session

from data_pipeline.review.errors import AbsentError, RefusedError, StaleError
from data_pipeline.review.protocol.access import Actor, check_id
from data_pipeline.review.store.tables import (
    Assignment,
    EvidenceRow,
    Item,
    ItemEvidence,
    LevelCorrection,
    StudyVolume,
    Volume,
)
from data_pipeline.review.viewer.corrections import Labelling, labelling_of
from data_pipeline.review.viewer.films import Film
from data_pipeline.review.viewer.layers import PLANES, Held, PlaneGeometry, plane_geometry
from data_pipeline.review.viewer.operations import apply_operations, parse_operations
from data_pipeline.review.viewer.shelf import LARGEST_NIFTI, Shelf
from spinemed.errors import ReadError, SpineMedError
from spinemed.labelling import labels_at_border, read_centroids
from spinemed.volume import grid_difference

__all__ = [
    "Series",
    "current_labelling",
    "facts_of",
    "find_series",
    "imported_labelling",
    "labelling_told",
    "parse_body",
    "require_base",
    "require_visible",
    "series_of_item",
]

_HELD = "held"
"""Folder of what waits for a sign-off; nothing in a folder of that name is ever served."""


@dataclass(frozen=True)
class Series:
    """One image with what belongs to it.

    Args:
        handle: Of the image.
        path, sha256: Its file.
        modality: CT, MR or XR.
        title: What the reader sees: source and number, no file name.
        mask, centroids: Its other files, if there are.
        corrections: Steps of all corrections, oldest first.
        version: Number of the latest correction; 0 for what was imported.
        levels: Of the latest correction: [level, x, y, z].
    """

    handle: str
    path: Path
    sha256: str
    modality: str
    title: str
    group_id: str
    mask: tuple[Path, str, str] | None = None
    """Path, hash and scheme."""
    centroids: Path | None = None
    corrections: tuple[Any, ...] = ()
    version: int = 0
    levels: tuple[Any, ...] = field(default_factory=tuple)


def series_of_item(session: Session, actor: Actor, item_id: int) -> list[Series]:
    """The series that an item's studies were taken from, each once, in the order of the evidence.

    Raises:
        AbsentError: no such item, or none that the actor may see.
    """
    require_visible(session, actor, check_id(item_id))
    rows = session.execute(
        select(Volume.handle)
        .join(StudyVolume, StudyVolume.handle == Volume.handle)
        .join(
            EvidenceRow,
            (EvidenceRow.ref_id == StudyVolume.study_id)
            & (EvidenceRow.run_id == StudyVolume.run_id)
            & (EvidenceRow.kind == "study"),
        )
        .join(ItemEvidence, ItemEvidence.evidence_id == EvidenceRow.id)
        .where(ItemEvidence.item_id == item_id, StudyVolume.kind == "image")
        .order_by(ItemEvidence.place)
    ).scalars()
    return [_series(session, handle, number) for number, handle in enumerate(dict.fromkeys(rows), 1)]


def find_series(session: Session, actor: Actor, handle: str) -> Series:
    """One series by its handle.

    Raises:
        AbsentError: no such series, or none that the actor may see.
    """
    if len(handle) != 64 or set(handle) - set("0123456789abcdef"):
        raise AbsentError("there is no such series")
    query = (
        select(Item.id)
        .join(ItemEvidence, ItemEvidence.item_id == Item.id)
        .join(EvidenceRow, EvidenceRow.id == ItemEvidence.evidence_id)
        .join(
            StudyVolume,
            (StudyVolume.study_id == EvidenceRow.ref_id)
            & (StudyVolume.run_id == EvidenceRow.run_id)
            & (EvidenceRow.kind == "study"),
        )
        .where(StudyVolume.handle == handle, StudyVolume.kind == "image")
    )
    if session.scalar(_visible(query, actor).limit(1)) is None:
        raise AbsentError("there is no such series")
    return _series(session, handle, 1)


def facts_of(series: Series, shelf: Shelf, address: str) -> dict[str, Any]:
    """What the browser is told of a series: planes, windows, spacing, hash, levels, doubts. No path and no file name.

    `frame` is equal for series of one patient and modality, which may share the scanner's coordinates; NIfTI does not
    say whether they were taken in one examination, and the viewer tells so where it links two of them.

    Raises:
        ReadError, VolumeError: a file is missing, has changed or cannot be used.
    """
    found = shelf.image(series.path, series.sha256, series.modality)
    held = found.held if isinstance(found, Film) else found
    flags = list(found.flags if isinstance(found, Film) else held.volume.flags)
    told: dict[str, Any] = {
        "handle": series.handle,
        "address": address,
        "title": series.title,
        "modality": series.modality,
        "sha256": series.sha256,
        "frame": f"{series.group_id}/{series.modality}",
        "unit": held.volume.unit,
        "kind": held.stored.dtype.name,
        "slope": held.slope,
        "intercept": held.intercept,
        "exact": held.exact,
        "windows": {name: list(window) for name, window in held.windows.items()},
        "preset": next(name for name in ("bone", "t2", "full") if name in held.windows),
        "planes": {geometry.plane: geometry.told() for geometry in planes_of(found)},
        "mm_known": not isinstance(found, Film) or found.mm_known,
        "oriented": not isinstance(found, Film) or found.oriented,
        "inverted": isinstance(found, Film) and found.inverted,
        "version": series.version,
        "volume": None,
        "levels": [],
        "levels_source": "",
        "can_correct": False,
    }
    if not isinstance(found, Film) and held.volume.data.nbytes <= LARGEST_NIFTI:
        told["volume"] = f"{address}/volume.nii.gz"
    if series.mask is not None and isinstance(found, Held):
        try:
            labelling = current_labelling(series, shelf)
            told |= labelling_told(labelling, series.version)
            told["can_correct"] = True
            told["start"] = _start(told["levels"], told["planes"])
        except SpineMedError as error:
            flags.append(error.problem)  # the picture is shown without names, and says why
    told["flags"] = flags
    return told


def planes_of(found: Held | Film) -> list[PlaneGeometry]:
    """The planes that a series can be shown in."""
    return [found.geometry] if isinstance(found, Film) else [plane_geometry(found.volume, name) for name in PLANES]


def current_labelling(series: Series, shelf: Shelf) -> Labelling:
    """The levels as they stand: imported, then every correction.

    Raises:
        AbsentError: there is no mask whose numbers are levels.
        ReadError: a file changed, or a correction gives other levels than were stored.
        VolumeError: mask and image lie on different grids.
    """
    if series.mask is None:
        raise AbsentError("the series has no mask of levels")
    labelling = imported_labelling(series, shelf)
    if series.corrections:
        labelling = apply_operations(labelling, parse_operations(list(series.corrections)))
        if [str(level) for level in labelling.levels] != [str(row[0]) for row in series.levels]:
            raise ReadError("the corrections give other levels than were stored", field="levels", cure="verify the log")
    return labelling


def imported_labelling(series: Series, shelf: Shelf) -> Labelling:
    """The levels as they were imported.

    Raises:
        AbsentError, ReadError, VolumeError: as :func:`current_labelling`.
    """
    if series.mask is None:
        raise AbsentError("the series has no mask of levels")
    path, sha256, scheme = series.mask
    mask = shelf.mask(path, sha256, scheme)
    image = shelf.image(series.path, series.sha256, series.modality)
    if isinstance(image, Film) or grid_difference(mask.volume, image.volume) is not None:
        raise ReadError("the mask lies on another grid than the image", field="mask", cure="import the right mask")
    centroids = None if series.centroids is None else read_centroids(series.centroids, image_or_mask=mask)
    return shelf.labelling(f"{sha256}/{scheme}", lambda: labelling_of(mask, centroids))


def labelling_told(labelling: Labelling, version: int) -> dict[str, Any]:
    """Names and places of the bodies for the browser; `cut`: the edge of the volume goes through the vertebra."""
    cut = labels_at_border(labelling.mask)
    rows = [
        {
            "level": str(level),
            "point_mm": [round(float(value), 3) for value in point],
            "cut": level.verse_label in cut,
        }
        for level, point in labelling.centroids.items()
    ]
    return {"levels": rows, "version": version, "levels_source": "mask" if version == 0 else f"version {version}"}


def require_base(series: Series, base: int) -> None:
    """Raise StaleError unless a correction starts from the latest version."""
    if base != series.version:
        raise StaleError(
            f"the levels were corrected meanwhile (version {series.version}, yours starts from {base})",
            cure="open the item again",
        )


def _start(levels: Sequence[dict[str, Any]], planes: dict[str, Any]) -> dict[str, int]:
    """Layers to open with: through the middle of the bodies instead of the middle of the picture."""
    import numpy as np

    middle = np.median([row["point_mm"] for row in levels], axis=0)
    start = {}
    for name, plane in planes.items():
        layer = round(float(np.linalg.solve(np.array(plane["affine"]), [*middle, 1.0])[2]))
        start[name] = min(max(layer, 0), plane["shape"][2] - 1)
    return start


def require_visible(session: Session, actor: Actor, item_id: int) -> None:
    """Raise AbsentError unless the actor may see the pictures of an item."""
    query = select(Item.id).where(Item.id == item_id)
    if session.scalar(_visible(query, actor).limit(1)) is None:
        raise AbsentError("there is no such item")


def _visible(query: Any, actor: Actor) -> Any:
    """Narrow a query over items to those whose pictures the actor may see."""
    if actor.may("data_manager", "auditor"):
        return query
    own = (
        select(Assignment.id)
        .where(Assignment.item_id == Item.id, Assignment.user_id == actor.id, Assignment.status != "void")
        .exists()
    )
    mine = [own] if actor.may("reviewer") else []
    theirs = [(Item.status == "disputed") & ~own] if actor.may("adjudicator") else []
    return query.where(or_(false(), *mine, *theirs))


def _series(session: Session, handle: str, number: int) -> Series:
    image = session.get(Volume, handle)
    if image is None or image.kind != "image" or _HELD in Path(image.path).parts:
        raise AbsentError("there is no such series")
    beside = session.execute(
        select(Volume)
        .join(StudyVolume, StudyVolume.handle == Volume.handle)
        .where(
            StudyVolume.study_id.in_(
                select(StudyVolume.study_id).where(StudyVolume.handle == handle, StudyVolume.kind == "image")
            ),
            StudyVolume.run_id == image.run_id,
            StudyVolume.kind.in_(("mask", "centroids")),
        )
    ).scalars()
    parts = {volume.kind: volume for volume in beside}
    rows = session.execute(
        select(LevelCorrection.number, LevelCorrection.operations, LevelCorrection.levels)
        .where(LevelCorrection.handle == handle)
        .order_by(LevelCorrection.number)
    ).all()
    mask = parts.get("mask")
    return Series(
        handle=handle,
        path=Path(image.path),
        sha256=image.sha256,
        modality=image.modality,
        title=f"{image.modality} {number}",
        group_id=image.group_id,
        mask=(Path(mask.path), mask.sha256, mask.scheme) if mask is not None and mask.scheme else None,
        centroids=Path(parts["centroids"].path) if "centroids" in parts else None,
        corrections=tuple(step for row in rows for step in row.operations),
        version=rows[-1].number if rows else 0,
        levels=tuple(rows[-1].levels) if rows else (),
    )


def parse_body(content: bytes, *, most: int = 64 * 1024) -> dict[str, Any]:
    """A JSON object that a browser sent.

    Raises:
        RefusedError: too long, no JSON, or no object.
    """
    if len(content) > most:
        raise RefusedError("the request is too long", field="body", cure="send fewer steps")
    try:
        value = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise RefusedError("is no JSON", field="body", cure="reload the page") from error
    if not isinstance(value, dict):
        raise RefusedError("is no JSON object", field="body", cure="reload the page")
    return value
