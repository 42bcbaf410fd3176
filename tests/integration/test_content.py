"""docs/content.md, row by row: real files with that content through the worker, real Parquet files out."""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import cache
from math import copysign
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from packed import packed

from metadata.files.suffixes_and_codecs import CODECS, read_suffixes
from metadata.ledger.values import FileOutcome
from metadata.reject_codes import RejectCode
from metadata.settings import Settings
from metadata.types.parse_config import parse_config
from metadata.types.parse_definition import parse_definition
from processors.decode.schema import iceberg_schema, partition_spec
from processors.lake import quarantine_table as quarantine
from processors.lake.data_files import TaskName
from processors.lake.lake import Lake
from processors.load.load_task import Quarantine, TaskResult, WriteJob, load_files
from processors.load.read_source import SourceInput

PAGE = Path(__file__).resolve().parents[2] / "docs/content.md"
DAY = date(2026, 1, 15)
MIB = 1024 * 1024
LIMIT = 64 * MIB
NOON = datetime(2026, 1, 15, 12, tzinfo=UTC)


@dataclass(frozen=True)
class Case:
    """A row of the page: files that all have its outcome, and what the rows of each hold."""

    files: Sequence[bytes]
    name: str = "x.json"
    config: dict[str, Any] = field(default_factory=dict)
    column: str = ""
    values: Sequence[Any] | None = None  #: of the column, in the order of the file


def records(middle: bytes) -> bytes:
    """A file of three records; the second has this text inside of it."""
    return b'[{"id":1},{"id":2%s},{"id":3}]' % (middle and b"," + middle)


def value(column: str, *texts: bytes) -> list[bytes]:
    """Files of three records, the second with this value of a field."""
    return [records(b'"%s":%s' % (column.encode(), text)) for text in texts]


def bad(column: str, *texts: bytes) -> Case:
    """Values that cost their record."""
    return Case(value(column, *texts))


def good(column: str, text: bytes, expected: Any) -> Case:
    """A value that is loaded as that."""
    return Case(value(column, text), column=column, values=[None, expected, None])


def at(text: str, expected: datetime) -> Case:
    """A timestamp that is loaded as that."""
    return good("at", json.dumps(text).encode(), expected)


THREE = records(b"")
LINES = b'{"id":1}\n{"id":2}\n{"id":3}\n'
DEEP_500 = b"[" * 500 + b"]" * 500
DEEP_100000 = b"[" * 100_000 + b"]" * 100_000
LONG = b"0a1b2c3d4e" * (5 * MIB)

