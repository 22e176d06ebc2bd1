"""Splits by connected component: whatever shares a patient, a phantom, a document group or a picture stays together.

Convention: instances are joined by keys (union-find); a component goes to the split that a source pins, else to the one
that the hash of its smallest key falls into, so adding a component moves no other.

Trap: pins can meet in one component; that is a contradiction in the sources, and an error, never a silent choice.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence

from data_pipeline.corpus import Corpus
from data_pipeline.records import Derivation
from spinemed.errors import SourceError
from spinemed.records import Instance, Source, Split

__all__ = ["UnionFind", "assign_splits", "components", "joined", "keys_of"]

_SPLITS: tuple[Split, ...] = ("train", "validation", "test")


class UnionFind:
    """Disjoint sets of texts."""

    def __init__(self) -> None:
        self.parent: dict[str, str] = {}

    def find(self, key: str) -> str:
        """The representative of a key's set."""
        root = key
        while (above := self.parent.setdefault(root, root)) != root:
            root = above
        while self.parent[key] != root:
            self.parent[key], key = root, self.parent[key]
        return root

    def join(self, one: str, other: str) -> None:
        """Make one set of two. The smaller text represents it, so the outcome does not depend on the order."""
        left, right = sorted((self.find(one), self.find(other)))
        self.parent[right] = left


def keys_of(instance: Instance, corpus: Corpus, derivations: Mapping[str, Derivation]) -> list[str]:
    """Everything that ties an instance to others: its group, its pictures and where they came from, its documents."""
    keys = [f"group:{instance.group_id}"]
    for digest in instance.image_sha256:
        keys.append(f"image:{digest}")
        if digest in derivations:
            keys.append(f"image:{derivations[digest].from_sha256}")
    for part in instance.evidence:
        if part.kind == "study":
            keys.append(f"group:{corpus.studies[part.id].group_id}")
        elif part.kind == "figure":
            keys.append(f"group:{corpus.documents[corpus.figures[part.id].document_id].group_id}")
        elif part.kind == "document":
            keys.append(f"group:{corpus.documents[part.id].group_id}")
        else:
            keys.append(f"group:{corpus.documents[corpus.spans[part.id].document_id].group_id}")
    return keys


def components(keys_of: Mapping[str, Iterable[str]]) -> dict[str, str]:
    """The component of each instance: the smallest key it is joined with.

    Args:
        keys_of: For each instance, everything that ties it to others.
    """
    return joined(keys_of.items())


def joined(tied: Iterable[tuple[str, Iterable[str]]], pairs: Iterable[tuple[str, str]] = ()) -> dict[str, str]:
    """The component of each instance; ids and keys are in memory, nothing else.

    Args:
        tied: Instances with what ties them to others, streamed.
        pairs: Instances that belong together besides, such as near duplicates; unknown ones are left out.
    """
    sets = UnionFind()
    first: dict[str, str] = {}
    for instance, keys in tied:
        own, *others = dict.fromkeys(keys)
        first[instance] = own
        sets.find(own)
        for key in others:
            sets.join(own, key)
    for one, other in pairs:
        if one in first and other in first:
            sets.join(first[one], first[other])
    return {instance: sets.find(key) for instance, key in first.items()}


def assign_splits(
    component_of: Mapping[str, str],
    source_of: Mapping[str, Source],
    fractions: Mapping[Split, float],
    seed: int,
) -> dict[str, Split]:
    """The split of each component.

    Args:
        component_of: Component of each instance.
        source_of: Source of each instance.
        fractions: Shares of the splits among components that nothing pins.
        seed: Seed of the hash.

    Raises:
        SourceError: Two sources pin one component to different splits, or allow no common split.
    """
    members: dict[str, dict[str, Source]] = {}
    for instance, component in component_of.items():
        source = source_of[instance]
        members.setdefault(component, {})[source.id] = source
    return {
        component: _choose(component, [found[name] for name in sorted(found)], fractions, seed)
        for component, found in members.items()
    }


def _choose(component: str, sources: Sequence[Source], fractions: Mapping[Split, float], seed: int) -> Split:
    pins = {source.id: source.split for source in sources if source.split is not None}
    if len(set(pins.values())) > 1:
        raise SourceError(
            f"pins {', '.join(f'{name} to {split}' for name, split in sorted(pins.items()))}, but they share content "
            f"({component})",
            field="split",
            cure="pin them to one split, or remove the shared file",
        )
    allowed = [split for split in _SPLITS if all(_use(split) in source.allowed_use for source in sources)]
    pinned = next(iter(pins.values()), None)
    if pinned is not None:
        if pinned not in allowed:
            raise SourceError(
                f"pins {', '.join(sorted(pins))} to {pinned}, which allowed_use does not cover",
                field="split",
                cure=f"pin to another split, or add '{_use(pinned)}' to allowed_use if the licence grants it",
            )
        return pinned
    weights = [(split, fractions.get(split, 0.0)) for split in allowed]
    total = sum(weight for _, weight in weights)
    if total <= 0:
        raise SourceError(
            f"{', '.join(source.id for source in sources)} may go into no split: allowed_use is "
            f"{[list(source.allowed_use) for source in sources]}",
            field="allowed_use",
            cure="allow a use, pin a split, or leave the source out",
        )
    digest = hashlib.sha256(f"{seed}\x1f{component}".encode()).digest()
    point = int.from_bytes(digest[:8], "big") / 2**64 * total
    for split, weight in weights:
        point -= weight
        if point < 0:
            return split
    return weights[-1][0]


def _use(split: Split) -> str:
    return "train" if split == "train" else "evaluate"
