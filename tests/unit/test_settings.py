from __future__ import annotations

import os
from pathlib import Path

import pytest
from pydantic import ValidationError

from metadata.errors import ConfigurationError
from metadata.setting_words import env_example, mask, settings_table
from metadata.settings import Settings

ROOT = Path(__file__).parents[2]


def faults_of(environ: dict[str, str], env_file: Path | None = None) -> list[str]:
    """What is wrong with these settings."""
    with pytest.raises(ConfigurationError) as caught:
        Settings.load(environ, env_file)
    return caught.value.faults


def test_nothing_needs_to_be_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any variable everything lies below ./data, with absolute paths."""
    monkeypatch.chdir(tmp_path)
    settings = Settings.load({}, None)
    data = tmp_path / "data"
    assert settings.folders.all()[0] == settings.incoming_folder == data / "incoming"
    assert settings.folders.failed("a") == data / "source_data" / "failed" / "a"
    assert settings.database_url == f"sqlite:///{data / 'metadata.db'}"
    assert settings.sqlite_path == data / "metadata.db"
    assert settings.catalog_uri == f"sqlite:///{data / 'catalog.db'}"
    assert settings.warehouse == str(data / "datalake")
    assert (settings.flush_max_files, settings.flush_max_age_seconds, settings.summary_at) == (1000, None, "01:00")


def test_environment_wins_over_env_file(tmp_path: Path) -> None:
    """A variable beats its line in .env; what the environment leaves out or leaves empty comes from the file."""
    env_file = tmp_path / ".env"
    env_file.write_text("FLUSH_MAX_FILES=7\nCHUNK_MAX_FILES='8'\nexport LOG_LEVEL=debug # loud\n")
    settings = Settings.load({"FLUSH_MAX_FILES": "9", "CHUNK_MAX_FILES": ""}, env_file)
    assert (settings.flush_max_files, settings.chunk_max_files, settings.log_level) == (9, 8, "DEBUG")


def test_process_environment_is_read_by_load_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The constructor never looks at the environment, so that what a test hands over is all there is."""
    monkeypatch.setenv("FLUSH_MAX_FILES", "7")
    assert Settings.load(None, None).flush_max_files == 7
    assert Settings().flush_max_files == 1000
    assert Settings.load({}, None).flush_max_files == 1000


def test_empty_value_is_unset() -> None:
    """`S3_BUCKET=` means that there is no bucket."""
    settings = Settings.load({"S3_BUCKET": "", "FLUSH_MAX_AGE_SECONDS": ""}, None)
    assert (settings.s3_bucket, settings.flush_max_age_seconds) == (None, None)


def test_settings_are_frozen() -> None:
    """Nobody changes a setting after it was read."""
    with pytest.raises(ValidationError):
        Settings.load({}, None).flush_max_files = 3  # type: ignore[misc] # that is the test


