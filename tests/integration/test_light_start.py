"""What `query` and `report` load before they do anything: their own libraries, not everybody's."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest
from command import clean_environ

from processors.decode.schema import arrow_schema
from watcher.app import App

HEAVY = ("pyspark", "pyarrow", "pandas", "numpy", "pyiceberg.table", "pyiceberg.catalog", "processors.lake.lake")


def loaded_by(folder: Path, *arguments: str) -> list[str]:
    """What a command has loaded of the heavy libraries when it ends; its answer may be "no"."""
    code = (
        f"import sys\nfrom watcher.cli import main\ntry:\n    main({list(arguments)!r})\n"
        "except SystemExit as end:\n    assert end.code in (0, 1)\n"
        f"import json\nprint(json.dumps([name for name in {HEAVY!r} if name in sys.modules]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=clean_environ(), capture_output=True, text=True, check=True
    )
    found: list[str] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize("sql", ["SELECT 1", "SELECT count(*) FROM vehicle_events", "DESCRIBE vehicle_status"])
def test_sql_over_the_present_tables_loads_no_pyiceberg(app: App, tmp_path: Path, sql: str) -> None:
    """Not even when tables are read, with rows and without; what they were at a time, PyIceberg tells."""
    events, status = app.registry.read().active
    assert events.definition is not None
    schema = arrow_schema(events.definition)
    app.lake().ensure_type_table(events).append(pa.Table.from_pylist([dict.fromkeys(schema.names)], schema=schema))
    app.lake().ensure_type_table(status)
    assert loaded_by(tmp_path, "query", sql) == []
    assert "pyiceberg.table" in loaded_by(tmp_path, "query", sql, "--as-of", "2026-01-15")


def test_a_report_without_tables_loads_the_ledger_alone(app: App, tmp_path: Path) -> None:
    """Nulls and keys are counted in tables that are there; for none, no library of tables is loaded."""
    assert app.lake().table_names() == []
    assert loaded_by(tmp_path, "report") == []
