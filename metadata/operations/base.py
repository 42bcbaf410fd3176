"""The rows of operations, of whatever kind: what the ledgers of undo, replay and backfill have in common."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from metadata.clock import Clock
from metadata.database.engine import Database
from metadata.database.models import Operation
from metadata.database.states import BATCH_MOVES, BatchState
from metadata.errors import Fatal
from metadata.ledger.summary_days import touch_days


class OperationRows:
    """Operations on the metadata database; each method is one transaction."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self.database = database
        self.clock = clock

    def abandon(self, operation_id: str, error: str) -> None:
        """Give up before Prepare: nothing was changed."""
        with self.database.writing() as session:
            row = operation_of(session, operation_id)
            move_operation(row, BatchState.ABANDONED)
            row.error, row.settled_at = error, self.clock.now()
            self._let_go(session, operation_id)

    def get(self, operation_id: str) -> Operation:
        """One operation; Fatal when it is not in the books."""
        with self.database.reading() as session:
            return operation_of(session, operation_id)

    def _let_go(self, session: Session, operation_id: str) -> None:
        """What an operation that is given up had reserved is free again."""


def operation_of(session: Session, operation_id: str) -> Operation:
    """One operation; Fatal when it is not in the books."""
    row = session.get(Operation, operation_id)
    if row is None:
        raise Fatal(f"looking up operation {operation_id}: it is not in the ledger; was the ledger restored or edited?")
    return row


def record_commit(
    session: Session,
    row: Operation,
    now: datetime,
    *,
    snapshot_id: int | None,
    quarantine_snapshot_id: int | None = None,
    summary_table: str | None,
) -> None:
    """Step 5 of every kind: its snapshots are in their tables, the days that it touched are dirty."""
    move_operation(row, BatchState.COMMITTED)
    row.snapshot_id, row.quarantine_snapshot_id = snapshot_id, quarantine_snapshot_id
    row.committed_at, row.error = now, None
    if summary_table is not None:
        touch_days(session, summary_table, row.file_type, row.event_days or [])


def move_operation(row: Operation, to: BatchState) -> None:
    """To a state that may follow the one it is in; else Fatal."""
    if to not in BATCH_MOVES[BatchState(row.state)]:
        raise Fatal(f"moving operation {row.id} from {row.state} to {to.value}: not a legal step")
    row.state = to.value


def unsettled_among(session: Session, kinds: Collection[str] = ()) -> list[Operation]:
    """Operations of these kinds (of all without any) that are neither settled nor abandoned, oldest first."""
    over = [BatchState.SETTLED.value, BatchState.ABANDONED.value]
    query = select(Operation).where(Operation.state.not_in(over)).order_by(Operation.id)
    return list(session.scalars(query.where(Operation.kind.in_(kinds)) if kinds else query))
