"""`lemonade quarantine show`: one rejected record, why it was rejected, what helps."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from metadata.errors import UsageError
from metadata.reject_codes import record_cure
from watcher.terminal.chosen_records import listed_record, record_name
from watcher.terminal.output import JSON_OPTION, bytes_text, iso, print_json, shown

if TYPE_CHECKING:
    from watcher.app import App

_TEXT_LINES = 200


@click.command()
@click.argument("record")
@JSON_OPTION
@click.pass_obj
def show(app: App, record: str, as_json: bool) -> None:
    """One rejected record: its text, why it was rejected, what helps. Exit 1 when it is not in the quarantine."""
    from processors.change.chosen_records import RecordId, RejectedRecords
    from processors.lake.quarantine_table import raw_of

    wanted = RecordId.parse(record)
    found = RejectedRecords(app.lake()).find(wanted)
    if len(found) > 1:
        several = "\n".join(f"  {record_name(row, with_batch=True)}  {iso(row['rejected_at'])}" for row in found)
        raise UsageError(f"showing {record}: several micro-batches rejected it; name one with its batch:\n{several}")
    if not found:
        told: dict[str, Any] | None = None
    else:
        row = found[0]
        file = next(iter(_files(app, [row["_file_id"]])), None)
        raw = raw_of(row["raw"], row["raw_encoding"])
        told = {
            **listed_record(row),
            "cure": record_cure(row["code"]),
            "file_state": None if file is None else file.state,
            "path": None if file is None else file.path,
            "raw": None if raw is None else raw.decode(errors="backslashreplace"),
            "raw_encoding": row["raw_encoding"],
        }
    if as_json:
        print_json(told)
    elif told is None:
        click.echo(
            f"the quarantine has no record {shown(record)}; it was replayed, discarded or its file undone, if "
            "it ever was there. See: lemonade quarantine list"
        )
    else:
        _print_record(told)
    raise click.exceptions.Exit(int(told is None))


def _print_record(told: dict[str, Any]) -> None:
    name, where = told["record"], f" of {shown(told['field'])}" if told["field"] else ""
    lines = [
        ("record", name),
        ("type", f"{shown(told['file_type'])}, schema version {told['schema_version']}"),
        ("rejected", f"{told['rejected_at']} by batch {told['batch_id']}"),
        ("reason", f"{told['code']}{where}: {shown(told['message'])}"),
        ("cure", told["cure"]),
        ("file", f"{shown(told['file'])}, {told['file_state'] or 'not in the ledger'}"),
        ("now", shown(told["path"])),
        ("text", bytes_text(told["raw_bytes"])),
    ]
    for label, text in lines:
        click.echo(f"{label:<9} {text}")
    click.echo("")
    if told["raw"] is None:
        click.echo(f"  too long for the quarantine: it is record {told['record_no']} of the file")
    else:
        pretty = _pretty(told["raw"])
        for line in pretty[:_TEXT_LINES]:
            click.echo(f"  {shown(line)}")
        if len(pretty) > _TEXT_LINES:
            click.echo(f"  … {len(pretty) - _TEXT_LINES} lines more; --json has all of it")
    click.echo("")
    click.echo(f"once the schema takes it:  lemonade quarantine replay {name}")
    click.echo(f"to throw it away:          lemonade quarantine discard {name}")


def _pretty(raw: str) -> list[str]:
    """The record's JSON over several lines; text that is none as it is."""
    try:
        return json.dumps(json.loads(raw), indent=2, ensure_ascii=False).splitlines()
    except (ValueError, RecursionError):
        return raw.splitlines()


def _files(app: App, file_ids: list[str]) -> list[Any]:
    from metadata.ledger.life import files_by_id

    return list(files_by_id(app.database, file_ids).values())
