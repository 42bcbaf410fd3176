from __future__ import annotations

import gzip
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from command import drop, events_file
from unsparked import TICKS, Unsparked, tick
from workshop import NAME, Workshop

from metadata.errors import UsageError
from metadata.settings import Settings
from watcher.commands.check import check

EVENT = {"vehicle_id": "v1", "event_time": "2026-01-15T12:00:00Z"}


@pytest.fixture
def shop(settings: Settings) -> Iterator[Workshop]:
    """An initialised Lemonade without threads and without Spark."""
    made = Workshop(settings)
    yield made
    made.close()


@pytest.fixture
def box(tmp_path: Path) -> Path:
    """A folder of files that nobody has dropped yet."""
    folder = tmp_path / "box"
    folder.mkdir()
    return folder


def run(shop: Any, *arguments: str | Path) -> Result:
    """`lemonade check …` in this process; its errors are raised."""
    return CliRunner().invoke(check, list(map(str, arguments)), obj=shop.app, catch_exceptions=False)


def answer(shop: Any, *arguments: str | Path, code: int = 0) -> dict[str, Any]:
    """Its answer as JSON; `code` is its exit code."""
    result = run(shop, *arguments, "--json")
    assert result.exit_code == code, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def one(shop: Any, path: Path, *options: str, code: int = 0) -> dict[str, Any]:
    """What is said of one file."""
    (file,) = answer(shop, path, *options, code=code)["files"]
    assert isinstance(file, dict)
    return file


def contents(folder: Path) -> dict[str, tuple[int, int]]:
    """Everything below a folder, with size and time of change; SQLite's own side files aside."""
    found = {}
    for path in folder.rglob("*"):
        if not path.name.endswith(("-wal", "-shm")):
            facts = path.lstat()
            found[str(path)] = (0 if path.is_dir() else facts.st_size, facts.st_mtime_ns)
    return found


def test_good_file_would_load(shop: Workshop, box: Path) -> None:
    """A file that loads is counted; exit 0."""
    file = one(shop, drop(box, NAME, events_file(3)))
    expected = {"verdict": "loads", "file_type": "vehicle_events", "records": 3, "rows": 3, "rejected": 0, "code": None}
    assert file | expected == file
    assert "3 records: 3 rows, 0 rejected" in run(shop, box).stdout


def test_rejected_records_are_grouped_with_the_first_of_them(shop: Workshop, box: Path) -> None:
    """Each reason once, with its count, field, message and the numbers of the first records; exit 1."""
    records = [EVENT, {**EVENT, "event_time": "noon"}, EVENT, {"event_time": EVENT["event_time"]}, EVENT, EVENT]
    records += [{**EVENT, "event_time": "night"}, EVENT]
    file = one(shop, drop(box, NAME, records), code=1)
    assert (file["verdict"], file["records"], file["rows"], file["rejected"]) == ("rejects", 8, 5, 3)
    reasons = {(each["code"], each["field"]): (each["records"], each["record_nos"]) for each in file["reasons"]}
    assert reasons == {("bad_timestamp", "event_time"): (2, [2, 7]), ("missing_field", "vehicle_id"): (1, [4])}
    assert all("record " in each["message"] for each in file["reasons"])
    text = run(shop, box).stdout
    assert "bad_timestamp  event_time  2 records (2, 7): record 2" in text


def test_limits_and_unknown_fields_are_the_types_own(shop: Workshop, box: Path) -> None:
    """A file beyond its type's limit loads nothing; where unknown fields are rejected, they are."""
    shop.app.registry.update("vehicle_status", {"processing_config": {"max_rejected_records": 0}})
    shop.app.registry.add({**TICKS, "processing_config": {"unknown_fields": "reject"}})
    status = {"vehicle_id": "v1", "report_time": EVENT["event_time"]}
    beyond = one(shop, drop(box, "vehicle_status_20260115120000.json", [status, status, {}]), code=1)
    assert (beyond["verdict"], beyond["rows"], beyond["code"]) == ("error", 0, "schema_mismatch")
    assert one(shop, drop(box, tick(1), [{"n": 1}, {"n": 2, "m": 3}, {"n": 3}]), code=1)["rejected"] == 1


