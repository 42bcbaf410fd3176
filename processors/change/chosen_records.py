"""Rejected records as they are chosen and read: the quarantine's rows by type, code, field, file, time or number.

Read with PyIceberg's own scan, a record batch at a time: neither Spark nor SQL is started for it, and of a large
quarantine only what is asked for stays in memory.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import reduce
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.expressions import (
    AlwaysTrue,
    And,
    BooleanExpression,
    EqualTo,
    GreaterThanOrEqual,
    In,
    IsNull,
    LessThan,
    Or,
)
from pyiceberg.io.pyarrow import ArrowScan

from metadata.errors import UsageError
from metadata.ledger.values import RecordKey
from metadata.types.definition import DATE_COLUMN, LINEAGE
from processors.lake.lake import Lake
from processors.lake.quarantine_table import TABLE
from processors.rewrite.which_rows import KeyedRows

NAME, FILE, NUMBER, BATCH = LINEAGE
LISTED = ("file_type", "code", "field", "message", "raw_bytes", "schema_version", "rejected_at", DATE_COLUMN, *LINEAGE)
NO_FIELD = "-"  #: stands for records that are at fault as a whole
_KEY = ("file_type", "raw_bytes", BATCH, FILE, NUMBER)


class RecordId(NamedTuple):
    """How people name a rejected record; `batch_id` is None when the file's last load is meant."""

    batch_id: str | None
    file_id: str
    record_no: int

    @classmethod
    def parse(cls, text: str) -> RecordId:
        """`FILE_ID:RECORD_NO`, or `BATCH_ID:FILE_ID:RECORD_NO`; UsageError for anything else."""
        parts = text.split(":")
        if len(parts) not in (2, 3) or not parts[-1].isdecimal() or not all(parts):
            raise UsageError(
                f"choosing record {text!r}: a record is named FILE_ID:RECORD_NO, as `lemonade quarantine list` does"
            )
        return cls(parts[0] if len(parts) == 3 else None, parts[-2], int(parts[-1]))


@dataclass(frozen=True)
class Selection:
    """Which rejected records are meant: those for which everything given holds."""

    file_type: str | None = None
    code: str | None = None
    field: str | None = None  #: `-`: records that are at fault as a whole
    file_ids: tuple[str, ...] | None = None
    records: tuple[RecordId, ...] | None = None
    since: datetime | None = None  #: rejected at that moment or later
    until: datetime | None = None  #: rejected before it

    def row_filter(self) -> BooleanExpression:
        """The same as an Iceberg expression."""
        parts: list[BooleanExpression] = []
        for column, value in (("file_type", self.file_type), ("code", self.code), ("field", self.field)):
            if column == "field" and value == NO_FIELD:
                parts.append(IsNull(column))  # type: ignore[call-arg,arg-type] # pydantic hides its own __init__
            elif value is not None:
                parts.append(_equal(column, value))
        if self.file_ids is not None:
            parts.append(In(FILE, sorted(self.file_ids)))  # type: ignore[call-arg,arg-type] # pydantic hides its own __init__
        if self.records is not None:
            parts.append(_any([_is_record(record) for record in self.records]))
        if self.since is not None:
            parts.append(GreaterThanOrEqual("rejected_at", self.since.isoformat()))  # type: ignore[call-arg,arg-type] # pydantic hides its own __init__
        if self.until is not None:
            parts.append(LessThan("rejected_at", self.until.isoformat()))  # type: ignore[call-arg,arg-type] # pydantic hides its own __init__
        return reduce(And, parts) if parts else AlwaysTrue()


@dataclass(frozen=True)
class Chunk:
    """Records of one type that are worked on together."""

    file_type: str
    keys: list[RecordKey]


