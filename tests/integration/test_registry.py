from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from handclock import HandClock

from metadata.database.engine import Database
from metadata.errors import ConfigurationError, FileRefused, UsageError
from metadata.files.names import parse_name
from metadata.registry import get_or_create_table_metadata
from metadata.registry.registry import Registry, type_name_of
from metadata.settings import Settings
from metadata.types.built_in import BUILT_IN
from metadata.types.file_type import TypeStatus, match_type
from watcher.app import App
from watcher.deeds.by_name import do
from watcher.work.work import Work

FIELDS = [{"name": "id", "type": "string", "nullable": False}, {"name": "at", "type": "timestamp"}]
ORDERS: dict[str, Any] = {"file_type": "orders", "schema_definition": {"fields": FIELDS}}


@pytest.fixture
def database(settings: Settings) -> Iterator[Database]:
    """A migrated database without any type."""
    made = Database(settings.database_url)
    made.migrate()
    yield made
    made.close()


@pytest.fixture
def registry(database: Database, clock: HandClock) -> Registry:
    """An empty registry."""
    return Registry(database, clock)


def sql(settings: Settings, statement: str, *values: object) -> list[Any]:
    """What a person does with plain sqlite3, beside everything else."""
    assert settings.sqlite_path is not None
    connection = sqlite3.connect(settings.sqlite_path)
    with connection:
        rows = connection.execute(statement, values).fetchall()
    connection.close()
    return rows


def faults_of(call: Any, *arguments: Any) -> list[str]:
    """Every fault that a refused call tells."""
    with pytest.raises(ConfigurationError) as caught:
        call(*arguments)
    return caught.value.faults


def test_python_call_registers_a_type(settings: Settings, registry: Registry) -> None:
    """The documented example, word for word: it makes the type active, and the second call gets it unchanged."""
    new_schema = {
        "fields": [
            {"name": "id", "type": "string", "nullable": False},
            {"name": "timestamp", "type": "timestamp", "nullable": False},
            {"name": "data", "type": "string", "nullable": True},
        ],
        "primary_key": ["id", "timestamp"],
    }
    processing_config = {"partition_by": "date", "format": "iceberg", "write_mode": "append"}
    made = get_or_create_table_metadata(
        table_name="new_table_name",
        file_type="new_file_type",
        schema_definition=new_schema,
        partition_column="date",
        processing_config=processing_config,
        description="Description of new file type",
        settings=settings,
    )
    assert made == registry.get("new_file_type")
    assert (made.table_name, made.status, made.patterns) == (
        "raw_data.new_table_name",
        TypeStatus.ACTIVE,
        ("new_file_type",),
    )
    assert made.definition is not None and made.definition.primary_key == ("id", "timestamp")
    again = get_or_create_table_metadata("other", "new_file_type", {"fields": FIELDS}, settings=settings)
    assert again == made


def test_python_call_needs_no_init(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In an empty folder, with the arguments of the example alone, the call makes the database as well."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATABASE_URL", "sqlite:///./here/metadata.db")
    made = get_or_create_table_metadata("t", "t")
    assert (made.status, made.definition) == (TypeStatus.INACTIVE, None)
    assert (tmp_path / "here" / "metadata.db").exists()


def test_python_call_without_schema_records_a_type(settings: Settings, registry: Registry) -> None:
    """Without schema there is an inactive record, which a later call with one makes active."""
    first = get_or_create_table_metadata("a", "a", description="later", settings=settings)
    assert first == registry.get("a") and first.status is TypeStatus.INACTIVE
    assert get_or_create_table_metadata("a", "a", settings=settings) == first
    second = get_or_create_table_metadata("a", "a", {"fields": FIELDS}, settings=settings)
    assert second == registry.get("a") and second.status is TypeStatus.ACTIVE


