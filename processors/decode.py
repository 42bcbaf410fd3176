"""Bytes of source files → Arrow columns and rejected records; pure, no Spark.

A file is decoded in one pass into structs, a group of files becomes columns in one go. Only where that fails, the slow
way finds the record that is to blame: first the file is split into raw records, then each goes through the same record
decoder, then the column that Arrow refused is halved until the value is found.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

from metadata.definition import Definition, Field
from metadata.errors import FileRefused
from processors.columns import FAULTS, ColumnError, Columns, column_code
from processors.content import BROKEN, Content, first_fault
from processors.reasons import Reasons
from processors.schema import decoder_type

BATCH_ROWS = 50_000
BATCH_BYTES = 64 * 1024 * 1024
_PIECE = 4 * 1024 * 1024
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class Rejected:
    """One bad record; `message` names record and field, `raw` is its JSON as it stood in the file."""

    record_no: int  #: from 1; JSON lines do not count blank lines
    field: str | None  #: the definition's field; None when the record as a whole is at fault
    code: str
    message: str
    raw: bytes


@dataclass
class Decoded:
    """One file: the columns of its good records in definition order, and its bad records."""

    columns: list[pa.Array]
    record_nos: Sequence[int]  #: of the good records, a range when all are good
    records: int  #: good and bad
    rejected: list[Rejected]


@dataclass
class FileResult:
    """What `decode_many` made of one file; it has rows in the batches only when it is `clean`."""

    records: int = 0
    rejected: list[Rejected] = field(default_factory=list)
    refused: FileRefused | None = None

    @property
    def clean(self) -> bool:
        """Whether every record is good, so that all of them stand in the batches."""
        return self.refused is None and not self.rejected

    @property
    def rows(self) -> int:
        """How many rows of the batches are this file's."""
        return self.records if self.clean else 0


@dataclass
class RecordColumns:
    """Columns of about 50,000 records in definition order, and whose records they are.

    `runs` are (index of the file, its first record's number, count), in the order of the rows.
    """

    columns: list[pa.Array]
    runs: list[tuple[int, int, int]]

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
    """What `decode_many` returns: a result a file, in the order given, and the columns of the clean ones."""

    files: list[FileResult] = field(default_factory=list)
    batches: list[RecordColumns] = field(default_factory=list)


@dataclass
class _Pending:
    """A decoded file whose columns are not built yet."""

    index: int
    data: bytes
    lines: bool
    records: list[Any]


