"""Undo and replace as an operator does them: the real command, a running daemon, real Spark."""

from __future__ import annotations

import json

from books import assert_books
from command import Lemonade, drop, events_file, wait_for

A, B = (f"vehicles_events_2026011512000{number}.json" for number in range(2))
REPLACING = {
    "processing_config": {
        "summary": {"table": "daily_summary", "key": ["vehicle_id"], "time": "event_time", "latest": ["event_type"]},
        "on_redelivery": "replace",
    }
}


def test_replace_and_undo_with_a_daemon(lemonade: Lemonade) -> None:
    """A redelivered name replaces its load; undone, the earlier one is back; undo asks first; the summary follows."""
    lemonade.run("init")
    change = lemonade.home / "change.json"
    change.write_text(json.dumps(REPLACING))
    process = lemonade.start()
    lemonade.run("types", "update", "vehicle_events", "--file", str(change), "--yes")
    drop(lemonade.incoming, A, events_file(30))
    drop(lemonade.incoming, B, events_file(20, start=100))
    lemonade.run("flush")
    drop(lemonade.incoming, A, events_file(5, start=50))
    lemonade.run("flush")
    files = lemonade.json("files")
    assert sorted(file["state"] for file in files) == ["loaded", "loaded", "replaced"]
    new = next(file for file in files if file["rows"] == 5)

    asked = lemonade.run("undo", new["file_id"], check=2)
    assert "5 rows out of raw_data.vehicle_events; without a terminal, say --yes" in asked.stderr
    answer = lemonade.json("undo", new["file_id"], "--yes")
    assert answer["rows"] == 5 and [file["state"] for file in answer["loaded_again"]] == ["loaded"]
    lemonade.run("summarize")
    batch = next(file["batch_id"] for file in files if file["name"] == B)
    assert lemonade.json("undo", batch, "--yes")["rows"] == 20
    assert "undone already" in lemonade.run("undo", batch).stdout
    assert_books(lemonade, 30, [A, A, B], states=["loaded", "undone"])
    lemonade.run("summarize")
    summary = lemonade.query("SELECT count(*) AS n FROM daily_summary")
    assert summary == [{"n": 30}]
    assert lemonade.stop(process) == 0
    assert wait_for(lambda: len(lemonade.events("undo.settled")) == 2, "the canonical lines")
