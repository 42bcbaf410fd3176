"""The worker function, in this process: real source files in, real Parquet data files in a real table out."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import pickle
import socket
import uuid
from collections.abc import Iterable
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from packed import packed

from metadata.errors import Fatal, WorldFault
from metadata.files.suffixes_and_codecs import CODECS, FORMS, Codec, Form, read_suffixes
from metadata.ledger.values import FileOutcome
from metadata.settings import Settings
from metadata.types.config import ProcessingConfig
from metadata.types.definition import Definition
from metadata.types.parse_config import parse_config
from metadata.types.parse_definition import parse_definition
from processors.decode.schema import iceberg_schema, partition_spec
from processors.lake import data_files as datafiles
from processors.lake import quarantine_table as quarantine
from processors.lake.data_files import Output, TaskName
from processors.lake.lake import Lake
from processors.load import load_task as worker
from processors.load.load_task import Quarantine, TaskResult, WriteJob, cut_tasks, load_files
from processors.load.read_source import SourceInput

NAME = "raw_data.events"
DAY = date(2026, 1, 15)
NEXT = date(2026, 1, 16)
NOW = datetime(2026, 1, 16, 9, tzinfo=UTC)
MIB = 1024 * 1024

EVENTS = {
    "fields": [
        {"name": "vehicle_id", "type": "string", "nullable": False},
        {"name": "at", "type": "timestamp", "nullable": False},
        {"name": "speed", "type": "long"},
    ]
}
WIDE = {
    "fields": [
        {"name": "flag", "type": "boolean"},
        {"name": "small", "type": "int"},
        {"name": "ratio", "type": "double"},
        {"name": "price", "type": "decimal(10,2)"},
        {"name": "day", "type": "date"},
        {"name": "clock", "type": "time"},
        {"name": "at", "type": "timestamp"},
        {"name": "text", "type": "string"},
        {"name": "id", "type": "uuid"},
        {"name": "blob", "type": "binary"},
        {"name": "extra", "type": "json"},
        {"name": "tags", "type": {"type": "list", "element": "string"}},
        {"name": "counts", "type": {"type": "map", "key": "string", "value": "long"}},
        {
            "name": "place",
            "type": {
                "type": "struct",
                "fields": [{"name": "lat", "type": "double"}, {"name": "name", "type": "string"}],
            },
        },
    ]
}


class House:
    """A lake, a folder of source files and a type; `load` runs one batch of them and commits it."""

    def __init__(self, folder: Path) -> None:
        environ = {
            "DATALAKE_BASE": str(folder / "lake"),
            "ICEBERG_CATALOG_URI": f"sqlite:///{folder}/catalog.db",
            "DATABASE_URL": f"sqlite:///{folder}/metadata.db",
        }
        self.lake = Lake(Settings.load(environ, env_file=None))
        self.lake.init()
        self.folder = folder / "processing"
        self.folder.mkdir()
        self.use(EVENTS)

    def use(self, definition: dict[str, Any], **config: Any) -> None:
        """Take this definition from here on."""
        self.definition: Definition = parse_definition(definition)
        self.config: ProcessingConfig = parse_config(config, None, self.definition)

    def drop(self, content: bytes | object, name: str | None = None, day: date = DAY) -> SourceInput:
        """Put a source file in place and claim it; what is no bytes is written as JSON."""
        number = len(list(self.folder.iterdir()))
        name = name or f"events_{day:%Y%m%d}120000_{number}.json"
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        path = self.folder / name
        path.write_bytes(data)
        lines, codec = read_suffixes(name)
        return SourceInput(
            file_id=f"file-{number:04}",
            path=str(path),
            name=name,
            digest=hashlib.sha256(data).hexdigest(),
            day=day,
            size_bytes=len(data),
            lines=lines,
            codec=codec,
        )

    def job(
        self, *inputs: SourceInput, batch_id: str | None = None, attempt: int = 1, task: int = 0, **changes: Any
    ) -> WriteJob:
        """The task that loads these files."""
        spec = partition_spec(self.definition, self.config)
        table = self.lake.ensure_table(NAME, iceberg_schema(self.definition), spec)
        rejects = self.lake.ensure_table(quarantine.TABLE, quarantine.iceberg_schema(), quarantine.partition_spec())
        facts: dict[str, Any] = {
            "name": TaskName(batch_id or str(uuid.uuid4()), attempt, task),
            "handle": self.lake.handle(table),
            "quarantine": Quarantine(self.lake.handle(rejects), "events", 3, NOW, raw_max_bytes=1000),
            "definition": self.definition,
            "config": self.config,
            "keys": ("events",),
            "inputs": inputs,
            "time_field": "at",
            "max_decoded_bytes": 10 * MIB,
            **changes,
        }
        return WriteJob(**facts)

    def load(self, *inputs: SourceInput, **changes: Any) -> TaskResult:
        """Run the task as a worker does, job and result pickled, and commit what it wrote."""
        job: WriteJob = pickle.loads(pickle.dumps(self.job(*inputs, **changes)))
        result: TaskResult = pickle.loads(pickle.dumps(load_files(job)))
        for name, data_files in ((quarantine.TABLE, result.quarantined), (NAME, result.data_files)):
            if data_files:
                self.lake.append(name, job.name.batch_id, data_files, {})
        return result

    def rows(self, name: str = NAME) -> list[dict[str, Any]]:
        """A table's rows, by file and record."""
        table = self.lake.table(name)
        assert table is not None
        rows = table.scan().to_arrow().to_pylist()
        return sorted(rows, key=lambda row: (row["_file_id"], row["_record_no"]))


