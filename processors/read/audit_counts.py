"""The audit of the ledger's own numbers: those that must be equal to each other are."""

from __future__ import annotations

from metadata.database.states import FileState
from metadata.ledger.books import BatchRow, Books, EntryRow, FileRow
from processors.lake.quarantine_table import TABLE as QUARANTINE
from processors.read.findings import Audit, Code, named


def check_counts(audit: Audit, books: Books) -> None:
    """Records = loaded + rejected, of each file; and a batch's numbers are the sums of its files'.

    Counts the batches that were compared, and those in work.
    """
    entries = {(entry.batch_id, entry.file_id): entry for of in books.entries.values() for entry in of}
    for file in books.files:
        if file.state == FileState.LOADED and not books.in_work(file):
            _check_file(audit, file, entries.get((file.batch_id or "", file.id)))
    for batch in books.batches.values():
        if batch.in_work:
            audit.in_work.batches += 1
        elif batch.state != "abandoned":
            audit.batches += 1
            _check_batch(audit, books, batch)


def _check_file(audit: Audit, file: FileRow, entry: EntryRow | None) -> None:
    """A loaded file against itself, and against what its batch has of it."""
    if file.records != (file.rows or 0) + (file.rejected or 0):
        sums = f"{file.rows} rows + {file.rejected} rejected"
        audit.find(Code.COUNTS_DISAGREE, f"{named(file)}, records", sums, f"{file.records} records")
    if file.rows_in_quarantine < 0:
        taken = f"{file.replayed} replayed + {file.discarded} discarded"
        audit.find(Code.COUNTS_DISAGREE, f"{named(file)}, rejected", taken, f"{file.rejected} rejected")
    if entry is None:
        audit.find(Code.COUNTS_DISAGREE, f"{named(file)}, batch", "a batch that has it", file.batch_id)
        return
    theirs, ours = (entry.records, entry.rows, entry.rejected), (file.records, file.rows, file.rejected)
    if theirs != ours:
        words = "records {}, rows {}, rejected {}"
        thing = f"{named(file)} in batch {file.batch_id}"
        audit.find(Code.COUNTS_DISAGREE, thing, words.format(*theirs), words.format(*ours))


def _check_batch(audit: Audit, books: Books, batch: BatchRow) -> None:
    """A batch's numbers against those of its files, of its data files and of its reasons."""
    of = books.entries.get(batch.id, [])
    rejected = sum(entry.rejected or 0 for entry in of)
    quarantined = sum(entry.rejected or 0 for entry in of if entry.outcome == FileState.LOADED)
    data_file_rows = books.data_file_rows.get((batch.id, batch.table_name), 0)
    quarantine_rows = books.data_file_rows.get((batch.id, QUARANTINE), 0)
    sums = {
        "records": (batch.records, sum(entry.records or 0 for entry in of)),
        "rows": (batch.expected_rows, sum(entry.rows or 0 for entry in of)),
        "rejected": (batch.rejected, rejected),
        "rows of its data files": (batch.expected_rows, data_file_rows),
        "quarantine_rows": (batch.quarantine_rows, quarantined),
        "rows of its quarantine's data files": (batch.quarantine_rows, quarantine_rows),
    }
    if batch.quarantine_rows is not None:
        sums["reasons of its rejected records"] = (books.reasons.get(batch.id, 0), rejected)
    for what, (said, counted) in sums.items():
        if (said or 0) != counted:
            audit.find(Code.COUNTS_DISAGREE, f"batch {batch.id}, {what}", f"{counted} in its files", said)
