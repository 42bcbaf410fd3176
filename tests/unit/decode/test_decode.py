from __future__ import annotations

import json
import string
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec
import pytest
from decoded import WholeFile, decode_file, define
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from packed import packed

from metadata.errors import FileRefused
from metadata.files.suffixes_and_codecs import CODECS
from metadata.types.built_in import BUILT_IN
from metadata.types.definition import Definition
from metadata.types.json_values import cut_fraction
from metadata.types.parse_definition import parse_definition
from processors.decode import decoder as decode_module
from processors.decode.decoder import Decoder
from processors.decode.results import DecodedGroup
from processors.decode.schema import arrow_schema

KEYS = ["things", "stuff", "eu_*"]
NOON = datetime(2026, 1, 15, 12, tzinfo=UTC)
UUID_TEXT = "12345678-1234-5678-1234-567812345678"
TWO = b'[{"id":1,"x":"a"},{"id":2}]'
POINT = {"type": "struct", "fields": [{"name": "a", "type": "long"}, {"name": "j", "type": "json"}]}


def field(type_: Any, **more: Any) -> dict[str, Any]:
    """The field x."""
    return {"name": "x", "type": type_, **more}


def read(definition: Definition, data: bytes, lines: bool = False) -> WholeFile:
    """One file, decoded."""
    return decode_file(definition, data, lines, KEYS)


def values(decoded: WholeFile, number: int = 1) -> list[Any]:
    """A column as Python values; by default that of the field x."""
    return list(decoded.columns[number].to_pylist())


THINGS = define(field("string"))


@pytest.mark.parametrize(
    ("spec", "text", "expected"),
    [
        (field("boolean"), "true", True),
        (field("int"), "-2147483648", -(2**31)),
        (field("long"), "9223372036854775807", 2**63 - 1),
        (field("float"), "1.5", 1.5),
        (field("double"), "7", 7.0),
        (field("decimal(6,2)"), "1.10", Decimal("1.10")),
        (field("decimal(6,2)"), '"1234.5600"', Decimal("1234.56")),
        (
            field("decimal(38,18)"),
            "12345678901234567890.123456789012345678",
            Decimal("12345678901234567890.123456789012345678"),
        ),
        (field("date"), '"2026-02-28"', date(2026, 2, 28)),
        (field("time"), '"12:00:00.5"', time(12, 0, 0, 500_000)),
        (field("timestamp"), '"2026-01-15T12:00:00Z"', NOON),
        (field("timestamp"), '"2026-01-15T12:00:00"', NOON),
        (field("timestamp"), '"2026-01-15 17:30:00.000+05:30"', NOON),
        (field("timestamp"), '"2026-01-15T12:00:00.000001+00:00"', NOON + timedelta(microseconds=1)),
        (field("timestamp"), '"2026-01-15t12:00:00z"', NOON),
        (field("timestamp", format="epoch_s"), "1768478400", NOON),
        (field("timestamp", format="epoch_s"), "1768478400.123456", NOON + timedelta(microseconds=123_456)),
        (field("timestamp", format="epoch_ms"), "1768478400000", NOON),
        (field("timestamp", format="epoch_ms"), "1768478400000.5", NOON + timedelta(microseconds=500)),
        (
            field("timestamp", format="epoch_ms"),
            "253402300799999",
            datetime(9999, 12, 31, 23, 59, 59, 999_000, tzinfo=UTC),
        ),
        (
            field("timestamp", format="epoch_s"),
            "-62135596800",
            datetime(1, 1, 1, tzinfo=UTC),
        ),
        (
            field("timestamp"),
            '"2026-01-15T23:59:59.9999999Z"',
            datetime(2026, 1, 15, 23, 59, 59, 999_999, tzinfo=UTC),
        ),
        (field("time"), '"23:59:59.99999999"', time(23, 59, 59, 999_999)),
        (field("string"), '"a\\u0000\\ud83d\\ude00"', "a\0😀"),
        (field("string", coerce=True), '"a"', "a"),
        (field("string", coerce=True), '""', ""),
        (field("string", coerce=True), '"null"', "null"),
        (field("string", coerce=True), '"\\"q\\"\\n"', '"q"\n'),
        (field("string", coerce=True), "1.50", "1.50"),
        (field("string", coerce=True), "1E400", "1E400"),
        (field("string", coerce=True), "true", "true"),
        (field("json"), '{"a": [1, "ä"]}', '{"a": [1, "ä"]}'),
        (field("json"), '"null"', '"null"'),
        (field("json"), "1e999", "1e999"),
        (field("uuid"), f'"{UUID_TEXT}"', UUID(UUID_TEXT)),
        (field("binary"), '"aGk="', b"hi"),
        (field(POINT), '{"j": null, "a": 1}', {"a": 1, "j": None}),
        (field(POINT), "{}", {"a": None, "j": None}),
        (field({"type": "list", "element": POINT}), '[{"j":{}},null]', [{"a": None, "j": "{}"}, None]),
        (field({"type": "list", "element": "timestamp"}), "[]", []),
        (field({"type": "map", "key": "string", "value": "date"}), '{"k":"2026-02-28"}', [("k", date(2026, 2, 28))]),
        (field({"type": "map", "key": "int", "value": "json"}), '{"-1":null}', [(-1, None)]),
    ],
)
def test_value_and_null_of_every_type(spec: dict[str, Any], text: str, expected: Any) -> None:
    """Each type takes its JSON form, a null and a missing key, in either kind of file and on either way."""
    definition = define(spec)
    records = [f'{{"id":1,"x":{text}}}', '{"id":2,"x":null}', '{"id":3}']
    whole = read(definition, f"[{','.join(records)}]".encode())
    lines = read(definition, "\n".join(records).encode(), lines=True)
    slow = read(definition, f"[{','.join(records)},5]".encode())
    for decoded in (whole, lines, slow):
        assert values(decoded) == [expected, None, None]
        decoded.columns[1].validate(full=True)
        assert [column.type for column in decoded.columns] == arrow_schema(definition).types[:2]


