"""Types whose schemas change: registry → table → rows, through the daemon's own work, without Spark."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from ordershop import COUNT, ID, NOTE, PRICE, TABLE, Orders, fault

from metadata.database.models import Batch
from metadata.database.states import FlushReason
from metadata.errors import BatchFault, TypeStopped
from metadata.settings import Settings
from processors.lake.lake import Lake
from processors.read.query import QueryEngine
from watcher.work.flush_report import FlushReport


@pytest.fixture
def orders(settings: Settings) -> Iterator[Orders]:
    """Orders under version 1, none loaded."""
    made = Orders(settings)
    yield made
    made.close()


def test_rows_of_every_version_are_read_together(orders: Orders) -> None:
    """Renamed, widened, reordered, dropped and added in one update: old rows read on under the new names and types."""
    orders.take({"id": 1, "count": 7, "price": "12.50", "note": "old"})
    orders.evolve(
        {"name": "extra", "type": "string"},
        {"name": "amount", "type": "long", "renamed_from": "count", "source": "count"},
        ID,
        {**PRICE, "type": "decimal(9,2)"},
    )
    assert orders.columns() == ["id", "count", "price", "note"]  # the table evolves with the next batch
    orders.take({"id": 2, "count": 2**40, "price": "1234567.25", "extra": "x", "note": "gone"})
    assert orders.columns() == ["extra", "amount", "id", "price", "note"]

    assert orders.read("id", "amount", "price", "extra", "note") == [
        (1, 7, Decimal("12.50"), None, "old"),
        (2, 2**40, Decimal("1234567.25"), "x", None),
    ]
    assert orders.read("id", "_rescued")[1] == (2, '{"note":"gone"}')
    orders.assert_books(2, TABLE)


def test_columns_find_their_way_through_versions_that_no_batch_saw(orders: Orders) -> None:
    """Renamed twice between two batches, and back and forth: one column all the time."""
    orders.take({"id": 1, "count": 1})
    orders.evolve(ID, {**COUNT, "name": "pieces", "renamed_from": "count"})
    orders.evolve(ID, {**COUNT, "name": "amount", "renamed_from": "pieces", "type": "long"})
    orders.take({"id": 2, "amount": 2})
    assert orders.read("id", "amount") == [(1, 1), (2, 2)]
    orders.evolve(ID, {**COUNT, "name": "count", "renamed_from": "amount", "type": "long"})
    orders.take({"id": 3, "count": 3})
    assert orders.read("id", "count") == [(1, 1), (2, 2), (3, 3)]
    assert orders.columns() == ["id", "count", "price", "note"]


def test_nested_types_widen_and_grow(orders: Orders) -> None:
    """A struct gets a field, what is inside of structs, lists and maps gets wider: old rows read on, new ones fit."""
    place = {"type": "struct", "fields": [{"name": "lat", "type": "int"}]}
    wider = {"type": "struct", "fields": [{"name": "name", "type": "string"}, {"name": "lat", "type": "long"}]}
    nested = [
        {"name": "place", "type": place},
        {"name": "tags", "type": {"type": "list", "element": "int"}},
        {"name": "prices", "type": {"type": "map", "key": "string", "value": place}},
    ]
    orders.evolve(ID, *nested)
    orders.take({"id": 1, "place": {"lat": 1}, "tags": [1], "prices": {"a": {"lat": 1}}})
    orders.evolve(
        ID,
        {**nested[0], "type": wider},
        {**nested[1], "type": {"type": "list", "element": "long"}},
        {**nested[2], "type": {"type": "map", "key": "string", "value": wider}},
    )
    big = {"name": "x", "lat": 2**40}
    orders.take({"id": 2, "place": big, "tags": [2**40], "prices": {"b": big}})
    first, second = sorted(orders.records(TABLE), key=lambda row: row["id"])
    old = {"lat": 1, "name": None}
    assert (first["place"], first["tags"], first["prices"]) == (old, [1], [("a", old)])
    assert (second["place"], second["tags"], second["prices"]) == (big, [2**40], [("b", big)])
    found = QueryEngine(orders.app.lake()).run("SELECT place.lat, place.name, tags[1] FROM orders ORDER BY id").rows()
    assert found == [(1, None, 1), (2**40, "x", 2**40)]


def test_a_dropped_column_is_taken_up_again(orders: Orders) -> None:
    """Its old rows have their values still; with another type, or as another field's name, it is refused."""
    orders.take({"id": 1, "note": "first"})
    orders.evolve(ID, COUNT, PRICE)
    orders.take({"id": 2, "note": "lost"})
    orders.evolve(ID, COUNT, PRICE, {**NOTE, "description": "again"})
    orders.take({"id": 3, "note": "third"})
    assert orders.read("id", "note") == [(1, "first"), (2, None), (3, "third")]


