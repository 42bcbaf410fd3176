"""Which version of each table is current, read from a SQL catalog and metadata files on this machine's disks.

Without PyIceberg, which takes a second to load: a short command would wait for it longer than for its answer. Only what
the Iceberg specification says is read: the rows of a SQL (JDBC) catalog, `current-snapshot-id` of a metadata file. What
is not found so (another kind of catalog, a file that is gone) is left to `processors.lake.lake` and its words.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import create_engine, make_url, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from metadata.types.config import RAW_NAMESPACE, SUMMARY_NAMESPACE

CATALOG_NAME = "lemonade"  # a SQL catalog keys its entries by this name: another one shows an empty lake
NAMESPACES = (RAW_NAMESPACE, SUMMARY_NAMESPACE, "quarantine")

# Catalogs that know views have a column `iceberg_type`, others have not: hence all columns.
_TABLES = text("SELECT * FROM iceberg_tables WHERE catalog_name = :catalog")
_NO_SNAPSHOT = (None, -1)


class TableVersion(NamedTuple):
    """A table at one moment."""

    metadata_location: str
    snapshot_id: int | None  #: None: nothing was ever loaded


def metadata_locations(catalog_uri: str) -> dict[str, str] | None:
    """`namespace.table` → where its current metadata file is; None when the catalog must be asked by PyIceberg."""
    if catalog_uri.startswith(("http://", "https://")):
        return None
    try:
        url = make_url(catalog_uri)
        if url.get_backend_name() == "sqlite" and not Path(url.database or "").exists():
            return None  # SQLite would make an empty one
        with create_engine(url, poolclass=NullPool).connect() as connection:
            rows = connection.execute(_TABLES, {"catalog": CATALOG_NAME}).mappings().all()
    except (SQLAlchemyError, ModuleNotFoundError):  # it is away, has no tables yet, or its driver is not installed
        return None
    return {
        f"{row['table_namespace']}.{row['table_name']}": row["metadata_location"]
        for row in rows
        if row["table_namespace"] in NAMESPACES
        and row["metadata_location"]
        and row.get("iceberg_type") in (None, "TABLE")
    }


def current_version(metadata_location: str) -> TableVersion | None:
    """The version that a metadata file describes; None when the file cannot be read as it is."""
    try:
        metadata = json.loads(Path(metadata_location.removeprefix("file://")).read_bytes())
        snapshot_id = metadata.get("current-snapshot-id")
        return TableVersion(metadata_location, None if snapshot_id in _NO_SNAPSHOT else int(snapshot_id))
    except (OSError, ValueError, TypeError, AttributeError):
        return None