def test_all_mistakes_are_said_at_once(tmp_path: Path) -> None:
    """Bad values, contradictions and bad lines of .env come in one error, each with its variable."""
    env_file = tmp_path / ".env"
    env_file.write_text("FLUSH_MAX_FILE=3\nnonsense without sign =\nMY_OWN=1\n")
    environ = {
        "ENV": "production",
        "FLUSH_MAX_FILES": "0",
        "SUMMARY_AT": "24:00",
        "SETTLE_SECONDS": "soon",
        "FAILURE_RATE_ALERT": "1.5",
        "LOG_LEVEL": "loud",
        "INCOMING_FOLDER": "x/data",
        "PROCESSED_FOLDER": "x/data/done",
    }
    faults = faults_of(environ, env_file)
    assert [fault.split()[0] for fault in faults[2:]] == [
        "FLUSH_MAX_FILES",
        "SETTLE_SECONDS",
        "SUMMARY_AT",
        "LOG_LEVEL",
        "FAILURE_RATE_ALERT",
        "PROCESSED_FOLDER",
        "DATABASE_URL",
        "ICEBERG_CATALOG_URI",
        "ICEBERG_WAREHOUSE",
    ]
    assert "line 2" in faults[0]
    assert "FLUSH_MAX_FILE in" in faults[1] and "did you mean FLUSH_MAX_FILES?" in faults[1]
    assert "FLUSH_MAX_FILES is '0'; allowed: whole number from 1" in faults
    assert "SUMMARY_AT is '24:00'; allowed: 00:00 to 23:59" in faults


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ENV", "staging"),
        ("DATABASE_URL", "mysql://host/name"),
        ("DATABASE_URL", "sqlite://"),
        ("DATABASE_URL", "sqlite:///:memory:"),
        ("DATABASE_URL", "no url"),
        ("ICEBERG_CATALOG_URI", "nonsense"),
        ("S3_BUCKET", "s3://bucket"),
        ("INCOMING_FOLDER", "~nobody-of-that-name/x"),
        ("FLUSH_MAX_BYTES", "-1"),
        ("FLUSH_MAX_BYTES", "1.5"),
        ("FLUSH_MAX_AGE_SECONDS", "0"),
        ("CHUNK_MAX_FILES", "many"),
        ("CHUNK_MAX_BYTES", "0"),
        ("SETTLE_SECONDS", "inf"),
        ("RESCAN_SECONDS", "nan"),
        ("RESCAN_SECONDS", "0"),
        ("BATCH_MAX_ATTEMPTS", "0"),
        ("DRAIN_SECONDS", "-1"),
        ("SPARK_MASTER", "local[x]"),
        ("SPARK_MEMORY", "1"),
        ("SUMMARY_AT", "1:00"),
        ("LOG_FORMAT", "xml"),
        ("FAILURE_RATE_ALERT", "0"),
    ],
)
def test_wrong_value_is_refused(name: str, value: str) -> None:
    """One wrong value gives one fault, which names variable and value and says what is allowed."""
    (fault,) = faults_of({name: value})
    assert fault.startswith(f"{name} is {value!r}")
    assert "; allowed: " in fault


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DATABASE_URL", "postgresql+psycopg://user:secret@host/name"),
        ("ICEBERG_CATALOG_URI", "https://catalog.example/iceberg"),
        ("ICEBERG_WAREHOUSE", "s3://bucket/path"),
        ("SPARK_MASTER", "local[4]"),
        ("SPARK_MASTER", "spark://host:7077"),
        ("SPARK_MEMORY", "512M"),
        ("SETTLE_SECONDS", "0"),
        ("LOG_FORMAT", "JSON"),
    ],
)
def test_right_value_is_taken(name: str, value: str) -> None:
    """What production needs passes."""
    Settings.load({name: value}, None)


def test_folders_must_not_overlap(tmp_path: Path) -> None:
    """Equal folders, and folders inside each other, also by way of a symlink, would feed Lemonade its own files."""
    (tmp_path / "link").symlink_to(tmp_path / "data")
    (tmp_path / "data").mkdir()
    base = {"SOURCE_DATA_BASE": str(tmp_path / "data")}
    assert "same folder" in faults_of({**base, "INCOMING_FOLDER": str(tmp_path / "x" / ".." / "data")})[0]
    assert "same folder" in faults_of({**base, "INCOMING_FOLDER": str(tmp_path / "link")})[0]
    assert "lies inside SOURCE_DATA_BASE" in faults_of({**base, "INCOMING_FOLDER": str(tmp_path / "data" / "in")})[0]
    assert "lies inside PROCESSED_FOLDER" in faults_of({**base, "PROCESSED_FOLDER": str(tmp_path)})[0]
    assert "lies inside" in faults_of({**base, "ICEBERG_WAREHOUSE": str(tmp_path / "data" / "lake")})[0]
    Settings.load({**base, "INCOMING_FOLDER": str(tmp_path / "data2")}, None)  # a common beginning is no overlap


def test_production_refuses_local_defaults() -> None:
    """Production wants database, catalog and warehouse named, and takes Spark on one machine."""
    assert [fault.split()[0] for fault in faults_of({"ENV": "production"})] == [
        "DATABASE_URL",
        "ICEBERG_CATALOG_URI",
        "ICEBERG_WAREHOUSE",
    ]
    named = {
        "ENV": "production",
        "DATABASE_URL": "postgresql://host/ledger",
        "ICEBERG_CATALOG_URI": "postgresql://host/catalog",
        "S3_BUCKET": "lake",
    }
    settings = Settings.load(named, None)
    assert (settings.warehouse, settings.sqlite_path) == ("s3://lake", None)


