"""The registry: file types as rows of `table_metadata`, which people may also write with plain SQL.

Every column that is read is hostile text: NULL, no JSON, no UTF-8, a status nobody knows. A row with faults is a
`BrokenType` and stops only its own type; what is to be done about it (an alert) is the caller's.
"""

from __future__ import annotations

import glob
import json
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import update
from sqlalchemy.orm import Session

from metadata.clock import Clock
from metadata.database.engine import Database
from metadata.database.models import SchemaVersion, TableMetadata
from metadata.errors import ConfigurationError, UsageError
from metadata.registry import versions
from metadata.registry.drafts import DRAFT_COLUMNS, draft_of
from metadata.registry.exchange import document_of, types_of
from metadata.registry.planned_update import UNRECORDED, Update, planned
from metadata.registry.rows import (
    COLUMNS,
    JSON_COLUMNS,
    BrokenType,
    RegistrySnapshot,
    Row,
    columns_of,
    json_or_text,
    merged_file,
    moment_of,
    parse_row,
    refuse_conflicts,
    row_named,
    shown_name,
    snapshot_of,
    status_of,
    version_of,
)
from metadata.registry.statements import TableRows
from metadata.types.built_in import BUILT_IN
from metadata.types.difference import Change
from metadata.types.file_type import FileType, TypeStatus, table_identifier
from metadata.types.parse_file import conflicts, parse_type, storable

__all__ = ["BrokenType", "Registry", "RegistrySnapshot", "type_name_of"]

_ERROR_LIMIT = 2000


class _NotMeant(Exception):
    """Rolls a dry run back."""


