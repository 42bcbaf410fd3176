from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import schedule
from handclock import HandClock

from metadata.clock import SystemClock
from metadata.database.engine import Database
from metadata.database.marks import Marks
from metadata.database.models import Base
from metadata.settings import Settings
from watcher.daemon import schedule as module
from watcher.daemon.schedule import Due, Last, Scheduler, due, next_times

SETTINGS = Settings.load({}, None)
NOW = datetime(2026, 1, 15, 13, 20, tzinfo=UTC)
RESCANNED = 1.0  # a rescan age at which no rescan is due


class Service:
    """Takes what is handed over; does it when the test says so."""

    def __init__(self) -> None:
        self.got: list[tuple[Due, datetime]] = []

    def __call__(self, kind: Due, at: datetime) -> None:
        """Enqueue, and nothing else."""
        self.got.append((kind, at))

    def take(self, *, rescans: bool = False) -> list[Due]:
        """What was handed over since the last look."""
        got, self.got = [kind for kind, _ in self.got], []
        return got if rescans else [kind for kind in got if kind is not Due.RESCAN]


@pytest.fixture
def marks(tmp_path: Path) -> Iterator[Marks]:
    """Marks in a database of their own."""
    database = Database(f"sqlite:///{tmp_path}/metadata.db")
    Base.metadata.create_all(database.engine)
    yield Marks(database)
    database.close()


@pytest.fixture
def clock() -> HandClock:
    """A clock at 13:20 UTC."""
    return HandClock(NOW)


@pytest.fixture
def service() -> Service:
    """Takes what is handed over."""
    return Service()


@pytest.fixture
def scheduler(clock: HandClock, marks: Marks, service: Service) -> Scheduler:
    """A scheduler that had its hour and its summary today."""
    marks.set("hour", NOW)
    marks.set("summary", NOW.replace(hour=1))
    made = Scheduler(clock, marks, SETTINGS, service)
    made.resume()
    made.tick()  # the first rescan
    service.take()
    made.done(Due.RESCAN, clock.now())
    return made


@pytest.fixture
def zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Set this process's local time zone."""

    def use(name: str) -> None:
        monkeypatch.setenv("TZ", name)
        time.tzset()

    yield use
    monkeypatch.undo()
    time.tzset()


