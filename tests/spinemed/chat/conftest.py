"""Real servers on loopback, each a process of its own, and requests to ask them."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import BaseModel, ConfigDict, Field

from spinemed.chat import ChatRequest, Decoding, Schema
from spinemed.records import Message


class Server:
    """`benchmarks/chat_server.py` under way."""

    def __init__(self, root: Path, *options: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(root / "benchmarks" / "chat_server.py"), *options], stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline().split()[1])
        self.url = f"http://127.0.0.1:{self.port}/v1"

    def stats(self) -> dict[str, Any]:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"http://127.0.0.1:{self.port}/stats", timeout=30) as answer:
            return dict(json.load(answer))

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture
def serve(root: Path) -> Iterator[Callable[..., Server]]:
    """Start servers; they end with the test."""
    running: list[Server] = []

    def start(latency: float = 0.01, slots: int = 64, redirect: str | None = None) -> Server:
        options = ["--latency", str(latency), "--slots", str(slots)]
        if redirect:
            options += ["--redirect", redirect]
        running.append(Server(root, *options))
        return running[-1]

    yield start
    for server in running:
        server.stop()


class Answer(BaseModel):
    """What the tests ask for."""

    model_config = ConfigDict(extra="forbid")
    verdict: str = Field(max_length=40)
    grade: int = Field(ge=1, le=5)
    notes: list[Annotated[str, Field(max_length=40)]] = Field(max_length=3)


@pytest.fixture(scope="session")
def request_for() -> Callable[..., ChatRequest]:
    """A request with some words and, unless told otherwise, a schema."""

    def make(words: str, *, schema: bool = True, max_tokens: int = 200, **more: Any) -> ChatRequest:
        messages = (Message(role="system", content="You grade discs."), Message(role="user", content=words))
        wanted = Schema(Answer) if schema else None
        return ChatRequest(messages, schema=wanted, decoding=Decoding(max_tokens=max_tokens), **more)

    return make
