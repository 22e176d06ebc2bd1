"""The whole run as resumable stages: corpus, drafts, revised, unique, release; made in shards, each a folder of files.

Convention: a stage reads folders and writes one; its key holds the hashes of everything that goes in, so a resumed run
repeats only what is missing or outdated. Inside a stage, shards are made by a crew (`shards/engines.py`) into the run's
scratch folder, and joined on disk when all are there; what needs the whole set (twins, letters, components) works on
ids, hashes and small numbers. No stage holds more than a shard of texts or pictures in a process.

Trap: engine and number of workers are no part of a key: they must never change a byte.
"""

from __future__ import annotations

import contextlib
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import spinemed
from data_pipeline.components import keys_of
from data_pipeline.config import BuildConfig
from data_pipeline.corpus import shard_count, write_corpus
from data_pipeline.criteria.apply import criteria_sha256, load_criteria
from data_pipeline.criteria.lookup import Lookup
from data_pipeline.drafting.rules import join_drafts, write_drafts
from data_pipeline.drafting.tasks import TEMPLATES
from data_pipeline.guidance import read_guidance
from data_pipeline.items import Item
from data_pipeline.metadata_gaps import read_account
from data_pipeline.readers import check_options
from data_pipeline.records import Derivation, Ties
from data_pipeline.release import Place, join_release, place_items, write_rows
from data_pipeline.reviews import read_reviews, without_verdicts
from data_pipeline.settle import (
    finish,
    join_revised,
    read_slips,
    settle,
    twin_drop,
    write_finished,
    write_mended,
)
from data_pipeline.shards.engines import Crew
from data_pipeline.shards.fingerprint import code_sha256, folder_sha256, shaping_versions, source_keys
from data_pipeline.shards.shard import Job, Work, job
from data_pipeline.shards.store import derivations_of, group_sizes, open_corpus, open_table, read_item_shard
from data_pipeline.sources import read_sources, source_path
from data_pipeline.unique.stage import Ask, unique_key, wordings_of, write_unique
from data_pipeline.writers.choice import open_writer
from data_pipeline.writers.prompts import all_templates
from data_pipeline.writers.writer import DraftPart, Requests, Writer
from spinemed.errors import ConfigError
from spinemed.records import ImageBlob, Instance, Source, Split, content_hash
from spinemed.run import Run
from spinemed.tables import read_manifest, read_records, write_jsonl

__all__ = [
    "open_stages",
    "resolve_sources",
    "run_pipeline",
    "run_stages",
]

_SEED_STRIDE = 1000
"""Between the phantom seeds of two seeds; a sources file has fewer phantom sources than that."""


def run_pipeline(run: Run, config: BuildConfig, crew: Crew | None = None) -> Path:
    """Run all stages that are not done yet.

    Args:
        run: The open run folder.
        config: What to do.
        crew: Who makes the shards; as many processes as the config says unless given.

    Returns:
        The release folder.

    Raises:
        SpineMedError: A source, a file or a setting is wrong; finished stages and shards stay.
    """
    if crew is None:
        with Crew(workers=config.workers) as own:
            return run_pipeline(run, config, own)
    sources = resolve_sources(config)
    base = {"code": code_sha256(), "versions": shaping_versions()}
    key: dict[str, Any] = {**base, "sources": source_keys(config.sources, sources)}

    def read(folder: Path, home: Path) -> dict[str, Any]:
        with run.progress("reading", shard_count(sources)) as advance:
            account = write_corpus(folder, config.sources, sources, home=home, crew=crew, advance=advance)
        if config.check_figures:
            from data_pipeline.figures.second_look import check_corpus

            _start_ledger(config, run.scratch / "requests")
            return check_corpus(folder, config.model, run.scratch / "requests", time.time(), account)
        return account

    if config.check_figures:
        from data_pipeline.figures.second_look import check_key

        key["check_figures"] = check_key(config.model)
    corpus = _step(run, "corpus", key, read)
    stages = open_stages(run, config, crew, corpus)
    key = {
        **base,
        **stages.writer.key,
        "corpus": read_manifest(corpus, "corpus")["sha256"],
        "draft": config.draft.model_dump(mode="json"),
        "seed": config.seed,
        "shard_items": config.shard_items,
        "templates": folder_sha256(Path(spinemed.__file__).parent / "questions" / "templates"),
        "ruled": folder_sha256(TEMPLATES),
        "criteria": criteria_sha256(),
    }
    drafts = _step(run, "drafts", key, stages.draft)
    return run_stages(stages, drafts, key)


