"""Vertebrae, discs and ranges in a stretch of text, through `spinemed.anatomy` and nothing else.

Convention: canonical texts "L3", "L4/5", "T12-L2", "not determinable". A level that only serves as a landmark ("above
L4", "between L2 and L4") is ignored beside one that is named, and is a doubt alone.

Trap: "L4-L5" asked for a disc is the disc; asked for a vertebra it is none.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from bench.extract.doubt import UNDECIDED, Doubt, before, is_denied
from bench.extract.question import Question
from spinemed.anatomy import Disc, Level, LevelRange, Mention, find_levels, resolve
from spinemed.errors import LevelError
from spinemed.records import NOT_DETERMINABLE

__all__ = ["mask_levels", "read_levels", "read_range"]

_RELATIVE_BEFORE = re.compile(
    r"\b(?:above|below|beneath|under|over|between|near|beside|past|adjacent\s+to|next\s+to|superior\s+to|inferior\s+to|"
    r"cranial\s+to|caudal\s+to|(?:higher|lower)\s+than)\s+(?:the\s+)?(?:vertebra\s+|level\s+|dis[ck]\s+)?$",
    re.IGNORECASE,
)
_TWO_VERTEBRAE = re.compile(r"\s(?:and|&)\s", re.IGNORECASE)
_BETWEEN = re.compile(r"\bbetween\s+(?:the\s+)?$", re.IGNORECASE)
_AND = re.compile(r"\s*(?:and|&|和|与)\s*(?:the\s+)?", re.IGNORECASE)
_RELATIVE_AFTER = re.compile(r"^\s*(?:椎体)?\s*(?:的|之)?\s*(?:上方|下方|以上|以下|上面|下面|上一|下一|附近|之间)")

_ZH = {sign: str(number) for number, sign in enumerate("一二三四五六七八九", 1)} | {
    "十": "10", "十一": "11", "十二": "12", "十三": "13",
}  # fmt: skip
_NUMERAL = "十[一二三]?|[一二三四五六七八九]"
_CHINESE_NUMBER = re.compile(
    rf"(?P<sign>[颈頸胸腰骶]椎?|(?<![A-Za-z])[TCLStcls])(?P<first>{_NUMERAL})"
    rf"(?:(?P<join>[/-])(?P<second>{_NUMERAL}))?(?=\s*(?:椎|间|节|水平|[/、，。,.;；)\-]|[颈胸腰骶]|$))"
)
_CHINESE_LIST = re.compile(rf"第(\d|{_NUMERAL})[、,/-](\d|{_NUMERAL})([颈腰])椎?(?=椎?间盘)")
_SPOKEN = re.compile(
    r"\b(?P<region>[ctls])(?:ervical|horacic|umbar|acral)\s+vertebra(?:l\s+body)?\s+(?P<number>\d{1,2})\b(?!\.\d)",
    re.IGNORECASE,
)
_DOWN_TO = re.compile(r"\b(?:down|up)\s+to\b", re.IGNORECASE)


def _usual(stretch: str) -> str:
    """Chinese numerals behind a region or a letter as digits, "down to" as "to": spellings that anatomy lacks."""
    if not stretch.isascii():
        stretch = _CHINESE_LIST.sub(
            lambda found: f"{found[3]}{_ZH.get(found[1], found[1])}/{_ZH.get(found[2], found[2])}", stretch
        )
        stretch = _CHINESE_NUMBER.sub(
            lambda found: (
                found["sign"] + _ZH[found["first"]] + (found["join"] + _ZH[found["second"]] if found["second"] else "")
            ),
            stretch,
        )
    stretch = _SPOKEN.sub(r"\g<region>\g<number>", stretch)  # "lumbar vertebra 5" needs no company to be a level
    return _DOWN_TO.sub("to", stretch)


def mask_levels(stretch: str) -> str:
    """The stretch with every mention of a level blanked, so that its digits are no grades, lengths or angles."""
    usual = _usual(stretch)
    for mention in find_levels(usual):
        usual = usual[: mention.start] + " " * (mention.end - mention.start) + usual[mention.end :]
    return usual


def read_levels(stretch: str, question: Question) -> set[str]:
    """Every vertebra, or every disc, that a stretch names.

    Raises:
        Doubt: It names something else, only landmarks, or only what it is not.
    """
    stretch = _usual(stretch)
    found: set[str] = set()
    landmarks: list[str] = []
    denied = False
    pair_end = -1  # where the first of "between L4/5 and L5/S1" ends: the second is a landmark too
    for mention in find_levels(stretch):
        value: Disc | Level | None
        value = resolve(mention.reading, Disc) if question.kind == "disc" else resolve(mention.reading, Level)
        second = pair_end >= 0 and _AND.fullmatch(stretch, pair_end, mention.start) is not None
        pair_end = -1
        if is_denied(stretch, mention.start, mention.end):
            denied = True
        elif second or _is_relative(stretch, mention):
            landmarks.append(mention.text)
            if _BETWEEN.search(before(stretch, mention.start)):
                pair_end = mention.end
        elif value is None:
            raise Doubt(f"'{mention.text}' is no {question.kind}")
        else:
            found.add(str(value))
    if landmarks and not found:
        raise Doubt(f"'{landmarks[0]}' is only a landmark")
    if UNDECIDED.search(stretch):
        found.add(NOT_DETERMINABLE)
    if denied and not found:
        raise Doubt("only says what it is not")
    return found


def read_range(stretch: str, question: Question) -> set[str]:
    """The range of vertebrae that a stretch names, as a range or as a list without a gap in the patient's column.

    Raises:
        Doubt: A range and levels outside of it, single levels that are no whole range, or only landmarks.
    """
    stretch = _usual(stretch)
    found: set[str] = set()
    single: list[Level] = []
    landmarks: list[str] = []
    for mention in find_levels(stretch):
        span = resolve(mention.reading, LevelRange)
        level = resolve(mention.reading, Level)
        if is_denied(stretch, mention.start, mention.end):
            continue
        if span is not None:
            found.add(str(span))
        elif level is not None:
            if _is_relative(stretch, mention):
                landmarks.append(mention.text)
            else:
                single.append(level)
        else:
            raise Doubt(f"'{mention.text}' is no range of vertebrae")
    if found:
        # "T12-L2, that is T12, L1 and L2" repeats itself; a level outside the range contradicts it.
        if single and _listed(single, question) not in found and not _inside(single, found):
            raise Doubt("a range and other levels")
        return found
    if landmarks:  # "T12-L2, one above and one below L1" explains itself; without the range it says nothing
        raise Doubt(f"'{landmarks[0]}' is only a landmark")
    if UNDECIDED.search(stretch):
        found.add(NOT_DETERMINABLE)
    if single:
        whole = _listed(single, question)
        if whole is None:
            raise Doubt("single levels that are no whole range")
        found.add(whole)
    return found


def _listed(levels: Iterable[Level], question: Question) -> str | None:
    """The range that a list of levels spells out without a gap ("T12, L1 and L2"); None for anything else."""
    named = sorted(set(levels))
    if len(named) < 2:
        return None
    try:
        every = question.spine.between(named[0], named[-1])
    except LevelError:
        return None
    return f"{named[0]}-{named[-1]}" if list(every) == named else None


def _inside(levels: Iterable[Level], ranges: Iterable[str]) -> bool:
    first, last = (Level(end) for end in next(iter(ranges)).split("-"))
    return all(first <= level <= last for level in levels)


def _is_relative(stretch: str, mention: Mention) -> bool:
    ahead, after = before(stretch, mention.start), stretch[mention.end : mention.end + 20]
    if _TWO_VERTEBRAE.search(mention.text) and resolve(mention.reading, Disc) is not None:
        ahead = _BETWEEN.sub("", ahead)  # "the disc between L4 and L5" names the disc itself
    return bool(_RELATIVE_BEFORE.search(ahead) or _RELATIVE_AFTER.search(after))
