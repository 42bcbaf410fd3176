"""Receipts: a small file for each prepared micro-batch, beside the tables, from which a ledger is brought up to date.

`<warehouse>/_receipts/<file type>/<batch id>.json` is on disk before the transaction of Prepare. So

- a batch whose receipt exists was decoded, and its data files are whole: it rolls forward, whatever the ledger says;
- a batch without one was never prepared: nothing of it is in a table;
- a batch that only its receipt knows was forgotten: the ledger is older than the tables (a restored backup). The
  table is asked, then the ledger's rows are written again, before anything is claimed.

Receipts are kept `RECEIPT_DAYS`; a backup that is older than that leaves files unknown.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pyarrow.fs import FileSelector
from pyarrow.fs import FileType as FsType
from pyiceberg.io import FileIO
from pyiceberg.io.pyarrow import PyArrowFileIO

from metadata.clock import Clock
from metadata.database.models import Batch
from metadata.database.states import BatchState
from metadata.errors import WorldFault
from metadata.files.digest import digest_of_file
from metadata.files.ends import names_at_end
from metadata.files.folders import Folders
from metadata.files.moves import make_folder, sync_folder
from metadata.files.os_errors import world_code, world_fault
from metadata.ledger.batch_receipt import Rebuilding, Receipt
from metadata.ledger.ledger import Ledger
from metadata.logs import Event, Severity, alert, get_logger
from metadata.types.file_type import FileType
from processors.lake import quarantine_table as quarantine
from processors.lake.lake import Lake
from processors.lake.landing import LandingState, derived_snapshot_id

log = get_logger()

FOLDER = "_receipts"
_DAY_SECONDS = 86_400


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
        path = _local(location)
        with _world_faults("writing receipt", location):
            if path is None:
                with self.lake.file_io.new_output(location).create(overwrite=True) as stream:
                    stream.write(text)
            else:
                _write_synced(path, text)
        return location

    def all(self) -> dict[str, str]:
        """Id → where its receipt is."""
        path = _local(self.base)
        with _world_faults("listing receipts in", self.base):
            found = _files_below(path) if path is not None else _remote_files(self.lake.file_io, self.base)
            return {name: location for location in found if (name := _batch_id(location)) is not None}

    def text(self, location: str) -> bytes:
        """What was written there."""
        path = _local(location)
        with _world_faults("reading receipt", location):
            if path is not None:
                return path.read_bytes()
            with self.lake.file_io.new_input(location).open() as stream:
                return bytes(stream.read())

    def remove(self, location: str) -> None:
        """Take it away; one that is gone is fine."""
        path = _local(location)
        with _world_faults("removing receipt", location):
            if path is not None:
                path.unlink(missing_ok=True)
            else:
                with suppress(FileNotFoundError):
                    self.lake.file_io.delete(location)


class Receipts(ReceiptFiles):
    """The receipts of one warehouse's micro-batches."""

    def __init__(self, lake: Lake) -> None:
        super().__init__(lake, FOLDER)

    def write(self, receipt: Receipt) -> str:
        """Write it whole, on disk when this returns; again replaces it. Returns where. WorldFault when it cannot."""
        return self.put(self.location(receipt.file_type, receipt.batch_id), receipt.to_bytes())

    def forget(self, batch: Batch) -> None:
        """Before a planned batch is given up: without a receipt it was never prepared."""
        self.remove(self.location(batch.file_type, batch.id))

    def read(self, location: str) -> Receipt:
        """The receipt; ValueError when it cannot be understood."""
        return Receipt.parse(self.text(location))


@dataclass
class Rebuilt:
    """What the ledger had forgotten."""

    batches: list[str] = field(default_factory=list)  #: ids, in the order in which they were planned
    files: int = 0
    is_restored: bool = False  #: the ledger is older than the tables
    unreadable: list[str] = field(default_factory=list)  #: receipts that nobody can read


