"""Texts and headers with planted identifiers, and how many of them were found: recall by category, with intervals.

Convention: sentences and values are YAML files of the caller, which the rules never read. `{phone}` is a value that
stands nowhere else, `{known.phone}` one that the case's registration row or header holds, `{stranger.name}` a name that
nothing announces. `«L4-L5»` is a word that must survive. A value counts as found when every letter and digit of it
was masked; a date also when it moved.

Trap: what is measured is these sentences. The set used while rules were written flatters them; report the other one.
"""

from __future__ import annotations

import datetime
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from data_pipeline.deidentify.identity import CaseIdentity
from data_pipeline.deidentify.search import name_parts, plain
from data_pipeline.deidentify.status import Sealed
from data_pipeline.deidentify.text import Tags, deidentify_text
from spinemed.statistics import wilson_interval

__all__ = ["PlantedCase", "PlantedText", "Recall", "fill_value", "planted_cases", "score_texts"]

_SLOT = re.compile(r"\{(?P<who>known\.|stranger\.)?(?P<kind>[a-z]+)(?:\|(?P<form>\w+))?\}|[«»]")
_CATEGORY = {
    "birth": "date", "accession": "record", "address": "geography", "hospital": "geography", "place": "geography",
    "vin": "vehicle", "plate": "vehicle", "uid": "other",
}  # fmt: skip
_TWO = ("欧阳", "司马", "上官", "诸葛")
_DATES_EN = ("%Y-%m-%d", "%d %B %Y", "%B %d, %Y", "%d/%m/%Y", "%m/%d/%Y", "%d-%b-%Y", "%Y%m%d", "%d.%m.%Y", "%b %d, %Y")
_DATES_ZH = ("{y}年{m}月{d}日", "{y}-{m:02d}-{d:02d}", "{y}/{m}/{d}", "{y}年{m}月", "{m}月{d}日", "{y}.{m:02d}.{d:02d}")


@dataclass(frozen=True)
class PlantedText:
    """A note, where values were planted in it, and where words must survive."""

    text: str
    values: tuple[tuple[int, int, str, str], ...]
    """Start, end, category, and `known`, `form` (patterned) or `stranger`."""
    kept: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class PlantedCase:
    """One made-up case: what its header knows, and its notes."""

    language: str
    identity: CaseIdentity
    texts: tuple[PlantedText, ...]


@dataclass
class Recall:
    """Found and planted by (group, category); group is `known`, `form` or `stranger`."""

    found: dict[tuple[str, str], int] = field(default_factory=lambda: defaultdict(int))
    planted: dict[tuple[str, str], int] = field(default_factory=lambda: defaultdict(int))
    missed: list[str] = field(default_factory=list)
    """The sentences around what was missed; made-up values only."""
    kept: int = 0
    kept_of: int = 0
    """Words that must survive, and how many did."""
    queued: int = 0
    """Strangers' names that were missed but lie in a text that waits for a person."""

    def share(self, group: str, category: str | None = None) -> tuple[int, int, float, float]:
        """Found, planted, and the Wilson interval, of one group (and category).

        Raises:
            ValueError: Nothing of the kind was planted.
        """
        keys = [key for key in self.planted if key[0] == group and category in (None, key[1])]
        n, k = sum(self.planted[key] for key in keys), sum(self.found[key] for key in keys)
        return k, n, *wilson_interval(k, n)


def fill_value(pattern: str, rng: np.random.Generator) -> str:
    """A value of a pattern: `#` becomes a digit, `@` a capital letter, `~` a small one."""
    table = {"#": "0123456789", "@": "ABCDEFGHJKMNPRSTUVWX", "~": "abcdefghijklmnopqrstuvwxyz"}
    return "".join(str(rng.choice(list(table[sign]))) if sign in table else sign for sign in pattern)


def planted_cases(templates: Path, values: Path, *, number: int, seed: int) -> Iterator[PlantedCase]:
    """Cases in turn English and Chinese, each with one note of every sentence."""
    sentences = yaml.safe_load(templates.read_text(encoding="utf-8"))
    lists = yaml.safe_load(values.read_text(encoding="utf-8"))
    rng = np.random.default_rng(seed)
    for index in range(number):
        language = ("en", "zh")[index % 2]
        known = {
            kind: _draw(kind, language, lists, rng)
            for kind in ("name", "record", "accession", "phone", "address", "hospital", "birth", "place")
            if kind in ("name", "birth") or _names(kind, language, lists)
        }
        rows: dict[str, list[str]] = {}
        for kind, value in known.items():
            rows.setdefault(_CATEGORY.get(kind, kind), []).append(value)
        texts = tuple(_fill(sentence, known, language, lists, rng) for sentence in sentences[language])
        yield PlantedCase(language, CaseIdentity({kind: tuple(many) for kind, many in rows.items()}), texts)


