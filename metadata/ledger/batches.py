"""Micro-batches and the fate of their files, step by step: the steps of `processors.load.commit_protocol`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import date, datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from metadata.database.legal_steps import get_batch, get_file, move_batch, move_file
from metadata.database.models import Batch, BatchDataFile, BatchFile, Operation, SourceFile
from metadata.database.states import BatchState, FileState, FlushReason
from metadata.database.store import Store
from metadata.errors import Fatal
from metadata.ledger.batch_receipt import Rebuilding, put_back
from metadata.ledger.deliveries import DeliveryVerdict, decide
from metadata.ledger.file_history import note, note_many
from metadata.ledger.lookups import rivals_among
from metadata.ledger.reject_counts import forget_replays, note_reasons
from metadata.ledger.summary_days import touch_days
from metadata.ledger.unknown_keys import count_unknown, sum_unknown
from metadata.ledger.values import FileOutcome, Plan, WrittenFile
from metadata.types.config import DeliveryPolicy


class Batches(Store):
    """What the commit protocol writes."""

    def plan(
        self,
        batch_id: str,
        *,
        file_type: str,
        table_name: str,
        schema_version: int,
        flush_id: str,
        reason: FlushReason,
        file_ids: Sequence[str],
        halved_from: str | None = None,
        policy: DeliveryPolicy = DeliveryPolicy(),  # noqa: B008 - it is a value
    ) -> Plan:
        """Step 1: fix a batch's files and decide redeliveries, against the files that are loaded at this moment.

        Files that are no longer claimed are passed over. A file that replaces earlier loads is a batch of its own,
        with an `operations` row of the batch's id.
        """
        with self.database.writing() as session:
            claimed = session.scalars(
                select(SourceFile)
                .where(SourceFile.id.in_(file_ids), SourceFile.state == FileState.CLAIMED.value)
                .order_by(SourceFile.id)
            ).all()
            plan = self._decide(session, file_type, claimed, policy)
            if not plan.files:
                return plan
            batch = Batch(
                id=batch_id,
                file_type=file_type,
                table_name=table_name,
                schema_version=schema_version,
                state=BatchState.PLANNED.value,
                flush_id=flush_id,
                reason=reason.value,
                attempts=0,
                files=len(plan.files),
                bytes=sum(row.size_bytes for row in plan.files),
                planned_at=self.clock.now(),
                halved_from=halved_from,
            )
            self._add(session, batch, plan.files)
            if plan.replaces:
                session.add(_replacing(batch, plan.replaces))
            return replace(plan, batch=batch)

    def _decide(self, session: Session, file_type: str, claimed: Sequence[SourceFile], policy: DeliveryPolicy) -> Plan:
        """Which files a batch is to have; those that are not to be loaded get their end."""
        plan = Plan(None, [], [], [])
        replaced_ids: list[str] = []
        decisions = decide(claimed, rivals_among(session, file_type, claimed, policy), policy)
        lists = {
            DeliveryVerdict.LOAD: plan.files,
            DeliveryVerdict.REPLACE: plan.files,
            DeliveryVerdict.DUPLICATE: plan.duplicates,
            DeliveryVerdict.WAIT: plan.waiting,
            DeliveryVerdict.REFUSE: plan.refused,
        }
        for row, decision in zip(claimed, decisions, strict=True):
            lists[decision.verdict].append(row)
            replaced_ids += decision.replaces
        for row in plan.duplicates:
            move_file(row, FileState.DUPLICATE)
            row.code, row.message = "duplicate", "the same delivery (type, filename timestamp, bytes) is loaded"
        for row in plan.refused:
            move_file(row, FileState.FAILED)
            row.code, row.message = "redelivered", "a file of this name with other bytes is loaded"
        ended = [*plan.duplicates, *plan.refused]
        for row in ended:
            row.settled_at = None
        note_many(session, [row.id for row in ended], self.clock.now())
        plan.replaces.extend(get_file(session, file_id) for file_id in replaced_ids)
        return plan

    def _add(self, session: Session, batch: Batch, files: Sequence[SourceFile]) -> None:
        """Write a batch; its files are in it now."""
        session.add(batch)
        session.flush()
        for row in files:
            move_file(row, FileState.BATCHED)
            row.batch_id = batch.id
            row.attempts += 1
            session.add(BatchFile(batch_id=batch.id, file_id=row.id))
        note_many(session, [row.id for row in files], self.clock.now())

    def replacement(self, batch_id: str) -> tuple[Operation, list[SourceFile]] | None:
        """The loads that a batch takes the place of, with the operation that does it; None when there are none."""
        with self.database.reading() as session:
            operation = _replacement(session, batch_id)
            return None if operation is None else (operation, [get_file(session, each) for each in operation.file_ids])

    def count_attempt(self, batch_id: str) -> int:
        """An attempt at decoding batch `batch_id` begins; returns its number, from 1."""
        with self.database.writing() as session:
            batch = get_batch(session, batch_id)
            batch.attempts += 1
            batch.error = None  # until the attempt ends: recovery tells by it that the process died in the middle
            return batch.attempts

    def note_error(self, batch_id: str, error: str) -> None:
        """The last attempt at a batch failed with `error`."""
        with self.database.writing() as session:
            get_batch(session, batch_id).error = error

    def leave_planned(self, why: str) -> None:
        """The process is about to end as it was told to: what becomes of batches in work is no death of theirs."""
        with self.database.writing() as session:
            query = select(Batch).where(Batch.state == BatchState.PLANNED.value, Batch.error.is_(None))
            for batch in session.scalars(query):
                batch.error = why

    def prepare(
        self,
        batch_id: str,
        outcomes: Sequence[FileOutcome],
        data_files: Sequence[WrittenFile],
        event_days: Iterable[date],
    ) -> None:
        """Step 3: the outcome of every file, the data files and the expected rows; from here only forward.

        `data_files` are those of both tables; what is not the type's table's is the quarantine's. Files whose bytes
        changed leave the batch and are claimed again with their new digest. Raises Fatal when the books do not
        balance: rows in data files against rows and rejected records in outcomes.
        """
        with self.database.writing() as session:
            batch = get_batch(session, batch_id)
            batch.expected_rows, batch.quarantine_rows = _balanced(batch, outcomes, data_files)
            move_batch(batch, BatchState.PREPARED)
            planned = session.scalars(select(BatchFile).where(BatchFile.batch_id == batch_id))
            entries = {entry.file_id: entry for entry in planned}
            for outcome in outcomes:
                entry = entries[outcome.file_id]
                entry.outcome, entry.records, entry.rows = outcome.outcome, outcome.records, outcome.rows
                entry.rejected, entry.code, entry.message = outcome.rejected, outcome.code, outcome.message
                if outcome.outcome in ("changed", "missing"):
                    self._leave(session, outcome)
            for data in data_files:
                session.add(
                    BatchDataFile(
                        path=data.path, batch_id=batch_id, table_name=data.table_name, rows=data.rows, bytes=data.bytes
                    )
                )
            batch.records = sum(outcome.records for outcome in outcomes)
            batch.rejected = sum(outcome.rejected for outcome in outcomes)
            if not any(outcome.outcome == "loaded" for outcome in outcomes):
                _give_up_replacement(session, batch_id, self.clock.now(), "the file that was to replace was not loaded")
            if any(outcome.reasons for outcome in outcomes):
                note_reasons(session, batch_id, {outcome.file_id: outcome.reasons for outcome in outcomes})
            batch.unknown_fields = sum_unknown(outcome.unknown for outcome in outcomes)
            batch.event_days = sorted(day.isoformat() for day in event_days)
            batch.prepared_at = self.clock.now()

    def _leave(self, session: Session, outcome: FileOutcome) -> None:
        """A file whose bytes are not those that were claimed, or that is gone, is no longer the batch's."""
        row = get_file(session, outcome.file_id)
        row.batch_id = None
        if outcome.outcome == "missing":
            row.state, row.message, row.settled_at = FileState.MISSING, outcome.message, self.clock.now()
        else:
            move_file(row, FileState.CLAIMED)
            row.digest = outcome.digest
            row.size_bytes = row.size_bytes if outcome.size_bytes is None else outcome.size_bytes
        note(session, row, self.clock.now(), outcome.message)

    def record(
        self,
        batch_id: str,
        *,
        snapshot_id: int | None,
        summary_table: str | None,
        quarantine_snapshot_id: int | None = None,
    ) -> None:
        """Step 5: the snapshots, the fate of every file, unknown keys, the days of `summary_table` to build again."""
        with self.database.writing() as session:
            batch = get_batch(session, batch_id)
            move_batch(batch, BatchState.COMMITTED)
            batch.snapshot_id, batch.committed_at, batch.error = snapshot_id, self.clock.now(), None
            batch.quarantine_snapshot_id = quarantine_snapshot_id
            count_unknown(session, batch.file_type, batch.unknown_fields, self.clock.now())
            entries = session.scalars(select(BatchFile).where(BatchFile.batch_id == batch_id)).all()
            rows = {row.id: row for row in session.scalars(select(SourceFile).where(SourceFile.batch_id == batch_id))}
            ended: list[str] = []
            for entry in entries:
                if entry.outcome not in ("loaded", "failed", "error"):
                    continue
                row = rows.get(entry.file_id) or get_file(session, entry.file_id)
                move_file(row, FileState(entry.outcome))
                row.records, row.rows, row.rejected = entry.records, entry.rows, entry.rejected
                row.replayed = row.discarded = 0
                row.code, row.message = entry.code, entry.message
                row.deaths = 0 if entry.outcome == "loaded" else row.deaths
                ended.append(row.id)
            days = set(batch.event_days or [])
            operation = _replacement(session, batch_id)
            if operation is not None:
                days |= set(operation.event_days or [])
                self._replace(session, operation, batch, by=ended[0])
            note_many(session, ended, self.clock.now())
            if summary_table is not None:
                touch_days(session, summary_table, batch.file_type, days)

    def _replace(self, session: Session, operation: Operation, batch: Batch, *, by: str) -> None:
        """The loads whose place a batch's one file takes have left the tables with its commit."""
        operation.state, operation.committed_at = BatchState.COMMITTED.value, self.clock.now()
        operation.snapshot_id = batch.snapshot_id
        operation.quarantine_snapshot_id = batch.quarantine_snapshot_id
        for file_id in operation.file_ids:
            row = get_file(session, file_id)
            move_file(row, FileState.REPLACED)
            forget_replays(session, [row])
            row.rows, row.replaced_by = 0, by
        note_many(session, operation.file_ids, self.clock.now(), f"replaced by file {by}")

    def files_settled(self, paths: dict[str, str]) -> None:
        """Step 6, for many files (id → path) in one transaction."""
        with self.database.writing() as session:
            now = self.clock.now()
            for row in session.scalars(select(SourceFile).where(SourceFile.id.in_(paths))):
                row.path, row.settled_at = paths[row.id], now
            note_many(session, list(paths), now)

    def settle(self, batch_id: str) -> None:
        """Step 6, at its end: all files of the batch are where they belong."""
        with self.database.writing() as session:
            batch = get_batch(session, batch_id)
            move_batch(batch, BatchState.SETTLED)
            batch.settled_at = self.clock.now()
            operation = _replacement(session, batch_id)
            if operation is not None:
                operation.state, operation.settled_at = BatchState.SETTLED.value, batch.settled_at

    def abandon(
        self, batch_id: str, error: str, *, fail: tuple[str, str] | None = None, died: bool = False
    ) -> list[SourceFile]:
        """Give up a planned batch: its files are claimed again, or with `fail` = (code, message) they fail.

        `died`: the process ended with them in work, which is counted. Returns the files, in their new state.
        """
        with self.database.writing() as session:
            batch = get_batch(session, batch_id)
            move_batch(batch, BatchState.ABANDONED)
            batch.error, batch.settled_at = error, self.clock.now()
            _give_up_replacement(session, batch_id, self.clock.now(), error)
            files = list(session.scalars(select(SourceFile).where(SourceFile.batch_id == batch_id)))
            for row in files:
                row.deaths += died
                if fail is None:
                    move_file(row, FileState.CLAIMED)
                    row.batch_id = None
                else:
                    move_file(row, FileState.FAILED)
                    row.code, row.message = fail
            note_many(session, [row.id for row in files], self.clock.now(), error)
            return files

    def put_back(self, rebuilding: Rebuilding, summary_table: str | None) -> None:
        """Write a batch that was forgotten again, with its files and the days to summarise: processors.receipts."""
        with self.database.writing() as session:
            put_back(session, rebuilding, self.clock.now())
            if summary_table is not None and rebuilding.state is BatchState.COMMITTED:
                touch_days(session, summary_table, rebuilding.receipt.file_type, rebuilding.receipt.event_days)


