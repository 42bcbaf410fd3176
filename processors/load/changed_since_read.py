"""Notices, before a loaded file is moved to its end, that its bytes are no longer those that were read.

Cheap: only a file whose size or mtime is another than at its claim is digested. What it cannot see: a write that keeps
the size and sets the mtime back, and a writer that still holds the file open when it has been moved.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from metadata.database.models import SourceFile
from metadata.files.digest import digest_of_stream

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class ChangedSinceRead:
    """What lies in a file's place."""

    digest: str
    size_bytes: int
    modified_at: datetime


def changed_since_read(path: Path, file: SourceFile) -> ChangedSinceRead | None:
    """The other bytes that lie at `path`; None when they are those of the ledger's row, or cannot be compared.

    A file that is gone, that is no regular file or that may not be read is not compared. Raises OSError when the disk
    does not answer.
    """
    try:
        facts = path.lstat()
        if not stat.S_ISREG(facts.st_mode):
            return None
        modified_at = _modified_at(facts)
        if facts.st_size == file.size_bytes and modified_at == file.modified_at:
            return None
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as stream:
            digest = digest_of_stream(stream)
            size = stream.tell()
    except (FileNotFoundError, PermissionError):
        return None
    return None if digest == file.digest else ChangedSinceRead(digest, size, modified_at or file.noticed_at)


def _modified_at(facts: os.stat_result) -> datetime | None:
    """The mtime as the ledger keeps it; None for one that no datetime can say."""
    try:
        return _EPOCH + timedelta(microseconds=facts.st_mtime_ns // 1000)
    except OverflowError:
        return None
