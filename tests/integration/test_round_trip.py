"""Any value of any type: JSON → decoder → columns → a real Iceberg table → DuckDB and PyIceberg → the same value."""

from __future__ import annotations

import base64
import hashlib
import json
import struct
import uuid
from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from itertools import cycle
from pathlib import Path
from typing import Any, NamedTuple

from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from metadata.settings import Settings
from metadata.types.field_types import PLAIN_TYPES
from metadata.types.parse_config import parse_config
from metadata.types.parse_definition import parse_definition
from processors.decode.schema import iceberg_schema, partition_spec
from processors.lake import quarantine_table as quarantine
from processors.lake.data_files import TaskName
from processors.lake.lake import Lake
from processors.load.load_task import Quarantine, WriteJob, load_files
from processors.load.read_source import SourceInput
from processors.read.query import QueryEngine

NAME = "raw_data.things"
DAY = date(2026, 1, 15)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
FIRST, LAST = datetime(1, 1, 2, tzinfo=UTC), datetime(9999, 12, 30, tzinfo=UTC)


class Value(NamedTuple):
    """A value's JSON text, and what is read back."""

    text: str
    expected: Any


NULL = Value("null", None)


def encoded(value: Any, expected: Any) -> st.SearchStrategy[Value]:
    """JSON of it, with and without escapes."""
    return st.booleans().map(lambda escaped: Value(json.dumps(value, ensure_ascii=escaped), expected))


def plain(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Value]:
    """Values that JSON has too."""
    return strategy.flatmap(lambda value: encoded(value, value))


def text_of(strategy: st.SearchStrategy[Any], write: Any) -> st.SearchStrategy[Value]:
    """Values that stand in JSON as text."""
    return strategy.map(lambda value: Value(json.dumps(write(value)), value))


def decimals(precision: int, scale: int) -> st.SearchStrategy[Value]:
    """Decimals as numbers and as text."""
    digits = st.integers(-(10**precision) + 1, 10**precision - 1)
    forms = st.sampled_from(["{}", '"{}"', "{}0", '"{}000"'] if scale else ["{}", '"{}"'])
    return st.tuples(digits, forms).map(lambda drawn: _decimal(drawn[0], scale, drawn[1]))


def _decimal(digits: int, scale: int, form: str) -> Value:
    value = Decimal((int(digits < 0), tuple(map(int, str(abs(digits)))), -scale))
    return Value(form.format(f"{value:f}"), value)


def _instant(at: datetime, form: str) -> Value:
    utc = at.replace(tzinfo=UTC)
    match form:
        case "Z" | "":
            return Value(json.dumps(at.isoformat() + form), utc)
        case "blank":
            return Value(json.dumps(at.isoformat(sep=" ") + "z"), utc)
        case "finer":
            return Value(json.dumps(at.isoformat(timespec="microseconds") + "9Z"), utc)
    sign, minutes = (1 if form[0] == "+" else -1), int(form[1:3]) * 60 + int(form[-2:])
    return Value(json.dumps(at.isoformat() + form), utc - timedelta(minutes=sign * minutes))


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)
FLOAT32 = st.floats(width=32, allow_nan=False, allow_infinity=False)
DOUBLE = st.floats(allow_nan=False, allow_infinity=False)
TIMES = st.datetimes(FIRST.replace(tzinfo=None), LAST.replace(tzinfo=None))
_ENDS = int(FIRST.timestamp()), int(LAST.timestamp())
SECONDS = st.integers(*_ENDS) | st.sampled_from(_ENDS)
JSON_TEXT = st.tuples(ANY_JSON, st.sampled_from([None, 1]), st.booleans()).map(
    lambda drawn: json.dumps(drawn[0], indent=drawn[1], ensure_ascii=drawn[2])
)

PLAIN: dict[str, st.SearchStrategy[Value]] = {
    "boolean": plain(st.booleans()),
    "int": plain(st.integers(-(2**31), 2**31 - 1)),
    "long": plain(st.integers(-(2**63), 2**63 - 1)),
    "float": plain(FLOAT32),
    "double": plain(DOUBLE),
    "decimal(9,2)": decimals(9, 2),
    "decimal(38,38)": decimals(38, 38),
    "decimal(18,0)": decimals(18, 0),
    "date": text_of(st.dates(), date.isoformat),
    "time": text_of(st.times(), time.isoformat),
    "timestamp": st.tuples(
        TIMES, st.sampled_from(["", "Z", "blank", "finer", "+00:00", "-00:01", "+05:30", "-1130", "+0100"])
    ).map(lambda drawn: _instant(*drawn)),
    "string": plain(TEXT),
    "uuid": text_of(st.uuids(), str),
    "binary": text_of(st.binary(max_size=20), lambda value: base64.b64encode(value).decode()),
    "json": JSON_TEXT.map(lambda text: Value(text, None if text == "null" else text)),
}


