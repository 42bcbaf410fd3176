"""A ledger that is older than the tables is brought up to date from the receipts of its micro-batches.

The tables say whether a batch has landed, and the folders where its files are now.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from metadata.clock import Clock
from metadata.database.states import BatchState
from metadata.files.cut_off_moves import names_at_end
from metadata.files.digest import digest_of_file
from metadata.files.folders import Folders
from metadata.files.os_errors import world_fault
from metadata.ledger.batch_receipt import Rebuilding, Receipt
from metadata.ledger.ledger import Ledger
from metadata.logs import Event, Severity, alert
from metadata.types.file_type import FileType
from processors.lake import quarantine_table as quarantine
from processors.lake.lake import Lake
from processors.lake.landing import LandingState, derived_snapshot_id
from processors.receipts.batches import Receipts, sweep_receipts
from processors.receipts.files import files_below, tell_unreadable


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
            tell_unreadable(listed[batch_id], error, "what this batch loaded", batch_id=batch_id)
            continue
        found = {file["id"]: path for file in receipt.ended() if (path := places.find(file, receipt)) is not None}
        rebuilding = _rebuilding(lake, folders, receipt, found)
        ledger.put_back(rebuilding, summaries.get(receipt.file_type))
        rebuilt.batches.append(batch_id)
        rebuilt.files += len(receipt.files)
    if is_restored:
        tell_rebuilt(batches=len(rebuilt.batches), files=rebuilt.files, unreadable=rebuilt.unreadable)
    sweep_receipts(ledger, lake, clock, receipt_days=receipt_days, listed=listed)
    return rebuilt


def tell_rebuilt(**what: object) -> None:
    """The ledger was brought up to date from receipts; `what` says how many of what."""
    alert(
        Event.LEDGER_REBUILT,
        severity=Severity.WARNING,
        code="ledger_restored",
        **what,
        cure="the ledger was older than the tables and was brought up to date; check with: lemonade audit",
    )


def forgotten(ledger: Ledger, lake: Lake) -> list[str]:
    """The batches that `rebuild_forgotten` would write into the ledger, oldest first; changes nothing."""
    return _due(ledger, Receipts(lake))[1]


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
                for path in files_below(top):
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
