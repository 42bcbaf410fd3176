"""Backfill: values that were rescued of old rows go into the columns of the fields that the type has for them by now.

1. **Plan**: one transaction writes the operation.
2. **Write**: the table gets the type's columns if it lacks some. Data files with rescued keys that a field reads are
   written again into the same partition: where a value decodes as the field's type, by the very decoder of new
   records, it becomes the column's, if that is null, and leaves `_rescued`; where it does not, it stays. Rows,
   their lineage and their number stay what they are.
3. **Prepare**: one transaction: data files that go and come, rows, values by field, event days.
4. **Commit**: one `overwrite` whose snapshot id is derived from (operation id, table), so it cannot land twice. On a
   conflict with another writer it is prepared again from the table as it is then.
5. **Record**: the snapshot; days are dirty if a summary is kept of the fields: one transaction.
6. **Settle**: it is over.

Done twice it changes nothing: what was taken is no longer rescued. So a crash after any step is walked by `resume()`:
planned → abandoned; prepared → its snapshot is in the table → go on from 5, else again from 2; committed → settle.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.expressions import AlwaysTrue, BooleanExpression, NotNull
from pyiceberg.io.pyarrow import ArrowScan
from pyiceberg.table import FileScanTask, Table, WriteTask

from metadata.clock import Clock
from metadata.database.models import Operation
from metadata.database.states import BatchState
from metadata.errors import Fatal, LemonadeError, TypeStopped
from metadata.ids import new_id
from metadata.logs import Event, get_logger
from metadata.operations.backfill import Backfills
from metadata.operations.undo import RemovedPart
from metadata.outage import Outage
from metadata.types.definition import RESCUED, Definition, Field, FileType
from processors.decode.decoder import Decoder
from processors.lake.handle import TableHandle
from processors.lake.lake import Lake
from processors.rewrite.rewriter import FEW_BYTES, Rest, Rewriter, bins, days_in, partition_of, write_data_files

if TYPE_CHECKING:
    from pyiceberg.manifest import DataFile

    from processors.spark.spark_runner import Runner

log = get_logger()

_object = msgspec.json.Decoder(dict[str, msgspec.Raw])


@dataclass
class BackfillResult:
    """What one backfill did."""

    operation_id: str
    file_type: str
    table_name: str
    state: str
    rows: int = 0  #: that changed
    values: dict[str, int] = field(default_factory=dict)  #: by field: taken out of `_rescued`
    left: dict[str, int] = field(default_factory=dict)  #: by field: still there, for they do not fit
    snapshot_id: int | None = None  #: None when nothing was to be done
    days: list[str] = field(default_factory=list)  #: UTC days that are to be summarised again


@dataclass(frozen=True)
class BackfillTask:
    """Data files that may hold rescued values of these fields."""

    handle: TableHandle
    fields: tuple[Field, ...]
    write_id: str  #: new for each try: no name is written twice
    number: int
    files: tuple[FileScanTask, ...]
    time_field: str | None


@dataclass(frozen=True)
class Filled:
    """One data file; `written` is None when no value of it found its place."""

    path: str
    rows: int
    values: Mapping[str, int]
    left: Mapping[str, int]
    days: frozenset[date]
    written: DataFile | None


class _RescuedRows(NamedTuple):
    """What takes the values' place: of each field its rows and their values, of each row what is rescued still."""

    values: dict[str, tuple[list[int], pa.Array]]
    rescued: dict[int, str | None]
    left: Counter[str]


