"""What undo, replay, discard and back-fill have in common: the steps from Commit on, and how a walk goes on.

1. **Plan**, 2. **Write** and 3. **Prepare** are each one's own; what goes wrong before Prepare gives the operation up.
4. **Commit**: one snapshot a table, whose id is derived from (operation id, table), so it cannot land twice.
5. **Record**: the snapshots and what follows from them: one transaction.
6. **Settle**: the receipt, where there is one, says that it is over; so does the ledger.

Each call of the ledger is one transaction and waits while the ledger is away; so does a commit for its table.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, ClassVar, Generic, TypeVar

from metadata.database.models import Operation
from metadata.database.states import BatchState
from metadata.errors import LemonadeError, WorldFault
from metadata.logs import Event, get_logger
from metadata.operations.base import OperationLedger
from metadata.outage import Outage
from metadata.types.file_type import FileType
from processors.lake.lake import Lake
from processors.lake.landing import derived_snapshot_id
from processors.lake.quarantine_table import TABLE
from processors.receipts.operations import OperationReceipts
from processors.rewrite.rewriter import Rest, Rewriter

if TYPE_CHECKING:
    from pyiceberg.manifest import DataFile

log = get_logger()

Books = TypeVar("Books", bound=OperationLedger)
Result = TypeVar("Result")


class OperationSteps(ABC, Generic[Books, Result]):
    """The steps of one kind of operation; `Result` is what is told of one."""

    abandoned: ClassVar[Event | None] = None  #: said of one that is given up

    def __init__(
        self, operations: Books, lake: Lake, rewriter: Rewriter, outage: Outage, receipts: OperationReceipts | None
    ) -> None:
        self.operations = operations
        self.clock = operations.clock
        self.lake = lake
        self.rewriter = rewriter
        self.outage = outage
        self.receipts = receipts

    def resume(self, operation: Operation, kind: FileType | None) -> Result:
        """Walk an unsettled operation of an earlier process to its end, from the step it had reached."""
        if operation.state == BatchState.PLANNED:
            self.outage.wait_out(self.operations.abandon, operation.id, "the process ended before Prepare")
            if self.abandoned is not None:
                log.info(self.abandoned, operation_id=operation.id, file_type=operation.file_type)
            return self._result(self.outage.wait_out(self.operations.get, operation.id))
        if operation.state == BatchState.COMMITTED:
            return self._settle(operation.id)
        return self._go_on(operation, kind)

    def landed(self, operation: Operation) -> bool:
        """Whether a prepared operation is in all of its tables; TypeStopped when only a person can tell."""
        return all(self._is_in(name, operation) for name in changed_tables(operation))

    @abstractmethod
    def _go_on(self, operation: Operation, kind: FileType | None) -> Result:
        """From step 4, of one that is prepared: each table that has it not yet gets it."""

    @abstractmethod
    def _settle(self, operation_id: str) -> Result:
        """Step 6."""

    @abstractmethod
    def _result(self, operation: Operation) -> Result:
        """What there is to tell of it, as the ledger has it."""

    def _is_in(self, table_name: str, operation: Operation) -> bool:
        """Whether a table has an operation's snapshot."""
        return self.lake.operation_landed(table_name, operation.id) is not None

    @contextmanager
    def _or_abandon(self, operation_id: str) -> Iterator[None]:
        """Around step 2: what goes wrong there gives the operation up, and nothing was changed."""
        try:
            yield
        except LemonadeError as error:
            if isinstance(error, WorldFault) and error.given_up:
                raise  # the ledger is away and the daemon drains: the next start gives it up
            self.outage.wait_out(self.operations.abandon, operation_id, error.message)
            if self.abandoned is not None:
                log.warning(self.abandoned, operation_id=operation_id, code=error.code, error=error.message)
            raise

    def _write_receipt(self, operation_id: str, *, is_over: bool = False) -> None:
        if self.receipts is not None:
            self.outage.wait_out(self.receipts.write, operation_id, is_over=is_over)

    def _commit(
        self,
        table_name: str,
        operation: Operation,
        kind: FileType | None,
        rest: Rest,
        again: Callable[[], Rest],
        *,
        append: Sequence[DataFile] = (),
        about: Mapping[str, str] | None = None,
    ) -> None:
        """Step 4, for one table; after a conflict `again` prepares it from the table as it is then."""
        self.outage.wait_out(
            self.rewriter.commit,
            table_name,
            operation.kind,
            operation.id,
            rest=rest,
            again=again,
            append=append,
            properties={"lemonade.file-type": operation.file_type, **(about or {})},
            kind=kind,
        )

    def _record(self, operation_id: str, kind: FileType | None) -> None:
        """Step 5."""
        operation = self.outage.wait_out(self.operations.get, operation_id)
        snapshots = {name: derived_snapshot_id(operation_id, name) for name in changed_tables(operation)}
        self.outage.wait_out(
            self.operations.record,
            operation_id,
            snapshot_id=snapshots.get(operation.table_name),
            quarantine_snapshot_id=snapshots.get(TABLE),
            summary_table=kind.summary_table if kind else None,
        )

    def _close(self, operation_id: str) -> Operation:
        """The end of step 6, when all else is done; the operation as it is from now on."""
        self._write_receipt(operation_id, is_over=True)
        return self.outage.wait_out(self.operations.settle, operation_id)


def changed_tables(operation: Operation) -> list[str]:
    """The tables in which a prepared operation changes rows, in the order in which they are committed."""
    in_table = operation.removed_rows or operation.added_rows or operation.removed_paths
    return [operation.table_name] * bool(in_table) + [TABLE] * bool(operation.quarantine_rows)
