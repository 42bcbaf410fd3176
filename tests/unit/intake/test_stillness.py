"""Judging what lies in incoming/: whole or not, ours or not."""

from __future__ import annotations

import stat
from datetime import UTC, datetime

import pytest

from watcher.intake.stillness import Decision, Noticed, Sight, Tracker, Verdict, judge

NAME = "vehicle_events_20260115120000.json"
NOON = datetime(2026, 1, 15, 12, tzinfo=UTC)


def sight(
    name: str = NAME, *, mode: int = stat.S_IFREG | 0o644, size: int = 10, mtime_ns: int = 0, inode: int = 1
) -> Sight:
    """One look at an entry."""
    return Sight(name, mode, size, mtime_ns, (1, inode))


def decide(seen: Sight, *, after: float = 0.0, closed: bool = False) -> Decision:
    """The decision on an entry that has looked like this for `after` seconds; it settles for 2, 100 bytes at most."""
    return judge(Noticed(seen, 50.0, "scan", NOON), 50.0 + after, closed=closed, settle_seconds=2, max_file_bytes=100)


def test_a_file_is_whole_when_it_holds_still() -> None:
    """Before SETTLE_SECONDS it waits for the rest of them, then it is taken."""
    assert decide(sight(), after=0.5) == Decision(Verdict.WAIT, wait_seconds=1.5)
    assert decide(sight(), after=2).verdict is Verdict.TAKE


def test_its_own_close_ends_the_wait() -> None:
    """A close or move-in makes a file whole at once."""
    decision = decide(sight(), closed=True)
    assert decision.verdict is Verdict.TAKE
    assert decision.data_file is not None
    assert decision.data_file.prefix == "vehicle_events"


@pytest.mark.parametrize("seen", [sight(size=0), sight("upload-7")])
def test_a_close_does_not_end_the_wait_of_half_a_thing(seen: Sight) -> None:
    """An empty file may be written next, a file of another name renamed next."""
    assert decide(seen, closed=True).verdict is Verdict.WAIT
    assert decide(seen, after=2).verdict is Verdict.REFUSE


@pytest.mark.parametrize(
    ("seen", "code"),
    [
        (sight(size=0), "empty"),
        (sight("upload-7"), "bad_name"),
        (sight(size=101), "too_large"),
        (sight("x", size=0), "bad_name"),
    ],
)
def test_whole_files_that_are_refused(seen: Sight, code: str) -> None:
    """Each with its code; exactly the limit is not too large."""
    decision = decide(seen, after=2)
    assert decision.refusal is not None
    assert decision.refusal.code == code
    assert decide(sight(size=100), after=2).verdict is Verdict.TAKE


def test_a_file_that_is_too_large_is_refused_only_when_it_is_whole() -> None:
    """Its producer may still hold it open."""
    assert decide(sight(size=101)).verdict is Verdict.WAIT
    assert decide(sight(size=101), closed=True).verdict is Verdict.REFUSE


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFSOCK, stat.S_IFCHR, stat.S_IFBLK])
def test_what_is_no_regular_file_is_refused_at_once(kind: int) -> None:
    """There is nothing to wait for."""
    decision = decide(sight(mode=kind | 0o777))
    assert decision.verdict is Verdict.REFUSE
    assert decision.refusal is not None
    assert decision.refusal.code == "not_a_regular_file"


@pytest.mark.parametrize("kind", [stat.S_IFREG, stat.S_IFLNK, stat.S_IFIFO, stat.S_IFDIR])
def test_temporary_names_are_left_alone(kind: int) -> None:
    """Whatever is behind them, for however long."""
    assert decide(sight(".x.json", mode=kind), after=99, closed=True).verdict is Verdict.LEAVE


def test_folders_are_left_alone() -> None:
    """Also with the name of a data file."""
    assert decide(sight(mode=stat.S_IFDIR | 0o755), after=99, closed=True).verdict is Verdict.IGNORE


@pytest.mark.parametrize("other", [sight(size=11), sight(mtime_ns=1), sight(inode=2), sight(mtime_ns=-(10**15))])
def test_a_change_begins_the_wait_anew(other: Sight) -> None:
    """Size, mtime (in any direction) or another file of the same name; how it was noticed stays."""
    tracker = Tracker()
    tracker.look(NAME, sight(), 1.0, by="event", at=NOON, touched=False)
    assert tracker.look(NAME, sight(), 2.0, by="scan", at=NOON, touched=False).since == 1.0
    assert tracker.look(NAME, other, 3.0, by="scan", at=NOON, touched=False) == Noticed(other, 3.0, "event", NOON)


def test_an_event_of_a_write_begins_the_wait_anew() -> None:
    """Even when size and mtime look the same: a clock's tick may be longer than a write."""
    tracker = Tracker()
    tracker.look(NAME, sight(), 1.0, by="event", at=NOON, touched=False)
    assert tracker.look(NAME, sight(), 2.0, by="event", at=NOON, touched=True).since == 2.0


def test_what_is_gone_is_forgotten() -> None:
    """A file that comes back is new."""
    tracker = Tracker()
    tracker.look(NAME, sight(), 1.0, by="event", at=NOON, touched=False)
    tracker.keep([])
    assert tracker.look(NAME, sight(), 5.0, by="scan", at=NOON, touched=False) == Noticed(sight(), 5.0, "scan", NOON)


@pytest.mark.parametrize("mtime_ns", [10**30, -(10**30)])
def test_an_impossible_mtime_is_cut(mtime_ns: int) -> None:
    """Whoever dropped the file may have set it to anything."""
    assert sight(mtime_ns=mtime_ns).modified_at.year in (1, 9999)
