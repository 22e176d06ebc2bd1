"""What a server says when it refuses is not repeated: servers quote in it what they were sent."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from spinemed.chat import ChatClient, ChatError, ChatRequest, RequestLog, ServerConfig


class Echo(BaseHTTPRequestHandler):
    """Refuses every request and quotes it."""

    status, shape = 404, "code"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        error: Any = {"message": f"cannot serve {body}", "code": "model_not_found", "type": body}
        if self.shape == "text":
            error = f"cannot serve {body}"
        elif self.shape == "echo":
            error = {"message": body, "code": "Weatherby", "type": "Weatherby_1950"}
        data = json.dumps({"error": error}).encode()
        self.send_response(self.status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def echo() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), Echo)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.parametrize("status", [401, 403, 404, 405])
@pytest.mark.parametrize(("shape", "shown"), [("code", "model_not_found"), ("text", "no code"), ("echo", "no code")])
def test_a_refusal_quotes_no_request(
    echo: str, request_for: Callable[..., ChatRequest], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int,
    shape: str, shown: str,
) -> None:  # fmt: skip
    monkeypatch.setattr(Echo, "status", status)
    monkeypatch.setattr(Echo, "shape", shape)
    config = ServerConfig(url=echo, model="m", timeout_s=20.0, backoff_s=0.02)
    with (
        RequestLog(tmp_path) as log,
        ChatClient(config, log) as chat,
        pytest.raises(ChatError, match=rf"status {status}: {shown}\)") as refused,
    ):
        list(chat.ask([request_for("Mr Weatherby, born 1950, has a fracture of L3")]))
    assert "Weatherby" not in str(refused.value)
    assert "fracture" not in str(refused.value)
