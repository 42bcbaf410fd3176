"""The life of each file, operations that rewrite, and what deaths of the process teach."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

TIME = sa.String(32)  # ISO 8601 text in UTC


def upgrade() -> None:
    """Apply the revision."""
    with op.batch_alter_table("source_files") as table:
        table.add_column(sa.Column("deaths", sa.Integer(), nullable=False, server_default="0"))
        table.add_column(sa.Column("replaced_by", sa.String(36), nullable=True))
    with op.batch_alter_table("batches") as table:
        table.add_column(sa.Column("halved_from", sa.String(36), nullable=True))
    op.create_table(
        "file_history",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("file_id", sa.String(36), nullable=False),
        sa.Column("at", TIME, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("path", sa.Text(), nullable=True),
        sa.Column("batch_id", sa.String(36), nullable=True),
        sa.Column("code", sa.String(64), nullable=True),
        sa.Column("message", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["file_id"], ["source_files.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_file_history_file", "file_history", ["file_id"])
    op.create_table(
        "operations",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("file_type", sa.String(63), nullable=False),
        sa.Column("table_name", sa.String(255), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("batch_id", sa.String(36), nullable=True),
        sa.Column("file_ids", sa.JSON(), nullable=False),
        sa.Column("removed_rows", sa.BigInteger(), nullable=True),
        sa.Column("added_paths", sa.JSON(), nullable=True),
        sa.Column("removed_paths", sa.JSON(), nullable=True),
        sa.Column("event_days", sa.JSON(), nullable=True),
        sa.Column("snapshot_id", sa.BigInteger(), nullable=True),
        sa.Column("planned_at", TIME, nullable=False),
        sa.Column("prepared_at", TIME, nullable=True),
        sa.Column("committed_at", TIME, nullable=True),
        sa.Column("settled_at", TIME, nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_operations_state", "operations", ["state"])


def downgrade() -> None:
    """Take the revision back."""
    op.drop_table("operations")
    op.drop_table("file_history")
    with op.batch_alter_table("batches") as table:
        table.drop_column("halved_from")
    with op.batch_alter_table("source_files") as table:
        table.drop_column("replaced_by")
        table.drop_column("deaths")
