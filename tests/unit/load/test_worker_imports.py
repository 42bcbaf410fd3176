"""What a worker has to import before its first task."""

from __future__ import annotations

import subprocess
import sys

HEAVY = {"sqlalchemy.orm", "pydantic_settings", "pyiceberg.catalog"}
LOOK = "import sys, processors.load.load_task, processors.spark.worker_process; print(*sys.modules)"


def test_the_modules_of_a_worker_are_light() -> None:
    """What a worker's first task needs brings neither the ledger's ORM nor the settings nor Iceberg's catalogs."""
    done = subprocess.run([sys.executable, "-c", LOOK], capture_output=True, text=True, check=True)
    modules = set(done.stdout.split())
    assert "processors.load.load_task" in modules
    assert modules & HEAVY == set()
