"""An instance together with the parts its user turn is composed of, and the desk on which drafts are written.

Convention: the user turn is pictures, then the filled template, then a note, then the options. `compose_turn` is the
only place that writes it, so draft and revision differ only where their parts differ.

Trap: an id is made of what was asked about (template, evidence, pictures, values), not of the wording; two wordings of
one question are twins, and the second is dropped.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from data_pipeline.corpus import Corpus
from data_pipeline.readers.reading import Drop
from data_pipeline.records import Derivation, Parts
from spinemed import __version__
from spinemed.marks import Mark, apply_mark, make_mark, png_bytes
from spinemed.questions import QuestionDraft, Template, question_messages
from spinemed.records import (
    Evidence,
    Figure,
    ImageBlob,
    Instance,
    Message,
    Option,
    Source,
    Span,
    Study,
    Writer,
    content_hash,
)
from spinemed.tables import read_records, write_jsonl, write_records

__all__ = ["Desk", "Item", "compose_turn", "read_items", "text_sha256", "write_items"]

WRITER = "rule-writer"
_AXIS = {"level_identification": "level", "pathology": "path", "surgical_planning": "plan"}


@dataclass(frozen=True)
class Item:
    """One instance and its parts."""

    instance: Instance
    parts: Parts


def text_sha256(text: str) -> str:
    """SHA-256 of a text's UTF-8 bytes."""
    return hashlib.sha256(text.encode()).hexdigest()


def compose_turn(
    parts: Parts, template: Template, options: Sequence[Option], answer: str, *, images: int
) -> tuple[Message, ...]:
    """The messages of an instance from its parts."""
    text = template.fill(parts.wording, parts.filled)
    if parts.note:
        text = f"{text}\n{parts.note}"
    return question_messages(text, options, answer, images=images)


