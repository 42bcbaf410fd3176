"""Undo, replay, discard and summary die after each of their steps and in the middle of their commits.

One Lemonade lives through all deaths of one kind, with a file for each: it dies in the operation on that file, starts
again and balances; then the operation is asked for once more, and does what is left of it or nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from books import assert_app_books
from command import drive, drop
from deaths import death
from onehome import Home
from operating import (
    AFTER_PREPARE,
    BEFORE_PREPARE,
    UNDO_AFTER,
    UNDO_BEFORE,
    WITHOUT_ANSWER,
    Moment,
    meant,
)
from pyiceberg.catalog.sql import SqlCatalog
from rejecting import mend, records

from metadata.database.models import Operation, ReplayRecord, SourceFile
from metadata.ledger.ledger import Ledger
from metadata.settings import Settings
from processors.lake.lake import Lake
from processors.lake.quarantine_table import TABLE as QUARANTINE
from watcher.deeds.by_name import do
from watcher.work.startup_repair import Action

TABLE = "raw_data.vehicle_events"
OPERATING = Path(__file__).parent / "operating.py"


ACTIONS = {
    "plan": Action.ABANDON,
    "write": Action.ABANDON,
    "quarantine": Action.RECORD,
    "record": Action.SETTLE,
    "receipt of its end": Action.SETTLE,
}
"""What `recover --dry-run` would do with a replay that died after a step; with any other: commit it."""


def dying(moment: Moment) -> AbstractContextManager[None]:
    """The process ends at this moment."""
    owner, name, times, before = moment
    return death(owner, name, times, before=before, only=meant(name))


@pytest.fixture
def home(settings_with: Callable[..., Settings]) -> Iterator[Home]:
    """A Lemonade that settles at once."""
    made = Home(settings_with(SETTLE_SECONDS="0"))
    yield made
    made.app.unchecked_database.close()


def load(home: Home, steps: Mapping[str, Moment]) -> dict[str, SourceFile]:
    """For each step a file of three good and two bad records, all loaded by one batch."""
    names = {step: f"vehicles_events_202601151200{number:02}.json" for number, step in enumerate(steps)}
    for number, name in enumerate(names.values()):
        drop(home.settings.incoming_folder, name, records(3, 2, start=number * 100))
    home.load()
    files = {step: home.app.ledger.files(name=name)[0] for step, name in names.items()}
    assert all((file.rows, file.rejected) == (3, 2) for file in files.values())
    return files


def numbers(home: Home, file: SourceFile) -> tuple[list[int], list[int]]:
    """The numbers of a file's records in the type's table and in the quarantine."""
    found = []
    for name in (TABLE, QUARANTINE):
        table = home.app.lake().table(name)
        rows = [] if table is None else table.scan().to_arrow().to_pylist()
        found.append(sorted(row["_record_no"] for row in rows if row["_file_id"] == file.id))
    return found[0], found[1]


def assert_balanced(home: Home, rows: int) -> None:
    """Every row and rejected record once, the books balance, and no operation is under way."""
    assert_app_books(home.app, rows, key="vehicle_id")
    with home.app.database.reading() as session:
        assert {row.state for row in session.query(Operation)} <= {"settled", "abandoned"}


def last_operation(home: Home) -> Operation:
    """The one that was planned last."""
    with home.app.database.reading() as session:
        return session.query(Operation).order_by(Operation.id.desc()).first()  # type: ignore[return-value] # there is one


def test_replay_dies(home: Home) -> None:
    """Before Prepare nothing has happened and the records are free; from then on each is in the table, once.

    `recover --dry-run` says beforehand what start-up does.
    """
    steps = {**BEFORE_PREPARE, **AFTER_PREPARE}
    files = load(home, steps)
    mend(home.app)
    rows = 3 * len(steps)
    for step, file in files.items():
        with dying(steps[step]):
            do(home.work, "quarantine.replay", {"files": [file.id]})
        found = [(repair.kind, repair.action) for repair in home.start(recover=False).inspect()]
        assert found == ([("replay", ACTIONS.get(step, Action.COMMIT))] if step != "settle" else []), step
        home.start()
        assert (last_operation(home).state == "abandoned") == (step in BEFORE_PREPARE), step
        expected = ([1, 2, 3], [4, 5]) if step in BEFORE_PREPARE else ([1, 2, 3, 4, 5], [])
        assert numbers(home, file) == expected, step
        assert_balanced(home, rows + len(expected[0]) - 3)
        again = do(home.work, "quarantine.replay", {"files": [file.id]})
        assert again["done"] == len(expected[1]), step
        assert numbers(home, file) == ([1, 2, 3, 4, 5], []), step
        rows += 2
    assert_balanced(home, 5 * len(steps))


def test_discard_dies(home: Home) -> None:
    """Before Prepare the records are still there; from then on they are gone, and counted as discarded once."""
    moments = {**BEFORE_PREPARE, **AFTER_PREPARE}
    steps = {step: moments[step] for step in ("plan", "prepare", "middle of the quarantine's commit", "quarantine")}
    files = load(home, steps)
    for step, file in files.items():
        owner, name, times, before = steps[step]
        with dying((owner, name, 1 if "quarantine" in step else times, before)):
            do(home.work, "quarantine.discard", {"files": [file.id]})
        home.start()
        assert numbers(home, file) == ([1, 2, 3], [4, 5] if step in BEFORE_PREPARE else []), step
        assert_balanced(home, 3 * len(steps))
        do(home.work, "quarantine.discard", {"files": [file.id]})
        now = home.app.ledger.files(name=file.name)[0]
        assert (now.rejected, now.replayed, now.discarded) == (2, 0, 2), step
        assert numbers(home, file) == ([1, 2, 3], []), step
    assert_balanced(home, 3 * len(steps))


def test_undo_dies(home: Home) -> None:
    """Of a file whose rejected records are replayed and waiting: all of it is undone, or nothing."""
    steps = {**UNDO_BEFORE, **UNDO_AFTER}
    files = load(home, steps)
    mend(home.app)
    do(home.work, "quarantine.replay", {"records": [f"{file.id}:4" for file in files.values()]})
    rows = 4 * len(steps)
    for step, file in files.items():
        with dying(steps[step]):
            do(home.work, "undo", {"target": file.id})
        home.start()
        expected = ([1, 2, 3, 4], [5]) if step in UNDO_BEFORE else ([], [])
        assert numbers(home, file) == expected, step
        assert_balanced(home, rows - 4 + len(expected[0]))
        told = do(home.work, "undo", {"target": file.id})
        assert told["undone"] == (step in UNDO_BEFORE) and told["done_before"] == (step not in UNDO_BEFORE), step
        assert numbers(home, file) == ([], []), step
        rows -= 4
    assert_balanced(home, 0)
    with home.app.database.reading() as session:
        assert session.query(ReplayRecord).count() == 0


def test_summary_dies(home: Home) -> None:
    """Before its commit, without its answer, or before its days are on record: they stay dirty and are built again."""
    moments: dict[str, Moment] = {
        "before the commit": (Lake, "overwrite", 1, True),
        "middle of the commit": (SqlCatalog, "commit_table", 1, True),
        "commit without its answer": (SqlCatalog, "commit_table", 1, False),
        "days not on record": (Ledger, "day_built", 1, True),
        "days on record": (Ledger, "day_built", 1, False),
    }
    drop(home.settings.incoming_folder, "vehicles_events_20260115120000.json", records(3, 0))
    home.load()
    do(home.work, "summarize", {})
    for number, (step, moment) in enumerate(moments.items(), start=1):
        drop(home.settings.incoming_folder, f"vehicles_events_2026011512000{number}.json", records(3, 0, number * 100))
        home.load()
        with dying(moment):
            do(home.work, "summarize", {})
        home.start()
        assert bool(home.app.ledger.dirty_days("summary.daily_summary")) == (step != "days on record"), step
        assert_balanced(home, 3 * (number + 1))
        do(home.work, "summarize", {})
        summary = home.app.lake().table("summary.daily_summary")
        assert summary is not None and summary.scan().to_arrow().num_rows == 3 * (number + 1), step
        assert home.app.ledger.dirty_days("summary.daily_summary") == [], step
    assert_balanced(home, 18)


@pytest.mark.parametrize(
    ("verb", "step"),
    [
        ("quarantine.replay", "table's commit without its answer"),
        *(pytest.param("quarantine.replay", step, marks=pytest.mark.soak) for step in AFTER_PREPARE),
        *(pytest.param("undo", step, marks=pytest.mark.soak) for step in {**UNDO_AFTER, **WITHOUT_ANSWER}),
    ],
)
def test_sigkill(home: Home, verb: str, step: str) -> None:
    """The same with a process that is really killed."""
    (file,) = load(home, {step: AFTER_PREPARE["prepare"]}).values()
    mend(home.app)
    arguments = {"target": file.id} if verb == "undo" else {"files": [file.id]}
    folder = home.settings.processed_folder.parent.parent
    drive(OPERATING, verb, step, json.dumps(arguments), home=folder, SETTLE_SECONDS="0")
    home.start()
    assert numbers(home, file) == (([], []) if verb == "undo" else ([1, 2, 3, 4, 5], []))
    assert_balanced(home, 0 if verb == "undo" else 5)
