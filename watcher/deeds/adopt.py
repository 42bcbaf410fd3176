"""Adopting what is rescued: which keys are worth a field, which field that would be, and the update that adds it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from metadata.errors import UsageError
from metadata.registry.proposals import SeenKey, inside, unknown_keys
from metadata.types.definition import DATE_COLUMN, LINEAGE, RESCUED
from metadata.types.file_type import FileType
from watcher.app import App

_VALUES = 10_000
"""Rescued values that are looked at to tell a field's type."""


@dataclass(frozen=True)
class Proposal:
    """A key and the field that it would be, as far as one value tells; no field for a key inside of another field."""

    unknown: SeenKey
    field: dict[str, Any] | None

    def as_json(self, file_type: str) -> dict[str, Any]:
        """For programs; `command` adopts it."""
        return {
            "key": self.unknown.key,
            "records": self.unknown.records,
            "files": self.unknown.files,
            "share": round(self.unknown.share, 4),
            "sample": self.unknown.sample,
            "first_seen": self.unknown.first_seen,
            "last_seen": self.unknown.last_seen,
            "inside": self.unknown.inside,
            "type": self.field["type"] if self.field else None,
            "command": self.command(file_type) if self.field else None,
        }

    def command(self, file_type: str) -> str:
        """What to type."""
        key = self.unknown.key
        quoted = key if key.replace("_", "").isalnum() else "'" + key.replace("'", "'\\''") + "'"
        return f"lemonade types update {file_type} --adopt {quoted} --backfill"


def proposals(app: App, kind: FileType) -> list[Proposal]:
    """The keys that are seen often, those in most records first."""
    if kind.definition is None:
        return []
    found = [each for each in unknown_keys(app.database, kind.name, kind.definition) if each.is_proposed]
    return [Proposal(each, None if each.inside else _drafted(each.key, [_sample(each.sample)])) for each in found]


def with_adopted(app: App, file_type: str, raw: dict[str, Any], adopted: Sequence[str]) -> dict[str, Any]:
    """An update with a field more for each of `adopted`, `KEY[:NAME[:TYPE]]`; `raw` is the rest of it.

    Without TYPE it is told by the values that are rescued in the table. Raises UsageError for a key that cannot be
    adopted.
    """
    kind = app.registry.get(file_type)
    if kind.definition is None:
        raise UsageError(f"updating {file_type}: it has no schema yet; use: lemonade types activate {file_type}")
    unknown = {each.key: each for each in unknown_keys(app.database, file_type, kind.definition)}
    row = next(each for each in app.registry.describe() if each["file_type"] == file_type)
    definition = raw.get("schema_definition") or row["schema_definition"]
    fields = [_adopted(app, kind, spec, unknown) for spec in adopted]
    return {**raw, "schema_definition": {**definition, "fields": [*definition["fields"], *fields]}}


def _adopted(app: App, kind: FileType, spec: str, unknown: dict[str, SeenKey]) -> dict[str, Any]:
    key, name, type_ = _parse(spec, unknown)
    what = f"adopting {key!r} for {kind.name}"
    assert kind.definition is not None  # noqa: S101 - with_adopted has looked
    if any(field.key == key for field in kind.definition.fields):
        raise UsageError(f"{what}: it is a field already; to fill its column, say --backfill")
    if (field := inside(kind.definition, key)) is not None:
        raise UsageError(f'{what}: it stands inside of the field "{field}"; give that field\'s new type with --file')
    drafted: dict[str, Any] = {}
    if type_ is None:
        if key not in unknown:
            known = ", ".join(unknown) or "none"
            raise UsageError(f"{what}: no record had it; rescued keys are: {known}; or give KEY:NAME:TYPE")
        drafted = _drafted(key, _values(app, kind, key) or [_sample(unknown[key].sample)])
    else:
        drafted = {"type": json.loads(type_) if type_.startswith("{") else type_}
    name = name or drafted.get("name") or key
    settings = {each: value for each, value in drafted.items() if each in ("type", "format", "coerce")}
    return {"name": name, **settings, **({} if name == key else {"source": key})}


def _parse(spec: str, unknown: dict[str, SeenKey]) -> tuple[str, str | None, str | None]:
    """`KEY[:NAME[:TYPE]]`; a key that was seen may hold colons itself."""
    for key in sorted(unknown, key=len, reverse=True):
        if spec == key:
            return key, None, None
        if spec.startswith(f"{key}:"):
            name, _, type_ = spec[len(key) + 1 :].partition(":")
            return key, name or None, type_ or None
    key, _, rest = spec.partition(":")
    name, _, type_ = rest.partition(":")
    return key, name or None, type_ or None


def _values(app: App, kind: FileType, key: str) -> list[bytes]:
    from processors.change.rescued_values import rescued_values

    return rescued_values(app.lake(), kind.table_name, key, _VALUES)


def _drafted(key: str, values: Sequence[bytes]) -> dict[str, Any]:
    """The field that all these JSON values fit, with a name that a column may have."""
    from processors.drafts.sample import Sample
    from processors.drafts.schema_draft import draft

    encoded = json.dumps(key, ensure_ascii=False).encode("utf-8", "replace")
    made = draft(Sample(records=[b"{%s:%s}" % (encoded, value) for value in values]), "adopted")
    if made.raw is None:
        return {"name": _name(key), "type": "json"}
    (field,) = made.raw["schema_definition"]["fields"]
    return {**field, "name": _name(field["name"])}


def _name(name: str) -> str:
    return f"{name}_" if name.lower() in (DATE_COLUMN, *LINEAGE, RESCUED) else name


def _sample(text: str) -> bytes:
    """A sample as JSON; of one that was cut, a value of its kind."""
    try:
        json.loads(text)
    except ValueError:
        return {"{": b'{"cut": {}}', "[": b"[{}, 1]", '"': b'"text"'}.get(text[:1], b"0.5")
    return text.encode()
