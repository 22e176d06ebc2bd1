"""One predictions folder, any number of workers: each block asked once, the same bytes, killed ones replaced."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from bench.runner import PREDICTIONS_FILE, ScriptedAnswerer, predict_samples
from bench.runner.crew import Work, predict_together
from bench.samples import read_samples
from spinemed.chat import RequestLog, Usage
from spinemed.errors import ModelError, RunError

FILES = (PREDICTIONS_FILE, "manifest.json", "lock.json")
CHILD = """
import os, sys, time
from bench.runner import ScriptedAnswerer, predict_samples
from bench.samples import read_samples

class Noted(ScriptedAnswerer):
    def answer(self, requests):
        with open(sys.argv[4], "a") as stream:
            stream.write("".join(f"{one.sample_id}\\n" for one in requests))
        return super().answer(requests)

samples, _ = read_samples(sys.argv[1])
answerer = Noted({sample.id: f"reply to {sample.id}" for sample in samples}, seconds=float(sys.argv[5]))
predict_samples(sys.argv[1], answerer, sys.argv[2], name="slow", block_size=5, worker=sys.argv[3] or None)
"""


@contextmanager
def scripted(worker: str, samples: Path, seconds: float = 0.0, broken: str | None = None) -> Iterator[ScriptedAnswerer]:
    """Made in each worker; `broken` raises in the worker of that name."""
    if worker == broken:
        raise ModelError("is no checkpoint", cure="give another")
    listed, _ = read_samples(samples)
    yield ScriptedAnswerer({one.id: f"reply to {one.id}" for one in listed}, seconds=seconds)


@pytest.fixture
def whole(samples_folder: Path, tmp_path: Path) -> Path:
    """What one process writes, alone and undisturbed."""
    with scripted("", samples_folder) as answerer:
        predict_samples(samples_folder, answerer, tmp_path / "whole", name="slow", block_size=5)
    return tmp_path / "whole"


def start(samples: Path, out: Path, worker: str, log: Path, seconds: float = 0.01) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", CHILD, str(samples), str(out), worker, str(log), str(seconds)]
    return subprocess.Popen(command, stderr=subprocess.PIPE)


def wait_for_blocks(out: Path, count: int, journal: str = ".journal*.jsonl") -> None:
    deadline = time.monotonic() + 60
    while sum(path.read_bytes().count(b"\n") for path in out.glob(journal)) < count:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_one_two_one_killed_in_between_gives_the_same_bytes(samples_folder: Path, whole: Path, tmp_path: Path) -> None:
    out, log = tmp_path / "p", tmp_path / "asked"
    alone = start(samples_folder, out, "", log)
    wait_for_blocks(out, 4)
    alone.send_signal(signal.SIGKILL)
    alone.communicate()
    before = sum(path.read_bytes().count(b"\n") for path in out.glob(".journal*.jsonl"))
    two = [start(samples_folder, out, name, log) for name in ("a", "b")]
    wait_for_blocks(out, before + 6, ".journal-*.jsonl")
    assert all((out / f".journal-{name}.jsonl").is_file() for name in "ab")
    for process in two:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert not (out / PREDICTIONS_FILE).exists()
    last = start(samples_folder, out, "", log, seconds=0)
    _, error = last.communicate(timeout=60)
    assert last.returncode == 0, error.decode()
    for name in FILES:
        assert (out / name).read_bytes() == (whole / name).read_bytes()
    asked = Counter(log.read_text().split())
    assert len(asked) == len(read_samples(samples_folder)[0])
    assert sum(asked.values()) - len(asked) <= 3 * 5  # the block in flight of each that was killed


def test_workers_share_blocks_and_none_is_asked_twice(samples_folder: Path, whole: Path, tmp_path: Path) -> None:
    log, out = tmp_path / "asked", tmp_path / "p"
    three = [start(samples_folder, out, name, log) for name in ("a", "b", "c")]
    for process in three:
        _, error = process.communicate(timeout=60)
        assert process.returncode == 0, error.decode()
    asked = Counter(log.read_text().split())
    assert set(asked.values()) == {1}
    assert len(asked) == len(read_samples(samples_folder)[0])
    for name in FILES:
        assert (out / name).read_bytes() == (whole / name).read_bytes()


def work(samples: Path, out: Path, **more: object) -> Work:
    return Work(samples, out, "slow", "full", 5, "shape", partial(scripted, samples=samples, **more))  # type: ignore[arg-type]


def test_a_crew_replaces_a_killed_worker(samples_folder: Path, whole: Path, tmp_path: Path) -> None:
    out, steps = tmp_path / "p", []
    killed: list[int] = []

    def advance(number: int) -> None:
        steps.append(number)
        if not killed:
            children = [int(line) for line in _children()]
            killed.append(children[0])
            os.kill(children[0], signal.SIGKILL)

    done = predict_together(work(samples_folder, out, seconds=0.02), workers=2, advance=advance)
    assert killed
    assert sum(steps) == len(done.by_sample)
    for name in FILES:
        assert (out / name).read_bytes() == (whole / name).read_bytes()


def _children() -> list[str]:
    """Workers of this process: spawned children that run our crew, the resource tracker not among them."""
    import multiprocessing

    return [str(child.pid) for child in multiprocessing.active_children()]


def test_an_error_of_a_worker_is_the_crews(samples_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="is no checkpoint"):
        predict_together(work(samples_folder, tmp_path / "p", seconds=0.05, broken="w1"), workers=2)
    assert not (tmp_path / "p" / PREDICTIONS_FILE).exists()


def test_who_works_alone_and_who_together_are_told_apart(samples_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "p"
    first = start(samples_folder, out, "a", tmp_path / "asked", seconds=0.05)
    try:
        wait_for_blocks(out, 1)
        with scripted("", samples_folder) as answerer:
            with pytest.raises(RunError, match="another process"):
                predict_samples(samples_folder, answerer, out, name="slow", block_size=5)
            with pytest.raises(RunError, match="a worker called a"):
                predict_samples(samples_folder, answerer, out, name="slow", block_size=5, worker="a")
            with pytest.raises(RunError, match="another model"):
                predict_samples(samples_folder, answerer, out, name="slow", block_size=6, worker="b")
    finally:
        first.kill()
        first.communicate()


def test_ray_workers_give_the_same_bytes(samples_folder: Path, whole: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    predict_together(work(samples_folder, tmp_path / "p"), workers=2, engine="ray")
    for name in FILES:
        assert (tmp_path / "p" / name).read_bytes() == (whole / name).read_bytes()
    assert json.loads((whole / "manifest.json").read_bytes())["predictions"] == 120


def test_a_worker_finds_what_another_one_logged_since_it_began(tmp_path: Path) -> None:
    key = "ab" * 32
    with RequestLog(tmp_path, "w0") as first, RequestLog(tmp_path, "w1") as second:
        first.answered(key, attempt=1, status=200, reply="L3", seconds=0.1, usage=Usage(1, 1))
        assert second.reply(key) is None
        second.refresh()
        found = second.reply(key)
        assert found is not None
        assert found["reply"] == "L3"
        second.refresh()
        assert len(second) == 1
