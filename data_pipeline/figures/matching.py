"""Picture-context matching: which caption belongs to which regions of a PDF's pages, with a score and its parts.

Convention: every region is given to one caption or to none, so that the summed cost is least (an assignment problem; a
caption has several places, the first one wanted, the others for further panels). The cost of a pair is the white
between them, the text that lies between, how far they lie beside each other, and how rarely this document sets its
captions there; it is learned from a first pass. Regions of one caption on one page are one figure with one box, unless
text lies between them; "Figures 4 and 5. ..." over two regions are two figures that share a caption.

Trap: a score is no probability. It falls with doubt about the caption, with distance, with a rival and with doubt about
the region; below :data:`QUEUE_BELOW` the pair waits for a person and gives no figure.

    cost of a set of pairs = sum over given regions (distance + doubt - first place's worth) + sum over the others (1.5)

solved by `scipy.optimize.linear_sum_assignment` (Crouse, IEEE Trans. Aerosp. Electron. Syst. 52(4), 2016).
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from data_pipeline.figures.captions import Candidate, find_candidates
from data_pipeline.figures.labels import Label
from data_pipeline.readers.pdf_layout import Block, Box, Page, Region, box_of

__all__ = ["QUEUE_BELOW", "Match", "MatchedFigure", "match_figures"]

QUEUE_BELOW = 0.40
"""Pairs that score less are shown to a person first."""
Place = Literal["below", "above", "beside", "next page", "page before"]
_ALONE = 1.5
"""Cost of a region without a caption."""
_FIRST_WORTH = 3.0
"""What a caption's first region is worth."""
_FURTHER = 0.25
"""Cost of each further region."""
_PLACES = 12
_GROUP_PT = 26.0
_FAR = 1e6
_Table = dict[int, dict[int, float]]


@dataclass(frozen=True)
class MatchedFigure:
    """One figure: its regions on one page, and its caption."""

    page: int
    box: Box
    regions: tuple[Region, ...]
    caption: Candidate
    labels: tuple[Label, ...]
    place: Place
    score: float
    parts: dict[str, float]
    reasons: tuple[str, ...]
    """Why it is doubted, worst first; empty where it is not."""
    shared: bool
    """Whether another figure has the same caption."""

    @property
    def queued(self) -> bool:
        """Whether a person has to look first."""
        return self.score < QUEUE_BELOW


@dataclass
class Match:
    """What was found in a document."""

    figures: list[MatchedFigure] = field(default_factory=list)
    captions: list[Candidate] = field(default_factory=list)
    """Figure captions without a region."""
    regions: list[Region] = field(default_factory=list)
    """Regions without a caption, and those of tables."""


@dataclass(frozen=True)
class _Pair:
    cost: float
    """Without the place's rarity."""
    place: Place
    own: bool
    """Measured from the region itself, not from its group."""


def match_figures(pages: Sequence[Page]) -> Match:
    """Match all captions and regions of a document."""
    captions = find_candidates(pages)
    regions = [region for page in pages for region in page.regions]
    by_page = {page.number: page for page in pages}
    pairs = _pairs(regions, captions, by_page)
    rarity: dict[Place, float] = {"below": 0.0, "above": 0.5, "beside": 0.8, "next page": 1.0, "page before": 1.2}
    given: dict[int, int] = {}
    for _ in range(3):
        costs = {key: pair.cost + rarity[pair.place] for key, pair in pairs.items()}
        again = _assign(regions, captions, costs)
        if again == given:
            break
        given = again
        rarity = _rarity([pairs[key] for key in given.items()])
    given = _completed(regions, captions, by_page, given)
    return _figures(regions, captions, by_page, pairs, costs, given)


# --- the cost of a pair ----------------------------------------------------------------------------------------------


def _pairs(
    regions: list[Region], captions: list[Candidate], pages: dict[int, Page]
) -> dict[tuple[int, int], _Pair]:  # fmt: skip
    """Costs of all pairs that may be."""
    out: dict[tuple[int, int], _Pair] = {}
    caption_blocks: dict[int, set[int]] = {number: set() for number in pages}
    for caption in captions:
        caption_blocks[caption.page].update(id(block) for block in caption.blocks)
    on_page: dict[int, list[tuple[int, Region]]] = {}
    for r, region in enumerate(regions):
        on_page.setdefault(region.page, []).append((r, region))
    groups = _groups(regions, pages)
    for c, caption in enumerate(captions):
        for r, region in (pair for step in (-1, 0, 1) for pair in on_page.get(caption.page + step, ())):
            if region.page == caption.page:
                pair = _on_page(region, groups[r], caption, pages[region.page], caption_blocks[region.page])
            else:
                pair = _over_pages(region, caption, pages, caption_blocks)
            if pair is not None:
                out[r, c] = pair
    return out


