"""Data files written again: those that hold nothing but rows that go are dropped, the others take new rows' place.

What becomes of a data file's rows is said by a change: rows go out (`RowsOut`), or others take their place
(`processors.change.rescued_values`). One snapshot takes the old data files out and puts the new ones in.
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.conversions import from_bytes
from pyiceberg.expressions import AlwaysTrue
from pyiceberg.io.pyarrow import ArrowScan, write_file
from pyiceberg.partitioning import PartitionFieldValue
from pyiceberg.schema import Schema
from pyiceberg.table import FileScanTask, Table, WriteTask
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.types import TimestamptzType

from metadata.clock import Clock
from metadata.errors import BatchFault, Fatal, TypeStopped, UnknownOutcome, WorldFault
from metadata.files.os_errors import world_code
from metadata.ids import new_id
from metadata.retry_policy import policy_for
from metadata.settings import Settings
from metadata.types.definition import LINEAGE
from metadata.types.file_type import FileType
from processors.lake.data_files import PathKey
from processors.lake.handle import TableHandle
from processors.lake.lake import Lake
from processors.rewrite.which_rows import Rows

if TYPE_CHECKING:
    from pyiceberg.manifest import DataFile

    from processors.spark.spark_runner import Runner

_EPOCH = date(1970, 1, 1)
_DAY_MICROSECONDS = 24 * 60 * 60 * 10**6
FEW_BYTES = 4 * 1024 * 1024  # of Parquet: read and written again in a second or two


@dataclass(frozen=True)
class Rest:
    """What takes rows out, or puts others in their place: data files that go, and those that come for them."""

    removed: list[DataFile]
    added: list[DataFile]
    rows: int  #: taken out, or changed
    days: set[date]  #: UTC days of their time field


NOTHING = Rest([], [], 0, set())


class ChangedRows(NamedTuple):
    """What becomes of one data file. Without touched rows it stays as it is."""

    touched: pa.Table | None  #: rows that go out or are others now
    left: pa.Table | None  #: what takes the data file's place; None, or no rows: nothing does
    counts: Mapping[str, Mapping[str, int]] = {}  #: what else there is to tell of it


class RowChange(Protocol):
    """What becomes of the rows of data files; a value that workers get."""

    def of(self, read: Callable[[Sequence[str] | None], pa.Table]) -> ChangedRows | None:
        """Of one data file, which `read` reads: these columns of it, or all (None). None when nothing is to be done."""
        ...


@dataclass(frozen=True)
class RewriteTask:
    """Data files to write again."""

    handle: TableHandle
    change: RowChange
    write_id: str  #: new for each try: no name is written twice
    number: int
    files: tuple[FileScanTask, ...]
    time_field: str | None


@dataclass(frozen=True)
class RewriteResult:
    """One data file; without `rows` it stays as it is, else `written` takes its place, or nothing does."""

    path: str
    rows: int  #: that went out or are others now
    days: frozenset[date]
    written: DataFile | None
    counts: Mapping[str, Mapping[str, int]] = field(default_factory=dict)


class Rewriter:
    """Writes and commits what changes the rows of a table. `pause(seconds)` returns False when the daemon drains."""

    def __init__(
        self,
        settings: Settings,
        lake: Lake,
        runner: Callable[[], Runner],
        clock: Clock,
        pause: Callable[[float], bool],
    ) -> None:
        self.settings = settings
        self.lake = lake
        self.runner = runner
        self.clock = clock
        self.pause = pause

    def write(self, table_name: str, loaded: Rows, *, time_field: str | None, batch_days: Iterable[str]) -> Rest:
        """Find the rows as the table is now, and write the data files again that hold others beside them.

        `batch_days` are the days that the rows' batches touched: those of a dropped data file are told by its bounds.
        The runner is asked only when much has to be written: little is not worth the start of Spark.
        """
        table = self.lake.table(table_name)
        if table is None:
            raise TypeStopped(
                f"taking rows out of table {table_name}: the catalog has no such table (any more); restore it",
                code="table_missing",
            )
        schema = table.schema()
        tasks = self.lake.scan_tasks(table_name, loaded.row_filter())
        dropped = [task for task in tasks if not task.delete_files and loaded.is_all_of(task.file, schema)]
        paths = {task.file.file_path for task in dropped}
        mixed = {task.file.file_path: task for task in tasks if task.file.file_path not in paths}
        days = {day for task in dropped for day in _days_of(task.file, schema, time_field, batch_days)}
        rest = Rest([task.file for task in dropped], [], sum(task.file.record_count for task in dropped), days)
        if not mixed:
            return rest
        if time_field is not None and time_field not in schema.column_names:  # it has an older name there
            days |= {date.fromisoformat(day) for day in batch_days}
            time_field = None
        label = f"rewrite {table_name}"
        results = self.rewrite(table, RowsOut(loaded), list(mixed.values()), time_field, label)
        return Rest(
            rest.removed + [mixed[each.path].file for each in results],
            [each.written for each in results if each.written is not None],
            rest.rows + sum(each.rows for each in results),
            days.union(*(each.days for each in results)),
        )

    def count(self, table_name: str, rows: Rows) -> int:
        """How many of these rows a table has now; none when there is no such table."""
        table = self.lake.table(table_name)
        if table is None:
            return 0
        with self.lake.reading(table_name):
            scan = ArrowScan(table.metadata, table.io, table.schema().select(*LINEAGE), AlwaysTrue())
            found = (scan.to_table([task]) for task in self.lake.scan_tasks(table_name, rows.row_filter()))
            return sum(int(pc.sum(rows.mask(each)).as_py() or 0) for each in found)

    def rewrite(
        self, table: Table, change: RowChange, files: Sequence[FileScanTask], time_field: str | None, label: str
    ) -> list[RewriteResult]:
        """Write data files again, in workers when there is much: little is not worth the start of Spark."""
        handle, write_id = self.lake.handle(table), new_id(self.clock)
        if sum(task.file.file_size_in_bytes for task in files) <= FEW_BYTES:
            with self.lake.reading(handle.name):
                return rewrite(RewriteTask(handle, change, write_id, 0, tuple(files), time_field))
        runner = self.runner()
        tasks = [
            RewriteTask(handle, change, write_id, number, tuple(some), time_field)
            for number, some in enumerate(_bins(files, runner.parallelism))
        ]
        return [each for found in runner.run(rewrite, tasks, label=label) for each in found]

    def commit(
        self,
        table_name: str,
        operation: str,
        operation_id: str,
        *,
        rest: Rest,
        again: Callable[[], Rest],
        append: Sequence[DataFile] = (),
        properties: Mapping[str, str] | None = None,
        kind: FileType | None = None,
    ) -> int | None:
        """One overwrite: the rows out, `append` in; the snapshot's id, None when there was nothing to do.

        After a conflict `again` prepares from the table as it is then; after a lost answer the table is asked first,
        which the overwrite itself does. Raises TypeStopped out of attempts, WorldFault when it drains meanwhile.
        """
        faults = 0
        while True:
            added = [*rest.added, *append]
            if not rest.removed and not added:
                return None
            try:
                return self.lake.overwrite(table_name, operation, operation_id, rest.removed, added, properties)
            except (UnknownOutcome, BatchFault) as fault:
                faults += 1
                policy = policy_for(fault, kind, self.settings)
                if policy.is_last(faults):
                    raise TypeStopped(fault.message, code=fault.code) from fault
                if not self.pause(policy.wait(faults, random.random)):
                    raise WorldFault(f"committing {operation} {operation_id}: draining between two attempts") from fault
                if isinstance(fault, BatchFault):
                    rest = again()


@dataclass(frozen=True)
class RowsOut:
    """Rows that go out; the others stay as they are."""

    rows: Rows

    def of(self, read: Callable[[Sequence[str] | None], pa.Table]) -> ChangedRows | None:
        """See `RowChange`."""
        rows = read(None)
        mask = self.rows.mask(rows)
        removed = rows.filter(mask)
        return ChangedRows(removed, rows.filter(pc.invert(mask))) if len(removed) else None


def rewrite(task: RewriteTask) -> list[RewriteResult]:
    """In a worker: each data file read, and what it is to hold written into the partition that it has.

    A data file of which there is nothing to tell is left out. Reads through PyIceberg's own scan, so rows that others
    deleted and columns that came later are honoured.
    """
    metadata, io = task.handle.open()
    schema = metadata.schema()
    done: list[RewriteResult] = []
    for number, file in enumerate(task.files):

        def read(columns: Sequence[str] | None, file: FileScanTask = file) -> pa.Table:
            chosen = schema if columns is None else schema.select(*columns)
            return ArrowScan(metadata, io, chosen, AlwaysTrue()).to_table([file])

        changed = task.change.of(read)
        if changed is None:
            continue
        written: DataFile | None = None
        if changed.left is not None and len(changed.left):
            write = WriteTask(
                write_uuid=uuid.UUID(task.write_id),
                task_id=task.number * 10**6 + number,
                schema=schema,
                record_batches=changed.left.to_batches(),
                partition_key=_partition_of(file.file, metadata),
            )
            (written,) = write_data_files(io, metadata, write, task.handle.name)
            if written.record_count != len(changed.left):
                raise Fatal(
                    f"rewriting {file.file.file_path}: {len(changed.left)} rows were to be written, but the new data "
                    f"file's footer counts {written.record_count}; nothing was committed, report this as a bug"
                )
        touched = 0 if changed.touched is None else len(changed.touched)
        days = frozenset(_days_in(changed.touched, task.time_field))
        done.append(RewriteResult(file.file.file_path, touched, days, written, changed.counts))
    return done


def write_data_files(io: Any, metadata: TableMetadata, write: WriteTask, name: str) -> list[DataFile]:
    """Write it; WorldFault when the warehouse does not take it, with the code `disk_full` when it is full."""
    try:
        return list(write_file(io, metadata, iter([write])))
    except OSError as error:
        raise WorldFault(
            f"writing data files of {name}: {error}; check the warehouse's disk for space and rights, or the network",
            code=world_code(error, "warehouse_away"),
        ) from error


def _partition_of(data_file: DataFile, metadata: TableMetadata) -> PathKey | None:
    """The partition that a data file is in."""
    spec = metadata.spec()
    if data_file.spec_id != spec.spec_id:
        raise TypeStopped(
            f"rewriting {data_file.file_path}: somebody has changed the table's partitioning since it was written; "
            "change it back",
            code="table_mismatch",
        )
    if not spec.fields:
        return None
    values = [PartitionFieldValue(field, data_file.partition[at]) for at, field in enumerate(spec.fields)]
    return PathKey(values, spec, metadata.schema())


def _days_of(data_file: DataFile, schema: Schema, time_field: str | None, batch_days: Iterable[str]) -> set[date]:
    """Those of its batch's days that a data file's bounds leave open."""
    days = {date.fromisoformat(day) for day in batch_days}
    if time_field is None or time_field not in schema.column_names:
        return days
    field_id = schema.find_field(time_field).field_id
    lower, upper = ((bounds or {}).get(field_id) for bounds in (data_file.lower_bounds, data_file.upper_bounds))
    if lower is None or upper is None:
        return days
    first, last = (
        _EPOCH + timedelta(days=int(from_bytes(TimestamptzType(), bound)) // _DAY_MICROSECONDS)
        for bound in (lower, upper)
    )
    return {day for day in days if first <= day <= last}


def _days_in(rows: pa.Table | None, time_field: str | None) -> set[date]:
    """The UTC days of the rows' time field."""
    if rows is None or time_field is None:
        return set()
    days = pc.unique(rows[time_field].cast(pa.date32()))  # the UTC day: the time's zone is UTC
    return set(days.drop_null().to_pylist())


def _bins(tasks: Sequence[FileScanTask], count: int) -> list[list[FileScanTask]]:
    """At most `count` groups; data files are of about one size, so they are dealt out."""
    return [list(tasks[at::count]) for at in range(min(count, len(tasks)))]
