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
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from metadata.errors import WorldFault
from metadata.logs import Event, get_logger
from metadata.registry.registry import RegistrySnapshot
from metadata.retry_policy import WORLD
from watcher.app import App
from watcher.daemon.due_work import DueWork
from watcher.daemon.flags import Flags
from watcher.daemon.job_thread import JobThread
from watcher.daemon.jobs import Call
from watcher.daemon.queued_flushes import QueuedFlushes
from watcher.daemon.requests_in_hand import RequestsInHand
from watcher.daemon.schedule import Due
from watcher.daemon.signals import drained_by_signals
from watcher.intake.nominations import Nominations
from watcher.intake.observer import Observer
from watcher.intake.scan_result import ScanResult
from watcher.lock import acquire, wake_file
from watcher.work.work import Work

if TYPE_CHECKING:
    from processors.spark.spark_runner import Runner

log = get_logger()

EXIT_DONE = 0
EXIT_BUG = 70
_LONGEST_LOOK_SECONDS = 1.0
_LONGEST_AWAY_SECONDS = WORLD.longest_wait_seconds


class Service:
    """One daemon on one set of folders."""

    def __init__(self, app: App) -> None:
        self.app = app
        self.flags = Flags()
        self.work = Work(app, pause=self.flags.pause, draining=self.flags.draining.is_set)
        self.observer = Observer(
            app.settings.incoming_folder, wake_file(app.settings), self.flags.wake.set, app.settings.observer
        )
        self.batches = JobThread("batches", self.flags, self.work.outage, self.work.flusher)
        self.summaries = JobThread("summary", self.flags, self.work.outage)
        self.requests = RequestsInHand(self.work, self.batches, self.summaries)
        self.due_work = DueWork(self.work, self.flags, self.batches, self.summaries)
        self.queued_flushes = QueuedFlushes(self.work, self.flags, self.batches)
        self._last_scan = ScanResult()

    def run(self) -> int:
        """Run until a signal; returns the exit code. Raises Busy when another process holds the lock."""
        with acquire(self.app.settings, "daemon", "run"):
            self.app.runner()  # a missing Java is said now, not at the first batch
            with drained_by_signals(self.flags):
                return self.serve()

    def stop(self) -> None:
        """Drain, as after SIGTERM; safe to call from any thread and from a signal handler."""
        self.flags.stop()

    def serve(self) -> int:
        """`run()` without lock and signals, which belong to a process: until `stop()`; returns the exit code."""
        log.info(Event.DAEMON_STARTED, pid=os.getpid(), incoming=str(self.app.settings.incoming_folder))
        try:
            if self._once_all_answer(self._begin):
                self.observer.start()
                self.batches.start()
                self.summaries.start()
                self.batches.put(Call(_warm, self.app.runner()))
                self.due_work.scheduler.start()
                self._loop()
        finally:
            self._drain()
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

    # -- the main thread's loop ---------------------------------------------------------------------------------------

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
                self.flags.pause(away_seconds)
                continue
            self.work.outage.ends()
            away_seconds = 0.0

    def _look(self, full: bool) -> float:
        """One round; returns how long to wait for the next when nothing wakes us."""
        nominations = self.observer.take()
        due = self.due_work.take()
        if self.observer.check():  # incoming/ was deleted and made again
            full = True
        asked = self.requests.take()
        full = full or asked or nominations.overflowed or any(what is not Due.SUMMARY for what, _ in due)
        snapshot = self.work.read_registry()
        scan = self._scan(snapshot, nominations, full)
        self.queued_flushes.count()
        for moment in due:
            self.due_work.act(moment, snapshot)
        self.requests.flush(snapshot, scan)
        self.queued_flushes.hand_over(snapshot)
        return min(scan.next_look_seconds or _LONGEST_LOOK_SECONDS, _LONGEST_LOOK_SECONDS)

    def _scan(self, snapshot: RegistrySnapshot, nominations: Nominations, full: bool) -> ScanResult:
        """Look into incoming/ if there is a reason to; returns what the last look there did."""
        is_awaited = self._last_scan.settling or self.work.gathering.held_back
        if full or nominations.closed or nominations.changed or is_awaited:
            self._last_scan = self.work.gather(snapshot, nominations, full=full)
            if full or self._last_scan.held:
                self._draft()
        if full:
            claimed, settling = self._last_scan.claimed, self._last_scan.settling
            log.debug(Event.SCAN_FINISHED, claimed=len(claimed), settling=len(settling))
        return self._last_scan

    def _draft(self) -> None:
        """Draft schemas for unknown types whose files are held: away from this thread, which claims."""
        for wanted in self.work.drafting.due(self.app.registry.read()):  # discovery may just have added some
            self.summaries.put(Call(self.work.drafting.make, wanted))

    # -- the end ------------------------------------------------------------------------------------------------------

    def _drain(self) -> None:
        self.flags.draining.set()
        with suppress(WorldFault):  # the ledger is away: then it counts as a death, which costs a file nothing but time
            self.work.leave()
        log.info(Event.DAEMON_DRAINING, seconds=self.app.settings.drain_seconds)
        self.due_work.scheduler.stop()
        self.observer.stop()
        deadline = self.app.clock.monotonic() + self.app.settings.drain_seconds
        threads = (self.batches, self.summaries)
        for thread in threads:
            thread.finish()
        for thread in threads:
            thread.join(max(0.0, deadline - self.app.clock.monotonic()))
        with suppress(WorldFault):  # the next start drops them
            self.app.requests.drop_stale()
        if self.app.started_runner is not None:
            self.app.started_runner.stop()


def _warm(runner: Runner) -> None:
    runner.warm()
