from __future__ import annotations

import csv
import io
import json
import os
import pty
import subprocess
import sys
import termios
import uuid
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from click.testing import CliRunner
from command import Lemonade
from conftest import make_settings
from pyiceberg.table import Table

from metadata.errors import LemonadeError, UsageError
from metadata.settings import Settings
from metadata.types.definition import Definition
from metadata.types.parse_config import parse_config
from metadata.types.parse_definition import parse_definition
from processors.decode.schema import arrow_schema, iceberg_schema, partition_spec
from processors.lake.lake import Lake
from processors.read.query import QueryEngine
from processors.read.statements import split_statements
from watcher.app import App
from watcher.commands.query import query

EVERY_TYPE = parse_definition(
    {
        "fields": [
            {"name": "a_boolean", "type": "boolean"},
            {"name": "an_int", "type": "int"},
            {"name": "a_long", "type": "long"},
            {"name": "a_float", "type": "float"},
            {"name": "a_double", "type": "double"},
            {"name": "a_decimal", "type": "decimal(20,3)"},
            {"name": "a_date", "type": "date"},
            {"name": "a_time", "type": "time"},
            {"name": "a_timestamp", "type": "timestamp"},
            {"name": "a_string", "type": "string"},
            {"name": "a_uuid", "type": "uuid"},
            {"name": "a_binary", "type": "binary"},
            {"name": "a_json", "type": "json"},
            {
                "name": "a_struct",
                "type": {
                    "type": "struct",
                    "fields": [
                        {"id": 1, "name": "x", "type": "long", "required": False},
                        {"id": 2, "name": "y", "type": "string", "required": False},
                    ],
                },
            },
            {
                "name": "a_list",
                "type": {"type": "list", "element-id": 1, "element": "long", "element-required": False},
            },
            {
                "name": "a_map",
                "type": {
                    "type": "map",
                    "key-id": 1,
                    "key": "string",
                    "value-id": 2,
                    "value": "long",
                    "value-required": False,
                },
            },
        ]
    }
)
SMALL = parse_definition({"fields": [{"name": "n", "type": "long"}, {"name": "word", "type": "string"}]})

VALUES: dict[str, Any] = {
    "a_boolean": True,
    "an_int": -(2**31),
    "a_long": 2**63 - 1,
    "a_float": 1.5,
    "a_double": 0.1,
    "a_decimal": Decimal("12345678901234567.890"),
    "a_date": date(2026, 1, 15),
    "a_time": time(12, 34, 56, 789),
    "a_timestamp": datetime(2026, 1, 15, 23, 59, 59, 123456, tzinfo=UTC),
    "a_string": 'häß 🍋 "q"\n,',
    "a_uuid": uuid.UUID("12345678-1234-5678-1234-567812345678"),
    "a_binary": b"\x00\xff",
    "a_json": '{"a":[1]}',
    "a_struct": {"x": 1, "y": "q"},
    "a_list": [1, None, 3],
    "a_map": {"k": 1, "z": None},
}
JSON_VALUES = {
    **VALUES,
    "a_decimal": "12345678901234567.890",
    "a_date": "2026-01-15",
    "a_time": "12:34:56.000789",
    "a_timestamp": "2026-01-15T23:59:59.123456Z",
    "a_uuid": "12345678-1234-5678-1234-567812345678",
    "a_binary": "AP8=",
}


@pytest.fixture
def lake(settings: Settings) -> Lake:
    """An empty lake."""
    made = Lake(settings)
    made.init()
    return made


@pytest.fixture
def engine(lake: Lake) -> QueryEngine:
    """SQL over that lake."""
    return QueryEngine(lake)


def make(lake: Lake, name: str, definition: Definition = SMALL) -> Table:
    """An empty table of a definition, partitioned by date."""
    return lake.ensure_table(
        name, iceberg_schema(definition), partition_spec(definition, parse_config(None, None, definition))
    )


