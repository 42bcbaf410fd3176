"""What the ledgers of undo, replay and backfill have in common: the way from state to state, and the snapshots.

Operations move between the same states as micro-batches do. What each kind does beside is said in its own module.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import date, datetime
from typing import ClassVar, NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import Session

from metadata.database.legal_steps import get_operation, move_operation
from metadata.database.models import Operation
from metadata.database.states import BatchState
from metadata.database.store import Store
from metadata.ledger.summary_days import touch_days


class RemovedPart(NamedTuple):
    """What an operation takes out of one table."""

    removed_paths: Sequence[str]  #: data files that go
    added_paths: Sequence[str]  #: data files that hold what stays of those
    rows: int  #: taken out
    event_days: Iterable[date] = ()


class OperationLedger(Store):
    """Operations of some kinds; a subclass plans and prepares them, and says what else their ends bring along."""

    kinds: ClassVar[tuple[str, ...]]

    def record(
        self,
        operation_id: str,
        *,
        snapshot_id: int | None,
        quarantine_snapshot_id: int | None,
        summary_table: str | None,
    ) -> None:
        """Step 5: the snapshots are in their tables, the days that it touched are dirty."""
        with self.database.writing() as session:
            row, now = get_operation(session, operation_id), self.clock.now()
            move_operation(row, BatchState.COMMITTED)
            row.snapshot_id, row.quarantine_snapshot_id = snapshot_id, quarantine_snapshot_id
            row.committed_at, row.error = now, None
            if summary_table is not None:
                touch_days(session, summary_table, row.file_type, row.event_days or [])
            self._recorded(session, row, now)

    def settle(self, operation_id: str) -> Operation:
        """Step 6, at its end: it is over."""
        with self.database.writing() as session:
            row = get_operation(session, operation_id)
            move_operation(row, BatchState.SETTLED)
            row.settled_at = self.clock.now()
            self._settled(session, row)
            return row

    def abandon(self, operation_id: str, error: str) -> None:
        """Give up before Prepare: nothing was changed."""
        with self.database.writing() as session:
            row = get_operation(session, operation_id)
            move_operation(row, BatchState.ABANDONED)
            row.error, row.settled_at = error, self.clock.now()
            self._abandoned(session, row)

    def get(self, operation_id: str) -> Operation:
        """One operation; Fatal when it is not in the books."""
        with self.database.reading() as session:
            return get_operation(session, operation_id)

    def unsettled(self) -> list[Operation]:
        """Those of its kinds that are neither settled nor abandoned, oldest first."""
        with self.database.reading() as session:
            return unsettled_among(session, self.kinds)

    def _planned(self, operation_id: str, kind: str, *, file_type: str, table_name: str) -> Operation:
        """Step 1: a new row."""
        return Operation(
            id=operation_id,
            kind=kind,
            file_type=file_type,
            table_name=table_name,
            state=BatchState.PLANNED.value,
            file_ids=[],
            planned_at=self.clock.now(),
        )

    def _prepared(self, session: Session, operation_id: str) -> Operation:
        """Step 3: the row, prepared; also when it was before, for after a conflict it is said again."""
        row = get_operation(session, operation_id)
        if row.state != BatchState.PREPARED:
            move_operation(row, BatchState.PREPARED)
        row.prepared_at = self.clock.now()
        return row

    def _recorded(self, session: Session, row: Operation, now: datetime) -> None:
        """What becomes of its files with its commit."""

    def _settled(self, session: Session, row: Operation) -> None:
        """What else is over with it."""

    def _abandoned(self, session: Session, row: Operation) -> None:
        """What it had reserved is free again."""


def unsettled_among(session: Session, kinds: Collection[str] = ()) -> list[Operation]:
    """Operations of these kinds (of all without any) that are neither settled nor abandoned, oldest first."""
    over = [BatchState.SETTLED.value, BatchState.ABANDONED.value]
    query = select(Operation).where(Operation.state.not_in(over)).order_by(Operation.id)
    return list(session.scalars(query.where(Operation.kind.in_(kinds)) if kinds else query))
