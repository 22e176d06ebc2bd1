"""A scripted chat-completions server on loopback, a process of its own: answers by content, fails when told.

    python benchmarks/chat_server.py [--latency 0.2] [--slots 64] [--port 0]

It prints `PORT n` when it listens. `POST .../chat/completions` is answered after the latency, by at most so many slots
at once; the answer is a function of the request alone: a JSON value of the schema asked for, or a sentence with the
hash of the turns. `GET /stats` says how often each content came and how many requests were under way at most; `GET
/times` gives the second at which each reply left, and forgets everything that came so far.

A last turn that holds `@@NAME@@` or `@@NAME:n@@` fails the first n times that this content comes (once unless said; 0
is always): see FAULTS. Nothing but the standard library, and little of it, so that the server is not what is measured.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import re
from collections import Counter, deque
from typing import Any

FAULTS = (
    "429", "429-now", "503", "500", "400", "401", "timeout", "reset", "cut", "truncated", "whitespace", "length",
    "empty", "schema", "prose", "twins", "refusal", "garbage", "huge", "redirect", "long-pause", "silent-usage",
    "surrogate", "500-wait",
)  # fmt: skip
_MARK = re.compile(r"@@([a-z0-9-]+)(?::(\d+))?@@")
_REASONS = {200: "OK", 307: "Temporary Redirect", 404: "Not Found"}


class State:
    """What the server remembers."""

    def __init__(self, latency: float, slots: int, redirect: str) -> None:
        self.latency, self.slots, self.redirect = latency, slots, redirect
        self.seen: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()
        self.busy = self.most = self.requests = self.bytes = 0
        self.headers: list[str] = []
        self.waiting: deque[Protocol] = deque()
        self.finished: list[float] = []

    def forget(self) -> list[float]:
        """Start to count anew; the times at which replies left are returned."""
        times, self.finished = self.finished, []
        self.seen.clear()
        self.faults.clear()
        self.busy = self.most = self.requests = self.bytes = 0
        return times


class Protocol(asyncio.Protocol):
    """One connection: requests one after another, kept alive."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.buffer = b""
        self.asked: tuple[str, str, bytes] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the line."""
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Collect one request and begin on it."""
        self.state.bytes += len(data)
        self.buffer += data
        head, found, rest = self.buffer.partition(b"\r\n\r\n")
        if not found:
            return
        length = re.search(rb"(?i)content-length: *(\d+)", head)
        size = int(length[1]) if length else 0
        if len(rest) < size:
            return
        self.buffer = rest[size:]
        method, path = head.split(b" ", 2)[:2]
        self.asked = (method.decode(), path.decode(), rest[:size])
        if method == b"GET":
            self.answer(200, self.state.forget() if path == b"/times" else self.stats())
            return
        self.state.headers = head.decode("latin-1").split("\r\n")[1:]
        self.state.requests += 1
        if self.state.busy < self.state.slots:
            self.begin()
        else:
            self.state.waiting.append(self)

    def begin(self) -> None:
        """Take a slot."""
        self.state.busy += 1
        self.state.most = max(self.state.most, self.state.busy)
        asyncio.get_running_loop().call_later(self.state.latency, self.finish)

    def finish(self) -> None:
        """Free the slot and answer."""
        self.state.busy -= 1
        self.state.finished.append(asyncio.get_running_loop().time())
        if self.state.waiting:
            self.state.waiting.popleft().begin()
        assert self.asked is not None
        body = json.loads(self.asked[2])
        content = digest(body)
        self.state.seen[content] += 1
        mark = _MARK.search(mark_of(body))
        if mark and self.state.seen[content] <= (int(mark[2] or 1) or 10**9):
            self.state.faults[mark[1]] += 1
            self.fail(mark[1], body, content)
        else:
            self.answer(200, completion(text_for(body, content), body))

    def fail(self, name: str, body: Any, content: str) -> None:
        """Fail as the mark says."""
        good = text_for(body, content)
        texts = {
            "truncated": good[: len(good) // 2],
            "empty": "",
            "schema": '{"unknown":1}',
            "prose": "Of course! The answer is B.",
            "twins": '{"a":1,"a":2}',
            "surrogate": 'half \ud83d of a pair "',
        }
        if name in ("429", "503"):
            self.answer(int(name), {"error": {"message": "busy"}}, "Retry-After: 1\r\n")
        elif name == "500-wait":
            self.answer(500, {"error": {"message": "restarting"}}, "Retry-After: 1\r\n")
        elif name == "429-now":
            self.answer(429, {"error": {"message": "busy"}})
        elif name == "long-pause":
            self.answer(429, {}, "Retry-After: 86400\r\n")
        elif name in ("500", "400", "401"):
            self.answer(int(name), {"error": {"message": f"refused, your key was {self.key()}"}})
        elif name == "timeout":
            pass  # the line stays open and silent
        elif name == "reset":
            self.transport.abort()  # type: ignore[attr-defined]
        elif name == "cut":
            self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4096\r\n\r\n{")  # type: ignore[attr-defined]
            self.transport.close()
        elif name in texts:
            self.answer(200, completion(texts[name], body))
        elif name == "whitespace":
            self.answer(200, completion('{"a":' + " \n" * 2000, body, "length"))
        elif name == "length":
            self.answer(200, completion(good[:-1], body, "length"))
        elif name == "refusal":
            self.answer(200, completion("", body, "content_filter"))
        elif name == "garbage":
            self.answer(200, {"object": "list"})
        elif name == "huge":
            self.answer(200, {"filler": "x" * 3_000_000})
        elif name == "silent-usage":
            made = completion(good, body)
            del made["usage"]
            self.answer(200, made)
        elif name == "redirect":
            self.answer(307, {}, f"Location: {self.state.redirect}\r\n")
        else:
            raise SystemExit(f"unknown fault {name}")

    def key(self) -> str:
        """What stood behind `Authorization`."""
        found = [line.split(" ")[-1] for line in self.state.headers if line.lower().startswith("authorization")]
        return found[0] if found else ""

    def answer(self, status: int, body: Any, headers: str = "") -> None:
        """Send one reply."""
        data = json.dumps(body).encode()
        head = f"HTTP/1.1 {status} {_REASONS.get(status, 'Other')}\r\nContent-Type: application/json\r\n{headers}"
        self.transport.write(f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data)  # type: ignore[attr-defined]

    def stats(self) -> dict[str, Any]:
        """What came so far."""
        state = self.state
        return {
            "requests": state.requests, "distinct": len(state.seen), "seen": dict(state.seen), "most": state.most,
            "faults": dict(state.faults), "bytes": state.bytes, "headers": state.headers,
        }  # fmt: skip


def digest(body: Any) -> str:
    """Hash of the turns."""
    return hashlib.sha256(json.dumps(body["messages"], sort_keys=True).encode()).hexdigest()


def last_words(body: Any) -> str:
    """Words of the last turn; a repair turn looks back to nothing, so it is not marked unless it quotes the mark."""
    content = body["messages"][-1]["content"]
    return content if isinstance(content, str) else " ".join(part.get("text", "") for part in content)


def mark_of(body: Any) -> str:
    """Where a fault is asked for: the last turn."""
    return last_words(body)


def text_for(body: Any, content: str) -> str:
    """The answer to a content."""
    schema = body.get("response_format", {}).get("json_schema", {}).get("schema")
    if schema is None:
        return f"The answer to {content[:16]}."
    return json.dumps(value_of(schema, schema, content))


def value_of(schema: Any, root: Any, seed: str) -> Any:
    """A value that keeps a schema, made from a seed."""
    number = int(hashlib.sha256(seed.encode()).hexdigest()[:8], 16)
    if "$ref" in schema:
        return value_of(root["$defs"][schema["$ref"].rsplit("/", 1)[1]], root, seed)
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return schema["enum"][number % len(schema["enum"])]
    if "anyOf" in schema:
        return value_of(schema["anyOf"][number % len(schema["anyOf"])], root, seed)
    kind = schema.get("type")
    if kind == "object":
        return {name: value_of(part, root, f"{seed}.{name}") for name, part in schema["properties"].items()}
    if kind == "array":
        length = max(schema.get("minItems", 0), min(2, schema.get("maxItems", 2)))
        return [value_of(schema["items"], root, f"{seed}[{place}]") for place in range(length)]
    if kind == "string":
        text = f"words {number:08x}"
        return (text + "." * schema.get("minLength", 0))[: schema.get("maxLength", 99)]
    if kind == "integer":
        low = schema.get("minimum", 0)
        return low + number % (schema.get("maximum", low + 9) - low + 1)
    if kind == "number":
        return schema.get("minimum", 0) + number % 10 / 10
    return {"boolean": bool(number % 2), "null": None}[kind]


def completion(text: str, body: Any, finish: str = "stop") -> dict[str, Any]:
    """A chat completion around a text."""
    prompt = sum(len(str(turn["content"])) for turn in body["messages"]) // 4
    return {
        "id": "chatcmpl-0",
        "object": "chat.completion",
        "created": 0,
        "model": body.get("model", ""),
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish}],
        "usage": {"prompt_tokens": prompt, "completion_tokens": len(text) // 4, "total_tokens": 0},
    }


async def main() -> None:
    """Listen until killed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--latency", type=float, default=0.2)
    parser.add_argument("--slots", type=int, default=64)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--redirect", default="http://127.0.0.1:1/v1/chat/completions")
    chosen = parser.parse_args()
    state = State(chosen.latency, chosen.slots, chosen.redirect)
    server = await asyncio.get_running_loop().create_server(lambda: Protocol(state), "127.0.0.1", chosen.port)
    print("PORT", server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
