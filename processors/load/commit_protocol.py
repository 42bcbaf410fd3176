"""The commit protocol: how claimed files become one snapshot in each of two tables, exactly once.

1. **Plan**: one transaction writes the batch, its files and the schema version. Duplicates are decided here, against
   files that are loaded now; a copy of a file in flight waits for its fate.
2. **Decode and write** (`processors.load.decode_step`): Spark tasks read files, check records and write Parquet data
   files whose names hold batch id, attempt, task and number: good records for the type's table, rejected ones for the
   quarantine's. Only files whose descriptions reach the driver exist for us. A worker digests what it decodes; other
   bytes than claimed, and the file leaves the batch. Records decoded = rows in the footers of the one table's data
   files + rows in those of the other's, or nothing goes on.
3. **Prepare**: a receipt beside the tables (`processors.receipts.batches`), then one transaction: outcome per file and
   why its records were rejected, data-file paths and expected rows of both tables, event days touched. From the
   receipt on the batch only rolls forward.
4. **Commit** (`processors.load.commit_step`): 4a the quarantine's table, 4b the type's table: each one `fast_append`
   with `lemonade.batch-id` in its summary; skipped when no rows are expected or when it has landed. Its snapshot id is
   derived from (batch id, table), so it cannot land twice.
5. **Record**: both snapshot ids, counts, unknown keys, days to summarise again: one transaction.
6. **Settle** (`processors.load.move_step`): files move to their end; repeating a move is harmless. One alert tells of
   rejected records.

A file that replaces earlier loads of its name is a batch of its own. Its commits are one `overwrite` a table: the
earlier load's rows and rejected records go out and its data files come in (`processors.rewrite.rewriter`). Beside the
batch there is a row in `operations` with the same id, so that the same derived snapshot ids answer for both; on a
conflict it is prepared again.

A fault that follows the batch ends an attempt at step 2 or 4 (`processors.load.next_attempt`): `go_on` then returns
what has to wait for the next one (the same batch under the same id, or its two halves), and the caller does other work
meanwhile. While the world is away a step waits in place: `outage.wait_out` stands at each that may meet it.

A crash after any step is walked by `processors.load.resume`: planned → abandoned, its files claimed again (with a
receipt: prepared from it before the walk); prepared → has it landed in the quarantine? in the type's table? each is
committed from the recorded paths where it has not, then on from 5; committed → settle.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

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
from metadata.types.file_type import FileType
from processors.lake.lake import Lake
from processors.lake.quarantine_table import TABLE as QUARANTINE
from processors.load.commit_step import Committer, Prepared, TablePart
from processors.load.decode_step import DecodedBatch, Decoding
from processors.load.move_step import Settler
from processors.load.next_attempt import Again, GiveUp, Halve, after
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
    refused: list[SourceFile] = field(default_factory=list)  #: redelivered names that the type does not take


class Faults:
    """Attempts that failed: at one batch, and at all batches that its chunk was cut into."""

    def __init__(self, chunk: Counter[str] | None = None) -> None:
        self.of_batch = 0
        self._chunk = Counter() if chunk is None else chunk  #: shared by the halves

    @property
    def of_chunk(self) -> int:
        """How many of the whole chunk."""
        return self._chunk.total()

    def add(self) -> None:
        """One more."""
        self.of_batch += 1
        self._chunk["fault"] += 1

    def of_half(self) -> Faults:
        """Those of a half of the batch: none yet, but the chunk's."""
        return Faults(self._chunk)


@dataclass
class BatchInWork:
    """A micro-batch on its way through the steps."""

    kind: FileType
    batch: Batch | None  #: None when no file was left to load
    files: list[SourceFile]
    result: BatchResult  #: what became of it, once it is over
    watch: Stopwatch
    replaces: list[SourceFile] = field(default_factory=list)  #: loads of its one file's name, which go out
    copies: int = 0  #: of files in flight, which wait: plan them again once it is over
    faults: Faults = field(default_factory=Faults)
    wait_seconds: float = 0.0  #: before its next attempt
    prepared: Prepared | None = None  #: from Prepare on


