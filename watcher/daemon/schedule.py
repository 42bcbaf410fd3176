"""When: the UTC hour, the rescan, and the time of the daily summary, SUMMARY_AT. What is then done, `due_work` does.

The `schedule` library gives the rhythm and nothing else. It makes up no missed run, drifts, works in local time (at
+05:30 its ":00" is not the UTC hour) and runs jobs one after another. So its only job is a short tick that asks what is
due, a pure function of the UTC clock and of what happened last, and hands that over without waiting for it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from enum import StrEnum

import schedule

from metadata.clock import Clock
from metadata.database.marks import Marks
from metadata.database.models import Mark
from metadata.logs import Event, Severity, alert, get_logger
from metadata.settings import Settings

TICK_SECONDS = 1
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)

log = get_logger()


class Due(StrEnum):
    """What may be due, in the order in which it is to be done; each value is also the name of its mark."""

    RESCAN = "rescan"  #: look at every folder again, for events may be lost
    HOUR = "hour"  #: a UTC hour struck: flush every buffer
    SUMMARY = "summary"  #: SUMMARY_AT has passed: build the days whose rows changed


@dataclass(frozen=True)
class Last:
    """What happened last."""

    hour: datetime | None = None  #: when the last hour was handed over; None: never, so nothing was missed
    summary: datetime | None = None  #: the same for the summary; None: never, so whatever is dirty waits for it
    rescan_age: float | None = None  #: seconds since the last rescan by the monotonic clock; None: never

    @classmethod
    def from_marks(cls, marks: Mapping[str, Mark], now: datetime) -> Last:
        """What another process's marks say, for a command that shows the times of a running daemon."""
        at = {name: mark.at for name, mark in marks.items()}
        rescan = at.get(Due.RESCAN)
        age = None if rescan is None else max(0.0, (now - rescan).total_seconds())
        return cls(hour=at.get(Due.HOUR), summary=at.get(Due.SUMMARY), rescan_age=age)


def due(now: datetime, last: Last, settings: Settings) -> list[Due]:
    """What is due at `now` (aware, any zone), in the order in which it is to be done.

    Missed hours are one hour, missed summaries one summary: both work through a list that the ledger keeps. A clock
    that was set back makes nothing due a second time. A mark more than a day ahead of the clock was set while the clock
    was wrong, and is not believed.
    """
    now = now.astimezone(UTC)
    things = []
    if last.rescan_age is None or last.rescan_age >= settings.rescan_seconds:
        things.append(Due.RESCAN)
    if last.hour is not None and (_hour(last.hour) < _hour(now) or last.hour > now + DAY):
        things.append(Due.HOUR)
    if last.summary is None or last.summary < _summary_moment(now, settings) or last.summary > now + DAY:
        things.append(Due.SUMMARY)
    return things


def next_times(now: datetime, last: Last, settings: Settings) -> dict[Due, datetime]:
    """When each is due next, in UTC; `now` for what is due already."""
    now = now.astimezone(UTC)
    times = {
        Due.RESCAN: now + timedelta(seconds=settings.rescan_seconds - (last.rescan_age or 0.0)),
        Due.HOUR: _hour(max(now, last.hour or now)) + HOUR,
        Due.SUMMARY: _summary_moment(max(now, last.summary or now), settings) + DAY,
    }
    return times | dict.fromkeys(due(now, last, settings), now)


def _hour(moment: datetime) -> datetime:
    """The UTC hour in which `moment` lies."""
    return moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def _summary_moment(now: datetime, settings: Settings) -> datetime:
    """The last SUMMARY_AT that is not after `now`."""
    moment = datetime.combine(now.astimezone(UTC).date(), time.fromisoformat(settings.summary_at), UTC)
    return moment if moment <= now else moment - DAY


