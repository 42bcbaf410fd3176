from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, NoReturn, TypeVar
from uuid import UUID

import pyarrow as pa
import pytest
from inprocess import InProcessRunner
from pyiceberg.io.pyarrow import schema_to_pyarrow
from workshop import Workshop

from metadata.database.models import SummaryDay
from metadata.errors import UsageError, WorldFault
from metadata.ids import new_id
from metadata.ledger.summary_days import touch_days
from metadata.settings import Settings
from metadata.types.built_in import BUILT_IN
from metadata.types.file_type import FileType, TypeStatus, table_identifier
from metadata.types.parse_config import parse_config
from metadata.types.parse_definition import parse_definition
from processors.decode.schema import iceberg_schema, partition_spec
from processors.lake import data_files as writing
from processors.read import summary as module
from processors.read.summary import SummaryResult, build_days

T = TypeVar("T")
R = TypeVar("R")

DAY = date(2026, 1, 15)
NEXT = date(2026, 1, 16)
DAILY = "summary.daily_summary"


class Staged(InProcessRunner):
    """Before a round whose label has these words, what a test has put there happens."""

    def __init__(self) -> None:
        super().__init__()
        self.before: dict[str, Callable[[], None]] = {}

    def run(self, function: Callable[[T], R], tasks: Sequence[T], label: str) -> list[R]:
        """As in process."""
        for words, action in self.before.items():
            if words in label:
                action()
        return super().run(function, tasks, label)


class SummaryShop(Workshop):
    """A workshop whose tables are filled without source files, and short ways to summarise and read them."""

    def __init__(self, settings: Settings) -> None:
        self.stage = Staged()
        super().__init__(settings, self.stage)
        self.lake, self.ledger, self.database = self.app.lake(), self.app.ledger, self.app.database
        self._file = 0

    def fill(self, kind: FileType, rows: Sequence[dict[str, Any]], *, file_id: str | None = None) -> None:
        """Commit rows as one source file; its name's date is 2026-01-20 unless a row says another."""
        assert kind.definition is not None
        self._file += 1
        lineage = {"_file_id": file_id or f"file-{self._file:04}", "_source_file": "x.json", "_batch_id": "b"}
        table = self.lake.ensure_table(
            kind.table_name,
            iceberg_schema(kind.definition),
            partition_spec(kind.definition, kind.config),
        )
        arrow = schema_to_pyarrow(table.schema(), include_field_ids=False)
        complete = [
            {"date": date(2026, 1, 20), "_record_no": number, **lineage, **row} for number, row in enumerate(rows, 1)
        ]
        table.append(pa.Table.from_pylist(complete, schema=arrow))

    def dirty(self, day: date, file_type: str = "vehicle_events", table: str = DAILY) -> None:
        """A commit has touched the day."""
        with self.database.writing() as session:
            touch_days(session, table, file_type, [day.isoformat()])

    def build(self, file_type: FileType, *days: date) -> SummaryResult:
        """Build days."""
        return build_days(self.lake, self.stage, self.ledger, self.clock, file_type, days, new_id(self.clock))

    def summary(self, name: str = DAILY) -> list[tuple[Any, ...]]:
        """The rows of a summary table, sorted."""
        table = self.lake.table(name)
        assert table is not None
        rows = table.scan().to_arrow().to_pylist()
        return sorted((tuple(row.values()) for row in rows), key=repr)

    def snapshots(self, name: str = DAILY) -> int:
        """How many snapshots a table has."""
        table = self.lake.table(name)
        return 0 if table is None else len(table.snapshots())

    def data_files(self, day: date) -> list[str]:
        """The data files of a day of the summary."""
        return [task.file.file_path for task in self.lake.scan_tasks(DAILY, f"day = '{day}'")]


@pytest.fixture
def shop(settings: Settings) -> Iterator[SummaryShop]:
    """One with empty tables."""
    made = SummaryShop(settings)
    yield made
    made.close()


def make_type(raw: dict[str, Any]) -> FileType:
    """A file type from a types file."""
    definition = parse_definition(raw["schema_definition"])
    return FileType(
        name=raw["file_type"],
        table_name=table_identifier(raw["table_name"]),
        patterns=tuple(raw["filename_patterns"]),
        status=TypeStatus.ACTIVE,
        definition=definition,
        schema_version=1,
        config=parse_config(raw["processing_config"], raw.get("partition_column"), definition),
    )


