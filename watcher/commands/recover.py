"""`lemonade recover`: what start-up repairs, shown or done."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from watcher.terminal.output import JSON_OPTION, print_json, print_table

if TYPE_CHECKING:
    from watcher.app import App


@click.command()
@click.option("--dry-run", is_flag=True, help="Show what would be repaired; change nothing. Also beside a daemon.")
@JSON_OPTION
@click.pass_obj
def recover(app: App, dry_run: bool, as_json: bool) -> None:
    """Put in order what an earlier process left: batches, undos, files on their way, files without a row.

    A daemon does this when it starts, so without --dry-run none may run. Exit 1 when something needs a person.
    """
    from watcher.deeds.daemon_or_here import recover_under_lock, repairs_now
    from watcher.lock import acquire, daemon_pid
    from watcher.work.startup_repair import Action

    _ = app.database  # a missing `init` is said before anything is locked
    pid = daemon_pid(app.settings)
    stopped: list[str] = []
    if dry_run:
        repairs = repairs_now(app)
    else:
        with acquire(app.settings, "command", "recover"):
            repairs, stopped = recover_under_lock(app)
    shown = [
        {
            "kind": repair.kind,
            "thing": repair.thing,
            "file_type": repair.file_type,
            "found": repair.found,
            "action": repair.action.value,
            "files": repair.files,
        }
        for repair in repairs
    ]
    if as_json:
        print_json({"dry_run": dry_run, "daemon": pid, "repairs": shown, "stopped": stopped})
    else:
        if pid is not None:
            click.echo(f"a daemon runs (pid {pid}): what it has in work is listed too")
        print_table(["kind", "thing", "file_type", "found", "action", "files"], shown, "nothing to repair")
        if stopped:
            click.echo(f"stopped until a person has looked: {', '.join(stopped)}; see: lemonade status")
    asks = any(repair.action is Action.ASK for repair in repairs)
    raise click.exceptions.Exit(int(asks or bool(stopped)))
