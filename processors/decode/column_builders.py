"""Columns of plain types: what a row of `metadata.types.field_types` names, and what a column raises.

Each public function that takes `values` and `arrow` makes one Arrow array of a whole column's decoded values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from metadata.reject_codes import RejectCode
from metadata.types.json_values import EPOCH_RANGE, TIME, cut_fraction, fit_decimal
from processors.decode.schema import NULL

SEPARATOR = b"\x1f"
"""Stands before each of `joined_texts`; no JSON text can hold it: control characters are escaped."""

_PART = 256  # texts
_FINER = r"(\.\d{6})\d+"  # digits beyond microseconds are cut off: rounded, they could make another day
_FIRST_MICROSECOND, _LAST_MICROSECOND = EPOCH_RANGE[0] * 10**6, (EPOCH_RANGE[1] + 1) * 10**6 - 1
_MICROSECONDS = len("12:00:00.123456")


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


def as_arrow(values: list[Any], arrow: pa.DataType) -> pa.Array:
    """Values of which Arrow itself makes the column."""
    return pa.array(values, arrow)


def json_texts(raws: list[Any], arrow: pa.DataType) -> pa.Array:
    """JSON texts as they stood; `null` becomes null."""
    return joined_texts(raws)[0]


def joined_texts(raws: list[Any]) -> tuple[pa.Array, bytes]:
    """Raw JSON values as one string array, made in one go: a Python object a value would cost three times as much.

    Beside it the bytes it was made from, with a separator before each value.
    """
    if not raws:
        return pa.array([], pa.string()), b""
    joined = SEPARATOR.join([b"", *raws])
    if len(joined) >= 2**31:
        raise ColumnError(RejectCode.OUT_OF_RANGE, "more than 2 GiB in one column")
    whole = pa.array([memoryview(joined)[1:]], pa.binary())
    try:
        checked = whole.cast(pa.string())
    except pa.ArrowInvalid as error:
        rows = [row for row, raw in enumerate(raws) if not _is_utf8(raw)]
        raise ColumnError(RejectCode.BAD_TEXT, "its text is no UTF-8", rows) from error
    texts = pc.split_pattern(checked, SEPARATOR.decode()).flatten()
    if len(texts) != len(raws):
        raise ColumnError(RejectCode.BAD_TEXT, "Expected JSON, got a control character")
    if SEPARATOR + NULL in joined:
        texts = pc.if_else(pc.equal(texts, NULL.decode()), None, texts)
    return texts, joined


def timestamps(values: list[str | None], arrow: pa.DataType) -> pa.Array:
    """RFC 3339 texts; without a zone they are UTC.

    Arrow's parser is six times as fast as a datetime a value, but accepts more (minutes only, a bare `+01`): it gets
    the forms in which it cannot, and msgspec all others.
    """
    texts = pa.array(values, pa.string())
    array = _parse_common_forms(texts, arrow)
    if array is None and pc.any(pc.match_substring_regex(texts, _FINER)).as_py():
        texts = pc.replace_substring_regex(texts, _FINER, r"\1")
        array = _parse_common_forms(texts, arrow)
    if array is None:
        array = pa.array(_converted(texts.to_pylist(), datetime), arrow)
    microseconds = array.view(pa.int64())
    ends = pc.min_max(microseconds)
    if (
        ends["min"].is_valid
        and not _FIRST_MICROSECOND <= ends["min"].as_py() <= ends["max"].as_py() <= _LAST_MICROSECOND
    ):
        beyond = pc.or_(pc.less(microseconds, _FIRST_MICROSECOND), pc.greater(microseconds, _LAST_MICROSECOND))
        raise ColumnError(RejectCode.OUT_OF_RANGE, "Expected a time in the years 1 to 9999, UTC", rows_of(beyond))
    return array


def _parse_common_forms(texts: pa.Array, arrow: pa.DataType) -> pa.Array | None:
    """The times, or None when Arrow cannot be trusted with their form or does not take one of them."""
    shortest = pc.min(pc.binary_length(texts)).as_py()
    try:
        for zone, length in (("Z", 20), ("+00:00", 25)):
            if pc.all(pc.ends_with(texts, zone), min_count=0).as_py():
                return texts.cast(arrow) if shortest is None or shortest >= length else None
        if shortest >= 19:
            return texts.cast(pa.timestamp(arrow.unit)).cast(arrow)  # refuses any zone
    except pa.ArrowInvalid:
        return None
    return None


def times(values: list[str | None], arrow: pa.DataType) -> pa.Array:
    """RFC 3339 times without a zone."""
    texts = [text if text is None or len(text) <= _MICROSECONDS else cut_fraction(text) for text in values]
    return pa.array(_converted(texts, TIME), arrow)


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


def epochs(values: list[float | None], arrow: pa.DataType, scale: int) -> pa.Array:
    """Numbers of which each unit is `scale` microseconds.

    Whole units apart from their fraction: together they have more digits than a double.
    """
    numbers = pa.array(values, pa.float64())
    whole = pc.floor(numbers)
    fraction = pc.round(pc.multiply(pc.subtract(numbers, whole), float(scale))).cast(pa.int64())
    return pc.add(pc.multiply(whole.cast(pa.int64()), scale), fraction).cast(arrow)


def floats(values: list[float | None], arrow: pa.DataType) -> pa.Array:
    """Numbers that may be too large for 32 bits."""
    array = pa.array(values, arrow)
    if pc.any(infinite := pc.is_inf(array)).as_py():
        raise ColumnError(RejectCode.OUT_OF_RANGE, "Expected `float` of 32 bits", rows_of(infinite))
    return array


def decimals(values: list[Decimal | None], arrow: pa.DataType) -> pa.Array:
    """Checked before Arrow sees them: it takes 1e-77 for nought and crashes the process on 1e-99999999."""
    precision, scale = arrow.precision, arrow.scale
    try:
        fitting = [None if value is None else fit_decimal(value, precision, scale) for value in values]
    except (OverflowError, ValueError):
        faults = [
            (row, fault) for row, value in enumerate(values) if (fault := _decimal_fault(value, precision, scale))
        ]
        (_, (code, reason)), rows = faults[0], [row for row, _ in faults]
        raise ColumnError(code, reason, rows) from None
    return pa.array(fitting, arrow)


def _decimal_fault(value: Decimal | None, precision: int, scale: int) -> tuple[RejectCode, str] | None:
    try:
        if value is not None:
            fit_decimal(value, precision, scale)
    except OverflowError as error:
        return RejectCode.OUT_OF_RANGE, f"the number {error}"
    except ValueError as error:
        return RejectCode.BAD_DECIMAL, f"the text {error}"
    return None


def rows_of(mask: pa.Array) -> list[int]:
    """Where the mask is true."""
    found: list[int] = pc.indices_nonzero(pc.fill_null(mask, False)).to_pylist()
    return found


def _is_utf8(raw: Any) -> bool:
    try:
        str(raw, "utf-8")
    except UnicodeDecodeError:
        return False
    return True


def uuids(values: list[Any], arrow: pa.DataType) -> pa.Array:
    """UUIDs by their sixteen bytes: Arrow makes no column of Python's."""
    storage = pa.array([None if value is None else value.bytes for value in values], arrow.storage_type)
    return pa.ExtensionArray.from_storage(arrow, storage)
