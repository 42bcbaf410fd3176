"""`lemonade explain`: the life of one file, or of one micro-batch, on one screen."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from metadata.cures import cure_for
from metadata.ledger.values import rows_in_quarantine
from metadata.reject_codes import record_cure
from watcher.terminal.output import JSON_OPTION, bytes_text, iso, print_json, print_table, shown

if TYPE_CHECKING:
    from metadata.database.models import Batch, BatchFile, FileHistory, Operation, Reject, SourceFile
    from metadata.ledger.life import Life
    from watcher.app import App

_BAD = ("failed", "error", "missing", "duplicate")


@click.command()
@click.argument("file", metavar="FILE")
@JSON_OPTION
@click.pass_obj
def explain(app: App, file: str, as_json: bool) -> None:
    """The life of a file from arrival to rows: FILE is a name, a path or an id; the id of a micro-batch does too.

    A name that several files have lists them with their ids. Exit 1 when the ledger has none.
    """
    from metadata.ledger.life import batch_of, find_files, life_of

    found = find_files(app.database, file)
    life = life_of(app.database, found[0].id) if len(found) == 1 else None
    batch = None if found else batch_of(app.database, file)
    if as_json:
        print_json(
            {
                "file": None if life is None else _file(life),
                "batch": None if batch is None else _batch(*batch),
                "candidates": [] if len(found) < 2 else [_candidate(row) for row in found],
            }
        )
    elif life is not None:
        _print_file(app, _file(life))
    elif batch is not None:
        _print_batch(_batch(*batch))
    elif found:
        click.echo(f"{len(found)} files are meant by {shown(file)}; explain one of them by its id:")
        print_table(["file_id", "state", "noticed_at", "name", "path"], [_candidate(row) for row in found], "")
    else:
        waits = app.settings.incoming_folder / file
        hint = "; it lies in incoming/ and was not taken yet" if os.path.lexists(waits) else "; see: lemonade files"
        click.echo(f"the ledger has no file or micro-batch {shown(file)}{hint}")
    raise click.exceptions.Exit(int(not found and batch is None))


def _file(life: Life) -> dict[str, Any]:
    """A life as `--json` shows it."""
    file = life.file
    return {
        **_row(file),
        "rejects": [_reject(each) for each in life.rejects],
        **_last_batch(life),
        "code": file.code,
        "message": file.message,
        "cure": cure_for(file.code or file.state) if file.state in _BAD else None,
        "replaced_by": file.replaced_by,
        "same_delivery": [{"file_id": row.id, "name": row.name, "state": row.state} for row in life.same_delivery],
        "batches": [{**_batch_row(batch), **_made(part)} for part, batch in life.batches],
        "operations": [_operation(each) for each in life.operations],
        "steps": [_step(each) for each in life.steps],
    }


def _row(file: SourceFile) -> dict[str, Any]:
    """What the ledger's row says: what it is, when, how often, how many records."""
    return {
        "file_id": file.id,
        "name": file.name,
        "file_type": file.file_type,
        "state": file.state,
        "path": file.path,
        "filename_time": iso(file.filename_time),
        "bytes": file.size_bytes,
        "digest": file.digest,
        "modified_at": iso(file.modified_at),
        "noticed_by": file.noticed_by,
        "noticed_at": iso(file.noticed_at),
        "claimed_at": iso(file.claimed_at),
        "settled_at": iso(file.settled_at),
        "attempts": file.attempts,
        "deaths": file.deaths,
        "records": file.records,
        "rows": file.rows,
        "rejected": file.rejected,
        "replayed": file.replayed,
        "discarded": file.discarded,
        "quarantined": rows_in_quarantine(file) if file.state == "loaded" else 0,
    }


def _reject(reject: Reject) -> dict[str, Any]:
    return {
        "code": reject.code,
        "field": reject.field or None,
        "records": reject.records,
        "first_record_no": reject.first_record_no,
        "message": reject.message,
        "cure": record_cure(reject.code),
    }


