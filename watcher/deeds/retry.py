"""Retry: files that ended badly go through again, with the same ledger row.

First it is chosen and judged without touching anything (that is what a dry run shows), then moved and written in
groups under `Intake.lock`. A crash between a group's moves and its rows leaves files in processing/ that no row
knows; the next scan takes them as new arrivals, so they are loaded all the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from metadata.cures import cure_for
from metadata.database.models import SourceFile
from metadata.database.states import FileState
from metadata.errors import FileRefused, LemonadeError, UsageError
from metadata.files.folders import move, reason_path
from metadata.files.moves import sync_folders
from metadata.files.names import parse_name
from metadata.files.os_errors import waited_out
from metadata.ledger.life import files_by_id, find_files
from metadata.ledger.values import HeldClaim
from metadata.logs import Event, get_logger
from metadata.types.file_type import FileType, TypeStatus, match_type
from watcher.app import App
from watcher.deeds.by_name import AfterFlush
from watcher.intake.careful_digest import digest_file
from watcher.intake.round import GROUP_FILES
from watcher.intake.scan_result import ScanResult
from watcher.work.answers import flush_answer
from watcher.work.flush_report import FlushReport
from watcher.work.work import Work

log = get_logger()

_ENDED_BADLY = (FileState.FAILED, FileState.ERROR)
_MAY_BE_NAMED = (*_ENDED_BADLY, FileState.UNDONE)  # an undone file goes again only when somebody names it


@dataclass(frozen=True)
class Refusal:
    """A file that was asked for and cannot go again."""

    name: str
    file: SourceFile | None  #: None when the ledger has none of that name
    reason: str


@dataclass
class RetryChoice:
    """What a retry is about: files with their types, and those that cannot go."""

    files: list[tuple[SourceFile, FileType]] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)

    @property
    def types(self) -> list[FileType]:
        """The types of its files."""
        return list({kind.name: kind for _, kind in self.files}.values())


def choose(app: App, arguments: dict[str, Any]) -> RetryChoice:
    """The files that a request's arguments mean: `files` (names, paths or ids), `type`, `code`, `since`, `all`.

    What is given narrows what is chosen. Raises UsageError when nothing is given.
    """
    asked = list(arguments.get("files", []))
    since = datetime.fromisoformat(arguments["since"]).astimezone(UTC) if arguments.get("since") else None
    kind, code = arguments.get("type"), arguments.get("code")
    if not (asked or kind or code or since or arguments.get("all")):
        raise UsageError("choosing files to retry: name them, or give --type, --code, --since or --all")
    choice = RetryChoice()
    rows: dict[str, SourceFile] = {}
    for text in asked:
        found = find_files(app.database, text)
        usable = [row for row in found if FileState(row.state) in _MAY_BE_NAMED]
        rows |= {row.id: row for row in usable}
        if not found:
            choice.refused.append(Refusal(text, None, "the ledger has no such file; see: lemonade files"))
        elif not usable:
            choice.refused += [Refusal(row.name, row, f"it is {row.state}, nothing to retry") for row in found]
    if not asked:
        rows = {row.id: row for state in _ENDED_BADLY for row in app.ledger.files(state=state, file_type=kind)}
    types = app.registry.read().types
    for row in sorted(rows.values(), key=lambda each: each.id):
        when = row.settled_at or row.noticed_at
        if (kind and row.file_type != kind) or (code and row.code != code) or (since and when < since):
            continue
        its_type, why_not = _judge(row, types)
        if its_type is None:
            choice.refused.append(Refusal(row.name, row, why_not))
        else:
            choice.files.append((row, its_type))
    return choice


def _judge(row: SourceFile, types: Sequence[FileType]) -> tuple[FileType | None, str]:
    """The type that takes it, or None and why it cannot go again."""
    try:
        name = parse_name(row.name)
    except FileRefused as refusal:
        return None, f"{refusal.message}; {cure_for(refusal.code)}"
    named = [kind for kind in types if kind.name == row.file_type]
    kind = named[0] if named else match_type(name, types).kind
    if kind is None:
        return None, "no type takes it; register one (lemonade types add), then drop the file into incoming/ again"
    if kind.status is not TypeStatus.ACTIVE:
        return None, f"its type {kind.name} is {kind.status.value}; run: lemonade types activate {kind.name}"
    path = Path(row.path)
    if path.is_symlink() or not path.is_file():
        if path.is_symlink() or path.exists():
            return None, f"it is no regular file; {cure_for('not_a_regular_file')}"
        return None, f"it is no longer at {row.path}; {cure_for('missing')}"
    return kind, ""


def retry(work: Work, arguments: dict[str, Any]) -> AfterFlush:
    """Take the chosen files back into processing/; when their types were flushed, tell what became of each."""
    taken = take(work, arguments)
    return AfterFlush(taken.types, lambda report: answer(work.app, taken, report))


def take(work: Work, arguments: dict[str, Any]) -> RetryChoice:
    """Take the chosen files back into processing/, for a flush that is to follow; returns what was taken."""
    choice = choose(work.app, arguments)
    taken = RetryChoice(refused=choice.refused)
    for start in range(0, len(choice.files), GROUP_FILES):
        taken.files += _take(work, choice.files[start : start + GROUP_FILES], taken.refused)
    return taken


def _take(
    work: Work, files: Sequence[tuple[SourceFile, FileType]], refused: list[Refusal]
) -> list[tuple[SourceFile, FileType]]:
    """One group: digest each where it lies, then move them and write their rows."""
    folders, app = work.app.settings.folders, work.app
    digested: list[tuple[SourceFile, FileType, str, int]] = []
    for row, kind in files:
        try:
            digested.append((row, kind, *digest_file(Path(row.path), app.settings.max_file_bytes)))
        except FileNotFoundError:
            refused.append(Refusal(row.name, row, f"it is no longer at {row.path}; {cure_for('missing')}"))
        except LemonadeError as error:
            refused.append(Refusal(row.name, row, error.message))
    claims: list[HeldClaim] = []
    taken: list[tuple[SourceFile, FileType]] = []
    with work.gathering.intake.lock:
        try:
            for row, kind, digest, size in digested:
                try:
                    moved = move(Path(row.path), folders.processing(kind.name), row.name, row.id)
                except OSError as error:
                    refused.append(Refusal(row.name, row, f"moving it to processing/: {error.strerror}"))
                    continue
                claims.append(HeldClaim(row.id, kind.name, str(moved), digest, size))
                taken.append((row, kind))
        finally:
            if claims:
                into, out_of = [Path(each.path).parent for each in claims], [Path(row.path).parent for row, _ in taken]
                work.outage.wait_out(sync_folders, [*into, *out_of])
                app.ledger.retry_many(claims)
    for row, kind in taken:
        reason = reason_path(Path(row.path), row.id)
        with waited_out(f"removing {reason}", "remove it yourself; the file is claimed"):
            reason.unlink(missing_ok=True)
        log.info(
            Event.FILE_RETRIED,
            file_id=row.id,
            file=row.name,
            file_type=kind.name,
            was=row.state,
            code=row.code,
            attempts=row.attempts,
        )
    return taken


def answer(
    app: App,
    choice: RetryChoice,
    report: FlushReport | None = None,
) -> dict[str, Any]:
    """A retry as `lemonade retry --json` shows it; without the report of its flush it is a dry run.

    Raises what cut the flush off.
    """
    if report is not None and report.error is not None:
        raise report.error
    now = {} if report is None else files_by_id(app.database, [row.id for row, _ in choice.files])
    return {
        "dry_run": report is None,
        "retried": [
            {
                "file_id": row.id,
                "name": row.name,
                "file_type": kind.name,
                "was": {"state": row.state, "code": row.code, "message": row.message},
                **_outcome(now.get(row.id)),
            }
            for row, kind in choice.files
        ],
        "not_retried": [
            {
                "file_id": None if each.file is None else each.file.id,
                "name": each.name,
                "state": None if each.file is None else each.file.state,
                "code": None if each.file is None else each.file.code,
                "reason": each.reason,
            }
            for each in choice.refused
        ],
        "batches": [] if report is None else flush_answer(app, report, ScanResult())["batches"],
    }


def _outcome(row: SourceFile | None) -> dict[str, Any]:
    """What a retried file is now; all null in a dry run."""
    keys = ("state", "attempts", "batch_id", "rows", "rejected", "code", "message", "path")
    return {key: None if row is None else getattr(row, key) for key in keys}
