"""Current versions of tables, read from a SQL catalog and metadata files without PyIceberg."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from metadata.settings import Settings
from processors.lake.lake_on_demand import LakeOnDemand
from processors.lake.table_versions import TableVersion, current_version, metadata_locations


def catalog(folder: Path, *rows: tuple[str | None, ...], views: bool = True) -> str:
    """A SQL catalog with such rows: catalog, namespace, table, metadata location and, if it knows views, kind."""
    uri = f"sqlite:///{folder / 'catalog.db'}"
    kind = ", iceberg_type TEXT" if views else ""
    with create_engine(uri).begin() as connection:
        connection.execute(
            text(
                "CREATE TABLE iceberg_tables (catalog_name TEXT, table_namespace TEXT, table_name TEXT, "
                f"metadata_location TEXT, previous_metadata_location TEXT{kind})"
            )
        )
        for row in rows:
            values = ", ".join("NULL" if value is None else f"'{value}'" for value in (*row[:4], None, *row[4:]))
            connection.execute(text(f"INSERT INTO iceberg_tables VALUES ({values})"))
    return uri


@pytest.mark.parametrize("views", [True, False])
def test_tables_of_our_namespaces_and_catalog_are_found(tmp_path: Path, views: bool) -> None:
    """With the schema of catalogs that know views, and with the older one."""
    kind: tuple[str | None, ...] = (None,) if views else ()
    uri = catalog(
        tmp_path,
        ("lemonade", "raw_data", "a", "/a.json", *kind),
        ("lemonade", "summary", "b", "/b.json", *kind),
        ("lemonade", "theirs", "c", "/c.json", *kind),
        ("other", "raw_data", "d", "/d.json", *kind),
        ("lemonade", "raw_data", "e", None, *kind),
        views=views,
    )
    assert metadata_locations(uri) == {"raw_data.a": "/a.json", "summary.b": "/b.json"}


def test_views_are_no_tables(tmp_path: Path) -> None:
    """A row that says what it is counts only as a table."""
    uri = catalog(
        tmp_path,
        ("lemonade", "raw_data", "a", "/a.json", "TABLE"),
        ("lemonade", "raw_data", "v", "/v.json", "VIEW"),
    )
    assert metadata_locations(uri) == {"raw_data.a": "/a.json"}


def test_other_catalogs_are_left_to_pyiceberg(tmp_path: Path) -> None:
    """REST catalogs, a file that is not there (and is not made), a database without tables, a missing driver."""
    empty = tmp_path / "empty.db"
    empty.touch()
    assert metadata_locations("http://localhost:8181") is None
    assert metadata_locations(f"sqlite:///{tmp_path / 'gone.db'}") is None
    assert not (tmp_path / "gone.db").exists()
    assert metadata_locations(f"sqlite:///{empty}") is None
    assert metadata_locations("postgresql+nosuchdriver://localhost/lake") is None


@pytest.mark.parametrize(
    ("metadata", "snapshot_id"),
    [({"current-snapshot-id": 7}, 7), ({"current-snapshot-id": -1}, None), ({}, None)],
)
def test_the_current_snapshot_stands_in_the_metadata_file(
    tmp_path: Path, metadata: dict[str, int], snapshot_id: int | None
) -> None:
    """-1 and nothing both say that the table has none."""
    path = tmp_path / "v1.metadata.json"
    path.write_text(json.dumps(metadata))
    assert current_version(f"file://{path}") == TableVersion(f"file://{path}", snapshot_id)
    assert current_version(str(path)) == TableVersion(str(path), snapshot_id)


@pytest.mark.parametrize("content", [None, b"", b"[]", gzip.compress(b"{}"), b'{"current-snapshot-id": []}'])
def test_a_metadata_file_that_makes_no_sense_is_left_to_pyiceberg(tmp_path: Path, content: bytes | None) -> None:
    """One that is gone, cut off, compressed or odd."""
    path = tmp_path / "v1.metadata.json"
    if content is not None:
        path.write_bytes(content)
    assert current_version(str(path)) is None


def test_a_lake_on_demand_is_opened_for_tables_that_are_there(tmp_path: Path) -> None:
    """Names are told, and an unknown table denied, without opening it."""
    uri = catalog(tmp_path, ("lemonade", "raw_data", "a", "/a.json", None))
    settings = Settings.load({"ICEBERG_CATALOG_URI": uri}, None)
    opened: list[str] = []

    class Opened:
        def table(self, name: str) -> None:
            opened.append(name)

    lake = LakeOnDemand(settings, Opened)  # type: ignore[arg-type] # it is asked for a table only
    assert lake.table_names() == ["raw_data.a"]
    assert lake.table("raw_data.b") is None
    assert opened == []
    lake.table("raw_data.a")
    assert opened == ["raw_data.a"]
