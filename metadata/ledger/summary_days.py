"""Days to summarise: which have rows that their summary has not. Told to `processors.read.summary`."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date

from sqlalchemy import select
from sqlalchemy.orm import Session

from metadata.database.models import SummaryDay
from metadata.database.store import Store


class SummaryDays(Store):
    """The days of every summary, each with a generation that grows whenever its rows change."""

    def dirty_days(self, summary_table: str, before: date | None = None) -> list[tuple[date, int]]:
        """Days (with their generation) whose summary is older than their rows, oldest first; only days < `before`."""
        query = (
            select(SummaryDay.day, SummaryDay.generation)
            .where(SummaryDay.summary_table == summary_table, SummaryDay.generation > SummaryDay.built_generation)
            .order_by(SummaryDay.day)
        )
        if before is not None:
            query = query.where(SummaryDay.day < before)
        with self.database.reading() as session:
            return [(day, generation) for day, generation in session.execute(query)]

    def day_generation(self, summary_table: str, day: date) -> int:
        """The day's generation now; 0 for a day without rows so far. Read it before the rows are read."""
        with self.database.reading() as session:
            row = session.get(SummaryDay, (summary_table, day))
            return 0 if row is None else row.generation

    def day_built(
        self, summary_table: str, file_type: str, day: date, generation: int, *, rows: int, snapshot_id: int | None
    ) -> None:
        """The summary of `day` now holds what generation `generation` held; a later one stays dirty."""
        with self.database.writing() as session:
            row = session.get(SummaryDay, (summary_table, day))
            if row is None:
                row = SummaryDay(summary_table=summary_table, day=day, file_type=file_type, generation=generation)
                session.add(row)
            row.built_generation, row.built_at = generation, self.clock.now()
            row.rows, row.snapshot_id = rows, snapshot_id


def touch_days(session: Session, summary_table: str, file_type: str, days: Iterable[str]) -> None:
    """Make days (in ISO 8601) dirty, within the transaction that changes their rows."""
    for day in sorted(set(days)):
        key = (summary_table, date.fromisoformat(day))
        row = session.get(SummaryDay, key)
        if row is None:
            row = SummaryDay(summary_table=key[0], day=key[1], file_type=file_type, generation=0, built_generation=0)
            session.add(row)
        row.generation += 1
