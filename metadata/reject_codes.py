"""Why a record is rejected, as stable words: in the quarantine table, in the ledger, in messages and in tests."""

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
