"""Dates moved by a patient's shift, in the form in which they were written.

Convention: a match of one of the date patterns is taken apart by its named groups (`y`, `m`, `d`, `mon`, or `a` and `b`
where day and month may be either way round), moved, and written back with the same names, separators and digits.

Trap: "03/04/2019" is two dates. It moves as day-month where only that is possible, else as month-day; the moved one is
written the same way round, and both readings lie within the same month's distance.
"""

from __future__ import annotations

import datetime
import re

__all__ = ["move_date"]

_MONTHS = "january february march april may june july august september october november december".split()  # noqa: SIM905
_ZH_SIGNS = "零一二三四五六七八九"
_ZH = {sign: number for number, sign in enumerate(_ZH_SIGNS)} | {"〇": 0, "○": 0}


def move_date(match: re.Match[str], shift: datetime.timedelta) -> str | None:
    """The moved text of a date's masked part, or None where it is no date (month 13, day 31 of April)."""
    groups = {name: value for name, value in match.groupdict().items() if value is not None and name not in ("v", "s")}
    start, end = match.span("v") if match.groupdict().get("v") is not None else match.span()
    whole = match.string[start:end]
    year = _year(groups["y"]) if "y" in groups else None
    if "a" in groups:
        first, second = int(groups["a"]), int(groups["b"])
        month_first = first <= 12
        month, day = (first, second) if month_first else (second, first)
        names = {"m": "a", "d": "b"} if month_first else {"m": "b", "d": "a"}
    else:
        month = _month(groups) or 0
        day = _number(groups["d"]) if "d" in groups else 0
        names = {"m": "m", "d": "d"}
    moved = _moved(year, month, day, shift, has_month="m" in groups or "mon" in groups or "a" in groups)
    if moved is None:
        return None
    new: dict[str, str] = {}
    if "y" in groups:
        new["y"] = _like_year(groups["y"], moved.year)
    if "mon" in groups:
        new["mon"] = _like_word(groups["mon"], _MONTHS[moved.month - 1])
    elif month:
        new[names["m"]] = _like_number(groups[names["m"]], moved.month)
    if day:
        new[names["d"]] = _like_number(groups[names["d"]], moved.day)
    pieces, at = [], start
    for name in sorted(new, key=match.start):
        pieces += [match.string[at : match.start(name)], new[name]]
        at = match.end(name)
    pieces.append(match.string[at:end])
    text = "".join(pieces)
    # A season keeps its word, and a time of day its digits: neither names a day once the date has moved.
    return text if whole else None


def _moved(
    year: int | None, month: int, day: int, shift: datetime.timedelta, *, has_month: bool
) -> datetime.date | None:
    if has_month and not 1 <= month <= 12:
        return None
    try:
        # Without a year any will do; a leap year knows every day.
        return datetime.date(year or 2020, month or 7, day or 15) + shift
    except (ValueError, OverflowError):
        return None


def _year(text: str) -> int:
    digits = text.lstrip("'")
    if digits.isdigit():
        value = int(digits)
        return value if value > 99 else 2000 + value if value < 50 else 1900 + value
    return int("".join(str(_ZH[sign]) for sign in digits))


def _month(groups: dict[str, str]) -> int | None:
    if "mon" in groups:
        return next(n for n, name in enumerate(_MONTHS, start=1) if name.startswith(groups["mon"].lower()[:3]))
    return _number(groups["m"]) if "m" in groups else None


def _number(text: str) -> int:
    if text.isdigit():
        return int(text)
    if text.startswith("廿"):
        text = "二十" + text[1:]
    tens, ten, ones = text.rpartition("十")
    if not ten:
        return _ZH[text] if len(text) == 1 else 0
    return 10 * (_ZH.get(tens, 0) if tens else 1) + (_ZH.get(ones, 0) if ones else 0)


def _like_year(old: str, year: int) -> str:
    if old.startswith("'"):
        return f"'{year % 100:02d}"
    if old.isdigit():
        return f"{year % 100:02d}" if len(old) == 2 else str(year)
    return "".join(("〇" if "〇" in old else "零") if digit == "0" else _ZH_SIGNS[int(digit)] for digit in str(year))


def _like_number(old: str, value: int) -> str:
    if old.isdigit():
        return f"{value:02d}" if len(old) == 2 else str(value)
    tens, ones = divmod(value, 10)
    lead = "" if tens < 2 else _ZH_SIGNS[tens]
    return (f"{lead}十" if tens else "") + (_ZH_SIGNS[ones] if ones else "")


def _like_word(old: str, name: str) -> str:
    word = name if old.lower() in _MONTHS else name[:3]
    return word.upper() if old.isupper() else word.title() if old[:1].isupper() else word
