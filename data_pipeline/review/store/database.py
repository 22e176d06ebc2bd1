"""Opening the database: SQLite in a file by default, PostgreSQL by URL; the blobs beside it; the schema brought up.

Convention: `with store.reading() as session` for what only reads, `with store.writing() as session` for what stores:
it commits at its end or not at all. A decision that a caller was told of is on disk: SQLite runs in WAL mode with
`synchronous=FULL`, PostgreSQL with its own default.

Trap: SQLite has one writer. A writing session takes the write lock at once (`BEGIN IMMEDIATE`) instead of when it first
writes, because a reader that turns writer cannot wait for another one and would fail; so keep pages out of it.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError
from sqlalchemy.orm import Session

from data_pipeline.review.errors import AbsentError, ReviewError
from spinemed.errors import ConfigError, MissingPartError
from spinemed.tables import write_bytes

__all__ = ["Blobs", "Store", "open_store", "upgrade"]

_BUSY_MS = 30_000
HEAD = "head"


class Blobs:
    """Bytes on disk by hash: pictures, documents' records, corrected centroids. Written once, never changed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, sha256: str) -> Path:
        """Where a blob lies or would lie.

        Raises:
            AbsentError: The text is no hash; nothing that a browser sends becomes a path in another way.
        """
        if len(sha256) != 64 or set(sha256) - set("0123456789abcdef"):
            raise AbsentError("there is no such object")
        return self.folder / sha256[:2] / sha256

    def put(self, content: bytes) -> str:
        """Keep bytes; returns their hash."""
        digest = hashlib.sha256(content).hexdigest()
        target = self.path(digest)
        if not target.is_file():
            write_bytes(target, content)
        return digest

    def get(self, sha256: str) -> bytes:
        """The bytes, checked against their hash.

        Raises:
            AbsentError: There is no such blob.
            ReviewError: The file was changed since it was written.
        """
        file = self.path(sha256)
        try:
            content = file.read_bytes()
        except FileNotFoundError as error:
            raise AbsentError("there is no such object", field=sha256) from error
        if hashlib.sha256(content).hexdigest() != sha256:
            raise ReviewError("differs from the hash that is its name", file=file, cure="import the run again")
        return content


class Store:
    """The database and the blobs of one review. Use :func:`open_store`."""

    def __init__(self, engine: Engine, data: Path) -> None:
        self.engine = engine
        self.data = data
        self.blobs = Blobs(data / "blobs")
        self._writer = engine.execution_options(review_writes=True)

    @property
    def dialect(self) -> str:
        """`sqlite` or `postgresql`."""
        return self.engine.dialect.name

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A session that stores nothing."""
        with Session(self.engine, expire_on_commit=False) as session:
            session.info["blobs"] = self.blobs
            yield session
            session.rollback()

    @contextmanager
    def snapshot(self) -> Iterator[Session]:
        """A session that stores nothing and sees one moment, however long it reads and whoever writes meanwhile."""
        with self.reading() as session:
            if self.dialect == "postgresql":  # a reading transaction of SQLite sees one moment anyway
                session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
            yield session

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """A session whose changes are all on disk when the block ends, or none of them."""
        with Session(self._writer, expire_on_commit=False, autoflush=True) as session:
            session.info["blobs"] = self.blobs
            yield session
            session.commit()

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()


def open_store(url: str, data: str | os.PathLike[str] | None = None, *, migrate: bool = True) -> Store:
    """Open a review's database and bring its schema up to this version.

    Args:
        url: A path of a SQLite file, `sqlite:///PATH`, or `postgresql://USER@HOST/NAME`.
        data: Folder of the blobs; beside the file for SQLite.
        migrate: Bring the schema up; otherwise it must be there.

    Raises:
        ConfigError: The URL is none, names another kind of database, or needs `data`.
        ReviewError: The database cannot be reached.
        MissingPartError: The driver is not installed.
    """
    text = url if "://" in url else f"sqlite:///{url}"
    try:
        parsed = make_url(text)
    except ArgumentError as error:
        raise ConfigError(
            "is no database URL", field="--database", cure="write sqlite:///PATH or postgresql://USER@HOST/NAME"
        ) from error
    if parsed.get_backend_name() == "postgresql":
        parsed = parsed.set(drivername="postgresql+psycopg")
    elif parsed.get_backend_name() != "sqlite" or not parsed.database or parsed.database == ":memory:":
        raise ConfigError(
            f"'{parsed.get_backend_name()}' is no database that a review can live in",
            field="--database",
            cure="use a SQLite file or PostgreSQL",
        )
    if data is None:
        if parsed.get_backend_name() != "sqlite":
            raise ConfigError("needs a folder for pictures and documents", field="--data", cure="name one")
        data = Path(parsed.database or "").resolve().parent
    folder = Path(data)
    folder.mkdir(parents=True, exist_ok=True)
    engine = _engine(parsed)
    try:
        if migrate:
            upgrade(engine)
        else:
            with engine.connect():
                pass
    except OperationalError as error:
        engine.dispose()
        raise ReviewError(
            f"the database cannot be used ({_first_line(error)})",
            field="--database",
            cure="check that the server runs, the name exists and the folder may be written",
        ) from error
    return Store(engine, folder)


def _first_line(error: DBAPIError) -> str:
    return str(error.orig).strip().splitlines()[0][:160]


def _engine(url: Any) -> Engine:
    if url.get_backend_name() == "postgresql":
        try:
            return create_engine(url, pool_size=16, max_overflow=16, pool_pre_ping=True)
        except ModuleNotFoundError as error:
            raise MissingPartError(
                "PostgreSQL needs the package psycopg", field="--database", cure="pip install 'psycopg[binary]'"
            ) from error
    Path(url.database).resolve().parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(url, connect_args={"timeout": _BUSY_MS / 1000}, pool_size=16, max_overflow=16)

    def prepare(connection: Any, record: Any) -> None:
        connection.isolation_level = None  # the driver's own BEGIN would come too late
        for pragma in (
            f"busy_timeout={_BUSY_MS}", "journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "cache_size=-16000",
        ):  # fmt: skip
            connection.execute(f"PRAGMA {pragma}")

    def begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get("review_writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    event.listen(engine, "connect", prepare)
    event.listen(engine, "begin", begin)
    return engine


def upgrade(engine: Engine, revision: str = HEAD) -> None:
    """Bring the schema to a revision, by default the newest. Two processes may do it at once."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")).replace("%", "%%"))
    with engine.execution_options(review_writes=True).connect() as connection, connection.begin():
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql("SELECT pg_advisory_xact_lock(7361707)")
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
