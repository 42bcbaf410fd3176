"""Definitions in a line, and what decoding makes of a file as plain values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from metadata.types.definition import Definition
from metadata.types.parse_definition import parse_definition
from processors.decode.decoder import Decoder
from processors.decode.file_rejects import Rejected, RejectLimits
from processors.decode.results import DecodedGroup, DecodedRecords

KEYS = ("things",)


def define(*fields: dict[str, Any], **more: Any) -> Definition:
    """A definition with a required id and these fields."""
    return parse_definition({"fields": [{"name": "id", "type": "long", "nullable": False}, *fields], **more})


@dataclass(frozen=True)
class WholeFile:
    """What decoding made of one file alone, in one piece."""

    columns: list[pa.Array]
    record_nos: list[int]  #: of the good records
    records: int  #: good and bad
    rejected: list[Rejected]


def decode_file(definition: Definition, data: bytes, lines: bool = False, keys: Sequence[str] = KEYS) -> WholeFile:
    """One file alone, whatever number of its records is rejected. Raises FileRefused."""
    group = Decoder(definition, keys, limits=RejectLimits(ratio=1)).decode_many([("f", data, lines)])
    (result,) = group.files
    if result.refused is not None:
        raise result.refused
    columns = [pa.concat_arrays(parts) for parts in zip(*(batch.columns for batch in group.batches), strict=True)]
    record_nos = [number for batch in group.batches for number in batch.record_nos().to_pylist()]
    empty = [pa.nulls(0)] * len(definition.fields)
    return WholeFile(columns or empty, record_nos, result.records, result.rejected)


def rows_of(group: DecodedGroup) -> list[tuple[Any, ...]]:
    """The rows of all batches as (file, record number, columns…, rescued)."""
    rows: list[tuple[Any, ...]] = []
    files = [str(number) for number in range(len(group.files))]
    for batch in group.batches:
        rescued = [None] * batch.rows if batch.rescued is None else batch.rescued.to_pylist()
        columns = [
            [int(file) for file in batch.per_file(files).to_pylist()],
            batch.record_nos().to_pylist(),
            *(column.to_pylist() for column in batch.columns),
            rescued,
        ]
        rows += zip(*columns, strict=True)
    return rows


def single_rows(decoded: DecodedRecords) -> list[tuple[Any, ...]]:
    """The rows of single records as (index, columns…, rescued)."""
    rescued = [None] * len(decoded.good) if decoded.rescued is None else decoded.rescued.to_pylist()
    columns = [column.to_pylist() for column in decoded.columns]
    return list(zip(decoded.good, *columns, rescued, strict=True))
