"""What a report is made of: plain values, whose names are those of `report --json`."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime

from metadata.database.states import FileState
from metadata.ledger.report_facts import Slice, UnknownKeyCount
from watcher.report.verdicts import Extent

OUTCOMES = ("loaded", "failed", "error", "duplicate", "held", "undone", "replaced", "missing", "waiting")
"""What became of a file, as the report counts it; claimed and batched files are `waiting`."""

_BAD = frozenset({FileState.FAILED.value, FileState.ERROR.value})


@dataclass
class Volume:
    """Files that arrived, with what they hold; `reject_rate` is None where no record was decoded."""

    files: int = 0
    bytes: int = 0
    records: int = 0
    rows: int = 0
    rejected: int = 0
    replayed: int = 0  #: of the rejected: in their tables by now
    discarded: int = 0  #: of the rejected: thrown away
    bad_files: int = 0  #: failed, or in error
    reject_rate: float | None = None

    def add(self, one: Slice) -> None:
        """Count the files of a slice."""
        self.files += one.files
        self.bytes += one.bytes
        self.records += one.records
        self.rows += one.rows
        self.rejected += one.rejected
        self.replayed += one.replayed
        self.discarded += one.discarded
        self.bad_files += one.files if one.state in _BAD else 0
        self.reject_rate = self.rejected / self.records if self.records else None


@dataclass(kw_only=True)
class TypeDayVolume(Volume):
    """The files of one type, day of arrival and outcome."""

    day: date
    file_type: str | None
    outcome: str  #: one of OUTCOMES


@dataclass(kw_only=True)
class TypeVolume(Volume):
    """The files of one type."""

    file_type: str | None


@dataclass(kw_only=True)
class PrefixVolume(Volume):
    """The files of one type and prefix."""

    file_type: str | None
    prefix: str | None


@dataclass(kw_only=True)
class HourVolume(Volume):
    """The files of one hour of arrival."""

    hour: datetime


@dataclass(frozen=True)
class CodeRate:
    """Records of one type rejected with one code in one field; `rate` is of all the type's records in the range."""

    file_type: str | None
    code: str
    field: str | None
    files: int
    records: int
    rate: float | None


@dataclass(frozen=True)
class SampleText:
    """A file or record that an error happened to; `raw` where the quarantine has it, cut."""

    file: str
    file_id: str
    record_no: int | None
    message: str
    raw: str | None


@dataclass(frozen=True)
class ErrorGroup:
    """One error by its fingerprint; `records` is 0 when the file as a whole failed."""

    file_type: str | None
    code: str
    field: str | None
    message: str
    whole_file: bool
    files: int
    records: int
    first_seen: datetime
    last_seen: datetime
    prefixes: dict[str, int]
    verdict: Extent
    sentence: str
    samples: list[SampleText]


@dataclass(frozen=True)
class NullRate:
    """How much of a column is null; `before` is of the period before, None when it had no rows.

    The days are those in the files' names; `whole_table` says that the table is not divided by them.
    """

    file_type: str
    table: str
    column: str
    rows: int
    nulls: int
    rate: float
    before: float | None
    change: float | None
    striking: bool  #: it moved by NULL_CHANGE or more
    whole_table: bool


@dataclass(frozen=True)
class Rescue:
    """How many rows of a type's table have something in `_rescued`."""

    file_type: str
    table: str
    rows: int
    filled: int
    rate: float
    before: float | None


@dataclass(frozen=True)
class Lateness:
    """How long after the times in their names a type's files arrived; `classes` by their upper ends."""

    file_type: str | None
    files: int
    median_minutes: int
    most_minutes: int
    latest: str  #: the file with the most
    over_1_hour: int
    over_24_hours: int
    classes: dict[str, int]


@dataclass(frozen=True)
class Duplicates:
    """What came twice: files; and rows with the same primary key, None where nobody counted them."""

    file_type: str | None
    files: int
    repeated_keys: int | None
    surplus_rows: int | None
    rejected: int  #: as `duplicate_key`, by types that ask for it


@dataclass(frozen=True)
class SilentType:
    """An active type without the files that its rhythm promises; `usual_minutes` is None when it is not known."""

    file_type: str
    last_seen: datetime | None
    since: datetime | None
    until: datetime | None  #: None: it lasts
    minutes: int | None
    usual_minutes: int | None
    sentence: str


@dataclass
class Report:
    """Everything; `verdict` is None when nothing went wrong."""

    first: date
    last: date
    file_type: str | None
    made_at: datetime
    verdict: Extent | None
    sentence: str
    total: Volume
    before: Volume  #: the same of the period before, as long
    volumes: list[TypeDayVolume]
    types: list[TypeVolume]
    prefixes: list[PrefixVolume]
    hours: list[HourVolume]
    codes: list[CodeRate]
    errors: list[ErrorGroup]
    different_errors: int
    nulls: list[NullRate] = field(default_factory=list)
    rescued: list[Rescue] = field(default_factory=list)
    late: list[Lateness] = field(default_factory=list)
    duplicates: list[Duplicates] = field(default_factory=list)
    silent: list[SilentType] = field(default_factory=list)
    unknown_fields: list[UnknownKeyCount] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def is_empty(self) -> bool:
        """Whether no file arrived."""
        return self.total.files == 0
