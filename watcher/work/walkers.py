"""Who walks which operation to its end: undo, replay and discard, back-fill; and the receipts of them all."""

from __future__ import annotations

from dataclasses import dataclass
from threading import RLock

from metadata.database.models import Operation
from metadata.operations.backfill import BackfillLedger
from metadata.outage import Outage
from metadata.registry.registry import Registry
from processors.change.backfill import Backfill
from processors.change.replay import Replay
from processors.change.undo import Undo
from processors.load.commit_protocol import MicroBatches
from processors.receipts.operations import OperationReceipts
from watcher.app import App


@dataclass(frozen=True)
class Walkers:
    """One of each kind, for one process."""

    undo: Undo
    replay: Replay
    backfill: Backfill
    receipts: OperationReceipts

    @classmethod
    def of_app(cls, app: App, microbatches: MicroBatches, claiming: RLock, outage: Outage) -> Walkers:
        """Those that work beside `microbatches`; who moves files into processing/ holds `claiming`."""
        receipts = OperationReceipts(app.lake(), app.database, app.clock)
        rewriter, settler = microbatches.rewriter, microbatches.settler
        undo = Undo(app.ledger, app.lake(), rewriter, settler, claiming, receipts, outage)
        replay = Replay(app.settings, app.ledger, app.lake(), rewriter, outage, receipts)
        backfill = Backfill(BackfillLedger(app.database, app.clock), app.lake(), rewriter, outage)
        return cls(undo, replay, backfill, receipts)

    def unsettled(self) -> list[Operation]:
        """Undos, replays, discards and backfills that are not over, oldest first."""
        rows = [
            *self.undo.operations.unsettled(),
            *self.replay.operations.unsettled(),
            *self.backfill.operations.unsettled(),
        ]
        return sorted(rows, key=lambda row: row.id)

    def of(self, operation: Operation) -> Undo | Replay | Backfill:
        """Whose operation it is."""
        if operation.kind == "undo":
            return self.undo
        return self.backfill if operation.kind == "backfill" else self.replay

    def go_on(self, registry: Registry) -> None:
        """Operations that the world stopped half-way are brought to their end, before another one begins."""
        kinds = {kind.name: kind for kind in registry.read().types}
        for operation in self.unsettled():
            self.of(operation).resume(operation, kinds.get(operation.file_type))
