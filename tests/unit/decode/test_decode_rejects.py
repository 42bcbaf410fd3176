from __future__ import annotations

import json
from typing import Any

import pytest
from decoded import KEYS, define, rows_of, single_rows

from metadata.ledger.values import RejectReason
from metadata.types.config import UnknownFields
from processors.decode import decoder as decode_module
from processors.decode.columns import ColumnError, Columns
from processors.decode.decoder import Decoder
from processors.decode.file_rejects import RejectLimits
from processors.decode.results import DecodedGroup

NUMBERS = define({"name": "x", "type": "long"}, {"name": "t", "type": "timestamp"})


def decode(*files: bytes, limits: RejectLimits | None = None, lines: bool = False) -> DecodedGroup:
    """These files, decoded together."""
    return Decoder(NUMBERS, KEYS, limits=limits or RejectLimits()).decode_many([("f", data, lines) for data in files])


def document(*records: dict[str, Any]) -> bytes:
    """An array of records."""
    return json.dumps(records).encode()


def good(number: int) -> dict[str, Any]:
    """A record that fits NUMBERS."""
    return {"id": number, "x": number}


BAD = {"id": 1, "x": "text"}
LATE = {"id": 1, "t": "soon"}  # which only its column finds


@pytest.mark.parametrize(
    ("limits", "rejected", "records", "exceeded"),
    [
        (RejectLimits(), 5, 10, False),
        (RejectLimits(), 6, 10, True),
        (RejectLimits(), 0, 0, False),
        (RejectLimits(ratio=0), 0, 10, False),
        (RejectLimits(ratio=0), 1, 1_000_000, True),
        (RejectLimits(ratio=1), 10, 10, False),
        (RejectLimits(ratio=1, records=3), 3, 3, False),
        (RejectLimits(ratio=1, records=3), 4, 1000, True),
        (RejectLimits(ratio=0.1, records=3), 2, 10, True),
        (RejectLimits(records=0), 1, 1000, True),
    ],
)
def test_limits_are_exceeded_beyond_either(limits: RejectLimits, rejected: int, records: int, exceeded: bool) -> None:
    """As many as a limit says may be rejected, not one more."""
    assert limits.exceeded(rejected, records) is exceeded


def test_good_records_around_rejected_ones_keep_their_numbers() -> None:
    """Rows have gaps where records were rejected, in whichever way, and are otherwise in the order of the file."""
    group = decode(
        document(good(1), BAD, good(3), LATE, good(5)),
        document(good(1)),
        b'{"id":1}\n\nxx\n{"id":3,"t":"soon"}\n{"id":4}',
    )
    assert group.files[2].refused is not None
    group = decode(b'{"id":1}\n\nxx\n{"id":3,"t":"soon"}\n{"id":4}', document(good(9)), lines=True)
    assert [row[:3] for row in rows_of(group)] == [(0, 1, 1), (0, 4, 4)]
    group = decode(document(good(1), BAD, good(3), LATE, good(5)), document(good(1)))
    assert [row[:3] for row in rows_of(group)] == [(0, 1, 1), (0, 3, 3), (0, 5, 5), (1, 1, 1)]
    assert [(file.records, file.rows, file.rejected_count) for file in group.files] == [(5, 3, 2), (1, 1, 0)]
    assert [(one.record_no, one.code) for one in group.files[0].rejected] == [(2, "wrong_type"), (4, "bad_timestamp")]
    assert len(group.batches) == 1


@pytest.mark.parametrize("limits", [RejectLimits(0.5), RejectLimits(1, 2)])
@pytest.mark.parametrize("bad", [[BAD, BAD, LATE], [LATE, BAD, LATE], [LATE, LATE, LATE]])
def test_file_beyond_its_limits_loads_nothing(limits: RejectLimits, bad: list[dict[str, Any]]) -> None:
    """Wherever its faults come to light; the files around it do not notice."""
    group = decode(document(good(1)), document(good(1), *bad, good(5)), document(good(7)), limits=limits)
    assert [row[:3] for row in rows_of(group)] == [(0, 1, 1), (2, 1, 7)]
    result = group.files[1]
    assert (result.over_limit, result.records, result.rows, result.rejected_count) == (True, 5, 0, 3)
    assert sum(reason.records for reason in result.reasons) == 3
    assert [file.over_limit for file in group.files] == [False, True, False]


