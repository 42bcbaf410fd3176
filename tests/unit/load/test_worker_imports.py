"""What a worker has to import before its first task."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = {"sqlalchemy.orm", "pydantic_settings", "pyiceberg.catalog"}
LOOK = "import sys, {}, processors.spark.worker_process; print(*sys.modules)"


@pytest.mark.parametrize(
    "module", ["processors.load.load_task", "processors.rewrite.rewrite_task", "processors.change.rescued_values"]
)
def test_the_modules_of_a_worker_are_light(module: str) -> None:
    """What a worker's first task needs brings neither the ledger's ORM nor the settings nor Iceberg's catalogs."""
    done = subprocess.run([sys.executable, "-c", LOOK.format(module)], capture_output=True, text=True, check=True)
    modules = set(done.stdout.split())
    assert module in modules
    assert modules & HEAVY == set()