class MicroBatches:
    """Runs the protocol; what an earlier process left is walked by `processors.load.resume`."""

    def __init__(
        self,
        settings: Settings,
        ledger: Ledger,
        lake: Lake,
        runner: Callable[[], Runner],
        clock: Clock,
        outage: Outage,
    ) -> None:
        self.settings = settings
        self.ledger = ledger
        self.lake = lake
        self.clock = clock
        self.outage = outage
        self.settler = Settler(ledger, settings.folders, clock, outage)
        self.receipts = Receipts(lake)
        self.rewriter = Rewriter(settings, lake, runner, clock, outage.pause)
        self.decoding = Decoding(settings, ledger, lake, runner, clock)
        self.committer = Committer(ledger, lake, UndoLedger(ledger.database, clock), self.rewriter, outage)

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
        watch = Stopwatch(self.clock)
        # 1. Plan
        batch_id = new_id(self.clock)
        kind.schema_or_stop("loading files")  # or nothing is planned
        plan = self.outage.wait_out(
            self.ledger.plan,
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
        result = BatchResult(None, kind.name, kind.table_name)
        if plan.duplicates:
            result.counts[FileState.DUPLICATE] = len(plan.duplicates)
        if plan.refused:
            result.counts[FileState.FAILED], result.refused = len(plan.refused), plan.refused
        if plan.batch is not None:
            result.batch_id, result.files = batch_id, len(plan.files)
            log.debug(Event.BATCH_PLANNED, batch_id=batch_id, file_type=kind.name, files=len(plan.files))
        return BatchInWork(kind, plan.batch, plan.files, result, watch, plan.replaces, copies=len(plan.waiting))

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
                decoded = self.outage.wait_out(self._decode_or_say_why, work, batch)
                prepared = _prepared(work.kind, decoded)
                if work.replaces and decoded.outcomes[0].outcome == "loaded":
                    self.committer.write_rests(batch, prepared, work.replaces)
                work.watch.lap("decode")

                # 3. Prepare
                self._prepare(batch, work.files, decoded, prepared)
                tell_who_left(work.files, decoded.outcomes)
                work.prepared = prepared
                work.faults.of_batch = 0
                work.watch.lap("prepare")

            # 4. Commit
            self.committer.commit(batch, work.prepared)
            work.watch.lap("commit")
        except (BatchFault, UnknownOutcome) as fault:
            return self._after(work, batch, fault)
        recorded = self.outage.wait_out(self.ledger.batch, batch.id)
        self.record_and_settle(recorded, work.kind, work.prepared, work.result, work.watch)
        return []

    def _prepare(self, batch: Batch, files: Sequence[SourceFile], decoded: DecodedBatch, prepared: Prepared) -> None:
        """The receipt first: a restored ledger is brought up to date from it."""
        batch = self.outage.wait_out(self.ledger.batch, batch.id)
        replacement = self.outage.wait_out(self.ledger.replacement, batch.id)
        replaces = replacement[0].file_ids if replacement else ()
        removes = {part.table_name: part.rest.rows for part in prepared.parts if part.rest is not None}
        outcomes, written, days = decoded.outcomes, decoded.written, decoded.days
        now = self.clock.now()
        receipt = Receipt.of(batch, files, outcomes, written, days, now, replaces=replaces, removes=removes)
        self.outage.wait_out(self.receipts.write, receipt)
        self.outage.wait_out(self.ledger.prepare, batch.id, outcomes, written, days)

    def let_go(self, work: BatchInWork, error: str) -> None:
        """Nobody will go on with a batch that waits for an attempt: before Prepare, its files are claimed again."""
        if work.batch is not None and work.prepared is None:
            self.receipts.forget(work.batch)
            self.outage.wait_out(self.ledger.abandon, work.batch.id, error)

    def _decode_or_say_why(self, work: BatchInWork, batch: Batch) -> DecodedBatch:
        try:
            return self.decoding.decode(work.kind, batch, work.files)
        except WorldFault as fault:  # a process that dies while it waits did not die of them
            with suppress(WorldFault):  # the ledger is away as well
                self.ledger.note_error(batch.id, fault.message)
            raise

    # -- after a fault ------------------------------------------------------------------------------------------------

    def _after(self, work: BatchInWork, batch: Batch, fault: BatchFault | UnknownOutcome) -> list[BatchInWork]:
        """An attempt has failed: what waits for another one."""
        work.faults.add()
        retry = policy_for(fault, work.kind, self.settings)
        verdict = after(
            fault,
            retry,
            files=len(work.files) if work.prepared is None else 1,
            faults=work.faults.of_batch,
            chunk_faults=work.faults.of_chunk,
            random=random.random,
        )
        match verdict:
            case Again(seconds):
                self.note_again(batch, fault, work.faults.of_batch, seconds)
                work.wait_seconds = seconds
                if work.prepared is not None:
                    work.prepared.forget_data_files()
                return [work]
            case GiveUp(code) if work.prepared is None and retry.destination is not Destination.TYPE_STOPPED:
                self.give_up(batch, fault, code, work.result)
                return []
            case GiveUp():
                self.let_go(work, fault.message)
                raise TypeStopped(fault.message, code=fault.code) from fault
            case Halve():
                return self._halve(work, batch, fault)

    def _halve(self, work: BatchInWork, batch: Batch, fault: BatchFault | UnknownOutcome) -> list[BatchInWork]:
        """Plan the batch's files again as two batches, which follow at once."""
        self.outage.wait_out(self.ledger.abandon, batch.id, fault.message)
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
            half.faults = work.faults.of_half()
        tell_halved(batch, fault, len(work.files), [half.result.batch_id for half in halves])
        return halves

    def note_again(self, batch: Batch, fault: LemonadeError, faults: int, seconds: float) -> None:
        """An attempt failed and another follows: on record, and told."""
        self.outage.wait_out(self.ledger.note_error, batch.id, fault.message)
        tell_again(batch, fault, faults, seconds)

    def give_up(
        self, batch: Batch, fault: LemonadeError, code: str, result: BatchResult, *, died: bool = False
    ) -> None:
        """Out of attempts before Prepare: the files are dead letters in failed/."""
        why = (code, fault.message)
        files = self.outage.wait_out(self.ledger.abandon, batch.id, fault.message, fail=why, died=died)
        self.settler.settle_files(files)
        tell_dead(batch, fault, code, files)
        result.counts[FileState.FAILED] = result.counts.get(FileState.FAILED, 0) + len(files)
        result.state = BatchState.ABANDONED.value

    # -- steps 5 and 6 ------------------------------------------------------------------------------------------------

    def record_and_settle(
        self, batch: Batch, kind: FileType | None, prepared: Prepared, result: BatchResult, watch: Stopwatch
    ) -> BatchResult:
        """The end of a batch that is in its tables; `kind` None: no days are marked for a summary."""
        # 5. Record
        self.outage.wait_out(
            self.ledger.record,
            batch.id,
            snapshot_id=prepared.table.snapshot_id,
            quarantine_snapshot_id=prepared.quarantine.snapshot_id,
            summary_table=kind.summary_table if kind else None,
        )
        watch.lap("record")
        self._tell_replaced(batch, result)
        return self.settle(self.outage.wait_out(self.ledger.batch, batch.id), result, watch)

    def _tell_replaced(self, batch: Batch, result: BatchResult) -> None:
        replacement = self.outage.wait_out(self.ledger.replacement, batch.id)
        for file in replacement[1] if replacement else ():
            result.counts[FileState.REPLACED] = result.counts.get(FileState.REPLACED, 0) + 1
            tell_replaced(batch, file)

    def settle(self, batch: Batch, result: BatchResult, watch: Stopwatch) -> BatchResult:
        """The end of a batch that is recorded."""
        # 6. Settle
        if batch.quarantine_rows:  # before the end: a process that dies in between says it twice
            tell_rejected(batch, self.outage.wait_out(self.ledger.quarantined_by_code, batch.id))
        files = self.outage.wait_out(self.ledger.batch_files, batch.id)
        self.settler.settle_files(files)
        self.outage.wait_out(self.ledger.settle, batch.id)
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


class Stopwatch:
    """Seconds by step, for the canonical log line."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._since = clock.monotonic()
        self.laps: dict[str, float] = {}

    def lap(self, step: str) -> None:
        """`step` is over."""
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
