"""What became of the items, as files: verdicts for a release, reviewers' profiles, approvals, sign-offs, the log.

Convention: an export is a folder with a manifest of kind `reviews`:

========================== ==========================================================================================
`verdicts.jsonl`           one `ReviewVerdict` a settled item, gold items left out
`held.jsonl`               one `HeldItem` an item that was opened again, or rests on corrected levels, and waits
`reviewers.jsonl`          one `ReviewerProfile` a person who decided, pseudonyms only
`figures/SOURCE.jsonl`     `FigureDecision` lines: put it beside a source as its `figure_approvals.jsonl`
`sign_offs.jsonl`          `SignOff` lines for `spinemed data deidentify --sign-offs`
`guidance.yaml`            edited criteria and prompts for the next revision
`levels/`                  corrected levels as VerSe lays them out: :mod:`data_pipeline.review.exchange.levels`
`audit.jsonl`, `head.json` the log and its head; `spinemed review verify-log` checks them
========================== ==========================================================================================

Trap: a verdict names the hash of the audit row that holds its last decision; a decision without such a row is an error,
not a verdict. The state of an item is a column that a database's owner can change: it must be what the log says, too.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import Session

from data_pipeline.deidentify.status import SignOff
from data_pipeline.records import FigureDecision
from data_pipeline.review.audit.chain import append, head, read_log, verify_log
from data_pipeline.review.errors import ReviewError
from data_pipeline.review.exchange.levels import write_levels
from data_pipeline.review.protocol.access import SYSTEM, Actor, require
from data_pipeline.review.protocol.wording import guidance_yaml
from data_pipeline.review.store import Store
from data_pipeline.review.store.tables import (
    Adjudication,
    Assignment,
    AuditRow,
    Decision,
    DeidItem,
    FigureReview,
    GoldItem,
    Item,
    User,
    Version,
)
from data_pipeline.reviews import HeldItem, ReviewerProfile
from spinemed.records import Instance, ReviewVerdict, content_hash
from spinemed.tables import atomic_folder, write_json, write_jsonl, write_manifest, write_text

__all__ = ["export_review", "read_verdicts_of", "state_faults"]

_SETTLED = ("approved", "edited", "rejected")
_PART = 2_000
_CURE = "find out who changed the database"


def export_review(store: Store, out: Path, actor: Actor = SYSTEM) -> dict[str, Any]:
    """Write the folder; what stood there is replaced.

    Args:
        store: The review.
        out: The folder.
        actor: A data manager.

    Returns:
        Counts: verdicts by purpose and decision, items that are not settled, figures, sign-offs, log rows.

    Raises:
        AccessError: The actor is no data manager.
        ReviewError: The log was tampered with: nothing is exported from it.
    """
    require(actor, "data_manager")
    with store.writing() as session:
        faults = verify_log(session)
        if faults:
            raise ReviewError(
                f"the audit log is not whole: {faults[0]}", field="audit", cure="find out who changed the database"
            )
        last = head(session)
        append(session, actor.pseudonym, "export", "review", out.name, new={"log": last.seq, "sha256": last.sha256})
    with store.snapshot() as session, atomic_folder(out) as folder:
        counts: Counter[str] = Counter()
        write_jsonl(folder / "verdicts.jsonl", _counted(read_verdicts_of(session), counts))
        counts["held back"] = write_jsonl(folder / "held.jsonl", _held(session))
        write_jsonl(folder / "reviewers.jsonl", _profiles(session))
        for source, lines in _figures(session).items():
            counts["figures decided"] += write_jsonl(folder / "figures" / f"{source}.jsonl", lines)
        counts["sign-offs"] = write_jsonl(folder / "sign_offs.jsonl", _sign_offs(session))
        write_text(folder / "guidance.yaml", guidance_yaml(session))
        write_levels(session, store.data, folder / "levels", counts)
        counts["log rows"] = write_jsonl(folder / "audit.jsonl", read_log(session))
        end = head(session)
        write_json(folder / "head.json", {"seq": end.seq, "sha256": end.sha256})
        for status in session.scalars(select(Item.status).where(Item.status.notin_(_SETTLED))):
            counts[f"not settled: {status}"] += 1
        told = dict(sorted(counts.items()))
        write_manifest(folder, "reviews", counts=told)
    return told


def _counted(verdicts: Iterator[ReviewVerdict], counts: Counter[str]) -> Iterator[ReviewVerdict]:
    for verdict in verdicts:
        counts[f"{verdict.purpose}: {verdict.decision}"] += 1
        yield verdict


def read_verdicts_of(session: Session) -> Iterator[ReviewVerdict]:
    """Verdicts of all settled items in the order of their ids; some thousands in memory at a time.

    Raises:
        ReviewError: A decision has no row in the log, or an item's state or wording is not what the log says.
    """
    logged = _logged(session)
    names = {row.id: row.pseudonym for row in session.execute(select(User.id, User.pseudonym))}
    gold = set(session.scalars(select(GoldItem.item_id)))
    after = 0
    while True:
        items = session.scalars(
            select(Item).where(Item.id > after, Item.status.in_(_SETTLED)).order_by(Item.id).limit(_PART)
        ).all()
        if not items:
            return
        after = items[-1].id
        ids = [item.id for item in items]
        decided: dict[int, list[Decision]] = {}
        for decision in session.scalars(
            select(Decision)
            .join(Assignment, Assignment.decision_id == Decision.id)
            .where(Assignment.item_id.in_(ids), Assignment.status == "done")
            .order_by(Decision.id)
        ):
            decided.setdefault(decision.item_id, []).append(decision)
        settled = {
            row.item_id: row
            for row in session.scalars(
                select(Adjudication).where(Adjudication.item_id.in_(ids)).order_by(Adjudication.id)
            )
        }
        finals = [item.final_version_id for item in items if item.final_version_id is not None]
        texts = {
            row.id: row.instance
            for row in session.execute(select(Version.id, Version.instance).where(Version.id.in_(finals)))
        }
        for item in items:
            if item.id not in gold:
                yield _verdict(item, decided.get(item.id, []), settled.get(item.id), texts, names, logged)


def state_faults(session: Session) -> list[str]:
    """The first settled item whose state or wording is not what the log says, as a sentence; empty where all are."""
    try:
        for _ in read_verdicts_of(session):
            pass
    except ReviewError as error:
        return [error.problem]
    return []


class _Logged(NamedTuple):
    """What the log says of one decision or adjudication."""

    sha256: str
    """Of the row."""
    verdict: str
    shown_sha256: str
    edited_sha256: str | None


def _logged(session: Session) -> dict[tuple[str, int], _Logged]:
    """The audit row of each decision and adjudication."""
    found: dict[tuple[str, int], _Logged] = {}
    query = select(AuditRow.new, AuditRow.sha256).where(AuditRow.action.in_(("decide", "adjudicate")))
    for new, digest in session.execute(query.execution_options(yield_per=_PART)):
        told = json.loads(new)
        for name in ("decision", "adjudication"):
            if name in told:
                found[name, told[name]] = _Logged(digest, told["verdict"], told["shown_sha256"], told["edited_sha256"])
    return found


def _verdict(
    item: Item,
    decisions: list[Decision],
    settled: Adjudication | None,
    texts: dict[int, str],
    names: dict[int, str],
    logged: dict[tuple[str, int], _Logged],
) -> ReviewVerdict:
    counting = [decision for decision in decisions if decision.round == item.round]
    judged = settled if settled is not None and settled.round == item.round else None
    keys = [("decision", one.id) for one in counting] if judged is None else [("adjudication", judged.id)]
    if not keys:
        raise ReviewError(f"item {item.id} is {item.status}, and nobody decided it", field="audit", cure=_CURE)
    for key in keys:
        if key not in logged:
            raise ReviewError(f"{key[0]} {key[1]} has no row in the log", field="audit", cure="find out who removed it")
    reason = judged.reason if judged is not None else "; ".join(one.reason for one in counting if one.reason)
    final = None if item.final_version_id is None else Instance.model_validate_json(texts[item.final_version_id])
    wording = None if final is None else content_hash(final)
    said = [logged[key] for key in keys]
    if any(row.verdict != item.status or row.shown_sha256 != item.instance_sha256 for row in said) or (
        wording not in {row.edited_sha256 for row in said}
    ):
        raise ReviewError(
            f"item {item.id} is {item.status} in its table, and the log says otherwise", field="audit", cure=_CURE
        )
    return ReviewVerdict(
        instance_id=item.instance_id, instance_sha256=item.instance_sha256, decision=item.status,  # type: ignore[arg-type]
        purpose=item.purpose,  # type: ignore[arg-type]
        reviewers=tuple(sorted(names[one.user_id] for one in counting)),
        adjudicator=None if judged is None else names[judged.user_id], instance=final, reason=reason,
        audit_sha256=said[-1].sha256,
    )  # fmt: skip


def _held(session: Session) -> Iterator[HeldItem]:
    """Items that nobody has decided on since they were opened again, or since levels under them were corrected.

    Those that were never drawn and gold items are among them: what they say may be wrong, whoever was to see them.
    """
    rows = session.execute(
        select(Item.instance_id, Item.instance_sha256, Item.reopened_why)
        .where(Item.reopened_why != "", Item.status.notin_(_SETTLED))
        .order_by(Item.id)
    )
    for row in rows:
        yield HeldItem(instance_id=row.instance_id, instance_sha256=row.instance_sha256, why=row.reopened_why)


def _profiles(session: Session) -> Iterator[ReviewerProfile]:
    """Everybody who decided or settled anything."""
    done = {row.user_id for row in session.execute(select(Decision.user_id).distinct())}
    done |= {row.user_id for row in session.execute(select(Adjudication.user_id).distinct())}
    for user in session.scalars(select(User).where(User.id.in_(done)).order_by(User.pseudonym)):
        yield ReviewerProfile(
            pseudonym=user.pseudonym, roles=tuple(user.roles), specialty=user.specialty, years=user.years,
            group=user.group_name, conflicts=tuple(user.conflicts),
        )  # fmt: skip


def _figures(session: Session) -> dict[str, list[FigureDecision]]:
    found: dict[str, list[FigureDecision]] = {}
    rows = session.execute(
        select(FigureReview, User.pseudonym)
        .join(User, User.id == FigureReview.decided_by)
        .where(FigureReview.status.in_(("approve", "reject")))
        .order_by(FigureReview.source_id, FigureReview.figure_id, FigureReview.id)
    )
    for row, name in rows:
        found.setdefault(row.source_id, []).append(
            FigureDecision(
                figure_id=row.figure_id, caption_span_id=row.caption_span_id, decision=row.status, reviewer=name,  # type: ignore[arg-type]
                reason=row.reason,
            )
        )  # fmt: skip
    return found


def _sign_offs(session: Session) -> Iterator[SignOff]:
    rows = session.scalars(select(DeidItem).where(DeidItem.status.in_(("clean", "rejected"))).order_by(DeidItem.id))
    for row in rows:
        yield SignOff(
            result_sha256=row.result_sha256, decision=row.status, role=row.role,  # type: ignore[arg-type]
            date=(row.decided_at or "")[:10], reason=row.reason,
        )  # fmt: skip
