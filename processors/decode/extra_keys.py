"""Keys that a record has and its schema has not: found, kept as JSON, counted.

A key inside of a struct is written with the path that leads to it: `address.zip2`, `items[3].x`, and for a map
`prices.eur.x`. For counting, all elements are one: `items[].x`, `prices.*.x`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter
from typing import Any, NamedTuple

import msgspec

from metadata.ledger.values import UnknownKey
from metadata.types.definition import Definition
from metadata.types.field_types import FieldType

_KEYS_REPORTED = 100
_KEYS_COUNTED = 1000  # a hostile file has another key in each record
_KEY_CHARACTERS = 255
_SAMPLE_CHARACTERS = 200

_array = msgspec.json.Decoder(list[msgspec.Raw])
_object = msgspec.json.Decoder(dict[str, msgspec.Raw])


class Extra(NamedTuple):
    """One key of a record that the schema has not."""

    path: str  #: unique within the record
    key: str  #: the path without the numbers of elements and the keys of maps
    value: Any  #: its raw JSON


_Find = Callable[[Any, str, str, list[Extra]], None]
"""Adds the extras of a raw value that stands at this path and key."""


class Extras:
    """Finds what the records of one definition have and the definition has not."""

    def __init__(self, definition: Definition) -> None:
        self._known = frozenset(field.key for field in definition.fields)
        self._find = _in_struct((field.key, field.type) for field in definition.fields)

    def of(self, raw: Any) -> list[Extra]:
        """Of one record that fits the schema, by path.

        Raises one of BROKEN when a key is no text.
        """
        found: list[Extra] = []
        self._find(raw, "", "", found)
        if len(found) < 2:
            return found
        unique: dict[str, Extra] = {}
        for extra in found:
            path = extra.path
            while path in unique:  # keys may hold dots themselves
                path = f"$.{path}"
            unique[path] = extra._replace(path=path)
        return [unique[path] for path in sorted(unique)]

    def own_keys(self, raws: Iterable[Any]) -> dict[str, int]:
        """In how many of the records each unknown key stands, those inside of structs left aside."""
        counts: dict[str, int] = {}
        for raw in raws:
            try:
                keys = _object.decode(raw).keys() - self._known
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                continue  # whatever is wrong is found when it is decoded
            for key in keys:
                counts[key] = counts.get(key, 0) + 1
        return counts


class LearnedKeys:
    """Unknown keys that many records have, decoded beside the known ones: the attributes `x0…` of a record."""

    def __init__(self, keys: Sequence[str] = ()) -> None:
        self.keys = tuple(sorted(keys))
        self._parts = [
            (key, attrgetter(f"x{number}"), b"%b:" % msgspec.json.encode(key)) for number, key in enumerate(self.keys)
        ]

    def type_of(self, record: type[msgspec.Struct]) -> type[msgspec.Struct]:
        """The struct with these keys beside its own."""
        if not self.keys:
            return record
        names = [f"x{number}" for number in range(len(self.keys))]
        return msgspec.defstruct(
            "Learned",
            [(name, msgspec.Raw | msgspec.UnsetType, msgspec.UNSET) for name in names],
            bases=(record,),
            rename=dict(zip(names, self.keys, strict=True)),
            kw_only=True,
            gc=False,
            forbid_unknown_fields=True,
        )

    def rescued(self, record: Any, unknown: UnknownKeys) -> str | None:
        """What `rescued_json` would say of the record; counts its keys."""
        found: list[tuple[str, Any]] = []
        text = b""
        for key, value_of, name in self._parts:
            value = value_of(record)
            if value is not msgspec.UNSET:
                text = b"%b,%b%b" % (text, name, value) if found else b"%b%b" % (name, value)
                found.append((key, value))
        if not found:
            return None
        decoded = f"{{{text.decode()}}}"
        for key, value in found:
            unknown.count(key, value)
        return decoded


class UnknownKeys:
    """Counts the unknown keys of one file."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._samples: dict[str, Any] = {}

    def add(self, extras: Sequence[Extra]) -> None:
        """The extras of one record; those of one key count once, with the first value."""
        for key, value in {extra.key: extra.value for extra in reversed(extras)}.items():
            self.count(key, value)

    def count(self, key: str, value: Any) -> None:
        """One record that has the key; `value` is its raw JSON."""
        if key in self._counts:
            self._counts[key] += 1
        elif len(self._counts) < _KEYS_COUNTED:
            self._counts[key] = 1
            self._samples[key] = _sample(value)

    def most_frequent(self) -> tuple[UnknownKey, ...]:
        """At most 100 of them, most frequent first."""
        counts: dict[str, UnknownKey] = {}
        for key, records in sorted(self._counts.items(), key=lambda item: (-item[1], item[0])):
            text = key[:_KEY_CHARACTERS].replace("\0", "\ufffd")  # not every database takes NUL
            if text not in counts:
                counts[text] = UnknownKey(text, records, self._samples[key])
            if len(counts) == _KEYS_REPORTED:
                break
        return tuple(counts.values())


def rescued_json(extras: Iterable[Extra]) -> str:
    """One JSON object of them all, each value as it stood. Raises UnicodeDecodeError when a value is no UTF-8."""
    return (b"{%b}" % b",".join([b"%b:%b" % (msgspec.json.encode(path), value) for path, _, value in extras])).decode()


def _in_struct(fields: Iterable[tuple[str, FieldType]]) -> _Find:
    listed = list(fields)
    known = frozenset(key for key, _ in listed)
    inner = [(key, find) for key, type_ in listed if (find := _in_value(type_)) is not None]

    def find_in_struct(raw: Any, path: str, key: str, found: list[Extra]) -> None:
        if not _opens(raw, b"{"):
            return
        document = _object.decode(raw)
        before, key_before = (f"{path}.", f"{key}.") if path else ("", "")
        for name in document.keys() - known:
            found.append(Extra(before + name, key_before + name, document[name]))
        for name, find in inner:
            value = document.get(name)
            if value is not None:
                find(value, before + name, key_before + name, found)

    return find_in_struct


def _in_value(type_: FieldType) -> _Find | None:
    """None when there is no struct in values of the type."""
    if not isinstance(type_, dict):
        return None
    if type_["type"] == "struct":
        return _in_struct((inner["name"], inner["type"]) for inner in type_["fields"])
    is_list = type_["type"] == "list"
    find = _in_value(type_["element" if is_list else "value"])
    if find is None:
        return None

    def find_in_list(raw: Any, path: str, key: str, found: list[Extra]) -> None:
        if _opens(raw, b"["):
            for number, item in enumerate(_array.decode(raw)):
                find(item, f"{path}[{number}]", f"{key}[]", found)

    def find_in_map(raw: Any, path: str, key: str, found: list[Extra]) -> None:
        if _opens(raw, b"{"):
            for name, item in _object.decode(raw).items():
                find(item, f"{path}.{name}", f"{key}.*", found)

    return find_in_list if is_list else find_in_map


def _opens(raw: Any, bracket: bytes) -> bool:
    """Whether the value is an object or array, and not null."""
    return bytes(memoryview(raw)[:1]) == bracket or bytes(raw).lstrip()[:1] == bracket


def _sample(value: Any) -> str:
    text = bytes(memoryview(value)[: 4 * _SAMPLE_CHARACTERS]).decode(errors="replace")
    return text if len(text) <= _SAMPLE_CHARACTERS else f"{text[: _SAMPLE_CHARACTERS - 1]}…"
