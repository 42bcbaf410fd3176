"""`lemonade types update`: a change of a type, shown before it is made."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from watcher.commands.types.files import agree, perform, read, say
from watcher.show import JSON_OPTION, print_json, shown

if TYPE_CHECKING:
    from metadata.registry.planned_update import Update
    from watcher.app import App


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
    raw = read(path) if path is not None else {}
    if adopted:
        from watcher.verbs.adopt import with_adopted

        raw = with_adopted(app, file_type, raw, adopted)
    planned = app.registry.plan_update(file_type, raw)
    if not as_json:
        tell(planned)
    if planned.faults or dry_run:
        if as_json:
            print_json(as_told(planned) | {"updated": False, "backfill": None})
        if dry_run:
            raise click.exceptions.Exit(1 if planned.faults else 0)
        planned.check(operation)
    if backfill and not as_json:
        click.echo("backfill: what was rescued of old rows goes into the columns of its fields")
    told = as_told(planned) | {"updated": False, "backfill": None}
    if planned.is_change or backfill:
        try:
            agree(operation, f"Change {shown(file_type)}?", yes)
        except UsageError:
            if as_json:
                print_json(told)
            raise
    if planned.is_change:
        version = planned.old.schema_version if planned.old else None
        answer = perform(app, "types.update", {"file_type": file_type, "raw": raw, "version": version})
        told |= {"updated": True, "schema_version": answer["schema_version"]}
        if not as_json:
            say(answer, "updated")
    if backfill:
        told["backfill"] = perform(app, "backfill", {"file_type": file_type})
        if not as_json:
            _tell_backfill(told["backfill"])
    if as_json:
        print_json(told)


def tell(planned: Update) -> None:
    """The diff for people: what changes, then what is refused and why."""
    name, old, new = planned.new.name, planned.old, planned.new.schema_version
    if planned.is_new:
        fields = ", ".join(field.name for field in planned.new.definition.fields) if planned.new.definition else ""
        click.echo(f"{shown(name)}: a new type into {planned.new.table_name}, {planned.new.status}: {shown(fields)}")
    elif old is None:
        click.echo(f"{shown(name)}: its row cannot be read; all of it is replaced, as version {new}")
    elif not planned.changes:
        click.echo(f"{shown(name)}: nothing changes, its schema is version {old.schema_version}")
    else:
        versions = f"version {old.schema_version} -> {new}" if planned.has_new_version else f"version {new} stays"
        click.echo(f"{shown(name)}, {versions}")
    for change in planned.changes:
        if change.refused is None:
            click.echo(f"  {shown(change.what)}")
    for change in planned.changes:
        if change.refused is not None:
            click.echo(f"  refused: {shown(change.line())}")
    for conflict in planned.conflicts:
        click.echo(f"  refused: {shown(conflict)}")


def as_told(planned: Update) -> dict[str, Any]:
    """The diff for programs."""
    return {
        "file_type": planned.new.name,
        "is_new": planned.is_new,
        "version_before": planned.old.schema_version if planned.old else None,
        "schema_version": planned.new.schema_version,
        "changes": [
            {"part": change.part, "field": change.field, "what": change.what, "refused": change.refused}
            for change in planned.changes
        ],
        "conflicts": list(planned.conflicts),
    }


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