EVENTS = make_type(next(raw for raw in BUILT_IN if raw["file_type"] == "vehicle_events"))


def at(text: str, day: date = DAY) -> datetime:
    """A time of a day, in UTC."""
    return datetime.fromisoformat(f"{day}T{text}").replace(tzinfo=UTC)


def event(vehicle: str, time: datetime | None, kind: str | None = "start", **other: Any) -> dict[str, Any]:
    """A row of vehicle_events."""
    return {"vehicle_id": vehicle, "event_time": time, "event_type": kind, **other}


def test_the_last_event_of_each_vehicle_and_day(shop: SummaryShop) -> None:
    """Per vehicle and UTC day of the event, its last time and that event's type."""
    shop.fill(
        EVENTS,
        [
            event("a", at("08:00"), "start"),
            event("a", at("23:59:59.999999"), "stop"),
            event("b", at("00:00"), "park"),
            event("a", at("00:00", NEXT), "start"),
        ],
    )
    shop.fill(EVENTS, [event("a", at("12:00"), "pause"), event("c", at("10:00", NEXT), "stop")])

    result = shop.build(EVENTS, DAY, NEXT)

    assert shop.summary() == [
        ("a", DAY, at("23:59:59.999999"), "stop"),
        ("a", NEXT, at("00:00", NEXT), "start"),
        ("b", DAY, at("00:00"), "park"),
        ("c", NEXT, at("10:00", NEXT), "stop"),
    ]
    assert (result.table, result.days) == (DAILY, {DAY: 2, NEXT: 2})
    table = shop.lake.table(DAILY)
    assert table is not None
    snapshot = table.current_snapshot()
    assert snapshot is not None and snapshot.snapshot_id == result.snapshot_id
    assert snapshot.summary is not None
    assert snapshot.summary["lemonade.operation-id"] == result.operation_id
    assert snapshot.summary["lemonade.operation"] == "summary"
    assert table.schema().column_names == ["vehicle_id", "day", "last_event_time", "last_event_type"]
    assert str(table.spec().fields[0]) == "1000: day: identity(2)"


def test_only_the_days_asked_for(shop: SummaryShop) -> None:
    """Rows of other days, just before and just after included, are left alone; gaps between days are gaps."""
    shop.fill(
        EVENTS,
        [event("a", at("12:00", date(2026, 1, day))) for day in range(10, 21)] + [event("b", at("23:59:59.999999"))],
    )

    result = shop.build(EVENTS, date(2026, 1, 12), date(2026, 1, 13), date(2026, 1, 16), date(2026, 1, 18))

    assert sorted(result.days) == [row[1] for row in shop.summary()]
    assert set(result.days.values()) == {1}


def test_rows_count_by_event_time_wherever_the_file_name_put_them(shop: SummaryShop) -> None:
    """A late file's rows lie in the partition of its name's date and count for the day of their event."""
    shop.fill(EVENTS, [event("a", at("10:00"), "start", date=DAY)])
    shop.build(EVENTS, DAY)
    shop.fill(EVENTS, [event("a", at("11:00"), "late", date=date(2026, 3, 1))])
    shop.fill(EVENTS, [event("a", at("12:00"), "early", date=date(2025, 12, 1))])

    shop.build(EVENTS, DAY)

    assert shop.summary() == [("a", DAY, at("12:00"), "early")]


@pytest.mark.parametrize(("number", "code"), [(errno.ENOSPC, "disk_full"), (errno.EIO, "warehouse_away")])
def test_a_disk_that_does_not_take_a_summary_is_waited_for(
    shop: SummaryShop, monkeypatch: pytest.MonkeyPatch, number: int, code: str
) -> None:
    """It is the world's fault, as while a batch is loaded; nothing was changed, and it goes once there is room."""
    shop.fill(EVENTS, [event("a", at("08:00"))])

    def refuse(*_args: Any) -> NoReturn:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch, pytest.raises(WorldFault, match="writing data files of summary") as fault:
        patch.setattr(writing, "write_file", refuse)
        shop.build(EVENTS, DAY)
    assert (fault.value.code, shop.summary()) == (code, [])
    shop.build(EVENTS, DAY)
    assert shop.summary() == [("a", DAY, at("08:00"), "start")]


