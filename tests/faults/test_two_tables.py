"""Good records and rejected ones are two commits: faults before, between and after them, without Spark.

Most tests share one Lemonade, for each of them leaves its books balanced.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from books import rejected_records
from command import drop, events_file
from conftest import make_settings
from onehome import Home
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.exceptions import CommitFailedException, CommitStateUnknownException
from pyiceberg.table import Table
from pyiceberg.table.update import AddSnapshotUpdate, AssertRefSnapshotId
from sqlalchemy import select

from metadata.database.models import UnknownField
from metadata.database.states import BatchState, FlushReason
from metadata.ledger.ledger import Ledger
from metadata.settings import Settings
from processors.lake.lake import Lake
from processors.lake.quarantine_table import TABLE as QUARANTINE
from processors.load.move_step import Settler
from processors.receipts.batches import Receipts
from watcher.commands.flush import any_failed, print_flush
from watcher.work.answers import flush_answer
from watcher.work.startup_repair import Action

EVENTS = "raw_data.vehicle_events"
COMMIT = SqlCatalog.commit_table
Commit = Callable[..., Any]


class Lasting(Home):
    """A Home that counts what has come into it."""

    numbers = 0
    rows = 0
    rejected = 0

    def drop_some(self, *bad: int) -> None:
        """A file of 10 records for each number, of which so many are bad."""
        for each in bad:
            self.numbers += 1
            self.drop(self.numbers, bad=each)
            self.rows, self.rejected = self.rows + 10 - each, self.rejected + each

    def assert_whole(self) -> None:
        """Everything that has come is there once."""
        self.assert_balanced(self.rows, rejected=self.rejected)

    def snapshots(self) -> tuple[int, int]:
        """Snapshots of the quarantine's table and of the type's, as another program sees them."""
        tables = [Lake(self.settings).table(name) for name in (QUARANTINE, EVENTS)]
        first, second = (0 if table is None else len(table.metadata.snapshots) for table in tables)
        return first, second


@pytest.fixture(scope="module")
def lasting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lasting]:
    """One for all."""
    made = Lasting(make_settings(tmp_path_factory.mktemp("lasting"), SETTLE_SECONDS="0"))
    yield made
    made.app.unchecked_database.close()


@pytest.fixture
def shared(lasting: Lasting) -> Lasting:
    """The one that all share, with patience as it was."""
    lasting.patience, lasting.waits = 0, []
    return lasting


@pytest.fixture
def home(settings_with: Callable[..., Settings]) -> Iterator[Lasting]:
    """One of the test's own."""
    made = Lasting(settings_with(SETTLE_SECONDS="0"))
    yield made
    made.app.unchecked_database.close()


# -- deaths -----------------------------------------------------------------------------------------------------------


def die(home: Home, owner: Any, step: str, only: Callable[..., bool], *, after: bool) -> None:
    """Load, and end instead of the first call of the step for whose arguments `only` holds, or right behind it."""
    original = getattr(owner, step)

    def dies(*args: Any, **more: Any) -> Any:
        if not only(*args):
            return original(*args, **more)
        if after:
            original(*args, **more)
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(owner, step, dies)
        home.load()


def to(name: str) -> Callable[..., bool]:
    """Whether a commit is to that table."""
    return lambda _lake, table, *_: bool(table == name)


def any_call(*_: Any) -> bool:
    """Every call."""
    return True


def of_files(_settler: Any, files: Any) -> bool:
    """Moves of a batch's files, and not of Plan's duplicates."""
    return bool(list(files))


