"""Names of source files: what they say. Pure functions; `metadata.types.file_type` knows which type takes a name.

    {prefix}_{YYYYMMDDHHMMSS}[_anything|-anything].{json|jsonl|ndjson}[.gz|.zst]

Names come from producers, so they hold whatever a file system allows: newlines, quotes, bytes that are no UTF-8 (as
Python's surrogate escapes). `safe_name` is the form that may be stored, logged and sent.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, cast

from metadata.errors import FileRefused

Suffix = Literal["json", "jsonl", "ndjson"]
Compression = Literal["gz", "zst"]

NAME_MAX_BYTES = 255
PREFIX_MAX_BYTES = 120

_FORM = "{prefix}_{YYYYMMDDHHMMSS}.json, .jsonl or .ndjson, with .gz or .zst if it is compressed"
_SUFFIX = re.compile(r"\.(json|jsonl|ndjson)(?:\.(gz|zst))?\Z", re.IGNORECASE)
_STAMP = re.compile(r"_([0-9]{14})(?=[_-]|\Z)")
_PREFIX = re.compile(r"\w[^/\\]*", re.DOTALL)
_TEMPORARY_ENDS = (".tmp", ".part", "~")


@dataclass(frozen=True)
class DataFileName:
    """What a data file's name says."""

    name: str
    prefix: str
    time: datetime  #: the 14 digits, read as UTC
    suffix: Suffix  #: in lower case, however it was written
    compression: Compression | None


def parse_name(name: str) -> DataFileName:
    """Read a data file's name; FileRefused with code `bad_name` says what is wrong with it.

    The first `_` + 14 digits that ends at `_`, `-` or the suffix is the time; suffixes count in any case. A prefix
    begins with a letter, digit or `_`, is printable and at most 120 bytes long, so it is safe as a folder's name.
    """
    suffix = _SUFFIX.search(name)
    if suffix is None:
        raise _refused(name, "it does not end in .json, .jsonl or .ndjson (or one of these and .gz or .zst)")
    stem = name[: suffix.start()]
    stamp = _STAMP.search(stem)
    if stamp is None:
        raise _refused(name, "it has no _ and 14 digits (YYYYMMDDHHMMSS) before its suffix")
    prefix = stem[: stamp.start()]
    if not _PREFIX.fullmatch(prefix) or not prefix.isprintable():
        raise _refused(name, "its prefix is empty, starts oddly, or holds /, \\ or what cannot be printed")
    if len(os.fsencode(prefix)) > PREFIX_MAX_BYTES:
        raise _refused(name, f"its prefix is longer than {PREFIX_MAX_BYTES} bytes")
    kind, compression = suffix[1].lower(), suffix[2].lower() if suffix[2] else None
    return DataFileName(
        name, prefix, _time(name, stamp[1]), cast("Suffix", kind), cast("Compression | None", compression)
    )


def is_temporary(name: str) -> bool:
    """Whether a name says "not yet": `.x`, `x.tmp`, `x.part`, `x~` (in any case). Such files are left alone."""
    return name.startswith(".") or name.lower().endswith(_TEMPORARY_ENDS)


def safe_name(name: str) -> str:
    """`name` with each byte that is no UTF-8 as `%XX`, cut before its suffix so that it still is a file's name."""
    if name.isascii():
        return name
    safe = "".join(f"%{ord(char) - 0xDC00:02X}" if "\udc80" <= char <= "\udcff" else char for char in name)
    excess = len(os.fsencode(safe)) - NAME_MAX_BYTES
    if excess <= 0:
        return safe
    suffix = _SUFFIX.search(safe)
    end = suffix.start() if suffix else len(safe)
    return os.fsencode(safe[:end])[:-excess].decode("utf-8", "ignore") + safe[end:]


def _refused(name: str, why: str) -> FileRefused:
    return FileRefused(f"reading the name {safe_name(name)!r}: {why}; call it {_FORM}", code="bad_name")


def _time(name: str, digits: str) -> datetime:
    year, *rest = int(digits[:4]), *(int(digits[at : at + 2]) for at in range(4, 14, 2))
    month, day, hour, minute, second = rest
    try:
        return datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    except ValueError as error:
        raise _refused(name, f"{digits} is no time that exists ({error})") from None
