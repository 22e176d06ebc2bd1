"""Where Alembic starts: it is given an open connection, and no settings file."""

from __future__ import annotations

from alembic import context

from data_pipeline.review.store.tables import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    transactional_ddl=True,
    compare_type=True,
)
with context.begin_transaction():
    context.run_migrations()
