"""The deterministic checks behind the written criteria.

Convention: each takes an item and a lookup and answers None (does not apply), "" (holds) or a note (fails). They
recompute from the records, never from what the writer claimed.

Trap: a check must not mend anything; remedies live in `revise.py`, which is judged by these same checks.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable

from data_pipeline.criteria.checks_tasks import TASK_CHECKS
from data_pipeline.criteria.checks_written import WRITTEN_CHECKS
from data_pipeline.criteria.lookup import Lookup
from data_pipeline.drafting.images import spine_of
from data_pipeline.drafting.texts import first_sentence
from data_pipeline.items import Item, text_sha256
from spinemed.anatomy import REGULAR, Disc, Spine
from spinemed.questions import NOT_ASSESSABLE, construct, overlapping, significant_words, span_text
from spinemed.records import NOT_DETERMINABLE, Study

__all__ = [
    "CHECKS", "MASKS", "answer_text", "giveaway_names", "kind_of", "letters_balanced", "name_pattern",
    "passage_of", "words",
]  # fmt: skip

MASKS = {"condition": "[this condition]", "definition": "[this term]"}
"""What stands where a name is hidden, by the first word of the template's name."""
SHORTEST_PASSAGE = {"condition": 80, "definition": 20}
FEWEST_WORDS = {"condition": 12, "definition": 4}
_LONG_WORD = 8
_LOOSE_START = re.compile(
    r"^(?:they|it|this|these|those|that|he|she|his|her|its|such|however|also|in addition|as a result|other|another|"
    r"for example|learn more|watch|\[this condition\]s?\?)\b",
    re.I,
)
_POINTS_AWAY = re.compile(r"\[fig-|\bsee (?:figure|table|below|above)\b|\bvideo\b|these resources|^learn more", re.I)
_IDENTIFIER = re.compile(
    r"[\w.+-]+@[\w-]+\.\w+|\b(?:MRN|SSN|DOB|patient id)\b|\b\d{1,2}[/.]\d{1,2}[/.]\d{4}\b|\+?\d[\d -]{8,}\d"
    r"|\b(?:Mr|Mrs|Ms)\.? [A-Z][a-z]+",
)
_MARKUP = re.compile(r"https?://|www\.|</?[a-zA-Z]+[^>]*>|[\x00-\x08\x0b-\x1f\x7f]")

Check = Callable[[Item, Lookup], "str | None"]


def words(text: str) -> list[str]:
    """Words of a text, lower case."""
    return re.findall(r"\w+", text.casefold())


def answer_text(item: Item) -> str:
    """The answer in words: the text of the right option, or the answer itself."""
    instance = item.instance
    if instance.answer_kind != "option":
        return instance.answer
    return next(option.text for option in instance.options if option.key == instance.answer)


def kind_of(item: Item) -> str:
    """First word of the template's name: condition, definition, exercise, figure, ..."""
    return item.parts.template.split("_")[0]


def passage_of(item: Item) -> str:
    """The passage shown, or an empty text."""
    return item.parts.filled.get("passage", "")


# --- every instance --------------------------------------------------------------------------------------------------


def question_mark(item: Item, lookup: Lookup) -> str | None:
    """The filled wording ends with a question mark or holds one."""
    question = lookup.templates[item.parts.template].question(item.parts.wording, item.parts.filled)
    return "" if "?" in question or "？" in question else "the wording asks nothing"


def plain_language(item: Item, lookup: Lookup) -> str | None:
    """No markup, and a question (without its passage) of at most 60 words."""
    turn = item.instance.messages[0].content
    found = _MARKUP.search(turn.replace("<image>", ""))
    if found:
        return f"holds '{found[0]}'"
    values = {**item.parts.filled, "passage": ""} if kind_of(item) != "exercise" else item.parts.filled
    number = len(words(lookup.templates[item.parts.template].question(item.parts.wording, values)))
    return "" if number <= 60 else f"the question has {number} words"


def no_identifiers(item: Item, lookup: Lookup) -> str | None:
    """Nothing shaped like an e-mail address, a phone number, a full date, a record number or a titled name."""
    for message in item.instance.messages:
        found = _IDENTIFIER.search(message.content)
        if found:
            return f"holds '{found[0]}'"
    return ""


def levels_exist(item: Item, lookup: Lookup) -> str | None:
    """All levels are in the studied spine, or in a regular one for text."""
    if not item.instance.levels:
        return None
    spine = _spine(item, lookup)
    strange = [level.value for level in item.instance.levels if level not in spine]
    return f"{', '.join(strange)} not in this spine" if strange else ""


