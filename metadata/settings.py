"""The settings: one frozen object, read once from the environment and `.env`; nothing else reads the environment.

A field's declaration is all there is to know of a setting: its name in capitals is the variable, and default, bounds
and description also make the manual's table, `.env.example` and the messages about wrong values.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from itertools import combinations
from pathlib import Path
from typing import Annotated, Any, Literal

from dotenv.parser import parse_stream
from pydantic import Field, ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict
from sqlalchemy import make_url

from metadata.errors import ConfigurationError
from metadata.files.folders import Folders
from metadata.setting_kinds import (
    IN_LOWER_CASE,
    IN_UPPER_CASE,
    URL,
    Bucket,
    CatalogUri,
    DatabaseUrl,
    Folder,
    Memory,
    SparkMaster,
    TimeOfDay,
    Warehouse,
)
from metadata.setting_words import ShownSetting, allowed_words, mask, text_of

KIB = 1024
MIB = 1024 * 1024
HOUR = 3600
DAY = 24 * HOUR


def _allow(words: str) -> dict[str, Any]:
    """What a text may be; numbers, folders and choices say it by their types and bounds."""
    return {"allowed": words}


class Settings(BaseSettings):
    """Everything that can be set. Make it with `Settings.load()`; every path in it is absolute."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid", validate_default=True)

    env: Annotated[Literal["local", "production"], IN_LOWER_CASE] = Field(
        "local", description="`production` refuses to start on this machine's defaults for database, catalog, warehouse"
    )
    database_url: DatabaseUrl = Field(
        "sqlite:///./data/metadata.db",
        repr=False,
        description="metadata database (registry and ledger), an SQLAlchemy URL; SQLite on a local disk only",
        json_schema_extra=_allow("SQLite or PostgreSQL URL"),
    )
    incoming_folder: Folder = Field(Path("./data/incoming"), description="where producers drop files")
    source_data_base: Folder = Field(
        Path("./data/source_data"),
        description="where source files wait or end that are not loaded; moves are quick on one file system only",
    )
    processed_folder: Folder = Field(
        Path("./data/processed"), description="where loaded files go; moves are quick on one file system only"
    )
    datalake_base: Folder = Field(
        Path("./data/datalake"), description="the Iceberg warehouse, when none is named below"
    )
    iceberg_catalog_uri: CatalogUri | None = Field(
        None,
        repr=False,
        description="Iceberg catalog; unset: SQLite, `catalog.db` beside `DATALAKE_BASE`",
        json_schema_extra=_allow("SQLite or PostgreSQL URL, or the http(s) URL of a REST catalog"),
    )
    iceberg_warehouse: Warehouse | None = Field(
        None,
        repr=False,
        description="the Iceberg warehouse, a folder or URI; wins over `S3_BUCKET`",
        json_schema_extra=_allow("folder or URI"),
    )
    s3_bucket: Bucket | None = Field(
        None,
        description="the bucket that is the Iceberg warehouse; wins over `DATALAKE_BASE`",
        json_schema_extra=_allow("bare name of a bucket; for a path in one set ICEBERG_WAREHOUSE"),
    )
    flush_max_files: int = Field(1000, ge=1, description="flush a type when so many of its files wait, in files")
    flush_max_bytes: int = Field(
        256 * MIB, ge=1, description="flush a type when so much of it waits, in bytes as the files are on disk"
    )
    flush_max_age_seconds: int | None = Field(
        None,
        ge=1,
        le=30 * DAY,
        description="flush a type when its oldest file waited so long, in seconds; unset: hourly",
    )
    chunk_max_files: int = Field(5000, ge=1, description="a micro-batch takes at most so many files")
    chunk_max_bytes: int = Field(256 * MIB, ge=1, description="a micro-batch takes at most so many bytes of files")
    settle_seconds: float = Field(
        2.0, ge=0, le=HOUR, description="a file without a close event is whole when it held still so long, in seconds"
    )
    rescan_seconds: float = Field(
        60.0, ge=1, le=DAY, description="seconds between two scans of the folders and readings of the registry"
    )
    observer: Annotated[Literal["auto", "events", "polling"], IN_LOWER_CASE] = Field(
        "auto",
        description="how files are noticed; `auto`: by events, by polling on NFS, CIFS, overlay and their like",
    )
    max_file_bytes: int = Field(
        2048 * MIB, ge=1, description="larger files are refused, in bytes, on disk and decompressed alike"
    )
    quarantine_raw_max_bytes: int = Field(
        64 * KIB, ge=0, description="keep a rejected record's text up to so many bytes; a longer one stays in its file"
    )
    max_inactive_types: int = Field(
        100, ge=0, description="unknown types that discovery registers; files of further ones stay in `incoming/`"
    )
    min_free_bytes: int = Field(
        256 * MIB,
        ge=0,
        description="nothing is claimed while a disk has less free, in bytes; files wait in `incoming/`",
    )
    batch_max_attempts: int = Field(
        5, ge=1, le=100, description="attempts of a micro-batch before its files go to failed/"
    )
    batch_retry_seconds: float = Field(
        5.0, gt=0, le=HOUR, description="seconds before the second attempt; each further wait is twice as long"
    )
    receipt_days: int = Field(
        90,
        ge=1,
        le=3650,
        description="days that a micro-batch's receipt is kept; a restored ledger must not be older than that",
    )
    batch_timeout_seconds: float = Field(
        1800.0,
        ge=0,
        le=DAY,
        description="seconds after which a hanging Spark job is cancelled, which fails the attempt; 0: never",
    )
    drain_seconds: float = Field(
        60.0, ge=0, le=HOUR, description="seconds that a stopping daemon gives the micro-batch in hand"
    )
    spark_master: SparkMaster = Field(
        "local[*]",
        description="where Spark runs, its master URL",
        json_schema_extra=_allow("local[N], local[*], spark://…, k8s://… or yarn"),
    )
    spark_memory: Memory = Field(
        "1g",
        description="memory of Spark's JVM, a number with its unit",
        json_schema_extra=_allow("number and k, m, g or t, such as 512m"),
    )
    summary_at: TimeOfDay = Field(
        "01:00",
        description="UTC time of day of the daily summary, `HH:MM`",
        json_schema_extra=_allow("00:00 to 23:59"),
    )
    audit_nightly: bool = Field(True, description="after the daily summary, compare ledger, folders and tables")
    log_level: Annotated[Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"], IN_UPPER_CASE] = Field(
        "INFO", description="the least severe level that is logged"
    )
    log_format: Annotated[Literal["auto", "json", "console"], IN_LOWER_CASE] = Field(
        "auto", description="form of the log on stderr; `auto`: console on a terminal, else one JSON object a line"
    )
    log_folder: Folder = Field(Path("./data/logs"), description="where Spark's JVM writes its log")
    failure_rate_alert: float = Field(
        0.5, gt=0, le=1, description="share of failed files in a flush from which on the alert is critical"
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what the caller hands over: `load` merges environment and `.env`, and tests pass their own."""
        return (init_settings,)

    @classmethod
    def load(cls, environ: Mapping[str, str] | None = None, env_file: Path | None = Path(".env")) -> Settings:
        """The settings of the environment (None: this process's) and, for what it leaves out, of `env_file`.

        Names are upper case. An empty value is the same as none. A missing file is none, and its values are taken
        literally: no `${…}` is expanded. Relative paths start at the working directory.
        Raises ConfigurationError with every mistake at once.
        """
        faults: list[str] = []
        given = _read_env_file(env_file, faults) if env_file is not None else {}
        names = {name.upper(): name for name in cls.model_fields}
        faults += _strangers(given, names, env_file)
        given |= {name: value for name, value in (os.environ if environ is None else environ).items() if value}
        values: dict[str, Any] = {field: given[name] for name, field in names.items() if given.get(name)}
        wrong: set[str] = set()
        try:
            settings = cls(**values)
        except ValidationError as error:
            for each in error.errors():
                field = str(each["loc"][0])
                wrong.add(field.upper())
                faults.append(_fault(field, values[field], each))
            settings = cls(**{field: value for field, value in values.items() if field.upper() not in wrong})
        faults += [fault for about, fault in settings._contradictions() if wrong.isdisjoint(about)]
        if faults:
            raise ConfigurationError("reading the settings", faults)
        return settings

    @property
    def folders(self) -> Folders:
        """Where source files live."""
        return Folders(self.incoming_folder, self.source_data_base, self.processed_folder)

    @property
    def sqlite_path(self) -> Path | None:
        """The file of the metadata database; None when it is not SQLite's."""
        url = make_url(self.database_url)
        return Path(url.database) if url.get_backend_name() == "sqlite" and url.database else None

    @property
    def warehouse(self) -> str:
        """Where tables live: an absolute path or a URI."""
        if self.iceberg_warehouse:
            return self.iceberg_warehouse
        return f"s3://{self.s3_bucket}" if self.s3_bucket else str(self.datalake_base)

    @property
    def catalog_uri(self) -> str:
        """The Iceberg catalog: what was set, else a SQLite file beside the data lake."""
        return self.iceberg_catalog_uri or f"sqlite:///{self.datalake_base.parent / 'catalog.db'}"

    def masked(self) -> list[ShownSetting]:
        """Every setting as a person may see it: in effect, passwords masked."""
        return [
            ShownSetting(
                name.upper(),
                mask(text_of(getattr(self, name))),
                name not in self.model_fields_set,
                field.description or "",
            )
            for name, field in type(self).model_fields.items()
        ]

    def _contradictions(self) -> Iterator[tuple[set[str], str]]:
        """What is wrong with settings that are right one by one, and which of them it is about."""
        places = {
            "INCOMING_FOLDER": self.incoming_folder,
            "SOURCE_DATA_BASE": self.source_data_base,
            "PROCESSED_FOLDER": self.processed_folder,
            "DATALAKE_BASE": self.datalake_base,
            "LOG_FOLDER": self.log_folder,
        }
        if self.iceberg_warehouse and not URL.match(self.iceberg_warehouse):
            places["ICEBERG_WAREHOUSE"] = Path(self.iceberg_warehouse)
            del places["DATALAKE_BASE"]
        for (one, first), (two, second) in combinations(places.items(), 2):
            a, b = first.resolve(), second.resolve()
            if a == b:
                yield {one, two}, f"{one} and {two} are the same folder, {first}; give each its own"
            elif a in b.parents:
                yield {one, two}, f"{two} ({second}) lies inside {one} ({first}); give each its own folder"
            elif b in a.parents:
                yield {one, two}, f"{one} ({first}) lies inside {two} ({second}); give each its own folder"
        if self.env == "production":
            need = "when ENV=production"
            if self.sqlite_path is not None:
                yield {"DATABASE_URL"}, f"DATABASE_URL must name a PostgreSQL database {need}"
            if self.catalog_uri.startswith("sqlite"):
                name = "ICEBERG_CATALOG_URI"
                yield {name}, f"{name} must name a shared catalog (PostgreSQL or REST) {need}"
            if not (self.iceberg_warehouse or self.s3_bucket):
                yield {"ICEBERG_WAREHOUSE", "S3_BUCKET"}, f"ICEBERG_WAREHOUSE or S3_BUCKET must be set {need}"


def _fault(name: str, given: str, error: ErrorDetails) -> str:
    hint = str(error["ctx"]["error"]) if error["type"] == "value_error" else ""
    allowed = allowed_words(Settings.model_fields[name])
    return f"{name.upper()} is {mask(given)!r}{f' ({hint})' if hint else ''}; allowed: {allowed}"


def _read_env_file(path: Path, faults: list[str]) -> dict[str, str]:
    """The values of a `.env` file; its lines that are no assignment join `faults`."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        faults.append(f"{path} cannot be read: {error}; correct it or take it away")
        return {}
    values: dict[str, str] = {}
    for binding in parse_stream(io.StringIO(text)):
        if binding.error:
            faults.append(f"{path}, line {binding.original.line}, is no NAME=value; correct or remove it")
        elif binding.key and binding.value:
            values[binding.key] = binding.value
    return values


def _strangers(given: Mapping[str, str], names: Mapping[str, str], path: Path | None) -> Iterator[str]:
    """Names in `.env` that look like misspelt settings; others belong to somebody else who reads that file."""
    for name in given:
        if name not in names and (close := get_close_matches(name.upper(), names, n=1, cutoff=0.85)):
            yield f"{name} in {path} is no setting; did you mean {close[0]}?"
