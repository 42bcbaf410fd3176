"""Rejected records: listed, shown, replayed through today's schema, discarded; each is in one place, once."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import rejecting
from books import assert_app_books
from click.testing import CliRunner, Result
from command import drop
from rejecting import records
from unsparked import Unsparked
from workshop import Workshop

from metadata import reject_codes
from metadata.database.models import Batch, BatchFile, Operation, ReplayRecord, SourceFile, TableMetadata
from metadata.errors import UsageError, WorldFault
from metadata.reject_codes import RejectCode
from metadata.settings import Settings
from processors.change.chosen_records import Selection
from processors.lake.commits import OPERATION_ID
from processors.lake.lake import Lake
from processors.lake.quarantine_table import TABLE as QUARANTINE
from watcher.cli import VerbGroup
from watcher.commands.explain import explain
from watcher.deeds import replay as replaying
from watcher.deeds.by_name import do

TABLE = "raw_data.vehicle_events"
A, B, C = (f"vehicles_events_2026011512000{number}.json" for number in range(3))


@pytest.fixture
def shop(settings: Settings) -> Iterator[Workshop]:
    """A workshop."""
    made = Workshop(settings)
    yield made
    made.close()


def load(shop: Workshop, name: str = A, good: int = 3, bad: int = 2, start: int = 0) -> SourceFile:
    """Load one such file."""
    shop.drop(name, records(good, bad, start))
    shop.load()
    file = shop.rows(name)[-1]
    assert (file.state, file.rows, file.rejected) == ("loaded", good, bad), file.message
    return file


def mend(shop: Workshop, field: str = "event_source") -> None:
    """Let a text field of the schema take numbers too."""
    rejecting.mend(shop.app, field)


def change_limits(shop: Workshop, ratio: float) -> None:
    """The type's `max_rejected_ratio`, with its summary kept."""
    kind = shop.app.registry.get("vehicle_events")
    assert kind.config.summary is not None
    config = {"summary": kind.config.summary.model_dump(), "max_rejected_ratio": ratio}
    shop.app.registry.update("vehicle_events", {"processing_config": config})


def replay(shop: Workshop, **arguments: Any) -> dict[str, Any]:
    """The verb, as whoever holds the lock does it."""
    return do(shop.work, "quarantine.replay", arguments or {"all": True})


def discard(shop: Workshop, **arguments: Any) -> dict[str, Any]:
    """The verb, as whoever holds the lock does it."""
    return do(shop.work, "quarantine.discard", arguments or {"all": True})


def where(shop: Workshop) -> tuple[list[int], list[int]]:
    """The record numbers in the type's table and in the quarantine."""
    table, rejected = (sorted(row["_record_no"] for row in shop.records(name)) for name in (TABLE, QUARANTINE))
    return table, rejected


def snapshots(shop: Workshop, *names: str) -> int:
    """How many the tables have."""
    tables = [shop.app.lake().table(name) for name in names or (TABLE, QUARANTINE)]
    return sum(len(table.metadata.snapshots) for table in tables if table is not None)


def reserved(shop: Workshop) -> list[tuple[str, int]]:
    """The records that are reserved, by file."""
    with shop.app.database.reading() as session:
        return sorted((row.file_id, row.record_no) for row in session.query(ReplayRecord))


def operations(shop: Workshop) -> list[Operation]:
    """Every operation, oldest first."""
    with shop.app.database.reading() as session:
        return list(session.query(Operation).order_by(Operation.id))


def command(shop: Workshop, *arguments: str) -> Result:
    """`lemonade quarantine` as the command line runs it, without a terminal."""
    done = CliRunner().invoke(VerbGroup("quarantine", verb="quarantine"), list(arguments), obj=shop.app)
    return Result(**{**vars(done), "exit_code": 2}) if isinstance(done.exception, UsageError) else done


def told(shop: Workshop, *arguments: str, exit_code: int = 0) -> Any:
    """Its JSON."""
    done = command(shop, *arguments, "--json")
    assert done.exit_code == exit_code, done.output
    return json.loads(done.stdout)


# -- replay -----------------------------------------------------------------------------------------------------------


