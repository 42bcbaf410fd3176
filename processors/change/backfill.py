"""Backfill: values that were rescued of old rows go into the columns of the fields that the type has for them by now.

1. **Plan**: one transaction writes the operation.
2. **Write**: the table gets the type's columns if it lacks some. Data files with rescued keys that a field reads are
   written again into the same partition: where a value decodes as the field's type, by the very decoder of new
   records, it becomes the column's, if that is null, and leaves `_rescued`; where it does not, it stays. Rows,
   their lineage and their number stay what they are.
3. **Prepare**: one transaction: data files that go and come, rows, values by field, event days.
4. **Commit**: one `overwrite` whose snapshot id is derived from (operation id, table), so it cannot land twice. On a
   conflict with another writer it is prepared again from the table as it is then.
5. **Record**: the snapshot; days are dirty if a summary is kept of the fields: one transaction.
6. **Settle**: it is over.

Done twice it changes nothing: what was taken is no longer rescued. So a crash after any step is walked by `resume()`:
planned → abandoned; prepared → its snapshot is in the table → go on from 5, else again from 2; committed → settle.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from metadata.database.models import Operation
from metadata.errors import TypeStopped
from metadata.ids import new_id
from metadata.logs import Event, get_logger
from metadata.operations.backfill import BackfillLedger
from metadata.operations.base import RemovedPart
from metadata.outage import Outage
from metadata.types.file_type import FileType
from processors.change.base import OperationSteps
from processors.change.rescued_values import RescuedIntoFields, has_rescued
from processors.lake.lake import Lake
from processors.rewrite.rewrite_task import RewriteResult
from processors.rewrite.rewriter import Rest, Rewriter

if TYPE_CHECKING:
    from pyiceberg.manifest import DataFile

log = get_logger()


@dataclass
class BackfillResult:
    """What one backfill did."""

    operation_id: str
    file_type: str
    table_name: str
    state: str
    rows: int = 0  #: that changed
    values: dict[str, int] = field(default_factory=dict)  #: by field: taken out of `_rescued`
    left: dict[str, int] = field(default_factory=dict)  #: by field: still there, for they do not fit
    snapshot_id: int | None = None  #: None when nothing was to be done
    days: list[str] = field(default_factory=list)  #: UTC days that are to be summarised again


class Backfill(OperationSteps[BackfillLedger, BackfillResult]):
    """Runs the protocol."""

    def __init__(self, operations: BackfillLedger, lake: Lake, rewriter: Rewriter, outage: Outage) -> None:
        super().__init__(operations, lake, rewriter, outage, receipts=None)

    def fill(self, kind: FileType) -> BackfillResult:
        """Take what was rescued of a type's rows into its columns.

        Raises TypeStopped when its table does not fit its schema or others kept winning, and whatever else keeps it
        from being prepared. After Prepare it waits while the world is away; when it drains meanwhile (WorldFault), the
        next start goes on, or the next backfill.
        """
        # 1. Plan
        operation_id = new_id(self.clock)
        self.outage.wait_out(
            self.operations.plan,
            operation_id,
            file_type=kind.name,
            table_name=kind.table_name,
            schema_version=kind.schema_version,
        )
        # 2. Write
        with self._or_abandon(operation_id):
            filled = self._write(kind)
        return self._prepare_and_go_on(operation_id, kind, filled)

    def _go_on(self, operation: Operation, kind: FileType | None) -> BackfillResult:
        if self.landed(operation):
            self._record(operation.id, kind)
            return self._settle(operation.id)
        if kind is None:
            raise TypeStopped(
                f"going on with backfill {operation.id}: {operation.file_type} is not in the registry (any more); "
                "bring its row back",
                code="type_missing",
            )
        return self._prepare_and_go_on(operation.id, kind, self._write(kind))

    # -- steps 2 to 4 -------------------------------------------------------------------------------------------------

    def _write(self, kind: FileType) -> list[tuple[DataFile, RewriteResult]]:
        """Data files of the table as it is now, and what becomes of each; not those without a value that is wanted."""
        if self.lake.table(kind.table_name) is None or kind.definition is None:
            return []
        table = self.lake.ensure_type_table(kind)
        files = self.lake.files_of(table, has_rescued())
        if not files:
            return []
        there = {task.file.file_path: task.file for task in files}
        change = RescuedIntoFields(kind.definition.fields)
        results = self.rewriter.rewrite(table, change, files, kind.time_field, f"backfill {kind.name}")
        return [(there[each.path], each) for each in results]

    def _prepare_and_go_on(
        self, operation_id: str, kind: FileType, filled: Sequence[tuple[DataFile, RewriteResult]]
    ) -> BackfillResult:
        # 3. Prepare
        rest = self._prepare(operation_id, kind, filled)
        # 4. Commit
        operation = self.outage.wait_out(self.operations.get, operation_id)
        again = partial(self._prepare_again, operation_id, kind)
        self._commit(kind.table_name, operation, kind, rest, again)
        # 5. Record
        self._record(operation_id, kind)
        return self._settle(operation_id)

    def _prepare_again(self, operation_id: str, kind: FileType) -> Rest:
        """After a conflict with another writer."""
        return self._prepare(operation_id, kind, self._write(kind))

    def _prepare(self, operation_id: str, kind: FileType, filled: Sequence[tuple[DataFile, RewriteResult]]) -> Rest:
        changed = [(old, each, each.written) for old, each in filled if each.written is not None]
        rest = Rest(
            [old for old, _, _ in changed],
            [written for _, _, written in changed],
            sum(each.rows for _, each, _ in changed),
            set().union(*(each.days for _, each, _ in changed)),
        )
        values: Counter[str] = Counter()
        left: Counter[str] = Counter()
        for _, each in filled:
            values.update(each.counts["values"])
            left.update(each.counts["left"])
        self.outage.wait_out(
            self.operations.prepare,
            operation_id,
            RemovedPart(
                [each.file_path for each in rest.removed],
                [each.file_path for each in rest.added],
                rest.rows,
                rest.days if _is_summarised(kind, values) else (),
            ),
            {"values": dict(sorted(values.items())), "left": dict(sorted(left.items()))},
        )
        return rest

    # -- step 6 -------------------------------------------------------------------------------------------------------

    def _settle(self, operation_id: str) -> BackfillResult:
        # 6. Settle
        result = self._result(self._close(operation_id))
        log.info(
            Event.BACKFILL_SETTLED,
            operation_id=operation_id,
            file_type=result.file_type,
            table=result.table_name,
            rows=result.rows,
            values=result.values,
            left=result.left,
            days=result.days,
            snapshot_id=result.snapshot_id,
        )
        return result

    def _result(self, operation: Operation) -> BackfillResult:
        detail: dict[str, Any] = operation.detail or {}
        return BackfillResult(
            operation_id=operation.id,
            file_type=operation.file_type,
            table_name=operation.table_name,
            state=operation.state,
            rows=detail.get("rows", 0),
            values=detail.get("values", {}),
            left=detail.get("left", {}),
            snapshot_id=operation.snapshot_id,
            days=list(operation.event_days or []),
        )


def _is_summarised(kind: FileType, values: Mapping[str, int]) -> bool:
    summary = kind.config.summary
    return summary is not None and not values.keys().isdisjoint((*summary.key, summary.time, *summary.latest))
