"""What the classes have in common that keep something in the metadata database."""

from __future__ import annotations

from metadata.clock import Clock
from metadata.database.engine import Database


class Store:
    """Reads and writes the metadata database; each of its methods is one transaction."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self.database = database
        self.clock = clock
