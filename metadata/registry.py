"""The registry: file types as rows of `table_metadata`, which people may also write with plain SQL.

Every column that is read is hostile text: NULL, no JSON, no UTF-8, a status nobody knows. A row with faults is a
`BrokenType` and stops only its own type; what is to be done about it (an alert) is the caller's. Rows are read as text
and written by statements, never loaded as objects, so that a broken time in one cannot stop the others.
"""

from __future__ import annotations

import glob
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import LargeBinary, Text, cast, insert, select, type_coerce, update
from sqlalchemy.orm import Session

from metadata.clock import Clock, SystemClock
from metadata.database import Database
from metadata.definition import BUILT_IN, FileType, TypeStatus, table_identifier
from metadata.errors import ConfigurationError, UsageError
from metadata.models import TableMetadata
from metadata.settings import Settings
from metadata.types_file import TYPES_FILE_KEYS, changes, conflicts, old_fields_first, parse_type, storable

_JSON_COLUMNS = ("filename_patterns", "schema_definition", "processing_config")
_COLUMNS = tuple(column.name for column in TableMetadata.__table__.columns)
_ERROR_LIMIT = 2000

Row = dict[str, str | None]


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


class Registry:
    """The file types in the metadata database."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self.database = database
        self.clock = clock

    # -- reading ------------------------------------------------------------------------------------------------

    def read(self) -> RegistrySnapshot:
        """Every type as it is now; a broken row is among `broken` and never raises."""
        with self.database.reading() as session:
            return _snapshot(self._rows(session))

    def get(self, file_type: str) -> FileType:
        """One type. Raises UsageError when there is none of that name, ConfigurationError when its row is broken."""
        with self.database.reading() as session:
            rows = self._rows(session)
        _row(rows, file_type)
        snapshot = _snapshot(rows)
        for broken in snapshot.broken:
            if broken.file_type == file_type:
                raise ConfigurationError(f"reading {file_type} from the registry", list(broken.faults))
        return next(kind for kind in snapshot.types if kind.name == file_type)

    def describe(self) -> list[dict[str, Any]]:
        """Every row for people: its columns, JSON decoded where it can be, and `faults` of a broken one."""
        with self.database.reading() as session:
            rows = self._rows(session)
        broken = {each.file_type: list(each.faults) for each in _snapshot(rows).broken}
        described = []
        for row in rows:
            shown: dict[str, Any] = {name: row[name] for name in _COLUMNS if name != "id"}
            for name in _JSON_COLUMNS:
                shown[name] = _json_or_text(row[name])
            if (version := row["schema_version"]) is not None and version.isdecimal():
                shown["schema_version"] = int(version)
            shown["faults"] = broken.get(_shown_name(row), [])
            described.append(shown)
        return described

    def errors(self) -> list[tuple[str, datetime, str]]:
        """The last error of each type that had one: type, when, message."""
        with self.database.reading() as session:
            rows = self._rows(session)
        return [
            (_shown_name(row), _moment(row["last_error_at"]), row["last_error"]) for row in rows if row["last_error"]
        ]

    # -- writing ------------------------------------------------------------------------------------------------

    def add(self, raw: Mapping[str, Any]) -> FileType:
        """Register the type of a types file and make it active, also over a row that discovery made.

        Raises ConfigurationError with every fault, UsageError when the type has a schema already.
        """
        with self.database.writing() as session:
            return self._add(session, raw)

    def update(self, file_type: str, raw: Mapping[str, Any]) -> FileType:
        """Change what may change: description, patterns, processing config, and new nullable fields.

        Keys that `raw` leaves out stay as they are. New fields raise the schema version; they stand behind the old
        ones, wherever `raw` puts them. Raises ConfigurationError for everything else, with all faults.
        """
        operation = f"updating {file_type}"
        with self.database.writing() as session:
            rows = self._rows(session)
            row = _row(rows, file_type)
            if row["schema_definition"] is None:
                raise UsageError(f"{operation}: it has no schema yet; use: lemonade types add --file TYPE.json")
            if raw.get("file_type", file_type) != file_type:
                raise ConfigurationError(operation, [f"file_type {raw['file_type']!r}: a type keeps its name"])
            try:
                old = _parse_row(row, operation)
            except ConfigurationError:  # a broken row is corrected by a whole types file
                old = None
            merged = {
                name: _json_or_text(row[name]) if name in _JSON_COLUMNS else row[name] for name in TYPES_FILE_KEYS
            }
            merged |= {name: value for name, value in raw.items() if value is not None}
            if old is not None and old.definition is not None:
                merged["schema_definition"] = old_fields_first(merged["schema_definition"], old.definition)
            status, version = _status(row) or TypeStatus.INACTIVE, _version(row) or 1
            new = parse_type(merged, status, version, operation)
            faults, grown = ([], True) if old is None else changes(old, new)
            faults += conflicts(new, _snapshot(rows).types)
            if faults:
                raise ConfigurationError(operation, faults)
            new = replace(new, schema_version=version + grown)
            self._store(
                session,
                file_type,
                {**_columns(merged, new), "status": status.value, "schema_version": new.schema_version},
            )
            return new

    def activate(self, file_type: str) -> FileType:
        """Take the type's files from now on; its held files flow at the next scan.

        Raises UsageError when it has no schema, ConfigurationError when its row is broken.
        """
        operation = f"activating {file_type}"
        with self.database.writing() as session:
            rows = self._rows(session)
            row = {**_row(rows, file_type), "status": TypeStatus.ACTIVE.value}
            if row["schema_definition"] is None:
                raise UsageError(f"{operation}: it has no schema yet; use: lemonade types add --file TYPE.json")
            kind = _parse_row(row, operation)
            _refuse_conflicts(operation, kind, _snapshot(rows))
            self._store(session, file_type, {"status": TypeStatus.ACTIVE.value})
            return kind

    def disable(self, file_type: str) -> None:
        """Take the type's files no more: new ones are held, those claimed already are loaded. Also for broken rows."""
        with self.database.writing() as session:
            _row(self._rows(session), file_type)
            self._store(session, file_type, {"status": TypeStatus.DISABLED.value})

    def discover(self, prefix: str) -> bool:
        """Make an inactive row for a prefix that no type takes; True when it is new.

        A prefix that cannot be a type's name is made one, and stays a pattern of the type.
        """
        name = type_name_of(prefix)
        with self.database.writing() as session:
            if any(row["file_type"] == name for row in self._rows(session)):
                return False
            patterns = None
            if prefix and prefix != name and prefix.isprintable():
                patterns = json.dumps([name, glob.escape(prefix) + "_*"] if glob.has_magic(prefix) else [name, prefix])
            self._insert(
                session,
                {
                    "file_type": name,
                    "table_name": table_identifier(name),
                    "filename_patterns": patterns,
                    "status": TypeStatus.INACTIVE.value,
                    "description": "discovered: files of this name came, and no type took them",
                },
            )
            return True

    def note_error(self, file_type: str, message: str) -> None:
        """Remember the last thing that went wrong with a type; a type without row is none's."""
        text = storable(message)[:_ERROR_LIMIT]
        with self.database.writing() as session:
            session.execute(
                update(TableMetadata)
                .where(TableMetadata.file_type == file_type)
                .values(last_error=text, last_error_at=self.clock.now())
            )

    def ensure_built_in(self) -> list[str]:
        """Add the built-in types that have no row; the names of those added. Rows that are there stay as they are."""
        with self.database.writing() as session:
            known = {row["file_type"] for row in self._rows(session)}
            missing = [raw for raw in BUILT_IN if raw["file_type"] not in known]
            return [self._add(session, raw).name for raw in missing]

    def get_or_create(self, raw: Mapping[str, Any]) -> FileType:
        """The type if it has a schema, unchanged; else it is registered, without `schema_definition` as inactive."""
        with self.database.writing() as session:
            name, has_schema = raw.get("file_type"), raw.get("schema_definition") is not None
            row = next((each for each in self._rows(session) if each["file_type"] == name), None)
            if row is not None and (row["schema_definition"] is not None or not has_schema):
                return _parse_row(row, f"reading {name}")
            if has_schema:
                return self._add(session, raw)
            kind = parse_type(raw, TypeStatus.INACTIVE, 1, f"registering {name}")
            self._insert(session, {**_columns(raw, kind), "file_type": kind.name, "status": kind.status.value})
            return kind

    def _add(self, session: Session, raw: Mapping[str, Any]) -> FileType:
        rows = self._rows(session)
        shown = raw.get("file_type")
        operation = f"registering {shown if isinstance(shown, str) else 'a type'}"
        present = next((row for row in rows if row["file_type"] == shown), None)
        if present is not None and present["schema_definition"] is not None:
            raise UsageError(
                f"{operation}: it is registered already; change it with: lemonade types update {shown} --file TYPE.json"
            )
        given = {name: value for name, value in raw.items() if value is not None}
        if present is not None and "filename_patterns" not in given and present["filename_patterns"] is not None:
            given["filename_patterns"] = _json_or_text(present["filename_patterns"])  # the prefix as it was seen
        kind = parse_type(given, TypeStatus.ACTIVE, 1, operation)
        _refuse_conflicts(operation, kind, _snapshot(rows))
        values = {**_columns(given, kind), "status": TypeStatus.ACTIVE.value, "schema_version": 1}
        if present is None:
            self._insert(session, {"file_type": kind.name, **values})
        else:
            self._store(session, kind.name, values)
        return kind

    def _rows(self, session: Session) -> list[Row]:
        """Every column of every row as text. SQLite hands out bytes: text that is no UTF-8 would raise on reading."""
        columns = [
            cast(column, LargeBinary) if self.database.is_sqlite else cast(type_coerce(column, Text), Text)
            for column in TableMetadata.__table__.columns
        ]
        found = session.execute(select(*columns).order_by(TableMetadata.id))
        return [dict(zip(_COLUMNS, map(_decoded, row), strict=True)) for row in found]

    def _insert(self, session: Session, values: Mapping[str, Any]) -> None:
        now = self.clock.now()
        session.execute(insert(TableMetadata).values(**values, created_at=now, updated_at=now))

    def _store(self, session: Session, file_type: str, values: Mapping[str, Any]) -> None:
        """Write a checked change; the errors of before are not its own."""
        now = self.clock.now()
        session.execute(
            update(TableMetadata)
            .where(TableMetadata.file_type == file_type)
            .values(**values, last_error=None, last_error_at=None, updated_at=now)
        )


