"""The audit: what balances, what is in work, and each kind of tampering; on real SQLite and Iceberg, without Spark."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from books import assert_app_books
from click.testing import CliRunner, Result
from command import events_file
from conftest import make_settings
from pyiceberg.table import Table
from sqlalchemy import text
from workshop import Workshop

from metadata.database.models import Operation, SourceFile
from metadata.database.states import FileState
from metadata.errors import UsageError
from metadata.ledger import books
from metadata.ledger.books import Scope
from metadata.settings import Settings
from processors.lake.quarantine_table import TABLE as QUARANTINE
from processors.read import audit as auditing
from processors.read.audit import audit
from processors.read.audit_files import folder_of_state
from processors.read.findings import Audit, Code
from processors.read.lineage import BATCH_COLUMN, FILE_COLUMN, LineageReader, rows_by_scan
from watcher.commands.audit import audit as command
from watcher.daemon.service import Service

TABLE = "raw_data.vehicle_events"
FIRST = "vehicles_events_20260114120000.json"
SECOND = "vehicles_events_20260115120000.json"
THIRD = "vehicles_events_20260115130000.json"
STATUS = "vehicle_status_20260115120000.json"


def loaded(settings: Settings) -> Workshop:
    """Three files of events in two batches of 5 and 7 + 9 rows, one of status reports: all loaded."""
    made = Workshop(settings)
    made.drop(FIRST, rows=5)
    made.load()
    made.drop(SECOND, rows=7, start=5)
    made.drop(THIRD, rows=9, start=12)
    made.drop(STATUS, [{"vehicle_id": "v1", "report_time": "2026-01-15T11:00:00Z", "status": "ok"}])
    made.load()
    return made


@pytest.fixture
def shop(settings: Settings) -> Iterator[Workshop]:
    """A loaded workshop of the test's own."""
    made = loaded(settings)
    yield made
    made.close()


@pytest.fixture(scope="module")
def lent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    """A loaded workshop for tests that put back what they change."""
    made = loaded(make_settings(tmp_path_factory.mktemp("lent")))
    yield made
    assert codes(made) == [], "a test left something changed"
    made.close()


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    """Two batches of a file each, of 4 good and 2 bad records and of 3 and 1; who changes something puts it back."""
    made = Workshop(make_settings(tmp_path_factory.mktemp("strict")))
    for name, rows, bad in ((FIRST, 4, 2), (SECOND, 3, 1)):
        made.drop(name, {"vehicles_events": [*events_file(rows)["vehicles_events"], *[{"vehicle_id": "v"}] * bad]})
        made.load()
    yield made
    assert codes(made) == [], "a test left something changed"
    made.close()


@contextmanager
def aside(path: Path, content: bytes | None = None) -> Iterator[Path]:
    """The file is away, or holds something else meanwhile."""
    kept = path.rename(path.with_name(".aside"))
    try:
        if content is not None:
            path.write_bytes(content)
        yield path
    finally:
        kept.replace(path)


def look(shop: Workshop, scope: Scope | None = None) -> Audit:
    """An audit."""
    app = shop.app
    return audit(app.settings, app.ledger, app.registry, app.lake(), app.clock, scope)


def codes(shop: Workshop, scope: Scope | None = None) -> list[str]:
    """The codes of what an audit finds, sorted."""
    return sorted(finding.code.value for finding in look(shop, scope).findings)


def file(shop: Workshop, name: str) -> SourceFile:
    """The ledger's row of a name."""
    (row,) = shop.rows(name)
    return row


def table(shop: Workshop, name: str = TABLE) -> Table:
    """A table as it is now."""
    found = shop.app.lake().table(name)
    assert found is not None
    return found


def data_files(shop: Workshop, batch_id: str | None) -> list[Path]:
    """The data files of a batch."""
    return [Path(path) for path in shop.app.ledger.data_file_paths(str(batch_id))]


def sql(shop: Workshop, statement: str, **values: Any) -> Any:
    """What somebody does to the ledger with a shell; the one value that it selects."""
    with shop.app.database.writing() as session:
        result = session.execute(text(statement), values)
        return result.scalar_one() if statement.startswith("SELECT") else None


