"""Constraints: which values of its type a field takes. Parsed here, and checked here on one value at a time.

`processors.decode.column_constraints` checks whole columns; both say the same of the same value.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from metadata.types.definition import Field
from metadata.types.fault_list import is_int, show, show_type
from metadata.types.field_types import FieldType, row_of
from metadata.types.field_values import native, value_fault
from metadata.types.json_values import json_text


class Constraint(StrEnum):
    """The keys of a field that narrow what it takes, in the order in which they are checked."""

    ENUM = "enum"  #: one of these values
    MIN = "min"  #: this or more
    MAX = "max"  #: this or less
    MAX_LENGTH = "max_length"  #: a text of no more characters
    PATTERN = "pattern"  #: a text in which this regular expression is found; of no text that is too long


_WHAT = {
    Constraint.ENUM: "strings, numbers, dates and times",
    Constraint.MIN: "numbers, dates and times",
    Constraint.MAX: "numbers, dates and times",
    Constraint.PATTERN: "strings",
    Constraint.MAX_LENGTH: "strings",
}


@dataclass(frozen=True)
class Limit:
    """One constraint of one field."""

    constraint: Constraint
    given: Any  #: as it stands in the definition
    bound: Any  #: as values are compared; for `enum` a tuple, for `pattern` a compiled expression

    def takes(self, value: Any) -> bool:
        """Whether the constraint lets a value pass, given as it is compared."""
        match self.constraint:
            case Constraint.ENUM:
                return value in self.bound
            case Constraint.MIN:
                return bool(value >= self.bound)
            case Constraint.MAX:
                return bool(value <= self.bound)
            case Constraint.PATTERN:
                return self.bound.search(value) is not None
        return bool(len(value) <= self.bound)

    def reason(self, value: object) -> str:
        """Why the value does not pass: the value, cut short, and the constraint."""
        shown = show(value)
        match self.constraint:
            case Constraint.ENUM:
                return f"{shown} is none of its enum: {_listed(self.given)}"
            case Constraint.MIN:
                return f"{shown} is less than its min {show(self.given)}"
            case Constraint.MAX:
                return f"{shown} is more than its max {show(self.given)}"
            case Constraint.PATTERN:
                return f"{shown} does not match its pattern {show(self.given)}"
        length = f" ({len(value)})" if isinstance(value, str) else ""
        return f"{shown} has more characters{length} than its max_length {self.given}"


def limits(field: Field) -> list[Limit]:
    """The constraints of a checked field."""
    found: list[Limit] = []
    for constraint in Constraint:
        given = getattr(field, constraint)
        if given is None:
            continue
        bound: Any = given
        if constraint is Constraint.PATTERN:
            bound = re.compile(given)
        elif constraint is Constraint.ENUM:
            bound = tuple(native(value, field.type, field.format) for value in given)
        elif constraint is not Constraint.MAX_LENGTH:
            bound = native(given, field.type, field.format)
        found.append(Limit(constraint, given, bound))
    return found


def broken_limit(value: Any, field: Field) -> str | None:
    """Why a JSON value of the field's type breaks one of its constraints; None when it breaks none."""
    if value is None:
        return None
    row = row_of(field.type)
    for limit in limits(field):
        if row is not None and row.is_text:
            compared = value if isinstance(value, str) else json_text(value).decode()
        else:
            compared = native(value, field.type, field.format)
        if not limit.takes(compared):
            return limit.reason(value)
    return None


def check_constraints(
    raw: Mapping[str, Any], type_: FieldType, format_: str | None, where: str, faults: list[str]
) -> None:
    """Add what is wrong with the constraints of a field as it stands in a definition."""
    before = len(faults)
    for constraint in Constraint:
        given = raw.get(constraint)
        if given is None:
            continue
        if not _is_for(constraint, type_):
            faults.append(f'{where}: "{constraint}" is for {_WHAT[constraint]}, this field is {show_type(type_)}')
        elif fault := _fault(constraint, given, type_, format_):
            faults.append(f'{where}: "{constraint}" {fault}')
    low, high = raw.get("min"), raw.get("max")
    if len(faults) > before or low is None or high is None:
        return
    if native(low, type_, format_) > native(high, type_, format_):
        faults.append(f'{where}: "min" {show(low)} is more than "max" {show(high)}; no value could pass')


def _is_for(constraint: Constraint, type_: FieldType) -> bool:
    row = row_of(type_)
    if row is None:
        return False
    if constraint is Constraint.ENUM:
        return row.is_ordered or row.is_text
    return row.is_ordered if constraint in (Constraint.MIN, Constraint.MAX) else row.is_text


def _fault(constraint: Constraint, given: Any, type_: FieldType, format_: str | None) -> str | None:
    match constraint:
        case Constraint.PATTERN:
            return _pattern_fault(given)
        case Constraint.MAX_LENGTH:
            return None if is_int(given) and given >= 1 else f"must be a whole number from 1, not {show(given)}"
        case Constraint.ENUM:
            if not isinstance(given, list | tuple) or not given:
                return f"must be a list of at least one value, not {show(given)}"
            for value in given:
                if value is None:
                    return 'holds null; leave it out, "nullable" says whether null is taken'
                if fault := value_fault(value, type_, format_):
                    return f"holds {show(value)}, which {fault}"
            return None
    fault = value_fault(given, type_, format_)
    return f"{show(given)} {fault}" if fault else None


def _pattern_fault(given: object) -> str | None:
    if not isinstance(given, str):
        return f"must be a regular expression, not {show(given)}"
    try:
        re.compile(given)
    except (re.error, OverflowError, RecursionError) as error:
        return f"{show(given)} is no regular expression: {error}"
    return None


def _listed(values: Any) -> str:
    shown = ", ".join(show(value) for value in values[:5])
    return shown if len(values) <= 5 else f"{shown} and {len(values) - 5} more"
