"""The tables of the metadata database, as SQLAlchemy 2 classes. `docs/ledger.md` says how to ask them.

Times are UTC and kept as text in ISO 8601 with microseconds (`2026-01-15T12:00:00.000000Z`), so that they sort, read
well in the `sqlite3` shell and mean the same in PostgreSQL.
"""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any, ClassVar

from sqlalchemy import JSON, BigInteger, Date, ForeignKey, Index, Integer, String, Text
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator

NAME_LENGTH = 255
"""Of the columns that hold keys and fields, which producers name."""


class UtcTime(TypeDecorator[datetime]):
    """An aware UTC datetime, stored as sortable text."""

    impl = String(32)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> str | None:
        """Aware datetime to text; a naive one is a bug and raises ValueError."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time without zone reached the database")
        # Not strftime: it writes the year 33 with two digits, which no reader takes back.
        return value.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"

    def process_result_value(self, value: str | None, dialect: Dialect) -> datetime | None:
        """Text to aware datetime; plain SQL may have written any ISO 8601 form, without zone it is UTC."""
        if value is None:
            return None
        parsed = datetime.fromisoformat(value)
        return parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed.astimezone(UTC)


class Base(DeclarativeBase):
    """Base of all tables."""

    type_annotation_map: ClassVar[dict[Any, Any]] = {
        datetime: UtcTime,
        date: Date,
        dict[str, Any]: JSON,
        list[str]: JSON,
    }


class TableMetadata(Base):
    """The registry: one row a file type. A person may write it with plain SQL; every column is checked when read."""

    __tablename__ = "table_metadata"

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    file_type: Mapped[str] = mapped_column(String(63), unique=True)
    table_name: Mapped[str] = mapped_column(String(255))
    filename_patterns: Mapped[str | None] = mapped_column(Text)  #: JSON list of text; null: the file type's name
    status: Mapped[str] = mapped_column(String(16), default="inactive", server_default="inactive")
    schema_definition: Mapped[str | None] = mapped_column(Text)  #: JSON; null for a type that discovery made
    schema_version: Mapped[int] = mapped_column(Integer, default=1, server_default="1")
    partition_column: Mapped[str | None] = mapped_column(String(255))
    processing_config: Mapped[str | None] = mapped_column(Text)  #: JSON
    description: Mapped[str | None] = mapped_column(Text)
    last_error: Mapped[str | None] = mapped_column(Text)
    last_error_at: Mapped[datetime | None]
    created_at: Mapped[datetime | None]
    updated_at: Mapped[datetime | None]
    draft: Mapped[str | None] = mapped_column(Text)  #: JSON; a types file drafted from the files that are held for it
    draft_facts: Mapped[str | None] = mapped_column(Text)  #: JSON; what the draft was made of: files, records, samples
    drafted_at: Mapped[datetime | None]


class SchemaVersion(Base):
    """One version of a type's schema, as it was when it became the type's; never changed afterwards."""

    __tablename__ = "schema_versions"

    file_type: Mapped[str] = mapped_column(String(63), primary_key=True)
    version: Mapped[int] = mapped_column(Integer, primary_key=True)
    schema_definition: Mapped[str] = mapped_column(Text)  #: JSON
    changes: Mapped[list[str]]  #: what changed against the version before, in words
    created_at: Mapped[datetime]


class UnknownField(Base):
    """A key that records of a type have and its schema has not; counted when their batch is recorded."""

    __tablename__ = "unknown_fields"

    file_type: Mapped[str] = mapped_column(String(63), primary_key=True)
    key: Mapped[str] = mapped_column(String(NAME_LENGTH), primary_key=True)  #: dots lead into structs
    records: Mapped[int] = mapped_column(BigInteger)  #: that had it
    files: Mapped[int] = mapped_column(BigInteger)  #: with at least one such record
    sample: Mapped[str] = mapped_column(Text)  #: one value, as JSON text, cut when long
    first_seen: Mapped[datetime]
    last_seen: Mapped[datetime]


class SourceFile(Base):
    """The ledger's file: one row for every source file that was ever taken out of `incoming/`."""

    __tablename__ = "source_files"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)  #: UUIDv7
    name: Mapped[str] = mapped_column(Text)  #: its name in incoming/
    prefix: Mapped[str | None] = mapped_column(Text)  #: what stands before the filename's timestamp
    file_type: Mapped[str | None] = mapped_column(String(63))
    filename_time: Mapped[datetime | None]  #: the name's 14 digits, read as UTC
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    digest: Mapped[str | None] = mapped_column(String(64))  #: SHA-256 of its bytes, hexadecimal
    modified_at: Mapped[datetime | None]  #: its mtime
    state: Mapped[str] = mapped_column(String(16))
    path: Mapped[str] = mapped_column(Text)  #: where it is now, absolute
    batch_id: Mapped[str | None] = mapped_column(String(36))  #: the last micro-batch it was part of
    attempts: Mapped[int] = mapped_column(Integer, default=0)
    noticed_by: Mapped[str] = mapped_column(String(16))  #: event or scan
    noticed_at: Mapped[datetime]
    claimed_at: Mapped[datetime | None]
    settled_at: Mapped[datetime | None]
    records: Mapped[int | None] = mapped_column(BigInteger)  #: decoded, good and bad
    rows: Mapped[int | None] = mapped_column(BigInteger)  #: loaded into the type's table
    rejected: Mapped[int | None] = mapped_column(BigInteger)
    replayed: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")  #: of the rejected: in the table
    discarded: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")  #: of the rejected: thrown away
    code: Mapped[str | None] = mapped_column(String(64))  #: why it failed
    message: Mapped[str | None] = mapped_column(Text)
    deaths: Mapped[int] = mapped_column(Integer, default=0, server_default="0")  #: of the process, with it in work
    replaced_by: Mapped[str | None] = mapped_column(String(36))  #: the file whose load took this one's place

    __table_args__ = (
        Index("ix_source_files_state_type", "state", "file_type"),
        Index("ix_source_files_delivery", "file_type", "filename_time", "digest"),
        Index("ix_source_files_name", "name"),
        Index("ix_source_files_path", "path"),
        Index("ix_source_files_batch", "batch_id"),
    )


