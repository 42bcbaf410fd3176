"""Writing data files in a worker: rows are gathered by partition and written as Parquet that no snapshot names yet.

The partition of a table by `date` is known before a row is looked at; other partitions are split here.
"""

from __future__ import annotations

import uuid
from collections.abc import Hashable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date
from typing import Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.io import FileIO
from pyiceberg.io.pyarrow import write_file
from pyiceberg.manifest import DataFile
from pyiceberg.partitioning import PartitionField, PartitionFieldValue, PartitionKey, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.table import WriteTask
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.transforms import DayTransform, HourTransform, IdentityTransform

from metadata.errors import Fatal
from metadata.files.digest import digest_of
from metadata.files.os_errors import waited_out
from metadata.types.definition import DATE_COLUMN
from processors.lake.handle import TableHandle

_MIB = 1024 * 1024
DATA_FILE_BYTES = 128 * _MIB  # of Arrow columns, which are 10 to 20 MB of Parquet
PENDING_BYTES = 256 * _MIB  # of Arrow columns waiting, of all partitions
_PATH_PART_BYTES = 200


class _Part(NamedTuple):
    """Rows of one partition."""

    value: Hashable  #: as Iceberg stores it: days or hours since 1970, or the column's value
    batch: pa.RecordBatch


@dataclass
class _Pending:
    """Rows of one partition that wait to be written."""

    batches: list[pa.RecordBatch] = field(default_factory=list)
    size: int = 0


class TaskName(NamedTuple):
    """Which try of which task writes; its data files carry it, so that no name is written twice."""

    batch_id: str  #: or an operation's
    attempt: int  #: from 1
    task: int


class Output:
    """Gathers rows by partition and writes them: one data file a partition, more only when it grows large.

    `columns` are those of the rows that come; what only the table has becomes null.
    """

    def __init__(
        self, handle: TableHandle, columns: Sequence[str], task: TaskName, *, pending_bytes: int | None = None
    ) -> None:
        self._name = handle.name
        self._task = task
        self._pending_bytes = PENDING_BYTES if pending_bytes is None else pending_bytes
        self._metadata, self._io = handle.open()
        schema = self._metadata.schema()
        self._rows_schema = schema.select(*columns)
        self._partitions = _Partitions(schema, self._metadata.spec())
        self._pending: dict[Hashable, _Pending] = {}
        self._written: list[DataFile] = []

    def add(self, day: date, batch: pa.RecordBatch) -> None:
        """Take rows of files of one day. WorldFault when what is full cannot be written."""
        for value, part in self._partitions.parts(day, batch):
            pending = self._pending.setdefault(value, _Pending())
            pending.batches.append(part)
            pending.size += part.nbytes
            if pending.size >= DATA_FILE_BYTES:
                self._write(value)
        if sum(pending.size for pending in self._pending.values()) >= self._pending_bytes:
            self.finish()

    def finish(self) -> list[DataFile]:
        """Write what waits; every data file so far. WorldFault when it cannot be written."""
        for value in list(self._pending):
            self._write(value)
        return self._written

    def discard(self) -> None:
        """Nobody will hear of what was written, and on a full disk it would be in the way of the next attempt."""
        for written in self._written:
            with suppress(OSError):
                self._io.delete(written.file_path)

    def _write(self, value: Hashable) -> None:
        pending = self._pending.pop(value)
        # Attempt, task and number as one integer of fixed places: the name of a data file is written once, ever.
        task_id = (self._task.attempt * 10**5 + self._task.task) * 10**8 + len(self._written)
        batch_id, key = uuid.UUID(self._task.batch_id), self._partitions.key(value)
        task = WriteTask(batch_id, task_id, self._rows_schema, pending.batches, partition_key=key)
        self._written += write_data_files(self._io, self._metadata, [task], self._name)


def write_data_files(io: FileIO, metadata: TableMetadata, tasks: Iterable[WriteTask], name: str) -> list[DataFile]:
    """Rows of a partition each as data files of table `name`; WorldFault when the warehouse does not take them."""
    cure = "check the warehouse's disk for space and rights, or the network"
    with waited_out(f"writing data files of {name}", cure, code="warehouse_away"):
        return list(write_file(io, metadata, iter(tasks)))


class _Partitions:
    """How a table's rows are divided: by one of its columns, or not at all."""

    def __init__(self, schema: Schema, spec: PartitionSpec) -> None:
        self._schema = schema
        self._spec = spec
        self._field: PartitionField | None = next(iter(spec.fields), None)
        self._source = None if self._field is None else schema.find_column_name(self._field.source_id)

    def parts(self, day: date, batch: pa.RecordBatch) -> Iterator[_Part]:
        """The rows of one day's files, by partition."""
        if self._field is None or self._source is None:
            yield _Part(None, batch)
        elif self._source == DATE_COLUMN:
            yield _Part(day, batch)
        else:
            yield from _split(batch, _partition_values(batch.column(self._source), self._field))

    def key(self, value: Hashable) -> PathKey | None:
        """The partition that has this value."""
        if self._field is None:
            return None
        return PathKey([PartitionFieldValue(self._field, value)], self._spec, self._schema)


@dataclass(frozen=True)
class PathKey(PartitionKey):
    """A partition whose folder's name is one that file systems take, however long the value is."""

    def to_path(self) -> str:
        """The folder's name; a long one is cut and ends in its digest."""
        path: str = super().to_path()
        if len(path) <= _PATH_PART_BYTES:  # it is ASCII: the rest is percent-encoded
            return path
        digest = digest_of(path.encode())[:16]
        return f"{path[: _PATH_PART_BYTES - len(digest) - 1]}-{digest}"


def floor_time(times: pa.Array, unit: Literal["day", "hour"]) -> pa.Array:
    """Timestamps cut to their UTC day or hour, without zone; dates as they are."""
    if not pa.types.is_timestamp(times.type):
        return times
    return pc.floor_temporal(times.cast(pa.timestamp("us")), unit=unit)


def _partition_values(column: pa.Array, field_: PartitionField) -> pa.Array:
    """The partition's value of each row."""
    match field_.transform:
        case DayTransform():
            days = floor_time(column, "day").cast(pa.date32())
            return days.cast(pa.int32())
        case HourTransform():
            return pc.divide(floor_time(column, "hour").cast(pa.int64()), 3600 * 10**6)
        case IdentityTransform():
            if isinstance(column, pa.ExtensionArray):  # uuid
                return column.storage
            return column.cast(pa.int64()) if pa.types.is_timestamp(column.type) else column
    raise Fatal(f"writing data files: partitions by {field_.transform} are not built")


def _split(batch: pa.RecordBatch, values: pa.Array) -> Iterator[_Part]:
    """The batch's rows by partition value, null too; their order within a value stays."""
    encoded = values.dictionary_encode(null_encoding="encode")
    distinct = encoded.dictionary.to_pylist()
    if len(distinct) > 1:
        batch = batch.take(pc.sort_indices(encoded.indices))
    stops = np.cumsum(np.bincount(encoded.indices.to_numpy(), minlength=len(distinct)))
    start = 0
    for value, stop in zip(distinct, stops.tolist(), strict=True):
        yield _Part(value, batch.slice(start, stop - start))
        start = stop
