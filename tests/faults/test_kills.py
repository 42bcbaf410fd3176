"""SIGKILL in the middle of each step of the protocol, and at random moments of a busy run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from random import Random
from threading import Event, Thread

import pytest
from books import assert_app_books, assert_books
from command import Lemonade, drive, drop, events_file, wait_for
from conftest import make_settings
from halfway import MOMENTS
from inprocess import InProcessRunner

from metadata.database.states import FileState, FlushReason
from metadata.types.built_in import BUILT_IN
from watcher.app import App
from watcher.deeds.by_name import do
from watcher.work.work import Work

HALFWAY = Path(__file__).parent / "halfway.py"
TERMINATING = HALFWAY.with_name("terminating.py")
LOADED = ["vehicles_events_20260115120000.json", "vehicles_events_20260116120000.json"]  # two days, two data files
FAILED = "vehicles_events_20260116120001.json"
RECORDS = 20  # of each file of the busy run

LEFT_BEHIND: dict[str, tuple[str | None, int, int]] = {
    "second of three claimed": (None, 0, 0),
    "claim: rows half written": (None, 0, 0),
    "plan: rows half written": (None, 0, 0),
    "plan: not committed": (None, 0, 0),
    "new table not in the catalog": ("planned", 0, 0),
    "new quarantine not in the catalog": ("planned", 0, 0),
    "second data file half written": ("planned", 0, 0),
    "receipt under its temporary name": ("planned", 0, 0),
    "receipt written, not prepared": ("planned", 0, 0),
    "prepare: rows half written": ("planned", 0, 0),
    "prepare: not committed": ("planned", 0, 0),
    "quarantine: manifest without its list": ("prepared", 0, 0),
    "quarantine: metadata file not in the catalog": ("prepared", 0, 0),
    "quarantine: not committed": ("prepared", 0, 0),
    "quarantine: commit without its answer": ("prepared", 1, 0),
    "manifest without its list": ("prepared", 1, 0),
    "metadata file not in the catalog": ("prepared", 1, 0),
    "catalog: not committed": ("prepared", 1, 0),
    "commit without its answer": ("prepared", 1, 1),
    "record: rows half written": ("prepared", 1, 1),
    "record: not committed": ("prepared", 1, 1),
    "one of two moved": ("committed", 1, 1),
    "failed file without its reason": ("committed", 1, 1),
    "all moved, no path on record": ("committed", 1, 1),
    "paths: not committed": ("committed", 1, 1),
    "settle: not committed": ("committed", 1, 1),
}
"""What a death at each moment leaves: the batch's state in the ledger, snapshots of the quarantine and of the table."""

LONG = {
    "claim: rows half written",
    "plan: rows half written",
    "new table not in the catalog",
    "new quarantine not in the catalog",
    "receipt under its temporary name",
    "prepare: not committed",
    "quarantine: manifest without its list",
    "quarantine: metadata file not in the catalog",
    "quarantine: not committed",
    "manifest without its list",
    "record: rows half written",
    "paths: not committed",
    "settle: not committed",
}
"""Moments whose like is among the others."""


# -- in the middle of a step ------------------------------------------------------------------------------------------


@pytest.fixture
def apps(tmp_path: Path) -> Iterator[list[App]]:
    """Closes what is put into it."""
    made: list[App] = []
    yield made
    for app in made:
        app.database.close()


def start(home: Path, apps: list[App]) -> App:
    """A new process's App on the folders of `home`."""
    apps.append(App(make_settings(home, SETTLE_SECONDS="0"), runner=InProcessRunner()))
    return apps[-1]


def restart(home: Path, apps: list[App]) -> App:
    """Start, recover, and load what is there."""
    app = start(home, apps)
    work = Work(app, pause=lambda _seconds: True, draining=lambda: False)
    work.recover()
    snapshot, _ = work.gather_until_settled()
    work.flush(snapshot.active, FlushReason.REQUEST)
    return app


def die_halfway(home: Path, moment: str) -> None:
    """Load what is in incoming/ until the process dies in the middle of it."""
    drive(HALFWAY, moment, home=home, SETTLE_SECONDS="0")


def left_behind(app: App) -> tuple[str | None, int, int]:
    """The batch's state in the ledger, and the number of snapshots of the quarantine and of the table."""
    batches, lake = app.ledger.batches(), app.lake()
    tables = [lake.table(name) for name in ("quarantine.rejected_records", "raw_data.vehicle_events")]
    first, second = (0 if table is None else len(table.snapshots()) for table in tables)
    return (batches[0].state if batches else None), first, second


def half_written(home: Path) -> list[Path]:
    """Data files that begin as Parquet and do not end so."""
    contents = {path: path.read_bytes() for path in (home / "data/datalake").rglob("*.parquet")}
    return [path for path, content in contents.items() if len(content) > 100 and not content.endswith(b"PAR1")]