def test_python_call_tells_every_fault(settings: Settings) -> None:
    """Nothing is written when the definition is wrong, and all that is wrong is told."""
    bad = {"fields": [{"name": "1x", "type": "long"}, {"name": "b", "type": "text"}]}
    with pytest.raises(ConfigurationError) as caught:
        get_or_create_table_metadata("Bad", "Bad", bad, settings=settings)
    assert len(caught.value.faults) == 4
    assert sql(settings, "SELECT count(*) FROM table_metadata") == [(0,)]


def test_built_in_types_are_added_once(settings: Settings, registry: Registry) -> None:
    """`init` adds the built-in types that are missing and never touches those that are there."""
    assert registry.ensure_built_in() == [raw["file_type"] for raw in BUILT_IN]
    sql(
        settings,
        "UPDATE table_metadata SET status = 'disabled', description = 'mine' WHERE file_type = 'vehicle_status'",
    )
    sql(settings, "DELETE FROM table_metadata WHERE file_type = 'vehicle_events'")
    assert registry.ensure_built_in() == ["vehicle_events"]
    mine = registry.get("vehicle_status")
    assert (mine.status, mine.description) == (TypeStatus.DISABLED, "mine")
    events = registry.get("vehicle_events")
    assert events.patterns == ("vehicle_events", "vehicles_events")
    assert events.config.summary is not None and events.config.summary.table == "daily_summary"


def test_adding_makes_a_type_active(registry: Registry) -> None:
    """What was added is what is read back."""
    raw = {
        **ORDERS,
        "table_name": "shop_orders",
        "filename_patterns": ["orders", "eu_*_orders"],
        "partition_column": "day(at)",
        "processing_config": {"flush_max_files": 3},
        "description": "Orders",
    }
    kind = registry.add(raw)
    assert registry.get("orders") == kind
    assert (kind.table_name, kind.patterns, kind.status) == (
        "raw_data.shop_orders",
        ("orders", "eu_*_orders"),
        TypeStatus.ACTIVE,
    )
    assert (kind.config.flush_max_files, kind.config.partition, kind.schema_version) == (3, ("day", "at"), 1)
    with pytest.raises(UsageError, match="lemonade types update orders"):
        registry.add(ORDERS)


def test_adding_tells_every_fault_at_once(registry: Registry) -> None:
    """Faults of every part of a types file come together, and nothing is written."""
    raw = {
        "file_type": "Orders",
        "table_name": "other.orders",
        "filename_patterns": ["a/b"],
        "schema_definition": {"fields": [{"name": "id", "type": "text"}]},
        "description": 5,
        "colour": "red",
    }
    text = "\n".join(faults_of(registry.add, raw))
    for part in ("file_type", "table_name", "filename_patterns", "schema_definition", "description", '"colour"'):
        assert part in text
    assert registry.read().types == ()


@pytest.mark.parametrize(
    "change",
    [
        {"schema_definition": None},
        {"processing_config": {"write_mode": "upsert"}},
        {"processing_config": {"format": "parquet"}},
        {"processing_config": {"partition_by": "month(at)"}},
        {"processing_config": []},
        {"filename_patterns": []},
        {"filename_patterns": "orders"},
        {"description": "\ud800"},
    ],
)
def test_bad_types_file_is_refused(registry: Registry, change: dict[str, Any]) -> None:
    """Modes that are not built, and values of the wrong kind, are refused when a type is registered."""
    assert faults_of(registry.add, {**ORDERS, **change})


def test_discovery_makes_an_inactive_type_once(registry: Registry) -> None:
    """A prefix that nobody knows becomes an inactive row; adding a types file makes that row active."""
    assert registry.discover("orders")
    assert not registry.discover("orders")
    kind = registry.get("orders")
    assert (kind.status, kind.definition, kind.table_name) == (TypeStatus.INACTIVE, None, "raw_data.orders")
    with pytest.raises(UsageError, match="no schema"):
        registry.activate("orders")
    assert registry.add(ORDERS).status is TypeStatus.ACTIVE
    assert len(registry.read().types) == 1


