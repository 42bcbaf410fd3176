"""Why a record is rejected, as stable words, and what to do about it; the one place that says either."""

from __future__ import annotations

from enum import StrEnum


class RejectCode(StrEnum):
    """The codes of rejected records."""

    MISSING_FIELD = "missing_field"  #: a key is missing that may not be null and has no default
    NULL_NOT_ALLOWED = "null_not_allowed"  #: null where the field, or a part of it, may not be null
    WRONG_TYPE = "wrong_type"  #: a value of another kind than the field's: text for a number, an object for text
    OUT_OF_RANGE = "out_of_range"  #: a number or time that the field's type cannot hold without changing it
    BAD_TIMESTAMP = "bad_timestamp"  #: a text that is no date, time or timestamp
    BAD_DECIMAL = "bad_decimal"  #: a text that is no decimal number
    BAD_UUID = "bad_uuid"  #: a text that is no UUID
    BAD_TEXT = "bad_text"  #: a text that is no UTF-8, holds half of a surrogate pair, or is no base64
    CONSTRAINT_FAILED = "constraint_failed"  #: a value that breaks the field's enum, min, max, pattern or max_length
    UNKNOWN_FIELD = "unknown_field"  #: a key that the schema has not, where the type rejects such keys
    DUPLICATE_KEY = "duplicate_key"  #: its primary key is there already, where the type dedupes by it
    BAD_LINE = "bad_line"  #: a line of a JSON lines file that is no JSON document


CURES = {
    "missing_field": "the field is required: give it a default or make it nullable in the type, or mend the producer",
    "null_not_allowed": "the field is required: make it nullable in the type, or mend the producer",
    "wrong_type": 'mend the producer; or let the field take it: another type, "coerce": true, or json',
    "out_of_range": "mend the producer, or give the field a wider type (int → long, float → double)",
    "bad_timestamp": 'mend the producer; numbers need "format": "epoch_s" or "epoch_ms" in the field',
    "bad_decimal": "mend the producer, or give the field more digits: decimal(precision, scale)",
    "bad_uuid": "mend the producer, or make the field a string",
    "bad_text": "mend the producer: text must be whole UTF-8 without halves of surrogate pairs",
    "constraint_failed": "mend the producer, or loosen the field's enum, min, max, pattern or max_length",
    "duplicate_key": "nothing to do when the producer repeats itself: discard it; else mend the key",
    "bad_line": "mend the producer: a line of a JSON lines file is one JSON document",
    "unknown_field": 'add the field to the type, or set "unknown_fields": "rescue" in its processing_config',
}
OTHERWISE = "mend the producer, or the type"


def record_cure(code: str | None) -> str:
    """One line: what makes such a record pass, or why it should not."""
    return CURES.get(code or "", OTHERWISE)
