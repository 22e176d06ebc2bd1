"""The four tasks on the desk: items from structured facts and from source sentences, composed as a model's are.

Convention: an item of the rule writer has the same parts, turns and six headings as one that a model wrote; only its
template is named `ruled_TASK_LANGUAGE`, and its writer says `rules`. Studies give all tasks in both languages and
forms; texts give open questions in the source's own words, in its own language.

Trap: a source text that speaks to a model is asked about by nobody, here as well: what is released is read by models.
"""

from __future__ import annotations

import json
import re

import numpy as np

from data_pipeline.config_tasks import StudyTasks, TextTasks
from data_pipeline.drafting.tasks.facts import facts_of
from data_pipeline.drafting.tasks.texts import Unworded, record_line, write_task
from data_pipeline.drafting.tasks.words import Words, load_words, template_of
from data_pipeline.drafting.texts import axis_of
from data_pipeline.items import Desk, Item
from data_pipeline.records import Parts
from data_pipeline.writers.compose import EXERCISE_NOTE, Composer, rests_on
from data_pipeline.writers.evidence import INSTRUCTION, Pack, speaks_to_model
from data_pipeline.writers.schemas import Citation, Consultation, Language, MultipleChoice, Open, TaskName, Written
from spinemed import __version__
from spinemed.questions import SOLVABLE_FROM_TEXT
from spinemed.records import Axis, Span, Study, Writer, content_hash

__all__ = ["draft_study_tasks", "draft_text_tasks"]

WRITER = "rule-writer"
_AXIS = {"level_identification": "level", "pathology": "path", "surgical_planning": "plan"}
_TASKS: tuple[TaskName, ...] = ("multiple_choice", "open", "consultation", "report")
_SENTENCE_END = re.compile(r"(?<=[a-z0-9)\]”\"])[.!?](?=\s+[A-Z(\[\"“]|$)")
_LONGEST_ANSWER = 700
_FEWEST_CHARACTERS = 40


def draft_study_tasks(desk: Desk, study: Study, wanted: StudyTasks, *, columns: tuple[str, ...] = ()) -> None:
    """Write the tasks wanted of one study, in each language and form.

    Args:
        desk: Where items, pictures and drops are kept.
        study: The study.
        wanted: How many of each task.
        columns: Further tags, such as an unusual column.
    """
    source = desk.corpus.sources[study.source_id]
    pack = Pack("studies", source, study.group_id, study=study)
    facts = facts_of(study)
    composer = Composer(desk, 1)  # studies are shown as they are; the edge is for figures
    for task in _TASKS:
        draw = desk.rng(study.id, "task", task)
        number = float(getattr(wanted, task))
        times = int(number) + int(draw.random() < number - int(number))
        for turn in range(times):
            for language in wanted.languages:
                words = load_words(task, language)
                for form in wanted.forms:
                    choose = desk.rng(study.id, task, str(turn))
                    rng = desk.rng(study.id, task, str(turn), language, form)
                    about = f"{study.id}: {task} {language} {form}"
                    try:
                        written = write_task(facts, words, form, choose, rng)
                        record = record_line(facts, words, rng) if form == "text" else ""
                    except Unworded as error:
                        desk.drop(source.id, "question", about, "a finding has no words in this language", str(error))
                        continue
                    if written is None:
                        desk.drop(source.id, "question", about, "no such question for this record")
                        continue
                    tags = (study.modality, study.plane, f"truth:{study.truth}", *columns)
                    desk.add(_item(composer, pack, task, words, written, form == "image", record, tags))


def draft_text_tasks(desk: Desk, wanted: TextTasks, edge_px: int) -> None:
    """Write open questions on texts and figures, answered in the words of their sources.

    Args:
        desk: Where items, pictures and drops are kept.
        wanted: Which kinds.
        edge_px: Longest edge of a figure in the release.
    """
    composer, words = Composer(desk, edge_px), load_words("open", "en")
    if wanted.answers:
        for document in desk.corpus.documents.values():
            if desk.corpus.sources[document.source_id].kind == "medquad":
                _printed_answers(desk, composer, words, document.id)
    if wanted.figures:
        _figures(desk, composer, words)


def _printed_answers(desk: Desk, composer: Composer, words: Words, document_id: str) -> None:
    document = desk.corpus.documents[document_id]
    source = desk.corpus.sources[document.source_id]
    spans = desk.corpus.spans_of.get(document.id, [])
    for question in (span for span in spans if span.kind == "question"):
        answer = next((span for span in spans if span.kind == "answer" and span.locator == question.locator), None)
        quote = "" if answer is None else _sentences(answer.text)
        axis = axis_of(f"{document.title} {question.text} {quote}") or "pathology"
        if answer is None or not quote:
            desk.drop(source.id, "answer", question.id, "the answer does not begin with whole sentences")
            continue
        pack = Pack("documents", source, document.group_id, (question, answer), title=document.title)
        asked = re.sub(r"\s+\?", "?", re.sub(r"\s*\((?:are|is)\)", "", question.text)).strip()
        if not asked.endswith("?"):
            desk.drop(source.id, "answer", question.id, "the printed question asks nothing")
            continue
        _source_words(desk, composer, words, pack, axis, asked, answer, quote, pictured=False)


