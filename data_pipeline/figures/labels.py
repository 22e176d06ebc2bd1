"""Numbers of figures as printed: at the head of a caption, and where texts mention them. One grammar for all readers.

Convention: a label is `figure` or `table` and a number in one spelling (`Fig. 2–4a` and `Figure 2-4 A` both name panel
`a` of `2-4`). A mention names one figure or several ("Figs. 1A, 1B and 3", "Figures 2–4", 图3、4). Readers whose markup
links a text to a figure pass those links; the printed number counts besides, never instead.

Trap: "Fig. 2-4" is figure 2-4 in a book that numbers by chapter and figures 2 to 4 elsewhere. Only the labels that the
document prints decide, so mentions are resolved when all captions are known. "Figure 3 of Smith et al." is not ours.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

__all__ = ["CaptionHead", "Label", "Mentioned", "caption_head", "link_mentions", "named_in", "without_label"]

_KINDS = ("table", "scheme", "plate", "chart", "diagram", "image", "illustration")
_FIGURE = (
    r"(?:(?:supplementary|supplemental|suppl\.?|extended[ ]data|online)[ ])?"
    r"(?:figures?|figs?\b\.?|schemes?|plates?|charts?|diagrams?|images?|illustrations?)|附?[图圖]"
)
_TABLE = r"(?:(?:supplementary|supplemental|suppl\.?)[ ])?(?:tables?|tabs?\b\.)|附?表"
_HAN = "一二三四五六七八九十"
_NUMBER = rf"(?:[SA-E][ ]?)?\d{{1,3}}(?:[.\-–‑—−]\d{{1,3}}){{0,2}}|[IVX]{{1,5}}(?![A-Za-z])|[{_HAN}]{{1,2}}"
_PANEL = r"(?:\([a-zA-Z](?:[ ]?[-–,、&][ ]?[a-zA-Z])*\)|[a-zA-Z](?:[-–,][a-zA-Z])?(?![A-Za-z]))?"
_JOIN = r"[ ]?(?:,[ ]?and[ ]|,[ ]?&[ ]|[,、，&+/~～至和及与到]|and[ ]|or[ ]|to[ ]|through[ ]|–|—|-)[ ]?"
_ONE = rf"(?:{_NUMBER}){_PANEL}"
_LIST = rf"{_ONE}(?:{_JOIN}(?:(?:{_FIGURE})[ ]?)?{_ONE}){{0,7}}"
_HEAD = re.compile(rf"(?P<word>{_FIGURE}|{_TABLE})[ ]?(?:no\.?[ ]?)?(?P<list>{_LIST})", re.I)
_MENTION = re.compile(
    rf"(?<![\w\-])(?P<word>{_FIGURE}|{_TABLE})[ ]?(?P<list>{_LIST})|(?P<han>附?[图圖表])[ ]?(?P<hanlist>{_LIST})", re.I
)
_ELSEWHERE = re.compile(r"^[^.;。；]{0,3}\b(?:of|in|from)[ ](?:(?:the[ ])?ref|\[\d|[A-Z]\w+[ ](?:et[ ]al|and[ ][A-Z]))")
_PIECE = re.compile(rf"(?P<number>{_NUMBER})(?P<panel>{_PANEL})")
_SEPARATOR = re.compile(r"^[ ]?(?:[.:|)。．：、，]|[—–\-](?=\s)|(?=\s{2})|$)")
_SENTENCE = re.compile(
    r"^[ ]?(?:[a-z,;]|\((?![a-zA-Z][),–-])|"
    r"显示|示|为|是|可见|可知|表明|展示|给出|中|所示|说明|列出|的|及|与|和|，)"
)
_CONTINUED = re.compile(r"^[ .:]{0,3}[(（]?(?:continued|cont\.?|续)[)）.]?", re.I)


@dataclass(frozen=True)
class Label:
    """A printed number."""

    kind: str
    """`figure`, `table`, or the word printed instead: a document that prints `Plate 2` mentions plates."""
    number: str


@dataclass(frozen=True)
class CaptionHead:
    """How a block begins that begins with a figure's or table's number."""

    labels: tuple[Label, ...]
    """More than one for "Figures 4 and 5. ..."."""
    end: int
    """Where the caption's words begin."""
    separator: str
    """What stands between number and words: `.`, `:`, `|`, or nothing."""
    sentence: bool
    """Whether the number is the subject of a sentence: "Figure 3 shows"."""
    continued: bool
    printed: str
    """As printed, without the separator."""


@dataclass(frozen=True)
class Mentioned:
    """A figure that texts may mention."""

    key: str
    labels: tuple[Label, ...] = ()
    anchors: tuple[str, ...] = ()
    """Ids that links in the text lead to."""
    caption: str | None = None
    """Its own caption's span id, which is no mention."""


def _kind(word: str) -> str:
    if "表" in word or re.match(_TABLE, word, re.I):
        return "table"
    lower = word.lower()
    return next((kind for kind in _KINDS if kind in lower), "figure")


def _spelling(number: str) -> str:
    plain = re.sub(r"[–‑—−]", "-", number.replace(" ", "")).upper()
    if plain and plain[0] in _HAN:
        tens, _, ones = plain.partition("十")
        if "十" in plain:
            return str(10 * (_HAN.index(tens) + 1 if tens else 1) + (_HAN.index(ones) + 1 if ones else 0))
        return str(_HAN.index(plain[0]) + 1) if len(plain) == 1 else plain
    return plain


