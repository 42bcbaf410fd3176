"""`lemonade doctor`: what this machine has and lacks, with cures."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from metadata.errors import ConfigurationError, LemonadeError
from watcher.terminal.output import JSON_OPTION, print_json, shown

if TYPE_CHECKING:
    from watcher.app import App

MIB = 1024 * 1024

OLDEST_PYTHON = (3, 11)
DISK_WARNING_BYTES = 2048 * MIB
DISK_LEAST_BYTES = 256 * MIB
_NETWORK = re.compile(r"nfs|cifs|smb|sshfs|fuse\.s3|9p|afs|ceph|gluster")
_INOTIFY = Path("/proc/sys/fs/inotify")
_INOTIFY_WANTED = {"max_user_instances": 16, "max_user_watches": 64, "max_queued_events": 16384}
"""One instance and a few watches are ours; the rest is for everybody else of this user."""


@dataclass(frozen=True)
class MachineFact:
    """What one look found; `bad` things keep Lemonade from working."""

    check: str
    state: Literal["ok", "warn", "bad"]
    message: str
    cure: str | None = None


@click.command()
@JSON_OPTION
@click.pass_obj
def doctor(app: App, as_json: bool) -> None:
    """What this machine has and lacks, with cures. Exit 1 when something keeps Lemonade from working."""
    findings = examine(app)
    if as_json:
        print_json([asdict(finding) for finding in findings])
    else:
        for finding in findings:
            click.echo(f"{finding.state:<5}{finding.check:<10}{shown(finding.message)}")
            if finding.cure:
                click.echo(f"{'':<15}-> {shown(finding.cure)}")
    if any(finding.state == "bad" for finding in findings):
        raise click.exceptions.Exit(1)


def examine(app: App) -> list[MachineFact]:
    """Every finding, in the order in which things are needed; a look that fails is a finding too."""
    findings = [*_python(), *_packages()]
    try:
        _ = app.settings
    except ConfigurationError as error:
        return [
            *findings,
            *(MachineFact("settings", "bad", fault, "correct it in .env or here") for fault in error.faults),
        ]
    looks: list[tuple[str, Callable[[App], Iterator[MachineFact]]]] = [
        ("java", _java),
        ("folders", _folders),
        ("disk", _disk),
        ("database", _database),
        ("catalog", _catalog),
        ("inotify", _inotify),
        ("daemon", _daemon),
    ]
    for name, look in looks:
        try:
            findings += look(app)
        except ConfigurationError as error:
            findings.append(MachineFact(name, "bad", f"{error.operation}: {'; '.join(error.faults)}"))
        except LemonadeError as error:
            findings.append(MachineFact(name, "bad", error.message))
        except Exception as error:  # a doctor who faints helps nobody: the other looks go on
            findings.append(MachineFact(name, "bad", f"looking failed: {type(error).__name__}: {error}"))
    return findings


def _python() -> Iterator[MachineFact]:
    text = f"Python {platform.python_version()} ({sys.executable}) on {platform.system()} {platform.machine()}"
    if sys.version_info < OLDEST_PYTHON:
        yield MachineFact("python", "bad", text, f"use Python {'.'.join(map(str, OLDEST_PYTHON))} or newer")
    else:
        yield MachineFact("python", "ok", text)


def _packages() -> Iterator[MachineFact]:
    try:
        needed = importlib.metadata.requires("lemonade") or []
    except importlib.metadata.PackageNotFoundError:
        yield MachineFact("packages", "warn", "lemonade is not installed as a package", "run: make setup")
        return
    versions: dict[str, str] = {}
    wrong: list[str] = []
    for requirement in needed:
        if "extra ==" in requirement:
            continue
        parts = re.match(r"([A-Za-z0-9._-]+)(?:\[[^\]]*\])?\s*(?:==\s*([^\s;,]+))?", requirement)
        if parts is None:
            continue
        name, pin = parts[1], parts[2]
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            wrong.append(f"{name} is not installed")
            continue
        if pin and versions[name] != pin:
            wrong.append(f"{name} is {versions[name]}, not {pin}")
    if wrong:
        yield MachineFact("packages", "bad", "; ".join(wrong), "run: make setup")
    else:
        first = ("pyspark", "pyiceberg", "pyarrow", "duckdb", "duckdb-extension-iceberg")
        told = ", ".join(f"{name} {versions[name]}" for name in first if name in versions)
        yield MachineFact("packages", "ok", f"{told} and {len(versions) - 5} others")


def _java(app: App) -> Iterator[MachineFact]:
    from processors.spark.java import find_java

    java = find_java(app.environ, app.java_shim_folder)
    yield MachineFact("java", "ok", str(java))
    for passed in java.passed_over:
        yield MachineFact("java", "warn", f"passed over: {passed}")


def _folders(app: App) -> Iterator[MachineFact]:
    settings = app.settings
    wanted = [*settings.folders.all(), settings.log_folder]
    taken = [str(folder) for folder in wanted if folder.exists() and not folder.is_dir()]
    missing = [str(folder) for folder in wanted if not folder.exists()]
    closed = [
        str(folder) for folder in wanted if folder.is_dir() and not os.access(folder, os.R_OK | os.W_OK | os.X_OK)
    ]
    if taken:
        yield MachineFact("folders", "bad", f"no folder: {', '.join(taken)}", "move it away, then run: lemonade init")
    if missing:
        yield MachineFact("folders", "bad", f"not there: {', '.join(missing)}", "run: lemonade init")
    if closed:
        yield MachineFact(
            "folders", "bad", f"not writable: {', '.join(closed)}", "give this user the right to write there"
        )
    if taken or missing or closed:
        return
    moved = {"INCOMING_FOLDER": settings.incoming_folder, "PROCESSED_FOLDER": settings.processed_folder}
    home = settings.source_data_base.stat().st_dev
    apart = [name for name, folder in moved.items() if folder.stat().st_dev != home]
    for name in apart:
        cure = "files are renamed, not copied: put these folders on one file system"
        yield MachineFact("folders", "bad", f"{name} is on another file system than SOURCE_DATA_BASE", cure)
    if not apart:
        yield MachineFact(
            "folders", "ok", f"{settings.incoming_folder} and {len(wanted) - 1} others, on one file system"
        )


def _disk(app: App) -> Iterator[MachineFact]:
    settings = app.settings
    places = [settings.incoming_folder, settings.source_data_base, settings.processed_folder, settings.log_folder]
    if "://" not in settings.warehouse:
        places.append(Path(settings.warehouse))
    if settings.sqlite_path is not None:
        places.append(settings.sqlite_path.parent)
    by_device = {folder.stat().st_dev: folder for folder in map(_existing, reversed(places))}
    for folder in by_device.values():
        free = shutil.disk_usage(folder).free
        text = f"{free / MIB / 1024:.1f} GiB free at {folder}"
        if free < DISK_LEAST_BYTES:
            yield MachineFact("disk", "bad", text, "make room: nothing can be loaded onto a full disk")
        elif free < DISK_WARNING_BYTES:
            yield MachineFact("disk", "warn", text, "make room soon")
        else:
            yield MachineFact("disk", "ok", text)


def _database(app: App) -> Iterator[MachineFact]:
    path = app.settings.sqlite_path
    try:
        database = app.unchecked_database
    except ImportError as error:
        cure = f"pip install {error.name}" if error.name else "install the driver that DATABASE_URL names"
        yield MachineFact("database", "bad", f"the database's driver is missing: {error}", cure)
        return
    where = database.url.render_as_string(hide_password=True)
    if not database.is_migrated():
        yield MachineFact("database", "bad", f"{where} has no tables yet", "run: lemonade init")
        return
    snapshot = app.registry.read()
    yield MachineFact("database", "ok", f"{where}, {len(snapshot.types)} file types, {len(snapshot.active)} active")
    for broken in snapshot.broken:
        cure = f"correct its row in table_metadata, or: lemonade types update {broken.file_type} --file TYPE.json"
        yield MachineFact(
            "database", "warn", f"file type {broken.file_type} is broken: {'; '.join(broken.faults)}", cure
        )
    if path is not None and (kind := _network_file_system(path)):
        cure = "SQLite needs a local disk: move the file, or use PostgreSQL"
        yield MachineFact("database", "bad", f"{path} is on a network file system ({kind})", cure)


def _catalog(app: App) -> Iterator[MachineFact]:
    uri = app.settings.catalog_uri
    if uri.startswith("sqlite:///") and not Path(uri.removeprefix("sqlite:///")).exists():
        yield MachineFact("catalog", "bad", f"{uri} is not there", "run: lemonade init")
        return
    tables = app.lake().table_names()
    yield MachineFact("catalog", "ok", f"{len(tables)} tables in {app.settings.warehouse}")


def _inotify(_app: App) -> Iterator[MachineFact]:
    if not _INOTIFY.is_dir():
        yield MachineFact("inotify", "ok", f"not used on {platform.system()}")
        return
    limits = {name: int((_INOTIFY / name).read_text()) for name in _INOTIFY_WANTED}
    low = [name for name, wanted in _INOTIFY_WANTED.items() if limits[name] < wanted]
    told = ", ".join(f"{name} {value}" for name, value in limits.items())
    if low:
        cure = "; ".join(f"sysctl fs.inotify.{name}={_INOTIFY_WANTED[name]}" for name in low)
        yield MachineFact("inotify", "warn", f"{told}: file events may get lost, and scans find the files later", cure)
    else:
        yield MachineFact("inotify", "ok", told)


def _daemon(app: App) -> Iterator[MachineFact]:
    from watcher.lock import daemon_pid

    pid = daemon_pid(app.settings)
    yield MachineFact("daemon", "ok", f"runs, pid {pid}" if pid else "does not run; start it with: lemonade run")


def _existing(folder: Path) -> Path:
    """The folder or the nearest one above that is there."""
    return next(each for each in (folder, *folder.parents) if each.exists())


def _network_file_system(path: Path) -> str | None:
    """The kind of network file system that holds `path`; None for a local disk."""
    import psutil

    real = _existing(path).resolve()
    mounts = {Path(part.mountpoint): part.fstype for part in psutil.disk_partitions(all=True)}
    kind = next((mounts[each] for each in (real, *real.parents) if each in mounts), "")
    return kind if _NETWORK.search(kind) else None
