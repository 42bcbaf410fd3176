"""The ledger: the fate of every source file and every micro-batch, and the only writer of their states.

Each method is one transaction. The legal moves between states stand in `metadata.database.states`; any other raises
Fatal, for it means that the books and the program disagree.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date, datetime

from sqlalchemy import Row, func, insert, select
from sqlalchemy.orm import Session

from metadata.clock import Clock
from metadata.database.engine import Database
from metadata.database.models import Batch, BatchDataFile, BatchFile, Operation, SourceFile, SummaryDay
from metadata.database.states import BATCH_MOVES, FILE_MOVES, BatchState, FileState, FlushReason
from metadata.errors import Fatal
from metadata.ledger.batch_receipt import Rebuilding, put_back
from metadata.ledger.deliveries import Delivered, DeliveryPolicy, DeliveryVerdict, OnRedelivery, decide
from metadata.ledger.file_history import note, note_many
from metadata.ledger.reject_counts import count_unknown, forget_replays, note_reasons, quarantined_by_code, sum_unknown
from metadata.ledger.values import (
    Arrival,
    FileOutcome,
    HeldClaim,
    NewFile,
    Plan,
    WaitingTotal,
    WrittenFile,
)


class Ledger:
    """The books, on the metadata database."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self.database = database
        self.clock = clock

    # -- arrivals: watcher.intake -------------------------------------------------------------------------------

    def add_many(self, files: Sequence[NewFile]) -> None:
        """Files were taken out of incoming/: all of these rows, or none."""
        if not files:
            return
        now = self.clock.now()
        rows = [
            {
                "id": file.arrival.file_id,
                "name": file.arrival.name,
                "prefix": file.arrival.prefix,
                "file_type": file.file_type,
                "filename_time": file.arrival.filename_time,
                "size_bytes": file.arrival.size_bytes,
                "digest": file.arrival.digest,
                "modified_at": file.arrival.modified_at,
                "state": file.state.value,
                "path": file.path,
                "attempts": 0,
                "noticed_by": file.arrival.noticed_by,
                "noticed_at": file.arrival.noticed_at,
                "claimed_at": now if file.state is FileState.CLAIMED else None,
                "settled_at": now if file.state is FileState.FAILED else None,
                "code": file.code,
                "message": file.message,
            }
            for file in files
        ]
        with self.database.writing() as session:
            session.execute(insert(SourceFile), rows)
            note_many(session, [file.arrival.file_id for file in files], now)

    def add_claimed(self, arrival: Arrival, file_type: str, path: str) -> None:
        """A file was taken into processing/<type>/ and digested."""
        self.add_many([NewFile(arrival, FileState.CLAIMED, path, file_type)])

    def add_held(self, arrival: Arrival, path: str) -> None:
        """A file that no active type takes was put into held/<prefix>/."""
        self.add_many([NewFile(arrival, FileState.HELD, path)])

    def add_refused(self, arrival: Arrival, path: str, code: str, message: str, file_type: str | None = None) -> None:
        """A file was refused before anybody looked into it, and put into failed/."""
        self.add_many([NewFile(arrival, FileState.FAILED, path, file_type, code, message)])

    def claim_held_many(self, claims: Sequence[HeldClaim]) -> None:
        """The type of held files is active now; they were taken into processing/<type>/. All of them, or none."""
        if not claims:
            return
        now = self.clock.now()
        with self.database.writing() as session:
            ids = [claim.file_id for claim in claims]
            rows = {row.id: row for row in session.scalars(select(SourceFile).where(SourceFile.id.in_(ids)))}
            for claim in claims:
                row = rows.get(claim.file_id) or _file(session, claim.file_id)
                _move_file(row, FileState.CLAIMED)
                row.file_type, row.path, row.claimed_at = claim.file_type, claim.path, now
                row.digest, row.size_bytes = claim.digest, claim.size_bytes
            note_many(session, ids, now)

    def claim_held(self, file_id: str, file_type: str, path: str, digest: str, size_bytes: int) -> None:
        """One held file's type is active now; it was taken into processing/<type>/."""
        self.claim_held_many([HeldClaim(file_id, file_type, path, digest, size_bytes)])

    def retry_many(self, claims: Sequence[HeldClaim]) -> None:
        """Files that ended badly were taken back into processing/<type>/: the same rows. All of them, or none.

        Their attempts stay counted; what was said of the last one is in the history.
        """
        now = self.clock.now()
        with self.database.writing() as session:
            for claim in claims:
                row = _file(session, claim.file_id)
                _move_file(row, FileState.CLAIMED)
                row.file_type, row.path, row.claimed_at, row.settled_at = claim.file_type, claim.path, now, None
                row.digest, row.size_bytes, row.batch_id = claim.digest, claim.size_bytes, None
                row.code = row.message = row.records = row.rows = row.rejected = None
                row.replayed = row.discarded = 0
                row.deaths = 0  # whoever retries it has looked at it
            note_many(session, [claim.file_id for claim in claims], now, "retried")

    def held(self) -> list[SourceFile]:
        """All held files, oldest first."""
        return self.files(state=FileState.HELD)

    def refuse_claimed(self, file_id: str, path: str, code: str, message: str) -> None:
        """A claimed or held file cannot go on (its bytes are gone or unreadable); it was moved to failed/ at `path`."""
        with self.database.writing() as session:
            row = _file(session, file_id)
            if row.state == FileState.HELD:
                _move_file(row, FileState.CLAIMED)
            _move_file(row, FileState.FAILED)
            row.path, row.code, row.message, row.settled_at = path, code, message, self.clock.now()
            note(session, row, self.clock.now())

    def mark_missing(self, file_id: str, message: str) -> None:
        """A person removed the file; legal from every state."""
        with self.database.writing() as session:
            row = _file(session, file_id)
            if row.state != FileState.LOADED and row.rejected:
                row.rejected = 0  # nothing of it is in a table; of a loaded file the row goes on to tell what is
            row.state, row.message, row.settled_at = FileState.MISSING, message, self.clock.now()
            note(session, row, self.clock.now())

    def known_among(self, paths: Sequence[str]) -> set[str]:
        """Those of `paths` at which the ledger has a file; one that a person removed and put back is not known."""
        known: set[str] = set()
        with self.database.reading() as session:
            for start in range(0, len(paths), 500):
                some = paths[start : start + 500]
                query = select(SourceFile.path).where(SourceFile.path.in_(some), SourceFile.state != FileState.MISSING)
                known.update(session.scalars(query))
        return known

    def set_path(self, file_id: str, path: str) -> None:
        """A file was moved."""
        with self.database.writing() as session:
            row = _file(session, file_id)
            row.path = path
            note(session, row, self.clock.now())

    # -- reading ------------------------------------------------------------------------------------------------

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

    def rivals(self, file_type: str, files: Sequence[SourceFile], policy: DeliveryPolicy) -> Sequence[Delivered]:
        """Files of the type, loaded or in flight, that may be a delivery of one of `files`, or have its name."""
        with self.database.reading() as session:
            return _rivals(session, file_type, files, policy)

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

    def batch(self, batch_id: str) -> Batch:
        """One batch; Fatal when it is not in the books."""
        with self.database.reading() as session:
            return _batch(session, batch_id)

    def batch_states(self, batch_ids: Sequence[str]) -> dict[str, BatchState]:
        """The states of those batches that the ledger has."""
        states: dict[str, BatchState] = {}
        with self.database.reading() as session:
            for start in range(0, len(batch_ids), 500):
                some = batch_ids[start : start + 500]
                for each, state in session.execute(select(Batch.id, Batch.state).where(Batch.id.in_(some))):
                    states[each] = BatchState(state)
        return states

    def put_back(self, rebuilding: Rebuilding, summary_table: str | None) -> None:
        """Write a batch that was forgotten again, with its files and the days to summarise: processors.receipts."""
        with self.database.writing() as session:
            put_back(session, rebuilding, self.clock.now())
            if summary_table is not None and rebuilding.state is BatchState.COMMITTED:
                for day in rebuilding.receipt.event_days:
                    touch_day(session, summary_table, rebuilding.receipt.file_type, date.fromisoformat(day))

    def put_ended(self, files: Sequence[SourceFile]) -> None:
        """Files that were found at their ends, and that the ledger did not know there: rows made or corrected."""
        if not files:
            return
        with self.database.writing() as session:
            for file in files:
                session.merge(file)
            note_many(session, [file.id for file in files], self.clock.now(), "found at its end at start-up")

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

    def data_file_paths(self, batch_id: str, table_name: str | None = None) -> list[str]:
        """The Parquet data files that a prepared batch recorded for a table; None: for its type's."""
        with self.database.reading() as session:
            table_name = table_name or _batch(session, batch_id).table_name
            query = select(BatchDataFile.path).where(
                BatchDataFile.batch_id == batch_id, BatchDataFile.table_name == table_name
            )
            return list(session.scalars(query.order_by(BatchDataFile.path)))

    def quarantined_by_code(self, batch_id: str) -> dict[str, int]:
        """How many records of a batch's loaded files were rejected, by code, most frequent first."""
        with self.database.reading() as session:
            return quarantined_by_code(session, batch_id)

    def state_counts(self) -> dict[str, dict[str, int]]:
        """Number of files by type (or prefix, or "?") and state."""
        file_type = func.coalesce(SourceFile.file_type, SourceFile.prefix, "?")
        query = select(file_type, SourceFile.state, func.count()).group_by(file_type, SourceFile.state)
        counts: dict[str, dict[str, int]] = {}
        with self.database.reading() as session:
            for name, state, count in session.execute(query):
                counts.setdefault(name, {})[state] = count
        return counts

    # -- the commit protocol: its steps are explained in processors.load.commit_protocol -----------------------------

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
            by_verdict: dict[DeliveryVerdict, list[SourceFile]] = {verdict: [] for verdict in DeliveryVerdict}
            replaced_ids: list[str] = []
            decisions = decide(claimed, _rivals(session, file_type, claimed, policy), policy)
            for row, decision in zip(claimed, decisions, strict=True):
                by_verdict[decision.verdict].append(row)
                replaced_ids += decision.replaces
            duplicates, refused = by_verdict[DeliveryVerdict.DUPLICATE], by_verdict[DeliveryVerdict.REFUSE]
            for row in duplicates:
                _move_file(row, FileState.DUPLICATE)
                row.code, row.message = "duplicate", "the same delivery (type, filename timestamp, bytes) is loaded"
            for row in refused:
                _move_file(row, FileState.FAILED)
                row.code, row.message = "redelivered", "a file of this name with other bytes is loaded"
            for row in (*duplicates, *refused):
                row.settled_at = None
            note_many(session, [row.id for row in (*duplicates, *refused)], self.clock.now())
            waiting = by_verdict[DeliveryVerdict.WAIT]
            files = by_verdict[DeliveryVerdict.LOAD] + by_verdict[DeliveryVerdict.REPLACE]
            replaces = [_file(session, file_id) for file_id in replaced_ids]
            if not files:
                return Plan(None, [], duplicates, waiting, refused)
            batch = Batch(
                id=batch_id,
                file_type=file_type,
                table_name=table_name,
                schema_version=schema_version,
                state=BatchState.PLANNED.value,
                flush_id=flush_id,
                reason=reason.value,
                attempts=0,
                files=len(files),
                bytes=sum(row.size_bytes for row in files),
                planned_at=self.clock.now(),
                halved_from=halved_from,
            )
            session.add(batch)
            session.flush()
            for row in files:
                _move_file(row, FileState.BATCHED)
                row.batch_id = batch_id
                row.attempts += 1
                session.add(BatchFile(batch_id=batch_id, file_id=row.id))
            note_many(session, [row.id for row in files], self.clock.now())
            if replaces:
                session.add(
                    Operation(
                        id=batch_id,  # so that one snapshot id, derived from it, stands for both
                        kind="replace",
                        file_type=file_type,
                        table_name=table_name,
                        state=BatchState.PLANNED.value,
                        batch_id=batch_id,
                        file_ids=replaced_ids,
                        planned_at=self.clock.now(),
                    )
                )
            return Plan(batch, files, duplicates, waiting, refused, replaces)

    def replacement(self, batch_id: str) -> tuple[Operation, list[SourceFile]] | None:
        """The loads that a batch takes the place of, with the operation that does it; None when there are none."""
        with self.database.reading() as session:
            operation = _replacement(session, batch_id)
            return None if operation is None else (operation, [_file(session, each) for each in operation.file_ids])

    def count_attempt(self, batch_id: str) -> int:
        """An attempt at decoding batch `batch_id` begins; returns its number, from 1."""
        with self.database.writing() as session:
            batch = _batch(session, batch_id)
            batch.attempts += 1
            batch.error = None  # until the attempt ends: recovery tells by it that the process died in the middle
            return batch.attempts

    def leave_planned(self, why: str) -> None:
        """The process is about to end as it was told to: what becomes of batches in work is no death of theirs."""
        with self.database.writing() as session:
            query = select(Batch).where(Batch.state == BatchState.PLANNED.value, Batch.error.is_(None))
            for batch in session.scalars(query):
                batch.error = why

    def note_error(self, batch_id: str, error: str) -> None:
        """The last attempt at a batch failed with `error`."""
        with self.database.writing() as session:
            _batch(session, batch_id).error = error

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
            batch = _batch(session, batch_id)
            written = sum(data.rows for data in data_files if data.table_name == batch.table_name)
            quarantined = sum(data.rows for data in data_files) - written
            counted = sum(outcome.rows for outcome in outcomes)
            rejected = sum(outcome.rejected for outcome in outcomes if outcome.outcome == "loaded")
            if (written, quarantined) != (counted, rejected):
                raise Fatal(
                    f"preparing batch {batch_id}: its data files hold {written} rows and {quarantined} rejected "
                    f"records, its outcomes say {counted} and {rejected}; nothing was committed, report this as a bug"
                )
            _move_batch(batch, BatchState.PREPARED)
            planned = session.scalars(select(BatchFile).where(BatchFile.batch_id == batch_id))
            entries = {entry.file_id: entry for entry in planned}
            for outcome in outcomes:
                entry = entries[outcome.file_id]
                entry.outcome, entry.records, entry.rows = outcome.outcome, outcome.records, outcome.rows
                entry.rejected, entry.code, entry.message = outcome.rejected, outcome.code, outcome.message
                if outcome.outcome in ("changed", "missing"):
                    row = _file(session, outcome.file_id)
                    row.batch_id = None
                    if outcome.outcome == "missing":
                        row.state, row.message, row.settled_at = FileState.MISSING, outcome.message, self.clock.now()
                    else:
                        _move_file(row, FileState.CLAIMED)
                        row.digest = outcome.digest
                        row.size_bytes = row.size_bytes if outcome.size_bytes is None else outcome.size_bytes
                    note(session, row, self.clock.now(), outcome.message)
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
            batch.expected_rows, batch.quarantine_rows = written, quarantined
            if any(outcome.reasons for outcome in outcomes):
                note_reasons(session, batch_id, {outcome.file_id: outcome.reasons for outcome in outcomes})
            batch.unknown_fields = sum_unknown(outcome.unknown for outcome in outcomes)
            batch.event_days = sorted(day.isoformat() for day in event_days)
            batch.prepared_at = self.clock.now()

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
            batch = _batch(session, batch_id)
            _move_batch(batch, BatchState.COMMITTED)
            batch.snapshot_id, batch.committed_at, batch.error = snapshot_id, self.clock.now(), None
            batch.quarantine_snapshot_id = quarantine_snapshot_id
            count_unknown(session, batch.file_type, batch.unknown_fields, self.clock.now())
            entries = session.scalars(select(BatchFile).where(BatchFile.batch_id == batch_id)).all()
            rows = {row.id: row for row in session.scalars(select(SourceFile).where(SourceFile.batch_id == batch_id))}
            ended: list[str] = []
            for entry in entries:
                if entry.outcome not in ("loaded", "failed", "error"):
                    continue
                row = rows.get(entry.file_id) or _file(session, entry.file_id)
                _move_file(row, FileState(entry.outcome))
                row.records, row.rows, row.rejected = entry.records, entry.rows, entry.rejected
                row.replayed = row.discarded = 0
                row.code, row.message = entry.code, entry.message
                row.deaths = 0 if entry.outcome == "loaded" else row.deaths
                ended.append(row.id)
            days = set(batch.event_days or [])
            operation = _replacement(session, batch_id)
            if operation is not None:
                days |= set(operation.event_days or [])
                operation.state, operation.snapshot_id = BatchState.COMMITTED.value, snapshot_id
                operation.committed_at = self.clock.now()
                operation.quarantine_snapshot_id = quarantine_snapshot_id
                for file_id in operation.file_ids:
                    row = _file(session, file_id)
                    _move_file(row, FileState.REPLACED)
                    forget_replays(session, [row])
                    row.rows, row.replaced_by = 0, ended[0]
                note_many(session, operation.file_ids, self.clock.now(), f"replaced by file {ended[0]}")
            note_many(session, ended, self.clock.now())
            if summary_table is not None:
                for day in sorted(days):
                    touch_day(session, summary_table, batch.file_type, date.fromisoformat(day))

    def file_settled(self, file_id: str, path: str) -> None:
        """Step 6, for one file: it is at its end, at `path`."""
        with self.database.writing() as session:
            row = _file(session, file_id)
            row.path, row.settled_at = path, self.clock.now()
            note(session, row, self.clock.now())

    def files_settled(self, paths: dict[str, str]) -> None:
        """Step 6, for many files (id → path) in one transaction."""
        with self.database.writing() as session:
            now = self.clock.now()
            for row in session.scalars(select(SourceFile).where(SourceFile.id.in_(paths))):
                row.path, row.settled_at = paths[row.id], now
            note_many(session, list(paths), now)

    def renew(self, file_id: str, path: str, message: str, arrival: Arrival) -> None:
        """A file was rewritten after its bytes were read: what lies at its path is claimed as the file `arrival`.

        The old row keeps its state, digest and counts, which tell what was read, and is settled by the caller. Its
        code says `bytes_changed`, and at its `path` nothing lies: no copy of what was read exists any more.
        """
        with self.database.writing() as session:
            now, row = self.clock.now(), _file(session, file_id)
            fresh = SourceFile(
                id=arrival.file_id,
                name=arrival.name,
                prefix=arrival.prefix,
                file_type=row.file_type,
                filename_time=arrival.filename_time,
                size_bytes=arrival.size_bytes,
                digest=arrival.digest,
                modified_at=arrival.modified_at,
                state=FileState.CLAIMED.value,
                path=row.path,
                noticed_by=arrival.noticed_by,
                noticed_at=arrival.noticed_at,
                claimed_at=now,
            )
            session.add(fresh)
            row.path, row.code, row.message = path, "bytes_changed", message
            note(session, fresh, now)

    def settle(self, batch_id: str) -> None:
        """Step 6, at its end: all files of the batch are where they belong."""
        with self.database.writing() as session:
            batch = _batch(session, batch_id)
            _move_batch(batch, BatchState.SETTLED)
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
            batch = _batch(session, batch_id)
            _move_batch(batch, BatchState.ABANDONED)
            batch.error, batch.settled_at = error, self.clock.now()
            _give_up_replacement(session, batch_id, self.clock.now(), error)
            files = list(session.scalars(select(SourceFile).where(SourceFile.batch_id == batch_id)))
            for row in files:
                row.deaths += died
                if fail is None:
                    _move_file(row, FileState.CLAIMED)
                    row.batch_id = None
                else:
                    _move_file(row, FileState.FAILED)
                    row.code, row.message = fail
            note_many(session, [row.id for row in files], self.clock.now(), error)
            return files

    # -- days to summarise: processors.read.summary --------------------------------------------------------------------

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


