"""A reviewer's acts on one item: decide, take back, flag a claim, keep what is typed.

Convention: the page sends back the `version` that it was shown and a `token` of its own. An older version is refused
and nothing is stored; a token that came before is the same decision, told again. What was taken back stays in the
table beside the row that says so.

Trap: rows are locked in one order everywhere: item, assignment, and the log last.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from data_pipeline.review.audit.chain import append
from data_pipeline.review.errors import AbsentError, RefusedError, StaleError
from data_pipeline.review.protocol.access import Actor, check_id, clean_text, require
from data_pipeline.review.protocol.blind import Edit, apply_edit, key_of, shown, side_of, urgency_of
from data_pipeline.review.protocol.settle import settle, unsettle
from data_pipeline.review.store.tables import Assignment, Decision, Draft, Flag, Item, Version, now
from spinemed.records import SPINE_ERRORS, Instance, content_hash

__all__ = [
    "FLAG_KINDS",
    "Choice",
    "Decided",
    "add_version",
    "check_token",
    "decide",
    "flag_claim",
    "flush_once",
    "lock_own",
    "save_draft",
    "undo",
    "withdraw_flag",
]

FLAG_KINDS = (*SPINE_ERRORS, "unsupported")
"""Kinds of error that a reviewer may flag."""
_TOKEN = re.compile(r"[A-Za-z0-9_-]{8,64}")
_LONGEST_S = 86_400.0


class Choice(BaseModel):
    """What a reviewer decides."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    verdict: Literal["approved", "edited", "rejected"]
    edit: Edit | None = None
    """For `edited`."""
    reason: str = ""
    """Needed to reject."""
    seconds: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """That the page was worked on."""


@dataclass(frozen=True)
class Decided:
    """A stored decision."""

    decision_id: int
    verdict: str
    version: int
    """Of the assignment from now on."""
    repeated: bool = False
    """The token came before: nothing was stored this time."""


def check_token(token: object) -> str:
    """A page's token.

    Raises:
        RefusedError: It is none.
    """
    if not isinstance(token, str) or not _TOKEN.fullmatch(token):
        raise RefusedError("is no token", field="token", cure="send 8 to 64 letters and digits, new for each act")
    return token


def flush_once(session: Session) -> None:
    """Send rows to the database.

    Raises:
        StaleError: The same token or page was sent twice at the same moment, and the other one was stored.
    """
    try:
        session.flush()
    except IntegrityError as error:
        raise StaleError("the same request came twice at once", cure="load the page again") from error


def lock_own(session: Session, actor: Actor, item_id: int) -> tuple[Item, Assignment]:
    """The item and the actor's assignment, both locked.

    Raises:
        AbsentError: The item is not the actor's.
    """
    item = session.get(Item, check_id(item_id), with_for_update=True, populate_existing=True)
    mine = session.scalars(
        select(Assignment)
        .where(Assignment.item_id == item_id, Assignment.user_id == actor.id, Assignment.status != "void")
        .with_for_update()
        .execution_options(populate_existing=True)
    ).one_or_none()
    if item is None or mine is None:
        raise AbsentError("there is no such item in your queue")
    return item, mine


def decide(session: Session, actor: Actor, item_id: int, choice: Choice, *, version: int, token: str) -> Decided:
    """Store a decision.

    Args:
        session: A writing session.
        actor: The reviewer.
        item_id: The item.
        choice: What is decided.
        version: Of the assignment, as :class:`ItemView` told it.
        token: New for each decision, the same for each repetition of one.

    Returns:
        The decision; when it returns from the session's block, it is on disk.

    Raises:
        AccessError: The actor is no reviewer.
        AbsentError: The item is not the actor's.
        StaleError: The assignment changed since: another tab, or a corrected level.
        RefusedError: The edit makes no valid item, a rejection has no reason, or the token was used for another choice.
    """
    require(actor, "reviewer")
    reason = clean_text(choice.reason, "reason", most=4000).strip()
    payload = content_hash({"item": item_id, "choice": choice.model_dump(mode="json", exclude={"seconds"})})
    item, mine = lock_own(session, actor, item_id)
    earlier = _earlier(session, actor, check_token(token), payload)
    if earlier is not None:
        return Decided(earlier.id, earlier.verdict, mine.version, repeated=True)
    if mine.version != version:
        raise StaleError("the item changed since you opened it", cure="load it again; what you typed was kept")
    if mine.status != "open":
        raise StaleError("you decided this item already", cure="undo your decision first")
    if choice.verdict == "rejected" and not reason:
        raise RefusedError("a rejection needs a reason", field="reason", cure="write it")
    if (choice.verdict == "edited") != (choice.edit is not None):
        raise RefusedError("an edit belongs to the verdict `edited`", field="edit", cure="send both or none")
    base = session.scalars(
        select(Version)
        .where(Version.item_id == item.id, Version.kind == "revision")
        .order_by(Version.number.desc())
        .limit(1)
    ).one()
    instance = Instance.model_validate_json(base.instance)
    edited = None
    if choice.edit is not None:
        instance = apply_edit(instance, choice.edit, reason)
        edited = add_version(session, item.id, "edit", instance, author=actor.id, parent=base.id, reason=reason)
    decision = Decision(
        assignment_id=mine.id, item_id=item.id, user_id=actor.id, group_name=actor.group, round=item.round,
        verdict=choice.verdict, undoes_id=None, shown_version_id=base.id,
        edit_version_id=None if edited is None else edited.id,
        answer_key=key_of(instance), levels=[level.value for level in instance.levels],
        side=side_of(instance) if edited else item.side, urgency=urgency_of(instance) if edited else item.urgency,
        reason=reason, seconds=min(choice.seconds, _LONGEST_S), token=token, payload_sha256=payload, made_at=now(),
    )  # fmt: skip
    session.add(decision)
    flush_once(session)
    mine.status, mine.decision_id = "done", decision.id
    mine.version += 1
    saved = session.get(Draft, (actor.id, item.id))
    if saved is not None:
        session.delete(saved)
    settle(session, item)
    append(session, actor.pseudonym, "decide", "item", item.id, new=_told(decision, base.sha256, edited), why=reason)
    return Decided(decision.id, decision.verdict, mine.version)


