"""Decoded values → Arrow columns, a column at a time.

A column that Arrow cannot hold, or that breaks its field's promise, raises one of FAULTS: the caller looks for the
values that are at fault by building ever smaller columns.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, time
from decimal import Decimal
from itertools import accumulate, chain
from operator import attrgetter
from typing import Annotated, Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from metadata.reject_codes import RejectCode
from metadata.types.definition import Definition, Field, FieldType, decimal_digits
from metadata.types.fault_list import show
from metadata.types.json_values import EPOCH_MICROSECONDS, EPOCH_RANGE, cut_fraction, fit_decimal
from processors.decode.column_constraints import Constraints
from processors.decode.schema import NULL, arrow_type, json_type

Build = Callable[[list[Any]], pa.Array]

_SEPARATOR = b"\x1f"  # no JSON text can hold it: control characters are escaped
_PART = 256  # texts
_TIMESTAMP = pa.timestamp("us", tz="UTC")
_FINER = r"(\.\d{6})\d+"  # digits beyond microseconds are cut off: rounded, they could make another day
_FIRST_MICROSECOND, _LAST_MICROSECOND = EPOCH_RANGE[0] * 10**6, (EPOCH_RANGE[1] + 1) * 10**6 - 1
_Time = Annotated[time, msgspec.Meta(tz=False)]
_MICROSECONDS = len("12:00:00.123456")
_BLANKS = " \t\r\n"
OUT_OF_RANGE = re.compile(r"Number out of range|Expected `\w+` [<>]")
"""How msgspec begins to say that a number is too small or too large."""

_string = msgspec.json.Decoder(str)


class ColumnError(ValueError):
    """A value that its column cannot take; `code` is that of a rejected record.

    `rows`, when it is known, are the indexes of all values with the same kind of fault; there may be others of another.
    The message is about the first of them; `reason_of`, when there is one, says it of any of them.
    """

    def __init__(
        self,
        code: RejectCode,
        message: str,
        rows: Sequence[int] | None = None,
        reason_of: Callable[[int], str] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.rows = rows
        self.reason_of = reason_of


FAULTS = (ColumnError, pa.ArrowException, msgspec.MsgspecError, ValueError, OverflowError, TypeError)
"""What building a column raises when a value does not fit; pa.ArrowException covers columns beyond 2 GiB too."""


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
            raise ColumnError(RejectCode.NULL_NOT_ALLOWED, "it is null", _rows(array.is_null()))
        if constraints and (broken := constraints.broken(array)):
            rows, reason_of = broken
            raise ColumnError(RejectCode.CONSTRAINT_FAILED, reason_of(rows[0]), rows, reason_of)
        return array


def _builder(field: Field) -> Build:
    if field.coerce and field.type == "string":
        return _coerced
    if field.coerce and not decimal_digits(field.type):  # decimals take their text anyway
        return _coerced_numbers(field.type)
    if field.format is not None:
        scale = EPOCH_MICROSECONDS[field.format]
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
        case "time":
            return _times
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
        raise ColumnError(RejectCode.NULL_NOT_ALLOWED, "it holds a null")  # other nulls stand for structs that are null
    return array


def _coerced(raws: list[Any]) -> pa.Array:
    """Strings by their text, numbers and booleans by their JSON text."""
    array, joined = _joined(raws)
    if _SEPARATOR + b"{" in joined or _SEPARATOR + b"[" in joined:
        rows = _rows(pc.or_(pc.starts_with(array, "{"), pc.starts_with(array, "[")))
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


def _coerced_numbers(type_: FieldType) -> Build:
    """Numbers and booleans, and texts that hold one: as if the quotes were not there."""
    build, one = _build(type_), json_type(type_)
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
            raise ColumnError(code, f"Expected `{type_}`, got the text {show(values[row])}", [row for row, _ in faults])
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


def _joined(raws: list[Any]) -> tuple[pa.Array, bytes]:
    """Raw JSON values as one string array, made in one go: a Python object a value would cost three times as much.

    Beside it the bytes it was made from, with a separator before each value.
    """
    if not raws:
        return pa.array([], pa.string()), b""
    joined = _SEPARATOR.join([b"", *raws])
    if len(joined) >= 2**31:
        raise ColumnError(RejectCode.OUT_OF_RANGE, "more than 2 GiB in one column")
    whole = pa.array([memoryview(joined)[1:]], pa.binary())
    try:
        checked = whole.cast(pa.string())
    except pa.ArrowInvalid as error:
        rows = [row for row, raw in enumerate(raws) if not _is_utf8(raw)]
        raise ColumnError(RejectCode.BAD_TEXT, "its text is no UTF-8", rows) from error
    texts = pc.split_pattern(checked, _SEPARATOR.decode()).flatten()
    if len(texts) != len(raws):
        raise ColumnError(RejectCode.BAD_TEXT, "Expected JSON, got a control character")
    if _SEPARATOR + NULL in joined:
        texts = pc.if_else(pc.equal(texts, NULL.decode()), None, texts)
    return texts, joined


def _timestamps(values: list[str | None]) -> pa.Array:
    """RFC 3339 texts; without a zone they are UTC.

    Arrow's parser is six times as fast as a datetime a value, but accepts more (minutes only, a bare `+01`): it gets
    the forms in which it cannot, and msgspec all others.
    """
    texts = pa.array(values, pa.string())
    array = _parse_common_forms(texts)
    if array is None and pc.any(pc.match_substring_regex(texts, _FINER)).as_py():
        texts = pc.replace_substring_regex(texts, _FINER, r"\1")
        array = _parse_common_forms(texts)
    if array is None:
        array = pa.array(_converted(texts.to_pylist(), datetime), _TIMESTAMP)
    microseconds = array.view(pa.int64())
    ends = pc.min_max(microseconds)
    if (
        ends["min"].is_valid
        and not _FIRST_MICROSECOND <= ends["min"].as_py() <= ends["max"].as_py() <= _LAST_MICROSECOND
    ):
        beyond = pc.or_(pc.less(microseconds, _FIRST_MICROSECOND), pc.greater(microseconds, _LAST_MICROSECOND))
        raise ColumnError(RejectCode.OUT_OF_RANGE, "Expected a time in the years 1 to 9999, UTC", _rows(beyond))
    return array


def _parse_common_forms(texts: pa.Array) -> pa.Array | None:
    """The times, or None when Arrow cannot be trusted with their form or does not take one of them."""
    shortest = pc.min(pc.binary_length(texts)).as_py()
    try:
        for zone, length in (("Z", 20), ("+00:00", 25)):
            if pc.all(pc.ends_with(texts, zone), min_count=0).as_py():
                return texts.cast(_TIMESTAMP) if shortest is None or shortest >= length else None
        if shortest >= 19:
            return texts.cast(pa.timestamp("us")).cast(_TIMESTAMP)  # refuses any zone
    except pa.ArrowInvalid:
        return None
    return None


def _times(values: list[str | None]) -> pa.Array:
    """RFC 3339 times without a zone."""
    texts = [text if text is None or len(text) <= _MICROSECONDS else cut_fraction(text) for text in values]
    return pa.array(_converted(texts, _Time), pa.time64("us"))


def _converted(texts: list[str | None], type_: Any) -> list[Any]:
    """The texts as times of that type."""
    optional = type_ | None
    try:
        return msgspec.convert(texts, list[optional])  # type: ignore[valid-type] # made at run time
    except msgspec.ValidationError:
        faults = list(_conversion_faults(texts, list[optional]))  # type: ignore[valid-type] # made at run time
    raise ColumnError(RejectCode.BAD_TIMESTAMP, faults[0][1], [row for row, _ in faults])


def _conversion_faults(texts: list[str | None], type_: Any) -> Iterator[tuple[int, str]]:
    """Row and reason of each text that is no time; a part at a time, for one by one takes five times as long."""
    start = 0
    while start < len(texts):
        try:
            msgspec.convert(texts[start : start + _PART], type_)
            start += _PART
        except msgspec.ValidationError as error:
            reason, _, place = str(error).partition(" - at `$[")
            start += int(place.partition("]")[0])
            yield start, reason
            start += 1


def _epoch(values: list[float | None], scale: int) -> pa.Array:
    """Whole units apart from their fraction: together they have more digits than a double."""
    numbers = pa.array(values, pa.float64())
    whole = pc.floor(numbers)
    fraction = pc.round(pc.multiply(pc.subtract(numbers, whole), float(scale))).cast(pa.int64())
    return pc.add(pc.multiply(whole.cast(pa.int64()), scale), fraction).cast(_TIMESTAMP)


def _floats(values: list[float | None]) -> pa.Array:
    array = pa.array(values, pa.float32())
    if pc.any(infinite := pc.is_inf(array)).as_py():
        raise ColumnError(RejectCode.OUT_OF_RANGE, "Expected `float` of 32 bits", _rows(infinite))
    return array


def _decimals(values: list[Decimal | None], precision: int, scale: int) -> pa.Array:
    """Checked before Arrow sees them: it takes 1e-77 for nought and crashes the process on 1e-99999999."""
    try:
        fitting = [None if value is None else fit_decimal(value, precision, scale) for value in values]
    except (OverflowError, ValueError):
        faults = [
            (row, fault) for row, value in enumerate(values) if (fault := _decimal_fault(value, precision, scale))
        ]
        (_, (code, reason)), rows = faults[0], [row for row, _ in faults]
        raise ColumnError(code, reason, rows) from None
    return pa.array(fitting, pa.decimal128(precision, scale))


def _decimal_fault(value: Decimal | None, precision: int, scale: int) -> tuple[RejectCode, str] | None:
    try:
        if value is not None:
            fit_decimal(value, precision, scale)
    except OverflowError as error:
        return RejectCode.OUT_OF_RANGE, f"the number {error}"
    except ValueError as error:
        return RejectCode.BAD_DECIMAL, f"the text {error}"
    return None


def _rows(mask: pa.Array) -> list[int]:
    """Where the mask is true."""
    found: list[int] = pc.indices_nonzero(pc.fill_null(mask, False)).to_pylist()
    return found


def _is_utf8(raw: Any) -> bool:
    try:
        str(raw, "utf-8")
    except UnicodeDecodeError:
        return False
    return True


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


def column_code(type_: FieldType) -> RejectCode:
    """The code of a rejected record when only Arrow says that a value does not fit."""
    return RejectCode.BAD_TEXT if type_ in ("string", "json", "binary") else RejectCode.OUT_OF_RANGE
