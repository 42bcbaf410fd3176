"""While the world is away: disk, catalog, ledger or network do not answer, or there is no room. Wait, tell once, go on.

Several threads may meet the same outage; it is one alert when the first of them stops and one line when the last goes
on. Nothing here counts attempts: an outage is nobody's fault.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, cast

from metadata.errors import WorldFault
from metadata.files.os_errors import DISK_FULL
from metadata.logs import Event, Severity, alert, get_logger
from metadata.retry_policy import WORLD

log = get_logger()

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T", bound=object)

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

        Raises its WorldFault when the daemon drains meanwhile.
        """
        wait = _FIRST_WAIT_SECONDS
        while True:
            try:
                done = action(*args, **kwargs)
            except WorldFault as fault:
                self.begins(fault)
                if not self.pause(wait):
                    self._forget()
                    raise
                wait = min(wait * 2, _LONGEST_WAIT_SECONDS)
            else:
                self.ends()
                return done

    def patient(self, thing: T) -> T:
        """`thing`, but every call of its methods waits an outage out. For one whose calls are transactions."""
        return cast("T", _Patient(thing, self))


class _Patient:
    """See `Outage.patient`."""

    def __init__(self, thing: object, outage: Outage) -> None:
        self._thing = thing
        self._outage = outage

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._thing, name)
        if not callable(found):
            return found
        return lambda *args, **kwargs: self._outage.wait_out(lambda: found(*args, **kwargs))
