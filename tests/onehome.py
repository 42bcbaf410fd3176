"""One Lemonade on an in-process runner whose process can end and start again, with a ledger to back up and restore."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

from books import assert_app_books
from command import drop, events_file
from inprocess import InProcessRunner

from metadata.database.states import FlushReason
from metadata.settings import Settings
from watcher.app import App
from watcher.work.work import Work


class Home:
    """One Lemonade whose process can end and start again, and whose ledger can be backed up and restored."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.patience = 0  #: how often it may wait before it is told to stop
        self.waits: list[float] = []
        self.app = App(settings, runner=InProcessRunner())
        self.app.init()
        self.work = self.start(recover=False)

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
        self.work = Work(self.app, pause=self.pause, draining=lambda: False)
        if recover:
            self.work.recover()
        return self.work

    def pause(self, seconds: float) -> bool:
        """No time passes; False, as when it drains, once patience is over."""
        self.waits.append(seconds)
        return len(self.waits) <= self.patience

    def load(self) -> None:
        """Claim and load what is in incoming/."""
        snapshot, _ = self.work.gather_until_settled()
        self.work.flush(snapshot.active, FlushReason.REQUEST)

    def drop(self, number: int, count: int = 10, *, bad: int = 0) -> str:
        """Drop a file of records that no other file has; the first `bad` of them have no time."""
        name = f"vehicles_events_202601151200{number:02}.json"
        document = events_file(count, start=number * 100)
        for record in document["vehicles_events"][:bad]:
            del record["event_time"]
        drop(self.settings.incoming_folder, name, document)
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

    def files(self) -> dict[str, str]:
        """Name → state; a name that came twice shows both."""
        states: dict[str, str] = {}
        for file in self.app.ledger.files():
            states[file.name] = f"{states[file.name]}+{file.state}" if file.name in states else file.state
        return states

    def assert_balanced(self, rows: int, *, rejected: int = 0) -> None:
        """Every row and rejected record once, every file in one place, the books balance; nothing is under way."""
        assert_app_books(self.app, rows, key="vehicle_id", rejected=rejected)
        assert {batch.state for batch in self.app.ledger.batches()} <= {"settled", "abandoned"}
