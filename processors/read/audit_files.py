"""The audit of source files: each lies where the ledger has it, as it was loaded, and no stranger lies beside them."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from metadata.clock import Clock
from metadata.database.states import FileState
from metadata.errors import FileRefused
from metadata.files.digest import holds
from metadata.files.folders import Folders, name_with_id
from metadata.files.names import parse_name
from metadata.files.os_errors import world_fault
from metadata.ledger.books import Books, FileRow, Scope
from metadata.ledger.ledger import Ledger
from processors.read.findings import Audit, Code, named

SUBFOLDERS = ("processing", "held", "failed", "error", "duplicate", "undone")
_JUST_ARRIVED_SECONDS = 60.0  # a claim moves its file first and writes the row afterwards


class FileOnDisk(NamedTuple):
    """What lies on disk at a path."""

    size_bytes: int
    changed_at: float  #: when it was moved there, or written to; seconds since the epoch


def files_on_disk(folders: Folders) -> dict[str, FileOnDisk]:
    """Everything in our folders that is no folder, by its path. Raises WorldFault."""
    on_disk: dict[str, FileOnDisk] = {}
    for folder in (*(folders.source_data / name for name in SUBFOLDERS), folders.processed_base):
        on_disk.update(_below(folder))
    return on_disk


def folder_of_state(folders: Folders, state: FileState) -> Path | None:
    """The folder in which files of a state lie; None for those that may lie in several."""
    names = {
        FileState.HELD: "held",
        FileState.CLAIMED: "processing",
        FileState.BATCHED: "processing",
        FileState.FAILED: "failed",
        FileState.ERROR: "error",
        FileState.DUPLICATE: "duplicate",
        FileState.UNDONE: "undone",
    }
    if state is FileState.LOADED:
        return folders.processed_base
    return folders.source_data / names[state] if state in names else None


class SourceFilesAudit:
    """Compares the source files of one look at the books with what lies on disk."""

    def __init__(
        self, audit: Audit, books: Books, folders: Folders, ledger: Ledger, clock: Clock, scope: Scope
    ) -> None:
        self.audit = audit
        self.books = books
        self.folders = folders
        self.ledger = ledger
        self.clock = clock
        self.scope = scope

    def compare(self, on_disk: dict[str, FileOnDisk]) -> None:
        """Note what differs; `on_disk` was looked at before the books were."""
        missing: list[FileRow] = []
        unknown = dict(on_disk)
        for file in self.books.files:
            unknown.pop(file.path, None)
            if self.books.in_work(file):
                self.audit.in_work.files += 1
                continue
            self.audit.files += 1
            if file.state == FileState.BATCHED:
                over = f"batch {file.batch_id}, which is over"
                self.audit.find(Code.FILE_FORGOTTEN, named(file), "a batch in work", over)
            if file.state == FileState.MISSING:
                continue
            seen = on_disk.get(file.path) or _look_at(Path(file.path))
            if seen is None:
                if not _is_told_lost(file):
                    missing.append(file)
                continue
            self._place(file)
            if file.state == FileState.LOADED and seen.size_bytes != file.size_bytes:
                was, now = f"{file.size_bytes} bytes", f"{seen.size_bytes} bytes"
                self.audit.find(Code.FILE_CHANGED, named(file), was, now)
        unknown = self._really_unknown(unknown)
        self._missing(missing, unknown)
        self._unknown(unknown)

    def _place(self, file: FileRow) -> None:
        """Its state names the folder in which it must lie."""
        folder = folder_of_state(self.folders, FileState(file.state))
        if folder is not None and not Path(file.path).is_relative_to(folder):
            self.audit.find(Code.FILE_MISPLACED, named(file), f"{file.state}, in {folder}", file.path)

    def _really_unknown(self, unlisted: dict[str, FileOnDisk]) -> dict[str, FileOnDisk]:
        """What nobody knows, of files whose paths were not met: in scope, still there, and not ours beside a file."""
        asked = {
            path: seen
            for path, seen in unlisted.items()
            if not Path(path).name.startswith(".") and not path.endswith(".error.json") and self._asked_for(path)
        }
        texts = [path for path in asked if path.encode("utf-8", "ignore").decode() == path]
        known = self.ledger.known_among(texts)
        return {path: seen for path, seen in asked.items() if path not in known and os.path.lexists(path)}

    def _asked_for(self, path: str) -> bool:
        place = Path(path)
        if self.scope.file_type is not None and self.scope.file_type not in place.parts:
            return False
        if not self.scope.has_days:
            return True
        try:
            return self.scope.has_day(parse_name(place.name).time.date())
        except FileRefused:
            return False

    def _missing(self, missing: list[FileRow], unknown: dict[str, FileOnDisk]) -> None:
        """Pair files that are missing with files that nobody knows, which leave `unknown`: those were moved by hand."""
        by_name: dict[str, list[str]] = defaultdict(list)
        for path in unknown:
            by_name[Path(path).name].append(path)
        for file in missing:
            names = {Path(file.path).name, file.name, name_with_id(file.name, file.id)}
            candidates = [path for name in names for path in by_name.get(name, []) if path in unknown]
            moved = next((path for path in candidates if _is_it(Path(path), unknown[path], file)), None)
            if moved is None:
                self.audit.find(Code.FILE_MISSING_ON_DISK, named(file), file.path, "nothing")
            elif self._just_arrived(moved, unknown.pop(moved), "processing"):
                self.audit.in_work.files += 1
            else:
                self.audit.find(Code.FILE_MOVED, named(file), file.path, moved)

    def _unknown(self, unknown: dict[str, FileOnDisk]) -> None:
        """Files that nobody knows, but for those that are just being claimed."""
        for path, seen in sorted(unknown.items()):
            if self._just_arrived(path, seen, "processing", "held"):
                self.audit.in_work.files += 1
            else:
                self.audit.find(Code.UNKNOWN_FILE, path, "a file of the ledger, or none", f"{seen.size_bytes} bytes")

    def _just_arrived(self, path: str, seen: FileOnDisk, *subfolders: str) -> bool:
        """Whether a file came into one of these folders a moment ago: its row may not be written yet."""
        inside = tuple(str(self.folders.source_data / name) + os.sep for name in subfolders)
        age = abs(self.clock.now().timestamp() - seen.changed_at)
        return path.startswith(inside) and age < _JUST_ARRIVED_SECONDS


def _below(folder: Path) -> Iterator[tuple[str, FileOnDisk]]:
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                try:
                    if entry.is_dir(follow_symlinks=False):
                        yield from _below(Path(entry.path))
                    else:
                        status = entry.stat(follow_symlinks=False)
                        yield entry.path, FileOnDisk(status.st_size, status.st_ctime)
                except FileNotFoundError:
                    continue  # it was moved on meanwhile
    except FileNotFoundError:
        return
    except OSError as error:
        raise world_fault(f"looking into {folder}", error, "check that this user may read it") from error


def _look_at(path: Path) -> FileOnDisk | None:
    try:
        status = path.lstat()
    except OSError:
        return None
    return FileOnDisk(status.st_size, status.st_ctime)


def _is_told_lost(file: FileRow) -> bool:
    """Whether the ledger says itself that no copy is left: somebody wrote to the file after it had been read."""
    states = (FileState.LOADED, FileState.DUPLICATE, FileState.UNDONE, FileState.REPLACED)
    return file.state in states and file.code == "bytes_changed"


def _is_it(path: Path, seen: FileOnDisk, file: FileRow) -> bool:
    """Whether a file that nobody knows has the bytes of a file that is missing."""
    return seen.size_bytes == file.size_bytes and (file.digest is None or holds(path, file.digest))
