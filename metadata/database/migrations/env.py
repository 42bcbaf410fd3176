"""Alembic's environment: run by `Database.migrate()`, which hands over its connection."""

from __future__ import annotations

from alembic import context

from metadata.database.models import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    render_as_batch=True,  # SQLite changes a column by making the table anew
)
with context.begin_transaction():
    context.run_migrations()
