"""Checks that hold the four tasks to their records: cited ids, fractures, red flags, limits, pictures that are needed.

Convention: as in `checks.py`: None where a check does not apply, "" where it holds, a note where it fails. They read
the words of the item and the records of the corpus, never what the writer meant to say.

Trap: a sentence is a claim about a fracture where it holds a shape, a level and no negation; a writer who puts two
levels into one sentence claims the shape of both.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from data_pipeline.criteria.checks_written import levels_in, written_value
from data_pipeline.drafting.captions import caption_level, caption_region, caption_technique
from data_pipeline.drafting.tasks.words import load_words
from data_pipeline.writers.evidence import INSTRUCTION, speaks_to_model
from spinemed.questions import NOT_ASSESSABLE, SOLVABLE_FROM_TEXT
from spinemed.records import content_hash

if TYPE_CHECKING:
    from data_pipeline.criteria.lookup import Lookup
    from data_pipeline.items import Item

__all__ = ["TASK_CHECKS"]

_SHAPES = {
    "wedge": re.compile(r"\bwedge", re.I),
    "crush": re.compile(r"\bcrush", re.I),
    "biconcave": re.compile(r"\bbiconcave", re.I),
}
_SHAPES_ZH = {"wedge": re.compile("楔形"), "crush": re.compile("全椎体压缩|压扁"), "biconcave": re.compile("双凹")}
_NEGATED = re.compile(r"\bno\b|\bnot\b|\bnone\b|\bwithout\b|未见|未提示|无骨折|没有")
_SENTENCE = re.compile(r"(?<=[.!?;])\s+|[。！？；\n]")
_PERCENT = re.compile(r"(\d+(?:\.\d+)?) ?%")
_PERCENT_SLACK = 1.0
"""Points by which a worded loss may differ from the record: rounding."""
_RED_FLAGS = (
    re.compile(r"weakness|numbness|loss of (?:strength|feeling)|无力|麻木", re.I),
    re.compile(r"bladder|urine|bowel|大小便|小便|排尿", re.I),
)
_ADVICE = re.compile(
    r"\byou should\b|\bI (?:advise|recommend|suggest)\b|\bgo to\b|\bhas to be seen\b|\bsee a (?:doctor|physician)\b"
    r"|next step|emergency department|operat|请(?:当天|立即|尽快)|应当?(?:天|尽早|立即|请)|建议|下一步|急诊|手术",
    re.I,
)
_LIMITS = re.compile(r"not assessable|无法评估", re.I)


def evidence_exists(item: Item, lookup: Lookup) -> str | None:
    """Every cited id is in the corpus under the hash that is cited."""
    corpus = lookup.corpus
    for part in item.instance.evidence:
        if part.kind == "span":
            span = corpus.spans.get(part.id)
            found = None if span is None else _text_sha256(span.text)
        elif part.kind == "figure":
            figure = corpus.figures.get(part.id)
            found = None if figure is None else figure.image_sha256
        elif part.kind == "study":
            study = corpus.studies.get(part.id)
            found = None if study is None else content_hash(study)
        else:
            document = corpus.documents.get(part.id)
            found = None if document is None else document.sha256
        if found is None:
            return f"the {part.kind} {part.id} is not in the corpus"
        if found != part.sha256:
            return f"the {part.kind} {part.id} is not what was cited"
    return "" if item.instance.evidence else "cites nothing"


def _text_sha256(text: str) -> str:
    from data_pipeline.items import text_sha256

    return text_sha256(text)


def _texts(value: dict[str, Any]) -> list[str]:
    """What is claimed about the study; wrong options are not."""
    if "right" in value:
        return [f"{value['question']} {value['right']}".replace("?", " ").replace("？", " ")]
    if "turns" in value:
        return [turn["text"] for turn in value["turns"] if turn["speaker"] == "physician"]
    if "basis" in value:
        return [value["findings"], value["diagnosis"]]
    return [value["answer"]]


def fractures_as_recorded(item: Item, lookup: Lookup) -> str | None:
    """Each fracture that is claimed stands in the study's record, with its level, shape and loss of height."""
    value, study = written_value(item), lookup.study(item)
    if value is None or study is None:
        return None
    recorded = {f.level: f for f in study.findings if f.kind == "fracture" and f.level is not None}
    claimed = 0
    for sentence in (part for text in _texts(value) for part in _SENTENCE.split(text)):
        shapes = [name for name in _SHAPES if _SHAPES[name].search(sentence) or _SHAPES_ZH[name].search(sentence)]
        levels = levels_in(sentence)
        if not shapes or not levels or _NEGATED.search(sentence):
            continue
        for level in sorted(levels):
            claimed += 1
            finding = recorded.get(level)
            if finding is None or finding.value not in shapes or not study.numbering_determinable:
                stated = "nothing" if finding is None else finding.value
                return f"claims {shapes[0]} of {level.value}, the record states {stated}"
            said = _PERCENT.search(sentence)
            if said and finding.amount is not None and abs(float(said[1]) - finding.amount) > _PERCENT_SLACK:
                return f"claims a loss of {said[1]} % of {level.value}, the record states {finding.amount} %"
    return "" if claimed else None


