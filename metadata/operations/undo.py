"""The ledger of undo: operations that take the rows of source files out of a table, and what becomes of the files.

Each method is one transaction. Operations move between the same states as micro-batches do; their steps are explained
in `processors.change.undo`. A replacement's row is written by the ledger itself, in the transactions of its batch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Literal

from sqlalchemy import select
from sqlalchemy.orm import Session

from metadata.database.id_chunks import id_chunks
from metadata.database.legal_steps import move_file
from metadata.database.models import Batch, Operation, ReplayRecord, SourceFile
from metadata.database.states import FileState
from metadata.ledger.file_history import note_many
from metadata.ledger.reject_counts import forget_replays
from metadata.operations.base import OperationLedger, RemovedPart, unsettled_among


class UndoLedger(OperationLedger):
    """Undos on the metadata database."""

    kinds = ("undo",)

    # -- the steps of an undo -----------------------------------------------------------------------------------------

    def plan(
        self, operation_id: str, *, file_type: str, table_name: str, batch_id: str | None, file_ids: Sequence[str]
    ) -> Operation:
        """Step 1: which files' rows are taken out; `batch_id` when they are all that the batch has loaded."""
        row = self._planned(operation_id, "undo", file_type=file_type, table_name=table_name)
        row.batch_id, row.file_ids = batch_id, list(file_ids)
        with self.database.writing() as session:
            session.add(row)
        return row

    def prepare(self, operation_id: str, *, table: RemovedPart | None, quarantine: RemovedPart | None) -> None:
        """Step 3: the data files that go and come, the rows, the days, of the type's table and of the quarantine.

        May be said again, after a conflict; what is None stays as it is on record.
        """
        with self.database.writing() as session:
            row = self._prepared(session, operation_id)
            if table is not None:
                row.removed_paths, row.added_paths = sorted(table.removed_paths), sorted(table.added_paths)
                row.removed_rows = table.rows
                row.event_days = sorted(day.isoformat() for day in table.event_days)
            if quarantine is not None:
                row.quarantine_rows = quarantine.rows
                row.detail = {
                    "quarantine_removed": sorted(quarantine.removed_paths),
                    "quarantine_added": sorted(quarantine.added_paths),
                }

    def _recorded(self, session: Session, row: Operation, now: datetime) -> None:
        """The files are undone, what they had replaced is claimed again, what was replayed of them is forgotten."""
        apply_undo(session, row, now)

    def _settled(self, session: Session, row: Operation) -> None:
        for file in _replaced_by(session, row.file_ids):
            if file.state != FileState.REPLACED:
                file.replaced_by = None

    # -- reading ------------------------------------------------------------------------------------------------------

    def replacing(self) -> list[Operation]:
        """Replacements that are neither settled nor abandoned, oldest first; each goes the way of its batch."""
        with self.database.reading() as session:
            return unsettled_among(session, ["replace"])

    def files(self, operation: Operation) -> list[SourceFile]:
        """The files whose rows the operation takes out."""
        with self.database.reading() as session:
            return _files(session, operation.file_ids)

    def replaced_by(self, file_ids: Sequence[str]) -> list[SourceFile]:
        """The files whose place these have taken, and those that come back for them while an undo is settled."""
        with self.database.reading() as session:
            return _replaced_by(session, file_ids)

    def days_of(self, files: Sequence[SourceFile]) -> set[str]:
        """The event days of the rows that these files may have: of their micro-batches, and of later replays."""
        days: set[str] = set()
        with self.database.reading() as session:
            for batch_ids in id_chunks(sorted({file.batch_id for file in files if file.batch_id is not None})):
                batches = select(Batch.event_days).where(Batch.id.in_(batch_ids))
                replays = (
                    select(Operation.event_days)
                    .join(ReplayRecord, ReplayRecord.operation_id == Operation.id)
                    .where(ReplayRecord.batch_id.in_(batch_ids))
                    .group_by(Operation.id)
                )
                for each in (*session.scalars(batches), *session.scalars(replays)):
                    days |= set(each or [])
        return days

    def batch(self, batch_id: str) -> tuple[Batch | None, list[SourceFile]]:
        """The batch of that id, None when there is none, and the files that it was the last batch of."""
        with self.database.reading() as session:
            query = select(SourceFile).where(SourceFile.batch_id == batch_id).order_by(SourceFile.id)
            return session.get(Batch, batch_id), list(session.scalars(query))


def apply_undo(session: Session, row: Operation, now: datetime, loads: Mapping[str, str] | None = None) -> None:
    """Its files are undone, what they had replaced is claimed again, in the caller's transaction.

    `loads`: the batch whose load of each file is meant; one that was loaded again since stays.
    """
    undone, back = [], []
    for file in _files(session, row.file_ids):
        if file.state == FileState.LOADED and (loads is None or loads.get(file.id) == file.batch_id):
            move_file(file, FileState.UNDONE)
            forget_replays(session, [file])
            file.rows, file.rejected, file.settled_at = 0, 0, None
            undone.append(file.id)
    for file in _replaced_by(session, undone):
        if file.state == FileState.REPLACED:
            move_file(file, FileState.CLAIMED)
            file.batch_id, file.settled_at, file.claimed_at = None, None, now
            back.append(file.id)
    note_many(session, undone, now, f"undone by operation {row.id}")
    note_many(session, back, now, "the load that had replaced it was undone")


def _files(session: Session, file_ids: Sequence[str]) -> list[SourceFile]:
    return _among(session, "id", file_ids)


def _replaced_by(session: Session, file_ids: Sequence[str]) -> list[SourceFile]:
    return _among(session, "replaced_by", file_ids)


def _among(session: Session, column: Literal["id", "replaced_by"], values: Sequence[str]) -> list[SourceFile]:
    found: list[SourceFile] = []
    for some in id_chunks(values):
        wanted = getattr(SourceFile, column).in_(some)
        found += session.scalars(select(SourceFile).where(wanted).order_by(SourceFile.id))
    return found