def options_differ(item: Item, lookup: Lookup) -> str | None:
    """At least three options, different also when case is ignored."""
    if item.instance.answer_kind != "option":
        return None
    texts = [option.text.casefold().strip() for option in item.instance.options]
    if len(set(texts)) != len(texts):
        return "two options are the same"
    return "" if len(texts) >= 3 else f"only {len(texts)} options"


def options_alike(item: Item, lookup: Lookup) -> str | None:
    """All options start with a capital letter or none does; scripts without capitals are left out."""
    if item.instance.answer_kind != "option":
        return None
    firsts = [option.text[:1] for option in item.instance.options]
    starts = {first.isupper() for first in firsts if first.lower() != first.upper()}
    return "" if len(starts) <= 1 else "some options start with a capital letter, some do not"


def research_use(item: Item, lookup: Lookup) -> str | None:
    """Planning questions say that they are a research exercise."""
    if item.instance.axis != "surgical_planning":
        return None
    return "" if "research exercise" in item.parts.note.casefold() else "does not say that it is a research exercise"


# --- pictures --------------------------------------------------------------------------------------------------------


def _spine(item: Item, lookup: Lookup) -> Spine:
    study = lookup.study(item)
    return REGULAR if study is None else spine_of(study)


def _mark(item: Item, lookup: Lookup) -> tuple[float, float] | None:
    """Where the mark of an item's picture was drawn."""
    for digest in item.instance.image_sha256:
        derivation = lookup.derivations.get(digest)
        if derivation is not None and derivation.operation == "mark":
            mark = json.loads(derivation.parameters)
            return mark["x_px"], mark["y_px"]
    return None


def _marked_body(item: Item, lookup: Lookup, study: Study) -> int | None:
    """Which body the mark sits on, within half a pixel."""
    at = _mark(item, lookup)
    if at is None:
        return None
    near = [i for i, m in enumerate(study.marks) if abs(m.x_px - at[0]) <= 0.5 and abs(m.y_px - at[1]) <= 0.5]
    return near[0] if len(near) == 1 else None


def mark_on_target(item: Item, lookup: Lookup) -> str | None:
    """The mark sits on the body the answer is about, or half-way between the two bodies of the disc."""
    study, at = lookup.study(item), _mark(item, lookup)
    if study is None or at is None:
        return None
    if item.parts.template in ("marked_disc", "pfirrmann_grade"):
        for above, below in zip(study.marks, study.marks[1:]):
            middle = ((above.x_px + below.x_px) / 2, (above.y_px + below.y_px) / 2)
            if abs(middle[0] - at[0]) <= 0.5 and abs(middle[1] - at[1]) <= 0.5:
                named = tuple(mark.level for mark in (above, below) if mark.level is not None)
                return "" if item.instance.levels in (named, ()) else "the mark lies on another disc"
        return "the mark lies on no disc"
    body = _marked_body(item, lookup, study)
    if body is None:
        return "the mark lies on no vertebra"
    level = study.marks[body].level
    named = item.instance.levels[:1]
    return "" if named in ((level,), ()) else f"the mark lies on {level}, the answer is about {named[0].value}"


def numbering_needs_anchor(item: Item, lookup: Lookup) -> str | None:
    """`not determinable` exactly where the record cannot name what is asked about."""
    study = lookup.study(item)
    if study is None or item.instance.answer_kind not in ("level", "disc", "levels"):
        return None
    said = item.instance.answer == NOT_DETERMINABLE
    if not study.numbering_determinable:
        return "" if said else "names a level although no anchor is in view"
    body = _marked_body(item, lookup, study)
    known = body is None or study.marks[body].level is not None
    return "" if said is not known or item.parts.template == "marked_disc" else "the record and the answer disagree"


def finding_supports_answer(item: Item, lookup: Lookup) -> str | None:
    """Level, disc, shape or grade recomputed from the study record."""
    study, instance = lookup.study(item), item.instance
    if study is None or kind_of(item) in ("written", "ruled"):  # the four tasks have checks of their own
        return None
    if item.parts.template == "pfirrmann_grade":
        return "" if (study.modality != "MR") == (instance.answer == NOT_ASSESSABLE) else "needs a T2-weighted MR"
    if item.parts.template == "modic_type":
        return "" if instance.answer == NOT_ASSESSABLE else "a single picture shows no Modic type"
    if item.parts.template in ("vertebra_count", "presacral_count"):
        said = _counted(item, study)
        return "" if said == instance.answer else f"the record says {said or 'nothing'}"
    if instance.answer == NOT_DETERMINABLE or item.parts.template.startswith("construct"):
        return None  # held by numbering_needs_anchor and construct_follows_rule
    if item.parts.template == "edge_vertebra":
        seen = [mark.level for mark in study.marks if mark.fully_visible]
        edge = seen[0 if item.parts.filled["edge"] == "highest" else -1] if seen else None
        return "" if edge is not None and instance.answer == edge.value else f"the record says {edge}"
    if item.parts.template == "marked_disc":
        return "" if str(Disc(*instance.levels)) == instance.answer else "the disc does not lie between these levels"
    body = _marked_body(item, lookup, study)
    level = None if body is None else study.marks[body].level
    if item.parts.template == "marked_vertebra":
        return "" if level is not None and instance.answer == level.value else f"the record says {level}"
    shapes = [f.value for f in study.findings if f.kind == "fracture" and f.level is not None and f.level is level]
    return "" if shapes == [instance.answer] else f"the record says {shapes or 'nothing'}"


