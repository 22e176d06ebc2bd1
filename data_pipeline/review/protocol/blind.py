"""What a reviewer may read of an instance, and what an edit makes of it.

Convention: :func:`shown` keeps named fields and drops everything else, so that a field which joins the record later is
hidden until somebody decides that it may be seen. Edits are applied to the whole record and blinded again.

Trap: the options of a multiple-choice item stand in the user turn, too; an edit of an option changes both, or the
picture of the question and its key would differ.
"""

from __future__ import annotations

import json
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from data_pipeline.review.errors import RefusedError
from data_pipeline.review.protocol.access import clean_text
from spinemed import __version__
from spinemed.records import Instance, content_hash

__all__ = ["SIDES", "URGENCIES", "Edit", "apply_edit", "key_of", "shown", "side_of", "urgency_of"]

SIDES = ("", "left", "right", "both")
"""Sides that a reviewer may correct; empty where none belongs to the item."""
URGENCIES = ("", "routine", "urgent", "emergency")
"""Urgencies that a reviewer may correct; empty where none belongs to the item."""
_SHOWN = (
    "id", "source_id", "group_id", "origin", "axis", "task", "language", "messages", "image_sha256", "answer",
    "answer_kind", "options", "categories", "levels", "evidence", "changes",
)  # fmt: skip
_OPEN_TAGS = ("side:", "urgency:", "condition:", "subfield:", "truth:", "unit:", "tolerance:", "scale:")
_CLOSED = ("level", "disc", "levels", "category", "option", "number")


class Edit(BaseModel):
    """What a reviewer changes; what is None stays."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    messages: dict[int, str] = Field(default_factory=dict)
    """New text of messages, by their place from 0."""
    options: dict[str, str] = Field(default_factory=dict)
    """New text of options, by their key."""
    answer: str | None = None
    """The canonical answer; the last turn follows it."""
    levels: tuple[str, ...] | None = None
    """Levels that the item is about."""
    side: str | None = None
    urgency: str | None = None


def shown(instance: Instance) -> dict[str, Any]:
    """An instance without its writer, model, prompt, request, criteria and the tags that could tell them."""
    plain = instance.model_dump(mode="json")
    kept = {name: plain[name] for name in _SHOWN}
    kept["tags"] = [tag for tag in instance.tags if tag.startswith(_OPEN_TAGS)]
    return kept


def key_of(instance: Instance) -> str:
    """The canonical answer of a closed question; empty for free text, which two people never word alike."""
    return instance.answer if instance.answer_kind in _CLOSED else ""


def side_of(instance: Instance) -> str:
    """From the tag `side:`."""
    return _tag(instance, "side:", SIDES)


def urgency_of(instance: Instance) -> str:
    """From the tag `urgency:`."""
    return _tag(instance, "urgency:", URGENCIES)


def _tag(instance: Instance, prefix: str, known: tuple[str, ...]) -> str:
    found = [tag.removeprefix(prefix) for tag in instance.tags if tag.startswith(prefix)]
    return found[0] if found and found[0] in known else ""


def apply_edit(instance: Instance, edit: Edit, reason: str) -> Instance:
    """The edited instance: a revised record whose writer is a clinician.

    Args:
        instance: What was shown, whole.
        edit: What is changed.
        reason: Stands among its changes.

    Returns:
        A new record with the same id. Its criteria are empty: nobody applied them to these words.

    Raises:
        RefusedError: A place, key, level, side or urgency is none, the answer is not of its kind, or nothing changes.
    """
    plain = instance.model_dump(mode="json")
    turns, options = plain["messages"], plain["options"]
    for place, text in edit.messages.items():
        if not 0 <= place < len(turns):
            raise RefusedError(f"there is no message {place}", field="messages", cure="load the page again")
        turns[place]["content"] = clean_text(text, "messages", needed=True).replace("\r\n", "\n")
    keys = {option["key"]: option for option in options}
    for key, text in edit.options.items():
        if key not in keys:
            raise RefusedError(f"there is no option {key[:8]!r}", field="options", cure="load the page again")
        _replace_option(plain, keys[key], clean_text(text, "options", most=2000, needed=True).strip())
    if edit.answer is not None:
        plain["answer"] = clean_text(edit.answer, "answer", needed=True)
        turns[-1]["content"] = plain["answer"]
    elif len(turns) - 1 in edit.messages:
        plain["answer"] = turns[-1]["content"]
    if edit.levels is not None:
        plain["levels"] = [clean_text(level, "levels", most=16) for level in edit.levels]
    _retag(plain, "side:", edit.side, SIDES)
    _retag(plain, "urgency:", edit.urgency, URGENCIES)
    compared = ("messages", "options", "answer", "levels", "tags")
    before = instance.model_dump(mode="json")
    if all(plain[name] == before[name] for name in compared):
        raise RefusedError("the edit changes nothing", field="edit", cure="approve the item instead")
    told = {name: plain[name] for name in compared}
    plain |= {
        "stage": "revised",
        "parent_id": instance.parent_id or instance.id,
        "criteria": [],
        "changes": [*instance.changes, f"edited by a reviewer: {reason}" if reason else "edited by a reviewer"],
        "writer": {
            **plain["writer"], "name": "clinician-edit", "version": __version__,
            "request_sha256": content_hash({"of": content_hash(instance), "edit": told}),
        },
    }  # fmt: skip
    try:
        return Instance.model_validate_json(json.dumps(plain))
    except ValidationError as error:
        fault = error.errors()[0]
        place_ = ".".join(str(part) for part in fault["loc"]) or "edit"
        raise RefusedError(
            fault["msg"].removeprefix("Value error, ")[:400], field=place_, cure="mend the edit; nothing was stored"
        ) from error


def _replace_option(plain: dict[str, Any], option: dict[str, str], text: str) -> None:
    """Change an option's text where it is kept and where it is printed."""
    line, fresh = f"{option['key']}. {option['text']}", f"{option['key']}. {text}"
    for turn in plain["messages"]:
        if turn["role"] == "user":
            lines = turn["content"].split("\n")
            turn["content"] = "\n".join(fresh if found == line else found for found in lines)
    option["text"] = text


def _retag(plain: dict[str, Any], prefix: str, value: str | None, known: tuple[str, ...]) -> None:
    if value is None:
        return
    if value not in known:
        raise RefusedError(f"{value[:20]!r} is none of {list(known)}", field=prefix[:-1], cure="choose one of them")
    others = [tag for tag in plain["tags"] if not tag.startswith(prefix)]
    plain["tags"] = [*others, f"{prefix}{value}"] if value else others