@pytest.mark.parametrize(
    ("prefix", "name"),
    [
        ("EU-Trucks", "eu_trucks"),
        ("9x", "t_9x"),
        ("_x", "t__x"),
        ("größe", "gr__e"),
        ("日本", "t___"),
        ("a" * 80, "a" * 63),
        ("a[b]c", "a_b_c"),
        (" x", "t__x"),
        ("a\nb", "a_b"),
        ("a\udcffb", "a_b"),
    ],
)
def test_any_prefix_becomes_a_type(registry: Registry, prefix: str, name: str) -> None:
    """Whatever a producer calls its files, discovery makes a legal row of it that later takes those very files."""
    assert type_name_of(prefix) == name
    assert registry.discover(prefix)
    assert registry.read().broken == ()
    kind = registry.add({**ORDERS, "file_type": name})
    with suppress(FileRefused):  # names that are refused before any type is asked
        name_of_file = parse_name(f"{prefix}_20260115120000.json")
        assert match_type(name_of_file, [kind]).kind == kind


def test_types_are_switched_off_and_on(registry: Registry) -> None:
    """Disabling and activating change the status and nothing else; unknown types are refused."""
    kind = registry.add(ORDERS)
    registry.disable("orders")
    assert registry.get("orders").status is TypeStatus.DISABLED
    assert registry.read().active == ()
    assert registry.activate("orders") == kind == registry.get("orders")
    for call in (registry.get, registry.activate, registry.disable):
        with pytest.raises(UsageError, match="known are: orders"):
            call("order")


def test_update_changes_what_may_change(registry: Registry) -> None:
    """Description, patterns, thresholds and fields; keys left out stay, a change of the schema is a new version."""
    registry.add({**ORDERS, "description": "old", "processing_config": {"flush_max_files": 3}})
    same = registry.update("orders", {"description": "new"})
    assert (same.description, same.schema_version, same.config.flush_max_files) == ("new", 1, 3)
    new = {"name": "extra", "type": "json"}
    grown = registry.update(
        "orders", {"schema_definition": {"fields": [new, *FIELDS]}, "filename_patterns": ["orders", "sales"]}
    )
    assert grown == registry.get("orders")
    assert grown.definition is not None
    assert [field.name for field in grown.definition.fields] == ["extra", "id", "at"]
    assert (grown.schema_version, grown.patterns, grown.description) == (2, ("orders", "sales"), "new")
    assert registry.update("orders", {"processing_config": {}}).config.flush_max_files is None
    registry.disable("orders")
    assert registry.update("orders", {"description": "newer"}).status is TypeStatus.DISABLED


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"table_name": "elsewhere"}, "keeps its table"),
        ({"file_type": "sales"}, "keeps its name"),
        ({"schema_definition": {"fields": [{**FIELDS[0], "type": "long"}, FIELDS[1]]}}, "a column keeps its type"),
        ({"schema_definition": {"fields": [*FIELDS, {"name": "n", "type": "long", "nullable": False}]}}, "nullable"),
        ({"processing_config": {"partition_by": "none"}}, "partition_by: date → none"),
        ({"processing_config": {"write_mode": "upsert"}}, "not built yet"),
        ({"status": "active"}, '"status" is no part'),
    ],
)
def test_update_refuses_the_rest(registry: Registry, change: dict[str, Any], said: str) -> None:
    """What would break tables or is not built is refused with its reason, and nothing is written."""
    before = registry.add(ORDERS)
    assert said in "\n".join(faults_of(registry.update, "orders", change))
    assert registry.get("orders") == before
    assert len(registry.versions("orders")) == 1


