"""Folders that do not answer while files are taken: the one wording of intake's OSErrors, which are waited out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from metadata.errors import WorldFault
from metadata.files.names import safe_name
from metadata.files.os_errors import is_full, world_fault

_CURE = "check that the folder is there and writable and its disk well; lemonade init makes folders"


def folder_fault(doing: str, path: Path, error: OSError) -> WorldFault:
    """What `error` becomes: `disk_full` or `folder_away`, each with its cure."""
    return world_fault(f"{doing}, {safe_name(str(path))!r}", error, "free some space" if is_full(error) else _CURE)


@contextmanager
def folders_answer(doing: str, path: Path) -> Iterator[None]:
    """Inside of it an OSError becomes the WorldFault that `folder_fault` makes of it."""
    try:
        yield
    except OSError as error:
        raise folder_fault(doing, path, error) from error
