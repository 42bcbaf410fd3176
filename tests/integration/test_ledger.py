"""The ledger on a real SQLite database: states, duplicates, the days to summarise."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import pytest
from handclock import HandClock
from sqlalchemy import select, text

from metadata.database.engine import Database
from metadata.database.models import Reject, UnknownField
from metadata.database.states import FileState, FlushReason
from metadata.errors import Fatal, WorldFault
from metadata.ids import new_id
from metadata.ledger.ledger import Ledger
from metadata.ledger.values import Arrival, FileOutcome, NewFile, Plan, RejectReason, UnknownKey, WrittenFile, bounded
from metadata.settings import Settings

NOON = datetime(2026, 1, 15, 12, tzinfo=UTC)


@pytest.fixture
def ledger(settings: Settings, clock: HandClock) -> Ledger:
    """An empty ledger."""
    database = Database(settings.database_url)
    database.migrate()
    return Ledger(database, clock)


def claim(ledger: Ledger, name: str = "a_20260115120000.json", digest: str = "d1") -> str:
    """One claimed file of type `a`; its id."""
    file_id = new_id(ledger.clock)
    arrival = Arrival(file_id, name, "a", NOON, 10, NOON, "scan", NOON, digest)
    ledger.add_many([NewFile(arrival, FileState.CLAIMED, f"/processing/a/{file_id}", "a")])
    return file_id


def plan(ledger: Ledger, *file_ids: str) -> Plan:
    """A batch of these files."""
    return ledger.plan(
        new_id(ledger.clock),
        file_type="a",
        table_name="raw_data.a",
        schema_version=1,
        flush_id="f",
        reason=FlushReason.REQUEST,
        file_ids=file_ids,
    )


def load(ledger: Ledger, file_id: str, rows: int = 3, rejected: int = 0, **more: Any) -> str:
    """Take one claimed file to LOADED; its batch's id."""
    batch = plan(ledger, file_id).batch
    assert batch is not None
    ledger.prepare(
        batch.id,
        [FileOutcome(file_id, "loaded", records=rows + rejected, rows=rows, rejected=rejected, **more)],
        [
            WrittenFile(f"/lake/{batch.id}", "raw_data.a", rows, 99),
            *([WrittenFile(f"/lake/q/{batch.id}", "quarantine.rejected_records", rejected, 9)] if rejected else ()),
        ],
        [date(2026, 1, 15)],
    )
    quarantined = 8 if rejected else None
    ledger.record(batch.id, snapshot_id=7, quarantine_snapshot_id=quarantined, summary_table="summary.daily")
    return batch.id


def state(ledger: Ledger, file_id: str) -> str:
    """The file's state."""
    return next(file.state for file in ledger.files() if file.id == file_id)


def test_the_same_delivery_is_a_duplicate_only_while_its_first_is_loaded(ledger: Ledger) -> None:
    """Same type, filename timestamp and bytes as a loaded file: duplicate; other bytes or another time: loaded."""
    load(ledger, claim(ledger))
    copy, other = claim(ledger), claim(ledger, digest="d2")
    decided = plan(ledger, copy, other)
    assert [file.id for file in decided.duplicates] == [copy]
    assert [file.id for file in decided.files] == [other]
    assert state(ledger, copy) == FileState.DUPLICATE


def test_a_copy_of_a_file_in_flight_waits(ledger: Ledger) -> None:
    """Two copies in one chunk, and a copy of a batched file, stay claimed until the first one's fate is known."""
    first, second, third = claim(ledger), claim(ledger), claim(ledger)
    decided = plan(ledger, first, second)
    assert [file.id for file in decided.files] == [first]
    assert [file.id for file in decided.waiting] == [second]
    later = plan(ledger, third)
    assert later.batch is None
    assert [file.id for file in later.waiting] == [third]
    assert state(ledger, third) == FileState.CLAIMED


