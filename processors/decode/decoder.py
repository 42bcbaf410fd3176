"""Bytes of source files → Arrow columns and rejected records; pure, no Spark.

A file is decoded in one pass into structs, a group of files becomes columns in one go. Only where that fails, the slow
way finds the record that is to blame: the file is split into raw records and each goes through the same record decoder;
and of a column that Arrow refused, the values that are at fault are looked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import compress, repeat
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from metadata.errors import FileRefused
from metadata.reject_codes import RejectCode
from metadata.types.config import UnknownFields
from metadata.types.definition import Definition
from processors.decode.column_faults import Fault, TooLarge, sound_columns
from processors.decode.columns import Columns
from processors.decode.decompress import text_of
from processors.decode.file_rejects import NO_LIMITS, RejectLimits, Rejects
from processors.decode.known_keys import KnownKeys
from processors.decode.records import DecodedStructs, RecordReader
from processors.decode.results import DecodedGroup, DecodedRecords, FileResult, RecordColumns

BATCH_ROWS = 50_000
BATCH_BYTES = 64 * 1024 * 1024
_DEFAULT_LIMITS = RejectLimits()

_Numbers = npt.NDArray[np.int64]


@dataclass
class _File:
    """A file that was read and whose columns are not built yet."""

    index: int
    name: str
    data: bytes
    lines: bool
    records: DecodedStructs
    rejects: Rejects
    raws: Sequence[Any] | None = None  #: its records as raw JSON, once they are needed


class _Rows(NamedTuple):
    """Rows of a group of files: of each its rescued JSON, its file's place in the group and its record's number."""

    rescued: list[str | None] | None  #: None: nothing is
    files: _Numbers
    numbers: _Numbers

    def chosen(self, which: slice | npt.NDArray[np.bool_]) -> _Rows:
        """Some of them."""
        rescued = self.rescued
        if rescued is not None:
            rescued = rescued[which] if isinstance(which, slice) else list(compress(rescued, which))
        return _Rows(rescued, self.files[which], self.numbers[which])

    def of_file(self, place: int) -> range:
        """Those of one file: they stand together."""
        return range(*np.searchsorted(self.files, [place, place + 1]).tolist())


_Built = tuple[list[pa.Array], pa.Array | None, _Rows]
"""The definition's columns and the rescued one of these rows."""


