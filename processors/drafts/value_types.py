"""What JSON values have in common → the type of a field that takes all of them. Pure.

A place where the values disagree, that is empty wherever it was seen, or that holds more than a draft should spell out,
is `json`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from metadata.types.definition import NAME
from metadata.types.field_types import PLAIN_TYPES, FieldType, row_of
from processors.drafts.seen_values import MAX_DEPTH, SeenNumbers, SeenObjects, SeenValues, merged

_STRUCT_KEYS, _NAME_CHARS = 50, 100
_SPARSE_KEYS, _SPARSE_SHARE = 20, 0.3
_EXACT = 2**53  # whole numbers beyond it change when they become doubles
_LONG = range(-(2**63), 2**63)
_FIXED_MIN_SCALE, _FIXED_MAX_SCALE, _FIXED_MIN_VALUES = 2, 12, 3
_EPOCH_SECONDS = (946_684_800, 4_102_444_800)  # the years 2000 to 2099
_ALMOST = 0.9

_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_MOMENT_WORDS = frozenset(
    {"at", "created", "date", "datetime", "ended", "epoch", "expires", "modified", "moment", "received", "seen"}
    | {"since", "started", "time", "timestamp", "ts", "until", "updated", "utc", "when"}
)
_SPAN_WORDS = frozenset(["age", "duration", "elapsed", "interval", "length", "offset", "span", "timeout", "uptime"])
_VERSION_WORDS = frozenset(["release", "revision", "ver", "version"])

Format = Literal["epoch_s", "epoch_ms"]


@dataclass(frozen=True)
class TypeChoice:
    """The type of a field as a definition gives it; `note` says what a person may want to know about it."""

    type: FieldType
    format: Format | None = None
    coerce: bool = False
    note: str | None = None


def choose(seen: SeenValues, name: str) -> TypeChoice:
    """The type of a record's field `name` that has held these values.

    Beside what `type_of` knows: numbers that are times (`epoch_s`, `epoch_ms`), and text that stands beside numbers or
    booleans (`string` with `coerce`).
    """
    if not seen.count:
        return TypeChoice("json", note="it was null wherever it was seen")
    kinds = _kinds(seen)
    if len(kinds) > 1:
        if seen.texts and kinds <= {"text", "number", "boolean"} and not seen.numbers.is_beyond:
            return TypeChoice("string", coerce=True, note=f"it holds {_join(kinds)}; numbers keep their JSON text")
        return TypeChoice("json", note=f"it holds {_join(kinds)}")
    if format_ := _epoch(seen.numbers, name):
        return TypeChoice("timestamp", format=format_)
    chosen = type_of(seen, name)
    return TypeChoice(chosen, note=_note(seen, chosen, name))


def type_of(seen: SeenValues, name: str) -> FieldType:
    """The type that takes all these values wherever it stands, nested too; `json` when no other does."""
    kinds = _kinds(seen)
    if len(kinds) != 1:
        return "json"
    match kinds.pop():
        case "boolean":
            return "boolean"
        case "number":
            return _number(seen.numbers)
        case "text":
            return _text(seen, name)
        case "list":
            return _list(seen, name)
        case _:
            return _object(seen, name)


def plainer(choice: TypeChoice) -> TypeChoice:
    """The next type to try where some value does not fit after all: text or a number without a meaning, then `json`."""
    if choice.format is not None:
        return TypeChoice("double", note=choice.note)
    row = row_of(choice.type)
    if row is not None and row.drafted_from is not None:
        return TypeChoice("string", note=choice.note)
    if row is not None and row.digits is not None:
        return TypeChoice("string", coerce=True, note=choice.note)
    return TypeChoice("json", note=choice.note)


def words_of(name: str) -> list[str]:
    """`eventTime`, `event_time`, `Event Time` → `event`, `time`."""
    return [word.lower() for word in _WORDS.findall(name)]


def _kinds(seen: SeenValues) -> set[str]:
    counts = {
        "boolean": seen.booleans,
        "number": seen.numbers.count,
        "text": seen.texts,
        "object": seen.objects.count,
        "list": seen.lists,
    }
    return {kind for kind, count in counts.items() if count}


def _number(numbers: SeenNumbers) -> FieldType:
    if numbers.is_beyond:
        return "json"
    if not numbers.fractions:
        # Never int: what counts to ten today outgrows 32 bits one day, and a long costs the same where it is stored.
        return "long" if numbers.low in _LONG and numbers.high in _LONG else "decimal(38,0)"
    return "double" if not numbers.wholes or max(-numbers.low, numbers.high) <= _EXACT else "json"


def _epoch(numbers: SeenNumbers, name: str) -> Format | None:
    if not numbers.count or numbers.is_beyond:
        return None
    words = words_of(name)
    if not _MOMENT_WORDS.intersection(words) or _SPAN_WORDS.intersection(words):
        return None
    first, last = _EPOCH_SECONDS
    if first <= numbers.least and numbers.most < last:
        return "epoch_s"
    return "epoch_ms" if first * 1000 <= numbers.least and numbers.most < last * 1000 else None


def _text(seen: SeenValues, name: str) -> FieldType:
    if len(seen.forms) != 1:
        return "string"
    form = next(iter(seen.forms))
    words = words_of(name)
    if form in PLAIN_TYPES:
        return "string" if form == "time" and _SPAN_WORDS.intersection(words) else form
    if form.startswith("fixed:"):
        scale = int(form[6:])
        is_number = _FIXED_MIN_SCALE <= scale <= _FIXED_MAX_SCALE and seen.texts >= _FIXED_MIN_VALUES
        return f"decimal(38,{scale})" if is_number and not _VERSION_WORDS.intersection(words) else "string"
    return "string"


def _list(seen: SeenValues, name: str) -> FieldType:
    if seen.is_cut or seen.items is None:
        return "json"
    element = type_of(seen.items, name)
    return "json" if element == "json" else {"type": "list", "element": element}


def _object(seen: SeenValues, name: str) -> FieldType:
    objects = seen.objects
    if seen.is_cut or not objects.members:
        return "json"
    if objects.values is not None or not _is_struct(objects):
        value = type_of(objects.values or merged(objects.keys.values()), name)
        return "json" if value == "json" else {"type": "map", "key": "string", "value": value}
    return {
        "type": "struct",
        "fields": [{"name": key, "type": type_of(each, key)} for key, each in objects.keys.items()],
    }


def _is_struct(objects: SeenObjects) -> bool:
    """Whether the keys are names: legal ones, not too many, and not another few in each object."""
    keys = objects.keys
    if len(keys) > _STRUCT_KEYS or not all(len(key) <= _NAME_CHARS and NAME.fullmatch(key) for key in keys):
        return False
    if len({key.lower() for key in keys}) < len(keys):
        return False
    return len(keys) <= _SPARSE_KEYS or objects.members / (objects.count * len(keys)) >= _SPARSE_SHARE


def _note(seen: SeenValues, chosen: FieldType, name: str) -> str | None:
    if chosen == "string" and len(seen.forms) > 1:
        form, count = max(((form, count) for form, count in seen.forms.items()), key=lambda pair: pair[1])
        if form in PLAIN_TYPES and form != "time" and count >= seen.texts * _ALMOST:
            return f"{count} of {seen.texts} texts are a {form}, the others are not"
    if chosen == "json" and seen.numbers.is_beyond:
        return "it holds a number too large for any type"
    if chosen == "json" and seen.is_cut_anywhere():
        return f"it is nested deeper than {MAX_DEPTH} levels"
    if chosen == "json" and (seen.objects.count or seen.lists):
        is_empty = not seen.objects.members if seen.objects.count else seen.items is None
        return "it was empty wherever it was seen" if is_empty else "its values are of several kinds"
    if chosen == "json":
        return "it holds fractions, and whole numbers that a double cannot keep"
    if chosen == "long" and _MOMENT_WORDS.intersection(words_of(name)) and seen.numbers.low > _EPOCH_SECONDS[0] * 10**6:
        return "it looks like a time in microseconds or nanoseconds, for which there is no format"
    return None


def _join(kinds: Iterable[str]) -> str:
    plural = {"boolean": "booleans", "number": "numbers", "text": "text", "object": "objects", "list": "lists"}
    words = [plural[kind] for kind in plural if kind in set(kinds)]
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