class Batch(Base):
    """The ledger's micro-batch: one chunk of one flush of one type, one snapshot per table."""

    __tablename__ = "batches"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)  #: UUIDv7, the id in the snapshot's summary
    file_type: Mapped[str] = mapped_column(String(63))
    table_name: Mapped[str] = mapped_column(String(255))  #: namespace.table
    schema_version: Mapped[int] = mapped_column(Integer)
    state: Mapped[str] = mapped_column(String(16))
    flush_id: Mapped[str] = mapped_column(String(36))
    reason: Mapped[str] = mapped_column(String(16))  #: size, hour, age or request
    attempts: Mapped[int] = mapped_column(Integer, default=0)
    files: Mapped[int] = mapped_column(Integer)
    bytes: Mapped[int] = mapped_column(BigInteger)
    records: Mapped[int | None] = mapped_column(BigInteger)
    expected_rows: Mapped[int | None] = mapped_column(BigInteger)  #: as the Parquet footers count them
    rejected: Mapped[int | None] = mapped_column(BigInteger)
    event_days: Mapped[list[str] | None]  #: UTC days of the rows' summary time, ISO dates, fixed at Prepare
    snapshot_id: Mapped[int | None] = mapped_column(BigInteger)  #: null when it loaded no row
    quarantine_rows: Mapped[int | None] = mapped_column(BigInteger)
    quarantine_snapshot_id: Mapped[int | None] = mapped_column(BigInteger)
    unknown_fields: Mapped[dict[str, Any] | None]  #: key → records, files, sample; counted when it is recorded
    planned_at: Mapped[datetime]
    prepared_at: Mapped[datetime | None]
    committed_at: Mapped[datetime | None]
    settled_at: Mapped[datetime | None]
    error: Mapped[str | None] = mapped_column(Text)  #: of its last failed attempt
    halved_from: Mapped[str | None] = mapped_column(String(36))  #: the abandoned batch whose half it is

    __table_args__ = (Index("ix_batches_state", "state"), Index("ix_batches_type", "file_type"))


class FileHistory(Base):
    """The life of a source file, a row for each step; written in the transaction of that step. `explain` reads it."""

    __tablename__ = "file_history"

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    file_id: Mapped[str] = mapped_column(ForeignKey("source_files.id"))
    at: Mapped[datetime]
    state: Mapped[str] = mapped_column(String(16))  #: its state from then on
    path: Mapped[str | None] = mapped_column(Text)  #: where it was from then on
    batch_id: Mapped[str | None] = mapped_column(String(36))
    code: Mapped[str | None] = mapped_column(String(64))
    message: Mapped[str | None] = mapped_column(Text)

    __table_args__ = (Index("ix_file_history_file", "file_id"),)


class Operation(Base):
    """What changes rows that were loaded or rejected: one snapshot a table, recorded like a batch."""

    __tablename__ = "operations"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)  #: UUIDv7, the id in the snapshot's summary
    kind: Mapped[str] = mapped_column(String(16))  #: undo, replace, replay, discard or backfill
    file_type: Mapped[str] = mapped_column(String(63))
    table_name: Mapped[str] = mapped_column(String(255))  #: namespace.table
    state: Mapped[str] = mapped_column(String(16))  #: planned, prepared, committed, settled or abandoned
    batch_id: Mapped[str | None] = mapped_column(String(36))  #: the batch that is undone, or that replaces
    file_ids: Mapped[list[str]]  #: whose rows are taken out, or come in
    removed_rows: Mapped[int | None] = mapped_column(BigInteger)
    added_rows: Mapped[int | None] = mapped_column(BigInteger)  #: of a replay: into its type's table
    quarantine_rows: Mapped[int | None] = mapped_column(BigInteger)  #: that leave the quarantine with it
    quarantine_snapshot_id: Mapped[int | None] = mapped_column(BigInteger)
    schema_version: Mapped[int | None] = mapped_column(Integer)  #: of a replay or backfill
    detail: Mapped[dict[str, Any] | None]  #: what its kind needs beside
    added_paths: Mapped[list[str] | None]  #: data files that hold what stays of rewritten ones, fixed at Prepare
    removed_paths: Mapped[list[str] | None]
    event_days: Mapped[list[str] | None]
    snapshot_id: Mapped[int | None] = mapped_column(BigInteger)
    planned_at: Mapped[datetime]
    prepared_at: Mapped[datetime | None]
    committed_at: Mapped[datetime | None]
    settled_at: Mapped[datetime | None]
    error: Mapped[str | None] = mapped_column(Text)

    __table_args__ = (Index("ix_operations_state", "state"),)


