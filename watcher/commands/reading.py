"""The reading verbs over the ledger: `status`, `files`, `batches`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from watcher.show import JSON_OPTION, bytes_text, iso, print_json, print_table

if TYPE_CHECKING:
    from watcher.app import App


@click.command()
@JSON_OPTION
@click.pass_obj
def status(app: App, as_json: bool) -> None:
    """What waits, what comes next, what went wrong last."""
    answer = _status(app)
    if as_json:
        print_json(answer)
        return
    daemon = answer["daemon"]
    click.echo(f"daemon    {'runs, pid ' + str(daemon['pid']) if daemon['alive'] else 'does not run'}")
    for name in ("hour", "rescan", "summary"):
        times = answer["times"][name]
        due = times["next"] if daemon["alive"] else "when the daemon runs"
        click.echo(f"{name:<9} last {times['last'] or 'never'}, next {due}")
    click.echo("")
    rows = [{**row, "bytes": bytes_text(row["bytes"]), "files": row["states"]} for row in answer["types"]]
    print_table(["type", "status", "waiting", "bytes", "oldest", "files"], rows, "no file types; run: lemonade init")
    if answer["unsettled_batches"]:
        click.echo(f"\n{len(answer['unsettled_batches'])} batches in work: {', '.join(answer['unsettled_batches'])}")
    if answer["errors"]:
        click.echo("\nlast errors")
        for error in answer["errors"]:
            click.echo(f"  {error['at']}  {error['what']}  {error['code']}: {error['message']}")


def _status(app: App) -> dict[str, Any]:
    from metadata.database.states import FileState
    from watcher.daemon.schedule import Due, Last, next_times
    from watcher.lock import daemon_pid

    pid = daemon_pid(app.settings)
    now, marks = app.clock.now(), app.marks.all()
    upcoming = next_times(now, Last.from_marks(marks, now), app.settings)
    counts = app.ledger.state_counts()
    registered = app.registry.read()
    statuses = {kind.name: kind.status.value for kind in registered.types}
    statuses |= dict.fromkeys((row.file_type for row in registered.broken), "broken")
    statuses |= {name: "-" for name in counts if name not in statuses}
    types = []
    for name, its_status in sorted(statuses.items()):
        waiting = app.ledger.waiting(name)
        types.append(
            {
                "type": name,
                "status": its_status,
                "waiting": len(waiting),
                "bytes": sum(file.size_bytes for file in waiting),
                "oldest": iso(min((file.claimed_at for file in waiting if file.claimed_at), default=None)),
                "held": counts.get(name, {}).get(FileState.HELD, 0),
                "states": counts.get(name, {}),
            }
        )
    return {
        "daemon": {
            "alive": pid is not None,
            "pid": pid,
            "started": iso(marks["started"].at) if "started" in marks else None,
        },
        "times": {
            due.value: {"last": iso(marks[due.value].at) if due.value in marks else None, "next": iso(upcoming[due])}
            for due in Due
        },
        "types": types,
        "unsettled_batches": [batch.id for batch in app.ledger.unsettled_batches()],
        "errors": _errors(app),
    }


def _errors(app: App, limit: int = 5) -> list[dict[str, Any]]:
    """The last errors of files, batches and types, newest first."""
    from metadata.database.states import FileState

    found: list[dict[str, Any]] = []
    for state in (FileState.FAILED, FileState.ERROR):
        for file in app.ledger.files(state=state, limit=limit, newest_first=True):
            at = file.settled_at or file.noticed_at
            found.append({"at": at, "what": file.name, "code": file.code, "message": file.message})
    for batch in app.ledger.batches(limit=50):
        if batch.error:
            found.append(
                {"at": batch.planned_at, "what": f"batch {batch.id}", "code": batch.state, "message": batch.error}
            )
    for name, at, message in app.registry.errors():
        found.append({"at": at, "what": f"type {name}", "code": "type", "message": message})
    newest = sorted(found, key=lambda error: error["at"], reverse=True)[:limit]
    return [{**error, "at": iso(error["at"])} for error in newest]


@click.command()
@click.argument("name", required=False)
@click.option("--type", "file_type", help="Only files of this type.")
@click.option("--state", help="Only files in this state: claimed, loaded, failed, …")
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True, help="The newest so many.")
@JSON_OPTION
@click.pass_obj
def files(app: App, name: str | None, file_type: str | None, state: str | None, limit: int, as_json: bool) -> None:
    """Source files and their fate, newest last; NAME: only files of that name. Exit 1 when there is none."""
    from metadata.database.states import FileState

    wanted = None if state is None else _member(FileState, state, "state")
    rows = app.ledger.files(state=wanted, file_type=file_type, name=name, limit=limit, newest_first=True)[::-1]
    shown = [
        {
            "file_id": file.id,
            "name": file.name,
            "file_type": file.file_type,
            "state": file.state,
            "records": file.records,
            "rows": file.rows,
            "rejected": file.rejected,
            "bytes": file.size_bytes,
            "digest": file.digest,
            "batch_id": file.batch_id,
            "attempts": file.attempts,
            "noticed_by": file.noticed_by,
            "noticed_at": iso(file.noticed_at),
            "claimed_at": iso(file.claimed_at),
            "settled_at": iso(file.settled_at),
            "code": file.code,
            "message": file.message,
            "path": file.path,
        }
        for file in rows
    ]
    if as_json:
        print_json(shown)
    else:
        print_table(["name", "file_type", "state", "rows", "noticed_at", "batch_id", "code"], shown, "no such file")
    if not shown:
        raise click.exceptions.Exit(1)


@click.command()
@click.option("--type", "file_type", help="Only batches of this type.")
@click.option("--state", help="Only batches in this state: planned, prepared, committed, settled, abandoned.")
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True, help="The newest so many.")
@JSON_OPTION
@click.pass_obj
def batches(app: App, file_type: str | None, state: str | None, limit: int, as_json: bool) -> None:
    """Micro-batches and their snapshots, newest last. Exit 1 when there is none."""
    from metadata.database.states import BatchState

    wanted = None if state is None else _member(BatchState, state, "state")
    shown = [
        {
            "batch_id": batch.id,
            "file_type": batch.file_type,
            "table": batch.table_name,
            "state": batch.state,
            "reason": batch.reason,
            "flush_id": batch.flush_id,
            "schema_version": batch.schema_version,
            "files": batch.files,
            "bytes": batch.bytes,
            "records": batch.records,
            "rows": batch.expected_rows,
            "rejected": batch.rejected,
            "snapshot_id": batch.snapshot_id,
            "attempts": batch.attempts,
            "planned_at": iso(batch.planned_at),
            "committed_at": iso(batch.committed_at),
            "settled_at": iso(batch.settled_at),
            "error": batch.error,
        }
        for batch in app.ledger.batches(file_type=file_type, state=wanted, limit=limit)[::-1]
    ]
    if as_json:
        print_json(shown)
    else:
        columns = ["batch_id", "table", "state", "reason", "files", "rows", "rejected", "snapshot_id", "planned_at"]
        print_table(columns, shown, "no batches yet")
    if not shown:
        raise click.exceptions.Exit(1)


def _member(states: Any, text: str, what: str) -> Any:
    from metadata.errors import UsageError

    try:
        return states(text)
    except ValueError:
        raise UsageError(f"choosing {what} {text!r}: it is one of {', '.join(states)}") from None
