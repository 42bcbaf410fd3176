"""Files and batches of the ledger by their ids, and their steps from state to state: an illegal one is Fatal.

The legal steps stand in `metadata.database.states`; any other means that the books and the program disagree. All
functions work within the caller's transaction.
"""

from __future__ import annotations

from sqlalchemy.orm import Session

from metadata.database.models import Batch, SourceFile
from metadata.database.states import BATCH_MOVES, FILE_MOVES, BatchState, FileState
from metadata.errors import Fatal


def get_file(session: Session, file_id: str) -> SourceFile:
    """One source file; Fatal when it is not in the books."""
    row = session.get(SourceFile, file_id)
    if row is None:
        raise Fatal(f"looking up source file {file_id}: it is not in the ledger; was the ledger restored or edited?")
    return row


def get_batch(session: Session, batch_id: str) -> Batch:
    """One micro-batch; Fatal when it is not in the books."""
    row = session.get(Batch, batch_id)
    if row is None:
        raise Fatal(f"looking up batch {batch_id}: it is not in the ledger; was the ledger restored or edited?")
    return row


def move_file(row: SourceFile, to: FileState) -> None:
    """To a state that may follow the one it is in; else Fatal."""
    if to not in FILE_MOVES[FileState(row.state)]:
        raise Fatal(f"moving source file {row.id} ({row.name}) from {row.state} to {to.value}: not a legal step")
    row.state = to.value


def move_batch(row: Batch, to: BatchState) -> None:
    """To a state that may follow the one it is in; else Fatal."""
    if to not in BATCH_MOVES[BatchState(row.state)]:
        raise Fatal(f"moving batch {row.id} from {row.state} to {to.value}: not a legal step")
    row.state = to.value