def utc(text: str) -> datetime:
    """A moment in UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def done_at(text: str) -> Last:
    """Hour, summary and rescan all happened at `text`."""
    return Last(hour=utc(text), summary=utc(text), rescan_age=RESCANNED)


def handed(last: Last, start: datetime, end: datetime, step: timedelta) -> list[tuple[Due, datetime]]:
    """What a perfect service is handed between two moments, looking every `step`."""
    found = []
    now = start
    while now <= end:
        for kind in due(now, last, SETTINGS):
            found.append((kind, now))
            last = Last(
                hour=now if kind is Due.HOUR else last.hour,
                summary=now if kind is Due.SUMMARY else last.summary,
                rescan_age=RESCANNED,
            )
        now += step
    return found


# -- what is due ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("last", "now", "expected"),
    [
        ("2026-01-15T13:00:00", "2026-01-15T13:59:59.999999", []),
        ("2026-01-15T13:00:00", "2026-01-15T14:00:00", [Due.HOUR]),
        ("2026-01-15T13:59:59", "2026-01-15T14:00:01", [Due.HOUR]),
        ("2026-01-15T00:00:01", "2026-01-15T00:59:59", []),
        ("2026-01-15T00:00:01", "2026-01-15T01:00:00", [Due.HOUR, Due.SUMMARY]),
        ("2026-01-15T01:00:00", "2026-01-15T01:30:00", []),
        ("2026-12-31T23:30:00", "2027-01-01T00:00:00", [Due.HOUR]),
    ],
)
def test_due_at_the_utc_hour_and_the_summary_time(last: str, now: str, expected: list[Due]) -> None:
    """The hour is due once the UTC hour is another one, the summary from SUMMARY_AT on; at 01:00 in this order."""
    assert due(utc(now), done_at(last), SETTINGS) == expected


def test_missed_hours_and_days_fold_into_one() -> None:
    """After three days without a daemon one hour and one summary are due, not seventy-two and three."""
    found = handed(
        done_at("2026-01-12T05:30:00"), utc("2026-01-15T13:20:00"), utc("2026-01-15T13:59:00"), timedelta(minutes=1)
    )

    assert [kind for kind, _ in found] == [Due.HOUR, Due.SUMMARY]


def test_a_missed_summary_is_due_at_the_next_look() -> None:
    """A daemon that was down at 01:00 and comes back at 09:00 builds the summary then, not tomorrow."""
    assert Due.SUMMARY in due(utc("2026-01-15T09:00:00"), done_at("2026-01-14T23:00:00"), SETTINGS)


def test_a_summary_time_with_minutes() -> None:
    """SUMMARY_AT=23:45 is due at 23:45 and not at the hour."""
    settings = Settings.load({"SUMMARY_AT": "23:45"}, None)

    assert due(utc("2026-01-15T23:44:59"), done_at("2026-01-15T23:00:00"), settings) == []
    assert due(utc("2026-01-15T23:45:00"), done_at("2026-01-15T23:00:00"), settings) == [Due.SUMMARY]
    assert due(utc("2026-01-16T00:00:00"), done_at("2026-01-15T23:45:00"), settings) == [Due.HOUR]


@pytest.mark.parametrize("back", [timedelta(minutes=1), timedelta(minutes=40), timedelta(hours=1), timedelta(hours=23)])
def test_a_clock_set_back_makes_nothing_due_twice(back: timedelta) -> None:
    """After 01:00 was done and the clock was set back, the next things due are of 02:00 and of the next day."""
    struck = utc("2026-01-15T01:00:00")
    found = handed(done_at("2026-01-15T01:00:00"), struck - back, utc("2026-01-16T01:09:00"), timedelta(minutes=10))

    kind, at = found[0]
    assert (kind, at.replace(minute=0)) == (Due.HOUR, utc("2026-01-15T02:00:00"))
    assert [at.replace(minute=0) for kind, at in found if kind is Due.SUMMARY] == [utc("2026-01-16T01:00:00")]


def test_marks_of_a_clock_that_was_years_ahead_are_not_believed() -> None:
    """A clock that once said 2036 does not switch off the flushes of ten years."""
    assert due(NOW, done_at("2036-01-01T00:00:00"), SETTINGS) == [Due.HOUR, Due.SUMMARY]


@pytest.mark.parametrize("age, expected", [(None, [Due.RESCAN]), (59.9, []), (60.0, [Due.RESCAN]), (1e6, [Due.RESCAN])])
def test_rescan_counts_seconds_that_passed(age: float | None, expected: list[Due]) -> None:
    """The rescan is due RESCAN_SECONDS after the last one, by a clock that nobody sets."""
    assert due(NOW, Last(hour=NOW, summary=NOW, rescan_age=age), SETTINGS) == expected


@pytest.mark.parametrize("name", ["UTC", "Asia/Kolkata", "America/St_Johns", "Pacific/Kiritimati"])
def test_the_hour_is_utc_whatever_local_time_is(zone: Callable[[str], None], name: str) -> None:
    """Where local time is half an hour off, 13:30 UTC (19:00 in Kolkata) is no hour and 14:00 UTC is one."""
    zone(name)
    local = datetime(2026, 1, 15, 13, 30, tzinfo=UTC).astimezone()

    assert due(local, done_at("2026-01-15T13:00:00"), SETTINGS) == []
    assert due(local + timedelta(minutes=30), done_at("2026-01-15T13:00:00"), SETTINGS) == [Due.HOUR]
    assert due(utc("2026-01-15T01:00:00").astimezone(), done_at("2026-01-15T00:30:00"), SETTINGS) == [
        Due.HOUR,
        Due.SUMMARY,
    ]


@pytest.mark.parametrize("day", ["2026-03-29", "2026-10-25"])
def test_a_daylight_saving_day_has_24_hours_and_one_summary(zone: Callable[[str], None], day: str) -> None:
    """The day that Berlin makes an hour shorter or longer has 24 UTC hours and one summary, at 01:00 UTC."""
    zone("Europe/Berlin")
    start = utc(f"{day}T00:00:00")
    last = Last(hour=start - timedelta(hours=1), summary=start - timedelta(hours=23), rescan_age=RESCANNED)
    found = handed(last, start, start + timedelta(hours=23, minutes=59), timedelta(minutes=1))

    assert [at for kind, at in found if kind is Due.HOUR] == [start + timedelta(hours=n) for n in range(24)]
    assert [at for kind, at in found if kind is Due.SUMMARY] == [start + timedelta(hours=1)]


def test_next_times() -> None:
    """Status shows the next full hour, the next 01:00, the rest of the minute; and "now" for what is due."""
    assert next_times(NOW, Last(hour=NOW, summary=NOW, rescan_age=20.0), SETTINGS) == {
        Due.RESCAN: NOW + timedelta(seconds=40),
        Due.HOUR: utc("2026-01-15T14:00:00"),
        Due.SUMMARY: utc("2026-01-16T01:00:00"),
    }
    assert next_times(NOW, Last(hour=NOW - timedelta(hours=2)), SETTINGS) == dict.fromkeys(Due, NOW)
    back = next_times(utc("2026-01-15T00:30:00"), done_at("2026-01-15T01:00:00"), SETTINGS)
    assert (back[Due.HOUR], back[Due.SUMMARY]) == (utc("2026-01-15T02:00:00"), utc("2026-01-16T01:00:00"))


def test_last_from_marks(marks: Marks) -> None:
    """A command learns from the marks what the daemon's scheduler did last."""
    assert Last.from_marks(marks.all(), NOW) == Last()
    marks.set("hour", NOW - timedelta(minutes=20))
    marks.set("rescan", NOW - timedelta(seconds=15))

    assert Last.from_marks(marks.all(), NOW) == Last(hour=NOW - timedelta(minutes=20), rescan_age=15.0)


