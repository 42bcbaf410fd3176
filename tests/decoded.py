"""Definitions in a line, and what decoding makes of a file as plain values."""

from __future__ import annotations

from typing import Any

from metadata.types.definition import Definition
from metadata.types.parse_definition import parse_definition
from processors.decode.decoder import DecodedGroup, DecodedRecords

KEYS = ("things",)


def define(*fields: dict[str, Any], **more: Any) -> Definition:
    """A definition with a required id and these fields."""
    return parse_definition({"fields": [{"name": "id", "type": "long", "nullable": False}, *fields], **more})


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