def coerced(strategy: st.SearchStrategy[Value]) -> st.SearchStrategy[Value]:
    """The same values, also as text."""
    return st.tuples(strategy, st.booleans()).map(
        lambda drawn: Value(json.dumps(drawn[0].text) if drawn[1] else drawn[0].text, drawn[0].expected)
    )


def nullable(strategy: st.SearchStrategy[Value]) -> st.SearchStrategy[Value]:
    """Now and then null."""
    return st.integers(0, 3).flatmap(lambda one: strategy if one else st.just(NULL))


def a_list(element: st.SearchStrategy[Value]) -> st.SearchStrategy[Value]:
    """Lists of these."""
    return st.lists(element, max_size=3).map(
        lambda items: Value(f"[{','.join(one.text for one in items)}]", [one.expected for one in items])
    )


def a_map(keys: st.SearchStrategy[Any], value: st.SearchStrategy[Value]) -> st.SearchStrategy[Value]:
    """Maps to these; the keys stand in JSON as text."""
    return st.dictionaries(keys, value, max_size=3).map(
        lambda items: Value(
            "{%s}" % ",".join(f"{json.dumps(str(key))}:{one.text}" for key, one in items.items()),  # noqa: UP031 - braces
            {key: one.expected for key, one in items.items()},
        )
    )


def a_struct(**fields: st.SearchStrategy[Value]) -> st.SearchStrategy[Value]:
    """Structs of these, some of their keys missing."""
    return st.fixed_dictionaries({}, optional=fields).map(
        lambda items: Value(
            "{%s}" % ",".join(f'"{key}":{one.text}' for key, one in items.items()),  # noqa: UP031 - braces
            {key: items[key].expected if key in items else None for key in fields},
        )
    )


def struct_type(**fields: Any) -> dict[str, Any]:
    """A struct in Iceberg's form."""
    return {"type": "struct", "fields": [{"name": name, "type": type_} for name, type_ in fields.items()]}


INNER = {name: nullable(strategy) for name, strategy in PLAIN.items()}
EVERYTHING = {f"p{number}": type_ for number, type_ in enumerate(PLAIN)}
POINT, POINT_TYPE = a_struct(a=INNER["long"], b=INNER["timestamp"]), struct_type(a="long", b="timestamp")
# PyIceberg 0.12 writes a null list or map of structs as an empty one: those two are never null here.
FIELDS: list[tuple[dict[str, Any], st.SearchStrategy[Value]]] = [
    *(({"type": type_}, nullable(strategy)) for type_, strategy in PLAIN.items()),
    (
        {"type": "timestamp", "format": "epoch_s"},
        nullable(SECONDS.map(lambda s: Value(str(s), EPOCH + timedelta(seconds=s)))),
    ),
    (
        {"type": "timestamp", "format": "epoch_ms"},
        nullable(SECONDS.map(lambda s: Value(str(s * 1000 + 1), EPOCH + timedelta(seconds=s, milliseconds=1)))),
    ),
    (
        {"type": "string", "coerce": True},
        nullable(plain(TEXT) | DOUBLE.map(lambda number: Value(repr(number), repr(number)))),
    ),
    *(
        ({"type": type_, "coerce": True}, nullable(coerced(PLAIN[type_])))
        for type_ in ("boolean", "int", "long", "float", "double")
    ),
    (
        {"type": struct_type(**EVERYTHING)},
        nullable(a_struct(**{name: INNER[type_] for name, type_ in EVERYTHING.items()})),
    ),
    ({"type": {"type": "list", "element": "json"}}, nullable(a_list(INNER["json"]))),
    (
        {"type": {"type": "list", "element": {"type": "list", "element": "time"}}},
        nullable(a_list(nullable(a_list(INNER["time"])))),
    ),
    ({"type": {"type": "list", "element": POINT_TYPE}}, a_list(nullable(POINT))),
    ({"type": {"type": "map", "key": "string", "value": "decimal(9,2)"}}, nullable(a_map(TEXT, INNER["decimal(9,2)"]))),
    (
        {"type": {"type": "map", "key": "long", "value": POINT_TYPE}},
        a_map(st.integers(-(2**63), 2**63 - 1), nullable(POINT)),
    ),
    (
        {"type": {"type": "map", "key": "int", "value": {"type": "list", "element": "uuid"}}},
        nullable(a_map(st.integers(-(2**31), 2**31 - 1), nullable(a_list(INNER["uuid"])))),
    ),
]
DEFINITION = parse_definition({"fields": [{"name": f"f{number}", **field} for number, (field, _) in enumerate(FIELDS)]})
VALUES = 40  # of each field


