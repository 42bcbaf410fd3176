"""The entrance for programs of other people: a file type registered from Python."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from metadata.clock import SystemClock
from metadata.database.engine import Database
from metadata.registry.registry import Registry
from metadata.settings import Settings
from metadata.types.file_type import FileType


def get_or_create_table_metadata(
    table_name: str,
    file_type: str,
    schema_definition: Mapping[str, Any] | None = None,
    partition_column: str | None = None,
    processing_config: Mapping[str, Any] | None = None,
    description: str | None = None,
    *,
    settings: Settings | None = None,
) -> FileType:
    """Register a file type from Python, or get it as it is when it has a schema already.

    With a schema the type is active and a running daemon takes its files from its next scan on; without one it is an
    inactive record. `partition_column` is an older name for `partition_by` of the processing config; both default to
    the date of the file's name. Makes the database's tables if need be. `settings`: None reads environment and `.env`.
    Raises ConfigurationError with every fault of the definition.
    """
    database = Database((settings or Settings.load()).database_url)
    try:
        database.migrate()
        return Registry(database, SystemClock()).get_or_create(
            {
                "table_name": table_name,
                "file_type": file_type,
                "schema_definition": schema_definition,
                "partition_column": partition_column,
                "processing_config": processing_config,
                "description": description,
            }
        )
    finally:
        database.close()
