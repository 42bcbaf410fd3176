"""Intake on real folders, a real ledger and registry, with a clock moved by hand."""

from __future__ import annotations

import errno
import json
import os
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from handclock import HandClock
from workshop import Workshop

from metadata.database.models import SourceFile
from metadata.database.states import FileState
from metadata.errors import WorldFault
from metadata.ledger.values import NewFile
from metadata.settings import Settings
from metadata.types.file_type import FileType, TypeStatus
from watcher.intake.intake import Intake
from watcher.intake.nominations import Nominations
from watcher.intake.round import GROUP_FILES
from watcher.intake.scan_result import ScanResult
from watcher.work.buffers import Buffer, Buffers

EVENTS = "vehicle_events_20260115120000.json"
BODY = b'[{"vehicle_id": "v1", "event_time": "2026-01-15T11:00:00Z"}]'


class Gatehouse(Workshop):
    """A workshop where files are looked at and none is loaded, and short words for what tests do to it."""

    def __init__(self, settings: Settings, clock: HandClock) -> None:
        super().__init__(settings, clock=clock)
        self.ledger, self.registry, self.database = self.app.ledger, self.app.registry, self.app.database
        self.source = settings.source_data_base

    @property
    def intake(self) -> Intake:
        """The intake of the process at work."""
        return self.work.gathering.intake

    def put(self, name: str = EVENTS, body: bytes = BODY, folder: Path | None = None) -> Path:
        """A producer writes a file in place, of bytes of any kind."""
        path = (folder or self.incoming) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)
        return path

    @property
    def types(self) -> tuple[FileType, ...]:
        """The registry's snapshot."""
        return self.registry.read().types

    def scan(self, *closed: str, **more: Any) -> ScanResult:
        """One look of the intake alone; `closed` are names whose close was told."""
        return self.intake.scan(self.types, Nominations(closed=frozenset(closed)), **more)

    def scan_settled(self, **more: Any) -> ScanResult:
        """Two looks, SETTLE_SECONDS apart: the second one's result."""
        self.scan(**more)
        self.clock.forward(self.settings.settle_seconds)
        return self.scan(**more)

    def row(self, name: str = EVENTS) -> SourceFile:
        """The one ledger row of a name."""
        (row,) = self.ledger.files(name=name)
        return row

    def reason(self, row: SourceFile) -> dict[str, Any]:
        """The explanation beside a refused file."""
        return dict(json.loads(Path(row.path + ".error.json").read_text()))

    def add_type(self, name: str, **more: Any) -> None:
        """Register an active type."""
        fields = [{"name": "id", "type": "string"}]
        self.registry.add({"file_type": name, "table_name": name, "schema_definition": {"fields": fields}, **more})


@pytest.fixture
def house(settings: Settings, clock: HandClock) -> Iterator[Gatehouse]:
    """An initialised house without a daemon."""
    made = Gatehouse(settings, clock)
    yield made
    made.close()


