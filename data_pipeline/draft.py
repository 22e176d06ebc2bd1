"""The rule writer: a corpus to draft instances on three axes, each with its evidence and the hash of its template.

Convention: images and texts have a module each (`draft_images.py`, `draft_text.py`); both write on one desk. A draft is
kept as written, with the result of every criterion; the reviser works on a copy.

Trap: everything drawn comes from a generator named after the record, so a new source changes no other draft.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from data_pipeline.config import DraftConfig
from data_pipeline.corpus import Corpus
from data_pipeline.draft_captions import draft_captions
from data_pipeline.draft_images import column_tags, draft_study
from data_pipeline.draft_text import draft_documents
from data_pipeline.items import Desk, Item, write_items
from data_pipeline.pool import map_in_order
from data_pipeline.records import Derivation
from data_pipeline.ruled import draft_study_tasks, draft_text_tasks
from data_pipeline.verify import Lookup, load_criteria, verify
from data_pipeline.writers_prompts import all_templates
from spinemed.records import ImageBlob, Study
from spinemed.tables import write_records

__all__ = ["draft_corpus", "write_drafts"]

_SHARD = 200


def draft_corpus(
    corpus: Corpus,
    config: DraftConfig,
    seed: int,
    *,
    workers: int = 1,
    advance: Callable[[int], None] = lambda number: None,
) -> Desk:
    """Draft all questions of a corpus, documents first, then studies in their order.

    Studies are drafted in shards of a fixed size, whatever the number of workers, so the outcome is the same.
    """
    desk = Desk(corpus=corpus, templates=all_templates(), seed=seed, mark_style=config.mark_style)
    draft_documents(desk, config.text)
    draft_text_tasks(desk, config.texts, config.text.figure_edge_px)
    if config.texts.captions:
        draft_captions(desk, config.text.distractors)
    studies = list(corpus.studies.values())
    shards = [studies[start : start + _SHARD] for start in range(0, len(studies), _SHARD)]
    work = ((_slice(corpus, shard), config, seed) for shard in shards)
    for shard, part in zip(shards, map_in_order(_draft_shard, work, min(workers, len(shards)))):
        desk.merge(part)
        advance(len(shard))
    return desk


def _slice(corpus: Corpus, studies: list[Study]) -> Corpus:
    """A corpus of some studies and their pictures alone."""
    part = Corpus(corpus.folder, corpus.sources, {}, {}, {}, {study.id: study for study in studies})
    part.images = {study.image_sha256: corpus.images[study.image_sha256] for study in studies}
    return part


def _draft_shard(work: tuple[Corpus, DraftConfig, int]) -> Desk:
    corpus, config, seed = work
    desk = Desk(corpus=corpus, templates=all_templates(), seed=seed, mark_style=config.mark_style)
    fallback, tasks = config.images.get("default"), config.tasks.get("default")
    for study in corpus.studies.values():
        wanted = config.images.get(study.source_id, fallback)
        if wanted is not None:
            draft_study(desk, study, wanted)
        asked = config.tasks.get(study.source_id, tasks)
        if asked is not None:
            draft_study_tasks(desk, study, asked, columns=column_tags(study))
    # The corpus slice need not travel back.
    return replace(desk, corpus=Corpus(corpus.folder, {}, {}, {}, {}, {}), opened=None)


def write_drafts(folder: Path, desk: Desk) -> dict[str, Any]:
    """Check the drafts against the criteria and write them with their pictures.

    Returns:
        The account: tried, kept and dropped per source, and how many drafts fail each criterion.
    """
    lookup = Lookup(corpus=desk.corpus, templates=desk.templates, derivations=desk.derivations)
    criteria = load_criteria()
    failures: Counter[str] = Counter()
    checked = []
    for item in desk.items:
        results = verify(item, lookup, criteria)
        failures.update(result.criterion for result in results if not result.passed)
        checked.append(Item(item.instance.model_copy(update={"criteria": results}), item.parts))
    desk.items = checked
    write_items(folder, checked, desk.drops)
    write_records(folder / "images.parquet", ImageBlob, desk.blobs.values())
    write_records(folder / "derivations.parquet", Derivation, desk.derivations.values())
    kept = Counter(item.instance.source_id for item in checked)
    dropped = Counter(drop.source_id for drop in desk.drops)
    for source_id, number in desk.tried.items():
        if number != kept[source_id] + dropped[source_id]:
            raise AssertionError(f"{source_id}: {number} tried, {kept[source_id]} kept, {dropped[source_id]} dropped")
    return {
        "counts": {
            source_id: {"tried": number, "kept": kept[source_id], "dropped": dropped[source_id]}
            for source_id, number in sorted(desk.tried.items())
        },
        "drop_reasons": dict(sorted(Counter(drop.reason for drop in desk.drops).items())),
        "criteria_failed": dict(sorted(failures.items())),
    }
