"""What start-up repairs: every batch that an earlier process left unsettled is walked to its end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from metadata.definition import FileType
from metadata.errors import TypeStopped
from metadata.ledger import Ledger
from metadata.logs import Event, Severity, alert, get_logger
from metadata.registry import Registry
from processors.microbatch import BatchResult, MicroBatches

log = get_logger()


@dataclass
class Recovered:
    """What the walk did; `stopped` types are not loaded until a person has looked."""

    batches: list[BatchResult] = field(default_factory=list)
    files_settled: int = 0
    stopped: set[str] = field(default_factory=set)


def recover(ledger: Ledger, registry: Registry, microbatches: MicroBatches, types: Sequence[FileType]) -> Recovered:
    """Walk every unsettled batch, then move files that were given their end but not moved there.

    A batch whose outcome nobody can know stops its type with a critical alert; the others go on.
    """
    recovered = Recovered()
    by_name = {kind.name: kind for kind in types}
    unsettled = ledger.unsettled_batches()
    if unsettled:
        log.info(Event.RECOVERY_STARTED, batches=len(unsettled))
    for batch in unsettled:
        try:
            result = microbatches.resume(batch, by_name.get(batch.file_type))
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
            snapshot_id=result.snapshot_id,
        )
    left = ledger.unmoved_files()
    microbatches.settler.settle_files(left)
    recovered.files_settled = len(left)
    if unsettled or left:
        log.info(Event.RECOVERY_FINISHED, batches=len(unsettled), files_settled=len(left))
    return recovered


def stop_type(registry: Registry, file_type: str, stop: TypeStopped) -> None:
    """One type cannot go on without a person: on record, and a critical alert."""
    registry.note_error(file_type, stop.message)
    alert(
        Event.TYPE_STOPPED,
        severity=Severity.CRITICAL,
        code=stop.code,
        file_type=file_type,
        error=stop.message,
        cure="its files wait in processing/; mend the cause and restart",
    )
