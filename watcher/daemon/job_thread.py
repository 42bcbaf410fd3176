"""A thread that does jobs one after another; which jobs, others decide."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress

from metadata.errors import Busy, ConfigurationError, Fatal, LemonadeError, WorldFault
from metadata.logs import Event, Severity, alert, get_logger
from metadata.outage import Outage
from watcher.daemon.flags import Flags
from watcher.daemon.jobs import Job
from watcher.work.handover import Flusher

log = get_logger()

_LONGEST_WAIT_SECONDS = 1.0


class JobThread:
    """Jobs in the order in which they were put. An error that may lose or double data ends the daemon.

    One that has a `flusher` also makes the attempts at batches that were put aside, after each job and while none
    comes. Once the daemon drains nothing is begun: what waits stays claimed, or dirty, for the next start.
    """

    def __init__(self, name: str, flags: Flags, outage: Outage, flusher: Flusher | None = None) -> None:
        self.flags = flags
        self.outage = outage
        self.flusher = flusher
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)

    def put(self, job: Job) -> None:
        """Have it done after those that were put before; from any thread."""
        self._jobs.put(job)

    def start(self) -> None:
        """Begin with the first job."""
        self._thread.start()

    def finish(self) -> None:
        """Let it end when it has come to here."""
        self._jobs.put(None)

    def join(self, seconds: float) -> None:
        """Wait until it has ended, but no longer; at once when it was never started."""
        if self._thread.ident is not None:
            self._thread.join(seconds)

    def _work(self) -> None:
        for do in self._jobs_and_attempts():
            if not self.flags.draining.is_set():
                self._do(do)

    def _jobs_and_attempts(self) -> Iterator[Callable[[], None]]:
        flusher = self.flusher
        while True:
            wait = None if flusher is None or self.flags.draining.is_set() else flusher.seconds_to_next()
            with suppress(queue.Empty):
                job = self._jobs.get(timeout=None if wait is None else min(wait, _LONGEST_WAIT_SECONDS))
                if job is None:
                    break
                yield job.run
            if flusher is not None:
                yield flusher.go_on
        if flusher is not None:
            with suppress(WorldFault):  # the next start drops the requests that nobody could answer
                flusher.drain()

    def _do(self, do: Callable[[], None]) -> None:
        try:
            with suppress(WorldFault):  # only when it drains
                self.outage.wait_out(do)
        except ConfigurationError as error:
            alert(Event.CRASH, severity=Severity.CRITICAL, code=error.code, error=error.message)
            self.flags.stop_for_good()
        except Fatal as error:
            alert(Event.CRASH, severity=Severity.CRITICAL, code=error.code, error=error.message)
            self.flags.stop_for_good()
        except LemonadeError as error:
            if not (isinstance(error, Busy) and self.flags.draining.is_set()):  # it was told to stop, and did
                alert(Event.CRASH, severity=Severity.ERROR, code=error.code, error=error.message)
        except Exception as error:
            log.critical(Event.CRASH, exc_info=True)
            alert(Event.CRASH, severity=Severity.CRITICAL, code="bug", error=repr(error))
            self.flags.stop_for_good()
