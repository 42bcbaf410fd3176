"""What the ledger knows of one file or micro-batch, from arrival to rows: read here, told by `lemonade explain`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sqlalchemy import or_, select

from metadata.database.engine import Database
from metadata.database.id_chunks import id_chunks
from metadata.database.models import Batch, BatchFile, FileHistory, Operation, Reject, SourceFile
from metadata.database.states import FileState
from metadata.ledger.file_history import of_file


@dataclass(frozen=True)
class Life:
    """One source file: its row, its steps, what each micro-batch made of it, and operations that changed its rows."""

    file: SourceFile
    steps: list[FileHistory]  #: in their order; empty for files that ended before there was a history
    batches: list[tuple[BatchFile, Batch]]  #: in their order
    operations: list[Operation]  #: in their order
    rejects: list[Reject]  #: why its last micro-batch rejected records of it, most frequent first
    same_delivery: list[SourceFile]  #: other files of the same type, filename timestamp and bytes


def find_files(database: Database, text: str) -> list[SourceFile]:
    """The files that a person may mean: by id, by name in incoming/, by name or path now, or by a path of before.

    Oldest first; the surest of these ways that finds anything decides.
    """
    path = str(Path(text).absolute())
    ways = [
        SourceFile.id == text,
        SourceFile.path == path,
        or_(SourceFile.name == text, SourceFile.path.endswith(f"/{text}", autoescape=True)),
        SourceFile.id.in_(select(FileHistory.file_id).where(FileHistory.path == path)),
    ]
    with database.reading() as session:
        for way in ways:
            found = list(session.scalars(select(SourceFile).where(way).order_by(SourceFile.id)))
            if found:
                return found
    return []


def files_by_id(database: Database, file_ids: Sequence[str]) -> dict[str, SourceFile]:
    """These files as they are now; ids that the ledger does not have are left out."""
    found: dict[str, SourceFile] = {}
    with database.reading() as session:
        for some in id_chunks(file_ids):
            found |= {row.id: row for row in session.scalars(select(SourceFile).where(SourceFile.id.in_(some)))}
    return found


def ended_like(database: Database, names: Sequence[str], modified_at: Sequence[datetime]) -> list[SourceFile]:
    """Settled files that were not loaded and have one of these names, or were never claimed and one of these mtimes."""
    states = [state.value for state in (FileState.FAILED, FileState.ERROR, FileState.UNDONE, FileState.DUPLICATE)]
    ended = select(SourceFile).where(SourceFile.state.in_(states), SourceFile.settled_at.is_not(None))
    same_look = SourceFile.digest.is_(None) & SourceFile.modified_at.in_(modified_at)
    with database.reading() as session:
        found = [*session.scalars(ended.where(SourceFile.name.in_(names))), *session.scalars(ended.where(same_look))]
    return list({row.id: row for row in found}.values())


def life_of(database: Database, file_id: str) -> Life:
    """Everything that is on record of a file; it is in the ledger, as `find_files` says."""
    with database.reading() as session:
        file = session.get_one(SourceFile, file_id)
        parts = (
            select(BatchFile, Batch)
            .join(Batch, Batch.id == BatchFile.batch_id)
            .where(BatchFile.file_id == file_id)
            .order_by(Batch.id)
        )
        batches = [(part, batch) for part, batch in session.execute(parts)]
        operations = [
            operation
            for operation in session.scalars(
                select(Operation).where(Operation.file_type == file.file_type).order_by(Operation.id)
            )
            if file_id in operation.file_ids
        ]
        reasons = (
            select(Reject)
            .where(Reject.file_id == file_id, Reject.batch_id == (batches[-1][1].id if batches else None))
            .order_by(Reject.records.desc(), Reject.code, Reject.field)
        )
        copies = select(SourceFile).where(
            SourceFile.file_type == file.file_type,
            SourceFile.filename_time == file.filename_time,
            SourceFile.digest == file.digest,
            SourceFile.id != file_id,
        )
        same = list(session.scalars(copies.order_by(SourceFile.id))) if file.digest else []
        rejects = list(session.scalars(reasons))
        return Life(file, of_file(session, file_id), batches, operations, rejects, same)


def batch_of(database: Database, text: str) -> tuple[Batch, list[tuple[BatchFile, SourceFile]]] | None:
    """A micro-batch by its id, with its files and what it made of each; None when there is none of that id."""
    with database.reading() as session:
        batch = session.get(Batch, text)
        if batch is None:
            return None
        parts = (
            select(BatchFile, SourceFile)
            .join(SourceFile, SourceFile.id == BatchFile.file_id)
            .where(BatchFile.batch_id == text)
            .order_by(SourceFile.id)
        )
        return batch, [(part, file) for part, file in session.execute(parts)]
