"""What a reader returns: records, pictures, and the account of everything it met.

Convention: a reader counts each thing it finds by unit (`document`, `figure`, `pair`, `study`, ...) and ends each in
exactly one of kept, dropped (with a reason) or failed; :meth:`Reading.check` holds the sum.

Trap: ids are content hashes, so the same paragraph read twice has one id; the corpus writer refuses the second.
"""

from __future__ import annotations

import difflib
import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from data_pipeline.records import FigurePair
from spinemed.errors import SourceError
from spinemed.records import Case, Document, Figure, ImageBlob, Source, Span, Study, content_hash

__all__ = ["Blocks", "Drop", "Reading", "SpanKind", "read_options", "short_id"]

SpanKind = Literal["paragraph", "heading", "caption", "question", "answer", "definition", "list_item"]


Options = TypeVar("Options", bound=BaseModel)


def read_options(source: Source, model: type[Options]) -> Options:
    """The options of a source, validated for its reader.

    Raises:
        SourceError: A field is unknown, absent or impossible; the message names it and the nearest known one.
    """
    try:
        return model.model_validate(source.options)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, ("sources", source.id, "options", *first["loc"])))
        if first["type"] == "extra_forbidden":
            names = _fields_at(model, first["loc"][:-1])
            near = difflib.get_close_matches(str(first["loc"][-1]), names, n=1)
            cure = f"did you mean '{near[0]}'?" if near else f"known fields are {', '.join(names)}"
            raise SourceError("is no known field", field=field, cure=cure) from error
        problem = "is required and absent" if first["type"] == "missing" else first["msg"].removeprefix("Value error, ")
        cure = f"see the options in data_pipeline/readers/{source.kind}.py"
        raise SourceError(problem, field=field, cure=cure) from error


def _fields_at(model: type[BaseModel], place: tuple[Any, ...]) -> list[str]:
    """Names of the fields of the model that a fault's location leads into."""
    found: Any = model
    for part in place:
        if not isinstance(part, str):
            continue
        inner = found.model_fields[part].annotation
        found = next((a for a in (inner, *getattr(inner, "__args__", ())) if hasattr(a, "model_fields")), found)
    return list(found.model_fields)


