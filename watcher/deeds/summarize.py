"""Summarize, as it is asked for: the daily summary of some days, or of those whose rows changed."""

from __future__ import annotations

from datetime import date
from typing import Any

from watcher.work.answers import summary_answer
from watcher.work.work import Work


def summarize(work: Work, arguments: dict[str, Any]) -> dict[str, Any]:
    """Build the summaries of the days `from` to `to`, or without them of every dirty day."""
    first, last = arguments.get("from"), arguments.get("to")
    results = work.summarize(
        first=date.fromisoformat(first) if first else None, last=date.fromisoformat(last) if last else None
    )
    return summary_answer(results)
