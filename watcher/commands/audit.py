"""`lemonade audit`: do the books balance?"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from metadata.errors import UsageError
from watcher.terminal.output import JSON_OPTION, print_json, shown

if TYPE_CHECKING:
    from watcher.app import App

_DAY = click.DateTime(formats=["%Y-%m-%d"])
_MOST_SHOWN = 200


@click.command()
@click.option("--type", "file_type", help="Only files of this type, and its tables.")
@click.option("--from", "first", type=_DAY, metavar="DAY", help="Only files whose names have this UTC day or a later.")
@click.option("--to", "last", type=_DAY, metavar="DAY", help="Only files whose names have this UTC day or an earlier.")
@JSON_OPTION
@click.pass_obj
def audit(app: App, file_type: str | None, first: datetime | None, last: datetime | None, as_json: bool) -> None:
    """Compare ledger, folders and tables: each file where it must be, each row with its file. Exit 1 when not.

    Reads only; what a running daemon has in work is counted apart.
    """
    from metadata.ledger.books import Scope
    from processors.read import audit as auditing

    if first is not None and last is not None and last < first:
        raise UsageError(f"auditing {first:%Y-%m-%d} to {last:%Y-%m-%d}: the last day is before the first; swap them")
    if file_type is not None:
        _check_type(app, file_type)
    scope = Scope(file_type, first.date() if first else None, last.date() if last else None)
    result = auditing.audit(app.settings, app.ledger, app.registry, app.lake(), app.clock, scope)
    if as_json:
        print_json(_answer(result))
    else:
        for finding in result.findings[:_MOST_SHOWN]:
            click.echo(shown(finding.line()))
        if len(result.findings) > _MOST_SHOWN:
            click.echo(f"… and {len(result.findings) - _MOST_SHOWN} more; see --json")
        verdict = "books balance" if result.balanced else _findings(len(result.findings))
        click.echo(f"{verdict}: {_sizes(result)}")
    raise click.exceptions.Exit(int(not result.balanced))


def _check_type(app: App, file_type: str) -> None:
    """A type that the registry or the ledger knows; UsageError for any other, which would balance as nothing."""
    if file_type not in {str(row["file_type"]) for row in app.registry.describe()}:
        raise UsageError(f"auditing files of {file_type!r}: there is no such type; see: lemonade types list")


def _sizes(result: Any) -> str:
    rows = f"{result.rows} rows" + (f" and {result.rejected} rejected records" if result.rejected else "")
    text = f"{result.files} files, {rows} in {result.data_files} data files of {result.tables} tables"
    working = [
        f"{count} {what}"
        for count, what in (
            (result.in_work.files, "files"),
            (result.in_work.batches, "batches"),
            (result.in_work.operations, "operations"),
        )
        if count
    ]
    return f"{text}; in work: {', '.join(working)}" if working else text


def _findings(count: int) -> str:
    return "1 finding" if count == 1 else f"{count} findings"


def _answer(result: Any) -> dict[str, Any]:
    return {
        "balanced": result.balanced,
        "files": result.files,
        "batches": result.batches,
        "tables": result.tables,
        "data_files": result.data_files,
        "rows": result.rows,
        "rejected": result.rejected,
        "in_work": {
            "files": result.in_work.files,
            "batches": result.in_work.batches,
            "operations": result.in_work.operations,
        },
        "findings": [
            {
                "code": finding.code.value,
                "thing": finding.thing,
                "expected": finding.expected,
                "found": finding.found,
                "cure": finding.cure,
            }
            for finding in result.findings
        ],
        "seconds": round(result.seconds, 3),
    }
