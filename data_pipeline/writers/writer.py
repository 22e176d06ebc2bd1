"""Who writes: rules, a language model on a server, or one in this process; one interface for draft and revision.

Convention: a writer says in which parts a corpus is drafted, turns a part into a desk of drafts, and a shard of drafts
into mended ones; the criteria judge all of them alike. The rule writer is the default: its answers come from labels and
source sentences, never from a model. A model asks through :mod:`spinemed.chat`, so that nothing is asked twice and
nothing goes where its source forbids.

Trap: what a model wrote is a claim until the criteria and a person have looked at it.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from data_pipeline.config import BuildConfig
from data_pipeline.corpus import Corpus
from data_pipeline.criteria.lookup import Lookup
from data_pipeline.drafting.rules import draft_corpus
from data_pipeline.items import Desk, Item
from data_pipeline.records import Exchange
from data_pipeline.revise import mend_drafts, read_pools
from data_pipeline.settle import Revision
from data_pipeline.shards.store import CorpusStore
from spinemed.tables import parse_json, write_json

__all__ = ["DraftPart", "Requests", "RuleWriter", "Writer"]


@dataclass(frozen=True)
class DraftPart:
    """What one shard is drafted from."""

    kind: Literal["source", "documents", "figures", "studies"]
    """All documents of one source, or rows `start` to `stop` of a table of the corpus."""
    start: int
    stop: int
    size: int
    """How much drafting that is."""
    source: str = ""

    @property
    def name(self) -> str:
        """For files that belong to it."""
        return f"draft-{self.kind}-{self.source or self.start}"

    def corpus(self, store: CorpusStore) -> Corpus:
        """That part of the corpus."""
        if self.kind == "source":
            return store.of_source(self.source)
        read = {"documents": store.of_documents, "figures": store.of_figures, "studies": store.of_studies}[self.kind]
        return read(np.arange(self.start, self.stop))


@dataclass(frozen=True)
class Requests:
    """Where a model's requests are logged and counted: the same for all workers of a run."""

    folder: Path
    """A log for each shard below it, and the ledger of all."""
    workers: int = 1
    """How many share the server."""
    started: float = 0.0
    """When the run was opened, in seconds since the epoch: time budgets count from there."""


class Writer(Protocol):
    """What a run asks of a writer."""

    exchanges: list[Exchange] | None
    """What the last shard asked; None where nobody is asked."""

    @property
    def key(self) -> dict[str, Any]:
        """What its words depend on besides corpus, config and seed. Plain JSON; empty for rules."""

    def parts(self, store: CorpusStore) -> list[DraftPart]:
        """In which parts a corpus is drafted."""

    def draft(self, part: DraftPart, store: CorpusStore) -> Desk:
        """Drafts of one part."""

    def prepare(self, drafts: Path, folder: Path) -> None:
        """Write into `folder` what the revision of a shard must know of all drafts."""

    def corpus(self, drafts: Sequence[Item], store: CorpusStore) -> Corpus:
        """What the revision of a shard looks things up in."""

    def mend(self, name: str, drafts: list[Item], lookup: Lookup, prepared: Path) -> Revision:
        """What becomes of a shard of drafts, before the whole set decides about twins and letters."""


class RuleWriter:
    """Templates and typed findings."""

    key: dict[str, Any] = {}
    exchanges: list[Exchange] | None = None

    def __init__(self, config: BuildConfig) -> None:
        self.config = config

    def parts(self, store: CorpusStore) -> list[DraftPart]:
        """The documents of each source together, since wrong options come from there; studies some hundred at once."""
        found = []
        for name in store.sources:
            number = len(store.documents.where("source_id", [name]))
            if number:
                found.append(DraftPart("source", 0, 0, number, name))
        step = max(1, self.config.shard_items // 4)  # a study gives a few questions
        for start in range(0, len(store.studies), step):
            stop = min(start + step, len(store.studies))
            found.append(DraftPart("studies", start, stop, stop - start))
        return found

    def draft(self, part: DraftPart, store: CorpusStore) -> Desk:
        """Questions on three axes."""
        return draft_corpus(part.corpus(store), self.config.draft, self.config.seed)

    def prepare(self, drafts: Path, folder: Path) -> None:
        """The pools that wrong options are replaced from."""
        write_json(folder / "pools.json", read_pools(drafts))

    def corpus(self, drafts: Sequence[Item], store: CorpusStore) -> Corpus:
        """Just the evidence."""
        return store.of_items(drafts)

    def mend(self, name: str, drafts: list[Item], lookup: Lookup, prepared: Path) -> Revision:
        """Known remedies, or dropped."""
        return mend_drafts(drafts, lookup, self.config.revise, _pools(prepared / "pools.json"))


@functools.lru_cache(maxsize=1)
def _pools(file: Path) -> dict[str, list[str]]:
    return dict(parse_json(file.read_bytes()))
