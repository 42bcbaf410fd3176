"""What the ledger is asked: files and batches by state, type or name, and how many of each there are."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Row, func, select
from sqlalchemy.orm import Session

from metadata.database.id_chunks import id_chunks
from metadata.database.legal_steps import get_batch
from metadata.database.models import Batch, BatchDataFile, SourceFile
from metadata.database.states import BatchState, FileState
from metadata.database.store import Store
from metadata.ledger.deliveries import Delivered
from metadata.ledger.reject_counts import quarantined_by_code
from metadata.ledger.values import WaitingTotal
from metadata.types.config import DeliveryPolicy, OnRedelivery


class Lookups(Store):
    """Questions to the ledger; none changes it."""

    def files(
        self,
        *,
        state: FileState | None = None,
        file_type: str | None = None,
        name: str | None = None,
        limit: int | None = None,
        newest_first: bool = False,
    ) -> list[SourceFile]:
        """Source files in the order in which they were noticed."""
        query = select(SourceFile).order_by(SourceFile.id.desc() if newest_first else SourceFile.id).limit(limit)
        if state is not None:
            query = query.where(SourceFile.state == state.value)
        if file_type is not None:
            query = query.where(SourceFile.file_type == file_type)
        if name is not None:
            query = query.where(SourceFile.name == name)
        with self.database.reading() as session:
            return list(session.scalars(query))

    def held(self) -> list[SourceFile]:
        """All held files, oldest first."""
        return self.files(state=FileState.HELD)

    def waiting(self, file_type: str | None = None) -> list[SourceFile]:
        """Claimed files, oldest first: what the buffers hold."""
        return self.files(state=FileState.CLAIMED, file_type=file_type)

    def waiting_totals(self) -> list[WaitingTotal]:
        """How much waits of each type; cheaper than `waiting()` when nobody needs the files themselves."""
        query = (
            select(
                SourceFile.file_type,
                func.count(),
                func.sum(SourceFile.size_bytes),
                func.min(SourceFile.claimed_at, type_=SourceFile.claimed_at.type),
            )
            .where(SourceFile.state == FileState.CLAIMED.value, SourceFile.file_type.is_not(None))
            .group_by(SourceFile.file_type)
        )
        with self.database.reading() as session:
            return [
                WaitingTotal(str(file_type), n, int(size), oldest)
                for file_type, n, size, oldest in session.execute(query)
            ]

    def unmoved_files(self) -> list[SourceFile]:
        """Files whose fate is on record but which were not moved to their end: a process died in between."""
        ends = [state.value for state in (FileState.LOADED, FileState.FAILED, FileState.ERROR, FileState.DUPLICATE)]
        over = select(Batch.id).where(Batch.state.in_([BatchState.SETTLED.value, BatchState.ABANDONED.value]))
        query = (
            select(SourceFile)
            .where(SourceFile.state.in_(ends), SourceFile.settled_at.is_(None))
            .where(SourceFile.batch_id.is_(None) | SourceFile.batch_id.in_(over))
            .order_by(SourceFile.id)
        )
        with self.database.reading() as session:
            return list(session.scalars(query))

    def state_counts(self) -> dict[str, dict[str, int]]:
        """Number of files by type (or prefix, or "?") and state."""
        file_type = func.coalesce(SourceFile.file_type, SourceFile.prefix, "?")
        query = select(file_type, SourceFile.state, func.count()).group_by(file_type, SourceFile.state)
        counts: dict[str, dict[str, int]] = {}
        with self.database.reading() as session:
            for name, state, count in session.execute(query):
                counts.setdefault(name, {})[state] = count
        return counts

    def rivals(self, file_type: str, files: Sequence[SourceFile], policy: DeliveryPolicy) -> Sequence[Delivered]:
        """Files of the type, loaded or in flight, that may be a delivery of one of `files`, or have its name."""
        with self.database.reading() as session:
            return rivals_among(session, file_type, files, policy)

    def batch(self, batch_id: str) -> Batch:
        """One batch; Fatal when it is not in the books."""
        with self.database.reading() as session:
            return get_batch(session, batch_id)

    def batches(
        self,
        *,
        file_type: str | None = None,
        state: BatchState | None = None,
        flush_id: str | None = None,
        limit: int | None = None,
    ) -> list[Batch]:
        """Micro-batches, newest first."""
        query = select(Batch).order_by(Batch.id.desc()).limit(limit)
        if file_type is not None:
            query = query.where(Batch.file_type == file_type)
        if state is not None:
            query = query.where(Batch.state == state.value)
        if flush_id is not None:
            query = query.where(Batch.flush_id == flush_id)
        with self.database.reading() as session:
            return list(session.scalars(query))

    def batch_states(self, batch_ids: Sequence[str]) -> dict[str, BatchState]:
        """The states of those batches that the ledger has."""
        states: dict[str, BatchState] = {}
        with self.database.reading() as session:
            for some in id_chunks(batch_ids):
                for each, state in session.execute(select(Batch.id, Batch.state).where(Batch.id.in_(some))):
                    states[each] = BatchState(state)
        return states

    def batch_files(self, batch_id: str) -> list[SourceFile]:
        """The source files that batch `batch_id` is about now, oldest first."""
        query = select(SourceFile).where(SourceFile.batch_id == batch_id).order_by(SourceFile.id)
        with self.database.reading() as session:
            return list(session.scalars(query))

    def unsettled_batches(self) -> list[Batch]:
        """Batches that are neither settled nor abandoned, oldest first: what start-up walks."""
        over = [BatchState.SETTLED.value, BatchState.ABANDONED.value]
        with self.database.reading() as session:
            return list(session.scalars(select(Batch).where(Batch.state.not_in(over)).order_by(Batch.id)))

    def data_file_paths(self, batch_id: str, table_name: str | None = None) -> list[str]:
        """The Parquet data files that a prepared batch recorded for a table; None: for its type's."""
        with self.database.reading() as session:
            table_name = table_name or get_batch(session, batch_id).table_name
            query = select(BatchDataFile.path).where(
                BatchDataFile.batch_id == batch_id, BatchDataFile.table_name == table_name
            )
            return list(session.scalars(query.order_by(BatchDataFile.path)))

    def quarantined_by_code(self, batch_id: str) -> dict[str, int]:
        """How many records of a batch's loaded files were rejected, by code, most frequent first."""
        with self.database.reading() as session:
            return quarantined_by_code(session, batch_id)

    def has_committed(self, table_name: str) -> bool:
        """Whether any batch was committed to the table."""
        query = select(Batch.id).where(Batch.table_name == table_name, Batch.snapshot_id.is_not(None)).limit(1)
        with self.database.reading() as session:
            return session.scalar(query) is not None

    def has_quarantined(self) -> bool:
        """Whether any batch was committed to the quarantine's table."""
        query = select(Batch.id).where(Batch.quarantine_snapshot_id.is_not(None)).limit(1)
        with self.database.reading() as session:
            return session.scalar(query) is not None


def rivals_among(
    session: Session, file_type: str, files: Sequence[SourceFile], policy: DeliveryPolicy
) -> list[Row[str, str, datetime | None, str | None, str]]:
    """Files of the type, loaded or in flight, that may be a delivery of one of `files`, or have its name."""
    if not files:
        return []
    query = select(SourceFile.id, SourceFile.name, SourceFile.filename_time, SourceFile.digest, SourceFile.state).where(
        SourceFile.file_type == file_type,
        SourceFile.state.in_([FileState.LOADED.value, FileState.BATCHED.value]),
    )
    times = [row.filename_time for row in files if row.filename_time is not None]
    deliveries = query.where(
        SourceFile.filename_time.between(min(times), max(times)) if times else SourceFile.filename_time.is_(None),
        SourceFile.digest.in_({row.digest for row in files if row.digest is not None}),
    )
    found = {row.id: row for row in session.execute(deliveries)}
    if policy.on_redelivery is not OnRedelivery.APPEND:
        namesakes = query.where(SourceFile.name.in_({row.name for row in files}))
        found |= {row.id: row for row in session.execute(namesakes)}
    return [found[file_id] for file_id in sorted(found)]
