"""Files at their ends that the ledger does not know: in failed/, error/, duplicate/ and undone/.

A process that died between a move and its row, or a ledger that was restored from a backup, leaves them. Start-up puts
them on record as what the folder and the reason beside them say. A file whose row says that it is loaded is left alone
(a person moved it, and `lemonade audit` tells), except one in undone/ that an older ledger still takes for loaded.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from metadata.clock import Clock
from metadata.database.models import SourceFile
from metadata.database.states import FileState
from metadata.errors import FileRefused
from metadata.files.digest import digest_of_file
from metadata.files.folders import Folders, name_without_id, reason_path
from metadata.files.names import DataFileName, parse_name, safe_name
from metadata.files.os_errors import world_fault
from metadata.ids import new_id
from metadata.ledger.ledger import Ledger

_ENDS = {
    "failed": FileState.FAILED,
    "error": FileState.ERROR,
    "duplicate": FileState.DUPLICATE,
    "undone": FileState.UNDONE,
}
_REASON = ".error.json"


def record_ends(ledger: Ledger, folders: Folders, clock: Clock, *, is_restored: bool) -> int:
    """Put files at their ends on record that no row knows; `is_restored`: the ledger was. Returns how many.

    Call it under the lock, after unsettled batches were walked. Raises WorldFault when a folder cannot be read.
    """
    ends = list(_lying(folders))
    known = ledger.known_among([str(path) for path, _ in ends])
    rows = []
    for path, state in ends:
        if str(path) not in known:
            try:
                row = _row(ledger, folders, clock, path, state, is_restored)
            except FileNotFoundError:
                continue
            except OSError as error:
                raise world_fault(f"reading {path}", error, "check its permissions") from error
            if row is not None:
                rows.append(row)
    ledger.put_ended(rows)
    return len(rows)


def _lying(folders: Folders) -> Iterator[tuple[Path, FileState]]:
    for kind, state in _ENDS.items():
        for parent, _, names in os.walk(folders.source_data / kind):
            beside = set(names)
            for name in sorted(names):
                is_reason = name.endswith(_REASON) and name.removesuffix(_REASON) in beside
                path = Path(parent, name)
                if not (is_reason or name.startswith(".") or path.is_symlink()) and path.is_file():
                    yield path, state


def _row(
    ledger: Ledger, folders: Folders, clock: Clock, path: Path, state: FileState, is_restored: bool
) -> SourceFile | None:
    """The row that the file gets, or None when it is better left to a person."""
    reason = _reason(path)
    name = str(reason.get("file") or name_without_id(safe_name(path.name)))
    if name.endswith(_REASON):
        return None  # a reason whose file is gone
    digest = digest_of_file(path)
    same_name = ledger.files(name=name)
    lost = [row for row in same_name if row.digest in (digest, None) and not os.path.lexists(row.path)]
    waiting = [row for row in lost if row.state in (FileState.CLAIMED, FileState.HELD)]
    undone = [row for row in lost if row.state == FileState.LOADED and state is FileState.UNDONE and is_restored]
    if waiting or undone:
        row = (waiting or undone)[0]
        row.rows = 0 if undone else row.rows
    elif lost or state is FileState.UNDONE or reason.get("file_id") in [row.id for row in same_name]:
        return None
    else:
        row = _new_row(folders, clock, path, state, name, reason)
    row.digest, row.path, row.state = digest, str(path), state.value
    row.code, row.message = reason.get("code") or _code(state), reason.get("message") or row.message
    row.settled_at = clock.now()
    return row


def _new_row(
    folders: Folders, clock: Clock, path: Path, state: FileState, name: str, reason: dict[str, Any]
) -> SourceFile:
    status = path.stat()
    modified = datetime.fromtimestamp(status.st_mtime, UTC)
    parsed: DataFileName | None = None
    with suppress(FileRefused):
        parsed = parse_name(name)
    top = folders.source_data / {end: kind for kind, end in _ENDS.items()}[state]
    return SourceFile(
        id=str(reason.get("file_id") or new_id(clock)),
        name=name,
        prefix=parsed.prefix if parsed else None,
        file_type=path.parent.name if path.parent != top else None,
        filename_time=parsed.time if parsed else None,
        size_bytes=status.st_size,
        modified_at=modified,
        attempts=int(reason.get("attempts") or 0),
        noticed_by="scan",
        noticed_at=_time(reason.get("noticed_at")) or clock.now(),
        claimed_at=_time(reason.get("claimed_at")),
    )


def _code(state: FileState) -> str | None:
    return "duplicate" if state is FileState.DUPLICATE else None


def _time(text: Any) -> datetime | None:
    with suppress(TypeError, ValueError):
        time = datetime.fromisoformat(text)
        return time if time.tzinfo else time.replace(tzinfo=UTC)
    return None


def _reason(path: Path) -> dict[str, Any]:
    """What stands beside the file; nothing when there is none, or it is not ours."""
    with suppress(OSError, ValueError):
        reason = json.loads(reason_path(path, "").read_text(encoding="utf-8"))
        return reason if isinstance(reason, dict) else {}
    return {}