def test_warehouse_is_the_most_specific_one(tmp_path: Path) -> None:
    """ICEBERG_WAREHOUSE wins over S3_BUCKET, which wins over DATALAKE_BASE; a folder becomes absolute."""
    base = {"DATALAKE_BASE": str(tmp_path / "lake")}
    assert Settings.load(base, None).warehouse == str(tmp_path / "lake")
    assert Settings.load({**base, "S3_BUCKET": "bucket"}, None).warehouse == "s3://bucket"
    both = {**base, "S3_BUCKET": "bucket", "ICEBERG_WAREHOUSE": "wh"}
    assert Settings.load(both, None).warehouse == str(Path.cwd() / "wh")


def test_secrets_are_masked() -> None:
    """No password reaches a terminal: not in the shown settings, not in an error, not in repr."""
    environ = {
        "DATABASE_URL": "postgresql://user:se:cr@et@host/name",
        "ICEBERG_CATALOG_URI": "https://host/iceberg?token=secret&warehouse=w",
    }
    settings = Settings.load(environ, None)
    shown = {row.name: row for row in settings.masked()}
    assert shown["DATABASE_URL"].value == "postgresql://user:***@host/name"
    assert shown["ICEBERG_CATALOG_URI"].value == "https://host/iceberg?token=***&warehouse=w"
    assert not shown["DATABASE_URL"].is_default
    assert shown["FLUSH_MAX_FILES"] == ("FLUSH_MAX_FILES", "1000", True, shown["FLUSH_MAX_FILES"].description)
    assert "et@" not in repr(settings) and "secret" not in repr(settings)
    assert "secret" not in faults_of({"DATABASE_URL": "mysql://user:secret@host/name"})[0]


def test_mask_leaves_other_text_alone() -> None:
    """A plain path or a URL without password stays as it is."""
    for text in ("/data/incoming", "sqlite:////a/b.db", "postgresql://user@host/name", "01:00"):
        assert mask(text) == text


def test_env_file_that_cannot_be_read_is_a_mistake(tmp_path: Path) -> None:
    """A .env of another encoding, or a folder of that name, is said and not passed over."""
    binary = tmp_path / ".env"
    binary.write_bytes(b"ENV=\xff")
    assert "cannot be read" in faults_of({}, binary)[0]
    assert "cannot be read" in faults_of({}, tmp_path)[0]
    Settings.load({}, tmp_path / "missing")


def test_every_setting_says_what_it_is() -> None:
    """Each field has a description, and one that counts or measures says its unit."""
    units = {"bytes": "bytes", "seconds": "seconds", "files": "files"}
    for name, field in Settings.model_fields.items():
        assert field.description, name
        unit = units.get(name.rsplit("_", 1)[-1])
        assert unit is None or unit in field.description, name


def test_env_example_is_whole() -> None:
    """`.env.example` holds every setting with its default, commented out; `env_example` makes it."""
    text = (ROOT / ".env.example").read_text()
    assert text == env_example(Settings.model_fields)
    assert all(not line or line.startswith("#") for line in text.splitlines())
    for name in Settings.model_fields:
        assert f"\n# {name.upper()}=" in text


def test_env_example_means_the_defaults(tmp_path: Path) -> None:
    """Uncommenting every line of `.env.example` changes no setting."""
    lines = (ROOT / ".env.example").read_text().splitlines()
    names = tuple(f"# {name.upper()}=" for name in Settings.model_fields)
    env_file = tmp_path / ".env"
    env_file.write_text("\n".join(line[2:] for line in lines if line.startswith(names)))
    assert Settings.load({}, env_file) == Settings.load({}, None)


def test_table_has_every_setting_once() -> None:
    """The table for the README has a row for each setting: variable, default, what is allowed, meaning."""
    rows = [line.split(" | ") for line in settings_table(Settings.model_fields).splitlines()[2:]]
    assert [row[0] for row in rows] == [f"| `{name.upper()}`" for name in Settings.model_fields]
    assert all(len(row) == 4 and row[2] and row[3] for row in rows)


def test_relative_paths_start_at_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative path is made absolute once, at load: a later chdir changes nothing."""
    monkeypatch.chdir(tmp_path)
    settings = Settings.load({"INCOMING_FOLDER": "a/../in", "DATABASE_URL": "sqlite:///db/x.db"}, None)
    os.chdir("/")
    assert settings.incoming_folder == tmp_path / "in"
    assert settings.sqlite_path == tmp_path / "db" / "x.db"
