"""SQL statements as text: where each ends, and whether it only reads."""

from __future__ import annotations

import re
from itertools import pairwise

import duckdb

from metadata.errors import UsageError

_COMMENT = r"(?:\s|--[^\n]*(?:\n|$)|/\*.*?\*/)*"
_EXPLAIN = re.compile(rf"{_COMMENT}EXPLAIN\b{_COMMENT}(?:ANALYZE\b|\([^()]*\))?", re.IGNORECASE | re.DOTALL)
_NOT_FOR_READERS = frozenset(
    {
        "enable_logging",  # writes log files, and as a table function it looks like a SELECT
        "query",  # runs SQL that is put together at run time, so it could hide the one above
        "json_execute_serialized_sql",  # the same
    }
)


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


def check_reads(connection: duckdb.DuckDBPyConnection, sql: str) -> None:
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
