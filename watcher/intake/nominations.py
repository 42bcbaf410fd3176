"""Names in incoming/ that events have told of, until the next look takes them; hints, which touch no file."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from watchdog.events import FileAttribEvent, FileClosedEvent, FileMovedEvent, FileSystemEvent, FileSystemEventHandler


@dataclass(frozen=True)
class Nominations:
    """Names in incoming/ that something happened to since the last look."""

    closed: frozenset[str] = frozenset()  #: closed after writing, or moved in whole, and not changed since
    changed: frozenset[str] = frozenset()  #: created or written to, and not closed since
    overflowed: bool = False  #: events were lost: only a scan knows


@dataclass
class Nominees(FileSystemEventHandler):
    """Collects names on the observer's thread; never touches a file."""

    wake: Callable[[], None]
    incoming: str = ""
    wake_file: str | None = None
    is_exact: bool = False  #: whether a close or a move is really told as one
    lock: threading.Lock = field(default_factory=threading.Lock)
    closed: set[str] = field(default_factory=set)
    changed: set[str] = field(default_factory=set)
    overflowed: bool = False

    __hash__ = object.__hash__  # watchdog keeps handlers in sets

    def on_any_event(self, event: FileSystemEvent) -> None:
        """The latest word on a name counts."""
        if event.is_directory:
            return
        arrived = isinstance(event, FileMovedEvent)
        path = os.fsdecode(event.dest_path if arrived else event.src_path)
        if path == self.wake_file:
            self.wake()
            return
        folder, name = os.path.split(path)
        if folder != self.incoming or isinstance(event, FileAttribEvent):
            return  # moved away, or nothing about its bytes
        with self.lock:
            if self.is_exact and (arrived or isinstance(event, FileClosedEvent)):
                self.changed.discard(name)
                self.closed.add(name)
            else:
                self.closed.discard(name)
                self.changed.add(name)
                return  # nothing to do before it is closed or settled; a file that is written slowly wakes nobody
        self.wake()

    def overflow(self) -> bool:
        """Events were lost, so what was collected may be old news: a close may have been followed by a write.

        Returns whether this is news since the last look.
        """
        with self.lock:
            is_news, self.overflowed = not self.overflowed, True
            self.changed |= self.closed
            self.closed.clear()
        self.wake()
        return is_news

    def take(self) -> Nominations:
        """What was collected, once."""
        with self.lock:
            taken = Nominations(frozenset(self.closed), frozenset(self.changed), self.overflowed)
            self.closed.clear()
            self.changed.clear()
            self.overflowed = False
            return taken
