from __future__ import annotations

import json
from typing import Any

import pytest
from decoded import KEYS, define, rows_of
from hypothesis import given, settings
from hypothesis import strategies as st

from metadata.ledger.values import UnknownKey
from metadata.types.config import UnknownFields
from processors.decode import records as records_module
from processors.decode.decoder import Decoder
from processors.decode.file_rejects import RejectLimits
from processors.decode.results import DecodedGroup

POINT = {"type": "struct", "fields": [{"name": "a", "type": "long"}, {"name": "j", "type": "json"}]}
DEEP = {"type": "struct", "fields": [{"name": "p", "type": POINT}, {"name": "n", "type": "long"}]}
PLAIN = define({"name": "x", "type": "string"})
NESTED = define(
    {"name": "point", "type": POINT},
    {"name": "items", "type": {"type": "list", "element": DEEP}},
    {"name": "prices", "source": "the.prices", "type": {"type": "map", "key": "string", "value": POINT}},
    {"name": "j", "type": "json"},
)


def decode(definition: Any, *records: bytes, unknown: UnknownFields = UnknownFields.RESCUE) -> DecodedGroup:
    """One file of these records."""
    decoder = Decoder(definition, KEYS, unknown_fields=unknown, limits=RejectLimits(1))
    return decoder.decode_many([("f", b"[%b]" % b",".join(records), False)])


def rescued(definition: Any, *records: bytes) -> list[str | None]:
    """What is rescued of each record, all being good."""
    group = decode(definition, *records)
    assert group.files[0].clean
    return [row[-1] for row in rows_of(group)]


def test_unknown_keys_are_kept_as_they_stood() -> None:
    """One compact object a record with the keys in alphabetical order, each value to the byte; null without any."""
    assert rescued(
        PLAIN,
        b'{"id":1}',
        b'{"id":2,"new":1.50}',
        b'{"z":{"b" : [1,\n2]},"id":3,"a":123456789012345678901234567890,"x":"text"}',
        b'{"id":4,"e":1e400,"q\\"\\u0000":null,"\\u00e9":"\\u00e9","ID":5}',
        '{"id":5,"é":"é"}'.encode(),
    ) == [
        None,
        '{"new":1.50}',
        '{"a":123456789012345678901234567890,"z":{"b" : [1,\n2]}}',
        '{"ID":5,"e":1e400,"q\\"\\u0000":null,"é":"\\u00e9"}',
        '{"é":"é"}',
    ]


def test_nothing_rescued_needs_no_column() -> None:
    """A batch in which no record has an unknown key says so with None."""
    assert decode(PLAIN, b'{"id":1}').batches[0].rescued is None
    assert decode(PLAIN, b'{"id":1}', b"7").batches[0].rescued is None


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (b'"point":{"a":1,"b":2}', {"point.b": 2}),
        (b'"point":{"j":{"any":1}},"j":{"any":1}', None),
        (b'"point":null,"items":null,"the.prices":null,"new":null', {"new": None}),
        (b'"items":[{"n":1},null,{"n":2,"m":3,"p":{"c":4}}]', {"items[2].m": 3, "items[2].p.c": 4}),
        (
            b'"the.prices":{"eur":{"a":1,"b":2},"usd":null,"x.y":{"b":3}}',
            {"the.prices.eur.b": 2, "the.prices.x.y.b": 3},
        ),
        (b'"prices":5', {"prices": 5}),
        (b'"point.b":1,"point":{"b":2}', {"point.b": 1, "$.point.b": 2}),
        (b'"$.point.b":0,"point.b":1,"point":{"b":2}', {"$.point.b": 0, "point.b": 1, "$.$.point.b": 2}),
        (b'"point":{"b":1},"point":{"a":1}', None),
        (b'"new":1,"new":2', {"new": 2}),
        (b'"":1', {"": 1}),
    ],
)
def test_keys_inside_of_structs_are_rescued_under_their_path(fields: bytes, expected: dict[str, Any] | None) -> None:
    """Dots lead into structs and maps, brackets into lists; two keys of one path both stay."""
    found = rescued(NESTED, b'{"id":1,%b}' % fields)[0]
    assert (None if found is None else json.loads(found)) == expected