def get_or_create_table_metadata(
    table_name: str,
    file_type: str,
    schema_definition: Mapping[str, Any] | None = None,
    partition_column: str | None = None,
    processing_config: Mapping[str, Any] | None = None,
    description: str | None = None,
    *,
    settings: Settings | None = None,
) -> FileType:
    """Register a file type from Python, or get it as it is when it has a schema already.

    With a schema the type is active and a running daemon takes its files from its next scan on; without one it is an
    inactive record. `partition_column` is an older name for `partition_by` of the processing config; both default to
    the date of the file's name. Makes the database's tables if need be. `settings`: None reads environment and `.env`.
    Raises ConfigurationError with every fault of the definition.
    """
    database = Database((settings or Settings.load()).database_url)
    try:
        database.migrate()
        return Registry(database, SystemClock()).get_or_create(
            {
                "table_name": table_name,
                "file_type": file_type,
                "schema_definition": schema_definition,
                "partition_column": partition_column,
                "processing_config": processing_config,
                "description": description,
            }
        )
    finally:
        database.close()


def type_name_of(prefix: str) -> str:
    """A legal file type name for any prefix: `EU-Trucks` → `eu_trucks`, `9x` → `t_9x`."""
    name = re.sub(r"[^a-z0-9_]", "_", prefix.lower())
    return (name if re.match(r"[a-z]", name) else f"t_{name}")[:63]


