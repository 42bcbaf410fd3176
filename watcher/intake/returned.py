"""Files that a person took out of failed/ (or error/, undone/, duplicate/) and dropped again: the old row says so.

They come as new arrivals with rows of their own. Without this the old row would name a path at which nothing lies, and
the books would not balance.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from metadata.errors import BytesChanged
from metadata.files.folders import reason_path
from metadata.ledger.ledger import Ledger
from metadata.ledger.life import ended_like
from metadata.ledger.values import NewFile
from watcher.intake.folder_faults import folders_answer


def mark_returned(ledger: Ledger, arrivals: Sequence[NewFile]) -> None:
    """Mark the rows missing whose files are among these arrivals, and remove the reasons left beside them.

    A file is the same when its name is, or, for one that had no data file's name, its size and modification time; and
    when nothing lies at its old path any more. Call it under `Intake.lock`, which whoever moves ended files holds.
    Raises WorldFault when a reason cannot be removed; the row says by then what became of its file.
    """
    by_name = {each.arrival.name: each for each in arrivals}
    by_look = {(each.arrival.size_bytes, each.arrival.modified_at): each for each in arrivals}
    times = [each.arrival.modified_at for each in arrivals]
    for row in ended_like(ledger.database, list(by_name), times):
        new = by_name.get(row.name)
        if new is None and row.digest is None:
            new = by_look.get((row.size_bytes, row.modified_at or row.noticed_at))
        if new is None or new.arrival.file_id == row.id or os.path.lexists(row.path):
            continue
        if row.code == BytesChanged.code:
            continue  # it has no copy that anybody could have taken: somebody wrote to it after it was read
        ledger.mark_missing(row.id, f"it was dropped into incoming/ again and goes on as file {new.arrival.file_id}")
        reason = reason_path(Path(row.path), row.id)
        with folders_answer("removing the reason", reason):
            reason.unlink(missing_ok=True)