class Backfill:
    """Runs the protocol."""

    def __init__(
        self,
        backfills: Backfills,
        lake: Lake,
        rewriter: Rewriter,
        runner: Callable[[], Runner],
        clock: Clock,
        outage: Outage,
    ) -> None:
        self.backfills = backfills
        self.lake = lake
        self.rewriter = rewriter
        self.runner = runner
        self.clock = clock
        self.outage = outage

    def fill(self, kind: FileType) -> BackfillResult:
        """Take what was rescued of a type's rows into its columns.

        Raises TypeStopped when its table does not fit its schema or others kept winning, WorldFault when something is
        away; after Prepare the next start, or the next backfill, goes on.
        """
        # 1. Plan
        operation_id = new_id(self.clock)
        self.outage.wait_out(
            self.backfills.plan,
            operation_id,
            file_type=kind.name,
            table_name=kind.table_name,
            schema_version=kind.schema_version,
        )
        # 2. Write
        try:
            filled = self._write(kind)
        except LemonadeError as error:
            self.outage.wait_out(self.backfills.abandon, operation_id, error.message)
            raise
        return self._go_on(operation_id, kind, filled)

    def resume(self, operation: Operation, kind: FileType | None) -> BackfillResult:
        """Walk an unsettled backfill of an earlier process to its end, from the step it had reached."""
        if operation.state == BatchState.PLANNED:
            self.outage.wait_out(self.backfills.abandon, operation.id, "the process ended before Prepare")
            return _result(self.outage.wait_out(self.backfills.get, operation.id))
        if operation.state == BatchState.COMMITTED:
            return self._settle(operation.id)
        snapshot_id = self.landed(operation)
        if snapshot_id is not None:
            return self._finish(operation.id, kind, snapshot_id)
        if kind is None:
            raise TypeStopped(
                f"going on with backfill {operation.id}: {operation.file_type} is not in the registry (any more); "
                "bring its row back",
                code="type_missing",
            )
        return self._go_on(operation.id, kind, self._write(kind))

    def landed(self, operation: Operation) -> int | None:
        """The snapshot of a prepared backfill if it is in the table."""
        return self.lake.operation_landed(operation.table_name, operation.id)

    # -- steps 2 to 4 -------------------------------------------------------------------------------------------------

    def _write(self, kind: FileType) -> list[tuple[DataFile, Filled]]:
        """Data files of the table as it is now, and what becomes of each; not those without a value that is wanted."""
        if self.lake.table(kind.table_name) is None or kind.definition is None:
            return []
        table = self.lake.ensure_type_table(kind)
        files = self.lake.files_of(table, _is_rescued())
        if not files:
            return []
        there = {task.file.file_path: task.file for task in files}
        return [(there[each.path], each) for each in self._rewrite(table, kind, kind.definition, files)]

    def _rewrite(
        self, table: Table, kind: FileType, definition: Definition, files: Sequence[FileScanTask]
    ) -> list[Filled]:
        handle, write_id = self.lake.handle(table), new_id(self.clock)
        time_field = kind.config.summary.time if kind.config.summary else None
        if sum(task.file.file_size_in_bytes for task in files) <= FEW_BYTES:  # little is not worth the start of Spark
            with self.lake.reading(kind.table_name):
                return backfill(BackfillTask(handle, definition.fields, write_id, 0, tuple(files), time_field))
        runner = self.runner()
        tasks = [
            BackfillTask(handle, definition.fields, write_id, number, tuple(some), time_field)
            for number, some in enumerate(bins(files, runner.parallelism))
        ]
        return [each for found in runner.run(backfill, tasks, label=f"backfill {kind.name}") for each in found]

    def _go_on(self, operation_id: str, kind: FileType, filled: Sequence[tuple[DataFile, Filled]]) -> BackfillResult:
        def again() -> Rest:
            return self._prepare(operation_id, kind, self._write(kind))

        # 3. Prepare
        rest = self._prepare(operation_id, kind, filled)
        # 4. Commit
        snapshot_id = self.rewriter.commit(
            kind.table_name,
            "backfill",
            operation_id,
            rest=rest,
            again=again,
            properties={"lemonade.file-type": kind.name},
            kind=kind,
        )
        return self._finish(operation_id, kind, snapshot_id)

    def _prepare(self, operation_id: str, kind: FileType, filled: Sequence[tuple[DataFile, Filled]]) -> Rest:
        changed = [(old, each, each.written) for old, each in filled if each.written is not None]
        rest = Rest(
            [old for old, _, _ in changed],
            [written for _, _, written in changed],
            sum(each.rows for _, each, _ in changed),
            set().union(*(each.days for _, each, _ in changed)),
        )
        values: Counter[str] = Counter()
        left: Counter[str] = Counter()
        for _, each in filled:
            values.update(each.values)
            left.update(each.left)
        self.outage.wait_out(
            self.backfills.prepare,
            operation_id,
            RemovedPart(
                [each.file_path for each in rest.removed],
                [each.file_path for each in rest.added],
                rest.rows,
                rest.days if _is_summarised(kind, values) else (),
            ),
            {"values": dict(sorted(values.items())), "left": dict(sorted(left.items()))},
        )
        return rest

    # -- steps 5 and 6 ------------------------------------------------------------------------------------------------

    def _finish(self, operation_id: str, kind: FileType | None, snapshot_id: int | None) -> BackfillResult:
        # 5. Record
        summary = kind.config.summary if kind else None
        table = f"summary.{summary.table}" if summary else None
        self.outage.wait_out(self.backfills.record, operation_id, snapshot_id=snapshot_id, summary_table=table)
        return self._settle(operation_id)

    def _settle(self, operation_id: str) -> BackfillResult:
        # 6. Settle
        result = _result(self.outage.wait_out(self.backfills.settle, operation_id))
        log.info(
            Event.BACKFILL_SETTLED,
            operation_id=operation_id,
            file_type=result.file_type,
            table=result.table_name,
            rows=result.rows,
            values=result.values,
            left=result.left,
            days=result.days,
            snapshot_id=result.snapshot_id,
        )
        return result


