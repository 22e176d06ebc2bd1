"""Who writes: rules, a language model on a server, or one in this process; one interface for draft and revision.

Convention: a writer turns a corpus into a desk of drafts, and drafts into a revision; the criteria judge all of them
alike. The rule writer is the default: its answers come from labels and source sentences, never from a model. A model
asks through :mod:`spinemed.chat`, so that nothing is asked twice and nothing goes where its source forbids.

Trap: what a model wrote is a claim until the criteria and a person have looked at it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from data_pipeline.config import BuildConfig
from data_pipeline.corpus import Corpus
from data_pipeline.draft import draft_corpus
from data_pipeline.items import Desk, Item
from data_pipeline.revise import Revision, revise_drafts
from data_pipeline.verify import Lookup
from data_pipeline.writers_prompts import prompts_sha256
from spinemed.errors import ConfigError

__all__ = ["RuleWriter", "Writer", "open_writer"]

Advance = Callable[[int], None]


class Writer(Protocol):
    """What a build asks of a writer."""

    @property
    def key(self) -> dict[str, Any]:
        """What its words depend on besides corpus, config and seed. Plain JSON; empty for rules."""

    def size(self, corpus: Corpus) -> int:
        """How much drafting there is: what a progress bar counts."""

    def draft(self, corpus: Corpus, advance: Advance) -> Desk:
        """Drafts of a corpus."""

    def revise(self, drafts: list[Item], lookup: Lookup, advance: Advance) -> Revision:
        """What becomes of drafts."""

    def account(self, folder: Path) -> dict[str, Any]:
        """Write what the last stage asked and paid into its folder; facts for the manifest."""


class RuleWriter:
    """Templates and typed findings."""

    key: dict[str, Any] = {}

    def __init__(self, config: BuildConfig) -> None:
        self.config = config

    def size(self, corpus: Corpus) -> int:
        """Studies; documents take no time."""
        return len(corpus.studies)

    def draft(self, corpus: Corpus, advance: Advance) -> Desk:
        """Questions on three axes."""
        config = self.config
        return draft_corpus(corpus, config.draft, config.seed, workers=config.workers, advance=advance)

    def revise(self, drafts: list[Item], lookup: Lookup, advance: Advance) -> Revision:
        """Known remedies, or dropped."""
        return revise_drafts(drafts, lookup, self.config.revise, advance)

    def account(self, folder: Path) -> dict[str, Any]:
        """Rules ask nobody."""
        return {}


def open_writer(config: BuildConfig, scratch: Path) -> Writer:
    """The writer that a config asks for.

    Args:
        config: The build.
        scratch: Where a model's request log stands.

    Raises:
        ConfigError: The writer has no settings.
    """
    if config.writer == "rules":
        return RuleWriter(config)
    wanted = "server" if config.writer == "openai" else "checkpoint"
    if getattr(config.model, wanted) is None:
        raise ConfigError(
            f"is '{config.writer}', and nothing says which model to ask", field="writer",
            cure=f"give `model.{wanted}`, or write `writer: rules`",
        )  # fmt: skip
    from data_pipeline.writers_model import ModelWriter

    return ModelWriter(config, scratch / "requests", {"writer": config.writer, "prompts": prompts_sha256()})
