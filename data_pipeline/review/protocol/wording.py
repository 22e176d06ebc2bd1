"""Criteria and prompts as people want them for the next revision: proposed with a reason, exported as YAML.

Convention: a criterion is changed in its sentence, a revision prompt in what it tells the reviser (its system part);
names are those of `data_pipeline/criteria/*.yaml` and `data_pipeline/prompts/revise_*.md`. The next run reads the file
as its config's `guidance`.

Trap: a sentence tells a model what to do; what a criterion's check decides is code and does not change with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import yaml
from sqlalchemy import select
from sqlalchemy.orm import Session

from data_pipeline.review.audit.chain import append
from data_pipeline.review.errors import RefusedError
from data_pipeline.review.protocol.access import Actor, clean_text, require
from data_pipeline.review.store.tables import User, Wording, now

__all__ = ["WordingRow", "guidance_yaml", "known_wordings", "list_wordings", "propose_wording"]

Kind = Literal["criterion", "prompt"]


@dataclass(frozen=True)
class WordingRow:
    """One proposed wording."""

    kind: str
    name: str
    text: str
    why: str
    by: str
    made_at: str


def known_wordings() -> dict[str, dict[str, str]]:
    """What can be changed: present sentence of each criterion, present system part of each revision prompt."""
    from data_pipeline.criteria.apply import load_criteria
    from data_pipeline.writers.prompts import load_prompts

    prompts = {
        f"{stage}_{task}.{language}": prompt.system
        for (stage, task, language), prompt in load_prompts().items()
        if stage == "revise"
    }
    return {"criterion": {name: one.sentence for name, one in load_criteria().items()}, "prompt": prompts}


def propose_wording(session: Session, actor: Actor, kind: Kind, name: str, text: str, *, why: str) -> None:
    """Store a wording for the next revision; it replaces an earlier one of the same name.

    Raises:
        AccessError: The actor is no adjudicator and no data manager.
        RefusedError: There is no such criterion or prompt, the text is empty, or no reason is given.
    """
    require(actor, "adjudicator", "data_manager")
    known = known_wordings()
    if kind not in known or name not in known[kind]:
        raise RefusedError("is no criterion and no prompt of a revision", field="name", cure="choose one of the list")
    text = clean_text(text, "text", most=8_000, needed=True).strip()
    why = clean_text(why, "why", most=2_000, needed=True)
    if kind == "prompt" and "{{" in text:
        raise RefusedError("holds {{, which stands for data", field="text", cure="write plain words")
    session.add(Wording(kind=kind, name=name, text=text, why=why, made_by=actor.id or None, made_at=now()))
    append(session, actor.pseudonym, "propose wording", kind, name, old={"text": known[kind][name]},
           new={"text": text}, why=why)  # fmt: skip


def list_wordings(session: Session, actor: Actor) -> list[WordingRow]:
    """All proposals, oldest first.

    Raises:
        AccessError: The actor is no adjudicator, data manager or auditor.
    """
    require(actor, "adjudicator", "data_manager", "auditor")
    rows = session.execute(
        select(Wording.kind, Wording.name, Wording.text, Wording.why, User.pseudonym, Wording.made_at)
        .outerjoin(User, User.id == Wording.made_by)
        .order_by(Wording.id)
    ).all()
    return [WordingRow(row[0], row[1], row[2], row[3], row[4] or "system", row[5]) for row in rows]


def guidance_yaml(session: Session) -> str:
    """The last wording of each name, as the file that a run's `guidance` reads."""
    found: dict[str, dict[str, str]] = {"criteria": {}, "prompts": {}}
    for row in session.scalars(select(Wording).order_by(Wording.id)):
        found["criteria" if row.kind == "criterion" else "prompts"][row.name] = row.text
    return yaml.safe_dump(
        {part: dict(sorted(texts.items())) for part, texts in found.items()}, sort_keys=False, allow_unicode=True
    )
