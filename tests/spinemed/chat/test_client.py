"""The client against a server that fails in every way it knows, on loopback."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from spinemed.chat import (
    BudgetError,
    ChatClient,
    ChatError,
    ChatRequest,
    Egress,
    EgressError,
    Reply,
    RequestLog,
    ServerConfig,
    show_progress,
)
from spinemed.chat.log import RequestLog as Log
from spinemed.chat.reply import Usage
from spinemed.errors import ConfigError

Make = Callable[..., ChatRequest]
Serve = Callable[..., Any]


def ask(folder: Path, url: str, requests: list[ChatRequest], **settings: Any) -> tuple[list[Reply], dict[str, int]]:
    config = ServerConfig(**{"url": url, "model": "m", "timeout_s": 20.0, "backoff_s": 0.02, **settings})
    with RequestLog(folder) as log, ChatClient(config, log) as chat:
        replies = list(chat.ask(requests))
        return replies, dict(chat.counts)


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for file in sorted(folder.glob("*.jsonl")) for line in file.read_bytes().splitlines()]


def test_every_fault_has_its_outcome_and_the_order_is_that_of_asking(
    serve: Serve, request_for: Make, tmp_path: Path
) -> None:
    second = serve()
    server = serve(redirect=f"{second.url}/chat/completions")
    expected = {
        "plain": ("answered", "", ""),
        "@@429@@": ("answered", "", ""),
        "@@429-now:2@@": ("answered", "", ""),
        "@@503@@": ("answered", "", ""),
        "@@500:2@@": ("answered", "", ""),
        "@@reset@@": ("answered", "", ""),
        "@@cut@@": ("answered", "", ""),
        "@@silent-usage@@": ("answered", "", ""),
        "@@truncated@@": ("answered", "", "not_json"),
        "@@prose@@": ("answered", "", "not_json"),
        "@@twins@@": ("answered", "", "not_json"),
        "@@whitespace@@": ("answered", "", "whitespace_loop"),
        "@@length@@": ("answered", "", "length"),
        "@@schema@@": ("answered", "", "wrong_schema"),
        "@@empty@@": ("answered", "", "empty"),
        "@@surrogate@@": ("answered", "", "not_json"),
        "@@refusal@@": ("quarantined", "refused", ""),
        "@@400@@": ("quarantined", "rejected", ""),
        "@@garbage@@": ("quarantined", "malformed_reply", ""),
        "@@huge@@": ("failed", "reply_too_large", ""),
        "@@500:0@@": ("failed", "server_error", ""),
        "@@redirect@@": ("failed", "redirected", ""),
    }
    secret = tmp_path / "key.txt"
    secret.write_text("sk-very-secret\n")
    settings = {"attempts": 3, "api_key_file": secret, "max_reply_mib": 1.0}
    start = time.monotonic()
    replies, counts = ask(tmp_path / "log", server.url, [request_for(words) for words in expected], **settings)
    assert time.monotonic() - start >= 1, "Retry-After asked for a second"
    assert {w: (r.outcome, r.reason, r.repaired_from) for w, r in zip(expected, replies)} == expected
    assert counts["answered"] == 16
    assert counts["repair turns"] == 8
    assert counts["failed: redirected"] == 1
    assert second.stats()["requests"] == 0, "a redirect was followed"
    assert "Authorization: Bearer sk-very-secret" in server.stats()["headers"]
    written = "".join(file.read_text() for file in (tmp_path / "log").iterdir())
    assert "sk-very-secret" not in written, "the server's echo of the key reached the log"
    assert "refused, your key was [api key]" in written

    # Asked again, only what has no reply is sent again; all the rest is the same to the byte.
    before = server.stats()["requests"]
    again, counts = ask(tmp_path / "log", server.url, [request_for(words) for words in expected], **settings)
    assert [b for a, b in zip(replies, again) if a.outcome != "failed"] == [r for r in replies if r.outcome != "failed"]
    # The large reply and the redirect come right this time; three attempts on what always fails.
    assert server.stats()["requests"] - before == 1 + 1 + 3


def test_a_silent_server_is_given_up_after_the_stated_attempts(serve: Serve, request_for: Make, tmp_path: Path) -> None:
    server = serve()
    replies, counts = ask(
        tmp_path, server.url, [request_for("@@timeout:0@@"), request_for("fine")], timeout_s=0.6, attempts=2
    )
    assert [(r.outcome, r.reason) for r in replies] == [("failed", "timed_out"), ("answered", "")]
    assert counts["sent again: timed_out"] == 1
    failed = [line for line in lines(tmp_path) if line["kind"] == "failed"]
    assert [line["charged"] for line in failed] == [True, True]


def test_overload_halves_and_success_raises_the_limit(serve: Serve, request_for: Make, tmp_path: Path) -> None:
    server = serve(latency=0.02)
    config = ServerConfig(url=server.url, model="m", max_in_flight=32, start_in_flight=2, backoff_s=0.01)
    with RequestLog(tmp_path) as log, ChatClient(config, log) as chat:
        list(chat.ask([request_for(f"calm {n}", schema=False) for n in range(120)]))
        assert chat.gate.limit == 32
        assert chat.gate.halvings == 0
        list(chat.ask([request_for(f"busy {n} @@429-now@@", schema=False) for n in range(8)]))
        assert chat.gate.halvings >= 1
        assert chat.gate.limit < 32
    assert server.stats()["most"] <= 32


def test_a_failing_server_that_asks_for_a_pause_gets_it(serve: Serve, request_for: Make, tmp_path: Path) -> None:
    start = time.monotonic()
    replies, counts = ask(tmp_path, serve().url, [request_for("@@500-wait@@")], backoff_s=0.001)
    assert replies[0].outcome == "answered"
    assert counts["sent again: server_error"] == 1
    assert time.monotonic() - start >= 1


def test_an_interruption_ends_at_once_and_keeps_what_was_logged(
    root: Path, serve: Serve, request_for: Make, tmp_path: Path
) -> None:
    server = serve(latency=0.2)
    program = [sys.executable, str(root / "tests" / "spinemed" / "chat" / "asker.py"), server.url]
    child = subprocess.Popen(
        [*program, str(tmp_path / "log"), str(tmp_path / "out"), "400", "4"],
        cwd=root,
        stderr=subprocess.PIPE,
        text=True,
    )
    while server.stats()["requests"] < 12:
        time.sleep(0.02)
    child.send_signal(signal.SIGINT)
    _, said = child.communicate(timeout=30)
    assert "KeyboardInterrupt" in said
    assert "never retrieved" not in said
    assert "Unclosed" not in said
    assert sum(line["kind"] == "reply" for line in lines(tmp_path / "log")) >= 4


def test_progress_says_what_is_under_way(
    serve: Serve, request_for: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = ServerConfig(url=serve().url, model="m")
    with RequestLog(tmp_path) as log, ChatClient(config, log) as chat, show_progress(chat, "asking", 2) as advance:
        list(chat.ask([request_for("one"), request_for("@@refusal@@")], advance))
    said = capsys.readouterr().err
    assert "2/2" in said
    assert "tokens, 1 without an answer" in said


def test_the_same_request_is_sent_once_even_at_the_same_time(serve: Serve, request_for: Make, tmp_path: Path) -> None:
    server = serve()
    replies, counts = ask(tmp_path, server.url, [request_for("twice")] * 5)
    assert len({r.key for r in replies}) == 1
    assert server.stats()["requests"] == 1
    assert counts["same request under way"] + counts.get("from the log", 0) == 4


def test_no_byte_leaves_for_a_host_that_the_source_does_not_permit(
    serve: Serve, request_for: Make, tmp_path: Path
) -> None:
    elsewhere = "http://203.0.113.7:9/v1"
    for policy in (Egress(), Egress(allow="listed", hosts=("gpu1.ward",))):
        with pytest.raises(EgressError, match="may not be sent to '203.0.113.7'") as refused:
            ask(tmp_path / "log", elsewhere, [request_for("Mr Cobb, born 1950", egress=policy)])
        assert "Cobb" not in str(refused.value)
    assert lines(tmp_path / "log") == [], "refused content reached the log"


def test_this_machine_may_be_called_localhost(serve: Serve, request_for: Make, tmp_path: Path) -> None:
    replies, _ = ask(tmp_path, serve().url.replace("127.0.0.1", "localhost"), [request_for("here", egress=Egress())])
    assert replies[0].outcome == "answered"


def test_a_name_that_does_not_resolve_is_a_failed_connection(request_for: Make, tmp_path: Path) -> None:
    anywhere = Egress(allow="any")
    requests = [request_for("there", egress=anywhere)]
    replies, _ = ask(tmp_path, "http://no-such-host.invalid/v1", requests, attempts=1, give_up_after=5)
    assert (replies[0].outcome, replies[0].reason) == ("failed", "connection")


def test_proxies_of_the_environment_are_not_used(
    serve: Serve, request_for: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy, server = serve(), serve()
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    replies, _ = ask(tmp_path, server.url, [request_for("straight")])
    assert replies[0].outcome == "answered"
    assert proxy.stats()["bytes"] < 200, "only our own question about the count"
    assert proxy.stats()["requests"] == 0


def test_a_refused_key_ends_the_run_and_is_not_shown(serve: Serve, request_for: Make, tmp_path: Path) -> None:
    server, secret = serve(), tmp_path / "key.txt"
    secret.write_text("sk-very-secret")
    with pytest.raises(ChatError, match="refuses the key") as refused:
        ask(tmp_path / "log", server.url, [request_for("@@401:0@@")], api_key_file=secret)
    assert "sk-very-secret" not in str(refused.value)


def test_a_key_that_cannot_be_read_is_said_before_anything_is_sent(serve: Serve, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="api_key_file"):
        ask(tmp_path / "log", "http://127.0.0.1:9/v1", [], api_key_file=tmp_path / "none.txt")
    with pytest.raises(ConfigError, match="no usable key"):
        ask(tmp_path / "log", "http://127.0.0.1:9/v1", [], api_key_env="SPINEMED_NO_SUCH_KEY")
    with pytest.raises(ValueError, match="no user, password"):
        ServerConfig(url="http://me:word@127.0.0.1/v1", model="m")


def test_a_dead_server_ends_the_run(request_for: Make, tmp_path: Path) -> None:
    requests = [request_for(f"hello {n}") for n in range(50)]
    with pytest.raises(ChatError, match="5 requests in a row without an answer"):
        ask(tmp_path, "http://127.0.0.1:9/v1", requests, attempts=2, give_up_after=5)


def test_a_pause_of_a_day_ends_the_run(serve: Serve, request_for: Make, tmp_path: Path) -> None:
    with pytest.raises(ChatError, match="pause of 86400 s"):
        ask(tmp_path, serve().url, [request_for("@@long-pause:0@@")])


@pytest.mark.parametrize("kind", ["tokens", "money"])
def test_a_budget_is_never_passed_and_what_was_under_way_is_kept(
    serve: Serve, request_for: Make, tmp_path: Path, kind: str
) -> None:
    server = serve(latency=0.02)
    requests = [request_for(f"count {n}", schema=False, max_tokens=100) for n in range(400)]
    prices = {"prompt_per_million": 1e6, "completion_per_million": 1e6}  # a token costs one
    settings = {"budget": {kind: 4000}, "prices": prices if kind == "money" else {}}
    with pytest.raises(BudgetError, match=f"budget.{kind}"):
        ask(tmp_path, server.url, requests, **settings)
    replied = [line for line in lines(tmp_path) if line["kind"] == "reply"]
    spent = sum(line["prompt_tokens"] + line["completion_tokens"] for line in replied)
    assert len(replied) == server.stats()["requests"], "a reply that was paid for is not in the log"
    assert 2000 < spent <= 4000
    # The spending of the first run counts in the second, which may not send anything.
    with pytest.raises(BudgetError):
        ask(tmp_path, server.url, requests, **settings)
    assert server.stats()["requests"] == len(replied)


def test_time_is_a_budget(serve: Serve, request_for: Make, tmp_path: Path) -> None:
    server = serve(latency=0.3, slots=1)
    start = time.monotonic()
    with pytest.raises(BudgetError, match="time budget"):
        ask(tmp_path, server.url, [request_for(f"slow {n}") for n in range(40)], budget={"seconds": 1.0})
    assert time.monotonic() - start < 8, "far less than forty slow replies"


def test_a_torn_last_line_is_cut_and_damage_elsewhere_is_named(tmp_path: Path) -> None:
    key = "ab" * 32
    with Log(tmp_path) as log:
        log.sent(key, attempt=1, tokens=70, money=0.5, request={"a": 1}, tag="", host="h")
        log.answered(key, attempt=1, status=200, reply="whole", seconds=0.1, usage=Usage(5, 6, 0.1))
        log.sent("cd" * 32, attempt=1, tokens=30, money=0.25, request=None, tag="", host="h")
    file = tmp_path / "log.jsonl"
    file.write_bytes(file.read_bytes() + b'{"key":"' + b"ef" * 20)
    with Log(tmp_path) as log:
        found = log.reply(key)
        assert found is not None
        assert found["reply"] == "whole"
        assert log.spent == Usage(5, 6, 0.1)
        assert (log.lost_tokens, log.lost_money) == (30, 0.25), "it left, and nobody knows what became of it"
        with pytest.raises(ChatError, match="another process writes this log"):
            Log(tmp_path)
        with Log(tmp_path, "other") as other:
            assert key in other, "one process reads what another has logged"
    (tmp_path / "plain").write_text("a file")
    with pytest.raises(ChatError, match="cannot be opened"):
        Log(tmp_path / "plain" / "log")
    file.write_bytes(b"noise\n" + file.read_bytes())
    with pytest.raises(ChatError, match=r"log.jsonl:1.*no line of a request log"):
        Log(tmp_path)
