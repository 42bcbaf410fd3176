"""What is on disk when: nothing points to what a power cut could take.

The order is recorded in this process: `os.fsync`, `os.rename`, and what the two databases commit. The tasks run here
too, through the same table handle as on Spark.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from books import assert_app_books
from command import drop, events_file
from inprocess import InProcessRunner
from sqlalchemy import Engine, event, text

from metadata.database.states import FlushReason
from metadata.ledger.ledger import Ledger
from metadata.settings import Settings
from processors.lake.durable_io import DurableFileIO
from processors.lake.lake import is_local
from watcher.app import App
from watcher.work.work import Work

TABLE = "raw_data.vehicle_events"


def path_of(descriptor: int) -> str:
    """The path that a descriptor was opened by."""
    if Path("/proc/self/fd").exists():
        return str(Path(f"/proc/self/fd/{descriptor}").readlink())
    import fcntl

    return fcntl.fcntl(descriptor, fcntl.F_GETPATH, b"\0" * 1024).rstrip(b"\0").decode()  # type: ignore[attr-defined] # the SQL catalog's, or a stand-in's


class Recorder:
    """What happened, in its order: ("fsync", path), ("rename", to), ("catalog", location), ("ledger", call)."""

    def __init__(self, app: App, patch: pytest.MonkeyPatch) -> None:
        self.calls: list[tuple[str, str]] = []
        self._wrap(patch, os, "fsync", lambda descriptor: ("fsync", path_of(descriptor)))
        self._wrap(patch, os, "rename", lambda _, to: ("rename", str(to)))
        for name in ("plan", "prepare", "record", "files_settled", "settle"):
            self._wrap(patch, Ledger, name, lambda *_, name=name, **__: ("ledger", name), after=name != "plan")
        self._wrap(patch, Ledger, "add_many", lambda _, files: ("ledger", "add_many" if files else "nothing"))
        catalog = app.lake().catalog
        engine: Engine = catalog.engine  # type: ignore[attr-defined] # the SQL catalog's, or a stand-in's
        pending: list[str] = []

        def execute(_c: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
            if statement.startswith("UPDATE iceberg_tables"):
                pending.append(next(each for each in parameters if str(each).endswith(".metadata.json")))

        def commit(_connection: Any) -> None:
            self.calls += [("catalog", location) for location in pending]
            pending.clear()

        event.listen(engine, "before_cursor_execute", execute)
        event.listen(engine, "commit", commit)

    def _wrap(
        self, patch: pytest.MonkeyPatch, owner: Any, name: str, entry: Callable[..., Any], *, after: bool = True
    ) -> None:
        real = getattr(owner, name)

        def wrapped(*args: Any, **kwargs: Any) -> Any:
            if not after:
                self.calls.append(entry(*args, **kwargs))
                return real(*args, **kwargs)
            said = entry(*args, **kwargs)
            result = real(*args, **kwargs)
            self.calls.append(said)
            return result

        patch.setattr(owner, name, wrapped)

    def first(self, kind: str, what: str) -> int:
        """Where it happened first."""
        return self.calls.index((kind, what))

    def all(self, kind: str, below: Path) -> list[int]:
        """Where anything of that kind happened directly in a folder."""
        return [at for at, (each, what) in enumerate(self.calls) if each == kind and Path(what).parent == below]


@pytest.fixture
def quick(settings_with: Callable[..., Settings]) -> Iterator[App]:
    """An App whose files need not settle."""
    made = App(settings_with(SETTLE_SECONDS="0"), runner=InProcessRunner())
    made.init()
    yield made
    made.database.close()


def load(app: App) -> None:
    """One scan and one flush."""
    work = Work(app, pause=lambda _: False, draining=lambda: False)
    snapshot, _ = work.gather_until_settled()
    work.flush(snapshot.active, FlushReason.REQUEST)


def names(count: int) -> list[str]:
    """Names of files, one a second."""
    return [f"vehicles_events_202601151200{number:02}.json" for number in range(count)]


def test_everything_a_snapshot_needs_is_on_disk_before_the_catalog_points_to_it(
    quick: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Data files, manifests, manifest list, metadata file, in this order; each with its folder; the row last."""
    drop(quick.settings.incoming_folder, names(1)[0], events_file(5))
    load(quick)  # the table is there
    drop(quick.settings.incoming_folder, names(2)[1], events_file(20, start=5))
    recorder = Recorder(quick, monkeypatch)
    load(quick)

    table = quick.lake().table(TABLE)
    assert table is not None
    snapshot = table.current_snapshot()
    assert snapshot is not None
    committed = recorder.first("catalog", table.metadata_location)
    manifests = [each for each in snapshot.manifests(table.io) if each.added_snapshot_id == snapshot.snapshot_id]
    data_files = [entry.data_file.file_path for each in manifests for entry in each.fetch_manifest_entry(table.io)]
    steps = [
        data_files,
        [each.manifest_path for each in manifests],
        [snapshot.manifest_list],
        [table.metadata_location],
    ]
    assert all(steps)
    before = -1
    for paths in steps:
        synced = [recorder.first("fsync", path) for path in paths]
        assert min(synced) > before
        before = max(synced)
        for path, at in zip(paths, synced, strict=True):
            assert ("fsync", str(Path(path).parent)) in recorder.calls[at:committed]
    assert before < committed < recorder.first("ledger", "record")
    assert recorder.first("ledger", "prepare") > recorder.first("fsync", data_files[-1])
    assert recorder.first("ledger", "prepare") < committed
    assert_app_books(quick, 25)


