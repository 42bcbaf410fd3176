"""Moves that survive a power cut and the border between two file systems.

A rename within one file system is one step. Between two, a file is copied to a hidden temporary name in the target
folder, synced, renamed to its name, and only then the source is unlinked. A process that dies in between leaves either
the source alone (and a temporary that `sweep` removes) or both; then the next move of that source finds its whole copy
and only unlinks the source. So nothing is lost, and nothing is there twice for longer than that.

A rename is on disk once both folders are synced. That is the caller's part, once for many moves and before the ledger
says so; a copy syncs its own target folder, for its source is unlinked next.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal, NamedTuple

from metadata.files.digest import digest_of, digest_of_file
from metadata.files.os_errors import waited_out

_MOVING = ".moving"
_BLOCK_BYTES = 1 << 20
_TRIES = 5
_CANNOT_SYNC = frozenset({errno.EINVAL, errno.ENOTSUP, errno.EACCES, errno.EBADF})
"""What file systems say that have no such thing, and folders that may be written but not read."""


class Moved(NamedTuple):
    """A move that is done."""

    path: Path
    how: Literal["renamed", "copied", "finished"]  #: finished: an earlier, cut off move had copied it already


def sync_folder(folder: Path) -> None:
    """Bring the names in a folder to disk; passes over file systems that cannot."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return  # a person removed it meanwhile: there is nothing in it to keep
    except PermissionError:
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _CANNOT_SYNC:
            raise
    finally:
        os.close(descriptor)


def sync_folders(folders: Iterable[Path]) -> None:
    """`sync_folder` for each, once. Raises WorldFault: it may be done again as soon as the disk answers."""
    for folder in dict.fromkeys(folders):
        with waited_out(f"syncing {folder}", "check its disk or network"):
            sync_folder(folder)


def make_folder(folder: Path) -> None:
    """Make a folder and those above it; the names of new ones are on disk afterwards."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    sync_folder(folder.parent)


def relocate(source: Path, target: Path, *, finished_at: Sequence[Path] = ()) -> Moved:
    """Move `source` to `target`, which is free, also to another file system.

    `finished_at` are the paths at which an earlier move of this source may have left its whole copy. A symlink is moved
    itself, never followed; a pipe or socket is made anew. Raises OSError: FileNotFoundError when the source is gone,
    EBUSY when somebody keeps writing to it while it is copied.
    """
    try:
        os.rename(source, target)  # noqa: PTH104 - Path.rename is the same call; os.rename says what is meant
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
    else:
        return Moved(target, "renamed")
    for path in finished_at:
        if _is_copy_of(source, path):
            source.unlink()
            return Moved(path, "finished")
    temporary = target.with_name(f".{digest_of(os.fsencode(target.name))[:16]}{_MOVING}")
    try:
        _copy(source, temporary)
        os.rename(temporary, target)  # noqa: PTH104 - the same
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
    sync_folder(target.parent)
    try:
        source.unlink(missing_ok=True)
    except OSError:  # somebody else's file in a sticky folder: it stays where it is, and there only
        target.unlink()
        raise
    return Moved(target, "copied")


def sweep(folders: Iterable[Path]) -> int:
    """Remove the temporaries that cut off moves left right in these folders; returns how many."""
    removed = 0
    for folder in folders:
        try:
            listed = os.listdir(folder)  # noqa: PTH208 - names are all that is asked
            names = [name for name in listed if name.startswith(".") and name.endswith(_MOVING)]
        except (FileNotFoundError, NotADirectoryError):
            continue
        for name in names:
            (folder / name).unlink(missing_ok=True)
            removed += 1
    return removed


def _copy(source: Path, temporary: Path) -> None:
    """The same bytes, rights and times under a temporary name, on disk."""
    for _ in range(_TRIES):
        status = source.lstat()
        temporary.unlink(missing_ok=True)
        if stat.S_ISLNK(status.st_mode):
            temporary.symlink_to(os.readlink(source))  # noqa: PTH115 - the text as it is
            return
        if not stat.S_ISREG(status.st_mode):
            os.mknod(temporary, status.st_mode, status.st_rdev)
            return
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        with os.fdopen(os.open(source, flags), "rb") as reading, temporary.open("xb") as writing:
            shutil.copyfileobj(reading, writing, _BLOCK_BYTES)
            writing.flush()
            os.fchmod(writing.fileno(), stat.S_IMODE(status.st_mode))
            with suppress(PermissionError):  # only root may give files away
                os.fchown(writing.fileno(), status.st_uid, status.st_gid)
            os.utime(writing.fileno(), ns=(status.st_atime_ns, status.st_mtime_ns))
            os.fsync(writing.fileno())
        if _same(status, source.lstat()):
            return
    raise OSError(errno.EBUSY, "it is still being written", str(source))


def _same(before: os.stat_result, after: os.stat_result) -> bool:
    """Whether a file was left alone between two looks."""
    return (before.st_ino, before.st_size, before.st_mtime_ns) == (after.st_ino, after.st_size, after.st_mtime_ns)


def _is_copy_of(source: Path, path: Path) -> bool:
    """Whether `path` is the copy that a cut off move made of `source`.

    The same bytes and time alone could be the same delivery sent twice. Its sender made that second file after the
    copy; the source of a copy has been as it is since before.
    """
    try:
        here, there = source.lstat(), path.lstat()
        if stat.S_IFMT(here.st_mode) != stat.S_IFMT(there.st_mode) or here.st_ctime_ns > there.st_ctime_ns:
            return False
        if stat.S_ISLNK(here.st_mode):
            return os.readlink(source) == os.readlink(path)  # noqa: PTH115 - the text as it is
        if not stat.S_ISREG(here.st_mode):
            return True
        if (here.st_size, here.st_mtime_ns) != (there.st_size, there.st_mtime_ns):
            return False
        return digest_of_file(source) == digest_of_file(path)
    except FileNotFoundError:
        return False
