"""The daily summary: per key and UTC day of a time field, the last row of the day, in a table partitioned by day.

What is summarised is configuration (`processing_config.summary`). The rows are read by their own time, wherever the
dates of file names put them. Two rounds of tasks do the work: the first reads the raw table's data files, in bins, and
keeps each key's last row of each day; the second merges what the bins found and writes one data file a day. Then one
snapshot replaces those days and no others.

**The last row** of a key and day is the one with the greatest time; of several, the one whose source file was claimed
later (greater `_file_id`); within one file, the one that stands later (greater `_record_no`).
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.expressions import And, BooleanExpression, GreaterThanOrEqual, LessThanOrEqual, Or
from pyiceberg.io.pyarrow import ArrowScan, schema_to_pyarrow
from pyiceberg.partitioning import PartitionField, PartitionFieldValue, PartitionKey, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.table import FileScanTask, WriteTask
from pyiceberg.transforms import IdentityTransform
from pyiceberg.types import DateType, NestedField, TimestamptzType

from metadata.clock import Clock
from metadata.errors import UsageError
from metadata.ledger.ledger import Ledger
from metadata.types.config import SummaryConfig
from metadata.types.definition import Definition
from metadata.types.file_type import FileType
from processors.decode.schema import iceberg_schema
from processors.lake.data_files import write_data_files
from processors.lake.handle import TableHandle
from processors.lake.lake import Lake
from processors.lake.table_evolution import former_names

if TYPE_CHECKING:
    from pyiceberg.manifest import DataFile

    from processors.spark.spark_runner import Runner

T = TypeVar("T")

DAY = "day"
TIE = ("_file_id", "_record_no")
ROWS_AT_ONCE = 1_000_000  #: a worker folds its rows together every so many, so that its memory does not follow the bin


@dataclass(frozen=True)
class SummaryResult:
    """What a build made; `snapshot_id` is None when there was nothing to write and nothing to remove."""

    operation_id: str
    table: str  #: namespace.table
    days: dict[date, int]  #: rows of each day asked for
    snapshot_id: int | None
    seconds: float


@dataclass(frozen=True)
class ReadTask:
    """One bin of the first round: raw data files, and what to keep of them."""

    handle: TableHandle
    summary: SummaryConfig
    schema: pa.Schema  #: of the summary table
    row_filter: BooleanExpression
    files: tuple[FileScanTask, ...]


@dataclass(frozen=True)
class WriteDaysTask:
    """One bin of the second round: days, each with what the first round's bins found for it (Arrow IPC streams)."""

    handle: TableHandle
    summary: SummaryConfig
    operation_id: str
    days: tuple[tuple[date, tuple[bytes, ...]], ...]


def build_days(
    lake: Lake,
    runner: Runner,
    ledger: Ledger,
    clock: Clock,
    kind: FileType,
    days: Iterable[date],
    operation_id: str,
) -> SummaryResult:
    """Build `days` of a type's summary anew, in one snapshot; a day without rows loses its partition.

    Building again what is built changes nothing but the snapshot. Rows that are committed meanwhile leave their days
    dirty: a day's generation is read before its rows. Whatever stops the build leaves every day as it was, dirty ones
    dirty; begin again under a new `operation_id`. Columns that the configuration has gained are added to the table,
    others stay and are null from now on. Raises UsageError when the type has no summary, TypeStopped when the table's
    columns are of other types, and what lake and runner raise.
    """
    summary, definition = kind.config.summary, kind.definition
    if summary is None or definition is None:
        raise UsageError(f'summarising {kind.name}: it has no "summary" in its processing_config; add one first')
    began = clock.monotonic()
    wanted, target = sorted(set(days)), summary.table_name
    generations = {day: ledger.day_generation(target, day) for day in wanted}
    rows: dict[date, int] = {}
    snapshot_id = None
    if wanted:
        found = _read(lake, runner, kind, summary, definition, wanted)
        rows, snapshot_id = _replace(lake, runner, summary, definition, operation_id, wanted, found)
    built = {day: rows.get(day, 0) for day in wanted}
    for day, count in built.items():
        ledger.day_built(target, kind.name, day, generations[day], rows=count, snapshot_id=snapshot_id)
    return SummaryResult(operation_id, target, built, snapshot_id, clock.monotonic() - began)


