"""The shipped supervisord.conf, run by the real supervisord."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from books import assert_books
from command import ROOT, Lemonade, drop, events_file, wait_for


@pytest.fixture
def home() -> Iterator[Path]:
    """A checkout-like folder with a short path (a unix socket's name is limited to 107 bytes)."""
    with tempfile.TemporaryDirectory(prefix="lem") as folder:
        made = Path(folder)
        (made / "supervisord.conf").write_text((ROOT / "supervisord.conf").read_text())
        command = made / ".venv/bin/lemonade"
        command.parent.mkdir(parents=True)
        command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m watcher "$@"\n')
        command.chmod(0o755)
        yield made


@pytest.fixture
def supervised(home: Path) -> Iterator[Lemonade]:
    """The daemon under supervisord; ended with it."""
    lemonade = Lemonade(home)
    lemonade.run("init")
    yield lemonade
    pid_file = home / "data/supervisord.pid"
    if pid_file.exists():
        supervisor = psutil.Process(int(pid_file.read_text()))
        os.kill(supervisor.pid, signal.SIGTERM)
        supervisor.wait(timeout=120)


def supervisord(lemonade: Lemonade, **more: str) -> None:
    """Start supervisord as the README says; it goes into the background by itself."""
    subprocess.run(
        [sys.executable, "-m", "supervisor.supervisord", "-c", str(lemonade.home / "supervisord.conf")],
        cwd="/",
        env={**lemonade.environ, **more},
        check=True,
        timeout=30,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def control(lemonade: Lemonade, *words: str) -> str:
    """supervisorctl's answer."""
    done = subprocess.run(
        [sys.executable, "-m", "supervisor.supervisorctl", "-c", str(lemonade.home / "supervisord.conf"), *words],
        env=lemonade.environ,
        capture_output=True,
        text=True,
        timeout=120,
    )
    return done.stdout


def daemon_pid(lemonade: Lemonade) -> int | None:
    """The process id of the live daemon."""
    pid: int | None = lemonade.json("status")["daemon"]["pid"]
    return pid


def test_killed_in_mid_batch_it_is_restarted_and_loses_nothing(supervised: Lemonade) -> None:
    """SIGKILL in the middle of a batch: supervisord restarts the daemon, and every row is there once; stop drains."""
    supervisord(supervised)
    first = wait_for(lambda: daemon_pid(supervised), "the daemon")
    for number in range(4):
        name = f"vehicles_events_2026011512000{number}.json"
        drop(supervised.incoming, name, events_file(20_000, start=number * 20_000))
    supervised.run("flush", "--no-wait")
    wait_for(lambda: supervised.json("batches", check=None), "a batch in work")
    os.kill(first, signal.SIGKILL)
    second = wait_for(lambda: (pid := daemon_pid(supervised)) not in (None, first) and pid, "the restart")
    assert second != first
    supervised.run("flush")
    assert supervised.query("SELECT count(*) AS n, count(DISTINCT vehicle_id) AS ids FROM vehicle_events") == [
        {"n": 80_000, "ids": 80_000}
    ]
    control(supervised, "stop", "lemonade")
    assert "STOPPED" in control(supervised, "status", "lemonade")
    log = (supervised.home / "data/logs/lemonade.log").read_text()
    assert '"daemon.stopped"' in log.splitlines()[-1]


def test_wrong_settings_are_not_restarted(supervised: Lemonade) -> None:
    """Exit 78 ends the program for supervisord: no restart."""
    supervisord(supervised, SUMMARY_AT="noon")
    wait_for(lambda: "EXITED" in control(supervised, "status", "lemonade"), "the daemon to end")
    log = (supervised.home / "data/logs/lemonade.log").read_text()
    assert log.count("SUMMARY_AT") == 1


@pytest.mark.soak
def test_stopped_with_a_full_buffer_everything_waits_for_the_next_start(supervised: Lemonade) -> None:
    """Thousands of files are claimed when supervisord stops the daemon: none is lost, and all load after the start."""
    supervisord(supervised, FLUSH_MAX_FILES="100000")
    wait_for(lambda: daemon_pid(supervised), "the daemon")
    for number in range(3000):
        name = f"vehicles_events_20260115{number // 3600:02}{number // 60 % 60:02}{number % 60:02}.json"
        drop(supervised.incoming, name, events_file(1, start=number))
    wait_for(lambda: not list(supervised.incoming.iterdir()), "the claims")
    control(supervised, "stop", "lemonade")
    assert "STOPPED" in control(supervised, "status", "lemonade")
    claimed = supervised.json("files", "--limit", "10000")
    assert (len(claimed), {file["state"] for file in claimed}) == (3000, {"claimed"})
    control(supervised, "start", "lemonade")
    wait_for(lambda: daemon_pid(supervised), "the next start")
    supervised.run("flush")
    assert_books(supervised, 3000, states=["loaded"])