def touch_day(session: Session, summary_table: str, file_type: str, day: date) -> None:
    """Make a day dirty, within the transaction that changes its rows."""
    row = session.get(SummaryDay, (summary_table, day))
    if row is None:
        row = SummaryDay(summary_table=summary_table, day=day, file_type=file_type, generation=0, built_generation=0)
        session.add(row)
    row.generation += 1


def _rivals(
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


def _replacement(session: Session, batch_id: str) -> Operation | None:
    """The operation of a batch that replaces earlier loads, unless it was given up."""
    row = session.get(Operation, batch_id)
    return None if row is None or row.state == BatchState.ABANDONED else row


def _give_up_replacement(session: Session, batch_id: str, now: datetime, error: str) -> None:
    """The batch loads nothing, so what it would have replaced stays."""
    row = _replacement(session, batch_id)
    if row is not None:
        row.state, row.settled_at, row.error = BatchState.ABANDONED.value, now, error


def _file(session: Session, file_id: str) -> SourceFile:
    row = session.get(SourceFile, file_id)
    if row is None:
        raise Fatal(f"looking up source file {file_id}: it is not in the ledger; was the ledger restored or edited?")
    return row


def _batch(session: Session, batch_id: str) -> Batch:
    row = session.get(Batch, batch_id)
    if row is None:
        raise Fatal(f"looking up batch {batch_id}: it is not in the ledger; was the ledger restored or edited?")
    return row


def _move_file(row: SourceFile, to: FileState) -> None:
    if to not in FILE_MOVES[FileState(row.state)]:
        raise Fatal(f"moving source file {row.id} ({row.name}) from {row.state} to {to.value}: not a legal step")
    row.state = to.value


def _move_batch(row: Batch, to: BatchState) -> None:
    if to not in BATCH_MOVES[BatchState(row.state)]:
        raise Fatal(f"moving batch {row.id} from {row.state} to {to.value}: not a legal step")
    row.state = to.value
