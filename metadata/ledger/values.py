"""What the ledger takes and gives that is no row: plain values, which a Spark worker may load without a database."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

from metadata.database.states import FileState

if TYPE_CHECKING:
    from metadata.database.models import Batch, SourceFile


MOST_REASONS = 50  # groups kept of one file; the rest becomes one more
OTHER = "other"


@dataclass(frozen=True)
class RejectReason:
    """How many records of one file were rejected for one reason."""

    code: str
    field: str  #: empty when the record as a whole is at fault
    records: int
    first_record_no: int
    message: str  #: of the first of them


def bounded(reasons: Sequence[RejectReason]) -> tuple[RejectReason, ...]:
    """The most frequent reasons of one file, which come first, and all others as one of the code OTHER."""
    most, rest = tuple(reasons[:MOST_REASONS]), reasons[MOST_REASONS:]
    if not rest:
        return most
    first = min(rest, key=lambda reason: reason.first_record_no)
    records = sum(reason.records for reason in rest)
    return (*most, RejectReason(OTHER, "", records, first.first_record_no, first.message))


class RecordKey(NamedTuple):
    """One rejected record."""

    batch_id: str  #: the micro-batch that rejected it
    file_id: str
    record_no: int  #: from 1


@dataclass(frozen=True)
class UnknownKey:
    """A key that records of one file have and the schema has not."""

    key: str  #: dots lead into structs
    records: int
    sample: str  #: one value, as JSON text, cut when long


@dataclass(frozen=True)
class Arrival:
    """What intake learned of a source file when it took it out of `incoming/`."""

    file_id: str
    name: str  #: its name in incoming/
    prefix: str | None  #: None when the name is no data file's
    filename_time: datetime | None
    size_bytes: int
    modified_at: datetime
    noticed_by: Literal["event", "scan"]
    noticed_at: datetime
    digest: str | None = None  #: SHA-256 in hexadecimal; None for files that were not claimed


@dataclass(frozen=True)
class NewFile:
    """A row that intake adds: the file was claimed, held or refused, and is at `path` now."""

    arrival: Arrival
    state: Literal[FileState.CLAIMED, FileState.HELD, FileState.FAILED]
    path: str
    file_type: str | None = None
    code: str | None = None  #: why it was refused
    message: str | None = None


@dataclass(frozen=True)
class HeldClaim:
    """A file that is in the ledger already (held, or to be retried), now in processing/<type>/ and digested."""

    file_id: str
    file_type: str
    path: str
    digest: str
    size_bytes: int


@dataclass(frozen=True)
class WaitingTotal:
    """How much is claimed of one type."""

    file_type: str
    files: int
    bytes: int
    oldest: datetime | None  #: when the first of them was claimed


class Loaded(Protocol):
    """What is counted of a loaded file: a row of the ledger has it."""

    @property
    def rows(self) -> int | None:
        """Rows that its micro-batch has loaded."""
        ...

    @property
    def rejected(self) -> int | None:
        """Records that its micro-batch has rejected."""
        ...

    @property
    def replayed(self) -> int:
        """Of the rejected: in the type's table by now."""
        ...

    @property
    def discarded(self) -> int:
        """Of the rejected: thrown away."""
        ...


def rows_in_table(file: Loaded) -> int:
    """How many rows its type's table has of a file while it is loaded: those of its batch, and those replayed since."""
    return (file.rows or 0) + file.replayed


def rows_in_quarantine(file: Loaded) -> int:
    """How many of its records the quarantine has while it is loaded."""
    return (file.rejected or 0) - file.replayed - file.discarded


@dataclass(frozen=True)
class FileOutcome:
    """What decoding made of one source file.

    `outcome`: `loaded` (its good records are in the batch's data files, its `rejected` ones in the quarantine's),
    `failed` (could not be read), `error` (too many of its records break the schema: nothing of it is loaded),
    `changed` (other bytes than were claimed: claimed again with the digest and size given here) or `missing` (it is no
    longer there).
    """

    file_id: str
    outcome: Literal["loaded", "failed", "error", "changed", "missing"]
    records: int = 0
    rows: int = 0
    rejected: int = 0
    code: str | None = None
    message: str | None = None
    digest: str | None = None
    size_bytes: int | None = None
    reasons: tuple[RejectReason, ...] = ()  #: of its rejected records, most frequent first
    unknown: tuple[UnknownKey, ...] = ()  #: most frequent first


@dataclass(frozen=True)
class WrittenFile:
    """A Parquet data file on disk that no snapshot points to yet."""

    path: str
    table_name: str  #: namespace.table
    rows: int
    bytes: int


@dataclass(frozen=True)
class Plan:
    """What Plan decided: a batch of files (None when nothing is left), duplicates, and copies that have to wait."""

    batch: Batch | None
    files: list[SourceFile]
    duplicates: list[SourceFile]
    waiting: list[SourceFile]  #: copies of a file in flight; they stay claimed until its fate is known
    refused: list[SourceFile] = field(default_factory=list)  #: redelivered names, where the type refuses them
    replaces: list[SourceFile] = field(default_factory=list)  #: loads that the batch's one file takes the place of
