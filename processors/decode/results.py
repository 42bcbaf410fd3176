"""What decoding makes of files and of single records, as values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from metadata.errors import FileRefused
from metadata.ledger.values import RejectReason, UnknownKey
from processors.decode.file_rejects import Rejected


@dataclass
class FileResult:
    """What `decode_many` made of one file; its good records are in the batches, unless it is refused or over_limit.

    `rejected` holds every rejected record of a file whose good ones are loaded. Of a file that is `over_limit` it holds
    only the first of each code and field, without `raw`: count with `rejected_count` and `reasons`.
    """

    records: int = 0  #: good and bad
    rejected: list[Rejected] = field(default_factory=list)
    rejected_count: int = 0  #: of all rejected records, also those that `rejected` leaves out
    reasons: tuple[RejectReason, ...] = ()  #: of all rejected records, most frequent first
    refused: FileRefused | None = None
    over_limit: bool = False  #: more records are rejected than the type allows: none is loaded
    unknown: tuple[UnknownKey, ...] = ()  #: keys that the schema has not, most frequent first

    @property
    def rows(self) -> int:
        """How many rows of the batches are this file's."""
        return 0 if self.refused or self.over_limit else self.records - self.rejected_count

    @property
    def clean(self) -> bool:
        """Whether every record is good."""
        return self.refused is None and not self.rejected


@dataclass
class RecordColumns:
    """Columns of about 50,000 records in definition order, and whose records they are.

    `runs` are (index of the file, its first record's number, count), in the order of the rows.
    """

    columns: list[pa.Array]
    runs: list[tuple[int, int, int]]
    rescued: pa.Array | None = None  #: strings, a JSON object or null a record; None: all null

    @property
    def rows(self) -> int:
        """How many records the columns hold."""
        return sum(count for _, _, count in self.runs)

    def per_file(self, values: Sequence[str]) -> pa.Array:
        """A string column that repeats `values[file]` for each of the file's records."""
        files, _, counts = zip(*self.runs, strict=True)
        chosen = pa.array([values[file] for file in files], pa.string())
        return chosen.take(pa.array(np.repeat(np.arange(len(files)), counts)))

    def record_nos(self) -> pa.Array:
        """The number of each record in its file, from 1, as a long column."""
        _, firsts, counts = (np.array(part, np.int64) for part in zip(*self.runs, strict=True))
        before = np.cumsum(counts) - counts  # rows of the runs before
        return pa.array(np.arange(counts.sum()) + np.repeat(firsts - before, counts), pa.int64())


@dataclass
class DecodedGroup:
    """What `decode_many` returns: a result a file, in the order given, and the columns of their good records."""

    files: list[FileResult] = field(default_factory=list)
    batches: list[RecordColumns] = field(default_factory=list)


@dataclass
class DecodedRecords:
    """What `decode_records` returns: columns of the good records, in definition order, and the rejected ones."""

    columns: list[pa.Array]
    rescued: pa.Array | None  #: strings, a JSON object or null a record; None: all null
    good: list[int]  #: whose rows these are: indexes of the records that were given
    rejected: list[Rejected]  #: their `record_no` is their index + 1
