"""The commit protocol: how claimed files become one snapshot, exactly once.

1. **Plan**: one transaction writes the batch, its files and the schema version. Duplicates are decided here, against
   files that are loaded now; a copy of a file in flight waits for its fate.
2. **Decode and write**: Spark tasks read files, check records and write Parquet data files whose names hold batch id,
   attempt, task and number. Only files whose descriptions reach the driver exist for us. A worker digests what it
   decodes; other bytes than claimed, and the file leaves the batch. Records decoded = rows in Parquet footers +
   rejected, or nothing goes on.
3. **Prepare**: a receipt beside the tables (`processors.receipts`), then one transaction: outcome per file, data-file
   paths, expected rows, event days touched. From the receipt on the batch only rolls forward.
4. **Commit**: one `fast_append` with `lemonade.batch-id` in its summary; skipped when no rows are expected or when it
   has landed. Its snapshot id is derived from (batch id, table), so it cannot land twice.
5. **Record**: snapshot id, counts, days to summarise again: one transaction.
6. **Settle**: files move to their end; repeating a move is harmless.

A file that replaces earlier loads of its name is a batch of its own. Its commit is one `overwrite`: the earlier rows go
out and its data files come in (`processors.rewrite`). Beside the batch there is a row in `operations` with the same id,
so that the same derived snapshot id answers for both; on a conflict it is prepared again.

A fault that follows the batch ends an attempt at step 2 or 4: `go_on` then returns what has to wait for the next one
(the same batch under the same id, or its two halves), and the caller does other work meanwhile.

A crash after any step is walked by `resume()`: planned → abandoned, its files claimed again (with a receipt: prepared
from it before the walk); prepared → has it landed? → go on from 5, else commit from the recorded paths and go on;
committed → settle.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING, TypeVar

from metadata.clock import Clock
from metadata.definition import Definition, FileType
from metadata.errors import BatchFault, Fatal, LemonadeError, TypeStopped, UnknownOutcome, WorldFault
from metadata.ids import new_id
from metadata.ledger import FileOutcome, Ledger, WrittenFile
from metadata.logs import Event, Severity, alert, get_logger
from metadata.models import Batch, SourceFile
from metadata.names import parse_name
from metadata.operations import Operations
from metadata.outage import Outage
from metadata.receipt import Receipt
from metadata.retries import Destination, policy_for
from metadata.settings import Settings
from metadata.states import BatchState, FileState, FlushReason
from processors.attempts import Again, GiveUp, Halve, after, is_poison
from processors.lake import BATCH_ID, Lake, Landing, LandingState
from processors.receipts import Receipts
from processors.rewrite import Loaded, Rest, Rewriter
from processors.schema import iceberg_schema, partition_spec
from processors.settle import Settler
from processors.spark import Runner
from processors.undo import check_rows, days_of, prepare, time_field
from processors.worker import SourceInput, TaskResult, WriteJob, cut_tasks, load_files

if TYPE_CHECKING:
    from pyiceberg.manifest import DataFile

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
    snapshot_id: int | None = None
    state: str = ""
    waiting: int = 0  #: copies of a file in flight: plan them again once it is over
    refused: list[SourceFile] = field(default_factory=list)  #: redelivered names that the type does not take


@dataclass
class BatchInWork:
    """A micro-batch on its way through the steps."""

    file_type: FileType
    definition: Definition
    batch: Batch | None  #: None when no file was left to load
    files: list[SourceFile]
    result: BatchResult  #: what became of it, once it is over
    watch: _Stopwatch
    replaces: list[SourceFile] = field(default_factory=list)  #: loads of its one file's name, which go out
    faults: int = 0
    chunk_faults: Counter[str] = field(default_factory=Counter)  #: shared by all batches that one chunk was cut into
    wait_seconds: float = 0.0  #: before its next attempt
    prepared: _Prepared | None = None  #: from Prepare on


@dataclass
class _Prepared:
    """What Commit needs of step 2."""

    rows: int
    data_files: Sequence[DataFile] | None  #: None once an attempt failed: then the recorded paths are committed
    rest: Rest | None = None  #: what takes replaced loads out
    time_field: str | None = None


@dataclass
class _Decoded:
    """Step 2's result, put together from its tasks."""

    outcomes: list[FileOutcome]
    data_files: list[DataFile]
    written: list[WrittenFile]
    result: list[TaskResult]


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
        self.operations = self.outage.patient(Operations(ledger.database, clock))
        self.rewriter = Rewriter(settings, lake, runner, clock, pause)

    def begin(
        self,
        file_type: FileType,
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
        definition = _definition(file_type)
        plan = self.ledger.plan(
            batch_id,
            file_type=file_type.name,
            table_name=file_type.table_name,
            schema_version=file_type.schema_version,
            flush_id=flush_id,
            reason=reason,
            file_ids=[file.id for file in files],
            halved_from=halved_from,
            policy=file_type.config.deliveries,
        )
        watch.lap("plan")
        self.settler.settle_files([*plan.duplicates, *plan.refused])
        result = BatchResult(None, file_type.name, file_type.table_name, waiting=len(plan.waiting))
        if plan.duplicates:
            result.counts[FileState.DUPLICATE] = len(plan.duplicates)
        if plan.refused:
            result.counts[FileState.FAILED], result.refused = len(plan.refused), plan.refused
        if plan.batch is not None:
            result.batch_id, result.files = batch_id, len(plan.files)
            log.debug(Event.BATCH_PLANNED, batch_id=batch_id, file_type=file_type.name, files=len(plan.files))
        return BatchInWork(file_type, definition, plan.batch, plan.files, result, watch, plan.replaces)

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
                rest = self._rest_of_replaced(work, batch, decoded)
                work.watch.lap("decode")

                # 3. Prepare
                days = set().union(*(task.days for task in decoded.result))
                self._prepare(batch, work.files, decoded, days)
                self._tell_who_left(work.files, decoded.outcomes)
                rows = sum(data.rows for data in decoded.written)
                work.prepared = _Prepared(rows, decoded.data_files, rest, time_field(work.file_type))
                work.faults = 0
                work.watch.lap("prepare")

            # 4. Commit
            snapshot_id = self._commit(batch, work.prepared)
            work.watch.lap("commit")
        except (BatchFault, UnknownOutcome) as fault:
            return self._after(work, batch, fault)
        self._finish(self.ledger.batch(batch.id), work.file_type, snapshot_id, work.result, work.watch)
        return []

    def _prepare(self, batch: Batch, files: Sequence[SourceFile], decoded: _Decoded, days: set[date]) -> None:
        """The receipt first: a restored ledger is brought up to date from it."""
        batch = self.ledger.batch(batch.id)
        replacement = self.ledger.replacement(batch.id)
        replaces = replacement[0].file_ids if replacement else ()
        receipt = Receipt.of(batch, files, decoded.outcomes, decoded.written, days, self.clock.now(), replaces=replaces)
        self._while_world_is_away(lambda: self.receipts.write(receipt))
        self._while_world_is_away(lambda: self.ledger.prepare(batch.id, decoded.outcomes, decoded.written, days))

    def let_go(self, work: BatchInWork, error: str) -> None:
        """Nobody will go on with a batch that waits for an attempt: before Prepare, its files are claimed again."""
        if work.batch is not None and work.prepared is None:
            self.receipts.forget(work.batch)
            self.ledger.abandon(work.batch.id, error)

    def resume(self, batch: Batch, file_type: FileType | None) -> BatchResult:
        """Walk an unsettled batch of an earlier process to its end, from the step it had reached.

        `file_type` is None when the type is gone from the registry; its days are then not marked for the summary.
        Raises TypeStopped when the table's history was cut and the batch cannot be found in it.
        """
        watch = _Stopwatch(self.clock)
        result = BatchResult(batch.id, batch.file_type, batch.table_name, files=batch.files)
        if batch.state == BatchState.PLANNED:
            self._recover_planned(batch, result)
            return result
        if batch.state == BatchState.COMMITTED:
            return self._settle(batch, result, watch)
        snapshot_id = self._commit_at_last(batch, file_type)
        watch.lap("commit")
        return self._finish(batch, file_type, snapshot_id, result, watch)

    # -- step 2 -------------------------------------------------------------------------------------------------------

    def _decode(
        self, file_type: FileType, definition: Definition, batch: Batch, files: Sequence[SourceFile]
    ) -> _Decoded:
        attempt = self.ledger.count_attempt(batch.id)
        runner = self.runner()
        if self.lake.table(file_type.table_name) is None and self.ledger.has_committed(file_type.table_name):
            raise TypeStopped(
                f"loading files of {file_type.name}: table {file_type.table_name} is not in the catalog, but the "
                "ledger has snapshots of it; bring the catalog (or its backup) back, then restart",
                code="table_missing",
            )
        table = self.lake.ensure_table(
            file_type.table_name, iceberg_schema(definition), partition_spec(definition, file_type.config)
        )
        handle = self.lake.handle(table)
        keys = tuple(dict.fromkeys([file_type.name, file_type.table_name.split(".")[-1], *file_type.patterns]))
        summary = file_type.config.summary
        jobs = [
            WriteJob(
                batch_id=batch.id,
                attempt=attempt,
                task=number,
                handle=handle,
                definition=definition,
                config=file_type.config,
                keys=keys,
                inputs=inputs,
                time_field=summary.time if summary else None,
                max_decoded_bytes=self.settings.max_file_bytes,
            )
            for number, inputs in enumerate(cut_tasks([_input(file) for file in files], runner.parallelism))
        ]
        try:
            results = runner.run(load_files, jobs, label=f"{file_type.name} {batch.id}")
        except WorldFault as fault:  # on a full disk what the other tasks wrote would be in the way of the next attempt
            self.lake.discard(file_type.table_name, batch.id)
            self.ledger.note_error(batch.id, fault.message)
            raise
        outcomes = [outcome for result in results for outcome in result.outcomes]
        if sorted(outcome.file_id for outcome in outcomes) != sorted(file.id for file in files):
            raise Fatal(f"decoding batch {batch.id}: outcomes and files do not match; nothing was committed")
        self._check_books(batch.id, outcomes)
        return _Decoded(
            outcomes,
            [data for result in results for data in result.data_files],
            [written for result in results for written in result.written],
            results,
        )

    def _decode_or_say_why(self, work: BatchInWork, batch: Batch) -> _Decoded:
        try:
            return self._decode(work.file_type, work.definition, batch, work.files)
        except WorldFault as fault:
            self.ledger.note_error(batch.id, fault.message)  # a process that dies while it waits did not die of them
            raise

    def _tell_who_left(self, files: Sequence[SourceFile], outcomes: Sequence[FileOutcome]) -> None:
        """Files that are not in the batch any more: somebody wrote to them or removed them after they were claimed."""
        names = {file.id: file.name for file in files}
        for outcome in outcomes:
            if outcome.outcome not in ("changed", "missing"):
                continue
            alert(
                Event.FILE_CHANGED if outcome.outcome == "changed" else Event.FILE_MISSING,
                severity=Severity.WARNING,
                code=outcome.code or outcome.outcome,
                file_id=outcome.file_id,
                file=names[outcome.file_id],
                error=outcome.message,
                cure="nothing to do if it was meant; its producer should write beside and rename in",
            )

    def _check_books(self, batch_id: str, outcomes: Sequence[FileOutcome]) -> None:
        """Records decoded = rows written + rejected, for every file that is loaded."""
        for outcome in outcomes:
            if outcome.outcome == "loaded" and outcome.records != outcome.rows + outcome.rejected:
                raise Fatal(
                    f"decoding batch {batch_id}: file {outcome.file_id} has {outcome.records} records, but "
                    f"{outcome.rows} rows and {outcome.rejected} rejected; nothing was committed, report this as a bug"
                )

    def _after(self, work: BatchInWork, batch: Batch, fault: BatchFault | UnknownOutcome) -> list[BatchInWork]:
        """An attempt has failed: what waits for another one."""
        work.faults += 1
        work.chunk_faults["all"] += 1
        retry = policy_for(fault, work.file_type, self.settings)
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
                self._tell_again(batch, fault, work.faults, seconds)
                work.wait_seconds = seconds
                if work.prepared is not None:
                    work.prepared.data_files = None
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
                work.file_type,
                files,
                reason=FlushReason(batch.reason),
                flush_id=batch.flush_id,
                halved_from=batch.id,
            )
            for files in (work.files[:middle], work.files[middle:])
        ]
        for half in halves:
            half.chunk_faults = work.chunk_faults
        log.warning(
            Event.BATCH_HALVED,
            batch_id=batch.id,
            file_type=batch.file_type,
            files=len(work.files),
            halves=[half.result.batch_id for half in halves],
            fault=fault.code,
            error=fault.message,
        )
        return halves

    def _tell_again(self, batch: Batch, fault: LemonadeError, faults: int, seconds: float) -> None:
        self.ledger.note_error(batch.id, fault.message)
        log.warning(
            Event.BATCH_RETRIED,
            batch_id=batch.id,
            file_type=batch.file_type,
            fault=fault.code,
            error=fault.message,
            attempt=faults,
            wait_seconds=round(seconds, 1),
        )

    def _give_up(
        self, batch: Batch, fault: LemonadeError, code: str, result: BatchResult, *, died: bool = False
    ) -> None:
        """Out of attempts before Prepare: the files are dead letters in failed/."""
        files = self.ledger.abandon(batch.id, fault.message, fail=(code, fault.message), died=died)
        self.settler.settle_files(files)
        alert(
            Event.BATCH_DEAD,
            severity=Severity.CRITICAL,
            code=code,
            batch_id=batch.id,
            file_type=batch.file_type,
            files=[file.name for file in files[:10]],
            files_count=len(files),
            error=fault.message,
            cure="the files wait in failed/ with their reason; once the cause is mended: lemonade retry",
        )
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

    def _commit(self, batch: Batch, prepared: _Prepared) -> int | None:
        """One attempt: the snapshot's id, or None when no rows are expected.

        From here the batch only rolls forward: after a fault the table is asked, then it is tried again.
        """
        data_files = prepared.data_files
        if (replacement := self.ledger.replacement(batch.id)) is not None:
            return self._while_world_is_away(lambda: self._commit_replacing(batch, prepared, replacement[1]))
        if prepared.rows == 0:
            return None
        if data_files is None:
            return self._while_world_is_away(lambda: self._commit_recorded(batch))
        return self._while_world_is_away(
            lambda: self.lake.append(batch.table_name, batch.id, data_files, _properties(batch)).snapshot_id
        )

    def _commit_at_last(self, batch: Batch, file_type: FileType | None) -> int | None:
        """Step 4 at recovery, from the recorded paths: waits in place between attempts, nothing else may go on yet."""
        prepared, faults = _Prepared(batch.expected_rows or 0, None, None, time_field(file_type)), 0
        while True:
            try:
                return self._commit(batch, prepared)
            except (UnknownOutcome, BatchFault) as fault:
                faults += 1
                retry = policy_for(fault, file_type, self.settings)
                if retry.is_last(faults):
                    raise TypeStopped(fault.message, code=fault.code) from fault
                seconds = retry.wait(faults, random.random)
                self._tell_again(batch, fault, faults, seconds)
                if not self.pause(seconds):
                    raise WorldFault(f"loading batch {batch.id}: draining between two attempts") from fault

    def _rest_of_replaced(self, work: BatchInWork, batch: Batch, decoded: _Decoded) -> Rest | None:
        """The end of step 2 for a file that replaces earlier loads, when it is fit to: what takes those out."""
        if not work.replaces or decoded.outcomes[0].outcome != "loaded":
            return None
        return self._while_world_is_away(lambda: self._write_rest(batch, work.replaces, time_field(work.file_type)))

    def _write_rest(self, batch: Batch, replaced: Sequence[SourceFile], time_field: str | None) -> Rest:
        """Find the replaced files' rows, write again what holds others too, and bring it on record."""
        rest = Rest([], [], 0, set())
        if any(file.rows for file in replaced):
            days = days_of(self.operations.batches_of(replaced))
            loaded = Loaded.from_files(replaced)
            rest = self.rewriter.write(batch.table_name, loaded, time_field=time_field, batch_days=days)
        check_rows(batch.table_name, replaced, rest)
        prepare(self.operations, batch.id, rest)
        return rest

    def _commit_replacing(self, batch: Batch, prepared: _Prepared, replaced: Sequence[SourceFile]) -> int | None:
        """One attempt at the one overwrite that takes earlier loads out and puts this one in."""
        data_files, rest = prepared.data_files, prepared.rest
        if data_files is None or rest is None:
            landing, paths = self._landing(batch)
            if landing.state is LandingState.LANDED:
                return landing.snapshot_id
            data_files = self.lake.described(batch.table_name, paths)
            rest = self._write_rest(batch, replaced, prepared.time_field)
        added = [*rest.added, *data_files]
        if not rest.removed and not added:
            return None
        properties = {**_properties(batch), BATCH_ID: batch.id}
        return self.lake.overwrite(batch.table_name, "replace", batch.id, rest.removed, added, properties)

    def _commit_recorded(self, batch: Batch) -> int | None:
        """Has it landed? Then its snapshot's id (None when only its rows tell); else commit from the recorded paths."""
        landing, paths = self._landing(batch)
        if landing.state is LandingState.LANDED:
            return landing.snapshot_id
        return self.lake.append_paths(batch.table_name, batch.id, paths, _properties(batch)).snapshot_id

    def _landing(self, batch: Batch) -> tuple[Landing, list[str]]:
        """Whether a prepared batch is in its table, and its data files; TypeStopped when nobody can tell."""
        paths = self.ledger.data_file_paths(batch.id)
        landing = self.lake.landed(batch.table_name, batch.id, paths)
        if landing.state is LandingState.HISTORY_CUT:
            raise TypeStopped(
                f"committing batch {batch.id} to {batch.table_name}: the table's history was cut and the batch is not "
                "in it, so nobody can tell whether it was loaded; compare the table with `lemonade batches`, bring its "
                "snapshot back, then restart",
                code="history_cut",
            )
        return landing, paths

    # -- steps 5 and 6 ------------------------------------------------------------------------------------------------

    def _finish(
        self, batch: Batch, file_type: FileType | None, snapshot_id: int | None, result: BatchResult, watch: _Stopwatch
    ) -> BatchResult:
        # 5. Record
        summary = file_type.config.summary if file_type else None
        table = f"summary.{summary.table}" if summary else None
        self._while_world_is_away(lambda: self.ledger.record(batch.id, snapshot_id=snapshot_id, summary_table=table))
        watch.lap("record")
        self._tell_replaced(batch, result)
        recorded = self._while_world_is_away(lambda: self.ledger.batch(batch.id))
        return self._settle(recorded, result, watch)

    def _tell_replaced(self, batch: Batch, result: BatchResult) -> None:
        replacement = self.ledger.replacement(batch.id)
        for file in replacement[1] if replacement else ():
            result.counts[FileState.REPLACED] = result.counts.get(FileState.REPLACED, 0) + 1
            log.info(
                Event.FILE_REPLACED,
                file_id=file.id,
                file=file.name,
                file_type=file.file_type,
                replaced_by=file.replaced_by,
                batch_id=batch.id,
            )

    def _settle(self, batch: Batch, result: BatchResult, watch: _Stopwatch) -> BatchResult:
        # 6. Settle
        files = self._while_world_is_away(lambda: self._move_files(batch))
        self._while_world_is_away(lambda: self.ledger.settle(batch.id))
        watch.lap("settle")
        for file in files:
            result.counts[file.state] = result.counts.get(file.state, 0) + 1
        left = batch.files - len(files)  # changed or missing: they left the batch at Prepare
        if left:
            result.counts["left"] = left
        result.rows, result.snapshot_id = batch.expected_rows or 0, batch.snapshot_id
        result.state = BatchState.SETTLED.value
        log.info(
            Event.BATCH_SETTLED,
            batch_id=batch.id,
            flush_id=batch.flush_id,
            file_type=batch.file_type,
            table=batch.table_name,
            schema_version=batch.schema_version,
            reason=batch.reason,
            files=batch.files,
            outcomes=result.counts,
            bytes=batch.bytes,
            records=batch.records,
            rows=batch.expected_rows,
            rejected=batch.rejected,
            snapshot_id=batch.snapshot_id,
            attempts=batch.attempts,
            seconds=watch.laps,
        )
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


def _properties(batch: Batch) -> dict[str, str]:
    """What the snapshot's summary says beside the batch id."""
    return {
        "lemonade.flush-id": batch.flush_id,
        "lemonade.file-type": batch.file_type,
        "lemonade.files": str(batch.files),
    }


def _definition(file_type: FileType) -> Definition:
    if file_type.definition is None:
        raise TypeStopped(f"loading files of {file_type.name}: it has no schema; run: lemonade types update")
    return file_type.definition


def _input(file: SourceFile) -> SourceInput:
    name = parse_name(file.name)
    return SourceInput(
        file_id=file.id,
        path=file.path,
        name=file.name,
        digest=file.digest or "",
        day=name.time.date(),
        size_bytes=file.size_bytes,
        lines=name.suffix != "json",
        compression=name.compression,
    )
