"""`lemonade summarize`: build the daily summary now."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from metadata.errors import UsageError
from watcher.deeds.by_name import DaemonThread
from watcher.terminal.output import JSON_OPTION, print_json, print_table

if TYPE_CHECKING:
    from watcher.app import App
    from watcher.work.work import Work

_DAY = click.DateTime(formats=["%Y-%m-%d"])

DONE_BY = DaemonThread.SUMMARY


@click.command()
@click.argument("day", type=_DAY, required=False, metavar="[DAY]")
@click.option("--from", "first", type=_DAY, metavar="DAY", help="First day (UTC).")
@click.option("--to", "last", type=_DAY, metavar="DAY", help="Last day (UTC); without it, the first day alone.")
@JSON_OPTION
@click.pass_obj
def summarize(app: App, day: datetime | None, first: datetime | None, last: datetime | None, as_json: bool) -> None:
    """Build the summary of DAY, of a range of days, or without either of every day whose rows changed since."""
    from watcher.deeds.daemon_or_here import perform

    if day is not None and (first is not None or last is not None):
        raise UsageError("summarizing: give a day, or --from and --to, not both")
    if last is not None and first is None:
        raise UsageError("summarizing: --to needs --from")
    arguments: dict[str, Any] = {}
    if (start := day or first) is not None:
        arguments = {"from": start.date().isoformat(), "to": (day or last or start).date().isoformat()}
    answer = perform(app, "summarize", arguments)
    if as_json:
        print_json(answer)
        return
    rows = [
        {"table": table["table"], "day": when, "rows": count, "snapshot_id": table["snapshot_id"]}
        for table in answer["tables"]
        for when, count in table["days"].items()
    ]
    print_table(["table", "day", "rows", "snapshot_id"], rows, "no day has changed since its summary")


def do(work: Work, arguments: dict[str, Any]) -> dict[str, Any]:
    """`from` and `to`: days; without them every day whose rows changed since its summary."""
    from watcher.deeds.summarize import summarize

    return summarize(work, arguments)
