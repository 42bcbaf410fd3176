"""`lemonade init`: make folders, database, tables and the two built-in types."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from watcher.app import App


@click.command()
@click.pass_obj
def init(app: App) -> None:
    """Make folders, database, tables' namespaces and the two built-in types. Safe to repeat."""
    from watcher.lock import acquire, daemon_pid

    if daemon_pid(app.settings) is not None:  # it holds the lock and has all this already; repeating adds nothing
        lines = app.init()
    else:
        with acquire(app.settings, "command", "init"):
            lines = app.init()
    for line in lines:
        click.echo(line)
    click.echo("ready; next: lemonade run")
