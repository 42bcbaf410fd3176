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

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from metadata.clock import Clock
from metadata.database.models import Batch, Operation, SourceFile
from metadata.database.states import BatchState, FileState
from metadata.errors import LemonadeError, TypeStopped, WorldFault
from metadata.files.folders import move, name_with_id
from metadata.ids import new_id
from metadata.ledger.ledger import Ledger
from metadata.ledger.missing_files import tell_missing
from metadata.logs import Event, get_logger
from metadata.operations.undo import Operations, RemovedPart
from metadata.outage import Outage
from metadata.types.definition import FileType
from processors.lake.lake import Lake
from processors.lake.landing import derived_snapshot_id
from processors.lake.quarantine_table import TABLE
from processors.load.move_step import Settler, holds
from processors.receipts.operations import OperationReceipts
from processors.rewrite.rewriter import LoadedRows, Rest, Rewriter

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


class Undo:
    """Runs the protocol. `claiming` is held while files are put into processing/ (the intake's lock)."""

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
        self.ledger = ledger
        self.lake = lake
        self.rewriter = rewriter
        self.settler = settler
        self.clock: Clock = ledger.clock
        self.claiming = claiming
        self.receipts = receipts
        self.outage = outage
        self.operations = outage.patient(Operations(ledger.database, ledger.clock))

    def undo(self, files: Sequence[SourceFile], batch: Batch, kind: FileType | None, *, whole: bool) -> UndoResult:
        """Undo loaded `files` of `batch`; `whole` says that no other file of it is loaded.

        Raises TypeStopped when the table does not hold the rows that the ledger says (nothing was changed then) or
        others kept winning, and whatever else keeps it from being prepared. After Prepare it waits while the world is
        away; when it drains meanwhile (WorldFault), the next start goes on, or the next undo.
        """
        # 1. Plan
        operation = self.operations.plan(
            new_id(self.clock),
            file_type=batch.file_type,
            table_name=batch.table_name,
            batch_id=batch.id if whole else None,
            file_ids=[file.id for file in files],
        )
        # 2. Write
        try:
            rests = {name: self._write(name, operation, files, kind) for name in (operation.table_name, TABLE)}
        except LemonadeError as error:
            self.operations.abandon(operation.id, error.message)
            log.warning(Event.UNDO_ABANDONED, operation_id=operation.id, code=error.code, error=error.message)
            raise
        return self._prepare_and_go_on(operation, files, kind, rests)

    def resume(self, operation: Operation, kind: FileType | None) -> UndoResult:
        """Walk an unsettled undo of an earlier process to its end, from the step it had reached."""
        if operation.state == BatchState.PLANNED:
            self.operations.abandon(operation.id, "the process ended before Prepare")
            log.info(Event.UNDO_ABANDONED, operation_id=operation.id, file_type=operation.file_type)
            return _result(self.operations.get(operation.id))
        if operation.state == BatchState.COMMITTED:
            return self._settle(operation.id)
        files = self.operations.files(operation)
        rests: dict[str, Rest] = {}
        for name, rows in ((operation.table_name, operation.removed_rows), (TABLE, operation.quarantine_rows)):
            if not rows or self.lake.operation_landed(name, operation.id) is not None:
                continue
            rest = self._find(name, operation, files, kind)
            if rest.rows == 0:  # it landed, and its snapshot has expired since
                continue
            check_rows(name, files, rest)
            rests[name] = rest
        return self._prepare_and_go_on(operation, files, kind, rests)

    def landed(self, operation: Operation) -> bool:
        """Whether a prepared undo is in both of its tables; TypeStopped when only a person can tell."""
        in_tables = ((operation.table_name, operation.removed_rows), (TABLE, operation.quarantine_rows))
        return all(not rows or self.lake.operation_landed(name, operation.id) is not None for name, rows in in_tables)

    # -- steps 2 to 4 -------------------------------------------------------------------------------------------------

    def _write(self, table_name: str, operation: Operation, files: Sequence[SourceFile], kind: FileType | None) -> Rest:
        rest = self._find(table_name, operation, files, kind)
        check_rows(table_name, files, rest)
        return rest

    def _find(self, table_name: str, operation: Operation, files: Sequence[SourceFile], kind: FileType | None) -> Rest:
        batch_id = operation.batch_id
        loaded = LoadedRows.from_files(files) if batch_id is None else LoadedRows.from_batch(batch_id)
        return find_rest(self.operations, self.rewriter, table_name, files, loaded, time_field(kind))

    def _prepare_and_go_on(
        self, operation: Operation, files: Sequence[SourceFile], kind: FileType | None, rests: dict[str, Rest]
    ) -> UndoResult:
        """`rests`: what takes the rows out of each table that still has them."""
        # 3. Prepare
        if rests:
            self._prepare(operation, rests)
        # 4. Commit
        for name, rest in rests.items():
            self._commit(name, rest, operation, files, kind)
        return self._finish(operation.id, kind)

    def _prepare(self, operation: Operation, rests: dict[str, Rest]) -> None:
        prepare(self.operations, operation.id, rests.get(operation.table_name), rests.get(TABLE))
        self.outage.wait_out(lambda: self.receipts.write(operation.id))

    def _commit(
        self,
        table_name: str,
        rest: Rest,
        operation: Operation,
        files: Sequence[SourceFile],
        kind: FileType | None,
    ) -> None:
        def again() -> Rest:
            fresh = self._write(table_name, operation, files, kind)
            self._prepare(operation, {table_name: fresh})
            return fresh

        self.outage.wait_out(
            lambda: self.rewriter.commit(
                table_name,
                "undo",
                operation.id,
                rest=rest,
                again=again,
                properties={"lemonade.file-type": operation.file_type, "lemonade.files": str(len(files))},
                kind=kind,
            )
        )

    # -- steps 5 and 6 ------------------------------------------------------------------------------------------------

    def _finish(self, operation_id: str, kind: FileType | None) -> UndoResult:
        # 5. Record
        operation = self.operations.get(operation_id)
        rows = operation.removed_rows, operation.quarantine_rows
        self.operations.record(
            operation_id,
            snapshot_id=self._snapshot(operation.table_name, operation_id) if rows[0] else None,
            quarantine_snapshot_id=self._snapshot(TABLE, operation_id) if rows[1] else None,
            summary_table=summary_table(kind),
        )
        return self._settle(operation_id)

    def _snapshot(self, table_name: str, operation_id: str) -> int:
        return derived_snapshot_id(operation_id, table_name)

    def _settle(self, operation_id: str) -> UndoResult:
        # 6. Settle
        operation = self.operations.get(operation_id)
        files = [file for file in self.operations.files(operation) if file.state == FileState.UNDONE]
        self.settler.settle_files(files)
        back = [
            file
            for file in self.operations.replaced_by(operation.file_ids)
            if file.state == FileState.CLAIMED and self.outage.wait_out(partial(self._bring_back, file))
        ]
        self.receipts.write(operation_id, is_over=True)
        self.operations.settle(operation_id)
        result = _result(self.operations.get(operation_id))
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

    def _bring_back(self, file: SourceFile) -> bool:
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
                raise WorldFault(
                    f"moving {source} to {folder}: {error.strerror}; check the folder's permissions and free space",
                    code="folder_away",
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
        for name in (name_with_id(file.name, file.id), file.name):
            if holds(folder / name, file) and not self.ledger.known_among([str(folder / name)]):
                return folder / name
        return None


def time_field(kind: FileType | None) -> str | None:
    """The field whose UTC days are summarised."""
    return kind.config.summary.time if kind and kind.config.summary else None


def summary_table(kind: FileType | None) -> str | None:
    """The table of the type's daily summary, `namespace.table`."""
    return f"summary.{kind.config.summary.table}" if kind and kind.config.summary else None


def rows_in(table_name: str, files: Iterable[SourceFile]) -> int:
    """How many rows the ledger says a table has of these files: loaded and replayed, or rejected and still there."""
    if table_name == TABLE:
        return sum((file.rejected or 0) - file.replayed - file.discarded for file in files)
    return sum((file.rows or 0) + file.replayed for file in files)


def find_rest(
    operations: Operations,
    rewriter: Rewriter,
    table_name: str,
    files: Sequence[SourceFile],
    loaded: LoadedRows,
    time_field: str | None,
) -> Rest:
    """What takes the rows of `files` out of their type's table or out of the quarantine; nothing where they have none.

    Data files that hold others too are written again. Whether it finds as many as the ledger says, `check_rows` asks.
    """
    if not rows_in(table_name, files):
        return Rest([], [], 0, set())
    if table_name == TABLE:
        return rewriter.write(TABLE, loaded, time_field=None, batch_days=())
    return rewriter.write(table_name, loaded, time_field=time_field, batch_days=operations.days_of(files))


def prepare(operations: Operations, operation_id: str, rest: Rest | None, quarantine: Rest | None = None) -> None:
    """Bring on record what takes rows out of the type's table and the quarantine; None: as it is on record."""
    operations.prepare(
        operation_id,
        table=None if rest is None else part_of(rest),
        quarantine=None if quarantine is None else part_of(quarantine),
    )


def part_of(rest: Rest) -> RemovedPart:
    """A rest as the ledger keeps it."""
    return RemovedPart(
        removed_paths=[data_file.file_path for data_file in rest.removed],
        added_paths=[data_file.file_path for data_file in rest.added],
        rows=rest.rows,
        event_days=rest.days,
    )


def check_rows(table_name: str, files: Sequence[SourceFile], rest: Rest) -> None:
    """Raise TypeStopped unless a table holds exactly the rows of `files` that the ledger says."""
    expected = rows_in(table_name, files)
    if rest.rows != expected:
        some = ", ".join(file.name for file in files[:3]) + (", …" if len(files) > 3 else "")
        raise TypeStopped(
            f"taking the rows of {some} out of table {table_name}: the table holds {rest.rows} of them and the ledger "
            f"says {expected}, so somebody has changed one or the other; nothing was changed now. "
            "Compare them with `lemonade audit`, and mend the table (its snapshots keep what it was) or the ledger",
            code="rows_differ",
        )


def _result(operation: Operation) -> UndoResult:
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
