"""The variants in which a case's own values turn up in texts, as patterns.

Convention: a person's name is searched whole, turned round, with initials, run together and part by part, with and
without its accents, with its letters set apart and over the end of a line; an identifier with or without separators; an
address whole and in its parts; Chinese names whole, with spaces, and as surname with a title. Search runs on text with
accents taken off, one sign for one.

Trap: a case's own names win over every allow-list. A patient called Cobb costs the report its Cobb angle's name: the
number stays.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from data_pipeline.deidentify.identity import CaseIdentity
from spinemed.anatomy.lexicon import fold

__all__ = ["Found", "find_identity", "name_parts", "plain", "terms"]

_TERMS = Path(__file__).with_name("terms.yaml")
_HAN = re.compile(r"[\u4e00-\u9fff]")
_COMPOUND = tuple("欧阳 司马 上官 诸葛 东方 皇甫 尉迟 公孙 慕容 令狐 司徒 夏侯 长孙 宇文".split())  # noqa: SIM905
_ZH_TITLES = "(?:先生|女士|小姐|太太|同志|医生|医师|大夫|主任|教授|护士|某某|某)"
_FAMILY_LETTERS = 6
"""From this length on, a word that differs in one letter counts as the name: reports are dictated."""

Found = tuple[int, int, str]
"""Start, end, category."""


@functools.cache
def terms() -> dict[str, Any]:
    """The allow-list of `terms.yaml`."""
    return dict(yaml.safe_load(_TERMS.read_text(encoding="utf-8")))


@functools.cache
def _listed(name: str) -> frozenset[str]:
    return frozenset(str(word) for word in terms()[name])


def plain(text: str) -> str:
    """Full-width and typographic signs folded and accents taken off, one sign for one: offsets stay."""
    return text if text.isascii() else "".join(_bare(sign) for sign in fold(text))


@functools.cache
def _bare(sign: str) -> str:
    if sign.isascii() or _HAN.match(sign):
        return sign
    first = unicodedata.normalize("NFKD", sign)[:1]
    return first if first.isalpha() and first.isascii() else "'" if sign in "’‘`´" else sign


def find_identity(text: str, identity: CaseIdentity) -> list[Found]:
    """Every place where a value of the case stands, in any of its variants; places may overlap."""
    folded = plain(text)
    found: list[Found] = []
    for category, regex in _patterns(tuple(sorted((k, tuple(v)) for k, v in identity.values.items()))):
        found += [(hit.start(), hit.end(), category) for hit in regex.finditer(folded) if hit.end() > hit.start()]
    found += _misspelt(folded, identity)
    found += _broken(folded, identity)
    return found


@functools.lru_cache(maxsize=16)
def _patterns(values: tuple[tuple[str, tuple[str, ...]], ...]) -> tuple[tuple[str, re.Pattern[str]], ...]:
    """A few patterns for a whole case: compiling one for every variant would cost more than the search."""
    bodies: dict[tuple[str, bool], dict[str, None]] = {}
    for category, entries in values:
        for value in entries:
            if category == "name":
                made = _name_bodies(value)
            elif category in ("age", "date"):
                continue  # every date moves, whoever's it is; an age below 90 is no identifier, those above a pattern
            elif category == "geography":
                made = ((body, False) for body in _address_bodies(value))
            else:
                made = ((body, False) for body in _code_bodies(value))
            for body, case in made:
                bodies.setdefault((category, case), {})[body] = None
    return tuple(
        (
            category,
            re.compile(
                "|".join(sorted(alternatives, key=lambda body: (-len(body), body))), 0 if case else re.IGNORECASE
            ),
        )
        for (category, case), alternatives in bodies.items()
    )


def name_parts(value: str) -> list[str]:
    """The parts of a name: DICOM's groups and components, words, hyphenated halves; titles left out."""
    text = plain(value)
    parts: dict[str, None] = {}
    for word in re.split(r"[\^=,\s/;|·•]+", text):
        for part in (word, *word.split("-")):
            part = part.strip(".'\"()")
            if part and part.lower() not in _listed("name_prefixes"):
                parts[part] = None
    return list(parts)


