"""Texts that say the same: exact copies by hash, near copies by MinHash candidates and exact Jaccard similarity.

Convention: texts are streamed past once. Ids, groups and hashes of 8 and 16 bytes stay in memory; what is needed to
compare two texts (the hashes of their shingles) lies in files beside the result and is read for candidates alone, in
the order in which it lies there. Near copies are pairs whose sets of shingles have a Jaccard similarity of at least
`threshold`; clusters are the connected components of such pairs. A cluster is named by its smallest id, and in each of
its groups the member with the smallest id stands for the others, so the outcome depends on no order.

Candidates are texts that agree in all rows of at least one band of their MinHash signatures (Broder 1997; bands as in
Leskovec, Rajaraman, Ullman, "Mining of massive datasets", 3.4). The bands are chosen so that a pair at the threshold
is missed with a probability below 0.1 %.

Trap: two questions of one template may differ in one word and be two questions. Levels, sides, numbers, signs and
negations are therefore compared apart: texts in which these differ are never copies of each other, nor are texts whose
`apart` differs (their pictures). And members of other groups (patients, documents) are listed, never dropped.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
from pydantic import Field

from data_pipeline.components import UnionFind
from spinemed.config import Config
from spinemed.errors import RecordError
from spinemed.overlap import gram_hashes, tokens
from spinemed.records import Record
from spinemed.tables import write_records

__all__ = ["DUPLICATES_FILE", "DuplicateConfig", "DuplicateRow", "TextKey", "bands_of", "find_duplicates"]

DUPLICATES_FILE = "duplicates.parquet"
_PERMUTATIONS = 128
_SEED = 450
_BATCH = 2048
_CROWD = 64
"""Members of a bucket that are all compared; in a larger one each is compared with the next 64."""
_MOST_PAIRS = 4_000_000
"""Candidates held at a time: 32 MB."""
_ROWS_READ = 65_536
"""Texts whose shingles are in memory at a time."""
_TELLING = frozenset(
    {"left", "right", "bilateral", "upper", "lower", "above", "below", "highest", "lowest", "anterior", "posterior"}
    | {"no", "not", "none", "never", "without", "neither", "nor", "absent", "cannot", "except"}
    | {"mild", "moderate", "severe", "左", "右", "双", "无", "未", "不", "没", "非"}
)
_SIGNS = re.compile(r"(?<!\w)[-−](?=\d)|[<>≤≥±]|n['’]t\b|[轻中重]度")


@dataclass(frozen=True)
class TextKey:
    """One text to be compared."""

    id: str
    text: str
    """Question, options and answer; without the wording that all questions of a template share, if it can be told."""
    group_id: str
    """Patient, phantom or document group."""
    apart: str = ""
    """Texts that differ here are never copies: hashes of pictures, the task, the language."""


class DuplicateConfig(Config):
    """When two texts are near copies."""

    threshold: float = Field(default=0.8, ge=0.5, le=1.0)
    """Least Jaccard similarity of their sets of shingles."""
    words: int = Field(default=3, ge=1, le=9)
    """Words of a shingle."""
    characters: int = Field(default=4, ge=1, le=9)
    """Characters of a shingle of a text that is mostly Chinese."""


class DuplicateRow(Record):
    """One member of a cluster of at least two texts. Singles have no row."""

    id: str
    """The item."""
    group_id: str
    """Patient, phantom or document group that it belongs to."""
    representative: str
    """The member that stands for it: the smallest id of its cluster in its own group. Itself if it is that one."""
    cluster: str
    """Smallest id of the cluster."""
    kind: Literal["first", "exact", "near"]
    """`first` is the cluster's own id; the others are exact or near copies of what `similarity` is measured to."""
    similarity: float
    """Jaccard similarity to the representative, or to the cluster's first where it is one itself. In a chain of near
    copies it may lie below the threshold."""
    crosses_groups: bool
    """Whether the cluster has members of several groups: these must share a split."""


