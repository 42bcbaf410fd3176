"""Notices files. Events are hints: they only nominate names, scans decide.

The kernel drops events when nobody reads them in time, hard links and some moves give none that end a wait, and a
folder that was deleted and made again is watched no more. So whoever uses this scans at start, now and then, after
an overflow, and when `check` had to watch again.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
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
)
from watchdog.observers.api import BaseObserver
from watchdog.observers.polling import PollingObserver

from metadata.logs import Event, Severity, alert, get_logger
from watcher.intake.mounts import silent_kind
from watcher.intake.nominations import Nominations, Nominees

log = get_logger()

Method = Literal["auto", "events", "polling"]

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
class Watching:
    """How files are noticed. `reason` says why it is polling when it had to fall back to that."""

    method: Literal["events", "polling", "nothing"]
    reason: str | None = None


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


def system_observer() -> BaseObserver:
    """The best that the platform has. On Linux with full events: a file moved in is then told from one created."""
    if _IS_LINUX:
        from watchdog.observers.inotify import InotifyObserver

        return InotifyObserver(generate_full_events=True)
    return watchdog.observers.Observer()


class Observer:
    """Watches `incoming` (not what is below it) and, for the hint, `wake_file`.

    Calls `wake` on a thread of its own when a file is whole, when events were lost, and when the wake file is touched;
    not for each write: files that no event ends the wait of are found by the next look.

    `method`: `events` of the system, `polling`, or `auto`, which polls file systems whose events do not tell all.

    Not a promise: what it misses, a scan finds. start, stop and check belong to one thread.
    """

    def __init__(
        self,
        incoming: Path,
        wake_file: Path | None,
        wake: Callable[[], None],
        method: Method = "events",
        make_system_observer: Callable[[], BaseObserver] = system_observer,
    ) -> None:
        self.incoming = incoming
        self.wake_file = wake_file
        self.method = method
        self.make_system_observer = make_system_observer
        self.nominees = Nominees(wake)
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

    @property
    def is_watching(self) -> bool:
        """Whether it was started and events are told, or folders polled."""
        return self._observer is not None

    def take(self) -> Nominations:
        """What happened since the last call."""
        return self.nominees.take()

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
                self._begin(self.make_system_observer(), is_exact=_IS_LINUX)
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
        nominees = self.nominees
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
        if self.nominees.overflow():
            alert(
                Event.OBSERVER_OVERFLOWED,
                severity=Severity.WARNING,
                code="events_lost",
                folder=str(self.incoming),
                cure="nothing: a scan follows; fs.inotify.max_queued_events sets how many may wait",
            )


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