_WRITTEN_OUT: dict[int, str] = {
    ord(sign): text
    for sign, text in (("ä", "ae"), ("ö", "oe"), ("ü", "ue"), ("Ä", "Ae"), ("Ö", "Oe"), ("Ü", "Ue"), ("ß", "ss"))
}
Body = tuple[str, bool]
"""A pattern, and whether its case counts."""
_LEFT, _RIGHT = "(?<![A-Za-z])", "(?![A-Za-z])"


def _name_bodies(value: str) -> Iterator[Body]:
    # Umlauts are written out as often as they are dropped.
    written_out = value.translate(_WRITTEN_OUT)
    for text in dict.fromkeys((value, written_out)):
        for group in text.split("="):
            if _HAN.search(group):
                yield from ((body, True) for body in _chinese_name(group))
            else:
                yield from _latin_name(group)


def _chinese_name(group: str) -> Iterator[str]:
    components = [part for part in re.split(r"[\^\s]+", group.strip()) if part]
    whole = "".join(components)
    if len(components) > 1:
        family, given = components[0], "".join(components[1:])
    else:
        size = 2 if whole.startswith(_COMPOUND) and len(whole) > 2 else 1
        family, given = whole[:size], whole[size:]
    yield r"[\s\u3000·]{0,4}".join(map(re.escape, whole))
    if len(given) >= 2:
        yield r"[\s\u3000]{0,4}".join(map(re.escape, given))
    elif given:
        yield rf"(?<=患者|病人){re.escape(given)}(?![\u4e00-\u9fff]?[，。])"
    yield f"{re.escape(family)}{_ZH_TITLES}"
    if given:
        yield f"{re.escape(family + given[:1])}{_ZH_TITLES}"
    yield f"[小老]{re.escape(family)}(?!腿|脑|肠|关节|年)"


def _latin_name(group: str) -> Iterator[Body]:
    parts = [part for part in name_parts(group) if not part.isdigit()]
    long_parts = [part for part in parts if len(part) > 1]
    joints = [re.escape(part) for part in long_parts if "-" not in part]
    # An initial before the name goes with it: "J. Smith".
    lead = rf"{_LEFT}(?:(?-i:[A-Z])\.[ ]?){{0,2}}"
    for one in joints:
        for other in joints:
            if one != other:  # "Smith, John", "John Smith", "SMITH_JOHN", "johnsmith"
                yield rf"{lead}{one}[\s,.\-_^]{{0,3}}{other}{_RIGHT}", False
    initials = "".join(sorted({part[0].lower() for part in parts}))
    for part in long_parts:
        if part.lower() in _listed("also_words") or len(part) <= 2:
            # Also an everyday word: a name only when written as one.
            forms = "|".join(re.escape(form) for form in dict.fromkeys((part.title(), part.upper())))
            yield rf"{_LEFT}(?:[A-Z]\.[ ]?){{0,2}}(?:{forms}){_RIGHT}(?!\d)", True
        else:
            yield rf"{lead}{re.escape(part)}{_RIGHT}", False
            if len(part) > 3 and len(parts) > 1:
                yield rf"{_LEFT}[{re.escape(initials)}][._]?{re.escape(part)}{_RIGHT}", False  # "jsmith"


def _code_bodies(value: str) -> Iterator[str]:
    signs = "".join(re.findall(r"[A-Za-z]+|\d+|[\u4e00-\u9fff]+", plain(value)))
    if len(signs) < 3:
        return
    left, right = "(?<![A-Za-z0-9])", "(?![A-Za-z0-9])"
    # Any sign may be set apart: 138-0013-8000, 138 0013 8000.
    yield left + r"[\s.\-_/:()]{0,2}".join(re.escape(sign) for sign in signs) + right
    bare = signs.lstrip("0")
    if len(bare) >= 4 and bare != signs:
        yield rf"{left}0{{0,8}}{re.escape(bare)}{right}"


