"""Receipts of operations: a small file for each undo, replay and discard, beside those of the micro-batches.

`<warehouse>/_operations/<file type>/<operation id>.json` is on disk after Prepare and before the first commit, and is
written again, with its end, when the operation is settled. So an operation that only its receipt knows was forgotten:
the ledger is older than the tables (a restored backup), and its books would not balance. It is written into the ledger
again before anything is claimed, after the micro-batches: one that was over with what it did, any other as prepared,
so that the walk at start-up asks the tables and goes on.

They are kept `RECEIPT_DAYS`, as those of micro-batches are.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping

from metadata.clock import Clock
from metadata.database.engine import Database
from metadata.database.states import BatchState
from metadata.logs import Event, Severity, alert
from metadata.operations.operation_receipt import OperationReceipt, ReceiptedOperations
from processors.lake.lake import Lake
from processors.receipts.batches import ReceiptFiles

FOLDER = "_operations"
_DAY_SECONDS = 86_400
_OVER = frozenset({BatchState.SETTLED, BatchState.ABANDONED})


class OperationReceipts(ReceiptFiles):
    """The receipts of one warehouse's operations."""

    def __init__(self, lake: Lake, database: Database, clock: Clock) -> None:
        super().__init__(lake, FOLDER)
        self.ledger = ReceiptedOperations(database, clock)
        self.clock = clock

    def write(self, operation_id: str, *, is_over: bool = False) -> None:
        """Of an operation that is prepared or further, as the ledger has it; WorldFault when it cannot be written."""
        receipt = self.ledger.receipt(operation_id, is_over=is_over)
        self.put(self.location(receipt.file_type, operation_id), receipt.to_bytes())

    def forgotten(self) -> list[OperationReceipt]:
        """Of the operations that `rebuild` would write into the ledger, oldest first; changes nothing."""
        return list(self._due(tell=False))

    def rebuild(self, summary_tables: Mapping[str, str | None]) -> list[str]:
        """Write what an older ledger has forgotten into it again; ids in the order in which they were planned.

        Call it under the lock, after the batches' receipts were put back and before unsettled operations are walked.
        `summary_tables`: file type → the table of its summary, whose days become dirty again.
        """
        rebuilt = []
        for receipt in self._due(tell=True):
            self.ledger.put_back(receipt, summary_tables.get(receipt.file_type))
            rebuilt.append(receipt.operation_id)
        if rebuilt:
            alert(
                Event.LEDGER_REBUILT,
                severity=Severity.WARNING,
                code="ledger_restored",
                operations=len(rebuilt),
                cure="the ledger was older than the tables and was brought up to date; check with: lemonade audit",
            )
        return rebuilt

    def sweep(self, receipt_days: int) -> int:
        """Remove receipts of operations that the ledger has settled, and that are older than that; how many."""
        oldest_ms = (self.clock.now().timestamp() - receipt_days * _DAY_SECONDS) * 1000
        old = {each: where for each, where in self.all().items() if uuid.UUID(each).int >> 80 < oldest_ms}
        done = [each for each, state in self.ledger.states(list(old)).items() if state in _OVER]
        for each in done:
            self.remove(old[each])
        return len(done)

    def _due(self, *, tell: bool) -> Iterator[OperationReceipt]:
        """Operations that the ledger does not know, or knows from before they came as far as their receipt says."""
        listed = self.all()
        states = self.ledger.states(list(listed))
        for operation_id in sorted(listed):
            known = states.get(operation_id)
            if known not in (None, BatchState.PLANNED, BatchState.PREPARED):
                continue
            try:
                receipt = OperationReceipt.parse(self.text(listed[operation_id]))
            except ValueError as error:
                if tell:
                    _tell_unreadable(operation_id, listed[operation_id], error)
                continue
            if known is not BatchState.PREPARED or receipt.is_over:
                yield receipt


def _tell_unreadable(operation_id: str, location: str, error: ValueError) -> None:
    alert(
        Event.RECEIPT_UNREADABLE,
        severity=Severity.ERROR,
        code="receipt_unreadable",
        operation_id=operation_id,
        path=location,
        error=str(error),
        cure="if the ledger was restored from a backup, what this operation did is not in its books: lemonade audit",
    )
