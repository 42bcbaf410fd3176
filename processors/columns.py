"""Decoded values → Arrow columns, a column at a time.

A column that Arrow cannot hold, or that breaks its field's promise, raises one of FAULTS: the caller looks for the
values that are at fault by building ever smaller columns.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from decimal import Decimal
from itertools import accumulate, chain
from operator import attrgetter
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from metadata.definition import Definition, Field, FieldType, decimal_digits, fit_decimal
from processors.schema import NULL, arrow_type

Build = Callable[[list[Any]], pa.Array]

_SEPARATOR = b"\x1f"  # no JSON text can hold it: control characters are escaped
_TIMESTAMP = pa.timestamp("us", tz="UTC")
_FIRST_MICROSECOND = -62_135_596_800_000_000  # year 1
_LAST_MICROSECOND = 253_402_300_799_999_999  # year 9999
_string = msgspec.json.Decoder(str)


class ColumnError(ValueError):
    """A value that its column cannot take; `code` is that of a rejected record."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


FAULTS = (ColumnError, pa.ArrowException, msgspec.MsgspecError, ValueError, OverflowError, TypeError)
"""What building a column raises when a value does not fit; pa.ArrowException covers columns beyond 2 GiB too."""


class Columns:
    """Builds the columns of one definition from its decoded records."""

    def __init__(self, definition: Definition) -> None:
        self.fields = definition.fields
        self._columns = [
            (field, attrgetter(f"f{number}"), _builder(field)) for number, field in enumerate(definition.fields)
        ]

    def build(self, records: Sequence[msgspec.Struct]) -> list[pa.Array]:
        """One array a field; raises one of FAULTS when any value does not fit."""
        return [self.column(number, records) for number in range(len(self._columns))]

    def column(self, number: int, records: Sequence[msgspec.Struct]) -> pa.Array:
        """The array of one field; raises one of FAULTS when any value does not fit."""
        field, value_of, build = self._columns[number]
        array = build(list(map(value_of, records)))
        if isinstance(array, pa.ChunkedArray):
            raise ColumnError("out_of_range", "more than 2 GiB in one column")
        if array.null_count and not field.nullable:
            raise ColumnError("null_not_allowed", "it is null")
        return array


def _builder(field: Field) -> Build:
    if field.coerce:
        return _coerced
    if field.format is not None:
        scale = 1e6 if field.format == "epoch_s" else 1e3
        return lambda values: _epoch(values, scale)
    return _build(field.type)


def _build(type_: FieldType, required: bool = False) -> Build:
    """`required` forbids nulls inside of nested types; msgspec has seen to all but those of raw JSON."""
    if isinstance(type_, dict):
        match type_["type"]:
            case "list":
                return _list_builder(type_)
            case "map":
                return _map_builder(type_)
            case _:
                return _struct_builder(type_)
    match type_:
        case "json":
            return _required_json if required else _json
        case "timestamp":
            return _timestamps
        case "float":
            return _floats
        case "uuid":
            return _uuids
    arrow = arrow_type(type_)
    digits = decimal_digits(type_)
    if digits:
        return lambda values: _decimals(values, *digits)
    return lambda values: pa.array(values, arrow)


def _json(raws: list[Any]) -> pa.Array:
    """JSON texts as they stood; `null` becomes null."""
    return _joined(raws)[0]


def _required_json(raws: list[Any]) -> pa.Array:
    array = _json(raws)
    if array.null_count and any(isinstance(raw, msgspec.Raw) and bytes(raw) == NULL for raw in raws):
        raise ColumnError("null_not_allowed", "it holds a null")  # other nulls stand for structs that are null
    return array


def _coerced(raws: list[Any]) -> pa.Array:
    """Strings by their text, numbers and booleans by their JSON text."""
    array, joined = _joined(raws)
    if _SEPARATOR + b"{" in joined or _SEPARATOR + b"[" in joined:
        raise ColumnError("wrong_type", "Expected a string, number or boolean, got an object or array")
    if b'"' not in joined:
        return array
    # Where nothing is escaped, the only quotes are those around strings.
    plain = pc.ascii_trim(array, characters='"')
    if b"\\" not in joined:
        return plain
    escaped = pc.fill_null(pc.match_substring(array, "\\"), False)
    texts = [_string.decode(text) for text in array.filter(escaped).to_pylist()]
    return pc.replace_with_mask(plain, escaped, pa.array(texts, pa.string()))


def _joined(raws: list[Any]) -> tuple[pa.Array, bytes]:
    """Raw JSON values as one string array, made in one go: a Python object a value would cost three times as much.

    Beside it the bytes it was made from, with a separator before each value.
    """
    if not raws:
        return pa.array([], pa.string()), b""
    joined = _SEPARATOR.join([b"", *raws])
    if len(joined) >= 2**31:
        raise ColumnError("out_of_range", "more than 2 GiB in one column")
    whole = pa.array([memoryview(joined)[1:]], pa.binary())
    try:
        checked = whole.cast(pa.string())
    except pa.ArrowInvalid as error:
        raise ColumnError("bad_text", "its text is no UTF-8") from error
    texts = pc.split_pattern(checked, _SEPARATOR.decode()).flatten()
    if len(texts) != len(raws):
        raise ColumnError("bad_text", "Expected JSON, got a control character")
    if _SEPARATOR + NULL in joined:
        texts = pc.if_else(pc.equal(texts, NULL.decode()), None, texts)
    return texts, joined


