from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner, Result

from metadata.errors import ConfigurationError, UsageError
from metadata.settings import Settings
from watcher.app import App
from watcher.cli import VerbGroup
from watcher.commands.doctor import doctor, examine
from watcher.commands.settings import settings as settings_command
from watcher.terminal import questions

TYPES = VerbGroup("types", verb="types")

ORDERS: dict[str, Any] = {
    "file_type": "orders",
    "filename_patterns": ["orders", "eu_*_orders"],
    "schema_definition": {
        "fields": [
            {"name": "id", "type": "long", "nullable": False},
            {"name": "tags", "type": {"type": "list", "element": "string"}, "source": "labels", "default": []},
        ],
        "primary_key": ["id"],
    },
    "description": "Orders",
}


@pytest.fixture
def app(settings: Settings) -> Iterator[App]:
    """An initialised App that starts no Spark: nothing here needs any."""
    made = App(settings)
    made.init()
    yield made
    made.database.close()


def run(app: App, *arguments: str, stdin: str | None = None) -> Result:
    """`lemonade types …` in this process; its errors are raised."""
    return CliRunner().invoke(TYPES, arguments, obj=app, input=stdin, catch_exceptions=False)


@pytest.fixture
def types_file(tmp_path: Path) -> Path:
    """A types file."""
    path = tmp_path / "orders.json"
    path.write_text(json.dumps(ORDERS))
    return path


def test_type_is_added_changed_and_switched(app: App, types_file: Path, tmp_path: Path) -> None:
    """The life of a type from the command line, without a daemon."""
    assert "orders, eu_*_orders -> raw_data.orders" in run(app, "add", "--file", str(types_file)).stdout
    (tmp_path / "change.json").write_text('{"description": "All orders"}')
    run(app, "update", "orders", "--file", str(tmp_path / "change.json"), "--yes")
    assert app.registry.get("orders").description == "All orders"
    run(app, "disable", "orders")
    assert app.registry.get("orders").status == "disabled"
    run(app, "activate", "orders")
    assert app.registry.get("orders").status == "active"


def test_types_are_listed_for_people_and_programs(app: App, types_file: Path) -> None:
    """`list` and `show` tell the same in text and in JSON."""
    run(app, "add", "--file", str(types_file))
    text = run(app, "list").stdout.splitlines()
    assert text[0].split() == ["type", "status", "table", "patterns", "version", "description"]
    assert [line.split()[0] for line in text[1:]] == ["vehicle_events", "vehicle_status", "orders"]
    rows = json.loads(run(app, "list", "--json").stdout)
    assert [row["file_type"] for row in rows] == ["vehicle_events", "vehicle_status", "orders"]
    row = json.loads(run(app, "show", "orders", "--json").stdout)
    assert row == rows[2] | {"versions": row["versions"], "proposals": []}
    assert row["schema_definition"] == ORDERS["schema_definition"]
    assert (row["status"], row["schema_version"], row["faults"]) == ("active", 1, [])
    shown = run(app, "show", "orders").stdout
    assert "from labels, default []" in shown and "eu_*_orders" in shown


def change(tmp_path: Path, **keys: Any) -> str:
    """A file of changes."""
    path = tmp_path / "change.json"
    path.write_text(json.dumps(keys))
    return str(path)


WIDER: dict[str, Any] = {
    "fields": [
        {"name": "order_id", "type": "long", "renamed_from": "id", "source": "id"},
        {"name": "tags", "type": {"type": "list", "element": "string"}, "source": "labels", "default": []},
        {"name": "extra", "type": "json"},
    ],
    "primary_key": ["order_id"],
}


def test_update_shows_what_changes_before_it_changes_it(app: App, types_file: Path, tmp_path: Path) -> None:
    """Without a terminal it shows the diff, wants --yes and changes nothing; `show` tells the versions afterwards."""
    run(app, "add", "--file", str(types_file))
    path = change(tmp_path, schema_definition=WIDER, description="All orders")
    with pytest.raises(UsageError, match="nothing was changed; without a terminal, say --yes"):
        run(app, "update", "orders", "--file", path)
    shown = run(app, "update", "orders", "--file", path, "--dry-run")
    assert (shown.exit_code, shown.stdout.splitlines()) == (
        0,
        [
            "orders, version 1 -> 2",
            '  rename field "id" to "order_id"',
            '  make field "order_id" optional',
            '  add optional field "extra" (json)',
            '  description: "All orders"',
        ],
    )
    assert app.registry.get("orders").schema_version == 1
    done = run(app, "update", "orders", "--file", path, "--yes").stdout.splitlines()
    assert done[:-1] == shown.stdout.splitlines()
    assert done[-1].startswith("updated orders (active)") and done[-1].endswith("schema version 2")
    assert run(app, "update", "orders", "--file", path).stdout == "orders: nothing changes, its schema is version 2\n"
    text = run(app, "show", "orders").stdout
    assert 'rename field "id" to "order_id"' in text and "was id" in text and "as it was registered" in text
    assert [each["version"] for each in json.loads(run(app, "show", "orders", "--json").stdout)["versions"]] == [1, 2]


