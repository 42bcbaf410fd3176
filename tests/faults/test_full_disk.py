"""No room: work pauses with one alert, incoming/ is left alone, and all of it goes on by itself.

A small tmpfs is filled for real where root may mount one. Without root a SQLite database that may not grow stands in
for it, and (`soak`) a limit on the size of the daemon's files: the ledger and the tables' metadata cannot be written
then; what neither can show is a disk that all processes find full, and moves.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import resource
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from books import assert_books
from command import Lemonade, drop, events_file, wait_for
from inprocess import InProcessRunner
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from metadata.database.models import Mark
from metadata.database.states import BatchState, FileState, FlushReason
from metadata.errors import WorldFault
from metadata.files.os_errors import DISK_FULL, is_full
from metadata.ledger.ledger import Ledger
from metadata.logs import Event, configure, get_logger
from metadata.outage import Outage
from metadata.settings import Settings
from processors.load import load_task as worker
from processors.read.audit import audit
from processors.spark import worker_process as spark_worker
from watcher.app import App
from watcher.daemon.service import Service
from watcher.intake.free_space import Room
from watcher.work.work import Work

MIB = 1024 * 1024


class SmallDisk:
    """A file system of a few megabytes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._filler = folder / "filler"

    def fill(self, leave_bytes: int = 0) -> None:
        """Use up all room, or all but so much."""
        free = os.statvfs(self.folder)
        with self._filler.open("wb", buffering=0) as filler:
            filler.write(bytes(max(0, free.f_bavail * free.f_frsize - leave_bytes)))
            try:
                while leave_bytes == 0:
                    filler.write(b"x" * 4096)
            except OSError as error:
                assert is_full(error)

    def free(self) -> None:
        """Make room again."""
        self._filler.unlink()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[SmallDisk]:
    """A tmpfs of 12 MiB."""
    if os.geteuid() != 0 or sys.platform != "linux":
        pytest.skip("mounting a small tmpfs takes root on Linux")
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(folder)]
    if (done := subprocess.run(mount, capture_output=True, text=True)).returncode != 0:
        pytest.skip(f"this root may not mount: {done.stderr.strip()}")
    yield SmallDisk(folder)
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
def said() -> Iterator[Callable[[str], list[dict[str, Any]]]]:
    """What was logged, by event."""
    stream = io.StringIO()
    configure("INFO", "json", stream)
    yield lambda name: [line for line in map(json.loads, stream.getvalue().splitlines()) if line["event"] == name]
    configure("INFO", "json", sys.stderr)


class Running:
    """A service in a thread of the test."""

    def __init__(self, settings: Settings) -> None:
        self.app = App(settings, runner=InProcessRunner())
        self.app.init()
        self.incoming = settings.incoming_folder
        self.service = Service(self.app)
        self.thread = threading.Thread(target=self.service.serve)
        self.thread.start()

    def drop(self, first: int, count: int) -> None:
        """Files of ten rows each."""
        for number in range(first, first + count):
            drop(self.incoming, f"vehicles_events_202601151200{number:02}.json", events_file(10, start=number * 10))

    def loaded(self, count: int) -> bool:
        """Whether so many files are loaded, settled and in settled batches."""
        files = self.app.ledger.files(state=FileState.LOADED)
        is_over = all(file.settled_at is not None for file in files) and not self.app.ledger.unsettled_batches()
        return len(files) == count and is_over

    def flush(self) -> None:
        """Ask for it, once, and wait until it is done."""
        request = self.app.requests.ask("flush", {})
        self.service.flags.wake.set()
        wait_for(lambda: self.app.requests.get(request).state == "done", "the flush")

    def waits(self) -> list[str]:
        """Names in incoming/."""
        return sorted(path.name for path in self.incoming.iterdir() if not path.name.startswith("."))

    def close(self) -> None:
        """Drain."""
        self.service.stop()
        self.thread.join(60)
        assert not self.thread.is_alive()
        self.app.database.close()
        self.app.lake().catalog.engine.dispose()  # type: ignore[attr-defined] # the SQL catalog's, or a stand-in's


@pytest.fixture
def start(settings_with: Callable[..., Settings]) -> Iterator[Callable[..., Running]]:
    """`start(PROCESSED_FOLDER=…)`: a service that flushes five files at a time."""
    running: list[Running] = []

    def begin(**more: str) -> Running:
        given = {"FLUSH_MAX_FILES": "5", "SETTLE_SECONDS": "0", "MIN_FREE_BYTES": "0", **more}
        running.append(Running(settings_with(**given)))
        return running[-1]

    yield begin
    for each in running:
        each.close()