def alerts(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those that are alerts."""
    return [each for each in found if each.get("alert")]


# -- claiming -----------------------------------------------------------------------------------------------------


def test_a_whole_file_of_an_active_type_is_claimed(house: Gatehouse, lines: Callable[..., Any]) -> None:
    """Moved to processing/<type>/, digested, on record with all that is known of it, and told in one line."""
    path = house.put()
    os.utime(path, (1_700_000_000, 1_700_000_000))
    result = house.scan(EVENTS)
    row = house.row()
    moved = house.source / "processing/vehicle_events" / EVENTS
    assert moved.read_bytes() == BODY
    assert not path.exists()
    assert (row.state, row.file_type, row.path) == (FileState.CLAIMED, "vehicle_events", str(moved))
    assert (row.digest, row.size_bytes) == (sha256(BODY).hexdigest(), len(BODY))
    assert (row.prefix, row.filename_time) == ("vehicle_events", datetime(2026, 1, 15, 12, tzinfo=UTC))
    assert row.modified_at == datetime.fromtimestamp(1_700_000_000, UTC)
    assert (row.noticed_by, row.noticed_at, row.claimed_at) == ("event", house.clock.now(), house.clock.now())
    assert [(file.file_id, file.name, file.file_type, file.size_bytes) for file in result.claimed] == [
        (row.id, EVENTS, "vehicle_events", len(BODY))
    ]
    (line,) = lines("file.claimed")
    assert line["file_id"] == row.id
    assert "alert" not in line


def test_without_an_event_size_and_mtime_must_hold_still(house: Gatehouse) -> None:
    """It waits SETTLE_SECONDS on the monotonic clock, a write begins it anew, the wall clock is nothing."""
    path = house.put()
    assert house.scan().settling == {EVENTS: pytest.approx(0.2)}
    house.clock.forward(0.15)
    with path.open("ab") as stream:
        stream.write(b" ")
    house.scan()
    house.clock.forward(0.15)
    house.clock.set(datetime(2030, 1, 1, tzinfo=UTC))
    result = house.scan()
    assert result.next_look_seconds == pytest.approx(0.05)
    assert path.exists()
    house.clock.forward(0.06)
    result = house.scan()
    assert (len(result.claimed), result.settling, result.next_look_seconds) == (1, {}, None)
    assert house.row().noticed_by == "scan"


def test_a_close_of_another_file_ends_nobody_elses_wait(house: Gatehouse) -> None:
    """Each file has its own event."""
    house.put()
    house.put("vehicle_status_20260115120000.json")
    result = house.scan("vehicle_status_20260115120000.json")
    assert [file.file_type for file in result.claimed] == ["vehicle_status"]
    assert list(result.settling) == [EVENTS]


@pytest.mark.parametrize("year", [1971, 2100])
def test_an_old_or_future_mtime_decides_nothing(house: Gatehouse, year: int) -> None:
    """Copies keep their mtime; a producer's clock may be wrong."""
    stamp = datetime(year, 1, 1, tzinfo=UTC).timestamp()
    os.utime(house.put(), (stamp, stamp))
    assert list(house.scan().settling) == [EVENTS]
    assert len(house.scan_settled().claimed) == 1


def test_a_taken_name_gets_an_id(house: Gatehouse) -> None:
    """A second file of one name never replaces the first; the ledger keeps both names as they were."""
    house.put()
    house.scan(EVENTS)
    house.put(body=b"[]")
    house.scan(EVENTS)
    first, second = house.ledger.files(name=EVENTS)
    assert Path(first.path).read_bytes() == BODY
    assert Path(second.path).read_bytes() == b"[]"
    assert second.id[-8:] in second.path


@pytest.mark.parametrize(
    ("name", "stored"),
    [
        ("vehicle_events_20260115120000_two\nlines'\".json", "vehicle_events_20260115120000_two\nlines'\".json"),
        ("vehicle_events_20260115120000_caf\udce9.json", "vehicle_events_20260115120000_caf%E9.json"),
        (
            "vehicle_events_20260115120000_" + "x" * 220 + ".json",
            "vehicle_events_20260115120000_" + "x" * 220 + ".json",
        ),
        (
            "vehicle_events_20260115120000_" + "\udce9" * 220 + ".json",
            "vehicle_events_20260115120000_" + "%E9" * 73 + "%.json",
        ),
    ],
)
def test_odd_names_are_claimed(house: Gatehouse, name: str, stored: str) -> None:
    """Newlines, quotes, bytes that are no UTF-8, 255 bytes: claimed under a name that can be stored."""
    house.put(name)
    house.scan(name)
    row = house.row(stored)
    assert row.state == FileState.CLAIMED
    assert Path(row.path).name == stored
    assert Path(row.path).read_bytes() == BODY


def test_buffers_count_what_was_claimed(house: Gatehouse) -> None:
    """The ledger is what the buffers hold."""
    buffers = Buffers()
    house.put()
    house.put("vehicle_events_20260115130000.json", b"[]")
    house.scan_settled()
    buffers.reload(house.ledger)
    assert buffers.get("vehicle_events") == Buffer("vehicle_events", 2, len(BODY) + 2, house.clock.now())
    assert buffers.get("truck_events") == Buffer("truck_events")


def test_the_oldest_file_is_claimed_first(house: Gatehouse) -> None:
    """Flushes take files in the order of their claims."""
    for age, name in enumerate(["vehicle_events_20260115120003.json", "vehicle_events_20260115120001.json"]):
        os.utime(house.put(name), (1000 - age, 1000 - age))
    house.scan_settled()
    assert [row.name[-7:] for row in house.ledger.waiting()] == ["01.json", "03.json"]


# -- what is left alone or refused --------------------------------------------------------------------------------


def test_temporary_names_and_folders_are_left_alone(house: Gatehouse, lines: Callable[..., Any]) -> None:
    """For any time; a folder gives one alert in a process's life."""
    names = [f".{EVENTS}", f"{EVENTS}.tmp", f"{EVENTS}.part", f"{EVENTS}~", ".DS_Store"]
    for name in names:
        house.put(name)
    (house.incoming / "folder_20260115120000.json").mkdir()
    (house.incoming / "link.tmp").symlink_to("/nowhere")
    for _ in range(3):
        result = house.scan_settled()
        assert [(each.name, each.reason) for each in result.ignored] == [
            ("folder_20260115120000.json", "it is a folder")
        ]
    assert len(list(house.incoming.iterdir())) == len(names) + 2
    assert not house.ledger.files()
    assert len(alerts(lines("folder.ignored"))) == 1


def make_symlink(path: Path) -> None:
    """A link to a file outside."""
    outside = path.parent.parent / "secret.json"
    outside.write_bytes(BODY)
    path.symlink_to(outside)


def make_socket(path: Path) -> None:
    """A Unix socket (bound by a short relative path: those of sockets are limited)."""
    before = Path.cwd()
    os.chdir(path.parent)
    try:
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(path.name)
    finally:
        os.chdir(before)


def make_device(path: Path) -> None:
    """A device like /dev/zero."""
    if os.geteuid() != 0:
        pytest.skip("only root may make a device")
    try:
        os.mknod(path, 0o600 | 0o020000, os.makedev(1, 5))
    except PermissionError:
        pytest.skip("this container may not make a device")


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (make_symlink, "symbolic link"),
        (lambda path: path.symlink_to("/nowhere/at/all"), "symbolic link"),
        (lambda path: path.symlink_to(path.parent), "symbolic link"),
        (lambda path: path.symlink_to(path.name), "symbolic link"),
        (os.mkfifo, "named pipe"),
        (make_socket, "socket"),
        (make_device, "device"),
    ],
    ids=["link to a file", "dangling link", "link to a folder", "link to itself", "fifo", "socket", "device"],
)
def test_what_is_no_regular_file_is_moved_itself(
    house: Gatehouse, lines: Callable[..., Any], make: Callable[[Path], None], what: str
) -> None:
    """At once and never opened or followed: to failed/, with its reason beside it and one error alert."""
    path = house.incoming / EVENTS
    make(path)
    before = path.lstat()
    result = house.scan()
    row = house.row()
    moved = house.source / "failed" / EVENTS
    assert not os.path.lexists(path)
    assert (moved.lstat().st_ino, moved.lstat().st_mode) == (before.st_ino, before.st_mode)
    assert (row.state, row.code, row.path) == (FileState.FAILED, "not_a_regular_file", str(moved))
    assert what in house.reason(row)["message"]
    assert house.reason(row)["file_id"] == row.id
    assert [(each.name, each.code) for each in result.refused] == [(EVENTS, "not_a_regular_file")]
    (alert,) = alerts(lines("file.refused"))
    assert (alert["severity"], alert["code"]) == ("error", "not_a_regular_file")
    assert alert["cure"]


