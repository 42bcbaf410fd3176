"""Replay and discard: rejected records go through today's schema of their type, or are thrown away. Never twice.

1. **Plan**: one transaction writes the operation and reserves its records: (batch, file, record number) is a primary
   key, so nobody else takes them. Only records whose load stands are taken: no undo, no replacement is about them.
2. **Decode and write**: each record's text, out of the quarantine or out of its file's kept copy, goes through the
   type's own record decoder. Those that pass are written as data files of the type's table, with the lineage that they
   had: `_source_file`, `_file_id`, `_record_no`, and the `_batch_id` that rejected them. The quarantine's data files
   are written again without them.
3. **Prepare**: one transaction: data files, rows, event days; records that did not pass are released. Then a receipt
   beside the tables (`processors.receipts.operations`). From here it only rolls forward.
4. **Commit**: first the type's table (an append), then the quarantine (without the records): each one snapshot whose id
   is derived from (operation id, table), so it cannot land twice. Between the two a record is in both, and `audit`
   knows it; it is never in neither.
5. **Record**: the files' records are counted as replayed, their days are dirty: one transaction.
6. **Settle**: the receipt says that it is over.

A discard is the same without a type's table: its records only leave the quarantine.

A crash after any step is walked by `resume()`: planned → abandoned, its records are free again; prepared → has it
landed, in each table? (its snapshot, else its data files or its records themselves tell) → what lacks it is committed;
committed → settle.
"""

from __future__ import annotations

import hashlib
from codecs import BOM_UTF8
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import date
from itertools import compress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pyarrow as pa
import pyarrow.compute as pc

from metadata.database.models import Operation, SourceFile
from metadata.database.states import BatchState
from metadata.errors import FileRefused, LemonadeError, TypeStopped
from metadata.files.names import parse_name
from metadata.ids import new_id
from metadata.ledger.ledger import Ledger
from metadata.logs import Event, get_logger
from metadata.operations.replay import Replays, ReplayVerb
from metadata.operations.reserved_records import RecordKey
from metadata.outage import Outage
from metadata.settings import Settings
from metadata.types.definition import DATE_COLUMN, LINEAGE, RESCUED, Definition, FileType
from processors.change.chosen_records import Chunk, RejectedRecords
from processors.change.undo import summary_table, time_field
from processors.decode.decoder import Decoder, decompress
from processors.decode.known_keys import KnownKeys, existing_filter, known_keys
from processors.decode.records import RecordReader
from processors.lake.data_files import Output, TaskName, floor_time
from processors.lake.lake import Lake
from processors.lake.landing import LandingState, derived_snapshot_id
from processors.lake.quarantine_table import TABLE, raw_of
from processors.receipts.operations import OperationReceipts
from processors.rewrite.rewriter import KeyedRows, Rest, Rewriter

if TYPE_CHECKING:
    from pyiceberg.manifest import DataFile

log = get_logger()

R = TypeVar("R")

CHUNK_RECORDS = 20_000  # of one operation: bounds what is in memory, and what one conflict costs
CHUNK_BYTES = 32 * 1024 * 1024  # of their text
GONE = "raw_gone"  #: the text is neither in the quarantine nor in a kept copy of its file


@dataclass
class Taken:
    """What one operation did with its records."""

    operation_id: str | None  #: None when it was only tried, or there was nothing to take
    verb: ReplayVerb
    file_type: str
    table_name: str
    state: str = ""
    records: int = 0  #: that it had reserved
    done: int = 0  #: replayed or discarded
    rejected: Counter[str] = field(default_factory=Counter)  #: those that did not pass, by their code of today
    samples: list[str] = field(default_factory=list)  #: messages of the first of them
    snapshot_id: int | None = None
    quarantine_snapshot_id: int | None = None
    days: list[str] = field(default_factory=list)  #: UTC days that are to be summarised again

    @property
    def rows(self) -> int:
        """Records that it has changed."""
        return self.done


@dataclass
class _Passed:
    """What step 2 made of an operation's records."""

    keys: list[RecordKey] = field(default_factory=list)  #: that go on
    data_files: list[DataFile] = field(default_factory=list)
    days: set[date] = field(default_factory=set)
    rejected: Counter[str] = field(default_factory=Counter)
    samples: list[str] = field(default_factory=list)
    schema_version: int | None = None


_SAMPLES = 5


