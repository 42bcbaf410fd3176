"""What JSON values have in common → the type of a field that takes all of them. Pure, and bounded on hostile input.

`Seen` gathers what stood at one place of many records; `choose` says which type fits. A place where the values
disagree, that is empty wherever it was seen, or that holds more than a draft should spell out, is `json`.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

from metadata.types.definition import NAME
from metadata.types.field_types import FIELD_TYPES, PLAIN_TYPES, FieldType, row_of

MAX_DEPTH = 8
"""Levels of objects and lists that a draft spells out; what is below is `json`."""
MAX_KEYS = 200
"""Keys of one nested object that are told apart; with more, its keys are data."""
MAX_PLACES = 2000
"""Nested places of one draft that are told apart; what comes after them is `json`."""

_STRUCT_KEYS, _NAME_CHARS = 50, 100
_SPARSE_KEYS, _SPARSE_SHARE = 20, 0.3
_EXACT = 2**53  # whole numbers beyond it change when they become doubles
_LONG = range(-(2**63), 2**63)
_LARGEST_DECIMAL = 10**38
_FIXED_MIN_SCALE, _FIXED_MAX_SCALE, _FIXED_MIN_VALUES = 2, 12, 3
_EPOCH_SECONDS = (946_684_800, 4_102_444_800)  # the years 2000 to 2099
_ALMOST = 0.9

_FORMS = [(row.name, row.drafted_from, row.fault) for row in FIELD_TYPES if row.drafted_from is not None]
_LONGEST_FORM = 40
_FIXED = re.compile(r"-?(?:0|[1-9]\d{0,19})\.(\d{1,12})")
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


class Budget:
    """How many places may still be told apart; one for a whole draft."""

    def __init__(self, places: int = MAX_PLACES) -> None:
        self.places = places


@dataclass(slots=True)
class Seen:
    """Everything that stood at one place: a top-level key, a key of nested objects, the elements of lists."""

    nulls: int = 0
    booleans: int = 0
    wholes: int = 0
    low: int = 0  #: the smallest whole number
    high: int = 0
    fractions: int = 0
    least: float = math.inf  #: of all numbers
    most: float = -math.inf
    is_beyond: bool = False  #: a number was too large for any type
    texts: int = 0
    forms: Counter[str] = field(default_factory=Counter)  #: what the texts look like
    objects: int = 0
    members: int = 0  #: keys of all the objects together
    keys: dict[str, Seen] = field(default_factory=dict)
    values: Seen | None = None  #: of all keys together, once they are too many to be told apart
    lists: int = 0
    items: Seen | None = None
    is_cut: bool = False  #: something below was not looked at

    @property
    def count(self) -> int:
        """Values that are not null."""
        return self.booleans + self.wholes + self.fractions + self.texts + self.objects + self.lists

    def add(self, value: Any, budget: Budget, depth: int = 0) -> None:
        """One more value, as msgspec decodes it."""
        if value is None:
            self.nulls += 1
        elif isinstance(value, str):
            self.texts += 1
            self.forms[form_of(value)] += 1
        elif isinstance(value, bool):
            self.booleans += 1
        elif isinstance(value, int | float):
            self._add_number(value)
        elif isinstance(value, dict):
            self.objects += 1
            self.members += len(value)
            if not value:
                return
            if depth >= MAX_DEPTH:
                self.is_cut = True
                return
            for key, item in value.items():
                self._at(key, budget).add(item, budget, depth + 1)
        else:
            self.lists += 1
            if not value:
                return
            if depth >= MAX_DEPTH:
                self.is_cut = True
                return
            if self.items is None:
                self.items = Seen()
            for item in value:
                self.items.add(item, budget, depth + 1)

    def _add_number(self, value: int | float) -> None:
        if isinstance(value, int) and abs(value) < _LARGEST_DECIMAL:
            if not self.wholes:
                self.low = self.high = value
            self.wholes += 1
            self.low, self.high = min(self.low, value), max(self.high, value)
        elif isinstance(value, float) and math.isfinite(value):
            self.fractions += 1
        else:
            self.fractions += 1
            self.is_beyond = True
            return
        self.least, self.most = min(self.least, value), max(self.most, value)

    def _at(self, key: str, budget: Budget) -> Seen:
        if self.values is not None:
            return self.values
        child = self.keys.get(key)
        if child is not None:
            return child
        budget.places -= 1
        if len(self.keys) < MAX_KEYS and budget.places >= 0:
            self.keys[key] = child = Seen()
            return child
        self.values = merged(self.keys.values())
        self.keys = {}
        return self.values

    def absorb(self, other: Seen) -> None:
        """Count what `other` has seen as seen here; `other` stays as it is."""
        if other.wholes:
            self.low = min(self.low, other.low) if self.wholes else other.low
            self.high = max(self.high, other.high) if self.wholes else other.high
        for name in ("nulls", "booleans", "wholes", "fractions", "texts", "objects", "members", "lists"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.least, self.most = min(self.least, other.least), max(self.most, other.most)
        self.is_beyond, self.is_cut = self.is_beyond or other.is_beyond, self.is_cut or other.is_cut
        self.forms.update(other.forms)
        if other.values is not None or self.values is not None:
            values = [*self.keys.values(), *other.keys.values(), *filter(None, (self.values, other.values))]
            self.keys, self.values = {}, merged(values)
        else:
            for key, child in other.keys.items():
                self.keys.setdefault(key, Seen()).absorb(child)
        if other.items is not None:
            self.items = self.items or Seen()
            self.items.absorb(other.items)


def merged(places: Iterable[Seen]) -> Seen:
    """One place that has seen what all of these have."""
    together = Seen()
    for place in places:
        together.absorb(place)
    return together


def form_of(text: str) -> str:
    """What a text looks like: the type that is drafted from such texts, else `text`.

    A number with two decimals is `fixed:2`.
    """
    if len(text) > _LONGEST_FORM:
        return "text"
    for name, looks, fault in _FORMS:
        if looks.fullmatch(text):
            return "text" if fault(text) else name
    fixed = _FIXED.fullmatch(text)
    return f"fixed:{len(fixed[1])}" if fixed else "text"


def choose(seen: Seen, name: str) -> TypeChoice:
    """The type of a record's field `name` that has held these values.

    Beside what `type_of` knows: numbers that are times (`epoch_s`, `epoch_ms`), and text that stands beside numbers or
    booleans (`string` with `coerce`).
    """
    if not seen.count:
        return TypeChoice("json", note="it was null wherever it was seen")
    kinds = _kinds(seen)
    if len(kinds) > 1:
        if seen.texts and kinds <= {"text", "number", "boolean"} and not seen.is_beyond:
            return TypeChoice("string", coerce=True, note=f"it holds {_join(kinds)}; numbers keep their JSON text")
        return TypeChoice("json", note=f"it holds {_join(kinds)}")
    if format_ := _epoch(seen, name):
        return TypeChoice("timestamp", format=format_)
    chosen = type_of(seen, name)
    return TypeChoice(chosen, note=_note(seen, chosen, name))


def type_of(seen: Seen, name: str) -> FieldType:
    """The type that takes all these values wherever it stands, nested too; `json` when no other does."""
    kinds = _kinds(seen)
    if len(kinds) != 1:
        return "json"
    match kinds.pop():
        case "boolean":
            return "boolean"
        case "number":
            return _number(seen)
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


def _kinds(seen: Seen) -> set[str]:
    counts = {
        "boolean": seen.booleans,
        "number": seen.wholes + seen.fractions,
        "text": seen.texts,
        "object": seen.objects,
        "list": seen.lists,
    }
    return {kind for kind, count in counts.items() if count}


def _number(seen: Seen) -> FieldType:
    if seen.is_beyond:
        return "json"
    if not seen.fractions:
        # Never int: what counts to ten today outgrows 32 bits one day, and a long costs the same where it is stored.
        return "long" if seen.low in _LONG and seen.high in _LONG else "decimal(38,0)"
    return "double" if not seen.wholes or max(-seen.low, seen.high) <= _EXACT else "json"


def _epoch(seen: Seen, name: str) -> Format | None:
    if not (seen.wholes or seen.fractions) or seen.is_beyond:
        return None
    words = words_of(name)
    if not _MOMENT_WORDS.intersection(words) or _SPAN_WORDS.intersection(words):
        return None
    first, last = _EPOCH_SECONDS
    if first <= seen.least and seen.most < last:
        return "epoch_s"
    return "epoch_ms" if first * 1000 <= seen.least and seen.most < last * 1000 else None


def _text(seen: Seen, name: str) -> FieldType:
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


def _list(seen: Seen, name: str) -> FieldType:
    if seen.is_cut or seen.items is None:
        return "json"
    element = type_of(seen.items, name)
    return "json" if element == "json" else {"type": "list", "element": element}


def _object(seen: Seen, name: str) -> FieldType:
    if seen.is_cut or not seen.members:
        return "json"
    if seen.values is not None or not _is_struct(seen):
        value = type_of(merged(seen.keys.values()) if seen.values is None else seen.values, name)
        return "json" if value == "json" else {"type": "map", "key": "string", "value": value}
    return {"type": "struct", "fields": [{"name": key, "type": type_of(seen.keys[key], key)} for key in seen.keys]}


def _is_struct(seen: Seen) -> bool:
    """Whether the keys are names: legal ones, not too many, and not another few in each object."""
    keys = seen.keys
    if len(keys) > _STRUCT_KEYS or not all(len(key) <= _NAME_CHARS and NAME.fullmatch(key) for key in keys):
        return False
    if len({key.lower() for key in keys}) < len(keys):
        return False
    return len(keys) <= _SPARSE_KEYS or seen.members / (seen.objects * len(keys)) >= _SPARSE_SHARE


def _is_cut(seen: Seen) -> bool:
    below = [*seen.keys.values(), *filter(None, (seen.values, seen.items))]
    return seen.is_cut or any(_is_cut(place) for place in below)


def _note(seen: Seen, chosen: FieldType, name: str) -> str | None:
    if chosen == "string" and len(seen.forms) > 1:
        form, count = max(((form, count) for form, count in seen.forms.items()), key=lambda pair: pair[1])
        if form in PLAIN_TYPES and form != "time" and count >= seen.texts * _ALMOST:
            return f"{count} of {seen.texts} texts are a {form}, the others are not"
    if chosen == "json" and seen.is_beyond:
        return "it holds a number too large for any type"
    if chosen == "json" and _is_cut(seen):
        return f"it is nested deeper than {MAX_DEPTH} levels"
    if chosen == "json" and (seen.objects or seen.lists):
        is_empty = not seen.members if seen.objects else seen.items is None
        return "it was empty wherever it was seen" if is_empty else "its values are of several kinds"
    if chosen == "json":
        return "it holds fractions, and whole numbers that a double cannot keep"
    if chosen == "long" and _MOMENT_WORDS.intersection(words_of(name)) and seen.low > _EPOCH_SECONDS[0] * 10**6:
        return "it looks like a time in microseconds or nanoseconds, for which there is no format"
    return None


def _join(kinds: Iterable[str]) -> str:
    plural = {"boolean": "booleans", "number": "numbers", "text": "text", "object": "objects", "list": "lists"}
    words = [plural[kind] for kind in plural if kind in set(kinds)]
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
