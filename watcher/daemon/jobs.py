"""What the daemon's main thread has others do, as values that wait in a queue; not the threads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from metadata.database.states import FlushReason
from metadata.types.file_type import FileType
from watcher.work.flush_report import FlushReport
from watcher.work.handover import Flusher

T = TypeVar("T")


class Job(Protocol):
    """Something for another thread. A WorldFault that it raises is waited out, and then it is done again, whole."""

    def run(self) -> None:
        """Do it, on that thread."""
        ...


@dataclass(frozen=True)
class Call(Generic[T]):
    """Do this, about that: a request to answer, a moment that is due, a draft that is wanted."""

    do: Callable[[T], None]
    about: T

    def run(self) -> None:
        """Do it."""
        self.do(self.about)


@dataclass(frozen=True)
class Flush:
    """Load what is claimed for `types`; who asked is told when all of it is over, which may be jobs later."""

    flusher: Flusher
    types: Sequence[FileType]
    reason: FlushReason
    tell: Callable[[FlushReport], None]

    def run(self) -> None:
        """Begin it."""
        self.flusher.start(self.types, self.reason, self.tell)
