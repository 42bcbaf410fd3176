"""The watcher does not see: stopped, its folder gone or replaced, no events, more files than the kernel queues."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from books import assert_books
from command import Lemonade, drop, wait_for
from unsparked import TICKS, Unsparked, tick

import watcher.intake.observer
from metadata.settings import Settings
from watcher.intake.observer import Observer, Watching

LINUX = sys.platform.startswith("linux")


@pytest.fixture
def daemon(settings_with: Callable[..., Settings]) -> Iterator[Unsparked]:
    """A daemon in a thread, that looks by itself only once an hour: what it finds, events told it."""
    made = Unsparked(settings_with(RESCAN_SECONDS="3600"))
    made.app.registry.add(TICKS)
    yield made
    made.close()


def drop_ticks(folder: Path, numbers: range) -> None:
    """One file for each number."""
    for number in numbers:
        drop(folder, tick(number), [{"n": number}])


# -- stopped ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dropped", "at_once"),
    [pytest.param(1500, 2000, id="short"), pytest.param(8000, 10_000, id="long", marks=pytest.mark.soak)],
)
def test_dropped_while_it_slept_and_all_at_once(lemonade: Lemonade, dropped: int, at_once: int) -> None:
    """SIGSTOP, files, SIGCONT, then a heap of files renamed in while it works: every one loads, once."""
    lemonade.run("init")
    definition = lemonade.home / "ticks.json"
    definition.write_text(json.dumps(TICKS))
    lemonade.run("types", "add", "--file", str(definition))
    heap = lemonade.home / "data/heap"
    heap.mkdir()
    for number in range(dropped, dropped + at_once):
        (heap / tick(number)).write_text(f'[{{"n": {number}}}]')
    daemon = lemonade.start()
    daemon.send_signal(signal.SIGSTOP)
    drop_ticks(lemonade.incoming, range(dropped))
    daemon.send_signal(signal.SIGCONT)
    for path in heap.iterdir():
        path.rename(lemonade.incoming / path.name)
    wait_for(lambda: not list(lemonade.incoming.iterdir()), "all to be claimed", 200)
    lemonade.run("flush")
    assert lemonade.stop(daemon) == 0
    assert_books(lemonade, dropped + at_once, table="ticks", key="n", states=["loaded"])


# -- incoming/ itself -------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not LINUX, reason="these are the events of Linux")
def test_incoming_deleted_and_made_again(daemon: Unsparked) -> None:
    """While it is away nothing happens; files in the new folder are noticed by its events."""
    drop_ticks(daemon.incoming, range(2))
    daemon.wait_for_states(claimed=2)
    daemon.incoming.rmdir()
    assert daemon.service.observer.check() is False, "it waits for a folder"
    daemon.incoming.mkdir()
    drop_ticks(daemon.incoming, range(2, 4))
    daemon.wait_for_states(claimed=4)
    drop_ticks(daemon.incoming, range(4, 6))  # by now the new folder is watched
    daemon.wait_for_states(claimed=6)
    assert daemon.flush()["files"]
    assert daemon.numbers() == list(range(6))


@pytest.mark.skipif(not LINUX, reason="these are the events of Linux")
def test_incoming_replaced_by_a_link(daemon: Unsparked) -> None:
    """A link to another folder is followed, for the operator put it there; so is the next one."""
    first, second = daemon.incoming.with_name("first"), daemon.incoming.with_name("second")
    for number, folder in enumerate((first, second)):
        folder.mkdir()
        link = daemon.incoming.with_name("link")
        link.symlink_to(folder)
        if number == 0:
            daemon.incoming.rmdir()
        link.replace(daemon.incoming)
        drop_ticks(folder, range(2 * number, 2 * number + 1))
        daemon.wait_for_states(claimed=2 * number + 1)
        drop_ticks(daemon.incoming, range(2 * number + 1, 2 * number + 2))
        daemon.wait_for_states(claimed=2 * number + 2)
    daemon.flush()
    assert daemon.numbers() == list(range(4))


@pytest.mark.skipif(not LINUX, reason="these are the events of Linux")
def test_incoming_unmounted(daemon: Unsparked) -> None:
    """An empty folder in its place: nothing is missing, what was claimed loads; when it is back all goes on."""
    drop_ticks(daemon.incoming, range(2))
    daemon.wait_for_states(claimed=2)
    away = daemon.incoming.with_name("away")
    daemon.incoming.rename(away)
    daemon.incoming.mkdir()
    drop_ticks(away, range(2, 4))  # by another machine
    assert daemon.flush()["not_taken"] == []
    daemon.wait_for_states(loaded=2)
    daemon.incoming.rmdir()
    away.rename(daemon.incoming)
    daemon.wait_for_states(loaded=2, claimed=2)
    daemon.flush()
    assert daemon.numbers() == list(range(4))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount")
def test_incoming_really_unmounted(daemon: Unsparked) -> None:
    """A file system mounted on incoming/, unmounted and mounted again: its files are noticed each time."""
    image = daemon.incoming.with_name("image")
    made = subprocess.run(["mkfs.ext4", "-q", str(image), "8M"], capture_output=True, text=True)
    mount = ["mount", "-o", "loop", str(image), str(daemon.incoming)]
    if made.returncode or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("this machine cannot mount a file as a file system")
    try:
        (daemon.incoming / "lost+found").rmdir()
        drop_ticks(daemon.incoming, range(2))
        daemon.wait_for_states(claimed=2)
        drop_ticks(daemon.incoming, range(2, 3))
        subprocess.run(["umount", "-l", str(daemon.incoming)], check=True)
        daemon.flush()
        subprocess.run(mount, check=True)
        daemon.flush()
        assert daemon.numbers() == list(range(3))
        daemon.wait_for_states(loaded=3)
    finally:
        subprocess.run(["umount", "-l", str(daemon.incoming)], capture_output=True)


# -- no events --------------------------------------------------------------------------------------------------------


def test_polling_finds_files_and_requests(settings_with: Callable[..., Settings]) -> None:
    """OBSERVER=polling: files are noticed without events and long before the next rescan; asking works as before."""
    daemon = Unsparked(settings_with(RESCAN_SECONDS="3600", OBSERVER="polling"))
    try:
        daemon.app.registry.add(TICKS)
        drop_ticks(daemon.incoming, range(3))
        daemon.wait_for_states(claimed=3)
        daemon.flush()
        assert daemon.numbers() == [0, 1, 2]
    finally:
        daemon.close()


@pytest.mark.skipif(not LINUX, reason="these are the events of Linux")
@pytest.mark.parametrize(
    ("method", "kind", "expected"),
    [
        ("auto", "nfs4", Watching("polling")),
        ("auto", None, Watching("events")),
        ("events", "nfs4", Watching("events")),
        ("polling", None, Watching("polling")),
    ],
)
def test_the_file_system_decides_unless_it_is_set(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    method: watcher.intake.observer.Method,
    kind: str | None,
    expected: Watching,
) -> None:
    """`auto` polls where events do not tell all; `events` and `polling` are taken at their word."""
    monkeypatch.setattr(watcher.intake.observer, "silent_kind", lambda _folder: kind)
    observer = Observer(tmp_path, None, lambda: None, method)
    try:
        assert observer.start() == expected
    finally:
        observer.stop()


@pytest.mark.skipif(os.geteuid() != 0 or not LINUX, reason="only root can mount an overlay")
def test_an_overlay_is_polled(tmp_path: Path) -> None:
    """A real overlay file system is known as one."""
    folders = {name: tmp_path / name for name in ("lower", "upper", "work", "merged")}
    for folder in folders.values():
        folder.mkdir()
    options = f"lowerdir={folders['lower']},upperdir={folders['upper']},workdir={folders['work']}"
    mount = ["mount", "-t", "overlay", "overlay", "-o", options, str(folders["merged"])]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("this machine cannot mount an overlay here")
    incoming = folders["merged"] / "incoming"
    incoming.mkdir()
    seen: list[bool] = []
    observer = Observer(incoming, None, lambda: seen.append(True), "auto")
    try:
        assert observer.start() == Watching("polling")
        (incoming / "x.json").write_text("[]")
        wait_for(lambda: "x.json" in observer.take().changed, "the file", 20)
    finally:
        observer.stop()
        subprocess.run(["umount", "-l", str(folders["merged"])], check=True)
