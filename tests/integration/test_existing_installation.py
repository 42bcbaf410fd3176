"""An installation that an earlier Lemonade made, with its ledger, tables and receipts, works on with today's code."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import earlier
import pytest
from click.testing import CliRunner
from command import Lemonade, events_file
from conftest import make_settings
from handclock import HandClock
from rejecting import mend
from workshop import Workshop

from processors.lake.quarantine_table import TABLE as QUARANTINE
from processors.read.query import QueryEngine
from watcher.cli import VerbGroup
from watcher.deeds.by_name import do

TYPES = VerbGroup("types", verb="types")
DAYS_AFTER = datetime(2026, 12, 1, 12, tzinfo=UTC)
EVENTS, STATUS, ORDERS = "raw_data.vehicle_events", "raw_data.vehicle_status", "raw_data.orders"
ORDERS_TYPE: dict[str, Any] = {
    "file_type": "orders",
    "schema_definition": {
        "fields": [
            {"name": "id", "type": "long", "nullable": False},
            {"name": "count", "type": "int"},
            {"name": "price", "type": "decimal(6,2)"},
            {"name": "tags", "type": {"type": "list", "element": "string"}},
        ]
    },
}


@pytest.fixture
def place() -> Iterator[Path]:
    """The folder of the installation."""
    home = earlier.put_in_place()
    yield home
    earlier.remove(home)


@pytest.fixture
def shop(place: Path) -> Iterator[Workshop]:
    """Today's code at work in it, some days later; nothing was repaired yet."""
    made = Workshop(make_settings(place), clock=HandClock(DAYS_AFTER))
    yield made
    made.close()


@pytest.fixture
def repaired(shop: Workshop) -> Workshop:
    """The same, after the repair at its start."""
    shop.work.recover()
    return shop


def table_ids(shop: Workshop) -> list[Any]:
    """The ids of the types' tables."""
    return [table.metadata.table_uuid for name in (EVENTS, STATUS, ORDERS) if (table := shop.app.lake().table(name))]


def ask(shop: Workshop, sql: str) -> list[tuple[Any, ...]]:
    """Rows of a query."""
    return QueryEngine(shop.app.lake()).run(sql).rows()


def assert_books(shop: Workshop, **rows: int) -> None:
    """Each of these tables has so many rows, each once; every file is in its place, the audit agrees."""
    for table, count in rows.items():
        shop.assert_books(count, table=f"raw_data.{table}")


def test_its_database_is_brought_up_to_date_with_all_it_knew(shop: Workshop) -> None:
    """Every file, batch and operation is there as it was left."""
    assert shop.files() == {
        "vehicles_events_20260115120001.json": "loaded",
        "vehicle_events_20260115120002.json.gz": "loaded",
        "vehicle_events_20260115120007.json": "batched",
        "vehicles_status_20260115120001.json": "loaded+duplicate",
        "vehicles_status_20260115120002.json": "undone",
        "vehicles_status_20260115120003.json": "loaded",
        "orders_20260115120001.json": "loaded",
        "orders_20260115120002.json": "failed",
        "orders_20260115120003.json": "error",
        "orders_20260115120007.json": "loaded",
        "invoices_20260115120001.json": "held",
    }
    assert [batch.state for batch in shop.app.ledger.batches()] == ["prepared", *["settled"] * 4]


def test_a_start_ends_what_was_left_prepared(repaired: Workshop) -> None:
    """The batch and the undo of processes that were killed are finished; the books balance."""
    assert {batch.state for batch in repaired.app.ledger.batches()} == {"settled"}
    assert repaired.files()["vehicle_events_20260115120007.json"] == "loaded"
    assert repaired.files()["vehicles_status_20260115120003.json"] == "undone"
    assert len(repaired.records(QUARANTINE)) == 3
    assert_books(repaired, vehicle_events=4, vehicle_status=2, orders=4)


def test_its_rows_are_read(shop: Workshop) -> None:
    """Queries give what was loaded by then: of both schema versions, replayed, and summarised."""
    assert ask(shop, "SELECT vehicle_id, event_value FROM vehicle_events ORDER BY 1") == [
        ("v1", "1"),
        ("v2", "2"),
        ("v5", "5"),
    ]
    assert ask(shop, 'SELECT id, "count", price, tags, note FROM orders ORDER BY id') == [
        (1, 1, Decimal("1.50"), ["a"], None),
        (2, 2, None, None, None),
        (3, 3, None, None, None),
        (7, None, None, None, "new"),
    ]
    assert ask(shop, "SELECT vehicle_id, day FROM summary.daily_summary ORDER BY 1") == [
        (vehicle, date(2026, 1, 15)) for vehicle in ("v1", "v2", "v5")
    ]


