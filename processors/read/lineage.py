"""Rows of a table by source file and micro-batch, counted from column chunks: the audit's reading of the tables.

Of each data file that the current snapshot names, only the columns `_file_id` and `_batch_id` are read, dictionary
encoded; and neither where the manifest's bounds say that all rows have one and the same value. Whether the data file is
there, and as long as it was written, is asked of each.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.conversions import from_bytes
from pyiceberg.expressions import AlwaysTrue
from pyiceberg.io.pyarrow import ArrowScan
from pyiceberg.manifest import FileFormat
from pyiceberg.table.snapshots import ancestors_of
from pyiceberg.types import DateType

from metadata.errors import Busy, TypeStopped
from metadata.ledger.books import Scope
from metadata.types.definition import DATE_COLUMN
from processors.lake.lake import Lake

if TYPE_CHECKING:
    from pyiceberg.manifest import DataFile
    from pyiceberg.table import FileScanTask, Table

FILE_COLUMN, BATCH_COLUMN = "_file_id", "_batch_id"
_THREADS = 8
_ID_LENGTH = 36  # a bound of another length may have been cut
_EPOCH = date(1970, 1, 1)

Pair = tuple[str | None, str | None]
"""A row's batch and file."""


@dataclass(frozen=True)
class BadDataFile:
    """A data file of the current snapshot that cannot be counted; `code` says why, `found` in words."""

    path: str
    code: str
    rows: int  #: as the manifest has them
    batch_id: str | None  #: of all its rows, when the manifest tells
    found: str


@dataclass
class Lineage:
    """What a table's current snapshot holds."""

    pairs: Counter[Pair] = field(default_factory=Counter)  #: rows by batch and file
    data_files: int = 0
    read: int = 0  #: of them, those whose columns had to be read
    bad: list[BadDataFile] = field(default_factory=list)
    rolled_back: frozenset[int] = frozenset()  #: snapshots that are kept, but no part of the table


class LineageReader:
    """Counts tables; a data file that was counted is not read again, for data files never change."""

    def __init__(self, lake: Lake, scope: Scope, stop: Callable[[], bool]) -> None:
        self.lake = lake
        self.scope = scope
        self.stop = stop
        self._counted: dict[str, Counter[Pair]] = {}

    def read(self, name: str) -> Lineage | None:
        """The table as it is now; None when there is none.

        Raises TypeStopped when the table's own files are gone, WorldFault when warehouse or catalog are away, Busy
        when it was told to stop.
        """
        table = self.lake.table(name)
        if table is None:
            return None
        with self.lake.reading(name), ThreadPoolExecutor(_THREADS, thread_name_prefix="audit") as pool:
            ancestors = {snapshot.snapshot_id for snapshot in ancestors_of(table.current_snapshot(), table.metadata)}
            kept = {snapshot.snapshot_id for snapshot in table.metadata.snapshots}
            lineage = Lineage(rolled_back=frozenset(kept - ancestors))
            tasks = [task for task in _planned(table, name) if self._is_asked_for(table, task.file)]
            for counted in pool.map(lambda task: self._count(table, task), tasks):
                lineage.data_files += 1
                if isinstance(counted, BadDataFile):
                    lineage.bad.append(counted)
                else:
                    pairs, was_read = counted
                    lineage.pairs.update(pairs)
                    lineage.read += was_read
            return lineage

    def _is_asked_for(self, table: Table, data_file: DataFile) -> bool:
        """Whether a data file may hold rows of the days asked about."""
        if not self.scope.has_days:
            return True
        bounds = _bounds(table, data_file, DATE_COLUMN)
        if bounds is None:
            return True
        low, high = (_EPOCH + timedelta(days=int(from_bytes(DateType(), bound))) for bound in bounds)
        first, last = self.scope.first or date.min, self.scope.last or date.max
        return bool(low <= last and first <= high)

    def _count(self, table: Table, task: FileScanTask) -> tuple[Counter[Pair], bool] | BadDataFile:
        data_file = task.file
        if self.stop():
            raise Busy("auditing: it was told to stop; run it again")
        batch_id = _only_value(table, data_file, BATCH_COLUMN)

        def bad(code: str, found: str) -> BadDataFile:
            return BadDataFile(data_file.file_path, code, data_file.record_count, batch_id, found)

        source = table.io.new_input(data_file.file_path)
        try:
            length = len(source)
            if length != data_file.file_size_in_bytes:
                return bad("data_file_changed", f"{length} bytes instead of {data_file.file_size_in_bytes}")
            if FILE_COLUMN not in table.schema().column_names:  # a summary's: there is nothing to count by
                return Counter(), False
            if data_file.file_path in self._counted and not task.delete_files:
                return self._counted[data_file.file_path], False
            file_id = _only_value(table, data_file, FILE_COLUMN)
            if batch_id and file_id and not task.delete_files:
                return Counter({(batch_id, file_id): data_file.record_count}), False
            if task.delete_files or data_file.file_format != FileFormat.PARQUET:
                return rows_by_scan(table, task), True
            with source.open() as stream:
                pairs = _by_columns(pq.ParquetFile(stream, read_dictionary=[FILE_COLUMN, BATCH_COLUMN]), batch_id)
        except FileNotFoundError:
            return bad("data_file_missing", "nothing")
        except (pa.ArrowInvalid, PermissionError) as error:
            return bad("data_file_unreadable", str(error))
        self._counted[data_file.file_path] = pairs
        return pairs, True


