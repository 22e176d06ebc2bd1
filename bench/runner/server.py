"""Any OpenAI-compatible server as an answerer, asked through :mod:`spinemed.chat`.

Convention: every exchange stands in an append-only request log under a key of picture bytes, model, revision, prompt
and decoding; what is logged is not asked again, so a killed run repeats at most the requests that were under way. What
became of a request is told apart:

==============  ===================================================================================================
answered        words came, or an empty reply that ended by itself (read as `unparsed` later)
refused         the model or its filter declined, also by an error with the code of a content filter
truncated       the reply reached the token limit
timed_out       no reply within the limit, after all attempts
failed          the server cannot take this question (another status of the 400s): the model has no answer to it
api_error       the provider gave none after all attempts (429, 5xx, cut lines) or no chat completion: nobody's answer
==============  ===================================================================================================

Trap: samples do not say where their content may go, so the caller does; the default is this machine only. The log
holds content and falls under the same rule.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any

from bench.runner.answerers import Reply, Request
from spinemed.chat import LOCAL, ChatClient, ChatRequest, Decoding, Egress, RequestLog, ServerConfig
from spinemed.chat import Reply as ChatReply
from spinemed.chat.budget import Ledger
from spinemed.chat.egress import require
from spinemed.records import Outcome
from spinemed.vlm.series import captioned

__all__ = ["SERVER_BLOCK", "ServerAnswerer", "chat_request", "outcome_of", "server_identity", "server_model"]

SERVER_BLOCK = 2048
"""Samples of one block. The log resumes within a block, so blocks are long: a server idles at the end of each."""

_FILTER = re.compile(
    r'"(?:code|type)"\s*:\s*"(?:content_filter|content_policy_violation|ResponsibleAIPolicyViolation)"'
)


def server_model(config: ServerConfig) -> str:
    """Name and revision of a served model, as predictions carry it."""
    return f"{config.model}@{config.revision}" if config.revision else config.model


def server_identity(config: ServerConfig, decoding: Decoding) -> dict[str, Any]:
    """What replies depend on besides the request. The address is no part of it: the same model may move."""
    return {"server": config.identity, "decoding": decoding.model_dump(mode="json")}


def chat_request(request: Request, decoding: Decoding, egress: Egress) -> ChatRequest:
    """A benchmark question as a chat request: the words that a checkpoint is asked, places of slices included."""
    messages = captioned(request.messages, request.images)
    return ChatRequest(messages, request.images, decoding=decoding, egress=egress, tag=request.sample_id, verbatim=True)


def outcome_of(reply: ChatReply) -> Reply:
    """What became of a request, in the words of predictions; see the table of this module."""
    if reply.outcome == "answered":
        return Reply(reply.text)
    if reply.reason == "empty":
        return Reply("", "answered", "no words")
    outcome: Outcome = "api_error"
    detail = f"{reply.reason}: {reply.detail}"
    if reply.reason in ("length", "whitespace_loop"):
        outcome = "truncated"
    elif reply.reason == "refused":
        outcome = "refused"
    elif reply.reason == "timed_out":
        outcome = "timed_out"
    elif reply.reason == "rejected":
        outcome = "refused" if _FILTER.search(reply.detail) else "failed"
        # The server's own words may repeat what it was sent: they stay in the log.
        detail = f"rejected: {reply.detail.partition(':')[0]}"
    return Reply("", outcome, detail)


class ServerAnswerer:
    """Asks one server. Use it as a context manager.

    Args:
        config: The server: address, model, revision, key file, requests at once, budget, prices.
        requests: Folder of the request log.
        decoding: How words are chosen; greedy unless told otherwise.
        egress: Where the questions and pictures may go.
        advance: Called with the number of replies that arrived since the last call.
        name: Of this client's own log file in that folder.
        ledger: Counts against the budget where several clients share one.

    Raises:
        EgressError: The server is on a host that `egress` does not permit; nothing was sent.
        ConfigError: The API key cannot be read.
        ChatError: Another process writes the log, or it is damaged.
    """

    kind = "server"

    def __init__(
        self,
        config: ServerConfig,
        requests: str | os.PathLike[str],
        *,
        decoding: Decoding,
        egress: Egress = LOCAL,
        advance: Callable[[int], None] = lambda number: None,
        name: str = "log",
        ledger: Ledger | None = None,
    ) -> None:
        require(egress, config.url)
        self.config, self.decoding, self.egress, self.advance = config, decoding, egress, advance
        self._log = RequestLog(requests, name, wait_s=10.0)  # a worker of a killed run may be dying still
        try:
            self.chat = ChatClient(config, self._log, ledger=ledger)
        except BaseException:
            self._log.close()
            raise

    def __enter__(self) -> ServerAnswerer:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            self.chat.__exit__(kind, error, at)
        finally:
            self._log.close()

    @property
    def model(self) -> str:
        """Name and revision."""
        return server_model(self.config)

    @property
    def identity(self) -> dict[str, Any]:
        """Model, revision, further fields of the body, decoding."""
        return server_identity(self.config, self.decoding)

    def answer(self, requests: Sequence[Request]) -> list[Reply]:
        """One reply per request, in order; what the log holds is not sent.

        Raises:
            BudgetError: The next request would pass the budget; what was under way is logged.
            ChatError: The server refuses the key or answers nothing any more.
        """
        self._log.refresh()  # a worker that died may have had replies to these
        asked = (chat_request(request, self.decoding, self.egress) for request in requests)
        return [outcome_of(reply) for reply in self.chat.ask(asked, self.advance)]