def _snapshot(rows: Sequence[Row]) -> RegistrySnapshot:
    types: list[FileType] = []
    broken: list[BrokenType] = []
    for row in rows:
        try:
            kind = _parse_row(row, "reading the registry")
            faults = conflicts(kind, types)
        except ConfigurationError as error:
            faults = error.faults
        except Exception as error:  # whatever a row holds, it must not stop the other types
            faults = [f"the row cannot be read: {error!r}"]
        if faults:
            broken.append(BrokenType(_shown_name(row), tuple(faults)))
        else:
            types.append(kind)
    return RegistrySnapshot(tuple(types), tuple(broken))


def _row(rows: Sequence[Row], file_type: str) -> Row:
    for row in rows:
        if row["file_type"] == file_type:
            return row
    known = ", ".join(_shown_name(row) for row in rows) or "none"
    raise UsageError(f"there is no file type {file_type!r}; known are: {known}")


def _parse_row(row: Row, operation: str) -> FileType:
    """A row's type; raises ConfigurationError with all its faults."""
    faults: list[str] = []
    raw: dict[str, Any] = {name: row[name] for name in TYPES_FILE_KEYS if name not in _JSON_COLUMNS}
    for name in _JSON_COLUMNS:
        raw[name] = _json(name, row[name], faults)
    status, version = _status(row), _version(row)
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


def _status(row: Row) -> TypeStatus | None:
    return TypeStatus(row["status"]) if row["status"] in set(TypeStatus) else None


def _version(row: Row) -> int | None:
    return int(row["schema_version"] or "") if re.fullmatch(r"[1-9]\d{0,8}", row["schema_version"] or "") else None


def _refuse_conflicts(operation: str, kind: FileType, snapshot: RegistrySnapshot) -> None:
    faults = conflicts(kind, snapshot.types)
    if faults:
        raise ConfigurationError(operation, faults)


def _columns(raw: Mapping[str, Any], kind: FileType) -> dict[str, Any]:
    """A checked types file as it is stored; what was left out stays null, so that defaults can grow."""
    return {
        "table_name": kind.table_name,
        "partition_column": raw.get("partition_column"),
        "description": raw.get("description"),
        **{name: None if raw.get(name) is None else json.dumps(raw[name]) for name in _JSON_COLUMNS},
    }


def _decoded(value: bytes | str | None) -> str | None:
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else value


def _shown_name(row: Row) -> str:
    return row["file_type"] or f"row {row['id']}"


def _moment(text: str | None) -> datetime:
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


def _json_or_text(text: str | None) -> Any:
    faults: list[str] = []
    value = _json("", text, faults)
    return text if faults else value
