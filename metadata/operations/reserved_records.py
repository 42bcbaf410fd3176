"""Reservations: the rows of `replay_records`, which say what operation has taken which rejected record.

All functions work within the caller's transaction.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Executable, bindparam, delete, func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from metadata.database.models import ReplayRecord
from metadata.ledger.values import RecordKey


def reserve(session: Session, operation_id: str, keys: Sequence[RecordKey]) -> None:
    """Take records for an operation; those that are taken stay with whoever has them."""
    if not keys:
        return
    dialect: Any = sqlite if session.get_bind().dialect.name == "sqlite" else postgresql
    statement: Executable = dialect.insert(ReplayRecord).on_conflict_do_nothing()
    session.execute(statement, _rows(operation_id, keys))


def release(session: Session, keys: Iterable[RecordKey]) -> None:
    """Let these records go: they may be taken again."""
    rows = [{f"the_{name}": value for name, value in key._asdict().items()} for key in keys]
    if not rows:
        return
    statement = delete(ReplayRecord).where(
        ReplayRecord.batch_id == bindparam("the_batch_id"),
        ReplayRecord.file_id == bindparam("the_file_id"),
        ReplayRecord.record_no == bindparam("the_record_no"),
    )
    session.connection().execute(statement, rows)


def taken_by(session: Session, operation_id: str) -> list[RecordKey]:
    """The records that an operation has, sorted."""
    query = (
        select(ReplayRecord.batch_id, ReplayRecord.file_id, ReplayRecord.record_no)
        .where(ReplayRecord.operation_id == operation_id)
        .order_by(ReplayRecord.batch_id, ReplayRecord.file_id, ReplayRecord.record_no)
    )
    return [RecordKey(*row) for row in session.execute(query)]


def count_of(session: Session, operation_id: str) -> int:
    """How many records an operation has."""
    query = select(func.count()).select_from(ReplayRecord).where(ReplayRecord.operation_id == operation_id)
    return int(session.scalar(query) or 0)


def by_file(session: Session, operation_id: str) -> list[tuple[str, str, int]]:
    """Batch, file and number of records that an operation has."""
    query = (
        select(ReplayRecord.batch_id, ReplayRecord.file_id, func.count())
        .where(ReplayRecord.operation_id == operation_id)
        .group_by(ReplayRecord.batch_id, ReplayRecord.file_id)
        .order_by(ReplayRecord.file_id)
    )
    return [(batch_id, file_id, int(count)) for batch_id, file_id, count in session.execute(query)]


def _rows(operation_id: str, keys: Iterable[RecordKey]) -> list[dict[str, Any]]:
    return [{**key._asdict(), "operation_id": operation_id} for key in keys]