def bands_of(threshold: float) -> tuple[int, int]:
    """Bands and rows of a band: the most rows with which a pair at the threshold is missed in less than 0.1 %."""
    for rows in range(16, 1, -1):
        bands = _PERMUTATIONS // rows
        if (1 - threshold**rows) ** bands < 1e-3:
            return bands, rows
    return _PERMUTATIONS, 1


def telling(text: str, said: Sequence[str]) -> list[str]:
    """What must be equal in two copies, in its order: levels, numbers, sides, degrees and negations, then signs.

    Args:
        text: The text.
        said: Its tokens.
    """
    found = [token for token in said if token in _TELLING or not token.isalpha()]
    if any(sign in text for sign in "-−<>≤≥±'’度"):  # far faster than the pattern, which few texts need
        found += [match[0] for match in _SIGNS.finditer(text)]
    return found


@dataclass
class _Shelf:
    """What is kept of the texts: in memory by their number, on disk by the number of their first exact copy."""

    folder: Path
    config: DuplicateConfig
    ids: list[str] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    original: list[int] = field(default_factory=list)
    """Number of the first text that is equal."""
    place: dict[int, int] = field(default_factory=dict)
    """Row on disk, of firsts alone."""
    firsts: list[int] = field(default_factory=list)
    """Number of the text of each row on disk."""
    ends: list[int] = field(default_factory=lambda: [0])
    """Where each row's shingles end in the file."""
    seen: dict[bytes, int] = field(default_factory=dict)
    empty: int = 0

    @property
    def shingles(self) -> Path:
        return self.folder / "shingles.bin"

    def band(self, number: int) -> Path:
        return self.folder / f"band{number:03d}.bin"


def find_duplicates(out: Path, texts: Iterable[TextKey], config: DuplicateConfig | None = None) -> dict[str, Any]:
    """Write `duplicates.parquet` into a folder.

    Args:
        out: An existing folder. Working files of about 1.5 KB a text lie in it meanwhile.
        texts: Streamed once; in any order.
        config: When two texts are near copies.

    Returns:
        Counts: `texts`, `empty` (without a letter or digit: never copies), `exact`, `near`, `clusters`,
        `clusters_across_groups`, `dropped` (members that another one of their group stands for), `candidates`, and
        `crowded` (buckets too large to compare all their members).

    Raises:
        RecordError: An id stands twice.
    """
    config = config or DuplicateConfig()
    folder = out / ".duplicates"
    shutil.rmtree(folder, ignore_errors=True)  # left by a kill
    folder.mkdir()
    try:
        shelf = _Shelf(folder, config)
        _read(shelf, texts)
        sets = UnionFind()
        counts: Counter[str] = Counter()
        for number, first in enumerate(shelf.original):
            if first != number:
                sets.join(shelf.ids[first], shelf.ids[number])
        shelf.seen.clear()
        _join_near(shelf, sets, counts)
        rows = _rows(shelf, sets, counts)
        write_records(out / DUPLICATES_FILE, DuplicateRow, rows)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    names = ("exact", "near", "clusters", "clusters_across_groups", "dropped", "candidates", "crowded")
    return {"texts": len(shelf.ids), "empty": shelf.empty, **{name: counts[name] for name in names}}


# --- one pass over the texts -----------------------------------------------------------------------------------------


