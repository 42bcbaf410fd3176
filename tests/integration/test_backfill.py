"""Rescued keys become fields, and what was rescued of old rows goes into their columns."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from click.testing import CliRunner, Result
from command import drop
from ordershop import COUNT, ID, NOTE, PRICE, TABLE, Orders, fault
from unsparked import TICKS, Unsparked, tick

from metadata.database.states import FlushReason
from metadata.errors import Busy, UsageError
from metadata.operations.backfill import BackfillLedger
from metadata.settings import Settings
from metadata.types.file_type import FileType
from processors.lake.lake import Lake
from watcher.cli import VerbGroup
from watcher.deeds.adopt import proposals, with_adopted
from watcher.deeds.by_name import do
from watcher.work.startup_repair import Action

TYPES = VerbGroup("types", verb="types")


@pytest.fixture
def orders(settings: Settings) -> Iterator[Orders]:
    """Orders under version 1, none loaded."""
    made = Orders(settings)
    yield made
    made.close()


def rescued(number: int, **more: Any) -> dict[str, Any]:
    """An order with keys that its schema has not."""
    return {"id": number, "count": number, **more}


def adopt(orders: Orders, *specs: str) -> FileType:
    """`lemonade types update orders --adopt …`."""
    return orders.app.registry.update("orders", with_adopted(orders.app, "orders", {}, specs))


def filled(orders: Orders) -> dict[str, Any]:
    """`lemonade types update orders --backfill`."""
    return do(orders.work, "backfill", {"file_type": "orders"})


def test_an_adopted_key_becomes_a_column_with_its_old_values(orders: Orders, monkeypatch: pytest.MonkeyPatch) -> None:
    """Values that fit leave `_rescued`, others stay there; rows, lineage and books are what they were."""
    monkeypatch.setattr("processors.rewrite.rewriter.FEW_BYTES", 0)  # through the runner, as with more data
    orders.take(rescued(1, weight=1.5, note="kept"), rescued(2, weight="heavy", Größe=3), rescued(3))
    orders.take(rescued(4, weight=2), rescued(5, weight=None, other={"a": [1]}))
    lineage = ("id", "_source_file", "_file_id", "_record_no", "_batch_id", "note", "count")
    before = orders.read(*lineage)
    adopt(orders, "weight:weight:double")
    orders.take(rescued(6, weight=6))
    assert [row[1] for row in orders.read("id", "weight")] == [None] * 5 + [6.0]
    answer = filled(orders)
    assert (answer["rows"], answer["values"], answer["left"]) == (3, {"weight": 3}, {"weight": 1})
    assert orders.read("id", "weight", "_rescued") == [
        (1, 1.5, None),
        (2, None, '{"Größe":3,"weight":"heavy"}'),
        (3, None, None),
        (4, 2.0, None),
        (5, None, '{"other":{"a": [1]}}'),
        (6, 6.0, None),
    ]
    assert orders.read(*lineage)[:5] == before
    orders.assert_books(6, TABLE)
    again = filled(orders)
    assert (again["rows"], again["snapshot_id"], again["state"]) == (0, None, "settled")
    orders.undo("orders_20260115120001.json")
    orders.assert_books(3, TABLE)


def test_the_type_of_an_adopted_key_is_told_by_all_its_rescued_values(orders: Orders) -> None:
    """Not by the first one alone; its name is one that a column may have."""
    orders.take(rescued(1, when="2026-01-15T10:00:00Z", **{"Total price": 3}), rescued(2, when="soon"))
    orders.take(rescued(3, **{"Total price": 2.5}))
    kind = adopt(orders, "when", "Total price")
    assert kind.definition is not None
    when, total = kind.definition.fields[-2:]
    assert (when.type, when.nullable) == ("string", True)
    assert (total.name, total.source, total.type) == ("total_price", "Total price", "double")
    assert filled(orders)["values"] == {"total_price": 2, "when": 2}
    assert [row[1] for row in orders.read("id", "total_price")] == [3.0, None, 2.5]


ANY_TYPE: dict[str, Any] = {
    "string": "x",
    "uuid": "9f1b2c3d-0000-4000-8000-00000000000a",
    "date": "2026-01-15",
    "time": "12:00:00.5",
    "timestamp": "2026-01-15T10:00:00+01:00",
    "decimal(6,2)": "12.5",
    "json": {"b": [1, None]},
    "binary": "aGk=",
    '{"type": "list", "element": "string"}': ["a", "b"],
    '{"type": "map", "key": "string", "value": "long"}': {"a": 1, "b": 2},
    '{"type": "struct", "fields": [{"name": "lat", "type": "double"}]}': {"lat": 1},
}


def test_rescued_values_of_any_type_find_their_column(orders: Orders) -> None:
    """What the backfill puts there is what the same record would have got, had the field been there."""
    extras = {f"x{number}": value for number, value in enumerate(ANY_TYPE.values())}
    orders.take(rescued(1, **extras), rescued(2))
    adopt(orders, *(f"x{number}:x{number}:{type_}" for number, type_ in enumerate(ANY_TYPE)))
    assert filled(orders)["values"] == dict.fromkeys(sorted(extras), 1)
    orders.take(rescued(3, **extras))
    first, none, third = sorted(orders.records(TABLE), key=lambda row: row["id"])
    assert first["_rescued"] is None
    for name, value in extras.items():
        assert first[name] == third[name] is not None, value
        assert none[name] is None


def test_a_column_that_has_a_value_keeps_it(orders: Orders) -> None:
    """A field that is read from another key now: rows of the old key are as they were, those without get the new."""
    orders.take(rescued(1, note="old", comment="new"), rescued(2, comment="only"))
    orders.evolve(ID, COUNT, PRICE, {**NOTE, "source": "comment"})
    assert filled(orders)["values"] == {"note": 1}
    assert orders.read("id", "note", "_rescued") == [(1, "old", '{"comment":"new"}'), (2, "only", None)]


@pytest.mark.parametrize(
    ("owner", "step", "after", "action"),
    [
        (Lake, "ensure_type_table", True, Action.ABANDON),
        (BackfillLedger, "prepare", True, Action.COMMIT),
        (Lake, "overwrite", True, Action.RECORD),
        (BackfillLedger, "record", True, Action.SETTLE),
    ],
)
def test_a_crash_in_a_backfill(orders: Orders, owner: type, step: str, after: bool, action: Action) -> None:
    """After a death behind any step the next start, or the next backfill, has every value in its place once."""
    orders.take(rescued(1, extra="a"), rescued(2))
    adopt(orders, "extra")
    orders.die_in(owner, step, after=after, doing=lambda: filled(orders))
    (repair,) = orders.work.inspect()
    assert (repair.kind, repair.action) == ("backfill", action)
    orders.work.recover()
    assert orders.work.inspect() == []
    assert (orders.work.walkers.backfill.operations.get(repair.thing).snapshot_id is None) == (action is Action.ABANDON)
    assert filled(orders)["rows"] == (1 if action is Action.ABANDON else 0)
    assert orders.read("id", "extra", "_rescued") == [(1, "a", None), (2, None, None)]
    orders.assert_books(2, TABLE)


def test_a_backfilled_field_of_the_summary_marks_its_days(orders: Orders) -> None:
    """The summary is built again of days whose rows got a value, and of no others."""
    fields = [ID, {"name": "at", "type": "timestamp"}]
    summary = {"table": "daily_orders", "key": ["id"], "time": "at", "latest": ["state"]}
    orders.evolve(*fields)
    orders.take({"id": 1, "at": "2026-01-14T10:00:00Z"}, {"id": 2, "at": "2026-01-15T10:00:00Z", "state": "new"})
    orders.evolve(*fields, {"name": "state", "type": "string"}, processing_config={"summary": summary})
    assert filled(orders)["days"] == ["2026-01-15"]
    orders.work.summarize()
    assert [(row["id"], row["last_state"]) for row in orders.records("summary.daily_orders")] == [(2, "new")]


def test_a_backfill_waits_for_batches_of_the_old_version(orders: Orders) -> None:
    """The table must not change under a batch that waits for another attempt: busy, try again."""
    orders.take(rescued(1, extra="a"))
    orders.bring(rescued(2))
    orders.runner.before = fault
    orders.work.flusher.start(orders.work.read_registry().active, FlushReason.REQUEST, lambda _report: None)
    orders.runner.before = lambda: None
    adopt(orders, "extra")
    with pytest.raises(Busy, match="lemonade types update orders --backfill"):
        filled(orders)
    orders.clock.forward(600)
    orders.work.flusher.go_on()
    assert filled(orders)["rows"] == 1


def test_keys_that_cannot_be_adopted(orders: Orders) -> None:
    """One that is a field, one that nobody saw, one inside of a field: each says what to do."""
    orders.evolve(ID, {"name": "place", "type": {"type": "struct", "fields": [{"name": "lat", "type": "double"}]}})
    orders.take({"id": 1, "place": {"lat": 1, "lon": 2}, "extra": 1})
    for spec, said in (
        ("id", "it is a field already"),
        ("nothing", "no record had it; rescued keys are: extra, place.lon"),
        ("place.lon", 'it stands inside of the field "place"'),
    ):
        with pytest.raises(UsageError, match=said):
            adopt(orders, spec)
    kind = adopt(orders, "nothing:something:decimal(5,2)")
    assert kind.definition is not None and kind.definition.fields[-1].source == "nothing"


def test_keys_seen_often_are_proposed(orders: Orders) -> None:
    """In a hundred records, or in ten that are one of a hundred of those since; no longer once it is a field."""
    orders.take(*(rescued(number, often=number, **({"rare": 1} if number < 9 else {})) for number in range(150)))
    kind = orders.app.registry.get("orders")
    (often,) = proposals(orders.app, kind)
    assert (often.unknown.key, often.unknown.records, often.unknown.files) == ("often", 150, 1)
    assert often.as_json("orders")["command"] == "lemonade types update orders --adopt often --backfill"
    orders.take(*(rescued(number, few=1) for number in range(1000, 1010)), *(rescued(n) for n in range(1010, 1020)))
    assert {each.unknown.key for each in proposals(orders.app, kind)} == {"often", "few"}
    assert [each.unknown.key for each in proposals(orders.app, adopt(orders, "often"))] == ["few"]


def test_adopting_from_the_command_line(orders: Orders) -> None:
    """`show` proposes, `update --adopt --backfill` shows what it does, does it, and says what became of the values."""
    orders.take(rescued(1, extra="a"), *(rescued(number, extra="b", other=[1]) for number in range(2, 11)))
    command = json.loads(cli(orders, "show", "orders", "--json").stdout)["proposals"][0]["command"]
    assert command == "lemonade types update orders --adopt extra --backfill"
    shown = cli(orders, "show", "orders").stdout
    assert "records have keys that the schema has not:" in shown and command in shown
    first = cli(orders, *command.split()[2:], "--dry-run")
    assert 'add optional field "extra" (string)' in first.stdout and first.exit_code == 0
    said = cli(orders, *command.split()[2:], "--yes").stdout.splitlines()
    assert said[:3] == [
        "orders, version 1 -> 2",
        '  add optional field "extra" (string)',
        "backfill: what was rescued of old rows goes into the columns of its fields",
    ]
    assert said[4] == "backfilled: 10 rows (extra 10)"
    told = json.loads(cli(orders, "update", "orders", "--backfill", "--yes", "--json").stdout)
    assert (told["updated"], told["backfill"]["rows"]) == (False, 0)
    assert orders.read("id", "extra", "_rescued")[:2] == [(1, "a", None), (2, "b", '{"other":[1]}')]


def cli(orders: Orders, *arguments: str) -> Result:
    """`lemonade types …` in this process; its errors are raised."""
    return CliRunner().invoke(TYPES, arguments, obj=orders.app, catch_exceptions=False)


def test_a_daemon_adopts_and_backfills(settings: Settings) -> None:
    """Asked by requests, as commands ask: the registry at once, the table on the thread of the batches."""
    daemon = Unsparked(settings)
    try:
        daemon.app.registry.add(TICKS)
        drop(daemon.incoming, tick(1), [{"n": 1, "extra": "a"}])
        daemon.flush()
        fields = [*TICKS["schema_definition"]["fields"], {"name": "extra", "type": "string"}]
        raw = {"schema_definition": {"fields": fields}}
        changed = daemon.answer(daemon.ask("types.update", file_type="ticks", raw=raw, version=1))
        assert changed["schema_version"] == 2
        assert daemon.answer(daemon.ask("backfill", file_type="ticks"))["values"] == {"extra": 1}
        drop(daemon.incoming, tick(2), [{"n": 2, "extra": "b"}])
        daemon.flush()
        assert daemon.numbers(column="extra") == ["a", "b"]
    finally:
        daemon.close()
