"""The report: what ledger and tables say of a range of days; on real SQLite and Iceberg, without Spark."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from command import events_file
from conftest import make_settings
from sqlalchemy import delete, event
from sqlalchemy.dialects import postgresql
from workshop import Workshop

from metadata.database.models import Base, Batch, Reject, SourceFile, UnknownField
from metadata.ids import new_id
from metadata.ledger.report_facts import Fingerprint, Period, read_facts
from watcher.app import App
from watcher.commands.report import report as command
from watcher.deeds.replay import discard
from watcher.deeds.undo import undo
from watcher.report.make import make_report
from watcher.report.values import Report
from watcher.report.verdicts import Extent
from watcher.report.words import totals

TODAY = date(2026, 1, 15)
"""The day of the clock by hand; it is noon."""
WEEK = Period(TODAY - timedelta(days=6), TODAY)
EVENTS = "vehicle_events"


class Shelf:
    """Rows of the ledger as loads would have written them."""

    def __init__(self, app: App) -> None:
        self.app = app
        self.batch = new_id(app.clock)
        self._count = 0
        batch = Batch(
            id=self.batch,
            file_type=EVENTS,
            table_name=f"raw_data.{EVENTS}",
            schema_version=1,
            state="settled",
            flush_id=self.batch,
            reason="hour",
            files=0,
            bytes=0,
            planned_at=app.clock.now(),
        )
        self._waiting: list[list[Base]] = [[batch], [], []]

    def file(
        self,
        at: datetime,
        state: str = "loaded",
        *,
        prefix: str | None = EVENTS,
        file_type: str | None = EVENTS,
        rejects: dict[tuple[str, str], tuple[int, str]] | None = None,
        records: int = 100,
        late: timedelta = timedelta(0),
        **more: Any,
    ) -> str:
        """One file that arrived `at`; `rejects`: (code, field) → (records, message)."""
        self._count += 1
        named = at - late
        rejected = sum(number for number, _ in (rejects or {}).values())
        decoded = state in ("loaded", "error", "undone")
        row = SourceFile(
            id=new_id(self.app.clock),
            name=f"{prefix}_{named:%Y%m%d%H%M%S}_{self._count}.json",
            prefix=prefix,
            file_type=file_type,
            filename_time=named,
            size_bytes=1000,
            state=state,
            path=f"/nowhere/{self._count}",
            batch_id=self.batch if decoded else None,
            noticed_by="scan",
            noticed_at=at,
            records=records if decoded else None,
            rows=records - rejected if state == "loaded" else 0 if decoded else None,
            rejected=rejected if decoded else None,
        )
        for name, value in more.items():
            setattr(row, name, value)
        self._waiting[1].append(row)
        for (code, field), (number, message) in (rejects or {}).items():
            self._waiting[2].append(
                Reject(
                    batch_id=self.batch,
                    file_id=row.id,
                    code=code,
                    field=field,
                    records=number,
                    first_record_no=3,
                    message=message,
                )
            )
        return str(row.id)

    def put(self) -> None:
        """Write what waits, in one transaction."""
        with self.app.database.writing() as session:
            for rows in self._waiting:
                session.add_all(rows)
                session.flush()
                rows.clear()

    def report(self, period: Period = WEEK, file_type: str | None = None) -> Report:
        """The report on these rows."""
        self.put()
        return make_report(self.app, period, file_type)


def at(hour: int, minute: int = 0, *, days_ago: int = 0) -> datetime:
    """A time of today, or of a day before."""
    return datetime(2026, 1, 15, hour, minute, tzinfo=UTC) - timedelta(days=days_ago)


def speed(number: int, value: str = "fast") -> dict[tuple[str, str], tuple[int, str]]:
    """The rejects of a file: so many records, the first of which has this value."""
    return {("wrong_type", "speed"): (number, f'record 3, field "speed": Expected `double`, got "{value}"')}


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    """An initialised App without tables, at noon of TODAY."""
    made = Workshop(make_settings(tmp_path_factory.mktemp("bare")))
    yield made
    made.close()


@pytest.fixture
def shelf(bare: Workshop) -> Shelf:
    """An empty ledger."""
    with bare.app.database.writing() as session:
        for table in (Reject, SourceFile, Batch, UnknownField):
            session.execute(delete(table))
    return Shelf(bare.app)


def run(app: App, *arguments: str) -> Result:
    """`lemonade report` in this process."""
    return CliRunner().invoke(command, list(arguments), obj=app)


def only(report: Report) -> Any:
    """The one error of a report."""
    assert len(report.errors) == 1, report.errors
    return report.errors[0]


# -- the ledger's part ------------------------------------------------------------------------------------------------


def test_volumes_by_day_type_and_outcome(shelf: Shelf) -> None:
    """Files, bytes, records and rows, by the UTC day on which they arrived; what is not over yet is waiting."""
    shelf.file(at(0))
    shelf.file(at(23, 59, days_ago=1))
    shelf.file(at(9), "failed", code="malformed", message="it is no JSON")
    shelf.file(at(9), "duplicate")
    shelf.file(at(9), "claimed")
    shelf.file(at(9), "batched")
    shelf.file(at(9), "held", prefix="new_things", file_type=None)
    found = shelf.report()
    assert [(one.day, one.file_type, one.outcome, one.files, one.rows) for one in found.volumes] == [
        (TODAY - timedelta(days=1), EVENTS, "loaded", 1, 100),
        (TODAY, None, "held", 1, 0),
        (TODAY, EVENTS, "loaded", 1, 100),
        (TODAY, EVENTS, "failed", 1, 0),
        (TODAY, EVENTS, "duplicate", 1, 0),
        (TODAY, EVENTS, "waiting", 2, 0),
    ]
    assert (found.total.files, found.total.bytes, found.total.records, found.total.bad_files) == (7, 7000, 200, 1)


def test_the_range_and_the_one_before_it(shelf: Shelf) -> None:
    """A file of the day before the range counts as before, one of the day before that range as nothing."""
    shelf.file(at(9))
    shelf.file(at(9, days_ago=1), rejects=speed(50))
    shelf.file(at(9, days_ago=2))
    found = shelf.report(Period(TODAY, TODAY))
    assert (found.total.files, found.total.reject_rate) == (1, 0)
    assert (found.before.files, found.before.reject_rate) == (1, 0.5)
    assert found.errors == []
    yesterday = Period(TODAY - timedelta(days=1), TODAY - timedelta(days=1))
    shelf.file(at(0), rejects=speed(1))
    found = shelf.report(yesterday)
    assert (found.total.files, only(found).files, found.late[0].files) == (1, 1, 1)


def test_reject_rates_by_type_code_field_prefix_and_hour(shelf: Shelf) -> None:
    """Rejected records of all that were decoded, whichever way they are cut; those of files in error/ too."""
    shelf.file(at(9), prefix="eu", rejects=speed(30))
    shelf.file(at(10), prefix="eu", rejects={**speed(10), ("missing_field", "vehicle_id"): (10, "no vehicle_id")})
    shelf.file(at(10), "error", prefix="us", code="schema_mismatch", rejects=speed(50))
    shelf.file(at(10), prefix="us", file_type="vehicle_status")
    found = shelf.report()
    assert [(one.file_type, one.reject_rate) for one in found.types] == [(EVENTS, 100 / 300), ("vehicle_status", 0)]
    assert [(one.code, one.field, one.files, one.records, one.rate) for one in found.codes] == [
        ("wrong_type", "speed", 3, 90, 90 / 300),
        ("missing_field", "vehicle_id", 1, 10, 10 / 300),
    ]
    assert [(one.prefix, one.file_type, one.rejected) for one in found.prefixes] == [
        ("eu", EVENTS, 50),
        ("us", EVENTS, 50),
        ("us", "vehicle_status", 0),
    ]
    assert [(one.hour, one.reject_rate) for one in found.hours] == [(at(9), 0.3), (at(10), 70 / 300)]


def test_errors_are_grouped_by_fingerprint(shelf: Shelf) -> None:
    """Messages that differ in values are one error, with count, first and last seen, prefixes, three samples."""
    for number in range(5):
        shelf.file(at(9 + number // 2, number), prefix=f"p{number % 2}", rejects=speed(2, f"fast {number}"))
    shelf.file(at(9), rejects={("wrong_type", "rpm"): (1, 'record 1, field "rpm": Expected `double`, got "x"')})
    found = shelf.report()
    grouped = next(one for one in found.errors if one.field == "speed")
    assert grouped.message == "Expected `double`, got …"
    assert (grouped.files, grouped.records) == (5, 10)
    assert (grouped.first_seen, grouped.last_seen) == (at(9), at(11, 4))
    assert grouped.prefixes == {"p0": 3, "p1": 2}
    assert len({sample.file_id for sample in grouped.samples}) == 3
    assert all(sample.record_no == 3 and "fast" in sample.message for sample in grouped.samples)
    assert found.different_errors == 2


def test_three_samples_of_one_message(shelf: Shelf) -> None:
    """Files with the very same message give three samples all the same, of rejected records and of whole files."""
    for number in range(9):
        shelf.file(at(9, number), rejects=speed(1))
        shelf.file(at(9, number), "failed", code="malformed", message="it is no JSON")
    found = shelf.report()
    assert [len({sample.file_id for sample in one.samples}) for one in found.errors] == [3, 3]


def test_a_file_that_failed_as_a_whole_is_an_error_too(shelf: Shelf) -> None:
    """Malformed and misnamed files are grouped by code and message; one in error/ with reasons counts once."""
    shelf.file(at(9), "failed", code="malformed", message="reading a_20260115090000.json: it is no JSON (byte 12)")
    shelf.file(at(9), "failed", code="malformed", message="reading b_20260115090000.json: it is no JSON (byte 345)")
    shelf.file(at(9), "failed", code="bad_name", message="reading the name 'x.txt'", prefix=None, file_type=None)
    shelf.file(at(9), "error", code="schema_mismatch", message="3 of 4 records", rejects=speed(60))
    shelf.file(at(9), "error", code="schema_mismatch", message="4 of 4 records")
    found = {(one.code, one.whole_file): one for one in shelf.report().errors}
    assert set(found) == {
        ("malformed", True),
        ("bad_name", True),
        ("wrong_type", False),
        ("schema_mismatch", True),
    }
    assert (found["malformed", True].files, found["malformed", True].records) == (2, 0)
    assert found["malformed", True].message == "it is no JSON (byte #)"
    assert found["bad_name", True].file_type is None
    assert found["schema_mismatch", True].files == 1


def test_rejects_of_a_load_that_was_tried_again_do_not_count(shelf: Shelf) -> None:
    """A file counts as it was loaded last: the reasons of an earlier batch are history."""
    file_id = shelf.file(at(9), rejects=speed(7))
    assert len(shelf.report().errors) == 1
    other = Shelf(shelf.app)
    other.put()
    with shelf.app.database.writing() as session:
        row = session.get_one(SourceFile, file_id)
        row.batch_id, row.rejected = other.batch, 0
    assert shelf.report().errors == []
    assert shelf.report().codes == []


def test_systemic_or_one_off_is_said(shelf: Shelf) -> None:
    """Most files of a prefix since nine: systemic, said first; one file: one-off."""
    for number in range(40):
        shelf.file(at(9, number), prefix="eu_trucks", rejects=speed(2) if number > 1 else None)
        shelf.file(at(8, number), prefix="us_trucks")
        shelf.file(at(9, number), "duplicate", prefix="eu_trucks")  # nobody looked into these
        shelf.file(at(9, number), "claimed", prefix="eu_trucks")
    for number in range(2):
        shelf.file(at(7, number), rejects={("bad_decimal", "price"): (99, "record 1: Invalid decimal")})
    shelf.file(at(6), "failed", code="empty", message="it is empty")
    found = shelf.report()
    assert [one.verdict for one in found.errors] == [Extent.SYSTEMIC, Extent.RECURRING, Extent.ONE_OFF]
    assert found.verdict is Extent.SYSTEMIC
    assert found.sentence == (
        "systemic: 1 of 3 different errors; the largest in 38 of 40 files of vehicle_events since 2026-01-15 09:00"
    )


def test_a_type_alone(shelf: Shelf) -> None:
    """`--type` leaves every other type out of every part."""
    shelf.file(at(9), rejects=speed(1))
    shelf.file(at(9), "failed", file_type="vehicle_status", code="empty", message="it is empty")
    found = shelf.report(file_type="vehicle_status")
    assert [one.file_type for one in found.types] == ["vehicle_status"]
    assert only(found).code == "empty"
    assert [one.file_type for one in found.late] == ["vehicle_status"]
    assert found.codes == []
    assert found.silent == []


def test_late_files(shelf: Shelf) -> None:
    """How long after the times in their names files arrived: classes, beyond an hour and a day, the latest."""
    for late in (timedelta(seconds=30), timedelta(minutes=4), timedelta(hours=2), timedelta(days=3)):
        shelf.file(at(9), late=late)
    shelf.file(at(9), late=timedelta(minutes=-5))
    shelf.file(at(9), prefix=None, file_type=None, filename_time=None)
    (late_ones,) = shelf.report().late
    assert (late_ones.files, late_ones.over_1_hour, late_ones.over_24_hours) == (5, 2, 1)
    assert (late_ones.median_minutes, late_ones.most_minutes) == (4, 3 * 24 * 60)
    assert late_ones.latest.startswith("vehicle_events_20260112090000")
    told = {name: number for name, number in late_ones.classes.items() if number}
    assert told == {"early": 1, "1 min": 1, "5 min": 1, "6 h": 1, "7 d": 1}


def test_duplicate_files_and_rejected_keys(shelf: Shelf) -> None:
    """Files delivered again, and records that a type with `dedupe` rejected, are told by type."""
    for _ in range(2):
        shelf.file(at(9), "duplicate")
    shelf.file(at(9), rejects={("duplicate_key", ""): (4, "record 3: its key is there already")})
    shelf.file(at(9), "duplicate", file_type="vehicle_status")
    found = [(one.file_type, one.files, one.repeated_keys, one.rejected) for one in shelf.report().duplicates]
    assert found == [(EVENTS, 2, None, 4), ("vehicle_status", 1, None, 0)]


def test_silent_types(shelf: Shelf) -> None:
    """A type that always came each hour and then did not; one without a file in the range; none that is disabled."""
    for hour in range(48):
        shelf.file(at(6, days_ago=1) - timedelta(hours=hour))
    shelf.file(at(9, days_ago=20), file_type="vehicle_status")
    found = shelf.report(Period(TODAY, TODAY))
    assert [one.sentence for one in found.silent] == [
        "vehicle_events: no file in the range, last seen 2026-01-14 06:00",
        "vehicle_status: no file in the range, last seen 2025-12-26 09:00",
    ]
    shelf.file(at(0))
    shelf.file(at(1))
    (silent,) = (one for one in shelf.report(Period(TODAY, TODAY)).silent if one.file_type == EVENTS)
    assert (silent.since, silent.until, silent.usual_minutes) == (at(6, days_ago=1), at(0), 60)
    shelf.app.registry.disable("vehicle_status")
    try:
        assert [one.file_type for one in shelf.report(Period(TODAY, TODAY)).silent] == [EVENTS]
    finally:
        shelf.app.registry.activate("vehicle_status")


def test_unknown_fields_seen_in_the_range(shelf: Shelf) -> None:
    """Keys that were seen in the range, those of the most records first; none that was last seen before it."""
    with shelf.app.database.writing() as session:
        for key, records, days_ago in (("gear", 3, 1), ("torque", 8, 0), ("old", 99, 30)):
            seen = at(9, days_ago=days_ago)
            session.add(
                UnknownField(
                    file_type=EVENTS, key=key, records=records, files=1, sample="1", first_seen=seen, last_seen=seen
                )
            )
    assert [(one.key, one.records) for one in shelf.report().unknown_fields] == [("torque", 8), ("gear", 3)]


def test_the_ledger_is_only_read(shelf: Shelf) -> None:
    """The report sends no statement that writes, and each is one that PostgreSQL takes, too."""
    shelf.file(at(9), rejects=speed(1))
    shelf.file(at(9), "failed", code="empty", message="it is empty")
    shelf.put()
    compiled: list[str] = []
    sent: list[str] = []

    def before(_connection: Any, clause: Any, *_rest: Any) -> None:
        compiled.append(str(clause.compile(dialect=postgresql.dialect())))

    def cursor(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        sent.append(statement)

    engine = shelf.app.database.engine
    event.listen(engine, "before_execute", before)
    event.listen(engine, "before_cursor_execute", cursor)
    read_facts(shelf.app.database, WEEK, EVENTS)
    assert len(compiled) >= 8
    assert {statement.split()[0] for statement in sent} <= {"SELECT", "BEGIN"}
    for statement in compiled:
        # A parameter in a group is another one than in the column: PostgreSQL would refuse it.
        assert "%(" not in statement.partition("GROUP BY")[2], statement


def test_more_different_errors_than_are_kept_apart(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those in the most files are shown, all are counted."""
    monkeypatch.setattr("metadata.ledger.report_facts.MOST_FINGERPRINTS", 2)
    for field in ("a", "b", "b", "c", "c", "c"):
        shelf.file(at(9), rejects={("wrong_type", field): (1, "it is wrong")})
    found = shelf.report()
    assert ([one.field for one in found.errors], found.different_errors) == (["c", "b"], 3)