def _address_bodies(value: str) -> Iterator[str]:
    text = plain(value)
    pieces = [text, *re.split(r"[,;^=\n]+", text)]
    pieces += [re.sub(r"^\s*\d+[A-Za-z]?\s+", "", piece) for piece in pieces]  # the street without its number
    for piece in dict.fromkeys(pieces):
        words = re.findall(r"[A-Za-z0-9']+|[\u4e00-\u9fff]+", piece)
        letters = "".join(words)
        if (
            len(letters) < 4
            and not (_HAN.search(letters) and len(letters) == 3)
            and not re.fullmatch(r"\d{3}", letters)
        ):
            continue
        if all(word.lower() in _listed("address_words") for word in words):
            continue
        yield "(?<![A-Za-z0-9])" + r"[\s,.;:#\-^]{0,4}".join(map(re.escape, words)) + "(?![A-Za-z0-9])"
    for part in re.findall(r"[\u4e00-\u9fff]{2,}?(?:省|市|区|县|镇|街道|路|街|小区|医院|大学)", text):
        if len(part) >= 3:
            yield re.escape(part)


def _misspelt(folded: str, identity: CaseIdentity) -> Iterator[Found]:
    """Words written with a capital that differ from a long name in one letter."""
    names = {
        part.lower()
        for value in identity.of("name")
        for part in name_parts(value)
        if len(part) >= _FAMILY_LETTERS and part.isalpha() and part.isascii()
    }
    if not names:
        return
    known = {str(word).lower() for word in terms()["eponyms"]}
    for hit in re.finditer(r"(?<![A-Za-z])[A-Z][A-Za-z]{4,24}(?![A-Za-z])", folded):
        word = hit.group().lower()
        if word not in known and any(_one_apart(word, name) for name in names):
            yield hit.start(), hit.end(), "name"


def _broken(folded: str, identity: CaseIdentity) -> Iterator[Found]:
    """Parts of names whose letters stand apart: "J o h n", "Smi-" and "th" on two lines, "Smit h".

    Letters that all stand apart, and letters parted by the end of a line, are the name. Of a single blank inside a word
    (a fault of extraction) this is said only of long parts with a capital, unless both pieces are words: "as her" is
    no Asher.
    """
    for part in dict.fromkeys(part for value in identity.of("name") for part in name_parts(value)):
        if len(part) < 3 or not (part.isalpha() and part.isascii()):
            continue
        for hit in _apart(part.lower()).finditer(folded):
            gaps = [gap for gap in hit.groups() if gap]
            pieces = re.split(r"[\s.\-_]+", hit.group())
            lines = bool(gaps) and all("\n" in gap for gap in gaps) and len(part) > 3
            blank = (
                len(gaps) == 1
                and not gaps[0].strip(" \t")
                and len(part) >= _FAMILY_LETTERS
                and pieces[0][:1].isupper()
                and not all(_is_word(piece) for piece in pieces)
            )
            if len(gaps) == len(part) - 1 or lines or blank:
                yield hit.start(), hit.end(), "name"


@functools.lru_cache(maxsize=256)
def _apart(part: str) -> re.Pattern[str]:
    return re.compile(r"(?<![A-Za-z])" + r"([\s.\-_]{0,6})".join(map(re.escape, part)) + r"(?![A-Za-z])", re.IGNORECASE)


def _is_word(piece: str) -> bool:
    """Whether a piece is a word of its own: listed, or too short to tell."""
    return len(piece) <= 3 or piece.lower() in _common()


@functools.cache
def _common() -> frozenset[str]:
    return frozenset(str(word).lower() for name in ("words", "common", "also_words") for word in terms()[name])


def _one_apart(a: str, b: str) -> bool:
    """Whether one letter was changed, added, left out, or two neighbours swapped; the first letter must agree."""
    if a == b or abs(len(a) - len(b)) > 1 or a[:1] != b[:1]:
        return False
    start = next((i for i, (x, y) in enumerate(zip(a, b)) if x != y), min(len(a), len(b)))
    if len(a) == len(b):
        swapped = a[start : start + 2] == b[start : start + 2][::-1] and a[start + 2 :] == b[start + 2 :]
        return swapped or a[start + 1 :] == b[start + 1 :]
    longer, shorter = (a, b) if len(a) > len(b) else (b, a)
    return longer[start + 1 :] == shorter[start:]
