"""`lemonade explain`: one screen from a file's arrival to its rows, and the history that it reads."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from command import clean_environ, drop, events_file
from handclock import HandClock
from inprocess import InProcessRunner

from metadata.database.models import FileHistory
from metadata.database.states import FileState, FlushReason
from metadata.ids import new_id
from metadata.ledger.file_history import of_file
from metadata.ledger.ledger import Ledger
from metadata.ledger.values import Arrival, FileOutcome, HeldClaim, NewFile
from metadata.settings import Settings
from watcher.app import App
from watcher.commands.explain import explain
from watcher.deeds.daemon_or_here import perform

NAME = "vehicles_events_20260115120000.json"
NOON = datetime(2026, 1, 15, 12, tzinfo=UTC)


def said(app: App, *arguments: str, exit_code: int = 0) -> str:
    """What `lemonade explain` says."""
    done = CliRunner().invoke(explain, list(arguments), obj=app)
    assert done.exit_code == exit_code, done.output
    return done.stdout


def told(app: App, what: str, exit_code: int = 0) -> dict[str, Any]:
    """Its JSON."""
    answer = json.loads(said(app, what, "--json", exit_code=exit_code))
    assert isinstance(answer, dict)
    return answer


def load(app: App, name: str, content: Any) -> None:
    """Drop a file and flush."""
    drop(app.settings.incoming_folder, name, content)
    perform(app, "flush", {"types": []})


def test_a_loaded_file_is_told_from_arrival_to_rows(app: App) -> None:
    """Noticed, claimed, batch, schema version, snapshot, table, rows, and each step with its folder."""
    load(app, NAME, events_file(10))
    (row,) = app.ledger.files()
    (batch,) = app.ledger.batches()
    file = told(app, NAME)["file"]
    assert (file["file_id"], file["state"], file["noticed_by"]) == (row.id, "loaded", "scan")
    assert (file["records"], file["rows"], file["rejected"], file["attempts"]) == (10, 10, 0, 1)
    assert (file["table"], file["schema_version"], file["snapshot_id"]) == (
        "raw_data.vehicle_events",
        1,
        batch.snapshot_id,
    )
    assert [each["batch_id"] for each in file["batches"]] == [batch.id]
    assert [step["state"] for step in file["steps"]] == ["claimed", "batched", "loaded", "loaded"]
    assert [Path(step["path"]).parent.name for step in file["steps"][:3]] == ["vehicle_events"] * 3
    assert file["steps"][-1]["path"] == file["path"] == row.path
    assert file["cure"] is None
    screen = said(app, NAME)
    for part in (row.id, "by a scan", batch.id, str(batch.snapshot_id), "schema version 1", "10 loaded", row.path):
        assert part in screen
    assert len(screen.splitlines()) < 24, "one screen"


def test_a_file_is_found_by_name_path_id_and_earlier_path(app: App) -> None:
    """Name, path now, path in processing/ and id all mean the same file; the batch's id shows the batch."""
    load(app, NAME, events_file(3))
    (row,) = app.ledger.files()
    earlier = app.settings.folders.processing("vehicle_events") / NAME
    for text in (NAME, row.path, row.id, str(earlier)):
        assert told(app, text)["file"]["file_id"] == row.id
    assert row.batch_id is not None
    batch = told(app, row.batch_id)["batch"]
    assert [(file["file_id"], file["outcome"], file["rows"]) for file in batch["files"]] == [(row.id, "loaded", 3)]
    assert NAME in said(app, row.batch_id)


def test_an_error_comes_with_its_cure(app: App) -> None:
    """A failed file says code, message and cure; after its retry the history still says why it had failed."""
    load(app, NAME, "{")
    file = told(app, NAME)["file"]
    assert (file["state"], file["code"]) == ("failed", "malformed")
    assert "lemonade retry" in file["cure"]
    assert file["batches"][0]["outcome"] == "failed"
    assert "cure" in said(app, NAME)
    Path(file["path"]).write_text(json.dumps(events_file(2)))
    perform(app, "retry", {"files": [NAME]})
    again = told(app, NAME)["file"]
    assert (again["state"], again["code"], again["attempts"], len(again["batches"])) == ("loaded", None, 2, 2)
    assert [step["state"] for step in again["steps"]] == [
        "claimed", "batched", "failed", "failed", "claimed", "batched", "loaded", "loaded",
    ]  # fmt: skip
    assert [step["code"] for step in again["steps"]] == [None, None, "malformed", "malformed", None, None, None, None]
    assert "retried" in [step["message"] for step in again["steps"]]


def test_one_name_of_several_files_lists_them(app: App) -> None:
    """Two deliveries of one name: their ids are listed, each explains one; a copy names what it is a copy of."""
    load(app, NAME, events_file(3))
    load(app, NAME, events_file(4))
    load(app, NAME, events_file(4))
    ids = [row.id for row in app.ledger.files()]
    answer = told(app, NAME)
    assert answer["file"] is None
    assert [each["file_id"] for each in answer["candidates"]] == ids
    for file_id in ids:
        assert file_id in said(app, NAME)
    copy = told(app, ids[2])["file"]
    assert copy["state"] == "duplicate"
    assert [each["file_id"] for each in copy["same_delivery"]] == [ids[1]]


