"""Faults that follow a batch: halving, poison files, hangs, deaths of the process; other types are not stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pytest
from books import assert_app_books, assert_books
from command import ROOT, Lemonade, drop, events_file, wait_for
from conftest import make_settings
from handclock import HandClock
from inprocess import InProcessRunner

from metadata.database.models import Batch, SourceFile
from metadata.database.states import BatchState, FileState, FlushReason
from metadata.errors import BatchFault, LemonadeError, UnknownOutcome
from metadata.settings import Settings
from processors.lake.lake import Lake
from processors.load import decode_step as decoding
from processors.load import next_attempt as attempts
from processors.load.load_task import WriteJob, load_files
from processors.spark.java import find_java
from processors.spark.spark_runner import Runner, SparkRunner
from watcher.app import App
from watcher.daemon.service import Service
from watcher.work.work import Work

T = TypeVar("T")
R = TypeVar("R")
Decide = Callable[[set[str], int], LemonadeError | None]


def name(number: int, kind: str = "vehicles_events") -> str:
    """The name of a file."""
    return f"{kind}_202601151200{number:02}.json"


POISON = name(7)


class Faulty(InProcessRunner):
    """Before each run of a batch's tasks it asks what goes wrong, by the names of the files and the attempt."""

    def __init__(self, decide: Decide = lambda names, attempt: None) -> None:
        super().__init__()
        self.decide = decide
        self.seen: list[set[str]] = []

    def run(self, function: Callable[[T], R], tasks: Sequence[T], label: str) -> list[R]:
        """As in process, unless something goes wrong."""
        jobs = [task for task in tasks if isinstance(task, WriteJob)]
        names = {source.name for job in jobs for source in job.inputs}
        if names:
            self.seen.append(names)
            fault = self.decide(names, jobs[0].name.attempt)
            if fault is not None:
                raise fault
        return super().run(function, tasks, label)


def if_inside(code: str, marker: str = POISON, last_attempt: int = 99) -> Decide:
    """A fault of this code whenever the file is in work, up to an attempt."""

    def decide(names: set[str], attempt: int) -> LemonadeError | None:
        return BatchFault(f"it broke: {code}", code=code) if marker in names and attempt <= last_attempt else None

    return decide


class Home:
    """An App in a folder of the test's own; waits move its clock, unless the test says that it drains."""

    def __init__(self, settings: Settings, runner: Runner, clock: HandClock | None = None) -> None:
        self.clock = clock or HandClock()
        self.app = App(settings, clock=self.clock, runner=runner)
        self.app.init()
        self.drains = False
        self.work = Work(self.app, pause=self._pause, draining=lambda: self.drains)

    def _pause(self, seconds: float) -> bool:
        self.clock.forward(max(seconds, 0.01))
        return not self.drains

    def drop(self, count: int, kind: str = "vehicles_events", records: int = 2) -> None:
        """Files of one type, numbered from 0."""
        for number in range(count):
            content: Any = events_file(records, start=number * records)
            if kind != "vehicles_events":
                content = [{"vehicle_id": f"s{number}", "report_time": "2026-01-15T11:00:00Z"}]
            drop(self.app.settings.incoming_folder, name(number, kind), content)

    def load(self, *types: str) -> Any:
        """Claim what is there and flush these types, or all."""
        snapshot, _ = self.work.gather_until_settled()
        wanted = [kind for kind in snapshot.active if not types or kind.name in types]
        return self.work.flush(wanted, FlushReason.REQUEST)

    def states(self) -> dict[str, str]:
        """State by name."""
        return {file.name: file.state for file in self.app.ledger.files()}

    def file(self, file_name: str) -> SourceFile:
        """One file as the ledger has it."""
        return self.app.ledger.files(name=file_name)[0]

    def batches(self) -> list[Batch]:
        """Oldest first."""
        return self.app.ledger.batches()[::-1]


def assert_poison_is_out(home: Home, code: str, files: int, records: int = 2) -> None:
    """All files but one are loaded once, that one waits in failed/ with its reason, and the books balance."""
    assert home.states() == {name(number): "failed" if name(number) == POISON else "loaded" for number in range(files)}
    assert home.file(POISON).code == code
    reason = Path(home.file(POISON).path + ".error.json").read_text()
    assert f'"{code}"' in reason
    assert_app_books(home.app, rows=(files - 1) * records, key="vehicle_id")


