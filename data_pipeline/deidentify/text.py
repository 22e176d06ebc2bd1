"""Free text made anonymous: the case's own values, then patterns; dates moved, everything else replaced by a tag.

Convention: a place is masked once, under the category of the strongest rule that found it. Equal values get equal tags
(`[NAME-1]`) within one case, whatever their spelling's case. Dates move by the patient's shift and keep their form, so
intervals survive. Offsets of what was masked are kept for review, the words are not.

Trap: rules find what has a form or a place. A name that stands nowhere in the header and follows no title looks like
any other word: words that look so make the status `review`, and a text in review stays sealed.
"""

from __future__ import annotations

import datetime
import functools
import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from data_pipeline.deidentify.dates import move_date
from data_pipeline.deidentify.identity import CaseIdentity, visible
from data_pipeline.deidentify.patterns import PATTERNS
from data_pipeline.deidentify.search import find_identity, plain, terms
from data_pipeline.deidentify.status import DeidRecord, Sealed, Status, text_hash
from spinemed.anatomy import find_levels

__all__ = ["RULES_VERSION", "Masked", "Tags", "TextResult", "deidentify_text", "find_protected"]

RULES_VERSION = "3"
_LONGEST = 2_000_000
_BROKEN_WORD = re.compile(r"(?<=[A-Za-z])-[ \t]{0,8}\r?\n[ \t]{0,8}(?=[a-z])")
"""A hyphen at the end of a line: a name broken there would be two other words."""


@dataclass(frozen=True)
class Masked:
    """One place that was masked: where it stood in the visible text, where its stand-in stands, and by which rule."""

    start: int
    end: int
    out_start: int
    out_end: int
    category: str
    rule: str


@dataclass
class Tags:
    """The stand-ins of one case: equal values, equal tags, over all its texts."""

    shift: datetime.timedelta
    known: dict[tuple[str, str], str] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"<tags for {len(self.known)} values>"

    def tag(self, category: str, value: str) -> str:
        """The tag of a value."""
        key = (category, re.sub(r"[\W_]+", "", plain(value).lower()))
        if key not in self.known:
            number = 1 + sum(1 for kind, _ in self.known if kind == category)
            self.known[key] = f"[{category.upper()}-{number}]"
        return self.known[key]


@dataclass(frozen=True)
class TextResult:
    """A text without what was found, how far it can be trusted, and what a person must look at."""

    text: str
    record: DeidRecord
    masked: tuple[Masked, ...]
    doubtful: tuple[tuple[int, int], ...]
    """Places in `text` that look like a name and are none that is known."""


def deidentify_text(sealed: Sealed[str], identity: CaseIdentity, tags: Tags, *, id_: str) -> TextResult:
    """Take out what identifies the patient, relatives, staff and places.

    Args:
        sealed: The text.
        identity: Values of the case's header and registration row.
        tags: Stand-ins of this case and its date shift; grows.
        id_: Id for the record: of the document, not of the patient.

    Returns:
        The result; `record.status` is `clean`, or `review` where something looks like a name.

    Raises:
        ValueError: The text is longer than two million signs: split it first.
    """
    text = sealed.open_for_deidentification()
    if len(text) > _LONGEST:
        raise ValueError(f"a text of {len(text)} signs; at most {_LONGEST} are searched at once")
    text = _BROKEN_WORD.sub("", visible(text))
    hits = _without_overlap(_identity_hits(text, identity) + _pattern_hits(text))
    pieces: list[str] = []
    masked: list[Masked] = []
    at = length = 0
    for start, end, category, rule, match in hits:
        pieces.append(text[at:start])
        length += start - at
        new = _stand_in(text[start:end], category, match, tags)
        pieces.append(new)
        masked.append(Masked(start, end, length, length + len(new), category, rule))
        length += len(new)
        at = end
    pieces.append(text[at:])
    out = "".join(pieces)
    doubtful = _doubtful(out, [(m.out_start, m.out_end) for m in masked])
    status: Status = "review" if doubtful else "clean"
    record = DeidRecord(
        id=id_,
        kind="text",
        status=status,
        method=f"rules {RULES_VERSION}",
        result_sha256=text_hash(out),
        counts=dict(sorted(Counter(place.category for place in masked).items())),
        open_points=(f"{len(doubtful)} words that look like names",) if doubtful else (),
    )
    return TextResult(out, record, tuple(masked), tuple(doubtful))