@pytest.mark.parametrize(
    ("name", "body", "code", "stored"),
    [
        ("notes.txt", b"hello", "bad_name", "notes.txt"),
        ("a_20261315120000.json", b"[]", "bad_name", "a_20261315120000.json"),
        ("two\nlines", b"hello", "bad_name", "two\nlines"),
        ("caf\udce9_20260115120000.json", b"[]", "bad_name", "caf%E9_20260115120000.json"),
        ("x" * 255, b"hello", "bad_name", "x" * 255),
        (EVENTS, b"", "empty", EVENTS),
        (EVENTS, b"x" * 101, "too_large", EVENTS),
    ],
    ids=["no data file", "no such time", "newline", "not utf-8", "255 bytes", "empty", "too large"],
)
def test_files_that_are_refused(
    settings_with: Callable[..., Settings], clock: HandClock, name: str, body: bytes, code: str, stored: str
) -> None:
    """Once they are whole: to failed/, with a reason beside them that names file and cure."""
    house = Gatehouse(settings_with(MAX_FILE_BYTES="100"), clock)
    house.put(name, body)
    assert list(house.scan().settling) == [stored]
    house.clock.forward(0.2)
    assert [each.code for each in house.scan().refused] == [code]
    row = house.row(stored)
    assert (row.state, row.code) == (FileState.FAILED, code)
    assert Path(row.path).parent == house.source / "failed"
    assert Path(row.path).read_bytes() == body
    (reason,) = [path for path in (house.source / "failed").iterdir() if path.name.endswith(".error.json")]
    assert json.loads(reason.read_text())["file"] == stored
    assert json.loads(reason.read_text())["cure"]


