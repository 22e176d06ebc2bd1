"""What every engine needs of a question: its text, its pictures, its options, and whether the engine can ask it at all.

Convention: `flat_text` is the conversation as one text for engines that know one turn: a system turn first, then the
user's, one blank line between them, placeholders kept. Options that stand at the end of the text are cut by `stem` for
engines that write the options themselves.

Trap: a question with an earlier answer of the assistant cannot be asked in one turn, and an open report cannot be
scored by a rule; both are left out by the engines that lack them, and counted.
"""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from spinemed.records import IMAGE_PLACEHOLDER, Sample

__all__ = ["askable", "data_uri", "flat_text", "picture_bytes", "stem", "without_placeholders"]

JUDGED = "needs a judge: no rule reads a report or a consultation"
TURNS = "has an earlier answer in it, which one turn cannot hold"


def askable(samples: Iterable[Sample], *, turns: bool, reasons: Counter[str] | None = None) -> list[Sample]:
    """The questions that an engine can ask; the others are counted by reason.

    Args:
        samples: All questions.
        turns: Whether the engine keeps turns apart.
        reasons: Counts are added here.
    """
    kept = []
    lost = Counter[str]() if reasons is None else reasons
    for sample in samples:
        if sample.answer_kind == "text" or sample.task in ("report", "consultation"):
            lost[JUDGED] += 1
        elif not turns and any(message.role == "assistant" for message in sample.messages):
            lost[TURNS] += 1
        else:
            kept.append(sample)
    return kept


def flat_text(sample: Sample) -> str:
    """The conversation as one text; `<image>` stays where it stands."""
    return "\n\n".join(message.content for message in sample.messages)


def without_placeholders(text: str) -> str:
    """The text for engines that send the pictures first."""
    return text.replace(IMAGE_PLACEHOLDER, "").strip()


def stem(sample: Sample) -> str:
    """The text without the options at its end, if they are written `A. text` or `A) text`, one a line."""
    text = flat_text(sample)
    for mark in (". ", ") ", ": "):
        tail = "\n".join(f"{option.key}{mark}{option.text}" for option in sample.options)
        if sample.options and text.endswith(tail):
            return text[: -len(tail)].rstrip()
    return text


def picture_bytes(folder: Path, path: str) -> bytes:
    """A picture of a samples folder; `read_samples` has checked that it is there."""
    return (folder / path).read_bytes()


def data_uri(folder: Path, path: str) -> str:
    """A picture as a data URI."""
    kind = "jpeg" if path.endswith((".jpg", ".jpeg")) else "png"
    return f"data:image/{kind};base64,{base64.b64encode(picture_bytes(folder, path)).decode()}"
