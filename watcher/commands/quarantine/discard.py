"""`lemonade quarantine discard`: throw rejected records away."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from metadata.errors import UsageError
from watcher.deeds.by_name import DaemonThread
from watcher.terminal.chosen_records import choosing, chosen_arguments
from watcher.terminal.output import JSON_OPTION, shown
from watcher.terminal.taken_records import tell_taken

if TYPE_CHECKING:
    from watcher.app import App
    from watcher.work.work import Work

DONE_BY = DaemonThread.BATCHES


@click.command()
@click.argument("records", nargs=-1, metavar="[RECORD]...")
@choosing
@click.option("--all", "everything", is_flag=True, help="Every rejected record.")
@click.option("--limit", type=click.IntRange(min=1), help="At most so many of them.")
@click.option("--yes", is_flag=True, help="Do not ask first.")
@JSON_OPTION
@click.pass_obj
def discard(
    app: App, /, records: tuple[str, ...], everything: bool, limit: int | None, yes: bool, as_json: bool, **chosen: Any
) -> None:
    """Throw rejected records away. The table keeps older snapshots for a while, their files stay in processed/.

    RECORDs as `quarantine list` names them, or a choice by option. Exit 1 when nothing was chosen by that.
    """
    from watcher.deeds.replay import count, shown_totals

    arguments = {**chosen_arguments(**chosen), "records": list(records), "all": everything, "limit": limit}
    totals = count(app, arguments)
    number = sum(row["records"] for row in totals)
    if number and not yes:
        what = f"{number} rejected record{'' if number == 1 else 's'} ({shown(shown_totals(totals))})"
        what = what if limit is None or limit >= number else f"{limit} of {what}"
        if not sys.stdin.isatty():
            raise UsageError(f"discarding {what}: they are gone then; without a terminal, say --yes")
        click.confirm(f"Throw {what} away?", abort=True, err=True)
    from watcher.deeds.daemon_or_here import perform

    told = perform(app, "quarantine.discard", arguments)
    tell_taken(told, as_json)
    raise click.exceptions.Exit(int(not told["done"]))


def do(work: Work, arguments: dict[str, Any]) -> dict[str, Any]:
    """`records`, `limit` and what `watcher.deeds.replay.select` takes."""
    from watcher.deeds.replay import discard

    return discard(work, arguments)
