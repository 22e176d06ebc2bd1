"""Triggers of the database that refuse to change or remove rows of append-only tables, for both databases.

Trap: who owns the database can drop a trigger; that is what the hash chain and the exported head of the log are for.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

__all__ = ["any_change", "append_only"]

_FUNCTION = """
CREATE OR REPLACE FUNCTION review_append_only() RETURNS trigger AS $$
BEGIN RAISE EXCEPTION 'table % is append-only', TG_TABLE_NAME; END;
$$ LANGUAGE plpgsql
"""


def append_only(op: Any, tables: Iterable[str]) -> None:
    """Refuse UPDATE and DELETE (and TRUNCATE, where there is one) on tables.

    Args:
        op: Alembic's operations.
        tables: Names from a migration, never from a user.
    """
    if op.get_bind().dialect.name == "postgresql":
        op.execute(_FUNCTION)
        for table in tables:
            op.execute(
                f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
                "FOR EACH STATEMENT EXECUTE FUNCTION review_append_only()"
            )
        return
    for table in tables:
        for event in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER {table}_no_{event.lower()} BEFORE {event} ON {table} "
                f"BEGIN SELECT RAISE(ABORT, 'table {table} is append-only'); END"
            )


def any_change(op: Any, tables: Iterable[str]) -> None:
    """Drop these triggers, before a migration removes or rebuilds the tables."""
    postgresql = op.get_bind().dialect.name == "postgresql"
    for table in tables:
        if postgresql:
            op.execute(f"DROP TRIGGER {table}_append_only ON {table}")
        else:
            for event in ("update", "delete"):
                op.execute(f"DROP TRIGGER {table}_no_{event}")
