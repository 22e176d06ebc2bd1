"""The database: its schema comes up from nothing and from an older revision, and appended rows stay as they are."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import inspect, text
from sqlalchemy.exc import DBAPIError

from data_pipeline.review.errors import AbsentError
from data_pipeline.review.store import Store, open_store
from data_pipeline.review.store.tables import Base
from spinemed.errors import ConfigError


def test_migrations_make_what_the_tables_say(store: Store) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    with store.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []


def test_a_database_of_an_older_version_is_brought_up_and_keeps_its_rows(store: Store) -> None:
    from alembic import command
    from alembic.config import Config

    import data_pipeline.review.store.database as database

    config = Config()
    config.set_main_option("script_location", str(Path(database.__file__).with_name("migrations")))
    with store.engine.connect() as connection, connection.begin():
        config.attributes["connection"] = connection
        command.downgrade(config, "0001_protocol")
        connection.execute(
            text("INSERT INTO login_attempts (name_sha256, address_sha256, at, ok) VALUES ('a', 'b', 'c', :ok)"),
            {"ok": True},
        )
        assert "reader_votes" not in inspect(connection).get_table_names()
    database.upgrade(store.engine)
    with store.engine.connect() as connection:
        assert "reader_votes" in inspect(connection).get_table_names()
        assert connection.scalar(text("SELECT count(*) FROM login_attempts")) == 1


@pytest.mark.parametrize("statement", ["UPDATE audit SET actor = 'nobody'", "DELETE FROM decisions WHERE id < 9"])
def test_appended_rows_cannot_be_changed(store: Store, small_run: object, statement: str) -> None:
    with store.writing() as session:  # a statement trigger of SQLite fires for rows only
        session.execute(
            text(
                "INSERT INTO decisions (id, assignment_id, item_id, user_id, group_name, round, verdict, "
                "shown_version_id, answer_key, levels, side, urgency, reason, seconds, token, payload_sha256, made_at) "
                "SELECT 1, assignments.id, assignments.item_id, assignments.user_id, 'A', 1, 'approved', versions.id, "
                "'', '[]', '', '', '', 0, 'token', '', '' FROM assignments JOIN versions "
                "ON versions.item_id = assignments.item_id WHERE versions.number = 1 ORDER BY assignments.id LIMIT 1"
            )
        )
    with pytest.raises(DBAPIError, match="append-only"), store.writing() as session:
        session.execute(text(statement))


def test_a_url_that_is_none_is_refused_with_the_cure(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="SQLite file or PostgreSQL"):
        open_store("mysql://root@host/name", tmp_path)
    with pytest.raises(ConfigError, match="needs a folder"):
        open_store("postgresql://nobody@localhost/none")


def test_a_blob_is_found_by_its_hash_alone(sqlite_store: Store) -> None:
    digest = sqlite_store.blobs.put(b"bytes")
    assert sqlite_store.blobs.get(digest) == b"bytes"
    for name in ("../../etc/passwd", digest.upper(), digest + "\n", "0" * 64):
        with pytest.raises(AbsentError):
            sqlite_store.blobs.get(name)


def test_what_is_written_survives_a_reader_that_holds_the_database(sqlite_store: Store) -> None:
    with sqlite_store.reading() as reader:
        reader.execute(text("SELECT count(*) FROM users"))
        with sqlite_store.writing() as writer:
            writer.execute(
                text("INSERT INTO login_attempts (name_sha256, address_sha256, at, ok) VALUES ('', '', '', 1)")
            )
    with sqlite_store.reading() as session:
        assert session.scalar(text("SELECT count(*) FROM login_attempts")) == 1
        assert session.scalar(text("PRAGMA synchronous")) == 2
        assert session.scalar(text("PRAGMA journal_mode")) == "wal"
