"""The tables of the first release."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# Times are ISO 8601 text in UTC. A revision says the column as it is here, whatever `metadata.database.models` becomes
# later.
TIME = sa.String(32)


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "table_metadata",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("file_type", sa.String(63), nullable=False, unique=True),
        sa.Column("table_name", sa.String(255), nullable=False),
        sa.Column("filename_patterns", sa.Text()),
        sa.Column("status", sa.String(16), nullable=False, server_default="inactive"),
        sa.Column("schema_definition", sa.Text()),
        sa.Column("schema_version", sa.Integer(), nullable=False, server_default="1"),
        sa.Column("partition_column", sa.String(255)),
        sa.Column("processing_config", sa.Text()),
        sa.Column("description", sa.Text()),
        sa.Column("last_error", sa.Text()),
        sa.Column("last_error_at", TIME),
        sa.Column("created_at", TIME),
        sa.Column("updated_at", TIME),
    )
    op.create_table(
        "source_files",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("prefix", sa.Text()),
        sa.Column("file_type", sa.String(63)),
        sa.Column("filename_time", TIME),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("digest", sa.String(64)),
        sa.Column("modified_at", TIME),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("batch_id", sa.String(36)),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("noticed_by", sa.String(16), nullable=False),
        sa.Column("noticed_at", TIME, nullable=False),
        sa.Column("claimed_at", TIME),
        sa.Column("settled_at", TIME),
        sa.Column("records", sa.BigInteger()),
        sa.Column("rows", sa.BigInteger()),
        sa.Column("rejected", sa.BigInteger()),
        sa.Column("code", sa.String(64)),
        sa.Column("message", sa.Text()),
    )
    op.create_index("ix_source_files_state_type", "source_files", ["state", "file_type"])
    op.create_index("ix_source_files_delivery", "source_files", ["file_type", "filename_time", "digest"])
    op.create_index("ix_source_files_name", "source_files", ["name"])
    op.create_index("ix_source_files_path", "source_files", ["path"])
    op.create_index("ix_source_files_batch", "source_files", ["batch_id"])
    op.create_table(
        "batches",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("file_type", sa.String(63), nullable=False),
        sa.Column("table_name", sa.String(255), nullable=False),
        sa.Column("schema_version", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("flush_id", sa.String(36), nullable=False),
        sa.Column("reason", sa.String(16), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("files", sa.Integer(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("records", sa.BigInteger()),
        sa.Column("expected_rows", sa.BigInteger()),
        sa.Column("rejected", sa.BigInteger()),
        sa.Column("event_days", sa.JSON()),
        sa.Column("snapshot_id", sa.BigInteger()),
        sa.Column("quarantine_rows", sa.BigInteger()),
        sa.Column("quarantine_snapshot_id", sa.BigInteger()),
        sa.Column("planned_at", TIME, nullable=False),
        sa.Column("prepared_at", TIME),
        sa.Column("committed_at", TIME),
        sa.Column("settled_at", TIME),
        sa.Column("error", sa.Text()),
    )
    op.create_index("ix_batches_state", "batches", ["state"])
    op.create_index("ix_batches_type", "batches", ["file_type"])
    op.create_table(
        "batch_files",
        sa.Column("batch_id", sa.String(36), sa.ForeignKey("batches.id"), primary_key=True),
        sa.Column("file_id", sa.String(36), sa.ForeignKey("source_files.id"), primary_key=True),
        sa.Column("outcome", sa.String(16)),
        sa.Column("records", sa.BigInteger()),
        sa.Column("rows", sa.BigInteger()),
        sa.Column("rejected", sa.BigInteger()),
        sa.Column("code", sa.String(64)),
        sa.Column("message", sa.Text()),
    )
    op.create_index("ix_batch_files_file", "batch_files", ["file_id"])
    op.create_table(
        "batch_data_files",
        sa.Column("path", sa.Text(), primary_key=True),
        sa.Column("batch_id", sa.String(36), sa.ForeignKey("batches.id"), nullable=False),
        sa.Column("table_name", sa.String(255), nullable=False),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
    )
    op.create_index("ix_batch_data_files_batch_id", "batch_data_files", ["batch_id"])
    op.create_table(
        "summary_days",
        sa.Column("summary_table", sa.String(255), primary_key=True),
        sa.Column("day", sa.Date(), primary_key=True),
        sa.Column("file_type", sa.String(63), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("built_generation", sa.Integer(), nullable=False),
        sa.Column("built_at", TIME),
        sa.Column("rows", sa.BigInteger()),
        sa.Column("snapshot_id", sa.BigInteger()),
    )
    op.create_table(
        "marks",
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("at", TIME, nullable=False),
        sa.Column("detail", sa.JSON()),
    )
    op.create_table(
        "requests",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("verb", sa.String(32), nullable=False),
        sa.Column("arguments", sa.JSON(), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("asked_at", TIME, nullable=False),
        sa.Column("taken_at", TIME),
        sa.Column("done_at", TIME),
        sa.Column("result", sa.JSON()),
        sa.Column("error", sa.Text()),
    )
    op.create_index("ix_requests_state", "requests", ["state"])


def downgrade() -> None:
    """Take every table away, and with them all that is known."""
    for table in (
        "requests",
        "marks",
        "summary_days",
        "batch_data_files",
        "batch_files",
        "batches",
        "source_files",
        "table_metadata",
    ):
        op.drop_table(table)
