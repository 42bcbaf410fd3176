"""How data files are written as Parquet: compression, dictionaries, bounds of columns; properties of every table."""

from __future__ import annotations

from pyiceberg.partitioning import PartitionSpec
from pyiceberg.schema import Schema

BOUNDS = "write.metadata.metrics.column."
"""Before a column's name: how much of its least and greatest value is kept of each data file."""

PARQUET_PROPERTIES = {
    # As small as level 3 on this kind of data, in half the time.
    "write.parquet.compression-codec": "zstd",
    "write.parquet.compression-level": "1",
    # Columns that do not repeat give their dictionary up early: a sixth less time, and no larger.
    "write.parquet.dict-size-bytes": str(128 * 1024),
    # Bounds are cut to 16 characters otherwise, which all UUIDs of one day share.
    f"{BOUNDS}_file_id": "full",
    f"{BOUNDS}_batch_id": "full",
}


def partition_bounds(schema: Schema, spec: PartitionSpec) -> dict[str, str]:
    """Whole bounds of the columns that a table is divided by: recovery infers a file's partition from them.

    Beyond 100 columns there are none by default.
    """
    return {f"{BOUNDS}{schema.find_column_name(field.source_id)}": "full" for field in spec.fields}