@pytest.mark.parametrize(
    ("spec", "text", "code"),
    [
        (field("boolean"), b"1", "wrong_type"),
        (field("int"), b"2147483648", "out_of_range"),
        (field("int"), b"1.0", "wrong_type"),
        (field("int"), b'"1"', "wrong_type"),
        (field("long"), b"9223372036854775808", "out_of_range"),
        (field("long"), b"99999999999999999999999999", "out_of_range"),
        (field("float"), b"1e300", "out_of_range"),
        (field("double"), b"1e400", "out_of_range"),
        (field("double"), b'"NaN"', "wrong_type"),
        (field("decimal(6,2)"), b"1.005", "out_of_range"),
        (field("decimal(6,2)"), b"10000", "out_of_range"),
        (field("decimal(6,2)"), b"1e-99999999", "out_of_range"),
        (field("decimal(6,2)"), b'"NaN"', "bad_decimal"),
        (field("decimal(6,2)"), b'"x"', "bad_decimal"),
        (field("decimal(6,2)"), b"true", "wrong_type"),
        (field("date"), b'"2026-02-29"', "bad_timestamp"),
        (field("time"), b'"12:00:00Z"', "bad_timestamp"),
        (field("timestamp"), b'"2026-02-30T00:00:00Z"', "bad_timestamp"),
        (field("timestamp"), b'"2026-01-15T23:59:60Z"', "bad_timestamp"),
        (field("timestamp"), b'"2026-01-15"', "bad_timestamp"),
        (field("timestamp"), b'"2026-01-15T12:00Z"', "bad_timestamp"),
        (field("timestamp"), b'"0000-01-01T00:00:00Z"', "out_of_range"),
        (field("timestamp"), b'"9999-12-31T23:59:59-00:01"', "out_of_range"),
        (field("timestamp"), b"1768478400", "wrong_type"),
        (field("timestamp", format="epoch_s"), b'"1768478400"', "wrong_type"),
        (field("timestamp", format="epoch_s"), b"1768478400000", "out_of_range"),
        (field("string"), b"5", "wrong_type"),
        (field("string"), b'"\xff"', "bad_text"),
        (field("string"), b'"\\ud800"', "bad_text"),
        (field("string"), b'"\\udc00 x"', "bad_text"),
        (field("string", nullable=False), b"null", "null_not_allowed"),
        (field("string", coerce=True), b'{"a":1}', "wrong_type"),
        (field("string", coerce=True), b"[]", "wrong_type"),
        (field("string", coerce=True), b'"\xff"', "bad_text"),
        (field("string", coerce=True, nullable=False), b"null", "null_not_allowed"),
        (field("json"), b'{"a":"\xff"}', "bad_text"),
        (field("json", nullable=False), b"null", "null_not_allowed"),
        (field("uuid"), b'"x"', "bad_uuid"),
        (field("binary"), b'"a"', "bad_text"),
        (field(POINT), b'{"a":"x"}', "wrong_type"),
        (field(POINT), b'{"j":"\xff"}', "bad_text"),
        (field({"type": "list", "element": "long", "element-required": True}), b"[null]", "null_not_allowed"),
        (field({"type": "list", "element": "json", "element-required": True}), b"[null]", "null_not_allowed"),
        (field({"type": "map", "key": "int", "value": "long"}), b'{"x":1}', "wrong_type"),
        (field({"type": "map", "key": "int", "value": "decimal(2,1)"}), b'{"1":1.55}', "out_of_range"),
    ],
)
def test_bad_value_costs_its_record_only(spec: dict[str, Any], text: bytes, code: str) -> None:
    """The record is rejected with its code, number and bytes; its neighbours are decoded."""
    bad = b'{"id":2,"x":' + text + b"}"
    good = [b'{"id":1,"x":%s}' % (b"null" if spec.get("nullable", True) else b'"a"'), b'{"id":3,"x":"a"}']
    if spec["type"] not in ("string", "json"):
        good[1] = b'{"id":3}'
    records = [good[0], bad, good[1]]
    for decoded in (
        read(define(spec), b'{"things":[' + b",".join(records) + b"]}"),
        read(define(spec), b"\n".join(records), lines=True),
    ):
        assert [(one.record_no, one.code, one.raw) for one in decoded.rejected] == [(2, code, bad)]
        assert decoded.rejected[0].message.startswith("record 2")
        assert decoded.rejected[0].field in ("x", None)
        assert (decoded.records, list(decoded.record_nos), values(decoded, 0)) == (3, [1, 3], [1, 3])


