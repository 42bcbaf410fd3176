"""`lemonade quarantine list`: rejected records that wait, newest first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from watcher.terminal.chosen_records import choosing, chosen_arguments, listed_record
from watcher.terminal.output import JSON_OPTION, iso, print_json, print_table

if TYPE_CHECKING:
    from watcher.app import App

_MESSAGE_WIDTH = 80


@click.command("list")
@choosing
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True, help="The newest so many.")
@click.option("--summary", is_flag=True, help="Only count them, by type, code and field.")
@JSON_OPTION
@click.pass_obj
def list_(app: App, /, limit: int, summary: bool, as_json: bool, **chosen: Any) -> None:
    """Rejected records that wait, newest first, each with the name by which `show` takes it. Exit 1: there is none."""
    from processors.change.chosen_records import RejectedRecords
    from watcher.deeds.replay import select

    records = RejectedRecords(app.lake())
    selection = select(app, chosen_arguments(**chosen), must_choose=False)
    if summary:
        totals = [{**row, "first": iso(row["first"]), "last": iso(row["last"])} for row in records.totals(selection)]
        total = sum(row["records"] for row in totals)
        if as_json:
            print_json({"total": total, "totals": totals})
        else:
            print_table(["file_type", "code", "field", "records", "first", "last"], totals, "no rejected record")
        raise click.exceptions.Exit(int(not totals))
    found, total = records.newest(selection, limit)
    rows = [listed_record(row) for row in found]
    if as_json:
        print_json({"total": total, "records": rows})
    else:
        cells = [{**row, "message": _short(row["message"])} for row in rows]
        columns = ["record", "file_type", "code", "field", "rejected_at", "file", "message"]
        print_table(columns, cells, "no rejected record")
        if total > len(rows):
            click.echo(f"{len(rows)} of {total} records; --limit shows more, --summary counts them")
    raise click.exceptions.Exit(int(not rows))


def _short(text: str | None) -> str | None:
    return text if text is None or len(text) <= _MESSAGE_WIDTH else f"{text[: _MESSAGE_WIDTH - 1]}…"
