"""`lemonade settings`: the settings in effect."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from watcher.terminal.output import JSON_OPTION, print_json, print_table

if TYPE_CHECKING:
    from watcher.app import App


@click.command()
@JSON_OPTION
@click.pass_obj
def settings(app: App, as_json: bool) -> None:
    """The settings in effect, those that were changed marked; passwords are masked."""
    rows = app.settings.masked()
    if as_json:
        print_json([row._asdict() for row in rows])
        return
    lines = [{"variable": row.name, "value": row.value or None, "set": "" if row.is_default else "*"} for row in rows]
    print_table(["variable", "set", "value"], lines, "")
