"""Shards: the unit of work, of memory and of resuming, whoever does the work.

Purpose: `shard.py` makes one; `engines.py` says where; `store.py` holds what it reads; `fingerprint.py` says when a
finished one may be used again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from spinemed.lazy import lazy_names

if TYPE_CHECKING:
    from data_pipeline.shards.engines import Crew, Engine
    from data_pipeline.shards.fingerprint import code_sha256, folder_sha256, shaping_versions, source_keys
    from data_pipeline.shards.shard import Job, Work, facts_of, job, join_lines, join_tables, rechunked
    from data_pipeline.shards.store import (
        CorpusStore,
        TableStore,
        derivations_of,
        group_sizes,
        open_corpus,
        open_table,
        read_item_shard,
    )

__all__ = [
    "CorpusStore",
    "Crew",
    "Engine",
    "Job",
    "TableStore",
    "Work",
    "code_sha256",
    "derivations_of",
    "facts_of",
    "folder_sha256",
    "group_sizes",
    "job",
    "join_lines",
    "join_tables",
    "open_corpus",
    "open_table",
    "read_item_shard",
    "rechunked",
    "shaping_versions",
    "source_keys",
]

__getattr__ = lazy_names(
    __name__,
    {
        "engines": "Crew Engine",
        "fingerprint": "code_sha256 folder_sha256 shaping_versions source_keys",
        "shard": "Job Work facts_of job join_lines join_tables rechunked",
        "store": "CorpusStore TableStore derivations_of group_sizes open_corpus open_table read_item_shard",
    },
)
