"""The states of source files and batches, and the only legal moves between them."""

from __future__ import annotations

from enum import StrEnum


class FileState(StrEnum):
    """Where a source file is in its life."""

    HELD = "held"  #: no active type takes it; it waits in held/<prefix>/
    CLAIMED = "claimed"  #: in processing/<type>/, digested, waiting in its type's buffer
    BATCHED = "batched"  #: part of a micro-batch that is not over
    LOADED = "loaded"  #: every good record is in a committed snapshot
    FAILED = "failed"  #: could not be read, was refused, or ran out of attempts; in failed/
    ERROR = "error"  #: was read, but its records break the schema; in error/
    DUPLICATE = "duplicate"  #: the same delivery as a loaded file; in duplicate/, not loaded
    UNDONE = "undone"  #: its load was taken back; in undone/
    REPLACED = "replaced"  #: another load of the same name took its place; its copy stays in processed/
    MISSING = "missing"  #: a person removed it


class BatchState(StrEnum):
    """Where a micro-batch is in the commit protocol."""

    PLANNED = "planned"  #: its files are fixed; nothing is promised yet
    PREPARED = "prepared"  #: its data files and expected rows are on record; from here it only rolls forward
    COMMITTED = "committed"  #: its snapshots are in the catalog and on record
    SETTLED = "settled"  #: its files have moved to their end
    ABANDONED = "abandoned"  #: given up before Prepare; its files were claimed again


FILE_MOVES: dict[FileState, frozenset[FileState]] = {
    FileState.HELD: frozenset({FileState.CLAIMED}),
    FileState.CLAIMED: frozenset({FileState.BATCHED, FileState.DUPLICATE, FileState.FAILED}),
    FileState.BATCHED: frozenset({FileState.LOADED, FileState.FAILED, FileState.ERROR, FileState.CLAIMED}),
    FileState.LOADED: frozenset({FileState.UNDONE, FileState.REPLACED}),
    FileState.FAILED: frozenset({FileState.CLAIMED}),
    FileState.ERROR: frozenset({FileState.CLAIMED}),
    FileState.UNDONE: frozenset({FileState.CLAIMED}),
    FileState.DUPLICATE: frozenset(),
    FileState.REPLACED: frozenset({FileState.CLAIMED}),
    FileState.MISSING: frozenset(),
}
"""From each state, the states a file may move to; MISSING may follow any of them."""

BATCH_MOVES: dict[BatchState, frozenset[BatchState]] = {
    BatchState.PLANNED: frozenset({BatchState.PREPARED, BatchState.ABANDONED}),
    BatchState.PREPARED: frozenset({BatchState.COMMITTED}),
    BatchState.COMMITTED: frozenset({BatchState.SETTLED}),
    BatchState.SETTLED: frozenset(),
    BatchState.ABANDONED: frozenset(),
}


class FlushReason(StrEnum):
    """Why a buffer was handed over."""

    SIZE = "size"  #: FLUSH_MAX_FILES or FLUSH_MAX_BYTES was reached
    HOUR = "hour"  #: the UTC hour struck
    AGE = "age"  #: the oldest file waited FLUSH_MAX_AGE_SECONDS
    REQUEST = "request"  #: somebody asked
