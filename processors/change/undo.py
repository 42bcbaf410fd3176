"""Undo: take exactly the rows out that a source file or a micro-batch has loaded, in one snapshot of each table.

1. **Plan**: one transaction writes the operation: whose rows, from which table.
2. **Write**: the rows are found by `_batch_id` and `_file_id`, wherever they are now: what was loaded or replayed in
   the type's table, rejected records in the quarantine. Data files that hold nothing else will be dropped; the others
   are written again without them, into the same partition. Rows found = rows in the ledger, in both tables, or the
   operation is given up and nothing was changed.
3. **Prepare**: one transaction: data files that go and come, rows, event days; then a receipt beside the tables
   (`processors.receipts.operations`). From here the undo only rolls forward.
4. **Commit**: the type's table, then the quarantine: each one `overwrite` whose snapshot id is derived from (operation
   id, table), so it cannot land twice. On a conflict with another writer it is prepared again from the table as it is
   then.
5. **Record**: the files are `undone`, what they had replaced is `claimed` again, their days are dirty, their
   reservations for replay are gone: one transaction.
6. **Settle**: the files move to undone/, those that come back move from processed/ to processing/; repeating a move is
   harmless. The receipt says that it is over.

A crash after any step is walked by `resume()`: planned → abandoned; prepared → has it landed, in each table? (its
snapshot is in the table's history, or none of the rows is there any more) → go on from 5, else again from 2 with the
table that lacks it; committed → settle.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from metadata.database.models import Batch, Operation, SourceFile
from metadata.database.states import FileState
from metadata.files.cut_off_moves import find_moved
from metadata.files.digest import holds
from metadata.files.folders import move
from metadata.files.missing_files import tell_missing
from metadata.files.os_errors import world_fault
from metadata.ids import new_id
from metadata.ledger.ledger import Ledger
from metadata.logs import Event, get_logger
from metadata.operations.undo import UndoLedger
from metadata.outage import Outage
from metadata.types.file_type import FileType
from processors.change.base import OperationSteps, changed_tables
from processors.lake.lake import Lake
from processors.lake.quarantine_table import TABLE
from processors.load.move_step import Settler
from processors.receipts.operations import OperationReceipts
from processors.rewrite.removal import check_rows, find_rest, prepare
from processors.rewrite.rewriter import Rest, Rewriter
from processors.rewrite.which_rows import LoadedRows

log = get_logger()


@dataclass
class UndoResult:
    """What one undo did."""

    operation_id: str
    file_type: str
    table_name: str
    state: str
    files: int = 0
    rows: int = 0
    quarantine_rows: int = 0  #: rejected records that left the quarantine
    snapshot_id: int | None = None  #: None when the files had loaded no row
    quarantine_snapshot_id: int | None = None  #: None when they had no rejected record there
    days: list[str] = field(default_factory=list)  #: UTC days that are to be summarised again
    data_files_removed: int = 0
    data_files_added: int = 0
    returned: list[str] = field(
        default_factory=list
    )  #: files that are claimed again: what was undone had replaced them


class Undo(OperationSteps[UndoLedger, UndoResult]):
    """Runs the protocol. `claiming` is held while files are put into processing/ (the intake's lock)."""

    abandoned = Event.UNDO_ABANDONED

    def __init__(
        self,
        ledger: Ledger,
        lake: Lake,
        rewriter: Rewriter,
        settler: Settler,
        claiming: AbstractContextManager[object],
        receipts: OperationReceipts,
        outage: Outage,
    ) -> None:
        super().__init__(UndoLedger(ledger.database, ledger.clock), lake, rewriter, outage, receipts)
        self.ledger = ledger
        self.settler = settler
        self.claiming = claiming

    def undo(self, files: Sequence[SourceFile], batch: Batch, kind: FileType | None, *, whole: bool) -> UndoResult:
        """Undo loaded `files` of `batch`; `whole` says that no other file of it is loaded.

        Raises TypeStopped when the table does not hold the rows that the ledger says (nothing was changed then) or
        others kept winning, and whatever else keeps it from being prepared. After Prepare it waits while the world is
        away; when it drains meanwhile (WorldFault), the next start goes on, or the next undo.
        """
        # 1. Plan
        operation = self.outage.wait_out(
            self.operations.plan,
            new_id(self.clock),
            file_type=batch.file_type,
            table_name=batch.table_name,
            batch_id=batch.id if whole else None,
            file_ids=[file.id for file in files],
        )
        # 2. Write
        with self._or_abandon(operation.id):
            rests = {name: self._write(name, operation, files, kind) for name in (operation.table_name, TABLE)}
        return self._prepare_and_go_on(operation, files, kind, rests)

    def _go_on(self, operation: Operation, kind: FileType | None) -> UndoResult:
        files = self.outage.wait_out(self.operations.files, operation)
        rests: dict[str, Rest] = {}
        for name in changed_tables(operation):
            if self._is_in(name, operation):
                continue
            rest = self._find(name, operation, files, kind)
            if rest.rows == 0:  # it landed, and its snapshot has expired since
                continue
            check_rows(name, files, rest)
            rests[name] = rest
        return self._prepare_and_go_on(operation, files, kind, rests)

    # -- steps 2 to 4 -------------------------------------------------------------------------------------------------

    def _write(self, table_name: str, operation: Operation, files: Sequence[SourceFile], kind: FileType | None) -> Rest:
        rest = self._find(table_name, operation, files, kind)
        check_rows(table_name, files, rest)
        return rest

    def _find(self, table_name: str, operation: Operation, files: Sequence[SourceFile], kind: FileType | None) -> Rest:
        batch_id = operation.batch_id
        loaded = LoadedRows.from_files(files) if batch_id is None else LoadedRows.from_batch(batch_id)
        time_field = kind.time_field if kind else None
        days = self.outage.wait_out(self.operations.days_of, files)
        return find_rest(self.rewriter, table_name, files, loaded, time_field, days)

    def _prepare_and_go_on(
        self, operation: Operation, files: Sequence[SourceFile], kind: FileType | None, rests: dict[str, Rest]
    ) -> UndoResult:
        """`rests`: what takes the rows out of each table that still has them."""
        # 3. Prepare
        if rests:
            self._prepare(operation, rests)
        # 4. Commit
        for name, rest in rests.items():
            again = partial(self._prepare_again, name, operation, files, kind)
            self._commit(name, operation, kind, rest, again, about={"lemonade.files": str(len(files))})
        # 5. Record
        self._record(operation.id, kind)
        return self._settle(operation.id)

    def _prepare(self, operation: Operation, rests: dict[str, Rest]) -> None:
        self.outage.wait_out(prepare, self.operations, operation.id, rests.get(operation.table_name), rests.get(TABLE))
        self._write_receipt(operation.id)

    def _prepare_again(
        self, table_name: str, operation: Operation, files: Sequence[SourceFile], kind: FileType | None
    ) -> Rest:
        """After a conflict with another writer."""
        rest = self._write(table_name, operation, files, kind)
        self._prepare(operation, {table_name: rest})
        return rest

    # -- step 6 -------------------------------------------------------------------------------------------------------

    def _settle(self, operation_id: str) -> UndoResult:
        # 6. Settle
        operation = self.outage.wait_out(self.operations.get, operation_id)
        files = self.outage.wait_out(self.operations.files, operation)
        self.settler.settle_files([file for file in files if file.state == FileState.UNDONE])
        back = [
            file
            for file in self.outage.wait_out(self.operations.replaced_by, operation.file_ids)
            if file.state == FileState.CLAIMED and self.outage.wait_out(self.bring_back, file)
        ]
        result = self._result(self._close(operation_id))
        result.returned = [file.id for file in back]
        log.info(
            Event.UNDO_SETTLED,
            operation_id=operation_id,
            batch_id=operation.batch_id,
            file_type=operation.file_type,
            table=operation.table_name,
            files=result.files,
            file_ids=operation.file_ids[:10],
            rows=result.rows,
            quarantine_rows=result.quarantine_rows,
            days=result.days,
            snapshot_id=operation.snapshot_id,
            quarantine_snapshot_id=operation.quarantine_snapshot_id,
            data_files_removed=result.data_files_removed,
            data_files_added=result.data_files_added,
            returned=result.returned,
        )
        return result

    def _result(self, operation: Operation) -> UndoResult:
        return UndoResult(
            operation_id=operation.id,
            file_type=operation.file_type,
            table_name=operation.table_name,
            state=operation.state,
            files=len(operation.file_ids),
            rows=operation.removed_rows or 0,
            quarantine_rows=operation.quarantine_rows or 0,
            snapshot_id=operation.snapshot_id,
            quarantine_snapshot_id=operation.quarantine_snapshot_id,
            days=list(operation.event_days or []),
            data_files_removed=len(operation.removed_paths or []),
            data_files_added=len(operation.added_paths or []),
        )

    def bring_back(self, file: SourceFile) -> bool:
        """Move the kept copy of a file that was replaced back into processing/; False when somebody removed it."""
        source, folder = Path(file.path), self.settler.folders.processing(file.file_type or "unknown")
        if source.parent == folder:
            return True
        with self.claiming:
            try:
                moved: Path | None = move(source, folder, file.name, file.id)
            except FileNotFoundError:
                moved = self._brought_back_before(file, folder)
            except OSError as error:
                raise world_fault(
                    f"moving {source} to {folder}", error, "check the folder's permissions and free space"
                ) from error
            if moved is not None:
                self.ledger.set_path(file.id, str(moved))
                return True
            self.ledger.mark_missing(file.id, f"its copy was removed from {source}, so it cannot be loaded again")
        cure = "the load that had replaced it was undone, but its copy is gone; drop it into incoming/ again"
        tell_missing(file.id, file.name, path=file.path, cure=cure)
        return False

    def _brought_back_before(self, file: SourceFile, folder: Path) -> Path | None:
        """Where a process that died right after the rename has put the file."""
        return find_moved(
            [folder],
            file.name,
            file.id,
            lambda path: holds(path, file.digest) and not self.ledger.known_among([str(path)]),
        )