def _read(shelf: _Shelf, texts: Iterable[TextKey]) -> None:
    """Hash every text; of the first of equal ones, put shingles and bands on disk."""
    bands, _ = bands_of(shelf.config.threshold)
    known: set[str] = set()
    group_names: dict[str, str] = {}
    with ExitStack() as stack:
        shingles = stack.enter_context(open(shelf.shingles, "wb"))
        files = [stack.enter_context(open(shelf.band(number), "wb")) for number in range(bands)]
        fresh: list[tuple[list[str], int]] = []
        for key in texts:
            if key.id in known:
                raise RecordError(f"two texts have the id {key.id}", field="id", cure="run the stage before again")
            known.add(key.id)
            number = len(shelf.ids)
            shelf.ids.append(key.id)
            shelf.groups.append(group_names.setdefault(key.group_id, key.group_id))
            said = tokens(key.text)
            if not said:
                shelf.empty += 1
                shelf.original.append(number)
                continue
            apart = "\x1f".join([key.apart, *telling(key.text, said)])
            whole = hashlib.blake2b(f"{apart}\x1e{chr(31).join(said)}".encode(), digest_size=16).digest()
            first = shelf.seen.setdefault(whole, number)
            shelf.original.append(first)
            if first == number:
                shelf.place[number] = len(shelf.firsts)
                shelf.firsts.append(number)
                mark = hashlib.blake2b(apart.encode(), digest_size=8).digest()
                fresh.append((said, int.from_bytes(mark, "little")))
                if len(fresh) == _BATCH:
                    _put(shelf, fresh, shingles, files)
                    fresh = []
        if fresh:
            _put(shelf, fresh, shingles, files)


def _put(shelf: _Shelf, fresh: list[tuple[list[str], int]], shingles: BinaryIO, files: Sequence[BinaryIO]) -> None:
    import rensa  # type: ignore[import-untyped]

    hashes, starts = gram_hashes(
        [said for said, _ in fresh], words=shelf.config.words, characters=shelf.config.characters, whole=True
    )
    parts = [np.unique(hashes[start:end]) for start, end in zip(starts[:-1].tolist(), starts[1:].tolist())]
    flat = np.concatenate(parts)
    offsets = np.concatenate([[0], np.cumsum([len(part) for part in parts])]).astype(np.uint64)
    signed = rensa.RMinHash.digest_matrix_from_flat_token_hashes(flat, offsets, _PERMUTATIONS, _SEED)
    signatures = np.array(signed.to_rows(), dtype=np.uint64)
    marks = np.array([mark for _, mark in fresh], dtype=np.uint64)
    _, rows = bands_of(shelf.config.threshold)
    odd = np.uint64(0x9E3779B97F4A7C15)
    for number, file in enumerate(files):
        value = marks.copy()  # texts that must stay apart never share a bucket
        for column in range(number * rows, (number + 1) * rows):
            value = (value ^ signatures[:, column]) * odd
            value ^= value >> np.uint64(29)
        file.write(value.tobytes())
    shingles.write(flat.tobytes())
    end = shelf.ends[-1]
    shelf.ends.extend((end + np.cumsum([len(part) for part in parts])).tolist())


# --- candidates ------------------------------------------------------------------------------------------------------


def _join_near(shelf: _Shelf, sets: UnionFind, counts: Counter[str]) -> None:
    """Join every pair of candidates whose shingles are similar enough."""
    bands, _ = bands_of(shelf.config.threshold)
    held = np.zeros(0, dtype=np.uint64)
    for number in range(bands):
        new: list[np.ndarray] = []
        for pairs in _pairs(np.fromfile(shelf.band(number), dtype=np.uint64), counts):
            new.append(pairs)
            if sum(map(len, new)) >= _MOST_PAIRS:
                held, new = np.union1d(held, np.concatenate(new)), []
            if len(held) >= _MOST_PAIRS:
                _compare(shelf, held, sets, counts)
                held = np.zeros(0, dtype=np.uint64)
        if new:
            held = np.union1d(held, np.concatenate(new))
    _compare(shelf, held, sets, counts)


