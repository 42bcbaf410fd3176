"""Flush, as it is asked for: what is in incoming/ and what is claimed goes into the tables now."""

from __future__ import annotations

from typing import Any

from watcher.deeds.by_name import AfterFlush
from watcher.work.answers import flush_answer
from watcher.work.work import Work, wanted_types


def flush(work: Work, arguments: dict[str, Any]) -> AfterFlush:
    """Take what is there, files that are being written too once they hold still, and flush the types asked for."""
    snapshot, scan = work.gather_until_settled()
    types = wanted_types(snapshot, arguments.get("types", []))
    return AfterFlush(types, lambda report: flush_answer(work.app, report, scan, snapshot.types))
