"""`lemonade types import`: make types what they are in an exported file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from watcher.deeds.by_name import DaemonThread
from watcher.terminal.output import JSON_OPTION, print_json
from watcher.terminal.planned_update import changes_as_json, tell_changes
from watcher.terminal.questions import agree
from watcher.terminal.types_files import read_types_file

if TYPE_CHECKING:
    from watcher.app import App
    from watcher.work.work import Work

DONE_BY = DaemonThread.MAIN


@click.command("import")
@click.argument("path", metavar="FILE", type=click.Path(path_type=Path, allow_dash=True))
@click.option("--dry-run", is_flag=True, help="Only show what would change; exit 1 when it is refused.")
@click.option("--yes", is_flag=True, help="Do not ask first.")
@JSON_OPTION
@click.pass_obj
def import_(app: App, path: Path, dry_run: bool, yes: bool, as_json: bool) -> None:
    """Make types what they are in an exported FILE: show what changes, ask, change all of it or nothing.

    New types are added, others changed as `types update` may change them; types that FILE does not have stay as they
    are. Done again it changes nothing.
    """
    from metadata.errors import ConfigurationError, UsageError
    from watcher.deeds.daemon_or_here import perform

    document = read_types_file(path)
    planned = app.registry.import_all(document, dry_run=True)
    changes = any(each.is_change for each in planned)
    faults = [f"{each.new.name}: {fault}" for each in planned for fault in each.faults]
    told = {"types": [changes_as_json(each) for each in planned], "imported": False}
    if not as_json:
        for each in planned:
            tell_changes(each)
    elif faults or dry_run:
        print_json(told)
    if dry_run:
        raise click.exceptions.Exit(1 if faults else 0)
    if faults:
        raise ConfigurationError(f"importing {path}", faults)
    if changes:
        try:
            agree(f"importing {path}", "Change them all?", yes)
        except UsageError:
            if as_json:
                print_json(told)
            raise
        answer = perform(app, "types.import", {"document": document})
        told["imported"] = True
        if not as_json:
            click.echo(f"imported: {', '.join(answer['changed']) or 'nothing to change'}")
    if as_json:
        print_json(told)


def do(work: Work, arguments: dict[str, Any]) -> dict[str, Any]:
    """`document`: as `types export` writes it."""
    planned = work.app.registry.import_all(arguments["document"])
    return {"changed": [each.new.name for each in planned if each.is_change]}
