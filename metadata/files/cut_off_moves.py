"""Where a cut off move has left a file: it is renamed before its path is on record, and a process may die between."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from metadata.files.folders import name_with_id


def names_at_end(name: str, file_id: str) -> tuple[str, str]:
    """What `move` may have called a file; the surer name, which no other file has, comes first."""
    return name_with_id(name, file_id), name


def find_moved(folders: Iterable[Path], name: str, file_id: str, is_it: Callable[[Path], bool]) -> Path | None:
    """The first path at which `move` may have put the file, and of which `is_it` says that it has; None without one.

    `is_it` is asked of paths at which nothing may lie. A name alone says little: another delivery may have it.
    """
    paths = (folder / each for folder in folders for each in names_at_end(name, file_id))
    return next((path for path in paths if is_it(path)), None)
