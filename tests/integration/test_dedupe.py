"""Records whose primary key is there already, for types that dedupe by it; in this process, on a real table."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from command import events_file
from workshop import Workshop

from metadata.database.states import FileState
from metadata.settings import Settings
from processors.decode.known_keys import KnownKeys
from processors.lake.quarantine_table import TABLE
from processors.load import load_task as worker
from watcher.deeds.by_name import do

DAY = "vehicles_events_202601151200{:02}.json"
NEXT_DAY = "vehicles_events_202601161200{:02}.json"


@pytest.fixture
def shop(settings: Settings) -> Iterator[Workshop]:
    """Vehicle events, deduped; a file may consist of duplicates only."""
    made = Workshop(settings)
    configure(made)
    yield made
    made.close()


def configure(shop: Workshop, **more: Any) -> None:
    """Let vehicle events dedupe."""
    change = {"dedupe": "primary_key", "max_rejected_ratio": 1, **more}
    shop.app.registry.update("vehicle_events", {"processing_config": change})


def vehicles(shop: Workshop) -> list[str]:
    """The table's vehicles."""
    return sorted(row["vehicle_id"] for row in shop.records())


def rejected(shop: Workshop) -> list[tuple[str, int, str]]:
    """File, record number and code of every rejected record."""
    return sorted((row["_source_file"], row["_record_no"], row["code"]) for row in shop.records(TABLE))