@dataclass
class Desk:
    """Where drafts of one build are collected."""

    corpus: Corpus
    templates: dict[str, Template]
    seed: int
    mark_style: Any = "ring"
    items: list[Item] = field(default_factory=list)
    blobs: dict[str, ImageBlob] = field(default_factory=dict)
    derivations: dict[str, Derivation] = field(default_factory=dict)
    tried: Counter[str] = field(default_factory=Counter)
    drops: list[Drop] = field(default_factory=list)
    seen: dict[str, str] = field(default_factory=dict)
    drawn: dict[tuple[str, float, float], str] = field(default_factory=dict)
    opened: tuple[str, np.ndarray] | None = None

    def rng(self, *names: str) -> np.random.Generator:
        """A generator of its own for one record and purpose: order and number of workers change nothing."""
        digest = hashlib.sha256("\x1f".join(names).encode()).digest()
        return np.random.default_rng([self.seed, *np.frombuffer(digest[:16], dtype="<u4").tolist()])

    def drop(self, source_id: str, unit: str, item: str, reason: str, note: str = "") -> None:
        """Count a question that was tried and not written."""
        self.tried[source_id] += 1
        self.drops.append(Drop(stage="draft", source_id=source_id, unit=unit, item=item, reason=reason, note=note))

    # --- pictures ----------------------------------------------------------------------------------------------------

    def marked(self, study: Study, x_px: float, y_px: float) -> str:
        """Hash of the study's picture with a mark at a point; the picture and its derivation are kept."""
        if self.opened is None or self.opened[0] != study.image_sha256:
            with Image.open(io.BytesIO(self.corpus.images[study.image_sha256].bytes)) as picture:
                self.opened = (study.image_sha256, np.asarray(picture))
        array = self.opened[1]
        mark = make_mark(array.shape, (x_px, y_px), style=self.mark_style)
        place = (study.image_sha256, x_px, y_px)
        if place not in self.drawn:  # encoding a PNG is the slowest thing here, and one vertebra is asked about twice
            marked = apply_mark(array, mark)
            parameters = mark.model_dump(mode="json")
            self.drawn[place] = self._keep(study.image_sha256, study.id, "mark", parameters, marked)
        return self.drawn[place]

    def fitted(self, figure: Figure, edge_px: int) -> str:
        """Hash of the figure's picture as PNG, its longer edge at most `edge_px`."""
        parameters = {"edge_px": edge_px}
        array = fit_picture(self.corpus.images[figure.image_sha256].bytes, edge_px)
        return self._keep(figure.image_sha256, figure.id, "fit", parameters, array)

    def _keep(self, origin: str, owner: str, operation: Any, parameters: dict[str, Any], array: np.ndarray) -> str:
        data = png_bytes(array)
        digest = hashlib.sha256(data).hexdigest()
        if digest not in self.blobs:
            self.blobs[digest] = ImageBlob(
                sha256=digest, bytes=data, format="png", width_px=array.shape[1], height_px=array.shape[0]
            )
            self.derivations[digest] = Derivation(
                sha256=digest,
                from_sha256=origin,
                owner_id=owner,
                operation=operation,
                parameters=json.dumps(parameters, sort_keys=True),
            )
        return digest

    # --- evidence ----------------------------------------------------------------------------------------------------

    def span_evidence(self, span: Span, quote: str | None = None) -> tuple[Evidence, Evidence]:
        """A span with its quote, and the document file it stands in."""
        document = self.corpus.documents[span.document_id]
        return (
            Evidence(
                kind="span", id=span.id, sha256=text_sha256(span.text), quote=span.text if quote is None else quote
            ),
            Evidence(kind="document", id=document.id, sha256=document.sha256),
        )

    def study_evidence(self, study: Study) -> Evidence:
        """The study record."""
        return Evidence(kind="study", id=study.id, sha256=content_hash(study))

    # --- instances ---------------------------------------------------------------------------------------------------

    def write(
        self,
        question: QuestionDraft | None,
        source: Source,
        group_id: str,
        evidence: tuple[Evidence, ...],
        *,
        about: str,
        images: tuple[str, ...] = (),
        tags: tuple[str, ...] = (),
    ) -> None:
        """Turn a question into a draft instance, or count why not.

        Args:
            question: What a question function returned; None when it had nothing to ask.
            source: Where the content comes from.
            group_id: The cluster.
            evidence: What the answer rests on.
            about: What the question is about, for the account of dropped ones.
            images: Hashes of its pictures.
            tags: Further tags.
        """
        if question is None:
            self.drop(source.id, "question", about, "no such question for this record")
            return
        values = json.dumps(dict(question.values), sort_keys=True, ensure_ascii=False)
        ingredients = {
            "template": question.template.name,
            "values": values,
            "answer": question.answer,
            "evidence": [[part.kind, part.id, part.sha256] for part in evidence],
            "images": list(images),
            "task": question.task,
        }
        base = f"{_AXIS[question.axis]}-{content_hash(ingredients)[:12]}"
        draft_id = f"{base}-draft"
        parts = Parts(instance_id=draft_id, template=question.template.name, wording=question.wording, values=values)
        messages = compose_turn(parts, question.template, question.options, question.answer, images=len(images))
        request = {**ingredients, "wording": question.wording, "sha256": question.template.sha256, "seed": self.seed}
        instance = Instance(
            id=draft_id,
            stage="draft",
            source_id=source.id,
            group_id=group_id,
            origin=source.origin,
            axis=question.axis,
            task=question.task,
            messages=messages,
            image_sha256=images,
            answer=question.answer,
            answer_kind=question.answer_kind,
            options=question.options,
            categories=question.categories,
            levels=question.levels,
            evidence=evidence,
            writer=Writer(
                name=WRITER,
                version=__version__,
                prompt_sha256=question.template.sha256,
                request_sha256=content_hash(request),
            ),
            tags=(*question.tags, *tags),
        )
        self.add(Item(instance, parts))

    def add(self, item: Item) -> None:
        """Keep an item, unless its question and pictures were there before."""
        instance = item.instance
        key = content_hash([instance.messages[0].content, list(instance.image_sha256)])
        twin = self.seen.get(instance.id) or self.seen.get(key)
        if twin is not None:
            reason = "same question and pictures as another"
            self.drop(instance.source_id, "question", instance.id, reason, twin)
            return
        self.seen[instance.id] = self.seen[key] = instance.id
        self.tried[instance.source_id] += 1
        self.items.append(item)

    def merge(self, other: Desk) -> None:
        """Take over what was written on another desk of the same build."""
        for drop in other.drops:
            self.tried[drop.source_id] += 1
            self.drops.append(drop)
        for item in other.items:
            self.add(item)
        self.blobs.update(other.blobs)
        self.derivations.update(other.derivations)


def fit_picture(data: bytes, edge_px: int) -> np.ndarray:
    """A picture as uint8 RGB (H, W, 3), shrunk so that its longer edge is at most `edge_px`; never enlarged."""
    with Image.open(io.BytesIO(data)) as picture:
        colour = picture.convert("RGB")
    scale = min(1.0, edge_px / max(colour.size))
    size = (max(1, round(colour.width * scale)), max(1, round(colour.height * scale)))
    return np.asarray(colour if size == colour.size else colour.resize(size, Image.Resampling.LANCZOS))


def redo_derivation(derivation: Derivation, original: bytes) -> bytes:
    """Make a derived picture again from the bytes it came from."""
    parameters = json.loads(derivation.parameters)
    if derivation.operation == "fit":
        return png_bytes(fit_picture(original, parameters["edge_px"]))
    with Image.open(io.BytesIO(original)) as picture:
        return png_bytes(apply_mark(np.asarray(picture), Mark.model_validate(parameters)))


def write_items(folder: Path, items: Sequence[Item], drops: Sequence[Drop]) -> None:
    """Write instances, parts and the account of dropped ones into a folder."""
    write_records(folder / "instances.parquet", Instance, (item.instance for item in items))
    write_records(folder / "parts.parquet", Parts, (item.parts for item in items))
    write_jsonl(folder / "dropped.jsonl", drops)


def read_items(folder: Path) -> list[Item]:
    """Read what :func:`write_items` wrote.

    Raises:
        ReadError, RecordError: A table is missing, truncated or breaks its contract.
    """
    parts = {part.instance_id: part for part in read_records(folder / "parts.parquet", Parts)}
    return [Item(instance, parts[instance.id]) for instance in read_records(folder / "instances.parquet", Instance)]
