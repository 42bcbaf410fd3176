"""The same file again: duplicates, other bytes under the same name, and what a type's policy makes of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from books import assert_app_books
from command import events_file
from deaths import any_call, death, of_files
from workshop import Workshop

from metadata.database.models import Operation
from metadata.database.states import BatchState, FileState
from metadata.errors import ConfigurationError, UnknownOutcome
from metadata.ledger.ledger import Ledger
from metadata.operations.undo import UndoLedger
from metadata.settings import Settings
from processors.lake.commits import BATCH_ID, OPERATION
from processors.lake.lake import Lake
from processors.load.decode_step import Decoding
from processors.load.move_step import Settler
from processors.rewrite.rewriter import Rewriter
from watcher.deeds.by_name import do
from watcher.work.answers import flush_answer

TABLE = "raw_data.vehicle_events"
A, B = (f"vehicles_events_2026011512000{number}.json" for number in range(2))
LATER = "vehicles_events_20260115130000.json"


@pytest.fixture
def shop(settings: Settings) -> Iterator[Workshop]:
    """A workshop."""
    made = Workshop(settings)
    yield made
    made.close()


def policy(shop: Workshop, **keys: str) -> None:
    """Give vehicle events these keys of the processing config, beside its summary."""
    summary = {"table": "daily_summary", "key": ["vehicle_id"], "time": "event_time", "latest": ["event_type"]}
    shop.app.registry.update("vehicle_events", {"processing_config": {"summary": summary, **keys}})


def load(shop: Workshop, name: str, rows: int, start: int = 0, day: str = "2026-01-15") -> dict[str, Any]:
    """Drop and flush one file; the flush's answer."""
    shop.drop(name, events_file(rows, start=start, day=day))
    scan = shop.claim()
    return flush_answer(shop.app, shop.flush(), scan)


def states(shop: Workshop, name: str = A) -> list[str]:
    """States of the files of a name, oldest first."""
    return [file.state for file in shop.rows(name)]


def vehicles(shop: Workshop) -> list[str]:
    """Every row's vehicle, sorted."""
    return sorted(record["vehicle_id"] for record in shop.records())


def snapshots(shop: Workshop) -> int:
    """How many the table has."""
    table = shop.app.lake().table(TABLE)
    return 0 if table is None else len(table.metadata.snapshots)


def test_the_same_delivery_is_a_duplicate_while_its_first_is_loaded(shop: Workshop) -> None:
    """Type, time and bytes the same: duplicate/; another time: loaded; after an undo: loaded."""
    load(shop, A, 3)
    load(shop, A, 3)
    assert states(shop) == ["loaded", "duplicate"]
    load(shop, LATER, 3)
    assert states(shop, LATER) == ["loaded"]
    do(shop.work, "undo", {"target": shop.rows(A)[0].id})
    load(shop, A, 3)
    assert states(shop) == ["undone", "duplicate", "loaded"]
    assert_app_books(shop.app, 6)


def test_a_failed_or_error_file_put_back_loads(shop: Workshop) -> None:
    """What stands in the ledger as failed or error keeps nobody from loading the mended, or the same, file."""
    shop.drop(A, b"[")
    shop.load()
    shop.drop(B, {"vehicles_events": [{"event_time": "2026-01-15T00:00:00Z"}]})
    shop.load()
    assert (states(shop), states(shop, B)) == (["failed"], ["error"])
    broken = Path(shop.rows(A)[0].path)
    broken.rename(shop.incoming / A)
    shop.load()
    assert (len(states(shop)), states(shop)[-1]) == (2, "failed"), "the same bytes are tried again"
    load(shop, A, 2)
    load(shop, B, 2, start=10)
    assert states(shop)[-1] == states(shop, B)[-1] == "loaded"


def test_same_content_may_be_loaded_again(shop: Workshop) -> None:
    """on_same_content load: the delivery's rows are in the table twice, under two file ids."""
    policy(shop, on_same_content="load")
    load(shop, A, 3)
    load(shop, A, 3)
    assert states(shop) == ["loaded", "loaded"]
    assert_app_books(shop.app, 6)


def test_by_default_a_redelivered_name_is_appended(shop: Workshop) -> None:
    """The same name with other bytes: both loads are in the table."""
    load(shop, A, 3)
    load(shop, A, 2, start=10)
    assert states(shop) == ["loaded", "loaded"]
    assert_app_books(shop.app, 5, key="vehicle_id")