def _figures(desk: Desk, composer: Composer, words: Words) -> None:
    for figure in desk.corpus.figures.values():
        document = desk.corpus.documents[figure.document_id]
        source = desk.corpus.sources[document.source_id]
        caption = None if figure.caption_span_id is None else desk.corpus.spans[figure.caption_span_id]
        axis = None if caption is None else axis_of(f"{caption.section} {caption.text}")
        if caption is None or axis is None or document.language != "en":
            desk.drop(source.id, "open figure", figure.id, "no English caption, or not about the spine")
            continue
        quote = _sentences(caption.text)
        if not quote:
            desk.drop(source.id, "open figure", figure.id, "the caption does not begin with whole sentences")
            continue
        pack = Pack("figures", source, document.group_id, (caption,), figure)
        asked = words.say("ask_figure", desk.rng(figure.id, "open"))
        _source_words(desk, composer, words, pack, axis, asked, caption, quote, pictured=True)


def _source_words(
    desk: Desk, composer: Composer, words: Words, pack: Pack, axis: Axis, asked: str, span: Span, quote: str,
    *, pictured: bool,
) -> None:  # fmt: skip
    """Keep an open question whose answer is a quotation, unless the source speaks to a model."""
    if speaks_to_model(f"{pack.title} {asked} {span.text}"):
        desk.drop(pack.source.id, "question", span.id, INSTRUCTION)
        return
    cited = [Citation(id=span.id, quote=quote)]
    if pack.figure is not None:
        cited.append(Citation(id=pack.figure.id, quote=""))
    elif pack.spans[0] is not span:
        cited.append(Citation(id=pack.spans[0].id, quote=pack.spans[0].text))
    written = Open(axis=axis, cited=cited, question=asked, answer=quote)
    desk.add(_item(composer, pack, "open", words, written, pictured, "", ()))


def _sentences(text: str) -> str:
    """Whole sentences from the start, as many as fit; empty where the text does not begin like one.

    A first sentence that asks again what was asked is left out.
    """
    asked = re.match(r"[^.!?]*\?\s+", text)
    text = text if asked is None else text[asked.end() :]
    if not re.match(r"[A-Z(\[\"“]", text) or "__" in text:
        return ""
    ends = [match.end() for match in _SENTENCE_END.finditer(text) if match.end() <= _LONGEST_ANSWER]
    return text[: ends[-1]] if ends and ends[-1] >= _FEWEST_CHARACTERS else ""


def _item(
    composer: Composer, pack: Pack, task: TaskName, words: Words, written: Written, pictured: bool, record: str,
    tags: tuple[str, ...],
) -> Item:  # fmt: skip
    """A draft, composed as those that a model writes."""
    language: Language = words.language
    images = composer.pictures(pack) if pictured else ()
    plain = written.model_dump(mode="json")
    name = template_of(task, language)
    identity = content_hash([name, pack.id, list(images), plain])[:12]
    instance_id = f"{_AXIS[written.axis]}-{identity}-draft"
    template = composer.desk.templates[name]
    notes = [note for note in (record, EXERCISE_NOTE[language] if written.axis == "surgical_planning" else "") if note]
    values = {
        "question": _question(written, words),
        "pack": pack.id,
        "written": json.dumps(plain, ensure_ascii=False, sort_keys=True),
    }
    parts = Parts(
        instance_id=instance_id,
        template=name,
        wording=0,
        values=json.dumps(values, ensure_ascii=False, sort_keys=True),
        note="\n".join(notes),
    )
    request = {"template": template.sha256, "pack": pack.id, "written": plain, "seed": composer.desk.seed}
    writer = Writer(
        name=WRITER, version=__version__, prompt_sha256=template.sha256, request_sha256=content_hash(request)
    )
    alone = (SOLVABLE_FROM_TEXT,) if images and values["question"] in _same_whatever_the_picture(words) else ()
    tags = (name, "ruled", rests_on(pack), *tags, *alone)
    return composer.assembled(pack, task, language, written, parts, images=images, writer=writer, tags=tags)


def _question(written: Written, words: Words) -> str:
    if isinstance(written, MultipleChoice | Open):
        return written.question
    if isinstance(written, Consultation):
        return written.turns[0].text
    return words.say("question", np.random.default_rng(0))


def _same_whatever_the_picture(words: Words) -> tuple[str, ...]:
    """Questions whose answer any picture of the kind shares."""
    return words.phrases.get("ask_showable", ())
