"""Settle: files at their ends, with reasons beside those that were not loaded."""

from __future__ import annotations

from datetime import UTC, datetime

from metadata.database.states import FileState, FlushReason
from metadata.ids import new_id
from metadata.ledger.values import Arrival, FileOutcome, NewFile
from metadata.outage import Outage
from processors.load.move_step import Settler
from watcher.app import App

NOON = datetime(2026, 1, 15, 12, tzinfo=UTC)
NAME = "vehicle_events_20260115120000.json"


def test_a_failed_file_that_a_person_removed_leaves_no_reason_behind(app: App) -> None:
    """A reason belongs beside its file: where the file is gone, none is written into processing/."""
    processing = app.settings.folders.processing("vehicle_events")
    processing.mkdir(parents=True, exist_ok=True)
    file_id, batch_id = new_id(app.clock), new_id(app.clock)
    arrival = Arrival(file_id, NAME, "vehicle_events", NOON, 2, NOON, "scan", NOON, "d")
    app.ledger.add_many([NewFile(arrival, FileState.CLAIMED, str(processing / NAME), "vehicle_events")])
    app.ledger.plan(
        batch_id,
        file_type="vehicle_events",
        table_name="raw_data.vehicle_events",
        schema_version=1,
        flush_id=new_id(app.clock),
        reason=FlushReason.REQUEST,
        file_ids=[file_id],
    )
    app.ledger.prepare(batch_id, [FileOutcome(file_id, "failed", code="malformed", message="no JSON")], [], [])
    app.ledger.record(batch_id, snapshot_id=None, summary_table=None)
    settler = Settler(app.ledger, app.settings.folders, app.clock, Outage(lambda _: False))
    settler.settle_files(app.ledger.batch_files(batch_id))
    assert list(app.settings.source_data_base.rglob("*.error.json")) == []
