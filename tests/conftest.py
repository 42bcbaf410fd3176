"""Fixtures of all rings: a clock moved by hand, settings in a folder of the test's own, the App on them."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from command import Lemonade
from handclock import HandClock

from metadata import ids
from metadata.ids import IdSequence
from metadata.settings import Settings
from watcher.app import App

MEMORY = Path("/dev/shm")
ROOM_BYTES = 4 * 1024**3


def pytest_configure() -> None:
    """Tests wait for thousands of fsyncs: their folders lie in memory where there is room, unless TMPDIR says where."""
    if "TMPDIR" not in os.environ and has_room(MEMORY):
        os.environ["TMPDIR"] = str(MEMORY)
        tempfile.tempdir = None


def has_room(folder: Path) -> bool:
    """Whether programs may be written there and run, and there is room for all that tests leave."""
    if not os.access(folder, os.W_OK) or os.statvfs(folder).f_flag & os.ST_NOEXEC:
        return False
    return shutil.disk_usage(folder).free >= ROOM_BYTES


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Compressed bytes hold the second in which they were made; two workers have to call a test by one name."""
    return argname if isinstance(val, bytes) and val.startswith(b"\x1f\x8b") else None


@pytest.fixture(autouse=True, scope="module")
def _ids_begin_anew() -> None:
    """Ids never go back, so a test that moved its clock far ahead would be felt by those in other files."""
    ids.PROCESS_IDS = IdSequence()


@pytest.fixture
def clock() -> HandClock:
    """A clock that stands still until the test moves it."""
    return HandClock()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings whose every folder and database lie in the test's own folder."""
    return make_settings(tmp_path)


@pytest.fixture
def lemonade(tmp_path: Path) -> Iterator[Lemonade]:
    """The real command in subprocesses, in a folder of the test's own; ends every process that it started."""
    home = Lemonade(tmp_path)
    yield home
    home.close()


@pytest.fixture
def app(settings: Settings) -> Iterator[App]:
    """An initialised App with an in-process runner."""
    from inprocess import InProcessRunner

    made = App(settings, runner=InProcessRunner())
    made.init()
    yield made
    made.database.close()


def make_settings(folder: Path, **more: str) -> Settings:
    """Settings for `folder`, as the environment would give them."""
    environ = {
        "DATABASE_URL": f"sqlite:///{folder}/data/metadata.db",
        "INCOMING_FOLDER": str(folder / "data/incoming"),
        "SOURCE_DATA_BASE": str(folder / "data/source_data"),
        "PROCESSED_FOLDER": str(folder / "data/processed"),
        "DATALAKE_BASE": str(folder / "data/datalake"),
        "LOG_FOLDER": str(folder / "data/logs"),
        "SETTLE_SECONDS": "0.2",
        **more,
    }
    return Settings.load(environ, None)


@pytest.fixture
def settings_with(tmp_path: Path) -> Callable[..., Settings]:
    """`settings_with(CHUNK_MAX_FILES="1")`: the test's settings with some of their own values."""
    return lambda **more: make_settings(tmp_path, **more)