def run_stages(stages: Stages, drafts: Path, key: dict[str, Any]) -> Path:
    """The road from drafts on: revised, unique, release.

    Args:
        stages: From :func:`open_stages`.
        drafts: The finished drafts.
        key: What they were made of.

    Returns:
        The release folder.
    """
    run, config = stages.run, stages.config
    key = {**key, "drafts": read_manifest(drafts, "drafts")["sha256"], "revise": config.revise.model_dump(mode="json")}
    if config.guidance is not None:
        key["guidance"] = read_guidance(config.guidance).told()["sha256"]
    revised = _step(run, "revised", key, partial(stages.revise, drafts))
    key = {
        **key,
        "revised": read_manifest(revised, "revised")["sha256"],
        "unique": unique_key(config.unique),
        "pins": stages.pins,
    }
    if config.classify_rest:
        from data_pipeline.unique.classify_rest import rest_key

        key["classify_rest"] = rest_key(config.model)
    unique = _step(run, "unique", key, partial(stages.unique, drafts, revised))
    key = {
        **key,
        "verdicts": read_manifest(unique, "unique")["sha256"],
        "release": config.release.model_dump(mode="json"),
    }
    reviews = read_reviews(run.folder)
    if reviews is not None:
        key["reviews"] = reviews.sha256
    return _step(run, "release", key, partial(stages.release, drafts, revised, unique))


def open_stages(run: Run, config: BuildConfig, crew: Crew, corpus: Path) -> Stages:
    """What all stages after the corpus share: the writer, and the ledger of its budget."""
    requests = Requests(run.scratch / "requests", crew.workers, time.time())
    writer = open_writer(config, requests)
    if writer.exchanges is not None:
        _start_ledger(config, requests.folder)
    return Stages(run, config, crew, requests, writer, corpus)


def _home(run: Run, stage: str, key: dict[str, Any]) -> Path:
    """Where the shards of a stage lie until it is finished; those made of other inputs are removed."""
    home = run.scratch / "shards" / stage
    own = home / content_hash(key)[:16]
    for other in home.iterdir() if home.is_dir() else ():
        if other != own:
            shutil.rmtree(other)
    own.mkdir(parents=True, exist_ok=True)
    return own


def _step(run: Run, stage: str, key: dict[str, Any], work: Callable[[Path, Path], dict[str, Any]]) -> Path:
    """One stage: `work` gets its folder and the home of its shards, which are removed when the stage is finished."""
    folder = run.step(stage, key=key, work=lambda folder: work(folder, _home(run, stage, key)))
    shutil.rmtree(run.scratch / "shards" / stage, ignore_errors=True)
    return folder


def _start_ledger(config: BuildConfig, requests: Path) -> None:
    server = config.model.server
    if server is not None and (server.budget.tokens is not None or server.budget.money is not None):
        from spinemed.chat import start_ledger

        start_ledger(requests)


# --- what a shard is made from, and how ------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Task:
    """What every worker is told: paths and settings, no content."""

    config: BuildConfig
    requests: Requests
    corpus: Path
    drafts: Path = Path()
    items: Path = Path()
    """The folder whose `instances.parquet` and `parts.parquet` are worked on."""
    number: int = 0
    """Its row group."""
    part: DraftPart | None = None
    prepared: Path = Path()
    decided: tuple[Any, ...] = ()
    """What the whole set decided about each item, in order."""
    edited: tuple[Instance | None, ...] = ()
    """The same items as reviewers worded them, where they did."""


def draft_shard(task: _Task, folder: Path) -> dict[str, Any]:
    """Draft one part of the corpus."""
    assert task.part is not None
    writer = open_writer(task.config, task.requests)
    facts = write_drafts(folder, writer.draft(task.part, open_corpus(task.corpus)))
    _write_exchanges(writer, folder)
    return facts


def mend_shard(task: _Task, folder: Path) -> dict[str, Any]:
    """Verify and mend one shard of drafts."""
    writer, store = open_writer(task.config, task.requests), open_corpus(task.corpus)
    drafts = read_item_shard(task.items, task.number)
    lookup = Lookup(
        corpus=writer.corpus(drafts, store), templates=all_templates(), derivations=_derivations(task, drafts),
        longest_passage=task.config.revise.passage_characters,
    )  # fmt: skip
    revision = writer.mend(f"revise-{task.number:05d}", drafts, lookup, task.prepared)
    facts = write_mended(folder, revision, len(drafts))
    _write_exchanges(writer, folder)
    return facts


def finish_shard(task: _Task, folder: Path) -> dict[str, Any]:
    """Give each item of a mended shard the place of its right answer, and say what ties it to others."""
    slips = list(read_slips([task.items]))
    found = [item for group in range(len(group_sizes(task.items / "instances.parquet")))
             for item in read_item_shard(task.items, group)]  # fmt: skip
    kept = [(item, slip, place) for item, slip, (keep, place) in zip(found, slips, task.decided, strict=True) if keep]
    items = [item for item, _, _ in kept]
    derivations = _derivations(task, items)
    lookup = Lookup(
        corpus=open_corpus(task.corpus).of_items(items), templates=all_templates(), derivations=derivations,
        longest_passage=task.config.revise.passage_characters,
    )  # fmt: skip
    criteria = load_criteria()
    done = [finish(item, slip.draft_sha256, place, lookup, criteria) for item, slip, place in kept]
    ties = [
        Ties(
            id=item.instance.id, source_id=item.instance.source_id,
            keys=tuple(keys_of(item.instance, lookup.corpus, derivations)),
        )
        for item in done
    ]  # fmt: skip
    return write_finished(folder, done, ties)


