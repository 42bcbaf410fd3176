"""A types file: the JSON form in which a file type is registered, checked whole.

Pure values; `metadata.registry.registry` keeps them in the database.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from metadata.errors import ConfigurationError
from metadata.types.config import ProcessingConfig
from metadata.types.definition import Definition, Field
from metadata.types.file_type import FileType, TypeStatus, file_type_name, table_identifier
from metadata.types.parse_config import parse_config
from metadata.types.parse_definition import parse_definition

TYPES_FILE_KEYS = (
    "file_type",
    "table_name",
    "filename_patterns",
    "schema_definition",
    "partition_column",
    "processing_config",
    "description",
)


def parse_type(raw: Mapping[str, Any], status: TypeStatus, version: int, operation: str) -> FileType:
    """The type of a types file; raises ConfigurationError with all faults."""
    faults = [
        f'"{key}" is no part of a types file; known are {", ".join(TYPES_FILE_KEYS)}'
        for key in raw
        if key not in TYPES_FILE_KEYS
    ]
    name = table = ""
    try:
        name = file_type_name(raw.get("file_type"))
    except ConfigurationError as error:
        faults += error.faults
    try:
        table = table_identifier(raw.get("table_name") if raw.get("table_name") is not None else name or "x")
    except ConfigurationError as error:
        faults += error.faults
    for key in ("partition_column", "description"):
        if not isinstance(raw.get(key), str | None) or storable(raw.get(key) or "") != (raw.get(key) or ""):
            faults.append(f"{key} must be text")
    patterns = _patterns(raw.get("filename_patterns"), name, faults)
    column = raw.get("partition_column") if isinstance(raw.get("partition_column"), str) else None
    definition: Definition | None = None
    config = ProcessingConfig()
    if raw.get("schema_definition") is not None:
        try:
            definition = parse_definition(raw["schema_definition"])
        except ConfigurationError as error:
            faults += [f"schema_definition: {fault}" for fault in error.faults]
    elif status is TypeStatus.ACTIVE:
        faults.append('there is no schema_definition; give it as {"fields": [{"name": …, "type": …}, …]}')
    if raw.get("schema_definition") is not None:
        readable, unreadable = _readable_part(raw["schema_definition"]) if definition is None else (definition, ())
        try:
            config = parse_config(raw.get("processing_config"), column, readable)
        except ConfigurationError as error:
            for fault in error.faults:
                if not any(f'"{name}"' in fault for name in unreadable):  # told above, as what it is
                    faults.append(f"processing_config: {fault.removeprefix('processing_config: ')}")
    elif not isinstance(raw.get("processing_config"), Mapping | None):
        faults.append("processing_config must be a JSON object")
    if faults:
        raise ConfigurationError(operation, faults)
    return FileType(name, table, patterns, status, definition, version, config, raw.get("description"))


def _readable_part(raw: object) -> tuple[Definition, tuple[str, ...]]:
    """The fields that are right by themselves, so that the rest can be checked too, and the names of the others."""
    fields: list[Field] = []
    unreadable: list[str] = []
    listed = raw.get("fields") if isinstance(raw, Mapping) else None
    for each in listed if isinstance(listed, list) else []:
        try:
            fields += parse_definition({"fields": [each], "primary_key": []}).fields
        except ConfigurationError:
            unreadable += [str(each["name"])] if isinstance(each, Mapping) and "name" in each else []
    return Definition(fields=tuple(fields), primary_key=()), tuple(unreadable)


def _patterns(raw: object, name: str, faults: list[str]) -> tuple[str, ...]:
    if raw is None:
        return (name,)
    if not isinstance(raw, list | tuple) or not raw or not all(isinstance(each, str) for each in raw):
        faults.append('filename_patterns must be a list of at least one text, such as ["orders", "eu_*_orders"]')
        return ()
    for each in raw:
        if not each or not each.isprintable() or "/" in each:
            faults.append(f"filename_patterns: {each!r} can be in no file's name; use letters, digits, _ - and globs")
    return tuple(dict.fromkeys(raw))


def conflicts(kind: FileType, others: Sequence[FileType]) -> list[str]:
    """Why this type cannot be active beside those that are."""
    faults: list[str] = []
    if kind.status is not TypeStatus.ACTIVE:
        return faults
    for other in others:
        if other.name == kind.name or other.status is not TypeStatus.ACTIVE:
            continue
        if other.table_name == kind.table_name and _shape(other) != _shape(kind):
            faults.append(
                f"table_name: {kind.table_name} is the table of {other.name}, whose fields or partition differ; "
                f"name another table, or make both alike while one is disabled (lemonade types disable {other.name})"
            )
        if kind.config.summary and other.config.summary and kind.config.summary.table == other.config.summary.table:
            faults.append(
                f"processing_config: summary table {kind.config.summary.table} is kept from {other.name}; "
                "name another table"
            )
    return faults


def _shape(kind: FileType) -> tuple[object, ...]:
    """What two types that share a table must have in common."""
    fields = kind.definition.fields if kind.definition else ()
    return ({field.name: field.type for field in fields}, kind.config.partition)


def storable(text: str) -> str:
    """Text that every database takes: no lone surrogates (file names may hold some), no NUL."""
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\0")
