"""A report to claims: which finding is stated or denied, where, on which side, with which grade. Words alone decide.

Convention: a report is cut into lines, a line into sentences. A finding takes the place that a preposition ties to it
("fracture of L1"), else the last fitting one before it in its sentence, else the first behind it, else the place that
its line or a heading ("L4/5:") named before. A vertebra fits a body, a disc fits a disc; of a slip the upper vertebra
names the disc. Sides and grades go to the nearest finding that can have them, across no more commas than needed.

Trap: what is hedged ("possible", "cannot be excluded"), conditional ("if") or not assessable is no claim, neither for
nor against. A finding without a place claims a place for nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from bench.extract.plain import plain_text
from bench.reports.lexicon import FindingWords, Lexicon, grade_of, load_lexicon
from spinemed.anatomy import DISCS, REGULAR, Disc, Level, LevelRange, Mention, Segment, Spine, find_levels, resolve
from spinemed.records import Record

__all__ = ["Claim", "read_report"]

_SENTENCE = re.compile(r"(?<=[。；;!?？！])|(?<=[.])(?=\s+\S|$)")
_BULLET = re.compile(r"^\s*(?:[-*•·]|\d{1,2}[.)、]|[一二三四五六][、.])\s*")
_TIE = re.compile(
    r"^[^;；。]{0,30}?\b(?:at|of|in|involving|within|from|between)\s+(?:the\s+|vertebra\s+|level\s+)?$", re.I
)
_JOIN = re.compile(r"^\s*(?:vertebra\w*\s*)?(?:,|、|，|/|and|or|&|和|及|与|,\s*and|but\s+also)\s*(?:of\s+)?$", re.I)
_ON = re.compile(r"\s+(?:relative\s+to|on|over)\s+", re.I)
_OTHER = re.compile(r"\b(?:other|further|additional|else)\b|其他|其它|另外", re.I)
_LONGEST = 800
_BREAK = re.compile(r"[,，;；]|\band\b|\bwith\b|伴|及")


class Claim(Record):
    """One thing that a report states."""

    finding: str
    """Name of the finding in the lexicon."""
    level: Level | None = None
    """Of what concerns a vertebra."""
    disc: Disc | None = None
    """Of what concerns a disc."""
    side: str | None = None
    """`left` or `right`; a bilateral finding is two claims."""
    grade: str | None = None
    """In the words of the finding's scheme."""
    present: bool = True
    """False where it is denied."""

    @property
    def place(self) -> Level | Disc | None:
        """Vertebra or disc, or None where none is stated."""
        return self.disc or self.level


@dataclass(frozen=True)
class _Place:
    start: int
    end: int
    bodies: tuple[Level, ...]
    discs: tuple[Disc, ...]


@dataclass
class _Hit:
    """A finding's words in a sentence."""

    name: str
    words: FindingWords
    start: int
    end: int
    sides: frozenset[str] = frozenset()
    grade: str | None = None


def read_report(text: str, *, spine: Spine = REGULAR, lexicon: Lexicon | None = None) -> list[Claim]:
    """Everything that a report claims, in order, each claim once.

    Args:
        text: A reply, verbatim; reasoning and markup are taken off.
        spine: The patient's column: which vertebrae are neighbours.
        lexicon: The words; the bundled ones unless given.
    """
    words = lexicon or load_lexicon()
    plain = plain_text(text)
    if plain is None:
        return []
    claims: dict[Claim, None] = {}
    heading: _Place | None = None
    for line in plain.splitlines():
        indented = _BULLET.match(line) is not None
        body = _BULLET.sub("", line).strip()
        if not body:
            continue
        carried = heading if indented else None
        named: _Place | None = None
        for sentence in _sentences(body):
            places = list(_places(sentence, spine))
            hits = _hits(sentence, words)
            for claim in _claims(sentence, hits, places, carried, spine, words):
                claims[claim] = None
            if places:
                carried = named = places[-1]
            if places and not hits and body.endswith((":", "：")):
                heading = places[-1]
        if not indented and not (named is not None and body.endswith((":", "："))):
            heading = None
    together: dict[tuple[str, Level | Disc | None, bool], list[Claim]] = {}
    for claim in claims:
        together.setdefault((claim.finding, claim.place, claim.present), []).append(claim)
    return [
        claim
        for claim in claims
        if not any(_says_more(other, claim) for other in together[claim.finding, claim.place, claim.present])
    ]


