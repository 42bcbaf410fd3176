"""A schema definition as it stands in the registry → a checked `Definition`."""

from __future__ import annotations

from collections.abc import Mapping

from metadata.errors import ConfigurationError
from metadata.types.constraints import broken_limit, check_constraints
from metadata.types.definition import DATE_COLUMN, JSON_KEY, LINEAGE, NAME, RESCUED, Definition, Field
from metadata.types.fault_list import name_list, show, show_type, unique, unknown_keys
from metadata.types.field_types import row_of
from metadata.types.field_values import value_fault
from metadata.types.parse_field_type import parse_field_type


def parse_definition(raw: object) -> Definition:
    """Check a schema definition as it stands in the registry.

    Raises ConfigurationError with all its faults, each naming the field it is about.
    """
    faults: list[str] = []
    fields: list[Field] = []
    if not isinstance(raw, Mapping):
        raise ConfigurationError("reading a schema definition", [f"it must be a JSON object, not {show(raw)}"])
    unknown_keys(raw, ("fields", "primary_key", "root"), "the definition", faults)
    listed = raw.get("fields")
    if not isinstance(listed, list) or not listed:
        faults.append('"fields" must be a list of at least one field')
        listed = []
    for number, item in enumerate(listed, start=1):
        field = _parse_field(item, number, faults)
        if field is not None:
            fields.append(field)
    named = [item for item in listed if isinstance(item, Mapping) and isinstance(item.get("name"), str)]
    unique(((item["name"].lower(), item["name"]) for item in named), "field name, whatever the case,", faults)
    unique(((str(item.get("source") or item["name"]), item["name"]) for item in named), "JSON key", faults)
    for item in named:
        if item["name"].lower() in (DATE_COLUMN, *LINEAGE, RESCUED):
            cure = f'give it another name and "source": "{item.get("source") or item["name"]}"'
            faults.append(f'field "{item["name"]}": every table has a column of that name already; {cure}')
    names = [item["name"] for item in named]
    primary_key = name_list(raw.get("primary_key", []), names, "primary_key", faults)
    for field in fields:
        if field.name in primary_key and isinstance(field.type, dict):
            faults.append(f'primary_key: field "{field.name}" is a {field.type["type"]}; a key needs a plain type')
    root = raw.get("root")
    if root is not None and not (isinstance(root, str) and all(root.split("."))):
        faults.append(f'"root" must be the keys that lead to the records, joined by dots, not {show(root)}')
        root = None
    if faults:
        raise ConfigurationError("reading a schema definition", faults)
    return Definition(fields=tuple(fields), primary_key=primary_key, root=root)


def _parse_field(raw: object, number: int, faults: list[str]) -> Field | None:
    """One field, or None when it has a fault that hides the rest of it."""
    if not isinstance(raw, Mapping):
        faults.append(f"field {number} must be a JSON object, not {show(raw)}")
        return None
    name = raw.get("name")
    where = f'field "{name}"' if isinstance(name, str) and name else f"field {number}"
    before = len(faults)
    if not isinstance(name, str) or not NAME.fullmatch(name):
        cure = 'other keys of the JSON are read with "source"'
        faults.append(f'{where}: its "name" must be of A-Z, a-z, 0-9 and _, and not begin with a digit; {cure}')
    unknown_keys(raw, tuple(Field.model_fields), where, faults)
    for key, kind, words in (
        ("nullable", bool, "true or false"),
        ("coerce", bool, "true or false"),
        ("source", str, "text"),
        ("description", str, "text"),
    ):
        if key in raw and not isinstance(raw[key], kind) and not (kind is str and raw[key] is None):
            faults.append(f'{where}: "{key}" must be {words}, not {show(raw[key])}')
    if isinstance(raw.get("source"), str) and not JSON_KEY.fullmatch(raw["source"]):
        faults.append(f'{where}: "source" must be a key without quotes, backslashes and control characters')
    _check_former_names(raw.get("renamed_from"), where, faults)
    type_ = parse_field_type(raw.get("type"), where, faults)
    given_format = raw.get("format")
    if given_format is not None and given_format not in ("epoch_s", "epoch_ms"):
        faults.append(f'{where}: "format" must be "epoch_s" or "epoch_ms", not {show(given_format)}')
    elif given_format is not None and type_ not in ("timestamp", None):
        faults.append(f'{where}: "format" is for timestamps, this field is {show_type(type_)}')
    if raw.get("coerce") is True and type_ is not None and not ((row := row_of(type_)) and row.is_coercible):
        faults.append(f'{where}: "coerce" is for strings, numbers and booleans, this field is {show_type(type_)}')
    if type_ is not None:
        epoch = given_format if type_ == "timestamp" and given_format in ("epoch_s", "epoch_ms") else None
        check_constraints(raw, type_, epoch, where, faults)
    if "default" in raw and type_ is not None and len(faults) == before:
        if raw["default"] is None:
            if raw.get("nullable", True) is False:
                faults.append(f'{where}: its default is null, but it is "nullable": false')
        else:
            fault = value_fault(raw["default"], type_, given_format, raw.get("coerce", False))
            if fault:
                faults.append(f"{where}: its default {show(raw['default'])} {fault}")
    if len(faults) > before or type_ is None:
        return None
    field = Field(**{**raw, "type": type_})
    if field.has_default and (reason := broken_limit(field.default, field)):
        faults.append(f"{where}: its default breaks its own constraint: {reason}")
        return None
    return field


def _check_former_names(raw: object, where: str, faults: list[str]) -> None:
    names = raw if isinstance(raw, list | tuple) else [] if raw is None else [raw]
    if not all(isinstance(each, str) and NAME.fullmatch(each) for each in names):
        faults.append(
            f'{where}: "renamed_from" must be the name of the column that becomes it, or all its former names with the '
            f"last one first, not {show(raw)}"
        )
