"""What is done when the schedule says that it is due; when it is due, `schedule` says."""

from __future__ import annotations

import queue
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from functools import partial

from metadata.database.states import FlushReason
from metadata.errors import Busy, LemonadeError
from metadata.logs import Event, Severity, alert
from metadata.registry.registry import RegistrySnapshot
from watcher.daemon.flags import Flags
from watcher.daemon.job_thread import JobThread
from watcher.daemon.jobs import Call, Flush
from watcher.daemon.schedule import Due, Scheduler
from watcher.work.flush_report import FlushReport
from watcher.work.work import Work


class DueWork:
    """The hour's flush, the daily summary with what follows it, the rescan.

    The schedule's thread hands moments over; all else but `summarize` belongs to the main thread.
    """

    def __init__(self, work: Work, flags: Flags, batches: JobThread, summaries: JobThread) -> None:
        self.work = work
        self.flags = flags
        self.batches = batches
        self.summaries = summaries
        self.scheduler = Scheduler(work.app.clock, work.app.marks, work.app.settings, self._hand_over)
        self._handed: queue.SimpleQueue[tuple[Due, datetime]] = queue.SimpleQueue()
        self._due: list[tuple[Due, datetime]] = []  #: kept over a look that the world cut short
        self._summary_failed = False

    def take(self) -> list[tuple[Due, datetime]]:
        """What is due and not yet acted on, in the order in which it was handed over."""
        while not self._handed.empty():
            self._due.append(self._handed.get())
        return list(self._due)

    def act(self, moment: tuple[Due, datetime], snapshot: RegistrySnapshot) -> None:
        """Have it done; the look in which this is called is the rescan."""
        due, at = moment
        if due is Due.RESCAN:
            self.scheduler.done(due, at)
        elif due is Due.HOUR:
            if self._summary_failed:  # tried again hour by hour; its days stay dirty meanwhile
                self._summary_failed = False
                self.scheduler.again(Due.SUMMARY)
            told = partial(self._hour_flushed, at)
            self.batches.put(Flush(self.work.flusher, snapshot.active, FlushReason.HOUR, told))
        elif due is Due.SUMMARY:
            # Through the batches' queue: the flush that was due at the same moment comes first.
            self.batches.put(Call(self.work.flusher.when_idle, self._begin_summary(at)))
        self._due.remove(moment)

    def summarize(self, at: datetime) -> None:
        """The daily summary: days before `at` whose rows changed; then old receipts go and the books are audited."""
        try:
            self.work.summarize(before=at.date())
        except LemonadeError as error:
            self._summary_failed = True
            alert(Event.SUMMARY_FAILED, severity=Severity.ERROR, code=error.code, error=error.message)
        else:
            self.scheduler.done(Due.SUMMARY, at)
        self.work.sweep_receipts()
        if self.work.app.settings.audit_nightly and not self.flags.draining.is_set():
            with suppress(Busy):  # it was told to stop
                self.work.audit()

    def _begin_summary(self, at: datetime) -> Callable[[], None]:
        return partial(self.summaries.put, Call(self.summarize, at))

    def _hour_flushed(self, at: datetime, report: FlushReport) -> None:
        if not report.drained and report.error is None:
            self.scheduler.done(Due.HOUR, at)

    def _hand_over(self, due: Due, at: datetime) -> None:
        self._handed.put((due, at))
        self.flags.wake.set()
