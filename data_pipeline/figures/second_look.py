"""A second look at pairs by a language model, if a run asks for it: what it contradicts waits for a person.

Convention: only pairs that passed by their score are shown, each as the picture and the caption's words in a delimited
field, answered in a closed schema. A contradiction sends the pair to the queue and takes its figure out of the corpus;
it never lets a waiting pair pass. The exchanges are in the run's request log: a run taken up again asks nothing twice.

Trap: the picture and its caption leave this machine where the server does; each request carries its source's egress
rule, and a host that the rule does not name ends the run before a byte is sent.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, Field

from data_pipeline.config import ModelConfig
from data_pipeline.items import fit_picture
from data_pipeline.readers.reading import Drop
from data_pipeline.records import FigurePair
from data_pipeline.writers.evidence import egress_of, speaks_to_model
from data_pipeline.writers.prompts import data_field
from spinemed.chat import Chat, ChatClient, ChatRequest, Decoding, LocalChat, Reply, RequestLog, Schema, open_ledger
from spinemed.errors import ConfigError, ReadError
from spinemed.marks import png_bytes
from spinemed.records import Document, Figure, ImageBlob, Message, Source, Span
from spinemed.tables import read_jsonl, read_records, write_jsonl, write_records

__all__ = ["PairVerdict", "check_corpus", "check_figures", "check_key", "open_model", "require_model"]

_PROMPT = Path(__file__).parents[1] / "prompts" / "figures" / "pair.md"
_REASON = "a model sees another picture than its caption says"


class PairVerdict(BaseModel):
    """What the model says of one pair."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    verdict: Literal["consistent", "contradicts", "unsure"]
    """Whether picture and caption belong together."""
    reason: str = Field(max_length=300)
    """In the model's words."""


def check_key(config: ModelConfig) -> dict[str, object]:
    """What the verdicts depend on: the model and the prompt.

    Raises:
        ConfigError: No model is named.
    """
    require_model(config, "check_figures")
    return {**config.key(), "prompt": hashlib.sha256(_PROMPT.read_bytes()).hexdigest()}


def require_model(config: ModelConfig, wish: str) -> None:
    """Raise ConfigError unless a model is named; `wish` is the field that needs one."""
    if config.server is None and config.checkpoint is None:
        raise ConfigError(
            f"`{wish}` needs a model",
            field="model.server",
            cure="name a server or a checkpoint, or switch it off",
        )


def check_corpus(
    folder: Path, config: ModelConfig, requests: Path, started: float, account: dict[str, Any]
) -> dict[str, Any]:
    """Open the model of a run, show it the pairs of a corpus, and correct the corpus's account.

    Args:
        folder: Of the corpus, without its manifest.
        config: Which model.
        requests: Where the run's request logs lie.
        started: When the run was opened, in seconds since the epoch.
        account: Of the corpus, as its manifest will hold it.

    Raises:
        SpineMedError: See :func:`check_figures`; a budget is spent, or the server refuses.
    """
    with open_model(config, requests / "figures", requests, started) as chat:
        found = check_figures(
            folder, chat, edge_px=config.figure_edge_px, seed=config.decoding.seed, lost_share=config.lost_share
        )
    _recount(account, found["held"])
    return {**account, "figures_checked": found}


@contextmanager
def open_model(config: ModelConfig, log: Path, requests: Path, started: float) -> Iterator[ChatClient | LocalChat]:
    """The run's model, its exchanges logged in a folder of their own and paid from the run's budget."""
    with RequestLog(log) as exchanges, _client(config, exchanges, requests, started) as chat:
        yield chat


def _client(config: ModelConfig, log: RequestLog, requests: Path, started: float) -> ChatClient | LocalChat:
    if config.server is not None:
        return ChatClient(config.server, log, ledger=open_ledger(config.server.budget, requests, started))
    assert config.checkpoint is not None  # require_model asked for one of both
    return LocalChat(config.checkpoint, log)


def check_figures(
    folder: Path, chat: Chat, *, edge_px: int = 512, seed: int | None = 0, lost_share: float = 0.0
) -> dict[str, Any]:
    """Show the sure pairs of a corpus to a model and hold those that it contradicts.

    Args:
        folder: Of a corpus whose manifest is not written yet; its tables of figures, pairs and drops are written again.
        chat: The client.
        edge_px: Longest edge of a picture as shown.
        seed: Of the model's draws.
        lost_share: Share of pairs that may stay without any reply.

    Returns:
        How many pairs each verdict was given to, and for each source how many figures were held.

    Raises:
        EgressError: A source's content may not go to this server; nothing was sent.
        ReadError: More pairs than allowed got no reply; the run can be taken up again.
    """
    pairs = list(read_records(folder / "figure_pairs.parquet", FigurePair))
    asked = {pair.figure_id: pair for pair in pairs if pair.decision == "by score" and not pair.queue}
    counts: Counter[str] = Counter()
    asked, spoken = _without_instructions(folder, asked)
    if spoken:
        counts["not asked: the caption reads like an instruction to a model"] = spoken
    held: dict[str, str] = {}
    requests, order = _requests(folder, asked, edge_px, seed), []

    def noted() -> Iterator[ChatRequest]:
        for figure_id, request in requests:
            order.append(figure_id)
            yield request

    for number, reply in enumerate(chat.ask(noted())):
        verdict = _verdict(reply)
        counts[verdict] += 1
        if verdict == "contradicts":
            held[order[number]] = reply.value.reason if isinstance(reply.value, PairVerdict) else ""
    if counts["failed"] > lost_share * len(asked):
        raise ReadError(
            f"{counts['failed']} of {len(asked)} pairs of picture and caption got no reply",
            file=folder / "figure_pairs.parquet",
            cure="run the same command again: what was answered is not asked again",
        )
    by_source = _hold(folder, pairs, held)
    return {"verdicts": dict(sorted(counts.items())), "held": dict(sorted(by_source.items()))}


