"""What checks look things up in: the corpus, the templates, and how each item's numbers were derived.

Convention: what an item cites and the corpus does not hold is None or left out here; the check `evidence_exists` says
that it is gone.

Trap: a shard's lookup holds the corpus of that shard alone.
"""

from __future__ import annotations

from dataclasses import dataclass

from data_pipeline.corpus import Corpus
from data_pipeline.items import Item
from data_pipeline.records import Derivation
from spinemed.questions import Template
from spinemed.records import Span, Study

__all__ = ["LONGEST_PASSAGE", "Lookup"]

LONGEST_PASSAGE = 420


@dataclass(frozen=True)
class Lookup:
    """What checks look things up in."""

    corpus: Corpus
    templates: dict[str, Template]
    derivations: dict[str, Derivation]
    longest_passage: int = LONGEST_PASSAGE

    def study(self, item: Item) -> Study | None:
        """The study an item is about, or None."""
        found = next((part.id for part in item.instance.evidence if part.kind == "study"), None)
        return None if found is None else self.corpus.studies.get(found)  # `evidence_exists` says that it is gone

    def spans(self, item: Item) -> list[Span]:
        """The spans an item quotes, as far as the corpus holds them."""
        named = [part.id for part in item.instance.evidence if part.kind == "span"]
        return [self.corpus.spans[name] for name in named if name in self.corpus.spans]
