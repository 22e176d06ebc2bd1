"""Pages of the reader study: the studies, one output at a time, and for those who manage it the summary and export.

Convention: routes are thin; the services decide who may do what. A form sends one field for each dimension and kind of
error, the version that it was shown and a token of its own.

Trap: the address of an output holds the id of the reader's assignment and not that of the output: two readers who
compare addresses learn nothing.
"""

from __future__ import annotations

import secrets
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Form, Path
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from data_pipeline.review.readers import service
from data_pipeline.review.readers.summary import summarise
from data_pipeline.review.web.deps import CurrentUser, Db, Id, OpenStore, csrf_checked, page, see
from spinemed.records import DIMENSIONS, REPORT_SECTIONS, SPINE_ERRORS

__all__ = ["router"]

router = APIRouter()
Grade = Annotated[int, Field(ge=1, le=5)]
Count = Annotated[int, Field(ge=0, le=99)]


class JudgementForm(BaseModel):
    """What the page of an output sends."""

    model_config = ConfigDict(extra="ignore")

    imaging_report: Grade
    diagnosis: Grade
    patient_guidance: Grade
    evidence_based_treatment: Grade
    technical_feasibility: Grade
    risk_prognosis: Grade
    coverage: Grade
    relevance: Grade
    granularity: Grade
    interpretability: Grade
    wrong_level: Count = 0
    wrong_side: Count = 0
    wrong_grade: Count = 0
    missed: Count = 0
    invented: Count = 0
    unsafe: Count = 0
    would_sign: Literal["yes", "no"]
    comment: Annotated[str, Field(max_length=4000)] = ""
    seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    version: Annotated[int, Field(ge=1, le=2**31 - 1)]
    token: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{8,64}$")]


@router.get("/readers")
def studies(request: Request, db: Db, visitor: CurrentUser) -> Response:
    """The studies."""
    rows = service.list_studies(db, visitor.actor)
    manages = visitor.actor.may("data_manager", "auditor")
    return page(request, "readers/studies.html", rows=rows, manages=manages)


@router.get("/readers/{study}/next")
def following(study: Id, db: Db, visitor: CurrentUser) -> Response:
    """On to the reader's next output, or back to the studies where all are judged."""
    number = service.next_reading(db, visitor.actor, study)
    return see("/readers" if number is None else f"/readers/outputs/{number}")


@router.get("/readers/outputs/{number}")
def output(request: Request, number: Id, db: Db, visitor: CurrentUser) -> Response:
    """One output to be judged."""
    view = service.show_output(db, visitor.actor, number)
    return page(
        request, "readers/output.html", view=view, sections=REPORT_SECTIONS, errors=SPINE_ERRORS,
        token=secrets.token_urlsafe(18),
    )  # fmt: skip


@router.get("/readers/outputs/{number}/pictures/{place}")
def picture(number: Id, place: Annotated[int, Path(ge=0, le=999)], db: Db, visitor: CurrentUser) -> Response:
    """A picture of the case."""
    content, kind = service.picture_of(db, visitor.actor, number, place)
    return Response(content, media_type=kind)


@router.post("/readers/outputs/{number}", dependencies=[Depends(csrf_checked)])
def judge(number: Id, store: OpenStore, visitor: CurrentUser, form: Annotated[JudgementForm, Form()]) -> Response:
    """Store a judgement and go on to the next output."""
    judged = service.Judged(
        dimensions={name: getattr(form, name) for name in DIMENSIONS},
        errors={kind: getattr(form, kind) for kind in SPINE_ERRORS},
        would_sign=form.would_sign == "yes",
        comment=form.comment.replace("\r\n", "\n"),
        seconds=form.seconds,
    )
    with store.writing() as db:
        service.vote(db, visitor.actor, number, judged, version=form.version, token=form.token)
    with store.reading() as db:
        study = service.show_output(db, visitor.actor, number).study_id
    return see(f"/readers/{study}/next")


@router.get("/readers/{study}/summary")
def summary(request: Request, study: Id, db: Db, visitor: CurrentUser) -> Response:
    """Ceiling, systems and controls of a study."""
    scores = list(service.reader_scores(db, visitor.actor, study))
    found = summarise(scores, service.planted_of(db, visitor.actor, study))
    state = next(one for one in service.list_studies(db, visitor.actor) if one.id == study)
    return page(request, "readers/summary.html", found=found, state=state, errors=SPINE_ERRORS)


@router.get("/readers/{study}/reader_scores.jsonl")
def export(study: Id, db: Db, visitor: CurrentUser) -> Response:
    """All judgements as `ReaderScore` records."""
    lines = [one.model_dump_json() + "\n" for one in service.reader_scores(db, visitor.actor, study)]
    return Response(
        "".join(lines).encode(),
        media_type="application/x-ndjson",
        headers={"content-disposition": 'attachment; filename="reader_scores.jsonl"'},
    )
