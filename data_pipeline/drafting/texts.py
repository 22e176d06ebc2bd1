"""Questions about documents: passages on a condition, definitions, printed exercises, figures, and rules of counting.

Convention: the draft quotes the source as it stands and takes wrong options from the same kind of thing (conditions,
terms, captions). What is wrong with that (a passage that names its condition, two names of one condition among the
options) is for the criteria to find and the reviser to mend.

Trap: a multiple-choice letter is a position; letters are balanced over the whole set after revision.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal

from data_pipeline.config import TextItems
from data_pipeline.figures.labels import without_label
from data_pipeline.items import Desk
from spinemed.anatomy import REGULAR
from spinemed.questions import (
    choice_question,
    neighbour_question,
    other_texts,
    stated_construct_question,
)
from spinemed.questions.draft import KEYS
from spinemed.records import Axis, Document, Evidence, Source, Span

__all__ = ["axis_of", "draft_documents", "first_sentence"]

# MedQuAD question types, by what the answer is about. Types that are not here ask nothing that a picture-and-level
# benchmark has an axis for; they are counted as dropped.
_QUESTION_TYPES: dict[str, tuple[str, Axis]] = {
    "information": ("condition_information", "pathology"),
    "symptoms": ("condition_symptoms", "pathology"),
    "causes": ("condition_causes", "pathology"),
    "susceptibility": ("condition_causes", "pathology"),
    "genetic changes": ("condition_causes", "pathology"),
    "inheritance": ("condition_causes", "pathology"),
    "frequency": ("condition_information", "pathology"),
    "exams and tests": ("condition_exams", "pathology"),
    "treatment": ("condition_treatment", "surgical_planning"),
    "prevention": ("condition_treatment", "surgical_planning"),
    "outlook": ("condition_information", "pathology"),
}
_DISORDER = re.compile(
    r"kyphos|lordos|scolios|osteopor|herniat|fractur|disorder|disease|abnormal|injur|degenerat|stenos", re.I
)
_SPINE = re.compile(
    r"vertebr|spin(?:e\b|al|ous)|\bdiscs?\b|sacr|coccy|lumbar|cervical|thoracic|atlas|\baxis\b|\bdens\b|lamina|pedicle"
    r"|nuchal|pulposus|anulus|\bribs?\b",
    re.I,
)
_WITH_FIGURES = ("pdf", "jats", "html", "markdown")
"""Readers that tie figures to captions, besides CNXML. Their sections are no titles of figures."""
_DIRECTIONS: tuple[Literal["above", "below"], ...] = ("above", "below")
_NUMBERING = re.compile(r"T1–T12.*L1–L5", re.S)


def axis_of(text: str) -> Axis | None:
    """The axis of a text on anatomy: pathology when it names a disorder, else level identification when it is about
    the spine, else None."""
    if _DISORDER.search(text) and _SPINE.search(text):
        return "pathology"
    return "level_identification" if _SPINE.search(text) else None


def first_sentence(text: str) -> str:
    """The first sentence, without a printed number such as `Figure 3.` or a leading panel letter such as `(a)`."""
    text = without_label(text)
    text = re.sub(r"^\s*\([a-z]\)\s*", "", text)
    match = re.search(r"(?<=[a-z)\]”\"])[.!?](?=\s+[A-Z(])", text)
    return text[: match.end()] if match else text


def draft_documents(desk: Desk, wanted: TextItems) -> None:
    """Write all questions about the documents of the corpus, in their order."""
    for document in desk.corpus.documents.values():
        source = desk.corpus.sources[document.source_id]
        if source.kind == "medquad" and wanted.passages:
            _passages(desk, document, source, wanted)
        if source.kind == "cnxml":
            if wanted.definitions:
                _definitions(desk, document, source, wanted)
            if wanted.exercises:
                _exercises(desk, document, source)
            if wanted.figures:
                _figures(desk, document, source, wanted)
            if wanted.rules:
                _rules(desk, document, source)
        if source.kind in _WITH_FIGURES and wanted.figures:
            _figures(desk, document, source, wanted)


def _spans(desk: Desk, document: Document, *kinds: str) -> Iterator[Span]:
    return (span for span in desk.corpus.spans_of.get(document.id, []) if span.kind in kinds)


def _passages(desk: Desk, document: Document, source: Source, wanted: TextItems) -> None:
    # One name for each condition: two documents on one condition would give one distractor twice.
    names: dict[str, str] = {}
    for other in desk.corpus.documents.values():
        if other.source_id == source.id:
            names.setdefault(other.group_id, other.title)
    pool = [name for group, name in names.items() if group != document.group_id]
    for span in _spans(desk, document, "answer"):
        kind = _QUESTION_TYPES.get(span.section)
        if kind is None:
            desk.drop(source.id, "passage", span.id, "question type without an axis", span.section)
            continue
        template, axis = kind
        rng = desk.rng(span.id, "passage")
        question = choice_question(
            desk.templates[template],
            axis=axis,
            answer=document.title,
            distractors=other_texts(document.title, pool, wanted.distractors, rng),
            rng=rng,
            passage=span.text,
        )
        desk.write(question, source, document.group_id, desk.span_evidence(span), about=span.id, tags=("text",))


def _definitions(desk: Desk, document: Document, source: Source, wanted: TextItems) -> None:
    spans = list(_spans(desk, document, "definition"))
    terms = [span.text.split(": ", 1)[0] for span in spans]
    for span, term in zip(spans, terms):
        meaning = span.text.removeprefix(f"{term}: ")
        axis = axis_of(f"{term} {meaning}")
        if axis is None:
            desk.drop(source.id, "definition", span.id, "not about the spine", term)
            continue
        rng = desk.rng(span.id, "definition")
        question = choice_question(
            desk.templates["definition_term"],
            axis=axis,
            answer=term,
            distractors=other_texts(term, terms, wanted.distractors, rng),
            rng=rng,
            passage=meaning,
        )
        desk.write(question, source, document.group_id, desk.span_evidence(span), about=span.id, tags=("text",))


def _exercises(desk: Desk, document: Document, source: Source) -> None:
    for question_span in _spans(desk, document, "question"):
        same = [span for span in _spans(desk, document, "list_item", "answer") if span.locator == question_span.locator]
        options = [span.text for span in same if span.kind == "list_item"]
        answer_span = next((span for span in same if span.kind == "answer"), None)
        letter = "" if answer_span is None else answer_span.text.strip().upper()
        if answer_span is None or len(options) < 3 or letter not in KEYS[: len(options)] or len(letter) != 1:
            desk.drop(source.id, "exercise", question_span.id, "no multiple-choice exercise")
            continue
        answer = options[KEYS.index(letter)]
        axis = axis_of(f"{question_span.text} {answer}")
        if axis is None:
            desk.drop(source.id, "exercise", question_span.id, "not about the spine")
            continue
        question = choice_question(
            desk.templates["exercise"],
            axis=axis,
            answer=answer,
            distractors=[text for text in options if text != answer],
            rng=desk.rng(question_span.id, "exercise"),
            passage=question_span.text,
            order=options,
        )
        evidence: tuple[Evidence, ...] = (
            *desk.span_evidence(question_span),
            desk.span_evidence(answer_span)[0],
            *(desk.span_evidence(span)[0] for span in same if span.kind == "list_item" and span.text == answer),
        )
        desk.write(question, source, document.group_id, evidence, about=question_span.id, tags=("text",))


def _figures(desk: Desk, document: Document, source: Source, wanted: TextItems) -> None:
    captions = {span.id: span for span in _spans(desk, document, "caption")}
    # A module with a single figure borrows captions from the other modules of its source.
    shown = {figure.caption_span_id for figure in desk.corpus.figures.values()}
    if source.kind != "cnxml":  # captions of tables, and of pictures that nobody has approved
        captions = {name: span for name, span in captions.items() if name in shown}
    pool = list(captions.values())
    if len(pool) <= wanted.distractors:
        pool = [
            span
            for other in desk.corpus.documents.values()
            if other.source_id == source.id
            for span in _spans(desk, other, "caption")
            if source.kind == "cnxml" or span.id in shown
        ]
    asked = (("figure_caption", _caption_text), ("figure_title", _title_text))
    for figure in desk.corpus.figures.values():
        if figure.document_id != document.id or figure.caption_span_id is None:
            continue
        caption = captions[figure.caption_span_id]
        axis = axis_of(f"{caption.section} {caption.text}")
        if axis is None:
            desk.drop(source.id, "figure", figure.id, "not about the spine", caption.section)
            continue
        image = desk.fitted(figure, wanted.figure_edge_px)
        evidence = (
            Evidence(kind="figure", id=figure.id, sha256=figure.image_sha256),
            *desk.span_evidence(caption),
        )
        for template, text_of in asked if source.kind == "cnxml" else asked[:1]:
            rng = desk.rng(figure.id, template)
            others = [text_of(span) for span in pool]
            question = choice_question(
                desk.templates[template],
                axis=axis,
                answer=text_of(caption),
                distractors=other_texts(text_of(caption), others, wanted.distractors, rng),
                rng=rng,
            )
            desk.write(
                question,
                source,
                document.group_id,
                evidence,
                about=f"{figure.id}: {template}",
                images=(image,),
                tags=("figure",),
            )


def _caption_text(span: Span) -> str:
    return first_sentence(span.text)


def _title_text(span: Span) -> str:
    return span.section


def _rules(desk: Desk, document: Document, source: Source) -> None:
    """Neighbours and constructs in a regular spine, resting on the sentence that states how vertebrae are numbered."""
    span = next((span for span in _spans(desk, document, "paragraph", "caption") if _NUMBERING.search(span.text)), None)
    if span is None:
        return
    evidence = desk.span_evidence(span)
    for place, level in enumerate(REGULAR.presacral):
        rng = desk.rng(span.id, "rules", level.value)
        for turn, direction in enumerate(_DIRECTIONS):
            question = neighbour_question(
                REGULAR, level, direction, desk.templates, rng, choices=(place + turn) % 2 == 0
            )
            desk.write(question, source, document.group_id, evidence, about=f"{level} {direction}", tags=("text",))
        for choices in (False, True):
            question = stated_construct_question(REGULAR, level, desk.templates, rng, choices=choices)
            desk.write(question, source, document.group_id, evidence, about=f"{level} construct", tags=("text",))
