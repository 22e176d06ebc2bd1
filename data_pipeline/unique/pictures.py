"""Pictures that show the same: equal by their decoded pixels, or alike by perceptual hashes.

Convention: each picture is decoded once and forgotten. Equal pictures have equal pixels, however the file was packed.
Alike are pictures whose pHash and dHash (64 bits each) both differ in at most `bits` bits *and* whose thumbnails of
16 x 16 pixels, each of mean 0 and deviation 1, correlate by at least `correlation`. Pairs are found by an index over
parts of the pHash: of `bits + 1` parts at least one must be equal, so none is missed. A picture joins those whose
pairs lead to it; a cluster is named by its smallest hash.

Trap: neighbouring slices of a series look alike and are not copies, and two patients' spines may look alike. So nothing
is dropped here: equal pixels and alike pictures are listed with their groups, and the caller decides.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from data_pipeline.components import UnionFind
from spinemed.config import Config
from spinemed.errors import RecordError
from spinemed.overlap import Look, look_and_thumbnail
from spinemed.records import Record, Sha256
from spinemed.tables import write_records

__all__ = ["DUPLICATE_IMAGES_FILE", "DuplicateImageConfig", "DuplicateImageRow", "ImageKey", "find_duplicate_images"]

DUPLICATE_IMAGES_FILE = "duplicate_images.parquet"
_AT_ONCE = 1 << 22
"""Pairs compared at a time."""


@dataclass(frozen=True)
class ImageKey:
    """One picture to be compared."""

    sha256: str
    """Of the file's bytes: its name in the corpus."""
    bytes: bytes
    group_id: str
    """Patient, phantom or document group. A picture of several groups comes once for each."""


class DuplicateImageConfig(Config):
    """When two pictures look alike."""

    bits: int = Field(default=3, ge=0, le=15)
    """Most bits in which pHash and dHash may each differ, of 64."""
    correlation: float = Field(default=0.995, ge=0.5, le=1.0)
    """Least correlation of the thumbnails."""


class DuplicateImageRow(Record):
    """One picture of one group in a cluster of at least two. Singles have no row."""

    sha256: Sha256
    """Hash of the picture."""
    group_id: str
    """Patient, phantom or document group that shows it."""
    cluster: Sha256
    """Smallest hash of the cluster."""
    kind: Literal["first", "exact", "near"]
    """`first` is the cluster's own picture; `exact` has its pixels, `near` looks like it or like another member."""
    bits: int
    """Larger difference of both perceptual hashes to the cluster's first picture."""
    crosses_groups: bool
    """Whether the cluster holds pictures of several groups."""


def find_duplicate_images(
    out: Path, pictures: Iterable[ImageKey], config: DuplicateImageConfig | None = None
) -> dict[str, Any]:
    """Write `duplicate_images.parquet` into a folder.

    Args:
        out: An existing folder.
        pictures: Streamed once; in any order.
        config: When two pictures look alike.

    Returns:
        Counts: `pictures`, `flat` (nearly one colour: compared by pixels alone), `exact`, `near`, `clusters`,
        `clusters_across_groups`, `compared` (pairs that share a part of their hash).

    Raises:
        ReadError: A picture cannot be decoded.
        RecordError: A picture stands twice in one group.
    """
    config = config or DuplicateImageConfig()
    scratch = out / ".thumbnails.bin"
    try:
        counts: Counter[str] = Counter()
        sets = UnionFind()
        looks, groups = _read(scratch, pictures, counts)
        by_pixels: dict[str, str] = {}
        for name, look in looks.items():
            sets.join(by_pixels.setdefault(look.pixels, name), name)
        _join_alike(scratch, looks, sets, counts, config)
        write_records(out / DUPLICATE_IMAGES_FILE, DuplicateImageRow, _rows(looks, groups, sets, counts))
    finally:
        scratch.unlink(missing_ok=True)
    names = ("pictures", "flat", "exact", "near", "clusters", "clusters_across_groups", "compared")
    return {name: counts[name] for name in names}