def rebuild_forgotten(
    ledger: Ledger, lake: Lake, folders: Folders, types: Sequence[FileType], clock: Clock, *, receipt_days: int
) -> Rebuilt:
    """Write what an older ledger has forgotten into it again, from receipts; sweep receipts that are old enough.

    Call it under the lock, before unsettled batches are walked and before anything is claimed: the walk then goes on
    with what is rebuilt. Done again it does nothing. A crash in between leaves the rest for the next call.
    """
    receipts = Receipts(lake)
    listed, todo, is_restored = _due(ledger, receipts)
    rebuilt = Rebuilt(is_restored=is_restored)
    summaries = {kind.name: kind.summary_table for kind in types}
    places = _Places(folders, is_restored=is_restored)
    for batch_id in todo:
        try:
            receipt = receipts.read(listed[batch_id])
        except ValueError as error:
            rebuilt.unreadable.append(listed[batch_id])
            _tell_unreadable(batch_id, listed[batch_id], error)
            continue
        found = {file["id"]: path for file in receipt.ended() if (path := places.find(file, receipt)) is not None}
        rebuilding = _rebuilding(lake, folders, receipt, found)
        ledger.put_back(rebuilding, summaries.get(receipt.file_type))
        rebuilt.batches.append(batch_id)
        rebuilt.files += len(receipt.files)
    if is_restored:
        alert(
            Event.LEDGER_REBUILT,
            severity=Severity.WARNING,
            code="ledger_restored",
            batches=len(rebuilt.batches),
            files=rebuilt.files,
            unreadable=rebuilt.unreadable,
            cure="the ledger was older than the tables and was brought up to date; check with: lemonade audit",
        )
    sweep_receipts(ledger, lake, clock, receipt_days=receipt_days, listed=listed)
    return rebuilt


def forgotten(ledger: Ledger, lake: Lake) -> list[str]:
    """The batches that `rebuild_forgotten` would write into the ledger, oldest first; changes nothing."""
    return _due(ledger, Receipts(lake))[1]


def sweep_receipts(
    ledger: Ledger, lake: Lake, clock: Clock, *, receipt_days: int, listed: Mapping[str, str] | None = None
) -> int:
    """Remove receipts of batches that the ledger has settled, and that are older than `receipt_days`; how many."""
    receipts = Receipts(lake)
    oldest_ms = (clock.now().timestamp() - receipt_days * _DAY_SECONDS) * 1000
    there = receipts.all() if listed is None else listed
    old = {batch_id: where for batch_id, where in there.items() if uuid.UUID(batch_id).int >> 80 < oldest_ms}
    over = {BatchState.SETTLED, BatchState.ABANDONED}
    done = [batch_id for batch_id, state in ledger.batch_states(list(old)).items() if state in over]
    for batch_id in done:
        receipts.remove(old[batch_id])
    return len(done)


def _due(ledger: Ledger, receipts: Receipts) -> tuple[dict[str, str], list[str], bool]:
    """Every receipt; the batches to rebuild, in their order; whether the ledger is older than the tables."""
    listed = receipts.all()
    states = ledger.batch_states(list(listed))
    is_restored = len(states) < len(listed)
    # A planned batch with a receipt: the process ended between the two, or the backup was made there. A prepared one
    # goes its usual way, unless later batches have gone on with its files.
    behind = {BatchState.PLANNED, BatchState.PREPARED} if is_restored else {BatchState.PLANNED}
    return listed, sorted(each for each in listed if each not in states or states[each] in behind), is_restored