class HandedOver:
    """What was handed over last, and what of it is done. Ticks are one thread's, `done` and `again` others'."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._handed: dict[Due, datetime | None] = {Due.HOUR: None, Due.SUMMARY: None}
        self._done: dict[Due, datetime | None] = {Due.HOUR: None, Due.SUMMARY: None}
        self._rescan_handed: float | None = None
        self._rescanning = False

    def resume(self, marks: Marks) -> None:
        """Go on from the marks of the last run."""
        with self._lock:
            for what in self._handed:
                self._handed[what] = self._done[what] = marks.get(what.value)

    def last(self, monotonic: float) -> Last:
        """What was handed over last, done or not."""
        with self._lock:
            age = None if self._rescan_handed is None else monotonic - self._rescan_handed
            return Last(self._handed[Due.HOUR], self._handed[Due.SUMMARY], age)

    def hand(self, what: Due, at: datetime, monotonic: float) -> bool:
        """It is handed over; False, and nothing is noted, for a rescan while one is under way."""
        with self._lock:
            if what is not Due.RESCAN:
                self._handed[what] = at
            elif self._rescanning:
                return False
            else:
                self._rescan_handed, self._rescanning = monotonic, True
            return True

    def done(self, what: Due, at: datetime) -> None:
        """What was handed over at `at` is done."""
        with self._lock:
            if what is Due.RESCAN:
                self._rescanning = False
            else:
                self._done[what] = at

    def again(self, what: Due) -> None:
        """What was handed over was not done."""
        with self._lock:
            if what is Due.RESCAN:
                self._rescanning, self._rescan_handed = False, None
            else:
                self._handed[what] = self._done[what]


class Scheduler:
    """The schedule loop, in a thread of its own.

    `hand_over(due, at)` is called from that thread and must only enqueue. Who did the work calls `done(due, at)` with
    the same `at`; only then is the mark set, so what a crash interrupts is due again at the next start. An hour or
    summary is handed over once, also while the one before is still in work: a long summary never delays the next hour.
    A rescan is not handed over while one is under way.
    """

    def __init__(
        self, clock: Clock, marks: Marks, settings: Settings, hand_over: Callable[[Due, datetime], None]
    ) -> None:
        self.clock = clock
        self.marks = marks
        self.settings = settings
        self.hand_over = hand_over
        self._handed = HandedOver()
        self._jobs = schedule.Scheduler()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Read the marks and start the thread. Raises WorldFault when the ledger does not answer."""
        self.resume()
        self._stop.clear()
        self._thread = threading.Thread(target=self._loop, name="scheduler", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread; what was handed over stays handed over. Harmless when it does not run."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def resume(self) -> None:
        """Go on from the marks of the last run. At the very first start no hour was missed: it is marked as struck."""
        if self.marks.get(Due.HOUR.value) is None:
            self.marks.set(Due.HOUR.value, self.clock.now())
        self._handed.resume(self.marks)

    def tick(self) -> None:
        """Hand over what is due now and was not handed over yet."""
        now = self.clock.now()
        for what in due(now, self.last(), self.settings):
            if not self._handed.hand(what, now, self.clock.monotonic()):  # before the call: it may be done at once
                continue
            try:
                self.hand_over(what, now)
            except BaseException:
                self.again(what)
                raise
            if what is Due.HOUR:
                log.info(Event.HOUR_STRUCK, hour=_hour(now).isoformat())

    def done(self, what: Due, at: datetime) -> None:
        """What was handed over at `at` is done: set its mark. Raises WorldFault when the ledger does not answer."""
        self._handed.done(what, at)
        self.marks.set(what.value, at)

    def again(self, what: Due) -> None:
        """What was handed over was not done: it is due again at the next tick. Call it when the cause is gone."""
        self._handed.again(what)

    def last(self) -> Last:
        """What was handed over last, done or not."""
        return self._handed.last(self.clock.monotonic())

    def run_pending(self) -> None:
        """One round of the `schedule` library: runs the tick when a second has passed since the last one.

        The library waits for a local time; when local time is set back (each autumn, or by hand) that lies up to an
        hour ahead, and would be an hour without ticks. Then the tick is scheduled anew.
        """
        idle = self._jobs.idle_seconds
        if idle is None or idle > TICK_SECONDS:
            self._jobs.clear()
            self._jobs.every(TICK_SECONDS).seconds.do(self._guarded_tick)
        self._jobs.run_pending()

    def _guarded_tick(self) -> None:
        try:
            self.tick()
        except Exception as error:  # an exception would leave run_pending and end the loop
            alert(
                Event.CRASH,
                severity=Severity.ERROR,
                code="schedule_tick",
                reason=f"handing over what is due: {error!r}; it is tried again each second",
            )

    def _loop(self) -> None:
        while not self._stop.is_set():
            self.run_pending()
            idle = self._jobs.idle_seconds
            self._stop.wait(TICK_SECONDS if idle is None else min(max(idle, 0.05), TICK_SECONDS))
