"""What the dashboard may read, for whom: judgements of items that all decided, progress, time, gold items.

Convention: services take `(session, actor, ...)` and decide rights themselves. Data managers and auditors see
everything; reviewers, adjudicators and administrators see agreement over all people together, by task and by week, and
of progress and time their own.

Trap: agreement on few items tells what the other reviewer decided. Only items that have all their decisions of the
present round count, and who judges sees no pair, no group, no row of fewer than :data:`FEWEST_SHOWN` items, nothing
that was decided today, and no count that tells an agreed item from a disputed one: who sees a figure move can still
take the own decision back.
"""

from __future__ import annotations

import datetime
import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from data_pipeline.review.agreement.figures import (
    ASPECTS,
    BY,
    RESAMPLES,
    GoldWeek,
    Judgement,
    Row,
    agreement_rows,
    gold_weeks,
)
from data_pipeline.review.errors import RefusedError
from data_pipeline.review.protocol.access import Actor, require
from data_pipeline.review.protocol.studies import stale_gold
from data_pipeline.review.store.tables import Assignment, Decision, GoldItem, Item, User, Version

__all__ = [
    "FEWEST_SHOWN",
    "Progress",
    "ReviewerProgress",
    "agreement",
    "allowed_by",
    "csv_lines",
    "gold_drift",
    "progress",
    "stamp",
    "times",
]

FEWEST_SHOWN = 10
"""Items below which who judges sees no row."""
SETTLED = ("approved", "edited", "rejected", "disputed")
"""What has all its decisions; without the disputed ones that wait, agreement would look better than it is."""
_CHUNK = 500


@dataclass(frozen=True)
class ReviewerProgress:
    """How far one person is."""

    reviewer: str
    group: str
    assigned: int
    done: int
    last_week: int
    """Decisions of the last seven days."""
    median_seconds: float | None


@dataclass(frozen=True)
class Progress:
    """How far the review is."""

    items: dict[str, dict[str, int]]
    """Items by purpose and status."""
    people: tuple[ReviewerProgress, ...]
    """Everybody for those who see everything, oneself for the others."""


def sees_all(actor: Actor) -> bool:
    """Whether the actor may see pairs, groups, people and gold items."""
    return actor.may("data_manager", "auditor")


def allowed_by(actor: Actor) -> tuple[str, ...]:
    """The parts of the work that the actor may see agreement for."""
    return BY if sees_all(actor) else ("all", "task", "week")


def stamp(session: Session) -> tuple[int, ...]:
    """Numbers that change whenever a figure of the dashboard may have changed."""
    decisions = session.execute(select(func.count(), func.max(Decision.id)).select_from(Decision)).one()
    statuses = session.execute(select(Item.status, func.count()).group_by(Item.status).order_by(Item.status)).all()
    rounds = session.scalar(select(func.sum(Item.round + Item.version))) or 0
    gold = session.scalar(select(func.count()).select_from(GoldItem)) or 0
    return (int(decisions[0]), int(decisions[1] or 0), *(int(count) for _, count in statuses), int(rounds), int(gold))


def agreement(
    session: Session,
    actor: Actor,
    *,
    by: str = "task",
    aspect: str = "decision",
    resamples: int = RESAMPLES,
    today: datetime.date | None = None,
) -> list[Row]:
    """Agreement on one aspect by one part of the work; for who judges, of the days before today.

    Raises:
        RefusedError: Another `by` or `aspect`.
        AccessError: A part that would show who judges what somebody else decided.
    """
    if by not in BY:
        raise RefusedError("is no part of the work", field="by", cure=f"use {', '.join(BY)}")
    if aspect not in ASPECTS:
        raise RefusedError("is nothing that reviewers decide", field="aspect", cure=f"use {', '.join(ASPECTS)}")
    if by not in allowed_by(actor):
        require(actor, "data_manager", "auditor")
    whole = sees_all(actor)
    found = _judgements(session, grades=aspect == "grade", before="" if whole else (today or _today()).isoformat())
    rows = agreement_rows(found, by=by, aspect=aspect, resamples=resamples)
    return rows if whole else [row for row in rows if row.units >= FEWEST_SHOWN]


