"""Flush: hand the claimed files of types over, chunk by chunk, and tell what became of them.

A batch that has to wait for another attempt is put aside, planned in the ledger and here in memory; other chunks, types
and flushes go on meanwhile, and its flush is over when its last batch is. Only chunks of its own type under another
version of the schema wait for it: the table changes when they begin. All of this belongs to one thread.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count

from metadata.clock import Clock
from metadata.database.models import SourceFile
from metadata.database.states import FlushReason
from metadata.errors import LemonadeError, TypeStopped
from metadata.ids import new_id
from metadata.ledger.ledger import Ledger
from metadata.logs import Event, Severity, alert, get_logger
from metadata.registry.registry import Registry
from metadata.settings import Settings
from metadata.types.file_type import FileType
from processors.load.commit_protocol import BatchInWork, BatchResult, MicroBatches
from watcher.work.buffers import by_deaths, cut
from watcher.work.startup_repair import stop_type

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


@dataclass
class _Flush:
    """A flush that is not over."""

    report: FlushReport
    reason: FlushReason
    started: float
    then: Callable[[FlushReport], None]
    has_begun: bool = False  #: something waited
    copies: dict[str, FileType] = field(default_factory=dict)  #: types of which copies of files in flight wait
    later: dict[str, FileType] = field(default_factory=dict)  #: types that wait for batches under another version


@dataclass(order=True)
class _Aside:
    """A batch that waits for its next attempt."""

    due: float
    number: int  #: of those that are due at one moment, the first to be put aside
    work: BatchInWork = field(compare=False)
    flush: _Flush = field(compare=False)


class Flusher:
    """Turns buffers into micro-batches. `draining()` is asked between two chunks.

    `start` begins a flush, `go_on` does the next attempt that is due, `flush` does both until all is over.
    """

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
        self._open: list[_Flush] = []
        self._aside: list[_Aside] = []  #: a heap
        self._numbers = count()
        self._when_idle: list[Callable[[], None]] = []

    def flush(self, types: Sequence[FileType], reason: FlushReason, pause: Callable[[float], bool]) -> FlushReport:
        """Load everything that is claimed for `types`; waits in place, with `pause`, for batches that have to wait."""
        over: list[FlushReport] = []
        self.start(types, reason, over.append)
        while not over:
            if self.draining() or not pause(self.seconds_to_next() or 0.0):
                self.drain()
            else:
                self._next()
        return over[0]

    def start(self, types: Sequence[FileType], reason: FlushReason, then: Callable[[FlushReport], None]) -> None:
        """Load what is claimed for `types`; a type that stops does not stop the others.

        `then` gets the report when all is over, at once or after later calls of `go_on`; an error that cuts the flush
        off is in the report and is raised too.
        """
        flush = _Flush(FlushReport(new_id(self.clock)), reason, self.clock.monotonic(), then)
        todo = [kind for kind in types if kind.name not in self.stopped]
        waiting = {kind.name: self._waiting(kind) for kind in todo}
        self._open.append(flush)
        with self._cutting_off(flush):
            flush.has_begun = any(waiting.values())
            if flush.has_begun:
                log.info(
                    Event.FLUSH_STARTED,
                    flush_id=flush.report.flush_id,
                    reason=reason.value,
                    files={name: len(files) for name, files in waiting.items() if files},
                )
            for kind in todo:
                self._begin_type(kind, flush)
            self._end_if_over(flush)

    def seconds_to_next(self) -> float | None:
        """How long until something that was put aside is due, 0 for now; None when nothing waits."""
        if any(not self.waits_under_another_version(kind) for flush in self._open for kind in flush.later.values()):
            return 0.0
        return max(0.0, self._aside[0].due - self.clock.monotonic()) if self._aside else None

    def go_on(self) -> None:
        """Do the next attempt that is due, if one is. Errors as `start`."""
        if self.seconds_to_next() == 0 and not self.draining():
            self._next()

    def drain(self) -> None:
        """End every flush as drained: batches that wait stay planned, the next start claims their files again."""
        self._aside.clear()
        for flush in list(self._open):
            flush.report.drained = True
            self._end(flush)

    def when_idle(self, then: Callable[[], None]) -> None:
        """Call `then` once no flush is open: now, or when the last of them is over."""
        self._when_idle.append(then)
        self._tell_idle()

    def waits_under_another_version(self, kind: FileType) -> bool:
        """Whether a batch of the type waits for another attempt that was planned under another version of its schema.

        Until it is over nothing may bring the type's table to this one.
        """
        batches = [aside.work for aside in self._aside]
        return any(work.kind.name == kind.name and work.kind.schema_version != kind.schema_version for work in batches)

    # -- chunks and attempts ------------------------------------------------------------------------------------------

    def _begin_type(self, kind: FileType, flush: _Flush) -> None:
        """Every chunk of the type gets its first attempt, unless batches under another version go first."""
        if self.waits_under_another_version(kind):
            flush.later[kind.name] = kind
            return
        for group in by_deaths(self._waiting(kind)):
            for chunk in cut(group, self.settings.chunk_max_files, self.settings.chunk_max_bytes):
                if self.draining():
                    flush.report.drained = True
                    return
                if kind.name in self.stopped:
                    return
                with self._stopping(kind):
                    work = self.microbatches.begin(kind, chunk, reason=flush.reason, flush_id=flush.report.flush_id)
                    self._note_copies(work, flush)
                    self._attempt(work, flush)

    def _waiting(self, kind: FileType) -> list[SourceFile]:
        return self.microbatches.outage.wait_out(self.ledger.waiting, kind.name)

    def _next(self) -> None:
        """Begin a type whose batches under another version are over, else do the next attempt."""
        for flush in list(self._open):
            for kind in list(flush.later.values()):
                if not self.waits_under_another_version(kind):
                    with self._cutting_off(flush):
                        self._begin_type(self._as_it_is_now(flush.later.pop(kind.name)), flush)
                        self._end_if_over(flush)
                    return
        self._next_attempt()

    def _as_it_is_now(self, kind: FileType) -> FileType:
        """The type's latest version: its table may have been brought to that already."""
        found = next((each for each in self.registry.read().types if each.name == kind.name), kind)
        return found if found.schema_version > kind.schema_version else kind

    def _next_attempt(self) -> None:
        aside = heapq.heappop(self._aside)
        kind = aside.work.kind
        with self._cutting_off(aside.flush):
            if kind.name in self.stopped:
                self.microbatches.let_go(aside.work, "its type was stopped")
            else:
                with self._stopping(kind):
                    self._attempt(aside.work, aside.flush)
            self._end_if_over(aside.flush)

    def _attempt(self, work: BatchInWork, flush: _Flush) -> None:
        """One attempt; what has to wait for another is put aside."""
        left = self.microbatches.go_on(work)
        for each in left:
            self._note_copies(each, flush)
            heapq.heappush(
                self._aside, _Aside(self.clock.monotonic() + each.wait_seconds, next(self._numbers), each, flush)
            )
        if work not in left:
            flush.report.batches.append(work.result)

    def _note_copies(self, work: BatchInWork, flush: _Flush) -> None:
        """Copies of files in flight wait for their fate; without a batch of ours, it is another flush's file."""
        if work.copies and work.batch is not None:
            flush.copies[work.kind.name] = work.kind

    def _end_if_over(self, flush: _Flush) -> None:
        while not self._waits(flush) and flush.copies and not self.draining():
            _, kind = flush.copies.popitem()  # the fate of the file that its copies waited for is known now
            self._begin_type(self._as_it_is_now(kind), flush)
        if not self._waits(flush):
            self._end(flush)

    def _waits(self, flush: _Flush) -> bool:
        return bool(flush.later) or any(aside.flush is flush for aside in self._aside)

    def _end(self, flush: _Flush) -> None:
        self._open.remove(flush)
        if flush.has_begun:
            self._tell(flush.report, flush.reason, self.clock.monotonic() - flush.started)
        flush.then(flush.report)
        self._tell_idle()

    def _tell_idle(self) -> None:
        if not self._open:
            told, self._when_idle = self._when_idle, []
            for then in told:
                then()

    @contextmanager
    def _stopping(self, kind: FileType) -> Iterator[None]:
        """TypeStopped stops this type alone."""
        try:
            yield
        except TypeStopped as stop:
            self.stopped.add(kind.name)
            stop_type(self.registry, kind.name, stop)

    @contextmanager
    def _cutting_off(self, flush: _Flush) -> Iterator[None]:
        """An error ends the flush; those of its batches that wait stay planned for the next start."""
        try:
            yield
        except LemonadeError as error:
            flush.report.error = error
            self._aside = [aside for aside in self._aside if aside.flush is not flush]
            heapq.heapify(self._aside)
            if flush in self._open:
                self._end(flush)
            raise

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
            "rejected": report.rejected,
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
