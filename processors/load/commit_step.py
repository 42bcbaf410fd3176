"""Step 4 of a micro-batch: its data files into the quarantine's table (4a), then into its type's table (4b), once each.

Both are walked in the same way, after a fault and by recovery alike: has it landed? Then it is left as it is, else it
is committed from the paths that Prepare brought on record. Nothing is sent to a table for which no rows are expected.

A batch that replaces earlier loads sends one `overwrite` to each table that has rows of them: those go out, its own
come in. After a fault it is prepared again from the table as it is then.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from metadata.database.models import Batch, SourceFile
from metadata.errors import TypeStopped
from metadata.ledger.ledger import Ledger
from metadata.operations.undo import UndoLedger
from metadata.outage import Outage
from processors.lake import quarantine_table as quarantine
from processors.lake.commits import BATCH_ID
from processors.lake.lake import Lake
from processors.lake.landing import LandingState
from processors.rewrite.removal import check_rows, find_rest, prepare, rows_in
from processors.rewrite.rewriter import Rest, Rewriter
from processors.rewrite.which_rows import LoadedRows

if TYPE_CHECKING:
    from pyiceberg.manifest import DataFile


@dataclass
class TablePart:
    """What a batch does to one of its two tables."""

    table_name: str
    rows: int  #: that it adds
    data_files: Sequence[DataFile] | None = None  #: None: the recorded paths are committed, if they have not landed
    rest: Rest | None = None  #: what takes replaced loads out
    is_over: bool = False
    snapshot_id: int | None = None  #: once it is over; None when nothing had to be sent


@dataclass
class Prepared:
    """What Commit needs of the steps before it."""

    table: TablePart
    quarantine: TablePart
    time_field: str | None  #: whose days are marked when replaced loads go out

    @classmethod
    def from_record(cls, batch: Batch, time_field: str | None) -> Prepared:
        """As the ledger has it."""
        return cls(
            TablePart(batch.table_name, batch.expected_rows or 0),
            TablePart(quarantine.TABLE, batch.quarantine_rows or 0),
            time_field,
        )

    @property
    def parts(self) -> tuple[TablePart, TablePart]:
        """In the order in which they are committed: 4a, 4b."""
        return self.quarantine, self.table

    def forget_data_files(self) -> None:
        """An attempt has failed: the next one asks the tables first."""
        for part in self.parts:
            part.data_files = None


class Committer:
    """Commits prepared batches; while the world is away it waits, at each table anew."""

    def __init__(self, ledger: Ledger, lake: Lake, operations: UndoLedger, rewriter: Rewriter, outage: Outage) -> None:
        self.ledger = ledger
        self.lake = lake
        self.operations = operations
        self.rewriter = rewriter
        self.outage = outage

    def commit(self, batch: Batch, prepared: Prepared) -> None:
        """One attempt; what is over is told by the parts, and a later attempt passes it by.

        Raises UnknownOutcome and BatchFault (try again), TypeStopped when a table needs a person.
        """
        replacement = self.outage.wait_out(self.ledger.replacement, batch.id)
        replaced = replacement[1] if replacement else []
        for part in prepared.parts:
            if not part.is_over:
                self._commit_part(batch, part, replaced, prepared.time_field)

    def write_rests(self, batch: Batch, prepared: Prepared, replaced: Sequence[SourceFile]) -> None:
        """The end of step 2 of a batch that replaces loads: find their rows, write again what holds others too.

        Raises TypeStopped when a table does not hold the rows that the ledger says.
        """
        for part in prepared.parts:
            if rows_in(part.table_name, replaced):
                part.rest = self.outage.wait_out(self._find, part, replaced, prepared.time_field)
                self._bring_on_record(batch, part, replaced, part.rest)

    def landing(self, batch: Batch, table_name: str) -> tuple[LandingState, int | None, list[str]]:
        """Whether a prepared batch is in one of its tables, its snapshot there, and its data files."""
        paths = self.ledger.data_file_paths(batch.id, table_name)
        landing = self.lake.landed(table_name, batch.id, paths)
        return landing.state, landing.snapshot_id, paths

    def _commit_part(
        self, batch: Batch, part: TablePart, replaced: Sequence[SourceFile], time_field: str | None
    ) -> None:
        def send() -> int | None:
            if rows_in(part.table_name, replaced):
                return self._replace(batch, part, replaced, time_field)
            if part.rows == 0:
                return None
            if part.data_files is None:
                return self._commit_recorded(batch, part)
            return self.lake.append(part.table_name, batch.id, part.data_files, _properties(batch)).snapshot_id

        part.snapshot_id = self.outage.wait_out(send)
        part.is_over = True

    def _commit_recorded(self, batch: Batch, part: TablePart) -> int | None:
        state, snapshot_id, paths = self._landing_or_stop(batch, part.table_name)
        if state is LandingState.LANDED:
            return snapshot_id
        return self.lake.append_paths(part.table_name, batch.id, paths, _properties(batch)).snapshot_id

    def _replace(
        self, batch: Batch, part: TablePart, replaced: Sequence[SourceFile], time_field: str | None
    ) -> int | None:
        """One overwrite that takes the rows of earlier loads out of a table and puts the batch's in."""
        data_files, rest = part.data_files, part.rest
        if data_files is None or rest is None:
            if part.rows:
                state, snapshot_id, paths = self._landing_or_stop(batch, part.table_name)
                if state is LandingState.LANDED:
                    return snapshot_id
                data_files = self.lake.described(part.table_name, paths)
            else:  # it brings nothing to look for: that nothing is left of what goes out says that it has landed
                if (landed := self.lake.operation_landed(part.table_name, batch.id)) is not None:
                    return landed
                data_files = []
            rest = self._find(part, replaced, time_field)
            if not part.rows and rest.rows == 0:
                return None
            self._bring_on_record(batch, part, replaced, rest)
        properties = {**_properties(batch), BATCH_ID: batch.id}
        added = [*rest.added, *data_files]
        return self.lake.overwrite(part.table_name, "replace", batch.id, rest.removed, added, properties)

    def _landing_or_stop(self, batch: Batch, table_name: str) -> tuple[LandingState, int | None, list[str]]:
        state, snapshot_id, paths = self.landing(batch, table_name)
        if state is LandingState.HISTORY_CUT:
            raise TypeStopped(
                f"committing batch {batch.id} to {table_name}: the table's history was cut and the batch is not in it, "
                "so nobody can tell whether it was loaded; compare the table with `lemonade batches`, bring its "
                "snapshot back, then restart",
                code="history_cut",
            )
        return state, snapshot_id, paths

    # -- loads that are replaced ---------------------------------------------------------------------------------------

    def _find(self, part: TablePart, replaced: Sequence[SourceFile], time_field: str | None) -> Rest:
        """What takes the replaced rows out of a table as it is now."""
        files = [file for file in replaced if rows_in(part.table_name, [file])]
        loaded = LoadedRows.from_files(files)
        return find_rest(self.rewriter, part.table_name, files, loaded, time_field, self.operations.days_of(files))

    def _bring_on_record(self, batch: Batch, part: TablePart, replaced: Sequence[SourceFile], rest: Rest) -> None:
        check_rows(part.table_name, replaced, rest)
        if part.table_name == quarantine.TABLE:
            self.outage.wait_out(prepare, self.operations, batch.id, None, rest)
        else:
            self.outage.wait_out(prepare, self.operations, batch.id, rest)


def _properties(batch: Batch) -> dict[str, str]:
    """What the snapshot's summary says beside the batch id."""
    return {
        "lemonade.flush-id": batch.flush_id,
        "lemonade.file-type": batch.file_type,
        "lemonade.files": str(batch.files),
    }