class House:
    """A lake with one table that has a column of every type."""

    def __init__(self, folder: Path) -> None:
        environ = {
            "DATALAKE_BASE": str(folder / "lake"),
            "ICEBERG_CATALOG_URI": f"sqlite:///{folder}/catalog.db",
            "DATABASE_URL": f"sqlite:///{folder}/metadata.db",
        }
        self.folder = folder
        self.lake = Lake(Settings.load(environ, env_file=None))
        self.lake.init()
        self.config = parse_config({"unknown_fields": "reject"}, None, DEFINITION)
        spec = partition_spec(DEFINITION, self.config)
        self.table = self.lake.ensure_table(NAME, iceberg_schema(DEFINITION), spec)
        rejects = self.lake.ensure_table(quarantine.TABLE, quarantine.iceberg_schema(), quarantine.partition_spec())
        self.quarantine = Quarantine(self.lake.handle(rejects), "things", 1, EPOCH, 10**6)
        self.engine = QueryEngine(self.lake)

    def load(self, data: bytes) -> None:
        """Load a file as a worker does and commit it."""
        batch_id = str(uuid.uuid4())
        path = self.folder / f"{batch_id}.json"
        path.write_bytes(data)
        digest = hashlib.sha256(data).hexdigest()
        source = SourceInput("f", str(path), path.name, digest, DAY, len(data), lines=False, codec=None)
        handle = self.lake.handle(self.table)
        result = load_files(
            WriteJob(
                TaskName(batch_id, 1, 0), handle, self.quarantine, DEFINITION, self.config, (), (source,), None, 10**9
            )
        )
        [outcome] = result.outcomes
        assert (outcome.outcome, outcome.rejected) == ("loaded", 0), outcome
        self.lake.append(NAME, batch_id, result.data_files, {})

    def by_pyiceberg(self) -> list[dict[str, Any]]:
        """The table's rows."""
        table = self.lake.table(NAME)
        assert table is not None
        rows = table.scan().to_arrow().sort_by("_record_no").to_pylist()
        return [{name: row[name] for name in names()} for row in rows]

    def by_duckdb(self) -> list[dict[str, Any]]:
        """The table's rows."""
        columns = ", ".join(names())
        sql = f"SELECT {columns} FROM things ORDER BY _record_no"
        return [dict(zip(names(), row, strict=True)) for row in self.engine.run(sql).rows()]


def names() -> list[str]:
    """The columns that are compared."""
    return [field.name for field in DEFINITION.fields]


def alike(value: Any) -> Any:
    """One form for what libraries give in several: maps as pairs or dicts, zones by name or offset, -0.0 is not 0.0."""
    match value:
        case float():
            return struct.pack("<d", value)
        case datetime():
            return value.astimezone(UTC).isoformat()
        case dict():
            return {key: alike(inner) for key, inner in value.items()}
        case list() if value and all(isinstance(pair, tuple) for pair in value):
            return {key: alike(inner) for key, inner in value}
        case list():
            return [alike(inner) for inner in value]
    return value


def check(rows: Sequence[dict[str, Any]], records: Sequence[dict[str, Value]]) -> None:
    """Each value that was read is the one that was written."""
    assert len(rows) == len(records)
    for row, record in zip(rows, records, strict=True):
        for name, value in record.items():
            expected = {} if value.expected == {} and row[name] == [] else value.expected  # an empty map has no pairs
            found = {} if expected == {} and row[name] == [] else row[name]
            assert alike(found) == alike(expected), (name, value.text)


def drawn(strategy: st.SearchStrategy[Value]) -> list[Value]:
    """Values of a strategy; all fields at once would be more than Hypothesis draws for one example."""
    found: list[Value] = []

    @settings(deadline=None, max_examples=VALUES, database=None, phases=(Phase.generate,))
    @given(strategy)
    def collect(value: Value) -> None:
        found.append(value)

    collect()
    return found


def test_every_value_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    """Values of every type, nested ones too, come back equal by either way to read the table."""
    columns = {
        field.name: cycle(drawn(strategy)) for field, (_, strategy) in zip(DEFINITION.fields, FIELDS, strict=True)
    }
    records = [{name: next(values) for name, values in columns.items()} for _ in range(VALUES)]
    written = [",".join(f'"{name}":{value.text}' for name, value in record.items()) for record in records]
    house = House(tmp_path)
    house.load(("[" + ",".join("{%s}" % text for text in written) + "]").encode())  # noqa: UP031 # braces
    check(house.by_pyiceberg(), records)
    check(house.by_duckdb(), records)


def test_every_type_is_among_them() -> None:
    """A type that is new has to be added here."""
    assert {str(field["type"]) for field, _ in FIELDS} >= PLAIN_TYPES.keys()
    assert {field["type"]["type"] for field, _ in FIELDS if isinstance(field["type"], dict)} == {
        "struct",
        "list",
        "map",
    }
