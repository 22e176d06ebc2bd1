"""From vertebrae found in a text, and the word beside them, to what they mean.

`mentions` finds a `Group` ("L4-5", joined by a dash, the word "disc" behind it); `interpret` gives its reading. Where
the words leave several meanings, the reading is `Ambiguous` and lists them.

The trap: "L4/5" and "L4-5" are not the same. A slash names the interspace and is read as the disc unless a word says
otherwise; a dash may also mean the two vertebrae, so it stays ambiguous between neighbours.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, auto
from itertools import pairwise

from spinemed.anatomy.levels import Level, Region
from spinemed.anatomy.readings import Ambiguous, LevelRange, Reading, describe, named_spine
from spinemed.anatomy.roots import Root
from spinemed.anatomy.segments import Disc, Segment
from spinemed.anatomy.spine import Spine
from spinemed.errors import LevelError

__all__ = ["Cue", "Doubt", "Group", "Join", "Refusal", "interpret", "joined", "part_text"]

Part = tuple[Region, int]


class Join(Enum):
    """How a second vertebra follows the first."""

    SLASH = auto()  # L4/5
    TOUCH = auto()  # L5S1
    DASH = auto()  # L4-5, T10-L2
    TO = auto()  # T10 to L2
    BETWEEN = auto()  # between L4 and L5


class Cue(Enum):
    """What the words beside a group say it is."""

    ROOT = auto()
    CORD = auto()
    DISC = auto()
    SEGMENT = auto()
    SEVERAL = auto()  # vertebrae, bodies, fractures: more than one bone
    LEVEL = auto()
    LEVELS = auto()
    RUNS_ON = auto()  # T10 to the pelvis
    BONE = auto()
    MR = auto()
    STAGE = auto()
    OTHER = auto()


class Doubt(Enum):
    """Codes that are often something else."""

    WEIGHTING = "T1 and T2 without a word beside them may be MR weightings"
    DORSAL = "D with a number may be a thoracic vertebra or an abbreviation"


@dataclass
class Group:
    """Vertebrae that one stretch of text names together.

    Attributes:
        start, end: Offsets of the stretch.
        parts: Region and number of each vertebra, as written; a number may be out of range.
        joins: How each part follows the one before.
        weak: Whether the form is also everyday language ("axis", "C 2") and needs company in free text.
        doubt: Why the code may be something else, if it may.
        fixed: The reading, where the words alone decide it ("sacrum", "coccygeal nerve").
        cue: What the words beside it say.
        ahead: Whether that word stands before the group (and so governs a list that follows).
        sure: Whether to read a doubtful code as a vertebra, because the whole text must be one.
        spoken: Whether it is written as words ("fifth lumbar"), which may also end a phrase.
    """

    start: int
    end: int
    parts: list[Part] = field(default_factory=list)
    joins: list[Join] = field(default_factory=list)
    weak: bool = False
    doubt: Doubt | None = None
    fixed: Reading | None = None
    cue: Cue | None = None
    ahead: bool = False
    sure: bool = False
    spoken: bool = False


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a stretch that looks like a level names no part of the spine."""

    why: str


_LETTER = {Region.CERVICAL: "C", Region.THORACIC: "T", Region.LUMBAR: "L", Region.SACRAL: "S"}
_LEVEL: dict[Part, Level] = {(level.region, level.number): level for level in Level}
_ROOT = {root.name: root for root in Root}
_BONE_CUES = (Cue.BONE, Cue.SEVERAL, Cue.LEVEL, Cue.LEVELS)


def interpret(group: Group, spine: Spine | None, prefer: type = Disc) -> Reading | Refusal:
    """The reading of a group, or why it names no part of the spine.

    Args:
        group: What was found.
        spine: The patient's column, which decides who are neighbours; None for the regular one.
        prefer: The type that an unmarked "L4/5" or "L5" stands for: `Disc`, `Segment` or `Root`.
    """
    if group.cue is Cue.MR:
        return Refusal("this is an MR weighting, not a vertebra")
    if group.cue is Cue.OTHER:
        return Refusal("the words beside it say that this is no vertebra")
    if group.fixed is not None:
        return group.fixed
    if group.cue is Cue.RUNS_ON:
        return Ambiguous((), "it runs on to the sacrum or pelvis, which are no single level")
    if len(group.parts) == 1:
        return _one(group, spine, prefer)
    return _several(group, spine, prefer)


def part_text(part: Part) -> str:
    """A part as one writes it, valid or not: "L9", "C8"."""
    region, number = part
    return f"{_LETTER[region]}{number}" if region in _LETTER else str(region)


def _one(group: Group, spine: Spine | None, prefer: type) -> Reading | Refusal:
    part = group.parts[0]
    root = Root.COCCYGEAL if part[0] is Region.COCCYGEAL else _ROOT.get(part_text(part))
    if group.cue is Cue.ROOT or (prefer is Root and group.cue is None):
        return root or Refusal(f"there is no nerve root {part_text(part)}")
    level = _LEVEL.get(part)
    if level is None:
        if root is not None and group.cue not in _BONE_CUES:
            return root  # C8: only a root can be meant
        return Refusal(_why_invalid(part))
    column = spine or named_spine(level)
    if group.cue is Cue.CORD:
        roots = () if root is None else (root,)
        return Ambiguous((*roots, level), "a cord segment or neurological level is not the vertebra of its name")
    if group.cue is Cue.DISC:
        discs = tuple(disc for disc in column.discs if level in (disc.upper, disc.lower))
        return Ambiguous(discs, f"a disc is named by two vertebrae, not by {level} alone")
    if group.cue is Cue.SEGMENT and level.region is not Region.SACRAL:  # "first sacral segment" is S1
        touching = tuple(segment for segment in column.segments if level in (segment.upper, segment.lower))
        return Ambiguous((level, *touching), f"{level} takes part in more than one segment")
    if group.cue is Cue.STAGE:
        return Ambiguous((level,), "T1 to T4 before a tumour may be its stage")
    if group.doubt is not None and group.cue is None and not group.sure:
        return Ambiguous((level,), group.doubt.value)
    return level


