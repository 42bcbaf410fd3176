"""`lemonade types update`: change a type, after a look at what would change."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from watcher.deeds.by_name import DaemonThread
from watcher.terminal.output import JSON_OPTION, print_json, shown
from watcher.terminal.planned_update import changes_as_json, tell_changes
from watcher.terminal.questions import agree
from watcher.terminal.types_files import read_types_file, say_done

if TYPE_CHECKING:
    from metadata.registry.planned_update import Update
    from watcher.app import App
    from watcher.work.work import Work

DONE_BY = DaemonThread.MAIN


@click.command()
@click.argument("file_type", metavar="TYPE")
@click.option(
    "--file",
    "path",
    type=click.Path(path_type=Path, allow_dash=True),
    help="The keys of a types file that change; - reads them from standard input.",
)
@click.option(
    "--adopt",
    "adopted",
    multiple=True,
    metavar="KEY[:NAME[:TYPE]]",
    help="Make a key that is rescued an optional field; may be repeated.",
)
@click.option("--backfill", is_flag=True, help="Put what was rescued of old rows into the columns of today's fields.")
@click.option("--dry-run", is_flag=True, help="Only show what would change; exit 1 when it is refused.")
@click.option("--yes", is_flag=True, help="Do not ask first.")
@JSON_OPTION
@click.pass_obj
def update(
    app: App,
    file_type: str,
    path: Path | None,
    adopted: tuple[str, ...],
    backfill: bool,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Show what would change, ask, change it. Keys that the file leaves out stay as they are.

    Fields can be added, renamed, widened, made optional, dropped and put into another order; what is refused says why.
    The table follows with the type's next micro-batch.
    """
    from metadata.errors import UsageError

    operation = f"updating {file_type}"
    if path is None and not adopted and not backfill:
        raise UsageError(f"{operation}: say what changes, with --file, --adopt or --backfill")
    raw = _raw(app, file_type, path, adopted)
    planned = app.registry.plan_update(file_type, raw)
    told = changes_as_json(planned) | {"updated": False, "backfill": None}
    if not as_json:
        tell_changes(planned)
    elif planned.faults or dry_run:
        print_json(told)
    if dry_run:
        raise click.exceptions.Exit(1 if planned.faults else 0)
    planned.check(operation)
    if backfill and not as_json:
        click.echo("backfill: what was rescued of old rows goes into the columns of its fields")
    if planned.is_change or backfill:
        try:
            agree(operation, f"Change {shown(file_type)}?", yes)
        except UsageError:
            if as_json:
                print_json(told)
            raise
    told |= _change(app, file_type, planned, raw, backfill=backfill, as_json=as_json)
    if as_json:
        print_json(told)


def _raw(app: App, file_type: str, path: Path | None, adopted: tuple[str, ...]) -> dict[str, Any]:
    """The keys of a types file that change, with a field more for each key that is adopted."""
    raw = read_types_file(path) if path is not None else {}
    if adopted:
        from watcher.deeds.adopt import with_adopted

        raw = with_adopted(app, file_type, raw, adopted)
    return raw


def _change(
    app: App, file_type: str, planned: Update, raw: dict[str, Any], *, backfill: bool, as_json: bool
) -> dict[str, Any]:
    """Have it done, the change and then the backfill; what became of them."""
    from watcher.deeds.daemon_or_here import perform

    told: dict[str, Any] = {}
    if planned.is_change:
        version = planned.old.schema_version if planned.old else None
        answer = perform(app, "types.update", {"file_type": file_type, "raw": raw, "version": version})
        told |= {"updated": True, "schema_version": answer["schema_version"]}
        if not as_json:
            say_done(answer, "updated")
    if backfill:
        told["backfill"] = perform(app, "backfill", {"file_type": file_type})
        if not as_json:
            _tell_backfill(told["backfill"])
    return told


def do(work: Work, arguments: dict[str, Any]) -> dict[str, Any]:
    """`file_type`, `raw`: the keys to change, `version`: the one that the type is expected to have."""
    from watcher.deeds.type_answer import type_answer

    registry = work.app.registry
    kind = registry.update(arguments["file_type"], arguments["raw"], version=arguments.get("version"))
    return type_answer(kind)


def _tell_backfill(answer: dict[str, Any]) -> None:
    if not answer["rows"]:
        click.echo("backfilled: nothing was rescued that a field takes")
        return
    values = ", ".join(f"{shown(name)} {count}" for name, count in answer["values"].items())
    click.echo(f"backfilled: {answer['rows']} rows ({values})")
    if answer["left"]:
        left = ", ".join(f"{shown(name)} {count}" for name, count in answer["left"].items())
        click.echo(f"still rescued, for they do not fit the field: {left}")
    click.echo(f"snapshot {answer['snapshot_id']}, operation {answer['operation_id']}")
