"""Questions on published captions whose pictures are not at hand: level, part of the spine, imaging technique.

Convention: a caption is a span of kind `caption` that no figure owns. Each question has an answer only where the
caption decides it: exactly one level, levels of exactly one region, exactly one technique.

Trap: a level inside a range (C3-C7) or one of several is not *the* level of a caption; such captions give no level
question, but may give one on the region.
"""

from __future__ import annotations

import re

from data_pipeline.drafting.texts import axis_of
from data_pipeline.items import Desk
from data_pipeline.writers.evidence import INSTRUCTION, speaks_to_model
from spinemed.anatomy import Disc, Level, LevelRange, Segment, find_levels
from spinemed.questions import choice_question
from spinemed.questions.draft import compose
from spinemed.records import Span

__all__ = ["TECHNIQUES", "caption_level", "caption_region", "caption_technique", "draft_captions"]

REGIONS = ("cervical", "thoracic", "lumbar", "sacral")
TECHNIQUES = {
    "Radiography": re.compile(r"\bx-?rays?\b|\bradiogra(?:ph|phs|phy|m)\b|\bplain films?\b", re.I),
    "Computed tomography": re.compile(r"(?<![A-Za-z])CT(?![A-Za-z])|\bcomput(?:ed|erized) tomograph", re.I),
    "Magnetic resonance imaging": re.compile(
        r"(?<![A-Za-z])MR(?:I|Is)?(?![A-Za-z])|\bmagnetic resonance|\bT[12][- ]?weighted|\bT2WI\b|\bSTIR\b", re.I
    ),
    "Ultrasound": re.compile(r"\bultraso(?:und|nograph)|\bsonogra|\bUSG\b|\bDoppler\b", re.I),
    "Nuclear imaging": re.compile(r"\bPET\b|\bSPECT\b|\bscintigra|\bbone scan\b", re.I),
    "Angiography": re.compile(r"\bangiogra|\bvenogra|\bmyelogra|\burograph", re.I),
}
"""What a caption calls its technique; contrast studies apart, because they name themselves besides CT or X-ray."""


def caption_level(text: str) -> Level | Disc | None:
    """The one vertebra or disc that a caption names, or None."""
    found = {mention.reading for mention in find_levels(text)}
    (only,) = found if len(found) == 1 else (None,)
    return only if isinstance(only, Level | Disc) else None


def caption_region(text: str) -> str | None:
    """The one part of the spine to which all levels of a caption belong, or None where it names none or several.

    A caption that names the part itself gives nothing to work out.
    """
    levels: set[Level] = set()
    for mention in find_levels(text):
        reading = mention.reading
        if isinstance(reading, Level):
            levels.add(reading)
        elif isinstance(reading, Disc | Segment):
            levels |= {reading.upper, reading.lower}
        elif isinstance(reading, LevelRange):
            levels |= {reading.first, reading.last}
        else:
            return None
    regions = {level.region.value for level in levels}
    if len(regions) != 1 or any(re.search(rf"\b{name[:5]}", text, re.I) for name in REGIONS):
        return None
    (region,) = regions
    return region if region in REGIONS else None


def caption_technique(text: str) -> str | None:
    """The one imaging technique that a caption names, or None."""
    found = [name for name, pattern in TECHNIQUES.items() if pattern.search(text)]
    return found[0] if len(found) == 1 else None


def draft_captions(desk: Desk, distractors: int) -> None:
    """Write the questions of all captions without a figure, in their order.

    Args:
        desk: Where items and drops are kept.
        distractors: Wrong options for each question on the technique.
    """
    owned = {figure.caption_span_id for figure in desk.corpus.figures.values()}
    for document in desk.corpus.documents.values():
        if desk.corpus.sources[document.source_id].kind != "bank":
            continue
        for span in desk.corpus.spans_of.get(document.id, []):
            if span.kind == "caption" and span.id not in owned:
                _caption(desk, span, distractors)


def _caption(desk: Desk, span: Span, distractors: int) -> None:
    document = desk.corpus.documents[span.document_id]
    source = desk.corpus.sources[document.source_id]
    if speaks_to_model(span.text):
        desk.drop(source.id, "caption", span.id, INSTRUCTION)
        return
    level, region, technique = caption_level(span.text), caption_region(span.text), caption_technique(span.text)
    axis = axis_of(span.text) or ("level_identification" if level is not None else None)
    values = {"passage": span.text}
    written = []
    rng = desk.rng(span.id, "caption")
    if level is not None:
        kind = "disc" if isinstance(level, Disc) else "level"
        levels = (level.upper, level.lower) if isinstance(level, Disc) else (level,)
        written.append(
            compose(
                desk.templates["caption_level"], rng, axis="level_identification", task="level", answer=str(level),
                answer_kind=kind, values=values, levels=levels,  # type: ignore[arg-type]
            )
        )  # fmt: skip
    if region is not None:
        written.append(
            compose(
                desk.templates["caption_region"], rng, axis="level_identification", task="category", answer=region,
                answer_kind="category", categories=REGIONS, values=values,
            )
        )  # fmt: skip
    if technique is not None and axis is not None:
        others = [name for name in TECHNIQUES if name != technique]
        order = rng.permutation(len(others)).tolist()[:distractors]
        question = choice_question(
            desk.templates["caption_technique"], axis=axis, answer=technique,
            distractors=[others[place] for place in order], rng=rng, passage=span.text,
        )  # fmt: skip
        if question is not None:
            written.append(question)
    if not written:
        desk.drop(source.id, "caption", span.id, "the caption decides neither level, region nor technique")
    for question in written:
        desk.write(
            question, source, document.group_id, desk.span_evidence(span), about=span.id, tags=("text", "caption")
        )
