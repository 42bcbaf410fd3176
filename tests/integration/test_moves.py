"""Moves between two file systems: copied whole or not at all, however they are cut off."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from command import drop, events_file
from inprocess import InProcessRunner

from metadata.database.states import FileState, FlushReason
from metadata.files import moves
from metadata.files.folders import move, move_or_finish
from metadata.files.moves import relocate, sweep
from metadata.settings import Settings
from processors.read.audit import audit
from watcher.app import App
from watcher.work.work import Work

NAME = "vehicles_events_20260115120000.json"
FILE_ID = "01890a5d-ac96-774b-bcce-b302099a8057"


class PowerCut(BaseException):
    """What a test raises where the process would end."""


def _elsewhere(folder: Path) -> Path | None:
    """A folder on another file system than `folder`."""
    for place in (Path("/dev/shm"), Path("/tmp"), Path.home()):
        if place.is_dir() and os.access(place, os.W_OK) and place.stat().st_dev != folder.stat().st_dev:
            return Path(tempfile.mkdtemp(prefix="lemonade-moves-", dir=place))
    return None


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Path]:
    """A folder of the test's own on another file system."""
    made = _elsewhere(tmp_path)
    if made is None:
        pytest.skip("neither /dev/shm nor /tmp nor the home folder is another file system than the test's folder")
    yield made
    shutil.rmtree(made)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A file of an old day with rights of its own."""
    path = tmp_path / "in" / NAME
    path.parent.mkdir()
    path.write_bytes(b"x" * 3_000_000)
    path.chmod(0o640)
    os.utime(path, ns=(10**18, 10**18 + 123_456_789))
    return path


def cut_at(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, call: int) -> None:
    """The `call`-th call of `owner.name` does not come to pass."""
    real, calls = getattr(owner, name), 0

    def cut(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == call:
            raise PowerCut
        return real(*args, **kwargs)

    monkeypatch.setattr(owner, name, cut)


def test_a_file_crosses_with_its_bytes_rights_and_time(source: Path, elsewhere: Path) -> None:
    """The copy has everything that tells files apart; the source is gone, and nothing hidden is left."""
    before, content = source.stat(), source.read_bytes()
    moved = move(source, elsewhere / "a" / "b", NAME, FILE_ID)
    assert moved == elsewhere / "a" / "b" / NAME
    assert moved.read_bytes() == content
    assert moved.stat().st_mtime_ns == before.st_mtime_ns
    assert stat.S_IMODE(moved.stat().st_mode) == 0o640
    assert list(moved.parent.iterdir()) == [moved]
    assert not source.exists()


def test_a_taken_name_gets_the_id_across_too(source: Path, elsewhere: Path) -> None:
    """What lies there already stays as it is."""
    (elsewhere / NAME).write_bytes(b"another delivery")
    moved = move(source, elsewhere, NAME, FILE_ID)
    assert moved.name != NAME
    assert (elsewhere / NAME).read_bytes() == b"another delivery"


def test_links_and_pipes_cross_as_what_they_are(tmp_path: Path, elsewhere: Path) -> None:
    """A symlink is made again with its text, not followed; a pipe is made again, not read."""
    link, pipe = tmp_path / "link", tmp_path / "pipe"
    link.symlink_to("/nowhere/at all")
    os.mkfifo(pipe)
    assert os.readlink(move(link, elsewhere, "link", FILE_ID)) == "/nowhere/at all"  # noqa: PTH115 - bytes as they are
    assert stat.S_ISFIFO(move(pipe, elsewhere, "pipe", FILE_ID).lstat().st_mode)
    assert not os.path.lexists(link)
    assert not pipe.exists()


def test_cut_off_before_the_copy_has_its_name(source: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the source counts; the temporary is hidden, is swept, and does not hinder the next move."""
    with monkeypatch.context() as patch:
        cut_at(patch, os, "rename", 2)  # the first is the one that the kernel refuses
        patch.setattr(Path, "unlink", lambda *_, **__: None)  # a dead process clears nothing away
        with pytest.raises(PowerCut):
            move(source, elsewhere, NAME, FILE_ID)
    hidden = list(elsewhere.iterdir())
    assert [path.name.startswith(".") for path in hidden] == [True]
    assert source.exists()
    assert sweep([elsewhere]) == 1
    assert move(source, elsewhere, NAME, FILE_ID).exists()
    assert [path.name for path in elsewhere.iterdir()] == [NAME]


@pytest.mark.parametrize("is_taken", [False, True])
def test_cut_off_before_the_source_is_gone(
    source: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch, is_taken: bool
) -> None:
    """The whole copy stands; the next move of the source finds it, under either name, and ends with one file."""
    if is_taken:
        (elsewhere / NAME).write_bytes(b"another delivery")
    with monkeypatch.context() as patch:
        cut_at(patch, moves, "sync_folder", 1)
        with pytest.raises(PowerCut):
            move_or_finish(source, elsewhere, NAME, FILE_ID)
    assert source.exists()
    assert len(list(elsewhere.iterdir())) == 1 + is_taken
    moved = move_or_finish(source, elsewhere, NAME, FILE_ID)
    assert moved.how == "finished"
    assert moved.path.read_bytes() == b"x" * 3_000_000
    assert not source.exists()
    assert len(list(elsewhere.iterdir())) == 1 + is_taken


def test_the_same_delivery_again_is_no_rest_of_a_move(source: Path, elsewhere: Path) -> None:
    """A file with the same bytes and time that came later is moved beside, not taken for an unfinished move."""
    content, times = source.read_bytes(), source.stat()
    move(source, elsewhere, NAME, FILE_ID)
    source.write_bytes(content)
    os.utime(source, ns=(times.st_atime_ns, times.st_mtime_ns))
    moved = move_or_finish(source, elsewhere, NAME, FILE_ID)
    assert moved.how == "copied"
    assert len(list(elsewhere.iterdir())) == 2


