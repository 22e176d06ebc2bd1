"""The same questions under a condition: what a control takes away, moves or exchanges before anybody is asked.

Convention: :class:`Questions` holds one samples folder; `under(condition)` gives the samples as they are asked, with
the truth that their reply is judged by. A control leaves out the questions that it says nothing about, and counts why:

================  =====================================================================================================
full, tools       the question itself (with `tools` the runner offers functions)
blind             grey pictures of the same size, same words (see `withhold.py`); questions in words alone as they are
withheld          no picture and no placeholder: what the words alone earn
other_patient     the pictures of another cluster of the same look (plane, modality, number): what any picture earns
shuffled_labels   the vertebrae and discs that the words name exchanged among each other, the key left where it was
options_only      the options without question and picture: what their wording gives away
rotated_N         options moved on by N places, the key with them
================  =====================================================================================================

`shuffled_labels` asks whether the *names* matter. Within a question the names are permuted so that none stays (a
name that stands alone becomes its neighbour's), and the reply is judged by the old key. So whoever does not read the
names keeps the score; a perfect reader of "Which is marked? A. L2 B. L3 ..." falls to 0, since another letter bears the
true name; of "Is L3 fractured?" to the share of neighbours with the same answer. The drop is how much the level counts.

All draws have the fixed seed `SEED` and the sample's id as stream: every model is asked the very same controls.

Trap: a permuted or exchanged question has no truth of its own. Its share of right answers is no accuracy; read it as
what is left of the full score.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from bench.samples import spine_of
from spinemed.anatomy import Disc, Level, LevelRange, Mention, Spine, find_levels, resolve
from spinemed.errors import ReadError
from spinemed.records import IMAGE_PLACEHOLDER, Condition, Message, Option, Sample
from spinemed.statistics import generator_for

__all__ = ["SEED", "Asked", "Questions", "is_partial", "rotation_of"]

SEED = 0
"""Of all controls."""
_LOOK = ("modality:", "plane:", "view:", "sequence:", "projection:", "live:")
"""Tags that say what kind of picture it is."""
_ROTATED = re.compile(r"rotated_([1-7])")
_BY_PLACE = re.compile(
    r"\b(?:all|none|both|neither|either|any)\b.{0,20}\b(?:above|below|options?|choices?|[A-H](?:,| and | or )[A-H])\b"
    r"|以上|上述|[A-H](?:和|与|及|、)[A-H]",
    re.IGNORECASE,
)
_Name = Level | Disc | LevelRange


def rotation_of(condition: str) -> int:
    """Places that the options are moved on by; 0 where they are not."""
    match = _ROTATED.fullmatch(condition)
    return int(match[1]) if match else 0


def is_partial(condition: str) -> bool:
    """Whether a condition may leave questions out; such a system is a control and never a row of a table."""
    return condition not in ("full", "blind", "tools")


@dataclass(frozen=True)
class Asked:
    """The questions of one condition."""

    samples: list[Sample]
    """By id, as they are asked and judged."""
    left_out: dict[str, int] = field(default_factory=dict)
    """How many questions the condition says nothing about, by reason."""

    @property
    def by_id(self) -> dict[str, Sample]:
        """The same by id."""
        return {sample.id: sample for sample in self.samples}


class Questions:
    """The samples of one folder under any condition.

    Args:
        samples: By id.
        folder: Samples folder; pictures are opened for `other_patient` alone, for the plane that they carry.
    """

    def __init__(self, samples: Sequence[Sample], folder: str | os.PathLike[str]) -> None:
        self.samples, self.folder = list(samples), Path(folder)
        self._donors: dict[Any, dict[str, list[tuple[str, ...]]]] | None = None
        self.under: Callable[[Condition], Asked] = cache(self._under)

    def _under(self, condition: Condition) -> Asked:
        if not is_partial(condition):
            return Asked(self.samples)
        asked, left_out = [], Counter[str]()
        for sample in self.samples:
            made = self._changed(sample, condition)
            if isinstance(made, str):
                left_out[made] += 1
            else:
                asked.append(made)
        return Asked(asked, dict(sorted(left_out.items())))

    def _changed(self, sample: Sample, condition: Condition) -> Sample | str:
        """The sample as asked, or why it is not."""
        if condition == "withheld":
            return _without_pictures(sample) if sample.images else "no picture"
        if condition == "other_patient":
            return self._with_other_pictures(sample) if sample.images else "no picture"
        if condition == "shuffled_labels":
            return _with_other_names(sample)
        if sample.answer_kind != "option":
            return "no options"
        return _options_alone(sample) if condition == "options_only" else _rotated(sample, rotation_of(condition))

    def _with_other_pictures(self, sample: Sample) -> Sample | str:
        if self._donors is None:
            self._donors = {}
            for one in self.samples:
                if one.images:
                    self._donors.setdefault(self._look(one), {}).setdefault(one.cluster, []).append(one.images)
        others = self._donors[self._look(sample)]
        pool = [images for cluster, held in sorted(others.items()) if cluster != sample.cluster for images in held]
        if not pool:
            return "no picture of another patient with the same look"
        draw = generator_for(SEED, "other patient", sample.id)
        return sample.model_copy(update={"images": sorted(set(pool))[int(draw.integers(len(set(pool))))]})

    def _look(self, sample: Sample) -> tuple[Any, ...]:
        from spinemed.vlm.series import place_of

        seen = []
        for path in sample.images:
            try:
                place = place_of((self.folder / path).read_bytes())
            except OSError as error:
                raise ReadError(
                    f"cannot be read ({error.strerror})", file=self.folder / path, cure="write the samples again"
                ) from error
            seen.append(None if place is None else (place.plane, place.sequence))
        return (
            sample.origin,
            sample.variant,
            tuple(sorted(tag for tag in sample.tags if tag.startswith(_LOOK))),
            tuple(seen),
        )


# --- pictures --------------------------------------------------------------------------------------------------------


def _bare(text: str) -> str:
    return re.sub(rf"{IMAGE_PLACEHOLDER}[ \t]*\n?", "", text)


def _without_pictures(sample: Sample) -> Sample:
    turns = tuple(Message(role=turn.role, content=_bare(turn.content)) for turn in sample.messages)
    return sample.model_copy(update={"messages": turns, "images": ()})


# --- names -----------------------------------------------------------------------------------------------------------


def _name_of(mention: Mention) -> _Name | None:
    level, disc = resolve(mention.reading, Level), resolve(mention.reading, Disc)
    if level is not None or disc is not None:
        return level or disc
    return mention.reading if isinstance(mention.reading, LevelRange) else None


def _with_other_names(sample: Sample) -> Sample | str:
    users = [turn.content for turn in sample.messages if turn.role == "user"]
    texts = [*users, *(option.text for option in sample.options)]
    named: dict[type, set[_Name]] = {}
    for text in texts:
        for mention in find_levels(text):
            name = _name_of(mention)
            if name is not None:
                named.setdefault(type(name), set()).add(name)
    draw = generator_for(SEED, "shuffled labels", sample.id)
    moved: dict[_Name, _Name] = {}
    for kind in (Level, Disc, LevelRange):
        moved |= _permutation(sorted(named.get(kind, ()), key=str), spine_of(sample), draw)
    if not moved:
        return "names no vertebra or disc"
    options = tuple(Option(key=option.key, text=_renamed(option.text, moved)) for option in sample.options)
    if len({option.text for option in options}) < len(options):
        return "two options would become the same"
    turns = tuple(
        Message(role=turn.role, content=_renamed(turn.content, moved)) if turn.role == "user" else turn
        for turn in sample.messages
    )
    return sample.model_copy(update={"messages": turns, "options": options})


def _permutation(names: list[Any], spine: Spine, draw: np.random.Generator) -> dict[_Name, _Name]:
    """One cycle through all names, so that none stays; a lone one becomes its neighbour's."""
    if len(names) > 1:
        order = [names[at] for at in draw.permutation(len(names))]
        return dict(zip(order, [*order[1:], order[0]], strict=True))
    steps = [1, -1] if draw.random() < 0.5 else [-1, 1]
    for name in names:
        column: Sequence[Any] = spine.levels if isinstance(name, Level) else spine.discs
        if name in column and not isinstance(name, LevelRange):
            at = column.index(name)
            near = [column[at + step] for step in steps if 0 <= at + step < len(column)]
            return {name: near[0]} if near else {}
    return {}


