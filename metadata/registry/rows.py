"""A row of the registry as it is read: hostile text in every column → a checked type, or what is wrong with it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from metadata.database.models import TableMetadata
from metadata.errors import ConfigurationError, UsageError
from metadata.types.file_type import FileType, TypeStatus
from metadata.types.parse_file import TYPES_FILE_KEYS, conflicts, parse_type

JSON_COLUMNS = ("filename_patterns", "schema_definition", "processing_config")
COLUMNS = tuple(column.name for column in TableMetadata.__table__.columns)

Row = dict[str, str | None]
"""A row's columns as text, whatever they hold."""


@dataclass(frozen=True)
class BrokenType:
    """A row that cannot be used, with everything that is wrong with it."""

    file_type: str
    faults: tuple[str, ...]


@dataclass(frozen=True)
class RegistrySnapshot:
    """The registry at one moment, in the order in which the types were registered."""

    types: tuple[FileType, ...]  #: the valid rows, whatever their status
    broken: tuple[BrokenType, ...]

    @property
    def active(self) -> tuple[FileType, ...]:
        """The types whose files are taken."""
        return tuple(kind for kind in self.types if kind.status is TypeStatus.ACTIVE)


def snapshot_of(rows: Sequence[Row]) -> RegistrySnapshot:
    """Every row as a type, or among the broken ones; never raises."""
    types: list[FileType] = []
    broken: list[BrokenType] = []
    for row in rows:
        try:
            kind = parse_row(row, "reading the registry")
            faults = conflicts(kind, types)
        except ConfigurationError as error:
            faults = error.faults
        except Exception as error:  # whatever a row holds, it must not stop the other types
            faults = [f"the row cannot be read: {error!r}"]
        if faults:
            broken.append(BrokenType(shown_name(row), tuple(faults)))
        else:
            types.append(kind)
    return RegistrySnapshot(tuple(types), tuple(broken))


def row_named(rows: Sequence[Row], file_type: str) -> Row:
    """The row of a type; UsageError when there is none."""
    for row in rows:
        if row["file_type"] == file_type:
            return row
    known = ", ".join(shown_name(row) for row in rows) or "none"
    raise UsageError(f"there is no file type {file_type!r}; known are: {known}")


def parse_row(row: Row, operation: str) -> FileType:
    """A row's type; raises ConfigurationError with all its faults."""
    faults: list[str] = []
    raw: dict[str, Any] = {name: row[name] for name in TYPES_FILE_KEYS if name not in JSON_COLUMNS}
    for name in JSON_COLUMNS:
        raw[name] = _json(name, row[name], faults)
    status, version = status_of(row), version_of(row)
    if status is None:
        faults.append(f"status {row['status']!r} must be one of {', '.join(TypeStatus)}")
    if version is None:
        faults.append(f"schema_version {row['schema_version']!r} must be a whole number from 1")
    if faults or status is None or version is None:
        try:  # for the faults that it has besides; of an inactive type, for a bad schema is not a missing one
            parse_type(raw, TypeStatus.INACTIVE, 1, operation)
        except ConfigurationError as error:
            faults += error.faults
        raise ConfigurationError(operation, faults)
    return parse_type(raw, status, version, operation)


def status_of(row: Row) -> TypeStatus | None:
    """Its status; None for one that nobody knows."""
    return TypeStatus(row["status"]) if row["status"] in set(TypeStatus) else None


def version_of(row: Row) -> int | None:
    """Its schema version; None for what is no whole number from 1."""
    return int(row["schema_version"] or "") if re.fullmatch(r"[1-9]\d{0,8}", row["schema_version"] or "") else None


def merged_file(row: Row, raw: Mapping[str, Any]) -> dict[str, Any]:
    """The types file of a row with the keys of `raw` in their place."""
    merged = {name: json_or_text(row[name]) if name in JSON_COLUMNS else row[name] for name in TYPES_FILE_KEYS}
    return merged | {name: value for name, value in raw.items() if value is not None}


def refuse_conflicts(operation: str, kind: FileType, snapshot: RegistrySnapshot) -> None:
    """Raise ConfigurationError when the type cannot be active beside the others."""
    faults = conflicts(kind, snapshot.types)
    if faults:
        raise ConfigurationError(operation, faults)


def columns_of(raw: Mapping[str, Any], kind: FileType) -> dict[str, Any]:
    """A checked types file as it is stored; what was left out stays null, so that defaults can grow."""
    return {
        "table_name": kind.table_name,
        "partition_column": raw.get("partition_column"),
        "description": raw.get("description"),
        **{name: None if raw.get(name) is None else json.dumps(raw[name]) for name in JSON_COLUMNS},
    }


def decoded(value: bytes | str | None) -> str | None:
    """A column's bytes as text, also those that are no UTF-8."""
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else value


def shown_name(row: Row) -> str:
    """What to call a row that may have no name."""
    return row["file_type"] or f"row {row['id']}"


def moment_of(text: str | None) -> datetime:
    """A time as a person may have written it; what is none counts as long ago."""
    try:
        moment = datetime.fromisoformat(text or "")
    except ValueError:
        return datetime.fromtimestamp(0, UTC)
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


def _json(name: str, text: str | None, faults: list[str]) -> Any:
    if text is None:
        return None
    try:
        return json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        faults.append(f"{name} is no JSON: {error}")
        return None


def _no_constant(text: str) -> None:
    raise ValueError(f"{text} is no JSON number")


def json_or_text(text: str | None) -> Any:
    """What the JSON says, or the text itself when it is none."""
    faults: list[str] = []
    value = _json("", text, faults)
    return text if faults else value