def _groups(regions: list[Region], pages: dict[int, Page]) -> list[list[Region]]:
    """For each region its group."""
    return [_group(region, pages[region.page].regions, pages[region.page]) for region in regions]


def _on_page(region: Region, group: list[Region], caption: Candidate, page: Page, captions: set[int]) -> _Pair | None:
    own = _reach(region.box, caption, page, captions)
    if len(group) > 1:
        box = box_of([member.box for member in group])
        pair = _reach(box, caption, page, captions)
        if pair is not None and (own is None or pair.cost + 0.15 < own.cost):
            own = _Pair(pair.cost + 0.15, pair.place, False)
    if own is None:
        return None
    doubt = region.doubt - (region.size_doubt if len(group) > 1 else 0.0)
    if caption.is_table:
        doubt = 0.0 if "table" in region.marks else doubt + 0.6
    return _Pair(own.cost + doubt, own.place, own.own)


def _group(region: Region, regions: list[Region], page: Page) -> list[Region]:
    """The region with its neighbours at panels' distance, nothing printed between them."""
    group = [region]
    queue = [region]
    while queue:
        one = queue.pop()
        for other in regions:
            if any(other is member for member in group) or "in the margin" in other.marks:
                continue
            across = max(one.box[0] - other.box[2], other.box[0] - one.box[2])
            along = max(one.box[1] - other.box[3], other.box[1] - one.box[3])
            if (across > 0 and along > 0) or max(across, along) > _reach_of_row(one.box, other.box, across > 0):
                continue
            if not _alike(one.box, other.box, across > 0):
                continue
            if (
                across > 0
                and _parted(one.box, other.box, page.gutter)
                and not _in_line(one.box, other.box, beside=True)
            ):
                continue
            gap = _gap_box(one.box, other.box)
            if not any(_cuts(gap, block) for block in page.blocks if len(block.text) > 24):
                group.append(other)
                queue.append(other)
    return group


def _reach_of_row(one: Box, other: Box, beside: bool) -> float:
    """How far apart panels may lie: further where they stand in one row or column, edge by edge."""
    if not _in_line(one, other, beside=beside):
        one_edge = beside and min(abs(one[1] - other[1]), abs(one[3] - other[3])) < 4
        return 1.7 * _GROUP_PT if one_edge else _GROUP_PT
    return 4 * _GROUP_PT if beside else 2 * _GROUP_PT


def _in_line(one: Box, other: Box, *, beside: bool) -> bool:
    """Whether both begin and end at one height, or at one width."""
    low, high = (1, 3) if beside else (0, 2)
    return abs(one[low] - other[low]) < 10 and abs(one[high] - other[high]) < 10


def _parted(one: Box, other: Box, gutter: float | None) -> bool:
    """Whether the columns' gutter runs between two boxes."""
    return gutter is not None and min(one[2], other[2]) < gutter + 3 and max(one[0], other[0]) > gutter - 3


def _alike(one: Box, other: Box, beside: bool) -> bool:
    """Whether two regions face each other over much of their sides, as panels do."""
    low, high = (1, 3) if beside else (0, 2)
    shared = min(one[high], other[high]) - max(one[low], other[low])
    if beside and min(abs(one[1] - other[1]), abs(one[3] - other[3])) < 4:
        return shared > 0.25 * max(one[high] - one[low], other[high] - other[low])
    return shared > 0.4 * max(one[high] - one[low], other[high] - other[low])


def _gap_box(one: Box, other: Box) -> Box:
    """The white between two boxes."""
    left, right = sorted((max(one[0], other[0]), min(one[2], other[2])))
    bottom, top = sorted((max(one[1], other[1]), min(one[3], other[3])))
    return left, bottom, right, top


