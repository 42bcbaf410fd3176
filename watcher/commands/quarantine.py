"""`lemonade quarantine`: rejected records: what they are, why, and what becomes of them."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

import click

from metadata.errors import UsageError
from metadata.reject_codes import record_cure
from watcher.show import JSON_OPTION, bytes_text, iso, print_json, print_table, shown

if TYPE_CHECKING:
    from watcher.app import App

F = TypeVar("F", bound=Callable[..., Any])

_TIMES = click.DateTime(formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%SZ"])
_MESSAGE_WIDTH = 80
_TEXT_LINES = 200


def _choosing(command: F) -> F:
    """The options that choose records, on any of the verbs."""
    for option in reversed(
        [
            click.option("--type", "file_type", help="Only records of this file type."),
            click.option("--code", help="Only records with this reason: wrong_type, missing_field, …"),
            click.option("--field", help="Only records with this field at fault; - for those at fault as a whole."),
            click.option("--file", "files", multiple=True, help="Only records of this file: name, path or id."),
            click.option("--since", type=_TIMES, help="Only records rejected at this time (UTC) or later."),
            click.option("--until", type=_TIMES, help="Only records rejected before this time (UTC)."),
        ]
    ):
        command = option(command)
    return command


def _arguments(
    file_type: str | None,
    code: str | None,
    field: str | None,
    files: tuple[str, ...],
    since: datetime | None,
    until: datetime | None,
) -> dict[str, Any]:
    return {
        "type": file_type,
        "code": code,
        "field": field,
        "files": list(files),
        "since": None if since is None else since.replace(tzinfo=UTC).isoformat(),
        "until": None if until is None else until.replace(tzinfo=UTC).isoformat(),
    }


@click.group()
def quarantine() -> None:
    """Rejected records: see them, put them through the schema again, throw them away."""


@quarantine.command("list")
@_choosing
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True, help="The newest so many.")
@click.option("--summary", is_flag=True, help="Only count them, by type, code and field.")
@JSON_OPTION
@click.pass_obj
def list_(app: App, /, limit: int, summary: bool, as_json: bool, **chosen: Any) -> None:
    """Rejected records that wait, newest first, each with the name by which `show` takes it. Exit 1: there is none."""
    from processors.change.chosen_records import RejectedRecords
    from watcher.verbs.replay import select

    records = RejectedRecords(app.lake())
    selection = select(app, _arguments(**chosen), must_choose=False)
    if summary:
        totals = [{**row, "first": iso(row["first"]), "last": iso(row["last"])} for row in records.totals(selection)]
        total = sum(row["records"] for row in totals)
        if as_json:
            print_json({"total": total, "totals": totals})
        else:
            print_table(["file_type", "code", "field", "records", "first", "last"], totals, "no rejected record")
        raise click.exceptions.Exit(int(not totals))
    found, total = records.newest(selection, limit)
    rows = [_listed(row) for row in found]
    if as_json:
        print_json({"total": total, "records": rows})
    else:
        cells = [{**row, "message": _short(row["message"])} for row in rows]
        columns = ["record", "file_type", "code", "field", "rejected_at", "file", "message"]
        print_table(columns, cells, "no rejected record")
        if total > len(rows):
            click.echo(f"{len(rows)} of {total} records; --limit shows more, --summary counts them")
    raise click.exceptions.Exit(int(not rows))


@quarantine.command()
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
        several = "\n".join(f"  {_record(row, with_batch=True)}  {iso(row['rejected_at'])}" for row in found)
        raise UsageError(f"showing {record}: several micro-batches rejected it; name one with its batch:\n{several}")
    if not found:
        told: dict[str, Any] | None = None
    else:
        row = found[0]
        file = next(iter(_files(app, [row["_file_id"]])), None)
        raw = raw_of(row["raw"], row["raw_encoding"])
        told = {
            **_listed(row),
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


@quarantine.command()
@click.argument("records", nargs=-1, metavar="[RECORD]...")
@_choosing
@click.option("--all", "everything", is_flag=True, help="Every rejected record.")
@click.option("--limit", type=click.IntRange(min=1), help="At most so many of them.")
@click.option("--dry-run", is_flag=True, help="Show what would pass now, and change nothing.")
@JSON_OPTION
@click.pass_obj
def replay(
    app: App,
    /,
    records: tuple[str, ...],
    everything: bool,
    limit: int | None,
    dry_run: bool,
    as_json: bool,
    **chosen: Any,
) -> None:
    """Put rejected records through today's schema of their type; those that pass go into their table, once.

    RECORDs as `quarantine list` names them, or a choice by option. The others stay in the quarantine. Exit 1 when
    nothing was chosen by that, or nothing passed.
    """
    arguments = {**_arguments(**chosen), "records": list(records), "all": everything, "limit": limit}
    if dry_run:
        from watcher.verbs.perform import trial_of_replay

        told = trial_of_replay(app, arguments)
    else:
        from watcher.verbs.perform import perform
        from watcher.verbs.replay import select

        select(app, arguments, must_choose=True)  # what makes no sense is said before anything is locked
        told = perform(app, "quarantine.replay", arguments)
    _tell(told, as_json)
    raise click.exceptions.Exit(int(not told["done"]))


@quarantine.command()
@click.argument("records", nargs=-1, metavar="[RECORD]...")
@_choosing
@click.option("--all", "everything", is_flag=True, help="Every rejected record.")
@click.option("--limit", type=click.IntRange(min=1), help="At most so many of them.")
@click.option("--yes", is_flag=True, help="Do not ask first.")
@JSON_OPTION
@click.pass_obj
def discard(
    app: App, /, records: tuple[str, ...], everything: bool, limit: int | None, yes: bool, as_json: bool, **chosen: Any
) -> None:
    """Throw rejected records away. The table keeps older snapshots for a while, their files stay in processed/.

    RECORDs as `quarantine list` names them, or a choice by option. Exit 1 when nothing was chosen by that.
    """
    from watcher.verbs.replay import count, shown_totals

    arguments = {**_arguments(**chosen), "records": list(records), "all": everything, "limit": limit}
    totals = count(app, arguments)
    number = sum(row["records"] for row in totals)
    if number and not yes:
        what = f"{number} rejected record{'' if number == 1 else 's'} ({shown(shown_totals(totals))})"
        what = what if limit is None or limit >= number else f"{limit} of {what}"
        if not sys.stdin.isatty():
            raise UsageError(f"discarding {what}: they are gone then; without a terminal, say --yes")
        click.confirm(f"Throw {what} away?", abort=True, err=True)
    from watcher.verbs.perform import perform

    told = perform(app, "quarantine.discard", arguments)
    _tell(told, as_json)
    raise click.exceptions.Exit(int(not told["done"]))


def _tell(told: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(told)
        return
    if not told["matched"]:
        click.echo("no rejected record is meant by that; see: lemonade quarantine list")
        return
    done = {"replay": "would pass" if told["dry_run"] else "replayed", "discard": "discarded"}[told["verb"]]
    click.echo(f"{done}: {told['done']} of {told['matched']} rejected records")
    for operation in told["operations"]:
        snapshots = f"snapshot {operation['snapshot_id']}, " if operation["snapshot_id"] else ""
        click.echo(
            f"  {operation['records']} of {shown(operation['file_type'])}: {snapshots}"
            f"quarantine snapshot {operation['quarantine_snapshot_id']}, operation {operation['operation_id']}"
        )
    if told["rejected"]:
        codes = ", ".join(f"{number} {code}" for code, number in told["rejected_by_code"].items())
        click.echo(f"still rejected: {told['rejected']} ({shown(codes)})")
        for sample in told["samples"]:
            click.echo(f"  {shown(sample)}")
    for left in told["left"]:
        click.echo(f"left alone: {left['records']} of {shown(left['file_type'])}: {shown(left['reason'])}")
    if told["days"]:
        click.echo(f"to be summarised again: {', '.join(told['days'])} (lemonade summarize)")


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


def _listed(row: dict[str, Any]) -> dict[str, Any]:
    """A row of the quarantine as `--json` shows it."""
    return {
        "record": _record(row),
        "file_type": row["file_type"],
        "code": row["code"],
        "field": row["field"],
        "message": row["message"],
        "raw_bytes": row["raw_bytes"],
        "schema_version": row["schema_version"],
        "rejected_at": iso(row["rejected_at"]),
        "date": str(row["date"]),
        "file": row["_source_file"],
        "file_id": row["_file_id"],
        "record_no": row["_record_no"],
        "batch_id": row["_batch_id"],
    }


def _record(row: dict[str, Any], *, with_batch: bool = False) -> str:
    """The name by which the other verbs take it."""
    return f"{row['_batch_id']}:" * with_batch + f"{row['_file_id']}:{row['_record_no']}"


def _files(app: App, file_ids: list[str]) -> list[Any]:
    from metadata.ledger.life import files_by_id

    return list(files_by_id(app.database, file_ids).values())


def _short(text: str | None) -> str | None:
    return text if text is None or len(text) <= _MESSAGE_WIDTH else f"{text[: _MESSAGE_WIDTH - 1]}…"