def _says_more(other: Claim, claim: Claim) -> bool:
    """Whether another claim of the same finding and place says all that this one says, and a side or grade besides."""
    same = (other.side, other.grade) == (claim.side, claim.grade)
    return not same and claim.side in (None, other.side) and claim.grade in (None, other.grade)


def _sentences(line: str) -> Iterator[str]:
    """Sentences of a line; one without an end is cut at gaps, so that time grows with the length of a report alone."""
    for part in _SENTENCE.split(line):
        rest = part.strip()
        while len(rest) > _LONGEST:
            cut = max(rest.rfind(gap, 0, _LONGEST) for gap in ",，、 ")
            cut = cut if cut > 0 else _LONGEST
            yield rest[:cut]
            rest = rest[cut:].lstrip(",，、 ")
        if rest:
            yield rest


# --- places ----------------------------------------------------------------------------------------------------------


def _places(sentence: str, spine: Spine) -> Iterator[_Place]:
    """Mentions of vertebrae and discs, those of one list together."""
    group: list[Mention] = []
    for mention in find_levels(sentence, spine=spine):
        if not _bodies(mention, spine) and not _discs(mention, spine):
            continue
        if group and _ON.fullmatch(sentence[group[-1].end : mention.start]):
            disc = _slipped(group[-1], mention, spine)
            if disc is not None:  # "L4 on L5" is the disc between them
                yield _Place(group[-1].start, mention.end, (), (disc,))
                group = []
                continue
        if group and not _JOIN.match(sentence[group[-1].end : mention.start]):
            yield _joined(group, spine)
            group = []
        group.append(mention)
    if group:
        yield _joined(group, spine)


def _slipped(upper: Mention, lower: Mention, spine: Spine) -> Disc | None:
    first, second = _bodies(upper, spine), _bodies(lower, spine)
    return _between(first[0], second[0]) if len(first) == len(second) == 1 else None


def _joined(group: list[Mention], spine: Spine) -> _Place:
    bodies = tuple(dict.fromkeys(level for mention in group for level in _bodies(mention, spine)))
    discs = tuple(dict.fromkeys(disc for mention in group for disc in _discs(mention, spine)))
    return _Place(group[0].start, group[-1].end, bodies, discs)


def _bodies(mention: Mention, spine: Spine) -> tuple[Level, ...]:
    level = resolve(mention.reading, Level)
    if level is not None:
        return (level,)
    range_ = resolve(mention.reading, LevelRange)
    if range_ is None:
        return ()
    try:
        return range_.levels(spine)
    except ValueError:
        return ()


def _discs(mention: Mention, spine: Spine) -> tuple[Disc, ...]:
    reading = mention.reading
    disc = resolve(reading, Disc)
    if disc is not None:
        return (disc,)
    segment = resolve(reading, Segment)
    if segment is not None and segment.disc is not None:
        return (segment.disc,)
    candidates = getattr(reading, "candidates", ())
    chain = tuple(one for one in candidates if isinstance(one, Disc))
    if chain:
        return chain
    return tuple(found for found in (_between(*pair) for pair in pairwise(_bodies(mention, spine))) if found)


def _between(upper: Level, lower: Level) -> Disc | None:
    return next((disc for disc in DISCS if (disc.upper, disc.lower) == (upper, lower)), None)


def _fitting(place: _Place, hit: _Hit, spine: Spine) -> tuple[Level | Disc, ...]:
    """What of a place a finding can sit at."""
    if hit.words.place == "body":
        return place.bodies if not place.discs or len(place.bodies) > len(place.discs) else ()
    if place.discs or hit.name != "slip" or len(place.bodies) != 1:
        return place.discs
    order = spine.levels
    at = order.index(place.bodies[0]) if place.bodies[0] in order else -1
    below = _between(order[at], order[at + 1]) if 0 <= at < len(order) - 1 else None
    return (below,) if below is not None else ()


def _place_of(
    sentence: str, hit: _Hit, hits: list[_Hit], places: list[_Place], carried: _Place | None, spine: Spine
) -> tuple[Level | Disc, ...]:
    fitting = [(place, found) for place in places if (found := _fitting(place, hit, spine))]
    ahead = [(place, found) for place, found in fitting if place.end <= hit.start]
    behind = [(place, found) for place, found in fitting if place.start >= hit.end]
    if behind:
        place, found = behind[0]
        between = sentence[hit.end : place.start]
        other = any(hit.end <= one.start < place.start for one in hits)
        if not other and _TIE.match(between):
            rest = [more for later, more in behind[1:] if _tied_on(sentence, place, later)]
            return tuple(dict.fromkeys([*found, *(one for more in rest for one in more)]))
    if ahead:
        return ahead[-1][1]
    if behind:
        return behind[0][1]
    return _fitting(carried, hit, spine) if carried is not None and not places else ()