Hit = tuple[int, int, str, str, Any]
"""Start, end, category, rule, match (for dates)."""


def _identity_hits(text: str, identity: CaseIdentity) -> list[tuple[int, Hit]]:
    return [
        (0, (start, end, category, "the case's own", None)) for start, end, category in find_identity(text, identity)
    ]


def _pattern_hits(text: str) -> list[tuple[int, Hit]]:
    folded = plain(text)
    protected = find_protected(text)
    found = []
    for rank, pattern in enumerate(PATTERNS, start=1):
        for match in pattern.regex.finditer(folded):
            start, end = match.span("v") if "v" in pattern.regex.groupindex else match.span()
            while end > start and folded[end - 1] in " ,.;:":
                end -= 1
            if end <= start or _yields(protected, start, end, pattern.loose):
                continue
            if pattern.category == "name" and _is_terms(folded[start:end]):
                continue
            if pattern.category == "date" and move_date(match, datetime.timedelta(0)) is None:
                continue
            found.append((rank, (start, end, pattern.category, pattern.name, match)))
    return found


def _yields(protected: list[tuple[int, int]], start: int, end: int, loose: bool) -> bool:
    """Whether a finding gives way to the terms it touches."""
    covered = sum(max(0, min(end, stop) - max(start, begin)) for begin, stop in protected)
    return covered > 0 if loose else covered >= end - start


def _is_terms(words: str) -> bool:
    """Whether a supposed name consists of terms alone."""
    parts = re.findall(r"[A-Za-z'\u4e00-\u9fff]+", words)
    return all(part in _kept_words() for part in parts)


_KEPT = ("eponyms", "abbreviations", "words", "common")


@functools.cache
def _kept_words() -> frozenset[str]:
    table = terms()
    return frozenset(plain(str(word)) for name in _KEPT for word in table[name])


@functools.cache
def _term_pattern() -> re.Pattern[str]:
    words = sorted(
        {plain(str(word)) for name in ("eponyms", "abbreviations") for word in terms()[name]}, key=len, reverse=True
    )
    return re.compile(r"(?<![A-Za-z0-9])(?:" + "|".join(map(re.escape, words)) + r")(?![A-Za-z0-9])")


# Grades and scores with their number: "Pfirrmann grade IV", "AO type A3", "Lenke 1A-", "TLICS 5", "power 4/5".
_GRADE = re.compile(
    r"(?:grade|type|stage|class|score|AO(?: ?spine)?|Lenke|Modic|Pfirrmann|Meyerding|Genant|TLICS|SINS|Schizas|Risser|"
    r"ASIA|Frankel|Nurick|mJOA|JOA|ODI|NDI|VAS|Kellgren|SF|power|strength|MRC|肌力|评分|分级|型)[ :]{0,2}"
    r"[A-F0-9IV]{1,4}(?:[./+\-][A-F0-9IV]{1,3})?(?![A-Za-z0-9])|(?<![\d/.])[0-5][+\-]?/5(?![\d/])|"
    r"(?<![A-Za-z0-9])(?:[TLCS]\d{1,2}[/\-][TLCS]?\d{1,2}|[AB][0-4](?:\.\d)?|N[0-4]|M[12]|F[1-4]|BL|SPECT/CT|BMP-2|"
    r"T[12]\*?(?:W|WI|WIs|FS|-FS|-TSE|-STIR)?|L[1-6]TV|HLA-B27|IL-6|SF-?36|SF-?12|EQ-?5D|F-?18|Tc-?99m|Ga-?68|I-?131|"
    r"\d{1,3}-\d{1,3})(?![A-Za-z0-9/\-])"
)


