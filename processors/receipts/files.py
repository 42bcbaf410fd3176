"""The files of receipts: written whole, listed, read, swept, in a warehouse of this machine or behind a FileIO."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from urllib.parse import urlsplit

from pyarrow.fs import FileSelector
from pyarrow.fs import FileType as FsType
from pyiceberg.io import FileIO
from pyiceberg.io.pyarrow import PyArrowFileIO

from metadata.database.states import BatchState
from metadata.errors import WorldFault
from metadata.files.moves import make_folder, sync_folder
from metadata.files.os_errors import world_code
from metadata.logs import Event, Severity, alert
from processors.lake.lake import Lake

_DAY_SECONDS = 86_400
_OVER = frozenset({BatchState.SETTLED, BatchState.ABANDONED})

States = Callable[[list[str]], Mapping[str, BatchState]]
"""The states of those batches or operations that the ledger has."""


class ReceiptFiles:
    """`<warehouse>/<folder>/<file type>/<id>.json`, on this machine or behind PyIceberg's FileIO."""

    def __init__(self, lake: Lake, folder: str) -> None:
        self.lake = lake
        self.folder = folder

    @property
    def base(self) -> str:
        """The folder's location in the warehouse."""
        return f"{self.lake.warehouse}/{self.folder}"

    def location(self, file_type: str, id_: str) -> str:
        """Where the receipt of a batch or operation belongs."""
        return f"{self.base}/{file_type}/{id_}.json"

    def put(self, location: str, text: bytes) -> str:
        """Write it whole, on disk when this returns; again replaces it. Returns where. WorldFault when it cannot."""
        path = local_path(location)
        with _world_faults("writing receipt", location):
            if path is None:
                with self.lake.file_io.new_output(location).create(overwrite=True) as stream:
                    stream.write(text)
            else:
                _write_synced(path, text)
        return location

    def all(self) -> dict[str, str]:
        """Id → where its receipt is."""
        path = local_path(self.base)
        with _world_faults("listing receipts in", self.base):
            found = files_below(path) if path is not None else _remote_files(self.lake.file_io, self.base)
            return {name: location for location in found if (name := _id_in(location)) is not None}

    def text(self, location: str) -> bytes:
        """What was written there."""
        path = local_path(location)
        with _world_faults("reading receipt", location):
            if path is not None:
                return path.read_bytes()
            with self.lake.file_io.new_input(location).open() as stream:
                return bytes(stream.read())

    def remove(self, location: str) -> None:
        """Take it away; one that is gone is fine."""
        path = local_path(location)
        with _world_faults("removing receipt", location):
            if path is not None:
                path.unlink(missing_ok=True)
            else:
                with suppress(FileNotFoundError):
                    self.lake.file_io.delete(location)

    def remove_settled(
        self, states: States, now: datetime, days: float, listed: Mapping[str, str] | None = None
    ) -> int:
        """Remove those of what is settled or abandoned, and older than `days`, of those `listed` (all); how many."""
        oldest_ms = (now.timestamp() - days * _DAY_SECONDS) * 1000
        old = {
            id_: where
            for id_, where in (self.all() if listed is None else listed).items()
            if uuid.UUID(id_).int >> 80 < oldest_ms
        }
        done = [id_ for id_, state in states(list(old)).items() if state in _OVER]
        for id_ in done:
            self.remove(old[id_])
        return len(done)


def tell_unreadable(location: str, error: ValueError, what_is_missing: str, **about: str) -> None:
    """A receipt that nobody can read; `about` says of which batch or operation."""
    alert(
        Event.RECEIPT_UNREADABLE,
        severity=Severity.ERROR,
        code="receipt_unreadable",
        **about,
        path=location,
        error=str(error),
        cure=f"if the ledger was restored from a backup, {what_is_missing} is not in its books: lemonade audit",
    )


def _id_in(location: str) -> str | None:
    """The batch or operation that a receipt's name says it is about; None for names that are no receipt's."""
    name = location.rsplit("/", 1)[-1]
    try:
        return str(uuid.UUID(name.removesuffix(".json"))) if name.endswith(".json") else None
    except ValueError:
        return None


def local_path(location: str) -> Path | None:
    """The path on this machine; None for a location that only a FileIO understands."""
    parts = urlsplit(location)
    return Path(location.removeprefix("file://")) if parts.scheme in ("", "file") else None


def _write_synced(path: Path, text: bytes) -> None:
    """A crash leaves the whole file or none."""
    make_folder(path.parent)
    temporary = path.with_name(f".{path.name}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
    with open(descriptor, "wb") as stream:  # noqa: PTH123 - it is a descriptor
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(temporary, path)  # noqa: PTH105 - Path.replace is the same call; the fsync below belongs to it
    sync_folder(path.parent)


def files_below(folder: Path) -> list[str]:
    """Every file below a folder of this machine, however deep; none when there is no such folder."""
    return [f"{parent}/{name}" for parent, _, names in os.walk(folder) for name in names]


def _remote_files(io: FileIO, base: str) -> list[str]:
    """Every file below `base`, through the file system that a PyArrow or fsspec FileIO stands for."""
    parts = urlsplit(base)
    below = f"{parts.netloc}{parts.path}"
    if isinstance(io, PyArrowFileIO):
        selector = FileSelector(below, recursive=True, allow_not_found=True)
        infos = io.fs_by_scheme(parts.scheme, parts.netloc).get_file_info(selector)
        names = [info.path for info in infos if info.type == FsType.File]
    else:
        from pyiceberg.io.fsspec import FsspecFileIO

        if not isinstance(io, FsspecFileIO):
            return []  # a FileIO of somebody's own cannot list
        names = io.get_fs(parts.scheme, parts.netloc).find(below)
    top = below.strip("/")  # some begin their names with a slash, some do not
    return [f"{base}{name[name.index(top) + len(top) :]}" for name in names]


@contextmanager
def _world_faults(operation: str, location: str) -> Iterator[None]:
    """What goes wrong with a receipt is the warehouse's outage: libraries of object stores raise what they like."""
    try:
        yield
    except ValueError:
        raise
    except Exception as error:
        cure = "check the disk's space and rights, or the network"
        raise WorldFault(
            f"{operation} {location}: {error}; {cure}", code=world_code(error, "warehouse_away")
        ) from error
