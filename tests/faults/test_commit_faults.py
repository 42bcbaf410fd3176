"""Answers of the catalog that are lost, late, conflicting or not there, injected at PyIceberg's boundary."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from catalog_commits import COMMIT, append_twice_at_once, commits, lost
from command import drop, wait_for
from inprocess import InProcessRunner
from onehome import Home
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.exceptions import CommitFailedException, CommitStateUnknownException
from pyiceberg.table import Table
from pyiceberg.table.update import AssertRefSnapshotId
from sqlalchemy.exc import OperationalError

from metadata.database import engine as database_module
from metadata.database.states import BatchState
from metadata.errors import ConfigurationError
from metadata.settings import Settings
from processors.lake import lake as lake_module
from processors.lake.lake import Lake
from watcher.app import App
from watcher.commands.run import run_daemon
from watcher.daemon.service import Service

NAME = "raw_data.vehicle_events"


@pytest.fixture
def home(settings_with: Callable[..., Settings]) -> Iterator[Home]:
    """A Lemonade whose files settle at once."""
    made = Home(settings_with(SETTLE_SECONDS="0"))
    yield made
    made.app.unchecked_database.close()


def table_of(home: Home) -> Table:
    """The table as another program sees it."""
    table = Lake(home.settings).table(NAME)
    assert table is not None
    return table


def snapshots(home: Home) -> int:
    """Snapshots of the table."""
    return len(table_of(home).metadata.snapshots)


def append_as_another_program(home: Home) -> None:
    """Somebody else's snapshot, of one row that is then taken out again, so that rows stay ours."""
    table = table_of(home)
    row = pa.Table.from_pylist([{"vehicle_id": "foreign"}], schema=table.schema().as_arrow())
    table.append(row)
    table.delete("vehicle_id == 'foreign'")


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The events that were logged, in their order."""
    return [str(record.msg["event"]) for record in caplog.records if isinstance(record.msg, dict)]


def lost_answer(kind: str) -> Exception:
    """How a lost answer looks, by catalog."""
    return {
        "unknown": CommitStateUnknownException("504 Gateway Timeout"),
        "connection": ConnectionError("Connection reset by peer"),
        "database": OperationalError("UPDATE iceberg_tables", {}, sqlite3.OperationalError("disk I/O error")),
        "bug": RuntimeError("the client library failed"),
    }[kind]


# -- the answer is lost -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["unknown", "connection", "database", "bug"])
@pytest.mark.parametrize("landed", [True, False], ids=["landed", "not landed"])
def test_the_answer_is_lost(home: Home, kind: str, landed: bool) -> None:
    """The table is asked before anything else: one snapshot, whichever way the lost answer would have said."""
    home.bring(1)
    home.patience = 3
    calls: list[bool] = []
    with commits(lost(landed=landed, calls=calls, error=lost_answer(kind))):
        home.load()
    assert len(calls) == (1 if landed else 2)
    assert snapshots(home) == 1
    home.assert_balanced(10)


@pytest.mark.parametrize("landed", [True, False], ids=["landed", "not landed"])
def test_the_answer_is_lost_and_the_process_ends(home: Home, landed: bool) -> None:
    """The next start finds the snapshot, or commits the same data files."""
    home.bring(1)
    with commits(lost(landed=landed)):
        home.load()
    [batch] = home.app.ledger.batches()
    assert batch.state == BatchState.PREPARED
    home.start()
    assert snapshots(home) == 1
    home.assert_balanced(10)
    assert home.app.ledger.batches()[0].id == batch.id


@pytest.mark.parametrize("moment", ["after recovery", "within recovery"])
@pytest.mark.parametrize("checked", [True, False], ids=["requirements", "none"])
def test_the_commit_lands_late(home: Home, moment: str, checked: bool) -> None:
    """A request of the dead process that arrives after the restart adds nothing, even where nobody checks it."""
    home.bring(1)
    staged: list[Any] = []

    def keep(*arguments: Any) -> Any:
        staged.append(arguments)
        raise CommitStateUnknownException("it is still under way")

    with commits(keep):
        home.load()
    home.start(recover=False)

    def land_late() -> None:
        _, table, requirements, updates = staged.pop()
        kept = requirements if checked else tuple(r for r in requirements if not isinstance(r, AssertRefSnapshotId))
        COMMIT(Lake(home.settings).catalog, table, kept, updates)

    def late_one_first(*arguments: Any) -> Any:
        if staged:
            land_late()
        return COMMIT(*arguments)

    if moment == "within recovery":
        with commits(late_one_first):
            home.work.recover()
    else:
        home.work.recover()
        with pytest.raises((CommitFailedException, ValueError)):
            land_late()
    assert snapshots(home) == 1
    home.assert_balanced(10)


# -- other writers ----------------------------------------------------------------------------------------------------


def test_another_writer_is_faster_once(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """PyIceberg tries again on the table as it is then: both writers' snapshots are in it."""
    home.bring(1)
    home.load()
    home.bring(2)
    calls: list[bool] = []

    def instead(catalog: Any, table: Table, *more: Any) -> Any:
        calls.append(True)
        if len(calls) == 1:
            with monkeypatch.context() as patch:
                patch.setattr(SqlCatalog, "commit_table", COMMIT)
                append_as_another_program(home)
        return COMMIT(catalog, table, *more)

    with commits(instead):
        home.load()
    assert len(calls) == 2
    assert snapshots(home) == 4
    home.assert_balanced(20)
    assert all(batch.attempts == 1 for batch in home.app.ledger.batches())


