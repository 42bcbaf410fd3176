"""SIGTERM and SIGINT of the daemon's process: the first drains, the second ends it at once."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from watcher.daemon.flags import Flags


class _Signals:
    """Counts them."""

    def __init__(self, flags: Flags) -> None:
        self.flags = flags
        self.count = 0

    def handle(self, number: int, _frame: FrameType | None) -> None:
        self.count += 1
        if self.count > 1:
            os._exit(128 + number)  # now; the JVM follows when its pipe closes
        self.flags.stop()


@contextmanager
def drained_by_signals(flags: Flags) -> Iterator[None]:
    """Inside of it the two signals are the daemon's; only a process's main thread may enter it."""
    signals = _Signals(flags)
    previous = {number: signal.signal(number, signals.handle) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
