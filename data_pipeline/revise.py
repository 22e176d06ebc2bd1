"""The rule reviser: drafts that fail a written criterion are mended where a remedy is known, or dropped.

Convention: a revised instance is a new record with `parent_id`; the draft stays as it was. Each change says what was
done and which criterion asked for it. A remedy is judged by the same checks, for a few rounds. A shard is mended alone
(:func:`mend_drafts`); twins and letters are decided over the whole set (`settle.py`), and the shards are finished after
that.

Trap: hiding names lengthens and cutting shortens, so remedies are applied to the quotation and the passage is made from
it again; the quotation in the evidence always covers exactly what is shown.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_pipeline.config import ReviseConfig
from data_pipeline.corpus import Corpus
from data_pipeline.criteria.apply import Criterion, load_criteria, verify
from data_pipeline.criteria.checks import MASKS, answer_text, giveaway_names, kind_of, name_pattern, passage_of
from data_pipeline.criteria.lookup import Lookup
from data_pipeline.items import Item, compose_turn, read_items
from data_pipeline.readers.reading import Drop
from data_pipeline.records import Derivation
from data_pipeline.settle import Revision, finish, settle, slip_of, twin_drop
from data_pipeline.writers.prompts import all_templates
from spinemed import __version__
from spinemed.questions import as_options, overlapping
from spinemed.questions.draft import KEYS
from spinemed.records import Instance, Writer, content_hash
from spinemed.tables import read_records

__all__ = ["mend_drafts", "pools_of", "read_lookup", "read_pools", "revise_drafts"]

REVISER = "rule-reviser"
LARGEST_POOL = 5000
"""Of one kind and source; more texts than these give no better wrong options, and every failing item sorts them."""
_REPLACED = ("condition", "definition", "figure")
"""Kinds of questions whose wrong options a remedy may replace."""
_FIGURE_REFERENCE = re.compile(r"\s*\((?:see )?\[fig-[^\]]*\](?:[^)]*)\)|\s*\[fig-[^\]]*\]")
_SENTENCE = re.compile(r"(?<=[.!?])[\"”)]?\s+(?=[\"“(]?[A-Z])")


@dataclass
class _Work:
    """One draft on the bench: what remedies may change."""

    item: Item
    lookup: Lookup
    quote: str
    hidden: list[str]
    stripped: bool
    options: list[str]
    answer: str
    template: str
    wording: int
    note: str
    changes: list[str]

    @property
    def kind(self) -> str:
        return kind_of(self.item)

    def passage(self) -> str:
        """The quotation as shown: for a definition its meaning alone, references cut, names hidden."""
        text = self.quote
        if self.kind == "definition":
            text = text.split(": ", 1)[1]
        if self.stripped:
            text = _FIGURE_REFERENCE.sub("", text)
        for name in self.hidden:
            text = name_pattern(name).sub(MASKS[self.kind], text)
        return text

    def build(self, criteria: tuple[Any, ...] = ()) -> Item:
        """The revised item as it stands."""
        draft = self.item.instance
        values = self.item.parts.filled
        if "passage" in values:
            values["passage"] = self.passage()
        identity = draft.id.removesuffix("-draft")
        parts = self.item.parts.model_copy(
            update={
                "instance_id": identity,
                "template": self.template,
                "wording": self.wording,
                "values": json.dumps(values, sort_keys=True, ensure_ascii=False),
                "note": self.note,
            }
        )
        options, answer = draft.options, draft.answer
        if draft.answer_kind == "option":
            options = as_options(self.options)
            answer = KEYS[self.options.index(self.answer)]
        template = self.lookup.templates[self.template]
        evidence = list(draft.evidence)
        if "passage" in values and self.quote:
            place = next(n for n, part in enumerate(evidence) if part.kind == "span")
            evidence[place] = evidence[place].model_copy(update={"quote": self.quote})
        request = {"draft": content_hash(draft), "changes": self.changes, "template": template.sha256}
        asked, said = compose_turn(parts, template, options, answer, images=len(draft.image_sha256))
        instance = draft.model_copy(
            update={
                "id": identity,
                "stage": "revised",
                "parent_id": draft.id,
                "messages": (asked, *draft.messages[1:-1], said),
                "options": options,
                "answer": answer,
                "evidence": tuple(evidence),
                "writer": Writer(
                    name=REVISER,
                    version=__version__,
                    prompt_sha256=template.sha256,
                    request_sha256=content_hash(request),
                ),
                "criteria": criteria,
                "changes": tuple(self.changes),
            }
        )
        return Item(Instance.model_validate(instance.model_dump()), parts)


def revise_drafts(
    drafts: list[Item], lookup: Lookup, config: ReviseConfig, advance: Callable[[int], None] = lambda number: None
) -> Revision:
    """All of the revision in memory: mend or drop each draft, leave out twins, balance the letters of the answers."""
    revision = mend_drafts(drafts, lookup, config, pools_of(drafts), advance)
    settled = settle(revision.slips)
    items, slips = [], []
    for item, slip, twin, place in zip(revision.items, revision.slips, settled.twins, settled.places):
        if twin is not None:
            revision.drops.append(twin_drop(slip, twin))
        else:
            items.append(finish(item, slip.draft_sha256, place, lookup, load_criteria()))
            slips.append(slip)
    return Revision(items, revision.drops, slips)


def mend_drafts(
    drafts: Iterable[Item],
    lookup: Lookup,
    config: ReviseConfig,
    pools: dict[str, list[str]],
    advance: Callable[[int], None] = lambda number: None,
) -> Revision:
    """Mend or drop each draft of a shard.

    Args:
        drafts: The shard.
        lookup: What its checks look things up in.
        config: How long to try.
        pools: From :func:`pools_of` or :func:`read_pools`: of the whole set, where wrong options are replaced from.
        advance: Called with 1 for each draft.
    """
    criteria = load_criteria()
    revision = Revision()
    for draft in drafts:
        item, failed = _mend(_start(draft, lookup), criteria, config, pools)
        advance(1)
        if failed is not None:
            revision.drops.append(_drop(draft, f"fails {failed[0]}", failed[1]))
        else:
            revision.items.append(item)
            revision.slips.append(slip_of(item, draft))
    return revision


def _drop(draft: Item, reason: str, note: str) -> Drop:
    instance = draft.instance
    return Drop(
        stage="revise", source_id=instance.source_id, unit="instance", item=instance.id, reason=reason, note=note
    )


def _start(item: Item, lookup: Lookup) -> _Work:
    quotes = [part.quote for part in item.instance.evidence if part.kind == "span"]
    return _Work(
        item=item,
        lookup=lookup,
        quote=quotes[0] if quotes else "",
        hidden=[],
        stripped=False,
        options=[option.text for option in item.instance.options],
        answer=answer_text(item),
        template=item.parts.template,
        wording=item.parts.wording,
        note=item.parts.note,
        changes=[],
    )


def _mend(
    work: _Work, criteria: dict[str, Criterion], config: ReviseConfig, pools: dict[str, list[str]]
) -> tuple[Item, tuple[str, str] | None]:
    """Apply remedies until all criteria hold; otherwise name the criterion that still fails."""
    for _ in range(config.rounds + 1):
        bare = work.build()
        results = verify(bare, work.lookup, criteria)
        failed = [result for result in results if not result.passed]
        if not failed:
            return Item(bare.instance.model_copy(update={"criteria": results}), bare.parts), None
        mended = False
        for result in failed:
            criterion = criteria[result.criterion]
            if criterion.on_failure == "drop":
                return bare, (criterion.id, result.note)
            remedy = _REMEDIES.get(criterion.check)  # for some only the writer of the words has one
            if remedy is not None and (done := remedy(work, criterion, pools)):
                work.changes.append(f"{done} ({criterion.id})")
                mended = True
        if not mended:
            break
    return bare, (failed[0].criterion, failed[0].note)


# --- remedies: each answers what it did, or an empty text when it can do nothing -------------------------------------


def _hide_names(work: _Work, criterion: Criterion, pools: dict[str, list[str]]) -> str:
    passage = work.passage()
    names = [name for name in giveaway_names(work.item, work.lookup) if name_pattern(name).search(passage)]
    names = list({name.casefold(): name for name in names if name not in work.hidden}.values())
    work.hidden += names
    work.hidden.sort(key=lambda name: (-len(name), name))
    return f"hid {', '.join(repr(name) for name in names)}" if names else ""


def _replace_options(work: _Work, criterion: Criterion, pools: dict[str, list[str]]) -> str:
    passage = work.passage() if work.quote and passage_of(work.item) else ""

    def fits(text: str) -> bool:
        if text.casefold() == work.answer.casefold() or text.casefold() in work.answer.casefold():
            return False
        if work.answer.casefold() in text.casefold():
            return False
        return work.kind != "condition" or not (overlapping(work.answer, text) or name_pattern(text).search(passage))

    taken = {text.casefold() for text in work.options}
    spare = [text for text in pools[_pool_of(work.item)] if text.casefold() not in taken and fits(text)]
    # Any order is as good as another, but it must not be alphabetical, or early conditions would be everywhere.
    spare.sort(key=lambda text: hashlib.sha256(f"{work.item.instance.id}\x1f{text}".encode()).digest())
    swapped = []
    for place, text in enumerate(work.options):
        if text != work.answer and not fits(text):
            fresh = next((other for other in spare if other.casefold() not in taken), None)
            if fresh is None:
                return ""
            taken.add(fresh.casefold())
            swapped.append(f"'{text}' by '{fresh}'")
            work.options[place] = fresh
    work.options.sort(key=str.casefold)
    return f"replaced {', '.join(swapped)}" if swapped else ""


def _capitalise(work: _Work, criterion: Criterion, pools: dict[str, list[str]]) -> str:
    before = list(work.options)
    work.options = [text[:1].upper() + text[1:] for text in before]
    work.answer = work.answer[:1].upper() + work.answer[1:]
    return "wrote all options with a capital letter" if work.options != before else ""


def _cut_passage(work: _Work, criterion: Criterion, pools: dict[str, list[str]]) -> str:
    """Whole sentences from the start, as many as fit."""
    if work.kind != "condition":
        return ""
    limit, before = work.lookup.longest_passage, work.quote
    ends = [match.start() + len(match[0].rstrip()) for match in _SENTENCE.finditer(before)] + [len(before)]
    for end in reversed(ends):
        work.quote = before[:end]
        if len(work.passage()) <= limit:
            break
    if work.quote == before or len(work.passage()) > limit:
        work.quote = before
        return ""
    return f"cut the passage from {len(before)} to {len(work.quote)} characters"


def _keep_sentences(work: _Work, criterion: Criterion, pools: dict[str, list[str]]) -> str:
    """Whole sentences from the start, up to where a flattened list, a form or a torn sentence begins."""
    before = work.quote
    if work.kind != "condition":
        return ""
    torn = re.search(r"\s-(?:\s|$)|__", before)
    limit = len(before) if torn is None else torn.start()
    ends = [match.end() for match in re.finditer(r"[.!?][\"”)]?(?=\s|$)", before) if match.end() <= limit]
    if not ends or ends[-1] == len(before):
        return ""
    work.quote = before[: ends[-1]]
    return f"kept the whole sentences, {len(work.quote)} of {len(before)} characters"


def _detach(work: _Work, criterion: Criterion, pools: dict[str, list[str]]) -> str:
    """Cut references to figures; cut a first sentence that starts with a loose pronoun."""
    if not work.stripped and _FIGURE_REFERENCE.search(work.passage()):
        work.stripped = True
        return "cut the references to figures"
    first = _SENTENCE.search(work.quote)
    if work.kind != "condition" or first is None:
        return ""
    work.quote = work.quote[first.end() :]
    return "cut the first sentence, which leans on what stood before it"


def _ask(work: _Work, criterion: Criterion, pools: dict[str, list[str]]) -> str:
    if work.template != "exercise":
        return ""
    work.template, work.wording = "exercise_completion", 0
    return "turned the sentence with a blank into a question"


def _add_note(work: _Work, criterion: Criterion, pools: dict[str, list[str]]) -> str:
    if work.note or not criterion.note:
        return ""
    work.note = criterion.note
    return "added that it is a research exercise"


_Remedy = Callable[[_Work, Criterion, dict[str, list[str]]], str]
_REMEDIES: dict[str, _Remedy] = {
    "no_giveaway": _hide_names,
    "options_exclusive": _replace_options,
    "options_not_in_passage": _replace_options,
    "options_alike": _capitalise,
    "passage_length": _cut_passage,
    "stands_alone": _detach,
    "is_prose": _keep_sentences,
    "question_mark": _ask,
    "research_use": _add_note,
}


def _pool_of(item: Item) -> str:
    kind = kind_of(item)
    # Never across sources: a wrong option is content, too, and falls under the licence that its row names.
    return f"{item.parts.template if kind == 'figure' else kind}:{item.instance.source_id}"


class _Pools:
    """Options of one kind and source; of a huge pool the texts with the smallest hashes, whatever the order."""

    def __init__(self) -> None:
        self.held: dict[str, dict[str, str]] = {}

    def add(self, name: str, texts: Iterable[str]) -> None:
        """Take over options; the first spelling of a text stays."""
        pool = self.held.setdefault(name, {})
        for text in texts:
            pool.setdefault(text.casefold(), text)
        if len(pool) > 2 * LARGEST_POOL:
            self._prune(name)

    def _prune(self, name: str) -> None:
        pool = self.held[name]
        few = sorted(pool, key=lambda text: hashlib.sha256(text.encode()).digest())[:LARGEST_POOL]
        self.held[name] = {text: pool[text] for text in pool.keys() & set(few)}

    def lists(self) -> dict[str, list[str]]:
        """The texts of each pool, in alphabetical order."""
        for name in [name for name, pool in self.held.items() if len(pool) > LARGEST_POOL]:
            self._prune(name)
        return {name: sorted(pool.values(), key=str.casefold) for name, pool in self.held.items()}


def pools_of(drafts: Iterable[Item]) -> dict[str, list[str]]:
    """Options that drafts hold, by kind and source: where replacements come from."""
    pools = _Pools()
    for draft in drafts:
        if draft.instance.answer_kind == "option" and kind_of(draft) in _REPLACED:
            pools.add(_pool_of(draft), (option.text for option in draft.instance.options))
    return pools.lists()


def read_pools(folder: Path) -> dict[str, list[str]]:
    """The same from a folder of drafts, streamed."""
    import pyarrow.parquet as pq

    pools = _Pools()
    with pq.ParquetFile(folder / "instances.parquet") as one, pq.ParquetFile(folder / "parts.parquet") as other:
        for place in range(one.num_row_groups):
            rows = one.read_row_group(place, columns=["answer_kind", "options", "source_id"]).to_pylist()
            templates = other.read_row_group(place, columns=["template"])["template"].to_pylist()
            for row, template in zip(rows, templates, strict=True):
                kind = template.split("_")[0]
                if row["answer_kind"] == "option" and kind in _REPLACED:
                    name = f"{template if kind == 'figure' else kind}:{row['source_id']}"
                    pools.add(name, (option["text"] for option in row["options"]))
    return pools.lists()


def read_lookup(corpus: Corpus, drafts: Path, longest_passage: int) -> tuple[list[Item], Lookup]:
    """The drafts of a folder and what their checks look things up in."""
    derivations = {row.sha256: row for row in read_records(drafts / "derivations.parquet", Derivation)}
    lookup = Lookup(corpus=corpus, templates=all_templates(), derivations=derivations, longest_passage=longest_passage)
    return read_items(drafts), lookup
