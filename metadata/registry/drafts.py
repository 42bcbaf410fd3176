"""Drafts of schemas on the records of types that have none, and the held files that they are made from.

A draft is a types file; its facts say what it was made of (see `processors.drafts.schema_draft`), with `held`: how many
files were held for the type then. Both are cleared when the type gets its schema.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select, update

from metadata.clock import Clock
from metadata.database.engine import Database
from metadata.database.models import SourceFile, TableMetadata
from metadata.database.states import FileState
from metadata.errors import ConfigurationError, UsageError

DRAFT_COLUMNS = ("draft", "draft_facts", "drafted_at")


@dataclass(frozen=True)
class HeldPrefix:
    """How many files of one prefix are held."""

    prefix: str
    files: int
    name: str  #: of one of them


@dataclass(frozen=True)
class HeldFile:
    """A held file and where it is."""

    name: str
    path: str


class Drafts:
    """Drafts in the metadata database."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self.database = database
        self.clock = clock

    def held(self) -> list[HeldPrefix]:
        """The prefixes of all held files."""
        query = (
            select(SourceFile.prefix, func.count(), func.min(SourceFile.name))
            .where(SourceFile.state == FileState.HELD.value, SourceFile.prefix.is_not(None))
            .group_by(SourceFile.prefix)
        )
        with self.database.reading() as session:
            return [HeldPrefix(str(prefix), count, name) for prefix, count, name in session.execute(query)]

    def held_files(self, prefixes: Sequence[str], limit: int) -> list[HeldFile]:
        """At most `limit` held files of these prefixes: the oldest and the newest."""
        query = select(SourceFile.id, SourceFile.name, SourceFile.path).where(
            SourceFile.state == FileState.HELD.value, SourceFile.prefix.in_(prefixes)
        )
        with self.database.reading() as session:
            oldest = session.execute(query.order_by(SourceFile.id).limit(limit - limit // 2)).all()
            newest = session.execute(query.order_by(SourceFile.id.desc()).limit(limit // 2)).all()
        found = {row.id: HeldFile(row.name, row.path) for row in [*oldest, *newest]}
        return [found[file_id] for file_id in sorted(found)]

    def held_when_drafted(self) -> dict[str, int]:
        """Of each type without a schema for which a draft was tried: how many files were held for it then."""
        query = select(TableMetadata.file_type, TableMetadata.draft_facts).where(
            TableMetadata.schema_definition.is_(None), TableMetadata.draft_facts.is_not(None)
        )
        with self.database.reading() as session:
            rows = session.execute(query).all()
        return {file_type: _held(facts) for file_type, facts in rows}

    def keep(self, file_type: str, draft: Mapping[str, Any] | None, facts: Mapping[str, Any]) -> bool:
        """Put a draft on the record of a type; False when the type has a schema by now, or is gone.

        Without a draft (nothing could be drafted) an earlier one stays.
        """
        values: dict[str, Any] = {"draft_facts": json.dumps(facts), "drafted_at": self.clock.now()}
        if draft is not None:
            values["draft"] = json.dumps(draft)
        of_the_type = (TableMetadata.file_type == file_type) & TableMetadata.schema_definition.is_(None)
        with self.database.writing() as session:
            if session.execute(select(TableMetadata.id).where(of_the_type)).first() is None:
                return False
            session.execute(update(TableMetadata).where(of_the_type).values(**values))
            return True


def draft_of(row: Mapping[str, str | None], given: Mapping[str, Any] | None, operation: str) -> dict[str, Any]:
    """The types file that a type without a schema is activated with: `given`, or else the draft on its row.

    Raises UsageError when there is none, ConfigurationError when it is not one of this type.
    """
    name = row["file_type"]
    raw: Any = given
    if raw is None:
        if row["draft"] is None:
            tried = "none could be drafted from its held files; see why: lemonade types infer " + str(name)
            why = tried if row["draft_facts"] else "none was drafted yet; drop a file of it into incoming/"
            raise UsageError(
                f"{operation}: it has no schema, and {why}; or draft one from other files with: lemonade types infer "
                f"FILE…, or describe it: lemonade types activate {name} --file TYPE.json"
            )
        try:
            raw = json.loads(row["draft"])
        except (ValueError, RecursionError) as error:
            raise ConfigurationError(operation, [f"its draft is no JSON: {error}"]) from error
    if not isinstance(raw, Mapping):
        raise ConfigurationError(operation, ["a types file is a JSON object"])
    if raw.get("file_type", name) != name:
        raise ConfigurationError(operation, [f"file_type {raw['file_type']!r}: the file describes another type"])
    if raw.get("schema_definition") is None:
        raise ConfigurationError(operation, ["there is no schema_definition; see: lemonade types show"])
    return {**raw, "file_type": name}


def _held(facts: str | None) -> int:
    try:
        held = json.loads(facts or "{}")["held"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return 0  # somebody wrote it by hand: draft again
    return held if isinstance(held, int) else 0
