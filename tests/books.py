"""The three assertions that every fault ends in: every row exactly once, every file in one place, the books balance."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from command import Lemonade

from metadata.database.states import FileState
from processors.lake.quarantine_table import TABLE as QUARANTINE
from processors.read.audit import audit
from watcher.app import App

PLACES = {
    FileState.HELD: "source_data/held",
    FileState.CLAIMED: "source_data/processing",
    FileState.BATCHED: "source_data/processing",
    FileState.LOADED: "processed",
    FileState.FAILED: "source_data/failed",
    FileState.ERROR: "source_data/error",
    FileState.DUPLICATE: "source_data/duplicate",
    FileState.UNDONE: "source_data/undone",
}
"""The folder, below data/, in which a file of each state lies; a missing file is nowhere, a replaced one is kept."""


def assert_books(
    home: Lemonade,
    rows: int,
    names: Iterable[str] | None = None,
    *,
    states: Iterable[str] | None = None,
    table: str = "vehicle_events",
    key: str | None = "vehicle_id",
    rejected: int = 0,
) -> None:
    """Through the command alone, with or without a daemon: `rows` rows in `table`, each once; files; `lemonade audit`.

    `rejected`: rows of the quarantine's table, each once.

    `key`: a column whose value is another in each row, as `events_file` makes them; None when it is not. `names`: the
    names that the ledger knows, no more and no fewer (a name that came twice stands twice). `states`: the states that
    the files may be in.
    """
    if rows or home.run("query", f"SELECT 1 FROM {table} LIMIT 1", check=None).returncode == 0:
        distinct = f"count(DISTINCT {key})" if key else "count(*)"
        counted = home.query(
            f"SELECT count(*) AS n, count(DISTINCT (_file_id, _record_no)) AS once, {distinct} AS keys FROM {table}"
        )
        assert counted == [{"n": rows, "once": rows, "keys": rows}]
    if rejected or home.run("query", f"SELECT 1 FROM {QUARANTINE} LIMIT 1", check=None).returncode == 0:
        counted = home.query(
            f"SELECT count(*) AS n, count(DISTINCT (_batch_id, _file_id, _record_no)) AS once FROM {QUARANTINE}"
        )
        assert counted == [{"n": rejected, "once": rejected}]
    files = home.json("files", "--limit", "1000000", check=None)  # exit 1: none came yet
    _assert_places(files, home.home / "data")
    if names is not None:
        assert sorted(file["name"] for file in files) == sorted(names)
    if states is not None:
        assert {file["state"] for file in files} <= set(states)
    told = home.run("audit", check=None)
    assert told.returncode == 0, f"the books do not balance:\n{told.stdout}\n{told.stderr}"


def assert_app_books(
    app: App,
    rows: int | None = None,
    *,
    table: str = "raw_data.vehicle_events",
    key: str | None = None,
    rejected: int | None = None,
) -> None:
    """The same in this process, without DuckDB; `rows` and `rejected` None: as many as the ledger says."""
    files = [
        {"name": file.name, "state": file.state, "path": file.path, "code": file.code} for file in app.ledger.files()
    ]
    _assert_places(files, app.settings.processed_folder.parent)
    loaded = app.lake().table(table)
    there = loaded.scan().to_arrow() if loaded is not None and loaded.current_snapshot() is not None else None
    found = 0 if there is None else there.num_rows
    if rows is not None:
        assert found == rows, f"{table} has {found} rows, not {rows}"
    if there is not None:
        lineage = there.select(["_file_id", "_record_no"]).to_pylist()
        assert len({(row["_file_id"], row["_record_no"]) for row in lineage}) == found, f"rows of {table} are doubled"
        if key is not None:
            assert len(set(there[key].to_pylist())) == found, f"{key} repeats in {table}"
    records = rejected_records(app)
    once = {(row["_batch_id"], row["_file_id"], row["_record_no"]) for row in records}
    assert len(once) == len(records), f"rows of {QUARANTINE} are doubled"
    loaded = [file for file in app.ledger.files() if file.state in (FileState.LOADED, FileState.MISSING)]
    kept = sum((file.rejected or 0) - file.replayed - file.discarded for file in loaded)
    expected = kept if rejected is None else rejected
    assert len(records) == kept == expected, f"{len(records)} in {QUARANTINE}, {kept} in the ledger, not {expected}"
    result = audit(app.settings, app.ledger, app.registry, app.lake(), app.clock)
    assert result.balanced, "the books do not balance:\n" + "\n".join(finding.line() for finding in result.findings)


def rejected_records(app: App) -> list[dict[str, Any]]:
    """Every row of the quarantine, by file and record."""
    found = app.lake().table(QUARANTINE)
    if found is None or found.current_snapshot() is None:
        return []
    rows = found.scan().to_arrow().to_pylist()
    return sorted(rows, key=lambda row: (row["_source_file"], row["_record_no"]))


def _assert_places(files: list[dict[str, Any]], data: Path) -> None:
    """Each file of the ledger is where its state says, and nothing else lies there."""
    paths = [Path(file["path"]) for file in files if file["state"] != FileState.MISSING and not _is_lost(file)]
    assert len(set(paths)) == len(paths), "two files of the ledger share a path"
    for file in files:
        place = PLACES.get(FileState(file["state"]))
        if place is not None and not _is_lost(file):
            assert Path(file["path"]).is_relative_to(data / place), file
            assert Path(file["path"]).exists(), file
    assert _lying(data) == set(paths)


def _is_lost(file: dict[str, Any]) -> bool:
    """Whether the ledger says that no copy is left, for somebody wrote to the file after it was read."""
    states = (FileState.LOADED, FileState.DUPLICATE, FileState.UNDONE, FileState.REPLACED)
    return file["code"] == "bytes_changed" and file["state"] in states


def _lying(data: Path) -> set[Path]:
    """Every source file below source_data/ and processed/; reasons beside them and hidden files are none."""
    return {
        path
        for folder in (data / "source_data", data / "processed")
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith(".") and not path.name.endswith(".error.json")
    }