def _earlier(session: Session, actor: Actor, token: str, payload: str) -> Decision | None:
    found = session.scalars(select(Decision).where(Decision.user_id == actor.id, Decision.token == token)).one_or_none()
    if found is not None and found.payload_sha256 != payload:
        raise RefusedError("was used for another decision", field="token", cure="make a new one for each act")
    return found


def _told(decision: Decision, shown_sha256: str, edited: Version | None) -> dict[str, Any]:
    return {
        "decision": decision.id, "round": decision.round, "verdict": decision.verdict, "key": decision.answer_key,
        "levels": decision.levels, "side": decision.side, "urgency": decision.urgency, "shown_sha256": shown_sha256,
        "edited_sha256": None if edited is None else edited.sha256, "payload_sha256": decision.payload_sha256,
    }  # fmt: skip


def add_version(
    session: Session,
    item_id: int,
    kind: Literal["draft", "revision", "edit", "adjudication"],
    instance: Instance,
    *,
    author: int | None,
    parent: int | None,
    reason: str = "",
) -> Version:
    """Append a version of an item that the caller has locked."""
    number = session.scalar(select(func.max(Version.number)).where(Version.item_id == item_id))
    version = Version(
        item_id=item_id, number=0 if number is None else number + 1, kind=kind, author_id=author, parent_id=parent,
        shown=json.dumps(shown(instance), ensure_ascii=False), instance=instance.model_dump_json(),
        sha256=content_hash(instance), made_at=now(), reason=reason,
    )  # fmt: skip
    session.add(version)
    session.flush()
    return version


def undo(session: Session, actor: Actor, item_id: int, *, version: int, token: str, why: str = "") -> Decided:
    """Take the own decision back, as a further row; the item is open again.

    Raises:
        AbsentError: The item is not the actor's.
        StaleError: The assignment changed since.
        RefusedError: There is nothing to take back, an adjudicator settled it, or the other decision was seen or can
            be told from the agreement of an earlier day.
    """
    require(actor, "reviewer")
    why = clean_text(why, "why", most=4000)
    item, mine = lock_own(session, actor, item_id)
    payload = content_hash({"item": item_id, "undo": True})
    earlier = _earlier(session, actor, check_token(token), payload)
    if earlier is not None:
        return Decided(earlier.id, earlier.verdict, mine.version, repeated=True)
    if mine.version != version:
        raise StaleError("the item changed since you opened it", cure="load it again")
    if mine.status != "done" or mine.decision_id is None:
        raise RefusedError("there is no decision to take back", field="item", cure="decide first")
    if mine.saw_other:
        raise RefusedError(
            "the other decision was shown to you", field="item", cure="ask a data manager to re-open the item"
        )
    last = session.get_one(Decision, mine.decision_id)
    if item.reviews_needed > 1 and item.status != "open" and last.made_at[:10] < now()[:10]:
        raise RefusedError(
            "everybody decided, and figures of an earlier day hold it", field="item",
            cure="ask a data manager to re-open the item",
        )  # fmt: skip
    unsettle(session, item)
    row = Decision(
        assignment_id=mine.id, item_id=item.id, user_id=actor.id, group_name=actor.group, round=item.round,
        verdict="undone", undoes_id=last.id, shown_version_id=last.shown_version_id, edit_version_id=None,
        answer_key=last.answer_key, levels=last.levels, side=last.side, urgency=last.urgency, reason=why, seconds=0.0,
        token=token, payload_sha256=payload, made_at=now(),
    )  # fmt: skip
    session.add(row)
    flush_once(session)
    mine.status, mine.decision_id = "open", None
    mine.version += 1
    append(
        session, actor.pseudonym, "undo", "item", item.id, old={"decision": last.id, "verdict": last.verdict},
        new={"decision": row.id, "verdict": "undone"}, why=why,
    )  # fmt: skip
    return Decided(row.id, "undone", mine.version)