@pytest.mark.parametrize(
    "moment", [moment if moment not in LONG else pytest.param(moment, marks=pytest.mark.soak) for moment in LEFT_BEHIND]
)
def test_death_in_the_middle_of_a_step(tmp_path: Path, apps: list[App], moment: str) -> None:
    """After a death halfway through any step, the next start has every record once and every file in its place."""
    app = start(tmp_path, apps)
    app.init()
    document = events_file(20)
    document["vehicles_events"].insert(7, {"vehicle_id": "it has no time"})
    drop(app.settings.incoming_folder, LOADED[0], document)
    drop(app.settings.incoming_folder, LOADED[1], events_file(10, start=20, day="2026-01-16"))
    drop(app.settings.incoming_folder, FAILED, '{"vehicles_events": [')
    die_halfway(tmp_path, moment)
    assert left_behind(app) == LEFT_BEHIND[moment]
    assert len(half_written(tmp_path)) == (moment == "second data file half written")
    restart(tmp_path, apps)
    again = restart(tmp_path, apps)
    assert {file.name: file.state for file in again.ledger.files()} == {
        **dict.fromkeys(LOADED, "loaded"),
        FAILED: "failed",
    }
    assert left_behind(again) == ("settled", 1, 1)
    assert len(list((tmp_path / "data/source_data/failed").rglob("*.error.json"))) == 1
    assert_app_books(again, 30, key="vehicle_id", rejected=1)


@pytest.mark.parametrize(
    "moment",
    [
        "commit without its answer",
        pytest.param("prepare: not committed", marks=pytest.mark.soak),
        pytest.param("catalog: not committed", marks=pytest.mark.soak),
        pytest.param("record: not committed", marks=pytest.mark.soak),
    ],
)
def test_death_in_the_middle_of_a_replacement(tmp_path: Path, apps: list[App], moment: str) -> None:
    """After a death halfway through replacing a file's load, the next start has the new rows once and no old one."""
    app = start(tmp_path, apps)
    app.init()
    app.registry.update("vehicle_events", {"processing_config": {"on_redelivery": "replace"}})
    for name, first, count in ((LOADED[0], 0, 20), (LOADED[1], 100, 10)):
        drop(app.settings.incoming_folder, name, events_file(count, start=first))
    restart(tmp_path, apps)
    drop(app.settings.incoming_folder, LOADED[0], events_file(7, start=200))
    die_halfway(tmp_path, moment)
    restart(tmp_path, apps)
    again = restart(tmp_path, apps)
    assert sorted((file.name, file.state) for file in again.ledger.files()) == [
        (LOADED[0], "loaded"),
        (LOADED[0], "replaced"),
        (LOADED[1], "loaded"),
    ]
    assert again.ledger.unsettled_batches() == []
    assert_app_books(again, 17, key="vehicle_id")


EVOLVED = {
    "metadata file not in the catalog": "event_source",  # of the evolution: the table has the old name still
    "second data file half written": "system",
    "quarantine: commit without its answer": "system",
    "catalog: not committed": "system",
    "commit without its answer": "system",
}
"""Moments of the first load under a new version of the schema, and the name of the renamed column that they leave."""


@pytest.mark.parametrize("moment", EVOLVED)
def test_death_in_the_middle_of_an_evolution(tmp_path: Path, apps: list[App], moment: str) -> None:
    """After a death while its table evolves, or right after, rows of both versions are read together, each once."""
    app = start(tmp_path, apps)
    app.init()
    drop(app.settings.incoming_folder, LOADED[0], events_file(10))
    restart(tmp_path, apps)
    (schema,) = (raw["schema_definition"] for raw in BUILT_IN if raw["file_type"] == "vehicle_events")
    renamed = {"name": "system", "type": "string", "renamed_from": "event_source", "source": "event_source"}
    fields = [renamed if field["name"] == "event_source" else field for field in schema["fields"]]
    fields.append({"name": "odometer", "type": "long"})
    app.registry.update("vehicle_events", {"schema_definition": {**schema, "fields": fields}})
    document = events_file(10, start=10)
    document["vehicles_events"].append({"vehicle_id": "it has no time"})
    document["vehicles_events"][0]["odometer"] = 120_000
    drop(app.settings.incoming_folder, LOADED[1], document)
    drop(app.settings.incoming_folder, FAILED, events_file(5, start=20, day="2026-01-16"))
    die_halfway(tmp_path, moment)
    table = app.lake().table("raw_data.vehicle_events")
    assert table is not None
    assert EVOLVED[moment] in table.schema().column_names
    restart(tmp_path, apps)
    again = restart(tmp_path, apps)
    assert again.ledger.unsettled_batches() == []
    assert_app_books(again, 25, key="vehicle_id", rejected=1)
    table = again.lake().table("raw_data.vehicle_events")
    assert table is not None
    rows = table.scan().to_arrow()
    assert set(rows["system"].to_pylist()) == {"gps"}
    assert [value for value in rows["odometer"].to_pylist() if value is not None] == [120_000]


