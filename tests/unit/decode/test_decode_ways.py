"""The fast way and the slow ones never disagree: a record is judged as if it came alone, whatever stands around it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from decoded import KEYS, define, rows_of, single_rows
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from metadata.types.config import UnknownFields
from processors.decode import column_faults, records
from processors.decode import decoder as decode
from processors.decode.decoder import Decoder
from processors.decode.file_rejects import RejectLimits
from processors.decode.results import FileResult

POINT = {
    "type": "struct",
    "fields": [
        {"name": "a", "type": "long", "required": True},
        {"name": "j", "type": "json"},
        {"name": "d", "type": "decimal(4,2)"},
        {"name": "t", "type": "timestamp"},
        {"name": "x", "type": {"type": "struct", "fields": [{"name": "y", "type": "string"}]}},
    ],
}
ALL = RejectLimits(ratio=1)
TEXTS = [
    b'"a"',
    b'""',
    b'"\\u00e9\\n"',
    b'"\xff"',
    b'"\\ud800"',
    b'"\\ud83d\\ude00"',
    '"é😀"'.encode(),
    b'"null"',
    b"5",
]
TIMES = [
    b'"2026-01-15T12:00:00Z"',
    b'"2026-01-15T12:00:00.1234567Z"',
    b'"2026-01-15 12:00:00"',
    b'"2026-01-15T12:00:00+05:30"',
    b'"2026-01-15T12:00Z"',
    b'"2026-02-30T12:00:00Z"',
    b'"0001-01-01T00:00:00+01:00"',
    b'"0001-01-01T00:00:00Z"',
    b'"9999-12-31T23:59:59-01:00"',
    b'"soon"',
    b'""',
    b"7",
]
NUMBERS = [b"0", b"-0", b"1", b"2", b"9223372036854775808", b"-9223372036854775808", b"1.5", b"1e3", b"1e39", b"1e400"]
DECIMALS = [b'"1.10"', b"1.1", b"99.99", b"100", b"1.005", b'"x"', b'"NaN"', b"1e-99999999", b"true", *NUMBERS]
POINTS = [
    b'{"a":1}',
    b'{"a":2,"extra":1,"j":{"k":[1]}}',
    b'{"a":3,"x":{"y":"s","z":null}}',
    b'{"a":4,"d":1.555}',
    b'{"a":5,"t":"soon"}',
    b'{"a":5,"t":"2026-01-15T12:00:00Z","d":"1.5"}',
    b'{"a":6,"j":"\xff"}',
    b'{"a":7,"extra":1,"extra":2}',
    b'{"a":8,"x":{"z":1},"x":{}}',
    b'{"a":9,"\xff":1}',
    b"{}",
    b'{"a":"x","extra":1}',
]
LIST = {"type": "list", "element": POINT}
MAP = {"type": "map", "key": "string", "value": POINT}
KINDS: list[tuple[Any, dict[str, Any], list[bytes]]] = [
    ("boolean", {}, [b"true", b"1", b'"true"']),
    ("boolean", {"coerce": True}, [b"true", b'"true"', b'"false"', b'"1"', b"1", b'" true"']),
    ("int", {}, NUMBERS),
    ("long", {"coerce": True}, [*NUMBERS, b'"1"', b'"1.5"', b'"x"', b'"1,2"', b'"99999999999999999999"']),
    ("long", {"min": 1, "max": 1}, NUMBERS),
    ("float", {}, NUMBERS),
    ("double", {"coerce": True, "max": 1}, [*NUMBERS, b'"12.5"', b'"0.5"', b'"NaN"', b'""']),
    ("decimal(4,2)", {}, DECIMALS),
    ("decimal(4,2)", {"enum": ["1.1", 99.99]}, DECIMALS),
    ("string", {}, TEXTS),
    ("string", {"pattern": "^a?$", "max_length": 1}, TEXTS),
    ("string", {"coerce": True}, [*TEXTS, *NUMBERS, b"true", b"[1]", b"{}"]),
    ("json", {}, [*TEXTS, *NUMBERS, b'[ 1,\n{"a":1}]', b'{"a":"\xff"}']),
    ("timestamp", {}, TIMES),
    ("timestamp", {"format": "epoch_s"}, [*NUMBERS, b"1768478400.123456", b"253402300800"]),
    ("date", {}, [b'"2026-01-15"', b'"2026-02-29"', b"1"]),
    ("time", {}, [b'"12:00:00"', b'"12:00:00.1234567"', b'"12:00:00Z"', b'"23:59:60"', b'"12:00"']),
    ("uuid", {}, [b'"12345678-1234-5678-1234-567812345678"', b'"x"']),
    ("binary", {}, [b'"aGk="', b'"a"', b'""']),
    (POINT, {}, POINTS),
    (LIST, {}, [b"[]", *(b"[%b,null]" % point for point in POINTS), b"[%b,%b]" % (POINTS[1], POINTS[1])]),
    (MAP, {}, [b"{}", *(b'{"k":%b}' % point for point in POINTS), b'{"k.a":%b,"":%b}' % (POINTS[1], POINTS[2])]),
    ({"type": "map", "key": "int", "value": "decimal(4,2)"}, {}, [b'{"1":1.5}', b'{"x":1}', b'{"1":1.555}']),
    ({"type": "list", "element": "json", "element-required": True}, {}, [b"[1,{}]", b"[null]", b'["\xff"]']),
]
UNKNOWN = [
    b"new",
    b"other",
    "é".encode(),
    b"",
    b"a.b",
    b"f0.extra",
    b"f0[0].extra",
    b"q\\u0022\\\\",
    b"n\\u0000",
    b"\xff",
]
VALUES = [b"1", b"123456789012345678901234567890", b'{"deep": [1, 2.50]}', b"null", b'"\xc3\xa9"', b'"\xff"', b"[ ]"]
NO_OBJECTS = [b"7", b"null", b"[]", b'"id"']
BAD_LINES = [b"{", b'{"id":1}{"id":2}', b'{"id":1,}', b"nul", b'{"id":NaN}', b'{"id":1,"f0":"\x01"}', b"\xff", b"\x00"]


@pytest.fixture(autouse=True, scope="module")
def small_sizes() -> Iterator[None]:
    """Few records are many: batches are cut, keys learned, typical faults trusted."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decode, "BATCH_ROWS", 8)
        patch.setattr(records, "FIRST_LESSON", 2)
        patch.setattr(column_faults, "CHUNK", 2)
        patch.setattr(column_faults, "TYPICAL", 1)
        yield


