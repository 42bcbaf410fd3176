"""Which records does a sample of source files hold, when nobody has described them yet?

Files are read up to stated bounds, compressed ones too. Where records stand in a document is what
`processors.decode.document` says it is, as far as that needs no schema; for the rest there are rules here: see `find`.
"""

from __future__ import annotations

import json
import os
import stat
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa

from metadata.errors import FileRefused
from metadata.files.names import Compression
from metadata.types.definition import JSON_KEY, Definition, Field
from metadata.types.file_type import FileType
from processors.decode.document import BROKEN, Content
from processors.drafts.value_types import words_of

_MIB = 1024 * 1024
_PIECE = 4 * _MIB
_BOM = b"\xef\xbb\xbf"
_BLANK = " \t\r\n"
_MOST_KEYS = 1000
_CODECS = {"gz": "gzip", "zst": "zstd"}
_ENVELOPES = frozenset(["body", "content", "d", "data", "feed", "hits", "payload", "response", "result", "results"])
_IDENTIFIERS = frozenset(["id", "uuid", "guid", "key", "no", "number", "code", "serial", "sku"])
_NO_RECORD = Content(
    Definition(fields=(Field(name="x", type="json", source="\0"),)),  # a key that no JSON text can hold unescaped
    (),
    msgspec.defstruct("Nothing", []),
)

_object = msgspec.json.Decoder(dict[str, msgspec.Raw])
_array = msgspec.json.Decoder(list[msgspec.Raw])


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
    compression: Compression | None


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


@dataclass(frozen=True)
class Found:
    """The records of one text; `path` leads to them in a document, `()` when they are its top."""

    records: list[bytes]
    path: tuple[str, ...] = ()
    note: str | None = None


def type_keys(kind: FileType) -> tuple[str, ...]:
    """The names under which a document may hold the records of a type."""
    return keys_of(kind.name, kind.table_name, kind.patterns)


def keys_of(name: str, table_name: str, patterns: Sequence[str]) -> tuple[str, ...]:
    """The same, of a type that is no FileType yet."""
    return tuple(dict.fromkeys([name, table_name.split(".")[-1], *patterns]))


