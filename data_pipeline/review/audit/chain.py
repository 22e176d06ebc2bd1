"""The hash chain of the audit log: appending to it, and finding any row that was altered, removed, moved or inserted.

Convention: `sha256` of a row is the content hash of its own fields and of the row before it; row 1 follows 64 zeros.
The head (number and hash of the last row) is a row of its own and is exported, because a log whose end was cut off is
a shorter log that is whole in itself.

Trap: :func:`append` locks the head until the transaction ends, so it comes last in a service: after every other row is
locked. Two services that append first and lock an item afterwards could wait for each other for ever.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict
from sqlalchemy import insert, select, update
from sqlalchemy.orm import Session

from data_pipeline.review.store.tables import AuditHead, AuditRow, now
from spinemed.records import Sha256, content_hash

__all__ = ["GENESIS", "AuditLine", "Head", "append", "head", "read_log", "verify_exported", "verify_log"]

GENESIS = "0" * 64
"""What the first row follows."""
_READ = 2_000


class AuditLine(BaseModel):
    """One row of the log as it is exported. Its own hash covers all fields but `sha256`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seq: int
    """Number of the row, from 1."""
    at: str
    """Time of the action, UTC, ISO 8601."""
    actor: str
    """Pseudonym of who acted."""
    action: str
    """What was done."""
    object_kind: str
    """Kind of thing it was done to."""
    object_id: str
    """Which one."""
    old: Any = None
    """State before; None where there was none."""
    new: Any = None
    """State after; None where there is none."""
    why: str = ""
    """Reason that the person gave."""
    meaning: str = ""
    """What a signature stands for."""
    prev_sha256: Sha256
    """Hash of the row before."""
    sha256: Sha256
    """Hash of this row and, by `prev_sha256`, of all before."""

    def computed(self) -> str:
        """What `sha256` must be."""
        return _row_hash(self.model_dump(mode="json", exclude={"sha256"}))


@dataclass(frozen=True)
class Head:
    """Number and hash of the last row."""

    seq: int
    sha256: str


def _row_hash(fields: dict[str, Any]) -> str:
    return content_hash(fields)


def append(
    session: Session,
    actor: str,
    action: str,
    object_kind: str,
    object_id: str | int,
    *,
    old: Any = None,
    new: Any = None,
    why: str = "",
    meaning: str = "",
) -> str:
    """Append one row; it is stored when the session's block ends.

    Args:
        session: A writing session, with every other row of the transaction already locked.
        actor: Pseudonym.
        action: What was done, e.g. `decide`.
        object_kind: To what kind of thing, e.g. `item`.
        object_id: Which one.
        old: JSON value before; None where there was none.
        new: JSON value after.
        why: The person's reason.
        meaning: Of a signature.

    Returns:
        The row's hash.
    """
    session.flush()
    seq, previous = session.execute(
        select(AuditHead.seq, AuditHead.sha256).where(AuditHead.id == 1).with_for_update()
    ).one()
    fields: dict[str, Any] = {
        "seq": seq + 1, "at": now(), "actor": actor, "action": action, "object_kind": object_kind,
        "object_id": str(object_id), "old": old, "new": new, "why": why, "meaning": meaning, "prev_sha256": previous,
    }  # fmt: skip
    digest = _row_hash(fields)
    row = {**fields, "old": _json(old), "new": _json(new), "sha256": digest}
    session.execute(insert(AuditRow).values(row))
    session.execute(update(AuditHead).where(AuditHead.id == 1).values(seq=seq + 1, sha256=digest))
    return digest


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def head(session: Session) -> Head:
    """The end of the log: what to write down outside the database."""
    seq, digest = session.execute(select(AuditHead.seq, AuditHead.sha256).where(AuditHead.id == 1)).one()
    return Head(seq, digest)


def read_log(session: Session, *, after: int = 0, limit: int | None = None) -> Iterator[AuditLine]:
    """Rows in their order, a few thousand in memory at a time.

    Raises:
        ValueError: A row's JSON was damaged; :func:`verify_log` names it instead.
    """
    for row in _rows(session, after, limit):
        yield _line(row)


def _rows(session: Session, after: int, limit: int | None = None) -> Iterator[Any]:
    columns = [getattr(AuditRow, name) for name in AuditLine.model_fields]
    left = limit
    while left is None or left > 0:
        number = _READ if left is None else min(_READ, left)
        rows = session.execute(select(*columns).where(AuditRow.seq > after).order_by(AuditRow.seq).limit(number)).all()
        yield from rows
        if len(rows) < number:
            return
        after = rows[-1].seq
        left = None if left is None else left - len(rows)


def _line(row: Any) -> AuditLine:
    values = dict(row._mapping)
    return AuditLine.model_validate({**values, "old": json.loads(row.old), "new": json.loads(row.new)})


def verify_log(session: Session, expected: Head | None = None) -> list[str]:
    """Check every row against the one before it, and the end against the head.

    Args:
        session: Any session.
        expected: A head that was exported earlier: the log must still hold that row.

    Returns:
        What is wrong, one sentence each; empty for a whole log.
    """
    faults: list[str] = []
    previous, number, seen = GENESIS, 0, False
    last, at_last = head(session), GENESIS  # first: others may write while the rows are read
    for row in _rows(session, -(2**31)):
        number += 1
        if row.seq != number:
            faults.append(f"row {number} is missing: the next one is {row.seq}")
            number = row.seq
        faults += _faults_of(row, previous)
        previous = row.sha256
        at_last = previous if row.seq == last.seq else at_last
        seen = seen or (expected is not None and (row.seq, row.sha256) == (expected.seq, expected.sha256))
    if number < last.seq or at_last != last.sha256 or number > head(session).seq:
        faults.append(f"the log ends at row {number}, and its head says {last.seq}: rows were removed or added")
    if expected is not None and expected.seq and not seen:
        faults.append(f"row {expected.seq} with the exported hash {expected.sha256[:12]}... is not in the log")
    return faults


def _faults_of(row: Any, previous: str) -> list[str]:
    faults = []
    try:
        line = _line(row)
    except ValueError:
        return [f"row {row.seq} is damaged: it is no audit row any more"]
    if line.computed() != line.sha256:
        faults.append(f"row {row.seq} was altered: its contents differ from its hash")
    if line.prev_sha256 != previous:
        faults.append(f"row {row.seq} does not follow the row before it: one was removed, inserted or moved")
    return faults


def verify_exported(lines: Iterable[AuditLine], expected: Head | None = None) -> list[str]:
    """The same check on an exported log, without a database.

    Args:
        lines: In the order of the file.
        expected: The head that was exported with it.

    Returns:
        What is wrong, one sentence each.
    """
    faults: list[str] = []
    previous, number = GENESIS, 0
    for line in lines:
        number += 1
        if line.seq != number:
            faults.append(f"row {number} is missing or moved: the line says {line.seq}")
            number = line.seq
        if line.computed() != line.sha256:
            faults.append(f"row {line.seq} was altered: its contents differ from its hash")
        if line.prev_sha256 != previous:
            faults.append(f"row {line.seq} does not follow the row before it: one was removed, inserted or moved")
        previous = line.sha256
    if expected is not None and (number, previous) != (expected.seq, expected.sha256):
        faults.append(f"the log ends at row {number}, and the head says {expected.seq}")
    return faults