def test_rejection_names_record_field_key_and_place() -> None:
    """The message is enough to find the value in the file."""
    definition = define(field(POINT, source="the.point"), {"name": "y", "type": "string", "nullable": False})
    decoded = read(definition, b'[{"id":1,"the.point":{"a":"x"},"y":"a"},{"id":2},{"y":"a"},{"id":null,"y":"a"},7]')
    assert [(one.field, one.code, one.message) for one in decoded.rejected] == [
        (
            "x",
            "wrong_type",
            'record 1, field "x" (JSON key "the.point"): Expected `int | null`, got `str` (at the.point.a)',
        ),
        ("y", "missing_field", 'record 2, field "y": Object missing required field `y`'),
        ("id", "missing_field", 'record 3, field "id": Object missing required field `id`'),
        ("id", "null_not_allowed", 'record 4, field "id": Expected `int`, got `null`'),
        (None, "wrong_type", "record 5: Expected `object`, got `int`"),
    ]


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (field("long", default=7), [1, None, 7]),
        (field("timestamp", default="2026-01-15T12:00:00Z"), [None, None, NOON]),
        (field("timestamp", format="epoch_s", default=1768478400), [None, None, NOON]),
        (field("json", default={"a": 1}), ["1", None, '{"a":1}']),
        (field("string", coerce=True, default=5), ["1", None, "5"]),
        (field("uuid", default=UUID_TEXT), [None, None, UUID(UUID_TEXT)]),
        (field({"type": "list", "element": "long"}, default=[1]), [None, None, [1]]),
        (field(POINT, default={"a": 1}), [None, None, {"a": 1, "j": None}]),
        (field("decimal(4,2)", default="1.5"), [Decimal("1.00"), None, Decimal("1.50")]),
    ],
)
def test_default_is_for_missing_keys_not_for_nulls(spec: dict[str, Any], expected: list[Any]) -> None:
    """A producer that says null means null."""
    first = b"1" if expected[0] is not None else b"null"
    decoded = read(define(spec), b'[{"id":1,"x":%s},{"id":2,"x":null},{"id":3}]' % first)
    assert values(decoded) == expected


