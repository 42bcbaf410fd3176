"""`lemonade query`: SQL over the tables, once or at a prompt.

Values in JSON and CSV keep one form a type: times as ISO 8601 text, with `Z` where they are UTC; decimals as text, for
a JSON number would lose digits; uuid as text; binary in base64; `json` columns as the text that they are; structs as
objects, lists as arrays, maps as objects. A number that JSON cannot hold is the text `NaN`, `Infinity` or `-Infinity`.
"""

from __future__ import annotations

import base64
import json
import math
import re
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO
from uuid import UUID

import click

from metadata.errors import LemonadeError, UsageError

if TYPE_CHECKING:
    from processors.read.query import QueryEngine, Result, ResultColumn
    from watcher.app import App

_WIDEST_CELL = 60
_NARROWEST_CELL = 12
_CSV_QUOTED = re.compile(r'[",\r\n]|^\s|\s$')
_EXPLAIN = ["explain_key", "explain_value"]
_RIGHT = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT")
_HELP = """\
SELECT …;        run a statement; it may have several lines and ends with a semicolon
.tables          the tables, their rows and last snapshots
.schema NAME     the columns of a table
.help            this
.quit            leave; so does Ctrl-D"""


@click.command()
@click.argument("sql", required=False)
@click.option(
    "--format",
    "style",
    type=click.Choice(["table", "json", "csv"]),
    default="table",
    show_default=True,
    help="Text for the eye (long cells are cut), an array of objects, or comma-separated values with a header.",
)
@click.option(
    "--as-of",
    metavar="TIME|SNAPSHOT",
    help="Read the tables as they were: a snapshot id, or a time in ISO 8601. Without a zone it is UTC; a date alone "
    "is the beginning of that day.",
)
@click.pass_obj
def query(app: App, sql: str | None, style: str, as_of: str | None) -> None:
    """Run one reading SQL statement over the tables.

    Tables are named raw_data.vehicle_events, summary.daily_summary and so on, or plainly vehicle_events. Without SQL: a
    prompt on a terminal, else the statements that stand on standard input. Results go to stdout, row counts to stderr.
    """
    _ = app.database  # a missing `init` is said in its own words
    from processors.lake.lake_on_demand import LakeOnDemand
    from processors.read.query import QueryEngine

    shell = Shell(QueryEngine(LakeOnDemand(app.settings, app.lake)), style, as_of)
    if sql is not None:
        shell.run(sql)
    elif sys.stdin.isatty() and sys.stdout.isatty():
        _prompt(shell, app.environ.get("XDG_STATE_HOME"))
    else:
        shell.run_all(sys.stdin)


class Shell:
    """Runs statements and dot commands, and prints what they answer."""

    def __init__(self, engine: QueryEngine, style: str, as_of: str | None) -> None:
        self.engine = engine
        self.style = style
        self.as_of = as_of

    def run(self, sql: str) -> None:
        """Run one statement and print its result."""
        self._print(self.engine.run(sql, self.as_of))

    def run_all(self, lines: TextIO) -> None:
        """Run every statement and dot command of a text; the first error ends it."""
        from processors.read.statements import split_statements

        pending = ""
        for line in lines:
            if not pending.strip() and line.lstrip().startswith("."):
                if not self.dot(line):
                    return
                continue
            statements, pending = split_statements(pending + line)
            for statement in statements:
                self.run(statement)
        if pending.strip():
            self.run(pending)

    def dot(self, line: str) -> bool:
        """Do a dot command; False when it is the one that ends the shell."""
        command, *arguments = line.split()
        if command in (".quit", ".exit"):
            return False
        if command == ".help":
            click.echo(_HELP)
        elif command == ".tables":
            from watcher.terminal.output import print_table

            rows = [
                {
                    "table": table.name,
                    "rows": table.rows,
                    "snapshot_id": table.snapshot_id,
                    "loaded": table.committed_at,
                }
                for table in self.engine.tables()
            ]
            print_table(
                ["table", "rows", "snapshot_id", "loaded"], rows, "no tables yet; they come with the first load"
            )
        elif command == ".schema" and len(arguments) == 1:
            self._print(self.engine.describe(arguments[0].rstrip(";")))
        else:
            raise UsageError(f"doing {line.strip()!r}: there is no such command; type .help")
        return True

    def _print(self, result: Result) -> None:
        stream = sys.stdout
        rows = WRITERS[self.style](result.columns, result.chunks(), stream)
        stream.flush()
        if self.style == "table":
            click.echo(f"({rows} row{'' if rows == 1 else 's'})", err=True)


def _prompt(shell: Shell, state_home: str | None) -> None:
    from prompt_toolkit import PromptSession
    from prompt_toolkit.filters import Condition
    from prompt_toolkit.history import FileHistory, History, InMemoryHistory
    from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent

    from processors.read.statements import split_statements

    folder = (Path(state_home) if state_home else Path.home() / ".local" / "state") / "lemonade"
    history: History
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        history = FileHistory(str(folder / "history"))
    except OSError:  # a home that cannot be written to is no reason not to answer questions
        history = InMemoryHistory()

    session: PromptSession[str] = PromptSession(
        "lemonade> ", multiline=True, prompt_continuation="     ...> ", history=history
    )
    keys = KeyBindings()

    @Condition
    def is_complete() -> bool:
        text = session.default_buffer.text
        return text.lstrip().startswith(".") or not split_statements(text)[1].strip()

    @keys.add("enter", filter=is_complete)
    def accept(event: KeyPressEvent) -> None:
        event.current_buffer.validate_and_handle()

    session.key_bindings = keys
    click.echo("SQL over the tables, ending with ; or a dot command (.tables, .schema NAME, .help, .quit)", err=True)
    while True:
        try:
            text = session.prompt()
        except KeyboardInterrupt:
            continue
        except EOFError:
            return
        try:
            if text.lstrip().startswith("."):
                if not shell.dot(text):
                    return
                continue
            for statement in split_statements(text)[0]:
                shell.run(statement)
        except KeyboardInterrupt:
            click.echo("interrupted", err=True)
        except LemonadeError as error:
            click.echo(error.message, err=True)