def _last_batch(life: Life) -> dict[str, Any]:
    """The table and snapshots of the micro-batch that it is in now; all null when it is in none."""
    last = life.batches[-1][1] if life.batches and life.batches[-1][1].id == life.file.batch_id else None
    return {
        "table": None if last is None else last.table_name,
        "schema_version": None if last is None else last.schema_version,
        "snapshot_id": None if last is None else last.snapshot_id,
        "quarantine_snapshot_id": None if last is None else last.quarantine_snapshot_id,
    }


def _operation(operation: Operation) -> dict[str, Any]:
    return {
        "operation_id": operation.id,
        "kind": operation.kind,
        "state": operation.state,
        "removed_rows": operation.removed_rows,
        "added_rows": operation.added_rows,
        "quarantine_rows": operation.quarantine_rows,
        "snapshot_id": operation.snapshot_id,
        "quarantine_snapshot_id": operation.quarantine_snapshot_id,
        "planned_at": iso(operation.planned_at),
        "settled_at": iso(operation.settled_at),
    }


def _step(step: FileHistory) -> dict[str, Any]:
    return {
        "at": iso(step.at),
        "state": step.state,
        "path": step.path,
        "batch_id": step.batch_id,
        "code": step.code,
        "message": step.message,
    }


def _batch(batch: Batch, files: list[tuple[BatchFile, SourceFile]]) -> dict[str, Any]:
    """A micro-batch as `--json` shows it."""
    named = [{"file_id": file.id, "name": file.name, "state": file.state, **_made(part)} for part, file in files]
    return {**_batch_row(batch), "files": named}


def _batch_row(batch: Batch) -> dict[str, Any]:
    return {
        "batch_id": batch.id,
        "file_type": batch.file_type,
        "batch_state": batch.state,
        "table": batch.table_name,
        "schema_version": batch.schema_version,
        "reason": batch.reason,
        "flush_id": batch.flush_id,
        "attempts": batch.attempts,
        "snapshot_id": batch.snapshot_id,
        "quarantine_snapshot_id": batch.quarantine_snapshot_id,
        "planned_at": iso(batch.planned_at),
        "prepared_at": iso(batch.prepared_at),
        "committed_at": iso(batch.committed_at),
        "settled_at": iso(batch.settled_at),
        "error": batch.error,
        "halved_from": batch.halved_from,
    }


def _made(part: BatchFile) -> dict[str, Any]:
    return {
        "outcome": part.outcome,
        "records": part.records,
        "rows": part.rows,
        "rejected": part.rejected,
        "code": part.code,
        "message": part.message,
        "cure": cure_for(part.code) if part.code else None,
    }


def _candidate(row: SourceFile) -> dict[str, Any]:
    return {
        "file_id": row.id,
        "name": row.name,
        "file_type": row.file_type,
        "state": row.state,
        "noticed_at": iso(row.noticed_at),
        "path": row.path,
    }


def _print_file(app: App, file: dict[str, Any]) -> None:
    _say("file", f"{shown(file['name'])} is {file['state']}")
    _say("id", file["file_id"])
    digest = f", SHA-256 {file['digest'][:16]}…" if file["digest"] else ""
    _say("type", f"{shown(file['file_type'])}, {bytes_text(file['bytes'])}{digest}")
    how = "a file event" if file["noticed_by"] == "event" else "a scan"
    _say("noticed", f"{file['noticed_at']} by {how}")
    if file["claimed_at"]:
        _say("claimed", f"{file['claimed_at']}, {_times(file['attempts'], 'attempt')}")
    for batch in file["batches"]:
        _say("batch", _batch_line(batch))
        for cause in filter(None, (batch["error"], batch["message"])):
            _say("", shown(cause))
    if file["records"] is not None:
        _say("rows", f"{file['rows']} loaded, {file['rejected']} rejected of {_times(file['records'], 'record')}")
    for each in file["rejects"]:
        where = f" in {shown(each['field'])}" if each["field"] else ""
        number = _times(each["records"], "record")
        _say("rejected", f"{number}: {each['code']}{where}; {shown(each['message'])}")
    if file["state"] == "loaded" and file["rejected"]:
        _say("", _became_of(file))
    for each in file["operations"]:
        _say(each["kind"], f"{each['operation_id']} {each['state']}{_operation_line(each)}")
    if file["replaced_by"]:
        _say("replaced", f"by file {file['replaced_by']}")
    for other in file["same_delivery"]:
        _say("same", f"delivery as {shown(other['name'])} ({other['state']}), {other['file_id']}")
    _say("now", shown(file["path"]))
    if file["code"]:
        _say("error", f"{file['code']}: {shown(file['message'])}")
    if file["cure"]:
        _say("cure", file["cure"])
    if file["steps"]:
        click.echo("")
        steps = [{**step, "where": _short(app, step["path"]), "why": _why(step)} for step in file["steps"]]
        print_table(["at", "state", "where", "why"], steps, "")


