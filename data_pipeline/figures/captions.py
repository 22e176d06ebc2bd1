"""Candidate captions of a document: which blocks may be captions, by number, typography and place, and how likely.

Convention: a candidate's `odds` is a logarithm: 0 means as likely a caption as not. It counts the number at the start
and what separates it from the words, a bold or slanted lead, letters smaller than the text's, a picture close by, and
how the document's other captions look. Blocks without a number are candidates only right beside a picture and only
where their typography or their place differs from the text's.

Trap: "Figure 3 shows ..." opens a paragraph, "... as in / Figure 3. The patient ..." breaks a line before a number,
and a list of figures repeats every caption. One number has one caption: the most likely candidate keeps it.
"""

from __future__ import annotations

import re
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from data_pipeline.figures.labels import CaptionHead, Label, caption_head
from data_pipeline.readers.pdf_layout import Block, Box, Page, box_of

__all__ = ["Candidate", "find_candidates"]

_LONGEST = 2500
_LEADERS = re.compile(r"(?:\.\s?){5,}|\s\d{1,3}$")
_LEAST_ODDS = -1.5


@dataclass
class Candidate:
    """A block (with what continues it) that may be a caption."""

    page: int
    blocks: list[Block]
    head: CaptionHead | None
    odds: float
    marks: tuple[str, ...] = ()
    """What spoke for and against it."""
    style: tuple[object, ...] = field(default=())
    tail: Block | None = None
    """What runs over into the next column or page."""

    @property
    def box(self) -> Box:
        """Around its blocks, without the tail."""
        return box_of([block.box for block in self.blocks])

    @property
    def text(self) -> str:
        """All of it, one block after the other."""
        return Block(tuple(line for block in self.parts for line in block.lines)).text

    @property
    def parts(self) -> list[Block]:
        """Its blocks and its tail."""
        return [*self.blocks, *([self.tail] if self.tail else [])]

    @property
    def labels(self) -> tuple[Label, ...]:
        """Its numbers; none where it is not numbered."""
        return () if self.head is None else self.head.labels

    @property
    def is_table(self) -> bool:
        """Whether it belongs to a table."""
        return bool(self.labels) and self.labels[0].kind == "table"


def find_candidates(pages: Sequence[Page]) -> list[Candidate]:
    """Candidates of all pages, in reading order; a number belongs to one of them at most."""
    found: list[Candidate] = []
    taken: set[int] = set()
    for number, page in enumerate(pages):
        for place, block in enumerate(page.blocks):
            if id(block) in taken:
                continue
            candidate = _numbered(page, place, block)
            if candidate is not None:
                place = _continue(page, place, candidate)
                follows = page.blocks[place + 1 : place + 2] or [
                    b for p in pages[number + 1 : number + 2] for b in p.blocks
                ]
                if follows and _runs_over(page, candidate, follows[0], place + 1 == len(page.blocks)):
                    candidate.tail = follows[0]
                taken.update(id(each) for each in candidate.parts)
                found.append(candidate)
        for block in page.blocks:
            if id(block) not in taken and (candidate := _unnumbered(page, block)) is not None:
                found.append(candidate)
    _by_company(found)
    return _one_per_number([candidate for candidate in found if candidate.odds > _LEAST_ODDS], pages)


def _numbered(page: Page, place: int, block: Block) -> Candidate | None:
    text = block.text
    head = caption_head(text)
    if head is None or len(text) > _LONGEST:
        return None
    odds = -0.4
    marks: list[str] = []
    first = block.lines[0]
    if head.sentence:
        odds, marks = odds - 4.0, [*marks, "goes on as a sentence"]
    elif head.separator in (".", ":", "|", "．", "：", "。", "—", "–", "-", ")") or head.continued:
        odds, marks = odds + 1.2, [*marks, f"'{head.separator}' after the number"]
    elif not text[head.end :].strip():
        odds -= 0.4
    else:
        odds += 0.3
    if first.lead or (first.bold and not all(line.bold for line in page.blocks[place - 1].lines)):
        odds, marks = odds + 1.6, [*marks, "number set off"]
    if block.em < 0.96 * page.body:
        odds, marks = odds + 1.5, [*marks, "smaller than the text"]
    elif block.em > 1.12 * page.body:
        odds, marks = odds - 1.0, [*marks, "larger than the text"]
    if sum(line.italic for line in block.lines) > 0.6 * len(block.lines):
        odds, marks = odds + 0.8, [*marks, "slanted"]
    if _LEADERS.search(text) and (not page.regions or "...." in text.replace(" ", "")):
        odds, marks = odds - 3.0, [*marks, "an entry of a list of figures"]
    if any(_distance(region.box, block.box) < 3.5 * page.body for region in page.regions):
        odds, marks = odds + 1.0, [*marks, "close to a picture"]
    if _looks_like_text(page, place, block, head):
        odds, marks = odds - 2.0, [*marks, "stands like a paragraph"]
    style = (bool(head.separator), head.separator, first.lead or first.bold, round(block.em * 2) / 2)
    return Candidate(page.number, [block], head, odds, tuple(marks), style)


