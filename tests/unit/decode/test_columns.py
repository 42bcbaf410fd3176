from __future__ import annotations

from typing import Any

import msgspec
import pytest

from metadata.types.parse_definition import parse_definition
from processors.decode.columns import ColumnError, Columns
from processors.decode.schema import decoder_type


@pytest.mark.parametrize(
    ("field", "good", "bad", "code"),
    [
        ({"type": "int", "min": 0}, b"0", b"-1", "constraint_failed"),
        ({"type": "string", "pattern": "^a"}, b'"a"', b'"b"', "constraint_failed"),
        ({"type": "json", "nullable": False}, b"1", b"null", "null_not_allowed"),
        ({"type": "json"}, b'"a"', b'"\xff"', "bad_text"),
        ({"type": "string", "coerce": True}, b"1", b"[]", "wrong_type"),
        ({"type": "string", "coerce": True}, b'"["', b'{"a":1}', "wrong_type"),
        ({"type": "int", "coerce": True}, b'"1"', b'"x"', "wrong_type"),
        ({"type": "timestamp"}, b'"2026-01-15T12:00:00Z"', b'"soon"', "bad_timestamp"),
        ({"type": "timestamp"}, b'"2026-01-15T12:00:00Z"', b'"0000-01-15T12:00:00Z"', "out_of_range"),
        ({"type": "time"}, b'"12:00:00"', b'"12:00:00Z"', "bad_timestamp"),
        ({"type": "float"}, b"1", b"1e300", "out_of_range"),
        ({"type": "decimal(4,2)"}, b"1", b"100", "out_of_range"),
        ({"type": "decimal(4,2)"}, b"1", b'"NaN"', "bad_decimal"),
    ],
)
def test_column_says_where_all_its_faults_are(field: dict[str, Any], good: bytes, bad: bytes, code: str) -> None:
    """A column of thousands need not be built anew for each of them."""
    definition = parse_definition({"fields": [{"name": "x", **field}]})
    record = msgspec.json.Decoder(decoder_type(definition))
    texts = [bad if number % 3 == 1 else good for number in range(9)]
    with pytest.raises(ColumnError) as caught:
        Columns(definition).build([record.decode(b'{"x":%s}' % text) for text in texts])
    assert caught.value.code == code
    assert caught.value.rows == [1, 4, 7]
