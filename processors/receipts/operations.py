"""Receipts of operations: a small file for each undo, replay and discard, beside those of the micro-batches.

`<warehouse>/_operations/<file type>/<operation id>.json` is on disk after Prepare and before the first commit, and is
written again, with its end, when the operation is settled. So an operation that only its receipt knows was forgotten:
the ledger is older than the tables (a restored backup), and its books would not balance. It is written into the ledger
again before anything is claimed, after the micro-batches: one that was over with what it did, any other as prepared,
so that the walk at start-up asks the tables and goes on.

They are kept `RECEIPT_DAYS`, as those of micro-batches are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from metadata.clock import Clock
from metadata.database.engine import Database
from metadata.database.states import BatchState
from metadata.operations.operation_receipt import OperationReceipt, ReceiptedOperations
from processors.lake.lake import Lake
from processors.receipts.files import ReceiptFiles, tell_unreadable
from processors.receipts.rebuild import tell_rebuilt

FOLDER = "_operations"


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
            tell_rebuilt(operations=len(rebuilt))
        return rebuilt

    def sweep(self, receipt_days: int) -> int:
        """Remove receipts of operations that the ledger has settled, and that are older than that; how many."""
        return self.remove_settled(self.ledger.states, self.clock.now(), receipt_days)

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
                    tell_unreadable(listed[operation_id], error, "what this operation did", operation_id=operation_id)
                continue
            if known is not BatchState.PREPARED or receipt.is_over:
                yield receipt