def caption_head(text: str) -> CaptionHead | None:
    """The label at the start of a block, or None where it starts otherwise.

    Args:
        text: The block's text, its white space collapsed (two spaces may stand for a tabulator).
    """
    match = _HEAD.match(text)
    if match is None or (re.match(r"\w", text[match.end() :]) and text[match.end()].isascii()):
        return None
    word, listed, end = match["word"], match["list"], match.end()
    kind = _kind(word)
    pieces = list(_PIECE.finditer(listed))
    plural = bool(re.match(r"(?:.*(?:figures|figs|tables|schemes|plates|images)\b)|.*[图圖表]", word, re.I))
    if len(pieces) > 1 and not plural and not re.search(rf"(?:{_FIGURE}|{_TABLE})", listed, re.I):
        # "Figure 3, 4 and 5 vertebrae": the list belongs to the words.
        end = match.start("list") + pieces[0].end()
        pieces = pieces[:1]
    # "Figs. 1-3" are three figures; "Figs. 2-5 and 2-6" are two of chapter 2.
    by_chapter = sum("-" in _spelling(piece["number"]) for piece in pieces) > 1
    numbers = _expand(listed[: pieces[-1].end()], plural and word.isascii() and not by_chapter)
    rest = text[end:]
    separator = _SEPARATOR.match(rest)
    mark = "" if separator is None else separator[0].strip()
    words = rest[len(separator[0]) :] if separator is not None else rest
    continued = bool(_CONTINUED.match(rest))
    return CaptionHead(
        tuple(dict.fromkeys(Label(kind, number) for number in numbers)),
        end + (len(separator[0]) if separator else 0) + (len(words) - len(words.lstrip())),
        mark, separator is None and bool(_SENTENCE.match(rest)) and not continued, continued, text[:end].strip(),
    )  # fmt: skip


def without_label(text: str) -> str:
    """A caption's words without its number: "Figure 3. A vertebra." becomes "A vertebra."."""
    head = caption_head(text)
    if head is None or head.sentence or not text[head.end :].strip():
        return text
    return text[head.end :].lstrip()


def _expand(listed: str, plural: bool) -> list[str]:
    """Numbers of a list, ranges filled in: `1, 3–5` is 1, 3, 4, 5."""
    out: list[str] = []
    last_end = 0
    for piece in _PIECE.finditer(listed):
        between = listed[last_end : piece.start()].strip().lower()
        number = _spelling(piece["number"])
        parts = re.fullmatch(r"(\D*)(\d+)-(\d+)", number)
        reach = re.search(r"^(?:–|—|-|to|through|至|到|~|～)$", between)
        if reach and out and out[-1].isdigit() and number.isdigit() and 0 < int(number) - int(out[-1]) < 20:
            out += [str(n) for n in range(int(out[-1]) + 1, int(number) + 1)]
        elif plural and parts and not parts[1] and 0 < int(parts[3]) - int(parts[2]) < 20:
            out += [str(n) for n in range(int(parts[2]), int(parts[3]) + 1)]
        else:
            out.append(number)
        last_end = piece.end()
    return list(dict.fromkeys(out))


def named_in(text: str, known: Iterable[Label]) -> set[Label]:
    """Labels of a document that a text mentions.

    Args:
        text: A paragraph.
        known: Every label that the document prints; they decide whether "2-4" is one number or three.
    """
    labels = set(known)
    found: set[Label] = set()
    for match in _MENTION.finditer(text):
        if _ELSEWHERE.match(text[match.end() :]):
            continue
        kind = _kind(match["word"] or match["han"])
        listed = match["list"] or match["hanlist"]
        pieces = [_spelling(piece["number"]) for piece in _PIECE.finditer(listed)]
        whole = [Label(kind, number) for number in pieces]
        if all("-" not in label.number or label in labels for label in whole) and not _has_range(listed):
            found.update(label for label in whole if label in labels)
            continue
        ranged: list[Label] = []
        for label in whole:
            ranged += [label] if label in labels else [Label(kind, n) for n in _expand(label.number, True)]
        ranged += [Label(kind, number) for number in _expand(listed, False)]
        found.update(label for label in ranged if label in labels)
    return found


def _has_range(listed: str) -> bool:
    pieces = list(_PIECE.finditer(listed))
    between = [listed[one.end() : other.start()].strip().lower() for one, other in pairwise(pieces)]
    return any(word in ("–", "—", "-", "to", "through", "至", "到", "~", "～") for word in between)


def link_mentions(
    figures: Sequence[Mentioned], texts: Iterable[tuple[str, str]], links: Mapping[str, Iterable[str]] | None = None
) -> dict[str, tuple[str, ...]]:
    """Which texts mention which figures.

    Args:
        figures: All figures (and tables) of a document.
        texts: Span id and text of everything that may mention them, in reading order.
        links: For each span id the anchors that its markup links to; `[anchor]` in a text is such a link, too.

    Returns:
        For each figure's key the ids of the spans that mention it, in reading order; its own caption is none.
    """
    known = {label for figure in figures for label in figure.labels}
    found: dict[str, list[str]] = {figure.key: [] for figure in figures}
    for span_id, text in texts:
        named = named_in(text, known) if known else set()
        linked = set((links or {}).get(span_id, ()))
        for figure in figures:
            if span_id == figure.caption:
                continue
            by_link = any(anchor and (anchor in linked or f"[{anchor}]" in text) for anchor in figure.anchors)
            if by_link or named.intersection(figure.labels):
                found[figure.key].append(span_id)
    return {key: tuple(ids) for key, ids in found.items()}
