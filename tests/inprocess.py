"""A Runner without Spark, for tests whose point lies elsewhere."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from typing import TypeVar

from processors.spark.spark_runner import Runner

T = TypeVar("T")
R = TypeVar("R")


class InProcessRunner(Runner):
    """Runs tasks one after the other in this process; tasks and results are pickled as they are on the way to Spark."""

    def __init__(self) -> None:
        self.labels: list[str] = []  #: of the runs so far

    @property
    def parallelism(self) -> int:
        """Two, so that work is cut into tasks."""
        return 2

    def run(self, function: Callable[[T], R], tasks: Sequence[T], label: str) -> list[R]:
        """The results in the order of the tasks; an error of a task is raised as it is."""
        self.labels.append(label)
        return [_round_trip(function(_round_trip(task))) for task in tasks]

    def warm(self) -> None:
        """Nothing to do."""

    def stop(self) -> None:
        """Nothing to do."""


def _round_trip(value: T) -> T:
    copy: T = pickle.loads(pickle.dumps(value, protocol=5))
    return copy
