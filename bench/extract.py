"""From a reply to a canonical answer, by rules alone: the same reply always gives the same answer, or none.

Convention: an answer is read only where it cannot be doubted. In this order:

1. Reasoning between `<think>` tags is taken out; a reply whose reasoning never ends is unparsed.
2. Where the reply declares its answer ("Answer: ...", "the answer is ...", "答案：..."), only the declarations
   count, each up to the end of its sentence; after them "the marked vertebra is ..." and its like. They must agree.
3. The answer is read by kind: vertebrae and discs through `spinemed.anatomy`, the only place where a text becomes a
   level; options by their letter or by the exact text of one option; categories by their own words.
4. Two different answers, an answer relative to another ("the vertebra above L4") or only a denial ("not L3") give
   `unparsed`. Nothing is ever matched to the nearest text.

A reply that declines to answer is `refused`. `unparsed` and `refused` count as wrong and are counted apart.

Trap: "A" is a letter and an article, "T2" a vertebra and an MR weighting, "L4/5" a disc and never the vertebra L4.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from bench.samples import spine_of
from spinemed.anatomy import Disc, Level, LevelRange, Mention, find_levels, resolve
from spinemed.errors import LevelError
from spinemed.records import NOT_DETERMINABLE, Sample

__all__ = ["Extraction", "extract_answer"]


@dataclass(frozen=True)
class Extraction:
    """What was read from one reply."""

    answer: str | None
    """Canonical answer, or None."""
    outcome: Literal["parsed", "unparsed", "refused"]
    reason: str = ""
    """Why nothing was read."""


class _Doubt(Exception):
    """The text says too much, or says it in a way that is no answer."""


def extract_answer(text: str, sample: Sample) -> Extraction:
    """Read the answer to one sample from a reply.

    Args:
        text: The reply, verbatim.
        sample: The question; its answer is never looked at.

    Returns:
        The canonical answer with outcome `parsed`, or None with `unparsed` or `refused` and the reason.
    """
    plain = _plain(text)
    if plain is None:
        return Extraction(None, "unparsed", "the reasoning never ends")
    if not plain:
        return Extraction(None, "unparsed", "empty reply")
    declared = _declared(plain)
    # Where an answer was declared, nothing else is one; a mere statement may fail to hold it.
    tries = [declared] if declared else [_stated(plain), [plain]]
    try:
        for stretches in tries:
            found = {answer for stretch in stretches for answer in _read(stretch, sample)}
            if len(found) > 1:
                raise _Doubt(f"several answers: {', '.join(sorted(found))}")
            if found:
                return Extraction(found.pop(), "parsed")
    except _Doubt as doubt:
        return Extraction(None, "unparsed", str(doubt))
    if _REFUSAL.search(plain):
        return Extraction(None, "refused", "the reply declines to answer")
    return Extraction(None, "unparsed", f"no {sample.answer_kind} in the reply")


# --- where the answer stands -----------------------------------------------------------------------------------------

_THINK_TAG = re.compile(r"<(/?)think(?:ing)?>", re.IGNORECASE)
_MARKUP = re.compile(r"\*\*|__|`|^\s*#+\s*|\$", re.MULTILINE)
_BOXED = re.compile(r"\\boxed\{(?:\\text\{)?([^{}]*)\}?\}")
_TAGGED = re.compile(r"<answer>(.*?)</answer>", re.IGNORECASE | re.DOTALL)
_DECLARATION = re.compile(
    r"(?:\b(?:(?:my|the)\s+)?(?:final\s+|correct\s+|best\s+)?(?:answer|option|choice)\b\s*(?:is\b|:|=)+(?:\s*:)?"
    r"|(?:最终)?(?:答案|结论)\s*(?:是|为|:|=)+)\s*",
    re.IGNORECASE,
)
_STATEMENT = re.compile(
    r"(?:\b(?:marked|indicated|circled|ringed|highlighted|arrowed|labell?ed)\s+"
    r"(?:vertebral\s+body|vertebra|body|level|dis[ck]|structure)\s*(?:is\b|:|=)+"
    r"|(?:标记|圈出|箭头所指|所示|指示)的?(?:椎体|节段|椎间盘|椎骨)\s*(?:是|为|:|=)+)\s*",
    re.IGNORECASE,
)
_SENTENCE_END = re.compile(r"[.!?;](?=\s|$)|[。！？；\n]")
_CLAUSE_END = re.compile(r"[.!?;,](?=\s|$)|[。！？；，\n]")


def _plain(text: str) -> str | None:
    """The reply without reasoning and markup; None where the reasoning has no end."""
    kept, depth, place = [], 0, 0
    for tag in _THINK_TAG.finditer(text):
        if depth == 0:
            kept.append(text[place : tag.start()])
        if tag[1]:
            # Some templates open the reasoning inside the prompt, so that only its end stands in the reply.
            kept = kept if depth else []
            depth = 0
        else:
            depth += 1
        place = tag.end()
    if depth:
        return None
    plain = " ".join([*kept, text[place:]]).translate(str.maketrans("：（）＝", ":()="))
    return _MARKUP.sub("", plain).strip()


def _declared(text: str) -> list[str]:
    """What stands behind each "Answer:", to the end of the sentence, or on the next line where nothing follows."""
    found = [match[1].strip() for pattern in (_BOXED, _TAGGED) for match in pattern.finditer(text)]
    declarations = list(_DECLARATION.finditer(text))
    for match, following in zip(declarations, [*declarations[1:], None]):
        rest = text[match.end() : following.start() if following else None].lstrip()
        # "B. L4" and "(B) L4": the full stop of a letter ends no sentence.
        letter = re.match(r"\(?[A-Ha-h]\s*[.):]\s*", rest)
        end = _SENTENCE_END.search(rest, letter.end() if letter else 0)
        found.append(rest[: end.start()] if end else rest)
    return [stretch for stretch in found if stretch.strip()]


def _stated(text: str) -> list[str]:
    """What stands behind each "the marked vertebra is", to the end of the clause."""
    found = []
    for match in _STATEMENT.finditer(text):
        end = _CLAUSE_END.search(text, match.end())
        found.append(text[match.end() : end.start() if end else None])
    return [stretch for stretch in found if stretch.strip()]


# --- what the answer is ----------------------------------------------------------------------------------------------

_UNDECIDED = re.compile(
    r"\b(?:not\s+determinable|(?:can\s*not|can't|could\s+not|couldn't)\s+(?:be\s+)?(?:reliably\s+|be\s+)?"
    r"(?:determined?|told|tell|identif(?:y|ied)|decided?)|undeterminable|indeterminable|indeterminate"
    r"|(?:unable|impossible|not\s+possible)\s+to\s+(?:reliably\s+)?(?:determine|tell|say|identify|decide))\b"
    r"|(?:无法|不能|不可|难以)(?:确定|判断|判定|辨别)",
    re.IGNORECASE,
)
_REFUSAL = re.compile(
    r"\bI(?:'m|\s+am)\s+(?:sorry|unable|not\s+able)|\bI\s+(?:can(?:no|')t|can\s+not|won't|will\s+not|must\s+decline)\b"
    r"|\bas\s+an\s+AI\b|抱歉|对不起|我(?:无法|不能)(?:提供|回答|协助|帮助)",
    re.IGNORECASE,
)
_DENIED = re.compile(
    r"(?:\b(?:not|no|never|without|isn't|excludes?|excluding|rather\s+than|instead\s+of)|n't|不是|并非|而非|没有|无)\s*"
    r"(?:(?:a|an|the|at|any|evidence\s+of|signs?\s+of)\s+)*$",
    re.IGNORECASE,
)
_RELATIVE_BEFORE = re.compile(
    r"\b(?:above|below|beneath|under|over|between|near|beside|past|adjacent\s+to|next\s+to|superior\s+to|inferior\s+to|"
    r"cranial\s+to|caudal\s+to|(?:higher|lower)\s+than)\s+(?:the\s+)?(?:vertebra\s+|level\s+|dis[ck]\s+)?$",
    re.IGNORECASE,
)
_TWO_VERTEBRAE = re.compile(r"\s(?:and|&)\s", re.IGNORECASE)
_BETWEEN = re.compile(r"\bbetween\s+(?:the\s+)?$", re.IGNORECASE)
_RELATIVE_AFTER = re.compile(r"^\s*(?:椎体)?\s*(?:的|之)?\s*(?:上方|下方|以上|以下|上面|下面|上一|下一|附近|之间)")


def _read(stretch: str, sample: Sample) -> set[str]:
    """Every answer that a stretch of text gives; empty where it gives none.

    Raises:
        _Doubt: It gives an answer that cannot be taken at its word.
    """
    reader: Callable[[str, Sample], set[str]] = {
        "level": _read_level,
        "disc": _read_level,
        "levels": _read_range,
        "category": _read_category,
        "option": _read_option,
    }.get(sample.answer_kind, _read_text)
    return reader(stretch, sample)


def _read_level(stretch: str, sample: Sample) -> set[str]:
    disc = sample.answer_kind == "disc"
    found, denied = set(), False
    for mention in find_levels(stretch):
        value = resolve(mention.reading, Disc) if disc else resolve(mention.reading, Level)
        if _is_denied(stretch, mention):
            denied = True
        elif value is None:
            raise _Doubt(f"'{mention.text}' is no {sample.answer_kind}")
        elif _is_relative(stretch, mention):
            raise _Doubt(f"'{mention.text}' is only a landmark")
        else:
            found.add(str(value))
    if _UNDECIDED.search(stretch):
        found.add(NOT_DETERMINABLE)
    if denied and not found:
        raise _Doubt("only says what it is not")
    return found


def _read_range(stretch: str, sample: Sample) -> set[str]:
    found, single, landmarks = set(), [], []
    for mention in find_levels(stretch):
        span = resolve(mention.reading, LevelRange)
        level = resolve(mention.reading, Level)
        if _is_denied(stretch, mention):
            continue
        if span is not None:
            found.add(str(span))
        elif level is not None:
            if _is_relative(stretch, mention):
                landmarks.append(mention.text)
            else:
                single.append(level)
        else:
            raise _Doubt(f"'{mention.text}' is no range of vertebrae")
    if found:
        # "T12-L2, that is T12, L1 and L2" repeats itself; a level outside the range contradicts it.
        if single and _listed(single, sample) not in found and not _inside(single, found, sample):
            raise _Doubt("a range and other levels")
        return found
    if landmarks:  # "T12-L2, one above and one below L1" explains itself; without the range it says nothing
        raise _Doubt(f"'{landmarks[0]}' is only a landmark")
    if _UNDECIDED.search(stretch):
        found.add(NOT_DETERMINABLE)
    if single:
        whole = _listed(single, sample)
        if whole is None:
            raise _Doubt("single levels that are no whole range")
        found.add(whole)
    return found


def _listed(levels: Iterable[Level], sample: Sample) -> str | None:
    """The range that a list of levels spells out without a gap ("T12, L1 and L2"); None for anything else."""
    named = sorted(set(levels))
    if len(named) < 2:
        return None
    try:
        every = spine_of(sample).between(named[0], named[-1])
    except LevelError:
        return None
    return f"{named[0]}-{named[-1]}" if list(every) == named else None


def _inside(levels: Iterable[Level], ranges: Iterable[str], sample: Sample) -> bool:
    first, last = (Level(end) for end in next(iter(ranges)).split("-"))
    return all(first <= level <= last for level in levels)


def _read_category(stretch: str, sample: Sample) -> set[str]:
    words = {category: [re.escape(category)] for category in sample.categories}
    for category in words:
        words[category] += _SYNONYMS.get(category.casefold(), [])
    hits: list[tuple[int, int, str]] = []
    for category, patterns in words.items():
        for pattern in patterns:
            bounded = rf"(?<![^\W_]){pattern}(?![^\W_])" if pattern.isascii() else pattern
            hits += [(match.start(), match.end(), category) for match in re.finditer(bounded, stretch, re.IGNORECASE)]
    hits = _outermost(hits)
    found, denied = set(), False
    for start, _, category in hits:
        if _DENIED.search(_before(stretch, start)):
            denied = True
        else:
            found.add(category)
    if denied and not found:
        raise _Doubt("only says what it is not")
    return found


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
}
"""Other words for a category, only where the question's own wording invites them. Not abnormal ones that overlap."""