def _without_instructions(folder: Path, asked: dict[str, FigurePair]) -> tuple[dict[str, FigurePair], int]:
    """The pairs whose captions are not written for a model to obey, and how many are: no item is made of these."""
    captions = {pair.caption_span_id for pair in asked.values()}
    spoken = {
        span.id
        for span in read_records(folder / "spans.parquet", Span)
        if span.id in captions and speaks_to_model(f"{span.section} {span.text}")
    }
    kept = {name: pair for name, pair in asked.items() if pair.caption_span_id not in spoken}
    return kept, len(asked) - len(kept)


def _verdict(reply: Reply) -> str:
    if isinstance(reply.value, PairVerdict):
        return reply.value.verdict
    return reply.outcome if reply.outcome != "answered" else "quarantined"


def _requests(
    folder: Path, asked: dict[str, FigurePair], edge_px: int, seed: int | None
) -> Iterator[tuple[str, ChatRequest]]:
    """One request for each pair, in the order of the pictures in the corpus: one picture at a time is in memory."""
    sources = {source.id: source for source in read_jsonl(folder / "sources.jsonl", Source)}
    wanted = {pair.document_id for pair in asked.values()}
    owner = {
        row.id: sources[row.source_id]
        for row in read_records(folder / "documents.parquet", Document)
        if row.id in wanted
    }
    captions = {pair.caption_span_id for pair in asked.values()}
    words = {span.id: span.text for span in read_records(folder / "spans.parquet", Span) if span.id in captions}
    of_picture: dict[str, list[FigurePair]] = {}
    for pair in asked.values():
        of_picture.setdefault(pair.image_sha256, []).append(pair)
    parts = re.fullmatch(
        r"---\n.*?\n---\n# system\n(.*?)\n# user\n(.*)", _PROMPT.read_text(encoding="utf-8"), re.DOTALL
    )
    if parts is None:
        raise ConfigError("has no `# system` and `# user`", file=_PROMPT, cure="restore it")
    schema = Schema(PairVerdict)
    for blob in read_records(folder / "images.parquet", ImageBlob):
        for pair in of_picture.get(blob.sha256, ()):
            text = parts[2].strip().replace("{{caption}}", data_field(words[pair.caption_span_id]))
            messages = (
                Message(role="system", content=parts[1].strip()),
                Message(role="user", content=f"<image>\n{text}"),
            )
            yield (
                pair.figure_id,
                ChatRequest(
                    messages,
                    (png_bytes(fit_picture(blob.bytes, edge_px)),),
                    Decoding(max_tokens=200, seed=seed),
                    schema,
                    egress_of(owner[pair.document_id]),
                    f"figure {pair.figure_id}",
                ),
            )


def _hold(folder: Path, pairs: list[FigurePair], held: dict[str, str]) -> Counter[str]:
    """Move the contradicted pairs to the queue: their figures leave the corpus, and each is counted."""
    by_source: Counter[str] = Counter()
    if not held:
        return by_source
    columns = pq.read_table(folder / "documents.parquet", columns=["id", "source_id"]).to_pydict()
    source_of = dict(zip(columns["id"], columns["source_id"]))
    changed, drops = [], list(read_jsonl(folder / "dropped.jsonl", Drop))
    for pair in pairs:
        if pair.figure_id in held:
            note = f"a model: {held[pair.figure_id]}"
            reason = "; ".join(part for part in (note, pair.reason) if part)
            source = source_of[pair.document_id]
            by_source[source] += 1
            drops.append(
                Drop(stage="read", source_id=source, unit="figure", item=pair.figure_id, reason=_REASON, note=note)
            )
            changed.append(pair.model_copy(update={"queue": True, "decision": "", "reason": reason}))
        else:
            changed.append(pair)
    kept = [figure for figure in read_records(folder / "figures.parquet", Figure) if figure.id not in held]
    write_records(folder / "figures.parquet", Figure, kept)
    write_records(folder / "figure_pairs.parquet", FigurePair, changed)
    write_jsonl(folder / "dropped.jsonl", drops)
    return by_source


def _recount(account: dict[str, Any], held: dict[str, int]) -> None:
    """Correct the account of a corpus for figures that a model's look took out of it."""
    for source in account["sources"]:
        number = held.get(source["source_id"], 0)
        if number:
            source["units"]["figure"]["kept"] -= number
            source["units"]["figure"]["dropped"] += number
            reasons = source["reasons"].setdefault("dropped", {})
            reasons[f"figure: {_REASON}"] = reasons.get(f"figure: {_REASON}", 0) + number