class BatchFile(Base):
    """What one micro-batch made of one source file; a file may be part of several batches in its life."""

    __tablename__ = "batch_files"

    batch_id: Mapped[str] = mapped_column(ForeignKey("batches.id"), primary_key=True)
    file_id: Mapped[str] = mapped_column(ForeignKey("source_files.id"), primary_key=True)
    outcome: Mapped[str | None] = mapped_column(String(16))  #: loaded, failed, error or changed; null before Prepare
    records: Mapped[int | None] = mapped_column(BigInteger)
    rows: Mapped[int | None] = mapped_column(BigInteger)
    rejected: Mapped[int | None] = mapped_column(BigInteger)
    code: Mapped[str | None] = mapped_column(String(64))
    message: Mapped[str | None] = mapped_column(Text)

    __table_args__ = (Index("ix_batch_files_file", "file_id"),)


class BatchDataFile(Base):
    """A Parquet data file that a prepared micro-batch wrote; recovery commits from these paths."""

    __tablename__ = "batch_data_files"

    path: Mapped[str] = mapped_column(Text, primary_key=True)
    batch_id: Mapped[str] = mapped_column(ForeignKey("batches.id"), index=True)
    table_name: Mapped[str] = mapped_column(String(255))  #: namespace.table
    rows: Mapped[int] = mapped_column(BigInteger)
    bytes: Mapped[int] = mapped_column(BigInteger)


class Reject(Base):
    """How many records of one file one micro-batch rejected for one reason; kept for files that went to error/ too."""

    __tablename__ = "rejects"

    batch_id: Mapped[str] = mapped_column(ForeignKey("batches.id"), primary_key=True)
    file_id: Mapped[str] = mapped_column(ForeignKey("source_files.id"), primary_key=True)
    code: Mapped[str] = mapped_column(String(64), primary_key=True)
    field: Mapped[str] = mapped_column(
        String(NAME_LENGTH), primary_key=True
    )  #: empty: the record as a whole is at fault
    records: Mapped[int] = mapped_column(BigInteger)
    first_record_no: Mapped[int] = mapped_column(BigInteger)
    message: Mapped[str] = mapped_column(Text)  #: of the first of them

    __table_args__ = (Index("ix_rejects_file", "file_id"),)


class ReplayRecord(Base):
    """A rejected record that an operation has taken (replay, discard): nobody else may take it.

    Written at Plan; those that an operation does not take in the end are removed at its Prepare, or when it is
    abandoned. A load that is undone or replaced takes its rows along.
    """

    __tablename__ = "replay_records"

    batch_id: Mapped[str] = mapped_column(String(36), primary_key=True)  #: that rejected it
    file_id: Mapped[str] = mapped_column(String(36), primary_key=True)
    record_no: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    operation_id: Mapped[str] = mapped_column(ForeignKey("operations.id"), index=True)


class SummaryDay(Base):
    """One day of one summary table; it is dirty while `generation` is ahead of `built_generation`."""

    __tablename__ = "summary_days"

    summary_table: Mapped[str] = mapped_column(String(255), primary_key=True)  #: namespace.table
    day: Mapped[date] = mapped_column(primary_key=True)
    file_type: Mapped[str] = mapped_column(String(63))
    generation: Mapped[int] = mapped_column(Integer, default=0)  #: counts the commits that touched the day
    built_generation: Mapped[int] = mapped_column(Integer, default=0)  #: the generation the summary has seen
    built_at: Mapped[datetime | None]
    rows: Mapped[int | None] = mapped_column(BigInteger)
    snapshot_id: Mapped[int | None] = mapped_column(BigInteger)


class Mark(Base):
    """When something of the daemon's happened last: `hour`, `rescan`, `summary`, `started`, …"""

    __tablename__ = "marks"

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    at: Mapped[datetime]
    detail: Mapped[dict[str, Any] | None]


class Request(Base):
    """What a command asks of the running daemon; the row is the truth, the wake file only the hint."""

    __tablename__ = "requests"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    verb: Mapped[str] = mapped_column(String(32))
    arguments: Mapped[dict[str, Any]]
    state: Mapped[str] = mapped_column(String(16))  #: waiting, taken, done, failed or dropped
    asked_at: Mapped[datetime]
    taken_at: Mapped[datetime | None]
    done_at: Mapped[datetime | None]
    result: Mapped[dict[str, Any] | None]
    error: Mapped[str | None] = mapped_column(Text)

    __table_args__ = (Index("ix_requests_state", "state"),)