def run(shop: Workshop, *arguments: str) -> Result:
    """`lemonade audit …` in this process; its errors are raised."""
    return CliRunner().invoke(command, arguments, obj=shop.app, catch_exceptions=False)


# -- what balances ------------------------------------------------------------------------------------------------


def test_books_balance_whatever_became_of_the_files(shop: Workshop) -> None:
    """Loaded, failed, refused, held, claimed, duplicate and missing files with all their rows: nothing is found."""
    shop.drop("vehicles_events_20260115140000.json", "{")
    shop.drop("no name", "{}")
    shop.drop("strange_20260115120000.json", "[]")
    shop.drop(SECOND, rows=7, start=5)
    shop.load()
    shop.drop("vehicles_events_20260115150000.json", rows=2, start=50)
    shop.drop("vehicles_events_20260115150001.json", rows=2, start=52)
    shop.claim()
    shop.app.ledger.mark_missing(shop.rows("vehicles_events_20260115150001.json")[0].id, "removed")
    Path(shop.rows("vehicles_events_20260115150001.json")[0].path).unlink()
    states = sorted(shop.states())
    assert states == ["claimed", "duplicate", "failed", "failed", "held", *["loaded"] * 4, "missing"]
    result = look(shop)
    assert (result.findings, result.files, result.rows, result.in_work.files) == ([], 10, 22, 0)
    assert_app_books(shop.app, 21, key="vehicle_id")


def test_an_empty_lake_balances(settings: Settings) -> None:
    """Before the first file there is nothing to find."""
    made = Workshop(settings)
    assert (look(made).balanced, look(made).files) == (True, 0)
    made.close()


