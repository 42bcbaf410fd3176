"""The audit of tables: each has the rows of every file and micro-batch that the ledger says it has, and no others."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from metadata.database.engine import Database
from metadata.database.states import FileState
from metadata.errors import TypeStopped
from metadata.ledger.books import BatchRow, Books, FileRow, known_batches, known_files
from metadata.types.file_type import FileType
from processors.lake.quarantine_table import TABLE as QUARANTINE
from processors.read.findings import Audit, Code
from processors.read.lineage import Lineage, LineageReader, Pair

_MOST_FILES_TOLD = 3  # of a batch whose rows are gone altogether
_HAVE_ROWS = frozenset({FileState.LOADED, FileState.MISSING})  # a missing file's row keeps what it had loaded before


class _BatchCommit(NamedTuple):
    """What a batch added to one table."""

    batch: BatchRow
    rows: int
    snapshot_id: int | None


class TablesAudit:
    """Compares tables with one look at the books."""

    def __init__(self, audit: Audit, books: Books, database: Database, reader: LineageReader) -> None:
        self.audit = audit
        self.books = books
        self.database = database
        self.reader = reader

    def compare(self, kinds: Sequence[FileType]) -> None:
        """Note what differs in the tables of these types, in the quarantine, and in tables that batches went to."""
        kinds = [kind for kind in kinds if kind.definition is not None]
        batches = self.books.batches.values()
        loaded = {batch.table_name for batch in batches if batch.expected_rows}
        expected = self._expected()
        for name in sorted(loaded | {kind.table_name for kind in kinds}):
            self._table(name, expected[name], must_exist=name in loaded)
        self._table(QUARANTINE, expected[QUARANTINE], must_exist=any(batch.quarantine_rows for batch in batches))
        summaries = {table for kind in kinds if (table := kind.summary_table)}
        for name in sorted(summaries):
            self._table(name, None, must_exist=False)

    def _expected(self) -> dict[str, Counter[Pair]]:
        """By table: the rows of each batch and file that must be there."""
        expected: dict[str, Counter[Pair]] = defaultdict(Counter)
        for file in self.books.files:
            batch = self.books.batches.get(file.batch_id or "")
            if file.state in _HAVE_ROWS and batch is not None and not self.books.in_work(file):
                expected[batch.table_name][(batch.id, file.id)] = file.rows_in_table
                if file.rejected:
                    expected[QUARANTINE][(batch.id, file.id)] = file.rows_in_quarantine
        return expected

    def _table(self, name: str, expected: Counter[Pair] | None, *, must_exist: bool) -> None:
        """Compare one table with the rows it must have; None: only its data files are looked at."""
        commits = self._commits(name)
        try:
            lineage = self.reader.read(name)
        except TypeStopped as broken:
            self.audit.find(Code.TABLE_BROKEN, f"table {name}", "its own files", broken.message)
            return
        if lineage is None:
            if must_exist and any(commit.rows and commit.batch.state == "settled" for commit in commits):
                rows = sum((expected or {}).values())
                self.audit.find(Code.TABLE_MISSING, f"table {name}", f"{rows} rows", "no table")
            return
        self.audit.tables += 1
        self.audit.data_files += lineage.data_files
        for bad in lineage.bad:
            self.audit.find(Code(bad.code), f"data file {bad.path} of {name}", f"{bad.rows} rows", bad.found)
        gone = self._snapshots(name, lineage, commits)
        if expected is not None:
            self._rows(name, expected, lineage, gone)

    def _commits(self, name: str) -> list[_BatchCommit]:
        """What batches that are over added to a table; to the quarantine any batch may have."""
        is_quarantine = name == QUARANTINE
        return [
            _BatchCommit(batch, batch.quarantine_rows or 0, batch.quarantine_snapshot_id)
            if is_quarantine
            else _BatchCommit(batch, batch.expected_rows or 0, batch.snapshot_id)
            for batch in self.books.batches.values()
            if not batch.in_work and (is_quarantine or batch.table_name == name)
        ]

    def _snapshots(self, name: str, lineage: Lineage, commits: list[_BatchCommit]) -> set[str]:
        """Snapshots of settled batches and operations that were rolled back; the ids of those batches."""
        gone = set()
        for batch, rows, snapshot_id in commits:
            if snapshot_id in lineage.rolled_back:
                gone.add(batch.id)
                thing = f"snapshot {snapshot_id} of batch {batch.id} in {name}"
                self.audit.find(Code.SNAPSHOT_GONE, thing, f"{rows} rows in the table's history", "rolled back")
        for operation in self.books.operations:
            snapshot_id = operation.quarantine_snapshot_id if name == QUARANTINE else operation.snapshot_id
            is_here = name in (operation.table_name, QUARANTINE)
            if is_here and not operation.in_work and snapshot_id in lineage.rolled_back:
                thing = f"snapshot {snapshot_id} of {operation.kind} {operation.id} in {name}"
                self.audit.find(Code.SNAPSHOT_GONE, thing, "it in the table's history", "rolled back")
        return gone

    def _rows(self, name: str, expected: Counter[Pair], lineage: Lineage, gone: set[str]) -> None:
        lost = _LostRows(gone, lineage)
        short: dict[str | None, list[tuple[str | None, int, int]]] = defaultdict(list)
        for (batch_id, file_id), rows in expected.items():
            found = lineage.pairs.get((batch_id, file_id), 0)
            if name == QUARANTINE:
                self.audit.rejected += min(rows, found)
            else:
                self.audit.rows += min(rows, found)
            if found < rows:
                short[batch_id].append((file_id, rows, found))
            elif found > rows:
                self.audit.find(Code.ROWS_EXTRA, _rows_of(file_id, batch_id, name), f"{rows} rows", f"{found} rows")
        for batch_id, files in short.items():
            self._short(name, batch_id, files, lost)
        self._strangers(name, expected, lineage)

    def _short(
        self, name: str, batch_id: str | None, files: list[tuple[str | None, int, int]], lost: _LostRows
    ) -> None:
        """A batch has fewer rows than it must have: unless a finding says why already, each file is told."""
        rows = sum(rows for _, rows, _ in files)
        found = sum(found for _, _, found in files)
        if lost.explains(batch_id, rows - found):
            return
        if found == 0 and len(files) > _MOST_FILES_TOLD:
            of = f"{rows} rows of {len(files)} files"
            self.audit.find(Code.ROWS_MISSING, f"batch {batch_id} in {name}", of, "0 rows")
            return
        for file_id, its_rows, its_found in files:
            thing = _rows_of(file_id, batch_id, name)
            self.audit.find(Code.ROWS_MISSING, thing, f"{its_rows} rows", f"{its_found} rows")

    def _strangers(self, name: str, expected: Counter[Pair], lineage: Lineage) -> None:
        """Rows that nobody expects here."""
        strangers = {pair: rows for pair, rows in lineage.pairs.items() if pair not in expected}
        files = known_files(self.database, {file_id for _, file_id in strangers if file_id})
        batches = known_batches(self.database, {batch_id for batch_id, _ in strangers if batch_id})
        by_id = {file.id: file for file in self.books.files}
        unknown: Counter[str] = Counter()
        for (batch_id, file_id), rows in strangers.items():
            if batch_id not in batches:
                unknown[f"rows of batch {batch_id} in {name}"] += rows
            elif file_id not in files:
                unknown[f"rows of file {file_id} in {name}"] += rows
            elif file_id in by_id and not self._on_its_way(str(batch_id), by_id[file_id]):
                thing, state = _rows_of(file_id, batch_id, name), by_id[file_id].state
                self.audit.find(Code.ROWS_EXTRA, thing, f"0 rows, for it is {state}", f"{rows} rows")
        for thing, rows in unknown.items():
            self.audit.find(Code.ROWS_UNKNOWN, thing, "none", f"{rows} rows")

    def _on_its_way(self, batch_id: str, file: FileRow) -> bool:
        batch = self.books.batches.get(batch_id)
        return self.books.in_work(file) or (batch is not None and batch.in_work)


class _LostRows:
    """What other findings have said of lost rows, so that each cause is told once."""

    def __init__(self, gone: set[str], lineage: Lineage) -> None:
        self.gone = gone
        self.bad_rows: Counter[str | None] = Counter()
        for bad in lineage.bad:
            self.bad_rows[bad.batch_id] += bad.rows

    def explains(self, batch_id: str | None, rows: int) -> bool:
        """Whether a rolled-back snapshot or a lost data file accounts for `rows` missing rows of a batch."""
        return batch_id in self.gone or rows <= self.bad_rows[batch_id] + self.bad_rows[None]


def _rows_of(file_id: str | None, batch_id: str | None, name: str) -> str:
    return f"rows of file {file_id}, batch {batch_id}, in {name}"