def test_books_that_do_not_balance_stop_everything(ledger: Ledger) -> None:
    """Rows in data files unlike rows in outcomes is Fatal and changes nothing."""
    file_id = claim(ledger)
    batch = plan(ledger, file_id).batch
    assert batch is not None
    with pytest.raises(Fatal, match="3 rows"):
        ledger.prepare(batch.id, [FileOutcome(file_id, "loaded", 2, 2)], [WrittenFile("/x", "raw_data.a", 3, 1)], [])
    assert ledger.batch(batch.id).state == "planned"


def test_rejected_records_without_a_place_stop_everything(ledger: Ledger) -> None:
    """Rows in the quarantine's data files unlike rejected records of loaded files is Fatal."""
    file_id = claim(ledger)
    batch = plan(ledger, file_id).batch
    assert batch is not None
    with pytest.raises(Fatal, match="2 rows and 0 rejected records, its outcomes say 2 and 1"):
        ledger.prepare(batch.id, [FileOutcome(file_id, "loaded", 3, 2, 1)], [WrittenFile("/x", "raw_data.a", 2, 1)], [])
    ledger.prepare(batch.id, [FileOutcome(file_id, "error", 3, 0, 3)], [], [])
    assert (ledger.batch(batch.id).rejected, ledger.batch(batch.id).quarantine_rows) == (3, 0)


def test_why_records_were_rejected_is_on_record(ledger: Ledger) -> None:
    """Counts by file, code and field; the quarantine's by code are those of loaded files alone."""
    reasons = (RejectReason("missing_field", "at", 2, 1, "m"), RejectReason("bad_line", "", 1, 3, "l"))
    good, bad = claim(ledger), claim(ledger, digest="d2")
    batch = plan(ledger, good, bad).batch
    assert batch is not None
    ledger.prepare(
        batch.id,
        [
            FileOutcome(good, "loaded", 3, 0, 3, reasons=reasons),
            FileOutcome(bad, "error", 4, 0, 4, reasons=(RejectReason("wrong_type", "at", 4, 1, "w"),)),
        ],
        [WrittenFile("/q", "quarantine.rejected_records", 3, 1)],
        [],
    )
    with ledger.database.reading() as session:
        rows = {(row.file_id, row.code, row.field): row.records for row in session.scalars(select(Reject))}
    assert rows == {(good, "missing_field", "at"): 2, (good, "bad_line", ""): 1, (bad, "wrong_type", "at"): 4}
    assert ledger.quarantined_by_code(batch.id) == {"missing_field": 2, "bad_line": 1}
    assert (ledger.data_file_paths(batch.id), ledger.data_file_paths(batch.id, "quarantine.rejected_records")) == (
        [],
        ["/q"],
    )


def test_reasons_of_one_file_are_bounded() -> None:
    """Beyond fifty groups the rarest become one, so that no record is left uncounted."""
    reasons = [RejectReason("wrong_type", f"f{number}", 100 - number, number, f"m{number}") for number in range(1, 61)]
    kept = bounded(reasons)
    assert (len(kept), kept[:50]) == (51, tuple(reasons[:50]))
    assert kept[50] == RejectReason("other", "", sum(range(40, 50)), 51, "m51")
    assert bounded(reasons[:50]) == tuple(reasons[:50])


