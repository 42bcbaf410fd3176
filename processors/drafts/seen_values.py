"""What stood at one place of many records: counted, and bounded on hostile input. Pure."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from metadata.types.field_types import FIELD_TYPES

MAX_DEPTH = 8
"""Levels of objects and lists that a draft spells out; what is below is `json`."""
MAX_KEYS = 200
"""Keys of one nested object that are told apart; with more, its keys are data."""
MAX_PLACES = 2000
"""Nested places of one draft that are told apart; what comes after them is `json`."""

_LARGEST_DECIMAL = 10**38
_FORMS = [(row.name, row.drafted_from, row.fault) for row in FIELD_TYPES if row.drafted_from is not None]
_LONGEST_FORM = 40
_FIXED = re.compile(r"-?(?:0|[1-9]\d{0,19})\.(\d{1,12})")


class Budget:
    """How many places may still be told apart; one for a whole draft."""

    def __init__(self, places: int = MAX_PLACES) -> None:
        self.places = places


@dataclass(slots=True)
class SeenNumbers:
    """The numbers of one place."""

    wholes: int = 0
    low: int = 0  #: the smallest whole number
    high: int = 0
    fractions: int = 0
    least: float = math.inf  #: of all numbers
    most: float = -math.inf
    is_beyond: bool = False  #: a number was too large for any type

    @property
    def count(self) -> int:
        """All of them."""
        return self.wholes + self.fractions

    def add(self, value: int | float) -> None:
        """One more."""
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

    def absorb(self, other: SeenNumbers) -> None:
        """Those of another place too."""
        if other.wholes:
            self.low = min(self.low, other.low) if self.wholes else other.low
            self.high = max(self.high, other.high) if self.wholes else other.high
        self.wholes, self.fractions = self.wholes + other.wholes, self.fractions + other.fractions
        self.least, self.most = min(self.least, other.least), max(self.most, other.most)
        self.is_beyond = self.is_beyond or other.is_beyond


@dataclass(slots=True)
class SeenObjects:
    """The objects of one place."""

    count: int = 0
    members: int = 0  #: keys of all the objects together
    keys: dict[str, SeenValues] = field(default_factory=dict)
    values: SeenValues | None = None  #: of all keys together, once they are too many to be told apart

    def at(self, key: str, budget: Budget) -> SeenValues:
        """The place of a key of theirs."""
        if self.values is not None:
            return self.values
        child = self.keys.get(key)
        if child is not None:
            return child
        budget.places -= 1
        if len(self.keys) < MAX_KEYS and budget.places >= 0:
            self.keys[key] = child = SeenValues()
            return child
        self.values = merged(self.keys.values())
        self.keys = {}
        return self.values

    def absorb(self, other: SeenObjects) -> None:
        """Those of another place too."""
        self.count, self.members = self.count + other.count, self.members + other.members
        if other.values is not None or self.values is not None:
            values = [*self.keys.values(), *other.keys.values(), *filter(None, (self.values, other.values))]
            self.keys, self.values = {}, merged(values)
        else:
            for key, child in other.keys.items():
                self.keys.setdefault(key, SeenValues()).absorb(child)


@dataclass(slots=True)
class SeenValues:
    """Everything that stood at one place: a top-level key, a key of nested objects, the elements of lists."""

    nulls: int = 0
    booleans: int = 0
    numbers: SeenNumbers = field(default_factory=SeenNumbers)
    forms: Counter[str] = field(default_factory=Counter)  #: what the texts look like
    objects: SeenObjects = field(default_factory=SeenObjects)
    lists: int = 0
    items: SeenValues | None = None  #: of all lists
    is_cut: bool = False  #: something below was not looked at

    @property
    def texts(self) -> int:
        """How many texts."""
        return self.forms.total()

    @property
    def count(self) -> int:
        """Values that are not null."""
        return self.booleans + self.numbers.count + self.texts + self.objects.count + self.lists

    def add(self, value: Any, budget: Budget, depth: int = 0) -> None:
        """One more value, as msgspec decodes it."""
        if value is None:
            self.nulls += 1
        elif isinstance(value, str):
            self.forms[form_of(value)] += 1
        elif isinstance(value, bool):
            self.booleans += 1
        elif isinstance(value, int | float):
            self.numbers.add(value)
        elif isinstance(value, dict):
            self.objects.count += 1
            self.objects.members += len(value)
            if value and self._looks_below(depth):
                for key, item in value.items():
                    self.objects.at(key, budget).add(item, budget, depth + 1)
        else:
            self.lists += 1
            if value and self._looks_below(depth):
                if self.items is None:
                    self.items = SeenValues()
                for item in value:
                    self.items.add(item, budget, depth + 1)

    def _looks_below(self, depth: int) -> bool:
        self.is_cut = self.is_cut or depth >= MAX_DEPTH
        return depth < MAX_DEPTH

    def absorb(self, other: SeenValues) -> None:
        """Count what `other` has seen as seen here; `other` stays as it is."""
        self.nulls, self.booleans = self.nulls + other.nulls, self.booleans + other.booleans
        self.lists = self.lists + other.lists
        self.is_cut = self.is_cut or other.is_cut
        self.numbers.absorb(other.numbers)
        self.forms.update(other.forms)
        self.objects.absorb(other.objects)
        if other.items is not None:
            self.items = self.items or SeenValues()
            self.items.absorb(other.items)

    def is_cut_anywhere(self) -> bool:
        """Whether something here or below was not looked at."""
        below = [*self.objects.keys.values(), *filter(None, (self.objects.values, self.items))]
        return self.is_cut or any(place.is_cut_anywhere() for place in below)


def merged(places: Iterable[SeenValues]) -> SeenValues:
    """One place that has seen what all of these have."""
    together = SeenValues()
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
