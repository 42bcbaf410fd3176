"""A thread of jobs: their order, what it waits for, what ends the daemon."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from metadata.errors import Busy, ConfigurationError, Fatal, LemonadeError, UsageError, WorldFault
from metadata.outage import Outage
from watcher.daemon.flags import Flags
from watcher.daemon.job_thread import JobThread
from watcher.daemon.jobs import Call


class Done:
    """What jobs have done; `fails` maps a job to the errors that it raises first."""

    def __init__(self) -> None:
        self.jobs: list[str] = []
        self.fails: dict[str, list[Exception]] = {}

    def do(self, job: str) -> None:
        """Do it, or fail."""
        if self.fails.get(job):
            raise self.fails[job].pop(0)
        self.jobs.append(job)


@pytest.fixture
def flags() -> Flags:
    """Nothing is set."""
    return Flags()


@pytest.fixture
def done() -> Done:
    """Nothing is done."""
    return Done()


def run(flags: Flags, done: Done, *jobs: str, pause: Callable[[float], bool] = lambda _seconds: True) -> list[str]:
    """These jobs, to their end; what was done."""
    thread = JobThread("batches", flags, Outage(pause))
    for job in jobs:
        thread.put(Call(done.do, job))
    thread.finish()
    thread.start()
    thread.join(30)
    return done.jobs


def test_jobs_are_done_in_their_order(flags: Flags, done: Done) -> None:
    """One after another."""
    assert run(flags, done, "a", "b", "c") == ["a", "b", "c"]
    assert not flags.draining.is_set()


def test_while_the_world_is_away_the_job_waits(flags: Flags, done: Done) -> None:
    """It is done again, and those after it wait with it."""
    done.fails["a"] = [WorldFault("away", code="disk_full"), WorldFault("away", code="disk_full")]
    assert run(flags, done, "a", "b") == ["a", "b"]


def test_a_job_that_waits_is_given_up_when_the_daemon_drains(flags: Flags, done: Done) -> None:
    """What comes after it is not begun."""

    def pause(_seconds: float) -> bool:
        flags.stop()
        return False

    done.fails["a"] = [WorldFault("away")]
    assert run(flags, done, "a", "b", pause=pause) == []
    assert not flags.fatal.is_set()


def test_nothing_is_begun_while_it_drains(flags: Flags, done: Done) -> None:
    """What waits is left for the next start."""
    flags.stop()
    assert run(flags, done, "a") == []


@pytest.mark.parametrize(
    "error", [Fatal("doubled"), ConfigurationError("starting", ["no Java"]), ZeroDivisionError("a bug")]
)
def test_what_may_lose_data_ends_the_daemon(flags: Flags, done: Done, error: Exception) -> None:
    """A bug too: nothing after it is done, and the exit code will say so."""
    done.fails["a"] = [error]
    assert run(flags, done, "a", "b") == []
    assert flags.fatal.is_set()
    assert flags.wake.is_set()


@pytest.mark.parametrize("error", [UsageError("no such type"), Busy("later")])
def test_other_errors_end_their_job_alone(
    flags: Flags, done: Done, error: LemonadeError, caplog: pytest.LogCaptureFixture
) -> None:
    """An alert, and the next job."""
    done.fails["a"] = [error]
    assert run(flags, done, "a", "b") == ["b"]
    (told,) = [record.msg for record in caplog.records if isinstance(record.msg, dict)]
    assert (told["event"], told["alert"], told["code"]) == ("crash", True, error.code)


def test_a_thread_that_was_not_started_is_not_waited_for(flags: Flags) -> None:
    """As when the daemon ends before it has begun."""
    JobThread("batches", flags, Outage(flags.pause)).join(0)
