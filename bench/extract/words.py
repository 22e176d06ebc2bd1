"""Categories, grades and sides in a stretch of text, by their own words in English and Chinese.

Convention: a grade is a digit text; Arabic, Roman and Chinese numerals are read, words like "fourth" are not. A side is
left, right, both or midline, from the patient's point of view as the reply says it.

Trap: "right" is also a judgement; "I" is also a person; the digits of "L4/5" are no grade.
"""

from __future__ import annotations

import re

from bench.extract.doubt import UNDECIDED_VALUE, Doubt, before, is_denied
from bench.extract.levels import mask_levels
from bench.extract.options import outermost
from bench.extract.question import Question
from spinemed.records import NOT_DETERMINABLE

__all__ = ["read_category", "read_grade", "read_side"]

_SYNONYMS = {
    "none": [
        r"no\s+(?:(?:evidence|signs?)\s+of\s+)?(?:an?\s+|any\s+)?(?:vertebral\s+|compression\s+)?(?:fracture|deformity)",
        r"not\s+fractured",
        r"unfractured",
        r"normal",
        r"intact",
        "(?:无|没有|未见)(?:明显)?(?:骨折|变形)",
        "正常",
    ],
    "wedge": ["楔形"],
    "biconcave": ["双凹"],
    "extraforaminal": [r"extra[\s-]+foraminal"],  # else its second half would be read as another zone
    "subarticular": [r"sub[\s-]+articular"],
    "mild": ["轻(?:度|微|至|到|-)"],
    "moderate": ["中(?:度|等)"],
    "severe": ["重度|严重"],
}
"""Other words for a category, only where the question's own wording invites them. Not abnormal ones that overlap."""


_PAIR = r"\b(?:left\s*(?:/|or|nor|and)\s*right|right\s*(?:/|or|nor|and)\s*left)\b"
_SIDE_MARKS = re.compile(
    rf"{_PAIR}(?=\s+(?:side\s+)?(?:marker|letter|label|sign|mark)s?\b)|左右(?=标记|标志|字母)", re.IGNORECASE
)
"""What a picture lacks, not what is answered: "no left or right marker"."""
_OPEN_SIDES = re.compile(
    rf"{_PAIR}|\bwhether\b(?:(?!\bbut\b)[^.,;!?\n])*|左右|(?:左侧?)?(?:还是|或)右侧?", re.IGNORECASE
)
"""Sides that a sentence leaves open where it says that nothing can be determined."""


def _without_open_sides(stretch: str, question: Question) -> str:
    if not {"left", "right"} <= set(question.categories):
        return stretch
    stretch = _SIDE_MARKS.sub(" ", stretch)
    return _OPEN_SIDES.sub(" ", stretch) if UNDECIDED_VALUE.search(stretch) else stretch


def read_category(stretch: str, question: Question) -> set[str]:
    """Every category that a stretch names; also the one for what cannot be decided, where there is one.

    Raises:
        Doubt: It only says what it is not.
    """
    stretch = _without_open_sides(stretch, question)
    hits: list[tuple[int, int, str]] = []
    for category in question.categories:
        for pattern in (re.escape(category), *_SYNONYMS.get(category.casefold(), [])):
            bounded = rf"(?<![A-Za-z0-9])(?:{pattern})(?![A-Za-z0-9])" if pattern.isascii() else pattern
            hits += [(match.start(), match.end(), category) for match in re.finditer(bounded, stretch, re.IGNORECASE)]
    found, denied = set(), False
    for start, _, category in outermost(hits):
        if is_denied(stretch, start):
            denied = True
        else:
            found.add(category)
    if UNDECIDED_VALUE.search(stretch):  # beside another category it contradicts it, and is no such answer
        found |= {category for category in question.categories if category == NOT_DETERMINABLE}
    if denied and not found:
        raise Doubt("only says what it is not")
    return found


