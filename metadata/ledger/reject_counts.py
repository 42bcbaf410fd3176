"""What the records of a micro-batch taught the ledger: why some were rejected, and which keys the schema has not.

Both are written within the transactions of Prepare and Record, and again when a receipt is put back.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import delete, func, insert, select
from sqlalchemy.orm import Session

from metadata.database.models import BatchFile, Reject, ReplayRecord, SourceFile, UnknownField
from metadata.ledger.values import RejectReason, UnknownKey

MOST_UNKNOWN = 1000  # keys kept of one type: a producer may make up a new one for each record
_NAME_LENGTH = 255  # of the columns that hold keys and fields


def note_reasons(session: Session, batch_id: str, reasons: Mapping[str, Iterable[RejectReason]]) -> None:
    """Why a batch rejected records, by file id; whatever was said of the batch before is replaced."""
    rows: dict[tuple[str, str, str], dict[str, Any]] = {}
    for file_id, of in reasons.items():
        for each in of:
            key = (file_id, each.code, each.field[:_NAME_LENGTH])
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


def sum_unknown(files: Iterable[Iterable[UnknownKey]]) -> dict[str, Any] | None:
    """The unknown keys of all files together, as `batches.unknown_fields` keeps them; None when there are none."""
    found: dict[str, dict[str, Any]] = {}
    for keys in files:
        for each in keys:
            name = each.key[:_NAME_LENGTH]
            entry = found.setdefault(name, {"records": 0, "files": 0, "sample": each.sample})
            entry["records"] += each.records
            entry["files"] += 1
    most = sorted(found, key=lambda name: (-found[name]["records"], name))[:MOST_UNKNOWN]
    return {name: found[name] for name in most} or None


def count_unknown(session: Session, file_type: str, unknown: Mapping[str, Any] | None, now: datetime) -> None:
    """Add a batch's unknown keys to those of its type; beyond MOST_UNKNOWN of them no new one is taken."""
    if not unknown:
        return
    there = {row.key: row for row in session.scalars(select(UnknownField).where(UnknownField.file_type == file_type))}
    for key, seen in unknown.items():
        row = there.get(key)
        if row is None:
            if len(there) >= MOST_UNKNOWN:
                continue
            row = UnknownField(
                file_type=file_type, key=key, records=0, files=0, sample=seen["sample"], first_seen=now, last_seen=now
            )
            there[key] = row
            session.add(row)
        row.records += seen["records"]
        row.files += seen["files"]
        row.last_seen = now


def forget_replays(session: Session, files: Iterable[SourceFile]) -> None:
    """These files' loads leave the tables, with what was replayed or discarded of them."""
    for row in files:
        if row.replayed or row.discarded:
            mine = (ReplayRecord.batch_id == row.batch_id, ReplayRecord.file_id == row.id)
            session.execute(delete(ReplayRecord).where(*mine))
        row.replayed = row.discarded = 0
