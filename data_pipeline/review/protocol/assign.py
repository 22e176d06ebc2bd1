"""What is sent to people and to whom: the sampling plan, random assignment, handing on of work.

Convention: every draw is a hash of seed and id, so that the order of import changes nothing and the plan can be drawn
again. Benchmark items, patients' cases and items on corrected levels go to people all of them, other training items
with a chance in proportion to their risk. Each item goes to the reviewers with least work, chance among
equals; two reviewers of one item come from two groups.

Trap: an item that too few people may judge (conflicts, groups) is counted and stays unassigned; it is never given to
fewer reviewers in silence.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, insert, select, update
from sqlalchemy.orm import Session

from data_pipeline.review.audit.chain import append
from data_pipeline.review.errors import AbsentError, RefusedError
from data_pipeline.review.protocol.access import Actor, check_id, require
from data_pipeline.review.store.tables import (
    Adjudication,
    Assignment,
    GoldItem,
    Item,
    ReviewRun,
    SamplingPlan,
    User,
    now,
)

__all__ = ["PATIENT_RISK", "Assigned", "assign_run", "draw_plan", "hand_on", "uniform"]

PATIENT_RISK = 100.0
"""Added to the risk of a hospital's case: all of those go to people."""
_BATCH = 5_000


def uniform(seed: int, *names: object) -> float:
    """A number in [0, 1) that belongs to these names: the first 53 bits of their hash."""
    text = "\x1f".join([str(seed), *map(str, names)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2**64


def draw_plan(session: Session, actor: Actor, run_id: int, *, training_share: float, seed: int = 0) -> dict[str, Any]:
    """Choose what of a run goes to people: all benchmark items and patients' cases, and other training items by risk.

    A training item is drawn with the chance min(1, share x risk / mean risk), so that the share holds on average.

    Args:
        session: A writing session.
        actor: A data manager.
        run_id: The run.
        training_share: Of training items, from 0 to 1.
        seed: Of the draw.

    Returns:
        Counts: of each purpose how many items there are, and how many were drawn.

    Raises:
        AccessError: The actor is no data manager.
        AbsentError: No such run.
        RefusedError: The share is none.
    """
    require(actor, "data_manager")
    if not 0 <= training_share <= 1:
        raise RefusedError("is no share", field="training_share", cure="give a number from 0 to 1")
    _run(session, run_id)
    rows = session.execute(
        select(Item.id, Item.instance_id, Item.purpose, Item.risk, Item.reopened_why)
        .where(Item.run_id == run_id, Item.status == "unsampled")
        .order_by(Item.id)
    ).all()
    training = [row.risk for row in rows if row.purpose == "training" and row.risk < PATIENT_RISK]
    mean = sum(training) / len(training) if training else 1.0
    chosen: dict[str, list[int]] = {"benchmark": [], "training": []}
    for row in rows:
        whole = row.purpose == "benchmark" or row.risk >= PATIENT_RISK or row.reopened_why != ""
        chance = 1.0 if whole else training_share * row.risk / mean
        if uniform(seed, "sample", row.instance_id) < chance:
            chosen[row.purpose].append(row.id)
    for purpose, needed in (("benchmark", 2), ("training", 1)):
        for part in _parts(chosen[purpose]):
            session.execute(
                update(Item).where(Item.id.in_(part)).values(sampled=True, status="open", reviews_needed=needed)
            )
    found = Counter(row.purpose for row in rows)
    counts = {name: {"items": found[name], "drawn": len(chosen[name])} for name in ("benchmark", "training")}
    plan = SamplingPlan(
        run_id=run_id, seed=seed, training_share=training_share, counts=counts, made_at=now(),
        made_by=actor.id or None,
    )  # fmt: skip
    session.add(plan)
    append(
        session, actor.pseudonym, "draw plan", "run", run_id,
        new={"seed": seed, "training_share": training_share, "counts": counts},
    )  # fmt: skip
    return counts


def _run(session: Session, run_id: int) -> ReviewRun:
    run = session.get(ReviewRun, check_id(run_id), with_for_update=True)
    if run is None:
        raise AbsentError("there is no such run")
    return run


def _parts(ids: Sequence[int], size: int = _BATCH) -> Iterable[Sequence[int]]:
    for start in range(0, len(ids), size):
        yield ids[start : start + size]


@dataclass
class _Reviewer:
    """One person who can be given work."""

    id: int
    group: str
    conflicts: frozenset[str]
    load: int = 0


@dataclass(frozen=True)
class Assigned:
    """What an assignment did."""

    assignments: int
    items: int
    short: dict[str, int]
    """Items that could not be given to as many reviewers as they need, by reason."""


def assign_run(session: Session, actor: Actor, run_id: int, *, seed: int = 0, same_group: bool = False) -> Assigned:
    """Give every open item of a run that lacks reviewers to as many as it needs, and every gold item to everybody.

    Args:
        session: A writing session.
        actor: A data manager.
        run_id: The run.
        seed: Of chance among reviewers with equal work, and of the order in which each meets the items.
        same_group: Whether two reviewers of one item may be of one group.

    Raises:
        AccessError: The actor is no data manager.
        AbsentError: No such run.
        RefusedError: There is no active reviewer.
    """
    require(actor, "data_manager")
    _run(session, run_id)
    reviewers = _reviewers(session)
    gold = set(session.scalars(select(GoldItem.item_id)))
    items = session.execute(
        select(Item.id, Item.instance_id, Item.source_id, Item.group_id, Item.reviews_needed, Item.round)
        .where(Item.run_id == run_id, Item.status == "open")
        .order_by(Item.id)
    ).all()
    held: dict[int, set[int]] = {}
    for item_id, user_id in session.execute(
        select(Assignment.item_id, Assignment.user_id)
        .join(Item, Item.id == Assignment.item_id)
        .where(Item.run_id == run_id, Assignment.status != "void")
    ):
        held.setdefault(item_id, set()).add(user_id)
    taken = _ever(session, run_id)
    group_of = dict(session.execute(select(User.id, User.group_name)).all())  # of everybody: who left has decided, too
    rows: list[dict[str, Any]] = []
    short: Counter[str] = Counter()
    moment = now()
    served = 0
    for item in sorted(items, key=lambda row: uniform(seed, "order", row.instance_id)):
        have = held.get(item.id, set())
        free = [one for one in reviewers if one.id not in taken.get(item.id, set()) and one.id not in have
                and not one.conflicts & {item.source_id, item.group_id}]  # fmt: skip
        if item.id in gold:
            given = free
        else:
            groups = {group_of[user] for user in have}
            given = _choose(free, item.reviews_needed - len(have), groups, seed, item.instance_id, same_group)
            if len(have) + len(given) < item.reviews_needed:
                short["too few reviewers without a conflict, or too few groups"] += 1
                continue
        served += bool(given)
        for one in given:
            one.load += 1
            rows.append(
                {
                    "item_id": item.id, "user_id": one.id, "status": "open", "round": item.round, "version": 1,
                    "place": uniform(seed, "place", one.id, item.instance_id), "saw_other": False,
                    "assigned_at": moment,
                }
            )  # fmt: skip
    _insert(session, rows)
    done = Assigned(len(rows), served, dict(short))
    append(
        session, actor.pseudonym, "assign", "run", run_id,
        new={"seed": seed, "same_group": same_group, "assignments": done.assignments, "items": done.items,
             "short": done.short},
    )  # fmt: skip
    return done


def _insert(session: Session, rows: list[dict[str, Any]]) -> None:
    for start in range(0, len(rows), _BATCH):
        session.execute(insert(Assignment), rows[start : start + _BATCH])


def _reviewers(session: Session) -> list[_Reviewer]:
    loads = dict(
        session.execute(
            select(Assignment.user_id, func.count()).where(Assignment.status == "open").group_by(Assignment.user_id)
        ).all()
    )
    rows = session.execute(
        select(User.id, User.group_name, User.conflicts, User.roles).where(User.active).order_by(User.id)
    ).all()
    found = [
        _Reviewer(row.id, row.group_name, frozenset(row.conflicts), loads.get(row.id, 0))
        for row in rows
        if "reviewer" in row.roles
    ]
    if not found:
        raise RefusedError("there is no active reviewer", field="users", cure="add reviewers first")
    return found


def _ever(session: Session, run_id: int) -> dict[int, set[int]]:
    """Who was ever given an item, also where it was taken away, or settled it: such a person is not asked again."""
    found: dict[int, set[int]] = {}
    for table in (Assignment, Adjudication):
        query = select(table.item_id, table.user_id).join(Item, Item.id == table.item_id)
        for item_id, user_id in session.execute(query.where(Item.run_id == run_id)):
            found.setdefault(item_id, set()).add(user_id)
    return found


def _choose(
    free: list[_Reviewer], number: int, groups: set[str], seed: int, name: str, same_group: bool
) -> list[_Reviewer]:
    """Those with least work, one of each group."""
    order = sorted(free, key=lambda one: (one.load, uniform(seed, "tie", name, one.id)))
    chosen: list[_Reviewer] = []
    used = set(groups)
    for one in order:
        if len(chosen) == max(number, 0):
            break
        if same_group or one.group not in used:
            chosen.append(one)
            used.add(one.group)
    return chosen


def hand_on(session: Session, actor: Actor, user_id: int, *, why: str, seed: int = 0, same_group: bool = False) -> int:
    """Take the open items of a reviewer away and give them to others; decided ones stay.

    Returns:
        How many were taken away.

    Raises:
        AccessError: The actor is no data manager.
    """
    require(actor, "data_manager")
    open_ = session.execute(
        select(Assignment.id, Item.run_id)
        .join(Item, Item.id == Assignment.item_id)
        .where(Assignment.user_id == check_id(user_id), Assignment.status == "open")
        .order_by(Assignment.item_id)
        .with_for_update(of=Item)
    ).all()
    for part in _parts([row.id for row in open_]):
        session.execute(
            update(Assignment).where(Assignment.id.in_(part)).values(status="void", version=Assignment.version + 1)
        )
    append(session, actor.pseudonym, "hand on", "user", user_id, new={"assignments": len(open_)}, why=why)
    user = session.get_one(User, user_id)
    was, user.active = user.active, False  # not to be given the same work again
    session.flush()
    for run_id in sorted({row.run_id for row in open_}):
        assign_run(session, actor, run_id, seed=seed, same_group=same_group)
    user.active = was
    return len(open_)