CASES: dict[str, Case] = {
    "a UTF-8 byte-order mark": Case([b"\xef\xbb\xbf" + THREE], column="id", values=[1, 2, 3]),
    "a UTF-8 byte-order mark, JSON lines": Case([b"\xef\xbb\xbf" + LINES], "x.jsonl", column="id", values=[1, 2, 3]),
    "UTF-16, with or without a byte-order mark": Case(
        [THREE.decode().encode(name) for name in ("utf-16", "utf-16-le", "utf-16-be")]
    ),
    "invalid UTF-8 in a field that is read": bad("text", b'"\xff"', b'"\xed\xa0\x80"', b'"\xc3' + b'"'),
    "invalid UTF-8 in a `json` field": bad("extra", b'{"a":"\xff"}'),
    "invalid UTF-8 in a field that is skipped (`unknown_fields` is `ignore`)": Case(
        value("other", b'"\xff"'), config={"unknown_fields": "ignore"}, column="id", values=[1, 2, 3]
    ),
    "invalid UTF-8 in a field that is rescued": bad("other", b'"\xff"'),
    "invalid UTF-8 in a key": Case([records(b'"\xff":1')]),
    r'half of a surrogate pair, `"\ud800"`, in a field that is read': bad("text", rb'"\ud800"', rb'"\udc00 x"'),
    "half of a surrogate pair in any other field": Case(value("extra", rb'"\ud800"') + value("other", rb'"\ud800"')),
    "NUL as it is": Case([records(b'"text":"\x00"')]),
    r'NUL as an escape, `"\u0000"`': good("text", rb'"\u0000"', "\0"),
    "`NaN`, `Infinity`, `-Infinity`": Case(value("ratio", b"NaN", b"Infinity", b"-Infinity")),
    "`NaN`, JSON lines": Case([b'{"id":1}\n{"id":2,"ratio":NaN}\n{"id":3}'], "x.jsonl"),
    "`1e400` for a number": bad("ratio", b"1e400", b"-1e400"),
    "`1e400` for a `json` field": good("extra", b"1e400", "1e400"),
    "an integer beyond 64 bits for a `long`": bad("count", b"9223372036854775808", b"-9223372036854775809"),
    "an integer beyond 64 bits for a `double`": good("ratio", b"9223372036854775809", 2.0**63),
    "an integer beyond 64 bits for a `json` field": good("extra", b"9" * 40, "9" * 40),
    "a decimal with more digits than its type": bad("price", b"12345.6", b"1.005", b'"1e9"', b"1e-99999999"),
    "a decimal with surplus noughts": good("price", b"1.5000000", Decimal("1.50")),
    "`-0` for a whole number": good("count", b"-0", 0),
    "`-0.0` for a `double`": good("ratio", b"-0.0", -0.0),
    "a timestamp with a blank for the `T`": at("2026-01-15 12:00:00Z", NOON),
    "a timestamp without a zone": at("2026-01-15T12:00:00", NOON),
    "a timestamp with `+0100`": at("2026-01-15T13:00:00+0100", NOON),
    "a timestamp with the second `:60`": bad("at", b'"2026-01-15T23:59:60Z"'),
    "a timestamp with seven decimals": at(
        "2026-01-15T23:59:59.9999999Z", datetime(2026, 1, 15, 23, 59, 59, 999999, tzinfo=UTC)
    ),
    "a timestamp of the year 0001": at("0001-01-01T00:00:00Z", datetime(1, 1, 1, tzinfo=UTC)),
    "a timestamp of the year 9999": at(
        "9999-12-31T23:59:59.999999Z", datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)
    ),
    "a timestamp before 0001 or after 9999, in UTC": bad(
        "at", b'"0001-01-01T00:00:00+01:00"', b'"9999-12-31T23:59:59-01:00"'
    ),
    "a key twice in a record": Case([b'[{"id":7,"id":1}]'], column="id", values=[1]),
    "keys that differ in case": Case([b'[{"ID":7,"id":1}]'], column="_rescued", values=['{"ID":7}']),
    "an empty file": Case([b"", b"\xef\xbb\xbf"]),
    "an empty file, JSON lines": Case([b"", b"\n\n"], "x.jsonl"),
    "white space alone": Case([b" \t\r\n", b"\n"]),
    "`null`, a number, a text": Case([b"null", b"5", b'"a"', b"true"]),
    "`[]`": Case([b"[]", b' {"things":[]}'], column="id", values=[]),
    "`{}`": Case([b"{}"]),
    "`[[]]`": Case([b"[[]]"]),
    "`null` among the records": Case([b'[{"id":1},null,{"id":3}]'], column="id", values=[1, 3]),
    "`null` among the lines": Case([b'{"id":1}\nnull\n{"id":3}'], "x.jsonl", column="id", values=[1, 3]),
    "two documents in a `.json`": Case([b'{"id":1}{"id":2}', b'[{"id":1}]\n[{"id":2}]', LINES]),
    "two documents on a line": Case([b'{"id":1}\n{"id":2}{"id":2}\n{"id":3}'], "x.jsonl", column="id", values=[1, 3]),
    "one document over two lines": Case(
        [b'{"id":1}\n{"id":2,\n"text":"a"}\n{"id":3}', b'{"id":1}\n{"id":\n2}\n{"id":3}'],
        "x.jsonl",
        column="id",
        values=[1, 3],
    ),
    "one bad line in the middle of a `.jsonl`": Case(
        [b'{"id":1}\n%s\n{"id":3}\n' % line for line in (b"oops", b'{"id":2', b'{"id":2,}', b"\x00\x00")],
        "x.jsonl",
        column="id",
        values=[1, 3],
    ),
    "a document cut off at any byte": Case([THREE[:cut] for cut in range(1, len(THREE))]),
    "a `.jsonl` cut off within its last line": Case(
        [LINES[:cut] for cut in range(len(LINES) - 8, len(LINES) - 2)], "x.jsonl", column="id", values=[1, 2]
    ),
    "NULs behind the document": Case([THREE + b"\0", THREE + b"\n" + b"\0" * 4096]),
    "NULs behind the lines": Case([LINES + b"\0" * 4096], "x.jsonl", column="id", values=[1, 2, 3]),
    "500 levels of nesting": good("extra", DEEP_500, DEEP_500.decode()),
    "100,000 levels of nesting": Case(value("extra", DEEP_100000) + value("other", DEEP_100000) + [DEEP_100000]),
    "100,000 levels of nesting, JSON lines": Case(
        [b'{"id":1}\n{"id":2,"extra":' + DEEP_100000 + b'}\n{"id":3}'], "x.jsonl", column="id", values=[1, 3]
    ),
    "a `.jsonl` with CR LF, with blank lines, without a last line end": Case(
        [b'{"id":1}\r\n{"id":2}\r\n\r\n \n{"id":3}'], "x.jsonl", column="id", values=[1, 2, 3]
    ),
    "a record of 50 MB": good("text", b'"' + LONG + b'"', LONG.decode()),
    "more bytes than `MAX_FILE_BYTES`, unpacked": Case([b"[" + b" " * LIMIT + b"]"]),
    "an empty file named as compressed": Case([b""], "x.json.gz"),
}
for codec in CODECS:
    json_name, lines_name = f"x.json.{codec.suffix}", f"x.jsonl.{codec.suffix}"
    whole, lines = packed(codec, THREE), packed(codec, LINES)
    members = packed(codec, LINES[:9]) + packed(codec, LINES[9:])
    CASES |= {
        f"{codec.name} cut off at any byte": Case([whole[:cut] for cut in range(1, len(whole))], json_name),
        f"{codec.name} of several members": Case([members], lines_name, column="id", values=[1, 2, 3]),
        f"{codec.name} whose second member is cut off": Case(
            [(lines + lines)[:-cut] for cut in range(1, len(lines))], lines_name
        ),
        f"bytes that are no {codec.name} behind the last member": Case([lines + b"rest"], lines_name),
        f"a compression bomb, {codec.name}": Case([packed(codec, b" " * (LIMIT + 1))], json_name),
        f"{codec.name} of nothing": Case([packed(codec, b"")], json_name),
        f"{codec.name} named `.json`": Case([whole]),
        f"plain JSON named `.{codec.suffix}`": Case([THREE], json_name),
    }


