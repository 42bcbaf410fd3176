"""Names of source files: what they say. Pure functions; `metadata.types.file_type` knows which type takes a name.

    {prefix}_{YYYYMMDDHHMMSS}[_anything|-anything].{form of JSON}[.{codec}]

The last two are rows of `metadata.files.suffixes_and_codecs`.
Names come from producers, so they hold whatever a file system allows: newlines, quotes, bytes that are no UTF-8 (as
Python's surrogate escapes). `safe_name` is the form that may be stored, logged and sent.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from datetime import UTC, datetime

from metadata.errors import FileRefused
from metadata.files.suffixes_and_codecs import CODECS_IN_WORDS, FORMS_IN_WORDS, SUFFIXES, Codec, read_suffixes

NAME_MAX_BYTES = 255
PREFIX_MAX_BYTES = 120

_FORM = f"{{prefix}}_{{YYYYMMDDHHMMSS}}{FORMS_IN_WORDS}, with {CODECS_IN_WORDS} if it is compressed"
_SUFFIX = re.compile(rf"{SUFFIXES}\Z", re.IGNORECASE | re.ASCII)
_STAMP = re.compile(r"_([0-9]{14})(?=[_-]|\Z)")
_PREFIX = re.compile(r"\w[^/\\]*", re.DOTALL)
_TEMPORARY_ENDS = (".tmp", ".part", "~")


@dataclass(frozen=True)
class DataFileName:
    """What a data file's name says."""

    name: str
    prefix: str
    time: datetime  #: the 14 digits, read as UTC
    lines: bool  #: it is JSON lines
    codec: Codec | None  #: that it is compressed with


def parse_name(name: str) -> DataFileName:
    """Read a data file's name; FileRefused with code `bad_name` says what is wrong with it.

    The first `_` + 14 digits that ends at `_`, `-` or the suffix is the time; suffixes count in any case. A prefix
    begins with a letter, digit or `_`, is printable and at most 120 bytes long, so it is safe as a folder's name.
    """
    suffix = _SUFFIX.search(name)
    if suffix is None:
        raise _refused(name, f"it does not end in {FORMS_IN_WORDS} (or one of these and {CODECS_IN_WORDS})")
    stem = name[: suffix.start()]
    stamp = _STAMP.search(stem)
    if stamp is None:
        raise _refused(name, "it has no _ and 14 digits (YYYYMMDDHHMMSS) before its suffix")
    prefix = stem[: stamp.start()]
    if not _PREFIX.fullmatch(prefix) or not prefix.isprintable():
        raise _refused(name, "its prefix is empty, starts oddly, or holds /, \\ or what cannot be printed")
    if len(os.fsencode(prefix)) > PREFIX_MAX_BYTES:
        raise _refused(name, f"its prefix is longer than {PREFIX_MAX_BYTES} bytes")
    return DataFileName(name, prefix, _time(name, stamp[1]), *read_suffixes(suffix[0]))


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
