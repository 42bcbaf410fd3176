"""The lake on a real SQLite catalog, real manifests and real Parquet files."""

from __future__ import annotations

import pickle
import sqlite3
import threading
import time
import uuid
from collections.abc import Sequence
from datetime import date
from pathlib import Path

import pyarrow as pa
import pytest
from pyiceberg.exceptions import NoSuchTableError
from pyiceberg.io.pyarrow import write_file
from pyiceberg.manifest import DataFile
from pyiceberg.partitioning import PartitionField, PartitionFieldValue, PartitionKey, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.table import Table, WriteTask
from pyiceberg.transforms import DayTransform, IdentityTransform
from pyiceberg.types import DateType, LongType, NestedField, StringType, StructType, TimestamptzType

from metadata.errors import BatchFault, TypeStopped, WorldFault
from metadata.settings import Settings
from processors.lake import lake as lake_module
from processors.lake.handle import TableHandle
from processors.lake.lake import Lake
from processors.lake.landing import LandingState, derived_snapshot_id

NAME = "raw_data.events"
DAY = date(2026, 1, 15)
SCHEMA = Schema(
    NestedField(1, "vehicle_id", StringType()),
    NestedField(2, "value", LongType()),
    NestedField(3, "date", DateType()),
    NestedField(4, "_source_file", StringType()),
    NestedField(5, "_file_id", StringType()),
    NestedField(6, "_record_no", LongType()),
    NestedField(7, "_batch_id", StringType()),
)
BY_DATE = PartitionSpec(PartitionField(3, 1000, IdentityTransform(), "date"))


def settings_in(folder: Path) -> Settings:
    """Settings whose lake lies in `folder`."""
    environ = {
        "DATALAKE_BASE": str(folder / "lake"),
        "ICEBERG_CATALOG_URI": f"sqlite:///{folder}/catalog.db",
        "DATABASE_URL": f"sqlite:///{folder}/metadata.db",
    }
    return Settings.load(environ, env_file=None)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """A lake with its namespaces and no table."""
    made = Lake(settings_in(tmp_path))
    made.init()
    return made


@pytest.fixture
def table(lake: Lake) -> Table:
    """An empty table, partitioned by date."""
    return lake.ensure_table(NAME, SCHEMA, BY_DATE)


def batch_id_at(seconds: float) -> str:
    """A UUIDv7 made that many seconds from now."""
    milliseconds = int((time.time() + seconds) * 1000)
    return str(uuid.UUID(int=(milliseconds << 80) | (7 << 76) | (2 << 62) | (uuid.uuid4().int & ((1 << 62) - 1))))


def write(lake: Lake, batch_id: str, rows: int = 3, *, name: str = NAME, task: int = 0) -> list[DataFile]:
    """Write one data file as a worker does."""
    table = lake.table(name)
    assert table is not None
    metadata, io = lake.handle(table).open()
    schema, spec = metadata.schema(), metadata.spec()
    batch = pa.record_batch(
        {
            "vehicle_id": [f"v{n}" for n in range(rows)],
            "value": list(range(rows)),
            "date": [DAY] * rows,
            "_source_file": ["a.json"] * rows,
            "_file_id": [batch_id] * rows,
            "_record_no": list(range(1, rows + 1)),
            "_batch_id": [batch_id] * rows,
        }
    )
    key = PartitionKey([PartitionFieldValue(spec.fields[0], DAY)], spec, schema)
    task_ = WriteTask(uuid.UUID(batch_id), task, schema, [batch], partition_key=key)
    return list(write_file(io, metadata, iter([task_])))


def paths_of(data_files: Sequence[DataFile]) -> list[str]:
    """Where data files lie."""
    return [data_file.file_path for data_file in data_files]


def in_table(lake: Lake, data_files: Sequence[DataFile]) -> list[DataFile]:
    """Those data files as the table's current manifests describe them."""
    return [task.file for task in lake.scan_tasks(NAME) if task.file in data_files]


def rows_in(lake: Lake, name: str = NAME) -> int:
    """How many rows the table has now."""
    table = lake.table(name)
    assert table is not None
    return table.scan().to_arrow().num_rows


def snapshots_in(lake: Lake, name: str = NAME) -> int:
    """How many snapshots the table has now."""
    table = lake.table(name)
    assert table is not None
    return len(table.metadata.snapshots)


