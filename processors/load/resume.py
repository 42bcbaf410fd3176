"""Going on with micro-batches that an earlier process left: from the step that each had reached to its end.

The steps themselves are those of `processors.load.commit_protocol`, which says what follows a crash in each.
"""

from __future__ import annotations

import random

from metadata.database.models import Batch, SourceFile
from metadata.database.states import BatchState
from metadata.errors import BatchFault, TypeStopped, UnknownOutcome, WorldFault
from metadata.ledger.ledger import Ledger
from metadata.logs import Event, get_logger
from metadata.retry_policy import policy_for
from metadata.types.file_type import FileType
from processors.load.commit_protocol import BatchResult, MicroBatches, Stopwatch
from processors.load.commit_step import Prepared
from processors.load.next_attempt import is_poison

log = get_logger()


def resume(microbatches: MicroBatches, batch: Batch, kind: FileType | None) -> BatchResult:
    """Walk an unsettled batch of an earlier process to its end, from the step it had reached.

    `kind` is None when the type is gone from the registry; its days are then not marked for the summary.
    Raises TypeStopped when the table's history was cut and the batch cannot be found in it.
    """
    watch = Stopwatch(microbatches.clock)
    result = BatchResult(batch.id, batch.file_type, batch.table_name, files=batch.files)
    if batch.state == BatchState.PLANNED:
        _resume_planned(microbatches, batch, result)
        return result
    if batch.state == BatchState.COMMITTED:
        return microbatches.settle(batch, result, watch)
    prepared = _commit_at_last(microbatches, batch, kind)
    watch.lap("commit")
    return microbatches.record_and_settle(batch, kind, prepared, result, watch)


def is_poisoned(ledger: Ledger, batch: Batch) -> bool:
    """Whether `resume` would put a planned batch's one file into failed/, for it has ended too many processes."""
    files, died, deaths = _deaths(ledger, batch)
    return died and is_poison(len(files), deaths)


def _deaths(ledger: Ledger, batch: Batch) -> tuple[list[SourceFile], bool, int]:
    """A planned batch's files, whether the process died in an attempt at them, and how often they saw that."""
    files = ledger.batch_files(batch.id)
    died = batch.attempts > 0 and batch.error is None  # in the middle of an attempt, and nobody had asked for it
    return files, died, max((file.deaths for file in files), default=0) + died


def _resume_planned(microbatches: MicroBatches, batch: Batch, result: BatchResult) -> None:
    """The process ended before Prepare: the files are claimed again, but for one that ends every process."""
    ledger, outage = microbatches.ledger, microbatches.outage
    files, died, deaths = outage.wait_out(_deaths, ledger, batch)
    if died and is_poison(len(files), deaths):
        fault = BatchFault(
            f"loading {files[0].name}: the whole process died {deaths} times with it in work, at last with it "
            "alone; see its size and its nesting, and the kernel's out-of-memory killer",
            code="poison",
        )
        microbatches.give_up(batch, fault, fault.code, result, died=True)
        return
    outage.wait_out(ledger.abandon, batch.id, "the process ended before Prepare", died=died)
    log.info(Event.BATCH_ABANDONED, batch_id=batch.id, file_type=batch.file_type, files=batch.files, deaths=deaths)
    result.state = BatchState.ABANDONED.value


def _commit_at_last(microbatches: MicroBatches, batch: Batch, kind: FileType | None) -> Prepared:
    """Step 4 from the recorded paths: waits in place between attempts, nothing else may go on yet."""
    prepared, faults = Prepared.from_record(batch, kind.time_field if kind else None), 0
    while True:
        try:
            microbatches.committer.commit(batch, prepared)
            return prepared
        except (UnknownOutcome, BatchFault) as fault:
            faults += 1
            retry = policy_for(fault, kind, microbatches.settings)
            if retry.is_last(faults):
                raise TypeStopped(fault.message, code=fault.code) from fault
            seconds = retry.wait(faults, random.random)
            microbatches.note_again(batch, fault, faults, seconds)
            if not microbatches.outage.pause(seconds):
                drained = WorldFault(f"loading batch {batch.id}: draining between two attempts")
                drained.given_up = True
                raise drained from fault
