"""`lemonade types show`: one type, its fields, versions, and keys that may become fields."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from watcher.terminal.draft_facts import show_draft
from watcher.terminal.output import JSON_OPTION, iso, print_json, print_table, shown
from watcher.terminal.types_files import patterns_text

if TYPE_CHECKING:
    from watcher.app import App


@click.command()
@click.argument("file_type", metavar="TYPE")
@JSON_OPTION
@click.pass_obj
def show(app: App, file_type: str, as_json: bool) -> None:
    """One type: its fields, patterns, table, last error, the versions of its schema, and keys that may become fields.

    A key is proposed when 100 records had it, or 10 that are one of a hundred of those since it was first seen.
    """
    from metadata.errors import UsageError

    rows = app.registry.describe()
    row = next((row for row in rows if row["file_type"] == file_type), None)
    if row is None:
        known = ", ".join(str(row["file_type"]) for row in rows) or "none"
        raise UsageError(f"there is no file type {file_type!r}; known are: {known}")
    history = _history_of(app, row)
    if as_json:
        print_json(row | history)
        return
    for label, value in (
        ("type", row["file_type"]),
        ("status", row["status"]),
        ("table", row["table_name"]),
        ("patterns", patterns_text(row)),
        ("version", row["schema_version"]),
        ("config", _compact(row["processing_config"])),
        ("description", row["description"]),
        ("registered", row["created_at"]),
        ("changed", row["updated_at"]),
        ("last error", f"{row['last_error_at']}  {row['last_error']}" if row["last_error"] else None),
    ):
        click.echo(f"{label:<12}{shown(value)}")
    for fault in row["faults"]:
        click.echo(f"{'broken':<12}{shown(fault)}")
    if not row["faults"] and row["schema_definition"]:
        click.echo("")
        _show_fields(row["schema_definition"])
    if not row["schema_definition"]:
        show_draft(row)
    _show_history(history)


def _compact(value: Any) -> str | None:
    return None if value is None else json.dumps(value, ensure_ascii=False)


def _joined(names: Any) -> str:
    return ", ".join(map(str, names)) if isinstance(names, list) else str(names)


def _show_fields(definition: dict[str, Any]) -> None:
    from metadata.types.constraints import Constraint

    keys = definition.get("primary_key") or []
    lines = []
    for field in definition["fields"]:
        notes = ["key"] if field["name"] in keys else []
        notes += [f"from {field['source']}"] if field.get("source") else []
        notes += [f"was {_joined(field['renamed_from'])}"] if field.get("renamed_from") else []
        notes += [field["format"]] if field.get("format") else []
        notes += ["coerce"] if field.get("coerce") else []
        notes += [f"default {_compact(field['default'])}"] if "default" in field else []
        notes += [f"{key} {_compact(field[key])}" for key in Constraint if field.get(key) is not None]
        lines.append(
            {
                "field": field["name"],
                "type": field["type"] if isinstance(field["type"], str) else _compact(field["type"]),
                "null": "yes" if field.get("nullable", True) else "no",
                "notes": ", ".join(notes) or None,
                "description": field.get("description"),
            }
        )
    print_table(["field", "type", "null", "notes", "description"], lines, "no fields")


def _history_of(app: App, row: dict[str, Any]) -> dict[str, Any]:
    """For programs: `versions`, oldest first, and `proposals`, of a type that is not broken."""
    versions = [
        {"version": each.version, "changes": each.changes, "created_at": iso(each.created_at)}
        for each in app.registry.versions(row["file_type"])
    ]
    return {"versions": versions, "proposals": [] if row["faults"] else _proposals(app, row["file_type"])}


def _proposals(app: App, file_type: str) -> list[dict[str, Any]]:
    from watcher.deeds.adopt import proposals

    return [each.as_json(file_type) for each in proposals(app, app.registry.get(file_type))]


def _show_history(history: dict[str, Any]) -> None:
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
