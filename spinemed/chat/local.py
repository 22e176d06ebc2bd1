"""A checkpoint in this process behind the same interface as a server: greedy, logged, judged, one repair turn.

Convention: decoding is greedy, so a request that asks for a temperature is an error and not a surprise. The schema is
written into the first turn, because nothing constrains the words here; a small model will often miss it and be
quarantined. The identity is the hash of the checkpoint's files, so replies in the log are found by content.

Trap: nothing here sends anything, but the log keeps content all the same.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from pydantic import Field

from spinemed.chat.log import RequestLog
from spinemed.chat.reply import Judged, Reason, Reply, Usage, judge, repair_of
from spinemed.chat.request import ChatRequest, request_key
from spinemed.chat.server import ServerConfig, logged_form
from spinemed.config import Config, ConfigPath
from spinemed.errors import ConfigError, ModelError
from spinemed.records import content_hash
from spinemed.tables import MANIFEST, file_sha256

__all__ = ["LocalChat", "LocalConfig", "folder_sha256"]


class LocalConfig(Config):
    """A checkpoint folder that transformers loads for images and text."""

    folder: ConfigPath
    """The checkpoint, or an adapter whose base lies beside it."""
    batch_size: int = Field(default=8, ge=1)
    """Requests generated together."""


def folder_sha256(folder: Path) -> str:
    """Hash of all files of a checkpoint by name; manifests, pages for people and hidden files are left out.

    Raises:
        ModelError: No checkpoint stands there.
    """
    if not any((folder / name).is_file() for name in ("config.json", "adapter_config.json")):
        raise ModelError("is no checkpoint folder", file=folder, cure="give the folder that training wrote")
    hashes = {
        path.name: file_sha256(path)
        for path in sorted(folder.iterdir())
        if path.is_file() and path.name != MANIFEST and path.suffix != ".md" and not path.name.startswith(".")
    }
    if (folder / "adapter_config.json").is_file():
        from spinemed.vlm.load import base_of

        hashes["base of the adapter"] = folder_sha256(Path(base_of(folder)))
    return content_hash(hashes)


class LocalChat:
    """Asks a model in this process. Use it like :class:`spinemed.chat.ChatClient`.

    Args:
        config: The checkpoint.
        log: The request log, open for writing.

    Raises:
        ModelError: No checkpoint there.
    """

    def __init__(self, config: LocalConfig, log: RequestLog) -> None:
        self.config, self.log = config, log
        self.counts: Counter[str] = Counter()
        self.sha256 = folder_sha256(config.folder)
        self._as_server = ServerConfig(model=self.model, json_mode="prompt")
        self._answerers: dict[int, Any] = {}

    def __enter__(self) -> LocalChat:
        return self

    def __exit__(self, *_: object) -> None:
        self._answerers = {}
        self.log.sync()

    @property
    def model(self) -> str:
        """Folder name and hash."""
        return f"{self.config.folder.resolve().name}@{self.sha256[:12]}"

    @property
    def identity(self) -> dict[str, Any]:
        """Weights by hash; batches change padding and with it the last bits, so their size stands here, too."""
        return {"checkpoint_sha256": self.sha256, "decoding": "greedy", "batch_size": self.config.batch_size}

    def ask(
        self, requests: Iterable[ChatRequest], advance: Callable[[int], None] = lambda number: None
    ) -> Iterator[Reply]:
        """One reply for each request, in their order.

        Raises:
            ModelError: The checkpoint cannot be loaded.
            ConfigError: A request asks for anything but greedy decoding.
        """
        source = iter(requests)
        while group := list(islice(source, self.config.batch_size)):
            replies = self._answer(group)
            advance(len(replies))
            yield from replies

    def _answer(self, requests: list[ChatRequest]) -> list[Reply]:
        firsts = self._judged(requests)
        repairs = [repair_of(request, judged) for request, (_, (judged, _)) in zip(requests, firsts)]
        again = {number: repair for number, repair in enumerate(repairs) if repair is not None}
        seconds = dict(zip(again, self._judged(list(again.values()))))
        replies = []
        for number, (key, (judged, usage)) in enumerate(firsts):
            keys: tuple[str, ...] = (key,)
            repaired_from: Reason = ""
            if number in seconds:
                repaired_from = judged.reason
                later, (judged, further) = seconds[number]
                usage, keys = usage + further, (key, later)
            reply = Reply(
                key, "quarantined" if judged.reason else "answered", judged.text, judged.value, judged.reason,
                judged.detail, usage, repaired_from, keys,
            )  # fmt: skip
            self.counts[reply.outcome if not reply.reason else f"{reply.outcome}: {reply.reason}"] += 1
            self.counts["repair turns"] += bool(repaired_from)
            replies.append(reply)
        return replies

    def _judged(self, requests: list[ChatRequest]) -> list[tuple[str, tuple[Judged, Usage]]]:
        """Key, verdict and usage of each request; what the log lacks is generated first."""
        keys = [request_key(request, self.identity) for request in requests]
        waiting = {key: request for key, request in zip(keys, requests) if key not in self.log}
        self.counts["from the log"] += sum(key not in waiting for key in keys)
        by_length: dict[int, list[str]] = {}
        for key, request in waiting.items():
            if request.decoding.temperature:
                raise ConfigError(
                    "is above 0, and a model in this process is greedy", field="temperature", cure="set 0"
                )
            if request.tools:
                raise ConfigError(
                    "offers functions, which a model in this process cannot call", field="tools",
                    cure="serve the checkpoint and ask the server",
                )  # fmt: skip
            by_length.setdefault(request.decoding.max_tokens, []).append(key)
        for max_tokens, group in by_length.items():
            self._generate(max_tokens, {key: waiting[key] for key in group})
        found = []
        for key, request in zip(keys, requests):
            exchange = self.log.reply(key)
            assert exchange is not None
            usage = Usage(exchange["prompt_tokens"], exchange["completion_tokens"], exchange["money"])
            found.append((key, (judge(request, exchange), usage)))
        return found

    def _generate(self, max_tokens: int, requests: dict[str, ChatRequest]) -> None:
        """Generate and log replies in the form of a server's, so that one judge reads both."""
        from spinemed.vlm import Refused
        from spinemed.vlm import Request as VlmRequest

        answerer = self._answerer(max_tokens)
        asked = [VlmRequest(request.with_schema_written().messages, request.images) for request in requests.values()]
        for key, request in requests.items():
            if request.schema is not None:
                self.log.schema(request.schema.sha256, request.schema.json_schema)
            form = logged_form(self._as_server, request)
            self.log.sent(key, attempt=1, tokens=0, money=0.0, request=form, tag=request.tag, host="this process")
        start = time.monotonic()
        replies = answerer.answer(asked)
        seconds = (time.monotonic() - start) / max(1, len(asked))
        for key, each, reply in zip(requests, asked, replies):
            self.counts["sent"] += 1
            if reply.outcome == "failed":
                self.log.answered(key, attempt=1, status=400, reply=reply.detail, seconds=seconds, usage=Usage())
                continue
            encoded = answerer.layout.encode(each.messages, each.images, training=False)
            prompt = 0 if isinstance(encoded, Refused) else int(encoded.length)
            finish = "stop" if reply.finished else "length"
            message = {"role": "assistant", "content": reply.text}
            body = json.dumps({"choices": [{"message": message, "finish_reason": finish}]}, ensure_ascii=False)
            usage = Usage(prompt, len(answerer.layout.tokenizer(reply.text)["input_ids"]))
            self.log.answered(key, attempt=1, status=200, reply=body, seconds=seconds, usage=usage)

    def _answerer(self, max_tokens: int) -> Any:
        """The model with room for replies of one length; loaded once for all lengths."""
        if max_tokens not in self._answerers:
            from spinemed import vlm

            model: Any = self.config.folder
            processor = None
            if self._answerers:
                other = next(iter(self._answerers.values()))
                model, processor = other.model, other.layout.processor
            self._answerers[max_tokens] = vlm.VlmAnswerer(
                model, processor, batch_size=self.config.batch_size, max_new_tokens=max_tokens
            )
        return self._answerers[max_tokens]
