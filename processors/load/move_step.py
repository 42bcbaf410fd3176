"""Settle: source files move from processing/ to their end, with their reason beside those that were not loaded.

Repeating a move is harmless: a file that is no longer in processing/ is looked for at its end.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from metadata.clock import Clock
from metadata.cures import cure_for, error_json
from metadata.database.models import SourceFile
from metadata.database.states import FileState
from metadata.errors import BytesChanged, WorldFault
from metadata.files.cut_off_moves import find_moved
from metadata.files.digest import holds
from metadata.files.folders import Folders, move_or_finish, name_with_id, write_reason
from metadata.files.missing_files import tell_missing
from metadata.files.moves import sync_folders
from metadata.files.os_errors import waited_out, world_fault
from metadata.ids import new_id
from metadata.ledger.ledger import Ledger
from metadata.ledger.values import Arrival
from metadata.logs import Event, Severity, alert, get_logger
from metadata.outage import Outage
from processors.load.changed_since_read import changed_since_read

log = get_logger()
_CURE = "check the folder's permissions and free space"
_MUST_BE_WHAT_WAS_READ = frozenset({FileState.LOADED, FileState.DUPLICATE})


class Settler:
    """Moves the files of a recorded batch; while the world is away it waits, at each file anew."""

    def __init__(self, ledger: Ledger, folders: Folders, clock: Clock, outage: Outage) -> None:
        self.ledger = ledger
        self.folders = folders
        self.clock = clock
        self.outage = outage

    def settle_files(self, files: Iterable[SourceFile]) -> None:
        """Move each file to the end that its state names, then write all new paths in one transaction.

        Before that the folders are synced, each once: where the ledger says a file is, it is after a power cut.
        Files in other states stay where they are. Raises WorldFault when it drains while a folder cannot be written.
        """
        paths: dict[str, str] = {}
        targets: set[Path] = set()
        sources: set[Path] = set()
        for file in files:
            folder = self._end(file)
            if folder is None:
                continue
            moved = self.outage.wait_out(self._settle, file, folder)
            if file.state == FileState.DUPLICATE:
                log.info(Event.FILE_DUPLICATE, file_id=file.id, file=file.name, file_type=file.file_type)
            paths[file.id] = str(moved)
            targets.add(moved.parent)
            sources.add(Path(file.path).parent)
        if paths:
            # A name may be there twice after a power cut, but never nowhere.
            self.outage.wait_out(sync_folders, [*targets, *sources])
            self.outage.wait_out(self.ledger.files_settled, paths)

    def _settle(self, file: SourceFile, folder: Path) -> Path:
        moved = self._unless_rewritten(file, folder) or self._move(file, folder)
        is_there = moved.parent == folder  # else somebody removed it, and there is nothing to put a reason beside
        if is_there and file.state in (FileState.FAILED, FileState.ERROR):
            self._explain(file, moved)
        return moved

    def _end(self, file: SourceFile) -> Path | None:
        file_type = file.file_type or "unknown"
        match FileState(file.state):
            case FileState.LOADED:
                return self.folders.processed(file_type, self.clock.now().date())
            case FileState.FAILED:
                return self.folders.failed(file_type)
            case FileState.ERROR:
                return self.folders.error(file_type)
            case FileState.DUPLICATE:
                return self.folders.duplicate(file_type)
            case FileState.UNDONE:
                return self.folders.undone(file_type)
            case _:
                return None

    def _unless_rewritten(self, file: SourceFile, folder: Path) -> Path | None:
        """Where a file ends in whose place other bytes lie than were read; these are a new arrival, with an alert.

        None for any other file: it is moved.
        """
        source = Path(file.path)
        if file.code == BytesChanged.code:
            return source  # noticed before (and then undone, say): there is no copy to move
        if FileState(file.state) not in _MUST_BE_WHAT_WAS_READ or _is_at_end(source, file, folder):
            return None
        try:
            other = changed_since_read(source, file)
        except OSError as error:
            raise world_fault(f"reading {source} again", error, "check the disk or network") from error
        if other is None:
            return None
        if (found := self._found_at_end(file, folder)) is not None:
            return found  # moved by a process that died before it wrote the path; a later file took the place
        done = "it was loaded" if file.state == FileState.LOADED else "it was found to be a duplicate"
        arrival = Arrival(
            file_id=new_id(self.clock),
            name=file.name,
            prefix=file.prefix,
            filename_time=file.filename_time,
            size_bytes=other.size_bytes,
            modified_at=other.modified_at,
            noticed_by="scan",
            noticed_at=self.clock.now(),
            digest=other.digest,
        )
        message = (
            f"settling {file.name}: somebody wrote to it after {done}, so no copy of what was read exists any more; "
            f"what lies there now was claimed as file {arrival.file_id}"
        )
        nowhere = folder / name_with_id(file.name, file.id)
        self.ledger.renew(file.id, str(nowhere), message, arrival)
        alert(
            Event.FILE_CHANGED,
            severity=Severity.WARNING,
            code="changed_after_load",
            file_id=file.id,
            file=file.name,
            state=file.state,
            new_file_id=arrival.file_id,
            error=message,
            cure=f"if the new bytes hold old records too: lemonade undo {file.id}; its producer should rename files in",
        )
        return nowhere

    def _move(self, file: SourceFile, folder: Path) -> Path:
        source = Path(file.path)
        if _is_at_end(source, file, folder):
            return source  # an earlier walk moved it and wrote its path
        try:
            return move_or_finish(source, folder, file.name, file.id, _other_days(folder, file)).path
        except FileNotFoundError:
            return self._moved_before(file, folder) or source
        except OSError as error:
            raise world_fault(f"moving {source} to {folder}", error, _CURE) from error

    def _moved_before(self, file: SourceFile, folder: Path) -> Path | None:
        """Where a process that died right after the rename has put the file; None when a person removed it."""
        if (found := self._found_at_end(file, folder)) is not None:
            return found
        if not self.folders.are_there():
            raise WorldFault(f"moving {file.path}: {self.folders.source_data} is away; mount it", code="folder_away")
        cure = "somebody removed it from processing/; its rows, if it was loaded, are in the table"
        tell_missing(file.id, file.name, state=file.state, cure=cure)
        return None

    def _found_at_end(self, file: SourceFile, folder: Path) -> Path | None:
        """Where the bytes that were read lie already, at the file's end."""
        with waited_out(f"looking for {file.name} below {folder.parent}", _CURE):
            days = (folder, *_other_days(folder, file))
            return find_moved(days, file.name, file.id, lambda path: holds(path, file.digest))

    def _explain(self, file: SourceFile, moved: Path) -> None:
        reason = error_json(
            code=file.code,
            message=file.message,
            file_id=file.id,
            name=file.name,
            file_type=file.file_type,
            attempts=file.attempts,
            noticed_at=file.noticed_at,
            claimed_at=file.claimed_at,
            settled_at=self.clock.now(),
        )
        with waited_out(f"writing the reason beside {moved}", _CURE):
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
            cure=cure_for(file.code),
        )


def _is_at_end(source: Path, file: SourceFile, folder: Path) -> bool:
    """Whether `source` is in the folder of its end; for a loaded file, in that of any day."""
    return source.parent == folder or (
        file.state == FileState.LOADED and source.parent.parent == folder.parent and source.is_file()
    )


def _other_days(folder: Path, file: SourceFile) -> list[Path]:
    """For a loaded file: its type's load-date folders since it was claimed (the walk may happen on a later day)."""
    if file.state != FileState.LOADED or not folder.parent.is_dir():
        return []
    first = file.claimed_at.date().isoformat() if file.claimed_at else ""
    return sorted(day for day in folder.parent.iterdir() if day.is_dir() and day != folder and day.name >= first)
