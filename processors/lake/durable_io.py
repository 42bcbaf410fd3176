"""The way to files of a warehouse on this machine: a file is on disk, and so is its name, before anybody hears of it.

PyIceberg writes data files, manifests, manifest lists and metadata files through one FileIO and commits only after
each was closed; so with a close that syncs file and folder, the catalog never points to what a power cut could take.
A file that could not be written whole is removed at once: on a full disk its rest would keep others from fitting.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import pyarrow as pa
from pyiceberg.io.pyarrow import PyArrowFile, PyArrowFileIO

from metadata.files.moves import make_folder, sync_folder

IMPLEMENTATION = f"{__name__}.DurableFileIO"  #: value of PyIceberg's property `py-io-impl`; never stored in a table


class DurableFileIO(PyArrowFileIO):
    """PyIceberg's own, but what is written to this machine's file systems is synced."""

    def new_output(self, location: str) -> PyArrowFile:
        """The file at `location`, to be written."""
        output = super().new_output(location)
        scheme, _, path = self.parse_location(location, self.properties)
        if scheme != "file":
            return output
        return _DurableFile(location, path, output._filesystem)


class _DurableFile(PyArrowFile):
    """A local file whose stream syncs when it is closed."""

    def create(self, overwrite: bool = False) -> Any:
        if not overwrite and self.exists():
            raise FileExistsError(f"Cannot create file, already exists: {self.location}")
        make_folder(Path(self._path).parent)
        return _SyncedStream(self._path, mode="wb")


class _SyncedStream(pa.OSFile):  # type: ignore[misc] # pyarrow has no types
    """Closed means: on disk. A file that fails on the way is removed."""

    def __init__(self, path: str, mode: str) -> None:
        self._written = Path(path)

    def close(self) -> None:
        if self.closed:
            return
        try:
            self.flush()
            os.fsync(self.fileno())
            super().close()
            sync_folder(self._written.parent)
        except OSError:
            self._discard()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self._discard()

    def _discard(self) -> None:
        with suppress(OSError):
            super().close()
        with suppress(OSError):
            self._written.unlink()
