"""Data files written again: those that hold nothing but rows that go are dropped, the others take new rows' place.

Workers do it when there is much (`processors.rewrite.rewrite_task`). One snapshot takes the old data files out and puts
the new ones in.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING

import pyarrow.compute as pc
from pyiceberg.conversions import from_bytes
from pyiceberg.expressions import AlwaysTrue
from pyiceberg.io.pyarrow import ArrowScan
from pyiceberg.schema import Schema
from pyiceberg.table import FileScanTask, Table
from pyiceberg.types import TimestamptzType

from metadata.clock import Clock
from metadata.errors import BatchFault, TypeStopped, UnknownOutcome, WorldFault
from metadata.ids import new_id
from metadata.retry_policy import policy_for
from metadata.settings import Settings
from metadata.types.definition import LINEAGE
from metadata.types.file_type import FileType
from processors.lake.lake import Lake
from processors.rewrite.rewrite_task import RewriteResult, RewriteTask, RowChange, RowsOut, rewrite
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


def _bins(tasks: Sequence[FileScanTask], count: int) -> list[list[FileScanTask]]:
    """At most `count` groups; data files are of about one size, so they are dealt out."""
    return [list(tasks[at::count]) for at in range(min(count, len(tasks)))]