def _result(operation: Operation) -> BackfillResult:
    detail: dict[str, Any] = operation.detail or {}
    return BackfillResult(
        operation_id=operation.id,
        file_type=operation.file_type,
        table_name=operation.table_name,
        state=operation.state,
        rows=detail.get("rows", 0),
        values=detail.get("values", {}),
        left=detail.get("left", {}),
        snapshot_id=operation.snapshot_id,
        days=list(operation.event_days or []),
    )


def _is_summarised(kind: FileType, values: Mapping[str, int]) -> bool:
    summary = kind.config.summary
    return summary is not None and not values.keys().isdisjoint((*summary.key, summary.time, *summary.latest))


# -- in a worker ------------------------------------------------------------------------------------------------------


def backfill(task: BackfillTask) -> list[Filled]:
    """Each data file that has rescued keys of these fields, written again with the values that fit in their columns."""
    metadata, io = task.handle.open()
    schema = metadata.schema()
    names = [each.name for each in task.fields]
    few = ArrowScan(metadata, io, schema.select(RESCUED, *names), AlwaysTrue())
    whole = ArrowScan(metadata, io, schema, AlwaysTrue())
    done: list[Filled] = []
    for number, file in enumerate(task.files):
        found = _find(few.to_table([file]), task.fields)
        values = {name: len(rows) for name, (rows, _) in found.values.items()}
        if not values:
            if found.left:
                done.append(Filled(file.file.file_path, 0, {}, found.left, frozenset(), None))
            continue
        before = whole.to_table([file])
        rows = _filled(before, found)
        write = WriteTask(
            write_uuid=uuid.UUID(task.write_id),
            task_id=task.number * 10**6 + number,
            schema=schema,
            record_batches=rows.to_batches(),
            partition_key=partition_of(file.file, metadata),
        )
        (written,) = write_data_files(io, metadata, write, task.handle.name)
        if written.record_count != len(before):
            raise Fatal(
                f"backfilling {file.file.file_path}: it has {len(before)} rows, but the new data file's footer counts "
                f"{written.record_count}; nothing was committed, report this as a bug"
            )
        changed = rows.take(pa.array(sorted(found.rescued), pa.int64()))
        days = frozenset(days_in(changed, task.time_field))
        done.append(Filled(file.file.file_path, len(changed), values, found.left, days, written))
    return done


