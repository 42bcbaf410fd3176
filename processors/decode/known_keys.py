"""Which records have a primary key that is there already, for types with `"dedupe": "primary_key"`.

A key is there when a row of the table has it, in the partitions that the batch touches
(`processors.load.existing_keys` reads those), or a record before it in the batch: by order of the files, then of the
records. So one task takes all files of a batch. A key with a null in it is never there already.

In memory is a digest of each of those keys: about 100 bytes a key, however long it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import blake2b
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from metadata.reject_codes import RejectCode
from metadata.types.definition import LINEAGE, Definition
from processors.decode.column_faults import Fault
from processors.decode.schema import arrow_type

_SOURCE = LINEAGE[0]
_VALUE_CHARACTERS = 60  # of a key's value, in a message

Key = bytes
"""The digest of a record's primary key."""


class Look(NamedTuple):
    """What one file's keys are."""

    there: dict[int, str | int]  #: position of a record whose key is there already → which file's, or which record's
    new: set[Key]


class KnownKeys:
    """The primary keys that are there. Look at a file's keys, and add them once it is sure that the file is loaded."""

    def __init__(self, definition: Definition) -> None:
        names = [field.name for field in definition.fields]
        self.names = definition.primary_key
        self._columns = [
            (names.index(name), name, _plain(arrow_type(definition.field(name).type))) for name in self.names
        ]
        self._known: dict[Key, int] = {}
        self._sources: list[str] = []

    def keys(self, columns: Sequence[pa.Array]) -> list[Key | None]:
        """Of each record, from the definition's columns; None: a part of its key is null."""
        return _digests([columns[position] for position, _, _ in self._columns])

    def look(self, keys: Sequence[Key | None], numbers: Sequence[int]) -> Look:
        """Judge the keys of one file's records, in their order; `numbers` are theirs in the file."""
        first: dict[Key, int] = {}
        there: dict[int, str | int] = {}
        for position, (key, number) in enumerate(zip(keys, numbers, strict=True)):
            if key is None:
                continue
            if key in self._known:
                there[position] = self._sources[self._known[key]]
            elif first.setdefault(key, number) != number:
                there[position] = first[key]
        return Look(there, set(first))

    def add(self, keys: Iterable[Key], name: str) -> None:
        """These are there from now on, from the file of that name."""
        self._sources.append(name)
        self._known |= dict.fromkeys(keys, len(self._sources) - 1)

    def learn(self, rows: pa.Table) -> None:
        """Rows of the type's table: the key's columns and `_source_file` are looked at."""
        keys = _digests([_of_kind(rows[name].combine_chunks(), kind) for _, name, kind in self._columns])
        sources = rows[_SOURCE].combine_chunks().dictionary_encode()
        before = len(self._sources)
        self._sources += [name or "" for name in sources.dictionary.to_pylist()]
        for key, source in zip(keys, sources.indices.to_pylist(), strict=True):
            if key is not None:
                self._known.setdefault(key, before + (source or 0))

    def fault(self, columns: Sequence[pa.Array], row: int, where: str | int) -> Fault:
        """Why that record is rejected."""
        origin = f"record {where} of the same file" if isinstance(where, int) else where
        values = ", ".join(
            f"{name} {str(columns[position][row].as_py())[:_VALUE_CHARACTERS]!r}" for position, name, _ in self._columns
        )
        return Fault(None, RejectCode.DUPLICATE_KEY, f"its primary key ({values}) is there already, from {origin}")

    @property
    def columns(self) -> tuple[str, ...]:
        """What `learn` needs of the table, and what tells the rows of single loads from others."""
        return (*self.names, *LINEAGE)


def _plain(kind: Any) -> Any:
    """The type without what Arrow calls an extension, as that of a UUID is."""
    return kind.storage_type if isinstance(kind, pa.BaseExtensionType) else kind


def _of_kind(column: Any, kind: Any) -> Any:
    return (column.storage if isinstance(column.type, pa.BaseExtensionType) else column).cast(kind)


def _digests(columns: Sequence[pa.Array]) -> list[Key | None]:
    parts = [part for column in columns for part in _with_length(_as_bytes(column))]
    joined = pc.binary_join_element_wise(*parts, b":")
    return [None if key is None else blake2b(key, digest_size=16).digest() for key in joined.to_pylist()]


def _with_length(column: Any) -> tuple[Any, Any]:
    """The values after their lengths: so no two keys of several parts are written alike."""
    return pc.binary_length(column).cast(pa.string()).cast(pa.binary()), column


def _as_bytes(column: Any) -> Any:
    """Values of a plain type as bytes, equal when they are equal."""
    column, kind = _of_kind(column, _plain(column.type)), _plain(column.type)
    if pa.types.is_fixed_size_binary(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return column.cast(pa.binary())
    if pa.types.is_temporal(kind):
        column = column.cast(pa.int32() if kind.bit_width == 32 else pa.int64())
    return column.cast(pa.string()).cast(pa.binary())
