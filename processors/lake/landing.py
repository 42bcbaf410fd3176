"""The landing question: is a micro-batch in a table?

An append is one snapshot whose id is derived from the batch's id and the table's name, so as long as the table's
history is whole the answer is a look at the ancestors of `main`. Expiry and rollback cut history; then the batch's own
data files in current manifests answer, or its rows (compaction rewrites files, but never changes `_batch_id`).
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum

from pyiceberg.expressions import EqualTo
from pyiceberg.table import Table
from pyiceberg.table.snapshots import ancestors_of

BATCH_COLUMN = "_batch_id"
_CLOCK_TOLERANCE_MS = 60_000  # as much as Iceberg itself grants the clocks of two writers


class LandingState(StrEnum):
    """Whether a micro-batch is in a table."""

    LANDED = "landed"  #: its rows are in the table, or were until an operation that is on record took them out
    ABSENT = "absent"  #: it was never committed
    HISTORY_CUT = "history_cut"  #: no trace of it, and its snapshot may have been expired or rolled back: ask a person


@dataclass(frozen=True)
class Landing:
    """The answer; `snapshot_id` is the snapshot that added the batch's rows, None when they were not found."""

    state: LandingState
    snapshot_id: int | None = None


def derived_snapshot_id(key: str, table_name: str) -> int:
    """The snapshot id that a batch or an operation has in a table: positive, 63 bits, the same in every process."""
    digest = hashlib.sha256(f"{key}\n{table_name}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1 or 1


def find_landing(table: Table, table_name: str, batch_id: str, paths: Collection[str]) -> Landing:
    """Answer the landing question from the table as it is now; `paths` are the batch's data files, as recorded."""
    snapshot_id = derived_snapshot_id(batch_id, table_name)
    if is_in_main(table, snapshot_id):
        return Landing(LandingState.LANDED, snapshot_id)
    rolled_back = table.snapshot_by_id(snapshot_id) is not None
    if not rolled_back and _knows_all_since(table, batch_id):
        return Landing(LandingState.ABSENT)
    if current_paths(table, paths) or _has_rows(table, batch_id):
        return Landing(LandingState.LANDED, snapshot_id)
    return Landing(LandingState.HISTORY_CUT)


def is_in_main(table: Table, snapshot_id: int) -> bool:
    """Whether a snapshot is the current one or one of its ancestors that were kept."""
    ancestors = ancestors_of(table.current_snapshot(), table.metadata)
    return any(snapshot.snapshot_id == snapshot_id for snapshot in ancestors)


def _knows_all_since(table: Table, batch_id: str) -> bool:
    """Whether the metadata still has every snapshot that was committed since the batch was made.

    Each commit takes the next sequence number, so a gap is a snapshot that expired. Parents do not tell: expiry
    leaves a snapshot without a parent that looks like the table's first.
    """
    if table.metadata.format_version == 1:  # counts no commits
        return not table.metadata.snapshots
    kept = {snapshot.sequence_number: snapshot for snapshot in table.metadata.snapshots}
    made_ms = _made_ms(batch_id)
    for number in range(table.metadata.last_sequence_number, 0, -1):
        snapshot = kept.get(number)
        if snapshot is None:
            return False
        if made_ms is not None and snapshot.timestamp_ms + _CLOCK_TOLERANCE_MS < made_ms:
            return True
    return True


def _made_ms(batch_id: str) -> int | None:
    """When a batch id was made, in epoch milliseconds; None when it is no UUIDv7."""
    try:
        identifier = uuid.UUID(batch_id)
    except ValueError:
        return None
    return identifier.int >> 80 if identifier.version == 7 else None


def current_paths(table: Table, paths: Collection[str]) -> set[str]:
    """Which of `paths` are data files of the table's current snapshot."""
    snapshot = table.current_snapshot()
    wanted = set(paths)
    if snapshot is None or not wanted:
        return set()
    return {
        entry.data_file.file_path
        for manifest in snapshot.manifests(table.io)
        for entry in manifest.fetch_manifest_entry(table.io, discard_deleted=True)
        if entry.data_file.file_path in wanted
    }


def _has_rows(table: Table, batch_id: str) -> bool:
    if BATCH_COLUMN not in table.schema().column_names:
        return False
    is_ours = EqualTo(BATCH_COLUMN, batch_id)  # type: ignore[call-arg,arg-type] # pydantic hides its own __init__
    rows = table.scan(row_filter=is_ours, selected_fields=(BATCH_COLUMN,), limit=1).to_arrow()
    return int(rows.num_rows) > 0
