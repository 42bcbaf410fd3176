"""The suffixes of source files, and what they say: the one table of the forms of JSON and of the codecs they come in.

A row is all that there is to add: names, decoding, drafts, checks and their messages ask here.
"""

from __future__ import annotations

from bz2 import BZ2Decompressor
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Form:
    """A form of JSON."""

    suffix: str  #: in lower case, without its dot
    lines: bool  #: a record a line; else the file is one document


@dataclass(frozen=True)
class Codec:
    """A way to compress files. Several members one behind the other are one file, whatever the codec."""

    suffix: str  #: in lower case, without its dot
    name: str  #: what people call it
    arrow: str  #: what Arrow calls it
    magic: bytes  #: what each of its files begins with
    ratio: int  #: bytes of JSON that machines wrote for one of its bytes, about; work is divided by it
    decompressor: type[BZ2Decompressor] | None = None  #: of a member, where Arrow's own does not read all of them


FORMS = (
    Form("json", lines=False),
    Form("jsonl", lines=True),
    Form("ndjson", lines=True),
)

CODECS = (
    Codec("gz", name="gzip", arrow="gzip", magic=b"\x1f\x8b", ratio=8),
    Codec("zst", name="zstd", arrow="zstd", magic=b"\x28\xb5\x2f\xfd", ratio=8),
    Codec("bz2", name="bzip2", arrow="bz2", magic=b"BZh", ratio=12, decompressor=BZ2Decompressor),
)


def _in_words(rows: Sequence[Form | Codec]) -> str:
    *others, last = [f".{row.suffix}" for row in rows]
    return f"{', '.join(others)} or {last}" if others else last


FORMS_IN_WORDS = _in_words(FORMS)
CODECS_IN_WORDS = _in_words(CODECS)

SUFFIXES = rf"\.(?:{'|'.join(form.suffix for form in FORMS)})(?:\.(?:{'|'.join(codec.suffix for codec in CODECS)}))?"
"""The end of a data file's name as a regular expression, for any case; also for one with `re.VERBOSE`."""


def read_suffixes(name: str) -> tuple[bool, Codec | None]:
    """Whether a file is JSON lines, and its codec, by the end of its name alone, in any case.

    What is no suffix of a row says nothing: the file is one document then, not compressed.
    """
    suffixes = name.lower().split(".")[1:]
    codec = next((each for each in CODECS if suffixes[-1:] == [each.suffix]), None)
    if codec is not None:
        suffixes.pop()
    return any(form.lines for form in FORMS if suffixes[-1:] == [form.suffix]), codec
