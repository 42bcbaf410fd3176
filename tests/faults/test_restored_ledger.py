"""The ledger is restored from a backup that is older than the tables; receipts and snapshots tell what it forgot."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from command import drop, events_file
from deaths import death, ending
from inprocess import InProcessRunner
from onehome import Home
from pyiceberg.io import FileIO
from pyiceberg.io.fsspec import FsspecFileIO
from pyiceberg.io.pyarrow import PyArrowFileIO

from metadata.errors import BatchFault
from metadata.ledger.ledger import Ledger
from metadata.settings import Settings
from processors.lake.lake import Lake
from processors.load.decode_step import Decoding
from processors.receipts import files as receipt_files
from processors.receipts.batches import Receipts, sweep_receipts
from processors.receipts.files import ReceiptFiles
from watcher.app import App
from watcher.deeds.undo import undo


@pytest.fixture
def home(settings_with: Callable[..., Settings]) -> Iterator[Home]:
    """A Lemonade that settles at once."""
    made = Home(settings_with(SETTLE_SECONDS="0"))
    yield made
    made.app.unchecked_database.close()


def receipts_of(home: Home) -> list[Path]:
    """The receipts on disk."""
    return sorted((home.settings.datalake_base / "_receipts").rglob("*.json"))


def test_a_receipt_lies_beside_the_tables_for_each_batch(home: Home) -> None:
    """It has batch, files with outcome, data files and days; nothing else is left beside it."""
    name = home.bring(1)
    home.load()
    [batch] = home.app.ledger.batches()
    [path] = receipts_of(home)
    assert path == home.settings.datalake_base / "_receipts/vehicle_events" / f"{batch.id}.json"
    receipt = json.loads(path.read_text())
    assert (receipt["batch"]["id"], receipt["event_days"]) == (batch.id, ["2026-01-15"])
    [file] = receipt["files"]
    assert (file["name"], file["outcome"], file["rows"]) == (name, "loaded", 10)
    assert [data["rows"] for data in receipt["data_files"]] == [10]
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_what_a_restored_ledger_forgot_is_in_it_again(home: Home, tmp_path: Path) -> None:
    """Batches and a failed file since the backup are known again, and the same files once more are duplicates."""
    first = home.bring(1)
    home.load()
    backup = home.backup(tmp_path / "backup.db")
    names = [home.bring(2), home.bring(3)]
    home.load()
    drop(home.settings.incoming_folder, "vehicles_events_20260115120004.json", "{")
    names.append(home.bring(5))
    home.load()
    before = {file.id: (file.name, file.state, file.path, file.rows, file.digest) for file in home.app.ledger.files()}
    batches = {batch.id: (batch.snapshot_id, batch.expected_rows, batch.files) for batch in home.app.ledger.batches()}

    home.restore(backup)
    home.start()
    after = {file.id: (file.name, file.state, file.path, file.rows, file.digest) for file in home.app.ledger.files()}
    assert after == before
    assert {
        batch.id: (batch.snapshot_id, batch.expected_rows, batch.files) for batch in home.app.ledger.batches()
    } == batches
    home.assert_balanced(40)
    assert home.app.ledger.dirty_days("summary.daily_summary")

    for number in (1, 2, 3, 5):
        home.bring(number)
    home.load()
    assert home.files() == {
        **dict.fromkeys([first, *names], "loaded+duplicate"),
        "vehicles_events_20260115120004.json": "failed",
    }
    home.assert_balanced(40)


def test_a_ledger_that_is_lost_whole_is_written_again(home: Home) -> None:
    """After init on an empty database, receipts tell of every batch and file."""
    home.bring(1)
    home.load()
    home.bring(2)
    home.load()
    home.app.unchecked_database.close()
    for suffix in ("", "-wal", "-shm"):
        Path(f"{home.ledger_file}{suffix}").unlink(missing_ok=True)
    home.app = App(home.settings, runner=InProcessRunner())
    home.app.init()
    home.start()
    home.assert_balanced(20)
    assert len(home.app.ledger.batches()) == 2


@pytest.mark.parametrize("step", ["plan", "decode", "prepare"])
def test_files_in_work_at_the_backup_are_not_loaded_again(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """The backup was made while a batch was between two steps; since then it was loaded."""
    owner: Any = Decoding if step == "decode" else type(home.app.ledger)
    home.bring(1)
    home.bring(2)
    with monkeypatch.context() as patch:
        patch.setattr(owner, step, ending(owner, step, lambda: home.backup(tmp_path / "backup.db")))
        home.load()
    home.bring(3)
    home.load()
    home.restore(tmp_path / "backup.db")
    home.start()
    home.load()
    home.assert_balanced(30)
    assert set(home.files().values()) == {"loaded"}


def test_a_file_that_failed_and_was_loaded_later_ends_as_loaded(home: Home, tmp_path: Path) -> None:
    """Two forgotten batches are about one file: the later one says what became of it."""
    backup = home.backup(tmp_path / "backup.db")
    name = "vehicles_events_20260115120001.json"
    drop(home.settings.incoming_folder, name, "{")
    home.load()
    [file] = home.app.ledger.files()
    assert file.state == "failed"
    # As a retry does: the same file again, now with a schema that takes it; here the bytes are mended in place.
    home.bring(2)
    home.load()
    home.restore(backup)
    home.start()
    home.assert_balanced(10)
    assert home.files() == {name: "failed", "vehicles_events_20260115120002.json": "loaded"}


def test_a_crash_between_receipt_and_prepare_rolls_forward(home: Home) -> None:
    """The receipt says that the data files are whole: the next start commits them, nothing is decoded again."""
    home.bring(1)

    with death(Ledger, "prepare", before=True):
        home.load()
    work = home.start()
    assert [batch.state for batch in home.app.ledger.batches()] == ["settled"]
    assert work.app.started_runner is not None and work.app.started_runner.labels == []  # type: ignore[attr-defined] # the SQL catalog's, or a stand-in's
    home.assert_balanced(10)


def test_a_batch_that_was_never_committed_is_committed_from_its_receipt(home: Home, tmp_path: Path) -> None:
    """The process died after Prepare, then an older ledger was restored: the rows are not lost."""
    backup = home.backup(tmp_path / "backup.db")
    home.bring(1)

    with death(Lake, "append", before=True):
        home.load()
    home.restore(backup)
    home.start()
    home.load()
    home.assert_balanced(10)
    assert set(home.files().values()) == {"loaded"}


def test_a_batch_that_is_given_up_leaves_no_receipt(home: Home, tmp_path: Path) -> None:
    """What was abandoned is loaded by another batch; an older ledger must not find both."""
    backup = home.backup(tmp_path / "backup.db")
    home.bring(1)

    with death(Receipts, "write", before=True):
        home.load()
    home.start()
    home.load()
    assert sorted(batch.state for batch in home.app.ledger.batches()) == ["abandoned", "settled"]
    assert len(receipts_of(home)) == 1
    home.restore(backup)
    home.start()
    home.load()
    home.assert_balanced(10)


def test_ledger_and_catalog_restored_together(home: Home, tmp_path: Path) -> None:
    """The table is as old as the ledger; the data files that came since are on disk and are committed again."""
    home.bring(1)
    home.load()
    backup = home.backup(tmp_path / "backup.db")
    catalog = Path(home.settings.catalog_uri.removeprefix("sqlite:///"))
    with sqlite3.connect(catalog) as source, sqlite3.connect(tmp_path / "catalog.db") as target:
        source.backup(target)
    home.bring(2)
    home.load()
    home.restore(backup)
    for suffix in ("", "-wal", "-shm"):
        Path(f"{catalog}{suffix}").unlink(missing_ok=True)
    shutil.copy(tmp_path / "catalog.db", catalog)
    home.start()
    home.assert_balanced(20)


def test_a_torn_receipt_is_told_and_the_others_go_on(
    home: Home, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One receipt that nobody can read does not keep the others from being put back."""
    backup = home.backup(tmp_path / "backup.db")
    for number in (1, 2):
        home.bring(number)
        home.load()
    receipts_of(home)[0].write_text('{"format":1,"batch":')
    home.restore(backup)
    home.start()
    assert [batch.state for batch in home.app.ledger.batches()] == ["settled"]


