"""What a model wrote, turned into items: turns, answer, options, evidence.

Convention: the structured value as the model wrote it (and, after revision, as edited) is kept in the item's parts
under `written`, beside the id of its pack; everything else of the item is composed from it, so draft and revision
differ only where their values do. A question on a study that comes without its picture carries the study's record.

Trap: identity is the draft's: evidence, task, language, pictures and words. A revision keeps it without `-draft`.
"""

from __future__ import annotations

import json

from data_pipeline.criteria.checks_written import levels_in
from data_pipeline.items import Desk, Item, compose_turn
from data_pipeline.records import Parts
from data_pipeline.writers.evidence import Pack
from data_pipeline.writers.prompts import Prompt, load_prompts, template_name
from data_pipeline.writers.schemas import (
    REPORT_PARTS,
    Consultation,
    Language,
    MultipleChoice,
    Open,
    Report,
    TaskName,
    Written,
    schema_of,
)
from spinemed import __version__
from spinemed.anatomy import Level
from spinemed.questions import Template, as_options
from spinemed.questions.draft import KEYS
from spinemed.records import Instance, Message, Option, Study, Writer, content_hash, escape_placeholder

__all__ = [
    "EXERCISE_NOTE",
    "Composer",
    "rests_on",
    "written_of",
]

_AXIS = {"level_identification": "level", "pathology": "path", "surgical_planning": "plan"}
_RECORD = {
    "en": ("Record of the study:", "vertebrae in view:", "findings:"),
    "zh": ("检查记录：", "可见椎体：", "所见："),
}
EXERCISE_NOTE = {
    "en": "Research exercise, not a treatment decision.",
    "zh": "Research exercise, not a treatment decision. 仅供研究练习，不是治疗决定。",
}


def written_of(item: Item) -> Written:
    """The structured value of an item."""
    task: TaskName = item.parts.template.removeprefix("written_").rsplit("_", 1)[0]  # type: ignore[assignment]
    value = schema_of(task).model.model_validate_json(item.parts.filled["written"])
    assert isinstance(value, Written)
    return value


class Composer:
    """Makes items on a desk.

    Args:
        desk: Keeps pictures and their derivations.
        edge_px: Longest edge of a figure.
    """

    def __init__(self, desk: Desk, edge_px: int) -> None:
        self.desk, self.edge_px = desk, edge_px
        self._fitted: dict[str, str] = {}

    def pictures(self, pack: Pack) -> tuple[str, ...]:
        """Hashes of a pack's pictures."""
        if pack.figure is not None:
            if pack.figure.id not in self._fitted:  # shrinking and encoding a picture is slow, and tasks share it
                self._fitted[pack.figure.id] = self.desk.fitted(pack.figure, self.edge_px)
            return (self._fitted[pack.figure.id],)
        return () if pack.study is None else (pack.study.image_sha256,)

    def bytes_of(self, digest: str) -> bytes:
        """Bytes of a picture."""
        blob = self.desk.blobs.get(digest) or self.desk.corpus.images[digest]
        return blob.bytes

    def draft(
        self, pack: Pack, task: TaskName, language: Language, written: Written,
        *, pictured: bool, prompt: Prompt, request: str, model: str, tag: str,
    ) -> Item:  # fmt: skip
        """A draft from what a model wrote on a pack."""
        images = self.pictures(pack) if pictured else ()
        plain = written.model_dump(mode="json")
        identity = content_hash([template_name(task, language), pack.id, list(images), plain, tag])[:12]
        instance_id = f"{_AXIS[written.axis]}-{identity}-draft"
        template = self.desk.templates[template_name(task, language)]
        writer = Writer(
            name="model-writer", version=__version__, prompt_sha256=prompt.sha256, request_sha256=request, model=model
        )
        parts = self._parts(instance_id, template.name, written, pack, prompt.heading.question, pictured)
        tags = ("written", rests_on(pack), *_truth(pack))
        return self.assembled(pack, task, language, written, parts, images=images, writer=writer, tags=tags)

    def assembled(
        self, pack: Pack, task: TaskName, language: Language, written: Written, parts: Parts,
        *, images: tuple[str, ...], writer: Writer, tags: tuple[str, ...],
    ) -> Item:  # fmt: skip
        """The draft that a written value and its parts make, whoever wrote them."""
        options, answer = options_of(written)
        template = self.desk.templates[parts.template]
        instance = Instance(
            id=parts.instance_id,
            stage="draft",
            source_id=pack.source.id,
            group_id=pack.group_id,
            origin=pack.source.origin,
            axis=written.axis,
            task=task,
            language=language,
            messages=turns_of(written, parts, template, options, answer, len(images)),
            image_sha256=images,
            answer=last_turn(written, answer, language),
            answer_kind="option" if options else "text",
            options=options,
            levels=levels_of(written, answer, language),
            evidence=pack.evidence(self.desk, [(cited.id, cited.quote) for cited in written.cited]),
            writer=writer,
            tags=tags,
        )
        return Item(instance, parts)

    def revised(self, draft: Item, pack: Pack, written: Written, changes: tuple[str, ...], *, model: str) -> Item:
        """The revision of a draft: the same identity, the value as edited."""
        before = draft.instance
        template = self.desk.templates[draft.parts.template]
        options, answer = options_of(written)
        instance_id = before.id.removesuffix("-draft")
        question = load_prompts()["draft", before.task, before.language].heading.question  # type: ignore[index]
        parts = self._parts(instance_id, template.name, written, pack, question, bool(before.image_sha256))
        update = {
            "id": instance_id,
            "stage": "revised",
            "parent_id": before.id,
            "messages": turns_of(written, parts, template, options, answer, len(before.image_sha256)),
            "answer": last_turn(written, answer, before.language),
            "options": options,
            "levels": levels_of(written, answer, before.language),
            "evidence": pack.evidence(self.desk, [(cited.id, cited.quote) for cited in written.cited]),
            "writer": _reviser(before, changes, template, model),
            "criteria": (),
            "changes": changes,
        }  # fmt: skip
        return Item(Instance.model_validate(before.model_copy(update=update).model_dump()), parts)

    def _parts(
        self, instance_id: str, template: str, written: Written, pack: Pack, fixed: str, pictured: bool
    ) -> Parts:
        values = {
            "question": fixed or _question(written),
            "pack": pack.id,
            "written": json.dumps(written.model_dump(mode="json"), ensure_ascii=False, sort_keys=True),
        }
        language = template.rsplit("_", 1)[1]
        notes = [] if pack.study is None or pictured else [_record(pack.study, language)]
        notes += [EXERCISE_NOTE[language]] if written.axis == "surgical_planning" else []
        return Parts(
            instance_id=instance_id,
            template=template,
            wording=0,
            values=json.dumps(values, ensure_ascii=False, sort_keys=True),
            note="\n".join(notes),
        )