def test_unknown_fields_come_with_a_proposal(shop: Workshop, box: Path) -> None:
    """What would change in the schema: the keys it has not, how often, and a field that would take them."""
    records = [{**EVENT, "Tyre Pressure": 2.5, "event_extra_data": {"a": 1}}, {**EVENT, "Tyre Pressure": 2}]
    file = one(shop, drop(box, NAME, records))
    (unknown,) = file["unknown"]
    trips = {"name": "trips", "type": {"type": "struct", "fields": [{"name": "a", "type": "long"}]}}
    shop.app.registry.add({**TICKS, "schema_definition": {"fields": [{"name": "n", "type": "long"}, trips]}})
    inner = one(shop, drop(box, tick(1), [{"n": 1, "trips": {"a": 1, "b": 2}}]))["unknown"]
    assert [(each["key"], each["field"]) for each in inner] == [("trips.b", None)]
    assert (unknown["key"], unknown["records"]) == ("Tyre Pressure", 2)
    assert unknown["field"] == {"name": "tyre_pressure", "type": "double", "source": "Tyre Pressure"}
    assert '"source": "Tyre Pressure"' in run(shop, box / NAME).stdout


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("vehicle_events.json", b"[]", "bad_name"),
        ("notes.txt", b"x", "bad_name"),
        (NAME, b"", "empty"),
        (NAME, b" \n ", "empty"),
        (NAME, b'[{"vehicle_id": "v1"', "malformed"),
        (NAME, b"7", "wrong_shape"),
        (NAME + ".gz", gzip.compress(b"[]")[:-3], "unreadable"),
    ],
)
def test_refused_files_say_why(shop: Workshop, box: Path, name: str, content: bytes, code: str) -> None:
    """What the daemon would refuse as a whole has the code that it would have; exit 1."""
    file = one(shop, drop(box, name, content), code=1)
    assert (file["verdict"], file["code"]) == ("refused", code)
    assert file["message"]


def test_what_is_no_file_of_ours(shop: Workshop, box: Path) -> None:
    """A link is refused as it would be; temporary names in a folder are passed over, given alone they are left."""
    (box / "real").mkdir()
    target = drop(box / "real", NAME, [EVENT])
    (box / "vehicle_events_20260115130000.json").symlink_to(target)
    os.mkfifo(box / "vehicle_events_20260115140000.json")
    temporary = box / f"{NAME}.tmp"
    temporary.write_text("[")
    files = answer(shop, box, code=1)["files"]
    assert [(file["name"], file["verdict"], file["code"]) for file in files] == [
        (NAME, "loads", None),
        ("vehicle_events_20260115130000.json", "refused", "not_a_regular_file"),
        ("vehicle_events_20260115140000.json", "refused", "not_a_regular_file"),
    ]
    assert one(shop, temporary)["verdict"] == "left"
    with pytest.raises(UsageError, match="no such file"):
        run(shop, box / "gone")
    with pytest.raises(UsageError, match="no such type"):
        run(shop, box, "--type", "gone")


def test_delivery_that_is_loaded_is_a_duplicate(shop: Workshop, box: Path) -> None:
    """The same delivery as one that is loaded, or as another of the files, would not load again; exit 1."""
    shop.drop()
    shop.load()
    again = drop(box, NAME, events_file(3))
    assert one(shop, again, code=1)["verdict"] == "duplicate"
    drop(box, NAME, events_file(4))
    drop(box / "more", NAME, events_file(4))
    assert [file["verdict"] for file in answer(shop, box, code=1)["files"]] == ["loads", "duplicate"]
    shop.app.registry.update("vehicle_events", {"processing_config": {"on_redelivery": "refuse"}})
    assert one(shop, again, code=1)["code"] == "redelivered"


