"""The one screen: what a template needs of an item, made from what the reviewer's service tells.

Convention: a user turn is pictures, words and printed options (`<image>` lines, stem, `A. ...` lines). People read and
edit the stem and the options apart; :func:`whole_turn` puts the turn together again, byte for byte.

Trap: a clickable sentence carries its place in the message (`message-start-end`, characters), because a flag must point
into the stored text and not into what a page made of it.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from data_pipeline.review.protocol.blind import Edit
from data_pipeline.review.protocol.views import EvidenceView
from data_pipeline.review.web.linking import Mark, marked, tie
from data_pipeline.review.web.worddiff import Diff, word_diff
from spinemed.records import IMAGE_PLACEHOLDER

__all__ = [
    "Change",
    "Part",
    "Said",
    "Source",
    "Turn",
    "changes_between",
    "edit_from",
    "fields_of",
    "new_tokens",
    "said",
    "sources",
    "split_turn",
    "whole_turn",
]

_LEVEL_CUT = re.compile(r"[\s,;，、；]+")


@dataclass(frozen=True)
class Part:
    """A user turn in its three parts; joined they are the turn."""

    before: str
    stem: str
    after: str


@dataclass(frozen=True)
class Said:
    """One clickable sentence or option."""

    place: str
    """`message-start-end`."""
    text: str
    ties: tuple[int, ...]
    how: str
    """quoted, shared, cited or none."""
    share: int
    """Percent."""
    option: str = ""
    """Key of the option that it is."""
    right: bool = False


@dataclass(frozen=True)
class Turn:
    """One message as it is read."""

    role: str
    said: tuple[Said, ...]
    options: tuple[Said, ...] = ()
    last: bool = False


@dataclass(frozen=True)
class Source:
    """One piece of evidence as it is read."""

    kind: str
    title: str
    marks: tuple[Mark, ...]
    where: str
    picture: str
    """Hash of its picture, or empty."""
    ref_id: str
    truth: str = ""
    """Of a study: where its marks come from, e.g. `model_mask`."""


@dataclass(frozen=True)
class Change:
    """The difference in one field."""

    name: str
    difference: Diff


def new_tokens(count: int = 4) -> list[str]:
    """Tokens for the acts that a page offers: each names one act, however often it is sent."""
    return [secrets.token_urlsafe(18) for _ in range(count)]


def split_turn(content: str, options: Sequence[Mapping[str, str]]) -> Part:
    """Cut a user turn into its pictures, its words, and its printed options at the end."""
    lines = content.split("\n")
    first = 0
    while first < len(lines) and lines[first] == IMAGE_PLACEHOLDER:
        first += 1
    printed = {f"{option['key']}. {option['text']}" for option in options}
    last = len(lines)
    while last > first and lines[last - 1] in printed:
        last -= 1
    before = "".join(f"{line}\n" for line in lines[:first])
    after = "".join(f"\n{line}" for line in lines[last:])
    if first == len(lines):  # nothing but pictures
        return Part(content, "", "")
    return Part(before, "\n".join(lines[first:last]), after)


def whole_turn(part: Part, stem: str) -> str:
    """The turn with another stem."""
    return f"{part.before}{stem}{part.after}"


def _cut(text: str, message: int, offset: int, texts: tuple[str, ...]) -> tuple[Said, ...]:
    out, at = [], offset
    every = tuple(range(len(texts)))
    for sentence in tie(text, texts):
        ties, how = sentence.ties, sentence.how
        end = at + len(sentence.text)
        if how == "none" and len(sentence.text.split()) < 4:  # too short to compare: the item as a whole cites them
            ties, how = every, "cited"  # type: ignore[assignment]
        out.append(Said(f"{message}-{at}-{end}", sentence.text, ties, how, round(100 * sentence.share)))
        at = end
    return tuple(out)


def said(shown: Mapping[str, Any], evidence: Sequence[EvidenceView]) -> tuple[Turn, ...]:
    """The turns of an item, each sentence tied to what it rests on."""
    texts = tuple(_text_of(view) for view in evidence)
    turns = []
    messages = shown["messages"]
    for number, message in enumerate(messages):
        content = message["content"]
        last = number == len(messages) - 1
        if message["role"] != "user":
            turns.append(Turn(message["role"], _cut(content, number, 0, texts), last=last))
            continue
        part = split_turn(content, shown["options"])
        options, at = [], len(part.before) + len(part.stem)
        for line in part.after.split("\n")[1:]:
            start, at = at + 1, at + 1 + len(line)
            key = line.partition(".")[0]
            tied = tie(line, texts)
            ties = tied[0].ties if tied else ()
            right = shown["answer_kind"] == "option" and key == shown["answer"]
            options.append(Said(f"{number}-{start}-{at}", line[len(key) + 2 :], ties, "quoted", 100, key, right))
        turns.append(Turn("user", _cut(part.stem, number, len(part.before), texts), tuple(options)))
    return tuple(turns)


def _text_of(view: EvidenceView) -> str:
    if view.kind == "span":
        return str(view.record.get("text", "")) or view.quote
    return view.quote


def sources(evidence: Sequence[EvidenceView]) -> tuple[Source, ...]:
    """The evidence as it is read: what an item quotes is marked in its paragraph."""
    out = []
    for view in evidence:
        record = view.record
        text = _text_of(view)
        marks = marked(text, [view.quote]) if text else ()
        if text and view.quote and not any(mark.lit for mark in marks):
            marks = (Mark(view.quote, True), Mark(f"\n{text}", False))
        where = " · ".join(str(record[name]) for name in ("section", "locator", "label") if record.get(name))
        if view.kind == "study":
            facts = [str(record.get("modality", "")), str(record.get("plane", ""))]
            if record.get("spacing_mm"):
                facts.append(f"{record['spacing_mm']:g} mm/px")
            where = " · ".join(fact for fact in facts if fact)
        out.append(
            Source(
                view.kind,
                view.title,
                tuple(marks),
                where,
                view.picture_sha256,
                view.ref_id,
                str(record.get("truth", "")),
            )
        )
    return tuple(out)


def fields_of(shown: Mapping[str, Any], side: str = "", urgency: str = "") -> dict[str, str]:
    """The fields of the edit form as they stand in a wording."""
    tags = {tag.partition(":")[0]: tag.partition(":")[2] for tag in shown["tags"]}
    fields = {}
    for number, message in enumerate(shown["messages"][:-1]):
        content = message["content"]
        fields[f"turn_{number}"] = split_turn(content, shown["options"]).stem if message["role"] == "user" else content
    fields |= {f"option_{option['key']}": option["text"] for option in shown["options"]}
    fields["answer"] = shown["answer"]
    fields["levels"] = ", ".join(shown["levels"])
    fields["side"] = tags.get("side", side)
    fields["urgency"] = tags.get("urgency", urgency)
    return fields


def _plain(text: str) -> str:
    return text.replace("\r\n", "\n")


def _levels(text: str) -> tuple[str, ...]:
    return tuple(piece for piece in _LEVEL_CUT.split(text.strip()) if piece)


def edit_from(fields: Mapping[str, str], shown: Mapping[str, Any], side: str = "", urgency: str = "") -> Edit:
    """What a form changed, as the service takes it; fields that are as they were are left out."""
    known = fields_of(shown, side, urgency)
    changed = {name: _plain(fields[name]) for name in known if name in fields and _plain(fields[name]) != known[name]}
    messages: dict[int, str] = {}
    options: dict[str, str] = {}
    for name, text in changed.items():
        if name.startswith("turn_"):
            number = int(name[5:])
            message = shown["messages"][number]
            if message["role"] == "user":
                text = whole_turn(split_turn(message["content"], shown["options"]), text)
            messages[number] = text
        elif name.startswith("option_"):
            options[name[7:]] = text
    levels = _levels(changed["levels"]) if "levels" in changed else None
    return Edit(
        messages=messages,
        options=options,
        answer=changed.get("answer"),
        levels=None if levels == tuple(shown["levels"]) else levels,
        side=changed.get("side"),
        urgency=changed.get("urgency"),
    )


def changes_between(old: Mapping[str, str], new: Mapping[str, str]) -> tuple[Change, ...]:
    """Word differences of the fields that differ, in the order of the form."""
    names: Iterable[str] = [*old, *(name for name in new if name not in old)]
    out = []
    for name in names:
        before, after = old.get(name, ""), _plain(new.get(name, old.get(name, "")))
        if before != after:
            out.append(Change(name, word_diff(before, after)))
    return tuple(out)
