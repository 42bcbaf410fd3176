"""The one table of plain types of fields: each row says all there is to know of a type, in words, JSON and columns.

A type that resembles another is one more row. One whose columns are built in a way of their own is a row and the
function in `processors.decode.column_builders` that the row names. Structs, lists and maps hold other types and are no
rows: what is done with them is written down where it is done.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from decimal import Decimal
from functools import lru_cache, partial
from typing import Annotated, Any
from uuid import UUID

import msgspec

from metadata.reject_codes import RejectCode
from metadata.types import json_values

FieldType = str | dict[str, Any]
"""`"long"`, `"decimal(10,2)"`, …, or a struct, list or map in Iceberg's JSON form without its ids."""

Made = tuple[str | int, ...]
"""A name of a library and its arguments: `("timestamp", "us", "UTC")` is `pyarrow.timestamp("us", "UTC")`. This room
knows no pyarrow and no pyiceberg."""


@dataclass(frozen=True, kw_only=True)
class PlainType:
    """One plain type; what is left out is as it is for most of them."""

    name: str
    in_json: str  #: its values in JSON, for people
    column: str  #: its column, for people
    decoded: Any  #: what msgspec makes of a value that is not null; `Raw`: the JSON text as it stands
    arrow: Made  #: of pyarrow
    iceberg: Made  #: of pyiceberg.types
    fault: Callable[[Any], str | None]  #: why a JSON value is none of this type; None: it is one
    compared: Callable[[Any], Any] = json_values.unchanged  #: a JSON value without fault as it is compared with others
    build: str = "as_arrow"  #: what makes a column of decoded values, in processors.decode.column_builders
    refused_as: RejectCode = RejectCode.OUT_OF_RANGE  #: the code of a value that only its column refuses
    is_text: bool = False  #: `pattern` and `max_length` are for it; coerced, it takes numbers and booleans
    is_ordered: bool = False  #: `min` and `max` are for it
    is_coercible: bool = False  #: `coerce` means something for it
    is_whole: bool = False  #: whole numbers, which Iceberg never turns into others
    is_map_key: bool = False
    partitions: tuple[str, ...] = ("identity",)  #: how its values may divide a table
    wider: tuple[str, ...] = ()  #: what its column may become, as Iceberg has it
    drafted_from: re.Pattern[str] | None = None  #: what all texts look like of which drafts make this type
    other_names: Mapping[str, str] = field(default_factory=dict)  #: in other systems → a remark; people try them
    digits: tuple[int, int] | None = None  #: of a decimal: how many in all, and behind the point

    @property
    def is_raw(self) -> bool:
        """Whether its values are kept as JSON text."""
        return self.decoded is msgspec.Raw


def _whole(bits: int) -> Any:
    return Annotated[int, msgspec.Meta(ge=-(1 << (bits - 1)), le=(1 << (bits - 1)) - 1)]


_ZONE = r"([Zz]|[+-]\d\d:\d\d)"
_CLOCK = r"\d\d:\d\d:\d\d"
_DAY = r"\d{4}-\d\d-\d\d"

DECIMAL = PlainType(
    name="decimal(p,s)",
    in_json='a number or its text, the latter read as leniently as Python reads it (`"1_000"`, `" 1"`, `"+5"`); '
    "p up to 38 digits, s of them behind the point",
    column="decimal",
    decoded=Decimal,
    arrow=("decimal128",),
    iceberg=("DecimalType",),
    fault=partial(json_values.decimal_fault, (38, 38)),
    compared=json_values.decimal,
    build="decimals",
    is_ordered=True,
    is_coercible=True,
    other_names={"numeric": ""},
)
"""What all decimals have in common; `plain_type` knows those of some digits."""

