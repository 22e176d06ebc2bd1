"""What may leave: a value is sealed until something showed that it identifies nobody, and only then can be read.

Convention: `Sealed` holds a value of unknown status. Its text, its repr, its place in a format string and its pickle
never show the value, so that it cannot slip into a log, an error text or a prompt. `Deidentified` is what passed; only
:func:`clear` and :func:`sign_off` make one, and what drafts asks for it by type.

Trap: "nothing was found" is no proof where nobody could look. Without a text finder, the pixels of a picture are
`unknown`, not `clean`, and stay sealed until a person signs for them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any, Generic, Literal, NoReturn, TypeVar

import numpy as np
from numpy.typing import NDArray

from spinemed.errors import SourceError
from spinemed.records import Record, Sha256, content_hash

__all__ = [
    "DeidRecord",
    "Deidentified",
    "Sealed",
    "SignOff",
    "Status",
    "array_hash",
    "clear",
    "require_cleared",
    "sign_off",
    "text_hash",
]

T = TypeVar("T")
Status = Literal["clean", "review", "unknown"]
"""`clean`: may leave. `review`: looked at, and a person must decide. `unknown`: nobody could look."""


class DeidRecord(Record):
    """How the status of one text, header or picture came about; holds no content of it."""

    id: str
    """Of the document, study or file."""
    kind: Literal["text", "header", "pixels", "face"]
    """What was looked at."""
    status: Status
    """What it may be used for."""
    method: str
    """The rules and their version, the text finder, or the person's role."""
    result_sha256: Sha256
    """Of what came out: a sign-off holds for these bytes only."""
    counts: dict[str, int] = {}
    """How many places were masked, by category."""
    open_points: tuple[str, ...] = ()
    """Why a person must look, by kind: never the words themselves."""


class SignOff(Record):
    """A person's decision on one result."""

    result_sha256: Sha256
    """Hash of the result that was looked at."""
    decision: Literal["clean", "rejected"]
    """Whether it may be used."""
    role: str
    """Of who looked, e.g. `data manager`; names stay with the site."""
    date: str
    """Day of the decision."""
    reason: str
    """In the person's words."""


class Sealed(Generic[T]):
    """A value that may hold protected information. It can be handed about; it cannot be shown or written."""

    __slots__ = ("__value",)

    def __init__(self, value: T) -> None:
        self.__value = value

    def open_for_deidentification(self) -> T:
        """The value, for the code that takes the protected information out."""
        return self.__value

    def __repr__(self) -> str:
        return "<sealed>"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return "<sealed>"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a sealed value cannot be pickled or copied out")


_MADE_HERE = object()


class Deidentified(Generic[T]):
    """A value that passed, with the record of how. Made by :func:`clear` and :func:`sign_off` alone."""

    __slots__ = ("record", "value")

    def __init__(self, value: T, record: DeidRecord, *, made_by: object = None) -> None:
        if made_by is not _MADE_HERE:
            raise TypeError("Deidentified is made by clear() or sign_off(), which hold the status")
        self.value = value
        self.record = record

    def __repr__(self) -> str:
        return f"<deidentified {self.record.kind} {self.record.id}>"


def clear(value: T, record: DeidRecord) -> Deidentified[T]:
    """A value whose record says `clean`.

    Raises:
        SourceError: The status is another one: it stays sealed.
    """
    if record.status != "clean":
        raise SourceError(
            f"the {record.kind} is '{record.status}' ({', '.join(record.open_points) or 'nobody looked'})",
            field=record.id,
            cure="have a person look at it and sign it off, or leave it out",
        )
    return Deidentified(value, record, made_by=_MADE_HERE)


def sign_off(value: T, record: DeidRecord, decisions: Iterable[SignOff]) -> Deidentified[T]:
    """A value that a person cleared: the last decision on exactly these bytes counts.

    Raises:
        SourceError: Nobody decided on it, or the decision was to reject.
    """
    found = [decision for decision in decisions if decision.result_sha256 == record.result_sha256]
    if found and found[-1].decision == "clean":
        method = f"{record.method}; signed off by {found[-1].role} on {found[-1].date}"
        return clear(value, record.model_copy(update={"status": "clean", "method": method, "open_points": ()}))
    if found:
        raise SourceError(f"the {record.kind} was rejected", field=record.id, cure="leave it out")
    return clear(value, record)


def require_cleared(wanted: Iterable[str], records: Iterable[DeidRecord]) -> None:
    """Hold that every id has records and that all of them are clean.

    Raises:
        SourceError: One has none, or one that is not clean.
    """
    found: dict[str, list[DeidRecord]] = {}
    for record in records:
        found.setdefault(record.id, []).append(record)
    for name in wanted:
        if not found.get(name):
            raise SourceError("has no de-identification record", field=name, cure="run `spinemed data deidentify`")
        for record in found[name]:
            clear(None, record)


def text_hash(text: str) -> str:
    """Hash of a text as its records name it."""
    return content_hash(text)


def array_hash(values: NDArray[Any]) -> str:
    """Hash of an array's shape, type and bytes."""
    head = f"{values.shape} {values.dtype.str} ".encode()
    return hashlib.sha256(head + np.ascontiguousarray(values).tobytes()).hexdigest()
