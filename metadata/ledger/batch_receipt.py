"""A micro-batch's receipt: what Prepare writes into the ledger, once more, as text that lies beside the tables.

A ledger that was restored from a backup, or lost, is brought up to date from receipts: they have every value that
cannot be read from the tables and the folders again.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from metadata.database.models import Batch, BatchDataFile, BatchFile, Operation, SourceFile
from metadata.database.states import BatchState, FileState
from metadata.ledger.file_history import note_many
from metadata.ledger.reject_counts import forget_replays, note_reasons
from metadata.ledger.unknown_keys import count_unknown, sum_unknown
from metadata.ledger.values import RejectReason, UnknownKey

FORMAT = 1
REBUILT = "rebuilt from its micro-batch's receipt: the ledger had forgotten it"

_BATCH = ("id", "file_type", "table_name", "schema_version", "flush_id", "reason", "attempts", "files", "bytes")
_BATCH_TIMES = ("planned_at", "prepared_at")
_FILE = ("id", "name", "prefix", "file_type", "size_bytes", "digest", "path", "attempts", "noticed_by")
_FILE_TIMES = ("filename_time", "modified_at", "noticed_at", "claimed_at")
_OUTCOME = ("outcome", "records", "rows", "rejected", "code", "message")


@dataclass(frozen=True)
class Receipt:
    """One micro-batch as it was prepared. Values are those of the ledger's columns; times are ISO 8601 text."""

    batch: Mapping[str, Any]
    files: Sequence[Mapping[str, Any]]  #: columns of `source_files` and `batch_files`, reasons and unknown keys
    data_files: Sequence[Mapping[str, Any]]  #: path, table_name, rows, bytes
    event_days: Sequence[str]
    replaces: Sequence[str] = ()  #: ids of the files whose loads this batch takes the place of
    removes: Mapping[str, int] = field(default_factory=dict)  #: rows of those loads, by table

    @classmethod
    def of(
        cls,
        batch: Batch,
        files: Sequence[SourceFile],
        outcomes: Iterable[Any],
        data_files: Iterable[Any],
        event_days: Iterable[date],
        prepared_at: datetime,
        replaces: Sequence[str] = (),
        removes: Mapping[str, int] | None = None,
    ) -> Receipt:
        """The receipt of a batch that is about to be prepared; `outcomes` and `data_files` as `Ledger.prepare` has."""
        by_id = {outcome.file_id: outcome for outcome in outcomes}
        is_loaded = any(outcome.outcome == "loaded" for outcome in by_id.values())
        times = {"planned_at": batch.planned_at.isoformat(), "prepared_at": prepared_at.isoformat()}
        return cls(
            batch={column: getattr(batch, column) for column in _BATCH} | {"halved_from": batch.halved_from} | times,
            files=[
                {column: getattr(file, column) for column in _FILE}
                | {column: _text(getattr(file, column)) for column in _FILE_TIMES}
                | {column: getattr(by_id[file.id], column) for column in _OUTCOME}
                | {"new_digest": by_id[file.id].digest, "new_size_bytes": by_id[file.id].size_bytes}
                | _learned(by_id[file.id])
                for file in files
            ],
            data_files=[
                {"path": data.path, "table_name": data.table_name, "rows": data.rows, "bytes": data.bytes}
                for data in data_files
            ],
            event_days=sorted(day.isoformat() for day in event_days),
            replaces=list(replaces) if is_loaded else [],
            removes=dict(removes or {}) if is_loaded else {},
        )

    @classmethod
    def parse(cls, text: bytes) -> Receipt:
        """The receipt in its text form; ValueError when it is torn or of a newer release."""
        try:
            raw = json.loads(text)
            if raw["format"] != FORMAT:
                raise ValueError(f"it has format {raw['format']}, this release reads {FORMAT}")
            receipt = cls(
                raw["batch"],
                raw["files"],
                raw["data_files"],
                raw["event_days"],
                raw["replaces"],
                raw.get("removes", {}),
            )
            _ = receipt.batch_id, receipt.file_type, receipt.table_name, receipt.prepared_at
            return receipt
        except (KeyError, TypeError) as error:
            raise ValueError(f"it lacks {error}") from error

    def to_bytes(self) -> bytes:
        """Its text form."""
        return json.dumps({"format": FORMAT, **asdict(self)}, separators=(",", ":")).encode()

    @property
    def batch_id(self) -> str:
        """The batch it is about."""
        return str(self.batch["id"])

    @property
    def file_type(self) -> str:
        """Of all its files."""
        return str(self.batch["file_type"])

    @property
    def table_name(self) -> str:
        """The type's table, `namespace.table`."""
        return str(self.batch["table_name"])

    @property
    def prepared_at(self) -> datetime:
        """When step 3 was taken."""
        return datetime.fromisoformat(self.batch["prepared_at"])

    @property
    def rows(self) -> int:
        """Rows that the batch adds to its type's table."""
        return sum(int(data["rows"]) for data in self.data_files if data["table_name"] == self.table_name)

    @property
    def quarantine_rows(self) -> int:
        """Rejected records that the batch adds to the quarantine's table."""
        return sum(int(data["rows"]) for data in self.data_files) - self.rows

    def paths(self, table_name: str) -> list[str]:
        """The data files of one of its tables."""
        return sorted(str(data["path"]) for data in self.data_files if data["table_name"] == table_name)

    def reasons(self) -> dict[str, list[RejectReason]]:
        """Why records were rejected, by file id; nothing in receipts of releases that did not say it."""
        return {file["id"]: [RejectReason(**each) for each in file.get("reasons", ())] for file in self.files}

    def unknown(self) -> dict[str, Any] | None:
        """The unknown keys of all its files, as `batches.unknown_fields` keeps them."""
        return sum_unknown([UnknownKey(**each) for each in file.get("unknown", ())] for file in self.files)

    def ended(self) -> list[Mapping[str, Any]]:
        """The files that are the batch's to settle; the others left it at Prepare."""
        return [file for file in self.files if file["outcome"] in ("loaded", "failed", "error")]


