"""Items, reviews, people and the audit log."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from data_pipeline.review.store.triggers import any_change, append_only

revision = "0001_protocol"
down_revision = None
branch_labels = None
depends_on = None

_JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
_APPENDED = ("audit", "decisions", "versions", "flags", "adjudications", "sampling_plans", "wordings")


def upgrade() -> None:
    """Make the tables, and the triggers that keep appended rows as they are."""

    op.create_table(
        "audit",
        sa.Column("seq", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("at", sa.String(length=27), nullable=False),
        sa.Column("actor", sa.String(length=64), nullable=False),
        sa.Column("action", sa.String(length=40), nullable=False),
        sa.Column("object_kind", sa.String(length=32), nullable=False),
        sa.Column("object_id", sa.String(length=300), nullable=False),
        sa.Column("old", sa.Text(), nullable=False),
        sa.Column("new", sa.Text(), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("meaning", sa.Text(), nullable=False),
        sa.Column("prev_sha256", sa.String(length=64), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_audit")),
        sa.UniqueConstraint("sha256", name=op.f("uq_audit_sha256")),
    )
    op.create_index(op.f("ix_audit_actor"), "audit", ["actor"], unique=False)
    op.create_index(op.f("ix_audit_object_kind_object_id"), "audit", ["object_kind", "object_id"], unique=False)
    op.create_table(
        "audit_head",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_head")),
    )
    op.create_table(
        "login_attempts",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name_sha256", sa.String(length=64), nullable=False),
        sa.Column("address_sha256", sa.String(length=64), nullable=False),
        sa.Column("at", sa.String(length=27), nullable=False),
        sa.Column("ok", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_login_attempts")),
    )
    op.create_index(
        op.f("ix_login_attempts_address_sha256_at"), "login_attempts", ["address_sha256", "at"], unique=False
    )
    op.create_index(op.f("ix_login_attempts_name_sha256_at"), "login_attempts", ["name_sha256", "at"], unique=False)
    op.create_table(
        "pictures",
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("format", sa.String(length=8), nullable=False),
        sa.Column("width_px", sa.Integer(), nullable=False),
        sa.Column("height_px", sa.Integer(), nullable=False),
        sa.Column("bits", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("sha256", name=op.f("pk_pictures")),
    )
    op.create_table(
        "runs",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("folder", sa.Text(), nullable=False),
        sa.Column("revised_sha256", sa.String(length=64), nullable=False),
        sa.Column("imported_at", sa.String(length=27), nullable=False),
        sa.Column("account", _JSON, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_runs")),
        sa.UniqueConstraint("revised_sha256", name=op.f("uq_runs_revised_sha256")),
    )
    op.create_table(
        "users",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("pseudonym", sa.String(length=64), nullable=False),
        sa.Column("roles", _JSON, nullable=False),
        sa.Column("password_hash", sa.String(length=256), nullable=False),
        sa.Column("specialty", sa.String(length=120), nullable=False),
        sa.Column("years", sa.Integer(), nullable=True),
        sa.Column("group_name", sa.String(length=64), nullable=False),
        sa.Column("conflicts", _JSON, nullable=False),
        sa.Column("language", sa.String(length=8), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.String(length=27), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_users")),
        sa.UniqueConstraint("pseudonym", name=op.f("uq_users_pseudonym")),
    )
    op.create_table(
        "evidence",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("ref_id", sa.String(length=300), nullable=False),
        sa.Column("record", sa.Text(), nullable=False),
        sa.Column("text_sha256", sa.String(length=64), nullable=False),
        sa.Column("document_id", sa.String(length=300), nullable=False),
        sa.Column("picture_sha256", sa.String(length=64), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_evidence_run_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_evidence")),
        sa.UniqueConstraint("run_id", "kind", "ref_id", name=op.f("uq_evidence_run_id_kind_ref_id")),
    )
    op.create_table(
        "items",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("instance_id", sa.String(length=200), nullable=False),
        sa.Column("instance_sha256", sa.String(length=64), nullable=False),
        sa.Column("task", sa.String(length=32), nullable=False),
        sa.Column("axis", sa.String(length=32), nullable=False),
        sa.Column("language", sa.String(length=8), nullable=False),
        sa.Column("origin", sa.String(length=16), nullable=False),
        sa.Column("source_id", sa.String(length=120), nullable=False),
        sa.Column("group_id", sa.String(length=200), nullable=False),
        sa.Column("answer_kind", sa.String(length=16), nullable=False),
        sa.Column("answer_key", sa.Text(), nullable=False),
        sa.Column("levels", _JSON, nullable=False),
        sa.Column("side", sa.String(length=8), nullable=False),
        sa.Column("urgency", sa.String(length=16), nullable=False),
        sa.Column("purpose", sa.String(length=16), nullable=False),
        sa.Column("risk", sa.Double(), nullable=False),
        sa.Column("sampled", sa.Boolean(), nullable=False),
        sa.Column("reviews_needed", sa.Integer(), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("final_version_id", sa.Integer(), nullable=True),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("reopened_why", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_items_run_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_items")),
        sa.UniqueConstraint("run_id", "instance_id", name=op.f("uq_items_run_id_instance_id")),
    )
    op.create_index(op.f("ix_items_group_id"), "items", ["group_id"], unique=False)
    op.create_index(op.f("ix_items_instance_sha256"), "items", ["instance_sha256"], unique=False)
    op.create_index(op.f("ix_items_status_id"), "items", ["status", "id"], unique=False)
    op.create_index(op.f("ix_items_task_status"), "items", ["task", "status"], unique=False)
    op.create_table(
        "sampling_plans",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("seed", sa.Integer(), nullable=False),
        sa.Column("training_share", sa.Double(), nullable=False),
        sa.Column("counts", _JSON, nullable=False),
        sa.Column("made_at", sa.String(length=27), nullable=False),
        sa.Column("made_by", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(["made_by"], ["users.id"], name=op.f("fk_sampling_plans_made_by")),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_sampling_plans_run_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sampling_plans")),
    )
    op.create_table(
        "web_sessions",
        sa.Column("token_sha256", sa.String(length=64), nullable=False),
        sa.Column("user_id", sa.Integer(), nullable=False),
        sa.Column("csrf", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.String(length=27), nullable=False),
        sa.Column("seen_at", sa.String(length=27), nullable=False),
        sa.Column("expires_at", sa.String(length=27), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_web_sessions_user_id")),
        sa.PrimaryKeyConstraint("token_sha256", name=op.f("pk_web_sessions")),
    )
    op.create_index(op.f("ix_web_sessions_expires_at"), "web_sessions", ["expires_at"], unique=False)
    op.create_index(op.f("ix_web_sessions_user_id"), "web_sessions", ["user_id"], unique=False)
    op.create_table(
        "wordings",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("name", sa.String(length=120), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("made_by", sa.Integer(), nullable=True),
        sa.Column("made_at", sa.String(length=27), nullable=False),
        sa.ForeignKeyConstraint(["made_by"], ["users.id"], name=op.f("fk_wordings_made_by")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_wordings")),
    )
    op.create_index(op.f("ix_wordings_kind_name_id"), "wordings", ["kind", "name", "id"], unique=False)
    op.create_table(
        "assignments",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("item_id", sa.Integer(), nullable=False),
        sa.Column("user_id", sa.Integer(), nullable=False),
        sa.Column("place", sa.Float(precision=53), nullable=False),
        sa.Column("status", sa.String(length=8), nullable=False),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("decision_id", sa.Integer(), nullable=True),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("saw_other", sa.Boolean(), nullable=False),
        sa.Column("assigned_at", sa.String(length=27), nullable=False),
        sa.ForeignKeyConstraint(["item_id"], ["items.id"], name=op.f("fk_assignments_item_id")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_assignments_user_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_assignments")),
        sa.UniqueConstraint("item_id", "user_id", name=op.f("uq_assignments_item_id_user_id")),
    )
    op.create_index(op.f("ix_assignments_user_id_place"), "assignments", ["user_id", "place"], unique=False)
    op.create_index(
        op.f("ix_assignments_user_id_status_place"), "assignments", ["user_id", "status", "place"], unique=False
    )
    op.create_table(
        "autosaves",
        sa.Column("user_id", sa.Integer(), nullable=False),
        sa.Column("item_id", sa.Integer(), nullable=False),
        sa.Column("body", _JSON, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("saved_at", sa.String(length=27), nullable=False),
        sa.ForeignKeyConstraint(["item_id"], ["items.id"], name=op.f("fk_autosaves_item_id")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_autosaves_user_id")),
        sa.PrimaryKeyConstraint("user_id", "item_id", name=op.f("pk_autosaves")),
    )
    op.create_table(
        "gold_items",
        sa.Column("item_id", sa.Integer(), nullable=False),
        sa.Column("verdict", sa.String(length=16), nullable=False),
        sa.Column("answer_key", sa.Text(), nullable=False),
        sa.Column("levels", _JSON, nullable=False),
        sa.Column("side", sa.String(length=8), nullable=False),
        sa.Column("urgency", sa.String(length=16), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("made_by", sa.Integer(), nullable=True),
        sa.Column("made_at", sa.String(length=27), nullable=False),
        sa.ForeignKeyConstraint(["item_id"], ["items.id"], name=op.f("fk_gold_items_item_id")),
        sa.ForeignKeyConstraint(["made_by"], ["users.id"], name=op.f("fk_gold_items_made_by")),
        sa.PrimaryKeyConstraint("item_id", name=op.f("pk_gold_items")),
    )
    op.create_table(
        "item_evidence",
        sa.Column("item_id", sa.Integer(), nullable=False),
        sa.Column("place", sa.Integer(), nullable=False),
        sa.Column("evidence_id", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["evidence_id"], ["evidence.id"], name=op.f("fk_item_evidence_evidence_id")),
        sa.ForeignKeyConstraint(["item_id"], ["items.id"], name=op.f("fk_item_evidence_item_id")),
        sa.PrimaryKeyConstraint("item_id", "place", name=op.f("pk_item_evidence")),
    )
    op.create_index(op.f("ix_item_evidence_evidence_id"), "item_evidence", ["evidence_id"], unique=False)
    op.create_table(
        "versions",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("item_id", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("author_id", sa.Integer(), nullable=True),
        sa.Column("parent_id", sa.Integer(), nullable=True),
        sa.Column("shown", sa.Text(), nullable=False),
        sa.Column("instance", sa.Text(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("made_at", sa.String(length=27), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["author_id"], ["users.id"], name=op.f("fk_versions_author_id")),
        sa.ForeignKeyConstraint(["item_id"], ["items.id"], name=op.f("fk_versions_item_id")),
        sa.ForeignKeyConstraint(["parent_id"], ["versions.id"], name=op.f("fk_versions_parent_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_versions")),
        sa.UniqueConstraint("item_id", "number", name=op.f("uq_versions_item_id_number")),
    )
    op.create_table(
        "adjudications",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("item_id", sa.Integer(), nullable=False),
        sa.Column("user_id", sa.Integer(), nullable=False),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("disagreed", _JSON, nullable=False),
        sa.Column("verdict", sa.String(length=16), nullable=False),
        sa.Column("version_id", sa.Integer(), nullable=True),
        sa.Column("answer_key", sa.Text(), nullable=False),
        sa.Column("levels", _JSON, nullable=False),
        sa.Column("side", sa.String(length=8), nullable=False),
        sa.Column("urgency", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("token", sa.String(length=64), nullable=False),
        sa.Column("payload_sha256", sa.String(length=64), nullable=False),
        sa.Column("made_at", sa.String(length=27), nullable=False),
        sa.ForeignKeyConstraint(["item_id"], ["items.id"], name=op.f("fk_adjudications_item_id")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_adjudications_user_id")),
        sa.ForeignKeyConstraint(["version_id"], ["versions.id"], name=op.f("fk_adjudications_version_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_adjudications")),
        sa.UniqueConstraint("user_id", "token", name=op.f("uq_adjudications_user_id_token")),
    )
    op.create_index(op.f("ix_adjudications_item_id_round"), "adjudications", ["item_id", "round"], unique=False)
    op.create_table(
        "decisions",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("assignment_id", sa.Integer(), nullable=False),
        sa.Column("item_id", sa.Integer(), nullable=False),
        sa.Column("user_id", sa.Integer(), nullable=False),
        sa.Column("group_name", sa.String(length=64), nullable=False),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("verdict", sa.String(length=16), nullable=False),
        sa.Column("undoes_id", sa.Integer(), nullable=True),
        sa.Column("shown_version_id", sa.Integer(), nullable=False),
        sa.Column("edit_version_id", sa.Integer(), nullable=True),
        sa.Column("answer_key", sa.Text(), nullable=False),
        sa.Column("levels", _JSON, nullable=False),
        sa.Column("side", sa.String(length=8), nullable=False),
        sa.Column("urgency", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("seconds", sa.Double(), nullable=False),
        sa.Column("token", sa.String(length=64), nullable=False),
        sa.Column("payload_sha256", sa.String(length=64), nullable=False),
        sa.Column("made_at", sa.String(length=27), nullable=False),
        sa.ForeignKeyConstraint(["assignment_id"], ["assignments.id"], name=op.f("fk_decisions_assignment_id")),
        sa.ForeignKeyConstraint(["edit_version_id"], ["versions.id"], name=op.f("fk_decisions_edit_version_id")),
        sa.ForeignKeyConstraint(["item_id"], ["items.id"], name=op.f("fk_decisions_item_id")),
        sa.ForeignKeyConstraint(["shown_version_id"], ["versions.id"], name=op.f("fk_decisions_shown_version_id")),
        sa.ForeignKeyConstraint(["undoes_id"], ["decisions.id"], name=op.f("fk_decisions_undoes_id")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_decisions_user_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_decisions")),
        sa.UniqueConstraint("user_id", "token", name=op.f("uq_decisions_user_id_token")),
    )
    op.create_index(op.f("ix_decisions_item_id_round"), "decisions", ["item_id", "round"], unique=False)
    op.create_index(op.f("ix_decisions_user_id_made_at"), "decisions", ["user_id", "made_at"], unique=False)
    op.create_table(
        "flags",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("item_id", sa.Integer(), nullable=False),
        sa.Column("user_id", sa.Integer(), nullable=False),
        sa.Column("version_id", sa.Integer(), nullable=False),
        sa.Column("message", sa.Integer(), nullable=False),
        sa.Column("start", sa.Integer(), nullable=False),
        sa.Column("end", sa.Integer(), nullable=False),
        sa.Column("quote", sa.Text(), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("withdraws_id", sa.Integer(), nullable=True),
        sa.Column("token", sa.String(length=64), nullable=False),
        sa.Column("made_at", sa.String(length=27), nullable=False),
        sa.ForeignKeyConstraint(["item_id"], ["items.id"], name=op.f("fk_flags_item_id")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_flags_user_id")),
        sa.ForeignKeyConstraint(["version_id"], ["versions.id"], name=op.f("fk_flags_version_id")),
        sa.ForeignKeyConstraint(["withdraws_id"], ["flags.id"], name=op.f("fk_flags_withdraws_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_flags")),
        sa.UniqueConstraint("user_id", "token", name=op.f("uq_flags_user_id_token")),
    )
    op.create_index(op.f("ix_flags_item_id_user_id"), "flags", ["item_id", "user_id"], unique=False)
    append_only(op, _APPENDED)
    op.execute("INSERT INTO audit_head (id, seq, sha256) VALUES (1, 0, '" + "0" * 64 + "')")


def downgrade() -> None:
    """Take them back."""
    any_change(op, _APPENDED)

    op.drop_index(op.f("ix_flags_item_id_user_id"), table_name="flags")
    op.drop_table("flags")
    op.drop_index(op.f("ix_decisions_user_id_made_at"), table_name="decisions")
    op.drop_index(op.f("ix_decisions_item_id_round"), table_name="decisions")
    op.drop_table("decisions")
    op.drop_index(op.f("ix_adjudications_item_id_round"), table_name="adjudications")
    op.drop_table("adjudications")
    op.drop_table("versions")
    op.drop_index(op.f("ix_item_evidence_evidence_id"), table_name="item_evidence")
    op.drop_table("item_evidence")
    op.drop_table("gold_items")
    op.drop_table("autosaves")
    op.drop_index(op.f("ix_assignments_user_id_status_place"), table_name="assignments")
    op.drop_index(op.f("ix_assignments_user_id_place"), table_name="assignments")
    op.drop_table("assignments")
    op.drop_index(op.f("ix_wordings_kind_name_id"), table_name="wordings")
    op.drop_table("wordings")
    op.drop_index(op.f("ix_web_sessions_user_id"), table_name="web_sessions")
    op.drop_index(op.f("ix_web_sessions_expires_at"), table_name="web_sessions")
    op.drop_table("web_sessions")
    op.drop_table("sampling_plans")
    op.drop_index(op.f("ix_items_task_status"), table_name="items")
    op.drop_index(op.f("ix_items_status_id"), table_name="items")
    op.drop_index(op.f("ix_items_instance_sha256"), table_name="items")
    op.drop_index(op.f("ix_items_group_id"), table_name="items")
    op.drop_table("items")
    op.drop_table("evidence")
    op.drop_table("users")
    op.drop_table("runs")
    op.drop_table("pictures")
    op.drop_index(op.f("ix_login_attempts_name_sha256_at"), table_name="login_attempts")
    op.drop_index(op.f("ix_login_attempts_address_sha256_at"), table_name="login_attempts")
    op.drop_table("login_attempts")
    op.drop_table("audit_head")
    op.drop_index(op.f("ix_audit_object_kind_object_id"), table_name="audit")
    op.drop_index(op.f("ix_audit_actor"), table_name="audit")
    op.drop_table("audit")