# -- the three formats ------------------------------------------------------------------------------------------------


def write_table(columns: Sequence[ResultColumn], chunks: Iterator[list[tuple[Any, ...]]], stream: TextIO) -> int:
    """Aligned text; returns the number of rows. Widths are those of the rows so far: a stream is not held back."""
    from rich.cells import set_cell_size

    if [column.name for column in columns] == _EXPLAIN:  # DuckDB has drawn the plan itself
        return _write_plan(chunks, stream)
    names = [_one_line(column.name) for column in columns]
    right = [column.type in _RIGHT or column.type.startswith(("DECIMAL", "FLOAT", "DOUBLE")) for column in columns]
    limit = shutil.get_terminal_size().columns if stream.isatty() else None
    widths: list[int] = []
    count = 0

    def write(cells: Sequence[str]) -> None:
        shown = []
        for cell, width, to_right in zip(cells, widths, right, strict=True):
            gap = width - _width(cell)
            if gap < 0:
                cell, gap = set_cell_size(cell, width - 1) + "…", 0
            shown.append(" " * gap + cell if to_right else cell + " " * gap)
        stream.write("  ".join(shown).rstrip() + "\n")

    for chunk in chunks:
        rows = [[_cell(value) for value in row] for row in chunk]
        needed = [max(map(_width, cells)) for cells in zip(names, *rows, strict=True)]
        if count == 0:
            widths = _fitted(needed, limit)
            write(names)
            stream.write("  ".join("-" * width for width in widths) + "\n")
        elif limit is None:
            widths = _fitted([max(pair) for pair in zip(widths, needed, strict=True)], limit)
        for cells in rows:
            write(cells)
        count += len(rows)
    if count == 0:
        widths = [_width(name) for name in names]
        write(names)
        stream.write("  ".join("-" * width for width in widths) + "\n")
    return count


def _write_plan(chunks: Iterator[list[tuple[Any, ...]]], stream: TextIO) -> int:
    lines = [line for chunk in chunks for _, plan in chunk for line in str(plan).splitlines()]
    stream.writelines(_one_line(line) + "\n" for line in lines)
    return len(lines)


def write_json(columns: Sequence[ResultColumn], chunks: Iterator[list[tuple[Any, ...]]], stream: TextIO) -> int:
    """An array of objects, an object a line; returns the number of rows. A second column of a name gets `_1`."""
    names = _unique([column.name for column in columns])
    count = 0
    stream.write("[")
    for chunk in chunks:
        for row in chunk:
            record = {name: plain(value) for name, value in zip(names, row, strict=True)}
            stream.write((",\n" if count else "\n") + json.dumps(record, ensure_ascii=False, allow_nan=False))
            count += 1
    stream.write("\n]\n" if count else "]\n")
    return count


def write_csv(columns: Sequence[ResultColumn], chunks: Iterator[list[tuple[Any, ...]]], stream: TextIO) -> int:
    """Comma-separated values with a header (RFC 4180); nothing stands for null, `""` for empty text.

    Returns the number of rows.
    """
    stream.write(",".join(_csv_cell(column.name) for column in columns) + "\n")
    count = 0
    for chunk in chunks:
        stream.writelines(",".join(map(_csv_cell, row)) + "\n" for row in chunk)
        count += len(chunk)
    return count


WRITERS: dict[str, Callable[[Sequence[Any], Iterator[list[tuple[Any, ...]]], TextIO], int]] = {
    "table": write_table,
    "json": write_json,
    "csv": write_csv,
}


def plain(value: Any) -> Any:
    """A value as JSON has it, in the forms that this module promises."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        if math.isfinite(value):
            return value
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, datetime):
        text = value.isoformat()
        return text.removesuffix("+00:00") + "Z" if value.utcoffset() == timedelta(0) else text
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, bytes | bytearray):
        return base64.b64encode(value).decode("ascii")
    if isinstance(value, UUID | timedelta):
        return str(value)
    if isinstance(value, dict):
        return {key if isinstance(key, str) else str(plain(key)): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return str(value)


def _text(value: Any) -> str:
    """A value as text: nested ones as JSON."""
    shown = plain(value)
    if isinstance(shown, str):
        return shown
    return json.dumps(shown, ensure_ascii=False)


def _csv_cell(value: Any) -> str:
    if value is None:
        return ""
    text = _text(value)
    if text and not _CSV_QUOTED.search(text):
        return text
    return '"' + text.replace('"', '""') + '"'


def _cell(value: Any) -> str:
    return "NULL" if value is None else _one_line(_text(value))


def _one_line(text: str) -> str:
    """Control characters made visible: data must not move the cursor or forge a row."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def _width(text: str) -> int:
    """How many columns of a terminal the text takes."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def _fitted(needed: Sequence[int], limit: int | None) -> list[int]:
    """Widths with long cells cut; on a terminal the widest columns give way until a row fits into its line."""
    widths = [min(width, _WIDEST_CELL) for width in needed]
    while limit is not None and sum(widths) + 2 * (len(widths) - 1) > limit and max(widths) > _NARROWEST_CELL:
        widths[widths.index(max(widths))] -= 1
    return widths


def _unique(names: Sequence[str]) -> list[str]:
    """Names of which none stands twice."""
    found: list[str] = []
    for name in names:
        candidate, number = name, 0
        while candidate in found:
            number += 1
            candidate = f"{name}_{number}"
        found.append(candidate)
    return found