def test_values_of_a_fingerprint_start_empty() -> None:
    """An error that nobody was seen with has no files and no samples."""
    one = Fingerprint(None, "empty", "", "it is empty", whole_file=True)
    assert (one.files, one.samples, one.first_seen > one.last_seen) == (0, [], True)


# -- the tables' part -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def lent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    """A workshop that loaded three days: nulls, repeated keys, a rejected record in a file of a hostile name."""
    made = Workshop(make_settings(tmp_path_factory.mktemp("lent")))
    made.clock.set(at(9, days_ago=1))
    made.drop("vehicle_events_20260114090000.json", rows=10)
    made.load()
    made.clock.set(at(10))
    document = events_file(10, start=100)
    for record in document["vehicles_events"][:8]:
        record["event_type"] = None
    document["vehicles_events"][8]["gear"] = "<b>3</b>"
    document["vehicles_events"][9]["event_time"] = "<script>alert(1)</script>"
    made.drop("eu_<img src=x>_vehicle_events_20260115100000.json", document)
    made.drop("vehicle_events_20260115100100.json", rows=10, start=100)
    made.drop("vehicle_events_20260115100200.json", b'{"vehicles_events": [')
    made.load()
    yield made
    made.close()


@pytest.fixture(scope="module")
def told(lent: Workshop) -> Report:
    """The report on its last day."""
    return make_report(lent.app, Period(TODAY, TODAY))