def test_file_without_an_active_type_would_be_held(shop: Workshop, box: Path) -> None:
    """Unknown, switched off, tied, broken: held, with the reason; what is in it is judged where a schema is there."""
    shop.app.registry.add({**TICKS, "filename_patterns": ["a_b"]})
    shop.app.registry.add({**TICKS, "file_type": "tocks", "filename_patterns": ["b_c"]})
    shop.app.registry.disable("vehicle_events")
    with shop.app.database.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE table_metadata SET status = 'x' WHERE file_type = 'vehicle_status'")
    drop(box, "a_b_c_20260115120000.json", [{"n": 1}])
    drop(box, "news_20260115120000.json", [{"Head Line": "x"}, {"Head Line": "y"}])
    drop(box, NAME, [EVENT])
    drop(box, "vehicle_status_20260115120000.json", [])
    found = answer(shop, box)
    assert [(file["file_type"], file["verdict"], file["rows"]) for file in found["files"]] == [
        (None, "held", 0),
        ("news", "held", 0),
        ("vehicle_status", "held", 0),
        ("vehicle_events", "held", 1),
    ]
    assert found["drafts"]["news"]["draft"]["schema_definition"]["fields"] == [
        {"name": "head_line", "type": "string", "source": "Head Line"}
    ]
    assert set(found["drafts"]) == {"news"}
    assert "news has no schema; its draft:" in run(shop, box).stdout


def test_type_can_be_given(shop: Workshop, box: Path) -> None:
    """With --type the name of a file does not matter, only its suffix."""
    path = box / "sample.jsonl.gz"
    path.write_bytes(gzip.compress(b"\n".join(json.dumps(EVENT).encode() for _ in range(4))))
    assert one(shop, path, code=1)["code"] == "bad_name"
    assert one(shop, path, "--type", "vehicle_events")["rows"] == 4
    assert one(shop, path, "--type", "vehicle_status", code=1)["verdict"] == "error"


def test_nothing_is_written(shop: Workshop, box: Path) -> None:
    """No folder, no file, no row, neither of known nor of unknown types."""
    drop(box, NAME, [EVENT, {}])
    drop(box, "news_20260115120000.json", [{"a": 1}])
    drop(box, "x.json", b"{")
    before, rows = contents(box.parent), shop.app.registry.describe()
    run(shop, box)
    assert contents(box.parent) == before
    assert shop.app.registry.describe() == rows
    assert shop.rows() == []


def test_what_it_says_is_what_becomes_of_the_files(shop: Workshop, box: Path) -> None:
    """The dry run and the load agree, file by file: records, rows, rejected ones, codes."""
    bad = {**EVENT, "event_time": 7}
    for number, content in enumerate([[EVENT] * 3, [EVENT, bad], [EVENT, bad, bad, bad], b"[", b"7", [], [EVENT] * 3]):
        drop(box, f"vehicle_events_2026011512000{number}.json", content)
    said = answer(shop, box, code=1)["files"]
    for file in said:
        drop(shop.incoming, file["name"], (box / file["name"]).read_bytes())
    shop.load()
    verdicts = {"loads": "loaded", "rejects": "loaded", "error": "error", "refused": "failed"}
    done = {row.name: (row.state, row.records or 0, row.rows or 0, row.rejected or 0, row.code) for row in shop.rows()}
    assert {
        file["name"]: (verdicts[file["verdict"]], file["records"], file["rows"], file["rejected"], file["code"])
        for file in said
    } == done


def test_it_works_beside_a_daemon(settings: Settings, box: Path) -> None:
    """A running daemon is neither asked nor disturbed."""
    daemon = Unsparked(settings)
    try:
        assert one(daemon, drop(box, NAME, [EVENT]))["verdict"] == "loads"
        assert daemon.states() == {}
    finally:
        daemon.close()
