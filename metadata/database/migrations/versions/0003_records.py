"""Rejected records and what becomes of them, versions of schemas, unknown fields, drafts."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

TIME = sa.String(32)  # ISO 8601 text in UTC


def upgrade() -> None:
    """Apply the revision."""
    with op.batch_alter_table("table_metadata") as table:
        table.add_column(sa.Column("draft", sa.Text(), nullable=True))
        table.add_column(sa.Column("draft_facts", sa.Text(), nullable=True))
        table.add_column(sa.Column("drafted_at", TIME, nullable=True))
    with op.batch_alter_table("source_files") as table:
        table.add_column(sa.Column("replayed", sa.BigInteger(), nullable=False, server_default="0"))
        table.add_column(sa.Column("discarded", sa.BigInteger(), nullable=False, server_default="0"))
    op.add_column("batches", sa.Column("unknown_fields", sa.JSON(), nullable=True))
    with op.batch_alter_table("operations") as table:
        table.add_column(sa.Column("added_rows", sa.BigInteger(), nullable=True))
        table.add_column(sa.Column("quarantine_rows", sa.BigInteger(), nullable=True))
        table.add_column(sa.Column("quarantine_snapshot_id", sa.BigInteger(), nullable=True))
        table.add_column(sa.Column("schema_version", sa.Integer(), nullable=True))
        table.add_column(sa.Column("detail", sa.JSON(), nullable=True))
    op.create_table(
        "schema_versions",
        sa.Column("file_type", sa.String(63), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("schema_definition", sa.Text(), nullable=False),
        sa.Column("changes", sa.JSON(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("file_type", "version"),
    )
    op.execute(
        "INSERT INTO schema_versions (file_type, version, schema_definition, changes, created_at) "
        "SELECT file_type, schema_version, schema_definition, '[]', "
        "COALESCE(updated_at, created_at, '1970-01-01T00:00:00.000000Z') "
        "FROM table_metadata WHERE schema_definition IS NOT NULL"
    )
    op.create_table(
        "unknown_fields",
        sa.Column("file_type", sa.String(63), nullable=False),
        sa.Column("key", sa.String(255), nullable=False),
        sa.Column("records", sa.BigInteger(), nullable=False),
        sa.Column("files", sa.BigInteger(), nullable=False),
        sa.Column("sample", sa.Text(), nullable=False),
        sa.Column("first_seen", TIME, nullable=False),
        sa.Column("last_seen", TIME, nullable=False),
        sa.PrimaryKeyConstraint("file_type", "key"),
    )
    op.create_table(
        "rejects",
        sa.Column("batch_id", sa.String(36), nullable=False),
        sa.Column("file_id", sa.String(36), nullable=False),
        sa.Column("code", sa.String(64), nullable=False),
        sa.Column("field", sa.String(255), nullable=False),
        sa.Column("records", sa.BigInteger(), nullable=False),
        sa.Column("first_record_no", sa.BigInteger(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["batch_id"], ["batches.id"]),
        sa.ForeignKeyConstraint(["file_id"], ["source_files.id"]),
        sa.PrimaryKeyConstraint("batch_id", "file_id", "code", "field"),
    )
    op.create_index("ix_rejects_file", "rejects", ["file_id"])
    op.create_table(
        "replay_records",
        sa.Column("batch_id", sa.String(36), nullable=False),
        sa.Column("file_id", sa.String(36), nullable=False),
        sa.Column("record_no", sa.BigInteger(), nullable=False),
        sa.Column("operation_id", sa.String(36), nullable=False),
        sa.ForeignKeyConstraint(["operation_id"], ["operations.id"]),
        sa.PrimaryKeyConstraint("batch_id", "file_id", "record_no"),
    )
    op.create_index("ix_replay_records_operation_id", "replay_records", ["operation_id"])


def downgrade() -> None:
    """Take the revision back."""
    op.drop_table("replay_records")
    op.drop_table("rejects")
    op.drop_table("unknown_fields")
    op.drop_table("schema_versions")
    op.drop_column("batches", "unknown_fields")
    with op.batch_alter_table("operations") as table:
        for column in ("detail", "schema_version", "quarantine_snapshot_id", "quarantine_rows", "added_rows"):
            table.drop_column(column)
    with op.batch_alter_table("source_files") as table:
        table.drop_column("discarded")
        table.drop_column("replayed")
    with op.batch_alter_table("table_metadata") as table:
        for column in ("drafted_at", "draft_facts", "draft"):
            table.drop_column(column)
