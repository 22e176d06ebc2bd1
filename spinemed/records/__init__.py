"""The contracts: every noun that crosses a package boundary, as a pydantic model.

Convention: a record is frozen, refuses unknown fields, and carries content hashes (lower-case SHA-256 hex) rather than
paths, so that any row can be traced to bytes. Lengths are millimetres, angles degrees, pixel positions (x to the right,
y down) counted from the centre of the top-left pixel.

Trap: text inside `messages` is untrusted. `<image>` in a message stands for the next picture in `images`, in order;
a release is refused when the counts differ, so a source text that happens to contain `<image>` must be escaped first
(:func:`escape_placeholder`).

The road: Source → (Document, Span, Figure, Study, ImageBlob) → Instance (draft, revised) → ReleaseRow → Sample →
Prediction → Score. How these become Parquet and JSONL is in :mod:`spinemed.tables`.
"""

from __future__ import annotations

from spinemed.records.answers import Message, Option
from spinemed.records.base import (
    IMAGE_PLACEHOLDER,
    NOT_DETERMINABLE,
    AnswerKind,
    Axis,
    Origin,
    Record,
    Sha256,
    Sparse,
    Split,
    Task,
    content_hash,
    escape_placeholder,
)
from spinemed.records.bench import (
    CaseFact,
    Condition,
    Outcome,
    Prediction,
    Question,
    RubricItem,
    Sample,
    Score,
    ScoreOutcome,
    ToolCall,
)
from spinemed.records.corpus import (
    Case,
    CaseEvent,
    Document,
    Figure,
    Finding,
    ImageBlob,
    LevelMark,
    PatientBasis,
    Source,
    Span,
    Study,
)
from spinemed.records.instances import CriterionResult, Evidence, Instance, PackedImage, ReleaseRow, Writer
from spinemed.records.review import DIMENSIONS, REPORT_SECTIONS, SPINE_ERRORS, ReaderScore, ReviewVerdict

__all__ = [
    "DIMENSIONS",
    "IMAGE_PLACEHOLDER",
    "NOT_DETERMINABLE",
    "REPORT_SECTIONS",
    "SPINE_ERRORS",
    "AnswerKind",
    "Axis",
    "Case",
    "CaseEvent",
    "CaseFact",
    "Condition",
    "CriterionResult",
    "Document",
    "Evidence",
    "Figure",
    "Finding",
    "ImageBlob",
    "Instance",
    "LevelMark",
    "Message",
    "Option",
    "Origin",
    "Outcome",
    "PackedImage",
    "PatientBasis",
    "Prediction",
    "Question",
    "ReaderScore",
    "Record",
    "ReleaseRow",
    "ReviewVerdict",
    "RubricItem",
    "Sample",
    "Score",
    "ScoreOutcome",
    "Sha256",
    "Source",
    "Span",
    "Sparse",
    "Split",
    "Study",
    "Task",
    "ToolCall",
    "Writer",
    "content_hash",
    "escape_placeholder",
]