def assert_all_loaded_once(app: App, files: int) -> None:
    """Every row exactly once, every file in one place, the books balance; and no attempt was used up."""
    table = app.lake().table("raw_data.vehicle_events")
    assert table is not None
    ids = table.scan().to_arrow()["vehicle_id"].to_pylist()
    assert len(ids) == len(set(ids)) == files * 10
    places = app.settings.folders
    there = [
        path
        for base in (places.incoming, places.source_data, places.processed_base)
        for path in base.rglob("*vehicles_events_*")
    ]
    assert sorted(map(str, there)) == sorted(file.path for file in app.ledger.files())
    assert {file.attempts for file in app.ledger.files()} == {1}
    assert {batch.state for batch in app.ledger.batches()} == {BatchState.SETTLED.value}
    found = audit(app.settings, app.ledger, app.registry, app.lake(), app.clock)
    assert found.balanced, "\n".join(finding.line() for finding in found.findings)


@pytest.mark.parametrize("full", ["datalake", "catalog", "ledger", "processed", "source_data"])
def test_a_disk_fills_up_and_gets_room_again(
    start: Callable[..., Running], small_disk: SmallDisk, said: Callable[[str], list[dict[str, Any]]], full: str
) -> None:
    """Whatever lies on the full disk: one alert, nothing more is taken, no attempt is used up; then all loads once."""
    small = small_disk.folder
    places = {
        "datalake": {"DATALAKE_BASE": f"{small}/datalake", "ICEBERG_CATALOG_URI": f"sqlite:///{small.parent}/c.db"},
        "catalog": {"ICEBERG_CATALOG_URI": f"sqlite:///{small}/catalog.db"},
        "ledger": {"DATABASE_URL": f"sqlite:///{small}/metadata.db"},
        "processed": {"PROCESSED_FOLDER": f"{small}/processed"},
        "source_data": {"SOURCE_DATA_BASE": f"{small}/source_data"},
    }
    running = start(**places[full])
    running.drop(0, 5)
    wait_for(lambda: running.loaded(5), "the first files")

    small_disk.fill()
    running.drop(10, 5)
    wait_for(lambda: said("world.away"), "the alert")
    running.drop(20, 5)
    wait_for(
        lambda: running.service.work.gathering.held_back or full in ("ledger", "source_data"), "the pause of claiming"
    )
    left = [name for name in running.waits() if name >= "vehicles_events_20260115120020"]
    assert left == [f"vehicles_events_202601151200{number}.json" for number in range(20, 25)]
    assert not running.loaded(10)

    small_disk.free()
    wait_for(lambda: running.loaded(15), "the rest")
    wait_for(lambda: said("world.back"), "the word that it is over")
    assert [alert["code"] for alert in said("world.away")] == [DISK_FULL]
    assert said("crash") == []
    assert_all_loaded_once(running.app, 15)


