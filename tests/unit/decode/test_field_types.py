"""The table of field types: a row is all that a plain type needs, wherever it is asked about."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Annotated

import msgspec
import pyarrow as pa
import pytest
from decoded import define, single_rows
from pyiceberg.types import IntegerType

from metadata.errors import ConfigurationError
from metadata.types import json_values
from metadata.types.config import ProcessingConfig
from metadata.types.difference import diff
from metadata.types.field_types import DECIMAL, FIELD_TYPES, PLAIN_TYPES, plain_type, row_of
from metadata.types.file_type import FileType, TypeStatus
from metadata.types.json_schema import types_schema
from metadata.types.parse_config import parse_config
from processors.decode import column_builders
from processors.decode.decoder import Decoder
from processors.decode.schema import arrow_schema, iceberg_schema

SHORT = replace(
    PLAIN_TYPES["int"],
    name="short",
    decoded=Annotated[int, msgspec.Meta(ge=-(2**15), le=2**15 - 1)],
    arrow=("int32",),
    iceberg=("IntegerType",),
    fault=partial(json_values.whole_fault, 16),
    wider=("int", "long"),
)
"""A type that nothing but its row knows."""


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The table with one row more."""
    monkeypatch.setitem(PLAIN_TYPES, "short", SHORT)
    yield
    plain_type.cache_clear()


@pytest.mark.usefixtures("short")
def test_a_row_is_all_that_a_type_needs() -> None:
    """Its definition, columns, rejects, coercion, constraints, default, widening, partition and JSON Schema."""
    definition = define(
        {"name": "n", "type": "short", "coerce": True, "min": 0, "default": 7},
        {"name": "m", "type": {"type": "map", "key": "short", "value": "short"}},
    )
    texts = [
        b'{"id":1,"n":"12","m":{"3":4}}',
        b'{"id":2}',
        b'{"id":3,"n":40000}',
        b'{"id":4,"n":-1}',
        b'{"id":5,"n":"40000"}',
    ]
    decoded = Decoder(definition, []).decode_records(texts)
    assert single_rows(decoded) == [(0, 1, 12, [(3, 4)], None), (1, 2, 7, None, None)]
    assert [each.code for each in decoded.rejected] == ["out_of_range", "constraint_failed", "out_of_range"]
    assert arrow_schema(definition).field("n").type == pa.int32()
    assert iceberg_schema(definition).find_type("n") == IntegerType()
    assert parse_config({"partition_by": "n"}, None, definition).partition == ("identity", "n")
    assert "short" in types_schema()["$defs"]["type"]["anyOf"][0]["enum"]
    with pytest.raises(ConfigurationError, match="its default 40000 must be a whole number of 16 bits"):
        define({"name": "n", "type": "short", "default": 40000})
    old = FileType(
        "x", "raw_data.x", ("x",), TypeStatus.ACTIVE, define({"name": "n", "type": "short"}), 1, ProcessingConfig()
    )
    (widened,) = diff(old, replace(old, definition=define({"name": "n", "type": "long"})))
    assert widened.line() == 'widen field "n": short → long'


@pytest.mark.parametrize("row", FIELD_TYPES, ids=lambda row: row.name)
def test_each_row_names_what_is_there(row: object) -> None:
    """The builder of its columns takes values and their Arrow type; types that it widens to are rows."""
    assert isinstance(row, type(DECIMAL))
    builder = getattr(column_builders, row.build)
    assert list(inspect.signature(builder).parameters)[1] == "arrow"
    assert set(row.wider) <= PLAIN_TYPES.keys()


def test_no_two_rows_claim_one_name() -> None:
    """A name of another system leads to one type, and is none itself."""
    others = [other for row in FIELD_TYPES for other in row.other_names]
    assert len(others) == len(set(others))
    assert not PLAIN_TYPES.keys() & set(others)


def test_rows_of_types_with_arguments_and_of_nested_ones() -> None:
    """A decimal's row knows its digits; structs, lists and maps have none, unknown names raise KeyError."""
    assert plain_type("decimal(9,2)").digits == (9, 2)
    assert plain_type("decimal(9,2)").fault("1234567.891") == "does not fit in decimal(9,2) without rounding"
    assert row_of({"type": "list", "element": "int", "element-required": False}) is None
    with pytest.raises(KeyError):
        plain_type("nothing")
