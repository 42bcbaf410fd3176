"""What one flush did, and the line that tells of it."""

from __future__ import annotations

from dataclasses import dataclass, field

from metadata.database.states import FlushReason
from metadata.errors import LemonadeError
from metadata.logs import Event, Severity, alert, get_logger
from processors.load.commit_protocol import BatchResult

log = get_logger()


@dataclass
class FlushReport:
    """What one flush did."""

    flush_id: str
    batches: list[BatchResult] = field(default_factory=list)
    drained: bool = False  #: it ended early; the rest stays claimed for the next start
    error: LemonadeError | None = None  #: it was cut off by this

    def count(self, outcome: str) -> int:
        """Files with this outcome over all batches."""
        return sum(batch.counts.get(outcome, 0) for batch in self.batches)

    @property
    def rows(self) -> int:
        """Rows loaded over all batches."""
        return sum(batch.rows for batch in self.batches)

    @property
    def rejected(self) -> int:
        """Records of loaded files that went to the quarantine, over all batches."""
        return sum(batch.rejected for batch in self.batches)


def tell_finished(report: FlushReport, reason: FlushReason, seconds: float, failure_rate_alert: float) -> None:
    """The flush's last line; an alert when files failed, a critical one from `failure_rate_alert` on."""
    loaded, failed, error = (report.count(outcome) for outcome in ("loaded", "failed", "error"))
    facts = {
        "flush_id": report.flush_id,
        "reason": reason.value,
        "batches": sum(1 for batch in report.batches if batch.batch_id),
        "loaded": loaded,
        "failed": failed,
        "error": error,
        "duplicate": report.count("duplicate"),
        "rows": report.rows,
        "rejected": report.rejected,
        "drained": report.drained,
        "seconds": round(seconds, 3),
    }
    bad = failed + error
    if not bad:
        log.info(Event.FLUSH_FINISHED, **facts)
        return
    rate = bad / (loaded + bad)
    severity = Severity.CRITICAL if rate >= failure_rate_alert else Severity.WARNING
    alert(Event.FLUSH_FINISHED, severity=severity, code="files_failed", failure_rate=round(rate, 4), **facts)
