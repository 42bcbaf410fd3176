"""Step 2 of a micro-batch: its files cut into tasks and run; what came back is put together and checked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

from metadata.clock import Clock
from metadata.database.models import Batch, SourceFile
from metadata.errors import Fatal, TypeStopped, WorldFault
from metadata.files.names import parse_name
from metadata.ledger.ledger import Ledger
from metadata.ledger.values import FileOutcome, WrittenFile
from metadata.settings import Settings
from metadata.types.file_type import FileType
from processors.lake import quarantine_table as quarantine
from processors.lake.data_files import TaskName
from processors.lake.handle import TableHandle
from processors.lake.lake import Lake
from processors.load.existing_keys import touched_partitions
from processors.load.load_task import ExistingRows, Quarantine, WriteJob, cut_tasks, load_files
from processors.load.read_source import SourceInput
from processors.rewrite.which_rows import LoadedRows
from processors.spark.spark_runner import Runner

if TYPE_CHECKING:
    from pyiceberg.manifest import DataFile


@dataclass
class DecodedBatch:
    """Step 2's result, put together from its tasks."""

    outcomes: list[FileOutcome]
    data_files: list[DataFile]  #: of the type's table
    quarantined: list[DataFile]  #: of the quarantine's
    written: list[WrittenFile]  #: the data files of both
    days: set[date]  #: of the rows' time field


class Decoding:
    """Runs step 2. The quarantine's table is made, or looked at, once a process: before its first batch."""

    def __init__(
        self, settings: Settings, ledger: Ledger, lake: Lake, runner: Callable[[], Runner], clock: Clock
    ) -> None:
        self.settings = settings
        self.ledger = ledger
        self.lake = lake
        self.runner = runner
        self.clock = clock
        self._quarantine: TableHandle | None = None

    def decode(self, kind: FileType, batch: Batch, files: Sequence[SourceFile]) -> DecodedBatch:
        """One attempt. Raises WorldFault, BatchFault as tasks do, TypeStopped when a table needs a person, Fatal."""
        attempt = self.ledger.count_attempt(batch.id)
        runner = self.runner()
        if self.lake.table(kind.table_name) is None and self.ledger.has_committed(kind.table_name):
            raise _is_gone(kind.name, kind.table_name)
        table = self.lake.ensure_type_table(kind)
        handle, into = self.lake.handle(table), self._into(kind, batch)
        keys = tuple(dict.fromkeys([kind.name, kind.table_name.split(".")[-1], *kind.patterns]))
        inputs = [_input(file) for file in files]
        existing = self._existing(kind, batch, inputs)
        tasks = cut_tasks(inputs, runner.parallelism if existing is None else 1)
        jobs = [
            WriteJob(
                name=TaskName(batch.id, attempt, number),
                handle=handle,
                quarantine=into,
                definition=kind.schema_or_stop("loading files"),
                config=kind.config,
                keys=keys,
                inputs=task,
                time_field=kind.time_field,
                max_decoded_bytes=self.settings.max_file_bytes,
                existing=existing,
            )
            for number, task in enumerate(tasks)
        ]
        try:
            results = runner.run(load_files, jobs, label=f"{kind.name} {batch.id}")
        except WorldFault:  # on a full disk what the other tasks wrote would be in the way of the next attempt
            for name in (kind.table_name, quarantine.TABLE):
                self.lake.discard(name, batch.id)
            raise
        outcomes = [outcome for result in results for outcome in result.outcomes]
        _check_books(batch.id, files, outcomes)
        return DecodedBatch(
            outcomes,
            [data for result in results for data in result.data_files],
            [data for result in results for data in result.quarantined],
            [written for result in results for written in result.written],
            set().union(*(result.days for result in results)),
        )

    def _existing(self, kind: FileType, batch: Batch, inputs: Sequence[SourceInput]) -> ExistingRows | None:
        """The rows whose keys are there already, and loads among them that do not count; None without dedupe."""
        if kind.config.dedupe is None:
            return None
        days = touched_partitions(kind.config, {source.day for source in inputs})
        tasks = tuple(self.lake.scan_tasks(kind.table_name, days))
        replacement = self.ledger.replacement(batch.id)
        return ExistingRows(tasks, LoadedRows.from_files(replacement[1]) if replacement else None)

    def _into(self, kind: FileType, batch: Batch) -> Quarantine:
        if self._quarantine is None:
            if self.lake.table(quarantine.TABLE) is None and self.ledger.has_quarantined():
                raise _is_gone(kind.name, quarantine.TABLE)
            table = self.lake.ensure_table(quarantine.TABLE, quarantine.iceberg_schema(), quarantine.partition_spec())
            self._quarantine = self.lake.handle(table)
        return Quarantine(
            handle=self._quarantine,
            file_type=kind.name,
            schema_version=batch.schema_version,
            rejected_at=self.clock.now(),
            raw_max_bytes=self.settings.quarantine_raw_max_bytes,
        )


def _check_books(batch_id: str, files: Sequence[SourceFile], outcomes: Sequence[FileOutcome]) -> None:
    """An outcome for each file; and records decoded = rows written + rejected, for each that is loaded."""
    if sorted(outcome.file_id for outcome in outcomes) != sorted(file.id for file in files):
        raise Fatal(f"decoding batch {batch_id}: outcomes and files do not match; nothing was committed")
    for outcome in outcomes:
        if outcome.outcome == "loaded" and outcome.records != outcome.rows + outcome.rejected:
            raise Fatal(
                f"decoding batch {batch_id}: file {outcome.file_id} has {outcome.records} records, but "
                f"{outcome.rows} rows and {outcome.rejected} rejected; nothing was committed, report this as a bug"
            )


def _is_gone(file_type: str, table_name: str) -> TypeStopped:
    return TypeStopped(
        f"loading files of {file_type}: table {table_name} is not in the catalog, but the ledger has snapshots of it; "
        "bring the catalog (or its backup) back, then restart",
        code="table_missing",
    )


def _input(file: SourceFile) -> SourceInput:
    name = parse_name(file.name)
    return SourceInput(
        file_id=file.id,
        path=file.path,
        name=file.name,
        digest=file.digest or "",
        day=name.time.date(),
        size_bytes=file.size_bytes,
        lines=name.lines,
        codec=name.codec,
    )