def test_null_rates_and_their_change(told: Report) -> None:
    """From the manifests, by the days in the files' names, against the period before; `_rescued` by how full it is."""
    nulls = {one.column: one for one in told.nulls}
    kind = nulls["event_type"]
    assert (kind.rows, kind.nulls, kind.before, kind.striking, kind.whole_table) == (19, 8, 0, True, False)
    assert kind.change == pytest.approx(8 / 19)
    assert (nulls["vehicle_id"].nulls, nulls["vehicle_id"].striking) == (0, False)
    assert not {"date", "_file_id", "_rescued"} & set(nulls)
    (rescued,) = told.rescued
    assert (rescued.filled, rescued.rows, rescued.before) == (1, 19, 0)


def test_rows_with_the_same_key(lent: Workshop, told: Report) -> None:
    """Keys that more than one row of the range has, and how many rows are too many."""
    assert [(one.file_type, one.repeated_keys, one.surplus_rows) for one in told.duplicates] == [(EVENTS, 9, 9)]
    assert make_report(lent.app, Period(TODAY - timedelta(days=1), TODAY - timedelta(days=1))).duplicates == []


def test_samples_show_the_record_as_it_was(told: Report) -> None:
    """The raw text comes out of the quarantine."""
    rejected = next(one for one in told.errors if not one.whole_file)
    (sample,) = rejected.samples
    assert (sample.file, sample.record_no) == ("eu_<img src=x>_vehicle_events_20260115100000.json", 10)
    assert sample.raw is not None
    assert json.loads(sample.raw)["event_time"] == "<script>alert(1)</script>"
    assert told.notes == []