STEPS: dict[str, tuple[Any, str, Callable[..., bool]]] = {
    "plan": (Ledger, "plan", any_call),
    "receipt": (Receipts, "write", any_call),
    "prepare": (Ledger, "prepare", any_call),
    "quarantine": (Lake, "append", to(QUARANTINE)),
    "table": (Lake, "append", to(EVENTS)),
    "record": (Ledger, "record", any_call),
    "moves": (Settler, "settle_files", of_files),
    "settle": (Ledger, "settle", any_call),
}
LEFT_BEHIND = {
    ("plan", True): ("planned", (0, 0), Action.CLAIM_AGAIN),
    ("receipt", True): ("planned", (0, 0), Action.REBUILD),
    ("quarantine", False): ("prepared", (0, 0), Action.COMMIT),
    ("quarantine", True): ("prepared", (1, 0), Action.COMMIT),
    ("table", True): ("prepared", (1, 1), Action.RECORD),
    ("record", True): ("committed", (1, 1), Action.SETTLE),
    ("moves", True): ("committed", (1, 1), Action.SETTLE),
}
"""A step, and whether the process died behind it: the batch's state, new snapshots of both tables, the repair."""


@pytest.mark.parametrize(("step", "after"), LEFT_BEHIND)
def test_death_around_each_step(shared: Lasting, step: str, after: bool) -> None:
    """After a death at any step, one commit of two included, each record is in one of the tables, once."""
    shared.drop_some(1, 0)
    quarantined, loaded = shared.snapshots()
    state, (first, second), action = LEFT_BEHIND[step, after]
    die(shared, *STEPS[step], after=after)
    assert shared.app.ledger.batches()[0].state == state
    assert shared.snapshots() == (quarantined + first, loaded + second)
    work = shared.start(recover=False)
    assert [repair.action for repair in work.inspect() if repair.kind == "batch"] == [action]
    work.recover()
    shared.load()
    assert shared.snapshots() == (quarantined + 1, loaded + 1)
    shared.assert_whole()


def test_two_deaths_in_one_recovery(shared: Lasting) -> None:
    """The quarantine's commit landed, recovery died behind the table's: the third process finds both."""
    shared.drop_some(2)
    before = shared.snapshots()
    die(shared, *STEPS["quarantine"], after=True)
    shared.start(recover=False)
    original = Lake.append_paths

    def dies(*args: Any) -> Any:
        original(*args)
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Lake, "append_paths", dies)
        shared.work.recover()
    shared.start()
    assert shared.snapshots() == (before[0] + 1, before[1] + 1)
    shared.assert_whole()


@pytest.mark.parametrize(("bad", "expected"), [((0,), (0, 1)), ((10,), (1, 0)), ((0, 10), (1, 1))])
def test_a_table_without_rows_gets_no_snapshot(
    shared: Lasting, bad: tuple[int, ...], expected: tuple[int, int]
) -> None:
    """No bad record: nothing is sent to the quarantine. Only bad ones, where that is allowed: nothing to the table."""
    shared.app.registry.update("vehicle_events", {"processing_config": {"max_rejected_ratio": 1}})
    before = shared.snapshots()
    shared.drop_some(*bad)
    shared.load()
    found = shared.snapshots()
    assert (found[0] - before[0], found[1] - before[1]) == expected
    batch = shared.app.ledger.batches()[0]
    assert (batch.quarantine_snapshot_id is not None, batch.snapshot_id is not None) == tuple(map(bool, expected))
    shared.assert_whole()


