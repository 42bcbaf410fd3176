"""Buffers: claimed files of one type, waiting to be handed over. Decisions only; the ledger is what they hold.

A buffer is due when it has enough files or bytes, or when its oldest file has waited long enough. The hour and
requests are the schedule's and the daemon's affair.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Protocol, TypeVar

from metadata.database.states import FlushReason
from metadata.ledger.ledger import Ledger
from metadata.settings import Settings
from metadata.types.file_type import FileType

_SUSPECT_DEATHS = 2


class Sized(Protocol):
    """Anything with a size: a ledger's row, a `Waiting`."""

    @property
    def size_bytes(self) -> int:
        """How large it is."""
        ...


class Died(Protocol):
    """Anything that counts deaths of the process: a ledger's row."""

    @property
    def deaths(self) -> int:
        """How often the whole process died with it in work."""
        ...


SizedT = TypeVar("SizedT", bound=Sized)
DiedT = TypeVar("DiedT", bound=Died)


@dataclass(frozen=True)
class Waiting:
    """A claimed file."""

    file_id: str
    size_bytes: int
    claimed_at: datetime


@dataclass(frozen=True)
class Buffer:
    """What waits of one type."""

    file_type: str
    files: int = 0
    bytes: int = 0
    oldest: datetime | None = None  #: when the first of its files was claimed

    @classmethod
    def of(cls, file_type: str, waiting: Iterable[Waiting]) -> Buffer:
        """The buffer that holds `waiting`."""
        held = list(waiting)
        oldest = min((file.claimed_at for file in held), default=None)
        return cls(file_type, len(held), sum(file.size_bytes for file in held), oldest)


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

    def all(self) -> Mapping[str, Buffer]:
        """The buffers that are not empty, by file type; also of types that are not active any more."""
        return dict(self._buffers)

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


def by_deaths(files: Sequence[DiedT]) -> list[list[DiedT]]:
    """Divide files by how often the whole process died with them in work: what is to be cut into chunks apart.

    Files that saw two deaths or more are suspects. They come last; those of two deaths together are divided in two,
    those of three in four, and so on, until the one that ends the process is alone in its chunk.
    """
    groups: dict[int, list[DiedT]] = {}
    for file in files:
        groups.setdefault(file.deaths if file.deaths >= _SUSPECT_DEATHS else 0, []).append(file)
    divided: list[list[DiedT]] = []
    for deaths, group in sorted(groups.items()):
        parts = min(2 ** min(deaths - 1, 16), len(group)) if deaths else 1
        bounds = [len(group) * part // parts for part in range(parts + 1)]
        divided += [group[start:stop] for start, stop in pairwise(bounds)]
    return divided


def cut(files: Sequence[SizedT], max_files: int, max_bytes: int) -> list[list[SizedT]]:
    """Cut a flush into chunks: each one micro-batch. Order is kept; nothing is left out.

    A chunk has at most `max_files` files and `max_bytes` bytes, but at least one file: one that is larger than
    `max_bytes` is a chunk by itself.
    """
    chunks: list[list[SizedT]] = []
    size = 0
    for file in files:
        if not chunks or len(chunks[-1]) >= max_files or size + file.size_bytes > max_bytes:
            chunks.append([])
            size = 0
        chunks[-1].append(file)
        size += file.size_bytes
    return chunks
