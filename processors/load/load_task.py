"""What one task does, in a worker process: source files → Parquet data files and an outcome for each source file.

Nothing here touches catalog, ledger or the source files' places; a task that dies leaves Parquet files that no snapshot
will ever name. A file that is not what was claimed, cannot be read or breaks the schema costs only itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from itertools import groupby, pairwise
from operator import attrgetter
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.manifest import DataFile

from metadata.errors import Fatal, WorldFault
from metadata.ledger.values import FileOutcome, WrittenFile, bounded
from metadata.types.config import ProcessingConfig
from metadata.types.definition import DATE_COLUMN, LINEAGE, RESCUED, Definition
from processors.decode.decoder import Decoder
from processors.decode.file_rejects import RejectLimits
from processors.decode.known_keys import KnownKeys
from processors.decode.results import FileResult, RecordColumns
from processors.lake.data_files import Output, TaskName, floor_time
from processors.lake.handle import TableHandle
from processors.lake.our_faults import reading
from processors.lake.quarantine_table import COLUMNS as QUARANTINE_COLUMNS
from processors.lake.quarantine_table import record_batch as quarantine_rows
from processors.load.existing_keys import existing_keys
from processors.load.read_source import SourceInput, contents, refusal

if TYPE_CHECKING:
    from pyiceberg.table import FileScanTask

    from processors.rewrite.which_rows import Rows

_MIB = 1024 * 1024
GROUP_BYTES = 16 * _MIB  # of JSON, about; bounds what is decoded and not yet columns
_FILE_COST_BYTES = 8 * 1024  # what opening a file costs, in bytes that could be decoded meanwhile
TASK_BYTES = 4 * _MIB  # less is not worth a task of its own, nor a data file
_FAULTS_SHOWN = 5
QUARANTINE_RECORDS = 1000  # made into rows at once
QUARANTINE_BYTES = 32 * _MIB  # of Arrow columns waiting: rejected records are few, or else large


@dataclass(frozen=True)
class Quarantine:
    """Where rejected records go, and what is said of each."""

    handle: TableHandle
    file_type: str
    schema_version: int
    rejected_at: datetime
    raw_max_bytes: int  #: a longer record's text is left out


@dataclass(frozen=True)
class ExistingRows:
    """Rows whose keys are in the table already, for a type that dedupes."""

    tasks: tuple[FileScanTask, ...]  #: the data files that hold them
    replaced: Rows | None = None  #: rows among them that do not count: the batch takes their place


@dataclass(frozen=True)
class WriteJob:
    """One task: source files, and how they become rows of which table."""

    name: TaskName
    handle: TableHandle
    quarantine: Quarantine
    definition: Definition
    config: ProcessingConfig
    keys: tuple[str, ...]  #: names of the type inside documents
    inputs: tuple[SourceInput, ...]
    time_field: str | None  #: whose UTC days are collected
    max_decoded_bytes: int
    existing: ExistingRows | None = None  #: None: the type does not dedupe


@dataclass(frozen=True)
class TaskResult:
    """What became of a task's source files."""

    outcomes: list[FileOutcome]
    data_files: list[DataFile]  #: of the type's table
    quarantined: list[DataFile]  #: of the quarantine's
    written: list[WrittenFile]  #: the data files of both
    days: set[date]


def cut_tasks(inputs: Sequence[SourceInput], parallelism: int) -> list[tuple[SourceInput, ...]]:
    """Divide source files over at most `parallelism` tasks of even work.

    Files stay in the order of their days, so all tasks together write at most one data file a day and one more for
    each cut. Little work makes fewer tasks.
    """
    ordered = sorted(inputs, key=lambda source: (source.day, source.file_id))
    work = np.cumsum([_work(source) for source in ordered])
    total = int(work[-1]) if ordered else 0
    count = max(1, min(parallelism, len(ordered), round(total / TASK_BYTES)))
    middles = work - np.array([_work(source) / 2 for source in ordered])
    cuts = np.searchsorted(middles, [total * number / count for number in range(1, count)])
    bounds = [0, *(int(cut) for cut in cuts), len(ordered)]
    tasks = [tuple(ordered[start:stop]) for start, stop in pairwise(bounds)]
    return [task for task in tasks if task]


def load_files(job: WriteJob) -> TaskResult:
    """Read, check and decode the job's source files; write good records as rows, rejected ones into the quarantine.

    Every input has exactly one outcome. Raises WorldFault when a disk or network is at fault and not a file, Fatal when
    the Parquet footers count other rows than were decoded.
    """
    output = Output(job.handle, _column_names(job), job.name)
    rejects = _Rejects(job)
    try:
        outcomes, days = _decode(job, output, rejects)
        data_files, quarantined = output.finish(), rejects.finish()
    except WorldFault:
        output.discard()
        rejects.discard()
        raise
    loaded = [outcome for outcome in outcomes if outcome.outcome == "loaded"]
    _check_footers(job, "records were decoded", sum(outcome.rows for outcome in loaded), data_files)
    _check_footers(job, "records were rejected", sum(outcome.rejected for outcome in loaded), quarantined)
    written = [
        WrittenFile(file.file_path, handle.name, file.record_count, file.file_size_in_bytes)
        for handle, files in ((job.handle, data_files), (job.quarantine.handle, quarantined))
        for file in files
    ]
    return TaskResult(outcomes, data_files, quarantined, written, days)


