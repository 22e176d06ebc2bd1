"""Licence and credit of one instance: its document's where the document has its own, else its source's.

Convention: a table of captions holds rows of many articles, each with a licence of its own; a document carries what its
row printed, and the released row carries it on.

Trap: an instance on several documents under different terms names all of them, because all of them hold.
"""

from __future__ import annotations

from data_pipeline.corpus import Corpus
from spinemed.records import Instance

__all__ = ["terms_of"]


def terms_of(instance: Instance, corpus: Corpus) -> tuple[str, str]:
    """Licence (an SPDX expression) and credit of what an instance rests on.

    Raises:
        KeyError: The corpus lacks a document or the source that the instance names.
    """
    source = corpus.sources[instance.source_id]
    documents = [corpus.documents[part.id] for part in instance.evidence if part.kind == "document"]
    licences = list(dict.fromkeys(document.licence for document in documents)) or [source.licence]
    credits_ = list(dict.fromkeys(document.attribution for document in documents)) or [source.attribution]
    return " AND ".join(licences), "; ".join(credits_)
