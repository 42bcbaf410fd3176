"""What tables were at a moment: `as_of`, a snapshot id or a time, as a snapshot of each, by Iceberg's metadata."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from metadata.errors import UsageError

if TYPE_CHECKING:
    from pyiceberg.table import Table
    from pyiceberg.table.snapshots import Snapshot

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def snapshots_at(tables: dict[str, Table], as_of: str) -> dict[str, int | None]:
    """The snapshot id to read of each table; None where it had none."""
    text = as_of.strip()
    if re.fullmatch(r"\d+", text):
        return _at_snapshot(tables, int(text))
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(
            f"reading as of {as_of!r}: it is neither a snapshot id nor a time such as 2026-01-15T12:00:00Z"
        ) from None
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    at_ms = (moment - _EPOCH) // timedelta(milliseconds=1)
    return {name: _at_time(name, table, at_ms) for name, table in tables.items()}


def _at_snapshot(tables: dict[str, Table], snapshot_id: int) -> dict[str, int | None]:
    for owner, table in tables.items():
        snapshot: Snapshot | None = table.snapshot_by_id(snapshot_id)
        if snapshot is not None:
            return {
                name: snapshot_id if name == owner else _at_time(name, other, snapshot.timestamp_ms)
                for name, other in tables.items()
            }
    raise UsageError(
        f"reading as of snapshot {snapshot_id}: no table has it (any more); `lemonade batches` shows the snapshots"
    )


def _at_time(name: str, table: Table, at_ms: int) -> int | None:
    """The last snapshot that was current at that millisecond; UsageError when it may have been expired since."""
    log = table.history()
    earlier = [entry.snapshot_id for entry in log if entry.timestamp_ms <= at_ms]
    found = table.snapshot_by_id(earlier[-1]) if earlier else None
    follows = table.snapshot_by_id(log[len(earlier)].snapshot_id) if len(earlier) < len(log) else None
    if (earlier and found is None) or (follows is not None and _lost_parent(table, follows)):
        raise UsageError(f"reading {name} as of an earlier time: its snapshots of that time have expired")
    return found.snapshot_id if found is not None else None


def _lost_parent(table: Table, snapshot: Snapshot) -> bool:
    """Whether the snapshot before this one was expired; some engines clear the link to it, others leave it dangling."""
    if snapshot.parent_snapshot_id is None:
        return (snapshot.sequence_number or 0) > 1
    return table.snapshot_by_id(snapshot.parent_snapshot_id) is None
