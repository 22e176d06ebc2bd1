"""Real models: `transformers serve` with a tiny Gemma 3 made here, and the bundled nano model in this process."""

from __future__ import annotations

import importlib.util
import io
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from PIL import Image

from spinemed.chat import ChatClient, ChatRequest, Decoding, LocalChat, LocalConfig, RequestLog, Schema, ServerConfig
from spinemed.errors import ConfigError, ModelError
from spinemed.records import Message

Make = Callable[..., ChatRequest]


@pytest.fixture(scope="module")
def picture() -> bytes:
    stream = io.BytesIO()
    Image.new("L", (64, 64), 90).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture(scope="module")
def gemma(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a Gemma 3 of a few thousand weights."""
    folder = tmp_path_factory.mktemp("models") / "gemma3"
    subprocess.run(
        [sys.executable, str(root / "tests" / "spinemed" / "chat" / "tiny_gemma3.py"), str(folder)], check=True
    )
    return folder


@pytest.fixture(scope="module")
def url(gemma: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """`transformers serve` on a free port of loopback, with a local folder and no network."""
    if importlib.util.find_spec("openai") is None:
        pytest.skip("`transformers serve` needs its extra: pip install 'transformers[serving]'")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = [
        sys.executable, "-m", "transformers.cli.transformers", "serve", str(gemma), "--device", "cpu",
        "--host", "127.0.0.1", "--port", str(port),
    ]  # fmt: skip
    log = tmp_path_factory.mktemp("serve") / "log.txt"
    with open(log, "wb") as stream:
        child = subprocess.Popen(
            program, stdout=stream, stderr=subprocess.STDOUT, env={**os.environ, "HF_HUB_OFFLINE": "1"}
        )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        try:
            with opener.open(f"http://127.0.0.1:{port}/health", timeout=5):
                break
        except OSError:
            assert child.poll() is None, log.read_text()[-2000:]
            time.sleep(0.5)
    yield f"http://127.0.0.1:{port}/v1"
    child.kill()
    child.wait()


def test_a_served_model_is_asked_and_its_words_are_judged(
    url: str, gemma: Path, picture: bytes, request_for: Make, tmp_path: Path
) -> None:
    requests = [
        request_for("Which grade is this disc?", max_tokens=12),
        request_for("<image>\nWhich level is marked?", schema=False, images=(picture,), max_tokens=12),
        request_for("Say nothing of note.", schema=False, max_tokens=12),
    ]
    config = ServerConfig(url=url, model=str(gemma), json_mode="both", attempts=1, max_in_flight=2)
    with RequestLog(tmp_path) as log, ChatClient(config, log) as chat:
        replies = list(chat.ask(requests))
        assert chat.ledger.tokens > 30, "the server's count of tokens is kept"
    # A nano model writes no JSON: it is asked once more and then put aside, by name.
    assert replies[0].outcome == "quarantined"
    assert replies[0].reason in ("length", "not_json", "wrong_schema", "empty")
    assert len(replies[0].keys) == 2
    for reply in replies[1:]:
        assert reply.outcome == "answered" or reply.reason in ("length", "empty"), reply
    with RequestLog(tmp_path) as log, ChatClient(config, log) as chat:
        assert list(chat.ask(requests)) == replies
        assert chat.counts["sent"] == 0


def test_a_build_by_a_served_model_ends_with_every_reply_accounted_for(
    url: str, gemma: Path, tmp_path: Path, spinemed: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    source = {
        "id": "phantom", "kind": "phantom", "licence": "Apache-2.0", "allowed_use": ["train"], "origin": "phantom",
        "options": {"count": 1, "seed": 1, "phantom": {"size_px": [64, 64]}},
    }  # fmt: skip
    server = {"url": url, "model": str(gemma), "json_mode": "both", "max_in_flight": 2}
    model = {"server": server, "languages": ["en"], "studies": {"open": 1, "report": 1}, "decoding": {"max_tokens": 8}}
    config = {"sources": "sources.yaml", "writer": "openai", "model": model}
    (tmp_path / "sources.yaml").write_text(yaml.safe_dump({"sources": [source]}))
    (tmp_path / "build.yaml").write_text(yaml.safe_dump(config))
    done = spinemed("data", "run", tmp_path / "build.yaml", "--out", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    facts = json.loads((tmp_path / "run" / "outputs" / "drafts" / "manifest.json").read_bytes())
    assert facts["asked"] == 4
    assert facts["counts"]["phantom"]["tried"] == 4
    assert sum(facts["drop_reasons"].values()) == 4, "the words of a model of a few thousand weights were taken"


def test_a_model_in_this_process_takes_the_same_requests(
    samples: Path, picture: bytes, request_for: Make, tmp_path: Path
) -> None:
    requests = [
        request_for("Which grade?", max_tokens=8),
        request_for("<image>\nWhich level?", schema=False, images=(picture,), max_tokens=8),
    ]
    config = LocalConfig(folder=samples / "nano_base", batch_size=2)
    with RequestLog(tmp_path) as log, LocalChat(config, log) as chat:
        replies = list(chat.ask(requests))
        assert chat.counts["sent"] == 3
    assert (replies[0].outcome, len(replies[0].keys)) == ("quarantined", 2)
    assert replies[1].usage.prompt_tokens > 16
    with RequestLog(tmp_path) as log, LocalChat(config, log) as chat:
        assert list(chat.ask(requests)) == replies
        assert chat.counts["sent"] == 0
        assert chat._answerers == {}, "the model was loaded although every reply was logged"
        warm = ChatRequest((Message(role="user", content="x"),), decoding=Decoding(temperature=0.7))
        with pytest.raises(ConfigError, match="greedy"):
            list(chat.ask([warm]))


def test_a_folder_without_a_model_is_named(tmp_path: Path) -> None:
    with RequestLog(tmp_path / "log") as log, pytest.raises(ModelError, match="no checkpoint folder"):
        LocalChat(LocalConfig(folder=tmp_path), log)


def test_schemas_may_be_reused(request_for: Make) -> None:
    schema = request_for("x").schema
    assert isinstance(schema, Schema)
    assert schema.sha256 == Schema(schema.model).sha256