ROOTED = define(field("string"), root="data.items")
OPTIONAL = parse_definition({"fields": [{"name": "x", "type": "string"}]})
OWN_KEY = define({"name": "things", "type": {"type": "list", "element": "long"}})


@pytest.mark.parametrize(
    ("definition", "document", "ids"),
    [
        (THINGS, TWO, [1, 2]),
        (THINGS, b"\xef\xbb\xbf \n" + TWO + b"\n", [1, 2]),
        (THINGS, b"[]", []),
        (THINGS, b'{"version":"\xff","things":' + TWO + b"}", [1, 2]),
        (THINGS, b'{"stuff":' + TWO + b',"other":[{"id":5}]}', [1, 2]),
        (THINGS, b'{"things":[]}', []),
        (THINGS, b'{"things":null,"id":4}', [4]),
        (THINGS, b'{"id":5,"tags":[{"a":1}]}', [5]),
        (THINGS, b'{"whatever":' + TWO + b',"errors":[],"numbers":[1]}', [1, 2]),
        (ROOTED, b'{"data":{"items":' + TWO + b"}}", [1, 2]),
        (ROOTED, b'{"things":[{"id":9}],"data":{"items":' + TWO + b"}}", [1, 2]),
        (ROOTED, b'{"data":5,"things":' + TWO + b"}", [1, 2]),
        (ROOTED, TWO, [1, 2]),
        (OPTIONAL, b'{"whatever":[{"x":"a"}]}', ["a"]),
        (OPTIONAL, b'{"x":"a","list":[{"x":"b"}]}', ["a"]),
        (OWN_KEY, b'{"things":[7],"id":3}', [3]),
        (THINGS, b'[{"id":1,"id":2}]', [2]),
    ],
)
def test_every_form_of_content(definition: Definition, document: bytes, ids: list[Any]) -> None:
    """Array, root, naming key, one record, the only array of objects: in this order."""
    decoded = read(definition, document)
    assert values(decoded, 0) == ids
    assert list(decoded.record_nos) == list(range(1, len(ids) + 1))


