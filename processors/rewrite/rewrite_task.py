"""In a worker: data files are read, and what takes their place is written.

What becomes of a data file's rows is said by a change: rows go out (`RowsOut`), or others take their place
(`processors.change.rescued_values`).
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING, NamedTuple, Protocol

import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.expressions import AlwaysTrue
from pyiceberg.io.pyarrow import ArrowScan
from pyiceberg.partitioning import PartitionFieldValue
from pyiceberg.table import FileScanTask, WriteTask
from pyiceberg.table.metadata import TableMetadata

from metadata.errors import Fatal, TypeStopped
from processors.lake.data_files import PathKey, write_data_files
from processors.rewrite.which_rows import Rows

if TYPE_CHECKING:
    from pyiceberg.manifest import DataFile

    from processors.lake.handle import TableHandle


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
            (written,) = write_data_files(io, metadata, [write], task.handle.name)
            if written.record_count != len(changed.left):
                raise Fatal(
                    f"rewriting {file.file.file_path}: {len(changed.left)} rows were to be written, but the new data "
                    f"file's footer counts {written.record_count}; nothing was committed, report this as a bug"
                )
        touched = 0 if changed.touched is None else len(changed.touched)
        days = frozenset(_days_in(changed.touched, task.time_field))
        done.append(RewriteResult(file.file.file_path, touched, days, written, changed.counts))
    return done


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


def _days_in(rows: pa.Table | None, time_field: str | None) -> set[date]:
    """The UTC days of the rows' time field."""
    if rows is None or time_field is None:
        return set()
    days = pc.unique(rows[time_field].cast(pa.date32()))  # the UTC day: the time's zone is UTC
    return set(days.drop_null().to_pylist())
