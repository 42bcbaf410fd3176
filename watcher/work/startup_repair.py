"""What start-up repairs, in this order:

1. temporaries of moves that were cut off: they are removed;
2. micro-batches and operations that a restored ledger has forgotten: written into it again, from their receipts beside
   the tables;
3. receipts that are old enough: they go;
4. micro-batches that were not settled: each is walked to its end, by the state in which it was left;
5. files that were given their end but not moved there: they are moved;
6. undos, replays, discards and back-fills that are not over: each is walked to its end; a replacement goes the way of
   its batch;
7. files at their ends that no row knows: they are put on record (`watcher.intake.unknown_ends`).

Files in processing/ and held/ that no row knows, the first scan adopts (`Intake.adopt_strays`). `inspect` says what
there is to repair and changes nothing; `recover` does it. Whatever nobody can know stops its type, and asks a person.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from metadata.database.models import Batch, Operation
from metadata.database.states import BatchState
from metadata.errors import TypeStopped
from metadata.files.moves import sweep
from metadata.logs import Event, get_logger
from metadata.operations.operation_receipt import OperationReceipt
from metadata.registry.registry import Registry
from metadata.types.file_type import FileType
from processors.lake.landing import LandingState
from processors.lake.quarantine_table import TABLE as QUARANTINE
from processors.load.commit_protocol import BatchResult, MicroBatches
from processors.load.resume import is_poisoned, resume
from processors.receipts.rebuild import forgotten, rebuild_forgotten
from watcher.app import App
from watcher.intake.folder_faults import folders_answer
from watcher.intake.intake import Intake
from watcher.intake.unknown_ends import record_ends
from watcher.work.types_in_trouble import stop_type
from watcher.work.walkers import Walkers

log = get_logger()


class Action(StrEnum):
    """What start-up does with one thing that an earlier process left."""

    REBUILD = "rebuild"  #: its receipt is written into the ledger, which has forgotten it; then it is walked
    CLAIM_AGAIN = "claim again"  #: the batch is abandoned, its files wait for the next flush
    FAIL = "fail"  #: the batch is abandoned, its one file goes to failed/: it ended process after process
    COMMIT = "commit"  #: its recorded data files are committed where they are not, then it is recorded and settled
    RECORD = "record"  #: its snapshots are in the tables; it is recorded and settled
    SETTLE = "settle"  #: its files move to their end
    ABANDON = "abandon"  #: the operation is given up, nothing was changed
    ADOPT = "adopt"  #: the file is claimed as if it had just been dropped
    ASK = "ask"  #: nobody can tell whether it was loaded: its type stops until a person has looked


@dataclass(frozen=True)
class Repair:
    """One thing to put in order; `thing` is a batch's, operation's or file's id, or a stray file's path."""

    kind: str  #: batch, undo, replay, discard, backfill, file or stray
    thing: str
    file_type: str | None
    found: str  #: its state in the ledger, or `unknown`
    action: Action
    files: int | None = None


def inspect(microbatches: MicroBatches, walkers: Walkers, intake: Intake) -> list[Repair]:
    """What start-up would repair at this moment, in its order. Only asks ledger, receipts, tables and folders."""
    ledger = microbatches.ledger
    forgot = forgotten(ledger, microbatches.lake)
    unsettled = {batch.id: batch for batch in ledger.unsettled_batches()}
    repairs = []
    for batch_id in forgot:
        known = unsettled.get(batch_id)
        file_type, state = (known.file_type, known.state) if known else (None, "unknown")
        repairs.append(Repair("batch", batch_id, file_type, state, Action.REBUILD, known.files if known else None))
    repairs += [
        Repair("batch", batch.id, batch.file_type, batch.state, _action_on_batch(microbatches, batch), batch.files)
        for batch in unsettled.values()
        if batch.id not in forgot
    ]
    repairs += [_forgotten_operation(receipt) for receipt in walkers.receipts.forgotten()]
    repairs += [
        Repair(row.kind, row.id, row.file_type, row.state, _action_on_operation(walkers, row), len(row.file_ids))
        for row in walkers.unsettled()
    ]
    repairs += [Repair("file", file.id, file.file_type, file.state, Action.SETTLE) for file in ledger.unmoved_files()]
    repairs += [Repair("stray", str(path), None, "unknown", Action.ADOPT) for path in intake.strays()]
    return repairs


def _forgotten_operation(receipt: OperationReceipt) -> Repair:
    operation = receipt.operation
    files = len(operation["file_ids"])
    return Repair(operation["kind"], receipt.operation_id, receipt.file_type, "unknown", Action.REBUILD, files)


def _action_on_batch(microbatches: MicroBatches, batch: Batch) -> Action:
    if batch.state == BatchState.PLANNED:
        return Action.FAIL if is_poisoned(microbatches.ledger, batch) else Action.CLAIM_AGAIN
    if batch.state == BatchState.COMMITTED:
        return Action.SETTLE
    replacement = microbatches.ledger.replacement(batch.id)
    removed, unquarantined = (replacement[0].removed_rows, replacement[0].quarantine_rows) if replacement else (0, 0)
    expected = {
        QUARANTINE: batch.quarantine_rows or unquarantined,
        batch.table_name: batch.expected_rows or removed,
    }
    landings = {microbatches.committer.landing(batch, name)[0] for name, rows in expected.items() if rows}
    if LandingState.HISTORY_CUT in landings:
        return Action.ASK
    return Action.COMMIT if LandingState.ABSENT in landings else Action.RECORD


def _action_on_operation(walkers: Walkers, operation: Operation) -> Action:
    if operation.state == BatchState.PLANNED:
        return Action.ABANDON
    if operation.state == BatchState.COMMITTED:
        return Action.SETTLE
    try:
        return Action.RECORD if walkers.of(operation).landed(operation) else Action.COMMIT
    except TypeStopped:
        return Action.ASK


@dataclass
class Recovered:
    """What the walk did; `stopped` types are not loaded until a person has looked."""

    batches: list[BatchResult] = field(default_factory=list)
    files_settled: int = 0
    stopped: set[str] = field(default_factory=set)


def recover(app: App, microbatches: MicroBatches, walkers: Walkers, types: Sequence[FileType]) -> Recovered:
    """Repair, in the order that this module's docstring has; once, under the lock, before anything is claimed."""
    settings, folders = app.settings, app.settings.folders
    with folders_answer("removing what cut off moves have left below", folders.source_data):
        sweep(folders.ends_of_moves())
    rebuilt = rebuild_forgotten(app.ledger, app.lake(), folders, types, app.clock, receipt_days=settings.receipt_days)
    walkers.receipts.rebuild({kind.name: kind.summary_table for kind in types})
    walkers.receipts.sweep(settings.receipt_days)
    recovered = Recovered()
    _walk_batches(app.registry, microbatches, recovered)
    _walk_operations(app.registry, walkers, types, recovered)
    record_ends(app.ledger, folders, app.clock, is_restored=rebuilt.is_restored)
    return recovered


