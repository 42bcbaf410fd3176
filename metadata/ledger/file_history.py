"""The life of a source file: a row for each step, written in the transaction of that step.

The rows are taken from `source_files` as it stands in that transaction, so what the history says last is what the
ledger says now. Whoever changes a file's state or path calls one of these; `explain` reads it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import insert, literal, select
from sqlalchemy.orm import Session

from metadata.database.id_chunks import id_chunks
from metadata.database.models import FileHistory, SourceFile

_COLUMNS = ["file_id", "at", "state", "path", "batch_id", "code", "message"]


def note(session: Session, row: SourceFile, at: datetime, message: str | None = None) -> None:
    """One file's state or path has changed; `message` says why, else the row's own does."""
    note_many(session, [row.id], at, message)


def note_many(session: Session, file_ids: Sequence[str], at: datetime, message: str | None = None) -> None:
    """The states or paths of these files have changed: one statement for thousands of them."""
    session.flush()
    for some in id_chunks(file_ids):
        steps = (
            select(
                SourceFile.id,
                literal(at, FileHistory.at.type),
                SourceFile.state,
                SourceFile.path,
                SourceFile.batch_id,
                SourceFile.code,
                SourceFile.message if message is None else literal(message),
            )
            .where(SourceFile.id.in_(some))
            .order_by(SourceFile.id)
        )
        session.execute(insert(FileHistory).from_select(_COLUMNS, steps, include_defaults=False))


def of_file(session: Session, file_id: str) -> list[FileHistory]:
    """The steps of one file, in their order."""
    return list(session.scalars(select(FileHistory).where(FileHistory.file_id == file_id).order_by(FileHistory.id)))
