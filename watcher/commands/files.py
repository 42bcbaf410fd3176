"""`lemonade files`: source files and their fate, newest last."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from watcher.terminal.choices import member
from watcher.terminal.output import JSON_OPTION, iso, print_json, print_table

if TYPE_CHECKING:
    from watcher.app import App


@click.command()
@click.argument("name", required=False)
@click.option("--type", "file_type", help="Only files of this type.")
@click.option("--state", help="Only files in this state: claimed, loaded, failed, …")
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True, help="The newest so many.")
@JSON_OPTION
@click.pass_obj
def files(app: App, name: str | None, file_type: str | None, state: str | None, limit: int, as_json: bool) -> None:
    """Source files and their fate, newest last; NAME: only files of that name. Exit 1 when there is none."""
    from metadata.database.states import FileState

    wanted = None if state is None else member(FileState, state, "state")
    rows = app.ledger.files(state=wanted, file_type=file_type, name=name, limit=limit, newest_first=True)[::-1]
    shown = [
        {
            "file_id": file.id,
            "name": file.name,
            "file_type": file.file_type,
            "state": file.state,
            "records": file.records,
            "rows": file.rows,
            "rejected": file.rejected,
            "bytes": file.size_bytes,
            "digest": file.digest,
            "batch_id": file.batch_id,
            "attempts": file.attempts,
            "noticed_by": file.noticed_by,
            "noticed_at": iso(file.noticed_at),
            "claimed_at": iso(file.claimed_at),
            "settled_at": iso(file.settled_at),
            "code": file.code,
            "message": file.message,
            "path": file.path,
        }
        for file in rows
    ]
    if as_json:
        print_json(shown)
    else:
        print_table(["name", "file_type", "state", "rows", "noticed_at", "batch_id", "code"], shown, "no such file")
    if not shown:
        raise click.exceptions.Exit(1)
