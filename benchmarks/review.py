"""Twenty reviewers, one page a second each, over a queue of 50,000 items: page times, and no lost or doubled decision.

    python -m benchmarks.review [--items 50000] [--reviewers 20] [--seconds 300] [--database postgresql] [--out FILE]
    python -m benchmarks.review --database sqlite --reviewers 5 10 20 40     # how far SQLite goes

The queue is computed and loaded first, untimed: a tenth of the items for a benchmark (two reviewers each), the rest for
training. Then `spinemed review serve` runs as a child process over PostgreSQL (a server of this run alone, with its
ordinary durability) or SQLite, and the reviewers run here, in one asyncio process with aiohttp, on the same cores.
Each second each of them does what a person does: 17 of 20 times approve or reject and get the next item, else flag a
sentence or look at the queue. A page time runs from the moment at which the page was due, through the redirect, to its
last byte, so a server that falls behind cannot hide it. Logins and pictures are left out. Afterwards every answered
decision is looked up: one row each, no other row, a whole log.

Trap: start it as a module from the project's folder; started by its path it would find `benchmarks/data_pipeline.py`
in the place of the package.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import psutil
from argon2 import PasswordHasher
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError

from data_pipeline.review.audit.chain import verify_log
from data_pipeline.review.exchange.loading import NewItem, load_items
from data_pipeline.review.protocol import SYSTEM, add_user, assign_run, draw_plan, open_session
from data_pipeline.review.protocol.passwords import set_hasher
from data_pipeline.review.store import Store, open_store
from data_pipeline.review.store.tables import EvidenceRow, ReviewRun, now
from spinemed.anatomy import Level
from spinemed.records import Evidence, Instance, Message, Option, Span, Writer

ROOT = Path(__file__).resolve().parent.parent
PASSAGE = (
    "Disc herniation at L4/5 is common and presses on the L5 root. Most patients improve within six weeks without an "
    "operation. Weakness that grows, or trouble with the bladder, calls for a surgeon on the same day. "
) * 6
PASSWORD = "nobody logs in with it"
VERSION = re.compile(r'name="version"[^>]*value="(\d+)"')


@contextmanager
def postgresql(folder: Path) -> Iterator[str]:
    """A PostgreSQL of this run alone on a socket; the URL of a fresh database. `initdb` refuses root."""
    binaries = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not binaries:
        raise SystemExit("PostgreSQL is not installed")
    who: dict[str, Any] = {}
    if os.geteuid() == 0:
        owner = pwd.getpwnam("postgres")
        os.chown(folder, owner.pw_uid, owner.pw_gid)
        who = {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []}
    data, run = folder / "pg", {"cwd": folder, **who}
    subprocess.run([binaries[-1] / "initdb", "-D", data, "-U", "review", "-A", "trust", "-E", "UTF8", "--locale=C"],
                   check=True, capture_output=True, **run)  # fmt: skip
    with (folder / "pg.log").open("wb") as log:
        server = subprocess.Popen([binaries[-1] / "postgres", "-D", data, "-k", folder, "-h", ""], stdout=log,
                                  stderr=log, **run)  # fmt: skip
        try:
            admin = create_engine(f"postgresql+psycopg://review@/postgres?host={folder}", isolation_level="AUTOCOMMIT")
            for attempt in range(200):
                try:
                    with admin.connect() as connection:
                        connection.execute(text("CREATE DATABASE review"))
                    break
                except OperationalError:
                    if server.poll() is not None or attempt == 199:
                        raise
                    time.sleep(0.1)
            admin.dispose()
            yield f"postgresql+psycopg://review@/review?host={folder}"
        finally:
            server.send_signal(signal.SIGINT)
            server.wait(60)


def instance_of(number: int) -> Instance:
    """One question with its answer, of ordinary length."""
    return Instance(
        id=f"load-{number:06d}", stage="revised", parent_id=f"load-{number:06d}-draft", source_id="load",
        group_id=f"load:{number // 5}", origin="real", axis="pathology", task="multiple_choice",
        messages=(
            Message(role="user", content=f"Case {number}. A man of {30 + number % 50} has had pain down the left leg "
                    "for three weeks and cannot lift the big toe. Which disc is the likeliest to be herniated?\n"
                    "A. L3/4\nB. L4/5\nC. L5/S1\nD. L2/3"),
            Message(role="assistant", content="B"),
        ),
        answer="B", answer_kind="option",
        options=tuple(Option(key=key, text=disc) for key, disc in zip("ABCD", ("L3/4", "L4/5", "L5/S1", "L2/3"),
                                                                      strict=True)),
        levels=(Level.L4, Level.L5),
        evidence=(Evidence(kind="span", id=f"span-{number % 200}", sha256="1" * 64,
                           quote="Disc herniation at L4/5 is common and presses on the L5 root."),),
        writer=Writer(name="load", version="1", prompt_sha256="3" * 64, request_sha256="4" * 64, model="rules"),
        tags=("side:left",),
    )  # fmt: skip


def fill(store: Store, items: int, reviewers: int) -> dict[str, tuple[str, str]]:
    """Users, items, assignments and open sessions; the sessions' tokens by user."""
    set_hasher(PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
    with store.writing() as session:
        users = {f"r{n:03d}": add_user(session, SYSTEM, f"r{n:03d}", PASSWORD, ["reviewer"], group="ABC"[n % 3])
                 for n in range(reviewers)}  # fmt: skip
        digest = hashlib.sha256(b"load").hexdigest()
        run = ReviewRun(name="load", folder="/load", revised_sha256=digest, imported_at=now(), account={})
        session.add(run)
        session.flush()
        spans = [
            EvidenceRow(
                run_id=run.id, kind="span", ref_id=f"span-{n}", document_id="doc",
                record=Span(id=f"span-{n}", document_id="doc", kind="paragraph", start=0, end=len(PASSAGE),
                            text=PASSAGE, section="Discs").model_dump_json(),
            )
            for n in range(200)
        ]  # fmt: skip
        session.add_all(spans)
        session.flush()
        for start in range(0, items, 5_000):
            made = []
            for number in range(start, min(items, start + 5_000)):
                one = instance_of(number)
                purpose = "benchmark" if number % 10 == 0 else "training"
                made.append(NewItem(one, None, purpose, evidence=(spans[number % 200].id,)))  # type: ignore[arg-type]
            load_items(session, run.id, made)
        draw_plan(session, SYSTEM, run.id, training_share=1.0, seed=1)
        assign_run(session, SYSTEM, run.id, seed=1)
        return {name: open_session(session, user) for name, user in users.items()}


class Load:
    """The reviewers of one run and what they met."""

    def __init__(self, address: str, seconds: float, pace_s: float, label: str) -> None:
        self.address, self.seconds, self.pace_s, self.label = address, seconds, pace_s, label
        self.pages: list[float] = []
        """Milliseconds from due to done."""
        self.decided: list[str] = []
        """Tokens of decisions that were answered."""
        self.faults: Counter[str] = Counter()

    async def review(self, name: str, session: tuple[str, str], seed: int) -> None:
        """One person until the time is over."""
        rng = np.random.default_rng([seed, int(name[1:])])
        token, csrf = session
        async with aiohttp.ClientSession(
            self.address, cookies={"review_session": token}, headers={"X-CSRF-Token": csrf},
            connector=aiohttp.TCPConnector(limit=1), cookie_jar=aiohttp.CookieJar(unsafe=True),
        ) as http:  # fmt: skip
            body = await self._follow(http, "/queue")
            found = re.search(r"/items/(\d+)", body)
            if found is None:
                self.faults["no item"] += 1
                return
            item = int(found[1])
            body = await self._follow(http, f"/items/{item}")
            due = time.perf_counter() + self.pace_s * float(rng.random())
            end, number = time.perf_counter() + self.seconds, 0
            while due < end:
                await asyncio.sleep(max(0.0, due - time.perf_counter()))
                number += 1
                item, body = await self._act(http, name, item, body, number, float(rng.random()))
                self.pages.append(1000 * (time.perf_counter() - due))
                due += self.pace_s

    async def _act(
        self, http: aiohttp.ClientSession, name: str, item: int, body: str, number: int, chance: float
    ) -> Any:
        token = f"{self.label}-{name}-{number:05d}"
        if chance < 0.05:
            await self._follow(http, "/queue")
            return item, body
        if chance < 0.15:
            form = {"place": "0-0-8", "kind": "unsupported", "token": token}
            async with http.post(f"/items/{item}/flags", data=form, allow_redirects=False) as answer:
                await self._expect(answer, 303)
            return item, await self._follow(http, f"/items/{item}")
        version = VERSION.search(body)
        form = {"verdict": "approved" if chance < 0.9 else "rejected", "version": version[1] if version else "0",
                "token": token, "seconds": "20", "cause": "" if chance < 0.9 else "ambiguous"}  # fmt: skip
        async with http.post(f"/items/{item}/decide", data=form, allow_redirects=False) as answer:
            await self._expect(answer, 303)
            if answer.status != 303:
                return item, await self._follow(http, f"/items/{item}")
            address = answer.headers["Location"]
        self.decided.append(token)
        found = re.search(r"/items/(\d+)", address)
        return int(found[1]) if found else item, await self._follow(http, address)

    async def _follow(self, http: aiohttp.ClientSession, address: str) -> str:
        async with http.get(address, allow_redirects=False) as answer:
            await self._expect(answer, 200)
            return await answer.text()

    async def _expect(self, answer: aiohttp.ClientResponse, status: int) -> None:
        if answer.status != status:
            self.faults[f"{answer.method} {re.sub(r'[0-9]+', 'N', answer.url.path)}: {answer.status}"] += 1


@contextmanager
def serving(url: str, data: Path) -> Iterator[tuple[str, psutil.Process]]:
    """`spinemed review serve` as a child process; its address, and the process."""
    command = [
        sys.executable,
        "-m",
        "spinemed",
        "review",
        "serve",
        "--port",
        "0",
        "--database",
        url,
        "--data",
        str(data),
    ]
    child = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout is not None
        yield child.stdout.readline().strip(), psutil.Process(child.pid)
    finally:
        child.send_signal(signal.SIGINT)
        child.wait(60)


def measure(
    store: Store, url: str, sessions: dict[str, tuple[str, str]], seconds: float, pace_s: float
) -> dict[str, Any]:
    """One load with these reviewers: page times and the account of decisions."""
    label = f"load{len(sessions)}"
    store.engine.dispose()
    with serving(url, store.data) as (address, server):
        load = Load(address, seconds, pace_s, label)
        warm = Load(address, 3, pace_s, f"warm{len(sessions)}")

        async def everybody(which: Load) -> None:
            await asyncio.gather(*(which.review(name, one, len(sessions)) for name, one in sessions.items()))

        asyncio.run(everybody(warm))
        start, before = time.perf_counter(), server.cpu_times()
        asyncio.run(everybody(load))
        took, after = time.perf_counter() - start, server.cpu_times()
        spent = after.user + after.system - before.user - before.system
    with store.reading() as session:
        rows = session.execute(
            text("SELECT token, count(*) AS n FROM decisions WHERE token LIKE :label GROUP BY token"),
            {"label": f"{label}-%"},
        ).all()
        twice = session.scalar(text(
            "SELECT count(*) FROM (SELECT assignment_id FROM decisions GROUP BY assignment_id HAVING count(*) > 1) AS d"
        ))  # fmt: skip
        faults = verify_log(session)
    stored = {row.token for row in rows}
    p50, p95, p99 = np.percentile(load.pages, [50, 95, 99]) if load.pages else (np.nan,) * 3
    return {
        "reviewers": len(sessions), "seconds": round(took, 1), "pages": len(load.pages),
        "pages_per_s": round(len(load.pages) / took, 2), "p50_ms": round(float(p50), 1), "p95_ms": round(float(p95), 1),
        "p99_ms": round(float(p99), 1), "max_ms": round(max(load.pages, default=0.0), 1),
        "decisions": len(load.decided),
        "server_cpu_ms_per_page": round(1000 * spent / max(len(load.pages), 1), 1),
        "lost": len(set(load.decided) - stored),
        "unanswered": len(stored - set(load.decided)), "doubled": int(twice or 0), "log_faults": len(faults),
        "faults": dict(load.faults),
    }  # fmt: skip


def main() -> None:
    """Fill, serve, load, account."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--items", type=int, default=50_000)
    parser.add_argument("--reviewers", type=int, nargs="+", default=[20], help="one run for each number, in this order")
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--pace", type=float, default=1.0, help="seconds between two pages of one reviewer")
    parser.add_argument("--database", choices=["postgresql", "sqlite"], default="postgresql")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    home = Path(tempfile.mkdtemp(prefix="review-load-", dir="/tmp"))  # the path of a socket is short
    try:
        with postgresql(home) if given.database == "postgresql" else _sqlite(home) as url:
            store = open_store(url, home / "data")
            start = time.monotonic()
            sessions = fill(store, given.items, max(given.reviewers))
            found: dict[str, Any] = {"database": given.database, "items": given.items, "pace_s": given.pace,
                                     "fill_s": round(time.monotonic() - start, 1), "runs": []}  # fmt: skip
            for count in given.reviewers:
                chosen = dict(list(sessions.items())[:count])
                found["runs"].append(measure(store, url, chosen, given.seconds, given.pace))
                print(json.dumps(found["runs"][-1]), flush=True)
            store.close()
    finally:
        shutil.rmtree(home, ignore_errors=True)
    if given.out is not None:
        given.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(found, indent=1))


@contextmanager
def _sqlite(folder: Path) -> Iterator[str]:
    yield f"sqlite:///{folder / 'review.db'}"


if __name__ == "__main__":
    main()
