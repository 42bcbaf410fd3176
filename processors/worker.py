"""What one task does, in a worker process: source files → Parquet data files and an outcome for each source file.

Nothing here touches catalog, ledger or the source files' places; a task that dies leaves Parquet files that no snapshot
will ever name. A file that is not what was claimed, cannot be read or breaks the schema costs only itself.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import uuid
from collections.abc import Hashable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date
from itertools import groupby, pairwise
from operator import attrgetter
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.io.pyarrow import write_file
from pyiceberg.manifest import DataFile
from pyiceberg.partitioning import PartitionField, PartitionFieldValue, PartitionKey
from pyiceberg.table import WriteTask
from pyiceberg.transforms import DayTransform, HourTransform, IdentityTransform

from metadata.definition import DATE_COLUMN, LINEAGE, Definition, ProcessingConfig
from metadata.errors import Fatal, FileRefused, WorldFault
from metadata.ledger import FileOutcome, WrittenFile
from metadata.outage import world_code
from processors.decode import Decoder, FileResult, RecordColumns, decompress
from processors.lake import TableHandle

_MIB = 1024 * 1024
_GROUP_BYTES = 16 * _MIB  # of JSON, about; bounds what is decoded and not yet columns
_DATA_FILE_BYTES = 128 * _MIB  # of Arrow columns, which are 10 to 20 MB of Parquet
_PENDING_BYTES = 256 * _MIB  # of Arrow columns waiting, of all partitions
_FILE_COST_BYTES = 8 * 1024  # what opening a file costs, in bytes that could be decoded meanwhile
_TASK_BYTES = 4 * _MIB  # less is not worth a task of its own, nor a data file
_COMPRESSED_BY = 8  # JSON that machines wrote, as gzip and zstd compress it
_FAULTS_SHOWN = 5
_PATH_PART_BYTES = 200


@dataclass(frozen=True)
class SourceInput:
    """A claimed source file, as the ledger has it."""

    file_id: str
    path: str
    name: str
    digest: str
    day: date  #: UTC day of the time in its name
    size_bytes: int
    lines: bool
    compression: Literal["gz", "zst"] | None


@dataclass(frozen=True)
class WriteJob:
    """One task: source files, and how they become rows of which table."""

    batch_id: str
    attempt: int  #: from 1; with `task` it keeps data files of different tries apart
    task: int
    handle: TableHandle
    definition: Definition
    config: ProcessingConfig
    keys: tuple[str, ...]  #: names of the type inside documents
    inputs: tuple[SourceInput, ...]
    time_field: str | None  #: whose UTC days are collected
    max_decoded_bytes: int


@dataclass(frozen=True)
class TaskResult:
    """What became of a task's source files; `data_files` and `written` describe the same Parquet files."""

    outcomes: list[FileOutcome]
    data_files: list[DataFile]
    written: list[WrittenFile]
    days: set[date]


def cut_tasks(inputs: Sequence[SourceInput], parallelism: int) -> list[tuple[SourceInput, ...]]:
    """Divide source files over at most `parallelism` tasks of even work.

    Files stay in the order of their days, so all tasks together write at most one data file a day and one more for
    each cut. Little work makes fewer tasks.
    """
    ordered = sorted(inputs, key=lambda source: (source.day, source.file_id))
    work = np.cumsum([_work(source) for source in ordered])
    total = int(work[-1]) if ordered else 0
    count = max(1, min(parallelism, len(ordered), round(total / _TASK_BYTES)))
    middles = work - np.array([_work(source) / 2 for source in ordered])
    cuts = np.searchsorted(middles, [total * number / count for number in range(1, count)])
    bounds = [0, *(int(cut) for cut in cuts), len(ordered)]
    tasks = [tuple(ordered[start:stop]) for start, stop in pairwise(bounds)]
    return [task for task in tasks if task]


def load_files(job: WriteJob) -> TaskResult:
    """Read, check and decode the job's source files, and write the good ones' records as data files.

    Every input has exactly one outcome. Raises WorldFault when a disk or network is at fault and not a file, Fatal when
    the Parquet footers count other rows than were decoded.
    """
    output = _Output(job)
    decoder = Decoder(job.definition, job.keys)
    outcomes: list[FileOutcome] = []
    days: set[date] = set()
    for day, inputs in groupby(job.inputs, key=attrgetter("day")):
        for group in _groups(inputs):
            readable: list[SourceInput] = []
            decoded = decoder.decode_many(_contents(group, job.max_decoded_bytes, readable, outcomes))
            outcomes += [_outcome(source, result) for source, result in zip(readable, decoded.files, strict=True)]
            while decoded.batches:  # each is let go once it is written
                columns = decoded.batches.pop(0)
                days |= _days(job, columns)
                output.add(day, _record_batch(job, day, readable, columns))
    data_files = output.finish()
    rows, footers = sum(outcome.rows for outcome in outcomes), sum(file.record_count for file in data_files)
    if rows != footers:
        raise Fatal(
            f"writing batch {job.batch_id}, task {job.task}: {rows} records were decoded, but the Parquet footers "
            f"count {footers}; nothing was committed, report this as a bug"
        )
    written = [
        WrittenFile(file.file_path, job.handle.name, file.record_count, file.file_size_in_bytes) for file in data_files
    ]
    return TaskResult(outcomes, data_files, written, days)


