"""The real daemon in a subprocess: drop, flush, query; signals; a second daemon; its log."""

from __future__ import annotations

import gzip
import json
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

from command import ROOT, Lemonade, drop, events_file, wait_for

TRIPS = {
    "file_type": "trips",
    "filename_patterns": ["trip_reports"],
    "schema_definition": {
        "fields": [
            {"name": "trip", "type": "uuid", "nullable": False},
            {"name": "started", "type": "timestamp", "nullable": False},
            {"name": "ended", "type": "timestamp", "format": "epoch_ms"},
            {"name": "electric", "type": "boolean"},
            {"name": "stops", "type": "int"},
            {"name": "meters", "type": "long"},
            {"name": "speed", "type": "float"},
            {"name": "fuel", "type": "double"},
            {"name": "fare", "type": "decimal(9,2)"},
            {"name": "day", "type": "date"},
            {"name": "departs", "type": "time"},
            {"name": "token", "type": "binary"},
            {"name": "driver", "type": "string", "source": "driver-name"},
            {"name": "extra", "type": "json"},
            {
                "name": "at",
                "type": {
                    "type": "struct",
                    "fields": [
                        {"id": 1, "name": "lat", "type": "double", "required": False},
                        {"id": 2, "name": "lon", "type": "double", "required": False},
                    ],
                },
            },
            {"name": "tags", "type": {"type": "list", "element-id": 1, "element": "string", "element-required": False}},
        ],
        "primary_key": ["trip"],
    },
    "processing_config": {"partition_by": "date", "format": "iceberg", "write_mode": "append"},
}
TRIP = {
    "trip": "0190b6a2-7f5e-7c3e-9b1a-2f6d3c4b5a69",
    "started": "2026-01-15T14:30:00+05:30",
    "ended": 1768471200500,
    "electric": True,
    "stops": 3,
    "meters": 9007199254740993,
    "speed": 12.5,
    "fuel": 0.1,
    "fare": "1234567.89",
    "day": "2026-01-15",
    "departs": "09:00:00",
    "token": "AAEC/w==",
    "driver-name": "Zoë",
    "extra": {"a": [1, None]},
    "at": {"lat": 52.5, "lon": 13.4},
    "tags": ["x", "y"],
}


def trips_file(count: int) -> bytes:
    """Gzipped JSON lines of `count` trips."""
    return gzip.compress("".join(json.dumps(TRIP) + "\n" for _ in range(count)).encode())


