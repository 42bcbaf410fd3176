"""Signals and coincidences: SIGTERM in every step, two daemons, changes while a batch is in work, a clock set back."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from books import assert_app_books
from command import clean_environ, drop, events_file, wait_for
from conftest import make_settings
from dying import STEPS
from handclock import HandClock
from inprocess import InProcessRunner
from unsparked import TICKS, Unsparked, tick

from metadata.database.states import FlushReason
from metadata.settings import Settings
from watcher.app import App
from watcher.daemon.schedule import Due
from watcher.work.work import Work

TERMINATING = Path(__file__).parent / "terminating.py"
NAMES = [f"vehicles_events_2026011512000{number}.json" for number in range(3)]


def start(step: str, home: Path, **more: str) -> subprocess.Popen[str]:
    """The daemon on the folders of `home`."""
    return subprocess.Popen(
        [sys.executable, str(TERMINATING), step],
        cwd=home,
        env=clean_environ(PYTHONPATH=":".join(sys.path), CHUNK_MAX_FILES="1", **more),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def app(tmp_path: Path) -> Iterator[App]:
    """An initialised App on the folders on which the daemon works."""
    made = App(make_settings(tmp_path), runner=InProcessRunner())
    made.init()
    yield made
    made.database.close()


# -- SIGTERM ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "step",
    [step if step in ("decode", "commit") else pytest.param(step, marks=pytest.mark.soak) for step in STEPS],
)
def test_sigterm_in_a_step(app: App, tmp_path: Path, step: str) -> None:
    """The batch in hand is finished, exit 0; the rest stays claimed and loads after the next start."""
    for number, name in enumerate(NAMES):
        document = events_file(5, start=5 * number)
        document["vehicles_events"].append({"vehicle_id": "it has no time"})
        drop(app.settings.incoming_folder, name, document)
    daemon = start(step, tmp_path, FLUSH_MAX_FILES="3")
    _, log = daemon.communicate(timeout=60)
    assert daemon.returncode == 0, log
    assert '"daemon.stopped"' in log.splitlines()[-1]
    # How many follow the batch in hand is the main thread's speed in taking the signal; none is left half way.
    states = [file.state for file in app.ledger.files()]
    assert "loaded" in states
    assert set(states) <= {"claimed", "loaded"}
    assert app.ledger.unsettled_batches() == []
    work = Work(app, pause=lambda _seconds: False, draining=lambda: False)
    work.recover()
    work.flush(work.read_registry().active, FlushReason.REQUEST)
    assert_app_books(app, 15, key="vehicle_id", rejected=3)


def test_two_daemons_at_the_same_moment(app: App, tmp_path: Path) -> None:
    """One runs, the other refuses with 75 and touches nothing; the one that runs loads every row once."""
    daemons = [start("none", tmp_path, FLUSH_MAX_FILES="1") for _ in range(2)]
    try:
        wait_for(lambda: any(daemon.poll() is not None for daemon in daemons), "one to refuse", 30)
        (refused,) = [daemon for daemon in daemons if daemon.poll() is not None]
        (running,) = [daemon for daemon in daemons if daemon is not refused]
        assert refused.returncode == 75
        for number, name in enumerate(NAMES):
            drop(app.settings.incoming_folder, name, events_file(5, start=5 * number))
        wait_for(lambda: [file.state for file in app.ledger.files()] == ["loaded"] * 3, "the loads", 30)
        running.terminate()
        assert running.wait(60) == 0
    finally:
        for daemon in daemons:
            if daemon.poll() is None:
                daemon.kill()
            daemon.communicate()
    assert_app_books(app, 15, key="vehicle_id")


# -- coincidences -----------------------------------------------------------------------------------------------------


@pytest.fixture
def daemon(settings: Settings) -> Iterator[Unsparked]:
    """A daemon in a thread at 00:59:00 UTC."""
    made = Unsparked(settings, HandClock(datetime(2026, 1, 16, 0, 59, tzinfo=UTC)))
    made.app.registry.add(TICKS)
    yield made
    made.close()


def clock_of(daemon: Unsparked) -> HandClock:
    """Its clock, to be moved."""
    assert isinstance(daemon.app.clock, HandClock)
    return daemon.app.clock


def hold_a_batch(daemon: Unsparked, number: int, request: bool = True) -> str:
    """One tick is claimed and stands before its decoding; returns the flush's request id."""
    before = daemon.states()
    drop(daemon.incoming, tick(number), [{"n": number}])
    daemon.wait_for_states(**{**before, "claimed": before.get("claimed", 0) + 1})
    daemon.gate.close()
    return daemon.ask() if request else ""


