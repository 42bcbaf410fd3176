"""Why a record breaks its schema: msgspec's words → the field, a stable code and a reason for people."""

from __future__ import annotations

import re

import msgspec

from metadata.reject_codes import RejectCode
from metadata.types.definition import Definition, Field
from processors.decode.columns import OUT_OF_RANGE

_PATH = re.compile(r" - at `(?:key` in `)?\$(.*)`$")
_MISSING = re.compile(r"Object missing required field `(.*?)`(?: - at|$)", re.DOTALL)
_CODES = (
    ("Object missing required field", RejectCode.MISSING_FIELD),
    ("Object contains unknown field", RejectCode.UNKNOWN_FIELD),
    ("Invalid RFC3339", RejectCode.BAD_TIMESTAMP),
    ("Invalid decimal", RejectCode.BAD_DECIMAL),
    ("Invalid UUID", RejectCode.BAD_UUID),
    ("Invalid base64", RejectCode.BAD_TEXT),
)


class Reasons:
    """Reads the messages of one definition's record decoder."""

    def __init__(self, definition: Definition) -> None:
        self._longest_first = sorted(definition.fields, key=lambda field: -len(field.key))

    def of(self, error: msgspec.ValidationError) -> tuple[Field | None, RejectCode, str]:
        """The field, code and reason of a record that breaks the schema, out of msgspec's words."""
        words = str(error)
        missing = _MISSING.match(words)
        path = _PATH.search(words)
        place = path[1] if path else ""
        reason = words[: path.start()] if path else words
        found = None
        for candidate in self._longest_first:
            rest = place.removeprefix(f".{candidate.key}")
            if rest != place and rest[:1] in ("", ".", "["):
                found = candidate
                break
            if missing and not place and missing[1] == candidate.key:
                found = candidate
                break
        if found is not None and place not in ("", f".{found.key}"):
            reason = f"{reason} (at {place.removeprefix('.')})"
        for start, code in _CODES:
            if words.startswith(start):
                return found, code, reason
        if ", got `null`" in words:
            return found, RejectCode.NULL_NOT_ALLOWED, reason
        if OUT_OF_RANGE.match(words):
            return found, RejectCode.OUT_OF_RANGE, reason
        return found, RejectCode.WRONG_TYPE, reason
