"""The ledger of undo: operations that take the rows of source files out of a table, and what becomes of the files.

Each method is one transaction. Operations move between the same states as micro-batches do; their steps are explained
in `processors.undo`. A replacement's row is written by the ledger itself, in the transactions of its batch.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date
from typing import Literal

from sqlalchemy import select
from sqlalchemy.orm import Session

from metadata.clock import Clock
from metadata.database import Database
from metadata.errors import Fatal
from metadata.history import note_many
from metadata.ledger import _move_file as move_file
from metadata.ledger import touch_day
from metadata.models import Batch, Operation, SourceFile
from metadata.states import BATCH_MOVES, BatchState, FileState

_IDS_AT_ONCE = 5000


class Operations:
    """Operations on the metadata database."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self.database = database
        self.clock = clock

    # -- the steps of an undo -----------------------------------------------------------------------------------------

    def plan(
        self, operation_id: str, *, file_type: str, table_name: str, batch_id: str | None, file_ids: Sequence[str]
    ) -> Operation:
        """Step 1: which files' rows are taken out; `batch_id` when they are all that the batch has loaded."""
        row = Operation(
            id=operation_id,
            kind="undo",
            file_type=file_type,
            table_name=table_name,
            state=BatchState.PLANNED.value,
            batch_id=batch_id,
            file_ids=list(file_ids),
            planned_at=self.clock.now(),
        )
        with self.database.writing() as session:
            session.add(row)
        return row

    def prepare(
        self,
        operation_id: str,
        *,
        removed_paths: Sequence[str],
        added_paths: Sequence[str],
        removed_rows: int,
        event_days: Iterable[date],
    ) -> None:
        """Step 3: the data files that go and come, the rows, the days. May be said again, after a conflict."""
        with self.database.writing() as session:
            row = _operation(session, operation_id)
            if row.state != BatchState.PREPARED:
                _move(row, BatchState.PREPARED)
            row.removed_paths, row.added_paths = sorted(removed_paths), sorted(added_paths)
            row.removed_rows, row.prepared_at = removed_rows, self.clock.now()
            row.event_days = sorted(day.isoformat() for day in event_days)

    def record(self, operation_id: str, *, snapshot_id: int | None, summary_table: str | None) -> None:
        """Step 5: the snapshot; the files are undone, what they had replaced is claimed again, their days are dirty."""
        with self.database.writing() as session:
            row, now = _operation(session, operation_id), self.clock.now()
            _move(row, BatchState.COMMITTED)
            row.snapshot_id, row.committed_at, row.error = snapshot_id, now, None
            undone, back = [], []
            for file in _files(session, row.file_ids):
                if file.state == FileState.LOADED:
                    move_file(file, FileState.UNDONE)
                    file.rows, file.settled_at = 0, None
                    undone.append(file.id)
            for file in _replaced_by(session, undone):
                if file.state == FileState.REPLACED:
                    move_file(file, FileState.CLAIMED)
                    file.batch_id, file.settled_at, file.claimed_at = None, None, now
                    back.append(file.id)
            note_many(session, undone, now, f"undone by operation {operation_id}")
            note_many(session, back, now, "the load that had replaced it was undone")
            if summary_table is not None:
                for day in row.event_days or []:
                    touch_day(session, summary_table, row.file_type, date.fromisoformat(day))

    def settle(self, operation_id: str) -> None:
        """Step 6, at its end: all files are where they belong."""
        with self.database.writing() as session:
            row = _operation(session, operation_id)
            _move(row, BatchState.SETTLED)
            row.settled_at = self.clock.now()
            for file in _replaced_by(session, row.file_ids):
                if file.state != FileState.REPLACED:
                    file.replaced_by = None

    def abandon(self, operation_id: str, error: str) -> None:
        """Give up before Prepare: nothing was changed."""
        with self.database.writing() as session:
            row = _operation(session, operation_id)
            _move(row, BatchState.ABANDONED)
            row.error, row.settled_at = error, self.clock.now()

    # -- reading ------------------------------------------------------------------------------------------------------

    def get(self, operation_id: str) -> Operation:
        """One operation; Fatal when it is not in the books."""
        with self.database.reading() as session:
            return _operation(session, operation_id)

    def unsettled(self, kind: Literal["undo", "replace"] = "undo") -> list[Operation]:
        """Operations that are neither settled nor abandoned, oldest first; a replacement goes the way of its batch."""
        over = [BatchState.SETTLED.value, BatchState.ABANDONED.value]
        query = select(Operation).where(Operation.kind == kind, Operation.state.not_in(over)).order_by(Operation.id)
        with self.database.reading() as session:
            return list(session.scalars(query))

    def files(self, operation: Operation) -> list[SourceFile]:
        """The files whose rows the operation takes out."""
        with self.database.reading() as session:
            return _files(session, operation.file_ids)

    def replaced_by(self, file_ids: Sequence[str]) -> list[SourceFile]:
        """The files whose place these have taken, and those that come back for them while an undo is settled."""
        with self.database.reading() as session:
            return _replaced_by(session, file_ids)

    def batches_of(self, files: Sequence[SourceFile]) -> list[Batch]:
        """The micro-batches that loaded these files."""
        wanted = sorted({file.batch_id for file in files if file.batch_id is not None})
        with self.database.reading() as session:
            return list(session.scalars(select(Batch).where(Batch.id.in_(wanted)).order_by(Batch.id)))

    def batch(self, batch_id: str) -> tuple[Batch | None, list[SourceFile]]:
        """The batch of that id, None when there is none, and the files that it was the last batch of."""
        with self.database.reading() as session:
            query = select(SourceFile).where(SourceFile.batch_id == batch_id).order_by(SourceFile.id)
            return session.get(Batch, batch_id), list(session.scalars(query))


def _operation(session: Session, operation_id: str) -> Operation:
    row = session.get(Operation, operation_id)
    if row is None:
        raise Fatal(f"looking up operation {operation_id}: it is not in the ledger; was the ledger restored or edited?")
    return row


def _move(row: Operation, to: BatchState) -> None:
    if to not in BATCH_MOVES[BatchState(row.state)]:
        raise Fatal(f"moving operation {row.id} from {row.state} to {to.value}: not a legal step")
    row.state = to.value


def _files(session: Session, file_ids: Sequence[str]) -> list[SourceFile]:
    return _among(session, "id", file_ids)


def _replaced_by(session: Session, file_ids: Sequence[str]) -> list[SourceFile]:
    return _among(session, "replaced_by", file_ids)


def _among(session: Session, column: Literal["id", "replaced_by"], values: Sequence[str]) -> list[SourceFile]:
    found: list[SourceFile] = []
    for start in range(0, len(values), _IDS_AT_ONCE):
        some = getattr(SourceFile, column).in_(values[start : start + _IDS_AT_ONCE])
        found += session.scalars(select(SourceFile).where(some).order_by(SourceFile.id))
    return found
