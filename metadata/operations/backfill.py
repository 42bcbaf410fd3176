"""The ledger of backfills: operations that put rescued values of old rows into the columns of their fields.

They change no file's books: its rows are as many as before, wherever they lie. Each method is one transaction; the
steps are explained in `processors.change.backfill`.
"""

from __future__ import annotations

from collections.abc import Mapping

from metadata.database.models import Operation
from metadata.database.states import BatchState
from metadata.operations.base import OperationRows, move_operation, operation_of, record_commit, unsettled_among
from metadata.operations.undo import RemovedPart

KIND = "backfill"


class Backfills(OperationRows):
    """Backfills on the metadata database."""

    def plan(self, operation_id: str, *, file_type: str, table_name: str, schema_version: int) -> None:
        """Step 1: of which type."""
        with self.database.writing() as session:
            session.add(
                Operation(
                    id=operation_id,
                    kind=KIND,
                    file_type=file_type,
                    table_name=table_name,
                    state=BatchState.PLANNED.value,
                    file_ids=[],
                    schema_version=schema_version,
                    planned_at=self.clock.now(),
                )
            )

    def prepare(self, operation_id: str, part: RemovedPart, detail: Mapping[str, object]) -> None:
        """Step 3: data files that go and come, days, what changes in detail. May be said again, after a conflict."""
        with self.database.writing() as session:
            row = operation_of(session, operation_id)
            if row.state != BatchState.PREPARED:
                move_operation(row, BatchState.PREPARED)
            row.removed_paths, row.added_paths = sorted(part.removed_paths), sorted(part.added_paths)
            row.event_days = sorted(day.isoformat() for day in part.event_days)
            row.detail, row.prepared_at = {"rows": part.rows, **detail}, self.clock.now()

    def record(self, operation_id: str, *, snapshot_id: int | None, summary_table: str | None) -> None:
        """Step 5: the snapshot; the days are dirty when a summary is kept of the fields."""
        with self.database.writing() as session:
            row = operation_of(session, operation_id)
            now = self.clock.now()
            record_commit(session, row, now, snapshot_id=snapshot_id, summary_table=summary_table)

    def settle(self, operation_id: str) -> Operation:
        """Step 6: it is over."""
        with self.database.writing() as session:
            row = operation_of(session, operation_id)
            move_operation(row, BatchState.SETTLED)
            row.settled_at = self.clock.now()
            return row

    def unsettled(self) -> list[Operation]:
        """Backfills that are neither settled nor abandoned, oldest first."""
        with self.database.reading() as session:
            return unsettled_among(session, [KIND])