def _timestamps(values: list[str | None]) -> pa.Array:
    """RFC 3339 texts; without a zone they are UTC.

    Arrow's parser is six times as fast as a datetime a value, but accepts more (minutes only, a bare `+01`): it gets
    the forms in which it cannot, and msgspec all others.
    """
    texts = pa.array(values, pa.string())
    try:
        array = _parse_common_forms(texts)
    except pa.ArrowInvalid:
        array = None
    if array is None:
        array = pa.array(msgspec.convert(values, list[datetime | None]), _TIMESTAMP)
    ends = pc.min_max(array.view(pa.int64()))
    if (
        ends["min"].is_valid
        and not _FIRST_MICROSECOND <= ends["min"].as_py() <= ends["max"].as_py() <= _LAST_MICROSECOND
    ):
        raise ColumnError("out_of_range", "Expected a time in the years 1 to 9999, UTC")
    return array


def _parse_common_forms(texts: pa.Array) -> pa.Array | None:
    shortest = pc.min(pc.binary_length(texts)).as_py()
    for zone, length in (("Z", 20), ("+00:00", 25)):
        if pc.all(pc.ends_with(texts, zone), min_count=0).as_py():
            return texts.cast(_TIMESTAMP) if shortest is None or shortest >= length else None
    if shortest >= 19:
        return texts.cast(pa.timestamp("us")).cast(_TIMESTAMP)  # refuses any zone
    return None


def _epoch(values: list[float | None], scale: float) -> pa.Array:
    microseconds = pc.round(pc.multiply(pa.array(values, pa.float64()), scale))
    return microseconds.cast(pa.int64()).cast(_TIMESTAMP)


def _floats(values: list[float | None]) -> pa.Array:
    array = pa.array(values, pa.float32())
    if pc.any(pc.is_inf(array)).as_py():
        raise ColumnError("out_of_range", "Expected `float` of 32 bits")
    return array


def _decimals(values: list[Decimal | None], precision: int, scale: int) -> pa.Array:
    """Checked before Arrow sees them: it takes 1e-77 for nought and crashes the process on 1e-99999999."""
    try:
        fitting = [None if value is None else fit_decimal(value, precision, scale) for value in values]
    except OverflowError as error:
        raise ColumnError("out_of_range", f"the number {error}") from error
    except ValueError as error:
        raise ColumnError("bad_decimal", f"the text {error}") from error
    return pa.array(fitting, pa.decimal128(precision, scale))


def _uuids(values: list[Any]) -> pa.Array:
    storage = pa.array([None if value is None else value.bytes for value in values], pa.binary(16))
    return pa.ExtensionArray.from_storage(pa.uuid(), storage)


def _list_builder(type_: dict[str, Any]) -> Build:
    arrow, build = arrow_type(type_), _build(type_["element"], type_["element-required"])

    def lists(values: list[list[Any] | None]) -> pa.Array:
        items = build(list(chain.from_iterable(value for value in values if value)))
        return pa.ListArray.from_arrays(_offsets(values), items, type=arrow, mask=_mask(values))

    return lists


def _map_builder(type_: dict[str, Any]) -> Build:
    arrow, build_key, build_value = (
        arrow_type(type_),
        _build(type_["key"]),
        _build(type_["value"], type_["value-required"]),
    )

    def maps(values: list[dict[Any, Any] | None]) -> pa.Array:
        full = [value for value in values if value]
        keys = build_key(list(chain.from_iterable(full)))
        items = build_value(list(chain.from_iterable(value.values() for value in full)))
        return pa.MapArray.from_arrays(_offsets(values), keys, items, type=arrow, mask=_mask(values))

    return maps


def _struct_builder(type_: dict[str, Any]) -> Build:
    arrow = arrow_type(type_)
    parts = [
        (attrgetter(f"f{number}"), _build(inner["type"], inner["required"]), NULL if inner["type"] == "json" else None)
        for number, inner in enumerate(type_["fields"])
    ]

    def structs(values: list[msgspec.Struct | None]) -> pa.Array:
        arrays = [
            build([missing if value is None else value_of(value) for value in values])
            for value_of, build, missing in parts
        ]
        return pa.StructArray.from_arrays(arrays, fields=list(arrow), mask=_mask(values))

    return structs


def _offsets(values: Sequence[Any]) -> pa.Array:
    return pa.array(accumulate((len(value) if value else 0 for value in values), initial=0), pa.int32())


def _mask(values: Sequence[Any]) -> pa.Array:
    return pa.array([value is None for value in values], pa.bool_())


def column_code(type_: FieldType) -> str:
    """The code of a rejected record when only Arrow says that a value does not fit."""
    return "bad_text" if type_ in ("string", "json", "binary") else "out_of_range"
