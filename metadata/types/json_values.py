"""Single values as they stand in JSON: whether one is of a plain type, why not, and what it is when compared.

What the rows of `metadata.types.field_types` are made of; `metadata.types.field_values` asks for any type of field.
"""

from __future__ import annotations

import json
import math
import re
import struct
from datetime import UTC, datetime, time
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any

import msgspec

from metadata.types.fault_list import is_int

EPOCH_RANGE = (-62_135_596_800, 253_402_300_799)
"""The years 1 to 9999, in seconds since 1970: the times that a timestamp can be."""

EPOCH_MICROSECONDS = {"epoch_s": 1_000_000, "epoch_ms": 1_000}
"""How many microseconds one of a timestamp's `format` is."""

TIME = Annotated[time, msgspec.Meta(tz=False)]
"""A time of day without a zone, as msgspec checks it."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


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


# -- why a value is none of its type ----------------------------------------------------------------------------------


def boolean_fault(value: object) -> str | None:
    """Of true and false."""
    return None if isinstance(value, bool) else "must be true or false"


def whole_fault(bits: int, value: object) -> str | None:
    """Of whole numbers of so many bits."""
    half = 1 << (bits - 1)
    return None if is_int(value) and -half <= value < half else f"must be a whole number of {bits} bits"


def number_fault(name: str, format_: str, value: object) -> str | None:
    """Of numbers that are stored in that `format_` of the struct module."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "must be a number"
    try:
        finite = math.isfinite(float(value))
        struct.pack(format_, float(value))
    except OverflowError:
        finite = False
    return None if finite else f"must be a number that a {name} can hold"


def epoch_fault(format_: str, value: object) -> str | None:
    """Of times that are numbers."""
    if fault := number_fault("timestamp", "<d", value):
        return fault
    seconds = microseconds(format_, value) / 1e6
    return None if EPOCH_RANGE[0] <= seconds < EPOCH_RANGE[1] + 1 else "must be a time in the years 1 to 9999"


def decimal_fault(digits: tuple[int, int], value: object) -> str | None:
    """Of decimals: `digits` are how many there are in all, and behind the point."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return "must be a number or its text"
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        return "is no number"
    try:
        fit_decimal(number, *digits)
    except (ValueError, OverflowError) as error:
        return str(error)
    return None


def text_fault(name: str, type_: Any, value: object) -> str | None:
    """Of texts of which msgspec makes a `type_`."""
    if not isinstance(value, str):
        return f"must be text, as a {name} stands in JSON"
    try:
        value.encode()
        msgspec.convert(cut_fraction(value) if type_ in (TIME, datetime) else value, type_)
    except msgspec.ValidationError:
        return f"is no {name}"
    except UnicodeError:
        return f"is no {name}: it holds half of a surrogate pair"
    return None


def timestamp_fault(value: object) -> str | None:
    """Of times that are text."""
    if fault := text_fault("timestamp", datetime, value):
        return fault
    at: datetime = msgspec.convert(cut_fraction(str(value)), datetime)
    seconds = (at.replace(tzinfo=at.tzinfo or UTC) - _EPOCH).total_seconds()
    return None if EPOCH_RANGE[0] <= seconds < EPOCH_RANGE[1] + 1 else "must be a time in the years 1 to 9999, UTC"


def json_fault(value: object) -> str | None:
    """Of anything that JSON can hold."""
    try:
        json_text(value)
    except (ValueError, TypeError, RecursionError) as error:
        return f"cannot be kept as JSON: {error}"
    return None


# -- values without fault, as they are compared -----------------------------------------------------------------------


def unchanged(value: Any) -> Any:
    """The value itself."""
    return value


def number(value: Any) -> Any:
    """A number, also one that stands as text."""
    return number_of(value) if isinstance(value, str) else value


def number_of_32_bits(value: Any) -> Any:
    """The number that a float of 32 bits makes of it."""
    return struct.unpack("<f", struct.pack("<f", number(value)))[0]


def decimal(value: Any) -> Decimal:
    """A number or its text as a decimal."""
    return Decimal(str(value))


def time_of(type_: Any, text: str) -> Any:
    """The date or time of a text."""
    return msgspec.convert(cut_fraction(text), type_)


def moment(text: str) -> datetime:
    """The time of a text in UTC; without a zone it is UTC's."""
    at: datetime = msgspec.convert(cut_fraction(text), datetime)
    return at.replace(tzinfo=at.tzinfo or UTC).astimezone(UTC)


def microseconds(format_: str, value: Any) -> int:
    """A time that is a number, in microseconds since 1970."""
    whole, scale = math.floor(value), EPOCH_MICROSECONDS[format_]
    return int(whole * scale + round((value - whole) * float(scale)))
