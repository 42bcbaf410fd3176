"""What `lemonade types show` tells beside a type's row: the versions of its schema, and keys that may become fields."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from watcher.show import iso, print_table, shown

if TYPE_CHECKING:
    from watcher.app import App


def history_of(app: App, row: dict[str, Any]) -> dict[str, Any]:
    """For programs: `versions`, oldest first, and `proposals`, of a type that is not broken."""
    versions = [
        {"version": each.version, "changes": each.changes, "created_at": iso(each.created_at)}
        for each in app.registry.versions(row["file_type"])
    ]
    return {"versions": versions, "proposals": [] if row["faults"] else _proposals(app, row["file_type"])}


def _proposals(app: App, file_type: str) -> list[dict[str, Any]]:
    from watcher.verbs.adopt import proposals

    return [each.as_json(file_type) for each in proposals(app, app.registry.get(file_type))]


def show_history(history: dict[str, Any]) -> None:
    """The same for people."""
    if history["versions"]:
        click.echo("")
    for each in history["versions"]:
        first, *more = each["changes"] or ["as it was registered"]
        click.echo(f"version {each['version']:<4}{each['created_at']}  {shown(first)}")
        for change in more:
            click.echo(f"{'':<34}{shown(change)}")
    if not history["proposals"]:
        return
    click.echo("\nrecords have keys that the schema has not:")
    lines = [
        {
            "key": each["key"],
            "records": each["records"],
            "share": f"{each['share']:.1%}",
            "looks like": f"inside of {each['inside']}" if each["inside"] else each["type"],
            "sample": each["sample"],
        }
        for each in history["proposals"]
    ]
    print_table(["key", "records", "share", "looks like", "sample"], lines, "none")
    command = next((each["command"] for each in history["proposals"] if each["command"]), None)
    if command is not None:
        click.echo(f"to make it a field: {command}")
