"""What a worker knows of a table: enough to write and read its data files, and nothing of the catalog.

A worker loads this module and not `processors.lake.lake`, so that it has neither PyIceberg's catalogs nor SQLAlchemy to
import before its first task.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from pyiceberg.io import FileIO, load_file_io
from pyiceberg.table.metadata import TableMetadata, TableMetadataUtil

if TYPE_CHECKING:
    from pyiceberg.table import Table


@dataclass(frozen=True)
class TableHandle:
    """A table as a worker needs it to write data files: picklable, without history and without the catalog."""

    name: str
    metadata_json: str
    io_properties: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, table: Table) -> TableHandle:
        """As the table is now; the catalog's address and password stay behind."""
        metadata = table.metadata.model_copy(
            update={
                "current_snapshot_id": None,
                "snapshots": [],
                "snapshot_log": [],
                "metadata_log": [],
                "refs": {},
                "statistics": [],
                "partition_statistics": [],
            }
        )
        properties = {key: str(value) for key, value in table.io.properties.items() if key != "uri"}
        return cls(
            name=".".join(table.name()),
            metadata_json=metadata.model_dump_json(),
            io_properties=tuple(sorted(properties.items())),
        )

    def open(self) -> tuple[TableMetadata, FileIO]:
        """Its metadata and the way to its files; kept for the process's next call."""
        return _open(self)


@lru_cache(maxsize=16)
def _open(handle: TableHandle) -> tuple[TableMetadata, FileIO]:
    metadata = TableMetadataUtil.parse_raw(handle.metadata_json)
    return metadata, load_file_io(dict(handle.io_properties), metadata.location)
