"""`lemonade quarantine replay`: put rejected records through today's schema."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from watcher.deeds.by_name import DaemonThread
from watcher.terminal.chosen_records import choosing, chosen_arguments
from watcher.terminal.output import JSON_OPTION
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
@click.option("--dry-run", is_flag=True, help="Show what would pass now, and change nothing.")
@JSON_OPTION
@click.pass_obj
def replay(
    app: App,
    /,
    records: tuple[str, ...],
    everything: bool,
    limit: int | None,
    dry_run: bool,
    as_json: bool,
    **chosen: Any,
) -> None:
    """Put rejected records through today's schema of their type; those that pass go into their table, once.

    RECORDs as `quarantine list` names them, or a choice by option. The others stay in the quarantine. Exit 1 when
    nothing was chosen by that, or nothing passed.
    """
    arguments = {**chosen_arguments(**chosen), "records": list(records), "all": everything, "limit": limit}
    if dry_run:
        from watcher.deeds.daemon_or_here import trial_of_replay

        told = trial_of_replay(app, arguments)
    else:
        from watcher.deeds.daemon_or_here import perform
        from watcher.deeds.replay import select

        select(app, arguments, must_choose=True)  # what makes no sense is said before anything is locked
        told = perform(app, "quarantine.replay", arguments)
    tell_taken(told, as_json)
    raise click.exceptions.Exit(int(not told["done"]))


def do(work: Work, arguments: dict[str, Any]) -> dict[str, Any]:
    """`records`, `limit` and what `watcher.deeds.replay.select` takes."""
    from watcher.deeds.replay import replay

    return replay(work, arguments)