class Drop(BaseModel):
    """One thing that was left out, and why."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    stage: Literal["read", "draft", "revise", "release"]
    """Where it was left out."""
    source_id: str
    """Source that it came from."""
    unit: str
    """What sort of thing it is."""
    item: str
    """Which one: a file, an id, an address inside a file."""
    reason: str
    """A short phrase that groups: the reasons are counted."""
    note: str = ""
    """Which one, and what was found."""
    outcome: Literal["dropped", "failed"] = "dropped"
    """Left out by rule, or because it could not be read."""


def short_id(prefix: str, *parts: object) -> str:
    """An id from content: prefix and 16 hex digits of the hash of the parts."""
    return f"{prefix}-{content_hash(list(parts))[:16]}"


@dataclass
class Reading:
    """Records of one source, or of one file of it."""

    source_id: str
    documents: list[Document] = field(default_factory=list)
    spans: list[Span] = field(default_factory=list)
    figures: list[Figure] = field(default_factory=list)
    studies: list[Study] = field(default_factory=list)
    images: list[ImageBlob] = field(default_factory=list)
    cases: list[Case] = field(default_factory=list)
    figure_pairs: list[FigurePair] = field(default_factory=list)
    """Which caption was given to which picture where no markup says so, sure or not."""
    found: Counter[str] = field(default_factory=Counter)
    kept: Counter[str] = field(default_factory=Counter)
    drops: list[Drop] = field(default_factory=list)

    def keep(self, unit: str) -> None:
        """Count one thing that was found and kept."""
        self.found[unit] += 1
        self.kept[unit] += 1

    def drop(self, unit: str, item: str, reason: str, note: str = "", *, failed: bool = False) -> None:
        """Count one thing that was found and left out."""
        self.found[unit] += 1
        outcome: Literal["dropped", "failed"] = "failed" if failed else "dropped"
        self.drops.append(
            Drop(
                stage="read", source_id=self.source_id, unit=unit, item=item, reason=reason, note=note, outcome=outcome
            )
        )

    def add(self, other: Reading) -> None:
        """Append what another reading of the same source holds."""
        self.documents += other.documents
        self.spans += other.spans
        self.figures += other.figures
        self.studies += other.studies
        self.images += other.images
        self.cases += other.cases
        self.figure_pairs += other.figure_pairs
        self.found += other.found
        self.kept += other.kept
        self.drops += other.drops

    def check(self) -> None:
        """Hold in = kept + dropped + failed for every unit."""
        left_out = Counter(drop.unit for drop in self.drops)
        for unit, number in self.found.items():
            if number != self.kept[unit] + left_out[unit]:
                raise AssertionError(
                    f"{self.source_id}: {number} {unit} found, {self.kept[unit]} kept, {left_out[unit]} left out"
                )


_RECOMMENDS = re.compile(
    r"\brecommend(?:s|ed|ation)?\b|\bshould (?:not )?be\b|\bsuggest(?:s|ed)?\b|推荐|建议", re.IGNORECASE
)
_STRENGTH = re.compile(
    r"\b(strong|weak|conditional)(?:ly)? (?:for |against )?recommend|"
    r"\bstrength[^.;]{0,40}?\b(strong|weak|conditional)\b|"
    r"(强|弱)推荐|推荐强度[:：]?\s?(强|弱)",
    re.IGNORECASE,
)
_GRADE = re.compile(
    r"\b(?:grade|class)[ :]{1,2}(?:of (?:evidence|recommendation)[ :]{1,2})?([A-D]|I{1,3}V?|[1-5][abc]?)"
    r"(?![A-Za-z0-9])|\b(?:evidence level|level of evidence|LoE)[ :]{1,3}([1-5][abc]?|I{1,3}V?|[A-D])(?![A-Za-z0-9])|"
    r"\b(very low|high|moderate|low)[ -](?:quality|certainty)(?: of)? evidence|"
    r"证据(?:等级|级别|质量)[:：]?\s?([A-D1-5][abc]?|高|中|低)",
    re.IGNORECASE,
)


def _recommendation(text: str, kind: str) -> dict[str, Any]:
    """Strength and evidence grade of a guideline's sentence, only where it recommends something and states them."""
    if kind not in ("paragraph", "list_item") or not _RECOMMENDS.search(text):
        return {}
    found: dict[str, Any] = {}
    if strength := _STRENGTH.search(text):
        word = next(group for group in strength.groups() if group).lower()
        found["strength"] = "strong" if word in ("strong", "强") else "weak"
    if grade := _GRADE.search(text):
        found["evidence_grade"] = next(group for group in grade.groups() if group)
    return found


class Blocks:
    """The growing text of one document and its spans."""

    def __init__(self, document_id: str) -> None:
        self.document_id = document_id
        self.parts: list[str] = []
        self.length = 0
        self.spans: list[Span] = []

    def add(self, kind: SpanKind, text: str, section: str, locator: str) -> str | None:
        """Append one block; returns its span id, or None when it holds no words."""
        text = " ".join(text.split())
        if not text:
            return None
        if self.parts:
            self.length += 2
        start = self.length
        self.parts.append(text)
        self.length += len(text)
        span_id = short_id("span", self.document_id, start, text)
        self.spans.append(
            Span(
                id=span_id,
                document_id=self.document_id,
                kind=kind,
                start=start,
                end=self.length,
                text=text,
                section=section,
                locator=locator,
                **_recommendation(text, kind),
            )
        )
        return span_id

    @property
    def text(self) -> str:
        """The document's text: spans index into it."""
        return "\n\n".join(self.parts)
