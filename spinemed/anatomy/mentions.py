"""Find every place in a free text that names a vertebra, disc, segment or root.

`find_levels` scans once from left to right. Each stretch that looks like a level is a `Group`; the words beside it give
it a `Cue` ("nerve root", "disc", "-weighted"), which lists share ("L4, L5 and S1 nerve roots"); then `interpret` reads
it. What the words show to be something else (T2-weighted, thyroid T4, Table S1, complement C3) is not a mention.

The trap: absence of a mention does not mean absence of a level. Doubtful forms come back as `Ambiguous`, and a text
that must be a level as a whole belongs to `parsing`, which also says why it refuses.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from spinemed.anatomy import lexicon
from spinemed.anatomy.interpret import Cue, Doubt, Group, Join, Part, Refusal, interpret, part_text
from spinemed.anatomy.levels import Region
from spinemed.anatomy.readings import Ambiguous, Mention, Reading
from spinemed.anatomy.roots import Root
from spinemed.anatomy.segments import Disc
from spinemed.anatomy.spine import Spine

__all__ = ["Finding", "find_levels", "scan"]

_LOOK_BACK = 56
_LONGEST_CHAIN = 30
_SACRUM = Ambiguous(Region.SACRAL.levels, "the sacrum is five levels, S1 to S5")
_JOINS = {"slash": Join.SLASH, "dash": Join.DASH, "to": Join.TO, None: Join.TOUCH}


@dataclass(frozen=True, slots=True)
class Finding:
    """A stretch that looks like a level: its reading, or why it is none."""

    start: int
    end: int
    reading: Reading | None
    why: str = ""


def find_levels(text: str, *, spine: Spine | None = None) -> list[Mention]:
    """Every mention of a vertebra, disc, segment, root or range in a free text, in order, never overlapping.

    Args:
        text: Anything a person or a model wrote, in English or Chinese. It is data: nothing in it is executed.
        spine: The patient's column, which decides who are neighbours. Default: the regular one.

    Returns:
        Mentions whose `reading` is a `Level`, `Disc`, `Segment`, `Root`, `LevelRange`, or `Ambiguous` where the words
        leave it open. Time is linear in the length of the text.
    """
    return [
        Mention(found.start, found.end, text[found.start : found.end], found.reading)
        for found in scan(text, spine=spine)
        if found.reading is not None
    ]


def scan(text: str, *, spine: Spine | None = None, whole: bool = False, prefer: type = Disc) -> list[Finding]:
    """As `find_levels`, with what was refused and why.

    Args:
        text: The text.
        spine: The patient's column.
        whole: Whether the entire text is meant to be a level, so that weak and doubtful forms count.
        prefer: What an unmarked "L4/5" or "L5" stands for; see `interpret`.
    """
    folded = lexicon.fold(text)
    groups = _merge(folded, list(_groups(folded, whole)))
    for group in groups:
        group.sure = whole
        _find_cue(folded, group)
    _share_cues(folded, groups)
    kept = groups if whole else _with_company(folded, groups)
    found = []
    for group in kept:
        reading = interpret(group, spine, prefer)
        if isinstance(reading, Refusal):
            found.append(Finding(group.start, group.end, None, reading.why))
        else:
            found.append(Finding(group.start, group.end, reading))
    return found


def _groups(text: str, whole: bool) -> Iterator[Group]:
    at = 0
    while (match := lexicon.START.search(text, at)) is not None:
        at = match.end()
        groups = list(_start(text, match))
        if match["ordinals"] is None and match["zhlist"] is None and groups and groups[0].fixed is None:
            _extend(text, groups[0], whole)
            if lexicon.BOUND.match(text, groups[0].end) is None and not _weighted(text, groups[0]):
                continue  # the stretch runs on into another word: C3D, T2N0
            groups += _listed(text, groups[0], whole)
        for group in groups:
            at = max(at, group.end)
            yield group


def _start(text: str, match: re.Match[str]) -> Iterator[Group]:
    """The group, or for lists of ordinals the groups, that a START match opens."""
    start, end = match.span()
    if match["ordinals"] is not None:
        yield from _ordinal_list(match, "ordinals", lexicon.REGION_OF_WORD[match["region"].lower()], weak=True)
    elif match["zhlist"] is not None:
        yield from _ordinal_list(match, "zhlist", lexicon.REGION_OF_WORD[match["zhregion"]], weak=False)
    elif match["joint"] is not None:
        parts = lexicon.JOINTS[match["joint"].lower().replace("-", "")]
        yield Group(start, end, list(parts), [Join.BETWEEN])
    elif match["sacrum"] is not None:
        yield Group(start, end, fixed=_SACRUM)
    elif match["coccygeal"] is not None:
        yield Group(start, end, fixed=Root.COCCYGEAL)
    elif match["lead"] is not None:
        part = (lexicon.REGION_OF_WORD[match["lead"].lower()], _number(match["leadnum"]))
        yield Group(start, end, [part], weak=True, spoken=True)
    else:
        if match["letter"] and re.match("[A-Z0-9]{2}-", text[max(0, start - 3) : start]):
            return  # HLA-C4: the tail of another code
        if match["zh"] and lexicon.MEASURE.match(text, end):
            return  # 颈2厘米: a length
        part, weak = _part(match)
        yield Group(start, end, [part], weak=weak, doubt=_doubt(match, part))


def _part(match: re.Match[str]) -> tuple[Part, bool]:
    """One vertebra of a START or NEXT match, and whether its form is weak."""
    if match["name"]:
        name = match["name"].lower()
        return lexicon.NAMES[name], name in lexicon.WEAK_NAMES
    if match["zh"]:
        counted = match["zhnum"].isdecimal() or bool(match["zhgap"].strip())
        return (lexicon.REGION_OF_WORD[match["zh"]], _number(match["zhnum"])), not counted
    return (lexicon.REGION_OF_WORD[match["letter"].lower()], _number(match["num"])), bool(match["gap"])


def _number(text: str) -> int:
    text = text.lower()
    if text in lexicon.NUMBER_OF_WORD:
        return lexicon.NUMBER_OF_WORD[text]
    return int(text.removesuffix("st").removesuffix("nd").removesuffix("rd").removesuffix("th"))


def _doubt(match: re.Match[str], part: Part) -> Doubt | None:
    letter = (match["letter"] or "").lower()
    if letter == "d":
        return Doubt.DORSAL
    if letter == "t" and part[1] in (1, 2):
        return Doubt.WEIGHTING
    return None


def _ordinal_list(match: re.Match[str], name: str, region: Region, *, weak: bool) -> Iterator[Group]:
    """Two groups for "fourth and fifth lumbar"; one for "first to fourth lumbar"."""
    base = match.start(name)
    group: Group | None = None
    for item in lexicon.LIST_ITEM.finditer(match[name]):
        separator = (item["sep"] or "").strip(" ").removesuffix("the").strip(" ").lower()
        join = {"-": Join.DASH, "/": Join.SLASH, "to": Join.TO, "through": Join.TO, "至": Join.TO, "到": Join.TO}.get(
            separator
        )
        part = (region, _number(item["item"]))
        if group is not None and join is not None:
            group.parts.append(part)
            group.joins.append(join)
            group.end = base + item.end()
            continue
        if group is not None:
            yield group
        start = match.start() if item.start() == 0 else base + item.start("item")
        group = Group(start, base + item.end(), [part], weak=weak, spoken=True)
    if group is not None:
        group.end = match.end()
        yield group


def _extend(text: str, group: Group, whole: bool) -> None:
    """Append what is joined to the first vertebra."""
    while len(group.parts) < _LONGEST_CHAIN:
        join = lexicon.JOIN.match(text, group.end)
        assert join is not None  # the last alternative is empty
        kind = _JOINS[join.lastgroup]
        after = lexicon.NEXT.match(text, join.end())
        if after is not None and kind is Join.TOUCH and (after["name"] or after["gap"]):
            after = None
        if after is not None:
            part, _ = _part(after)
            doubt = _doubt(after, part)
            # One plain vertebra in the chain shows that the chain is about vertebrae.
            group.doubt = group.doubt and doubt
        elif kind in (Join.SLASH, Join.DASH) or (kind is Join.TO and whole):
            after = lexicon.BARE.match(text, join.end())
            if after is None:
                break
            part = (group.parts[-1][0], int(after["bare"]))
            if part[1] > 2:
                group.doubt = None
        else:
            break
        group.parts.append(part)
        group.joins.append(kind)
        group.end = after.end()
    if len(group.parts) > 1:
        group.weak = False


def _weighted(text: str, group: Group) -> bool:
    """Whether an MR word follows a T1 or T2: T2-weighted, T2w, T2*. In *T2* the stars are emphasis."""
    if group.doubt is not Doubt.WEIGHTING:
        return False
    starred = text.startswith("*", group.end) and not text.startswith("**", group.end)
    if starred and not text.startswith("*", group.start - 1):
        return True
    return lexicon.MR_BEHIND.match(text, group.end) is not None


def _listed(text: str, first: Group, whole: bool) -> list[Group]:
    """The bare numbers of "L3, 4 and 5 vertebrae" or "腰3、4椎体". They count only if a noun closes the list."""
    groups: list[Group] = []
    end = first.end
    region = first.parts[-1][0]
    while len(groups) < _LONGEST_CHAIN and (join := lexicon.LIST_JOIN.match(text, end)) is not None:
        number = lexicon.BARE.match(text, join.end())
        if number is None:
            break
        group = Group(number.start(), number.end(), [(region, int(number["bare"]))])
        second = lexicon.JOIN.match(text, group.end)
        if second is not None and second.lastgroup in ("slash", "dash"):
            other = lexicon.BARE.match(text, second.end())
            if other is not None:
                group.parts.append((region, int(other["bare"])))
                group.joins.append(_JOINS[second.lastgroup])
                group.end = other.end()
        groups.append(group)
        end = group.end
    closed = any(pattern.match(text, end) for pattern in (_CLOSING if groups else ()))
    return groups if whole or closed else []


def _merge(text: str, groups: list[Group]) -> list[Group]:
    """Join "first lumbar to third lumbar" and "between L4 and L5" into one group each."""
    merged: list[Group] = []
    for group in groups:
        last = merged[-1] if merged else None
        if last is not None and len(last.parts) == len(group.parts) == 1 and group.start - last.end <= 24:
            gap = text[last.end : group.start]
            join = None
            if lexicon.SPAN_JOIN.fullmatch(gap):
                join = Join.TO
            elif lexicon.BETWEEN_JOIN.fullmatch(gap) and lexicon.BETWEEN_BEFORE.search(_ahead_of(text, last)):
                join = Join.BETWEEN
            if join is not None:
                last.parts += group.parts
                last.joins.append(join)
                last.end = group.end
                last.doubt = last.doubt and group.doubt
                last.weak = last.weak and group.weak
                continue
        merged.append(group)
    return merged


def _ahead_of(text: str, group: Group) -> str:
    return text[max(0, group.start - _LOOK_BACK) : group.start]


_BEHIND = (
    (Cue.ROOT, lexicon.ROOT_BEHIND),
    (Cue.CORD, lexicon.CORD_BEHIND),
    (Cue.DISC, lexicon.DISC_BEHIND),
    (Cue.SEGMENT, lexicon.SEGMENT_BEHIND),
    (Cue.SEVERAL, lexicon.SEVERAL_BEHIND),
    (Cue.LEVELS, lexicon.LEVELS_BEHIND),
    (Cue.LEVEL, lexicon.LEVEL_BEHIND),
    (Cue.BONE, lexicon.BONE_BEHIND),
)
_BEFORE = (
    (Cue.ROOT, lexicon.ROOT_BEFORE),
    (Cue.CORD, lexicon.CORD_BEFORE),
    (Cue.DISC, lexicon.DISC_BEFORE),
    (Cue.BONE, lexicon.BONE_BEFORE),
)
_CLOSING = tuple(pattern for _, pattern in _BEHIND)


def _find_cue(text: str, group: Group) -> None:
    """Set the cue from the words directly beside the group, else from the subject of the passage."""
    ahead = _ahead_of(text, group)
    weighting = group.doubt is Doubt.WEIGHTING
    if lexicon.OTHER_BEFORE.search(ahead):
        group.cue, group.ahead = Cue.OTHER, True
    elif lexicon.OTHER_BEHIND.match(text, group.end):
        group.cue = Cue.OTHER
    elif _weighted(text, group):
        group.cue = Cue.MR
    elif lexicon.RUNS_ON.match(text, group.end):
        group.cue = Cue.RUNS_ON
    else:
        group.cue = next((cue for cue, pattern in _BEHIND if pattern.match(text, group.end)), None)
    if group.cue is None and weighting and lexicon.MR_BEFORE.search(ahead):
        group.cue, group.ahead = Cue.MR, True
    if group.cue is None:
        group.cue = next((cue for cue, pattern in _BEFORE if pattern.search(ahead)), None)
        group.ahead = group.cue is not None
    codes = {part_text(part) for part in group.parts}
    if group.cue is None and codes <= {"T1", "T2", "T3", "T4"} and lexicon.STAGE_BEHIND.match(text, group.end):
        group.cue = Cue.STAGE
    if group.cue in (None, Cue.LEVEL, Cue.LEVELS):  # a hormone has a level too
        around = text[max(0, group.start - lexicon.WINDOW) : group.end + lexicon.WINDOW]
        if any(codes and codes <= subject and words.search(around) for subject, words in lexicon.SUBJECTS):
            group.cue = Cue.OTHER


def _share_cues(text: str, groups: list[Group]) -> None:
    """In a list, a word behind the last item speaks for those before it, a word ahead of the first for those after."""
    for right, left in pairwise(reversed(groups)):
        if left.cue is None and not right.ahead and _in_list(text, left, right):
            left.cue = _shared(right.cue, left, right)
    for left, right in pairwise(groups):
        if right.cue is None and left.ahead and _in_list(text, left, right):
            right.cue = _shared(left.cue, right, left)
            right.ahead = right.cue is not None
    for left, right in pairwise(groups):
        if _in_list(text, left, right):
            for doubtful, plain in ((left, right), (right, left)):
                if doubtful.cue is None and plain.doubt is None and plain.cue not in (Cue.MR, Cue.OTHER):
                    doubtful.doubt = None


def _shared(cue: Cue | None, to: Group, by: Group) -> Cue | None:
    if cue is Cue.MR:
        return cue if to.doubt is Doubt.WEIGHTING else None
    if cue is Cue.OTHER:
        return cue if to.parts and by.parts and to.parts[0][0] is by.parts[0][0] else None
    if cue is Cue.RUNS_ON:
        return None
    return Cue.BONE if cue in (Cue.LEVEL, Cue.LEVELS) else cue


def _in_list(text: str, left: Group, right: Group) -> bool:
    return right.start - left.end <= 12 and lexicon.LISTED.fullmatch(text, left.end, right.start) is not None


def _with_company(text: str, groups: list[Group]) -> list[Group]:
    """Without the weak forms that nothing around them shows to be vertebrae."""
    firm = [
        not group.weak
        or group.cue is not None
        or (group.spoken and lexicon.ENDING.match(text, group.end) is not None)
        or _alone(text, group)
        for group in groups
    ]
    # In a list, one firm member is company for its neighbours; so are two weak ones ("atlas and axis").
    links = [_in_list(text, left, right) for left, right in pairwise(groups)]
    for at in reversed(range(len(links))):
        if links[at]:
            firm[at] = firm[at] or firm[at + 1] or (groups[at].weak and groups[at + 1].weak)
    for at, linked in enumerate(links):
        if linked:
            firm[at + 1] = firm[at + 1] or firm[at]
    return [group for group, keep in zip(groups, firm) if keep]


def _alone(text: str, group: Group) -> bool:
    """Whether the text holds nothing else, as when a model answers "L 3."."""
    if len(text) > len(lexicon.MARKS) + group.end - group.start:  # also keeps the scan of a long text linear
        return False
    return not (text[: group.start] + text[group.end :]).strip(lexicon.MARKS)
