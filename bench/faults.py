"""Errors of single cases as records: a faulty file is one case's, and never stops the others.

Convention: folders are written by what they are ("PREDICTION"), so that the same data elsewhere give the same bytes.

Trap: only errors that a user can mend become records; anything else keeps its traceback.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

from spinemed.errors import SpineMedError
from spinemed.records import Record

__all__ = ["FoundError", "error_fields"]


class FoundError(Record):
    """An error of one case as a record."""

    kind: str
    """Name of the error's class."""
    problem: str
    """What is wrong, in one sentence."""
    file: str | None = None
    """The file at fault, where there is one."""
    field: str | None = None
    """The place in it."""
    cure: str | None = None
    """What to do about it."""

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

    known = sorted(
        ((folder.rstrip(os.sep), name) for folder, name in (roots or {}).items()), key=lambda one: -len(one[0])
    )

    def plain(text: str | None) -> str | None:
        for folder, name in known if text is not None else ():
            # Only where a path begins: a folder called "ds" is not what "holds" ends with.
            start = rf"(?<![\w.{re.escape(os.sep)}-])"
            text = re.sub(rf"{start}{re.escape(folder)}(?={re.escape(os.sep)}|$)", name, text or "")
        return text

    return {
        "kind": type(error).__name__,
        "problem": " ".join((plain(error.problem) or "").split()),
        "file": plain(error.file),
        "field": error.field,
        "cure": plain(error.cure),
    }