class Decoder:
    """Decodes the source files of one type; makes its structs and decoders once, so keep it.

    `keys` name the type inside a document: its file type, its table's name without namespace, its patterns. With
    `known`, `decode_many` rejects records whose primary key is there already, and adds those of the others.
    """

    def __init__(
        self,
        definition: Definition,
        keys: Sequence[str],
        *,
        unknown_fields: UnknownFields = UnknownFields.RESCUE,
        limits: RejectLimits = _DEFAULT_LIMITS,
        known: KnownKeys | None = None,
    ) -> None:
        self.definition = definition
        self._known = known
        self._limits = limits
        self._reader = RecordReader(definition, keys, unknown_fields)
        self._columns = Columns(definition)

    def decode_records(self, raws: Sequence[bytes]) -> DecodedRecords:
        """Single records, each as it stood in a file: every one is judged as it would be there.

        Their columns must fit in memory, and none exceed 2 GiB.
        """
        rejects = Rejects(NO_LIMITS, len(raws))
        file = _File(0, "", b"", False, self._reader.read_each(raws, rejects), rejects, raws)
        columns, rescued, rows = self._whole(file)
        return DecodedRecords(columns, rescued, (rows.numbers - 1).tolist(), rejects.rejected())

    def decode_many(self, files: Iterable[tuple[str, bytes, bool]]) -> DecodedGroup:
        """Many files, each as (name, bytes, whether JSON lines): the way to decode what goes into one partition.

        The files are taken one after another, so an iterator keeps few of them in memory. The good records of a file
        are in the batches, unless it is refused or holds more rejected ones than the limits allow; its `FileResult`
        says why.
        """
        group = DecodedGroup()
        pending: list[_File] = []
        rows = size = 0
        for index, (name, data, lines) in enumerate(files):
            group.files.append(FileResult())
            try:
                file = self._read(index, name, data, lines)
            except FileRefused as refused:
                group.files[index].refused = refused
                continue
            pending.append(file)
            rows, size = rows + len(file.records.structs), size + len(file.data)
            if rows >= BATCH_ROWS or size >= BATCH_BYTES:
                self._flush(group, pending)
                pending, rows, size = [], 0, 0
        self._flush(group, pending)
        return group

    def _read(self, index: int, name: str, given: bytes, lines: bool) -> _File:
        data, limits = text_of(given), self._limits
        records = self._reader.read(data, lines)
        if records is not None:
            return _File(index, name, data, lines, records, Rejects(limits, len(records.structs)))
        raws = self._reader.split(data, lines)
        rejects = Rejects(limits, len(raws))
        return _File(index, name, data, lines, self._reader.read_each(raws, rejects), rejects, raws)

    def _flush(self, group: DecodedGroup, files: list[_File]) -> None:
        """Columns and results of these files."""
        built = list(self._build(files))
        if self._known is not None:
            built = self._without_known(self._known, files, built)
        for file in files:
            rejects = file.rejects
            result = group.files[file.index]
            result.records = rejects.records
            result.rejected, result.rejected_count = rejects.rejected(), rejects.count
            result.reasons, result.over_limit = rejects.reasons(), rejects.over_limit
            result.unknown = file.records.unknown.most_frequent()
        over = [place for place, file in enumerate(files) if file.rejects.over_limit]
        for columns, rescued, rows in built:
            if over:
                kept = np.isin(rows.files, over, invert=True)
                columns = [column.filter(pa.array(kept)) for column in columns]
                rows, rescued = rows.chosen(kept), _filtered(rescued, kept)
            if len(rows.numbers):
                group.batches.append(RecordColumns(columns, _runs(files, rows), rescued))

    def _without_known(self, known: KnownKeys, files: Sequence[_File], built: Sequence[_Built]) -> list[_Built]:
        """Reject records whose key is there already; of a file that is over its limits by then, none is there."""
        keys = [known.keys(columns) for columns, _, _ in built]
        kept = [np.ones(len(rows.numbers), bool) for _, _, rows in built]
        for place, file in enumerate(files):
            if file.rejects.over_limit:
                continue
            spots = [(part, row) for part, (_, _, rows) in enumerate(built) for row in rows.of_file(place)]
            look = known.look(
                [keys[part][row] for part, row in spots], [int(built[part][2].numbers[row]) for part, row in spots]
            )
            for position, where in look.there.items():
                part, row = spots[position]
                kept[part][row] = False
                self._reject(files, built[part][2], {row: known.fault(built[part][0], row, where)})
            if not file.rejects.over_limit:
                known.add(look.new, file.name)
        return [
            ([column.filter(pa.array(mask)) for column in columns], _filtered(rescued, mask), rows.chosen(mask))
            for (columns, rescued, rows), mask in zip(built, kept, strict=True)
        ]

    def _whole(self, file: _File) -> _Built:
        """The columns of one file, in one piece."""
        built = list(self._build([file]))
        if len(built) == 1:
            return built[0]
        columns = [pa.concat_arrays(parts) for parts in zip(*(columns for columns, _, _ in built), strict=True)]
        rescued = None
        if any(each is not None for _, each, _ in built):
            rescued = pa.concat_arrays(
                [pa.nulls(len(rows.numbers), pa.string()) if each is None else each for _, each, rows in built]
            )
        numbers = [number for _, _, rows in built for number in rows.numbers.tolist()]
        rows = _Rows(None, np.zeros(len(numbers), np.int64), np.array(numbers, np.int64))
        return columns or self._columns.build([]), rescued, rows

    def _build(self, files: Sequence[_File]) -> Iterator[_Built]:
        """The columns of these files, about BATCH_ROWS or BATCH_BYTES at a time; rejects what does not fit in them."""
        structs = [struct for file in files for struct in file.records.structs]
        if not structs:
            return
        rows = _rows(files)
        size = sum(len(file.data) for file in files)
        count = max(1, round(len(structs) / BATCH_ROWS), min(len(structs), size // BATCH_BYTES))
        step = -(-len(structs) // count)
        for start in range(0, len(structs), step):
            part = slice(start, start + step)
            yield from self._build_part(files, structs[part], rows.chosen(part))

    def _build_part(self, files: Sequence[_File], structs: Sequence[Any], rows: _Rows) -> Iterator[_Built]:
        try:
            rescued = None if rows.rescued is None else _strings(rows.rescued)
            columns, faults = sound_columns(self._columns, structs)
        except TooLarge:
            middle = len(structs) // 2
            if middle:
                yield from self._build_part(files, structs[:middle], rows.chosen(slice(middle)))
                yield from self._build_part(files, structs[middle:], rows.chosen(slice(middle, None)))
                return
            self._reject(files, rows, {0: Fault(None, RejectCode.OUT_OF_RANGE, "it holds more than 2 GiB")})
            return
        if faults:
            self._reject(files, rows, faults)
            sound = np.ones(len(structs), bool)
            sound[list(faults)] = False
            rows, rescued = rows.chosen(sound), _filtered(rescued, sound)
        yield columns, rescued, rows

    def _reject(self, files: Sequence[_File], rows: _Rows, faults: dict[int, Fault]) -> None:
        for row, fault in sorted(faults.items()):
            file, number = files[rows.files[row]], int(rows.numbers[row])
            if file.raws is None:
                file.raws = self._reader.split(file.data, file.lines)
            file.rejects.add(number, *fault, file.raws[number - 1])


def _rows(files: Sequence[_File]) -> _Rows:
    counts = [len(file.records.structs) for file in files]
    rescued = None
    if any(file.records.rescued for file in files):
        rescued = [text for file in files for text in file.records.rescued or repeat(None, len(file.records.structs))]
    numbers = [
        np.arange(numbers.start, numbers.stop) if isinstance(numbers, range) else np.array(numbers, np.int64)
        for numbers in (file.records.numbers for file in files)
    ]
    return _Rows(rescued, np.repeat(np.arange(len(files)), counts), np.concatenate(numbers))


def _runs(files: Sequence[_File], rows: _Rows) -> list[tuple[int, int, int]]:
    """Which records of which files the rows are, as runs of consecutive numbers."""
    breaks = (np.diff(rows.files) != 0) | (np.diff(rows.numbers) != 1)
    starts = np.concatenate([[0], np.flatnonzero(breaks) + 1])
    counts = np.diff(np.concatenate([starts, [len(rows.numbers)]]))
    return [
        (files[place].index, number, count)
        for place, number, count in zip(
            rows.files[starts].tolist(), rows.numbers[starts].tolist(), counts.tolist(), strict=True
        )
    ]


def _filtered(array: pa.Array | None, which: npt.NDArray[np.bool_]) -> pa.Array | None:
    return None if array is None else array.filter(pa.array(which))


def _strings(texts: list[str | None]) -> pa.Array:
    try:
        array = pa.array(texts, pa.string())
    except pa.ArrowException as error:
        raise TooLarge from error
    if isinstance(array, pa.ChunkedArray):
        raise TooLarge
    return array
