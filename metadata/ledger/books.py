"""The books as one moment saw them: what the ledger says of files, micro-batches and operations. The audit reads it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, NamedTuple

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from metadata.database.engine import Database
from metadata.database.id_chunks import id_chunks
from metadata.database.models import Batch, BatchDataFile, BatchFile, Operation, Reject, SourceFile
from metadata.database.states import BatchState, FileState
from metadata.ledger.values import rows_in_quarantine, rows_in_table

_ENDS = frozenset({FileState.LOADED, FileState.FAILED, FileState.ERROR, FileState.DUPLICATE})
_OVER = frozenset({BatchState.SETTLED.value, BatchState.ABANDONED.value})


@dataclass(frozen=True)
class Scope:
    """Which files are asked about: of one type, and of the UTC days from `first` to `last` in their names."""

    file_type: str | None = None
    first: date | None = None
    last: date | None = None

    @property
    def has_days(self) -> bool:
        """Whether days are left out."""
        return self.first is not None or self.last is not None

    def has_day(self, day: date) -> bool:
        """Whether a day is one of those asked about."""
        return (self.first is None or self.first <= day) and (self.last is None or day <= self.last)


class FileRow(NamedTuple):
    """A source file; `rows`, `records` and `rejected` as it was loaded last."""

    id: str
    name: str
    file_type: str | None
    filename_time: datetime | None
    noticed_at: datetime
    size_bytes: int
    digest: str | None
    state: str
    path: str
    batch_id: str | None
    settled_at: datetime | None
    records: int | None
    rows: int | None
    rejected: int | None
    replayed: int
    discarded: int
    code: str | None

    @property
    def rows_in_table(self) -> int:
        """See `values.rows_in_table`."""
        return rows_in_table(self)

    @property
    def rows_in_quarantine(self) -> int:
        """See `values.rows_in_quarantine`."""
        return rows_in_quarantine(self)

    @property
    def day(self) -> date:
        """The UTC day in its name; of a name without one, the day on which it came."""
        return (self.filename_time or self.noticed_at).date()


class BatchRow(NamedTuple):
    """A micro-batch."""

    id: str
    file_type: str
    table_name: str
    state: str
    records: int | None
    expected_rows: int | None
    rejected: int | None
    snapshot_id: int | None
    quarantine_rows: int | None  #: None: it was prepared by a release that had no quarantine
    quarantine_snapshot_id: int | None

    @property
    def in_work(self) -> bool:
        """Whether it is neither settled nor abandoned."""
        return self.state not in _OVER


class EntryRow(NamedTuple):
    """What a micro-batch made of a source file."""

    batch_id: str
    file_id: str
    outcome: str | None
    records: int | None
    rows: int | None
    rejected: int | None


class OperationRow(NamedTuple):
    """An operation that rewrote a table, or is about to."""

    id: str
    kind: str
    table_name: str
    state: str
    batch_id: str | None
    file_ids: list[str]
    snapshot_id: int | None
    quarantine_snapshot_id: int | None

    @property
    def in_work(self) -> bool:
        """Whether it is neither settled nor abandoned."""
        return self.state not in _OVER


@dataclass
class Books:
    """One moment of the ledger; files are those in scope, all else is whole (of the type, if one was asked for)."""

    files: list[FileRow] = field(default_factory=list)
    batches: dict[str, BatchRow] = field(default_factory=dict)
    entries: dict[str, list[EntryRow]] = field(default_factory=dict)  #: by batch
    data_file_rows: dict[tuple[str, str], int] = field(default_factory=dict)  #: by batch and table, as recorded
    reasons: dict[str, int] = field(default_factory=dict)  #: rejected records that have a reason on record, by batch
    operations: list[OperationRow] = field(default_factory=list)
    _taken: set[str] | None = field(default=None, repr=False)

    def in_work(self, file: FileRow) -> bool:
        """Whether a file is on its way: in a batch or operation that is not over, or about to be moved to its end."""
        batch = self.batches.get(file.batch_id or "")
        if batch is not None and batch.in_work:
            return True
        if file.state in _ENDS and file.settled_at is None:
            return True
        return file.id in self._in_operations or (file.batch_id is not None and file.batch_id in self._in_operations)

    @property
    def _in_operations(self) -> set[str]:
        """Files and batches that operations are about which are not over."""
        if self._taken is None:
            working = [operation for operation in self.operations if operation.in_work]
            self._taken = {file_id for operation in working for file_id in operation.file_ids}
            self._taken |= {operation.batch_id for operation in working if operation.batch_id}
        return self._taken


def read_books(database: Database, scope: Scope) -> Books:
    """The books at this moment, in one transaction. Raises WorldFault when the database does not answer."""
    books = Books()
    with database.reading() as session:
        for file in _files(session, scope):
            if not scope.has_days or scope.has_day(file.day):
                books.files.append(file)
        batches = select(*(getattr(Batch, name) for name in BatchRow._fields)).order_by(Batch.id)
        entries = select(*(getattr(BatchFile, name) for name in EntryRow._fields))
        by_table = (BatchDataFile.batch_id, BatchDataFile.table_name)
        written = select(*by_table, func.sum(BatchDataFile.rows)).group_by(*by_table)
        reasons = select(Reject.batch_id, func.sum(Reject.records)).group_by(Reject.batch_id)
        operations = select(*(getattr(Operation, name) for name in OperationRow._fields)).order_by(Operation.id)
        if scope.file_type is not None:
            batches = batches.where(Batch.file_type == scope.file_type)
            of_type = select(Batch.id).where(Batch.file_type == scope.file_type)
            entries = entries.where(BatchFile.batch_id.in_(of_type))
            written = written.where(BatchDataFile.batch_id.in_(of_type))
            reasons = reasons.where(Reject.batch_id.in_(of_type))
            operations = operations.where(Operation.file_type == scope.file_type)
        books.batches = {row.id: BatchRow(*row) for row in session.execute(batches)}
        for row in session.execute(entries):
            books.entries.setdefault(row.batch_id, []).append(EntryRow(*row))
        books.data_file_rows = {(batch_id, name): int(rows) for batch_id, name, rows in session.execute(written)}
        books.reasons = {batch_id: int(records) for batch_id, records in session.execute(reasons)}
        books.operations = [OperationRow(*row) for row in session.execute(operations)]
    return books


def known_files(database: Database, ids: Iterable[str]) -> set[str]:
    """Those of `ids` that are source files of the ledger, whatever their type and day."""
    return _known(database, SourceFile.id, ids)


def known_batches(database: Database, ids: Iterable[str]) -> set[str]:
    """Those of `ids` that are micro-batches of the ledger."""
    return _known(database, Batch.id, ids)


def _known(database: Database, column: Any, ids: Iterable[str]) -> set[str]:
    wanted: list[str] = sorted(set(ids))
    known: set[str] = set()
    with database.reading() as session:
        for some in id_chunks(wanted):
            known |= set(session.scalars(select(column).where(column.in_(some))))
    return known


def _files(session: Session, scope: Scope) -> Iterator[FileRow]:
    query = select(*(getattr(SourceFile, name) for name in FileRow._fields)).order_by(SourceFile.id)
    if scope.file_type is not None:
        query = query.where(SourceFile.file_type == scope.file_type)
    for row in session.execute(query.execution_options(yield_per=10_000)):
        yield FileRow(*row)
