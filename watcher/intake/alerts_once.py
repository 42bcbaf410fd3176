"""Alerts that would be given at every look: each says the same thing about the same thing once; no other log lines."""

from __future__ import annotations

from metadata.logs import Event, Severity, alert


class AlertsOnce:
    """Remembers, for this process's life, what was told."""

    def __init__(self) -> None:
        self._told: set[tuple[str, str]] = set()

    def alert_once(self, event: Event, code: str, *, severity: Severity = Severity.WARNING, **facts: object) -> None:
        """An alert, unless one of this code was given about the same thing: the first of the facts."""
        key = (code, str(next(iter(facts.values()))))
        if key not in self._told:
            self._told.add(key)
            alert(event, severity=severity, code=code, **facts)
