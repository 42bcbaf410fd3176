"""`lemonade types`: the registry from the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from watcher.commands.types.exchange import export, import_
from watcher.commands.types.files import perform, read, say
from watcher.commands.types.history import history_of, show_history
from watcher.commands.types.infer import infer, show_draft
from watcher.commands.types.schema import schema
from watcher.commands.types.update import update
from watcher.show import JSON_OPTION, print_json, print_table, shown

_FILE_OPTION = click.option(
    "--file",
    "path",
    required=True,
    type=click.Path(path_type=Path, allow_dash=True),
    help="The types file, a JSON object; - reads it from standard input.",
)

if TYPE_CHECKING:
    from watcher.app import App


@click.group()
def types() -> None:
    """File types: what they are called, what their records look like, where their rows go."""


types.add_command(schema)
types.add_command(infer)
types.add_command(update)
types.add_command(export)
types.add_command(import_)


@types.command("list")
@JSON_OPTION
@click.pass_obj
def list_(app: App, as_json: bool) -> None:
    """Every type, with its status and what is wrong with broken ones."""
    rows = app.registry.describe()
    if as_json:
        print_json(rows)
        return
    lines = [
        {
            "type": row["file_type"],
            "status": "broken" if row["faults"] else row["status"],
            "table": row["table_name"],
            "patterns": _patterns(row),
            "version": row["schema_version"],
            "description": row["description"],
        }
        for row in rows
    ]
    print_table(
        ["type", "status", "table", "patterns", "version", "description"], lines, "no types; run: lemonade init"
    )
    for row in rows:
        for fault in row["faults"]:
            click.echo(f"broken: {shown(row['file_type'])}: {shown(fault)}")


@types.command()
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
    history = history_of(app, row)
    if as_json:
        print_json(row | history)
        return
    for label, value in (
        ("type", row["file_type"]),
        ("status", row["status"]),
        ("table", row["table_name"]),
        ("patterns", _patterns(row)),
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
    show_history(history)


@types.command()
@_FILE_OPTION
@click.pass_obj
def add(app: App, path: Path) -> None:
    """Register the type of a types file and take its files from now on."""
    say(perform(app, "types.add", {"raw": read(path)}), "registered")


@types.command()
@click.argument("file_type", metavar="TYPE")
@click.option(
    "--file",
    "path",
    type=click.Path(path_type=Path, allow_dash=True),
    help="For a type without a schema: this types file, instead of the draft on its record; - reads standard input.",
)
@click.pass_obj
def activate(app: App, file_type: str, path: Path | None) -> None:
    """Take the type's files, with its draft when it has no schema; those held for it flow at the next scan."""
    given = {} if path is None else {"raw": read(path)}
    say(perform(app, "types.activate", {"file_type": file_type, **given}), "activated")


@types.command()
@click.argument("file_type", metavar="TYPE")
@click.pass_obj
def disable(app: App, file_type: str) -> None:
    """Take the type's files no more: new ones are held, claimed ones are still loaded."""
    say(perform(app, "types.disable", {"file_type": file_type}), "disabled")


def _patterns(row: dict[str, Any]) -> str:
    patterns = row["filename_patterns"]
    if patterns is None:
        return str(row["file_type"])
    return ", ".join(map(str, patterns)) if isinstance(patterns, list) else str(patterns)


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