def fractures_complete(item: Item, lookup: Lookup) -> str | None:
    """A report or conversation by rule leaves out no fracture that its record states."""
    value, study = written_value(item), lookup.study(item)
    if value is None or study is None or not ("basis" in value or "turns" in value) or not _by_rule(item):
        return None
    text = " ".join(_texts(value))
    named = levels_in(text)
    missed = [
        finding.level.value
        for finding in study.findings
        if finding.kind == "fracture" and finding.value != "none" and finding.level is not None
        if finding.level not in named and study.numbering_determinable
    ]
    return f"leaves out the fracture of {', '.join(missed)}" if missed else ""


def _by_rule(item: Item) -> bool:
    return item.parts.template.startswith("ruled_")


def red_flags_before_advice(item: Item, lookup: Lookup) -> str | None:
    """In a conversation that advises something, the physician has asked for warning signs before."""
    value = written_value(item)
    if value is None or "turns" not in value:
        return None
    told = [turn["text"] for turn in value["turns"] if turn["speaker"] == "physician"]
    sentences = [part for text in told for part in re.split(r"(?<=[.!?。！？])\s*", text)]
    asked: set[int] = set()
    for sentence in sentences:
        if sentence.rstrip().endswith(("?", "？")):
            asked |= {number for number, pattern in enumerate(_RED_FLAGS) if pattern.search(sentence)}
            continue
        found = _ADVICE.search(sentence)
        if found and len(asked) < len(_RED_FLAGS):
            return f"advises ('{found[0]}') before warning signs were asked for"
    return ""


def limits_said(item: Item, lookup: Lookup) -> str | None:
    """A report on a picture says what the picture cannot show."""
    value = written_value(item)
    if value is None or "basis" not in value or lookup.study(item) is None:
        return None
    return "" if _LIMITS.search(value["findings"]) else "says nowhere what is not assessable"


def picture_need_marked(item: Item, lookup: Lookup) -> str | None:
    """An item whose answer is the same whatever its picture shows carries the tag for it, and no other item does."""
    instance = item.instance
    if not instance.image_sha256:
        return "" if SOLVABLE_FROM_TEXT not in instance.tags else "is tagged, and has no picture"
    alone = item.parts.template in ("modic_type", "pfirrmann_grade") and instance.answer == NOT_ASSESSABLE
    if _by_rule(item) and instance.options:
        right = next(option.text for option in instance.options if option.key == instance.answer)
        alone = right in load_words("multiple_choice", instance.language).phrases["showable"]
    if alone == (SOLVABLE_FROM_TEXT in instance.tags):
        return ""
    return "is solvable from its text alone and not tagged so" if alone else "needs its picture and is tagged otherwise"


def no_instruction_to_models(item: Item, lookup: Lookup) -> str | None:
    """No source text that an item quotes, and no answer, is written for a model to obey."""
    instance, value = item.instance, written_value(item)
    told = [text for name, text in item.parts.filled.items() if name not in ("written", "pack", "categories")]
    told += [option.text for option in instance.options]
    told += [message.content for message in instance.messages if message.role == "assistant"]
    told += [item.parts.note] if value is not None else []
    return INSTRUCTION if any(speaks_to_model(text) for text in told) else ""


def caption_says(item: Item, lookup: Lookup) -> str | None:
    """Level, part of the spine and technique are read from the caption again."""
    if not item.parts.template.startswith("caption_"):
        return None
    spans = lookup.spans(item)
    if not spans:
        return "its caption is not in the corpus"
    text, instance = spans[0].text, item.instance
    if item.parts.template == "caption_technique":
        read: str | None = caption_technique(text)
        said = next(option.text for option in instance.options if option.key == instance.answer)
    else:
        level = caption_level(text)
        read = None if level is None else str(level)
        if item.parts.template == "caption_region":
            read = caption_region(text)
        said = instance.answer
    return "" if read == said else f"the caption says {read or 'nothing'}"


TASK_CHECKS: dict[str, Callable[[Item, Lookup], str | None]] = {
    check.__name__: check
    for check in (
        evidence_exists,
        fractures_as_recorded,
        fractures_complete,
        red_flags_before_advice,
        limits_said,
        picture_need_marked,
        no_instruction_to_models,
        caption_says,
    )
}
"""Every check of this module by name."""