# -- reading ----------------------------------------------------------------------------------------------------------


def _work(source: SourceInput) -> int:
    return source.size_bytes * (_COMPRESSED_BY if source.compression else 1) + _FILE_COST_BYTES


def _groups(inputs: Iterator[SourceInput]) -> Iterator[list[SourceInput]]:
    """Files that are decoded in one call; a big one is a group of its own."""
    group: list[SourceInput] = []
    size = 0
    for source in inputs:
        if group and size + _work(source) > _GROUP_BYTES:
            yield group
            group, size = [], 0
        group.append(source)
        size += _work(source)
    if group:
        yield group


def _contents(
    group: Sequence[SourceInput], limit: int, readable: list[SourceInput], outcomes: list[FileOutcome]
) -> Iterator[tuple[bytes, bool]]:
    """The text of one file after another, for the decoder; files that have none go to `outcomes`."""
    for source in group:
        try:
            content = _read(source)
            if isinstance(content, FileOutcome):
                outcomes.append(content)
                continue
            content = decompress(content, source.compression, limit)
        except FileRefused as refused:
            outcomes.append(_refusal(source, refused))
            continue
        readable.append(source)
        yield content, source.lines


def _read(source: SourceInput) -> bytes | FileOutcome:
    """The file's bytes, if they are those that were claimed; else the outcome `changed` or `missing`.

    Raises FileRefused when it is no regular file any more or may not be read.
    """
    try:
        # A symlink is not followed, and a FIFO does not make us wait for its writer.
        descriptor = os.open(source.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise FileRefused("it is no regular file", code="not_a_regular_file")
            with os.fdopen(descriptor, "rb", buffering=0, closefd=False) as file:
                if status.st_size != source.size_bytes:
                    return _changed(source, file)
                content = file.readall()
        finally:
            os.close(descriptor)
    except (FileNotFoundError, NotADirectoryError) as error:
        if not Path(source.path).parent.parent.is_dir():  # not even processing/: nobody removed just this file
            raise _reading_fault(source, error) from error
        return FileOutcome(source.file_id, "missing", message=f"reading {source.name}: it is gone from {source.path}")
    except OSError as error:
        raise _reading_fault(source, error) from error
    digest = hashlib.sha256(content).hexdigest()
    if digest != source.digest:
        return _changed_to(source, digest, len(content))
    return content


def _changed(source: SourceInput, file: BinaryIO) -> FileOutcome:
    """Digest a file of another size than was claimed, whatever that size is."""
    digest, size = hashlib.sha256(), 0
    while piece := file.read(_MIB):
        digest.update(piece)
        size += len(piece)
    return _changed_to(source, digest.hexdigest(), size)


def _changed_to(source: SourceInput, digest: str, size: int) -> FileOutcome:
    message = f"reading {source.name}: its bytes are not those that were claimed; it is claimed again"
    return FileOutcome(source.file_id, "changed", code="bytes_changed", message=message, digest=digest, size_bytes=size)


def _reading_fault(source: SourceInput, error: OSError) -> FileRefused | WorldFault:
    """Whether the file or the world is at fault."""
    if error.errno in (errno.ELOOP, errno.EMLINK, errno.ENXIO):  # a symlink, in two dialects, and a socket
        return FileRefused("it is no regular file", code="not_a_regular_file")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EIO):
        return FileRefused(f"it cannot be read ({error.strerror})", code="unreadable")
    return WorldFault(f"reading {source.path}: {error.strerror}; check the disk or network", code="source_away")


# -- outcomes ---------------------------------------------------------------------------------------------------------


def _outcome(source: SourceInput, result: FileResult) -> FileOutcome:
    if result.refused is not None:
        return _refusal(source, result.refused)
    if not result.rejected:
        return FileOutcome(source.file_id, "loaded", records=result.records, rows=result.rows)
    count, shown = len(result.rejected), result.rejected[:_FAULTS_SHOWN]
    more = f"; and {count - len(shown)} more" if count > len(shown) else ""
    faults = "; ".join(rejected.message for rejected in shown) + more
    return FileOutcome(
        source.file_id,
        "error",
        records=result.records,
        rejected=count,
        code="schema_mismatch",
        message=f"decoding {source.name}: {count} of {result.records} records break the schema: {faults}",
    )


def _refusal(source: SourceInput, refused: FileRefused) -> FileOutcome:
    return FileOutcome(source.file_id, "failed", code=refused.code, message=f"reading {source.name}: {refused.message}")


# -- columns ----------------------------------------------------------------------------------------------------------