@pytest.fixture
def house(tmp_path: Path) -> House:
    """An empty house."""
    return House(tmp_path)


def event(number: int = 1, at: str | None = "2026-01-15T10:00:00Z", **more: Any) -> dict[str, Any]:
    """A good record."""
    return {"vehicle_id": f"v{number}", "at": at, "speed": number, **more}


def only(result: TaskResult) -> FileOutcome:
    """The one outcome."""
    [outcome] = result.outcomes
    return outcome


# -- good files -------------------------------------------------------------------------------------------------------


def test_records_become_rows_with_date_and_lineage(house: House) -> None:
    """Each row says which file, record and batch it came from, and the date of the file's name."""
    first = house.drop([event(1), event(2)])
    second = house.drop([event(3, "2026-01-14T23:59:59.5Z")], day=NEXT)
    batch_id = str(uuid.uuid4())
    result = house.load(first, second, batch_id=batch_id)
    assert [(one.file_id, one.outcome, one.records, one.rows) for one in result.outcomes] == [
        (first.file_id, "loaded", 2, 2),
        (second.file_id, "loaded", 1, 1),
    ]
    rows = house.rows()
    assert list(rows[0]) == [
        "vehicle_id", "at", "speed", "date", "_source_file", "_file_id", "_record_no", "_batch_id", "_rescued",
    ]  # fmt: skip
    assert rows[1] == {
        "vehicle_id": "v2",
        "at": datetime(2026, 1, 15, 10, tzinfo=UTC),
        "speed": 2,
        "date": DAY,
        "_source_file": first.name,
        "_file_id": first.file_id,
        "_record_no": 2,
        "_batch_id": batch_id,
        "_rescued": None,
    }
    assert (rows[2]["date"], rows[2]["_record_no"]) == (NEXT, 1)
    assert result.days == {DAY, date(2026, 1, 14)}


def test_written_files_are_counted_by_their_footers(house: House) -> None:
    """One data file a day, named by batch, attempt, task and number; its rows are the Parquet footer's."""
    inputs = [house.drop([event(1), event(2)]), house.drop([event(3)]), house.drop([event(4)], day=NEXT)]
    batch_id = str(uuid.uuid4())
    result = house.load(*inputs, batch_id=batch_id, attempt=3, task=7)
    assert [written.rows for written in result.written] == [3, 1]
    for number, written in enumerate(result.written):
        path = Path(written.path)
        assert path.name == f"00000-3000070000000{number}-{batch_id}.parquet"
        assert path.parent.name == f"date={(DAY, NEXT)[number]}"
        assert pq.read_metadata(path).num_rows == written.rows
        assert (path.stat().st_size, written.table_name) == (written.bytes, NAME)