def test_a_day_of_the_daemon(lemonade: Lemonade) -> None:
    """Drop and flush; types nobody coded for, by file and by SQL; refused files; summary; a second daemon; drain."""
    lemonade.run("init")
    (lemonade.home / ".env").write_text("RESCAN_SECONDS=1\nLOG_LEVEL=DEBUG\n")
    daemon = lemonade.start()

    # after `cp x incoming/; lemonade flush`, x is loaded
    drop(lemonade.incoming, "vehicles_events_20260115120000.json", events_file(40))
    (lemonade.incoming / "vehicles_status_20260115120000.json").write_text(
        '{"vehicles_status": [{"vehicle_id": "v1", "report_time": "2026-01-15T11:00:00Z", "status": "driving"}]}'
    )
    (lemonade.incoming / "broken_20260115120000.json").symlink_to("/etc/passwd")
    drop(lemonade.incoming, "vehicles_events_20260115120001.json", '[{"vehicle_id": null}]')
    drop(lemonade.incoming, "vehicles_events_20260115120002.json", '{"vehicles_events": [{]}')
    drop(lemonade.incoming, "trip_reports_20260115120000.jsonl.gz", trips_file(2))
    answer = lemonade.json("flush", check=1)
    assert {file["name"]: file["state"] for file in answer["files"]} == {
        "vehicles_events_20260115120000.json": "loaded",
        "vehicles_events_20260115120001.json": "error",
        "vehicles_events_20260115120002.json": "failed",
        "vehicles_status_20260115120000.json": "loaded",
    }
    assert lemonade.query("SELECT count(*) AS n FROM vehicle_events") == [{"n": 40}]
    reason = json.loads(
        (
            lemonade.home / "data/source_data/error/vehicle_events/vehicles_events_20260115120001.json.error.json"
        ).read_text()
    )
    assert reason["code"] == "schema_mismatch"
    assert "record 1" in reason["message"] and "vehicle_id" in reason["message"]
    assert (lemonade.home / "data/source_data/failed/vehicle_events/vehicles_events_20260115120002.json").exists()
    assert (lemonade.home / "data/source_data/failed/broken_20260115120000.json").is_symlink()

    # the unknown type is held under an inactive record; registered by a JSON file, its files flow
    held = lemonade.home / "data/source_data/held/trip_reports/trip_reports_20260115120000.jsonl.gz"
    assert held.exists()
    assert "trip_reports" in {kind["file_type"] for kind in lemonade.json("types", "list")}
    definition = lemonade.home / "trips.json"
    definition.write_text(json.dumps(TRIPS))
    lemonade.run("types", "add", "--file", str(definition))
    lemonade.run("flush", "trips")
    assert not held.exists()
    rows = lemonade.query("SELECT * EXCLUDE (_batch_id, _file_id) FROM trips ORDER BY _record_no")
    assert [row.pop("_record_no") for row in rows] == [1, 2]
    assert rows[0] == rows[1]
    row = rows[0]
    assert row["started"] == "2026-01-15T09:00:00Z"
    assert row["ended"] == "2026-01-15T10:00:00.500Z" or row["ended"] == "2026-01-15T10:00:00.500000Z"
    assert row["trip"] == TRIP["trip"]
    assert (row["electric"], row["stops"], row["meters"]) == (True, 3, 9007199254740993)
    assert (row["speed"], row["fuel"], str(row["fare"])) == (12.5, 0.1, "1234567.89")
    assert (row["day"], row["date"], row["departs"]) == ("2026-01-15", "2026-01-15", "09:00:00")
    assert (row["token"], row["driver"]) == ("AAEC/w==", "Zoë")
    assert json.loads(row["extra"]) == {"a": [1, None]}
    assert (row["at"], row["tags"]) == ({"lat": 52.5, "lon": 13.4}, ["x", "y"])

    # a row written with plain SQL takes effect without restart; a broken one stops only its type
    with sqlite3.connect(lemonade.home / "data/metadata.db", timeout=10) as database:
        schema = json.dumps({"fields": [{"name": "n", "type": "long"}], "primary_key": []})
        database.execute(
            "INSERT INTO table_metadata (file_type, table_name, status, schema_definition, partition_column) "
            "VALUES ('counts', 'counts', 'active', ?, 'date'), ('wrong', 'wrong', 'active', '{', 'date')",
            (schema,),
        )
    drop(lemonade.incoming, "counts_20260115120000.json", [{"n": 1}, {"n": 2}])
    lemonade.run("flush")
    assert lemonade.query("SELECT sum(n) AS n FROM counts") == [{"n": 3}]
    wait_for(lambda: lemonade.events("type.broken"), "the alert for the broken row")

    # the summary, and a late file that makes its day dirty again
    lemonade.run("summarize")  # nothing to do where the daemon's own, due at its first start, came after the flush
    assert lemonade.query("SELECT count(*) AS n FROM daily_summary WHERE day = '2026-01-15'") == [{"n": 40}]
    assert lemonade.json("summarize", "2026-01-15")["tables"][0]["days"] == {"2026-01-15": 40}
    drop(
        lemonade.incoming,
        "vehicles_events_20260120000000.json",
        [{"vehicle_id": "v0", "event_time": "2026-01-15T23:00:00Z", "event_type": "parked"}],
    )
    lemonade.run("flush")
    lemonade.run("summarize")
    assert lemonade.query("SELECT last_event_type AS t FROM daily_summary WHERE vehicle_id = 'v0'") == [{"t": "parked"}]
    assert lemonade.json("summarize") == {"tables": []}

    # the same delivery again is a duplicate
    drop(lemonade.incoming, "vehicles_events_20260115120000.json", events_file(40))
    assert lemonade.json("flush")["duplicates"] == 1

    # a second daemon on the same folders refuses
    second = lemonade.run("run", check=75)
    assert str(daemon.pid) in second.stderr
    status = lemonade.json("status")
    assert status["daemon"] == {**status["daemon"], "alive": True, "pid": daemon.pid}
    assert status["times"]["hour"]["next"] > "2026"

    # it drains; every line of its log is JSON
    assert lemonade.stop(daemon) == 0
    lines = lemonade.log.read_text().splitlines()
    for line in lines:
        assert isinstance(json.loads(line), dict), line
    assert len(lemonade.events("batch.settled")) == len(lemonade.json("batches"))
    assert lemonade.events("daemon.stopped")