def test_other_keys_of_the_document_are_no_records() -> None:
    """What stands beside the array of records is left aside, whatever the type does with unknown keys."""
    data = b'{"version":2,"things":[{"id":1}],"more":{"a":1}}'
    for unknown in UnknownFields:
        group = Decoder(PLAIN, KEYS, unknown_fields=unknown).decode_many([("f", data, False)])
        assert rows_of(group) == [(0, 1, 1, None, None)]
        assert group.files[0].unknown == ()


def test_ignored_keys_leave_no_trace() -> None:
    """They are skipped, not even looked at."""
    group = decode(PLAIN, b'{"id":1,"new":"\xff"}', b'{"id":2,"new":1}', unknown=UnknownFields.IGNORE)
    assert rows_of(group) == [(0, 1, 1, None, None), (0, 2, 2, None, None)]
    assert group.files[0].unknown == ()


def test_unknown_key_rejects_its_record_where_the_type_says_so() -> None:
    """With the field that it stands in, if any; all unknown keys of such records are counted."""
    records = [b'{"id":1}', b'{"id":2,"new":1,"more":2}', b'{"id":3,"point":{"b":1}}', b'{"id":4,"new":1}']
    group = decode(NESTED, *records, unknown=UnknownFields.REJECT)
    assert [row[:3] for row in rows_of(group)] == [(0, 1, 1)]
    assert [(one.record_no, one.code, one.field, one.raw) for one in group.files[0].rejected] == [
        (2, "unknown_field", None, records[1]),
        (3, "unknown_field", "point", records[2]),
        (4, "unknown_field", None, records[3]),
    ]
    assert group.files[0].rejected[0].message == "record 2: Object contains unknown field `new`"
    assert group.files[0].unknown == (
        UnknownKey("new", 2, "1"),
        UnknownKey("more", 1, "2"),
        UnknownKey("point.b", 1, "1"),
    )


@pytest.mark.parametrize("extra", [b'"new":"\xff"', b'"\xff":1', b'"\\ud800":1', b'"new":{"a":["\xff"]}'])
@pytest.mark.parametrize("before", [0, 100])
def test_rescued_text_that_is_no_text_costs_its_record(extra: bytes, before: int) -> None:
    """It could not be kept as it stood; other records of the file, and their rescued values, do not notice."""
    good = b'{"id":1,"new":1}'
    bad = b'{"id":2,%b}' % extra
    group = decode(PLAIN, *[good] * before, good, bad, good)
    assert [row[-1] for row in rows_of(group)] == ['{"new":1}'] * (before + 2)
    assert [(one.record_no, one.code, one.raw) for one in group.files[0].rejected] == [(before + 2, "bad_text", bad)]


def test_records_that_break_the_schema_are_not_rescued() -> None:
    """Their unknown keys stay in the rejected record."""
    group = decode(PLAIN, b'{"id":"x","new":1}', b'{"new":1}', b'{"id":3,"new":1}')
    assert [(one.record_no, one.code) for one in group.files[0].rejected] == [(1, "wrong_type"), (2, "missing_field")]
    assert [row[1:] for row in rows_of(group)] == [(3, 3, None, '{"new":1}')]


def test_unknown_keys_are_counted_by_record() -> None:
    """Elements of a list and keys of a map are one; most frequent first, each with the first value."""
    group = decode(
        NESTED,
        b'{"id":1,"items":[{"x":1},{"x":2}],"rare":[1, 2]}',
        b'{"id":2,"items":[{"x":3}],"the.prices":{"a":{"y":4},"b":{"y":5}}}',
        b'{"id":3,"items":[{"x":6}],"the.prices":{"c":{"y":7}}}',
    )
    assert group.files[0].unknown == (
        UnknownKey("items[].x", 3, "1"),
        UnknownKey("the.prices.*.y", 2, "4"),
        UnknownKey("rare", 1, "[1, 2]"),
    )