def test_a_mended_record_goes_into_its_table(shop: Workshop) -> None:
    """With its original lineage, once; the quarantine is empty, the file's row counts it, its day is dirty."""
    file = load(shop)
    do(shop.work, "summarize", {})
    mend(shop)
    answer = replay(shop)
    assert (answer["matched"], answer["done"], answer["rejected"], answer["days"]) == (2, 2, 0, ["2026-01-15"])
    rows = [row for row in shop.records() if row["_record_no"] > 3]
    assert [(row["_file_id"], row["_batch_id"], row["_source_file"]) for row in rows] == [
        (file.id, file.batch_id, A)
    ] * 2
    assert {row["event_source"] for row in rows} == {"7"} and {str(row["date"]) for row in rows} == {"2026-01-15"}
    assert where(shop) == ([1, 2, 3, 4, 5], [])
    now = shop.rows(A)[0]
    assert (now.rows, now.rejected, now.replayed, now.discarded) == (3, 2, 2, 0)
    (operation,) = operations(shop)
    assert (operation.kind, operation.state, operation.added_rows, operation.quarantine_rows) == (
        "replay",
        "settled",
        2,
        2,
    )
    for name, snapshot_id in ((TABLE, operation.snapshot_id), (QUARANTINE, operation.quarantine_snapshot_id)):
        table = shop.app.lake().table(name)
        assert table is not None and table.current_snapshot().snapshot_id == snapshot_id  # type: ignore[union-attr] # it is there
        assert table.current_snapshot().summary[OPERATION_ID] == operation.id  # type: ignore[union-attr,index] # it is there
    assert shop.app.ledger.dirty_days("summary.daily_summary")
    do(shop.work, "summarize", {})
    assert len(shop.records("summary.daily_summary")) == 5
    shop.assert_books(5)


def test_what_does_not_pass_stays_and_is_free_again(shop: Workshop) -> None:
    """Of records with two faults one was mended: those that pass go, the others stay as they were, unreserved."""
    rows = records(1, 3)
    rows[3]["event_type"] = 7
    change_limits(shop, 1.0)
    shop.drop(A, rows)
    shop.load()
    before = {row["_record_no"]: row for row in shop.records(QUARANTINE)}
    mend(shop)
    answer = replay(shop)
    assert (answer["done"], answer["rejected_by_code"]) == (2, {"wrong_type": 1})
    assert where(shop) == ([1, 2, 3], [4])
    assert shop.records(QUARANTINE) == [before[4]]
    assert [number for _, number in reserved(shop)] == [2, 3]
    shop.assert_books(3)
    mend(shop, "event_type")
    assert replay(shop)["done"] == 1
    assert where(shop) == ([1, 2, 3, 4], [])
    shop.assert_books(4)


def test_nothing_passes_until_the_schema_is_mended(shop: Workshop) -> None:
    """Then a dry run says what would pass, and a second replay finds nothing: exit 1, and each record is there once."""
    load(shop)
    count = snapshots(shop)
    done = command(shop, "replay", "--all")
    assert done.exit_code == 1
    assert "replayed: 0 of 2" in done.output and "still rejected: 2 (2 wrong_type)" in done.output
    assert [row.state for row in operations(shop)] == ["abandoned"]
    answer = told(shop, "replay", "--all", "--dry-run", exit_code=1)
    assert (answer["dry_run"], answer["done"], answer["rejected_by_code"]) == (True, 0, {"wrong_type": 2})
    mend(shop)
    assert told(shop, "replay", "--all", "--dry-run")["done"] == 2
    assert snapshots(shop) == count and reserved(shop) == [] and len(operations(shop)) == 1
    assert told(shop, "replay", "--all")["done"] == 2
    count = snapshots(shop)
    done = command(shop, "replay", "--all")
    assert done.exit_code == 1 and "no rejected record is meant" in done.output
    assert snapshots(shop) == count and where(shop) == ([1, 2, 3, 4, 5], [])
    shop.assert_books(5)


def test_a_reserved_record_is_not_taken_again(shop: Workshop) -> None:
    """Also when the quarantine still shows it: whoever reserved it first has it, and the table gets it once."""
    load(shop)
    mend(shop)
    seen = list(shop.work.walkers.replay.records.chunks(Selection(), records=10, size_bytes=1000))
    assert replay(shop)["done"] == 2
    file_type = shop.app.registry.get("vehicle_events")
    (chunk,) = seen
    again = shop.work.walkers.replay.take("replay", chunk, file_type, TABLE)
    assert (again.operation_id, again.records) == (None, 0)
    assert where(shop) == ([1, 2, 3, 4, 5], [])
    shop.assert_books(5)


