"""Engine and sessions of the metadata database.

On SQLite: WAL, `synchronous=FULL`, foreign keys on, a busy timeout of 10 seconds, and writers that begin with
`BEGIN IMMEDIATE` (a deferred transaction that reads and then writes is told "database is locked" at once, whatever the
timeout). Local disks only: WAL does not work over a network file system.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Engine, create_engine, event, inspect, make_url, text
from sqlalchemy.exc import DatabaseError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from metadata.errors import ConfigurationError, WorldFault
from metadata.files.os_errors import world_code

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

BUSY_TIMEOUT_SECONDS = 10
REVISION = "0003"
"""The last of `metadata/database/migrations`: what this release works with."""


class Database:
    """The metadata database; `reading()` and `writing()` hand out sessions, each one transaction."""

    def __init__(self, url: str) -> None:
        self.url = make_url(url)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        try:
            self.engine = _sqlite_engine(url) if self.is_sqlite else create_engine(url, pool_pre_ping=True)
        except ModuleNotFoundError as error:
            raise ConfigurationError(
                "opening the ledger", [f"{self.url.get_backend_name()} needs the package {error.name}; install it"]
            ) from error

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A session that sees one moment of the database; rolled back at the end.

        Raises WorldFault when the database does not answer.
        """
        from sqlalchemy.orm import Session  # a verb that asks no tables of the ledger does without

        with _world_faults("reading the ledger", self.url), Session(self.engine) as session:
            yield session
            session.expunge_all()  # what was read stays readable after the rollback below
            session.rollback()

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """A session whose transaction commits when the block ends and rolls back when it raises.

        On SQLite it takes the write lock at once, so what it reads cannot change before it writes.
        Raises WorldFault when the database does not answer or stays locked for 10 seconds.
        """
        from sqlalchemy.orm import Session

        with _world_faults("writing the ledger", self.url):
            engine = self.engine.execution_options(lemonade_write=True)
            with Session(engine, expire_on_commit=False) as session, session.begin():
                yield session

    def is_migrated(self) -> bool:
        """Whether `lemonade init` has made the tables."""
        with _world_faults("opening the ledger", self.url):
            path = self.sqlite_path()
            if path is not None and not path.exists():
                return False
            return inspect(self.engine).has_table("source_files")

    def sqlite_path(self) -> Path | None:
        """The file of a SQLite database; None for others and for one in memory."""
        if self.is_sqlite and self.url.database and self.url.database != ":memory:":
            return Path(self.url.database)
        return None

    def migrate(self) -> None:
        """Bring the tables to this release's revision with Alembic; safe to repeat.

        Raises ConfigurationError when the database belongs to a newer release.
        """
        from alembic import command
        from alembic.config import Config
        from alembic.util.exc import CommandError

        path = self.sqlite_path()
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
        config = Config()
        config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
        engine = self.engine.execution_options(lemonade_write=True)
        with _world_faults("migrating the ledger", self.url), engine.begin() as connection:
            config.attributes["connection"] = connection
            try:
                command.upgrade(config, "head")
            except CommandError as error:
                raise ConfigurationError("migrating the ledger", [f"{error}; use the release that wrote it"]) from error

    def check_migrated(self) -> None:
        """Raise ConfigurationError unless this release's `lemonade init` was run on this database."""
        if not self.is_migrated():
            shown = self.url.render_as_string(hide_password=True)
            raise ConfigurationError("opening the ledger", [f"{shown} has no tables yet; run: lemonade init"])
        with _world_faults("opening the ledger", self.url), self.engine.connect() as connection:
            revision = connection.scalar(text("SELECT version_num FROM alembic_version"))
        if revision != REVISION:
            shown = self.url.render_as_string(hide_password=True)
            cure = "run: lemonade init" if str(revision) < REVISION else "use the release that wrote it"
            raise ConfigurationError(
                "opening the ledger", [f"{shown} is at revision {revision}, this release works with {REVISION}; {cure}"]
            )

    def close(self) -> None:
        """Close every pooled connection."""
        self.engine.dispose()


def _sqlite_engine(url: str) -> Engine:
    engine = create_engine(url, connect_args={"timeout": BUSY_TIMEOUT_SECONDS})

    @event.listens_for(engine, "connect")
    def configure(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # pysqlite's own BEGIN is deferred; ours is emitted below
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.close()

    @event.listens_for(engine, "begin")
    def begin(connection: Any) -> None:
        write = connection.get_execution_options().get("lemonade_write", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")

    return engine


@contextmanager
def _world_faults(operation: str, url: Any) -> Iterator[None]:
    """The one place where the database's own outages become ours."""
    try:
        yield
    except (OperationalError, InterfaceError, PoolTimeout, DatabaseError) as error:
        if isinstance(error, DatabaseError) and type(error) not in (OperationalError, DatabaseError):
            raise  # its other kinds speak of our statements, not of the database's health
        shown = url.render_as_string(hide_password=True)
        raise WorldFault(
            f"{operation}, {shown}: {getattr(error, 'orig', error)}; "
            "check that the database is up, not locked and its disk not full",
            code=world_code(error, "ledger_away"),
        ) from error
