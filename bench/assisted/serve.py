"""The caller by rule behind the address of a chat-completions server, on this machine alone.

Convention: `POST .../chat/completions` is answered by :class:`bench.assisted.caller.RuleCaller`; with a checkpoint, its
words are the answer wherever no tool settled the question. Decoding is greedy.

Trap: it listens on loopback and has no key; it is a stand-in for tests and for reading the protocol, not a server.
"""

from __future__ import annotations

import base64
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from bench.assisted.caller import Body, RuleCaller, Words, guess

__all__ = ["caller_server", "checkpoint_words"]

_WORDS = 32


def _bare(data: bytes) -> Any:
    """The pixels alone: a slice's place came as words already, and would be written before it twice."""
    import io

    from PIL import Image

    with Image.open(io.BytesIO(data)) as picture:
        made = picture.convert("RGB")
    made.info.clear()
    return made


def checkpoint_words(folder: Path) -> Any:
    """A function that answers a body's first turn by a checkpoint, one at a time.

    Raises:
        ModelError: No checkpoint there.
    """
    from spinemed.records import IMAGE_PLACEHOLDER, Message
    from spinemed.vlm import Request, VlmAnswerer

    answerer, alone = VlmAnswerer(folder, batch_size=1, max_new_tokens=_WORDS), threading.Lock()
    known: dict[str, Words] = {}

    def answer(body: Body) -> Words:
        content = body["messages"][0]["content"]
        parts: list[dict[str, Any]] = [{"type": "text", "text": content}] if isinstance(content, str) else content
        images = [part["image_url"]["url"].partition(",")[2] for part in parts if part["type"] == "image_url"]
        lines = [IMAGE_PLACEHOLDER if part["type"] == "image_url" else part["text"] for part in parts]
        key = json.dumps(content)
        with alone:
            if key not in known:
                # Parts are joined as they came: one more line break is another question to a small model.
                turn = Message(role="user", content="".join(lines))
                reply = answerer.answer([Request((turn,), tuple(_bare(base64.b64decode(one)) for one in images))])[0]
                known[key] = Words(reply.text, reply.finished)
        return known[key]

    return answer


def caller_server(port: int, *, model: Path | None = None, calls: bool = True) -> ThreadingHTTPServer:
    """A server that is bound and not yet serving; `serve_forever` starts it.

    Args:
        port: On loopback; 0 takes a free one.
        model: Checkpoint whose words are used where no tool settled the question; a fixed guess unless given.
        calls: False for one that never calls a function.
    """
    caller = RuleCaller(guess if model is None else checkpoint_words(model), calls)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            try:
                body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))))
                told: dict[str, Any] = {"choices": [caller.reply(body)], "usage": {}}
                status = 200
            except (ValueError, KeyError, TypeError, IndexError) as error:
                status, told = 400, {"error": {"message": f"no chat completion ({type(error).__name__})"}}
            data = json.dumps(told).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing: the body holds content."""

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    return server
