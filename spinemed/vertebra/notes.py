"""Doubts of many vertebrae, written out once: short words for each, and a list of what they mean.

Convention: a flag's words before its first colon are short for it. Flags that all measured vertebrae share are told
once for all. The trap: short words alone may mean several things; the letter beside them says which.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from spinemed.vertebra.grading import GradedVertebra

__all__ = ["Notes"]

_SHORT = 34


class Notes:
    """Doubts of a report, with a letter each.

    Attributes:
        common: Flags of every measured vertebra, where there are several.
        rows: Of the others: `letter`, `text`, `levels`.
    """

    def __init__(self, vertebrae: Sequence[GradedVertebra]) -> None:
        measured = [each for each in vertebrae if each.anterior is not None]
        shared = [
            flag for flag in (measured[0].flags if measured else ()) if all(flag in one.flags for one in measured)
        ]
        self.common = shared if len(measured) > 1 else []
        self.rows: list[dict[str, Any]] = []
        self._letters: dict[str, str] = {}
        for each in vertebrae:
            for flag in each.flags:
                if flag in self.common:
                    continue
                text = _said(each, flag)
                if text not in self._letters:
                    self._letters[text] = _letter(len(self._letters))
                    self.rows.append({"letter": self._letters[text], "text": text, "levels": []})
                next(row for row in self.rows if row["text"] == text)["levels"].append(str(each.level))

    def of(self, vertebra: GradedVertebra) -> list[dict[str, str]]:
        """Short words for the row of a vertebra, with the letter of what stands below."""
        found = []
        for flag in vertebra.flags:
            text = _said(vertebra, flag)
            found.append({"short": _shortened(text), "letter": self._letters.get(text, "")})
        return found


def _said(vertebra: GradedVertebra, flag: str) -> str:
    """A flag without the level's own name in front, so that one note serves several levels."""
    return flag.removeprefix(f"{vertebra.level} ") if flag.startswith(f"{vertebra.level} lies outside") else flag


def _shortened(text: str) -> str:
    head = text.split(":", 1)[0]
    if head.startswith("lies outside"):
        return "outside T4-L4"
    return head if len(head) <= _SHORT else head[: _SHORT - 1].rsplit(" ", 1)[0] + " …"


def _letter(number: int) -> str:
    return chr(ord("a") + number) if number < 26 else _letter(number // 26 - 1) + _letter(number % 26)
