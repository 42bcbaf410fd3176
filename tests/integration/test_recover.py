"""`lemonade recover`: what it shows is what start-up does; on real SQLite and Iceberg, without Spark."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from books import assert_app_books
from click.testing import CliRunner, Result
from workshop import Workshop

from metadata.errors import Busy
from metadata.settings import Settings
from watcher.commands.recover import recover as command
from watcher.lock import DaemonLock
from watcher.work.startup_repair import Action, Repair


@pytest.fixture
def shop(settings: Settings) -> Iterator[Workshop]:
    """One file of three rows is loaded, one of two is claimed."""
    made = Workshop(settings)
    made.drop("vehicles_events_20260114120000.json", rows=3)
    made.load()
    made.drop("vehicles_events_20260115120000.json", rows=2, start=3)
    made.claim()
    yield made
    made.close()


def run(shop: Workshop, *arguments: str) -> Result:
    """`lemonade recover …` in this process; its errors are raised."""
    return CliRunner().invoke(command, arguments, obj=shop.app, catch_exceptions=False)


def die_in(shop: Workshop, monkeypatch: pytest.MonkeyPatch, owner: object, step: str, *, after: bool = False) -> None:
    """Flush, and end instead of the step, or right behind it; then a new process begins."""
    original = getattr(owner, step)

    def die(*args: object, **kwargs: object) -> None:
        if after:
            original(*args, **kwargs)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(owner, step, die)
        with pytest.raises(KeyboardInterrupt):
            shop.flush()
    shop.begin()


def everything(shop: Workshop) -> list[object]:
    """What a dry run might have touched: the ledger's rows, files and times of folders, the tables' snapshots."""
    files = [(row.id, row.state, row.path, row.settled_at) for row in shop.rows()]
    batches = [(batch.id, batch.state, batch.attempts) for batch in shop.app.ledger.batches()]
    base = shop.app.settings.source_data_base
    paths = sorted((str(path), path.lstat().st_mtime_ns) for path in base.rglob("*"))
    table = shop.app.lake().table("raw_data.vehicle_events")
    return [files, batches, paths, table and table.metadata.current_snapshot_id]


def found(shop: Workshop) -> list[tuple[str, str, Action]]:
    """What there is to repair."""
    return [(repair.kind, repair.found, repair.action) for repair in shop.work.inspect()]


def test_nothing_to_repair(shop: Workshop) -> None:
    """What waits and what is loaded is in order."""
    assert run(shop, "--dry-run").output == "nothing to repair\n"


@pytest.mark.parametrize(
    ("owner", "step", "after", "expected", "now"),
    [
        ("decoding", "decode", False, ("batch", "planned", Action.CLAIM_AGAIN), "abandoned"),
        ("receipts", "write", True, ("batch", "planned", Action.REBUILD), "settled"),
        ("lake", "append", False, ("batch", "prepared", Action.COMMIT), "settled"),
        ("lake", "append", True, ("batch", "prepared", Action.RECORD), "settled"),
        ("ledger", "settle", False, ("batch", "committed", Action.SETTLE), "settled"),
    ],
)
def test_it_does_what_the_dry_run_shows(
    shop: Workshop,
    monkeypatch: pytest.MonkeyPatch,
    owner: str,
    step: str,
    after: bool,
    expected: tuple[str, str, Action],
    now: str,
) -> None:
    """After a death at any step: the dry run names what is left and touches nothing; then it is put in order."""
    batches = shop.work.microbatches
    owners = {
        "decoding": batches.decoding,
        "receipts": batches.receipts,
        "lake": shop.app.lake(),
        "ledger": batches.ledger,
    }
    die_in(shop, monkeypatch, owners[owner], step, after=after)
    assert found(shop) == [expected]
    before = everything(shop)
    shown = json.loads(run(shop, "--dry-run", "--json").output)
    assert (shown["dry_run"], shown["daemon"], [each["action"] for each in shown["repairs"]]) == (
        True,
        None,
        [expected[2].value],
    )
    assert everything(shop) == before
    done = run(shop, "--json")
    assert (done.exit_code, json.loads(done.output)["repairs"]) == (0, shown["repairs"])
    assert shop.app.ledger.batches()[0].state == now
    assert found(shop) == []
    shop.flush()
    assert_app_books(shop.app, 5, key="vehicle_id")


def test_files_without_a_row_are_adopted(shop: Workshop) -> None:
    """A stray in processing/ is shown, and claimed by the walk."""
    stray = shop.processing / "vehicles_events_20260115130000.json"
    stray.write_text('[{"vehicle_id": "stray", "event_time": "2026-01-15T11:00:00Z"}]')
    assert shop.work.inspect() == [Repair("stray", str(stray), None, "unknown", Action.ADOPT)]
    assert run(shop).exit_code == 0
    assert shop.states() == ["loaded", "claimed", "claimed"]


def test_a_batch_that_nobody_can_tell_of_asks_for_a_person(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    """A table that was rolled back under a prepared batch: exit 1, before and after, and its type is stopped."""
    die_in(shop, monkeypatch, shop.app.lake(), "append", after=True)
    table = shop.app.lake().table("raw_data.vehicle_events")
    assert table is not None
    first = table.history()[0].snapshot_id
    table.manage_snapshots().rollback_to_snapshot(first).commit()
    assert found(shop) == [("batch", "prepared", Action.ASK)]
    assert run(shop, "--dry-run").exit_code == 1
    done = run(shop)
    assert done.exit_code == 1
    assert "stopped until a person has looked: vehicle_events" in done.output


def test_a_daemon_has_done_it_already(shop: Workshop) -> None:
    """Beside a live daemon only the dry run answers, and says that what is in work is listed too."""
    with DaemonLock(shop.app.settings, "daemon", "run").take():
        assert run(shop, "--dry-run").output.startswith("a daemon runs (pid ")
        with pytest.raises(Busy, match="works on these folders"):
            run(shop)
