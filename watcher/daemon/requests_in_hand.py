"""Requests that commands have written and the daemon has taken: who does each, what is waited for, what is answered."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from metadata.database.models import Request
from metadata.database.states import FlushReason
from metadata.errors import Busy, Fatal, LemonadeError, UsageError
from metadata.logs import Event, get_logger
from metadata.registry.registry import RegistrySnapshot
from watcher.daemon.job_thread import JobThread
from watcher.daemon.jobs import Call, Flush
from watcher.deeds.by_name import AfterFlush, DaemonThread, Deed, deed_of
from watcher.intake.scan_result import ScanResult
from watcher.work.answers import flush_answer
from watcher.work.flush_report import FlushReport
from watcher.work.work import Work, wanted_types

log = get_logger()


@dataclass(frozen=True)
class WaitingFlush:
    """A flush request that waits for files to settle."""

    request: Request
    deadline: float


@dataclass(frozen=True)
class DeedAsked:
    """A request, and what is done for its verb."""

    request: Request
    deed: Deed


@dataclass(frozen=True)
class FlushAsked:
    """A flush request under way, and what its answer says beside what was loaded."""

    request: Request
    snapshot: RegistrySnapshot
    scan: ScanResult


class RequestsInHand:
    """Belongs to the main thread. Each verb says in its file which thread does it; a flush is begun after a scan."""

    def __init__(self, work: Work, batches: JobThread, summaries: JobThread) -> None:
        self.work = work
        self.app = work.app
        self.batches = batches
        self.summaries = summaries
        self._flushes: list[WaitingFlush] = []

    def take(self) -> bool:
        """Take what was asked since the last look; returns whether something was. Flushes wait for `flush`."""
        requests = self.app.requests.take()
        deadline = self.app.clock.monotonic() + self.app.settings.settle_seconds + 0.5
        self._flushes += [WaitingFlush(request, deadline) for request in requests if request.verb == "flush"]
        for request in requests:
            if request.verb != "flush":
                self._hand_on(request)
        return bool(requests)

    def flush(self, snapshot: RegistrySnapshot, scan: ScanResult) -> None:
        """Hand over the flushes that were asked for, once nothing settles any more or it took too long."""
        now = self.app.clock.monotonic()
        still = []
        for waiting in self._flushes:
            if scan.settling and now < waiting.deadline:
                still.append(waiting)
            else:
                self._begin_flush(FlushAsked(waiting.request, snapshot, scan))
        self._flushes = still

    def _hand_on(self, request: Request) -> None:
        _tell_taken(request)
        try:
            deed = deed_of(request.verb)
        except UsageError as error:
            self._fail(request, error)
            return
        if deed.thread is DaemonThread.BATCHES:
            self.batches.put(Call(self._do, DeedAsked(request, deed)))
        elif deed.thread is DaemonThread.SUMMARY:
            self.summaries.put(Call(self._do, DeedAsked(request, deed)))
        else:
            self._do(DeedAsked(request, deed))

    def _do(self, asked: DeedAsked) -> None:
        """On the verb's thread: do it, and answer at once or when the flush that it asks for is over."""
        try:
            done = asked.deed.do(self.work, asked.request.arguments)
        except LemonadeError as error:
            self._fail(asked.request, error)
            if isinstance(error, Fatal):
                raise
            return
        if isinstance(done, AfterFlush):
            over = partial(self._answer, asked.request, done.tell)
            self.work.flusher.start(done.types, FlushReason.REQUEST, over)
        else:
            self._finish(asked.request, done)

    # -- a flush: begun when the scan is over, answered when it is over -----------------------------------------------

    def _begin_flush(self, asked: FlushAsked) -> None:
        _tell_taken(asked.request)
        try:
            types = wanted_types(asked.snapshot, asked.request.arguments.get("types", []))
        except UsageError as error:
            self._fail(asked.request, error)
        else:
            told = partial(self._flushed, asked)
            self.batches.put(Flush(self.work.flusher, types, FlushReason.REQUEST, told))

    def _flushed(self, asked: FlushAsked, report: FlushReport) -> None:
        self._answer(asked.request, self._flush_answer, asked, report)

    def _flush_answer(self, asked: FlushAsked, report: FlushReport) -> dict[str, Any]:
        if report.error is not None:
            raise report.error
        if report.drained:
            raise Busy("flushing: the daemon was told to stop; what is left is loaded after its next start")
        return flush_answer(self.app, report, asked.scan, asked.snapshot.types)

    # -- answers ------------------------------------------------------------------------------------------------------

    def _answer(self, request: Request, action: Callable[..., dict[str, Any]], *arguments: Any) -> None:
        """Do it, and write what came of it where the command waits for it."""
        try:
            result = action(*arguments)
        except LemonadeError as error:
            self._fail(request, error)
            if isinstance(error, Fatal):
                raise
        else:
            self._finish(request, result)

    def _finish(self, request: Request, result: dict[str, Any]) -> None:
        self.app.requests.finish(request.id, result)
        log.info(Event.REQUEST_FINISHED, request_id=request.id, verb=request.verb)

    def _fail(self, request: Request, error: LemonadeError) -> None:
        self.app.requests.fail(request.id, f"{type(error).__name__}|{error.message}")
        log.warning(Event.REQUEST_FAILED, request_id=request.id, verb=request.verb, error=error.message)


def _tell_taken(request: Request) -> None:
    log.info(Event.REQUEST_TAKEN, request_id=request.id, verb=request.verb, arguments=request.arguments)
