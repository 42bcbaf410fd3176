"""What a draft was made of, for people: where from, a line a field, and what to type to take it."""

from __future__ import annotations

import json
from typing import Any

import click

from watcher.terminal.output import shown, table_lines


def facts_lines(facts: dict[str, Any]) -> list[str]:
    """What a draft was made of, for people: where from, a line a field, notes."""
    files, read = facts.get("files") or [], facts.get("records", 0)
    held = f" of {facts['held']} held" if "held" in facts else ""
    lines = [f"{read} records of {len(files)}{held} file{'' if len(files) == 1 and not held else 's'}"]
    lines += [f"not read: {shown(file['name'])}: {shown(file['message'])}" for file in files if file.get("code")]
    if facts.get("root"):
        lines.append(f"they stand under {shown(facts['root'])}; to make each document one record: --root ''")
    rows = [
        {
            "field": each.get("name"),
            "type": _type_text(each.get("type")) + (f", {each['format']}" if each.get("format") else ""),
            "null": "no" if each.get("required") else "yes",
            "seen": f"{each.get('percent') or 0:g} %",
            "nulls": each.get("nulls") or None,
            "samples": ", ".join(map(str, each.get("samples") or [])),
            "note": each.get("note"),
        }
        for each in facts.get("fields") or []
    ]
    if rows:
        lines += ["", *table_lines(["field", "type", "null", "seen", "nulls", "samples", "note"], rows)]
    if facts.get("primary_key"):
        lines += ["", f"likely primary key: {', '.join(facts['primary_key'])}"]
    lines += [f"note: {shown(note)}" for note in facts.get("notes") or []]
    return lines


def show_draft(row: dict[str, Any]) -> None:
    """The draft on a type's record, and what to type to take it."""
    facts, name = row.get("draft_facts"), row["file_type"]
    if not isinstance(facts, dict):
        click.echo(f"\nno schema and no draft yet; one comes with its first held file, or: lemonade types infer {name}")
        return
    click.echo(f"\ndrafted at {shown(row['drafted_at'])} from:")
    for line in facts_lines(facts):
        click.echo(line)
    if row.get("draft") is None:
        return
    click.echo(f"\nto take it as it is:   lemonade types activate {name}")
    click.echo(f"to change it first:    lemonade types infer {name} > {name}.json")
    click.echo(f"                       lemonade types activate {name} --file {name}.json")


def _type_text(type_: Any, limit: int = 60) -> str:
    """A type in short: `struct(lat, lon)`, `list of long`."""
    if not isinstance(type_, dict):
        return str(type_)
    match type_.get("type"):
        case "list":
            text = f"list of {_type_text(type_.get('element'))}"
        case "map":
            text = f"map of {_type_text(type_.get('value'))}"
        case "struct":
            text = f"struct({', '.join(str(each.get('name')) for each in type_.get('fields', []))})"
        case _:
            text = json.dumps(type_)
    return text if len(text) <= limit else f"{text[: limit - 2]}…)"
