"""Undo, as it is asked for: whose load is meant, may it be taken back, and what became of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from metadata.database.models import Batch, SourceFile
from metadata.database.states import BatchState, FileState, FlushReason
from metadata.errors import Busy, UsageError
from metadata.ledger.life import files_by_id, find_files
from metadata.ledger.values import rows_in_table
from metadata.operations.undo import UndoLedger
from metadata.types.file_type import TypeStatus
from processors.lake.quarantine_table import TABLE as QUARANTINE
from processors.rewrite.removal import rows_in
from watcher.app import App
from watcher.work.work import Work


@dataclass(frozen=True)
class Asked:
    """What a person means: a file, or a batch with all its files. Without `files` there is nothing to take back."""

    target: str  #: the id of the file or the batch
    what: str  #: in words
    batch: Batch | None
    files: list[SourceFile]  #: those that are loaded
    is_whole: bool  #: no other file of the batch is loaded
    why_not: str = ""  #: why there is nothing to take back
    done_before: bool = False  #: it was undone already

    @property
    def rows(self) -> int:
        """How many rows the ledger says they have in their table, loaded and replayed."""
        return 0 if self.batch is None else rows_in(self.batch.table_name, self.files)

    @property
    def quarantined(self) -> int:
        """How many rejected records the ledger says they have in the quarantine."""
        return rows_in(QUARANTINE, self.files)


def look(app: App, target: str) -> Asked:
    """What `target` means: a batch's id, or a file's id, path or name. Changes nothing.

    Raises UsageError when the ledger has nothing of that name, or several loaded files have it.
    """
    batch, of_batch = UndoLedger(app.database, app.clock).batch(target)
    found = of_batch if batch is not None else find_files(app.database, target)
    loaded = [file for file in found if file.state == FileState.LOADED]
    if batch is None and not found:
        raise UsageError(f"undoing {target!r}: the ledger has no such file or batch; see: lemonade files")
    if batch is None and len(loaded) > 1:
        listed = "\n".join(f"  {file.id}  {file.name}  {rows_in_table(file)} rows" for file in loaded)
        raise UsageError(f"undoing {target!r}: several loaded files have that name; give the id of one:\n{listed}")
    if batch is not None:
        others = [file for file in found if file.state != FileState.LOADED and _brought(file)]
        what = f"batch {batch.id} ({len(loaded)} loaded files)"
        return Asked(batch.id, what, batch, loaded, not others, *_nothing(f"batch {batch.id}", found, loaded))
    file = (loaded or found)[-1]
    if file.batch_id is not None:
        batch, of_batch = UndoLedger(app.database, app.clock).batch(file.batch_id)
    alone = [each.id for each in of_batch if _brought(each)] == [file.id]
    return Asked(file.id, file.name, batch, loaded, alone, *_nothing(file.name, [file], loaded))


def _brought(file: SourceFile) -> bool:
    """Whether rows of it may be in a table: those of an undone one are not."""
    return bool(file.rows or (file.rejected and file.state in (FileState.LOADED, FileState.MISSING)))


def _nothing(what: str, found: Sequence[SourceFile], loaded: Sequence[SourceFile]) -> tuple[str, bool]:
    """Why there is nothing to take back, and whether that is because it was taken back before."""
    if loaded:
        return "", False
    states = {FileState(file.state) for file in found}
    if states == {FileState.UNDONE}:
        return f"{what} is undone already: none of its rows is in the table", True
    listed = ", ".join(sorted(states)) or "without files now"
    return f"{what} is {listed}: it has no rows in the table, so there is nothing to undo", False


def undo(work: Work, arguments: dict[str, Any]) -> dict[str, Any]:
    """Take a file's or a batch's rows out; what a file of it had replaced is loaded again."""
    app = work.app
    work.walkers.go_on(app.registry)
    asked = look(app, str(arguments["target"]))
    if not asked.files or asked.batch is None:
        return answer(asked, [])
    _check_idle(app, asked, asked.batch)
    kinds = {kind.name: kind for kind in app.registry.read().types}
    kind = kinds.get(asked.batch.file_type)
    result = work.walkers.undo.undo(asked.files, asked.batch, kind, whole=asked.is_whole)
    if result.returned and kind is not None and kind.status is TypeStatus.ACTIVE:
        work.flush([kind], FlushReason.REQUEST)
    return {
        **answer(asked, list(files_by_id(app.database, result.returned).values())),
        "undone": True,
        "operation_id": result.operation_id,
        "rows": result.rows,
        "quarantine_rows": result.quarantine_rows,
        "snapshot_id": result.snapshot_id,
        "quarantine_snapshot_id": result.quarantine_snapshot_id,
        "days": result.days,
        "data_files_removed": result.data_files_removed,
        "data_files_added": result.data_files_added,
    }


def answer(asked: Asked, returned: Sequence[SourceFile]) -> dict[str, Any]:
    """An undo as `lemonade undo --json` shows it; of one that changed nothing unless more is added."""
    return {
        "target": asked.target,
        "what": asked.what,
        "table": None if asked.batch is None else asked.batch.table_name,
        "undone": False,
        "done_before": asked.done_before,
        "why_not": asked.why_not,
        "files": [{"file_id": file.id, "name": file.name, "rows": rows_in_table(file)} for file in asked.files],
        "operation_id": None,
        "rows": 0,
        "quarantine_rows": 0,
        "snapshot_id": None,
        "quarantine_snapshot_id": None,
        "days": [],
        "data_files_removed": 0,
        "data_files_added": 0,
        "loaded_again": [
            {"file_id": file.id, "name": file.name, "state": file.state, "rows": file.rows} for file in returned
        ],
    }


def _check_idle(app: App, asked: Asked, batch: Batch) -> None:
    """Raise Busy while a batch that matters is under way."""
    if batch.state != BatchState.SETTLED:
        raise Busy(f"undoing {asked.what}: its batch is {batch.state}, not settled; try again when it is")
    ids = {file.id for file in asked.files}
    for replacement in UndoLedger(app.database, app.clock).replacing():
        if ids & set(replacement.file_ids):
            raise Busy(f"undoing {asked.what}: batch {replacement.id} is about to replace it; try again afterwards")
