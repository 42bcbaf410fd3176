"""`lemonade undo`: exactly the rows of one file or batch go, whatever came later; crashes and rival writers too."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any, NoReturn

import pytest
from books import assert_app_books
from click.testing import CliRunner, Result
from command import events_file
from deaths import death
from workshop import Workshop

from metadata.database.models import Operation, SourceFile
from metadata.database.states import BatchState, FileState
from metadata.errors import Busy, TypeStopped, UsageError, WorldFault
from metadata.ids import new_id
from metadata.operations.undo import UndoLedger
from metadata.settings import Settings
from metadata.types.config import OnRedelivery
from processors.change.undo import Undo
from processors.lake import data_files as writing
from processors.lake.commits import OPERATION_ID
from processors.lake.lake import Lake
from processors.load.move_step import Settler
from processors.rewrite import rewriter as rewrite
from processors.rewrite.rewriter import Rewriter
from watcher.commands.undo import undo as undo_command
from watcher.deeds.by_name import do
from watcher.deeds.undo import look
from watcher.work.work import Work

TABLE = "raw_data.vehicle_events"
A, B, C = (f"vehicles_events_2026011512000{number}.json" for number in range(3))
OTHER_DAY = "vehicles_events_20260116120000.json"


@pytest.fixture
def shop(settings: Settings) -> Iterator[Workshop]:
    """A workshop."""
    made = Workshop(settings)
    yield made
    made.close()


def load(shop: Workshop, *names: str, rows: int = 10) -> list[SourceFile]:
    """Load these files in one batch; vehicle ids tell them apart."""
    for name in names:
        shop.drop(name, events_file(rows, start=len(shop.rows()) * 1000 + 100 * names.index(name)))
    shop.load()
    return [shop.rows(name)[-1] for name in names]


def undo(shop: Workshop, target: str) -> dict[str, Any]:
    """The verb, as whoever holds the lock does it."""
    return do(shop.work, "undo", {"target": target})


def data_files(shop: Workshop) -> set[str]:
    """Paths of the table's data files."""
    return {task.file.file_path for task in shop.app.lake().scan_tasks(TABLE)}


def snapshots(shop: Workshop) -> int:
    """How many the table has."""
    table = shop.app.lake().table(TABLE)
    return 0 if table is None else len(table.metadata.snapshots)


def sources(shop: Workshop) -> set[str]:
    """Names of the files that have rows in the table."""
    return {record["_source_file"] for record in shop.records()}


def restart(shop: Workshop) -> Work:
    """A fresh process: its Work has recovered."""
    work = shop.begin()
    work.recover()
    return work


@pytest.mark.parametrize("is_large", [False, True])
def test_a_file_leaves_a_data_file_that_it_shared(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch, is_large: bool
) -> None:
    """Its rows go in one snapshot, those of the batch's other files stay, and it lies in undone/.

    Only much to write is worth tasks of their own.
    """
    monkeypatch.setattr(rewrite, "FEW_BYTES", 0 if is_large else 10**6)
    a, _, _ = load(shop, A, B, C)
    shop.runner.labels.clear()
    before, count = data_files(shop), snapshots(shop)
    answer = undo(shop, A)
    assert answer["undone"] and answer["rows"] == 10 and answer["data_files_removed"] == 1
    assert shop.runner.labels == [f"rewrite {TABLE}"] * is_large
    assert sources(shop) == {B, C} and len(shop.records()) == 20
    assert snapshots(shop) == count + 1
    assert not data_files(shop) & before
    file = shop.rows(A)[0]
    assert (file.state, file.rows, file.id) == (FileState.UNDONE, 0, a.id)
    assert Path(file.path).parent == shop.app.settings.folders.undone("vehicle_events")
    snapshot = shop.app.lake().table(TABLE).current_snapshot()  # type: ignore[union-attr] # it is there
    assert snapshot is not None and snapshot.summary is not None
    assert snapshot.summary[OPERATION_ID] == answer["operation_id"] and snapshot.snapshot_id == answer["snapshot_id"]
    assert_app_books(shop.app, 20, key="vehicle_id")


def test_what_came_later_to_the_same_partition_stays(shop: Workshop) -> None:
    """An undo takes the old file's rows out from under later loads, whose data files it does not touch."""
    load(shop, A)
    load(shop, B)
    later = data_files(shop)
    load(shop, C)
    answer = undo(shop, A)
    assert answer["data_files_added"] == 0
    assert sources(shop) == {B, C}
    assert len(data_files(shop) & later) == 1
    assert_app_books(shop.app, 20, key="vehicle_id")