def test_reasons_count_every_rejected_record_most_frequent_first() -> None:
    """Of a file beyond its limits only the first record of each reason is kept, and none of their texts."""
    records = [BAD, LATE, BAD, {"id": None}, LATE, LATE, {"x": 1}, good(8)]
    reasons = [
        RejectReason("bad_timestamp", "t", 3, 2, 'record 2, field "t": Invalid RFC3339 encoded datetime'),
        RejectReason("wrong_type", "x", 2, 1, 'record 1, field "x": Expected `int | null`, got `str`'),
        RejectReason("null_not_allowed", "id", 1, 4, 'record 4, field "id": Expected `int`, got `null`'),
        RejectReason("missing_field", "id", 1, 7, 'record 7, field "id": Object missing required field `id`'),
    ]
    result = decode(document(*records)).files[0]
    assert list(result.reasons) == reasons
    assert [(one.record_no, one.raw) for one in result.rejected] == [(1, b""), (2, b""), (4, b""), (7, b"")]
    result = decode(document(*records), limits=RejectLimits(1)).files[0]
    assert list(result.reasons) == reasons
    assert [json.loads(one.raw) for one in result.rejected] == records[:7]


def test_only_rejected_records_within_the_limits_are_a_file_without_rows() -> None:
    """A ratio of 1 accepts that everything is rejected."""
    group = decode(document(BAD, LATE), limits=RejectLimits(1))
    assert (group.files[0].over_limit, group.files[0].rows, group.batches) == (False, 0, [])


def test_file_in_many_batches_goes_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches that were built before its last faults were found lose its rows, and no other file's."""
    monkeypatch.setattr(decode_module, "BATCH_ROWS", 4)
    big = [*map(good, range(10)), *[LATE] * 11]
    group = decode(document(*map(good, range(3))), document(*big), document(good(1)))
    assert [row[:3] for row in rows_of(group)] == [(0, 1, 0), (0, 2, 1), (0, 3, 2), (2, 1, 1)]
    group = decode(document(*big[:20]))
    assert [row[1] for row in rows_of(group)] == list(range(1, 11))
    assert all(batch.rows for batch in group.batches)


