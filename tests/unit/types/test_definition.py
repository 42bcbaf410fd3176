from __future__ import annotations

import pickle
from decimal import Decimal
from typing import Any

import pytest

from metadata.errors import ConfigurationError
from metadata.types.built_in import BUILT_IN
from metadata.types.config import ProcessingConfig
from metadata.types.definition import Definition
from metadata.types.file_type import file_type_name, table_identifier
from metadata.types.json_values import fit_decimal
from metadata.types.parse_config import parse_config
from metadata.types.parse_definition import parse_definition

SEED = {
    "fields": [
        {"name": "id", "type": "string", "nullable": False},
        {"name": "timestamp", "type": "timestamp", "nullable": False},
        {"name": "data", "type": "string", "nullable": True},
    ],
    "primary_key": ["id", "timestamp"],
}


def one(**field: Any) -> dict[str, Any]:
    """A definition with the one field x."""
    return {"fields": [{"name": "x", "type": "string", **field}]}


def faults_of(raw: Any) -> list[str]:
    """Why this definition is refused."""
    with pytest.raises(ConfigurationError) as caught:
        parse_definition(raw)
    return caught.value.faults


def config_faults(raw: Any, column: Any = None) -> list[str]:
    """Why this processing config is refused."""
    with pytest.raises(ConfigurationError) as caught:
        parse_config(raw, column, EVENTS)
    return caught.value.faults


EVENTS = parse_definition(BUILT_IN[0]["schema_definition"])


def test_seed_definition_is_accepted_as_it_is() -> None:
    """A field may be called timestamp, and the key may name it."""
    definition = parse_definition(SEED)
    assert [field.name for field in definition.required] == ["id", "timestamp"]
    assert definition.primary_key == ("id", "timestamp")
    assert definition.field("data").key == "data"


def test_built_in_types_are_valid_and_say_their_summary() -> None:
    """Both built-in types pass the checks that everybody's types pass."""
    for raw in BUILT_IN:
        definition = parse_definition(raw["schema_definition"])
        config = parse_config(raw["processing_config"], raw["partition_column"], definition)
        assert config.partition == ("identity", "date")
        assert table_identifier(raw["table_name"]) == f"raw_data.{file_type_name(raw['file_type'])}"
    summary = parse_config(BUILT_IN[0]["processing_config"], "date", EVENTS).summary
    assert summary is not None
    assert summary.columns == ("vehicle_id", "day", "last_event_time", "last_event_type")


@pytest.mark.parametrize("type_", ["boolean", "int", "long", "float", "double", "decimal(38,38)", "decimal( 10 , 2 )"])
def test_plain_types_are_accepted(type_: str) -> None:
    """Iceberg's names, with or without blanks inside of a decimal."""
    assert " " not in str(parse_definition(one(type=type_)).fields[0].type)


