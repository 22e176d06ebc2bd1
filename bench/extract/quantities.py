"""A number with its unit in a stretch of text.

Convention: the canonical text is the value in the unit of the question, as short as it can be written ("23.5", "4",
"-12"). Centimetres become millimetres; nothing else is converted. A number without a unit is in the unit of the
question, unless the stretch gives numbers in other units. Numbers in words are not read.

A sum that is right ("3 + 1 + 2 = 6") is its total. A band in brackets behind a value ("7 (7-12)") is no second value.

Trap: a range ("20-25°"), a bound (">20°") and two values are no value; the middle of a range is never taken. "23,5" is
a decimal comma and "1,234" is not.
"""

from __future__ import annotations

import re

from bench.extract.doubt import UNDECIDED_VALUE, Doubt, is_denied
from bench.extract.levels import mask_levels
from bench.extract.question import Question
from spinemed.records import NOT_DETERMINABLE

__all__ = ["read_number"]

_VALUE = r"[-+]?\d{1,9}(?:,\d{3}(?!\d))*(?:[.,]\d{1,9})?"
_END = "(?![A-Za-z0-9])"
_UNIT = (
    rf"(?P<deg>°(?!\s?C{_END})|deg(?:rees?)?{_END}|度)|(?P<mm>(?:mm|milli?met(?:er|re)s?){_END}|毫米)"
    rf"|(?P<cm>(?:cm|centimet(?:er|re)s?){_END}|厘米)|(?P<percent>%|(?:percent|per\s?cent){_END})"
    rf"|(?P<other>°\s?C{_END}|(?:ml|hu|years?|months?|weeks?|days?|kg|ms|m|cm2|mm2|cc|px|pixels?|points?){_END}|岁|年|个)"
)
_TOKEN = re.compile(rf"(?<![A-Za-z0-9_.,])(?P<value>{_VALUE})(?![\d.,]*\d)\s{{0,2}}(?:{_UNIT})?", re.IGNORECASE)
_MARK = r"\s?(?:°|mm|cm|%|deg(?:rees?)?|percent|度|毫米)?"
_RANGE = re.compile(rf"(?<![A-Za-z0-9_.])({_VALUE}){_MARK}\s?(?:-|–|—|~|～|to\b|至|到)\s?\d", re.IGNORECASE)
_OR = re.compile(rf"(?<![A-Za-z0-9_.])({_VALUE}){_MARK}\s?(?:\bor\b|或)\s?(?:about\s|约)?\d", re.IGNORECASE)
_MINUTES = re.compile(r"(?:°|deg(?:rees?)?|度)\s?\d{1,2}\s?(?:'|′|min\b|minutes\b|分)", re.IGNORECASE)
_BETWEEN = re.compile(r"\bbetween\s+[-+]?\d", re.IGNORECASE)
_BOUND = re.compile(
    r"(?:[<>≤≥]=?|\b(?:more|less|greater|larger|smaller|higher|lower)\s+than|\b(?:at\s+(?:least|most)|over|under|"
    r"up\s+to|exceeds?|exceeding|above|below)|大于|小于|超过|至少|不到|不足|低于|高于)\s*(?:about\s+)?$",
    re.IGNORECASE,
)
_SPREAD = re.compile(rf"(?:±|\+/-|\+-)\s?{_VALUE}{_MARK}", re.IGNORECASE)
_TERM = rf"\d{{1,4}}(?:\.\d{{1,4}})?{_MARK}"
_SUM = re.compile(
    rf"(?<![\w.,])(?P<terms>{_TERM}\)?(?:\s?\+\s?(?:[A-Za-z][A-Za-z -]{{0,40}}\(?)?{_TERM}\)?){{1,12}}+\s?=\s?)"
    r"(?P<total>\d{1,4}(?:\.\d{1,4})?)(?![\w]*\d|\.\d)",
    re.IGNORECASE,
)
_BAND = re.compile(
    rf"(?P<value>(?<![A-Za-z0-9_.,]){_VALUE}){_MARK}(?P<band>\s?[(\[](?P<words>[^()\[\]\d<>≤≥]{{0,40}})(?P<low>\d{{1,4}}(?:\.\d{{1,4}})?){_MARK}"
    rf"\s?(?:-|–|—|~|to\b|至|到)\s?(?P<high>\d{{1,4}}(?:\.\d{{1,4}})?){_MARK}[^()\[\]\d]{{0,60}}[)\]])",
    re.IGNORECASE,
)
_NORMAL = re.compile(r"normal|reference|正常|参考", re.IGNORECASE)


def _without_terms(match: re.Match[str]) -> str:
    """The total alone, at its place."""
    terms = [float(term) for term in re.findall(r"\d+(?:\.\d+)?", match["terms"])]
    if abs(sum(terms) - float(match["total"])) > 1e-6:
        raise Doubt("a sum that does not add up")
    return " " * len(match["terms"]) + match["total"]


def _without_band(match: re.Match[str]) -> str:
    """The value alone; a value outside the band that it is said to lie in contradicts itself."""
    inside = float(match["low"]) <= _number(match["value"]) <= float(match["high"])
    if not inside and not _NORMAL.search(match["words"]):
        raise Doubt("a value outside its own band")
    kept = match[0][: match.start("band") - match.start()]
    return kept + " " * len(match["band"])


def read_number(stretch: str, question: Question) -> set[str]:
    """The values that a stretch gives in the unit of the question.

    Raises:
        Doubt: A range, a bound, a sum that is wrong, a value in another unit only, or only a denial.
    """
    text = _SPREAD.sub(" ", mask_levels(stretch))
    if "=" in text and "+" in text:
        text = _SUM.sub(_without_terms, text)
    if "(" in text or "[" in text:
        text = _BAND.sub(_without_band, text)
    if _RANGE.search(text) or _BETWEEN.search(text):
        raise Doubt("a range is no value")
    if _OR.search(text) or _MINUTES.search(text):
        raise Doubt("two numbers for one value")
    own: set[str] = set()
    bare: set[str] = set()
    others = denied = False
    for match in _TOKEN.finditer(text):
        unit, value = match.lastgroup, _number(match["value"])
        if is_denied(text, match.start()):
            denied = True
            continue
        if unit == "cm" and question.unit == "mm":
            unit, value = "mm", value * 10
        written = f"{value:.10g}"
        if unit == "value":
            bare.add(written)
        elif unit == question.unit:
            if _BOUND.search(text[max(0, match.start() - 30) : match.start()]):
                raise Doubt("a bound is no value")
            own.add(written)
        else:
            others = True
    if not own and bare and not others:
        if _BOUND.search(text[: next(_TOKEN.finditer(text)).start()]):
            raise Doubt("a bound is no value")
        own = bare
    if not own and others:
        raise Doubt("only numbers in other units")
    if UNDECIDED_VALUE.search(text):
        own.add(NOT_DETERMINABLE)
    if denied and not own:
        raise Doubt("only says what it is not")
    return own


def _number(text: str) -> float:
    if re.fullmatch(r"[-+]?\d{1,3}(?:,\d{3})+(?:\.\d+)?", text):
        return float(text.replace(",", ""))
    return float(text.replace(",", "."))