def _cuts(gap: Box, block: Block) -> bool:
    box = block.box
    return min(gap[2], box[2]) - max(gap[0], box[0]) > 1 and min(gap[3], box[3]) - max(gap[1], box[1]) > 1


def _reach(box: Box, caption: Candidate, page: Page, captions: set[int]) -> _Pair | None:
    """Cost and place of a caption seen from a box on the same page."""
    words = caption.box
    slack = 0.5 * page.body
    shared = min(box[2], words[2]) - max(box[0], words[0])
    if words[3] <= box[1] + slack or words[1] >= box[3] - slack:
        below = words[3] <= box[1] + slack
        low, high = (words[3], box[1]) if below else (box[3], words[1])
        gap = max(0.0, high - low)
        if shared <= 0 and _parted(box, words, page.gutter):
            return _next_column(box, caption, page, captions)
        if shared <= 0:
            # A short caption at the column's edge under a picture at the other.
            if gap > 2.5 * page.body:
                return None
            return _Pair(gap / 28 + 0.8 - shared / 250, "below" if below else "above", True)
        left, right = max(box[0], words[0]), min(box[2], words[2])
        cost = gap / 28 + _text_between((left, low, right, high), caption, page, captions)
        cost += 1.2 * (1 - shared / min(box[2] - box[0], words[2] - words[0]))
        offset = abs(words[0] - box[0]) / page.width
        centre = abs((words[0] + words[2]) - (box[0] + box[2])) / 2 / page.width
        return _Pair(cost + min(offset, centre), "below" if below else "above", True)
    if _parted(box, words, page.gutter):
        return _next_column(box, caption, page, captions)
    gap = max(box[0] - words[2], words[0] - box[2])
    tall = min(box[3], words[3]) - max(box[1], words[1])
    if gap < -slack or tall <= 0:
        return None
    left, right = (words[2], box[0]) if words[2] <= box[0] + slack else (box[2], words[0])
    between = (left, max(box[1], words[1]), right, min(box[3], words[3]))
    cost = max(0.0, gap) / 50 + _text_between(between, caption, page, captions) + 0.3
    cost += 0.8 * (1 - tall / min(box[3] - box[1], words[3] - words[1]))
    return _Pair(cost, "beside", True)


def _next_column(box: Box, caption: Candidate, page: Page, captions: set[int]) -> _Pair | None:
    """A picture at the end of one column and its caption at the head of the next one, or the other way round."""
    words = caption.box
    after = words[0] > box[0]
    left, right = (box, words) if after else (words, box)
    cost = 1.0 + _text_between((left[0], 0.0, left[2], left[1]), caption, page, captions)
    cost += _text_between((right[0], right[3], right[2], page.height), caption, page, captions)
    if cost >= 4 or right[3] <= left[3]:
        return None
    return _Pair(cost, "next page" if after else "page before", True)


def _text_between(gap: Box, caption: Candidate, page: Page, captions: set[int]) -> float:
    own = {id(block) for block in caption.blocks}
    cost = 0.0
    for block in page.blocks:
        if id(block) in own:
            continue
        lines = sum(
            min(gap[2], line.box[2]) - max(gap[0], line.box[0]) > 2 and gap[1] < _middle(line.box) < gap[3]
            for line in block.lines
        )
        if lines:
            cost += 2.5 if id(block) in captions else 1.0 + 0.5 * lines
    return cost


def _middle(box: Box) -> float:
    return (box[1] + box[3]) / 2


def _over_pages(
    region: Region, caption: Candidate, pages: dict[int, Page], captions: dict[int, set[int]]
) -> _Pair | None:
    """A caption at the top of the page after the region's, or at the foot of the one before."""
    here, there = pages[region.page], pages[caption.page]
    box, words = region.box, caption.box
    after = caption.page > region.page
    beside_region = (box[0], 0.0, box[2], box[1]) if after else (box[0], box[3], box[2], here.height)
    beside_words = (words[0], words[3], words[2], there.height) if after else (words[0], 0.0, words[2], words[1])
    cost = 1.0 + _text_between(beside_region, caption, here, captions[region.page])
    cost += _text_between(beside_words, caption, there, captions[caption.page])
    for page, gap in ((here, beside_region), (there, beside_words)):
        cost += sum(1.5 for r in page.regions if r is not region and r.doubt < 1.5 and _within(r.box, gap))
    cost += region.doubt
    return _Pair(cost, "next page" if after else "page before", True) if cost < 5 else None


