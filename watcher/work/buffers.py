"""What makes a buffer flush. A buffer is what is claimed of one type and waits; the ledger is what it holds.

Four things do, each with its `FlushReason`:

- **size**: FLUSH_MAX_FILES files or FLUSH_MAX_BYTES bytes wait, or what the type's own config says: `due`, here;
- **age**: its oldest file has waited FLUSH_MAX_AGE_SECONDS: `due`, here; the daemon asks at each look
  (`watcher.daemon.queued_flushes`);
- **hour**: a UTC hour has struck: `watcher.daemon.schedule.due`; the flush of every buffer is put in line by
  `watcher.daemon.due_work`;
- **request**: somebody asked: `watcher.daemon.requests_in_hand`, and `watcher.deeds.flush` where no daemon runs.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from metadata.database.states import FlushReason
from metadata.ledger.ledger import Ledger
from metadata.settings import Settings
from metadata.types.file_type import FileType


@dataclass(frozen=True)
class Buffer:
    """What waits of one type."""

    file_type: str
    files: int = 0
    bytes: int = 0
    oldest: datetime | None = None  #: when the first of its files was claimed


class Buffers:
    """All buffers, as the ledger counted them at the last `reload`. One thread's."""

    def __init__(self) -> None:
        self._buffers: dict[str, Buffer] = {}

    def reload(self, ledger: Ledger) -> None:
        """Count again; one grouping query over an index, so it may be asked for each second."""
        self._buffers = {
            total.file_type: Buffer(total.file_type, total.files, total.bytes, total.oldest)
            for total in ledger.waiting_totals()
        }

    def get(self, file_type: str) -> Buffer:
        """The buffer of a type; an empty one when nothing waits."""
        return self._buffers.get(file_type, Buffer(file_type))

    def due(self, kind: FileType, settings: Settings, now: datetime) -> FlushReason | None:
        """Whether the type's buffer has to be handed over now, and why."""
        return due(kind, self.get(kind.name), settings, now)


def due(kind: FileType, buffer: Buffer, settings: Settings, now: datetime) -> FlushReason | None:
    """Whether `buffer` has to be handed over at `now`, and why; a type's own thresholds win over the settings'.

    A clock that was set back makes files look younger, never older.
    """
    if buffer.files == 0:
        return None
    config = kind.config
    max_files = settings.flush_max_files if config.flush_max_files is None else config.flush_max_files
    max_bytes = settings.flush_max_bytes if config.flush_max_bytes is None else config.flush_max_bytes
    max_age = config.flush_max_age_seconds
    max_age = settings.flush_max_age_seconds if max_age is None else max_age
    if buffer.files >= max_files or buffer.bytes >= max_bytes:
        return FlushReason.SIZE
    if max_age is not None and buffer.oldest is not None and (now - buffer.oldest).total_seconds() >= max_age:
        return FlushReason.AGE
    return None
