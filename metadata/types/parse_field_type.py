"""The type of a field as a definition gives it, in Iceberg's JSON form → the same type, checked and whole."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from metadata.types.definition import NAME
from metadata.types.fault_list import flag, show, unique, unknown_keys
from metadata.types.field_types import DECIMAL_NAME, FIELD_TYPES, PLAIN_TYPES, FieldType, map_keys

_MEANT = {  # names of which no single row can say what is meant
    "integer": 'use "int" (32 bits) or "long" (64 bits)',
    "number": 'use "double", "long" or "decimal(p,s)"',
    "decimal": 'give its digits, as in "decimal(10,2)"',
    "object": 'use "json", or a struct in Iceberg\'s JSON form',
    "array": "use a list in Iceberg's JSON form",
    "list": 'give its element, as in {"type": "list", "element": "string"}',
    "map": 'give its key and value, as in {"type": "map", "key": "string", "value": "long"}',
    "struct": 'give its fields, as in {"type": "struct", "fields": [{"name": "x", "type": "long"}]}',
}
_HINTS = _MEANT | {
    other: f'use "{row.name}"' + (f": {remark}" if remark else "")
    for row in FIELD_TYPES
    for other, remark in row.other_names.items()
}
_MAX_DEPTH = 16


def parse_field_type(raw: object, where: str, faults: list[str], depth: int = 0) -> FieldType | None:
    """The type without Iceberg's ids and with every key there; None when it has faults."""
    if depth > _MAX_DEPTH:
        faults.append(f"{where}: its type is nested deeper than {_MAX_DEPTH}")
        return None
    if isinstance(raw, str):
        return _parse_plain(raw, where, faults)
    if not isinstance(raw, Mapping):
        faults.append(f'{where}: its "type" must be a type\'s name or a JSON object, not {show(raw)}')
        return None
    match raw.get("type"):
        case "list":
            return _parse_list(raw, where, faults, depth)
        case "map":
            return _parse_map(raw, where, faults, depth)
        case "struct":
            return _parse_struct(raw, where, faults, depth)
        case other:
            faults.append(f'{where}: a nested type is a "struct", "list" or "map", not {show(other)}')
            return None


def _parse_plain(raw: str, where: str, faults: list[str]) -> str | None:
    if raw in PLAIN_TYPES:
        return raw
    digits = DECIMAL_NAME.fullmatch(raw)
    if digits:
        precision, scale = int(digits[1]), int(digits[2])
        if 1 <= precision <= 38 and scale <= precision:
            return f"decimal({precision},{scale})"
        faults.append(f"{where}: {raw} must have 1 to 38 digits, and not more of them behind the point")
        return None
    hint = _HINTS.get(raw.lower()) or f"known are {', '.join(sorted(PLAIN_TYPES))}, decimal(p,s), struct, list, map"
    faults.append(f"{where}: there is no type {show(raw)}; {hint}")
    return None


def _parse_list(raw: Mapping[str, Any], where: str, faults: list[str], depth: int) -> FieldType | None:
    unknown_keys(raw, ("type", "element", "element-id", "element-required"), where, faults)
    element = parse_field_type(raw.get("element"), f"{where}, list element", faults, depth + 1)
    required = flag(raw, "element-required", where, faults)
    return None if element is None else {"type": "list", "element": element, "element-required": required}


def _parse_map(raw: Mapping[str, Any], where: str, faults: list[str], depth: int) -> FieldType | None:
    unknown_keys(raw, ("type", "key", "key-id", "value", "value-id", "value-required"), where, faults)
    key = raw.get("key")
    if key not in map_keys():
        *most, last = (f'"{name}"' for name in map_keys())
        faults.append(
            f"{where}: the keys of a map stand in JSON as text; use {', '.join(most)} or {last}, not {show(key)}"
        )
        key = None
    value = parse_field_type(raw.get("value"), f"{where}, map value", faults, depth + 1)
    required = flag(raw, "value-required", where, faults)
    if key is None or value is None:
        return None
    return {"type": "map", "key": key, "value": value, "value-required": required}


def _parse_struct(raw: Mapping[str, Any], where: str, faults: list[str], depth: int) -> FieldType | None:
    before = len(faults)
    unknown_keys(raw, ("type", "fields", "schema-id", "identifier-field-ids"), where, faults)
    listed = raw.get("fields")
    if not isinstance(listed, list) or not listed:
        faults.append(f'{where}: a struct\'s "fields" must be a list of at least one field')
        return None
    fields: list[dict[str, Any]] = []
    for number, item in enumerate(listed, start=1):
        if not isinstance(item, Mapping):
            faults.append(f"{where}, struct field {number}: it must be a JSON object, not {show(item)}")
            continue
        name = item.get("name")
        inner = f'{where}, struct field "{name}"' if isinstance(name, str) else f"{where}, struct field {number}"
        if not isinstance(name, str) or not NAME.fullmatch(name):
            faults.append(f'{inner}: its "name" must be of A-Z, a-z, 0-9 and _, and not begin with a digit')
        unknown_keys(item, ("id", "name", "type", "required", "doc"), inner, faults)
        required = flag(item, "required", inner, faults)
        doc = item.get("doc")
        if doc is not None and not isinstance(doc, str):
            faults.append(f'{inner}: "doc" must be text, not {show(doc)}')
        type_ = parse_field_type(item.get("type"), inner, faults, depth + 1)
        fields.append({"name": name, "type": type_, "required": required, **({"doc": doc} if doc else {})})
    unique(
        ((str(field["name"]).lower(), str(field["name"])) for field in fields), f"{where}: struct field name", faults
    )
    return {"type": "struct", "fields": fields} if len(faults) == before else None