def test_nested_types_lose_their_ids_and_gain_their_flags() -> None:
    """A type copied out of an Iceberg schema and one written by hand come out the same."""
    by_hand = {"type": "list", "element": {"type": "map", "key": "string", "value": "long"}}
    from_iceberg = {
        "type": "list",
        "element-id": 4,
        "element-required": False,
        "element": {
            "type": "map",
            "key-id": 5,
            "key": "string",
            "value-id": 6,
            "value": "long",
            "value-required": False,
        },
    }
    assert parse_definition(one(type=by_hand)) == parse_definition(one(type=from_iceberg))


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (None, "must be a JSON object"),
        ([], "must be a JSON object"),
        ({}, '"fields" must be a list'),
        ({"fields": []}, '"fields" must be a list'),
        ({"fields": [3]}, "field 1 must be a JSON object"),
        ({**SEED, "colour": 1}, 'unknown key "colour"'),
        ({**SEED, "primary_key": ["nope"]}, 'primary_key: there is no field "nope"'),
        ({**SEED, "primary_key": ["id", "id"]}, 'primary_key: field "id" stands there twice'),
        ({**SEED, "primary_key": "id"}, "primary_key must be a list"),
        ({**SEED, "root": ""}, '"root" must be the keys'),
        ({**SEED, "root": "a..b"}, '"root" must be the keys'),
        ({"fields": [{"type": "string"}]}, 'field 1: its "name" must be'),
        ({"fields": [{"name": "a-b", "type": "string"}]}, 'field "a-b": its "name" must be'),
        ({"fields": [{"name": "x"}]}, 'field "x": its "type" must be'),
        ({"fields": [{"name": n, "type": "long"} for n in ("Ab", "aB")]}, 'field name, whatever the case, "ab"'),
        ({"fields": [{"name": n, "type": "long", "source": "k"} for n in "ab"]}, 'JSON key "k" stands there twice'),
        ({"fields": [{"name": "Date", "type": "long"}]}, 'field "Date": every table has a column of that name'),
        ({"fields": [{"name": "_batch_id", "type": "long"}]}, 'field "_batch_id": every table has'),
        (one(type="timestamptz"), 'use "timestamp"'),
        (one(type="timestamp_ns"), 'use "timestamp"'),
        (one(type="varchar"), 'use "string"'),
        (one(type="colour"), 'there is no type "colour"'),
        (one(type="decimal(39,2)"), "1 to 38 digits"),
        (one(type="decimal(3,4)"), "not more of them behind the point"),
        (one(type={"type": "list"}), 'field "x", list element: its "type" must be'),
        (one(type={"type": "set", "element": "long"}), 'a nested type is a "struct", "list" or "map"'),
        (one(type={"type": "map", "key": "double", "value": "long"}), "the keys of a map stand in JSON as text"),
        (one(type={"type": "struct", "fields": []}), 'a struct\'s "fields" must be'),
        (one(type={"type": "struct", "fields": [{"name": "a", "type": "set"}]}), 'struct field "a": there is no type'),
        (one(typ="long"), 'field "x": unknown key "typ"'),
        (one(nullable="yes"), '"nullable" must be true or false'),
        (one(type="date", coerce=True), '"coerce" is for strings, numbers and booleans'),
        (one(type="int", coerce=True, default="1.5"), "must be a whole number of 32 bits"),
        (one(type="double", coerce=True, default="x"), "is text that holds no double"),
        (one(format="epoch_s"), '"format" is for timestamps'),
        (one(type="timestamp", format="unix"), '"format" must be "epoch_s" or "epoch_ms"'),
        (one(default=3), "its default 3 must be text"),
        (one(default=None, nullable=False), "its default is null"),
        (one(type="int", default=2**31), "must be a whole number of 32 bits"),
        (one(type="boolean", default=1), "must be true or false"),
        (one(type="timestamp", default="yesterday"), "is no timestamp"),
        (one(type="timestamp", format="epoch_s", default="1"), "must be a number"),
        (one(type="timestamp", format="epoch_s", default=10**12), "must be a time in the years 1 to 9999"),
        (one(type="timestamp", default="2026-01-15"), "is no timestamp"),
        (one(type="timestamp", default="9999-12-31T23:59:59-01:00"), "must be a time in the years 1 to 9999"),
        (one(type="time", default="12:00"), "is no time"),
        (one(type="float", default=1e39), "must be a number that a float can hold"),
        (one(type="double", default=10**400), "must be a number that a double can hold"),
        (one(type="json", default="\ud800"), "cannot be kept as JSON"),
        (one(default="\ud800"), "half of a surrogate pair"),
        (one(type={"type": "map", "key": "int", "value": "long"}, default={"2147483648": 1}), "which is no int"),
        (one(type="decimal(4,2)", default="1.005"), "does not fit in decimal(4,2)"),
        (one(type="decimal(4,2)", default="1e99999999"), "does not fit in decimal(4,2)"),
        (one(type="uuid", default="x"), "is no uuid"),
        (one(type="binary", default="!"), "is no binary"),
        (one(type={"type": "list", "element": "long"}, default=[1, "a"]), 'holds "a", which must be a whole number'),
    ],
)
def test_fault_is_said_with_the_field_it_is_about(raw: Any, expected: str) -> None:
    """Each way to get a definition wrong has a message of its own."""
    faults = faults_of(raw)
    assert len(faults) == 1
    assert expected in faults[0]


def test_all_faults_are_said_at_once() -> None:
    """Nobody has to mend a definition one error message at a time."""
    faults = faults_of(
        {
            "fields": [
                {"name": "date", "type": "nope"},
                {"name": "a", "type": "int", "default": "x", "colour": 1},
                {"name": "A", "type": "timestamptz"},
            ],
            "primary_key": ["q"],
            "root": 5,
        }
    )
    assert len(faults) == 7


def test_type_nested_without_end_is_a_fault() -> None:
    """A hostile row of the registry costs a message, not a RecursionError."""
    type_: Any = "long"
    for _ in range(5000):
        type_ = {"type": "list", "element": type_}
    assert "nested deeper than 16" in faults_of(one(type=type_))[0]


@pytest.mark.parametrize(
    ("field", "required", "has_default"),
    [
        ({}, False, False),
        ({"nullable": False}, True, False),
        ({"nullable": False, "default": "a"}, False, True),
        ({"default": None}, False, True),
    ],
)
def test_required_means_neither_nullable_nor_defaulted(field: Any, required: bool, has_default: bool) -> None:
    """A default stands in for a missing key, so the key is not required; that survives the way to a worker."""
    parsed = pickle.loads(pickle.dumps(parse_definition(one(**field)))).fields[0]
    assert (parsed.required, parsed.has_default) == (required, has_default)