def test_a_batch_in_work_is_no_fault(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that is in the middle of a batch, or died there, leaves files in work and nothing to find."""

    def die(*_args: object, **_kwargs: object) -> None:
        raise KeyboardInterrupt

    for number, step in enumerate(("prepare", "record", "settle")):
        shop.drop(f"vehicles_events_2026011516000{number}.json", rows=3, start=60 + 3 * number)
        shop.claim()
        with monkeypatch.context() as patch:
            patch.setattr(shop.work.microbatches.ledger, step, die)
            with pytest.raises(KeyboardInterrupt):
                shop.flush()
        result = look(shop)
        assert (result.findings, result.in_work.files, result.in_work.batches) == ([], 1, 1), step
        shop.begin().recover()
        shop.load()
    assert_app_books(shop.app, 30, key="vehicle_id")


def test_what_only_the_first_look_saw_is_no_finding(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    """A claimed file that was loaded between the look at the ledger and the look at its path is not missing."""
    shop.drop("vehicles_events_20260115160000.json", rows=3, start=60)
    shop.claim()
    before = books.read_books(shop.app.database, Scope())
    shop.flush()
    looks = iter([before])
    monkeypatch.setattr(auditing, "read_books", lambda *args: next(looks, None) or books.read_books(*args))
    assert codes(shop) == []
    assert next(looks, None) is None


def test_bounds_spare_the_reading_of_columns(lent: Workshop) -> None:
    """A data file of one source file is counted from the manifest, one of several by its `_file_id` alone."""
    reader = LineageReader(lent.app.lake(), Scope(), lambda: False)
    first, later = reader.read(TABLE), reader.read(TABLE)
    assert first is not None and later is not None
    assert (first.data_files, first.read) == (len(data_files(lent, file(lent, FIRST).batch_id)) + 1, 1)
    assert later.read == 0, "a data file never changes"
    assert first.pairs == later.pairs
    tasks = [task for task in table(lent).scan().plan_files() if task.file.record_count == 16]
    expected = {(file(lent, name).batch_id, file(lent, name).id): rows for name, rows in ((SECOND, 7), (THIRD, 9))}
    assert rows_by_scan(table(lent), tasks[0]) == expected, "where delete files lie beside it"


# -- tampering ----------------------------------------------------------------------------------------------------


def test_a_deleted_data_file_is_noticed(lent: Workshop) -> None:
    """The data file is named, once, and the rows that went with it are not told again."""
    (path,) = data_files(lent, file(lent, SECOND).batch_id)
    with aside(path):
        (finding,) = look(lent).findings
    assert finding.code is Code.DATA_FILE_MISSING
    assert str(path) in finding.thing
    assert (finding.expected, finding.found) == ("16 rows", "nothing")


def test_a_damaged_data_file_is_noticed(lent: Workshop) -> None:
    """A data file of another length, and one of the same length that is no Parquet any more."""
    (path,) = data_files(lent, file(lent, SECOND).batch_id)
    whole = path.read_bytes()
    for content, code in ((whole[:-1], "data_file_changed"), (b"x" * len(whole), "data_file_unreadable")):
        with aside(path, content):
            assert codes(lent) == [code]


def test_rows_appended_behind_its_back_are_noticed(shop: Workshop) -> None:
    """Copies of rows are too many rows of their file; rows with no ids, or ids of nobody, are unknown."""
    rows = table(shop).scan().to_arrow()
    table(shop).append(rows.filter(pa.compute.equal(rows["vehicle_id"], "v0")))
    (finding,) = look(shop).findings
    assert (finding.code, finding.expected, finding.found) == (Code.ROWS_EXTRA, "5 rows", "6 rows")
    assert file(shop, FIRST).id in finding.thing

    nobody = rows.slice(0, 2)
    for column, value in ((FILE_COLUMN, file(shop, FIRST).id), (BATCH_COLUMN, "no batch")):
        at = nobody.column_names.index(column)
        nobody = nobody.set_column(at, nobody.schema.field(at), pa.array([value] * 2, nobody.schema.field(at).type))
    table(shop).append(nobody)
    table(shop).append(rows.slice(0, 3).drop_columns([FILE_COLUMN, BATCH_COLUMN]))
    unknown = [finding for finding in look(shop).findings if finding.code is Code.ROWS_UNKNOWN]
    assert sorted(finding.found for finding in unknown) == ["2 rows", "3 rows"]


def test_rows_deleted_behind_its_back_are_noticed(shop: Workshop) -> None:
    """The file whose rows are fewer than the ledger says is told."""
    table(shop).delete("vehicle_id = 'v7'")
    (finding,) = look(shop).findings
    assert (finding.code, finding.expected, finding.found) == (Code.ROWS_MISSING, "7 rows", "6 rows")
    assert file(shop, SECOND).id in finding.thing


def test_an_edited_ledger_is_noticed(lent: Workshop) -> None:
    """Whichever count, state or batch somebody changes with SQL: two numbers disagree."""
    row = file(lent, SECOND)
    places = {"source_files": "id", "batch_files": "file_id", "batches": "id", "batch_data_files": "batch_id"}
    for table_name, column, value, expected in (
        ("source_files", "rows", 6, ["counts_disagree", "counts_disagree", "rows_extra"]),
        ("source_files", "rows", 8, ["counts_disagree", "counts_disagree", "rows_missing"]),
        ("source_files", "records", 99, ["counts_disagree", "counts_disagree"]),
        ("batch_files", "rows", 99, ["counts_disagree"] * 2),
        ("batches", "expected_rows", 99, ["counts_disagree"] * 2),
        ("batches", "rejected", 1, ["counts_disagree"]),
        ("batch_data_files", "rows", 99, ["counts_disagree"]),
        ("source_files", "batch_id", None, ["counts_disagree", "rows_extra"]),
        ("source_files", "state", "undone", ["file_misplaced", "rows_extra"]),
        ("source_files", "state", "batched", ["file_forgotten", "file_misplaced", "rows_extra"]),
    ):
        where = f"WHERE {places[table_name]} = :key"
        key = row.batch_id if table_name.startswith("batch") and table_name != "batch_files" else row.id
        before = sql(lent, f"SELECT {column} FROM {table_name} {where}", key=key)
        sql(lent, f"UPDATE {table_name} SET {column} = :value {where}", value=value, key=key)
        try:
            assert codes(lent) == expected, (table_name, column, value)
        finally:
            sql(lent, f"UPDATE {table_name} SET {column} = :value {where}", value=before, key=key)


# -- rejected records ---------------------------------------------------------------------------------------------


def test_rejected_records_are_part_of_the_books(strict: Workshop) -> None:
    """They are counted beside the rows, by day too, and told by the command."""
    result = look(strict)
    assert (result.rows, result.rejected, result.findings) == (7, 3, [])
    one_day = look(strict, Scope(first=date(2026, 1, 15)))
    assert (one_day.rows, one_day.rejected, one_day.findings) == (3, 1, [])
    assert "7 rows and 3 rejected records in 4 data files" in run(strict).output
    assert json.loads(run(strict, "--json").output)["rejected"] == 3


def test_records_of_the_quarantine_that_somebody_touched_are_noticed(strict: Workshop) -> None:
    """Deleted, doubled, another batch's, or the whole snapshot rolled back."""
    before = table(strict, QUARANTINE).metadata.current_snapshot_id
    rows = table(strict, QUARANTINE).scan().to_arrow()
    at = rows.column_names.index(BATCH_COLUMN)
    foreign = rows.set_column(at, rows.schema.field(at), pa.array(["no batch"] * 3, rows.schema.field(at).type))
    tamperings: list[tuple[Callable[[Table], object], list[tuple[str, str, str]]]] = [
        (lambda it: it.delete("_record_no = 6"), [("rows_missing", "2 rows", "1 rows")]),
        (lambda it: it.append(rows.filter(pc.equal(rows["_record_no"], 4))), [("rows_extra", "1 rows", "2 rows")]),
        (lambda it: it.append(foreign), [("rows_unknown", "none", "3 rows")]),
        (
            lambda it: it.manage_snapshots().rollback_to_snapshot(it.metadata.snapshots[0].snapshot_id).commit(),
            [("snapshot_gone", "1 rows in the table's history", "rolled back")],
        ),
    ]
    for tamper, expected in tamperings:
        tamper(table(strict, QUARANTINE))
        try:
            findings = look(strict).findings
            assert [(each.code.value, each.expected, each.found) for each in findings] == expected
            assert all(QUARANTINE in each.thing for each in findings)
        finally:
            table(strict, QUARANTINE).manage_snapshots().set_current_snapshot(before or 0).commit()


def test_a_data_file_of_the_quarantine_that_is_gone_is_noticed(strict: Workshop) -> None:
    """It is a table like any other; so is the catalog's entry."""
    [path] = strict.app.ledger.data_file_paths(str(file(strict, FIRST).batch_id), QUARANTINE)
    with aside(Path(path)):
        assert codes(strict) == ["data_file_missing"]
    location = table(strict, QUARANTINE).metadata_location
    strict.app.lake().catalog.drop_table(QUARANTINE)
    assert codes(strict) == ["table_missing"]
    strict.app.lake().catalog.register_table(QUARANTINE, location)


def test_an_edited_count_of_rejected_records_is_noticed(strict: Workshop) -> None:
    """Whichever of the numbers it is, another one disagrees."""
    row = file(strict, FIRST)
    for table_name, key, column, value, expected in (
        ("batches", "id", "quarantine_rows", 9, ["counts_disagree"] * 2),
        ("batch_data_files", "batch_id", "rows", 9, ["counts_disagree"]),
        ("rejects", "batch_id", "records", 9, ["counts_disagree"]),
        ("source_files", "id", "replayed", 1, ["rows_extra", "rows_missing"]),
        ("source_files", "id", "discarded", 1, ["rows_extra"]),
        ("source_files", "id", "discarded", 3, ["counts_disagree", "rows_extra"]),
    ):
        where = f"WHERE {key} = :key"
        mine = row.id if table_name == "source_files" else row.batch_id
        if table_name == "batch_data_files":
            where += f" AND table_name = '{QUARANTINE}'"
        before = sql(strict, f"SELECT {column} FROM {table_name} {where}", key=mine)
        sql(strict, f"UPDATE {table_name} SET {column} = :value {where}", value=value, key=mine)
        try:
            assert codes(strict) == expected, (table_name, column, value)
        finally:
            sql(strict, f"UPDATE {table_name} SET {column} = :value {where}", value=before, key=mine)


def test_records_whose_operation_is_in_work_are_left_out(strict: Workshop) -> None:
    """A replay or discard that is not settled may have changed one table and not yet the other."""
    row = file(strict, SECOND)
    before = table(strict, QUARANTINE).metadata.current_snapshot_id
    with strict.app.database.writing() as session:
        session.add(
            Operation(
                id="op",
                kind="discard",
                file_type="vehicle_events",
                table_name=TABLE,
                state="prepared",
                file_ids=[row.id],
                planned_at=strict.app.clock.now(),
            )
        )
    table(strict, QUARANTINE).delete(f"_file_id = '{row.id}'")
    try:
        result = look(strict)
        assert (result.findings, result.in_work.operations, result.in_work.files) == ([], 1, 1)
        sql(strict, "UPDATE operations SET state = 'settled' WHERE id = 'op'")
        assert codes(strict) == ["rows_missing"]
    finally:
        table(strict, QUARANTINE).manage_snapshots().set_current_snapshot(before or 0).commit()
        sql(strict, "DELETE FROM operations WHERE id = 'op'")


def test_a_file_moved_by_hand_is_noticed(lent: Workshop) -> None:
    """It is found by its name and bytes in another of our folders; one that is nowhere is missing."""
    row = file(lent, SECOND)
    elsewhere = lent.app.settings.source_data_base / "failed" / SECOND
    content = Path(row.path).read_bytes()
    with aside(Path(row.path)):
        elsewhere.write_bytes(content)
        (finding,) = look(lent).findings
        assert (finding.code, finding.expected, finding.found) == (Code.FILE_MOVED, row.path, str(elsewhere))
        elsewhere.write_bytes(content[:-1] + b" ")
        assert codes(lent) == ["file_missing_on_disk", "unknown_file"]
        elsewhere.unlink()
        assert codes(lent) == ["file_missing_on_disk"]


def test_a_loaded_file_that_was_written_to_is_noticed(lent: Workshop) -> None:
    """Its size is no longer the one that was loaded."""
    path = Path(file(lent, SECOND).path)
    with aside(path, path.read_bytes() + b" "):
        assert codes(lent) == ["file_changed"]


def test_files_that_the_ledger_does_not_know_are_noticed(lent: Workshop) -> None:
    """In any of our folders, but not what we put beside files, and not what has just arrived to be claimed."""
    base = lent.app.settings.source_data_base
    made = [base / name for name in ("failed/x.json", "undone/vehicle_events/y", "held/h/z", "processing/p/q")]
    for path in made:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    (base / "failed/.hidden").write_text("x")
    (base / "failed/x.json.error.json").write_text("x")
    assert codes(lent) == ["unknown_file"] * 4
    now = (base / "processing/p/q").stat().st_ctime
    lent.clock.forward(now - lent.clock.now().timestamp())
    result = look(lent)
    assert ([finding.code for finding in result.findings], result.in_work.files) == ([Code.UNKNOWN_FILE] * 2, 2)
    for path in (*made, base / "failed/.hidden", base / "failed/x.json.error.json"):
        path.unlink()


def test_a_table_that_was_rolled_back_is_noticed(shop: Workshop) -> None:
    """The batch's snapshot is told, and not also each of its files."""
    before = shop.app.ledger.batch(str(file(shop, FIRST).batch_id)).snapshot_id
    assert before is not None
    table(shop).manage_snapshots().rollback_to_snapshot(before).commit()
    (finding,) = look(shop).findings
    assert (finding.code, finding.found) == (Code.SNAPSHOT_GONE, "rolled back")
    assert str(file(shop, SECOND).batch_id) in finding.thing


def test_an_expired_snapshot_is_no_fault(shop: Workshop) -> None:
    """Table care forgets old snapshots; their rows are still there."""
    before = shop.app.ledger.batch(str(file(shop, FIRST).batch_id)).snapshot_id
    assert before is not None
    table(shop).maintenance.expire_snapshots().by_id(before).commit()
    assert codes(shop) == []


def test_a_lost_table_is_noticed(shop: Workshop) -> None:
    """Dropped from the catalog, or without one of its own files."""
    shop.app.lake().catalog.drop_table("raw_data.vehicle_status")
    (finding,) = look(shop).findings
    assert (finding.code, finding.expected) == (Code.TABLE_MISSING, "1 rows")
    snapshot = table(shop).current_snapshot()
    assert snapshot is not None
    manifests = Path(snapshot.manifest_list)
    with aside(manifests, b"x" * manifests.stat().st_size):
        assert codes(shop) == ["table_broken", "table_missing"]
    manifests.unlink()
    assert codes(shop) == ["table_broken", "table_missing"]


# -- what is asked for ---------------------------------------------------------------------------------------------


def test_only_what_is_asked_for_is_looked_at(lent: Workshop) -> None:
    """By type and by the days in names: the others' files and rows are neither counted nor found."""
    (path,) = data_files(lent, file(lent, SECOND).batch_id)
    unknown = lent.app.settings.source_data_base / "failed" / "vehicle_status" / STATUS
    unknown.parent.mkdir()
    unknown.write_text("x")
    with aside(path):
        assert codes(lent, Scope("vehicle_events")) == ["data_file_missing"]
        assert codes(lent, Scope("vehicle_status")) == ["unknown_file"]
        day = date(2026, 1, 14)
        earlier = look(lent, Scope(first=day, last=day))
        assert (earlier.findings, earlier.files, earlier.rows) == ([], 1, 5)
        assert codes(lent, Scope(first=date(2026, 1, 15))) == ["data_file_missing", "unknown_file"]
    unknown.unlink()


def test_the_command_says_it_in_text_and_json(lent: Workshop) -> None:
    """Exit 0 and one line; exit 1 and a list with cures; a type that nobody knows is a usage error."""
    fine = run(lent)
    assert fine.exit_code == 0
    assert fine.output == "books balance: 4 files, 22 rows in 3 data files of 3 tables\n"
    with aside(Path(file(lent, SECOND).path)):
        bad = run(lent, "--type", "vehicle_events")
        answer = json.loads(run(lent, "--json").output)
    assert bad.exit_code == 1
    assert bad.output.startswith(f"file_missing_on_disk: file {SECOND}")
    assert (answer["balanced"], answer["findings"][0]["code"]) == (False, "file_missing_on_disk")
    assert "backup" in answer["findings"][0]["cure"]
    for wrong in (("--type", "nobody"), ("--from", "2026-01-02", "--to", "2026-01-01")):
        with pytest.raises(UsageError, match="auditing"):
            run(lent, *wrong)


# -- nightly --------------------------------------------------------------------------------------------------------


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture) -> Callable[[str], list[dict[str, Any]]]:
    """`told("audit.failed")`: the facts of the lines of one event."""
    caplog.set_level(logging.INFO, logger="lemonade")

    def lines(event: str) -> list[dict[str, Any]]:
        facts = [record.msg for record in caplog.records if isinstance(record.msg, dict)]
        return [each for each in facts if each.get("event") == event]

    return lines