def test_every_moment_is_tried() -> None:
    """Each moment that the dying process knows has its case above."""
    assert list(LEFT_BEHIND) == list(MOMENTS)


# -- at random moments ------------------------------------------------------------------------------------------------


class Producer:
    """Drops a file every so often, from `with` on until it is told to stop."""

    def __init__(self, incoming: Path, seconds: float) -> None:
        self.names: list[str] = []
        self._incoming = incoming
        self._seconds = seconds
        self._is_over = Event()
        self._thread = Thread(target=self._produce)

    def __enter__(self) -> Producer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join(30)

    def _produce(self) -> None:
        while not self._is_over.wait(self._seconds):
            number = len(self.names)
            name = f"vehicles_events_20260115{number // 3600:02}{number // 60 % 60:02}{number % 60:02}.json"
            drop(self._incoming, name, events_file(RECORDS, start=number * RECORDS))
            self.names.append(name)


def kill_at_random(
    start: Callable[[], subprocess.Popen[bytes]], lemonade: Lemonade, random: Random, longest: float, *, group: bool
) -> subprocess.Popen[bytes]:
    """Start the daemon and kill it: now and then on its way up, else while it works off what has come meanwhile."""
    lemonade.log.unlink(missing_ok=True)
    daemon = start()
    is_busy, seconds = random.random() < 0.7, random.uniform(0, longest)
    sys.stdout.write(f"{'group' if group else 'process'}, {'busy' if is_busy else 'starting'}, after {seconds:.3f} s\n")
    if is_busy:
        wait_for(lambda: lemonade.events("batch.settled"), "a batch")
    with pytest.raises(subprocess.TimeoutExpired):
        daemon.wait(seconds)
    (os.killpg if group else os.kill)(daemon.pid, signal.SIGKILL)
    assert daemon.wait(30) == -signal.SIGKILL
    return daemon


def living(session: int) -> list[str]:
    """Processes of a session that are not mere zombies."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has just ended
            state, _parent, _group, of_session = path.read_text().rpartition(")")[2].split()[:4]
            if of_session == str(session) and state not in "ZX":
                found.append(path.parent.name)
    return found


def seeded(seed: int | None) -> Random:
    """A source of chance whose seed the test's output tells."""
    seed = Random().randrange(10**6) if seed is None else seed
    sys.stdout.write(f"seed {seed}\n")
    return Random(seed)


@pytest.mark.timeout(3 * 3600)
@pytest.mark.parametrize(
    ("kills", "seed", "longest"),
    [
        pytest.param(1, 3, 1, id="short"),
        pytest.param(20, None, 3, id="20", marks=pytest.mark.soak),
        pytest.param(200, None, 3, id="200", marks=pytest.mark.soak),
    ],
)
def test_kills_of_a_busy_run(lemonade: Lemonade, kills: int, seed: int | None, longest: float) -> None:
    """Killed at any moment, alone or with its group, while files keep coming: at the end every row is there once."""
    random = seeded(seed)
    lemonade.run("init")

    def start() -> subprocess.Popen[bytes]:
        return lemonade.start(FLUSH_MAX_FILES="5", CHUNK_MAX_FILES="5")

    with Producer(lemonade.incoming, 0.15) as producer:
        daemons = [kill_at_random(start, lemonade, random, longest, group=number % 2 == 0) for number in range(kills)]
    while lemonade.json("run", "--once")["batches"]:
        pass
    failed = lemonade.json("files", "--state", "failed", check=None)
    if failed:  # three deaths, the last with it alone in work: chance can do that too
        assert {file["code"] for file in failed} == {"poison"}
        lemonade.run("retry", "--all")
        while lemonade.json("run", "--once")["batches"]:
            pass
    assert_books(lemonade, RECORDS * len(producer.names), producer.names, states=["loaded"])
    wait_for(lambda: not any(living(daemon.pid) for daemon in daemons), "what the killed daemons had started to end")


def test_kills_of_a_busy_run_without_spark(lemonade: Lemonade, apps: list[App]) -> None:
    """The same with tasks that run in the daemon, which takes more kills in less time."""
    random, home = seeded(7), lemonade.home
    start(home, apps).init()

    def begin() -> subprocess.Popen[bytes]:
        tests = os.pathsep.join(sys.path)
        return lemonade.start("none", program=[str(TERMINATING)], PYTHONPATH=tests, FLUSH_MAX_FILES="5")

    with Producer(lemonade.incoming, 0.03) as producer:
        for number in range(4):
            kill_at_random(begin, lemonade, random, 0.3, group=number % 2 == 1)
    app = restart(home, apps)
    for file in app.ledger.files():
        assert (file.state, file.code) in [("loaded", None), ("failed", "poison")], file.name
    do(Work(app, pause=lambda _seconds: True, draining=lambda: False), "retry", {"all": True})
    assert sorted(file.name for file in app.ledger.files(state=FileState.LOADED)) == sorted(producer.names)
    assert_app_books(app, RECORDS * len(producer.names), key="vehicle_id")