def test_receipts_are_swept_when_they_are_old_and_settled(home: Home) -> None:
    """A receipt goes after its days; one of a batch that the ledger does not know stays."""
    home.bring(1)
    home.load()
    [path] = receipts_of(home)
    ledger, lake = home.app.ledger, home.app.lake()
    stranger = path.with_name("01900000-0000-7000-8000-000000000000.json")
    stranger.write_text("{}")
    assert sweep_receipts(ledger, lake, home.app.clock, receipt_days=1) == 0
    assert sweep_receipts(ledger, lake, home.app.clock, receipt_days=-1) == 1
    assert receipts_of(home) == [stranger]


@pytest.mark.parametrize("file_io", [PyArrowFileIO, FsspecFileIO])
def test_receipts_through_a_file_io(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file_io: Callable[[dict[str, str]], FileIO]
) -> None:
    """A warehouse that is no plain path is written, listed, read and swept through PyIceberg's FileIO."""
    home.bring(1)
    backup = home.backup(tmp_path / "backup.db")
    monkeypatch.setattr(receipt_files, "local_path", lambda _location: None)
    home.app.lake().file_io = file_io({})
    receipts = home.work.microbatches.receipts
    base = property(lambda files: f"file://{home.settings.datalake_base}/{files.folder}")
    monkeypatch.setattr(ReceiptFiles, "base", base)
    home.load()
    [path] = receipts_of(home)
    assert receipts.all() == {path.stem: f"{receipts.base}/vehicle_events/{path.name}"}
    home.restore(backup)
    home.start(recover=False)
    home.app.lake().file_io = file_io({})
    home.app.lake().warehouse = f"file://{home.settings.datalake_base}"
    home.work.recover()
    home.assert_balanced(10)
    assert sweep_receipts(home.app.ledger, home.app.lake(), home.app.clock, receipt_days=-1) == 1
    assert receipts_of(home) == []