def _counted(item: Item, study: Study) -> str | None:
    """The count that the study states for a counting question; None where it states none."""
    if item.parts.template == "presacral_count":
        return next((finding.value for finding in study.findings if finding.kind == "presacral_count"), None)
    part = item.parts.filled["part"].removesuffix("vertebrae").strip() or "all"
    amounts = [f.amount for f in study.findings if f.kind == "level_count" and f.value == part and f.amount is not None]
    return str(int(amounts[0])) if amounts else None


def construct_follows_rule(item: Item, lookup: Lookup) -> str | None:
    """One level above and one below, in the spine that is asked about."""
    if not item.parts.template.startswith("construct") or item.instance.answer == NOT_DETERMINABLE:
        return None
    span = construct(_spine(item, lookup), item.instance.levels[0])
    said = answer_text(item)
    return "" if span is not None and said == span_text(*span) else f"the rule gives {span}, the answer is {said}"


# --- text ------------------------------------------------------------------------------------------------------------


def quote_in_document(item: Item, lookup: Lookup) -> str | None:
    """Each quote is in its span, each span at its place in its document, each hash right."""
    quotes = [part for part in item.instance.evidence if part.kind == "span"]
    if not quotes:
        return None
    for part in quotes:
        span = lookup.corpus.spans.get(part.id)
        if span is None:
            return f"span {part.id} is not in the corpus"
        document = lookup.corpus.documents[span.document_id]
        if document.text[span.start : span.end] != span.text or text_sha256(span.text) != part.sha256:
            return f"span {part.id} is not what its document holds"
        if not part.quote or part.quote not in span.text:
            return f"the quote is not in span {part.id}"
    return ""


def passage_from_quote(item: Item, lookup: Lookup) -> str | None:
    """The words of the passage are words of the quote, in order, hidden names left out."""
    passage = passage_of(item)
    if not passage:
        return None
    mask = MASKS.get(kind_of(item))
    shown = words(passage.replace(mask, " ") if mask else passage)
    quoted = iter(words(next(part.quote for part in item.instance.evidence if part.kind == "span")))
    for word in shown:
        if not any(word == other for other in quoted):
            return f"'{word}' does not stand there in the quote"
    return ""


def answer_supported(item: Item, lookup: Lookup) -> str | None:
    """The right option is the document's condition, the defined term, the caption, the title or the printed answer."""
    kind = kind_of(item)
    if kind not in ("condition", "definition", "figure", "exercise"):
        return None
    said = answer_text(item).casefold()
    spans = lookup.spans(item)
    if kind == "condition":
        allowed = {lookup.corpus.documents[spans[0].document_id].title}
    elif kind == "definition":
        allowed = {spans[0].text.split(": ", 1)[0]}
    elif item.parts.template == "figure_caption":
        allowed = {first_sentence(spans[0].text)}
    elif item.parts.template == "figure_title":
        allowed = {spans[0].section}
    else:
        allowed = {span.text for span in spans if span.kind == "list_item"}
    return "" if said in {text.casefold() for text in allowed} else f"the evidence says {sorted(allowed)[:1]}"


def giveaway_names(item: Item, lookup: Lookup) -> list[str]:
    """Names that would give the answer away, longest first: the answer, its synonyms, its long words."""
    kind = kind_of(item)
    names = {answer_text(item)}
    if kind == "condition":
        document_id = lookup.spans(item)[0].document_id
        document = lookup.corpus.documents[document_id]
        group = [other.id for other in lookup.corpus.documents.values() if other.group_id == document.group_id]
        names |= {lookup.corpus.documents[other].title for other in group}
        names |= {
            span.text for other in group for span in lookup.corpus.spans_of.get(other, []) if span.section == "synonym"
        }
        names |= {
            word
            for name in tuple(names)
            for word in re.findall(r"[^\W\d_]+", name)
            if len(word) >= _LONG_WORD and significant_words(word)  # "syndrome" gives nothing away
        }
    return sorted({name for name in names if len(name) > 1}, key=lambda name: (-len(name), name))