def _record(study: Study, language: str) -> str:
    """What a study's record states, in one line."""
    known = study.numbering_determinable
    seen = ", ".join(mark.level.value for mark in study.marks if known and mark.level is not None)
    told = [
        " ".join(str(part) for part in (f.kind.replace("_", " "), f.level or f.disc or "", f.value, f.grade) if part)
        for f in study.findings
        if known or (f.level is None and f.disc is None)
    ]
    head, levels, found = _RECORD[language]
    line = f"{head} {study.modality}, {study.plane}; {levels} {seen or '-'}; {found} {', '.join(told) or '-'}."
    return escape_placeholder(line)


def _reviser(draft: Instance, changes: tuple[str, ...], template: Template, model: str) -> Writer:
    """Who revised, with the hash of what went in: the draft, and what was changed for which reason."""
    request = {"draft": content_hash(draft), "changes": list(changes), "template": template.sha256}
    return Writer(
        name="model-reviser", version=__version__, prompt_sha256=template.sha256,
        request_sha256=content_hash(request), model=model,
    )  # fmt: skip


def _question(written: Written) -> str:
    if isinstance(written, MultipleChoice | Open):
        return written.question
    assert isinstance(written, Consultation)
    return written.turns[0].text


def rests_on(pack: Pack) -> str:
    """What kind of evidence a pack holds, as drafts are tagged."""
    return "figure" if pack.figure else "study" if pack.study else "text"


def options_of(written: Written) -> tuple[tuple[Option, ...], str]:
    """Options and the letter of the right one; none for other tasks."""
    if not isinstance(written, MultipleChoice):
        return (), ""
    return as_options(written.options), KEYS[written.options.index(written.right)]


def turns_of(
    written: Written, parts: Parts, template: Template, options: tuple[Option, ...], answer: str, images: int
) -> tuple[Message, ...]:
    """The turns of an item: the composed question, what is said in between, the last turn."""
    language = template.name.rsplit("_", 1)[1]
    last = last_turn(written, answer, language)
    first = compose_turn(parts, template, options, last, images=images)
    if not isinstance(written, Consultation):
        return first
    rest = [
        Message(role="user" if turn.speaker == "patient" else "assistant", content=escape_placeholder(turn.text))
        for turn in written.turns[1:]
    ]
    return (first[0], *rest)


def last_turn(written: Written, answer: str, language: str) -> str:
    """The assistant's last turn: a letter, a text, a report."""
    if isinstance(written, MultipleChoice):
        return answer
    if isinstance(written, Open):
        return escape_placeholder(written.answer)
    if isinstance(written, Consultation):
        return escape_placeholder(written.turns[-1].text)
    assert isinstance(written, Report)
    lines = []
    for number, (fields, english, chinese) in REPORT_PARTS.items():
        lines.append(f"{number}. {english if language == 'en' else chinese}")
        lines += [str(getattr(written, name)) for name in fields]
    return escape_placeholder("\n".join(lines))


def levels_of(written: Written, answer: str, language: str) -> tuple[Level, ...]:
    """Vertebrae that the answer names, from the head down."""
    text = written.right if isinstance(written, MultipleChoice) else last_turn(written, answer, language)
    return tuple(sorted(levels_in(text)))


def _truth(pack: Pack) -> tuple[str, ...]:
    return () if pack.study is None else (f"truth:{pack.study.truth}",)
