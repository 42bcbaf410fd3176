"""Settle: source files move from processing/ to their end, with their reason beside those that were not loaded.

Repeating a move is harmless: a file that is no longer in processing/ is looked for at its end.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from metadata.clock import Clock
from metadata.errors import WorldFault
from metadata.folders import Folders, move, name_with_id, write_reason
from metadata.ledger import Ledger
from metadata.logs import Event, Severity, alert, get_logger
from metadata.models import SourceFile
from metadata.states import FileState

log = get_logger()

CURES = {
    FileState.FAILED: "mend the file (or its producer) and drop it into incoming/ again",
    FileState.ERROR: "mend the records, or the schema with `lemonade types update`, and drop the file again",
}


class Settler:
    """Moves the files of a recorded batch."""

    def __init__(self, ledger: Ledger, folders: Folders, clock: Clock) -> None:
        self.ledger = ledger
        self.folders = folders
        self.clock = clock

    def settle_files(self, files: Iterable[SourceFile]) -> None:
        """Move each file to the end that its state names, then write all new paths in one transaction.

        Files in other states stay where they are. Raises WorldFault when a folder cannot be written.
        """
        paths: dict[str, str] = {}
        for file in files:
            folder = self._end(file)
            if folder is None:
                continue
            moved = self._move(file, folder)
            if file.state in (FileState.FAILED, FileState.ERROR):
                self._explain(file, moved)
            elif file.state == FileState.DUPLICATE:
                log.info(Event.FILE_DUPLICATE, file_id=file.id, file=file.name, file_type=file.file_type)
            paths[file.id] = str(moved)
        if paths:
            self.ledger.files_settled(paths)

    def _end(self, file: SourceFile) -> Path | None:
        kind = file.file_type or "unknown"
        match FileState(file.state):
            case FileState.LOADED:
                return self.folders.processed(kind, self.clock.now().date())
            case FileState.FAILED:
                return self.folders.failed(kind)
            case FileState.ERROR:
                return self.folders.error(kind)
            case FileState.DUPLICATE:
                return self.folders.duplicate(kind)
            case _:
                return None

    def _move(self, file: SourceFile, folder: Path) -> Path:
        source = Path(file.path)
        if source.parent == folder:
            return source  # an earlier walk moved it and wrote its path
        try:
            return move(source, folder, file.name, file.id)
        except FileNotFoundError:
            return self._moved_before(file, folder) or source
        except OSError as error:
            raise WorldFault(
                f"moving {source} to {folder}: {error.strerror}; check the folder's permissions and free space",
                code="folder_away",
            ) from error

    def _moved_before(self, file: SourceFile, folder: Path) -> Path | None:
        """Where a process that died right after the rename has put the file; None when a person removed it."""
        for day in (folder, *_other_days(folder, file)):
            for name in (name_with_id(file.name, file.id), file.name):
                if _holds(day / name, file):
                    return day / name
        alert(
            Event.FILE_MISSING,
            severity=Severity.WARNING,
            code="missing",
            file_id=file.id,
            file=file.name,
            state=file.state,
            cure="somebody removed it from processing/; its rows, if it was loaded, are in the table",
        )
        return None

    def _explain(self, file: SourceFile, moved: Path) -> None:
        reason: dict[str, Any] = {
            "code": file.code,
            "message": file.message,
            "cure": CURES[FileState(file.state)],
            "file_id": file.id,
            "file": file.name,
            "file_type": file.file_type,
            "attempts": file.attempts,
            "noticed_at": file.noticed_at.isoformat(),
            "settled_at": self.clock.now().isoformat(),
        }
        write_reason(moved, reason)
        alert(
            Event.FILE_FAILED,
            severity=Severity.ERROR,
            code=file.code or "unknown",
            file_id=file.id,
            file=file.name,
            file_type=file.file_type,
            state=file.state,
            error=file.message,
            path=str(moved),
            cure=reason["cure"],
        )


def _holds(path: Path, file: SourceFile) -> bool:
    """Whether `path` has the bytes that were claimed; the name alone may be another delivery's."""
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest() == file.digest
    except OSError:
        return False


def _other_days(folder: Path, file: SourceFile) -> list[Path]:
    """For a loaded file: the other load-date folders of its type (the walk may happen on a later day)."""
    if file.state != FileState.LOADED or not folder.parent.is_dir():
        return []
    return sorted((day for day in folder.parent.iterdir() if day.is_dir() and day != folder), reverse=True)[:7]
