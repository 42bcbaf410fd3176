from __future__ import annotations

from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import pyarrow as pa
import pytest
from decoded import decode_file
from pyiceberg.catalog.memory import InMemoryCatalog
from pyiceberg.io.pyarrow import schema_to_pyarrow, write_file
from pyiceberg.partitioning import PartitionFieldValue, PartitionKey
from pyiceberg.table import WriteTask
from pyiceberg.types import StringType, TimestamptzType

from metadata.types.config import ProcessingConfig
from metadata.types.definition import LINEAGE, RESCUED, Definition
from metadata.types.field_types import PLAIN_TYPES
from metadata.types.parse_config import parse_config
from metadata.types.parse_definition import parse_definition
from processors.decode.schema import arrow_schema, decoder_type, iceberg_schema, partition_spec

POINT = {"type": "struct", "fields": [{"name": "lat", "type": "double"}, {"name": "at", "type": "timestamp"}]}
EVERY_TYPE = [*sorted(PLAIN_TYPES), "decimal(9,2)", "decimal(38,10)"]
VALUES = {
    "boolean": (b"true", True),
    "int": (b"1", 1),
    "long": (b"2", 2),
    "float": (b"1.5", 1.5),
    "double": (b"2.5", 2.5),
    "date": (b'"2026-01-15"', date(2026, 1, 15)),
    "time": (b'"12:00:00"', time(12)),
    "timestamp": (b'"2026-01-15T12:00:00Z"', datetime(2026, 1, 15, 12, tzinfo=UTC)),
    "string": (b'"a"', "a"),
    "uuid": (b'"12345678-1234-5678-1234-567812345678"', UUID("12345678-1234-5678-1234-567812345678")),
    "binary": (b'"aGk="', b"hi"),
    "json": (b'{"a":1}', '{"a":1}'),
    "decimal(9,2)": (b'"1.25"', Decimal("1.25")),
    "decimal(38,10)": (b"1.5", Decimal("1.5")),
}
NESTED: list[tuple[Any, bytes, Any]] = [
    (POINT, b'{"lat":1.5,"at":null}', {"lat": 1.5, "at": None}),
    ({"type": "list", "element": "string"}, b'["a",null]', ["a", None]),
    ({"type": "list", "element": POINT}, b'[{"lat":1},null]', [{"lat": 1.0, "at": None}, None]),
    ({"type": "map", "key": "string", "value": "json"}, b'{"k":[1]}', [("k", "[1]")]),
    ({"type": "map", "key": "long", "value": POINT}, b'{"7":{"lat":3}}', [(7, {"lat": 3.0, "at": None})]),
]


def every_type() -> Definition:
    """A definition with an id and a field of every type, f_0 and so on."""
    types = [*EVERY_TYPE, *(type_ for type_, _, _ in NESTED)]
    fields = [{"name": f"f_{number}", "type": type_} for number, type_ in enumerate(types)]
    return parse_definition({"fields": [{"name": "id", "type": "long", "nullable": False}, *fields]})


def test_columns_stand_in_their_order_and_are_all_optional() -> None:
    """The definition's columns, the date, the lineage; the decoder holds what may not be null."""
    definition = every_type()
    names = [*(field.name for field in definition.fields), "date", *LINEAGE, RESCUED]
    schema = iceberg_schema(definition)
    assert [field.name for field in schema.fields] == arrow_schema(definition).names == names
    assert [field.field_id for field in schema.fields] == list(range(1, len(names) + 1))
    assert not any(field.required for field in schema.fields)


def test_json_is_a_string_and_timestamps_have_a_zone() -> None:
    """What other engines see."""
    definition = parse_definition({"fields": [{"name": "j", "type": "json"}, {"name": "t", "type": "timestamp"}]})
    schema = iceberg_schema(definition)
    assert schema.find_type("j") == StringType()
    assert schema.find_type("t") == TimestamptzType()


