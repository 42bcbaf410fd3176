"""Decoded values → Arrow columns, a column at a time.

A column that Arrow cannot hold, or that breaks its field's promise, raises one of FAULTS: the caller looks for the
values that are at fault by building ever smaller columns.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import partial
from itertools import accumulate, chain
from operator import attrgetter
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from metadata.reject_codes import RejectCode
from metadata.types.definition import Definition, Field
from metadata.types.fault_list import show
from metadata.types.field_types import FieldType, PlainType, plain_type, row_of
from metadata.types.json_values import EPOCH_MICROSECONDS
from processors.decode import column_builders
from processors.decode.column_builders import SEPARATOR, ColumnError, joined_texts, rows_of
from processors.decode.column_constraints import Constraints
from processors.decode.schema import NULL, arrow_type, missing_of

Build = Callable[[list[Any]], pa.Array]

_BLANKS = " \t\r\n"
OUT_OF_RANGE = re.compile(r"Number out of range|Expected `\w+` [<>]")
"""How msgspec begins to say that a number is too small or too large."""

_string = msgspec.json.Decoder(str)


class Columns:
    """Builds the columns of one definition from its decoded records."""

    def __init__(self, definition: Definition) -> None:
        self.fields = definition.fields
        self._columns = [
            (field, attrgetter(f"f{number}"), _builder(field), Constraints(field))
            for number, field in enumerate(definition.fields)
        ]

    def build(self, records: Sequence[msgspec.Struct]) -> list[pa.Array]:
        """One array a field; raises one of FAULTS when any value does not fit."""
        return [self.column(number, records) for number in range(len(self._columns))]

    def column(self, number: int, records: Sequence[msgspec.Struct]) -> pa.Array:
        """The array of one field; raises one of FAULTS when any value does not fit."""
        field, value_of, build, constraints = self._columns[number]
        array = build(list(map(value_of, records)))
        if isinstance(array, pa.ChunkedArray):
            raise ColumnError(RejectCode.OUT_OF_RANGE, "more than 2 GiB in one column")
        if array.null_count and not field.nullable:
            raise ColumnError(RejectCode.NULL_NOT_ALLOWED, "it is null", rows_of(array.is_null()))
        if constraints and (broken := constraints.broken(array)):
            rows, reason_of = broken
            raise ColumnError(RejectCode.CONSTRAINT_FAILED, reason_of(rows[0]), rows, reason_of)
        return array


def _builder(field: Field) -> Build:
    row = row_of(field.type)
    if field.coerce and row is not None and row.digits is None:  # decimals take their text anyway
        return _coerced if row.is_text else _coerced_numbers(row)
    if field.format is not None:
        scale = EPOCH_MICROSECONDS[field.format]
        return partial(column_builders.epochs, arrow=arrow_type(field.type), scale=scale)
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
    row = plain_type(type_)
    build: Build = partial(getattr(column_builders, row.build), arrow=arrow_type(type_))
    return _without_null(build) if required and row.is_raw else build


def _without_null(build: Build) -> Build:
    def values(raws: list[Any]) -> pa.Array:
        array = build(raws)
        if array.null_count and any(isinstance(raw, msgspec.Raw) and bytes(raw) == NULL for raw in raws):
            raise ColumnError(RejectCode.NULL_NOT_ALLOWED, "it holds a null")  # other nulls stand for structs that are
        return array

    return values


def _coerced(raws: list[Any]) -> pa.Array:
    """Strings by their text, numbers and booleans by their JSON text."""
    array, joined = joined_texts(raws)
    if SEPARATOR + b"{" in joined or SEPARATOR + b"[" in joined:
        rows = rows_of(pc.or_(pc.starts_with(array, "{"), pc.starts_with(array, "[")))
        raise ColumnError(RejectCode.WRONG_TYPE, "Expected a string, number or boolean, got an object or array", rows)
    if b'"' not in joined:
        return array
    # Where nothing is escaped, the only quotes are those around strings.
    plain = pc.ascii_trim(array, characters='"')
    if b"\\" not in joined:
        return plain
    escaped = pc.fill_null(pc.match_substring(array, "\\"), False)
    texts = [_string.decode(text) for text in array.filter(escaped).to_pylist()]
    return pc.replace_with_mask(plain, escaped, pa.array(texts, pa.string()))


def _coerced_numbers(type_: PlainType) -> Build:
    """Numbers and booleans, and texts that hold one: as if the quotes were not there."""
    build, one = _build(type_.name), type_.decoded
    many = msgspec.json.Decoder(list[one])  # type: ignore[valid-type] # made at run time

    def numbers(values: list[Any]) -> pa.Array:
        rows = [row for row, value in enumerate(values) if type(value) is str]
        if not rows:
            return build(values)
        texts = [values[row] for row in rows]
        joined = ",".join(texts)
        try:
            found = [] if any(blank in joined for blank in _BLANKS) else many.decode(f"[{joined}]")
        except msgspec.DecodeError:
            found = []
        if len(found) != len(texts):
            faults = [(row, fault) for row, text in zip(rows, texts, strict=True) if (fault := _text_fault(text, one))]
            row, code = faults[0]
            raise ColumnError(
                code, f"Expected `{type_.name}`, got the text {show(values[row])}", [row for row, _ in faults]
            )
        values = list(values)
        for row, number in zip(rows, found, strict=True):
            values[row] = number
        return build(values)

    return numbers


def _text_fault(text: str, type_: Any) -> RejectCode | None:
    """The code of a text that holds no value of that type."""
    try:
        msgspec.json.decode(text, type=type_)
    except msgspec.ValidationError as error:
        return RejectCode.OUT_OF_RANGE if OUT_OF_RANGE.match(str(error)) else RejectCode.WRONG_TYPE
    except msgspec.DecodeError:
        return RejectCode.WRONG_TYPE
    return RejectCode.WRONG_TYPE if any(blank in text for blank in _BLANKS) else None


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
        (attrgetter(f"f{number}"), _build(inner["type"], inner["required"]), missing_of(inner["type"]))
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