def _read(
    scratch: Path, pictures: Iterable[ImageKey], counts: Counter[str]
) -> tuple[dict[str, Look], dict[str, list[str]]]:
    """Hashes of each picture, its groups, and the thumbnails on disk in the order of the hashes' keys."""
    looks: dict[str, Look] = {}
    groups: dict[str, list[str]] = {}
    with open(scratch, "wb") as stream:
        for picture in pictures:
            if picture.group_id in groups.setdefault(picture.sha256, []):
                raise RecordError(
                    f"picture {picture.sha256} stands twice in group {picture.group_id}",
                    field="sha256",
                    cure="run the stage before again",
                )
            groups[picture.sha256].append(picture.group_id)
            if picture.sha256 not in looks:
                look, small = look_and_thumbnail(picture.bytes)
                looks[picture.sha256] = look
                counts["pictures"] += 1
                counts["flat"] += look.flat
                stream.write(small.tobytes())
    return looks, groups


def _join_alike(
    scratch: Path, looks: dict[str, Look], sets: UnionFind, counts: Counter[str], config: DuplicateImageConfig
) -> None:
    names = list(looks)
    usable = np.array([not look.flat for look in looks.values()], dtype=bool)
    phash = np.array([look.phash for look in looks.values()], dtype=np.uint64)
    dhash = np.array([look.dhash for look in looks.values()], dtype=np.uint64)
    small = np.fromfile(scratch, dtype=np.float16).reshape(len(names), -1) if names else np.zeros((0, 1), np.float16)
    for left, right in _candidates(phash, np.flatnonzero(usable), config.bits):
        counts["compared"] += len(left)
        near = (np.bitwise_count(phash[left] ^ phash[right]) <= config.bits) & (
            np.bitwise_count(dhash[left] ^ dhash[right]) <= config.bits
        )
        left, right = left[near], right[near]
        alike = np.einsum("ij,ij->i", small[left], small[right], dtype=np.float64) / small.shape[1]
        for one, other in zip(left[alike >= config.correlation].tolist(), right[alike >= config.correlation].tolist()):
            sets.join(names[one], names[other])


def _candidates(phash: np.ndarray, usable: np.ndarray, bits: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pairs whose pHash is equal in one of `bits + 1` parts: all pairs that differ in at most `bits` bits."""
    edges = np.linspace(0, 64, bits + 2).astype(int)
    for low, high in zip(edges[:-1].tolist(), edges[1:].tolist()):
        mask = np.uint64((1 << (high - low)) - 1)
        part = (phash[usable] >> np.uint64(low)) & mask
        order = usable[np.argsort(part, kind="stable")]
        ranked = np.sort(part, kind="stable")
        fresh = np.concatenate([[True], ranked[1:] != ranked[:-1]]) if len(ranked) else np.zeros(0, bool)
        starts = np.flatnonzero(fresh)
        sizes = np.diff(np.concatenate([starts, [len(ranked)]]))
        rank = np.arange(len(ranked)) - np.repeat(starts, sizes)
        size = np.repeat(sizes, sizes)
        for step in range(1, int(sizes.max(initial=0))):
            at = np.flatnonzero(rank + step < size)
            for start in range(0, len(at), _AT_ONCE):
                yield order[at[start : start + _AT_ONCE]], order[at[start : start + _AT_ONCE] + step]


def _rows(
    looks: dict[str, Look], groups: dict[str, list[str]], sets: UnionFind, counts: Counter[str]
) -> Iterator[DuplicateImageRow]:
    """Members of clusters, by cluster, hash and group."""
    clusters: dict[str, list[str]] = {}
    for name in sorted(looks):
        clusters.setdefault(sets.find(name), []).append(name)
    for cluster in sorted(clusters):
        members = clusters[cluster]
        across = len({group for name in members for group in groups[name]}) > 1
        if len(members) == 1 and not across:
            continue
        counts["clusters"] += 1
        counts["clusters_across_groups"] += across
        first = looks[cluster]
        for name in members:
            look = looks[name]
            kind: Literal["first", "exact", "near"] = "exact" if look.pixels == first.pixels else "near"
            if name == cluster:
                kind = "first"
            else:
                counts[kind] += 1
            for group in sorted(groups[name]):
                yield DuplicateImageRow(
                    sha256=name,
                    group_id=group,
                    cluster=cluster,
                    kind=kind,
                    bits=max((look.phash ^ first.phash).bit_count(), (look.dhash ^ first.dhash).bit_count()),
                    crosses_groups=across,
                )
