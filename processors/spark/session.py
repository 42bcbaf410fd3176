"""A JVM that we started, with Spark's context and session in it: how it is launched, asked and ended.

Of PySpark this takes private names; they are all in this room.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import sysconfig
import tempfile
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import metadata
import processors
from metadata.errors import WorldFault
from metadata.settings import Settings
from processors.spark import worker_process
from processors.spark.java import Java

if TYPE_CHECKING:
    from pyspark import SparkConf, SparkContext
    from pyspark.sql import SparkSession

_STOP_SECONDS = 15
_CANCEL_SECONDS = 15


@dataclass(frozen=True)
class JvmSession:
    """A JVM that we started, with its context and session."""

    process: subprocess.Popen[bytes]
    context: SparkContext
    spark: SparkSession
    parallelism: int

    @classmethod
    def start(cls, settings: Settings, java: Java) -> JvmSession:
        """Raises WorldFault(spark_unavailable)."""
        from pyspark import SparkContext
        from pyspark.java_gateway import launch_gateway
        from pyspark.sql import SparkSession

        process: subprocess.Popen[bytes] | None = None
        try:
            with _raw_output(settings.log_folder) as output, _environment(_variables(settings, java)), _our_sigint():
                conf = _conf(settings)
                # A session of its own (setsid), so that signals for the daemon's group pass it by.
                streams: dict[str, Any] = {"stdout": output, "stderr": output, "start_new_session": True}
                gateway = launch_gateway(conf, streams)  # type: ignore[no-untyped-call] # PySpark types it not
                process = gateway.proc
                context = SparkContext(conf=conf, gateway=gateway)
                _silence(context)
                spark = SparkSession(context)
                return cls(process, context, spark, context.defaultParallelism)
        except Exception as error:
            reason = first_line(error)
            _forget()
            if process is not None:
                _end(process)
            said = _last_lines(settings.log_folder / "spark.out")
            raise WorldFault(
                f"starting Spark ({settings.spark_master}) with {java}: {reason}{said}; "
                f"see `lemonade doctor`, and what Spark said in {settings.log_folder}/spark.out and spark.log",
                code="spark_unavailable",
            ) from None

    def collect(
        self,
        body: Callable[[Iterator[Any]], Iterator[Any]],
        tasks: int,
        label: str,
        timeout_seconds: float,
        expired: threading.Event,
    ) -> list[Any]:
        """One partition for each task, and in it nothing but the task's number.

        After `timeout_seconds` (0: never) `expired` is set and the job cancelled, with its workers.
        """
        group = str(uuid.uuid4())
        self.context.setJobGroup(group, label, interruptOnCancel=True)

        def cancel() -> None:
            expired.set()
            with suppress(Exception):  # it may be gone, or not answer: then it is killed
                self.context.cancelJobGroup(group)

        timers: list[threading.Timer] = []
        if timeout_seconds:
            timers = [
                threading.Timer(timeout_seconds, cancel),
                threading.Timer(timeout_seconds + _CANCEL_SECONDS, self.process.kill),
            ]
        for timer in timers:
            timer.daemon = True
            timer.start()
        try:
            return self._collect(body, tasks)
        finally:
            for timer in timers:
                timer.cancel()

    def _collect(self, body: Callable[[Iterator[Any]], Iterator[Any]], tasks: int) -> list[Any]:
        return self.spark.range(0, tasks, 1, tasks).mapInArrow(body, worker_process.SCHEMA).collect()

    def is_usable(self) -> bool:
        """Whether the JVM answers and its context is not stopped (a cluster may have ended the application)."""
        if self.process.poll() is not None:
            return False
        try:
            return not self.context._jsc.sc().isStopped()
        except Exception:  # whatever it is, the JVM did not answer
            return False

    def end(self) -> None:
        """End the JVM and let PySpark forget it; works whatever state it is in."""
        server = self.context._accumulatorServer
        if server is not None:
            with suppress(Exception):
                server.shutdown()
        _forget()
        _end(self.process)


def _silence(context: SparkContext) -> None:
    """The server for accumulators, which PySpark always starts, prints a traceback to stderr when the JVM dies."""
    server = context._accumulatorServer
    if server is not None:
        server.handle_error = lambda *_: None  # type: ignore[method-assign] # its own answer prints


def _end(process: subprocess.Popen[bytes]) -> None:
    """Close the pipe that PySpark's JVM listens at for its parent's end: it stops its context and clears its files."""
    if process.stdin is not None:
        with suppress(OSError):
            process.stdin.close()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _forget() -> None:
    """Clear where PySpark keeps its one context and JVM; with a dead JVM its own `stop` raises and clears nothing."""
    from pyspark import SparkContext
    from pyspark.sql import SparkSession

    SparkContext._active_spark_context = None
    SparkContext._gateway = None
    SparkContext._jvm = None
    SparkSession._instantiatedSession = None
    SparkSession._activeSession = None


def _conf(settings: Settings) -> SparkConf:
    from pyspark import SparkConf

    config = Path(__file__).with_name("log4j2.properties")
    options = [
        f"-Dlog4j2.configurationFile={config.as_uri()}",
        f"-Dlemonade.log.folder={settings.log_folder}",
        f"-XX:ErrorFile={settings.log_folder}/spark.crash.%p.log",
        "-XX:+ExitOnOutOfMemoryError",  # a JVM half dead would answer, and fail everything
        # No record comes here: a quick start and few threads are worth more than peak speed.
        "-XX:TieredStopAtLevel=1",
        "-XX:+UseSerialGC",
    ]
    facts = {
        "spark.app.name": "lemonade",
        "spark.master": settings.spark_master,
        "spark.driver.memory": settings.spark_memory,
        "spark.driver.extraJavaOptions": " ".join(map(_quoted, options)),
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        # A task's data files are named by batch, attempt and task: Spark must not run it twice, the batch is retried.
        "spark.speculation": "false",
        "spark.task.maxFailures": "1",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.catalogImplementation": "in-memory",
        "spark.sql.warehouse.dir": (Path(tempfile.gettempdir()) / "lemonade-spark-warehouse").as_uri(),
        "spark.python.worker.reuse": "true",
        "spark.python.daemon.module": worker_process.__name__,
        # One thread only in the process that workers are forked from; each core has a worker of its own.
        "spark.executorEnv.JE_ARROW_MALLOC_CONF": "background_thread:false",
        "spark.executorEnv.OMP_NUM_THREADS": "1",
    }
    if _is_local(settings):
        facts["spark.driver.host"] = facts["spark.driver.bindAddress"] = "127.0.0.1"
        if root := _source_root():
            facts["spark.executorEnv.PYTHONPATH"] = root
    return SparkConf(loadDefaults=False).setAll(list(facts.items()))


def _variables(settings: Settings, java: Java) -> dict[str, str | None]:
    """What the launcher and PySpark read from the environment; None: must not be set."""
    import pyspark

    variables: dict[str, str | None] = {
        "JAVA_HOME": str(java.home),
        "SPARK_HOME": str(Path(pyspark.__file__).parent),  # another Spark on this machine would not fit our PySpark
        "PYSPARK_PYTHON": sys.executable,
        "PYSPARK_DRIVER_PYTHON": None,
        "PYSPARK_SUBMIT_ARGS": None,
        "PYSPARK_GATEWAY_PORT": None,  # would attach to a JVM that is not ours
        "SPARK_CONNECT_MODE_ENABLED": None,
        "SPARK_LAUNCHER_OPTS": "-XX:TieredStopAtLevel=1",
    }
    if _is_local(settings):
        variables["SPARK_LOCAL_IP"] = "127.0.0.1"
    return variables


def _is_local(settings: Settings) -> bool:
    return settings.spark_master.startswith("local")


def _source_root() -> str | None:
    """The folder that workers import us from when it is a checkout, not an installed package."""
    roots = dict.fromkeys(str(Path(package.__path__[0]).resolve().parent) for package in (metadata, processors))
    roots.pop(str(Path(sysconfig.get_path("purelib")).resolve()), None)
    return os.pathsep.join(roots) or None


def _quoted(option: str) -> str:
    """As Spark's launcher takes options apart: double quotes, with a backslash before `"` and itself."""
    return '"' + option.replace("\\", "\\\\").replace('"', '\\"') + '"'


