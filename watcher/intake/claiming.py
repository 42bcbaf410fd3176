"""Takes one file: into processing/ when an active type takes it, else into held/ or failed/.

A claim is three steps: rename into processing/<type>/, digest, ledger row; the row is the round's, which writes many at
once. Nothing is copied but between file systems, and nothing is deleted.
"""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from metadata.clock import Clock
from metadata.cures import cure_for, error_json
from metadata.database.models import SourceFile
from metadata.database.states import FileState
from metadata.errors import FileRefused
from metadata.files.cut_off_moves import find_moved
from metadata.files.folders import move_or_finish, write_reason
from metadata.files.missing_files import tell_missing
from metadata.files.names import parse_name, safe_name
from metadata.ids import new_id
from metadata.ledger.ledger import Ledger
from metadata.ledger.values import Arrival, HeldClaim, NewFile
from metadata.logs import Event, Severity
from metadata.settings import Settings
from metadata.types.file_type import FileType, Match, TypeStatus
from watcher.intake.alerts_once import AlertsOnce
from watcher.intake.careful_digest import digest_file
from watcher.intake.folder_faults import folder_fault, folders_answer
from watcher.intake.round import Line, Round
from watcher.intake.scan_result import Claimed, Held, Ignored, Refused
from watcher.intake.stillness import Decision, Noticed, Sight, Verdict
from watcher.intake.unknown_types import KnownTypes, UnknownTypes


