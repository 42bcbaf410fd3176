"""Types that need a person: one that stopped, one whose row cannot be read. On record, and an alert; others go on."""

from __future__ import annotations

from metadata.errors import TypeStopped
from metadata.logs import Event, Severity, alert
from metadata.registry.registry import Registry, RegistrySnapshot


def stop_type(registry: Registry, file_type: str, stop: TypeStopped) -> None:
    """One type cannot go on without a person: on record, and a critical alert."""
    registry.note_error(file_type, stop.message)
    alert(
        Event.TYPE_STOPPED,
        severity=Severity.CRITICAL,
        code=stop.code,
        file_type=file_type,
        error=stop.message,
        cure="its files wait in processing/; mend the cause and restart",
    )


class BrokenTypes:
    """Rows of the registry that cannot be read: one alert when a row breaks, or breaks in another way."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self._told: dict[str, tuple[str, ...]] = {}

    def tell(self, snapshot: RegistrySnapshot) -> None:
        """Of those that broke since the last snapshot."""
        broken = {row.file_type: row.faults for row in snapshot.broken}
        for file_type, faults in broken.items():
            if self._told.get(file_type) != faults:
                self.registry.note_error(file_type, "; ".join(faults))
                alert(
                    Event.TYPE_BROKEN,
                    severity=Severity.ERROR,
                    code="bad_definition",
                    file_type=file_type,
                    faults=list(faults),
                    cure="mend its row in table_metadata, or: lemonade types update; its files are held meanwhile",
                )
        self._told = broken
