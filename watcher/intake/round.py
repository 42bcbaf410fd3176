"""One call's work on files: what it did, the rows that say so, and what is said once they are written.

Rows are written in groups, so that many small files cost few transactions and few syncs of folders. First the folders
are synced (where a row says a file is, it is, also after a power cut), then the rows are written, then the lines are
said.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metadata.files.moves import sync_folders
from metadata.ledger.ledger import Ledger
from metadata.ledger.values import HeldClaim, NewFile
from metadata.logs import Event, Severity, alert, get_logger
from watcher.intake.returned import mark_returned
from watcher.intake.scan_result import ScanResult

log = get_logger()

GROUP_FILES = 200
"""Files whose rows are written in one transaction; also how many a crash may leave to `Intake.adopt_strays`."""


@dataclass(frozen=True)
class Line:
    """What is to be said of a file; with a severity it is an alert, and one of its facts is the code."""

    event: Event
    facts: Mapping[str, Any]
    severity: Severity | None = None

    def say(self) -> None:
        """Into the log."""
        if self.severity is None:
            log.info(self.event, **self.facts)
        else:
            alert(self.event, severity=self.severity, **self.facts)


class Round:
    """Collects rows, and lines that tell of them, and writes them in groups; `write` at the end brings the rest."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.result = ScanResult()
        self.flood: list[str] = []  #: prefixes of files that stay in incoming/, one too many unknown types
        self._touched: dict[Path, None] = {}
        self._rows: list[NewFile] = []
        self._releases: list[HeldClaim] = []
        self._lines: list[Line] = []

    def touch(self, *folders: Path) -> None:
        """Names in them have changed; name the new place of a file before the one that it left."""
        self._touched |= dict.fromkeys(folders)

    def add(self, row: NewFile, line: Line) -> None:
        """A file left incoming/ (or was a stray)."""
        self._rows.append(row)
        self._keep(line)

    def release(self, claim: HeldClaim, line: Line) -> None:
        """A held file was claimed."""
        self._releases.append(claim)
        self._keep(line)

    def write(self) -> None:
        """Bring what is collected on record. Raises WorldFault; what it did not write is adopted later."""
        touched, rows, releases, lines = self._touched, self._rows, self._releases, self._lines
        self._touched, self._rows, self._releases, self._lines = {}, [], [], []
        sync_folders(touched)
        self.ledger.add_many(rows)
        mark_returned(self.ledger, rows)
        self.ledger.claim_held_many(releases)
        for line in lines:
            line.say()

    def _keep(self, line: Line) -> None:
        self._lines.append(line)
        if len(self._lines) >= GROUP_FILES:
            self.write()
