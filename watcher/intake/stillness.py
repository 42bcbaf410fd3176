"""How long a file must hold still before it is whole, and what is done with it: leave it, wait, take it, refuse it.

SETTLE_SECONDS without a change of size, time or inode; not at all when the system told of its close or of its move in;
never an end for a temporary name. `judge` says it, `Tracker` knows since when. Pure: looks are handed in, decisions
come out.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Literal

from metadata.errors import FileRefused
from metadata.files.names import DataFileName, is_temporary, parse_name, safe_name

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST, _LAST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
_KINDS = {
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}

NoticedBy = Literal["event", "scan"]


class Verdict(StrEnum):
    """What is to be done with an entry of incoming/."""

    LEAVE = "leave"  #: a temporary name: its producer is not done
    IGNORE = "ignore"  #: a folder
    WAIT = "wait"  #: it may still be written
    TAKE = "take"  #: a whole data file: claim it, or hold it
    REFUSE = "refuse"  #: it will never be a data file


@dataclass(frozen=True)
class Sight:
    """What one look without opening says of an entry."""

    name: str
    mode: int
    size_bytes: int
    mtime_ns: int
    inode: tuple[int, int]  #: device and number

    @classmethod
    def of(cls, name: str, facts: os.stat_result) -> Sight:
        """The sight in an `lstat`."""
        return cls(name, facts.st_mode, facts.st_size, facts.st_mtime_ns, (facts.st_dev, facts.st_ino))

    @property
    def is_regular(self) -> bool:
        """Whether it is a file with bytes, and nothing cleverer."""
        return stat.S_ISREG(self.mode)

    @property
    def modified_at(self) -> datetime:
        """Its mtime; whoever set it may have set it to anything, so it is cut to what a datetime can say."""
        try:
            return _EPOCH + timedelta(microseconds=self.mtime_ns // 1000)
        except OverflowError:
            return _LAST if self.mtime_ns > 0 else _FIRST


@dataclass(frozen=True)
class Noticed:
    """An entry as it was last seen, and for how long it has looked like that."""

    sight: Sight
    since: float  #: on the monotonic clock
    by: NoticedBy
    at: datetime


class Tracker:
    """Remembers entries between looks. Time is the monotonic clock's: an mtime may lie in the future or be kept."""

    def __init__(self) -> None:
        self._noticed: dict[str, Noticed] = {}

    def look(self, key: str, sight: Sight, now: float, *, by: NoticedBy, at: datetime, touched: bool) -> Noticed:
        """The entry was seen again. Its wait begins anew when it differs, or when an event says it was `touched`."""
        before = self._noticed.get(key)
        if before is None:
            seen = Noticed(sight, now, by, at)
        elif touched or before.sight != sight:
            seen = replace(before, sight=sight, since=now)
        else:
            seen = before
        self._noticed[key] = seen
        return seen

    def keep(self, keys: Collection[str]) -> None:
        """Forget all others: they are gone."""
        self._noticed = {key: self._noticed[key] for key in keys if key in self._noticed}


@dataclass(frozen=True)
class Decision:
    """A verdict and what it needs to be acted on."""

    verdict: Verdict
    wait_seconds: float = 0.0  #: WAIT: when to look again
    data_file: DataFileName | None = None  #: TAKE, and REFUSE of a file with a good name
    refusal: FileRefused | None = None  #: REFUSE: why


def judge(seen: Noticed, now: float, *, closed: bool, settle_seconds: float, max_file_bytes: int) -> Decision:
    """What to do with an entry. Pure.

    A file is whole when its own close or move-in was told (`closed`) or when it has looked the same for
    `settle_seconds`. An empty file, and one whose name is no data file's, may be half of something (the writing, the
    renaming comes next), so a close does not end their wait.
    """
    sight = seen.sight
    if is_temporary(sight.name):
        return Decision(Verdict.LEAVE)
    if stat.S_ISDIR(sight.mode):
        return Decision(Verdict.IGNORE)
    if not sight.is_regular:
        return Decision(Verdict.REFUSE, refusal=not_regular(sight))
    refusal, data_file = None, None
    try:
        data_file = parse_name(sight.name)
    except FileRefused as error:
        refusal = error
    wait = 0.0 if closed and refusal is None and sight.size_bytes > 0 else seen.since + settle_seconds - now
    if wait > 0:
        return Decision(Verdict.WAIT, wait_seconds=wait)
    refusal = refusal or wrong_size(sight.name, sight.size_bytes, max_file_bytes)
    return Decision(Verdict.REFUSE if refusal else Verdict.TAKE, data_file=data_file, refusal=refusal)


def not_regular(sight: Sight) -> FileRefused:
    """Why an entry that is no regular file is refused."""
    kind = _KINDS.get(stat.S_IFMT(sight.mode), "no regular file")
    return FileRefused(
        f"taking {safe_name(sight.name)!r}: it is {kind}, which is never opened or followed; drop the file itself",
        code="not_a_regular_file",
    )


def wrong_size(name: str, size_bytes: int, max_file_bytes: int) -> FileRefused | None:
    """Why a whole file of this size is refused; None when it is not."""
    if size_bytes == 0:
        return FileRefused(f"taking {safe_name(name)!r}: it is empty; see why its producer wrote nothing", code="empty")
    return too_large(name, size_bytes, max_file_bytes) if size_bytes > max_file_bytes else None


def too_large(name: str, size_bytes: int, max_file_bytes: int) -> FileRefused:
    """The refusal of a file above the limit."""
    return FileRefused(
        f"taking {safe_name(name)!r}: it has {size_bytes} bytes, more than MAX_FILE_BYTES ({max_file_bytes}); "
        "split it, or raise that setting",
        code="too_large",
    )