def _walk_batches(registry: Registry, microbatches: MicroBatches, recovered: Recovered) -> None:
    """Walk every unsettled batch, then move files that were given their end but not moved there.

    A batch whose outcome nobody can know stops its type with a critical alert; the others go on.
    """
    ledger = microbatches.ledger
    by_name = {kind.name: kind for kind in registry.read().types}
    unsettled = ledger.unsettled_batches()
    if unsettled:
        log.info(Event.RECOVERY_STARTED, batches=len(unsettled))
    for batch in unsettled:
        try:
            result = resume(microbatches, batch, by_name.get(batch.file_type))
        except TypeStopped as stop:
            recovered.stopped.add(batch.file_type)
            stop_type(registry, batch.file_type, stop)
            continue
        recovered.batches.append(result)
        log.info(
            Event.RECOVERY_BATCH,
            batch_id=batch.id,
            file_type=batch.file_type,
            found=batch.state,
            now=result.state,
            rows=result.rows,
            rejected=result.rejected,
            snapshot_id=result.snapshot_id,
        )
    left = ledger.unmoved_files()
    microbatches.settler.settle_files(left)
    recovered.files_settled = len(left)
    if unsettled or left:
        log.info(Event.RECOVERY_FINISHED, batches=len(unsettled), files_settled=len(left))


def _walk_operations(registry: Registry, walkers: Walkers, types: Sequence[FileType], recovered: Recovered) -> None:
    """Walk every unsettled operation, in their order; a replacement goes the way of its batch.

    One that cannot go on stops its type.
    """
    by_name = {kind.name: kind for kind in types}
    for operation in walkers.unsettled():
        try:
            result = walkers.of(operation).resume(operation, by_name.get(operation.file_type))
        except TypeStopped as stop:
            recovered.stopped.add(operation.file_type)
            stop_type(registry, operation.file_type, stop)
            continue
        log.info(
            Event.RECOVERY_OPERATION,
            operation_id=operation.id,
            kind=operation.kind,
            file_type=operation.file_type,
            found=operation.state,
            now=result.state,
            rows=result.rows,
            snapshot_id=result.snapshot_id,
        )
