"""What one task does, in a worker process: source files → Parquet data files and an outcome for each source file.

Nothing here touches catalog, ledger or the source files' places; a task that dies leaves Parquet files that no snapshot
will ever name. A file that is not what was claimed, cannot be read or breaks the schema costs only itself.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from itertools import groupby, pairwise
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.manifest import DataFile

from metadata.errors import Fatal, FileRefused, WorldFault
from metadata.files.suffixes_and_codecs import Codec
from metadata.ledger.values import FileOutcome, WrittenFile, bounded
from metadata.types.config import ProcessingConfig
from metadata.types.definition import DATE_COLUMN, LINEAGE, RESCUED, Definition
from processors.decode.decoder import Decoder
from processors.decode.decompress import decompress
from processors.decode.file_rejects import RejectLimits
from processors.decode.known_keys import KnownKeys
from processors.decode.results import FileResult, RecordColumns
from processors.lake.data_files import Output, floor_time
from processors.lake.lake import TableHandle, reading
from processors.lake.quarantine_table import COLUMNS as QUARANTINE_COLUMNS
from processors.lake.quarantine_table import record_batch as quarantine_rows
from processors.load.existing_keys import existing_keys

if TYPE_CHECKING:
    from pyiceberg.table import FileScanTask

    from processors.rewrite.which_rows import Rows

_MIB = 1024 * 1024
_GROUP_BYTES = 16 * _MIB  # of JSON, about; bounds what is decoded and not yet columns
_FILE_COST_BYTES = 8 * 1024  # what opening a file costs, in bytes that could be decoded meanwhile
_TASK_BYTES = 4 * _MIB  # less is not worth a task of its own, nor a data file
_FAULTS_SHOWN = 5
_QUARANTINE_RECORDS = 1000  # made into rows at once
_QUARANTINE_BYTES = 32 * _MIB  # of Arrow columns waiting: rejected records are few, or else large


@dataclass(frozen=True)
class SourceInput:
    """A claimed source file, as the ledger has it."""

    file_id: str
    path: str
    name: str
    digest: str
    day: date  #: UTC day of the time in its name
    size_bytes: int
    lines: bool
    codec: Codec | None  #: that it is compressed with


@dataclass(frozen=True)
class Quarantine:
    """Where rejected records go, and what is said of each."""

    handle: TableHandle
    file_type: str
    schema_version: int
    rejected_at: datetime
    raw_max_bytes: int  #: a longer record's text is left out


@dataclass(frozen=True)
class WriteJob:
    """One task: source files, and how they become rows of which table."""

    batch_id: str
    attempt: int  #: from 1; with `task` it keeps data files of different tries apart
    task: int
    handle: TableHandle
    quarantine: Quarantine
    definition: Definition
    config: ProcessingConfig
    keys: tuple[str, ...]  #: names of the type inside documents
    inputs: tuple[SourceInput, ...]
    time_field: str | None  #: whose UTC days are collected
    max_decoded_bytes: int
    existing: tuple[FileScanTask, ...] | None = None  #: the table's data files whose keys are there; None: no dedupe
    replaced: Rows | None = None  #: rows of theirs that this batch takes the place of


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
    count = max(1, min(parallelism, len(ordered), round(total / _TASK_BYTES)))
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
    output = Output(job.handle, _column_names(job), batch_id=job.batch_id, attempt=job.attempt, task=job.task)
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
            decoded = decoder.decode_many(_contents(group, job.max_decoded_bytes, readable, outcomes))
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
        return existing_keys(job.definition, metadata, io, job.existing, job.replaced)


def _check_footers(job: WriteJob, what: str, records: int, data_files: Sequence[DataFile]) -> None:
    footers = sum(file.record_count for file in data_files)
    if records != footers:
        raise Fatal(
            f"writing batch {job.batch_id}, task {job.task}: {records} {what}, but the Parquet footers count "
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
            self._output = Output(
                about.handle,
                QUARANTINE_COLUMNS,
                batch_id=job.batch_id,
                attempt=job.attempt,
                task=job.task,
                pending_bytes=_QUARANTINE_BYTES,
            )
        for start in range(0, len(result.rejected), _QUARANTINE_RECORDS):
            rows = quarantine_rows(
                result.rejected[start : start + _QUARANTINE_RECORDS],
                file_type=about.file_type,
                schema_version=about.schema_version,
                rejected_at=about.rejected_at,
                day=source.day,
                file_name=source.name,
                file_id=source.file_id,
                batch_id=job.batch_id,
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


# -- reading ----------------------------------------------------------------------------------------------------------


def _work(source: SourceInput) -> int:
    return source.size_bytes * (source.codec.ratio if source.codec else 1) + _FILE_COST_BYTES


def _groups(inputs: Iterator[SourceInput]) -> Iterator[list[SourceInput]]:
    """Files that are decoded in one call; a big one is a group of its own."""
    group: list[SourceInput] = []
    size = 0
    for source in inputs:
        if group and size + _work(source) > _GROUP_BYTES:
            yield group
            group, size = [], 0
        group.append(source)
        size += _work(source)
    if group:
        yield group


def _contents(
    group: Sequence[SourceInput], limit: int, readable: list[SourceInput], outcomes: list[FileOutcome]
) -> Iterator[tuple[str, bytes, bool]]:
    """The text of one file after another, for the decoder; files that have none go to `outcomes`."""
    for source in group:
        try:
            content = _read(source)
            if isinstance(content, FileOutcome):
                outcomes.append(content)
                continue
            content = decompress(content, source.codec, limit)
        except FileRefused as refused:
            outcomes.append(_refusal(source, refused))
            continue
        readable.append(source)
        yield source.name, content, source.lines


def _read(source: SourceInput) -> bytes | FileOutcome:
    """The file's bytes, if they are those that were claimed; else the outcome `changed` or `missing`.

    Raises FileRefused when it is no regular file any more or may not be read.
    """
    try:
        # A symlink is not followed, and a FIFO does not make us wait for its writer.
        descriptor = os.open(source.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise FileRefused("it is no regular file", code="not_a_regular_file")
            with os.fdopen(descriptor, "rb", buffering=0, closefd=False) as file:
                if status.st_size != source.size_bytes:
                    return _changed(source, file)
                content = file.readall()
        finally:
            os.close(descriptor)
    except (FileNotFoundError, NotADirectoryError) as error:
        if not Path(source.path).parent.parent.is_dir():  # not even processing/: nobody removed just this file
            raise _reading_fault(source, error) from error
        return FileOutcome(source.file_id, "missing", message=f"reading {source.name}: it is gone from {source.path}")
    except OSError as error:
        raise _reading_fault(source, error) from error
    digest = hashlib.sha256(content).hexdigest()
    if digest != source.digest:
        return _changed_to(source, digest, len(content))
    return content


def _changed(source: SourceInput, file: BinaryIO) -> FileOutcome:
    """Digest a file of another size than was claimed, whatever that size is."""
    digest, size = hashlib.sha256(), 0
    while piece := file.read(_MIB):
        digest.update(piece)
        size += len(piece)
    return _changed_to(source, digest.hexdigest(), size)


def _changed_to(source: SourceInput, digest: str, size: int) -> FileOutcome:
    message = f"reading {source.name}: its bytes are not those that were claimed; it is claimed again"
    return FileOutcome(source.file_id, "changed", code="bytes_changed", message=message, digest=digest, size_bytes=size)


def _reading_fault(source: SourceInput, error: OSError) -> FileRefused | WorldFault:
    """Whether the file or the world is at fault."""
    if error.errno in (errno.ELOOP, errno.EMLINK, errno.ENXIO):  # a symlink, in two dialects, and a socket
        return FileRefused("it is no regular file", code="not_a_regular_file")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EIO):
        return FileRefused(f"it cannot be read ({error.strerror})", code="unreadable")
    return WorldFault(f"reading {source.path}: {error.strerror}; check the disk or network", code="source_away")


# -- outcomes ---------------------------------------------------------------------------------------------------------


def _outcome(source: SourceInput, result: FileResult) -> FileOutcome:
    if result.refused is not None:
        return _refusal(source, result.refused)
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


def _refusal(source: SourceInput, refused: FileRefused) -> FileOutcome:
    return FileOutcome(source.file_id, "failed", code=refused.code, message=f"reading {source.name}: {refused.message}")


# -- columns ----------------------------------------------------------------------------------------------------------


def _record_batch(job: WriteJob, day: date, inputs: Sequence[SourceInput], decoded: RecordColumns) -> pa.RecordBatch:
    """The decoded columns, with date, lineage and what was rescued."""
    rows = decoded.rows
    lineage = (
        decoded.per_file([source.name for source in inputs]),
        decoded.per_file([source.file_id for source in inputs]),
        decoded.record_nos(),
        pa.repeat(job.batch_id, rows),
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
