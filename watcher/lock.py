"""The one-writer lock: a second daemon on the same folders or the same ledger refuses.

Locks are `flock`s, so they end with the process, however it ends. The lock file in the source-data folder also names
its holder; incoming/, processed/ and the ledger's file are locked too, so that two daemons that share any of them
notice. Local file systems only.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from sqlalchemy import make_url

from metadata.errors import Busy, ConfigurationError
from metadata.settings import Settings

Role = Literal["daemon", "command"]
_PATIENCE_SECONDS = 1.0
"""How long a taken lock is asked for again: a command that only looks holds it for an instant."""


@dataclass(frozen=True)
class Holder:
    """Who holds the lock."""

    pid: int
    role: Role
    verb: str


def lock_file(settings: Settings) -> Path:
    """The file that names the lock's holder."""
    return settings.source_data_base / ".lemonade.lock"


def wake_file(settings: Settings) -> Path:
    """The file that a command touches after it wrote a request row."""
    return settings.source_data_base / ".lemonade.wake"


class DaemonLock:
    """Context manager: holds every lock of these settings; Busy when another process holds one of them."""

    def __init__(self, settings: Settings, role: Role, verb: str) -> None:
        self.settings = settings
        self.role = role
        self.verb = verb
        self._descriptors: list[int] = []

    def take(self) -> Self:
        """Take every lock, or none; Busy says who holds one."""
        try:
            for path in _locked_paths(self.settings):
                self._descriptors.append(_take(path))
        except BlockingIOError:
            self._release()
            holder = lock_holder(self.settings)
            who = f"process {holder.pid} (lemonade {holder.verb})" if holder else "another process"
            raise Busy(
                f"locking {self.settings.source_data_base}: {who} works on these folders; "
                "wait until it is done, or stop it"
            ) from None
        except OSError as error:
            self._release()
            raise ConfigurationError(
                "locking the folders", [f"{error.filename}: {error.strerror}; may this user write there?"]
            ) from error
        named = {"pid": os.getpid(), "role": self.role, "verb": self.verb}
        os.ftruncate(self._descriptors[0], 0)
        os.pwrite(self._descriptors[0], json.dumps(named).encode(), 0)
        return self

    def __enter__(self) -> Self:
        return self if self._descriptors else self.take()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._release()

    def _release(self) -> None:
        for descriptor in reversed(self._descriptors):
            os.close(descriptor)  # closing ends the flock
        self._descriptors.clear()


def acquire(settings: Settings, role: Role, verb: str, patience_seconds: float = 60.0) -> DaemonLock:
    """The lock, taken; waits for other commands, which are short, but not for a daemon. Busy when it takes too long.

    Use the result as a context manager; it is taken once.
    """
    deadline = time.monotonic() + patience_seconds
    while True:
        lock = DaemonLock(settings, role, verb)
        try:
            return lock.take()
        except Busy:
            holder = lock_holder(settings)
            if (holder is not None and holder.role == "daemon") or time.monotonic() > deadline:
                raise
            time.sleep(0.1)  # see _take


def lock_holder(settings: Settings) -> Holder | None:
    """Who holds the lock now; None when nobody does."""
    try:
        descriptor = os.open(lock_file(settings), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            pass
        else:
            return None
        try:
            raw = json.loads(os.pread(descriptor, 4096, 0))
            return Holder(int(raw["pid"]), raw["role"], str(raw["verb"]))
        except (ValueError, KeyError):  # the holder is about to write its name
            return Holder(0, "command", "…")
    finally:
        os.close(descriptor)


def daemon_pid(settings: Settings) -> int | None:
    """The process id of the live daemon of these settings; None when none runs."""
    holder = lock_holder(settings)
    return holder.pid if holder is not None and holder.role == "daemon" else None


def _locked_paths(settings: Settings) -> list[Path]:
    """The lock file first, for it names the holder; the folders are made if they are not there."""
    for folder in (settings.source_data_base, settings.incoming_folder, settings.processed_folder):
        folder.mkdir(parents=True, exist_ok=True)
    paths = [lock_file(settings), settings.incoming_folder, settings.processed_folder]
    ledger = make_url(settings.database_url)
    if ledger.get_backend_name() == "sqlite" and ledger.database:
        path = Path(ledger.database + ".lock")
        path.parent.mkdir(parents=True, exist_ok=True)
        paths.append(path)
    return paths


def _take(path: Path) -> int:
    flags = os.O_RDONLY if path.is_dir() else os.O_RDWR | os.O_CREAT
    descriptor = os.open(path, flags | os.O_CLOEXEC, 0o644)
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() < deadline:
                time.sleep(0.05)  # flock has no wait with a limit
                continue
            os.close(descriptor)
            raise
        return descriptor
