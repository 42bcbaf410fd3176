"""`lemonade flush`: load what is in incoming/ now."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from watcher.deeds.by_name import AfterFlush, DaemonThread
from watcher.terminal.output import JSON_OPTION, print_json, print_table, shown

if TYPE_CHECKING:
    from watcher.app import App
    from watcher.work.work import Work

_NAMES_SHOWN = 5

DONE_BY = DaemonThread.BATCHES


@click.command()
@click.argument("types", nargs=-1)
@click.option("--no-wait", is_flag=True, help="Ask the daemon and do not wait for the outcome.")
@JSON_OPTION
@click.pass_obj
def flush(app: App, types: tuple[str, ...], no_wait: bool, as_json: bool) -> None:
    """Load what is in incoming/ now, for the given TYPES or all. Exit 1 when a file could not be loaded."""
    from watcher.deeds.daemon_or_here import perform

    answer = perform(app, "flush", {"types": list(types)}, wait=not no_wait)
    if "request_id" in answer:
        if as_json:
            print_json(answer)
        else:
            click.echo(f"asked the daemon: request {answer['request_id']}")
        return
    print_flush(answer, as_json)
    raise click.exceptions.Exit(int(any_failed(answer)))


def do(work: Work, arguments: dict[str, Any]) -> AfterFlush:
    """`types`: their names, or none for all. The daemon's main thread, which scans anyway, hands it over itself."""
    from watcher.deeds.flush import flush

    return flush(work, arguments)


def any_failed(answer: dict[str, Any]) -> bool:
    """Whether a file of the flush went to failed/ or error/, or was refused before it came so far."""
    return answer["refused"] > 0 or any(file["state"] in ("failed", "error") for file in answer["files"])


def print_flush(answer: dict[str, Any], as_json: bool) -> None:
    """Batches, files, rows, snapshots, and what was not taken and why."""
    if as_json:
        print_json(answer)
        return
    columns = ["batch_id", "table", "files", "outcomes", "rows", "rejected", "snapshot_id"]
    print_table(columns, answer["batches"], "nothing was waiting")
    for file in answer["files"]:
        if file["state"] in ("failed", "error"):
            click.echo(f"{file['state']}: {file['name']} ({file['code']}: {file['message']})")
    rejected = sum(batch["rejected"] for batch in answer["batches"])
    if rejected:
        click.echo(f"rejected records in the quarantine: {rejected}; see why: lemonade quarantine list")
    if answer["duplicates"]:
        click.echo(f"{answer['duplicates']} duplicate deliveries were set aside")
    by_reason: dict[str, list[str]] = {}
    for file in answer["not_taken"]:
        by_reason.setdefault(file["reason"], []).append(file["name"])
    for reason, names in by_reason.items():
        more = f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
        click.echo(f"not taken: {', '.join(map(shown, names[:_NAMES_SHOWN]))}{more} ({shown(reason)})")
