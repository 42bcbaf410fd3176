"""The quarantine: the Iceberg table of rejected records, one row a record, kept as it was with the reason.

Its lineage columns have the names that they have in the types' tables, so that both are counted, undone and rewritten
by the same means. Divided by `date`, the UTC day of the file's name, as those tables are by default.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from datetime import date, datetime
from typing import TYPE_CHECKING

import pyarrow as pa
from pyiceberg.partitioning import PARTITION_FIELD_ID_START, PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.transforms import IdentityTransform
from pyiceberg.types import DateType, IcebergType, IntegerType, LongType, NestedField, StringType, TimestamptzType

from metadata.types.definition import DATE_COLUMN, LINEAGE

if TYPE_CHECKING:
    from processors.decode.file_rejects import Rejected

TABLE = "quarantine.rejected_records"

_COLUMNS: tuple[tuple[str, IcebergType, pa.DataType, str], ...] = (
    ("file_type", StringType(), pa.string(), "the file type that rejected it"),
    ("code", StringType(), pa.string(), "why, as a stable word"),
    ("field", StringType(), pa.string(), "the field at fault; null when the record as a whole is"),
    ("message", StringType(), pa.string(), "why, in words"),
    ("raw", StringType(), pa.string(), "the record as it was; null when it is longer than QUARANTINE_RAW_MAX_BYTES"),
    ("raw_encoding", StringType(), pa.string(), "utf-8, or base64 of a record that is no UTF-8; null without raw"),
    ("raw_bytes", LongType(), pa.int64(), "its length; a longer one is found in its file by _record_no"),
    ("schema_version", IntegerType(), pa.int32(), "of the type, when it was rejected"),
    ("rejected_at", TimestamptzType(), pa.timestamp("us", tz="UTC"), "when"),
    (DATE_COLUMN, DateType(), pa.date32(), "UTC day of the source file's name"),
    (LINEAGE[0], StringType(), pa.string(), "name of the source file"),
    (LINEAGE[1], StringType(), pa.string(), "id of the source file in the ledger"),
    (LINEAGE[2], LongType(), pa.int64(), "number of the record in its file, from 1"),
    (LINEAGE[3], StringType(), pa.string(), "id of the micro-batch that rejected it"),
)

COLUMNS = tuple(name for name, *_ in _COLUMNS)
"""Their names, in order."""


def iceberg_schema() -> Schema:
    """The table's columns, all optional."""
    return Schema(
        *(
            NestedField(field_id=number, name=name, field_type=type_, required=False, doc=doc)
            for number, (name, type_, _, doc) in enumerate(_COLUMNS, start=1)
        )
    )


def partition_spec() -> PartitionSpec:
    """By `date`."""
    source = iceberg_schema().find_field(DATE_COLUMN).field_id
    return PartitionSpec(
        PartitionField(
            source_id=source, field_id=PARTITION_FIELD_ID_START, transform=IdentityTransform(), name=DATE_COLUMN
        )
    )


def record_batch(
    rejected: Sequence[Rejected],
    *,
    file_type: str,
    schema_version: int,
    rejected_at: datetime,
    day: date,
    file_name: str,
    file_id: str,
    batch_id: str,
    raw_max_bytes: int,
) -> pa.RecordBatch:
    """The rejected records of one file as rows of the table."""
    count = len(rejected)
    texts = [_text(one.raw, raw_max_bytes) for one in rejected]
    values = (
        pa.repeat(file_type, count),
        pa.array([one.code for one in rejected], pa.string()),
        pa.array([one.field for one in rejected], pa.string()),
        pa.array([one.message for one in rejected], pa.string()),
        pa.array([raw for raw, _ in texts], pa.string()),
        pa.array([encoding for _, encoding in texts], pa.string()),
        pa.array([len(one.raw) for one in rejected], pa.int64()),
        pa.repeat(pa.scalar(schema_version, pa.int32()), count),
        pa.repeat(pa.scalar(rejected_at, pa.timestamp("us", tz="UTC")), count),
        pa.repeat(pa.scalar(day, pa.date32()), count),
        pa.repeat(file_name, count),
        pa.repeat(file_id, count),
        pa.array([one.record_no for one in rejected], pa.int64()),
        pa.repeat(batch_id, count),
    )
    return pa.record_batch(list(values), names=list(COLUMNS))


def raw_of(text: str | None, encoding: str | None) -> bytes | None:
    """The record's bytes out of the columns `raw` and `raw_encoding`; None when it was too long to be kept."""
    if text is None:
        return None
    return base64.b64decode(text) if encoding == "base64" else text.encode()


def _text(raw: bytes, limit: int) -> tuple[str | None, str | None]:
    if len(raw) > limit:
        return None, None
    try:
        return raw.decode(), "utf-8"
    except UnicodeDecodeError:
        return base64.b64encode(raw).decode(), "base64"
