"""What only the whole set can decide about revised items, and the files of the revision.

Convention: mending leaves a slip for each item (a few hashes and small numbers). From all slips together follow which
items are twins of earlier ones and under which letter each right answer shall stand; then the shards are finished one
by one. Memory holds slips, never texts.

Trap: the order of the slips is the order of the corpus; the first of two twins stays.
"""

from __future__ import annotations

import hashlib
import re
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from data_pipeline.criteria.apply import Criterion, LetterShares, letter_shares, load_criteria, verify
from data_pipeline.criteria.checks import passage_of, words
from data_pipeline.criteria.lookup import Lookup
from data_pipeline.drafting.rules import join_exchanges
from data_pipeline.items import Item, compose_turn, write_items
from data_pipeline.readers.reading import Drop
from data_pipeline.records import Parts, Ties, WorkSlip
from data_pipeline.shards.shard import facts_of, join_lines, join_tables
from spinemed.questions import as_options
from spinemed.questions.draft import KEYS
from spinemed.records import Instance, content_hash
from spinemed.tables import read_records, write_records

__all__ = [
    "Revision",
    "Settled",
    "finish",
    "join_revised",
    "read_slips",
    "settle",
    "slip_of",
    "twin_drop",
    "write_finished",
    "write_mended",
]

TWIN = "same passage as another"
_FIXED_ORDER = re.compile(
    r"\b(?:all|none|both|neither|either|any) (?:of )?(?:the above|these)\b|\b[a-h] (?:and|or) [a-h]\b"
    r"|(?:以上|上述)(?:都|皆|均|全|各|所|选|答|两|三|四|情)|^(?:都|皆|均)不?(?:是|对|正确)"
    r"|(?<![A-Za-z])[a-h]\s*[和与及、或]\s*[a-h](?![A-Za-z])",
    re.I,
)
"""Options that speak of others by their place, in English and Chinese."""


@dataclass
class Revision:
    """What became of a set of drafts."""

    items: list[Item] = field(default_factory=list)
    drops: list[Drop] = field(default_factory=list)
    slips: list[WorkSlip] = field(default_factory=list)
    """Of the items, for what the whole set decides: twins and letters."""


def slip_of(item: Item, draft: Item) -> WorkSlip:
    """What the whole set must know of a mended item."""
    instance, passage = item.instance, passage_of(item)
    # A caption is asked for its level, its region and its technique: three questions, no twins.
    told = f"{instance.task}\0{' '.join(words(passage))}"
    choice = instance.answer_kind == "option"
    return WorkSlip(
        id=instance.id,
        draft_id=draft.instance.id,
        draft_sha256=content_hash(draft.instance),
        source_id=instance.source_id,
        passage=hashlib.sha256(told.encode()).hexdigest() if passage else "",
        options=len(instance.options) if choice else 0,
        place=KEYS.index(instance.answer) if choice else -1,
        fixed=choice and any(_FIXED_ORDER.search(option.text) for option in instance.options),
    )


@dataclass
class Settled:
    """Decisions over a set, one a slip."""

    twins: list[str | None]
    """Id of an earlier item with the same passage, hidden names and punctuation aside."""
    places: array[int]
    """Where the right option shall stand; -1 where there is none, or for a twin."""


def settle(slips: Iterable[WorkSlip]) -> Settled:
    """Find twins and move right answers so that each letter holds equally many, over questions with equally many
    options. Options that refer to each other by place stay where they are, and count first.

    In memory are ids, some bytes of each hash and small numbers.
    """
    settled = Settled([], array("b"))
    seen: dict[bytes, str] = {}
    held: dict[int, Counter[int]] = {}
    free: dict[int, list[tuple[bytes, int]]] = {}
    for number, slip in enumerate(slips):
        twin = seen.setdefault(bytes.fromhex(slip.passage[:32]), slip.id) if slip.passage else slip.id
        settled.twins.append(None if twin == slip.id else twin)
        settled.places.append(slip.place if twin == slip.id else -1)
        if twin == slip.id and slip.options:
            letters = held.setdefault(slip.options, Counter(dict.fromkeys(range(slip.options), 0)))
            if slip.fixed:
                letters[slip.place] += 1
            else:
                # By hash, so that neighbours in the corpus do not get neighbouring letters.
                order = hashlib.sha256(slip.draft_id.encode()).digest()[:12]
                free.setdefault(slip.options, []).append((order, number))
    if "letters_balanced" in load_criteria(whole_set=True):
        for options, waiting in free.items():
            for _, number in sorted(waiting):
                place = min(held[options], key=lambda letter: (held[options][letter], letter))
                held[options][place] += 1
                settled.places[number] = place
    return settled


def twin_drop(slip: WorkSlip, twin: str) -> Drop:
    """The account of an item whose passage was there before."""
    return Drop(stage="revise", source_id=slip.source_id, unit="instance", item=slip.draft_id, reason=TWIN, note=twin)


