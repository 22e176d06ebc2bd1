"""The declarative base: column types that mean the same on SQLite and PostgreSQL, and the clock.

Convention: times are UTC texts of one width (`2026-11-23T21:30:00.123456Z`), so that they sort, compare and hash the
same in both databases; JSON columns are JSONB where there is one; contents that are hashed are kept as text.

Trap: constraint names come from the naming convention here; a migration that invents others cannot be undone on both.
"""

from __future__ import annotations

import datetime
from typing import Any

from sqlalchemy import JSON, MetaData, String
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase

__all__ = ["Base", "Json", "Moment", "Sha", "now"]

Json = JSON().with_variant(JSONB(), "postgresql")
Moment = String(27)
Sha = String(64)


class Base(DeclarativeBase):
    """Base of all tables."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {dict[str, Any]: Json, list[Any]: Json, list[str]: Json}


def now() -> str:
    """The time as every row holds it."""
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
