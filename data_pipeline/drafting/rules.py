"""The rule writer: a corpus to draft instances on three axes, each with its evidence and the hash of its template.

Convention: images and texts have a module each (`images.py`, `texts.py`); both write on one desk. A draft is
kept as written, with the result of every criterion; the reviser works on a copy. Drafts are made in shards (the
documents of one source, or a stretch of studies); :func:`join_drafts` puts the shards together and leaves out twins
across them.

Trap: everything drawn comes from a generator named after the record, so a new source changes no other draft.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from data_pipeline.config import DraftConfig
from data_pipeline.corpus import Corpus
from data_pipeline.criteria.apply import load_criteria, verify
from data_pipeline.criteria.lookup import Lookup
from data_pipeline.drafting.captions import draft_captions
from data_pipeline.drafting.images import column_tags, draft_study
from data_pipeline.drafting.tasks import draft_study_tasks, draft_text_tasks
from data_pipeline.drafting.texts import draft_documents
from data_pipeline.items import Desk, Item, write_items
from data_pipeline.readers.reading import Drop
from data_pipeline.records import Derivation, DraftSlip, Exchange, Parts
from data_pipeline.shards.shard import facts_of, join_lines, join_tables
from data_pipeline.writers.prompts import all_templates
from spinemed.records import ImageBlob, Instance, content_hash
from spinemed.tables import read_records, write_records

__all__ = ["draft_corpus", "join_drafts", "join_exchanges", "write_drafts"]

TWIN = "same question and pictures as another"


def draft_corpus(corpus: Corpus, config: DraftConfig, seed: int) -> Desk:
    """Draft all questions of a corpus (or of a part of one), documents first, then studies in their order."""
    desk = Desk(corpus=corpus, templates=all_templates(), seed=seed, mark_style=config.mark_style)
    draft_documents(desk, config.text)
    draft_text_tasks(desk, config.texts, config.text.figure_edge_px)
    if config.texts.captions:
        draft_captions(desk, config.text.distractors)
    fallback, tasks = config.images.get("default"), config.tasks.get("default")
    for study in corpus.studies.values():
        wanted = config.images.get(study.source_id, fallback)
        if wanted is not None:
            draft_study(desk, study, wanted)
        asked = config.tasks.get(study.source_id, tasks)
        if asked is not None:
            draft_study_tasks(desk, study, asked, columns=column_tags(study))
    return desk


def write_drafts(folder: Path, desk: Desk) -> dict[str, Any]:
    """Check the drafts of one shard against the criteria and write them with their pictures.

    Returns:
        What was tried and dropped, by source and reason.
    """
    lookup = Lookup(corpus=desk.corpus, templates=desk.templates, derivations=desk.derivations)
    criteria = load_criteria()
    checked, slips = [], []
    for item in desk.items:
        results = verify(item, lookup, criteria)
        checked.append(Item(item.instance.model_copy(update={"criteria": results}), item.parts))
        slips.append(
            DraftSlip(
                id=item.instance.id,
                source_id=item.instance.source_id,
                twin_key=content_hash([item.instance.messages[0].content, list(item.instance.image_sha256)]),
                applied=tuple(result.criterion for result in results),
                failed=tuple(result.criterion for result in results if not result.passed),
            )
        )
    desk.items = checked
    write_items(folder, checked, desk.drops)
    write_records(folder / "images.parquet", ImageBlob, desk.blobs.values())
    write_records(folder / "derivations.parquet", Derivation, desk.derivations.values())
    write_records(folder / "slips.parquet", DraftSlip, slips)
    kept = Counter(item.instance.source_id for item in checked)
    dropped = Counter(drop.source_id for drop in desk.drops)
    for source_id, number in desk.tried.items():
        if number != kept[source_id] + dropped[source_id]:
            raise AssertionError(f"{source_id}: {number} tried, {kept[source_id]} kept, {dropped[source_id]} dropped")
    return {
        "tried": dict(desk.tried),
        "dropped": dict(dropped),
        "reasons": dict(Counter(drop.reason for drop in desk.drops)),
    }


def join_drafts(folder: Path, shards: Sequence[Path], rows: int) -> dict[str, Any]:
    """Join shards of drafts, leaving out twins of earlier ones.

    Args:
        folder: The stage's folder.
        shards: What :func:`write_drafts` wrote, in order.
        rows: Rows of a row group: the shards of the revision.

    Returns:
        The account: tried, kept and dropped per source; to how many drafts each criterion applies, how many fail it.
    """
    tried: Counter[str] = Counter()
    dropped: Counter[str] = Counter()
    kept: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    applied: Counter[str] = Counter()
    failures: Counter[str] = Counter()
    seen: dict[str, str] = {}
    masks: list[np.ndarray | None] = []
    lines: list[Path | bytes] = []
    for shard in shards:
        facts = facts_of(shard)
        mask: list[bool] = []
        lines.append(shard / "dropped.jsonl")
        tried.update(facts["tried"])
        dropped.update(facts["dropped"])
        reasons.update(facts["reasons"])
        for slip in read_records(shard / "slips.parquet", DraftSlip):
            twin = seen.get(slip.id) or seen.get(slip.twin_key)
            mask.append(twin is None)
            if twin is None:
                seen[slip.id] = seen[slip.twin_key] = slip.id
                kept[slip.source_id] += 1
                applied.update(slip.applied)
                failures.update(slip.failed)
                continue
            dropped[slip.source_id] += 1
            reasons[TWIN] += 1
            drop = Drop(stage="draft", source_id=slip.source_id, unit="question", item=slip.id, reason=TWIN, note=twin)
            lines.append(drop.model_dump_json().encode() + b"\n")
        masks.append(None if all(mask) else np.array(mask))
    for name, model in (("instances", Instance), ("parts", Parts)):
        join_tables(folder / f"{name}.parquet", model, [s / f"{name}.parquet" for s in shards], rows=rows, keep=masks)
    pictures = [shard / "images.parquet" for shard in shards]
    join_tables(folder / "images.parquet", ImageBlob, pictures, rows=64, once="sha256")
    made = [shard / "derivations.parquet" for shard in shards]
    join_tables(folder / "derivations.parquet", Derivation, made, rows=1024, once="sha256")
    join_lines(folder / "dropped.jsonl", lines)
    return {
        "counts": {
            source_id: {"tried": number, "kept": kept[source_id], "dropped": dropped[source_id]}
            for source_id, number in sorted(tried.items())
        },
        "drop_reasons": dict(sorted(reasons.items())),
        "criteria_applied": {name: applied[name] for name in sorted(load_criteria())},
        "criteria_failed": dict(sorted(failures.items())),
        **join_exchanges(folder, shards),
    }


def join_exchanges(folder: Path, shards: Sequence[Path]) -> dict[str, Any]:
    """What a model was asked and paid, added up over shards; nothing where nobody was asked.

    Nothing here depends on how often a run was resumed.
    """
    files = [shard / "exchanges.jsonl" for shard in shards if (shard / "exchanges.jsonl").is_file()]
    if not files:
        return {}
    join_lines(folder / "exchanges.jsonl", files)
    outcomes: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    asked = prompt = completion = 0
    money = 0.0
    with open(folder / "exchanges.jsonl", "rb") as stream:
        for line in stream:
            exchange = Exchange.model_validate(json.loads(line))
            asked += 1
            outcomes[exchange.outcome] += 1
            reasons.update([exchange.reason] if exchange.reason else [])
            prompt += exchange.prompt_tokens
            completion += exchange.completion_tokens
            money += exchange.money
    return {
        "asked": asked,
        "outcomes": dict(sorted(outcomes.items())),
        "reasons": dict(sorted(reasons.items())),
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "money": round(money, 6),
    }
