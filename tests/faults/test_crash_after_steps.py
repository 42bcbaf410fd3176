"""The process dies right after each step of the commit protocol; a restart puts all in order.

Every step has a form with its tasks on real Spark; most of these are long forms, for the start of Spark takes a while.
"""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path

import pytest
from books import assert_books
from command import Lemonade, drive, drop, events_file

DYING = Path(__file__).parent / "dying.py"


def start(lemonade: Lemonade, step: str, runner: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Load what is in incoming/; the process dies after `step`, unless that is `none`."""
    code = 0 if step == "none" else -signal.SIGKILL
    return drive(DYING, step, "1", runner, home=lemonade.home, code=code, **more)


SHORT = [
    ("plan", "in-process"),
    ("decode", "spark"),
    ("prepare", "in-process"),
    ("commit", "spark"),
    ("record", "in-process"),
    ("moves", "in-process"),
    ("settle", "in-process"),
]
LONG = [
    pytest.param(step, "spark", marks=pytest.mark.soak)
    for step in ("quarantine", *(step for step, runner in SHORT if runner != "spark"))
]


@pytest.mark.parametrize(("step", "runner"), [*SHORT, *LONG])
def test_crash_after_a_step(lemonade: Lemonade, step: str, runner: str) -> None:
    """After a death behind any step, the next start has every record once and every file in processed/."""
    lemonade.run("init")
    names = ["vehicles_events_20260115120000.json", "vehicles_events_20260115120001.json"]
    document = events_file(30)
    document["vehicles_events"] += [{"vehicle_id": "it has no time"}, "it is no record"]
    drop(lemonade.incoming, names[0], document)
    drop(lemonade.incoming, names[1], events_file(20, start=30))
    start(lemonade, step, runner)
    start(lemonade, "none", runner)
    again = start(lemonade, "none", runner)
    assert json.loads(again.stdout)["batches"] == []
    assert_books(lemonade, 50, names, states=["loaded"], rejected=2)


def test_crash_between_two_chunks(lemonade: Lemonade) -> None:
    """One flush cut into three chunks is three snapshots, also when the process dies between the first two."""
    lemonade.run("init")
    names = [f"vehicles_events_2026011512000{number}.json" for number in range(3)]
    for number, name in enumerate(names):
        drop(lemonade.incoming, name, events_file(10, start=number * 10))
    start(lemonade, "settle", "in-process", CHUNK_MAX_FILES="1")
    loaded = [file for file in lemonade.json("files") if file["state"] == "loaded"]
    assert len(loaded) == 1
    start(lemonade, "none", "in-process", CHUNK_MAX_FILES="1")
    batches = lemonade.json("batches")
    assert [batch["state"] for batch in batches] == ["settled"] * 3
    assert len({batch["snapshot_id"] for batch in batches}) == 3
    assert len({batch["flush_id"] for batch in batches}) == 2
    assert_books(lemonade, 30, names, states=["loaded"])
