"""`lemonade batches`: micro-batches and their snapshots, newest last."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from watcher.terminal.choices import member
from watcher.terminal.output import JSON_OPTION, iso, print_json, print_table

if TYPE_CHECKING:
    from watcher.app import App


@click.command()
@click.option("--type", "file_type", help="Only batches of this type.")
@click.option("--state", help="Only batches in this state: planned, prepared, committed, settled, abandoned.")
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True, help="The newest so many.")
@JSON_OPTION
@click.pass_obj
def batches(app: App, file_type: str | None, state: str | None, limit: int, as_json: bool) -> None:
    """Micro-batches and their snapshots, newest last. Exit 1 when there is none."""
    from metadata.database.states import BatchState

    wanted = None if state is None else member(BatchState, state, "state")
    shown = [
        {
            "batch_id": batch.id,
            "file_type": batch.file_type,
            "table": batch.table_name,
            "state": batch.state,
            "reason": batch.reason,
            "flush_id": batch.flush_id,
            "schema_version": batch.schema_version,
            "files": batch.files,
            "bytes": batch.bytes,
            "records": batch.records,
            "rows": batch.expected_rows,
            "rejected": batch.rejected,
            "snapshot_id": batch.snapshot_id,
            "attempts": batch.attempts,
            "planned_at": iso(batch.planned_at),
            "committed_at": iso(batch.committed_at),
            "settled_at": iso(batch.settled_at),
            "error": batch.error,
        }
        for batch in app.ledger.batches(file_type=file_type, state=wanted, limit=limit)[::-1]
    ]
    if as_json:
        print_json(shown)
    else:
        columns = ["batch_id", "table", "state", "reason", "files", "rows", "rejected", "snapshot_id", "planned_at"]
        print_table(columns, shown, "no batches yet")
    if not shown:
        raise click.exceptions.Exit(1)