def _read_option(stretch: str, sample: Sample) -> set[str]:
    keys = {option.key for option in sample.options}
    body = stretch.strip()
    lone = re.fullmatch(r"\W*(?:option\s+|choice\s+)?([A-Ha-h])\W*", body, re.IGNORECASE)
    if lone:
        return {lone[1].upper()} & keys or _unknown_letter(lone[1])
    letters: set[str] = set()
    lead = _LEAD.match(body)
    if lead:
        letters.add(lead[1])
    letters |= {match[1] for match in re.finditer(r"\(([A-H])\)", body)}
    letters |= {
        match[1] for match in re.finditer(r"(?i:\b(?:option|choice|answer(?:\s+is)?)|选项?)\s*\(?([A-H])\b", body)
    }
    texts = _option_texts(body[lead.end() :] if lead else body, sample)
    found = letters | texts
    if letters - keys:
        _unknown_letter(", ".join(sorted(letters - keys)))
    return found


_LEAD = re.compile(
    r"\(?([A-H])(?:\s*[.):、,]\s*|\s+[-–—]\s+|(?=\s+(?:because|since)\b|\s+is\s+(?:the\s+)?(?:correct|right|best)\b))"
)
"""A letter that opens a reply and stands for an option: "B. L4", "B - L4", "B because ...", never "A vertebra"."""


