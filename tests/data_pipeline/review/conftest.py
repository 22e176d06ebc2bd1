"""A review in each database: SQLite always, PostgreSQL where its programs are installed (skipped with a reason else).

Convention: PostgreSQL is started once per session in a folder of its own, on a socket alone, and every test gets a copy
of one migrated database. Passwords are hashed at the lowest cost, or every login would take a tenth of a second.
"""

from __future__ import annotations

import hashlib
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from argon2 import PasswordHasher
from sqlalchemy import create_engine, text

from data_pipeline.review.exchange.loading import NewItem, load_items
from data_pipeline.review.protocol import SYSTEM, Actor, actor_of, add_user, assign_run, draw_plan
from data_pipeline.review.protocol.passwords import set_hasher
from data_pipeline.review.store import Store, open_store, upgrade
from data_pipeline.review.store.tables import EvidenceRow, ReviewRun, now
from spinemed.records import Document, Evidence, Instance, Message, Option, Span, Writer

PASSWORD = "a password of the tests"


@pytest.fixture(scope="session", autouse=True)
def cheap_passwords() -> Iterator[None]:
    """Hash passwords at the lowest cost."""
    before = set_hasher(PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
    yield
    set_hasher(before)


# --- databases -------------------------------------------------------------------------------------------------------


def _postgres_binaries() -> Path | None:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if found:
        return found[-1].parent
    there = shutil.which("initdb")
    return Path(there).parent if there else None


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """URL of a PostgreSQL of this session, without a database's name: `postgresql+psycopg://...?host=SOCKET`."""
    binaries = _postgres_binaries()
    if binaries is None:
        pytest.skip("PostgreSQL is not installed: no initdb")
    root = os.geteuid() == 0
    owner = None
    if root:  # initdb refuses root
        try:
            owner = pwd.getpwnam("postgres")
        except KeyError:
            pytest.skip("PostgreSQL refuses root, and there is no user postgres to start it as")
    home = Path(tempfile.mkdtemp(prefix="spinemed-pg-", dir="/tmp"))  # a socket's path is short
    who: dict[str, Any] = {}
    if owner is not None:
        os.chown(home, owner.pw_uid, owner.pw_gid)
        who = {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []}
    data = home / "data"
    subprocess.run(
        [binaries / "initdb", "-D", data, "-U", "review", "-A", "trust", "-E", "UTF8", "--locale=C", "-N"],
        check=True, capture_output=True, cwd=home, **who,
    )  # fmt: skip
    log = (home / "log").open("wb")
    server = subprocess.Popen(
        [
            binaries / "postgres", "-D", data, "-k", home, "-h", "", "-c", "fsync=off", "-c", "full_page_writes=off",
            "-c", "synchronous_commit=off", "-c", "max_connections=120", "-c", "shared_buffers=64MB",
        ],
        stdout=log, stderr=log, cwd=home, **who,
    )  # fmt: skip
    try:
        url = f"postgresql+psycopg://review@/{{name}}?host={home}"
        _wait(url.format(name="postgres"), server)
        engine = create_engine(url.format(name="postgres"), isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(text("CREATE DATABASE template_review"))
        engine.dispose()
        first = create_engine(url.format(name="template_review"))
        upgrade(first)
        first.dispose()
        yield url
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(20)
        log.close()
        shutil.rmtree(home, ignore_errors=True)


def _wait(url: str, server: subprocess.Popen[bytes]) -> None:
    engine = create_engine(url)
    for _ in range(200):
        try:
            with engine.connect():
                pass
            engine.dispose()
            return
        except Exception:
            if server.poll() is not None:
                raise
            time.sleep(0.05)
    pytest.fail("PostgreSQL did not start within ten seconds")


@pytest.fixture(scope="session")
def _names() -> Iterator[int]:
    return iter(range(10_000))


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path, _names: Iterator[int]) -> Iterator[str]:
    """URL of a migrated database without a row, in SQLite and in PostgreSQL."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'review.db'}"
        return
    server: str = request.getfixturevalue("postgres_server")
    name = f"review_{next(_names)}"
    admin = create_engine(server.format(name="postgres"), isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name} TEMPLATE template_review"))
    admin.dispose()
    yield server.format(name=name)
    with admin.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    admin.dispose()


@pytest.fixture
def store(database_url: str, tmp_path: Path) -> Iterator[Store]:
    """An open review without users and items, in each database."""
    opened = open_store(database_url, tmp_path / "data")
    yield opened
    opened.close()


@pytest.fixture
def sqlite_store(tmp_path: Path) -> Iterator[Store]:
    """An open review in SQLite alone, for tests that a database cannot change."""
    opened = open_store(f"sqlite:///{tmp_path / 'only.db'}", tmp_path / "only-data")
    yield opened
    opened.close()


# --- people and items ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class People:
    """The users of a test by pseudonym; all have the same password."""

    by_name: dict[str, Actor]
    password: str = PASSWORD

    def __getitem__(self, name: str) -> Actor:
        return self.by_name[name]


@pytest.fixture(scope="session")
def add_people() -> Callable[[Store], People]:
    """Make users: reviewers a1, a2, b1, b2, c1, c2 in groups A, B, C, and one of each other role."""

    def add(store: Store) -> People:
        with store.writing() as session:
            ids = {
                name: add_user(
                    session, SYSTEM, name, PASSWORD, ["reviewer"], specialty="spine surgery", years=10 + place,
                    group=name[0].upper(),
                )
                for place, name in enumerate(("a1", "a2", "b1", "b2", "c1", "c2"))
            }  # fmt: skip
            for name, role in (
                ("judge", "adjudicator"), ("manager", "data_manager"), ("root", "admin"), ("auditor", "auditor"),
            ):  # fmt: skip
                ids[name] = add_user(session, SYSTEM, name, PASSWORD, [role])
        with store.reading() as session:
            return People({name: actor_of(session, user_id) for name, user_id in ids.items()})

    return add


@pytest.fixture
def users(store: Store, add_people: Callable[[Store], People]) -> People:
    """The users of `store`."""
    return add_people(store)


PASSAGE = "Disc herniation at L4/5 is common. It may press on the L5 root. Surgery is one of several remedies."


@pytest.fixture(scope="session")
def make_instance() -> Callable[..., Instance]:
    """A multiple-choice instance on a bundled passage, by number; written by `secret-model-7b`."""

    def make(number: int, **changes: Any) -> Instance:
        quote = "Disc herniation at L4/5 is common."
        values: dict[str, Any] = {
            "id": f"path-{number:05d}", "stage": "revised", "parent_id": f"path-{number:05d}-draft",
            "source_id": "book", "group_id": f"book:{number}", "origin": "real", "axis": "pathology",
            "task": "multiple_choice",
            "messages": (
                Message(role="user", content=f"Which disc, case {number}?\nA. L3/4\nB. L4/5"),
                Message(role="assistant", content="B"),
            ),
            "answer": "B", "answer_kind": "option",
            "options": (Option(key="A", text="L3/4"), Option(key="B", text="L4/5")), "levels": ("L4", "L5"),
            "evidence": (Evidence(kind="span", id="span-1", sha256="1" * 64, quote=quote),
                         Evidence(kind="document", id="doc-1", sha256="2" * 64)),
            "writer": Writer(name="model-writer", version="1", prompt_sha256="3" * 64, request_sha256="4" * 64,
                             model="secret-model-7b"),
            "tags": ("side:left", "written"),
        }  # fmt: skip
        return Instance.model_validate({**values, **changes})

    return make


@dataclass(frozen=True)
class SmallRun:
    """A run of items in the database, drawn and assigned."""

    run_id: int
    items: tuple[int, ...]
    benchmark: tuple[int, ...]


@pytest.fixture(scope="session")
def add_run(make_instance: Callable[..., Instance]) -> Callable[..., SmallRun]:
    """Put items on one document into a review: the first half for a benchmark, the rest for training, all drawn."""

    def add(store: Store, *, items: int = 12, name: str = "small", training_share: float = 1.0) -> SmallRun:
        digest = hashlib.sha256(name.encode()).hexdigest()
        with store.writing() as session:
            run = ReviewRun(
                name=name, folder=f"/runs/{name}", revised_sha256=digest, imported_at=now(),
                account={},
            )  # fmt: skip
            session.add(run)
            session.flush()
            rows = _evidence(store, run.id)
            session.add_all(rows)
            session.flush()
            found = [
                NewItem(
                    instance := make_instance(number, source_id="book" if name == "small" else name),
                    instance.model_copy(
                        update={"id": f"{instance.id}-draft", "stage": "draft", "parent_id": None,
                                "messages": (Message(role="user", content=f"What disc {number}?\nA. L3/4\nB. L4/5"),
                                             instance.messages[1])}
                    ),
                    "benchmark" if number < items // 2 else "training",
                    evidence=tuple(row.id for row in rows[:2]),
                )
                for number in range(items)
            ]  # fmt: skip
            load_items(session, run.id, found)
            draw_plan(session, SYSTEM, run.id, training_share=training_share, seed=1)
            run_id = run.id
        with store.reading() as session:
            ids = tuple(session.scalars(text(f"SELECT id FROM items WHERE run_id = {run_id} ORDER BY id")))
        return SmallRun(run_id, ids, ids[: items // 2])

    return add


def _evidence(store: Store, run_id: int) -> list[EvidenceRow]:
    span = Span(
        id="span-1", document_id="doc-1", kind="paragraph", start=0, end=len(PASSAGE), text=PASSAGE, section="Discs"
    )
    document = Document(
        id="doc-1", source_id="book", title="Discs", file="book.xml", sha256="2" * 64, text=PASSAGE,
        licence="CC-BY-4.0", attribution="The authors", group_id="book:1",
    )  # fmt: skip
    kept = document.model_dump_json(exclude={"text"})
    return [
        EvidenceRow(run_id=run_id, kind="span", ref_id="span-1", record=span.model_dump_json(), document_id="doc-1"),
        EvidenceRow(
            run_id=run_id, kind="document", ref_id="doc-1", record=kept, title="Discs",
            text_sha256=store.blobs.put(PASSAGE.encode()),
        ),
    ]  # fmt: skip


@pytest.fixture
def small_run(store: Store, users: People, add_run: Callable[..., SmallRun]) -> SmallRun:
    """Twelve items in `store`, six of them for a benchmark, assigned to the six reviewers."""
    run = add_run(store)
    with store.writing() as session:
        assign_run(session, SYSTEM, run.run_id, seed=1)
    return run


# --- a real server and a real browser --------------------------------------------------------------------------------


@pytest.fixture
def serve_review() -> Iterator[Callable[..., str]]:
    """Start `spinemed review serve ...` as a child process on a free port; gives its address."""
    children: list[subprocess.Popen[str]] = []

    def start(*words: str) -> str:
        child = subprocess.Popen(
            [sys.executable, "-m", "spinemed", "review", "serve", *words, "--port", "0"],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        children.append(child)
        assert child.stdout is not None
        said = []
        for line in child.stdout:
            said.append(line)
            if line.startswith("http"):
                return line.strip().rstrip("/")
        pytest.fail(f"the server did not start: {''.join(said)}")

    yield start
    for child in children:
        child.send_signal(signal.SIGTERM)
        child.wait(20)
        assert child.stdout is not None
        child.stdout.close()


@pytest.fixture(scope="module")  # while it is open an event loop runs in this process, and no other test may start one
def browser() -> Iterator[Any]:
    """A headless Chromium, driven by Playwright; every test opens contexts of its own."""
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("Chromium is not installed: no program `chromium`")
    playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    with playwright.sync_playwright() as running:
        opened = running.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield opened
        opened.close()
