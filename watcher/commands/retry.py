"""`lemonade retry`: files that failed go through again."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from watcher.deeds.by_name import AfterFlush, DaemonThread
from watcher.terminal.output import JSON_OPTION, print_json, print_table

if TYPE_CHECKING:
    from watcher.app import App
    from watcher.work.work import Work

DONE_BY = DaemonThread.BATCHES


@click.command()
@click.argument("files", nargs=-1, metavar="[FILE]...")
@click.option("--type", "file_type", help="Only files of this type.")
@click.option("--code", help="Only files that failed with this code: schema_mismatch, out_of_attempts, …")
@click.option(
    "--since",
    type=click.DateTime(formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%SZ"]),
    help="Only files that failed at this time (UTC) or later.",
)
@click.option("--all", "everything", is_flag=True, help="Every file in failed/ and error/.")
@click.option("--dry-run", is_flag=True, help="Show which files would go again, and change nothing.")
@JSON_OPTION
@click.pass_obj
def retry(
    app: App,
    files: tuple[str, ...],
    file_type: str | None,
    code: str | None,
    since: datetime | None,
    everything: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Failed and error files go through again and are flushed: FILEs by name, path or id, or a choice by option.

    The file is taken as it lies there, so it may have been mended; its entry in the ledger stays the same.
    Exit 1 when there is none, or when one cannot go again or is not loaded.
    """
    arguments = {
        "files": list(files),
        "type": file_type,
        "code": code,
        "since": None if since is None else since.replace(tzinfo=UTC).isoformat(),
        "all": everything,
    }
    if dry_run:
        from watcher.deeds.retry import answer, choose

        told = answer(app, choose(app, arguments))
    else:
        from watcher.deeds.daemon_or_here import perform

        told = perform(app, "retry", arguments)
    if as_json:
        print_json(told)
    else:
        _print(told)
    raise click.exceptions.Exit(int(not _all_went(told)))


def do(work: Work, arguments: dict[str, Any]) -> AfterFlush:
    """`files`, `type`, `code`, `since`, `all`: see `watcher.deeds.retry.choose`."""
    from watcher.deeds.retry import retry

    return retry(work, arguments)


def _all_went(told: dict[str, Any]) -> bool:
    if told["not_retried"] or not told["retried"]:
        return False
    return told["dry_run"] or all(file["state"] in ("loaded", "duplicate") for file in told["retried"])


def _print(told: dict[str, Any]) -> None:
    rows = [{**file, "was": file["was"]["code"] or file["was"]["state"]} for file in told["retried"]]
    if told["dry_run"]:
        print_table(["name", "file_type", "was", "file_id"], rows, "no file would go again")
    else:
        print_table(["name", "file_type", "was", "state", "attempts", "rows", "batch_id"], rows, "no file went again")
    for file in told["retried"]:
        if file["message"]:
            click.echo(f"{file['state']}: {file['name']} ({file['code']}: {file['message']})")
    for file in told["not_retried"]:
        click.echo(f"not retried: {file['name']} ({file['reason']})")
