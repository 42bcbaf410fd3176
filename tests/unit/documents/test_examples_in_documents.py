"""What a document shows to be copied (SQL, JSON, Python, log lines) works as it stands."""

from __future__ import annotations

import json
import re
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from documents import DOCUMENTS, blocks, cells, text_of

from metadata.clock import SystemClock
from metadata.database.engine import Database
from metadata.database.models import Base
from metadata.logs import Event, Severity
from metadata.registry.registry import Registry
from metadata.settings import Settings
from metadata.types.file_type import TypeStatus
from metadata.types.parse_file import parse_type


@pytest.fixture
def ledger_file(tmp_path: Path) -> Path:
    """A migrated, empty database."""
    database = Database(f"sqlite:///{tmp_path}/data/metadata.db")
    database.migrate()
    database.close()
    return tmp_path / "data/metadata.db"


def shown_json(key: str) -> list[tuple[str, dict[str, Any]]]:
    """The JSON objects of all documents that have a key, each with its document."""
    found = [(document, json.loads(block)) for document in DOCUMENTS for block in blocks("json", document)]
    return [(document, raw) for document, raw in found if key in raw]


def test_every_query_of_the_ledger_page_runs(ledger_file: Path) -> None:
    """Each SQL block of docs/ledger.md is one statement that an empty ledger answers with columns."""
    found = blocks("sql", "docs/ledger.md")
    assert len(found) >= 8
    connection = sqlite3.connect(ledger_file)
    for sql in found:
        assert connection.execute(sql).description, sql
    connection.close()


def test_ledger_page_has_every_table_and_column() -> None:
    """docs/ledger.md describes the tables of the models, column by column, in their order."""
    parts = re.split(r"^### ", text_of("docs/ledger.md"), flags=re.MULTILINE)[1:]
    described = {}
    for each in parts:
        name = each.splitlines()[0].strip("` ")
        if name in Base.metadata.tables:
            table = each.split("| column |", 1)[1]
            described[name] = [row[0] for row in cells("| column |" + table)]
    assert described == {name: list(table.columns.keys()) for name, table in Base.metadata.tables.items()}


def test_every_types_file_that_is_shown_is_a_type() -> None:
    """Each types file of a document is accepted as it stands; both pages about types show one."""
    shown = shown_json("schema_definition")
    assert {"docs/new_type.md", "docs/types.md"} <= {document for document, _ in shown}
    for document, raw in shown:
        parse_type(raw, TypeStatus.ACTIVE, 1, f"reading {document}")


def test_summary_that_is_shown_fits_the_type_that_is_shown() -> None:
    """The summary's configuration on its page is accepted for the types file of docs/new_type.md."""
    summaries = [raw for document, raw in shown_json("summary") if document == "docs/daily_summary.md"]
    orders = [raw for document, raw in shown_json("schema_definition") if document == "docs/new_type.md"]
    assert summaries
    assert orders
    for config in summaries:
        for raw in orders:
            parse_type({**raw, "processing_config": config}, TypeStatus.ACTIVE, 1, "reading docs/daily_summary.md")


@pytest.mark.parametrize("discovered", [False, True])
def test_insert_that_is_shown_makes_an_active_type(ledger_file: Path, discovered: bool) -> None:
    """The SQL of docs/new_type.md, run by plain sqlite3, makes an active type, also over a row of discovery."""
    database = Database(f"sqlite:///{ledger_file}")
    registry = Registry(database, SystemClock())
    if discovered:
        registry.discover("alarms")
    connection = sqlite3.connect(ledger_file)
    for sql in blocks("sql", "docs/new_type.md"):
        connection.executescript(sql)
    connection.close()
    snapshot = registry.read()
    database.close()
    assert snapshot.broken == ()
    assert [kind.status for kind in snapshot.types] == [TypeStatus.ACTIVE]


def test_python_call_that_is_shown_makes_an_active_type(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The Python call of docs/new_type.md registers its type in the working directory's database."""
    monkeypatch.chdir(tmp_path)
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    for block in blocks("python", "docs/new_type.md"):
        exec(compile(block, "docs/new_type.md", "exec"), {})
    database = Database(f"sqlite:///{tmp_path}/data/metadata.db")
    types = Registry(database, SystemClock()).read().types
    database.close()
    assert [kind.status for kind in types] == [TypeStatus.ACTIVE]


def test_log_lines_that_are_shown_name_events() -> None:
    """The log lines of the documents are JSON objects with a known event; those that alert have a known severity."""
    shown = shown_json("event")
    assert any(raw.get("alert") for _, raw in shown)
    for _, raw in shown:
        assert raw["event"] in set(Event)
        if raw.get("alert"):
            assert raw["severity"] in set(Severity)