@pytest.mark.parametrize(
    ("raw", "column", "partition"),
    [
        (None, None, ("identity", "date")),
        ({}, "date", ("identity", "date")),
        ({}, "event_type", ("identity", "event_type")),
        ({"partition_by": "none"}, None, None),
        ({"partition_by": "day(event_time)"}, None, ("day", "event_time")),
        ({"partition_by": "hour( event_time )"}, "event_time", ("hour", "event_time")),
        ({"partition_by": "vehicle_id"}, "vehicle_id", ("identity", "vehicle_id")),
    ],
)
def test_partition_is_read_from_either_of_its_names(raw: Any, column: str | None, partition: Any) -> None:
    """`partition_column` is the older name: it counts alone and must agree otherwise."""
    assert parse_config(raw, column, EVENTS).partition == partition


@pytest.mark.parametrize(
    ("raw", "column", "expected"),
    [
        ([], None, "must be a JSON object"),
        ({"colour": 1}, None, 'unknown key "colour"'),
        ({"write_mode": "upsert"}, None, 'write_mode "upsert" is not built yet; use "append"'),
        ({"format": "delta"}, None, 'format "delta" is not built yet; use "iceberg"'),
        ({"partition_by": "nope"}, None, 'partition_by "nope"'),
        ({"partition_by": "week(event_time)"}, None, 'partition_by "week(event_time)"'),
        ({"partition_by": "day(vehicle_id)"}, None, "not a date or timestamp"),
        ({"partition_by": "event_extra_data"}, None, "cannot divide a table"),
        ({"partition_by": "day(event_time)"}, "date", "disagrees"),
        ({"partition_by": 3}, None, "partition_by must be text"),
        ({"flush_max_files": 0}, None, "flush_max_files must be a whole number from 1"),
        ({"flush_max_bytes": True}, None, "flush_max_bytes must be a whole number from 1"),
        ({"summary": 1}, None, "summary must be a JSON object"),
        ({"summary": {"table": "s", "key": ["vehicle_id"], "time": "event_type"}}, None, "must name a timestamp"),
        ({"summary": {"table": "s", "key": [], "time": "event_time"}}, None, "at least one field"),
        ({"summary": {"table": "S", "key": ["vehicle_id"], "time": "event_time"}}, None, '"table" must be'),
        (
            {"summary": {"table": "s", "key": ["vehicle_id"], "time": "event_time", "latest": ["event_time"]}},
            None,
            'column "last_event_time" stands there twice',
        ),
    ],
)
def test_config_fault_is_said(raw: Any, column: Any, expected: str) -> None:
    """Unknown keys, modes that are not built and names that do not exist are refused."""
    faults = config_faults(raw, column)
    assert len(faults) == 1
    assert expected in faults[0]


@pytest.mark.parametrize("name", ["", "1x", "Vehicle", "a-b", "a" * 64, None, 3, "a\n"])
def test_bad_type_and_table_names_are_refused(name: Any) -> None:
    """Names become folders and tables: nothing but a-z, 0-9 and _."""
    for check in (file_type_name, table_identifier):
        with pytest.raises(ConfigurationError):
            check(name)


def test_table_identifier_always_lies_in_the_raw_namespace() -> None:
    """Plain and full names mean the same table; other namespaces are not for types."""
    assert table_identifier("x") == table_identifier("raw_data.x") == "raw_data.x"
    with pytest.raises(ConfigurationError):
        table_identifier("summary.x")


@pytest.mark.parametrize(
    ("text", "fitted"),
    [("1.10", "1.10"), ("1.1000000", "1.10"), ("-9999.99", "-9999.99"), ("1E+3", "1E+3"), ("0E-99999999", "0")],
)
def test_decimals_are_fitted_without_rounding(text: str, fitted: str) -> None:
    """Surplus noughts go, everything else stays."""
    assert fit_decimal(Decimal(text), 6, 2) == Decimal(fitted)


@pytest.mark.parametrize("text", ["10000", "1.001", "1e-77", "1e-99999999", "1e99999999", "NaN", "Infinity"])
def test_decimals_that_need_other_digits_are_refused(text: str) -> None:
    """Also numbers so small or large that Arrow would round them or worse."""
    with pytest.raises((ValueError, OverflowError)):
        fit_decimal(Decimal(text), 6, 2)


def test_values_are_frozen() -> None:
    """A definition that workers and caches share cannot be changed."""
    with pytest.raises(ValueError, match="frozen"):
        Definition(fields=()).root = "x"
    with pytest.raises(ValueError, match="frozen"):
        ProcessingConfig().format = "x"