def test_only_what_is_chosen_goes(shop: Workshop) -> None:
    """By record, file, type, code, field and time; several at once narrow the choice."""
    a = load(shop, A, bad=3)
    b = load(shop, B, start=100)
    mend(shop)
    assert replay(shop, records=[f"{a.id}:4"])["done"] == 1
    assert replay(shop, records=[f"{a.batch_id}:{a.id}:5"])["done"] == 1
    assert replay(shop, records=[f"{b.batch_id}:{a.id}:6"])["matched"] == 0
    for nothing in (
        {"type": "vehicle_status"},
        {"code": "bad_line"},
        {"field": "vehicle_id"},
        {"field": "-"},
        {"since": "2026-02-01T00:00:00+00:00"},
        {"until": "2026-01-01T00:00:00+00:00"},
        {"files": [A], "field": "event_type"},
    ):
        assert replay(shop, **nothing)["matched"] == 0, nothing
    assert replay(shop, files=[B], type="vehicle_events", code="wrong_type", field="event_source")["done"] == 2
    assert {row["_file_id"] for row in shop.records(QUARANTINE)} == {a.id}
    assert replay(shop, since="2026-01-15T00:00:00+00:00", until="2026-01-16T00:00:00+00:00")["done"] == 1
    shop.assert_books(11)


