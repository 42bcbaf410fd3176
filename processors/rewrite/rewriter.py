"""Taking rows out of a table: data files that hold nothing else are dropped, the others written again without them.

Which rows is said by micro-batch and source file (`_batch_id`, `_file_id`), or by record (`_record_no` too), so it does
not matter what came later to the same partition, nor into which data files compaction has put them since.
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import reduce
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.conversions import from_bytes
from pyiceberg.expressions import AlwaysTrue, And, BooleanExpression, EqualTo, In, Or
from pyiceberg.io.pyarrow import ArrowScan, write_file
from pyiceberg.partitioning import PartitionFieldValue
from pyiceberg.schema import Schema
from pyiceberg.table import FileScanTask, Table, WriteTask
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.types import StringType, TimestamptzType

from metadata.clock import Clock
from metadata.database.models import SourceFile
from metadata.errors import BatchFault, TypeStopped, UnknownOutcome, WorldFault
from metadata.ids import new_id
from metadata.operations.reserved_records import RecordKey
from metadata.retry_policy import policy_for
from metadata.settings import Settings
from metadata.types.definition import LINEAGE, FileType
from processors.lake.data_files import PathKey
from processors.lake.handle import TableHandle
from processors.lake.lake import Lake

if TYPE_CHECKING:
    from pyiceberg.manifest import DataFile

    from processors.spark.spark_runner import Runner

_EPOCH = date(1970, 1, 1)
FEW_BYTES = 4 * 1024 * 1024  # of Parquet: read and written again in a second or two
_DAY_MICROSECONDS = 24 * 60 * 60 * 10**6


@dataclass(frozen=True)
class LoadedRows:
    """Rows that were loaded: of which micro-batches, and of which of their source files (None: of all)."""

    of: tuple[tuple[str, frozenset[str] | None], ...]

    @classmethod
    def from_files(cls, files: Iterable[SourceFile]) -> LoadedRows:
        """What these files have loaded; none of their batches' other files."""
        by_batch: dict[str, set[str]] = {}
        for file in files:
            by_batch.setdefault(str(file.batch_id), set()).add(file.id)
        return cls(tuple((batch_id, frozenset(ids)) for batch_id, ids in sorted(by_batch.items())))

    @classmethod
    def from_batch(cls, batch_id: str) -> LoadedRows:
        """What a whole micro-batch has loaded."""
        return cls(((batch_id, None),))

    def row_filter(self) -> BooleanExpression:
        """The rows, as a filter that finds the data files which may hold some."""

        def one(batch_id: str, file_ids: frozenset[str] | None) -> BooleanExpression:
            batch = EqualTo("_batch_id", batch_id)  # type: ignore[call-arg,arg-type] # pydantic hides its own __init__
            if file_ids is None:
                return batch
            return And(batch, In("_file_id", sorted(file_ids)))  # type: ignore[call-arg,arg-type] # pydantic hides its own __init__

        parts = [one(batch_id, file_ids) for batch_id, file_ids in self.of]
        while len(parts) > 1:  # halved again and again: a chain of hundreds would nest too deep
            parts = [Or(*parts[at : at + 2]) if at + 1 < len(parts) else parts[at] for at in range(0, len(parts), 2)]
        return parts[0]

    def mask(self, rows: pa.Table) -> Any:
        """For each row whether it is one of them; never null."""

        def one(batch_id: str, file_ids: frozenset[str] | None) -> Any:
            mask = pc.equal(rows["_batch_id"], batch_id)
            if file_ids is None:
                return mask
            wanted = pa.array(sorted(file_ids), rows["_file_id"].type)
            return pc.and_(mask, pc.is_in(rows["_file_id"], value_set=wanted))

        return pc.fill_null(reduce(pc.or_, (one(batch_id, file_ids) for batch_id, file_ids in self.of)), False)

    def is_all_of(self, data_file: DataFile, schema: Schema) -> bool:
        """Whether a data file's metrics show that it holds these rows and no others."""
        batch_id = _only_value(data_file, schema, "_batch_id")
        return any(
            batch_id == each and (file_ids is None or _only_value(data_file, schema, "_file_id") in file_ids)
            for each, file_ids in self.of
        )


@dataclass(frozen=True)
class KeyedRows:
    """Single records, wherever they are now."""

    keys: frozenset[RecordKey]

    @classmethod
    def of(cls, keys: Iterable[RecordKey]) -> KeyedRows:
        """These records."""
        return cls(frozenset(keys))

    def row_filter(self) -> BooleanExpression:
        """Finds the data files which may hold some."""
        batches, files = ({key.batch_id for key in self.keys}, {key.file_id for key in self.keys})
        return And(In("_batch_id", sorted(batches)), In("_file_id", sorted(files)))  # type: ignore[call-arg,arg-type] # pydantic hides its own __init__

    def mask(self, rows: pa.Table) -> Any:
        """For each row whether it is one of them; never null."""
        names = [rows[name].cast(pa.string()) for name in ("_batch_id", "_file_id", "_record_no")]
        wanted = pa.array([f"{key.batch_id} {key.file_id} {key.record_no}" for key in self.keys], pa.string())
        return pc.fill_null(pc.is_in(pc.binary_join_element_wise(*names, " "), value_set=wanted), False)

    def is_all_of(self, data_file: DataFile, schema: Schema) -> bool:
        """Never known from metrics: they do not tell which numbers lie between the bounds."""
        return False


