"""`lemonade status`: what waits, what comes next, what went wrong last."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from watcher.terminal.output import JSON_OPTION, bytes_text, iso, print_json, print_table

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
