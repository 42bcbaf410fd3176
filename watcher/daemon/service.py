"""The daemon: who does what, and how it ends.

Four threads, each with one job, so that none waits for another's:

- **main**: takes nominations, requests and due moments; scans, claims; decides which buffers to hand over;
- **batches**: flushes, one after another, in the order in which they were handed over; a batch that has to wait for
  another attempt is put aside meanwhile;
- **summary**: builds summaries, so that a long one never delays the next hour;
- **schedule**: asks each second what is due, and only says so.

SIGTERM or SIGINT drains: the batch in hand is finished, the rest stays claimed for the next start. A second signal
stops at once; the next start recovers.
"""

from __future__ import annotations

import os
import queue
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from types import FrameType
from typing import Any

from metadata.database.models import Request
from metadata.database.states import FlushReason
from metadata.errors import Busy, ConfigurationError, Fatal, LemonadeError, UsageError, WorldFault
from metadata.logs import Event, Severity, alert, get_logger
from metadata.registry.registry import RegistrySnapshot
from metadata.retry_policy import WORLD
from metadata.types.definition import FileType
from watcher.app import App
from watcher.daemon.schedule import Due, Scheduler
from watcher.intake.intake import ScanResult
from watcher.intake.observer import Observer
from watcher.lock import acquire, wake_file
from watcher.verbs.by_name import AfterFlush, DaemonThread, Deed, deed_of
from watcher.work.buffers import Buffers
from watcher.work.handover import Flusher, FlushReport
from watcher.work.held_drafts import Wanted
from watcher.work.work import Work, flush_answer, wanted_types

log = get_logger()

EXIT_DONE = 0
EXIT_BUG = 70
_LONGEST_LOOK_SECONDS = 1.0
_LONGEST_AWAY_SECONDS = WORLD.longest_wait_seconds


@dataclass
class _WaitingFlush:
    """A flush request that waits for files to settle."""

    request: Request
    deadline: float


@dataclass
class _Flags:
    """What threads tell each other."""

    wake: threading.Event = field(default_factory=threading.Event)
    draining: threading.Event = field(default_factory=threading.Event)
    fatal: threading.Event = field(default_factory=threading.Event)
    due: queue.SimpleQueue[tuple[Due, datetime]] = field(default_factory=queue.SimpleQueue)