def test_sigterm_in_a_busy_flush_leaves_the_rest_claimed(lemonade: Lemonade) -> None:
    """SIGTERM ends after the batch in hand; what is left is claimed and loads after the next start."""
    lemonade.run("init")
    daemon = lemonade.start(CHUNK_MAX_FILES="1", FLUSH_MAX_FILES="20")
    for number in range(20):
        drop(lemonade.incoming, f"vehicles_events_202601151200{number:02}.json", events_file(5, start=number * 5))
    wait_for(lambda: lemonade.events("batch.settled"), "the first batch")
    assert lemonade.stop(daemon) == 0
    states = [file["state"] for file in lemonade.json("files")]
    assert set(states) == {"loaded", "claimed"}
    assert lemonade.json("batches", "--state", "settled")
    assert not lemonade.json("status")["unsettled_batches"]
    lemonade.run("run", "--once")
    assert lemonade.query("SELECT count(*) AS n, count(DISTINCT vehicle_id) AS ids FROM vehicle_events") == [
        {"n": 100, "ids": 100}
    ]


def test_a_second_signal_stops_at_once(lemonade: Lemonade) -> None:
    """Two SIGTERMs end the daemon without waiting for its batch; the next start loads every row once."""
    lemonade.run("init")
    daemon = lemonade.start()
    drop(lemonade.incoming, "vehicles_events_20260115120000.json", events_file(50_000))
    lemonade.run("flush", "--no-wait")
    wait_for(lambda: lemonade.json("batches", check=None), "a batch in work")
    daemon.send_signal(signal.SIGTERM)
    daemon.send_signal(signal.SIGTERM)
    daemon.wait(timeout=20)
    lemonade.run("run", "--once")
    assert lemonade.query("SELECT count(*) AS n FROM vehicle_events") == [{"n": 50_000}]


def test_help_loads_neither_spark_nor_iceberg() -> None:
    """`lemonade --help` names every verb and imports no heavy library."""
    code = (
        "import sys\n"
        "from watcher.cli import main\n"
        "try:\n    main(['--help'])\n"
        "except SystemExit:\n    pass\n"
        "heavy = {'pyspark', 'pyiceberg', 'pyarrow', 'duckdb', 'pandas', 'sqlalchemy'} & set(sys.modules)\n"
        "sys.exit(f'loaded {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    for verb in ("init", "run", "flush", "status", "query", "summarize", "types", "demo"):
        assert f"  {verb} " in done.stdout


def test_wrong_settings_are_said_all_at_once(lemonade: Lemonade, tmp_path: Path) -> None:
    """Two wrong settings are named in one message, exit 78."""
    done = lemonade.run("status", check=78, FLUSH_MAX_FILES="0", SUMMARY_AT="25:00")
    assert "FLUSH_MAX_FILES" in done.stderr
    assert "SUMMARY_AT" in done.stderr


def test_no_init_is_a_configuration_error(lemonade: Lemonade) -> None:
    """Every verb that needs the ledger says what to type before `init` was run, exit 78."""
    assert "lemonade init" in lemonade.run("run", check=78).stderr
    assert "lemonade init" in lemonade.run("flush", check=78).stderr
