"""The model writer: packs of evidence to drafts, and drafts to revisions, by any model behind the chat interface.

Convention: one request a draft, one a revision; both name their prompt by hash. The model answers in a closed schema
and cites ids; an id that was not given, a reply that is none, an edit of a field that does not exist: the item is left
out, counted by name. `exchanges.jsonl` beside the items says for every request which prompt, model and seed, how many
tokens and how much money; the exchange itself, byte for byte, is in the request log under the run's scratch folder.

Trap: the wording is the model's, the verdict the criteria's: a revision that the reviser accepts and a criterion does
not is dropped.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data_pipeline.config import BuildConfig
from data_pipeline.corpus import Corpus
from data_pipeline.criteria.apply import Criterion, load_criteria, verify
from data_pipeline.criteria.lookup import Lookup
from data_pipeline.guidance import read_guidance
from data_pipeline.items import Desk, Item
from data_pipeline.readers.reading import Drop
from data_pipeline.records import Exchange
from data_pipeline.settle import Revision, slip_of
from data_pipeline.shards.store import CorpusStore
from data_pipeline.writers.compose import Composer, written_of
from data_pipeline.writers.evidence import Pack, PackKind, egress_of, packs_of
from data_pipeline.writers.prompts import Prompt, all_templates, data_field, load_prompts
from data_pipeline.writers.schemas import Language, TaskName, Verdict, Written, apply_edits, schema_of
from data_pipeline.writers.writer import DraftPart, Requests
from spinemed.chat import Chat, ChatClient, ChatError, ChatRequest, LocalChat, Reply, RequestLog, open_ledger

__all__ = ["ModelWriter", "Planned", "planned"]

_STRETCH = 32
"""Documents, figures or studies that are counted at a time."""
_LOG_WAIT_S = 60.0
"""How long a shard waits for the worker of a killed run to let go of its log."""


@dataclass(frozen=True)
class Planned:
    """One draft to be asked for."""

    pack: Pack
    task: TaskName
    language: Language
    pictured: bool
    number: int

    @property
    def tag(self) -> str:
        """Name in the log and in the account."""
        form = "image" if self.pictured else "text"
        return f"{self.pack.id}/{self.task}/{self.language}/{form}/{self.number}"


def planned(corpus: Corpus, config: BuildConfig) -> Iterator[Planned]:
    """Every draft that a config asks for, in the order of the corpus; fractions are drawn by seed."""
    desk = Desk(corpus=corpus, templates={}, seed=config.seed)
    wanted: dict[PackKind, dict[TaskName, float]] = {
        "documents": config.model.documents,
        "figures": config.model.figures,
        "studies": config.model.studies,
    }
    for pack in packs_of(corpus, characters=config.model.span_characters):
        if pack.unfit:
            continue
        forms = [form == "image" for form in config.model.forms if pack.kind != "documents" or form == "text"]
        for task, amount in sorted(wanted[pack.kind].items()):
            for language in config.model.languages:
                for pictured in forms:
                    draw = desk.rng(pack.id, task, language, str(pictured)).random()
                    for number in range(int(amount) + (draw < amount % 1)):
                        yield Planned(pack, task, language, pictured, number)


class ModelWriter:
    """Drafts and revisions by a language model.

    Args:
        config: The run's.
        requests: Where requests are logged, and with how many others the server is shared.
        key: What else the words depend on.
    """

    def __init__(self, config: BuildConfig, requests: Requests, key: dict[str, Any]) -> None:
        self.config, self.requests = config, requests
        self.key = {**key, "model": config.model.key()}
        self.guidance = read_guidance(config.guidance)
        self.exchanges: list[Exchange] | None = []
        self._identity = ""

    def parts(self, store: CorpusStore) -> list[DraftPart]:
        """Stretches of documents, figures and studies with as many planned drafts as a shard holds, or a few more."""
        found: list[DraftPart] = []
        readers = (
            ("documents", store.documents, store.of_documents), ("figures", store.figures, store.of_figures),
            ("studies", store.studies, store.of_studies),
        )  # fmt: skip
        for kind, table, read in readers:
            start, size = 0, 0
            for at in range(0, len(table), _STRETCH):
                stop = min(at + _STRETCH, len(table))
                plans = planned(read(np.arange(at, stop), pictures=False), self.config)
                size += sum(1 for plan in plans if plan.pack.kind == kind)
                if size >= self.config.shard_items or stop == len(table):
                    found.append(DraftPart(kind, start, stop, size))  # type: ignore[arg-type]
                    start, size = stop, 0
        return found

    # --- drafts ------------------------------------------------------------------------------------------------------

    def draft(self, part: DraftPart, store: CorpusStore) -> Desk:
        """Ask for every planned draft of a part.

        Raises:
            ChatError: The server ends the run, or more requests than allowed have no reply.
        """
        corpus = part.corpus(store)
        desk = Desk(corpus=corpus, templates=all_templates(), seed=self.config.seed)
        composer = Composer(desk, self.config.model.figure_edge_px)
        for pack in packs_of(corpus, characters=self.config.model.span_characters):
            if pack.kind == part.kind and pack.unfit:
                desk.drop(pack.source.id, "pack", pack.id, pack.unfit, pack.title)
        plans = [plan for plan in planned(corpus, self.config) if plan.pack.kind == part.kind]
        prompts = load_prompts()
        with self._log(part.name) as log, self._open(log) as chat:
            self._start(chat)
            requests = (self.request(plan, prompts["draft", plan.task, plan.language], composer) for plan in plans)
            for plan, reply in zip(plans, chat.ask(requests)):
                prompt = prompts["draft", plan.task, plan.language]
                self._note(chat, plan.tag, "draft", prompt, reply, self._seed(plan))
                self._take_draft(desk, composer, plan, prompt, reply, chat.model)
            self._finish()
        return desk

    def request(self, plan: Planned, prompt: Prompt, composer: Composer) -> ChatRequest:
        """The request of one planned draft."""
        images = composer.pictures(plan.pack) if plan.pictured else ()
        messages = prompt.messages({"evidence": data_field(plan.pack.shown())}, images=len(images))
        decoding = self.config.model.decoding.model_copy(update={"seed": self._seed(plan)})
        return ChatRequest(
            messages,
            tuple(composer.bytes_of(digest) for digest in images),
            decoding,
            schema_of(plan.task),
            egress_of(plan.pack.source),
            f"draft {plan.tag}",
        )

    def _seed(self, plan: Planned) -> int | None:
        seed = self.config.model.decoding.seed
        return None if seed is None else seed + plan.number

    def _take_draft(
        self, desk: Desk, composer: Composer, plan: Planned, prompt: Prompt, reply: Reply, model: str
    ) -> None:
        source = plan.pack.source.id
        if not isinstance(reply.value, Written):
            desk.drop(source, "draft", plan.tag, f"{reply.outcome}: {reply.reason}", reply.detail)
            return
        strangers = [cited.id for cited in reply.value.cited if cited.id not in plan.pack.ids]
        if strangers:
            desk.drop(source, "draft", plan.tag, "cites an id that it was not given", strangers[0])
            return
        desk.add(
            composer.draft(
                plan.pack,
                plan.task,
                plan.language,
                reply.value,
                pictured=plan.pictured,
                prompt=prompt,
                request=reply.key,
                model=model,
                tag=plan.tag,
            )
        )

    # --- revision ----------------------------------------------------------------------------------------------------

    def prepare(self, drafts: Path, folder: Path) -> None:
        """Nothing: a model is asked about each draft alone."""

    def corpus(self, drafts: Sequence[Item], store: CorpusStore) -> Corpus:
        """Whole documents, from which the packs are made again, with pictures."""
        return store.of_items(drafts, whole_documents=True, pictures=True)

    def mend(self, name: str, drafts: list[Item], lookup: Lookup, prepared: Path) -> Revision:
        """Ask for a verdict on every draft, apply its edits, and hold the outcome against the criteria.

        Raises:
            ChatError: As for drafts.
        """
        desk = Desk(corpus=lookup.corpus, templates=lookup.templates, seed=self.config.seed)
        composer = Composer(desk, self.config.model.figure_edge_px)
        packs = {pack.id: pack for pack in packs_of(lookup.corpus, characters=self.config.model.span_characters)}
        criteria = {name: self.guidance.criterion(one) for name, one in load_criteria().items()}
        prompts = {key: self.guidance.prompt(one) for key, one in load_prompts().items()}
        revision = Revision()
        with self._log(name) as log, self._open(log) as chat:
            self._start(chat)
            requests = (
                self._revise_request(item, lookup, criteria, packs[_pack_id(item)], composer) for item in drafts
            )
            for item, reply in zip(drafts, chat.ask(requests)):
                prompt = prompts["revise", _task(item), item.instance.language]
                self._note(chat, item.instance.id, "revise", prompt, reply, self.config.model.decoding.seed)
                self._take_verdict(revision, composer, item, reply, lookup, criteria, packs[_pack_id(item)], chat.model)
            self._finish()
        return revision

    def _revise_request(
        self, item: Item, lookup: Lookup, criteria: dict[str, Criterion], pack: Pack, composer: Composer
    ) -> ChatRequest:
        prompt = self.guidance.prompt(load_prompts()["revise", _task(item), item.instance.language])
        results = verify(item, lookup, criteria)
        sentences = [{"id": result.criterion, "sentence": criteria[result.criterion].sentence} for result in results]
        broken = [{"id": result.criterion, "note": result.note} for result in results if not result.passed]
        values = {
            "criteria": data_field(sentences),
            "evidence": data_field(pack.shown()),
            "draft": data_field(written_of(item).model_dump(mode="json")),
            "broken": data_field(broken),
        }
        images = item.instance.image_sha256
        pictures = {digest: composer.bytes_of(digest) for digest in composer.pictures(pack)} if images else {}
        return ChatRequest(
            prompt.messages(values, images=len(images)),
            tuple(pictures[digest] for digest in images),
            self.config.model.decoding,
            schema_of("verdict"),
            egress_of(pack.source),
            f"revise {item.instance.id}",
        )

    def _take_verdict(
        self, revision: Revision, composer: Composer, item: Item, reply: Reply, lookup: Lookup,
        criteria: dict[str, Criterion], pack: Pack, model: str,
    ) -> None:  # fmt: skip
        verdict = reply.value
        if not isinstance(verdict, Verdict):
            revision.drops.append(_drop(item, f"{reply.outcome}: {reply.reason}", reply.detail))
            return
        if verdict.verdict == "reject":
            revision.drops.append(_drop(item, "rejected by the reviser", verdict.reason))
            return
        fault = next((edit for edit in verdict.edits if edit.criterion not in criteria), None)
        if fault is not None:
            revision.drops.append(_drop(item, "an edit names an unknown criterion", fault.criterion))
            return
        strangers = [name for edit in verdict.edits for name in edit.cited if name not in pack.ids]
        if strangers:
            revision.drops.append(_drop(item, "cites an id that it was not given", strangers[0]))
            return
        edited = apply_edits(written_of(item), verdict.edits)
        if edited.fault:
            revision.drops.append(_drop(item, "an edit cannot be applied", edited.fault))
            return
        changes = tuple(f"{edit.field}: {' '.join(edit.reason.split())} ({edit.criterion})" for edit in verdict.edits)
        revised = composer.revised(item, pack, edited.value, changes, model=model)
        results = verify(revised, lookup, criteria)
        failed = [result for result in results if not result.passed]
        if failed:
            revision.drops.append(_drop(item, f"fails {failed[0].criterion}", failed[0].note))
            return
        made = Item(revised.instance.model_copy(update={"criteria": results}), revised.parts)
        revision.items.append(made)
        revision.slips.append(slip_of(made, item))

    # --- what was asked ----------------------------------------------------------------------------------------------

    def _log(self, name: str) -> RequestLog:
        """The log of one shard: whoever takes the shard up again finds what was answered."""
        return RequestLog(self.requests.folder / name, wait_s=_LOG_WAIT_S)

    def _open(self, log: RequestLog) -> ChatClient | LocalChat:
        model = self.config.model
        if self.config.writer == "openai":
            assert model.server is not None
            share = max(1, model.server.max_in_flight // self.requests.workers)
            update = {"max_in_flight": share, "start_in_flight": min(share, model.server.start_in_flight)}
            ledger = open_ledger(model.server.budget, self.requests.folder, self.requests.started)
            return ChatClient(model.server.model_copy(update=update), log, ledger=ledger)
        assert model.checkpoint is not None
        return LocalChat(model.checkpoint, log)

    def _start(self, chat: Chat) -> None:
        self.exchanges = []
        self._identity = json.dumps(chat.identity, sort_keys=True)

    def _note(self, chat: Chat, about: str, stage: str, prompt: Prompt, reply: Reply, seed: int | None) -> None:
        assert self.exchanges is not None
        self.exchanges.append(
            Exchange(
                about=about,
                stage="draft" if stage == "draft" else "revise",
                prompt=prompt.name,
                prompt_sha256=prompt.sha256,
                model=chat.model,
                identity=self._identity,
                seed=seed,
                request_keys=reply.keys,
                outcome=reply.outcome,
                reason=reply.reason,
                repaired_from=reply.repaired_from,
                prompt_tokens=reply.usage.prompt_tokens,
                completion_tokens=reply.usage.completion_tokens,
                money=reply.usage.money,
            )
        )

    def _finish(self) -> None:
        """Refuse to call a shard finished that lost too many requests: they would never be asked again."""
        assert self.exchanges is not None
        lost = sum(exchange.outcome == "failed" for exchange in self.exchanges)
        allowed = int(self.config.model.lost_share * len(self.exchanges))
        if lost > allowed:
            reasons = Counter(exchange.reason for exchange in self.exchanges if exchange.outcome == "failed")
            named = ", ".join(f"{number} {reason}" for reason, number in sorted(reasons.items()))
            raise ChatError(
                f"{lost} of {len(self.exchanges)} requests have no reply ({named})",
                field="model.lost_share",
                cure="run the same command again, which asks only these; or allow a larger share to be lost",
            )


def _pack_id(item: Item) -> str:
    return item.parts.filled["pack"]


def _task(item: Item) -> TaskName:
    found: TaskName = item.parts.template.removeprefix("written_").rsplit("_", 1)[0]  # type: ignore[assignment]
    return found


def _drop(item: Item, reason: str, note: str) -> Drop:
    instance = item.instance
    return Drop(
        stage="revise", source_id=instance.source_id, unit="instance", item=instance.id, reason=reason, note=note
    )