def test_the_table_evolves_once_and_a_crash_before_the_commit_is_harmless(
    orders: Orders, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next start finds the table evolved already: no further change of it, and every row once."""
    orders.take({"id": 1, "count": 1})
    orders.evolve(ID, {**COUNT, "name": "amount", "type": "long", "renamed_from": "count"})
    orders.bring({"id": 2, "amount": 2})
    orders.die_in(monkeypatch, Lake, "ensure_type_table", after=True)
    table = orders.app.lake().table(TABLE)
    assert table is not None and orders.columns() == ["id", "amount", "price", "note"]
    schemas = len(table.metadata.schemas)
    orders.work.recover()
    orders.flush()
    orders.take({"id": 3, "amount": 3})
    table = orders.app.lake().table(TABLE)
    assert table is not None and len(table.metadata.schemas) == schemas == 2
    assert orders.read("id", "amount") == [(1, 1), (2, 2), (3, 3)]
    orders.assert_books(3, TABLE)


@pytest.mark.parametrize("evolved_before", [False, True])
def test_a_batch_that_was_prepared_under_an_older_version_is_committed(
    orders: Orders, monkeypatch: pytest.MonkeyPatch, evolved_before: bool
) -> None:
    """From its recorded data files, whose columns have other names and types than the table has by then."""
    orders.take({"id": 1, "count": 1, "price": "1.00"})
    orders.bring({"id": 2, "count": 2, "price": "2.00"})
    orders.die_in(monkeypatch, Lake, "append")
    kind = orders.evolve(
        {"name": "amount", "type": "long", "renamed_from": "count"}, ID, {**PRICE, "type": "decimal(20,2)"}
    )
    if evolved_before:
        orders.app.lake().ensure_type_table(kind)
    (batch,) = orders.work.recover().batches
    assert (batch.state, batch.rows) == ("settled", 1)
    orders.take({"id": 3, "amount": 2**40, "price": "123456789.00"})
    assert orders.read("id", "amount", "price") == [
        (1, 1, Decimal("1.00")),
        (2, 2, Decimal("2.00")),
        (3, 2**40, Decimal("123456789.00")),
    ]
    found = QueryEngine(orders.app.lake()).run(
        "SELECT id FROM orders WHERE amount < 3 AND price > 1.5 AND note IS NULL"
    )
    assert found.rows() == [(2,)]
    orders.assert_books(3, TABLE)


def test_batches_planned_under_the_old_version_go_first(orders: Orders) -> None:
    """One that waits for another attempt keeps chunks of the new version waiting; then both are loaded, in order."""
    over: list[FlushReport] = []
    flusher = orders.work.flusher
    orders.bring({"id": 1, "count": 1})

    def fail() -> None:
        orders.runner.before = lambda: None
        raise BatchFault("a worker died", code="worker_died")

    orders.runner.before = fail
    flusher.start(orders.work.read_registry().active, FlushReason.REQUEST, over.append)
    orders.evolve(ID, {**COUNT, "name": "amount", "renamed_from": "count"})
    orders.bring({"id": 2, "amount": 2})
    flusher.start(orders.work.read_registry().active, FlushReason.REQUEST, over.append)
    assert over == [] and [batch.state for batch in batches(orders)] == ["planned"]
    while (seconds := flusher.seconds_to_next()) is not None:
        orders.clock.forward(seconds)
        flusher.go_on()
    assert [(batch.schema_version, batch.state) for batch in batches(orders)] == [(1, "settled"), (2, "settled")]
    assert [len(report.batches) for report in over] == [1, 1]
    assert orders.read("id", "amount") == [(1, 1), (2, 2)]


def test_a_flush_waits_in_place_for_batches_of_the_old_version(orders: Orders) -> None:
    """Also when the flush that they belong to was cut off or is another one: no flush is left open."""
    orders.work.pause = lambda seconds: orders.clock.forward(seconds) or True  # type: ignore[func-returns-value] # None
    orders.bring({"id": 1, "count": 1})
    orders.runner.before = lambda: setattr(orders.runner, "before", lambda: None) or fault()
    over: list[FlushReport] = []
    orders.work.flusher.start(orders.work.read_registry().active, FlushReason.REQUEST, over.append)
    orders.evolve(ID, {**COUNT, "type": "long"})
    orders.bring({"id": 2, "count": 2**40})
    assert orders.flush().rows == 1
    assert len(over) == 1 and orders.work.flusher.seconds_to_next() is None
    assert orders.read("id", "count") == [(1, 1), (2, 2**40)]


def batches(orders: Orders) -> list[Batch]:
    """The ledger's batches, oldest first."""
    return sorted(orders.app.ledger.batches(), key=lambda batch: batch.id)


def test_the_partition_follows_its_column(orders: Orders) -> None:
    """A partition column may be renamed with the partition: old and new rows are in it."""
    at = {"name": "at", "type": "timestamp"}
    raw = {"file_type": "orders_by_day", "schema_definition": {"fields": [ID, at]}, "partition_column": "day(at)"}
    orders.app.registry.add(raw)
    orders.drop("orders_by_day_20260115120000.json", [{"id": 1, "at": "2026-01-15T10:00:00Z"}])
    orders.load()
    orders.app.registry.update(
        "orders_by_day",
        {
            "schema_definition": {"fields": [ID, {**at, "name": "moment", "renamed_from": "at"}]},
            "partition_column": "day(moment)",
        },
    )
    orders.drop("orders_by_day_20260115120001.json", [{"id": 2, "moment": "2026-01-15T11:00:00Z"}])
    orders.load()
    assert {row["moment"] for row in orders.records("raw_data.orders_by_day")} == {
        datetime(2026, 1, 15, hour, tzinfo=UTC) for hour in (10, 11)
    }
    orders.assert_books(2, "raw_data.orders_by_day")


def test_summary_and_undo_go_on_over_a_renamed_column(orders: Orders) -> None:
    """Its key, time and latest column renamed: built from rows of both names, before the table evolves and after."""
    fields = [{"name": "id", "type": "long"}, {"name": "at", "type": "timestamp"}, {"name": "state", "type": "int"}]
    summary = {"table": "daily_shops", "key": ["id"], "time": "at", "latest": ["state"]}
    orders.app.registry.add(
        {"file_type": "shops", "schema_definition": {"fields": fields}, "processing_config": {"summary": summary}}
    )
    orders.drop("shops_20260115120000.json", [{"id": 1, "at": "2026-01-15T10:00:00Z", "state": 1}])
    orders.load()
    orders.work.summarize()
    renamed = [
        {**field, "name": new, "renamed_from": field["name"]}
        for field, new in zip(fields, ("shop", "moment", "phase"), strict=True)
    ]
    new_summary = {"table": "daily_shops", "key": ["shop"], "time": "moment", "latest": ["phase"]}
    orders.app.registry.update(
        "shops", {"schema_definition": {"fields": renamed}, "processing_config": {"summary": new_summary}}
    )
    day = date(2026, 1, 15)
    ten, eleven = (datetime(2026, 1, 15, hour, tzinfo=UTC) for hour in (10, 11))
    orders.work.summarize(first=day)  # the raw table has the old names still
    first = {"shop": 1, "day": day, "last_moment": ten, "last_phase": 1}
    assert orders.records("summary.daily_shops") == [first]
    orders.drop(
        "shops_20260115120001.json",
        [{"shop": 1, "moment": "2026-01-15T11:00:00Z", "phase": 2}, {"shop": 2, "moment": "2026-01-15T10:00:00Z"}],
    )
    orders.load()
    orders.work.summarize()
    assert sorted(orders.records("summary.daily_shops"), key=lambda row: row["shop"]) == [
        {**first, "last_moment": eleven, "last_phase": 2},
        {"shop": 2, "day": day, "last_moment": ten, "last_phase": None},
    ]
    orders.undo("shops_20260115120001.json")
    orders.work.summarize()
    assert orders.records("summary.daily_shops") == [first]
    orders.undo("shops_20260115120000.json")
    orders.work.summarize()
    assert orders.records("summary.daily_shops") == []
    orders.assert_books(0, "raw_data.shops")


def test_undo_before_the_table_has_the_new_names_marks_the_days(orders: Orders) -> None:
    """A file of a batch of two is undone while the type's time field has its old name in the table."""
    fields = [{"name": "id", "type": "long"}, {"name": "at", "type": "timestamp"}]
    config = {"summary": {"table": "daily_shops", "key": ["id"], "time": "at"}}
    orders.app.registry.add(
        {"file_type": "shops", "schema_definition": {"fields": fields}, "processing_config": config}
    )
    for number in range(2):
        orders.drop(f"shops_2026011512000{number}.json", [{"id": number, "at": "2026-01-15T10:00:00Z"}])
    orders.load()
    orders.work.summarize()
    renamed = [fields[0], {**fields[1], "name": "moment", "renamed_from": "at"}]
    new_config = {"summary": {"table": "daily_shops", "key": ["id"], "time": "moment"}}
    orders.app.registry.update("shops", {"schema_definition": {"fields": renamed}, "processing_config": new_config})
    orders.undo("shops_20260115120001.json")
    orders.work.summarize()
    assert [row["id"] for row in orders.records("summary.daily_shops")] == [0]


def test_types_that_share_a_table_evolve_together(orders: Orders) -> None:
    """Both get the new name while one is disabled; the table is brought there once, by whoever comes first."""
    registry = orders.app.registry
    registry.add(
        {"file_type": "sales", "table_name": "orders", "schema_definition": {"fields": [ID, COUNT, PRICE, NOTE]}}
    )
    orders.take({"id": 1, "count": 1})
    fields = [NOTE, ID, {**COUNT, "name": "amount", "renamed_from": "count"}, PRICE]
    registry.disable("sales")
    orders.evolve(*fields)
    registry.update("sales", {"schema_definition": {"fields": [fields[1], fields[2], PRICE, NOTE]}})
    registry.activate("sales")
    for number in range(2):
        orders.take({"id": 10 + number, "amount": 1})
        orders.drop(f"sales_2026011512000{number}.json", [{"id": 20 + number, "amount": 1}])
        orders.load()
    table = orders.app.lake().table(TABLE)
    assert table is not None and len(table.metadata.schemas) == 3  # as made, as orders have it, in the order of sales
    assert [row[1] for row in orders.read("id", "amount")] == [1] * 5


def test_an_older_schema_never_grows_a_renamed_column_again(orders: Orders) -> None:
    """A ledger that was restored from before a rename stops the type: two columns would hold what is one."""
    orders.take({"id": 1, "count": 1})
    before = orders.app.registry.get("orders")
    orders.evolve(ID, {**COUNT, "name": "amount", "renamed_from": "count"})
    orders.take({"id": 2, "amount": 2})
    with pytest.raises(TypeStopped, match="column count was renamed to amount by a later version"):
        orders.app.lake().ensure_type_table(before)
