"""A served model: outcomes told apart, never asked twice, nothing sent where it may not go."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from bench.runner import LOCK_FILE, PREDICTIONS_FILE, Predictions, Request, predict_samples
from bench.runner.predict import _blocks
from bench.runner.server import ServerAnswerer, chat_request
from bench.samples import read_samples, write_samples
from spinemed.chat import LOCAL, Budget, BudgetError, ChatError, Decoding, EgressError, ServerConfig, request_key
from spinemed.errors import RunError
from spinemed.records import Message

Serve = Callable[..., Any]


def ask(url: str, samples: Path, out: Path, **more: Any) -> Predictions:
    """Ask a server everything, giving up on a request soon."""
    settings: dict[str, Any] = {"attempts": 2, "overload_attempts": 2, "backoff_s": 0.01, "timeout_s": 5.0}
    config = ServerConfig(url=url, model="tiny", **{**settings, **more})
    with ServerAnswerer(config, out.with_suffix(".requests"), decoding=Decoding(max_tokens=32)) as answerer:
        return predict_samples(samples, answerer, out, name="tiny", order="picture", block_size=2048)


@pytest.fixture
def marked(tmp_path: Path, write_release: Callable[..., Path], make_row: Callable[..., Any]) -> Path:
    """Six questions that a server answers in six ways, and one that it answers on the second try."""
    faults = ("refusal", "length", "429-now", "500", "400", "timeout", "garbage", "empty")
    rows = [make_row(f"q-{name}", f"<image>Which one? @@{name}:0@@", "L1", "level") for name in faults]
    rows += [make_row(f"q-{name}", f"<image>Which one? {name}", "L1", "level") for name in ("plain", "@@500@@")]
    release = write_release(tmp_path / "release", train=[make_row("t", "<image>Other?", "L1", "level")], test=rows)
    write_samples(release, tmp_path / "samples")
    return tmp_path / "samples"


def test_what_became_of_each_request_is_told_apart(serve: Serve, marked: Path, tmp_path: Path) -> None:
    done = ask(serve().url, marked, tmp_path / "p", timeout_s=0.5).by_sample
    outcomes = {name.removeprefix("q-"): one.outcome for name, one in done.items()}
    assert outcomes == {
        "refusal": "refused",
        "length": "truncated",
        "429-now": "api_error",
        "500": "api_error",
        "garbage": "api_error",
        "400": "failed",
        "timeout": "timed_out",
        "empty": "answered",
        "plain": "answered",
        "@@500@@": "answered",
    }
    assert done["q-plain"].text.startswith("The answer to ")
    assert done["q-429-now"].detail.startswith("overloaded")
    assert done["q-400"].detail == "rejected: status 400"  # not the server's words, which repeat the key
    assert {one.text for one in done.values() if one.outcome != "answered"} == {""}


def test_the_lock_names_what_the_replies_rest_on(serve: Serve, samples_folder: Path, tmp_path: Path) -> None:
    server = serve()
    locks = []
    for name, revision in (("a", "1"), ("b", "1"), ("c", "2")):
        done = ask(server.url, samples_folder, tmp_path / name, revision=revision)
        locks.append(json.loads((tmp_path / name / LOCK_FILE).read_bytes()))
        assert {one.model for one in done.by_sample.values()} == {f"tiny@{revision}"}
        assert "lock.json" in done.manifest["files"]
    assert locks[0] == locks[1]
    assert locks[0] != locks[2]
    assert locks[0]["picture_sizes_px"] == {"32x48": 80}
    assert locks[0]["prompts_that_begin_with_theirs"] == locks[0]["prompts_with_pictures"] == 80
    assert locks[0]["prompts"] == 120
    assert locks[0]["decoding"]["temperature"] == 0
    assert locks[0]["identity"]["server"]["revision"] == "1"
    assert "python" in locks[0]["versions"]


def test_a_finished_log_answers_without_a_server_until_the_revision_changes(
    serve: Serve, samples_folder: Path, tmp_path: Path
) -> None:
    server = serve()
    first = ask(server.url, samples_folder, tmp_path / "p").by_sample
    for path in (tmp_path / "p").iterdir():
        path.unlink()
    (tmp_path / "p").rmdir()
    server.stop()
    assert ask(server.url, samples_folder, tmp_path / "p").by_sample == first
    (tmp_path / "p").rename(tmp_path / "old")
    with pytest.raises(ChatError, match="in a row without an answer"):
        ask(server.url, samples_folder, tmp_path / "p", revision="2", attempts=1)
    with pytest.raises(RunError, match="another model"):
        ask(server.url, samples_folder, tmp_path / "old", revision="2")


def test_questions_about_one_picture_are_asked_together(tmp_path: Path, make_row: Any, write_release: Any) -> None:
    pictures = [make_row(f"x{n}", "<image>?", "L1", "level").images for n in range(3)]
    rows = [
        make_row(f"q{n}{place}", "<image>" + "Which? " * (1 + n), "L1", "level", images=images, group_id=f"g{place}")
        for n in range(4)
        for place, images in enumerate(pictures)
    ]
    write_samples(write_release(tmp_path / "release", test=rows), tmp_path / "samples")
    (block,) = _blocks(read_samples(tmp_path / "samples")[0], 99, "picture")
    asked = [sample.images[0] for sample in block]
    assert sum(path != after for path, after in pairwise(asked)) == 2


def test_a_question_is_sent_word_for_word() -> None:
    words = "<image>\nWhich one?\n"
    picture = b"\x89PNG\r\n\x1a\n"
    asked = chat_request(Request("q", (Message(role="user", content=words),), (picture,)), Decoding(), LOCAL)
    (turn,) = asked.content(with_images=True)
    assert [part.get("text", "<image>") for part in turn["content"]] == ["<image>", "\nWhich one?\n"]
    assert request_key(asked, {}) != request_key(replace(asked, verbatim=False), {})


def test_nothing_leaves_this_machine_unless_told(samples_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(EgressError, match="may not be sent to 'models.example'"):
        ask("https://models.example/v1", samples_folder, tmp_path / "p")
    assert not (tmp_path / "p.requests").exists()


def test_a_budget_ends_the_run_and_a_larger_one_goes_on(serve: Serve, samples_folder: Path, tmp_path: Path) -> None:
    server = serve()
    with pytest.raises(BudgetError, match="tokens are spent"):
        ask(server.url, samples_folder, tmp_path / "p", budget=Budget(tokens=20_000))
    before = server.stats()["requests"]
    done = ask(server.url, samples_folder, tmp_path / "p")
    assert 0 < before < len(done.by_sample)
    assert set(server.stats()["seen"].values()) == {1}


CHILD = """
import sys
from pathlib import Path
from bench.runner import predict_samples
from bench.runner.server import ServerAnswerer, chat_request
from spinemed.chat import Decoding, ServerConfig
url, samples, out, flight = sys.argv[1:]
config = ServerConfig(url=url, model="tiny", max_in_flight=int(flight), start_in_flight=int(flight))
with ServerAnswerer(config, out + ".requests", decoding=Decoding(max_tokens=32)) as answerer:
    predict_samples(samples, answerer, out, name="tiny", order="picture", block_size=2048)
"""


def test_killed_with_nine_it_repeats_at_most_what_was_under_way(
    serve: Serve, samples_folder: Path, tmp_path: Path
) -> None:
    server, flight = serve(latency=0.05), 4
    command = [sys.executable, "-c", CHILD, server.url, str(samples_folder), str(tmp_path / "killed"), str(flight)]
    child = subprocess.Popen(command)
    deadline = time.monotonic() + 60
    while server.stats()["requests"] < 20:
        assert time.monotonic() < deadline
        assert child.poll() is None, "the child ended before it could be killed"
        time.sleep(0.02)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert not (tmp_path / "killed" / PREDICTIONS_FILE).exists()
    assert subprocess.run(command, check=False, timeout=60).returncode == 0
    asked = server.stats()["seen"]
    assert len(asked) == len(read_samples(samples_folder)[0])
    assert max(asked.values()) <= 2
    assert sum(asked.values()) - len(asked) <= flight
    whole = serve()
    command = [sys.executable, "-c", CHILD, whole.url, str(samples_folder), str(tmp_path / "whole"), "16"]
    assert subprocess.run(command, check=False, timeout=60).returncode == 0
    for name in (PREDICTIONS_FILE, LOCK_FILE, "manifest.json"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
