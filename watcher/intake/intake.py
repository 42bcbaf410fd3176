"""Takes files out of incoming/: looks, judges, and claims, holds or refuses each.

A claim is three steps: rename into processing/<type>/, digest, ledger row. Rows are written in groups, so that many
small files cost few transactions and few syncs of folders (before the rows: where a row says a file is, it is, also
after a power cut); a crash in between leaves a file in processing/ (or held/) without a row, and
`adopt_strays` claims it as if it had just been dropped. A file is never copied and never deleted here.

Whoever else puts files into processing/ or held/ (a retry, say) does it under `Intake.lock`, with the row written
before the lock is let go; else `adopt_strays` may see the file before its row.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

from metadata.clock import Clock
from metadata.cures import cure_for, error_json
from metadata.database.models import SourceFile
from metadata.database.states import FileState
from metadata.errors import FileRefused, WorldFault
from metadata.files.folders import move_or_finish, name_with_id, write_reason
from metadata.files.moves import sync_folders
from metadata.files.names import DataFileName, is_temporary, parse_name, safe_name
from metadata.files.os_errors import DISK_FULL, world_code
from metadata.files.suffixes_and_codecs import SUFFIXES
from metadata.ids import new_id
from metadata.ledger.ledger import Ledger
from metadata.ledger.values import Arrival, HeldClaim, NewFile
from metadata.logs import Event, Severity, alert, get_logger
from metadata.registry.registry import Registry, type_name_of
from metadata.settings import Settings
from metadata.types.config import ProcessingConfig
from metadata.types.file_type import FileType, Match, TypeStatus, match_type
from watcher.intake.observer import Nominations
from watcher.intake.returned import mark_returned
from watcher.intake.stillness import (
    Decision,
    Noticed,
    NoticedBy,
    Sight,
    Tracker,
    Verdict,
    judge,
    not_regular,
    too_large,
    wrong_size,
)

log = get_logger()

GROUP_FILES = 200
"""Files whose rows are written in one transaction; also how many a crash may leave to `adopt_strays`."""

_BLOCK_BYTES = 1 << 20
_SHORT_ID = re.compile(rf"\.[0-9a-f]{{8}}(?={SUFFIXES}\Z)", re.IGNORECASE)


@dataclass(frozen=True)
class Claimed:
    """A file that now waits in its type's buffer."""

    file_id: str
    name: str
    file_type: str
    size_bytes: int


@dataclass(frozen=True)
class Held:
    """A file that no active type takes."""

    file_id: str
    name: str
    prefix: str
    reason: str


@dataclass(frozen=True)
class Refused:
    """A file that went to failed/."""

    file_id: str
    name: str
    code: str
    message: str


@dataclass(frozen=True)
class Ignored:
    """What stays in incoming/: a folder, or a file that may not be moved."""

    name: str
    reason: str


@dataclass
class ScanResult:
    """What one look did. Names are in their safe form."""

    claimed: list[Claimed] = field(default_factory=list)
    held: list[Held] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    ignored: list[Ignored] = field(default_factory=list)
    settling: dict[str, float] = field(default_factory=dict)  #: files that may still be written: seconds to wait

    @property
    def next_look_seconds(self) -> float | None:
        """When the first of the settling files could be whole; None when none is settling."""
        return min(self.settling.values(), default=None)


class _Types:
    """The registry's snapshot of one call. A broken row stands in as a switched-off type of its own name."""

    def __init__(self, types: Sequence[FileType], broken: Collection[str]) -> None:
        self.broken = frozenset(broken)
        self.discovered: set[str] = set()  #: unknown prefixes that the registry was told of in this call
        self.types = [*types, *(_stand_in(name) for name in sorted(self.broken))]
        self.names = {kind.name for kind in self.types}
        self.inactive = sum(kind.status is TypeStatus.INACTIVE and kind.definition is None for kind in self.types)
        self.fingerprint = tuple(
            (kind.name, kind.patterns, kind.status, kind.definition is None) for kind in self.types
        )  #: equal when every name is matched alike

    def count_discovery(self, prefix: str) -> None:
        """An inactive type was registered for the prefix since the snapshot, or had been before."""
        name = type_name_of(prefix)
        self.inactive += name not in self.names
        self.names.add(name)

    def match(self, data_file: DataFileName) -> Match:
        """The type that a file belongs to, whatever its status."""
        return match_type(data_file, self.types)


