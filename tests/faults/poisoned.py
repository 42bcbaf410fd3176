"""Runs `lemonade run --once` in this process, which dies by SIGKILL as soon as the file named as argument is in work.

The runner is the tests' own, without Spark; the product has no hook for it.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Any

from inprocess import InProcessRunner

from watcher.app import App
from watcher.cli import main


class Poisoned(InProcessRunner):
    """No process survives the file."""

    def run(self, function: Callable[[Any], Any], tasks: Sequence[Any], label: str) -> list[Any]:
        """As in process, unless the file is among the tasks' inputs."""
        for task in tasks:
            if sys.argv[1] in [source.name for source in getattr(task, "inputs", [])]:
                os.kill(os.getpid(), signal.SIGKILL)
        return super().run(function, tasks, label)


if __name__ == "__main__":
    App.runner = lambda self: Poisoned()  # type: ignore[method-assign] # a stand-in
    main(["run", "--once"])
