"""Rows of `table_metadata`, read as text and written by statements.

They are never loaded as objects, so that a broken time in one cannot stop the others.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import LargeBinary, Text, cast, insert, select, type_coerce, update
from sqlalchemy.orm import Session

from metadata.clock import Clock
from metadata.database.models import TableMetadata
from metadata.registry.drafts import DRAFT_COLUMNS
from metadata.registry.rows import COLUMNS, Row, decoded


class TableRows:
    """The rows, in a session of the caller's; `as_bytes`: the database is SQLite, which takes any bytes for text."""

    def __init__(self, clock: Clock, *, as_bytes: bool) -> None:
        self.clock = clock
        self.as_bytes = as_bytes

    def read(self, session: Session, *, drafts: bool = False) -> list[Row]:
        """Every column of every row as text. SQLite hands out bytes: text that is no UTF-8 would raise on reading.

        Drafts can be long, and this is asked at each scan: without `drafts` they are left out.
        """
        names = [name for name in COLUMNS if drafts or name not in DRAFT_COLUMNS]
        columns = [
            cast(column, LargeBinary) if self.as_bytes else cast(type_coerce(column, Text), Text)
            for column in (TableMetadata.__table__.columns[name] for name in names)
        ]
        found = session.execute(select(*columns).order_by(TableMetadata.id))
        return [dict(zip(names, map(decoded, row), strict=True)) for row in found]

    def insert(self, session: Session, values: Mapping[str, Any]) -> None:
        """Add a row."""
        now = self.clock.now()
        session.execute(insert(TableMetadata).values(**values, created_at=now, updated_at=now))

    def write(self, session: Session, file_type: str, values: Mapping[str, Any]) -> None:
        """Write a checked change; the errors of before are not its own."""
        now = self.clock.now()
        session.execute(
            update(TableMetadata)
            .where(TableMetadata.file_type == file_type)
            .values(**values, last_error=None, last_error_at=None, updated_at=now)
        )
