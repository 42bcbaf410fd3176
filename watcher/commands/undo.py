"""`lemonade undo`: take back exactly what one file or one batch has loaded."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from metadata.errors import UsageError
from watcher.deeds.by_name import DaemonThread
from watcher.terminal.output import JSON_OPTION, print_json, shown

if TYPE_CHECKING:
    from watcher.app import App
    from watcher.work.work import Work

DONE_BY = DaemonThread.BATCHES


@click.command()
@click.argument("target", metavar="FILE_OR_BATCH")
@click.option("--yes", is_flag=True, help="Do not ask first.")
@JSON_OPTION
@click.pass_obj
def undo(app: App, target: str, yes: bool, as_json: bool) -> None:
    """Take out exactly the rows that a file (name, path or id) or a micro-batch (id) has loaded, in one snapshot.

    Its rejected records leave the quarantine, what was replayed of them the table. Whatever came later stays. The file
    goes to undone/, its days are summarised again; what it had replaced is loaded again. Done twice it changes nothing.
    Exit 1 when nothing of it is loaded.
    """
    from watcher.deeds.undo import answer, look

    asked = look(app, target)
    if not asked.files:
        told = answer(asked, [])
    else:
        if not yes:
            _ask(asked.what, asked.rows, asked.quarantined, asked.batch.table_name if asked.batch else "its table")
        from watcher.deeds.daemon_or_here import perform

        told = perform(app, "undo", {"target": asked.target})
    _tell(told, as_json)
    raise click.exceptions.Exit(0 if told["undone"] or told["done_before"] else 1)


def do(work: Work, arguments: dict[str, Any]) -> dict[str, Any]:
    """`target`: the id of a file or a micro-batch."""
    from watcher.deeds.undo import undo

    return undo(work, arguments)


def _ask(what: str, rows: int, quarantined: int, table: str) -> None:
    rejected = f" and {quarantined} rejected records out of the quarantine" if quarantined else ""
    if not sys.stdin.isatty():
        raise UsageError(
            f"undoing {what}: it takes {rows} rows out of {table}{rejected}; without a terminal, say --yes"
        )
    click.confirm(f"Take {rows} rows of {shown(what)} out of {table}{rejected}?", abort=True, err=True)


def _tell(told: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(told)
        return
    if not told["undone"]:
        click.echo(shown(told["why_not"]))
        return
    rejected = f" and {told['quarantine_rows']} rejected records" if told["quarantine_rows"] else ""
    click.echo(f"undone: {shown(told['what'])}, {told['rows']} rows out of {told['table']}{rejected}")
    click.echo(f"snapshot {told['snapshot_id']}, operation {told['operation_id']}")
    if told["days"]:
        click.echo(f"to be summarised again: {', '.join(told['days'])} (lemonade summarize)")
    for file in told["loaded_again"]:
        click.echo(f"it had replaced {shown(file['name'])} ({file['file_id']}), which is {file['state']} again")