class Service:
    """One daemon on one set of folders."""

    def __init__(self, app: App) -> None:
        self.app = app
        self.flags = _Flags()
        self.work = Work(app, pause=self._pause, draining=self.flags.draining.is_set)
        self.buffers = Buffers()
        self.observer = Observer(
            app.settings.incoming_folder, wake_file(app.settings), self.flags.wake.set, app.settings.observer
        )
        self.scheduler = Scheduler(app.clock, app.marks, app.settings, self._hand_over)
        self._batch_jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._summary_jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._handed_over: set[str] = set()  #: types whose flush is queued
        self._flushes: list[_WaitingFlush] = []
        self._due: list[tuple[Due, datetime]] = []  #: kept over a look that the world cut short
        self._signals = 0
        self._last_scan = ScanResult()
        self._summary_failed = False

    def run(self) -> int:
        """Run until a signal; returns the exit code. Raises Busy when another process holds the lock."""
        with acquire(self.app.settings, "daemon", "run"):
            self.app.runner()  # a missing Java is said now, not at the first batch
            previous = {number: signal.signal(number, self._on_signal) for number in (signal.SIGTERM, signal.SIGINT)}
            try:
                return self.serve()
            finally:
                for number, handler in previous.items():
                    signal.signal(number, handler)

    def stop(self) -> None:
        """Drain, as after SIGTERM; safe to call from any thread and from a signal handler."""
        self.flags.draining.set()
        self.flags.wake.set()

    def serve(self) -> int:
        """`run()` without lock and signals, which belong to a process: until `stop()`; returns the exit code."""
        log.info(Event.DAEMON_STARTED, pid=os.getpid(), incoming=str(self.app.settings.incoming_folder))
        workers = [
            threading.Thread(
                target=self._work_through, args=(self._batch_jobs, self.work.flusher), name="batches", daemon=True
            ),
            threading.Thread(target=self._work_through, args=(self._summary_jobs,), name="summary", daemon=True),
        ]
        try:
            if self._once_all_answer(self._begin):
                self.observer.start()
                for worker in workers:
                    worker.start()
                self._batch_jobs.put(self.app.runner().warm)
                self.scheduler.start()
                self._loop()
        finally:
            self._drain(workers)
        log.info(Event.DAEMON_STOPPED, pid=os.getpid(), fatal=self.flags.fatal.is_set())
        return EXIT_BUG if self.flags.fatal.is_set() else EXIT_DONE

    def _begin(self) -> None:
        """What must be in order before anything is taken."""
        self.app.marks.set("started", self.app.clock.now(), {"pid": os.getpid()})
        self.app.requests.drop_stale()
        self.work.recover()

    def _once_all_answer(self, action: Callable[[], None]) -> bool:
        """Do it; while disk, catalog or ledger are away: one alert, wait, do it again. False when it drains instead."""
        try:
            self.work.outage.wait_out(action)
        except WorldFault:  # only when it drains
            return False
        return True

    # -- the main thread's loop -----------------------------------------------------------------------------------

    def _loop(self) -> None:
        """Look, decide, hand over, until told to drain; a fault of the world pauses it."""
        away_seconds, full = 0.0, True
        look = 0.0
        while not self.flags.draining.is_set():
            self.flags.wake.wait(timeout=look)
            self.flags.wake.clear()
            if self.flags.draining.is_set():
                return
            try:
                look = self._look(full)
                full = False
            except WorldFault as fault:
                self.work.outage.begins(fault)
                full = True
                away_seconds = min(max(1.0, away_seconds * 2), _LONGEST_AWAY_SECONDS)
                self._pause(away_seconds)
                continue
            self.work.outage.ends()
            away_seconds = 0.0

    def _look(self, full: bool) -> float:
        """One round; returns how long to wait for the next when nothing wakes us."""
        nominations = self.observer.take()
        self._due += self._take_due()
        due = list(self._due)
        if self.observer.check():  # incoming/ was deleted and made again
            full = True
        requests = self.app.requests.take()
        self._flushes += [
            _WaitingFlush(request, self.app.clock.monotonic() + self.app.settings.settle_seconds + 0.5)
            for request in requests
            if request.verb == "flush"
        ]
        for request in requests:
            if request.verb != "flush":
                self._take_request(request)
        full = full or bool(requests) or nominations.overflowed or any(kind is not Due.SUMMARY for kind, _ in due)
        snapshot = self.work.read_registry()
        if full or nominations.closed or nominations.changed or self._last_scan.settling or self.work.held_back:
            self._last_scan = self.work.gather(snapshot, nominations, full=full)
            if full or self._last_scan.held:
                self._draft()
        scan = self._last_scan
        if full:
            log.debug(Event.SCAN_FINISHED, claimed=len(scan.claimed), settling=len(scan.settling))
        self.buffers.reload(self.app.ledger)
        for kind, at in due:
            self._act_on(kind, at, snapshot)
            self._due.remove((kind, at))
        self._flush_requests(snapshot, scan)
        self._flush_full_buffers(snapshot)
        return min(scan.next_look_seconds or _LONGEST_LOOK_SECONDS, _LONGEST_LOOK_SECONDS)

    def _draft(self) -> None:
        """Draft schemas for unknown types whose files are held: away from this thread, which claims."""
        for wanted in self.work.drafting.due(self.app.registry.read()):  # discovery may just have added some

            def make(wanted: Wanted = wanted) -> None:
                self.work.drafting.make(wanted)

            self._summary_jobs.put(make)

    def _take_due(self) -> list[tuple[Due, datetime]]:
        due = []
        while not self.flags.due.empty():
            due.append(self.flags.due.get())
        return due

    def _hand_over(self, kind: Due, at: datetime) -> None:
        """Called by the schedule thread."""
        self.flags.due.put((kind, at))
        self.flags.wake.set()

    def _act_on(self, kind: Due, at: datetime, snapshot: RegistrySnapshot) -> None:
        if kind is Due.RESCAN:
            self.scheduler.done(kind, at)  # this look was it
        elif kind is Due.HOUR:
            if self._summary_failed:  # tried again hour by hour; its days stay dirty meanwhile
                self._summary_failed = False
                self.scheduler.again(Due.SUMMARY)

            def over(report: FlushReport) -> None:
                if not report.drained and report.error is None:
                    self.scheduler.done(Due.HOUR, at)

            self._batch_jobs.put(lambda: self.work.flusher.start(snapshot.active, FlushReason.HOUR, over))
        elif kind is Due.SUMMARY:
            # Through the batches' queue: the flush that was due at the same moment comes first.
            self._batch_jobs.put(
                lambda: self.work.flusher.when_idle(lambda: self._summary_jobs.put(lambda: self._scheduled_summary(at)))
            )

    def _scheduled_summary(self, at: datetime) -> None:
        try:
            self.work.summarize(before=at.date())
        except LemonadeError as error:
            self._summary_failed = True
            alert(Event.SUMMARY_FAILED, severity=Severity.ERROR, code=error.code, error=error.message)
        else:
            self.scheduler.done(Due.SUMMARY, at)
        self.work.sweep_receipts()
        if self.app.settings.audit_nightly and not self.flags.draining.is_set():
            with suppress(Busy):  # it was told to stop
                self.work.audit()

    # -- requests -------------------------------------------------------------------------------------------------

    def _take_request(self, request: Request) -> None:
        log.info(Event.REQUEST_TAKEN, request_id=request.id, verb=request.verb, arguments=request.arguments)
        try:
            deed = deed_of(request.verb)
        except UsageError as error:
            self._fail(request, error)
            return
        if deed.thread is DaemonThread.BATCHES:
            self._batch_jobs.put(lambda: self._do(request, deed))
        elif deed.thread is DaemonThread.SUMMARY:
            self._summary_jobs.put(lambda: self._do(request, deed))
        else:
            self._do(request, deed)

    def _do(self, request: Request, deed: Deed) -> None:
        """On the verb's thread: do it and answer, at once or when the flush that it asks for is over."""
        try:
            done = deed.do(self.work, request.arguments)
        except LemonadeError as error:
            self._fail(request, error)
            if isinstance(error, Fatal):
                raise
            return
        if not isinstance(done, AfterFlush):
            self._answer(request, lambda: done)
            return

        def over(report: FlushReport) -> None:
            self._answer(request, lambda: done.tell(report))

        self.work.flusher.start(done.types, FlushReason.REQUEST, over)

    def _flush_requests(self, snapshot: RegistrySnapshot, scan: ScanResult) -> None:
        """Hand over the flushes that were asked for, once nothing settles any more or it took too long."""
        now = self.app.clock.monotonic()
        still = []
        for waiting in self._flushes:
            if scan.settling and now < waiting.deadline:
                still.append(waiting)
                continue
            self._put_flush(waiting.request, snapshot, scan)
        self._flushes = still

    def _put_flush(self, request: Request, snapshot: RegistrySnapshot, scan: ScanResult) -> None:
        log.info(Event.REQUEST_TAKEN, request_id=request.id, verb=request.verb, arguments=request.arguments)

        def answer(report: FlushReport) -> dict[str, Any]:
            if report.error is not None:
                raise report.error
            if report.drained:
                raise Busy("flushing: the daemon was told to stop; what is left is loaded after its next start")
            return flush_answer(self.app, report, scan, snapshot.types)

        def over(report: FlushReport) -> None:
            self._answer(request, lambda: answer(report))

        try:
            types = wanted_types(snapshot, request.arguments.get("types", []))
        except UsageError as error:
            self._fail(request, error)
        else:
            self._batch_jobs.put(lambda: self.work.flusher.start(types, FlushReason.REQUEST, over))

    def _answer(self, request: Request, action: Callable[[], dict[str, Any]]) -> None:
        try:
            result = action()
        except LemonadeError as error:
            self._fail(request, error)
            if isinstance(error, Fatal):
                raise
        else:
            self.app.requests.finish(request.id, result)
            log.info(Event.REQUEST_FINISHED, request_id=request.id, verb=request.verb)

    def _fail(self, request: Request, error: LemonadeError) -> None:
        self.app.requests.fail(request.id, f"{type(error).__name__}|{error.message}")
        log.warning(Event.REQUEST_FAILED, request_id=request.id, verb=request.verb, error=error.message)

    # -- buffers --------------------------------------------------------------------------------------------------

    def _flush_full_buffers(self, snapshot: RegistrySnapshot) -> None:
        for kind in snapshot.active:
            reason = self.buffers.due(kind, self.app.settings, self.app.clock.now())
            if reason is None or kind.name in self._handed_over or kind.name in self.work.flusher.stopped:
                continue
            self._handed_over.add(kind.name)

            def over(_report: FlushReport, name: str = kind.name) -> None:
                self._handed_over.discard(name)
                self.flags.wake.set()

            def flush(kind: FileType = kind, reason: FlushReason = reason, over: Any = over) -> None:
                self.work.flusher.start([kind], reason, over)

            self._batch_jobs.put(flush)

    # -- worker threads and the end -------------------------------------------------------------------------------

    def _jobs(
        self, jobs: queue.SimpleQueue[Callable[[], None] | None], flusher: Flusher | None
    ) -> Iterator[Callable[[], None]]:
        """Jobs in their order until None; after each, and while none comes, attempts at batches that were put aside."""
        while True:
            wait = None if flusher is None or self.flags.draining.is_set() else flusher.seconds_to_next()
            with suppress(queue.Empty):
                job = jobs.get(timeout=None if wait is None else min(wait, _LONGEST_LOOK_SECONDS))
                if job is None:
                    break
                yield job
            if flusher is not None:
                yield flusher.go_on
        if flusher is not None:
            with suppress(WorldFault):  # the next start drops the requests that nobody could answer
                flusher.drain()

    def _work_through(self, jobs: queue.SimpleQueue[Callable[[], None] | None], flusher: Flusher | None = None) -> None:
        """A worker thread: its jobs until None. An error that may lose or double data ends the daemon."""
        for job in self._jobs(jobs, flusher):
            if self.flags.draining.is_set():
                continue  # what is not begun stays claimed, or dirty, for the next start
            try:
                self._once_all_answer(job)
            except ConfigurationError as error:
                alert(Event.CRASH, severity=Severity.CRITICAL, code=error.code, error=error.message)
                self._stop_for_good()
            except Fatal as error:
                alert(Event.CRASH, severity=Severity.CRITICAL, code=error.code, error=error.message)
                self._stop_for_good()
            except LemonadeError as error:
                if not (isinstance(error, Busy) and self.flags.draining.is_set()):  # it was told to stop, and did
                    alert(Event.CRASH, severity=Severity.ERROR, code=error.code, error=error.message)
            except Exception as error:
                log.critical(Event.CRASH, exc_info=True)
                alert(Event.CRASH, severity=Severity.CRITICAL, code="bug", error=repr(error))
                self._stop_for_good()

    def _stop_for_good(self) -> None:
        """Stop with exit code 70: the supervisor restarts, recovery walks."""
        self.flags.fatal.set()
        self.stop()

    def _pause(self, seconds: float) -> bool:
        """Wait; False at once when the daemon drains."""
        return not self.flags.draining.wait(seconds)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        self._signals += 1
        if self._signals > 1:
            os._exit(128 + number)  # a second signal: now; the JVM follows when its pipe closes
        self.stop()

    def _drain(self, workers: list[threading.Thread]) -> None:
        self.flags.draining.set()
        with suppress(WorldFault):  # the ledger is away: then it counts as a death, which costs a file nothing but time
            self.work.leave()
        log.info(Event.DAEMON_DRAINING, seconds=self.app.settings.drain_seconds)
        self.scheduler.stop()
        self.observer.stop()
        deadline = self.app.clock.monotonic() + self.app.settings.drain_seconds
        for jobs in (self._batch_jobs, self._summary_jobs):
            jobs.put(None)
        for worker in workers:
            if worker.ident is not None:
                worker.join(max(0.0, deadline - self.app.clock.monotonic()))
        with suppress(WorldFault):  # the next start drops them
            self.app.requests.drop_stale()
        if self.app.started_runner is not None:
            self.app.started_runner.stop()