FIELD_TYPES = (
    PlainType(
        name="boolean",
        in_json="`true`, `false`",
        column="boolean",
        decoded=bool,
        arrow=("bool_",),
        iceberg=("BooleanType",),
        fault=json_values.boolean_fault,
        is_coercible=True,
        other_names={"bool": ""},
    ),
    PlainType(
        name="int",
        in_json="a whole number of 32 bits",
        column="int",
        decoded=_whole(32),
        arrow=("int32",),
        iceberg=("IntegerType",),
        fault=partial(json_values.whole_fault, 32),
        compared=json_values.number,
        is_ordered=True,
        is_coercible=True,
        is_whole=True,
        is_map_key=True,
        wider=("long",),
    ),
    PlainType(
        name="long",
        in_json="a whole number of 64 bits",
        column="long",
        decoded=_whole(64),
        arrow=("int64",),
        iceberg=("LongType",),
        fault=partial(json_values.whole_fault, 64),
        compared=json_values.number,
        is_ordered=True,
        is_coercible=True,
        is_whole=True,
        is_map_key=True,
        other_names={"bigint": ""},
    ),
    PlainType(
        name="float",
        in_json="a number",
        column="float",
        decoded=float,
        arrow=("float32",),
        iceberg=("FloatType",),
        fault=partial(json_values.number_fault, "float", "<f"),
        compared=json_values.number_of_32_bits,
        build="floats",
        is_ordered=True,
        is_coercible=True,
        partitions=(),
        wider=("double",),
        other_names={"real": ""},
    ),
    PlainType(
        name="double",
        in_json="a number",
        column="double",
        decoded=float,
        arrow=("float64",),
        iceberg=("DoubleType",),
        fault=partial(json_values.number_fault, "double", "<d"),
        compared=json_values.number,
        is_ordered=True,
        is_coercible=True,
        partitions=(),
    ),
    DECIMAL,
    PlainType(
        name="date",
        in_json='`"2026-01-15"`',
        column="date",
        decoded=date,
        arrow=("date32",),
        iceberg=("DateType",),
        fault=partial(json_values.text_fault, "date", date),
        compared=partial(json_values.time_of, date),
        is_ordered=True,
        partitions=("identity", "day"),
        drafted_from=re.compile(_DAY),
    ),
    PlainType(
        name="time",
        in_json='`"12:00:00.5"`, no zone',
        column="time, microseconds; finer ones are cut off",
        decoded=str,  # parsed a column at a time, as timestamps are: msgspec would round 23:59:59.9999999 to midnight
        arrow=("time64", "us"),
        iceberg=("TimeType",),
        fault=partial(json_values.text_fault, "time", json_values.TIME),
        compared=partial(json_values.time_of, json_values.TIME),
        build="times",
        is_ordered=True,
        drafted_from=re.compile(rf"{_CLOCK}(\.\d{{1,6}})?"),
    ),
    PlainType(
        name="timestamp",
        in_json='`"2026-01-15T12:00:00Z"`, any offset, no zone is UTC; or a number with `format`',
        column="timestamptz, microseconds; finer ones are cut off",
        decoded=str,  # parsed a column at a time: six times as fast as one datetime object each
        arrow=("timestamp", "us", "UTC"),
        iceberg=("TimestamptzType",),
        fault=json_values.timestamp_fault,
        compared=json_values.moment,
        build="timestamps",
        is_ordered=True,
        partitions=("identity", "day", "hour"),
        drafted_from=re.compile(rf"{_DAY}[Tt ]{_CLOCK}(\.\d{{1,9}})?{_ZONE}?"),
        other_names={
            "timestamptz": "it is stored as timestamptz, in UTC",
            "timestamp_ns": "microseconds, in UTC",
            "timestamptz_ns": "microseconds, in UTC",
            "datetime": "",
        },
    ),
    PlainType(
        name="string",
        in_json="text",
        column="string",
        decoded=str,
        arrow=("string",),
        iceberg=("StringType",),
        fault=partial(json_values.text_fault, "string", str),
        refused_as=RejectCode.BAD_TEXT,
        is_text=True,
        is_coercible=True,
        is_map_key=True,
        other_names={"str": "", "text": "", "varchar": ""},
    ),
    PlainType(
        name="uuid",
        in_json="text",
        column="uuid",
        decoded=UUID,
        arrow=("uuid",),
        iceberg=("UUIDType",),
        fault=partial(json_values.text_fault, "uuid", UUID),
        build="uuids",
        drafted_from=re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"),
    ),
    PlainType(
        name="binary",
        in_json="base64 text",
        column="binary",
        decoded=bytes,
        arrow=("binary",),
        iceberg=("BinaryType",),
        fault=partial(json_values.text_fault, "binary", bytes),
        refused_as=RejectCode.BAD_TEXT,
        partitions=(),
        other_names={"bytes": ""},
    ),
    PlainType(
        name="json",
        in_json="any value",
        column="string: the JSON text as it stood",
        decoded=msgspec.Raw,
        arrow=("string",),
        iceberg=("StringType",),
        fault=json_values.json_fault,
        build="json_texts",
        refused_as=RejectCode.BAD_TEXT,
        partitions=(),
    ),
)
"""Every row, in the order in which people read them."""

PLAIN_TYPES = {row.name: row for row in FIELD_TYPES if row is not DECIMAL}
"""The rows of types that are a name alone."""

DECIMAL_NAME = re.compile(r"decimal\(\s*(\d{1,3})\s*,\s*(\d{1,3})\s*\)")


@lru_cache(maxsize=1000)
def plain_type(name: str) -> PlainType:
    """The row of a checked plain type, a decimal's with its digits; KeyError when there is none."""
    match = DECIMAL_NAME.fullmatch(name)
    if match is None:
        return PLAIN_TYPES[name]
    digits = int(match[1]), int(match[2])
    return replace(
        DECIMAL,
        name=name,
        arrow=(*DECIMAL.arrow, *digits),
        iceberg=(*DECIMAL.iceberg, *digits),
        fault=partial(json_values.decimal_fault, digits),
        digits=digits,
    )


def map_keys() -> list[str]:
    """What the keys of a map may be."""
    return [row.name for row in sorted(PLAIN_TYPES.values(), key=lambda row: not row.is_text) if row.is_map_key]


def row_of(type_: FieldType) -> PlainType | None:
    """The row of a checked type; None of a struct, list or map."""
    return None if isinstance(type_, dict) else plain_type(type_)