def _record_batch(job: WriteJob, day: date, inputs: Sequence[SourceInput], decoded: RecordColumns) -> pa.RecordBatch:
    """The decoded columns, with date and lineage."""
    rows = decoded.rows
    lineage = (
        decoded.per_file([source.name for source in inputs]),
        decoded.per_file([source.file_id for source in inputs]),
        decoded.record_nos(),
        pa.repeat(job.batch_id, rows),
    )
    columns = [*decoded.columns, pa.repeat(pa.scalar(day, pa.date32()), rows), *lineage]
    return pa.record_batch(columns, names=_column_names(job))


def _column_names(job: WriteJob) -> list[str]:
    return [*(each.name for each in job.definition.fields), DATE_COLUMN, *LINEAGE]


def _days(job: WriteJob, decoded: RecordColumns) -> set[date]:
    """The UTC days of the rows' time field."""
    if job.time_field is None:
        return set()
    position = [each.name for each in job.definition.fields].index(job.time_field)
    days = pc.unique(_floor(decoded.columns[position], "day").cast(pa.date32()))
    return set(days.drop_null().to_pylist())


def _floor(times: pa.Array, unit: Literal["day", "hour"]) -> pa.Array:
    """Timestamps cut to their UTC day or hour, without zone; dates as they are."""
    if not pa.types.is_timestamp(times.type):
        return times
    return pc.floor_temporal(times.cast(pa.timestamp("us")), unit=unit)


# -- partitions and data files ----------------------------------------------------------------------------------------


class _Part(NamedTuple):
    """Rows of one partition."""

    value: Hashable  #: as Iceberg stores it: days or hours since 1970, or the column's value
    batch: pa.RecordBatch


@dataclass
class _Pending:
    """Rows of one partition that wait to be written."""

    batches: list[pa.RecordBatch] = field(default_factory=list)
    size: int = 0


class _Output:
    """Gathers rows by partition and writes them: one data file a partition, more only when it grows large."""

    def __init__(self, job: WriteJob) -> None:
        self._job = job
        self._metadata, self._io = job.handle.open()
        self._schema, self._spec = self._metadata.schema(), self._metadata.spec()
        self._rows_schema = self._schema.select(*_column_names(job))  # columns that only the table has become null
        self._field: PartitionField | None = next(iter(self._spec.fields), None)
        self._source = None if self._field is None else self._schema.find_column_name(self._field.source_id)
        self._pending: dict[Hashable, _Pending] = {}
        self._written: list[DataFile] = []

    def add(self, day: date, batch: pa.RecordBatch) -> None:
        """Take rows of files of one day."""
        for value, part in self._parts(day, batch):
            pending = self._pending.setdefault(value, _Pending())
            pending.batches.append(part)
            pending.size += part.nbytes
            if pending.size >= _DATA_FILE_BYTES:
                self._write(value)
        if sum(pending.size for pending in self._pending.values()) >= _PENDING_BYTES:
            self.finish()

    def finish(self) -> list[DataFile]:
        """Write what waits; every data file so far."""
        for value in list(self._pending):
            self._write(value)
        return self._written

    def _parts(self, day: date, batch: pa.RecordBatch) -> Iterator[_Part]:
        if self._field is None or self._source is None:
            yield _Part(None, batch)
        elif self._source == DATE_COLUMN:
            yield _Part(day, batch)
        else:
            yield from _split(batch, _partition_values(batch.column(self._source), self._field))

    def _write(self, value: Hashable) -> None:
        job, pending = self._job, self._pending.pop(value)
        # Attempt, task and number as one integer of fixed places: the name of a data file is written once, ever.
        task_id = (job.attempt * 10**5 + job.task) * 10**8 + len(self._written)
        key = PathKey([PartitionFieldValue(self._field, value)], self._spec, self._schema) if self._field else None
        task = WriteTask(uuid.UUID(job.batch_id), task_id, self._rows_schema, pending.batches, partition_key=key)
        try:
            self._written += write_file(self._io, self._metadata, iter([task]))
        except OSError as error:
            self._discard()
            raise WorldFault(
                f"writing data files of {job.handle.name}: {error}; check the warehouse's disk for space and rights, "
                "or the network",
                code=world_code(error, "warehouse_away"),
            ) from error

    def _discard(self) -> None:
        """Nobody will hear of what this task wrote, and on a full disk it would be in the way of the next attempt."""
        for written in self._written:
            with suppress(OSError):
                self._io.delete(written.file_path)


@dataclass(frozen=True)
class PathKey(PartitionKey):
    """A partition whose folder's name is one that file systems take, however long the value is."""

    def to_path(self) -> str:
        """The folder's name; a long one is cut and ends in its digest."""
        path: str = super().to_path()
        if len(path) <= _PATH_PART_BYTES:  # it is ASCII: the rest is percent-encoded
            return path
        digest = hashlib.sha256(path.encode()).hexdigest()[:16]
        return f"{path[: _PATH_PART_BYTES - len(digest) - 1]}-{digest}"


def _partition_values(column: pa.Array, field_: PartitionField) -> pa.Array:
    """The partition's value of each row."""
    match field_.transform:
        case DayTransform():
            days = _floor(column, "day").cast(pa.date32())
            return days.cast(pa.int32())
        case HourTransform():
            return pc.divide(_floor(column, "hour").cast(pa.int64()), 3600 * 10**6)
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
