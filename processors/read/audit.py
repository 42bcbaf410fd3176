"""The audit: do the books balance? Ledger, folders and tables are compared, and each difference is a finding.

It only reads, and may run beside a daemon at work. What is in flight is no fault: files and rows of micro-batches and
operations that are not settled are left out and counted as in work. The three are looked at one after another (the
folders first, then the ledger in one transaction, then the tables), so a first look may see halves of what happened in
between; a finding counts only when a second look sees it too.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from metadata.clock import Clock
from metadata.database.states import FileState
from metadata.errors import FileRefused, TypeStopped, WorldFault
from metadata.files.folders import Folders, name_with_id
from metadata.files.names import parse_name
from metadata.ledger.books import BatchRow, FileRow, Scope, known_batches, known_files, read_books
from metadata.ledger.ledger import Ledger
from metadata.registry.registry import Registry
from metadata.settings import Settings
from processors.lake.lake import Lake
from processors.lake.quarantine_table import TABLE as QUARANTINE
from processors.read.lineage import Lineage, LineageReader

KINDS = ("processing", "held", "failed", "error", "duplicate", "undone")
_JUST_ARRIVED_SECONDS = 60.0  # a claim moves its file first and writes the row afterwards
_SHOWN_IDS = 3
_HAVE_ROWS = frozenset({FileState.LOADED, FileState.MISSING})  # a missing file's row keeps what it had loaded before


class Code(StrEnum):
    """What does not balance."""

    FILE_MOVED = "file_moved"  #: a source file is not where the ledger has it, but in another of our folders
    FILE_MISSING_ON_DISK = "file_missing_on_disk"  #: a source file is not where the ledger has it, nor elsewhere
    FILE_MISPLACED = "file_misplaced"  #: the ledger has a file where its state does not belong
    FILE_CHANGED = "file_changed"  #: a loaded file has another size than the one that was loaded
    FILE_FORGOTTEN = "file_forgotten"  #: a file is in a micro-batch that is over
    UNKNOWN_FILE = "unknown_file"  #: a file lies in one of our folders that the ledger does not know
    COUNTS_DISAGREE = "counts_disagree"  #: two numbers of the ledger that must be equal are not
    ROWS_MISSING = "rows_missing"  #: a table has fewer rows of a file or batch than the ledger
    ROWS_EXTRA = "rows_extra"  #: a table has more rows of a file than the ledger
    ROWS_UNKNOWN = "rows_unknown"  #: a table has rows of no file or batch of the ledger
    DATA_FILE_MISSING = "data_file_missing"  #: a data file of a table is gone
    DATA_FILE_CHANGED = "data_file_changed"  #: a data file has another length than the one that was committed
    DATA_FILE_UNREADABLE = "data_file_unreadable"  #: a data file cannot be read
    SNAPSHOT_GONE = "snapshot_gone"  #: a batch's or operation's snapshot was rolled back
    TABLE_MISSING = "table_missing"  #: the catalog has no such table, but batches were loaded into it
    TABLE_BROKEN = "table_broken"  #: the table's own metadata or manifests are gone


CURES = {
    Code.FILE_MOVED: "move it back",
    Code.FILE_MISSING_ON_DISK: "bring it back from a backup; rows that were loaded from it are not touched by this",
    Code.FILE_MISPLACED: "somebody edited the ledger, or moved the folders: set its path right",
    Code.FILE_CHANGED: "somebody wrote to it after it was loaded; bring the loaded bytes back, or drop it again",
    Code.FILE_FORGOTTEN: "report this as a bug; its batch is on record",
    Code.UNKNOWN_FILE: "if it is a delivery, move it into incoming/; else take it away",
    Code.COUNTS_DISAGREE: "somebody edited the ledger: compare with `lemonade batches` and a backup, set it right",
    Code.ROWS_MISSING: "somebody deleted rows: bring the table's earlier snapshot back, or undo the file and retry it",
    Code.ROWS_EXTRA: "somebody else wrote to the table, or edited the ledger: see the table's history",
    Code.ROWS_UNKNOWN: "somebody else wrote to the table, or the ledger was restored: lemonade recover",
    Code.DATA_FILE_MISSING: "bring it back from a backup; else undo its batch and retry the files",
    Code.DATA_FILE_CHANGED: "bring it back from a backup; else undo its batch and retry the files",
    Code.DATA_FILE_UNREADABLE: "see its rights and the disk; else undo its batch and retry the files",
    Code.SNAPSHOT_GONE: "somebody rolled the table back: set its main branch forward again",
    Code.TABLE_MISSING: "bring it back in the catalog, from its last metadata file",
    Code.TABLE_BROKEN: "bring the file back from a backup",
}


@dataclass(frozen=True)
class Finding:
    """One difference; `thing` is what a person would look for."""

    code: Code
    thing: str
    expected: str
    found: str

    @property
    def cure(self) -> str:
        """What to do about it."""
        return CURES[self.code]

    def line(self) -> str:
        """On one line, for people."""
        return f"{self.code}: {self.thing}: expected {self.expected}, found {self.found}; {self.cure}"


@dataclass
class Audit:
    """What an audit saw; numbers are of what it compared, without what is in work."""

    files: int = 0
    batches: int = 0
    tables: int = 0
    data_files: int = 0
    rows: int = 0
    rejected: int = 0  #: rows of the quarantine
    files_in_work: int = 0
    batches_in_work: int = 0
    operations_in_work: int = 0
    findings: list[Finding] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def balanced(self) -> bool:
        """Whether there is nothing to find."""
        return not self.findings


def audit(
    settings: Settings,
    ledger: Ledger,
    registry: Registry,
    lake: Lake,
    clock: Clock,
    scope: Scope | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Audit:
    """Compare ledger, folders and tables; changes nothing. `stop()` is asked between data files.

    Raises WorldFault when one of the three is away, Busy when it was told to stop.
    """
    began = clock.monotonic()
    scope = scope or Scope()
    reader = LineageReader(lake, scope, stop)

    def look() -> Audit:
        return _Look(settings.folders, ledger, registry, clock, scope, reader).all()

    result = look()
    if result.findings:
        seen = {(finding.code, finding.thing) for finding in result.findings}
        result = look()
        result.findings = [finding for finding in result.findings if (finding.code, finding.thing) in seen]
    result.seconds = clock.monotonic() - began
    return result


class _BatchCommit(NamedTuple):
    """What a batch added to one table."""

    batch: BatchRow
    rows: int
    snapshot_id: int | None


class _Seen(NamedTuple):
    """A file on disk."""

    size_bytes: int
    changed_at: float  #: when it was moved there, or written to; seconds since the epoch


class _Look:
    """One look at everything."""

    def __init__(
        self,
        folders: Folders,
        ledger: Ledger,
        registry: Registry,
        clock: Clock,
        scope: Scope,
        reader: LineageReader,
    ) -> None:
        self.folders = folders
        self.ledger = ledger
        self.registry = registry
        self.clock = clock
        self.scope = scope
        self.reader = reader
        self.audit = Audit()

    def all(self) -> Audit:
        """The folders, the ledger, the tables, in this order."""
        on_disk = dict(_lying(self.folders))
        self.books = read_books(self.ledger.database, self.scope)
        self._files(on_disk)
        self._counts()
        self._tables()
        self.audit.operations_in_work = sum(operation.in_work for operation in self.books.operations)
        return self.audit

    def _find(self, code: Code, thing: str, expected: object, found: object) -> None:
        self.audit.findings.append(Finding(code, thing, str(expected), str(found)))

    # -- source files ---------------------------------------------------------------------------------------------

    def _files(self, on_disk: dict[str, _Seen]) -> None:
        missing: list[FileRow] = []
        unknown = dict(on_disk)
        for file in self.books.files:
            unknown.pop(file.path, None)
            if self.books.in_work(file):
                self.audit.files_in_work += 1
                continue
            self.audit.files += 1
            if file.state == FileState.BATCHED:
                self._find(
                    Code.FILE_FORGOTTEN, _named(file), "a batch in work", f"batch {file.batch_id}, which is over"
                )
            if file.state == FileState.MISSING:
                continue
            seen = on_disk.get(file.path) or _look_at(Path(file.path))
            if seen is None:
                if not _is_told_lost(file):
                    missing.append(file)
                continue
            self._place(file)
            if file.state == FileState.LOADED and seen.size_bytes != file.size_bytes:
                self._find(Code.FILE_CHANGED, _named(file), f"{file.size_bytes} bytes", f"{seen.size_bytes} bytes")
        self._unknown(self._really_unknown(unknown), missing)

    def _place(self, file: FileRow) -> None:
        """Its state names the folder in which it must lie."""
        folder = _folder_of(self.folders, FileState(file.state))
        if folder is not None and not Path(file.path).is_relative_to(folder):
            self._find(Code.FILE_MISPLACED, _named(file), f"{file.state}, in {folder}", file.path)

    def _really_unknown(self, unlisted: dict[str, _Seen]) -> dict[str, _Seen]:
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

    def _unknown(self, unknown: dict[str, _Seen], missing: list[FileRow]) -> None:
        """Pair files that are missing with files that nobody knows: those were moved by hand."""
        by_name: dict[str, list[str]] = defaultdict(list)
        for path in unknown:
            by_name[Path(path).name].append(path)
        now = self.clock.now().timestamp()
        processing = str(self.folders.source_data / "processing") + os.sep
        held = str(self.folders.source_data / "held") + os.sep
        for file in missing:
            names = {Path(file.path).name, file.name, name_with_id(file.name, file.id)}
            candidates = [path for name in names for path in by_name.get(name, []) if path in unknown]
            moved = next((path for path in candidates if _is_it(Path(path), unknown[path], file)), None)
            if moved is None:
                self._find(Code.FILE_MISSING_ON_DISK, _named(file), file.path, "nothing")
                continue
            seen = unknown.pop(moved)
            if moved.startswith(processing) and abs(now - seen.changed_at) < _JUST_ARRIVED_SECONDS:
                self.audit.files_in_work += 1
            else:
                self._find(Code.FILE_MOVED, _named(file), file.path, moved)
        for path, seen in sorted(unknown.items()):
            if path.startswith((processing, held)) and abs(now - seen.changed_at) < _JUST_ARRIVED_SECONDS:
                self.audit.files_in_work += 1
            else:
                self._find(Code.UNKNOWN_FILE, path, "a file of the ledger, or none", f"{seen.size_bytes} bytes")

    # -- the ledger's own numbers ---------------------------------------------------------------------------------

    def _counts(self) -> None:
        """Records = loaded + rejected, of each file; and a batch's numbers are the sums of its files'."""
        entries = {(entry.batch_id, entry.file_id): entry for of in self.books.entries.values() for entry in of}
        for file in self.books.files:
            if file.state != FileState.LOADED or self.books.in_work(file):
                continue
            if file.records != (file.rows or 0) + (file.rejected or 0):
                sums = f"{file.rows} rows + {file.rejected} rejected"
                self._find(Code.COUNTS_DISAGREE, f"{_named(file)}, records", sums, f"{file.records} records")
            if file.rows_in_quarantine < 0:
                taken = f"{file.replayed} replayed + {file.discarded} discarded"
                self._find(Code.COUNTS_DISAGREE, f"{_named(file)}, rejected", taken, f"{file.rejected} rejected")
            entry = entries.get((file.batch_id or "", file.id))
            if entry is None:
                self._find(Code.COUNTS_DISAGREE, f"{_named(file)}, batch", "a batch that has it", file.batch_id)
                continue
            theirs, ours = (entry.records, entry.rows, entry.rejected), (file.records, file.rows, file.rejected)
            if theirs != ours:
                words = "records {}, rows {}, rejected {}"
                self._find(
                    Code.COUNTS_DISAGREE,
                    f"{_named(file)} in batch {file.batch_id}",
                    words.format(*theirs),
                    words.format(*ours),
                )
        for batch in self.books.batches.values():
            if batch.in_work:
                self.audit.batches_in_work += 1
                continue
            if batch.state == "abandoned":
                continue
            self.audit.batches += 1
            self._batch_counts(batch)

    def _batch_counts(self, batch: BatchRow) -> None:
        of = self.books.entries.get(batch.id, [])
        sums = {
            "records": (batch.records, sum(entry.records or 0 for entry in of)),
            "rows": (batch.expected_rows, sum(entry.rows or 0 for entry in of)),
            "rejected": (batch.rejected, sum(entry.rejected or 0 for entry in of)),
            "rows of its data files": (
                batch.expected_rows,
                self.books.data_file_rows.get((batch.id, batch.table_name), 0),
            ),
            "quarantine_rows": (
                batch.quarantine_rows,
                sum(entry.rejected or 0 for entry in of if entry.outcome == FileState.LOADED),
            ),
            "rows of its quarantine's data files": (
                batch.quarantine_rows,
                self.books.data_file_rows.get((batch.id, QUARANTINE), 0),
            ),
        }
        if batch.quarantine_rows is not None:
            rejected = sums["rejected"][1]
            sums["reasons of its rejected records"] = (self.books.reasons.get(batch.id, 0), rejected)
        for what, (said, counted) in sums.items():
            if (said or 0) != counted:
                self._find(Code.COUNTS_DISAGREE, f"batch {batch.id}, {what}", f"{counted} in its files", said)

    # -- tables -----------------------------------------------------------------------------------------------------

    def _tables(self) -> None:
        kinds = [
            kind for kind in self.registry.read().types if self.scope.file_type in (None, kind.name) and kind.definition
        ]
        loaded = {batch.table_name for batch in self.books.batches.values() if batch.expected_rows}
        has_rejected = any(batch.quarantine_rows for batch in self.books.batches.values())
        expected: dict[str, Counter[tuple[str, str]]] = defaultdict(Counter)
        for file in self.books.files:
            batch = self.books.batches.get(file.batch_id or "")
            if file.state in _HAVE_ROWS and batch is not None and not self.books.in_work(file):
                expected[batch.table_name][(batch.id, file.id)] = file.rows_in_table
                if file.rejected:
                    expected[QUARANTINE][(batch.id, file.id)] = file.rows_in_quarantine
        for name in sorted(loaded | {kind.table_name for kind in kinds}):
            self._table(name, expected[name], must_exist=name in loaded)
        self._table(QUARANTINE, expected[QUARANTINE], must_exist=has_rejected)
        summaries = {table for kind in kinds if (table := kind.summary_table)}
        for name in sorted(summaries):
            self._table(name, None, must_exist=False)

    def _table(self, name: str, expected: Counter[tuple[str, str]] | None, *, must_exist: bool) -> None:
        """Compare one table with the rows it must have; None: only its data files are looked at."""
        is_quarantine = name == QUARANTINE
        commits = [
            _BatchCommit(batch, batch.quarantine_rows or 0, batch.quarantine_snapshot_id)
            if is_quarantine
            else _BatchCommit(batch, batch.expected_rows or 0, batch.snapshot_id)
            for batch in self.books.batches.values()
            if not batch.in_work and (is_quarantine or batch.table_name == name)
        ]
        try:
            lineage = self.reader.read(name)
        except TypeStopped as broken:
            self._find(Code.TABLE_BROKEN, f"table {name}", "its own files", broken.message)
            return
        if lineage is None:
            if must_exist and any(commit.rows and commit.batch.state == "settled" for commit in commits):
                self._find(Code.TABLE_MISSING, f"table {name}", f"{sum((expected or {}).values())} rows", "no table")
            return
        self.audit.tables += 1
        self.audit.data_files += lineage.data_files
        for bad in lineage.bad:
            self._find(Code(bad.code), f"data file {bad.path} of {name}", f"{bad.rows} rows", bad.found)
        gone = self._snapshots(name, lineage, commits)
        if expected is not None:
            self._rows(name, expected, lineage, gone)

    def _snapshots(self, name: str, lineage: Lineage, commits: list[_BatchCommit]) -> set[str]:
        """Snapshots of settled batches and operations that were rolled back; the ids of those batches."""
        gone = set()
        for batch, rows, snapshot_id in commits:
            if snapshot_id in lineage.rolled_back:
                gone.add(batch.id)
                thing = f"snapshot {snapshot_id} of batch {batch.id} in {name}"
                self._find(Code.SNAPSHOT_GONE, thing, f"{rows} rows in the table's history", "rolled back")
        for operation in self.books.operations:
            snapshot_id = operation.quarantine_snapshot_id if name == QUARANTINE else operation.snapshot_id
            is_here = name in (operation.table_name, QUARANTINE)
            if is_here and not operation.in_work and snapshot_id in lineage.rolled_back:
                thing = f"snapshot {snapshot_id} of {operation.kind} {operation.id} in {name}"
                self._find(Code.SNAPSHOT_GONE, thing, "it in the table's history", "rolled back")
        return gone

    def _rows(self, name: str, expected: Counter[tuple[str, str]], lineage: Lineage, gone: set[str]) -> None:
        lost = _Lost(gone, lineage)
        short: dict[str, list[tuple[str, int, int]]] = defaultdict(list)
        for (batch_id, file_id), rows in expected.items():
            found = lineage.pairs.get((batch_id, file_id), 0)
            if name == QUARANTINE:
                self.audit.rejected += min(rows, found)
            else:
                self.audit.rows += min(rows, found)
            if found < rows:
                short[batch_id].append((file_id, rows, found))
            elif found > rows:
                self._find(Code.ROWS_EXTRA, self._thing(file_id, batch_id, name), f"{rows} rows", f"{found} rows")
        for batch_id, files in short.items():
            self._short(name, batch_id, files, lost)
        self._strangers(name, expected, lineage)

    def _short(self, name: str, batch_id: str, files: list[tuple[str, int, int]], lost: _Lost) -> None:
        """A batch has fewer rows than it must have: unless a finding says why already, each file is told."""
        rows = sum(rows for _, rows, _ in files)
        found = sum(found for _, _, found in files)
        if lost.explains(batch_id, rows - found):
            return
        if found == 0 and len(files) > _SHOWN_IDS:
            self._find(Code.ROWS_MISSING, f"batch {batch_id} in {name}", f"{rows} rows of {len(files)} files", "0 rows")
            return
        for file_id, its_rows, its_found in files:
            thing = self._thing(file_id, batch_id, name)
            self._find(Code.ROWS_MISSING, thing, f"{its_rows} rows", f"{its_found} rows")

    def _strangers(self, name: str, expected: Counter[tuple[str, str]], lineage: Lineage) -> None:
        """Rows that nobody expects here."""
        strangers = {pair: rows for pair, rows in lineage.pairs.items() if pair not in expected}
        database = self.ledger.database
        files = known_files(database, {file_id for _, file_id in strangers if file_id})
        batches = known_batches(database, {batch_id for batch_id, _ in strangers if batch_id})
        by_id = {file.id: file for file in self.books.files}
        unknown: Counter[str] = Counter()
        for (batch_id, file_id), rows in strangers.items():
            if batch_id not in batches:
                unknown[f"rows of batch {batch_id} in {name}"] += rows
            elif file_id not in files:
                unknown[f"rows of file {file_id} in {name}"] += rows
            elif file_id in by_id and not self._on_its_way(str(batch_id), by_id[file_id]):
                file = by_id[file_id]
                thing = self._thing(file.id, str(batch_id), name)
                self._find(Code.ROWS_EXTRA, thing, f"0 rows, for it is {file.state}", f"{rows} rows")
        for thing, rows in unknown.items():
            self._find(Code.ROWS_UNKNOWN, thing, "none", f"{rows} rows")

    def _on_its_way(self, batch_id: str, file: FileRow) -> bool:
        batch = self.books.batches.get(batch_id)
        return self.books.in_work(file) or (batch is not None and batch.in_work)

    def _thing(self, file_id: str, batch_id: str, name: str) -> str:
        return f"rows of file {file_id}, batch {batch_id}, in {name}"


class _Lost:
    """What other findings have said of lost rows, so that each cause is told once."""

    def __init__(self, gone: set[str], lineage: Lineage) -> None:
        self.gone = gone
        self.bad_rows: Counter[str | None] = Counter()
        for bad in lineage.bad:
            self.bad_rows[bad.batch_id] += bad.rows

    def explains(self, batch_id: str, rows: int) -> bool:
        """Whether a rolled-back snapshot or a lost data file accounts for `rows` missing rows of a batch."""
        return batch_id in self.gone or rows <= self.bad_rows[batch_id] + self.bad_rows[None]


def _named(file: FileRow) -> str:
    return f"file {file.name} ({file.id})"


def _is_told_lost(file: FileRow) -> bool:
    """Whether the ledger says itself that no copy is left: somebody wrote to the file after it had been read."""
    states = (FileState.LOADED, FileState.DUPLICATE, FileState.UNDONE, FileState.REPLACED)
    return file.state in states and file.code == "bytes_changed"


def _folder_of(folders: Folders, state: FileState) -> Path | None:
    """The folder in which files of a state lie; None for those that may lie in several."""
    kinds = {
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
    return folders.source_data / kinds[state] if state in kinds else None


def _lying(folders: Folders) -> Iterator[tuple[str, _Seen]]:
    """Everything in our folders that is no folder."""
    for folder in (*(folders.source_data / kind for kind in KINDS), folders.processed_base):
        yield from _below(folder)


def _below(folder: Path) -> Iterator[tuple[str, _Seen]]:
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                try:
                    if entry.is_dir(follow_symlinks=False):
                        yield from _below(Path(entry.path))
                    else:
                        status = entry.stat(follow_symlinks=False)
                        yield entry.path, _Seen(status.st_size, status.st_ctime)
                except FileNotFoundError:
                    continue  # it was moved on meanwhile
    except FileNotFoundError:
        return
    except OSError as error:
        raise WorldFault(
            f"looking into {folder}: {error.strerror}; check that this user may read it", code="folder_away"
        ) from error


def _look_at(path: Path) -> _Seen | None:
    try:
        status = path.lstat()
    except OSError:
        return None
    return _Seen(status.st_size, status.st_ctime)


def _is_it(path: Path, seen: _Seen, file: FileRow) -> bool:
    """Whether a file that nobody knows has the bytes of a file that is missing."""
    if seen.size_bytes != file.size_bytes:
        return False
    if file.digest is None:
        return True
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest() == file.digest
    except OSError:
        return False
