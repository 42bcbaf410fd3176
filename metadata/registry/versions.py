"""The versions of a type's schema as rows of `schema_versions`: written with the change they record, never changed.

A person may change a type with plain SQL, which writes no row: then versions are missing, and nothing depends on them
but what can be told of the past.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from metadata.database.models import SchemaVersion
from metadata.errors import ConfigurationError
from metadata.types.definition import Definition
from metadata.types.parse_definition import parse_definition


def record(
    session: Session, file_type: str, version: int, definition: str, changes: Sequence[str], at: datetime
) -> None:
    """Write a new version: its definition as JSON text, and what changed against the one before, in words."""
    session.add(
        SchemaVersion(
            file_type=file_type, version=version, schema_definition=definition, changes=list(changes), created_at=at
        )
    )
    session.flush()


def last_number(session: Session, file_type: str) -> int:
    """The highest version on record, 0 when there is none."""
    return session.scalar(select(func.max(SchemaVersion.version)).where(SchemaVersion.file_type == file_type)) or 0


def of_type(session: Session, file_type: str) -> list[SchemaVersion]:
    """Every version on record, oldest first."""
    query = select(SchemaVersion).where(SchemaVersion.file_type == file_type).order_by(SchemaVersion.version)
    return list(session.scalars(query))


def definitions(versions: Sequence[SchemaVersion]) -> list[Definition]:
    """Their definitions, without those that cannot be read (any more)."""
    found: list[Definition] = []
    for row in versions:
        try:
            found.append(parse_definition(json.loads(row.schema_definition)))
        except (ValueError, RecursionError, ConfigurationError):
            continue
    return found
