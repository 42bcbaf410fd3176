"""While the world is away: disk, catalog, ledger or network do not answer, or there is no room. Wait, tell once, go on.

Several threads may meet the same outage; it is one alert when the first of them stops and one line when the last goes
on. Nothing here counts attempts: an outage is nobody's fault.

Whoever waits is given the process's one Outage and names the step that is done again: `outage.wait_out(step, …)`. Where
steps lie inside of others the innermost waits, for it repeats least; those around it only see how it ends.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from metadata.errors import WorldFault
from metadata.files.os_errors import DISK_FULL
from metadata.logs import Event, Severity, alert, get_logger
from metadata.retry_policy import WORLD

log = get_logger()

P = ParamSpec("P")
R = TypeVar("R")

_FIRST_WAIT_SECONDS, _LONGEST_WAIT_SECONDS = WORLD.first_wait_seconds, WORLD.longest_wait_seconds


class Outage:
    """What is away now, as the threads of one process found it. `pause(seconds)` is False when the daemon drains."""

    def __init__(self, pause: Callable[[float], bool]) -> None:
        self.pause = pause
        self._lock = threading.Lock()
        self._waiting: dict[int, str] = {}  #: by thread: the code of what it waits for
        self._told: set[str] = set()

    def begins(self, fault: WorldFault) -> None:
        """This thread has to wait; an alert unless this outage is known."""
        with self._lock:
            self._waiting[threading.get_ident()] = fault.code
            is_new = fault.code not in self._told
            self._told.add(fault.code)
        if is_new:
            alert(Event.WORLD_AWAY, severity=Severity.ERROR, code=fault.code, error=fault.message)

    def ends(self) -> None:
        """This thread got an answer; a line when it was the last that waited."""
        with self._lock:
            waited = self._waiting.pop(threading.get_ident(), None)
            if waited is None or self._waiting:
                return
            codes = sorted(self._told)
            self._told.clear()
        log.info(Event.WORLD_BACK, codes=codes)

    def _forget(self) -> None:
        with self._lock:
            self._waiting.pop(threading.get_ident(), None)

    def others_find_disk_full(self) -> bool:
        """Whether another thread waits for room on a disk."""
        mine = threading.get_ident()
        with self._lock:
            return any(code == DISK_FULL for thread, code in self._waiting.items() if thread != mine)

    def wait_out(self, action: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """`action(*args, **kwargs)`; while the world is away, again and again.

        Raises its WorldFault, as given up, when the daemon drains meanwhile; one that was given up inside of `action`
        passes at once.
        """
        wait, waited = _FIRST_WAIT_SECONDS, False
        while True:
            try:
                done = action(*args, **kwargs)
            except WorldFault as fault:
                if fault.given_up:
                    raise
                self.begins(fault)
                waited = True
                if not self.pause(wait):
                    self._forget()
                    fault.given_up = True
                    raise
                wait = min(wait * 2, _LONGEST_WAIT_SECONDS)
            else:
                if waited:
                    self.ends()
                return done