# -- handing over -----------------------------------------------------------------------------------------------------


def test_each_thing_is_handed_over_once(scheduler: Scheduler, service: Service, clock: HandClock) -> None:
    """A day of ticks hands over 24 hours and one summary, the summary after the hour of the same moment."""
    clock.set(utc("2026-01-15T23:59:00"))
    scheduler.tick()
    service.take()
    got = []
    for _ in range(24 * 60):
        clock.forward(60)
        scheduler.tick()
        scheduler.tick()
        got += [(kind, clock.now().hour) for kind in service.take()]

    assert got == sorted([*((Due.HOUR, hour) for hour in range(24)), (Due.SUMMARY, 1)], key=lambda item: item[1])


def test_the_first_start_ever_misses_no_hour(clock: HandClock, marks: Marks, service: Service) -> None:
    """A fresh installation flushes at the next hour, not at once; the summary looks for dirty days at once."""
    first = Scheduler(clock, marks, SETTINGS, service)
    first.resume()
    first.tick()

    assert service.take() == [Due.SUMMARY]
    assert marks.get("hour") == NOW
    clock.forward(40 * 60)
    first.tick()
    assert service.take() == [Due.HOUR]


def test_a_restart_after_missed_hours_and_days(clock: HandClock, marks: Marks, service: Service) -> None:
    """A daemon that was away for days hands over one hour, then one summary, at its first tick."""
    marks.set("hour", NOW - timedelta(days=3))
    marks.set("summary", NOW - timedelta(days=3))
    back = Scheduler(clock, marks, SETTINGS, service)
    back.resume()
    back.tick()
    back.tick()

    assert service.take() == [Due.HOUR, Due.SUMMARY]


def test_what_a_crash_interrupted_is_due_again(
    scheduler: Scheduler, clock: HandClock, marks: Marks, service: Service
) -> None:
    """The mark is set when the work is done: handed over but not done is due at the next start, done is not."""
    clock.set(utc("2026-01-16T01:00:00"))
    scheduler.tick()
    (_, hour_at), _ = [(kind, at) for kind, at in service.got if kind is not Due.RESCAN]
    service.take()
    scheduler.done(Due.HOUR, hour_at)

    after_the_crash = Scheduler(clock, marks, SETTINGS, service)
    after_the_crash.resume()
    after_the_crash.tick()
    assert service.take() == [Due.SUMMARY]


def test_a_long_summary_does_not_delay_the_next_hour(scheduler: Scheduler, service: Service, clock: HandClock) -> None:
    """While the summary of 01:00 is still in work, 02:00 and 03:00 are handed over on time."""
    clock.set(utc("2026-01-16T01:00:00"))
    scheduler.tick()
    assert service.take() == [Due.HOUR, Due.SUMMARY]

    for _ in range(2):
        clock.forward(3600)
        scheduler.tick()
        assert service.take() == [Due.HOUR]


def test_an_hour_that_took_longer_than_an_hour_hides_no_other(
    scheduler: Scheduler, service: Service, clock: HandClock, marks: Marks
) -> None:
    """The mark says which hour was done, not when: 14:00 done at 15:10 leaves 15:00 due after a crash."""
    clock.set(utc("2026-01-15T14:00:00"))
    scheduler.tick()
    at = service.got[-1][1]
    clock.forward(70 * 60)
    scheduler.done(Due.HOUR, at)

    assert due(clock.now(), Last.from_marks(marks.all(), clock.now()), SETTINGS)[-1] is Due.HOUR


def test_rescans_do_not_pile_up(scheduler: Scheduler, service: Service, clock: HandClock) -> None:
    """While a rescan is under way no other is handed over; afterwards the next follows."""
    clock.forward(60)
    scheduler.tick()
    clock.forward(600)
    scheduler.tick()
    assert service.take(rescans=True) == [Due.RESCAN]

    scheduler.done(Due.RESCAN, clock.now())
    scheduler.tick()
    assert service.take(rescans=True) == [Due.RESCAN]


