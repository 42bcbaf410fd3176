"""Replay and discard: rejected records go through today's schema of their type, or are thrown away. Never twice.

1. **Plan**: one transaction writes the operation and reserves its records: (batch, file, record number) is a primary
   key, so nobody else takes them. Only records whose load stands are taken: no undo, no replacement is about them.
2. **Decode and write**: each record's text, out of the quarantine or out of its file's kept copy, goes through the
   type's own record decoder. Those that pass are written as data files of the type's table, with the lineage that they
   had: `_source_file`, `_file_id`, `_record_no`, and the `_batch_id` that rejected them. The quarantine's data files
   are written again without them.
3. **Prepare**: one transaction: data files, rows, event days; records that did not pass are released. Then a receipt
   beside the tables (`processors.receipts.operations`). From here it only rolls forward.
4. **Commit**: first the type's table (an append), then the quarantine (without the records): each one snapshot whose id
   is derived from (operation id, table), so it cannot land twice. Between the two a record is in both, and `audit`
   knows it; it is never in neither.
5. **Record**: the files' records are counted as replayed, their days are dirty: one transaction.
6. **Settle**: the receipt says that it is over.

A discard is the same without a type's table: its records only leave the quarantine.

A crash after any step is walked by `resume()`: planned → abandoned, its records are free again; prepared → has it
landed, in each table? (its snapshot, else its data files or its records themselves tell) → what lacks it is committed;
committed → settle.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from metadata.database.models import Operation
from metadata.errors import TypeStopped
from metadata.ids import new_id
from metadata.ledger.ledger import Ledger
from metadata.ledger.values import RecordKey
from metadata.logs import Event, get_logger
from metadata.operations.replay import ReplayLedger, ReplayVerb
from metadata.outage import Outage
from metadata.settings import Settings
from metadata.types.file_type import FileType
from processors.change.base import OperationSteps, changed_tables
from processors.change.chosen_records import Chunk
from processors.change.replay_decode import PassedRecords, ReplayDecoder
from processors.lake.lake import Lake
from processors.lake.landing import LandingState
from processors.lake.quarantine_table import TABLE
from processors.receipts.operations import OperationReceipts
from processors.rewrite.rewriter import NOTHING, Rest, Rewriter
from processors.rewrite.which_rows import KeyedRows

if TYPE_CHECKING:
    from pyiceberg.manifest import DataFile

log = get_logger()

CHUNK_RECORDS = 20_000  # of one operation: bounds what is in memory, and what one conflict costs
CHUNK_BYTES = 32 * 1024 * 1024  # of their text


@dataclass
class Taken:
    """What one operation did with its records."""

    operation_id: str | None  #: None when it was only tried, or there was nothing to take
    verb: ReplayVerb
    file_type: str
    table_name: str
    state: str = ""
    records: int = 0  #: that it had reserved
    done: int = 0  #: replayed or discarded
    rejected: Counter[str] = field(default_factory=Counter)  #: those that did not pass, by their code of today
    samples: list[str] = field(default_factory=list)  #: messages of the first of them
    snapshot_id: int | None = None
    quarantine_snapshot_id: int | None = None
    days: list[str] = field(default_factory=list)  #: UTC days that are to be summarised again

    @property
    def rows(self) -> int:
        """Records that it has changed."""
        return self.done


class Replay(OperationSteps[ReplayLedger, Taken]):
    """Runs the protocol, in this process: chunks are small, and Spark is not worth its start."""

    abandoned = Event.REPLAY_ABANDONED

    def __init__(
        self,
        settings: Settings,
        ledger: Ledger,
        lake: Lake,
        rewriter: Rewriter,
        outage: Outage,
        receipts: OperationReceipts,
    ) -> None:
        super().__init__(ReplayLedger(ledger.database, ledger.clock), lake, rewriter, outage, receipts)
        self.decoder = ReplayDecoder(settings, self.operations, lake, outage)
        self.records = self.decoder.records

    def take(self, verb: ReplayVerb, chunk: Chunk, kind: FileType | None, table_name: str) -> Taken:
        """Replay or discard rejected records of one type, whose batches loaded into `table_name`.

        `kind` is None when a discard is of a type that is gone. Raises TypeStopped when a table does not hold what
        the ledger says or others kept winning, and whatever else keeps it from being prepared: nothing was changed
        then. After Prepare it waits while the world is away; when it drains meanwhile, the next start goes on.
        """
        # 1. Plan
        operation_id = new_id(self.clock)
        reserved = self.outage.wait_out(
            self.operations.plan,
            operation_id,
            verb=verb,
            file_type=chunk.file_type,
            table_name=table_name,
            schema_version=kind.schema_version if kind and verb == "replay" else None,
            keys=chunk.keys,
        )
        taken = Taken(None, verb, chunk.file_type, table_name, records=len(reserved))
        if not reserved:
            return taken
        # 2. Decode and write
        with self._or_abandon(operation_id):
            passed = self.decoder.pass_on(verb, operation_id, reserved, kind, table_name)
            taken.rejected, taken.samples = passed.rejected, passed.samples
            if passed.keys:
                rest = self._without(passed.keys)
        if not passed.keys:
            self.outage.wait_out(self.operations.abandon, operation_id, "none of its records passed")
            return taken
        # 3. Prepare
        operation = self._prepare(operation_id, reserved, passed, rest)
        # 4. Commit
        self._commit_table(operation, passed.data_files, kind)
        self._commit_quarantine(operation, passed.keys, rest, kind)
        # 5. Record
        self._record(operation_id, kind)
        # 6. Settle
        return self._settle(operation_id, taken)

    def try_out(self, keys: Sequence[RecordKey], kind: FileType) -> Taken:
        """What a replay would make of these records; nothing is reserved and nothing written."""
        judged = self.decoder.try_out(keys, kind)
        taken = Taken(None, "replay", kind.name, kind.table_name, records=len(keys))
        taken.done, taken.rejected, taken.samples = len(judged.good), judged.rejected, judged.samples
        return taken

    def _go_on(self, operation: Operation, kind: FileType | None) -> Taken:
        self._write_receipt(operation.id)
        for name in changed_tables(operation):
            if self._is_in(name, operation):
                continue
            if name == TABLE:
                keys = self.outage.wait_out(self.operations.taken, operation.id)
                rest = self._find(keys)
                if rest.rows:  # else it landed, and its snapshot has expired since
                    _check(keys, rest)
                    self._commit_quarantine(operation, keys, rest, kind)
            else:
                self._commit_table(operation, self.lake.described(name, operation.added_paths or []), kind)
        self._record(operation.id, kind)
        return self._settle(operation.id)

    def _is_in(self, table_name: str, operation: Operation) -> bool:
        """Its type's table is asked for its data files too, and at last for the records themselves."""
        if table_name == TABLE:
            return super()._is_in(table_name, operation)
        paths = operation.added_paths or []
        landing = self.lake.landed(operation.table_name, operation.id, paths)
        if landing.state is not LandingState.HISTORY_CUT:
            return landing.state is LandingState.LANDED
        keys = self.outage.wait_out(self.operations.taken, operation.id)
        if self.rewriter.count(operation.table_name, KeyedRows.of(keys)):
            return True
        raise TypeStopped(
            f"committing {operation.kind} {operation.id} to {operation.table_name}: the table's history was cut and "
            "the records are not in it, so nobody can tell whether they were loaded; bring its snapshot back, then "
            "restart",
            code="history_cut",
        )

    # -- steps 2 to 4 -------------------------------------------------------------------------------------------------

    def _find(self, keys: Sequence[RecordKey]) -> Rest:
        return self.rewriter.write(TABLE, KeyedRows.of(keys), time_field=None, batch_days=())

    def _without(self, keys: Sequence[RecordKey]) -> Rest:
        """What takes the records out of the quarantine, as it is now."""
        rest = self._find(keys)
        _check(keys, rest)
        return rest

    def _prepare(
        self, operation_id: str, reserved: Sequence[RecordKey], passed: PassedRecords, rest: Rest
    ) -> Operation:
        kept = set(passed.keys)
        operation = self.outage.wait_out(
            self.operations.prepare,
            operation_id,
            released=[key for key in reserved if key not in kept],
            added_paths=[data_file.file_path for data_file in passed.data_files],
            removed_paths=[data_file.file_path for data_file in rest.removed],
            kept_paths=[data_file.file_path for data_file in rest.added],
            event_days=passed.days,
        )
        self._write_receipt(operation_id)
        return operation

    def _commit_table(self, operation: Operation, data_files: Sequence[DataFile], kind: FileType | None) -> None:
        if data_files:
            self._commit(operation.table_name, operation, kind, NOTHING, lambda: NOTHING, append=data_files)

    def _commit_quarantine(
        self, operation: Operation, keys: Sequence[RecordKey], rest: Rest, kind: FileType | None
    ) -> None:
        self._commit(TABLE, operation, kind, rest, partial(self._without, keys))

    # -- step 6 -------------------------------------------------------------------------------------------------------

    def _settle(self, operation_id: str, begun: Taken | None = None) -> Taken:
        operation = self._close(operation_id)
        taken = self._result(operation)
        if begun is not None:  # what the ledger does not keep
            taken.records, taken.rejected, taken.samples = begun.records, begun.rejected, begun.samples
        log.info(
            Event.RECORDS_REPLAYED if taken.verb == "replay" else Event.RECORDS_DISCARDED,
            operation_id=operation_id,
            file_type=operation.file_type,
            table=operation.table_name,
            records=taken.done,
            rejected=dict(taken.rejected),
            files=len(operation.file_ids),
            schema_version=operation.schema_version,
            days=taken.days,
            snapshot_id=operation.snapshot_id,
            quarantine_snapshot_id=operation.quarantine_snapshot_id,
        )
        return taken

    def _result(self, operation: Operation) -> Taken:
        return Taken(
            operation_id=operation.id,
            verb="discard" if operation.kind == "discard" else "replay",
            file_type=operation.file_type,
            table_name=operation.table_name,
            state=operation.state,
            done=operation.quarantine_rows or 0,
            snapshot_id=operation.snapshot_id,
            quarantine_snapshot_id=operation.quarantine_snapshot_id,
            days=list(operation.event_days or []),
        )


def _check(keys: Sequence[RecordKey], rest: Rest) -> None:
    """Raise TypeStopped unless the quarantine holds each record once."""
    if rest.rows != len(keys):
        raise TypeStopped(
            f"taking {len(keys)} records out of {TABLE}: it holds {rest.rows} of them, so somebody has changed it; "
            "nothing was changed there now. See `lemonade audit`, and mend the table (its snapshots keep what it was)",
            code="rows_differ",
        )