def test_arrow_types_are_icebergs_but_for_large_offsets() -> None:
    """Apart from 64-bit offsets, which data files do not need, Arrow and Iceberg agree on every plain type."""
    definition = every_type()
    large = {pa.large_string(): pa.string(), pa.large_binary(): pa.binary()}
    theirs = schema_to_pyarrow(iceberg_schema(definition), include_field_ids=False)
    for field in arrow_schema(definition):
        if not pa.types.is_nested(field.type):
            assert large.get(theirs.field(field.name).type, theirs.field(field.name).type) == field.type


def test_iceberg_writes_and_reads_every_type(tmp_path: Path) -> None:
    """The decoder's columns go through PyIceberg's own writer as they are, with values and with nulls."""
    definition = every_type()
    catalog = InMemoryCatalog("t", warehouse=tmp_path.as_uri())
    catalog.create_namespace("raw_data")
    spec = partition_spec(definition, ProcessingConfig())
    table = catalog.create_table("raw_data.x", iceberg_schema(definition), partition_spec=spec)
    assert table.schema().fields == iceberg_schema(definition).fields, "ids stay those of iceberg_schema"
    cases = [*(VALUES[type_] for type_ in EVERY_TYPE), *((text, value) for _, text, value in NESTED)]
    full = b",".join(b'"f_%d":%s' % (number, text) for number, (text, _) in enumerate(cases))
    columns = decode_file(definition, b'[{"id":1,%s},{"id":2}]' % full).columns
    day = date(2026, 1, 15)
    lineage = [pa.array(["f", "f"]), pa.array(["i", "i"]), pa.array([1, 2], pa.int64()), pa.array(["b", "b"])]
    rescued = pa.array(['{"k":1}', None])
    batch = pa.record_batch([*columns, pa.array([day, day]), *lineage, rescued], schema=arrow_schema(definition))
    key = PartitionKey([PartitionFieldValue(table.spec().fields[0], day)], table.spec(), table.schema())
    task = WriteTask(UUID(int=1), 0, table.schema(), [batch], partition_key=key)
    files = list(write_file(table.io, table.metadata, iter([task])))
    with table.transaction() as transaction, transaction.update_snapshot().fast_append() as append:
        append.append_data_file(files[0])
    first, second = table.scan().to_arrow().sort_by("id").to_pylist()
    assert [first[f"f_{number}"] for number in range(len(cases))] == [value for _, value in cases]
    assert (first[RESCUED], second[RESCUED]) == ('{"k":1}', None)
    # PyIceberg 0.12 writes the null of a list or map of structs as an empty one.
    assert [second[f"f_{number}"] for number in range(len(cases))] == [
        [] if number in (16, 18) else None for number in range(len(cases))
    ]


@pytest.mark.parametrize(
    ("partition_by", "name", "transform"),
    [
        ("date", "date", "identity"),
        ("day(t)", "t_day", "day"),
        ("hour(t)", "t_hour", "hour"),
        ("s", "s", "identity"),
    ],
)
def test_partition_spec_points_at_its_column(partition_by: str, name: str, transform: str) -> None:
    """The source id is that of the schema made from the same definition."""
    definition = parse_definition({"fields": [{"name": "t", "type": "timestamp"}, {"name": "s", "type": "string"}]})
    spec = partition_spec(definition, parse_config({"partition_by": partition_by}, None, definition))
    (field,) = spec.fields
    column = iceberg_schema(definition).find_column_name(field.source_id)
    assert (field.name, str(field.transform)) == (name, transform)
    assert column == name.removesuffix("_day").removesuffix("_hour")


def test_no_partition_is_the_empty_spec() -> None:
    """`none` leaves the table whole."""
    definition = parse_definition({"fields": [{"name": "s", "type": "string"}]})
    assert partition_spec(definition, ProcessingConfig(partition_by="none")).is_unpartitioned()


def test_struct_takes_keys_that_python_does_not() -> None:
    """JSON keys with signs, leading digits or two underscores are only renamed."""
    keys = ["a-b", "1x", "__x", "a.b", "", "class"]
    raw = {"fields": [{"name": f"n{n}", "type": "long", "source": key} for n, key in enumerate(keys)]}
    record = msgspec.json.decode(msgspec.json.encode(dict.fromkeys(keys, 7)), type=decoder_type(parse_definition(raw)))
    assert msgspec.structs.astuple(record) == (7,) * len(keys)
