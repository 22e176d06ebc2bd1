"""Label Studio both ways: items as tasks with the decisions so far, and annotations made there as decisions here.

Convention: a task's `data` holds the blinded item; its `meta` the hash that an annotation must come back with. One
`choices` result named `verdict` (approve, edit, reject), a `textarea` named `answer` for an edit, one named `reason`.
`config.xml` beside the tasks is the labelling interface. An annotation's person is `completed_by.email` or the plain
value, and must be the pseudonym of a reviewer to whom the item is assigned.

Trap: Label Studio's free edition lets annotators see each other's work; such decisions are not blinded, and their
audit rows say where they came from.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from sqlalchemy import select
from sqlalchemy.orm import Session

from data_pipeline.review.audit.chain import append
from data_pipeline.review.errors import ReviewError
from data_pipeline.review.protocol.access import SYSTEM, Actor, actor_of, require
from data_pipeline.review.protocol.blind import Edit
from data_pipeline.review.protocol.decide import Choice, decide
from data_pipeline.review.store import Store
from data_pipeline.review.store.tables import Assignment, Decision, Item, User, Version
from spinemed.errors import ReadError
from spinemed.records import content_hash
from spinemed.tables import atomic_folder, parse_json, write_json, write_manifest, write_text

__all__ = ["export_tasks", "import_annotations"]

_VERDICTS = {"approve": "approved", "edit": "edited", "reject": "rejected"}
_WORDS = {verdict: word for word, verdict in _VERDICTS.items()}
_CONFIG = """<View>
  <Header value="$task"/>
  <Text name="question" value="$question"/>
  <Text name="answer_now" value="$answer"/>
  <Text name="evidence" value="$evidence"/>
  <Choices name="verdict" toName="question" choice="single" required="true">
    <Choice value="approve"/><Choice value="edit"/><Choice value="reject"/>
  </Choices>
  <TextArea name="answer" toName="question" maxSubmissions="1"/>
  <TextArea name="reason" toName="question" maxSubmissions="1"/>