@pytest.mark.parametrize(
    ("definition", "document", "code", "words"),
    [
        (THINGS, b"", "empty", "empty"),
        (THINGS, b"\xef\xbb\xbf \r\n", "empty", "empty"),
        (THINGS, b"5", "wrong_shape", "single value"),
        (THINGS, b"null", "wrong_shape", "single value"),
        (THINGS, b'{"a":1}', "wrong_shape", "no key holds an array of objects"),
        (THINGS, b'{"a":' + TWO + b',"b":' + TWO + b"}", "wrong_shape", '"a", "b" all hold'),
        (THINGS, b'{"stuff":' + TWO + b',"things":' + TWO + b"}", "wrong_shape", "both hold records"),
        (ROOTED, b'{"data":{"items":5}}', "wrong_shape", 'root "data.items"'),
        (THINGS, b'[{"id":1}', "malformed", "ends in the middle of a value (byte 9)"),
        (THINGS, b'[{"id":1},]', "malformed", "byte 10"),
        (THINGS, b'[{"id":NaN}]', "malformed", "byte 7"),
        (THINGS, b'{"id":1}\n{"id":2}', "malformed", ".jsonl"),
        (THINGS, b"hello", "malformed", "byte 0"),
        (THINGS, b"[" * 100_000, "malformed", "nested too deeply"),
        (THINGS, b'[{"z":' + b"[" * 100_000 + b"]" * 100_000 + b"}]", "malformed", "nested too deeply"),
        (THINGS, '[{"id":1}]'.encode("utf-16"), "malformed", "UTF-16"),
        (THINGS, '[{"id":1}]'.encode("utf-16-be"), "malformed", "UTF-16"),
        *(
            (THINGS, packed(codec, TWO), "malformed", f'looks like {codec.name}: name it ".json.{codec.suffix}"')
            for codec in CODECS
        ),
        (THINGS, b'[{"id":1,"x":"\x00"}]', "malformed", "byte"),
    ],
)
def test_file_is_refused(definition: Definition, document: bytes, code: str, words: str) -> None:
    """A syntax fault or a shape that nobody named costs the file, with a reason a person can act on."""
    with pytest.raises(FileRefused) as caught:
        read(definition, document)
    assert caught.value.code == code
    assert words in caught.value.message
    refused = Decoder(definition, KEYS).decode_many([("f", document, False)]).files[0].refused
    assert refused is not None
    assert refused.code == code


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b"xx", "bad_line"),
        (b'{"id":2', "bad_line"),
        (b'{"id":2}{"id":3}', "bad_line"),
        (b'{"z":' * 50_000, "bad_line"),
        (b'{"id":NaN}', "bad_line"),
        (b"[1]", "wrong_type"),
        (b'{"id":2,"x":"\\ud800"}', "bad_text"),
        (b'{"id":2,"x":"\xff"}', "bad_text"),
        (b'{"id":"2"}', "wrong_type"),
    ],
)
def test_bad_line_costs_one_line(line: bytes, code: str) -> None:
    """In JSON lines also a syntax fault is one record's; blank lines are no records."""
    decoded = read(THINGS, b'\xef\xbb\xbf{"id":1}\r\n\n  \t\r\n' + line + b'\n{"id":3}\n', lines=True)
    assert [(one.record_no, one.code, one.raw) for one in decoded.rejected] == [(2, code, line)]
    assert (decoded.records, values(decoded, 0)) == (3, [1, 3])


def test_document_over_two_lines_is_two_bad_lines() -> None:
    """A record never reaches over the end of its line."""
    decoded = read(THINGS, b'{"id":\n1}\n{"id":3}', lines=True)
    assert [(one.record_no, one.code) for one in decoded.rejected] == [(1, "bad_line"), (2, "bad_line")]
    assert values(decoded, 0) == [3]


def test_blank_lines_alone_are_an_empty_file() -> None:
    """Nothing to load is said, not passed over."""
    with pytest.raises(FileRefused) as caught:
        read(THINGS, b"\n \n", lines=True)
    assert caught.value.code == "empty"


def test_one_bad_value_among_many_is_found() -> None:
    """What only Arrow sees, in a column of thousands, costs exactly its records."""
    definition = define(field("timestamp"))
    good = b'{"id":%d,"x":"2026-01-15T12:00:00Z"}'
    records = [good % number for number in range(1, 5001)]
    records[1233] = b'{"id":1234,"x":"2026-02-30T12:00:00Z"}'
    records[4999] = b'{"id":5000,"x":"soon"}'
    decoded = read(definition, b"[" + b",".join(records) + b"]")
    assert [(one.record_no, one.code) for one in decoded.rejected] == [(1234, "bad_timestamp"), (5000, "bad_timestamp")]
    assert decoded.records == 5000
    assert [column.null_count for column in decoded.columns] == [0, 0]
    assert {len(column) for column in decoded.columns} == {4998}


def test_faults_of_both_kinds_keep_their_numbers_and_bytes() -> None:
    """What msgspec refuses and what Arrow refuses are listed in the order of the file, each with its own bytes."""
    records = [b'{"id":"a"}', b'{"id":2,"x":"soon"}', b'{"id":3}', b'{"id":"b"}', b'{"id":5,"x":"late"}']
    decoded = read(define(field("timestamp")), b"[" + b",".join(records) + b"]")
    assert [(one.record_no, one.raw) for one in decoded.rejected] == [(n, records[n - 1]) for n in (1, 2, 4, 5)]
    assert (list(decoded.record_nos), values(decoded, 0)) == ([3], [3])


