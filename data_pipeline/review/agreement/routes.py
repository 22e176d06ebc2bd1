"""Pages of the agreement dashboard: one page, three pictures, one table.

Convention: routes only read. Figures are kept until a decision, an adjudication or a correction changes what they rest
on; the key holds who may see what, so that a kept figure never reaches somebody who may not.

Trap: pictures carry English words whatever the reader's language: the font that matplotlib brings has no Chinese.
"""

from __future__ import annotations

import csv
import io
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Annotated, Any

from fastapi import APIRouter, Query
from sqlalchemy.orm import Session
from starlette.requests import Request
from starlette.responses import Response

from data_pipeline.review.agreement import service
from data_pipeline.review.agreement.figures import ASPECTS, Row
from data_pipeline.review.agreement.pictures import draw_agreement, draw_gold, draw_times
from data_pipeline.review.protocol.access import Actor
from data_pipeline.review.store.tables import now
from data_pipeline.review.web.deps import CurrentUser, Db, page

__all__ = ["router"]

router = APIRouter()
Word = Annotated[str, Query(max_length=32)]


class Kept:
    """Figures that were computed, the latest few."""

    def __init__(self, room: int = 128) -> None:
        self.room = room
        self._made: OrderedDict[Hashable, Any] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """What was made for the key, or what is made now."""
        with self._lock:
            if key in self._made:
                self._made.move_to_end(key)
                return self._made[key]
        made = make()
        with self._lock:
            self._made[key] = made
            while len(self._made) > self.room:
                self._made.popitem(last=False)
        return made


def _kept(request: Request) -> Kept:
    state = request.app.state
    if not hasattr(state, "agreement_figures"):
        state.agreement_figures = Kept()
    kept: Kept = state.agreement_figures
    return kept


def _sight(actor: Actor) -> str:
    """What the actor's figures may rest on: everything, or the days before this one."""
    return "all" if service.sees_all(actor) else now()[:10]


def _rows(request: Request, db: Session, actor: Actor, by: str, aspect: str) -> list[Row]:
    key = (service.stamp(db), _sight(actor), by, aspect)
    rows: list[Row] = _kept(request).get(key, lambda: service.agreement(db, actor, by=by, aspect=aspect))
    return rows


@router.get("/agreement")
def agreement(request: Request, db: Db, visitor: CurrentUser, by: Word = "task", aspect: Word = "decision") -> Response:
    """The dashboard."""
    actor = visitor.actor
    return page(
        request,
        "agreement/dashboard.html",
        rows=_rows(request, db, actor, by, aspect),
        by=by,
        aspect=aspect,
        parts=service.allowed_by(actor),
        aspects=ASPECTS,
        progress=service.progress(db, actor),
        whole=service.sees_all(actor),
        fewest=service.FEWEST_SHOWN,
        gold=service.gold_drift(db, actor) if service.sees_all(actor) else [],
    )


@router.get("/agreement/figure.png")
def figure(request: Request, db: Db, visitor: CurrentUser, by: Word = "task", aspect: Word = "decision") -> Response:
    """Coefficients with their intervals."""
    rows = _rows(request, db, visitor.actor, by, aspect)
    key = ("figure", service.stamp(db), _sight(visitor.actor), by, aspect)
    label = "agreement (filled: with 95 % interval by case; hollow: none exists)"
    return _png(_kept(request).get(key, lambda: draw_agreement(rows, x_label=label, units="items")))


@router.get("/agreement/gold.png")
def gold(db: Db, visitor: CurrentUser) -> Response:
    """Right decisions on gold items by week."""
    weeks = service.gold_drift(db, visitor.actor)
    return _png(draw_gold(weeks, y_label="gold items decided right (%)"))


@router.get("/agreement/times.png")
def times(db: Db, visitor: CurrentUser) -> Response:
    """Seconds for each item by task."""
    return _png(draw_times(service.times(db, visitor.actor), x_label="seconds for one decision"))


@router.get("/agreement/table.csv")
def table(request: Request, db: Db, visitor: CurrentUser) -> Response:
    """All rows that the reader may see, on all aspects, as CSV."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    rows = [
        row
        for by in service.allowed_by(visitor.actor)
        for aspect in ASPECTS
        for row in _rows(request, db, visitor.actor, by, aspect)
    ]
    writer.writerows(service.csv_lines(rows))
    return Response(
        stream.getvalue().encode(),
        media_type="text/csv; charset=utf-8",
        headers={"content-disposition": 'attachment; filename="agreement.csv"'},
    )


def _png(body: bytes) -> Response:
    return Response(body, media_type="image/png")
