"""Where content may go: a second host of this machine counts every byte that reaches it, and sees none."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from spinemed.errors import SpineMedError

Write = Callable[..., Path]
NAMES = ("second.example", "first.example")


class Listener:
    """A server on another address of this machine: it counts connections and bytes, and answers 401."""

    def __init__(self, address: str) -> None:
        self.socket = socket.create_server((address, 0))
        self.port = self.socket.getsockname()[1]
        self.connections = self.bytes = 0
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self) -> None:
        while True:
            try:
                line, _ = self.socket.accept()
            except OSError:
                return  # closed
            self.connections += 1
            with line:
                line.settimeout(2)
                self.bytes += len(line.recv(1 << 16))
                line.sendall(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    def stop(self) -> None:
        self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()
        self.thread.join(timeout=5)


@pytest.fixture
def second(monkeypatch: pytest.MonkeyPatch) -> Iterator[Listener]:
    """A second host at 127.0.0.2, under the name `second.example`."""
    listener = Listener("127.0.0.2")
    resolve = socket.getaddrinfo

    def lookup(host: Any, *rest: Any, **more: Any) -> Any:
        return resolve("127.0.0.2" if host in NAMES else host, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    yield listener
    listener.stop()


@pytest.fixture
def page(tmp_path: Path, entries: dict[str, Any]) -> dict[str, Any]:
    """A source of one page."""
    (tmp_path / "page").mkdir()
    fact = "The lumbar spine usually has five vertebrae, and the disc between L4 and L5 degenerates most often. "
    (tmp_path / "page" / "a.md").write_text(f"# Anatomy\n\n{fact * 3}\n", encoding="utf-8")
    return {**entries["openstax"], "id": "page", "kind": "markdown", "path": str(tmp_path / "page")}


def config(folder: Path, source: dict[str, Any], url: str, write: Write) -> Path:
    server = {"url": url, "model": "m", "attempts": 1, "give_up_after": 2, "backoff_s": 0.01, "timeout_s": 5}
    model = {"server": server, "languages": ["en"], "documents": {"open": 1}}
    return write(folder, [source], writer="openai", model=model)


def logged(run: Path) -> str:
    return "".join(path.read_text(encoding="utf-8") for path in sorted(run.rglob("*.jsonl")) if "scratch" in path.parts)


@pytest.mark.parametrize(
    "rule",
    [{"egress": "local"}, {"egress": "listed", "egress_hosts": ["first.example"]}],
    ids=["this machine only", "another host listed"],
)
def test_no_byte_reaches_a_host_that_the_source_does_not_permit(
    second: Listener, page: dict[str, Any], rule: dict[str, Any], tmp_path: Path, write_config: Write,
    run_build: Callable[[Path, Path], Path],
) -> None:  # fmt: skip
    url = f"http://second.example:{second.port}/v1"
    with pytest.raises(SpineMedError, match="may not be sent to 'second.example'"):
        run_build(config(tmp_path, {**page, **rule}, url, write_config), tmp_path / "run")
    assert (second.connections, second.bytes) == (0, 0)
    assert "lumbar" not in logged(tmp_path / "run"), "refused content reached the log"
    assert not (tmp_path / "run" / "outputs" / "drafts").exists()


@pytest.mark.parametrize(
    "rule",
    [{"egress": "any"}, {"egress": "listed", "egress_hosts": ["second.example"]}],
    ids=["any host", "this host listed"],
)
def test_where_the_source_permits_it_the_same_host_is_reached(
    second: Listener, page: dict[str, Any], rule: dict[str, Any], tmp_path: Path, write_config: Write,
    run_build: Callable[[Path, Path], Path],
) -> None:  # fmt: skip
    url = f"http://second.example:{second.port}/v1"
    with pytest.raises(SpineMedError, match="401"):
        run_build(config(tmp_path, {**page, **rule}, url, write_config), tmp_path / "run")
    assert second.connections > 0
    assert second.bytes > 200, "without this the zeros above would prove nothing"


def test_one_source_that_forbids_it_holds_back_what_the_others_would_send(
    second: Listener, page: dict[str, Any], entries: dict[str, Any], tmp_path: Path, write_config: Write,
    run_build: Callable[[Path, Path], Path],
) -> None:  # fmt: skip
    """A source asked for first may be sent; nothing of the one that forbids it is."""
    (tmp_path / "kept").mkdir()
    kept = "The patient of this page must stay at home: five lumbar vertebrae, and a disc at L4/5 that degenerates. "
    (tmp_path / "kept" / "b.md").write_text(f"# Anatomy\n\n{kept * 3}\n", encoding="utf-8")
    local = {**page, "id": "kept", "path": str(tmp_path / "kept"), "egress": "local"}
    url = f"http://second.example:{second.port}/v1"
    server = {"url": url, "model": "m", "attempts": 1, "give_up_after": 2}
    path = write_config(
        tmp_path, [{**local}, {**page, "egress": "any"}], writer="openai",
        model={"server": server, "languages": ["en"], "documents": {"open": 1}},
    )  # fmt: skip
    with pytest.raises(SpineMedError, match="may not be sent to 'second.example'"):
        run_build(path, tmp_path / "run")
    assert "must stay at home" not in logged(tmp_path / "run")


def test_a_redirect_to_the_second_host_is_not_followed(
    root: Path, second: Listener, page: dict[str, Any], tmp_path: Path, write_config: Write,
    run_build: Callable[[Path, Path], Path],
) -> None:  # fmt: skip
    """The server answers 307 with the second host's address, for content that says so."""
    text = Path(page["path"]) / "a.md"
    said = text.read_text(encoding="utf-8")
    text.write_text(f"{said}\nA mark for the server: @@redirect:0@@ stands here.\n", encoding="utf-8")
    script = root / "tests" / "data_pipeline" / "writing_server.py"
    target = f"http://127.0.0.2:{second.port}/v1/chat/completions"
    program = [sys.executable, str(script), str(root), "--latency", "0", "--redirect", target]
    child = subprocess.Popen(program, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    try:
        port = int(child.stdout.readline().split()[1])
        path = config(tmp_path, {**page, "egress": "any"}, f"http://127.0.0.1:{port}/v1", write_config)
        with pytest.raises(SpineMedError, match="1 redirected"):
            run_build(path, tmp_path / "run")
    finally:
        child.kill()
        child.wait()
        child.stdout.close()
    assert (second.connections, second.bytes) == (0, 0)
