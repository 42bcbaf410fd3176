"""Notices files. Events are hints: they only nominate names, scans decide.

The kernel drops events when nobody reads them in time, hard links and some moves give none that end a wait, and a
folder that was deleted and made again is watched no more. So whoever uses this scans at start, now and then, after
an overflow, and when `check` had to watch again.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import watchdog.observers
from watchdog.events import (
    FileAttribEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileModifiedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers.api import BaseObserver
from watchdog.observers.polling import PollingObserver

from metadata.logs import Event, Severity, alert, get_logger
from watcher.intake.mounts import silent_kind

log = get_logger()

Method = Literal["auto", "events", "polling"]
Kind = Literal["closed", "moved_in", "changed"]

_POLL_SECONDS = 1.0
_IS_LINUX = sys.platform.startswith("linux")
_OVERFLOW_LOGGER = "watchdog.observers.inotify_c"
_EVENTS: list[type[FileSystemEvent]] = [
    FileClosedEvent,
    FileMovedEvent,
    FileCreatedEvent,
    FileModifiedEvent,
    FileAttribEvent,  # how touching a file that exists shows
]
"""Nothing else is asked of the kernel: each kind less is room in its queue."""


@dataclass(frozen=True)
class Nominations:
    """Names in incoming/ that something happened to since the last look."""

    closed: frozenset[str] = frozenset()  #: closed after writing, or moved in whole, and not changed since
    changed: frozenset[str] = frozenset()  #: created or written to, and not closed since
    overflowed: bool = False  #: events were lost: only a scan knows


@dataclass(frozen=True)
class Watching:
    """How files are noticed. `reason` says why it is polling when it had to fall back to that."""

    method: Literal["events", "polling", "nothing"]
    reason: str | None = None


@dataclass
class _Nominees(FileSystemEventHandler):
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


class _OverflowFilter(logging.Filter):
    """Hears the only sign of lost events, a log line of watchdog's, and keeps it out of the log: we say it."""

    def __init__(self, on_overflow: Callable[[], None]) -> None:
        super().__init__()
        self.on_overflow = on_overflow

    def filter(self, record: logging.LogRecord) -> bool:
        """False for the overflow line."""
        if record.levelno < logging.WARNING or "overflow" not in record.getMessage().lower():
            return True
        self.on_overflow()
        return False


class Observer:
    """Watches `incoming` (not what is below it) and, for the hint, `wake_file`.

    Calls `wake` on a thread of its own when a file is whole, when events were lost, and when the wake file is touched;
    not for each write: files that no event ends the wait of are found by the next look.

    `method`: `events` of the system, `polling`, or `auto`, which polls file systems whose events do not tell all.

    Not a promise: what it misses, a scan finds. start, stop and check belong to one thread.
    """

    def __init__(
        self, incoming: Path, wake_file: Path | None, wake: Callable[[], None], method: Method = "events"
    ) -> None:
        self.incoming = incoming
        self.wake_file = wake_file
        self.method = method
        self._nominees = _Nominees(wake)
        self._observer: BaseObserver | None = None
        self._watched: tuple[int, int] | None = None  #: device and inode of the folder that is watched
        self._complaint: Watching | None = None
        self._silent: str | None = None  #: the kind of file system that `auto` does not believe
        self._filter = _OverflowFilter(self._overflowed)

    def start(self) -> Watching:
        """Begin. Where the system's events cannot be had (limits, no such folder), poll; where neither, say so."""
        if self._observer is not None:
            return Watching("polling" if isinstance(self._observer, PollingObserver) else "events")
        logger = logging.getLogger(_OVERFLOW_LOGGER)
        logger.setLevel(logging.WARNING)  # whatever LOG_LEVEL is: a line that is not made cannot be heard
        logger.addFilter(self._filter)
        self._watched = _identity(self.incoming)
        watching = self._start()
        if watching.method != "nothing":
            log.info(
                Event.OBSERVER_STARTED, method=watching.method, folder=str(self.incoming), file_system=self._silent
            )
        if watching.reason is not None and watching != self._complaint:
            alert(
                Event.OBSERVER_FAILED,
                severity=Severity.WARNING,
                code=f"watching_by_{watching.method}",
                folder=str(self.incoming),
                error=watching.reason,
                cure="scans still find every file; check fs.inotify.max_user_instances and max_user_watches",
            )
        self._complaint = watching
        return watching

    def stop(self) -> None:
        """End, and wait for the observer's threads."""
        logging.getLogger(_OVERFLOW_LOGGER).removeFilter(self._filter)
        if self._observer is not None:
            _end(self._observer)
            self._observer = None

    def take(self) -> Nominations:
        """What happened since the last call."""
        return self._nominees.take()

    def check(self) -> bool:
        """Watch again when incoming/ is another folder than the one that is watched, or the watch has died.

        Returns whether it did: a scan should follow. While there is no such folder it waits for one.
        """
        now = _identity(self.incoming)
        if now is None or (now == self._watched and self._is_alive()):
            return False
        self.stop()
        return self.start().method != "nothing"

    def _start(self) -> Watching:
        reason = None
        self._silent = silent_kind(self.incoming) if self.method == "auto" else None
        if self.method != "polling" and self._silent is None:
            try:
                self._begin(_system_observer(), is_exact=_IS_LINUX)
                return Watching("events")
            except OSError as error:
                reason = error.strerror or str(error)
        try:
            self._begin(PollingObserver(timeout=_POLL_SECONDS), is_exact=False)
            return Watching("polling", reason)
        except OSError as error:
            return Watching("nothing", reason or error.strerror or str(error))

    def _begin(self, observer: BaseObserver, *, is_exact: bool) -> None:
        """Watch with `observer`; what it cannot do leaves nothing running."""
        nominees = self._nominees
        # Real paths: watchdog follows no link, and its events begin with the path that it was given.
        nominees.incoming, nominees.is_exact = os.path.realpath(self.incoming), is_exact
        folders = [nominees.incoming]
        if self.wake_file is not None and self.wake_file.parent.is_dir():
            folder = os.path.realpath(self.wake_file.parent)
            nominees.wake_file = str(Path(folder, self.wake_file.name))
            folders += [folder] if folder != nominees.incoming else []
        try:
            for folder in folders:
                observer.schedule(nominees, folder, event_filter=_EVENTS)
            observer.start()
        except OSError:
            _end(observer)
            raise
        self._observer = observer

    def _is_alive(self) -> bool:
        """A watch's thread ends when its folder is deleted, whatever number the next folder gets."""
        observer = self._observer
        return observer is not None and observer.is_alive() and all(emitter.is_alive() for emitter in observer.emitters)

    def _overflowed(self) -> None:
        if self._nominees.overflow():
            alert(
                Event.OBSERVER_OVERFLOWED,
                severity=Severity.WARNING,
                code="events_lost",
                folder=str(self.incoming),
                cure="nothing: a scan follows; fs.inotify.max_queued_events sets how many may wait",
            )


def _system_observer() -> BaseObserver:
    """The best that the platform has. On Linux with full events: a file moved in is then told from one created."""
    if _IS_LINUX:
        from watchdog.observers.inotify import InotifyObserver

        return InotifyObserver(generate_full_events=True)
    return watchdog.observers.Observer()


def _end(observer: BaseObserver) -> None:
    observer.stop()
    if observer.ident is not None:
        observer.join()


def _identity(folder: Path) -> tuple[int, int] | None:
    try:
        facts = folder.stat()
    except OSError:
        return None
    return facts.st_dev, facts.st_ino