def expire_all_but_current(lake: Lake) -> None:
    """Cut history as table maintenance does."""
    table = lake.table(NAME)
    assert table is not None
    current = table.current_snapshot()
    assert current is not None
    old = [snapshot.snapshot_id for snapshot in table.metadata.snapshots if snapshot != current]
    table.maintenance.expire_snapshots().by_ids(old).commit()


# -- tables -----------------------------------------------------------------------------------------------------------


def test_init_makes_catalog_and_namespaces_and_may_be_repeated(tmp_path: Path) -> None:
    """The catalog's folder, its file and the three namespaces are there afterwards, however often it runs."""
    settings = settings_in(tmp_path / "new" / "place")
    Lake(settings).init()
    lake = Lake(settings)
    lake.init()
    assert (tmp_path / "new" / "place" / "catalog.db").exists()
    assert sorted(lake.catalog.list_namespaces()) == [("quarantine",), ("raw_data",), ("summary",)]
    assert lake.table_names() == []


def test_a_table_lies_under_its_namespace_and_has_our_properties(lake: Lake, table: Table, tmp_path: Path) -> None:
    """Location, format version, commit retries, metrics and retention are set from the first table on."""
    assert table.location() == f"{tmp_path}/lake/raw_data/events"
    assert table.metadata.format_version == 2
    assert table.properties["commit.retry.num-retries"] == "3"
    assert table.properties["write.metadata.metrics.column._batch_id"] == "full"
    assert table.properties["write.metadata.metrics.column.date"] == "full"
    assert table.properties["write.metadata.delete-after-commit.enabled"] == "true"
    assert lake.table_names() == [NAME]
    assert lake.table("raw_data.other") is None
    assert lake.table("nowhere.other") is None


def test_ensure_table_again_changes_nothing(lake: Lake, table: Table) -> None:
    """A second call commits nothing and hands back the same table."""
    again = lake.ensure_table(NAME, SCHEMA, BY_DATE)
    assert again.metadata_location == table.metadata_location


def test_ensure_table_adds_columns_before_date_in_order(lake: Lake, table: Table) -> None:
    """New columns, nested ones too, stand in the definition's order before `date`; old rows read as null."""
    first = batch_id_at(0)
    lake.append(NAME, first, write(lake, first), {})
    wider = Schema(
        *SCHEMA.fields[:2],
        NestedField(21, "colour", StringType(), doc="of the car"),
        NestedField(22, "place", StructType(NestedField(23, "lat", LongType()))),
        *SCHEMA.fields[2:],
    )
    changed = lake.ensure_table(NAME, wider, BY_DATE)
    expected = ["vehicle_id", "value", "colour", "place", "date", "_source_file", "_file_id", "_record_no", "_batch_id"]
    assert [field.name for field in changed.schema().fields] == expected
    assert changed.schema().find_field("colour").optional
    assert changed.scan().to_arrow()["colour"].to_pylist() == [None] * 3
    assert lake.ensure_table(NAME, wider, BY_DATE).metadata_location == changed.metadata_location
    assert lake.ensure_table(NAME, SCHEMA, BY_DATE).metadata_location == changed.metadata_location


def test_ensure_table_refuses_other_types_and_partitions(lake: Lake, table: Table) -> None:
    """A column of another type and another partitioning stop the type, both named at once."""
    other = Schema(NestedField(1, "vehicle_id", LongType()), *SCHEMA.fields[1:])
    with pytest.raises(TypeStopped, match=r"vehicle_id is string in the table and long in.*partitioned by") as caught:
        lake.ensure_table(NAME, other, PartitionSpec())
    assert caught.value.code == "table_mismatch"


def see_first(monkeypatch: pytest.MonkeyPatch, lake: Lake, table: Table | None) -> None:
    """A lake's next look at its table finds it like this, None: not there; later ones find it as it is."""
    load, looks = lake.catalog.load_table, [table]

    def look(name: str) -> Table:
        if not looks:
            return load(name)
        seen = looks.pop()
        if seen is None:
            raise NoSuchTableError(name)
        return seen

    monkeypatch.setattr(lake.catalog, "load_table", look)