def summary_schema(definition: Definition, summary: SummaryConfig) -> Schema:
    """The summary table's columns: the key, the day, then `last_<field>` for the time and each latest field."""
    source = iceberg_schema(definition)
    columns = [(name, source.find_type(name)) for name in summary.key]
    columns.append((DAY, DateType()))
    columns.append((f"last_{summary.time}", TimestamptzType()))
    columns += [(f"last_{name}", source.find_type(name)) for name in summary.latest]
    first = source.highest_field_id + 1  # nested types keep their ids; new ones must not meet them
    return Schema(*(NestedField(first + n, name, type_, required=False) for n, (name, type_) in enumerate(columns)))


def _former_names(definition: Definition, summary: SummaryConfig) -> dict[str, tuple[str, ...]]:
    """The names that the summary table's columns had before their fields were renamed."""
    former = former_names(definition)
    names = {name: former.get(name, ()) for name in summary.key}
    for name in (summary.time, *summary.latest):
        names[f"last_{name}"] = tuple(f"last_{each}" for each in former.get(name, ()))
    return names


# -- the driver ---------------------------------------------------------------------------------------------------


def _read(
    lake: Lake,
    runner: Runner,
    kind: FileType,
    summary: SummaryConfig,
    definition: Definition,
    days: Sequence[date],
) -> dict[date, list[bytes]]:
    """The first round: for each day that has rows, what each bin found."""
    raw = lake.table(kind.table_name)
    names = {summary.time, *definition.field(summary.time).former_names}
    if raw is None or names.isdisjoint(raw.schema().column_names):
        return {}  # no file of the type was loaded, or none since it got its time field
    raw = lake.seen_as(raw, iceberg_schema(definition), former_names(definition))
    row_filter = _within(summary.time, [_moments(*days_) for days_ in _ranges(days)])
    files = lake.files_of(raw, row_filter)
    if not files:
        return {}  # without asking the runner, which would start Spark
    handle, schema = lake.handle(raw), schema_to_pyarrow(summary_schema(definition, summary), include_field_ids=False)
    tasks = [
        ReadTask(handle, summary, schema, row_filter, tuple(bin_))
        for bin_ in _bins(files, runner.parallelism, lambda task: task.file.file_size_in_bytes)
    ]
    found: dict[date, list[bytes]] = {}
    for parts in runner.run(last_rows, tasks, f"summary: read {kind.table_name}"):
        for day, part in parts:
            found.setdefault(day, []).append(part)
    return found


def _replace(
    lake: Lake,
    runner: Runner,
    summary: SummaryConfig,
    definition: Definition,
    operation_id: str,
    days: Sequence[date],
    found: dict[date, list[bytes]],
) -> tuple[dict[date, int], int | None]:
    """The second round and the one snapshot; returns the rows of each day that has any, and the snapshot's id."""
    name, schema = summary.table_name, summary_schema(definition, summary)
    if not found and lake.table(name) is None:
        return {}, None
    handle = lake.handle(lake.ensure_table(name, schema, _spec(schema), former=_former_names(definition, summary)))
    old = _within(DAY, [(first.isoformat(), last.isoformat()) for first, last in _ranges(days)])
    delete = [task.file for task in lake.scan_tasks(name, old)]
    append: list[DataFile] = []
    rows: dict[date, int] = {}
    if found:
        tasks = [
            WriteDaysTask(handle, summary, operation_id, tuple((day, tuple(parts)) for day, parts in bin_))
            for bin_ in _bins(found.items(), runner.parallelism, lambda item: sum(map(len, item[1])))
        ]
        for written in runner.run(write_days, tasks, f"summary: write {name}"):
            for day, data_file in written:
                append.append(data_file)
                rows[day] = data_file.record_count
    if not delete and not append:
        return rows, None
    return rows, lake.overwrite(name, operation="summary", operation_id=operation_id, delete=delete, append=append)


def _spec(schema: Schema) -> PartitionSpec:
    return PartitionSpec(PartitionField(schema.find_field(DAY).field_id, 1000, IdentityTransform(), DAY))


