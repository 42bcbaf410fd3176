"""Takes files out of incoming/: looks, judges (`stillness`), and has each claimed, held or refused (`claiming`).

Rows are written in groups (`round`); a crash before they are leaves a file in processing/ (or held/) without a row, and
`adopt_strays` claims it as if it had just been dropped. A file is never deleted here.

Whoever else puts files into processing/ or held/ (a retry, say) does it under `Intake.lock`, with the row written
before the lock is let go; else `adopt_strays` may see the file before its row.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from metadata.clock import Clock
from metadata.errors import WorldFault
from metadata.files.folders import name_with_id, name_without_id
from metadata.files.names import is_temporary
from metadata.ledger.ledger import Ledger
from metadata.registry.registry import Registry
from metadata.settings import Settings
from metadata.types.file_type import FileType
from watcher.intake.alerts_once import AlertsOnce
from watcher.intake.claiming import Claiming, is_text
from watcher.intake.folder_faults import folder_fault, folders_answer
from watcher.intake.nominations import Nominations
from watcher.intake.round import Round
from watcher.intake.scan_result import ScanResult
from watcher.intake.stillness import Decision, Noticed, NoticedBy, Sight, Tracker, judge
from watcher.intake.unknown_types import KnownTypes, UnknownTypes


class Intake:
    """The only one that takes files out of incoming/. Calls may come from any thread; they run one at a time.

    `types` is the registry's snapshot, every status; `broken` the names of types whose rows cannot be read: their
    files are held. Every method raises WorldFault when a folder or the ledger does not answer; what was moved by then
    is on record or will be adopted.
    """

    def __init__(self, settings: Settings, ledger: Ledger, registry: Registry, clock: Clock) -> None:
        self.settings = settings
        self.ledger = ledger
        self.clock = clock
        self.lock = threading.RLock()
        alerts = AlertsOnce()
        self._unknown = UnknownTypes(registry, settings.max_inactive_types, alerts)
        self._claiming = Claiming(settings, ledger, clock, self._unknown, alerts)
        self._incoming = Tracker()
        self._strays = Tracker()
        self._released_for: tuple[object, ...] | None = None

    def scan(
        self, types: Sequence[FileType], nominations: Nominations | None = None, *, broken: Collection[str] = ()
    ) -> ScanResult:
        """Look at every entry of incoming/ and act on it, oldest first."""
        hints = nominations or Nominations()
        known = KnownTypes(types, broken)
        with self.lock, self._round(known) as round_:
            now, at = self.clock.monotonic(), self.clock.now()
            incoming = self.settings.folders.incoming
            sights = _sights(incoming)
            self._incoming.keep([sight.name for sight in sights])
            for sight in sights:
                by: NoticedBy = "event" if sight.name in hints.closed or sight.name in hints.changed else "scan"
                touched = sight.name in hints.changed
                seen = self._incoming.look(sight.name, sight, now, by=by, at=at, touched=touched)
                seen = replace(seen, sight=replace(seen.sight, name=self._name_of_before(sight.name)))
                decision = self._judge(seen, now, closed=sight.name in hints.closed)
                self._claiming.act(decision, incoming / sight.name, seen, known, round_)
            self._unknown.tell_flood(round_.flood)
            return round_.result

    def release_held(self, types: Sequence[FileType], *, broken: Collection[str] = ()) -> int:
        """Claim held files whose type is active now; returns how many. Call it before `adopt_strays`.

        Looks at the files again only when the types have changed since the last time. One that a person removed is
        marked missing.
        """
        known = KnownTypes(types, broken)
        with self.lock:
            if known.fingerprint == self._released_for:
                return 0
            self._released_for = None
            with self._round(known) as round_:
                for row in self.ledger.held():
                    self._claiming.release(row, known, round_)
            if not round_.result.ignored:
                self._released_for = known.fingerprint
            return len(round_.result.claimed)

    def strays(self) -> list[Path]:
        """Files in processing/ and held/ (unknown folders too) that no ledger row knows."""
        source_data = self.settings.folders.source_data
        listed = [path for folder in ("processing", "held") for path in _files_below(source_data / folder)]
        have_rows = self.ledger.known_among([str(path) for path in listed if is_text(str(path))])
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
        known = KnownTypes(types, broken)
        with self.lock, self._round(known) as round_:
            strays = self.strays()
            self._strays.keep([str(path) for path in strays])
            now, at = self.clock.monotonic(), self.clock.now()
            for path in strays:
                try:
                    sight = Sight.of(path.name, path.lstat())
                except FileNotFoundError:
                    continue
                except OSError as error:
                    raise folder_fault("looking at", path, error) from error
                seen = self._strays.look(str(path), sight, now, by="scan", at=at, touched=False)
                seen = replace(seen, sight=replace(sight, name=name_without_id(path.name)))
                decision = self._judge(seen, now, settle_seconds=None if settle else 0.0)
                self._claiming.act(decision, path, seen, known, round_)
            return round_.result

    def _judge(
        self, seen: Noticed, now: float, *, closed: bool = False, settle_seconds: float | None = None
    ) -> Decision:
        return judge(
            seen,
            now,
            closed=closed,
            settle_seconds=self.settings.settle_seconds if settle_seconds is None else settle_seconds,
            max_file_bytes=self.settings.max_file_bytes,
        )

    def _name_of_before(self, name: str) -> str:
        """The name of a file that comes back from one of our folders, where `move` had put a short id into it."""
        before = name_without_id(name)
        if before != name and any(name_with_id(before, row.id) == name for row in self.ledger.files(name=before)):
            return before
        return name

    @contextmanager
    def _round(self, known: KnownTypes) -> Iterator[Round]:
        """One call's work; its rows are written when it ends, however it ends: the files have moved already."""
        folders = self.settings.folders
        if not folders.are_there():
            raise WorldFault(
                f"looking into {folders.source_data}: there is no processing/ in it; mount its disk, "
                "or run: lemonade init",
                code="folder_away",
            )
        round_ = Round(self.ledger)
        try:
            yield round_
        finally:
            if round_.result.held and known.fingerprint != self._released_for:
                self._released_for = None  # files are held for other types than those that were last looked for
            round_.write()


def _sights(incoming: Path) -> list[Sight]:
    """Every entry of incoming/, oldest first."""
    sights = []
    with folders_answer("looking into", incoming), os.scandir(incoming) as entries:
        for entry in entries:
            try:
                sights.append(Sight.of(entry.name, entry.stat(follow_symlinks=False)))
            except FileNotFoundError:
                continue
    return sorted(sights, key=lambda sight: (sight.mtime_ns, sight.name))


def _files_below(folder: Path) -> list[Path]:
    """Everything below that is no folder and has no temporary name; follows no link. What vanishes is left out."""
    files: list[Path] = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    files += _files_below(folder / entry.name)
                elif not is_temporary(entry.name):
                    files.append(folder / entry.name)
    except FileNotFoundError:
        return files
    except OSError as error:
        raise folder_fault("looking into", folder, error) from error
    return files