def test_other_writers_win_until_tries_are_used_up(
    settings_with: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same batch is tried again after a wait, and rolls forward; nothing is decoded twice."""
    monkeypatch.setitem(lake_module.TABLE_PROPERTIES, "commit.retry.min-wait-ms", "1")
    home = Home(settings_with(SETTLE_SECONDS="0"))
    home.bring(1)
    home.patience = 10
    calls: list[bool] = []

    def instead(*arguments: Any) -> Any:
        calls.append(True)
        if len(calls) <= 9:  # two attempts of four tries each, and one more
            raise CommitFailedException("somebody else was faster")
        return COMMIT(*arguments)

    with commits(instead):
        home.load()
    assert len(calls) == 10
    [batch] = home.app.ledger.batches()
    assert (batch.state, batch.attempts) == ("settled", 1)
    assert snapshots(home) == 1
    home.assert_balanced(10)
    home.app.unchecked_database.close()


def test_two_handles_commit_one_batch(home: Home) -> None:
    """Two processes that both found the batch absent send it at the same moment: it is in the table once."""
    home.bring(1)

    with commits(lost()):
        home.load()
    [batch] = home.app.ledger.batches()
    paths = home.app.ledger.data_file_paths(batch.id)
    assert append_twice_at_once(home.settings, NAME, batch.id, paths) == [False, True]
    home.start()
    assert snapshots(home) == 1
    home.assert_balanced(10)


# -- catalog and ledger away ------------------------------------------------------------------------------------------


def locked(path: Path) -> sqlite3.Connection:
    """Somebody holds the write lock of a SQLite file, until the connection is closed."""
    locker = sqlite3.connect(path, isolation_level=None)
    locker.execute("BEGIN IMMEDIATE")
    return locker


def catalog_file(home: Home) -> Path:
    """The catalog's SQLite file."""
    return Path(home.settings.catalog_uri.removeprefix("sqlite:///"))


@pytest.mark.parametrize("which", ["catalog", "ledger"])
def test_database_is_locked_in_mid_batch(
    settings_with: Callable[..., Settings],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    which: str,
) -> None:
    """The batch waits with one alert, uses up no attempt, and goes on when the lock is gone."""
    caplog.set_level("INFO", logger="lemonade")
    monkeypatch.setattr(lake_module, "BUSY_TIMEOUT_SECONDS", 0.05)
    monkeypatch.setattr(database_module, "BUSY_TIMEOUT_SECONDS", 0.05)
    home = Home(settings_with(SETTLE_SECONDS="0"))
    home.bring(1)
    lockers: list[sqlite3.Connection] = []

    def pause(_seconds: float) -> bool:
        home.waits.append(_seconds)
        if len(home.waits) == 3:
            lockers.pop().close()
        return len(home.waits) < 10

    monkeypatch.setattr(home, "pause", pause)
    home.start(recover=False)

    def instead(*arguments: Any) -> Any:
        if not home.waits and not lockers:
            lockers.append(locked(catalog_file(home) if which == "catalog" else home.ledger_file))
        return COMMIT(*arguments)

    with commits(instead):
        home.load()
    assert len(home.waits) >= 3
    [batch] = home.app.ledger.batches()
    assert (batch.state, batch.attempts) == ("settled", 1)
    assert snapshots(home) == 1
    home.assert_balanced(10)
    assert [event for event in told(caplog) if event.startswith("world.")] == ["world.away", "world.back"]
    home.app.unchecked_database.close()


@pytest.mark.parametrize("how", ["gone", "locked"])
def test_the_daemon_waits_for_the_ledger_at_its_start(
    settings_with: Callable[..., Settings],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    how: str,
) -> None:
    """The ledger's folder is not there, or the ledger is locked: one alert, no exit, no empty one in its place."""
    caplog.set_level("INFO", logger="lemonade")
    monkeypatch.setattr(database_module, "BUSY_TIMEOUT_SECONDS", 0.05)
    folder, elsewhere = tmp_path / "ledger", tmp_path / "elsewhere"
    settings = settings_with(DATABASE_URL=f"sqlite:///{folder}/metadata.db")
    with pytest.raises(ConfigurationError, match="lemonade init"):
        run_daemon(App(settings, runner=InProcessRunner()), pause=lambda _seconds: False)
    made = App(settings, runner=InProcessRunner())
    made.init()
    made.unchecked_database.close()
    lockers = [sqlite3.connect(folder / "metadata.db", isolation_level=None)]
    if how == "gone":
        folder.rename(elsewhere)
    else:
        lockers[0].execute("PRAGMA locking_mode=EXCLUSIVE")
        lockers[0].execute("BEGIN EXCLUSIVE")
    waits: list[float] = []

    def pause(seconds: float) -> bool:
        waits.append(seconds)
        assert how == "locked" or not folder.exists()
        if len(waits) == 3:
            lockers.pop().close()
            if how == "gone":
                elsewhere.rename(folder)
        return True

    monkeypatch.setattr(Service, "run", lambda _service: 0)
    assert run_daemon(App(settings, runner=InProcessRunner()), pause) == 0
    assert len(waits) == 3
    assert told(caplog) == ["world.away", "world.back"]


@pytest.mark.parametrize("which", ["catalog", "ledger"])
def test_the_daemon_waits_with_its_recovery(
    settings_with: Callable[..., Settings],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    which: str,
) -> None:
    """The catalog is gone, or the ledger is locked, when a batch has to be recovered: one alert, then it goes on."""
    caplog.set_level("INFO", logger="lemonade")
    monkeypatch.setattr(database_module, "BUSY_TIMEOUT_SECONDS", 0.05)
    folder, elsewhere = tmp_path / "catalog", tmp_path / "elsewhere"
    home = Home(settings_with(SETTLE_SECONDS="0", ICEBERG_CATALOG_URI=f"sqlite:///{folder}/catalog.db"))
    home.bring(1)

    with commits(lost()):
        home.load()
    caplog.clear()
    lockers = [sqlite3.connect(home.ledger_file, isolation_level=None)]
    if which == "catalog":
        folder.rename(elsewhere)
    else:
        lockers[0].execute("BEGIN IMMEDIATE")
    service = Service(App(home.settings, runner=InProcessRunner()))
    thread = threading.Thread(target=service.serve)
    thread.start()
    try:
        wait_for(lambda: "world.away" in told(caplog), "the alert")
        assert not folder.exists() or which == "ledger", "an empty one must not be made in its place"
        home.bring(2)
        lockers.pop().close()
        if which == "catalog":
            elsewhere.rename(folder)
        wait_for(lambda: "file.claimed" in told(caplog), "the claim")
        assert [event for event in told(caplog) if event.startswith("world.")] == ["world.away", "world.back"]
    finally:
        service.stop()
        thread.join(60)
    home.start()
    home.load()
    home.assert_balanced(20)
    home.app.unchecked_database.close()


# -- history was changed before recovery ran --------------------------------------------------------------------------


def prepared_and_landed(home: Home) -> str:
    """A batch that is in the table, and prepared in the ledger: the process died in between. Returns its id."""
    home.bring(1)
    home.load()
    home.bring(2)

    with commits(lost(landed=True)):
        home.load()
    batch = home.app.ledger.batches()[0]
    assert batch.state == BatchState.PREPARED
    return batch.id


def test_the_snapshot_has_expired_before_recovery(home: Home) -> None:
    """Its data files in the current manifests tell that it had landed."""
    batch_id = prepared_and_landed(home)
    append_as_another_program(home)
    table = table_of(home)
    current = table.current_snapshot()
    assert current is not None
    old = [each.snapshot_id for each in table.metadata.snapshots if each.snapshot_id != current.snapshot_id]
    table.maintenance.expire_snapshots().by_ids(old).commit()
    assert snapshots(home) == 1
    home.start()
    assert home.app.ledger.batch(batch_id).state == BatchState.SETTLED
    home.assert_balanced(20)


def test_the_table_was_rolled_back_before_recovery(home: Home, caplog: pytest.LogCaptureFixture) -> None:
    """Its type stops with a critical alert, others go on; with the snapshot back, the next start goes on."""
    batch_id = prepared_and_landed(home)
    table = table_of(home)
    before, landed = table.metadata.snapshots
    table.manage_snapshots().rollback_to_snapshot(before.snapshot_id).commit()
    home.bring(3)
    drop(
        home.settings.incoming_folder,
        "vehicles_status_20260115120000.json",
        [{"vehicle_id": "a", "report_time": "2026-01-15T11:00:00Z"}],
    )
    home.start()
    home.load()
    assert told(caplog).count("type.stopped") == 1
    assert home.app.ledger.batch(batch_id).state == BatchState.PREPARED
    states = {file.name: file.state for file in home.app.ledger.files()}
    assert states["vehicles_status_20260115120000.json"] == "loaded"
    assert states["vehicles_events_20260115120003.json"] == "claimed"

    table_of(home).manage_snapshots().set_current_snapshot(landed.snapshot_id).commit()
    home.start()
    home.load()
    home.assert_balanced(30)
