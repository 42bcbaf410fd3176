"""The commit protocol: how claimed files become one snapshot in each of two tables, exactly once.

1. **Plan**: one transaction writes the batch, its files and the schema version. Duplicates are decided here, against
   files that are loaded now; a copy of a file in flight waits for its fate.
2. **Decode and write** (`processors.load.decode_step`): Spark tasks read files, check records and write Parquet data
files
   whose names hold batch id, attempt, task and number: good records for the type's table, rejected ones for the
   quarantine's. Only files whose descriptions reach the driver exist for us. A worker digests what it decodes; other
   bytes than claimed, and the file leaves the batch. Records decoded = rows in the footers of the one table's data
   files + rows in those of the other's, or nothing goes on.
3. **Prepare**: a receipt beside the tables (`processors.receipts.batches`), then one transaction: outcome per file and
why its
   records were rejected, data-file paths and expected rows of both tables, event days touched. From the receipt on the
   batch only rolls forward.
4. **Commit** (`processors.load.commit_step`): 4a the quarantine's table, 4b the type's table: each one `fast_append`
with
   `lemonade.batch-id` in its summary; skipped when no rows are expected or when it has landed. Its snapshot id is
   derived from (batch id, table), so it cannot land twice.
5. **Record**: both snapshot ids, counts, unknown keys, days to summarise again: one transaction.
6. **Settle**: files move to their end; repeating a move is harmless. One alert tells of rejected records.

A file that replaces earlier loads of its name is a batch of its own. Its commits are one `overwrite` a table: the
earlier load's rows and rejected records go out and its data files come in (`processors.rewrite.rewriter`). Beside the
batch there is a row in `operations` with the same id, so that the same derived snapshot ids answer for both; on a
conflict it is prepared again.

A fault that follows the batch ends an attempt at step 2 or 4: `go_on` then returns what has to wait for the next one
(the same batch under the same id, or its two halves), and the caller does other work meanwhile.

A crash after any step is walked by `resume()`: planned → abandoned, its files claimed again (with a receipt: prepared
from it before the walk); prepared → has it landed in the quarantine? in the type's table? each is committed from the
recorded paths where it has not, then on from 5; committed → settle.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from metadata.clock import Clock
from metadata.database.models import Batch, SourceFile
from metadata.database.states import BatchState, FileState, FlushReason
from metadata.errors import BatchFault, LemonadeError, TypeStopped, UnknownOutcome, WorldFault
from metadata.ids import new_id
from metadata.ledger.batch_receipt import Receipt
from metadata.ledger.ledger import Ledger
from metadata.logs import Event, get_logger
from metadata.operations.undo import UndoLedger
from metadata.outage import Outage
from metadata.retry_policy import Destination, policy_for
from metadata.settings import Settings
from metadata.types.definition import Definition
from metadata.types.file_type import FileType
from processors.lake.lake import Lake
from processors.lake.quarantine_table import TABLE as QUARANTINE
from processors.load.commit_step import Committer, Prepared, TablePart
from processors.load.decode_step import DecodedBatch, Decoding
from processors.load.move_step import Settler
from processors.load.next_attempt import Again, GiveUp, Halve, after, is_poison
from processors.load.telling import (
    tell_again,
    tell_dead,
    tell_halved,
    tell_rejected,
    tell_replaced,
    tell_settled,
    tell_who_left,
)
from processors.receipts.batches import Receipts
from processors.rewrite.rewriter import Rewriter
from processors.spark.spark_runner import Runner

log = get_logger()

R = TypeVar("R")


@dataclass
class BatchResult:
    """What became of one chunk of files."""

    batch_id: str | None  #: None when no file was left to load (duplicates, copies in flight)
    file_type: str
    table_name: str
    files: int = 0
    counts: dict[str, int] = field(default_factory=dict)  #: files by outcome: loaded, failed, error, duplicate, …
    rows: int = 0
    rejected: int = 0  #: records of loaded files that are in the quarantine
    snapshot_id: int | None = None
    quarantine_snapshot_id: int | None = None
    state: str = ""
    waiting: int = 0  #: copies of a file in flight: plan them again once it is over
    refused: list[SourceFile] = field(default_factory=list)  #: redelivered names that the type does not take


@dataclass
class BatchInWork:
    """A micro-batch on its way through the steps."""

    kind: FileType
    definition: Definition
    batch: Batch | None  #: None when no file was left to load
    files: list[SourceFile]
    result: BatchResult  #: what became of it, once it is over
    watch: _Stopwatch
    replaces: list[SourceFile] = field(default_factory=list)  #: loads of its one file's name, which go out
    faults: int = 0
    chunk_faults: Counter[str] = field(default_factory=Counter)  #: shared by all batches that one chunk was cut into
    wait_seconds: float = 0.0  #: before its next attempt
    prepared: Prepared | None = None  #: from Prepare on


class MicroBatches:
    """Runs the protocol. `pause(seconds)` waits between attempts and returns False when the daemon drains."""

    def __init__(
        self,
        settings: Settings,
        ledger: Ledger,
        lake: Lake,
        runner: Callable[[], Runner],
        clock: Clock,
        pause: Callable[[float], bool],
        outage: Outage | None = None,
    ) -> None:
        self.settings = settings
        self.outage = outage or Outage(pause)
        self.ledger = self.outage.patient(ledger)  # each of its calls is one transaction: what failed, did not happen
        self.lake = lake
        self.runner = runner
        self.clock = clock
        self.pause = pause
        self.settler = Settler(self.ledger, settings.folders, clock, self._while_world_is_away)
        self.receipts = Receipts(lake)
        self.operations = self.outage.patient(UndoLedger(ledger.database, clock))
        self.rewriter = Rewriter(settings, lake, runner, clock, pause)
        self.decoding = Decoding(settings, self.ledger, lake, runner, clock)
        self.committer = Committer(self.ledger, lake, self.operations, self.rewriter, self._while_world_is_away)

    def begin(
        self,
        kind: FileType,
        files: Sequence[SourceFile],
        *,
        reason: FlushReason,
        flush_id: str,
        halved_from: str | None = None,
    ) -> BatchInWork:
        """Take one chunk of claimed files through step 1; `go_on` does the rest.

        Raises TypeStopped when the type has no schema.
        """
        watch = _Stopwatch(self.clock)
        # 1. Plan
        batch_id = new_id(self.clock)
        definition = kind.schema_or_stop("loading files")
        plan = self.ledger.plan(
            batch_id,
            file_type=kind.name,
            table_name=kind.table_name,
            schema_version=kind.schema_version,
            flush_id=flush_id,
            reason=reason,
            file_ids=[file.id for file in files],
            halved_from=halved_from,
            policy=kind.config.deliveries,
        )
        watch.lap("plan")
        self.settler.settle_files([*plan.duplicates, *plan.refused])
        result = BatchResult(None, kind.name, kind.table_name, waiting=len(plan.waiting))
        if plan.duplicates:
            result.counts[FileState.DUPLICATE] = len(plan.duplicates)
        if plan.refused:
            result.counts[FileState.FAILED], result.refused = len(plan.refused), plan.refused
        if plan.batch is not None:
            result.batch_id, result.files = batch_id, len(plan.files)
            log.debug(Event.BATCH_PLANNED, batch_id=batch_id, file_type=kind.name, files=len(plan.files))
        return BatchInWork(kind, definition, plan.batch, plan.files, result, watch, plan.replaces)

    def go_on(self, work: BatchInWork) -> list[BatchInWork]:
        """One attempt at steps 2 to 6; returns what has to wait for another attempt: it, its halves, or nothing.

        Nothing means that it is over. Raises WorldFault when it drains while something is away (the batch stays where
        it is, recovery goes on), TypeStopped when the type's table needs a person, Fatal when the books do not balance.
        """
        batch = work.batch
        if batch is None:
            return []
        try:
            if work.prepared is None:
                # 2. Decode and write
                decoded = self._while_world_is_away(lambda: self._decode_or_say_why(work, batch))
                prepared = _prepared(work.kind, decoded)
                if work.replaces and decoded.outcomes[0].outcome == "loaded":
                    self._while_world_is_away(lambda: self.committer.write_rests(batch, prepared, work.replaces))
                work.watch.lap("decode")

                # 3. Prepare
                self._prepare(batch, work.files, decoded, prepared)
                tell_who_left(work.files, decoded.outcomes)
                work.prepared = prepared
                work.faults = 0
                work.watch.lap("prepare")

            # 4. Commit
            self.committer.commit(batch, work.prepared)
            work.watch.lap("commit")
        except (BatchFault, UnknownOutcome) as fault:
            return self._after(work, batch, fault)
        self._finish(self.ledger.batch(batch.id), work.kind, work.prepared, work.result, work.watch)
        return []

    def _prepare(self, batch: Batch, files: Sequence[SourceFile], decoded: DecodedBatch, prepared: Prepared) -> None:
        """The receipt first: a restored ledger is brought up to date from it."""
        batch = self.ledger.batch(batch.id)
        replacement = self.ledger.replacement(batch.id)
        replaces = replacement[0].file_ids if replacement else ()
        removes = {part.table_name: part.rest.rows for part in prepared.parts if part.rest is not None}
        outcomes, written, days = decoded.outcomes, decoded.written, decoded.days
        now = self.clock.now()
        receipt = Receipt.of(batch, files, outcomes, written, days, now, replaces=replaces, removes=removes)
        self._while_world_is_away(lambda: self.receipts.write(receipt))
        self._while_world_is_away(lambda: self.ledger.prepare(batch.id, outcomes, written, days))

    def let_go(self, work: BatchInWork, error: str) -> None:
        """Nobody will go on with a batch that waits for an attempt: before Prepare, its files are claimed again."""
        if work.batch is not None and work.prepared is None:
            self.receipts.forget(work.batch)
            self.ledger.abandon(work.batch.id, error)

    def resume(self, batch: Batch, kind: FileType | None) -> BatchResult:
        """Walk an unsettled batch of an earlier process to its end, from the step it had reached.

        `kind` is None when the type is gone from the registry; its days are then not marked for the summary.
        Raises TypeStopped when the table's history was cut and the batch cannot be found in it.
        """
        watch = _Stopwatch(self.clock)
        result = BatchResult(batch.id, batch.file_type, batch.table_name, files=batch.files)
        if batch.state == BatchState.PLANNED:
            self._recover_planned(batch, result)
            return result
        if batch.state == BatchState.COMMITTED:
            return self._settle(batch, result, watch)
        prepared = self._commit_at_last(batch, kind)
        watch.lap("commit")
        return self._finish(batch, kind, prepared, result, watch)

    # -- step 2 -------------------------------------------------------------------------------------------------------

    def _decode(
        self, kind: FileType, definition: Definition, batch: Batch, files: Sequence[SourceFile]
    ) -> DecodedBatch:
        return self.decoding.decode(kind, definition, batch, files)

    def _decode_or_say_why(self, work: BatchInWork, batch: Batch) -> DecodedBatch:
        try:
            return self._decode(work.kind, work.definition, batch, work.files)
        except WorldFault as fault:
            self.ledger.note_error(batch.id, fault.message)  # a process that dies while it waits did not die of them
            raise

    # -- after a fault, or a death ------------------------------------------------------------------------------------

    def _after(self, work: BatchInWork, batch: Batch, fault: BatchFault | UnknownOutcome) -> list[BatchInWork]:
        """An attempt has failed: what waits for another one."""
        work.faults += 1
        work.chunk_faults["all"] += 1
        retry = policy_for(fault, work.kind, self.settings)
        verdict = after(
            fault,
            retry,
            files=len(work.files) if work.prepared is None else 1,
            faults=work.faults,
            chunk_faults=work.chunk_faults["all"],
            random=random.random,
        )
        match verdict:
            case Again(seconds):
                self._note_again(batch, fault, work.faults, seconds)
                work.wait_seconds = seconds
                if work.prepared is not None:
                    work.prepared.forget_data_files()
                return [work]
            case GiveUp(code) if work.prepared is None and retry.destination is not Destination.TYPE_STOPPED:
                self._give_up(batch, fault, code, work.result)
                return []
            case GiveUp():
                self.let_go(work, fault.message)
                raise TypeStopped(fault.message, code=fault.code) from fault
            case Halve():
                return self._halve(work, batch, fault)

    def _halve(self, work: BatchInWork, batch: Batch, fault: BatchFault | UnknownOutcome) -> list[BatchInWork]:
        """Plan the batch's files again as two batches, which follow at once."""
        self.ledger.abandon(batch.id, fault.message)
        work.result.state = BatchState.ABANDONED.value
        middle = (len(work.files) + 1) // 2
        halves = [
            self.begin(
                work.kind,
                files,
                reason=FlushReason(batch.reason),
                flush_id=batch.flush_id,
                halved_from=batch.id,
            )
            for files in (work.files[:middle], work.files[middle:])
        ]
        for half in halves:
            half.chunk_faults = work.chunk_faults
        tell_halved(batch, fault, len(work.files), [half.result.batch_id for half in halves])
        return halves

    def _note_again(self, batch: Batch, fault: LemonadeError, faults: int, seconds: float) -> None:
        self.ledger.note_error(batch.id, fault.message)
        tell_again(batch, fault, faults, seconds)

    def _give_up(
        self, batch: Batch, fault: LemonadeError, code: str, result: BatchResult, *, died: bool = False
    ) -> None:
        """Out of attempts before Prepare: the files are dead letters in failed/."""
        files = self.ledger.abandon(batch.id, fault.message, fail=(code, fault.message), died=died)
        self.settler.settle_files(files)
        tell_dead(batch, fault, code, files)
        result.counts[FileState.FAILED] = result.counts.get(FileState.FAILED, 0) + len(files)
        result.state = BatchState.ABANDONED.value

    def _recover_planned(self, batch: Batch, result: BatchResult) -> None:
        """The process ended before Prepare: the files are claimed again, but for one that ends every process."""
        files, died, deaths = self._deaths(batch)
        if died and is_poison(len(files), deaths):
            fault = BatchFault(
                f"loading {files[0].name}: the whole process died {deaths} times with it in work, at last with it "
                "alone; see its size and its nesting, and the kernel's out-of-memory killer",
                code="poison",
            )
            self._give_up(batch, fault, fault.code, result, died=True)
            return
        self.ledger.abandon(batch.id, "the process ended before Prepare", died=died)
        log.info(Event.BATCH_ABANDONED, batch_id=batch.id, file_type=batch.file_type, files=batch.files, deaths=deaths)
        result.state = BatchState.ABANDONED.value

    def is_poisoned(self, batch: Batch) -> bool:
        """Whether recovery would put a planned batch's one file into failed/, for it has ended too many processes."""
        files, died, deaths = self._deaths(batch)
        return died and is_poison(len(files), deaths)

    def _deaths(self, batch: Batch) -> tuple[list[SourceFile], bool, int]:
        """A planned batch's files, whether the process died in an attempt at them, and how often they saw that."""
        files = self.ledger.batch_files(batch.id)
        died = batch.attempts > 0 and batch.error is None  # in the middle of an attempt, and nobody had asked for it
        return files, died, max((file.deaths for file in files), default=0) + died

    # -- step 4 -------------------------------------------------------------------------------------------------------

    def _commit_at_last(self, batch: Batch, kind: FileType | None) -> Prepared:
        """Step 4 at recovery, from the recorded paths: waits in place between attempts, nothing else may go on yet."""
        prepared, faults = Prepared.from_record(batch, kind.time_field if kind else None), 0
        while True:
            try:
                self.committer.commit(batch, prepared)
                return prepared
            except (UnknownOutcome, BatchFault) as fault:
                faults += 1
                retry = policy_for(fault, kind, self.settings)
                if retry.is_last(faults):
                    raise TypeStopped(fault.message, code=fault.code) from fault
                seconds = retry.wait(faults, random.random)
                self._note_again(batch, fault, faults, seconds)
                if not self.pause(seconds):
                    raise WorldFault(f"loading batch {batch.id}: draining between two attempts") from fault

    # -- steps 5 and 6 ------------------------------------------------------------------------------------------------

    def _finish(
        self, batch: Batch, kind: FileType | None, prepared: Prepared, result: BatchResult, watch: _Stopwatch
    ) -> BatchResult:
        # 5. Record
        self._while_world_is_away(
            lambda: self.ledger.record(
                batch.id,
                snapshot_id=prepared.table.snapshot_id,
                quarantine_snapshot_id=prepared.quarantine.snapshot_id,
                summary_table=kind.summary_table if kind else None,
            )
        )
        watch.lap("record")
        self._tell_replaced(batch, result)
        recorded = self._while_world_is_away(lambda: self.ledger.batch(batch.id))
        return self._settle(recorded, result, watch)

    def _tell_replaced(self, batch: Batch, result: BatchResult) -> None:
        replacement = self.ledger.replacement(batch.id)
        for file in replacement[1] if replacement else ():
            result.counts[FileState.REPLACED] = result.counts.get(FileState.REPLACED, 0) + 1
            tell_replaced(batch, file)

    def _settle(self, batch: Batch, result: BatchResult, watch: _Stopwatch) -> BatchResult:
        # 6. Settle
        if batch.quarantine_rows:  # before the end: a process that dies in between says it twice
            tell_rejected(batch, self._while_world_is_away(lambda: self.ledger.quarantined_by_code(batch.id)))
        files = self._while_world_is_away(lambda: self._move_files(batch))
        self._while_world_is_away(lambda: self.ledger.settle(batch.id))
        watch.lap("settle")
        for file in files:
            result.counts[file.state] = result.counts.get(file.state, 0) + 1
        left = batch.files - len(files)  # changed or missing: they left the batch at Prepare
        if left:
            result.counts["left"] = left
        result.rows, result.snapshot_id = batch.expected_rows or 0, batch.snapshot_id
        result.rejected, result.quarantine_snapshot_id = batch.quarantine_rows or 0, batch.quarantine_snapshot_id
        result.state = BatchState.SETTLED.value
        tell_settled(batch, result.counts, watch.laps)
        return result

    def _move_files(self, batch: Batch) -> list[SourceFile]:
        files = self.ledger.batch_files(batch.id)
        self.settler.settle_files(files)
        return files

    def _while_world_is_away(self, action: Callable[[], R]) -> R:
        """Do it; while disk, catalog or ledger are away: one alert, then wait and try again."""
        return self.outage.wait_out(action)


class _Stopwatch:
    """Seconds by step, for the canonical log line."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._since = clock.monotonic()
        self.laps: dict[str, float] = {}

    def lap(self, step: str) -> None:
        now = self._clock.monotonic()
        self.laps[step] = round(now - self._since, 3)
        self._since = now


def _prepared(kind: FileType, decoded: DecodedBatch) -> Prepared:
    """What step 4 is to do; both tables' rows as the footers count them."""
    rows, rejected = (
        sum(data_file.record_count for data_file in each) for each in (decoded.data_files, decoded.quarantined)
    )
    return Prepared(
        TablePart(kind.table_name, rows, decoded.data_files),
        TablePart(QUARANTINE, rejected, decoded.quarantined),
        kind.time_field,
    )
