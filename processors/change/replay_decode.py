"""Step 2 of a replay: rejected records through today's schema, in this process; those that pass become data files.

A record's text is in the quarantine or, when it is long, in the kept copy of its file.
"""

from __future__ import annotations

from codecs import BOM_UTF8
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import date
from itertools import compress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from metadata.database.models import SourceFile
from metadata.errors import FileRefused, LemonadeError, TypeStopped
from metadata.files.digest import digest_of
from metadata.files.names import parse_name
from metadata.ledger.values import RecordKey
from metadata.operations.replay import ReplayLedger, ReplayVerb
from metadata.outage import Outage
from metadata.settings import Settings
from metadata.types.definition import DATE_COLUMN, LINEAGE, RESCUED
from metadata.types.file_type import FileType
from processors.change.chosen_records import RejectedRecords
from processors.decode.decoder import Decoder
from processors.decode.decompress import decompress
from processors.decode.known_keys import KnownKeys
from processors.decode.records import RecordReader
from processors.lake.data_files import Output, TaskName, floor_time
from processors.lake.lake import Lake
from processors.lake.quarantine_table import raw_of
from processors.load.existing_keys import existing_keys, touched_partitions

if TYPE_CHECKING:
    from pyiceberg.manifest import DataFile

GONE = "raw_gone"  #: the text is neither in the quarantine nor in a kept copy of its file
_SAMPLES = 5


@dataclass
class PassedRecords:
    """What step 2 made of an operation's records."""

    keys: list[RecordKey] = field(default_factory=list)  #: that go on
    data_files: list[DataFile] = field(default_factory=list)
    days: set[date] = field(default_factory=set)
    rejected: Counter[str] = field(default_factory=Counter)
    samples: list[str] = field(default_factory=list)
    schema_version: int | None = None


@dataclass
class JudgedRecords:
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


class ReplayDecoder:
    """Takes records out of the quarantine through the decoder of new ones."""

    def __init__(self, settings: Settings, operations: ReplayLedger, lake: Lake, outage: Outage) -> None:
        self.settings = settings
        self.operations = operations
        self.outage = outage
        self.lake = lake
        self.records = RejectedRecords(lake)

    def try_out(self, keys: Sequence[RecordKey], kind: FileType) -> JudgedRecords:
        """What a replay would make of these records; nothing is written."""
        judged = self.decode(self.records.fetch(keys), kind, kind.table_name)
        judged.rejected[GONE] += len(keys) - len(judged.good) - judged.rejected.total()
        judged.rejected += Counter()  # without zeros
        return judged

    def pass_on(
        self,
        verb: ReplayVerb,
        operation_id: str,
        keys: Sequence[RecordKey],
        kind: FileType | None,
        table_name: str,
    ) -> PassedRecords:
        """The records that go on, and for a replay their data files."""
        rows = self.records.fetch(keys)
        if verb == "discard" or kind is None:
            return PassedRecords(keys=_keys_of(rows))
        if kind.config.dedupe is not None:
            self.lake.ensure_type_table(replace(kind, table_name=table_name))  # its columns have today's names
        found = self.decode(rows, kind, table_name)
        passed = PassedRecords(rejected=found.rejected, samples=found.samples, schema_version=kind.schema_version)
        if not found.good:
            return passed
        good = rows.take(pa.array(found.good))
        passed.keys = _keys_of(good)
        passed.data_files = self._write(operation_id, good, found, kind, table_name)
        passed.days = found.days
        return passed

    def decode(self, rows: pa.Table, kind: FileType, table_name: str) -> JudgedRecords:
        """What today's schema makes of rows of the quarantine."""
        definition = kind.schema_or_stop("replaying records")
        keys = tuple(dict.fromkeys([kind.name, kind.table_name.split(".")[-1], *kind.patterns]))
        unknown_fields = kind.config.unknown_fields
        found = JudgedRecords()
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
        time = kind.time_field
        if time is not None and found.good:
            position = [each.name for each in definition.fields].index(time)
            days = pc.unique(floor_time(decoded.columns[position], "day").cast(pa.date32()))
            found.days = set(days.drop_null().to_pylist())
        return found

    def _leave_out_known(self, found: JudgedRecords, rows: pa.Table, kind: FileType, table_name: str) -> None:
        """Records whose primary key is in the partitions that they would go to, or in an earlier one of them."""
        definition = kind.schema_or_stop("replaying records")
        known, table = KnownKeys(definition), self.lake.table(table_name)
        if table is not None:
            days = set(rows[DATE_COLUMN].take(pa.array(found.good)).to_pylist())
            tasks = self.lake.scan_tasks(table_name, touched_partitions(kind.config, days))
            with self.lake.reading(table_name):
                known = existing_keys(definition, table.metadata, table.io, tasks)
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
        known = self.outage.wait_out(self.operations.files, longer)
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
        if digest_of(content) != file.digest:
            return f"its file {file.path} is not what was loaded"
        name = parse_name(file.name)
        with suppress(FileRefused):
            text = decompress(content, name.codec, self.settings.max_file_bytes).removeprefix(BOM_UTF8)
            raws = reader.split(text, name.lines)
            found: dict[int, bytes | str] = {}
            for number, size in wanted.items():
                raw = bytes(raws[number - 1]) if number <= len(raws) else b""
                fault = f"record {number} of {file.path} is another one now; was the type's root changed?"
                found[number] = raw if len(raw) == size else fault
            return found
        return f"its file {file.path} cannot be read any more"

    def _write(
        self, operation_id: str, rows: pa.Table, found: JudgedRecords, kind: FileType, table_name: str
    ) -> list[DataFile]:
        """The good records as data files; `rows` are theirs in the quarantine."""
        definition = kind.schema_or_stop("replaying records")
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