@pytest.mark.parametrize("at_once", [1, 1_000_000])
def test_ties(shop: SummaryShop, monkeypatch: pytest.MonkeyPatch, at_once: int) -> None:
    """Of equal times the file claimed later wins, within one file the later record; however the work is cut."""
    monkeypatch.setattr(module, "ROWS_AT_ONCE", at_once)
    noon = at("12:00")
    shop.fill(EVENTS, [event("a", noon, "second file"), event("c", noon, "x")], file_id="0002")
    shop.fill(EVENTS, [event("a", noon, "first file"), event("a", at("13:00", NEXT), "other day")], file_id="0001")
    shop.fill(EVENTS, [event("b", noon, f"record {n}") for n in range(1, 12)], file_id="0003")
    shop.fill(EVENTS, [event("b", at("11:59"), "earlier, in a later file")], file_id="0004")

    shop.build(EVENTS, DAY)

    assert shop.summary() == [
        ("a", DAY, noon, "second file"),
        ("b", DAY, noon, "record 11"),
        ("c", DAY, noon, "x"),
    ]


def test_days_are_replaced_in_one_snapshot(shop: SummaryShop) -> None:
    """Building days again adds one snapshot; the data files of other days are the same ones as before."""
    earlier = date(2026, 1, 14)
    shop.fill(EVENTS, [event("a", at("10:00", day)) for day in (earlier, DAY, NEXT)])
    shop.build(EVENTS, earlier, DAY, NEXT)
    untouched, replaced = shop.data_files(earlier), shop.data_files(DAY)
    shop.fill(EVENTS, [event("b", at("11:00")), event("b", at("11:00", NEXT)), event("b", at("11:00", earlier))])
    assert shop.snapshots() == 1

    result = shop.build(EVENTS, DAY, NEXT)

    assert shop.snapshots() == 2
    assert result.days == {DAY: 2, NEXT: 2}
    assert shop.data_files(earlier) == untouched
    assert shop.data_files(DAY) != replaced
    assert [row[:2] for row in shop.summary()] == [
        ("a", earlier),
        ("a", DAY),
        ("a", NEXT),
        ("b", DAY),
        ("b", NEXT),
    ]


def test_building_again_changes_nothing(shop: SummaryShop) -> None:
    """Twice the same days: the same rows, one data file a day."""
    shop.fill(EVENTS, [event("a", at("10:00")), event("b", at("10:00", NEXT))])
    shop.build(EVENTS, DAY, NEXT)
    first = shop.summary()

    shop.build(EVENTS, NEXT, DAY, DAY)

    assert shop.summary() == first
    assert len(shop.data_files(DAY)) == 1


def test_a_day_that_lost_its_rows_loses_its_partition(shop: SummaryShop) -> None:
    """After a day's rows were deleted, its summary goes too, in a snapshot that only removes."""
    shop.fill(EVENTS, [event("a", at("10:00")), event("b", at("10:00", NEXT))])
    shop.build(EVENTS, DAY, NEXT)
    raw = shop.lake.table(EVENTS.table_name)
    assert raw is not None
    raw.delete("vehicle_id = 'a'")

    result = shop.build(EVENTS, DAY)

    assert result.days == {DAY: 0}
    assert result.snapshot_id is not None
    assert [row[0] for row in shop.summary()] == ["b"]


def test_a_day_without_rows(shop: SummaryShop) -> None:
    """It makes no snapshot, and it is no longer dirty."""
    shop.fill(EVENTS, [event("a", at("10:00"))])
    shop.build(EVENTS, DAY)
    shop.dirty(NEXT)

    result = shop.build(EVENTS, NEXT)

    assert (result.days, result.snapshot_id) == ({NEXT: 0}, None)
    assert shop.snapshots() == 1
    assert shop.ledger.dirty_days(DAILY) == []