def test_what_was_undone_or_replayed_since_leaves_the_sums_whole(tmp_path: Path) -> None:
    """Records = rows + rejected, also of files whose load was taken back; what was replayed or discarded is told."""
    workshop = Workshop(make_settings(tmp_path))
    for number in (1, 2):
        rows: list[dict[str, Any]] = events_file(3, start=3 * number)["vehicles_events"]
        workshop.drop(f"vehicle_events_2026011510000{number}.json", [*rows, {**rows[0], "event_type": 17}])
    workshop.load()
    undone, kept = workshop.rows()
    undo(workshop.work, {"target": undone.id})
    discard(workshop.work, {"records": [f"{kept.id}:4"]})
    report = make_report(workshop.app, WEEK)
    total = report.total
    assert (total.records, total.rows, total.rejected) == (8, 6, 2)
    assert [one.records for one in report.codes] == [2]
    assert (total.replayed, total.discarded) == (0, 1)
    assert "2 rejected (25 %), of those 0 replayed since and 1 discarded" in totals(report)
    workshop.close()


def test_a_table_that_is_not_divided_by_days_is_counted_whole(tmp_path: Path) -> None:
    """Its nulls are those of all its rows, and are compared with nothing."""
    workshop = Workshop(make_settings(tmp_path))
    workshop.app.registry.add(
        {
            "file_type": "ticks",
            "schema_definition": {"fields": [{"name": "n", "type": "long"}]},
            "processing_config": {"partition_by": "none"},
        }
    )
    workshop.drop("ticks_20260101000000.json", [{"n": 1}, {"n": None}])
    workshop.load()
    (null,) = make_report(workshop.app, WEEK, "ticks").nulls
    assert (null.rows, null.nulls, null.before, null.whole_table) == (2, 1, None, True)
    workshop.close()