class Replay:
    """Runs the protocol, in this process: chunks are small, and Spark is not worth its start."""

    def __init__(
        self,
        settings: Settings,
        ledger: Ledger,
        lake: Lake,
        rewriter: Rewriter,
        outage: Outage,
        receipts: OperationReceipts,
    ) -> None:
        self.settings = settings
        self.ledger = ledger
        self.lake = lake
        self.rewriter = rewriter
        self.outage = outage
        self.receipts = receipts
        self.clock = ledger.clock
        self.replays = Replays(ledger.database, ledger.clock)
        self.records = RejectedRecords(lake)

    def take(self, verb: ReplayVerb, chunk: Chunk, kind: FileType | None, table_name: str) -> Taken:
        """Replay or discard rejected records of one type, whose batches loaded into `table_name`.

        `kind` is None when a discard is of a type that is gone. Raises TypeStopped when a table does not hold what
        the ledger says or others kept winning, and whatever else keeps it from being prepared: nothing was changed
        then. After Prepare it waits while the world is away; when it drains meanwhile, the next start goes on.
        """
        # 1. Plan
        operation_id = new_id(self.clock)
        name = chunk.file_type
        reserved = self.replays.plan(
            operation_id,
            verb=verb,
            file_type=name,
            table_name=table_name,
            schema_version=kind.schema_version if kind and verb == "replay" else None,
            keys=chunk.keys,
        )
        taken = Taken(None, verb, name, table_name, records=len(reserved))
        if not reserved:
            return taken
        # 2. Decode and write
        try:
            passed = self._pass(verb, operation_id, reserved, kind, table_name)
            taken.rejected, taken.samples = passed.rejected, passed.samples
            if not passed.keys:
                self.replays.abandon(operation_id, "none of its records passed")
                return taken
            rest = self._without(passed.keys)
        except LemonadeError as error:
            self.replays.abandon(operation_id, error.message)
            log.warning(Event.REPLAY_ABANDONED, operation_id=operation_id, code=error.code, error=error.message)
            raise
        # 3. Prepare
        self._prepare(operation_id, reserved, passed, rest)
        # 4. Commit
        self._commit_table(operation_id, table_name, name, passed.data_files, kind)
        self._commit_quarantine(operation_id, name, passed.keys, rest, kind)
        return self._finish(operation_id, kind, taken)

    def try_out(self, keys: Sequence[RecordKey], kind: FileType) -> Taken:
        """What a replay would make of these records; nothing is reserved and nothing written."""
        found = self._decode(self.records.fetch(keys), kind, kind.table_name)
        taken = Taken(None, "replay", kind.name, kind.table_name, records=len(keys))
        taken.done, taken.rejected, taken.samples = len(found.good), found.rejected, found.samples
        taken.rejected[GONE] += len(keys) - len(found.good) - found.rejected.total()
        taken.rejected += Counter()  # without zeros
        return taken

    def resume(self, operation: Operation, kind: FileType | None) -> Taken:
        """Walk an unsettled operation of an earlier process to its end, from the step it had reached."""
        verb: ReplayVerb = "discard" if operation.kind == "discard" else "replay"
        taken = Taken(operation.id, verb, operation.file_type, operation.table_name)
        if operation.state == BatchState.PLANNED:
            self.replays.abandon(operation.id, "the process ended before Prepare")
            log.info(Event.REPLAY_ABANDONED, operation_id=operation.id, file_type=operation.file_type)
            taken.state = BatchState.ABANDONED.value
            return taken
        if operation.state == BatchState.COMMITTED:
            return self._settle(operation.id, taken)
        self.outage.wait_out(self.receipts.write, operation.id)
        if operation.added_rows and not self._has_landed(operation):
            data_files = self.lake.described(operation.table_name, operation.added_paths or [])
            self._commit_table(operation.id, operation.table_name, operation.file_type, data_files, kind)
        if operation.quarantine_rows and self.lake.operation_landed(TABLE, operation.id) is None:
            keys = self.replays.taken(operation.id)
            rest = self._find(keys)
            if rest.rows:  # else it landed, and its snapshot has expired since
                _check(keys, rest)
                self._commit_quarantine(operation.id, operation.file_type, keys, rest, kind)
        return self._finish(operation.id, kind, taken)

    def landed(self, operation: Operation) -> bool:
        """Whether a prepared operation is in both of its tables; TypeStopped when nobody can tell."""
        in_table = not operation.added_rows or self._has_landed(operation)
        return in_table and (
            not operation.quarantine_rows or self.lake.operation_landed(TABLE, operation.id) is not None
        )

    # -- step 2 -------------------------------------------------------------------------------------------------------

    def _pass(
        self,
        verb: ReplayVerb,
        operation_id: str,
        keys: Sequence[RecordKey],
        kind: FileType | None,
        table_name: str,
    ) -> _Passed:
        """The records that go on, and for a replay their data files."""
        rows = self.records.fetch(keys)
        if verb == "discard" or kind is None:
            return _Passed(keys=_keys_of(rows))
        if kind.config.dedupe is not None:
            self.lake.ensure_type_table(replace(kind, table_name=table_name))  # its columns have today's names
        found = self._decode(rows, kind, table_name)
        passed = _Passed(rejected=found.rejected, samples=found.samples, schema_version=kind.schema_version)
        if not found.good:
            return passed
        good = rows.take(pa.array(found.good))
        passed.keys = _keys_of(good)
        passed.data_files = self._write(operation_id, good, found, kind, table_name)
        passed.days = found.days
        return passed

    def _decode(self, rows: pa.Table, kind: FileType, table_name: str) -> _JudgedRecords:
        definition = _definition(kind)
        keys = tuple(dict.fromkeys([kind.name, kind.table_name.split(".")[-1], *kind.patterns]))
        unknown_fields = kind.config.unknown_fields
        found = _JudgedRecords()
        if not len(rows):
            return found
        texts = self._texts(rows, RecordReader(definition, keys, unknown_fields))
        there = [index for index, text in enumerate(texts) if isinstance(text, bytes)]
        for text in texts:
            if isinstance(text, str):
                found.reject(GONE, text)
        decoder = Decoder(definition, keys, unknown_fields=unknown_fields)
        decoded = decoder.decode_records([text for text in texts if isinstance(text, bytes)])
        found.good = [there[index] for index in decoded.good]
        for each in decoded.rejected:
            found.reject(str(each.code), each.message.partition(": ")[2] or each.message)
        found.columns, found.rescued = decoded.columns, decoded.rescued
        if kind.config.dedupe is not None and found.good:
            self._leave_out_known(found, rows, kind, table_name)
        time = time_field(kind)
        if time is not None and found.good:
            position = [each.name for each in definition.fields].index(time)
            days = pc.unique(floor_time(decoded.columns[position], "day").cast(pa.date32()))
            found.days = set(days.drop_null().to_pylist())
        return found

    def _leave_out_known(self, found: _JudgedRecords, rows: pa.Table, kind: FileType, table_name: str) -> None:
        """Records whose primary key is in the partitions that they would go to, or in an earlier one of them."""
        definition = _definition(kind)
        known, table = KnownKeys(definition), self.lake.table(table_name)
        if table is not None:
            days = set(rows[DATE_COLUMN].take(pa.array(found.good)).to_pylist())
            tasks = self.lake.scan_tasks(table_name, existing_filter(kind.config, days))
            with self.lake.reading(table_name):
                known = known_keys(definition, table.metadata, table.io, tasks)
        look = known.look(known.keys(found.columns), range(1, len(found.good) + 1))
        for row, where in look.there.items():
            origin = "another of these records" if isinstance(where, int) else where
            fault = known.fault(found.columns, row, origin)
            found.reject(fault.code, fault.reason)
        found.keep([row not in look.there for row in range(len(found.good))])

    def _texts(self, rows: pa.Table, reader: RecordReader) -> list[bytes | str]:
        """The text of each record, or in words why there is none."""
        texts: list[bytes | str] = []
        longer: dict[str, list[int]] = {}
        raws, encodings, files = (rows[name].to_pylist() for name in ("raw", "raw_encoding", LINEAGE[1]))
        for index, (raw, encoding) in enumerate(zip(raws, encodings, strict=True)):
            text = raw_of(raw, encoding)
            texts.append("" if text is None else text)
            if text is None:
                longer.setdefault(files[index], []).append(index)
        known = self.replays.files(longer)
        numbers, sizes = rows[LINEAGE[2]].to_pylist(), rows["raw_bytes"].to_pylist()
        for file_id, indexes in longer.items():
            wanted = {numbers[index]: sizes[index] for index in indexes}
            found = self._out_of_copy(known.get(file_id), wanted, reader)
            for index in indexes:
                texts[index] = found if isinstance(found, str) else found[numbers[index]]
        return texts

    def _out_of_copy(
        self, file: SourceFile | None, wanted: dict[int, int], reader: RecordReader
    ) -> dict[int, bytes | str] | str:
        """Records (number → length in bytes) that were too long for the quarantine, from their file's kept copy."""
        if file is None:
            return "the ledger does not know its file"
        try:
            content = Path(file.path).read_bytes()
        except OSError as error:
            return f"reading its file {file.path}: {error.strerror}"
        if hashlib.sha256(content).hexdigest() != file.digest:
            return f"its file {file.path} is not what was loaded"
        name = parse_name(file.name)
        with suppress(FileRefused):
            text = decompress(content, name.compression, self.settings.max_file_bytes).removeprefix(BOM_UTF8)
            raws = reader.split(text, name.suffix != "json")
            found: dict[int, bytes | str] = {}
            for number, size in wanted.items():
                raw = bytes(raws[number - 1]) if number <= len(raws) else b""
                fault = f"record {number} of {file.path} is another one now; was the type's root changed?"
                found[number] = raw if len(raw) == size else fault
            return found
        return f"its file {file.path} cannot be read any more"

    def _write(
        self, operation_id: str, rows: pa.Table, found: _JudgedRecords, kind: FileType, table_name: str
    ) -> list[DataFile]:
        """The good records as data files; `rows` are theirs in the quarantine."""
        definition = _definition(kind)
        table = self.lake.ensure_type_table(replace(kind, table_name=table_name))
        names = [*(each.name for each in definition.fields), DATE_COLUMN, *LINEAGE, RESCUED]
        rescued = pa.nulls(len(rows), pa.string()) if found.rescued is None else found.rescued
        origin = [
            rows[name].cast(column_type).combine_chunks()
            for name, column_type in zip(
                (DATE_COLUMN, *LINEAGE), (pa.date32(), pa.string(), pa.string(), pa.int64(), pa.string()), strict=True
            )
        ]
        batch = pa.record_batch([*found.columns, *origin, rescued], names=names)
        output = Output(self.lake.handle(table), names, TaskName(operation_id, 1, 0))
        try:
            for day, part in _by_day(batch):
                output.add(day, part)
            written = output.finish()
        except LemonadeError:
            output.discard()
            raise
        counted = sum(data_file.record_count for data_file in written)
        if counted != len(rows):
            raise TypeStopped(
                f"replaying {len(rows)} records into {table_name}: the Parquet footers count {counted}; nothing was "
                "committed, report this as a bug",
                code="rows_differ",
            )
        return written

    def _find(self, keys: Sequence[RecordKey]) -> Rest:
        return self.rewriter.write(TABLE, KeyedRows.of(keys), time_field=None, batch_days=())

    def _without(self, keys: Sequence[RecordKey]) -> Rest:
        """What takes the records out of the quarantine, as it is now."""
        rest = self._find(keys)
        _check(keys, rest)
        return rest

    # -- steps 3 and 4 ------------------------------------------------------------------------------------------------

    def _prepare(self, operation_id: str, reserved: Sequence[RecordKey], passed: _Passed, rest: Rest) -> None:
        kept = set(passed.keys)
        self.outage.wait_out(
            lambda: self.replays.prepare(
                operation_id,
                released=[key for key in reserved if key not in kept],
                added_paths=[data_file.file_path for data_file in passed.data_files],
                removed_paths=[data_file.file_path for data_file in rest.removed],
                kept_paths=[data_file.file_path for data_file in rest.added],
                event_days=passed.days,
            )
        )
        self.outage.wait_out(self.receipts.write, operation_id)

    def _commit_table(
        self,
        operation_id: str,
        table_name: str,
        name: str,
        data_files: Sequence[DataFile],
        kind: FileType | None,
    ) -> None:
        if data_files:
            nothing = Rest([], [], 0, set())
            self._send(table_name, operation_id, nothing, lambda: nothing, kind, append=data_files, name=name)

    def _commit_quarantine(
        self, operation_id: str, name: str, keys: Sequence[RecordKey], rest: Rest, kind: FileType | None
    ) -> None:
        self._send(TABLE, operation_id, rest, lambda: self._without(keys), kind, append=(), name=name)

    def _send(
        self,
        table_name: str,
        operation_id: str,
        rest: Rest,
        again: Callable[[], Rest],
        kind: FileType | None,
        *,
        append: Sequence[DataFile],
        name: str,
    ) -> None:
        self.outage.wait_out(
            lambda: self.rewriter.commit(
                table_name,
                self.replays.get(operation_id).kind,
                operation_id,
                rest=rest,
                again=again,
                append=append,
                properties={"lemonade.file-type": name},
                kind=kind,
            )
        )

    def _has_landed(self, operation: Operation) -> bool:
        """Whether the type's table has the operation's rows; TypeStopped when nobody can tell."""
        paths = operation.added_paths or []
        landing = self.lake.landed(operation.table_name, operation.id, paths)
        if landing.state is not LandingState.HISTORY_CUT:
            return landing.state is LandingState.LANDED
        keys = self.replays.taken(operation.id)
        if self.rewriter.count(operation.table_name, KeyedRows.of(keys)):
            return True
        raise TypeStopped(
            f"committing {operation.kind} {operation.id} to {operation.table_name}: the table's history was cut and "
            "the records are not in it, so nobody can tell whether they were loaded; bring its snapshot back, then "
            "restart",
            code="history_cut",
        )

    # -- steps 5 and 6 ------------------------------------------------------------------------------------------------

    def _finish(self, operation_id: str, kind: FileType | None, taken: Taken) -> Taken:
        # 5. Record
        operation = self.replays.get(operation_id)
        in_table, in_quarantine = operation.added_rows, operation.quarantine_rows
        self.outage.wait_out(
            lambda: self.replays.record(
                operation_id,
                snapshot_id=derived_snapshot_id(operation_id, operation.table_name) if in_table else None,
                quarantine_snapshot_id=derived_snapshot_id(operation_id, TABLE) if in_quarantine else None,
                summary_table=summary_table(kind),
            )
        )
        return self._settle(operation_id, taken)

    def _settle(self, operation_id: str, taken: Taken) -> Taken:
        # 6. Settle
        self.outage.wait_out(self.receipts.write, operation_id, is_over=True)
        self.outage.wait_out(self.replays.settle, operation_id)
        operation = self.replays.get(operation_id)
        taken.operation_id, taken.state = operation_id, operation.state
        taken.done = operation.quarantine_rows or 0
        taken.snapshot_id, taken.quarantine_snapshot_id = operation.snapshot_id, operation.quarantine_snapshot_id
        taken.days = list(operation.event_days or [])
        log.info(
            Event.RECORDS_REPLAYED if taken.verb == "replay" else Event.RECORDS_DISCARDED,
            operation_id=operation_id,
            file_type=operation.file_type,
            table=operation.table_name,
            records=taken.done,
            rejected=dict(taken.rejected),
            files=len(operation.file_ids),
            schema_version=operation.schema_version,
            days=taken.days,
            snapshot_id=operation.snapshot_id,
            quarantine_snapshot_id=operation.quarantine_snapshot_id,
        )
        return taken