def flag_claim(
    session: Session,
    actor: Actor,
    item_id: int,
    *,
    message: int,
    start: int,
    end: int,
    kind: str,
    note: str = "",
    token: str,
) -> int:
    """Mark words of a message as doubtful; returns the flag's id.

    Raises:
        AbsentError: The item is not the actor's.
        RefusedError: The place is not in the message, or the kind is none.
    """
    require(actor, "reviewer")
    item, _ = lock_own(session, actor, item_id)
    known = session.scalar(select(Flag.id).where(Flag.user_id == actor.id, Flag.token == check_token(token)))
    if known is not None:
        return known
    version, shown_ = session.execute(
        select(Version.id, Version.shown)
        .where(Version.item_id == item.id, Version.kind == "revision")
        .order_by(Version.number.desc())
        .limit(1)
    ).one()
    turns = json.loads(shown_)["messages"]
    if not (0 <= message < len(turns) and 0 <= start < end <= len(turns[message]["content"])):
        raise RefusedError("is no place in the item", field="start", cure="mark the words again")
    if kind not in FLAG_KINDS:
        raise RefusedError(f"{kind[:20]!r} is no kind", field="kind", cure=f"use {', '.join(FLAG_KINDS)}")
    flag = Flag(
        item_id=item.id, user_id=actor.id, version_id=version, message=message, start=start, end=end,
        quote=turns[message]["content"][start:end], kind=kind, note=clean_text(note, "note", most=2000),
        withdraws_id=None, token=token, made_at=now(),
    )  # fmt: skip
    session.add(flag)
    flush_once(session)
    told = {"flag": flag.id, "message": message, "start": start, "end": end, "kind": kind}
    append(session, actor.pseudonym, "flag claim", "item", item.id, new=told, why=flag.note)
    return flag.id


def withdraw_flag(session: Session, actor: Actor, flag_id: int, *, token: str) -> None:
    """Take a flag back, as a further row.

    Raises:
        AbsentError: It is not the actor's.
        RefusedError: The token was used for another flag.
    """
    require(actor, "reviewer")
    flag = session.get(Flag, check_id(flag_id))
    if flag is None or flag.user_id != actor.id or flag.withdraws_id is not None:
        raise AbsentError("there is no such flag of yours")
    lock_own(session, actor, flag.item_id)
    taken = session.scalar(select(Flag.id).where(Flag.withdraws_id == flag.id))
    if taken is not None:
        return
    used = session.scalar(select(Flag.id).where(Flag.user_id == actor.id, Flag.token == check_token(token)))
    if used is not None:
        raise RefusedError("was used for another flag", field="token", cure="make a new one for each act")
    session.add(
        Flag(
            item_id=flag.item_id, user_id=actor.id, version_id=flag.version_id, message=flag.message,
            start=flag.start, end=flag.end, quote=flag.quote, kind=flag.kind, note="", withdraws_id=flag.id,
            token=token, made_at=now(),
        )
    )  # fmt: skip
    append(session, actor.pseudonym, "withdraw flag", "item", flag.item_id, old={"flag": flag.id})


def save_draft(session: Session, actor: Actor, item_id: int, body: dict[str, Any], *, version: int) -> int:
    """Keep what is typed; returns the draft's new version.

    Args:
        session: A writing session.
        actor: The reviewer.
        item_id: The item.
        body: JSON of the page's fields.
        version: Of the draft, as last told (0 for none): an older tab does not overwrite a newer one.

    Raises:
        AbsentError: The item is not the actor's.
        StaleError: Another tab saved since.
        RefusedError: It is too long.
    """
    require(actor, "reviewer")
    try:
        text = json.dumps(body, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise RefusedError("is no JSON", field="body", cure="send plain fields") from error
    if "\\u0000" in json.dumps(body):
        raise RefusedError("holds control characters", field="body", cure="remove them")
    clean_text(text, "body", most=200_000)
    own = session.scalar(
        select(Assignment.id).where(
            Assignment.item_id == check_id(item_id), Assignment.user_id == actor.id, Assignment.status != "void"
        )
    )
    if own is None:
        raise AbsentError("there is no such item in your queue")
    saved = session.get(Draft, (actor.id, item_id), with_for_update=True, populate_existing=True)
    if (0 if saved is None else saved.version) != version:
        raise StaleError("another tab saved this item since", cure="load the item again")
    if saved is None:
        session.add(Draft(user_id=actor.id, item_id=item_id, body=body, version=1, saved_at=now()))
        flush_once(session)
        return 1
    saved.body, saved.saved_at = body, now()
    saved.version += 1
    return saved.version