def test_a_file_that_may_not_be_read_is_refused(house: Gatehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    """To failed/<type>/ as unreadable; the others are claimed. (A refused open stands in: root may read everything.)"""
    real_open = os.open

    def refuse(path: Any, *args: Any, **kwargs: Any) -> int:
        if str(path).endswith(EVENTS):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return real_open(path, *args, **kwargs)

    house.put()
    house.put("vehicle_events_20260115130000.json")
    monkeypatch.setattr(os, "open", refuse)
    result = house.scan_settled()
    assert len(result.claimed) == 1
    row = house.row()
    assert (row.state, row.code, row.file_type) == (FileState.FAILED, "unreadable", "vehicle_events")
    assert row.path == str(house.source / "failed/vehicle_events" / EVENTS)
    assert house.reason(row)["code"] == "unreadable"


# -- held ---------------------------------------------------------------------------------------------------------


def test_files_of_an_unknown_prefix_are_held(house: Gatehouse, lines: Callable[..., Any]) -> None:
    """In held/<prefix>/, an inactive type appears, one alert for all of them; a later process alerts once more."""
    names = [f"truck_20260115120{number:03}.json" for number in range(3)]
    for name in names:
        house.put(name)
    result = house.scan_settled()
    assert [(file.name, file.prefix) for file in result.held] == [(name, "truck") for name in names]
    assert all((house.source / "held/truck" / name).exists() for name in names)
    assert {row.state for row in house.ledger.files()} == {FileState.HELD}
    assert house.registry.get("truck").status is TypeStatus.INACTIVE
    (alert,) = alerts(lines("type.discovered"))
    assert (alert["prefix"], alert["severity"]) == ("truck", "warning")
    assert not alerts(lines("file.held"))
    assert len(lines("file.held")) == 3
    house.begin()
    house.put("truck_20260115130000.json")
    house.scan_settled()
    assert len(alerts(lines("type.discovered"))) == 1
    assert [each["code"] for each in alerts(lines("file.held"))] == ["type_unknown"]


def test_files_of_a_type_that_is_switched_off_are_held(house: Gatehouse, lines: Callable[..., Any]) -> None:
    """Under their prefix, with one alert a process; and claimed when it is active again."""
    house.registry.disable("vehicle_events")
    house.put("eu_vehicle_events_20260115120000.json")
    house.put()
    assert len(house.scan_settled().held) == 2
    assert (house.source / "held/eu_vehicle_events").is_dir()
    assert [each["code"] for each in alerts(lines("file.held"))] == ["type_disabled"]
    assert house.intake.release_held(house.types) == 0
    house.registry.activate("vehicle_events")
    assert house.intake.release_held(house.types) == 2


def test_a_tie_is_held_with_an_alert(house: Gatehouse, lines: Callable[..., Any]) -> None:
    """Nobody guesses; no type is discovered for it; a longer pattern unties it."""
    house.add_type("cars", filename_patterns=["car_data"])
    house.add_type("vans", filename_patterns=["van_data"])
    name = "car_data_van_data_20260115120000.json"
    house.put(name)
    assert house.scan_settled().held[0].reason == "the types cars, vans match it equally well"
    assert [each["file_types"] for each in alerts(lines("type.tied"))] == [["cars", "vans"]]
    assert {kind.name for kind in house.types} == {"vehicle_events", "vehicle_status", "cars", "vans"}
    house.add_type("both", filename_patterns=["car_data_van_data"])
    assert house.intake.release_held(house.types) == 1
    assert house.row(name).file_type == "both"


def test_files_of_a_broken_row_are_held(house: Gatehouse) -> None:
    """They are not given to a type that fits worse, and no type is discovered."""
    house.add_type("events")
    name = "eu_truck_events_20260115120000.json"
    house.put(name)
    result = house.scan_settled(broken=["truck_events"])
    assert "truck_events is broken" in result.held[0].reason
    assert house.intake.release_held(house.types, broken=["truck_events"]) == 0
    assert house.intake.release_held(house.types) == 1
    assert house.row(name).file_type == "events"


def test_held_files_flow_when_their_type_comes(house: Gatehouse, lines: Callable[..., Any]) -> None:
    """Each is moved, digested and claimed under its old id; one that is empty or gone does not stop them."""
    for number in range(3):
        house.put(f"truck_2026011512000{number}.json")
    house.scan_settled()
    ids = {row.id for row in house.ledger.held()}
    (house.source / "held/truck/truck_20260115120001.json").unlink()
    (house.source / "held/truck/truck_20260115120002.json").write_bytes(b"")
    assert house.intake.release_held(house.types) == 0
    house.add_type("truck")
    assert house.intake.release_held(house.types) == 1
    claimed = house.row("truck_20260115120000.json")
    assert (claimed.state, claimed.file_type, claimed.digest) == (FileState.CLAIMED, "truck", sha256(BODY).hexdigest())
    assert claimed.path == str(house.source / "processing/truck/truck_20260115120000.json")
    assert house.row("truck_20260115120001.json").state == FileState.MISSING
    refused = house.row("truck_20260115120002.json")
    assert (refused.state, refused.code) == (FileState.FAILED, "empty")
    assert refused.path == str(house.source / "failed/truck/truck_20260115120002.json")
    assert house.reason(refused)["file_type"] == "truck"
    assert {row.id for row in house.ledger.files()} == ids
    assert len(lines("file.released")) == 1
    assert len(alerts(lines("file.missing"))) == 1
    assert house.intake.release_held(house.types) == 0


def test_a_held_file_that_somebody_removed_is_told(house: Gatehouse) -> None:
    """A new process finds it out although no type takes it."""
    house.put("truck_20260115120000.json")
    house.scan_settled()
    (house.source / "held/truck/truck_20260115120000.json").unlink()
    house.begin().gathering.intake.release_held(house.types)
    assert house.row("truck_20260115120000.json").state == FileState.MISSING


def test_files_held_after_a_release_are_released_too(house: Gatehouse) -> None:
    """What types were released for last is forgotten when a file is held under other types."""
    house.put("truck_20260115120000.json")
    house.scan_settled()
    before = house.types
    house.add_type("truck")
    house.intake.release_held(house.types)
    house.put("truck_20260115130000.json")
    house.clock.forward(1)
    house.intake.scan(before)
    house.clock.forward(1)
    assert len(house.intake.scan(before).held) == 1
    assert house.intake.release_held(house.types) == 1


# -- crashes and strays ---------------------------------------------------------------------------------------------


def test_a_file_whose_row_was_never_written_is_adopted(house: Gatehouse) -> None:
    """In its type's folder it stays where it is, with its own name even where the move had put an id into it."""
    folder = house.source / "processing/vehicle_events"
    house.put(folder=folder)
    house.put("vehicle_events_20260115120000.0a1b2c3d.json", b"[]", folder)
    assert len(house.intake.adopt_strays(house.types).claimed) == 2
    rows = house.ledger.files(name=EVENTS)
    assert {row.path for row in rows} == {
        str(folder / EVENTS),
        str(folder / "vehicle_events_20260115120000.0a1b2c3d.json"),
    }
    assert house.intake.adopt_strays(house.types) == ScanResult()


def test_strays_are_treated_as_if_just_dropped(house: Gatehouse) -> None:
    """From unknown folders, at any depth, from the wrong type's folder, and in held/: each goes where it belongs."""
    processing, held = house.source / "processing", house.source / "held"
    house.put("vehicle_events_20260115120001.json", folder=processing / "who/knows")
    house.put("vehicle_status_20260115120002.json", folder=processing / "vehicle_events")
    house.put("vehicle_events_20260115120003.json", folder=processing)
    house.put("truck_20260115120004.json", folder=processing / "truck")
    house.put("truck_20260115120005.json", folder=held / "truck")
    house.put("vehicle_events_20260115120006.json", folder=held / "vehicle_events")
    house.put("notes.txt", folder=processing / "vehicle_events")
    house.put("vehicle_events_20260115120007.json.part", folder=processing / "vehicle_events")
    (processing / "vehicle_events/loop").symlink_to(processing)
    house.put("vehicle_events_20260115120008_\udcff.json", folder=processing / "vehicle_events")
    house.put("vehicle_events_20260115120009.json", b"", folder=processing / "vehicle_events")
    result = house.intake.adopt_strays(house.types)
    assert sorted(file.name[-7:] for file in result.claimed) == ["01.json", "02.json", "03.json", "06.json", "FF.json"]
    assert sorted(file.name[-7:] for file in result.held) == ["04.json", "05.json"]
    assert sorted(file.code for file in result.refused) == ["bad_name", "empty", "not_a_regular_file"]
    for row in house.ledger.files():
        assert os.path.lexists(row.path)
        folder = {"claimed": f"processing/{row.file_type}", "held": f"held/{row.prefix}", "failed": "failed"}[row.state]
        assert Path(row.path).parent == house.source / folder
    assert house.intake.adopt_strays(house.types) == ScanResult()


def test_files_with_a_row_are_never_touched(house: Gatehouse) -> None:
    """Whatever their state and folder; but a file that was removed and is put back is taken again."""
    house.put()
    house.put("truck_20260115120000.json")
    house.scan_settled()
    before = {row.id: (row.state, row.path) for row in house.ledger.files()}
    assert house.intake.adopt_strays(house.types) == ScanResult()
    assert {row.id: (row.state, row.path) for row in house.ledger.files()} == before
    house.ledger.mark_missing(house.row().id, "gone")
    assert len(house.intake.adopt_strays(house.types).claimed) == 1


def test_strays_may_have_to_settle(house: Gatehouse) -> None:
    """Where people may be copying, they must look the same on two calls."""
    path = house.put(folder=house.source / "processing/vehicle_events")
    assert list(house.intake.adopt_strays(house.types, settle=True).settling) == [EVENTS]
    house.clock.forward(1)
    path.write_bytes(BODY + b" ")
    assert not house.intake.adopt_strays(house.types, settle=True).claimed
    house.clock.forward(1)
    assert len(house.intake.adopt_strays(house.types, settle=True).claimed) == 1


def test_adopting_is_safe_while_files_settle(house: Gatehouse) -> None:
    """Files move away and get their new paths on another thread: none is adopted, none gets a second row."""
    names = [f"vehicle_events_20260115{number:06}.json" for number in range(120)]
    for name in names:
        house.put(name)
    house.scan_settled()
    end = house.settings.processed_folder / "vehicle_events/2026-01-15"
    end.mkdir(parents=True)

    def settle() -> None:
        for row in house.ledger.waiting():
            moved = end / row.name
            Path(row.path).rename(moved)
            house.ledger.set_path(row.id, str(moved))

    settling = threading.Thread(target=settle)
    settling.start()
    rounds = 0
    while settling.is_alive() or rounds == 0:
        assert house.intake.adopt_strays(house.types) == ScanResult()
        rounds += 1
    settling.join()
    assert len(house.ledger.files()) == len(names)


def test_the_ledger_away_loses_no_file(house: Gatehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    """Moved but without rows: the fault is the world's, and the next look for strays takes them all."""
    house.put()
    house.put("truck_20260115120000.json")
    house.scan()
    house.clock.forward(1)

    def away(*_: Any) -> None:
        raise WorldFault("writing the ledger: away")

    with monkeypatch.context() as patch:
        patch.setattr(house.ledger, "add_many", away)
        with pytest.raises(WorldFault):
            house.scan()
    assert not house.ledger.files()
    assert not list(house.incoming.iterdir())
    result = house.intake.adopt_strays(house.types)
    assert (len(result.claimed), len(result.held)) == (1, 1)


def test_a_release_that_was_cut_off_is_finished(house: Gatehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file has moved but its row says held: the next release finds it in processing/ and claims it under its id."""
    name = "truck_20260115120000.json"
    house.put(name)
    house.scan_settled()
    house.add_type("truck")
    file_id = house.row(name).id

    def away(*_: Any) -> None:
        raise WorldFault("writing the ledger: away")

    with monkeypatch.context() as patch:
        patch.setattr(house.ledger, "claim_held_many", away)
        with pytest.raises(WorldFault):
            house.intake.release_held(house.types)
    assert house.row(name).state == FileState.HELD
    assert house.intake.release_held(house.types) == 1
    assert (house.row(name).id, house.row(name).state) == (file_id, FileState.CLAIMED)
    assert house.intake.adopt_strays(house.types) == ScanResult()


@pytest.mark.parametrize(("number", "code"), [(errno.ENOSPC, "disk_full"), (errno.EROFS, "folder_away")])
def test_a_full_or_read_only_disk_is_the_worlds_fault(
    house: Gatehouse, monkeypatch: pytest.MonkeyPatch, number: int, code: str
) -> None:
    """Files claimed before it are on record; the rest stays in incoming/."""
    names = [f"vehicle_events_2026011512000{number}.json" for number in range(3)]
    for age, name in enumerate(names):
        os.utime(house.put(name), (age, age))
    real_rename = os.rename

    def rename(source: Any, target: Any) -> None:
        if str(source).endswith(names[1]):
            raise OSError(number, os.strerror(number))
        real_rename(source, target)

    house.scan()
    house.clock.forward(1)
    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", rename)
        with pytest.raises(WorldFault) as fault:
            house.scan()
    assert fault.value.code == code
    assert [row.name for row in house.ledger.files()] == names[:1]
    assert len(house.scan().claimed) == 2


def test_a_file_that_may_not_be_moved_does_not_stop_the_others(
    house: Gatehouse, monkeypatch: pytest.MonkeyPatch, lines: Callable[..., Any]
) -> None:
    """Somebody else's file in a sticky folder stays, with one alert. (A refused rename stands in: root may do all.)"""
    house.put()
    house.put("vehicle_events_20260115130000.json")
    real_rename = os.rename

    def rename(source: Any, target: Any) -> None:
        if str(source).endswith(EVENTS):
            raise PermissionError(errno.EPERM, "Operation not permitted")
        real_rename(source, target)

    monkeypatch.setattr(os, "rename", rename)
    result = house.scan_settled()
    house.scan()
    assert len(result.claimed) == 1
    assert [each.name for each in result.ignored] == [EVENTS]
    assert [each["code"] for each in alerts(lines("file.refused"))] == ["may_not_move"]


def test_a_file_that_vanishes_on_the_way_is_passed_over(house: Gatehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its producer took it back, or renamed it: no row, no fault."""
    house.put()
    real_rename = os.rename

    def rename(source: Any, target: Any) -> None:
        Path(source).unlink()
        real_rename(source, target)

    monkeypatch.setattr(os, "rename", rename)
    assert house.scan_settled() == ScanResult()
    assert not house.ledger.files()


def test_no_incoming_folder_is_the_worlds_fault(house: Gatehouse) -> None:
    """It says what to do; when the folder is back, work goes on."""
    house.incoming.rmdir()
    with pytest.raises(WorldFault, match="lemonade init"):
        house.scan()
    house.incoming.mkdir()
    assert house.scan() == ScanResult()


def test_a_file_swapped_for_a_pipe_after_the_look_is_refused(house: Gatehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    """What lies in processing/ is looked at again before it is opened."""
    house.put()
    real_rename = os.rename

    def rename(source: Any, target: Any) -> None:
        if Path(source).parent == house.incoming:
            Path(source).unlink()
            os.mkfifo(source)
        real_rename(source, target)

    monkeypatch.setattr(os, "rename", rename)
    assert [each.code for each in house.scan_settled().refused] == ["not_a_regular_file"]
    assert house.row().path == str(house.source / "failed/vehicle_events" / EVENTS)


@pytest.mark.parametrize(
    ("swap", "code"),
    [
        (lambda path: path.symlink_to("/etc/hostname"), "not_a_regular_file"),
        (os.mkfifo, "unreadable"),
        (lambda path: path.write_bytes(b"other"), "unreadable"),
    ],
    ids=["link", "fifo", "another file"],
)
def test_a_file_swapped_while_it_is_opened_is_refused(
    house: Gatehouse, monkeypatch: pytest.MonkeyPatch, swap: Callable[[Path], None], code: str
) -> None:
    """No link is followed, no pipe waited for, and no other file taken for the one that was looked at."""
    house.put()
    real_open = os.open

    def open_swapped(path: Any, *args: Any, **kwargs: Any) -> int:
        if str(path).endswith(EVENTS):
            Path(path).rename(house.source / "aside")
            swap(Path(path))
        return real_open(path, *args, **kwargs)

    house.scan()
    house.clock.forward(1)
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", open_swapped)
        assert [each.code for each in house.scan().refused] == [code]
    assert not house.ledger.waiting()


def test_many_files_cost_few_transactions(house: Gatehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows are written in groups, all of them, and lines only after them."""
    count = 2 * GROUP_FILES + 7
    for number in range(count):
        house.put(
            f"vehicle_events_20260115{number:06}.json"
            if number < 60
            else f"vehicle_events_20260115120000_{number}.json"
        )
    written: list[int] = []
    real = house.ledger.add_many

    def add_many(rows: Sequence[NewFile]) -> None:
        written.append(len(rows))
        real(rows)

    monkeypatch.setattr(house.ledger, "add_many", add_many)
    assert len(house.scan_settled().claimed) == count
    assert [size for size in written if size] == [GROUP_FILES, GROUP_FILES, 7]
    assert len(house.ledger.waiting("vehicle_events")) == count
