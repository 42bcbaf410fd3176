"""The ledger of replay and discard: which rejected records an operation has taken, and what became of them.

A rejected record is told by the micro-batch that rejected it, its file and its number there. At Plan an operation
reserves its records: the primary key of `replay_records` lets nobody else take them, whether the process dies or a
second replay asks. Each method is one transaction; the steps are explained in `processors.change.replay`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date, datetime
from typing import Literal

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from metadata.database.id_chunks import id_chunks
from metadata.database.models import Batch, Operation, ReplayRecord, SourceFile
from metadata.database.states import BatchState, FileState
from metadata.errors import Fatal
from metadata.ledger.file_history import note_many
from metadata.ledger.values import RecordKey
from metadata.operations.base import OperationLedger, unsettled_among
from metadata.operations.reserved_records import by_file, count_of, release, reserve, taken_by

ReplayVerb = Literal["replay", "discard"]
KINDS: tuple[ReplayVerb, ...] = ("replay", "discard")

_DONE = {"replay": "replayed", "discard": "discarded"}


class ReplayLedger(OperationLedger):
    """Replays and discards on the metadata database."""

    kinds = KINDS

    # -- the steps ----------------------------------------------------------------------------------------------------

    def plan(
        self,
        operation_id: str,
        *,
        verb: ReplayVerb,
        file_type: str,
        table_name: str,
        schema_version: int | None,
        keys: Sequence[RecordKey],
    ) -> list[RecordKey]:
        """Step 1: reserve those of `keys` that nobody has taken and whose load stands; returns them, sorted.

        Without any there is no operation. Records of a file that is being loaded, replaced or undone are left alone.
        """
        with self.database.writing() as session:
            loads = _standing(session, {key.file_id for key in keys})
            wanted = [key for key in keys if loads.get(key.file_id) == key.batch_id]
            if not wanted:
                return []
            row = self._planned(operation_id, verb, file_type=file_type, table_name=table_name)
            row.schema_version = schema_version
            session.add(row)
            session.flush()
            reserve(session, operation_id, wanted)
            taken = taken_by(session, operation_id)
            if not taken:
                session.delete(row)
                return []
            row.file_ids = sorted({key.file_id for key in taken})
            return taken

    def prepare(
        self,
        operation_id: str,
        *,
        released: Iterable[RecordKey],
        added_paths: Sequence[str],
        removed_paths: Sequence[str],
        kept_paths: Sequence[str],
        event_days: Iterable[date],
    ) -> Operation:
        """Step 3: what comes into the type's table, and what leaves the quarantine; `released` records stay there.

        `removed_paths` are data files of the quarantine that go, `kept_paths` those that hold what stays of them. May
        be said again, after a conflict.
        """
        with self.database.writing() as session:
            row = self._prepared(session, operation_id)
            release(session, released)
            taken = count_of(session, operation_id)
            row.added_rows = taken if row.kind == "replay" else 0
            row.quarantine_rows, row.removed_rows = taken, 0
            row.added_paths, row.removed_paths = sorted(added_paths), []
            row.detail = {"quarantine_removed": sorted(removed_paths), "quarantine_added": sorted(kept_paths)}
            row.event_days = sorted(day.isoformat() for day in event_days)
            row.file_ids = sorted(file_id for _, file_id, _ in by_file(session, operation_id))
            return row

    def _recorded(self, session: Session, row: Operation, now: datetime) -> None:
        """The files' records are counted as replayed or discarded."""
        count_taken(session, row, now)

    def _abandoned(self, session: Session, row: Operation) -> None:
        session.execute(delete(ReplayRecord).where(ReplayRecord.operation_id == row.id))

    # -- reading ------------------------------------------------------------------------------------------------------

    def taken(self, operation_id: str) -> list[RecordKey]:
        """The records that an operation has, sorted."""
        with self.database.reading() as session:
            return taken_by(session, operation_id)

    def files(self, file_ids: Iterable[str]) -> dict[str, SourceFile]:
        """These files by their ids, as they are now."""
        found: dict[str, SourceFile] = {}
        with self.database.reading() as session:
            for some in id_chunks(sorted(set(file_ids))):
                found |= {row.id: row for row in session.scalars(select(SourceFile).where(SourceFile.id.in_(some)))}
        return found

    def standing(self, file_ids: Iterable[str]) -> dict[str, tuple[str, str]]:
        """File id → its batch's id and table, of those files whose load stands: loaded, settled, in no operation."""
        with self.database.reading() as session:
            loads = _standing(session, set(file_ids))
            tables: dict[str, str] = {}
            for some in id_chunks(sorted(set(loads.values()))):
                query = select(Batch.id, Batch.table_name).where(Batch.id.in_(some))
                tables.update((row.id, row.table_name) for row in session.execute(query))
            return {file_id: (batch_id, tables[batch_id]) for file_id, batch_id in loads.items()}


def count_taken(session: Session, operation: Operation, now: datetime) -> None:
    """Add what a replay or discard has taken to the counts of its files, in the caller's transaction."""
    column = _DONE[operation.kind]
    noted = []
    for batch_id, file_id, records in by_file(session, operation.id):
        file = session.get(SourceFile, file_id)
        if file is None or file.state != FileState.LOADED or file.batch_id != batch_id:
            raise Fatal(
                f"recording {operation.kind} {operation.id}: the load of file {file_id} by batch {batch_id} is gone; "
                "was the ledger restored or edited?"
            )
        setattr(file, column, getattr(file, column) + records)
        noted.append(file_id)
    note_many(session, noted, now, f"rejected records of it were {column} by operation {operation.id}")


def _standing(session: Session, file_ids: set[str]) -> dict[str, str]:
    """File id → batch id, of files that are loaded by a settled batch and that no operation is about."""
    busy = {file_id for row in unsettled_among(session) for file_id in row.file_ids}
    found: dict[str, str] = {}
    for some in id_chunks(sorted(file_ids - busy)):
        query = (
            select(SourceFile.id, SourceFile.batch_id)
            .join(Batch, Batch.id == SourceFile.batch_id)
            .where(
                SourceFile.id.in_(some),
                SourceFile.state == FileState.LOADED.value,
                Batch.state == BatchState.SETTLED.value,
            )
        )
        found |= {file_id: str(batch_id) for file_id, batch_id in session.execute(query)}
    return found