class Decoder:
    """Decodes the source files of one type; makes its struct and decoders once, so keep it.

    `keys` name the type inside a document: its file type, its table's name without namespace, its patterns.
    """

    def __init__(self, definition: Definition, keys: Sequence[str]) -> None:
        self.definition = definition
        record = decoder_type(definition)
        self._record = msgspec.json.Decoder(record)
        self._content = Content(definition, keys, record)
        self._columns = Columns(definition)
        self._reasons = Reasons(definition)

    def decode(self, data: bytes | memoryview, lines: bool) -> Decoded:
        """One file's bytes, decompressed; `lines` says whether it is JSON lines.

        Raises FileRefused: `empty`, `malformed` or `wrong_shape`.
        """
        data = _text(data)
        try:
            records = self._read(data, lines)
        except BROKEN:
            records = None
        good: list[Any]
        numbers: Sequence[int]
        rejected: list[Rejected]
        if records is None:
            good, numbers, rejected = self._read_one_by_one(data, lines)
        else:
            good, numbers, rejected = records, range(1, len(records) + 1), []
        count = len(good) + len(rejected)
        try:
            columns = self._columns.build(good)
        except FAULTS:
            faults = self._column_faults(good)
            if not faults:  # every value fits, all of them together do not
                raise FileRefused("its values of one field exceed 2 GiB; split the file", code="too_large") from None
            raws = self._split(data, lines)
            for index, (bad, code, reason) in faults.items():
                number = numbers[index]
                rejected.append(self._rejected(number, bad, code, reason, raws[number - 1]))
            rejected.sort(key=lambda one: one.record_no)
            numbers = [number for index, number in enumerate(numbers) if index not in faults]
            columns = self._columns.build([record for index, record in enumerate(good) if index not in faults])
        return Decoded(columns, numbers, count, rejected)

    def decode_many(self, files: Iterable[tuple[bytes, bool]]) -> DecodedGroup:
        """Many files, each as (bytes, whether JSON lines); the way to decode everything that goes into one partition.

        The files are taken one after another, so an iterator keeps few of them in memory. Nothing of a file with a
        rejected record or a refusal is in the batches; its `FileResult` says why, with all its rejected records.
        """
        group = DecodedGroup()
        pending: list[_Pending] = []
        rows = size = 0
        for index, (given, lines) in enumerate(files):
            result = FileResult()
            group.files.append(result)
            try:
                data = _text(given)
                records = self._read(data, lines)
            except FileRefused as refused:
                result.refused = refused
                continue
            except BROKEN:
                records = None
            if records is None:
                self._decode_alone(group, index, data, lines)
                continue
            result.records = len(records)
            if records:
                pending.append(_Pending(index, data, lines, records))
            rows, size = rows + len(records), size + len(data)
            if rows >= BATCH_ROWS or size >= BATCH_BYTES:
                self._flush(group, pending)
                pending, rows, size = [], 0, 0
        self._flush(group, pending)
        return group

    def _flush(self, group: DecodedGroup, pending: list[_Pending]) -> None:
        """Columns of the group; when Arrow refuses them, without the files that are to blame."""
        try:
            group.batches += self._batches(pending)
            return
        except FAULTS:
            clean = [file for file in pending if self._fits(file)]
        if len(clean) < len(pending):
            for file in pending:
                if file not in clean:
                    self._decode_alone(group, file.index, file.data, file.lines)
            self._flush(group, clean)
        else:  # too much for one column, though each file by itself is not
            for file in clean:
                self._decode_alone(group, file.index, file.data, file.lines)

    def _fits(self, file: _Pending) -> bool:
        try:
            self._columns.build(file.records)
        except FAULTS:
            return False
        return True

    def _batches(self, pending: list[_Pending]) -> list[RecordColumns]:
        records = [record for file in pending for record in file.records]
        if not records:
            return []
        size = sum(len(file.data) for file in pending)
        count = max(1, round(len(records) / BATCH_ROWS), min(len(records), size // BATCH_BYTES))
        step = -(-len(records) // count)
        return [
            RecordColumns(self._columns.build(records[start : start + step]), list(_runs(pending, start, start + step)))
            for start in range(0, len(records), step)
        ]

    def _decode_alone(self, group: DecodedGroup, index: int, data: bytes, lines: bool) -> None:
        result = group.files[index]
        try:
            decoded = self.decode(data, lines)
        except FileRefused as refused:
            result.refused = refused
            return
        result.records, result.rejected = decoded.records, decoded.rejected
        if result.rows:
            group.batches.append(RecordColumns(decoded.columns, [(index, 1, result.rows)]))

    def _read(self, data: bytes, lines: bool) -> list[Any] | None:
        """All records in one pass; None or one of BROKEN when that cannot be done."""
        if not lines:
            return self._content.read(data)
        decode = self._record.decode
        return [decode(line) for line in data.split(b"\n") if line and not line.isspace()]

    def _split(self, data: bytes, lines: bool) -> list[Any]:
        if lines:
            return [line for line in data.split(b"\n") if line and not line.isspace()]
        return self._content.split(data)

    def _read_one_by_one(self, data: bytes, lines: bool) -> tuple[list[Any], list[int], list[Rejected]]:
        """The good records, their numbers, and the rejected ones."""
        good: list[Any] = []
        numbers: list[int] = []
        rejected: list[Rejected] = []
        for number, raw in enumerate(self._split(data, lines), start=1):
            try:
                good.append(self._record.decode(raw))
                numbers.append(number)
            except msgspec.ValidationError as error:
                rejected.append(self._rejected(number, *self._reasons.of(error), raw))
            except BROKEN as error:
                fault = first_fault(bytes(raw)) if lines else None
                code, reason = ("bad_text", _bad_text(error)) if fault is None else ("bad_line", str(fault))
                rejected.append(self._rejected(number, None, code, reason, raw))
        return good, numbers, rejected

    def _column_faults(self, records: list[Any]) -> dict[int, tuple[Field, str, str]]:
        """By index, the first field whose value Arrow does not take, the code and the reason."""
        faults: dict[int, tuple[Field, str, str]] = {}

        def halve(number: int, start: int, stop: int) -> None:
            try:
                self._columns.column(number, records[start:stop])
            except FAULTS as error:
                if stop - start == 1:
                    field_ = self.definition.fields[number]
                    faults.setdefault(start, (field_, *_column_reason(field_, error)))
                    return
                middle = (start + stop) // 2
                halve(number, start, middle)
                halve(number, middle, stop)

        for number in range(len(self.definition.fields)):
            halve(number, 0, len(records))
        return faults

    def _rejected(self, number: int, field_: Field | None, code: str, reason: str, raw: Any) -> Rejected:
        where = f"record {number}"
        if field_ is not None:
            where += f', field "{field_.name}"'
            if field_.key != field_.name:
                where += f' (JSON key "{field_.key}")'
        return Rejected(number, field_.name if field_ else None, code, f"{where}: {reason}", bytes(raw))


def decompress(data: bytes, compression: str | None, limit: int) -> bytes:
    """The bytes inside `gz` (also of several members) or `zst`; what is not compressed is given back as it is.

    Raises FileRefused: `unreadable` when it is broken or cut short, `too_large` beyond `limit` bytes.
    """
    if compression is None:
        content = data
    else:
        codec = {"gz": "gzip", "zst": "zstd"}[compression]
        pieces: list[bytes] = []
        size = 0
        try:
            with pa.CompressedInputStream(pa.BufferReader(data), codec) as stream:
                while size <= limit and (piece := stream.read(_PIECE)):
                    pieces.append(piece)
                    size += len(piece)
        except OSError as error:
            raise FileRefused(f"its {codec} compression is broken: {error}", code="unreadable") from error
        content = b"".join(pieces)
    if len(content) > limit:
        raise FileRefused(f"it holds more than {limit} bytes; raise MAX_FILE_BYTES or split it", code="too_large")
    return content


def _text(data: bytes | memoryview) -> bytes:
    """The file's text without a byte-order mark; FileRefused `empty` when nothing is there."""
    text = bytes(data).removeprefix(_BOM)
    if not text or text.isspace():
        raise FileRefused("it is empty", code="empty")
    return text


def _runs(pending: list[_Pending], start: int, stop: int) -> Iterator[tuple[int, int, int]]:
    """Which records of which files stand in the rows from start to stop."""
    before = 0
    for file in pending:
        first, last = max(start - before, 0), min(stop - before, len(file.records))
        if first < last:
            yield file.index, first + 1, last - first
        before += len(file.records)


def _column_reason(field_: Field, error: Exception) -> tuple[str, str]:
    if isinstance(error, ColumnError):
        return error.code, str(error)
    if isinstance(error, msgspec.ValidationError):
        return "bad_timestamp", str(error).partition(" - at ")[0]
    if isinstance(error, msgspec.DecodeError | UnicodeError):
        return "bad_text", _bad_text(error)
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    kind = field_.type["type"] if isinstance(field_.type, dict) else field_.type
    return column_code(field_.type), f"Expected `{kind}`: {reason}"


def _bad_text(error: Exception) -> str:
    if isinstance(error, UnicodeDecodeError):
        return f"its text is no UTF-8: {error.reason}"
    return "its text holds half of a surrogate pair"