def release_shard(task: _Task, folder: Path) -> dict[str, Any]:
    """Release rows of one shard."""
    store, shard = open_corpus(task.corpus), read_item_shard(task.items, task.number)
    reworded = task.edited or (None,) * len(shard)
    kept = [
        (Item(words or item.instance, item.parts), where)
        for item, where, words in zip(shard, task.decided, reworded, strict=True)
        if where is not None
    ]
    items = [item for item, _ in kept]
    made = open_table(task.drafts / "images.parquet", ImageBlob, "sha256", _sha256(task.drafts, "drafts"))
    wanted = {digest for item in items for digest in item.instance.image_sha256}
    pictures = {blob.sha256: blob.bytes for blob in made.take(made.find(wanted))}
    pictures |= store.pictures(wanted - pictures.keys())
    places = {item.instance.id: Place(*where) for item, where in kept}
    return write_rows(folder, items, store.of_items(items), pictures, places)


def _derivations(task: _Task, items: list[Any]) -> dict[str, Derivation]:
    file = task.drafts / "derivations.parquet"
    return derivations_of(open_table(file, Derivation, "sha256", _sha256(task.drafts, "drafts")), items)


def _sha256(folder: Path, kind: str) -> str:
    return str(read_manifest(folder, kind)["sha256"])


def _write_exchanges(writer: Writer, folder: Path) -> None:
    if writer.exchanges is not None:
        write_jsonl(folder / "exchanges.jsonl", writer.exchanges)


# --- stages ----------------------------------------------------------------------------------------------------------