def test_rescans_go_on_when_the_clock_is_set_back(scheduler: Scheduler, service: Service, clock: HandClock) -> None:
    """Setting the wall clock back a year neither stops nor hurries the rescans."""
    clock.set(NOW - timedelta(days=365))
    scheduler.tick()
    assert Due.RESCAN not in service.take(rescans=True)
    clock.forward(60)
    scheduler.tick()
    assert Due.RESCAN in service.take(rescans=True)


@pytest.mark.parametrize("kind", list(Due))
def test_what_could_not_be_done_is_handed_over_again(
    scheduler: Scheduler, service: Service, clock: HandClock, kind: Due
) -> None:
    """After `again` the same thing is due at the next tick, and nothing else is."""
    clock.set(utc("2026-01-16T01:00:00"))
    clock.forward(60)
    scheduler.tick()
    service.take()
    scheduler.again(kind)
    scheduler.tick()

    assert service.take(rescans=True) == [kind]


def test_work_that_is_done_before_hand_over_returns(clock: HandClock, marks: Marks) -> None:
    """A service that is done at once does not leave the scheduler waiting for a rescan that is over."""
    got = []

    def at_once(kind: Due, at: datetime) -> None:
        got.append(kind)
        made.done(kind, at)

    made = Scheduler(clock, marks, SETTINGS, at_once)
    made.resume()
    made.tick()
    clock.forward(60)
    made.tick()

    assert got == [Due.RESCAN, Due.SUMMARY, Due.RESCAN]
    assert marks.get("rescan") == clock.now()


# -- the schedule library ---------------------------------------------------------------------------------------------


class LocalTime:
    """Stands for the datetime module inside `schedule`, which asks it for local time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, clock: HandClock) -> None:
        class Local(datetime):
            @classmethod
            def now(cls, tz: Any = None) -> datetime:  # type: ignore[override] # a clock by hand
                return clock.now().astimezone().replace(tzinfo=None)

        monkeypatch.setattr(schedule, "datetime", SimpleNamespace(datetime=Local, timedelta=timedelta))


@pytest.mark.parametrize("day", ["2026-03-29", "2026-10-25"])
def test_ticks_go_on_when_local_time_jumps(
    scheduler: Scheduler,
    service: Service,
    clock: HandClock,
    zone: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
    day: str,
) -> None:
    """At 01:00 UTC, when Berlin's clocks jump, hour and summary come within two seconds, and so does each rescan."""
    zone("Europe/Berlin")
    LocalTime(monkeypatch, clock)
    clock.set(utc(f"{day}T00:59:00"))
    scheduler.run_pending()
    got: list[tuple[Due, datetime]] = []
    for _ in range(200):
        clock.forward(1)
        scheduler.run_pending()
        for kind, at in service.got:
            got.append((kind, at))
            scheduler.done(kind, at)
        service.got.clear()

    struck = utc(f"{day}T01:00:00")
    assert [kind for kind, at in got if struck <= at <= struck + timedelta(seconds=2)][-2:] == [Due.HOUR, Due.SUMMARY]
    assert [kind for kind, _ in got].count(Due.RESCAN) == 3


def test_an_exception_does_not_end_the_loop(
    clock: HandClock, marks: Marks, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A tick that fails is an alert, and the next tick hands the same thing over again."""
    alerts: list[dict[str, Any]] = []
    monkeypatch.setattr(module, "alert", lambda event, **facts: alerts.append(facts))
    LocalTime(monkeypatch, clock)
    calls = []

    def fails_once(kind: Due, at: datetime) -> None:
        calls.append(kind)
        if len(calls) == 1:
            raise RuntimeError("queue is gone")

    made = Scheduler(clock, marks, SETTINGS, fails_once)
    made.resume()
    for _ in range(3):
        made.run_pending()
        clock.forward(1)

    assert calls == [Due.RESCAN, Due.RESCAN, Due.SUMMARY]
    assert [facts["code"] for facts in alerts] == ["schedule_tick"]


def test_the_thread_hands_over_and_stops(marks: Marks) -> None:
    """The real thread with the real library and clock hands over within its first ticks, and ends when told to."""
    arrived = threading.Event()
    names: list[str] = []

    def hand_over(kind: Due, _at: datetime) -> None:
        names.append(threading.current_thread().name)
        arrived.set()

    made = Scheduler(SystemClock(), marks, SETTINGS, hand_over)
    made.start()
    assert arrived.wait(30)
    made.stop()
    made.stop()

    assert set(names) == {"scheduler"}
    assert "scheduler" not in {thread.name for thread in threading.enumerate()}