class RejectedRecords:
    """The quarantine's rows, as they are now. Every method raises WorldFault when warehouse or catalog are away."""

    def __init__(self, lake: Lake) -> None:
        self.lake = lake

    def newest(self, selection: Selection, limit: int) -> tuple[list[dict[str, Any]], int]:
        """The last `limit` of them, newest first, without their text; and how many there are."""
        kept: pa.Table | None = None
        count = 0
        for batch in self._scan(selection.row_filter(), LISTED):
            rows = pa.Table.from_batches([batch])
            count += len(rows)
            kept = rows if kept is None else pa.concat_tables([kept, rows])
            if len(kept) > limit:
                kept = _newest_first(kept).slice(0, limit).combine_chunks()
        return ([] if kept is None else _newest_first(kept).slice(0, limit).to_pylist()), count

    def totals(self, selection: Selection) -> list[dict[str, Any]]:
        """How many of each type, code and field there are, most first; and when the first and last were rejected."""
        counts: Counter[tuple[str, str, str | None]] = Counter()
        times: dict[tuple[str, str, str | None], tuple[datetime, datetime]] = {}
        for batch in self._scan(selection.row_filter(), ("file_type", "code", "field", "rejected_at")):
            grouped = pa.Table.from_batches([batch]).group_by(["file_type", "code", "field"], use_threads=False)
            found = grouped.aggregate([([], "count_all"), ("rejected_at", "min"), ("rejected_at", "max")])
            for row in found.to_pylist():
                key = (row["file_type"], row["code"], row["field"])
                counts[key] += row["count_all"]
                first, last = times.get(key, (row["rejected_at_min"], row["rejected_at_max"]))
                times[key] = (min(first, row["rejected_at_min"]), max(last, row["rejected_at_max"]))
        return [
            {
                "file_type": key[0],
                "code": key[1],
                "field": key[2],
                "records": number,
                "first": times[key][0],
                "last": times[key][1],
            }
            for key, number in sorted(counts.items(), key=lambda each: (-each[1], str(each[0])))
        ]

    def find(self, record: RecordId) -> list[dict[str, Any]]:
        """The record with its text: one, none, or one for each batch that rejected it."""
        rows = [
            row
            for batch in self._scan(_is_record(record), (*LISTED, "raw", "raw_encoding"))
            for row in batch.to_pylist()
        ]
        return sorted(rows, key=lambda row: str(row[BATCH]))

    def chunks(self, selection: Selection, *, records: int, size_bytes: int) -> Iterator[Chunk]:
        """All of them, as the table is now, cut into chunks of one type with so many records and bytes of text."""
        batches = [_encoded(batch) for batch in self._scan(selection.row_filter(), _KEY)]
        if not batches:
            return
        table = pa.Table.from_batches(batches).unify_dictionaries()
        for file_type in sorted(pc.unique(table["file_type"].cast(pa.string())).drop_null().to_pylist()):
            mine = table.filter(pc.equal(table["file_type"].cast(pa.string()), file_type))
            keys: list[RecordKey] = []
            size = 0
            for rows in mine.to_batches(max_chunksize=records):
                for row in rows.to_pylist():
                    if keys and (len(keys) == records or size + row["raw_bytes"] > size_bytes):
                        yield Chunk(file_type, keys)
                        keys, size = [], 0
                    keys.append(RecordKey(row[BATCH], row[FILE], row[NUMBER]))
                    size += row["raw_bytes"]
            if keys:
                yield Chunk(file_type, keys)

    def fetch(self, keys: Iterable[RecordKey]) -> pa.Table:
        """These records with everything that is known of them, in no order; those that are gone are missing."""
        wanted = KeyedRows.of(keys)
        found = []
        for batch in self._scan(wanted.row_filter(), (*LISTED, "raw", "raw_encoding")):
            rows = pa.Table.from_batches([batch])
            found.append(rows.filter(wanted.mask(rows)))
        return pa.concat_tables(found).combine_chunks() if found else pa.table({})

    def _scan(self, row_filter: BooleanExpression, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Batches with these columns, of the rows that the filter takes; none when there is no quarantine yet."""
        table = self.lake.table(TABLE)
        if table is None:
            return
        tasks = self.lake.scan_tasks(TABLE, row_filter)
        with self.lake.reading(TABLE):
            scan = ArrowScan(table.metadata, table.io, table.schema().select(*columns), row_filter)
            for task in tasks:  # one after another: all that PyIceberg reads at once it keeps at once
                yield from scan.to_record_batches([task])


def _encoded(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Its columns of text by their few different values: of a million records only numbers stay in memory."""
    columns = [
        batch.column(name).dictionary_encode() if name in ("file_type", BATCH, FILE) else batch.column(name)
        for name in batch.schema.names
    ]
    return pa.record_batch(columns, names=batch.schema.names)


def _is_record(record: RecordId) -> BooleanExpression:
    own = And(_equal(FILE, record.file_id), _equal(NUMBER, record.record_no))
    return own if record.batch_id is None else And(_equal(BATCH, record.batch_id), own)


def _equal(column: str, value: object) -> BooleanExpression:
    return EqualTo(column, value)  # type: ignore[call-arg,arg-type] # pydantic hides its own __init__


def _any(parts: Sequence[BooleanExpression]) -> BooleanExpression:
    """One of them; halved, for a chain of hundreds would nest too deep."""
    if len(parts) == 1:
        return parts[0]
    middle = len(parts) // 2
    return Or(_any(parts[:middle]), _any(parts[middle:]))


def _newest_first(rows: pa.Table) -> pa.Table:
    plain = pa.table(
        {
            "rejected_at": rows["rejected_at"],
            BATCH: rows[BATCH].cast(pa.string()),
            FILE: rows[FILE].cast(pa.string()),
            NUMBER: rows[NUMBER],
        }
    )
    order = [("rejected_at", "descending"), (BATCH, "descending"), (FILE, "ascending"), (NUMBER, "ascending")]
    return rows.take(pc.sort_indices(plain, sort_keys=order))