def test_files_that_ended_since_the_backup_are_known_again(home: Home, tmp_path: Path) -> None:
    """Duplicates, refused files and dead letters have no receipt: they lie at their ends and tell themselves."""
    home.bring(1)
    home.load()
    home.bring(2)
    home.work.gather_until_settled()
    backup = home.backup(tmp_path / "backup.db")  # the second file waits
    home.bring(1)
    drop(home.settings.incoming_folder, "notes.txt", "no data file")
    drop(home.settings.incoming_folder, "vehicles_events_20260115120003.json", b"")

    def broken(*_args: Any, **_kwargs: Any) -> Any:
        raise BatchFault("it always fails")

    home.patience = 100
    runner = home.app.runner()
    runner.run = broken  # type: ignore[method-assign] # it was made for this test
    home.load()
    before = {file.id: (file.name, file.state, file.path, file.code) for file in home.app.ledger.files()}
    assert sorted(state for _, state, _, _ in before.values()) == ["duplicate", "failed", "failed", "failed", "loaded"]
    home.restore(backup)
    home.start()
    after = {file.id: (file.name, file.state, file.path, file.code) for file in home.app.ledger.files()}
    duplicates = [entry for entry in before.values() if entry[1] == "duplicate"]
    assert [entry for entry in after.values() if entry[1] == "duplicate"] == duplicates
    assert {key: entry for key, entry in after.items() if entry[1] != "duplicate"} == {
        key: entry for key, entry in before.items() if entry[1] != "duplicate"
    }
    home.assert_balanced(10)


def test_an_undone_file_is_not_taken_for_loaded(home: Home, tmp_path: Path) -> None:
    """A load that was taken back after the backup stays taken back, whether the ledger knew the load or not."""
    home.bring(1)
    home.load()
    backup = home.backup(tmp_path / "backup.db")
    home.bring(2)
    home.load()
    home.bring(3)
    home.load()
    for file in home.app.ledger.files()[:2]:
        undo(home.work, {"target": file.id})
    home.assert_balanced(10)
    home.restore(backup)
    home.start()
    assert list(home.files().values()) == ["undone", "undone", "loaded"]


@pytest.mark.parametrize("landed", [True, False], ids=["landed", "not landed"])
def test_a_forgotten_replacement_stays_one(home: Home, tmp_path: Path, landed: bool) -> None:
    """A file took another's place after the backup: the earlier load is out, and the later one in, once."""
    home.app.registry.update("vehicle_events", {"processing_config": {"on_redelivery": "replace"}})
    home.bring(1)
    home.load()
    backup = home.backup(tmp_path / "backup.db")
    drop(home.settings.incoming_folder, "vehicles_events_20260115120001.json", events_file(7, start=500))

    if landed:
        home.load()
    else:
        with death(Lake, "overwrite", before=True):
            home.load()
    home.restore(backup)
    home.start()
    assert [file.state for file in home.app.ledger.files()] == ["replaced", "loaded"]
    home.assert_balanced(7)
