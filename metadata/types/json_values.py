"""Values as they stand in JSON: whether one is of a field's type, why not, and what it is when compared."""

from __future__ import annotations

import json
import math
import re
import struct
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, time
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any
from uuid import UUID

import msgspec

from metadata.types.definition import FieldType, decimal_digits
from metadata.types.fault_list import is_int, show

EPOCH_RANGE = (-62_135_596_800, 253_402_300_799)
"""The years 1 to 9999, in seconds since 1970: the times that a timestamp can be."""

EPOCH_MICROSECONDS = {"epoch_s": 1_000_000, "epoch_ms": 1_000}
"""How many microseconds one of a timestamp's `format` is."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TEXTS: dict[str, Any] = {  # what the decoder of records makes of a text, so that both take the same
    "string": str,
    "binary": bytes,
    "uuid": UUID,
    "date": date,
    "time": Annotated[time, msgspec.Meta(tz=False)],
    "timestamp": datetime,
}


def fit_decimal(number: Decimal, precision: int, scale: int) -> Decimal:
    """The same number with no more than `scale` decimals written out, so that nothing has to be rounded later.

    Raises ValueError when it is no finite number, and OverflowError when it needs other digits than the type has.
    """
    sign, digits, exponent = number.as_tuple()
    if not isinstance(exponent, int):
        raise ValueError("is no number")
    if not number:
        return Decimal(0)
    if number.adjusted() >= precision - scale:
        raise OverflowError(f"does not fit in decimal({precision},{scale})")
    surplus = -scale - exponent
    if surplus <= 0:
        return number
    if surplus >= len(digits) or any(digits[-surplus:]):
        raise OverflowError(f"does not fit in decimal({precision},{scale}) without rounding")
    return Decimal((sign, digits[:-surplus], -scale))


def value_fault(value: object, type_: FieldType, format_: str | None = None, coerce: bool = False) -> str | None:
    """Why this JSON value is none of that type, or None when it is."""
    if isinstance(type_, dict):
        return _nested_fault(value, type_)
    if coerce and type_ != "string" and isinstance(value, str):
        try:
            value = number_of(value)
        except ValueError:
            return f"is text that holds no {type_}"
    if type_ == "json":
        return _json_fault(value)
    if type_ == "boolean":
        return None if isinstance(value, bool) else "must be true or false"
    if type_ in ("int", "long"):
        return None if is_int(value) and _in_bits(value, type_) else f"must be a whole number of {_BITS[type_]} bits"
    if type_ in ("float", "double") or format_:
        return _number_fault(value, type_, format_)
    if (digits := decimal_digits(type_)) is not None:
        return _decimal_fault(value, *digits)
    if coerce and isinstance(value, int | float):
        return None if isinstance(value, int) or math.isfinite(value) else "must be a number"
    if not isinstance(value, str):
        return f"must be text, as a {type_} stands in JSON"
    return _text_fault(value, type_)


def native(value: Any, type_: str, format_: str | None = None) -> Any:
    """A JSON value that has no fault as values of its type are compared.

    Timestamps become datetimes in UTC, those with a `format` their microseconds since 1970.
    """
    if format_ is not None:
        whole, scale = math.floor(value), EPOCH_MICROSECONDS[format_]
        return whole * scale + round((value - whole) * float(scale))
    if type_ == "timestamp":
        at: datetime = msgspec.convert(cut_fraction(value), datetime)
        return at.replace(tzinfo=at.tzinfo or UTC).astimezone(UTC)
    if type_ in ("date", "time"):
        return msgspec.convert(cut_fraction(value), _TEXTS[type_])
    if decimal_digits(type_):
        return Decimal(str(value))
    if type_ in ("float", "double", "int", "long") and isinstance(value, str):
        value = number_of(value)
    return struct.unpack("<f", struct.pack("<f", value))[0] if type_ == "float" else value


def json_text(value: object) -> bytes:
    """The value as JSON; ValueError when no JSON text can hold it."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def number_of(text: str) -> Any:
    """What a text would be in JSON without its quotes: a number, true or false; ValueError when it is none of these."""
    try:
        value = msgspec.json.decode(text.encode())
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        value = None
    if value is None or not isinstance(value, int | float) or text != text.strip():
        raise ValueError("it is no number")
    return value


def cut_fraction(text: str) -> str:
    """A time's text without what is finer than a microsecond: rounded, 23:59:59.9999999 would be another day."""
    return _FINER.sub(r"\1", text)


_FINER = re.compile(r"(\.\d{6})\d+", re.ASCII)
_BITS = {"int": 32, "long": 64}


def _in_bits(value: int, type_: str) -> bool:
    half = 1 << (_BITS[type_] - 1)
    return -half <= value < half


def _number_fault(value: object, type_: str, format_: str | None) -> str | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "must be a number"
    try:
        finite = math.isfinite(float(value))
        struct.pack("<f" if type_ == "float" else "<d", float(value))
    except OverflowError:
        finite = False
    if not finite:
        return f"must be a number that a {type_} can hold"
    if format_ is None:
        return None
    seconds = native(value, type_, format_) / 1e6
    return None if EPOCH_RANGE[0] <= seconds < EPOCH_RANGE[1] + 1 else "must be a time in the years 1 to 9999"


def _text_fault(value: str, type_: str) -> str | None:
    try:
        value.encode()
        parsed = msgspec.convert(cut_fraction(value) if type_ in ("time", "timestamp") else value, _TEXTS[type_])
        if (
            type_ == "timestamp"
            and not EPOCH_RANGE[0]
            <= (parsed.replace(tzinfo=parsed.tzinfo or UTC) - _EPOCH).total_seconds()
            < EPOCH_RANGE[1] + 1
        ):
            return "must be a time in the years 1 to 9999, UTC"
    except msgspec.ValidationError:
        return f"is no {type_}"
    except UnicodeError:
        return f"is no {type_}: it holds half of a surrogate pair"
    return None


def _json_fault(value: object) -> str | None:
    try:
        json_text(value)
    except (ValueError, TypeError, RecursionError) as error:
        return f"cannot be kept as JSON: {error}"
    return None


def _nested_fault(value: object, type_: dict[str, Any]) -> str | None:
    if type_["type"] == "list":
        if not isinstance(value, list):
            return "must be a list"
        return _first_fault((item, type_["element"], type_["element-required"]) for item in value)
    if not isinstance(value, Mapping):
        return "must be a JSON object"
    if type_["type"] == "map":
        for key in value:
            if type_["key"] != "string" and not _is_key(key, type_["key"]):
                return f"has the key {show(key)}, which is no {type_['key']}"
        return _first_fault((item, type_["value"], type_["value-required"]) for item in value.values())
    return _first_fault((value.get(inner["name"]), inner["type"], inner["required"]) for inner in type_["fields"])


def _is_key(key: str, type_: str) -> bool:
    return re.fullmatch(r"-?(0|[1-9]\d*)", key, re.ASCII) is not None and len(key) < 20 and _in_bits(int(key), type_)


def _first_fault(values: Iterable[tuple[object, FieldType, bool]]) -> str | None:
    for value, type_, required in values:
        fault = (
            ("must not hold null" if required else None) if value is None else value_fault(value, type_, None, False)
        )
        if fault:
            return fault if value is None else f"holds {show(value)}, which {fault}"
    return None


def _decimal_fault(value: object, precision: int, scale: int) -> str | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return "must be a number or its text"
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        return "is no number"
    try:
        fit_decimal(number, precision, scale)
    except (ValueError, OverflowError) as error:
        return str(error)
    return None