def _decode(job: WriteJob, output: Output, rejects: _Rejects) -> tuple[list[FileOutcome], set[date]]:
    """An outcome for each input, and the days of their rows; the rows go to `output`, rejected records to `rejects`."""
    config = job.config
    limits = RejectLimits(config.max_rejected_ratio, config.max_rejected_records)
    known = _known_keys(job)
    decoder = Decoder(job.definition, job.keys, unknown_fields=config.unknown_fields, limits=limits, known=known)
    outcomes: list[FileOutcome] = []
    days: set[date] = set()
    for day, inputs in groupby(job.inputs, key=attrgetter("day")):
        for group in _groups(inputs):
            readable: list[SourceInput] = []
            decoded = decoder.decode_many(contents(group, job.max_decoded_bytes, readable, outcomes))
            while decoded.batches:  # each is let go once it is written
                columns = decoded.batches.pop(0)
                days |= _days(job, columns)
                output.add(day, _record_batch(job, day, readable, columns))
            for source, result in zip(readable, decoded.files, strict=True):
                outcome = _outcome(source, result)
                outcomes.append(outcome)
                if outcome.outcome == "loaded" and result.rejected:
                    rejects.add(source, result)
    return outcomes, days


def _known_keys(job: WriteJob) -> KnownKeys | None:
    if job.existing is None:
        return None
    metadata, io = job.handle.open()
    with reading(job.handle.name):
        return existing_keys(job.definition, metadata, io, job.existing.tasks, job.existing.replaced)


def _check_footers(job: WriteJob, what: str, records: int, data_files: Sequence[DataFile]) -> None:
    footers = sum(file.record_count for file in data_files)
    if records != footers:
        raise Fatal(
            f"writing batch {job.name.batch_id}, task {job.name.task}: {records} {what}, but the Parquet footers count "
            f"{footers}; nothing was committed, report this as a bug"
        )


class _Rejects:
    """The quarantine's data files of one task; nothing is opened before a record is rejected."""

    def __init__(self, job: WriteJob) -> None:
        self._job = job
        self._output: Output | None = None

    def add(self, source: SourceInput, result: FileResult) -> None:
        """Take a loaded file's rejected records, a part at a time: all their texts at once may be much."""
        job, about = self._job, self._job.quarantine
        if self._output is None:
            self._output = Output(about.handle, QUARANTINE_COLUMNS, job.name, pending_bytes=QUARANTINE_BYTES)
        for start in range(0, len(result.rejected), QUARANTINE_RECORDS):
            rows = quarantine_rows(
                result.rejected[start : start + QUARANTINE_RECORDS],
                file_type=about.file_type,
                schema_version=about.schema_version,
                rejected_at=about.rejected_at,
                day=source.day,
                file_name=source.name,
                file_id=source.file_id,
                batch_id=job.name.batch_id,
                raw_max_bytes=about.raw_max_bytes,
            )
            self._output.add(source.day, rows)

    def finish(self) -> list[DataFile]:
        """Write what waits; every data file so far."""
        return self._output.finish() if self._output else []

    def discard(self) -> None:
        """Take away what was written."""
        if self._output:
            self._output.discard()


# -- work -------------------------------------------------------------------------------------------------------------


def _work(source: SourceInput) -> int:
    return source.size_bytes * (source.codec.ratio if source.codec else 1) + _FILE_COST_BYTES


def _groups(inputs: Iterator[SourceInput]) -> Iterator[list[SourceInput]]:
    """Files that are decoded in one call; a big one is a group of its own."""
    group: list[SourceInput] = []
    size = 0
    for source in inputs:
        if group and size + _work(source) > GROUP_BYTES:
            yield group
            group, size = [], 0
        group.append(source)
        size += _work(source)
    if group:
        yield group


# -- outcomes ---------------------------------------------------------------------------------------------------------


def _outcome(source: SourceInput, result: FileResult) -> FileOutcome:
    if result.refused is not None:
        return refusal(source, result.refused)
    count, message = result.rejected_count, None
    if result.over_limit:
        shown = result.rejected[:_FAULTS_SHOWN]
        more = f"; and {count - len(shown)} more" if count > len(shown) else ""
        faults = "; ".join(rejected.message for rejected in shown) + more
        message = f"decoding {source.name}: {count} of {result.records} records break the schema: {faults}"
    return FileOutcome(
        source.file_id,
        "error" if result.over_limit else "loaded",
        records=result.records,
        rows=result.rows,
        rejected=count,
        code="schema_mismatch" if result.over_limit else None,
        message=message,
        reasons=bounded(result.reasons),
        unknown=result.unknown,
    )


# -- columns ----------------------------------------------------------------------------------------------------------


def _record_batch(job: WriteJob, day: date, inputs: Sequence[SourceInput], decoded: RecordColumns) -> pa.RecordBatch:
    """The decoded columns, with date, lineage and what was rescued."""
    rows = decoded.rows
    lineage = (
        decoded.per_file([source.name for source in inputs]),
        decoded.per_file([source.file_id for source in inputs]),
        decoded.record_nos(),
        pa.repeat(job.name.batch_id, rows),
    )
    rescued = pa.nulls(rows, pa.string()) if decoded.rescued is None else decoded.rescued
    columns = [*decoded.columns, pa.repeat(pa.scalar(day, pa.date32()), rows), *lineage, rescued]
    return pa.record_batch(columns, names=_column_names(job))


def _column_names(job: WriteJob) -> list[str]:
    return [*(each.name for each in job.definition.fields), DATE_COLUMN, *LINEAGE, RESCUED]


def _days(job: WriteJob, decoded: RecordColumns) -> set[date]:
    """The UTC days of the rows' time field."""
    if job.time_field is None:
        return set()
    position = [each.name for each in job.definition.fields].index(job.time_field)
    days = pc.unique(floor_time(decoded.columns[position], "day").cast(pa.date32()))
    return set(days.drop_null().to_pylist())