# --- many files ---------------------------------------------------------------------------------------------------


def table_of(group: DecodedGroup) -> list[tuple[Any, ...]]:
    """Rows as (file, record number, columns…)."""
    rows: list[tuple[Any, ...]] = []
    names = [f"file{number}" for number in range(len(group.files))]
    for batch in group.batches:
        columns = [batch.per_file(names), batch.record_nos(), *batch.columns]
        assert {len(column) for column in columns} == {batch.rows}
        rows += zip(*(column.to_pylist() for column in columns), strict=True)
    return rows


def document(start: int, count: int) -> bytes:
    """A document of `count` records with ids from `start`."""
    return json.dumps({"things": [{"id": number, "x": str(number)} for number in range(start, start + count)]}).encode()


def test_group_holds_good_records_and_says_why_the_others_are_not_in_it() -> None:
    """A file beyond its limits and a refused one add no row, wherever the fault came to light."""
    definition = define(field("string"), {"name": "t", "type": "timestamp"}, {"name": "j", "type": "json"})
    files = [
        ("f", document(0, 3), False),
        ("f", b'[{"id":1},{"id":"bad"}]', False),
        ("f", b'{"id":10}\n\n{"id":11}', True),
        ("f", b'[{"id":1},{"id":2,"t":"bad"},{"id":3,"t":"bad"}]', False),
        ("f", b"[", False),
        ("f", b"[]", False),
        ("f", b'[{"id":1,"j":"\xff"}]', False),
        ("f", document(20, 2), False),
    ]
    group = Decoder(definition, KEYS).decode_many(iter(files))
    assert [(file, number, value) for file, number, value, *_ in table_of(group)] == [
        ("file0", 1, 0),
        ("file0", 2, 1),
        ("file0", 3, 2),
        ("file1", 1, 1),
        ("file2", 1, 10),
        ("file2", 2, 11),
        ("file7", 1, 20),
        ("file7", 2, 21),
    ]
    assert [(one.records, one.rows, one.rejected_count) for one in group.files] == [
        (3, 3, 0),
        (2, 1, 1),
        (2, 2, 0),
        (3, 0, 2),
        (0, 0, 0),
        (0, 0, 0),
        (1, 0, 1),
        (2, 2, 0),
    ]
    assert [one.clean for one in group.files] == [True, False, True, False, False, True, False, True]
    assert len(group.batches) == 1


def test_batches_have_about_their_size_and_know_whose_rows_they_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small files share a batch, a large one is cut, and no record loses its number."""
    monkeypatch.setattr(decode_module, "BATCH_ROWS", 10)
    counts = [3, 4, 5, 1, 37, 0, 2, 10]
    group = Decoder(THINGS, KEYS).decode_many(
        [("f", document(100 * n, count), False) for n, count in enumerate(counts)]
    )
    assert table_of(group) == [
        (f"file{n}", number, 100 * n + number - 1, str(100 * n + number - 1))
        for n, count in enumerate(counts)
        for number in range(1, count + 1)
    ]
    assert max(batch.rows for batch in group.batches) <= 15


def test_batches_are_cut_by_bytes_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few but large records do not pile up in one batch."""
    monkeypatch.setattr(decode_module, "BATCH_BYTES", 2000)
    data = json.dumps([{"id": number, "x": "a" * 1000} for number in range(10)]).encode()
    batches = Decoder(THINGS, KEYS).decode_many([("f", data, False)]).batches
    assert [batch.rows for batch in batches] == [2] * 5


def test_bad_file_in_a_batch_of_its_own_leaves_no_empty_batch() -> None:
    """A group without clean rows has no batches."""
    group = Decoder(THINGS, KEYS).decode_many([("f", b'[{"id":"x"}]', False), ("f", b"[]", False)])
    assert group.batches == []


# --- properties ---------------------------------------------------------------------------------------------------