def test_without_the_tables_the_ledger_still_speaks(lent: Workshop) -> None:
    """A warehouse that is away is a note, not the end of the report."""
    catalog = Path(lent.app.settings.catalog_uri.removeprefix("sqlite:///"))
    hidden = catalog.rename(catalog.with_suffix(".away"))
    try:
        away = App(lent.app.settings, clock=lent.clock, runner=lent.runner)
        found = make_report(away, Period(TODAY, TODAY))
        away.database.close()
    finally:
        hidden.replace(catalog)
    assert (found.total.files, found.nulls) == (3, [])
    assert found.notes
    assert all("could not be told" in note for note in found.notes)
    assert len({note.partition(": ")[2] for note in found.notes}) == len(found.notes)


# -- the command ------------------------------------------------------------------------------------------------------


def test_the_command_prints_the_last_seven_days(lent: Workshop) -> None:
    """Without options: seven days up to today; exit 0."""
    done = run(lent.app)
    assert done.exit_code == 0, done.output
    assert done.output.startswith("report    2026-01-09 to 2026-01-15, by UTC day of arrival; all types\n")
    assert "event_time" in done.output
    assert "Nulls, by column" in done.output
    assert max(map(len, done.output.splitlines())) <= 100


def test_nothing_in_the_range_is_exit_1(shelf: Shelf) -> None:
    """A range in which nothing arrived says so."""
    done = run(shelf.app, "--from", "2025-01-01", "--to", "2025-01-02")
    assert done.exit_code == 1
    assert "verdict   no file arrived" in done.output
    assert "vehicle_events: no file came up to 2025-01-02" in done.output