def _several(group: Group, spine: Spine | None, prefer: type) -> Reading | Refusal:
    known = [_LEVEL.get(part) for part in group.parts]
    levels = [level for level in known if level is not None]
    if group.cue is Cue.ROOT or any(part_text(part) == "C8" for part in group.parts):
        return _roots(group)
    if len(levels) < len(known):
        wrong = next(part for part, level in zip(group.parts, known) if level is None)
        return Ambiguous((), _why_invalid(wrong))
    if len(set(levels)) < len(levels):
        return Ambiguous(tuple(dict.fromkeys(levels)), "the same vertebra is named twice")
    if levels not in (sorted(levels), sorted(levels, reverse=True)):
        return Ambiguous(tuple(levels), "the vertebrae are not in order")
    levels.sort()
    if len(levels) > 2:
        return _chain(group, levels, spine)
    return _pair(group, levels[0], levels[1], spine, prefer)


def _pair(group: Group, upper: Level, lower: Level, spine: Spine | None, prefer: type) -> Reading | Refusal:
    column = spine or named_spine(upper, lower)
    span = LevelRange(upper, lower)
    join = group.joins[0]
    if not column.adjacent(upper, lower):
        return _apart(group, span, column, spine is not None)
    segment = Segment(upper, lower)
    disc = segment.disc
    discs = () if disc is None else (disc,)
    if group.cue is Cue.DISC:
        return disc or Ambiguous((segment,), f"there is no disc at {segment}")
    if group.cue is Cue.SEGMENT:
        return segment
    if group.cue in (Cue.SEVERAL, Cue.LEVELS):
        return span
    if group.cue is Cue.LEVEL or join is Join.BETWEEN:
        return Ambiguous((*discs, segment), "an interspace is a disc or a segment") if discs else segment
    if join is Join.TO:
        return span
    if group.doubt is not None and group.cue is None and not group.sure:
        return Ambiguous((*discs, segment, span), group.doubt.value)
    if join in (Join.SLASH, Join.TOUCH):
        return segment if prefer is Segment or disc is None else disc
    return Ambiguous((*discs, segment, span), "a dash joins two neighbours or names what lies between them")


def _apart(group: Group, span: LevelRange, column: Spine, own: bool) -> Reading:
    """Two levels that are not neighbours in this column."""
    inside = column.between(span.first, span.last) if span.first in column and span.last in column else ()
    if group.cue is Cue.DISC and inside:
        pairs = [Segment(*pair).disc for pair in pairwise(inside)]
        return Ambiguous(tuple(disc for disc in pairs if disc is not None), f"several discs lie between {span}")
    if group.cue is Cue.SEGMENT and inside:
        return Ambiguous(tuple(Segment(*pair) for pair in pairwise(inside)), f"several segments lie between {span}")
    if group.joins[0] in (Join.DASH, Join.TO):
        doubted = group.doubt is not None and group.cue is None and not group.sure
        return Ambiguous((span,), group.doubt.value) if group.doubt is not None and doubted else span
    # L4/S1 or T11/L1 written as an interspace exists only in a column that lacks the vertebra between.
    try:
        only = () if own else (Disc(span.first, span.last), Segment(span.first, span.last))
    except LevelError:
        only = ()
    why = f"{span.first} and {span.last} are neighbours {'only in some spines' if only else 'in no spine'}"
    return Ambiguous((*only, span, span.first, span.last), why if not own else f"{span} is no segment of this spine")


def _chain(group: Group, levels: list[Level], spine: Spine | None) -> Reading:
    """Three or more in one breath: L4-L5-S1, C4/5/6."""
    span = LevelRange(levels[0], levels[-1])
    column = spine or named_spine(*levels)
    if not all(column.adjacent(*pair) for pair in pairwise(levels)):
        return Ambiguous(tuple(levels), "a chain of vertebrae that are no neighbours")
    if group.cue in (Cue.SEVERAL, Cue.LEVELS):
        return span
    discs = [Segment(*pair).disc for pair in pairwise(levels)]
    return Ambiguous((span, *(disc for disc in discs if disc is not None)), "a chain names vertebrae or their discs")


def _roots(group: Group) -> Reading | Refusal:
    names = [part_text(part) for part in group.parts]
    if any(name not in _ROOT for name in names):
        return Refusal(f"there is no nerve root {next(name for name in names if name not in _ROOT)}")
    ends = sorted(_ROOT[name] for name in names)
    between = tuple(root for root in Root if ends[0] <= root <= ends[-1])
    return Ambiguous(between, "several nerve roots are named together")


def _why_invalid(part: Part) -> str:
    region, _ = part
    if part_text(part) == "C8":
        return "C8 is a nerve root; there is no vertebra C8"
    legal = region.levels
    return f"{part_text(part)} is no vertebra; the {region} ones are {legal[0]} to {legal[-1]}"


def joined(readings: list[Reading]) -> Reading:
    """One reading for several that one text names; the same one if they agree ("C1 (atlas)")."""
    distinct = list(dict.fromkeys(readings))
    if len(distinct) == 1:
        return distinct[0]
    candidates: dict[Level | Disc | Segment | Root | LevelRange, None] = {}
    for reading in distinct:
        for candidate in reading.candidates if isinstance(reading, Ambiguous) else (reading,):
            candidates[candidate] = None
    return Ambiguous(tuple(candidates), f"the text names {len(distinct)} things: {', '.join(map(describe, distinct))}")
