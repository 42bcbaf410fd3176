"""The daemon's threads around the hour and the summary, with a clock moved by hand and an in-process runner."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import pytest
from command import drop, events_file, wait_for
from handclock import HandClock
from inprocess import InProcessRunner
from unsparked import Unsparked

from metadata.settings import Settings

T = TypeVar("T")
R = TypeVar("R")


class SlowSummaries(InProcessRunner):
    """Summaries wait until the test lets them go."""

    def __init__(self) -> None:
        super().__init__()
        self.go = threading.Event()
        self.summarising = threading.Event()

    def run(self, function: Callable[[T], R], tasks: Sequence[T], label: str) -> list[R]:
        """As in process, but the summary's thread waits first."""
        if threading.current_thread().name == "summary":
            self.summarising.set()
            assert self.go.wait(60)
        return super().run(function, tasks, label)


class ByHand(Unsparked):
    """A daemon whose time the test moves."""

    def __init__(self, settings: Settings, clock: HandClock, runner: InProcessRunner) -> None:
        self.clock = clock
        super().__init__(settings, clock, runner)

    def rows(self) -> int:
        """Rows that settled batches have loaded."""
        return sum(batch.expected_rows or 0 for batch in self.app.ledger.batches() if batch.state == "settled")

    def claimed(self, count: int) -> bool:
        """Whether so many files wait; the settling time passes meanwhile."""
        self.clock.forward(0.5)
        return len(self.app.ledger.waiting()) == count


@pytest.fixture
def slow() -> SlowSummaries:
    """A runner whose summaries the test lets go."""
    return SlowSummaries()


@pytest.fixture
def running(settings: Settings, slow: SlowSummaries) -> Iterator[ByHand]:
    """A daemon at 00:59:00 UTC on 2026-01-16."""
    made = ByHand(settings, HandClock(datetime(2026, 1, 16, 0, 59, tzinfo=UTC)), slow)
    yield made
    slow.go.set()
    made.close()


def incoming(running: ByHand) -> Path:
    """The daemon's incoming/."""
    return running.app.settings.incoming_folder


def test_at_one_the_flush_comes_first_and_a_long_summary_does_not_delay_the_next_hour(
    running: ByHand, slow: SlowSummaries
) -> None:
    """At 01:00 files are loaded, then summarised; while that summary runs, 02:00 loads the next files."""
    drop(incoming(running), "vehicles_events_20260115230000.json", events_file(10))
    wait_for(lambda: running.claimed(1), "the claim")
    assert running.rows() == 0, "before the hour nothing is flushed"

    running.clock.set(datetime(2026, 1, 16, 1, 0, 1, tzinfo=UTC))
    assert slow.summarising.wait(30), "the summary begins"
    assert running.rows() == 10, "the flush came first"
    assert running.app.ledger.batches()[0].reason == "hour"

    drop(incoming(running), "vehicles_events_20260116013000.json", events_file(5, start=10, day="2026-01-16"))
    wait_for(lambda: running.claimed(1), "the claim")
    running.clock.set(datetime(2026, 1, 16, 2, 0, 1, tzinfo=UTC))
    wait_for(lambda: running.rows() == 15, "the flush of 02:00 while the summary is still running")

    slow.go.set()
    day = datetime(2026, 1, 15, tzinfo=UTC).date()
    wait_for(
        lambda: running.app.ledger.dirty_days("summary.daily_summary", before=day.replace(day=16)) == [], "the day"
    )
    table = running.app.lake().table("summary.daily_summary")
    assert table is not None
    assert table.scan().to_arrow().num_rows == 10
    assert running.app.ledger.dirty_days("summary.daily_summary"), "today waits for tomorrow"


def test_an_old_file_is_flushed_by_age(settings_with: Callable[..., Settings], slow: SlowSummaries) -> None:
    """With FLUSH_MAX_AGE_SECONDS the oldest file's age flushes its type before the hour."""
    running = ByHand(settings_with(FLUSH_MAX_AGE_SECONDS="60"), HandClock(), slow)
    try:
        drop(incoming(running), "vehicles_events_20260115110000.json", events_file(3))
        wait_for(lambda: running.claimed(1), "the claim")
        running.clock.forward(61)
        wait_for(lambda: running.rows() == 3, "the flush by age")
        assert running.app.ledger.batches()[0].reason == "age"
    finally:
        running.close()


def test_the_threshold_of_a_type_wins_over_the_settings(settings: Settings, slow: SlowSummaries) -> None:
    """A type's own flush_max_files flushes it while others wait for the hour."""
    running = ByHand(settings, HandClock(), slow)
    try:
        running.app.registry.add(
            {
                "file_type": "quick",
                "schema_definition": {"fields": [{"name": "n", "type": "long"}], "primary_key": []},
                "processing_config": {"flush_max_files": 2},
            }
        )
        drop(incoming(running), "vehicles_events_20260115110000.json", events_file(3))
        drop(incoming(running), "quick_20260115110000.json", [{"n": 1}])
        wait_for(lambda: running.claimed(2), "both claims")
        drop(incoming(running), "quick_20260115110001.json", [{"n": 2}])
        wait_for(lambda: running.rows() == 2, "the flush by size")
        assert {batch.file_type for batch in running.app.ledger.batches()} == {"quick"}
        assert running.app.ledger.batches()[0].reason == "size"
    finally:
        running.close()


def test_a_table_that_left_the_catalog_is_not_made_again(running: ByHand) -> None:
    """A catalog without a table that the ledger has snapshots of stops the type; nothing is loaded into a new one."""
    drop(incoming(running), "vehicles_events_20260115230000.json", events_file(10))
    wait_for(lambda: running.claimed(1), "the claim")
    running.clock.set(datetime(2026, 1, 16, 1, 0, 1, tzinfo=UTC))
    wait_for(lambda: running.rows() == 10, "the first load")
    running.app.lake().catalog.drop_table("raw_data.vehicle_events")
    drop(incoming(running), "vehicles_events_20260116013000.json", events_file(5))
    wait_for(lambda: running.claimed(1), "the claim")
    running.clock.set(datetime(2026, 1, 16, 2, 0, 1, tzinfo=UTC))
    wait_for(lambda: "is not in the catalog" in str(running.app.registry.errors()), "the type's error")
    assert running.app.lake().table("raw_data.vehicle_events") is None
    assert running.rows() == 10
