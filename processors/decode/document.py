"""Which records does this JSON document hold? The forms in their order, read in one pass where that is possible."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import msgspec
import pyarrow as pa

from metadata.errors import FileRefused
from metadata.files.suffixes_and_codecs import CODECS, FORMS
from metadata.types.definition import JSON_KEY, Definition

BROKEN = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What msgspec raises on text that is no JSON; a ValidationError is a DecodeError too."""

_ESCAPES = re.compile(
    rb"\\[^u]|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(\\u[dD][89a-fA-F][0-9a-fA-F]{2})"
)
_BLANK = b" \t\r\n"
_LINES = next(form for form in FORMS if form.lines)

_any_value = msgspec.json.Decoder(msgspec.Raw)
_array = msgspec.json.Decoder(list[msgspec.Raw])
_object = msgspec.json.Decoder(dict[str, msgspec.Raw])


class Content:
    """Finds the records of whole JSON documents of one type.

    `keys` name the type; an array under one of them holds its records, unless the definition has a field of that key.
    """

    def __init__(self, definition: Definition, keys: Sequence[str], record: type[msgspec.Struct]) -> None:
        self.root = tuple(definition.root.split(".")) if definition.root else ()
        own = {field.key for field in definition.fields}
        self.keys = tuple(key for key in dict.fromkeys(keys) if key not in own)
        self.required = tuple(field.key for field in definition.required)
        self.own = own
        # The type is made at run time, so mypy cannot know it.
        self.records: msgspec.json.Decoder[list[Any]] = msgspec.json.Decoder(list[record])  # type: ignore[valid-type] # made at run time
        # The path to the records is spelt out as structs around them, so that one pass does for the whole document.
        paths = [self.root] if self.root else []
        paths += [(key,) for key in self.keys if key not in self.root[:1]]
        if not all(JSON_KEY.fullmatch(key) for path in paths for key in path):
            paths = []  # a file's name may hold what a struct cannot spell: `split` finds it
        self._depths = [len(path) for path in paths]
        wrapper = msgspec.defstruct(
            "Document",
            [(f"k{n}", _around(record, path[1:]) | msgspec.UnsetType, msgspec.UNSET) for n, path in enumerate(paths)],
            rename={f"k{n}": path[0] for n, path in enumerate(paths)},
            gc=False,
        )
        self._wrapper = msgspec.json.Decoder(wrapper)

    def read(self, data: bytes) -> list[Any] | None:
        """Every record of the document in one pass; None when only `split` can tell where they are.

        Raises one of BROKEN when a record breaks the schema or the document is no JSON.
        """
        if _first_byte(data) == b"[":
            return self.records.decode(data)
        if not self._depths:
            return None
        found: list[Any] = []
        for value, depth in zip(msgspec.structs.astuple(self._wrapper.decode(data)), self._depths, strict=True):
            for _ in range(depth - 1):
                value = msgspec.UNSET if value is msgspec.UNSET else value.k0
            if value is not msgspec.UNSET:
                found.append(value)
        return found[0] if len(found) == 1 else None

    def split(self, data: bytes) -> list[Any]:
        """The records as raw JSON (bytes or `msgspec.Raw`), whatever is wrong inside of them.

        A lone surrogate escape in a record, which no decoder takes, does not hide the others.
        Raises FileRefused: `malformed`, or `wrong_shape` when none of the forms fits.
        """
        try:
            return _parts(self._find(data))
        except BROKEN as error:
            repaired = without_lone_surrogates(data)
            if repaired == data:
                raise _malformed(data, error) from error
        try:
            parts = _parts(self._find(repaired))
        except BROKEN as error:
            raise _malformed(data, error) from error
        start = pa.py_buffer(repaired).address
        offsets = [(pa.py_buffer(part).address - start, len(part)) for part in parts]
        return [data[offset : offset + length] for offset, length in offsets]

    def _find(self, data: bytes) -> Any:
        """The array of records, or a list of the one record, still as raw JSON."""
        first = _first_byte(data)
        if first == b"[":
            return data
        if first != b"{":
            _any_value.decode(data)
            raise FileRefused(
                "it holds a single value where an array or an object of records stands", code="wrong_shape"
            )
        document = _object.decode(data)
        found = self._at_root(document)
        if found is None:
            named = [key for key in self.keys if _first_byte(document.get(key, b"")) == b"["]
            if len(named) > 1:
                raise FileRefused(f"the keys {_join(named)} both hold records of the type", code="wrong_shape")
            if named:
                found = document[named[0]]
            elif self._is_record(document):
                return [data]
            else:
                found = _only_array(document)
        return found

    def _at_root(self, document: dict[str, msgspec.Raw]) -> Any:
        value: Any = None
        level: dict[str, Any] = document
        for number, key in enumerate(self.root):
            if key not in level:
                return None
            value = level[key]
            if number + 1 < len(self.root):
                if _first_byte(value) != b"{":
                    return None
                level = _object.decode(value)
        if value is not None and _first_byte(value) != b"[":
            raise FileRefused(f'its root "{".".join(self.root)}" holds no array', code="wrong_shape")
        return value

    def _is_record(self, document: dict[str, msgspec.Raw]) -> bool:
        """A definition that requires nothing wants at least one of its keys: else every object would be a record."""
        if self.required:
            return all(key in document for key in self.required)
        return any(key in document for key in self.own)