def test_no_table_yet_and_no_days(shop: SummaryShop) -> None:
    """A type that never loaded a file has an empty summary, and no table is made for it."""
    assert shop.build(EVENTS, DAY).days == {DAY: 0}
    assert shop.build(EVENTS).days == {}
    assert shop.lake.table(DAILY) is None


def test_nulls(shop: SummaryShop) -> None:
    """A row without a time belongs to no day; a last row without a type is still the last."""
    shop.fill(
        EVENTS,
        [
            event("a", at("10:00"), "start"),
            event("a", at("11:00"), None),
            event("a", None, "never"),
            event("b", None, "never"),
        ],
    )

    shop.build(EVENTS, DAY)

    assert shop.summary() == [("a", DAY, at("11:00"), None)]


TRIPS = make_type(
    {
        "file_type": "trips",
        "table_name": "trips",
        "filename_patterns": ["trips"],
        "schema_definition": {
            "fields": [
                {"name": "region", "type": "string"},
                {"name": "car", "type": "uuid"},
                {"name": "line", "type": "int"},
                {"name": "ended", "type": "timestamp"},
                {"name": "fare", "type": "decimal(9,2)"},
                {"name": "stops", "type": {"type": "list", "element": "string"}},
                {"name": "day", "type": "long"},
            ]
        },
        "processing_config": {
            "summary": {
                "table": "last_trips",
                "key": ["region", "car", "line"],
                "time": "ended",
                "latest": ["fare", "stops", "day", "line"],
            },
        },
    }
)
CARS = [UUID(int=1), UUID(int=2)]


def trip(region: str | None, car: int, line: int | None, ended: str, fare: str, **other: Any) -> dict[str, Any]:
    """A row of trips."""
    return {
        "region": region,
        "car": CARS[car].bytes,
        "line": line,
        "ended": at(ended),
        "fare": Decimal(fare),
        "stops": [fare],
        **other,
    }


def test_another_type_gets_a_summary_by_configuration(shop: SummaryShop) -> None:
    """Keys of several columns (null is a value), uuid, decimal and lists: configured, not coded."""
    shop.fill(
        TRIPS,
        [
            trip("n", 0, 1, "10:00", "1.00"),
            trip("n", 0, 1, "11:00", "2.00", day=7),
            trip("n", 1, 1, "09:00", "3.00"),
            trip(None, 0, None, "08:00", "4.00"),
            trip(None, 0, None, "07:00", "5.00"),
            trip("n", 0, None, "06:00", "6.00"),
        ],
    )

    result = shop.build(TRIPS, DAY)

    assert result.table == "summary.last_trips"
    assert shop.summary("summary.last_trips") == sorted(
        [
            ("n", CARS[0], 1, DAY, at("11:00"), Decimal("2.00"), ["2.00"], 7, 1),
            ("n", CARS[1], 1, DAY, at("09:00"), Decimal("3.00"), ["3.00"], None, 1),
            (None, CARS[0], None, DAY, at("08:00"), Decimal("4.00"), ["4.00"], None, None),
            ("n", CARS[0], None, DAY, at("06:00"), Decimal("6.00"), ["6.00"], None, None),
        ],
        key=repr,
    )


def test_a_summary_that_gains_and_loses_columns(shop: SummaryShop) -> None:
    """Columns that the configuration gains are added; those that it loses stay, null in days built from then on."""

    def keeping(*latest: str) -> FileType:
        raw = next(raw for raw in BUILT_IN if raw["file_type"] == "vehicle_events")
        config = {**raw["processing_config"], "summary": {**raw["processing_config"]["summary"], "latest": latest}}
        return make_type({**raw, "processing_config": config})

    shop.fill(EVENTS, [event("a", at("10:00", day), "start", event_source="gps") for day in (DAY, NEXT)])
    shop.build(keeping("event_type"), DAY)
    shop.build(keeping("event_source"), NEXT)

    assert shop.summary() == [
        ("a", DAY, at("10:00"), "start", None),
        ("a", NEXT, at("10:00", NEXT), None, "gps"),
    ]