def test_rejected_records_are_told_once_a_batch(
    shared: Lasting, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """One warning with their codes and the way to see them; the flush and the batch's line count them."""
    caplog.set_level("INFO", logger="lemonade")
    shared.drop_some(2, 1)
    snapshot, scan = shared.work.gather_until_settled()
    report = shared.work.flush(snapshot.active, FlushReason.REQUEST)
    [alerted] = told(caplog)
    [batch] = report.batches
    assert (alerted["event"], alerted["severity"], alerted["code"]) == (
        "records.rejected",
        "warning",
        "records_rejected",
    )
    assert (alerted["batch_id"], alerted["rejected"], alerted["codes"]) == (batch.batch_id, 3, {"missing_field": 3})
    assert "lemonade quarantine list --type vehicle_events" in alerted["cure"]
    [settled] = [record.msg for record in caplog.records if record.msg.get("event") == "batch.settled"]  # type: ignore[attr-defined] # ours are mappings
    assert (settled["rejected"], settled["quarantine_rows"]) == (3, 3)
    assert settled["quarantine_snapshot_id"] == batch.quarantine_snapshot_id is not None
    answer = flush_answer(shared.app, report, scan)
    assert (report.rejected, answer["batches"][0]["rejected"]) == (3, 3)
    assert [file["rejected"] for file in answer["files"]] == [2, 1]
    assert not any_failed(answer)
    print_flush(answer, as_json=False)
    assert "rejected records in the quarantine: 3; see why: lemonade quarantine list" in capsys.readouterr().out
    shared.assert_whole()


# -- answers that are lost --------------------------------------------------------------------------------------------


@contextmanager
def commits(name: str, instead: Commit) -> Iterator[None]:
    """The catalog's commits of snapshots of that table go through `instead(catalog, table, requirements, updates)`."""

    def commit_table(catalog: SqlCatalog, table: Table, requirements: Any, updates: Any) -> Any:
        is_snapshot = any(isinstance(update, AddSnapshotUpdate) for update in updates)
        mine = is_snapshot and ".".join(table.name()) == name
        return (instead if mine else COMMIT)(catalog, table, requirements, updates)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SqlCatalog, "commit_table", commit_table)
        yield


def lost(*, landed: bool, calls: list[bool] | None = None) -> Commit:
    """A commit whose first answer is lost, whether it landed or not; with `calls` later ones come through."""

    def instead(*arguments: Any) -> Any:
        if calls is not None:
            calls.append(True)
            if len(calls) > 1:
                return COMMIT(*arguments)
        if landed:
            COMMIT(*arguments)
        raise CommitStateUnknownException("no answer")

    return instead


@pytest.mark.parametrize("landed", [True, False], ids=["landed", "not landed"])
@pytest.mark.parametrize("name", [QUARANTINE, EVENTS])
def test_an_answer_is_lost(shared: Lasting, name: str, landed: bool) -> None:
    """Whichever of the two answers is lost, the table is asked, and the other one is committed once."""
    shared.drop_some(1)
    shared.patience = 3
    before, calls = shared.snapshots(), list[bool]()
    with commits(name, lost(landed=landed, calls=calls)):
        shared.load()
    assert len(calls) == (1 if landed else 2)
    assert shared.snapshots() == (before[0] + 1, before[1] + 1)
    shared.assert_whole()


@pytest.mark.parametrize("name", [QUARANTINE, EVENTS])
def test_a_commit_lands_late(shared: Lasting, name: str) -> None:
    """A request of the dead process that arrives within recovery is the only one, though nobody checks its base."""
    shared.drop_some(1)
    before, staged = shared.snapshots(), list[Any]()

    def keep(*arguments: Any) -> Any:
        staged.append(arguments)
        raise CommitStateUnknownException("it is still under way")

    with commits(name, keep):
        shared.load()
    shared.start(recover=False)

    def late_one_first(*arguments: Any) -> Any:
        if staged:
            _, table, requirements, updates = staged.pop()
            unchecked = tuple(each for each in requirements if not isinstance(each, AssertRefSnapshotId))
            COMMIT(Lake(shared.settings).catalog, table, unchecked, updates)
        return COMMIT(*arguments)

    with commits(name, late_one_first):
        shared.work.recover()
    assert staged == []
    assert shared.snapshots() == (before[0] + 1, before[1] + 1)
    shared.assert_whole()


