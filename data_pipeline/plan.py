"""What a run would ask and cost, counted before the first request leaves.

Convention: drafts are counted exactly, from the same packs and draws that the build will use; tokens are estimated from
the characters of the very requests (four of Latin script or one and a half of Chinese make a token) and, for what the
model writes, from a typical length of each task. Beside every estimate stands the bound that the budget reserves.

Trap: a revision is counted for every draft, since how many drafts are usable is not known before; a repair turn for
none. Both are said on the page.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from data_pipeline.config import BuildConfig
from data_pipeline.corpus import Corpus, read_corpus, write_corpus
from data_pipeline.items import Desk
from data_pipeline.run import resolve_sources
from data_pipeline.shards.engines import Crew
from data_pipeline.writers.compose import Composer
from data_pipeline.writers.model import ModelWriter, planned
from data_pipeline.writers.prompts import load_prompts
from data_pipeline.writers.schemas import TaskName, schema_of
from data_pipeline.writers.writer import Requests
from spinemed.chat import ChatRequest, Prices, RequestLog, prompt_bound, request_key
from spinemed.chat.egress import require
from spinemed.errors import ConfigError
from spinemed.tables import write_manifest

__all__ = ["Plan", "PlanRow", "make_plan", "open_corpus"]

TYPICAL_TOKENS: dict[TaskName, int] = {"multiple_choice": 220, "open": 220, "consultation": 700, "report": 800}
"""What a model writes for one item, schema included."""
VERDICT_TOKENS = 150
_TURN_BYTES, _ITEM_BYTES = 1200, 2500


@dataclass
class PlanRow:
    """One stage and task."""

    stage: str
    task: str
    requests: int = 0
    logged: int = 0
    """Of these, how many have their reply in the log."""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    bound_tokens: int = 0
    """What a budget would reserve for all of them together, each sent once and without a repair turn."""


@dataclass
class Plan:
    """The whole."""

    rows: list[PlanRow]
    prices: Prices
    gpu_hours: float
    disk_mib: float
    sources: dict[str, int]
    """Drafts by source."""

    @property
    def money(self) -> float:
        """Estimated, by the price table."""
        return sum(self.prices.cost(row.prompt_tokens, row.completion_tokens).money for row in self.rows)

    def total(self, name: str) -> int:
        """Sum of a column."""
        return sum(int(getattr(row, name)) for row in self.rows)


def open_corpus(config: BuildConfig, run: Path | None) -> Corpus:
    """The corpus of a run folder, or one read now into a folder that is thrown away.

    Raises:
        SpineMedError: A source may not be used, or the folder holds no corpus.
    """
    if run is not None:
        return read_corpus(run / "outputs" / "corpus")
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        sources = resolve_sources(config)
        with Crew(workers=config.workers) as crew:
            facts = write_corpus(root / "corpus", config.sources, sources, home=root / "shards", crew=crew)
        root /= "corpus"
        write_manifest(root, "corpus", **facts)
        corpus = read_corpus(root)
        _ = corpus.images  # read before the folder goes
        return corpus


def make_plan(config: BuildConfig, corpus: Corpus, run: Path | None) -> Plan:
    """Count what the build would ask.

    Raises:
        ConfigError: The writer asks no model.
        EgressError: A source does not permit the server: the build would stop at its first request.
    """
    if config.writer == "rules":
        raise ConfigError("is 'rules', which asks no model", field="writer", cure="--set writer=openai, with `model:`")
    if config.writer == "openai" and config.model.server is None:
        raise ConfigError("is absent", field="model.server", cure="say which server to ask")
    server = config.model.server
    prices = server.prices if server is not None and config.writer == "openai" else Prices()
    writer = ModelWriter(config, Requests(Path("requests")), {})
    composer = Composer(Desk(corpus=corpus, templates={}, seed=config.seed), config.model.figure_edge_px)
    prompts = load_prompts()
    rows: dict[tuple[str, str], PlanRow] = {}
    sources: Counter[str] = Counter()
    logged = _logged(config, run)
    disk = 0
    for plan in planned(corpus, config):
        sources[plan.pack.source.id] += 1
        request = writer.request(plan, prompts["draft", plan.task, plan.language], composer)
        if config.writer == "openai" and server is not None:
            require(request.egress, server.url)
        row = rows.setdefault(("draft", plan.task), PlanRow("draft", plan.task))
        written = server is not None and server.json_mode != "response_format"
        _count(row, request, TYPICAL_TOKENS[plan.task], prices, written=written)
        if server is not None and logged:
            row.logged += request_key(request, server.identity) in logged
        # The reviser sees the same evidence, a draft and the criteria, and is shown the pictures again.
        later = rows.setdefault(("revise", plan.task), PlanRow("revise", plan.task))
        _count(later, request, VERDICT_TOKENS, prices, more=TYPICAL_TOKENS[plan.task] + 400, written=written)
        disk += 2 * (sum(len(turn.content.encode()) for turn in request.messages) + _TURN_BYTES) + _ITEM_BYTES
    disk += sum(blob.width_px * blob.height_px for blob in corpus.images.values())
    found = Plan([rows[key] for key in sorted(rows)], prices, 0.0, disk / 1024**2, dict(sorted(sources.items())))
    seconds = found.total("prompt_tokens") / config.model.prompt_tokens_per_gpu_second
    seconds += found.total("completion_tokens") / config.model.completion_tokens_per_gpu_second
    found.gpu_hours = seconds / 3600
    return found


def _count(row: PlanRow, request: ChatRequest, typical: int, prices: Prices, *, written: bool, more: int = 0) -> None:
    """Add a request that is answered in `typical` tokens; `written`: its schema stands in the prompt as well."""
    words = " ".join(turn.content for turn in request.messages)
    schema = schema_of("verdict") if row.stage == "revise" else request.schema
    pictures = len(request.images) * prices.image_tokens
    row.requests += 1
    row.prompt_tokens += tokens_of(words) + (tokens_of(schema.text) if schema is not None else 0) + pictures + more
    row.completion_tokens += typical
    row.bound_tokens += prompt_bound(request, prices, schema_in_prompt=written)
    row.bound_tokens += request.decoding.max_tokens + 4 * more


def tokens_of(text: str) -> int:
    """A fair guess at the tokens of a text."""
    wide = sum(sign > "\u2e7f" for sign in text)
    return round(wide / 1.5 + (len(text) - wide) / 4)


def _logged(config: BuildConfig, run: Path | None) -> Iterable[str]:
    folder = None if run is None else run / "scratch" / "requests"
    if folder is None or not folder.is_dir() or config.writer != "openai":
        return ()
    found: set[str] = set()
    for home in sorted({file.parent for file in folder.glob("*/*.jsonl")}):
        with RequestLog(home) as log:
            found.update(str(reply["key"]) for reply in log.replies())
    return found
