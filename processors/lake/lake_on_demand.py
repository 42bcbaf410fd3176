"""The lake as readers need it: opened, with PyIceberg, only for what cannot be told without."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from processors.lake.table_versions import metadata_locations

if TYPE_CHECKING:
    from pyiceberg.table import Table

    from metadata.settings import Settings
    from processors.lake.lake import Lake


class ReadableLake(Protocol):
    """What readers ask of a lake; `Lake` says what its methods raise."""

    @property
    def warehouse(self) -> str:
        """Where its tables live: an absolute path or a URI."""

    @property
    def catalog_uri(self) -> str:
        """Its catalog, an SQLAlchemy URL or the URL of a REST catalog."""

    def table(self, name: str) -> Table | None:
        """The table as it is now; None when there is none of that name."""

    def table_names(self) -> list[str]:
        """`namespace.table` of every table, sorted."""


class LakeOnDemand:
    """A lake that `open_lake()` makes when a table is there to be opened, and that tells the names of tables before."""

    def __init__(self, settings: Settings, open_lake: Callable[[], Lake]) -> None:
        self.warehouse = settings.warehouse.rstrip("/")
        self.catalog_uri = settings.catalog_uri
        self.open_lake = open_lake

    def table(self, name: str) -> Table | None:
        """The table as it is now; None when there is none of that name."""
        locations = metadata_locations(self.catalog_uri)
        return None if locations is not None and name not in locations else self.open_lake().table(name)

    def table_names(self) -> list[str]:
        """`namespace.table` of every table, sorted."""
        locations = metadata_locations(self.catalog_uri)
        return self.open_lake().table_names() if locations is None else sorted(locations)