def _pairs(values: np.ndarray, counts: Counter[str]) -> Iterator[np.ndarray]:
    """Pairs of rows in one bucket, as `smaller << 32 | larger`, in parts of bounded size."""
    order = np.argsort(values, kind="stable").astype(np.uint64)
    ranked = values[order]
    starts = np.flatnonzero(np.concatenate([[True], ranked[1:] != ranked[:-1]])) if len(ranked) else np.zeros(0, int)
    sizes = np.diff(np.concatenate([starts, [len(ranked)]]))
    counts["crowded"] += int(np.count_nonzero(sizes > _CROWD + 1))
    # The pair of each member with the member `step` places further on, for all buckets at once.
    rank = np.arange(len(ranked)) - np.repeat(starts, sizes)
    size = np.repeat(sizes, sizes)
    for step in range(1, min(int(sizes.max(initial=0)), _CROWD + 1)):
        at = np.flatnonzero(rank + step < size)
        for start in range(0, len(at), _MOST_PAIRS):
            part = at[start : start + _MOST_PAIRS]
            yield (order[part] << np.uint64(32)) | order[part + step]


def _compare(shelf: _Shelf, pairs: np.ndarray, sets: UnionFind, counts: Counter[str]) -> None:
    """Compare candidates, in parts whose shingles fit into memory, each read in the order of the file."""
    counts["candidates"] += len(pairs)
    with open(shelf.shingles, "rb") as stream:
        for start in range(0, len(pairs), _ROWS_READ // 2):
            part = pairs[start : start + _ROWS_READ // 2]
            left, right = (part >> np.uint64(32)).astype(np.int64), (part & np.uint64(0xFFFFFFFF)).astype(np.int64)
            read = {row: _shingles(shelf, stream.fileno(), row) for row in np.union1d(left, right).tolist()}
            for one, other in zip(left.tolist(), right.tolist()):
                name, twin = shelf.ids[shelf.firsts[one]], shelf.ids[shelf.firsts[other]]
                if name in sets.parent and twin in sets.parent and sets.find(name) == sets.find(twin):
                    continue
                if _similarity(read[one], read[other]) >= shelf.config.threshold:
                    sets.join(name, twin)


def _shingles(shelf: _Shelf, handle: int, row: int) -> np.ndarray:
    start, end = shelf.ends[row], shelf.ends[row + 1]
    return np.frombuffer(os.pread(handle, 8 * (end - start), 8 * start), dtype=np.uint64)


def _similarity(one: np.ndarray, other: np.ndarray) -> float:
    """Jaccard similarity of two sorted sets without repeats."""
    both = np.sort(np.concatenate([one, other]), kind="stable")
    shared = int(np.count_nonzero(both[1:] == both[:-1]))
    return shared / (len(both) - shared)


# --- the outcome -----------------------------------------------------------------------------------------------------


def _rows(shelf: _Shelf, sets: UnionFind, counts: Counter[str]) -> Iterator[DuplicateRow]:
    """Members of clusters, by cluster and id."""
    numbers = {shelf.ids[number]: number for number in range(len(shelf.ids)) if shelf.ids[number] in sets.parent}
    clusters: dict[str, list[str]] = {}
    for name in sorted(numbers):
        clusters.setdefault(sets.find(name), []).append(name)
    with open(shelf.shingles, "rb") as stream:
        for cluster in sorted(clusters):
            heads: dict[str, str] = {}
            for name in clusters[cluster]:  # in the order of ids: the first of a group is its smallest
                heads.setdefault(shelf.groups[numbers[name]], name)
            counts["clusters"] += 1
            counts["clusters_across_groups"] += len(heads) > 1
            for name in clusters[cluster]:
                head = heads[shelf.groups[numbers[name]]]
                counts["dropped"] += head != name
                to = head if head != name else cluster
                one, other = (shelf.original[numbers[which]] for which in (name, to))
                kind: Literal["first", "exact", "near"] = "exact" if one == other else "near"
                if name == cluster:
                    kind = "first"
                else:
                    counts[kind] += 1
                ends = [_shingles(shelf, stream.fileno(), shelf.place[which]) for which in {one, other}]
                yield DuplicateRow(
                    id=name,
                    group_id=shelf.groups[numbers[name]],
                    representative=head,
                    cluster=cluster,
                    kind=kind,
                    similarity=_similarity(ends[0], ends[-1]) if len(ends) > 1 else 1.0,
                    crosses_groups=len(heads) > 1,
                )