# -- halving ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "code"),
    [("worker_lost", "poison"), ("task_failed", "task_failed"), ("timed_out", "timed_out"), ("spark_lost",) * 2],
)
def test_one_file_fails_every_batch_that_it_is_in(
    settings: Settings, fault: str, code: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The batch is halved until that file is alone; it goes to failed/ with a critical alert, the others load."""
    home = Home(settings, runner := Faulty(if_inside(fault)))
    home.drop(11)
    report = home.load()
    assert_poison_is_out(home, code, 11)
    assert report.count("loaded") == 10
    assert report.count("failed") == 1
    dead = [
        record.msg for record in caplog.records if isinstance(record.msg, dict) and record.msg["event"] == "batch.dead"
    ]
    assert [(facts["severity"], facts["code"], facts["files"]) for facts in dead] == [("critical", code, [POISON])]
    assert len(runner.seen) <= (2 if fault == "spark_lost" else 1) * 5 + 6
    first, *halves = home.batches()
    ids = {batch.id for batch in home.batches()}
    assert first.halved_from is None
    assert all(batch.halved_from in ids for batch in halves)
    assert {batch.state for batch in home.batches()} == {BatchState.ABANDONED, BatchState.SETTLED}
    assert home.app.ledger.waiting() == []


def test_two_files_at_fault(settings: Settings) -> None:
    """Two files that kill their workers are both found; nothing else is lost."""
    home = Home(
        settings,
        Faulty(
            lambda names, _: if_inside("worker_lost", name(2))(names, 1) or if_inside("worker_lost", name(9))(names, 1)
        ),
    )
    home.drop(10)
    home.load()
    assert [key for key, state in home.states().items() if state == "failed"] == [name(2), name(9)]
    assert_app_books(home.app, rows=16, key="vehicle_id")


@pytest.mark.parametrize("fault", ["spark_lost", "worker_lost", "task_failed", "timed_out"])
def test_a_fault_that_passes_keeps_the_batch_of_one_file(settings: Settings, fault: str) -> None:
    """A file alone whose first attempt failed is loaded by the second, under the same batch id."""
    home = Home(settings, runner := Faulty(if_inside(fault, last_attempt=1)))
    drop(settings.incoming_folder, POISON, events_file(3))
    report = home.load()
    assert [(batch.state, batch.attempts) for batch in home.batches()] == [("settled", 2)]
    assert [batch.batch_id for batch in report.batches] == [home.batches()[0].id]
    assert len(runner.seen) == 2
    assert_app_books(home.app, rows=3)


def test_the_first_death_of_the_jvm_halves_nothing(settings: Settings) -> None:
    """A JVM that died once is made again and the whole batch is tried again under its id."""
    home = Home(settings, Faulty(if_inside("spark_lost", last_attempt=1)))
    home.drop(9)
    home.load()
    assert [(batch.state, batch.attempts, batch.files) for batch in home.batches()] == [("settled", 2, 9)]
    assert_app_books(home.app, rows=18)


def test_everything_fails(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """When every batch fails, the number of attempts is bounded and every file waits in failed/."""
    monkeypatch.setattr(attempts, "MOST_FAULTS", 6)
    home = Home(settings, runner := Faulty(lambda names, attempt: BatchFault("it broke", code="worker_lost")))
    home.drop(32)
    report = home.load()
    assert set(home.states().values()) == {"failed"}
    assert len(runner.seen) < 32
    assert report.count("failed") == 32
    assert {file.code for file in home.app.ledger.files()} <= {"out_of_attempts", "poison"}
    assert_app_books(home.app, rows=0)


def test_a_fault_that_no_file_can_have_caused_halves_nothing(settings: Settings) -> None:
    """Any other fault of a batch is tried BATCH_MAX_ATTEMPTS times, then all of it is a dead letter."""
    home = Home(settings, runner := Faulty(if_inside("another")))
    home.drop(8)
    home.load()
    assert len(runner.seen) == settings.batch_max_attempts
    assert [(batch.state, batch.attempts) for batch in home.batches()] == [("abandoned", settings.batch_max_attempts)]
    assert {file.code for file in home.app.ledger.files()} == {"out_of_attempts"}


def test_zombie_of_an_earlier_attempt(settings: Settings) -> None:
    """What a worker of an earlier attempt writes late is in files that no snapshot names; the table stays as it is."""
    zombies: list[str] = []
    earlier: list[Any] = []

    class Zombies(InProcessRunner):
        """The first run's tasks write a second time when those of the second have written."""

        def run(self, function: Callable[[T], R], tasks: Sequence[T], label: str) -> list[R]:
            """As in process, but its first answer is lost."""
            results = super().run(function, tasks, label)
            if not earlier:
                earlier.extend(tasks)
                raise BatchFault("its answer was lost", code="worker_lost")
            zombies.extend(data.path for task in earlier for data in load_files(task).written)
            return results

    home = Home(settings, Zombies())
    drop(settings.incoming_folder, POISON, events_file(5))
    home.load()
    written = home.app.ledger.data_file_paths(home.batches()[0].id)
    assert zombies
    assert written
    assert not set(zombies) & set(written)
    assert_app_books(home.app, rows=5)


# -- waiting, while others go on --------------------------------------------------------------------------------------


def test_other_types_go_first(settings: Settings) -> None:
    """While a batch waits for its second attempt the other types load; the flush is over when that batch is."""
    home = Home(settings, runner := Faulty(if_inside("spark_lost", last_attempt=1)))
    home.drop(8)
    home.drop(2, "vehicle_status")
    report = home.load()
    assert [next(iter(names)).rpartition("_")[0] for names in runner.seen] == [
        "vehicles_events",
        "vehicle_status",
        "vehicles_events",
    ]
    assert [(batch.file_type, batch.rows) for batch in report.batches] == [
        ("vehicle_status", 2),
        ("vehicle_events", 16),
    ]


def test_a_lost_answer_does_not_stop_other_types(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """A commit whose answer was lost waits aside too, and then asks the table."""
    append = Lake.append
    lost: list[str] = []

    def losing(self: Lake, table: str, batch_id: str, *args: Any, **kwargs: Any) -> Any:
        result = append(self, table, batch_id, *args, **kwargs)
        if not lost:
            lost.append(batch_id)
            raise UnknownOutcome("no answer came")
        return result

    monkeypatch.setattr(Lake, "append", losing)
    home = Home(settings, Faulty())
    home.drop(3)
    home.drop(2, "vehicle_status")
    report = home.load()
    assert [batch.file_type for batch in report.batches] == ["vehicle_status", "vehicle_events"]
    assert report.batches[1].batch_id == lost[0]
    assert_app_books(home.app, rows=6)


def test_draining_while_a_batch_waits(settings: Settings) -> None:
    """It stays planned; the next start loads its files, and nobody counts that as a death."""
    home = Home(settings, runner := Faulty(if_inside("spark_lost")))
    home.drop(8)
    decide = runner.decide

    def drains(names: set[str], attempt: int) -> LemonadeError | None:
        home.drains = True
        return decide(names, attempt)

    runner.decide = drains
    assert home.load().drained
    assert [batch.state for batch in home.batches()] == ["planned"]
    again = Home(settings, Faulty(), home.clock)
    again.work.recover()
    assert {file.deaths for file in again.app.ledger.files()} == {0}
    again.load()
    assert [batch.state for batch in again.batches()] == ["abandoned", "settled"]
    assert_app_books(again.app, rows=16)


def test_copies_wait_for_a_batch_that_waits(settings: Settings) -> None:
    """A copy of a file whose batch waits for another attempt is decided once that is over."""
    home = Home(settings, Faulty(if_inside("worker_lost", last_attempt=1)))
    drop(settings.incoming_folder, POISON, events_file(3))
    home.work.gather_until_settled()
    drop(settings.incoming_folder, POISON, events_file(3))
    report = home.load()
    assert sorted(file.state for file in home.app.ledger.files()) == ["duplicate", "loaded"]
    assert report.count("duplicate") == 1
    assert_app_books(home.app, rows=3)


class Daemon:
    """A Service in a thread, on a clock that the test moves."""

    def __init__(self, settings: Settings, runner: Runner) -> None:
        self.clock = HandClock()
        self.app = App(settings, clock=self.clock, runner=runner)
        self.app.init()
        self.service = Service(self.app)
        self.thread = threading.Thread(target=self.service.serve)
        self.thread.start()

    def until(self, condition: Callable[[], Any], what: str, step: float = 0.1) -> Any:
        """Wait for it; time passes meanwhile, slowly."""

        def moved() -> Any:
            self.clock.forward(step)
            return condition()

        return wait_for(moved, what, 60)

    def asked(self, *types: str) -> Callable[[], Any]:
        """A flush request; returns a look at whether it is done."""
        request = self.app.requests.ask("flush", {"types": list(types)})
        self.service.flags.wake.set()
        return lambda: (row := self.app.requests.get(request)).state in ("done", "failed", "dropped") and row

    def close(self) -> None:
        """Drain."""
        self.service.stop()
        self.thread.join(60)
        assert not self.thread.is_alive()


def test_flushes_go_on_while_a_batch_of_an_earlier_one_waits(settings_with: Callable[..., Settings]) -> None:
    """A request for one type is answered while another's batch waits; that one's request sees the final outcome."""
    runner = Faulty(if_inside("worker_lost", last_attempt=1))
    daemon = Daemon(settings_with(BATCH_RETRY_SECONDS="600"), runner)
    try:
        drop(daemon.app.settings.incoming_folder, POISON, events_file(3))
        first = daemon.asked("vehicle_events")
        daemon.until(lambda: runner.seen, "the first attempt")
        drop(daemon.app.settings.incoming_folder, name(1, "vehicle_status"), [{"vehicle_id": "s", "report_time": 1}])
        second = daemon.until(daemon.asked("vehicle_status"), "the other type's flush")
        assert second.state == "done"
        assert not first()
        daemon.clock.forward(900)
        row = daemon.until(first, "the flush of the batch that waited")
        assert row.state == "done"
        assert [(batch["rows"], batch["state"]) for batch in row.result["batches"]] == [(3, "settled")]
    finally:
        daemon.close()
    assert_app_books(daemon.app, rows=3)


# -- deaths of the process --------------------------------------------------------------------------------------------


class Killed(BaseException):
    """The process ends here."""


def dying(marker: str) -> Faulty:
    """A runner in whose process nothing survives the file."""

    def decide(names: set[str], attempt: int) -> LemonadeError | None:
        if marker in names:
            raise Killed
        return None

    return Faulty(decide)


def test_a_poison_file_cannot_make_a_restart_loop(settings: Settings) -> None:
    """Files of two deaths are planned in parts, finer with each death; the file alone at the last goes to failed/."""
    clock = HandClock()
    home = Home(settings, dying(POISON), clock)
    home.drop(20)
    for _ in range(12):
        home = Home(settings, runner := dying(POISON), clock)
        home.work.recover()
        try:
            home.load()
            break
        except Killed:
            assert POISON in runner.seen[-1]
    assert_poison_is_out(home, "poison", 20)
    assert home.file(POISON).deaths >= attempts.POISON_DEATHS
    assert {file.deaths for file in home.app.ledger.files() if file.name != POISON} == {0}
    assert len([batch for batch in home.batches() if batch.state == "abandoned"]) <= 6


def test_a_drain_is_no_death(settings: Settings) -> None:
    """A process that ends in the middle of an attempt after it was told to stop costs its files nothing."""
    home = Home(settings, dying(POISON))
    home.drop(8)
    for _ in range(4):
        with pytest.raises(Killed):
            home.load()
        home.work.leave()
        home = Home(settings, dying(POISON), home.clock)
        home.work.recover()
    assert {file.deaths for file in home.app.ledger.files()} == {0}
    assert set(home.states().values()) == {FileState.CLAIMED}


def test_sigkill_with_one_file_in_work_again_and_again(lemonade: Lemonade) -> None:
    """Three processes really die with the file in work; the next start puts it into failed/ and loads the other."""
    lemonade.run("init")
    names = [name(6), POISON]
    for number, each in enumerate(names):
        drop(lemonade.incoming, each, events_file(4, start=number * 4))
    codes = []
    while len(codes) < 6 and 0 not in codes:
        done = subprocess.run(
            [sys.executable, str(Path(__file__).parent / "poisoned.py"), POISON],
            cwd=lemonade.home,
            env={**lemonade.environ, "PYTHONPATH": f"{lemonade.environ['PYTHONPATH']}:{ROOT / 'tests'}"},
            capture_output=True,
            timeout=120,
        )
        codes.append(done.returncode)
    assert codes == [-signal.SIGKILL] * 3 + [0]
    files = {file["name"]: (file["state"], file["code"]) for file in lemonade.json("files")}
    assert files == {name(6): ("loaded", None), POISON: ("failed", "poison")}
    assert_books(lemonade, 4, names, states=["loaded", "failed"])


# -- on real Spark ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkRunner]:
    """One warm session for the tests below; each has folders of its own."""
    settings = make_settings(tmp_path_factory.mktemp("spark"), SPARK_MASTER="local[2]")
    runner = SparkRunner(settings, find_java(os.environ, settings.log_folder / ".java"))
    runner.warm()
    yield runner
    runner.stop()


# Tasks are made inside of functions: Spark's workers cannot import this file.


def killing(marker: str, pid: int | None, attempts: int = 99) -> Callable[[WriteJob], Any]:
    """A task that kills process `pid` (None: its own worker) with SIGKILL when the file is among its inputs."""

    def task(job: WriteJob) -> Any:
        if job.name.attempt <= attempts and any(source.name == marker for source in job.inputs):
            load_files(job)  # its data files are written, and nobody learns of them
            os.kill(os.getpid() if pid is None else pid, signal.SIGKILL)
            signal.pause()
        return load_files(job)

    return task


def hanging(marker: str, attempts: int) -> Callable[[WriteJob], Any]:
    """A task that never ends when the file is among its inputs."""

    def task(job: WriteJob) -> Any:
        if job.name.attempt <= attempts and any(source.name == marker for source in job.inputs):
            signal.pause()
        return load_files(job)

    return task


def jvm(runner: SparkRunner) -> int:
    """The process id of the runner's JVM."""
    return int(runner.session.sparkContext._gateway.proc.pid)  # type: ignore[union-attr] # it is there


def test_a_worker_really_killed_by_its_file(
    settings: Settings, spark: SparkRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file whose worker dies by SIGKILL each time ends in failed/, the others load, the session lives on."""
    before = jvm(spark)
    monkeypatch.setattr(decoding, "load_files", killing(POISON, None))
    home = Home(settings, spark)
    home.drop(9)
    home.load()
    assert_poison_is_out(home, "poison", 9)
    assert jvm(spark) == before


def test_a_batch_that_really_hangs(settings: Settings, spark: SparkRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is cancelled after BATCH_TIMEOUT_SECONDS and tried again; the session lives on."""
    before = jvm(spark)
    monkeypatch.setattr(decoding, "load_files", hanging(POISON, attempts=1))
    monkeypatch.setattr(spark, "settings", spark.settings.model_copy(update={"batch_timeout_seconds": 3.0}))
    home = Home(settings, spark)
    drop(settings.incoming_folder, POISON, events_file(6))
    home.load()
    assert [(batch.state, batch.attempts) for batch in home.batches()] == [("settled", 2)]
    assert jvm(spark) == before
    assert_app_books(home.app, rows=6)


def test_the_jvm_really_killed_in_mid_batch(
    settings: Settings, spark: SparkRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The session is made again and the same batch loads by its second attempt, each row once."""
    before = jvm(spark)
    monkeypatch.setattr(decoding, "load_files", killing(POISON, before, attempts=1))
    home = Home(settings, spark)
    home.drop(9)
    home.load()
    assert [(batch.state, batch.attempts, batch.files) for batch in home.batches()] == [("settled", 2, 9)]
    assert jvm(spark) != before
    assert_app_books(home.app, rows=18, key="vehicle_id")
