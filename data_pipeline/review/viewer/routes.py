"""Routes of the viewer: the series of an item, their layers and volumes, and the correction of levels.

Convention: answers to the viewer's scripts are JSON; an error is `{"problem", "cure"}` with the status of the error.
Layers and volumes carry the hash of what they were made from as ETag and are kept by the one browser that asked.

Trap: an answer that a proxy keeps could reach somebody without rights, so everything is `private`, and asked for again
with its ETag: rights are checked each time, bytes are sent once.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response

from data_pipeline.review.errors import ReviewError
from data_pipeline.review.viewer import service
from data_pipeline.review.viewer.annotations import own_annotations, save_annotations
from data_pipeline.review.viewer.films import Film
from data_pipeline.review.viewer.layers import PLANES, layer_bytes
from data_pipeline.review.viewer.operations import apply_operations, describe, parse_operations
from data_pipeline.review.viewer.saving import save_levels
from data_pipeline.review.viewer.shelf import Shelf, nifti_of
from data_pipeline.review.web.deps import (
    CurrentUser,
    Db,
    Id,
    OpenStore,
    csrf_checked,
    language_of,
    review_of,
)
from spinemed.anatomy import LABEL_MAPS, Level, Region
from spinemed.errors import SpineMedError

__all__ = ["router"]

router = APIRouter(prefix="/viewer")
Handle = Annotated[str, Path(pattern=r"^[0-9a-f]{64}$")]
Layer = Annotated[int, Path(ge=0, le=65535)]
_PRIVATE = {"cache-control": "private, no-cache"}
_ALL_LEVELS = [
    str(level)
    for level in LABEL_MAPS["verse"].levels
    if level.region in (Region.CERVICAL, Region.THORACIC, Region.LUMBAR) and level is not Level.C0
]


def shelf_of(request: Request) -> Shelf:
    """The volumes of this server, made when the first one is asked for."""
    state = request.app.state
    if not hasattr(state, "shelf"):
        state.shelf = Shelf()
    shelf: Shelf = state.shelf
    return shelf


def _refusal(error: SpineMedError) -> JSONResponse:
    status = error.status if isinstance(error, ReviewError) else 422
    return JSONResponse(
        {"problem": f"{error.problem[:1].upper()}{error.problem[1:]}.", "cure": error.cure or ""}, status
    )


async def body_of(request: Request) -> bytes:
    """The body, whose length the guard limits; read here so that the routes below can run in a thread."""
    return await request.body()


Body = Annotated[bytes, Depends(body_of)]


@router.get("/items/{number}")
def series_of_item(request: Request, number: Id, db: Db, visitor: CurrentUser) -> Response:
    """Everything the viewer of one item needs, in the reader's language."""
    try:
        found = service.series_of_item(db, visitor.actor, number)
        shelf = shelf_of(request)
        told: list[dict[str, Any]] = []
        for series in found:
            told.append(service.facts_of(series, shelf, f"/viewer/volumes/{series.handle}"))
    except SpineMedError as error:
        return _refusal(error)
    words = review_of(request).pages.wordings[language_of(request)].words
    answer = {
        "series": told,
        "words": {key.removeprefix("viewer."): text for key, text in words.items() if key.startswith("viewer.")},
        "all_levels": _ALL_LEVELS,
        "marks": own_annotations(db, visitor.actor, number),
        "keep": f"/viewer/items/{number}/annotations" if visitor.actor.may("reviewer", "adjudicator") else "",
        "can_correct": visitor.actor.may("reviewer", "adjudicator", "data_manager"),
    }
    return JSONResponse(answer, headers=_PRIVATE)


@router.post("/items/{number}/annotations", dependencies=[Depends(csrf_checked)])
def measure(number: Id, store: OpenStore, visitor: CurrentUser, content: Body) -> Response:
    """Keep the measurements of the page."""
    try:
        marks = service.parse_body(content, most=256 * 1024).get("marks")
        with store.writing() as session:
            count = save_annotations(session, visitor.actor, number, marks)
    except SpineMedError as error:
        return _refusal(error)
    return JSONResponse({"marks": count}, headers=_PRIVATE)


@router.get("/volumes/{handle}/layers/{plane}/{layer}")
def layer(request: Request, handle: Handle, plane: str, layer: Layer, db: Db, visitor: CurrentUser) -> Response:
    """The 16-bit values of one layer."""
    try:
        series = service.find_series(db, visitor.actor, handle)
        tag = f'"{series.sha256[:32]}.{plane}.{layer}"'
        if plane not in PLANES and plane != "film":
            return JSONResponse({"problem": "There is no such plane.", "cure": ""}, 404)
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers={**_PRIVATE, "etag": tag})
        found = shelf_of(request).image(series.path, series.sha256, series.modality)
        if isinstance(found, Film) != (plane == "film"):
            return JSONResponse({"problem": "There is no such plane.", "cure": ""}, 404)
        if isinstance(found, Film):
            content = found.layer(layer)
        else:
            content = layer_bytes(found, plane, layer)  # type: ignore[arg-type]
    except SpineMedError as error:
        return _refusal(error)
    return Response(content, media_type="application/octet-stream", headers={**_PRIVATE, "etag": tag})


@router.get("/volumes/{handle}/volume.nii.gz")
def volume(request: Request, handle: Handle, db: Db, visitor: CurrentUser, store: OpenStore) -> Response:
    """The whole volume as NIfTI, written anew without anything but voxels and affine."""
    try:
        series = service.find_series(db, visitor.actor, handle)
        tag = f'"{series.sha256[:32]}.nii"'
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers={**_PRIVATE, "etag": tag})
        found = shelf_of(request).image(series.path, series.sha256, series.modality)
        if isinstance(found, Film):
            return JSONResponse({"problem": "A film is no volume.", "cure": ""}, 404)
        made = nifti_of(found, store.data / "volumes")
    except SpineMedError as error:
        return _refusal(error)
    return FileResponse(made, media_type="application/octet-stream", headers={**_PRIVATE, "etag": tag})


@router.post("/volumes/{handle}/levels/preview", dependencies=[Depends(csrf_checked)])
def preview(request: Request, handle: Handle, db: Db, visitor: CurrentUser, content: Body) -> Response:
    """What levels would be called after some steps; stores nothing."""
    try:
        body = service.parse_body(content)
        series = service.find_series(db, visitor.actor, handle)
        service.require_base(series, body.get("base", -1))
        steps = parse_operations(body.get("operations"))
        after = apply_operations(service.current_labelling(series, shelf_of(request)), steps)
    except SpineMedError as error:
        return _refusal(error)
    told = service.labelling_told(after, series.version)
    return JSONResponse({**told, "steps": [describe(step) for step in steps]}, headers=_PRIVATE)


@router.post("/volumes/{handle}/levels", dependencies=[Depends(csrf_checked)])
def save(request: Request, handle: Handle, store: OpenStore, visitor: CurrentUser, content: Body) -> Response:
    """Store some steps as a new version and open the items again that rest on these levels."""
    try:
        told = save_levels(store, visitor.actor, handle, service.parse_body(content), shelf_of(request))
    except SpineMedError as error:
        return _refusal(error)
    return JSONResponse(told, headers=_PRIVATE)
