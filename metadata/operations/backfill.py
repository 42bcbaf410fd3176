"""The ledger of backfills: operations that put rescued values of old rows into the columns of their fields.

They change no file's books: its rows are as many as before, wherever they lie. Each method is one transaction; the
steps are explained in `processors.change.backfill`.
"""

from __future__ import annotations

from collections.abc import Mapping

from metadata.operations.base import OperationLedger, RemovedPart

KIND = "backfill"


class BackfillLedger(OperationLedger):
    """Backfills on the metadata database."""

    kinds = (KIND,)

    def plan(self, operation_id: str, *, file_type: str, table_name: str, schema_version: int) -> None:
        """Step 1: of which type."""
        row = self._planned(operation_id, KIND, file_type=file_type, table_name=table_name)
        row.schema_version = schema_version
        with self.database.writing() as session:
            session.add(row)

    def prepare(self, operation_id: str, part: RemovedPart, detail: Mapping[str, object]) -> None:
        """Step 3: data files that go and come, days, what changes in detail. May be said again, after a conflict."""
        with self.database.writing() as session:
            row = self._prepared(session, operation_id)
            row.removed_paths, row.added_paths = sorted(part.removed_paths), sorted(part.added_paths)
            row.event_days = sorted(day.isoformat() for day in part.event_days)
            row.detail = {"rows": part.rows, **detail}