@contextmanager
def _environment(variables: Mapping[str, str | None]) -> Iterator[None]:
    """Set them while the JVM is launched, the only way PySpark offers, and put back what was there."""
    before = {name: os.environ.get(name) for name in variables}
    _set(variables)
    try:
        yield
    finally:
        _set(before)


def _set(variables: Mapping[str, str | None]) -> None:
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


@contextmanager
def _our_sigint() -> Iterator[None]:
    """Keep the process's SIGINT handler: SparkContext puts its own in place when made in the main thread."""
    handler = signal.getsignal(signal.SIGINT)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread() and handler is not None:
            signal.signal(signal.SIGINT, handler)


@contextmanager
def _raw_output(log_folder: Path) -> Iterator[int]:
    """A fresh `spark.out`; the last session's is kept as `spark.out.1`, for it may say why that one died."""
    log_folder.mkdir(parents=True, exist_ok=True)
    path = log_folder / "spark.out"
    with suppress(FileNotFoundError):
        path.replace(log_folder / "spark.out.1")
    with path.open("ab") as output:
        yield output.fileno()


def _last_lines(path: Path) -> str:
    try:
        lines = [line.strip() for line in path.read_text(errors="replace").splitlines() if line.strip()]
    except OSError:
        return ""
    return f" ({' | '.join(lines[-3:])[-500:]})" if lines else ""


def text_of(error: Exception) -> str:
    """The error's text. Those of Py4J and PySpark ask the JVM for it and raise when it is gone."""
    try:
        return str(error)
    except Exception:
        return type(error).__name__


def first_line(error: Exception) -> str:
    """`Kind: its first line`, short enough for a log line."""
    lines = [line.strip() for line in text_of(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:300]}" if lines else type(error).__name__