def test_a_whole_batch_is_dropped_not_rewritten(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    """The data files of an undone batch go unread, and no other is written."""
    monkeypatch.delattr(rewrite, "rewrite")
    a, _, _ = load(shop, A, B, OTHER_DAY)
    gone = data_files(shop)
    load(shop, C)
    kept = data_files(shop) - gone
    answer = undo(shop, str(a.batch_id))
    assert answer["rows"] == 30 and answer["data_files_removed"] == len(gone) == 2 and answer["data_files_added"] == 0
    assert data_files(shop) == kept
    assert [shop.rows(name)[0].state for name in (A, B, OTHER_DAY, C)] == ["undone"] * 3 + ["loaded"]
    assert_app_books(shop.app, 10, key="vehicle_id")


def test_a_batch_after_one_of_its_files(shop: Workshop) -> None:
    """What an earlier undo has left of a batch is undone with it, from the data file that was written then."""
    a, _ = load(shop, A, B)
    undo(shop, A)
    answer = undo(shop, str(a.batch_id))
    assert (answer["rows"], answer["data_files_removed"], answer["data_files_added"]) == (10, 1, 0)
    assert shop.records() == []
    assert_app_books(shop.app, 0)


def test_undone_twice_is_a_no_op(shop: Workshop) -> None:
    """The second time says so in words, makes no snapshot, exits 0."""
    (a,) = load(shop, A)
    undo(shop, A)
    count = snapshots(shop)
    for target in (A, a.id, str(a.batch_id)):
        again = undo(shop, target)
        assert not again["undone"] and again["done_before"] and "undone already" in again["why_not"]
        done = command(shop, target)
        assert done.exit_code == 0 and "undone already" in done.output
    assert snapshots(shop) == count


def test_an_undone_file_loads_again(shop: Workshop) -> None:
    """Put back into incoming/, it is no duplicate; its rows are in the table once."""
    load(shop, A, B)
    undo(shop, A)
    Path(shop.rows(A)[0].path).rename(shop.incoming / A)
    shop.load()
    assert shop.rows(A)[-1].state == FileState.LOADED
    assert sources(shop) == {A, B} and len(shop.records()) == 20


def test_the_days_are_dirty_and_the_summary_follows(shop: Workshop) -> None:
    """Only the undone file's days are summarised again, and then its keys are gone from them."""
    shop.drop(A, events_file(4, day="2026-01-14"))
    shop.drop(B, events_file(3, start=50, day="2026-01-15"))
    shop.load()
    do(shop.work, "summarize", {})
    assert shop.app.ledger.dirty_days("summary.daily_summary") == []
    assert len(shop.records("summary.daily_summary")) == 7
    answer = undo(shop, A)
    assert answer["days"] == ["2026-01-14"]
    assert [day for day, _ in shop.app.ledger.dirty_days("summary.daily_summary")] == [date(2026, 1, 14)]
    do(shop.work, "summarize", {})
    assert {row["vehicle_id"] for row in shop.records("summary.daily_summary")} == {"v50", "v51", "v52"}


def test_a_dropped_data_file_tells_its_days_by_its_bounds(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file with a data file of its own makes dirty its own days, not those of its batch."""
    shop.drop(A, events_file(4, day="2026-01-14"))
    shop.drop(OTHER_DAY, events_file(3, start=50, day="2026-01-16"))
    shop.load()
    monkeypatch.delattr(rewrite, "rewrite")  # it is dropped unread
    answer = undo(shop, OTHER_DAY)
    assert (answer["days"], answer["data_files_removed"], answer["data_files_added"]) == (["2026-01-16"], 1, 0)


def test_by_a_field_and_without_partitions(shop: Workshop) -> None:
    """Data files of any partitioning keep it when they are written again, null values too."""
    fields = [
        {"name": "at", "type": "timestamp"},
        {"name": "kind", "type": "string"},
        {"name": "price", "type": "decimal(10,2)"},
        {"name": "key", "type": "uuid"},
    ]
    for name, by in (("hourly", "hour(at)"), ("daily", "day(at)"), ("plain", "none"), ("kinds", "kind")):
        shop.app.registry.add(
            {
                "file_type": name,
                "schema_definition": {"fields": fields, "primary_key": []},
                "processing_config": {"partition_by": by},
            }
        )
        for second in range(2):
            records = [
                {
                    "at": f"2026-01-15T{hour:02}:00:00Z",
                    "kind": None if hour == 3 else f"k{hour % 2}",
                    "price": "1.50",
                    "key": "0189f7e4-0000-7000-8000-00000000000" + str(hour),
                }
                for hour in range(4)
            ]
            shop.drop(f"{name}_2026011512000{second}.json", records)
        shop.load()
        table = f"raw_data.{name}"
        expected = [record for record in shop.records(table) if record["_source_file"].endswith("1.json")]
        parts = {str(task.file.partition) for task in shop.app.lake().scan_tasks(table)}
        assert undo(shop, f"{name}_20260115120000.json")["rows"] == 4
        left = shop.records(table)
        assert sorted(left, key=str) == sorted(expected, key=str)
        assert {str(task.file.partition) for task in shop.app.lake().scan_tasks(table)} == parts


def test_what_is_asked_for(shop: Workshop) -> None:
    """A path and an id mean the file; several loads of a name ask for an id; unknown and unloaded ones say so."""
    shop.drop(A, events_file(2))
    shop.load()
    shop.drop(A, events_file(3, start=10))
    shop.load()
    first, second = shop.rows(A)
    assert look(shop.app, first.path).target == first.id == look(shop.app, first.id).target
    with pytest.raises(UsageError, match=f"(?s)give the id of one.*{first.id}.*{second.id}"):
        undo(shop, A)
    with pytest.raises(UsageError, match="no such file or batch"):
        undo(shop, "nobody.json")
    shop.drop(B, b"{")
    shop.load()
    assert "is failed" in undo(shop, B)["why_not"]
    assert command(shop, B).exit_code == 1
    assert command(shop, second.id, "--json").exit_code == 2, "no terminal and no --yes"


def command(shop: Workshop, *arguments: str) -> Result:
    """`lemonade undo` as the command line runs it, without a terminal."""
    done = CliRunner().invoke(undo_command, list(arguments), obj=shop.app)
    return Result(**{**vars(done), "exit_code": 2}) if isinstance(done.exception, UsageError) else done


def test_the_command(shop: Workshop) -> None:
    """With --yes it does it and tells the rows, the snapshot and the days."""
    load(shop, A, B)
    told = command(shop, A, "--yes", "--json")
    assert told.exit_code == 0, told.output
    assert json.loads(told.output)["rows"] == 10
    told = command(shop, B, "--yes")
    assert told.exit_code == 0 and "10 rows out of raw_data.vehicle_events" in told.output
    assert "2026-01-15" in told.output


def test_rows_that_are_not_what_the_ledger_says(shop: Workshop) -> None:
    """Somebody deleted rows: a letter, nothing committed, the operation is abandoned, the file stays loaded."""
    load(shop, A, B)
    table = shop.app.lake().table(TABLE)
    assert table is not None
    table.delete("vehicle_id = 'v3'")
    count = snapshots(shop)
    with pytest.raises(TypeStopped, match="the table holds 9 of them and the ledger says 10") as stop:
        undo(shop, A)
    assert stop.value.code == "rows_differ"
    assert snapshots(shop) == count
    assert shop.rows(A)[0].state == FileState.LOADED
    assert [row.state for row in operations(shop)] == [BatchState.ABANDONED]


@pytest.mark.parametrize(("number", "code"), [(errno.ENOSPC, "disk_full"), (errno.EIO, "warehouse_away")])
def test_a_disk_without_room_for_what_stays(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch, number: int, code: str
) -> None:
    """A full disk is called so, as while a batch is loaded; nothing was changed, and it goes once there is room."""
    load(shop, A, B)

    def refuse(*_args: Any) -> NoReturn:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch, pytest.raises(WorldFault, match="writing data files of raw_data") as fault:
        patch.setattr(writing, "write_file", refuse)
        undo(shop, A)
    assert fault.value.code == code
    assert [row.state for row in operations(shop)] == [BatchState.ABANDONED]
    assert undo(shop, A)["rows"] == 10


def operations(shop: Workshop) -> list[Operation]:
    """Every operation, oldest first."""
    with shop.app.database.reading() as session:
        return list(session.query(Operation).order_by(Operation.id))


def test_another_writer_wins_the_race(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    """A data file was rewritten between Prepare and Commit: the undo is prepared again from the table as it is then."""
    load(shop, A, B)
    monkeypatch.setattr(shop.work.microbatches.rewriter, "pause", lambda _seconds: True)
    original, raced = Lake.overwrite, []

    def overwrite(self: Lake, *args: Any) -> int | None:
        if not raced:
            raced.append(True)
            table = self.table(TABLE)
            assert table is not None
            table.delete("vehicle_id = 'v100'")  # of B, in the same data file
        return original(self, *args)

    monkeypatch.setattr(Lake, "overwrite", overwrite)
    assert undo(shop, A)["rows"] == 10
    assert sources(shop) == {B} and len(shop.records()) == 9


def test_a_batch_about_to_replace_the_file(shop: Workshop) -> None:
    """A file that a batch under way replaces cannot be undone meanwhile."""
    (a,) = load(shop, A)
    with shop.app.database.writing() as session:
        session.add(
            Operation(
                id=new_id(shop.clock),
                kind="replace",
                file_type="vehicle_events",
                table_name=TABLE,
                state="planned",
                file_ids=[a.id],
                planned_at=shop.clock.now(),
            )
        )
    with pytest.raises(Busy, match="about to replace it"):
        undo(shop, A)


def test_a_fault_of_the_world_after_prepare(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    """The catalog goes away at Commit: the verb says so; the next undo, of anything, brings it to its end first."""
    load(shop, A, B)

    def away(*_args: Any) -> None:
        raise WorldFault("committing: the catalog is away", code="catalog_away")

    with monkeypatch.context() as patch, pytest.raises(WorldFault):
        patch.setattr(Lake, "overwrite", away)
        undo(shop, A)
    assert undo(shop, A)["done_before"]
    assert sources(shop) == {B}
    assert_app_books(shop.app, 10, key="vehicle_id")


STEPS: dict[str, tuple[type, str]] = {
    "plan": (UndoLedger, "plan"),
    "write": (Rewriter, "write"),
    "prepare": (UndoLedger, "prepare"),
    "commit": (Lake, "overwrite"),
    "record": (UndoLedger, "record"),
    "moves": (Settler, "settle_files"),
    "back": (Undo, "bring_back"),
    "settle": (UndoLedger, "settle"),
}


@pytest.mark.parametrize("step", list(STEPS))
def test_crash_after_a_step(shop: Workshop, step: str) -> None:
    """Of a file that replaced another: recovery has undone it, or not at all before Prepare; then all loads on."""
    set_policy(shop, OnRedelivery.REPLACE)
    shop.drop(A, events_file(5))
    shop.drop(B, events_file(5, start=50))
    shop.load()
    shop.drop(A, events_file(4, start=100))
    shop.load()
    assert [file.state for file in shop.rows(A)] == ["replaced", "loaded"]
    new = shop.rows(A)[1].id
    with death(*STEPS[step]):
        do(shop.work, "undo", {"target": new})
    restart(shop)
    if step in ("plan", "write"):
        assert [file.state for file in shop.rows(A)] == ["replaced", "loaded"]
        assert_app_books(shop.app, 9, key="vehicle_id")
        undo(shop, new)
    else:
        assert [file.state for file in shop.rows(A)] == ["claimed", "undone"]
        assert_app_books(shop.app, 5, key="vehicle_id")
        assert undo(shop, new)["done_before"]
        shop.load()
    assert [file.state for file in shop.rows(A)] == ["loaded", "undone"]
    assert {record["vehicle_id"] for record in shop.records()} == {f"v{n}" for n in (*range(5), *range(50, 55))}
    assert [row.state for row in operations(shop)][-1] == BatchState.SETTLED
    assert_app_books(shop.app, 10, key="vehicle_id")


def set_policy(shop: Workshop, on_redelivery: OnRedelivery) -> None:
    """The type's `on_redelivery`, with its summary kept."""
    config = shop.app.registry.get("vehicle_events").config
    assert config.summary is not None
    shop.app.registry.update(
        "vehicle_events",
        {
            "processing_config": {
                "summary": config.summary.model_dump(),
                "on_redelivery": on_redelivery.value,
            }
        },
    )


def test_landed_but_its_snapshot_expired_before_recovery(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    """None of the rows is there any more: recovery goes on from Record and does not undo again."""
    load(shop, A, B)
    with death(*STEPS["commit"]):
        undo(shop, A)
    monkeypatch.setattr(Lake, "operation_landed", lambda *_args: None)
    count = snapshots(shop)
    restart(shop)
    assert snapshots(shop) == count
    assert shop.rows(A)[0].state == FileState.UNDONE
    assert_app_books(shop.app, 10, key="vehicle_id")
