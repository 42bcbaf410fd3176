"""The one alert for a file that the ledger knows and nobody finds: a person removed it. Marks nothing in the ledger."""

from __future__ import annotations

from typing import Any

from metadata.logs import Event, Severity, alert


def tell_missing(file_id: str, name: str, *, cure: str, code: str = "missing", **facts: Any) -> None:
    """Say that a file is missing; `facts` tell more of it, such as its path or its state."""
    alert(Event.FILE_MISSING, severity=Severity.WARNING, code=code, file_id=file_id, file=name, **facts, cure=cure)
