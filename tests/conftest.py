"""Fixtures of all rings: a clock moved by hand, settings in a folder of the test's own, the App on them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from command import Lemonade
from handclock import HandClock

from metadata.settings import Settings
from watcher.app import App


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
