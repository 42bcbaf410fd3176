"""What the records of a type are: their fields, and how they are found; pure values.

`metadata.types.parse_definition` makes them, and says every fault at once.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict

from metadata.types.field_types import FieldType

DATE_COLUMN = "date"
LINEAGE = ("_source_file", "_file_id", "_record_no", "_batch_id")
RESCUED = "_rescued"
"""The columns that every raw table has after its type's own: the date, its lineage, and JSON of what its schema does
not know; no field may take their names."""

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
JSON_KEY = re.compile(r'[^"\\\x00-\x1f\ud800-\udfff]*')  # what msgspec's structs can spell
TYPE_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
"""How the names of fields and types are written."""


class Unset(Enum):
    """The one member stands for "nothing was given" where null is a value; it survives pickling."""

    UNSET = "unset"


UNSET: Final = Unset.UNSET


class CheckedValue(BaseModel):
    """A value that only the parsers make."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Field(CheckedValue):
    """One column of a type and the JSON key that it is read from."""

    name: str
    type: FieldType
    nullable: bool = True
    default: Any = UNSET  #: as it would stand in JSON; for a missing key, never for a null
    source: str | None = None
    format: Literal["epoch_s", "epoch_ms"] | None = None
    coerce: bool = False  #: a string that also takes numbers and booleans, a number that also takes its text
    description: str | None = None
    renamed_from: str | tuple[str, ...] | None = None  #: the table's column of that name becomes it; the last one first
    enum: tuple[Any, ...] | None = None  #: the only values it takes, as they stand in JSON
    min: Any = None  #: the smallest value it takes, as it stands in JSON
    max: Any = None
    pattern: str | None = None  #: a regular expression that is found somewhere in its text
    max_length: int | None = None  #: of its text, in characters

    @property
    def key(self) -> str:
        """The JSON key that holds the value."""
        return self.name if self.source is None else self.source

    @property
    def former_names(self) -> tuple[str, ...]:
        """The names that its column had before, the last one first."""
        if self.renamed_from is None:
            return ()
        return (self.renamed_from,) if isinstance(self.renamed_from, str) else self.renamed_from

    @property
    def has_default(self) -> bool:
        """Whether a missing key gets a default; the default may be null."""
        return self.default is not UNSET

    @property
    def required(self) -> bool:
        """Whether a record without this key is rejected."""
        return not self.nullable and not self.has_default


class Definition(CheckedValue):
    """The records of a type, as parsed and checked by `metadata.types.parse_definition`."""

    fields: tuple[Field, ...]
    primary_key: tuple[str, ...] = ()
    root: str | None = None  #: dotted path to the array of records

    def field(self, name: str) -> Field:
        """The field of that name; KeyError when there is none."""
        for field in self.fields:
            if field.name == name:
                return field
        raise KeyError(name)

    @property
    def required(self) -> tuple[Field, ...]:
        """The fields without which a record is rejected."""
        return tuple(field for field in self.fields if field.required)
