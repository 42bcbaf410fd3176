"""The observer on real folders and the system's real events."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from watchdog.events import FileClosedEvent, FileModifiedEvent
from watchdog.observers.api import BaseObserver

from watcher.intake.nominations import Nominations, Nominees
from watcher.intake.observer import Observer, Watching, system_observer

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="these are the events of Linux")

NAME = "vehicle_events_20260115120000.json"


class Watched:
    """An observer, and what it has said so far."""

    def __init__(self, folder: Path, make_system_observer: Callable[[], BaseObserver] = system_observer) -> None:
        self.incoming = folder / "incoming"
        self.incoming.mkdir()
        self.aside = folder / "aside"
        self.aside.mkdir()
        self.wake_file = folder / "state" / "wake"
        self.wake_file.parent.mkdir()
        self.woken = threading.Event()
        self.observer = Observer(
            self.incoming, self.wake_file, self.woken.set, make_system_observer=make_system_observer
        )
        self.closed: set[str] = set()
        self.changed: set[str] = set()
        self.overflowed = False

    def gather(self) -> None:
        """What was nominated since the last time; the latest word on a name counts."""
        taken = self.observer.take()
        self.closed = (self.closed - taken.changed) | taken.closed
        self.changed = (self.changed - taken.closed) | taken.changed
        self.overflowed |= taken.overflowed

    def until(self, condition: Callable[[], bool], seconds: float = 20) -> None:
        """Wait for a condition on what was nominated, taking nominations meanwhile."""

        def gathered() -> bool:
            self.gather()
            return condition()

        self.wait_for(gathered, seconds)

    def wait_for(self, condition: Callable[[], bool], seconds: float = 20) -> None:
        """Wait for a condition."""
        deadline = time.monotonic() + seconds
        while True:
            if condition():
                return
            if time.monotonic() > deadline:
                pytest.fail(f"not seen; closed {self.closed}, changed {self.changed}")
            self.woken.wait(0.05)
            self.woken.clear()

    def until_seen(self) -> None:
        """Wait until everything that was done before has been told: events come in their order."""
        marker = f"marker_{time.monotonic_ns()}"
        (self.incoming / marker).write_bytes(b"x")
        self.until(lambda: marker in self.closed)
        self.closed.discard(marker)


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    """A started observer."""
    made = Watched(tmp_path)
    assert made.observer.start() == Watching("events")
    yield made
    made.observer.stop()


def test_a_written_file_is_nominated_when_it_is_closed(watched: Watched) -> None:
    """Changed while it is open, which wakes nobody; closed afterwards, which does."""
    with (watched.incoming / NAME).open("wb") as stream:
        stream.write(b"[")
        stream.flush()
        watched.until(lambda: watched.changed == {NAME})
        assert not watched.closed
        assert not watched.woken.is_set()
        stream.write(b"]")
    assert watched.woken.wait(20)
    watched.until(lambda: watched.closed == {NAME})
    assert not watched.changed


def test_a_file_moved_in_is_whole(watched: Watched) -> None:
    """From outside, from a temporary name inside, and over another file."""
    (watched.aside / NAME).write_bytes(b"[]")
    (watched.aside / NAME).rename(watched.incoming / NAME)
    watched.until(lambda: NAME in watched.closed)
    (watched.incoming / ".b.tmp").write_bytes(b"[]")
    (watched.incoming / ".b.tmp").rename(watched.incoming / "b.json")
    watched.until(lambda: "b.json" in watched.closed)
    watched.closed.clear()
    (watched.aside / "c").write_bytes(b"[]")
    (watched.aside / "c").replace(watched.incoming / NAME)
    watched.until(lambda: NAME in watched.closed)


def test_a_hard_link_does_not_say_that_it_is_whole(watched: Watched) -> None:
    """Somebody may still be writing through the other name."""
    (watched.aside / "a").write_bytes(b"[]")
    os.link(watched.aside / "a", watched.incoming / NAME)
    watched.until_seen()
    assert NAME in watched.changed
    assert NAME not in watched.closed


def test_a_write_after_the_close_takes_it_back(watched: Watched) -> None:
    """The latest word counts, also when both come between two looks."""
    path, after = watched.incoming / NAME, watched.incoming / "after"
    path.write_bytes(b"[")
    with path.open("ab") as stream:
        stream.write(b"]")
        stream.flush()
        after.write_bytes(b"x")
        watched.wait_for(lambda: "after" in watched.observer.nominees.closed)
        taken = watched.observer.take()
        assert taken == Nominations(frozenset({"after"}), frozenset({NAME}))
    watched.until(lambda: NAME in watched.closed)


def test_what_happens_elsewhere_is_not_nominated(watched: Watched) -> None:
    """What lies in folders of incoming/, what leaves, changes of mode or mtime, files beside the wake file."""
    (watched.incoming / "folder").mkdir()
    (watched.incoming / "folder" / "inner.json").write_bytes(b"[]")
    (watched.incoming / "leaves.json").write_bytes(b"[]")
    watched.until_seen()
    watched.closed.clear()
    watched.changed.clear()
    (watched.incoming / "leaves.json").chmod(0o600)
    os.utime(watched.incoming / "leaves.json", (1, 1))
    (watched.incoming / "leaves.json").rename(watched.aside / "leaves.json")
    (watched.wake_file.parent / "other").write_bytes(b"x")
    watched.until_seen()
    assert (watched.closed, watched.changed) == (set(), set())


@pytest.mark.parametrize("name", ["two\nlines'\".json", "caf\udce9.json", "x" * 255])
def test_odd_names_are_nominated(watched: Watched, name: str) -> None:
    """As the file system spells them, so that a scan finds them again."""
    (watched.incoming / name).write_bytes(b"[]")
    watched.until(lambda: name in watched.closed)
    assert (watched.incoming / name) in watched.incoming.iterdir()


def test_the_wake_file_wakes_and_nominates_nothing(watched: Watched) -> None:
    """Made, touched, or written."""
    for act in (watched.wake_file.touch, watched.wake_file.touch, lambda: watched.wake_file.write_text("x")):
        watched.until_seen()
        watched.woken.clear()
        act()
        assert watched.woken.wait(20)
    watched.until_seen()
    assert (watched.closed, watched.changed) == (set(), set())


def test_taking_empties(watched: Watched) -> None:
    """Each nomination is handed out once."""
    (watched.incoming / NAME).write_bytes(b"[]")
    watched.until(lambda: NAME in watched.closed)
    watched.until_seen()
    assert watched.observer.take() == Nominations()


def test_a_link_to_incoming_is_watched(tmp_path: Path) -> None:
    """The folder behind it is what counts."""
    made = Watched(tmp_path)
    link = tmp_path / "link"
    link.symlink_to(made.incoming)
    made.observer = Observer(link, None, made.woken.set)
    made.observer.start()
    try:
        (made.incoming / NAME).write_bytes(b"[]")
        made.until(lambda: NAME in made.closed)
    finally:
        made.observer.stop()


def test_a_folder_made_again_is_watched_again(watched: Watched) -> None:
    """Deleted or moved away: `check` waits while there is none, then watches the new one and says so, once."""
    assert watched.observer.check() is False
    for away in (watched.incoming.rmdir, lambda: watched.incoming.rename(watched.aside / "old")):
        away()
        assert watched.observer.check() is False
        watched.incoming.mkdir()
        watched.until(watched.observer.check)
        assert watched.observer.check() is False
        (watched.incoming / NAME).write_bytes(b"[]")
        watched.until(lambda: NAME in watched.closed)
        (watched.incoming / NAME).unlink()
        watched.until_seen()
        for left in watched.incoming.iterdir():
            left.unlink()
        watched.closed.clear()


def test_lost_events_are_told(
    watched: Watched, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A queue of the kernel's that really overflows: the flag and an alert in place of watchdog's line."""
    from watchdog.observers.inotify_c import InotifyFD  # only Linux has it

    limit = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    first, second = watched.incoming / "a", watched.incoming / "b"
    blocker = threading.Event()
    handle = InotifyFD.handle_event

    def stand_still(reader: InotifyFD, event: Any) -> None:
        blocker.wait(60)
        handle(reader, event)

    monkeypatch.setattr(InotifyFD, "handle_event", stand_still)
    first.touch()
    second.touch()
    for _ in range(limit // 2 + 3000):  # the reader stands still, with its hands full; of one name they would be merged
        os.utime(first)
        os.utime(second)
    blocker.set()

    def told() -> list[str]:
        facts = [record.msg for record in caplog.records if isinstance(record.msg, dict)]
        return [each["code"] for each in facts if each["event"] == "observer.overflowed"]

    watched.until(lambda: watched.overflowed and bool(told()), seconds=60)
    assert set(told()) == {"events_lost"}
    assert not [record for record in caplog.records if record.name.startswith("watchdog")]


def test_an_overflow_is_heard_at_any_log_level(watched: Watched) -> None:
    """The only sign is a warning of watchdog's: a root logger that wants errors only does not hide it."""
    (watched.incoming / NAME).write_bytes(b"[]")
    watched.until(lambda: NAME in watched.closed)
    root = logging.getLogger()
    before = root.level
    root.setLevel(logging.CRITICAL)
    try:
        logging.getLogger("watchdog.observers.inotify_c").warning(
            "Inotify queue overflowed; filesystem events were lost"
        )
    finally:
        root.setLevel(before)
    assert watched.observer.take().overflowed


def test_after_an_overflow_no_close_counts(tmp_path: Path) -> None:
    """A close that was read may have been followed by a write that was lost."""
    nominees = Nominees(lambda: None, str(tmp_path), is_exact=True)
    nominees.on_any_event(FileClosedEvent(str(tmp_path / NAME)))
    assert nominees.overflow()
    assert not nominees.overflow()
    assert nominees.take() == Nominations(changed=frozenset({NAME}), overflowed=True)


def test_where_events_cannot_be_had_it_polls(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Too many watches or instances: one alert, polling, and nothing that polling sees ends a wait."""

    def no_more(*_: Any, **__: Any) -> BaseObserver:
        raise OSError(24, "inotify instance limit reached")

    made = Watched(tmp_path, no_more)
    assert made.observer.start() == Watching("polling", "inotify instance limit reached")
    try:
        (made.incoming / NAME).write_bytes(b"[]")
        made.until(lambda: NAME in made.changed)
        (made.incoming / NAME).rename(made.incoming / "b.json")
        made.until(lambda: "b.json" in made.changed)
        assert not made.closed
        assert made.observer.check() is False
    finally:
        made.observer.stop()
    told = [record.msg for record in caplog.records if isinstance(record.msg, dict)]
    assert [each["code"] for each in told if each.get("alert")] == ["watching_by_polling"]


def test_without_a_folder_it_says_so_and_waits_for_one(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Start does not fail, repeated checks do not repeat the alert, and the folder is watched once it is there."""
    made = Watched(tmp_path)
    made.incoming.rmdir()
    assert made.observer.start().method == "nothing"
    try:
        assert made.observer.check() is False
        made.incoming.mkdir()
        assert made.observer.check() is True
        (made.incoming / NAME).write_bytes(b"[]")
        made.until(lambda: NAME in made.closed)
    finally:
        made.observer.stop()
    told = [record.msg for record in caplog.records if isinstance(record.msg, dict)]
    assert [each["code"] for each in told if each.get("alert")] == ["watching_by_nothing"]


def test_start_and_stop_may_be_repeated(watched: Watched) -> None:
    """Starting twice is starting once; a stop ends every thread, also before a start, and it can start again."""
    others = set(threading.enumerate())
    watched.observer.stop()
    assert watched.observer.start() == Watching("events")
    assert watched.observer.start() == Watching("events")
    its_own = set(threading.enumerate()) - others
    assert its_own
    watched.observer.stop()
    watched.observer.stop()
    assert not [each for each in its_own if each.is_alive()]
    Observer(watched.incoming, None, watched.woken.set).stop()
    watched.observer.start()
    (watched.incoming / NAME).write_bytes(b"[]")
    watched.until(lambda: NAME in watched.closed)


def test_unknown_events_do_not_matter(watched: Watched) -> None:
    """An event of a path elsewhere, as a stale watch may send it, nominates nothing."""
    watched.observer.nominees.on_any_event(FileModifiedEvent(str(watched.aside / NAME)))
    assert watched.observer.take() == Nominations()