def _became_of(file: dict[str, Any]) -> str:
    """Where its rejected records are."""
    line = f"{file['quarantined']} in the quarantine, {file['replayed']} replayed, {file['discarded']} discarded"
    return line + (f"; lemonade quarantine list --file {file['file_id']}" if file["quarantined"] else "")


def _operation_line(operation: dict[str, Any]) -> str:
    """What an operation has changed, of all its files."""
    did = [
        (operation["removed_rows"], f"{_times(operation['removed_rows'] or 0, 'row')} taken out"),
        (operation["added_rows"], f"{_times(operation['added_rows'] or 0, 'row')} added"),
        (operation["quarantine_rows"], f"{_times(operation['quarantine_rows'] or 0, 'record')} out of the quarantine"),
        (operation["snapshot_id"], f"snapshot {operation['snapshot_id']}"),
        (operation["quarantine_snapshot_id"], f"quarantine snapshot {operation['quarantine_snapshot_id']}"),
    ]
    return "".join(f", {text}" for value, text in did if value)


def _print_batch(batch: dict[str, Any]) -> None:
    _say("batch", _batch_line({**batch, "outcome": None}))
    _say("flush", f"{batch['flush_id']}, because of {batch['reason']}; planned {batch['planned_at']}")
    if batch["error"]:
        _say("error", shown(batch["error"]))
    click.echo("")
    columns = ["name", "state", "outcome", "rows", "rejected", "code", "file_id"]
    print_table(columns, batch["files"], "it has no files")


def _batch_line(batch: dict[str, Any]) -> str:
    """One micro-batch in words."""
    line = f"{batch['batch_id']} {batch['batch_state']}, {_times(batch['attempts'], 'attempt')}"
    if batch["outcome"]:
        line += f", outcome {batch['outcome']}"
    line += f"; {batch['table']}, schema version {batch['schema_version']}"
    if batch["snapshot_id"]:
        line += f", snapshot {batch['snapshot_id']} at {batch['committed_at']}"
    if batch["quarantine_snapshot_id"]:
        line += f", quarantine snapshot {batch['quarantine_snapshot_id']}"
    return line + (f"; half of {batch['halved_from']}" if batch["halved_from"] else "")


def _why(step: dict[str, Any]) -> str:
    """The reason of a step in few words; the error itself is said above."""
    return shown(step["code"] or step["message"] or (f"batch {step['batch_id']}" if step["batch_id"] else ""))


def _short(app: App, path: str | None) -> str:
    """The folder that a step put the file in, as people call it."""
    if path is None:
        return "-"
    folders = app.settings.folders
    for base in (folders.source_data, folders.processed_base.parent, folders.incoming.parent):
        if path.startswith(f"{base}/"):
            return shown(path.removeprefix(f"{base}/").rpartition("/")[0] + "/")
    return shown(path)


def _say(what: str, text: str) -> None:
    click.echo(f"{what:<9} {text}")


def _times(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
