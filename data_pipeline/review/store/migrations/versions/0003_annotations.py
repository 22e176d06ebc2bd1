"""Measurements on the pictures of items."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from data_pipeline.review.store.triggers import any_change, append_only

revision = "0003_annotations"
down_revision = "0002_studies_readers"
branch_labels = None
depends_on = None

_JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
_APPENDED = ("annotations",)


def upgrade() -> None:
    """Make the table, and the triggers that keep its rows as they are."""
    op.create_table(
        "annotations",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("item_id", sa.Integer(), nullable=False),
        sa.Column("user_id", sa.Integer(), nullable=False),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("marks", _JSON, nullable=False),
        sa.Column("made_at", sa.String(length=27), nullable=False),
        sa.ForeignKeyConstraint(["item_id"], ["items.id"], name=op.f("fk_annotations_item_id")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_annotations_user_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_annotations")),
    )
    op.create_index(op.f("ix_annotations_item_id_user_id"), "annotations", ["item_id", "user_id"], unique=False)
    append_only(op, _APPENDED)


def downgrade() -> None:
    """Take it back."""
    any_change(op, _APPENDED)
    op.drop_index(op.f("ix_annotations_item_id_user_id"), table_name="annotations")
    op.drop_table("annotations")
