"""Room on the disks: while there is little of it nothing is claimed, so that what is in work can end well.

Only claiming stops. What is claimed goes on to be loaded: its data files are smaller than its source files, the ledger
has to say what became of it, and the reserve that is kept here is what both are written to. When a disk is really full
they wait for room too, as for anything in the world that is away.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import make_url

from metadata.logs import Event, Severity, alert, get_logger
from metadata.settings import Settings

log = get_logger()


@dataclass(frozen=True)
class LowDisk:
    """A file system with less room than is kept free."""

    path: Path  #: the first of our places on it
    free_bytes: int


class Room:
    """Looks at the file systems that Lemonade writes to; one alert when room gets short, one line when it is back."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._was_low = False

    def low(self) -> list[LowDisk]:
        """Every file system that has less than MIN_FREE_BYTES for us."""
        short: dict[int, LowDisk] = {}
        for place in _places(self.settings):
            folder = _existing(place)
            try:
                device, free = folder.stat().st_dev, _free_bytes(folder)
            except OSError:
                continue  # it is away: whoever writes there says so
            if free < self.settings.min_free_bytes:
                short.setdefault(device, LowDisk(place, free))
        return list(short.values())

    def is_short(self) -> bool:
        """Whether claiming has to wait; tells of the change."""
        low = self.low()
        if low and not self._was_low:
            alert(
                Event.DISK_LOW,
                severity=Severity.ERROR,
                code="disk_low",
                disks={str(disk.path): disk.free_bytes for disk in low},
                min_free_bytes=self.settings.min_free_bytes,
                cure="free some space: files wait in incoming/ meanwhile; or lower MIN_FREE_BYTES",
            )
        elif self._was_low and not low:
            log.info(Event.DISK_BACK, min_free_bytes=self.settings.min_free_bytes)
        self._was_low = bool(low)
        return self._was_low


def _places(settings: Settings) -> Iterator[Path]:
    yield settings.source_data_base
    yield settings.processed_folder
    warehouse = settings.warehouse.removeprefix("file://")
    if "://" not in warehouse:
        yield Path(warehouse)
    for uri in (settings.database_url, settings.catalog_uri):
        if uri.startswith("sqlite") and (database := make_url(uri).database):
            yield Path(database).parent


def _existing(path: Path) -> Path:
    """The path, or what of it is there."""
    return next((each for each in (path, *path.parents) if each.exists()), path)


def _free_bytes(path: Path) -> int:
    """What this user may still write there."""
    status = os.statvfs(path)
    return status.f_bavail * status.f_frsize