def _rebuilding(lake: Lake, folders: Folders, receipt: Receipt, found: Mapping[str, Path]) -> Rebuilding:
    """Whether the batch is in both of its tables decides in which state it is written again."""
    ended = receipt.ended()
    undone = frozenset(
        file["id"]
        for file in ended
        if file["outcome"] == "loaded" and folders.source_data / "undone" in found.get(file["id"], Path()).parents
    )
    committed: dict[str, int | None] = {}  #: by table: the batch's snapshot, None where it has none
    for table_name, rows in ((receipt.table_name, receipt.rows), (quarantine.TABLE, receipt.quarantine_rows)):
        if rows == 0 and not receipt.removes.get(table_name):
            committed[table_name] = None
            continue
        landing = lake.landed(table_name, receipt.batch_id, receipt.paths(table_name))
        if landing.state is LandingState.LANDED:
            committed[table_name] = landing.snapshot_id
        elif landing.state is LandingState.HISTORY_CUT and _are_settled(ended, folders, found):
            # History was cut and its rows have left the table since; that its files were moved says that it landed.
            committed[table_name] = derived_snapshot_id(receipt.batch_id, table_name)
    if len(committed) < 2:  # there are two
        return Rebuilding(receipt, BatchState.PREPARED, None, None, found, undone)
    snapshot_id, quarantine_snapshot_id = committed[receipt.table_name], committed[quarantine.TABLE]
    return Rebuilding(receipt, BatchState.COMMITTED, snapshot_id, quarantine_snapshot_id, found, undone)


def _are_settled(ended: Iterable[Mapping[str, Any]], folders: Folders, found: Mapping[str, Path]) -> bool:
    loaded = [found.get(file["id"]) for file in ended if file["outcome"] == "loaded"]
    ends = (folders.processed_base, folders.source_data / "undone")
    return bool(loaded) and all(path is not None and any(end in path.parents for end in ends) for path in loaded)


class _Places:
    """Where source files are now. Every folder is listed once; a file is known by its name and its bytes."""

    def __init__(self, folders: Folders, *, is_restored: bool) -> None:
        self.folders = folders
        self.is_restored = is_restored  #: the ledger; else a planned batch's files have not moved yet
        self._by_name: dict[str, dict[str, list[Path]]] = {}
        self._taken: dict[Path, str] = {}  #: the file that a path was found to be

    def find(self, file: Mapping[str, Any], receipt: Receipt) -> Path | None:
        """Where a file that `receipt` ended is; None when it is nowhere."""
        file_type, name, file_id = receipt.file_type, str(file["name"]), str(file["id"])
        digest, size = file["digest"], int(file["size_bytes"])
        here = [path for each in names_at_end(name, file_id) for path in self._of_type(file_type).get(each, [])]
        # Of several with the same bytes, the one that was put there on the day of this batch or after.
        here.sort(key=lambda path: path.parent.name < receipt.prepared_at.date().isoformat())
        own = Path(file["path"])
        for path in [*here, own] if self.is_restored else [own, *here]:
            if self._taken.get(path, file_id) == file_id and _holds(path, size, digest):
                self._taken[path] = file_id
                return path
        return None

    def _of_type(self, file_type: str) -> dict[str, list[Path]]:
        if file_type not in self._by_name:
            names: dict[str, list[Path]] = {}
            ends = ("failed", "error", "undone")
            tops = [
                self.folders.processed_base / file_type,
                *(self.folders.source_data / end / file_type for end in ends),
            ]
            for top in tops:
                for path in _files_below(top):
                    names.setdefault(Path(path).name, []).append(Path(path))
            self._by_name[file_type] = names
        return self._by_name[file_type]


def _holds(path: Path, size: int, digest: str | None) -> bool:
    try:
        if path.is_symlink() or path.stat().st_size != size:
            return False
        return digest_of_file(path) == digest
    except FileNotFoundError:
        return False
    except OSError as error:
        raise world_fault(f"looking for {path}", error, "check the folder and its permissions") from error


def _tell_unreadable(batch_id: str, location: str, error: ValueError) -> None:
    alert(
        Event.RECEIPT_UNREADABLE,
        severity=Severity.ERROR,
        code="receipt_unreadable",
        batch_id=batch_id,
        path=location,
        error=str(error),
        cure="if the ledger was restored from a backup, what this batch loaded is not in its books: lemonade audit",
    )


def _batch_id(location: str) -> str | None:
    """The batch that a receipt's name says it is about; None for names that are no receipt's."""
    name = location.rsplit("/", 1)[-1]
    try:
        return str(uuid.UUID(name.removesuffix(".json"))) if name.endswith(".json") else None
    except ValueError:
        return None


def _local(location: str) -> Path | None:
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


def _files_below(folder: Path) -> list[str]:
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
