"""Batches that wait for another attempt: which comes next, and whose they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from handclock import HandClock

from metadata.database.states import FlushReason
from metadata.types.config import ProcessingConfig
from metadata.types.file_type import FileType, TypeStatus
from watcher.work.flush_report import FlushReport
from watcher.work.open_flushes import OpenFlush, PutAside


@dataclass(eq=False)
class Waits:
    """Stands for a batch in work."""

    wait_seconds: float
    kind: FileType


def kind(version: int = 1, name: str = "a") -> FileType:
    """An active type."""
    return FileType(name, f"raw_data.{name}", (name,), TypeStatus.ACTIVE, None, version, ProcessingConfig())


def flush(name: str) -> OpenFlush:
    """A flush that is not over."""
    return OpenFlush(FlushReport(name), FlushReason.HOUR, 0.0, lambda _report: None)


def put(aside: PutAside, seconds: float, whose: OpenFlush, version: int = 1) -> Any:
    """A batch of the type `a`; returns it."""
    work: Any = Waits(seconds, kind(version))
    aside.put(work, whose)
    return work


def test_the_first_that_is_due_comes_first(clock: HandClock) -> None:
    """Of those that are due at one moment, the one that was put first."""
    aside, whose = PutAside(clock), flush("f")
    assert aside.seconds_to_next() is None
    late, first, second = put(aside, 9, whose), put(aside, 2, whose), put(aside, 2, whose)
    assert aside.seconds_to_next() == 2
    clock.forward(5)
    assert aside.seconds_to_next() == 0
    assert [aside.take().work for _ in range(3)] == [first, second, late]


def test_a_dropped_flush_takes_its_own_batches_along(clock: HandClock) -> None:
    """Those of others stay, in their order."""
    aside, one, other = PutAside(clock), flush("one"), flush("other")
    put(aside, 1, one)
    stays = [put(aside, 3, other), put(aside, 2, other)]
    put(aside, 4, one)
    aside.drop(one)
    assert (aside.holds(one), aside.holds(other)) == (False, True)
    assert [aside.take().work for _ in range(2)] == stays[::-1]
    assert not aside.holds(other)


def test_another_version_of_the_same_type_is_told(clock: HandClock) -> None:
    """Neither the same version nor another type."""
    aside = PutAside(clock)
    put(aside, 1, flush("f"), version=2)
    assert aside.holds_other_version(kind(1))
    assert not aside.holds_other_version(kind(2))
    assert not aside.holds_other_version(kind(1, name="b"))
    aside.clear()
    assert not aside.holds_other_version(kind(1))