@pytest.mark.parametrize(
    ("field", "texts"),
    [
        ({"type": "decimal(4,2)"}, {'"NaN"': "bad_decimal", "100": "out_of_range", "1.005": "out_of_range"}),
        ({"type": "decimal(4,2)", "max": 5}, {"6": "constraint_failed", "100": "out_of_range"}),
        ({"type": "timestamp"}, {'"soon"': "bad_timestamp", '"0001-01-01T00:00:00+01:00"': "out_of_range"}),
        ({"type": "long", "coerce": True}, {'"x"': "wrong_type", '"9e99"': "wrong_type", f'"{2**70}"': "out_of_range"}),
        ({"type": "string", "coerce": True}, {"[1]": "wrong_type", '"\\ud800"': "bad_text", '"\\udfff"': "bad_text"}),
        (
            {"type": "string", "max_length": 1, "pattern": "b"},
            {'"bb"': "constraint_failed", '"c"': "constraint_failed"},
        ),
        ({"type": "json", "nullable": False}, {"null": "null_not_allowed"}),
        ({"type": "float"}, {"1e39": "out_of_range"}),
        ({"type": {"type": "list", "element": "decimal(4,2)"}}, {"[1,100]": "out_of_range", '["NaN"]': "bad_decimal"}),
    ],
)
def test_each_of_many_faults_gets_its_own_code(field: dict[str, Any], texts: dict[str, str]) -> None:
    """However many there are and however they are mixed: shortcuts for the usual faults mistake none for another."""
    decoder = Decoder(define({"name": "x", **field}), KEYS, limits=RejectLimits(1))
    good = '"b"' if field["type"] in ("string", "json") else "[]" if isinstance(field["type"], dict) else "null"
    kinds = [*texts, good]
    chosen = [kinds[number * number // 7 % len(kinds)] for number in range(400)]
    records = [b'{"id":1,"x":%b}' % text.encode() for text in chosen]
    result = decoder.decode_many([("f", b"[%b]" % b",".join(records), False)])
    expected = [(number, texts[text]) for number, text in enumerate(chosen, start=1) if text in texts]
    assert [(one.record_no, one.code) for one in result.files[0].rejected] == expected
    assert [row[1] for row in rows_of(result)] == [n for n, text in enumerate(chosen, start=1) if text == good]


def test_invalid_bytes_cost_their_records_only() -> None:
    """Bytes that are no UTF-8 in a value kept as text: found among many."""
    decoder = Decoder(define({"name": "j", "type": "json"}, {"name": "s", "type": "string", "coerce": True}), KEYS)
    records = [b'{"id":1,"j":[1],"s":5}'] * 300
    records[7] = b'{"id":1,"j":"\xff"}'
    records[290] = b'{"id":1,"s":"\xff"}'
    result = decoder.decode_many([("f", b"[%b]" % b",".join(records), False)]).files[0]
    assert [(one.record_no, one.field, one.code, one.raw) for one in result.rejected] == [
        (8, "j", "bad_text", records[7]),
        (291, "s", "bad_text", records[290]),
    ]


def test_column_that_is_too_large_is_built_in_halves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Values that all fit, but not all in one column, make more batches."""
    column = Columns.column

    def at_most_three(self: Columns, number: int, records: Any) -> Any:
        if len(records) > 3:
            raise ColumnError("out_of_range", "more than 2 GiB in one column")
        return column(self, number, records)

    monkeypatch.setattr(Columns, "column", at_most_three)
    group = decode(document(*map(good, range(5)), LATE, good(6)), document(good(7)))
    assert [row[:3] for row in rows_of(group)] == [*((0, n + 1, n) for n in (0, 1, 2, 3, 4, 6)), (1, 1, 7)]
    assert [file.rejected_count for file in group.files] == [1, 0]
    assert max(batch.rows for batch in group.batches) <= 3


def test_each_of_many_broken_constraints_names_its_own_value() -> None:
    """However many values break one, in however many files: nobody reads of another record's value."""
    decoder = Decoder(define({"name": "n", "type": "int", "max": 10}), KEYS, limits=RejectLimits(ratio=1))
    files = [document(*({"id": 1, "n": start + number} for number in range(120))) for start in (1000, 5000)]
    for start, file in zip(
        (1000, 5000), decoder.decode_many([("f", data, False) for data in files]).files, strict=True
    ):
        assert [one.message.partition(": ")[2] for one in file.rejected] == [
            f"{start + number} is more than its max 10" for number in range(120)
        ]


def test_message_is_cut_and_storable() -> None:
    """A key of the record may stand in the message, whatever a producer made of it."""
    record = b'{"id":1,"%b":1}' % (b"\\u0000k" * 10_000)
    decoder = Decoder(NUMBERS, KEYS, unknown_fields=UnknownFields.REJECT, limits=RejectLimits(1))
    rejected = decoder.decode_many([("f", record, True)]).files[0].rejected[0]
    assert rejected.code == "unknown_field"
    assert len(rejected.message) < 600
    assert rejected.message.startswith("record 1: Object contains unknown field `\ufffdk")


def test_single_records_are_decoded_and_judged() -> None:
    """Each by its index: what is good becomes rows, what is not is rejected, also what is no JSON."""
    raws = [b'{"id":1}', b"xx", b'{"id":2,"x":"a"}', b'{"id":3,"new":[1]}', b'{"id":4,"t":"soon"}', b"", b'{"id":6}']
    decoded = Decoder(NUMBERS, KEYS, limits=RejectLimits(0)).decode_records(raws)
    assert decoded.good == [0, 3, 6]
    assert single_rows(decoded) == [
        (0, 1, None, None, None),
        (3, 3, None, None, '{"new":[1]}'),
        (6, 6, None, None, None),
    ]
    assert [(one.record_no, one.code, one.raw) for one in decoded.rejected] == [
        (2, "bad_line", raws[1]),
        (3, "wrong_type", raws[2]),
        (5, "bad_timestamp", raws[4]),
        (6, "bad_line", raws[5]),
    ]
    none = Decoder(NUMBERS, KEYS).decode_records([])
    assert (none.good, none.rejected, none.rescued) == ([], [], None)
    assert [len(column) for column in none.columns] == [0, 0, 0]