def test_attempts_and_tasks_never_share_a_file_name(house: House) -> None:
    """Iceberg's writer would silently overwrite the other's file."""
    source = house.drop([event()])
    jobs = [house.job(source, batch_id=str(uuid.UUID(int=7)), attempt=a, task=t) for a in (1, 2) for t in (0, 1)]
    paths = {written.path for job in jobs for written in load_files(job).written}
    assert len(paths) == 4


@pytest.mark.parametrize("codec", [None, *CODECS], ids=lambda codec: codec.name if codec else "plain")
@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.suffix)
def test_every_form_and_codec(house: House, form: Form, codec: Codec | None) -> None:
    """The name says how the bytes are read."""
    records = [event(1), event(2)]
    lines = b"\n".join(json.dumps(record).encode() for record in records)
    data = packed(codec, lines if form.lines else json.dumps(records).encode())
    name = f"events_20260115120000.{form.suffix}{f'.{codec.suffix}' if codec else ''}"
    result = house.load(house.drop(data, name))
    assert only(result).outcome == "loaded"
    assert [row["speed"] for row in house.rows()] == [1, 2]


def test_every_type_arrives_as_it_was(house: House) -> None:
    """Values of every type, and nulls of every type, read back from the table."""
    house.use(WIDE)
    full = {
        "flag": True,
        "small": -5,
        "ratio": 0.5,
        "price": "12.30",
        "day": "1969-12-31",
        "clock": "23:59:59.999999",
        "at": "1969-12-31T23:59:59.999999Z",
        "text": "\U0010ffff" * 40,
        "id": "00000000-0000-0000-0000-00000000002a",
        "blob": "/////////////////////////////////w==",
        "extra": {"a": [1, None]},
        "tags": ["a", None],
        "counts": {"x": 1},
        "place": {"lat": 1.5, "name": "home"},
    }
    result = house.load(house.drop([full, {}]))
    assert result.days == {date(1969, 12, 31)}
    row, empty = ({key: row[key] for key in full} for row in house.rows())
    assert row == {
        **full,
        "price": Decimal("12.30"),
        "day": date(1969, 12, 31),
        "clock": time(23, 59, 59, 999999),
        "at": datetime(1969, 12, 31, 23, 59, 59, 999999, UTC),
        "id": uuid.UUID(int=42),
        "blob": b"\xff" * 25,
        "extra": '{"a": [1, null]}',
        "counts": [("x", 1)],
    }
    assert set(empty.values()) == {None}


def test_a_file_without_records_is_loaded(house: House) -> None:
    """An empty array is read to its end and makes no data file."""
    result = house.load(house.drop([]))
    assert (only(result).outcome, only(result).rows, result.written, result.days) == ("loaded", 0, [], set())