def _looks_like_text(page: Page, place: int, block: Block, head: CaptionHead) -> bool:
    """Set as the paragraph before or after it is, at its width and edge, with nothing to set it off."""
    if block.lines[0].lead or block.lines[0].bold or abs(block.em - page.body) > 0.04 * page.body:
        return False
    left, right = block.box[0], max(line.box[2] for line in block.lines)
    for other in (page.blocks[place - 1] if place else None, *page.blocks[place + 1 : place + 2]):
        if other is None or abs(other.em - block.em) > 0.04 * block.em or len(other.lines) < 2:
            continue
        if abs(other.lines[-1].box[0] - left) < 2 and abs(other.box[2] - right) < 6 and len(block.lines) > 1:
            gap = max(other.box[1] - block.box[3], block.box[1] - other.box[3])
            if gap < 1.6 * page.body and not any(_between(region.box, block.box, other.box) for region in page.regions):
                return not head.separator or head.separator in (".", "。")
    return False


def _between(box: Box, one: Box, other: Box) -> bool:
    middle = (box[1] + box[3]) / 2
    return min(one[3], other[3]) < middle < max(one[1], other[1])


def _runs_over(page: Page, candidate: Candidate, after: Block, turned: bool) -> bool:
    """Whether a caption that is cut at the end of its column or page goes on in a block of the next one."""
    last = candidate.blocks[-1]
    if candidate.odds < 1 or caption_head(after.text) is not None:
        return False
    full = last.lines[-1].box[2] > last.box[2] - 1.5 * last.em
    ends = bool(re.search(r"[.!?。！？][)”\"]?$", last.text))
    alike = abs(last.em - after.em) <= 0.06 * last.em and last.lines[-1].italic == after.lines[0].italic
    apart = abs(after.em - page.body) > 0.05 * page.body or last.lines[-1].italic
    if not alike or not (full or not ends) or not (apart or (after.text[:1].islower() and full and not ends)):
        return False
    return (turned or after.box[1] > last.box[3]) and last.box[1] < 0.35 * page.height


def _continue(page: Page, place: int, candidate: Candidate) -> int:
    """Take in the blocks that continue a caption: right below it, set as it is and not as the text.

    Returns:
        The place of its last block.
    """
    while place + 1 < len(page.blocks):
        last, after = candidate.blocks[-1], page.blocks[place + 1]
        head = caption_head(after.text)
        gap = last.box[1] - after.box[3]
        alike = abs(last.em - after.em) <= 0.06 * last.em
        apart = abs(after.em - page.body) > 0.05 * page.body or all(line.bold for line in last.lines)
        shared = min(last.box[2], after.box[2]) - max(last.box[0], after.box[0])
        if head is not None or not alike or not apart or not -2 < gap < 0.9 * last.em or shared <= 0:
            return place
        if any(_between(region.box, last.box, after.box) for region in page.regions):
            return place
        candidate.blocks.append(after)
        place += 1
    return place


