"""A change of a type before it is made: for people line by line, for programs as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from watcher.terminal.output import shown

if TYPE_CHECKING:
    from metadata.registry.planned_update import Update


def tell_changes(planned: Update) -> None:
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


def changes_as_json(planned: Update) -> dict[str, Any]:
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
