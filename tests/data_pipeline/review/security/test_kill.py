"""`kill -9` of the real server while reviewers decide: every decision that was answered is there, and none twice.

The server is `spinemed review serve` as a child process, on SQLite and on PostgreSQL; decisions come from eight
connections at once, and the process is killed in the midst of them, then started again over the same database.
"""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import select, text

from data_pipeline.review.audit.chain import verify_log
from data_pipeline.review.protocol import SYSTEM, assign_run, open_session
from data_pipeline.review.store import Store
from data_pipeline.review.store.tables import Assignment

ROOT = Path(__file__).resolve().parents[4]


def serve(url: str, data: Path, log: Path) -> tuple[subprocess.Popen[str], str]:
    """The real command on a free port; returns the process and its address."""
    command = [sys.executable, "-m", "spinemed", "review", "serve", "--port", "0"]
    with log.open("a") as stream:
        child = subprocess.Popen(
            [*command, "--database", url, "--data", str(data)],
            stdout=subprocess.PIPE,
            stderr=stream,
            text=True,
            cwd=ROOT,
        )
    assert child.stdout is not None
    with child.stdout as said:
        line = said.readline()
    assert line.startswith("http://127.0.0.1:"), log.read_text()
    return child, line.strip()


def test_no_acknowledged_decision_is_lost_or_doubled(
    store: Store, database_url: str, tmp_path: Path, add_people: Callable, add_run: Callable
) -> None:
    people = add_people(store)
    run = add_run(store, items=60)
    with store.writing() as session:
        assign_run(session, SYSTEM, run.run_id, seed=1)
        sessions = {name: open_session(session, people[name].id) for name in ("a1", "a2", "b1", "b2", "c1", "c2")}
    with store.reading() as session:
        work = {
            name: list(session.scalars(
                select(Assignment.item_id).where(Assignment.user_id == people[name].id).order_by(Assignment.place)))
            for name in sessions
        }  # fmt: skip
    data, log = tmp_path / "data", tmp_path / "server.log"
    store.engine.dispose()
    acknowledged: list[tuple[str, int]] = []
    child, address = serve(database_url, data, log)
    enough = threading.Event()
    stopped = threading.Event()

    def review(name: str) -> None:
        token, csrf = sessions[name]
        with httpx.Client(base_url=address, cookies={"review_session": token}, headers={"X-CSRF-Token": csrf}) as http:
            for item in work[name]:
                form = {"verdict": "approved", "version": "1", "token": f"decision-{name}-{item}", "seconds": "3"}
                try:
                    answer = http.post(f"/items/{item}/decide", data=form, timeout=20)
                except httpx.TransportError:
                    return  # killed before it could answer
                assert answer.status_code == 303, answer.text[:2000]
                acknowledged.append((name, item))
                if len(acknowledged) >= 20:
                    enough.set()
                if stopped.is_set():
                    return

    threads = [threading.Thread(target=review, args=(name,)) for name in sessions]
    for thread in threads:
        thread.start()
    assert enough.wait(60), log.read_text()
    child.send_signal(signal.SIGKILL)
    child.wait(10)
    stopped.set()
    for thread in threads:
        thread.join(30)
    assert len(acknowledged) < sum(map(len, work.values()))  # it was killed in the midst
    kept = decisions(store)
    assert {(people[name].id, item) for name, item in acknowledged} <= kept.keys()
    assert set(kept.values()) == {1}

    # Started again, it answers a repeated decision as the one it is, and goes on.
    child, address = serve(database_url, data, log)
    try:
        name, item = acknowledged[-1]
        token, csrf = sessions[name]
        with httpx.Client(base_url=address, cookies={"review_session": token}, headers={"X-CSRF-Token": csrf}) as http:
            form = {"verdict": "approved", "version": "1", "token": f"decision-{name}-{item}", "seconds": "3"}
            assert http.post(f"/items/{item}/decide", data=form, timeout=20).status_code == 303
            following = re.search(r"/items/(\d+)", http.get("/queue").text)
            assert following
    finally:
        child.send_signal(signal.SIGINT)
        child.wait(20)
    assert set(decisions(store).values()) == {1}
    with store.reading() as session:
        assert verify_log(session) == []


def decisions(store: Store) -> dict[tuple[int, int], int]:
    """How many decisions there are of each person on each item."""
    with store.reading() as session:
        rows: Any = session.execute(text("SELECT user_id, item_id, count(*) FROM decisions GROUP BY user_id, item_id"))
        return {(user, item): count for user, item, count in rows}
