"""SQL over the tables: DuckDB, in memory, reading Iceberg's current metadata files. It can read the lake, nothing else.

- One statement at a time, and only one that reads: SELECT, FROM, VALUES, WITH, DESCRIBE, SHOW, SUMMARIZE, EXPLAIN.
- No file outside the warehouse can be opened, no setting changed, no extension fetched; times are UTC.
- Each statement sees the tables as they were when it began, or as they were at `as_of`. What a table was then is read
  from Iceberg's metadata, by PyIceberg; DuckDB only gets a snapshot id.
- Rows come as a stream: a result larger than memory is no problem.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

import duckdb
from pyiceberg.table import Table
from pyiceberg.table.snapshots import Snapshot

from metadata.errors import ConfigurationError, LemonadeError, UsageError, WorldFault
from processors.lake.lake import NAMESPACES, Lake

_CHUNK_ROWS = 1000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_COMMENT = r"(?:\s|--[^\n]*(?:\n|$)|/\*.*?\*/)*"
_EXPLAIN = re.compile(rf"{_COMMENT}EXPLAIN\b{_COMMENT}(?:ANALYZE\b|\([^()]*\))?", re.IGNORECASE | re.DOTALL)
_NOT_FOR_READERS = frozenset(
    {
        "enable_logging",  # writes log files, and as a table function it looks like a SELECT
        "query",  # runs SQL that is put together at run time, so it could hide the one above
        "json_execute_serialized_sql",  # the same
    }
)


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

    def __init__(self, lake: Lake) -> None:
        self.lake = lake
        self._connection: duckdb.DuckDBPyConnection | None = None
        self._views: dict[str, tuple[str, int | None]] = {}
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
            _check_reads(connection, sql)
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
        return self.run(f"DESCRIBE {_quoted(name if name in names else plain[0])}")

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
                connection.execute(f"CREATE SCHEMA {_quoted(namespace)}")
            connection.execute(f"SET search_path = {_text(','.join(NAMESPACES))}")
            self._connection = connection
        return self._connection

    def _refresh(self, connection: duckdb.DuckDBPyConnection, as_of: str | None) -> None:
        """Make one view a table, and only where it has changed since the last statement."""
        tables = self._load_tables()
        pinned = _snapshots_at(tables, as_of)
        for name in self._views.keys() - tables.keys():
            connection.execute(f"DROP VIEW {_quoted(name)}")
            del self._views[name]
        for name, table in tables.items():
            wanted = (table.metadata_location, pinned[name])
            if self._views.get(name) == wanted:
                continue
            try:
                connection.execute(f"CREATE OR REPLACE VIEW {_quoted(name)} AS {_scan(*wanted)}")
            except duckdb.Error as error:
                self._broken[name] = str(error)
            else:
                self._views[name] = wanted

    def _load_tables(self) -> dict[str, Table]:
        """Every readable table by its name; one that cannot be opened is noted and does not stop the others."""
        self._broken.clear()
        tables: dict[str, Table] = {}
        for name in self.lake.table_names():
            try:
                table = self.lake.table(name)
            except WorldFault:
                raise
            except LemonadeError as error:
                self._broken[name] = error.message
                continue
            if table is not None:
                tables[name] = table
        return tables

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
            "python_enable_replacements": "false",  # a table's name must never mean a Python variable of ours
        },
    )
    for name in ("avro", "iceberg"):
        connection.execute(f"LOAD {_text(str(_extension(name)))}")
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute("SET enable_progress_bar = false")
    # Sorts and joins beyond memory spill there; the default is a folder in the working directory.
    connection.execute(f"SET temp_directory = {_text(str(Path(tempfile.gettempdir()) / 'lemonade-query'))}")
    connection.execute(f"SET allowed_directories = [{_text(warehouse)}]")
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


def _check_reads(connection: duckdb.DuckDBPyConnection, sql: str) -> None:
    """UsageError unless `sql` is exactly one statement that only reads."""
    # By the locked connection: looking at `IMPORT DATABASE` already opens a file.
    statements = connection.extract_statements(sql)
    if not statements:
        raise UsageError("running SQL: there is no statement; type one, such as: SELECT count(*) FROM vehicle_events")
    kinds = [statement.type for statement in statements]
    pivot = kinds == [duckdb.StatementType.CREATE, duckdb.StatementType.SELECT] and _is_pivot(sql)
    if len(statements) > 1 and not pivot:
        raise UsageError(f"running SQL: it holds {len(statements)} statements; give one at a time")
    kind = kinds[-1]
    if kind == duckdb.StatementType.EXPLAIN:
        kind = _explained(connection, sql)
    if kind != duckdb.StatementType.SELECT:
        raise UsageError(
            f"running SQL: {kind.name} is refused, for `query` only reads; "
            "it takes SELECT, FROM, WITH, VALUES, DESCRIBE, SHOW, SUMMARIZE and EXPLAIN of these"
        )
    called = _called_functions(sql) & _NOT_FOR_READERS
    if called:
        raise UsageError(f"running SQL: the function {min(called)} is refused, for `query` only reads")


def _is_pivot(sql: str) -> bool:
    """A PIVOT without its values is two statements to DuckDB: a type of the values it finds, in memory; the SELECT."""
    return re.match(rf"{_COMMENT}(?:PIVOT|FROM|SELECT|WITH)\b", sql, re.IGNORECASE | re.DOTALL) is not None


def _explained(connection: duckdb.DuckDBPyConnection, sql: str) -> duckdb.StatementType:
    """The kind of what is explained, for EXPLAIN ANALYZE runs it; EXPLAIN itself when that cannot be told."""
    match = _EXPLAIN.match(sql)
    rests = [sql[match.end() :]] if match else []
    if match and match.group().endswith(")"):
        rests.append(sql[match.end() - len(match.group()) :].lstrip()[len("EXPLAIN") :])
    for rest in rests:
        try:
            inner = connection.extract_statements(rest)
        except duckdb.Error:
            continue
        if len(inner) == 1:
            return inner[0].type
    return duckdb.StatementType.EXPLAIN


def _called_functions(sql: str) -> set[str]:
    """Names that stand before an opening bracket, in lower case and without their quotes."""
    encoded = sql.encode()
    starts = [start for start, kind in duckdb.tokenize(sql) if kind != duckdb.token_type.comment]
    tokens = [
        encoded[start:end].decode(errors="replace")
        for start, end in zip(starts, [*starts[1:], len(encoded)], strict=True)
    ]
    called = set()
    for token, follows in pairwise(tokens):
        name = re.match(r'"([^"]+)"|\w+', token)  # a comment may stand between name and bracket
        if name and follows.startswith("("):
            called.add((name[1] or name[0]).casefold())
    return called


# -- what a table was at a moment -----------------------------------------------------------------------------------


def _snapshots_at(tables: dict[str, Table], as_of: str | None) -> dict[str, int | None]:
    """The snapshot id to read of each table; None where it had none."""
    if as_of is None:
        current = {name: table.current_snapshot() for name, table in tables.items()}
        return {name: snapshot.snapshot_id if snapshot else None for name, snapshot in current.items()}
    text = as_of.strip()
    if re.fullmatch(r"\d+", text):
        return _at_snapshot(tables, int(text))
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(
            f"reading as of {as_of!r}: it is neither a snapshot id nor a time such as 2026-01-15T12:00:00Z"
        ) from None
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    at_ms = (moment - _EPOCH) // timedelta(milliseconds=1)
    return {name: _at_time(name, table, at_ms) for name, table in tables.items()}


def _at_snapshot(tables: dict[str, Table], snapshot_id: int) -> dict[str, int | None]:
    for owner, table in tables.items():
        snapshot: Snapshot | None = table.snapshot_by_id(snapshot_id)
        if snapshot is not None:
            return {
                name: snapshot_id if name == owner else _at_time(name, other, snapshot.timestamp_ms)
                for name, other in tables.items()
            }
    raise UsageError(
        f"reading as of snapshot {snapshot_id}: no table has it (any more); `lemonade batches` shows the snapshots"
    )


def _at_time(name: str, table: Table, at_ms: int) -> int | None:
    """The last snapshot that was current at that millisecond; UsageError when it may have been expired since."""
    log = table.history()
    earlier = [entry.snapshot_id for entry in log if entry.timestamp_ms <= at_ms]
    found = table.snapshot_by_id(earlier[-1]) if earlier else None
    follows = table.snapshot_by_id(log[len(earlier)].snapshot_id) if len(earlier) < len(log) else None
    if (earlier and found is None) or (follows is not None and _lost_parent(table, follows)):
        raise UsageError(f"reading {name} as of an earlier time: its snapshots of that time have expired")
    return found.snapshot_id if found is not None else None


def _lost_parent(table: Table, snapshot: Snapshot) -> bool:
    """Whether the snapshot before this one was expired; some engines clear the link to it, others leave it dangling."""
    if snapshot.parent_snapshot_id is None:
        return (snapshot.sequence_number or 0) > 1
    return table.snapshot_by_id(snapshot.parent_snapshot_id) is None


def _scan(metadata_location: str, snapshot_id: int | None) -> str:
    """Reads one snapshot; without one, no row of the table's present columns."""
    if snapshot_id is None:
        return f"SELECT * FROM iceberg_scan({_text(metadata_location)}) WHERE false"
    return f"SELECT * FROM iceberg_scan({_text(metadata_location)}, snapshot_from_id = {snapshot_id})"


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


def _quoted(name: str) -> str:
    """`namespace.table` as SQL identifiers."""
    return ".".join('"' + part.replace('"', '""') + '"' for part in name.split("."))


def _text(value: str) -> str:
    """A SQL text literal."""
    return "'" + value.replace("'", "''") + "'"


def split_statements(text: str) -> tuple[list[str], str]:
    """The statements of `text` that a `;` ends, and what follows the last of them; a `;` in quotes ends nothing."""
    encoded = text.encode()
    statements: list[str] = []
    begin, rest = 0, False
    for start, kind in duckdb.tokenize(text):
        if kind == duckdb.token_type.operator and encoded[start : start + 1] == b";":
            statements.append(encoded[begin:start].decode().strip())
            begin, rest = start + 1, False
        elif kind != duckdb.token_type.comment:
            rest = True
    return [statement for statement in statements if statement], encoded[begin:].decode() if rest else ""
