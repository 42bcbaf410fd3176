"""Taking away what Lemonade made: for starting again from nothing on a developer's machine.

Only what has the form in which Lemonade makes it goes; folders themselves, `.gitkeep` files, lock files and whatever
else lies beside stay. Symlinks are removed, never followed.
"""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import make_url

from metadata.database.engine import Database
from metadata.errors import UsageError
from metadata.settings import Settings

_KEEP = frozenset({".gitkeep", ".lemonade.lock", ".lemonade.wake"})
_TYPE = re.compile(r"[a-z][a-z0-9_]{0,62}")
_DAY = re.compile(r"\d{4}-\d\d-\d\d")


def check_can_clean(settings: Settings) -> None:
    """UsageError unless everything of these settings lies on this machine and is nobody's production."""
    if settings.env == "production":
        raise UsageError("cleaning: ENV is production; use --no-cleanup, which only adds")
    remote = [
        what
        for what, local in (
            ("the database", make_url(settings.database_url).get_backend_name() == "sqlite"),
            ("the catalog", make_url(settings.catalog_uri).get_backend_name() == "sqlite"),
            ("the warehouse", _warehouse(settings) is not None),
        )
        if not local
    ]
    if remote:
        raise UsageError(
            f"cleaning: {' and '.join(remote)} may be shared with others; use --no-cleanup, which only adds"
        )


def places(settings: Settings) -> list[Path]:
    """Where `clean` takes something away, for the question before it."""
    return [
        settings.incoming_folder,
        settings.source_data_base,
        settings.processed_folder,
        *([warehouse] if (warehouse := _warehouse(settings)) else []),
        *_database_files(settings),
    ]


def clean(settings: Settings) -> int:
    """Remove source files, tables, catalog and ledger; returns the number of files. The caller holds the lock."""
    check_can_clean(settings)
    doomed = [*_source_files(settings), *_loaded_files(settings), *_tables(settings)]
    databases = [path for path in _database_files(settings) if path.exists()]
    removed = sum(_remove(path) for path in doomed)
    for path in databases:
        for file in (path, Path(f"{path}-wal"), Path(f"{path}-shm")):
            file.unlink(missing_ok=True)
    return removed + len(databases)


def _source_files(settings: Settings) -> Iterator[Path]:
    """Files in incoming/ (folders there are not ours), and what lies in the folders that `init` makes."""
    yield from (path for path in _entries(settings.incoming_folder) if path.is_symlink() or not path.is_dir())
    for folder in settings.folders.all():
        if folder.parent == settings.source_data_base:
            yield from _entries(folder)


def _loaded_files(settings: Settings) -> Iterator[Path]:
    """processed/<type>/<day>/"""
    for kind in _entries(settings.processed_folder):
        if _TYPE.fullmatch(kind.name) and kind.is_dir() and not kind.is_symlink():
            yield from (day for day in _entries(kind) if _DAY.fullmatch(day.name))


def _tables(settings: Settings) -> Iterator[Path]:
    """<warehouse>/<namespace>/<table>/ that hold Iceberg's folders, and the receipts of their batches."""
    from processors.lake.table_versions import NAMESPACES
    from processors.receipts.batches import FOLDER

    warehouse = _warehouse(settings)
    if warehouse is None:
        return
    yield from _entries(warehouse / FOLDER)
    for namespace in NAMESPACES:
        for table in _entries(warehouse / namespace):
            if (table / "metadata").is_dir() or (table / "data").is_dir():
                yield table


def _database_files(settings: Settings) -> list[Path]:
    """The SQLite files that hold our tables; a file that holds anything else is not ours to remove."""
    found = []
    for url, table in ((settings.database_url, "source_files"), (settings.catalog_uri, "iceberg_tables")):
        path = Database(url).sqlite_path()
        if path is not None and path.exists() and path not in found and _holds(path, table):
            found.append(path)
    return found


def _holds(path: Path, table: str) -> bool:
    try:
        connection = sqlite3.connect(path)
        try:
            query = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?"
            return connection.execute(query, (table,)).fetchone() is not None
        finally:
            connection.close()
    except sqlite3.DatabaseError:
        return False


def _warehouse(settings: Settings) -> Path | None:
    """The warehouse's folder; None when it is not on this machine."""
    text = settings.warehouse.removeprefix("file://")
    return None if "://" in text else Path(text)


def _entries(folder: Path) -> list[Path]:
    if folder.is_symlink() or not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.name not in _KEEP)


def _remove(path: Path) -> int:
    """Remove a file or a whole folder; returns how many files that were."""
    if path.is_symlink() or not path.is_dir():
        path.unlink()
        return 1
    files = sum(len(names) for _, _, names in os.walk(path))
    shutil.rmtree(path)
    return files