def load(table: Table, definition: Definition, *records: dict[str, Any]) -> int:
    """Append records in one snapshot; returns its id."""
    lineage = {"date": date(2026, 1, 15), "_source_file": "f", "_file_id": "i", "_record_no": 1, "_batch_id": "b"}
    rows = [dict.fromkeys(arrow_schema(definition).names) | lineage | record for record in records]
    arrays = []
    for field in arrow_schema(definition):
        values = [row[field.name] for row in rows]
        if pa.types.is_map(field.type):
            values = [None if value is None else list(value.items()) for value in values]
        if field.type == pa.uuid():
            values = [None if value is None else value.bytes for value in values]
            arrays.append(pa.ExtensionArray.from_storage(field.type, pa.array(values, pa.binary(16))))
        else:
            arrays.append(pa.array(values, field.type))
    table.append(pa.Table.from_arrays(arrays, schema=arrow_schema(definition)))
    snapshot = table.current_snapshot()
    assert snapshot is not None
    return snapshot.snapshot_id


def numbers(engine: QueryEngine, as_of: str | None = None, table: str = "small") -> list[int]:
    """The column `n` of a table, sorted."""
    return [row[0] for row in engine.run(f"SELECT n FROM {table} ORDER BY n", as_of).rows()]


def test_every_type_comes_back_as_it_went_in(lake: Lake, engine: QueryEngine) -> None:
    """A row with every type, and one of nulls, has the values that were loaded; times are UTC."""
    load(make(lake, "raw_data.every", EVERY_TYPE), EVERY_TYPE, VALUES, {})

    columns = ", ".join(VALUES)
    full, nulls = engine.run(f"SELECT {columns} FROM raw_data.every ORDER BY a_long NULLS LAST").rows()

    assert dict(zip(VALUES, full, strict=True)) == VALUES
    assert full[list(VALUES).index("a_timestamp")].utcoffset() == timedelta(0)
    assert nulls == (None,) * len(VALUES)


def test_times_are_compared_and_cut_in_utc(
    lake: Lake, settings: Settings, monkeypatch: pytest.MonkeyPatch, engine: QueryEngine
) -> None:
    """Text without a zone means UTC in SQL, and a timestamp's day is its UTC day, wherever the machine stands."""
    monkeypatch.setenv("TZ", "Asia/Kolkata")
    load(make(lake, "raw_data.every", EVERY_TYPE), EVERY_TYPE, VALUES)

    row = engine.run("SELECT a_timestamp::date, a_timestamp > '2026-01-15 23:59:59' FROM every").rows()

    assert row == [(date(2026, 1, 15), True)]


def test_table_without_snapshots_is_empty_with_its_columns_and_types(lake: Lake, engine: QueryEngine) -> None:
    """A registered type that has loaded nothing yet can be queried: no rows, the right columns."""
    make(lake, "raw_data.every", EVERY_TYPE)

    result = engine.run("SELECT * FROM every")

    assert result.rows() == []
    types = {column.name: column.type for column in result.columns}
    assert list(types)[: len(VALUES)] == list(VALUES)
    assert types["a_timestamp"] == "TIMESTAMP WITH TIME ZONE"
    assert types["a_decimal"] == "DECIMAL(20,3)"
    assert types["a_map"] == "MAP(VARCHAR, BIGINT)"


def test_plain_names_resolve_and_raw_data_comes_first(lake: Lake, engine: QueryEngine) -> None:
    """A plain name finds a table of any namespace; where two have it, the one in raw_data."""
    load(make(lake, "raw_data.small"), SMALL, {"n": 1})
    load(make(lake, "summary.small"), SMALL, {"n": 2})
    load(make(lake, "summary.daily_summary"), SMALL, {"n": 3})

    assert numbers(engine) == [1]
    assert numbers(engine, table="summary.small") == [2]
    assert numbers(engine, table="daily_summary") == [3]


