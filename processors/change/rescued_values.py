"""Values that were rescued of rows: read, and put into the columns of fields that take them, in a worker when many.

A value fits when the decoder of new records takes it for the field, and the field's column is null in its row.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.expressions import AlwaysTrue, BooleanExpression, NotNull
from pyiceberg.io.pyarrow import ArrowScan

from metadata.types.definition import RESCUED, Definition, Field
from processors.decode.decoder import Decoder
from processors.rewrite.rewrite_task import ChangedRows

if TYPE_CHECKING:
    from processors.lake.lake import Lake

_object = msgspec.json.Decoder(dict[str, msgspec.Raw])


class _FittingValues(NamedTuple):
    """What takes the values' place: of each field its rows and their values, of each row what is rescued still."""

    values: dict[str, tuple[list[int], pa.Array]]
    rescued: dict[int, str | None]
    left: Counter[str]


@dataclass(frozen=True)
class RescuedIntoFields:
    """Rescued values go into the columns of these fields: `counts` are `values` taken and values `left`, by field."""

    fields: tuple[Field, ...]

    def of(self, read: Callable[[Sequence[str] | None], pa.Table]) -> ChangedRows | None:
        """See `RowChange`. Few columns are read of a data file in which no value fits."""
        found = _find(read([RESCUED, *(each.name for each in self.fields)]), self.fields)
        values = {name: len(rows) for name, (rows, _) in found.values.items()}
        counts = {"values": values, "left": dict(found.left)}
        if not values:
            return ChangedRows(None, None, counts) if found.left else None
        rows = _filled(read(None), found)
        return ChangedRows(rows.take(pa.array(sorted(found.rescued), pa.int64())), rows, counts)


def rescued_values(lake: Lake, table_name: str, key: str, most: int) -> list[bytes]:
    """At most so many of the values that are rescued under a key, as JSON; those of the newest data files first."""
    table = lake.table(table_name)
    found: list[bytes] = []
    if table is None or RESCUED not in table.schema().column_names:
        return found
    scan = ArrowScan(table.metadata, table.io, table.schema().select(RESCUED), AlwaysTrue())
    files = lake.files_of(table, has_rescued())
    with lake.reading(table_name):
        # Their names end in the id of their batch or operation, which begins with its time.
        for file in sorted(files, key=lambda task: task.file.file_path.rsplit("-", 5)[-5:], reverse=True):
            for _, rescued in _rescued(scan.to_table([file])):
                if key in rescued:
                    found.append(bytes(rescued[key]))
                    if len(found) >= most:
                        return found
    return found


def has_rescued() -> BooleanExpression:
    """Finds the data files with rows that have something rescued."""
    return NotNull(RESCUED)  # type: ignore[call-arg,arg-type] # pydantic hides its own __init__


def _rescued(rows: pa.Table) -> Iterator[tuple[int, dict[str, msgspec.Raw]]]:
    """Of each row that has something rescued: its number, and what it is."""
    column = rows[RESCUED].combine_chunks()
    for number in pc.indices_nonzero(column.is_valid()).to_pylist():
        try:
            yield number, _object.decode(column[number].as_py())
        except msgspec.MsgspecError:  # somebody else wrote it
            continue


def _find(rows: pa.Table, fields: Sequence[Field]) -> _FittingValues:
    """The rescued values that fit a field whose column is null in their row."""
    by_key = {each.key: each for each in fields}
    nulls = {each.name: rows[each.name].combine_chunks().is_null() for each in fields}
    wanted: dict[str, list[tuple[int, msgspec.Raw]]] = {}
    kept: dict[int, dict[str, msgspec.Raw]] = {}
    for number, rescued in _rescued(rows):
        for key in rescued.keys() & by_key.keys():
            if nulls[by_key[key].name][number].as_py():
                wanted.setdefault(key, []).append((number, rescued[key]))
                kept[number] = rescued
    found = _FittingValues({}, {}, Counter())
    for key, candidates in sorted(wanted.items()):
        name = by_key[key].name
        good, values = _decoded(by_key[key], [value for _, value in candidates])
        if len(good) < len(candidates):
            found.left[name] += len(candidates) - len(good)
        if not good:
            continue
        numbers = [candidates[at][0] for at in good]
        found.values[name] = (numbers, values)
        for number in numbers:
            del kept[number][key]
            found.rescued[number] = None
    for number in found.rescued:
        found.rescued[number] = msgspec.json.encode(kept[number]).decode() if kept[number] else None
    return found


def _decoded(wanted: Field, values: Sequence[msgspec.Raw]) -> tuple[list[int], pa.Array]:
    """Which of the values a new record could have, and what they are in its column."""
    decoder = Decoder(Definition(fields=(wanted,)), ())
    records = [msgspec.json.encode({wanted.key: value}) for value in values]
    decoded = decoder.decode_records(records)
    return list(decoded.good), decoded.columns[0]


def _filled(rows: pa.Table, found: _FittingValues) -> pa.Table:
    """The rows with the values in their place."""
    for name, (numbers, values) in found.values.items():
        rows = _replaced(rows, name, numbers, values)
    texts = pa.array(list(found.rescued.values()), pa.string())
    return _replaced(rows, RESCUED, list(found.rescued), texts)


def _replaced(rows: pa.Table, name: str, numbers: list[int], values: pa.Array) -> pa.Table:
    """A column with other values in some rows; of any type, so by position and not by mask."""
    column = rows[name].combine_chunks()
    if values.type != column.type:
        values = values.cast(column.type)
    places = list(range(len(column)))
    for at, number in enumerate(numbers):
        places[number] = len(column) + at
    both = pa.chunked_array([column, values])
    return rows.set_column(rows.column_names.index(name), name, both.take(pa.array(places, pa.int64())))
