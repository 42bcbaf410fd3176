"""Loads that go out of their tables, by an undo or because a redelivery takes their place: found, counted, on record.

The ledger says how many rows a table has of each file. As many are found and go, or nothing does.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from metadata.database.models import SourceFile
from metadata.errors import TypeStopped
from metadata.ledger.values import rows_in_quarantine, rows_in_table
from metadata.operations.base import RemovedPart
from metadata.operations.undo import UndoLedger
from processors.lake.quarantine_table import TABLE
from processors.rewrite.rewriter import NOTHING, Rest, Rewriter
from processors.rewrite.which_rows import LoadedRows


def rows_in(table_name: str, files: Iterable[SourceFile]) -> int:
    """How many rows the ledger says a table has of these files: loaded and replayed, or rejected and still there."""
    if table_name == TABLE:
        return sum(map(rows_in_quarantine, files))
    return sum(map(rows_in_table, files))


def find_rest(
    rewriter: Rewriter,
    table_name: str,
    files: Sequence[SourceFile],
    loaded: LoadedRows,
    time_field: str | None,
    batch_days: Iterable[str],
) -> Rest:
    """What takes the rows of `files` out of their type's table or out of the quarantine; nothing where they have none.

    `batch_days` are those of `time_field` that their batches have touched, as the ledger has them.
    Data files that hold others too are written again. Whether it finds as many as the ledger says, `check_rows` asks.
    """
    if not rows_in(table_name, files):
        return NOTHING
    if table_name == TABLE:
        return rewriter.write(TABLE, loaded, time_field=None, batch_days=())
    return rewriter.write(table_name, loaded, time_field=time_field, batch_days=batch_days)


def prepare(operations: UndoLedger, operation_id: str, rest: Rest | None, quarantine: Rest | None = None) -> None:
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
