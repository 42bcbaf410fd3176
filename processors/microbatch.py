"""The commit protocol: how claimed files become one snapshot, exactly once.

1. **Plan**: one transaction writes the batch, its files and the schema version. Duplicates are decided here, against
   files that are loaded now; a copy of a file in flight waits for its fate.
2. **Decode and write**: Spark tasks read files, check records and write Parquet data files whose names hold batch id,
   attempt, task and number. Only files whose descriptions reach the driver exist for us. A worker digests what it
   decodes; other bytes than claimed, and the file leaves the batch. Records decoded = rows in Parquet footers +
   rejected, or nothing goes on.
3. **Prepare**: one transaction: outcome per file, data-file paths, expected rows, event days touched. From here the
   batch only rolls forward.
4. **Commit**: one `fast_append` with `lemonade.batch-id` in its summary; skipped when no rows are expected or when it
   has landed. Its snapshot id is derived from (batch id, table), so it cannot land twice.
5. **Record**: snapshot id, counts, days to summarise again: one transaction.
6. **Settle**: files move to their end; repeating a move is harmless.

A crash after any step is walked by `resume()`: planned → abandoned, its files claimed again; prepared → has it landed?
→ go on from 5, else commit from the recorded paths and go on; committed → settle.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from metadata.clock import Clock
from metadata.definition import Definition, FileType
from metadata.errors import BatchFault, Fatal, LemonadeError, TypeStopped, UnknownOutcome, WorldFault
from metadata.ids import new_id
from metadata.ledger import FileOutcome, Ledger, WrittenFile
from metadata.logs import Event, Severity, alert, get_logger
from metadata.models import Batch, SourceFile
from metadata.names import parse_name
from metadata.settings import Settings
from metadata.states import BatchState, FileState, FlushReason
from processors.lake import Lake, LandingState
from processors.schema import iceberg_schema, partition_spec
from processors.settle import Settler
from processors.spark import Runner
from processors.worker import SourceInput, TaskResult, WriteJob, cut_tasks, load_files

if TYPE_CHECKING:
    from pyiceberg.manifest import DataFile

log = get_logger()

R = TypeVar("R")
_LONGEST_WAIT_SECONDS = 60.0


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
    ) -> None:
        self.settings = settings
        self.ledger = ledger
        self.lake = lake
        self.runner = runner
        self.clock = clock
        self.pause = pause
        self.settler = Settler(ledger, settings.folders, clock)

    def load(
        self, file_type: FileType, files: Sequence[SourceFile], *, reason: FlushReason, flush_id: str
    ) -> BatchResult:
        """Take one chunk of claimed files through all six steps.

        Raises WorldFault when it drains while something is away (the batch stays where it is, recovery goes on),
        TypeStopped when the type's table needs a person, Fatal when the books do not balance.
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
        )
        watch.lap("plan")
        self.settler.settle_files(plan.duplicates)
        result = BatchResult(None, file_type.name, file_type.table_name, waiting=len(plan.waiting))
        if plan.duplicates:
            result.counts[FileState.DUPLICATE] = len(plan.duplicates)
        batch = plan.batch
        if batch is None:
            return result
        result.batch_id, result.files = batch_id, len(plan.files)
        log.debug(Event.BATCH_PLANNED, batch_id=batch_id, file_type=file_type.name, files=len(plan.files))

        # 2. Decode and write
        try:
            decoded = self._until_it_works(batch_id, lambda: self._decode(file_type, definition, batch, plan.files))
        except BatchFault as fault:
            return self._give_up(batch, fault, result)
        watch.lap("decode")

        # 3. Prepare
        days = set().union(*(task.days for task in decoded.result))
        self.ledger.prepare(batch_id, decoded.outcomes, decoded.written, days)
        self._tell_who_left(plan.files, decoded.outcomes)
        watch.lap("prepare")

        # 4. Commit
        rows = sum(data.rows for data in decoded.written)
        snapshot_id = self._commit(batch, rows, decoded.data_files)
        watch.lap("commit")

        return self._finish(self.ledger.batch(batch_id), file_type, snapshot_id, result, watch)

    def resume(self, batch: Batch, file_type: FileType | None) -> BatchResult:
        """Walk an unsettled batch of an earlier process to its end, from the step it had reached.

        `file_type` is None when the type is gone from the registry; its days are then not marked for the summary.
        Raises TypeStopped when the table's history was cut and the batch cannot be found in it.
        """
        watch = _Stopwatch(self.clock)
        result = BatchResult(batch.id, batch.file_type, batch.table_name, files=batch.files)
        if batch.state == BatchState.PLANNED:
            self.ledger.abandon(batch.id, "the process ended before Prepare")
            log.info(Event.BATCH_ABANDONED, batch_id=batch.id, file_type=batch.file_type, files=batch.files)
            result.state = BatchState.ABANDONED.value
            return result
        if batch.state == BatchState.COMMITTED:
            return self._settle(batch, result, watch)
        snapshot_id = self._commit(batch, batch.expected_rows or 0, None)
        watch.lap("commit")
        return self._finish(batch, file_type, snapshot_id, result, watch)

    # -- step 2 -------------------------------------------------------------------------------------------------------

    def _decode(
        self, file_type: FileType, definition: Definition, batch: Batch, files: Sequence[SourceFile]
    ) -> _Decoded:
        attempt = self.ledger.count_attempt(batch.id)
        runner = self.runner()
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
        results = runner.run(load_files, jobs, label=f"{file_type.name} {batch.id}")
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

    def _until_it_works(self, batch_id: str, attempt: Callable[[], _Decoded]) -> _Decoded:
        """Attempts with growing waits; the batch keeps its id. A fault of the world waits and counts no attempt."""
        faults = 0
        while True:
            try:
                return self._while_world_is_away(attempt)
            except BatchFault as fault:
                faults += 1
                if faults >= self.settings.batch_max_attempts:
                    raise
                self._wait_after(batch_id, fault, faults)

    def _wait_after(self, batch_id: str, fault: LemonadeError, faults: int) -> None:
        """Back off after the `faults`-th fault of a batch; WorldFault when it drains meanwhile (recovery goes on)."""
        self.ledger.note_error(batch_id, fault.message)
        wait = min(self.settings.batch_retry_seconds * 2 ** (faults - 1), _LONGEST_WAIT_SECONDS)
        wait *= random.uniform(0.8, 1.2)  # noqa: S311 - jitter, not a secret
        log.warning(
            Event.BATCH_RETRIED,
            batch_id=batch_id,
            fault=fault.code,
            error=fault.message,
            attempt=faults,
            wait_seconds=round(wait, 1),
        )
        if not self.pause(wait):
            raise WorldFault(f"loading batch {batch_id}: draining between two attempts") from fault

    def _give_up(self, batch: Batch, fault: BatchFault, result: BatchResult) -> BatchResult:
        """Out of attempts before Prepare: the files are dead letters in failed/."""
        files = self.ledger.abandon(batch.id, fault.message, fail=("out_of_attempts", fault.message))
        self.settler.settle_files(files)
        alert(
            Event.BATCH_DEAD,
            severity=Severity.CRITICAL,
            code=fault.code,
            batch_id=batch.id,
            file_type=batch.file_type,
            files=[file.name for file in files[:10]],
            files_count=len(files),
            error=fault.message,
            cure="the files wait in failed/ with their reason; put them back into incoming/ once the cause is mended",
        )
        result.counts[FileState.FAILED] = len(files)
        result.state = BatchState.ABANDONED.value
        return result

    # -- step 4 -------------------------------------------------------------------------------------------------------

    def _commit(self, batch: Batch, rows: int, data_files: Sequence[DataFile] | None) -> int | None:
        """The snapshot's id, or None when no rows are expected. Without `data_files`: from the recorded paths.

        From here the batch only rolls forward: after a fault the table is asked, then it is tried again.
        """
        if rows == 0:
            return None
        faults, ask_first = 0, data_files is None
        while True:
            try:
                if data_files is None or ask_first:
                    return self._while_world_is_away(lambda: self._commit_recorded(batch))
                return self._while_world_is_away(
                    lambda: self.lake.append(batch.table_name, batch.id, data_files, _properties(batch)).snapshot_id
                )
            except (UnknownOutcome, BatchFault) as fault:
                faults, ask_first = faults + 1, True
                if faults >= self.settings.batch_max_attempts:
                    raise TypeStopped(fault.message, code=fault.code) from fault
                self._wait_after(batch.id, fault, faults)

    def _commit_recorded(self, batch: Batch) -> int | None:
        """Has it landed? Then its snapshot's id (None when only its rows tell); else commit from the recorded paths."""
        paths = self.ledger.data_file_paths(batch.id)
        landing = self.lake.landed(batch.table_name, batch.id, paths)
        if landing.state is LandingState.LANDED:
            return landing.snapshot_id
        if landing.state is LandingState.HISTORY_CUT:
            raise TypeStopped(
                f"committing batch {batch.id} to {batch.table_name}: the table's history was cut and the batch is not "
                "in it, so nobody can tell whether it was loaded; compare the table with `lemonade batches`, bring its "
                "snapshot back, then restart",
                code="history_cut",
            )
        return self.lake.append_paths(batch.table_name, batch.id, paths, _properties(batch)).snapshot_id

    # -- steps 5 and 6 ------------------------------------------------------------------------------------------------

    def _finish(
        self, batch: Batch, file_type: FileType | None, snapshot_id: int | None, result: BatchResult, watch: _Stopwatch
    ) -> BatchResult:
        # 5. Record
        summary = file_type.config.summary if file_type else None
        self.ledger.record(
            batch.id, snapshot_id=snapshot_id, summary_table=f"summary.{summary.table}" if summary else None
        )
        watch.lap("record")
        return self._settle(self.ledger.batch(batch.id), result, watch)

    def _settle(self, batch: Batch, result: BatchResult, watch: _Stopwatch) -> BatchResult:
        # 6. Settle
        files = self.ledger.batch_files(batch.id)
        self.settler.settle_files(files)
        self.ledger.settle(batch.id)
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

    def _while_world_is_away(self, action: Callable[[], R]) -> R:
        """Do it; while disk, catalog or ledger are away: one alert, then wait and try again."""
        wait, away = 1.0, False
        while True:
            try:
                done = action()
            except WorldFault as fault:
                if not away:
                    alert(Event.WORLD_AWAY, severity=Severity.ERROR, code=fault.code, error=fault.message)
                away = True
                if not self.pause(wait):
                    raise
                wait = min(wait * 2, 30.0)
            else:
                if away:
                    log.info(Event.WORLD_BACK)
                return done


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
