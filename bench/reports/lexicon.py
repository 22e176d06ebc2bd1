"""The words of reports, from `lexicon.yaml`: findings with what carries them, sides, grades, denials.

Convention: grades are written in the scheme's own signs: Genant, Lee and Modic in digits, Meyerding and Pfirrmann in
Roman numerals, Schizas in letters. Mild, moderate and severe are Genant's own words (1993) and are read for fractures
alone; the other schemes have none.

Trap: a bulge is no herniation (nomenclature of 2014), so it is no finding of this list.
"""

from __future__ import annotations

import re
from functools import cache, cached_property
from importlib.resources import files
from typing import Literal

from spinemed.config import Config, load_config
from spinemed.records import content_hash

__all__ = ["SCHEME_NAMES", "FindingWords", "Lexicon", "grade_of", "load_lexicon"]

Scheme = Literal["", "genant", "meyerding", "pfirrmann", "schizas", "lee", "modic"]
SCHEME_NAMES: dict[str, str] = {
    "genant": "Genant",
    "meyerding": "Meyerding",
    "pfirrmann": "Pfirrmann",
    "schizas": "Schizas",
    "lee": "Lee",
    "modic": "Modic",
}
_ROMAN = {"1": "I", "2": "II", "3": "III", "4": "IV", "5": "V"} | dict(
    zip("ⅠⅡⅢⅣⅤ", ("I", "II", "III", "IV", "V"), strict=True)
)
_DIGIT = {roman: digit for digit, roman in _ROMAN.items() if digit.isascii()}
_WORDS = {"mild": "1", "moderate": "2", "severe": "3"}


class FindingWords(Config):
    """One finding."""

    place: Literal["body", "disc"]
    """What carries the finding: a vertebral body or a disc."""
    sided: bool = False
    """Whether a side belongs to it."""
    scheme: Scheme = ""
    """Whose grades are read beside it; empty where it has none."""
    name: dict[str, str]
    """Its name in messages, by language."""
    patterns: tuple[str, ...]
    """Patterns that name it in a report."""

    @cached_property
    def found(self) -> re.Pattern[str]:
        """Finds it in a text."""
        return _compiled("|".join(f"(?:{pattern})" for pattern in self.patterns))


class _Denials(Config):
    before: str
    """Pattern of a denial before what it denies."""
    never: str
    """Pattern of words that look like a denial and are none."""
    ends: str
    """Pattern of what ends the reach of a denial."""
    behind: str
    """Pattern of a denial behind what it denies."""


class Lexicon(Config):
    """All words; see `lexicon.yaml`."""

    findings: dict[str, FindingWords]
    """The findings that are read, by name."""
    denials: _Denials
    """Patterns that deny a finding, and where a denial ends."""
    unsure: str
    """Pattern of a statement that commits to nothing."""
    skipped: str
    """Pattern of a sentence that states nothing about this patient's images."""
    sides: dict[Literal["bilateral", "left", "right"], str]
    """Pattern of each side."""
    grades: dict[str, str]
    """Pattern of the grades of each scheme."""
    parts: dict[str, tuple[str, ...]]
    """Headings of the six parts, by language, in their order."""

    @cached_property
    def sha256(self) -> str:
        """Hash of all words."""
        return content_hash(self.model_dump(mode="json"))

    def pattern(self, name: str) -> re.Pattern[str]:
        """A compiled pattern by its place in the file, like `denials.before` or `grades.lee`."""
        room, _, key = name.partition(".")
        value = getattr(self, room)
        if key:
            value = value[key] if isinstance(value, dict) else getattr(value, key)
        return _compiled(value)


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE)


@cache
def load_lexicon() -> Lexicon:
    """The bundled words."""
    return load_config(str(files("bench.reports").joinpath("lexicon.yaml")), Lexicon)


def grade_of(scheme: str, match: re.Match[str]) -> str:
    """The grade of a match of a scheme's pattern, in the scheme's own signs."""
    for name, value in match.groupdict().items():
        if value is None:
            continue
        word = name.removeprefix("z")
        if word in _WORDS:
            return _WORDS[word]
        sign = value.upper()
        if scheme in ("meyerding", "pfirrmann"):
            return _ROMAN.get(sign, sign)
        return _DIGIT.get(sign, sign)
    raise ValueError(f"a match of {scheme} without a grade")
