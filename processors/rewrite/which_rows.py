"""Which rows of a table are meant: by micro-batch and source file, or one by one.

They are told by their lineage (`_batch_id`, `_file_id`, `_record_no`), so it does not matter what came later to the
same partition, nor into which data files compaction has put them since.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.conversions import from_bytes
from pyiceberg.expressions import And, BooleanExpression, EqualTo, In, Or
from pyiceberg.schema import Schema
from pyiceberg.types import StringType

if TYPE_CHECKING:
    from pyiceberg.manifest import DataFile

    from metadata.database.models import SourceFile
    from metadata.ledger.values import RecordKey


@dataclass(frozen=True)
class LoadedRows:
    """Rows that were loaded: of which micro-batches, and of which of their source files (None: of all)."""

    of: tuple[tuple[str, frozenset[str] | None], ...]

    @classmethod
    def from_files(cls, files: Iterable[SourceFile]) -> LoadedRows:
        """What these files have loaded; none of their batches' other files."""
        by_batch: dict[str, set[str]] = {}
        for file in files:
            by_batch.setdefault(str(file.batch_id), set()).add(file.id)
        return cls(tuple((batch_id, frozenset(ids)) for batch_id, ids in sorted(by_batch.items())))

    @classmethod
    def from_batch(cls, batch_id: str) -> LoadedRows:
        """What a whole micro-batch has loaded."""
        return cls(((batch_id, None),))

    def row_filter(self) -> BooleanExpression:
        """The rows, as a filter that finds the data files which may hold some."""

        def one(batch_id: str, file_ids: frozenset[str] | None) -> BooleanExpression:
            batch = EqualTo("_batch_id", batch_id)  # type: ignore[call-arg,arg-type] # pydantic hides its own __init__
            if file_ids is None:
                return batch
            return And(batch, In("_file_id", sorted(file_ids)))  # type: ignore[call-arg,arg-type] # pydantic hides its own __init__

        parts = [one(batch_id, file_ids) for batch_id, file_ids in self.of]
        while len(parts) > 1:  # halved again and again: a chain of hundreds would nest too deep
            parts = [Or(*parts[at : at + 2]) if at + 1 < len(parts) else parts[at] for at in range(0, len(parts), 2)]
        return parts[0]

    def mask(self, rows: pa.Table) -> Any:
        """For each row whether it is one of them; never null."""

        def one(batch_id: str, file_ids: frozenset[str] | None) -> Any:
            mask = pc.equal(rows["_batch_id"], batch_id)
            if file_ids is None:
                return mask
            wanted = pa.array(sorted(file_ids), rows["_file_id"].type)
            return pc.and_(mask, pc.is_in(rows["_file_id"], value_set=wanted))

        return pc.fill_null(reduce(pc.or_, (one(batch_id, file_ids) for batch_id, file_ids in self.of)), False)

    def is_all_of(self, data_file: DataFile, schema: Schema) -> bool:
        """Whether a data file's metrics show that it holds these rows and no others."""
        batch_id = _only_value(data_file, schema, "_batch_id")
        return any(
            batch_id == each and (file_ids is None or _only_value(data_file, schema, "_file_id") in file_ids)
            for each, file_ids in self.of
        )


@dataclass(frozen=True)
class KeyedRows:
    """Single records, wherever they are now."""

    keys: frozenset[RecordKey]

    @classmethod
    def of(cls, keys: Iterable[RecordKey]) -> KeyedRows:
        """These records."""
        return cls(frozenset(keys))

    def row_filter(self) -> BooleanExpression:
        """Finds the data files which may hold some."""
        batches, files = ({key.batch_id for key in self.keys}, {key.file_id for key in self.keys})
        return And(In("_batch_id", sorted(batches)), In("_file_id", sorted(files)))  # type: ignore[call-arg,arg-type] # pydantic hides its own __init__

    def mask(self, rows: pa.Table) -> Any:
        """For each row whether it is one of them; never null."""
        names = [rows[name].cast(pa.string()) for name in ("_batch_id", "_file_id", "_record_no")]
        wanted = pa.array([f"{key.batch_id} {key.file_id} {key.record_no}" for key in self.keys], pa.string())
        return pc.fill_null(pc.is_in(pc.binary_join_element_wise(*names, " "), value_set=wanted), False)

    def is_all_of(self, data_file: DataFile, schema: Schema) -> bool:
        """Never known from metrics: they do not tell which numbers lie between the bounds."""
        return False


Rows = LoadedRows | KeyedRows


def _only_value(data_file: DataFile, schema: Schema, column: str) -> str | None:
    """The one value that every row of a data file has in a text column; None when its metrics do not show one."""
    field_id = schema.find_field(column).field_id
    lower, upper = ((bounds or {}).get(field_id) for bounds in (data_file.lower_bounds, data_file.upper_bounds))
    if lower is None or lower != upper or (data_file.null_value_counts or {}).get(field_id) != 0:
        return None
    return str(from_bytes(StringType(), lower))
