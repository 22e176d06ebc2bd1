"""Volumes, corrected levels, figure pairs, the de-identification queue and the reader study."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from data_pipeline.review.store.triggers import any_change, append_only

revision = "0002_studies_readers"
down_revision = "0001_protocol"
branch_labels = None
depends_on = None

_JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
_APPENDED = ("level_corrections", "reader_votes")


def upgrade() -> None:
    """Make the tables, and the triggers that keep appended rows as they are."""

    op.create_table(
        "deid_items",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("folder", sa.Text(), nullable=False),
        sa.Column("record_id", sa.String(length=300), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("held_name", sa.Text(), nullable=False),
        sa.Column("result_sha256", sa.String(length=64), nullable=False),
        sa.Column("method", sa.Text(), nullable=False),
        sa.Column("open_points", _JSON, nullable=False),
        sa.Column("counts", _JSON, nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("decided_by", sa.Integer(), nullable=True),
        sa.Column("role", sa.String(length=64), nullable=False),
        sa.Column("decided_at", sa.String(length=27), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["decided_by"], ["users.id"], name=op.f("fk_deid_items_decided_by")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_deid_items")),
        sa.UniqueConstraint(
            "folder",
            "record_id",
            "kind",
            "result_sha256",
            name=op.f("uq_deid_items_folder_record_id_kind_result_sha256"),
        ),
    )
    op.create_index(op.f("ix_deid_items_status_id"), "deid_items", ["status", "id"], unique=False)
    op.create_table(
        "figure_reviews",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("source_id", sa.String(length=120), nullable=False),
        sa.Column("figure_id", sa.String(length=300), nullable=False),
        sa.Column("caption_span_id", sa.String(length=300), nullable=False),
        sa.Column("picture_sha256", sa.String(length=64), nullable=False),
        sa.Column("caption", sa.Text(), nullable=False),
        sa.Column("mentions", _JSON, nullable=False),
        sa.Column("pair", _JSON, nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("decided_by", sa.Integer(), nullable=True),
        sa.Column("decided_at", sa.String(length=27), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["decided_by"], ["users.id"], name=op.f("fk_figure_reviews_decided_by")),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_figure_reviews_run_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_figure_reviews")),
        sa.UniqueConstraint(
            "run_id", "figure_id", "caption_span_id", name=op.f("uq_figure_reviews_run_id_figure_id_caption_span_id")
        ),
    )
    op.create_index(op.f("ix_figure_reviews_status_id"), "figure_reviews", ["status", "id"], unique=False)
    op.create_table(
        "reader_studies",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=120), nullable=False),
        sa.Column("readers_per_output", sa.Integer(), nullable=False),
        sa.Column("seed", sa.Integer(), nullable=False),
        sa.Column("made_by", sa.Integer(), nullable=True),
        sa.Column("made_at", sa.String(length=27), nullable=False),
        sa.ForeignKeyConstraint(["made_by"], ["users.id"], name=op.f("fk_reader_studies_made_by")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reader_studies")),
        sa.UniqueConstraint("name", name=op.f("uq_reader_studies_name")),
    )
    op.create_table(
        "volumes",
        sa.Column("handle", sa.String(length=64), nullable=False),
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("source_id", sa.String(length=120), nullable=False),
        sa.Column("group_id", sa.String(length=200), nullable=False),
        sa.Column("modality", sa.String(length=8), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("scheme", sa.String(length=32), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_volumes_run_id")),
        sa.PrimaryKeyConstraint("handle", name=op.f("pk_volumes")),
    )
    op.create_table(
        "level_corrections",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("handle", sa.String(length=64), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("operations", _JSON, nullable=False),
        sa.Column("levels", _JSON, nullable=False),
        sa.Column("centroids_sha256", sa.String(length=64), nullable=False),
        sa.Column("labels", _JSON, nullable=False),
        sa.Column("reopened", sa.Integer(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("token", sa.String(length=64), nullable=False),
        sa.Column("made_by", sa.Integer(), nullable=False),
        sa.Column("made_at", sa.String(length=27), nullable=False),
        sa.ForeignKeyConstraint(["handle"], ["volumes.handle"], name=op.f("fk_level_corrections_handle")),
        sa.ForeignKeyConstraint(["made_by"], ["users.id"], name=op.f("fk_level_corrections_made_by")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_level_corrections")),
        sa.UniqueConstraint("handle", "number", name=op.f("uq_level_corrections_handle_number")),
        sa.UniqueConstraint("made_by", "token", name=op.f("uq_level_corrections_made_by_token")),
    )
    op.create_table(
        "reader_cases",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("study_id", sa.Integer(), nullable=False),
        sa.Column("case_id", sa.String(length=200), nullable=False),
        sa.Column("question", sa.Text(), nullable=False),
        sa.Column("pictures", _JSON, nullable=False),
        sa.Column("reference", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["study_id"], ["reader_studies.id"], name=op.f("fk_reader_cases_study_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reader_cases")),
        sa.UniqueConstraint("study_id", "case_id", name=op.f("uq_reader_cases_study_id_case_id")),
    )
    op.create_table(
        "study_volumes",
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("study_id", sa.String(length=300), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("handle", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(["handle"], ["volumes.handle"], name=op.f("fk_study_volumes_handle")),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_study_volumes_run_id")),
        sa.PrimaryKeyConstraint("run_id", "study_id", "kind", name=op.f("pk_study_volumes")),
    )
    op.create_index(op.f("ix_study_volumes_handle"), "study_volumes", ["handle"], unique=False)
    op.create_table(
        "reader_outputs",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("case_pk", sa.Integer(), nullable=False),
        sa.Column("output_id", sa.String(length=64), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["case_pk"], ["reader_cases.id"], name=op.f("fk_reader_outputs_case_pk")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reader_outputs")),
        sa.UniqueConstraint("case_pk", "output_id", name=op.f("uq_reader_outputs_case_pk_output_id")),
    )
    op.create_table(
        "reader_assignments",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("output_pk", sa.Integer(), nullable=False),
        sa.Column("user_id", sa.Integer(), nullable=False),
        sa.Column("place", sa.Float(precision=53), nullable=False),
        sa.Column("status", sa.String(length=8), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["output_pk"], ["reader_outputs.id"], name=op.f("fk_reader_assignments_output_pk")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_reader_assignments_user_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reader_assignments")),
        sa.UniqueConstraint("output_pk", "user_id", name=op.f("uq_reader_assignments_output_pk_user_id")),
    )
    op.create_index(
        op.f("ix_reader_assignments_user_id_status_place"),
        "reader_assignments",
        ["user_id", "status", "place"],
        unique=False,
    )
    op.create_table(
        "reader_keys",
        sa.Column("output_pk", sa.Integer(), nullable=False),
        sa.Column("system", sa.String(length=200), nullable=False),
        sa.Column("arm", sa.String(length=16), nullable=False),
        sa.Column("planted", _JSON, nullable=False),
        sa.ForeignKeyConstraint(["output_pk"], ["reader_outputs.id"], name=op.f("fk_reader_keys_output_pk")),
        sa.PrimaryKeyConstraint("output_pk", name=op.f("pk_reader_keys")),
    )
    op.create_table(
        "reader_votes",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("output_pk", sa.Integer(), nullable=False),
        sa.Column("user_id", sa.Integer(), nullable=False),
        sa.Column("group_name", sa.String(length=64), nullable=False),
        sa.Column("dimensions", _JSON, nullable=False),
        sa.Column("errors", _JSON, nullable=False),
        sa.Column("would_sign", sa.Boolean(), nullable=False),
        sa.Column("comment", sa.Text(), nullable=False),
        sa.Column("seconds", sa.Double(), nullable=False),
        sa.Column("token", sa.String(length=64), nullable=False),
        sa.Column("made_at", sa.String(length=27), nullable=False),
        sa.ForeignKeyConstraint(["output_pk"], ["reader_outputs.id"], name=op.f("fk_reader_votes_output_pk")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_reader_votes_user_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reader_votes")),
        sa.UniqueConstraint("user_id", "token", name=op.f("uq_reader_votes_user_id_token")),
    )
    op.create_index(op.f("ix_reader_votes_output_pk_user_id"), "reader_votes", ["output_pk", "user_id"], unique=False)
    append_only(op, _APPENDED)


def downgrade() -> None:
    """Take them back."""
    any_change(op, _APPENDED)

    op.drop_index(op.f("ix_reader_votes_output_pk_user_id"), table_name="reader_votes")
    op.drop_table("reader_votes")
    op.drop_table("reader_keys")
    op.drop_index(op.f("ix_reader_assignments_user_id_status_place"), table_name="reader_assignments")
    op.drop_table("reader_assignments")
    op.drop_table("reader_outputs")
    op.drop_index(op.f("ix_study_volumes_handle"), table_name="study_volumes")
    op.drop_table("study_volumes")
    op.drop_table("reader_cases")
    op.drop_table("level_corrections")
    op.drop_table("volumes")
    op.drop_table("reader_studies")
    op.drop_index(op.f("ix_figure_reviews_status_id"), table_name="figure_reviews")
    op.drop_table("figure_reviews")
    op.drop_index(op.f("ix_deid_items_status_id"), table_name="deid_items")
    op.drop_table("deid_items")
