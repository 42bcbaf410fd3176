"""Rejected records on the command line: the options that choose them, and how each is named and listed."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TypeVar

import click

from watcher.terminal.output import iso

F = TypeVar("F", bound=Callable[..., Any])

_TIMES = click.DateTime(formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%SZ"])


def choosing(command: F) -> F:
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


def chosen_arguments(
    file_type: str | None,
    code: str | None,
    field: str | None,
    files: tuple[str, ...],
    since: datetime | None,
    until: datetime | None,
) -> dict[str, Any]:
    """What these options chose, as a request's arguments."""
    return {
        "type": file_type,
        "code": code,
        "field": field,
        "files": list(files),
        "since": None if since is None else since.replace(tzinfo=UTC).isoformat(),
        "until": None if until is None else until.replace(tzinfo=UTC).isoformat(),
    }


def listed_record(row: dict[str, Any]) -> dict[str, Any]:
    """A row of the quarantine as `--json` shows it."""
    return {
        "record": record_name(row),
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


def record_name(row: dict[str, Any], *, with_batch: bool = False) -> str:
    """The name by which the other verbs take it."""
    return f"{row['_batch_id']}:" * with_batch + f"{row['_file_id']}:{row['_record_no']}"
