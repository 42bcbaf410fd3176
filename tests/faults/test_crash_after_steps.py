"""The process dies right after each step of the commit protocol; a restart puts all in order.

Every step has a form with its tasks on real Spark; most of these are long forms, for the start of Spark takes a while.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from books import assert_books
from command import Lemonade, drop, events_file

DYING = Path(__file__).parent / "dying.py"


def die(lemonade: Lemonade, step: str, times: int = 1, runner: str = "spark", **more: str) -> None:
    """Load what is in incoming/ until the process dies after `step`."""
    done = subprocess.run(
        [sys.executable, str(DYING), step, str(times), runner],
        cwd=lemonade.home,
        env={**lemonade.environ, **more},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == -signal.SIGKILL, f"{done.stdout}\n{done.stderr}"


SHORT = [
    ("plan", "in-process"),
    ("decode", "spark"),
    ("prepare", "in-process"),
    ("commit", "spark"),
    ("record", "in-process"),
    ("moves", "in-process"),
    ("settle", "in-process"),
]
LONG = [pytest.param(step, "spark", marks=pytest.mark.soak) for step, runner in SHORT if runner != "spark"]


@pytest.mark.parametrize(("step", "runner"), [*SHORT, *LONG])
def test_crash_after_a_step(lemonade: Lemonade, step: str, runner: str) -> None:
    """After a death behind any step, the next start has every row once and every file in processed/."""
    lemonade.run("init")
    names = ["vehicles_events_20260115120000.json", "vehicles_events_20260115120001.json"]
    drop(lemonade.incoming, names[0], events_file(30))
    drop(lemonade.incoming, names[1], events_file(20, start=30))
    die(lemonade, step, runner=runner)
    lemonade.run("run", "--once")
    again = lemonade.json("run", "--once")
    assert again["batches"] == []
    assert_books(lemonade, 50, names, states=["loaded"])


def test_crash_between_two_chunks(lemonade: Lemonade) -> None:
    """One flush cut into three chunks is three snapshots, also when the process dies between the first two."""
    lemonade.run("init")
    names = [f"vehicles_events_2026011512000{number}.json" for number in range(3)]
    for number, name in enumerate(names):
        drop(lemonade.incoming, name, events_file(10, start=number * 10))
    die(lemonade, "settle", CHUNK_MAX_FILES="1")
    loaded = [file for file in lemonade.json("files") if file["state"] == "loaded"]
    assert len(loaded) == 1
    lemonade.run("run", "--once", CHUNK_MAX_FILES="1")
    batches = lemonade.json("batches")
    assert [batch["state"] for batch in batches] == ["settled"] * 3
    assert len({batch["snapshot_id"] for batch in batches}) == 3
    assert len({batch["flush_id"] for batch in batches}) == 2
    assert_books(lemonade, 30, names, states=["loaded"])
