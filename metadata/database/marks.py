"""Marks: when something of the daemon's happened last. The schedule's memory across restarts."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import select

from metadata.database.engine import Database
from metadata.database.models import Mark


class Marks:
    """Named moments in the metadata database."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def set(self, name: str, at: datetime, detail: dict[str, Any] | None = None) -> None:
        """`name` happened at `at`."""
        with self.database.writing() as session:
            session.merge(Mark(name=name, at=at, detail=detail))

    def get(self, name: str) -> datetime | None:
        """When `name` happened last; None if never."""
        with self.database.reading() as session:
            mark = session.get(Mark, name)
            return None if mark is None else mark.at

    def all(self) -> dict[str, Mark]:
        """Every mark by its name."""
        with self.database.reading() as session:
            return {mark.name: mark for mark in session.scalars(select(Mark))}