def first_fault(data: bytes) -> Exception | None:
    """What is wrong with this JSON text as JSON, leaving lone surrogate escapes and UTF-8 aside; None: nothing."""
    try:
        _any_value.decode(without_lone_surrogates(data))
    except BROKEN as error:
        return error
    return None


def without_lone_surrogates(data: bytes) -> bytes:
    """The same text, byte for byte as long, with U+FFFD where an escape is half of a surrogate pair."""
    return _ESCAPES.sub(lambda match: b"\\ufffd" if match[1] else match[0], data)


def _around(record: type[msgspec.Struct], path: tuple[str, ...]) -> Any:
    """The type of an array of records with objects of the path's keys around it."""
    if not path:
        return list[record]  # type: ignore[valid-type] # made at run time
    inner = _around(record, path[1:]) | msgspec.UnsetType
    return msgspec.defstruct("Level", [("k0", inner, msgspec.UNSET)], rename={"k0": path[0]}, gc=False)


def _parts(found: Any) -> list[Any]:
    return found if isinstance(found, list) else _array.decode(found)


def _only_array(document: dict[str, msgspec.Raw]) -> msgspec.Raw:
    arrays = []
    for key, value in document.items():
        if _first_byte(value) == b"[":
            items = _array.decode(value)
            if items and all(_first_byte(item) == b"{" for item in items):
                arrays.append(key)
    if len(arrays) == 1:
        return document[arrays[0]]
    reason = f"the keys {_join(arrays)} all hold arrays of objects" if arrays else "no key holds an array of objects"
    keys = _join(list(document)[:10]) or "none"
    raise FileRefused(
        f"it is an object without a key that names the type and without its required fields, and {reason} (its keys: "
        f'{keys}); add the key to the type\'s patterns, or name it in the definition as "root"',
        code="wrong_shape",
    )


def _malformed(data: bytes, error: Exception) -> FileRefused:
    if isinstance(error, RecursionError):
        return FileRefused("its JSON is nested too deeply", code="malformed")
    reason = str(error).removeprefix("JSON is malformed: ")
    hint = ""
    if "trailing characters" in reason:
        hint = f'; several documents in one file are JSON lines: name it ".{_LINES.suffix}"'
    elif "truncated" in reason:
        reason = f"it ends in the middle of a value (byte {len(data)})"
    elif data[:2] in (b"\xff\xfe", b"\xfe\xff") or b"\0" in data[:2]:
        hint = "; it looks like UTF-16, JSON is UTF-8"
    elif codec := next((each for each in CODECS if data.startswith(each.magic)), None):
        hint = f'; it looks like {codec.name}: name it ".json.{codec.suffix}"'
    return FileRefused(f"it is no JSON: {reason}{hint}", code="malformed")


def _first_byte(data: Any) -> bytes:
    """The first byte that is no white space; empty when there is none."""
    head = bytes(memoryview(data)[:64]).lstrip(_BLANK)
    return head[:1] or bytes(data).lstrip(_BLANK)[:1]


def _join(keys: Sequence[str]) -> str:
    return ", ".join(f'"{key[:60]}"' for key in keys)