class Claiming:
    """Acts on what was decided of a file. For calls under `Intake.lock`, within a round."""

    def __init__(
        self, settings: Settings, ledger: Ledger, clock: Clock, unknown: UnknownTypes, alerts: AlertsOnce
    ) -> None:
        self.settings = settings
        self.folders = settings.folders
        self.ledger = ledger
        self.clock = clock
        self.unknown = unknown
        self.alerts = alerts

    def act(self, decision: Decision, path: Path, seen: Noticed, known: KnownTypes, round_: Round) -> None:
        """Do with the file at `path` what its verdict says."""
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

    def release(self, row: SourceFile, known: KnownTypes, round_: Round) -> None:
        """Claim a held file if its type is active now; one that a person removed is marked missing."""
        kind = known.match(parse_name(row.name)).kind
        path = Path(row.path)
        if kind is None or kind.status is not TypeStatus.ACTIVE:
            if not os.path.lexists(path):
                self._mark_missing(row)
            return
        try:
            moved = self._move(path, self.folders.processing(kind.name), row.name, row.id, round_)
        except _MayNotMove as error:
            self._leave(path, error.reason, round_)
            return
        moved = moved or self._moved_before(row, kind)
        if moved is None:
            self._mark_missing(row)
        else:
            self._claim_held(row, moved, kind, round_)

    # -- taking -------------------------------------------------------------------------------------------------------

    def _take(self, decision: Decision, path: Path, seen: Noticed, known: KnownTypes, round_: Round) -> None:
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
            is_new = path.parent == self.folders.incoming
            if is_new and self.unknown.is_one_too_many(data_file.prefix, matched, known):
                round_.flood.append(data_file.prefix)
                round_.result.ignored.append(Ignored(arrival.name, self.unknown.too_many(data_file.prefix)))
                return
            self._hold(path, arrival, data_file.prefix, self.unknown.why_held(data_file.prefix, matched, known), round_)

    def _claim(self, path: Path, arrival: Arrival, kind: FileType, round_: Round) -> None:
        moved = self._move(path, self.folders.processing(kind.name), arrival.name, arrival.file_id, round_)
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
        facts = {
            "file_id": arrival.file_id,
            "file": arrival.name,
            "file_type": kind.name,
            "size_bytes": size,
            "digest": digest,
            "noticed_by": arrival.noticed_by,
        }
        round_.add(NewFile(arrival, FileState.CLAIMED, str(moved), kind.name), Line(Event.FILE_CLAIMED, facts))

    def _hold(self, path: Path, arrival: Arrival, prefix: str, reason: str, round_: Round) -> None:
        moved = self._move(path, self.folders.held(prefix), arrival.name, arrival.file_id, round_)
        if moved is None:
            return
        round_.result.held.append(Held(arrival.file_id, arrival.name, prefix, reason))
        facts = {"file_id": arrival.file_id, "file": arrival.name, "prefix": prefix, "reason": reason}
        round_.add(NewFile(arrival, FileState.HELD, str(moved)), Line(Event.FILE_HELD, facts))

    def _refuse(
        self,
        path: Path,
        arrival: Arrival,
        refusal: FileRefused,
        file_type: str | None,
        round_: Round,
        folder: Path | None = None,
    ) -> None:
        moved = self._move(path, folder or self.folders.failed(None), arrival.name, arrival.file_id, round_)
        if moved is None:
            return
        round_.result.refused.append(Refused(arrival.file_id, arrival.name, refusal.code, refusal.message))
        round_.add(
            NewFile(arrival, FileState.FAILED, str(moved), file_type, refusal.code, refusal.message),
            _refused(moved, arrival.file_id, arrival.name, refusal),
        )
        self._explain(moved, arrival.file_id, arrival.name, file_type, arrival.noticed_at, refusal)

    def _claim_held(self, row: SourceFile, moved: Path, kind: FileType, round_: Round) -> None:
        try:
            digest, size = digest_file(moved, self.settings.max_file_bytes)
        except FileNotFoundError:
            self._mark_missing(row)
            return
        except FileRefused as refusal:
            failed = self._move(moved, self.folders.failed(kind.name), row.name, row.id, round_)
            if failed is not None:
                self.ledger.refuse_claimed(row.id, str(failed), refusal.code, refusal.message)
                self._explain(failed, row.id, row.name, kind.name, row.noticed_at, refusal)
                _refused(failed, row.id, row.name, refusal).say()
            return
        round_.result.claimed.append(Claimed(row.id, row.name, kind.name, size))
        facts = {"file_id": row.id, "file": row.name, "file_type": kind.name, "size_bytes": size, "digest": digest}
        round_.release(HeldClaim(row.id, kind.name, str(moved), digest, size), Line(Event.FILE_RELEASED, facts))

    def _moved_before(self, row: SourceFile, kind: FileType) -> Path | None:
        """Where a release that was cut off before its row was written has put the file."""

        def is_it(path: Path) -> bool:
            try:
                sight = Sight.of(path.name, path.lstat())
            except OSError:
                return False
            looks_like_it = sight.size_bytes == row.size_bytes and sight.modified_at == row.modified_at
            return looks_like_it and not self.ledger.known_among([str(path)])

        return find_moved([self.folders.processing(kind.name)], row.name, row.id, is_it)

    def _mark_missing(self, row: SourceFile) -> None:
        self.ledger.mark_missing(row.id, f"it was removed from {row.path} while it was held")
        cure = "somebody removed it while it was held; to load it, drop it into incoming/ again"
        tell_missing(row.id, row.name, path=row.path, cure=cure)

    # -- leaving ------------------------------------------------------------------------------------------------------

    def _ignore_folder(self, path: Path, round_: Round) -> None:
        name = safe_name(path.name)
        round_.result.ignored.append(Ignored(name, "it is a folder"))
        self.alerts.alert_once(
            Event.FOLDER_IGNORED, "folder_ignored", folder=name, cure="drop the files themselves into incoming/"
        )

    def _leave(self, path: Path, reason: str, round_: Round) -> None:
        name = safe_name(path.name)
        round_.result.ignored.append(Ignored(name, reason))
        self.alerts.alert_once(
            Event.FILE_REFUSED,
            "may_not_move",
            severity=Severity.ERROR,
            file=name,
            error=reason,
            cure="let the daemon's user rename it (the folder's sticky bit, its owner), or drop it as that user",
        )

    # -- moving -------------------------------------------------------------------------------------------------------

    def _move(self, source: Path, folder: Path, name: str, file_id: str, round_: Round) -> Path | None:
        """Move a file unless it is in `folder` already; None when somebody else took it away first."""
        if source.parent == folder and is_text(source.name):
            return source
        try:
            moved = move_or_finish(source, folder, name, file_id)
        except OSError as error:
            if not os.path.lexists(source):
                return None
            folders_are_open = all(os.access(where, os.W_OK | os.X_OK) for where in (source.parent, folder))
            if isinstance(error, PermissionError) and folders_are_open:
                raise _MayNotMove(f"moving {safe_name(str(source))} to {folder}: {error.strerror}") from error
            raise folder_fault(f"moving to {folder}", source, error) from error
        round_.touch(moved.path.parent, source.parent)
        if moved.how == "finished" and self.ledger.known_among([str(moved.path)]):
            return None  # the copy was adopted meanwhile
        return moved.path

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
        with folders_answer("writing the reason beside", moved):
            write_reason(moved, why)


class _MayNotMove(Exception):
    """One file cannot be moved although its folders can be written: the others can go on."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def is_text(path: str) -> bool:
    """Whether a path can be in the ledger at all; bytes that are no UTF-8 cannot."""
    return safe_name(path) == path


def _refused(moved: Path, file_id: str, name: str, refusal: FileRefused) -> Line:
    facts = {
        "code": refusal.code,
        "file_id": file_id,
        "file": name,
        "error": refusal.message,
        "path": str(moved),
        "cure": cure_for(refusal.code),
    }
    return Line(Event.FILE_REFUSED, facts, severity=Severity.ERROR)
