"""The quality of what the tables hold: nulls by column, rows with the same key, the raw text of rejected records.

Nulls are counted from the manifests of the current snapshot, as the writers of the data files counted them: no data is
read. Keys and raw text are asked with SQL, one query each.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, NamedTuple

from metadata.types.definition import DATE_COLUMN, LINEAGE
from processors.read.query import QueryEngine, literal, quoted

if TYPE_CHECKING:  # a report of tables that are not there does without PyIceberg
    from pyiceberg.table import Table

    from processors.lake.lake import Lake

RAW_CHARACTERS = 400
"""So much of a raw record is read; a multiple of four, so that base64 can be cut there."""


@dataclass(frozen=True)
class ColumnNulls:
    """One column over those data files that have it; a column younger than a data file is not counted there."""

    column: str
    rows: int
    nulls: int


@dataclass(frozen=True)
class KeyRepeats:
    """Primary keys that more than one row has; `rows` are those beyond the first of each."""

    keys: int
    rows: int


class RawKey(NamedTuple):
    """A record of the quarantine; `day` is the UTC day in its file's name, by which the table is divided."""

    batch_id: str
    file_id: str
    record_no: int
    day: date


def is_by_date(table: Table) -> bool:
    """Whether a table is divided by `date`, so that days can be counted apart without reading data."""
    from pyiceberg.transforms import IdentityTransform

    spec, schema = table.spec(), table.schema()
    return any(
        isinstance(part.transform, IdentityTransform) and schema.find_column_name(part.source_id) == DATE_COLUMN
        for part in spec.fields
    )


def column_nulls(lake: Lake, name: str, days: tuple[date, date] | None) -> list[ColumnNulls]:
    """The columns of a table's current data files, of those `days` only; None: of all.

    `days` are for tables divided by `date`. The lineage and `date` are left out, and so are nested columns, whose nulls
    no manifest counts. No table, or no data file of these days: nothing.
    """
    table = lake.table(name)
    if table is None or table.current_snapshot() is None:
        return []
    wanted = None
    if days is not None:
        first, last = (day.isoformat() for day in days)
        wanted = f"{DATE_COLUMN} >= '{first}' and {DATE_COLUMN} <= '{last}'"
    fields = {
        field.field_id: field.name
        for field in table.schema().fields
        if field.field_type.is_primitive and field.name not in (DATE_COLUMN, *LINEAGE)
    }
    rows, nulls = dict.fromkeys(fields, 0), dict.fromkeys(fields, 0)
    for task in lake.scan_tasks(name, wanted):
        counted = task.file.null_value_counts or {}
        for field_id in counted.keys() & fields.keys():
            rows[field_id] += task.file.record_count
            nulls[field_id] += counted[field_id]
    return [ColumnNulls(column, rows[at], nulls[at]) for at, column in fields.items() if rows[at]]


def key_repeats(engine: QueryEngine, name: str, key: Sequence[str], days: tuple[date, date]) -> KeyRepeats:
    """Rows of the same primary key among those whose files' names have one of these days.

    Raises UsageError when the table cannot be asked (a column of the key is not there yet), WorldFault when it cannot
    be read.
    """
    columns = ", ".join(quoted(column) for column in key)
    first, last = (day.isoformat() for day in days)
    sql = (
        f"SELECT count(*), coalesce(sum(n - 1), 0)::BIGINT FROM (SELECT count(*) AS n FROM {quoted(name)} "
        f"WHERE {DATE_COLUMN} BETWEEN DATE '{first}' AND DATE '{last}' GROUP BY {columns} HAVING count(*) > 1)"
    )
    keys, rows = engine.run(sql).rows()[0]
    return KeyRepeats(int(keys), int(rows))


def raw_records(engine: QueryEngine, wanted: Iterable[RawKey]) -> dict[tuple[str, str, int], str]:
    """The raw text of rejected records that are in the quarantine, by batch, file and record number.

    At most RAW_CHARACTERS of each; what is no UTF-8 as `\\xNN`. Those whose text was too long to be kept, and those
    that are not in the quarantine (any more), are missing. Raises UsageError and WorldFault as `key_repeats` does.
    """
    keys = list(wanted)
    if not keys:
        return {}
    from processors.lake.quarantine_table import TABLE, raw_of

    if TABLE not in engine.lake.table_names():
        return {}
    batch, file, number = LINEAGE[3], LINEAGE[1], LINEAGE[2]
    files = ", ".join(sorted({literal(key.file_id) for key in keys}))
    numbers = ", ".join(str(each) for each in sorted({key.record_no for key in keys}))
    first, last = min(key.day for key in keys), max(key.day for key in keys)
    sql = (
        f"SELECT {batch}, {file}, {number}, left(raw, {RAW_CHARACTERS}), raw_encoding FROM {quoted(TABLE)} "
        f"WHERE {DATE_COLUMN} BETWEEN DATE '{first.isoformat()}' AND DATE '{last.isoformat()}' "
        f"AND {file} IN ({files}) AND {number} IN ({numbers}) AND raw IS NOT NULL"
    )
    asked = {(key.batch_id, key.file_id, key.record_no) for key in keys}
    found: dict[tuple[str, str, int], str] = {}
    for chunk in engine.run(sql).chunks():
        for batch_id, file_id, record_no, raw, encoding in chunk:
            text = raw_of(raw, encoding)
            if text is not None and (batch_id, file_id, record_no) in asked:
                found[batch_id, file_id, record_no] = text.decode("utf-8", "backslashreplace")
    return found
