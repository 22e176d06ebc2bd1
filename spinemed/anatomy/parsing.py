"""Read a text that must name a part of the spine: the one place where text becomes a `Level` or a `Disc`.

Each function says what kind the text must be, and that settles what the notation leaves open: `parse_disc("L4-L5")` is
the disc, `parse_segment("L4-L5")` the segment. Where the kind does not settle it, `LevelError` names the candidates;
`read` returns them instead. For levels inside longer sentences use `find_levels`.

The trap: `parse_levels("L4-L5")` refuses, since a dash between neighbours usually names what lies between them. Write
"L4 to L5", "L4, L5" or "L4-L5 vertebrae".
"""

from __future__ import annotations

import re

from spinemed.anatomy import lexicon
from spinemed.anatomy.interpret import joined
from spinemed.anatomy.levels import Level, Region
from spinemed.anatomy.mentions import Finding, scan
from spinemed.anatomy.readings import Ambiguous, Kind, LevelRange, Reading, describe, resolve
from spinemed.anatomy.roots import Root
from spinemed.anatomy.segments import Disc, Segment
from spinemed.anatomy.spine import Spine
from spinemed.errors import LevelError

__all__ = ["parse_disc", "parse_level", "parse_levels", "parse_root", "parse_segment", "read"]

_EXAMPLES = {
    Level: "one vertebra, like L3, Th7, 'fifth lumbar' or 腰4",
    Disc: "one disc, like L4/5, C7/T1 or 腰4/5",
    Segment: "two neighbouring vertebrae, like L4/5 or C0/1",
    Root: "one nerve root, like 'L5 root' or C8",
}


def read(text: str, *, spine: Spine | None = None) -> Reading:
    """What a whole text means; `Ambiguous` with the candidates where it may mean several things.

    Args:
        text: Level, disc, segment, root or range, with nothing else but words like "vertebra" or "the".
        spine: The patient's column, which decides who are neighbours. Default: the regular one, with T13 or L6 added
            where the text names them.

    Raises:
        LevelError: if the text names none, names one that does not exist (L9), or holds other words.
    """
    return _read(text, spine, Disc, "level", "write " + _EXAMPLES[Level])


def parse_level(text: str) -> Level:
    """The one vertebra that a text names: "L3", "L3 vertebral body", "Th 12", "5th lumbar", "腰4", "atlas".

    Raises:
        LevelError: if it names none, several, or something else (a disc, a root, the sacrum).
    """
    return _parse(text, Level, None)


def parse_disc(text: str, *, spine: Spine | None = None) -> Disc:
    """The one disc that a text names: "L4/5", "L4-L5", "T12–L1", "L5S1", "腰4/5椎间盘".

    Args:
        text: The text.
        spine: The patient's column; the disc must be one of its own.

    Raises:
        LevelError: if it names none, several, or one this spine lacks.
    """
    return _parse(text, Disc, spine)


def parse_segment(text: str, *, spine: Spine | None = None) -> Segment:
    """The one segment that a text names: "L4/5", "C0-C1", "C1/2", "S1/2".

    Args:
        text: The text.
        spine: The patient's column; the segment must be one of its own.

    Raises:
        LevelError: if it names none, several, or one this spine lacks.
    """
    return _parse(text, Segment, spine)


def parse_root(text: str) -> Root:
    """The one nerve root that a text names: "L5 root", "S1 nerve root", "C8", "L5" (nothing but a root is asked for).

    Raises:
        LevelError: if it names none, several, or something else ("L5 vertebra").
    """
    return _parse(text, Root, None)