def _planned(table: Table, name: str) -> list[FileScanTask]:
    """The data files of the current snapshot; TypeStopped when manifests are there but make no sense."""
    try:
        return list(table.scan().plan_files())
    except OSError:
        raise
    except Exception as error:  # an Avro reader fails in many ways
        raise TypeStopped(
            f"reading table {name}: its manifests cannot be understood: {error!r}; bring them back", code="table_broken"
        ) from error


def _by_columns(parquet: pq.ParquetFile, batch_id: str | None) -> Counter[Pair]:
    """Rows by pair; the batch column is read only when `batch_id` is not that of all rows."""
    wanted = [FILE_COLUMN] if batch_id else [BATCH_COLUMN, FILE_COLUMN]
    columns = [name for name in wanted if name in parquet.schema_arrow.names]
    if not columns:  # written by somebody else: all null
        return Counter({(batch_id, None): parquet.metadata.num_rows})
    return _pairs(parquet.read(columns=columns, use_threads=False), batch_id)


def rows_by_scan(table: Table, task: FileScanTask) -> Counter[Pair]:
    """Where another engine has put delete files beside a data file: Iceberg's own reading tells what is left."""
    wanted = table.schema().select(BATCH_COLUMN, FILE_COLUMN)
    return _pairs(ArrowScan(table.metadata, table.io, wanted, AlwaysTrue()).to_table([task]), None)


def _pairs(columns: pa.Table, batch_id: str | None) -> Counter[Pair]:
    grouped = columns.unify_dictionaries().group_by(columns.column_names, use_threads=False)
    return Counter(
        {
            (batch_id or row.get(BATCH_COLUMN), row.get(FILE_COLUMN)): row["count_all"]
            for row in grouped.aggregate([([], "count_all")]).to_pylist()
        }
    )


def _only_value(table: Table, data_file: DataFile, column: str) -> str | None:
    """The value that every row of a data file has in a column of ids, when the manifest says so."""
    bounds = _bounds(table, data_file, column)
    if bounds is None or bounds[0] != bounds[1] or len(bounds[0]) != _ID_LENGTH:
        return None
    field_id = table.schema().find_field(column).field_id
    if (data_file.null_value_counts or {}).get(field_id) != 0:
        return None
    return bounds[0].decode()


def _bounds(table: Table, data_file: DataFile, column: str) -> tuple[bytes, bytes] | None:
    if column not in table.schema().column_names:
        return None
    field_id = table.schema().find_field(column).field_id
    low = (data_file.lower_bounds or {}).get(field_id)
    high = (data_file.upper_bounds or {}).get(field_id)
    return None if low is None or high is None else (low, high)
