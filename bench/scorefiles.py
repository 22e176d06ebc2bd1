"""`scores.json` of any benchmark, read back into its own records.

Convention: a path is the file or the folder it lies in.

Trap: a file of another benchmark, or of another version, is JSON too; only the record's own fields tell.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

from pydantic import ValidationError

from spinemed.errors import ReadError, RecordError
from spinemed.records import Record
from spinemed.tables import parse_json

__all__ = ["SCORES_FILE", "find_row", "read_entries", "read_scores_file"]

SCORES_FILE = "scores.json"
R = TypeVar("R", bound=Record)
N = TypeVar("N", bound="Named")
G = TypeVar("G", bound="Grouped")


class Named(Protocol):
    """Scores that bear their method's name."""

    @property
    def name(self) -> str:
        """Of the method."""


class Grouped(Protocol):
    """A row of a summary."""

    @property
    def by(self) -> str:
        """What it groups by."""

    @property
    def key(self) -> str:
        """Which group."""


def find_row(summary: Sequence[G], by: str, key: str) -> G:
    """A row of a summary.

    Raises:
        KeyError: There is none.
    """
    for row in summary:
        if (row.by, row.key) == (by, key):
            return row
    raise KeyError(f"{by}={key}")


def read_scores_file(path: str | os.PathLike[str], model: type[R], command: str) -> R:
    """Read a file of scores.

    Args:
        path: `scores.json`, or its folder.
        model: What it holds.
        command: Which command writes it, for the cure.

    Raises:
        ReadError: There is none, or it is no JSON.
        RecordError: It is not what that command of this version writes; the field is named.
    """
    file = Path(path)
    file = file / SCORES_FILE if file.is_dir() else file
    cure = f"give the {SCORES_FILE} that `{command}` of this version wrote"
    try:
        values: Any = parse_json(file.read_bytes())
    except OSError as error:
        raise ReadError(f"cannot be read ({error.strerror})", file=file, cure=cure) from error
    except ValueError as error:
        raise ReadError(f"is not JSON ({error})", file=file, cure=cure) from error
    try:
        return model.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        raise RecordError(
            f"is no file of these scores: {first['msg']}", file=file,
            field=".".join(str(part) for part in first["loc"]) or None, cure=cure,
        ) from error  # fmt: skip


def read_entries(paths: Sequence[str | os.PathLike[str]], read: Callable[[str | os.PathLike[str]], N]) -> dict[str, N]:
    """Scores by the method's name; methods of one name are told apart by their folder.

    Args:
        paths: Files or folders of scores.
        read: Reads one.

    Raises:
        ReadError, RecordError: A file cannot be used, or one is given twice.
    """
    found: dict[str, N] = {}
    for path in paths:
        scores, file = read(path), Path(path).resolve()
        folder = file.name if file.is_dir() else file.parent.name
        name = scores.name if scores.name not in found else f"{scores.name} ({folder})"
        if name in found:
            raise RecordError(f"'{name}' is given twice", file=path, field="SCORES", cure="give each evaluation once")
        found[name] = scores
    return found