def test_a_key_is_there_once(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first in its file, then in its batch, then in the table stays; the rest is in the quarantine, with why."""
    fewest_bytes = 1
    monkeypatch.setattr(worker, "TASK_BYTES", fewest_bytes)  # each file would be a task of its own
    first = events_file(3)
    first["vehicles_events"].append(first["vehicles_events"][1])
    shop.drop(DAY.format(0), first)
    shop.drop(DAY.format(1), rows=4, start=2)  # v2 to v5, of which v2 is in the first file at another time
    shop.drop(DAY.format(2), first)
    shop.load()
    assert vehicles(shop) == ["v0", "v1", "v2", "v2", "v3", "v4", "v5"]
    shop.drop(DAY.format(3), rows=5)  # v0 to v2 are there
    shop.load()
    assert vehicles(shop) == ["v0", "v1", "v2", "v2", "v3", "v3", "v4", "v4", "v5"]
    assert rejected(shop) == [
        (DAY.format(0), 4, "duplicate_key"),
        *((DAY.format(2), number, "duplicate_key") for number in range(1, 5)),
        *((DAY.format(3), number, "duplicate_key") for number in range(1, 4)),
    ]
    reasons = {(row["_source_file"], row["_record_no"]): row["message"] for row in shop.records(TABLE)}
    assert reasons[DAY.format(0), 4].endswith("is there already, from record 2 of the same file")
    assert reasons[DAY.format(3), 1].endswith(f"is there already, from {DAY.format(0)}")
    assert "vehicle_id 'v0', event_time '2026-01-15 11:00:00+00:00'" in reasons[DAY.format(3), 1]
    raws = {(row["_source_file"], row["_record_no"]): row["raw"] for row in shop.records(TABLE)}
    assert '"v1"' in raws[DAY.format(0), 4]
    shop.assert_books()


def test_only_partitions_that_the_batch_touches_are_looked_at(shop: Workshop) -> None:
    """The same keys in a file of another day load; what is undone is not there any more."""
    shop.drop(DAY.format(0), rows=3)
    shop.load()
    shop.drop(NEXT_DAY.format(0), rows=3)
    shop.load()
    assert vehicles(shop) == ["v0", "v0", "v1", "v1", "v2", "v2"]
    (file,) = shop.rows(DAY.format(0))
    batch = shop.app.ledger.batch(str(file.batch_id))
    shop.work.walkers.undo.undo([file], batch, shop.work.read_registry().active[0], whole=True)
    shop.drop(DAY.format(1), rows=3)
    shop.load()
    assert rejected(shop) == []
    assert vehicles(shop) == ["v0", "v0", "v1", "v1", "v2", "v2"]
    shop.assert_books()


def test_a_table_without_partitions_by_date_is_looked_at_as_a_whole(shop: Workshop) -> None:
    """Which of its partitions a file touches is not known before it is decoded; a key with a null is never there."""
    fields = [{"name": "n", "type": "long"}, {"name": "at", "type": "timestamp"}]
    shop.app.registry.add(
        {
            "file_type": "ticks",
            "schema_definition": {"fields": fields, "primary_key": ["n"]},
            "processing_config": {"partition_by": "day(at)", "dedupe": "primary_key"},
        }
    )
    for number in range(3):
        records = [{"n": None, "at": None}, {"n": 7 if number < 2 else 8, "at": f"2026-01-1{number}T00:00:00Z"}]
        shop.drop(f"ticks_2026011512000{number}.json", [*records, *records[:1]])
        shop.load()
    assert sorted(row["n"] or 0 for row in shop.records("raw_data.ticks")) == [0, 0, 0, 0, 0, 0, 7, 8]
    assert rejected(shop) == [("ticks_20260115120001.json", 2, "duplicate_key")]


def test_a_file_that_is_not_loaded_has_no_keys(shop: Workshop) -> None:
    """What a file beyond its limits would have loaded is no duplicate in the next file."""
    configure(shop, max_rejected_records=1)
    beyond = events_file(1)["vehicles_events"] + [{"vehicle_id": "bad"}] * 2
    shop.drop(DAY.format(0), {"vehicles_events": beyond})
    shop.drop(DAY.format(1), rows=2)
    shop.load()
    assert [file.state for file in shop.rows()] == [FileState.ERROR, FileState.LOADED]
    assert vehicles(shop) == ["v0", "v1"]
    shop.drop(DAY.format(2), rows=2)  # two duplicates are one too many
    shop.load()
    (file,) = shop.rows(DAY.format(2))
    assert (file.state, file.code) == (FileState.ERROR, "schema_mismatch")
    assert "is there already" in str(file.message)
    shop.assert_books(2)


def test_a_replacing_file_is_not_compared_with_what_it_replaces(shop: Workshop) -> None:
    """A redelivered name may hold the same keys again: its earlier load goes out in the same snapshot."""
    configure(shop, on_redelivery="replace")
    shop.drop(DAY.format(0), rows=3)
    shop.drop(DAY.format(1), rows=1, start=50)
    shop.load()
    again = events_file(2)["vehicles_events"] + events_file(1, start=50)["vehicles_events"]
    shop.drop(DAY.format(0), {"vehicles_events": again})
    shop.load()
    assert vehicles(shop) == ["v0", "v1", "v50"]
    assert rejected(shop) == [(DAY.format(0), 3, "duplicate_key")]
    shop.assert_books()


def test_only_the_key_is_read(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the rows that are there no other column comes into memory than the key's and the lineage."""
    shop.drop(DAY.format(0), rows=2)
    shop.load()
    seen: list[list[str]] = []
    learn = KnownKeys.learn
    monkeypatch.setattr(KnownKeys, "learn", lambda self, rows: (seen.append(rows.column_names), learn(self, rows))[1])
    shop.drop(DAY.format(1), rows=2)
    shop.load()
    assert [sorted(names) for names in seen] == [
        sorted(["vehicle_id", "event_time", "_source_file", "_file_id", "_record_no", "_batch_id"])
    ]


def test_a_replay_does_not_double_a_key(shop: Workshop) -> None:
    """A rejected record stays where it is while its key is in the table; of two with one key one passes."""
    shop.drop(DAY.format(0), rows=2)
    shop.drop(DAY.format(1), rows=1)
    shop.load()
    assert rejected(shop) == [(DAY.format(1), 1, "duplicate_key")]
    dry, answer = (do(shop.work, "quarantine.replay", {"all": True, "dry_run": each}) for each in (True, False))
    assert dry["rejected_by_code"] == answer["rejected_by_code"] == {"duplicate_key": 1}
    assert answer["done"] == 0
    assert DAY.format(0) in str(answer)

    shop.drop(DAY.format(2), rows=1)
    shop.load()
    do(shop.work, "undo", {"target": shop.rows(DAY.format(0))[0].id})
    answer = do(shop.work, "quarantine.replay", {"all": True})
    assert (answer["done"], answer["rejected_by_code"]) == (1, {"duplicate_key": 1})
    assert vehicles(shop) == ["v0"]
    assert len(rejected(shop)) == 1
    shop.assert_books()


def test_a_data_file_that_is_gone_stops_the_type(shop: Workshop) -> None:
    """It is the table that is broken, not the files: they are not set aside, and load once it is mended."""
    shop.drop(DAY.format(0), rows=2)
    shop.load()
    (data,) = shop.app.settings.datalake_base.rglob("raw_data/vehicle_events/data/**/*.parquet")
    data.rename(data.with_suffix(".away"))
    shop.drop(DAY.format(1), rows=3)
    shop.load()
    assert "vehicle_events" in shop.work.flusher.stopped
    assert shop.states() == [FileState.LOADED, FileState.BATCHED]
    data.with_suffix(".away").rename(data)
    shop.begin().recover()
    shop.load()
    assert vehicles(shop) == ["v0", "v1", "v2"]
    shop.assert_books()
