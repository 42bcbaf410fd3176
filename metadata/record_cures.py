"""What to do about rejected records, by the code of their reason: the one place that says it."""

from __future__ import annotations

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