def test_update_tells_what_is_refused(app: App, types_file: Path, tmp_path: Path) -> None:
    """With reasons, and nothing is changed: exit 1 of a dry run, else the error of a wrong definition; as JSON too."""
    run(app, "add", "--file", str(types_file))
    fields = [{**WIDER["fields"][0], "type": "string"}, {"name": "n", "type": "long", "nullable": False}]
    path = change(tmp_path, schema_definition={"fields": fields}, table_name="elsewhere")
    shown = run(app, "update", "orders", "--file", path, "--dry-run")
    assert shown.exit_code == 1
    assert [line.split(":")[0].strip() for line in shown.stdout.splitlines() if "refused" in line] == ["refused"] * 3
    with pytest.raises(ConfigurationError) as caught:
        run(app, "update", "orders", "--file", path, "--yes")
    assert len(caught.value.faults) == 3
    told = json.loads(run(app, "update", "orders", "--file", path, "--dry-run", "--json").stdout)
    assert (told["version_before"], told["updated"]) == (1, False)
    assert sorted(each["field"] or each["part"] for each in told["changes"] if each["refused"]) == [
        "n",
        "order_id",
        "type",
    ]
    assert app.registry.get("orders").schema_version == 1
    with pytest.raises(UsageError, match="say what changes"):
        run(app, "update", "orders")


def test_update_as_json(app: App, types_file: Path, tmp_path: Path) -> None:
    """One document: the changes and what became of them; also when it would have asked."""
    run(app, "add", "--file", str(types_file))
    path = change(tmp_path, schema_definition=WIDER)
    result = CliRunner().invoke(TYPES, ["update", "orders", "--file", path, "--json"], obj=app)
    assert isinstance(result.exception, UsageError)
    assert json.loads(result.stdout)["updated"] is False
    told = json.loads(run(app, "update", "orders", "--file", path, "--json", "--yes").stdout)
    assert (told["updated"], told["version_before"], told["schema_version"], told["backfill"]) == (True, 1, 2, None)
    assert told["changes"][0] == {
        "part": "schema",
        "field": "order_id",
        "what": 'rename field "id" to "order_id"',
        "refused": None,
    }