def test_a_field_that_the_table_does_not_have_yet(shop: SummaryShop) -> None:
    """A latest field that was added to the type after the last load is null; a time field that was has no rows."""
    raw = next(raw for raw in BUILT_IN if raw["file_type"] == "vehicle_events")
    fields = [
        *raw["schema_definition"]["fields"],
        {"name": "speed", "type": "double"},
        {"name": "t", "type": "timestamp"},
    ]
    wider = {**raw, "schema_definition": {**raw["schema_definition"], "fields": fields}}
    summary = raw["processing_config"]["summary"]
    shop.fill(EVENTS, [event("a", at("10:00"))])

    latest = {**raw["processing_config"], "summary": {**summary, "latest": ["speed"]}}
    shop.build(make_type({**wider, "processing_config": latest}), DAY)
    assert shop.summary() == [("a", DAY, at("10:00"), None)]

    other = {**raw["processing_config"], "summary": {**summary, "table": "other", "time": "t"}}
    assert shop.build(make_type({**wider, "processing_config": other}), DAY).days == {DAY: 0}


def test_days_at_the_ends_of_the_calendar(shop: SummaryShop) -> None:
    """Devices send year 1 and year 9999; those are days like others."""
    ends = [date.min, date(1969, 12, 31), date.max]
    shop.fill(EVENTS, [event("a", at("23:59:59.999999", day)) for day in ends])

    assert shop.build(EVENTS, *ends).days == dict.fromkeys(ends, 1)
    assert [row[1] for row in shop.summary()] == ends


def test_the_ledger_learns_what_was_built(shop: SummaryShop) -> None:
    """A dirty day is clean afterwards; its rows and its snapshot are on record."""
    shop.fill(EVENTS, [event("a", at("10:00"))])
    shop.dirty(DAY)

    result = shop.build(EVENTS, DAY)

    assert shop.ledger.dirty_days(DAILY) == []
    with shop.database.reading() as session:
        row = session.get_one(SummaryDay, (DAILY, DAY))
        assert (row.file_type, row.rows, row.snapshot_id) == ("vehicle_events", 1, result.snapshot_id)


def test_a_commit_during_the_build_leaves_its_day_dirty(shop: SummaryShop) -> None:
    """Rows that come after the build began may be missed by it, so their day is built once more."""
    shop.fill(EVENTS, [event("a", at("10:00")), event("a", at("10:00", NEXT))])
    shop.dirty(DAY)
    shop.dirty(NEXT)
    shop.stage.before["write"] = lambda: shop.dirty(DAY)

    shop.build(EVENTS, DAY, NEXT)

    assert [day for day, _ in shop.ledger.dirty_days(DAILY)] == [DAY]


@pytest.mark.parametrize("step", ["read", "write", "overwrite", "record"])
def test_a_crash_leaves_the_day_dirty_and_the_next_build_whole(
    shop: SummaryShop, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """Whatever step fails: the day stays dirty, old summary or new one stands, and building again makes it right."""
    shop.fill(EVENTS, [event("a", at("10:00"))])
    shop.build(EVENTS, DAY)
    shop.fill(EVENTS, [event("a", at("11:00"))])
    shop.dirty(DAY)

    def fail(*_: object, **__: object) -> None:
        raise OSError("disk is gone")

    with monkeypatch.context() as broken:
        if step == "overwrite":
            broken.setattr(shop.lake, "overwrite", fail)
        elif step == "record":
            broken.setattr(shop.ledger, "day_built", fail)
        else:
            broken.setitem(shop.stage.before, f"summary: {step}", fail)
        with pytest.raises(OSError, match="disk is gone"):
            shop.build(EVENTS, DAY)
    assert [day for day, _ in shop.ledger.dirty_days(DAILY)] == [DAY]
    assert len(shop.summary()) == 1

    shop.build(EVENTS, DAY)
    assert shop.summary() == [("a", DAY, at("11:00"), "start")]
    assert shop.ledger.dirty_days(DAILY) == []


def test_a_type_without_a_summary(shop: SummaryShop) -> None:
    """Asking for one is a mistake of the caller's, said in words."""
    status = make_type(next(raw for raw in BUILT_IN if raw["file_type"] == "vehicle_status"))

    with pytest.raises(UsageError, match="vehicle_status: it has no"):
        shop.build(status, DAY)