def gather(sources: Iterable[Source], keys: Sequence[str], bounds: Bounds, root: str | None = None) -> Sample:
    """Read a sample; a file that cannot be read or is no JSON is told of, and costs only itself.

    Each file gets the same share of the bounds; of one with more records, some are taken at even distances. `keys` name
    the type inside documents. `root` says where records are, `""` that each document is one; None: `find`
    decides. OSError only when the disk itself fails.
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
            data, is_whole = read_head(source.path, source.compression, (bounds.bytes - sample.bytes) // left)
            found = find(data, source.lines, keys, is_whole=is_whole, root=root)
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
            sample.notes.append(f"records stand under {_join(found.path)}, which no root can spell")
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


def read_head(path: Path, compression: Compression | None, limit: int) -> tuple[bytes, bool]:
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
            if compression is None:
                data = _read(file, limit + 1)
            else:
                with pa.CompressedInputStream(pa.PythonFile(file, "r"), _CODECS[compression]) as stream:
                    data = _read(stream, limit + 1)
        except OSError as error:
            raise FileRefused(f"it cannot be read: {error}", code="unreadable") from error
    is_whole = len(data) <= limit
    data = data[:limit].removeprefix(_BOM)
    if not data or data.isspace():
        raise FileRefused("it is empty", code="empty")
    return data, is_whole


def _read(file: Any, size: int) -> bytes:
    pieces = []
    while size > 0 and (piece := file.read(min(size, _PIECE))):
        pieces.append(piece)
        size -= len(piece)
    return b"".join(pieces)


def find(data: bytes, lines: bool, keys: Sequence[str], *, is_whole: bool = True, root: str | None = None) -> Found:
    """The records of one file's text, without a schema that says where they are.

    A line each; an array; the array at `root`; the array under a key that names the type; the one array of objects
    that makes up most of the document (one level deeper too, in an envelope such as `data`), unless an identifier
    stands beside it; else the document is one record. Raises FileRefused `malformed` or `wrong_shape`.
    """
    if lines:
        text = data if is_whole else data[: data.rfind(b"\n") + 1]
        return Found([line for line in text.split(b"\n") if line and not line.isspace()])
    if not is_whole:
        path, records = _first_records(data.decode("utf-8", "ignore"))
        if not records:
            raise FileRefused("it is too large to be read whole, and begins with no record", code="too_large")
        return Found(records, path, "of a large document only the beginning was read")
    if data.lstrip()[:1] != b"{":
        return Found(list(map(bytes, _NO_RECORD.split(data))))
    try:
        document = _object.decode(data)
    except BROKEN:
        return Found(list(map(bytes, _NO_RECORD.split(data))))  # says what is wrong with it
    if root is not None:
        return _at_root(data, document, root)
    named = [key for key in keys if _is_array(document.get(key))]
    if len(named) == 1:
        return Found(list(map(bytes, _array.decode(document[named[0]]))), (named[0],))
    path = _envelope(document)
    if path:
        return Found(list(map(bytes, _array.decode(_value_at(document, path)))), path)
    arrays = [key for key, value in _first_items(document) if _is_array_of_objects(value)]
    note = f"each document is one record; to load the records of one array instead, name it as root: {_join(arrays)}"
    return Found([data], (), note if arrays else None)


def _at_root(data: bytes, document: dict[str, msgspec.Raw], root: str) -> Found:
    if not root:
        return Found([data])
    path = tuple(root.split("."))
    value = _value_at(document, path)
    if not _is_array(value):
        raise FileRefused(f'it holds no array under "{root}"', code="wrong_shape")
    return Found(list(map(bytes, _array.decode(value))), path)


def _envelope(document: dict[str, msgspec.Raw]) -> tuple[str, ...]:
    """The path to the array that the document is there for; empty when it is itself a record."""
    if any(set(words_of(key)[-1:]) & _IDENTIFIERS for key, value in _first_items(document) if _is_scalar(value)):
        return ()
    arrays = [key for key, value in _first_items(document) if "." not in key and _is_array_of_objects(value)]
    if len(arrays) == 1 and key_fits(arrays[0]):
        return (arrays[0],) if _is_most(document, arrays[0]) else ()
    if arrays:
        return ()
    for key, value in _first_items(document):
        if key.lower() in _ENVELOPES and _first_byte(value) == b"{" and _is_most(document, key):
            below = _envelope(_object.decode(value))
            return (key, *below) if below else ()
    return ()


def _is_most(document: dict[str, msgspec.Raw], key: str) -> bool:
    """Whether what stands at the key is at least as long as all the other values together."""
    return 2 * len(document[key]) >= sum(map(len, document.values()))


def key_fits(key: str) -> bool:
    """Whether a definition may name the key."""
    return JSON_KEY.fullmatch(key) is not None


def _first_items(document: dict[str, msgspec.Raw]) -> Iterator[tuple[str, msgspec.Raw]]:
    for number, item in enumerate(document.items()):
        if number >= _MOST_KEYS:
            return
        yield item


def _value_at(document: dict[str, msgspec.Raw], path: Sequence[str]) -> Any:
    value: Any = document.get(path[0])
    for key in path[1:]:
        value = _object.decode(value).get(key) if value is not None and _first_byte(value) == b"{" else None
    return value


def _first_byte(value: Any) -> bytes:
    return bytes(memoryview(value)[:64]).lstrip()[:1]


def _is_array(value: Any) -> bool:
    return value is not None and _first_byte(value) == b"["


def _is_array_of_objects(value: Any) -> bool:
    if not _is_array(value):
        return False
    items = _array.decode(value)
    return bool(items) and all(_first_byte(item) == b"{" for item in items)


def _is_scalar(value: Any) -> bool:
    return _first_byte(value) not in (b"[", b"{")


def _join(keys: Sequence[str]) -> str:
    more = f" and {len(keys) - 5} more" if len(keys) > 5 else ""
    return ", ".join(f'"{key[:60]}"' for key in keys[:5]) + more


# -- the beginning of a document too large to be read -----------------------------------------------------------------

_scan = json.JSONDecoder().raw_decode


def _first_records(text: str) -> tuple[tuple[str, ...], list[bytes]]:
    """The whole objects with which the first array of objects begins, and the path to it."""
    try:
        return _records_from(text, _skip(text, 0), ())
    except (ValueError, RecursionError, IndexError):
        return (), []


def _records_from(text: str, at: int, path: tuple[str, ...]) -> tuple[tuple[str, ...], list[bytes]]:
    if text[at] == "[":
        return path, list(_elements(text, _skip(text, at + 1)))
    at = _skip(text, at + 1)
    while text[at] == '"':
        key, at = _scan(text, at)
        at = _skip(text, _skip(text, at) + 1)
        if text[at] == "[" and text[_skip(text, at + 1)] == "{":
            return _records_from(text, at, (*path, key))
        try:
            _, at = _scan(text, at)
        except ValueError:  # it is cut off, so what the document is there for lies within
            return _records_from(text, at, (*path, key)) if text[at] == "{" else ((), [])
        at = _skip(text, at)
        if text[at] != ",":
            break
        at = _skip(text, at + 1)
    return (), []


def _elements(text: str, at: int) -> Iterator[bytes]:
    try:
        while text[at] == "{":
            _, end = _scan(text, at)
            yield text[at:end].encode()
            at = _skip(text, end)
            if text[at] != ",":
                return
            at = _skip(text, at + 1)
    except (ValueError, RecursionError, IndexError):
        return


def _skip(text: str, at: int) -> int:
    while at < len(text) and text[at] in _BLANK:
        at += 1
    return at
