"""The one Spark session, and the one call that runs a function over a list of tasks on it.

Spark carries tasks out to Python workers and their answers back; no record enters the JVM. The session is made on
first use and made again after the JVM died. The translation of Spark's errors is here:

- the JVM is gone, or its context was stopped → BatchFault(spark_lost); the next run makes a new session
- a Python worker was killed or crashed → BatchFault(worker_lost); the session lives
- the job did not end within BATCH_TIMEOUT_SECONDS → it is cancelled, BatchFault(timed_out)
- the task raised one of our errors → that error; any other → BatchFault(task_failed)
- a disk that Spark itself writes to is full → WorldFault(disk_full)
- no session can be made → WorldFault(spark_unavailable): it is not the batch's fault and uses up no attempt
"""

from __future__ import annotations

import functools
import pickle
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol, TypeVar

from metadata.clock import SystemClock
from metadata.errors import BatchFault, WorldFault
from metadata.files.os_errors import DISK_FULL, is_full
from metadata.logs import Event, get_logger
from metadata.settings import Settings
from processors.spark import worker_process
from processors.spark.java import Java
from processors.spark.session import JvmSession, first_line, text_of

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

log = get_logger()

T = TypeVar("T")
R = TypeVar("R")


class Runner(Protocol):
    """Runs a function over tasks, somewhere; `processors` and `watcher` know Spark by this alone."""

    @property
    def parallelism(self) -> int:
        """How many tasks run at one time."""
        ...

    def run(self, function: Callable[[T], R], tasks: Sequence[T], label: str) -> list[R]:
        """`[function(task) for task in tasks]`, at the same time and in other processes; `label` is for messages."""
        ...

    def warm(self) -> None:
        """Make the first `run` as fast as those after it."""
        ...

    def stop(self) -> None:
        """Give back what was taken; safe to repeat."""
        ...


class SparkRunner:
    """A Runner on Spark.

    `run` may be called from several threads. The JVM writes to `spark.log` (rolling) and, raw, to `spark.out` (one
    file a session, the one before it kept) in the settings' log folder, and to nothing else. It is in a process group
    of its own: neither Ctrl-C nor a signal for the daemon's group reaches it; it ends when the daemon does.
    """

    def __init__(self, settings: Settings, java: Java) -> None:
        self.settings = settings
        self.java = java
        self._lock = threading.RLock()
        self._running: JvmSession | None = None

    @property
    def parallelism(self) -> int:
        """Cores of this machine, or of the cluster as far as it is known now. Starts the session."""
        return self._session().parallelism

    @property
    def session(self) -> SparkSession:
        """Spark itself, for what is not a list of tasks. Starts the session."""
        return self._session().spark

    def run(self, function: Callable[[T], R], tasks: Sequence[T], label: str) -> list[R]:
        """Run `function` over `tasks` in Spark's Python workers; the results in the order of the tasks.

        All tasks are run even when one fails; then the first failure by order is raised. `function` may be a closure;
        tasks and results are pickled. Spark never runs a task twice. Errors: see the top of this file.
        """
        if not tasks:
            return []
        from pyspark.cloudpickle import dumps

        pickled = [pickle.dumps(task, protocol=5) for task in tasks]
        body = functools.partial(worker_process.answer, dumps(function), pickled)  # type: ignore[no-untyped-call] # PySpark types it not
        session = self._session()
        expired = threading.Event()
        try:
            rows = session.collect(body, len(tasks), label, self.settings.batch_timeout_seconds, expired)
        except Exception as error:
            # The cause is left out of the chain: its text would be asked of a JVM that may be gone.
            fault = self._fault(session, error, label)
            raise (self._timed_out(label) if expired.is_set() else fault) from None
        answers = {row.task: bytes(row.answer) for row in rows}
        return [worker_process.reveal(answers[number], label) for number in range(len(tasks))]

    def warm(self) -> None:
        """Start the session, and a worker for every core that has imported what tasks need."""
        self.run(worker_process.warm_up, range(self.parallelism), label="warm-up")

    def stop(self) -> None:
        """End the JVM and its workers, whether they live or not; a later `run` would start them again."""
        with self._lock:
            session, self._running = self._running, None
            if session is not None:
                session.end()
                log.info(Event.SPARK_STOPPED)

    def _session(self) -> JvmSession:
        with self._lock:
            if self._running is None:
                clock = SystemClock()
                begin = clock.monotonic()
                self._running = JvmSession.start(self.settings, self.java)
                log.info(
                    Event.SPARK_STARTED,
                    seconds=round(clock.monotonic() - begin, 3),
                    master=self.settings.spark_master,
                    parallelism=self._running.parallelism,
                    java=self.java.version,
                    java_source=self.java.source,
                    java_home=str(self.java.home),
                    pid=self._running.process.pid,
                )
            return self._running

    def _timed_out(self, label: str) -> BatchFault:
        return BatchFault(
            f"running {label} on Spark: it did not end within {self.settings.batch_timeout_seconds:g} seconds and was "
            "cancelled; when this repeats, see why it takes so long, or raise BATCH_TIMEOUT_SECONDS",
            code="timed_out",
        )

    def _fault(self, session: JvmSession, error: Exception, label: str) -> BatchFault | WorldFault:
        where = self.settings.log_folder / "spark.log"
        if not session.is_usable():
            reason = first_line(error)
            with self._lock:
                if self._running is session:  # else another thread met the same death before
                    self._running = None
                    session.end()
                    log.warning(Event.SPARK_LOST, label=label, error=reason, exit_code=session.process.returncode)
            return BatchFault(
                f"running {label} on Spark: its JVM is gone ({reason}); a new one is started for the next "
                f"attempt; when this repeats, see {where} and spark.out beside it, and give SPARK_MEMORY more",
                code="spark_lost",
            )
        text = text_of(error)
        if is_full(text):
            return WorldFault(
                f"running {label} on Spark: {first_line(error)}; free some space, also in the folder for temporary "
                f"files; see {where}",
                code=DISK_FULL,
            )
        if any(sign in text for sign in _WORKER_LOST):
            return BatchFault(
                f"running {label} on Spark: a Python worker was killed or crashed; it is tried again with a new one; "
                f"when this repeats, look for the kernel's out-of-memory killer, and at {where}",
                code="worker_lost",
            )
        return BatchFault(f"running {label} on Spark: {first_line(error)}; see {where}", code="task_failed")


_WORKER_LOST = (
    "Python worker exited unexpectedly",
    "Python worker failed to connect back",
    "Python daemon failed to launch worker",
    "ExecutorLostFailure",
)