def finish(item: Item, draft_sha256: str, place: int, lookup: Lookup, criteria: dict[str, Criterion]) -> Item:
    """The item with its right option at `place`; moved, it is held against the criteria again."""
    instance = item.instance
    if place < 0 or KEYS[place] == instance.answer:
        return item
    texts = [option.text for option in instance.options]
    texts.insert(place, texts.pop(KEYS.index(instance.answer)))
    options, template = as_options(texts), lookup.templates[item.parts.template]
    changes = (*instance.changes, f"moved the answer from {instance.answer} to {KEYS[place]} (letters_balanced)")
    request = {"draft": draft_sha256, "changes": list(changes), "template": template.sha256}
    asked, said = compose_turn(item.parts, template, options, KEYS[place], images=len(instance.image_sha256))
    moved = instance.model_copy(
        update={
            "options": options,
            "answer": KEYS[place],
            "messages": (asked, *instance.messages[1:-1], said),
            "changes": changes,
            "writer": instance.writer.model_copy(update={"request_sha256": content_hash(request)}),
        }
    )
    made = Item(Instance.model_validate(moved.model_dump()), item.parts)
    return Item(made.instance.model_copy(update={"criteria": verify(made, lookup, criteria)}), made.parts)


# --- files -----------------------------------------------------------------------------------------------------------


def write_mended(folder: Path, revision: Revision, drafts: int) -> dict[str, Any]:
    """Write one shard of mended drafts."""
    if drafts != len(revision.items) + len(revision.drops):
        raise AssertionError(f"{drafts} drafts, {len(revision.items)} revised, {len(revision.drops)} dropped")
    write_items(folder, revision.items, revision.drops)
    write_records(folder / "slips.parquet", WorkSlip, revision.slips)
    return {"drafts": drafts, "reasons": dict(Counter(drop.reason for drop in revision.drops))}


def read_slips(shards: Iterable[Path]) -> Iterator[WorkSlip]:
    """Slips of all shards, in order."""
    for shard in shards:
        yield from read_records(shard / "slips.parquet", WorkSlip)


def write_finished(folder: Path, items: list[Item], ties: list[Ties]) -> dict[str, Any]:
    """Write one shard of finished items and count what was changed in it."""
    write_records(folder / "instances.parquet", Instance, (item.instance for item in items))
    write_records(folder / "parts.parquet", Parts, (item.parts for item in items))
    write_records(folder / "ties.parquet", Ties, ties)
    changed: Counter[str] = Counter()
    for item in items:
        changed.update({_criterion_of(change) for change in item.instance.changes})
    return {
        "kept": len(items),
        "changed": dict(changed),
        "unchanged": sum(not item.instance.changes for item in items),
        "letters": {str(number): letters for number, letters in letter_shares(items).counts.items()},
    }


def join_revised(
    folder: Path, mended: Sequence[Path], finished: Sequence[Path], twins: Sequence[Drop], rows: int
) -> dict[str, Any]:
    """Join the shards of the revision into the stage's folder.

    Args:
        folder: The stage's folder.
        mended: What :func:`write_mended` wrote.
        finished: What :func:`write_finished` wrote.
        twins: Items left out because an earlier one has the same passage.
        rows: Rows of a row group: the shards of the next stage.

    Returns:
        The account.
    """
    for name, model in (("instances", Instance), ("parts", Parts), ("ties", Ties)):
        join_tables(folder / f"{name}.parquet", model, [shard / f"{name}.parquet" for shard in finished], rows=rows)
    lines = [drop.model_dump_json().encode() + b"\n" for drop in twins]
    join_lines(folder / "dropped.jsonl", [*(shard / "dropped.jsonl" for shard in mended), *lines])
    reasons, changed = Counter(drop.reason for drop in twins), Counter[str]()
    letters: dict[int, Counter[str]] = {}
    drafts = kept = unchanged = 0
    for shard in mended:
        facts = facts_of(shard)
        drafts += facts["drafts"]
        reasons.update(facts["reasons"])
    for shard in finished:
        facts = facts_of(shard)
        kept, unchanged = kept + facts["kept"], unchanged + facts["unchanged"]
        changed.update(facts["changed"])
        for number, shares in facts["letters"].items():
            letters.setdefault(int(number), Counter()).update(shares)
    dropped = sum(reasons.values())
    if drafts != kept + dropped:
        raise AssertionError(f"{drafts} drafts, {kept} revised, {dropped} dropped")
    shares_of = LetterShares({number: dict(sorted(letters[number].items())) for number in sorted(letters)})
    return {
        "counts": {"drafts": drafts, "kept": kept, "dropped": dropped},
        "drop_reasons": dict(sorted(reasons.items())),
        "changed_by_criterion": dict(sorted(changed.items())),
        "unchanged": unchanged,
        "letters": {str(number): counts for number, counts in shares_of.counts.items()},
        "letters_balanced": shares_of.balanced,
        **join_exchanges(folder, mended),
    }


def _criterion_of(change: str) -> str:
    return change.rsplit("(", 1)[1].removesuffix(")")