def _within(box: Box, gap: Box) -> bool:
    """Whether a box lies in the stretch of a column."""
    return min(box[2], gap[2]) - max(box[0], gap[0]) > 0 and gap[1] - 3 < _middle(box) < gap[3] + 3


def _rarity(chosen: list[_Pair]) -> dict[Place, float]:
    """How rarely the document sets captions at each place, as a cost."""
    counts = Counter(pair.place for pair in chosen if pair.own and pair.cost < 1.5)
    start: dict[Place, float] = {"below": 2.0, "above": 0.8, "beside": 0.5, "next page": 0.4, "page before": 0.3}
    total = sum(counts.values()) + sum(start.values())
    shares = {place: (counts[place] + weight) / total for place, weight in start.items()}
    most = max(shares.values())
    return {place: min(1.6, 0.6 * math.log(most / share)) for place, share in shares.items()}


# --- the assignment --------------------------------------------------------------------------------------------------


def _assign(
    regions: list[Region], captions: list[Candidate], costs: dict[tuple[int, int], float]
) -> dict[int, int]:  # fmt: skip
    """Region -> caption, so that the summed cost is least."""
    from scipy.optimize import linear_sum_assignment

    given: dict[int, int] = {}
    for rows, columns in _components(costs):
        places = min(_PLACES, len(rows))
        matrix = np.full((len(rows), len(columns) * places + len(rows)), _FAR)
        for i, r in enumerate(rows):
            for j, c in enumerate(columns):
                cost = costs.get((r, c))
                if cost is None:
                    continue
                # A doubtful caption is worth less, and a sentence never outweighs leaving a picture alone.
                worth = _FIRST_WORTH * _likely(captions[c]) - 1.5 * (1 - _likely(captions[c]))
                wanted = j * places + min(places, max(1, len(captions[c].labels)))
                matrix[i, j * places : wanted] = cost - worth
                matrix[i, wanted : (j + 1) * places] = cost + _FURTHER + 2 * (1 - _likely(captions[c]))
            matrix[i, len(columns) * places + i] = _ALONE
        for i, place in zip(*linear_sum_assignment(matrix), strict=True):
            if place < len(columns) * places and matrix[i, place] < _FAR / 2:
                given[rows[i]] = columns[place // places]
    return given


def _completed(
    regions: list[Region], captions: list[Candidate], pages: dict[int, Page], given: dict[int, int]
) -> dict[int, int]:
    """Panels left alone beside panels that all have one caption belong to it, too."""
    out = dict(given)
    place = {id(region): r for r, region in enumerate(regions)}
    for r, region in enumerate(regions):
        if r in given or region.doubt - region.size_doubt > 0.5:
            continue
        others = {
            given.get(place[id(other)]) for other in _group(region, pages[region.page].regions, pages[region.page])
        } - {None}
        if len(others) == 1 and (c := others.pop()) is not None and not captions[c].is_table:
            out[r] = c
    return out


def _components(costs: dict[tuple[int, int], float]) -> Iterator[tuple[list[int], list[int]]]:
    """Regions and captions that hang together: a long document is many small problems."""
    parent: dict[tuple[str, int], tuple[str, int]] = {}

    def root(node: tuple[str, int]) -> tuple[str, int]:
        while parent.setdefault(node, node) != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    for r, c in sorted(costs):
        parent[root(("r", r))] = root(("c", c))
    groups: dict[tuple[str, int], tuple[set[int], set[int]]] = {}
    for r, c in sorted(costs):
        rows, columns = groups.setdefault(root(("r", r)), (set(), set()))
        rows.add(r)
        columns.add(c)
    for rows, columns in groups.values():
        yield sorted(rows), sorted(columns)


def _likely(caption: Candidate) -> float:
    return 1 / (1 + math.exp(-1.4 * caption.odds))


# --- figures and scores ----------------------------------------------------------------------------------------------


def _figures(
    regions: list[Region], captions: list[Candidate], pages: dict[int, Page], pairs: dict[tuple[int, int], _Pair],
    costs: dict[tuple[int, int], float], given: dict[int, int],
) -> Match:  # fmt: skip
    match = Match()
    costs_of: tuple[_Table, _Table] = (defaultdict(dict), defaultdict(dict))
    for (r, c), value in costs.items():
        costs_of[0][r][c] = costs_of[1][c][r] = value
    members_of: dict[int, list[int]] = defaultdict(list)
    for r in sorted(given):
        members_of[given[r]].append(r)
    for c, caption in enumerate(captions):
        members = members_of[c]
        if not members:
            if not caption.is_table and caption.labels and caption.odds > 0:
                match.captions.append(caption)
            continue
        if caption.is_table:
            continue
        groups = _as_figures([regions[r] for r in members], caption, pages)
        for number, group in enumerate(groups):
            chosen = [r for r in members if any(regions[r] is region for region in group)]
            chosen = [r for r in chosen if (r, c) in costs]
            best = min(chosen, key=lambda r: costs[r, c])
            score, parts, reasons = _score(chosen, c, captions, regions, costs, costs_of, given)
            labels = caption.labels
            if len(labels) > 1 and len(labels) == len(groups):
                labels = (labels[number],)
            match.figures.append(
                MatchedFigure(
                    group[0].page,
                    box_of([region.box for region in group]),
                    tuple(group),
                    caption,
                    labels,
                    pairs[best, c].place,
                    score,
                    parts,
                    reasons,
                    len(groups) > 1,
                )
            )
    used = {id(region) for figure in match.figures for region in figure.regions}
    match.regions = [region for region in regions if id(region) not in used]
    match.figures.sort(key=lambda figure: (figure.page, -figure.box[3], figure.box[0]))
    return match


def _as_figures(members: list[Region], caption: Candidate, pages: dict[int, Page]) -> list[list[Region]]:
    """Regions of one caption as figures: all panels of a page in one, unless the caption names as many figures as
    there are regions, or text lies between them."""
    ordered = sorted(members, key=lambda region: (region.page, -round(region.box[3] / 40), region.box[0]))
    if len(caption.labels) > 1 and len(caption.labels) == len(ordered):
        return [[region] for region in ordered]
    by_page: dict[int, list[Region]] = {}
    for region in ordered:
        by_page.setdefault(region.page, []).append(region)
    out = []
    for number, group in by_page.items():
        whole = box_of([region.box for region in group])
        own = {id(block) for block in caption.blocks}
        foreign = [
            block for block in pages[number].blocks
            if (len(block.text) > 40 and _cuts(whole, block)) or (id(block) in own and _cuts(whole, block))
        ]  # fmt: skip
        out += [group] if not foreign else [[region] for region in group]
    return out


def _score(
    chosen: list[int], c: int, captions: list[Candidate], regions: list[Region],
    costs: dict[tuple[int, int], float], costs_of: tuple[_Table, _Table], given: dict[int, int],
) -> tuple[float, dict[str, float], tuple[str, ...]]:  # fmt: skip
    """The score, its parts (each 0 to 1; their product) and what is doubted."""
    caption = captions[c]
    cost = min(costs[r, c] - regions[r].doubt for r in chosen)
    doubt = min(regions[r].doubt for r in chosen)
    by_region, by_caption = costs_of
    rivals = [value for r in chosen for other, value in by_region[r].items() if other != c]
    rivals = [value + 1.0 - _likely(captions[c]) for value in rivals]
    # A region that was left alone although it lies as near as the chosen one.
    rivals += [value for r, value in by_caption[c].items() if r not in given and r not in chosen]
    margin = min(rivals, default=_FAR) - min(costs[r, c] for r in chosen)
    parts = {
        "caption": _likely(caption),
        "distance": math.exp(-max(0.0, cost - 0.6) / 2.5),
        "rival": 1 - 0.5 * math.exp(-max(0.0, margin + 0.3) / 0.5),
        "region": math.exp(-doubt / 2.5),
    }
    score = math.prod(parts.values())
    reasons = {
        "caption": "the caption may be text: " + (", ".join(caption.marks) or "nothing sets it off"),
        "distance": "the caption stands far from the picture",
        "rival": "another caption or picture fits nearly as well",
        "region": "the picture may be none: " + ", ".join(regions[chosen[0]].marks),
    }
    weak = sorted((value, name) for name, value in parts.items() if value < 0.75)
    rounded = {name: round(value, 4) for name, value in parts.items()}
    return round(score, 4), rounded, tuple(reasons[name] for _, name in weak)
