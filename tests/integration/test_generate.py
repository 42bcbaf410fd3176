from __future__ import annotations

import json
import re
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from command import Lemonade, wait_for

from metadata.errors import Busy, UsageError
from metadata.settings import Settings
from watcher.app import App
from watcher.commands.generate import generate
from watcher.deeds.clean import check_can_clean, clean
from watcher.lock import DaemonLock


def run(app: App, *arguments: str, **more: str) -> Result:
    """The command in this process; its errors are raised."""
    return CliRunner().invoke(generate, list(arguments), obj=app, catch_exceptions=False, **more)  # type: ignore[arg-type] # click types its options


def incoming(app: App) -> list[str]:
    """What waits in incoming/."""
    return sorted(path.name for path in app.settings.incoming_folder.iterdir())


def tree(folder: Path) -> set[str]:
    """Every file below a folder."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir() or path.is_symlink()}


def test_no_cleanup_only_adds(app: App) -> None:
    """Files of both types are added beside what is there; a fresh seed is printed, and makes the same files again."""
    (app.settings.incoming_folder / "mine_20260115120000.json").write_text("[]")

    output = run(app, "--no-cleanup", "--num-files", "2", "--records", "3").stdout

    assert len(incoming(app)) == 5
    assert "mine_20260115120000.json" in incoming(app)
    assert re.match(r"seed \d+\n", output)
    assert output.count("3 records") == 4
    document = json.loads(next(app.settings.incoming_folder.glob("vehicles_events_*")).read_bytes())
    assert len(document["vehicles_events"]) == 3


def test_json_names_the_files(app: App) -> None:
    """`--json` gives the seed and the files by name and type."""
    answer = json.loads(run(app, "--no-cleanup", "--num-files", "1", "--seed", "7", "--json").stdout)

    assert answer["seed"] == 7
    assert sorted(file["name"] for file in answer["files"]) == incoming(app)
    assert {file["file_type"] for file in answer["files"]} == {"vehicle_events", "vehicle_status"}


def test_cleaning_needs_yes_without_a_terminal(app: App) -> None:
    """Nobody can be asked: nothing is deleted, nothing made."""
    (app.settings.incoming_folder / "mine_20260115120000.json").write_text("[]")

    with pytest.raises(UsageError, match="--yes"):
        run(app)

    assert incoming(app) == ["mine_20260115120000.json"]


def test_cleaning_refuses_while_a_daemon_runs(app: App) -> None:
    """With a live daemon nothing is deleted; adding is still possible."""
    (app.settings.incoming_folder / "mine_20260115120000.json").write_text("[]")

    with DaemonLock(app.settings, "daemon", "run"):
        with pytest.raises(Busy):
            run(app, "--yes")
        run(app, "--no-cleanup", "--num-files", "1")

    assert len(incoming(app)) == 3


def test_cleaning_takes_what_lemonade_made_and_nothing_else(app: App, tmp_path: Path) -> None:
    """Source files, tables, catalog and ledger go and are made anew; what a person put beside stays."""
    settings = app.settings
    mine = [
        settings.incoming_folder / ".gitkeep",
        settings.incoming_folder / "folder/of_mine.json",
        settings.source_data_base / "notes.txt",
        settings.source_data_base / "processing/.gitkeep",
        settings.processed_folder / "README",
        settings.processed_folder / "Photos/2026/a.jpg",
        settings.processed_folder / "photos/2026/a.jpg",
        settings.datalake_base / "raw_data/export.csv",
        settings.datalake_base / "other/t/metadata/v1.json",
        tmp_path / "outside/secret.txt",
    ]
    made = [
        settings.incoming_folder / "a_20260115120000.json",
        settings.source_data_base / "processing/vehicle_events/a.json",
        settings.source_data_base / "failed/a.json.error.json",
        settings.processed_folder / "vehicle_events/2026-01-15/a.json",
        settings.datalake_base / "raw_data/vehicle_events/metadata/v1.json",
        settings.datalake_base / "raw_data/vehicle_events/data/date=2026-01-15/a.parquet",
    ]
    for path in mine + made:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    link = settings.source_data_base / "held/link"
    link.symlink_to(tmp_path / "outside")
    app.registry.disable("vehicle_status")
    app.database.close()

    result = run(App(settings), "--yes", "--num-files", "1")

    assert "initialised again" in result.stderr
    assert [path for path in mine if not path.exists()] == []
    assert [path for path in made if path.exists()] == []
    assert not link.is_symlink()
    fresh = App(settings)
    assert [kind.name for kind in fresh.registry.read().active] == ["vehicle_events", "vehicle_status"]
    assert fresh.lake().table_names() == []
    assert len([name for name in incoming(fresh) if name.startswith("vehicles_")]) == 2


def test_cleaning_leaves_a_database_that_is_not_ours(app: App) -> None:
    """A SQLite file without our tables is somebody else's, even where the settings name it."""
    path = app.unchecked_database.sqlite_path()
    assert path is not None
    app.database.close()
    path.unlink()
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE precious (a)")
    connection.close()

    clean(app.settings)

    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT count(*) FROM precious").fetchone() == (0,)
    connection.close()


@pytest.mark.parametrize(
    "changed",
    [
        {"env": "production"},
        {"database_url": "postgresql://db/lemonade"},
        {"iceberg_catalog_uri": "https://catalog.example"},
        {"iceberg_warehouse": "s3://bucket/lake"},
    ],
)
def test_cleaning_refuses_what_others_may_share(settings: Settings, changed: dict[str, str]) -> None:
    """Production, and anything that does not lie on this machine, is never cleaned."""
    with pytest.raises(UsageError, match="--no-cleanup"):
        check_can_clean(settings.model_copy(update=changed))


def test_options_that_contradict_are_refused(app: App) -> None:
    """`--interval` without rounds and `--json` with endless ones make no sense."""
    with pytest.raises(UsageError, match="--continuous"):
        run(app, "--no-cleanup", "--interval", "1")
    with pytest.raises(UsageError, match="--continuous"):
        run(app, "--no-cleanup", "--continuous", "--json")


def test_continuous_goes_on_until_control_c(lemonade: Lemonade) -> None:
    """Round after round of new files, each with a name of its own; Ctrl-C ends it with exit code 0."""
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "watcher",
            "generate",
            "--no-cleanup",
            "--num-files=1",
            "--continuous",
            "--interval=0.05",
        ],
        cwd=lemonade.home,
        env=lemonade.environ,
        stdout=subprocess.DEVNULL,
    )
    lemonade.processes.append(process)
    wait_for(lambda: len(list(lemonade.incoming.glob("vehicles_*.json"))) >= 6, "three rounds")

    process.send_signal(signal.SIGINT)

    assert process.wait(timeout=30) == 0
    assert list(lemonade.incoming.glob(".*.tmp")) == []