def test_a_large_partition_is_cut_into_several_data_files(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits in memory is bounded; the rows are all there."""
    monkeypatch.setattr(datafiles, "DATA_FILE_BYTES", 1)
    monkeypatch.setattr(worker, "GROUP_BYTES", 1)
    result = house.load(*(house.drop([event(number)]) for number in range(3)))
    assert [written.rows for written in result.written] == [1, 1, 1]
    assert len(house.rows()) == 3


def test_what_waits_of_all_partitions_is_bounded(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many partitions that are small each are written before they are too much together."""
    monkeypatch.setattr(datafiles, "PENDING_BYTES", 1)
    monkeypatch.setattr(worker, "GROUP_BYTES", 1)
    result = house.load(*(house.drop([event(number)]) for number in range(2)))
    assert len(result.written) == 2


def test_columns_of_the_table_that_the_definition_lacks_are_null(house: House) -> None:
    """A task planned before a column was added writes into the table as it is now."""
    old = parse_definition(EVENTS)
    house.use({"fields": [*EVENTS["fields"], {"name": "colour", "type": "string"}]})
    house.load(house.drop([event(1, colour="red")]), definition=old)
    assert [row["colour"] for row in house.rows()] == [None]


# -- partitions -------------------------------------------------------------------------------------------------------


def partitions(result: TaskResult) -> dict[str, int]:
    """Rows by the partition's folder."""
    return {Path(written.path).parent.name: written.rows for written in result.written}


def in_manifests(house: House, batch_id: str) -> list[tuple[str, int]]:
    """Partition and rows of a batch's data files, as the table has them."""
    files = [task.file for task in house.lake.scan_tasks(NAME)]
    return sorted((repr(file.partition), file.record_count) for file in files if batch_id in file.file_path)


@pytest.mark.parametrize(
    ("partition_by", "folders"),
    [
        ("date", {"date=2026-01-15": 4}),
        ("none", {"data": 4}),
        ("day(at)", {"at_day=1969-12-31": 1, "at_day=2026-01-15": 2, "at_day=null": 1}),
        ("hour(at)", {"at_hour=1969-12-31-23": 1, "at_hour=2026-01-15-10": 2, "at_hour=null": 1}),
        ("day(day)", {"day_day=2026-01-15": 3, "day_day=null": 1}),
        ("text", {"text=a%2Fb+c": 2, "text=%C3%A9": 1, "text=null": 1}),
        ("small", {"small=-1": 3, "small=null": 1}),
        ("flag", {"flag=true": 2, "flag=false": 1, "flag=null": 1}),
        ("price", {"price=1.50": 3, "price=null": 1}),
        ("day", {"day=2026-01-15": 3, "day=null": 1}),
        ("clock", {"clock=10%3A00%3A00": 3, "clock=null": 1}),
        ("at", None),
        ("id", None),
    ],
)
def test_each_form_of_partition_by(house: House, partition_by: str, folders: dict[str, int] | None) -> None:
    """Rows lie in their partition, null has one of its own, and recovery finds the same partitions in the files."""
    house.use(WIDE, partition_by=partition_by)
    common = {"small": -1, "price": "1.5", "day": "2026-01-15", "clock": "10:00:00", "id": str(uuid.UUID(int=42))}
    source = house.drop(
        [
            {**common, "at": "2026-01-15T10:00:00Z", "text": "a/b c", "flag": True, "tags": ["x"]},
            {"counts": {"a": 1}},
            {**common, "at": "1969-12-31T23:30:00Z", "text": "é", "flag": False, "place": {"lat": 1}},
            {**common, "at": "2026-01-15T10:59:00Z", "text": "a/b c", "flag": True, "extra": 1},
        ]
    )
    prepared, again = str(uuid.uuid4()), str(uuid.uuid4())
    result = load_files(house.job(source, batch_id=prepared))
    if folders is not None:
        assert partitions(result) == folders
    assert sum(written.rows for written in result.written) == 4
    house.lake.append_paths(NAME, prepared, [written.path for written in result.written], {})
    rows = house.rows()
    assert [row["_record_no"] for row in rows] == [1, 2, 3, 4]
    assert [row["tags"] for row in rows] == [["x"], None, None, None]
    assert rows[1]["counts"] == [("a", 1)]
    house.load(source, batch_id=again)
    assert in_manifests(house, again) == in_manifests(house, prepared)


def test_partition_values_prune_scans(house: House) -> None:
    """The partition that is written is the one that readers look into."""
    house.use(EVENTS, partition_by="day(at)")
    house.load(house.drop([event(1), event(2, "2026-01-16T00:00:00Z")]))
    assert len(house.lake.scan_tasks(NAME, "at >= '2026-01-16T00:00:00+00:00'")) == 1


def test_a_partition_value_longer_than_a_folders_name(house: House) -> None:
    """Two long values that begin alike lie in folders of their own, and both are read back."""
    house.use(EVENTS, partition_by="vehicle_id")
    long = "é" * 3000
    values = [long + "1", long + "2"]
    result = house.load(house.drop([{**event(), "vehicle_id": value} for value in values]))
    assert len(partitions(result)) == 2
    assert [row["vehicle_id"] for row in house.rows()] == values


# -- files that are not loaded ----------------------------------------------------------------------------------------


def test_other_bytes_than_claimed_are_told_with_their_digest(house: House) -> None:
    """Of the same size or of another, the file leaves the batch; the others are loaded."""
    same, longer, good = house.drop([event(1)]), house.drop([event(2)]), house.drop([event(3)])
    Path(same.path).write_bytes(new := json.dumps([event(9)]).encode())
    Path(longer.path).write_bytes(new + b" ")
    outcomes = {one.file_id: one for one in house.load(same, longer, good).outcomes}
    first, second = outcomes[same.file_id], outcomes[longer.file_id]
    assert (first.outcome, first.digest, first.size_bytes) == ("changed", hashlib.sha256(new).hexdigest(), len(new))
    assert (second.outcome, second.size_bytes) == ("changed", len(new) + 1)
    assert second.digest == hashlib.sha256(new + b" ").hexdigest()
    assert outcomes[good.file_id].outcome == "loaded"
    assert [row["speed"] for row in house.rows()] == [3]


def test_a_file_that_is_gone_is_missing(house: House) -> None:
    """Gone itself, or with its folder."""
    source = house.drop([event()])
    Path(source.path).unlink()
    assert only(house.load(source)).outcome == "missing"
    house.folder.rmdir()
    house.folder.write_text("a file where the folder was")
    assert only(house.load(source)).outcome == "missing"


def _symlink(path: Path) -> None:
    path.symlink_to("/etc/hostname")


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(path))