def test_chunks_are_operations_of_their_own(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many records are replayed a part at a time, so that neither memory nor a conflict grows with their number."""
    monkeypatch.setattr(replaying, "CHUNK_RECORDS", 2)
    load(shop, A, good=5, bad=5)
    mend(shop)
    answer = replay(shop)
    assert [operation["records"] for operation in answer["operations"]] == [2, 2, 1]
    assert where(shop) == (list(range(1, 11)), [])
    shop.assert_books(10)


def test_a_text_too_long_for_the_quarantine(settings_with: Callable[..., Settings]) -> None:
    """It is read from the file's kept copy, also a compressed one of lines; a copy with other bytes is told."""
    shop = Workshop(settings_with(QUARANTINE_RAW_MAX_BYTES="20"))
    try:
        file = load(shop)
        lines = b"\n".join(json.dumps(record).encode() for record in records(2, 1, start=50))
        (shop.incoming / "vehicles_events_20260115120009.jsonl.gz").write_bytes(gzip.compress(lines))
        shop.load()
        assert {row["raw"] for row in shop.records(QUARANTINE)} == {None}
        mend(shop)
        shown = told(shop, "show", f"{file.id}:4")
        assert shown["raw"] is None and shown["path"] == shop.rows(A)[0].path
        Path(file.path).chmod(0o644)
        kept = Path(shop.rows(A)[0].path)
        kept.write_bytes((content := kept.read_bytes()).replace(b'"v0"', b'"w0"'))
        answer = replay(shop)
        assert (answer["done"], answer["rejected_by_code"]) == (1, {"raw_gone": 2})
        assert "is not what was loaded" in answer["samples"][0]
        kept.write_bytes(content)
        assert replay(shop)["done"] == 2
        assert {row["event_source"] for row in shop.records() if row["_record_no"] > 3} == {"7"}
        shop.assert_books(8)
    finally:
        shop.close()


def test_by_another_partition(shop: Workshop) -> None:
    """Replayed rows go where their values belong, whatever divides the table."""
    fields: list[dict[str, Any]] = [{"name": "at", "type": "timestamp"}, {"name": "label", "type": "string"}]
    for name, by in (("hourly", "hour(at)"), ("kinds", "label"), ("plain", "none")):
        fields[1].pop("coerce", None)
        schema = {"fields": fields, "primary_key": []}
        config = {"partition_by": by}
        shop.app.registry.add({"file_type": name, "schema_definition": schema, "processing_config": config})
        rows = [{"at": f"2026-01-15T{hour:02}:00:00Z", "label": hour if hour % 2 else "x"} for hour in range(6)]
        shop.drop(f"{name}_20260115120000.json", rows)
        shop.load()
        fields[1]["coerce"] = True
        shop.app.registry.update(name, {"schema_definition": schema})
        assert replay(shop, type=name)["done"] == 3, name
        table = f"raw_data.{name}"
        assert [row["label"] for row in sorted(shop.records(table), key=str)] == ["x", "1", "x", "3", "x", "5"]
        shop.assert_books(6, table=table)


# -- what comes between ------------------------------------------------------------------------------------------------


def test_another_writer_wins_the_race(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    """The quarantine's data file was rewritten between Prepare and Commit: it is prepared again as it is then."""
    a = load(shop, A, bad=3)
    mend(shop)
    monkeypatch.setattr(shop.work.microbatches.rewriter, "pause", lambda _seconds: True)
    original, raced = Lake.overwrite, []

    def overwrite(self: Lake, name: str, *args: Any) -> int | None:
        if name == QUARANTINE and not raced:
            raced.append(True)
            table = self.table(QUARANTINE)
            assert table is not None
            table.delete("_record_no = 6")
        return original(self, name, *args)

    monkeypatch.setattr(Lake, "overwrite", overwrite)
    assert replay(shop, records=[f"{a.id}:4", f"{a.id}:5"])["done"] == 2
    assert where(shop) == ([1, 2, 3, 4, 5], [])


def test_the_world_goes_away_in_the_middle(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    """While it drains it leaves the replay prepared; the next verb, of any kind, brings it to its end first."""
    load(shop)
    mend(shop)

    def away(*_args: Any) -> None:
        raise WorldFault("committing: the catalog is away", code="catalog_away")

    with monkeypatch.context() as patch, pytest.raises(WorldFault):
        patch.setattr(Lake, "overwrite", away)
        replay(shop)
    assert [row.state for row in operations(shop)] == ["prepared"]
    assert do(shop.work, "undo", {"target": A})["rows"] == 5
    assert where(shop) == ([], [])
    shop.assert_books(0)


@pytest.mark.parametrize("is_rewritten", [False, True], ids=["its data file is there", "its data file was rewritten"])
def test_its_snapshot_expired_before_recovery(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch, is_rewritten: bool
) -> None:
    """The process died after the table's commit, whose snapshot is gone: the records themselves tell."""
    load(shop)
    mend(shop)
    original, calls = Lake.overwrite, []

    def dies(*args: Any, **kwargs: Any) -> None:
        calls.append(original(*args, **kwargs))
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Lake, "overwrite", dies)
        replay(shop)
    table = shop.app.lake().table(TABLE)
    assert table is not None
    if is_rewritten:
        table.overwrite(table.scan().to_arrow())
    else:
        table.delete("_record_no = 1")
        with shop.app.database.writing() as session:
            session.query(SourceFile).update({"rows": 2, "records": 4})
            session.query(BatchFile).update({"rows": 2, "records": 4})
            session.query(Batch).update({"expected_rows": 2, "records": 4})
    table = shop.app.lake().table(TABLE)
    assert table is not None
    table.maintenance.expire_snapshots().by_id(calls[0]).commit()
    shop.begin().recover()
    assert where(shop)[0][-2:] == [4, 5] and where(shop)[1] == []
    assert [row.state for row in operations(shop)] == ["settled"]
    assert len(shop.records()) == (5 if is_rewritten else 4)


def test_the_quarantines_snapshot_expired_before_recovery(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    """None of the records is there any more: recovery goes on from Record and takes nothing else out."""
    load(shop)
    mend(shop)
    original, calls = Lake.overwrite, []

    def dies(*args: Any, **kwargs: Any) -> Any:
        calls.append(original(*args, **kwargs))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return calls[-1]

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Lake, "overwrite", dies)
        replay(shop)
    shop.app.registry.update("vehicle_events", {"processing_config": {"unknown_fields": "reject"}})
    rows = records(3, 1, start=100)
    rows[3]["colour"] = "red"
    shop.begin()
    shop.drop(B, rows)
    shop.load()
    table = shop.app.lake().table(QUARANTINE)
    assert table is not None
    table.maintenance.expire_snapshots().by_id(calls[1]).commit()
    shop.begin().recover()
    assert [row.state for row in operations(shop)] == ["settled"]
    assert [row["_source_file"] for row in shop.records(QUARANTINE)] == [B]
    assert len(shop.records()) == 8 and shop.rows(A)[0].replayed == 2


def test_a_daemon_replays_on_its_batches_thread(settings: Settings) -> None:
    """A request to the live daemon is answered as the command under its own lock is."""
    daemon = Unsparked(settings)
    try:
        drop(daemon.incoming, A, records(3, 2))
        daemon.wait_for_states(claimed=1)
        daemon.flush()
        rejecting.mend(daemon.app)
        answer = daemon.answer(daemon.ask("quarantine.replay", records=[f"{daemon.app.ledger.files()[0].id}:4"]))
        assert (answer["matched"], answer["done"]) == (1, 1)
        assert daemon.answer(daemon.ask("quarantine.discard", all=True))["done"] == 1
        (file,) = daemon.app.ledger.files()
        assert (file.replayed, file.discarded) == (1, 1)
        assert_app_books(daemon.app, 4)
    finally:
        daemon.close()


# -- discard ----------------------------------------------------------------------------------------------------------


def test_discarded_records_are_gone(shop: Workshop) -> None:
    """They leave the quarantine and nothing else; the file counts them; what is replayed later is what was left."""
    file = load(shop, bad=3)
    count = snapshots(shop, TABLE)
    answer = discard(shop, records=[f"{file.id}:4", f"{file.id}:5"])
    assert (answer["matched"], answer["done"]) == (2, 2)
    now = shop.rows(A)[0]
    assert (now.rows, now.rejected, now.replayed, now.discarded) == (3, 3, 0, 2)
    assert where(shop) == ([1, 2, 3], [6]) and snapshots(shop, TABLE) == count
    shop.assert_books(3)
    mend(shop)
    assert replay(shop, records=[f"{file.id}:4"])["matched"] == 0
    assert replay(shop)["done"] == 1
    assert where(shop) == ([1, 2, 3, 6], [])
    shop.assert_books(4)


def test_discard_asks_first(shop: Workshop) -> None:
    """Without a terminal it wants --yes; without a match it is exit 1 and asks nothing."""
    load(shop)
    asked = command(shop, "discard", "--all")
    assert asked.exit_code == 2
    assert "2 rejected records (2 wrong_type)" in str(asked.exception) and "say --yes" in str(asked.exception)
    assert command(shop, "discard", "--code", "bad_line").exit_code == 1
    assert "discarding 1 of 2 rejected" in str(command(shop, "discard", "--all", "--limit", "1").exception)
    assert told(shop, "discard", "--all", "--limit", "1", "--yes")["done"] == 1
    assert told(shop, "discard", "--all", "--yes")["done"] == 1
    assert where(shop) == ([1, 2, 3], [])
    assert command(shop, "discard").exit_code == 2, "nothing chosen"


def test_types_that_cannot_replay(shop: Workshop) -> None:
    """Records of a disabled type stay, with what to do about it; of one that is gone they can be thrown away."""
    load(shop)
    mend(shop)
    shop.app.registry.disable("vehicle_events")
    answer = replay(shop)
    assert answer["done"] == 0 and "types activate vehicle_events" in answer["left"][0]["reason"]
    with shop.app.database.writing() as session:
        session.query(TableMetadata).filter(TableMetadata.file_type == "vehicle_events").delete()
    assert replay(shop)["left"][0]["records"] == 2
    assert discard(shop)["done"] == 2
    assert where(shop) == ([1, 2, 3], [])


# -- undo, replace, retry ---------------------------------------------------------------------------------------------


def test_undo_takes_replayed_and_rejected_records_too(shop: Workshop) -> None:
    """All that a file brought goes, from both tables, a snapshot each; another file's records stay."""
    a = load(shop, A, bad=3)
    load(shop, B, start=100)
    mend(shop)
    replay(shop, records=[f"{a.id}:4"])
    discard(shop, records=[f"{a.id}:5"])
    count = snapshots(shop, TABLE), snapshots(shop, QUARANTINE)
    answer = do(shop.work, "undo", {"target": A})
    assert (answer["rows"], answer["quarantine_rows"]) == (4, 1)
    assert (snapshots(shop, TABLE), snapshots(shop, QUARANTINE)) == (count[0] + 1, count[1] + 1)
    assert {row["_source_file"] for row in (*shop.records(), *shop.records(QUARANTINE))} == {B}
    now = shop.rows(A)[0]
    assert (now.state, now.rows, now.replayed, now.discarded) == ("undone", 0, 0, 0)
    assert reserved(shop) == []
    assert replay(shop, files=[A])["matched"] == 0
    shop.assert_books(3)
    do(shop.work, "retry", {"files": [A]})
    again = shop.rows(A)[0]
    assert (again.state, again.rows, again.rejected, again.replayed, again.discarded) == ("loaded", 6, 0, 0, 0)
    shop.assert_books(9)


def test_undo_of_a_batch_marks_the_days_of_replayed_rows(shop: Workshop) -> None:
    """A replayed row's day is none of its batch's days; undone, that day is summarised again."""
    rows = records(3, 1)
    rows[3]["event_time"] = "2026-01-10T12:00:00Z"
    shop.drop(A, rows)
    shop.load()
    mend(shop)
    assert replay(shop)["days"] == ["2026-01-10"]
    do(shop.work, "summarize", {})
    answer = do(shop.work, "undo", {"target": str(shop.rows(A)[0].batch_id)})
    assert answer["days"] == ["2026-01-10", "2026-01-15"]
    do(shop.work, "summarize", {})
    assert shop.records("summary.daily_summary") == []


def test_files_with_rejected_records_only(shop: Workshop) -> None:
    """They are loaded with 0 rows; one is replayed and has rows; undone, neither has anything anywhere."""
    change_limits(shop, 1.0)
    load(shop, A, good=0, bad=2)
    load(shop, B, good=0, bad=2, start=100)
    mend(shop)
    assert replay(shop, files=[A])["done"] == 2
    shop.assert_books(2)
    for name, expected in ((A, (2, 0)), (B, (0, 2))):
        answer = do(shop.work, "undo", {"target": name})
        assert (answer["undone"], answer["rows"], answer["quarantine_rows"]) == (True, *expected)
        assert shop.rows(name)[0].state == "undone"
    assert where(shop) == ([], [])
    shop.assert_books(0)


def test_put_back_by_hand_it_is_another_file(shop: Workshop) -> None:
    """An undone file and one from error/, moved into incoming/ again, leave nothing to look for in the quarantine."""
    load(shop, A)
    do(shop.work, "undo", {"target": A})
    shop.drop(B, records(1, 3))
    shop.load()
    assert shop.rows(B)[0].state == "error"
    mend(shop)
    for name in (A, B):
        Path(shop.rows(name)[0].path).rename(shop.incoming / name)
    shop.load()
    assert [shop.rows(name)[-1].state for name in (A, B)] == ["loaded", "loaded"]
    shop.assert_books(9)


def test_a_replacement_takes_replayed_records_out(shop: Workshop) -> None:
    """The earlier load goes with what was replayed and what was still rejected of it."""
    kind = shop.app.registry.get("vehicle_events")
    assert kind.config.summary is not None
    config = {"summary": kind.config.summary.model_dump(), "on_redelivery": "replace"}
    shop.app.registry.update("vehicle_events", {"processing_config": config})
    a = load(shop, A, bad=2)
    mend(shop)
    replay(shop, records=[f"{a.id}:4"])
    shop.drop(A, records(2, 0, start=200))
    shop.load()
    assert [(file.state, file.replayed) for file in shop.rows(A)] == [("replaced", 0), ("loaded", 0)]
    assert where(shop) == ([1, 2], [])
    shop.assert_books(2)


# -- reading ----------------------------------------------------------------------------------------------------------


def test_list_and_show(shop: Workshop) -> None:
    """Newest first, by the name that show takes; show has text, reason, cure, where its file is and what to type."""
    a = load(shop, A)
    shop.clock.forward(60)
    b = load(shop, B, start=100)
    answer = told(shop, "list")
    assert answer["total"] == 4
    assert [row["record"] for row in answer["records"]] == [f"{b.id}:4", f"{b.id}:5", f"{a.id}:4", f"{a.id}:5"]
    first = answer["records"][0]
    assert (first["code"], first["field"], first["file"], first["batch_id"]) == (
        "wrong_type",
        "event_source",
        B,
        b.batch_id,
    )
    few = told(shop, "list", "--limit", "1")
    assert (few["total"], len(few["records"])) == (4, 1)
    assert "1 of 4 records" in command(shop, "list", "--limit", "1").output
    assert {row["file"] for row in told(shop, "list", "--file", A)["records"]} == {A}
    (total,) = told(shop, "list", "--summary")["totals"]
    assert (total["code"], total["records"]) == ("wrong_type", 4)
    assert command(shop, "list", "--code", "bad_uuid").exit_code == 1
    shown = told(shop, "show", first["record"])
    assert json.loads(shown["raw"])["event_source"] == 7 and "coerce" in shown["cure"]
    screen = command(shop, "show", first["record"]).output
    for words in (
        "wrong_type of event_source",
        '"event_source": 7',
        "cure",
        f"replay {first['record']}",
        shown["path"],
    ):
        assert words in screen
    assert command(shop, "show", f"{a.id}:1").exit_code == 1
    assert command(shop, "show", "nonsense").exit_code == 2
    assert command(shop, "list", "--file", "never_was.json").exit_code == 2


def test_before_the_first_load(shop: Workshop) -> None:
    """Without a quarantine table there is nothing to list, replay or discard; none of it is an error."""
    for arguments in (["list"], ["list", "--summary"], ["replay", "--all"], ["discard", "--all", "--yes"]):
        done = command(shop, *arguments)
        assert (done.exit_code == 1 and done.exception is None) or isinstance(done.exception, SystemExit), done.output


def test_hostile_text_and_unknown_keys(shop: Workshop) -> None:
    """Control characters reach no terminal as they are; what a load would rescue, a replay does too."""
    rows = records(3, 1)
    rows[3] |= {"event_type": "\x1b[31mred\x07", "colour": "red"}
    shop.drop(A, rows)
    shop.load()
    for arguments in (["list"], ["show", f"{shop.rows(A)[0].id}:4"]):
        assert "\x1b" not in command(shop, *arguments).output
    mend(shop)
    assert replay(shop)["done"] == 1
    assert [row["_rescued"] for row in shop.records() if row["_record_no"] == 4] == ['{"colour":"red"}']


def test_bytes_that_are_no_text(shop: Workshop) -> None:
    """A record that is no UTF-8 is kept, shown with its bytes escaped, and stays what it was through a replay."""
    lines = [json.dumps(record).encode() for record in records(3, 0)]
    lines.append(lines[0].replace(b"v0", b"v\xff"))
    (shop.incoming / "vehicles_events_20260115120003.jsonl").write_bytes(b"\n".join(lines))
    shop.load()
    (file,) = shop.rows()
    assert (file.state, file.rejected) == ("loaded", 1), file.message
    shown = told(shop, "show", f"{file.id}:4")
    assert shown["raw_encoding"] == "base64" and "v\\xff" in shown["raw"]
    assert replay(shop)["rejected_by_code"] == {shown["code"]: 1}


def test_every_code_has_its_cure() -> None:
    """No reason for which a record is rejected is without a word of help."""
    assert {code.value for code in RejectCode} <= set(reject_codes.CURES)


def test_explain_tells_what_became_of_rejected_records(shop: Workshop) -> None:
    """Reasons with counts, replayed, discarded, and the operations with both of their snapshots."""
    a = load(shop, A, bad=3)
    mend(shop)
    replay(shop, records=[f"{a.id}:4"])
    discard(shop, records=[f"{a.id}:5"])
    done = CliRunner().invoke(explain, [A, "--json"], obj=shop.app)
    file = json.loads(done.stdout)["file"]
    assert (file["rows"], file["rejected"], file["replayed"], file["discarded"], file["quarantined"]) == (3, 3, 1, 1, 1)
    (reason,) = file["rejects"]
    assert (reason["code"], reason["field"], reason["records"], reason["first_record_no"]) == (
        "wrong_type",
        "event_source",
        3,
        4,
    )
    assert [each["kind"] for each in file["operations"]] == ["replay", "discard"]
    assert file["operations"][0]["snapshot_id"] and file["operations"][0]["quarantine_snapshot_id"]
    assert file["snapshot_id"] and file["quarantine_snapshot_id"]
    screen = CliRunner().invoke(explain, [A], obj=shop.app).output
    assert "1 in the quarantine, 1 replayed, 1 discarded" in screen
    assert "3 records: wrong_type in event_source" in screen