def test_each_version_of_a_schema_is_on_record(registry: Registry, clock: HandClock) -> None:
    """A version is a row with its definition, its changes in words and its time; other changes make none."""
    registry.add(ORDERS)
    clock.forward(60)
    fields = [{"name": "order_id", "type": "string", "nullable": False, "renamed_from": "id"}, FIELDS[1]]
    registry.update("orders", {"schema_definition": {"fields": fields}})
    registry.update("orders", {"description": "x", "schema_definition": {"fields": fields}})
    first, second = registry.versions("orders")
    assert (first.version, first.changes, json.loads(first.schema_definition)) == (1, [], {"fields": FIELDS})
    assert second.changes == ['rename field "id" to "order_id", read from the key "order_id", no longer "id"']
    assert (second.version, second.created_at) == (2, clock.now())
    assert json.loads(second.schema_definition)["fields"] == fields


def test_a_field_keeps_the_names_that_it_had(registry: Registry) -> None:
    """Renamed twice, with other changes between, a definition still knows every name its column may have."""
    registry.add(ORDERS)

    def rename(**field: Any) -> Any:
        kind = registry.update("orders", {"schema_definition": {"fields": [FIELDS[0], {"type": "timestamp", **field}]}})
        assert kind.definition is not None
        return kind.definition.fields[1].former_names

    assert rename(name="time", renamed_from="at") == ("at",)
    assert rename(name="time", description="when") == ("at",)
    assert rename(name="moment", renamed_from="time") == ("time", "at")
    assert rename(name="time", renamed_from="moment") == ("moment", "at")


def test_a_version_that_sql_made_is_noted_later(settings: Settings, registry: Registry) -> None:
    """Versions without a row break nothing; the next update writes down what it found."""
    registry.add(ORDERS)
    grown = {"fields": [*FIELDS, {"name": "n", "type": "int"}]}
    sql(settings, "UPDATE table_metadata SET schema_definition = ?, schema_version = 5", json.dumps(grown))
    assert registry.get("orders").schema_version == 5
    again = {"fields": [*FIELDS, {"name": "n", "type": "long"}]}
    assert registry.update("orders", {"schema_definition": again}).schema_version == 6
    assert [(row.version, row.changes) for row in registry.versions("orders")] == [
        (1, []),
        (5, ["not recorded when it was made: somebody changed the type with SQL"]),
        (6, ['widen field "n": int → long']),
    ]
    sql(settings, "UPDATE table_metadata SET schema_definition = ?", json.dumps({"fields": FIELDS}))
    registry.update("orders", {"schema_definition": {"fields": FIELDS[::-1]}})
    assert registry.versions("orders")[-1].changes == [
        "version 6 was changed with SQL before",
        "reorder fields: at, id",
    ]


def test_a_type_made_anew_goes_on_counting(settings: Settings, registry: Registry) -> None:
    """Versions of a type whose row was deleted are not given again: batches on record name them."""
    registry.add(ORDERS)
    sql(settings, "DELETE FROM table_metadata")
    assert registry.add(ORDERS).schema_version == 2


def test_an_update_that_somebody_else_overtook_is_refused(registry: Registry) -> None:
    """What a person agreed to was a change of the version that they saw."""
    registry.add(ORDERS)
    registry.update("orders", {"schema_definition": {"fields": FIELDS[::-1]}}, version=1)
    with pytest.raises(UsageError, match="from version 1 to 2"):
        registry.update("orders", {"description": "x"}, version=1)