def test_days_that_make_no_sense(shelf: Shelf) -> None:
    """The last day before the first, ranges beyond all measure, and a type that nobody knows, are usage errors."""
    done = run(shelf.app, "--from", "2026-01-15", "--to", "2026-01-14")
    assert "the last day is before the first" in str(done.exception)
    for first, last in (("0001-01-01", "0001-01-02"), ("2026-01-01", "9999-12-31"), ("1990-01-01", "2026-01-01")):
        assert "at most 3660 days" in str(run(shelf.app, "--from", first, "--to", last).exception)
    assert "there is no such type" in str(run(shelf.app, "--type", "nope").exception)


@pytest.mark.parametrize(
    ("options", "first", "last"),
    [
        (["--from", "2026-01-14"], "2026-01-14", "2026-01-15"),
        (["--to", "2026-01-14"], "2026-01-08", "2026-01-14"),
        (["--from", "2026-01-15", "--to", "2026-01-15"], "2026-01-15", "2026-01-15"),
        (["--from", "2026-02-01"], "2026-02-01", "2026-02-01"),
    ],
)
def test_a_day_that_is_left_out(shelf: Shelf, options: list[str], first: str, last: str) -> None:
    """The last day is today, the first one six days before the last; a first day to come is the only one."""
    answer = json.loads(run(shelf.app, "--json", *options).output)
    assert (answer["first"], answer["last"]) == (first, last)