def test_a_commit_lands_after_recovery(shared: Lasting) -> None:
    """A request to the quarantine that arrives when all is over is refused."""
    shared.drop_some(1)
    staged: list[Any] = []

    def keep(*arguments: Any) -> Any:
        staged.append(arguments)
        raise CommitStateUnknownException("it is still under way")

    with commits(QUARANTINE, keep):
        shared.load()
    shared.start()
    before = shared.snapshots()
    with pytest.raises((CommitFailedException, ValueError)):
        COMMIT(Lake(shared.settings).catalog, *staged.pop()[1:])
    assert shared.snapshots() == before
    shared.assert_whole()


def test_two_handles_commit_one_batchs_rejected_records(shared: Lasting) -> None:
    """Two processes that both found them absent send them at the same moment: they are in the quarantine once."""
    shared.drop_some(3)
    before = shared.snapshots()
    with commits(QUARANTINE, lost(landed=False)):
        shared.load()
    [batch] = shared.app.ledger.batches(state=BatchState.PREPARED)
    paths = shared.app.ledger.data_file_paths(batch.id, QUARANTINE)
    both = threading.Barrier(2, timeout=30)
    seen: set[str] = set()

    def together(*arguments: Any) -> Any:
        if (me := threading.current_thread().name) not in seen:
            seen.add(me)
            both.wait()
        return COMMIT(*arguments)

    results: list[Any] = []

    def commit() -> None:
        results.append(Lake(shared.settings).append_paths(QUARANTINE, batch.id, paths, {}))

    with commits(QUARANTINE, together):
        threads = [threading.Thread(target=commit) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    assert sorted(commit.landed_before for commit in results) == [False, True]
    shared.start()
    assert shared.snapshots() == (before[0] + 1, before[1] + 1)
    shared.assert_whole()


# -- history ----------------------------------------------------------------------------------------------------------


def told(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    """The alerts, in their order."""
    return [record.msg for record in caplog.records if isinstance(record.msg, dict) and record.msg.get("alert")]


def test_a_quarantine_that_was_rolled_back_stops_the_type(home: Lasting, caplog: pytest.LogCaptureFixture) -> None:
    """Nobody can tell whether the records are there: a critical alert, nothing is committed; then it goes on."""
    home.drop_some(1)
    home.load()
    home.drop_some(2)
    with commits(EVENTS, lost(landed=False)):
        home.load()
    table = Lake(home.settings).table(QUARANTINE)
    assert table is not None
    first, second = table.metadata.snapshots
    table.manage_snapshots().rollback_to_snapshot(first.snapshot_id).commit()
    home.start(recover=False)
    assert [repair.action for repair in home.work.inspect()] == [Action.ASK]
    caplog.clear()
    home.work.recover()
    [stopped] = [facts for facts in told(caplog) if facts["event"] == "type.stopped"]
    assert (stopped["severity"], stopped["code"], stopped["file_type"]) == ("critical", "history_cut", "vehicle_events")
    assert QUARANTINE in stopped["error"]
    home.drop_some(0)
    home.load()
    assert home.snapshots() == (2, 1)
    Lake(home.settings).table(QUARANTINE).manage_snapshots().set_current_snapshot(second.snapshot_id).commit()  # type: ignore[union-attr] # it is there
    home.start()
    home.load()
    assert home.snapshots()[1] == 3
    home.assert_whole()


def test_a_quarantine_whose_history_was_cut_stops_the_type(home: Lasting, caplog: pytest.LogCaptureFixture) -> None:
    """Its records and its snapshot are gone, and may have been there: they are not sent again."""
    home.drop_some(1)
    with commits(QUARANTINE, lost(landed=True)):
        home.load()
    table = Lake(home.settings).table(QUARANTINE)
    assert table is not None
    [landed] = table.metadata.snapshots
    table.delete("_record_no > 0")
    table.maintenance.expire_snapshots().by_ids([landed.snapshot_id]).commit()
    home.start(recover=False)
    assert [repair.action for repair in home.work.inspect()] == [Action.ASK]
    home.work.recover()
    [stopped] = [facts for facts in told(caplog) if facts["event"] == "type.stopped"]
    assert stopped["code"] == "history_cut"
    assert rejected_records(home.app) == []
    assert home.app.ledger.batches()[0].state == BatchState.PREPARED


def test_a_quarantine_that_is_gone_stops_the_type(home: Lasting, caplog: pytest.LogCaptureFixture) -> None:
    """The catalog has forgotten it: no empty one is made in its place."""
    home.drop_some(1)
    home.load()
    Lake(home.settings).catalog.drop_table(QUARANTINE)
    home.start()
    home.drop_some(0)
    home.load()
    [stopped] = [facts for facts in told(caplog) if facts["event"] == "type.stopped"]
    assert stopped["code"] == "table_missing"
    assert QUARANTINE not in Lake(home.settings).table_names()
    assert sorted(home.files().values()) == ["batched", "loaded"]


# -- replacing --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "landed"), [(QUARANTINE, True), (EVENTS, False)])
def test_a_file_that_replaces_takes_rejected_records_out(home: Lasting, name: str, landed: bool) -> None:
    """The earlier load's rows and rejected records go, the new ones come: also when the process dies in between."""
    home.app.registry.update("vehicle_events", {"processing_config": {"on_redelivery": "replace"}})
    home.drop(1, bad=3)
    home.drop(2, bad=2)
    home.load()
    document = events_file(7, start=500)
    del document["vehicles_events"][6]["vehicle_id"]
    drop(home.settings.incoming_folder, "vehicles_events_20260115120001.json", document)
    with commits(name, lost(landed=landed)):
        home.load()
    assert home.app.ledger.batches()[0].state == BatchState.PREPARED
    home.start()
    assert home.snapshots() == (2, 2)
    home.assert_balanced(14, rejected=3)
    assert [row["_record_no"] for row in rejected_records(home.app)] == [7, 1, 2]
    [operation] = [home.work.walkers.undo.operations.get(home.app.ledger.batches()[0].id)]
    assert (operation.removed_rows, operation.quarantine_rows) == (7, 3)
    assert operation.quarantine_snapshot_id is not None


def test_a_whole_file_replaces_one_with_rejected_records(home: Lasting) -> None:
    """It brings no rejected record: the quarantine's commit only takes out, and a lost answer is found by that."""
    home.app.registry.update("vehicle_events", {"processing_config": {"on_redelivery": "replace"}})
    home.drop(1, bad=3)
    home.load()
    drop(home.settings.incoming_folder, "vehicles_events_20260115120001.json", events_file(5, start=500))
    with commits(QUARANTINE, lost(landed=True)):
        home.load()
    home.start()
    assert home.snapshots() == (2, 2)
    home.assert_balanced(5, rejected=0)


# -- a ledger that was restored ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("died", [None, QUARANTINE, EVENTS])
def test_a_restored_ledger_learns_of_rejected_records(home: Lasting, tmp_path: Path, died: str | None) -> None:
    """Counts, reasons, unknown keys and both snapshots come back, whichever of the commits had landed."""
    backup = home.backup(tmp_path / "backup.db")
    home.drop_some(2)
    document = events_file(1, start=900)
    document["vehicles_events"][0]["colour"] = "red"
    drop(home.settings.incoming_folder, "vehicles_events_20260115130000.json", document)
    home.rows += 1
    if died is None:
        home.load()
    else:
        with commits(died, lost(landed=died == QUARANTINE)):
            home.load()
    home.restore(backup)
    home.start()
    home.load()
    assert home.snapshots() == (1, 1)
    home.assert_whole()
    [batch] = home.app.ledger.batches()
    assert (batch.expected_rows, batch.quarantine_rows) == (9, 2)
    assert batch.quarantine_snapshot_id is not None
    with home.app.database.reading() as session:
        assert [(row.key, row.records) for row in session.scalars(select(UnknownField))] == [("colour", 1)]
    assert home.app.ledger.quarantined_by_code(batch.id) == {"missing_field": 2}
