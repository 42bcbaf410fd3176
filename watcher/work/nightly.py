"""What is done each night, and summaries and audits on request: days are summarised, old receipts go, books audited."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import date, timedelta

from metadata.errors import UsageError, WorldFault
from metadata.ids import new_id
from metadata.logs import Event, Severity, alert, get_logger
from metadata.types.file_type import FileType
from processors.read.audit import audit
from processors.read.findings import Audit
from processors.read.summary import SummaryResult, build_days
from processors.receipts.batches import sweep_receipts
from processors.receipts.operations import OperationReceipts
from watcher.app import App

log = get_logger()

_FINDINGS_TOLD = 5


def build_summaries(
    app: App, kinds: Sequence[FileType], first: date | None, last: date | None, before: date | None
) -> list[SummaryResult]:
    """Build the days from `first` to `last`, or without them every dirty day (earlier than `before`).

    Returns one result for each of `kinds` that has a summary and days to build.
    """
    results = []
    for kind in kinds:
        table = kind.summary_table
        if table is None:
            continue
        if first is not None:
            days = _days(first, last or first)
        else:
            days = [day for day, _ in app.ledger.dirty_days(table, before)]
        if days:
            results.append(_build(app, kind, table, days))
    return results


def _build(app: App, kind: FileType, table: str, days: Sequence[date]) -> SummaryResult:
    operation_id = new_id(app.clock)
    log.info(Event.SUMMARY_STARTED, operation_id=operation_id, table=table, days=[str(day) for day in days])
    result = build_days(app.lake(), app.runner(), app.ledger, app.clock, kind, days, operation_id)
    log.info(
        Event.SUMMARY_FINISHED,
        operation_id=operation_id,
        table=table,
        days={str(day): rows for day, rows in result.days.items()},
        snapshot_id=result.snapshot_id,
        seconds=round(result.seconds, 3),
    )
    return result


def _days(first: date, last: date) -> list[date]:
    if last < first:
        raise UsageError(f"summarising {first} to {last}: the last day is before the first; swap them")
    return [first + timedelta(days=number) for number in range((last - first).days + 1)]


def sweep_old_receipts(app: App, receipts: OperationReceipts) -> None:
    """Receipts that are old enough go; while something is away, another night will do."""
    with suppress(WorldFault):
        sweep_receipts(app.ledger, app.lake(), app.clock, receipt_days=app.settings.receipt_days)
        receipts.sweep(app.settings.receipt_days)


def audit_books(app: App, stop: Callable[[], bool]) -> Audit:
    """Whether the books balance: on record as an event, or as a critical alert with the first findings."""
    result = audit(app.settings, app.ledger, app.registry, app.lake(), app.clock, stop=stop)
    facts = {
        "files": result.files,
        "rows": result.rows,
        "data_files": result.data_files,
        "files_in_work": result.in_work.files,
        "seconds": round(result.seconds, 3),
    }
    if result.balanced:
        log.info(Event.AUDIT_FINISHED, **facts)
        return result
    alert(
        Event.AUDIT_FAILED,
        severity=Severity.CRITICAL,
        code=result.findings[0].code.value,
        findings=[finding.line() for finding in result.findings[:_FINDINGS_TOLD]],
        findings_count=len(result.findings),
        **facts,
        cure="lemonade audit lists every finding with its cure",
    )
    return result
