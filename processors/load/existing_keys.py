"""The primary keys that a table holds already, for types with `"dedupe": "primary_key"`: read out of its data files.

Only those of the partitions that a batch touches are looked at, and of them nothing but the columns of the key and the
lineage. What is made of the keys, `processors.decode.known_keys` knows.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import pyarrow.compute as pc
from pyiceberg.expressions import AlwaysTrue, In
from pyiceberg.io.pyarrow import ArrowScan

from metadata.types.config import ProcessingConfig
from metadata.types.definition import DATE_COLUMN, Definition
from processors.decode.known_keys import KnownKeys

if TYPE_CHECKING:
    from datetime import date

    from pyiceberg.expressions import BooleanExpression
    from pyiceberg.io import FileIO
    from pyiceberg.table import FileScanTask
    from pyiceberg.table.metadata import TableMetadata

    from processors.rewrite.which_rows import Rows


def touched_partitions(config: ProcessingConfig, days: Iterable[date]) -> BooleanExpression:
    """The rows of the partitions that files of these days (of the times in their names) are loaded into.

    Only of a table by `date` those are known before the records are: of any other, every row is.
    """
    if config.partition != ("identity", DATE_COLUMN):
        return AlwaysTrue()
    return In(DATE_COLUMN, {day.isoformat() for day in days})  # type: ignore[call-arg,arg-type] # pydantic hides it


def existing_keys(
    definition: Definition,
    metadata: TableMetadata,
    io: FileIO,
    tasks: Iterable[FileScanTask],
    replaced: Rows | None = None,
) -> KnownKeys:
    """The keys in these data files, one read at a time; `replaced` are rows that are about to be taken out.

    None are known of a table that has not got all columns of the key yet.
    """
    known = KnownKeys(definition)
    if not {*known.names} <= {*metadata.schema().column_names}:
        return known
    scan = ArrowScan(metadata, io, metadata.schema().select(*known.columns), AlwaysTrue())
    for task in tasks:
        rows = scan.to_table([task])
        known.learn(rows if replaced is None else rows.filter(pc.invert(replaced.mask(rows))))
    return known