EVENTS = parse_definition(BUILT_IN[0]["schema_definition"])
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
TIMES = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30)).flatmap(  # noqa: DTZ001 - zones are drawn beside
    lambda at: st.sampled_from(["", "Z", "+00:00", "+05:30"]).map(lambda zone: at.isoformat() + zone)
)
EVENT = st.fixed_dictionaries(
    {"vehicle_id": TEXT, "event_time": TIMES},
    optional={
        "event_source": st.none() | TEXT,
        "event_type": TEXT,
        "event_value": st.none() | TEXT | st.integers() | st.booleans() | st.floats(allow_nan=False),
        "event_extra_data": JSON,
        "unknown": JSON,
    },
).filter(lambda event: event.get("event_value") not in (float("inf"), float("-inf")))


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(EVENT, max_size=6), st.booleans())
def test_fast_and_slow_way_agree_on_good_records(events: list[dict[str, Any]], ascii_only: bool) -> None:
    """A bad neighbour forces the slow way and changes nothing else; nor does the group or the form of the file."""
    texts = [json.dumps(event, ensure_ascii=ascii_only) for event in events]
    array = f"[{','.join(texts)}]".encode()
    keys = ["vehicle_events"]
    fast = decode_file(EVENTS, array, keys=keys)
    assert fast.rejected == []
    slow = decode_file(EVENTS, f"[{','.join([*texts, '7'])}]".encode(), keys=keys)
    assert [one.record_no for one in slow.rejected] == [len(events) + 1]
    lines = decode_file(EVENTS, "\n".join([*texts, "7"]).encode(), lines=True, keys=keys)
    assert fast.columns == slow.columns == lines.columns
    for event, value, extra in zip(events, values(fast, 4), values(fast, 5), strict=True):
        given_value = event.get("event_value")
        assert value == (
            given_value if given_value is None or isinstance(given_value, str) else json.dumps(given_value)
        )
        assert (None if extra is None else json.loads(extra)) == event.get("event_extra_data")


@settings(deadline=None, max_examples=400)
@given(
    st.tuples(
        st.sampled_from(["2026-01-15", "0001-01-01", "2024-02-29", "2026-02-29", "20260115", "9999-12-31"]),
        st.sampled_from(["T", " ", "t", "", "  "]),
        st.sampled_from(["12:00:00", "23:59:59", "24:00:00", "12:00", "12", "120000", "12:00:60"]),
        st.sampled_from(["", ".5", ".123456", ".", ".1234567", ",5"]),
        st.sampled_from(["", "Z", "z", "+00:00", "-00:01", "+0530", "+05", "+99:00", " Z", "ZZ"]),
    ).map("".join)
    | st.text(string.digits + "TZ:-+. ", min_size=18, max_size=26)
)
def test_timestamps_are_what_a_single_datetime_says(text: str) -> None:
    """The fast parser for whole columns takes what msgspec takes, nothing more, and reads it the same."""
    decoded = read(define(field("timestamp")), json.dumps([{"id": 1, "x": text}]).encode())
    try:
        expected = msgspec.convert(cut_fraction(text), datetime)
        expected = expected.replace(tzinfo=expected.tzinfo or UTC).astimezone(UTC)
    except (msgspec.ValidationError, OverflowError):
        assert len(decoded.rejected) == 1
    else:
        assert values(decoded) == [expected]


@settings(deadline=None, max_examples=300)
@given(st.binary(max_size=40) | st.text('[]{}",:1e-.\\ud8 natrufls\n', max_size=40).map(str.encode), st.booleans())
def test_no_bytes_crash_the_decoder(data: bytes, lines: bool) -> None:
    """Whatever a producer drops is decoded, rejected or refused; the group's other files do not notice."""
    definition = define(field("json"), {"name": "s", "type": "string", "coerce": True})
    group = Decoder(definition, KEYS).decode_many([("f", TWO, False), ("f", data, lines), ("f", TWO, False)])
    assert [one.rows for one in group.files[::2]] == [2, 2]
    result = group.files[1]
    assert result.clean or result.rejected or result.refused
    assert sum(batch.rows for batch in group.batches) == 4 + result.rows