_ROMAN = {"i": "1", "ii": "2", "iii": "3", "iv": "4", "v": "5", "vi": "6"}
_UNICODE = {sign: str(number) for number, sign in enumerate("ⅠⅡⅢⅣⅤⅥ", 1)}
_CHINESE = {sign: str(number) for number, sign in enumerate("一二三四五六", 1)}
_GRADE = re.compile(
    r"(?<![A-Za-z0-9_.])(?P<digit>\d{1,2})(?=级|度|型|(?![A-Za-z0-9_%°]|\.\d|\s?(?:mm|cm|%|°|percent|degrees|years)))"
    r"|(?<![A-Za-z])(?P<roman>IV|VI|V|III|II|(?<=[Gg]rade )I|(?<=[Tt]ype )I|^I$)(?![A-Za-z'])"
    r"|(?:(?<=grade )|(?<=Grade ))(?P<small>iv|vi|v|iii|ii|i)(?![a-z])"
    r"|(?P<sign>[ⅠⅡⅢⅣⅤⅥ])|(?P<chinese>[一二三四五六])(?=级|度)"
)


_BOUND = re.compile(
    r"(?:[<>≤≥]=?|\b(?:at\s+(?:least|most)|more\s+than|less\s+than)|至少|至多)\s*(?:grade\s*)?$", re.IGNORECASE
)


def read_grade(stretch: str, question: Question) -> set[str]:
    """Every grade that a stretch names, as digits.

    Raises:
        Doubt: A grade that the scale does not have, or only a denial.
    """
    masked = mask_levels(stretch)
    found, denied = set(), False
    for match in _GRADE.finditer(masked):
        value = (
            match["digit"]
            or _ROMAN.get((match["roman"] or match["small"] or "").lower())
            or _UNICODE.get(match["sign"] or "")
            or _CHINESE[match["chinese"]]
        )
        value = value.lstrip("0") or "0"
        if _BOUND.search(before(masked, match.start())):
            raise Doubt("a bound is no grade")
        if is_denied(masked, match.start()):
            denied = True
        elif value not in question.categories:
            raise Doubt(f"'{match[0]}' is no grade of this scale")
        else:
            found.add(value)
    for category in question.categories:
        if not category.isdecimal() and re.search(rf"(?<!\w){re.escape(category)}(?!\w)", masked, re.IGNORECASE):
            found.add(category)
    if UNDECIDED_VALUE.search(masked) and not any(not category.isdecimal() for category in found):
        found.add(NOT_DETERMINABLE)
    if denied and not found:
        raise Doubt("only says what it is not")
    return found


_NO_SIDE = re.compile(
    r"\bright\s+(?:answer|option|choice|now|away|diagnosis)\b|\b(?:that's|that\s+is|you're|you\s+are|all)\s+right\b",
    re.IGNORECASE,
)
_SIDES = {
    side: re.compile(rf"(?<![A-Za-z])(?:{english})(?![A-Za-z])|{chinese}", re.IGNORECASE)
    for side, english, chinese in (
        ("both", r"both(?:\s+sides)?|bilateral(?:ly)?|left\s+and\s+right|right\s+and\s+left", "双侧|两侧|左右"),
        ("left", "left", "左"),
        ("right", "right", "右"),
        ("midline", "midline|central", "中线|中央|正中"),
    )
}


def read_side(stretch: str, question: Question) -> set[str]:
    """Every side that a stretch names.

    Raises:
        Doubt: It only says what it is not.
    """
    text = _NO_SIDE.sub(lambda match: " " * len(match[0]), stretch)
    hits = [(match.start(), match.end(), side) for side, pattern in _SIDES.items() for match in pattern.finditer(text)]
    found, denied = set(), False
    for start, _, side in outermost(hits):
        if is_denied(text, start):
            denied = True
        else:
            found.add(side)
    if UNDECIDED_VALUE.search(text):
        found.add(NOT_DETERMINABLE)
    if denied and not found:
        raise Doubt("only says what it is not")
    return found