def test_each_statement_sees_the_tables_of_its_moment(lake: Lake, engine: QueryEngine) -> None:
    """New snapshots, new tables and dropped tables are seen by the next statement of the same engine."""
    table = make(lake, "raw_data.small")
    load(table, SMALL, {"n": 1})
    assert numbers(engine) == [1]

    load(table, SMALL, {"n": 2})
    load(make(lake, "raw_data.other"), SMALL, {"n": 7})
    assert numbers(engine) == [1, 2]
    assert numbers(engine, table="other") == [7]

    lake.catalog.drop_table("raw_data.other")
    with pytest.raises(UsageError, match="other does not exist"):
        numbers(engine, table="other")


def test_tables_are_listed_with_rows_and_snapshots(lake: Lake, engine: QueryEngine) -> None:
    """The listing counts every row of the current snapshot and shows a table that has none."""
    make(lake, "raw_data.empty")
    table = make(lake, "raw_data.small")
    load(table, SMALL, {"n": 1}, {"n": 2})
    snapshot_id = load(table, SMALL, {"n": 3})

    empty, small = engine.tables()

    assert (empty.name, empty.rows, empty.snapshot_id, empty.committed_at) == ("raw_data.empty", 0, None, None)
    assert (small.name, small.rows, small.snapshot_id) == ("raw_data.small", 3, snapshot_id)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> QueryEngine:
    """An engine over a lake with one table, for tests that only read."""
    made = Lake(make_settings(tmp_path_factory.mktemp("shared")))
    made.init()
    load(make(made, "raw_data.small"), SMALL, {"n": 1, "word": '{"a": 2}'})
    return QueryEngine(made)


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO small VALUES (1)",
        "CREATE TABLE t AS SELECT 1",
        "DROP VIEW raw_data.small",
        "COPY (SELECT 1) TO '{warehouse}/out.csv'",
        "EXPLAIN ANALYZE COPY (SELECT 1) TO '{warehouse}/out.csv'",
        "EXPLAIN /* ; */ ANALYZE COPY (SELECT 1) TO '{warehouse}/out.csv'",
        "EXPORT DATABASE '{warehouse}/out'",
        "IMPORT DATABASE '/etc'",
        "ATTACH '{warehouse}/out.db'",
        "ATTACH '/etc/passwd' AS x (TYPE sqlite)",
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM read_text('{warehouse}/../../../../../../../etc/passwd')",
        "SELECT * FROM '/etc/passwd'",
        "SELECT * FROM glob('/etc/*')",
        "SELECT * FROM enable_logging(storage = 'file', storage_path = '{warehouse}/out')",
        "FROM system.main.\"Enable_Logging\" /* x */ (storage = 'file', storage_path = '{warehouse}/out')",
        "FROM query('FROM enable_log' || 'ging(storage = ''file'', storage_path = ''{warehouse}/out'')')",
        "SET threads = 1",
        "PRAGMA enable_profiling",
        "INSTALL httpfs",
        "LOAD httpfs",
        "CALL pragma_version()",
        "SELECT 1; SELECT 2",
        "SELECT 1; DROP VIEW raw_data.small",
        "CREATE TYPE t AS ENUM ('x'); SELECT 1",
        "",
        "-- nothing",
    ],
)
def test_what_does_not_only_read_the_lake_is_refused(shared: QueryEngine, sql: str) -> None:
    """Writing, other files, settings, extensions and several statements are refused, and nothing is left behind."""
    warehouse = shared.lake.warehouse
    before = sorted(Path(warehouse).rglob("*"))

    with pytest.raises(UsageError):
        shared.run(sql.format(warehouse=warehouse)).rows()

    assert sorted(Path(warehouse).rglob("*")) == before
    assert numbers(shared) == [1]


@pytest.mark.parametrize(
    "sql",
    [
        "FROM small",
        "WITH x AS (SELECT 1) FROM x",
        "VALUES (1)",
        "DESCRIBE small",
        "SHOW ALL TABLES",
        "SUMMARIZE small",
        "EXPLAIN SELECT * FROM small",
        "-- why\nEXPLAIN (FORMAT json) (SELECT * FROM small)",
        "EXPLAIN ANALYZE SELECT * FROM small",
        "PIVOT small ON word USING count(*)",
        "SELECT word->>'$.a' FROM small",
        "SELECT 1 AS query, 'INSERT; DROP';",
    ],
)
def test_every_kind_of_reading_works(shared: QueryEngine, sql: str) -> None:
    """Whatever reads is let through."""
    assert shared.run(sql).rows()