def test_its_types_are_listed(shop: Workshop) -> None:
    """The two built-in types, the one that was added with its second version, and the one that holds files."""
    listed = json.loads(CliRunner().invoke(TYPES, ["list", "--json"], obj=shop.app, catch_exceptions=False).stdout)
    assert {each["file_type"]: (each["status"], each["schema_version"]) for each in listed} == {
        "vehicle_events": ("active", 1),
        "vehicle_status": ("active", 1),
        "orders": ("active", 2),
        "invoices": ("inactive", 1),
    }


def test_new_files_go_into_the_same_tables(repaired: Workshop) -> None:
    """One of each type, beside a file that already lay in incoming/; what comes again is a duplicate."""
    before = table_ids(repaired)
    assert len(before) == 3
    repaired.drop("vehicles_events_20260116120001.json", events_file(2, start=100))
    repaired.drop("vehicle_status_20260116120001.json", [{"vehicle_id": "s9", "report_time": "2026-01-16T11:00:00Z"}])
    repaired.drop("orders_20260116120001.json", [{"id": 9, "count": "9", "note": "later", "tags": []}])
    repaired.drop("orders_20260115120007.json", '[{"id": 7, "note": "new"}]\n')
    report = repaired.load()
    assert (report.count("loaded"), report.count("duplicate")) == (4, 1)
    assert_books(repaired, vehicle_events=7, vehicle_status=3, orders=5)
    assert table_ids(repaired) == before
    [result] = repaired.work.summarize()
    assert list(result.days.items()) == [(date(2026, 1, 15), 7)]


def test_old_files_are_undone(repaired: Workshop) -> None:
    """One file's rows and rejected records go; what was replayed of another's goes with it."""
    for name in ("vehicles_events_20260115120001.json", "orders_20260115120001.json"):
        assert do(repaired.work, "undo", {"target": name})["undone"]
    assert ask(repaired, "SELECT vehicle_id FROM vehicle_events ORDER BY 1") == [("v5",), ("v7",)]
    assert len(repaired.records(QUARANTINE)) == 1
    assert_books(repaired, vehicle_events=2, vehicle_status=2, orders=1)


def test_old_rejected_records_are_replayed(repaired: Workshop) -> None:
    """Through a schema that takes them now."""
    mend(repaired.app, "vehicle_id")
    answer = do(repaired.work, "quarantine.replay", {"type": "vehicle_events"})
    assert answer["done"] == 1, answer
    assert ("4",) in ask(repaired, "SELECT vehicle_id FROM vehicle_events")
    assert_books(repaired, vehicle_events=5, vehicle_status=2, orders=4)


def test_old_failed_and_held_files_go_on(repaired: Workshop) -> None:
    """Failed ones that were mended are retried, held ones are released to a type that takes them."""
    for name in ("orders_20260115120002.json", "orders_20260115120003.json"):
        [row] = repaired.rows(name)
        Path(row.path).write_text('[{"id": 10}]')
    do(repaired.work, "retry", {"all": True})
    repaired.app.registry.add(
        {"file_type": "invoices", "schema_definition": {"fields": [{"name": "id", "type": "long"}]}}
    )
    repaired.load()
    states = repaired.files()
    assert {states.pop("vehicles_status_20260115120001.json")} == {"loaded+duplicate"}
    undone = [states.pop(f"vehicles_status_2026011512000{number}.json") for number in (2, 3)]
    assert (undone, set(states.values())) == (["undone"] * 2, {"loaded"})
    assert_books(repaired, vehicle_events=5, vehicle_status=2, orders=6, invoices=1)


def test_its_ledger_is_written_again_from_its_receipts(place: Path) -> None:
    """With no database left, and its type registered anew, receipts tell what was loaded, undone, replayed, discarded.

    Of the undo that was prepared there is none: a receipt of an operation is written with its commit.
    """
    (place / "data/metadata.db").unlink()
    shop = Workshop(make_settings(place), clock=HandClock(DAYS_AFTER))
    shop.app.registry.add(ORDERS_TYPE)
    shop.work.recover()
    shop.claim()  # what no receipt tells of is found where it lies
    states = shop.files()
    assert (states["vehicle_events_20260115120009.json"], states["invoices_20260115120001.json"]) == ("claimed", "held")
    assert states["vehicles_status_20260115120002.json"] == "undone"
    assert sorted(name for name, state in states.items() if state == "loaded") == [
        "orders_20260115120001.json",
        "orders_20260115120007.json",
        "vehicle_events_20260115120002.json.gz",
        "vehicle_events_20260115120007.json",
        "vehicles_events_20260115120001.json",
        "vehicles_status_20260115120003.json",
    ]
    assert_books(shop, vehicle_events=4, vehicle_status=3, orders=4)
    shop.close()


def test_the_command_works_in_it(place: Path) -> None:
    """`audit`, `query` and `explain`, as a person types them."""
    lemonade = Lemonade(place)
    lemonade.run("recover")
    assert lemonade.json("audit")["balanced"]
    assert lemonade.query("SELECT count(*) AS n FROM orders") == [{"n": 4}]
    told = lemonade.run("explain", "orders_20260115120001.json").stdout
    assert "discarded" in told
