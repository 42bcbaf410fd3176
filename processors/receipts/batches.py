"""Receipts: a small file for each prepared micro-batch, beside the tables, from which a ledger is brought up to date.

`<warehouse>/_receipts/<file type>/<batch id>.json` is on disk before the transaction of Prepare. So

- a batch whose receipt exists was decoded, and its data files are whole: it rolls forward, whatever the ledger says;
- a batch without one was never prepared: nothing of it is in a table;
- a batch that only its receipt knows was forgotten: the ledger is older than the tables (a restored backup). The
  table is asked, then the ledger's rows are written again, before anything is claimed.

Receipts are kept `RECEIPT_DAYS`; a backup that is older than that leaves files unknown.
"""

from __future__ import annotations

from collections.abc import Mapping

from metadata.clock import Clock
from metadata.database.models import Batch
from metadata.ledger.batch_receipt import Receipt
from metadata.ledger.ledger import Ledger
from processors.lake.lake import Lake
from processors.receipts.files import ReceiptFiles

FOLDER = "_receipts"


class Receipts(ReceiptFiles):
    """The receipts of one warehouse's micro-batches."""

    def __init__(self, lake: Lake) -> None:
        super().__init__(lake, FOLDER)

    def write(self, receipt: Receipt) -> str:
        """Write it whole, on disk when this returns; again replaces it. Returns where. WorldFault when it cannot."""
        return self.put(self.location(receipt.file_type, receipt.batch_id), receipt.to_bytes())

    def forget(self, batch: Batch) -> None:
        """Before a planned batch is given up: without a receipt it was never prepared."""
        self.remove(self.location(batch.file_type, batch.id))

    def read(self, location: str) -> Receipt:
        """The receipt; ValueError when it cannot be understood."""
        return Receipt.parse(self.text(location))


def sweep_receipts(
    ledger: Ledger, lake: Lake, clock: Clock, *, receipt_days: int, listed: Mapping[str, str] | None = None
) -> int:
    """Remove receipts of batches that the ledger has settled, and that are older than `receipt_days`; how many."""
    return Receipts(lake).remove_settled(ledger.batch_states, clock.now(), receipt_days, listed)