def _tied_on(sentence: str, first: _Place, later: _Place) -> bool:
    return re.fullmatch(r"\s*(?:,\s*)?and\s+(?:at|of|in)\s+(?:the\s+)?", sentence[first.end : later.start]) is not None


# --- findings --------------------------------------------------------------------------------------------------------


def _hits(sentence: str, words: Lexicon) -> list[_Hit]:
    hits = [
        _Hit(name, finding, match.start(), match.end())
        for name, finding in words.findings.items()
        for match in finding.found.finditer(sentence)
    ]
    hits.sort(key=lambda hit: (hit.start, -hit.end))
    kept: list[_Hit] = []
    for hit in hits:
        if kept and hit.start < kept[-1].end:
            continue  # "disc degeneration, Pfirrmann IV": words inside a longer finding are its own
        kept.append(hit)
    return kept


def _attach(sentence: str, hits: list[_Hit], words: Lexicon) -> None:
    """Sides and grades to the findings that they stand nearest to."""

    def nearest(start: int, end: int, able: list[_Hit]) -> _Hit | None:
        def cost(hit: _Hit) -> tuple[int, int]:
            gap = sentence[end : hit.start] if hit.start >= end else sentence[hit.end : start]
            return len(_BREAK.findall(gap)), len(gap)

        return min(able, key=cost, default=None)

    sided = [hit for hit in hits if hit.words.sided]
    for side in ("bilateral", "left", "right"):
        for match in words.pattern(f"sides.{side}").finditer(sentence):
            hit = nearest(match.start(), match.end(), sided)
            if hit is not None:
                hit.sides |= {"left", "right"} if side == "bilateral" else {side}
    taken: list[tuple[int, int]] = []
    explicit = sorted(words.grades, key=lambda scheme: scheme == "genant")
    for scheme in explicit:
        able = [hit for hit in hits if hit.words.scheme == scheme]
        if not able:
            continue
        for match in words.pattern(f"grades.{scheme}").finditer(sentence):
            if any(match.start() < end and start < match.end() for start, end in taken):
                continue
            others = [hit for hit in hits if hit.words.scheme or hit.words.sided or scheme == "genant"]
            hit = nearest(match.start(), match.end(), others if _bare(match) else able)
            if hit is not None and hit.words.scheme == scheme and hit.grade is None:
                hit.grade = grade_of(scheme, match)
                taken.append(match.span())


def _bare(match: re.Match[str]) -> bool:
    """Whether a grade's words name no scheme, so that they may belong to any finding."""
    return not re.match(r"Genant|Meyerding|Pfirrmann|Schizas|Lee|Modic", match[0], re.I)


def _denied(sentence: str, hit: _Hit, words: Lexicon) -> bool:
    before = sentence[: hit.start]
    denials = list(words.pattern("denials.before").finditer(before))
    never = [match.span() for match in words.pattern("denials.never").finditer(sentence)]
    denials = [match for match in denials if not any(start <= match.start() < end for start, end in never)]
    if denials and not words.pattern("denials.ends").search(sentence[denials[-1].end() : hit.start]):
        return True
    return words.pattern("denials.behind").search(sentence[hit.end :]) is not None


def _claims(
    sentence: str, hits: list[_Hit], places: list[_Place], carried: _Place | None, spine: Spine, words: Lexicon
) -> Iterator[Claim]:
    if not hits or words.pattern("skipped").search(sentence) or words.pattern("unsure").search(sentence):
        return
    _attach(sentence, hits, words)
    for hit in hits:
        present = not _denied(sentence, hit, words)
        found = _place_of(sentence, hit, hits, places, carried, spine)
        if not present and _OTHER.search(sentence[max(0, hit.start - 30) : hit.start]):
            found = ()  # "no other fracture" is said of the rest
        for place in found or (None,):
            sides: list[str | None] = [*sorted(hit.sides)] or [None]
            for side in sides:
                yield Claim(
                    finding=hit.name,
                    level=place if isinstance(place, Level) else None,
                    disc=place if isinstance(place, Disc) else None,
                    side=side if present else None,
                    grade=hit.grade if present else None,
                    present=present,
                )
