"""Digests of files that strangers may still write to, replace or make unreadable: nothing is followed or waited for."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from metadata.errors import FileRefused
from metadata.files.digest import digest_up_to
from metadata.files.names import safe_name
from watcher.intake.folder_faults import folder_fault
from watcher.intake.stillness import Sight, not_regular, too_large, wrong_size

_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
"""Follows no link, and never waits for a pipe's other end."""


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
        descriptor = os.open(path, _FLAGS)
        with os.fdopen(descriptor, "rb", buffering=0) as stream:
            if Sight.of(name, os.fstat(descriptor)).inode != sight.inode:
                raise FileRefused(
                    f"opening {safe_name(name)!r}: another file took its place meanwhile; drop it again",
                    code="unreadable",
                )
            digest, size = digest_up_to(stream, max_file_bytes)
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
        raise folder_fault("reading", path, error) from error
    if size > max_file_bytes:
        raise too_large(name, size, max_file_bytes)
    return digest, size
