"""What is said of micro-batches: the log lines and alerts of their steps, in one place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from metadata.database.models import Batch, SourceFile
from metadata.errors import LemonadeError
from metadata.files.missing_files import tell_missing
from metadata.ledger.values import FileOutcome
from metadata.logs import Event, Severity, alert, get_logger

log = get_logger()


def tell_who_left(files: Sequence[SourceFile], outcomes: Sequence[FileOutcome]) -> None:
    """Files that are not in the batch any more: somebody wrote to them or removed them after they were claimed."""
    names = {file.id: file.name for file in files}
    for outcome in outcomes:
        name, code = names[outcome.file_id], outcome.code or outcome.outcome
        cure = "nothing to do if it was meant; its producer should write beside and rename in"
        if outcome.outcome == "missing":
            tell_missing(outcome.file_id, name, code=code, error=outcome.message, cure=cure)
        elif outcome.outcome == "changed":
            alert(
                Event.FILE_CHANGED,
                severity=Severity.WARNING,
                code=code,
                file_id=outcome.file_id,
                file=name,
                error=outcome.message,
                cure=cure,
            )


def tell_again(batch: Batch, fault: LemonadeError, faults: int, seconds: float) -> None:
    """An attempt failed, another one follows."""
    log.warning(
        Event.BATCH_RETRIED,
        batch_id=batch.id,
        file_type=batch.file_type,
        fault=fault.code,
        error=fault.message,
        attempt=faults,
        wait_seconds=round(seconds, 1),
    )


def tell_halved(batch: Batch, fault: LemonadeError, files: int, halves: Sequence[str | None]) -> None:
    """Its files were planned again as two batches."""
    log.warning(
        Event.BATCH_HALVED,
        batch_id=batch.id,
        file_type=batch.file_type,
        files=files,
        halves=list(halves),
        fault=fault.code,
        error=fault.message,
    )


def tell_dead(batch: Batch, fault: LemonadeError, code: str, files: Sequence[SourceFile]) -> None:
    """It is out of attempts."""
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


def tell_replaced(batch: Batch, file: SourceFile) -> None:
    """An earlier load of a name made room."""
    log.info(
        Event.FILE_REPLACED,
        file_id=file.id,
        file=file.name,
        file_type=file.file_type,
        replaced_by=file.replaced_by,
        batch_id=batch.id,
    )


def tell_rejected(batch: Batch, codes: Mapping[str, int]) -> None:
    """Some of its records are in the quarantine; `codes` says how many, by code."""
    alert(
        Event.RECORDS_REJECTED,
        severity=Severity.WARNING,
        code="records_rejected",
        batch_id=batch.id,
        file_type=batch.file_type,
        table=batch.table_name,
        rejected=batch.quarantine_rows,
        records=batch.records,
        codes=dict(codes),
        cure=f"see why: lemonade quarantine list --type {batch.file_type}; its good records are loaded",
    )


def tell_settled(batch: Batch, outcomes: Mapping[str, int], seconds: Mapping[str, float]) -> None:
    """The one canonical line: what it loaded, where, how long each step took."""
    log.info(
        Event.BATCH_SETTLED,
        batch_id=batch.id,
        flush_id=batch.flush_id,
        file_type=batch.file_type,
        table=batch.table_name,
        schema_version=batch.schema_version,
        reason=batch.reason,
        files=batch.files,
        outcomes=dict(outcomes),
        bytes=batch.bytes,
        records=batch.records,
        rows=batch.expected_rows,
        rejected=batch.rejected,
        snapshot_id=batch.snapshot_id,
        quarantine_rows=batch.quarantine_rows,
        quarantine_snapshot_id=batch.quarantine_snapshot_id,
        attempts=batch.attempts,
        seconds=dict(seconds),
    )
