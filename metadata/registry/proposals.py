"""Proposals: keys that records of a type have, its schema has not, and that are seen often enough to be fields."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select

from metadata.database.engine import Database
from metadata.database.models import SourceFile, UnknownField
from metadata.database.states import FileState
from metadata.types.definition import Definition

MANY_RECORDS = 100
MIN_RECORDS, MIN_SHARE = 10, 0.01
"""A key is proposed when many records had it, or fewer that are this share of those since it was first seen."""


@dataclass(frozen=True)
class SeenKey:
    """A key that the schema has not, as it was counted; `sample` is the JSON text of one value, cut when long."""

    key: str
    records: int
    files: int
    share: float  #: of the records that came since it was first seen
    sample: str
    first_seen: datetime
    last_seen: datetime
    inside: str | None  #: the field inside of which it stands; None: beside the fields

    @property
    def is_proposed(self) -> bool:
        """Whether it is seen often."""
        return self.records >= MANY_RECORDS or (self.records >= MIN_RECORDS and self.share >= MIN_SHARE)


def unknown_keys(database: Database, file_type: str, definition: Definition) -> list[SeenKey]:
    """The keys that a type's schema has not (any more), those in most records first."""
    known = {field.key for field in definition.fields}
    with database.reading() as session:
        rows = session.scalars(select(UnknownField).where(UnknownField.file_type == file_type)).all()
        found = []
        for row in rows:
            if row.key in known:
                continue
            since = select(func.sum(SourceFile.records)).where(
                SourceFile.file_type == file_type,
                SourceFile.state == FileState.LOADED.value,
                SourceFile.settled_at >= row.first_seen,
            )
            records = max(int(session.scalar(since) or 0), row.records)
            found.append(
                SeenKey(
                    key=row.key,
                    records=row.records,
                    files=row.files,
                    share=row.records / records if records else 0.0,
                    sample=row.sample,
                    first_seen=row.first_seen,
                    last_seen=row.last_seen,
                    inside=inside(definition, row.key),
                )
            )
    return sorted(found, key=lambda each: (-each.records, each.key))


def inside(definition: Definition, key: str) -> str | None:
    """The field in whose nested type an unknown key stands; None when it is a key of the record itself."""
    for field in definition.fields:
        if isinstance(field.type, dict) and key.startswith((f"{field.key}.", f"{field.key}[")):
            return field.name
    return None
