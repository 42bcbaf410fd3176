"""Constraints of a field over a whole column: one vectorised pass for each, nothing for fields that have none."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, time
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from metadata.types.constraints import Constraint, Limit, limits
from metadata.types.definition import Field
from processors.decode.schema import arrow_type

Mask = Callable[[pa.Array], pa.Array]


class Constraints:
    """The constraints of one field; false when it has none."""

    def __init__(self, field: Field) -> None:
        self._masks = [(limit, _mask(limit, arrow_type(field.type))) for limit in limits(field)]

    def __bool__(self) -> bool:
        return bool(self._masks)

    def broken(self, array: pa.Array) -> tuple[list[int], Callable[[int], str]] | None:
        """The rows that break the first constraint that any breaks, and what tells the reason of any of them.

        A null breaks none.
        """

        def reason_of(limit: Limit, row: int) -> str:
            return limit.reason(_shown(array[row].as_py()))

        for limit, mask in self._masks:
            bad = mask(array)
            if pc.any(bad).as_py():
                rows = pc.indices_nonzero(pc.fill_null(bad, False)).to_pylist()
                return rows, partial(reason_of, limit)
        return None


def _mask(limit: Limit, type_: pa.DataType) -> Mask:
    """What is true where a value breaks the constraint."""
    match limit.constraint:
        case Constraint.MIN:
            low = pa.scalar(limit.bound, type_)
            return lambda array: pc.less(array, low)
        case Constraint.MAX:
            high = pa.scalar(limit.bound, type_)
            return lambda array: pc.greater(array, high)
        case Constraint.MAX_LENGTH:
            return lambda array: pc.greater(pc.utf8_length(array), limit.bound)
        case Constraint.PATTERN:
            return lambda array: _unmatched(array, limit)
    taken = pa.array(limit.bound, type_)
    if pa.types.is_floating(type_):
        taken = pc.add(taken, pa.scalar(0, type_))  # -0 is 0
        return lambda array: _not_in(pc.add(array, pa.scalar(0, type_)), taken)
    return lambda array: _not_in(array, taken)


def _not_in(array: pa.Array, taken: pa.Array) -> pa.Array:
    return pc.and_(pc.is_valid(array), pc.invert(pc.is_in(array, taken)))


def _unmatched(array: pa.Array, limit: Limit) -> pa.Array:
    """Each distinct text is looked at once."""
    distinct = pc.unique(array).drop_null().to_pylist()
    return pc.is_in(array, pa.array([text for text in distinct if not limit.takes(text)], pa.string()))


def _shown(value: Any) -> Any:
    if isinstance(value, date | time):
        return value.isoformat()
    return value if isinstance(value, str | int | float) else str(value)