def test_hostile_keys_are_counted_within_bounds() -> None:
    """At most 100 keys a file, the frequent ones among them; long keys and samples are cut, NUL is replaced."""
    records = [b'{"id":%d,"k%d":1,"often":2}' % (number, number) for number in range(2000)]
    records.append(b'{"id":1,"%b":"%b"}' % (b"\\u0000" * 300, b"a" * 500))
    records += [b'{"id":1,"%b":"%b"}' % (b"\\u0000" * 300, b"b" * 500)] * 3
    unknown = decode(PLAIN, *records[:2000]).files[0].unknown
    assert len(unknown) == 100
    assert unknown[0] == UnknownKey("often", 2000, "2")
    hostile = decode(PLAIN, *records[2000:]).files[0].unknown
    assert hostile == (UnknownKey("\ufffd" * 255, 4, '"' + "a" * 198 + "…"),)


def test_common_key_is_learned(monkeypatch: pytest.MonkeyPatch) -> None:
    """A producer's new field sends one file the slow way, and those after it the fast one, with the same result."""
    decoder = Decoder(PLAIN, KEYS)
    data = b"[%b]" % b",".join(b'{"id":%d,"new":%d,"newer":[%d]}' % (n, n, n) for n in range(200))
    first = decoder.decode_many([("f", data, False)])
    monkeypatch.setattr(records_module.RecordReader, "read_each", None)
    second = decoder.decode_many([("f", data, False), ("f", b'[{"id":1},{"id":2,"newer":1}]', False)])
    assert rows_of(second)[:200] == rows_of(first)
    assert [row[-1] for row in rows_of(second)[-2:]] == [None, '{"newer":1}']
    assert second.files[0].unknown == first.files[0].unknown
    assert second.files[1].unknown == (UnknownKey("newer", 1, "1"),)


def test_more_common_keys_than_are_learned_are_rescued_too() -> None:
    """The others go the slow way, which changes nothing."""
    extra = {f"k{number}": number for number in range(40)}
    group = decode(PLAIN, *[json.dumps({"id": 1, **extra}).encode()] * 200)
    assert [json.loads(row[-1]) for row in rows_of(group)] == [extra] * 200
    assert group.files[0].unknown == tuple(UnknownKey(key, 200, str(extra[key])) for key in sorted(extra))


def test_keys_that_no_struct_takes_are_rescued_too() -> None:
    """Quotes, control characters and ever other keys cannot be learned, which changes nothing."""
    records = [b'{"id":%d,"a\\"b":1,"n\\u0000":2,"k%d":3}' % (number, number) for number in range(300)]
    group = decode(PLAIN, *records)
    assert [json.loads(row[-1]) for row in rows_of(group)] == [{'a"b': 1, "n\0": 2, f"k{n}": 3} for n in range(300)]


def test_default_may_have_keys_that_its_struct_has_not() -> None:
    """A default is the definition's business; nothing of it is rescued or refused."""
    definition = define({"name": "x", "type": POINT, "default": {"a": 1, "more": 2}})
    for unknown in UnknownFields:
        assert rows_of(decode(definition, b'{"id":1}', unknown=unknown)) == [(0, 1, 1, {"a": 1, "j": None}, None)]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
UNICODE = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)


@settings(deadline=None, max_examples=100)
@given(st.lists(st.dictionaries(UNICODE, JSON, max_size=4), min_size=1, max_size=4))
def test_anything_unknown_comes_back_out_of_the_column(extras: list[dict[str, Any]]) -> None:
    """Whatever keys and values a producer makes up, the rescued object holds them."""
    extras = [{key: value for key, value in extra.items() if key not in ("id", "x")} for extra in extras]
    records = [json.dumps({"id": 1, **extra}).encode(errors="surrogatepass") for extra in extras]
    assert [None if text is None else json.loads(text) for text in rescued(PLAIN, *records)] == [
        extra or None for extra in extras
    ]
