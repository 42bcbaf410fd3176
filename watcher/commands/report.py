"""`lemonade report`: failure patterns and data quality of what arrived in some days."""

from __future__ import annotations

import os
import sys
from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from metadata.errors import UsageError
from watcher.terminal.output import JSON_OPTION, print_json, shown

if TYPE_CHECKING:
    from metadata.ledger.report_facts import Period
    from watcher.app import App
    from watcher.report.values import Report

_DAY = click.DateTime(formats=["%Y-%m-%d"])
DAYS = 7
"""How many days are reported on when none are named."""
MOST_DAYS = 3660
"""Ten years: each day of the range is a column of a chart."""


@click.command()
@click.option("--from", "first", type=_DAY, metavar="DAY", help="The first UTC day of arrival; 6 days before the last.")
@click.option("--to", "last", type=_DAY, metavar="DAY", help="The last UTC day of arrival; today.")
@click.option("--type", "file_type", help="Only files of this type, and its table.")
@click.option(
    "--html", "page", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="Write one HTML page."
)
@JSON_OPTION
@click.pass_obj
def report(
    app: App, first: datetime | None, last: datetime | None, file_type: str | None, page: Path | None, as_json: bool
) -> None:
    """What arrived, what was rejected and why, what is late, doubled, silent. Exit 1 when nothing arrived.

    Reads only; may run beside a daemon at work.
    """
    from watcher.report.make import make_report

    period = _period(app, first, last)
    if file_type is not None:
        _check_type(app, file_type)
    made = make_report(app, period, file_type)
    if page is not None:
        _write_page(page, made)
    if as_json:
        print_json(answer(made))
    elif page is not None:
        click.echo(f"written to {shown(page)}: {shown(made.sentence)}")
    else:
        from watcher.report.text import report_lines

        for line in report_lines(made, getattr(sys.stdout, "encoding", None)):
            click.echo(line)
    raise click.exceptions.Exit(int(made.is_empty))


def answer(made: Report) -> dict[str, Any]:
    """The report as `--json` prints it."""
    values = asdict(made)
    values["unknown_fields"] = [one._asdict() for one in made.unknown_fields]
    return values


def _period(app: App, first: datetime | None, last: datetime | None) -> Period:
    from metadata.ledger.report_facts import Period

    if last is not None:
        to = last.date()
    else:
        to = max(app.clock.now().date(), first.date()) if first is not None else app.clock.now().date()
    since = first.date() if first is not None else to - timedelta(days=DAYS - 1)
    if to < since:
        raise UsageError(f"reporting on {since} to {to}: the last day is before the first; swap them")
    if (to - since).days >= MOST_DAYS or since.year < 1970 or to.year > 9000:
        raise UsageError(f"reporting on {since} to {to}: name at most {MOST_DAYS} days, of the years 1970 to 9000")
    return Period(since, to)


def _check_type(app: App, file_type: str) -> None:
    from metadata.ledger.report_facts import knows_type

    registered = {str(row["file_type"]) for row in app.registry.describe()}
    if file_type not in registered and not knows_type(app.database, file_type):
        raise UsageError(f"reporting on {file_type!r}: there is no such type; see: lemonade types list")


def _write_page(path: Path, made: Report) -> None:
    """Write beside and rename: a reader sees the page before or the page after, never half of one."""
    from watcher.report.page import page

    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(page(made), encoding="utf-8", errors="backslashreplace")
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise UsageError(f"writing the page {path}: {error.strerror}; name a file that can be written") from error