def test_a_redelivered_name_may_be_refused(shop: Workshop) -> None:
    """It goes to failed/ with code `redelivered` and a cure beside it, and the flush tells of it."""
    policy(shop, on_redelivery="refuse")
    load(shop, A, 3)
    answer = load(shop, A, 2, start=10)
    assert [(file["name"], file["code"]) for file in answer["files"]] == [(A, "redelivered")]
    refused = shop.rows(A)[1]
    assert (refused.state, refused.code) == ("failed", "redelivered")
    reason = json.loads(Path(refused.path + ".error.json").read_text())
    assert reason["code"] == "redelivered" and "lemonade undo" in reason["cure"]
    assert vehicles(shop) == ["v0", "v1", "v2"]
    assert_app_books(shop.app, 3)


def test_a_redelivered_name_may_replace(shop: Workshop) -> None:
    """The earlier load out and the new one in, in one snapshot; the earlier file's copy stays, both days are dirty."""
    policy(shop, on_redelivery="replace")
    shop.drop(A, events_file(3, day="2026-01-14"))
    shop.drop(B, events_file(2, start=20))
    shop.load()
    do(shop.work, "summarize", {})
    count = snapshots(shop)
    load(shop, A, 2, start=10, day="2026-01-13")
    assert snapshots(shop) == count + 1
    assert vehicles(shop) == ["v10", "v11", "v20", "v21"]
    old, new = shop.rows(A)
    assert (old.state, old.rows, old.replaced_by, new.state) == ("replaced", 0, new.id, "loaded")
    assert Path(old.path).exists() and Path(old.path).is_relative_to(shop.app.settings.processed_folder)
    days = [day for day, _ in shop.app.ledger.dirty_days("summary.daily_summary")]
    assert days == [date(2026, 1, 13), date(2026, 1, 14)]
    table = shop.app.lake().table(TABLE)
    snapshot = table.current_snapshot() if table else None
    assert snapshot is not None and snapshot.summary is not None
    assert snapshot.summary[OPERATION] == "replace" and snapshot.summary[BATCH_ID] == new.batch_id
    assert_app_books(shop.app, 4, key="vehicle_id")


def test_several_versions_at_once_replace_one_another(shop: Workshop) -> None:
    """Three deliveries of a name in one flush, with another file between: the last one is in the table."""
    policy(shop, on_redelivery="replace")
    load(shop, A, 1)
    shop.drop(A, events_file(2, start=10))
    shop.claim()
    shop.drop(B, events_file(2, start=20))
    shop.claim()
    shop.drop(A, events_file(3, start=30))
    shop.load()
    assert vehicles(shop) == ["v20", "v21", "v30", "v31", "v32"]
    assert states(shop) == ["replaced", "replaced", "loaded"]
    first, second, third = shop.rows(A)
    assert (first.replaced_by, second.replaced_by) == (second.id, third.id)
    assert_app_books(shop.app, 5, key="vehicle_id")


def test_all_loads_of_a_name_are_replaced(shop: Workshop) -> None:
    """A type that appended before: one new delivery takes the place of every load of its name."""
    load(shop, A, 2)
    load(shop, A, 2, start=10)
    policy(shop, on_redelivery="replace")
    load(shop, A, 2, start=20)
    assert states(shop) == ["replaced", "replaced", "loaded"]
    assert vehicles(shop) == ["v20", "v21"]
    assert_app_books(shop.app, 2)


def test_a_file_that_cannot_be_loaded_replaces_nothing(shop: Workshop) -> None:
    """The redelivered file breaks the schema: it goes to error/, the earlier load stays."""
    policy(shop, on_redelivery="replace")
    load(shop, A, 3)
    shop.drop(A, {"vehicles_events": [{"event_time": "2026-01-15T00:00:00Z"}]})
    shop.load()
    assert states(shop) == ["loaded", "error"]
    assert operation_states(shop) == [BatchState.ABANDONED]
    assert_app_books(shop.app, 3)


def test_replaced_by_a_file_without_records(shop: Workshop) -> None:
    """An empty list takes the earlier rows out and puts none in; the same bytes as first come back as a delivery."""
    policy(shop, on_redelivery="replace")
    load(shop, A, 3)
    shop.drop(A, b'{"vehicles_events": []}')
    shop.load()
    assert states(shop) == ["replaced", "loaded"]
    assert shop.records() == []
    load(shop, A, 3)
    assert states(shop) == ["replaced", "replaced", "loaded"]
    assert_app_books(shop.app, 3)


def test_undo_of_a_replacing_file_loads_the_earlier_one_again(shop: Workshop) -> None:
    """From its kept copy, under its own ledger row; undone step by step, each version has its turn."""
    policy(shop, on_redelivery="replace")
    for number in range(3):
        load(shop, A, 2, start=10 * number)
    first, second, third = (file.id for file in shop.rows(A))
    answer = do(shop.work, "undo", {"target": third})
    assert [(file["file_id"], file["state"]) for file in answer["loaded_again"]] == [(second, "loaded")]
    assert vehicles(shop) == ["v10", "v11"]
    assert states(shop) == ["replaced", "loaded", "undone"]
    do(shop.work, "undo", {"target": second})
    assert vehicles(shop) == ["v0", "v1"]
    assert states(shop) == ["loaded", "undone", "undone"]
    assert [file.replaced_by for file in shop.rows(A)] == [None, None, None]
    assert_app_books(shop.app, 2)
    assert first == shop.rows(A)[0].id


