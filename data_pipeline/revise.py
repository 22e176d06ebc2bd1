"""The rule reviser: drafts that fail a written criterion are mended where a remedy is known, or dropped.

Convention: a revised instance is a new record with `parent_id`; the draft stays as it was. Each change says what was
done and which criterion asked for it. A remedy is judged by the same checks, for a few rounds.

Trap: hiding names lengthens and cutting shortens, so remedies are applied to the quotation and the passage is made from
it again; the quotation in the evidence always covers exactly what is shown.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from data_pipeline.checks import MASKS, answer_text, giveaway_names, kind_of, name_pattern, passage_of, words
from data_pipeline.config import ReviseConfig
from data_pipeline.corpus import Corpus
from data_pipeline.items import Item, compose_turn, read_items, write_items
from data_pipeline.readers.reading import Drop
from data_pipeline.records import Derivation
from data_pipeline.verify import Criterion, Lookup, letter_shares, load_criteria, verify
from data_pipeline.writers_prompts import all_templates
from spinemed import __version__
from spinemed.questions import as_options, overlapping
from spinemed.questions.draft import KEYS
from spinemed.records import Instance, Writer, content_hash
from spinemed.tables import read_records

__all__ = ["Revision", "revise_drafts", "write_revised"]

REVISER = "rule-reviser"
_FIGURE_REFERENCE = re.compile(r"\s*\((?:see )?\[fig-[^\]]*\](?:[^)]*)\)|\s*\[fig-[^\]]*\]")
_SENTENCE = re.compile(r"(?<=[.!?])[\"”)]?\s+(?=[\"“(]?[A-Z])")


@dataclass
class Revision:
    """What became of a set of drafts."""

    items: list[Item] = field(default_factory=list)
    drops: list[Drop] = field(default_factory=list)
    changed: Counter[str] = field(default_factory=Counter)
    """Instances changed, by criterion."""


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
    """Mend or drop each draft, then balance the letters of the right answers over the set."""
    criteria = load_criteria()
    pools = _pools(drafts, lookup)
    revision = Revision()
    works: list[tuple[_Work, Item]] = []
    seen: dict[str, str] = {}
    for draft in drafts:
        work = _start(draft, lookup)
        item, failed = _mend(work, criteria, config, pools)
        advance(1)
        if failed is not None:
            revision.drops.append(_drop(draft, f"fails {failed[0]}", failed[1]))
            continue
        twin = _twin(item, seen)
        if twin is not None:
            revision.drops.append(_drop(draft, "same passage as another", twin))
            continue
        works.append((work, item))
    _balance_letters(works, load_criteria(whole_set=True))
    for work, item in works:
        if work.changes != list(item.instance.changes):
            item = work.build(verify(work.build(), lookup, criteria))
        revision.items.append(item)
        revision.changed.update({_criterion_of(change) for change in work.changes})
    return revision


def _drop(draft: Item, reason: str, note: str) -> Drop:
    instance = draft.instance
    return Drop(
        stage="revise", source_id=instance.source_id, unit="instance", item=instance.id, reason=reason, note=note
    )


def _twin(item: Item, seen: dict[str, str]) -> str | None:
    """An earlier item that shows the same passage, hidden names and punctuation aside."""
    passage = passage_of(item)
    if not passage:
        return None
    key = " ".join(words(passage))
    return None if seen.setdefault(key, item.instance.id) == item.instance.id else seen[key]


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


def _criterion_of(change: str) -> str:
    return change.rsplit("(", 1)[1].removesuffix(")")


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


def _pools(drafts: list[Item], lookup: Lookup) -> dict[str, list[str]]:
    """All options of one kind that the drafts hold, by kind and source: where replacements come from."""
    pools: dict[str, dict[str, str]] = {}
    for draft in drafts:
        if draft.instance.answer_kind == "option":
            pool = pools.setdefault(_pool_of(draft), {})
            for option in draft.instance.options:
                pool.setdefault(option.text.casefold(), option.text)
    return {name: sorted(pool.values(), key=str.casefold) for name, pool in pools.items()}


_FIXED_ORDER = re.compile(r"\b(?:all|none|both) of (?:the above|these)\b|\b[a-d] and [a-d]\b", re.I)


def _balance_letters(works: list[tuple[_Work, Item]], criteria: dict[str, Criterion]) -> None:
    """Move right answers so that each letter holds equally many, over questions with equally many options.

    Options that refer to each other by place stay where they are, and count first.
    """
    if "letters_balanced" not in criteria:
        return
    by_number: dict[int, list[_Work]] = {}
    for work, item in works:
        if item.instance.answer_kind == "option":
            by_number.setdefault(len(work.options), []).append(work)
    for number, group in by_number.items():
        held = Counter(dict.fromkeys(range(number), 0))
        free = []
        for work in group:
            if any(_FIXED_ORDER.search(text) for text in work.options):
                held[work.options.index(work.answer)] += 1
            else:
                free.append(work)
        # By hash, so that neighbours in the corpus do not get neighbouring letters.
        free.sort(key=lambda work: hashlib.sha256(work.item.instance.id.encode()).digest())
        for work in free:
            place = min(held, key=lambda letter: (held[letter], letter))
            held[place] += 1
            before = work.options.index(work.answer)
            if before != place:
                work.options.insert(place, work.options.pop(before))
                work.changes.append(f"moved the answer from {KEYS[before]} to {KEYS[place]} (letters_balanced)")


def write_revised(folder: Path, revision: Revision, drafts: int) -> dict[str, Any]:
    """Write the revised instances and the account of this stage."""
    if drafts != len(revision.items) + len(revision.drops):
        raise AssertionError(f"{drafts} drafts, {len(revision.items)} revised, {len(revision.drops)} dropped")
    write_items(folder, revision.items, revision.drops)
    shares = letter_shares(revision.items)
    return {
        "counts": {"drafts": drafts, "kept": len(revision.items), "dropped": len(revision.drops)},
        "drop_reasons": dict(sorted(Counter(drop.reason for drop in revision.drops).items())),
        "changed_by_criterion": dict(sorted(revision.changed.items())),
        "unchanged": sum(not item.instance.changes for item in revision.items),
        "letters": {str(number): letters for number, letters in shares.counts.items()},
        "letters_balanced": shares.balanced,
    }


def read_lookup(corpus: Corpus, drafts: Path, longest_passage: int) -> tuple[list[Item], Lookup]:
    """The drafts of a folder and what their checks look things up in."""
    derivations = {row.sha256: row for row in read_records(drafts / "derivations.parquet", Derivation)}
    lookup = Lookup(corpus=corpus, templates=all_templates(), derivations=derivations, longest_passage=longest_passage)
    return read_items(drafts), lookup
