"""Items into the database, many at a time: what an import and a load test share.

Convention: an item comes with its draft where there is one; versions 0 (draft) and 1 (revision) are written with it.
Everything of one call is one transaction of the caller.

Trap: an instance that is in review already, to the byte, is not loaded again, whichever run it comes from: a verdict
holds for bytes.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from data_pipeline.review.protocol.assign import PATIENT_RISK
from data_pipeline.review.protocol.blind import key_of, shown, side_of, urgency_of
from data_pipeline.review.store.tables import Item, ItemEvidence, Version, now
from spinemed.records import Instance, content_hash

__all__ = ["NewItem", "load_items", "risk_of"]

_BATCH = 1_000


@dataclass(frozen=True)
class NewItem:
    """One instance to be reviewed."""

    instance: Instance
    draft: Instance | None = None
    purpose: Literal["benchmark", "training"] = "training"
    risk: float = 1.0
    evidence: tuple[int, ...] = field(default_factory=tuple)
    """Ids of `EvidenceRow`, in the order of the instance's evidence."""


def risk_of(instance: Instance, *, hospital: bool = False) -> float:
    """How much a mistake would weigh; the sampling plan draws in proportion to it.

    1 for every item; 1 more for surgical planning, for a report or consultation, for words that a model wrote, for
    truth from a segmentation model, and for an item that the reviser had to change; a hundred more for a
    patient's case, all of which go to people.
    """
    marks = (
        instance.axis == "surgical_planning",
        instance.task in ("report", "consultation"),
        instance.writer.model != "rules",
        "truth:model_mask" in instance.tags,
        bool(instance.changes),
    )
    return 1.0 + sum(marks) + PATIENT_RISK * hospital


def load_items(session: Session, run_id: int, items: Sequence[NewItem]) -> int:
    """Write items and their first versions.

    Args:
        session: A writing session.
        run_id: The run they belong to.
        items: In the order in which they get their ids.

    Returns:
        How many were written; the others are in review already.
    """
    written = 0
    for start in range(0, len(items), _BATCH):
        part = items[start : start + _BATCH]
        hashes = [content_hash(item.instance) for item in part]
        known = set(session.scalars(select(Item.instance_sha256).where(Item.instance_sha256.in_(hashes))))
        fresh = [(item, digest) for item, digest in zip(part, hashes, strict=True) if digest not in known]
        if fresh:
            _write(session, run_id, fresh)
        written += len(fresh)
    return written


def _write(session: Session, run_id: int, fresh: Sequence[tuple[NewItem, str]]) -> None:
    rows = [_item(run_id, item, digest) for item, digest in fresh]
    ids = list(session.scalars(insert(Item).returning(Item.id, sort_by_parameter_order=True), rows))
    versions: list[dict[str, Any]] = []
    links: list[dict[str, Any]] = []
    moment = now()
    for item_id, (item, digest) in zip(ids, fresh, strict=True):
        if item.draft is not None:
            versions.append(_version(item_id, 0, "draft", item.draft, content_hash(item.draft), moment))
        versions.append(_version(item_id, 1, "revision", item.instance, digest, moment))
        links += [{"item_id": item_id, "place": place, "evidence_id": one} for place, one in enumerate(item.evidence)]
    session.execute(insert(Version), versions)
    if links:
        session.execute(insert(ItemEvidence), links)


def _item(run_id: int, item: NewItem, digest: str) -> dict[str, Any]:
    instance = item.instance
    return {
        "run_id": run_id, "instance_id": instance.id, "instance_sha256": digest, "task": instance.task,
        "axis": instance.axis, "language": instance.language, "origin": instance.origin,
        "source_id": instance.source_id, "group_id": instance.group_id, "answer_kind": instance.answer_kind,
        "answer_key": key_of(instance), "levels": [level.value for level in instance.levels],
        "side": side_of(instance), "urgency": urgency_of(instance), "purpose": item.purpose, "risk": item.risk,
        "sampled": False, "reviews_needed": 0, "status": "unsampled", "final_version_id": None, "round": 1,
        "reopened_why": "", "version": 1,
    }  # fmt: skip


def _version(item_id: int, number: int, kind: str, instance: Instance, digest: str, moment: str) -> dict[str, Any]:
    return {
        "item_id": item_id, "number": number, "kind": kind, "author_id": None, "parent_id": None,
        "shown": json.dumps(shown(instance), ensure_ascii=False), "instance": instance.model_dump_json(),
        "sha256": digest, "made_at": moment, "reason": "",
    }  # fmt: skip
