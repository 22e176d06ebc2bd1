"""What a model is shown: packs of evidence cut from the corpus, each with the ids that may be cited.

Convention: a pack is a stretch of one document's spans (as many as fit, in reading order, within one section), a figure
with its caption and the paragraphs that mention it, or a study with what its record states. Packs come in the order of
the corpus, and their ids are made of what they hold.

Trap: a pack never mixes sources: where its content may be sent is the source's rule.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from data_pipeline.corpus import Corpus
from data_pipeline.drafting.texts import axis_of
from data_pipeline.items import Desk
from spinemed.chat import Egress
from spinemed.records import Document, Evidence, Figure, Source, Span, Study, content_hash

__all__ = ["INSTRUCTION", "Pack", "PackKind", "egress_of", "packs_of", "speaks_to_model"]

PackKind = Literal["documents", "figures", "studies"]
_TOLD = ("paragraph", "answer", "definition")
"""Kinds of spans shown; captions come with their figures."""
_SHORTEST = 200
INSTRUCTION = "reads like an instruction to a model"
"""Why nothing is asked about a stretch of evidence."""
_INJECTIONS = Path(__file__).parents[1] / "prompts" / "injections.txt"


@dataclass(frozen=True)
class Pack:
    """One pack of evidence."""

    kind: PackKind
    source: Source
    group_id: str
    spans: tuple[Span, ...] = ()
    figure: Figure | None = None
    study: Study | None = None
    title: str = ""
    """Of the document; decides with the spans whether it is about the spine."""

    @property
    def unfit(self) -> str:
        """Why nothing is asked about it, or an empty text."""
        text = " ".join(span.text for span in self.spans)
        if speaks_to_model(" ".join([self.title, *_strings(self.shown())])):  # headings and labels speak as well
            return INSTRUCTION
        if self.kind != "documents":
            return ""
        if len(text) < _SHORTEST:
            return "too short a section"
        return "" if axis_of(f"{self.title} {text}") is not None else "not about the spine"

    @property
    def id(self) -> str:
        """Hash of the ids it holds."""
        held = [span.id for span in self.spans]
        held += [record.id for record in (self.figure, self.study) if record is not None]
        return content_hash([self.kind, *held])[:16]

    @property
    def ids(self) -> set[str]:
        """What may be cited."""
        found = {span.id for span in self.spans}
        return found | {record.id for record in (self.figure, self.study) if record is not None}

    def shown(self) -> dict[str, Any]:
        """The evidence as the model sees it."""
        told: dict[str, Any] = {}
        if self.spans:
            told["spans"] = [
                {"id": span.id, "kind": span.kind, "section": span.section, "text": span.text} for span in self.spans
            ]
        if self.figure is not None:
            told["figures"] = [
                {"id": self.figure.id, "label": self.figure.label, "caption": self.figure.caption_span_id}
            ]
        if self.study is not None:
            told["series"] = [_series(self.study)]
        return told

    def evidence(self, desk: Desk, cited: list[tuple[str, str]]) -> tuple[Evidence, ...]:
        """Citations (id, quote) as evidence, documents once at the end; every id must be one of :attr:`ids`."""
        spans = {span.id: span for span in self.spans}
        found: list[Evidence] = []
        documents: dict[str, Evidence] = {}
        for name, quote in dict.fromkeys(cited):
            if name in spans:
                cited_span, its_document = desk.span_evidence(spans[name], quote)
                found.append(cited_span)
                documents[its_document.id] = its_document
            elif self.figure is not None and name == self.figure.id:
                found.append(Evidence(kind="figure", id=name, sha256=self.figure.image_sha256))
            elif self.study is not None:
                found.append(desk.study_evidence(self.study))
        if self.figure is not None and not documents:
            document = desk.corpus.documents[self.figure.document_id]
            documents[document.id] = Evidence(kind="document", id=document.id, sha256=document.sha256)
        return (*dict.fromkeys(found), *documents.values())


def _strings(value: Any) -> Iterator[str]:
    """All texts of a nested value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _strings(part)


def speaks_to_model(text: str) -> bool:
    """Whether a source text holds what is written for a model to read, by `prompts/injections.txt`."""
    return _injections().search(text) is not None


@functools.cache
def _injections() -> re.Pattern[str]:
    lines = _INJECTIONS.read_text(encoding="utf-8").splitlines()
    return re.compile("|".join(line for line in lines if line and not line.startswith("#")), re.I)


def _series(study: Study) -> dict[str, Any]:
    """What a study's record states, without file names or patients."""
    determinable = study.numbering_determinable
    return {
        "id": study.id,
        "modality": study.modality,
        "plane": study.plane,
        "origin": "computed picture, not a patient" if study.origin == "phantom" else "picture of a person",
        "truth": study.truth,
        "pixel_mm": study.spacing_mm,
        "numbering": "determinable" if determinable else "not determinable: name no level",
        "vertebrae_in_view": [mark.level.value for mark in study.marks if mark.level] if determinable else [],
        "findings": [
            json.loads(finding.model_dump_json(exclude_none=True))
            for finding in study.findings
            if determinable or (finding.level is None and finding.disc is None)
        ],
        "caveats": list(study.caveats),
    }


def egress_of(source: Source) -> Egress:
    """Where content of a source may be sent."""
    return Egress(allow=source.egress, hosts=source.egress_hosts)


def packs_of(corpus: Corpus, *, characters: int) -> Iterator[Pack]:
    """All packs of a corpus.

    Args:
        corpus: What the readers made.
        characters: The most characters of spans in one pack; a single longer span stands alone and whole.
    """
    for document in corpus.documents.values():
        source = corpus.sources[document.source_id]
        yield from _document_packs(corpus, document, source, characters)
    for figure in corpus.figures.values():
        document = corpus.documents[figure.document_id]
        told = [name for name in (figure.caption_span_id, *figure.mention_span_ids) if name is not None]
        spans = tuple(corpus.spans[name] for name in dict.fromkeys(told))
        yield Pack("figures", corpus.sources[document.source_id], document.group_id, spans, figure)
    for study in corpus.studies.values():
        yield Pack("studies", corpus.sources[study.source_id], study.group_id, study=study)


def _document_packs(corpus: Corpus, document: Document, source: Source, characters: int) -> Iterator[Pack]:
    """Spans of one section, cut where the next one would pass the limit."""
    held: list[Span] = []
    for span in corpus.spans_of.get(document.id, []):
        if span.kind not in _TOLD:
            continue
        size = sum(len(other.text) for other in held)
        if held and (span.section != held[0].section or size + len(span.text) > characters):
            yield Pack("documents", source, document.group_id, tuple(held), title=document.title)
            held = []
        held.append(span)
    if held:
        yield Pack("documents", source, document.group_id, tuple(held), title=document.title)
