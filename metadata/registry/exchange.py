"""Types on their way from one environment to another: one JSON document, checked before anything is done with it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from metadata.errors import ConfigurationError, UsageError
from metadata.registry.rows import JSON_COLUMNS, BrokenType, Row, json_or_text, shown_name
from metadata.types.fault_list import show, unique, unknown_keys
from metadata.types.file_type import TypeStatus
from metadata.types.parse_file import TYPES_FILE_KEYS

FORMAT = "lemonade_types"
"""The document's first key; its value is the format's number."""
_NUMBER = 1


def document_of(rows: Sequence[Row], broken: Sequence[BrokenType]) -> dict[str, Any]:
    """The document of these rows: types files with status and version; the version is for people, no import reads it.

    Raises UsageError for a row without a schema, ConfigurationError for one among `broken`.
    """
    names = [shown_name(row) for row in rows]
    for row in rows:
        if row["schema_definition"] is None:
            raise UsageError(f"exporting {shown_name(row)}: it has no schema yet; see: lemonade types show")
    faults = [f"{each.file_type}: {fault}" for each in broken if each.file_type in names for fault in each.faults]
    if faults:
        raise ConfigurationError("exporting types", faults)
    return {FORMAT: _NUMBER, "types": [_exported(row) for row in rows]}


def _exported(row: Row) -> dict[str, Any]:
    values: dict[str, Any] = {
        name: json_or_text(row[name]) if name in JSON_COLUMNS else row[name] for name in TYPES_FILE_KEYS
    }
    values |= {"status": row["status"], "schema_version": int(row["schema_version"] or "1")}
    return {name: value for name, value in values.items() if value is not None}


def types_of(document: Mapping[str, Any], operation: str) -> Iterator[tuple[dict[str, Any], TypeStatus]]:
    """The types files of a document, each with its status; ConfigurationError with every fault of its outer form."""
    faults: list[str] = []
    if document.get(FORMAT) != _NUMBER:
        faults.append(f'"{FORMAT}" must be {_NUMBER}, as `lemonade types export` writes it')
    unknown_keys(document, (FORMAT, "types"), "the document", faults)
    listed = document.get("types")
    if not isinstance(listed, list) or not listed:
        faults.append('"types" must be a list of at least one type')
        listed = []
    found: list[tuple[dict[str, Any], TypeStatus]] = []
    for number, item in enumerate(listed, start=1):
        if not isinstance(item, Mapping) or not isinstance(item.get("file_type"), str):
            faults.append(f'type {number} must be a JSON object with a "file_type"')
            continue
        name = item["file_type"]
        unknown_keys(item, (*TYPES_FILE_KEYS, "status", "schema_version"), f"type {show(name)}", faults)
        if item.get("schema_definition") is None:
            faults.append(f'type {show(name)}: there is no "schema_definition"')
        status = item.get("status", TypeStatus.ACTIVE.value)
        if not isinstance(status, str) or status not in set(TypeStatus):
            faults.append(f'type {show(name)}: "status" must be one of {", ".join(TypeStatus)}, not {show(status)}')
            continue
        raw = {key: item[key] for key in TYPES_FILE_KEYS if item.get(key) is not None}
        found.append((raw, TypeStatus(status)))
    unique(((raw["file_type"], raw["file_type"]) for raw, _ in found), "type", faults)
    if faults:
        raise ConfigurationError(operation, faults)
    yield from found