@pytest.mark.parametrize("make", [_symlink, os.mkfifo, Path.mkdir, _socket])
def test_what_is_no_regular_file_is_refused(house: House, make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Something took the file's place: it is neither followed nor waited for."""
    source = house.drop([event()])
    Path(source.path).unlink()
    monkeypatch.chdir(house.folder)  # a socket's path must be short
    make(Path(source.path))
    outcome = only(house.load(source))
    assert (outcome.outcome, outcome.code) == ("failed", "not_a_regular_file")
    assert source.name in str(outcome.message)


@pytest.mark.parametrize(
    ("content", "name", "code"),
    [
        (b"", "events_20260115120000.json", "empty"),
        (b"[{", "events_20260115120000.json", "malformed"),
        (b"7", "events_20260115120000.json", "wrong_shape"),
        (b"no gzip", "events_20260115120000.json.gz", "unreadable"),
        (gzip.compress(b"[" + b" " * 11 * MIB + b"]"), "events_20260115120000.json.gz", "too_large"),
    ],
)
def test_unreadable_content_fails_its_file_only(house: House, content: bytes, name: str, code: str) -> None:
    """The code says why; another file of the same task is loaded."""
    bad, good = house.drop(content, name), house.drop([event()])
    outcomes = {one.file_id: one for one in house.load(bad, good).outcomes}
    assert (outcomes[bad.file_id].outcome, outcomes[bad.file_id].code) == ("failed", code)
    assert str(outcomes[bad.file_id].message).startswith(f"reading {name}: ")
    assert outcomes[good.file_id].outcome == "loaded"
    assert len(house.rows()) == 1


def test_a_file_may_not_be_read(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rights are the file's fault."""
    source = house.drop([event()])

    def refuse(*_: Any) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)  # the tests may run as root, who reads everything
    result = load_files(house.job(source))
    assert (only(result).outcome, only(result).code) == ("failed", "unreadable")


def test_too_many_open_files_are_the_worlds_fault(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """What would hit any file does not cost this one."""
    job = house.job(house.drop([event()]))

    def refuse(*_: Any) -> int:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(WorldFault, match="Too many open files"):
        load_files(job)


def test_bad_records_beyond_the_limits_are_named(house: House) -> None:
    """The first of each reason, then how many more; none of the file's records is loaded, none is quarantined."""
    bad = house.drop([event(1), *({"vehicle_id": "v", "at": "soon"} for _ in range(6)), {"at": "2026-01-15T00:00:00Z"}])
    good = house.drop([event(2)])
    outcomes = {one.file_id: one for one in house.load(bad, good).outcomes}
    outcome = outcomes[bad.file_id]
    assert (outcome.outcome, outcome.code) == ("error", "schema_mismatch")
    assert (outcome.records, outcome.rows, outcome.rejected) == (8, 0, 7)
    message = str(outcome.message)
    assert message.startswith(f"decoding {bad.name}: 7 of 8 records break the schema: record ")
    assert 'record 2, field "at"' in message and 'record 8, field "vehicle_id"' in message
    assert message.endswith("; and 5 more")
    assert [(each.code, each.field, each.records) for each in outcome.reasons] == [
        ("bad_timestamp", "at", 6),
        ("missing_field", "vehicle_id", 1),
    ]
    assert [row["speed"] for row in house.rows()] == [2]
    assert house.rows(quarantine.TABLE) == []


# -- rejected records -------------------------------------------------------------------------------------------------


def test_a_bad_record_costs_one_record(house: House) -> None:
    """The good ones are rows with the numbers that they have in the file; the bad ones are rows of the quarantine."""
    first = house.drop([event(1), {**event(2), "at": "soon"}, event(3), {"at": "2026-01-15T00:00:00Z"}, event(5)])
    second = house.drop(
        b'{"vehicle_id": "v9", "at": "2026-01-15T10:00:00Z"}\nno JSON\n', "events_20260116120000.jsonl", NEXT
    )
    batch_id = str(uuid.uuid4())
    result = house.load(first, second, batch_id=batch_id)
    assert [(one.outcome, one.records, one.rows, one.rejected) for one in result.outcomes] == [
        ("loaded", 5, 3, 2),
        ("loaded", 2, 1, 1),
    ]
    assert [(row["_file_id"], row["_record_no"], row["speed"]) for row in house.rows()] == [
        (first.file_id, 1, 1),
        (first.file_id, 3, 3),
        (first.file_id, 5, 5),
        (second.file_id, 1, None),
    ]
    rejected = house.rows(quarantine.TABLE)
    assert [(row["_file_id"], row["_record_no"], row["code"], row["field"]) for row in rejected] == [
        (first.file_id, 2, "bad_timestamp", "at"),
        (first.file_id, 4, "missing_field", "vehicle_id"),
        (second.file_id, 2, "bad_line", None),
    ]
    raw = '{"vehicle_id": "v2", "at": "soon", "speed": 2}'
    assert {key: rejected[0][key] for key in rejected[0] if key not in ("code", "field", "message")} == {
        "file_type": "events",
        "raw": raw,
        "raw_encoding": "utf-8",
        "raw_bytes": len(raw),
        "schema_version": 3,
        "rejected_at": NOW,
        "date": DAY,
        "_source_file": first.name,
        "_file_id": first.file_id,
        "_record_no": 2,
        "_batch_id": batch_id,
    }
    assert {written.table_name: written.rows for written in result.written if str(NEXT) not in written.path} == {
        NAME: 3,
        quarantine.TABLE: 2,
    }


def test_clean_files_touch_no_quarantine(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is opened nor written for it, and no commit is due."""
    opened: list[str] = []
    whole = worker.Output

    def output(handle: Any, *facts: Any, **more: Any) -> Any:
        opened.append(handle.name)
        return whole(handle, *facts, **more)

    monkeypatch.setattr(worker, "Output", output)
    result = load_files(house.job(house.drop([event(1)])))
    assert (opened, result.quarantined) == ([NAME], [])


@pytest.mark.parametrize(
    ("config", "outcome", "rows", "rejected"),
    [
        ({}, "loaded", 2, 2),  # half of them: no more than the ratio
        ({"max_rejected_ratio": 0.4}, "error", 0, 0),
        ({"max_rejected_records": 1}, "error", 0, 0),
        ({"max_rejected_records": 2}, "loaded", 2, 2),
    ],
)
def test_limits_of_a_type(house: House, config: dict[str, Any], outcome: str, rows: int, rejected: int) -> None:
    """Beyond either limit a file loads nothing, and leaves nothing in the quarantine."""
    house.use(EVENTS, **config)
    result = house.load(house.drop([event(1), {}, event(3), {}]))
    assert (only(result).outcome, only(result).records, only(result).rejected) == (outcome, 4, 2)
    assert (len(house.rows()), len(house.rows(quarantine.TABLE))) == (rows, rejected)


def test_nothing_but_bad_records_may_be_allowed(house: House) -> None:
    """With a ratio of 1 such a file is loaded with no row."""
    house.use(EVENTS, max_rejected_ratio=1)
    result = house.load(house.drop([{}, {}]))
    assert (only(result).outcome, only(result).rows, only(result).rejected) == ("loaded", 0, 2)
    assert (house.rows(), len(house.rows(quarantine.TABLE))) == ([], 2)


def test_many_rejected_records_are_written_in_parts(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits in memory of them is bounded; they are all there, each once."""
    monkeypatch.setattr(worker, "QUARANTINE_RECORDS", 4)
    monkeypatch.setattr(worker, "QUARANTINE_BYTES", 1)
    result = house.load(house.drop([record for number in range(10) for record in (event(number), {})]))
    assert [file.record_count for file in result.quarantined] == [4, 4, 2]
    assert [row["_record_no"] for row in house.rows(quarantine.TABLE)] == list(range(2, 21, 2))


def test_what_the_schema_has_not_is_rescued(house: House) -> None:
    """It stands as JSON in its column, null where there is none, and its keys are told."""
    result = house.load(house.drop([event(1), event(2, colour="red"), event(3)]), house.drop([event(4)]))
    assert [row["_rescued"] for row in house.rows()] == [None, '{"colour":"red"}', None, None]
    [key] = result.outcomes[0].unknown
    assert (key.key, key.records, key.sample) == ("colour", 1, '"red"')
    assert result.outcomes[1].unknown == ()


def test_a_full_disk_is_the_worlds_fault(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Writing fails for everybody: the batch waits, no file is blamed; nothing that was written is left."""
    job = house.job(house.drop([event(1), {}]))
    whole = datafiles.write_file

    def full(io: Any, metadata: Any, tasks: Any) -> Iterable[Any]:
        if metadata.location.endswith("rejected_records"):
            raise OSError(28, "No space left on device")
        return whole(io, metadata, tasks)

    monkeypatch.setattr(datafiles, "write_file", full)
    with pytest.raises(WorldFault, match="No space left"):
        load_files(job)
    assert list(house.folder.parent.rglob("*.parquet")) == []


def test_books_that_do_not_balance_are_fatal(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that get lost between decoding and the footers stop everything."""
    job = house.job(house.drop([event(1), event(2)]))
    add = Output.add
    monkeypatch.setattr(Output, "add", lambda output, day, rows: add(output, day, rows.slice(1)))
    with pytest.raises(Fatal, match="2 records were decoded, but the Parquet footers count 1"):
        load_files(job)


def test_rejected_records_that_get_lost_are_fatal(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are in the same books."""
    job = house.job(house.drop([event(1), event(2), {}]))
    whole = worker.quarantine_rows
    monkeypatch.setattr(worker, "quarantine_rows", lambda *facts, **more: whole(*facts, **more).slice(1))
    with pytest.raises(Fatal, match="1 records were rejected, but the Parquet footers count 0"):
        load_files(job)


# -- cutting tasks ----------------------------------------------------------------------------------------------------


def source(number: int, size: int, day: date = DAY, codec: Codec | None = None) -> SourceInput:
    """A claimed file that is not there."""
    return SourceInput(f"{number:04}", "", "", "", day, size, False, codec)


def test_tasks_are_even_and_days_stay_together() -> None:
    """Two days of equal work make two tasks, a day each, in whatever order the files come."""
    inputs = [source(number, MIB, (DAY, NEXT)[number % 2]) for number in range(40)]
    tasks = cut_tasks(inputs, 2)
    assert [{one.day for one in task} for task in tasks] == [{DAY}, {NEXT}]
    assert [len(task) for task in tasks] == [20, 20]
    assert [one.file_id for one in tasks[0]] == sorted(one.file_id for one in tasks[0])


def test_one_day_is_shared_when_it_is_much() -> None:
    """The tasks are of even bytes, not of even files."""
    tasks = cut_tasks([source(0, 30 * MIB), *(source(number, MIB) for number in range(1, 31))], 2)
    assert [len(task) for task in tasks] == [1, 30]


def test_every_file_is_in_one_task() -> None:
    """Nothing is lost or doubled, whatever the sizes and the number of cores."""
    inputs = [source(number, number % 7 * MIB, date(2026, 1, 1 + number % 5)) for number in range(53)]
    for parallelism in (1, 2, 3, 8, 100):
        tasks = cut_tasks(inputs, parallelism)
        assert len(tasks) <= parallelism
        assert all(tasks)
        assert sorted(one.file_id for task in tasks for one in task) == [one.file_id for one in inputs]
    assert cut_tasks([], 2) == []


def test_little_work_is_one_task() -> None:
    """Small files make one data file a day, not one a core; many of them, or compressed ones, are work again."""
    assert len(cut_tasks([source(number, 1000) for number in range(20)], 8)) == 1
    assert len(cut_tasks([source(number, 1000) for number in range(5000)], 2)) == 2
    assert len(cut_tasks([source(number, MIB, codec=CODECS[0]) for number in range(2)], 2)) == 2
