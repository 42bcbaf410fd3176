"""Buffers that are full or old are handed over, each once; what makes them so, `watcher.work.buffers` says."""

from __future__ import annotations

from functools import partial

from metadata.registry.registry import RegistrySnapshot
from watcher.daemon.flags import Flags
from watcher.daemon.job_thread import JobThread
from watcher.daemon.jobs import Flush
from watcher.work.buffers import Buffers
from watcher.work.flush_report import FlushReport
from watcher.work.work import Work


class QueuedFlushes:
    """Looks at every buffer once a look. A type whose flush is queued or under way is left alone."""

    def __init__(self, work: Work, flags: Flags, batches: JobThread) -> None:
        self.work = work
        self.flags = flags
        self.batches = batches
        self._buffers = Buffers()
        self._handed_over: set[str] = set()  #: types whose flush is queued

    def count(self) -> None:
        """Count again what waits."""
        self._buffers.reload(self.work.app.ledger)

    def hand_over(self, snapshot: RegistrySnapshot) -> None:
        """Have those that are due flushed."""
        app, flusher = self.work.app, self.work.flusher
        for kind in snapshot.active:
            reason = self._buffers.due(kind, app.settings, app.clock.now())
            if reason is not None and kind.name not in self._handed_over and kind.name not in flusher.stopped:
                self._handed_over.add(kind.name)
                self.batches.put(Flush(flusher, [kind], reason, partial(self._flushed, kind.name)))

    def _flushed(self, file_type: str, _report: FlushReport) -> None:
        self._handed_over.discard(file_type)
        self.flags.wake.set()
