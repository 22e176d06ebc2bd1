"""Which sentence rests on which source: sentences of an answer, tied to the evidence an item cites.

Convention: a sentence is tied to every cited span that holds words of it verbatim (`quoted`), else to the one that
shares most of its words (`shared`, with the share). Levels, numbers and sides count like any other word.

Trap: a tie says where to look. It is no proof: `shared` is a share of words, and the page writes it beside the tie.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

__all__ = ["LEAST_SHARE", "Mark", "Sentence", "marked", "sentences", "tie"]

LEAST_SHARE = 0.35
"""Share of a sentence's words that a source must hold for a tie."""
_END = re.compile(r"(?<=[.!?])[\"')\]]*\s+(?=[A-Z0-9(\"'㐀-鿿])|(?<=[。！？；])|\n+")
_WORD = re.compile(r"[㐀-鿿豈-﫿]|[^\W_㐀-鿿豈-﫿]+")
_EMPTY = frozenset(
    "a an the of to in on at is are was were and or with by for from this that it its as be".split()  # noqa: SIM905
)
_FEWEST_VERBATIM = 4


@dataclass(frozen=True)
class Sentence:
    """One sentence of an answer and the evidence it is tied to."""

    index: int
    text: str
    ties: tuple[int, ...]
    """Places of the evidence in the item's list."""
    how: Literal["quoted", "shared", "none"]
    share: float
    """Share of the sentence's words found in the source; 1.0 where quoted."""


@dataclass(frozen=True)
class Mark:
    """A stretch of a source text; `lit` where an item quotes it."""

    text: str
    lit: bool


def sentences(text: str) -> list[str]:
    """Cut a text into sentences; a decimal point and an abbreviation's point before a small letter cut nothing."""
    out: list[str] = []
    start = 0
    for found in _END.finditer(text):
        out.append(text[start : found.end()])
        start = found.end()
    out.append(text[start:])
    return [piece for piece in out if piece.strip()]


def _words(text: str) -> list[str]:
    return [word for word in _WORD.findall(text.lower()) if word not in _EMPTY]


def _runs(words: Sequence[str], length: int) -> set[tuple[str, ...]]:
    return {tuple(words[i : i + length]) for i in range(len(words) - length + 1)}


@lru_cache(maxsize=1024)
def tie(text: str, sources: tuple[str, ...]) -> tuple[Sentence, ...]:
    """Tie each sentence of a text to its sources.

    Args:
        text: The answer.
        sources: Texts of the cited evidence in the item's order; an empty one (a picture) is tied to nothing.
    """
    source_words = [_words(source) for source in sources]
    out = []
    for index, sentence in enumerate(sentences(text)):
        words = _words(sentence)
        quoted: tuple[int, ...] = ()
        if len(words) >= _FEWEST_VERBATIM:
            runs = _runs(words, _FEWEST_VERBATIM)
            quoted = tuple(i for i, other in enumerate(source_words) if runs & _runs(other, _FEWEST_VERBATIM))
        if quoted:
            out.append(Sentence(index, sentence, quoted, "quoted", 1.0))
            continue
        shares = [len(set(words) & set(other)) / len(set(words)) if words else 0.0 for other in source_words]
        best = max(shares, default=0.0)
        if best >= LEAST_SHARE:
            out.append(Sentence(index, sentence, (shares.index(best),), "shared", best))
        else:
            out.append(Sentence(index, sentence, (), "none", best))
    return tuple(out)


def marked(text: str, quotes: Sequence[str]) -> tuple[Mark, ...]:
    """A source text cut where quotes stand in it verbatim; overlapping quotes are joined."""
    spans: list[tuple[int, int]] = []
    for quote in quotes:
        start = text.find(quote) if quote else -1
        if start >= 0:
            spans.append((start, start + len(quote)))
    out: list[Mark] = []
    at = 0
    for start, end in sorted(spans):
        start = max(start, at)
        if end <= start:
            continue
        if out and start == at and out[-1].lit:
            out[-1] = Mark(out[-1].text + text[start:end], True)
        else:
            if start > at:
                out.append(Mark(text[at:start], False))
            out.append(Mark(text[start:end], True))
        at = end
    if at < len(text):
        out.append(Mark(text[at:], False))
    return tuple(out)
