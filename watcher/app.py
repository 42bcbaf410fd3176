"""The parts of a running Lemonade, each made when it is first asked for, from one settings object."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from metadata.clock import Clock, SystemClock
from metadata.database.engine import Database
from metadata.errors import ConfigurationError, WorldFault
from metadata.settings import Settings

if TYPE_CHECKING:
    from metadata.database.marks import Marks
    from metadata.database.requests import Requests
    from metadata.ledger.ledger import Ledger
    from metadata.registry.registry import Registry
    from processors.lake.lake import Lake
    from processors.spark.spark_runner import Runner


class App:
    """What commands and the daemon share. A part is imported when it is asked for: no verb waits for another's."""

    def __init__(
        self,
        settings: Settings,
        *,
        clock: Clock | None = None,
        environ: Mapping[str, str] | None = None,
        runner: Runner | None = None,
    ) -> None:
        self.settings = settings
        self.clock: Clock = clock or SystemClock()
        self.environ = dict(os.environ) if environ is None else dict(environ)
        self._runner = runner

    @cached_property
    def unchecked_database(self) -> Database:
        """The metadata database, whether it has its tables or not."""
        return Database(self.settings.database_url)

    @cached_property
    def database(self) -> Database:
        """The metadata database; ConfigurationError when `lemonade init` was not run."""
        path = self.unchecked_database.sqlite_path()
        if path is not None and not path.parent.exists() and self.settings.folders.are_there():
            raise WorldFault(
                f"opening the ledger {path}: its folder is gone; bring it back (is its disk mounted?), or make a new "
                "and empty ledger with: lemonade init",
                code="ledger_away",
            )
        self.unchecked_database.check_migrated()
        return self.unchecked_database

    @cached_property
    def ledger(self) -> Ledger:
        """The fate of every file and batch."""
        from metadata.ledger.ledger import Ledger

        return Ledger(self.database, self.clock)

    @cached_property
    def registry(self) -> Registry:
        """The file types."""
        from metadata.registry.registry import Registry

        return Registry(self.database, self.clock)

    @cached_property
    def marks(self) -> Marks:
        """When things happened last."""
        from metadata.database.marks import Marks

        return Marks(self.database)

    @cached_property
    def requests(self) -> Requests:
        """What commands ask of the daemon."""
        from metadata.database.requests import Requests

        return Requests(self.database, self.clock)

    @cached_property
    def _lake(self) -> Lake:
        from processors.lake.lake import Lake

        return Lake(self.settings)

    def lake(self) -> Lake:
        """The Iceberg catalog and its tables."""
        return self._lake

    def runner(self) -> Runner:
        """The one Spark session; ConfigurationError when no Java is found. Nothing starts before its first use."""
        if self._runner is None:
            from processors.spark.java import find_java
            from processors.spark.spark_runner import SparkRunner

            self._runner = SparkRunner(self.settings, find_java(self.environ, self.java_shim_folder))
        return self._runner

    @property
    def java_shim_folder(self) -> Path:
        """Where the start script of the wheel's Java is written when no other Java is found."""
        return self.settings.log_folder / ".java"

    @property
    def started_runner(self) -> Runner | None:
        """The runner if anybody asked for it, else None: who stops it need not make it."""
        return self._runner

    def init(self) -> list[str]:
        """Folders, database, namespaces, the two built-in types; safe to repeat. Returns a line for each part."""
        for folder in [*self.settings.folders.all(), self.settings.log_folder]:
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise ConfigurationError("making the folders", [f"{folder}: {error.strerror}"]) from error
        self.unchecked_database.migrate()
        self.lake().init()
        self.registry.ensure_built_in()
        shown = self.unchecked_database.url.render_as_string(hide_password=True)
        return [
            f"folders   {self.settings.incoming_folder} and others",
            f"ledger    {shown}",
            f"tables    {self.settings.warehouse}",
            f"types     {', '.join(kind.name for kind in self.registry.read().active)}",
        ]