def _ranges(days: Sequence[date]) -> list[tuple[date, date]]:
    """Sorted days as ranges without gaps, first and last day each."""
    ranges: list[tuple[date, date]] = []
    for day in days:
        if ranges and day - ranges[-1][1] == timedelta(days=1):
            ranges[-1] = (ranges[-1][0], day)
        else:
            ranges.append((day, day))
    return ranges


def _moments(first: date, last: date) -> tuple[str, str]:
    """The first and the last moment of these UTC days; there need be no day after the last one."""
    return datetime.combine(first, time.min, UTC).isoformat(), datetime.combine(last, time.max, UTC).isoformat()


def _within(column: str, ranges: Sequence[tuple[str, str]]) -> BooleanExpression:
    """`column` lies in one of `ranges`, ends included; halved, for a chain of hundreds would nest too deep."""
    if len(ranges) == 1:
        first, last = ranges[0]
        return And(
            GreaterThanOrEqual(column, first),  # type: ignore[call-arg,arg-type] # pydantic hides its own __init__
            LessThanOrEqual(column, last),  # type: ignore[call-arg,arg-type] # pydantic hides its own __init__
        )
    middle = len(ranges) // 2
    return Or(_within(column, ranges[:middle]), _within(column, ranges[middle:]))


def _bins(items: Iterable[T], count: int, weight: Callable[[T], int]) -> list[list[T]]:
    """At most `count` bins of about the same weight; none is empty."""
    bins: list[tuple[int, list[T]]] = [(0, []) for _ in range(count)]
    for item in sorted(items, key=weight, reverse=True):
        lightest = min(range(count), key=lambda n: bins[n][0])
        total, members = bins[lightest]
        members.append(item)
        bins[lightest] = (total + weight(item) + 1, members)
    return [members for _, members in bins if members]


# -- the workers --------------------------------------------------------------------------------------------------


def last_rows(task: ReadTask) -> list[tuple[date, bytes]]:
    """First round, in a worker: each key's last row of each day in these data files, as one Arrow stream a day.

    Reads through PyIceberg's own scan, so columns that were added later and rows that were deleted are honoured.
    """
    metadata, io = task.handle.open()
    names = dict.fromkeys((*task.summary.key, task.summary.time, *task.summary.latest, *TIE))
    present = [name for name in names if name in metadata.schema().column_names]
    scan = ArrowScan(metadata, io, metadata.schema().select(*present), task.row_filter)
    kept: pa.Table | None = None
    for files in _at_most(task.files, ROWS_AT_ONCE):
        rows = _shape(scan.to_table(files), task.summary, task.schema)
        kept = _last(rows if kept is None else pa.concat_tables([kept, rows]), task.summary)
    return [] if kept is None else [(day, _to_bytes(part)) for day, part in _by_day(kept)]


def write_days(task: WriteDaysTask) -> list[tuple[date, DataFile]]:
    """Second round, in a worker: merge each day's parts and write its data file, sorted by key."""
    metadata, io = task.handle.open()
    schema, spec = metadata.schema(), metadata.spec()
    arrow = schema_to_pyarrow(schema, include_field_ids=False)
    by_day = next(field for field in spec.fields if field.name == DAY)

    def jobs() -> Iterator[WriteTask]:
        for day, parts in task.days:
            rows = pa.concat_tables([pa.ipc.open_stream(part).read_all() for part in parts])
            rows = _last(rows, task.summary)
            order = pc.sort_indices(
                _sortable(rows, task.summary.key), sort_keys=[(n, "ascending") for n in task.summary.key]
            )
            rows = rows.take(order)
            columns = [
                rows[field.name].cast(field.type)
                if field.name in rows.column_names
                else pa.nulls(len(rows), field.type)
                for field in arrow
            ]
            yield WriteTask(
                write_uuid=uuid.UUID(task.operation_id),
                task_id=day.toordinal(),  # one data file a day: the name is new for each operation and day
                schema=schema,
                record_batches=pa.table(columns, schema=arrow).to_batches(),
                partition_key=PartitionKey([PartitionFieldValue(by_day, day)], spec, schema),
            )

    days = [day for day, _ in task.days]
    return list(zip(days, write_data_files(io, metadata, jobs(), task.handle.name), strict=True))


