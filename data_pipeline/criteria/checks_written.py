"""Checks of what a language model wrote: does it keep to its evidence, its language, its form, and to safe words.

Convention: as in `checks.py`: None where a check does not apply, "" where it holds, a note where it fails. They apply
to items of kind `written` alone, and recompute from the corpus and the item, never from what the writer claimed.

Trap: a level in the answer must stand in the evidence, or in a study's record; that a statement about it is true cannot
be checked here and is what reviewers are for.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spinemed.anatomy import Disc, Level, find_levels
from spinemed.questions import significant_words

if TYPE_CHECKING:
    from data_pipeline.criteria.lookup import Lookup
    from data_pipeline.items import Item

__all__ = ["WRITTEN_CHECKS", "levels_in", "written_value"]

_HAN = re.compile(r"[\u4e00-\u9fff]")
_HAN_PAIR = re.compile(r"[\u4e00-\u9fff]{2}")
_LATIN = re.compile(r"[A-Za-z]")
_SIDE = {"left": re.compile(r"\bleft\b|左", re.I), "right": re.compile(r"\bright(?!\s+(?:answer|option))\b|右", re.I)}
_MODALITY = {
    # Chinese signs are letters to a regular expression: no boundary stands between them and "CT".
    "CT": re.compile(r"(?<![A-Za-z])CT(?![A-Za-z])|computed tomograph|计算机断层", re.I),
    "MR": re.compile(r"(?<![A-Za-z])MRI?(?![A-Za-z])|magnetic resonance|磁共振|核磁", re.I),
    "XR": re.compile(r"\bX-?rays?\b|radiograph|X线|X光|平片", re.I),
}
_DISCLAIMER = {"en": "research use only", "zh": "仅供研究"}
_UNSAFE = Path(__file__).parents[1] / "prompts" / "unsafe.txt"


def written_value(item: Item) -> dict[str, Any] | None:
    """What a model or the rule writer wrote in the forms of the four tasks, or None for other items."""
    if not item.parts.template.startswith(("written_", "ruled_")):
        return None
    return _loaded(item.parts.filled["written"])


@functools.lru_cache(maxsize=64)
def _loaded(written: str) -> dict[str, Any]:
    # A dozen checks of one item ask for it, one item after another; none changes it.
    return dict(json.loads(written))


def _prose(value: Any) -> Iterable[str]:
    """All texts that a reader sees; quotes and ids are the source's."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for part in value:
            yield from _prose(part)
    elif isinstance(value, dict):
        for name, part in value.items():
            if name not in ("cited", "axis", "speaker"):
                yield from _prose(part)


def levels_in(text: str) -> set[Level]:
    """Vertebrae named in a text, those beside a named disc included."""
    found: set[Level] = set()
    for mention in find_levels(text):
        if isinstance(mention.reading, Level):
            found.add(mention.reading)
        elif isinstance(mention.reading, Disc):
            found |= {mention.reading.upper, mention.reading.lower}
    return found


def _evidence_text(item: Item, lookup: Lookup) -> str:
    return " ".join(f"{span.section} {span.text}" for span in lookup.spans(item))


def answer_not_leaked(item: Item, lookup: Lookup) -> str | None:
    """The stem does not hold the answer: the right option's words, or all that an open answer begins with.

    Passages have a check of their own, `no_giveaway`; printed exercises stand as they are.
    """
    value, instance = written_value(item), item.instance
    if value is not None and "right" in value:
        stem, right = value["question"], value["right"]
    elif value is not None and "answer" in value:
        first = re.split(r"(?<=[.!?。])\s*", value["answer"])[0]
        said = _content(first)
        told = bool(said) and said <= _content(value["question"])
        return "the question says what the answer says" if told or first in value["question"] else ""
    elif instance.options and not item.parts.template.startswith("exercise") and "passage" not in item.parts.filled:
        stem = lookup.templates[item.parts.template].question(item.parts.wording, item.parts.filled)
        right = next(option.text for option in instance.options if option.key == instance.answer)
    else:
        return None
    right = right.casefold().strip(" .。")
    small = stem.casefold()
    # Looked for as a text first: a pattern of its own for each item costs more than all other checks together.
    found = len(right) > 1 and right in small and re.search(rf"(?<![a-z0-9]){re.escape(right)}(?![a-z0-9])", small)
    return "the question holds the words of the right option" if found else ""


