from __future__ import annotations

from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import inspect, text

from metadata.database.engine import REVISION, Database
from metadata.database.models import Base
from metadata.errors import ConfigurationError


@pytest.fixture
def empty(tmp_path: Path) -> Database:
    """A database whose file and folder are not there yet."""
    return Database(f"sqlite:///{tmp_path / 'deep' / 'metadata.db'}")


def test_migrated_schema_is_the_models(empty: Database) -> None:
    """The revisions make exactly the tables, columns, types, defaults and indexes of the models."""
    empty.migrate()
    with empty.engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": True, "target_metadata": Base.metadata}
        )
        assert compare_metadata(context, Base.metadata) == []


def test_every_key_is_as_the_models_say(empty: Database) -> None:
    """Primary and foreign keys, which Alembic's comparison leaves out on SQLite, agree as well."""
    empty.migrate()
    inspector = inspect(empty.engine)
    for table in Base.metadata.sorted_tables:
        primary = [column.name for column in table.primary_key]
        assert inspector.get_pk_constraint(table.name)["constrained_columns"] == primary
        made = {
            (*key["constrained_columns"], key["referred_table"], *key["referred_columns"])
            for key in inspector.get_foreign_keys(table.name)
        }
        assert made == {(key.parent.name, key.column.table.name, key.column.name) for key in table.foreign_keys}, (
            table.name
        )


def test_migrating_twice_changes_nothing(empty: Database) -> None:
    """A second run leaves tables and rows alone."""
    empty.migrate()
    with empty.engine.begin() as connection:
        connection.execute(text("INSERT INTO marks (name, at) VALUES ('hour', '2026-01-15T12:00:00.000000Z')"))
    empty.migrate()
    with empty.engine.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM marks")) == 1


def test_is_migrated_only_after_migrating(empty: Database) -> None:
    """A database counts as migrated once its tables are there, and asking makes no file."""
    path = empty.sqlite_path()
    assert path is not None
    assert not empty.is_migrated()
    assert not path.exists()
    with pytest.raises(ConfigurationError, match="run: lemonade init"):
        empty.check_migrated()
    empty.migrate()
    empty.check_migrated()


def test_database_of_a_newer_release_is_refused(empty: Database) -> None:
    """An unknown revision is a wrong configuration, not a reason to touch the tables."""
    empty.migrate()
    with empty.engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(ConfigurationError, match="use the release that wrote it"):
        empty.migrate()


def test_plain_sql_insert_gets_the_defaults(empty: Database) -> None:
    """A row of the registry written with three columns is a whole row: the database fills status and version."""
    empty.migrate()
    with empty.engine.begin() as connection:
        connection.execute(text("INSERT INTO table_metadata (file_type, table_name) VALUES ('a', 'a')"))
        row = connection.execute(text("SELECT status, schema_version FROM table_metadata")).one()
    assert tuple(row) == ("inactive", 1)


def test_failed_migration_leaves_nothing(empty: Database) -> None:
    """All tables appear in one transaction: when one cannot be made, none is."""
    path = empty.sqlite_path()
    assert path is not None
    path.parent.mkdir(parents=True)
    with empty.engine.begin() as connection:
        connection.execute(text("CREATE TABLE requests (id INTEGER)"))  # the last table of the revision is taken
    with pytest.raises(Exception, match="already exists"):
        empty.migrate()
    assert set(inspect(empty.engine).get_table_names()) == {"requests"}


def test_revision_of_this_release_is_the_last(empty: Database) -> None:
    """A database that is a revision behind is refused with what to type, and `init` brings it up."""
    empty.migrate()
    with empty.engine.begin() as connection:
        assert connection.scalar(text("SELECT version_num FROM alembic_version")) == REVISION
        connection.execute(text("UPDATE alembic_version SET version_num = '0002'"))
    with pytest.raises(ConfigurationError, match="run: lemonade init"):
        empty.check_migrated()
