"""What became of rejected records that were replayed or discarded."""

from __future__ import annotations

from typing import Any

import click

from watcher.terminal.output import print_json, shown


def tell_taken(told: dict[str, Any], as_json: bool) -> None:
    """The answer to a replay, a trial of one, or a discard."""
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