def _renamed(text: str, moved: dict[_Name, _Name]) -> str:
    for mention in reversed(find_levels(text)):
        name = _name_of(mention)
        if name in moved and name is not None:
            text = f"{text[: mention.start]}{moved[name]}{text[mention.end :]}"
    return text


# --- options ---------------------------------------------------------------------------------------------------------


def _places(sample: Sample) -> tuple[int, list[tuple[int, int]], int] | None:
    """The user turn that lists the options, where each text stands in it, and where the list begins."""
    for turn in reversed(range(len(sample.messages))):
        if sample.messages[turn].role != "user":
            continue
        text, found, begin = sample.messages[turn].content, [], len(sample.messages[turn].content)
        for option in sample.options:
            pattern = rf"(?<![A-Za-z0-9])[(（]?{option.key}\s?[.)）:：、．]\s*({re.escape(option.text)})(?![A-Za-z0-9])"
            every = list(re.finditer(pattern, text))
            # A report before the question may speak of an option, too; the list itself has a line for each.
            matches = [one for one in every if text[: one.start()].rpartition("\n")[2].strip() == ""] or every
            if len(matches) != 1:
                break
            found.append(matches[0].span(1))
            begin = min(begin, matches[0].start())
        else:
            return turn, found, begin
    return None


def _rotated(sample: Sample, by: int) -> Sample | str:
    count = len(sample.options)
    if by >= count:
        return "fewer options"
    if any(_BY_PLACE.search(option.text) for option in sample.options):
        return "an option speaks of the others"
    where = _places(sample)
    if where is None:
        return "the options do not stand in the question"
    turn, spans, _ = where
    texts = [sample.options[(place - by) % count].text for place in range(count)]
    content = sample.messages[turn].content
    for (start, end), new in sorted(zip(spans, texts, strict=True), reverse=True):
        content = content[:start] + new + content[end:]
    messages = list(sample.messages)
    messages[turn] = Message(role="user", content=content)
    options = tuple(Option(key=one.key, text=text) for one, text in zip(sample.options, texts, strict=True))
    keys = [option.key for option in sample.options]
    answer = keys[(keys.index(sample.answer) + by) % count]
    return sample.model_copy(update={"messages": tuple(messages), "options": options, "answer": answer})


def _options_alone(sample: Sample) -> Sample:
    where = _places(sample)
    if where is None:
        content = "\n".join(f"{option.key}. {option.text}" for option in sample.options)
    else:
        turn, _, begin = where
        content = _bare(sample.messages[turn].content[begin:])
    system = tuple(turn for turn in sample.messages if turn.role == "system")
    return sample.model_copy(update={"messages": (*system, Message(role="user", content=content)), "images": ()})
