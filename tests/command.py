"""The real `lemonade` command in subprocesses, for acceptance and fault tests."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
_OURS = ("ENV", "DATABASE_URL", "INCOMING_FOLDER", "SOURCE_DATA_BASE", "PROCESSED_FOLDER", "DATALAKE_BASE", "S3_BUCKET")


def clean_environ(**more: str) -> dict[str, str]:
    """This process's environment without any Lemonade setting, plus `more`."""
    environ = {key: value for key, value in os.environ.items() if key not in _OURS and not key.startswith("ICEBERG_")}
    paths = [str(ROOT), environ.get("PYTHONPATH", "")]
    return {**environ, "PYTHONPATH": os.pathsep.join(filter(None, paths)), "SETTLE_SECONDS": "0.3", **more}


def wait_for(condition: Callable[[], Any], what: str, seconds: float = 90) -> Any:
    """Wait until `condition` gives something true and return that; AssertionError names `what` did not come."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.05)
    raise AssertionError(f"waited {seconds} s for {what}")


class Lemonade:
    """One folder with its own `.env`, data and daemon."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.environ = clean_environ()
        self.processes: list[subprocess.Popen[bytes]] = []

    @property
    def incoming(self) -> Path:
        """Where files are dropped."""
        return self.home / "data/incoming"

    @property
    def log(self) -> Path:
        """What the daemon writes on stderr."""
        return self.home / "daemon.log"

    def run(self, *arguments: str, check: int | None = 0, **more: str) -> subprocess.CompletedProcess[str]:
        """Run a verb to its end; `check` is the exit code it must have (None: any)."""
        done = subprocess.run(
            [sys.executable, "-m", "watcher", *arguments],
            cwd=self.home,
            env={**self.environ, **more},
            capture_output=True,
            text=True,
            timeout=180,
        )
        if check is not None:
            assert done.returncode == check, f"{arguments}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def json(self, *arguments: str, check: int | None = 0) -> Any:
        """Run a verb with --json and read its answer."""
        return json.loads(self.run(*arguments, "--json", check=check).stdout)

    def start(
        self, *arguments: str, program: Sequence[str] = ("-m", "watcher", "run"), **more: str
    ) -> subprocess.Popen[bytes]:
        """Start the daemon in the background and wait until it holds its lock and looks.

        `program`: what Python runs, where it is another than `lemonade run`.
        """
        seen = self.events("daemon.started")
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, *program, *arguments],
                cwd=self.home,
                env={**self.environ, **more},
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        self.processes.append(process)
        wait_for(
            lambda: (
                process.poll() is not None
                or (len(self.events("observer.started")) > 0 and len(self.events("daemon.started")) > len(seen))
            ),
            "the daemon to start",
        )
        return process

    def stop(self, process: subprocess.Popen[bytes]) -> int:
        """SIGTERM, then its exit code."""
        process.send_signal(signal.SIGTERM)
        return process.wait(timeout=90)

    def events(self, name: str) -> list[dict[str, Any]]:
        """The daemon's log lines of one event."""
        if not self.log.exists():
            return []
        found = []
        for line in self.log.read_text().splitlines():
            with contextlib.suppress(ValueError):
                entry = json.loads(line)
                if isinstance(entry, dict) and entry.get("event") == name:
                    found.append(entry)
        return found

    def query(self, sql: str) -> list[dict[str, Any]]:
        """Rows of a query."""
        rows = json.loads(self.run("query", sql, "--format", "json").stdout)
        assert isinstance(rows, list)
        return rows

    def close(self) -> None:
        """End every process that was started here; say what it said last: pytest shows that of a test that failed."""
        for process in self.processes:
            if process.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait(timeout=30)
        if self.log.exists():
            lines = self.log.read_text(errors="replace").splitlines()
            told = [line for line in lines if '"level": "info"' not in line and '"level": "debug"' not in line]
            sys.stdout.write("\n".join([f"of {len(lines)} lines of the daemon's log:", *told[-40:], *lines[-10:]]))


def drive(
    script: Path, *arguments: str, home: Path, code: int = -signal.SIGKILL, **more: str
) -> subprocess.CompletedProcess[str]:
    """Run one of the drivers in tests/faults, which change the product from outside, to its end by `code`."""
    done = subprocess.run(
        [sys.executable, str(script), *arguments],
        cwd=home,
        env=clean_environ(PYTHONPATH=os.pathsep.join(sys.path), **more),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == code, f"{script.name} {arguments}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def drop(folder: Path, name: str, content: bytes | str | list[Any] | dict[str, Any]) -> Path:
    """Write a whole file beside and rename it in, as a careful producer does."""
    folder.mkdir(parents=True, exist_ok=True)
    if not isinstance(content, bytes | str):
        content = json.dumps(content)
    temporary = folder / f".{name}.tmp"
    temporary.write_bytes(content.encode() if isinstance(content, str) else content)
    return temporary.rename(folder / name)


def events_file(count: int, *, start: int = 0, day: str = "2026-01-15") -> dict[str, Any]:
    """A vehicle events document of `count` records with vehicle ids v<start>… ."""
    return {
        "vehicles_events": [
            {
                "vehicle_id": f"v{start + number}",
                "event_time": f"{day}T11:{number % 60:02}:00Z",
                "event_source": "gps",
                "event_type": "moved",
                "event_value": number if number % 2 else str(number),
                "event_extra_data": {"n": number},
            }
            for number in range(count)
        ]
    }