def _today() -> datetime.date:
    return datetime.datetime.now(datetime.UTC).date()


def _judgements(session: Session, *, grades: bool, before: str) -> list[Judgement]:
    """What counts of items with all decisions: those of the present round, all before a day where one is given."""
    rows = session.execute(
        select(
            Item.id, Item.run_id, Item.group_id, Item.task, Item.answer_kind, User.pseudonym, Decision.group_name,
            Decision.made_at, Decision.verdict, Decision.answer_key, Decision.levels, Decision.side, Decision.urgency,
            Decision.seconds, Decision.shown_version_id,
        )
        .join(Assignment, Assignment.item_id == Item.id)
        .join(Decision, Decision.id == Assignment.decision_id)
        .join(User, User.id == Assignment.user_id)
        .where(Item.status.in_(SETTLED), Assignment.status == "done", Assignment.round == Item.round)
        .order_by(Item.id, User.pseudonym)
    ).all()  # fmt: skip
    if before:
        late = {row.id for row in rows if row.made_at[:10] >= before}
        rows = [row for row in rows if row.id not in late]
    scales = _scales(session, {row.shown_version_id for row in rows if row.answer_kind == "category"} if grades else ())
    return [
        Judgement(
            item=row.id, case=f"{row.run_id}:{row.group_id}", task=row.task, answer_kind=row.answer_kind,
            scale=scales.get(row.shown_version_id, ()), reviewer=row.pseudonym, group=row.group_name,
            week=week_of(row.made_at), verdict=row.verdict, answer_key=row.answer_key,
            levels=", ".join(row.levels), side=row.side, urgency=row.urgency, seconds=row.seconds,
        )
        for row in rows
    ]  # fmt: skip


def _scales(session: Session, versions: Iterable[int]) -> dict[int, tuple[str, ...]]:
    found: dict[int, tuple[str, ...]] = {}
    wanted = sorted(versions)
    for start in range(0, len(wanted), _CHUNK):
        chunk = wanted[start : start + _CHUNK]
        for number, shown in session.execute(select(Version.id, Version.shown).where(Version.id.in_(chunk))):
            found[number] = tuple(json.loads(shown).get("categories", ()))
    return found


def week_of(moment: str) -> str:
    """The ISO week of a stored time, e.g. `2026-W47`."""
    year, week, _ = datetime.date.fromisoformat(moment[:10]).isocalendar()
    return f"{year}-W{week:02d}"


def progress(session: Session, actor: Actor, *, today: datetime.date | None = None) -> Progress:
    """How far the review is: items by purpose and status, and people.

    For who judges, whatever all its reviewers decided is `decided`, agreed or not.
    """
    counted: dict[str, dict[str, int]] = defaultdict(dict)
    for purpose, status, number in session.execute(
        select(Item.purpose, Item.status, func.count()).group_by(Item.purpose, Item.status).order_by(Item.purpose)
    ):
        shown = status if sees_all(actor) or status in ("unsampled", "open") else "decided"
        counted[purpose][shown] = counted[purpose].get(shown, 0) + number
    since = ((today or _today()) - datetime.timedelta(days=7)).isoformat()
    query = (
        select(User.pseudonym, User.group_name, Assignment.status, Decision.seconds, Decision.made_at)
        .join(Assignment, Assignment.user_id == User.id)
        .outerjoin(Decision, Decision.id == Assignment.decision_id)
        .where(Assignment.status != "void")
    )
    if not sees_all(actor):
        query = query.where(User.id == actor.id)
    people: dict[tuple[str, str], list[Any]] = defaultdict(list)
    for name, group, status, seconds, made_at in session.execute(query):
        people[name, group].append((status, seconds, made_at))
    rows = []
    for (name, group), work in sorted(people.items()):
        done = [one for one in work if one[0] == "done"]
        took = [seconds for _, seconds, _ in done if seconds is not None]
        recent = sum(1 for _, _, made_at in done if made_at is not None and made_at[:10] > since)
        rows.append(ReviewerProgress(name, group, len(work), len(done), recent, float(median(took)) if took else None))
    return Progress({purpose: dict(statuses) for purpose, statuses in counted.items()}, tuple(rows))