def _names(kind: str, language: str, lists: dict[str, Any]) -> Sequence[str]:
    return list(lists.get(f"{kind}_{language}", lists.get(kind, ())))


def _draw(kind: str, language: str, lists: dict[str, Any], rng: np.random.Generator) -> str:
    if kind in ("date", "birth"):
        first = 1930 if kind == "birth" else 2005
        day = datetime.date(first, 1, 1) + datetime.timedelta(days=int(rng.integers(0, 6500)))
        if language == "zh":
            return str(rng.choice(_DATES_ZH[:3] if kind == "birth" else _DATES_ZH)).format(
                y=day.year, m=day.month, d=day.day
            )
        return day.strftime(str(rng.choice(_DATES_EN)))
    if kind == "age":
        return str(rng.integers(90, 105))
    pool = _names("names" if kind == "name" else "strangers" if kind == "stranger" else kind, language, lists)
    return fill_value(str(rng.choice(pool)), rng)


def _form(value: str, form: str | None) -> str:
    """A name as somebody else would write it."""
    parts = value.split()
    if form == "upper":
        return value.upper()
    if form == "family":
        return parts[-1]
    if form == "given":
        return parts[0] if len(parts) > 1 else value[2 if value[:2] in _TWO else 1 :]
    if form == "family_given":
        return f"{parts[-1]}, {' '.join(parts[:-1])}"
    if form == "initial_family":
        return f"{parts[0][0]}. {parts[-1]}"
    if form == "zh_title":
        return value[: 2 if value[:2] in _TWO else 1] + "先生"
    return value


def _fill(
    sentence: str, known: dict[str, str], language: str, lists: dict[str, Any], rng: np.random.Generator
) -> PlantedText:
    pieces: list[str] = []
    values: list[tuple[int, int, str, str]] = []
    kept: list[tuple[int, int]] = []
    length = at = opened = 0
    for slot in _SLOT.finditer(sentence):
        pieces.append(sentence[at : slot.start()])
        length += slot.start() - at
        at = slot.end()
        if slot.group() == "«":
            opened = length
        elif slot.group() == "»":
            kept.append((opened, length))
        else:
            who, kind = slot.group("who"), slot.group("kind")
            draw = "stranger" if who == "stranger." else kind
            value = known[kind] if who == "known." else _draw(draw, language, lists, rng)
            value = _form(value, slot.group("form"))
            group = {"known.": "known", "stranger.": "stranger", None: "form"}[who]
            values.append((length, length + len(value), _CATEGORY.get(kind, kind), group))
            pieces.append(value)
            length += len(value)
    pieces.append(sentence[at:])
    return PlantedText("".join(pieces), tuple(values), tuple(kept))


def score_texts(cases: Iterator[PlantedCase]) -> Recall:
    """De-identify all notes and count what was found."""
    recall = Recall()
    for number, case in enumerate(cases):
        tags = Tags(datetime.timedelta(weeks=-(1 + number % 300)))
        for note in case.texts:
            result = deidentify_text(Sealed(note.text), case.identity, tags, id_="planted")
            covered = {place for m in result.masked for place in range(m.start, m.end)}
            missed_stranger = False
            for start, end, category, group in note.values:
                signs = [place for place in range(start, end) if plain(note.text[place]).isalnum()]
                hit = all(place in covered for place in signs)
                recall.planted[group, category] += 1
                recall.found[group, category] += hit
                if not hit:
                    recall.missed.append(f"{category} ({group}): {note.text[max(0, start - 25) : end + 15]!r}")
                    missed_stranger |= group == "stranger"
            recall.queued += missed_stranger and result.record.status == "review"
            own = {part.lower() for value in case.identity.of("name") for part in name_parts(value)}
            for start, end in note.kept:
                if note.text[start:end].lower() not in own:  # a case's own names win over the terms
                    recall.kept_of += 1
                    recall.kept += not covered & set(range(start, end))
    return recall
