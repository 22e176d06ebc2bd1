"""What all contracts share: the frozen base, hashes, the closed words of fields.

Trap: a field that joins a record later stays out of its JSON while it is empty (:class:`Sparse`), so that the hashes of
records written before it came still hold.
"""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, StringConstraints, model_serializer

__all__ = [
    "IMAGE_PLACEHOLDER",
    "NOT_DETERMINABLE",
    "AnswerKind",
    "Axis",
    "Origin",
    "Record",
    "Sha256",
    "Sparse",
    "Split",
    "Task",
    "content_hash",
    "escape_placeholder",
]

IMAGE_PLACEHOLDER = "<image>"
"""Stands in a message for the next picture."""
NOT_DETERMINABLE = "not determinable"
"""Canonical answer where the field of view cannot decide the numbering."""

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
"""A hash in lower-case hexadecimal digits."""
Axis = Literal["level_identification", "pathology", "surgical_planning"]
"""What a question is about."""
Task = Literal["multiple_choice", "open", "level", "category", "construct", "measurement", "consultation", "report"]
"""The form in which something is asked."""
AnswerKind = Literal["level", "disc", "levels", "category", "option", "number", "text"]
"""How an answer is read and compared."""
Origin = Literal["real", "phantom"]
"""A patient's picture or a published text, or computed."""
Split = Literal["train", "validation", "test"]
"""Which part of a release a row belongs to."""


class Record(BaseModel):
    """Base of all contracts: frozen, strict about unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=False)


class Sparse(Record):
    """A record to which fields were added: those named in `LATER` are left out of its JSON while they are empty."""

    LATER: ClassVar[tuple[str, ...]] = ()

    @model_serializer(mode="wrap")
    def _as_before(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        plain: dict[str, Any] = handler(self)
        return {name: value for name, value in plain.items() if name not in self.LATER or value not in _EMPTY}


_EMPTY: tuple[Any, ...] = (None, "", (), [])


def content_hash(value: Any) -> str:
    """SHA-256 of the canonical JSON of a record, dict or list (sorted keys, no spaces, UTF-8)."""
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json")
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def escape_placeholder(text: str) -> str:
    """Make a source text harmless inside a message: `<image>` loses its meaning but stays readable."""
    return text.replace(IMAGE_PLACEHOLDER, "< image >")
