"""SQL over the tables: DuckDB, in memory, reading Iceberg's current metadata files. It can read the lake, nothing else.

- One statement at a time, and only one that reads: SELECT, FROM, VALUES, WITH, DESCRIBE, SHOW, SUMMARIZE, EXPLAIN.
- No file outside the warehouse can be opened, no setting changed, no extension fetched; times are UTC.
- Each statement sees the tables as they were when it began, or as they were at `as_of`. What a table was then is read
  from Iceberg's metadata, of an earlier time by PyIceberg; DuckDB only gets a snapshot id.
- Rows come as a stream: a result larger than memory is no problem.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb

from metadata.errors import ConfigurationError, LemonadeError, UsageError, WorldFault
from processors.lake.lake_on_demand import ReadableLake
from processors.lake.table_versions import NAMESPACES, TableVersion, current_version, metadata_locations
from processors.read.as_of import snapshots_at
from processors.read.statements import check_reads

if TYPE_CHECKING:
    from pyiceberg.table import Table

_CHUNK_ROWS = 1000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class ResultColumn:
    """A column of a result; `type` in DuckDB's words, such as `TIMESTAMP WITH TIME ZONE`."""

    name: str
    type: str


@dataclass(frozen=True)
class TableInfo:
    """A table as a person wants to see it listed; `snapshot_id` is None while nothing was ever loaded."""

    name: str
    rows: int | None
    snapshot_id: int | None
    committed_at: datetime | None


class Result:
    """The rows of one statement. They are read while they are asked for, so the next statement ends this result."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, hint: str) -> None:
        self._connection = connection
        self._hint = hint
        self.columns = tuple(ResultColumn(str(entry[0]), str(entry[1])) for entry in connection.description or ())

    def chunks(self, rows: int = _CHUNK_ROWS) -> Iterator[list[tuple[Any, ...]]]:
        """Rows in lists of at most `rows`, as Python values: aware UTC datetimes, Decimal, UUID, bytes, dict, list."""
        while True:
            with _our_errors(self._connection, self._hint):
                chunk = self._connection.fetchmany(rows)
            if not chunk:
                return
            yield chunk

    def rows(self) -> list[tuple[Any, ...]]:
        """Every row; for results that are known to be small."""
        return [row for chunk in self.chunks() for row in chunk]


class QueryEngine:
    """DuckDB over one lake. Not for several threads."""

    def __init__(self, lake: ReadableLake) -> None:
        self.lake = lake
        self._connection: duckdb.DuckDBPyConnection | None = None
        self._views: dict[str, TableVersion] = {}
        self._broken: dict[str, str] = {}

    def run(self, sql: str, as_of: str | None = None) -> Result:
        """Run one reading statement over the tables as they are now, or as they were at `as_of`.

        `as_of` is a snapshot id, or a time in ISO 8601: without a zone it is UTC, a date alone is the moment at which
        that day begins. With a snapshot id its table is read at that snapshot, all others as they were when it was
        committed. A table that did not exist then, or had no rows, is empty. Ctrl-C ends the statement with
        KeyboardInterrupt. Raises UsageError, with DuckDB's words, for what it cannot or will not run.
        """
        connection = self._ready()
        with _our_errors(connection, self._hint()):
            check_reads(connection, sql)
        self._refresh(connection, as_of)
        with _our_errors(connection, self._hint()):
            connection.execute(sql)
        return Result(connection, self._hint())

    def describe(self, name: str) -> Result:
        """Columns and types of one table, by its plain or full name. Raises UsageError when there is none."""
        names = self.lake.table_names()
        plain = [full for namespace in NAMESPACES for full in names if full == f"{namespace}.{name}"]
        if name not in names and not plain:
            raise UsageError(f"describing {name!r}: there is no such table; {_listed(names)}")
        return self.run(f"DESCRIBE {quoted(name if name in names else plain[0])}")

    def tables(self) -> list[TableInfo]:
        """Every table that can be read, with its rows as its last snapshot counts them."""
        found = []
        for name, table in self._load_tables().items():
            snapshot = table.current_snapshot()
            if snapshot is None:
                found.append(TableInfo(name, 0, None, None))
                continue
            total = snapshot.summary.additional_properties.get("total-records") if snapshot.summary else None
            committed = _EPOCH + timedelta(milliseconds=snapshot.timestamp_ms)
            found.append(TableInfo(name, None if total is None else int(total), snapshot.snapshot_id, committed))
        return found

    # -- views over the tables ------------------------------------------------------------------------------------

    def _ready(self) -> duckdb.DuckDBPyConnection:
        """The connection: set up at its first use, and locked from then on."""
        if self._connection is None:
            if "://" in self.lake.warehouse and not self.lake.warehouse.startswith("file://"):
                reason = "SQL reads warehouses on this machine's disks; read this one with another Iceberg engine"
                raise ConfigurationError(f"querying {self.lake.warehouse}", [reason])
            connection = _connect(self.lake.warehouse)
            for namespace in NAMESPACES:
                connection.execute(f"CREATE SCHEMA {quoted(namespace)}")
            connection.execute(f"SET search_path = {literal(','.join(NAMESPACES))}")
            self._connection = connection
        return self._connection

    def _refresh(self, connection: duckdb.DuckDBPyConnection, as_of: str | None) -> None:
        """Make one view a table, and only where it has changed since the last statement."""
        versions = self._current_versions() if as_of is None else self._versions_at(as_of)
        for name in self._views.keys() - versions.keys():
            connection.execute(f"DROP VIEW {quoted(name)}")
            del self._views[name]
        for name, version in versions.items():
            if self._views.get(name) == version:
                continue
            try:
                connection.execute(f"CREATE OR REPLACE VIEW {quoted(name)} AS {_scan(version)}")
            except duckdb.Error as error:
                self._broken[name] = str(error)
            else:
                self._views[name] = version

    def _current_versions(self) -> dict[str, TableVersion]:
        """The tables as they are now; PyIceberg is asked only for what cannot be read without it."""
        self._broken.clear()
        locations = metadata_locations(self.lake.catalog_uri)
        versions: dict[str, TableVersion] = {}
        for name in self.lake.table_names() if locations is None else locations:
            version = None if locations is None else current_version(locations[name])
            if version is None and (table := self._opened(name)) is not None:
                snapshot = table.current_snapshot()
                version = TableVersion(table.metadata_location, snapshot.snapshot_id if snapshot else None)
            if version is not None:
                versions[name] = version
        return versions

    def _versions_at(self, as_of: str) -> dict[str, TableVersion]:
        """The tables as they were; see `run`."""
        tables = self._load_tables()
        snapshot_ids = snapshots_at(tables, as_of)
        return {name: TableVersion(table.metadata_location, snapshot_ids[name]) for name, table in tables.items()}

    def _load_tables(self) -> dict[str, Table]:
        """Every readable table by its name."""
        self._broken.clear()
        opened = {name: self._opened(name) for name in self.lake.table_names()}
        return {name: table for name, table in opened.items() if table is not None}

    def _opened(self, name: str) -> Table | None:
        """A table; one that cannot be opened is noted and does not stop the others."""
        try:
            return self.lake.table(name)
        except WorldFault:
            raise
        except LemonadeError as error:
            self._broken[name] = error.message
            return None

    def _hint(self) -> str:
        """What to say to somebody who asked for a table that is not there."""
        broken = "".join(f"\n{name} cannot be read: {reason}" for name, reason in sorted(self._broken.items()))
        return _listed(sorted(self._views)) + broken


def _connect(warehouse: str) -> duckdb.DuckDBPyConnection:
    """An empty database in memory with the Iceberg extension, which can open files of `warehouse` and nothing else."""
    connection = duckdb.connect(
        ":memory:",
        config={
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
            # The check of their signatures hashes 60 MB, a third of a second of each start. Both come in wheels, as the
            # engine itself does, and nothing else is ever loaded: LOAD is no statement that reads, and is locked below.
            "allow_unsigned_extensions": "true",
            "python_enable_replacements": "false",  # a table's name must never mean a Python variable of ours
        },
    )
    for name in ("avro", "iceberg"):
        connection.execute(f"LOAD {literal(str(_extension(name)))}")
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute("SET enable_progress_bar = false")
    # Sorts and joins beyond memory spill there; the default is a folder in the working directory.
    connection.execute(f"SET temp_directory = {literal(str(Path(tempfile.gettempdir()) / 'lemonade-query'))}")
    connection.execute(f"SET allowed_directories = [{literal(warehouse)}]")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")
    return connection


def _extension(name: str) -> Path:
    """The extension's file in its wheel, for exactly the engine that runs."""
    package = f"duckdb_extension_{name}"
    spec = find_spec(package)
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = Path(folder) / "extensions" / f"v{duckdb.__version__}" / f"{name}.duckdb_extension"
        if path.exists():
            return path
    wanted = f"{package.replace('_', '-')}=={duckdb.__version__}"
    raise ConfigurationError("preparing SQL", [f"DuckDB's extension {name!r} is missing; run: pip install {wanted}"])