def _content(text: str) -> set[str]:
    """What a text says: its significant words, and pairs of neighbouring Chinese signs."""
    said = set(significant_words(text))
    if _HAN.search(text):
        said |= {text[n : n + 2] for n in range(len(text) - 1) if _HAN_PAIR.match(text, n)}
    return said


def language_as_asked(item: Item, lookup: Lookup) -> str | None:
    """English holds no Chinese; Chinese is mostly Chinese beside its Latin terms."""
    value = written_value(item)
    text = " ".join(message.content for message in item.instance.messages) if value is None else " ".join(_prose(value))
    han, latin = len(_HAN.findall(text)), len(_LATIN.findall(text))
    if item.instance.language == "en":
        return "" if not han else f"{han} Chinese characters in an English item"
    return "" if han * 2 >= latin else f"{han} Chinese and {latin} Latin letters in a Chinese item"


def quotes_cited(item: Item, lookup: Lookup) -> str | None:
    """Every span that is cited is cited with its words."""
    value = written_value(item)
    if value is None:
        return None
    spans = {part.id for part in item.instance.evidence if part.kind == "span"}
    bare = [cited["id"] for cited in value["cited"] if cited["id"] in spans and not cited["quote"].strip()]
    return f"span {bare[0]} is cited without its words" if bare else ""


def levels_in_evidence(item: Item, lookup: Lookup) -> str | None:
    """No vertebra is named that neither the cited spans nor the study's record name."""
    value = written_value(item)
    if value is None:
        return None
    study = lookup.study(item)
    known = levels_in(_evidence_text(item, lookup))
    if study is not None and study.numbering_determinable:
        known |= {mark.level for mark in study.marks if mark.level is not None}
    # Wrong options may name other levels: that is what makes them wrong.
    said = levels_in(" ".join(_prose({name: part for name, part in value.items() if name != "options"})))
    strange = sorted(level.value for level in said - known)
    return f"{', '.join(strange)} not in the evidence" if strange else ""


def side_and_modality_agree(item: Item, lookup: Lookup) -> str | None:
    """With a study: no other modality is claimed for it, and no side that its findings contradict."""
    value, study = written_value(item), lookup.study(item)
    if value is None or study is None or "options" in value:
        return None
    told = {name: part for name, part in value.items() if name in ("question", "answer", "findings", "turns")}
    text = " ".join(_prose(told))
    if not _MODALITY[study.modality].search(text):
        others = [name for name, pattern in _MODALITY.items() if name != study.modality and pattern.search(text)]
        if others:
            return f"speaks of {others[0]}, the study is {study.modality}"
    sides = {finding.side for finding in study.findings if finding.side is not None}
    if len(sides) == 1:
        wrong = "left" if sides == {"right"} else "right"
        (right,) = sides
        if _SIDE[wrong].search(text) and not _SIDE[right].search(text):
            return f"speaks of the {wrong} side, the record says {right}"
    return ""


def no_unsafe_advice(item: Item, lookup: Lookup) -> str | None:
    """Nothing from the list of words that could harm somebody who believed them.

    Of items in other forms the answer is searched; their questions quote sources, which nobody learns to say.
    """
    value, instance = written_value(item), item.instance
    right = [option.text for option in instance.options if option.key == instance.answer]
    said = [message.content for message in instance.messages if message.role == "assistant"]
    found = _unsafe().search(" ".join([*said, *right] if value is None else _prose(value)))
    return f"says '{found[0]}'" if found else ""


def says_research_use(item: Item, lookup: Lookup) -> str | None:
    """A report and a conversation say that they are for research."""
    value = written_value(item)
    if value is None or not ("basis" in value or "turns" in value):
        return None
    if "basis" in value:
        wanted = _DISCLAIMER[item.instance.language]
        return "" if wanted in value["basis"].casefold() else f"the basis does not say '{wanted}'"
    said = " ".join(turn["text"] for turn in value["turns"] if turn["speaker"] == "physician").casefold()
    return "" if re.search(r"research exercise|研究练习", said) else "the physician does not say that it is an exercise"


@functools.cache
def _unsafe() -> re.Pattern[str]:
    lines = _UNSAFE.read_text(encoding="utf-8").splitlines()
    return re.compile("|".join(line for line in lines if line and not line.startswith("#")), re.I)


WRITTEN_CHECKS: dict[str, Callable[[Item, Lookup], str | None]] = {
    check.__name__: check
    for check in (
        answer_not_leaked,
        language_as_asked,
        quotes_cited,
        levels_in_evidence,
        side_and_modality_agree,
        no_unsafe_advice,
        says_research_use,
    )
}
"""Every check of this module by name."""
