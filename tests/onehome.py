"""One Lemonade on an in-process runner whose process can end and start again, with a ledger to back up and restore."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

from books import assert_app_books
from command import events_file
from inprocess import InProcessRunner
from workshop import Workshop

from metadata.clock import SystemClock
from metadata.database.states import FlushReason
from metadata.settings import Settings
from watcher.app import App
from watcher.work.flush_report import FlushReport
from watcher.work.work import Work


class Home(Workshop):
    """A workshop whose process can end and start again, and whose ledger can be backed up and restored.

    Its clock is the machine's, for other processes work on its folders too.
    """

    def __init__(self, settings: Settings) -> None:
        self.patience = 0  #: how often it may wait before it is told to stop
        self.waits: list[float] = []
        super().__init__(settings, InProcessRunner(), SystemClock())

    @property
    def ledger_file(self) -> Path:
        """The SQLite file of the ledger."""
        path = self.settings.sqlite_path
        assert path is not None
        return path

    def start(self, *, recover: bool = True) -> Work:
        """A new process."""
        self.app.unchecked_database.close()
        self.app = App(self.settings, runner=InProcessRunner())
        self.begin()
        if recover:
            self.work.recover()
        return self.work

    def pause(self, seconds: float) -> bool:
        """No time passes; False, as when it drains, once patience is over."""
        self.waits.append(seconds)
        return len(self.waits) <= self.patience

    def load(self) -> FlushReport:
        """Claim and load what is in incoming/."""
        snapshot, _ = self.work.gather_until_settled()
        return self.work.flush(snapshot.active, FlushReason.REQUEST)

    def bring(self, number: int, count: int = 10, *, bad: int = 0) -> str:
        """Drop a file of records that no other file has; the first `bad` of them have no time."""
        name = f"vehicles_events_202601151200{number:02}.json"
        document = events_file(count, start=number * 100)
        for record in document["vehicles_events"][:bad]:
            del record["event_time"]
        self.drop(name, document)
        return name

    def backup(self, to: Path) -> Path:
        """What SQLite's own backup gives."""
        source, target = sqlite3.connect(self.ledger_file), sqlite3.connect(to)
        with target:
            source.backup(target)
        source.close()
        target.close()
        return to

    def restore(self, backup: Path) -> None:
        """Stop, and put the old ledger into the place of the new one."""
        self.app.unchecked_database.close()
        for suffix in ("", "-wal", "-shm"):
            Path(f"{self.ledger_file}{suffix}").unlink(missing_ok=True)
        shutil.copy(backup, self.ledger_file)

    def assert_balanced(self, rows: int, *, rejected: int = 0) -> None:
        """Every row and rejected record once, every file in one place, the books balance; nothing is under way."""
        assert_app_books(self.app, rows, key="vehicle_id", rejected=rejected)
        assert {batch.state for batch in self.app.ledger.batches()} <= {"settled", "abandoned"}
