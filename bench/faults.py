"""Errors of single cases as records: a faulty file is one case's, and never stops the others.

Convention: folders are written by what they are ("PREDICTION"), so that the same data elsewhere give the same bytes.

Trap: only errors that a user can mend become records; anything else keeps its traceback.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from spinemed.errors import SpineMedError
from spinemed.records import Record

__all__ = ["FoundError", "error_fields"]


class FoundError(Record):
    """An error of one case as a record."""

    kind: str
    """Name of the error's class."""
    problem: str
    file: str | None = None
    field: str | None = None
    cure: str | None = None

    @property
    def text(self) -> str:
        """One line."""
        return str(SpineMedError(self.problem, file=self.file, field=self.field, cure=self.cure))


def error_fields(error: SpineMedError, roots: Mapping[str, str] | None = None) -> dict[str, str | None]:
    """The fields of a `FoundError` from what was raised.

    Args:
        error: What was raised.
        roots: From folder to what stands for it.
    """

    def plain(text: str | None) -> str | None:
        for folder, name in sorted((roots or {}).items(), key=lambda item: -len(item[0])):
            text = None if text is None else text.replace(folder.rstrip(os.sep), name)
        return text

    return {
        "kind": type(error).__name__,
        "problem": " ".join((plain(error.problem) or "").split()),
        "file": plain(error.file),
        "field": error.field,
        "cure": plain(error.cure),
    }
