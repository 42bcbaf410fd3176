"""Columns of records of which some hold values that their columns cannot take: those records are found and left out.

A column says only that something in it is wrong, at best where. It is built of ever fewer records until each value that
is at fault was refused all by itself, so that a record is judged as if it came alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from operator import attrgetter
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa

from metadata.reject_codes import RejectCode
from metadata.types.definition import Field
from metadata.types.field_types import plain_type, row_of
from metadata.types.json_values import fit_decimal
from processors.decode.column_builders import FAULTS, ColumnError
from processors.decode.columns import Columns

CHUNK = 64  # records: faults that the column does not name are looked for in so many at a time
_PASSES = 8  # over all records, each of which finds a kind of fault
TYPICAL = 50  # values of one kind that the column refused, after which it is not asked about the others


class Fault(NamedTuple):
    """Why a record's value does not fit its column."""

    field: Field | None  #: None when the record as a whole is at fault
    code: str
    reason: str


class TooLarge(Exception):
    """Every value fits, all of them together do not."""


def sound_columns(columns: Columns, records: Sequence[Any]) -> tuple[list[pa.Array], dict[int, Fault]]:
    """Columns of the records whose values all fit, and by index the others, each with the first field at fault.

    Raises TooLarge when a column of that many records cannot be built.
    """
    built: list[tuple[pa.Array, Sequence[int] | None]] = []  # with the records that are in it; None: all
    faults: dict[int, Fault] = {}
    for number, field in enumerate(columns.fields):
        try:
            built.append((columns.column(number, records), None))
        except FAULTS as error:
            search = _Search(columns, number, records)
            built.append(search.sound_column(error))
            for index, fault in search.faults.items():
                faults.setdefault(index, Fault(field, *_reason(field, fault)))
    if not faults:
        return [array for array, _ in built], faults
    sound = np.ones(len(records), bool)
    sound[list(faults)] = False
    return [array.filter(pa.array(sound if of is None else sound[of])) for array, of in built], faults


class _Search:
    """Finds the values of one column that it refuses; `faults` holds their errors by index."""

    def __init__(self, columns: Columns, number: int, records: Sequence[Any]) -> None:
        self._columns, self._number, self._records = columns, number, records
        self._field = columns.fields[number]
        self._value_of = attrgetter(f"f{number}")
        self._confirmed: Counter[Hashable] = Counter()  # by kind of fault
        self.faults: dict[int, Exception] = {}

    def sound_column(self, error: Exception) -> tuple[pa.Array, Sequence[int]]:
        """The column without the values at fault, and the indexes of those in it; `error` is that of the whole."""
        indexes: Sequence[int] = range(len(self._records))
        built: pa.Array | Exception = error
        for _ in range(_PASSES):
            before = len(self.faults)
            if isinstance(built, ColumnError) and built.rows:
                self._confirm({row: indexes[row] for row in built.rows if row < len(indexes)}, built)
            if len(self.faults) == before:
                break
            indexes = self._others(indexes)
            built = self._built(indexes)
            if not isinstance(built, Exception):
                return built, indexes
        self._halve(indexes)
        indexes = self._others(indexes)
        built = self._built(indexes)
        if isinstance(built, Exception):
            raise TooLarge from built
        return built, indexes

    def _others(self, indexes: Sequence[int]) -> list[int]:
        return [index for index in indexes if index not in self.faults]

    def _confirm(self, named: Mapping[int, int], error: ColumnError) -> None:
        """The values that the column itself named; after many of one kind, the others of that kind are believed.

        `named`: their rows in the column → their records.
        """
        typical: dict[Hashable, Exception] = {}
        for row, index in named.items():
            kind = self._kind(error, index)
            if kind is not None and self._confirmed[kind] >= TYPICAL and kind in typical:
                told = typical[kind] if error.reason_of is None else ColumnError(error.code, error.reason_of(row))
                self.faults[index] = told
                continue
            fault = self._built([index])
            if isinstance(fault, Exception):
                self.faults[index] = fault
                self._confirmed[kind] += 1
                typical[kind] = fault
            else:
                self._confirmed[kind] -= len(self._records)  # the names are not to be believed

    def _kind(self, error: ColumnError, index: int) -> Hashable:
        """What all values of one kind have in common is their fault's code; None when that cannot be told."""
        row = row_of(self._field.type)
        if row is None:
            return None  # what is named there are values inside of values
        if error.code in (RejectCode.NULL_NOT_ALLOWED, RejectCode.CONSTRAINT_FAILED):
            return error.code
        if row.digits:
            try:
                fit_decimal(self._value_of(self._records[index]), *row.digits)
            except (ValueError, OverflowError) as fault:
                return str(fault)
            return None
        return None if self._field.coerce and not row.is_text else error.code

    def _halve(self, indexes: Sequence[int]) -> None:
        """Build ever fewer until each value at fault stands alone."""
        if not indexes or not isinstance(built := self._built(indexes), Exception):
            return
        if len(indexes) == 1:
            self.faults[indexes[0]] = built
            return
        size = CHUNK if len(indexes) > CHUNK else -(-len(indexes) // 2)
        for start in range(0, len(indexes), size):
            self._halve(indexes[start : start + size])

    def _built(self, indexes: Sequence[int]) -> pa.Array | Exception:
        try:
            return self._columns.column(self._number, [self._records[index] for index in indexes])
        except FAULTS as error:
            return error


def _reason(field: Field, error: Exception) -> tuple[str, str]:
    """Code and reason, out of what the column raised for the one value."""
    if isinstance(error, ColumnError):
        return error.code, str(error)
    if isinstance(error, msgspec.ValidationError):
        return RejectCode.BAD_TIMESTAMP, str(error).partition(" - at ")[0]
    if isinstance(error, msgspec.DecodeError | UnicodeError):
        return RejectCode.BAD_TEXT, bad_text(error)
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    if isinstance(field.type, dict):
        return RejectCode.OUT_OF_RANGE, f"Expected `{field.type['type']}`: {reason}"
    return plain_type(field.type).refused_as, f"Expected `{field.type}`: {reason}"


def bad_text(error: Exception) -> str:
    """The reason of a text that cannot be decoded, out of what its decoder raised."""
    if isinstance(error, UnicodeDecodeError):
        return f"its text is no UTF-8: {error.reason}"
    return "its text holds half of a surrogate pair"