def test_bad_sql_is_told_in_duckdbs_words(lake: Lake, engine: QueryEngine) -> None:
    """A syntax error points at its place, an unknown table names those that there are."""
    make(lake, "raw_data.small")

    with pytest.raises(UsageError, match='syntax error at or near "selec"'):
        engine.run("selec 1")
    with pytest.raises(UsageError, match=r"(?s)nope does not exist.*tables: raw_data\.small"):
        engine.run("SELECT * FROM nope")
    with pytest.raises(UsageError, match="Could not convert"):
        engine.run("SELECT 'x'::int FROM range(2)").rows()


def test_one_broken_table_does_not_stop_the_others(lake: Lake, engine: QueryEngine) -> None:
    """A table whose metadata file is gone is named with its reason when it is asked for; the others answer."""
    broken = make(lake, "raw_data.broken")
    load(make(lake, "raw_data.small"), SMALL, {"n": 1})
    Path(broken.metadata_location.removeprefix("file://")).unlink()

    assert numbers(engine) == [1]
    with pytest.raises(UsageError, match=r"raw_data\.broken cannot be read"):
        engine.run("SELECT * FROM broken")


def test_missing_data_file_is_a_fault_of_the_world(lake: Lake, engine: QueryEngine) -> None:
    """A data file that is gone is reported as such, not as bad SQL."""
    load(make(lake, "raw_data.small"), SMALL, {"n": 1})
    next(Path(lake.warehouse).rglob("*.parquet")).unlink()

    with pytest.raises(LemonadeError) as caught:
        numbers(engine)
    assert caught.value.code == "warehouse_away"


def test_as_of_snapshot_reads_its_table_at_it_and_others_at_its_time(lake: Lake, engine: QueryEngine) -> None:
    """A snapshot id pins its own table exactly; other tables are as they were when it was committed."""
    small, other = make(lake, "raw_data.small"), make(lake, "raw_data.other")
    load(other, SMALL, {"n": 10})
    first = load(small, SMALL, {"n": 1})
    wait_past(small)
    load(other, SMALL, {"n": 11})
    load(small, SMALL, {"n": 2})

    assert numbers(engine) == [1, 2]
    assert numbers(engine, str(first)) == [1]
    assert numbers(engine, str(first), "other") == [10]
    assert numbers(engine) == [1, 2]


def test_as_of_time_reads_the_last_snapshot_before_it(lake: Lake, engine: QueryEngine) -> None:
    """A time takes the snapshot that was current then, to the millisecond; before the first one a table is empty."""
    table = make(lake, "raw_data.small")
    load(table, SMALL, {"n": 1})
    wait_past(table)
    load(table, SMALL, {"n": 2})
    first, second = (datetime.fromtimestamp(entry.timestamp_ms / 1000, UTC) for entry in table.history())

    assert numbers(engine, first.isoformat()) == [1]
    assert numbers(engine, first.replace(tzinfo=None).isoformat()) == [1]
    assert numbers(engine, (second - timedelta(milliseconds=1)).isoformat()) == [1]
    assert numbers(engine, second.isoformat().replace("+00:00", "Z")) == [1, 2]
    assert numbers(engine, (first - timedelta(milliseconds=1)).isoformat()) == []
    assert numbers(engine, (first + timedelta(hours=5, minutes=30)).replace(tzinfo=None).isoformat() + "+05:30") == [1]
    assert numbers(engine, first.date().isoformat()) == []
    assert numbers(engine, (second.date() + timedelta(days=1)).isoformat()) == [1, 2]


