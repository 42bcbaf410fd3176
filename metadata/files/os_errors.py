"""The operating system's errors → ours: the one place that says what is waited out, and what a full disk is called."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from metadata.errors import WorldFault

DISK_FULL = "disk_full"
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_FULL_TEXTS = ("no space left on device", "disk quota exceeded", "database or disk is full", "file too large")


def is_full(error: object) -> bool:
    """Whether an error, ours or a library's, says that a disk (or a quota, or a size limit) is used up."""
    if isinstance(error, OSError) and error.errno in _FULL:
        return True
    return any(text in str(error).lower() for text in _FULL_TEXTS)


def world_code(error: object, otherwise: str) -> str:
    """The code of the WorldFault that `error` becomes: `disk_full` for a full disk, whatever is being done."""
    return DISK_FULL if is_full(error) else otherwise


def world_fault(operation: str, error: OSError, cure: str, *, code: str = "folder_away") -> WorldFault:
    """The WorldFault that an OSError becomes: `operation: reason; cure`, which is waited out and told once."""
    return WorldFault(f"{operation}: {error.strerror or error}; {cure}", code=world_code(error, code))


@contextmanager
def waited_out(operation: str, cure: str, *, code: str = "folder_away") -> Iterator[None]:
    """Inside of it an OSError becomes the WorldFault that `world_fault` makes of it."""
    try:
        yield
    except OSError as error:
        raise world_fault(operation, error, cure, code=code) from error
