"""Keys that records have and the schema has not: counted by micro-batch, and by type for whoever adopts them.

Written within the transactions of Prepare and Record, and again when a receipt is put back.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from metadata.database.models import NAME_LENGTH, UnknownField
from metadata.ledger.values import UnknownKey

MOST_UNKNOWN = 1000  # keys kept of one type: a producer may make up a new one for each record


def sum_unknown(files: Iterable[Iterable[UnknownKey]]) -> dict[str, Any] | None:
    """The unknown keys of all files together, as `batches.unknown_fields` keeps them; None when there are none."""
    found: dict[str, dict[str, Any]] = {}
    for keys in files:
        for each in keys:
            name = each.key[:NAME_LENGTH]
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