def test_as_of_time_ignores_a_snapshot_that_was_rolled_back(lake: Lake, engine: QueryEngine) -> None:
    """What was current is read from the table's log, so a rolled-back snapshot counts only while it was current."""
    table = make(lake, "raw_data.small")
    first = load(table, SMALL, {"n": 1})
    wait_past(table)
    load(table, SMALL, {"n": 2})
    wait_past(table)
    table.manage_snapshots().rollback_to_snapshot(first).commit()

    assert numbers(engine) == [1]
    assert numbers(engine, datetime.now(UTC).isoformat()) == [1]


@pytest.mark.parametrize("gone", [0, 1])
def test_as_of_a_time_whose_snapshots_expired_says_so(lake: Lake, engine: QueryEngine, gone: int) -> None:
    """History that is gone is an error, never an empty or an older table."""
    table = make(lake, "raw_data.small")
    ids, moments = [], []
    for number in range(3):
        ids.append(load(table, SMALL, {"n": number}))
        moments.append(datetime.fromtimestamp(table.history()[-1].timestamp_ms / 1000, UTC) + timedelta(milliseconds=1))
        wait_past(table)
    table.maintenance.expire_snapshots().by_id(ids[gone]).commit()

    with pytest.raises(UsageError, match="expired"):
        numbers(engine, moments[gone].isoformat())
    with pytest.raises(UsageError, match="no table has it"):
        numbers(engine, str(ids[gone]))
    assert numbers(engine, moments[2].isoformat()) == [0, 1, 2]


@pytest.mark.parametrize("as_of", ["123", "yesterday", "", "2026-02-30", "12:00"])
def test_as_of_that_means_nothing_is_refused(lake: Lake, engine: QueryEngine, as_of: str) -> None:
    """An unknown snapshot and a text that is no time are usage errors."""
    make(lake, "raw_data.small")

    with pytest.raises(UsageError, match="reading as of"):
        numbers(engine, as_of)


def test_large_results_stream(engine: QueryEngine) -> None:
    """The first rows of a result that would never fit into memory come at once."""
    chunks = engine.run("SELECT i FROM range(1000000000000) t(i)").chunks(3)

    assert next(chunks) == [(0,), (1,), (2,)]
    assert engine.run("SELECT 1").rows() == [(1,)]


@pytest.mark.parametrize("what", ["count(*)", "i"])
def test_control_c_interrupts_a_statement(what: str, tmp_path: Path) -> None:
    """SIGINT ends a running statement with KeyboardInterrupt, and the engine can be used on."""
    program = """
import signal, sys, threading
from metadata.settings import Settings
from processors.lake.lake import Lake
from processors.read.query import QueryEngine

lake = Lake(Settings.load({"DATALAKE_BASE": sys.argv[1]}, None))
lake.init()
engine = QueryEngine(lake)
engine.run("SELECT 1")
threading.Timer(0.5, signal.raise_signal, [signal.SIGINT]).start()
try:
    while True:  # the signal may come between two statements
        engine.run(f"SELECT {sys.argv[2]} FROM range(1000000000000) t(i) WHERE sin(i) > 2").rows()
except KeyboardInterrupt:
    print("interrupted", engine.run("SELECT 1").rows())
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path), what],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
        timeout=60,
        check=False,
    )

    assert done.stdout == "interrupted [(1,)]\n"


# -- the command ------------------------------------------------------------------------------------------------------


def ask(app: App, *arguments: str, stdin: str | None = None) -> tuple[str, str]:
    """What the command writes to stdout and stderr."""
    result = CliRunner().invoke(query, list(arguments), obj=app, input=stdin, catch_exceptions=False)
    return result.stdout, result.stderr


def test_json_has_one_form_a_type(app: App) -> None:
    """JSON keeps numbers, and has times, decimals, uuid and binary as text; nested values are nested."""
    load(make(app.lake(), "raw_data.every", EVERY_TYPE), EVERY_TYPE, VALUES, {})

    out, _ = ask(app, f"SELECT {', '.join(VALUES)} FROM every ORDER BY a_long NULLS LAST", "--format", "json")

    assert json.loads(out) == [JSON_VALUES, dict.fromkeys(VALUES)]


def test_json_of_no_rows_and_of_numbers_that_json_lacks(app: App) -> None:
    """No rows are an empty array; NaN and infinity are text; a second column of the same name is kept."""
    assert json.loads(ask(app, "SELECT 1 WHERE false", "--format", "json")[0]) == []
    out, _ = ask(app, "SELECT 'nan'::double AS x, '-inf'::double AS x, 1e300 AS y", "--format", "json")
    assert json.loads(out) == [{"x": "NaN", "x_1": "-Infinity", "y": 1e300}]


def test_csv_has_a_header_and_nested_values_as_json(app: App) -> None:
    """CSV quotes what needs it; null is an empty cell."""
    load(make(app.lake(), "raw_data.every", EVERY_TYPE), EVERY_TYPE, VALUES, {})

    out, err = ask(app, f"SELECT {', '.join(VALUES)} FROM every ORDER BY a_long NULLS LAST", "--format", "csv")

    header, full, nulls = csv.reader(io.StringIO(out))
    assert header == list(VALUES)
    cells = dict(zip(header, full, strict=True))
    assert cells["a_string"] == VALUES["a_string"]
    assert cells["a_boolean"] == "true"
    assert cells["a_timestamp"] == "2026-01-15T23:59:59.123456Z"
    assert json.loads(cells["a_struct"]) == {"x": 1, "y": "q"}
    assert nulls == [""] * len(VALUES)
    assert err == ""


def test_csv_tells_null_from_empty_text(app: App) -> None:
    """Nothing between the commas is null; empty text is a pair of quotes, as in PostgreSQL's COPY."""
    out, _ = ask(app, "SELECT null AS a, '' AS b, ' z' AS c, 'plain' AS d", "--format", "csv")
    assert out == 'a,b,c,d\n,""," z",plain\n'


