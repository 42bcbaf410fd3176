"""Flush: hand the claimed files of types over, chunk by chunk, and tell what became of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from metadata.clock import Clock
from metadata.definition import FileType
from metadata.errors import TypeStopped
from metadata.ids import new_id
from metadata.ledger import Ledger
from metadata.logs import Event, Severity, alert, get_logger
from metadata.registry import Registry
from metadata.settings import Settings
from metadata.states import FlushReason
from processors.microbatch import BatchResult, MicroBatches
from watcher.buffers import cut
from watcher.recovery import stop_type

log = get_logger()


@dataclass
class FlushReport:
    """What one flush did."""

    flush_id: str
    batches: list[BatchResult] = field(default_factory=list)
    drained: bool = False  #: it ended early; the rest stays claimed for the next start

    def count(self, outcome: str) -> int:
        """Files with this outcome over all batches."""
        return sum(batch.counts.get(outcome, 0) for batch in self.batches)

    @property
    def rows(self) -> int:
        """Rows loaded over all batches."""
        return sum(batch.rows for batch in self.batches)


class Flusher:
    """Turns buffers into micro-batches. `draining()` is asked between two chunks."""

    def __init__(
        self,
        settings: Settings,
        ledger: Ledger,
        registry: Registry,
        microbatches: MicroBatches,
        clock: Clock,
        draining: Callable[[], bool],
    ) -> None:
        self.settings = settings
        self.ledger = ledger
        self.registry = registry
        self.microbatches = microbatches
        self.clock = clock
        self.draining = draining
        self.stopped: set[str] = set()  #: types that wait for a person

    def flush(self, types: Sequence[FileType], reason: FlushReason) -> FlushReport:
        """Load everything that is claimed for `types`; a type that stops does not stop the others."""
        report = FlushReport(new_id(self.clock))
        started = self.clock.monotonic()
        todo = [kind for kind in types if kind.name not in self.stopped]
        waiting = {kind.name: self.ledger.waiting(kind.name) for kind in todo}
        if not any(waiting.values()):
            return report
        log.info(
            Event.FLUSH_STARTED,
            flush_id=report.flush_id,
            reason=reason.value,
            files={name: len(files) for name, files in waiting.items() if files},
        )
        for kind in todo:
            try:
                self._flush_type(kind, reason, report)
            except TypeStopped as stop:
                self.stopped.add(kind.name)
                stop_type(self.registry, kind.name, stop)
        self._tell(report, reason, self.clock.monotonic() - started)
        return report

    def _flush_type(self, kind: FileType, reason: FlushReason, report: FlushReport) -> None:
        copies_waited = True
        while copies_waited:  # a copy of a file in flight is planned again once that file's fate is known
            copies_waited = False
            files = self.ledger.waiting(kind.name)
            for chunk in cut(files, self.settings.chunk_max_files, self.settings.chunk_max_bytes):
                if self.draining():
                    report.drained = True
                    return
                result = self.microbatches.load(kind, chunk, reason=reason, flush_id=report.flush_id)
                report.batches.append(result)
                copies_waited = copies_waited or (result.waiting > 0 and result.batch_id is not None)

    def _tell(self, report: FlushReport, reason: FlushReason, seconds: float) -> None:
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
            "drained": report.drained,
            "seconds": round(seconds, 3),
        }
        bad = failed + error
        if not bad:
            log.info(Event.FLUSH_FINISHED, **facts)
            return
        rate = bad / (loaded + bad)
        severity = Severity.CRITICAL if rate >= self.settings.failure_rate_alert else Severity.WARNING
        alert(Event.FLUSH_FINISHED, severity=severity, code="files_failed", failure_rate=round(rate, 4), **facts)