def test_json_is_the_whole_report(lent: Workshop) -> None:
    """--json prints everything as one document, times as ISO 8601."""
    done = run(lent.app, "--json", "--from", "2026-01-15")
    assert done.exit_code == 0
    answer = json.loads(done.output)
    assert (answer["total"]["files"], answer["verdict"], answer["made_at"]) == (3, "one-off", "2026-01-15T10:00:00Z")
    assert (answer["volumes"][0]["day"], answer["hours"][0]["hour"]) == ("2026-01-15", "2026-01-15T10:00:00Z")
    assert {error["samples"][0]["raw"] is None for error in answer["errors"]} == {True, False}
    assert answer["unknown_fields"][0]["key"] == "gear"


def test_the_page_is_written_whole(lent: Workshop, tmp_path: Path) -> None:
    """--html writes one file and nothing beside it; names and records of producers are text in it."""
    target = tmp_path / "report.html"
    target.write_text("the page before")
    done = run(lent.app, "--html", str(target))
    assert done.exit_code == 0, done.output
    assert "written to" in done.output
    document = target.read_text(encoding="utf-8")
    assert document.startswith("<!DOCTYPE html>")
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in document
    assert "eu_&lt;img src=x&gt;_vehicle_events" in document
    assert "<script" not in document
    assert "<img" not in document
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["report.html"]


def test_a_page_that_cannot_be_written_is_said(shelf: Shelf, tmp_path: Path) -> None:
    """A folder that is not there: a message, no half of a file."""
    done = run(shelf.app, "--html", str(tmp_path / "nowhere" / "report.html"))
    assert "name a file that can be written" in str(done.exception)