class Registry:
    """The file types in the metadata database."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self.database = database
        self.clock = clock
        self._rows = TableRows(clock, as_bytes=database.is_sqlite)

    # -- reading ------------------------------------------------------------------------------------------------

    def read(self) -> RegistrySnapshot:
        """Every type as it is now; a broken row is among `broken` and never raises."""
        with self.database.reading() as session:
            return snapshot_of(self._rows.read(session))

    def get(self, file_type: str) -> FileType:
        """One type. Raises UsageError when there is none of that name, ConfigurationError when its row is broken."""
        with self.database.reading() as session:
            rows = self._rows.read(session)
        row_named(rows, file_type)
        snapshot = snapshot_of(rows)
        for broken in snapshot.broken:
            if broken.file_type == file_type:
                raise ConfigurationError(f"reading {file_type} from the registry", list(broken.faults))
        return next(kind for kind in snapshot.types if kind.name == file_type)

    def describe(self) -> list[dict[str, Any]]:
        """Every row for people: its columns, JSON decoded where it can be, and `faults` of a broken one."""
        with self.database.reading() as session:
            rows = self._rows.read(session, drafts=True)
        broken = {each.file_type: list(each.faults) for each in snapshot_of(rows).broken}
        described = []
        for row in rows:
            shown: dict[str, Any] = {name: row[name] for name in COLUMNS if name != "id"}
            for name in (*JSON_COLUMNS, "draft", "draft_facts"):
                shown[name] = json_or_text(row[name])
            if (version := row["schema_version"]) is not None and version.isdecimal():
                shown["schema_version"] = int(version)
            shown["faults"] = broken.get(shown_name(row), [])
            described.append(shown)
        return described

    def errors(self) -> list[tuple[str, datetime, str]]:
        """The last error of each type that had one: type, when, message."""
        with self.database.reading() as session:
            rows = self._rows.read(session)
        return [
            (shown_name(row), moment_of(row["last_error_at"]), row["last_error"]) for row in rows if row["last_error"]
        ]

    # -- writing ------------------------------------------------------------------------------------------------

    def add(self, raw: Mapping[str, Any]) -> FileType:
        """Register the type of a types file and make it active, also over a row that discovery made.

        Raises ConfigurationError with every fault, UsageError when the type has a schema already.
        """
        with self.database.writing() as session:
            return self._add(session, raw)

    def plan_update(self, file_type: str, raw: Mapping[str, Any]) -> Update:
        """What `update` would do with the same arguments, refused changes too; changes nothing. Raises like it."""
        with self.database.reading() as session:
            return self._planned(session, file_type, raw)

    def update(self, file_type: str, raw: Mapping[str, Any], *, version: int | None = None) -> FileType:
        """Change what may change; what that is, `metadata.types.difference` says.

        Keys that `raw` leaves out stay as they are. A change of the schema is a new version of it, on record with its
        changes. Raises ConfigurationError with every reason when something may not be changed, and UsageError when
        `version`, the one that a person has looked at, is no longer the type's.
        """
        operation = f"updating {file_type}"
        with self.database.writing() as session:
            update = self._planned(session, file_type, raw)
            if version is not None and update.old is not None and update.old.schema_version != version:
                raise UsageError(
                    f"{operation}: somebody has changed it meanwhile, from version {version} to "
                    f"{update.old.schema_version}; look at it again with: lemonade types show {file_type}"
                )
            update.check(operation)
            return self._apply(session, update)

    def export(self, names: Sequence[str] = ()) -> dict[str, Any]:
        """Types with a schema (these, or all) as one document for `import_all`, as their rows have them.

        Raises UsageError for a type that is not there or has no schema, ConfigurationError when a row is broken.
        """
        with self.database.reading() as session:
            rows = self._rows.read(session)
        chosen = [row_named(rows, name) for name in names] or [row for row in rows if row["schema_definition"]]
        return document_of(chosen, snapshot_of(rows).broken)

    def import_all(self, document: Mapping[str, Any], *, dry_run: bool = False) -> list[Update]:
        """Make the types of an exported document what they are there: all of them, or with `dry_run` none.

        Types that are not here are added, others updated by the rules of `update`, their status too; keys that the
        document leaves out get their defaults. Again it changes nothing. Raises ConfigurationError with every reason
        when one of them may not be what the document says; with `dry_run` they are in the updates instead.
        """
        operation = "importing types"
        done: list[Update] = []
        try:
            with self.database.writing() as session:
                before = {each.file_type for each in snapshot_of(self._rows.read(session)).broken}
                for raw, status in types_of(document, operation):
                    update = self._imported(session, operation, raw, status)
                    if not update.faults and update.is_change:
                        self._apply(session, update)
                    done.append(update)
                faults = {each.file_type: each.faults for each in snapshot_of(self._rows.read(session)).broken}
                done = [replace(each, conflicts=faults.get(each.new.name, ())) for each in done]
                refused = [f"{each.new.name}: {fault}" for each in done for fault in each.faults]
                refused += [f"{name}: {fault}" for name in faults.keys() - before for fault in faults[name]]
                if refused and not dry_run:
                    raise ConfigurationError(operation, list(dict.fromkeys(refused)))
                if dry_run:
                    raise _NotMeant
        except _NotMeant:
            pass
        return done

    def versions(self, file_type: str) -> list[SchemaVersion]:
        """The versions of its schema that are on record, oldest first."""
        with self.database.reading() as session:
            return versions.of_type(session, file_type)

    def activate(self, file_type: str, raw: Mapping[str, Any] | None = None) -> FileType:
        """Take the type's files from now on; its held files flow at the next scan.

        A type without a schema gets that of the types file `raw`, or without one that of the draft on its row. Raises
        UsageError when there is neither, or when `raw` is for a type that has its schema; ConfigurationError when the
        row, the file or the draft has faults.
        """
        operation = f"activating {file_type}"
        with self.database.writing() as session:
            rows = self._rows.read(session, drafts=True)
            row = {**row_named(rows, file_type), "status": TypeStatus.ACTIVE.value}
            if row["schema_definition"] is None:
                return self._add(session, draft_of(row, raw, operation))
            if raw is not None:
                raise UsageError(
                    f"{operation}: it has a schema; change it with: lemonade types update {file_type} --file TYPE.json"
                )
            kind = parse_row(row, operation)
            refuse_conflicts(operation, kind, snapshot_of(rows))
            self._rows.write(session, file_type, {"status": TypeStatus.ACTIVE.value})
            return kind

    def disable(self, file_type: str) -> None:
        """Take the type's files no more: new ones are held, those claimed already are loaded. Also for broken rows."""
        with self.database.writing() as session:
            row_named(self._rows.read(session), file_type)
            self._rows.write(session, file_type, {"status": TypeStatus.DISABLED.value})

    def discover(self, prefix: str) -> bool:
        """Make an inactive row for a prefix that no type takes; True when it is new.

        A prefix that cannot be a type's name is made one, and stays a pattern of the type.
        """
        name = type_name_of(prefix)
        with self.database.writing() as session:
            if any(row["file_type"] == name for row in self._rows.read(session)):
                return False
            patterns = None
            if prefix and prefix != name and prefix.isprintable():
                patterns = json.dumps([name, glob.escape(prefix) + "_*"] if glob.has_magic(prefix) else [name, prefix])
            self._rows.insert(
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
            known = {row["file_type"] for row in self._rows.read(session)}
            missing = [raw for raw in BUILT_IN if raw["file_type"] not in known]
            return [self._add(session, raw).name for raw in missing]

    def get_or_create(self, raw: Mapping[str, Any]) -> FileType:
        """The type if it has a schema, unchanged; else it is registered, without `schema_definition` as inactive."""
        with self.database.writing() as session:
            name, has_schema = raw.get("file_type"), raw.get("schema_definition") is not None
            row = next((each for each in self._rows.read(session) if each["file_type"] == name), None)
            if row is not None and (row["schema_definition"] is not None or not has_schema):
                return parse_row(row, f"reading {name}")
            if has_schema:
                return self._add(session, raw)
            kind = parse_type(raw, TypeStatus.INACTIVE, 1, f"registering {name}")
            self._rows.insert(session, {**columns_of(raw, kind), "file_type": kind.name, "status": kind.status.value})
            return kind

    def _planned(self, session: Session, file_type: str, raw: Mapping[str, Any]) -> Update:
        operation = f"updating {file_type}"
        rows = self._rows.read(session)
        row = row_named(rows, file_type)
        if row["schema_definition"] is None:
            raise UsageError(f"{operation}: it has no schema yet; use: lemonade types add --file TYPE.json")
        if raw.get("file_type", file_type) != file_type:
            raise ConfigurationError(operation, [f"file_type {raw['file_type']!r}: a type keeps its name"])
        try:
            old = parse_row(row, operation)
        except ConfigurationError:  # a broken row is corrected by a whole types file
            old = None
        merged = merged_file(row, raw)
        kind = parse_type(merged, status_of(row) or TypeStatus.INACTIVE, version_of(row) or 1, operation)
        update = planned(operation, old, merged, kind, versions.of_type(session, file_type))
        return replace(update, conflicts=tuple(conflicts(update.new, snapshot_of(rows).types)))

    def _imported(self, session: Session, operation: str, raw: Mapping[str, Any], status: TypeStatus) -> Update:
        """The update that makes a type what a document says."""
        name = raw["file_type"]
        row = next((each for each in self._rows.read(session) if each["file_type"] == name), None)
        version = 1 if row is None else version_of(row) or 1
        kind = parse_type(raw, status, version, f"{operation}: {name}")
        old = None
        if row is not None and row["schema_definition"] is not None:
            with suppress(ConfigurationError):  # a broken row is replaced whole
                old = parse_row(row, operation)
        update = planned(operation, old, raw, kind, versions.of_type(session, name), is_imported=True)
        if old is None:
            return replace(update, is_new=row is None or row["schema_definition"] is None)
        if old.status is not status:
            change = Change("type", f"status: {old.status} → {status}")
            return replace(update, changes=(*update.changes, change), new=replace(update.new, status=status))
        return update

    def _apply(self, session: Session, update: Update) -> FileType:
        """Write a checked update."""
        new, old, now = update.new, update.old, self.clock.now()
        if update.is_new:
            present = next((row for row in self._rows.read(session) if row["file_type"] == new.name), None)
            return self._register(session, update.raw, new, present)
        values = columns_of(update.raw, new)
        if update.has_new_version:
            recorded = {row.version for row in versions.of_type(session, new.name)}
            before = next(row for row in self._rows.read(session) if row["file_type"] == new.name)["schema_definition"]
            if old is not None and old.schema_version not in recorded and before is not None:
                versions.record(session, new.name, old.schema_version, before, [UNRECORDED], now)
            versions.record(session, new.name, new.schema_version, values["schema_definition"], update.words, now)
        self._rows.write(
            session, new.name, {**values, "status": new.status.value, "schema_version": new.schema_version}
        )
        return new

    def _add(self, session: Session, raw: Mapping[str, Any]) -> FileType:
        rows = self._rows.read(session)
        shown = raw.get("file_type")
        operation = f"registering {shown if isinstance(shown, str) else 'a type'}"
        present = next((row for row in rows if row["file_type"] == shown), None)
        if present is not None and present["schema_definition"] is not None:
            raise UsageError(
                f"{operation}: it is registered already; change it with: lemonade types update {shown} --file TYPE.json"
            )
        given = {name: value for name, value in raw.items() if value is not None}
        if present is not None and "filename_patterns" not in given and present["filename_patterns"] is not None:
            given["filename_patterns"] = json_or_text(present["filename_patterns"])  # the prefix as it was seen
        kind = parse_type(given, TypeStatus.ACTIVE, 1, operation)
        refuse_conflicts(operation, kind, snapshot_of(rows))
        return self._register(session, given, kind, present)

    def _register(self, session: Session, raw: Mapping[str, Any], kind: FileType, present: Row | None) -> FileType:
        """Write a checked type that has no schema yet; its version is none that a removed type of its name had."""
        kind = replace(kind, schema_version=versions.last_number(session, kind.name) + 1)
        values = {**columns_of(raw, kind), "status": kind.status.value, "schema_version": kind.schema_version}
        if present is None:
            self._rows.insert(session, {"file_type": kind.name, **values})
        else:
            self._rows.write(session, kind.name, {**values, **dict.fromkeys(DRAFT_COLUMNS)})
        definition, now = values["schema_definition"], self.clock.now()
        versions.record(session, kind.name, kind.schema_version, definition, [], now)
        return kind


def type_name_of(prefix: str) -> str:
    """A legal file type name for any prefix: `EU-Trucks` → `eu_trucks`, `9x` → `t_9x`."""
    name = re.sub(r"[^a-z0-9_]", "_", prefix.lower())
    return (name if re.match(r"[a-z]", name) else f"t_{name}")[:63]
