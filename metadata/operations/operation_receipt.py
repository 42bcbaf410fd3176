"""An operation's receipt: what Prepare has written into the ledger of an undo, a replay or a discard, once more.

A ledger that was restored from a backup is brought up to date from receipts, those of micro-batches first.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from metadata.database.id_chunks import id_chunks
from metadata.database.legal_steps import get_operation
from metadata.database.models import Operation, SourceFile
from metadata.database.states import BatchState, FileState
from metadata.database.store import Store
from metadata.ledger.summary_days import touch_days
from metadata.ledger.values import RecordKey
from metadata.operations.replay import KINDS, count_taken
from metadata.operations.reserved_records import reserve, taken_by
from metadata.operations.undo import apply_undo

FORMAT = 1
RECEIPTED = ("undo", *KINDS)

_COLUMNS = (
    "id",
    "kind",
    "file_type",
    "table_name",
    "batch_id",
    "file_ids",
    "removed_rows",
    "added_rows",
    "quarantine_rows",
    "schema_version",
    "detail",
    "added_paths",
    "removed_paths",
    "event_days",
)
_SNAPSHOTS = ("snapshot_id", "quarantine_snapshot_id")
_TIMES = ("planned_at", "prepared_at")


@dataclass(frozen=True)
class OperationReceipt:
    """One operation as it was prepared. Values are those of the ledger's columns; times are ISO 8601 text."""

    operation: Mapping[str, Any]
    loads: Mapping[str, str]  #: file id → the batch whose load of it is taken back
    records: Sequence[tuple[str, str, Sequence[int]]] = ()  #: batch, file and record numbers that it has taken
    is_over: bool = False  #: all of its steps were done

    @classmethod
    def parse(cls, text: bytes) -> OperationReceipt:
        """The receipt in its text form; ValueError when it is torn or of a newer release."""
        try:
            raw = json.loads(text)
            if raw["format"] != FORMAT:
                raise ValueError(f"it has format {raw['format']}, this release reads {FORMAT}")
            receipt = cls(raw["operation"], raw["loads"], raw["records"], raw["is_over"])
            _ = [receipt.operation[column] for column in (*_COLUMNS, *_TIMES)]
            return receipt
        except (KeyError, TypeError) as error:
            raise ValueError(f"it lacks {error}") from error

    def to_bytes(self) -> bytes:
        """Its text form."""
        return json.dumps({"format": FORMAT, **vars(self)}, separators=(",", ":")).encode()

    @property
    def operation_id(self) -> str:
        """The operation that it is about."""
        return str(self.operation["id"])

    @property
    def file_type(self) -> str:
        """Of all its files."""
        return str(self.operation["file_type"])

    @property
    def keys(self) -> list[RecordKey]:
        """The rejected records that the operation has taken."""
        return [
            RecordKey(batch_id, file_id, number) for batch_id, file_id, numbers in self.records for number in numbers
        ]


class ReceiptedOperations(Store):
    """What receipts of operations need of the ledger."""

    def receipt(self, operation_id: str, *, is_over: bool) -> OperationReceipt:
        """The receipt of an operation that is prepared or further, as the ledger has it."""
        with self.database.reading() as session:
            row = get_operation(session, operation_id)
            times = {column: getattr(row, column).isoformat() for column in _TIMES}
            operation = {column: getattr(row, column) for column in (*_COLUMNS, *_SNAPSHOTS)} | times
            loads: dict[str, str] = {}
            for some in id_chunks(row.file_ids if row.kind == "undo" else []):
                query = select(SourceFile.id, SourceFile.batch_id).where(SourceFile.id.in_(some))
                for file_id, batch_id in session.execute(query):
                    loads[file_id] = str(batch_id)
            numbers: dict[tuple[str, str], list[int]] = {}
            for key in taken_by(session, operation_id):
                numbers.setdefault((key.batch_id, key.file_id), []).append(key.record_no)
            return OperationReceipt(operation, loads, [(*pair, of) for pair, of in numbers.items()], is_over)

    def states(self, operation_ids: Sequence[str]) -> dict[str, BatchState]:
        """The states of those operations that the ledger has."""
        states: dict[str, BatchState] = {}
        with self.database.reading() as session:
            for some in id_chunks(operation_ids):
                for each, state in session.execute(select(Operation.id, Operation.state).where(Operation.id.in_(some))):
                    states[each] = BatchState(state)
        return states

    def put_back(self, receipt: OperationReceipt, summary_table: str | None) -> None:
        """Write an operation again that was forgotten: prepared if it was not over, else with what it did.

        What happened to its files later stands: only loads and records that the ledger still has are taken. An undo is
        left committed, for its files have yet to be found where it has put them.
        """
        with self.database.writing() as session:
            now = self.clock.now()
            row = session.get(Operation, receipt.operation_id)
            if row is None:
                row = Operation(id=receipt.operation_id)
                session.add(row)
            for column in _COLUMNS:
                setattr(row, column, receipt.operation[column])
            for column in _TIMES:
                setattr(row, column, datetime.fromisoformat(receipt.operation[column]))
            row.state, row.error = BatchState.PREPARED.value, None
            session.flush()
            reserve(session, row.id, _standing(session, receipt.keys))
            if not receipt.is_over:
                return
            row.snapshot_id, row.quarantine_snapshot_id = (receipt.operation.get(column) for column in _SNAPSHOTS)
            row.state, row.committed_at = BatchState.COMMITTED.value, now
            if row.kind == "undo":
                apply_undo(session, row, now, loads=receipt.loads)
            else:
                count_taken(session, row, now)
                row.state, row.settled_at = BatchState.SETTLED.value, now
            if summary_table is not None:
                touch_days(session, summary_table, row.file_type, row.event_days or [])


def _standing(session: Session, keys: Iterable[RecordKey]) -> list[RecordKey]:
    """Those records whose file is still loaded by the batch that rejected them."""
    wanted = list(keys)
    loads: dict[str, str | None] = {}
    for file_id in {key.file_id for key in wanted}:
        file = session.get(SourceFile, file_id)
        loads[file_id] = file.batch_id if file is not None and file.state == FileState.LOADED else None
    return [key for key in wanted if loads[key.file_id] == key.batch_id]
