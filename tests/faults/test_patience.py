"""One patience: a fault of the world is waited for at one place, told once, and given up once when it drains."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from command import drop, events_file, wait_for
from inprocess import InProcessRunner
from unsparked import Unsparked

from metadata.errors import WorldFault
from metadata.files.os_errors import DISK_FULL
from metadata.outage import Outage
from metadata.settings import Settings
from watcher.app import App
from watcher.daemon.service import Service

NAME = "vehicles_events_20260115120000.json"


class NoRoom(InProcessRunner):
    """Finds the disk full, whatever is to be run."""

    def run(self, function: Any, tasks: Any, label: str) -> Any:
        """Nothing is done."""
        raise WorldFault(f"running {label}: no space left on device", code=DISK_FULL)


class Pauses:
    """The pauses of an outage, and what each said: False when it was cut short."""

    def __init__(self, pause: Callable[[float], bool]) -> None:
        self.pause = pause
        self.answers: list[bool] = []

    def __call__(self, seconds: float) -> bool:
        """Pause, and keep what it said."""
        self.answers.append(self.pause(seconds))
        return self.answers[-1]


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """What was said of outages, in order."""
    caplog.set_level("INFO", logger="lemonade")

    def names() -> list[str]:
        said = [str(record.msg["event"]) for record in caplog.records if isinstance(record.msg, dict)]
        return [name for name in said if name.startswith("world.")]

    return names


def away() -> None:
    """The world, when it is."""
    raise WorldFault("writing: no room", code=DISK_FULL)


def test_a_fault_that_was_given_up_is_not_waited_for_again(told: Callable[[], list[str]]) -> None:
    """However many steps lie around the one that waited: one pause, one alert, and the fault itself comes out."""
    outage = Outage(pauses := Pauses(lambda _: len(pauses.answers) < 1))
    with pytest.raises(WorldFault, match="no room") as caught:
        outage.wait_out(outage.wait_out, outage.wait_out, away)
    assert (caught.value.given_up, pauses.answers, told()) == (True, [True, False], ["world.away"])


def test_an_answer_inside_of_a_step_that_waits_is_not_the_end_of_the_outage(told: Callable[[], list[str]]) -> None:
    """A step of which a part succeeds while the rest fails is one outage, not one for each try."""
    outage = Outage(lambda _: True)
    left = [1, 2, 3]

    def step() -> None:
        outage.wait_out(lambda: None)
        if left:
            left.pop()
            away()

    outage.wait_out(step)
    assert told() == ["world.away", "world.back"]


def test_a_daemon_that_drains_while_the_disk_is_full_pauses_once_more(
    settings_with: Callable[..., Settings], told: Callable[[], list[str]]
) -> None:
    """Whoever waits in it is woken once and nobody waits again; all the time it was one alert."""
    app = App(settings_with(SETTLE_SECONDS="0"), runner=NoRoom())
    app.init()
    service = Service(app)
    service.work.outage.pause = pauses = Pauses(lambda _seconds: service.flags.draining.wait(0.01) is False)
    drop(app.settings.incoming_folder, NAME, events_file(3))
    app.requests.ask("flush", {})
    thread = threading.Thread(target=service.serve)
    thread.start()
    wait_for(lambda: len(pauses.answers) > 3, "some pauses")
    service.stop()
    thread.join(60)
    assert not thread.is_alive()
    assert (pauses.answers.count(False), told()) == (1, ["world.away"])
    app.database.close()


# -- folders that cannot be synced ------------------------------------------------------------------------------------


class BrokenSyncs:
    """`os.fsync` of folders that match a pattern says EIO, twice."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, root: Path, pattern: str) -> None:
        self.root, self.pattern = root, pattern
        self.left = 2
        self._fsync = os.fsync
        monkeypatch.setattr(os, "fsync", self.fsync)

    def fsync(self, descriptor: int) -> None:
        """As the disk says."""
        status = os.fstat(descriptor)
        if self.left and any(os.path.samestat(status, folder.stat()) for folder in self.root.glob(self.pattern)):
            self.left -= 1
            raise OSError(errno.EIO, "Input/output error")
        self._fsync(descriptor)


@pytest.fixture
def daemon(settings_with: Callable[..., Settings]) -> Iterator[Unsparked]:
    """A daemon that waits for a hundredth of a second, whatever it waits for."""
    made = Unsparked(settings_with(SETTLE_SECONDS="0"))
    made.service.work.outage.pause = lambda _seconds: not made.service.flags.draining.wait(0.01)
    yield made
    made.close()


def test_a_folder_that_cannot_be_synced_in_settle_is_waited_for(
    daemon: Unsparked, monkeypatch: pytest.MonkeyPatch, told: Callable[[], list[str]]
) -> None:
    """EIO on the folder that a loaded file went to: one alert, then the daemon goes on and the file is loaded."""
    syncs = BrokenSyncs(monkeypatch, daemon.app.settings.processed_folder, "vehicle_events/*")
    drop(daemon.incoming, NAME, events_file(3))
    daemon.flush()
    daemon.wait_for_states(loaded=1)
    assert (syncs.left, told(), daemon.exit) == (0, ["world.away", "world.back"], None)
    [file] = daemon.app.ledger.files()
    assert Path(file.path).parent.parent == daemon.app.settings.processed_folder / "vehicle_events"


def test_a_folder_that_cannot_be_synced_in_retry_is_waited_for(
    daemon: Unsparked, monkeypatch: pytest.MonkeyPatch, told: Callable[[], list[str]]
) -> None:
    """EIO on the folder that a failed file is taken back to: one alert, then the retry goes on and answers."""
    drop(daemon.incoming, NAME, '{"vehicles_events": [')
    daemon.flush()
    daemon.wait_for_states(failed=1)
    syncs = BrokenSyncs(monkeypatch, daemon.app.settings.source_data_base, "processing/vehicle_events")
    answer = daemon.answer(daemon.ask("retry", files=[NAME]))
    assert [each["state"] for each in answer["retried"]] == ["failed"]
    assert (syncs.left, told(), daemon.exit) == (0, ["world.away", "world.back"], None)