Rows = LoadedRows | KeyedRows


@dataclass(frozen=True)
class Rest:
    """What takes the rows out: data files that go, and what stays of those that held other rows too."""

    removed: list[DataFile]
    added: list[DataFile]
    rows: int  #: taken out
    days: set[date]  #: UTC days of their time field


@dataclass(frozen=True)
class RewriteTask:
    """Data files to write again without some rows."""

    handle: TableHandle
    rows: Rows  #: that go
    write_id: str  #: new for each try: no name is written twice
    number: int
    files: tuple[FileScanTask, ...]
    time_field: str | None


@dataclass(frozen=True)
class RewriteResult:
    """One data file without the rows; `kept` is None when nothing was left."""

    path: str
    rows: int  #: taken out
    days: frozenset[date]
    kept: DataFile | None


class Rewriter:
    """Writes and commits what takes rows out of a table. `pause(seconds)` returns False when the daemon drains."""

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
        results = self._rewrite(table, loaded, list(mixed.values()), time_field)
        return Rest(
            rest.removed + [mixed[each.path].file for each in results],
            [each.kept for each in results if each.kept is not None],
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

    def _rewrite(
        self, table: Table, rows: Rows, files: Sequence[FileScanTask], time_field: str | None
    ) -> list[RewriteResult]:
        handle, write_id = self.lake.handle(table), new_id(self.clock)
        if sum(task.file.file_size_in_bytes for task in files) <= FEW_BYTES:
            with self.lake.reading(handle.name):
                return rewrite(RewriteTask(handle, rows, write_id, 0, tuple(files), time_field))
        runner = self.runner()
        jobs = [
            RewriteTask(handle, rows, write_id, number, tuple(some), time_field)
            for number, some in enumerate(bins(files, runner.parallelism))
        ]
        return [each for found in runner.run(rewrite, jobs, label=f"rewrite {handle.name}") for each in found]

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


def rewrite(task: RewriteTask) -> list[RewriteResult]:
    """In a worker: each data file read, and written again without the rows, into the partition that it has.

    A data file that holds none of the rows is left out. Reads through PyIceberg's own scan, so rows that others deleted
    and columns that came later are honoured.
    """
    metadata, io = task.handle.open()
    schema = metadata.schema()
    scan = ArrowScan(metadata, io, schema, AlwaysTrue())
    done: list[RewriteResult] = []
    for number, file in enumerate(task.files):
        rows = scan.to_table([file])
        mask = task.rows.mask(rows)
        removed, kept = rows.filter(mask), rows.filter(pc.invert(mask))
        if not len(removed):
            continue
        written: DataFile | None = None
        if len(kept):
            write = WriteTask(
                write_uuid=uuid.UUID(task.write_id),
                task_id=task.number * 10**6 + number,
                schema=schema,
                record_batches=kept.to_batches(),
                partition_key=partition_of(file.file, metadata),
            )
            (written,) = write_data_files(io, metadata, write, task.handle.name)
        done.append(
            RewriteResult(file.file.file_path, len(removed), frozenset(days_in(removed, task.time_field)), written)
        )
    return done


def write_data_files(io: Any, metadata: TableMetadata, write: WriteTask, name: str) -> list[DataFile]:
    """Write it; WorldFault when the warehouse does not take it."""
    try:
        return list(write_file(io, metadata, iter([write])))
    except OSError as error:
        raise WorldFault(
            f"writing data files of {name}: {error}; check the warehouse's disk for space and rights, or the network",
            code="warehouse_away",
        ) from error


def partition_of(data_file: DataFile, metadata: TableMetadata) -> PathKey | None:
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


def _only_value(data_file: DataFile, schema: Schema, column: str) -> str | None:
    """The one value that every row of a data file has in a text column; None when its metrics do not show one."""
    field_id = schema.find_field(column).field_id
    lower, upper = ((bounds or {}).get(field_id) for bounds in (data_file.lower_bounds, data_file.upper_bounds))
    if lower is None or lower != upper or (data_file.null_value_counts or {}).get(field_id) != 0:
        return None
    return str(from_bytes(StringType(), lower))


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


def days_in(rows: pa.Table, time_field: str | None) -> set[date]:
    """The UTC days of the rows' time field."""
    if time_field is None:
        return set()
    days = pc.unique(rows[time_field].cast(pa.date32()))  # the UTC day: the time's zone is UTC
    return set(days.drop_null().to_pylist())


def bins(tasks: Sequence[FileScanTask], count: int) -> list[list[FileScanTask]]:
    """At most `count` groups; data files are of about one size, so they are dealt out."""
    return [list(tasks[at::count]) for at in range(min(count, len(tasks)))]
