"""`lemonade types list`: every type, with its status."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from watcher.terminal.output import JSON_OPTION, print_json, print_table, shown
from watcher.terminal.types_files import patterns_text

if TYPE_CHECKING:
    from watcher.app import App


@click.command("list")
@JSON_OPTION
@click.pass_obj
def list_(app: App, as_json: bool) -> None:
    """Every type, with its status and what is wrong with broken ones."""
    rows = app.registry.describe()
    if as_json:
        print_json(rows)
        return
    lines = [
        {
            "type": row["file_type"],
            "status": "broken" if row["faults"] else row["status"],
            "table": row["table_name"],
            "patterns": patterns_text(row),
            "version": row["schema_version"],
            "description": row["description"],
        }
        for row in rows
    ]
    print_table(
        ["type", "status", "table", "patterns", "version", "description"], lines, "no types; run: lemonade init"
    )
    for row in rows:
        for fault in row["faults"]:
            click.echo(f"broken: {shown(row['file_type'])}: {shown(fault)}")