@dataclass
class Stages:
    """Whole-set work around shards."""

    run: Run
    config: BuildConfig
    crew: Crew
    requests: Requests
    writer: Writer
    corpus: Path

    def _task(self, **fields: Any) -> _Task:
        return _Task(self.config, self.requests, self.corpus, **fields)

    def _make(self, label: str, work: Work, home: Path, tasks: list[tuple[int, _Task, Any]]) -> list[Path]:
        """Shards from (size, task, identity), in order."""
        jobs: list[Job] = [
            job(home, number, size, work, task, identity) for number, (size, task, identity) in enumerate(tasks)
        ]
        with self.run.progress(label, sum(job.size for job in jobs)) as advance:
            return self.crew.make(jobs, advance)

    def draft(self, folder: Path, home: Path) -> dict[str, Any]:
        """Draft every part of the corpus and put the parts together."""
        parts = self.writer.parts(open_corpus(self.corpus))
        tasks = [(part.size, self._task(part=part), [part.name, part.stop]) for part in parts]
        return join_drafts(folder, self._make("drafting", draft_shard, home, tasks), self.config.shard_items)

    def revise(self, drafts: Path, folder: Path, home: Path) -> dict[str, Any]:
        """Mend shards, decide over the set, finish shards."""
        self.writer.prepare(drafts, home)
        sizes = group_sizes(drafts / "instances.parquet")
        tasks: list[tuple[int, _Task, Any]] = [
            (size, self._task(drafts=drafts, items=drafts, number=number, prepared=home), number)
            for number, size in enumerate(sizes)
        ]
        mended = self._make("revising", mend_shard, home / "mended", tasks)
        settled = settle(read_slips(mended))
        twins, tasks, start = [], [], 0
        for shard in mended:
            slips = list(read_slips([shard]))
            stop = start + len(slips)
            twins += [twin_drop(s, t) for s, t in zip(slips, settled.twins[start:stop]) if t is not None]
            decided = tuple((t is None, p) for t, p in zip(settled.twins[start:stop], settled.places[start:stop]))
            task = self._task(drafts=drafts, items=shard, decided=decided)
            tasks.append((len(slips), task, [shard.name, content_hash([list(each) for each in decided])]))
            start = stop
        finished = self._make("finishing", finish_shard, home / "finished", tasks)
        facts = join_revised(folder, mended, finished, twins, self.config.shard_items)
        guided = {} if self.config.guidance is None else {"guidance": read_guidance(self.config.guidance).told()}
        return {**facts, **guided}

    @cached_property
    def pins(self) -> dict[str, Split]:
        """Sources that are pinned to a split."""
        sources = open_corpus(self.corpus).sources
        return {name: source.split for name, source in sources.items() if source.split is not None}

    def unique(self, drafts: Path, items: Path, folder: Path, home: Path) -> dict[str, Any]:
        """Find copies, file items under the vocabulary, mark what a benchmark asks."""
        sizes = group_sizes(items / "instances.parquet")

        def pictures() -> Iterator[tuple[str, bytes]]:
            for table in (drafts / "images.parquet", self.corpus / "images.parquet"):
                yield from ((blob.sha256, blob.bytes) for blob in read_records(table, ImageBlob, batch=64))

        with self.run.progress("comparing", sum(sizes)) as advance:

            def shards() -> Iterator[tuple[str, list[Item]]]:
                for number, size in enumerate(sizes):
                    yield f"{number:05d}", read_item_shard(items, number)
                    advance(size)

            made = read_records(drafts / "derivations.parquet", Derivation)
            origin_of = {row.sha256: row.from_sha256 for row in made}
            wordings = wordings_of(all_templates())
            with self._asking() as ask:
                return write_unique(
                    folder,
                    shards(),
                    pictures,
                    origin_of,
                    self.config.unique,
                    pins=self.pins,
                    wordings=wordings,
                    ask=ask,
                )

    @contextlib.contextmanager
    def _asking(self) -> Iterator[Ask | None]:
        """Who is asked about items that the rules file under nothing; None where nobody is."""
        if not self.config.classify_rest:
            yield None
            return
        from data_pipeline.unique.classify import load_vocabulary
        from data_pipeline.unique.classify_rest import asking

        _start_ledger(self.config, self.requests.folder)
        vocabulary, sources = load_vocabulary(self.config.unique.vocabulary), open_corpus(self.corpus).sources
        with asking(self.config.model, self.requests.folder, time.time(), sources, vocabulary) as ask:
            yield ask

    def release(self, drafts: Path, items: Path, unique: Path, folder: Path, home: Path) -> dict[str, Any]:
        """Choose splits, make rows, merge them into one file per split."""
        sources = open_corpus(self.corpus).sources
        order: list[tuple[str, Split, tuple[str, ...]] | None] = []
        left_out: Counter[str] = Counter()
        for _, place, why in place_items(items, unique, sources, self.config.release, self.config.seed):
            left_out.update([why] if place is None else ())
            order.append(None if place is None else (place.component, place.split, place.tags))
        sizes = group_sizes(items / "instances.parquet")
        reviews = read_reviews(self.run.folder)
        edited: list[Instance | None] = []
        found = (item.instance for number in range(len(sizes)) for item in read_item_shard(items, number))
        patients = {name: source.origin for name, source in sources.items() if source.kind == "hospital"}
        if reviews is not None:
            order, edited = reviews.applied(order, found, left_out, patients)
        elif "real" in patients.values():
            real = {name for name, origin in patients.items() if origin == "real"}
            order = without_verdicts(order, found, left_out, real)
        tasks, start = [], 0
        for number, size in enumerate(sizes):
            decided, words = tuple(order[start : start + size]), tuple(edited[start : start + size])
            start += size
            task = self._task(drafts=drafts, items=items, number=number, decided=decided, edited=words)
            identity = [[each and list(each) for each in decided], reviews and reviews.sha256]
            tasks.append((size, task, [number, content_hash(identity)]))
        rows = self._make("releasing", release_shard, home / "rows", tasks)
        folders = {"corpus": self.corpus, "drafts": drafts, "revised": items, "unique": unique}
        stages = {name: _sha256(path, name) for name, path in folders.items()}
        reviewed = {} if reviews is None else {"reviews": reviews.told()}
        hospitals = {name: source_path(self.config.sources, sources[name]) for name in patients}
        account = read_account(folders, hospitals, left_out)
        facts = join_release(folder, rows, sources, self.corpus / "cases.parquet", stages, reviewed, account)
        return {**facts, "left_out": dict(sorted(left_out.items()))}


# --- sources ---------------------------------------------------------------------------------------------------------


def resolve_sources(config: BuildConfig) -> list[Source]:
    """The sources of a run, its counts and its seed applied to the phantoms.

    Raises:
        SourceError: A source may not be used.
        ConfigError: `counts` names a source that is no phantom source.
    """
    sources = read_sources(config.sources)
    check_options(sources, config.sources)
    phantoms = [source.id for source in sources if source.kind == "phantom"]
    for name in config.counts:
        if name not in phantoms:
            raise ConfigError(
                f"'{name}' is no phantom source", field="counts", cure=f"the phantom sources are {', '.join(phantoms)}"
            )
    return [_resolve(source, config) if source.kind == "phantom" else source for source in sources]


def _resolve(source: Source, config: BuildConfig) -> Source:
    options = {**source.options, "count": config.counts.get(source.id, source.options["count"])}
    options["seed"] = source.options["seed"] + _SEED_STRIDE * config.seed
    return source.model_copy(update={"options": options})