def name_pattern(name: str) -> re.Pattern[str]:
    """A name as it may stand in a text: any case for words, exact for abbreviations, with or without a plural s."""
    exact = name.isupper() and len(name) <= 5
    body = re.escape(name if exact else name.removesuffix("s")).replace(r"\ ", r"[\s-]+")
    return re.compile(rf"\b{body}(?:s|es)?\b", 0 if exact else re.I)


def no_giveaway(item: Item, lookup: Lookup) -> str | None:
    """None of the names stands in the passage."""
    if kind_of(item) not in MASKS:
        return None
    found = [name for name in giveaway_names(item, lookup) if name_pattern(name).search(passage_of(item))]
    return f"the passage names {found[0]!r}" if found else ""


def options_exclusive(item: Item, lookup: Lookup) -> str | None:
    """No distractor shares a significant word with a condition, or contains (is contained in) another answer."""
    kind = kind_of(item)
    if item.instance.answer_kind != "option" or kind not in ("condition", "definition", "figure"):
        return None
    right = answer_text(item)
    for option in item.instance.options:
        if option.key == item.instance.answer:
            continue
        if (kind == "condition" and overlapping(right, option.text)) or _contained(right, option.text):
            return f"'{option.text}' may be right as well"
    return ""


def _contained(one: str, other: str) -> bool:
    left, right = one.casefold(), other.casefold()
    return left in right or right in left


def options_not_in_passage(item: Item, lookup: Lookup) -> str | None:
    """No wrong condition is named in the passage."""
    if kind_of(item) != "condition":
        return None
    for option in item.instance.options:
        if option.key != item.instance.answer and name_pattern(option.text).search(passage_of(item)):
            return f"the passage names the wrong option '{option.text}'"
    return ""


def passage_length(item: Item, lookup: Lookup) -> str | None:
    """Between the shortest passage of its kind and the longest allowed."""
    kind = kind_of(item)
    if kind not in SHORTEST_PASSAGE:
        return None
    length = len(passage_of(item))
    if length > lookup.longest_passage:
        return f"{length} characters, more than {lookup.longest_passage}"
    return "" if length >= SHORTEST_PASSAGE[kind] else f"{length} characters, fewer than {SHORTEST_PASSAGE[kind]}"


def stands_alone(item: Item, lookup: Lookup) -> str | None:
    """No loose pronoun at the start, no pointing to figures, videos or lists."""
    if kind_of(item) not in ("condition", "definition", "exercise"):
        return None
    passage = passage_of(item)
    found = _POINTS_AWAY.search(passage) or (_LOOSE_START.match(passage) if kind_of(item) == "condition" else None)
    return f"'{found[0]}' points elsewhere" if found else ""


def is_prose(item: Item, lookup: Lookup) -> str | None:
    """A condition's passage starts and ends like a sentence and holds no blanks to fill or flattened lists."""
    if kind_of(item) != "condition":
        return None
    passage = passage_of(item).rstrip()
    if "__" in passage or " - " in passage or not re.match(r"[A-Z0-9\[\"“(]", passage):
        return "is a list, a form or the rest of a sentence"
    return "" if re.search(r"[.!?][\"”)]?$", passage) else "does not end like a sentence"


def enough_left(item: Item, lookup: Lookup) -> str | None:
    """Enough words remain outside the hidden names."""
    kind = kind_of(item)
    if kind not in FEWEST_WORDS:
        return None
    number = len(words(passage_of(item).replace(MASKS[kind], " ")))
    return "" if number >= FEWEST_WORDS[kind] else f"{number} words left"


def letters_balanced(letters: dict[str, int]) -> bool:
    """Whether counts of right letters differ by at most one."""
    return not letters or max(letters.values()) - min(letters.values()) <= 1


CHECKS: dict[str, Check] = (
    WRITTEN_CHECKS
    | TASK_CHECKS
    | {
        check.__name__: check
        for check in (
            question_mark,
            plain_language,
            no_identifiers,
            levels_exist,
            options_differ,
            options_alike,
            research_use,
            mark_on_target,
            numbering_needs_anchor,
            finding_supports_answer,
            construct_follows_rule,
            quote_in_document,
            passage_from_quote,
            answer_supported,
            no_giveaway,
            options_exclusive,
            options_not_in_passage,
            passage_length,
            stands_alone,
            is_prose,
            enough_left,
        )
    }
)
"""Every check by name."""