class Intake:
    """The only one that takes files out of incoming/. Calls may come from any thread; they run one at a time.

    `types` is the registry's snapshot, every status; `broken` the names of types whose rows cannot be read: their
    files are held. Every method raises WorldFault when a folder or the ledger does not answer; what was moved by then
    is on record or will be adopted.
    """

    def __init__(self, settings: Settings, ledger: Ledger, registry: Registry, clock: Clock) -> None:
        self.settings = settings
        self.folders = settings.folders
        self.ledger = ledger
        self.registry = registry
        self.clock = clock
        self.lock = threading.RLock()
        self._touched: dict[Path, None] = {}  #: folders in which names have changed since they were synced
        self._incoming = Tracker()
        self._strays = Tracker()
        self._told: set[tuple[str, str]] = set()  #: alerts that are given once: code and what about
        self._is_flooded = False  #: by unknown types, at the last scan
        self._released_for: tuple[object, ...] | None = None

    def scan(
        self, types: Sequence[FileType], nominations: Nominations | None = None, *, broken: Collection[str] = ()
    ) -> ScanResult:
        """Look at every entry of incoming/ and act on it, oldest first."""
        hints = nominations or Nominations()
        known = _Types(types, broken)
        with self.lock, self._round() as round_:
            now, at = self.clock.monotonic(), self.clock.now()
            sights = self._sights()
            self._incoming.keep([sight.name for sight in sights])
            for sight in sights:
                by: NoticedBy = "event" if sight.name in hints.closed or sight.name in hints.changed else "scan"
                touched = sight.name in hints.changed
                seen = self._incoming.look(sight.name, sight, now, by=by, at=at, touched=touched)
                seen = replace(seen, sight=replace(seen.sight, name=self._name_of_before(sight.name)))
                decision = judge(
                    seen,
                    now,
                    closed=sight.name in hints.closed,
                    settle_seconds=self.settings.settle_seconds,
                    max_file_bytes=self.settings.max_file_bytes,
                )
                self._act(decision, self.folders.incoming / sight.name, seen, known, round_)
            self._tell_flood(round_.flood)
            return round_.result

    def release_held(self, types: Sequence[FileType], *, broken: Collection[str] = ()) -> int:
        """Claim held files whose type is active now; returns how many. Call it before `adopt_strays`.

        Looks at the files again only when the types have changed since the last time. One that a person removed is
        marked missing.
        """
        known = _Types(types, broken)
        with self.lock:
            if known.fingerprint == self._released_for:
                return 0
            self._released_for = None
            with self._round() as round_:
                for row in self.ledger.held():
                    self._release(row, known, round_)
            if not round_.result.ignored:
                self._released_for = known.fingerprint
            return len(round_.result.claimed)

    def strays(self) -> list[Path]:
        """Files in processing/ and held/ (unknown folders too) that no ledger row knows."""
        listed = [path for kind in ("processing", "held") for path in _files_below(self.folders.source_data / kind)]
        have_rows = self.ledger.known_among([str(path) for path in listed if _is_text(str(path))])
        return [path for path in listed if str(path) not in have_rows]

    def adopt_strays(
        self, types: Sequence[FileType], *, settle: bool = False, broken: Collection[str] = ()
    ) -> ScanResult:
        """Take files in processing/ and held/ (unknown folders too) that no ledger row knows, as if just dropped.

        With `settle` they must look the same on two calls `SETTLE_SECONDS` apart: for calls while people may be
        copying files there.

        Safe while batches settle on another thread, by order: the files are listed first, the ledger is asked
        afterwards, and each file is looked at once more before it is touched. A file under settling moves away from
        its path first and has its row's path changed afterwards. So whatever of its life the list caught, either
        its row still names the listed path (left alone) or the file is no longer there (left alone). A path that is
        listed, unknown and still taken can only be a stray: new files come here only under `lock`, which we hold.
        """
        known = _Types(types, broken)
        with self.lock, self._round() as round_:
            strays = self.strays()
            self._strays.keep([str(path) for path in strays])
            now, at = self.clock.monotonic(), self.clock.now()
            for path in strays:
                try:
                    sight = Sight.of(path.name, path.lstat())
                except FileNotFoundError:
                    continue
                except OSError as error:
                    raise _world_fault("looking at", path, error) from error
                seen = self._strays.look(str(path), sight, now, by="scan", at=at, touched=False)
                seen = replace(seen, sight=replace(sight, name=name_without_id(path.name)))
                decision = judge(
                    seen,
                    now,
                    closed=False,
                    settle_seconds=self.settings.settle_seconds if settle else 0.0,
                    max_file_bytes=self.settings.max_file_bytes,
                )
                self._act(decision, path, seen, known, round_)
            return round_.result

    # -- acting on decisions --------------------------------------------------------------------------------------

    def _act(self, decision: Decision, path: Path, seen: Noticed, known: _Types, round_: _Round) -> None:
        match decision.verdict:
            case Verdict.LEAVE:
                pass
            case Verdict.IGNORE:
                self._ignore_folder(path, round_)
            case Verdict.WAIT:
                round_.result.settling[safe_name(seen.sight.name)] = decision.wait_seconds
            case Verdict.REFUSE | Verdict.TAKE:
                try:
                    self._take(decision, path, seen, known, round_)
                except _MayNotMove as error:
                    self._leave(path, error.reason, round_)

    def _take(self, decision: Decision, path: Path, seen: Noticed, known: _Types, round_: _Round) -> None:
        data_file = decision.data_file
        matched = Match(None) if data_file is None else known.match(data_file)
        kind = matched.kind
        arrival = Arrival(
            file_id=new_id(self.clock),
            name=safe_name(seen.sight.name),
            prefix=None if data_file is None else data_file.prefix,
            filename_time=None if data_file is None else data_file.time,
            size_bytes=seen.sight.size_bytes,
            modified_at=seen.sight.modified_at,
            noticed_by=seen.by,
            noticed_at=seen.at,
        )
        if decision.refusal is not None:
            self._refuse(path, arrival, decision.refusal, None if kind is None else kind.name, round_)
        elif kind is not None and kind.status is TypeStatus.ACTIVE:
            self._claim(path, arrival, kind, round_)
        elif data_file is not None:
            if path.parent == self.folders.incoming and self._is_one_too_many(data_file.prefix, matched, known):
                round_.flood.append(data_file.prefix)
                round_.result.ignored.append(Ignored(arrival.name, self._too_many(data_file.prefix)))
                return
            reason = self._why_held(data_file.prefix, matched, known)
            self._hold(path, arrival, data_file.prefix, reason, known, round_)

    def _claim(self, path: Path, arrival: Arrival, kind: FileType, round_: _Round) -> None:
        moved = self._move(path, self.folders.processing(kind.name), arrival.name, arrival.file_id)
        if moved is None:
            return
        try:
            digest, size = digest_file(moved, self.settings.max_file_bytes)
        except FileNotFoundError:
            return  # somebody took it from there
        except FileRefused as refusal:
            self._refuse(moved, arrival, refusal, kind.name, round_, folder=self.folders.failed(kind.name))
            return
        arrival = replace(arrival, digest=digest, size_bytes=size)
        round_.result.claimed.append(Claimed(arrival.file_id, arrival.name, kind.name, size))
        round_.add(
            NewFile(arrival, FileState.CLAIMED, str(moved), kind.name),
            lambda: log.info(
                Event.FILE_CLAIMED,
                file_id=arrival.file_id,
                file=arrival.name,
                file_type=kind.name,
                size_bytes=size,
                digest=digest,
                noticed_by=arrival.noticed_by,
            ),
        )

    def _hold(self, path: Path, arrival: Arrival, prefix: str, reason: str, known: _Types, round_: _Round) -> None:
        moved = self._move(path, self.folders.held(prefix), arrival.name, arrival.file_id)
        if moved is None:
            return
        if known.fingerprint != self._released_for:
            self._released_for = None
        round_.result.held.append(Held(arrival.file_id, arrival.name, prefix, reason))
        round_.add(
            NewFile(arrival, FileState.HELD, str(moved)),
            lambda: log.info(Event.FILE_HELD, file_id=arrival.file_id, file=arrival.name, prefix=prefix, reason=reason),
        )

    def _why_held(self, prefix: str, matched: Match, known: _Types) -> str:
        """The reason in words; each is an alert once. Asked before the file moves, so a crash does not swallow it."""
        kind = matched.kind
        if matched.tie:
            self._tell_once(
                Event.TYPE_TIED,
                "types_tied",
                prefix=prefix,
                file_types=list(matched.tie),
                cure="give one of them a pattern that is longer, or equal to the prefix",
            )
            return f"the types {', '.join(matched.tie)} match it equally well"
        if kind is not None and kind.name in known.broken:
            return f"the registry's row of its type {kind.name} is broken"  # whoever read the row told of it
        if kind is not None:
            self._tell_once(
                Event.FILE_HELD,
                f"type_{kind.status.value}",
                file_type=kind.name,
                cure=f"its files wait in held/; to load them: lemonade types activate {kind.name}",
            )
            return f"its type {kind.name} is {kind.status.value}"
        if self._is_one_too_many(prefix, matched, known):
            return self._too_many(prefix)
        if prefix not in known.discovered:
            known.discovered.add(prefix)
            self._tell_once(
                Event.TYPE_DISCOVERED if self.registry.discover(prefix) else Event.FILE_HELD,
                "type_unknown",
                prefix=prefix,
                cure="its files wait in held/, and a schema is drafted from them; see it: lemonade types show "
                f"{type_name_of(prefix)}; take it: lemonade types activate {type_name_of(prefix)}",
            )
            known.count_discovery(prefix)
        return f"no type matches its prefix {prefix!r}"

    def _is_one_too_many(self, prefix: str, matched: Match, known: _Types) -> bool:
        """Whether nobody knows the prefix and discovery may not register one more."""
        if matched.kind is not None or matched.tie or type_name_of(prefix) in known.names:
            return False
        return known.inactive >= self.settings.max_inactive_types

    def _too_many(self, prefix: str) -> str:
        limit = self.settings.max_inactive_types
        return f"no type matches its prefix {prefix!r}, and MAX_INACTIVE_TYPES ({limit}) are registered already"

    def _tell_flood(self, prefixes: Sequence[str]) -> None:
        """One alert for all files of unknown types that stay in incoming/, until none does."""
        if prefixes and not self._is_flooded:
            alert(
                Event.TYPE_FLOODED,
                severity=Severity.ERROR,
                code="too_many_types",
                limit=self.settings.max_inactive_types,
                files=len(prefixes),
                prefixes=list(dict.fromkeys(prefixes))[:10],
                cure="see what drops them; describe the types that are meant with `lemonade types add`, delete the "
                "rows of the others from table_metadata, or raise MAX_INACTIVE_TYPES",
            )
        self._is_flooded = bool(prefixes)

    def _refuse(
        self,
        path: Path,
        arrival: Arrival,
        refusal: FileRefused,
        file_type: str | None,
        round_: _Round,
        folder: Path | None = None,
    ) -> None:
        moved = self._move(path, folder or self.folders.failed(None), arrival.name, arrival.file_id)
        if moved is None:
            return
        round_.result.refused.append(Refused(arrival.file_id, arrival.name, refusal.code, refusal.message))
        round_.add(
            NewFile(arrival, FileState.FAILED, str(moved), file_type, refusal.code, refusal.message),
            lambda: _tell_refused(moved, arrival.file_id, arrival.name, refusal),
        )
        self._explain(moved, arrival.file_id, arrival.name, file_type, arrival.noticed_at, refusal)

    def _release(self, row: SourceFile, known: _Types, round_: _Round) -> None:
        data_file = parse_name(row.name)
        kind = known.match(data_file).kind
        path = Path(row.path)
        if kind is None or kind.status is not TypeStatus.ACTIVE:
            if not os.path.lexists(path):
                self._mark_missing(row)
            return
        try:
            moved = self._move(path, self.folders.processing(kind.name), row.name, row.id)
        except _MayNotMove as error:
            self._leave(path, error.reason, round_)
            return
        moved = moved or self._moved_before(row, kind)
        if moved is None:
            self._mark_missing(row)
            return
        try:
            digest, size = digest_file(moved, self.settings.max_file_bytes)
        except FileNotFoundError:
            self._mark_missing(row)
            return
        except FileRefused as refusal:
            failed = self._move(moved, self.folders.failed(kind.name), row.name, row.id)
            if failed is not None:
                self.ledger.refuse_claimed(row.id, str(failed), refusal.code, refusal.message)
                self._explain(failed, row.id, row.name, kind.name, row.noticed_at, refusal)
                _tell_refused(failed, row.id, row.name, refusal)
            return
        round_.result.claimed.append(Claimed(row.id, row.name, kind.name, size))
        round_.release(
            HeldClaim(row.id, kind.name, str(moved), digest, size),
            lambda: log.info(
                Event.FILE_RELEASED,
                file_id=row.id,
                file=row.name,
                file_type=kind.name,
                size_bytes=size,
                digest=digest,
            ),
        )

    def _moved_before(self, row: SourceFile, kind: FileType) -> Path | None:
        """Where a release that was cut off before its row was written has put the file."""
        for name in (name_with_id(row.name, row.id), row.name):
            path = self.folders.processing(kind.name) / name
            try:
                sight = Sight.of(name, path.lstat())
            except OSError:
                continue
            is_it = sight.size_bytes == row.size_bytes and sight.modified_at == row.modified_at
            if is_it and not self.ledger.known_among([str(path)]):
                return path
        return None

    def _mark_missing(self, row: SourceFile) -> None:
        self.ledger.mark_missing(row.id, f"it was removed from {row.path} while it was held")
        alert(
            Event.FILE_MISSING,
            severity=Severity.WARNING,
            code="missing",
            file_id=row.id,
            file=row.name,
            path=row.path,
            cure="somebody removed it while it was held; to load it, drop it into incoming/ again",
        )

    def _ignore_folder(self, path: Path, round_: _Round) -> None:
        name = safe_name(path.name)
        round_.result.ignored.append(Ignored(name, "it is a folder"))
        self._tell_once(
            Event.FOLDER_IGNORED, "folder_ignored", folder=name, cure="drop the files themselves into incoming/"
        )

    def _leave(self, path: Path, reason: str, round_: _Round) -> None:
        name = safe_name(path.name)
        round_.result.ignored.append(Ignored(name, reason))
        self._tell_once(
            Event.FILE_REFUSED,
            "may_not_move",
            severity=Severity.ERROR,
            file=name,
            error=reason,
            cure="let the daemon's user rename it (the folder's sticky bit, its owner), or drop it as that user",
        )

    def _tell_once(self, event: Event, code: str, *, severity: Severity = Severity.WARNING, **facts: object) -> None:
        """An alert that says the same thing about the same thing once in this process's life."""
        key = (code, str(next(iter(facts.values()))))
        if key not in self._told:
            self._told.add(key)
            alert(event, severity=severity, code=code, **facts)

    # -- folders --------------------------------------------------------------------------------------------------

    def _sights(self) -> list[Sight]:
        """Every entry of incoming/, oldest first."""
        sights = []
        try:
            with os.scandir(self.folders.incoming) as entries:
                for entry in entries:
                    try:
                        sights.append(Sight.of(entry.name, entry.stat(follow_symlinks=False)))
                    except FileNotFoundError:
                        continue
        except OSError as error:
            raise _world_fault("looking into", self.folders.incoming, error) from error
        return sorted(sights, key=lambda sight: (sight.mtime_ns, sight.name))

    def _move(self, source: Path, folder: Path, name: str, file_id: str) -> Path | None:
        """Move a file unless it is in `folder` already; None when somebody else took it away first."""
        if source.parent == folder and _is_text(source.name):
            return source
        try:
            moved = move_or_finish(source, folder, name, file_id)
            self._touched |= {moved.path.parent: None, source.parent: None}
            if moved.how == "finished" and self.ledger.known_among([str(moved.path)]):
                return None  # the copy was adopted meanwhile
            return moved.path
        except OSError as error:
            if not os.path.lexists(source):
                return None
            folders_are_open = all(os.access(where, os.W_OK | os.X_OK) for where in (source.parent, folder))
            if isinstance(error, PermissionError) and folders_are_open:
                raise _MayNotMove(f"moving {safe_name(str(source))} to {folder}: {error.strerror}") from error
            raise _world_fault(f"moving to {folder}", source, error) from error

    def _name_of_before(self, name: str) -> str:
        """The name of a file that comes back from one of our folders, where `move` had put a short id into it."""
        before = name_without_id(name)
        if before != name and any(name_with_id(before, row.id) == name for row in self.ledger.files(name=before)):
            return before
        return name

    def _explain(
        self,
        moved: Path,
        file_id: str,
        name: str,
        file_type: str | None,
        noticed_at: datetime,
        refusal: FileRefused,
    ) -> None:
        why = error_json(
            code=refusal.code,
            message=refusal.message,
            file_id=file_id,
            name=name,
            file_type=file_type,
            attempts=0,
            noticed_at=noticed_at,
            claimed_at=None,
            settled_at=self.clock.now(),
        )
        try:
            write_reason(moved, why)
        except OSError as error:
            raise _world_fault("writing the reason beside", moved, error) from error

    def _sync_touched(self) -> None:
        """Bring to disk where files have moved; the new place comes before the one that was left."""
        touched, self._touched = self._touched, {}
        try:
            sync_folders(touched)
        except OSError as error:
            raise _world_fault("syncing folders below", self.folders.source_data, error) from error

    @contextmanager
    def _round(self) -> Iterator[_Round]:
        """One call's work; its rows are written when it ends, however it ends: the files have moved already."""
        if not self.folders.are_there():
            base = self.folders.source_data
            raise WorldFault(
                f"looking into {base}: there is no processing/ in it; mount its disk, or run: lemonade init",
                code="folder_away",
            )
        round_ = _Round(self.ledger, self._sync_touched)
        try:
            yield round_
        finally:
            round_.write()


