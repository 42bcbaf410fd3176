"""Backfill, as it is asked for: rescued values of a type's old rows go into its columns."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from metadata.errors import Busy
from watcher.deeds.by_name import DaemonThread
from watcher.work.work import Work

DONE_BY = DaemonThread.BATCHES


def do(work: Work, arguments: dict[str, Any]) -> dict[str, Any]:
    """Take what was rescued of the type's rows into the columns of its fields; told as `BackfillResult` is.

    Raises Busy while a batch of the type waits that was planned under another version of its schema, UsageError for a
    type that is not there, ConfigurationError for one whose row is broken.
    """
    work.walkers.go_on(work.app.registry)
    kind = work.app.registry.get(str(arguments["file_type"]))
    if work.flusher.waits_under_another_version(kind):
        raise Busy(
            f"backfilling {kind.name}: a micro-batch that was planned under another version of its schema waits for "
            f"another attempt; when it is over, type: lemonade types update {kind.name} --backfill"
        )
    return asdict(work.walkers.backfill.fill(kind))
