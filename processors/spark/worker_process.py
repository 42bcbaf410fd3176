"""What runs inside Spark's Python workers, before and around the tasks of a job.

Run as a module it is also the process that Spark forks its workers from (`spark.python.daemon.module`): it imports
first what every task needs. Spark ends workers that were idle for a minute, so without this every batch of a quiet
folder would pay for those imports again. Forking is safe only while the process has one thread; the settings in
`processors.spark.session` that keep the libraries from starting any are part of this.
"""

from __future__ import annotations

import gc
import importlib
import pickle
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stdout, suppress
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

from metadata.errors import BatchFault, LemonadeError, WorldFault
from metadata.files.os_errors import DISK_FULL, is_full

SCHEMA = "task long, answer binary"  #: the one row that each task gives back to Spark


def answer(function: bytes, tasks: Sequence[bytes], batches: Iterator[Any]) -> Iterator[Any]:
    """Body of `mapInArrow`: for each task number that comes in, do that task and yield its row."""
    import pyarrow as pa

    for batch in batches:
        for number in batch.column(0).to_pylist():
            columns = [pa.array([number], pa.int64()), pa.array([execute(function, tasks[number])], pa.binary())]
            yield pa.RecordBatch.from_arrays(columns, names=["task", "answer"])


def execute(function: bytes, task: bytes) -> bytes:
    """Do one pickled task; whatever happens is in the answer, for `reveal` on the other side.

    Nothing is raised into Spark: it would wrap the error in text of its own.
    """
    try:
        call: Callable[[Any], Any] = pickle.loads(function)  # noqa: S301 - pickled by our own driver
        return pickle.dumps(("done", call(pickle.loads(task))), protocol=5)  # noqa: S301 - our own driver's
    except LemonadeError as error:
        with suppress(Exception):  # its facts cannot be pickled: then it is told like any other error
            return pickle.dumps(("refused", (type(error), error.message, error.__dict__)), protocol=5)
        return _failed(error)
    except Exception as error:
        if is_full(error):
            fault = WorldFault(f"working on a task: {error}; free some space", code=DISK_FULL)
            return pickle.dumps(("refused", (WorldFault, fault.message, fault.__dict__)), protocol=5)
        return _failed(error)


def _failed(error: Exception) -> bytes:
    last = traceback.format_exception_only(error)[-1].strip()
    return pickle.dumps(("failed", (last, traceback.format_exc())), protocol=5)


def reveal(answer: bytes, label: str) -> Any:
    """What the task returned.

    Raises the LemonadeError that the task raised, or BatchFault(task_failed) for any other error, with the worker's
    traceback as a note.
    """
    kind, content = pickle.loads(answer)  # noqa: S301 - pickled by our own worker
    if kind == "done":
        return content
    if kind == "refused":
        error_type, message, facts = content
        error: LemonadeError = error_type.__new__(error_type, message)
        error.__dict__.update(facts)
        raise error
    last, trace = content
    fault = BatchFault(
        f"running {label} on Spark: a task failed: {last}; it is tried again, then its files are set aside",
        code="task_failed",
    )
    fault.add_note(trace)
    raise fault


def warm_up(_task: object = None) -> None:
    """Import what the first task would otherwise wait for; the first Arrow array of a process imports pandas."""
    import pyarrow as pa

    pa.array([0])
    for module in ("pyspark.worker", "processors.load.load_task"):
        with suppress(ImportError):  # whoever needs it gets the error, in a task that can tell it
            importlib.import_module(module)


def _use_installed_pyspark() -> None:
    """Spark puts zips of PySpark's and Py4J's sources before the installed packages: compiled anew each time."""
    others = [entry for entry in sys.path if not re.fullmatch(r"(pyspark|py4j-.*)\.zip", Path(entry).name)]
    if PathFinder.find_spec("pyspark", others) and PathFinder.find_spec("py4j", others):
        sys.path[:] = others


if __name__ == "__main__":
    _use_installed_pyspark()
    from pyspark.daemon import manager

    if sys.platform == "linux":  # macOS: its own libraries may have started threads, or refuse to work after a fork
        with redirect_stdout(sys.stderr):  # Spark reads a port from stdout
            warm_up()
        gc.collect()
        gc.freeze()  # workers share these objects with this process, and their collector passes them by
    manager()
