"""Word-level difference of two texts: what stayed, what went, what came.

Convention: a word is a token, a Chinese character is a token, so are each punctuation mark and each run of spaces;
joining all pieces that are not `gone` gives the new text back, byte for byte, and all that are not `new` the old one.

Trap: the shortest edit script costs (length x differences). Past `MOST_EDITS` differing tokens the middle is shown as
one replacement (`Diff.coarse`), so that no text, however made, can hold up the server.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

__all__ = ["MOST_EDITS", "Diff", "Piece", "tokens", "word_diff"]

MOST_EDITS = 400
_TOKEN = re.compile(r"\s+|[㐀-鿿豈-﫿぀-ヿ]|[^\W㐀-鿿豈-﫿぀-ヿ]+|[^\w\s]")

Kind = Literal["same", "gone", "new"]


@dataclass(frozen=True)
class Piece:
    """A stretch of text and what became of it."""

    kind: Kind
    text: str


@dataclass(frozen=True)
class Diff:
    """The difference of two texts."""

    pieces: tuple[Piece, ...]
    coarse: bool
    """True where the texts differ so much that the middle stands as one replacement."""

    @property
    def changed(self) -> int:
        """Number of stretches that went or came."""
        return sum(piece.kind != "same" for piece in self.pieces)


def tokens(text: str) -> list[str]:
    """Cut a text into words, single Chinese characters, marks and spaces; joined they are the text again."""
    found = _TOKEN.findall(text)
    # What the pattern does not know (a lone surrogate, say) must not be lost: fall back on characters.
    return found if sum(map(len, found)) == len(text) else list(text)


@lru_cache(maxsize=2048)
def word_diff(old: str, new: str) -> Diff:
    """Difference of two texts by words.

    The shortest edit script after E. W. Myers, "An O(ND) difference algorithm and its variations", Algorithmica 1,
    251-266 (1986), on the tokens between common beginning and end.
    """
    a, b = tokens(old), tokens(new)
    start = 0
    while start < len(a) and start < len(b) and a[start] == b[start]:
        start += 1
    end = 0
    while end < min(len(a), len(b)) - start and a[-1 - end] == b[-1 - end]:
        end += 1
    middle_a, middle_b = a[start : len(a) - end], b[start : len(b) - end]
    found = _shortest(middle_a, middle_b)
    coarse = found is None
    script: list[tuple[Kind, str]] = found or []
    if coarse:
        script = [("gone", token) for token in middle_a] + [("new", token) for token in middle_b]
    whole: list[tuple[Kind, str]] = [("same", token) for token in a[:start]]
    whole += script
    whole += [("same", token) for token in a[len(a) - end :]] if end else []
    return Diff(_joined(_bridged(whole)), coarse)


def _shortest(a: list[str], b: list[str]) -> list[tuple[Kind, str]] | None:
    """The shortest edit script, or None past `MOST_EDITS` edits."""
    if not a or not b:
        return [("gone", token) for token in a] + [("new", token) for token in b]
    furthest = {1: 0}
    trace: list[dict[int, int]] = []
    for edits in range(min(MOST_EDITS, len(a) + len(b)) + 1):
        trace.append(dict(furthest))
        for k in range(-edits, edits + 1, 2):
            down = k == -edits or (k != edits and furthest[k - 1] < furthest[k + 1])
            x = furthest[k + 1] if down else furthest[k - 1] + 1
            y = x - k
            while x < len(a) and y < len(b) and a[x] == b[y]:
                x, y = x + 1, y + 1
            furthest[k] = x
            if x >= len(a) and y >= len(b):
                return _walk_back(a, b, trace)
    return None


def _walk_back(a: list[str], b: list[str], trace: list[dict[int, int]]) -> list[tuple[Kind, str]]:
    x, y = len(a), len(b)
    script: list[tuple[Kind, str]] = []
    for edits in range(len(trace) - 1, -1, -1):
        furthest = trace[edits]
        k = x - y
        down = k == -edits or (k != edits and furthest[k - 1] < furthest[k + 1])
        before_k = k + 1 if down else k - 1
        before_x = furthest[before_k]
        before_y = before_x - before_k
        while x > before_x and y > before_y:
            x, y = x - 1, y - 1
            script.append(("same", a[x]))
        if edits:
            if down:
                y -= 1
                script.append(("new", b[y]))
            else:
                x -= 1
                script.append(("gone", a[x]))
    script.reverse()
    return script


def _bridged(script: list[tuple[Kind, str]]) -> list[tuple[Kind, str]]:
    """A lone space between two changed words reads better as part of the change."""
    out: list[tuple[Kind, str]] = []
    for i, (kind, text) in enumerate(script):
        between = 0 < i < len(script) - 1 and script[i - 1][0] != "same" and script[i + 1][0] != "same"
        if kind == "same" and text.isspace() and between:
            out += [("gone", text), ("new", text)]
        else:
            out.append((kind, text))
    return out


def _joined(script: list[tuple[Kind, str]]) -> tuple[Piece, ...]:
    """Neighbours of one kind become one piece; within a change what went stands before what came."""
    pieces: list[Piece] = []
    gone: list[str] = []
    new: list[str] = []
    same: list[str] = []

    def close() -> None:
        for kind, run in (("same", same), ("gone", gone), ("new", new)):
            if run:
                pieces.append(Piece(kind, "".join(run)))  # type: ignore[arg-type]
                run.clear()

    for kind, text in script:
        if kind == "same":
            if gone or new:
                close()
            same.append(text)
        else:
            if same:
                close()
            (gone if kind == "gone" else new).append(text)
    close()
    return tuple(pieces)