@dataclass(frozen=True)
class Rebuilding:
    """How a receipt goes back into the ledger."""

    receipt: Receipt
    state: BatchState  #: PREPARED: its commit has yet to be sent (or looked for); COMMITTED: it is in the table
    snapshot_id: int | None
    quarantine_snapshot_id: int | None
    places: Mapping[str, Path]  #: file id → where the file is now, for those that were found
    undone: frozenset[str] = frozenset()  #: ids of files whose load was taken back since


def put_back(session: Session, rebuilding: Rebuilding, now: datetime) -> None:
    """Write the rows of a batch and its files as they were, over whatever an older ledger says of them."""
    receipt, is_committed = rebuilding.receipt, rebuilding.state is BatchState.COMMITTED
    batch = session.get(Batch, receipt.batch_id)
    if batch is None:
        batch = Batch(id=receipt.batch_id)
        session.add(batch)
    for column in (*_BATCH, "halved_from"):
        setattr(batch, column, receipt.batch.get(column))
    for column in _BATCH_TIMES:
        setattr(batch, column, datetime.fromisoformat(receipt.batch[column]))
    batch.state, batch.snapshot_id = rebuilding.state.value, rebuilding.snapshot_id
    batch.quarantine_snapshot_id = rebuilding.quarantine_snapshot_id
    batch.committed_at = receipt.prepared_at if is_committed else None
    batch.records = sum(int(file["records"]) for file in receipt.files)
    batch.rejected = sum(int(file["rejected"]) for file in receipt.files)
    batch.expected_rows, batch.quarantine_rows = receipt.rows, receipt.quarantine_rows
    batch.unknown_fields = receipt.unknown()
    batch.event_days = list(receipt.event_days)
    session.flush()
    for file in receipt.files:
        row = session.get(SourceFile, file["id"])
        if row is None:
            row = SourceFile(**_columns(file), state=FileState.CLAIMED.value)
            session.add(row)
        _put_file(row, file, rebuilding, now)
        session.flush()
        entry = session.get(BatchFile, (receipt.batch_id, row.id))
        if entry is None:
            entry = BatchFile(batch_id=receipt.batch_id, file_id=row.id)
            session.add(entry)
        for column in _OUTCOME:
            setattr(entry, column, file[column])
    for data in receipt.data_files:
        if session.get(BatchDataFile, data["path"]) is None:
            session.add(BatchDataFile(batch_id=receipt.batch_id, **data))
    note_reasons(session, receipt.batch_id, receipt.reasons())
    if is_committed:  # else Record counts them
        count_unknown(session, receipt.file_type, batch.unknown_fields, receipt.prepared_at)
    note_many(session, [file["id"] for file in receipt.files], now, REBUILT)
    if receipt.replaces:
        _put_replacement(session, rebuilding, batch, now)