def find_protected(text: str) -> list[tuple[int, int]]:
    """Places of levels, grades and terms of the spine, which patterns leave alone; they may overlap."""
    folded = plain(text)
    found = [(mention.start, mention.end) for mention in find_levels(text)]
    found += [hit.span() for hit in _term_pattern().finditer(folded)]
    found += [hit.span() for hit in _GRADE.finditer(folded)]
    merged: list[tuple[int, int]] = []
    for start, end in sorted(found):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def _without_overlap(hits: list[tuple[int, Hit]]) -> list[Hit]:
    """One hit for each place: overlapping ones become their union under the strongest rule's name."""
    ordered = sorted(hits, key=lambda ranked: (ranked[1][0], -ranked[1][1], ranked[0]))
    groups: list[list[tuple[int, Hit]]] = []
    reach = -1
    for ranked in ordered:
        if groups and ranked[1][0] < reach:
            groups[-1].append(ranked)
        else:
            groups.append([ranked])
            reach = -1
        reach = max(reach, ranked[1][1])
    joined: list[Hit] = []
    for group in groups:
        start, end = min(hit[0] for _, hit in group), max(hit[1] for _, hit in group)
        # The case's own first, then the longest; of equals the rule that stands first.
        _, best = min(group, key=lambda ranked: (ranked[0] != 0, -(ranked[1][1] - ranked[1][0]), ranked[0]))
        # A date can be moved only when it is the whole place.
        match = best[4] if (best[0], best[1]) == (start, end) else None
        joined.append((start, end, best[2], best[3], match))
    return joined


def _stand_in(value: str, category: str, match: Any, tags: Tags) -> str:
    if category == "date" and match is not None:
        return move_date(match, tags.shift) or "[DATE]"
    if category == "date":
        return "[DATE]"
    if category == "age":
        return "90+"
    return tags.tag(category, value)


_PAIR = re.compile(
    r"(?<![A-Za-z\[])[A-Z][a-z]{1,20}(?:['’-][A-Z][a-z]{1,20})?[ ](?:[A-Z]\.[ ])?[A-Z][a-z]{1,20}(?![A-Za-z])"
)
_ALONE = re.compile(r"(?<=[a-z,] )[A-Z][a-z]{2,20}(?![A-Za-z])")
_ZH_ALONE = re.compile(r"(?:叫做?|名叫|人称|同事|朋友|邻居|同学|室友)[ ]?[\u4e00-\u9fff]{2,3}")
# Letters set apart one by one: no rule reads words in them.
_SPACED = re.compile(r"(?<![A-Za-z])[A-Za-z](?:[ \t]{1,2}[A-Za-z]){3,}(?![A-Za-z])")
# Letters of other scripts than the rules read (Latin, Greek, Chinese): nobody looked at them, and some pass for Latin.
_FOREIGN = re.compile(r"[\u0400-\u1dbf\u2c00-\u2dff\u3040-\u31bf\ua000-\ud7ff\U00010000-\U0001d3ff]+")


def _doubtful(text: str, masked: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Words written like names in the middle of a sentence, which are no terms, words in a foreign script, and letters
    set apart."""
    folded = plain(text)
    taken = [*find_protected(text), *masked]
    found: list[tuple[int, int]] = []
    for pattern in (_PAIR, _ALONE, _ZH_ALONE, _FOREIGN, _SPACED):
        for hit in pattern.finditer(folded):
            if any(start < hit.end() and hit.start() < end for start, end in (*taken, *found)):
                continue
            words = re.findall(r"[A-Za-z'\-]+", hit.group())
            if pattern is _SPACED:
                words = ["".join(words).title()]
            if words and sum(word not in _kept_words() for word in words) < (2 if pattern is _PAIR else 1):
                continue
            found.append(hit.span())
    return sorted(found)
