"""What a file type is: its fields, names and processing; pure values.

`metadata.types.parse_definition` and `metadata.types.parse_config` are the only makers of checked values, and they say
every fault at once. Types of fields are Iceberg's, written as Iceberg writes them in JSON, and `json` for "any value,
kept as JSON text".
"""

from __future__ import annotations

import re
from enum import Enum, StrEnum
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict

from metadata.ledger.deliveries import DeliveryPolicy, OnRedelivery, OnSameContent

DATE_COLUMN = "date"
LINEAGE = ("_source_file", "_file_id", "_record_no", "_batch_id")
RESCUED = "_rescued"
"""The columns that every raw table has after its type's own: the date, its lineage, and JSON of what its schema does
not know; no field may take their names."""

RAW_NAMESPACE = "raw_data"
SUMMARY_NAMESPACE = "summary"
"""Where the tables of types are, and those of their daily summaries."""

PLAIN_TYPES = frozenset(
    {"boolean", "int", "long", "float", "double", "date", "time", "timestamp", "string", "uuid", "binary", "json"}
)
DECIMAL = re.compile(r"decimal\(\s*(\d{1,3})\s*,\s*(\d{1,3})\s*\)")
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
JSON_KEY = re.compile(r'[^"\\\x00-\x1f\ud800-\udfff]*')  # what msgspec's structs can spell
TYPE_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
TRANSFORM = re.compile(r"(day|hour)\(\s*([^()]+?)\s*\)")
"""How the names of fields and types and the transforms of `partition_by` are written."""

FieldType = str | dict[str, Any]
"""`"long"`, `"decimal(10,2)"`, …, or a struct, list or map in Iceberg's JSON form without its ids."""


class Unset(Enum):
    """The one member stands for "nothing was given" where null is a value; it survives pickling."""

    UNSET = "unset"


UNSET: Final = Unset.UNSET


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Field(_Value):
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


class Definition(_Value):
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


class UnknownFields(StrEnum):
    """What becomes of keys that a record has and its schema has not."""

    RESCUE = "rescue"  #: they are kept as JSON in the column `_rescued`
    IGNORE = "ignore"  #: they are left out
    REJECT = "reject"  #: the record is rejected


class Dedupe(StrEnum):
    """What makes a record one that is there already."""

    PRIMARY_KEY = "primary_key"  #: its key is in the same batch, or in the partitions that the batch touches


class SummaryConfig(_Value):
    """A daily summary: per key and UTC day of `time`, the last time and the `latest` columns as they were then."""

    table: str
    key: tuple[str, ...]
    time: str
    latest: tuple[str, ...] = ()

    @property
    def table_name(self) -> str:
        """Its table in the catalog, `namespace.table`."""
        return f"{SUMMARY_NAMESPACE}.{self.table}"

    @property
    def columns(self) -> tuple[str, ...]:
        """The summary table's columns, in order."""
        return (*self.key, "day", f"last_{self.time}", *(f"last_{name}" for name in self.latest))


class RetryConfig(_Value):
    """A type's own numbers for attempts at its micro-batches; None follows the table in `metadata.retry_policy`."""

    attempts: int | None = None  #: in all, the first included
    first_wait_seconds: float | None = None
    longest_wait_seconds: float | None = None


class ProcessingConfig(_Value):
    """How a type's files become rows; thresholds that are None follow the settings."""

    partition_by: str = DATE_COLUMN  #: date, day(field), hour(field), a field, or none
    format: str = "iceberg"
    write_mode: str = "append"
    summary: SummaryConfig | None = None
    flush_max_files: int | None = None
    flush_max_bytes: int | None = None
    flush_max_age_seconds: int | None = None
    retry: RetryConfig | None = None
    on_same_content: OnSameContent = OnSameContent.SKIP
    on_redelivery: OnRedelivery = OnRedelivery.APPEND
    unknown_fields: UnknownFields = UnknownFields.RESCUE
    dedupe: Dedupe | None = None
    max_rejected_ratio: float = 0.5  #: of a file's records; beyond it the file loads nothing and goes to error/
    max_rejected_records: int | None = None  #: likewise, a number of records

    @property
    def deliveries(self) -> DeliveryPolicy:
        """What becomes of files that were delivered before."""
        return DeliveryPolicy(self.on_same_content, self.on_redelivery)

    @property
    def partition(self) -> tuple[Literal["identity", "day", "hour"], str] | None:
        """The partition's transform and column; None when the table has no partitions."""
        if self.partition_by == "none":
            return None
        match = TRANSFORM.fullmatch(self.partition_by)
        if match is None:
            return "identity", self.partition_by
        return ("day" if match[1] == "day" else "hour"), match[2]


def decimal_digits(type_: FieldType) -> tuple[int, int] | None:
    """Precision and scale of a decimal type; None for other types."""
    match = DECIMAL.fullmatch(type_) if isinstance(type_, str) else None
    return (int(match[1]), int(match[2])) if match else None


def can_coerce(type_: FieldType) -> bool:
    """Whether `"coerce": true` means something for a type: strings, numbers, booleans."""
    return type_ in ("string", "boolean", "int", "long", "float", "double") or decimal_digits(type_) is not None