def times(session: Session, actor: Actor) -> dict[str, list[float]]:
    """Seconds that a decision took, by task: everybody's for those who see everything, one's own for the others."""
    query = (
        select(Item.task, Decision.seconds)
        .join(Assignment, Assignment.decision_id == Decision.id)
        .join(Item, Item.id == Assignment.item_id)
        .where(Assignment.status == "done", Decision.seconds > 0)
        .order_by(Item.task, Decision.id)
    )
    if not sees_all(actor):
        query = query.where(Decision.user_id == actor.id)
    found: dict[str, list[float]] = defaultdict(list)
    for task, seconds in session.execute(query):
        found[task].append(float(seconds))
    return dict(found)


def gold_drift(session: Session, actor: Actor) -> list[GoldWeek]:
    """Decisions on gold items by person and week.

    A decision is right where its verdict is that of the gold item and so is everything that the gold item states. A
    gold item that was stated before the levels under it were corrected counts for nobody.

    Raises:
        AccessError: Who judges must not learn which items are gold.
    """
    require(actor, "data_manager", "auditor")
    marks = []
    for gold, decision, name in session.execute(
        select(GoldItem, Decision, User.pseudonym)
        .join(Assignment, Assignment.item_id == GoldItem.item_id)
        .join(Decision, Decision.id == Assignment.decision_id)
        .join(User, User.id == Assignment.user_id)
        .where(Assignment.status == "done", GoldItem.item_id.notin_(stale_gold(session)))
        .order_by(Decision.id)
    ):
        right = decision.verdict == gold.verdict
        if right and gold.verdict != "rejected":
            right = all(
                not wanted or wanted == said
                for wanted, said in (
                    (gold.answer_key, decision.answer_key),
                    (sorted(gold.levels), sorted(decision.levels)),
                    (gold.side, decision.side),
                    (gold.urgency, decision.urgency),
                )
            )
        marks.append((name, week_of(decision.made_at), right))
    return gold_weeks(marks)


COLUMNS = (
    "by", "part", "aspect", "coefficient", "value", "low", "high", "confidence", "items", "cases", "raters", "method",
    "reason", "prevalence",
)  # fmt: skip


def csv_lines(rows: Iterable[Row]) -> Iterable[list[str]]:
    """The table as lines of texts, its header first: one line for each coefficient, limit of agreement included.

    A text that a spreadsheet would take for a formula is led by an apostrophe.
    """
    yield list(COLUMNS)
    for row in rows:
        shares = "; ".join(f"{name}={share:.4f}" for name, share in row.prevalence.items())
        for one in row.coefficients:
            yield [
                row.by, _safe(row.part), row.aspect, one.name, _cell(one.value), _cell(one.low), _cell(one.high),
                f"{one.confidence:g}", str(one.n), str(one.clusters), str(one.raters), one.method, one.reason,
                _safe(shares),
            ]  # fmt: skip
        for name in ("bias", "lower", "upper") if row.limits else ():
            limit = row.limits[name]
            yield [
                row.by, _safe(row.part), row.aspect, f"Bland-Altman {name}", _cell(limit["value"]),
                _cell(limit["low"]), _cell(limit["high"]), f"{limit['confidence']:g}", str(limit["n"]),
                str(limit["clusters"]), "2", limit["method"], row.limits["reason"], "",
            ]  # fmt: skip


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"


def _safe(text: str) -> str:
    return f"'{text}" if text[:1] in tuple("=+-@\t\r") else text