class _MayNotMove(Exception):
    """One file cannot be moved although its folders can be written: the others can go on."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class _Round:
    """Rows and log lines of one call, written in groups: first the row, then the line that tells of it."""

    def __init__(self, ledger: Ledger, sync: Callable[[], None]) -> None:
        self.ledger = ledger
        self.sync = sync
        self.result = ScanResult()
        self.flood: list[str] = []  #: prefixes of files that stay in incoming/, one too many unknown types
        self._rows: list[NewFile] = []
        self._releases: list[HeldClaim] = []
        self._lines: list[Callable[[], None]] = []

    def add(self, row: NewFile, line: Callable[[], None]) -> None:
        """A file left incoming/ (or was a stray)."""
        self._rows.append(row)
        self._said(line)

    def release(self, claim: HeldClaim, line: Callable[[], None]) -> None:
        """A held file was claimed."""
        self._releases.append(claim)
        self._said(line)

    def write(self) -> None:
        """Bring what is collected on record."""
        rows, releases, lines = self._rows, self._releases, self._lines
        self._rows, self._releases, self._lines = [], [], []
        self.sync()
        self.ledger.add_many(rows)
        mark_returned(self.ledger, rows)
        self.ledger.claim_held_many(releases)
        for line in lines:
            line()

    def _said(self, line: Callable[[], None]) -> None:
        self._lines.append(line)
        if len(self._lines) >= GROUP_FILES:
            self.write()


def digest_file(path: Path, max_file_bytes: int) -> tuple[str, int]:
    """SHA-256 in hexadecimal and number of the bytes that are in the file now.

    Opens only what `lstat` says is a regular file, follows no link, and never waits for a pipe's other end. Raises
    FileRefused, or FileNotFoundError when it is gone; WorldFault when the disk does not answer.
    """
    name = path.name
    try:
        sight = Sight.of(name, path.lstat())
        if not sight.is_regular:
            raise not_regular(sight)
        refusal = wrong_size(name, sight.size_bytes, max_file_bytes)
        if refusal is not None:
            raise refusal
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb", buffering=0) as stream:
            if Sight.of(name, os.fstat(descriptor)).inode != sight.inode:
                raise FileRefused(
                    f"opening {safe_name(name)!r}: another file took its place meanwhile; drop it again",
                    code="unreadable",
                )
            digest, size = hashlib.sha256(), 0
            while block := stream.read(_BLOCK_BYTES):
                digest.update(block)
                size += len(block)
                if size > max_file_bytes:
                    raise too_large(name, size, max_file_bytes)
    except FileNotFoundError:
        raise
    except PermissionError as error:
        raise FileRefused(
            f"opening {safe_name(name)!r}: {error.strerror}; let the daemon's user read it, then drop it again",
            code="unreadable",
        ) from error
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):
            raise FileRefused(
                f"opening {safe_name(name)!r}: it is no regular file any more; drop the file itself",
                code="not_a_regular_file",
            ) from error
        raise _world_fault("reading", path, error) from error
    return digest.hexdigest(), size


def _files_below(folder: Path) -> list[Path]:
    """Everything below that is no folder and has no temporary name; follows no link. What vanishes is left out."""
    found: list[Path] = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    found += _files_below(folder / entry.name)
                elif not is_temporary(entry.name):
                    found.append(folder / entry.name)
    except FileNotFoundError:
        return found
    except OSError as error:
        raise _world_fault("looking into", folder, error) from error
    return found


def _stand_in(name: str) -> FileType:
    return FileType(
        name=name,
        table_name=name,
        patterns=(name,),
        status=TypeStatus.DISABLED,
        definition=None,
        schema_version=1,
        config=ProcessingConfig(),
    )


def name_without_id(name: str) -> str:
    """The name that a file had before `move` put a short id into it; other names stay as they are."""
    try:
        parse_name(name)
    except FileRefused:
        return _SHORT_ID.sub("", name)
    return name


def _is_text(path: str) -> bool:
    """Whether a path can be in the ledger at all; bytes that are no UTF-8 cannot."""
    return safe_name(path) == path


def _tell_refused(moved: Path, file_id: str, name: str, refusal: FileRefused) -> None:
    alert(
        Event.FILE_REFUSED,
        severity=Severity.ERROR,
        code=refusal.code,
        file_id=file_id,
        file=name,
        error=refusal.message,
        path=str(moved),
        cure=cure_for(refusal.code),
    )


def _world_fault(doing: str, path: Path, error: OSError) -> WorldFault:
    code = world_code(error, "folder_away")
    cure = {
        DISK_FULL: "free some space",
        "folder_away": "check that the folder is there and writable and its disk well; lemonade init makes folders",
    }[code]
    return WorldFault(f"{doing}, {safe_name(str(path))!r}: {error.strerror or error}; {cure}", code=code)