def test_ensure_table_survives_a_faster_one(lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A table that somebody made between the look and the creation is taken as it is."""
    slow = Lake(settings_in(tmp_path))
    see_first(monkeypatch, slow, None)
    made = lake.ensure_table(NAME, SCHEMA, BY_DATE)
    assert slow.ensure_table(NAME, SCHEMA, BY_DATE).metadata.table_uuid == made.metadata.table_uuid


def test_a_handle_is_small_picklable_and_without_the_catalog(lake: Lake, table: Table) -> None:
    """What goes to workers holds neither history nor the catalog's address, and opens to the same schema."""
    first = batch_id_at(0)
    lake.append(NAME, first, write(lake, first), {})
    current = lake.table(NAME)
    assert current is not None
    handle: TableHandle = pickle.loads(pickle.dumps(lake.handle(current)))
    metadata, _ = handle.open()
    assert handle.name == NAME
    assert metadata.schema() == current.schema()
    assert metadata.spec() == current.spec()
    assert metadata.snapshots == []
    assert "sqlite" not in repr(handle)


# -- append -----------------------------------------------------------------------------------------------------------


def test_append_is_one_snapshot_with_the_batch_id_and_the_derived_id(lake: Lake, table: Table) -> None:
    """The snapshot says which batch it is, in its summary and by its id."""
    batch_id = batch_id_at(0)
    commit = lake.append(NAME, batch_id, write(lake, batch_id), {"lemonade.files": "1"})
    assert not commit.landed_before
    assert commit.snapshot_id == derived_snapshot_id(batch_id, NAME) > 0
    current = lake.table(NAME)
    assert current is not None
    snapshot = current.current_snapshot()
    assert snapshot is not None and snapshot.summary is not None
    assert snapshot.snapshot_id == commit.snapshot_id
    assert snapshot.summary["lemonade.batch-id"] == batch_id
    assert snapshot.summary["lemonade.files"] == "1"
    assert rows_in(lake) == 3


def test_append_twice_adds_once(lake: Lake, table: Table) -> None:
    """The same batch again is told that it landed, and adds neither rows nor a snapshot."""
    batch_id = batch_id_at(0)
    data_files = write(lake, batch_id)
    first = lake.append(NAME, batch_id, data_files, {})
    second = lake.append(NAME, batch_id, data_files, {})
    assert (second.snapshot_id, second.landed_before) == (first.snapshot_id, True)
    assert (rows_in(lake), snapshots_in(lake)) == (3, 1)


def test_append_from_a_stale_table_adds_nothing(
    lake: Lake, table: Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second writer that looked before the first one committed finds the batch on its retry."""
    batch_id = batch_id_at(0)
    data_files = write(lake, batch_id)
    other = Lake(settings_in(tmp_path))
    stale = other.table(NAME)
    see_first(monkeypatch, other, stale)
    lake.append(NAME, batch_id, data_files, {})
    commit = other.append(NAME, batch_id, data_files, {})
    assert commit.landed_before
    assert (rows_in(lake), snapshots_in(lake)) == (3, 1)


def test_append_from_a_stale_table_keeps_what_others_added(
    lake: Lake, table: Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A conflict with another batch is retried by PyIceberg on top of it."""
    first, second = batch_id_at(0), batch_id_at(1)
    other = Lake(settings_in(tmp_path))
    stale = other.table(NAME)
    see_first(monkeypatch, other, stale)
    lake.append(NAME, first, write(lake, first), {})
    commit = other.append(NAME, second, write(lake, second), {})
    assert not commit.landed_before
    assert (rows_in(lake), snapshots_in(lake)) == (6, 2)


def test_two_writers_at_once_land_a_batch_once(lake: Lake, table: Table, tmp_path: Path) -> None:
    """Threads with catalogs of their own race with one batch; one snapshot comes of it."""
    batch_id = batch_id_at(0)
    data_files = write(lake, batch_id)
    barrier = threading.Barrier(3)
    commits = []

    def run() -> None:
        mine = Lake(settings_in(tmp_path))
        mine.table(NAME)
        barrier.wait()
        commits.append(mine.append(NAME, batch_id, data_files, {}))

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(commits) == 3
    assert sum(not commit.landed_before for commit in commits) == 1
    assert (rows_in(lake), snapshots_in(lake)) == (3, 1)


def test_an_append_of_nothing_is_a_bug(lake: Lake, table: Table) -> None:
    """Iceberg would make an empty snapshot."""
    with pytest.raises(ValueError, match="no data files"):
        lake.append(NAME, batch_id_at(0), [], {})
    assert snapshots_in(lake) == 0


def test_a_table_that_is_gone_stops_the_type(lake: Lake, table: Table) -> None:
    """Somebody dropped the table between the write and the commit."""
    batch_id = batch_id_at(0)
    data_files = write(lake, batch_id)
    lake.catalog.drop_table(NAME)
    with pytest.raises(TypeStopped) as caught:
        lake.append(NAME, batch_id, data_files, {})
    assert caught.value.code == "table_missing"
    assert lake.landed(NAME, batch_id, paths_of(data_files)).state is LandingState.HISTORY_CUT


def test_a_locked_catalog_is_the_worlds_fault(
    lake: Lake, table: Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another program holds SQLite's lock beyond the busy timeout: nothing landed, and the next call lands it."""
    monkeypatch.setattr(lake_module, "BUSY_TIMEOUT_SECONDS", 0.1)
    batch_id = batch_id_at(0)
    data_files = write(lake, batch_id)
    hurried = Lake(settings_in(tmp_path))
    with sqlite3.connect(tmp_path / "catalog.db", isolation_level=None) as locker:
        locker.execute("BEGIN IMMEDIATE")
        with pytest.raises(WorldFault, match="locked") as caught:
            hurried.append(NAME, batch_id, data_files, {})
        locker.execute("ROLLBACK")
    assert caught.value.code == "catalog_away"
    assert lake.landed(NAME, batch_id, paths_of(data_files)).state is LandingState.ABSENT
    assert not hurried.append(NAME, batch_id, data_files, {}).landed_before
    assert rows_in(lake) == 3


def test_a_broken_metadata_file_stops_the_type_only(lake: Lake, table: Table) -> None:
    """A metadata file that somebody removed names itself."""
    Path(table.metadata_location).unlink()
    with pytest.raises(TypeStopped, match=r"metadata\.json") as caught:
        lake.table(NAME)
    assert caught.value.code == "table_broken"


# -- landed -----------------------------------------------------------------------------------------------------------


def test_landed_and_absent_while_history_is_whole(lake: Lake, table: Table) -> None:
    """An empty table and a table of other batches know that a batch is absent; its own snapshot says landed."""
    first, second = batch_id_at(0), batch_id_at(1)
    files = {key: write(lake, key) for key in (first, second)}
    assert lake.landed(NAME, first, paths_of(files[first])).state is LandingState.ABSENT
    commit = lake.append(NAME, first, files[first], {})
    landing = lake.landed(NAME, first, paths_of(files[first]))
    assert (landing.state, landing.snapshot_id) == (LandingState.LANDED, commit.snapshot_id)
    assert lake.landed(NAME, second, paths_of(files[second])).state is LandingState.ABSENT


def test_landed_below_other_snapshots(lake: Lake, table: Table) -> None:
    """A batch is found under the snapshots that came after it."""
    first, second = batch_id_at(0), batch_id_at(1)
    files = {key: write(lake, key) for key in (first, second)}
    lake.append(NAME, first, files[first], {})
    lake.append(NAME, second, files[second], {})
    assert lake.landed(NAME, first, []).state is LandingState.LANDED


def test_landed_by_its_data_files_when_its_snapshot_has_expired(lake: Lake, table: Table) -> None:
    """Expiry takes the snapshot, the manifests still hold the paths; no data file is opened to know it."""
    first, second = batch_id_at(0), batch_id_at(1)
    files = {key: write(lake, key) for key in (first, second)}
    commit = lake.append(NAME, first, files[first], {})
    lake.append(NAME, second, files[second], {})
    expire_all_but_current(lake)
    for path in paths_of(files[first]):
        Path(path).unlink()
    landing = lake.landed(NAME, first, paths_of(files[first]))
    assert (landing.state, landing.snapshot_id) == (LandingState.LANDED, commit.snapshot_id)


def test_landed_by_its_rows_when_its_files_were_rewritten_too(lake: Lake, table: Table) -> None:
    """After compaction and expiry only the rows' `_batch_id` is left of a batch."""
    first, second = batch_id_at(0), batch_id_at(1)
    files = write(lake, first)
    lake.append(NAME, first, files, {})
    lake.overwrite(NAME, "compact", second, delete=in_table(lake, files), append=write(lake, first, task=7))
    expire_all_but_current(lake)
    assert lake.landed(NAME, first, paths_of(files)).state is LandingState.LANDED


def test_cut_history_without_a_trace_asks_for_a_person(lake: Lake, table: Table) -> None:
    """The kept history begins after the batch was made, and nothing of the batch is in the table."""
    batch_id, first, second = batch_id_at(-300), batch_id_at(0), batch_id_at(1)
    files = write(lake, batch_id)
    for other in (first, second):
        lake.append(NAME, other, write(lake, other), {})
    assert lake.landed(NAME, batch_id, paths_of(files)).state is LandingState.ABSENT
    expire_all_but_current(lake)
    assert lake.landed(NAME, batch_id, paths_of(files)).state is LandingState.HISTORY_CUT


def test_history_cut_before_the_batch_was_made_still_knows(lake: Lake, table: Table) -> None:
    """Expiry of snapshots older than the batch hides nothing of it: it is absent."""
    first, second, batch_id = batch_id_at(0), batch_id_at(1), batch_id_at(300)
    files = write(lake, batch_id)
    for other in (first, second):
        lake.append(NAME, other, write(lake, other), {})
    expire_all_but_current(lake)
    assert lake.landed(NAME, batch_id, paths_of(files)).state is LandingState.ABSENT


def test_a_batch_that_was_rolled_back_asks_for_a_person(lake: Lake, table: Table) -> None:
    """Its snapshot is known but no ancestor of main: neither landed nor absent, and not to be added again."""
    first, second = batch_id_at(0), batch_id_at(1)
    files = {key: write(lake, key) for key in (first, second)}
    commit = lake.append(NAME, first, files[first], {})
    lake.append(NAME, second, files[second], {})
    current = lake.table(NAME)
    assert current is not None
    current.manage_snapshots().rollback_to_snapshot(commit.snapshot_id).commit()
    assert lake.landed(NAME, first, paths_of(files[first])).state is LandingState.LANDED
    assert lake.landed(NAME, second, paths_of(files[second])).state is LandingState.HISTORY_CUT
    with pytest.raises(TypeStopped) as caught:
        lake.append(NAME, second, files[second], {})
    assert caught.value.code == "history_cut"
    assert rows_in(lake) == 3


# -- append_paths -----------------------------------------------------------------------------------------------------


def test_append_paths_commits_what_the_worker_wrote(lake: Lake, table: Table) -> None:
    """Recovery's descriptions are those of the worker: rows, partition, bounds and size."""
    batch_id = batch_id_at(0)
    written = write(lake, batch_id)
    commit = lake.append_paths(NAME, batch_id, paths_of(written), {"lemonade.files": "1"})
    assert (commit.snapshot_id, commit.landed_before) == (derived_snapshot_id(batch_id, NAME), False)
    [task] = lake.scan_tasks(NAME)
    for attribute in ("record_count", "partition", "lower_bounds", "upper_bounds", "file_size_in_bytes"):
        assert getattr(task.file, attribute) == getattr(written[0], attribute), attribute
    assert task.file.lower_bounds[table.schema().find_field("_batch_id").field_id] == batch_id.encode()
    again = lake.append_paths(NAME, batch_id, paths_of(written), {})
    assert again.landed_before
    assert (rows_in(lake), snapshots_in(lake)) == (3, 1)


def test_append_paths_of_files_written_before_a_column_was_added(lake: Lake, table: Table) -> None:
    """A batch prepared under the old schema is committed under the new one."""
    batch_id = batch_id_at(0)
    written = write(lake, batch_id)
    wider = Schema(*SCHEMA.fields[:2], NestedField(21, "colour", StringType()), *SCHEMA.fields[2:])
    lake.ensure_table(NAME, wider, BY_DATE)
    lake.append_paths(NAME, batch_id, paths_of(written), {})
    assert rows_in(lake) == 3


def test_append_paths_refuses_files_that_are_in_the_table(lake: Lake, table: Table) -> None:
    """The same data file under another batch id would double its rows."""
    first, second = batch_id_at(0), batch_id_at(1)
    written = write(lake, first)
    lake.append(NAME, first, written, {})
    with pytest.raises(TypeStopped) as caught:
        lake.append_paths(NAME, second, paths_of(written), {})
    assert caught.value.code == "data_files_present"
    assert rows_in(lake) == 3


def test_append_paths_names_a_file_that_is_gone(lake: Lake, table: Table) -> None:
    """A prepared batch whose data file somebody deleted needs a person."""
    batch_id = batch_id_at(0)
    [path] = paths_of(write(lake, batch_id))
    Path(path).unlink()
    with pytest.raises(TypeStopped, match="is gone") as caught:
        lake.append_paths(NAME, batch_id, [path], {})
    assert caught.value.code == "data_file_missing"
    assert snapshots_in(lake) == 0


# -- overwrite --------------------------------------------------------------------------------------------------------


def test_overwrite_replaces_files_in_one_snapshot_once(lake: Lake, table: Table) -> None:
    """What goes and what comes is one snapshot that names its operation; the same operation again does nothing."""
    first, second, operation = batch_id_at(0), batch_id_at(1), batch_id_at(2)
    old, kept = write(lake, first), write(lake, second, rows=2)
    lake.append(NAME, first, old, {})
    lake.append(NAME, second, kept, {})
    new = write(lake, operation, rows=5)
    snapshot_id = lake.overwrite(NAME, "summary", operation, delete=in_table(lake, old), append=new)
    assert (rows_in(lake), snapshots_in(lake)) == (7, 3)
    current = lake.table(NAME)
    assert current is not None
    snapshot = current.current_snapshot()
    assert snapshot is not None and snapshot.summary is not None
    assert snapshot.snapshot_id == snapshot_id
    assert snapshot.summary["lemonade.operation"] == "summary"
    assert snapshot.summary["lemonade.operation-id"] == operation
    assert lake.overwrite(NAME, "summary", operation, delete=in_table(lake, old), append=new) == snapshot_id
    assert (rows_in(lake), snapshots_in(lake)) == (7, 3)


def test_overwrite_of_nothing_makes_no_snapshot(lake: Lake, table: Table) -> None:
    """It answers with the current snapshot, if there is one."""
    assert lake.overwrite(NAME, "undo", batch_id_at(0), [], []) is None
    batch_id = batch_id_at(0)
    commit = lake.append(NAME, batch_id, write(lake, batch_id), {})
    assert lake.overwrite(NAME, "undo", batch_id_at(1), [], []) == commit.snapshot_id
    assert snapshots_in(lake) == 1


def test_overwrite_of_a_file_that_is_gone_is_a_conflict(lake: Lake, table: Table) -> None:
    """Somebody else took the file out: the operation has to be prepared again, nothing is committed."""
    first, second, third = batch_id_at(0), batch_id_at(1), batch_id_at(2)
    old = write(lake, first)
    lake.append(NAME, first, old, {})
    taken = in_table(lake, old)
    lake.overwrite(NAME, "undo", second, delete=taken, append=[])
    with pytest.raises(BatchFault) as caught:
        lake.overwrite(NAME, "undo", third, delete=taken, append=write(lake, third))
    assert caught.value.code == "commit_conflict"
    assert (rows_in(lake), snapshots_in(lake)) == (0, 2)


def test_scan_tasks_prune_by_partition_and_reach_back(lake: Lake, table: Table) -> None:
    """Only files that may match, also of an older snapshot; none of a table that is not there."""
    first, second = batch_id_at(0), batch_id_at(1)
    commit = lake.append(NAME, first, write(lake, first), {})
    lake.append(NAME, second, write(lake, second), {})
    assert len(lake.scan_tasks(NAME)) == 2
    assert len(lake.scan_tasks(NAME, f"_batch_id = '{first}'")) == 1
    assert len(lake.scan_tasks(NAME, snapshot_id=commit.snapshot_id)) == 1
    assert lake.scan_tasks(NAME, "date = '2026-01-16'") == []
    assert lake.scan_tasks("raw_data.other") == []


def test_a_day_transform_of_a_timestamp_fits_again(lake: Lake) -> None:
    """A table with a transformed partition is recognised as what the type asks for."""
    schema = Schema(NestedField(1, "at", TimestamptzType()), NestedField(2, "date", DateType()))
    spec = PartitionSpec(PartitionField(1, 1000, DayTransform(), "at_day"))
    made = lake.ensure_table("raw_data.byday", schema, spec)
    assert lake.ensure_table("raw_data.byday", schema, spec).metadata_location == made.metadata_location
