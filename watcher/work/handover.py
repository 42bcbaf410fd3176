"""Flush: hand the claimed files of types over, chunk by chunk, and tell what became of them.

A batch that has to wait for another attempt is put aside, planned in the ledger and here in memory; other chunks, types
and flushes go on meanwhile, and its flush is over when its last batch is. Only chunks of its own type under another
version of the schema wait for it: the table changes when they begin. All of this belongs to one thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from metadata.clock import Clock
from metadata.database.models import SourceFile
from metadata.database.states import FlushReason
from metadata.errors import LemonadeError, TypeStopped
from metadata.ids import new_id
from metadata.ledger.ledger import Ledger
from metadata.logs import Event, get_logger
from metadata.registry.registry import Registry
from metadata.settings import Settings
from metadata.types.file_type import FileType
from processors.load.commit_protocol import BatchInWork, MicroBatches
from watcher.work.chunks import by_deaths, cut
from watcher.work.flush_report import FlushReport, tell_finished
from watcher.work.open_flushes import OpenFlush, PutAside
from watcher.work.types_in_trouble import stop_type

log = get_logger()


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
        self._open: list[OpenFlush] = []
        self._aside = PutAside(clock)
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
        flush = OpenFlush(FlushReport(new_id(self.clock)), reason, self.clock.monotonic(), then)
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
        return self._aside.seconds_to_next()

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
        return self._aside.holds_other_version(kind)

    # -- chunks and attempts ------------------------------------------------------------------------------------------

    def _begin_type(self, kind: FileType, flush: OpenFlush) -> None:
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
        latest = next((each for each in self.registry.read().types if each.name == kind.name), kind)
        return latest if latest.schema_version > kind.schema_version else kind

    def _next_attempt(self) -> None:
        aside = self._aside.take()
        kind = aside.work.kind
        with self._cutting_off(aside.flush):
            if kind.name in self.stopped:
                self.microbatches.let_go(aside.work, "its type was stopped")
            else:
                with self._stopping(kind):
                    self._attempt(aside.work, aside.flush)
            self._end_if_over(aside.flush)

    def _attempt(self, work: BatchInWork, flush: OpenFlush) -> None:
        """One attempt; what has to wait for another is put aside."""
        left = self.microbatches.go_on(work)
        for each in left:
            self._note_copies(each, flush)
            self._aside.put(each, flush)
        if work not in left:
            flush.report.batches.append(work.result)

    def _note_copies(self, work: BatchInWork, flush: OpenFlush) -> None:
        """Copies of files in flight wait for their fate; without a batch of ours, it is another flush's file."""
        if work.copies and work.batch is not None:
            flush.copies[work.kind.name] = work.kind

    def _end_if_over(self, flush: OpenFlush) -> None:
        while not self._waits(flush) and flush.copies and not self.draining():
            _, kind = flush.copies.popitem()  # the fate of the file that its copies waited for is known now
            self._begin_type(self._as_it_is_now(kind), flush)
        if not self._waits(flush):
            self._end(flush)

    def _waits(self, flush: OpenFlush) -> bool:
        return bool(flush.later) or self._aside.holds(flush)

    def _end(self, flush: OpenFlush) -> None:
        self._open.remove(flush)
        if flush.has_begun:
            seconds = self.clock.monotonic() - flush.started
            tell_finished(flush.report, flush.reason, seconds, self.settings.failure_rate_alert)
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
    def _cutting_off(self, flush: OpenFlush) -> Iterator[None]:
        """An error ends the flush; those of its batches that wait stay planned for the next start."""
        try:
            yield
        except LemonadeError as error:
            flush.report.error = error
            self._aside.drop(flush)
            if flush in self._open:
                self._end(flush)
            raise