def test_new_folders_of_a_warehouse_are_on_disk_too(quick: App, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first load of a table and a day makes folders; the folder above each is synced."""
    drop(quick.settings.incoming_folder, names(1)[0], events_file(5))
    recorder = Recorder(quick, monkeypatch)
    load(quick)
    table = quick.lake().table(TABLE)
    assert table is not None
    data_file = Path(next(iter(table.scan().plan_files())).file.file_path)
    base = quick.settings.datalake_base
    committed = recorder.first("catalog", table.metadata_location)
    folders = [folder for folder in data_file.parents if folder.is_relative_to(base)]
    assert len(folders) == 5  # datalake/raw_data/vehicle_events/data/date=…
    for folder in folders:
        assert recorder.first("fsync", str(folder)) < committed


def test_a_file_is_where_its_row_says_after_a_claim(quick: App, monkeypatch: pytest.MonkeyPatch) -> None:
    """Renamed into processing/, both folders synced, and only then the row; one sync for the whole group."""
    for name in names(20):
        drop(quick.settings.incoming_folder, name, events_file(1))
    recorder = Recorder(quick, monkeypatch)
    Work(quick, pause=lambda _: False, draining=lambda: False).gather_until_settled()
    processing = quick.settings.folders.processing("vehicle_events")
    moved, known = recorder.all("rename", processing), recorder.first("ledger", "add_many")
    assert len(moved) == 20
    for folder in (processing, quick.settings.incoming_folder):
        synced = [at for at, call in enumerate(recorder.calls) if call == ("fsync", str(folder)) and at < known]
        assert [at > max(moved) for at in synced] == [True]


def test_files_move_after_record_and_are_there_before_the_ledger_says_so(
    quick: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Record, then the moves, then one sync of each folder, then their new paths, then the batch is settled."""
    for number, name in enumerate(names(20)):
        drop(quick.settings.incoming_folder, name, events_file(1, start=number))
    recorder = Recorder(quick, monkeypatch)
    load(quick)
    end = Path(quick.ledger.files()[0].path).parent
    processing = quick.settings.folders.processing("vehicle_events")
    recorded, moved = recorder.first("ledger", "record"), recorder.all("rename", end)
    said, settled = recorder.first("ledger", "files_settled"), recorder.first("ledger", "settle")
    assert len(moved) == 20
    assert recorded < min(moved)
    for folder in (end, processing):
        synced = [at for at, call in enumerate(recorder.calls) if call == ("fsync", str(folder)) and at > recorded]
        assert len(synced) == 1
        assert max(moved) < synced[0] < said < settled
    assert_app_books(quick, 20)


def test_both_databases_sync_every_commit(app: App) -> None:
    """SQLite answers a COMMIT when it is on disk: `synchronous` is FULL (2) on every connection of either."""
    catalog: Engine = app.lake().catalog.engine  # type: ignore[attr-defined] # the SQL catalog's, or a stand-in's
    for engine in (catalog, app.database.engine):
        with engine.connect() as connection:
            assert connection.execute(text("PRAGMA synchronous")).scalar_one() == 2
            assert connection.execute(text("PRAGMA journal_mode")).scalar_one() == "wal"


def test_workers_write_through_the_syncing_io(quick: App) -> None:
    """What a worker unpickles writes as the driver does; a warehouse that is no folder keeps PyIceberg's own way."""
    drop(quick.settings.incoming_folder, names(1)[0], events_file(1))
    load(quick)
    table = quick.lake().table(TABLE)
    assert table is not None
    assert isinstance(quick.lake().handle(table).open()[1], DurableFileIO)
    assert isinstance(table.io, DurableFileIO)
    assert [is_local(place) for place in ("/data/lake", "file:///data/lake", "s3://bucket")] == [True, True, False]


def test_half_a_file_is_not_left_behind(tmp_path: Path) -> None:
    """A file whose writing fails is removed, and one that exists is not overwritten by mistake."""
    output = DurableFileIO().new_output(str(tmp_path / "a" / "b"))
    with pytest.raises(KeyError), output.create() as stream:
        stream.write(b"half")
        raise KeyError
    assert not (tmp_path / "a" / "b").exists()
    with output.create() as stream:
        stream.write(b"whole")
    with pytest.raises(FileExistsError):
        output.create()
    assert (tmp_path / "a" / "b").read_bytes() == b"whole"