def rescued_values(lake: Lake, table_name: str, key: str, most: int) -> list[bytes]:
    """At most so many of the values that are rescued under a key, as JSON; those of the newest data files first."""
    table = lake.table(table_name)
    found: list[bytes] = []
    if table is None or RESCUED not in table.schema().column_names:
        return found
    scan = ArrowScan(table.metadata, table.io, table.schema().select(RESCUED), AlwaysTrue())
    files = lake.files_of(table, _is_rescued())
    with lake.reading(table_name):
        # Their names end in the id of their batch or operation, which begins with its time.
        for file in sorted(files, key=lambda task: task.file.file_path.rsplit("-", 5)[-5:], reverse=True):
            for _, rescued in _rescued(scan.to_table([file])):
                if key in rescued:
                    found.append(bytes(rescued[key]))
                    if len(found) >= most:
                        return found
    return found


def _is_rescued() -> BooleanExpression:
    """Finds the data files with rows that have something rescued."""
    return NotNull(RESCUED)  # type: ignore[call-arg,arg-type] # pydantic hides its own __init__


def _rescued(rows: pa.Table) -> Iterator[tuple[int, dict[str, msgspec.Raw]]]:
    """Of each row that has something rescued: its number, and what it is."""
    column = rows[RESCUED].combine_chunks()
    for number in pc.indices_nonzero(column.is_valid()).to_pylist():
        try:
            yield number, _object.decode(column[number].as_py())
        except msgspec.MsgspecError:  # somebody else wrote it
            continue


def _find(rows: pa.Table, fields: Sequence[Field]) -> _RescuedRows:
    """The rescued values that fit a field whose column is null in their row."""
    by_key = {each.key: each for each in fields}
    nulls = {each.name: rows[each.name].combine_chunks().is_null() for each in fields}
    wanted: dict[str, list[tuple[int, msgspec.Raw]]] = {}
    kept: dict[int, dict[str, msgspec.Raw]] = {}
    for number, rescued in _rescued(rows):
        for key in rescued.keys() & by_key.keys():
            if nulls[by_key[key].name][number].as_py():
                wanted.setdefault(key, []).append((number, rescued[key]))
                kept[number] = rescued
    found = _RescuedRows({}, {}, Counter())
    for key, candidates in sorted(wanted.items()):
        name = by_key[key].name
        good, values = _decoded(by_key[key], [value for _, value in candidates])
        if len(good) < len(candidates):
            found.left[name] += len(candidates) - len(good)
        if not good:
            continue
        numbers = [candidates[at][0] for at in good]
        found.values[name] = (numbers, values)
        for number in numbers:
            del kept[number][key]
            found.rescued[number] = None
    for number in found.rescued:
        found.rescued[number] = msgspec.json.encode(kept[number]).decode() if kept[number] else None
    return found


def _decoded(wanted: Field, values: Sequence[msgspec.Raw]) -> tuple[list[int], pa.Array]:
    """Which of the values a new record could have, and what they are in its column."""
    decoder = Decoder(Definition(fields=(wanted,)), ())
    records = [msgspec.json.encode({wanted.key: value}) for value in values]
    decoded = decoder.decode_records(records)
    return list(decoded.good), decoded.columns[0]


def _filled(rows: pa.Table, found: _RescuedRows) -> pa.Table:
    """The rows with the values in their place."""
    for name, (numbers, values) in found.values.items():
        rows = _replaced(rows, name, numbers, values)
    texts = pa.array(list(found.rescued.values()), pa.string())
    return _replaced(rows, RESCUED, list(found.rescued), texts)


def _replaced(rows: pa.Table, name: str, numbers: list[int], values: pa.Array) -> pa.Table:
    """A column with other values in some rows; of any type, so by position and not by mask."""
    column = rows[name].combine_chunks()
    if values.type != column.type:
        values = values.cast(column.type)
    places = list(range(len(column)))
    for at, number in enumerate(numbers):
        places[number] = len(column) + at
    both = pa.chunked_array([column, values])
    return rows.set_column(rows.column_names.index(name), name, both.take(pa.array(places, pa.int64())))