def test_nightly_after_the_summary(lent: Workshop, told: Callable[[str], list[dict[str, Any]]]) -> None:
    """The schedule's summary is followed by an audit: an event, or a critical alert with the first findings."""
    service = Service(lent.app)
    service.due_work.summarize(lent.clock.now())
    assert [(line["files"], line["rows"]) for line in told("audit.finished")] == [(4, 22)]
    with aside(Path(file(lent, SECOND).path)):
        service.due_work.summarize(lent.clock.now())
    (alert,) = told("audit.failed")
    assert (alert["alert"], alert["severity"], alert["code"]) == (True, "critical", "file_missing_on_disk")
    assert (len(alert["findings"]), alert["findings_count"]) == (1, 1)
    assert SECOND in alert["findings"][0]


def test_nightly_audit_can_be_switched_off(
    settings_with: Callable[..., Settings], told: Callable[[str], list[dict[str, Any]]]
) -> None:
    """AUDIT_NIGHTLY=false leaves only the command."""
    shop = Workshop(settings_with(AUDIT_NIGHTLY="false"))
    Service(shop.app).due_work.summarize(shop.clock.now())
    assert told("audit.finished") == []
    shop.close()


def test_states_have_their_folders() -> None:
    """Every state is judged or left out on purpose: a replaced file is kept where it was, a missing one is nowhere."""
    folders = Settings.load({}, None).folders
    free = {state for state in FileState if folder_of_state(folders, state) is None}
    assert free == {FileState.REPLACED, FileState.MISSING}