@dataclass(frozen=True)
class House:
    """A lake with the table of the page's fields, and a folder of claimed files."""

    lake: Lake
    folder: Path

    def claim(self, case: Case) -> list[SourceInput]:
        """The case's files, in place."""
        suffixes = case.name.partition(".")[2]
        lines, codec = read_suffixes(case.name)
        inputs = []
        for content in case.files:
            name = f"things_20260115120000_{uuid.uuid4().hex}.{suffixes}"
            path = self.folder / name
            path.write_bytes(content)
            inputs.append(
                SourceInput(
                    file_id=name,
                    path=str(path),
                    name=name,
                    digest=hashlib.sha256(content).hexdigest(),
                    day=DAY,
                    size_bytes=len(content),
                    lines=lines,
                    codec=codec,
                )
            )
        return inputs

    def load(self, inputs: Sequence[SourceInput], **config: Any) -> TaskResult:
        """One task with these files."""
        definition = parse_definition(fields_of_the_page())
        parsed = parse_config(config, None, definition)
        table = self.lake.ensure_table(
            "raw_data.things", iceberg_schema(definition), partition_spec(definition, parsed)
        )
        rejects = self.lake.ensure_table(quarantine.TABLE, quarantine.iceberg_schema(), quarantine.partition_spec())
        job = WriteJob(
            name=TaskName(str(uuid.uuid4()), attempt=1, task=0),
            handle=self.lake.handle(table),
            quarantine=Quarantine(self.lake.handle(rejects), "things", 1, NOON, MIB),
            definition=definition,
            config=parsed,
            keys=("things",),
            inputs=tuple(inputs),
            time_field="at",
            max_decoded_bytes=LIMIT,
        )
        return load_files(job)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> House:
    """One house for all rows."""
    folder = tmp_path_factory.mktemp("content")
    environ = {
        "DATALAKE_BASE": str(folder / "lake"),
        "ICEBERG_CATALOG_URI": f"sqlite:///{folder}/catalog.db",
        "DATABASE_URL": f"sqlite:///{folder}/metadata.db",
    }
    lake = Lake(Settings.load(environ, env_file=None))
    lake.init()
    (folder / "processing").mkdir()
    return House(lake, folder / "processing")


