"""Reading source files in a worker: their text, if they still are what was claimed; else the outcome that they have.

A file is opened as a stranger's: a link is not followed, a pipe does not make us wait. Whether a file or the disk below
it is at fault is decided here.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from io import RawIOBase
from pathlib import Path

from metadata.errors import FileRefused, WorldFault
from metadata.files.digest import digest_of, digest_up_to
from metadata.files.os_errors import world_fault
from metadata.files.suffixes_and_codecs import Codec
from metadata.ledger.values import FileOutcome
from processors.decode.decompress import decompress


@dataclass(frozen=True)
class SourceInput:
    """A claimed source file, as the ledger has it."""

    file_id: str
    path: str
    name: str
    digest: str
    day: date  #: UTC day of the time in its name
    size_bytes: int
    lines: bool
    codec: Codec | None  #: that it is compressed with


def contents(
    group: Sequence[SourceInput], limit: int, readable: list[SourceInput], outcomes: list[FileOutcome]
) -> Iterator[tuple[str, bytes, bool]]:
    """The text of one file after another, for the decoder; files that have none go to `outcomes`."""
    for source in group:
        try:
            content = _read(source)
            if isinstance(content, FileOutcome):
                outcomes.append(content)
                continue
            content = decompress(content, source.codec, limit)
        except FileRefused as refused:
            outcomes.append(refusal(source, refused))
            continue
        readable.append(source)
        yield source.name, content, source.lines


def _read(source: SourceInput) -> bytes | FileOutcome:
    """The file's bytes, if they are those that were claimed; else the outcome `changed` or `missing`.

    Raises FileRefused when it is no regular file any more or may not be read.
    """
    try:
        # A symlink is not followed, and a FIFO does not make us wait for its writer.
        descriptor = os.open(source.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise FileRefused("it is no regular file", code="not_a_regular_file")
            with os.fdopen(descriptor, "rb", buffering=0, closefd=False) as file:
                if status.st_size != source.size_bytes:
                    return _changed(source, file)
                content = file.readall()
        finally:
            os.close(descriptor)
    except (FileNotFoundError, NotADirectoryError) as error:
        if not Path(source.path).parent.parent.is_dir():  # not even processing/: nobody removed just this file
            raise _reading_fault(source, error) from error
        return FileOutcome(source.file_id, "missing", message=f"reading {source.name}: it is gone from {source.path}")
    except OSError as error:
        raise _reading_fault(source, error) from error
    digest = digest_of(content)
    if digest != source.digest:
        return _changed_to(source, digest, len(content))
    return content


def _changed(source: SourceInput, file: RawIOBase) -> FileOutcome:
    """Digest a file of another size than was claimed, whatever that size is."""
    return _changed_to(source, *digest_up_to(file, sys.maxsize))


def _changed_to(source: SourceInput, digest: str, size: int) -> FileOutcome:
    message = f"reading {source.name}: its bytes are not those that were claimed; it is claimed again"
    return FileOutcome(source.file_id, "changed", code="bytes_changed", message=message, digest=digest, size_bytes=size)


def _reading_fault(source: SourceInput, error: OSError) -> FileRefused | WorldFault:
    """Whether the file or the world is at fault."""
    if error.errno in (errno.ELOOP, errno.EMLINK, errno.ENXIO):  # a symlink, in two dialects, and a socket
        return FileRefused("it is no regular file", code="not_a_regular_file")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EIO):
        return FileRefused(f"it cannot be read ({error.strerror})", code="unreadable")
    return world_fault(f"reading {source.path}", error, "check the disk or network", code="source_away")


def refusal(source: SourceInput, refused: FileRefused) -> FileOutcome:
    """What becomes of a file that cannot be read."""
    return FileOutcome(source.file_id, "failed", code=refused.code, message=f"reading {source.name}: {refused.message}")