@st.composite
def cases(draw: st.DrawFn) -> tuple[list[dict[str, Any]], list[bytes]]:
    """Fields of a definition, and records that were made for it or against it."""
    kinds = draw(st.lists(st.sampled_from(KINDS), min_size=1, max_size=3))
    fields = [
        {"name": f"f{number}", "type": type_, **more, "nullable": draw(st.booleans())}
        for number, (type_, more, _) in enumerate(kinds)
    ]
    record = st.builds(
        lambda id_, values, unknown: b"{%b}" % b",".join([*id_, *values, *unknown]),
        st.sampled_from([*([b'"id":%d' % number] for number in range(10)), [b'"id":"x"'], []]),
        st.tuples(
            *(
                st.sampled_from([*texts, b"null", None]).map(
                    lambda text, number=number: b"" if text is None else b'"f%d":%b' % (number, text)
                )
                for number, (_, _, texts) in enumerate(kinds)
            )
        ).map(lambda parts: [part for part in parts if part]),
        st.lists(
            st.builds(lambda key, value: b'"%b":%b' % (key, value), st.sampled_from(UNKNOWN), st.sampled_from(VALUES)),
            max_size=2,
        ),
    )
    texts = draw(st.lists(record | st.sampled_from(NO_OBJECTS), max_size=12))
    return fields, texts


def judged(result: FileResult) -> list[tuple[Any, ...]]:
    """What became of the rejected records of a file."""
    return [(one.record_no, one.code, one.field, one.raw) for one in result.rejected]


@settings(deadline=None, max_examples=120, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(cases(), st.lists(st.sampled_from(BAD_LINES), max_size=2), st.sampled_from(UnknownFields))
def test_record_is_judged_as_if_it_came_alone(
    case: tuple[list[dict[str, Any]], list[bytes]], bad_lines: list[bytes], unknown: UnknownFields
) -> None:
    """Array, JSON lines, a group of files and single records: the same rows, rescued values and rejects."""
    fields, texts = case
    definition = define(*fields)

    def decoder() -> Decoder:
        return Decoder(definition, KEYS, unknown_fields=unknown, limits=ALL)

    lines = [text.replace(b"\n", b" ") for text in texts]
    lines = [*lines[:1], *bad_lines, *lines[1:]]
    one_by_one = decoder()
    for raws, data, is_lines in ((texts, b"[%b]" % b",".join(texts), False), (lines, b"\n".join(lines), True)):
        if not raws and is_lines:
            continue
        rows: list[tuple[Any, ...]] = []
        rejects: list[tuple[Any, ...]] = []
        for number, raw in enumerate(raws, start=1):
            alone = one_by_one.decode_records([raw])
            rows += [(number, *row[1:]) for row in single_rows(alone)]
            rejects += [(number, one.code, one.field, one.raw) for one in alone.rejected]
        whole = decoder().decode_many([("f", data, is_lines)])
        result = whole.files[0]
        assert [row[1:] for row in rows_of(whole)] == rows
        assert judged(result) == rejects
        assert (result.records, result.rows, result.over_limit) == (len(raws), len(rows), False)
        together = decoder().decode_records(raws)
        assert [(row[0] + 1, *row[1:]) for row in single_rows(together)] == rows
        assert [(one.record_no, one.code, one.field, one.raw) for one in together.rejected] == rejects

        group = decoder().decode_many(
            [("f", data, is_lines), ("f", b'[{"id":1}', False), ("f", b"[]", False), ("f", data, is_lines)]
        )
        assert rows_of(group) == [(file, *row) for file in (0, 3) for row in rows]
        assert [judged(each) for each in group.files] == [rejects, [], [], rejects]
        assert group.files[0].unknown == group.files[3].unknown == result.unknown
