"""Killed at any moment, a run repeats at most what was under way and ends with the same bytes."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

NUMBER, IN_FLIGHT = 120, 8


def test_a_killed_run_repeats_only_what_was_under_way(root: Path, serve: Callable[..., Any], tmp_path: Path) -> None:
    server = serve(latency=0.05)
    program = [sys.executable, str(root / "tests" / "spinemed" / "chat" / "asker.py"), server.url]
    told = [str(NUMBER), str(IN_FLIGHT)]
    log, out = tmp_path / "log", tmp_path / "killed.json"
    for enough in (15, 70):
        child = subprocess.Popen([*program, str(log), str(out), *told], cwd=root)
        deadline = time.monotonic() + 60
        while server.stats()["requests"] < enough and time.monotonic() < deadline:
            time.sleep(0.01)
        child.kill()
        assert child.wait() < 0, "it was over before it was killed"
    assert not out.exists()
    subprocess.run([*program, str(log), str(out), *told], cwd=root, check=True)
    stats = server.stats()
    repeated = sum(count - 1 for count in stats["seen"].values())
    assert repeated <= 2 * IN_FLIGHT

    fresh = serve(latency=0.0)
    plain = tmp_path / "plain.json"
    program[-1] = fresh.url
    subprocess.run([*program, str(tmp_path / "log2"), str(plain), *told], cwd=root, check=True)
    assert plain.read_bytes() == out.read_bytes()
    assert b"quarantined" in plain.read_bytes()
    assert b"not_json" in plain.read_bytes()
    assert set(fresh.stats()["seen"]) == set(stats["seen"])
    assert max(fresh.stats()["seen"].values()) == 1