@dataclass
class _JudgedRecords:
    """What decoding made of rows of the quarantine."""

    good: list[int] = field(default_factory=list)  #: indexes of the rows whose records passed
    columns: list[pa.Array] = field(default_factory=list)  #: of those
    rescued: pa.Array | None = None
    rejected: Counter[str] = field(default_factory=Counter)
    samples: list[str] = field(default_factory=list)
    days: set[date] = field(default_factory=set)

    def keep(self, mask: Sequence[bool]) -> None:
        """Only those of the good ones."""
        chosen = pa.array(mask, pa.bool_())
        self.good = list(compress(self.good, mask))
        self.columns = [column.filter(chosen) for column in self.columns]
        self.rescued = None if self.rescued is None else self.rescued.filter(chosen)

    def reject(self, code: str, message: str) -> None:
        """One more record that does not pass."""
        self.rejected[code] += 1
        if len(self.samples) < _SAMPLES:
            self.samples.append(f"{code}: {message}")


def _definition(kind: FileType) -> Definition:
    if kind.definition is None:
        raise TypeStopped(
            f"replaying records of {kind.name}: it has no schema; run: lemonade types update", code="no_schema"
        )
    return kind.definition


def _keys_of(rows: pa.Table) -> list[RecordKey]:
    if not len(rows):
        return []
    batches, files, numbers = (rows[name].to_pylist() for name in (LINEAGE[3], LINEAGE[1], LINEAGE[2]))
    return [RecordKey(*each) for each in zip(batches, files, numbers, strict=True)]


def _by_day(batch: pa.RecordBatch) -> Iterator[tuple[date, pa.RecordBatch]]:
    """The rows of each day of the files' names."""
    column: Any = batch.column(DATE_COLUMN)
    for day in pc.unique(column).to_pylist():
        yield day, batch.filter(pc.equal(column, pa.scalar(day, pa.date32())))


def _check(keys: Sequence[RecordKey], rest: Rest) -> None:
    """Raise TypeStopped unless the quarantine holds each record once."""
    if rest.rows != len(keys):
        raise TypeStopped(
            f"taking {len(keys)} records out of {TABLE}: it holds {rest.rows} of them, so somebody has changed it; "
            "nothing was changed there now. See `lemonade audit`, and mend the table (its snapshots keep what it was)",
            code="rows_differ",
        )
