"""The ledger is restored from a backup that is older than undos, replays and discards; their receipts tell of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from books import assert_app_books
from command import drop
from inprocess import InProcessRunner
from onehome import Home
from rejecting import mend, records

from metadata.database.models import Operation, ReplayRecord, SourceFile
from metadata.operations.replay import ReplayLedger
from metadata.settings import Settings
from processors.lake.lake import Lake
from processors.receipts.operations import OperationReceipts
from watcher.app import App
from watcher.deeds.by_name import do


@pytest.fixture
def home(settings_with: Callable[..., Settings]) -> Iterator[Home]:
    """A Lemonade that settles at once."""
    made = Home(settings_with(SETTLE_SECONDS="0"))
    yield made
    made.app.unchecked_database.close()


def load(home: Home, *numbers: int) -> list[SourceFile]:
    """Load files of three good and three bad records each."""
    names = [f"vehicles_events_202601151200{number:02}.json" for number in numbers]
    for name, number in zip(names, numbers, strict=True):
        drop(home.settings.incoming_folder, name, records(3, 3, start=number * 100))
    home.load()
    return [home.app.ledger.files(name=name)[-1] for name in names]


def books(home: Home) -> dict[str, tuple[Any, ...]]:
    """What the ledger says of each file."""
    return {
        file.id: (file.name, file.state, file.path, file.rows, file.rejected, file.replayed, file.discarded)
        for file in home.app.ledger.files()
    }


def operations(home: Home) -> dict[str, tuple[Any, ...]]:
    """What it says of each operation."""
    with home.app.database.reading() as session:
        return {
            row.id: (
                row.kind,
                row.state,
                row.file_ids,
                row.removed_rows,
                row.added_rows,
                row.quarantine_rows,
                row.snapshot_id,
                row.quarantine_snapshot_id,
            )
            for row in session.query(Operation).filter(Operation.state != "abandoned")
        }


def reserved(home: Home) -> set[tuple[str, str, int, str]]:
    """Every reservation."""
    with home.app.database.reading() as session:
        return {(row.batch_id, row.file_id, row.record_no, row.operation_id) for row in session.query(ReplayRecord)}


def receipts(home: Home) -> list[dict[str, Any]]:
    """Those of operations, oldest first."""
    found = sorted((home.settings.datalake_base / "_operations").rglob("*.json"), key=lambda path: path.name)
    return [json.loads(path.read_text()) for path in found]


def change(home: Home, a: SourceFile, b: SourceFile) -> None:
    """Replay a record of `a`, discard another, undo `b`."""
    do(home.work, "quarantine.replay", {"records": [f"{a.id}:4"]})
    do(home.work, "quarantine.discard", {"records": [f"{a.id}:5"]})
    do(home.work, "undo", {"target": b.id})


def test_a_receipt_lies_beside_the_tables_for_each_operation(home: Home) -> None:
    """It names files, records and rows, and says that it is over; a planned one has none."""
    a, b = load(home, 1, 2)
    do(home.work, "quarantine.replay", {"all": True})  # nothing passes
    assert receipts(home) == []
    mend(home.app)
    change(home, a, b)
    found = receipts(home)
    assert [(each["operation"]["kind"], each["is_over"]) for each in found] == [
        ("replay", True),
        ("discard", True),
        ("undo", True),
    ]
    assert found[0]["records"] == [[a.batch_id, a.id, [4]]] and found[2]["loads"] == {b.id: b.batch_id}


def test_operations_since_the_backup_are_known_again(home: Home, tmp_path: Path) -> None:
    """Counts, states, places and reservations are what they were; nothing is replayed or undone a second time."""
    a, b, c = load(home, 1, 2, 3)
    mend(home.app)
    do(home.work, "quarantine.replay", {"records": [f"{c.id}:6"]})
    backup = home.backup(tmp_path / "backup.db")
    change(home, a, b)
    known = books(home), operations(home), reserved(home)
    home.restore(backup)
    shown = home.start(recover=False).inspect()
    assert [(repair.kind, repair.action.value) for repair in shown] == [
        ("replay", "rebuild"),
        ("discard", "rebuild"),
        ("undo", "rebuild"),
    ]
    home.start()
    assert (books(home), operations(home), reserved(home)) == known
    assert_app_books(home.app, 8)
    assert home.app.ledger.dirty_days("summary.daily_summary")
    assert do(home.work, "quarantine.replay", {"records": [f"{a.id}:4", f"{a.id}:5"]})["matched"] == 0
    assert do(home.work, "undo", {"target": b.id})["done_before"]
    home.start()
    assert (books(home), operations(home)) == known[:2]


@pytest.mark.parametrize("is_lost", [False, True], ids=["older than the loads", "lost whole"])
def test_loads_and_operations_were_forgotten_together(home: Home, tmp_path: Path, is_lost: bool) -> None:
    """What was loaded, replayed, undone, loaded again and replayed again since: the ledger says so again."""
    backup = home.backup(tmp_path / "backup.db")
    a, b = load(home, 1, 2)
    mend(home.app)
    do(home.work, "quarantine.replay", {"records": [f"{b.id}:4"]})
    change(home, a, b)
    do(home.work, "retry", {"files": [b.id]})
    assert [each[3:] for each in books(home).values()] == [(3, 3, 1, 1), (6, 0, 0, 0)]
    known = books(home), reserved(home)
    home.restore(backup)
    if is_lost:
        for suffix in ("", "-wal", "-shm"):
            Path(f"{home.ledger_file}{suffix}").unlink(missing_ok=True)
        home.app = App(home.settings, runner=InProcessRunner())
        home.app.init()
    home.start()
    assert (books(home), reserved(home)) == known
    assert_app_books(home.app)


@pytest.mark.parametrize("call", [1, 2], ids=["table committed", "quarantine committed"])
def test_a_replay_that_was_half_done(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: int) -> None:
    """The process died between its commits, and the ledger that forgot it is put back: it is brought to its end."""
    (a,) = load(home, 1)
    mend(home.app)
    backup = home.backup(tmp_path / "backup.db")
    original, calls = Lake.overwrite, []

    def dies(*args: Any, **kwargs: Any) -> Any:
        calls.append(original(*args, **kwargs))
        if len(calls) == call:
            raise KeyboardInterrupt
        return calls[-1]

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Lake, "overwrite", dies)
        do(home.work, "quarantine.replay", {"files": [a.id]})
    assert [each["is_over"] for each in receipts(home)] == [False]
    home.restore(backup)
    home.start()
    (file,) = home.app.ledger.files()
    assert (file.rows, file.rejected, file.replayed) == (3, 3, 3)
    assert_app_books(home.app, 6)


def test_a_backup_made_in_the_middle_of_a_replay(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The backup has it as planned, the tables have it done: it is not abandoned."""
    (a,) = load(home, 1)
    mend(home.app)
    original = ReplayLedger.prepare

    def backs_up(*args: Any, **kwargs: Any) -> Any:
        home.backup(tmp_path / "backup.db")
        return original(*args, **kwargs)

    monkeypatch.setattr(ReplayLedger, "prepare", backs_up)
    do(home.work, "quarantine.replay", {"files": [a.id]})
    known = books(home), operations(home), reserved(home)
    home.restore(tmp_path / "backup.db")
    home.start()
    assert (books(home), operations(home), reserved(home)) == known
    assert_app_books(home.app, 6)


def test_old_receipts_are_swept(home: Home) -> None:
    """Those of operations that are over, after RECEIPT_DAYS."""
    (a,) = load(home, 1)
    do(home.work, "quarantine.discard", {"files": [a.id]})
    own = OperationReceipts(home.app.lake(), home.app.database, home.app.clock)
    assert own.sweep(30) == 0 and own.sweep(-1) == 1
    assert receipts(home) == []


def test_a_receipt_that_nobody_can_read(home: Home, tmp_path: Path) -> None:
    """It is told and passed over."""
    (a,) = load(home, 1)
    backup = home.backup(tmp_path / "backup.db")
    do(home.work, "quarantine.discard", {"files": [a.id]})
    (path,) = (home.settings.datalake_base / "_operations").rglob("*.json")
    path.write_text("{")
    home.restore(backup)
    home.start()
    assert operations(home) == {}