def _at_most(files: Sequence[FileScanTask], rows: int) -> Iterator[list[FileScanTask]]:
    """Data files in groups of at most `rows` rows, or of one file."""
    group: list[FileScanTask] = []
    count = 0
    for task in files:
        if group and count + task.file.record_count > rows:
            yield group
            group, count = [], 0
        group.append(task)
        count += task.file.record_count
    if group:
        yield group


def _shape(rows: pa.Table, summary: SummaryConfig, schema: pa.Schema) -> pa.Table:
    """Raw rows as rows of the summary (each the last so far), with the two columns that break ties."""

    def column(name: str, type_: pa.DataType) -> Any:
        return rows[name].cast(type_) if name in rows.column_names else pa.nulls(len(rows), type_)

    moments = rows[summary.time]
    arrays = [column(name, schema.field(name).type) for name in summary.key]
    arrays.append(moments.cast(pa.date32()))  # the UTC day: the time's zone is UTC
    arrays.append(moments.cast(schema.field(f"last_{summary.time}").type))
    arrays += [column(name, schema.field(f"last_{name}").type) for name in summary.latest]
    arrays += [rows["_file_id"].cast(pa.string()), rows["_record_no"]]
    return pa.table(arrays, names=[*summary.columns, *TIE])


def _last(rows: pa.Table, summary: SummaryConfig) -> pa.Table:
    """Of each key and day the last row, by the rule at the top of this file.

    Column by column: number the groups, find each group's greatest time, keep the rows that have it, and only among
    those (few, as a rule) sort.
    """
    if len(rows) == 0:
        return rows
    group = _group_numbers(_sortable(rows, (*summary.key, DAY)))
    moment = f"last_{summary.time}"
    greatest = (
        pa.table({"group": group, "moment": rows[moment]})
        .group_by("group")
        .aggregate([("moment", "max")])
        .sort_by("group")["moment_max"]
    )
    mask = pc.equal(rows[moment], greatest.take(group))
    survivors = rows.filter(mask)
    if len(survivors) == len(greatest):
        return survivors
    ties = pa.table({"group": group, **{name: rows[name] for name in TIE}}).filter(mask)
    order = pc.sort_indices(ties, sort_keys=[("group", "ascending"), *((name, "descending") for name in TIE)])
    sorted_groups = ties["group"].take(order).combine_chunks()
    first = pa.concat_arrays([pa.array([True]), pc.not_equal(sorted_groups[1:], sorted_groups[:-1])])
    return survivors.take(order.filter(first))


def _group_numbers(table: pa.Table) -> Any:
    """For each row the number of its combination of values, from 0 without gaps; null is a value like any other."""
    numbers: Any = None
    for column in table.columns:
        encoded = column.combine_chunks().dictionary_encode(null_encoding="encode")
        codes = encoded.indices.cast(pa.int64())
        if numbers is not None:  # pair both numbers, then close the gaps again so that nothing overflows
            pairs = pc.add(pc.multiply(numbers, pa.scalar(len(encoded.dictionary), pa.int64())), codes)
            codes = pairs.dictionary_encode().indices.cast(pa.int64())
        numbers = codes
    return numbers


def _sortable(table: pa.Table, names: Sequence[str]) -> pa.Table:
    """The named columns with extension types (uuid) as what they are stored as: Arrow's kernels know only those."""
    columns = [table[name] for name in names]
    plain = [c.cast(c.type.storage_type) if isinstance(c.type, pa.BaseExtensionType) else c for c in columns]
    return pa.table(plain, names=list(names))


def _by_day(rows: pa.Table) -> Iterator[tuple[date, pa.Table]]:
    """The rows of each day."""
    rows = rows.sort_by(DAY)
    start = 0
    for entry in pc.value_counts(rows[DAY].combine_chunks()):
        day, count = entry["values"].as_py(), entry["counts"].as_py()
        yield day, rows.slice(start, count)
        start += count


def _to_bytes(rows: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema) as writer:
        writer.write_table(rows)
    return bytes(sink.getvalue())