@cache
def rows_of_the_page() -> dict[str, str]:
    """The table of the page: input → outcome, without back-quotes in the latter."""
    text = PAGE.read_text(encoding="utf-8").partition("<!-- content -->")[2].partition("<!-- /content -->")[0]
    lines = [line for line in text.splitlines() if line.startswith("| ")][1:]
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines if "| --- |" not in line]
    assert len({row[0] for row in cells}) == len(cells), "an input stands there twice"
    return {row[0]: row[1].replace("`", "") for row in cells}


@cache
def fields_of_the_page() -> Any:
    """The definition that the page names."""
    found = re.search(r"^```json\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    assert found
    return json.loads(found[1])


def told(outcome: FileOutcome) -> str:
    """An outcome in the words of the page."""
    if outcome.outcome != "loaded":
        return f"{outcome.outcome}: {outcome.code}"
    text = f"loaded: {outcome.rows} row{'' if outcome.rows == 1 else 's'}"
    codes = sorted({reason.code for reason in outcome.reasons})
    return f"{text}, {outcome.rejected} rejected: {', '.join(codes)}" if outcome.rejected else text


def loaded(result: TaskResult, file_id: str, column: str) -> list[Any]:
    """The values of a column that a file's rows hold, by record number."""
    found: list[tuple[int, Any]] = []
    for written in result.written:
        if written.table_name == "raw_data.things":
            table = pq.ParquetFile(written.path).read(columns=["_file_id", "_record_no", column])
            found += [(row["_record_no"], row[column]) for row in table.to_pylist() if row["_file_id"] == file_id]
    return [each for _, each in sorted(found, key=lambda one: one[0])]


def check(result: TaskResult, inputs: Sequence[SourceInput], name: str) -> None:
    """Each file has the outcome of the page, a reason unless all of it is loaded, and its rows hold the values."""
    case, outcomes = CASES[name], {outcome.file_id: outcome for outcome in result.outcomes}
    for source in inputs:
        outcome = outcomes[source.file_id]
        assert told(outcome) == rows_of_the_page()[name], outcome.message
        assert {reason.code for reason in outcome.reasons} <= set(RejectCode)
        if outcome.outcome != "loaded":
            assert outcome.message
            assert loaded(result, source.file_id, "id") == []
            continue
        assert outcome.records == outcome.rows + outcome.rejected
        if case.values is not None:
            found = loaded(result, source.file_id, case.column)
            assert found == case.values
            assert [copysign(1, one) for one in found if isinstance(one, float)] == [
                copysign(1, one) for one in case.values if isinstance(one, float)
            ]


def test_page_and_test_have_the_same_rows() -> None:
    """No row of the page goes untested, and nothing is tested that the page does not say."""
    assert list(rows_of_the_page()) == list(CASES)


@pytest.mark.parametrize("name", CASES)
def test_file_becomes_what_the_page_says(house: House, name: str) -> None:
    """Loaded with so many rows, or set aside with that code: whatever is in the file."""
    inputs = house.claim(CASES[name])
    check(house.load(inputs, **CASES[name].config), inputs, name)


def test_no_content_disturbs_the_files_beside_it(house: House) -> None:
    """All of it in one task, between good files, has the same outcomes."""
    names = [name for name, case in CASES.items() if not case.config and sum(map(len, case.files)) < MIB]
    claimed = {name: house.claim(CASES[name]) for name in names}
    neighbours = [house.claim(Case([THREE]))[0] for _ in names]
    inputs = [source for name, beside in zip(names, neighbours, strict=True) for source in (*claimed[name], beside)]
    result = house.load(inputs)
    assert len(result.outcomes) == len(inputs)
    for name in names:
        check(result, claimed[name], name)
    outcomes = {outcome.file_id: outcome for outcome in result.outcomes}
    assert {told(outcomes[beside.file_id]) for beside in neighbours} == {"loaded: 3 rows"}
