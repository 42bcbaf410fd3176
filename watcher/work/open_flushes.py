"""Flushes that are not over, and the batches of theirs that wait for another attempt; no decisions."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count

from metadata.clock import Clock
from metadata.database.states import FlushReason
from metadata.types.file_type import FileType
from processors.load.commit_protocol import BatchInWork
from watcher.work.flush_report import FlushReport


@dataclass
class OpenFlush:
    """A flush that is not over."""

    report: FlushReport
    reason: FlushReason
    started: float
    then: Callable[[FlushReport], None]
    has_begun: bool = False  #: something waited
    copies: dict[str, FileType] = field(default_factory=dict)  #: types of which copies of files in flight wait
    later: dict[str, FileType] = field(default_factory=dict)  #: types that wait for batches under another version


@dataclass(order=True)
class WaitingBatch:
    """A batch that waits for its next attempt."""

    due: float
    number: int  #: of those that are due at one moment, the first to be put aside
    work: BatchInWork = field(compare=False)
    flush: OpenFlush = field(compare=False)


class PutAside:
    """Batches that wait for their next attempt, in the order in which they are due."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self._waiting: list[WaitingBatch] = []  #: a heap
        self._numbers = count()

    def put(self, work: BatchInWork, flush: OpenFlush) -> None:
        """Until its wait is over."""
        due = self.clock.monotonic() + work.wait_seconds
        heapq.heappush(self._waiting, WaitingBatch(due, next(self._numbers), work, flush))

    def take(self) -> WaitingBatch:
        """The one that is due first."""
        return heapq.heappop(self._waiting)

    def seconds_to_next(self) -> float | None:
        """How long until the first is due, 0 for now; None when none waits."""
        return max(0.0, self._waiting[0].due - self.clock.monotonic()) if self._waiting else None

    def holds(self, flush: OpenFlush) -> bool:
        """Whether a batch of the flush waits."""
        return any(waiting.flush is flush for waiting in self._waiting)

    def holds_other_version(self, kind: FileType) -> bool:
        """Whether a batch of the type waits that was planned under another version of its schema."""
        kinds = [waiting.work.kind for waiting in self._waiting]
        return any(each.name == kind.name and each.schema_version != kind.schema_version for each in kinds)

    def drop(self, flush: OpenFlush) -> None:
        """Forget the batches of a flush: they stay planned for the next start."""
        self._waiting = [waiting for waiting in self._waiting if waiting.flush is not flush]
        heapq.heapify(self._waiting)

    def clear(self) -> None:
        """Forget them all."""
        self._waiting.clear()
