"""Ask a server many things at once: logged, paced, within budget, each reply judged, results in the order of asking.

Convention: the road of one request is: may it go there (egress); is its reply logged; is the same request under way;
a place at the gate; a reservation in the budget; then it leaves. A reply that is none as asked gets one repair turn,
which is a request of its own and logged as such. Results come in the order of the requests, whatever arrived first, and
hold nothing that depends on time, so a run that was killed and resumed gives the same results as one that was not.

Trap: results wait for the one before them. The window bounds how far asking runs ahead of handing over.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections import Counter, deque
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from types import TracebackType
from typing import Any, Protocol
from urllib.parse import urlsplit

from spinemed.chat.budget import Ledger, prompt_bound
from spinemed.chat.egress import require
from spinemed.chat.errors import ChatError
from spinemed.chat.log import RequestLog
from spinemed.chat.rate import Gate
from spinemed.chat.reply import Judged, Reply, Usage, judge, repair_of, usage_of
from spinemed.chat.request import ChatRequest, request_key
from spinemed.chat.server import Connection, Received, ServerConfig, body_of, logged_form

__all__ = ["Chat", "ChatClient"]

_LONGEST_BACKOFF_S = 60.0
_SYNC_EVERY_S = 1.0


class Chat(Protocol):
    """Anything that answers chat requests: a server, or a model in this process."""

    @property
    def model(self) -> str:
        """Name for records."""

    @property
    def identity(self) -> dict[str, Any]:
        """What replies depend on besides the request. Plain JSON."""

    counts: Counter[str]
    """What happened so far, by name."""

    def ask(self, requests: Iterable[ChatRequest], advance: Callable[[int], None] = ...) -> Iterator[Reply]:
        """One reply for each request, in their order."""


class _Failed(Exception):
    """A request has no reply after all attempts."""

    def __init__(self, received: Received) -> None:
        self.received = received
        super().__init__(received.reason)


class ChatClient:
    """Asks one server. Use it as a context manager.

    Args:
        config: The server.
        log: The request log, open for writing.
        window: How many requests run ahead of the oldest unfinished one; four times `max_in_flight` unless given.
        ledger: Counts against the budget; one that sees this client and its log alone unless given. Closed with it.

    Raises:
        ConfigError: The API key cannot be read.
    """

    def __init__(
        self, config: ServerConfig, log: RequestLog, *, window: int | None = None, ledger: Ledger | None = None
    ) -> None:
        self.config, self.log = config, log
        self.counts: Counter[str] = Counter()
        self.gate = Gate(config.start_in_flight, config.max_in_flight)
        self.ledger = ledger or Ledger(config.budget, log.spent, log.lost_tokens, log.lost_money)
        self._window = window or 4 * config.max_in_flight
        self._connection = Connection(config)
        self._host = urlsplit(config.url).netloc
        self._running: dict[str, asyncio.Task[dict[str, Any]]] = {}
        self._fatal: ChatError | None = None
        self._unanswered = 0
        self._runner = asyncio.Runner()
        self._stop: asyncio.Event | None = None

    def __enter__(self) -> ChatClient:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            self._runner.run(self._connection.close())
        finally:
            self._runner.close()
            self.ledger.close()
            self.log.sync()

    @property
    def model(self) -> str:
        """Name of the model."""
        return self.config.model

    @property
    def identity(self) -> dict[str, Any]:
        """Model and revision, as in every key."""
        return self.config.identity

    def ask(
        self, requests: Iterable[ChatRequest], advance: Callable[[int], None] = lambda number: None
    ) -> Iterator[Reply]:
        """Ask everything; one reply for each request, in their order.

        Args:
            requests: Read only as far ahead as the window allows.
            advance: Called with the number of replies handed over since the last call.

        Raises:
            EgressError: A request may not go to this server; nothing of it was sent or logged.
            BudgetError: The next request would pass a budget. What was under way is logged.
            ChatError: The server refuses the key, asks for too long a pause, or answers nothing any more.
        """
        stream = self._stream(requests)

        async def next_batch() -> list[Reply] | None:
            return await anext(stream, None)

        try:
            while (batch := self._runner.run(next_batch())) is not None:
                advance(len(batch))
                yield from batch
        finally:
            self._runner.run(stream.aclose())

    # --- many requests -----------------------------------------------------------------------------------------------

    async def _stream(self, requests: Iterable[ChatRequest]) -> AsyncGenerator[list[Reply], None]:
        """Replies in order, as many at a time as are ready."""
        self._stop, self._fatal = asyncio.Event(), None
        source, more, synced = iter(requests), True, time.monotonic()
        syncing: asyncio.Task[None] | None = None
        pending: deque[asyncio.Task[Reply]] = deque()
        try:
            while True:
                while more and self._fatal is None and len(pending) < self._window:
                    request = next(source, None)
                    if request is None:
                        more = False
                    else:
                        pending.append(asyncio.create_task(self._resolve(request)))
                if not pending:
                    break
                batch = [await pending.popleft()]
                while pending and pending[0].done():
                    batch.append(pending.popleft().result())
                if time.monotonic() - synced > _SYNC_EVERY_S and (syncing is None or syncing.done()):
                    syncing = asyncio.create_task(asyncio.to_thread(self.log.sync))
                    synced = time.monotonic()
                yield batch
            if self._fatal is not None:
                raise self._fatal
        except ChatError as error:
            # What is under way was paid for: wait for it, so that the log has it.
            await asyncio.gather(*pending, return_exceptions=True)
            raise (self._fatal or error) from None
        finally:
            for task in pending:
                task.cancel()
            await asyncio.gather(*pending, *([syncing] if syncing else []), return_exceptions=True)

    async def _resolve(self, request: ChatRequest) -> Reply:
        try:
            require(request.egress, self.config.url)
            reply = await self._answer(request)
        except ChatError as error:
            if self._fatal is None:
                self._fatal = error
                assert self._stop is not None
                self._stop.set()
            raise
        self._count(reply)
        return reply

    async def _answer(self, request: ChatRequest) -> Reply:
        """One request with its repair turn."""
        keys: list[str] = []
        usage, first = Usage(), Judged()
        asked: ChatRequest | None = request
        while asked is not None:
            key = request_key(asked, self.identity)
            try:
                exchange = await self._exchange(asked, key)
            except _Failed as failed:
                detail = failed.received.detail
                return Reply(
                    request_key(request, self.identity), "failed", reason=failed.received.reason, detail=detail,
                    usage=usage, repaired_from=first.reason, keys=(*keys, key),
                )  # fmt: skip
            keys.append(key)
            usage += Usage(exchange["prompt_tokens"], exchange["completion_tokens"], exchange["money"])
            judged = judge(asked, exchange)
            asked = repair_of(request, judged) if len(keys) == 1 else None
            if asked is not None:
                first = judged
        return Reply(
            keys[0], "quarantined" if judged.reason else "answered", judged.text, judged.value, judged.reason,
            judged.detail, usage, first.reason, tuple(keys), judged.calls,
        )  # fmt: skip

    def _count(self, reply: Reply) -> None:
        name = reply.outcome if reply.outcome == "answered" else f"{reply.outcome}: {reply.reason}"
        self.counts[name] += 1
        if reply.repaired_from:
            self.counts["repair turns"] += 1
        silent = reply.outcome == "failed" or reply.reason in ("rejected", "malformed_reply")
        self._unanswered = self._unanswered + 1 if silent else 0
        if self._unanswered >= self.config.give_up_after and self._fatal is None:
            # A rejection's detail is the server's words, which may repeat what was asked: it stays in the log.
            last = f"{reply.reason} ({reply.detail})" if reply.outcome == "failed" else reply.reason
            self._fatal = ChatError(
                f"{self._unanswered} requests in a row without an answer, the last: {last}",
                field="give_up_after",
                cure=f"look at the server at {self.config.url}, then run the same command again; after a change of the "
                "server's settings give a new `revision`, since rejections are logged, too",
            )
            assert self._stop is not None
            self._stop.set()

    # --- one request -------------------------------------------------------------------------------------------------

    async def _exchange(self, request: ChatRequest, key: str) -> dict[str, Any]:
        """The logged exchange of a request: from the log, from the same request under way, or sent now."""
        found = self.log.reply(key)
        if found is not None:
            self.counts["from the log"] += 1
            return found
        task = self._running.get(key)
        if task is None:
            task = asyncio.create_task(self._send(request, key))
            self._running[key] = task
            task.add_done_callback(lambda _: self._running.pop(key, None))
        else:
            self.counts["same request under way"] += 1
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            task.cancel()
            raise

    async def _send(self, request: ChatRequest, key: str) -> dict[str, Any]:
        """Send until there is a reply.

        Raises:
            _Failed: All attempts failed.
        """
        config, failures, refusals = self.config, 0, 0
        bound = prompt_bound(request, config.prices, schema_in_prompt=config.json_mode != "response_format")
        most = config.prices.cost(bound, request.decoding.max_tokens)
        data = b""
        while True:
            ticket = await self.gate.enter()
            try:
                if self._fatal is not None:
                    raise ChatError("stopped", cure="see the first error") from self._fatal
                await self.ledger.reserve(most)
                used = Usage()
                try:
                    if self._fatal is not None:  # while this one waited for others to settle
                        raise ChatError("stopped", cure="see the first error") from self._fatal
                    data = data or _encode(body_of(config, request, with_images=True))
                    received, seconds = await self._post_once(request, key, data, most, failures + refusals + 1)
                    if not received.reason:
                        counted = usage_of(received.text)
                        if counted is not None:
                            used = config.prices.cost(*counted)
                        elif received.status == 200:
                            used = most  # a server that does not count may have used what was reserved
                        self.log.answered(
                            key, attempt=failures + refusals + 1, status=received.status, reply=received.text,
                            seconds=seconds, usage=used,
                        )  # fmt: skip
                        self.gate.succeeded()
                        found = self.log.reply(key)
                        assert found is not None
                        return found
                    used = most if received.charged else Usage()
                finally:
                    await self.ledger.settle(most, used)
            finally:
                self.gate.leave()
            self.counts[f"sent again: {received.reason}"] += 1
            if received.reason == "overloaded":
                refusals += 1
            else:
                failures += 1
            if received.reason in ("overloaded", "timed_out"):
                self.gate.refused(ticket, self._pause_asked(received))
            final = received.reason in ("redirected", "reply_too_large")
            if final or failures >= config.attempts or refusals >= config.overload_attempts:
                self.counts[f"sent again: {received.reason}"] -= 1
                raise _Failed(received)
            # A pause that an overloaded server asks for is kept at the gate, for all; any other by this request alone.
            if received.reason != "overloaded" or received.pause_s is None:
                await self._pause(key, failures + refusals, least_s=self._pause_asked(received))

    async def _post_once(
        self, request: ChatRequest, key: str, data: bytes, most: Usage, attempt: int
    ) -> tuple[Received, float]:
        """Log that it leaves, send it, and log a failure; a reply is logged by the caller."""
        first = logged_form(self.config, request) if attempt == 1 else None
        if request.schema is not None and first is not None:
            self.log.schema(request.schema.sha256, request.schema.json_schema)
        if request.tools and first is not None:
            self.log.schema(request.tools_sha256, {"tools": [json.loads(tool) for tool in request.tools]})
        self.log.sent(
            key, attempt=attempt, tokens=most.tokens, money=most.money, request=first, tag=request.tag, host=self._host
        )
        self.counts["sent"] += 1
        left = self.ledger.seconds_left
        timeout = self.config.timeout_s if left is None else max(0.001, min(self.config.timeout_s, left))
        start = time.monotonic()
        received = await self._connection.post(data, timeout)
        if received.reason:
            self.log.failed(
                key, attempt=attempt, reason=received.reason, detail=received.detail, charged=received.charged,
                reserved=most,
            )  # fmt: skip
        return received, time.monotonic() - start

    def _pause_asked(self, received: Received) -> float:
        asked = received.pause_s or 0.0
        if asked > self.config.longest_pause_s:
            raise ChatError(
                f"the server asks for a pause of {asked:.0f} s, longer than {self.config.longest_pause_s:.0f} s",
                field="longest_pause_s",
                cure="run the same command again later, or allow longer pauses",
            )
        return asked

    async def _pause(self, key: str, number: int, least_s: float) -> None:
        """Wait before the next attempt: longer each time, and not all at once."""
        spread = 0.5 + int(hashlib.sha256(f"{key}{number}".encode()).hexdigest()[:4], 16) / 0x1FFFE
        pause = max(least_s, min(_LONGEST_BACKOFF_S, self.config.backoff_s * 2.0 ** min(number - 1, 16)) * spread)
        assert self._stop is not None
        try:
            await asyncio.wait_for(self._stop.wait(), pause)
        except TimeoutError:
            return


def _encode(body: dict[str, Any]) -> bytes:
    # Lone surrogates are no characters: they go as escapes, which every JSON reader takes.
    try:
        return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:
        return json.dumps(body, separators=(",", ":")).encode()
