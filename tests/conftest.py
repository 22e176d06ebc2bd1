"""Shared by all tests: a quiet, offline, deterministic machine, a way to run the command line as users do, and models
behind real HTTP on loopback, in a process of their own or in this one."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

# Read once by libgomp, so it must stand here before anything imports torch.
os.environ["GOMP_SPINCOUNT"] = "0"
os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_DATASETS_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["MPLBACKEND"] = "Agg"
os.environ["COLUMNS"] = "160"

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout."""
    return ROOT


@pytest.fixture(scope="session")
def samples() -> Path:
    """The bundled samples."""
    return ROOT / "samples"


@pytest.fixture(scope="session")
def load_script() -> Callable[[Path], ModuleType]:
    """Load a script that no package holds; once, under a name that no package has."""

    def load(path: Path) -> ModuleType:
        name = f"script_{path.stem}"
        if name not in sys.modules:
            spec = importlib.util.spec_from_file_location(name, path)
            assert spec is not None
            assert spec.loader is not None
            sys.modules[name] = importlib.util.module_from_spec(spec)  # where a dataclass looks its annotations up
            before = list(sys.path)
            try:
                spec.loader.exec_module(sys.modules[name])
            finally:
                sys.path[:] = before  # a script's own folder would be searched by other tests' children
        return sys.modules[name]

    return load


@pytest.fixture(scope="session")
def results(load_script: Callable[[Path], ModuleType]) -> ModuleType:
    """`benchmarks/results.py`."""
    return load_script(ROOT / "benchmarks" / "results.py")


@pytest.fixture(scope="session")
def spinemed() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run `spinemed ...` in a child process, as a user would."""

    def run(*arguments: str | Path, cwd: Path | None = None, timeout: float = 300) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "spinemed", *map(str, arguments)],
            cwd=cwd or ROOT,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    return run


# --- served models ---------------------------------------------------------------------------------------------------


class ServedScript:
    """A script that prints `PORT n` when it listens and counts at `/stats`, under way in a process of its own."""

    def __init__(self, script: Path, *options: str) -> None:
        self.process = subprocess.Popen([sys.executable, str(script), *options], stdout=subprocess.PIPE, text=True)
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


@pytest.fixture(scope="session")
def start_script() -> type[ServedScript]:
    """Start a server that is a script; whoever starts it stops it."""
    return ServedScript


@pytest.fixture
def serve(root: Path) -> Iterator[Callable[..., ServedScript]]:
    """Start `benchmarks/chat_server.py`; all of them end with the test."""
    running: list[ServedScript] = []

    def start(latency: float = 0.01, slots: int = 64, redirect: str | None = None) -> ServedScript:
        options = ["--latency", str(latency), "--slots", str(slots)]
        if redirect:
            options += ["--redirect", redirect]
        running.append(ServedScript(root / "benchmarks" / "chat_server.py", *options))
        return running[-1]

    yield start
    for server in running:
        server.stop()


@pytest.fixture
def answer_chats() -> Iterator[Callable[[Callable[[dict[str, Any]], str | dict[str, Any]]], str]]:
    """Serve a function as an OpenAI-compatible model in this process; gives the address.

    The function takes the body of a request and gives the reply's text, or the whole choice.
    """
    running: list[tuple[ThreadingHTTPServer, threading.Thread]] = []

    def start(reply: Callable[[dict[str, Any]], str | dict[str, Any]]) -> str:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                said = reply(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                if isinstance(said, str):
                    said = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": said}}
                data = json.dumps({"choices": [said]}).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, format: str, *args: object) -> None:
                """Say nothing."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        running.append((server, thread))
        return f"http://127.0.0.1:{server.server_address[1]}/v1"

    yield start
    for server, thread in running:
        server.shutdown()
        thread.join()
        server.server_close()
