"""The log: whole after twenty writers at once, and any row that was altered, removed, moved or inserted is found."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from typer.testing import CliRunner

from data_pipeline.review.audit import AuditLine, Head, append, head, read_log, verify_exported, verify_log
from data_pipeline.review.cli import app
from data_pipeline.review.errors import AccessError, LoginError, RefusedError
from data_pipeline.review.protocol.signatures import MEANINGS, Proof, prove, sign
from data_pipeline.review.store import Store


def _write(store: Store, rows: int, actor: str = "a1") -> None:
    for number in range(rows):
        with store.writing() as session:
            append(session, actor, "decide", "item", number, old={"a": 1.5}, new={"b": "ü 脊"}, why="reason")


def _as_owner(store: Store, *orders: str) -> None:
    """What somebody with the database's password could do: triggers off, rows changed."""
    with store.engine.connect() as connection, connection.begin():
        if store.dialect == "postgresql":
            connection.execute(text("ALTER TABLE audit DISABLE TRIGGER ALL"))
        else:
            connection.execute(text("DROP TRIGGER audit_no_update"))
            connection.execute(text("DROP TRIGGER audit_no_delete"))
        for order in orders:
            connection.exec_driver_sql(order)


def _faults(store: Store, expected: Head | None = None) -> list[str]:
    with store.reading() as session:
        return verify_log(session, expected)


def test_twenty_writers_at_once_make_one_whole_chain(store: Store) -> None:
    with ThreadPoolExecutor(20) as pool:
        list(pool.map(lambda number: _write(store, 3, f"writer-{number}"), range(20)))
    assert _faults(store) == []
    with store.reading() as session:
        assert head(session).seq == 60
        lines = list(read_log(session))
    assert {line.actor for line in lines} == {f"writer-{number}" for number in range(20)}
    assert [line.at for line in lines] == sorted(line.at for line in lines)


@pytest.mark.parametrize(
    ("orders", "said"),
    [
        (["UPDATE audit SET actor = 'b2' WHERE seq = 3"], "row 3 was altered"),
        (["UPDATE audit SET new = '{\"b\":2}' WHERE seq = 3"], "row 3 was altered"),
        (["UPDATE audit SET new = 'no json' WHERE seq = 3"], "row 3 is damaged"),
        (["UPDATE audit SET at = '2020-01-01T00:00:00.000000Z' WHERE seq = 1"], "row 1 was altered"),
        (["DELETE FROM audit WHERE seq = 3"], "row 3 is missing"),
        (["DELETE FROM audit WHERE seq = 1"], "row 1 is missing"),
        (["DELETE FROM audit WHERE seq = 5"], "the log ends at row 4, and its head says 5"),
        (
            ["UPDATE audit SET seq = 99 WHERE seq = 2", "UPDATE audit SET seq = 2 WHERE seq = 3",
             "UPDATE audit SET seq = 3 WHERE seq = 99"],
            "row 2 was altered",
        ),
        (
            ["INSERT INTO audit SELECT 6, at, actor, action, object_kind, object_id, old, new, why, meaning, "
             "prev_sha256, 'eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee' || substr(sha256, 33) FROM audit WHERE seq = 5"],
            "row 6 was altered",
        ),
    ],
)  # fmt: skip
def test_any_tampering_is_found(store: Store, orders: list[str], said: str) -> None:
    _write(store, 5)
    assert _faults(store) == []
    _as_owner(store, *orders)
    assert any(said in fault for fault in _faults(store)), _faults(store)


def test_a_log_that_was_written_anew_differs_from_an_exported_head(store: Store) -> None:
    _write(store, 4)
    with store.reading() as session:
        kept = head(session)
    _as_owner(store, "DELETE FROM audit", f"UPDATE audit_head SET seq = 0, sha256 = '{'0' * 64}'")
    _write(store, 6, "forger")
    assert _faults(store) == []  # whole in itself
    assert any("exported hash" in fault for fault in _faults(store, kept))


def test_a_log_is_checked_while_others_write(store: Store) -> None:
    with ThreadPoolExecutor(3) as pool:
        writers = [pool.submit(_write, store, 12, f"writer-{number}") for number in range(2)]
        found = [_faults(store) for _ in range(12)]
        for writer in writers:
            writer.result()
    assert found == [[]] * 12
    assert _faults(store) == []


def test_an_exported_log_is_checked_without_a_database(sqlite_store: Store, tmp_path: Path) -> None:
    _write(sqlite_store, 4)
    with sqlite_store.reading() as session:
        lines, end = list(read_log(session)), head(session)
    assert verify_exported(lines, end) == []
    assert verify_exported(lines[:-1], end)
    assert verify_exported([lines[0], lines[2], lines[1], lines[3]], end)
    forged = lines[1].model_copy(update={"why": "another"})
    assert "row 2 was altered" in verify_exported([lines[0], forged, *lines[2:]], end)[0]
    file = tmp_path / "audit.jsonl"
    file.write_text("".join(line.model_dump_json() + "\n" for line in lines))
    assert CliRunner().invoke(app, ["verify-log", "--exported", str(file)]).exit_code == 0
    file.write_text("".join(line.model_dump_json() + "\n" for line in [lines[0], forged, *lines[2:]]))
    told = CliRunner().invoke(app, ["verify-log", "--exported", str(file)])
    assert told.exit_code == 1
    assert "BROKEN: row 2 was altered" in told.output


def test_the_command_finds_an_altered_row(sqlite_store: Store) -> None:
    _write(sqlite_store, 3)
    place = ["--database", str(sqlite_store.engine.url.database)]
    assert CliRunner().invoke(app, ["verify-log", *place]).exit_code == 0
    _as_owner(sqlite_store, "UPDATE audit SET why = 'other' WHERE seq = 2")
    told = CliRunner().invoke(app, ["verify-log", *place])
    assert (told.exit_code, "BROKEN: row 2 was altered" in told.output) == (1, True)


def _append_and_fail(session: Any) -> None:
    append(session, "a1", "decide", "item", 9)
    append(session, "a1", "decide", "item", 9, new=float("nan"))


def test_a_row_that_is_rolled_back_leaves_no_gap(store: Store) -> None:
    _write(store, 2)
    with pytest.raises(ValueError, match="JSON"), store.writing() as session:
        _append_and_fail(session)
    _write(store, 1)
    assert _faults(store) == []
    with store.reading() as session:
        assert [line.seq for line in read_log(session, after=1)] == [2, 3]


def test_a_signature_needs_the_password_again_and_says_what_it_means(
    store: Store, users: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    actor = users["manager"]
    with pytest.raises(LoginError):
        prove(store, actor, "not the password")
    proof = prove(store, actor, users.password)
    with pytest.raises(TypeError):
        Proof(actor.id)
    with pytest.raises(AccessError), store.writing() as session:
        sign(session, users["a1"], proof, "reviewed", object_kind="review", object_id=1)
    with pytest.raises(RefusedError, match="no meaning"), store.writing() as session:
        sign(session, actor, proof, "whatever", object_kind="review", object_id=1)
    with store.writing() as session:
        sign(session, actor, proof, "released", object_kind="review", object_id=1, new={"sha256": "f" * 64})
    with store.reading() as session:
        last = list(read_log(session))[-1]
    assert isinstance(last, AuditLine)
    assert (last.actor, last.action, last.meaning) == ("manager", "sign", MEANINGS["released"])
    later = time.monotonic() + 61
    monkeypatch.setattr(time, "monotonic", lambda: later)
    with pytest.raises(AccessError, match="just now"), store.writing() as session:
        sign(session, actor, proof, "released", object_kind="review", object_id=1)