def test_a_flush_during_the_hourly_flush(daemon: Unsparked) -> None:
    """Both are done, one after the other; what came in between is the request's; every file loads once."""
    hold_a_batch(daemon, 0, request=False)
    clock_of(daemon).set(datetime(2026, 1, 16, 1, 0, 1, tzinfo=UTC))
    assert daemon.gate.reached.wait(30)
    drop(daemon.incoming, tick(1), [{"n": 1}])
    daemon.wait_for_states(batched=1, claimed=1)
    request_id = daemon.ask()
    daemon.gate.open()
    answer = daemon.answer(request_id)
    assert [file["name"] for file in answer["files"]] == [tick(1)]
    assert [batch.reason for batch in daemon.app.ledger.batches()] == ["request", "hour"]
    assert daemon.numbers() == [0, 1]
    assert_app_books(daemon.app, 2, table="raw_data.ticks", key="n")


def test_a_type_disabled_in_mid_batch(daemon: Unsparked) -> None:
    """The batch is finished; files that come later are held, and flow when the type is active again."""
    request_id = hold_a_batch(daemon, 0)
    assert daemon.gate.reached.wait(30)
    daemon.app.registry.disable("ticks")
    drop(daemon.incoming, tick(1), [{"n": 1}])
    daemon.wait_for_states(batched=1, held=1)
    daemon.gate.open()
    assert daemon.answer(request_id)["batches"][0]["rows"] == 1
    assert daemon.states() == {"loaded": 1, "held": 1}
    daemon.app.registry.activate("ticks")
    daemon.flush()
    assert daemon.numbers() == [0, 1]
    assert_app_books(daemon.app, 2, table="raw_data.ticks", key="n")


def test_a_type_changed_in_mid_batch(daemon: Unsparked) -> None:
    """The batch is finished under the schema version that it was planned with; the next one has the new column."""
    request_id = hold_a_batch(daemon, 0)
    assert daemon.gate.reached.wait(30)
    fields = [{"name": "n", "type": "long"}, {"name": "speed", "type": "double"}]
    daemon.app.registry.update("ticks", {"schema_definition": {"fields": fields}})
    drop(daemon.incoming, tick(1), [{"n": 1, "speed": 2.5}])
    daemon.wait_for_states(batched=1, claimed=1)
    daemon.gate.open()
    daemon.answer(request_id)
    daemon.flush()
    assert [batch.schema_version for batch in daemon.app.ledger.batches()] == [2, 1]
    table = daemon.app.lake().table("raw_data.ticks")
    assert table is not None
    rows: list[dict[str, Any]] = table.scan().to_arrow().select(["n", "speed"]).to_pylist()
    assert sorted((row["n"], row["speed"]) for row in rows) == [(0, None), (1, 2.5)]
    assert_app_books(daemon.app, 2, table="raw_data.ticks", key="n")


# -- the clock --------------------------------------------------------------------------------------------------------


def test_the_clock_set_back_across_hour_and_summary(daemon: Unsparked) -> None:
    """01:00 strikes once: set back to 00:30 and come to 01:00 again, nothing is flushed or summarised a second time."""
    clock, ledger, scheduler = clock_of(daemon), daemon.app.ledger, daemon.service.due_work.scheduler
    one, day = datetime(2026, 1, 16, 1, tzinfo=UTC), datetime(2026, 1, 15, tzinfo=UTC).date()
    drop(daemon.incoming, NAMES[0], events_file(4))
    daemon.wait_for_states(claimed=1)
    clock.set(one + timedelta(seconds=1))
    wait_for(lambda: ledger.batches(), "the flush of the hour")
    built = wait_for(lambda: summaries(daemon), "the summary")
    struck = scheduler.last()

    clock.set(one - timedelta(minutes=30))
    drop(daemon.incoming, NAMES[1], events_file(4, start=4))
    daemon.wait_for_states(loaded=1, claimed=1)
    for moment in (one - timedelta(minutes=20), one - timedelta(seconds=1), one + timedelta(seconds=2)):
        clock.set(moment)
        scheduler.tick()
        assert (scheduler.last().hour, scheduler.last().summary) == (struck.hour, struck.summary)
    assert len(ledger.batches()) == 1

    clock.set(one + timedelta(hours=1, seconds=1))
    wait_for(lambda: len(ledger.batches()) == 2, "the flush of the next hour")
    daemon.wait_for_states(loaded=2)
    assert summaries(daemon) == built
    assert ledger.dirty_days("summary.daily_summary")[0][0] == day, "tomorrow's summary takes the late rows"
    clock.set(one + timedelta(days=1, seconds=1))
    wait_for(lambda: not ledger.dirty_days("summary.daily_summary"), "the next summary")
    assert summaries(daemon) == built + 1
    assert scheduler.last().summary != struck.summary
    assert {Due.HOUR, Due.SUMMARY} <= {Due(kind) for kind in daemon.app.marks.all() if kind in set(Due)}
    assert_app_books(daemon.app, 8, key="vehicle_id")


def summaries(daemon: Unsparked) -> int:
    """How many snapshots the summary table has; each summary makes one."""
    table = daemon.app.lake().table("summary.daily_summary")
    return 0 if table is None else len(table.metadata.snapshots)