def _put_replacement(session: Session, rebuilding: Rebuilding, batch: Batch, now: datetime) -> None:
    """The operation under the batch's id that takes earlier loads out, and with its commit those files' fate."""
    receipt, is_committed = rebuilding.receipt, rebuilding.state is BatchState.COMMITTED
    replaced = [row for each in receipt.replaces if (row := session.get(SourceFile, each)) is not None]
    operation = session.get(Operation, receipt.batch_id)
    if operation is None:
        operation = Operation(id=receipt.batch_id, kind="replace", file_ids=[row.id for row in replaced])
        session.add(operation)
    operation.file_type, operation.table_name = receipt.file_type, receipt.table_name
    operation.state = (BatchState.COMMITTED if is_committed else BatchState.PLANNED).value
    operation.batch_id, operation.planned_at = receipt.batch_id, batch.planned_at
    operation.snapshot_id, operation.committed_at = rebuilding.snapshot_id, batch.committed_at
    operation.quarantine_snapshot_id = rebuilding.quarantine_snapshot_id
    if not is_committed:
        return
    days: set[str] = set()
    forget_replays(session, replaced)
    for row in replaced:
        row.state, row.rows, row.replaced_by = FileState.REPLACED.value, 0, receipt.ended()[0]["id"]
        earlier = session.get(Batch, row.batch_id) if row.batch_id else None
        days |= set(earlier.event_days or []) if earlier else set()
    operation.event_days = sorted(days)
    note_many(session, [row.id for row in replaced], now, f"replaced by file {receipt.ended()[0]['id']}; {REBUILT}")


def _put_file(row: SourceFile, file: Mapping[str, Any], rebuilding: Rebuilding, now: datetime) -> None:
    for column, value in _columns(file).items():
        setattr(row, column, value)
    row.path = str(rebuilding.places.get(row.id, file["path"]))
    row.settled_at, row.code, row.message = None, None, None
    row.replayed = row.discarded = 0
    if file["outcome"] == "changed":
        row.state, row.batch_id = FileState.CLAIMED.value, None
        row.digest, row.size_bytes = file["new_digest"], file["new_size_bytes"] or row.size_bytes
    elif file["outcome"] == "missing":
        row.state, row.batch_id = FileState.MISSING.value, None
        row.message, row.settled_at = file["message"], now
    elif rebuilding.state is BatchState.PREPARED:
        row.state, row.batch_id = FileState.BATCHED.value, rebuilding.receipt.batch_id
    else:
        row.state, row.batch_id = str(file["outcome"]), rebuilding.receipt.batch_id
        row.records, row.rows, row.rejected = file["records"], file["rows"], file["rejected"]
        row.code, row.message = file["code"], file["message"]
        if row.id in rebuilding.undone:
            row.state, row.rows, row.settled_at = FileState.UNDONE.value, 0, now


def _columns(file: Mapping[str, Any]) -> dict[str, Any]:
    times = {column: None if file[column] is None else datetime.fromisoformat(file[column]) for column in _FILE_TIMES}
    return {column: file[column] for column in _FILE} | times


def _learned(outcome: Any) -> dict[str, Any]:
    """What most files do not have: reasons of rejected records, unknown keys."""
    said = {"reasons": outcome.reasons, "unknown": outcome.unknown}
    return {name: [asdict(each) for each in values] for name, values in said.items() if values}


def _text(time: datetime | None) -> str | None:
    return None if time is None else time.isoformat()