def test_explain_shows_the_plan_as_it_is_drawn(app: App) -> None:
    """The plan of EXPLAIN stands on lines of its own, not cut in a cell."""
    out, _ = ask(app, "EXPLAIN SELECT 1 AS a")
    assert "PROJECTION" in out
    assert len(out.splitlines()) > 5
    assert "explain_key" not in out


def test_reader_that_goes_away_is_no_failure(tmp_path: Path) -> None:
    """`query … | head -1` ends with 0 and says nothing."""
    lemonade = Lemonade(tmp_path)
    lemonade.run("init")
    command = [sys.executable, "-m", "watcher", "query", "SELECT * FROM range(2000000)", "--format", "csv"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=tmp_path, env=lemonade.environ, stdout=pipe, stderr=pipe) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == b"range\n"
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0


def test_table_is_aligned_and_counts_its_rows_on_stderr(app: App) -> None:
    """Numbers stand to the right, null is said, long cells are cut, control characters cannot move the cursor."""
    load(
        make(app.lake(), "raw_data.small"),
        SMALL,
        {"n": 5, "word": "x" * 100},
        {"n": 10, "word": "esc\x1b[2J\n"},
        {"n": 100},
        {"n": 1000, "word": "漢字"},
    )

    out, err = ask(app, "SELECT n, word, true AS yes FROM small ORDER BY n")

    assert out.splitlines() == [
        "   n  word" + " " * 58 + "yes",
        "----  " + "-" * 60 + "  ----",
        "   5  " + "x" * 59 + "…  true",
        "  10  esc\\x1b[2J\\n" + " " * 50 + "true",
        " 100  NULL" + " " * 58 + "true",
        "1000  漢字" + " " * 58 + "true",
    ]
    assert err == "(4 rows)\n"


def test_table_of_many_rows_is_written_in_pieces(app: App) -> None:
    """More rows than one chunk keep one header and their order."""
    out, err = ask(app, "SELECT i FROM range(2500) t(i)")

    lines = out.splitlines()
    assert [int(line) for line in lines[2:]] == list(range(2500))
    assert err == "(2500 rows)\n"


