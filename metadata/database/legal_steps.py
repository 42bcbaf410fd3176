"""Rows of files, batches and operations by their ids, and their steps from state to state: an illegal one is Fatal.

The legal steps stand in `metadata.database.states`; any other means that the books and the program disagree. All
functions work within the caller's transaction.
"""

from __future__ import annotations

from typing import TypeVar

from sqlalchemy.orm import Session

from metadata.database.models import Batch, Operation, SourceFile
from metadata.database.states import BATCH_MOVES, FILE_MOVES, BatchState, FileState
from metadata.errors import Fatal

Row = TypeVar("Row", Batch, Operation, SourceFile)


def get_file(session: Session, file_id: str) -> SourceFile:
    """One source file; Fatal when it is not in the books."""
    return _known(session.get(SourceFile, file_id), f"source file {file_id}")


def get_batch(session: Session, batch_id: str) -> Batch:
    """One micro-batch; Fatal when it is not in the books."""
    return _known(session.get(Batch, batch_id), f"batch {batch_id}")


def get_operation(session: Session, operation_id: str) -> Operation:
    """One operation; Fatal when it is not in the books."""
    return _known(session.get(Operation, operation_id), f"operation {operation_id}")


def move_file(row: SourceFile, to: FileState) -> None:
    """To a state that may follow the one it is in; else Fatal."""
    if to not in FILE_MOVES[FileState(row.state)]:
        raise Fatal(f"moving source file {row.id} ({row.name}) from {row.state} to {to.value}: not a legal step")
    row.state = to.value


def move_batch(row: Batch, to: BatchState) -> None:
    """To a state that may follow the one it is in; else Fatal."""
    _move(row, f"batch {row.id}", to)


def move_operation(row: Operation, to: BatchState) -> None:
    """To a state that may follow the one it is in, as those of batches do; else Fatal."""
    _move(row, f"operation {row.id}", to)


def _known(row: Row | None, what: str) -> Row:
    if row is None:
        raise Fatal(f"looking up {what}: it is not in the ledger; was the ledger restored or edited?")
    return row


def _move(row: Batch | Operation, what: str, to: BatchState) -> None:
    if to not in BATCH_MOVES[BatchState(row.state)]:
        raise Fatal(f"moving {what} from {row.state} to {to.value}: not a legal step")
    row.state = to.value
