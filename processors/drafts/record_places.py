"""Where does a file keep its records, when nobody has described them yet?

Where they stand in a document is what `processors.decode.document` says it is, as far as that needs no schema; for the
rest there are rules here: see `find_records`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from metadata.errors import FileRefused
from metadata.types.definition import JSON_KEY, Definition, Field
from processors.decode.document import BROKEN, Content
from processors.drafts.value_types import words_of

_BLANK = " \t\r\n"
_MOST_KEYS = 1000
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
class FoundRecords:
    """The records of one text; `path` leads to them in a document, `()` when they are its top."""

    records: list[bytes]
    path: tuple[str, ...] = ()
    note: str | None = None


def find_records(
    data: bytes, lines: bool, keys: Sequence[str], *, is_whole: bool = True, root: str | None = None
) -> FoundRecords:
    """The records of one file's text, without a schema that says where they are.

    A line each; an array; the array at `root`; the array under a key that names the type; the one array of objects
    that makes up most of the document (one level deeper too, in an envelope such as `data`), unless an identifier
    stands beside it; else the document is one record. Raises FileRefused `malformed` or `wrong_shape`.
    """
    if lines:
        text = data if is_whole else data[: data.rfind(b"\n") + 1]
        return FoundRecords([line for line in text.split(b"\n") if line and not line.isspace()])
    if not is_whole:
        path, records = _first_records(data.decode("utf-8", "ignore"))
        if not records:
            raise FileRefused("it is too large to be read whole, and begins with no record", code="too_large")
        return FoundRecords(records, path, "of a large document only the beginning was read")
    if data.lstrip()[:1] != b"{":
        return FoundRecords(list(map(bytes, _NO_RECORD.split(data))))
    try:
        document = _object.decode(data)
    except BROKEN:
        return FoundRecords(list(map(bytes, _NO_RECORD.split(data))))  # says what is wrong with it
    if root is not None:
        return _at_root(data, document, root)
    named = [key for key in keys if _is_array(document.get(key))]
    if len(named) == 1:
        return FoundRecords(list(map(bytes, _array.decode(document[named[0]]))), (named[0],))
    path = _envelope(document)
    if path:
        return FoundRecords(list(map(bytes, _array.decode(_value_at(document, path)))), path)
    arrays = [key for key, value in _first_items(document) if _is_array_of_objects(value)]
    note = f"each document is one record; to load the records of one array instead, name it as root: {quoted(arrays)}"
    return FoundRecords([data], (), note if arrays else None)


def _at_root(data: bytes, document: dict[str, msgspec.Raw], root: str) -> FoundRecords:
    if not root:
        return FoundRecords([data])
    path = tuple(root.split("."))
    value = _value_at(document, path)
    if not _is_array(value):
        raise FileRefused(f'it holds no array under "{root}"', code="wrong_shape")
    return FoundRecords(list(map(bytes, _array.decode(value))), path)


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


def quoted(keys: Sequence[str]) -> str:
    """The first of these keys, as a note names them."""
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
