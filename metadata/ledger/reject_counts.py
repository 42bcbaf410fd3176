"""Why records were rejected: counted by micro-batch, file, code and field; and what was replayed of them is forgotten.

Written within the transactions of Prepare and Record, and again when a receipt is put back.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import delete, func, insert, select
from sqlalchemy.orm import Session

from metadata.database.models import NAME_LENGTH, BatchFile, Reject, ReplayRecord, SourceFile
from metadata.ledger.values import RejectReason


def note_reasons(session: Session, batch_id: str, reasons: Mapping[str, Iterable[RejectReason]]) -> None:
    """Why a batch rejected records, by file id; whatever was said of the batch before is replaced."""
    rows: dict[tuple[str, str, str], dict[str, Any]] = {}
    for file_id, of in reasons.items():
        for each in of:
            key = (file_id, each.code, each.field[:NAME_LENGTH])
            if key in rows:  # two names that begin alike
                rows[key]["records"] += each.records
                continue
            rows[key] = {
                "batch_id": batch_id,
                "file_id": file_id,
                "code": each.code,
                "field": key[2],
                "records": each.records,
                "first_record_no": each.first_record_no,
                "message": each.message,
            }
    session.execute(delete(Reject).where(Reject.batch_id == batch_id))
    if rows:
        session.execute(insert(Reject), list(rows.values()))


def quarantined_by_code(session: Session, batch_id: str) -> dict[str, int]:
    """How many records of a batch's loaded files were rejected, by code, most frequent first."""
    query = (
        select(Reject.code, func.sum(Reject.records))
        .join(BatchFile, (BatchFile.batch_id == Reject.batch_id) & (BatchFile.file_id == Reject.file_id))
        .where(Reject.batch_id == batch_id, BatchFile.outcome == "loaded")
        .group_by(Reject.code)
        .order_by(func.sum(Reject.records).desc(), Reject.code)
    )
    return {code: int(records) for code, records in session.execute(query)}


def forget_replays(session: Session, files: Iterable[SourceFile]) -> None:
    """These files' loads leave the tables, with what was replayed or discarded of them."""
    for row in files:
        if row.replayed or row.discarded:
            mine = (ReplayRecord.batch_id == row.batch_id, ReplayRecord.file_id == row.id)
            session.execute(delete(ReplayRecord).where(*mine))
        row.replayed = row.discarded = 0