def test_what_one_task_wrote_is_not_in_the_way_of_the_next_attempt(
    start: Callable[..., Running],
    small_disk: SmallDisk,
    said: Callable[[str], list[dict[str, Any]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """When one of two tasks finds the disk full, the data files of the other go too; the batch keeps its id."""
    fewest_bytes = 1
    monkeypatch.setattr(worker, "TASK_BYTES", fewest_bytes)  # two tasks, however small the files are
    lake = small_disk.folder / "datalake"
    running = start(DATALAKE_BASE=str(lake), ICEBERG_CATALOG_URI=f"sqlite:///{small_disk.folder.parent}/c.db")
    running.drop(0, 5)
    wait_for(lambda: running.loaded(5), "the first files")
    data = lake / "raw_data"
    before = sorted(data.rglob("*.parquet"))
    assert len(before) == 2
    small_disk.fill(leave_bytes=8 * 1024)  # room for one of two data files
    running.drop(10, 5)
    wait_for(lambda: said("world.away"), "the alert")
    wait_for(lambda: running.app.ledger.unsettled_batches()[0].error, "the end of the attempt")
    batch_id = running.app.ledger.unsettled_batches()[0].id
    small_disk.free()
    wait_for(lambda: running.loaded(10), "the rest")
    assert batch_id in {file.batch_id for file in running.app.ledger.files()}
    assert len(sorted(data.rglob("*.parquet"))) == 4
    assert_all_loaded_once(running.app, 10)


def test_claiming_stops_before_the_disk_is_full(
    start: Callable[..., Running], small_disk: SmallDisk, said: Callable[[str], list[dict[str, Any]]]
) -> None:
    """Below MIN_FREE_BYTES files stay in incoming/, with one alert, and what is claimed is loaded all the same."""
    running = start(DATALAKE_BASE=f"{small_disk.folder}/datalake", MIN_FREE_BYTES=str(4 * MIB), FLUSH_MAX_FILES="100")
    running.drop(0, 5)
    wait_for(lambda: len(running.app.ledger.waiting()) == 5, "the claims")
    small_disk.fill(leave_bytes=3 * MIB)
    running.flush()
    assert running.loaded(5)
    running.drop(10, 5)
    wait_for(lambda: said("disk.low"), "the alert")
    wait_for(lambda: running.service.work.gathering.held_back, "the pause of claiming")
    assert len(running.waits()) == 5
    small_disk.free()
    wait_for(lambda: len(running.app.ledger.waiting()) == 5, "the claims of the rest")
    assert len(said("disk.low")) == len(said("disk.back")) == 1
    assert said("world.away") == []
    running.flush()
    assert running.loaded(10)
    assert_all_loaded_once(running.app, 10)


@pytest.mark.parametrize("step", ["plan", "count_attempt", "prepare", "record", "files_settled", "settle"])
def test_every_step_of_a_batch_waits_for_the_ledger(
    settings_with: Callable[..., Settings],
    said: Callable[[str], list[dict[str, Any]]],
    monkeypatch: pytest.MonkeyPatch,
    step: str,
) -> None:
    """Whichever of its steps finds the ledger's disk full: the same batch goes on from there, by itself."""
    app = App(settings_with(SETTLE_SECONDS="0"), runner=InProcessRunner())
    app.init()
    real, refusals = getattr(Ledger, step), [1, 2]

    def refusing(*args: Any, **kwargs: Any) -> Any:
        if refusals:
            refusals.pop()
            raise WorldFault("writing the ledger: database or disk is full", code=DISK_FULL)
        return real(*args, **kwargs)

    drop(app.settings.incoming_folder, "vehicles_events_20260115120000.json", events_file(10))
    work = Work(app, pause=lambda _: True, draining=lambda: False)
    snapshot, _ = work.gather_until_settled()
    monkeypatch.setattr(Ledger, step, refusing)
    work.flush(snapshot.active, FlushReason.REQUEST)
    assert refusals == []
    assert len(app.ledger.batches()) == 1
    assert [len(said(name)) for name in ("world.away", "world.back")] == [1, 1]
    assert_all_loaded_once(app, 1)
    app.database.close()


def test_sqlites_own_word_for_a_full_disk(app: App) -> None:
    """A ledger that may not grow says so in SQLite's words; that is a pause, and nothing of it was written."""
    now = app.clock.now()
    with app.database.writing() as session:
        pages = session.execute(text("PRAGMA page_count")).scalar_one()
        session.execute(text(f"PRAGMA max_page_count = {pages}"))
    with pytest.raises(WorldFault) as caught, app.database.writing() as session:
        session.add_all(Mark(name=f"m{number}", at=now, detail={"x": "y" * 4096}) for number in range(50))
    assert caught.value.code == DISK_FULL
    assert [name for name in app.marks.all() if name.startswith("m")] == []


def test_room_is_asked_of_each_disk_and_told_once(
    settings_with: Callable[..., Settings],
    said: Callable[[str], list[dict[str, Any]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One alert when it gets short, one line when it is back, however often is looked; one disk counts once."""
    room, real = Room(settings_with(MIN_FREE_BYTES="1000")), os.statvfs
    assert not room.is_short()
    monkeypatch.setattr(os, "statvfs", lambda path: os.statvfs_result((1, 1, 9, 9, 9, *tuple(real(path))[5:10])))
    assert [room.is_short() for _ in range(3)] == [True, True, True]
    assert [disk.free_bytes for disk in room.low()] == [9]
    monkeypatch.undo()
    assert not room.is_short()
    assert [len(said(name)) for name in ("disk.low", "disk.back")] == [1, 1]


def test_real_daemon_on_a_full_disk(lemonade: Lemonade, small_disk: SmallDisk) -> None:
    """A full disk that Spark's workers meet comes back as the same pause, and the same batch goes on."""
    lemonade.environ |= {"DATALAKE_BASE": f"{small_disk.folder}/datalake", "MIN_FREE_BYTES": "0"}
    lemonade.environ["ICEBERG_CATALOG_URI"] = f"sqlite:///{lemonade.home}/data/catalog.db"
    lemonade.run("init")
    small_disk.fill()
    daemon = lemonade.start()
    drop(lemonade.incoming, "vehicles_events_20260115120000.json", events_file(2000))
    lemonade.run("flush", "--no-wait")
    away = wait_for(lambda: lemonade.events("world.away"), "the alert")
    small_disk.free()
    wait_for(lambda: lemonade.events("batch.settled"), "the load")
    assert [alert["code"] for alert in away] == [DISK_FULL]
    assert lemonade.events("batch.retried") == []
    assert lemonade.stop(daemon) == 0
    assert_books(lemonade, 2000, ["vehicles_events_20260115120000.json"])


@pytest.mark.soak
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux changes the limits of a running process")
def test_real_daemon_whose_files_may_not_grow(lemonade: Lemonade) -> None:
    """The ledger cannot be written, for a size limit: the daemon waits with an alert, and goes on when it is lifted."""
    lemonade.run("init")
    daemon = lemonade.start(MIN_FREE_BYTES="0")
    before = resource.prlimit(daemon.pid, resource.RLIMIT_FSIZE, (30_000, resource.RLIM_INFINITY))
    names = [f"vehicles_events_2026011513{number:04}.json" for number in range(50)]
    for name in names:
        drop(lemonade.incoming, name, events_file(1))
    wait_for(lambda: lemonade.events("world.away"), "the alert")
    assert daemon.poll() is None
    resource.prlimit(daemon.pid, resource.RLIMIT_FSIZE, before)
    wait_for(lambda: lemonade.events("world.back"), "the word that it is over")
    wait_for(lambda: len(lemonade.events("file.claimed")) >= len(names), "the claims")
    assert lemonade.stop(daemon) == 0
    assert len(lemonade.events("world.away")) == 1
    assert_books(lemonade, 0, names, states=["claimed"])


class FullStream(io.StringIO):
    """A log whose disk is full until it is told otherwise."""

    is_full = True

    def write(self, text: str) -> int:
        """Refuse, or take it."""
        if self.is_full:
            raise OSError(28, "No space left on device")
        return super().write(text)


def test_a_full_disk_of_the_log_costs_lines_and_nothing_else() -> None:
    """Logging goes on without an error; once there is room the first line says how many are missing."""
    stream = FullStream()
    configure("INFO", "json", stream)
    try:
        log = get_logger()
        for number in range(7):
            log.info(Event.SCAN_FINISHED, number=number)
        stream.is_full = False
        log.info(Event.SCAN_FINISHED, number=7)
        log.info(Event.SCAN_FINISHED, number=8)
    finally:
        configure("INFO", "json", sys.stderr)
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [(line["event"], line.get("lines"), line.get("number")) for line in lines] == [
        ("log.lost", 7, None),
        ("scan.finished", None, 7),
        ("scan.finished", None, 8),
    ]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_log_that_is_always_full() -> None:
    """A real stream that takes nothing, line after line: no exception, no loop."""
    with Path("/dev/full").open("w", buffering=1) as stream:
        configure("INFO", "json", stream)
        try:
            for number in range(1000):
                get_logger().info(Event.SCAN_FINISHED, number=number)
        finally:
            configure("INFO", "json", sys.stderr)
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())  # so that closing it can flush


def test_a_full_disk_in_a_task_is_the_worlds_fault() -> None:
    """Wherever in a task it is met, it comes back as a pause and not as a fault of the batch."""

    answer = spark_worker.execute(pickle.dumps(_no_room), pickle.dumps(1))
    with pytest.raises(WorldFault) as caught:
        spark_worker.reveal(answer, "a test")
    assert caught.value.code == DISK_FULL


def _no_room(_: object) -> None:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (OSError(28, "No space left on device"), True),
        (OSError("Error writing bytes to file. Detail: [errno 28] No space left on device"), True),
        (OperationalError("INSERT", {}, Exception("database or disk is full")), True),
        (OSError(122, "Disk quota exceeded"), True),
        (OSError(13, "Permission denied"), False),
        (OperationalError("INSERT", {}, Exception("database is locked")), False),
    ],
)
def test_every_librarys_word_for_a_full_disk_is_known(error: Exception, expected: bool) -> None:
    """By number where there is one, else by text."""
    assert is_full(error) is expected


def test_one_outage_of_several_threads_is_one_alert(said: Callable[[str], list[dict[str, Any]]]) -> None:
    """The second thread that meets it says nothing; the last that gets an answer says that it is over."""
    outage = Outage(lambda _: True)
    fault = WorldFault("writing: no room", code=DISK_FULL)
    outage.begins(fault)
    other = threading.Thread(target=outage.begins, args=(fault,))
    other.start()
    other.join()
    assert outage.others_find_disk_full()
    outage.ends()
    assert [len(said(name)) for name in ("world.away", "world.back")] == [1, 0]
    outage.ends()
    assert said("world.back") == []


def test_draining_ends_the_wait() -> None:
    """A daemon that is told to stop does not wait for room: the batch stays where it is, the next start goes on."""
    calls = []

    def action() -> None:
        calls.append(1)
        raise WorldFault("writing: no room", code=DISK_FULL)

    outage = Outage(lambda _: len(calls) < 3)
    with pytest.raises(WorldFault):
        outage.wait_out(action)
    assert len(calls) == 3
