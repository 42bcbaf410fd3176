"""An update of a file type, decided but not made: what changes, what is refused, and what the row will hold."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from metadata.database.models import SchemaVersion
from metadata.errors import ConfigurationError
from metadata.registry.versions import definitions
from metadata.types.definition import Definition
from metadata.types.difference import Change, diff, is_new_version, refusals, with_former_names
from metadata.types.file_type import FileType
from metadata.types.parse_file import parse_type

UNRECORDED = "not recorded when it was made: somebody changed the type with SQL"


@dataclass(frozen=True)
class Update:
    """What an update would do. `old` is None for a type that has no schema yet, or whose row is broken."""

    old: FileType | None
    new: FileType
    raw: Mapping[str, Any]  #: the whole types file, as the row will hold it
    changes: tuple[Change, ...]
    conflicts: tuple[str, ...] = ()  #: with other types
    notes: tuple[str, ...] = ()  #: what the new version's row says beside the changes
    is_new: bool = False  #: it has no schema yet

    @property
    def faults(self) -> list[str]:
        """Why it may not be made; empty when it may."""
        return [*refusals(self.changes), *self.conflicts]

    @property
    def is_change(self) -> bool:
        """Whether there is anything to write."""
        return self.old is None or bool(self.changes)

    @property
    def has_new_version(self) -> bool:
        """Whether the schema gets a new version."""
        return self.old is None or is_new_version(self.changes)

    @property
    def words(self) -> list[str]:
        """What the new version's row says."""
        return [*self.notes, *(change.what for change in self.changes if change.part == "schema")]

    def check(self, operation: str) -> None:
        """Raise ConfigurationError with every reason when it may not be made."""
        if self.faults:
            raise ConfigurationError(operation, self.faults)


def planned(
    operation: str,
    old: FileType | None,
    raw: Mapping[str, Any],
    kind: FileType,
    versions: Sequence[SchemaVersion],
    *,
    is_imported: bool = False,
) -> Update:
    """The update from `old` to the types file `raw`, which was parsed as `kind`.

    `versions` are what is on record of the type. Names that columns had before are carried over, so that `raw` need not
    repeat them. Raises ConfigurationError when they make `raw` unreadable.
    """
    before = old.definition if old else None
    history = definitions(versions)
    changes = tuple(diff(old, kind, history, is_imported=is_imported)) if old is not None else ()
    notes: tuple[str, ...] = ()
    if old is None and versions:
        notes = ("the version before could not be read",)
    elif old is not None and versions and not _is_recorded(old, versions):
        notes = (f"version {old.schema_version} was changed with SQL before",)
    last = max((row.version for row in versions), default=0)
    number = max(kind.schema_version, last) + 1 if old is None or is_new_version(changes) else old.schema_version
    if kind.definition is not None and not refusals(changes):
        raw = _with_former_names(raw, with_former_names(before, kind.definition, history))
        kind = parse_type(raw, kind.status, number, operation)
    return Update(old, replace(kind, schema_version=number), raw, changes, notes=notes)


def _is_recorded(old: FileType, versions: Sequence[SchemaVersion]) -> bool:
    row = [row for row in versions if row.version == old.schema_version]
    return not row or definitions(row) == [old.definition]


def _with_former_names(raw: Mapping[str, Any], definition: Definition) -> dict[str, Any]:
    """The types file with the former names that its fields have by now."""
    fields = []
    for item, field in zip(raw["schema_definition"]["fields"], definition.fields, strict=True):
        rest = {key: value for key, value in item.items() if key != "renamed_from"}
        names = field.renamed_from
        fields.append(rest if names is None else {**rest, "renamed_from": json.loads(json.dumps(names))})
    return {**raw, "schema_definition": {**raw["schema_definition"], "fields": fields}}
