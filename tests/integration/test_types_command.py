from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from metadata.errors import ConfigurationError, UsageError
from metadata.settings import Settings
from watcher.app import App
from watcher.commands.doctor import doctor, examine
from watcher.commands.settings import settings as settings_command
from watcher.commands.types import types

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
    return CliRunner().invoke(types, arguments, obj=app, input=stdin, catch_exceptions=False)


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
    run(app, "update", "orders", "--file", str(tmp_path / "change.json"))
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
    assert row == rows[2]
    assert row["schema_definition"] == ORDERS["schema_definition"]
    assert (row["status"], row["schema_version"], row["faults"]) == ("active", 1, [])
    shown = run(app, "show", "orders").stdout
    assert "from labels, default []" in shown and "eu_*_orders" in shown


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