def test_plain_sql_takes_effect(settings: Settings, registry: Registry) -> None:
    """A row inserted with sqlite3 while the registry is open is a type at the next reading."""
    assert registry.read().types == ()
    sql(
        settings,
        "INSERT INTO table_metadata (file_type, table_name, status, schema_definition) VALUES (?, ?, 'active', ?)",
        *("orders", "orders", json.dumps({"fields": FIELDS})),
    )
    (kind,) = registry.read().active
    assert (kind.name, kind.patterns, kind.schema_version) == ("orders", ("orders",), 1)
    sql(settings, "UPDATE table_metadata SET status = 'disabled'")
    assert registry.read().active == ()


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("file_type", "Orders; DROP"),
        ("file_type", ""),
        ("file_type", b"\xff\xfe"),
        ("table_name", ""),
        ("table_name", "a.b.c"),
        ("status", "on"),
        ("status", ""),
        ("status", 1),
        ("schema_definition", None),
        ("schema_definition", ""),
        ("schema_definition", "null"),
        ("schema_definition", "{"),
        ("schema_definition", "[" * 100_000),
        ("schema_definition", '{"fields": [NaN]}'),
        ("schema_definition", '{"fields": "all"}'),
        ("schema_definition", b"\xff"),
        ("schema_version", 0),
        ("schema_version", "two"),
        ("schema_version", 10**30),
        ("filename_patterns", "orders"),
        ("filename_patterns", "[1]"),
        ("filename_patterns", '["a/b"]'),
        ("partition_column", "colour"),
        ("processing_config", "[]"),
        ("processing_config", '{"write_mode": "upsert"}'),
        ("processing_config", '{"flush_max_files": 1e400}'),
    ],
)
def test_broken_row_stops_only_its_type(settings: Settings, registry: Registry, column: str, value: object) -> None:
    """Whatever stands in a row, reading never raises: the row is broken with its faults, the others are types."""
    registry.add(ORDERS)
    registry.add({**ORDERS, "file_type": "sales", "table_name": "sales"})
    if isinstance(value, int) and value > 2**63:
        value = str(value)
    cast = "CAST(? AS TEXT)" if isinstance(value, bytes) else "?"
    sql(settings, f"UPDATE table_metadata SET {column} = {cast} WHERE file_type = 'orders'", value)
    snapshot = registry.read()
    assert [kind.name for kind in snapshot.active] == ["sales"]
    (broken,) = snapshot.broken
    assert broken.file_type and broken.faults and all(broken.faults)
    described = registry.describe()
    assert [bool(row["faults"]) for row in described] == [True, False]
    json.dumps(described)


@pytest.mark.parametrize("column", ["last_error_at", "created_at", "updated_at"])
def test_bad_time_breaks_nothing(settings: Settings, registry: Registry, column: str) -> None:
    """A time that is none does not keep a type from being read, changed or shown."""
    registry.add(ORDERS)
    sql(settings, f"UPDATE table_metadata SET {column} = 'yesterday', last_error = 'x'")
    assert len(registry.read().types) == 1
    assert [(name, message) for name, _, message in registry.errors()] == [("orders", "x")]
    registry.disable("orders")
    registry.activate("orders")
    registry.update("orders", {"description": "x"})
    registry.note_error("orders", "y")


def test_broken_row_says_all_its_faults(settings: Settings, registry: Registry) -> None:
    """A row with several faults is told whole, so that a person corrects it once."""
    registry.add(ORDERS)
    sql(
        settings,
        "UPDATE table_metadata SET status = 'on', schema_version = 0, filename_patterns = '{', table_name = 'A',"
        " schema_definition = ?",
        json.dumps({"fields": [{"name": "id", "type": "text"}]}),
    )
    (broken,) = registry.read().broken
    assert len(broken.faults) == 5
    with pytest.raises(ConfigurationError):
        registry.get("orders")
    with pytest.raises(ConfigurationError):
        registry.activate("orders")


def test_broken_row_is_mended_by_update(settings: Settings, registry: Registry) -> None:
    """A whole types file corrects a broken row; its schema counts as a new one."""
    registry.add(ORDERS)
    sql(settings, "UPDATE table_metadata SET schema_definition = '{', schema_version = 4")
    mended = registry.update("orders", ORDERS)
    assert registry.read().active == (mended,)
    assert mended.schema_version == 5