def test_the_kept_copy_is_gone(shop: Workshop) -> None:
    """Somebody removed it: the undo is done all the same, and the earlier file is missing."""
    policy(shop, on_redelivery="replace")
    load(shop, A, 2)
    load(shop, A, 2, start=10)
    Path(shop.rows(A)[0].path).unlink()
    answer = do(shop.work, "undo", {"target": shop.rows(A)[1].id})
    assert answer["loaded_again"] == []
    assert states(shop) == ["missing", "undone"]
    assert shop.records() == []


def operation_states(shop: Workshop) -> list[str]:
    """Of all operations, oldest first."""
    with shop.app.database.reading() as session:
        return [row.state for row in session.query(Operation).order_by(Operation.id)]


STEPS: dict[str, tuple[type, str]] = {
    "plan": (Ledger, "plan"),
    "decode": (Decoding, "decode"),
    "rewrite": (Rewriter, "write"),
    "prepare of the operation": (UndoLedger, "prepare"),
    "prepare": (Ledger, "prepare"),
    "commit": (Lake, "overwrite"),
    "record": (Ledger, "record"),
    "moves": (Settler, "settle_files"),
    "settle": (Ledger, "settle"),
}


@pytest.mark.parametrize("step", list(STEPS))
def test_crash_after_a_step_of_a_replacement(shop: Workshop, step: str) -> None:
    """Recovery and the next flush end with the new load in and the earlier one out, in one snapshot."""
    policy(shop, on_redelivery="replace")
    shop.drop(A, events_file(3))
    shop.drop(B, events_file(2, start=20))
    shop.load()
    count = snapshots(shop)
    shop.drop(A, events_file(2, start=10))
    shop.claim()
    owner, name = STEPS[step]
    with death(owner, name, only=of_files if step == "moves" else any_call):
        shop.flush()
    shop.begin().recover()
    shop.flush()
    assert vehicles(shop) == ["v10", "v11", "v20", "v21"]
    assert states(shop) == ["replaced", "loaded"]
    assert snapshots(shop) == count + 1
    assert operation_states(shop)[-1] == BatchState.SETTLED
    assert_app_books(shop.app, 4, key="vehicle_id")


@pytest.mark.parametrize("landed", [True, False])
def test_the_answer_to_a_replacement_is_lost(shop: Workshop, monkeypatch: pytest.MonkeyPatch, landed: bool) -> None:
    """Landed or not, the next attempt asks the table, and the rows are there once."""
    policy(shop, on_redelivery="replace")
    load(shop, A, 3)
    original, lost = Lake.overwrite, []
    monkeypatch.setattr(shop.work, "pause", lambda _seconds: True)

    def overwrite(self: Lake, *args: Any) -> int | None:
        if lost:
            return original(self, *args)
        lost.append(True)
        if landed:
            original(self, *args)
        raise UnknownOutcome("committing: no answer came")

    monkeypatch.setattr(Lake, "overwrite", overwrite)
    load(shop, A, 2, start=10)
    assert vehicles(shop) == ["v10", "v11"]
    assert states(shop) == ["replaced", "loaded"]
    assert_app_books(shop.app, 2)


def test_rows_of_the_earlier_load_are_not_what_the_ledger_says(shop: Workshop) -> None:
    """Somebody deleted some: the type stops with a letter, nothing is committed, the new file stays in work."""
    policy(shop, on_redelivery="replace")
    load(shop, A, 3)
    table = shop.app.lake().table(TABLE)
    assert table is not None
    table.delete("vehicle_id = 'v1'")
    count = snapshots(shop)
    load(shop, A, 2, start=10)
    assert snapshots(shop) == count
    assert shop.work.flusher.stopped == {"vehicle_events"}
    assert "the table holds 2 of them and the ledger says 3" in str(
        next(row for row in shop.app.registry.describe() if row["file_type"] == "vehicle_events")["last_error"]
    )
    assert states(shop) == [FileState.LOADED, FileState.BATCHED]


@pytest.mark.parametrize("key", ["on_same_content", "on_redelivery"])
def test_values_that_are_none_of_ours(shop: Workshop, key: str) -> None:
    """A policy that does not exist is refused when it is registered, with those that do."""
    with pytest.raises(ConfigurationError, match=f'{key} must be one of .*, not "sometimes"'):
        policy(shop, **{key: "sometimes"})
