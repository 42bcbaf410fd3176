"""Which records does a sample of source files hold, when nobody has described them yet?

Files are read up to stated bounds, compressed ones too. Where their records stand, `processors.drafts.record_places`
finds out.
"""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from metadata.errors import FileRefused
from metadata.files.suffixes_and_codecs import Codec
from metadata.types.file_type import FileType
from processors.decode.decompress import first_bytes, text_of
from processors.drafts.record_places import find_records, key_fits, quoted

_MIB = 1024 * 1024


@dataclass(frozen=True)
class Bounds:
    """How much is read for one draft."""

    files: int = 20
    records: int = 100_000
    bytes: int = 64 * _MIB  #: decompressed, of all files together


@dataclass(frozen=True)
class Source:
    """A file to look into."""

    name: str
    path: Path
    lines: bool
    codec: Codec | None  #: that it is compressed with


@dataclass(frozen=True)
class SampledFile:
    """What was found in one file; `code` and `message` say why nothing was."""

    name: str
    records: int = 0
    is_whole: bool = True  #: every record of it is in the sample
    code: str | None = None
    message: str | None = None


@dataclass
class Sample:
    """Records as they stand in their files, and where documents keep them."""

    records: list[bytes] = field(default_factory=list)
    root: str | None = None
    files: list[SampledFile] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    bytes: int = 0


def type_keys(kind: FileType) -> tuple[str, ...]:
    """The names under which a document may hold the records of a type."""
    return keys_of(kind.name, kind.table_name, kind.patterns)


def keys_of(name: str, table_name: str, patterns: Sequence[str]) -> tuple[str, ...]:
    """The same, of a type that is no FileType yet."""
    return tuple(dict.fromkeys([name, table_name.split(".")[-1], *patterns]))


def gather(sources: Iterable[Source], keys: Sequence[str], bounds: Bounds, root: str | None = None) -> Sample:
    """Read a sample; a file that cannot be read or is no JSON is told of, and costs only itself.

    Each file gets the same share of the bounds; of one with more records, some are taken at even distances. `keys` name
    the type inside documents. `root` says where records are, `""` that each document is one; None:
    `find_records` decides.
    """
    sample = Sample()
    paths: Counter[tuple[str, ...]] = Counter()
    chosen = list(islice(sources, bounds.files))
    files: dict[int, tuple[SampledFile, list[bytes]]] = {}
    records = 0
    # The small ones first: what they leave of their share goes to the larger ones.
    for number, index in enumerate(sorted(range(len(chosen)), key=lambda index: _size(chosen[index].path))):
        source, left = chosen[index], len(chosen) - number
        try:
            data, is_whole = read_head(source.path, source.codec, (bounds.bytes - sample.bytes) // left)
            found = find_records(data, source.lines, keys, is_whole=is_whole, root=root)
        except FileRefused as refused:
            files[index] = SampledFile(source.name, code=refused.code, message=refused.message), []
            continue
        taken = _spread(found.records, (bounds.records - records) // left)
        is_whole = is_whole and len(taken) == len(found.records)
        files[index] = SampledFile(source.name, len(taken), is_whole), taken
        records, sample.bytes = records + len(taken), sample.bytes + len(data)
        if all("." not in key and key_fits(key) for key in found.path):
            paths[found.path] += 1
        else:
            sample.notes.append(f"records stand under {quoted(found.path)}, which no root can spell")
        if found.note and found.note not in sample.notes:
            sample.notes.append(found.note)
    for _, (file, taken) in sorted(files.items()):
        sample.files.append(file)
        sample.records += taken
    del paths[()]
    if paths:
        sample.root = ".".join(paths.most_common(1)[0][0])
        if len(paths) > 1:
            others = ", ".join(sorted({".".join(path) for path in paths} - {sample.root}))
            sample.notes.append(f"other files keep their records under {others}; the type needs a key for each")
    return sample


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0  # reading it will say why


def _spread(records: list[bytes], limit: int) -> list[bytes]:
    """So many of them, from the first to the last at even distances."""
    if len(records) <= limit:
        return records
    return [records[number * len(records) // limit] for number in range(limit)]


def read_head(path: Path, codec: Codec | None, limit: int) -> tuple[bytes, bool]:
    """The first `limit` bytes of a file's text, and whether that is all of it.

    Raises FileRefused `empty`, `unreadable` or `not_a_regular_file`.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise FileRefused(f"it cannot be read ({error.strerror})", code="unreadable") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise FileRefused("it is no regular file", code="not_a_regular_file")
    with os.fdopen(descriptor, "rb", buffering=0) as file:
        try:
            data = first_bytes(file, codec, limit + 1)
        except OSError as error:
            raise FileRefused(f"it cannot be read: {error}", code="unreadable") from error
    is_whole = len(data) <= limit
    return text_of(data[:limit]), is_whole