def parse_levels(text: str, *, spine: Spine | None = None) -> tuple[Level, ...]:
    """Every vertebra of a list or range, head to foot, each once: "T10-L2", "L1, L3 and L5", "L2 to L4", "腰3-5".

    Args:
        text: The text.
        spine: The patient's column, through which ranges run. Default: the regular one, with T13 or L6 added where the
            range ends there.

    Raises:
        LevelError: if it names none, a pair that may be a disc ("L4-L5", "L4/5"), something else, or a level that this
            spine lacks.
    """
    findings = _findings(text, spine, Disc, "levels", "write vertebrae like 'T10-L2' or 'L1, L3 and L5'")
    levels: set[Level] = set()
    for found in findings:
        reading = found.reading
        if isinstance(reading, Level):
            levels.add(reading)
        elif isinstance(reading, LevelRange):
            levels.update(reading.levels(spine))
        elif reading is not None:
            why = f": {reading.why}" if isinstance(reading, Ambiguous) else ""
            raise LevelError(
                f"{_quoted(text[found.start : found.end])} may mean {describe(reading)}{why}",
                field="levels",
                cure="write vertebrae as 'L4, L5' or 'L4 to L5'; for discs use parse_disc",
            )
    if spine is not None:
        for level in levels:
            spine.index(level)
    return tuple(sorted(levels))


def _parse(text: str, kind: type[Kind], spine: Spine | None) -> Kind:
    name = kind.__name__.lower()
    cure = "write " + _EXAMPLES[kind]
    reading = _read(text, spine, kind, name, cure)
    found = resolve(reading, kind)
    if found is not None:
        return found
    why = f" ({reading.why})" if isinstance(reading, Ambiguous) else ""
    raise LevelError(f"{_quoted(text)} names {describe(reading)}, not one {name}{why}", field=name, cure=cure)


def _read(text: str, spine: Spine | None, prefer: type, field: str, cure: str) -> Reading:
    findings = _findings(text, spine, prefer, field, cure)
    return joined([found.reading for found in findings if found.reading is not None])


def _findings(text: str, spine: Spine | None, prefer: type, field: str, cure: str) -> list[Finding]:
    """All findings of a text that holds nothing else; every one of them with a reading."""
    if not isinstance(text, str):
        raise LevelError(f"expected text, found {type(text).__name__}", field=field, cure=cure)
    findings = scan(text, spine=spine, whole=True, prefer=prefer)
    refused = next((found for found in findings if found.reading is None), None)
    if refused is not None:
        raise LevelError(f"{_quoted(text)} names no {field}: {refused.why}", field=field, cure=cure)
    if not findings:
        raise LevelError(f"{_quoted(text)} names no {field}", field=field, cure=cure)
    regions = _regions_beside(text, findings, field)
    named = {region for found in findings if found.reading is not None for region in _regions(found.reading)}
    if regions - named:
        raise LevelError(
            f"{_quoted(text)} says {', '.join(sorted(regions - named))} but names {', '.join(sorted(named))}",
            field=field,
            cure="make the region and the level agree",
        )
    return findings


def _regions_beside(text: str, findings: list[Finding], field: str) -> set[Region]:
    """The regions named by the words around the findings, which must be filler words.

    Raises:
        LevelError: if other words are left.
    """
    folded = lexicon.fold(text)
    regions: set[Region] = set()
    at = 0
    for found in [*findings, Finding(len(text), len(text), None)]:
        while at < found.start:
            filler = lexicon.FILLER.match(folded, at)
            if filler is None:
                rest = re.split(r"\s", text[at:].strip(), maxsplit=1)[0]
                raise LevelError(
                    f"{_quoted(text)} holds more than a {field}: {_quoted(rest)}",
                    field=field,
                    cure="give the level alone, or read sentences with find_levels",
                )
            if filler["region"]:
                regions.add(lexicon.REGION_OF_WORD[filler["region"].lower()])
            at = filler.end()
        at = max(at, found.end)
    return regions


def _regions(reading: Reading) -> set[Region]:
    match reading:
        case Level() | Root():
            return {reading.region}
        case Disc() | Segment():
            return {reading.upper.region, reading.lower.region}
        case LevelRange():
            return {reading.first.region, reading.last.region}
        case _:
            return {region for candidate in reading.candidates for region in _regions(candidate)}


def _quoted(text: str) -> str:
    """A text as it may stand in a message: short, on one line."""
    return repr(text if len(text) <= 60 else text[:57] + "...")