def _unnumbered(page: Page, block: Block) -> Candidate | None:
    """A block without a number that stands against a picture and not as the text does."""
    text = block.text
    if not 12 <= len(text) <= 1500 or caption_head(text) is not None or block.em > 1.05 * page.body:
        return None
    close = [
        region
        for region in page.regions
        if _gap_over(region.box, block.box) is not None and "in the margin" not in region.marks
    ]
    if not close:
        return None
    region = min(close, key=lambda each: abs(_gap_over(each.box, block.box) or 0.0))
    gap = _gap_over(region.box, block.box)
    if gap is None or abs(gap) > 2.2 * page.body:
        return None
    odds, marks = -1.6, ["no number"]
    left, right = block.box[0], block.box[2]
    if block.em < 0.96 * page.body:
        odds, marks = odds + 1.5, [*marks, "smaller than the text"]
    if sum(line.italic for line in block.lines) > 0.6 * len(block.lines):
        odds, marks = odds + 1.2, [*marks, "slanted"]
    centre = (region.box[0] + region.box[2]) / 2
    centred = all(abs((line.box[0] + line.box[2]) / 2 - centre) < 4 for line in block.lines)
    if centred and (len(block.lines) > 1 or right - left < 0.9 * region.width):
        odds, marks = odds + 0.9, [*marks, "centred on the picture"]
    edge = _text_edge(page)
    if abs(left - region.box[0]) < 3 and edge is not None and left - edge > 8:
        odds, marks = odds + 1.2, [*marks, "at the picture's edge, not the text's"]
    if left < region.box[0] - 0.25 * region.width - 6 or right > region.box[2] + 0.25 * region.width + 6:
        odds -= 1.5 if len(marks) == 1 else 0.3
    if gap > 1.3 * page.body:
        odds -= 0.6
    if all(line.bold for line in block.lines):
        odds -= 1.2
    style = ("unnumbered", block.box[3] <= region.box[1] + 3, round(block.em * 2) / 2, block.lines[0].italic)
    return Candidate(page.number, [block], None, odds, tuple(marks), style)


def _text_edge(page: Page) -> float | None:
    """Left edge of most paragraphs."""
    lefts = [round(b.box[0]) for b in page.blocks if len(b.lines) > 2 and abs(b.em - page.body) < 0.05 * page.body]
    return statistics.mode(lefts) if lefts else None


def _gap_over(region: Box, block: Box) -> float | None:
    """White between a picture and a block above or below it; None where they share no width."""
    if min(region[2], block[2]) - max(region[0], block[0]) <= 0:
        return None
    if block[3] <= region[1] + 3:
        return max(0.0, region[1] - block[3])
    if block[1] >= region[3] - 3:
        return max(0.0, block[1] - region[3])
    return None


def _distance(one: Box, other: Box) -> float:
    across = max(0.0, one[0] - other[2], other[0] - one[2])
    along = max(0.0, one[1] - other[3], other[1] - one[3])
    return max(across, along)


def _by_company(found: list[Candidate]) -> None:
    """Candidates that look like the document's surest captions gain, others lose."""
    for table in (False, True):
        group = [c for c in found if c.head is not None and c.is_table == table]
        sure = [c for c in group if c.odds > 1.0]
        if len(sure) < 2:
            continue
        usual, number = Counter(c.style for c in sure).most_common(1)[0]
        if number < 0.6 * len(sure):
            continue
        for candidate in group:
            same = candidate.style == usual
            near = candidate.style[0] == usual[0] and candidate.style[2] == usual[2]
            candidate.odds += 0.7 if same else 0.0 if near else -1.2
            if not (same or near):
                candidate.marks = (*candidate.marks, "not set as the other captions are")
    numbered = sum(c.head is not None and not c.is_table and c.odds > 0.5 for c in found)
    alike = Counter(candidate.style for candidate in found if candidate.head is None and candidate.odds > -1.2)
    for candidate in found:
        if candidate.head is None:
            company = 1.4 if alike[candidate.style] >= 3 and candidate.odds > -1.2 else 0.4
            candidate.odds += -0.8 if numbered else company


def _one_per_number(found: list[Candidate], pages: Sequence[Page]) -> list[Candidate]:
    """Of candidates with one number the most likely one, unless the others say that they continue it."""
    best: dict[tuple[Label, ...], Candidate] = {}
    for candidate in found:
        if candidate.labels and not (candidate.head and candidate.head.continued):
            known = best.get(candidate.labels)
            if known is None or candidate.odds > known.odds:
                best[candidate.labels] = candidate
    kept = [
        replace(c)
        for c in found
        if not c.labels or (c.head and c.head.continued) or best[c.labels] is c
    ]  # fmt: skip
    order = {page.number: {id(b): n for n, b in enumerate(page.blocks)} for page in pages}
    return sorted(kept, key=lambda c: (c.page, order[c.page][id(c.blocks[0])]))
