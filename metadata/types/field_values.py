"""JSON values and the types of fields, nested ones too: whether a value is of a type, and what it is when compared."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

from metadata.types.fault_list import show
from metadata.types.field_types import PLAIN_TYPES, FieldType, plain_type, row_of
from metadata.types.json_values import epoch_fault, microseconds, number_of


def value_fault(value: object, type_: FieldType, format_: str | None = None, coerce: bool = False) -> str | None:
    """Why this JSON value is none of that type, or None when it is."""
    if isinstance(type_, dict):
        return _nested_fault(value, type_)
    row = plain_type(type_)
    if coerce and row.is_text and isinstance(value, int | float):
        return None if isinstance(value, int) or math.isfinite(value) else "must be a number"
    if coerce and not row.is_text and isinstance(value, str):
        try:
            value = number_of(value)
        except ValueError:
            return f"is text that holds no {type_}"
    return row.fault(value) if format_ is None else epoch_fault(format_, value)


def native(value: Any, type_: FieldType, format_: str | None = None) -> Any:
    """A JSON value of a plain type that has no fault as values of its type are compared.

    Timestamps become datetimes in UTC, those with a `format` their microseconds since 1970.
    """
    if format_ is not None:
        return microseconds(format_, value)
    row = row_of(type_)
    return row.compared(value) if row else value


def _nested_fault(value: object, type_: dict[str, Any]) -> str | None:
    if type_["type"] == "list":
        if not isinstance(value, list):
            return "must be a list"
        return _first_fault((item, type_["element"], type_["element-required"]) for item in value)
    if not isinstance(value, Mapping):
        return "must be a JSON object"
    if type_["type"] == "map":
        for key in value:
            if not _is_key(key, type_["key"]):
                return f"has the key {show(key)}, which is no {type_['key']}"
        return _first_fault((item, type_["value"], type_["value-required"]) for item in value.values())
    return _first_fault((value.get(inner["name"]), inner["type"], inner["required"]) for inner in type_["fields"])


def _is_key(key: str, type_: str) -> bool:
    row = PLAIN_TYPES[type_]
    if not row.is_whole:
        return True  # any key is a text
    return re.fullmatch(r"-?(0|[1-9]\d*)", key, re.ASCII) is not None and len(key) < 20 and not row.fault(int(key))


def _first_fault(values: Iterable[tuple[object, FieldType, bool]]) -> str | None:
    for value, type_, required in values:
        fault = (
            ("must not hold null" if required else None) if value is None else value_fault(value, type_, None, False)
        )
        if fault:
            return fault if value is None else f"holds {show(value)}, which {fault}"
    return None