def _replacement(session: Session, batch_id: str) -> Operation | None:
    """The operation of a batch that replaces earlier loads, unless it was given up."""
    row = session.get(Operation, batch_id)
    return None if row is None or row.state == BatchState.ABANDONED else row


def _give_up_replacement(session: Session, batch_id: str, now: datetime, error: str) -> None:
    """The batch loads nothing, so what it would have replaced stays."""
    row = _replacement(session, batch_id)
    if row is not None:
        row.state, row.settled_at, row.error = BatchState.ABANDONED.value, now, error


def _replacing(batch: Batch, replaces: Sequence[SourceFile]) -> Operation:
    """The operation by which a batch takes the place of earlier loads."""
    return Operation(
        id=batch.id,  # so that one snapshot id, derived from it, stands for both
        kind="replace",
        file_type=batch.file_type,
        table_name=batch.table_name,
        state=BatchState.PLANNED.value,
        batch_id=batch.id,
        file_ids=[row.id for row in replaces],
        planned_at=batch.planned_at,
    )


def _balanced(batch: Batch, outcomes: Sequence[FileOutcome], data_files: Sequence[WrittenFile]) -> tuple[int, int]:
    """The rows of the type's table and of the quarantine; Fatal unless data files and outcomes say the same."""
    written = sum(data.rows for data in data_files if data.table_name == batch.table_name)
    quarantined = sum(data.rows for data in data_files) - written
    counted = sum(outcome.rows for outcome in outcomes)
    rejected = sum(outcome.rejected for outcome in outcomes if outcome.outcome == "loaded")
    if (written, quarantined) != (counted, rejected):
        raise Fatal(
            f"preparing batch {batch.id}: its data files hold {written} rows and {quarantined} rejected "
            f"records, its outcomes say {counted} and {rejected}; nothing was committed, report this as a bug"
        )
    return written, quarantined
