"""A disk that fails while files are taken or start-up repairs: the daemon waits it out, whatever was being done."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from metadata.database.states import FileState
from metadata.errors import WorldFault
from watcher.app import App
from watcher.work.work import Work


@contextmanager
def nothing_can_be_removed(patch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every unlink says EIO."""

    def fail(path: Path, missing_ok: bool = False) -> None:
        raise OSError(errno.EIO, "Input/output error", str(path))

    with patch.context() as within:
        within.setattr(Path, "unlink", fail)
        yield


@pytest.fixture
def work(app: App) -> Work:
    """The work of a command."""
    return Work(app, pause=lambda _seconds: False, draining=lambda: False)


def test_a_reason_that_cannot_be_removed(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file that came back is on record all the same, and once the disk is well nothing is left to do."""
    app, intake = work.app, work.gathering.intake
    types = work.read_registry().types
    stray = app.settings.folders.processing("vehicle_events") / "vehicle_events_20260115120000.json"
    stray.parent.mkdir(parents=True)
    stray.touch()
    assert len(intake.adopt_strays(types).refused) == 1
    (refused,) = app.ledger.files()
    Path(refused.path).unlink()  # a person took it away, and drops a whole one
    stray.write_text("[]")
    with nothing_can_be_removed(monkeypatch), pytest.raises(WorldFault, match=r"removing the reason.*Input/output"):
        intake.adopt_strays(types)
    assert sorted(file.state for file in app.ledger.files()) == [FileState.CLAIMED, FileState.MISSING]
    assert not intake.strays()


def test_what_a_cut_off_move_has_left_cannot_be_removed(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    """Start-up waits, and goes on when the disk is well."""
    left = work.app.settings.folders.source_data / "held/.0123456789abcdef.moving"
    left.write_text("half")
    with nothing_can_be_removed(monkeypatch), pytest.raises(WorldFault, match="cut off moves") as fault:
        work.recover()
    assert fault.value.code == "folder_away"
    work.recover()
    assert not left.exists()