def test_bytes_written_while_it_is_copied_are_not_lost(
    source: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A producer that still writes makes the copy begin again; one that never ends leaves the file where it is."""
    real, appended = shutil.copyfileobj, [b"more", b""]

    def copy(reading: Any, writing: Any, length: int) -> None:
        real(reading, writing, length)
        if more := appended.pop(0):
            with source.open("ab") as stream:
                stream.write(more)

    monkeypatch.setattr(shutil, "copyfileobj", copy)
    assert move(source, elsewhere, NAME, FILE_ID).read_bytes().endswith(b"xmore")
    other = source.with_name("other")
    other.write_bytes(b"1")
    source = other
    appended.extend([b"n"] * 100)
    with pytest.raises(OSError, match="still being written"):
        relocate(other, elsewhere / "other")
    assert not (elsewhere / "other").exists()
    assert [path for path in elsewhere.iterdir() if path.name.startswith(".")] == []


def spread(settings_with: Callable[..., Settings], elsewhere: Path) -> App:
    """incoming/ on one file system, source_data/ on another, processed/ on the first again."""
    settings = settings_with(SOURCE_DATA_BASE=str(elsewhere / "source_data"), SETTLE_SECONDS="0")
    app = App(settings, runner=InProcessRunner())
    app.init()
    return app


def work_on(app: App) -> Work:
    """What the daemon does, on demand."""
    return Work(app, pause=lambda _: False, draining=lambda: False)


def load_all(app: App) -> None:
    """A start of the daemon, a scan and a flush."""
    work = work_on(app)
    work.recover()
    snapshot, _ = work.gather_until_settled()
    work.flush(snapshot.active, FlushReason.REQUEST)


def test_folders_on_different_file_systems_load_and_settle(
    settings_with: Callable[..., Settings], elsewhere: Path
) -> None:
    """The whole way of good, bad and odd files with a border before and behind processing/."""
    app = spread(settings_with, elsewhere)
    incoming = app.settings.incoming_folder
    drop(incoming, NAME, events_file(20))
    drop(incoming, "vehicles_events_20260115120001.json", b"{")
    drop(incoming, "no data file", b"1")
    os.mkfifo(incoming / "vehicles_events_20260115120002.json")
    load_all(app)
    states = {file.name: file.state for file in app.ledger.files()}
    assert states.pop(NAME) == FileState.LOADED
    assert set(states.values()) == {FileState.FAILED}
    assert [path for path in incoming.iterdir() if not path.name.startswith(".")] == []
    loaded = app.ledger.files(state=FileState.LOADED)[0]
    assert Path(loaded.path).is_relative_to(app.settings.processed_folder)
    assert Path(loaded.path).exists()
    assert_rows(app, 20)


def assert_rows(app: App, rows: int) -> None:
    """Every row once, every file in one place, the books balance."""
    table = app.lake().table("raw_data.vehicle_events")
    assert table is not None
    ids = table.scan().to_arrow()["vehicle_id"].to_pylist()
    assert len(ids) == len(set(ids)) == rows
    for file in app.ledger.files():
        assert os.path.lexists(file.path), (file.name, file.state, file.path)
    found = audit(app.settings, app.ledger, app.registry, app.lake(), app.clock)
    assert found.balanced, "\n".join(finding.line() for finding in found.findings)
    bases = (app.settings.incoming_folder, app.settings.source_data_base, app.settings.processed_folder)
    there = [
        path for base in bases for path in base.rglob("vehicles_events_*") if not path.name.endswith(".error.json")
    ]
    assert sorted(map(str, there)) == sorted(file.path for file in app.ledger.files() if "vehicles" in file.name)


@pytest.mark.parametrize("call", ["claim", "settle"])
def test_death_between_copy_and_unlink(
    settings_with: Callable[..., Settings], elsewhere: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """A claim or a settle that dies with the file at both places is put in order by the next start: one row each."""
    app = spread(settings_with, elsewhere)
    drop(app.settings.incoming_folder, NAME, events_file(20))
    work = work_on(app)
    if call == "settle":
        snapshot, _ = work.gather_until_settled()
    with monkeypatch.context() as patch:
        cut_at(patch, Path, "unlink", 2)  # the first clears the way for the temporary
        with pytest.raises(PowerCut):
            if call == "settle":
                work.flush(snapshot.active, FlushReason.REQUEST)
            else:
                work.gather_until_settled()
    load_all(app)
    assert len(app.ledger.files()) == 1
    assert_rows(app, 20)
    load_all(app)
    assert len(app.ledger.files()) == 1
    assert_rows(app, 20)


def test_settle_finished_on_a_later_day(
    settings_with: Callable[..., Settings], elsewhere: Path, monkeypatch: pytest.MonkeyPatch, clock: Any
) -> None:
    """The copy of a settle that was cut off lies in the folder of that day; the next day's start finds it there."""
    clock.set(datetime(2026, 1, 15, 23, 59, tzinfo=UTC))
    settings = settings_with(SOURCE_DATA_BASE=str(elsewhere / "source_data"), SETTLE_SECONDS="0")
    app = App(settings, runner=InProcessRunner(), clock=clock)
    app.init()
    drop(settings.incoming_folder, NAME, events_file(20))
    work = work_on(app)
    snapshot, _ = work.gather_until_settled()
    with monkeypatch.context() as patch:
        cut_at(patch, Path, "unlink", 2)
        with pytest.raises(PowerCut):
            work.flush(snapshot.active, FlushReason.REQUEST)
    clock.forward(120)
    load_all(app)
    assert Path(app.ledger.files()[0].path).parent.name == "2026-01-15"
    assert_rows(app, 20)