def test_unknown_keys_are_counted_when_their_batch_is_recorded(
    ledger: Ledger, clock: HandClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of all files together, with the first and last time; a type keeps so many keys and no more."""
    monkeypatch.setattr("metadata.ledger.unknown_keys.MOST_UNKNOWN", 2)
    began = clock.now()
    load(ledger, claim(ledger), unknown=(UnknownKey("colour", 2, '"red"'), UnknownKey("x" * 300, 1, "1")))
    clock.forward(60)
    load(ledger, claim(ledger, digest="d2"), unknown=(UnknownKey("colour", 5, '"blue"'), UnknownKey("size", 9, "3")))
    with ledger.database.reading() as session:
        rows = {row.key: row for row in session.scalars(select(UnknownField).where(UnknownField.file_type == "a"))}
    assert set(rows) == {"colour", "x" * 255}
    colour = rows["colour"]
    assert (colour.records, colour.files, colour.sample) == (7, 2, '"red"')
    assert (colour.first_seen, colour.last_seen) == (began, clock.now())


def test_a_table_of_the_quarantine_is_known_by_its_first_snapshot(ledger: Ledger) -> None:
    """Before it nothing was ever there, so that a missing table may be made."""
    load(ledger, claim(ledger))
    assert not ledger.has_quarantined()
    load(ledger, claim(ledger, digest="d2"), rejected=1)
    assert ledger.has_quarantined()


def test_illegal_steps_are_fatal(ledger: Ledger) -> None:
    """A recorded batch cannot be recorded again, nor abandoned."""
    batch_id = load(ledger, claim(ledger))
    with pytest.raises(Fatal, match="not a legal step"):
        ledger.record(batch_id, snapshot_id=8, summary_table=None)
    with pytest.raises(Fatal, match="not a legal step"):
        ledger.abandon(batch_id, "no")


def test_abandoned_files_are_claimed_again(ledger: Ledger) -> None:
    """Before Prepare a batch can be given up: its files are claimed, or failed with a reason."""
    first, second = claim(ledger), claim(ledger, digest="d2")
    one, two = plan(ledger, first).batch, plan(ledger, second).batch
    assert one is not None and two is not None
    ledger.abandon(one.id, "died")
    ledger.abandon(two.id, "died", fail=("out_of_attempts", "died 5 times"))
    assert state(ledger, first) == FileState.CLAIMED
    assert state(ledger, second) == FileState.FAILED
    assert ledger.unmoved_files()[0].code == "out_of_attempts"


def test_changed_and_missing_files_leave_the_batch_at_prepare(ledger: Ledger) -> None:
    """Changed bytes: claimed again with the new digest; a vanished file: missing; neither belongs to the batch."""
    changed, gone = claim(ledger), claim(ledger, digest="d2")
    batch = plan(ledger, changed, gone).batch
    assert batch is not None
    ledger.prepare(
        batch.id,
        [FileOutcome(changed, "changed", digest="d9", size_bytes=11), FileOutcome(gone, "missing")],
        [],
        [],
    )
    assert state(ledger, changed) == FileState.CLAIMED
    assert next(file for file in ledger.files() if file.id == changed).digest == "d9"
    assert state(ledger, gone) == FileState.MISSING
    ledger.record(batch.id, snapshot_id=None, summary_table=None)
    assert ledger.batch_files(batch.id) == []


def test_a_day_stays_dirty_when_rows_come_during_its_build(ledger: Ledger) -> None:
    """The generation read before the build is what is built; a commit meanwhile keeps the day dirty."""
    load(ledger, claim(ledger))
    day = date(2026, 1, 15)
    assert ledger.dirty_days("summary.daily") == [(day, 1)]
    before = ledger.day_generation("summary.daily", day)
    load(ledger, claim(ledger, digest="d2"))
    ledger.day_built("summary.daily", "a", day, before, rows=1, snapshot_id=1)
    assert ledger.dirty_days("summary.daily") == [(day, 2)]
    ledger.day_built("summary.daily", "a", day, 2, rows=1, snapshot_id=2)
    assert ledger.dirty_days("summary.daily") == []


def test_a_locked_database_is_a_fault_of_the_world(
    settings: Settings, clock: HandClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A writer that cannot get the lock in time raises WorldFault, with a cure."""
    monkeypatch.setattr("metadata.database.engine.BUSY_TIMEOUT_SECONDS", 0.1)
    database = Database(settings.database_url)
    database.migrate()
    ledger = Ledger(database, clock)
    with database.writing() as session:
        session.execute(text("SELECT 1"))  # a writer holds the lock from its first statement on, also a reading one
        with pytest.raises(WorldFault, match="locked"):
            Ledger(Database(settings.database_url), clock).mark_missing("x", "y")
    assert ledger.files() == []
