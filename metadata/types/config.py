"""How a type's files become rows: partition, summary, flushes, attempts, redeliveries; pure values.

`metadata.types.parse_config` makes them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from metadata.types.definition import DATE_COLUMN, CheckedValue

RAW_NAMESPACE = "raw_data"
SUMMARY_NAMESPACE = "summary"
"""Where the tables of types are, and those of their daily summaries."""

TRANSFORM = re.compile(r"(day|hour)\(\s*([^()]+?)\s*\)")
"""How the transforms of `partition_by` are written."""


class OnSameContent(StrEnum):
    """What becomes of a delivery that is loaded already."""

    SKIP = "skip"  #: it is a duplicate and goes to duplicate/
    LOAD = "load"  #: its rows are loaded once more


class OnRedelivery(StrEnum):
    """What becomes of a file whose name is loaded already, with other bytes."""

    APPEND = "append"  #: its rows come beside the earlier ones
    REPLACE = "replace"  #: the earlier load goes out and the new one in, in one snapshot
    REFUSE = "refuse"  #: it goes to failed/ with code `redelivered`


@dataclass(frozen=True)
class DeliveryPolicy:
    """A type's `on_same_content` and `on_redelivery`."""

    on_same_content: OnSameContent = OnSameContent.SKIP
    on_redelivery: OnRedelivery = OnRedelivery.APPEND


class UnknownFields(StrEnum):
    """What becomes of keys that a record has and its schema has not."""

    RESCUE = "rescue"  #: they are kept as JSON in the column `_rescued`
    IGNORE = "ignore"  #: they are left out
    REJECT = "reject"  #: the record is rejected


class Dedupe(StrEnum):
    """What makes a record one that is there already."""

    PRIMARY_KEY = "primary_key"  #: its key is in the same batch, or in the partitions that the batch touches


class SummaryConfig(CheckedValue):
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


class RetryConfig(CheckedValue):
    """A type's own numbers for attempts at its micro-batches; None follows the table in `metadata.retry_policy`."""

    attempts: int | None = None  #: in all, the first included
    first_wait_seconds: float | None = None
    longest_wait_seconds: float | None = None


class ProcessingConfig(CheckedValue):
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