def test_two_types_may_share_a_table_of_one_shape(settings: Settings, registry: Registry) -> None:
    """Same fields: both are active. Other fields: the later one is refused, or broken when SQL wrote it."""
    registry.add(ORDERS)
    shared = {**ORDERS, "file_type": "sales", "table_name": "orders"}
    assert registry.add(shared).table_name == "raw_data.orders"
    other = {"fields": [{"name": "id", "type": "long"}]}
    faults = faults_of(registry.add, {**shared, "file_type": "third", "schema_definition": other})
    assert "the table of orders" in faults[0] and "the table of sales" in faults[1]
    sql(settings, "UPDATE table_metadata SET schema_definition = ? WHERE file_type = 'sales'", json.dumps(other))
    snapshot = registry.read()
    assert [kind.name for kind in snapshot.active] == ["orders"]
    assert [broken.file_type for broken in snapshot.broken] == ["sales"]
    shared_again = {"fields": [{"name": "id", "type": "long"}, {"name": "n", "type": "long"}]}
    assert "the table of orders" in faults_of(registry.update, "sales", {"schema_definition": shared_again})[0]
    registry.disable("orders")
    assert [kind.name for kind in registry.read().active] == ["sales"]
    assert "the table of sales" in faults_of(registry.activate, "orders")[0]


def test_two_types_never_share_a_summary(registry: Registry) -> None:
    """A summary table is kept from one type: a day of it is replaced whole."""
    summary = {"summary": {"table": "daily", "key": ["id"], "time": "at"}}
    registry.add({**ORDERS, "processing_config": summary})
    (fault,) = faults_of(registry.add, {**ORDERS, "file_type": "sales", "processing_config": summary})
    assert "summary table daily" in fault


def test_errors_are_remembered_until_the_type_changes(registry: Registry, clock: HandClock) -> None:
    """The last error stands with its time; a change of the type by a person ends it."""
    registry.add(ORDERS)
    registry.note_error("orders", "first")
    registry.note_error("orders", "bad\udcff\0" + "x" * 5000)
    ((name, at, message),) = registry.errors()
    assert (name, at, len(message)) == ("orders", clock.now(), 2000)
    assert message.startswith("bad\\udcff\\0x")
    registry.note_error("nobody", "x")
    registry.update("orders", {"description": "mended"})
    assert registry.errors() == []


def test_verbs_answer_what_they_did(settings: Settings) -> None:
    """The daemon's verbs take and give plain JSON."""
    app = App(settings)
    app.init()
    work = Work(app, pause=lambda _seconds: True, draining=lambda: False)
    answer = do(work, "types.add", {"raw": ORDERS})
    assert json.loads(json.dumps(answer)) == {
        "file_type": "orders",
        "status": "active",
        "table_name": "raw_data.orders",
        "filename_patterns": ["orders"],
        "schema_version": 1,
    }
    assert do(work, "types.disable", {"file_type": "orders"})["status"] == "disabled"
    assert do(work, "types.activate", {"file_type": "orders"})["status"] == "active"
    changed = do(work, "types.update", {"file_type": "orders", "raw": {"filename_patterns": ["a"]}})
    assert changed["filename_patterns"] == ["a"]


def test_faults_of_schema_and_config_are_told_together(registry: Registry) -> None:
    """A wrong field does not hide what is wrong in the config, and is not blamed twice; modes not built are told."""
    raw = {
        "file_type": "badtwo",
        "schema_definition": {"fields": [{"name": "a", "type": "strin"}, {"name": "b", "type": "long"}]},
        "processing_config": {"write_mode": "merge", "format": "delta", "partition_by": "a", "zzz": 1},
    }
    with pytest.raises(ConfigurationError) as caught:
        registry.add(raw)
    told = "\n".join(caught.value.faults)
    for part in ("strin", "merge", "delta", "zzz"):
        assert part in told
    assert "processing_config: processing_config" not in told
    assert len([fault for fault in caught.value.faults if '"a"' in fault or "strin" in fault]) == 1
