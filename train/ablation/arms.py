"""What an ablation takes away: pure functions from a release row to the row without it.

Convention: a transform changes the conversation, the pictures, or both, and nothing else; it returns a row that is
trained on but no longer scored, so typed answers become plain text and `levels` is emptied. Draws come from a generator
named after seed and row, so a row is changed alike wherever it stands.

    masked     every name of a vertebra, disc, segment, range or root is replaced by `[level]`, in questions and answers
    shuffled   within a row every name is replaced by another one, alike wherever it occurs: the language stays, what a
               level looks like is lost
    drafts     the words before the revision stage, of the same rows
    text_only  the pictures are taken away, and what is left is asked as it stands

Trap: an answer that is a letter (A to D) is untouched by masking although its option was a level: the options' texts
are masked in the question, so several may read alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np

from spinemed.anatomy import Disc, Level, find_levels
from spinemed.anatomy.readings import Ambiguous, LevelRange, Reading
from spinemed.anatomy.roots import Root
from spinemed.anatomy.segments import DISCS, Segment
from spinemed.errors import RecordError
from spinemed.records import IMAGE_PLACEHOLDER, Instance, Message, ReleaseRow
from spinemed.statistics import generator_for
from spinemed.tables import read_records

__all__ = [
    "MASK",
    "Transform",
    "change",
    "mask_levels",
    "read_drafts",
    "shuffle_levels",
    "use_draft",
    "withhold_pictures",
]

Transform = Literal["none", "masked", "shuffled", "drafts", "text_only"]

T = TypeVar("T")
MASK = "[level]"
_LEVELS: tuple[Level, ...] = tuple(level for level in Level if level is not Level.C0 and len(level.value) <= 3)
_ROOTS: tuple[Root, ...] = tuple(Root)


def mask_levels(row: ReleaseRow) -> ReleaseRow:
    """The row with every level's name replaced by :data:`MASK`."""
    return _reworded(row, lambda text: _replaced(text, lambda reading: MASK))


def shuffle_levels(row: ReleaseRow, seed: int) -> ReleaseRow:
    """The row with its levels' names exchanged for others, drawn once for the row."""
    rng = generator_for(seed, "levels shuffled", row.id)
    levels, discs, roots = _other(_LEVELS, rng), _other(DISCS, rng), _other(_ROOTS, rng)

    def other(reading: Reading) -> str | None:
        if isinstance(reading, Ambiguous):
            return other(reading.candidates[0]) if reading.candidates else None
        if isinstance(reading, LevelRange):
            first, last = sorted((levels[reading.first], levels[reading.last]))
            return str(LevelRange(first, last)) if first != last else str(first.value)
        if isinstance(reading, Segment):
            return str(discs[Disc(reading.upper, reading.lower)]) if str(reading) in _DISC_NAMES else None
        if isinstance(reading, Disc):
            return str(discs[reading])
        if isinstance(reading, Root):
            return roots[reading].name
        return str(levels[reading].value) if reading in levels else None

    return _reworded(row, lambda text: _replaced(text, other))


def withhold_pictures(row: ReleaseRow) -> ReleaseRow:
    """The row without its pictures and their placeholders."""

    def plain(text: str) -> str:
        return text.replace(IMAGE_PLACEHOLDER + "\n", "").replace(IMAGE_PLACEHOLDER, "").strip("\n")

    if not row.images:
        return row
    messages = tuple(
        turn.model_copy(update={"content": plain(turn.content)}) if turn.role == "user" else turn
        for turn in row.messages
    )
    return row.model_copy(update={"messages": messages, "images": ()})


def use_draft(row: ReleaseRow, drafts: Mapping[str, tuple[Message, ...]]) -> ReleaseRow | None:
    """The row in the words of its draft; None where it has none (what another stage added)."""
    messages = drafts.get(row.id)
    if messages is None:
        return None
    return _untyped(row, messages)


def read_drafts(outputs: Path) -> dict[str, tuple[Message, ...]]:
    """The drafts' conversations by the id of the revised instance that came of them.

    Args:
        outputs: `outputs/` of a data run: holds `drafts/` and `revised/`.

    Raises:
        ReadError, RecordError: A file is missing or damaged, or a revised instance names a draft that is not there.
    """
    file = outputs / "revised" / "instances.parquet"
    drafts = {draft.id: draft.messages for draft in read_records(outputs / "drafts" / "instances.parquet", Instance)}
    found: dict[str, tuple[Message, ...]] = {}
    for line, instance in enumerate(read_records(file, Instance), 1):
        if instance.parent_id not in drafts:
            raise RecordError(
                f"the draft {instance.parent_id} of {instance.id} is not there",
                file=file, line=line, field="parent_id", cure="give the outputs of one data run",
            )  # fmt: skip
        found[instance.id] = drafts[instance.parent_id]
    return found


def change(
    rows: Iterable[ReleaseRow],
    transform: Transform,
    *,
    seed: int,
    drafts: Mapping[str, tuple[Message, ...]] | None = None,
) -> list[ReleaseRow]:
    """All rows of an arm; those that a transform has nothing for are left out."""
    made: list[ReleaseRow | None] = []
    for row in rows:
        if transform == "masked":
            made.append(mask_levels(row))
        elif transform == "shuffled":
            made.append(shuffle_levels(row, seed))
        elif transform == "text_only":
            made.append(withhold_pictures(row))
        elif transform == "drafts":
            made.append(use_draft(row, drafts or {}))
        else:
            made.append(row)
    return [row for row in made if row is not None]


# --- parts -----------------------------------------------------------------------------------------------------------

_DISC_NAMES = frozenset(str(disc) for disc in DISCS)


def _other(kinds: tuple[T, ...], rng: np.random.Generator) -> dict[T, T]:
    """Each to another one: a random cycle through all, so that nothing keeps its name."""
    order = rng.permutation(len(kinds))
    return {kinds[order[place]]: kinds[order[(place + 1) % len(kinds)]] for place in range(len(kinds))}


def _replaced(text: str, name: Callable[[Reading], str | None]) -> str:
    """A text with each mention of a level replaced; None leaves one as it stands."""
    parts, at = [], 0
    for mention in find_levels(text):
        new = name(mention.reading)
        parts += [text[at : mention.start], mention.text if new is None else new]
        at = mention.end
    return "".join([*parts, text[at:]])


def _reworded(row: ReleaseRow, reword: Callable[[str], str]) -> ReleaseRow:
    messages = tuple(turn.model_copy(update={"content": reword(turn.content)}) for turn in row.messages)
    return _untyped(row, messages) if messages != row.messages else row


def _untyped(row: ReleaseRow, messages: tuple[Message, ...]) -> ReleaseRow:
    """The row with other words, as plain text: what it says is no longer a typed answer."""
    return row.model_copy(
        update={
            "messages": messages, "answer": messages[-1].content, "answer_kind": "text", "options": (),
            "categories": (), "levels": (),
        }
    )  # fmt: skip