</View>
"""
_MOST_BYTES = 256 << 20


class _Value(BaseModel):
    model_config = ConfigDict(extra="ignore")

    choices: list[str] = Field(default_factory=list)
    text: list[str] | str = Field(default_factory=list)


class _Result(BaseModel):
    model_config = ConfigDict(extra="ignore")

    from_name: str
    value: _Value = _Value()


class _Person(BaseModel):
    model_config = ConfigDict(extra="ignore")

    email: str


class _Annotation(BaseModel):
    model_config = ConfigDict(extra="ignore")

    id: int | str = 0
    completed_by: _Person | str | int | None = None
    was_cancelled: bool = False
    lead_time: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    result: list[_Result] = Field(default_factory=list)


class _Meta(BaseModel):
    model_config = ConfigDict(extra="ignore")

    instance_id: str
    instance_sha256: str


class _Task(BaseModel):
    model_config = ConfigDict(extra="ignore")

    meta: _Meta
    annotations: list[_Annotation] = Field(default_factory=list)


def export_tasks(store: Store, out: Path, actor: Actor = SYSTEM) -> dict[str, int]:
    """Write `tasks.json` and `config.xml`: every item that was drawn, with the decisions on it.

    Raises:
        AccessError: The actor is no data manager.
    """
    require(actor, "data_manager")
    counts: Counter[str] = Counter()
    with store.writing() as session:
        append(session, actor.pseudonym, "export to Label Studio", "review", out.name)
    with store.snapshot() as session, atomic_folder(out) as folder:
        tasks = [_task(row, counts) for row in _rows(session)]
        write_json(folder / "tasks.json", tasks)
        write_text(folder / "config.xml", _CONFIG)
        write_manifest(folder, "label_studio", counts=dict(sorted(counts.items())))
    return dict(sorted(counts.items()))


def _rows(session: Session) -> list[tuple[Any, Any, list[Any]]]:
    decided: dict[int, list[Any]] = {}
    for row in session.execute(
        select(Decision, User.pseudonym)
        .join(Assignment, Assignment.decision_id == Decision.id)
        .join(User, User.id == Decision.user_id)
        .where(Assignment.status == "done")
        .order_by(Decision.id)
    ):
        decided.setdefault(row[0].item_id, []).append(row)
    shown = {
        row.item_id: row.shown
        for row in session.execute(
            select(Version.item_id, Version.shown).where(Version.kind == "revision").order_by(Version.number)
        )
    }
    items = session.scalars(select(Item).where(Item.sampled).order_by(Item.id)).all()
    return [(item, json.loads(shown[item.id]), decided.get(item.id, [])) for item in items]


def _task(row: tuple[Any, Any, list[Any]], counts: Counter[str]) -> dict[str, Any]:
    item, shown, decisions = row
    counts["tasks"] += 1
    counts["annotations"] += len(decisions)
    question = "\n\n".join(turn["content"] for turn in shown["messages"] if turn["role"] == "user")
    return {
        "id": item.id,
        "data": {
            "task": f"{item.task} / {item.axis}",
            "question": question,
            "answer": shown["answer"],
            "evidence": "\n".join(part["quote"] for part in shown["evidence"] if part["quote"]),
            "pictures": shown["image_sha256"],
        },
        "meta": {"instance_id": item.instance_id, "instance_sha256": item.instance_sha256, "purpose": item.purpose},
        "annotations": [_annotation(decision, name) for decision, name in decisions],
    }


def _annotation(decision: Any, name: str) -> dict[str, Any]:
    def result(field: str, kind: str, value: dict[str, Any]) -> dict[str, Any]:
        return {"from_name": field, "to_name": "question", "type": kind, "value": value}

    found = [result("verdict", "choices", {"choices": [_WORDS[decision.verdict]]})]
    if decision.verdict == "edited" and decision.answer_key:
        found.append(result("answer", "textarea", {"text": [decision.answer_key]}))
    if decision.reason:
        found.append(result("reason", "textarea", {"text": [decision.reason]}))
    return {
        "id": decision.id, "completed_by": {"email": name}, "was_cancelled": False, "lead_time": decision.seconds,
        "result": found,
    }  # fmt: skip


def import_annotations(store: Store, file: Path, actor: Actor = SYSTEM) -> dict[str, int]:
    """Store annotations made in Label Studio as decisions of their people.

    Args:
        store: The review.
        file: The export of Label Studio in JSON.
        actor: A data manager.

    Returns:
        Decisions stored, and what was left out by reason.

    Raises:
        AccessError: The actor is no data manager.
        ReadError: The file is none.
    """
    require(actor, "data_manager")
    tasks = _read_tasks(file)
    counts: Counter[str] = Counter()
    for task in tasks:
        for annotation in task.annotations:
            with store.writing() as session:
                counts[_store(session, actor, task.meta, annotation)] += 1
    return dict(sorted(counts.items()))


def _read_tasks(file: Path) -> list[_Task]:
    try:
        if file.stat().st_size > _MOST_BYTES:
            raise ReadError("is larger than 256 MiB", file=file, cure="export in parts")
        found = parse_json(file.read_bytes())
        if not isinstance(found, list):
            raise ReadError("is no list of tasks", file=file, cure="export as JSON, not as JSON-MIN")
        return [_Task.model_validate(task) for task in found]
    except OSError as error:
        raise ReadError(f"cannot be read ({error.strerror})", file=file, cure="check the path") from error
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise ReadError(first["msg"], file=file, field=field, cure="export tasks with their meta as JSON") from error
    except (ValueError, RecursionError) as error:
        raise ReadError("is no JSON", file=file, cure="export again") from error


def _store(session: Session, actor: Actor, meta: _Meta, annotation: _Annotation) -> str:
    """Store one annotation; returns what became of it."""
    if annotation.was_cancelled:
        return "left out: cancelled"
    by = annotation.completed_by
    name = by.email if isinstance(by, _Person) else str(by or "")
    row = session.execute(
        select(Assignment.item_id, Assignment.user_id, Assignment.version, Assignment.status, Version.shown)
        .join(Item, Item.id == Assignment.item_id)
        .join(User, User.id == Assignment.user_id)
        .join(Version, (Version.item_id == Item.id) & (Version.kind == "revision"))
        .where(
            User.pseudonym == name, Item.instance_id == meta.instance_id,
            Item.instance_sha256 == meta.instance_sha256, Assignment.status != "void",
        )
        .order_by(Version.number.desc())
        .limit(1)
    ).one_or_none()  # fmt: skip
    if row is None:
        return "left out: not assigned to this person, or another version of the item"
    if row.status == "done":
        return "left out: decided already"
    texts = {one.from_name: one.value for one in annotation.result}
    words = texts["verdict"].choices if "verdict" in texts else []
    if len(words) != 1 or words[0] not in _VERDICTS:
        return "left out: no verdict"
    verdict = _VERDICTS[words[0]]
    answer, reason = _first(texts.get("answer")), _first(texts.get("reason"))
    token = "ls-" + content_hash([meta.instance_sha256, name, str(annotation.id)])[:40]
    try:
        choice = Choice(
            verdict=verdict,  # type: ignore[arg-type]
            edit=Edit(answer=answer) if verdict == "edited" else None, reason=reason, seconds=annotation.lead_time,
        )  # fmt: skip
        with session.begin_nested():
            person = actor_of(session, row.user_id)
            stored = decide(session, person, row.item_id, choice, version=row.version, token=token)
    except ReviewError as error:
        return f"left out: {error.problem}"
    if stored.repeated:  # taken back here, or the item was opened again since
        return "left out: taken in before"
    append(session, actor.pseudonym, "import from Label Studio", "item", row.item_id, new={"by": name})
    return "decisions"


def _first(value: _Value | None) -> str:
    if value is None:
        return ""
    text = value.text if isinstance(value.text, str) else "\n".join(value.text)
    return text.strip()