def test_update_asks_on_a_terminal(app: App, types_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No leaves everything as it was, yes does what was shown."""
    run(app, "add", "--file", str(types_file))
    path = change(tmp_path, description="All orders")
    monkeypatch.setattr(questions, "sys", SimpleNamespace(stdin=SimpleNamespace(isatty=lambda: True)))
    assert run(app, "update", "orders", "--file", path, stdin="n\n").exit_code == 1
    assert app.registry.get("orders").description == "Orders"
    asked = run(app, "update", "orders", "--file", path, stdin="y\n")
    assert "Change orders?" in asked.stderr
    assert app.registry.get("orders").description == "All orders"


def test_a_broken_type_is_mended_by_update(app: App, types_file: Path) -> None:
    """Its row cannot be compared, so all of it is replaced."""
    run(app, "add", "--file", str(types_file))
    with app.database.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE table_metadata SET schema_definition = '{' WHERE file_type = 'orders'")
    said = run(app, "update", "orders", "--file", str(types_file), "--yes").stdout
    assert "its row cannot be read; all of it is replaced, as version 2" in said
    assert app.registry.get("orders").schema_version == 2


def test_types_go_from_one_place_to_another(app: App, types_file: Path, tmp_path: Path) -> None:
    """Exported all at once, imported elsewhere: shown, asked for, added or updated; again it changes nothing."""
    run(app, "add", "--file", str(types_file))
    first = json.loads(run(app, "export", "orders").stdout)
    run(app, "update", "orders", "--file", change(tmp_path, schema_definition=WIDER), "--yes")
    run(app, "disable", "vehicle_status")
    out = tmp_path / "types.json"
    run(app, "export", "--file", str(out))
    other = App(Settings.load({**environ(tmp_path / "other")}, env_file=None))
    other.init()
    assert run(other, "import", "-", "--yes", stdin=json.dumps(first)).exit_code == 0
    with pytest.raises(UsageError, match="nothing was changed"):
        run(other, "import", str(out))
    shown = run(other, "import", str(out), "--dry-run").stdout.splitlines()
    assert shown[:4] == [
        "vehicle_events: nothing changes, its schema is version 1",
        "vehicle_status, version 1 stays",
        "  status: active → disabled",
        "orders, version 1 -> 2",
    ]
    assert other.registry.get("orders").schema_version == 1
    assert run(other, "import", str(out), "--yes").stdout.endswith("imported: vehicle_status, orders\n")
    for name in ("orders", "vehicle_events", "vehicle_status"):
        assert other.registry.get(name) == app.registry.get(name)
    again = json.loads(run(other, "import", str(out), "--json").stdout)
    assert (again["imported"], [each["changes"] for each in again["types"]]) == (False, [[], [], []])
    assert len(other.registry.versions("orders")) == 2
    other.database.close()


def environ(folder: Path) -> dict[str, str]:
    """Another environment in this folder."""
    return {
        "DATABASE_URL": f"sqlite:///{folder}/metadata.db",
        "ICEBERG_CATALOG_URI": f"sqlite:///{folder}/catalog.db",
        "DATALAKE_BASE": str(folder / "datalake"),
        "INCOMING_FOLDER": str(folder / "incoming"),
        "SOURCE_DATA_BASE": str(folder / "source_data"),
        "PROCESSED_FOLDER": str(folder / "processed"),
    }


def test_an_import_is_all_or_nothing(app: App, types_file: Path) -> None:
    """One refused change, or two types that do not go together, and none of the document's types is touched."""
    run(app, "add", "--file", str(types_file))
    document = app.registry.export()
    fine = {"file_type": "fine", "schema_definition": ORDERS["schema_definition"]}
    narrow = {**ORDERS, "schema_definition": {"fields": [{"name": "id", "type": "int"}]}}
    shared = {**narrow, "file_type": "shared", "table_name": "orders"}
    for wrong, said in ((narrow, "do not fit any more"), (shared, "the table of orders, whose fields")):
        with pytest.raises(ConfigurationError, match=said):
            app.registry.import_all({"lemonade_types": 1, "types": [fine, wrong]})
        text = json.dumps({"lemonade_types": 1, "types": [fine, wrong]})
        assert run(app, "import", "-", "--dry-run", stdin=text).exit_code == 1
        with pytest.raises(ConfigurationError, match=said):
            run(app, "import", "-", "--yes", stdin=text)
    assert app.registry.export() == document


def test_a_document_that_is_none_is_refused(app: App) -> None:
    """Every fault of its form is told, and nothing is written."""
    wrong: list[tuple[dict[str, Any], str]] = [
        ({}, '"lemonade_types" must be 1'),
        ({"lemonade_types": 2, "types": [ORDERS]}, '"lemonade_types" must be 1'),
        ({"lemonade_types": 1, "types": []}, "at least one type"),
        ({"lemonade_types": 1, "types": [ORDERS, ORDERS]}, "stands there twice"),
        ({"lemonade_types": 1, "types": [3]}, 'with a "file_type"'),
        ({"lemonade_types": 1, "types": [{"file_type": "x"}]}, 'no "schema_definition"'),
        ({"lemonade_types": 1, "types": [{**ORDERS, "status": "on"}]}, '"status" must be one of'),
        ({"lemonade_types": 1, "types": [{**ORDERS, "colour": 1}]}, 'unknown key "colour"'),
        ({"lemonade_types": 1, "types": [{**ORDERS, "table_name": "A"}]}, "table_name"),
    ]
    for document, said in wrong:
        with pytest.raises(ConfigurationError, match=said):
            run(app, "import", "-", "--yes", stdin=json.dumps(document))
    assert len(app.registry.read().types) == 2


def test_types_without_a_schema_are_not_exported(app: App) -> None:
    """They are what this place has seen, no configuration; asked for by name it is said."""
    app.registry.discover("unknown")
    assert [each["file_type"] for each in app.registry.export()["types"]] == ["vehicle_events", "vehicle_status"]
    with pytest.raises(UsageError, match="it has no schema yet"):
        run(app, "export", "unknown")


def test_broken_type_is_shown_with_its_faults(app: App) -> None:
    """A row that SQL broke is listed as broken, with the reason; control characters cannot play with the terminal."""
    with app.database.engine.begin() as connection:
        connection.exec_driver_sql(
            "UPDATE table_metadata SET schema_definition = '{', description = char(27) || '[2J'"
            " WHERE file_type = 'vehicle_status'"
        )
    listed = run(app, "list").stdout
    assert "broken: vehicle_status: schema_definition is no JSON" in listed
    assert "schema_definition is no JSON" in run(app, "show", "vehicle_status").stdout
    assert "\x1b" not in listed


@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff", b"[" * 100_000, b""])
def test_file_that_holds_no_object_is_refused(app: App, tmp_path: Path, content: bytes) -> None:
    """What is no JSON object is a usage error that names the file."""
    path = tmp_path / "bad.json"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=r"bad\.json"):
        run(app, "add", "--file", str(path))
    with pytest.raises(UsageError, match="No such file"):
        run(app, "add", "--file", str(tmp_path / "missing.json"))


def test_types_file_comes_from_standard_input(app: App) -> None:
    """`--file -` reads a pipe; a wrong definition is refused with its faults."""
    with pytest.raises(ConfigurationError, match="primary_key"):
        run(app, "add", "--file", "-", stdin=json.dumps(ORDERS).replace('["id"]', '["ID"]'))
    run(app, "add", "--file", "-", stdin=json.dumps(ORDERS))
    assert app.registry.get("orders").name == "orders"


def test_unknown_type_is_a_usage_error(app: App) -> None:
    """`show` of a type that is not there says which are."""
    with pytest.raises(UsageError, match="known are: vehicle_events, vehicle_status"):
        run(app, "show", "vehicles")


def test_settings_are_shown_masked(app: App) -> None:
    """`settings` shows what is in effect and marks what was set."""
    rows = json.loads(CliRunner().invoke(settings_command, ["--json"], obj=app).stdout)
    by_name = {row["name"]: row for row in rows}
    assert by_name["SETTLE_SECONDS"]["value"] == "0.2" and not by_name["SETTLE_SECONDS"]["is_default"]
    text = CliRunner().invoke(settings_command, [], obj=app).stdout
    assert ["SETTLE_SECONDS", "*", "0.2"] in [line.split() for line in text.splitlines()]


def test_doctor_finds_an_initialised_place_well(app: App) -> None:
    """After `init` nothing is bad, the exit code is 0, and no Spark was started."""
    result = CliRunner().invoke(doctor, ["--json"], obj=app)
    findings = json.loads(result.stdout)
    assert [finding for finding in findings if finding["state"] == "bad"] == []
    assert result.exit_code == 0
    checks = [finding["check"] for finding in findings]
    for check in ("python", "packages", "java", "folders", "disk", "database", "catalog", "inotify", "daemon"):
        assert check in checks


def test_doctor_says_what_is_missing(settings: Settings) -> None:
    """Before `init` it names what is not there, with the cure, exits 1, and makes nothing."""
    app = App(settings)
    result = CliRunner().invoke(doctor, [], obj=app)
    assert result.exit_code == 1
    bad = {finding.check: finding for finding in examine(app) if finding.state == "bad"}
    assert set(bad) == {"folders", "database", "catalog"}
    assert all(finding.cure == "run: lemonade init" for finding in bad.values())
    assert not settings.incoming_folder.parent.exists()


def test_doctor_warns_of_broken_types(app: App) -> None:
    """A broken row is a warning: it stops only its own type."""
    with app.database.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE table_metadata SET status = 'on' WHERE file_type = 'vehicle_status'")
    (finding,) = [each for each in examine(app) if each.check == "database" and each.state == "warn"]
    assert "vehicle_status" in finding.message and "status 'on'" in finding.message


def test_doctor_survives_a_failing_look(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    """A look that fails is a finding, and the others are still made."""
    monkeypatch.setattr(App, "lake", lambda _self: 1 / 0)
    findings = {finding.check: finding for finding in examine(app)}
    assert findings["catalog"].state == "bad" and "ZeroDivisionError" in findings["catalog"].message
    assert findings["daemon"].state == "ok"
