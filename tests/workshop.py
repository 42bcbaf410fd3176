"""The daemon's work step by step in this process: no threads, no Spark, a clock moved by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

from books import assert_app_books
from command import drop, events_file
from handclock import HandClock
from inprocess import InProcessRunner

from metadata.database.models import SourceFile
from metadata.database.states import FlushReason
from metadata.settings import Settings
from watcher.app import App
from watcher.intake.nominations import Nominations
from watcher.intake.scan_result import ScanResult
from watcher.work.flush_report import FlushReport
from watcher.work.work import Work

NAME = "vehicles_events_20260115120000.json"


class Interrupting(InProcessRunner):
    """Calls `before` before and `after` after it has run the tasks of a micro-batch."""

    def __init__(self) -> None:
        super().__init__()
        self.before: Callable[[], object] = lambda: None
        self.after: Callable[[], object] = lambda: None

    def run(self, function: Any, tasks: Any, label: str) -> Any:
        """The results, with the interruptions around them."""
        self.before()
        results = super().run(function, tasks, label)
        self.after()
        return results


class Workshop:
    """An initialised App and its Work."""

    def __init__(self, settings: Settings, runner: Interrupting | None = None) -> None:
        self.clock = HandClock()
        self.runner = runner or Interrupting()
        self.app = App(settings, clock=self.clock, runner=self.runner)
        self.app.init()
        self.work = self.begin()

    def begin(self) -> Work:
        """A new process's work."""
        self.work = Work(self.app, pause=lambda _seconds: False, draining=lambda: False)
        return self.work

    @property
    def incoming(self) -> Path:
        """Where producers drop files."""
        return self.app.settings.incoming_folder

    @property
    def processing(self) -> Path:
        """Where claimed vehicle events wait."""
        return self.app.settings.folders.processing("vehicle_events")

    def drop(self, name: str = NAME, content: Any = None, *, rows: int = 3, start: int = 0) -> Path:
        """A careful producer's file of vehicle events."""
        return drop(self.incoming, name, events_file(rows, start=start) if content is None else content)

    def look(self, *closed: str, changed: tuple[str, ...] = (), full: bool = True) -> ScanResult:
        """One look; `closed` and `changed` are names that events told of."""
        hints = Nominations(closed=frozenset(closed), changed=frozenset(changed))
        return self.work.gather(self.work.read_registry(), hints, full=full)

    def claim(self) -> ScanResult:
        """Two looks, SETTLE_SECONDS apart."""
        self.look()
        self.clock.forward(self.app.settings.settle_seconds)
        return self.look()

    def flush(self) -> FlushReport:
        """Load what is claimed."""
        return self.work.flush(self.work.read_registry().active, FlushReason.REQUEST)

    def load(self) -> FlushReport:
        """Claim, then flush."""
        self.claim()
        return self.flush()

    def rows(self, name: str | None = None) -> list[SourceFile]:
        """The ledger's files (of one name), oldest first."""
        return self.app.ledger.files(name=name)

    def states(self) -> list[str]:
        """Their states."""
        return [file.state for file in self.rows()]

    def records(self, table: str = "raw_data.vehicle_events") -> list[dict[str, Any]]:
        """Every row of a table."""
        found = self.app.lake().table(table)
        return [] if found is None or found.current_snapshot() is None else list(found.scan().to_arrow().to_pylist())

    def assert_books(self, rows: int | None = None, table: str = "raw_data.vehicle_events") -> None:
        """Every row once, every file in one place, the audit agrees; and each file's bytes are those on record."""
        assert_app_books(self.app, rows, table=table)
        for file in self.rows():
            if file.digest is not None and file.state in ("held", "claimed", "loaded") and file.code != "bytes_changed":
                assert sha256(Path(file.path).read_bytes()).hexdigest() == file.digest, f"{file.name} is another file"

    def close(self) -> None:
        """Let the database go."""
        self.app.database.close()


def text(rows: int, start: int = 0) -> bytes:
    """A vehicle events document as bytes."""
    return json.dumps(events_file(rows, start=start)).encode()