def test_what_the_ledger_does_not_have_is_exit_1(app: App) -> None:
    """An unknown name is the answer "no"; one that still lies in incoming/ says so."""
    assert told(app, "never_was.json", exit_code=1) == {"file": None, "batch": None, "candidates": []}
    drop(app.settings.incoming_folder, NAME, "[]")
    assert "lies in incoming/" in said(app, NAME, exit_code=1)


def test_a_refused_file_is_explained_without_a_batch(app: App) -> None:
    """A file that was never claimed has a cure, no batch, and an odd name stays on one line."""
    load(app, "odd\nname.json", "[]")
    (row,) = app.ledger.files()
    assert told(app, row.id)["file"]["code"] == "bad_name"
    screen = said(app, row.id)
    assert "PREFIX_YYYYMMDDHHMMSS" in screen
    assert "odd\\nname.json" in screen or "odd" in screen


def test_explain_loads_no_engine(settings: Settings) -> None:
    """The verb reads the ledger only: neither Spark nor PyIceberg nor Arrow is imported."""
    App(settings, runner=InProcessRunner()).init()
    code = (
        "import sys\nfrom watcher.cli import main\n"
        "try:\n    main(['explain', 'x'])\nexcept SystemExit as end:\n    assert end.code == 1\n"
        "heavy = ('pyspark', 'pyiceberg', 'pyarrow', 'processors.load.commit_protocol')\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    environ = {**clean_environ(), "DATABASE_URL": settings.database_url}
    done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


# -- the history itself -----------------------------------------------------------------------------------------------


@pytest.fixture
def ledger(settings: Settings, clock: HandClock) -> Ledger:
    """An empty ledger."""
    app = App(settings, clock=clock, runner=InProcessRunner())
    app.unchecked_database.migrate()
    return app.ledger


def arrivals(ledger: Ledger, count: int) -> list[NewFile]:
    """So many claimed files."""
    return [
        NewFile(
            Arrival(new_id(ledger.clock), f"a_{number}.json", "a", NOON, 10, NOON, "scan", NOON, f"d{number}"),
            FileState.CLAIMED,
            f"/processing/a/{number}",
            "a",
        )
        for number in range(count)
    ]


def assert_history_ends_at_the_ledger(ledger: Ledger) -> None:
    """The last step of each file is its row."""
    with ledger.database.reading() as session:
        for row in ledger.files():
            last = of_file(session, row.id)[-1]
            assert (last.state, last.path, last.batch_id) == (row.state, row.path, row.batch_id), row.name


def test_every_way_of_a_state_is_a_step(ledger: Ledger) -> None:
    """Held, claimed, refused, missing, moved, batched, abandoned, changed, dead: each is a step with its reason."""
    files = arrivals(ledger, 6)
    held, refused, gone, changed, dead, plain = (file.arrival.file_id for file in files)
    ledger.add_many([NewFile(files[0].arrival, FileState.HELD, "/held/a/0")])
    ledger.add_many([NewFile(files[1].arrival, FileState.FAILED, "/failed/1", None, "bad_name", "no")])
    ledger.add_many(files[2:])
    assert_history_ends_at_the_ledger(ledger)
    ledger.claim_held_many([HeldClaim(held, "a", "/processing/a/0", "d0", 10)])
    ledger.refuse_claimed(held, "/failed/a/0", "unreadable", "no permission")
    ledger.mark_missing(gone, "removed")
    ledger.set_path(plain, "/processing/a/moved")
    assert_history_ends_at_the_ledger(ledger)

    def batch(*file_ids: str) -> str:
        batch_id = new_id(ledger.clock)
        ledger.plan(
            batch_id,
            file_type="a",
            table_name="raw_data.a",
            schema_version=1,
            flush_id="f",
            reason=FlushReason.HOUR,
            file_ids=file_ids,
        )
        return batch_id

    ledger.abandon(batch(plain), "the process ended")
    ledger.abandon(batch(dead), "no", fail=("out_of_attempts", "failed 5 times"))
    batch_id = batch(changed)
    ledger.prepare(batch_id, [FileOutcome(changed, "changed", message="rewritten", digest="e", size_bytes=1)], [], [])
    ledger.record(batch_id, snapshot_id=None, summary_table=None)
    ledger.settle(batch_id)
    ledger.files_settled({dead: "/failed/a/dead"})
    assert_history_ends_at_the_ledger(ledger)
    with ledger.database.reading() as session:
        steps = {name: [step.state for step in of_file(session, name)] for name in (held, refused, gone, dead)}
        why = [step.message for step in of_file(session, changed)]
    assert steps == {
        held: ["held", "claimed", "failed"],
        refused: ["failed"],
        gone: ["claimed", "missing"],
        dead: ["claimed", "batched", "failed", "failed"],
    }
    assert why[-1] == "rewritten"


def test_ten_thousand_arrivals_are_one_insert_more(ledger: Ledger) -> None:
    """The steps of 10,000 new files are written with a handful of statements, all of them."""
    from sqlalchemy import event, func, select

    statements = []
    event.listen(ledger.database.engine, "before_cursor_execute", lambda *args: statements.append(args[2]))
    files = arrivals(ledger, 10_000)
    ledger.add_many(files)
    assert sum("file_history" in statement for statement in statements) <= 2
    with ledger.database.reading() as session:
        assert session.scalar(select(func.count()).select_from(FileHistory)) == 10_000