def _unknown_letter(letter: str) -> set[str]:
    raise _Doubt(f"'{letter}' is no option")


def _option_texts(body: str, sample: Sample) -> set[str]:
    """Options whose exact text (letter case and spacing apart) is the reply, or is what a sentence of it says.

    "The level is L4." says L4; "disc hernia" does not say "disc", and "L4 is degenerated" does not say "L4".
    """
    whole = _words(body)
    hits: list[tuple[int, int, str]] = []
    for option in sample.options:
        wanted = _words(option.text)
        start = whole.find(wanted) if wanted else -1
        while start >= 0:
            end = start + len(wanted)
            if _OPENS.search(_before(whole, start)) and _CLOSES.match(whole, end):
                hits.append((start, end, option.key))
            start = whole.find(wanted, start + 1)
    found, denied = set(), False
    for start, _, key in _outermost(hits):
        if _DENIED.search(_before(whole, start)):
            denied = True
        else:
            found.add(key)
    if denied and not found:
        raise _Doubt("only says what it is not")
    return found


def _words(text: str) -> str:
    return re.sub(r"\s+", " ", unicodedata.normalize("NFKC", text)).casefold().strip(" .,;:!?\"'。；，")


_OPENS = re.compile(
    r"(?:^|[.,;:(\"'=。，；：是为]|\b(?:is|are|be|the|an?|but|not|no|or|and|shows|choose|select|pick))\s*$"
)
_CLOSES = re.compile(
    r"\s*(?:$|[.,;:)!?\"'。，；]|(?:is|are)\s+(?:the\s+)?(?:correct|right|best)\b|(?:but|or|and|not)\b)"
)


def _outermost(hits: list[tuple[int, int, str]]) -> list[tuple[int, int, str]]:
    """Matches that do not lie inside a longer one: "disc" within "disc herniation" was not said."""
    return [
        hit
        for hit in hits
        if not any(
            other[0] <= hit[0] and hit[1] <= other[1] and other[1] - other[0] > hit[1] - hit[0] for other in hits
        )
    ]


def _read_text(stretch: str, sample: Sample) -> set[str]:
    """Free text is its own canonical answer; equality is then all that scoring can ask."""
    return {stretch.strip()}


def _before(stretch: str, place: int) -> str:
    """The words just before a place; bounded, so that a long reply costs no more than a short one."""
    return stretch[max(0, place - 60) : place]


def _is_denied(stretch: str, mention: Mention) -> bool:
    return bool(_DENIED.search(_before(stretch, mention.start)))


def _is_relative(stretch: str, mention: Mention) -> bool:
    before, after = _before(stretch, mention.start), stretch[mention.end : mention.end + 20]
    if _TWO_VERTEBRAE.search(mention.text):
        before = _BETWEEN.sub("", before)  # "the disc between L4 and L5" names the disc itself
    return bool(_RELATIVE_BEFORE.search(before) or _RELATIVE_AFTER.search(after))