def _scan(version: TableVersion) -> str:
    """Reads one snapshot; without one, no row of the table's present columns."""
    if version.snapshot_id is None:
        return f"SELECT * FROM iceberg_scan({literal(version.metadata_location)}) WHERE false"
    return f"SELECT * FROM iceberg_scan({literal(version.metadata_location)}, snapshot_from_id = {version.snapshot_id})"


# -- words ------------------------------------------------------------------------------------------------------------


@contextmanager
def _our_errors(connection: duckdb.DuckDBPyConnection, hint: str) -> Iterator[None]:
    """The one place where DuckDB's errors become ours."""
    try:
        yield
    except (duckdb.IOException, duckdb.HTTPException) as error:
        raise WorldFault(
            f"running SQL: {error}; a file of the table cannot be read: check the disk, then ask again",
            code="warehouse_away",
        ) from error
    except (duckdb.InternalException, duckdb.FatalException):
        raise
    except duckdb.CatalogException as error:
        unknown_table = str(error).startswith("Catalog Error: Table")
        raise UsageError(f"running SQL: {error}" + (f"\n{hint}" if unknown_table else "")) from error
    except duckdb.Error as error:
        raise UsageError(f"running SQL: {error}") from error
    except RuntimeError as error:
        if isinstance(error.__cause__, KeyboardInterrupt):  # that is how DuckDB reports a Ctrl-C
            connection.interrupt()  # its other threads may have missed it, and everything would wait for them
            raise KeyboardInterrupt from error
        raise


def _listed(names: Sequence[str]) -> str:
    return "tables: " + ", ".join(names) if names else "there are no tables yet; they come with the first load"


def quoted(name: str) -> str:
    """`namespace.table` as SQL identifiers."""
    return ".".join('"' + part.replace('"', '""') + '"' for part in name.split("."))


def literal(value: str) -> str:
    """A SQL text literal."""
    return "'" + value.replace("'", "''") + "'"
