"""State-changing verbs by name, as they are done by whoever holds the lock and has nothing else running.

The daemon does `flush` and `summarize` through its worker threads instead (see `watcher.daemon.requests_in_hand`); the
registry's verbs it does as they stand here.
"""

from __future__ import annotations

from datetime import date
from typing import Any

from metadata.database.states import FlushReason
from metadata.errors import UsageError
from watcher.verbs.backfill import backfill
from watcher.verbs.replay import discard, replay
from watcher.verbs.retry import retry
from watcher.verbs.types import VERBS
from watcher.verbs.undo import undo
from watcher.work.answers import flush_answer, summary_answer
from watcher.work.work import Work, wanted_types

TABLE_VERBS = frozenset({"backfill", "undo", "quarantine.replay", "quarantine.discard"})
"""Verbs that move source files or change tables: in the daemon the batches' thread does them, one after another."""


def do(work: Work, verb: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """Do `verb` now; returns its answer, raises LemonadeError."""
    if verb == "flush":
        snapshot, scan = work.gather_until_settled()
        types = wanted_types(snapshot, arguments.get("types", []))
        return flush_answer(work.app, work.flush(types, FlushReason.REQUEST), scan, snapshot.types)
    if verb == "summarize":
        first, last = days_asked(arguments)
        return summary_answer(work.summarize(first=first, last=last))
    if verb == "retry":
        return retry(work, arguments)
    if verb == "undo":
        return undo(work, arguments)
    if verb == "quarantine.replay":
        return replay(work, arguments)
    if verb == "quarantine.discard":
        return discard(work, arguments)
    if verb == "backfill":
        return backfill(work, arguments)
    return do_registry(work, verb, arguments)


def do_registry(work: Work, verb: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """A verb that changes only the registry; UsageError for a verb that is none of ours."""
    if verb not in VERBS:
        raise UsageError(f"doing {verb!r}: there is no such verb; is the command newer than the daemon?")
    return VERBS[verb](work.app.registry, arguments)


def days_asked(arguments: dict[str, Any]) -> tuple[date | None, date | None]:
    """The days of a summarize request; (None, None) means every dirty day."""
    first, last = arguments.get("from"), arguments.get("to")
    return (date.fromisoformat(first) if first else None, date.fromisoformat(last) if last else None)