def test_statements_are_read_from_standard_input(app: App) -> None:
    """Without a terminal, statements and dot commands come from stdin, over several lines, the last without `;`."""
    load(make(app.lake(), "raw_data.small"), SMALL, {"n": 1})

    out, _ = ask(app, "--format", "csv", stdin="SELECT ';' AS a\n;\n.schema small\nSELECT 2 AS b; -- end\nFROM small")

    assert out.startswith("a\n;\ncolumn_name,column_type,")
    assert "word,VARCHAR," in out
    assert "\nb\n2\nn,word,date," in out


def test_dot_tables_lists_and_quit_ends(app: App) -> None:
    """`.tables` names every table; nothing after `.quit` is run; an unknown command is a usage error."""
    load(make(app.lake(), "raw_data.small"), SMALL, {"n": 1})

    out, _ = ask(app, stdin=".tables\n.quit\nSELECT 'never'\n")

    assert "raw_data.small" in out
    assert "never" not in out
    with pytest.raises(UsageError, match=r"\.help"):
        ask(app, stdin=".nope\n")
    with pytest.raises(UsageError, match=r"raw_data\.small"):
        ask(app, stdin=".schema nope\n")


def test_prompt_takes_statements_over_lines_and_keeps_them(lemonade: Lemonade, tmp_path: Path) -> None:
    """On a terminal: a statement ends with `;`, an error does not end the prompt, Ctrl-D does; history is a file."""
    lemonade.run("init")
    ours, theirs = pty.openpty()
    terminal = {"TERM": "xterm", "PROMPT_TOOLKIT_NO_CPR": "1"}  # ours does not say where its cursor is
    termios.tcsetwinsize(theirs, (40, 120))
    process = subprocess.Popen(
        [sys.executable, "-m", "watcher", "query"],
        cwd=lemonade.home,
        env={**lemonade.environ, **terminal, "XDG_STATE_HOME": str(tmp_path / "state")},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    lemonade.processes.append(process)
    os.close(theirs)

    def type_and_see(text: bytes, *expected: str) -> None:
        os.write(ours, text)
        seen = ""
        for word in expected:
            while word not in seen:
                seen += os.read(ours, 4096).decode(errors="replace")
            seen = seen.partition(word)[2]

    type_and_see(b"", "lemonade>")
    type_and_see(b"SELECT 40 + 2\r", "...>")
    type_and_see(b"AS answer;\r", "42", "lemonade>")
    type_and_see(b"SELECT nope;\r", "FROM clause is missing", "lemonade>")
    type_and_see(b".tables\r", "no tables yet", "lemonade>")
    os.write(ours, b"\x04")

    assert process.wait(timeout=30) == 0
    os.close(ours)
    history = (tmp_path / "state/lemonade/history").read_text()
    assert "+SELECT 40 + 2\n+AS answer;" in history


def test_as_of_option_reads_the_past(app: App) -> None:
    """`--as-of` with a snapshot id shows the table without what came later."""
    table = make(app.lake(), "raw_data.small")
    first = load(table, SMALL, {"n": 1})
    wait_past(table)
    load(table, SMALL, {"n": 2})

    assert ask(app, "SELECT n FROM small", "--as-of", str(first), "--format", "csv")[0] == "n\n1\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("SELECT 1; SELECT 2", (["SELECT 1"], " SELECT 2")),
        ("SELECT ';'", ([], "SELECT ';'")),
        ("SELECT 'open ;", ([], "SELECT 'open ;")),
        ('SELECT "a;b" -- ;\n;', (['SELECT "a;b" -- ;'], "")),
        ("SELECT $$;$$;; -- end", (["SELECT $$;$$"], "")),
        ("SELECT 'ü'; x", (["SELECT 'ü'"], " x")),
        ("", ([], "")),
    ],
)
def test_statements_end_at_semicolons_outside_quotes(text: str, expected: tuple[list[str], str]) -> None:
    """A semicolon ends a statement unless it stands in quotes or in a comment."""
    assert split_statements(text) == expected


def wait_past(table: Table) -> None:
    """Until the clock has left the millisecond of the last entry, so that the next one has a time of its own."""
    last = table.history()[-1].timestamp_ms
    while datetime.now(UTC).timestamp() * 1000 <= last + 2:
        pass
